/*
 * Inside the store: one connection behind one lock, statements prepared once, and short forms
 * of binding and reading so that a row function reads like its SQL.
 *
 * A function that ends in _locked is called with the lock held.  Rows are read back with the
 * same care as foreign input: a name nobody knows is TB_EFORMAT, not an assertion.
 */
#ifndef TAPBOX_STORE_INT_H
#define TAPBOX_STORE_INT_H

#include <sqlite3.h>

#include <tapbox/store.h>
#include <tapbox/thread.h>

enum {
    STORE_MAX_STATEMENTS = 160 /* distinct statements in src/store/, with room */
};

struct tb_store {
    char path[256];
    int64_t steady_less_boot_ns; /* set once */
    int lock_fd;                 /* flock on "<path>.lock" keeps other processes out */
    struct tb_mutex turn;        /* its holder is the next to hold mu; store_lock only */
    struct tb_mutex mu;
    struct { /* touched only while holding mu */
        sqlite3 *db;
        struct {
            const char *sql; /* the literal's address is its name */
            sqlite3_stmt *stmt;
        } prepared[STORE_MAX_STATEMENTS];
        size_t prepared_count;
        const char *act;     /* what the next commit is for: the name of its crash points */
        bool in_transaction; /* between _begin and _end */
    } locked;
    struct tb_mutex queue_mu; /* never taken while holding mu */
    struct tb_cond queue_moved;
    struct { /* touched only while holding queue_mu: alerts that wait for a commit */
        struct tb_intake_item *first, **last;
        bool led; /* somebody is committing the batch before */
    } queue;
    struct store_checkpoints *checkpoints; /* set once; has locks of its own */
};

/* Once the schema is there; _stop before the connection is closed, without the lock. */
TB_NODISCARD enum tb_err store_checkpoints_start_locked(struct tb_store *store,
                                                        struct tb_fail *fail)
    TB_REQUIRES(store->mu);
void store_checkpoints_stop(struct store_checkpoints *checkpoints); /* NULL: nothing to do */

/* What SQLite said, as one of our errors; `doing` is the object of the sentence. */
enum tb_err store_failed_locked(struct tb_store *store, int rc, const char *doing,
                                struct tb_fail *fail) TB_REQUIRES(store->mu);

/* `act` (a literal of base/crash.c) names the commit; NULL: there is none, or none that
 * anything depends on.  Who wants the lock again and again does not overtake one who waits for
 * it. */
void store_lock(struct tb_store *store, const char *act) TB_ACQUIRE(store->mu);

/* BEGIN IMMEDIATE; _end commits when `err` is TB_OK, else rolls back and passes `err` on. */
TB_NODISCARD enum tb_err store_begin_locked(struct tb_store *store, struct tb_fail *fail)
    TB_REQUIRES(store->mu);
TB_NODISCARD enum tb_err store_end_locked(struct tb_store *store, enum tb_err err,
                                          struct tb_fail *fail) TB_REQUIRES(store->mu);

/* Rolls back what is open, if anything is. */
void store_undo_locked(struct tb_store *store) TB_REQUIRES(store->mu);

/* One use of a prepared statement: open, bind in order, step, read in order, close; all of it
 * while holding the lock under which it was opened. */
struct store_query {
    struct tb_store *store;
    sqlite3_stmt *stmt;
    const char *sql;
    int next; /* parameter to bind, or column to read */
    int rc;   /* first failure of a bind */
    bool odd; /* a column held something nobody wrote */
};

/* `sql` is a string literal. */
TB_NODISCARD enum tb_err store_open_locked(struct tb_store *store, const char *sql,
                                           struct store_query *q, struct tb_fail *fail)
    TB_REQUIRES(store->mu);
void store_close(struct store_query *q);

void store_bind_text(struct store_query *q, const char *text);
void store_bind_text_or_null(struct store_query *q, const char *text); /* "" is NULL */
void store_bind_int(struct store_query *q, int64_t value);
void store_bind_real(struct store_query *q, double value);
/* Its columns in this order: lock_mode, retention_ns, legal_hold, sse, kms_key, storage_class,
 * tags. */
void store_bind_storage(struct store_query *q, const struct tb_storage *s);
void store_bind_blob(struct store_query *q, struct tb_bytes bytes);

/* *out_row tells whether there is a row; columns are then read from the first. */
TB_NODISCARD enum tb_err store_step_locked(struct store_query *q, bool *out_row,
                                           struct tb_fail *fail);
/* Binds are done: runs a statement that gives no rows, closes it, tells how many rows changed
 * (out_changed may be NULL). */
TB_NODISCARD enum tb_err store_run_locked(struct store_query *q, int *out_changed,
                                          struct tb_fail *fail);

void store_text(struct store_query *q, char *out, size_t cap); /* NULL reads as "" */
int64_t store_int(struct store_query *q);
double store_real(struct store_query *q);
struct tb_bytes store_blob(struct store_query *q); /* lent until the next step */
/* After the columns of a row: TB_EFORMAT when one was odd. */
TB_NODISCARD enum tb_err store_row_check(const struct store_query *q, struct tb_fail *fail);

/* SQL: nanoseconds until the deadline of the row of `captures` at hand (store.c). */
#define STORE_LEFT_NS "left_ns(deadline_utc_ns, deadline_boot_ns, deadline_boot_id)"

/* Of capture_sources AS lost: its capture does not mirror it, and tries no more. */
#define STORE_IS_LOST " AND lost.gap <> '' AND NOT lost.armed"

/* A growing array of results. */
struct store_list {
    void *at;
    size_t count, cap, item_bytes;
};
/* Room for one more, zeroed; NULL without memory. */
void *store_list_add(struct store_list *list);

/* Captures that together cover what a request asks for; none when something is not covered. */
struct store_joins {
    char ids[TB_CAPTURE_MAX_SOURCES][TB_CAPTURE_ID_SIZE];
    size_t count;
};
TB_NODISCARD enum tb_err store_find_joins_locked(struct tb_store *store,
                                                 const struct tb_capture_request *request,
                                                 struct store_joins *out, struct tb_fail *fail)
    TB_REQUIRES(store->mu);
/* The latest extension that is still asked for is what a worker brings about. */
TB_NODISCARD enum tb_err store_take_latest_ask_locked(struct tb_store *store, const char *id,
                                                      struct tb_fail *fail)
    TB_REQUIRES(store->mu);
/* The box of the capture `id` becomes as long as one that begins now; 0: it stays. */
TB_NODISCARD enum tb_err
store_extend_joined_locked(struct tb_store *store, const char *id, int64_t duration_ns,
                           int64_t most_duration_ns, struct tb_fail *fail)
    TB_REQUIRES(store->mu);
/* The filter of the capture `id` lets through what `wanted` (`text`: as its column holds it)
 * does, too. */
TB_NODISCARD enum tb_err store_widen_joined_locked(struct tb_store *store, const char *id,
                                                   const struct tb_filter *wanted,
                                                   const char *text, struct tb_fail *fail)
    TB_REQUIRES(store->mu);
/* The alerts of `id` join the captures that its gaps name. */
TB_NODISCARD enum tb_err store_join_holders_locked(struct tb_store *store, const char *id,
                                                   int64_t most_duration_ns,
                                                   struct tb_fail *fail) TB_REQUIRES(store->mu);

/* What became of one alert. */
struct store_taken {
    enum tb_intake_outcome outcome;
    char capture_id[TB_CAPTURE_ID_SIZE];
    struct store_joins joins; /* the first is capture_id */
};

struct tb_intake_prepared {
    struct tb_sha256 body;
    const char *parsed, *filter; /* columns of `alerts`; in: */
    char texts[];
};

/* Of an alert that is prepared, inside a transaction; a failure leaves it to the caller to undo
 * what was done. */
TB_NODISCARD enum tb_err store_take_in_locked(struct tb_store *store,
                                              const struct tb_intake *intake,
                                              struct store_taken *out, struct tb_fail *fail)
    TB_REQUIRES(store->mu);

/* TB_ENOTFOUND, or TB_ESTATE: "capture X is <state>, <wanted>". */
enum tb_err store_tell_state_locked(struct tb_store *store, const char *id, const char *wanted,
                                    struct tb_fail *fail) TB_REQUIRES(store->mu);
TB_NODISCARD enum tb_err store_capture_get_locked(struct tb_store *store, const char *id,
                                                  struct tb_capture *out, struct tb_fail *fail)
    TB_REQUIRES(store->mu);
/* Appends a filter as its column holds it. */
TB_NODISCARD enum tb_err store_filter_text(const struct tb_filter *filter, struct tb_buf *out,
                                           struct tb_fail *fail);
TB_NODISCARD enum tb_err store_capture_exists_locked(struct tb_store *store, const char *id,
                                                     struct tb_fail *fail)
    TB_REQUIRES(store->mu);

/* Adds an entry inside the caller's transaction; `detail` is taken over, and may be NULL. */
TB_NODISCARD enum tb_err store_custody_add_locked(struct tb_store *store, const char *log_id,
                                                  const char *act, const struct tb_actor *by,
                                                  struct tb_json *detail, struct tb_fail *fail)
    TB_REQUIRES(store->mu);
TB_NODISCARD enum tb_err store_custody_head_locked(struct tb_store *store, const char *log_id,
                                                   struct tb_custody_head *out,
                                                   struct tb_fail *fail) TB_REQUIRES(store->mu);
/* The host's log; made when there is none.  Inside a transaction. */
TB_NODISCARD enum tb_err store_host_log_locked(struct tb_store *store,
                                               char out_id[TB_CAPTURE_ID_SIZE],
                                               struct tb_fail *fail) TB_REQUIRES(store->mu);
/* store_custody_add_locked to it. */
TB_NODISCARD enum tb_err store_host_note_locked(struct tb_store *store, const char *act,
                                                const struct tb_actor *by,
                                                struct tb_json *detail, struct tb_fail *fail)
    TB_REQUIRES(store->mu);
enum {
    STORE_LEDGER_MAX_BYTES = 4096 /* fourteen counters by name, and whose they are */
};
/* As a JSON object; `more` (taken over, may be NULL) has members besides. */
TB_NODISCARD enum tb_err store_write_ledger(const struct tb_ledger *ledger,
                                            struct tb_json *more, struct tb_buf *out,
                                            struct tb_fail *fail);
void store_ledger_of_json(const struct tb_json *json, struct tb_ledger *out);
/* Reads a column of exactly 32 octets. */
void store_sha256(struct store_query *q, uint8_t out[TB_SHA256_SIZE]);
/* An object's member, or nothing when the text is "". */
void store_set_text(struct tb_json *object, const char *key, const char *text);
void store_set_sha256(struct tb_json *object, const char *key, const uint8_t *octets);

#endif
