/*
 * Threads: `threads` uploaders.  Each waits on `more` (or the scan period), takes the oldest
 * segment nobody else has taken, sends it, and only then removes the local file.  The first of
 * them also looks for new segments in the spool, for what custody logs have got since their
 * captures were sealed, and after a start for uploads that a service before has left behind.
 * One more, "salvage" (unreadable.c), saves what can be read of segments that the disk does not
 * give.
 */
#include "uploader_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/evidence.h>
#include <tapbox/ids.h>
#include <tapbox/io.h>
#include <tapbox/log.h>
#include <tapbox/spool.h>

enum {
    /* in trouble, that are remembered (14 MiB); one that is forgotten is tried sooner */
    OFF_MAX = 65536,
    OFF_FIRST = 64, /* room; doubled when full */
    /* of the list of those that are not to be taken now */
    WITHOUT_MAX_BYTES =
        (OFF_MAX + UPLOAD_MAX_THREADS) * (TB_CAPTURE_ID_SIZE + TB_SPOOL_NAME_SIZE + 4),
    CUSTODY_LOGS = 64, /* brought on in one go */
    CUSTODY_LOGS_MAX = 65536
};
static const int64_t custody_period_ns =
    10 * TB_NS_PER_S; /* acts after sealing gather this long */
static const int64_t host_log_period_ns = 30 * TB_NS_PER_S; /* alerts without a capture, too */
static const int64_t backoff_first_ns = TB_NS_PER_S / 4;
static const int64_t unreadable_first_ns = TB_NS_PER_S / 2;
static const int64_t stale_ns =
    3600 * TB_NS_PER_S; /* due since then: it is not there any more */

bool
upload_is_stopping(struct tb_uploader *up)
{
    bool stopping;

    tb_mutex_lock(&up->mu);
    stopping = up->locked.stopping;
    tb_mutex_unlock(&up->mu);
    return stopping;
}

bool
upload_wait_for_more(struct tb_uploader *up)
{
    bool stopping;

    tb_mutex_lock(&up->mu);
    if (!up->locked.stopping) {
        (void)tb_cond_wait_for(&up->more, &up->mu, upload_scan_period_ns);
    }
    stopping = up->locked.stopping;
    tb_mutex_unlock(&up->mu);
    return !stopping;
}

void
upload_count_bytes(struct tb_uploader *up, uint64_t bytes)
{
    atomic_fetch_add(&up->counts.bytes, bytes);
}

/* Somebody has removed the file before S3 had it: that is told, and holds up nothing else. */
static enum tb_err
give_up_lost(struct tb_uploader *up, const struct tb_segment_row *row, struct tb_fail *fail)
{
    enum tb_err err = upload_abort_parts(&up->deps, row, fail);

    if (err == TB_OK) {
        err = tb_store_segment_lost(up->deps.store, row->capture_id, row->name, fail);
    }
    if (err == TB_OK) {
        atomic_fetch_add(&up->counts.lost, 1);
        tb_log(TB_LOG_ERROR, row->capture_id,
               "lost %s: it was removed from the spool before S3 had it; packets=%llu",
               row->name, (unsigned long long)row->packets);
    }
    return err;
}

/* S3 has it: the store says so, and from then on the local copy is not needed. */
enum tb_err
upload_acknowledge(struct tb_uploader *up, struct tb_segment_row *row,
                   const struct tb_s3_ack *ack, struct tb_fail *fail)
{
    enum tb_err err;

    (void)tb_str_copy(row->s3_version, sizeof(row->s3_version), ack->version);
    (void)tb_str_copy(row->s3_request_id, sizeof(row->s3_request_id), ack->request_id);
    (void)tb_str_copy(row->s3_sse, sizeof(row->s3_sse), ack->sse);
    (void)tb_str_copy(row->s3_kms_key, sizeof(row->s3_kms_key), ack->kms_key);
    row->uploaded_utc_ns = tb_clock_utc_ns();
    row->state = TB_SEGMENT_UPLOADED;
    err = tb_store_segment_uploaded(up->deps.store, row, fail);
    if (err != TB_OK) {
        return err;
    }
    atomic_fetch_add(&up->counts.segments, 1);
    upload_say_added(ack, row->capture_id, row->name);
    tb_log(TB_LOG_INFO, row->capture_id, "uploaded %s bytes=%llu packets=%llu", row->name,
           (unsigned long long)row->bytes, (unsigned long long)row->packets);
    err = tb_spool_remove(up->deps.spool_fd, row->capture_id, row->name, fail);
    if (err == TB_OK) {
        err = tb_store_segment_local_gone(up->deps.store, row->capture_id, row->name, fail);
    }
    return err;
}

static enum tb_err
upload_segment(struct tb_uploader *up, struct tb_segment_row *row, struct tb_fail *fail)
{
    struct tb_s3_put put = {
        .content_type = "application/zstd", .body_fd = -1, .never_replace = true};
    struct tb_capture *capture = malloc(sizeof(*capture));
    struct tb_s3_posture posture;
    struct tb_s3_ack ack;
    char name[TB_SPOOL_NAME_SIZE + 16];
    enum tb_err err;

    err = capture == NULL
              ? tb_fail_set(fail, TB_ENOMEM, "no memory for a capture")
              : tb_store_capture_get(up->deps.store, row->capture_id, capture, fail);
    if (err != TB_OK) {
        goto out;
    }
    posture = tb_upload_posture(&up->deps.bucket.posture, &capture->request.storage);
    put.posture = &posture;
    (void)snprintf(name, sizeof(name), "segments/%s", row->name);
    err = tb_spool_open(up->deps.spool_fd, row->capture_id, row->name, &put.body_fd, fail);
    if (err == TB_ENOTFOUND) {
        err = give_up_lost(up, row, fail);
        goto out;
    }
    if (err != TB_OK) {
        goto out;
    }
    put.bytes = row->bytes;
    memcpy(put.sha256.octets, row->sha256, sizeof(put.sha256.octets));
    err = upload_key(up->deps.prefix, row->capture_id, name, row->s3_key, fail);
    if (err != TB_OK) {
        goto out;
    }
    put.key = row->s3_key;
    if (row->bytes > up->deps.part_above_bytes) {
        err = upload_in_parts(up, &up->deps, row, &put, &ack, fail);
    } else {
        err = tb_s3_put(up->deps.aws, &up->deps.bucket, &put, &ack, fail);
        if (err == TB_OK) {
            upload_count_bytes(up, row->bytes);
        }
    }
    if (err != TB_OK) {
        goto out;
    }
    err = upload_acknowledge(up, row, &ack, fail);

out:
    tb_close(&put.body_fd);
    free(capture);
    return err;
}

bool
upload_is_taken(struct tb_uploader *up, const char *capture_id, const char *name)
{
    bool taken = false;

    tb_mutex_lock(&up->mu);
    for (unsigned i = 0; i < up->deps.threads && !taken; i++) {
        taken = strcmp(up->locked.taken[i].name, name) == 0 &&
                strcmp(up->locked.taken[i].capture_id, capture_id) == 0;
    }
    tb_mutex_unlock(&up->mu);
    return taken;
}

static struct put_off *
find_put_off_locked(struct tb_uploader *up, const char *capture_id, const char *name)
    TB_REQUIRES(up->mu)
{
    for (size_t i = 0; i < up->locked.off_count; i++) {
        struct put_off *off = &up->locked.off[i];

        if (off->pause_ns != 0 && strcmp(off->what.name, name) == 0 &&
            strcmp(off->what.capture_id, capture_id) == 0) {
            return off;
        }
    }
    return NULL;
}

/* A place that is free, or that nobody needs any more, or a new one; where there are no more,
 * that of the one that is due first.  NULL: no memory. */
static struct put_off *
place_of_put_off_locked(struct tb_uploader *up) TB_REQUIRES(up->mu)
{
    int64_t stale_boot_ns = tb_clock_boot_ns() - stale_ns;
    struct put_off *first = NULL;

    for (size_t i = 0; i < up->locked.off_count; i++) {
        struct put_off *off = &up->locked.off[i];

        if (off->pause_ns == 0 || off->until_boot_ns < stale_boot_ns) {
            return off;
        }
        first = first == NULL || off->until_boot_ns < first->until_boot_ns ? off : first;
    }
    if (up->locked.off_count == up->locked.off_cap && up->locked.off_cap < OFF_MAX) {
        size_t cap = up->locked.off_cap == 0 ? OFF_FIRST : 2 * up->locked.off_cap;
        struct put_off *more = realloc(up->locked.off, cap * sizeof(*more));

        if (more != NULL) {
            up->locked.off = more;
            up->locked.off_cap = cap;
        }
    }
    return up->locked.off_count < up->locked.off_cap ? &up->locked.off[up->locked.off_count++]
                                                     : first;
}

/* For `first_ns`, and for twice as long each time that it did not help. */
void
upload_put_off_locked(struct tb_uploader *up, const char *capture_id, const char *name,
                      int64_t first_ns)
{
    struct put_off *off = find_put_off_locked(up, capture_id, name);

    if (off == NULL) {
        off = place_of_put_off_locked(up);
        if (off == NULL) {
            return; /* it is tried sooner */
        }
        *off = (struct put_off){.pause_ns = 0};
        (void)tb_str_copy(off->what.capture_id, sizeof(off->what.capture_id), capture_id);
        (void)tb_str_copy(off->what.name, sizeof(off->what.name), name);
    }
    off->pause_ns = off->pause_ns == 0 ? first_ns : off->pause_ns * 2;
    if (off->pause_ns > upload_backoff_most_ns) {
        off->pause_ns = upload_backoff_most_ns;
    }
    off->until_boot_ns = tb_clock_boot_ns() + off->pause_ns;
}

void
upload_forget_put_off_locked(struct tb_uploader *up, const char *capture_id, const char *name)
{
    struct put_off *off = find_put_off_locked(up, capture_id, name);

    if (off != NULL) {
        off->pause_ns = 0;
    }
}

/* What somebody has in hand, or is put off (`is_fresh`: also what may be tried again now): ids
 * and names are letters, digits, dots, dashes. */
static void
name_without_locked(const struct tb_uploader *up, bool is_fresh, struct tb_buf *out)
    TB_REQUIRES(up->mu)
{
    int64_t now_ns = is_fresh ? 0 : tb_clock_boot_ns();

    tb_buf_printf(out, "[\"\"");
    for (unsigned i = 0; i < up->deps.threads; i++) {
        const struct taken *taken = &up->locked.taken[i];

        if (taken->name[0] != 0) {
            tb_buf_printf(out, ",\"%s/%s\"", taken->capture_id, taken->name);
        }
    }
    for (size_t i = 0; i < up->locked.off_count; i++) {
        const struct put_off *off = &up->locked.off[i];

        if (off->pause_ns != 0 && off->until_boot_ns > now_ns) {
            tb_buf_printf(out, ",\"%s%s%s\"", off->what.capture_id,
                          off->what.name[0] != 0 ? "/" : "", off->what.name);
        }
    }
    tb_buf_printf(out, "]");
}

/* The oldest segment nobody has; *out_count 0: there is none. */
static void
find_oldest_locked(struct tb_uploader *up, bool is_fresh, struct tb_segment_row **out,
                   size_t *out_count) TB_REQUIRES(up->mu)
{
    struct tb_buf without = TB_BUF_INIT(WITHOUT_MAX_BYTES);
    struct tb_fail fail;
    enum tb_err err;

    name_without_locked(up, is_fresh, &without);
    err = tb_buf_check(&without, "what is not to be uploaded now", &fail);
    if (err == TB_OK) {
        err = tb_store_segment_backlog(up->deps.store, tb_buf_str(&without), 1, out, out_count,
                                       &fail);
    }
    if (err != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, NULL, &fail, "cannot read the upload backlog");
        *out_count = 0;
    }
    tb_buf_release(&without);
}

/* False when there is none or a pause is on.  Every other time, one goes first that never
 * failed: however many others are tried again and again, they hold up no other. */
static bool
take(struct tb_uploader *up, unsigned me, struct tb_segment_row *out)
{
    struct tb_segment_row *rows = NULL;
    struct taken *mine = &up->locked.taken[me];
    size_t count = 0;

    tb_mutex_lock(&up->mu);
    if (!up->locked.stopping && tb_clock_boot_ns() >= up->locked.not_before_boot_ns) {
        up->locked.is_turn_of_fresh = !up->locked.is_turn_of_fresh && up->locked.off_count > 0;
        if (up->locked.is_turn_of_fresh) {
            find_oldest_locked(up, true, &rows, &count);
        }
        if (count == 0) {
            find_oldest_locked(up, false, &rows, &count);
        }
    }
    if (count > 0) {
        *out = rows[0];
        (void)tb_str_copy(mine->capture_id, sizeof(mine->capture_id), out->capture_id);
        (void)tb_str_copy(mine->name, sizeof(mine->name), out->name);
    }
    tb_mutex_unlock(&up->mu);
    free(rows);
    return count > 0;
}

/* Trouble with this file (the local disk, its digest, its key), not with S3. */
static bool
is_its_own(enum tb_err err, const struct tb_fail *fail)
{
    return err == TB_EFORMAT || err == TB_EEXIST ||
           (fail->http_status == 0 && (fail->sys_errno != 0 || err == TB_ESHORT));
}

/* Times in a row; the file waits longer each time, and after so many the "salvage" thread takes
 * it. */
static void
note_unreadable_locked(struct tb_uploader *up, const char *capture_id, const char *name)
    TB_REQUIRES(up->mu)
{
    struct put_off *off;

    upload_put_off_locked(up, capture_id, name, unreadable_first_ns);
    off = find_put_off_locked(up, capture_id, name);
    if (off != NULL && ++off->unreadable >= UPLOAD_UNREADABLE_TRIES) {
        tb_cond_broadcast(&up->more);
    }
}

static void
note_unreadable(struct tb_uploader *up, const char *capture_id, const char *name)
{
    tb_mutex_lock(&up->mu);
    note_unreadable_locked(up, capture_id, name);
    tb_mutex_unlock(&up->mu);
}

static bool
is_put_off(struct tb_uploader *up, const char *capture_id, const char *name)
{
    const struct put_off *off;
    bool is_off;

    tb_mutex_lock(&up->mu);
    off = find_put_off_locked(up, capture_id, name);
    is_off = off != NULL && off->until_boot_ns > tb_clock_boot_ns();
    tb_mutex_unlock(&up->mu);
    return is_off;
}

/* S3 is there and refuses: how this capture's objects are to be kept may be why. */
static bool
is_refused(enum tb_err err, const struct tb_fail *fail)
{
    return fail->http_status >= 400 && fail->http_status < 500 && !tb_err_is_retryable(err);
}

/* Gives the segment back.  After a failure of S3 everybody pauses, as there is one S3; after
 * one of the file only that file waits, and after a refusal its capture, too. */
static void
give_back(struct tb_uploader *up, unsigned me, enum tb_err err, const struct tb_fail *fail)
{
    struct taken *mine = &up->locked.taken[me];

    tb_mutex_lock(&up->mu);
    if (err == TB_OK) {
        upload_forget_put_off_locked(up, mine->capture_id, "");
        upload_forget_put_off_locked(up, mine->capture_id, mine->name);
        up->locked.backoff_ns = 0;
        up->locked.not_before_boot_ns = 0;
    } else if (err == TB_EIO && fail->http_status == 0) {
        note_unreadable_locked(up, mine->capture_id, mine->name);
    } else if (is_its_own(err, fail)) {
        upload_put_off_locked(up, mine->capture_id, mine->name, upload_backoff_most_ns);
    } else if (is_refused(err, fail)) {
        /* (the file for longer, so that another one tells whether it is the capture) */
        upload_put_off_locked(up, mine->capture_id, "", backoff_first_ns);
        upload_put_off_locked(up, mine->capture_id, mine->name, 2 * backoff_first_ns);
    } else {
        int64_t pause =
            up->locked.backoff_ns == 0 ? backoff_first_ns : up->locked.backoff_ns * 2;

        if (pause > upload_backoff_most_ns) {
            pause = upload_backoff_most_ns;
        }
        up->locked.backoff_ns = pause;
        up->locked.not_before_boot_ns = tb_clock_boot_ns() + pause;
    }
    mine->name[0] = 0;
    tb_mutex_unlock(&up->mu);
}

/* From time to time: with many captures it takes longer than an upload. */
static void
scan_all(struct tb_uploader *up, int64_t *at_boot_ns)
{
    const struct upload_watch watch = {is_put_off, note_unreadable, up};
    struct tb_spool_names captures = {0};
    struct tb_fail fail;

    if (tb_clock_boot_ns() < *at_boot_ns) {
        return;
    }
    if (tb_spool_captures(up->deps.spool_fd, &captures, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, NULL, &fail, "cannot read the spool");
        return;
    }
    for (size_t i = 0; i < captures.count; i++) {
        if (upload_scan(up->deps.store, up->deps.spool_fd, captures.at[i], &watch, &fail) !=
            TB_OK) {
            tb_log_fail(TB_LOG_ERROR, captures.at[i], &fail, "cannot enter a sealed segment");
        }
    }
    tb_spool_names_release(&captures);
    *at_boot_ns = tb_clock_boot_ns() + upload_scan_period_ns;
}

struct custody_put {
    struct tb_uploader *up;
    const char *capture_id;
    struct tb_s3_bucket bucket; /* with the posture of what it belongs to */
};

static enum tb_err
put_custody(void *arg, const char *name, const char *content_type, struct tb_bytes content,
            struct tb_fail *fail)
{
    const struct custody_put *to = arg;

    return tb_upload_object(to->up->deps.aws, &to->bucket, to->up->deps.prefix, to->capture_id,
                            name, content_type, content, fail);
}

/* The host's log goes with each manifest, and without one from time to time. */
static void
flush_host_log(struct tb_uploader *up)
{
    struct custody_put to = {up, NULL, up->deps.bucket};
    struct tb_fail fail;

    if (tb_seal_host_log(up->deps.store, up->deps.key, put_custody, &to, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail,
                    "the rest of the host's custody log is tried again soon");
    }
}

/* Kept as the rest of the capture's evidence. */
static enum tb_err
put_rest_of_custody(struct tb_uploader *up, const char *capture_id, struct tb_fail *fail)
{
    struct custody_put to = {up, capture_id, up->deps.bucket};
    struct tb_capture *capture = malloc(sizeof(*capture));
    enum tb_err err = capture == NULL
                          ? tb_fail_set(fail, TB_ENOMEM, "no memory for a capture")
                          : tb_store_capture_get(up->deps.store, capture_id, capture, fail);

    if (err == TB_OK) {
        to.bucket.posture =
            tb_upload_posture(&up->deps.bucket.posture, &capture->request.storage);
        err = tb_seal_custody(up->deps.store, up->deps.key, capture_id, put_custody, &to, fail);
    }
    free(capture);
    return err;
}

/* What happened to captures after they were sealed: some of them, another time the next ones,
 * so that those that S3 refuses hold up no other. */
static void
flush_custody(struct tb_uploader *up, size_t *turn)
{
    char(*ids)[TB_CAPTURE_ID_SIZE] = NULL;
    struct tb_fail fail;
    size_t count = 0;

    if (tb_store_custody_waiting(up->deps.store, CUSTODY_LOGS_MAX, &ids, &count, &fail) !=
        TB_OK) {
        tb_log_fail(TB_LOG_ERROR, NULL, &fail, "cannot read what custody logs have got");
        return;
    }
    for (size_t i = 0; i < count && i < CUSTODY_LOGS; i++) {
        const char *id = ids[(*turn + i) % count];
        enum tb_err err = put_rest_of_custody(up, id, &fail);

        if (err != TB_OK) {
            tb_log_fail(TB_LOG_WARN, id, &fail,
                        "the rest of the custody log is tried again soon");
        }
        if (err != TB_OK && !is_its_own(err, &fail) && !is_refused(err, &fail)) {
            break; /* S3 is one: the others would fail the same way */
        }
    }
    *turn += CUSTODY_LOGS;
    free(ids);
}

/* Once after a start; false when it is to be tried again. */
static bool
clean_up(struct tb_uploader *up)
{
    struct tb_fail fail = {0};
    enum tb_err err = upload_abort_orphans(up, &up->deps, &fail);

    if (err != TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail,
                    err == TB_EDENIED
                        ? "cannot look for uploads that were left behind; the bucket's "
                          "lifecycle rule has to remove them"
                        : "looking for uploads that were left behind is tried again soon");
    }
    return err == TB_OK || err == TB_EDENIED;
}

struct worker {
    struct tb_uploader *up;
    unsigned me;
};

static void *
run(void *arg)
{
    struct worker worker = *(struct worker *)arg;
    struct tb_uploader *up = worker.up;
    struct tb_segment_row row;
    int64_t scan_at_boot_ns = 0, later_at_boot_ns = 0;
    int64_t host_at_boot_ns = tb_clock_boot_ns() + host_log_period_ns;
    bool cleaned = false;
    size_t custody_turn = 0;

    free(arg);
    do {
        if (worker.me == 0) {
            scan_at_boot_ns = 0; /* somebody may have said that there is something */
            scan_all(up, &scan_at_boot_ns);
            if (tb_clock_boot_ns() >= later_at_boot_ns) {
                cleaned = cleaned || clean_up(up);
                flush_custody(up, &custody_turn);
                later_at_boot_ns = tb_clock_boot_ns() + custody_period_ns;
            }
            if (tb_clock_boot_ns() >= host_at_boot_ns) {
                flush_host_log(up);
                host_at_boot_ns = tb_clock_boot_ns() + host_log_period_ns;
            }
        }
        while (take(up, worker.me, &row)) {
            struct tb_fail fail = {0};
            enum tb_err err = upload_segment(up, &row, &fail);

            if (err != TB_OK) {
                atomic_fetch_add(&up->counts.failures, err == TB_ECLOSED ? 0 : 1);
                tb_log_fail(TB_LOG_WARN, row.capture_id, &fail,
                            "cannot upload %s; it stays in the spool and is tried again",
                            row.name);
            }
            give_back(up, worker.me, err, &fail);
            if (worker.me == 0) {
                scan_all(up, &scan_at_boot_ns);
            }
        }
    } while (upload_wait_for_more(up));
    return NULL;
}

enum tb_err
tb_uploader_start(const struct tb_uploader_deps *deps, struct tb_uploader **out,
                  struct tb_fail *fail)
{
    struct tb_uploader *up = calloc(1, sizeof(*up));

    if (up == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the uploader");
    }
    up->deps = *deps;
    if (up->deps.threads < 1) {
        up->deps.threads = 1;
    }
    if (up->deps.threads > UPLOAD_MAX_THREADS) {
        up->deps.threads = UPLOAD_MAX_THREADS;
    }
    tb_mutex_init(&up->mu);
    tb_cond_init(&up->more);
    for (; up->started < up->deps.threads; up->started++) {
        struct worker *worker = calloc(1, sizeof(*worker));
        enum tb_err err;

        if (worker == NULL) {
            tb_uploader_stop(up);
            return tb_fail_set(fail, TB_ENOMEM, "no memory for an uploader thread");
        }
        worker->up = up;
        worker->me = up->started;
        err = tb_thread_start(&up->threads[up->started], "upload", run, worker, fail);
        if (err != TB_OK) {
            free(worker);
            tb_uploader_stop(up);
            return err;
        }
    }
    if (tb_thread_start(&up->salvage, "salvage", upload_save_unreadable, up, fail) != TB_OK) {
        tb_uploader_stop(up);
        return fail != NULL ? fail->err : TB_ENOMEM;
    }
    up->is_salvaging = true;
    *out = up;
    return TB_OK;
}

void
tb_uploader_stop(struct tb_uploader *up)
{
    if (up == NULL) {
        return;
    }
    tb_mutex_lock(&up->mu);
    up->locked.stopping = true;
    tb_cond_broadcast(&up->more);
    tb_mutex_unlock(&up->mu);
    for (unsigned i = 0; i < up->started; i++) {
        (void)pthread_join(up->threads[i], NULL);
    }
    if (up->is_salvaging) {
        (void)pthread_join(up->salvage, NULL);
    }
    tb_cond_release(&up->more);
    tb_mutex_release(&up->mu);
    free(up->locked.off);
    free(up);
}

void
tb_uploader_wake(struct tb_uploader *up)
{
    tb_mutex_lock(&up->mu);
    tb_cond_broadcast(&up->more);
    tb_mutex_unlock(&up->mu);
}

enum tb_err
tb_uploader_numbers(struct tb_uploader *up, struct tb_uploader_numbers *out,
                    struct tb_fail *fail)
{
    int64_t left_ns;

    *out = (struct tb_uploader_numbers){.segments = atomic_load(&up->counts.segments),
                                        .bytes = atomic_load(&up->counts.bytes),
                                        .failures = atomic_load(&up->counts.failures),
                                        .lost = atomic_load(&up->counts.lost)};
    tb_mutex_lock(&up->mu);
    for (unsigned i = 0; i < up->deps.threads; i++) {
        out->busy += up->locked.taken[i].name[0] != 0 ? 1 : 0;
    }
    left_ns = up->locked.not_before_boot_ns - tb_clock_boot_ns();
    tb_mutex_unlock(&up->mu);
    out->pause_ns = left_ns > 0 ? left_ns : 0;
    return tb_store_backlog_sum(up->deps.store, &out->backlog, fail);
}
