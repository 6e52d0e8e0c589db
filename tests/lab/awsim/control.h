/* The lab's own window into awsim, over a Unix socket: what happened, and what goes wrong. */
#ifndef AWSIM_CONTROL_H
#define AWSIM_CONTROL_H

#include "api.h"
#include "faults.h"
#include "http.h"
#include "plane.h"

struct control {
    struct state *st;
    struct plane *plane;
    struct api *api;
    struct faults *faults;
};

void control_handle(void *control, const struct http_request *request,
                    struct http_reply *reply);

#endif
