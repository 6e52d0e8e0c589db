/* URL-encoded parameters: decoding, and a check of every one against a const table. */
#include "query.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "str.h"

void
refuse(struct refusal *r, int status, const char *code, const char *format, ...)
{
    va_list args;
    r->status = status;
    snprintf(r->code, sizeof(r->code), "%s", code);
    va_start(args, format);
    vsnprintf(r->message, sizeof(r->message), format, args);
    va_end(args);
    for (char *p = r->message; *p != '\0'; p++) { /* names in it may be cut in mid-character */
        if ((unsigned char)*p >= 0x80) {
            *p = '?';
        }
    }
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* UTF-8 without control characters: what XML can carry back. */
static bool
is_plain(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    const unsigned char *end = p + len;
    while (p < end) {
        size_t more = 0;
        if (*p < 0x20 && *p != '\t' && *p != '\n' && *p != '\r') {
            return false;
        } else if (*p >= 0xf0 && *p < 0xf5) {
            more = 3;
        } else if (*p >= 0xe0 && *p < 0xf0) {
            more = 2;
        } else if (*p >= 0xc2 && *p < 0xe0) {
            more = 1;
        } else if (*p >= 0x80) {
            return false;
        }
        if ((size_t)(end - p) <= more) {
            return false;
        }
        for (size_t i = 1; i <= more; i++) {
            if ((p[i] & 0xc0) != 0x80) {
                return false;
            }
        }
        /* longer than need be, surrogates, beyond U+10FFFF, and the two that XML forbids */
        if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) ||
            (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90) ||
            (p[0] == 0xef && p[1] == 0xbf && p[2] >= 0xbe)) {
            return false;
        }
        p += more + 1;
    }
    return true;
}

/* Decodes in place; returns the new length, or -1. */
static long
decode(char *s, size_t len)
{
    size_t out = 0;
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '+') {
            s[out++] = ' ';
        } else if (s[i] == '%') {
            if (len - i < 3) {
                return -1;
            }
            int high = hex_digit(s[i + 1]);
            int low = hex_digit(s[i + 2]);
            if (high < 0 || low < 0) {
                return -1;
            }
            s[out++] = (char)(high * 16 + low);
            i += 2;
        } else {
            s[out++] = s[i];
        }
    }
    return (long)out;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const struct arg *)a)->name, ((const struct arg *)b)->name);
}

bool
query_parse(struct query *q, const char *raw, size_t len, struct refusal *why)
{
    char *text = xalloc(len + 1);
    memcpy(text, raw, len);
    struct query add = {.text = text, .text_len = len};
    char *end = text + len;
    for (char *at = text; at < end;) {
        char *stop = memchr(at, '&', (size_t)(end - at));
        stop = stop == NULL ? end : stop;
        char *equals = memchr(at, '=', (size_t)(stop - at));
        char *name_end = equals == NULL ? stop : equals;
        char *value = equals == NULL ? stop : equals + 1;
        long name_len = decode(at, (size_t)(name_end - at));
        long value_len = decode(value, (size_t)(stop - value));
        if (name_len < 0 || value_len < 0 || !is_plain(at, (size_t)name_len) ||
            !is_plain(value, (size_t)value_len)) {
            refuse(why, 400, "MalformedQueryString",
                   "The query string contains a syntax error");
            break;
        }
        char *next = stop < end ? stop + 1 : end;
        if (name_len > 0 && strncasecmp(at, "X-Amz-", 6) != 0) {
            if (add.n == QUERY_ARGS_MAX) {
                refuse(why, 400, "MalformedQueryString", "Too many parameters");
                break;
            }
            at[name_len] = '\0';
            value[value_len] = '\0'; /* over '&', or the NUL behind the text */
            if ((add.n & 63) == 0) {
                add.args = xgrow(add.args, (add.n + 64) * sizeof(*add.args));
            }
            add.args[add.n++] = (struct arg){.name = at, .value = equals == NULL ? "" : value};
        }
        at = next;
    }
    if (add.n > 0) {
        qsort(add.args, add.n, sizeof(*add.args), by_name);
        for (size_t i = 1; i < add.n && why->status == 0; i++) {
            if (strcmp(add.args[i].name, add.args[i - 1].name) == 0) {
                refuse(why, 400, "InvalidParameterCombination",
                       "The parameter %.64s may only be specified once", add.args[i].name);
            }
        }
    }
    *q = add;
    return why->status == 0;
}

void
query_free(struct query *q)
{
    free(q->args);
    free(q->text);
    *q = (struct query){NULL, 0, NULL, 0};
}

const char *
query_raw(const struct query *q, const char *name)
{
    for (size_t i = 0; i < q->n; i++) {
        if (strcmp(q->args[i].name, name) == 0) {
            return q->args[i].value;
        }
    }
    return NULL;
}

/* Does `name` fit `path`?  Indexes are whole numbers from 1 without leading zeros. */
static bool
fits(const char *path, const char *name, long index[2])
{
    int n = 0;
    while (*path != '\0') {
        if (*path == '#') {
            size_t digits = strspn(name, "0123456789");
            if (digits == 0 || digits > 5 || name[0] == '0') {
                return false;
            }
            index[n++] = atol(name);
            name += digits;
            path++;
        } else if (*path++ != *name++) {
            return false;
        }
    }
    return *name == '\0';
}

static bool
check_value(const struct arg *a, struct refusal *why)
{
    const struct param *p = a->param;
    char *end;
    struct cidr cidr;
    switch (p->type) {
    case P_TEXT:
        if (p->max > 0 && strlen(a->value) > (size_t)p->max) {
            refuse(why, 400, "InvalidParameterValue",
                   "The value for parameter %s is longer than %ld", a->name, p->max);
        }
        break;
    case P_INT:
        errno = 0;
        long v = strtol(a->value, &end, 10);
        if (a->value[0] == '\0' || *end != '\0' || errno != 0 ||
            strspn(a->value, "-0123456789") != strlen(a->value)) {
            refuse(why, 400, "InvalidParameterValue",
                   "Invalid value '%.64s' for %s. Must be an integer", a->value, a->name);
        } else if (v < p->min) {
            refuse(why, 400, "InvalidParameterValue",
                   "Value ( %ld ) for parameter %s is invalid. Must be at least %ld", v,
                   a->name, p->min);
        } else if (v > p->max) {
            refuse(why, 400, "InvalidParameterValue",
                   "Value ( %ld ) for parameter %s is invalid. Must be at most %ld", v, a->name,
                   p->max);
        }
        break;
    case P_BOOL:
        if (strcmp(a->value, "true") != 0 && strcmp(a->value, "false") != 0) {
            refuse(why, 400, "InvalidParameterValue",
                   "Invalid value '%.64s' for %s. Must be true or false", a->value, a->name);
        }
        break;
    case P_ID:
        if (!id_is_well_formed(p->kind, a->value)) {
            refuse(why, 400, kinds[p->kind].malformed, "Invalid id: \"%.64s\"", a->value);
        }
        break;
    case P_ENUM:
        for (const char *const *at = p->values;; at++) {
            if (*at == NULL) {
                refuse(why, 400, "InvalidParameterValue",
                       "Value (%.64s) for parameter %s is invalid", a->value, a->name);
                break;
            }
            if (strcmp(*at, a->value) == 0) {
                break;
            }
        }
        break;
    case P_CIDR:
        if (!cidr_parse(a->value, &cidr)) {
            refuse(why, 400, "InvalidParameterValue",
                   "Value (%.64s) for parameter %s is invalid. This is not a valid CIDR block",
                   a->value, a->name);
        }
        break;
    }
    return why->status == 0;
}

static int
by_param(const void *x, const void *y)
{
    const struct arg *a = x;
    const struct arg *b = y;
    if (a->param != b->param) {
        return a->param < b->param ? -1 : 1;
    }
    for (int i = 0; i < 2; i++) {
        if (a->index[i] != b->index[i]) {
            return a->index[i] < b->index[i] ? -1 : 1;
        }
    }
    return 0;
}

bool
query_check(struct query *q, const struct param *table, struct refusal *why)
{
    size_t kept = 0;
    for (size_t i = 0; i < q->n; i++) {
        struct arg a = q->args[i];
        if (strcmp(a.name, "Action") == 0 || strcmp(a.name, "Version") == 0) {
            continue;
        }
        for (const struct param *p = table; p->path != NULL && a.param == NULL; p++) {
            a.index[0] = a.index[1] = 0;
            if (fits(p->path, a.name, a.index)) {
                a.param = p;
            }
        }
        if (a.param == NULL) {
            refuse(why, 400, "UnknownParameter", "The parameter %.64s is not recognized",
                   a.name);
            return false;
        }
        q->args[kept++] = a;
    }
    q->n = kept;
    if (kept > 0) {
        qsort(q->args, kept, sizeof(*q->args), by_param);
    }
    for (const struct param *p = table; p->path != NULL; p++) {
        size_t n;
        const struct arg *a = arg_list(q, p->path, &n);
        if (p->required && (n == 0 || (a->value[0] == '\0' && a->index[0] == 0))) {
            char name[80];
            snprintf(name, sizeof(name), "%s", p->path);
            name[strcspn(name, ".")] = '\0';
            refuse(why, 400, "MissingParameter", "The request must contain the parameter %s",
                   name);
            return false;
        }
    }
    for (size_t i = 0; i < q->n; i++) {
        if (!check_value(&q->args[i], why)) {
            return false;
        }
    }
    return true;
}

const struct arg *
arg_list(const struct query *q, const char *path, size_t *out_n)
{
    size_t first = 0;
    while (first < q->n && strcmp(q->args[first].param->path, path) != 0) {
        first++;
    }
    size_t n = 0;
    while (first + n < q->n && q->args[first + n].param == q->args[first].param) {
        n++;
    }
    *out_n = n;
    return n == 0 ? NULL : &q->args[first];
}

const char *
arg_text(const struct query *q, const char *path)
{
    size_t n;
    const struct arg *a = arg_list(q, path, &n);
    return a == NULL ? NULL : a->value;
}

bool
arg_int(const struct query *q, const char *path, long *out)
{
    const char *t = arg_text(q, path);
    if (t == NULL) {
        return false;
    }
    *out = strtol(t, NULL, 10);
    return true;
}

bool
arg_bool(const struct query *q, const char *path)
{
    const char *t = arg_text(q, path);
    return t != NULL && strcmp(t, "true") == 0;
}
