/* Captures: the steps from state to state, and what is noted on the way. */
#include "store_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/json.h>

/* What a change that touched no row found instead. */
enum tb_err
store_tell_state_locked(struct tb_store *store, const char *id, const char *wanted,
                        struct tb_fail *fail)
{
    struct store_query q;
    bool row = false;
    char state[32] = "";
    enum tb_err err =
        store_open_locked(store, "SELECT state FROM captures WHERE id = ?", &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, id);
    err = store_step_locked(&q, &row, fail);
    if (err == TB_OK && row) {
        store_text(&q, state, sizeof(state));
    }
    store_close(&q);
    if (err != TB_OK) {
        return err;
    }
    if (!row) {
        return tb_fail_set(fail, TB_ENOTFOUND, "there is no capture %s", id);
    }
    return tb_fail_set(fail, TB_ESTATE, "capture %s is %s, %s", id, state, wanted);
}

/* Not the step to sealed: the log's end is in S3 by then, and the manifest says the same. */
static enum tb_err
note_state_locked(struct tb_store *store, const char *id, enum tb_capture_state from,
                  enum tb_capture_state to, enum tb_stop_reason stop_reason,
                  struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct tb_json *detail;

    if (to == TB_CAPTURE_SEALED) {
        return TB_OK;
    }
    detail = tb_json_object();
    tb_json_set_str(detail, "from", tb_capture_state_name(from));
    tb_json_set_str(detail, "to", tb_capture_state_name(to));
    if (stop_reason != TB_STOP_NONE) {
        tb_json_set_str(detail, "reason", tb_stop_reason_name(stop_reason));
    }
    return store_custody_add_locked(store, id, "state", NULL, detail, fail);
}

/* A capture that ends without evidence leaves no log in S3: the host's log says why it ended,
 * and fixes how far its own had come. */
static enum tb_err
note_end_locked(struct tb_store *store, const char *id, enum tb_capture_state to,
                struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct tb_capture *capture = calloc(1, sizeof(*capture));
    struct tb_custody_head head;
    struct tb_json *detail;
    enum tb_err err = capture == NULL ? tb_fail_set(fail, TB_ENOMEM, "no memory for a capture")
                                      : store_capture_get_locked(store, id, capture, fail);

    if (err == TB_OK) {
        err = store_custody_head_locked(store, id, &head, fail);
    }
    if (err == TB_OK) {
        detail = tb_json_object();
        tb_json_set_str(detail, "capture", id);
        tb_json_set_str(detail, "state", tb_capture_state_name(to));
        store_set_text(detail, "code", capture->error_code);
        store_set_text(detail, "text", capture->error_text);
        store_set_text(detail, "rule", capture->request.rule);
        tb_json_set_int(detail, "entries", head.number);
        store_set_sha256(detail, "head", head.sha256.octets);
        err = store_host_note_locked(store, "capture_ended", NULL, detail, fail);
    }
    free(capture);
    return err;
}

static enum tb_err
move_locked(struct tb_store *store, const char *id, enum tb_capture_state from,
            enum tb_capture_state to, enum tb_stop_reason stop_reason, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    int changed = 0;
    enum tb_err err = store_open_locked(
        store,
        "UPDATE captures SET state = ?1, due_steady_ns = ?2, attempt = 0,"
        " stop_reason = CASE WHEN ?3 THEN ?4 ELSE stop_reason END,"
        " recording_utc_ns = CASE WHEN ?5 THEN ?8 ELSE recording_utc_ns END,"
        " recording_steady_ns = CASE WHEN ?5 THEN ?2 ELSE recording_steady_ns END,"
        " stopped_utc_ns = CASE WHEN ?6 AND recording_utc_ns <> 0 THEN ?8"
        "  ELSE stopped_utc_ns END,"
        " stopped_steady_ns = CASE WHEN ?6 AND recording_utc_ns <> 0 THEN ?2"
        "  ELSE stopped_steady_ns END,"
        " ended_utc_ns = CASE WHEN ?7 THEN ?8 ELSE ended_utc_ns END,"
        " ended_steady_ns = CASE WHEN ?7 THEN ?2 ELSE ended_steady_ns END,"
        " error_code = CASE error_final WHEN 1 THEN error_code ELSE '' END,"
        " error_text = CASE error_final WHEN 1 THEN error_text ELSE '' END,"
        " error_request_id = CASE error_final WHEN 1 THEN error_request_id ELSE '' END"
        " WHERE id = ?9 AND state = ?10",
        &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, tb_capture_state_name(to));
        store_bind_int(&q, tb_store_steady_ns(store));
        store_bind_int(&q, stop_reason != TB_STOP_NONE);
        store_bind_text(&q, tb_stop_reason_name(stop_reason));
        store_bind_int(&q, to == TB_CAPTURE_RECORDING);
        store_bind_int(&q, from == TB_CAPTURE_DRAINING); /* its sessions are gone */
        store_bind_int(&q, tb_capture_state_is_final(to));
        store_bind_int(&q, tb_clock_utc_ns());
        store_bind_text(&q, id);
        store_bind_text(&q, tb_capture_state_name(from));
        err = store_run_locked(&q, &changed, fail);
    }
    if (err == TB_OK && changed == 0) {
        char wanted[48];

        (void)snprintf(wanted, sizeof(wanted), "not %s any more", tb_capture_state_name(from));
        err = store_tell_state_locked(store, id, wanted, fail);
    }
    if (err == TB_OK) {
        err = note_state_locked(store, id, from, to, stop_reason, fail);
    }
    if (err == TB_OK && (to == TB_CAPTURE_REFUSED || to == TB_CAPTURE_FAILED)) {
        err = note_end_locked(store, id, to, fail);
    }
    return err;
}

enum tb_err
tb_store_capture_move(struct tb_store *store, const char *id, enum tb_capture_state from,
                      enum tb_capture_state to, enum tb_stop_reason stop_reason,
                      struct tb_fail *fail)
{
    enum tb_err err;

    if (!tb_capture_may_follow(from, to)) {
        return tb_fail_set(fail, TB_ESTATE, "capture %s: %s may not follow %s", id,
                           tb_capture_state_name(to), tb_capture_state_name(from));
    }
    store_lock(store, "capture_move");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = move_locked(store, id, from, to, stop_reason, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

/* Binds the id and runs an update of one capture. */
static enum tb_err
update_locked(struct store_query *q, const char *id, struct tb_fail *fail)
{
    int changed = 0;
    enum tb_err err;

    store_bind_text(q, id);
    err = store_run_locked(q, &changed, fail);
    if (err == TB_OK && changed == 0) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "there is no capture %s", id);
    }
    return err;
}

static enum tb_err
deadline_locked(struct tb_store *store, const char *id, const struct tb_deadline *deadline,
                struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    char time[TB_TIME_TEXT_SIZE];
    struct tb_json *detail;
    struct store_query q;
    enum tb_err err =
        store_open_locked(store,
                          "UPDATE captures SET deadline_utc_ns = ?, deadline_boot_ns = ?,"
                          " deadline_boot_id = ? WHERE id = ?",
                          &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_int(&q, deadline->utc_ns);
    store_bind_int(&q, deadline->boot_ns);
    store_bind_text(&q, deadline->boot_id);
    err = update_locked(&q, id, fail);
    if (err != TB_OK) {
        return err;
    }
    detail = tb_json_object();
    tb_time_format_ns(time, deadline->utc_ns);
    tb_json_set_str(detail, "deadline", time);
    return store_custody_add_locked(store, id, "deadline", NULL, detail, fail);
}

enum tb_err
tb_store_capture_deadline(struct tb_store *store, const char *id,
                          const struct tb_deadline *deadline, struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, "capture_deadline");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = deadline_locked(store, id, deadline, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_capture_later(struct tb_store *store, const char *id, int64_t due_steady_ns,
                       const struct tb_fail *failed, struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err;

    store_lock(store, "capture_later");
    if (failed == NULL) {
        err = store_open_locked(
            store, "UPDATE captures SET due_steady_ns = ?, attempt = 0 WHERE id = ?", &q, fail);
        if (err == TB_OK) {
            store_bind_int(&q, due_steady_ns);
        }
    } else {
        err = store_open_locked(
            store,
            "UPDATE captures SET due_steady_ns = ?, attempt = attempt + 1,"
            " error_code = CASE error_final WHEN 1 THEN error_code ELSE ? END,"
            " error_text = CASE error_final WHEN 1 THEN error_text ELSE ? END,"
            " error_request_id = CASE error_final WHEN 1 THEN error_request_id ELSE ? END"
            " WHERE id = ?",
            &q, fail);
        if (err == TB_OK) {
            store_bind_int(&q, due_steady_ns);
            store_bind_text(&q, failed->code[0] != 0 ? failed->code : tb_err_name(failed->err));
            store_bind_text(&q, failed->text);
            store_bind_text(&q, failed->request_id);
        }
    }
    if (err == TB_OK) {
        err = update_locked(&q, id, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_capture_error(struct tb_store *store, const char *id, const struct tb_fail *error,
                       struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err;

    store_lock(store, "capture_error");
    err = store_open_locked(store,
                            "UPDATE captures SET error_code = ?, error_text = ?,"
                            " error_request_id = ?, error_final = 1 WHERE id = ?",
                            &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, error->code[0] != 0 ? error->code : tb_err_name(error->err));
        store_bind_text(&q, error->text);
        store_bind_text(&q, error->request_id);
        err = update_locked(&q, id, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_capture_decided(struct tb_store *store, const char *id,
                         const struct tb_capture_request *r, struct tb_fail *fail)
{
    struct tb_buf filter = TB_BUF_INIT(TB_FILTER_JSON_MAX_BYTES);
    struct store_query q;
    enum tb_err err = store_filter_text(&r->filter, &filter, fail);

    if (err != TB_OK) {
        return err;
    }
    store_lock(store, "capture_decided");
    err = store_open_locked(
        store,
        "UPDATE captures SET undecided = 0, duration_ns = ?, filter = ?,"
        " snaplen = ?, max_bytes = ?, max_packets = ?, bpf = ?, packet_length = ?, rule = ?,"
        " primary_only = ?, priority = ?, lock_mode = ?, retention_ns = ?,"
        " legal_hold = ?, sse = ?, kms_key = ?, storage_class = ?,"
        " tags = ? WHERE id = ?",
        &q, fail);
    if (err == TB_OK) {
        store_bind_int(&q, r->duration_ns);
        store_bind_text(&q, tb_buf_str(&filter));
        store_bind_int(&q, r->snaplen);
        store_bind_int(&q, (int64_t)r->max_bytes);
        store_bind_int(&q, (int64_t)r->max_packets);
        store_bind_text(&q, r->bpf);
        store_bind_int(&q, r->packet_length);
        store_bind_text(&q, r->rule);
        store_bind_int(&q, r->primary_only);
        store_bind_int(&q, r->priority);
        store_bind_storage(&q, &r->storage);
        err = update_locked(&q, id, fail);
    }
    tb_mutex_unlock(&store->mu);
    tb_buf_release(&filter);
    return err;
}

enum tb_err
tb_store_capture_filter_made(struct tb_store *store, const char *id,
                             const struct tb_filter *filter, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_FILTER_JSON_MAX_BYTES);
    struct store_query q;
    enum tb_err err = store_filter_text(filter, &text, fail);

    if (err != TB_OK) {
        return err;
    }
    store_lock(store, "capture_filter_made");
    err =
        store_open_locked(store, "UPDATE captures SET filter_made = ? WHERE id = ?", &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, tb_buf_str(&text));
        err = update_locked(&q, id, fail);
    }
    tb_mutex_unlock(&store->mu);
    tb_buf_release(&text);
    return err;
}

enum tb_err
tb_store_capture_news_read(struct tb_store *store, const char *id, struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err;

    store_lock(store, "capture_news_read");
    err =
        store_open_locked(store, "UPDATE captures SET source_news = 0 WHERE id = ?", &q, fail);
    if (err == TB_OK) {
        err = update_locked(&q, id, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

static enum tb_err
ask_stop_locked(struct tb_store *store, const char *id, enum tb_stop_reason reason,
                const struct tb_actor *by, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct tb_json *detail;
    struct store_query q;
    int changed = 0;
    /* who asks again changes nothing: the first reason is the reason */
    enum tb_err err = store_open_locked(
        store,
        "UPDATE captures SET stop_reason = CASE stop_asked WHEN 1 THEN stop_reason ELSE ? END,"
        " stop_asked = 1, due_steady_ns = min(due_steady_ns, ?)"
        " WHERE id = ? AND state IN ('requested', 'planned', 'arming', 'recording')",
        &q, fail);

    if (err == TB_OK) {
        store_bind_text(&q, tb_stop_reason_name(reason));
        store_bind_int(&q, tb_store_steady_ns(store));
        store_bind_text(&q, id);
        err = store_run_locked(&q, &changed, fail);
    }
    if (err == TB_OK && changed == 0) {
        err = store_tell_state_locked(store, id, "there is nothing left to stop", fail);
    }
    if (err != TB_OK) {
        return err;
    }
    detail = tb_json_object();
    tb_json_set_str(detail, "reason", tb_stop_reason_name(reason));
    return store_custody_add_locked(store, id, "stop_asked", by, detail, fail);
}

enum tb_err
tb_store_capture_ask_stop(struct tb_store *store, const char *id, enum tb_stop_reason reason,
                          const struct tb_actor *by, struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, "capture_ask_stop");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = ask_stop_locked(store, id, reason, by, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_capture_ledger(struct tb_store *store, const char *id, const struct tb_ledger *ledger,
                        struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(STORE_LEDGER_MAX_BYTES);
    struct store_query q;
    enum tb_err err = store_write_ledger(ledger, NULL, &text, fail);

    if (err != TB_OK) {
        goto out;
    }
    store_lock(store, "capture_ledger");
    err = store_open_locked(store, "UPDATE captures SET ledger = ? WHERE id = ?", &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, tb_buf_str(&text));
        err = update_locked(&q, id, fail);
    }
    tb_mutex_unlock(&store->mu);
out:
    tb_buf_release(&text);
    return err;
}
