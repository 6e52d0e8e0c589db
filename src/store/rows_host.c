/* Ledgers as text, and what the host counted while a capture ran. */
#include "store_int.h"

enum tb_err
store_write_ledger(const struct tb_ledger *ledger, struct tb_json *more, struct tb_buf *out,
                   struct tb_fail *fail)
{
    struct tb_json *json = more != NULL ? more : tb_json_object();
    enum tb_err err;

    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        tb_json_set_int(json, tb_ledger_fields[i].name, (int64_t)tb_ledger_get(ledger, i));
    }
    err = tb_json_dump(json, false, out, fail);
    tb_json_free(json);
    return err;
}

void
store_ledger_of_json(const struct tb_json *json, struct tb_ledger *out)
{
    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        char pointer[64] = "/";
        int64_t value = 0;

        (void)tb_str_copy(pointer + 1, sizeof(pointer) - 1, tb_ledger_fields[i].name);
        (void)tb_json_int(json, pointer, &value); /* one that is not there is 0 */
        tb_ledger_set(out, i, (uint64_t)value);
    }
}

enum tb_err
tb_store_host_mark(struct tb_store *store, const char *id, const struct tb_host_mark *mark,
                   struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(STORE_LEDGER_MAX_BYTES);
    struct tb_json *whose = tb_json_object();
    struct store_query q;
    enum tb_err err;

    tb_json_set_int(whose, "recorder_pid", mark->recorder_pid);
    tb_json_set_int(whose, "recorder_started_utc_ns", mark->recorder_started_utc_ns);
    err = store_write_ledger(&mark->ledger, whose, &text, fail);
    if (err == TB_OK) {
        store_lock(store, "capture_ledger");
        err = store_open_locked(store,
                                "UPDATE captures SET host_mark = ?"
                                " WHERE id = ? AND host_mark = ''", /* the first counts */
                                &q, fail);
        if (err == TB_OK) {
            store_bind_text(&q, tb_buf_str(&text));
            store_bind_text(&q, id);
            err = store_run_locked(&q, NULL, fail);
        }
        tb_mutex_unlock(&store->mu);
    }
    tb_buf_release(&text);
    return err;
}

enum tb_err
tb_store_host_closed(struct tb_store *store, const char *id, const struct tb_ledger *ledger,
                     struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(STORE_LEDGER_MAX_BYTES);
    struct store_query q;
    enum tb_err err = store_write_ledger(ledger, NULL, &text, fail);

    if (err == TB_OK) {
        store_lock(store, "capture_ledger");
        err = store_open_locked(store, "UPDATE captures SET host_ledger = ? WHERE id = ?", &q,
                                fail);
        if (err == TB_OK) {
            store_bind_text(&q, tb_buf_str(&text));
            store_bind_text(&q, id);
            err = store_run_locked(&q, NULL, fail);
        }
        tb_mutex_unlock(&store->mu);
    }
    tb_buf_release(&text);
    return err;
}

/* A column of the capture as JSON, NULL for ''; the caller frees it. */
static enum tb_err
read_json(struct tb_store *store, const char *id, const char *sql, struct tb_json **out,
          struct tb_fail *fail)
{
    struct store_query q;
    bool row = false;
    enum tb_err err;

    *out = NULL;
    store_lock(store, NULL);
    err = store_open_locked(store, sql, &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, id);
        err = store_step_locked(&q, &row, fail);
        if (err == TB_OK && row) {
            struct tb_bytes text = store_blob(&q);

            err = text.len > 0 ? tb_json_parse(text, out, fail) : TB_OK;
        }
        store_close(&q);
    }
    tb_mutex_unlock(&store->mu);
    if (err == TB_OK && !row) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "there is no capture %s", id);
    }
    return err;
}

enum tb_err
tb_store_host_mark_get(struct tb_store *store, const char *id, struct tb_host_mark *out,
                       bool *out_known, struct tb_fail *fail)
{
    struct tb_host_mark mark = {.recorder_pid = 0};
    struct tb_json *json = NULL;
    int64_t pid = 0;
    enum tb_err err =
        read_json(store, id, "SELECT host_mark FROM captures WHERE id = ?", &json, fail);

    if (err == TB_OK && json != NULL) {
        store_ledger_of_json(json, &mark.ledger);
        (void)tb_json_int(json, "/recorder_pid", &pid);
        (void)tb_json_int(json, "/recorder_started_utc_ns", &mark.recorder_started_utc_ns);
        mark.recorder_pid = (int32_t)pid;
        *out = mark;
    }
    *out_known = json != NULL;
    tb_json_free(json);
    return err;
}

enum tb_err
tb_store_host_ledger_get(struct tb_store *store, const char *id, struct tb_ledger *out,
                         bool *out_known, struct tb_fail *fail)
{
    struct tb_json *json = NULL;
    enum tb_err err =
        read_json(store, id, "SELECT host_ledger FROM captures WHERE id = ?", &json, fail);

    if (err == TB_OK && json != NULL) {
        store_ledger_of_json(json, out);
    }
    *out_known = json != NULL;
    tb_json_free(json);
    return err;
}
