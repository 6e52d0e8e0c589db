/* The EC2 and STS query APIs behind one HTTP handler. */
#ifndef AWSIM_API_H
#define AWSIM_API_H

#include <jansson.h>

#include "faults.h"
#include "http.h"
#include "objects.h"
#include "plane.h"

struct api;
struct api *api_new(struct state *st, struct plane *plane, struct faults *faults);
void api_free(struct api *api);
void api_handle(void *api, const struct http_request *request, struct http_reply *reply);

/* {"CreateTrafficMirrorSession":{"total":2,"ok":1,"errors":{"MissingParameter":1}},…} */
json_t *api_counts(struct api *api);

/* One line on standard error; for the other servers too. */
void log_request(const char *service, const char *what, int status, const char *code,
                 const char *request_id, const char *who, long long start_ns);

#endif
