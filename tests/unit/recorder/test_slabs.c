/* The pool of slabs and the queue to the writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../../src/recorder/lane_int.h"

enum {
    BYTES = 8 << 20 /* 16 small ones and 6 large ones */
};

static void
a_taken_pool_gives_nothing_until_one_comes_back(void **state)
{
    struct tb_slab_pool pool;
    struct tb_slab *taken[64];
    size_t count = 0;
    size_t small = 0;

    (void)state;
    assert_int_equal(tb_slab_pool_init(&pool, BYTES, NULL), TB_OK);
    while ((taken[count] = tb_slab_take(&pool, true, false)) != NULL) {
        assert_int_equal(taken[count]->len, 0);
        memset(taken[count]->at, (int)count, taken[count]->cap);
        small += !taken[count]->large;
        count++;
    }
    assert_int_equal(count, pool.count);
    assert_int_equal(small, 16);
    for (size_t i = 0; i < count; i++) { /* each has its own memory */
        assert_int_equal(taken[i]->at[0], i);
        assert_int_equal(taken[i]->at[taken[i]->cap - 1], i);
    }
    tb_slab_give_back(&pool, taken[3]);
    assert_ptr_equal(tb_slab_take(&pool, false, false), taken[3]);
    assert_null(tb_slab_take(&pool, false, false));
    tb_slab_pool_release(&pool);
}

static void
the_wanted_size_is_given_first(void **state)
{
    struct tb_slab_pool pool;

    (void)state;
    assert_int_equal(tb_slab_pool_init(&pool, BYTES, NULL), TB_OK);
    assert_int_equal(tb_slab_take(&pool, false, false)->cap, TB_SLAB_SMALL_BYTES);
    assert_int_equal(tb_slab_take(&pool, true, false)->cap, TB_CHUNK_BYTES);
    tb_slab_pool_release(&pool);
}

static void
the_smallest_slab_holds_the_largest_packet(void **state)
{
    (void)state;
    assert_true(tb_pcapng_packet_size(TB_SNAPLEN_MAX, UINT64_MAX) <= TB_SLAB_SMALL_BYTES);
}

static void
too_little_memory_is_refused(void **state)
{
    struct tb_slab_pool pool;
    struct tb_fail fail;

    (void)state;
    assert_int_equal(tb_slab_pool_init(&pool, 4 << 20, &fail), TB_EINVAL);
    tb_slab_pool_release(&pool);
}

static void
what_is_handed_over_comes_out_in_order(void **state)
{
    struct tb_handover_queue queue;
    struct tb_handover out;
    static struct tb_slab slabs[6];
    size_t behind;
    size_t next = 0;

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        slabs[i].cap = 100 + i;
    }
    assert_int_equal(tb_handover_queue_init(&queue, 4, NULL), TB_OK);
    assert_int_equal(tb_handover_pop(&queue, 1000, &out, &behind), TB_ETIMEOUT);
    for (size_t round = 0; round < 3; round++) {
        tb_handover_push(&queue, (struct tb_handover){.slab = &slabs[next % 6]});
        tb_handover_push(&queue, (struct tb_handover){.slab = &slabs[(next + 1) % 6]});
        assert_int_equal(tb_handover_pop(&queue, 0, &out, &behind), TB_OK);
        assert_ptr_equal(out.slab, &slabs[next % 6]);
        assert_int_equal(behind, 100 + (next + 1) % 6);
        assert_int_equal(tb_handover_pop(&queue, 0, &out, &behind), TB_OK);
        assert_int_equal(behind, 0);
        assert_ptr_equal(out.slab, &slabs[(next + 1) % 6]);
        next += 2;
    }
    tb_handover_push(&queue, (struct tb_handover){.slab = &slabs[0]});
    tb_handover_close(&queue);
    assert_int_equal(tb_handover_pop(&queue, 0, &out, &behind), TB_OK);
    assert_int_equal(tb_handover_pop(&queue, -1, &out, &behind), TB_ECLOSED);
    tb_handover_queue_release(&queue);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_taken_pool_gives_nothing_until_one_comes_back),
        cmocka_unit_test(the_wanted_size_is_given_first),
        cmocka_unit_test(the_smallest_slab_holds_the_largest_packet),
        cmocka_unit_test(too_little_memory_is_refused),
        cmocka_unit_test(what_is_handed_over_comes_out_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
