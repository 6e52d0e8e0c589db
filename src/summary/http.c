/* The Host of an HTTP/1 request (RFC 9112). */
#include "summary_int.h"

#include <strings.h>

enum {
    HEAD_MAX = 16384 /* octets of request line and header fields */
};

bool
summary_http_begins(struct tb_bytes octets)
{
    static const char *const methods[] = {"GET ",     "POST ",  "HEAD ",    "PUT ",  "DELETE ",
                                          "OPTIONS ", "PATCH ", "CONNECT ", "TRACE "};

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        size_t len = strlen(methods[i]);

        if (octets.len >= len && memcmp(octets.at, methods[i], len) == 0) {
            return true;
        }
    }
    return false;
}

static void
put_host(char out[SUMMARY_NAME_SIZE], const char *at, size_t len)
{
    size_t n = 0;

    while (len > 0 && (at[0] == ' ' || at[0] == '\t')) {
        at++;
        len--;
    }
    while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t')) {
        len--;
    }
    for (; n < len && n + 1 < SUMMARY_NAME_SIZE; n++) {
        out[n] = at[n] > 0x20 && at[n] < 0x7f ? at[n] : '?';
    }
    out[n] = '\0';
}

enum summary_found
summary_http_read(struct tb_bytes octets, char out[SUMMARY_NAME_SIZE])
{
    const char *at = (const char *)octets.at, *end = at + octets.len;
    bool is_first = true;

    if (!summary_http_begins(octets)) {
        return SUMMARY_NOT_ONE;
    }
    out[0] = '\0';
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        size_t len;

        if (line_end == NULL) {
            break;
        }
        len = (size_t)(line_end - at);
        len -= len > 0 && at[len - 1] == '\r' ? 1 : 0;
        if (len == 0) {
            return SUMMARY_FOUND;
        }
        if (is_first && (len < 9 || strncmp(at + len - 9, " HTTP/1.", 8) != 0)) {
            return SUMMARY_NOT_ONE;
        }
        if (!is_first && len > 5 && strncasecmp(at, "host:", 5) == 0) {
            put_host(out, at + 5, len - 5);
            return SUMMARY_FOUND;
        }
        is_first = false;
        at = line_end + 1;
    }
    return octets.len > HEAD_MAX ? SUMMARY_NOT_ONE : SUMMARY_MORE;
}
