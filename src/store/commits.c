/*
 * Group commit: alerts that arrive while another commit is on its way to the disk share the
 * next one.  A commit costs one flush of the disk, however many alerts are in it.
 *
 * The caller who finds nobody leading leads: it takes what is waiting, its own alert included,
 * through one transaction, and wakes the others.  When one of them is refused, which is rare,
 * all is undone and done again, each behind a savepoint of its own, so that it takes nothing
 * else with it: savepoints for all would cost as much as the alerts (SQLite keeps a copy of
 * every page that changes behind one).
 */
#include "store_int.h"

enum {
    BATCH_MAX = 64, /* alerts in one commit; bounds how long the connection is held */
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
    if (r != NULL &&
        (r->eni_count > TB_CAPTURE_MAX_SOURCES || r->max_bytes > INT64_MAX ||
         r->max_packets > INT64_MAX || (unsigned)r->filter.kind >= TB_FILTER_KIND_COUNT ||
         r->filter.rule_count > TB_FILTER_MAX_RULES)) {
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

static void
take_one_locked(struct tb_store *store, struct tb_intake_item *w) TB_REQUIRES(store->mu)
{
    struct store_taken taken = {.outcome = TB_INTAKE_IGNORED};
    struct tb_intake intake = *w->intake;

    if (intake.prepared == NULL) {
        intake.prepared = w->made;
    }
    w->err = store_take_in_locked(store, &intake, &taken, &w->fail);
    if (w->err == TB_OK) {
        w->outcome = taken.outcome;
        (void)tb_str_copy(w->capture_id, sizeof(w->capture_id), taken.capture_id);
    }
}

/* False when the failure has taken the whole transaction with it (full disk, I/O, memory). */
static bool
take_apart_locked(struct tb_store *store, struct tb_intake_item *w) TB_REQUIRES(store->mu)
{
    w->err = run_locked(store, "SAVEPOINT alert", &w->fail);
    if (w->err != TB_OK) {
        return sqlite3_get_autocommit(store->locked.db) == 0;
    }
    take_one_locked(store, w);
    if (sqlite3_get_autocommit(store->locked.db) != 0) {
        return false;
    }
    if (w->err != TB_OK) {
        return run_locked(store, "ROLLBACK TO alert", NULL) == TB_OK &&
               run_locked(store, "RELEASE alert", NULL) == TB_OK;
    }
    w->err = run_locked(store, "RELEASE alert", &w->fail);
    return w->err == TB_OK;
}

/* All of them, or with nothing done the failure of the first that is refused. */
static enum tb_err
take_whole_batch_locked(struct tb_store *store, struct tb_intake_item *first,
                        struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    enum tb_err err = store_begin_locked(store, fail);

    for (struct tb_intake_item *w = first; w != NULL && err == TB_OK; w = w->next) {
        take_one_locked(store, w);
        err = w->err;
    }
    return store_end_locked(store, err, fail);
}

/* Those that are not refused. */
static enum tb_err
take_each_locked(struct tb_store *store, struct tb_intake_item *first, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    enum tb_err err = store_begin_locked(store, fail);

    for (struct tb_intake_item *w = first; w != NULL && err == TB_OK; w = w->next) {
        if (!take_apart_locked(store, w)) {
            err = w->err;
            *fail = w->fail;
        }
    }
    return store_end_locked(store, err, fail);
}

static bool
is_any_refused(const struct tb_intake_item *first)
{
    while (first != NULL && first->err == TB_OK) {
        first = first->next;
    }
    return first != NULL;
}

/* Who had no failure of its own gets this one. */
static void
fail_all(struct tb_intake_item *first, enum tb_err err, const struct tb_fail *fail)
{
    for (struct tb_intake_item *w = first; w != NULL; w = w->next) {
        if (w->err == TB_OK) {
            w->err = err;
            w->fail = *fail;
        }
    }
}

/* One before `w` that has shown the same capture; NULL when none has. */
static const struct tb_intake_item *
find_shown(const struct tb_intake_item *first, const struct tb_intake_item *w)
{
    while (first != w &&
           (!first->has_capture || strcmp(first->capture_id, w->capture_id) != 0)) {
        first = first->next;
    }
    return first != w ? first : NULL;
}

/* For those who want to show it: read here, where nobody has to wait behind the next commit. In
 * a storm many are of the same capture. */
static void
read_captures_locked(struct tb_store *store, struct tb_intake_item *first)
    TB_REQUIRES(store->mu)
{
    for (struct tb_intake_item *w = first; w != NULL; w = w->next) {
        const struct tb_intake_item *shown;

        if (w->err != TB_OK || w->capture == NULL || w->capture_id[0] == 0 ||
            (w->only_made && w->outcome != TB_INTAKE_CREATED)) {
            continue;
        }
        shown = find_shown(first, w);
        if (shown != NULL) {
            *w->capture = *shown->capture;
        }
        w->has_capture = shown != NULL || store_capture_get_locked(store, w->capture_id,
                                                                   w->capture, NULL) == TB_OK;
    }
}

static void
commit_batch(struct tb_store *store, struct tb_intake_item *first)
{
    struct tb_fail fail = {0};
    enum tb_err err;

    store_lock(store, "intake");
    err = take_whole_batch_locked(store, first, &fail);
    if (is_any_refused(first)) {
        err = take_each_locked(store, first, &fail);
    }
    if (err == TB_OK) {
        read_captures_locked(store, first);
    }
    tb_mutex_unlock(&store->mu);
    if (err != TB_OK) {
        fail_all(first, err, &fail);
    }
}

/* Takes up to a batch off the queue. */
static struct tb_intake_item *
take_batch_locked(struct tb_store *store) TB_REQUIRES(store->queue_mu)
{
    struct tb_intake_item *first = store->queue.first;
    struct tb_intake_item *last = first;

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
    struct tb_intake_item *first = take_batch_locked(store);

    store->queue.led = true;
    tb_mutex_unlock(&store->queue_mu);
    commit_batch(store, first);
    tb_mutex_lock(&store->queue_mu);
    store->queue.led = false;
    while (first != NULL) {
        struct tb_intake_item *next = first->next; /* once done, it is gone with its caller */

        first->done = true;
        first = next;
    }
    tb_cond_broadcast(&store->queue_moved);
}

static void
begin(struct tb_intake_item *item)
{
    item->made = NULL;
    item->err = check_intake(item->intake, &item->fail);
    if (item->err == TB_OK && item->intake->prepared == NULL) {
        item->err = tb_store_prepare(item->intake, &item->made, &item->fail);
    }
    item->done = item->err != TB_OK;
    item->has_capture = false;
    item->next = NULL;
}

void
tb_store_intake_many(struct tb_store *store, struct tb_intake_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        begin(&items[i]);
    }
    tb_mutex_lock(&store->queue_mu);
    for (size_t i = 0; i < count; i++) {
        if (!items[i].done) {
            *store->queue.last = &items[i];
            store->queue.last = &items[i].next;
        }
    }
    for (size_t i = 0; i < count; i++) {
        while (!items[i].done) {
            if (store->queue.led) {
                tb_cond_wait(&store->queue_moved, &store->queue_mu);
            } else {
                lead_locked(store);
            }
        }
    }
    tb_mutex_unlock(&store->queue_mu);
    for (size_t i = 0; i < count; i++) {
        tb_store_prepared_free(items[i].made);
        items[i].made = NULL;
    }
}

enum tb_err
tb_store_intake(struct tb_store *store, const struct tb_intake *intake,
                enum tb_intake_outcome *out_outcome, char out_capture_id[TB_CAPTURE_ID_SIZE],
                struct tb_fail *fail)
{
    struct tb_intake_item mine = {.intake = intake};

    tb_store_intake_many(store, &mine, 1);
    if (mine.err != TB_OK) {
        if (fail != NULL) {
            *fail = mine.fail;
        }
        return mine.err;
    }
    *out_outcome = mine.outcome;
    (void)tb_str_copy(out_capture_id, TB_CAPTURE_ID_SIZE, mine.capture_id);
    return TB_OK;
}
