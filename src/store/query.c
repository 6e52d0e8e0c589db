/* Statements: prepared once, bound and read in order, and SQLite's errors in our words. */
#include "store_int.h"

#include <tapbox/crash.h>

#include <errno.h>
#include <stdlib.h>

enum tb_err
store_failed_locked(struct tb_store *store, int rc, const char *doing, struct tb_fail *fail)
{
    int sys_errno = errno; /* SQLite notes none for a COMMIT; cleared before each step */
    const char *text = store->locked.db != NULL ? sqlite3_errmsg(store->locked.db) : "";
    enum tb_err err = TB_EIO;

    switch (rc & 0xff) {
    case SQLITE_FULL:
        err = TB_EFULL;
        break;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        if (sys_errno == ENOSPC || sys_errno == EDQUOT || sys_errno == EFBIG) {
            err = TB_EFULL;
        } else if (rc == SQLITE_IOERR_NOMEM) {
            err = TB_ENOMEM;
        }
        break;
    case SQLITE_NOMEM:
        err = TB_ENOMEM;
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        err = TB_ERETRY;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        err = TB_EFORMAT;
        break;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        err = TB_EDENIED;
        break;
    case SQLITE_TOOBIG:
        err = TB_ETOOBIG;
        break;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISUSE:
        err = TB_EINTERNAL;
        break;
    default:
        break;
    }
    (void)tb_fail_set(fail, err, "%s: %s: %s", store->path, doing, text);
    if (fail != NULL) {
        fail->sys_errno = sys_errno;
    }
    return err;
}

void
store_undo_locked(struct tb_store *store)
{
    store->locked.in_transaction = false;
    /* some failures (full disk, I/O) have rolled it back already */
    if (sqlite3_get_autocommit(store->locked.db) == 0) {
        (void)sqlite3_exec(store->locked.db, "ROLLBACK", NULL, NULL, NULL);
    }
}

enum tb_err
store_open_locked(struct tb_store *store, const char *sql, struct store_query *q,
                  struct tb_fail *fail)
{
    sqlite3_stmt *stmt = NULL;
    int rc;

    *q = (struct store_query){.store = store, .sql = sql};
    if (!store->locked.in_transaction && sqlite3_get_autocommit(store->locked.db) == 0) {
        /* A roll back failed (no memory): nothing may slip into that transaction. */
        store_undo_locked(store);
        if (sqlite3_get_autocommit(store->locked.db) == 0) {
            return tb_fail_set(fail, TB_ENOMEM, "%s: an old transaction cannot be rolled back",
                               store->path);
        }
    }
    for (size_t i = 0; i < store->locked.prepared_count; i++) {
        if (store->locked.prepared[i].sql == sql) {
            q->stmt = store->locked.prepared[i].stmt;
            return TB_OK;
        }
    }
    if (store->locked.prepared_count == STORE_MAX_STATEMENTS) {
        return tb_fail_set(fail, TB_EINTERNAL, "more than %d statements", STORE_MAX_STATEMENTS);
    }
    rc = sqlite3_prepare_v3(store->locked.db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
    if (rc != SQLITE_OK) {
        return store_failed_locked(store, rc, "prepare", fail);
    }
    store->locked.prepared[store->locked.prepared_count].sql = sql;
    store->locked.prepared[store->locked.prepared_count].stmt = stmt;
    store->locked.prepared_count++;
    q->stmt = stmt;
    return TB_OK;
}

void
store_close(struct store_query *q)
{
    if (q->stmt != NULL) {
        (void)sqlite3_reset(q->stmt);
        (void)sqlite3_clear_bindings(q->stmt);
        q->stmt = NULL;
    }
}

static void
note_bind(struct store_query *q, int rc)
{
    if (q->rc == SQLITE_OK) {
        q->rc = rc;
    }
}

/* Bound values are lent: every query is run before the function that bound them returns. */
void
store_bind_text(struct store_query *q, const char *text)
{
    note_bind(q, sqlite3_bind_text(q->stmt, ++q->next, text, -1, SQLITE_STATIC));
}

void
store_bind_text_or_null(struct store_query *q, const char *text)
{
    note_bind(q, text[0] == 0 ? sqlite3_bind_null(q->stmt, ++q->next)
                              : sqlite3_bind_text(q->stmt, ++q->next, text, -1, SQLITE_STATIC));
}

void
store_bind_int(struct store_query *q, int64_t value)
{
    note_bind(q, sqlite3_bind_int64(q->stmt, ++q->next, value));
}

void
store_bind_real(struct store_query *q, double value)
{
    note_bind(q, sqlite3_bind_double(q->stmt, ++q->next, value));
}

void
store_bind_blob(struct store_query *q, struct tb_bytes bytes)
{
    /* a NULL address would bind NULL, not an empty blob */
    note_bind(q, sqlite3_bind_blob64(q->stmt, ++q->next,
                                     bytes.len == 0 ? "" : (const void *)bytes.at, bytes.len,
                                     SQLITE_STATIC));
}

/* The lock is that of q->store, held since _open: clang cannot see that the two are one. */
enum tb_err
store_step_locked(struct store_query *q, bool *out_row,
                  struct tb_fail *fail) TB_NO_LOCK_ANALYSIS
{
    int rc = q->rc;

    errno = 0;
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(q->stmt);
    }
    q->next = 0;
    if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
        *out_row = rc == SQLITE_ROW;
        return TB_OK;
    }
    return store_failed_locked(q->store, rc, "query", fail);
}

static void
crash_point(enum tb_crash_side side, const char *act)
{
    if (act != NULL) {
        tb_crash_point(side, act);
    }
}

enum tb_err
store_run_locked(struct store_query *q, int *out_changed, struct tb_fail *fail)
{
    /* A statement of its own commits when it ends; inside a transaction COMMIT does. */
    bool commits = sqlite3_get_autocommit(q->store->locked.db) != 0 &&
                   sqlite3_stmt_readonly(q->stmt) == 0 && strncmp(q->sql, "BEGIN", 5) != 0;
    const char *act = commits ? q->store->locked.act : NULL;
    bool row = false;
    enum tb_err err;

    crash_point(TB_CRASH_BEFORE, act);
    err = store_step_locked(q, &row, fail);
    crash_point(TB_CRASH_AFTER, act);
    if (err == TB_OK && out_changed != NULL) {
        *out_changed = sqlite3_changes(q->store->locked.db);
    }
    store_close(q);
    return err;
}

void
store_text(struct store_query *q, char *out, size_t cap)
{
    const unsigned char *text = sqlite3_column_text(q->stmt, q->next++);

    out[0] = 0;
    if (text != NULL && !tb_str_copy(out, cap, (const char *)text)) {
        q->odd = true;
    }
}

int64_t
store_int(struct store_query *q)
{
    return sqlite3_column_int64(q->stmt, q->next++);
}

double
store_real(struct store_query *q)
{
    return sqlite3_column_double(q->stmt, q->next++);
}

struct tb_bytes
store_blob(struct store_query *q)
{
    const void *at = sqlite3_column_blob(q->stmt, q->next);
    int len = sqlite3_column_bytes(q->stmt, q->next);

    q->next++;
    return tb_bytes_of(at, at == NULL ? 0 : (size_t)len);
}

enum tb_err
store_row_check(const struct store_query *q, struct tb_fail *fail)
{
    if (q->odd) {
        return tb_fail_set(fail, TB_EFORMAT, "%s: a row holds a value that nobody writes",
                           q->store->path);
    }
    return TB_OK;
}

void *
store_list_add(struct store_list *list)
{
    char *at;

    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 16 : list->cap * 2;

        at = realloc(list->at, cap * list->item_bytes);
        if (at == NULL) {
            return NULL;
        }
        list->at = at;
        list->cap = cap;
    }
    at = (char *)list->at + list->count++ * list->item_bytes;
    memset(at, 0, list->item_bytes);
    return at;
}

void
store_lock(struct tb_store *store, const char *act)
{
    /* A thread that reads alert after alert has let go of `mu` and taken it again before one
     * that was woken for it runs: commits had to wait for hundreds of such reads. */
    tb_mutex_lock(&store->turn);
    tb_mutex_lock(&store->mu);
    tb_mutex_unlock(&store->turn);
    store->locked.act = act;
}

enum tb_err
store_begin_locked(struct tb_store *store, struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err = store_open_locked(store, "BEGIN IMMEDIATE", &q, fail);

    if (err == TB_OK) {
        err = store_run_locked(&q, NULL, fail);
    }
    store->locked.in_transaction = err == TB_OK;
    return err;
}

enum tb_err
store_end_locked(struct tb_store *store, enum tb_err err, struct tb_fail *fail)
{
    struct store_query q;

    if (err == TB_OK) {
        crash_point(TB_CRASH_BEFORE, store->locked.act);
        err = store_open_locked(store, "COMMIT", &q, fail);
        if (err == TB_OK) {
            err = store_run_locked(&q, NULL, fail);
        }
        crash_point(TB_CRASH_AFTER, store->locked.act);
    }
    store_undo_locked(store); /* after a commit there is nothing to undo */
    return err;
}
