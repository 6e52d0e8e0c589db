/*
 * The listening side: libmicrohttpd with a pool of polling threads, bounded in every direction.
 *
 * Threads: POOL_THREADS of libmicrohttpd, each polling its share of the connections and running
 * their calls to the end; they touch the store (any thread may), the tokens (own lock), the
 * counters (atomic), and `locked`.  Calls are short: what waits for AWS or for a commit runs
 * on the threads of later.c, streams are filled by those of viewers.c.  One more closes
 * connections that take too long (peers.c).
 *
 * What libmicrohttpd cannot do decides the way of a body: an answer can be given before it (the
 * connection is closed then, and a sender in the middle of writing may see a reset instead of
 * the answer) or after it, never inside.  So what is refused is read and thrown away, up to
 * DRAIN_MAX_BYTES; only a sender who waits for "100 Continue", or announces more than that, is
 * answered at once.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>

#include <microhttpd.h>

#include <tapbox/io.h>

#include "http_int.h"
#include "tls_int.h"

enum {
    POOL_THREADS = 8,
    LISTEN_BACKLOG = 128,
    BODIES_MAX_BYTES = 128 * TB_EVENT_MAX_BYTES,  /* of all connections together */
    BODIES_UNPROVEN_BYTES = BODIES_MAX_BYTES / 4, /* from here on none that has no token */
    CONNECTION_MEMORY_BYTES = 2 * TB_HTTP_HEADERS_MAX_BYTES, /* header lines and read buffer */
    IDLE_TIMEOUT_S = 15,
    DRAIN_MAX_BYTES = 8 * TB_EVENT_MAX_BYTES,
    STOP_WAIT_S = 3 /* for calls that are running when the server stops */
};

/* --- one call --- */

const char *
tb_http_query(struct tb_http_call *call, const char *name)
{
    return MHD_lookup_connection_value(call->connection, MHD_GET_ARGUMENT_KIND, name);
}

const char *
tb_http_header_value(struct tb_http_call *call, const char *name)
{
    return MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, name);
}

static void
set_remote(struct tb_http_call *call)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(call->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

    memcpy(call->remote, "unknown", sizeof("unknown"));
    if (info == NULL || info->client_addr == NULL) {
        return;
    }
    if (info->client_addr->sa_family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, info->client_addr, sizeof(in));
        (void)inet_ntop(AF_INET, &in.sin_addr, call->remote, sizeof(call->remote));
    } else if (info->client_addr->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;

        memcpy(&in6, info->client_addr, sizeof(in6));
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, call->remote, sizeof(call->remote));
    }
}

static enum MHD_Result
count_header(void *arg, enum MHD_ValueKind kind, const char *key, const char *value)
{
    size_t *bytes = arg;

    (void)kind;
    *bytes += strlen(key) + (value != NULL ? strlen(value) : 0) + sizeof(": \r\n") - 1;
    return MHD_YES;
}

/* What the headers say of the body; UINT64_MAX when it has a length that is none. */
static uint64_t
announced_bytes(struct tb_http_call *call)
{
    const char *text = tb_http_header_value(call, MHD_HTTP_HEADER_CONTENT_LENGTH);
    unsigned long long value;
    char *end;

    if (text == NULL) {
        return 0;
    }
    errno = 0;
    value = strtoull(text, &end, 10);
    return errno != 0 || *end != '\0' ? UINT64_MAX : value;
}

static void
drop_body(struct tb_http_call *call)
{
    atomic_fetch_sub(&call->server->body_bytes, call->request_body.cap);
    tb_buf_release(&call->request_body);
}

static void
refuse_size(struct tb_http_call *call)
{
    tb_http_problem(call, TB_PROBLEM_TOO_LARGE, "A body may have %d bytes at the most.",
                    TB_EVENT_MAX_BYTES);
    call->refused = true;
    drop_body(call);
}

/* NULL when there was no memory to watch it. */
static struct tb_peer *
peer_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info != NULL ? info->socket_context : NULL;
}

static struct tb_http_call *
new_call(struct tb_http_server *server, struct MHD_Connection *connection)
{
    struct tb_http_call *call = calloc(1, sizeof(*call));

    if (call == NULL) {
        return NULL;
    }
    call->server = server;
    call->connection = connection;
    call->peer = peer_of(connection);
    call->began_boot_ns = tb_clock_boot_ns();
    call->request_body = (struct tb_buf)TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    call->answer.body = (struct tb_buf)TB_BUF_INIT(TB_HTTP_ANSWER_MAX_BYTES);
    set_remote(call);
    tb_mutex_lock(&server->mu);
    server->locked.running++;
    tb_mutex_unlock(&server->mu);
    return call;
}

static void
count_call(const struct tb_http_call *call)
{
    size_t row = call->route != NULL ? (size_t)(call->route - tb_http_routes)
                                     : (size_t)TB_HTTP_MAX_ROUTES;

    atomic_fetch_add(&call->server->counters.requests[row][call->answer.status / 100 % 6], 1);
    if (call->route == NULL) {
        tb_log(TB_LOG_DEBUG, NULL, "no route for a call from %s: %d", call->remote,
               call->answer.status);
        return;
    }
    tb_log(strcmp(call->route->method, "POST") == 0 ? TB_LOG_INFO : TB_LOG_DEBUG, NULL,
           "%s %s from %s%s%s: %d in %lld ms", call->route->method, call->route->path,
           call->remote, call->token_name[0] != '\0' ? " by " : "", call->token_name,
           call->answer.status,
           (long long)((tb_clock_boot_ns() - call->began_boot_ns) / TB_NS_PER_MS));
}

/* The body in memory, or the stream. */
static struct MHD_Response *
make_response(struct tb_http_call *call)
{
    struct tb_http_answer_out *answer = &call->answer;
    struct MHD_Response *response;

    if (tb_viewer_is_ready(call->viewer)) {
        struct tb_viewer *viewer = call->viewer;

        call->viewer = NULL;
        tb_peers_phase(&call->server->peers, call->peer, TB_PEER_VIEWING);
        return tb_viewer_response(viewer);
    }
    tb_peers_phase(&call->server->peers, call->peer, TB_PEER_READING);
    response = MHD_create_response_from_buffer(answer->body.len, answer->body.at,
                                               MHD_RESPMEM_MUST_FREE);
    if (response != NULL) {
        answer->body = (struct tb_buf)TB_BUF_INIT(0); /* libmicrohttpd's from here */
    }
    return response;
}

/* Gives the answer to libmicrohttpd; MHD_NO closes the connection. */
static enum MHD_Result
send_answer(struct tb_http_call *call)
{
    struct tb_http_answer_out *answer = &call->answer;
    struct MHD_Response *response;
    enum MHD_Result queued;
    char retry_after[16];

    count_call(call);
    response = make_response(call);
    if (response == NULL) {
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->content_type);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (answer->location[0] != '\0') {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_LOCATION, answer->location);
    }
    if (answer->allow[0] != '\0') {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, answer->allow);
    }
    if (answer->challenge) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                                      answer->challenge_basic ? "Basic realm=\"tapbox\""
                                                              : "Bearer realm=\"tapbox\"");
    }
    if (answer->retry_after_s != 0) {
        snprintf(retry_after, sizeof(retry_after), "%u", answer->retry_after_s);
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, retry_after);
    }
    queued = MHD_queue_response(call->connection, (unsigned)answer->status, response);
    MHD_destroy_response(response);
    return queued;
}

/* The headers are there.  The answer, if it is decided already, waits for the end of the body
 * unless the sender does not want to send it or would send too much. */
static enum MHD_Result
take_headers(struct tb_http_call *call, const char *method, const char *url)
{
    const char *expect = tb_http_header_value(call, MHD_HTTP_HEADER_EXPECT);
    uint64_t announced = announced_bytes(call);
    size_t header_bytes = 0;

    (void)MHD_get_connection_values(call->connection, MHD_HEADER_KIND, count_header,
                                    &header_bytes);
    if (header_bytes > TB_HTTP_HEADERS_MAX_BYTES) {
        tb_http_problem(call, TB_PROBLEM_HEADERS_TOO_LARGE,
                        "The headers may have %d bytes at the most.",
                        TB_HTTP_HEADERS_MAX_BYTES);
        call->refused = true;
    } else {
        tb_http_admit(call, method, url);
        if (!call->refused && call->route->roles != 0 && !call->from_sns) {
            tb_peers_known(&call->server->peers, call->peer);
        }
        if (!call->refused && announced > TB_EVENT_MAX_BYTES) {
            refuse_size(call);
        }
    }
    if (call->refused &&
        ((expect != NULL && strcasecmp(expect, "100-continue") == 0 && announced > 0) ||
         announced > DRAIN_MAX_BYTES)) {
        return send_answer(call);
    }
    return MHD_YES;
}

/* A piece of the body. */
static enum MHD_Result
take_body(struct tb_http_call *call, const char *data, size_t size)
{
    size_t had = call->request_body.cap;

    call->body_seen_bytes += size;
    if (call->body_seen_bytes > DRAIN_MAX_BYTES) {
        return MHD_NO;
    }
    if (call->refused) {
        return MHD_YES;
    }
    tb_buf_put(&call->request_body, data, size);
    had = atomic_fetch_add(&call->server->body_bytes, call->request_body.cap - had);
    if (call->request_body.err == TB_ETOOBIG) {
        refuse_size(call);
    } else if (had > (call->from_sns ? BODIES_UNPROVEN_BYTES : BODIES_MAX_BYTES)) {
        tb_http_problem(call, TB_PROBLEM_UNAVAILABLE,
                        "Too many bodies are being received at once.");
        call->refused = true;
        drop_body(call);
    }
    return MHD_YES;
}

static enum MHD_Result
finish_call(struct tb_http_call *call)
{
    struct tb_fail fail = {0};

    if (call->later_done) {
        if (call->ready != NULL) {
            tb_http_answer_intake(call);
        }
        return send_answer(call);
    }
    tb_peers_phase(&call->server->peers, call->peer, TB_PEER_WAITING);
    if (!call->refused) {
        if (tb_buf_check(&call->request_body, "the body", &fail) == TB_OK) {
            call->route->run(call);
        } else {
            tb_http_problem_of(call, &fail);
        }
    }
    if (call->later != NULL || call->ready != NULL) {
        if (tb_later_take(call->ready != NULL ? &call->server->commits
                          : call->from_sns    ? &call->server->sns
                          : call->later_plan  ? &call->server->plans
                                              : &call->server->later,
                          call)) {
            return MHD_YES; /* comes back here when it has run */
        }
        tb_http_problem(call, TB_PROBLEM_UNAVAILABLE, "Too many calls wait already.");
        tb_http_free_ready(call);
    }
    return send_answer(call);
}

/* libmicrohttpd calls this once for the headers, for each piece of the body, at its end, and
 * again after a call was put aside. */
static enum MHD_Result
on_call(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
        const char *version, const char *upload, size_t *upload_bytes, void **slot)
{
    struct tb_http_call *call = *slot;

    (void)version;
    if (call == NULL) {
        call = new_call(arg, connection);
        if (call == NULL) {
            return MHD_NO;
        }
        *slot = call;
        return take_headers(call, method, url);
    }
    if (*upload_bytes > 0) {
        size_t bytes = *upload_bytes;

        *upload_bytes = 0;
        return take_body(call, upload, bytes);
    }
    return finish_call(call);
}

static void
on_completed(void *arg, struct MHD_Connection *connection, void **slot,
             enum MHD_RequestTerminationCode why)
{
    struct tb_http_server *server = arg;
    struct tb_http_call *call = *slot;

    (void)connection;
    (void)why;
    if (call == NULL) {
        return;
    }
    tb_peers_phase(&server->peers, call->peer, TB_PEER_SENDING); /* the next one */
    drop_body(call);
    tb_viewer_drop(call->viewer);
    tb_buf_release(&call->answer.body);
    free(call->replayed);
    tb_http_free_ready(call); /* who hung up while it was committed is not called again */
    free(call);
    *slot = NULL;
    tb_mutex_lock(&server->mu);
    server->locked.running--;
    tb_cond_broadcast(&server->idle);
    tb_mutex_unlock(&server->mu);
}

static void
on_connection(void *arg, struct MHD_Connection *connection, void **slot,
              enum MHD_ConnectionNotificationCode what)
{
    struct tb_http_server *server = arg;
    const union MHD_ConnectionInfo *info;

    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        tb_peers_leave(&server->peers, *slot);
        *slot = NULL;
        return;
    }
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    *slot = info != NULL ? tb_peers_enter(&server->peers, info->connect_fd) : NULL;
}

static void TB_PRINTF(2, 0) on_mhd_log(void *arg, const char *fmt, va_list args)
{
    char text[256];
    size_t len;

    (void)arg;
    vsnprintf(text, sizeof(text), fmt, args);
    len = strcspn(text, "\n");
    text[len] = '\0';
    tb_log(TB_LOG_DEBUG, NULL, "libmicrohttpd: %s", text);
}

/* --- starting and stopping --- */

static bool
is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, address, sizeof(in));
        return ntohl(in.sin_addr.s_addr) >> 24 == 127;
    } else {
        struct sockaddr_in6 in6;

        memcpy(&in6, address, sizeof(in6));
        return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
    }
}

static enum tb_err
fill_address(const struct tb_config *config, struct sockaddr_storage *out, socklen_t *out_len,
             struct tb_fail *fail)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(config->listen_port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
                               .sin6_port = htons(config->listen_port)};

    if (inet_pton(AF_INET, config->listen_address, &in.sin_addr) == 1) {
        memcpy(out, &in, sizeof(in));
        *out_len = sizeof(in);
    } else if (inet_pton(AF_INET6, config->listen_address, &in6.sin6_addr) == 1) {
        memcpy(out, &in6, sizeof(in6));
        *out_len = sizeof(in6);
    } else {
        return tb_fail_set(fail, TB_EINVAL, "listen: '%s' is not an address",
                           config->listen_address);
    }
    return TB_OK;
}

static uint16_t
bound_port(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);
    uint16_t port_be = 0;

    if (getsockname(fd, (struct sockaddr *)&address, &len) == 0) {
        size_t offset = address.ss_family == AF_INET ? offsetof(struct sockaddr_in, sin_port)
                                                     : offsetof(struct sockaddr_in6, sin6_port);

        memcpy(&port_be, (char *)&address + offset, sizeof(port_be));
    }
    return ntohs(port_be);
}

static enum tb_err
start_tls(const struct tb_config *config, struct tb_tls **out, struct tb_fail *fail)
{
    return config->tls_certificate[0] == '\0'
               ? TB_OK
               : tb_tls_start(config->tls_certificate, config->tls_key, config->tls_client_ca,
                              out, fail);
}

/* Our own socket, so that the reason for a failure is known. */
static enum tb_err
bind_address(const struct tb_config *config, int *out_fd, struct tb_fail *fail)
{
    struct sockaddr_storage address = {0};
    socklen_t len = 0;
    const char *host = config->listen_address;
    unsigned port = config->listen_port;
    const int one = 1;
    enum tb_err err;
    int fd;

    err = fill_address(config, &address, &len, fail);
    if (err != TB_OK) {
        return err;
    }
    fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return tb_fail_errno(fail, errno, "cannot listen on %s port %u", host, port);
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        int why = errno;

        tb_close(&fd);
        if (why == EADDRINUSE) {
            err = tb_fail_set(fail, TB_EIO,
                              "%s port %u is in use: another tapbox, or another program "
                              "('ss -ltnp' shows which); stop it or change 'listen'",
                              host, port);
            if (fail != NULL) {
                fail->sys_errno = why;
            }
            return err;
        }
        return tb_fail_errno(fail, why, "cannot listen on %s port %u ('listen')", host, port);
    }
    if (!is_loopback((struct sockaddr *)&address) && config->tls_certificate[0] == '\0') {
        tb_log(TB_LOG_WARN, NULL,
               "the API listens on %s port %u without TLS: tokens and findings can be read on "
               "the way; set tls.certificate and tls.key, or listen on 127.0.0.1",
               host, port);
    }
    *out_fd = fd;
    return TB_OK;
}

enum tb_err
tb_http_listen(const struct tb_config *config, int *out_fd, struct tb_fail *fail)
{
    struct tb_tokens *tokens = NULL;
    struct tb_tls *tls = NULL;
    enum tb_err err = tb_tokens_open(config->tokens_file, &tokens, fail);

    if (err == TB_OK) {
        err = start_tls(config, &tls, fail);
    }
    if (err == TB_OK) {
        err = bind_address(config, out_fd, fail);
    }
    tb_tls_stop(tls);
    tb_tokens_free(tokens);
    return err;
}

/* libmicrohttpd's threads inherit the signal mask: they get none. */
static struct MHD_Daemon *
start_daemon(struct tb_http_server *server)
{
    struct MHD_OptionItem tls[TB_TLS_OPTIONS];
    struct MHD_Daemon *daemon;
    sigset_t all, before;

    (void)tb_tls_options(server->tls, tls);

    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
            (server->tls != NULL ? MHD_USE_TLS : MHD_NO_FLAG),
        0, NULL, NULL, on_call, server, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, server->listen_fd, MHD_OPTION_THREAD_POOL_SIZE,
        (unsigned)POOL_THREADS, MHD_OPTION_CONNECTION_LIMIT, (unsigned)TB_PEERS_MOST,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, server, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY, tls,
        MHD_OPTION_END);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return daemon;
}

enum tb_err
tb_http_server_start(const struct tb_http_server_deps *deps, int listen_fd,
                     struct tb_http_server **out, struct tb_fail *fail)
{
    struct tb_http_server *server = calloc(1, sizeof(*server));
    enum tb_err err;

    if (server == NULL) {
        tb_close(&listen_fd);
        return tb_fail_set(fail, TB_ENOMEM, "the HTTP server");
    }
    server->deps = *deps;
    server->listen_fd = listen_fd;
    tb_mutex_init(&server->mu);
    tb_cond_init(&server->idle);
    tb_viewers_init(&server->viewers);
    err = tb_tokens_open(deps->config->tokens_file, &server->tokens, fail);
    if (err == TB_OK && listen_fd < 0) {
        err = bind_address(deps->config, &server->listen_fd, fail);
    }
    if (err == TB_OK) {
        err = start_tls(deps->config, &server->tls, fail);
    }
    if (err == TB_OK) {
        err = tb_peers_start(&server->peers, fail);
    }
    if (err == TB_OK) {
        err = tb_rates_start(&server->addresses, fail);
    }
    if (err == TB_OK) {
        err = tb_rates_start(&server->callers, fail);
    }
    if (err == TB_OK) {
        err = tb_later_start(&server->later, &tb_later_aws, fail);
    }
    if (err == TB_OK) {
        err = tb_later_start(&server->plans, &tb_later_plans, fail);
    }
    if (err == TB_OK) {
        err = tb_later_start(&server->commits, &tb_later_commits, fail);
    }
    if (err == TB_OK && tb_sns_listens(deps->sns)) {
        err = tb_later_start(&server->sns, &tb_later_sns, fail);
    }
    if (err != TB_OK) {
        goto out;
    }
    server->port = bound_port(server->listen_fd);
    server->daemon = start_daemon(server);
    if (server->daemon == NULL) {
        err = tb_fail_set(fail, TB_EIO, "the HTTP server could not start on %s port %u",
                          deps->config->listen_address, (unsigned)server->port);
        goto out;
    }
    server->listen_fd = -1; /* libmicrohttpd's from here */
    if (tb_tokens_count(server->tokens) == 0) {
        tb_log(TB_LOG_WARN, NULL,
               "there is no token in %s, so nobody may call the API: 'tapbox token add NAME "
               "--role alert|analyst --file %s' makes one, without a restart",
               deps->config->tokens_file, deps->config->tokens_file);
    }
    *out = server;
    server = NULL;

out:
    tb_http_server_stop(server);
    return err;
}

void
tb_http_server_stop(struct tb_http_server *server)
{
    int64_t until;

    if (server == NULL) {
        return;
    }
    if (server->daemon != NULL) {
        server->listen_fd = MHD_quiesce_daemon(server->daemon);
        tb_later_stop(&server->later);
        tb_later_stop(&server->plans);
        tb_later_stop(&server->sns);
        tb_later_stop(&server->commits);
        tb_viewers_stop(&server->viewers);
        until = tb_clock_boot_ns() + STOP_WAIT_S * TB_NS_PER_S;
        tb_mutex_lock(&server->mu);
        while (server->locked.running > 0) {
            int64_t left = until - tb_clock_boot_ns();

            if (left <= 0 || !tb_cond_wait_for(&server->idle, &server->mu, left)) {
                break;
            }
        }
        tb_mutex_unlock(&server->mu);
        MHD_stop_daemon(server->daemon);
    }
    tb_later_release(&server->later);
    tb_later_release(&server->plans);
    tb_later_release(&server->sns);
    tb_later_release(&server->commits);
    tb_viewers_release(&server->viewers);
    tb_peers_stop(&server->peers);
    tb_rates_stop(&server->addresses);
    tb_rates_stop(&server->callers);
    tb_close(&server->listen_fd);
    tb_tls_stop(server->tls);
    tb_tokens_free(server->tokens);
    tb_cond_release(&server->idle);
    tb_mutex_release(&server->mu);
    free(server);
}

uint16_t
tb_http_server_port(const struct tb_http_server *server)
{
    return server->port;
}
