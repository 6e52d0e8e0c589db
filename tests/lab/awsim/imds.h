/* The instance metadata service, version 2 only. */
#ifndef AWSIM_IMDS_H
#define AWSIM_IMDS_H

#include "faults.h"
#include "http.h"
#include "objects.h"

struct imds;
struct imds *imds_new(struct state *st, struct faults *faults);
void imds_free(struct imds *imds);
void imds_handle(void *imds, const struct http_request *request, struct http_reply *reply);

#endif
