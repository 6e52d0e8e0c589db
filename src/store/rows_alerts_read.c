/* Alerts that were stored: one of them, or one after the other. */
#include "store_int.h"

#include <assert.h>
#include <stdlib.h>

#define ALERT_COLUMNS                                                                          \
    "id, coalesce(number, 0), adapter, coalesce(key, ''), sender_id, remote, token_name, "     \
    "reason,"                                                                                  \
    " received_utc_ns, rule, filter, body"

/* The alert that an opened query finds; *out_row false: none. */
static enum tb_err
read_alert_locked(struct tb_store *store, struct store_query *q, struct tb_alert_row *out,
                  struct tb_buf *out_body, bool *out_row, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct tb_alert_row a = {.number = 0};
    size_t body_before = out_body->len;
    struct tb_bytes filter;
    enum tb_err err;

    assert(q->store == store);
    err = store_step_locked(q, out_row, fail);

    if (err != TB_OK || !*out_row) {
        return err;
    }
    a.id = store_int(q);
    a.number = (uint32_t)store_int(q);
    store_text(q, a.adapter, sizeof(a.adapter));
    store_text(q, a.key, sizeof(a.key));
    store_text(q, a.sender_id, sizeof(a.sender_id));
    store_text(q, a.remote, sizeof(a.remote));
    store_text(q, a.token_name, sizeof(a.token_name));
    store_text(q, a.reason, sizeof(a.reason));
    a.received_utc_ns = store_int(q);
    store_text(q, a.rule, sizeof(a.rule));
    filter = store_blob(q);
    a.has_filter = filter.len > 0;
    err = a.has_filter ? tb_filter_parse(filter, &a.filter, fail) : TB_OK;
    tb_buf_put_bytes(out_body, store_blob(q));
    if (err == TB_OK) {
        err = store_row_check(q, fail);
    }
    if (err == TB_OK) {
        err = tb_buf_check(out_body, "the alert's body", fail);
    }
    if (err == TB_OK) {
        *out = a;
    } else {
        out_body->len = body_before;
    }
    return err;
}

enum tb_err
tb_store_alert(struct tb_store *store, const char *capture_id, uint32_t number,
               struct tb_alert_row *out, struct tb_buf *out_body, struct tb_fail *fail)
{
    struct store_query q;
    bool row = false;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_open_locked(
        store, "SELECT " ALERT_COLUMNS " FROM alerts WHERE capture_id = ? AND number = ?", &q,
        fail);
    if (err == TB_OK) {
        store_bind_text(&q, capture_id);
        store_bind_int(&q, number);
        err = read_alert_locked(store, &q, out, out_body, &row, fail);
        store_close(&q);
    }
    tb_mutex_unlock(&store->mu);
    if (err == TB_OK && !row) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "capture %s has no alert %u", capture_id, number);
    }
    return err;
}

enum tb_err
tb_store_alert_find(struct tb_store *store, int64_t id, const char *name,
                    struct tb_alert_row *out, struct tb_buf *out_body, struct tb_fail *fail)
{
    struct store_query q;
    bool row = false;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_open_locked(
        store,
        "SELECT " ALERT_COLUMNS
        " FROM alerts WHERE id = CASE WHEN ?2 <> 0 THEN ?2 ELSE (SELECT max(id)"
        " FROM (SELECT id FROM alerts WHERE sender_id = ?1"
        " AND sender_id <> '' UNION ALL"
        " SELECT id FROM alerts WHERE key = ?1)) END",
        &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, name);
        store_bind_int(&q, id);
        err = read_alert_locked(store, &q, out, out_body, &row, fail);
        store_close(&q);
    }
    tb_mutex_unlock(&store->mu);
    if (err == TB_OK && !row) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "no alert with this id or key is stored");
    }
    return err;
}

enum tb_err
tb_store_alert_parsed(struct tb_store *store, const char *capture_id, uint32_t number,
                      struct tb_alert *out, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_ALERT_JSON_MAX_BYTES);
    struct store_query q;
    bool row = false;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_open_locked(
        store, "SELECT parsed FROM alerts WHERE capture_id = ? AND number = ?", &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, capture_id);
        store_bind_int(&q, number);
        err = store_step_locked(&q, &row, fail);
        if (err == TB_OK && row) {
            tb_buf_put_bytes(&text, store_blob(&q));
        }
        store_close(&q);
    }
    tb_mutex_unlock(&store->mu);
    if (err == TB_OK) {
        err = row ? tb_buf_check(&text, "an alert", fail)
                  : tb_fail_set(fail, TB_ENOTFOUND, "capture %s has no alert %u", capture_id,
                                number);
    }
    if (err == TB_OK && text.len > 0) { /* whoever waits for the lock does not wait for this */
        err = tb_alert_parse(tb_buf_view(&text), out, fail);
    } else if (err == TB_OK) {
        *out = (struct tb_alert){.adapter = ""};
    }
    tb_buf_release(&text);
    return err;
}

static enum tb_err
read_listed_locked(struct tb_store *store, struct store_query *q, struct store_list *list,
                   struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    bool row = false;
    enum tb_err err;

    assert(q->store == store);
    while ((err = store_step_locked(q, &row, fail)) == TB_OK && row) {
        struct tb_alert_listed *a = store_list_add(list);

        if (a == NULL) {
            return tb_fail_set(fail, TB_ENOMEM, "no memory for the list of alerts");
        }
        a->id = store_int(q);
        a->received_utc_ns = store_int(q);
        store_text(q, a->adapter, sizeof(a->adapter));
        store_text(q, a->sender_id, sizeof(a->sender_id));
        store_text(q, a->outcome, sizeof(a->outcome));
        store_text(q, a->reason, sizeof(a->reason));
        store_text(q, a->rule, sizeof(a->rule));
        store_text(q, a->capture_id, sizeof(a->capture_id));
        store_text(q, a->token_name, sizeof(a->token_name));
        store_text(q, a->type, sizeof(a->type));
        a->severity = store_real(q);
        a->replayed = store_int(q) != 0;
        err = store_row_check(q, fail);
        if (err != TB_OK) {
            return err;
        }
    }
    return err;
}

enum tb_err
tb_store_alert_list(struct tb_store *store, const char *outcome, int64_t before, size_t limit,
                    struct tb_alert_listed **out, size_t *out_count, struct tb_fail *fail)
{
    struct store_list list = {.item_bytes = sizeof(**out)};
    struct store_query q;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_open_locked(
        store,
        "SELECT id, received_utc_ns, adapter, sender_id, outcome, reason, rule, capture_id,"
        " token_name, CASE parsed WHEN '' THEN '' ELSE json_extract(parsed, '$.type') END,"
        " CASE parsed WHEN '' THEN 0.0 ELSE json_extract(parsed, '$.severity') + 0.0 END,"
        " coalesce(key, '') GLOB 'replay/*'"
        " FROM alerts WHERE adapter <> 'api' AND (?1 = '' OR outcome = ?1)"
        " AND (?2 = 0 OR id < ?2) ORDER BY id DESC LIMIT ?3",
        &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, outcome);
        store_bind_int(&q, before);
        store_bind_int(&q, (int64_t)limit);
        err = read_listed_locked(store, &q, &list, fail);
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
tb_store_alerts_uploaded(struct tb_store *store, const char *capture_id, uint32_t *out_number,
                         struct tb_fail *fail)
{
    struct store_query q;
    bool row = false;
    enum tb_err err;

    store_lock(store, NULL);
    err =
        store_open_locked(store, "SELECT alerts_uploaded FROM captures WHERE id = ?", &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, capture_id);
        err = store_step_locked(&q, &row, fail);
        if (err == TB_OK) {
            *out_number = row ? (uint32_t)store_int(&q) : 0;
        }
        store_close(&q);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}
