/*
 * An HTTP server on loopback that answers by script: real sockets, so that what is tested is
 * the client as it runs.  It lives in threads of the test program.
 */
#ifndef TAPBOX_TEST_HTTP_PEER_H
#define TAPBOX_TEST_HTTP_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_peer_how {
    HTTP_PEER_ANSWERS,
    HTTP_PEER_HANGS_UP,     /* reads the request, then closes without a word */
    HTTP_PEER_CUTS,         /* announces more than the body it sends, then closes */
    HTTP_PEER_CLOSES_AFTER, /* answers whole, keeps quiet about it, and closes */
    HTTP_PEER_SAYS_NOTHING, /* until the client is gone */
    HTTP_PEER_ANSWERS_EARLY /* after the head, without reading the body */
};

struct http_peer_step {
    const char *begins; /* of "METHOD /path"; NULL: any request */
    int status;
    const char *headers; /* lines that end in "\r\n"; NULL: none */
    const char *body;    /* NULL: empty */
    enum http_peer_how how;
    int64_t delay_ns;
    bool always; /* not used up */
};

struct http_peer;

/* For each request the first step that is not used up and fits.  None: status 599.  The
 * strings of `steps` are borrowed. */
struct http_peer *http_peer_start(const struct http_peer_step *steps, size_t count);
/* The script begins anew, with other steps; requests are forgotten. */
void http_peer_script(struct http_peer *peer, const struct http_peer_step *steps, size_t count);
void http_peer_stop(struct http_peer *peer);

/* "http://127.0.0.1:PORT"; lent. */
const char *http_peer_url(const struct http_peer *peer);
size_t http_peer_count(struct http_peer *peer);
/* Head of the i-th request as it came ("GET / HTTP/1.1\r\n..."), lent until the next script. */
const char *http_peer_head(struct http_peer *peer, size_t i);
const char *http_peer_body(struct http_peer *peer, size_t i);
/* Which connection it came on, counted from 0. */
size_t http_peer_connection(struct http_peer *peer, size_t i);
/* Value of a header of the i-th request, into `out` ("" when absent). */
void http_peer_header(struct http_peer *peer, size_t i, const char *name, char *out,
                      size_t cap);

#endif
