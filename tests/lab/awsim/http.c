/*
 * libmicrohttpd around one handler function.  One thread per connection: a delayed answer
 * (faults.c) then holds up nobody else.
 */
#include "http.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define IDLE_TIMEOUT_S 120u /* a kept-alive connection that says nothing */

struct http_server {
    struct MHD_Daemon *daemon;
    http_fn handle;
    void *arg;
};

const char *
http_header(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->nheaders; i++) {
        if (strcasecmp(r->headers[i].name, name) == 0) {
            return r->headers[i].value;
        }
    }
    return NULL;
}

void
http_reply_header(struct http_reply *reply, const char *name, const char *value)
{
    if (reply->nextra < HTTP_REPLY_HEADERS) {
        reply->extra[reply->nextra++] = (struct http_header){xdup(name), xdup(value)};
    }
}

/* The only place where the target is seen before libmicrohttpd takes it apart. */
static void *
begin_request(void *arg, const char *uri, struct MHD_Connection *connection)
{
    (void)arg;
    (void)connection;
    struct http_request *r = xalloc(sizeof(*r));
    size_t path = strcspn(uri, "?");
    r->path = xdup(uri);
    r->path[path] = '\0';
    r->query = xdup(uri[path] == '?' ? uri + path + 1 : "");
    return r;
}

static enum MHD_Result
take_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    struct http_request *r = arg;
    r->headers = xgrow(r->headers, (r->nheaders + 1) * sizeof(*r->headers));
    r->headers[r->nheaders++] =
        (struct http_header){xdup(name), xdup(value == NULL ? "" : value)};
    return MHD_YES;
}

static void
take_client(struct http_request *r, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct ip ip = {0};
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (info == NULL || info->client_addr == NULL) {
        return;
    }
    if (info->client_addr->sa_family == AF_INET) {
        memcpy(&v4, info->client_addr, sizeof(v4));
        ip.family = 4;
        memcpy(ip.b, &v4.sin_addr, 4);
    } else if (info->client_addr->sa_family == AF_INET6) {
        memcpy(&v6, info->client_addr, sizeof(v6));
        ip.family = 6;
        memcpy(ip.b, &v6.sin6_addr, 16);
    }
    ip_text(&ip, r->client);
}

static enum MHD_Result
answer(struct http_server *server, struct MHD_Connection *connection,
       const struct http_request *r)
{
    struct http_reply reply = {.status = 200, .content_type = "text/plain"};
    server->handle(server->arg, r, &reply);
    enum MHD_Result result = MHD_NO;
    if (!reply.drop) {
        struct MHD_Response *response = MHD_create_response_from_buffer(
            reply.body.len, reply.body.p, MHD_RESPMEM_MUST_COPY);
        MHD_add_response_header(response, "Content-Type", reply.content_type);
        for (size_t i = 0; i < reply.nextra; i++) {
            MHD_add_response_header(response, reply.extra[i].name, reply.extra[i].value);
        }
        result = MHD_queue_response(connection, (unsigned)reply.status, response);
        MHD_destroy_response(response);
    }
    for (size_t i = 0; i < reply.nextra; i++) {
        free(reply.extra[i].name);
        free(reply.extra[i].value);
    }
    str_free(&reply.body);
    return result;
}

static enum MHD_Result
on_request(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
           const char *version, const char *data, size_t *size, void **context)
{
    (void)url;
    (void)version;
    struct http_request *r = *context;
    if (r->method == NULL) { /* headers are complete, the body is not */
        r->method = xdup(method);
        MHD_get_connection_values(connection, MHD_HEADER_KIND, take_header, r);
        take_client(r, connection);
        return MHD_YES;
    }
    if (*size > 0) {
        if (r->body.len + *size > HTTP_BODY_MAX) {
            r->body_too_big = true; /* read on and forget, then refuse */
        } else {
            str_addn(&r->body, data, *size);
        }
        *size = 0;
        return MHD_YES;
    }
    return answer(arg, connection, r);
}

static void
end_request(void *arg, struct MHD_Connection *connection, void **context,
            enum MHD_RequestTerminationCode why)
{
    (void)arg;
    (void)connection;
    (void)why;
    struct http_request *r = *context;
    if (r == NULL) {
        return;
    }
    for (size_t i = 0; i < r->nheaders; i++) {
        free(r->headers[i].name);
        free(r->headers[i].value);
    }
    free(r->headers);
    free(r->method);
    free(r->path);
    free(r->query);
    str_free(&r->body);
    free(r);
    *context = NULL;
}

struct http_server *
http_start(int fd, http_fn handle, void *arg)
{
    struct http_server *server = xalloc(sizeof(*server));
    server->handle = handle;
    server->arg = arg;
    server->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL, 0, NULL,
        NULL, on_request, server, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_TIMEOUT,
        IDLE_TIMEOUT_S, MHD_OPTION_URI_LOG_CALLBACK, begin_request, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, end_request, NULL, MHD_OPTION_CONNECTION_LIMIT, 4000u,
        MHD_OPTION_END);
    if (server->daemon == NULL) {
        free(server);
        return NULL;
    }
    return server;
}

void
http_stop(struct http_server *server)
{
    if (server != NULL) {
        MHD_stop_daemon(server->daemon);
        free(server);
    }
}
