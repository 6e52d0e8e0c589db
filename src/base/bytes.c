/* A growing buffer with a ceiling, and the text forms of octets. */
#include <tapbox/bytes.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    FIRST_CAPACITY = 256
};

void
tb_buf_release(struct tb_buf *buf)
{
    size_t ceiling = buf->ceiling;

    free(buf->at);
    *buf = (struct tb_buf)TB_BUF_INIT(ceiling);
}

void
tb_buf_reset(struct tb_buf *buf)
{
    buf->len = 0;
    buf->err = TB_OK;
}

struct tb_bytes
tb_buf_view(const struct tb_buf *buf)
{
    return tb_bytes_of(buf->at, buf->len);
}

/* Room for `more` octets and a NUL behind them. */
static bool
make_room(struct tb_buf *buf, size_t more)
{
    size_t cap;
    uint8_t *at;

    if (buf->err != TB_OK) {
        return false;
    }
    if (more > buf->ceiling || buf->len > buf->ceiling - more) {
        buf->err = TB_ETOOBIG;
        return false;
    }
    if (buf->len + more < buf->cap) {
        return true;
    }
    cap = buf->cap < FIRST_CAPACITY ? FIRST_CAPACITY : buf->cap;
    while (cap <= buf->len + more) {
        cap += cap / 2;
    }
    at = realloc(buf->at, cap);
    if (at == NULL) {
        buf->err = TB_ENOMEM;
        return false;
    }
    buf->at = at;
    buf->cap = cap;
    return true;
}

void
tb_buf_put(struct tb_buf *buf, const void *at, size_t len)
{
    if (len == 0 || !make_room(buf, len)) {
        return;
    }
    memcpy(buf->at + buf->len, at, len);
    buf->len += len;
}

void
tb_buf_put_bytes(struct tb_buf *buf, struct tb_bytes bytes)
{
    tb_buf_put(buf, bytes.at, bytes.len);
}

void
tb_buf_put_str(struct tb_buf *buf, const char *text)
{
    tb_buf_put(buf, text, strlen(text));
}

void
tb_buf_put_u8(struct tb_buf *buf, uint8_t value)
{
    tb_buf_put(buf, &value, 1);
}

void
tb_buf_put_le16(struct tb_buf *buf, uint16_t value)
{
    uint8_t octets[2];

    tb_set_le16(octets, value);
    tb_buf_put(buf, octets, sizeof(octets));
}

void
tb_buf_put_le32(struct tb_buf *buf, uint32_t value)
{
    uint8_t octets[4];

    tb_set_le32(octets, value);
    tb_buf_put(buf, octets, sizeof(octets));
}

void
tb_buf_put_le64(struct tb_buf *buf, uint64_t value)
{
    uint8_t octets[8];

    tb_set_le64(octets, value);
    tb_buf_put(buf, octets, sizeof(octets));
}

void
tb_buf_printf(struct tb_buf *buf, const char *fmt, ...)
{
    va_list args;
    int len;

    va_start(args, fmt);
    len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0) {
        buf->err = buf->err != TB_OK ? buf->err : TB_EINTERNAL;
        return;
    }
    if (!make_room(buf, (size_t)len)) {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf((char *)buf->at + buf->len, (size_t)len + 1, fmt, args);
    va_end(args);
    buf->len += (size_t)len;
}

const char *
tb_buf_str(struct tb_buf *buf)
{
    if (buf->err != TB_OK || !make_room(buf, 0)) {
        return "";
    }
    buf->at[buf->len] = 0;
    return (const char *)buf->at;
}

enum tb_err
tb_buf_check(const struct tb_buf *buf, const char *what, struct tb_fail *fail)
{
    switch (buf->err) {
    case TB_OK:
        return TB_OK;
    case TB_ETOOBIG:
        return tb_fail_set(fail, TB_ETOOBIG, "%s is over its limit of %zu octets", what,
                           buf->ceiling);
    case TB_ENOMEM:
        return tb_fail_set(fail, TB_ENOMEM, "no memory for %s", what);
    default:
        return tb_fail_set(fail, buf->err, "%s could not be written", what);
    }
}

bool
tb_str_copy(char *out, size_t cap, const char *text)
{
    size_t len = strlen(text);
    bool fits = len < cap;

    if (cap == 0) {
        return false;
    }
    if (!fits) {
        len = cap - 1;
    }
    memmove(out, text, len);
    out[len] = 0;
    return fits;
}

void
tb_hex(char *out, struct tb_bytes bytes)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < bytes.len; i++) {
        *out++ = digits[bytes.at[i] >> 4];
        *out++ = digits[bytes.at[i] & 15];
    }
    *out = 0;
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

enum tb_err
tb_unhex(uint8_t *out, size_t len, const char *hex)
{
    if (strlen(hex) != 2 * len) {
        return TB_EFORMAT;
    }
    for (size_t i = 0; i < 2 * len; i++) {
        if (hex_value(hex[i]) < 0) {
            return TB_EFORMAT;
        }
    }
    for (size_t i = 0; i < len; i++) {
        out[i] = (uint8_t)((unsigned)hex_value(hex[2 * i]) << 4 |
                           (unsigned)hex_value(hex[2 * i + 1]));
    }
    return TB_OK;
}

void
tb_buf_put_base64(struct tb_buf *buf, struct tb_bytes bytes)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t v = (uint32_t)bytes.at[i] << 16 |
                     (n > 1 ? (uint32_t)bytes.at[i + 1] << 8 : 0) |
                     (n > 2 ? bytes.at[i + 2] : 0);
        char out[4] = {digits[v >> 18], digits[v >> 12 & 63], n > 1 ? digits[v >> 6 & 63] : '=',
                       n > 2 ? digits[v & 63] : '='};

        tb_buf_put(buf, out, sizeof(out));
    }
}

static int
base64_value(char c)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(alphabet, c) : NULL;

    return at != NULL ? (int)(at - alphabet) : -1;
}

bool
tb_buf_put_unbase64(struct tb_buf *buf, const char *text)
{
    uint32_t bits = 0;
    unsigned count = 0;
    size_t len = strlen(text);

    while (len > 0 && text[len - 1] == '=') {
        len--;
    }
    for (size_t i = 0; i < len; i++) {
        int value = base64_value(text[i]);

        if (value < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count >= 8) {
            count -= 8;
            tb_buf_put_u8(buf, (uint8_t)(bits >> count & 0xff));
        }
    }
    return buf->err == TB_OK && count < 6;
}

static bool
is_unreserved(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           c == '-' || c == '_' || c == '.' || c == '~';
}

void
tb_buf_put_percent(struct tb_buf *buf, struct tb_bytes bytes, bool keep_slash)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t c = bytes.at[i];

        if (is_unreserved(c) || (c == '/' && keep_slash)) {
            tb_buf_put_u8(buf, c);
        } else {
            char out[3] = {'%', digits[c >> 4], digits[c & 15]};

            tb_buf_put(buf, out, sizeof(out));
        }
    }
}
