/*
 * QUIC's Initial packets that an attacker chose.
 *
 * Input: a first octet, and by it (modulo 3)
 *   0  a datagram;
 *   1  the frames of one packet, as if decrypted;
 *   2  an octet of order, an octet of size, and a handshake message that comes in pieces of
 * that size, in that order, some of them twice. Property: nothing is told that the message as a
 * whole does not say, and all that it says, once.
 */
#include <stdlib.h>

#include "../../src/summary/summary_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    MESSAGE_MAX = 4096,
    HEAD = 9 /* of a CRYPTO frame, with numbers of four octets */
};

struct told {
    unsigned times;
    char name[SUMMARY_NAME_SIZE];
};

static void
require(bool good)
{
    if (!good) {
        abort();
    }
}

static void
on_name(void *arg, const char *name)
{
    struct told *told = arg;

    told->times++;
    require(strlen(name) > 0 && strlen(name) < SUMMARY_NAME_SIZE);
    memcpy(told->name, name, strlen(name) + 1);
}

static void
put_number(uint8_t *at, size_t number)
{
    at[0] = 0x80;
    at[1] = 0;
    at[2] = (uint8_t)(number >> 8);
    at[3] = (uint8_t)number;
}

static void
give_piece(struct summary_quic *quic, const struct summary_ends *ends, struct tb_bytes message,
           size_t from, size_t len)
{
    uint8_t *frame;

    len = len < message.len - from ? len : message.len - from;
    frame = malloc(HEAD + len); /* of exactly its size, for the sanitizer */
    require(frame != NULL);
    frame[0] = 6;
    put_number(frame + 1, from);
    put_number(frame + 5, len);
    memcpy(frame + HEAD, message.at + from, len);
    summary_quic_frames(quic, ends, tb_bytes_of(frame, HEAD + len));
    free(frame);
}

/* The pieces are 2^k of them gone through in steps of an odd number: each has its turn. */
static void
give_pieces(struct summary_quic *quic, const struct summary_ends *ends, struct tb_bytes message,
            uint8_t order, uint8_t size)
{
    size_t least = (message.len + SUMMARY_WINDOW_RANGES - 1) / SUMMARY_WINDOW_RANGES;
    size_t len = least > size ? least : size, at = order;

    for (size_t i = 0; i < SUMMARY_WINDOW_RANGES; i++) {
        at = (at + (order | 1U)) % SUMMARY_WINDOW_RANGES;
        if (at * len < message.len) {
            give_piece(quic, ends, message, at * len, len);
            if ((order & 2) != 0) {
                give_piece(quic, ends, message, at * len, len);
            }
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct told told = {0, ""};
    struct summary_quic *quic = NULL;
    const struct summary_ends ends = {.src_port = 50000, .dst_port = 443};

    if (size < 4 || size > MESSAGE_MAX) {
        return 0;
    }
    require(summary_quic_new(on_name, &told, &quic) == TB_OK);
    if (data[0] % 3 == 0) {
        summary_quic_add(quic, &ends, tb_bytes_of(data + 1, size - 1));
        require(told.times <= 1);
    } else if (data[0] % 3 == 1) {
        summary_quic_frames(quic, &ends, tb_bytes_of(data + 1, size - 1));
        require(told.times <= 1);
    } else {
        struct tb_bytes message = tb_bytes_of(data + 3, size - 3);
        char name[SUMMARY_NAME_SIZE] = "";
        enum summary_found found = summary_hello_message(message, name);

        give_pieces(quic, &ends, message, data[1], data[2]);
        require(told.times == (found == SUMMARY_FOUND && name[0] != '\0' ? 1 : 0));
        require(told.times == 0 || strcmp(told.name, name) == 0);
        require(summary_quic_lost(quic) == 0);
    }
    summary_quic_free(quic);
    return 0;
}
