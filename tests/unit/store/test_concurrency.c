/* Many callers at once: one capture for one alert, one for one source, no answer lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../../src/store/store_int.h"

enum {
    THREADS = 64
};

struct place {
    char dir[64];
    char path[96];
    struct tb_store *store;
};

struct caller {
    struct tb_store *store;
    struct tb_capture_request request;
    char key[32];
    enum tb_err err;
    enum tb_intake_outcome outcome;
    char capture_id[TB_CAPTURE_ID_SIZE];
    pthread_t thread;
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

static struct tb_intake
intake_of(const struct caller *c)
{
    return (struct tb_intake){.adapter = "guardduty",
                              .key = c->key,
                              .body = tb_bytes_str("{}"),
                              .content_type = "application/json",
                              .remote = "",
                              .token_name = "",
                              .decision_reason = "",
                              .capture = &c->request};
}

static void *
call(void *arg)
{
    struct caller *c = arg;
    struct tb_intake intake = intake_of(c);

    c->err = tb_store_intake(c->store, &intake, &c->outcome, c->capture_id, NULL);
    return NULL;
}

/* All at once; then counts outcomes. */
static void
call_all(struct caller *callers, size_t counts[TB_INTAKE_IGNORED + 1])
{
    memset(counts, 0, (TB_INTAKE_IGNORED + 1) * sizeof(counts[0]));
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(tb_thread_start(&callers[i].thread, "caller", call, &callers[i], NULL),
                         TB_OK);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(callers[i].thread, NULL), 0);
        if (callers[i].err == TB_OK) {
            counts[callers[i].outcome]++;
        }
    }
}

static struct caller *
callers_of(struct place *p, const char *instance)
{
    struct caller *callers = calloc(THREADS, sizeof(*callers));

    assert_non_null(callers);
    for (size_t i = 0; i < THREADS; i++) {
        callers[i].store = p->store;
        (void)tb_str_copy(callers[i].request.instance, TB_AWS_ID_SIZE, instance);
        callers[i].request.duration_ns = TB_NS_PER_S;
        (void)snprintf(callers[i].key, sizeof(callers[i].key), "key-%zu", i);
    }
    return callers;
}

static void
the_same_alert_from_many_threads_makes_one_capture(void **state)
{
    struct place *p = *state;
    struct caller *callers = callers_of(p, "i-00000001");
    size_t counts[TB_INTAKE_IGNORED + 1];

    for (size_t i = 0; i < THREADS; i++) {
        (void)tb_str_copy(callers[i].key, sizeof(callers[i].key), "same");
    }
    call_all(callers, counts);
    assert_int_equal(counts[TB_INTAKE_CREATED], 1);
    assert_int_equal(counts[TB_INTAKE_DUPLICATE], THREADS - 1);
    for (size_t i = 1; i < THREADS; i++) {
        assert_string_equal(callers[i].capture_id, callers[0].capture_id);
    }
    free(callers);
}

static void
many_alerts_on_one_source_make_one_capture_with_all_of_them(void **state)
{
    struct place *p = *state;
    struct caller *callers = callers_of(p, "i-00000001");
    struct tb_capture *capture = calloc(1, sizeof(*capture));
    size_t counts[TB_INTAKE_IGNORED + 1];

    call_all(callers, counts);
    assert_int_equal(counts[TB_INTAKE_CREATED], 1);
    assert_int_equal(counts[TB_INTAKE_JOINED], THREADS - 1);
    assert_int_equal(tb_store_capture_get(p->store, callers[0].capture_id, capture, NULL),
                     TB_OK);
    assert_int_equal(capture->alert_count, THREADS);
    for (uint32_t n = 1; n <= THREADS; n++) {
        struct tb_buf body = TB_BUF_INIT(64);
        struct tb_alert_row row;

        assert_int_equal(tb_store_alert(p->store, capture->id, n, &row, &body, NULL), TB_OK);
        tb_buf_release(&body);
    }
    free(capture);
    free(callers);
}

static void
many_alerts_on_many_sources_make_one_capture_each(void **state)
{
    struct place *p = *state;
    struct caller *callers = callers_of(p, "");
    size_t counts[TB_INTAKE_IGNORED + 1];
    struct tb_due *due = NULL;
    size_t count = 0;

    for (size_t i = 0; i < THREADS; i++) {
        (void)snprintf(callers[i].request.instance, TB_AWS_ID_SIZE, "i-%08zx", i);
    }
    call_all(callers, counts);
    assert_int_equal(counts[TB_INTAKE_CREATED], THREADS);
    assert_int_equal(tb_store_due_list(p->store, &due, &count, NULL), TB_OK);
    assert_int_equal(count, THREADS);
    free(due);
    free(callers);
}

static void
an_alert_that_is_refused_takes_none_with_it(void **state)
{
    struct place *p = *state;
    struct caller *callers = callers_of(p, "");
    size_t counts[TB_INTAKE_IGNORED + 1];
    size_t refused = 0;

    for (size_t i = 0; i < THREADS; i++) {
        (void)snprintf(callers[i].request.instance, TB_AWS_ID_SIZE, "i-%08zx", i);
        if (i % 4 == 0) { /* a value that the table does not take */
            callers[i].request.severity = __builtin_nan("");
        }
    }
    call_all(callers, counts);
    for (size_t i = 0; i < THREADS; i++) {
        refused += callers[i].err != TB_OK;
        assert_int_equal(callers[i].err, i % 4 == 0 ? TB_EINTERNAL : TB_OK);
    }
    assert_int_equal(counts[TB_INTAKE_CREATED], THREADS - THREADS / 4);
    assert_int_equal(refused, THREADS / 4);
    free(callers);
}

/* More than one commit takes. */
static void
several_by_one_caller_each_have_an_outcome_of_their_own(void **state)
{
    enum {
        MANY = THREADS + THREADS / 2
    };
    struct place *p = *state;
    struct tb_intake_item *items = calloc(MANY, sizeof(*items));
    struct tb_intake *intakes = calloc(MANY, sizeof(*intakes));
    struct tb_capture *captures = calloc(6, sizeof(*captures));
    struct caller *callers = callers_of(p, "i-00000001"); /* keys key-0 .. */

    assert_true(items != NULL && intakes != NULL && captures != NULL);
    (void)tb_str_copy(callers[2].request.instance, TB_AWS_ID_SIZE, "i-00000002");
    callers[3].request.instance[0] = 0; /* no source */
    (void)tb_str_copy(callers[4].request.instance, TB_AWS_ID_SIZE, "i-00000003");
    for (size_t i = 0; i < MANY; i++) {
        intakes[i] = intake_of(&callers[i % THREADS]); /* the last third is delivered twice */
        items[i].intake = &intakes[i];
        items[i].capture = i < 6 ? &captures[i] : NULL;
        items[i].only_made = i >= 4;
    }
    tb_store_intake_many(p->store, items, MANY);
    for (size_t i = 0; i < MANY; i++) {
        bool first = i == 0 || i == 2 || i == 4;
        size_t its = i % THREADS;

        if (i % THREADS == 3) {
            assert_int_equal(items[i].err, TB_EINVAL);
            assert_false(items[i].has_capture);
            continue;
        }
        assert_int_equal(items[i].err, TB_OK);
        assert_int_equal(items[i].outcome, i >= THREADS ? TB_INTAKE_DUPLICATE
                                           : first      ? TB_INTAKE_CREATED
                                                        : TB_INTAKE_JOINED);
        assert_string_equal(items[i].capture_id,
                            items[its == 2 || its == 4 ? its : 0].capture_id);
        assert_int_equal(items[i].has_capture, i <= 4); /* the fifth made no capture */
    }
    assert_string_equal(captures[0].id, items[0].capture_id);
    assert_string_equal(captures[1].id, items[0].capture_id);
    assert_string_equal(captures[2].id, items[2].capture_id);
    assert_int_equal(captures[2].alert_count, 1);
    assert_int_equal(captures[2].state, TB_CAPTURE_REQUESTED);
    free(callers);
    free(captures);
    free(intakes);
    free(items);
}

static void *
allocate(void *arg)
{
    struct caller *c = arg;
    uint32_t vni = 0;

    c->err = tb_store_vni_allocate(c->store, &vni, NULL);
    c->request.snaplen = vni;
    return NULL;
}

static void
no_vni_is_given_out_twice(void **state)
{
    struct place *p = *state;
    struct caller *callers = callers_of(p, "i-00000001");

    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(
            tb_thread_start(&callers[i].thread, "allocate", allocate, &callers[i], NULL),
            TB_OK);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(callers[i].thread, NULL), 0);
        assert_int_equal(callers[i].err, TB_OK);
        for (size_t k = 0; k < i; k++) {
            assert_int_not_equal(callers[i].request.snaplen, callers[k].request.snaplen);
        }
    }
    free(callers);
}

static int64_t
count_alerts_locked(struct tb_store *store) TB_REQUIRES(store->mu)
{
    struct store_query q;
    bool row = false;
    int64_t count;

    assert_int_equal(store_open_locked(store, "SELECT count(*) FROM alerts", &q, NULL), TB_OK);
    assert_int_equal(store_step_locked(&q, &row, NULL), TB_OK);
    count = store_int(&q);
    store_close(&q);
    return count;
}

/* As a thread does that reads one row after the other. */
static void
who_takes_the_lock_again_comes_after_an_alert_that_waits(void **state)
{
    struct place *p = *state;
    struct caller *callers = callers_of(p, "i-00000001");
    int64_t until_ns = tb_clock_boot_ns() + 60 * TB_NS_PER_S;
    bool waits = false;
    int64_t count;

    store_lock(p->store, NULL);
    assert_int_equal(tb_thread_start(&callers[0].thread, "caller", call, &callers[0], NULL),
                     TB_OK);
    while (!waits && tb_clock_boot_ns() < until_ns) {
        waits = pthread_mutex_trylock(&p->store->turn.os) != 0;
        if (!waits) {
            (void)pthread_mutex_unlock(&p->store->turn.os);
            (void)sched_yield();
        }
    }
    tb_mutex_unlock(&p->store->mu);
    store_lock(p->store, NULL);
    count = count_alerts_locked(p->store);
    tb_mutex_unlock(&p->store->mu);
    assert_int_equal(pthread_join(callers[0].thread, NULL), 0);
    assert_true(waits);
    assert_int_equal(count, 1);
    assert_int_equal(callers[0].err, TB_OK);
    free(callers);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_same_alert_from_many_threads_makes_one_capture),
        CASE(many_alerts_on_one_source_make_one_capture_with_all_of_them),
        CASE(many_alerts_on_many_sources_make_one_capture_each),
        CASE(an_alert_that_is_refused_takes_none_with_it),
        CASE(several_by_one_caller_each_have_an_outcome_of_their_own),
        CASE(no_vni_is_given_out_twice),
        CASE(who_takes_the_lock_again_comes_after_an_alert_that_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
