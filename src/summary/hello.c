/* The server name in a TLS ClientHello (RFC 8446, section 4.1.2; RFC 6066, section 3). */
#include "summary_int.h"

#include <stdio.h>

enum {
    RECORD_HEAD = 5,
    RECORD_HANDSHAKE = 22,
    RECORD_MAX = 16384 + 2048,
    HANDSHAKE_HEAD = 4,
    CLIENT_HELLO = 1,
    HELLO_MAX = 16384, /* far above those with post-quantum key shares */
    VERSION_AND_RANDOM = 34,
    EXTENSION_SERVER_NAME = 0,
    NAME_TYPE_HOST = 0
};

/* Takes `count` octets off; false when there are fewer. */
static bool
take(struct tb_bytes *from, size_t count, struct tb_bytes *out)
{
    if (from->len < count) {
        return false;
    }
    *out = tb_bytes_of(from->at, count);
    *from = tb_bytes_of(from->at + count, from->len - count);
    return true;
}

/* Takes a vector with a length of `width` octets before it. */
static bool
take_vector(struct tb_bytes *from, size_t width, struct tb_bytes *out)
{
    struct tb_bytes head;
    size_t len = 0;

    if (!take(from, width, &head)) {
        return false;
    }
    for (size_t i = 0; i < width; i++) {
        len = len << 8 | head.at[i];
    }
    return take(from, len, out);
}

/* Names are ASCII; anything else is written as \DDD. */
static void
put_name(char out[SUMMARY_NAME_SIZE], struct tb_bytes name)
{
    size_t len = 0;

    for (size_t i = 0; i < name.len && len + 5 < SUMMARY_NAME_SIZE; i++) {
        uint8_t c = name.at[i];

        if (c <= 0x20 || c >= 0x7f || c == '\\') {
            len += (size_t)snprintf(out + len, SUMMARY_NAME_SIZE - len, "\\%03u", c);
        } else {
            out[len++] = (char)c;
        }
    }
    out[len] = '\0';
}

static bool
read_server_name(struct tb_bytes extension, char out[SUMMARY_NAME_SIZE])
{
    struct tb_bytes list, type, name;

    if (!take_vector(&extension, 2, &list)) {
        return false;
    }
    while (take(&list, 1, &type) && take_vector(&list, 2, &name)) {
        if (type.at[0] == NAME_TYPE_HOST && name.len > 0) {
            put_name(out, name);
            return true;
        }
    }
    return false;
}

enum summary_found
summary_hello_message(struct tb_bytes message, char out[SUMMARY_NAME_SIZE])
{
    struct tb_bytes body, skipped, extensions, head, content;

    if (message.len < HANDSHAKE_HEAD) {
        return SUMMARY_MORE;
    }
    if (message.at[0] != CLIENT_HELLO || tb_get_be24(message.at + 1) > HELLO_MAX) {
        return SUMMARY_NOT_ONE;
    }
    message = tb_bytes_of(message.at + 1, message.len - 1);
    if (!take_vector(&message, 3, &body)) {
        return SUMMARY_MORE;
    }
    out[0] = '\0';
    if (!take(&body, VERSION_AND_RANDOM, &skipped) || !take_vector(&body, 1, &skipped) ||
        !take_vector(&body, 2, &skipped) || !take_vector(&body, 1, &skipped)) {
        return SUMMARY_NOT_ONE;
    }
    if (!take_vector(&body, 2, &extensions)) {
        return SUMMARY_FOUND; /* without extensions */
    }
    while (take(&extensions, 2, &head) && take_vector(&extensions, 2, &content)) {
        if (tb_get_be16(head.at) == EXTENSION_SERVER_NAME && read_server_name(content, out)) {
            break;
        }
    }
    return SUMMARY_FOUND;
}

bool
summary_hello_begins(struct tb_bytes octets)
{
    return octets.len > 0 && octets.at[0] == RECORD_HANDSHAKE &&
           (octets.len < 2 || octets.at[1] == 3) && (octets.len < 3 || octets.at[2] <= 4) &&
           (octets.len <= RECORD_HEAD || octets.at[RECORD_HEAD] == CLIENT_HELLO);
}

enum summary_found
summary_hello_read(struct tb_bytes records, char out[SUMMARY_NAME_SIZE])
{
    uint8_t message[HANDSHAKE_HEAD + HELLO_MAX];
    size_t len = 0;

    if (!summary_hello_begins(records)) {
        return records.len == 0 ? SUMMARY_MORE : SUMMARY_NOT_ONE;
    }
    for (;;) {
        enum summary_found found = summary_hello_message(tb_bytes_of(message, len), out);
        size_t part, room = sizeof(message) - len;

        if (found != SUMMARY_MORE || records.len < RECORD_HEAD) {
            return found;
        }
        part = tb_get_be16(records.at + 3);
        if (records.at[0] != RECORD_HANDSHAKE || part == 0 || part > RECORD_MAX || room == 0) {
            return SUMMARY_NOT_ONE;
        }
        records = tb_bytes_of(records.at + RECORD_HEAD, records.len - RECORD_HEAD);
        part = part < records.len ? part : records.len;
        memcpy(message + len, records.at, part < room ? part : room);
        len += part < room ? part : room;
        records = tb_bytes_of(records.at + part, records.len - part);
    }
}
