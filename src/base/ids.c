/* The names we give, and the syntax of AWS's. */
#include <tapbox/ids.h>

#include <stdio.h>
#include <string.h>

#include <tapbox/bytes.h>
#include <tapbox/clock.h>
#include <tapbox/digest.h>

static enum tb_err
new_id(char out[TB_CAPTURE_ID_SIZE], const char *prefix, int64_t utc_s)
{
    uint8_t random[4];
    char tail[2 * sizeof(random) + 1];
    char when[TB_TIME_TEXT_SIZE];
    enum tb_err err = tb_random(random, sizeof(random));

    if (err != TB_OK) {
        return err;
    }
    tb_hex(tail, tb_bytes_of(random, sizeof(random)));
    tb_time_format_compact(when, utc_s);
    (void)snprintf(out, TB_CAPTURE_ID_SIZE, "%.3s-%.16s-%.8s", prefix, when, tail);
    return TB_OK;
}

enum tb_err
tb_capture_id_new(char out[TB_CAPTURE_ID_SIZE], int64_t utc_s)
{
    return new_id(out, "cap", utc_s);
}

enum tb_err
tb_log_id_new(char out[TB_CAPTURE_ID_SIZE], int64_t utc_s)
{
    return new_id(out, "log", utc_s);
}

static bool
all_in(const char *text, size_t len, const char *set)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == 0 || strchr(set, text[i]) == NULL) {
            return false;
        }
    }
    return true;
}

static const char decimal[] = "0123456789";
static const char hex[] = "0123456789abcdef";

/* PREFIX-YYYYMMDDTHHMMSSZ-hhhhhhhh */
static bool
is_id(const char *text, const char *prefix)
{
    return strlen(text) == 29 && strncmp(text, prefix, 3) == 0 && text[3] == '-' &&
           all_in(text + 4, 8, decimal) && text[12] == 'T' && all_in(text + 13, 6, decimal) &&
           text[19] == 'Z' && text[20] == '-' && all_in(text + 21, 8, hex);
}

bool
tb_capture_id_valid(const char *text)
{
    return is_id(text, "cap");
}

bool
tb_log_id_valid(const char *text)
{
    return is_id(text, "log");
}

enum tb_err
tb_uuid_new(char out[37])
{
    uint8_t o[16];
    char text[33];
    enum tb_err err = tb_random(o, sizeof(o));

    if (err != TB_OK) {
        return err;
    }
    o[6] = (uint8_t)((o[6] & 0x0f) | 0x40); /* version 4 */
    o[8] = (uint8_t)((o[8] & 0x3f) | 0x80); /* variant of RFC 9562 */
    tb_hex(text, tb_bytes_of(o, sizeof(o)));
    (void)snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", text, text + 8, text + 12, text + 16,
                   text + 20);
    return TB_OK;
}

bool
tb_aws_id_valid(const char *text, const char *prefix)
{
    size_t n = strlen(prefix);
    size_t len = strlen(text);

    return strncmp(text, prefix, n) == 0 && (len - n == 8 || len - n == 17) &&
           all_in(text + n, len - n, hex);
}

bool
tb_account_valid(const char *text)
{
    return strlen(text) == TB_ACCOUNT_SIZE - 1 && all_in(text, TB_ACCOUNT_SIZE - 1, decimal);
}
