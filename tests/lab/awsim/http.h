/* HTTP in and out: whole requests go to one function, which fills a reply. */
#ifndef AWSIM_HTTP_H
#define AWSIM_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "ip.h"
#include "objects.h"
#include "str.h"

#define HTTP_BODY_MAX (1024 * 1024) /* octets; EC2 takes less, this only bounds memory */
#define HTTP_REPLY_HEADERS 4

struct http_header {
    char *name;
    char *value;
};

struct http_request {
    char *method;
    char *path;  /* as sent, before the question mark */
    char *query; /* as sent, after it; "" for none */
    struct http_header *headers;
    size_t nheaders;
    struct str body;
    bool body_too_big;
    char client[IP_TEXT_MAX]; /* address of the peer; "" on a Unix socket */
};

struct http_reply {
    int status;
    const char *content_type;
    struct str body;
    struct http_header extra[HTTP_REPLY_HEADERS]; /* texts are freed by the server */
    size_t nextra;
    bool drop; /* close the connection without an answer */
};

typedef void (*http_fn)(void *arg, const struct http_request *request,
                        struct http_reply *reply);

/* First header of that name, any case; NULL when absent. */
const char *http_header(const struct http_request *r, const char *name);
void http_reply_header(struct http_reply *reply, const char *name, const char *value);

/* A listening TCP socket, made inside the named network namespace; -1 and errno on failure. */
int listen_tcp(const struct listen *where, int *out_port);
/* A listening Unix socket at `path`; a stale one there is replaced. */
int listen_unix(const char *path);

struct http_server;
/* Takes `fd`.  `handle` is called from one thread per connection.  NULL on failure. */
struct http_server *http_start(int fd, http_fn handle, void *arg);
void http_stop(struct http_server *server);

#endif
