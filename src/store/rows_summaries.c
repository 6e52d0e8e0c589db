/* The summaries of captures that ended: octets that somebody else reads. */
#include "store_int.h"

enum tb_err
tb_store_summary_put(struct tb_store *store, const char *capture_id, struct tb_bytes body,
                     struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err;

    store_lock(store, "summary_put");
    err = store_open_locked(store,
                            "INSERT INTO summaries (capture_id, body) VALUES (?, ?)"
                            " ON CONFLICT (capture_id) DO NOTHING",
                            &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, capture_id);
        store_bind_blob(&q, body);
        err = store_run_locked(&q, NULL, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_summary_get(struct tb_store *store, const char *capture_id, struct tb_buf *out_body,
                     struct tb_fail *fail)
{
    struct store_query q;
    bool row = false;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_open_locked(store, "SELECT body FROM summaries WHERE capture_id = ?", &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, capture_id);
        err = store_step_locked(&q, &row, fail);
        if (err == TB_OK && row) {
            tb_buf_put_bytes(out_body, store_blob(&q));
            err = tb_buf_check(out_body, "a summary", fail);
        } else if (err == TB_OK) {
            err = tb_fail_set(fail, TB_ENOTFOUND, "there is no summary of %s", capture_id);
        }
        store_close(&q);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}
