/* From a frame on the wire to the datagram in it; and the kernel's filter, which has to agree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "../../../src/recorder/lane_int.h"
#include "packets.h"

enum {
    PORT = 4789,
    INNER = 60
};

static const uint8_t source4[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 77, 0, 1};
static const uint8_t source6[16] = {0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

/* The kernel's filter lets in what the parser has a name for, and nothing else. */
static bool
kernel_takes(const struct packet *p)
{
    struct bpf_insn insns[TB_KERNEL_FILTER_MAX];
    size_t count = tb_kernel_filter(insns, PORT, false);

    assert_true(count > 0 && count <= TB_KERNEL_FILTER_MAX);
    assert_true(bpf_validate(insns, (int)count));
    return bpf_filter(insns, p->at, (u_int)p->len, (u_int)p->len) != 0;
}

static void
expect(const struct packet *p, enum tb_outer_kind kind, const uint8_t *source, bool taken)
{
    struct tb_outer out;

    assert_int_equal(tb_outer_parse(view(p), PORT, &out), kind);
    assert_int_equal(kernel_takes(p), taken);
    if (kind == TB_OUTER_VXLAN) {
        assert_memory_equal(out.source, source, 16);
        assert_int_equal(out.vxlan.vni, 0x123456);
        assert_int_equal(out.vxlan.inner.len, INNER);
        assert_ptr_equal(out.vxlan.inner.at + INNER, p->at + p->len);
        assert_int_equal(out.inner_sent, INNER);
    }
}

static void
ipv4_options_and_tags_are_stepped_over(void **state)
{
    static const unsigned tag_types[] = {0x8100, 0x88a8, 0x9100};

    (void)state;
    for (unsigned options = 0; options <= 40; options += 4) {
        for (unsigned tags = 0; tags <= 4; tags++) {
            for (size_t t = 0; t < 3; t++) {
                struct packet p = {.len = 0};

                add_ethernet(&p, 0x0800, tags, tag_types[t]);
                add_ipv4(&p, options, 17, 0, TUNNEL_BYTES + INNER);
                add_tunnel(&p, PORT, 0x123456, INNER);
                expect(&p, tags <= TB_OUTER_MAX_TAGS ? TB_OUTER_VXLAN : TB_OUTER_NOT_VXLAN,
                       source4, tags <= TB_OUTER_MAX_TAGS);
            }
        }
    }
}

static void
ipv6_extension_headers_are_stepped_over(void **state)
{
    static const struct {
        size_t count;
        uint8_t of[4];
    } chains[] = {
        {1, {0}}, {1, {60}}, {2, {0, 43}}, {4, {0, 60, 43, 60}}, {1, {43}}, {3, {0, 0, 60}},
    };

    (void)state;
    for (size_t c = 0; c < sizeof(chains) / sizeof(chains[0]); c++) {
        for (unsigned extra = 0; extra < 3; extra++) {
            struct packet p = {.len = 0};
            size_t count = chains[c].count;
            size_t each = 8 + extra * 8;

            add_ethernet(&p, 0x86dd, 0, 0);
            add_ipv6(&p, chains[c].of[0], count * each + TUNNEL_BYTES + INNER);
            for (size_t i = 0; i < count; i++) {
                add8(&p, i + 1 < count ? chains[c].of[i + 1] : 17);
                add8(&p, extra);
                for (size_t k = 2; k < each; k++) {
                    add8(&p, 0);
                }
            }
            add_tunnel(&p, PORT, 0x123456, INNER);
            expect(&p, TB_OUTER_VXLAN, source6, true);
        }
    }
}

/* What this filter does not follow to its end reaches who counts it. */
static void
more_ipv6_extension_headers_than_the_kernels_filter_follows_are_counted(void **state)
{
    static const struct {
        uint8_t last;
        unsigned port;
        enum tb_outer_kind kind;
        bool taken;
    } cases[] = {
        {17, 4789, TB_OUTER_VXLAN, true},
        {17, 53, TB_OUTER_NOT_VXLAN, true}, /* (further away than the filter looks) */
        {6, 4789, TB_OUTER_NOT_VXLAN, true},
    };

    (void)state;
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        for (unsigned count = 5; count <= 9; count++) {
            struct packet p = {.len = 0};
            bool followed = count <= 8;

            add_ethernet(&p, 0x86dd, TB_OUTER_MAX_TAGS, 0x8100);
            add_ipv6(&p, 0, count * 8 + TUNNEL_BYTES + INNER);
            for (unsigned i = 1; i <= count; i++) {
                add8(&p, i < count ? 60 : cases[c].last);
                add8(&p, 0);
                add16(&p, 0);
                add32(&p, 0);
            }
            add_tunnel(&p, cases[c].port, 0x123456, INNER);
            expect(&p, followed ? cases[c].kind : TB_OUTER_MALFORMED, source6, cases[c].taken);
        }
    }
}

static void
plain_ipv6_is_taken_and_other_protocols_are_not(void **state)
{
    struct packet p = {.len = 0};

    (void)state;
    add_ethernet(&p, 0x86dd, 1, 0x8100);
    add_ipv6(&p, 17, TUNNEL_BYTES + INNER);
    add_tunnel(&p, PORT, 0x123456, INNER);
    expect(&p, TB_OUTER_VXLAN, source6, true);

    p.len = 0;
    add_ethernet(&p, 0x86dd, 0, 0);
    add_ipv6(&p, 58, TUNNEL_BYTES + INNER);
    add_tunnel(&p, PORT, 0x123456, INNER);
    expect(&p, TB_OUTER_NOT_VXLAN, NULL, false);

    p.len = 0;
    add_ethernet(&p, 0x0800, 0, 0);
    add_ipv4(&p, 0, 6, 0, TUNNEL_BYTES + INNER);
    add_tunnel(&p, PORT, 0x123456, INNER);
    expect(&p, TB_OUTER_NOT_VXLAN, NULL, false);

    p.len = 0;
    add_ethernet(&p, 0x0806, 0, 0);
    add_ipv4(&p, 0, 17, 0, TUNNEL_BYTES + INNER);
    add_tunnel(&p, PORT, 0x123456, INNER);
    expect(&p, TB_OUTER_NOT_VXLAN, NULL, false);

    p.len = 0;
    add_ethernet(&p, 0x0800, 0, 0);
    add_ipv4(&p, 0, 17, 0, TUNNEL_BYTES + INNER);
    add_tunnel(&p, 4790, 0x123456, INNER);
    expect(&p, TB_OUTER_NOT_VXLAN, NULL, false);
}

static void
fragments_are_known_as_such(void **state)
{
    static const struct {
        unsigned fragment, protocol, port;
        enum tb_outer_kind kind;
        bool taken;
    } cases[] = {
        {0x2000, 17, 4789, TB_OUTER_FRAGMENT, true},  /* the first */
        {0x2001, 17, 4789, TB_OUTER_FRAGMENT, true},  /* one in the middle */
        {0x0010, 17, 53, TB_OUTER_FRAGMENT, true},    /* the last: nobody knows its port */
        {0x2000, 17, 53, TB_OUTER_NOT_VXLAN, false},  /* the first, of something else */
        {0x2010, 6, 4789, TB_OUTER_NOT_VXLAN, false}, /* TCP */
        {0x4000, 17, 4789, TB_OUTER_VXLAN, true},     /* DF is no fragment */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct packet p = {.len = 0};

        add_ethernet(&p, 0x0800, 0, 0);
        add_ipv4(&p, 8, cases[i].protocol, cases[i].fragment, TUNNEL_BYTES + INNER);
        add_tunnel(&p, cases[i].port, 0x123456, INNER);
        expect(&p, cases[i].kind, source4, cases[i].taken);
    }
}

static void
ipv6_fragments_are_known_as_such(void **state)
{
    static const struct {
        unsigned fragment, next, port;
        enum tb_outer_kind kind;
        bool taken;
    } cases[] = {
        {0x0001, 17, 4789, TB_OUTER_FRAGMENT, true},
        {0x0101, 17, 53, TB_OUTER_FRAGMENT, true},
        {0x0100, 17, 53, TB_OUTER_FRAGMENT, true},
        {0x0001, 17, 53, TB_OUTER_NOT_VXLAN, false},
        {0x0100, 58, 53, TB_OUTER_NOT_VXLAN, false},
        {0x0001, 58, 53, TB_OUTER_NOT_VXLAN, false},
        {0x0000, 17, 4789, TB_OUTER_VXLAN, true},
        /* a piece of what begins with another extension header: of what, nobody knows */
        {0x0001, 60, 4789, TB_OUTER_FRAGMENT, true},
        {0x0101, 60, 4789, TB_OUTER_FRAGMENT, true},
        {0x0100, 0, 4789, TB_OUTER_FRAGMENT, true},
        {0x0100, 43, 4789, TB_OUTER_FRAGMENT, true},
        {0x0100, 44, 4789, TB_OUTER_FRAGMENT, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct packet p = {.len = 0};

        add_ethernet(&p, 0x86dd, 0, 0);
        add_ipv6(&p, 44, 8 + TUNNEL_BYTES + INNER);
        add8(&p, cases[i].next);
        add8(&p, 0);
        add16(&p, cases[i].fragment);
        add32(&p, 7);
        add_tunnel(&p, cases[i].port, 0x123456, INNER);
        expect(&p, cases[i].kind, source6, cases[i].taken);
    }
}

static void
an_ipv6_datagram_in_one_fragment_may_have_extension_headers_behind_it(void **state)
{
    struct packet p = {.len = 0};

    (void)state;
    add_ethernet(&p, 0x86dd, 0, 0);
    add_ipv6(&p, 44, 16 + TUNNEL_BYTES + INNER);
    add16(&p, 60 << 8); /* the fragment header: destination options are next */
    add16(&p, 0);
    add32(&p, 7);
    add16(&p, 17 << 8);
    add16(&p, 0);
    add32(&p, 0);
    add_tunnel(&p, PORT, 0x123456, INNER);
    expect(&p, TB_OUTER_VXLAN, source6, true);
}

static void
every_shorter_frame_is_cut_or_malformed_and_read_within_its_bounds(void **state)
{
    (void)state;
    for (unsigned six = 0; six < 2; six++) {
        struct packet p = {.len = 0};
        size_t headers;

        add_ethernet(&p, six ? 0x86dd : 0x0800, 1, 0x8100);
        if (six) {
            add_ipv6(&p, 60, 8 + TUNNEL_BYTES + INNER);
            add8(&p, 17);
            add8(&p, 0);
            add16(&p, 0);
            add32(&p, 0);
        } else {
            add_ipv4(&p, 4, 17, 0, TUNNEL_BYTES + INNER);
        }
        headers = p.len + TUNNEL_BYTES + 14;
        add_tunnel(&p, PORT, 0x123456, INNER);
        for (size_t len = 0; len < p.len; len++) {
            uint8_t *exact = malloc(len + 1); /* so that a sanitizer sees the edge */
            struct tb_outer out;
            enum tb_outer_kind kind;

            memcpy(exact, p.at, len);
            exact = realloc(exact, len == 0 ? 1 : len);
            kind = tb_outer_parse(tb_bytes_of(exact, len), PORT, &out);
            if (len < headers) {
                assert_int_equal(kind, TB_OUTER_MALFORMED);
            } else {
                assert_int_equal(kind, TB_OUTER_VXLAN);
                assert_int_equal(out.inner_sent, INNER);
                assert_int_equal(out.vxlan.inner.len, len - headers + 14);
            }
            free(exact);
        }
    }
}

static void
lengths_that_contradict_each_other_are_malformed(void **state)
{
    static const struct {
        unsigned ip_length, udp_length;
        enum tb_outer_kind kind;
        size_t inner;
    } cases[] = {
        {96, 76, TB_OUTER_VXLAN, 60}, /* as it should be */
        {96, 70, TB_OUTER_VXLAN, 54}, /* UDP is shorter: what follows is padding */
        {90, 70, TB_OUTER_VXLAN, 54}, /* IP is shorter too */
        {0, 0, TB_OUTER_VXLAN, 60},   /* too long to say */
        {96, 0, TB_OUTER_VXLAN, 60},
        {96, 80, TB_OUTER_MALFORMED, 0}, /* UDP claims more than IP has */
        {96, 7, TB_OUTER_MALFORMED, 0},
        {96, 20, TB_OUTER_MALFORMED, 0}, /* no room for VXLAN */
        {19, 76, TB_OUTER_MALFORMED, 0},
        {20, 76, TB_OUTER_MALFORMED, 0},
        {24, 76, TB_OUTER_MALFORMED, 0},
        {120, 100, TB_OUTER_VXLAN, 60}, /* the frame was cut: all that is there */
        {120, 76, TB_OUTER_VXLAN, 60},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct packet p;
        struct tb_outer out;

        make_mirrored(&p, 1, INNER);
        p.at[16] = (uint8_t)(cases[i].ip_length >> 8);
        p.at[17] = (uint8_t)cases[i].ip_length;
        p.at[38] = (uint8_t)(cases[i].udp_length >> 8);
        p.at[39] = (uint8_t)cases[i].udp_length;
        assert_int_equal(tb_outer_parse(view(&p), PORT, &out), cases[i].kind);
        if (cases[i].kind == TB_OUTER_VXLAN) {
            assert_int_equal(out.vxlan.inner.len, cases[i].inner);
            assert_int_equal(out.inner_sent, cases[i].udp_length > 76 ? cases[i].udp_length - 16
                                                                      : cases[i].inner);
        }
    }
}

static void
ip_headers_that_cannot_be_are_malformed(void **state)
{
    static const uint8_t first[] = {0x44, 0x40, 0x55, 0x05, 0x4f};
    struct packet p;
    struct tb_outer out;

    (void)state;
    for (size_t i = 0; i < sizeof(first); i++) {
        make_mirrored(&p, 1, 14);
        p.at[14] = first[i];
        assert_int_not_equal(tb_outer_parse(view(&p), PORT, &out), TB_OUTER_VXLAN);
    }
    p.len = 0;
    add_ethernet(&p, 0x86dd, 0, 0);
    add_ipv6(&p, 17, TUNNEL_BYTES + INNER);
    add_tunnel(&p, PORT, 1, INNER);
    p.at[14] = 0x40;
    assert_int_equal(tb_outer_parse(view(&p), PORT, &out), TB_OUTER_MALFORMED);
}

static void
endless_extension_headers_end(void **state)
{
    struct packet p = {.len = 0};
    struct tb_outer out;

    (void)state;
    add_ethernet(&p, 0x86dd, 0, 0);
    add_ipv6(&p, 0, 800);
    for (int i = 0; i < 100; i++) {
        add32(&p, 0);
        add32(&p, 0);
    }
    assert_int_equal(tb_outer_parse(view(&p), PORT, &out), TB_OUTER_MALFORMED);
}

static void
the_kernels_filter_refuses_what_this_host_sends(void **state)
{
    struct bpf_insn insns[TB_KERNEL_FILTER_MAX];
    size_t without = tb_kernel_filter(insns, PORT, false);

    (void)state;
    assert_int_equal(tb_kernel_filter(insns, PORT, true), without + 2);
}

/* --- the inner frame's true length --- */

static uint32_t
original(unsigned type, unsigned tags, const uint8_t *ip, size_t ip_len, size_t captured)
{
    struct packet p = {.len = 0};

    add_ethernet(&p, type, tags, 0x8100);
    add(&p, ip, ip_len);
    p.len = captured;
    return tb_inner_original_length(view(&p));
}

static void
the_original_length_comes_from_the_inner_ip_header(void **state)
{
    static const uint8_t four[40] = {0x45, 0, 0x05, 0xdc};      /* 1500 */
    static const uint8_t six[40] = {0x60, 0, 0, 0, 0x05, 0xdc}; /* 1500 + 40 */
    static const uint8_t zero4[40] = {0x45};
    static const uint8_t zero6[40] = {0x60};
    static const uint8_t small[40] = {0x45, 0, 0, 20};

    (void)state;
    assert_int_equal(original(0x0800, 0, four, 40, 54), 1514);
    assert_int_equal(original(0x0800, 2, four, 40, 62), 1522);
    assert_int_equal(original(0x86dd, 0, six, 40, 54), 1554);
    assert_int_equal(original(0x86dd, 3, six, 40, 66), 1566);
    assert_int_equal(original(0x0800, 0, zero4, 40, 54), 54);
    assert_int_equal(original(0x86dd, 0, zero6, 40, 54), 54);
    assert_int_equal(original(0x0800, 0, small, 40, 60), 60); /* padded to Ethernet's minimum */
    assert_int_equal(original(0x0806, 0, four, 40, 54), 54);  /* ARP */
    assert_int_equal(original(0x86dd, 0, four, 40, 54), 54);  /* the version contradicts */
}

static void
the_original_length_is_never_below_what_is_there(void **state)
{
    static const uint8_t four[40] = {0x45, 0, 0x05, 0xdc};

    (void)state;
    for (size_t len = 0; len <= 54; len++) {
        uint32_t got = original(0x0800, 0, four, 40, len);

        assert_int_equal(got, len < 18 ? len : 1514);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipv4_options_and_tags_are_stepped_over),
        cmocka_unit_test(ipv6_extension_headers_are_stepped_over),
        cmocka_unit_test(
            more_ipv6_extension_headers_than_the_kernels_filter_follows_are_counted),
        cmocka_unit_test(plain_ipv6_is_taken_and_other_protocols_are_not),
        cmocka_unit_test(fragments_are_known_as_such),
        cmocka_unit_test(ipv6_fragments_are_known_as_such),
        cmocka_unit_test(an_ipv6_datagram_in_one_fragment_may_have_extension_headers_behind_it),
        cmocka_unit_test(every_shorter_frame_is_cut_or_malformed_and_read_within_its_bounds),
        cmocka_unit_test(lengths_that_contradict_each_other_are_malformed),
        cmocka_unit_test(ip_headers_that_cannot_be_are_malformed),
        cmocka_unit_test(endless_extension_headers_end),
        cmocka_unit_test(the_kernels_filter_refuses_what_this_host_sends),
        cmocka_unit_test(the_original_length_comes_from_the_inner_ip_header),
        cmocka_unit_test(the_original_length_is_never_below_what_is_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
