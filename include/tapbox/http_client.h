/*
 * One bounded HTTP request, one bounded answer (libcurl).  Connections are kept and reused.
 * No redirects are followed, no environment proxy is used for loopback and link-local
 * addresses, a response over its ceiling is an error, nothing is retried here.  AWS_CA_BUNDLE
 * names other certificate authorities than the system's.
 *
 * Threads: a client may be used by many threads at once; each call blocks its caller.
 */
#ifndef TAPBOX_HTTP_CLIENT_H
#define TAPBOX_HTTP_CLIENT_H

#include <stdatomic.h>

#include <tapbox/bytes.h>

struct tb_http_client;

TB_NODISCARD enum tb_err tb_http_client_new(struct tb_http_client **out, struct tb_fail *fail);
/* Trusts the authorities in this PEM file instead; before the first request. */
TB_NODISCARD enum tb_err tb_http_client_trust(struct tb_http_client *client, const char *path,
                                              struct tb_fail *fail);
void tb_http_client_free(struct tb_http_client *client);

enum {
    TB_HTTP_MAX_HEADERS = 32
};

struct tb_http_header {
    const char *name;
    const char *value;
};

struct tb_http_request {
    const char *method; /* "GET", "POST", "PUT", "HEAD", "DELETE" */
    const char *url;    /* sent exactly as given: no normalisation */
    struct tb_http_header headers[TB_HTTP_MAX_HEADERS]; /* Host is made from the URL */
    size_t header_count;
    struct tb_bytes body;                   /* ignored when body_fd is set */
    int body_fd;                            /* -1, or a file of which this part is the body: */
    uint64_t body_fd_offset, body_fd_bytes; /* read with pread: others may use it as well */
    int64_t connect_timeout_ns;
    int64_t
        total_timeout_ns; /* 0: none, then stalled transfers (under 1 KiB/s for 30 s) end it */
    bool no_proxy;        /* metadata and container endpoints */
    const atomic_bool *stop; /* NULL; true ends the request with TB_ECLOSED, within a second */
    /* NULL, or takes the body of a 200 or 206 piece by piece in place of the answer's buffer.
     * Anything but TB_OK ends the transfer, and is what tb_http_do returns. */
    enum tb_err (*sink)(void *arg, struct tb_bytes octets);
    void *sink_arg;
    bool is_endless; /* the answer is a stream: silence is no stall */
};

struct tb_http_answer {
    int status;
    struct tb_buf body;    /* set its ceiling before the call (TB_BUF_INIT) */
    struct tb_buf headers; /* "name: value\n" lines, names lower-cased; ceiling set likewise */
};
#define TB_HTTP_ANSWER_INIT(body_ceiling)                                                      \
    {                                                                                          \
        0, TB_BUF_INIT(body_ceiling), TB_BUF_INIT(65536)                                       \
    }
void tb_http_answer_release(struct tb_http_answer *answer);
/* The first header of that lower-case name copied into `out`; false when absent or too long. */
bool tb_http_answer_header(const struct tb_http_answer *answer, const char *name, char *out,
                           size_t cap);

/*
 * TB_OK whenever a complete answer came, whatever its status.
 * Errors: TB_ERETRY no connection or broken before anything was sent; TB_ETIMEOUT the request
 * may have had its effect (sent, no answer); TB_EDENIED the server's certificate is not
 * trusted; TB_ECLOSED stopped; TB_ETOOBIG the answer is over its ceiling; TB_EINVAL a URL or
 * header that cannot be sent; TB_ESHORT, TB_EIO the file of the body.
 */
TB_NODISCARD enum tb_err tb_http_do(struct tb_http_client *client,
                                    const struct tb_http_request *request,
                                    struct tb_http_answer *answer, struct tb_fail *fail);

#endif
