/* Values of a mapping: pointers and texts with pointers in them, and networks. */
#include "mapping_int.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/digest.h>
#include <tapbox/senders.h>
#include <tapbox/webhook_fields.h>

enum {
    POINTER_SIZE = 256 /* the longest that is followed */
};

/* --- what a mapping may hold --- */

/* The pointer of `len` octets. */
static bool
is_pointer(const char *text, size_t len)
{
    if (len < 2 || len >= POINTER_SIZE || text[0] != '/') {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '~' && (i + 1 == len || (text[i + 1] != '0' && text[i + 1] != '1'))) {
            return false;
        }
    }
    return true;
}

bool
tb_sender_pointer_valid(const char *text)
{
    return is_pointer(text, strlen(text));
}

bool
tb_sender_value_valid(const char *text)
{
    if (text[0] == '/') {
        return tb_sender_pointer_valid(text);
    }
    for (const char *at = strpbrk(text, "{}"); at != NULL; at = strpbrk(at, "{}")) {
        size_t len = strcspn(at + 1, "{}");

        if (*at == '}' || at[1 + len] != '}' || !is_pointer(at + 1, len)) {
            return false;
        }
        at += len + 2;
    }
    return text[0] != 0 && strlen(text) < MAPPING_TEXT_SIZE;
}

struct network {
    int family;
    unsigned bits;
    uint8_t octets[sizeof(struct in6_addr)];
};

static bool
parse_network(const char *text, struct network *out)
{
    char address[INET6_ADDRSTRLEN];
    size_t len = strcspn(text, "/");
    unsigned most;
    unsigned long bits;
    char *end = NULL;

    if (len >= sizeof(address)) {
        return false;
    }
    memcpy(address, text, len);
    address[len] = 0;
    out->family = strchr(address, ':') != NULL ? AF_INET6 : AF_INET;
    most = out->family == AF_INET6 ? 128 : 32;
    if (inet_pton(out->family, address, out->octets) != 1) {
        return false;
    }
    if (text[len] == 0) {
        out->bits = most;
        return true;
    }
    bits = strtoul(text + len + 1, &end, 10);
    out->bits = (unsigned)bits;
    return text[len + 1] >= '0' && text[len + 1] <= '9' && *end == 0 && bits <= most;
}

bool
tb_sender_network_valid(const char *text)
{
    struct network network;

    return parse_network(text, &network);
}

bool
mapping_is_within(const char *address, const struct tb_words *networks)
{
    struct network one;

    one.family = tb_webhook_parse_address(address, one.octets);
    if (one.family == 0) {
        return false;
    }
    for (size_t i = 0; i < networks->count; i++) {
        struct network n;
        unsigned whole;

        if (!parse_network(networks->at[i], &n) || n.family != one.family) {
            continue;
        }
        whole = n.bits / 8;
        if (memcmp(n.octets, one.octets, whole) == 0 &&
            (n.bits % 8 == 0 ||
             ((n.octets[whole] ^ one.octets[whole]) & (0xff00 >> n.bits % 8) & 0xff) == 0)) {
            return true;
        }
    }
    return false;
}

/* --- values --- */

bool
mapping_scalar(const struct tb_json *node, char out[MAPPING_TEXT_SIZE])
{
    const char *text = tb_json_str(node, "");
    int64_t whole;
    double number;
    bool flag;

    if (text != NULL) {
        tb_webhook_clean_text(out, MAPPING_TEXT_SIZE, text);
    } else if (tb_json_int(node, "", &whole)) {
        (void)snprintf(out, MAPPING_TEXT_SIZE, "%" PRId64, whole);
    } else if (tb_json_number(node, "", &number)) {
        (void)snprintf(out, MAPPING_TEXT_SIZE, "%.17g", number);
    } else if (tb_json_bool(node, "", &flag)) {
        (void)snprintf(out, MAPPING_TEXT_SIZE, "%s", flag ? "true" : "false");
    } else {
        out[0] = 0;
    }
    return out[0] != 0;
}

bool
mapping_evaluate(const char *value, const struct tb_json *body, size_t i,
                 char out[MAPPING_TEXT_SIZE])
{
    size_t used = 0;

    out[0] = 0;
    if (value[0] == '/') {
        const struct tb_json *at = tb_json_at(body, value);

        if (tb_json_is_array(at)) {
            at = tb_json_item(at, i);
        } else if (i > 0) {
            return false;
        }
        return mapping_scalar(at, out);
    }
    if (i > 0) {
        return false;
    }
    while (*value != 0) {
        size_t len = strcspn(value, "{}");

        (void)snprintf(out + used, MAPPING_TEXT_SIZE - used, "%.*s", (int)len, value);
        used += strlen(out + used);
        value += len;
        if (*value == '{') {
            char pointer[POINTER_SIZE];
            char found[MAPPING_TEXT_SIZE];

            len = strcspn(value, "}");
            (void)snprintf(pointer, sizeof(pointer), "%.*s", (int)(len - 1), value + 1);
            if (!mapping_scalar(tb_json_at(body, pointer), found)) {
                return false;
            }
            (void)snprintf(out + used, MAPPING_TEXT_SIZE - used, "%s", found);
            used += strlen(out + used);
            value += len + 1;
        }
    }
    return out[0] != 0;
}

bool
mapping_first_of(const struct tb_words *values, const struct tb_json *body,
                 char out[MAPPING_TEXT_SIZE])
{
    for (size_t i = 0; i < values->count; i++) {
        if (mapping_evaluate(values->at[i], body, 0, out)) {
            return true;
        }
    }
    out[0] = 0;
    return false;
}

/* The piece of a value whole: a text of the body, or what mapping_scalar() makes of anything
 * else. */
static enum tb_err
add_piece(struct tb_hasher *hasher, const struct tb_json *node, size_t *len)
{
    char found[MAPPING_TEXT_SIZE];
    const char *text = tb_json_str(node, "");

    if (text == NULL) {
        text = mapping_scalar(node, found) ? found : "";
    }
    *len += strlen(text);
    return tb_hasher_add(hasher, tb_bytes_str(text));
}

/* All of a value that leads to something, as long as it may be; *len is how long it is. */
static enum tb_err
digest_value(const char *value, const struct tb_json *body, struct tb_sha256 *out, size_t *len)
{
    const struct tb_json *at = tb_json_at(body, value);
    struct tb_hasher *hasher = NULL;
    enum tb_err err = tb_hasher_new(&hasher);

    if (err == TB_OK && value[0] == '/') {
        err = add_piece(hasher, tb_json_is_array(at) ? tb_json_item(at, 0) : at, len);
        value = "";
    }
    while (err == TB_OK && *value != 0) {
        size_t words = strcspn(value, "{}");
        char pointer[POINTER_SIZE];

        *len += words;
        err = tb_hasher_add(hasher, tb_bytes_of((const uint8_t *)value, words));
        value += words;
        if (err == TB_OK && *value == '{') {
            words = strcspn(value, "}");
            (void)snprintf(pointer, sizeof(pointer), "%.*s", (int)(words - 1), value + 1);
            err = add_piece(hasher, tb_json_at(body, pointer), len);
            value += words + 1;
        }
    }
    if (err == TB_OK) {
        err = tb_hasher_finish(hasher, out);
    }
    tb_hasher_free(hasher);
    return err;
}

enum tb_err
mapping_evaluate_whole(const char *value, const struct tb_json *body,
                       char out[MAPPING_TEXT_SIZE], bool *out_found, struct tb_fail *fail)
{
    char hex[TB_SHA256_HEX_SIZE];
    struct tb_sha256 digest;
    size_t len = 0;

    *out_found = mapping_evaluate(value, body, 0, out);
    if (!*out_found) {
        return TB_OK;
    }
    if (digest_value(value, body, &digest, &len) != TB_OK) {
        return tb_fail_set(fail, TB_EIO, "SHA-256 of an alert's field failed");
    }
    if (len >= MAPPING_TEXT_SIZE) {
        tb_sha256_hex(hex, &digest);
        (void)snprintf(out, MAPPING_TEXT_SIZE, "sha256:%s", hex);
    }
    return TB_OK;
}
