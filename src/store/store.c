/* Opening, locking, bringing the schema up to date, closing. */
#include "store_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tapbox/digest.h>
#include <tapbox/io.h>

#include "migrations_int.h"

enum {
    APPLICATION_ID = 0x74617062, /* "tapb": file(1) and we know our own by it */
    BUSY_WAIT_MS = 5000,         /* somebody reads along with the sqlite3 program */
};

/* One process only: two would each believe to own every capture.  The lock dies with us. */
static enum tb_err
lock_out_others(struct tb_store *store, struct tb_fail *fail)
{
    char name[sizeof(store->path) + 8];
    char pid[24];
    int len;

    (void)snprintf(name, sizeof(name), "%s.lock", store->path);
    store->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (store->lock_fd < 0) {
        return tb_fail_errno(fail, errno, "cannot open %s", name);
    }
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t got;

        if (errno != EWOULDBLOCK) {
            return tb_fail_errno(fail, errno, "cannot lock %s", name);
        }
        got = pread(store->lock_fd, pid, sizeof(pid) - 1, 0);
        pid[got > 0 ? got : 0] = 0;
        return tb_fail_set(fail, TB_ESTATE, "%s is in use by another tapbox (process %ld)",
                           store->path, strtol(pid, NULL, 10));
    }
    /* who holds it is only for that message: a disk without room for it is no reason to stop */
    len = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
    if (ftruncate(store->lock_fd, 0) != 0 ||
        pwrite(store->lock_fd, pid, (size_t)len, 0) != len) {
        return TB_OK;
    }
    return TB_OK;
}

/* SQLite gives the log files the rights of the database, so it is made here, 0600. */
static enum tb_err
make_file(const struct tb_store *store, struct tb_fail *fail)
{
    int fd = open(store->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    enum tb_err err = TB_OK;

    if (fd < 0) {
        return tb_fail_errno(fail, errno, "cannot open %s", store->path);
    }
    if (fchmod(fd, 0600) != 0) {
        err = tb_fail_errno(fail, errno, "cannot set the rights of %s", store->path);
    }
    tb_close(&fd);
    return err;
}

static enum tb_err
read_number_locked(struct tb_store *store, const char *sql, int64_t *out, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    bool row = false;
    enum tb_err err = store_open_locked(store, sql, &q, fail);

    if (err != TB_OK) {
        return err;
    }
    err = store_step_locked(&q, &row, fail);
    if (err == TB_OK) {
        *out = row ? store_int(&q) : 0;
    }
    store_close(&q);
    return err;
}

static enum tb_err
exec_locked(struct tb_store *store, const char *sql, const char *doing, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    int rc = sqlite3_exec(store->locked.db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? TB_OK : store_failed_locked(store, rc, doing, fail);
}

/* left_ns(deadline_utc_ns, deadline_boot_ns, deadline_boot_id): no statement judges a deadline
 * by the wall clock alone. */
static void
left_ns(sqlite3_context *context, int count, sqlite3_value **values)
{
    struct tb_deadline deadline = {.utc_ns = sqlite3_value_int64(values[0]),
                                   .boot_ns = sqlite3_value_int64(values[1])};
    const unsigned char *boot_id = sqlite3_value_text(values[2]);

    (void)count;
    if (boot_id != NULL) {
        (void)tb_str_copy(deadline.boot_id, sizeof(deadline.boot_id), (const char *)boot_id);
    }
    sqlite3_result_int64(context, tb_deadline_left_ns(&deadline));
}

static enum tb_err
connect_locked(struct tb_store *store, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
    int64_t id = 0;
    int64_t tables = 0;
    int rc = sqlite3_open_v2(store->path, &store->locked.db, flags, NULL);
    enum tb_err err;

    if (rc != SQLITE_OK) {
        return store_failed_locked(store, rc, "open", fail);
    }
    (void)sqlite3_extended_result_codes(store->locked.db, 1);
    (void)sqlite3_busy_timeout(store->locked.db, BUSY_WAIT_MS);
    rc = sqlite3_create_function_v2(store->locked.db, "left_ns", 3, SQLITE_UTF8, NULL, left_ns,
                                    NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        return store_failed_locked(store, rc, "set up", fail);
    }
    err = read_number_locked(store, "PRAGMA application_id", &id, fail);
    if (err == TB_OK) {
        err = read_number_locked(store, "SELECT count(*) FROM sqlite_schema", &tables, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    if (id != APPLICATION_ID && (id != 0 || tables != 0)) {
        return tb_fail_set(fail, TB_EFORMAT, "%s is a database of another program",
                           store->path);
    }
    /*
     * FULL, not NORMAL: a commit in the log must be on the disk before an alert is
     * acknowledged.  The log is cut back to 64 MiB after a burst.  What SQLite keeps for the
     * time of a statement or of a transaction stays in memory; its cache holds the pages that
     * a storm of alerts touches again and again, which it would read back from the log.
     */
    return exec_locked(store,
                       "PRAGMA application_id = 1952542818;"
                       "PRAGMA journal_mode = WAL;"
                       "PRAGMA synchronous = FULL;"
                       "PRAGMA foreign_keys = ON;"
                       "PRAGMA journal_size_limit = 67108864;"
                       "PRAGMA trusted_schema = OFF;"
                       "PRAGMA temp_store = MEMORY;"
                       "PRAGMA cache_size = -16384;"
                       "CREATE TABLE IF NOT EXISTS migrations ("
                       " version INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL,"
                       " applied_utc_ns INTEGER NOT NULL) STRICT;",
                       "set up", fail);
}

_Static_assert(APPLICATION_ID == 1952542818, "the PRAGMA above takes no expression");

static enum tb_err
note_migration_locked(struct tb_store *store, size_t i, const char *sha256,
                      struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store,
        "INSERT INTO migrations (version, name, sha256, applied_utc_ns) VALUES (?, ?, ?, ?)",
        &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_int(&q, (int64_t)i + 1);
    store_bind_text(&q, store_migrations[i].name);
    store_bind_text(&q, sha256);
    store_bind_int(&q, tb_clock_utc_ns());
    return store_run_locked(&q, NULL, fail);
}

/* A step that was applied must be the one that we have: its text never changes again. */
static enum tb_err
check_migration_locked(struct tb_store *store, size_t i, const char *sha256,
                       struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    char applied[TB_SHA256_HEX_SIZE] = "";
    struct store_query q;
    bool row = false;
    enum tb_err err =
        store_open_locked(store, "SELECT sha256 FROM migrations WHERE version = ?", &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_int(&q, (int64_t)i + 1);
    err = store_step_locked(&q, &row, fail);
    if (err == TB_OK && row) {
        store_text(&q, applied, sizeof(applied));
    }
    store_close(&q);
    if (err == TB_OK && strcmp(applied, sha256) != 0) {
        err = tb_fail_set(fail, TB_EFORMAT, "%s: schema step %s is not the one this tapbox has",
                          store->path, store_migrations[i].name);
    }
    return err;
}

static enum tb_err
migrate_locked(struct tb_store *store, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    int64_t version = 0;
    enum tb_err err = read_number_locked(
        store, "SELECT coalesce(max(version), 0) FROM migrations", &version, fail);

    if (err == TB_OK && version > (int64_t)store_migration_count) {
        err = tb_fail_set(fail, TB_ESTATE,
                          "%s was written by a newer tapbox (schema %lld, this one knows %zu)",
                          store->path, (long long)version, store_migration_count);
    }
    for (size_t i = 0; i < store_migration_count && err == TB_OK; i++) {
        const struct store_migration *m = &store_migrations[i];
        struct tb_sha256 digest;
        char sha256[TB_SHA256_HEX_SIZE];

        err = tb_sha256(tb_bytes_str(m->sql), &digest);
        if (err != TB_OK) {
            return tb_fail_set(fail, err, "cannot hash schema step %s", m->name);
        }
        tb_sha256_hex(sha256, &digest);
        if ((int64_t)i < version) {
            err = check_migration_locked(store, i, sha256, fail);
            continue;
        }
        err = store_begin_locked(store, fail);
        if (err == TB_OK) {
            err = exec_locked(store, m->sql, m->name, fail);
            if (err == TB_OK) {
                err = note_migration_locked(store, i, sha256, fail);
            }
            err = store_end_locked(store, err, fail);
        }
    }
    return err;
}

/* A new boot may begin before the last one ended, by UTC: then nothing of that is still to
 * come. What was to be waited for is looked at once. */
static enum tb_err
end_future_locked(struct tb_store *store, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    static const char *const ends[] = {
        "UPDATE captures SET due_steady_ns = ?1"
        " WHERE state NOT IN ('sealed', 'refused', 'failed') AND due_steady_ns > ?1",
        "UPDATE captures SET requested_steady_ns = min(requested_steady_ns, ?1),"
        " recording_steady_ns = min(recording_steady_ns, ?1),"
        " stopped_steady_ns = min(stopped_steady_ns, ?1),"
        " ended_steady_ns = min(ended_steady_ns, ?1)"
        " WHERE requested_steady_ns > ?1 OR recording_steady_ns > ?1 OR stopped_steady_ns > ?1 "
        "OR ended_steady_ns > ?1",
        "UPDATE subscriptions SET since_steady_ns = ?1 WHERE since_steady_ns > ?1",
        "UPDATE resources SET created_steady_ns = min(created_steady_ns, ?1),"
        " gone_steady_ns = min(gone_steady_ns, ?1)"
        " WHERE created_steady_ns > ?1 OR gone_steady_ns > ?1"};
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]) && err == TB_OK; i++) {
        struct store_query q;

        err = store_open_locked(store, ends[i], &q, fail);
        if (err == TB_OK) {
            store_bind_int(&q, tb_store_steady_ns(store));
            err = store_run_locked(&q, NULL, fail);
        }
    }
    return err;
}

/* The same clock for as long as the host runs, whoever sets the other one. */
static enum tb_err
start_clock_locked(struct tb_store *store, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    char boot_id[TB_BOOT_ID_SIZE] = "";
    int64_t less_boot_ns = tb_clock_utc_ns() - tb_clock_boot_ns();
    struct store_query q;
    bool row = false;
    enum tb_err err =
        store_open_locked(store, "SELECT boot_id, less_boot_ns FROM steady", &q, fail);

    if (err != TB_OK) {
        return err;
    }
    err = store_step_locked(&q, &row, fail);
    if (err == TB_OK && row) {
        store_text(&q, boot_id, sizeof(boot_id));
        store->steady_less_boot_ns = store_int(&q);
        err = store_row_check(&q, fail);
    }
    store_close(&q);
    if (err == TB_OK && (boot_id[0] == 0 || strcmp(boot_id, tb_clock_boot_id()) != 0)) {
        store->steady_less_boot_ns = less_boot_ns;
        err = store_open_locked(store,
                                "INSERT OR REPLACE INTO steady (one, boot_id, less_boot_ns)"
                                " VALUES (1, ?, ?)",
                                &q, fail);
        if (err == TB_OK) {
            store_bind_text(&q, tb_clock_boot_id());
            store_bind_int(&q, less_boot_ns);
            err = store_run_locked(&q, NULL, fail);
        }
    }
    return err == TB_OK ? end_future_locked(store, fail) : err;
}

int64_t
tb_store_steady_ns(const struct tb_store *store)
{
    return tb_clock_boot_ns() + store->steady_less_boot_ns;
}

enum tb_err
tb_store_open(const char *path, struct tb_store **out, struct tb_fail *fail)
{
    struct tb_store *store = calloc(1, sizeof(*store));
    enum tb_err err;

    if (store == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the store");
    }
    store->lock_fd = -1;
    store->queue.last = &store->queue.first;
    tb_mutex_init(&store->turn);
    tb_mutex_init(&store->mu);
    tb_mutex_init(&store->queue_mu);
    tb_cond_init(&store->queue_moved);
    if (!tb_str_copy(store->path, sizeof(store->path), path)) {
        err = tb_fail_set(fail, TB_EINVAL, "the path of the store is over %zu octets",
                          sizeof(store->path) - 1);
        goto out;
    }
    err = lock_out_others(store, fail);
    if (err == TB_OK) {
        err = make_file(store, fail);
    }
    if (err == TB_OK) {
        tb_mutex_lock(&store->mu);
        err = connect_locked(store, fail);
        if (err == TB_OK) {
            err = migrate_locked(store, fail);
        }
        if (err == TB_OK) {
            err = start_clock_locked(store, fail);
        }
        if (err == TB_OK) {
            err = store_checkpoints_start_locked(store, fail);
        }
        tb_mutex_unlock(&store->mu);
    }
    if (err != TB_OK) {
        goto out;
    }
    *out = store; /* the caller owns it from here */
    store = NULL;

out:
    tb_store_close(store);
    return err;
}

void
tb_store_close(struct tb_store *store)
{
    if (store == NULL) {
        return;
    }
    store_checkpoints_stop(store->checkpoints);
    tb_mutex_lock(&store->mu);
    for (size_t i = 0; i < store->locked.prepared_count; i++) {
        (void)sqlite3_finalize(store->locked.prepared[i].stmt);
    }
    (void)sqlite3_close(store->locked.db);
    store->locked.db = NULL;
    tb_mutex_unlock(&store->mu);
    tb_close(&store->lock_fd); /* last: nobody else may open it before SQLite is done */
    tb_cond_release(&store->queue_moved);
    tb_mutex_release(&store->queue_mu);
    tb_mutex_release(&store->mu);
    tb_mutex_release(&store->turn);
    free(store);
}

enum tb_err
tb_store_check(struct tb_store *store, struct tb_fail *fail)
{
    int64_t captures = 0;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = read_number_locked(store, "SELECT count(*) FROM migrations", &captures, fail);
        if (err == TB_OK) {
            err = exec_locked(store,
                              "INSERT INTO counters (name, value) VALUES ('check', 0) "
                              "ON CONFLICT (name) DO UPDATE SET value = value + 1",
                              "write", fail);
        }
        store_undo_locked(store);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}
