/* AWS objects: the intent before the call, the reply after it. */
#include "store_int.h"

#include <stdlib.h>

#include <tapbox/digest.h>

static const char *const kind_names[TB_RESOURCE_KIND_COUNT] = {
    [TB_RESOURCE_TARGET] = "target",
    [TB_RESOURCE_FILTER] = "filter",
    [TB_RESOURCE_FILTER_RULE] = "filter_rule",
    [TB_RESOURCE_SESSION] = "session",
};

static const char *const state_names[TB_RESOURCE_STATE_COUNT] = {
    [TB_RESOURCE_INTENDED] = "intended",
    [TB_RESOURCE_CREATED] = "created",
    [TB_RESOURCE_DELETING] = "deleting",
    [TB_RESOURCE_GONE] = "gone",
};

const char *
tb_resource_kind_name(enum tb_resource_kind kind)
{
    return (unsigned)kind < TB_RESOURCE_KIND_COUNT ? kind_names[kind] : "unknown";
}

const char *
tb_resource_state_name(enum tb_resource_state state)
{
    return (unsigned)state < TB_RESOURCE_STATE_COUNT ? state_names[state] : "unknown";
}

void
tb_resources_free(struct tb_resource *resources, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(resources[i].params);
    }
    free(resources);
}

static enum tb_err
intend_locked(struct tb_store *store, const struct tb_resource *intent, int64_t *out_row,
              struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    int changed = 0;
    enum tb_err err = intent->capture_id[0] == 0
                          ? TB_OK
                          : store_capture_exists_locked(store, intent->capture_id, fail);

    /* looked at and written in one statement: of two captures that both want to mirror an
     * interface one is second */
    if (err == TB_OK) {
        err = store_open_locked(
            store,
            "INSERT INTO resources (kind, state, capture_id, key, client_token,"
            " params, expires_utc_s, intended_utc_ns, account, place)"
            " SELECT ?1, 'intended', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9"
            " WHERE ?1 <> 'session' OR NOT EXISTS (SELECT 1 FROM resources"
            "  WHERE kind = 'session' AND key = ?3 AND state <> 'gone' AND capture_id <> ?2)",
            &q, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, tb_resource_kind_name(intent->kind));
    store_bind_text_or_null(&q, intent->capture_id);
    store_bind_text(&q, intent->key);
    store_bind_text(&q, intent->client_token);
    store_bind_text(&q, intent->params == NULL ? "" : intent->params);
    store_bind_int(&q, intent->expires_utc_s);
    store_bind_int(&q, tb_clock_utc_ns());
    store_bind_text(&q, intent->account);
    store_bind_text(&q, intent->place);
    err = store_run_locked(&q, &changed, fail);
    if (err == TB_OK && changed == 0) {
        err = tb_fail_set(fail, TB_EEXIST, "%s has a session of another capture", intent->key);
    }
    if (err == TB_OK) {
        *out_row = sqlite3_last_insert_rowid(store->locked.db);
    }
    return err;
}

enum tb_err
tb_store_resource_intend(struct tb_store *store, const struct tb_resource *intent,
                         int64_t *out_row, struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, "resource_intend");
    err = intend_locked(store, intent, out_row, fail);
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_session_holder(struct tb_store *store, const char *eni, const char *not_capture_id,
                        char out_capture_id[TB_CAPTURE_ID_SIZE], bool *out_stays,
                        struct tb_fail *fail)
{
    struct store_query q;
    bool found = false;
    enum tb_err err;

    store_lock(store, NULL);
    err =
        store_open_locked(store,
                          "SELECT c.id, c.state IN ('arming', 'recording') AND c.stop_asked = 0"
                          "  AND " STORE_LEFT_NS " > 0"
                          "  AND NOT EXISTS (SELECT 1 FROM capture_sources AS lost"
                          "   WHERE lost.eni = ?1 AND lost.capture_id = c.id" STORE_IS_LOST ")"
                          "  FROM resources AS r JOIN captures AS c"
                          "  ON c.id = r.capture_id WHERE r.kind = 'session' AND r.key = ?1"
                          "  AND r.state <> 'gone' AND c.id <> ?2 LIMIT 1",
                          &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, eni);
        store_bind_text(&q, not_capture_id);
        err = store_step_locked(&q, &found, fail);
        out_capture_id[0] = 0;
        *out_stays = false;
        if (err == TB_OK && found) {
            store_text(&q, out_capture_id, TB_CAPTURE_ID_SIZE);
            *out_stays = store_int(&q) != 0;
        }
        store_close(&q);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

/* Runs a bound update of one row. */
static enum tb_err
update_one_locked(struct store_query *q, int64_t row, struct tb_fail *fail)
{
    int changed = 0;
    enum tb_err err = store_run_locked(q, &changed, fail);

    if (err == TB_OK && changed == 0) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "there is no AWS object in row %lld",
                          (long long)row);
    }
    return err;
}

/* What AWS made or deleted for a capture goes into its log, standing objects into the host's.
 */
static enum tb_err
note_effect_locked(struct tb_store *store, int64_t row, const char *act, const char *request_id,
                   struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    char capture_id[TB_CAPTURE_ID_SIZE] = "", kind[32] = "", key[128] = "";
    char aws_id[TB_AWS_ID_SIZE] = "", account[TB_ACCOUNT_SIZE] = "";
    struct tb_json *detail;
    struct store_query q;
    bool found = false;
    enum tb_err err = store_open_locked(
        store, "SELECT capture_id, kind, key, aws_id, account FROM resources WHERE id = ?", &q,
        fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_int(&q, row);
    err = store_step_locked(&q, &found, fail);
    if (err == TB_OK && found) {
        store_text(&q, capture_id, sizeof(capture_id));
        store_text(&q, kind, sizeof(kind));
        store_text(&q, key, sizeof(key));
        store_text(&q, aws_id, sizeof(aws_id));
        store_text(&q, account, sizeof(account));
    }
    store_close(&q);
    if (err != TB_OK) {
        return err;
    }
    detail = tb_json_object();
    tb_json_set_str(detail, "kind", kind);
    store_set_text(detail, "id", aws_id);
    store_set_text(detail, "for", key);
    store_set_text(detail, "request_id", request_id);
    if (capture_id[0] != 0) {
        return store_custody_add_locked(store, capture_id, act, NULL, detail, fail);
    }
    store_set_text(detail, "account", account);
    return store_host_note_locked(store, act, NULL, detail, fail);
}

static enum tb_err
created_locked(struct tb_store *store, int64_t row, const char *act, const char *aws_id,
               const char *request_id, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    /* one that somebody decided to delete while the call ran keeps that decision */
    enum tb_err err =
        store_open_locked(store,
                          "UPDATE resources SET aws_id = ?, create_request_id = ?,"
                          " created_utc_ns = ?, created_steady_ns = ?,"
                          " state = CASE state WHEN 'intended' THEN 'created' ELSE state END"
                          " WHERE id = ?",
                          &q, fail);

    if (err == TB_OK) {
        store_bind_text(&q, aws_id);
        store_bind_text(&q, request_id);
        store_bind_int(&q, tb_clock_utc_ns());
        store_bind_int(&q, tb_store_steady_ns(store));
        store_bind_int(&q, row);
        err = update_one_locked(&q, row, fail);
    }
    return err == TB_OK ? note_effect_locked(store, row, act, request_id, fail) : err;
}

enum tb_err
tb_store_resource_created(struct tb_store *store, int64_t row, const char *aws_id,
                          const char *request_id, struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, "resource_created");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = created_locked(store, row, "aws_created", aws_id, request_id, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_resource_adopt(struct tb_store *store, const struct tb_resource *found,
                        struct tb_fail *fail)
{
    int64_t row = 0;
    enum tb_err err;

    store_lock(store, "resource_created");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = intend_locked(store, found, &row, fail);
        if (err == TB_OK) {
            err = created_locked(store, row, "aws_found", found->aws_id, "", fail);
        }
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_resource_deleting(struct tb_store *store, int64_t row, bool deleting,
                           struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err;

    store_lock(store, "resource_deleting");
    err = store_open_locked(store,
                            "UPDATE resources SET"
                            " state = CASE state WHEN 'gone' THEN state ELSE ? END"
                            " WHERE id = ?",
                            &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, state_names[deleting ? TB_RESOURCE_DELETING : TB_RESOURCE_CREATED]);
        store_bind_int(&q, row);
        err = update_one_locked(&q, row, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

/* What was mirrored until a time that nobody knows. */
static enum tb_err
note_lost_session_locked(struct tb_store *store, int64_t row, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store,
        "UPDATE capture_sources SET gap = 'its mirror session ' || r.aws_id || ' was deleted by"
        " somebody else, nobody knows when' FROM resources AS r"
        " WHERE r.id = ? AND r.kind = 'session' AND capture_sources.capture_id = r.capture_id"
        " AND capture_sources.eni = r.key AND capture_sources.armed",
        &q, fail);

    if (err == TB_OK) {
        store_bind_int(&q, row);
        err = store_run_locked(&q, NULL, fail);
    }
    return err;
}

static enum tb_err
gone_locked(struct tb_store *store, int64_t row, enum tb_resource_end end,
            const char *request_id, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    static const char *const acts[] = {[TB_RESOURCE_DELETED] = "aws_deleted",
                                       [TB_RESOURCE_NOT_MADE] = "aws_not_made",
                                       [TB_RESOURCE_FOUND_GONE] = "aws_found_gone"};
    struct store_query q;
    enum tb_err err = store_open_locked(store,
                                        "UPDATE resources SET state = 'gone',"
                                        " delete_request_id = ?, gone_utc_ns = ?,"
                                        " gone_steady_ns = ? WHERE id = ?",
                                        &q, fail);

    if (err == TB_OK) {
        store_bind_text(&q, request_id);
        store_bind_int(&q, tb_clock_utc_ns());
        store_bind_int(&q, tb_store_steady_ns(store));
        store_bind_int(&q, row);
        err = update_one_locked(&q, row, fail);
    }
    if (err == TB_OK && end == TB_RESOURCE_FOUND_GONE) {
        err = note_lost_session_locked(store, row, fail);
    }
    return err == TB_OK ? note_effect_locked(store, row, acts[end], request_id, fail) : err;
}

enum tb_err
tb_store_resource_gone(struct tb_store *store, int64_t row, enum tb_resource_end end,
                       const char *request_id, struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, "resource_gone");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = gone_locked(store, row, end, request_id, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

/* The number of a name in a table of names. */
static int
name_index(struct store_query *q, const char *const *names, int count)
{
    char name[32];

    store_text(q, name, sizeof(name));
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    q->odd = true;
    return 0;
}

static enum tb_err
read_resource(struct store_query *q, struct tb_resource *r, struct tb_fail *fail)
{
    struct tb_bytes params;

    r->row = store_int(q);
    r->kind = (enum tb_resource_kind)name_index(q, kind_names, TB_RESOURCE_KIND_COUNT);
    r->state = (enum tb_resource_state)name_index(q, state_names, TB_RESOURCE_STATE_COUNT);
    store_text(q, r->capture_id, sizeof(r->capture_id));
    store_text(q, r->account, sizeof(r->account));
    store_text(q, r->place, sizeof(r->place));
    store_text(q, r->key, sizeof(r->key));
    store_text(q, r->aws_id, sizeof(r->aws_id));
    store_text(q, r->client_token, sizeof(r->client_token));
    r->expires_utc_s = store_int(q);
    store_text(q, r->create_request_id, sizeof(r->create_request_id));
    store_text(q, r->delete_request_id, sizeof(r->delete_request_id));
    r->created_utc_ns = store_int(q);
    r->gone_utc_ns = store_int(q);
    r->created_steady_ns = store_int(q);
    r->gone_steady_ns = store_int(q);
    params = store_blob(q);
    r->params = calloc(1, params.len + 1);
    if (r->params == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the parameters of an AWS object");
    }
    if (params.len > 0) {
        memcpy(r->params, params.at, params.len);
    }
    return store_row_check(q, fail);
}

enum tb_err
tb_store_resource_list(struct tb_store *store, const char *capture_id, bool with_gone,
                       struct tb_resource **out, size_t *out_count, struct tb_fail *fail)
{
    struct store_list list = {.item_bytes = sizeof(struct tb_resource)};
    struct store_query q;
    bool row = false;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_open_locked(
        store,
        "SELECT id, kind, state, capture_id, account, place, key, aws_id, client_token,"
        " expires_utc_s, create_request_id, delete_request_id,"
        " created_utc_ns, gone_utc_ns, created_steady_ns, gone_steady_ns, params FROM resources"
        " WHERE capture_id IS ? AND (state <> 'gone' OR ?) ORDER BY id",
        &q, fail);
    if (err == TB_OK) {
        store_bind_text_or_null(&q, capture_id);
        store_bind_int(&q, with_gone);
        while ((err = store_step_locked(&q, &row, fail)) == TB_OK && row) {
            struct tb_resource *r = store_list_add(&list);

            err = r == NULL ? tb_fail_set(fail, TB_ENOMEM, "no memory for AWS objects")
                            : read_resource(&q, r, fail);
            if (err != TB_OK) {
                break;
            }
        }
        store_close(&q);
    }
    tb_mutex_unlock(&store->mu);
    if (err != TB_OK) {
        tb_resources_free(list.at, list.count);
        return err;
    }
    *out = list.at;
    *out_count = list.count;
    return TB_OK;
}

/* --- VNIs --------------------------------------------------------------------------------- */

enum {
    VNI_MAX = 0xffffff, /* 24 bits */
};

static enum tb_err
vni_in_use_locked(struct tb_store *store, int64_t vni, bool *out, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store,
        "SELECT 1 FROM capture_sources AS s JOIN captures AS c ON c.id = s.capture_id"
        " WHERE s.vni = ? AND s.vni <> 0 AND c.state NOT IN ('sealed', 'refused', 'failed')",
        &q, fail);

    if (err == TB_OK) {
        store_bind_int(&q, vni);
        err = store_step_locked(&q, out, fail);
        store_close(&q);
    }
    return err;
}

/* The one after the last that was given out; a new store begins anywhere, as sessions of a lost
 * one may still be sending. */
static enum tb_err
last_vni_locked(struct tb_store *store, int64_t *out, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    bool row = false;
    uint32_t random = 0;
    enum tb_err err =
        store_open_locked(store, "SELECT value FROM counters WHERE name = 'vni'", &q, fail);

    if (err != TB_OK) {
        return err;
    }
    err = store_step_locked(&q, &row, fail);
    if (err == TB_OK && row) {
        *out = store_int(&q);
    } else if (err == TB_OK) {
        err = tb_random(&random, sizeof(random));
        if (err != TB_OK) {
            (void)tb_fail_set(fail, err, "no random number for the first VNI");
        }
        *out = random % VNI_MAX;
    }
    store_close(&q);
    return err;
}

static enum tb_err
allocate_vni_locked(struct tb_store *store, int64_t *out, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    int64_t vni = 0;
    bool used = true;
    enum tb_err err = last_vni_locked(store, &vni, fail);

    while (err == TB_OK && used) { /* ends: there are 16 million, and captures far fewer */
        vni = vni % VNI_MAX + 1;
        err = vni_in_use_locked(store, vni, &used, fail);
    }
    if (err == TB_OK) {
        err = store_open_locked(store,
                                "INSERT INTO counters (name, value) VALUES ('vni', ?1)"
                                " ON CONFLICT (name) DO UPDATE SET value = ?1",
                                &q, fail);
    }
    if (err == TB_OK) {
        store_bind_int(&q, vni);
        err = store_run_locked(&q, NULL, fail);
        *out = vni;
    }
    return err;
}

enum tb_err
tb_store_vni_allocate(struct tb_store *store, uint32_t *out_vni, struct tb_fail *fail)
{
    int64_t vni = 0;
    enum tb_err err;

    store_lock(store, "vni_allocate");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = allocate_vni_locked(store, &vni, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    if (err == TB_OK) {
        *out_vni = (uint32_t)vni;
    }
    return err;
}
