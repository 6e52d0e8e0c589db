/* Mirror filters: made of peers, joined, kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/filter.h>

static struct tb_alert *
alert_of(const char *const *peers)
{
    struct tb_alert *a = calloc(1, sizeof(*a));

    assert_non_null(a);
    for (; *peers != NULL; peers++) {
        struct tb_indicator *at = &a->indicators[a->indicator_count++];

        at->on_wire = true;
        at->kind = strpbrk(*peers, "ghijklmnopqrstuvwxyz") != NULL ? TB_INDICATOR_DOMAIN
                                                                   : TB_INDICATOR_IP;
        (void)tb_str_copy(at->value, sizeof(at->value), *peers);
    }
    return a;
}

static struct tb_filter
filter_of(bool dns, const char *const *peers)
{
    struct tb_alert *a = alert_of(peers);
    struct tb_filter filter;

    tb_filter_of_peers(a, dns, &filter);
    free(a);
    return filter;
}
#define PEERS(...) ((const char *const[]){__VA_ARGS__, NULL})

static bool
lets_through(const struct tb_filter *filter, const char *peer)
{
    struct tb_filter one = filter_of(false, PEERS(peer));

    return tb_filter_covers(filter, &one);
}

static void
each_peer_is_one_rule_in_each_direction(void **state)
{
    struct tb_filter f = filter_of(false, PEERS("203.0.113.7", "2001:db8::7", "203.0.113.7"));

    (void)state;
    assert_int_equal(f.kind, TB_FILTER_PEERS);
    assert_int_equal(f.rule_count, 4);
    assert_string_equal(f.rules[0].remote, "203.0.113.7/32");
    assert_false(f.rules[0].egress);
    assert_true(f.rules[1].egress);
    assert_int_equal(f.rules[0].protocol, -1);
    assert_string_equal(f.rules[2].remote, "2001:db8::7/128");
    assert_false(f.amazon_dns);
    assert_string_equal(f.note, "");
}

static void
dns_comes_along_when_it_is_wanted(void **state)
{
    struct tb_filter f = filter_of(true, PEERS("203.0.113.7"));

    (void)state;
    assert_int_equal(f.kind, TB_FILTER_PEERS_DNS);
    assert_true(f.amazon_dns);
    assert_int_equal(f.rule_count, 4);
    assert_int_equal(f.rules[3].protocol, 17);
    assert_int_equal(f.rules[3].remote_from, 53);
    assert_string_equal(f.rules[3].remote, "0.0.0.0/0");
}

static void
more_peers_than_rules_share_the_nearest_networks_and_it_is_said(void **state)
{
    static const char *const peers[] = {"203.0.113.4",  "203.0.113.5", "203.0.113.6",
                                        "198.51.100.1", "192.0.2.1",   "192.0.2.130",
                                        "2001:db8::1",  NULL};

    (void)state;
    for (int dns = 0; dns < 2; dns++) {
        struct tb_filter f = filter_of(dns != 0, peers);

        assert_true(f.rule_count <= TB_FILTER_MAX_RULES);
        assert_non_null(strstr(f.note, "7 peers do not fit"));
        for (size_t i = 0; peers[i] != NULL; i++) {
            assert_true(lets_through(&f, peers[i]));
        }
        assert_false(lets_through(&f, "8.8.8.8"));
    }
    /* .4 and .5 are nearer to each other than anything else is */
    assert_string_equal(filter_of(false, peers).rules[8].remote, "203.0.113.4/30");
}

static void
what_is_not_known_is_everything_and_it_is_said(void **state)
{
    const struct {
        const char *const *peers;
        const char *says;
    } cases[] = {
        {PEERS("beacon.example"), "a domain"},
        {PEERS("203.0.113.7", "beacon.example"), "a domain"},
        {PEERS("0.0.0.0"), "no address"},
        {PEERS("::"), "no address"},
        {PEERS("255.255.255.255"), "no address"},
        {PEERS("ff02::1"), "no address"},
    };
    struct tb_alert *a = alert_of(PEERS("203.0.113.7"));
    struct tb_filter f;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        f = filter_of(false, cases[i].peers);
        assert_int_equal(f.kind, TB_FILTER_ALL);
        assert_non_null(strstr(f.note, cases[i].says));
        assert_true(f.amazon_dns);
    }
    a->indicators_left_out = 1;
    tb_filter_of_peers(a, false, &f);
    assert_int_equal(f.kind, TB_FILTER_ALL);
    /* callers of an API are no peers */
    a->indicators_left_out = 0;
    a->indicators[0].on_wire = false;
    tb_filter_of_peers(a, false, &f);
    assert_int_equal(f.kind, TB_FILTER_ALL);
    free(a);
}

static void
a_joint_filter_covers_both_and_keeps_the_places_of_the_first(void **state)
{
    struct tb_filter a = filter_of(false, PEERS("203.0.113.7"));
    struct tb_filter b = filter_of(true, PEERS("198.51.100.1", "203.0.113.7"));
    struct tb_filter both, all;

    (void)state;
    assert_false(tb_filter_covers(&a, &b));
    assert_true(tb_filter_covers(&b, &a));
    tb_filter_join(&a, &b, &both);
    assert_true(tb_filter_covers(&both, &a) && tb_filter_covers(&both, &b));
    assert_int_equal(both.kind, TB_FILTER_PEERS_DNS);
    assert_int_equal(both.rule_count, 6);
    assert_true(tb_filter_rule_equal(&both.rules[0], &a.rules[0]));
    tb_filter_all(&all, "");
    tb_filter_join(&a, &all, &both);
    assert_int_equal(both.kind, TB_FILTER_ALL);
    assert_true(tb_filter_covers(&all, &b));
    assert_false(tb_filter_covers(&b, &all));
}

static void
filters_that_do_not_fit_together_are_everything(void **state)
{
    struct tb_filter a =
        filter_of(false, PEERS("192.0.2.1", "192.0.2.65", "198.51.100.1", "203.0.113.1"));
    struct tb_filter b = filter_of(false, PEERS("10.0.0.1", "172.16.0.1"));
    struct tb_filter both;

    (void)state;
    tb_filter_join(&a, &b, &both);
    assert_int_equal(both.kind, TB_FILTER_ALL);
    assert_non_null(strstr(both.note, "more rules"));
}

static void
a_filter_comes_back_from_json_as_it_was(void **state)
{
    struct tb_filter filters[3], back;

    (void)state;
    tb_filter_all(&filters[0], "why");
    filters[1] = filter_of(true, PEERS("203.0.113.7", "2001:db8::7"));
    filters[2] = filters[1];
    filters[2].kind = TB_FILTER_RULES;
    filters[2].rules[0].local_from = 1;
    filters[2].rules[0].local_to = 1023;
    for (size_t i = 0; i < 3; i++) {
        struct tb_buf text = TB_BUF_INIT(TB_FILTER_JSON_MAX_BYTES);
        struct tb_json *json = tb_filter_json(&filters[i]);

        assert_int_equal(tb_json_dump(json, false, &text, NULL), TB_OK);
        assert_int_equal(tb_filter_parse(tb_buf_view(&text), &back, NULL), TB_OK);
        assert_memory_equal(&back, &filters[i], sizeof(back));
        tb_json_free(json);
        tb_buf_release(&text);
    }
    assert_int_equal(tb_filter_parse(tb_bytes_str("{}"), &back, NULL), TB_EFORMAT);
}

static void
networks_are_checked(void **state)
{
    static const char *const bad[] = {"",         "10.0.0.0/33", "10.0.0.1/8",
                                      "10.0.0/8", "10.0.0.0/",   "::/129",
                                      "x",        "10.0.0.0/8x", "10.0.0.0/-1"};
    char out[TB_CIDR_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(tb_cidr_parse(bad[i], out));
    }
    assert_true(tb_cidr_parse("10.1.2.3", out));
    assert_string_equal(out, "10.1.2.3/32");
    assert_true(tb_cidr_parse("2001:DB8::/32", out));
    assert_string_equal(out, "2001:db8::/32");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_peer_is_one_rule_in_each_direction),
        cmocka_unit_test(dns_comes_along_when_it_is_wanted),
        cmocka_unit_test(more_peers_than_rules_share_the_nearest_networks_and_it_is_said),
        cmocka_unit_test(what_is_not_known_is_everything_and_it_is_said),
        cmocka_unit_test(a_joint_filter_covers_both_and_keeps_the_places_of_the_first),
        cmocka_unit_test(filters_that_do_not_fit_together_are_everything),
        cmocka_unit_test(a_filter_comes_back_from_json_as_it_was),
        cmocka_unit_test(networks_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
