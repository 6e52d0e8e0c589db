/* Who gets a place, and what becomes of interfaces that another capture taps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <tapbox/store.h>

#define OWN "111122223333"
#define AWAY "222233334444"

struct place {
    char dir[64];
    struct tb_store *store;
    struct tb_places places;
    struct tb_capture capture; /* as last read */
};

static int
set_up(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    char path[96];

    assert_non_null(p);
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/tapbox-places-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(path, sizeof(path), "%s/tapbox.db", p->dir);
    assert_int_equal(tb_store_open(path, &p->store, NULL), TB_OK);
    p->places = (struct tb_places){.captures = 100,
                                   .sessions_of_account = 100,
                                   .own_account = OWN,
                                   .most_duration_ns = 3600 * TB_NS_PER_S};
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

/* An alert about these interfaces ("eni-a eni-b"); what came of it. */
static enum tb_intake_outcome
alert(struct place *p, const char *account, const char *enis, int64_t duration_s,
      char out_id[TB_CAPTURE_ID_SIZE])
{
    struct tb_capture_request request = {.duration_ns = duration_s * TB_NS_PER_S};
    struct tb_intake intake = {.adapter = "api",
                               .key = "",
                               .body = tb_bytes_str(enis),
                               .content_type = "text/plain",
                               .remote = "127.0.0.1",
                               .token_name = "ann",
                               .decision_reason = "because",
                               .received_utc_ns = tb_clock_utc_ns(),
                               .capture = &request,
                               .most_duration_ns = 3600 * TB_NS_PER_S};
    enum tb_intake_outcome outcome;

    (void)tb_str_copy(request.account, sizeof(request.account), account);
    while (sscanf(enis, "%63s", request.enis[request.eni_count]) == 1) {
        enis += strlen(request.enis[request.eni_count]);
        enis += strspn(enis, " ");
        request.eni_count++;
    }
    assert_int_equal(tb_store_intake(p->store, &intake, &outcome, out_id, NULL), TB_OK);
    return outcome;
}

static void
read_capture(struct place *p, const char *id)
{
    assert_int_equal(tb_store_capture_get(p->store, id, &p->capture, NULL), TB_OK);
}

/* As control does: what it names is there, then it asks for a place. */
static enum tb_admission
admit(struct place *p, const char *id)
{
    struct tb_capture_source sources[TB_CAPTURE_MAX_SOURCES] = {{.vni = 0}};
    enum tb_admission admission;

    read_capture(p, id);
    for (size_t i = 0; i < p->capture.request.eni_count; i++) {
        (void)tb_str_copy(sources[i].eni, sizeof(sources[i].eni), p->capture.request.enis[i]);
        sources[i].vni = (uint32_t)i + 1;
    }
    assert_int_equal(
        tb_store_capture_sources(p->store, id, sources, p->capture.request.eni_count, NULL),
        TB_OK);
    assert_int_equal(tb_store_capture_admit(p->store, id, &p->places, &admission, NULL), TB_OK);
    read_capture(p, id);
    return admission;
}

static void
an_account_has_no_more_places_than_its_own_and_leaves_the_rest_to_others(void **state)
{
    struct place *p = *state;
    char id[5][TB_CAPTURE_ID_SIZE];

    p->places.captures = 3;
    p->places.captures_of_account = 2;
    assert_int_equal(alert(p, "", "eni-1", 60, id[0]), TB_INTAKE_CREATED);
    assert_int_equal(alert(p, OWN, "eni-2", 60, id[1]), TB_INTAKE_CREATED);
    assert_int_equal(alert(p, "", "eni-3", 60, id[2]), TB_INTAKE_CREATED);
    assert_int_equal(alert(p, AWAY, "eni-4", 60, id[3]), TB_INTAKE_CREATED);
    assert_int_equal(alert(p, AWAY, "eni-5", 60, id[4]), TB_INTAKE_CREATED);
    assert_int_equal(admit(p, id[0]), TB_ADMISSION_GRANTED);
    assert_int_equal(admit(p, id[1]), TB_ADMISSION_GRANTED);
    assert_int_equal(admit(p, id[2]), TB_ADMISSION_FULL); /* "" is our own, too */
    assert_int_equal(admit(p, id[3]), TB_ADMISSION_GRANTED);
    assert_int_equal(admit(p, id[4]), TB_ADMISSION_FULL); /* that is the third in total */
    p->places.captures_of_account = 0;
    p->places.captures = 4;
    assert_int_equal(admit(p, id[2]), TB_ADMISSION_GRANTED);
}

static void
an_account_never_has_more_sessions_than_can_be_deleted_in_time(void **state)
{
    struct place *p = *state;
    char id[3][TB_CAPTURE_ID_SIZE];

    p->places.sessions_of_account = 4;
    assert_int_equal(alert(p, "", "eni-1 eni-2 eni-3", 60, id[0]), TB_INTAKE_CREATED);
    assert_int_equal(alert(p, "", "eni-4 eni-5", 60, id[1]), TB_INTAKE_CREATED);
    assert_int_equal(alert(p, AWAY, "eni-6 eni-7", 60, id[2]), TB_INTAKE_CREATED);
    assert_int_equal(admit(p, id[0]), TB_ADMISSION_GRANTED);
    assert_int_equal(admit(p, id[1]), TB_ADMISSION_FULL);
    assert_int_equal(admit(p, id[2]), TB_ADMISSION_GRANTED);
}

/* Alert `number` of the capture is there, and is `body`. */
static void
has_alert(struct place *p, const char *id, uint32_t number, const char *body)
{
    struct tb_buf text = TB_BUF_INIT(1024);
    struct tb_alert_row row;

    assert_int_equal(tb_store_alert(p->store, id, number, &row, &text, NULL), TB_OK);
    assert_string_equal(tb_buf_str(&text), body);
    tb_buf_release(&text);
}

static void
what_is_tapped_in_part_joins_there_and_gets_a_capture_for_the_rest(void **state)
{
    struct place *p = *state;
    char first[TB_CAPTURE_ID_SIZE], second[TB_CAPTURE_ID_SIZE], third[TB_CAPTURE_ID_SIZE];

    assert_int_equal(alert(p, "", "eni-1", 60, first), TB_INTAKE_CREATED);
    assert_int_equal(admit(p, first), TB_ADMISSION_GRANTED);
    assert_int_equal(alert(p, "", "eni-1 eni-2", 300, second), TB_INTAKE_CREATED);
    assert_int_equal(admit(p, second), TB_ADMISSION_GRANTED);
    assert_non_null(strstr(p->capture.sources[0].gap, first));
    assert_string_equal(p->capture.sources[1].gap, "");
    /* the first has the alert as well, and goes on for as long */
    read_capture(p, first);
    assert_int_equal(p->capture.alert_count, 2);
    assert_true(p->capture.request.duration_ns == 300 * TB_NS_PER_S);
    has_alert(p, first, 2, "eni-1 eni-2");
    has_alert(p, second, 1, "eni-1 eni-2");
    /* now both are tapped: the same again joins both */
    assert_int_equal(alert(p, "", "eni-2 eni-1", 400, third), TB_INTAKE_JOINED);
    assert_string_equal(third, second);
    has_alert(p, second, 2, "eni-2 eni-1");
    has_alert(p, first, 3, "eni-2 eni-1");
    read_capture(p, first);
    assert_true(p->capture.request.duration_ns == 400 * TB_NS_PER_S);
}

static void
what_is_tapped_by_others_altogether_leaves_nothing_and_joins_them(void **state)
{
    struct place *p = *state;
    char first[TB_CAPTURE_ID_SIZE], second[TB_CAPTURE_ID_SIZE];
    struct tb_capture_source source = {.eni = "eni-1", .vni = 9};
    enum tb_admission admission;

    assert_int_equal(alert(p, "", "eni-1", 60, first), TB_INTAKE_CREATED);
    assert_int_equal(admit(p, first), TB_ADMISSION_GRANTED);
    /* asked for as a whole instance: what it has is known only now */
    assert_int_equal(alert(p, "", "eni-9", 60, second), TB_INTAKE_CREATED);
    assert_int_equal(tb_store_capture_sources(p->store, second, &source, 1, NULL), TB_OK);
    assert_int_equal(tb_store_capture_admit(p->store, second, &p->places, &admission, NULL),
                     TB_OK);
    assert_int_equal(admission, TB_ADMISSION_NOTHING_LEFT);
    has_alert(p, first, 2, "eni-9");
}

static void
what_the_host_counted_is_kept_from_arming_to_closing(void **state)
{
    struct tb_host_mark mark = {{.received = 100}, 77, 4711},
                        again = {{.received = 900}, 78, 1};
    struct tb_ledger ledger = {.received = 5, .ring_dropped = 2}, read = {0};
    struct place *p = *state;
    char id[TB_CAPTURE_ID_SIZE];
    bool known = true;

    assert_int_equal(alert(p, "", "eni-1", 60, id), TB_INTAKE_CREATED);
    assert_int_equal(tb_store_host_mark_get(p->store, id, &again, &known, NULL), TB_OK);
    assert_false(known);
    assert_int_equal(tb_store_host_mark(p->store, id, &mark, NULL), TB_OK);
    assert_int_equal(tb_store_host_mark(p->store, id, &again, NULL), TB_OK); /* armed again */
    assert_int_equal(tb_store_host_mark_get(p->store, id, &again, &known, NULL), TB_OK);
    assert_true(known && again.ledger.received == 100 && again.recorder_pid == 4711 &&
                again.recorder_started_utc_ns == 77);
    assert_int_equal(tb_store_host_ledger_get(p->store, id, &read, &known, NULL), TB_OK);
    assert_false(known);
    assert_int_equal(tb_store_host_closed(p->store, id, &ledger, NULL), TB_OK);
    assert_int_equal(tb_store_host_ledger_get(p->store, id, &read, &known, NULL), TB_OK);
    assert_true(known);
    assert_memory_equal(&read, &ledger, sizeof(read));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_account_has_no_more_places_than_its_own_and_leaves_the_rest_to_others),
        CASE(an_account_never_has_more_sessions_than_can_be_deleted_in_time),
        CASE(what_is_tapped_in_part_joins_there_and_gets_a_capture_for_the_rest),
        CASE(what_the_host_counted_is_kept_from_arming_to_closing),
        CASE(what_is_tapped_by_others_altogether_leaves_nothing_and_joins_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
