/* Segments on their way to S3 in parts. */
#include "store_int.h"

#include <stdlib.h>

/* Begins a transaction of one statement about one segment; the rest is bound by the caller. */
static enum tb_err
open_for_locked(struct tb_store *store, const char *sql, const char *capture_id,
                const char *name, struct store_query *q, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    enum tb_err err = store_begin_locked(store, fail);

    if (err == TB_OK) {
        err = store_open_locked(store, sql, q, fail);
        if (err != TB_OK) {
            return store_end_locked(store, err, fail);
        }
        store_bind_text(q, capture_id);
        store_bind_text(q, name);
    }
    return err;
}

enum tb_err
tb_store_upload_begun(struct tb_store *store, const char *capture_id, const char *name,
                      const char *upload_id, uint64_t part_bytes, struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err;

    store_lock(store, "upload_begun");
    err = open_for_locked(store,
                          "INSERT INTO uploads (capture_id, name, upload_id, part_bytes)"
                          " VALUES (?, ?, ?, ?)",
                          capture_id, name, &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, upload_id);
        store_bind_int(&q, (int64_t)part_bytes);
        err = store_end_locked(store, store_run_locked(&q, NULL, fail), fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_upload_part(struct tb_store *store, const char *capture_id, const char *name,
                     const struct tb_upload_part *part, struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err;

    store_lock(store, "upload_part");
    err = open_for_locked(
        store,
        "INSERT OR REPLACE INTO upload_parts (capture_id, name, number, bytes, sha256, etag)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        capture_id, name, &q, fail);
    if (err == TB_OK) {
        store_bind_int(&q, part->number);
        store_bind_int(&q, (int64_t)part->bytes);
        store_bind_blob(&q, tb_bytes_of(part->sha256, sizeof(part->sha256)));
        store_bind_text(&q, part->etag);
        err = store_end_locked(store, store_run_locked(&q, NULL, fail), fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_upload_forget(struct tb_store *store, const char *capture_id, const char *name,
                       struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err;

    store_lock(store, "upload_forget");
    err = open_for_locked(store, "DELETE FROM uploads WHERE capture_id = ? AND name = ?",
                          capture_id, name, &q, fail);
    if (err == TB_OK) {
        err = store_end_locked(store, store_run_locked(&q, NULL, fail), fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

static enum tb_err
read_upload_locked(struct tb_store *store, const char *capture_id, const char *name,
                   struct tb_upload_row *out, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    bool row = false;
    enum tb_err err = store_open_locked(
        store, "SELECT upload_id, part_bytes FROM uploads WHERE capture_id = ? AND name = ?",
        &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, capture_id);
    store_bind_text(&q, name);
    err = store_step_locked(&q, &row, fail);
    if (err == TB_OK && row) {
        store_text(&q, out->upload_id, sizeof(out->upload_id));
        out->part_bytes = (uint64_t)store_int(&q);
        err = store_row_check(&q, fail);
    } else if (err == TB_OK) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "no upload of %s was begun", name);
    }
    store_close(&q);
    return err;
}

static enum tb_err
read_parts_locked(struct tb_store *store, const char *capture_id, const char *name,
                  struct store_list *list, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    bool row = false;
    enum tb_err err = store_open_locked(store,
                                        "SELECT number, bytes, sha256, etag FROM upload_parts"
                                        " WHERE capture_id = ? AND name = ? ORDER BY number",
                                        &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, capture_id);
    store_bind_text(&q, name);
    while ((err = store_step_locked(&q, &row, fail)) == TB_OK && row) {
        struct tb_upload_part *part = store_list_add(list);

        if (part == NULL) {
            err = tb_fail_set(fail, TB_ENOMEM, "no memory for the parts of %s", name);
            break;
        }
        part->number = (uint32_t)store_int(&q);
        part->bytes = (uint64_t)store_int(&q);
        store_sha256(&q, part->sha256);
        store_text(&q, part->etag, sizeof(part->etag));
        err = store_row_check(&q, fail);
        if (err != TB_OK) {
            break;
        }
    }
    store_close(&q);
    return err;
}

enum tb_err
tb_store_upload_get(struct tb_store *store, const char *capture_id, const char *name,
                    struct tb_upload_row *out, struct tb_fail *fail)
{
    struct store_list list = {.item_bytes = sizeof(struct tb_upload_part)};
    struct tb_upload_row row = {.upload_id = ""};
    enum tb_err err;

    store_lock(store, NULL);
    err = read_upload_locked(store, capture_id, name, &row, fail);
    if (err == TB_OK) {
        err = read_parts_locked(store, capture_id, name, &list, fail);
    }
    tb_mutex_unlock(&store->mu);
    if (err != TB_OK) {
        free(list.at);
        return err;
    }
    row.parts = list.at;
    row.part_count = list.count;
    *out = row;
    return TB_OK;
}
