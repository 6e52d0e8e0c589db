/* Foreign JSON, read with care. */
#include <tapbox/webhook_fields.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/clock.h>

/* One step of a path; NULL when the key is absent. */
static const struct tb_json *
step(const struct tb_json *node, const char *key, size_t len)
{
    char pointer[128] = "/";
    const struct tb_json *found;

    if (!tb_json_is_object(node) || len == 0 || len + 2 > sizeof(pointer)) {
        return NULL;
    }
    memcpy(pointer + 1, key, len);
    pointer[1 + len] = 0;
    found = tb_json_at(node, pointer);
    if (found == NULL && isalpha((unsigned char)pointer[1])) {
        pointer[1] ^= 0x20; /* the other case, in ASCII */
        found = tb_json_at(node, pointer);
    }
    return found;
}

const struct tb_json *
tb_webhook_at(const struct tb_json *node, const char *path)
{
    while (node != NULL && *path != 0) {
        size_t len = strcspn(path, "/");

        node = step(node, path, len);
        path += len + (path[len] == '/');
    }
    return node;
}

const char *
tb_webhook_str(const struct tb_json *node, const char *path)
{
    const char *text = tb_json_str(tb_webhook_at(node, path), "");

    return text != NULL && text[0] != 0 ? text : NULL;
}

bool
tb_webhook_flag(const struct tb_json *node, const char *path)
{
    const struct tb_json *at = tb_webhook_at(node, path);
    const char *text = tb_json_str(at, "");
    bool value = false;

    if (text != NULL) {
        return strcasecmp(text, "true") == 0;
    }
    return tb_json_bool(at, "", &value) && value;
}

bool
tb_webhook_number(const struct tb_json *node, const char *path, double *out)
{
    const struct tb_json *at = tb_webhook_at(node, path);
    const char *text = tb_json_str(at, "");
    char *end = NULL;
    double value;

    if (text == NULL) {
        return tb_json_number(at, "", out);
    }
    /* decimal only: no blanks, no hex, no "inf" */
    if (text[0] == 0 || strspn(text, "+-.0123456789eE") != strlen(text)) {
        return false;
    }
    value = strtod(text, &end);
    if (*end != 0 || !isfinite(value)) {
        return false;
    }
    *out = value;
    return true;
}

uint32_t
tb_webhook_port(const struct tb_json *node, const char *path)
{
    double port = 0;

    return tb_webhook_number(node, path, &port) && port >= 1 && port <= 65535 &&
                   port == (double)(uint32_t)port
               ? (uint32_t)port
               : 0;
}

/* Octets of the character that begins at `at`, which is UTF-8 (JSON strings are). */
static size_t
character_bytes(const char *at)
{
    unsigned char c = (unsigned char)at[0];
    size_t want = c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    size_t have = 1;

    while (have < want && ((unsigned char)at[have] & 0xc0) == 0x80) {
        have++;
    }
    return have;
}

/* C0, DEL, C1, and the marks that turn the reading direction (U+200E/F, U+202A..E, U+2066..9):
 * in a terminal or a log they would show another text than the one that was sent. */
static bool
is_control(const char *at, size_t len)
{
    const unsigned char *u = (const unsigned char *)at;

    if (len == 1) {
        return u[0] < 0x20 || u[0] == 0x7f;
    }
    if (len == 2) {
        return u[0] == 0xc2 && u[1] < 0xa0;
    }
    return len == 3 && u[0] == 0xe2 &&
           ((u[1] == 0x80 &&
             (u[2] == 0x8e || u[2] == 0x8f || (u[2] >= 0xaa && u[2] <= 0xae))) ||
            (u[1] == 0x81 && u[2] >= 0xa6 && u[2] <= 0xa9));
}

void
tb_webhook_clean_text(char *out, size_t cap, const char *text)
{
    size_t used = 0;

    while (text != NULL && *text != 0) {
        size_t len = character_bytes(text);
        bool control = is_control(text, len);

        if (used + (control ? 1 : len) >= cap) {
            break;
        }
        if (control) {
            out[used++] = '?';
        } else {
            memcpy(out + used, text, len);
            used += len;
        }
        text += len;
    }
    out[used] = 0;
}

bool
tb_webhook_name(char *out, size_t cap, const char *text)
{
    size_t len = text == NULL ? 0 : strlen(text);

    out[0] = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= 0x20 || text[i] >= 0x7f) {
            return false;
        }
    }
    return len < cap && len > 0 && tb_str_copy(out, cap, text);
}

bool
tb_webhook_lower_name(char *out, size_t cap, const char *text)
{
    bool found = tb_webhook_name(out, cap, text);

    for (; *out != 0; out++) {
        *out = (char)tolower((unsigned char)*out);
    }
    return found;
}

bool
tb_webhook_name_or_number(char *out, size_t cap, const struct tb_json *node, const char *path)
{
    const char *text = tb_webhook_str(node, path);
    int64_t number;

    if (text == NULL && tb_json_int(tb_webhook_at(node, path), "", &number) && number >= 0) {
        int len = snprintf(out, cap, "%" PRId64, number);

        if (len > 0 && (size_t)len < cap) {
            return true;
        }
    }
    return tb_webhook_name(out, cap, text);
}

bool
tb_webhook_find_id(const char *text, const char *prefix, char out[TB_AWS_ID_SIZE])
{
    enum {
        DIGITS_MIN = 8,
        DIGITS_MAX = 40
    };
    size_t n = strlen(prefix);
    const char *at = text;

    out[0] = 0;
    while (at != NULL && (at = strstr(at, prefix)) != NULL) {
        size_t digits = strspn(at + n, "0123456789abcdef");
        bool starts = at == text || !isalnum((unsigned char)at[-1]);
        bool ends = !isalnum((unsigned char)at[n + digits]) && at[n + digits] != '-';

        if (starts && ends && digits >= DIGITS_MIN && digits <= DIGITS_MAX) {
            memcpy(out, at, n + digits);
            out[n + digits] = 0;
            return true;
        }
        at += n;
    }
    return false;
}

int
tb_webhook_parse_address(const char *text, unsigned char out[TB_WEBHOOK_ADDRESS_BYTES])
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff}; /* ::ffff:0:0/96 */
    unsigned char octets[TB_WEBHOOK_ADDRESS_BYTES] = {0};
    int family = text != NULL && strchr(text, ':') != NULL ? AF_INET6 : AF_INET;

    if (text == NULL || inet_pton(family, text, octets) != 1) {
        return 0;
    }
    if (family == AF_INET6 && memcmp(octets, mapped, sizeof(mapped)) == 0) {
        memmove(octets, octets + sizeof(mapped), sizeof(octets) - sizeof(mapped));
        memset(octets + 4, 0, sizeof(octets) - 4);
        family = AF_INET;
    }
    memcpy(out, octets, sizeof(octets));
    return family;
}

bool
tb_webhook_same_address(const char *a, const char *b)
{
    unsigned char left[TB_WEBHOOK_ADDRESS_BYTES], right[TB_WEBHOOK_ADDRESS_BYTES];
    int family = tb_webhook_parse_address(a, left);

    return family != 0 && family == tb_webhook_parse_address(b, right) &&
           memcmp(left, right, sizeof(left)) == 0;
}

int64_t
tb_webhook_time(const char *text)
{
    enum {
        TIME_SIZE = 64
    };
    char rfc3339[TIME_SIZE + 1]; /* and a Z */
    int64_t utc_ns = 0;

    if (text == NULL || !tb_str_copy(rfc3339, TIME_SIZE, text)) {
        return 0;
    }
    if (tb_time_parse(rfc3339, &utc_ns) == TB_OK) {
        return utc_ns;
    }
    /* what went through a database has lost its zone */
    (void)tb_str_copy(rfc3339 + strlen(rfc3339), 2, "Z");
    return tb_time_parse(rfc3339, &utc_ns) == TB_OK ? utc_ns : 0;
}

void
tb_webhook_stamp(char out[TB_WEBHOOK_STAMP_SIZE], const char *text)
{
    enum {
        WHOLE = 20, /* "2026-01-02T03:04:05." */
        MILLISECONDS = 3
    };
    char whole[TB_TIME_TEXT_SIZE];
    int64_t utc_ns = tb_webhook_time(text);

    if (utc_ns == 0) {
        tb_webhook_clean_text(out, TB_WEBHOOK_STAMP_SIZE, text);
        return;
    }
    tb_time_format_ns(whole, utc_ns);
    (void)snprintf(out, TB_WEBHOOK_STAMP_SIZE, "%.*sZ", WHOLE + MILLISECONDS, whole);
}

/* --- what an alert is made of --- */

static bool
same_source(const struct tb_alert_source *a, const struct tb_alert_source *b)
{
    return a->eni[0] != 0 || b->eni[0] != 0 ? strcmp(a->eni, b->eni) == 0
                                            : strcmp(a->instance, b->instance) == 0;
}

void
tb_webhook_add_source(struct tb_alert *out, const struct tb_alert_source *source)
{
    if (source->instance[0] == 0 && source->eni[0] == 0) {
        return;
    }
    for (size_t i = 0; i < out->source_count; i++) {
        if (same_source(&out->sources[i], source)) {
            return;
        }
    }
    if (out->source_count == TB_ALERT_MAX_SOURCES) {
        out->sources_left_out++;
        return;
    }
    out->sources[out->source_count++] = *source;
}

static void
add_indicator(struct tb_alert *out, const struct tb_indicator *made)
{
    for (size_t i = 0; i < out->indicator_count; i++) {
        const struct tb_indicator *there = &out->indicators[i];

        if (there->kind == made->kind && there->port == made->port &&
            there->local_port == made->local_port && there->on_wire == made->on_wire &&
            strcmp(there->value, made->value) == 0 &&
            strcmp(there->protocol, made->protocol) == 0 &&
            strcmp(there->direction, made->direction) == 0) {
            return;
        }
    }
    if (out->indicator_count == TB_ALERT_MAX_INDICATORS) {
        out->indicators_left_out++;
        return;
    }
    out->indicators[out->indicator_count++] = *made;
}

bool
tb_webhook_add_address(struct tb_alert *out, const char *text, const struct tb_indicator *more)
{
    static const unsigned char nobody[TB_WEBHOOK_ADDRESS_BYTES];
    struct tb_indicator made = *more;
    unsigned char octets[TB_WEBHOOK_ADDRESS_BYTES];
    int family = tb_webhook_parse_address(text, octets);

    made.kind = TB_INDICATOR_IP;
    /* a filter for nobody would let nothing through */
    if (family == 0 || memcmp(octets, nobody, sizeof(nobody)) == 0 ||
        inet_ntop(family, octets, made.value, sizeof(made.value)) == NULL) {
        return false;
    }
    add_indicator(out, &made);
    return true;
}

bool
tb_webhook_add_domain(struct tb_alert *out, const char *text, const struct tb_indicator *more)
{
    struct tb_indicator made = *more;

    made.kind = TB_INDICATOR_DOMAIN;
    if (!tb_webhook_name(made.value, sizeof(made.value), text)) {
        return false;
    }
    add_indicator(out, &made);
    return true;
}
