/* Alerts: what becomes of one of them, inside a transaction that commits.c opens for several.
 */
#include "store_int.h"

#include <assert.h>

#include <tapbox/ids.h>

enum {
    ID_ATTEMPTS = 4, /* capture ids of one second differ in 32 random bits */
};

/* *out_found with the capture ("" : it was ignored) when this key was here before. */
static enum tb_err
find_key_locked(struct tb_store *store, const struct tb_intake *intake, struct store_taken *out,
                bool *out_found, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store, "SELECT capture_id FROM alerts WHERE adapter = ? AND key = ?", &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, intake->adapter);
    store_bind_text(&q, intake->key);
    err = store_step_locked(&q, out_found, fail);
    if (err == TB_OK && *out_found) {
        out->outcome = TB_INTAKE_DUPLICATE;
        store_text(&q, out->capture_id, sizeof(out->capture_id));
    }
    store_close(&q);
    return err;
}

static enum tb_err
insert_capture_locked(struct tb_store *store, const char *id, const struct tb_intake *intake,
                      int64_t now, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    const struct tb_capture_request *r = intake->capture;
    int64_t steady_ns = tb_store_steady_ns(store);
    struct store_query q;
    enum tb_err err = store_open_locked(
        store,
        "INSERT INTO captures (id, state, instance, account, region, duration_ns, filter,"
        " snaplen, max_bytes, max_packets, bpf, reason, case_id, finding_id, finding_type, "
        "severity,"
        " requested_by, requested_utc_ns, requested_steady_ns, due_steady_ns, packet_length, "
        "rule, undecided,"
        " primary_only, priority, lock_mode, retention_ns, legal_hold, sse, kms_key,"
        " storage_class, tags)"
        " VALUES (?, 'requested', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
        "?,"
        " ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        &q, fail);

    if (err == TB_OK) {
        store_bind_text(&q, id);
        store_bind_text(&q, r->instance);
        store_bind_text(&q, r->account);
        store_bind_text(&q, r->region);
        store_bind_int(&q, r->duration_ns);
        store_bind_text(&q, intake->prepared->filter);
        store_bind_int(&q, r->snaplen);
        store_bind_int(&q, (int64_t)r->max_bytes);
        store_bind_int(&q, (int64_t)r->max_packets);
        store_bind_text(&q, r->bpf);
        store_bind_text(&q, r->reason);
        store_bind_text(&q, r->case_id);
        store_bind_text(&q, r->finding_id);
        store_bind_text(&q, r->finding_type);
        store_bind_real(&q, r->severity);
        store_bind_text(&q, r->requested_by);
        store_bind_int(&q, now);
        store_bind_int(&q, steady_ns);
        store_bind_int(&q, steady_ns);
        store_bind_int(&q, r->packet_length);
        store_bind_text(&q, r->rule);
        store_bind_int(&q, r->undecided);
        store_bind_int(&q, r->primary_only);
        store_bind_int(&q, r->priority);
        store_bind_storage(&q, &r->storage);
        err = store_run_locked(&q, NULL, fail);
    }
    return err;
}

static enum tb_err
insert_eni_locked(struct tb_store *store, const char *id, size_t position, const char *eni,
                  struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store, "INSERT INTO capture_enis (capture_id, position, eni) VALUES (?, ?, ?)", &q,
        fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, id);
    store_bind_int(&q, (int64_t)position);
    store_bind_text(&q, eni);
    return store_run_locked(&q, NULL, fail);
}

static enum tb_err
new_id_locked(struct tb_store *store, int64_t utc_ns, char out[TB_CAPTURE_ID_SIZE],
              struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    for (int i = 0; i < ID_ATTEMPTS; i++) {
        enum tb_err err = tb_capture_id_new(out, utc_ns / TB_NS_PER_S);

        if (err != TB_OK) {
            return tb_fail_set(fail, err, "cannot make a capture id");
        }
        err = store_capture_exists_locked(store, out, fail);
        if (err != TB_OK) {
            return err == TB_ENOTFOUND ? TB_OK : err;
        }
    }
    return tb_fail_set(fail, TB_EINTERNAL, "%d capture ids in a row are taken", ID_ATTEMPTS);
}

static enum tb_err
create_locked(struct tb_store *store, const struct tb_intake *intake,
              char out[TB_CAPTURE_ID_SIZE], struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    const struct tb_capture_request *r = intake->capture;
    int64_t now = tb_clock_utc_ns();
    enum tb_err err = new_id_locked(store, now, out, fail);

    if (err == TB_OK) {
        err = insert_capture_locked(store, out, intake, now, fail);
    }
    for (size_t i = 0; i < r->eni_count && err == TB_OK; i++) {
        err = insert_eni_locked(store, out, i, r->enis[i], fail);
    }
    return err;
}

/* The number of the next alert of a capture; 0 when it has as many as evidence can name. */
static enum tb_err
next_number_locked(struct tb_store *store, const char *capture_id, int64_t *out,
                   struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    bool row = false;
    enum tb_err err = store_open_locked(
        store, "SELECT coalesce(max(number), 0) + 1 FROM alerts WHERE capture_id = ?", &q,
        fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, capture_id);
    err = store_step_locked(&q, &row, fail);
    if (err == TB_OK) {
        *out = row ? store_int(&q) : 1;
    }
    store_close(&q);
    if (err == TB_OK && *out > TB_CAPTURE_MAX_ALERTS) {
        *out = 0;
    }
    return err;
}

static enum tb_err
insert_alert_locked(struct tb_store *store, const struct tb_intake *intake,
                    const struct store_taken *taken, int64_t number, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    static const char *const outcomes[TB_INTAKE_OUTCOME_COUNT] = {
        [TB_INTAKE_CREATED] = "created", [TB_INTAKE_JOINED] = "joined",
        [TB_INTAKE_IGNORED] = "ignored", [TB_INTAKE_COOLING] = "ignored",
        [TB_INTAKE_REFUSED] = "refused", [TB_INTAKE_NOTED] = "noted"};
    const struct tb_capture_request *r = intake->capture;
    struct store_query q;
    enum tb_err err = store_open_locked(
        store,
        "INSERT INTO alerts (adapter, key, outcome, capture_id, number, reason,"
        " content_type, remote, token_name, received_utc_ns, body, sender_id, parsed,"
        " rule, filter) VALUES (?, ?, ?, ?, nullif(?, 0), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        &q, fail);

    if (err == TB_OK) {
        store_bind_text(&q, intake->adapter);
        store_bind_text_or_null(&q, intake->key);
        store_bind_text(&q, outcomes[taken->outcome]);
        /* what cools down is no evidence of the capture before it */
        store_bind_text_or_null(&q,
                                taken->outcome == TB_INTAKE_COOLING ? "" : taken->capture_id);
        store_bind_int(&q, number);
        store_bind_text(&q, intake->decision_reason);
        store_bind_text(&q, intake->content_type);
        store_bind_text(&q, intake->remote);
        store_bind_text(&q, intake->token_name);
        store_bind_int(&q, intake->received_utc_ns);
        store_bind_blob(&q, intake->body);
        store_bind_text(&q, intake->alert != NULL ? intake->alert->id : "");
        store_bind_text(&q, intake->prepared->parsed);
        store_bind_text(&q, r != NULL ? r->rule : "");
        store_bind_text(&q, intake->prepared->filter);
        err = store_run_locked(&q, NULL, fail);
    }
    return err;
}

/* The last capture of this finding that tapped the instance, or the interface, and stopped or
 * ended less than the cooldown ago. */
static enum tb_err
find_cooling_source_locked(struct tb_store *store, const struct tb_intake *intake,
                           const char *instance, const char *eni, char out[TB_CAPTURE_ID_SIZE],
                           bool *out_found, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store,
        "SELECT id FROM captures WHERE finding_id = ?1"
        /* sealing waits for CloudWatch and S3, for hours perhaps */
        " AND ((state IN ('sealing', 'sealed')"
        "   AND max(stopped_steady_ns, ended_steady_ns) > ?2)"
        "  OR (state = 'draining' AND recording_utc_ns <> 0))"
        " AND ((?3 <> '' AND (instance = ?3 OR EXISTS (SELECT 1 FROM capture_sources AS s"
        "   WHERE s.capture_id = captures.id AND s.instance = ?3)))"
        "  OR (?4 <> '' AND (EXISTS (SELECT 1 FROM capture_enis AS e"
        "   WHERE e.capture_id = captures.id AND e.eni = ?4)"
        "   OR EXISTS (SELECT 1 FROM capture_sources AS s"
        "   WHERE s.capture_id = captures.id AND s.eni = ?4))))"
        " ORDER BY number DESC LIMIT 1",
        &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, intake->capture->finding_id);
    store_bind_int(&q, tb_store_steady_ns(store) - intake->cooldown_ns);
    store_bind_text(&q, instance);
    store_bind_text(&q, eni);
    err = store_step_locked(&q, out_found, fail);
    if (err == TB_OK && *out_found) {
        store_text(&q, out, TB_CAPTURE_ID_SIZE);
    }
    store_close(&q);
    return err;
}

/* An attack sequence is one finding of many instances, and more come to it: what was not
 * captured does not cool. */
static enum tb_err
find_cooling_locked(struct tb_store *store, const struct tb_intake *intake,
                    char out[TB_CAPTURE_ID_SIZE], bool *out_found, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    const struct tb_capture_request *r = intake->capture;
    enum tb_err err = TB_OK;

    *out_found = false;
    if (intake->cooldown_ns == 0 || r->finding_id[0] == 0) {
        return TB_OK;
    }
    if (r->instance[0] != 0) {
        return find_cooling_source_locked(store, intake, r->instance, "", out, out_found, fail);
    }
    for (size_t i = 0; i < r->eni_count && err == TB_OK && (i == 0 || *out_found); i++) {
        err = find_cooling_source_locked(store, intake, "", r->enis[i], out, out_found, fail);
    }
    return err;
}

/* What becomes of an alert that asks for a capture. */
static enum tb_err
place_locked(struct tb_store *store, const struct tb_intake *intake, struct store_taken *out,
             struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    bool found = false;
    enum tb_err err = store_find_joins_locked(store, intake->capture, &out->joins, fail);

    if (err == TB_OK && out->joins.count > 0) {
        memcpy(out->capture_id, out->joins.ids[0], sizeof(out->capture_id));
        out->outcome = TB_INTAKE_JOINED;
        err = store_widen_joined_locked(store, out->capture_id, &intake->capture->filter,
                                        intake->prepared->filter, fail);
        return err != TB_OK ? err
                            : store_extend_joined_locked(store, out->capture_id,
                                                         intake->capture->duration_ns,
                                                         intake->most_duration_ns, fail);
    }
    if (err == TB_OK) {
        err = find_cooling_locked(store, intake, out->capture_id, &found, fail);
    }
    if (err == TB_OK && found) {
        out->outcome = TB_INTAKE_COOLING;
    } else if (err == TB_OK) {
        out->outcome = TB_INTAKE_CREATED;
        err = create_locked(store, intake, out->capture_id, fail);
    }
    return err;
}

/* A capture that taps the instance of the news, in the order of arrival; "" past the last. */
static enum tb_err
next_told_locked(struct tb_store *store, const char *instance, int64_t *after,
                 char out[TB_CAPTURE_ID_SIZE], struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    bool row = false;
    enum tb_err err =
        store_open_locked(store,
                          "SELECT id, number FROM captures WHERE number > ?2"
                          " AND state IN ('planned', 'arming', 'recording') AND id IN"
                          " (SELECT capture_id FROM capture_sources WHERE instance = ?1"
                          "   AND (gap = '' OR armed))"
                          " ORDER BY number LIMIT 1",
                          &q, fail);

    out[0] = 0;
    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, instance);
    store_bind_int(&q, *after);
    err = store_step_locked(&q, &row, fail);
    if (err == TB_OK && row) {
        store_text(&q, out, TB_CAPTURE_ID_SIZE);
        *after = store_int(&q);
    }
    store_close(&q);
    return err;
}

static enum tb_err
tell_capture_locked(struct tb_store *store, const struct tb_intake *intake, const char *id,
                    struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct tb_actor by = {.who = intake->token_name, .from = intake->remote};
    struct tb_json *detail;
    struct store_query q;
    enum tb_err err = store_open_locked(
        store,
        "UPDATE captures SET source_news = 1, due_steady_ns = min(due_steady_ns, ?1)"
        " WHERE id = ?2 AND ?3 NOT IN ('pending', 'running')",
        &q, fail);

    if (err == TB_OK) {
        store_bind_int(&q, tb_store_steady_ns(store));
        store_bind_text(&q, id);
        store_bind_text(&q, intake->alert->instance_state);
        err = store_run_locked(&q, NULL, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    detail = tb_json_object();
    tb_json_set_str(detail, "instance", intake->alert->sources[0].instance);
    tb_json_set_str(detail, "state", intake->alert->instance_state);
    return store_custody_add_locked(store, id, "source_state", &by, detail, fail);
}

/* News ends nothing by itself: a worker asks EC2 at once, whose answer does. */
static enum tb_err
tell_captures_locked(struct tb_store *store, const struct tb_intake *intake,
                     struct store_taken *out, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    char id[TB_CAPTURE_ID_SIZE];
    int64_t after = 0;
    enum tb_err err;

    out->outcome = TB_INTAKE_NOTED;
    while ((err = next_told_locked(store, intake->alert->sources[0].instance, &after, id,
                                   fail)) == TB_OK &&
           id[0] != 0) {
        if (out->capture_id[0] == 0) {
            memcpy(out->capture_id, id, sizeof(id));
        }
        err = tell_capture_locked(store, intake, id, fail);
        if (err != TB_OK) {
            break;
        }
    }
    return err;
}

/* What both logs say of an alert; the caller owns it. */
static struct tb_json *
describe_alert(const struct tb_intake *intake, const struct store_taken *taken)
{
    static const char *const decisions[TB_INTAKE_OUTCOME_COUNT] = {
        [TB_INTAKE_CREATED] = "capture", [TB_INTAKE_JOINED] = "joined",
        [TB_INTAKE_IGNORED] = "ignored", [TB_INTAKE_COOLING] = "cooling",
        [TB_INTAKE_REFUSED] = "refused", [TB_INTAKE_NOTED] = "noted",
        [TB_INTAKE_DUPLICATE] = "replay"};
    struct tb_json *detail = tb_json_object();
    char received[TB_TIME_TEXT_SIZE];

    tb_time_format_ns(received, intake->received_utc_ns);
    tb_json_set_str(detail, "adapter", intake->adapter);
    store_set_text(detail, "key", intake->key);
    tb_json_set_str(detail, "decision", decisions[taken->outcome]);
    store_set_text(detail, "reason", intake->decision_reason);
    tb_json_set_str(detail, "received", received);
    store_set_sha256(detail, "sha256", intake->prepared->body.octets);
    return detail;
}

static enum tb_err
note_alert_locked(struct tb_store *store, const struct tb_intake *intake,
                  const struct store_taken *taken, int64_t number, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct tb_actor by = {.who = intake->token_name, .from = intake->remote};
    struct tb_json *detail = describe_alert(intake, taken);

    if (number != 0) {
        tb_json_set_int(detail, "number", number);
    } else {
        tb_json_set_null(detail, "number");
    }
    return store_custody_add_locked(store, taken->capture_id, "alert", &by, detail, fail);
}

/* Every alert is in the host's log, whatever became of it. */
static enum tb_err
note_arrival_locked(struct tb_store *store, const struct tb_intake *intake,
                    const struct store_taken *taken, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct tb_actor by = {.who = intake->token_name, .from = intake->remote};
    struct tb_json *detail = describe_alert(intake, taken);

    store_set_text(detail, "capture", taken->capture_id);
    return store_host_note_locked(store, "alert", &by, detail, fail);
}

/* Its interfaces are tapped by several captures: the alert is evidence of each. */
static enum tb_err
join_also_locked(struct tb_store *store, const struct tb_intake *intake, const char *id,
                 struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_taken taken = {.outcome = TB_INTAKE_JOINED};
    struct tb_intake copy = *intake;
    int64_t number = 0;
    enum tb_err err;

    assert(intake->capture != NULL); /* what joins would have been captured */
    err = store_widen_joined_locked(store, id, &intake->capture->filter,
                                    intake->prepared->filter, fail);
    if (err == TB_OK) {
        err = store_extend_joined_locked(store, id, intake->capture->duration_ns,
                                         intake->most_duration_ns, fail);
    }
    copy.key = ""; /* that is the first one's */
    memcpy(taken.capture_id, id, sizeof(taken.capture_id));
    if (err == TB_OK) {
        err = next_number_locked(store, id, &number, fail);
    }
    if (err == TB_OK) {
        err = insert_alert_locked(store, &copy, &taken, number, fail);
    }
    return err == TB_OK ? note_alert_locked(store, intake, &taken, number, fail) : err;
}

enum tb_err
store_take_in_locked(struct tb_store *store, const struct tb_intake *intake,
                     struct store_taken *out, struct tb_fail *fail)
{
    bool found = false;
    int64_t number = 0;
    bool is_evidence;
    enum tb_err err = TB_OK;

    if (intake->key[0] != 0) {
        err = find_key_locked(store, intake, out, &found, fail);
        if (err != TB_OK || found) {
            return err == TB_OK ? note_arrival_locked(store, intake, out, fail) : err;
        }
    }
    if (intake->alert != NULL && intake->alert->instance_state[0] != 0) {
        err = tell_captures_locked(store, intake, out, fail);
    } else if (intake->capture != NULL) {
        err = place_locked(store, intake, out, fail);
    } else {
        out->outcome = intake->refused ? TB_INTAKE_REFUSED : TB_INTAKE_IGNORED;
    }
    is_evidence = out->capture_id[0] != 0 && out->outcome != TB_INTAKE_COOLING;
    if (err == TB_OK && is_evidence) {
        err = next_number_locked(store, out->capture_id, &number, fail);
    }
    if (err == TB_OK) {
        err = insert_alert_locked(store, intake, out, number, fail);
    }
    if (err == TB_OK && is_evidence) {
        err = note_alert_locked(store, intake, out, number, fail);
    }
    for (size_t i = 1; i < out->joins.count && err == TB_OK; i++) {
        err = join_also_locked(store, intake, out->joins.ids[i], fail);
    }
    return err == TB_OK ? note_arrival_locked(store, intake, out, fail) : err;
}

enum tb_err
tb_store_alert_ruled(struct tb_store *store, const char *capture_id, uint32_t number,
                     const char *rule, const struct tb_filter *filter, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_FILTER_JSON_MAX_BYTES);
    struct store_query q;
    enum tb_err err = filter != NULL ? store_filter_text(filter, &text, fail) : TB_OK;

    if (err != TB_OK) {
        tb_buf_release(&text);
        return err;
    }
    store_lock(store, "capture_decided");
    err = store_open_locked(
        store, "UPDATE alerts SET rule = ?, filter = ? WHERE capture_id = ? AND number = ?", &q,
        fail);
    if (err == TB_OK) {
        store_bind_text(&q, rule);
        store_bind_text(&q, tb_buf_str(&text));
        store_bind_text(&q, capture_id);
        store_bind_int(&q, number);
        err = store_run_locked(&q, NULL, fail);
    }
    tb_mutex_unlock(&store->mu);
    tb_buf_release(&text);
    return err;
}

enum tb_err
tb_store_alert_uploaded(struct tb_store *store, const char *capture_id, uint32_t number,
                        struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err;

    store_lock(store, "custody_uploaded");
    err = store_open_locked(
        store, "UPDATE captures SET alerts_uploaded = max(alerts_uploaded, ?) WHERE id = ?", &q,
        fail);
    if (err == TB_OK) {
        store_bind_int(&q, number);
        store_bind_text(&q, capture_id);
        err = store_run_locked(&q, NULL, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}
