/* Packets in, tables out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <tapbox/clock.h>

#include "../../../src/summary/summary_int.h"
#include "wire.h"

enum {
    TCP = 6,
    UDP = 17,
    SYN = 2,
    ACK = 16
};

static const int64_t noon_ns = INT64_C(1700000000) * TB_NS_PER_S;

static struct tb_summary *
new_summary(void)
{
    struct tb_summary *summary = NULL;

    assert_int_equal(tb_summary_new(&summary, NULL), TB_OK);
    return summary;
}

static void
give(struct tb_summary *summary, int64_t at_ms, const struct wire *frame)
{
    tb_summary_packet(summary, noon_ns + at_ms * TB_NS_PER_MS, wire_bytes(frame),
                      (uint32_t)frame->len);
}

static void
give_udp(struct tb_summary *summary, unsigned src, unsigned dst, unsigned src_port,
         unsigned dst_port, struct tb_bytes payload)
{
    struct wire udp = wire_udp(src_port, dst_port, payload);
    struct wire frame = wire_ipv4(src, dst, UDP, 1, 0, wire_bytes(&udp));

    give(summary, 0, &frame);
}

static void
give_tcp(struct tb_summary *summary, unsigned src_port, uint32_t sequence, unsigned flags,
         struct tb_bytes payload)
{
    struct wire tcp = wire_tcp(src_port, 443, sequence, flags, payload);
    struct wire frame = wire_ipv4(1, 2, TCP, 1, 0, wire_bytes(&tcp));

    give(summary, 0, &frame);
}

static struct tb_bytes
part(const struct wire *w, size_t from, size_t to)
{
    return tb_bytes_of(w->at + from, to - from);
}

static int64_t
number(const struct tb_json *root, const char *pointer)
{
    int64_t value = -1;

    (void)tb_json_int(root, pointer, &value);
    return value;
}

static void
both_directions_are_one_conversation_and_a_is_who_spoke_first(void **state)
{
    struct tb_summary *summary = new_summary();
    struct tb_json *root;

    (void)state;
    give_udp(summary, 9, 2, 5000, 7, tb_bytes_str("abc"));
    give_udp(summary, 2, 9, 7, 5000, tb_bytes_str("de"));
    give_udp(summary, 9, 2, 5000, 7, tb_bytes_str("f"));
    root = tb_summary_json(summary, 10);
    assert_int_equal(number(root, "/packets"), 3);
    assert_int_equal(number(root, "/bytes"), 3 * 42 + 6);
    assert_int_equal(number(root, "/udp/count"), 1);
    assert_string_equal(tb_json_str(root, "/udp/rows/0/a"), "10.0.0.9");
    assert_int_equal(number(root, "/udp/rows/0/a_port"), 5000);
    assert_string_equal(tb_json_str(root, "/udp/rows/0/b"), "10.0.0.2");
    assert_int_equal(number(root, "/udp/rows/0/packets_a_to_b"), 2);
    assert_int_equal(number(root, "/udp/rows/0/bytes_a_to_b"), 2 * 42 + 4);
    assert_int_equal(number(root, "/udp/rows/0/packets_b_to_a"), 1);
    assert_int_equal(number(root, "/udp/rows/0/bytes_b_to_a"), 44);
    assert_int_equal(number(root, "/ip/rows/0/packets"), 3);
    tb_json_free(root);
    tb_summary_free(summary);
}

static void
a_datagram_in_pieces_counts_once_when_it_is_whole_in_any_order(void **state)
{
    struct wire question = wire_dns("\3www\7example", false);
    struct wire udp = wire_udp(4000, 53, wire_bytes(&question));
    struct wire last = wire_ipv4(1, 2, UDP, 77, 3, part(&udp, 24, udp.len));
    struct wire first = wire_ipv4(1, 2, UDP, 77, 0x2000, part(&udp, 0, 16));
    struct wire middle = wire_ipv4(1, 2, UDP, 77, 0x2002, part(&udp, 16, 24));
    struct wire other = wire_ipv4(1, 2, UDP, 78, 0x2002, part(&udp, 16, 24));
    struct tb_summary *summary = new_summary();
    struct tb_json *root;

    (void)state;
    give(summary, 0, &last);
    give(summary, 0, &other);
    give(summary, 0, &middle);
    assert_int_equal(summary->tables[SUMMARY_UDP].count, 0);
    give(summary, 0, &first);
    root = tb_summary_json(summary, 10);
    assert_int_equal(number(root, "/udp/rows/0/packets"), 1);
    assert_int_equal(number(root, "/udp/rows/0/bytes"), (int64_t)first.len);
    assert_int_equal(number(root, "/fragments"), 4);
    assert_int_equal(number(root, "/ip/rows/0/packets"), 4);
    assert_string_equal(tb_json_str(root, "/dns/rows/0/name"), "www.example");
    tb_json_free(root);
    tb_summary_free(summary);
}

static void
datagrams_that_are_never_whole_make_room_and_are_counted(void **state)
{
    struct wire udp = wire_udp(4000, 53, tb_bytes_str("0123456789abcdef"));
    struct tb_summary *summary = new_summary();

    (void)state;
    for (unsigned id = 0; id < 100; id++) {
        struct wire piece = wire_ipv4(1, 2, UDP, id, 0x2000, part(&udp, 0, 16));

        give(summary, 0, &piece);
    }
    assert_int_equal(summary_fragments_lost(summary->fragment_store), 100 - 64);
    tb_summary_free(summary);
}

static void
a_name_is_one_whatever_its_case_and_questions_and_answers_are_apart(void **state)
{
    struct wire question = wire_dns("\3wWw\7eXample", false);
    struct wire again = wire_dns("\3www\7example", false);
    struct wire answer = wire_dns("\3www\7example", true);
    struct tb_summary *summary = new_summary();
    struct tb_json *root;

    (void)state;
    give_udp(summary, 1, 2, 4000, 53, wire_bytes(&question));
    give_udp(summary, 1, 2, 4000, 53, wire_bytes(&again));
    give_udp(summary, 2, 1, 53, 4000, wire_bytes(&answer));
    root = tb_summary_json(summary, 10);
    assert_int_equal(number(root, "/dns/count"), 1);
    assert_string_equal(tb_json_str(root, "/dns/rows/0/name"), "wWw.eXample");
    assert_int_equal(number(root, "/dns/rows/0/queries"), 2);
    assert_int_equal(number(root, "/dns/rows/0/responses"), 1);
    tb_json_free(root);
    tb_summary_free(summary);
}

static void
every_cut_of_a_dns_message_is_read_within_its_bounds(void **state)
{
    struct wire answer = wire_dns("\3www\7example", true);
    struct tb_summary *summary = new_summary();

    (void)state;
    for (size_t len = 0; len <= answer.len; len++) {
        uint8_t *exact = malloc(len + 1); /* so that the sanitizer sees a read behind it */

        assert_non_null(exact);
        memcpy(exact, answer.at, len);
        give_udp(summary, 2, 1, 53, 4000, tb_bytes_of(exact, len));
        free(exact);
    }
    assert_int_equal(summary->tables[SUMMARY_DNS].count, 1);
    tb_summary_free(summary);
}

static void
hostile_octets_in_names_are_written_as_numbers(void **state)
{
    struct wire question = wire_dns("\x0a<b>\x1b\xe2\x80\xae.\\x", false);
    struct tb_summary *summary = new_summary();
    struct tb_json *root;

    (void)state;
    give_udp(summary, 1, 2, 4000, 53, wire_bytes(&question));
    root = tb_summary_json(summary, 10);
    assert_string_equal(tb_json_str(root, "/dns/rows/0/name"),
                        "<b>\\027\\226\\128\\174\\046\\092x");
    tb_json_free(root);
    tb_summary_free(summary);
}

static void
dns_over_tcp_is_read_across_segments_and_what_comes_again_counts_once(void **state)
{
    struct wire question = wire_dns("\3www\7example", false);
    struct wire stream = {{0}, 0};
    struct tb_summary *summary = new_summary();
    struct tb_json *root;
    const unsigned cuts[] = {0, 1, 5, 40, 0};

    (void)state;
    for (int i = 0; i < 2; i++) {
        wire_u16(&stream, (unsigned)question.len);
        wire_put(&stream, question.at, question.len);
    }
    for (size_t i = 0; i < 4; i++) {
        unsigned to = i < 3 ? cuts[i + 1] : (unsigned)stream.len;

        for (int again = 0; again < 2; again++) {
            struct wire tcp =
                wire_tcp(4000, 53, 100 + cuts[i], ACK, part(&stream, cuts[i], to));
            struct wire frame = wire_ipv4(1, 2, TCP, 1, 0, wire_bytes(&tcp));

            give(summary, 0, &frame);
        }
    }
    root = tb_summary_json(summary, 10);
    assert_int_equal(number(root, "/dns/rows/0/queries"), 2);
    tb_json_free(root);
    tb_summary_free(summary);
}

static void
a_server_name_is_found_across_records_and_segments_in_any_order(void **state)
{
    static const size_t padding[] = {0, 1500, 3000};
    static const size_t record[] = {16384, 100};

    (void)state;
    for (size_t p = 0; p < 3; p++) {
        for (size_t r = 0; r < 2; r++) {
            struct wire hello = wire_hello("evil.example", padding[p], record[r]);
            struct tb_summary *summary = new_summary();
            struct tb_json *root;
            size_t third = hello.len / 3;

            give_tcp(summary, 5000, 99, SYN, tb_bytes_of(NULL, 0));
            give_tcp(summary, 5000, (uint32_t)(100 + 2 * third), ACK,
                     part(&hello, 2 * third, hello.len));
            give_tcp(summary, 5000, 100, ACK, part(&hello, 0, third));
            give_tcp(summary, 5000, 100, ACK, part(&hello, 0, third)); /* sent again */
            give_tcp(summary, 5000, (uint32_t)(100 + third), ACK,
                     part(&hello, third, 2 * third));
            give_tcp(summary, 5000, 100, ACK, part(&hello, 0, third));
            root = tb_summary_json(summary, 10);
            assert_int_equal(number(root, "/tls/count"), 1);
            assert_string_equal(tb_json_str(root, "/tls/rows/0/name"), "evil.example");
            assert_int_equal(number(root, "/tls/rows/0/times"), 1);
            tb_json_free(root);
            tb_summary_free(summary);
        }
    }
}

static void
streams_that_never_end_their_hello_make_room_and_are_counted(void **state)
{
    struct wire hello = wire_hello("evil.example", 1500, 16384);
    struct tb_summary *summary = new_summary();

    (void)state;
    for (unsigned port = 1; port <= 1100; port++) {
        give_tcp(summary, port, 100, ACK, part(&hello, 0, 1000));
    }
    assert_int_equal(summary_streams_lost(summary->streams), 1100 - 1024);
    tb_summary_free(summary);
}

static void
requests_are_counted_by_their_host(void **state)
{
    static const char first[] = "GET /a HTTP/1.1\r\nUser-Agent: x\r\nHo";
    static const char second[] = "st: Example.org:8080\r\n\r\n";
    struct tb_summary *summary = new_summary();
    struct tb_json *root;

    (void)state;
    give_tcp(summary, 5000, 100, ACK, tb_bytes_str(first));
    give_tcp(summary, 5000, (uint32_t)(100 + strlen(first)), ACK, tb_bytes_str(second));
    root = tb_summary_json(summary, 10);
    assert_string_equal(tb_json_str(root, "/http/rows/0/name"), "Example.org:8080");
    tb_json_free(root);
    tb_summary_free(summary);
}

static void
a_full_table_keeps_the_large_and_counts_what_leaves(void **state)
{
    struct summary_table table;
    struct summary_entry *entry;
    uint64_t packets = 0;

    (void)state;
    summary_table_init(&table, 100, 42);
    for (unsigned i = 0; i < 5000; i++) {
        char key[16];

        /* one that grows all the time among those that come once */
        (void)snprintf(key, sizeof(key), "%u", i % 10 == 0 ? 0 : i);
        entry = summary_table_get(&table, tb_bytes_str(key), tb_bytes_of(NULL, 0));
        assert_non_null(entry);
        entry->ways[0].packets++;
        entry->ways[0].bytes += 60;
    }
    assert_true(table.count <= 100);
    entry = summary_table_find(&table, tb_bytes_str("0"));
    assert_non_null(entry);
    assert_int_equal(entry->ways[0].packets, 500);
    for (size_t i = 0; i < table.count; i++) {
        packets += summary_entry_packets(table.entries[i]);
    }
    assert_int_equal(packets + table.out.packets, 5000);
    assert_int_equal(table.count + table.out.entries, 4501);
    summary_table_release(&table);
}

static void
the_timeline_becomes_coarser_and_loses_nothing(void **state)
{
    static const int64_t offsets_s[] = {0, 1, 1, 4095, 4096, 10000, -3, 100000, -50000};
    struct summary_timeline *timeline = calloc(1, sizeof(*timeline));
    uint64_t packets = 0;

    (void)state;
    assert_non_null(timeline);
    summary_timeline_init(timeline);
    for (size_t i = 0; i < sizeof(offsets_s) / sizeof(offsets_s[0]); i++) {
        summary_timeline_add(timeline, noon_ns + offsets_s[i] * TB_NS_PER_S, 10);
    }
    for (size_t i = 0; i < timeline->count; i++) {
        packets += timeline->bins[i].packets;
    }
    assert_int_equal(packets, 9);
    assert_int_equal(timeline->interval_s, 64);
    assert_true(timeline->count <= TIMELINE_MAX);
    assert_int_equal(timeline->bins[-timeline->low].packets, 3);      /* 0, 1, 1 */
    assert_int_equal(timeline->bins[-timeline->low + 63].packets, 1); /* 4095 */
    summary_timeline_add(timeline, INT64_MAX, 1);
    summary_timeline_add(timeline, INT64_MIN, 1);
    free(timeline);
}

/* --- what the alert spoke of --- */

static const struct tb_sighting *
sighting(const struct tb_summary *summary, size_t i)
{
    const struct tb_ioc *iocs;
    const struct tb_sighting *seen;

    assert_true(i < tb_summary_sightings(summary, &iocs, &seen));
    return &seen[i];
}

static void
talk_of_all_kinds(struct tb_summary *summary)
{
    struct wire question = wire_dns("\1x\4evil\7example", false);
    struct wire answer = wire_dns("\1x\4evil\7example", true);
    struct wire hello = wire_hello("EVIL.example", 0, 16384);

    give_udp(summary, 1, 2, 4000, 53, wire_bytes(&question)); /* 78 octets */
    give_udp(summary, 2, 1, 53, 4000, wire_bytes(&answer));
    give_tcp(summary, 5000, 100, ACK, wire_bytes(&hello));
    give_udp(summary, 1, 77, 6000, 6001, tb_bytes_str("to what DNS answered"));
    give_udp(summary, 1, 3, 8080, 9, tb_bytes_str(""));
}

static void
peers_ports_and_domains_are_seen_whether_asked_for_before_or_after(void **state)
{
    static const struct tb_ioc iocs[] = {
        {TB_IOC_IP, "10.0.0.2", 443, TCP},
        {TB_IOC_IP, "10.0.0.200", 0, 0},
        {TB_IOC_PORT, "", 8080, 0},
        {TB_IOC_PORT, "", 8080, TCP},
        {TB_IOC_DOMAIN, "Evil.Example.", 0, 0},
        {TB_IOC_DOMAIN, "vil.example", 0, 0},
    };

    (void)state;
    for (int after = 0; after < 2; after++) {
        struct tb_summary *summary = new_summary();

        if (after) {
            talk_of_all_kinds(summary);
        }
        for (size_t i = 0; i < 6; i++) {
            assert_int_equal(tb_summary_watch(summary, &iocs[i], NULL), TB_OK);
            assert_int_equal(tb_summary_watch(summary, &iocs[i], NULL), TB_OK); /* one */
        }
        if (!after) {
            talk_of_all_kinds(summary);
        }
        assert_int_equal(sighting(summary, 0)->packets, 3);
        assert_int_equal(sighting(summary, 0)->on_port, 1);
        assert_int_equal(sighting(summary, 0)->first_utc_ns, noon_ns);
        assert_false(tb_sighting_is_seen(sighting(summary, 1)));
        assert_int_equal(sighting(summary, 2)->packets, 1);
        assert_false(tb_sighting_is_seen(sighting(summary, 3)));
        assert_int_equal(sighting(summary, 4)->names, 2);
        /* what was answered before the indicator was known is not kept */
        assert_int_equal(sighting(summary, 4)->packets, after ? 0 : 1);
        assert_false(tb_sighting_is_seen(sighting(summary, 5)));
        tb_summary_free(summary);
    }
}

static void
an_indicator_that_is_none_is_refused(void **state)
{
    static const struct tb_ioc iocs[] = {
        {TB_IOC_IP, "10.0.0", 0, 0}, {TB_IOC_DOMAIN, "", 0, 0}, {TB_IOC_PORT, "", 0, 0}};
    struct tb_summary *summary = new_summary();

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(tb_summary_watch(summary, &iocs[i], NULL), TB_EINVAL);
    }
    for (unsigned port = 1; port <= TB_SUMMARY_MAX_IOCS; port++) {
        struct tb_ioc one = {TB_IOC_PORT, "", (uint16_t)port, 0};

        assert_int_equal(tb_summary_watch(summary, &one, NULL), TB_OK);
    }
    assert_int_equal(tb_summary_watch(summary, &(struct tb_ioc){TB_IOC_PORT, "", 999, 0}, NULL),
                     TB_EFULL);
    tb_summary_free(summary);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_directions_are_one_conversation_and_a_is_who_spoke_first),
        cmocka_unit_test(a_datagram_in_pieces_counts_once_when_it_is_whole_in_any_order),
        cmocka_unit_test(datagrams_that_are_never_whole_make_room_and_are_counted),
        cmocka_unit_test(a_name_is_one_whatever_its_case_and_questions_and_answers_are_apart),
        cmocka_unit_test(every_cut_of_a_dns_message_is_read_within_its_bounds),
        cmocka_unit_test(hostile_octets_in_names_are_written_as_numbers),
        cmocka_unit_test(dns_over_tcp_is_read_across_segments_and_what_comes_again_counts_once),
        cmocka_unit_test(a_server_name_is_found_across_records_and_segments_in_any_order),
        cmocka_unit_test(streams_that_never_end_their_hello_make_room_and_are_counted),
        cmocka_unit_test(requests_are_counted_by_their_host),
        cmocka_unit_test(a_full_table_keeps_the_large_and_counts_what_leaves),
        cmocka_unit_test(the_timeline_becomes_coarser_and_loses_nothing),
        cmocka_unit_test(peers_ports_and_domains_are_seen_whether_asked_for_before_or_after),
        cmocka_unit_test(an_indicator_that_is_none_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
