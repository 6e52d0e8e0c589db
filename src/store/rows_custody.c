/*
 * The custody log: entries that are only ever added, each with the hash of the one before it.
 *
 * What is hashed is the line as it stands in the row; nothing is ever built a second time.
 */
#include "store_int.h"

#include <stdlib.h>

#include <tapbox/clock.h>
#include <tapbox/ids.h>

void
store_sha256(struct store_query *q, uint8_t out[TB_SHA256_SIZE])
{
    struct tb_bytes octets = store_blob(q);

    if (octets.len == TB_SHA256_SIZE) {
        memcpy(out, octets.at, TB_SHA256_SIZE);
    } else {
        q->odd = true;
    }
}

void
store_set_text(struct tb_json *object, const char *key, const char *text)
{
    if (text[0] != 0) {
        tb_json_set_str(object, key, text);
    }
}

void
store_set_sha256(struct tb_json *object, const char *key, const uint8_t *octets)
{
    char hex[TB_SHA256_HEX_SIZE];

    tb_hex(hex, tb_bytes_of(octets, TB_SHA256_SIZE));
    tb_json_set_str(object, key, hex);
}

enum tb_err
store_custody_head_locked(struct tb_store *store, const char *log_id,
                          struct tb_custody_head *out, struct tb_fail *fail)
{
    struct tb_custody_head head = {0};
    struct store_query q;
    bool row = false;
    enum tb_err err = store_open_locked(store,
                                        "SELECT number, sha256 FROM custody WHERE log_id = ?"
                                        " ORDER BY number DESC LIMIT 1",
                                        &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, log_id);
    err = store_step_locked(&q, &row, fail);
    if (err == TB_OK && row) {
        head.number = store_int(&q);
        store_sha256(&q, head.sha256.octets);
        err = store_row_check(&q, fail);
    }
    store_close(&q);
    if (err == TB_OK) {
        *out = head;
    }
    return err;
}

/* The line of the entry behind `head`; `detail` is taken over. */
static enum tb_err
write_line(const char *log_id, const struct tb_custody_head *head, const char *act,
           const struct tb_actor *by, struct tb_json *detail, struct tb_buf *out,
           struct tb_fail *fail)
{
    struct tb_json *root = tb_json_object();
    char time[TB_TIME_TEXT_SIZE];
    const char *who = by != NULL && by->who != NULL ? by->who : "";
    const char *from = by != NULL && by->from != NULL ? by->from : "";
    enum tb_err err;

    tb_time_format_ns(time, tb_clock_utc_ns());
    tb_json_set_str(root, "act", act);
    tb_json_set_str(root, tb_log_id_valid(log_id) ? "log" : "capture", log_id);
    tb_json_set(root, "detail", detail != NULL ? detail : tb_json_object());
    tb_json_set_str(root, "from", from[0] != 0 ? from : NULL);
    tb_json_set_int(root, "n", head->number + 1);
    store_set_sha256(root, "prev", head->sha256.octets);
    tb_json_set_str(root, "time", time);
    tb_json_set_str(root, "who", who[0] != 0 ? who : "tapbox");
    err = tb_json_dump(root, false, out, fail);
    tb_json_free(root);
    return err;
}

enum tb_err
store_custody_add_locked(struct tb_store *store, const char *log_id, const char *act,
                         const struct tb_actor *by, struct tb_json *detail,
                         struct tb_fail *fail)
{
    struct tb_buf line = TB_BUF_INIT(TB_CUSTODY_LINE_MAX);
    struct tb_custody_head head;
    struct tb_sha256 sha256;
    struct store_query q;
    enum tb_err err = store_custody_head_locked(store, log_id, &head, fail);

    if (err != TB_OK) {
        tb_json_free(detail);
        return err;
    }
    err = write_line(log_id, &head, act, by, detail, &line, fail);
    if (err == TB_OK) {
        err = tb_sha256(tb_buf_view(&line), &sha256);
        if (err != TB_OK) {
            (void)tb_fail_set(fail, err, "SHA-256 of a custody entry failed");
        }
    }
    if (err == TB_OK) {
        err = store_open_locked(
            store, "INSERT INTO custody (log_id, number, line, sha256) VALUES (?, ?, ?, ?)", &q,
            fail);
    }
    if (err == TB_OK) {
        store_bind_text(&q, log_id);
        store_bind_int(&q, head.number + 1);
        store_bind_text(&q, tb_buf_str(&line));
        store_bind_blob(&q, tb_bytes_of(sha256.octets, sizeof(sha256.octets)));
        err = store_run_locked(&q, NULL, fail);
    }
    tb_buf_release(&line);
    return err;
}

/* --- the host's own log --- */

enum tb_err
store_host_log_locked(struct tb_store *store, char out_id[TB_CAPTURE_ID_SIZE],
                      struct tb_fail *fail)
{
    struct store_query q;
    bool row = false;
    enum tb_err err = store_open_locked(store, "SELECT id FROM host_log", &q, fail);

    if (err != TB_OK) {
        return err;
    }
    err = store_step_locked(&q, &row, fail);
    if (err == TB_OK && row) {
        store_text(&q, out_id, TB_CAPTURE_ID_SIZE);
    }
    store_close(&q);
    if (err != TB_OK || row) {
        return err;
    }
    err = tb_log_id_new(out_id, tb_clock_utc_ns() / TB_NS_PER_S);
    if (err != TB_OK) {
        return tb_fail_set(fail, err, "cannot make the id of the host's custody log");
    }
    err = store_open_locked(store, "INSERT INTO host_log (id) VALUES (?)", &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, out_id);
        err = store_run_locked(&q, NULL, fail);
    }
    return err;
}

enum tb_err
tb_store_host_log(struct tb_store *store, char out_id[TB_CAPTURE_ID_SIZE], struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, NULL); /* made once: there is nothing to lose */
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = store_host_log_locked(store, out_id, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
store_host_note_locked(struct tb_store *store, const char *act, const struct tb_actor *by,
                       struct tb_json *detail, struct tb_fail *fail)
{
    char id[TB_CAPTURE_ID_SIZE];
    enum tb_err err = store_host_log_locked(store, id, fail);

    if (err != TB_OK) {
        tb_json_free(detail);
        return err;
    }
    return store_custody_add_locked(store, id, act, by, detail, fail);
}

enum tb_err
tb_store_custody_add(struct tb_store *store, const char *capture_id, const char *act,
                     const struct tb_actor *by, struct tb_json *detail, struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, "custody_add");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        if (capture_id != NULL) {
            err = store_capture_exists_locked(store, capture_id, fail);
        }
        if (err == TB_OK) {
            err = capture_id != NULL
                      ? store_custody_add_locked(store, capture_id, act, by, detail, fail)
                      : store_host_note_locked(store, act, by, detail, fail);
            detail = NULL;
        }
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    tb_json_free(detail);
    return err;
}

enum tb_err
tb_store_custody_text(struct tb_store *store, const char *log_id, int64_t first, int64_t last,
                      struct tb_buf *out, struct tb_fail *fail)
{
    size_t before = out->len;
    int64_t next = first;
    struct store_query q;
    bool row = false;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_open_locked(store,
                            "SELECT number, line FROM custody WHERE log_id = ?"
                            " AND number BETWEEN ? AND ? ORDER BY number",
                            &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, log_id);
        store_bind_int(&q, first);
        store_bind_int(&q, last);
        while ((err = store_step_locked(&q, &row, fail)) == TB_OK && row &&
               store_int(&q) == next) {
            tb_buf_put_bytes(out, store_blob(&q));
            tb_buf_put_str(out, "\n");
            next++;
        }
        store_close(&q);
    }
    tb_mutex_unlock(&store->mu);
    if (err == TB_OK && next != last + 1) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "the custody log of %s has no entry %lld", log_id,
                          (long long)next);
    }
    if (err == TB_OK) {
        err = tb_buf_check(out, "the custody log", fail);
    }
    if (err != TB_OK) {
        out->len = before;
    }
    return err;
}

/* --- objects --- */

/* The last one, and the first that S3 does not have (number 0: none). */
static enum tb_err
read_objects_locked(struct tb_store *store, const char *log_id,
                    struct tb_custody_object *out_last, struct tb_custody_object *out_waiting,
                    struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct tb_bytes signature;
    struct store_query q;
    bool row = false, is_waiting;
    enum tb_err err =
        store_open_locked(store,
                          "SELECT number, first, last, uploaded, signature"
                          " FROM custody_objects WHERE log_id = ? ORDER BY number",
                          &q, fail);

    *out_last = *out_waiting = (struct tb_custody_object){0};
    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, log_id);
    while ((err = store_step_locked(&q, &row, fail)) == TB_OK && row) {
        out_last->number = (uint32_t)store_int(&q);
        out_last->first = store_int(&q);
        out_last->last = store_int(&q);
        is_waiting = store_int(&q) == 0;
        signature = store_blob(&q);
        out_last->is_signed = signature.len == sizeof(out_last->signature.octets);
        if (out_last->is_signed) {
            memcpy(out_last->signature.octets, signature.at, signature.len);
        }
        if (is_waiting && out_waiting->number == 0) {
            *out_waiting = *out_last;
        }
    }
    store_close(&q);
    return err;
}

static enum tb_err
next_object_locked(struct tb_store *store, const char *log_id, struct tb_custody_object *out,
                   struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct tb_custody_object last, waiting;
    struct tb_custody_head head;
    struct store_query q;
    enum tb_err err = read_objects_locked(store, log_id, &last, &waiting, fail);

    if (err != TB_OK) {
        return err;
    }
    if (waiting.number != 0) {
        *out = waiting;
        return TB_OK;
    }
    err = store_custody_head_locked(store, log_id, &head, fail);
    if (err != TB_OK) {
        return err;
    }
    /* the first object is made together with the manifest, which names its end */
    if ((last.number == 0 && !tb_log_id_valid(log_id)) || head.number <= last.last) {
        return tb_fail_set(fail, TB_ENOTFOUND, "S3 has the whole custody log of %s", log_id);
    }
    waiting = (struct tb_custody_object){
        .number = last.number + 1, .first = last.last + 1, .last = head.number};
    if (waiting.last - last.last > TB_CUSTODY_OBJECT_ENTRIES) {
        waiting.last = last.last + TB_CUSTODY_OBJECT_ENTRIES;
    }
    err = store_open_locked(
        store, "INSERT INTO custody_objects (log_id, number, first, last) VALUES (?, ?, ?, ?)",
        &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, log_id);
        store_bind_int(&q, waiting.number);
        store_bind_int(&q, waiting.first);
        store_bind_int(&q, waiting.last);
        err = store_run_locked(&q, NULL, fail);
    }
    if (err == TB_OK) {
        *out = waiting;
    }
    return err;
}

enum tb_err
tb_store_custody_next(struct tb_store *store, const char *log_id, struct tb_custody_object *out,
                      struct tb_fail *fail)
{
    struct tb_custody_object next;
    enum tb_err err;

    store_lock(store, "custody_next");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = next_object_locked(store, log_id, &next, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    if (err == TB_OK) {
        *out = next;
    }
    return err;
}

static enum tb_err
keep_signature_locked(struct tb_store *store, const char *log_id, uint32_t number,
                      struct tb_signature *inout, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct tb_bytes kept;
    struct store_query q;
    bool row = false;
    enum tb_err err =
        store_open_locked(store,
                          "UPDATE custody_objects SET signature = coalesce(signature, ?)"
                          " WHERE log_id = ? AND number = ? RETURNING signature",
                          &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_blob(&q, tb_bytes_of(inout->octets, sizeof(inout->octets)));
    store_bind_text(&q, log_id);
    store_bind_int(&q, number);
    err = store_step_locked(&q, &row, fail);
    if (err == TB_OK && row) {
        kept = store_blob(&q);
        memcpy(inout->octets, kept.at, sizeof(inout->octets)); /* the table's CHECK: 64 */
        err = store_step_locked(&q, &row, fail);
    } else if (err == TB_OK) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "%s has no custody object %u", log_id, number);
    }
    store_close(&q);
    return err;
}

enum tb_err
tb_store_custody_signed(struct tb_store *store, const char *log_id, uint32_t number,
                        struct tb_signature *inout, struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, "custody_signed");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = keep_signature_locked(store, log_id, number, inout, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_custody_uploaded(struct tb_store *store, const char *log_id, uint32_t number,
                          struct tb_fail *fail)
{
    struct store_query q;
    int changed = 0;
    enum tb_err err;

    store_lock(store, "custody_uploaded");
    err = store_open_locked(
        store, "UPDATE custody_objects SET uploaded = 1 WHERE log_id = ? AND number = ?", &q,
        fail);
    if (err == TB_OK) {
        store_bind_text(&q, log_id);
        store_bind_int(&q, number);
        err = store_run_locked(&q, &changed, fail);
    }
    tb_mutex_unlock(&store->mu);
    if (err == TB_OK && changed == 0) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "%s has no custody object %u", log_id, number);
    }
    return err;
}

enum tb_err
tb_store_custody_waiting(struct tb_store *store, size_t limit, char (**out)[TB_CAPTURE_ID_SIZE],
                         size_t *out_count, struct tb_fail *fail)
{
    struct store_list list = {.item_bytes = TB_CAPTURE_ID_SIZE};
    struct store_query q;
    bool row = false;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_open_locked(
        store,
        "SELECT m.capture_id FROM manifests AS m JOIN captures AS c ON c.id = m.capture_id"
        " WHERE c.state = 'sealed' AND"
        " (SELECT max(k.number) FROM custody AS k WHERE k.log_id = m.capture_id) >"
        " (SELECT coalesce(max(o.last), 0) FROM custody_objects AS o"
        "  WHERE o.log_id = m.capture_id AND o.uploaded = 1) LIMIT ?",
        &q, fail);
    if (err == TB_OK) {
        store_bind_int(&q, limit > INT64_MAX ? INT64_MAX : (int64_t)limit);
        while ((err = store_step_locked(&q, &row, fail)) == TB_OK && row) {
            char *id = store_list_add(&list);

            if (id == NULL) {
                err = tb_fail_set(fail, TB_ENOMEM, "no memory for captures");
                break;
            }
            store_text(&q, id, TB_CAPTURE_ID_SIZE);
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
