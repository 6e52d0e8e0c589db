/* Alerts one after the other: which came, and what became of each. */
#include "store_int.h"

#include <assert.h>
#include <stdlib.h>

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
