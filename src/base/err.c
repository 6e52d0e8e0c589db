/* Errors: names, and sentences that say what to do. */
#include <tapbox/err.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[TB_ERR_COUNT] = {
    [TB_OK] = "ok",
    [TB_EINVAL] = "invalid",
    [TB_EFORMAT] = "format",
    [TB_ESHORT] = "short",
    [TB_ETOOBIG] = "too_big",
    [TB_ENOTFOUND] = "not_found",
    [TB_EEXIST] = "exists",
    [TB_EDENIED] = "denied",
    [TB_ESTATE] = "state",
    [TB_ERETRY] = "retry",
    [TB_ETHROTTLE] = "throttled",
    [TB_ETIMEOUT] = "timeout",
    [TB_EEXPIRED] = "expired",
    [TB_EFULL] = "full",
    [TB_ECLOSED] = "closed",
    [TB_EIO] = "io",
    [TB_ENOMEM] = "no_memory",
    [TB_EINTERNAL] = "internal",
};

const char *
tb_err_name(enum tb_err err)
{
    if ((unsigned)err >= TB_ERR_COUNT) {
        return "unknown";
    }
    return names[err];
}

int
tb_err_is_retryable(enum tb_err err)
{
    return err >= TB_ERETRY && err <= TB_EFULL;
}

static void TB_PRINTF(3, 0)
    set_text(struct tb_fail *fail, enum tb_err err, const char *fmt, va_list args)
{
    memset(fail, 0, sizeof(*fail));
    fail->err = err;
    (void)vsnprintf(fail->text, sizeof(fail->text), fmt, args);
}

enum tb_err
tb_fail_set(struct tb_fail *fail, enum tb_err err, const char *fmt, ...)
{
    if (fail != NULL) {
        va_list args;

        va_start(args, fmt);
        set_text(fail, err, fmt, args);
        va_end(args);
    }
    return err;
}

static enum tb_err
err_of_errno(int sys_errno)
{
    switch (sys_errno) {
    case ENOMEM:
        return TB_ENOMEM;
    case ENOENT:
        return TB_ENOTFOUND;
    case EACCES:
    case EPERM:
        return TB_EDENIED;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return TB_EFULL;
    case EEXIST:
        return TB_EEXIST;
    case EAGAIN:
        return TB_ERETRY;
    case ETIMEDOUT:
        return TB_ETIMEOUT;
    default:
        return TB_EIO;
    }
}

enum tb_err
tb_fail_errno(struct tb_fail *fail, int sys_errno, const char *fmt, ...)
{
    enum tb_err err = err_of_errno(sys_errno);

    if (fail != NULL) {
        char reason[128];
        size_t used;
        va_list args;

        va_start(args, fmt);
        set_text(fail, err, fmt, args);
        va_end(args);
        fail->sys_errno = sys_errno;
        used = strlen(fail->text);
        (void)snprintf(fail->text + used, sizeof(fail->text) - used, ": %s",
                       strerror_r(sys_errno, reason, sizeof(reason)));
    }
    return err;
}

void
tb_fail_prefix(struct tb_fail *fail, const char *fmt, ...)
{
    char text[sizeof(fail->text)];
    char prefix[256];
    va_list args;

    if (fail == NULL) {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(prefix, sizeof(prefix), fmt, args);
    va_end(args);
    memcpy(text, fail->text, sizeof(text));
    /* The cut is wanted: the sentence is for reading, its beginning says most. */
    size_t n = strlen(prefix);
    memcpy(fail->text, prefix, n);
    (void)snprintf(fail->text + n, sizeof(fail->text) - n, ": %.*s",
                   (int)(sizeof(fail->text) - n - 3), text);
}
