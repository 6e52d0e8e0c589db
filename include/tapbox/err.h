/*
 * Errors: a code chosen by what the caller can do, and a sentence for the person who reads it.
 *
 * What can fail returns `enum tb_err`; 0 is success.  `struct tb_fail *` (may be NULL) takes
 * the detail where it is known.  Who returns an error does not log it. Threads: values, no
 * shared state.
 */
#ifndef TAPBOX_ERR_H
#define TAPBOX_ERR_H

#include <stddef.h>
#include <stdint.h>

#include <tapbox/attr.h>

enum tb_err {
    TB_OK = 0,
    /* fix the input */
    TB_EINVAL,    /* a value that is not allowed */
    TB_EFORMAT,   /* bytes that are not what they claim to be */
    TB_ESHORT,    /* fewer bytes than the format needs */
    TB_ETOOBIG,   /* over a stated limit */
    TB_ENOTFOUND, /* no such thing (also every NotFound of AWS) */
    TB_EEXIST,    /* it is there already, and is not the same */
    TB_EDENIED,   /* not allowed: credentials, roles, permissions */
    TB_ESTATE,    /* not possible in the present state */
    /* wait, then try the same again */
    TB_ERETRY,    /* a passing fault: connection, 5xx, busy */
    TB_ETHROTTLE, /* told to slow down */
    TB_ETIMEOUT,  /* no answer in time: the effect is unknown */
    TB_EEXPIRED,  /* credentials or clock: refresh, then try again */
    TB_EFULL,     /* a queue, a disk or a budget has no room */
    /* stop */
    TB_ECLOSED, /* the other side is gone, or shutting down */
    TB_EIO,     /* errno says why */
    TB_ENOMEM,
    TB_EINTERNAL, /* our own mistake */
    TB_ERR_COUNT
};

struct tb_fail {
    enum tb_err err;
    int sys_errno;       /* 0 when no system call was the cause */
    int http_status;     /* 0 when no HTTP answer was involved */
    unsigned tries;      /* how often a service was asked before it said so; 0: none was.  Not
                          * when it refused clock or credentials, which does nothing */
    char code[80];       /* the service's own error code, e.g. "InvalidInstanceID.NotFound" */
    char request_id[80]; /* the service's request id */
    char text[512];      /* one sentence, UTF-8, cut if longer */
};

/* The sentence is formatted into `fail` (when not NULL); `err` is returned, so that `return
 * tb_fail_set(...)` reads well.  All other members are cleared. */
enum tb_err tb_fail_set(struct tb_fail *fail, enum tb_err err, const char *fmt, ...)
    TB_PRINTF(3, 4);

/* The same with errno's text behind the sentence; TB_EIO unless errno says something better
 * (ENOMEM, ENOENT, EACCES/EPERM, ENOSPC/EDQUOT, EEXIST, EAGAIN). */
enum tb_err tb_fail_errno(struct tb_fail *fail, int sys_errno, const char *fmt, ...)
    TB_PRINTF(3, 4);

/* Puts "<prefix>: " before the sentence that is there. */
void tb_fail_prefix(struct tb_fail *fail, const char *fmt, ...) TB_PRINTF(2, 3);

/* A short stable name, e.g. "not_found"; never NULL.  Static storage. */
const char *tb_err_name(enum tb_err err);

/* Whether the same call may succeed later (TB_ERETRY .. TB_EFULL). */
int tb_err_is_retryable(enum tb_err err);

#endif
