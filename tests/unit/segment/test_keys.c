/* Who talks in a chunk: keys against what was put in, frames of every kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <tapbox/io.h>
#include <tapbox/pcapng.h>

#include "../../../src/segment/segment_int.h"

enum {
    CHUNK_BYTES = 1 << 20,
    FRAME_MAX = 200
};

struct frame {
    uint8_t at[FRAME_MAX];
    size_t len;
};

static void
put(struct frame *frame, const void *octets, size_t len)
{
    assert_true(frame->len + len <= FRAME_MAX);
    memcpy(frame->at + frame->len, octets, len);
    frame->len += len;
}

static void
put_be16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void
mapped(uint8_t out[16], uint32_t ip)
{
    memset(out, 0, 10);
    out[10] = out[11] = 0xff;
    put_be16(out + 12, (uint16_t)(ip >> 16));
    put_be16(out + 14, (uint16_t)ip);
}

static void
link_layer(struct frame *frame, unsigned tags, uint16_t type)
{
    static const uint8_t addresses[12] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};
    uint8_t word[4] = {0x81, 0, 0, 7};

    frame->len = 0;
    put(frame, addresses, sizeof(addresses));
    for (unsigned i = 0; i < tags; i++) {
        put(frame, word, 4);
    }
    put_be16(word, type);
    put(frame, word, 2);
}

static void
ipv4(struct frame *frame, unsigned tags, const struct tb_segment_flow *flow, uint16_t fragment)
{
    uint8_t ip[24] = {0x46, 0, 0, 60}; /* with an option */
    uint8_t ports[8] = {0};

    link_layer(frame, tags, 0x0800);
    put_be16(ip + 6, fragment);
    ip[9] = flow->protocol;
    memcpy(ip + 12, flow->a + 12, 4);
    memcpy(ip + 16, flow->b + 12, 4);
    put(frame, ip, sizeof(ip));
    put_be16(ports, flow->port_a);
    put_be16(ports + 2, flow->port_b);
    put(frame, ports, sizeof(ports));
}

static void
ipv6(struct frame *frame, const struct tb_segment_flow *flow, unsigned extensions)
{
    uint8_t ip[40] = {0x60};
    uint8_t extension[8] = {0};
    uint8_t ports[8] = {0};

    link_layer(frame, 0, 0x86dd);
    ip[6] = extensions > 0 ? 60 : flow->protocol;
    memcpy(ip + 8, flow->a, 16);
    memcpy(ip + 24, flow->b, 16);
    put(frame, ip, sizeof(ip));
    for (unsigned i = 0; i < extensions; i++) {
        extension[0] = i + 1 < extensions ? 60 : flow->protocol;
        put(frame, extension, sizeof(extension));
    }
    put_be16(ports, flow->port_a);
    put_be16(ports + 2, flow->port_b);
    put(frame, ports, sizeof(ports));
}

static struct tb_segment_flow
flow_of(uint32_t a, uint16_t port_a, uint32_t b, uint16_t port_b, uint8_t protocol)
{
    struct tb_segment_flow flow = {.port_a = port_a, .port_b = port_b, .protocol = protocol};

    mapped(flow.a, a);
    mapped(flow.b, b);
    return flow;
}

struct chunk {
    uint8_t at[CHUNK_BYTES];
    size_t len;
    struct tb_chunk_info info;
};

static void
add(struct chunk *chunk, const struct frame *frame)
{
    struct tb_pcapng_packet packet = {.captured = (uint32_t)frame->len,
                                      .original = (uint32_t)frame->len};
    size_t len = tb_pcapng_put_packet(chunk->at + chunk->len, CHUNK_BYTES - chunk->len, &packet,
                                      frame->at);

    assert_true(len > 0);
    chunk->len += len;
    chunk->info.packets++;
}

static struct segment_keys *
collected(const struct chunk *chunk)
{
    static struct segment_keys keys;

    segment_keys_collect(&keys, tb_bytes_of(chunk->at, chunk->len));
    return &keys;
}

static bool
has(const struct segment_key_set *set, uint32_t key)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->keys[i] == key) {
            return true;
        }
    }
    return false;
}

static void
both_directions_have_one_key_and_each_host_its_own(void **state)
{
    static struct chunk chunk;
    struct tb_segment_flow there = flow_of(0x0a000001, 40000, 0x0a000002, 443, 6);
    struct tb_segment_flow back = flow_of(0x0a000002, 443, 0x0a000001, 40000, 6);
    struct segment_keys *keys;
    struct frame frame;

    (void)state;
    chunk = (struct chunk){.len = 0};
    for (unsigned tags = 0; tags <= 3; tags++) {
        ipv4(&frame, tags, &there, 0x4000);
        add(&chunk, &frame);
        ipv4(&frame, tags, &back, 0);
        add(&chunk, &frame);
    }
    keys = collected(&chunk);
    assert_int_equal(keys->flows.count, 1);
    assert_int_equal(keys->flows.keys[0], tb_segment_flow_key(&there));
    assert_int_equal(keys->flows.keys[0], tb_segment_flow_key(&back));
    assert_int_equal(keys->hosts.count, 2);
    assert_true(has(&keys->hosts, tb_segment_host_key(there.a)));
    assert_true(has(&keys->hosts, tb_segment_host_key(there.b)));
}

static void
a_key_is_the_documented_number(void **state)
{
    struct tb_segment_flow flow = flow_of(0x0a000001, 40000, 0x0a000002, 443, 6);

    (void)state;
    /* worked out by tests/support/second_reader.py */
    assert_int_equal(tb_segment_host_key(flow.a), UINT32_C(1791375607));
    assert_int_equal(tb_segment_flow_key(&flow), UINT32_C(511203476));
}

static void
ports_count_only_where_there_are_some(void **state)
{
    static struct chunk chunk;
    struct tb_segment_flow udp = flow_of(1, 53, 2, 53, 17);
    struct tb_segment_flow fragment = flow_of(1, 0, 2, 0, 17);
    struct tb_segment_flow icmp = flow_of(1, 8, 2, 9, 1);
    struct tb_segment_flow no_ports = flow_of(1, 0, 2, 0, 1);
    struct segment_keys *keys;
    struct frame frame;

    (void)state;
    chunk = (struct chunk){.len = 0};
    ipv4(&frame, 0, &udp, 0x2000);
    add(&chunk, &frame);
    ipv4(&frame, 0, &udp, 0x0001);
    add(&chunk, &frame);
    ipv4(&frame, 0, &icmp, 0);
    add(&chunk, &frame);
    keys = collected(&chunk);
    assert_int_equal(keys->flows.count, 2);
    assert_true(has(&keys->flows, tb_segment_flow_key(&fragment)));
    assert_true(has(&keys->flows, tb_segment_flow_key(&no_ports)));
}

static void
extension_headers_are_seen_through(void **state)
{
    static struct chunk chunk;
    struct tb_segment_flow flow = {.a = {0x20, 1}, .b = {0x20, 2}, .port_a = 5, .port_b = 6};
    struct frame frame;

    (void)state;
    chunk = (struct chunk){.len = 0};
    flow.protocol = 17;
    for (unsigned extensions = 0; extensions <= 8; extensions++) {
        ipv6(&frame, &flow, extensions);
        add(&chunk, &frame);
    }
    assert_int_equal(collected(&chunk)->flows.count, 1);
    assert_int_equal(collected(&chunk)->flows.keys[0], tb_segment_flow_key(&flow));
}

/* What is remembered of the packets before begins as zeros: that is no conversation yet. */
static void
nobody_talking_to_nobody_has_keys_too(void **state)
{
    static struct chunk chunk;
    struct tb_segment_flow flow = {.protocol = 0};
    struct frame frame;

    (void)state;
    chunk = (struct chunk){.len = 0};
    ipv6(&frame, &flow, 1); /* options, and then "hop by hop" again: protocol 0 */
    frame.len -= 8;         /* which is not there */
    add(&chunk, &frame);
    assert_int_equal(collected(&chunk)->flows.count, 1);
    assert_int_equal(collected(&chunk)->flows.keys[0], tb_segment_flow_key(&flow));
    assert_int_equal(collected(&chunk)->hosts.count, 1);
}

/* More conversations than are remembered, met again and again, in changing order. */
static void
each_of_many_conversations_has_its_key_once(void **state)
{
    static struct chunk chunk;
    struct segment_keys *keys;
    struct frame frame;

    (void)state;
    chunk = (struct chunk){.len = 0};
    for (uint32_t i = 0; i < 3000; i++) {
        struct tb_segment_flow flow =
            flow_of(0x0a000001, (uint16_t)(1 + i * 7 % 600), 0x0a000002, 443, 6);

        ipv4(&frame, 0, &flow, 0);
        add(&chunk, &frame);
    }
    keys = collected(&chunk);
    assert_int_equal(keys->flows.count, 600);
    assert_int_equal(keys->hosts.count, 2);
    for (uint16_t port = 1; port <= 600; port++) {
        struct tb_segment_flow flow = flow_of(0x0a000002, 443, 0x0a000001, port, 6);

        assert_true(has(&keys->flows, tb_segment_flow_key(&flow)));
    }
}

static void
every_cut_of_a_frame_is_taken_for_what_is_there(void **state)
{
    struct tb_segment_flow flow = {.a = {0x20, 1}, .b = {0x20, 2}, .port_a = 5, .port_b = 6};
    struct frame frame;
    size_t len;

    (void)state;
    flow.protocol = 6;
    flow.b[15] = 9; /* as IPv4 they differ, too */
    for (int version = 4; version <= 6; version += 2) {
        if (version == 4) {
            ipv4(&frame, 1, &flow, 0);
        } else {
            ipv6(&frame, &flow, 2);
        }
        len = frame.len;
        for (frame.len = 0; frame.len <= len; frame.len++) {
            struct chunk *chunk = calloc(1, sizeof(*chunk));

            add(chunk, &frame);
            assert_true(collected(chunk)->flows.count <= 1);
            assert_int_equal(collected(chunk)->hosts.count, 2 * collected(chunk)->flows.count);
            free(chunk);
        }
    }
}

/* Segments of random flows, read back: no flow that is in a chunk is denied, and what is not in
 * it almost always is. */
static void
the_reader_never_denies_what_is_there(void **state)
{
    struct tb_segment_encoder *encoder = NULL;
    struct tb_segment_reader *reader = NULL;
    static struct chunk chunk;
    static const unsigned flows_of[] = {0, 1, 100, 400, 1500};
    uint8_t header[512];
    struct tb_bytes out;
    struct frame frame;
    size_t len;
    int wrong = 0;
    int fd = memfd_create("segment", MFD_CLOEXEC);

    (void)state;
    assert_int_equal(tb_segment_encoder_new(CHUNK_BYTES, 8, 1, &encoder, NULL), TB_OK);
    len = tb_pcapng_put_section(header, sizeof(header),
                                &(struct tb_pcapng_section){.application = "test"});
    assert_int_equal(tb_segment_encoder_chunk(encoder, tb_bytes_of(header, len),
                                              &(struct tb_chunk_info){0}, &out, NULL),
                     TB_OK);
    assert_int_equal(tb_write_all(fd, out, NULL), TB_OK);
    for (unsigned c = 1; c < 5; c++) {
        chunk = (struct chunk){.len = 0};
        for (unsigned i = 0; i < flows_of[c]; i++) {
            struct tb_segment_flow flow =
                flow_of(c << 16 | i / 2, (uint16_t)i, 0x0b000000 | c, 443, 6);

            ipv4(&frame, 0, &flow, 0);
            add(&chunk, &frame);
        }
        assert_int_equal(tb_segment_encoder_chunk(encoder, tb_bytes_of(chunk.at, chunk.len),
                                                  &chunk.info, &out, NULL),
                         TB_OK);
        assert_int_equal(tb_write_all(fd, out, NULL), TB_OK);
    }
    assert_int_equal(tb_segment_encoder_finish(encoder, false, &out, NULL), TB_OK);
    assert_int_equal(tb_write_all(fd, out, NULL), TB_OK);

    assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
    for (unsigned c = 1; c < 5; c++) {
        for (unsigned i = 0; i < flows_of[c]; i++) {
            struct tb_segment_flow flow =
                flow_of(c << 16 | i / 2, (uint16_t)i, 0x0b000000 | c, 443, 6);
            uint32_t key = tb_segment_flow_key(&flow);
            uint32_t host = tb_segment_host_key(flow.a);

            assert_true(tb_segment_reader_may_hold_flow(reader, c, key));
            assert_true(tb_segment_reader_may_hold_host(reader, c, host));
            for (unsigned other = 0; other < 4; other++) {
                if (other != c) {
                    wrong += tb_segment_reader_may_hold_flow(reader, other, key);
                    wrong += tb_segment_reader_may_hold_host(reader, other, host);
                }
            }
        }
    }
    assert_in_range(wrong, 0, 2);
    /* of 1,500 flows and 750 hosts it says nothing, so it may have any */
    assert_true(tb_segment_reader_may_hold_flow(reader, 4, 12345));
    assert_true(tb_segment_reader_may_hold_host(reader, 4, 12345));
    assert_false(tb_segment_reader_may_hold_flow(reader, 3, 12345));
    assert_false(
        tb_segment_reader_may_hold_flow(reader, 5, 12345)); /* there is no such chunk */
    tb_segment_reader_free(reader);
    tb_segment_encoder_free(encoder);
    tb_close(&fd);
}

static void
keys_that_are_not_in_order_or_not_whole_are_refused(void **state)
{
    static const struct {
        uint8_t octets[16];
        size_t len, chunks;
        enum tb_err err;
    } cases[] = {
        {{1, 0, 0, 0, 7, 0, 0, 0}, 8, 1, TB_OK},
        {{0xff, 0xff, 0xff, 0xff}, 4, 1, TB_OK},
        {{0}, 0, 1, TB_EFORMAT},
        {{0}, 8, 1, TB_EFORMAT},
        {{0}, 4, 2, TB_EFORMAT},
        {{2, 0, 0, 0, 7, 0, 0, 0}, 8, 1, TB_EFORMAT},
        {{2, 0, 0, 0, 7, 0, 0, 0, 7, 0, 0, 0}, 12, 1, TB_EFORMAT},
        {{0, 0, 2, 0, 7, 0, 0, 0, 6, 0, 0, 0}, 12, 1, TB_EFORMAT},
        {{1, 0, 1, 0, 7, 0, 0, 0, 6, 0, 0, 0}, 12, 1, TB_OK},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct segment_key_index index = {.at = NULL};

        assert_int_equal(segment_key_index_init(&index,
                                                tb_bytes_of(cases[i].octets, cases[i].len),
                                                cases[i].chunks),
                         cases[i].err);
        segment_key_index_release(&index);
    }
}

int
main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(both_directions_have_one_key_and_each_host_its_own),
        cmocka_unit_test(a_key_is_the_documented_number),
        cmocka_unit_test(ports_count_only_where_there_are_some),
        cmocka_unit_test(extension_headers_are_seen_through),
        cmocka_unit_test(nobody_talking_to_nobody_has_keys_too),
        cmocka_unit_test(each_of_many_conversations_has_its_key_once),
        cmocka_unit_test(every_cut_of_a_frame_is_taken_for_what_is_there),
        cmocka_unit_test(the_reader_never_denies_what_is_there),
        cmocka_unit_test(keys_that_are_not_in_order_or_not_whole_are_refused),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
