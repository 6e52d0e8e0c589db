/* The time box of a capture in the store: extensions, and the interfaces in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <tapbox/store.h>

struct place {
    char dir[64];
    struct tb_store *store;
    char id[TB_CAPTURE_ID_SIZE]; /* records, for 90 s more */
    struct tb_capture capture;   /* as last read */
};

static void
move(struct place *p, enum tb_capture_state from, enum tb_capture_state to)
{
    assert_int_equal(tb_store_capture_move(p->store, p->id, from, to, TB_STOP_NONE, NULL),
                     TB_OK);
}

static void
read_capture(struct place *p)
{
    assert_int_equal(tb_store_capture_get(p->store, p->id, &p->capture, NULL), TB_OK);
}

static int
set_up(void **state)
{
    const struct tb_deadline deadline = tb_deadline_in(90 * TB_NS_PER_S);
    struct tb_capture_request request = {.duration_ns = 90 * TB_NS_PER_S, .reason = "why"};
    struct tb_intake intake = {.adapter = "api",
                               .key = "",
                               .body = tb_bytes_str("{}"),
                               .content_type = "application/json",
                               .remote = "127.0.0.1",
                               .token_name = "ann",
                               .decision_reason = "because",
                               .received_utc_ns = tb_clock_utc_ns(),
                               .capture = &request};
    struct place *p = calloc(1, sizeof(*p));
    enum tb_intake_outcome outcome;
    char path[96];

    assert_non_null(p);
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/tapbox-store-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(path, sizeof(path), "%s/tapbox.db", p->dir);
    assert_int_equal(tb_store_open(path, &p->store, NULL), TB_OK);
    (void)tb_str_copy(request.instance, sizeof(request.instance), "i-0123456789abcdef0");
    assert_int_equal(tb_store_intake(p->store, &intake, &outcome, p->id, NULL), TB_OK);
    move(p, TB_CAPTURE_REQUESTED, TB_CAPTURE_PLANNED);
    assert_int_equal(tb_store_capture_deadline(p->store, p->id, &deadline, NULL), TB_OK);
    move(p, TB_CAPTURE_PLANNED, TB_CAPTURE_ARMING);
    move(p, TB_CAPTURE_ARMING, TB_CAPTURE_RECORDING);
    read_capture(p);
    *state = p;
    return 0;
}

static int
tear_down(void **state)
{
    struct place *p = *state;
    char command[96];

    tb_store_close(p->store);
    (void)snprintf(command, sizeof(command), "rm -rf %s", p->dir);
    free(p);
    return system(command);
}

/* What AWS confirmed. */
static enum tb_err
confirm(struct place *p, int64_t to_utc_ns)
{
    struct tb_deadline deadline = p->capture.deadline;

    deadline.utc_ns = to_utc_ns;
    return tb_store_capture_extended(p->store, p->id, &deadline, NULL);
}

static void
an_extension_is_asked_for_and_comes_about(void **state)
{
    struct place *p = *state;
    int64_t to = p->capture.deadline.utc_ns + 60 * TB_NS_PER_S;

    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, to, NULL, NULL), TB_OK);
    read_capture(p);
    assert_true(p->capture.extend_to_utc_ns == to && p->capture.deadline.utc_ns < to);
    assert_int_equal(confirm(p, to), TB_OK);
    read_capture(p);
    assert_true(p->capture.extend_to_utc_ns == 0 && p->capture.deadline.utc_ns == to);
}

static void
one_that_was_withdrawn_cannot_come_about(void **state)
{
    struct place *p = *state;
    int64_t before = p->capture.deadline.utc_ns, to = before + 60 * TB_NS_PER_S;
    bool withdrawn = false;

    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, to, NULL, NULL), TB_OK);
    assert_int_equal(tb_store_capture_withdraw_extend(p->store, p->id, to, &withdrawn, NULL),
                     TB_OK);
    assert_true(withdrawn);
    assert_int_equal(confirm(p, to), TB_ESTATE);
    read_capture(p);
    assert_true(p->capture.extend_to_utc_ns == 0 && p->capture.deadline.utc_ns == before);
    /* nor one that nobody asked for */
    assert_int_equal(confirm(p, before + 1), TB_ESTATE);
}

static void
one_that_came_about_cannot_be_withdrawn(void **state)
{
    struct place *p = *state;
    int64_t to = p->capture.deadline.utc_ns + 60 * TB_NS_PER_S;
    bool withdrawn = true;

    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, to, NULL, NULL), TB_OK);
    assert_int_equal(confirm(p, to), TB_OK);
    assert_int_equal(tb_store_capture_withdraw_extend(p->store, p->id, to, &withdrawn, NULL),
                     TB_OK);
    assert_false(withdrawn);
    read_capture(p);
    assert_true(p->capture.deadline.utc_ns == to);
}

static void
the_later_of_two_stays_asked_for_when_the_first_comes_about(void **state)
{
    struct place *p = *state;
    int64_t first = p->capture.deadline.utc_ns + 60 * TB_NS_PER_S;
    int64_t second = first + 60 * TB_NS_PER_S;

    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, first, NULL, NULL), TB_OK);
    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, second, NULL, NULL), TB_OK);
    assert_int_equal(confirm(p, first), TB_OK);
    read_capture(p);
    assert_true(p->capture.extend_to_utc_ns == second && p->capture.deadline.utc_ns == first);
}

/* A finding about the same instance; what came of it. */
static enum tb_intake_outcome
join(struct place *p, int64_t duration_ns)
{
    struct tb_capture_request request = {.duration_ns = duration_ns, .finding_id = "f"};
    struct tb_intake intake = {.adapter = "guardduty",
                               .key = "",
                               .body = tb_bytes_str("{}"),
                               .content_type = "application/json",
                               .remote = "127.0.0.1",
                               .token_name = "ann",
                               .decision_reason = "again",
                               .received_utc_ns = tb_clock_utc_ns(),
                               .capture = &request,
                               .most_duration_ns = 3600 * TB_NS_PER_S};
    enum tb_intake_outcome outcome;
    char id[TB_CAPTURE_ID_SIZE];

    (void)tb_str_copy(request.instance, sizeof(request.instance), "i-0123456789abcdef0");
    assert_int_equal(tb_store_intake(p->store, &intake, &outcome, id, NULL), TB_OK);
    (void)tb_str_copy(p->id, sizeof(p->id), id);
    read_capture(p);
    return outcome;
}

/* Each of those who wait takes back what it asked for, and nothing of the others. */
static void
one_that_is_withdrawn_leaves_the_others_asked_for(void **state)
{
    struct place *p = *state;
    int64_t first = p->capture.deadline.utc_ns + 60 * TB_NS_PER_S;
    int64_t second = first + 60 * TB_NS_PER_S;
    bool withdrawn = false;

    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, second, NULL, NULL), TB_OK);
    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, first, NULL, NULL), TB_OK);
    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, first, NULL, NULL), TB_OK);
    assert_int_equal(
        tb_store_capture_withdraw_extend(p->store, p->id, second, &withdrawn, NULL), TB_OK);
    assert_true(withdrawn);
    read_capture(p);
    assert_true(p->capture.extend_to_utc_ns == first);
    assert_int_equal(tb_store_capture_withdraw_extend(p->store, p->id, first, &withdrawn, NULL),
                     TB_OK);
    read_capture(p);
    assert_true(withdrawn && p->capture.extend_to_utc_ns == first); /* asked for twice */
    assert_int_equal(confirm(p, first), TB_OK);
    read_capture(p);
    assert_true(p->capture.extend_to_utc_ns == 0 && p->capture.deadline.utc_ns == first);
}

/* What nobody waits for is not taken back with what somebody did. */
static void
one_that_an_alert_asked_for_outlives_a_withdrawal(void **state)
{
    struct place *p = *state;
    int64_t far = p->capture.deadline.utc_ns + 1800 * TB_NS_PER_S;
    bool withdrawn = false;

    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, far, NULL, NULL), TB_OK);
    assert_int_equal(join(p, 600 * TB_NS_PER_S), TB_INTAKE_JOINED);
    assert_true(p->capture.extend_to_utc_ns == far);
    assert_int_equal(tb_store_capture_withdraw_extend(p->store, p->id, far, &withdrawn, NULL),
                     TB_OK);
    read_capture(p);
    assert_true(withdrawn && p->capture.extend_to_utc_ns < far &&
                p->capture.extend_to_utc_ns > p->capture.deadline.utc_ns);
    /* a deadline is a whole second: with that it has come about */
    assert_int_equal(
        confirm(p, p->capture.extend_to_utc_ns - p->capture.extend_to_utc_ns % TB_NS_PER_S),
        TB_OK);
    read_capture(p);
    assert_true(p->capture.extend_to_utc_ns == 0);
}

static void
what_aws_refuses_is_asked_for_by_nobody_any_more(void **state)
{
    struct place *p = *state;
    int64_t to = p->capture.deadline.utc_ns + 60 * TB_NS_PER_S;

    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, to, NULL, NULL), TB_OK);
    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, to - 1, NULL, NULL), TB_OK);
    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, to + 1, NULL, NULL), TB_OK);
    assert_int_equal(tb_store_capture_refuse_extend(p->store, p->id, to, NULL), TB_OK);
    read_capture(p);
    assert_true(p->capture.extend_to_utc_ns == to + 1); /* that may be another matter */
    assert_int_equal(tb_store_capture_refuse_extend(p->store, p->id, to + 1, NULL), TB_OK);
    read_capture(p);
    assert_true(p->capture.extend_to_utc_ns == 0);
}

/* Of AWS's clock, which may be another than that of the deadline. */
static void
what_expires_with_it_expires_as_much_later(void **state)
{
    struct place *p = *state;
    struct tb_resource intent = {
        .kind = TB_RESOURCE_SESSION, .key = "eni-1", .expires_utc_s = 1000};
    int64_t to = p->capture.deadline.utc_ns + 60 * TB_NS_PER_S;
    struct tb_resource *list = NULL;
    size_t count = 0;
    int64_t row = 0;

    (void)tb_str_copy(intent.capture_id, sizeof(intent.capture_id), p->id);
    assert_int_equal(tb_store_resource_intend(p->store, &intent, &row, NULL), TB_OK);
    assert_int_equal(confirm(p, to), TB_ESTATE); /* nobody asks for it */
    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, to, NULL, NULL), TB_OK);
    assert_int_equal(confirm(p, to), TB_OK);
    assert_int_equal(tb_store_resource_list(p->store, p->id, false, &list, &count, NULL),
                     TB_OK);
    assert_int_equal(count, 1);
    assert_int_equal(list[0].expires_utc_s, 1060);
    tb_resources_free(list, count);
}

static void
a_deadline_of_an_earlier_boot_is_counted_in_this_one(void **state)
{
    struct place *p = *state;
    struct tb_deadline of_before = p->capture.deadline, now, later;

    (void)tb_str_copy(of_before.boot_id, sizeof(of_before.boot_id), "another");
    of_before.boot_ns = 7;
    assert_int_equal(tb_store_capture_deadline(p->store, p->id, &of_before, NULL), TB_OK);
    now = tb_deadline_in(30 * TB_NS_PER_S);
    now.utc_ns = of_before.utc_ns - 1; /* it was extended in the meantime */
    assert_int_equal(tb_store_capture_recount(p->store, p->id, &now, NULL), TB_OK);
    read_capture(p);
    assert_int_equal(p->capture.deadline.boot_ns, 7);
    now.utc_ns = of_before.utc_ns;
    assert_int_equal(tb_store_capture_recount(p->store, p->id, &now, NULL), TB_OK);
    later = tb_deadline_moved(&now, TB_NS_PER_S); /* once is enough */
    later.utc_ns = now.utc_ns;
    assert_int_equal(tb_store_capture_recount(p->store, p->id, &later, NULL), TB_OK);
    read_capture(p);
    assert_int_equal(p->capture.deadline.boot_ns, now.boot_ns);
    assert_true(tb_deadline_is_of_this_boot(&p->capture.deadline));
    assert_true(p->capture.deadline.utc_ns == of_before.utc_ns);
}

static void
what_was_stopped_is_not_extended(void **state)
{
    struct place *p = *state;
    int64_t to = p->capture.deadline.utc_ns + 60 * TB_NS_PER_S;

    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, to, NULL, NULL), TB_OK);
    assert_int_equal(tb_store_capture_ask_stop(p->store, p->id, TB_STOP_OPERATOR, NULL, NULL),
                     TB_OK);
    assert_int_equal(confirm(p, to), TB_ESTATE);
    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, to, NULL, NULL), TB_ESTATE);
}

/* EC2 confirms it when the sessions are, or are about to be, deleted. */
static void
what_is_over_is_not_extended(void **state)
{
    struct place *p = *state;
    int64_t to = p->capture.deadline.utc_ns + 60 * TB_NS_PER_S;

    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, to, NULL, NULL), TB_OK);
    tb_clock_fake(tb_clock_utc_ns(), tb_clock_boot_ns() + 91 * TB_NS_PER_S);
    assert_int_equal(confirm(p, to), TB_ESTATE);
    tb_clock_real();
    read_capture(p);
    assert_true(p->capture.deadline.utc_ns == to - 60 * TB_NS_PER_S);
}

static void
an_alert_that_joins_makes_the_box_longer_by_what_is_left_and_no_wall_clock(void **state)
{
    static const int64_t moved_s[] = {0, 7200, -7200};
    struct place *p = *state;
    int64_t utc_ns = p->capture.deadline.utc_ns - 90 * TB_NS_PER_S; /* when it began */
    int64_t boot_ns = p->capture.deadline.boot_ns - 90 * TB_NS_PER_S, before;

    for (size_t i = 0; i < sizeof(moved_s) / sizeof(moved_s[0]); i++) {
        /* somebody sets the clock of the host, and half a minute has gone by */
        tb_clock_fake(utc_ns + (moved_s[i] + 30) * TB_NS_PER_S, boot_ns + 30 * TB_NS_PER_S);
        before = p->capture.deadline.utc_ns;
        assert_int_equal(join(p, (100 + (int64_t)i * 10) * TB_NS_PER_S), TB_INTAKE_JOINED);
        /* 60 s are left of the box: 40 more are needed, then 50, 60 */
        assert_in_range(p->capture.extend_to_utc_ns - before,
                        (39 + (int64_t)i * 10) * TB_NS_PER_S,
                        (41 + (int64_t)i * 10) * TB_NS_PER_S);
    }
    tb_clock_real();
}

static void
a_deadline_is_not_over_because_the_wall_clock_was_set(void **state)
{
    struct place *p = *state;
    int64_t to = p->capture.deadline.utc_ns + 60 * TB_NS_PER_S;

    tb_clock_fake(tb_clock_utc_ns() + 7200 * TB_NS_PER_S, tb_clock_boot_ns());
    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, to, NULL, NULL), TB_OK);
    assert_int_equal(join(p, TB_NS_PER_S), TB_INTAKE_JOINED);
    /* and is over when its time is, although the clock was set back */
    tb_clock_fake(tb_clock_utc_ns() - 14400 * TB_NS_PER_S,
                  tb_clock_boot_ns() + 91 * TB_NS_PER_S);
    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, to + 1, NULL, NULL),
                     TB_ESTATE);
    assert_int_equal(join(p, TB_NS_PER_S), TB_INTAKE_CREATED);
    tb_clock_real();
}

static void
what_joins_before_the_box_begins_makes_it_as_long_as_it_asks_for(void **state)
{
    struct place *p = *state;
    char first[TB_CAPTURE_ID_SIZE];

    assert_int_equal(tb_store_capture_ask_stop(p->store, p->id, TB_STOP_OPERATOR, NULL, NULL),
                     TB_OK);
    assert_int_equal(join(p, 100 * TB_NS_PER_S), TB_INTAKE_CREATED);
    memcpy(first, p->id, sizeof(first));
    assert_int_equal(join(p, 300 * TB_NS_PER_S), TB_INTAKE_JOINED);
    assert_string_equal(p->id, first);
    assert_true(p->capture.request.duration_ns == 300 * TB_NS_PER_S);
    assert_int_equal(join(p, 200 * TB_NS_PER_S), TB_INTAKE_JOINED);
    assert_true(p->capture.request.duration_ns == 300 * TB_NS_PER_S);
    /* a worker may begin it with the duration of before: then it is extended */
    move(p, TB_CAPTURE_REQUESTED, TB_CAPTURE_PLANNED);
    assert_int_equal(join(p, 9000 * TB_NS_PER_S), TB_INTAKE_JOINED);
    assert_true(p->capture.request.duration_ns == 3600 * TB_NS_PER_S); /* the most */
    assert_in_range(p->capture.requested_utc_ns + 3601 * TB_NS_PER_S -
                        p->capture.extend_to_utc_ns,
                    0, 2 * TB_NS_PER_S);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static int64_t
used_ns(struct place *p, int64_t since_utc_ns)
{
    struct tb_store_usage used = {0};

    assert_int_equal(tb_store_usage_since(p->store, since_utc_ns, &used, NULL), TB_OK);
    return used.duration_ns;
}

/* About: the clock goes on while a test runs. */
static void
assert_about_seconds(int64_t got_ns, int64_t wanted_s)
{
    if (got_ns < (wanted_s - 20) * TB_NS_PER_S || got_ns > (wanted_s + 20) * TB_NS_PER_S) {
        fail_msg("%lld ns instead of %lld s", (long long)got_ns, (long long)wanted_s);
    }
}

/* Somebody sets the clock of the host between the request and the beginning of its box. */
static void
the_longest_box_counts_from_the_request_by_no_wall_clock(void **state)
{
    static const int64_t moved_s[] = {7200, -7200};
    struct place *p = *state;

    for (size_t i = 0; i < sizeof(moved_s) / sizeof(moved_s[0]); i++) {
        struct tb_deadline deadline;
        int64_t latest_ns;

        assert_int_equal(
            tb_store_capture_ask_stop(p->store, p->id, TB_STOP_OPERATOR, NULL, NULL), TB_OK);
        assert_int_equal(join(p, 90 * TB_NS_PER_S), TB_INTAKE_CREATED);
        tb_clock_fake(tb_clock_utc_ns() + moved_s[i] * TB_NS_PER_S,
                      tb_clock_boot_ns() + 600 * TB_NS_PER_S);
        move(p, TB_CAPTURE_REQUESTED, TB_CAPTURE_PLANNED);
        assert_int_equal(join(p, 9000 * TB_NS_PER_S), TB_INTAKE_JOINED);
        assert_about_seconds(p->capture.extend_to_utc_ns - tb_clock_utc_ns(), 3000);
        deadline = tb_deadline_in(90 * TB_NS_PER_S);
        assert_int_equal(tb_store_capture_deadline(p->store, p->id, &deadline, NULL), TB_OK);
        move(p, TB_CAPTURE_PLANNED, TB_CAPTURE_ARMING);
        move(p, TB_CAPTURE_ARMING, TB_CAPTURE_RECORDING);
        tb_clock_fake(tb_clock_utc_ns() - moved_s[i] * TB_NS_PER_S,
                      tb_clock_boot_ns() + 60 * TB_NS_PER_S);
        assert_int_equal(join(p, 9100 * TB_NS_PER_S), TB_INTAKE_JOINED);
        assert_about_seconds(p->capture.extend_to_utc_ns - deadline.utc_ns, 2910);
        latest_ns = tb_capture_latest_utc_ns(&p->capture, 3600 * TB_NS_PER_S,
                                             tb_store_steady_ns(p->store));
        assert_about_seconds(latest_ns - deadline.utc_ns, 2910);
        tb_clock_real();
    }
}

static void
the_days_budget_knows_extensions_and_what_still_drains(void **state)
{
    struct place *p = *state;
    int64_t began = p->capture.recording_utc_ns;
    int64_t longer = p->capture.deadline.utc_ns + 600 * TB_NS_PER_S;

    assert_about_seconds(used_ns(p, began), 90);
    assert_int_equal(tb_store_capture_ask_extend(p->store, p->id, longer, NULL, NULL), TB_OK);
    assert_about_seconds(used_ns(p, began), 690); /* it may be granted */
    assert_int_equal(confirm(p, longer), TB_OK);
    assert_about_seconds(used_ns(p, began), 690);
    /* stopped early: its sessions are still there, and no longer than until now */
    move(p, TB_CAPTURE_RECORDING, TB_CAPTURE_DRAINING);
    usleep(20000);
    assert_true(used_ns(p, began) >= 20000000 && used_ns(p, began) < 60 * TB_NS_PER_S);
    /* whoever sets the clock of the host uses nothing up */
    tb_clock_fake(tb_clock_utc_ns() + 7200 * TB_NS_PER_S, tb_clock_boot_ns());
    assert_true(used_ns(p, began) < 60 * TB_NS_PER_S);
    tb_clock_real();
    move(p, TB_CAPTURE_DRAINING, TB_CAPTURE_SEALING);
    read_capture(p);
    assert_true(used_ns(p, began) ==
                p->capture.stopped_steady_ns - p->capture.recording_steady_ns);
}

/* Asked for yesterday and begun today is of today, and the other way round. */
static void
the_days_budget_goes_by_when_a_capture_began(void **state)
{
    struct place *p = *state;

    assert_true(p->capture.recording_utc_ns > p->capture.requested_utc_ns);
    assert_about_seconds(used_ns(p, p->capture.requested_utc_ns + 1), 90);
    assert_true(used_ns(p, p->capture.recording_utc_ns + 1) == 0);
}

/* --- the interfaces that are mirrored in it --- */

static void
set_sources(struct place *p, const char *const enis[], size_t count)
{
    struct tb_capture_source sources[TB_CAPTURE_MAX_SOURCES] = {{.eni = ""}};

    for (size_t i = 0; i < count; i++) {
        (void)tb_str_copy(sources[i].eni, sizeof(sources[i].eni), enis[i]);
        sources[i].vni = (uint32_t)i + 1;
    }
    assert_int_equal(tb_store_capture_sources(p->store, p->id, sources, count, NULL), TB_OK);
    read_capture(p);
}

/* The worker that made its session. */
static void
note_made(struct place *p, size_t i)
{
    struct tb_capture_source sources[TB_CAPTURE_MAX_LISTED];

    memcpy(sources, p->capture.sources, sizeof(sources));
    sources[i].armed = true;
    sources[i].session_number = (uint32_t)i + 1;
    assert_int_equal(
        tb_store_sources_tried(p->store, p->id, sources, p->capture.source_count, NULL), TB_OK);
    read_capture(p);
}

static void
two_that_are_lost_at_the_same_time_are_both_lost(void **state)
{
    struct place *p = *state;
    size_t left = 9;

    set_sources(p, (const char *const[]){"eni-1", "eni-2"}, 2);
    note_made(p, 0);
    note_made(p, 1);
    assert_true(p->capture.sources[0].armed && p->capture.sources[1].armed);
    /* (who loses one has read the capture when both were there) */
    assert_int_equal(tb_store_source_lost(p->store, p->id, "eni-1", "detached", &left, NULL),
                     TB_OK);
    assert_int_equal(left, 1);
    assert_int_equal(tb_store_source_lost(p->store, p->id, "eni-2", "deleted", &left, NULL),
                     TB_OK);
    assert_int_equal(left, 0);
    read_capture(p);
    assert_false(p->capture.sources[0].armed || p->capture.sources[1].armed);
    assert_string_equal(p->capture.sources[0].gap, "detached");
    assert_string_equal(p->capture.sources[1].gap, "deleted");
}

static void
touch_as(struct place *p, const char *act, const char *text)
{
    assert_int_equal(tb_store_source_touched(p->store, p->id, "eni-1", act, text, NULL), TB_OK);
    read_capture(p);
}

static void
touch(struct place *p, const char *text)
{
    touch_as(p, "mirror_changed", text);
}

static int64_t
count_entries(struct place *p)
{
    struct tb_buf text = TB_BUF_INIT(1 << 20);
    int64_t n = 0;

    while (tb_store_custody_text(p->store, p->id, n + 1, n + 1, &text, NULL) == TB_OK) {
        n++;
    }
    tb_buf_release(&text);
    return n;
}

static void
what_others_did_to_a_mirror_is_a_gap_once_and_in_the_custody_log(void **state)
{
    struct place *p = *state;
    char text[TB_CAPTURE_MAX_TEXT];
    int64_t entries;

    set_sources(p, (const char *const[]){"eni-1", "eni-2"}, 2);
    entries = count_entries(p);
    touch(p, "not mirrored: not told");
    assert_string_equal(p->capture.sources[0].gap, "");
    note_made(p, 0);
    note_made(p, 1);
    entries = count_entries(p);
    touch(p, "changed");
    touch(p, "changed");
    assert_string_equal(p->capture.sources[0].gap, "changed");
    assert_string_equal(p->capture.sources[1].gap, "");
    assert_int_equal(count_entries(p), entries + 1);
    touch(p, "put right");
    assert_string_equal(p->capture.sources[0].gap, "changed; put right");
    for (char c = 'a'; c <= 'e'; c++) {
        memset(text, c, 100);
        text[100] = 0;
        touch(p, text);
    }
    assert_non_null(strstr(p->capture.sources[0].gap, "changed; put right; aaa"));
    assert_non_null(strstr(p->capture.sources[0].gap, "bbb; more in the custody log"));
    assert_null(strchr(strstr(p->capture.sources[0].gap, "more"), 'b'));
    assert_int_equal(count_entries(p), entries + 7);
    touch(p, text); /* which the gap had no room for */
    assert_int_equal(count_entries(p), entries + 7);
    assert_true(p->capture.sources[0].armed);
}

static void
what_is_put_right_again_is_told_again(void **state)
{
    struct place *p = *state;

    set_sources(p, (const char *const[]){"eni-1", "eni-2"}, 2);
    note_made(p, 0);
    note_made(p, 1);
    touch(p, "session");
    touch_as(p, "mirror_restored", "right by 1");
    touch(p, "filter");
    touch(p, "moved");
    touch(p, "filter");
    touch_as(p, "mirror_restored", "right by 1");
    touch_as(p, "mirror_restored", "right by 1");
    assert_string_equal(p->capture.sources[0].gap,
                        "session; right by 1; filter; moved; right by 1");
}

static void
what_is_lost_is_lost_once_and_the_first_reason_stays(void **state)
{
    struct place *p = *state;
    size_t left = 9;

    set_sources(p, (const char *const[]){"eni-1"}, 1);
    assert_int_equal(tb_store_source_lost(p->store, p->id, "eni-1", "never made", &left, NULL),
                     TB_ESTATE);
    note_made(p, 0);
    assert_int_equal(tb_store_source_lost(p->store, p->id, "eni-1", "detached", &left, NULL),
                     TB_OK);
    left = 9;
    assert_int_equal(tb_store_source_lost(p->store, p->id, "eni-1", "deleted", &left, NULL),
                     TB_ESTATE);
    assert_int_equal(left, 9);
    read_capture(p);
    assert_string_equal(p->capture.sources[0].gap, "detached");
}

static void
a_worker_that_makes_sessions_brings_back_none_that_was_lost_meanwhile(void **state)
{
    struct place *p = *state;
    struct tb_capture_source sources[2];
    size_t left = 9;

    set_sources(p, (const char *const[]){"eni-1", "eni-2"}, 2);
    note_made(p, 0);
    memcpy(sources, p->capture.sources, sizeof(sources));
    assert_int_equal(tb_store_source_lost(p->store, p->id, "eni-1", "detached", &left, NULL),
                     TB_OK);
    sources[1].armed = true;
    assert_int_equal(tb_store_sources_tried(p->store, p->id, sources, 2, NULL), TB_OK);
    read_capture(p);
    assert_true(!p->capture.sources[0].armed && p->capture.sources[1].armed);
    assert_string_equal(p->capture.sources[0].gap, "detached");
}

static void
why_an_interface_is_not_armed_is_kept_until_it_is(void **state)
{
    struct place *p = *state;
    struct tb_capture_source source;

    set_sources(p, (const char *const[]){"eni-1"}, 1);
    source = p->capture.sources[0];
    assert_string_equal(source.trouble, "");
    (void)strcpy(source.trouble, "InternalError");
    assert_int_equal(tb_store_sources_tried(p->store, p->id, &source, 1, NULL), TB_OK);
    read_capture(p);
    assert_string_equal(p->capture.sources[0].trouble, "InternalError");
    assert_string_equal(p->capture.sources[0].gap, "");
    source.armed = true;
    source.trouble[0] = 0;
    (void)strcpy(source.gap, "mirrored only since then");
    assert_int_equal(tb_store_sources_tried(p->store, p->id, &source, 1, NULL), TB_OK);
    read_capture(p);
    assert_string_equal(p->capture.sources[0].trouble, "");
    assert_string_equal(p->capture.sources[0].gap, "mirrored only since then");
    assert_true(p->capture.sources[0].armed);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_extension_is_asked_for_and_comes_about),
        CASE(one_that_was_withdrawn_cannot_come_about),
        CASE(one_that_came_about_cannot_be_withdrawn),
        CASE(the_later_of_two_stays_asked_for_when_the_first_comes_about),
        CASE(one_that_is_withdrawn_leaves_the_others_asked_for),
        CASE(one_that_an_alert_asked_for_outlives_a_withdrawal),
        CASE(what_aws_refuses_is_asked_for_by_nobody_any_more),
        CASE(what_expires_with_it_expires_as_much_later),
        CASE(a_deadline_of_an_earlier_boot_is_counted_in_this_one),
        CASE(what_was_stopped_is_not_extended),
        CASE(what_is_over_is_not_extended),
        CASE(an_alert_that_joins_makes_the_box_longer_by_what_is_left_and_no_wall_clock),
        CASE(a_deadline_is_not_over_because_the_wall_clock_was_set),
        CASE(what_joins_before_the_box_begins_makes_it_as_long_as_it_asks_for),
        CASE(the_longest_box_counts_from_the_request_by_no_wall_clock),
        CASE(the_days_budget_knows_extensions_and_what_still_drains),
        CASE(the_days_budget_goes_by_when_a_capture_began),
        CASE(two_that_are_lost_at_the_same_time_are_both_lost),
        CASE(what_others_did_to_a_mirror_is_a_gap_once_and_in_the_custody_log),
        CASE(what_is_put_right_again_is_told_again),
        CASE(what_is_lost_is_lost_once_and_the_first_reason_stays),
        CASE(a_worker_that_makes_sessions_brings_back_none_that_was_lost_meanwhile),
        CASE(why_an_interface_is_not_armed_is_kept_until_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
