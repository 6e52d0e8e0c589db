/* Matches between packets: true for whatever comes, and found where they are known to be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <tapbox/pcapng.h>

#include "../../support/matches.h"

struct chunk {
    uint8_t at[ZMATCH_MAX_BYTES];
    size_t len;
    uint32_t packets;
};

struct rig {
    struct zmatch_finder *finder;
    struct zframe_compressor *compressor;
    struct zframe_decompressor *decompressor;
    struct chunk chunk;
    uint64_t random;
};

static int
setup(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    assert_non_null(rig);
    assert_int_equal(zmatch_finder_new(&rig->finder), TB_OK);
    assert_int_equal(zframe_compressor_new(1, &rig->compressor), TB_OK);
    assert_int_equal(zframe_decompressor_new(&rig->decompressor), TB_OK);
    rig->random = 42;
    *state = rig;
    return 0;
}

static int
teardown(void **state)
{
    struct rig *rig = *state;

    zmatch_finder_free(rig->finder);
    zframe_compressor_free(rig->compressor);
    zframe_decompressor_free(rig->decompressor);
    free(rig);
    return 0;
}

static uint64_t
next_random(struct rig *rig)
{
    rig->random ^= rig->random << 13;
    rig->random ^= rig->random >> 7;
    rig->random ^= rig->random << 17;
    return rig->random;
}

static void
fill_random(struct rig *rig, uint8_t *at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        at[i] = (uint8_t)next_random(rig);
    }
}

/* Packet number `n` of a TCP conversation, with `payload` behind its headers; false when the
 * chunk is full. */
static bool
add_packet(struct rig *rig, size_t conversation, size_t n, const uint8_t *payload, size_t len)
{
    static uint8_t frame[TB_SNAPLEN_MAX];
    static const uint8_t headers[54] = {
        6, 0, 0,  0, 0, 2, 6,  0, 0, 0, 0, 1,   8,   0, 69, 0, 0, 0, 0, 0, 0, 0, 64,   6,
        0, 0, 10, 9, 0, 1, 10, 9, 1, 2, 1, 187, 128, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0x50, 16};
    struct tb_pcapng_packet packet = {.utc_ns =
                                          INT64_C(1700000000000000000) + (int64_t)n * 7919,
                                      .captured = (uint32_t)(sizeof(headers) + len),
                                      .original = (uint32_t)(sizeof(headers) + len)};
    size_t put;

    memcpy(frame, headers, sizeof(headers));
    frame[33] = (uint8_t)conversation;
    frame[36] = (uint8_t)(conversation >> 8);
    fill_random(rig, frame + 38, 8); /* its numbers */
    fill_random(rig, frame + 50, 2);
    memcpy(frame + sizeof(headers), payload, len);
    put = tb_pcapng_put_packet(rig->chunk.at + rig->chunk.len,
                               sizeof(rig->chunk.at) - rig->chunk.len, &packet, frame);
    rig->chunk.len += put;
    rig->chunk.packets += put > 0;
    return put > 0;
}

/* Octets of the chunk, compressed at `level`, after everything about it was found true. */
static size_t
compressed(struct rig *rig, int level)
{
    /* (in memory of its own, so that the sanitizer sees its edges) */
    uint8_t *exact = malloc(rig->chunk.len + 1);
    struct tb_bytes plain;
    const ZSTD_Sequence *found;
    size_t count;
    size_t len = 0;

    assert_non_null(exact);
    memcpy(exact, rig->chunk.at, rig->chunk.len);
    plain = tb_bytes_of(exact, rig->chunk.len);
    for (unsigned patience = 1; patience <= 4; patience++) {
        found = zmatch_find(rig->finder, plain, patience, &count);
        assert_true(sequences_are_true(found, count, plain));
    }
    assert_true(comes_out_as_it_went_in(rig->compressor, rig->decompressor, plain,
                                        rig->chunk.packets + 1, level, &len));
    free(exact);
    return len;
}

static void
every_length_of_payload_comes_out_as_it_went_in(void **state)
{
    struct rig *rig = *state;
    uint8_t payload[1500];
    size_t n = 0;

    do {
        size_t len = n * 37 % sizeof(payload);

        fill_random(rig, payload, len);
        memset(payload, 'x', len / 3);
        n++;
        if (!add_packet(rig, n % 5, n, payload, len)) {
            break;
        }
    } while (true);
    assert_true(rig->chunk.len > ZMATCH_MAX_BYTES - 2000);
    for (int level = TB_SEGMENT_MIN_LEVEL; level <= 1; level++) {
        assert_true(compressed(rig, level == 0 ? -1 : level) < rig->chunk.len);
    }
}

static void
a_conversations_headers_cost_little(void **state)
{
    struct rig *rig = *state;
    uint8_t payload[300];

    for (size_t n = 0; n < 1000; n++) {
        fill_random(rig, payload, sizeof(payload));
        assert_true(add_packet(rig, n % 16, n, payload, sizeof(payload)));
    }
    /* 28 + 54 + 16 octets around each payload, of which 10 are random and 2 or 3 are time */
    assert_in_range(compressed(rig, 1), 1000 * 310, 1000 * 330);
}

/* The beginning of a TLS record, between random octets: 3 of 5 cost nothing. */
static void
what_payloads_begin_with_goes_with_the_headers(void **state)
{
    static const uint8_t record[3] = {0x17, 3, 3};
    struct rig *rig = *state;
    uint8_t payload[300];
    size_t without;

    for (size_t n = 0; n < 1000; n++) {
        fill_random(rig, payload, sizeof(payload));
        assert_true(add_packet(rig, 1, n, payload, sizeof(payload)));
    }
    without = compressed(rig, 1);
    rig->chunk.len = 0;
    rig->chunk.packets = 0;
    for (size_t n = 0; n < 1000; n++) {
        fill_random(rig, payload, sizeof(payload));
        memcpy(payload, record, sizeof(record));
        assert_true(add_packet(rig, 1, n, payload, sizeof(payload)));
    }
    assert_in_range(compressed(rig, 1), 0, without - 1000 * 2);
}

static void
what_is_sent_again_is_found_wherever_it_begins(void **state)
{
    struct rig *rig = *state;
    static uint8_t text[100 * 1000];
    size_t once;

    fill_random(rig, text, sizeof(text));
    for (size_t at = 0; at + 1000 <= sizeof(text); at += 1000) {
        assert_true(add_packet(rig, 1, at, text + at, 1000));
    }
    once = compressed(rig, 1);
    for (size_t at = 0; at + 1000 <= sizeof(text); at += 1000) { /* retransmitted */
        assert_true(add_packet(rig, 2, at, text + at, 1000));
    }
    assert_in_range(compressed(rig, 1), once, once + 100 * 60);
}

static void
what_is_no_packet_is_searched_all_the_same(void **state)
{
    struct rig *rig = *state;

    for (size_t len = 1; len < 3000; len = len * 5 / 4 + 1) { /* lengths that lie, or are 0 */
        rig->chunk.len = len;
        fill_random(rig, rig->chunk.at, len);
        assert_true(compressed(rig, 1) <= len + 100);
        memset(rig->chunk.at, 0, len);
        (void)compressed(rig, 1);
    }
    rig->chunk.len = sizeof(rig->chunk.at); /* one block of zstd after the other */
    fill_random(rig, rig->chunk.at, rig->chunk.len);
    (void)compressed(rig, 1);
    memset(rig->chunk.at, 0, rig->chunk.len);
    assert_true(compressed(rig, 1) < 1000);
}

static void
the_largest_packets_end_zstd_blocks_in_the_middle(void **state)
{
    static uint8_t payload[TB_SNAPLEN_MAX - 54];
    struct rig *rig = *state;

    fill_random(rig, payload, sizeof(payload));
    for (size_t n = 0; add_packet(rig, 1, n, payload, sizeof(payload) - n % 8 * 4001); n++) {
    }
    assert_true(rig->chunk.packets >= 4);
    (void)compressed(rig, 1);
}

static void
more_than_there_is_room_for_is_left_to_zstd(void **state)
{
    struct rig *rig = *state;
    size_t count;

    /* words of 8 octets, each of 251 there many times, no two of them in the same order */
    for (size_t i = 0; i + 8 <= sizeof(rig->chunk.at); i += 8) {
        uint64_t word = (next_random(rig) % 251 + 1) * UINT64_C(0x9E3779B97F4A7C15);

        memcpy(rig->chunk.at + i, &word, 8);
    }
    rig->chunk.len = sizeof(rig->chunk.at);
    rig->chunk.packets = 1;
    assert_null(
        zmatch_find(rig->finder, tb_bytes_of(rig->chunk.at, rig->chunk.len), 4, &count));
    assert_true(comes_out_as_it_went_in(rig->compressor, rig->decompressor,
                                        tb_bytes_of(rig->chunk.at, rig->chunk.len), 1, 1,
                                        &count));
    assert_true(count < rig->chunk.len / 4);
}

static void
one_finder_forgets_the_chunk_before(void **state)
{
    struct rig *rig = *state;
    uint8_t payload[900];
    size_t first;

    fill_random(rig, payload, sizeof(payload));
    assert_true(add_packet(rig, 1, 1, payload, sizeof(payload)));
    first = compressed(rig, 1);
    assert_int_equal(compressed(rig, 1), first);
    assert_true(first > sizeof(payload));
}

/* Random octets, and in every 32 of them 7 that come again and again: machine code is like
 * that. */
static void
what_looks_encrypted_and_repeats_is_found_behind_what_is_encrypted(void **state)
{
    struct rig *rig = *state;
    uint8_t words[32][7], payload[1024];
    size_t encrypted;

    fill_random(rig, words[0], sizeof(words));
    for (size_t n = 0; n < 100; n++) {
        fill_random(rig, payload, sizeof(payload));
        assert_true(add_packet(rig, 1, n, payload, sizeof(payload)));
    }
    encrypted = compressed(rig, 1);
    assert_true(encrypted > 100 * sizeof(payload));
    for (size_t n = 100; n < 600; n++) {
        fill_random(rig, payload, sizeof(payload));
        for (size_t at = 0; at < sizeof(payload); at += 32) {
            memcpy(payload + at + n % 24, words[next_random(rig) % 32], sizeof(words[0]));
        }
        assert_true(add_packet(rig, 1, n, payload, sizeof(payload)));
    }
    assert_in_range(compressed(rig, 1) - encrypted, 500 * 840, 500 * 910);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        CASE(every_length_of_payload_comes_out_as_it_went_in),
        CASE(a_conversations_headers_cost_little),
        CASE(what_payloads_begin_with_goes_with_the_headers),
        CASE(what_is_sent_again_is_found_wherever_it_begins),
        CASE(what_is_no_packet_is_searched_all_the_same),
        CASE(the_largest_packets_end_zstd_blocks_in_the_middle),
        CASE(more_than_there_is_room_for_is_left_to_zstd),
        CASE(one_finder_forgets_the_chunk_before),
        CASE(what_looks_encrypted_and_repeats_is_found_behind_what_is_encrypted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
