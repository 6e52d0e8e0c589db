/* From a recording to a sealed capture: sessions away, recorder closed, evidence in S3. */
#include "control_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/evidence.h>
#include <tapbox/ids.h>
#include <tapbox/log.h>
#include <tapbox/spool.h>

/* Mirrored packets that were on their way when the session was deleted. */
static const int64_t in_flight_ns = TB_NS_PER_S;
static const int64_t poll_ns = 100 * TB_NS_PER_MS;
/* How long a recorder that does not answer is waited for before its spool is taken as it is. */
static const int64_t recorder_patience_ns = 30 * TB_NS_PER_S;

enum {
    ALERT_CEILING = TB_EVENT_MAX_BYTES,
    MANIFEST_CEILING = 64 << 20
};

static bool
is_session(const struct tb_resource *row)
{
    return row->kind == TB_RESOURCE_SESSION;
}

/* Order matters: a filter that a session uses cannot be deleted. */
static enum tb_err
delete_all(struct tb_control *control, struct tb_resource *rows, size_t count, bool sessions,
           struct tb_fail *fail)
{
    enum tb_err first = TB_OK;

    for (size_t i = 0; i < count; i++) {
        struct tb_fail why = {0};
        enum tb_err err;

        if (is_session(&rows[i]) != sessions || rows[i].state == TB_RESOURCE_GONE) {
            continue;
        }
        err = control_delete(control, &rows[i], &why);
        if (err != TB_OK) {
            tb_log_fail(TB_LOG_ERROR, rows[i].capture_id, &why,
                        "%s %s is still there and is deleted again soon",
                        tb_resource_kind_name(rows[i].kind), rows[i].aws_id);
            if (first == TB_OK) {
                first = err;
                *fail = why;
            }
        }
    }
    return first;
}

static int64_t
last_session_gone(const struct tb_resource *rows, size_t count)
{
    int64_t last = 0;

    for (size_t i = 0; i < count; i++) {
        if (is_session(&rows[i]) && rows[i].gone_utc_ns > last) {
            last = rows[i].gone_utc_ns;
        }
    }
    return last;
}

/* True when the recorder has sealed everything of it, or has been waited for long enough. */
static bool
recorder_is_done(struct tb_control *control, const struct tb_capture *capture,
                 int64_t gone_utc_ns)
{
    struct tb_record_status status = {0};
    struct tb_fail fail = {0};
    enum tb_err err = tb_recorder_disarm(control->deps.recorder, capture->id, &fail);

    if (err == TB_OK || err == TB_ENOTFOUND) {
        err = tb_recorder_status(control->deps.recorder, capture->id, &status, &fail);
    }
    if (err == TB_ENOTFOUND || (err == TB_OK && status.state == TB_RECORD_ABSENT)) {
        return true; /* never armed, or a new recorder, which repaired the spool at its start */
    }
    if (err != TB_OK) {
        int64_t waited = tb_clock_utc_ns() - gone_utc_ns;

        tb_log_fail(TB_LOG_WARN, capture->id, &fail, "the recorder cannot be closed");
        return waited > recorder_patience_ns || waited < 0;
    }
    if (tb_store_capture_ledger(control->deps.store, capture->id, &status.ledger, &fail) !=
        TB_OK) {
        tb_log_fail(TB_LOG_ERROR, capture->id, &fail, "cannot keep the ledger");
        return false;
    }
    return status.state == TB_RECORD_CLOSED;
}

enum tb_err
control_step_draining(struct tb_control *control, const struct tb_capture *capture,
                      int64_t *out_again_ns, struct tb_fail *fail)
{
    struct tb_resource *rows = NULL;
    size_t count = 0;
    int64_t gone_utc_ns;
    int64_t since;
    enum tb_err err;

    *out_again_ns = poll_ns;
    err = tb_store_resource_list(control->deps.store, capture->id, true, &rows, &count, fail);
    if (err == TB_OK) {
        err = delete_all(control, rows, count, true, fail);
    }
    if (err != TB_OK) {
        goto out;
    }
    gone_utc_ns = last_session_gone(rows, count);
    if (gone_utc_ns == 0) {
        /* deleted just now (the row's time is not read back), or there never was one */
        for (size_t i = 0; i < count; i++) {
            if (is_session(&rows[i])) {
                goto out; /* look again: the list then has the time */
            }
        }
    }
    since = tb_clock_utc_ns() - gone_utc_ns;
    if (since >= 0 && since < in_flight_ns) {
        *out_again_ns = in_flight_ns - since;
        goto out;
    }
    err = delete_all(control, rows, count, false, fail);
    if (err != TB_OK || !recorder_is_done(control, capture, gone_utc_ns)) {
        goto out;
    }
    *out_again_ns = 0;
    if (capture->stop_reason == TB_STOP_FAILURE && capture->recording_utc_ns == 0) {
        /* Nothing was ever recorded: there is no evidence to seal. */
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

/* Everything the manifest names, gathered once. */
struct seal {
    struct tb_manifest_alert *alerts;
    size_t alert_count;
    struct tb_segment_row *segments;
    size_t segment_count;
    struct tb_resource *resources;
    size_t resource_count;
    struct tb_buf sums;
};

static void
seal_release(struct seal *seal)
{
    free(seal->alerts);
    free(seal->segments);
    tb_resources_free(seal->resources, seal->resource_count);
    tb_buf_release(&seal->sums);
}

static enum tb_err
put(struct tb_control *control, const struct tb_capture *capture, const char *name,
    const char *type, struct tb_bytes body, struct tb_fail *fail)
{
    return tb_upload_object(control->deps.aws, &control->deps.bucket,
                            control->deps.config->s3_prefix, capture->id, name, type, body,
                            fail);
}

static enum tb_err
put_alert(struct tb_control *control, const struct tb_capture *capture, uint32_t number,
          struct seal *seal, struct tb_fail *fail)
{
    struct tb_manifest_alert *alert = &seal->alerts[number - 1];
    struct tb_buf body = TB_BUF_INIT(ALERT_CEILING);
    char name[32];
    enum tb_err err;

    err = tb_store_alert(control->deps.store, capture->id, number, &alert->row, &body, fail);
    if (err != TB_OK) {
        goto out;
    }
    alert->bytes = body.len;
    err = tb_sha256(tb_buf_view(&body), &alert->sha256);
    if (err != TB_OK) {
        err = tb_fail_set(fail, err, "SHA-256 of an alert failed");
        goto out;
    }
    (void)snprintf(name, sizeof(name), "alerts/%04u.json", number);
    err = put(control, capture, name, "application/json", tb_buf_view(&body), fail);
    if (err == TB_OK) {
        tb_sums_add(&seal->sums, &alert->sha256, name);
        seal->alert_count = number;
    }

out:
    tb_buf_release(&body);
    return err;
}

static enum tb_err
put_manifest(struct tb_control *control, const struct tb_capture *capture, struct seal *seal,
             struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(MANIFEST_CEILING);
    struct tb_ledger host;
    struct tb_sha256 digest;
    struct control_self self = {0};
    struct tb_manifest_input input = {
        .capture = capture,
        .alerts = seal->alerts,
        .alert_count = seal->alert_count,
        .segments = seal->segments,
        .segment_count = seal->segment_count,
        .resources = seal->resources,
        .resource_count = seal->resource_count,
        .host_name = control->host_name,
        .kernel = control->kernel,
        .account = self.account,
        .region = tb_aws_region(control->deps.aws),
        .now_utc_ns = tb_clock_utc_ns(),
    };
    enum tb_err err;

    if (control_host_since_mark(control, capture->id, &host)) {
        input.host_ledger = &host;
    }
    err = control_self_learn(control, &self, fail);
    if (err == TB_OK) {
        err = tb_manifest_build(&input, &text, fail);
    }
    if (err == TB_OK) {
        err = tb_sha256(tb_buf_view(&text), &digest);
    }
    if (err == TB_OK) {
        tb_sums_add(&seal->sums, &digest, "manifest.json");
        err = put(control, capture, "manifest.json", "application/json", tb_buf_view(&text),
                  fail);
    }
    tb_buf_release(&text);
    return err;
}

/* False while a segment waits for S3. */
static bool
all_uploaded(const struct seal *seal)
{
    for (size_t i = 0; i < seal->segment_count; i++) {
        if (seal->segments[i].state != TB_SEGMENT_UPLOADED) {
            return false;
        }
    }
    return true;
}

static enum tb_err
put_evidence(struct tb_control *control, const struct tb_capture *capture, struct seal *seal,
             struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < seal->segment_count; i++) {
        struct tb_sha256 digest;
        char name[TB_S3_KEY_SIZE];

        memcpy(digest.octets, seal->segments[i].sha256, sizeof(digest.octets));
        (void)snprintf(name, sizeof(name), "segments/%s", seal->segments[i].name);
        tb_sums_add(&seal->sums, &digest, name);
    }
    seal->alerts = calloc(capture->alert_count + 1, sizeof(*seal->alerts));
    if (seal->alerts == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the alerts of a capture");
    }
    for (uint32_t n = 1; n <= capture->alert_count && err == TB_OK; n++) {
        err = put_alert(control, capture, n, seal, fail);
    }
    if (err == TB_OK) {
        err = put_manifest(control, capture, seal, fail);
    }
    if (err == TB_OK) {
        err = tb_buf_check(&seal->sums, "SHA256SUMS", fail);
    }
    /* Last, so that a complete SHA256SUMS says that everything else is there. */
    if (err == TB_OK) {
        err = put(control, capture, "SHA256SUMS", "text/plain", tb_buf_view(&seal->sums), fail);
    }
    return err;
}

enum tb_err
control_step_sealing(struct tb_control *control, const struct tb_capture *capture,
                     int64_t *out_again_ns, struct tb_fail *fail)
{
    struct seal seal = {.sums = TB_BUF_INIT(MANIFEST_CEILING)};
    enum tb_err err;

    *out_again_ns = poll_ns;
    err = tb_upload_scan(control->deps.store, control->deps.spool_fd, capture->id, fail);
    if (err == TB_OK) {
        err = tb_store_segment_list(control->deps.store, capture->id, &seal.segments,
                                    &seal.segment_count, fail);
    }
    if (err != TB_OK) {
        goto out;
    }
    if (!all_uploaded(&seal)) {
        tb_uploader_wake(control->deps.uploader);
        goto out;
    }
    err = tb_store_resource_list(control->deps.store, capture->id, true, &seal.resources,
                                 &seal.resource_count, fail);
    if (err == TB_OK) {
        err = put_evidence(control, capture, &seal, fail);
    }
    if (err == TB_OK) {
        err = tb_spool_remove_capture(control->deps.spool_fd, capture->id, fail);
    }
    if (err == TB_OK) {
        err = tb_store_capture_move(control->deps.store, capture->id, TB_CAPTURE_SEALING,
                                    TB_CAPTURE_SEALED, TB_STOP_NONE, fail);
    }
    if (err == TB_OK) {
        control_forget(control, capture->id);
        tb_log(TB_LOG_INFO, capture->id, "sealed segments=%zu packets=%llu", seal.segment_count,
               (unsigned long long)capture->ledger.written);
    }

out:
    seal_release(&seal);
    return err;
}
