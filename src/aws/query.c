/* Form bodies of AWS's query protocol: "Action=...&Version=...&Name.1=value". */
#include "aws_int.h"

#include <stdarg.h>
#include <stdio.h>

void
tb_form_begin(struct tb_buf *out, const char *action, const char *version)
{
    tb_buf_printf(out, "Action=%s&Version=%s", action, version);
}

void
tb_form_put(struct tb_buf *out, const char *value, const char *name, ...)
{
    char full[128];
    va_list args;
    int len;

    if (value == NULL) {
        return;
    }
    va_start(args, name);
    len = vsnprintf(full, sizeof(full), name, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof(full)) {
        out->err = out->err != TB_OK ? out->err : TB_EINTERNAL;
        return;
    }
    tb_buf_printf(out, "&%s=", full);
    tb_buf_put_percent(out, tb_bytes_str(value), false);
}

void
tb_form_put_number(struct tb_buf *out, int64_t value, const char *name)
{
    tb_buf_printf(out, "&%s=%lld", name, (long long)value);
}
