/* ClientHellos in Initial packets, which OpenSSL seals here by RFC 9001, section 5. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include <tapbox/digest.h>

#include "../../../src/summary/summary_int.h"
#include "wire.h"

enum {
    V1 = 1,
    V2 = 0x6b3343cf,
    AT_ONCE = 128, /* connections that are known, of quic.c */
    PADDED = 1162,
    TAG = 16
};

struct told {
    unsigned times;
    char name[SUMMARY_NAME_SIZE];
};

static void
on_name(void *arg, const char *name)
{
    struct told *told = arg;

    told->times++;
    (void)snprintf(told->name, sizeof(told->name), "%s", name);
}

static struct summary_quic *
new_quic(struct told *told)
{
    struct summary_quic *quic = NULL;

    *told = (struct told){0, ""};
    assert_int_equal(summary_quic_new(on_name, told, &quic), TB_OK);
    return quic;
}

/* The `n`-th client to one server. */
static struct summary_ends
ends_of(unsigned n)
{
    struct summary_ends ends = {.src_port = (uint16_t)(1024 + n), .dst_port = 443};

    ends.src.octets[15] = 1;
    ends.dst.octets[15] = 2;
    return ends;
}

static void
expand(struct tb_bytes secret, const char *label, uint8_t size, uint8_t *out)
{
    struct wire info = {{0}, 0};
    struct tb_sha256 made;

    wire_u16(&info, size);
    wire_u8(&info, (unsigned)(6 + strlen(label)));
    wire_put(&info, "tls13 ", 6);
    wire_put(&info, label, strlen(label));
    wire_u16(&info, 1); /* no context, the first round */
    assert_int_equal(tb_hmac_sha256(secret, wire_bytes(&info), &made), TB_OK);
    memcpy(out, made.octets, size);
}

static void
encrypt(const EVP_CIPHER *cipher, const uint8_t *key, const uint8_t *nonce,
        struct tb_bytes beside, struct tb_bytes plain, uint8_t *out)
{
    EVP_CIPHER_CTX *evp = EVP_CIPHER_CTX_new();
    int len = 0;

    assert_non_null(evp);
    assert_int_equal(EVP_EncryptInit_ex(evp, cipher, NULL, key, nonce), 1);
    assert_int_equal(
        beside.len == 0 ? 1 : EVP_EncryptUpdate(evp, NULL, &len, beside.at, (int)beside.len),
        1);
    assert_int_equal(EVP_EncryptUpdate(evp, out, &len, plain.at, (int)plain.len), 1);
    if (nonce != NULL) {
        assert_int_equal(EVP_EncryptFinal_ex(evp, out + len, &len), 1);
        assert_int_equal(EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_GET_TAG, TAG, out + plain.len),
                         1);
    }
    EVP_CIPHER_CTX_free(evp);
}

/* A packet with keys of `first_id`, to `id`. */
static struct wire
initial(uint32_t version, const char *first_id, const char *id, unsigned number,
        const struct wire *frames)
{
    static const uint8_t salt_1[] = {0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34,
                                     0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8,
                                     0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a};
    static const uint8_t salt_2[] = {0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6,
                                     0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26,
                                     0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9};
    bool is_2 = version == V2;
    struct tb_sha256 secret, client;
    struct wire w = {{0}, 0};
    struct wire plain = *frames;
    uint8_t key[16], hp[16], iv[12], mask[16];

    plain.len = plain.len < PADDED ? PADDED : plain.len; /* padding is zeros */
    assert_int_equal(tb_hmac_sha256(tb_bytes_of(is_2 ? salt_2 : salt_1, 20),
                                    tb_bytes_str(first_id), &secret),
                     TB_OK);
    expand(tb_bytes_of(secret.octets, 32), "client in", 32, client.octets);
    expand(tb_bytes_of(client.octets, 32), is_2 ? "quicv2 key" : "quic key", 16, key);
    expand(tb_bytes_of(client.octets, 32), is_2 ? "quicv2 iv" : "quic iv", 12, iv);
    expand(tb_bytes_of(client.octets, 32), is_2 ? "quicv2 hp" : "quic hp", 16, hp);
    wire_u8(&w, is_2 ? 0xd0 : 0xc0);
    wire_u32(&w, version);
    wire_u8(&w, (unsigned)strlen(id));
    wire_put(&w, id, strlen(id));
    wire_u8(&w, 0); /* the client's own id, the token */
    wire_u8(&w, 0);
    wire_u16(&w, (unsigned)(0x4000 | (1 + plain.len + TAG)));
    wire_u8(&w, number);
    iv[11] ^= (uint8_t)number;
    encrypt(EVP_aes_128_gcm(), key, iv, wire_bytes(&w), wire_bytes(&plain), w.at + w.len);
    encrypt(EVP_aes_128_ecb(), hp, NULL, tb_bytes_of(NULL, 0),
            tb_bytes_of(w.at + w.len + 3, 16), mask);
    w.at[0] ^= mask[0] & 0x0f;
    w.at[w.len - 1] ^= mask[1];
    w.len += plain.len + TAG;
    return w;
}

/* The handshake message, out of its one record. */
static struct wire
message_of(const char *name, size_t padding)
{
    struct wire records = wire_hello(name, padding, 16384), message = {{0}, 0};

    wire_put(&message, records.at + 5, records.len - 5);
    return message;
}

static void
put_crypto(struct wire *frames, const struct wire *message, size_t from, size_t to)
{
    to = to < message->len ? to : message->len;
    wire_u8(frames, 6);
    wire_u16(frames, (unsigned)(0x4000 | from));
    wire_u16(frames, (unsigned)(0x4000 | (to - from)));
    wire_put(frames, message->at + from, to - from);
}

static struct wire
whole(uint32_t version, const char *id)
{
    struct wire message = message_of("evil.example", 0), frames = {{0}, 0};

    put_crypto(&frames, &message, 0, message.len);
    return initial(version, id, id, 0, &frames);
}

static void
a_hello_in_one_packet_names_its_server_once(void **state)
{
    static const uint32_t versions[] = {V1, V2};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct told told;
        struct summary_quic *quic = new_quic(&told);
        struct wire packet = whole(versions[i], "12345678");
        struct summary_ends ends = ends_of(0);

        assert_true(summary_quic_begins(wire_bytes(&packet)));
        summary_quic_add(quic, &ends, wire_bytes(&packet));
        assert_string_equal(told.name, "evil.example");
        summary_quic_add(quic, &ends, wire_bytes(&packet)); /* sent again */
        assert_int_equal(told.times, 1);
        packet = whole(versions[i], "another1"); /* a new connection by the same ports */
        summary_quic_add(quic, &ends, wire_bytes(&packet));
        assert_int_equal(told.times, 2);
        assert_int_equal(summary_quic_lost(quic), 0);
        summary_quic_free(quic);
    }
}

static void
a_packet_that_is_cut_or_changed_anywhere_names_nothing(void **state)
{
    struct told told;
    struct summary_quic *quic = new_quic(&told);
    struct wire packet = whole(V1, "12345678");
    struct summary_ends ends = ends_of(0);

    (void)state;
    for (size_t len = 0; len < packet.len; len++) {
        uint8_t *cut = malloc(len > 0 ? len : 1); /* of exactly its size, for the sanitizer */

        assert_non_null(cut);
        memcpy(cut, packet.at, len);
        summary_quic_add(quic, &ends, tb_bytes_of(cut, len));
        free(cut);
    }
    for (size_t i = 0; i < packet.len; i++) {
        packet.at[i] ^= 0x04;
        summary_quic_add(quic, &ends, wire_bytes(&packet));
        packet.at[i] ^= 0x04;
    }
    assert_int_equal(told.times, 0);
    summary_quic_add(quic, &ends, wire_bytes(&packet));
    assert_int_equal(told.times, 1);
    summary_quic_free(quic);
}

static void
a_hello_over_packets_in_any_order_is_put_together(void **state)
{
    static const unsigned orders[][3] = {{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {2, 0, 1}};
    struct wire message = message_of("long.example", 2000);

    (void)state;
    for (size_t o = 0; o < 4; o++) {
        struct told told;
        struct summary_quic *quic = new_quic(&told);
        struct summary_ends ends = ends_of(0);

        for (unsigned i = 0; i < 3; i++) {
            struct wire frames = {{0}, 0};
            struct wire packet;
            size_t from = orders[o][i] * 800;

            /* the second half first, with a ping and an acknowledgement around */
            put_crypto(&frames, &message, from + 400, from + 800);
            wire_put(&frames, "\1\2\0\0\1\0\0\0", 8);
            put_crypto(&frames, &message, from, from + 400);
            assert_int_equal(told.times, 0);
            /* the client goes over to the id that the server chose: the keys stay */
            packet = initial(V1, "12345678", i < 2 ? "12345678" : "server", i, &frames);
            summary_quic_add(quic, &ends, wire_bytes(&packet));
        }
        assert_int_equal(told.times, 1);
        assert_string_equal(told.name, "long.example");
        summary_quic_free(quic);
    }
}

static void
those_that_never_end_their_hello_make_room_and_are_counted(void **state)
{
    struct told told;
    struct summary_quic *quic = new_quic(&told);
    struct wire message = message_of("late.example", 0);
    struct wire half = {{0}, 0}, rest = {{0}, 0}, far = {{0}, 0};
    struct summary_ends ends;

    (void)state;
    put_crypto(&half, &message, 0, 30);
    put_crypto(&rest, &message, 30, message.len);
    for (unsigned i = 0; i < AT_ONCE + 3; i++) {
        ends = ends_of(i);
        summary_quic_frames(quic, &ends, wire_bytes(&half));
    }
    assert_int_equal(summary_quic_lost(quic), 3);
    ends = ends_of(3); /* the oldest that is left */
    summary_quic_frames(quic, &ends, wire_bytes(&rest));
    assert_string_equal(told.name, "late.example");
    ends = ends_of(4);
    wire_put(&far, "\6\x80\x00\xff\xff\1x", 7); /* far beyond a ClientHello */
    summary_quic_frames(quic, &ends, wire_bytes(&far));
    summary_quic_frames(quic, &ends, wire_bytes(&rest));
    assert_int_equal(summary_quic_lost(quic), 4);
    assert_int_equal(told.times, 1);
    summary_quic_free(quic);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hello_in_one_packet_names_its_server_once),
        cmocka_unit_test(a_packet_that_is_cut_or_changed_anywhere_names_nothing),
        cmocka_unit_test(a_hello_over_packets_in_any_order_is_put_together),
        cmocka_unit_test(those_that_never_end_their_hello_make_room_and_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
