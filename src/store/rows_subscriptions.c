/* Subscriptions of SNS that are still to be confirmed. */
#include "store_int.h"

#include <stdlib.h>

enum tb_err
tb_store_subscription_put(struct tb_store *store, const char *url, const char *topic,
                          struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err;

    store_lock(store, "subscription_put");
    err = store_open_locked(store,
                            "INSERT INTO subscriptions (url, topic, since_steady_ns)"
                            " VALUES (?, ?, ?) ON CONFLICT (url) DO NOTHING",
                            &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, url);
        store_bind_text(&q, topic);
        store_bind_int(&q, tb_store_steady_ns(store));
        err = store_run_locked(&q, NULL, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_subscription_drop(struct tb_store *store, const char *url, struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err;

    store_lock(store, "subscription_drop");
    err = store_open_locked(store, "DELETE FROM subscriptions WHERE url = ?", &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, url);
        err = store_run_locked(&q, NULL, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_subscription_list(struct tb_store *store, struct tb_subscription **out,
                           size_t *out_count, struct tb_fail *fail)
{
    struct store_list list = {.item_bytes = sizeof(**out)};
    struct store_query q;
    bool row = false;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_open_locked(
        store, "SELECT url, topic, since_steady_ns FROM subscriptions ORDER BY since_steady_ns",
        &q, fail);
    if (err == TB_OK) {
        while ((err = store_step_locked(&q, &row, fail)) == TB_OK && row) {
            struct tb_subscription *s = store_list_add(&list);

            if (s == NULL) {
                err = tb_fail_set(fail, TB_ENOMEM, "no memory for the list of subscriptions");
                break;
            }
            store_text(&q, s->url, sizeof(s->url));
            store_text(&q, s->topic, sizeof(s->topic));
            s->since_steady_ns = store_int(&q);
            err = store_row_check(&q, fail);
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
