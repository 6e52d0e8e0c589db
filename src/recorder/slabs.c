/* Memory for chunks: a fixed pool, and the queue that takes full ones to the writer. */
#include "lane_int.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    MIN_LARGE = 4, /* fewer would let one slow write drop packets */
    SMALL_SHARE = 4
};

enum tb_err
tb_slab_pool_init(struct tb_slab_pool *pool, uint64_t bytes, struct tb_fail *fail)
{
    size_t small, large;
    uint8_t *at;

    *pool = (struct tb_slab_pool){.memory = NULL};
    tb_mutex_init(&pool->mu);
    tb_cond_init(&pool->returned);
    small = (size_t)(bytes / SMALL_SHARE / TB_SLAB_SMALL_BYTES);
    large = (size_t)((bytes - bytes / SMALL_SHARE) / TB_CHUNK_BYTES);
    if (large < MIN_LARGE) {
        return tb_fail_set(fail, TB_EINVAL, "%llu octets of memory are too few: give 8 MiB",
                           (unsigned long long)bytes);
    }
    pool->count = small + large;
    pool->memory_bytes = small * TB_SLAB_SMALL_BYTES + large * TB_CHUNK_BYTES;
    pool->slabs = calloc(pool->count, sizeof(*pool->slabs));
    pool->locked.free[0] = calloc(small + 1, sizeof(struct tb_slab *));
    pool->locked.free[1] = calloc(large, sizeof(struct tb_slab *));
    if (pool->slabs == NULL || pool->locked.free[0] == NULL || pool->locked.free[1] == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for chunks");
    }
    /* Pages that were never used take no memory; -1 is what mmap wants without a file. */
    /* cppcheck-suppress invalidFunctionArg */
    at = mmap(NULL, pool->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
              0);
    if (at == MAP_FAILED) {
        return tb_fail_errno(fail, errno, "no memory for chunks");
    }
    pool->memory = at;
    for (size_t i = 0; i < pool->count; i++) {
        struct tb_slab *slab = &pool->slabs[i];

        slab->large = i >= small;
        slab->cap = slab->large ? TB_CHUNK_BYTES : TB_SLAB_SMALL_BYTES;
        slab->at = at;
        at += slab->cap;
        tb_slab_give_back(pool, slab);
    }
    return TB_OK;
}

void
tb_slab_pool_release(struct tb_slab_pool *pool)
{
    if (pool->memory != NULL) {
        (void)munmap(pool->memory, pool->memory_bytes);
    }
    free(pool->slabs);
    free(pool->locked.free[0]);
    free(pool->locked.free[1]);
    tb_cond_release(&pool->returned);
    tb_mutex_release(&pool->mu);
    pool->memory = NULL;
}

struct tb_slab *
tb_slab_take(struct tb_slab_pool *pool, bool large, bool wait)
{
    struct tb_slab *slab = NULL;

    /* Under overload every packet asks: that question takes no lock. */
    if (!wait && atomic_load_explicit(&pool->available, memory_order_relaxed) == 0) {
        return NULL;
    }
    tb_mutex_lock(&pool->mu);
    /* (who can wait gets the wanted size: many small chunks compress worse than a large one) */
    while (wait && pool->locked.free_count[large] == 0) {
        tb_cond_wait(&pool->returned, &pool->mu);
    }
    for (int i = 0; i < 2 && slab == NULL; i++) {
        int kind = i == 0 ? large : !large;

        if (pool->locked.free_count[kind] > 0) {
            slab = pool->locked.free[kind][--pool->locked.free_count[kind]];
            atomic_fetch_sub_explicit(&pool->available, 1, memory_order_relaxed);
        }
    }
    tb_mutex_unlock(&pool->mu);
    if (slab != NULL) {
        slab->len = 0;
        slab->stream = NULL;
        slab->frame_bytes = 0;
        memset(&slab->info, 0, sizeof(slab->info));
        memset(slab->of_interface, 0, sizeof(slab->of_interface));
    }
    return slab;
}

void
tb_slab_wait(struct tb_slab_pool *pool, int64_t wait_ns)
{
    tb_mutex_lock(&pool->mu);
    if (pool->locked.free_count[0] + pool->locked.free_count[1] == 0) {
        (void)tb_cond_wait_for(&pool->returned, &pool->mu, wait_ns);
    }
    tb_mutex_unlock(&pool->mu);
}

void
tb_slab_give_back(struct tb_slab_pool *pool, struct tb_slab *slab)
{
    tb_mutex_lock(&pool->mu);
    pool->locked.free[slab->large][pool->locked.free_count[slab->large]++] = slab;
    atomic_fetch_add_explicit(&pool->available, 1, memory_order_relaxed);
    tb_cond_broadcast(&pool->returned);
    tb_mutex_unlock(&pool->mu);
}

enum tb_err
tb_handover_queue_init(struct tb_handover_queue *queue, size_t capacity, struct tb_fail *fail)
{
    *queue = (struct tb_handover_queue){.capacity = capacity};
    tb_mutex_init(&queue->mu);
    tb_cond_init(&queue->filled);
    queue->locked.at = calloc(capacity, sizeof(*queue->locked.at));
    if (queue->locked.at == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the queue to the writer");
    }
    return TB_OK;
}

void
tb_handover_queue_release(struct tb_handover_queue *queue)
{
    free(queue->locked.at);
    queue->locked.at = NULL;
    tb_cond_release(&queue->filled);
    tb_mutex_release(&queue->mu);
}

void
tb_handover_push(struct tb_handover_queue *queue, struct tb_handover what)
{
    tb_mutex_lock(&queue->mu);
    queue->locked.at[(queue->locked.head + queue->locked.count) % queue->capacity] = what;
    queue->locked.count++;
    queue->locked.bytes += what.slab != NULL ? what.slab->cap : 0;
    tb_cond_signal(&queue->filled);
    tb_mutex_unlock(&queue->mu);
}

enum tb_err
tb_handover_pop(struct tb_handover_queue *queue, int64_t wait_ns, struct tb_handover *out,
                size_t *out_behind)
{
    enum tb_err err = TB_OK;

    tb_mutex_lock(&queue->mu);
    if (queue->locked.count == 0 && !queue->locked.closed) {
        (void)tb_cond_wait_for(&queue->filled, &queue->mu, wait_ns);
    }
    if (queue->locked.count > 0) {
        *out = queue->locked.at[queue->locked.head];
        queue->locked.head = (queue->locked.head + 1) % queue->capacity;
        queue->locked.count--;
        queue->locked.bytes -= out->slab != NULL ? out->slab->cap : 0;
        *out_behind = queue->locked.bytes;
    } else {
        err = queue->locked.closed ? TB_ECLOSED : TB_ETIMEOUT;
    }
    tb_mutex_unlock(&queue->mu);
    return err;
}

void
tb_handover_close(struct tb_handover_queue *queue)
{
    tb_mutex_lock(&queue->mu);
    queue->locked.closed = true;
    tb_cond_broadcast(&queue->filled);
    tb_mutex_unlock(&queue->mu);
}
