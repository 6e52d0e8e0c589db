/* From a recording to a sealed capture: sessions away, recorder closed, evidence in S3. */
#include "control_int.h"

#include <stdlib.h>

#include <tapbox/evidence.h>
#include <tapbox/ids.h>
#include <tapbox/log.h>
#include <tapbox/spool.h>

/* Mirrored packets that were on their way when the session was deleted. */
static const int64_t in_flight_ns = TB_NS_PER_S;
/* How long the summary of what was recorded is waited for; it takes a second or less. */
static const int64_t summary_patience_ns = 5 * TB_NS_PER_S;
enum {
    SUMMARY_MAX_BYTES = 8 << 20 /* tapbox/summary.h */
};
static const int64_t poll_ns = 100 * TB_NS_PER_MS;
static const int64_t metrics_poll_ns = 30 * TB_NS_PER_S; /* CloudWatch is minutes late */
/* How long a recorder that does not answer is waited for before its spool is taken as it is. */
static const int64_t recorder_patience_ns = 30 * TB_NS_PER_S;

enum {
    REMOVED_TOGETHER = TB_CAPTURE_MAX_SOURCES
};

static bool
is_session(const struct tb_resource *row)
{
    return row->kind == TB_RESOURCE_SESSION;
}

struct removal {
    struct tb_control *control;
    struct tb_resource *row;
    uint32_t attempt;
    enum tb_err err;
    struct tb_fail fail;
};

static void
remove_one(void *arg)
{
    struct removal *removal = arg;

    removal->err =
        control_delete(removal->control, removal->row, removal->attempt, &removal->fail);
}

/* So many at a time: a slow answer about one object delays no other. */
static enum tb_err
remove_together(struct removal *removals, size_t count, struct tb_fail *fail)
{
    struct control_task tasks[REMOVED_TOGETHER];
    enum tb_err first = TB_OK;

    for (size_t i = 0; i < count; i++) {
        tasks[i] = (struct control_task){remove_one, &removals[i]};
    }
    control_together(tasks, count);
    for (size_t i = 0; i < count; i++) {
        const struct tb_resource *row = removals[i].row;

        if (removals[i].err != TB_OK) {
            tb_log_fail(TB_LOG_ERROR, row->capture_id, &removals[i].fail,
                        row->aws_id[0] != 0
                            ? "%s %s is still there and is deleted again soon"
                            : "a %s%s may be there and is looked for again soon",
                        tb_resource_kind_name(row->kind), row->aws_id);
            if (first == TB_OK) {
                first = removals[i].err;
                *fail = removals[i].fail;
            }
        }
    }
    return first;
}

/* The rows that `wanted` names; the first failure is told at the end. */
static enum tb_err
delete_those(struct tb_control *control, struct tb_resource *rows, size_t count,
             bool (*wanted)(const struct tb_resource *row), uint32_t attempt,
             struct tb_fail *fail)
{
    struct removal removals[REMOVED_TOGETHER];
    enum tb_err first = TB_OK;
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        if (wanted(&rows[i]) && rows[i].state != TB_RESOURCE_GONE) {
            removals[n++] = (struct removal){control, &rows[i], attempt, TB_OK, {0}};
        }
        if (n == REMOVED_TOGETHER || (i + 1 == count && n > 0)) {
            struct tb_fail why = {0};
            enum tb_err err = remove_together(removals, n, &why);

            if (err != TB_OK && first == TB_OK) {
                first = err;
                *fail = why;
            }
            n = 0;
        }
    }
    return first;
}

static bool
is_known_session(const struct tb_resource *row)
{
    return is_session(row) && row->aws_id[0] != 0;
}

static bool
is_unknown_session(const struct tb_resource *row)
{
    return is_session(row) && row->aws_id[0] == 0;
}

enum tb_err
control_delete_known_sessions(struct tb_control *control, struct tb_resource *rows,
                              size_t count, uint32_t attempt, struct tb_fail *fail)
{
    return delete_those(control, rows, count, is_known_session, attempt, fail);
}

/* Those whose id is known first: finding out about the others takes longer. */
enum tb_err
control_delete_sessions(struct tb_control *control, struct tb_resource *rows, size_t count,
                        uint32_t attempt, struct tb_fail *fail)
{
    struct tb_fail why = {0};
    enum tb_err first = delete_those(control, rows, count, is_known_session, attempt, fail);
    enum tb_err second = delete_those(control, rows, count, is_unknown_session, attempt, &why);

    if (first == TB_OK && second != TB_OK) {
        *fail = why;
    }
    return first != TB_OK ? first : second;
}

static bool
was_ever_tapped(const struct tb_resource *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (is_known_session(&rows[i])) {
            return true;
        }
    }
    return false;
}

static int64_t
last_session_gone(const struct tb_resource *rows, size_t count)
{
    int64_t last = 0;

    for (size_t i = 0; i < count; i++) {
        if (is_session(&rows[i]) && rows[i].gone_steady_ns > last) {
            last = rows[i].gone_steady_ns;
        }
    }
    return last;
}

static enum tb_err
keep_ledger(struct tb_control *control, const struct tb_capture *capture,
            const struct tb_ledger *ledger)
{
    struct tb_fail fail = {0};
    enum tb_err err = TB_OK;

    if (memcmp(ledger, &capture->ledger, sizeof(*ledger)) != 0) {
        err = tb_store_capture_ledger(control->deps.store, capture->id, ledger, &fail);
    }
    if (err != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, capture->id, &fail, "cannot keep the ledger");
    }
    return err;
}

/* While its sessions cannot be deleted it may record for long, and its recorder end. */
static void
keep_what_is_counted(struct tb_control *control, const struct tb_capture *capture)
{
    struct tb_record_status status;
    struct tb_record_base base;
    enum tb_err err = tb_recorder_status(control->deps.recorder, capture->id, &status, NULL);

    if (err == TB_OK && status.state != TB_RECORD_ABSENT) {
        (void)keep_ledger(control, capture, &status.ledger);
    } else if (err == TB_OK || err == TB_ENOTFOUND) {
        control_record_base(control, capture, &base);
        if (base.known_utc_ns != 0) {
            (void)keep_ledger(control, capture, &base.ledger);
        }
    }
}

/* True when the recorder has sealed everything of it, or has been waited for long enough. */
static bool
recorder_is_done(struct tb_control *control, const struct tb_capture *capture,
                 int64_t gone_steady_ns)
{
    struct tb_record_status status = {0};
    struct tb_fail fail = {0};
    enum tb_err err = tb_recorder_disarm(control->deps.recorder, capture->id, &fail);

    if (err == TB_OK || err == TB_ENOTFOUND) {
        err = tb_recorder_status(control->deps.recorder, capture->id, &status, &fail);
    }
    if (err == TB_ENOTFOUND || (err == TB_OK && status.state == TB_RECORD_ABSENT)) {
        struct tb_record_base base;

        /* Never armed, or a new recorder, which repairs the spool: sealing waits for that. */
        control_record_base(control, capture, &base);
        if (base.known_utc_ns == 0) {
            return true;
        }
        tb_log(TB_LOG_WARN, capture->id, "its recorder ended before it was closed");
        if (keep_ledger(control, capture, &base.ledger) != TB_OK) {
            return false;
        }
        control_note_gap(control, capture->id, &base);
        return true;
    }
    if (err != TB_OK) {
        int64_t waited = tb_store_steady_ns(control->deps.store) - gone_steady_ns;

        tb_log_fail(TB_LOG_WARN, capture->id, &fail, "the recorder cannot be closed");
        return waited > recorder_patience_ns || waited < 0;
    }
    if (keep_ledger(control, capture, &status.ledger) != TB_OK) {
        return false;
    }
    if (status.state == TB_RECORD_CLOSED) {
        control_close_host(control, capture->id);
    }
    return status.state == TB_RECORD_CLOSED;
}

enum tb_err
control_step_draining(struct tb_control *control, const struct tb_capture *capture,
                      int64_t *out_again_ns, struct tb_fail *fail)
{
    struct tb_resource *rows = NULL;
    size_t count = 0;
    int64_t gone_steady_ns;
    int64_t since;
    enum tb_err err;

    *out_again_ns = poll_ns;
    err = tb_store_resource_list(control->deps.store, capture->id, true, &rows, &count, fail);
    if (err == TB_OK) {
        err = control_delete_sessions(control, rows, count, capture->attempt, fail);
    }
    if (err != TB_OK) {
        keep_what_is_counted(control, capture);
        goto out;
    }
    gone_steady_ns = last_session_gone(rows, count);
    since = tb_store_steady_ns(control->deps.store) - gone_steady_ns;
    if (since >= 0 && since < in_flight_ns) {
        *out_again_ns = in_flight_ns - since;
        goto out;
    }
    /* Order matters: a filter that a session uses cannot be deleted. */
    err = control_delete_own_filter(control, rows, count, capture->attempt, fail);
    if (err != TB_OK || !recorder_is_done(control, capture, gone_steady_ns)) {
        goto out;
    }
    *out_again_ns = 0;
    if (!was_ever_tapped(rows, count) && capture->stop_reason != TB_STOP_OPERATOR) {
        /* No session was ever there: there is no evidence to seal, and the reason stays. */
        err = tb_store_capture_move(control->deps.store, capture->id, TB_CAPTURE_DRAINING,
                                    TB_CAPTURE_FAILED, TB_STOP_NONE, fail);
        control_forget(control, capture->id);
    } else {
        err = tb_store_capture_move(control->deps.store, capture->id, TB_CAPTURE_DRAINING,
                                    TB_CAPTURE_SEALING, TB_STOP_NONE, fail);
    }

out:
    tb_resources_free(rows, count);
    return err;
}

/* --- sealing --- */

/* Or lost, which the manifest tells. */
static bool
all_uploaded(const struct tb_segment_row *segments, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (segments[i].state != TB_SEGMENT_UPLOADED && !tb_segment_is_lost(&segments[i])) {
            return false;
        }
    }
    return true;
}

struct seal_put {
    struct tb_control *control;
    const char *capture_id;
    struct tb_s3_bucket bucket; /* kept as its policy says */
};

static enum tb_err
put(void *arg, const char *name, const char *content_type, struct tb_bytes content,
    struct tb_fail *fail)
{
    const struct seal_put *to = arg;
    const struct tb_control_deps *deps = &to->control->deps;
    /* what lies beside the captures is of none, and kept as configured */
    const struct tb_s3_bucket *bucket = name[0] == '/' ? &deps->bucket : &to->bucket;

    return tb_upload_object(deps->aws, bucket, deps->config->s3_prefix, to->capture_id, name,
                            content_type, content, fail);
}

static struct tb_manifest_storage
storage_of(const struct tb_s3_posture *posture)
{
    return (struct tb_manifest_storage){.sse = posture->sse,
                                        .kms_key = posture->kms_key,
                                        .lock_mode = posture->lock_mode,
                                        .storage_class = posture->storage_class,
                                        .tags = posture->tags,
                                        .retention_s = posture->retention_s,
                                        .legal_hold = posture->legal_hold};
}

/* Everything besides the segments, which are in S3 already.  *out_early: CloudWatch is waited
 * for. */
static enum tb_err
put_evidence(struct tb_control *control, const struct tb_capture *capture,
             const struct tb_segment_row *segments, size_t segment_count, bool *out_early,
             struct tb_fail *fail)
{
    struct tb_manifest_skips skips[TB_CAPTURE_MAX_SOURCES];
    struct seal_put to = {control, capture->id, control->deps.bucket};
    struct tb_resource *resources = NULL;
    char account[TB_ACCOUNT_SIZE] = "";
    struct tb_buf document = TB_BUF_INIT(TB_IMDS_ANSWER_MAX_BYTES);
    struct tb_buf rsa2048 = TB_BUF_INIT(TB_IMDS_ANSWER_MAX_BYTES);
    struct tb_clock_state clock;
    struct tb_ledger host = {0};
    bool known = false;
    struct tb_seal seal = {.store = control->deps.store,
                           .key = control->deps.key,
                           .put = put,
                           .arg = &to,
                           .input = {.capture = capture,
                                     .segments = segments,
                                     .segment_count = segment_count,
                                     .host_name = control->host_name,
                                     .kernel = control->kernel,
                                     .account = account,
                                     .region = tb_aws_region(control->deps.aws),
                                     .skips = skips,
                                     .now_utc_ns = tb_clock_utc_ns()}};
    enum tb_err err;

    to.bucket.posture = tb_upload_posture(&to.bucket.posture, &capture->request.storage);
    seal.input.storage = storage_of(&to.bucket.posture);
    *out_early = !control_skips_get(control, capture, skips, &seal.input.skip_count);
    if (*out_early) {
        return TB_OK;
    }
    if (tb_clock_state_get(&clock)) {
        seal.input.clock = &clock;
    }
    /* outside EC2 there is none, and the manifest says so */
    if (tb_aws_identity_document(control->deps.aws, &document, &rsa2048, NULL) == TB_OK) {
        seal.input.identity_document = tb_buf_view(&document);
        seal.input.identity_rsa2048 = tb_buf_view(&rsa2048);
    }
    err = control_account_learn(control, account, fail);
    if (err == TB_OK) {
        err = tb_store_resource_list(control->deps.store, capture->id, true, &resources,
                                     &seal.input.resource_count, fail);
        seal.input.resources = resources;
    }
    if (err == TB_OK) {
        err = tb_store_host_ledger_get(control->deps.store, capture->id, &host, &known, fail);
        seal.input.host_ledger = known ? &host : NULL;
    }
    if (err == TB_OK) {
        err = tb_upload_keys(control->deps.store, control->deps.aws, &control->deps.bucket,
                             control->deps.config->s3_prefix, fail);
    }
    if (err == TB_OK) {
        err = tb_seal(&seal, fail);
    }
    tb_resources_free(resources, seal.input.resource_count);
    tb_buf_release(&document);
    tb_buf_release(&rsa2048);
    return err;
}

/* True when the summary was kept, or has been waited for: without it evidence is evidence, too.
 */
static bool
summary_is_there(struct tb_control *control, const struct tb_capture *capture)
{
    struct tb_buf text = TB_BUF_INIT(SUMMARY_MAX_BYTES);
    enum tb_err err = tb_store_summary_get(control->deps.store, capture->id, &text, NULL);
    int64_t waited = tb_store_steady_ns(control->deps.store) - capture->stopped_steady_ns;

    tb_buf_release(&text);
    return err != TB_ENOTFOUND || waited > summary_patience_ns || waited < 0;
}

enum tb_err
control_step_sealing(struct tb_control *control, const struct tb_capture *capture,
                     int64_t *out_again_ns, struct tb_fail *fail)
{
    struct tb_segment_row *segments = NULL;
    size_t segment_count = 0;
    bool is_early = false;
    enum tb_err err;

    *out_again_ns = poll_ns;
    err = tb_upload_scan(control->deps.store, control->deps.spool_fd, capture->id, fail);
    if (err == TB_OK) {
        err = tb_store_segment_list(control->deps.store, capture->id, &segments, &segment_count,
                                    fail);
    }
    if (err != TB_OK) {
        goto out;
    }
    if (!all_uploaded(segments, segment_count)) {
        tb_uploader_wake(control->deps.uploader);
        goto out;
    }
    if (!summary_is_there(control, capture)) {
        goto out;
    }
    /* A folder that is not empty holds a segment that a recorder has yet to seal or repair: the
     * manifest is made of all there is, or not yet. */
    err = tb_spool_remove_capture(control->deps.spool_fd, capture->id, fail);
    if (err == TB_OK) {
        err = put_evidence(control, capture, segments, segment_count, &is_early, fail);
    }
    if (err == TB_OK && is_early) {
        *out_again_ns = metrics_poll_ns;
        goto out;
    }
    if (err == TB_OK) {
        err = tb_store_capture_move(control->deps.store, capture->id, TB_CAPTURE_SEALING,
                                    TB_CAPTURE_SEALED, TB_STOP_NONE, fail);
    }
    if (err == TB_OK) {
        control_forget(control, capture->id);
        tb_log(TB_LOG_INFO, capture->id, "sealed segments=%zu packets=%llu", segment_count,
               (unsigned long long)capture->ledger.written);
    }

out:
    free(segments);
    return err;
}
