/* What an alert's row holds, made before the store's lock is taken. */
#include "store_int.h"

#include <stdlib.h>

enum tb_err
store_filter_text(const struct tb_filter *filter, struct tb_buf *out, struct tb_fail *fail)
{
    struct tb_json *json = tb_filter_json(filter);
    enum tb_err err = tb_json_dump(json, false, out, fail);

    tb_json_free(json);
    return err;
}

/* For the columns "parsed" and "filter": nothing of a request, and of what is not captured. */
static enum tb_err
write_texts(const struct tb_intake *intake, struct tb_buf *parsed, struct tb_buf *filter,
            struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    if (intake->alert != NULL) {
        struct tb_json *json = tb_alert_json(intake->alert);

        err = tb_json_dump(json, false, parsed, fail);
        tb_json_free(json);
    }
    if (err == TB_OK && intake->capture != NULL) {
        err = store_filter_text(&intake->capture->filter, filter, fail);
    }
    if (err == TB_OK) {
        tb_buf_put_u8(parsed, 0);
        tb_buf_put_u8(filter, 0);
        err = tb_buf_check(parsed, "an alert", fail);
    }
    return err == TB_OK ? tb_buf_check(filter, "a filter", fail) : err;
}

enum tb_err
tb_store_prepare(const struct tb_intake *intake, struct tb_intake_prepared **out,
                 struct tb_fail *fail)
{
    struct tb_buf parsed = TB_BUF_INIT(TB_ALERT_JSON_MAX_BYTES);
    struct tb_buf filter = TB_BUF_INIT(TB_FILTER_JSON_MAX_BYTES);
    struct tb_intake_prepared *made = NULL;
    enum tb_err err = write_texts(intake, &parsed, &filter, fail);

    if (err != TB_OK) {
        goto out;
    }
    made = malloc(sizeof(*made) + parsed.len + filter.len);
    if (made == NULL) {
        err = tb_fail_set(fail, TB_ENOMEM, "no memory for an alert");
        goto out;
    }
    made->parsed = memcpy(made->texts, parsed.at, parsed.len);
    made->filter = memcpy(made->texts + parsed.len, filter.at, filter.len);
    err = tb_sha256(intake->body, &made->body);
    if (err != TB_OK) {
        (void)tb_fail_set(fail, err, "SHA-256 of an alert failed");
        goto out;
    }
    *out = made; /* the caller owns it from here */
    made = NULL;

out:
    tb_store_prepared_free(made);
    tb_buf_release(&filter);
    tb_buf_release(&parsed);
    return err;
}

void
tb_store_prepared_free(struct tb_intake_prepared *prepared)
{
    free(prepared);
}
