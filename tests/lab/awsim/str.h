/* A text that grows.  Out of memory ends the program: this is a laboratory tool. */
#ifndef AWSIM_STR_H
#define AWSIM_STR_H

#include <stddef.h>

struct str {
    char *p; /* always ends in NUL once something was added */
    size_t len;
    size_t cap;
};

void str_addn(struct str *s, const char *text, size_t len);
void str_add(struct str *s, const char *text);
void str_addf(struct str *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void str_free(struct str *s);
/* The text, or "" when nothing was added yet. */
const char *str_text(const struct str *s);

/* Allocation that cannot fail. */
void *xalloc(size_t size);
void *xgrow(void *p, size_t size);
char *xdup(const char *text);

/* Fill with random bytes; `hex` writes `digits` lower-case digits and a NUL. */
void random_bytes(void *p, size_t len);
void random_hex(char *out, size_t digits);
void random_uuid(char out[37]);
/* `len` characters of the alphabet, and a NUL. */
void random_text(char *out, size_t len, const char *alphabet);
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define BASE64 UPPER "abcdefghijklmnopqrstuvwxyz0123456789+/"
#define BASE64URL UPPER "abcdefghijklmnopqrstuvwxyz0123456789-_"

/* 2026-01-02T03:04:05Z and back; -1 when the text is something else. */
void time_text(char out[32], long long utc_s);
long long time_parse(const char *text);
long long now_ns(void);

#endif
