/* Captures: reading them, whole or as a list of what is due. */
#include "store_int.h"

#include <stdlib.h>

#include <tapbox/json.h>

enum tb_err
store_capture_exists_locked(struct tb_store *store, const char *id, struct tb_fail *fail)
{
    struct store_query q;
    bool row = false;
    enum tb_err err = store_open_locked(store, "SELECT 1 FROM captures WHERE id = ?", &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, id);
    err = store_step_locked(&q, &row, fail);
    store_close(&q);
    if (err == TB_OK && !row) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "there is no capture %s", id);
    }
    return err;
}

static enum tb_capture_state
read_state(struct store_query *q)
{
    enum tb_capture_state state = TB_CAPTURE_REQUESTED;
    char name[32];

    store_text(q, name, sizeof(name));
    q->odd |= !tb_capture_state_parse(name, &state);
    return state;
}

static enum tb_stop_reason
read_stop_reason(struct store_query *q)
{
    enum tb_stop_reason reason = TB_STOP_NONE;
    char name[32];

    store_text(q, name, sizeof(name));
    q->odd |= !tb_stop_reason_parse(name, &reason);
    return reason;
}

static struct tb_deadline
read_deadline(struct store_query *q)
{
    struct tb_deadline deadline = {0};

    deadline.utc_ns = store_int(q);
    deadline.boot_ns = store_int(q);
    store_text(q, deadline.boot_id, sizeof(deadline.boot_id));
    return deadline;
}

static enum tb_err
read_ledger(struct store_query *q, struct tb_ledger *out, struct tb_fail *fail)
{
    struct tb_json *json = NULL;
    enum tb_err err = tb_json_parse_max(store_blob(q), STORE_LEDGER_MAX_BYTES, &json, fail);

    if (err != TB_OK) {
        tb_fail_prefix(fail, "%s: a capture's ledger", q->store->path);
        return err;
    }
    store_ledger_of_json(json, out);
    tb_json_free(json);
    return TB_OK;
}

#define CAPTURE_COLUMNS                                                                        \
    "id, state, stop_reason, stop_asked, source_news, filter <> filter_made, instance, "       \
    "account, region, duration_ns,"                                                            \
    " snaplen, max_bytes, max_packets, bpf, reason, case_id, finding_id, finding_type, "       \
    "severity,"                                                                                \
    " requested_by, requested_utc_ns, recording_utc_ns, stopped_utc_ns, ended_utc_ns,"         \
    " deadline_utc_ns, deadline_boot_ns, deadline_boot_id, extend_to_utc_ns, due_steady_ns,"   \
    " requested_steady_ns, recording_steady_ns, stopped_steady_ns, ended_steady_ns, attempt,"  \
    " (SELECT coalesce(max(number), 0) FROM alerts WHERE capture_id = captures.id),"           \
    " error_code, error_text, error_request_id, packet_length, rule, undecided, primary_only," \
    " priority, lock_mode, retention_ns, legal_hold, sse, kms_key, storage_class, tags,"       \
    " filter, ledger"

static void
read_storage(struct store_query *q, struct tb_storage *s)
{
    store_text(q, s->lock_mode, sizeof(s->lock_mode));
    s->retention_ns = store_int(q);
    s->legal_hold = store_int(q) != 0;
    store_text(q, s->sse, sizeof(s->sse));
    store_text(q, s->kms_key, sizeof(s->kms_key));
    store_text(q, s->storage_class, sizeof(s->storage_class));
    store_text(q, s->tags, sizeof(s->tags));
}

void
store_bind_storage(struct store_query *q, const struct tb_storage *s)
{
    store_bind_text(q, s->lock_mode);
    store_bind_int(q, s->retention_ns);
    store_bind_int(q, s->legal_hold);
    store_bind_text(q, s->sse);
    store_bind_text(q, s->kms_key);
    store_bind_text(q, s->storage_class);
    store_bind_text(q, s->tags);
}

static enum tb_err
read_capture(struct store_query *q, struct tb_capture *c, struct tb_fail *fail)
{
    struct tb_capture_request *r = &c->request;
    enum tb_err err;

    store_text(q, c->id, sizeof(c->id));
    c->state = read_state(q);
    c->stop_reason = read_stop_reason(q);
    c->stop_asked = store_int(q) != 0;
    c->source_news = store_int(q) != 0;
    c->filter_due = store_int(q) != 0;
    store_text(q, r->instance, sizeof(r->instance));
    store_text(q, r->account, sizeof(r->account));
    store_text(q, r->region, sizeof(r->region));
    r->duration_ns = store_int(q);
    r->snaplen = (uint32_t)store_int(q);
    r->max_bytes = (uint64_t)store_int(q);
    r->max_packets = (uint64_t)store_int(q);
    store_text(q, r->bpf, sizeof(r->bpf));
    store_text(q, r->reason, sizeof(r->reason));
    store_text(q, r->case_id, sizeof(r->case_id));
    store_text(q, r->finding_id, sizeof(r->finding_id));
    store_text(q, r->finding_type, sizeof(r->finding_type));
    r->severity = store_real(q);
    store_text(q, r->requested_by, sizeof(r->requested_by));
    c->requested_utc_ns = store_int(q);
    c->recording_utc_ns = store_int(q);
    c->stopped_utc_ns = store_int(q);
    c->ended_utc_ns = store_int(q);
    c->deadline = read_deadline(q);
    c->extend_to_utc_ns = store_int(q);
    c->due_steady_ns = store_int(q);
    c->requested_steady_ns = store_int(q);
    c->recording_steady_ns = store_int(q);
    c->stopped_steady_ns = store_int(q);
    c->ended_steady_ns = store_int(q);
    c->attempt = (uint32_t)store_int(q);
    c->alert_count = (uint32_t)store_int(q);
    store_text(q, c->error_code, sizeof(c->error_code));
    store_text(q, c->error_text, sizeof(c->error_text));
    store_text(q, c->error_request_id, sizeof(c->error_request_id));
    r->packet_length = (uint32_t)store_int(q);
    store_text(q, r->rule, sizeof(r->rule));
    r->undecided = store_int(q) != 0;
    r->primary_only = store_int(q) != 0;
    r->priority = (int32_t)store_int(q);
    read_storage(q, &r->storage);
    err = tb_filter_parse(store_blob(q), &r->filter, fail);
    if (err == TB_OK) {
        err = read_ledger(q, &c->ledger, fail);
    }
    return err != TB_OK ? err : store_row_check(q, fail);
}

static enum tb_err
read_enis_locked(struct tb_store *store, struct tb_capture *c, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    bool row = false;
    enum tb_err err = store_open_locked(
        store, "SELECT eni FROM capture_enis WHERE capture_id = ? ORDER BY position", &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, c->id);
    while ((err = store_step_locked(&q, &row, fail)) == TB_OK && row) {
        if (c->request.eni_count == TB_CAPTURE_MAX_SOURCES) {
            q.odd = true;
            break;
        }
        store_text(&q, c->request.enis[c->request.eni_count++], TB_AWS_ID_SIZE);
    }
    if (err == TB_OK) {
        err = store_row_check(&q, fail);
    }
    store_close(&q);
    return err;
}

static void
read_source(struct store_query *q, struct tb_capture_source *s)
{
    store_text(q, s->eni, sizeof(s->eni));
    store_text(q, s->instance, sizeof(s->instance));
    store_text(q, s->mac, sizeof(s->mac));
    store_text(q, s->ip, sizeof(s->ip));
    store_text(q, s->subnet, sizeof(s->subnet));
    store_text(q, s->vpc, sizeof(s->vpc));
    store_text(q, s->account, sizeof(s->account));
    s->vni = (uint32_t)store_int(q);
    s->session_number = (uint32_t)store_int(q);
    s->armed = store_int(q) != 0;
    store_text(q, s->gap, sizeof(s->gap));
    store_text(q, s->trouble, sizeof(s->trouble));
    store_text(q, s->instance_type, sizeof(s->instance_type));
}

static enum tb_err
read_sources_locked(struct tb_store *store, struct tb_capture *c, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    bool row = false;
    enum tb_err err = store_open_locked(
        store,
        "SELECT eni, instance, mac, ip, subnet, vpc, account, vni, session_number, armed, gap,"
        " trouble, instance_type FROM capture_sources WHERE capture_id = ? ORDER BY position",
        &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, c->id);
    while ((err = store_step_locked(&q, &row, fail)) == TB_OK && row) {
        if (c->source_count == TB_CAPTURE_MAX_LISTED) {
            q.odd = true;
            break;
        }
        read_source(&q, &c->sources[c->source_count++]);
    }
    if (err == TB_OK) {
        err = store_row_check(&q, fail);
    }
    store_close(&q);
    return err;
}

/* The rest of a capture whose own row is read. */
static enum tb_err
read_parts_locked(struct tb_store *store, struct tb_capture *c, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    enum tb_err err = read_enis_locked(store, c, fail);

    return err != TB_OK ? err : read_sources_locked(store, c, fail);
}

enum tb_err
store_capture_get_locked(struct tb_store *store, const char *id, struct tb_capture *out,
                         struct tb_fail *fail)
{
    struct tb_capture *c = calloc(1, sizeof(*c));
    struct store_query q;
    bool row = false;
    enum tb_err err;

    if (c == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a capture");
    }
    err = store_open_locked(store, "SELECT " CAPTURE_COLUMNS " FROM captures WHERE id = ?", &q,
                            fail);
    if (err == TB_OK) {
        store_bind_text(&q, id);
        err = store_step_locked(&q, &row, fail);
        if (err == TB_OK) {
            err = row ? read_capture(&q, c, fail)
                      : tb_fail_set(fail, TB_ENOTFOUND, "there is no capture %s", id);
        }
        store_close(&q);
    }
    if (err == TB_OK) {
        err = read_parts_locked(store, c, fail);
    }
    if (err == TB_OK) {
        *out = *c;
    }
    free(c);
    return err;
}

enum tb_err
tb_store_capture_get(struct tb_store *store, const char *id, struct tb_capture *out,
                     struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, NULL);
    err = store_capture_get_locked(store, id, out, fail);
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_capture_list(struct tb_store *store, bool live_only, size_t limit,
                      struct tb_capture **out, size_t *out_count, struct tb_fail *fail)
{
    struct store_list list = {.item_bytes = sizeof(struct tb_capture)};
    struct store_query q;
    bool row = false;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_open_locked(store,
                            "SELECT " CAPTURE_COLUMNS " FROM captures"
                            " WHERE NOT ? OR state NOT IN ('sealed', 'refused', 'failed')"
                            " ORDER BY number DESC LIMIT ?",
                            &q, fail);
    if (err == TB_OK) {
        store_bind_int(&q, live_only);
        store_bind_int(&q, limit > INT64_MAX ? INT64_MAX : (int64_t)limit);
        while ((err = store_step_locked(&q, &row, fail)) == TB_OK && row) {
            struct tb_capture *c = store_list_add(&list);

            if (c == NULL) {
                err = tb_fail_set(fail, TB_ENOMEM, "no memory for captures");
                break;
            }
            err = read_capture(&q, c, fail);
            if (err == TB_OK) {
                err = read_parts_locked(store, c, fail);
            }
            if (err != TB_OK) {
                break;
            }
        }
        store_close(&q);
    }
    tb_mutex_unlock(&store->mu);
    if (err != TB_OK) {
        free(list.at);
        return err;
    }
    *out = list.at;
    *out_count = list.count;
    return TB_OK;
}

enum tb_err
tb_store_due_list(struct tb_store *store, struct tb_due **out, size_t *out_count,
                  struct tb_fail *fail)
{
    struct store_list list = {.item_bytes = sizeof(struct tb_due)};
    struct store_query q;
    bool row = false;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_open_locked(
        store,
        "SELECT id, state, due_steady_ns, deadline_utc_ns, deadline_boot_ns,"
        " deadline_boot_id, stop_asked, severity, account, priority FROM captures"
        " WHERE state NOT IN ('sealed', 'refused', 'failed')"
        " ORDER BY due_steady_ns, number",
        &q, fail);
    if (err == TB_OK) {
        while ((err = store_step_locked(&q, &row, fail)) == TB_OK && row) {
            struct tb_due *due = store_list_add(&list);

            if (due == NULL) {
                err = tb_fail_set(fail, TB_ENOMEM, "no memory for captures");
                break;
            }
            store_text(&q, due->id, sizeof(due->id));
            due->state = read_state(&q);
            due->due_steady_ns = store_int(&q);
            due->deadline = read_deadline(&q);
            due->stop_asked = store_int(&q) != 0;
            due->severity = store_real(&q);
            store_text(&q, due->account, sizeof(due->account));
            due->priority = (int32_t)store_int(&q);
        }
        if (err == TB_OK) {
            err = store_row_check(&q, fail);
        }
        store_close(&q);
    }
    tb_mutex_unlock(&store->mu);
    if (err != TB_OK) {
        free(list.at);
        return err;
    }
    *out = list.at;
    *out_count = list.count;
    return TB_OK;
}
