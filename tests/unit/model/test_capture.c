/* A capture's states and its ledger. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <tapbox/capture.h>

static void
every_state_and_reason_has_a_name_that_reads_back(void **state)
{
    (void)state;
    for (int i = 0; i < TB_CAPTURE_STATE_COUNT; i++) {
        enum tb_capture_state back = TB_CAPTURE_STATE_COUNT;

        assert_true(
            tb_capture_state_parse(tb_capture_state_name((enum tb_capture_state)i), &back));
        assert_int_equal(back, i);
    }
    for (int i = 0; i < TB_STOP_REASON_COUNT; i++) {
        enum tb_stop_reason back = TB_STOP_REASON_COUNT;

        assert_true(tb_stop_reason_parse(tb_stop_reason_name((enum tb_stop_reason)i), &back));
        assert_int_equal(back, i);
    }
}

static void
other_names_are_not_known_and_leave_out_alone(void **state)
{
    enum tb_capture_state s = TB_CAPTURE_SEALED;
    enum tb_stop_reason r = TB_STOP_BUDGET;

    (void)state;
    assert_false(tb_capture_state_parse("", &s));
    assert_false(tb_capture_state_parse("Sealed", &s));
    assert_false(tb_stop_reason_parse("unknown", &r));
    assert_int_equal(s, TB_CAPTURE_SEALED);
    assert_int_equal(r, TB_STOP_BUDGET);
    assert_string_equal(tb_capture_state_name(TB_CAPTURE_STATE_COUNT), "unknown");
    assert_string_equal(tb_stop_reason_name(TB_STOP_REASON_COUNT), "unknown");
}

/* Walks every way from `from`; true when one ends without passing through draining. */
static bool
escapes_draining(enum tb_capture_state from)
{
    if (from == TB_CAPTURE_DRAINING) {
        return false;
    }
    if (tb_capture_state_is_final(from)) {
        return true;
    }
    for (int to = 0; to < TB_CAPTURE_STATE_COUNT; to++) {
        if (tb_capture_may_follow(from, (enum tb_capture_state)to) &&
            escapes_draining((enum tb_capture_state)to)) {
            return true;
        }
    }
    return false;
}

static void
whatever_may_have_made_something_leaves_through_draining(void **state)
{
    (void)state;
    assert_false(escapes_draining(TB_CAPTURE_ARMING));
    assert_false(escapes_draining(TB_CAPTURE_RECORDING));
    assert_true(escapes_draining(TB_CAPTURE_REQUESTED));
    assert_true(escapes_draining(TB_CAPTURE_PLANNED));
}

static void
final_states_are_final_and_no_state_follows_itself_or_goes_back(void **state)
{
    (void)state;
    for (int from = 0; from < TB_CAPTURE_STATE_COUNT; from++) {
        for (int to = 0; to < TB_CAPTURE_STATE_COUNT; to++) {
            if (tb_capture_state_is_final((enum tb_capture_state)from) || to <= from) {
                assert_false(tb_capture_may_follow((enum tb_capture_state)from,
                                                   (enum tb_capture_state)to));
            }
        }
    }
    assert_false(tb_capture_may_follow(TB_CAPTURE_STATE_COUNT, TB_CAPTURE_FAILED));
}

static void
live_is_where_something_may_exist(void **state)
{
    (void)state;
    for (int i = 0; i < TB_CAPTURE_STATE_COUNT; i++) {
        assert_int_equal(tb_capture_state_is_live((enum tb_capture_state)i),
                         i >= TB_CAPTURE_ARMING && i <= TB_CAPTURE_DRAINING);
    }
}

static void
the_table_of_the_ledger_covers_all_of_it(void **state)
{
    struct tb_ledger ledger;
    struct tb_ledger zero;

    (void)state;
    assert_int_equal(sizeof(struct tb_ledger), TB_LEDGER_FIELDS * sizeof(uint64_t));
    memset(&ledger, 0xff, sizeof(ledger));
    memset(&zero, 0, sizeof(zero));
    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        tb_ledger_set(&ledger, i, 0);
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(tb_ledger_fields[i].name, tb_ledger_fields[k].name);
        }
    }
    assert_memory_equal(&ledger, &zero, sizeof(ledger));
    ledger.spool_full = 7;
    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        assert_int_equal(tb_ledger_get(&ledger, i),
                         strcmp(tb_ledger_fields[i].name, "spool_full") == 0 ? 7 : 0);
    }
}

static void
a_ledger_balances_when_every_packet_has_a_place(void **state)
{
    struct tb_ledger ledger = {.received = 11,
                               .written = 1,
                               .ring_dropped = 1,
                               .fragments = 1,
                               .not_vxlan = 1,
                               .malformed = 1,
                               .unknown_vni = 1,
                               .not_armed = 1,
                               .filtered = 1,
                               .over_budget = 1,
                               .queue_dropped = 1,
                               .spool_full = 1,
                               .truncated = 50,
                               .written_bytes = 60};

    (void)state;
    assert_int_equal(tb_ledger_residual(&ledger), 0);
    ledger.received = 12;
    assert_int_equal(tb_ledger_residual(&ledger), 1);
    ledger.received = 10;
    assert_int_equal(tb_ledger_residual(&ledger), -1);
    tb_ledger_add(&ledger, &ledger);
    assert_int_equal(ledger.received, 20);
    assert_int_equal(ledger.written_bytes, 120);
    assert_int_equal(tb_ledger_residual(&ledger), -2);
}

/* The wall clock is set while it records: back by an hour, then forward by a day. */
static void
how_long_it_has_recorded_is_no_matter_of_the_wall_clock(void **state)
{
    struct tb_capture *c = calloc(1, sizeof(*c));
    int64_t utc = 5000 * TB_NS_PER_S;
    int64_t boot = 100 * TB_NS_PER_S;

    (void)state;
    assert_non_null(c);
    tb_clock_fake(utc, boot);
    assert_true(tb_capture_recorded_ns(c) == 0);
    c->deadline = tb_deadline_in(600 * TB_NS_PER_S);
    c->recording_utc_ns = utc;
    tb_clock_fake(utc - 3600 * TB_NS_PER_S, boot + 20 * TB_NS_PER_S);
    assert_true(tb_capture_recorded_ns(c) == 20 * TB_NS_PER_S);
    tb_clock_fake(utc + 86400 * TB_NS_PER_S, boot + 30 * TB_NS_PER_S);
    assert_true(tb_capture_recorded_ns(c) == 30 * TB_NS_PER_S);
    c->recording_steady_ns = 7000 * TB_NS_PER_S;
    c->stopped_steady_ns = 7025 * TB_NS_PER_S;
    c->stopped_utc_ns = utc + 86425 * TB_NS_PER_S;
    assert_true(tb_capture_recorded_ns(c) == 25 * TB_NS_PER_S);
    tb_clock_real();
    free(c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_and_reason_has_a_name_that_reads_back),
        cmocka_unit_test(other_names_are_not_known_and_leave_out_alone),
        cmocka_unit_test(whatever_may_have_made_something_leaves_through_draining),
        cmocka_unit_test(final_states_are_final_and_no_state_follows_itself_or_goes_back),
        cmocka_unit_test(live_is_where_something_may_exist),
        cmocka_unit_test(the_table_of_the_ledger_covers_all_of_it),
        cmocka_unit_test(a_ledger_balances_when_every_packet_has_a_place),
        cmocka_unit_test(how_long_it_has_recorded_is_no_matter_of_the_wall_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
