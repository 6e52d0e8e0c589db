/*
 * SQLite's log is copied into the database beside the commits, not by them: a commit that does
 * it (SQLite's own way, every 1000 pages) makes all who wait for it wait for two more flushes.
 *
 * Thread `checkpoint`: waits for a commit that finds the log longer by so much than it was the
 * last time (each copy flushes the disk twice, which the commits beside it have to wait for);
 * has a connection of its own, and takes the store's lock for one thing only.  The log begins
 * anew, and is as good as empty, when a commit finds all of it copied: under a load that never
 * pauses there would be no such commit.  So a log that got very long is copied until few pages
 * are left, which come while the last ones are copied, and those while nobody can commit.
 *
 * A reader of another program that does not end keeps the log from beginning anew: that is
 * logged, once for each time it gets too long, and counted (tb_store_log_bytes).
 */
#include "store_int.h"

#include <stdlib.h>

#include <tapbox/log.h>

enum {
    /* pages (4 KiB) in the log */
    LONGER_PAGES = 2000,
    VERY_LONG_PAGES = 8000, /* 32 MiB, which opening the store after a crash has to read */
    TOO_LONG_PAGES = 16000, /* 64 MiB: it should have begun anew long before */
    FEW_PAGES = 100,        /* are copied in a few milliseconds */
    COPIES_MOST = 8,        /* until so few are left; who writes faster than that waits */
    PAGE_BYTES = 4096 + 24, /* with what the log says of each */
};

struct store_checkpoints {
    struct tb_store *store;
    pthread_t thread;
    bool started;
    sqlite3 *db;   /* the thread's own, like what follows; NULL until it has something to do */
    bool failed;   /* said once, as is: */
    bool too_long; /* until it begins anew */
    struct tb_mutex mu;
    struct tb_cond moved;
    struct { /* touched only while holding mu */
        bool due, stopping;
        int pages;      /* in this log */
        int pages_then; /* when it was copied last */
    } locked;
};

/* After each commit, with the store's lock held. */
static int
on_commit(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct store_checkpoints *c = arg;

    (void)db;
    (void)name;
    tb_mutex_lock(&c->mu);
    c->locked.pages = pages;
    if (pages < c->locked.pages_then) {
        c->locked.pages_then = 0; /* it began anew */
    }
    if (pages - c->locked.pages_then >= LONGER_PAGES) {
        c->locked.pages_then = pages;
        c->locked.due = true;
        tb_cond_signal(&c->moved);
    }
    tb_mutex_unlock(&c->mu);
    return SQLITE_OK;
}

/* A connection finds out by reading that there is a log. */
static int
connect_once(struct store_checkpoints *c)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
    int rc;

    if (c->db != NULL) {
        return SQLITE_OK;
    }
    rc = sqlite3_open_v2(c->store->path, &c->db, flags, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(c->db,
                          "PRAGMA synchronous = FULL;"
                          "SELECT count(*) FROM sqlite_schema;",
                          NULL, NULL, NULL);
    }
    if (rc != SQLITE_OK) {
        (void)sqlite3_close(c->db);
        c->db = NULL;
    }
    return rc;
}

static int
pages_now(struct store_checkpoints *c)
{
    int pages;

    tb_mutex_lock(&c->mu);
    pages = c->locked.pages;
    tb_mutex_unlock(&c->mu);
    return pages;
}

static void
tell_failure(struct store_checkpoints *c, int rc)
{
    if (!c->failed) {
        tb_log(TB_LOG_WARN, NULL, "%s: its log cannot be copied into it, and grows: %s",
               c->store->path, sqlite3_errstr(rc));
    }
    c->failed = true;
}

/* What can be copied without anybody's waiting; false: nothing could be.  `*out_left`: pages
 * that are in the log by now and have not been. */
static bool
copy(struct store_checkpoints *c, int *out_left)
{
    int pages = 0, copied = 0;
    int rc = connect_once(c);

    if (rc == SQLITE_OK) {
        rc = sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &copied);
    }
    if (rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY) { /* somebody else is at it */
        c->failed = false;
        *out_left = pages_now(c) - copied;
        return rc == SQLITE_OK;
    }
    tell_failure(c, rc);
    return false;
}

/* SQLite flushes the database only when all of the log is copied, which while commits go on is
 * when nobody can commit: those would wait for megabytes. */
static bool
flush(struct store_checkpoints *c)
{
    sqlite3_file *file = NULL;
    int rc = sqlite3_file_control(c->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);

    if (rc == SQLITE_OK) {
        rc = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
    }
    if (rc != SQLITE_OK) {
        tell_failure(c, rc);
    }
    return rc == SQLITE_OK;
}

/* `kept`: there are pages that could not be copied though nobody commits. */
static void
tell_length(struct store_checkpoints *c, bool kept)
{
    int pages = pages_now(c);

    if (pages >= TOO_LONG_PAGES && kept && !c->too_long) {
        tb_log(TB_LOG_WARN, NULL,
               "%s: its log has %d MiB and grows, because another program reads the store and "
               "does not end ('fuser %s' names it)",
               c->store->path, pages / (1024 * 1024 / 4096), c->store->path);
        c->too_long = true;
    }
    c->too_long = c->too_long && pages >= VERY_LONG_PAGES;
}

static void
checkpoint(struct store_checkpoints *c)
{
    int left = 0;
    bool copied = copy(c, &left);

    if (!copied || pages_now(c) < VERY_LONG_PAGES) {
        tell_length(c, false);
        return;
    }
    for (int i = 1; i < COPIES_MOST && copied && (i == 1 || left > FEW_PAGES); i++) {
        copied = flush(c) && copy(c, &left);
    }
    if (copied) {
        store_lock(c->store, NULL);
        copied = copy(c, &left);
        tb_mutex_unlock(&c->store->mu);
    }
    tell_length(c, copied && left > 0);
}

static void *
run(void *arg)
{
    struct store_checkpoints *c = arg;

    tb_mutex_lock(&c->mu);
    while (!c->locked.stopping) {
        if (!c->locked.due) {
            tb_cond_wait(&c->moved, &c->mu);
            continue;
        }
        c->locked.due = false;
        tb_mutex_unlock(&c->mu);
        checkpoint(c);
        tb_mutex_lock(&c->mu);
    }
    tb_mutex_unlock(&c->mu);
    return NULL;
}

enum tb_err
store_checkpoints_start_locked(struct tb_store *store, struct tb_fail *fail)
{
    struct store_checkpoints *c = calloc(1, sizeof(*c));
    enum tb_err err;

    if (c == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the store");
    }
    c->store = store;
    tb_mutex_init(&c->mu);
    tb_cond_init(&c->moved);
    store->checkpoints = c;
    err = tb_thread_start(&c->thread, "checkpoint", run, c, fail);
    if (err == TB_OK) {
        c->started = true;
        (void)sqlite3_wal_hook(store->locked.db, on_commit, c); /* instead of SQLite's own */
    }
    return err;
}

void
store_checkpoints_stop(struct store_checkpoints *c)
{
    if (c == NULL) {
        return;
    }
    if (c->started) {
        tb_mutex_lock(&c->mu);
        c->locked.stopping = true;
        tb_cond_signal(&c->moved);
        tb_mutex_unlock(&c->mu);
        (void)pthread_join(c->thread, NULL);
    }
    (void)sqlite3_close(c->db);
    tb_cond_release(&c->moved);
    tb_mutex_release(&c->mu);
    free(c);
}

int64_t
tb_store_log_bytes(const struct tb_store *store)
{
    return (int64_t)pages_now(store->checkpoints) * PAGE_BYTES;
}
