#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <tapbox/clock.h>

static void
times_are_read_as_rfc_3339_says(void **state)
{
    static const struct {
        const char *text;
        enum tb_err err;
        int64_t utc_ns;
    } cases[] = {
        {"1970-01-01T00:00:00Z", TB_OK, 0},
        {"2026-01-02T03:04:05Z", TB_OK, 1767323045 * TB_NS_PER_S},
        {"2026-01-02T03:04:05.5Z", TB_OK, 1767323045 * TB_NS_PER_S + 500000000},
        {"2026-01-02T03:04:05.123456789123Z", TB_OK, 1767323045 * TB_NS_PER_S + 123456789},
        {"2026-01-02T05:04:05+02:00", TB_OK, 1767323045 * TB_NS_PER_S},
        {"2026-01-01T21:34:05-05:30", TB_OK, 1767323045 * TB_NS_PER_S},
        {"2024-02-29T00:00:00Z", TB_OK, 1709164800 * TB_NS_PER_S},
        {"2026-02-29T00:00:00Z", TB_EFORMAT, 0},
        {"2026-13-01T00:00:00Z", TB_EFORMAT, 0},
        {"2026-01-02T24:00:00Z", TB_EFORMAT, 0},
        {"2026-01-02T03:04:05", TB_EFORMAT, 0},
        {"2026-01-02T03:04:05.Z", TB_EFORMAT, 0},
        {"2026-01-02T03:04:05Zx", TB_EFORMAT, 0},
        {"2026-1-2T03:04:05Z", TB_EFORMAT, 0},
        {"", TB_EFORMAT, 0},
        {"2261-12-31T23:59:59Z", TB_OK, 9214646399 * TB_NS_PER_S},
        {"2262-01-01T00:00:00Z", TB_EFORMAT, 0},
        {"9999-12-31T23:59:59Z", TB_EFORMAT, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t utc_ns = 0;

        assert_int_equal(tb_time_parse(cases[i].text, &utc_ns), cases[i].err);
        assert_true(utc_ns == cases[i].utc_ns);
    }
}

static void
the_date_header_is_read_and_other_forms_are_not(void **state)
{
    int64_t utc_s = 7;

    (void)state;
    assert_int_equal(tb_time_parse_http("Fri, 02 Jan 2026 03:04:05 GMT", &utc_s), TB_OK);
    assert_true(utc_s == 1767323045);
    assert_int_equal(tb_time_parse_http("Fri, 2 Jan 2026 03:04:05 GMT", &utc_s), TB_EFORMAT);
    assert_int_equal(tb_time_parse_http("Fri, 02 Jan 2026 03:04:05 CET", &utc_s), TB_EFORMAT);
    assert_int_equal(tb_time_parse_http("2026-01-02T03:04:05Z", &utc_s), TB_EFORMAT);
    assert_int_equal(tb_time_parse_http("", &utc_s), TB_EFORMAT);
}

static void
times_are_written_in_the_three_forms(void **state)
{
    char text[TB_TIME_TEXT_SIZE];

    (void)state;
    tb_time_format_s(text, 1767323045);
    assert_string_equal(text, "2026-01-02T03:04:05Z");
    tb_time_format_ns(text, 1767323045 * TB_NS_PER_S + 42);
    assert_string_equal(text, "2026-01-02T03:04:05.000000042Z");
    tb_time_format_compact(text, 1767323045);
    assert_string_equal(text, "20260102T030405Z");
}

static void
durations_have_units_and_are_above_zero(void **state)
{
    static const struct {
        const char *text;
        int64_t ns; /* 0: refused */
    } cases[] = {{"90", 90 * TB_NS_PER_S},
                 {"90s", 90 * TB_NS_PER_S},
                 {"15m", 900 * TB_NS_PER_S},
                 {"2h", 7200 * TB_NS_PER_S},
                 {"1d", 86400 * TB_NS_PER_S},
                 {"250ms", 250 * TB_NS_PER_MS},
                 {"0s", 0},
                 {"-5m", 0},
                 {"15 m", 0},
                 {"1w", 0},
                 {"", 0},
                 {"99999999999999999999d", 0},
                 {"300000d", 0}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t ns = 0;

        assert_int_equal(tb_duration_parse(cases[i].text, &ns),
                         cases[i].ns != 0 ? TB_OK : TB_EFORMAT);
        assert_true(ns == cases[i].ns);
    }
}

static void
a_deadline_does_not_move_with_the_wall_clock(void **state)
{
    struct tb_deadline deadline;

    (void)state;
    tb_clock_fake(1000 * TB_NS_PER_S, 50 * TB_NS_PER_S);
    deadline = tb_deadline_in(60 * TB_NS_PER_S);
    tb_clock_fake(9999999 * TB_NS_PER_S, 70 * TB_NS_PER_S); /* somebody set the clock */
    assert_true(tb_deadline_left_ns(&deadline) == 40 * TB_NS_PER_S);
    tb_clock_fake_advance(41 * TB_NS_PER_S);
    assert_true(tb_deadline_left_ns(&deadline) == -TB_NS_PER_S);
    tb_clock_real();
}

static void
a_deadline_of_another_boot_is_judged_by_utc(void **state)
{
    struct tb_deadline deadline;

    (void)state;
    tb_clock_fake(1000 * TB_NS_PER_S, 5000 * TB_NS_PER_S);
    deadline = tb_deadline_in(60 * TB_NS_PER_S);
    (void)strcpy(deadline.boot_id, "another boot");
    tb_clock_fake(1050 * TB_NS_PER_S, 3 * TB_NS_PER_S);
    assert_true(tb_deadline_left_ns(&deadline) == 10 * TB_NS_PER_S);
    tb_clock_real();
}

static void
a_boot_without_an_id_is_never_the_same(void **state)
{
    struct tb_deadline deadline;

    (void)state;
    tb_clock_fake(1000 * TB_NS_PER_S, 5000 * TB_NS_PER_S);
    deadline = tb_deadline_in(60 * TB_NS_PER_S);
    assert_true(tb_deadline_is_of_this_boot(&deadline));
    deadline.boot_id[0] = 0; /* /proc was not there, then or now */
    assert_false(tb_deadline_is_of_this_boot(&deadline));
    tb_clock_fake(1050 * TB_NS_PER_S, 3 * TB_NS_PER_S);
    assert_true(tb_deadline_left_ns(&deadline) == 10 * TB_NS_PER_S);
    tb_clock_real();
}

static void
a_deadline_moves_on_both_clocks(void **state)
{
    struct tb_deadline deadline = tb_deadline_in(60 * TB_NS_PER_S), moved;

    (void)state;
    moved = tb_deadline_moved(&deadline, 5 * TB_NS_PER_S);
    assert_true(moved.utc_ns - deadline.utc_ns == 5 * TB_NS_PER_S);
    assert_true(moved.boot_ns - deadline.boot_ns == 5 * TB_NS_PER_S);
    assert_string_equal(moved.boot_id, deadline.boot_id);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read_as_rfc_3339_says),
        cmocka_unit_test(the_date_header_is_read_and_other_forms_are_not),
        cmocka_unit_test(times_are_written_in_the_three_forms),
        cmocka_unit_test(durations_have_units_and_are_above_zero),
        cmocka_unit_test(a_deadline_does_not_move_with_the_wall_clock),
        cmocka_unit_test(a_deadline_of_another_boot_is_judged_by_utc),
        cmocka_unit_test(a_boot_without_an_id_is_never_the_same),
        cmocka_unit_test(a_deadline_moves_on_both_clocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
