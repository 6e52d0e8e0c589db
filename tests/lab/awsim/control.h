/* The lab's own window into awsim: counters and objects, over a Unix socket. */
#ifndef AWSIM_CONTROL_H
#define AWSIM_CONTROL_H

#include "api.h"
#include "http.h"
#include "plane.h"

struct control {
    struct state *st;
    struct plane *plane;
    struct api *api;
};

void control_handle(void *control, const struct http_request *request,
                    struct http_reply *reply);

#endif
