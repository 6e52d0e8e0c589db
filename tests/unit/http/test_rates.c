/* How often somebody may call. */
#include "room.h"

static struct tb_rates *
new_rates(void)
{
    struct tb_rates *rates = test_calloc(1, sizeof(*rates));

    assert_int_equal(tb_rates_start(rates, NULL), TB_OK);
    return rates;
}

static void
free_rates(struct tb_rates *rates)
{
    tb_rates_stop(rates);
    test_free(rates);
}

static unsigned
granted(struct tb_rates *rates, unsigned per_s, const char *who, unsigned tries)
{
    unsigned n = 0;

    for (unsigned i = 0; i < tries; i++) {
        n += tb_rates_take(rates, per_s, tb_bytes_str(who)) == 0;
    }
    return n;
}

static void
ten_seconds_worth_comes_at_once_and_then_the_rate(void **state)
{
    struct tb_rates *rates = new_rates();
    int64_t wait_ns;

    (void)state;
    tb_clock_fake(0, 1000 * TB_NS_PER_S);
    assert_int_equal(granted(rates, 20, "ann", 1000), 200);
    wait_ns = tb_rates_take(rates, 20, tb_bytes_str("ann"));
    assert_true(wait_ns > 0 && wait_ns <= TB_NS_PER_S / 20);
    tb_clock_fake(0, 1000 * TB_NS_PER_S + wait_ns);
    assert_int_equal(granted(rates, 20, "ann", 1000), 1);
    tb_clock_fake(0, 1003 * TB_NS_PER_S + wait_ns);
    assert_int_equal(granted(rates, 20, "ann", 1000), 60);
    assert_int_equal(granted(rates, 20, "rob", 1000), 200); /* another one's is full */
    tb_clock_fake(0, 5000 * TB_NS_PER_S);
    assert_int_equal(granted(rates, 20, "ann", 1000), 200); /* and no fuller than full */
    assert_int_equal(granted(rates, 0, "ann", 1000), 1000);
    tb_clock_real();
    free_rates(rates);
}

static void
a_flood_of_names_pushes_out_itself_and_not_who_has_spent_his(void **state)
{
    struct tb_rates *rates = new_rates();
    char name[16];

    (void)state;
    tb_clock_fake(0, 1000 * TB_NS_PER_S);
    assert_int_equal(granted(rates, 20, "busy", 1000), 200);
    for (unsigned i = 0; i < 100000; i++) {
        (void)snprintf(name, sizeof(name), "n%u", i);
        assert_true(tb_rates_take(rates, 20, tb_bytes_str(name)) == 0);
    }
    assert_int_equal(granted(rates, 20, "busy", 1000), 0);
    tb_clock_real();
    free_rates(rates);
}

static void
an_ipv6_network_is_one_caller_and_ipv4_in_ipv6_is_ipv4(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {"203.0.113.7", "203.0.113.7", true},
        {"203.0.113.7", "203.0.113.8", false},
        {"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true},
        {"2001:db8:1:2::1", "2001:db8:1:3::1", false},
        {"::ffff:203.0.113.7", "203.0.113.7", true},
        {"::ffff:203.0.113.7", "::ffff:203.0.113.8", false},
    };
    uint8_t left[TB_RATE_ADDRESS_BYTES], right[TB_RATE_ADDRESS_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_bytes a = tb_rates_address(cases[i].a, left);
        struct tb_bytes b = tb_rates_address(cases[i].b, right);

        assert_true(a.len > 0 && b.len > 0);
        if ((a.len == b.len && memcmp(a.at, b.at, a.len) == 0) != cases[i].same) {
            fail_msg("%s and %s", cases[i].a, cases[i].b);
        }
    }
    assert_true(tb_rates_address("unknown", left).len == 0);
}

/* --- in the server --- */

static int
ask(struct room *r, const struct tb_secret *token, struct tb_buf *out)
{
    return call(r, "GET", "/v1/captures", token, NULL, NULL, out);
}

static void
who_calls_too_often_is_told_when_to_come_again_and_others_are_answered(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    unsigned again_s = 0;

    r->config.rate_per_token = 1;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(ask(r, &r->analyst, &out), 200);
    }
    assert_int_equal(ask(r, &r->analyst, &out), 429);
    assert_problem(&out, 429, "One token may make 1 calls a second, and 10 at once.");
    assert_non_null(strstr(tb_buf_str(&out), "Retry-After: "));
    (void)sscanf(strstr(tb_buf_str(&out), "Retry-After: "), "Retry-After: %u", &again_s);
    assert_int_equal(again_s, 1);
    assert_int_equal(ask(r, &r->responder, &out), 200);
    assert_int_equal(call(r, "GET", "/healthz", NULL, NULL, NULL, &out), 200);
    tb_clock_fake_advance(2 * TB_NS_PER_S);
    assert_int_equal(ask(r, &r->analyst, &out), 200);
    assert_int_equal(call(r, "GET", "/metrics", &r->scraper, NULL, NULL, &out), 200);
    assert_non_null(
        strstr(tb_buf_str(&out), "tapbox_auth_refusals_total{why=\"token_rate\"} 1\n"));
    tb_buf_release(&out);
}

static void
an_address_that_guesses_tokens_is_stopped_before_they_are_looked_at(void **state)
{
    static const char wrong[] = "X-Api-Key: tbx_wrong\r\n";
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);

    r->config.rate_per_address = 2;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(call(r, "POST", "/v1/events", NULL, wrong, "{}", &out), 401);
    }
    assert_int_equal(call(r, "POST", "/v1/events", NULL, wrong, "{}", &out), 429);
    assert_problem(&out, 429, "One address");
    assert_int_equal(ask(r, &r->analyst, &out), 429); /* it is the same address */
    assert_int_equal(call(r, "GET", "/readyz", NULL, NULL, NULL, &out), 503);
    tb_clock_fake_advance(60 * TB_NS_PER_S);
    assert_int_equal(call(r, "GET", "/metrics", &r->scraper, NULL, NULL, &out), 200);
    assert_non_null(
        strstr(tb_buf_str(&out), "tapbox_auth_refusals_total{why=\"address_rate\"} 2\n"));
    tb_buf_release(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_seconds_worth_comes_at_once_and_then_the_rate),
        cmocka_unit_test(a_flood_of_names_pushes_out_itself_and_not_who_has_spent_his),
        cmocka_unit_test(an_ipv6_network_is_one_caller_and_ipv4_in_ipv6_is_ipv4),
        CLOCK_TEST(who_calls_too_often_is_told_when_to_come_again_and_others_are_answered),
        CLOCK_TEST(an_address_that_guesses_tokens_is_stopped_before_they_are_looked_at),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
