/*
 * The ClientHello in QUIC's Initial packets, which are encrypted with keys made of what stands
 * in their header: it hides nothing from who sees the packet.  A ClientHello may be spread over
 * a few packets, in pieces in any order.
 *
 * Source: RFC 9000, sections 16 to 19; RFC 9001, section 5; RFC 9369, section 3.
 */
#include "summary_int.h"

#include <stdlib.h>

#include <tapbox/cipher.h>
#include <tapbox/digest.h>

enum {
    AT_ONCE = 128,        /* connections that are known: 2.5 MiB when all wait for more */
    PLAIN_MAX = 65535,    /* octets of a datagram */
    HEADER_MAX = 2048,    /* octets of a packet's; most of it is a token of the server's */
    PACKETS_IN_ONE = 8,   /* datagram that are looked at */
    ID_MAX = 20,          /* octets of a connection id */
    NUMBER_MAX = 4,       /* octets of a packet number */
    LONG_HEADER = 0xc0,   /* form and fixed bit */
    VERSION_AT = 1,       /* offsets */
    ID_AT = 5,            /* the destination's length */
    NUMBER_LENGTH = 0x03, /* bits of the first octet, behind its protection */
    PROTECTED = 0x0f,     /* bits of the first octet that are protected */
    SALT_SIZE = 20,
    FRAME_PADDING = 0,
    FRAME_PING = 1,
    FRAME_ACK = 2,
    FRAME_ACK_ECN = 3,
    FRAME_CRYPTO = 6,
    FRAME_CLOSE = 0x1c
};

static const struct version {
    uint32_t number;
    uint8_t initial; /* the type of an Initial packet, two bits */
    uint8_t salt[SALT_SIZE];
    const char *key, *iv, *hp; /* labels */
} versions[] = {
    {1,
     0,
     {0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
      0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a},
     "tls13 quic key",
     "tls13 quic iv",
     "tls13 quic hp"},
    {0x6b3343cf,
     1,
     {0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93,
      0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9},
     "tls13 quicv2 key",
     "tls13 quicv2 iv",
     "tls13 quicv2 hp"},
};

struct keys { /* of the client's Initial packets */
    uint8_t key[TB_AES128_KEY_SIZE], hp[TB_AES128_KEY_SIZE], iv[TB_GCM_NONCE_SIZE];
};

struct connection {
    struct summary_ends ends; /* from the client to the server */
    uint64_t used;            /* when it was last seen, by the clock of packets */
    bool is_done;             /* its ClientHello was read, or given up */
    struct keys keys;         /* of the first packet: they stay while the ids change */
    struct summary_window hello;
};

struct summary_quic {
    summary_name_fn *on_name;
    void *arg;
    uint8_t *plain; /* owned, PLAIN_MAX; the packet in hand */
    uint64_t clock, lost;
    size_t count;
    struct connection list[AT_ONCE];
};

enum tb_err
summary_quic_new(summary_name_fn *on_name, void *arg, struct summary_quic **out)
{
    struct summary_quic *quic = calloc(1, sizeof(*quic));

    if (quic == NULL) {
        return TB_ENOMEM;
    }
    quic->on_name = on_name;
    quic->arg = arg;
    *out = quic;
    return TB_OK;
}

void
summary_quic_free(struct summary_quic *quic)
{
    if (quic != NULL) {
        for (size_t i = 0; i < quic->count; i++) {
            summary_window_release(&quic->list[i].hello);
        }
        free(quic->plain);
        free(quic);
    }
}

uint64_t
summary_quic_lost(const struct summary_quic *quic)
{
    return quic->lost;
}

/* --- reading --- */

static bool
take(struct tb_bytes *from, uint64_t count, struct tb_bytes *out)
{
    if (count > from->len) {
        return false;
    }
    *out = tb_bytes_of(from->at, (size_t)count);
    *from = tb_bytes_of(from->at + count, from->len - (size_t)count);
    return true;
}

/* RFC 9000, section 16: the first two bits say of how many octets it is. */
static bool
take_number(struct tb_bytes *from, uint64_t *out)
{
    struct tb_bytes octets;

    if (from->len == 0 || !take(from, UINT64_C(1) << (from->at[0] >> 6), &octets)) {
        return false;
    }
    *out = octets.at[0] & 0x3f;
    for (size_t i = 1; i < octets.len; i++) {
        *out = *out << 8 | octets.at[i];
    }
    return true;
}

static const struct version *
version_of(struct tb_bytes datagram)
{
    if (datagram.len <= ID_AT || (datagram.at[0] & LONG_HEADER) != LONG_HEADER) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        if (versions[i].number == tb_get_be32(datagram.at + VERSION_AT)) {
            return &versions[i];
        }
    }
    return NULL;
}

bool
summary_quic_begins(struct tb_bytes datagram)
{
    return version_of(datagram) != NULL;
}

struct packet {
    const struct version *version;
    bool is_initial;
    struct tb_bytes id;     /* the destination's */
    struct tb_bytes header; /* up to the packet number */
    struct tb_bytes rest;   /* packet number and payload, protected */
};

/* Takes one packet with a long header off; false where there is none. */
static bool
take_packet(struct tb_bytes *datagram, struct packet *out)
{
    const uint8_t *begin = datagram->at;
    struct tb_bytes skipped, id;
    uint64_t len = 0;

    out->version = version_of(*datagram);
    if (out->version == NULL) {
        return false;
    }
    out->is_initial = (begin[0] >> 4 & 3) == out->version->initial;
    if (!take(datagram, ID_AT, &skipped) || !take(datagram, 1, &id) || id.at[0] > ID_MAX ||
        !take(datagram, id.at[0], &out->id) || !take(datagram, 1, &id) || id.at[0] > ID_MAX ||
        !take(datagram, id.at[0], &skipped)) {
        return false;
    }
    if (out->is_initial &&
        (!take_number(datagram, &len) || !take(datagram, len, &skipped))) { /* the token */
        return false;
    }
    if (!take_number(datagram, &len)) {
        return false;
    }
    out->header = tb_bytes_of(begin, (size_t)(datagram->at - begin));
    return take(datagram, len, &out->rest);
}

/* --- keys --- */

/* HKDF-Expand-Label of RFC 8446 for at most 32 octets and an empty context. */
static bool
expand(const struct tb_sha256 *secret, const char *label, size_t size, uint8_t *out)
{
    uint8_t info[64];
    size_t len = strlen(label);
    struct tb_sha256 made;

    info[0] = 0;
    info[1] = (uint8_t)size;
    info[2] = (uint8_t)len;
    memcpy(info + 3, label, len);
    info[3 + len] = 0; /* no context */
    info[4 + len] = 1; /* the only round */
    if (tb_hmac_sha256(tb_bytes_of(secret->octets, sizeof(secret->octets)),
                       tb_bytes_of(info, 5 + len), &made) != TB_OK) {
        return false;
    }
    memcpy(out, made.octets, size);
    return true;
}

static bool
make_keys(const struct packet *packet, struct keys *out)
{
    const struct version *version = packet->version;
    struct tb_sha256 initial, client;

    return tb_hmac_sha256(tb_bytes_of(version->salt, SALT_SIZE), packet->id, &initial) ==
               TB_OK &&
           expand(&initial, "tls13 client in", sizeof(client.octets), client.octets) &&
           expand(&client, version->key, sizeof(out->key), out->key) &&
           expand(&client, version->iv, sizeof(out->iv), out->iv) &&
           expand(&client, version->hp, sizeof(out->hp), out->hp);
}

/* Decrypts one packet into quic->plain. */
static bool
open_packet(struct summary_quic *quic, const struct packet *packet, const struct keys *keys,
            struct tb_bytes *out)
{
    uint8_t mask[TB_AES_BLOCK_SIZE], nonce[TB_GCM_NONCE_SIZE];
    uint8_t head[HEADER_MAX];
    size_t head_len = packet->header.len, number_len;
    struct tb_bytes sealed;

    if (packet->rest.len < NUMBER_MAX + TB_AES_BLOCK_SIZE ||
        head_len + NUMBER_MAX > sizeof(head) ||
        tb_aes128_block(keys->hp, packet->rest.at + NUMBER_MAX, mask) != TB_OK) {
        return false;
    }
    memcpy(head, packet->header.at, head_len);
    head[0] ^= mask[0] & PROTECTED;
    number_len = 1 + (size_t)(head[0] & NUMBER_LENGTH);
    memcpy(nonce, keys->iv, sizeof(nonce));
    for (size_t i = 0; i < number_len; i++) { /* the first packets have small numbers: all of
                                                 theirs is there */
        head[head_len + i] = packet->rest.at[i] ^ mask[1 + i];
        nonce[sizeof(nonce) - number_len + i] ^= head[head_len + i];
    }
    sealed = tb_bytes_of(packet->rest.at + number_len, packet->rest.len - number_len);
    if (tb_aes128_gcm_open(keys->key, nonce, tb_bytes_of(head, head_len + number_len), sealed,
                           quic->plain) != TB_OK) {
        return false;
    }
    *out = tb_bytes_of(quic->plain, sealed.len - TB_GCM_TAG_SIZE);
    return true;
}

/* --- connections --- */

static bool
are_same(const struct summary_ends *a, const struct summary_ends *b)
{
    return a->src_port == b->src_port && a->dst_port == b->dst_port &&
           memcmp(&a->src, &b->src, sizeof(a->src)) == 0 &&
           memcmp(&a->dst, &b->dst, sizeof(a->dst)) == 0;
}

static struct connection *
find(struct summary_quic *quic, const struct summary_ends *ends)
{
    for (size_t i = 0; i < quic->count; i++) {
        if (are_same(&quic->list[i].ends, ends)) {
            return &quic->list[i];
        }
    }
    return NULL;
}

static void
give_up(struct summary_quic *quic, struct connection *connection)
{
    quic->lost += connection->is_done ? 0 : 1;
    connection->is_done = true;
    summary_window_release(&connection->hello);
}

/* `old` begins anew, or one in the place of that which was silent longest. */
static struct connection *
begin(struct summary_quic *quic, const struct summary_ends *ends, struct connection *old)
{
    struct connection *one = old != NULL ? old : &quic->list[0];

    if (old == NULL && quic->count < AT_ONCE) {
        one = &quic->list[quic->count++];
    } else {
        for (size_t i = 0; old == NULL && i < AT_ONCE; i++) {
            one = quic->list[i].used < one->used ? &quic->list[i] : one;
        }
        give_up(quic, one);
    }
    *one = (struct connection){.ends = *ends};
    return one;
}

/* --- frames --- */

static bool
skip_numbers(struct tb_bytes *frames, uint64_t count)
{
    uint64_t skipped;

    while (count > 0 && take_number(frames, &skipped)) {
        count--;
    }
    return count == 0;
}

/* What an ACK says is of no interest; false when it is not whole. */
static bool
skip_ack(struct tb_bytes *frames, bool with_ecn)
{
    uint64_t ranges;

    return skip_numbers(frames, 2) && take_number(frames, &ranges) && ranges <= frames->len &&
           skip_numbers(frames, 1 + 2 * ranges + (with_ecn ? 3 : 0));
}

/* Takes frames off up to the next piece of the ClientHello; false when there is none. */
static bool
take_crypto(struct tb_bytes *frames, uint64_t *out_offset, struct tb_bytes *out)
{
    uint64_t type, len;
    bool whole = true;

    while (whole && take_number(frames, &type)) {
        switch (type) {
        case FRAME_PADDING:
        case FRAME_PING:
            break;
        case FRAME_ACK:
        case FRAME_ACK_ECN:
            whole = skip_ack(frames, type == FRAME_ACK_ECN);
            break;
        case FRAME_CRYPTO:
            return take_number(frames, out_offset) && take_number(frames, &len) &&
                   take(frames, len, out);
        case FRAME_CLOSE: /* nothing that matters comes behind it */
        default:          /* is not allowed in an Initial packet */
            return false;
        }
    }
    return false;
}

static void
read_frames(struct summary_quic *quic, struct connection *one, struct tb_bytes frames)
{
    char name[SUMMARY_NAME_SIZE] = "";
    struct tb_bytes piece;
    uint64_t offset;
    enum summary_found found;

    one->used = ++quic->clock;
    while (!one->is_done && take_crypto(&frames, &offset, &piece)) {
        if (offset > SUMMARY_WINDOW || piece.len > SUMMARY_WINDOW - offset ||
            !summary_window_put(&one->hello, (size_t)offset, piece)) {
            give_up(quic, one);
        }
    }
    if (one->is_done) {
        return;
    }
    found = summary_hello_message(summary_window_in_order(&one->hello), name);
    if (found != SUMMARY_MORE) {
        one->is_done = true;
        summary_window_release(&one->hello);
    }
    if (found == SUMMARY_FOUND && name[0] != '\0') {
        quic->on_name(quic->arg, name);
    }
}

void
summary_quic_frames(struct summary_quic *quic, const struct summary_ends *ends,
                    struct tb_bytes frames)
{
    struct connection *one = find(quic, ends);

    read_frames(quic, one != NULL ? one : begin(quic, ends, NULL), frames);
}

static void
read_initial(struct summary_quic *quic, const struct summary_ends *ends,
             const struct packet *packet)
{
    struct connection *one = find(quic, ends);
    struct tb_bytes frames;
    struct keys keys;

    /* the same keys while it lasts; others of a new one by the same ports, or after a Retry */
    if (one == NULL || !open_packet(quic, packet, &one->keys, &frames)) {
        if (!make_keys(packet, &keys) || !open_packet(quic, packet, &keys, &frames)) {
            return; /* the server's, or none */
        }
        one = begin(quic, ends, one);
        one->keys = keys;
    }
    read_frames(quic, one, frames);
}

void
summary_quic_add(struct summary_quic *quic, const struct summary_ends *ends,
                 struct tb_bytes datagram)
{
    struct packet packet;

    if (quic->plain == NULL) {
        quic->plain = malloc(PLAIN_MAX);
    }
    for (size_t i = 0; i < PACKETS_IN_ONE && quic->plain != NULL && datagram.len <= PLAIN_MAX &&
                       take_packet(&datagram, &packet);
         i++) {
        if (packet.is_initial) {
            read_initial(quic, ends, &packet);
        }
    }
}
