/* An interface never has two sessions of ours, whoever asks when. */
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
    char path[96];
    struct tb_store *store;
};

static int
set_up(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    assert_non_null(p);
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/tapbox-store-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(p->path, sizeof(p->path), "%s/tapbox.db", p->dir);
    assert_int_equal(tb_store_open(p->path, &p->store, NULL), TB_OK);
    *state = p;
    return 0;
}

static int
tear_down(void **state)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    struct place *p = *state;

    tb_store_close(p->store);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        char name[128];

        (void)snprintf(name, sizeof(name), "%s%s", p->path, ends[i]);
        (void)unlink(name);
    }
    assert_int_equal(rmdir(p->dir), 0);
    free(p);
    return 0;
}

/* Asks for eni-1; the outcome, and the capture. */
static enum tb_intake_outcome
ask(struct tb_store *store, char id[TB_CAPTURE_ID_SIZE])
{
    struct tb_capture_request r = {
        .duration_ns = 60 * TB_NS_PER_S, .reason = "why", .enis = {"eni-1"}, .eni_count = 1};
    struct tb_intake intake = {.adapter = "api",
                               .key = "",
                               .body = tb_bytes_str("{}"),
                               .content_type = "application/json",
                               .remote = "127.0.0.1",
                               .token_name = "analyst",
                               .decision_reason = "because",
                               .received_utc_ns = 42,
                               .capture = &r};
    enum tb_intake_outcome outcome;

    assert_int_equal(tb_store_intake(store, &intake, &outcome, id, NULL), TB_OK);
    return outcome;
}

/* A capture of eni-1 that ends in `seconds`, in the state `arming`. */
static void
begin(struct tb_store *store, int64_t seconds, char id[TB_CAPTURE_ID_SIZE])
{
    struct tb_deadline deadline = tb_deadline_in(seconds * TB_NS_PER_S);

    assert_int_equal(ask(store, id), TB_INTAKE_CREATED);
    assert_int_equal(tb_store_capture_move(store, id, TB_CAPTURE_REQUESTED, TB_CAPTURE_PLANNED,
                                           TB_STOP_NONE, NULL),
                     TB_OK);
    assert_int_equal(tb_store_capture_deadline(store, id, &deadline, NULL), TB_OK);
    assert_int_equal(tb_store_capture_move(store, id, TB_CAPTURE_PLANNED, TB_CAPTURE_ARMING,
                                           TB_STOP_NONE, NULL),
                     TB_OK);
}

static enum tb_err
intend(struct tb_store *store, const char *id, const char *eni, int64_t *out_row)
{
    struct tb_resource intent = {.kind = TB_RESOURCE_SESSION};

    (void)tb_str_copy(intent.capture_id, sizeof(intent.capture_id), id);
    (void)tb_str_copy(intent.key, sizeof(intent.key), eni);
    return tb_store_resource_intend(store, &intent, out_row, NULL);
}

static void
a_second_capture_cannot_intend_a_session_until_the_first_one_is_gone(void **state)
{
    struct place *p = *state;
    char first[TB_CAPTURE_ID_SIZE], second[TB_CAPTURE_ID_SIZE];
    int64_t row = 0, other = 0;

    begin(p->store, 60, first);
    assert_int_equal(intend(p->store, first, "eni-1", &row), TB_OK);
    assert_int_equal(tb_store_capture_ask_stop(p->store, first, TB_STOP_OPERATOR, NULL, NULL),
                     TB_OK);
    begin(p->store, 60, second);
    assert_int_equal(intend(p->store, second, "eni-1", &other), TB_EEXIST);
    assert_int_equal(intend(p->store, second, "eni-2", &other), TB_OK);
    assert_int_equal(tb_store_resource_created(p->store, row, "tms-1", "", NULL), TB_OK);
    assert_int_equal(intend(p->store, second, "eni-1", &other), TB_EEXIST);
    assert_int_equal(tb_store_resource_deleting(p->store, row, true, NULL), TB_OK);
    assert_int_equal(intend(p->store, second, "eni-1", &other), TB_EEXIST);
    assert_int_equal(tb_store_resource_gone(p->store, row, TB_RESOURCE_DELETED, "", NULL),
                     TB_OK);
    assert_int_equal(intend(p->store, second, "eni-1", &other), TB_OK);
}

static void
the_holder_is_named_and_whether_it_stays(void **state)
{
    struct place *p = *state;
    char first[TB_CAPTURE_ID_SIZE], holder[TB_CAPTURE_ID_SIZE];
    bool stays = true;
    int64_t row = 0;

    begin(p->store, 60, first);
    assert_int_equal(tb_store_session_holder(p->store, "eni-1", "", holder, &stays, NULL),
                     TB_OK);
    assert_string_equal(holder, "");
    assert_false(stays);
    assert_int_equal(intend(p->store, first, "eni-1", &row), TB_OK);
    assert_int_equal(tb_store_session_holder(p->store, "eni-1", first, holder, &stays, NULL),
                     TB_OK);
    assert_string_equal(holder, ""); /* its own */
    assert_int_equal(tb_store_session_holder(p->store, "eni-1", "cap", holder, &stays, NULL),
                     TB_OK);
    assert_string_equal(holder, first);
    assert_true(stays);
    assert_int_equal(tb_store_capture_ask_stop(p->store, first, TB_STOP_OPERATOR, NULL, NULL),
                     TB_OK);
    assert_int_equal(tb_store_session_holder(p->store, "eni-1", "cap", holder, &stays, NULL),
                     TB_OK);
    assert_string_equal(holder, first);
    assert_false(stays);
}

static void
an_interface_that_a_capture_has_lost_is_anothers(void **state)
{
    const struct tb_capture_source sources[] = {{.eni = "eni-1", .armed = true, .vni = 7},
                                                {.eni = "eni-2", .armed = true, .vni = 8}};
    struct place *p = *state;
    char first[TB_CAPTURE_ID_SIZE], second[TB_CAPTURE_ID_SIZE], holder[TB_CAPTURE_ID_SIZE];
    bool stays = true;
    size_t left = 0;
    int64_t row = 0;

    begin(p->store, 60, first);
    assert_int_equal(tb_store_capture_sources(p->store, first, sources, 2, NULL), TB_OK);
    assert_int_equal(intend(p->store, first, "eni-1", &row), TB_OK);
    assert_int_equal(ask(p->store, second), TB_INTAKE_JOINED);
    assert_int_equal(tb_store_source_lost(p->store, first, "eni-1", "gone", &left, NULL),
                     TB_OK);
    assert_int_equal(left, 1);
    assert_int_equal(ask(p->store, second), TB_INTAKE_CREATED);
    assert_int_equal(tb_store_session_holder(p->store, "eni-1", second, holder, &stays, NULL),
                     TB_OK);
    assert_string_equal(holder, first);
    assert_false(stays);
}

static void
nothing_joins_a_capture_that_is_past_its_deadline(void **state)
{
    struct place *p = *state;
    char first[TB_CAPTURE_ID_SIZE], second[TB_CAPTURE_ID_SIZE];

    begin(p->store, -1, first);
    assert_int_equal(ask(p->store, second), TB_INTAKE_CREATED);
    assert_string_not_equal(first, second);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_second_capture_cannot_intend_a_session_until_the_first_one_is_gone, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(the_holder_is_named_and_whether_it_stays, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_interface_that_a_capture_has_lost_is_anothers,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_joins_a_capture_that_is_past_its_deadline,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
