/* Names in a DNS message (RFC 1035; mDNS and LLMNR are written alike). */
#include "summary_int.h"

#include <stdio.h>

enum {
    HEAD = 12,
    QUESTION_TAIL = 4, /* type and class */
    RECORD_TAIL = 10,  /* type, class, time to live, length */
    NAME_MAX_OCTETS = 255,
    MAX_JUMPS = 32,
    MAX_QUESTIONS = 64,
    MAX_ANSWERS = 128,
    TYPE_A = 1,
    TYPE_AAAA = 28
};

/* One label's octets as text: what is not a plain character as \DDD (RFC 4343). */
static size_t
put_label(char *out, size_t len, size_t cap, const uint8_t *at, size_t count)
{
    for (size_t i = 0; i < count && len + 5 < cap; i++) {
        if (at[i] < 0x20 || at[i] >= 0x7f || at[i] == '.' || at[i] == '\\') {
            len += (size_t)snprintf(out + len, cap - len, "\\%03u", at[i]);
        } else {
            out[len++] = (char)at[i];
        }
    }
    return len;
}

/* Reads the name at *at and steps behind it.  False when it is not one. */
static bool
read_name(struct tb_bytes message, size_t *at, char out[SUMMARY_NAME_SIZE])
{
    size_t here = *at, len = 0, octets = 0;
    bool jumped = false;

    for (int jumps = 0;;) {
        uint8_t count;

        if (here >= message.len) {
            return false;
        }
        count = message.at[here];
        if (count == 0) {
            *at = jumped ? *at : here + 1;
            break;
        }
        if ((count & 0xc0) == 0xc0) {
            if (here + 2 > message.len || ++jumps > MAX_JUMPS) {
                return false;
            }
            *at = jumped ? *at : here + 2;
            jumped = true;
            here = (size_t)(tb_get_be16(message.at + here) & 0x3fff);
            continue;
        }
        octets += (size_t)count + 1;
        if (count > 63 || octets > NAME_MAX_OCTETS || here + 1 + count > message.len) {
            return false;
        }
        if (len > 0 && len + 1 < SUMMARY_NAME_SIZE) {
            out[len++] = '.';
        }
        len = put_label(out, len, SUMMARY_NAME_SIZE, message.at + here + 1, count);
        here += (size_t)count + 1;
    }
    if (len == 0) {
        out[len++] = '.'; /* the root */
    }
    out[len] = '\0';
    return true;
}

static void
read_addresses(struct tb_bytes message, size_t at, unsigned count, const char *name,
               const struct summary_dns_sink *sink)
{
    char owner[SUMMARY_NAME_SIZE];

    for (unsigned i = 0; i < count && i < MAX_ANSWERS; i++) {
        struct summary_address address = {{0}};
        uint16_t type;
        size_t len;

        if (!read_name(message, &at, owner) || message.len - at < RECORD_TAIL) {
            return;
        }
        type = tb_get_be16(message.at + at);
        len = tb_get_be16(message.at + at + 8);
        at += RECORD_TAIL;
        if (message.len - at < len) {
            return;
        }
        if (type == TYPE_A && len == 4) {
            address.octets[10] = address.octets[11] = 0xff;
            memcpy(address.octets + 12, message.at + at, 4);
            sink->address(sink->arg, name, &address);
        } else if (type == TYPE_AAAA && len == 16) {
            memcpy(address.octets, message.at + at, 16);
            sink->address(sink->arg, name, &address);
        }
        at += len;
    }
}

void
summary_dns_read(struct tb_bytes message, const struct summary_dns_sink *sink)
{
    char name[SUMMARY_NAME_SIZE], first[SUMMARY_NAME_SIZE] = "";
    size_t at = HEAD;
    unsigned questions, answers;
    bool is_response;

    if (message.len < HEAD) {
        return;
    }
    is_response = (message.at[2] & 0x80) != 0;
    questions = tb_get_be16(message.at + 4);
    answers = tb_get_be16(message.at + 6);
    for (unsigned i = 0; i < questions; i++) {
        if (i >= MAX_QUESTIONS || !read_name(message, &at, name) ||
            message.len - at < QUESTION_TAIL) {
            return;
        }
        at += QUESTION_TAIL;
        sink->question(sink->arg, name, is_response);
        if (i == 0) {
            memcpy(first, name, sizeof(first));
        }
    }
    if (is_response && first[0] != '\0') {
        read_addresses(message, at, answers, first, sink);
    }
}
