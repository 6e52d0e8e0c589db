/* The interfaces of a capture: what planning found, and what became of each. */
#include "store_int.h"

static enum tb_err
add_source_locked(struct tb_store *store, const char *id, size_t position,
                  const struct tb_capture_source *s, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store,
        "INSERT INTO capture_sources (capture_id, position, eni, instance, mac, ip, subnet,"
        " vpc, account, vni, session_number, armed, gap, trouble, instance_type)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, id);
    store_bind_int(&q, (int64_t)position);
    store_bind_text(&q, s->eni);
    store_bind_text(&q, s->instance);
    store_bind_text(&q, s->mac);
    store_bind_text(&q, s->ip);
    store_bind_text(&q, s->subnet);
    store_bind_text(&q, s->vpc);
    store_bind_text(&q, s->account);
    store_bind_int(&q, s->vni);
    store_bind_int(&q, s->session_number);
    store_bind_int(&q, s->armed);
    store_bind_text(&q, s->gap);
    store_bind_text(&q, s->trouble);
    store_bind_text(&q, s->instance_type);
    return store_run_locked(&q, NULL, fail);
}

static enum tb_err
replace_sources_locked(struct tb_store *store, const char *id,
                       const struct tb_capture_source *sources, size_t count,
                       struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_capture_exists_locked(store, id, fail);

    if (err == TB_OK) {
        err = store_open_locked(store, "DELETE FROM capture_sources WHERE capture_id = ?", &q,
                                fail);
    }
    if (err == TB_OK) {
        store_bind_text(&q, id);
        err = store_run_locked(&q, NULL, fail);
    }
    for (size_t i = 0; i < count && err == TB_OK; i++) {
        err = add_source_locked(store, id, i, &sources[i], fail);
    }
    return err;
}

enum tb_err
tb_store_capture_sources(struct tb_store *store, const char *id,
                         const struct tb_capture_source *sources, size_t count,
                         struct tb_fail *fail)
{
    enum tb_err err;

    if (count > TB_CAPTURE_MAX_LISTED) {
        return tb_fail_set(fail, TB_EINVAL,
                           "capture %s: %zu interfaces are over the limit of %d", id, count,
                           TB_CAPTURE_MAX_LISTED);
    }
    store_lock(store, "capture_sources");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = replace_sources_locked(store, id, sources, count, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

static enum tb_err
note_try_locked(struct tb_store *store, const char *id, const struct tb_capture_source *s,
                struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store,
        "UPDATE capture_sources SET session_number = ?, armed = ?, gap = ?, trouble = ?"
        " WHERE capture_id = ? AND eni = ? AND armed = 0 AND gap = ''",
        &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_int(&q, s->session_number);
    store_bind_int(&q, s->armed);
    store_bind_text(&q, s->gap);
    store_bind_text(&q, s->trouble);
    store_bind_text(&q, id);
    store_bind_text(&q, s->eni);
    return store_run_locked(&q, NULL, fail);
}

enum tb_err
tb_store_sources_tried(struct tb_store *store, const char *id,
                       const struct tb_capture_source *sources, size_t count,
                       struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, "capture_sources");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        for (size_t i = 0; i < count && err == TB_OK; i++) {
            err = note_try_locked(store, id, &sources[i], fail);
        }
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

static enum tb_err
lose_locked(struct tb_store *store, const char *id, const char *eni, const char *reason,
            struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    int changed = 0;
    enum tb_err err = store_open_locked(store,
                                        "UPDATE capture_sources SET armed = 0, gap = ?"
                                        " WHERE capture_id = ? AND eni = ? AND armed = 1",
                                        &q, fail);

    if (err == TB_OK) {
        store_bind_text(&q, reason);
        store_bind_text(&q, id);
        store_bind_text(&q, eni);
        err = store_run_locked(&q, &changed, fail);
    }
    if (err == TB_OK && changed == 0) {
        err = tb_fail_set(fail, TB_ESTATE, "%s is not mirrored for %s any more", eni, id);
    }
    return err;
}

static enum tb_err
count_armed_locked(struct tb_store *store, const char *id, size_t *out, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    bool row = false;
    enum tb_err err = store_open_locked(
        store, "SELECT count(*) FROM capture_sources WHERE capture_id = ? AND armed = 1", &q,
        fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, id);
    err = store_step_locked(&q, &row, fail);
    if (err == TB_OK) {
        *out = row ? (size_t)store_int(&q) : 0;
    }
    store_close(&q);
    return err;
}

enum tb_err
tb_store_source_lost(struct tb_store *store, const char *id, const char *eni,
                     const char *reason, size_t *out_left, struct tb_fail *fail)
{
    size_t left = 0;
    enum tb_err err;

    store_lock(store, NULL); /* lost in a crash, it is found lost again */
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = lose_locked(store, id, eni, reason, fail);
        if (err == TB_OK) {
            err = count_armed_locked(store, id, &left, fail);
        }
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    if (err == TB_OK) {
        *out_left = left;
    }
    return err;
}

/* Whether the custody log says this of the interface, and nothing since that it was put right
 * (or was changed again): what lasts is found again and again. */
static enum tb_err
find_told_locked(struct tb_store *store, const char *id, const char *eni, const char *act,
                 const char *text, bool *out_told, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store,
        "WITH told AS (SELECT number, json_extract(line, '$.act') AS act,"
        " json_extract(line, '$.detail.text') AS text FROM custody"
        " WHERE log_id = ?1 AND json_extract(line, '$.detail.eni') = ?2"
        " AND act IN ('mirror_changed', 'mirror_restored'))"
        " SELECT 1 FROM told WHERE act = ?3 AND text = ?4 AND number >"
        " coalesce((SELECT max(number) FROM told WHERE act <> ?3), 0) LIMIT 1",
        &q, fail);

    if (err == TB_OK) {
        store_bind_text(&q, id);
        store_bind_text(&q, eni);
        store_bind_text(&q, act);
        store_bind_text(&q, text);
        err = store_step_locked(&q, out_told, fail);
        store_close(&q);
    }
    return err;
}

/* Of what the gap has no room for it says where it is. */
static enum tb_err
touch_locked(struct tb_store *store, const char *id, const char *eni, const char *act,
             const char *text, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    static const char more[] = "; more in the custody log";
    struct store_query q;
    struct tb_json *detail;
    bool told = false;
    int changed = 0;
    enum tb_err err = find_told_locked(store, id, eni, act, text, &told, fail);

    if (err != TB_OK || told) {
        return err;
    }
    err = store_open_locked(
        store,
        "UPDATE capture_sources SET gap = CASE WHEN gap = '' THEN substr(?1, 1, ?4)"
        " WHEN length(gap) + 2 + length(?1) <= ?4 THEN gap || '; ' || ?1"
        " WHEN instr(gap, ?5) = 0 THEN substr(gap, 1, ?4) || ?5 ELSE gap END"
        " WHERE capture_id = ?2 AND eni = ?3 AND armed = 1",
        &q, fail);

    if (err == TB_OK) {
        store_bind_text(&q, text);
        store_bind_text(&q, id);
        store_bind_text(&q, eni);
        store_bind_int(&q, TB_CAPTURE_MAX_TEXT - (int)sizeof(more));
        store_bind_text(&q, more);
        err = store_run_locked(&q, &changed, fail);
    }
    if (err != TB_OK || changed == 0) {
        return err;
    }
    detail = tb_json_object();
    tb_json_set_str(detail, "eni", eni);
    tb_json_set_str(detail, "text", text);
    return store_custody_add_locked(store, id, act, NULL, detail, fail);
}

enum tb_err
tb_store_source_touched(struct tb_store *store, const char *id, const char *eni,
                        const char *act, const char *text, struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, "source_touched");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = touch_locked(store, id, eni, act, text, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}
