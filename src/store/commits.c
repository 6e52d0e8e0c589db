/*
 * Group commit: alerts that arrive while another commit is on its way to the disk share the
 * next one.  A commit costs one flush of the disk, however many alerts are in it.
 *
 * The caller who finds nobody leading leads: it takes what is waiting, its own alert included,
 * through one transaction, and wakes the others.  Each alert has a savepoint of its own, so
 * that one that is refused takes nothing else with it.
 */
#include "store_int.h"

enum {
    BATCH_MAX = 64, /* alerts in one commit; bounds how long the connection is held */
};

/* One caller's alert, on that caller's stack until it is done. */
struct store_waiting {
    const struct tb_intake *intake;
    struct store_taken taken;
    struct tb_fail fail;
    enum tb_err err;
    bool done;
    struct store_waiting *next;
};

/* What no row could hold, or could not be found again, is refused before anything is written.
 */
static enum tb_err
check_intake(const struct tb_intake *intake, struct tb_fail *fail)
{
    const struct tb_capture_request *r = intake->capture;

    if (strlen(intake->key) >= TB_CAPTURE_MAX_TEXT) {
        return tb_fail_set(fail, TB_EINVAL, "an idempotency key is at most %d octets",
                           TB_CAPTURE_MAX_TEXT - 1);
    }
    if (r != NULL && r->instance[0] == 0 && r->eni_count == 0) {
        return tb_fail_set(fail, TB_EINVAL, "the capture names no source");
    }
    if (r != NULL && (r->eni_count > TB_CAPTURE_MAX_SOURCES || r->max_bytes > INT64_MAX ||
                      (unsigned)r->filter >= TB_FILTER_KIND_COUNT)) {
        return tb_fail_set(fail, TB_EINVAL, "the capture's request is out of bounds");
    }
    return TB_OK;
}

static enum tb_err
run_locked(struct tb_store *store, const char *sql, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(store, sql, &q, fail);

    return err == TB_OK ? store_run_locked(&q, NULL, fail) : err;
}

/* False when the failure has taken the whole transaction with it (full disk, I/O, memory). */
static bool
take_one_locked(struct tb_store *store, struct store_waiting *w) TB_REQUIRES(store->mu)
{
    w->err = run_locked(store, "SAVEPOINT alert", &w->fail);
    if (w->err != TB_OK) {
        return sqlite3_get_autocommit(store->locked.db) == 0;
    }
    w->err = store_take_in_locked(store, w->intake, &w->taken, &w->fail);
    if (sqlite3_get_autocommit(store->locked.db) != 0) {
        return false;
    }
    if (w->err != TB_OK && run_locked(store, "ROLLBACK TO alert", NULL) != TB_OK) {
        return false;
    }
    if (w->err != TB_OK) {
        return run_locked(store, "RELEASE alert", NULL) == TB_OK;
    }
    w->err = run_locked(store, "RELEASE alert", &w->fail);
    return w->err == TB_OK;
}

/* Who had no failure of its own gets this one. */
static void
fail_all(struct store_waiting *first, enum tb_err err, const struct tb_fail *fail)
{
    for (struct store_waiting *w = first; w != NULL; w = w->next) {
        if (w->err == TB_OK) {
            w->err = err;
            w->fail = *fail;
        }
    }
}

static void
commit_batch(struct tb_store *store, struct store_waiting *first)
{
    struct tb_fail fail = {0};
    enum tb_err err;

    store_lock(store, "intake");
    err = store_begin_locked(store, &fail);
    if (err == TB_OK) {
        for (struct store_waiting *w = first; w != NULL && err == TB_OK; w = w->next) {
            if (!take_one_locked(store, w)) {
                err = w->err;
                fail = w->fail;
            }
        }
        err = store_end_locked(store, err, &fail);
    }
    tb_mutex_unlock(&store->mu);
    if (err != TB_OK) {
        fail_all(first, err, &fail);
    }
}

/* Takes up to a batch off the queue. */
static struct store_waiting *
take_batch_locked(struct tb_store *store) TB_REQUIRES(store->queue_mu)
{
    struct store_waiting *first = store->queue.first;
    struct store_waiting *last = first;

    for (int i = 1; i < BATCH_MAX && last->next != NULL; i++) {
        last = last->next;
    }
    store->queue.first = last->next;
    if (store->queue.first == NULL) {
        store->queue.last = &store->queue.first;
    }
    last->next = NULL;
    return first;
}

static void
lead_locked(struct tb_store *store) TB_REQUIRES(store->queue_mu)
{
    struct store_waiting *first = take_batch_locked(store);

    store->queue.led = true;
    tb_mutex_unlock(&store->queue_mu);
    commit_batch(store, first);
    tb_mutex_lock(&store->queue_mu);
    store->queue.led = false;
    while (first != NULL) {
        struct store_waiting *next = first->next; /* once done, it is gone with its caller */

        first->done = true;
        first = next;
    }
    tb_cond_broadcast(&store->queue_moved);
}

enum tb_err
tb_store_intake(struct tb_store *store, const struct tb_intake *intake,
                enum tb_intake_outcome *out_outcome, char out_capture_id[TB_CAPTURE_ID_SIZE],
                struct tb_fail *fail)
{
    struct store_waiting mine = {.intake = intake};
    enum tb_err err = check_intake(intake, fail);

    if (err != TB_OK) {
        return err;
    }
    tb_mutex_lock(&store->queue_mu);
    *store->queue.last = &mine;
    store->queue.last = &mine.next;
    while (!mine.done) {
        if (store->queue.led) {
            tb_cond_wait(&store->queue_moved, &store->queue_mu);
        } else {
            lead_locked(store);
        }
    }
    tb_mutex_unlock(&store->queue_mu);
    if (mine.err != TB_OK) {
        if (fail != NULL) {
            *fail = mine.fail;
        }
        return mine.err;
    }
    *out_outcome = mine.taken.outcome;
    (void)tb_str_copy(out_capture_id, TB_CAPTURE_ID_SIZE, mine.taken.capture_id);
    return TB_OK;
}
