/* Growing text, allocation, random names and times: the words everything else is said in. */
#include "str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

void *
xgrow(void *p, size_t size)
{
    void *grown = realloc(p, size == 0 ? 1 : size);
    if (grown == NULL) {
        fputs("awsim: out of memory\n", stderr);
        abort();
    }
    return grown;
}

void *
xalloc(size_t size)
{
    void *p = xgrow(NULL, size);
    memset(p, 0, size);
    return p;
}

char *
xdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = xalloc(size);
    memcpy(copy, text, size);
    return copy;
}

static void
reserve(struct str *s, size_t more)
{
    if (s->len + more + 1 <= s->cap) {
        return;
    }
    s->cap = (s->cap == 0 ? 256 : s->cap * 2);
    if (s->cap < s->len + more + 1) {
        s->cap = s->len + more + 1;
    }
    s->p = xgrow(s->p, s->cap);
}

void
str_addn(struct str *s, const char *text, size_t len)
{
    reserve(s, len);
    if (len > 0) {
        memcpy(s->p + s->len, text, len);
    }
    s->len += len;
    s->p[s->len] = '\0';
}

void
str_add(struct str *s, const char *text)
{
    str_addn(s, text, strlen(text));
}

void
str_addf(struct str *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0) {
        abort();
    }
    str_addn(s, text, (size_t)len);
    free(text);
}

void
str_free(struct str *s)
{
    free(s->p);
    *s = (struct str){NULL, 0, 0};
}

const char *
str_text(const struct str *s)
{
    return s->p == NULL ? "" : s->p;
}

void
random_bytes(void *p, size_t len)
{
    unsigned char *at = p;
    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);
        if (got > 0) {
            at += got;
            len -= (size_t)got;
        }
    }
}

void
random_hex(char *out, size_t digits)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char bytes[64];
    if (digits > sizeof(bytes)) {
        abort();
    }
    random_bytes(bytes, digits);
    for (size_t i = 0; i < digits; i++) {
        out[i] = hex[bytes[i] & 15];
    }
    out[digits] = '\0';
}

void
random_text(char *out, size_t len, const char *alphabet)
{
    unsigned char bytes[512];
    size_t n = strlen(alphabet);
    if (len > sizeof(bytes)) {
        abort();
    }
    random_bytes(bytes, len);
    for (size_t i = 0; i < len; i++) {
        out[i] = alphabet[bytes[i] % n];
    }
    out[len] = '\0';
}

void
random_uuid(char out[37])
{
    char hex[33];
    random_hex(hex, 32);
    hex[12] = '4';
    hex[16] = '8';
    snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

void
time_text(char out[32], long long utc_s)
{
    time_t t = (time_t)utc_s;
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

long long
time_parse(const char *text)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (rest == NULL) {
        return -1;
    }
    if (*rest == '.') {
        do {
            rest++;
        } while (*rest >= '0' && *rest <= '9');
    }
    if (strcmp(rest, "Z") != 0 && strcmp(rest, "+00:00") != 0) {
        return -1;
    }
    return (long long)timegm(&tm);
}

long long
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (long long)t.tv_sec * 1000000000LL + t.tv_nsec;
}
