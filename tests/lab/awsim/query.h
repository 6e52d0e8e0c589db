/*
 * The parameters of one request: decoded, then checked against the action's table.
 *
 * A table says every name the action knows.  `#` in a path stands for a list index:
 * "Filter.#.Value.#".  Anything else in the request is refused, as EC2 does.
 */
#ifndef AWSIM_QUERY_H
#define AWSIM_QUERY_H

#include <stdbool.h>
#include <stddef.h>

#include "objects.h"

enum param_type {
    P_TEXT,
    P_INT,
    P_BOOL,
    P_ID,   /* of the table's kind */
    P_ENUM, /* one of `values`, which ends in NULL */
    P_CIDR,
};

struct param {
    const char *path; /* NULL ends a table */
    enum param_type type;
    bool required;
    long min; /* P_INT: bounds; P_TEXT: max characters, 0 for none */
    long max;
    enum kind kind;
    const char *const *values;
};

struct arg {
    const char *name;
    const char *value;
    const struct param *param; /* NULL until checked */
    long index[2];             /* what stood at the `#`s; 0 where there is none */
};

struct query {
    struct arg *args;
    size_t n;
    char *text; /* the decoded bytes that the args point into */
    size_t text_len;
};

#define QUERY_ARGS_MAX 20000

/* Why a request is refused. */
struct refusal {
    int status;
    char code[80];
    char message[640];
};
void refuse(struct refusal *r, int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds to `q`; false when the text is not URL-encoded properly.  X-Amz-* are left out. */
bool query_parse(struct query *q, const char *raw, size_t len, struct refusal *why);
void query_free(struct query *q);
/* A parameter before the check, by its name; NULL when absent. */
const char *query_raw(const struct query *q, const char *name);

/* `table` and every name, required one and value in it.  Sorts the args for what follows. */
bool query_check(struct query *q, const struct param *table, struct refusal *why);

/* After the check.  Paths are those of the table. */
const char *arg_text(const struct query *q, const char *path); /* NULL when absent */
bool arg_int(const struct query *q, const char *path, long *out);
bool arg_bool(const struct query *q, const char *path);
/* All args of one path, by index; NULL and 0 for none. */
const struct arg *arg_list(const struct query *q, const char *path, size_t *out_n);

#endif
