/* The time box of a capture: who may begin when there is room, and longer boxes. */
#include "store_int.h"

/* Those that have a place, and of them those of the same account (?3 is what "" stands for). */
#define RUNNING "c.state IN ('planned', 'arming', 'recording', 'draining')"
#define OF_ACCOUNT                                                                             \
    " AND ifnull(nullif(c.account, ''), ?3) = ifnull(nullif(captures.account, ''), ?3)"

static enum tb_err
admit_locked(struct tb_store *store, const char *id, const struct tb_places *places,
             bool *out_admitted, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct tb_json *detail;
    struct store_query q;
    int changed = 0;
    /* counted and moved in one statement: two workers cannot both take the last place */
    enum tb_err err = store_open_locked(
        store,
        "UPDATE captures SET state = 'planned', due_steady_ns = ?1, attempt = 0,"
        " error_code = '', error_text = '', error_request_id = ''"
        " WHERE id = ?2 AND state = 'requested' AND stop_asked = 0"
        " AND ?4 > (SELECT count(*) FROM captures AS c WHERE " RUNNING ")"
        " AND (?5 = 0 OR ?5 > (SELECT count(*) FROM captures AS c WHERE " RUNNING OF_ACCOUNT
        "))"
        " AND ?6 >= (SELECT count(*) FROM captures AS c JOIN capture_sources AS s"
        "  ON s.capture_id = c.id AND (s.gap = '' OR s.armed)"
        "  WHERE c.id = ?2 OR (" RUNNING OF_ACCOUNT "))",
        &q, fail);

    if (err == TB_OK) {
        store_bind_int(&q, tb_store_steady_ns(store));
        store_bind_text(&q, id);
        store_bind_text(&q, places->own_account);
        store_bind_int(&q, places->captures);
        store_bind_int(&q, places->captures_of_account);
        store_bind_int(&q, places->sessions_of_account);
        err = store_run_locked(&q, &changed, fail);
    }
    *out_admitted = changed > 0;
    if (err != TB_OK || changed == 0) {
        return err;
    }
    detail = tb_json_object();
    tb_json_set_str(detail, "from", tb_capture_state_name(TB_CAPTURE_REQUESTED));
    tb_json_set_str(detail, "to", tb_capture_state_name(TB_CAPTURE_PLANNED));
    return store_custody_add_locked(store, id, "state", NULL, detail, fail);
}

/* An interface that another capture taps is that capture's: here it becomes a named gap. */
static enum tb_err
leave_taken_locked(struct tb_store *store, const char *id, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store,
        "UPDATE capture_sources AS mine SET vni = 0, gap = 'it is being captured by ' || "
        "other.capture_id"
        " FROM capture_sources AS other JOIN captures AS c ON c.id = other.capture_id"
        " WHERE mine.capture_id = ? AND mine.gap = '' AND other.eni = mine.eni"
        " AND (other.gap = '' OR other.armed) AND other.capture_id <> mine.capture_id"
        " AND c.state IN ('planned', 'arming', 'recording') AND c.stop_asked = 0"
        " AND (c.deadline_utc_ns = 0"
        "      OR left_ns(c.deadline_utc_ns, c.deadline_boot_ns, c.deadline_boot_id) > 0)",
        &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, id);
    return store_run_locked(&q, NULL, fail);
}

static enum tb_err
has_source_locked(struct tb_store *store, const char *id, bool *out, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store, "SELECT 1 FROM capture_sources WHERE capture_id = ? AND gap = '' LIMIT 1", &q,
        fail);

    if (err == TB_OK) {
        store_bind_text(&q, id);
        err = store_step_locked(&q, out, fail);
        store_close(&q);
    }
    return err;
}

static enum tb_err
place_locked(struct tb_store *store, const char *id, const struct tb_places *places,
             enum tb_admission *out_admission, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    bool has_source = false;
    bool admitted = false;
    enum tb_err err = leave_taken_locked(store, id, fail);

    if (err == TB_OK) {
        err = has_source_locked(store, id, &has_source, fail);
    }
    if (err == TB_OK && has_source) {
        err = admit_locked(store, id, places, &admitted, fail);
    }
    if (err == TB_OK && (admitted || !has_source)) {
        err = store_join_holders_locked(store, id, places->most_duration_ns, fail);
    }
    *out_admission = !has_source ? TB_ADMISSION_NOTHING_LEFT
                     : admitted  ? TB_ADMISSION_GRANTED
                                 : TB_ADMISSION_FULL;
    return err;
}

enum tb_err
tb_store_capture_admit(struct tb_store *store, const char *id, const struct tb_places *places,
                       enum tb_admission *out_admission, struct tb_fail *fail)
{
    enum tb_admission admission = TB_ADMISSION_FULL;
    enum tb_err err;

    store_lock(store, "capture_admit");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = place_locked(store, id, places, &admission, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    if (err == TB_OK) {
        *out_admission = admission;
    }
    return err;
}

enum tb_err
tb_store_usage_since(struct tb_store *store, int64_t since_utc_ns, struct tb_store_usage *out,
                     struct tb_fail *fail)
{
    struct tb_store_usage used = {0};
    struct store_query q;
    bool row = false;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_open_locked(
        store,
        "SELECT coalesce(sum(CASE WHEN state IN ('planned', 'arming', 'recording')"
        " THEN max(duration_ns, max(deadline_utc_ns, extend_to_utc_ns)"
        "  - ifnull(nullif(recording_utc_ns, 0), ?2))"
        " WHEN recording_utc_ns > 0" /* while it drains, its sessions are there until now */
        " THEN max(coalesce(nullif(stopped_steady_ns, 0), nullif(ended_steady_ns, 0), ?3)"
        "  - recording_steady_ns, 0)"
        " ELSE 0 END), 0),"
        " coalesce(sum(json_extract(ledger, '$.written_bytes')), 0)"
        " FROM captures WHERE recording_utc_ns >= ?1"
        " OR (recording_utc_ns = 0 AND state IN ('planned', 'arming'))",
        &q, fail);
    if (err == TB_OK) {
        store_bind_int(&q, since_utc_ns);
        store_bind_int(&q, tb_clock_utc_ns());
        store_bind_int(&q, tb_store_steady_ns(store));
        err = store_step_locked(&q, &row, fail);
        used.duration_ns = row ? store_int(&q) : 0;
        used.bytes = row ? (uint64_t)store_int(&q) : 0;
        store_close(&q);
    }
    tb_mutex_unlock(&store->mu);
    if (err == TB_OK) {
        *out = used;
    }
    return err;
}

static enum tb_err
note_deadline_locked(struct tb_store *store, const char *id, const char *act,
                     const struct tb_actor *by, int64_t deadline_utc_ns, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct tb_json *detail = tb_json_object();
    char time[TB_TIME_TEXT_SIZE];

    tb_time_format_ns(time, deadline_utc_ns);
    tb_json_set_str(detail, "deadline", time);
    return store_custody_add_locked(store, id, act, by, detail, fail);
}

enum tb_err
store_take_latest_ask_locked(struct tb_store *store, const char *id, struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store,
        "UPDATE captures SET extend_to_utc_ns = coalesce((SELECT max(to_utc_ns) FROM extensions"
        " WHERE capture_id = captures.id), 0) WHERE id = ?",
        &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, id);
    return store_run_locked(&q, NULL, fail);
}

static enum tb_err
ask_extend_locked(struct tb_store *store, const char *id, int64_t to_utc_ns,
                  const struct tb_actor *by, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    int changed = 0;
    enum tb_err err =
        store_open_locked(store,
                          "UPDATE captures SET due_steady_ns = min(due_steady_ns, ?)"
                          " WHERE id = ? AND state IN ('arming', 'recording')"
                          " AND stop_asked = 0 AND " STORE_LEFT_NS " > 0",
                          &q, fail);

    if (err == TB_OK) {
        store_bind_int(&q, tb_store_steady_ns(store));
        store_bind_text(&q, id);
        err = store_run_locked(&q, &changed, fail);
    }
    if (err == TB_OK && changed == 0) {
        err = store_tell_state_locked(store, id, "it cannot be extended", fail);
    }
    if (err == TB_OK) {
        err = store_open_locked(
            store, "INSERT INTO extensions (capture_id, to_utc_ns) VALUES (?, ?)", &q, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, id);
    store_bind_int(&q, to_utc_ns);
    err = store_run_locked(&q, NULL, fail);
    if (err == TB_OK) {
        err = store_take_latest_ask_locked(store, id, fail);
    }
    return err == TB_OK ? note_deadline_locked(store, id, "extend_asked", by, to_utc_ns, fail)
                        : err;
}

enum tb_err
tb_store_capture_ask_extend(struct tb_store *store, const char *id, int64_t to_utc_ns,
                            const struct tb_actor *by, struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, "capture_ask_extend");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = ask_extend_locked(store, id, to_utc_ns, by, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

/* Runs a DELETE of the capture's asks (?1) with a time (?2), and sees what is left. */
static enum tb_err
take_back(struct tb_store *store, const char *sql, const char *id, int64_t to_utc_ns,
          int *out_changed, struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err;

    store_lock(store, "capture_withdraw_extend");
    err = store_begin_locked(store, fail);
    if (err != TB_OK) {
        goto out;
    }
    err = store_open_locked(store, sql, &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, id);
        store_bind_int(&q, to_utc_ns);
        err = store_run_locked(&q, out_changed, fail);
    }
    if (err == TB_OK) {
        err = store_take_latest_ask_locked(store, id, fail);
    }
    err = store_end_locked(store, err, fail);

out:
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_capture_withdraw_extend(struct tb_store *store, const char *id, int64_t to_utc_ns,
                                 bool *out_withdrawn, struct tb_fail *fail)
{
    int changed = 0;
    enum tb_err err =
        take_back(store,
                  "DELETE FROM extensions WHERE id = (SELECT min(id) FROM extensions"
                  " WHERE capture_id = ?1 AND to_utc_ns = ?2 AND joined = 0)",
                  id, to_utc_ns, &changed, fail);

    if (err == TB_OK) {
        *out_withdrawn = changed > 0;
    }
    return err;
}

enum tb_err
tb_store_capture_refuse_extend(struct tb_store *store, const char *id, int64_t to_utc_ns,
                               struct tb_fail *fail)
{
    return take_back(store, "DELETE FROM extensions WHERE capture_id = ?1 AND to_utc_ns <= ?2",
                     id, to_utc_ns, NULL, fail);
}

/* The AWS objects of the capture expire as much later, by AWS's clock; before the deadline is
 * changed. */
static enum tb_err
extend_resources_locked(struct tb_store *store, const char *id, int64_t deadline_utc_ns,
                        struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store,
        "UPDATE resources SET expires_utc_s = expires_utc_s"
        " + (?1 - (SELECT deadline_utc_ns FROM captures WHERE id = ?2)) / 1000000000"
        " WHERE capture_id = ?2 AND state <> 'gone' AND expires_utc_s <> 0",
        &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_int(&q, deadline_utc_ns);
    store_bind_text(&q, id);
    return store_run_locked(&q, NULL, fail);
}

/* What was asked for and has come about; deadlines are whole seconds. */
static enum tb_err
settle_asks_locked(struct tb_store *store, const char *id, int64_t deadline_utc_ns,
                   struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store, "DELETE FROM extensions WHERE capture_id = ? AND to_utc_ns < ?", &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, id);
    store_bind_int(&q, deadline_utc_ns + TB_NS_PER_S);
    err = store_run_locked(&q, NULL, fail);
    return err == TB_OK ? store_take_latest_ask_locked(store, id, fail) : err;
}

enum tb_err
tb_store_capture_extended(struct tb_store *store, const char *id,
                          const struct tb_deadline *deadline, struct tb_fail *fail)
{
    struct store_query q;
    int changed = 0;
    enum tb_err err;

    store_lock(store, "capture_extended");
    err = store_begin_locked(store, fail);
    if (err != TB_OK) {
        goto out;
    }
    err = extend_resources_locked(store, id, deadline->utc_ns, fail);
    if (err == TB_OK) {
        err = store_open_locked(
            store,
            "UPDATE captures SET deadline_utc_ns = ?, deadline_boot_ns = ?,"
            " deadline_boot_id = ? WHERE id = ? AND state = 'recording' AND stop_asked = 0"
            " AND extend_to_utc_ns >= ?1" /* it may have been withdrawn */
            " AND " STORE_LEFT_NS " > 0", /* its sessions may be gone */
            &q, fail);
    }
    if (err == TB_OK) {
        store_bind_int(&q, deadline->utc_ns);
        store_bind_int(&q, deadline->boot_ns);
        store_bind_text(&q, deadline->boot_id);
        store_bind_text(&q, id);
        err = store_run_locked(&q, &changed, fail);
    }
    if (err == TB_OK && changed == 0) {
        err = store_tell_state_locked(store, id, "it cannot be extended", fail);
    }
    if (err == TB_OK) {
        err = settle_asks_locked(store, id, deadline->utc_ns, fail);
    }
    if (err == TB_OK) {
        err = note_deadline_locked(store, id, "deadline", NULL, deadline->utc_ns, fail);
    }
    err = store_end_locked(store, err, fail);

out:
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_capture_recount(struct tb_store *store, const char *id,
                         const struct tb_deadline *deadline, struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err;

    store_lock(store, NULL); /* lost in a crash, it is counted again */
    err =
        store_open_locked(store,
                          "UPDATE captures SET deadline_boot_ns = ?1, deadline_boot_id = ?2"
                          " WHERE id = ?3 AND deadline_utc_ns = ?4 AND deadline_boot_id <> ?2",
                          &q, fail);
    if (err == TB_OK) {
        store_bind_int(&q, deadline->boot_ns);
        store_bind_text(&q, deadline->boot_id);
        store_bind_text(&q, id);
        store_bind_int(&q, deadline->utc_ns);
        err = store_run_locked(&q, NULL, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}
