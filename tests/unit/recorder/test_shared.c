/* The memory of counters: written by one thread, read by others, mapped as serve maps it. */
#include <setjmp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <tapbox/io.h>

#include "../../../src/recorder/shared_int.h"

#define ID "cap-20260102T030405Z-00000001"
#define OTHER "cap-20260102T030405Z-00000002"

enum {
    ROUNDS = 20000
};

struct rig {
    struct tb_shared *shared;
    struct tb_shared_capture *values; /* as an armed capture has them before it is shared */
    int fd;
    const struct tb_shared *seen;
    _Atomic bool done;
};

static int
setup(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    assert_int_equal(tb_shared_new(2, &rig->shared, &rig->fd, NULL), TB_OK);
    assert_int_equal(tb_shared_map(rig->fd, &rig->seen, NULL), TB_OK);
    rig->values = aligned_alloc(TB_CACHE_LINE, sizeof(*rig->values));
    memset(rig->values, 0, sizeof(*rig->values));
    atomic_store(&rig->values->lane_count, 2);
    *state = rig;
    return 0;
}

static int
teardown(void **state)
{
    struct rig *rig = *state;

    tb_shared_unmap(rig->seen);
    tb_shared_free(rig->shared);
    tb_close(&rig->fd);
    free(rig->values);
    free(rig);
    return 0;
}

static void
what_the_lanes_count_is_read_without_asking(void **state)
{
    struct rig *rig = *state;
    struct tb_shared_capture *place = tb_shared_free_place(rig->shared);
    struct tb_record_status status;
    struct tb_recorder_host host;

    assert_true(tb_shared_find(rig->seen, ID, &status));
    assert_int_equal(status.state, TB_RECORD_ABSENT);
    tb_shared_set(place, ID, rig->values);
    for (int lane = 0; lane < 2; lane++) {
        tb_count(&rig->shared->lanes[lane].counters, TB_COUNT_RECEIVED, 10);
        tb_count(&rig->shared->lanes[lane].counters, TB_COUNT_FRAGMENTS, 1);
        tb_count(&place->lanes[lane].counters, TB_COUNT_RECEIVED, 9);
        tb_count(&place->lanes[lane].counters, TB_COUNT_WRITTEN, 9);
    }
    atomic_store(&place->lanes[1].first_utc_ns, 5);
    atomic_store(&place->lanes[1].last_utc_ns, 7);
    assert_true(tb_shared_find(rig->seen, ID, &status));
    assert_int_equal(status.state, TB_RECORD_ARMED);
    assert_int_equal(status.ledger.received, 18);
    assert_int_equal(status.first_utc_ns, 5);
    assert_true(tb_shared_host(rig->seen, &host));
    assert_int_equal(host.ledger.received, 20);
    assert_int_equal(host.armed, 1);
    assert_int_equal(tb_ledger_residual(&host.ledger), 0);
    assert_int_equal(host.pid, getpid());
    assert_true(tb_shared_find(rig->seen, OTHER, &status));
    assert_int_equal(status.state, TB_RECORD_ABSENT);
}

static void
a_base_is_the_captures_and_not_the_hosts(void **state)
{
    struct rig *rig = *state;
    struct tb_shared_capture *place = tb_shared_free_place(rig->shared);
    struct tb_ledger base = {.received = 100, .written = 90, .queue_dropped = 10};
    struct tb_record_status status;
    struct tb_recorder_host host;

    tb_counters_set(&rig->values->base, &base);
    tb_counters_set(&rig->values->lanes[0].counters, &base);
    tb_shared_set(place, ID, rig->values);
    tb_count(&rig->shared->lanes[0].counters, TB_COUNT_RECEIVED, 3);
    tb_count(&place->lanes[0].counters, TB_COUNT_RECEIVED, 3);
    tb_count(&place->lanes[0].counters, TB_COUNT_WRITTEN, 3);
    for (int forgotten = 0; forgotten < 2; forgotten++) {
        assert_true(tb_shared_host(rig->seen, &host));
        assert_int_equal(host.ledger.written, 3);
        assert_int_equal(tb_ledger_residual(&host.ledger), 0);
        assert_true(tb_shared_find(rig->seen, ID, &status));
        assert_int_equal(status.ledger.written, forgotten ? 0 : 93);
        if (!forgotten) {
            tb_shared_retire(rig->shared, place);
        }
    }
}

static void
nobody_else_can_write_it_or_change_its_size(void **state)
{
    struct rig *rig = *state;

    assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, rig->fd, 0),
                     MAP_FAILED);
    assert_int_equal(ftruncate(rig->fd, 0), -1);
    assert_int_equal(write(rig->fd, "x", 1), -1);
}

static void
another_memory_is_refused(void **state)
{
    struct rig *rig = *state;
    const struct tb_shared *seen = NULL;
    int fd = memfd_create("other", MFD_CLOEXEC);

    assert_int_equal(tb_shared_map(fd, &seen, NULL), TB_EFORMAT);
    assert_int_equal(ftruncate(fd, sizeof(*seen)), 0);
    assert_int_equal(tb_shared_map(fd, &seen, NULL), TB_EFORMAT); /* it could still shrink */
    tb_close(&fd);
    rig->shared->layout++;
    assert_int_equal(tb_shared_map(rig->fd, &seen, NULL), TB_EFORMAT);
}

static void *
come_and_go(void *arg)
{
    struct rig *rig = arg;

    for (int i = 0; i < ROUNDS; i++) {
        struct tb_shared_capture *place = tb_shared_free_place(rig->shared);

        tb_shared_set(place, (i & 1) != 0 ? ID : OTHER, rig->values);
        tb_count(&rig->shared->lanes[0].counters, TB_COUNT_RECEIVED, 1);
        tb_count(&place->lanes[0].counters, TB_COUNT_RECEIVED, 1);
        tb_count(&place->lanes[0].counters, TB_COUNT_WRITTEN, 1);
        tb_shared_retire(rig->shared, place);
    }
    atomic_store(&rig->done, true);
    return NULL;
}

static void
captures_that_come_and_go_are_never_seen_twice_or_mixed_up(void **state)
{
    struct rig *rig = *state;
    struct tb_record_status status;
    struct tb_recorder_host host;
    uint64_t written = 0;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, come_and_go, rig), 0);
    while (!atomic_load(&rig->done)) {
        if (tb_shared_host(rig->seen, &host)) {
            assert_true(host.ledger.written >= written);
            assert_true(host.ledger.written <= host.ledger.received + 1);
            written = host.ledger.written;
        }
        if (tb_shared_find(rig->seen, ID, &status) && status.state != TB_RECORD_ABSENT) {
            assert_int_equal(status.state, TB_RECORD_ARMED);
            assert_true(status.ledger.received <= 1 && status.ledger.written <= 1);
        }
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(tb_shared_host(rig->seen, &host));
    assert_int_equal(host.ledger.written, ROUNDS);
    assert_int_equal(tb_ledger_residual(&host.ledger), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        CASE(what_the_lanes_count_is_read_without_asking),
        CASE(a_base_is_the_captures_and_not_the_hosts),
        CASE(nobody_else_can_write_it_or_change_its_size),
        CASE(another_memory_is_refused),
        CASE(captures_that_come_and_go_are_never_seen_twice_or_mixed_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
