#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <tapbox/pcapng.h>

enum {
    GUARD = 0xA5
};

/* The content of the nth option with this code, behind `fixed` octets of the body. */
static struct tb_bytes
option(struct tb_bytes block, size_t fixed, uint16_t code, int nth)
{
    const uint8_t *p = block.at + 8 + fixed;
    const uint8_t *end = block.at + block.len - 4;

    for (;;) {
        uint16_t len = tb_get_le16(p + 2);

        assert_true(p + 4 <= end);
        if (tb_get_le16(p) == 0) {
            assert_int_equal(len, 0);
            assert_ptr_equal(p + 4, end); /* opt_endofopt is the last */
            return tb_bytes_of(NULL, 0);
        }
        if (tb_get_le16(p) == code && nth-- == 0) {
            return tb_bytes_of(p + 4, len);
        }
        p += 4 + (len + 3U) / 4 * 4;
    }
}

static void
assert_text(struct tb_bytes got, const char *expected)
{
    assert_int_equal(got.len, strlen(expected));
    assert_memory_equal(got.at, expected, got.len);
}

/* Has `put` write with each capacity up to `size`: whole or nothing, and never behind it. */
typedef size_t (*put_fn)(uint8_t *at, size_t cap, const void *what);

static void
assert_whole_or_nothing(put_fn put, const void *what)
{
    static uint8_t room[TB_PCAPNG_MAX_SECTION];
    size_t size = put(room, sizeof(room), what);

    assert_int_not_equal(size, 0);
    assert_int_equal(size % 4, 0);
    for (size_t cap = 0; cap <= size; cap++) {
        memset(room, GUARD, size + 8);
        assert_int_equal(put(room, cap, what), cap < size ? 0 : size);
        for (size_t i = cap; i < size + 8; i++) {
            assert_int_equal(room[i], GUARD);
        }
    }
}

static size_t
put_section(uint8_t *at, size_t cap, const void *what)
{
    return tb_pcapng_put_section(at, cap, what);
}

static size_t
put_interface(uint8_t *at, size_t cap, const void *what)
{
    return tb_pcapng_put_interface(at, cap, what);
}

static size_t
put_statistics(uint8_t *at, size_t cap, const void *what)
{
    return tb_pcapng_put_statistics(at, cap, 3, 1000, INT64_C(0x123456789ABCDEF0), what);
}

static size_t
put_packet(uint8_t *at, size_t cap, const void *what)
{
    static const uint8_t frame[64] = "frame";

    return tb_pcapng_put_packet(at, cap, what, frame);
}

static void
every_block_is_written_whole_or_not_at_all(void **state)
{
    const struct tb_pcapng_section section = {
        .capture_id = "cap-1", .reason = "why", .started_utc_ns = 1};
    const struct tb_pcapng_interface interface = {.name = "eni-1", .filter = "udp"};
    const struct tb_ledger ledger = {.received = 5, .written = 5};
    const struct tb_pcapng_packet packet = {.captured = 61, .original = 61, .dropped = 2};

    (void)state;
    assert_whole_or_nothing(put_section, &section);
    assert_whole_or_nothing(put_interface, &interface);
    assert_whole_or_nothing(put_statistics, &ledger);
    assert_whole_or_nothing(put_packet, &packet);
}

static void
a_section_says_whose_it_is(void **state)
{
    uint8_t at[1024];
    const struct tb_pcapng_section section = {
        .capture_id = "cap-20260102T030405Z-1a2b3c4d",
        .case_id = "IR-1234",
        .finding_id = "f1",
        .finding_type = "Trojan:EC2/DNSDataExfiltration",
        .reason = "because",
        .application = "tapbox 0.1.0",
        .hardware = "x86_64",
        .os = "Linux 6.1",
        .started_utc_ns = INT64_C(1767323045123456789),
    };
    struct tb_bytes block = tb_bytes_of(at, tb_pcapng_put_section(at, sizeof(at), &section));

    (void)state;
    assert_int_equal(tb_get_le32(at), TB_PCAPNG_SHB);
    assert_int_equal(tb_get_le32(at + 4), block.len);
    assert_int_equal(tb_get_le32(at + block.len - 4), block.len);
    assert_memory_equal(at + 8, "\x4D\x3C\x2B\x1A\1\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 16);
    assert_text(option(block, 16, 2, 0), "x86_64");
    assert_text(option(block, 16, 3, 0), "Linux 6.1");
    assert_text(option(block, 16, 4, 0), "tapbox 0.1.0");
    assert_text(option(block, 16, 1, 0), "capture: cap-20260102T030405Z-1a2b3c4d");
    assert_text(option(block, 16, 1, 1), "case: IR-1234");
    assert_text(option(block, 16, 1, 2), "finding: f1");
    assert_text(option(block, 16, 1, 3), "finding type: Trojan:EC2/DNSDataExfiltration");
    assert_text(option(block, 16, 1, 4), "reason: because");
    assert_text(option(block, 16, 1, 5), "started: 2026-01-02T03:04:05.123456789Z");
    assert_int_equal(option(block, 16, 1, 6).len, 0);
}

static void
a_section_without_anything_is_a_section(void **state)
{
    uint8_t at[64];
    const struct tb_pcapng_section section = {.reason = ""};

    (void)state;
    assert_int_equal(tb_pcapng_put_section(at, sizeof(at), &section), 32);
    assert_int_equal(option(tb_bytes_of(at, 32), 16, 1, 0).len, 0);
}

static void
texts_from_outside_become_clean_utf8(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "plain"},
        {"line\nbreak\ttab\x7f", "line?break?tab?"},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\xa5", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\xa5"},
        {"cut \xe2\x82", "cut ??"},
        {"\xc0\xaf overlong \xe0\x80\x80 \xf0\x80\x80\x80", "?? overlong ??? ????"},
        {"surrogate \xed\xa0\x80", "surrogate ???"},
        {"beyond \xf4\x90\x80\x80 \xff", "beyond ???? ?"},
        {"c1 \xc2\x85", "c1 ??"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t at[512];
        const struct tb_pcapng_section section = {.hardware = cases[i].in};
        size_t n = tb_pcapng_put_section(at, sizeof(at), &section);

        assert_text(option(tb_bytes_of(at, n), 16, 2, 0), cases[i].out);
    }
}

static void
the_longest_texts_fit_the_stated_sizes_and_end_at_a_character(void **state)
{
    static uint8_t at[TB_PCAPNG_MAX_SECTION];
    static char text[3 * TB_PCAPNG_MAX_TEXT];
    const struct tb_pcapng_section section = {text, text, text, text, text, text,
                                              text, text, 1,    1,    2};
    const struct tb_pcapng_interface interface = {
        .name = text, .description = text, .filter = text, .os = text};
    const struct tb_ledger ledger = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX,
                                     UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX,
                                     UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    struct tb_bytes hardware;
    size_t n;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[0] = 'a'; /* so that the characters of two octets do not fit evenly */
    for (size_t i = 1; i + 2 < sizeof(text); i += 2) {
        memcpy(text + i, "\xc3\xa4", 2);
    }
    n = tb_pcapng_put_section(at, sizeof(at), &section);
    assert_int_not_equal(n, 0);
    hardware = option(tb_bytes_of(at, n), 16, 2, 0);
    assert_int_equal(hardware.len, TB_PCAPNG_MAX_TEXT - 1);
    assert_int_equal(hardware.at[hardware.len - 1], 0xa4);
    assert_int_not_equal(tb_pcapng_put_interface(at, TB_PCAPNG_MAX_INTERFACE, &interface), 0);
    assert_int_not_equal(
        tb_pcapng_put_statistics(at, TB_PCAPNG_MAX_STATISTICS, 0, 0, 0, &ledger), 0);
}

static void
an_interface_is_ethernet_in_nanoseconds(void **state)
{
    uint8_t at[512];
    const struct tb_pcapng_interface interface = {.name = "eni-1",
                                                  .description = "i-1, VNI 7",
                                                  .filter = "tcp port 80",
                                                  .os = "",
                                                  .mac = {2, 3, 4, 5, 6, 7},
                                                  .snaplen = 128};
    struct tb_bytes block =
        tb_bytes_of(at, tb_pcapng_put_interface(at, sizeof(at), &interface));
    struct tb_bytes filter = option(block, 8, 11, 0);

    (void)state;
    assert_int_equal(tb_get_le32(at), TB_PCAPNG_IDB);
    assert_memory_equal(at + 8, "\1\0\0\0\x80\0\0\0", 8);
    assert_text(option(block, 8, 2, 0), "eni-1");
    assert_text(option(block, 8, 3, 0), "i-1, VNI 7");
    assert_text(option(block, 8, 6, 0), "\2\3\4\5\6\7");
    assert_text(option(block, 8, 9, 0), "\x09");
    assert_int_equal(filter.at[0], 0);
    assert_text(tb_bytes_of(filter.at + 1, filter.len - 1), "tcp port 80");
    assert_int_equal(option(block, 8, 12, 0).len, 0);
}

static void
packets_of_every_length_are_read_back_as_they_were(void **state)
{
    uint8_t frame[70], at[70 + TB_PCAPNG_PACKET_OVERHEAD];

    (void)state;
    memset(frame, 0x77, sizeof(frame));
    for (uint32_t len = 0; len <= sizeof(frame); len++) {
        for (uint64_t dropped = 0; dropped < 2; dropped++) {
            const struct tb_pcapng_packet packet = {
                .interface = 3,
                .utc_ns = INT64_C(1767323045123456789),
                .captured = len,
                .original = len + 9,
                .direction = TB_DIRECTION_OUTBOUND,
                .dropped = dropped * UINT64_C(0x100000001),
            };
            struct tb_pcapng_packet back;
            struct tb_pcapng_block block;
            struct tb_bytes rest, got;
            size_t fixed = 20 + (len + 3) / 4 * 4;
            size_t size;

            memset(at, GUARD, sizeof(at));
            size = tb_pcapng_put_packet(at, sizeof(at), &packet, frame);
            assert_int_equal(size, tb_pcapng_packet_size(len, packet.dropped));
            assert_true(size <= len + TB_PCAPNG_PACKET_OVERHEAD);
            rest = tb_bytes_of(at, size);
            assert_int_equal(tb_pcapng_next(&rest, &block), TB_OK);
            assert_int_equal(rest.len, 0);
            assert_int_equal(tb_pcapng_get_packet(&block, &back, &got), TB_OK);
            assert_int_equal(back.interface, 3);
            assert_int_equal(back.utc_ns, packet.utc_ns);
            assert_int_equal(back.captured, len);
            assert_int_equal(back.original, len + 9);
            assert_true(tb_bytes_equal(got, tb_bytes_of(frame, len)));
            for (size_t i = 28 + len; i < 8 + fixed; i++) {
                assert_int_equal(at[i], 0);
            }
            assert_true(
                tb_bytes_equal(option(block.all, fixed, 2, 0), tb_bytes_of("\2\0\0\0", 4)));
            assert_int_equal(option(block.all, fixed, 4, 0).len, dropped != 0 ? 8 : 0);
        }
    }
}

static void
statistics_carry_the_ledger_in_words_and_numbers(void **state)
{
    uint8_t at[TB_PCAPNG_MAX_STATISTICS];
    const struct tb_ledger ledger = {.received = 100,
                                     .written = 80,
                                     .ring_dropped = 1,
                                     .filtered = 10,
                                     .over_budget = 2,
                                     .queue_dropped = 3,
                                     .spool_full = 4,
                                     .written_bytes = 8000};
    size_t n = tb_pcapng_put_statistics(at, sizeof(at), 1, INT64_C(0x1111111122222222),
                                        INT64_C(0x3333333344444444), &ledger);
    struct tb_bytes block = tb_bytes_of(at, n);

    (void)state;
    assert_int_equal(tb_get_le32(at), TB_PCAPNG_ISB);
    assert_memory_equal(at + 8, "\1\0\0\0\x33\x33\x33\x33\x44\x44\x44\x44", 12);
    assert_text(option(block, 12, 1, 0),
                "ledger: received=100 written=80 ring_dropped=1 fragments=0 not_vxlan=0 "
                "malformed=0 unknown_vni=0 not_armed=0 filtered=10 over_budget=2 "
                "queue_dropped=3 spool_full=4 truncated=0 written_bytes=8000");
    assert_text(option(block, 12, 2, 0), "\x11\x11\x11\x11\x22\x22\x22\x22");
    assert_text(option(block, 12, 3, 0), "\x33\x33\x33\x33\x44\x44\x44\x44");
    assert_int_equal(tb_get_le64(option(block, 12, 4, 0).at), 100);
    assert_int_equal(tb_get_le64(option(block, 12, 5, 0).at), 7);
    assert_int_equal(tb_get_le64(option(block, 12, 6, 0).at), 89);
    assert_int_equal(tb_get_le64(option(block, 12, 7, 0).at), 1);
    assert_int_equal(tb_get_le64(option(block, 12, 8, 0).at), 80);
}

static void
blocks_that_are_not_whole_are_refused_and_leave_the_rest_alone(void **state)
{
    static const struct {
        const char *octets;
        size_t len;
        enum tb_err expected;
    } cases[] = {
        {"", 0, TB_ESHORT},
        {"\6\0\0\0\x0c\0\0\0\x0c\0\0", 11, TB_ESHORT},
        {"\6\0\0\0\x10\0\0\0\x0c\0\0\0", 12, TB_ESHORT},
        {"\6\0\0\0\x08\0\0\0\x08\0\0\0", 12, TB_EFORMAT},
        {"\6\0\0\0\x0d\0\0\0\0\x0d\0\0\0", 13, TB_EFORMAT},
        {"\6\0\0\0\x0c\0\0\0\x10\0\0\0", 12, TB_EFORMAT},
        {"\6\0\0\0\xfc\xff\xff\xff\x0c\0\0\0", 12, TB_ESHORT},
        {"\6\0\0\0\x0c\0\0\0\x0c\0\0\0", 12, TB_OK},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_bytes rest = tb_bytes_of(cases[i].octets, cases[i].len);
        struct tb_pcapng_block block = {.type = 77};

        assert_int_equal(tb_pcapng_next(&rest, &block), cases[i].expected);
        assert_int_equal(rest.len, cases[i].expected == TB_OK ? 0 : cases[i].len);
        assert_int_equal(block.type, cases[i].expected == TB_OK ? 6 : 77);
    }
}

static void
a_packet_longer_than_its_block_is_refused(void **state)
{
    uint8_t at[128];
    const struct tb_pcapng_packet packet = {.captured = 10, .original = 10};
    size_t n = tb_pcapng_put_packet(at, sizeof(at), &packet, (const uint8_t *)"0123456789");
    struct tb_pcapng_packet back;
    struct tb_pcapng_block block;
    struct tb_bytes rest = tb_bytes_of(at, n), frame;

    (void)state;
    assert_int_equal(tb_pcapng_next(&rest, &block), TB_OK);
    tb_set_le32(at + 20, (uint32_t)(n - 12 - 20 + 1));
    assert_int_equal(tb_pcapng_get_packet(&block, &back, &frame), TB_EFORMAT);
    tb_set_le32(at + 20, UINT32_MAX);
    assert_int_equal(tb_pcapng_get_packet(&block, &back, &frame), TB_EFORMAT);
    block.body.len = 19;
    assert_int_equal(tb_pcapng_get_packet(&block, &back, &frame), TB_EFORMAT);
    block.type = TB_PCAPNG_ISB;
    assert_int_equal(tb_pcapng_get_packet(&block, &back, &frame), TB_EFORMAT);
}

int
main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(every_block_is_written_whole_or_not_at_all),
        cmocka_unit_test(a_section_says_whose_it_is),
        cmocka_unit_test(a_section_without_anything_is_a_section),
        cmocka_unit_test(texts_from_outside_become_clean_utf8),
        cmocka_unit_test(the_longest_texts_fit_the_stated_sizes_and_end_at_a_character),
        cmocka_unit_test(an_interface_is_ethernet_in_nanoseconds),
        cmocka_unit_test(packets_of_every_length_are_read_back_as_they_were),
        cmocka_unit_test(statistics_carry_the_ledger_in_words_and_numbers),
        cmocka_unit_test(blocks_that_are_not_whole_are_refused_and_leave_the_rest_alone),
        cmocka_unit_test(a_packet_longer_than_its_block_is_refused),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
