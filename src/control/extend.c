/* A later deadline: in the tags and confirmed, then in the recorder, then in the store; and
 * tags that say another one than the store. */
#include "control_int.h"

#include <tapbox/log.h>

/* Whether EC2 shows the expiry on each of these sessions; TB_ERETRY while it does not. */
static enum tb_err
confirm_expiry(struct tb_aws *aws, const char *const *enis, const char *const *ids,
               size_t count, const char *expires, struct tb_fail *fail)
{
    struct tb_ec2_sessions found = {0};
    enum tb_err err = tb_ec2_sessions_list(aws, enis, count, &found, fail);

    for (size_t i = 0; i < count && err == TB_OK; i++) {
        const char *shown = NULL;

        for (size_t j = 0; j < found.count; j++) {
            if (strcmp(found.at[j].id, ids[i]) == 0) {
                shown = tb_ec2_tag(&found.at[j].tags, TB_TAG_EXPIRES);
            }
        }
        if (shown == NULL || strcmp(shown, expires) != 0) {
            err = tb_fail_set(fail, TB_ERETRY, "EC2 does not show the later expiry of %s yet",
                              ids[i]);
        }
    }
    tb_ec2_sessions_release(&found);
    return err;
}

/* What carries the expiry of a capture: its sessions, and its own filter behind them. */
struct tagged {
    struct tb_resource *rows; /* the ids below are lent from these */
    size_t row_count;
    struct control_account *account;
    const char *enis[TB_CAPTURE_MAX_SOURCES];
    const char *ids[TB_CAPTURE_MAX_SOURCES + 1];
    size_t sessions, count;
};

static enum tb_err
find_tagged(struct tb_control *control, const struct tb_capture *capture, struct tagged *out,
            struct tb_fail *fail)
{
    const char *account_id = "";
    enum tb_err err = tb_store_resource_list(control->deps.store, capture->id, false,
                                             &out->rows, &out->row_count, fail);

    for (size_t i = 0; i < out->row_count && err == TB_OK; i++) {
        const struct tb_resource *row = &out->rows[i];

        if (row->state == TB_RESOURCE_CREATED && row->kind == TB_RESOURCE_SESSION &&
            out->sessions < TB_CAPTURE_MAX_SOURCES) {
            account_id = row->account; /* of all of them */
            out->enis[out->sessions] = row->key;
            out->ids[out->sessions++] = row->aws_id;
        }
    }
    out->count = out->sessions;
    for (size_t i = 0; i < out->row_count && err == TB_OK && out->count == out->sessions; i++) {
        const struct tb_resource *row = &out->rows[i];

        if (row->state == TB_RESOURCE_CREATED && row->kind == TB_RESOURCE_FILTER) {
            out->ids[out->count++] = row->aws_id;
        }
    }
    return err == TB_OK ? control_account_get(control, account_id, &out->account, fail) : err;
}

/* `expires` becomes the tag's text. */
static enum tb_err
tag(struct tb_control *control, const struct tagged *tagged, const struct tb_deadline *deadline,
    char expires[TB_TIME_TEXT_SIZE], struct tb_fail *fail)
{
    struct tb_ec2_effect effect;
    struct tb_ec2_tag tag;

    tb_time_format_s(expires, control_expires_utc_s(control, deadline));
    control_set_tag(&tag, TB_TAG_EXPIRES, expires);
    return tb_ec2_tag_set(tagged->account->aws, tagged->ids, tagged->count, &tag, 1, &effect,
                          fail);
}

/* Tags first, confirmed, then the recorder, then the store: whatever fails, nothing outlives a
 * deadline that the store does not know, and the recorder never stops before one that it does.
 */
static enum tb_err
extend(struct tb_control *control, const struct tb_capture *capture, struct tb_fail *fail)
{
    int64_t by_ns = capture->extend_to_utc_ns - capture->deadline.utc_ns;
    struct tb_deadline deadline =
        tb_deadline_moved(&capture->deadline, by_ns - by_ns % TB_NS_PER_S);
    char expires[TB_TIME_TEXT_SIZE];
    struct tagged tagged = {0};
    bool moved = false; /* the tags, perhaps */
    enum tb_err err = find_tagged(control, capture, &tagged, fail);

    if (err == TB_OK) {
        moved = true;
        err = tag(control, &tagged, &deadline, expires, fail);
    }
    if (err == TB_OK) {
        err = confirm_expiry(tagged.account->aws, tagged.enis, tagged.ids, tagged.sessions,
                             expires, fail);
    }
    if (err == TB_OK) {
        int64_t boot_ns = tb_clock_boot_ns() + tb_deadline_left_ns(&deadline);

        err = tb_recorder_extend(control->deps.recorder, capture->id, boot_ns, fail);
    }
    if (err == TB_OK) {
        err = tb_store_capture_extended(control->deps.store, capture->id, &deadline, fail);
    }
    if (err == TB_OK) {
        tb_log(TB_LOG_INFO, capture->id, "extended to %s", expires);
    } else if (moved) {
        /* The old deadline stands, at least for now, and so it has to in the tags: with this
         * host dead a sweep goes by them.  A recorder that would go on for longer is disarmed
         * at the deadline that the store has. */
        struct tb_fail why = {0};

        if (tag(control, &tagged, &capture->deadline, expires, &why) != TB_OK) {
            tb_log_fail(TB_LOG_WARN, capture->id, &why,
                        "the later expiry stays in the tags for now");
        }
    }
    tb_resources_free(tagged.rows, tagged.row_count);
    return err;
}

void
control_settle_expiry(struct tb_control *control, const struct tb_capture *capture)
{
    char expires[TB_TIME_TEXT_SIZE];
    struct tagged tagged = {0};
    struct tb_fail fail = {0};
    enum tb_err err = find_tagged(control, capture, &tagged, &fail);

    if (err == TB_OK) {
        err = tag(control, &tagged, &capture->deadline, expires, &fail);
    }
    if (err == TB_OK) {
        tb_log(TB_LOG_INFO, capture->id, "its tags say %s again, the deadline that stands",
               expires);
    } else {
        tb_log_fail(TB_LOG_WARN, capture->id, &fail, "its tags do not say the deadline");
    }
    tb_resources_free(tagged.rows, tagged.row_count);
}

/* An extension that AWS refuses for good is dropped: the old deadline stands. */
enum tb_err
control_try_to_extend(struct tb_control *control, const struct tb_capture *capture,
                      struct tb_fail *fail)
{
    bool withdrawn;
    enum tb_err err = extend(control, capture, fail);

    if (err == TB_OK || tb_err_is_retryable(err) || err == TB_ECLOSED) {
        return err == TB_ECLOSED ? TB_ERETRY : err;
    }
    tb_log_fail(TB_LOG_ERROR, capture->id, fail, "cannot be extended; the deadline stands");
    return tb_store_capture_withdraw_extend(control->deps.store, capture->id,
                                            capture->extend_to_utc_ns, &withdrawn, fail);
}
