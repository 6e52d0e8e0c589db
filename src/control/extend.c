/* A later deadline: in the tags and confirmed, then in the recorder, then in the store; tags
 * that say another one than the store; and deadlines of an earlier boot. */
#include "control_int.h"

#include <tapbox/log.h>

/* EC2 may show tags a while after it took them: it is asked so often, */
static const int64_t show_poll_ns = 250 * TB_NS_PER_MS;
/* and after so long told again, should somebody else have changed them meanwhile. */
static const int64_t show_patience_ns = 15 * TB_NS_PER_S;

/* --- whose tags may be wrong --- */

/* The capture's, or a free one; NULL: all are taken. */
static struct control_expiry *
find_expiry_locked(struct tb_control *control, const char *capture_id) TB_REQUIRES(control->mu)
{
    struct control_expiry *free_one = NULL;

    for (size_t i = 0; i < TB_RECORDER_MAX_CAPTURES; i++) {
        struct control_expiry *at = &control->locked.expiries[i];

        if (strcmp(at->capture_id, capture_id) == 0) {
            return at;
        }
        if (free_one == NULL && at->capture_id[0] == 0) {
            free_one = at;
        }
    }
    return free_one;
}

/* `expires` NULL: they say nobody knows what. */
static void
note_told(struct tb_control *control, const char *capture_id, int64_t to_utc_ns,
          const char *expires)
{
    struct control_expiry *at;

    tb_mutex_lock(&control->mu);
    at = find_expiry_locked(control, capture_id);
    if (at != NULL) { /* else the reconciler notices */
        *at =
            (struct control_expiry){.to_utc_ns = to_utc_ns, .told_boot_ns = tb_clock_boot_ns()};
        (void)tb_str_copy(at->capture_id, sizeof(at->capture_id), capture_id);
        (void)tb_str_copy(at->expires, sizeof(at->expires), expires != NULL ? expires : "");
    }
    tb_mutex_unlock(&control->mu);
}

void
control_note_unsettled(struct tb_control *control, const char *capture_id)
{
    note_told(control, capture_id, 0, NULL);
}

bool
control_take_unsettled(struct tb_control *control, const char *capture_id)
{
    struct control_expiry *at;
    bool noted;

    tb_mutex_lock(&control->mu);
    at = find_expiry_locked(control, capture_id);
    noted = at != NULL && at->capture_id[0] != 0;
    if (noted) {
        at->capture_id[0] = 0;
    }
    tb_mutex_unlock(&control->mu);
    return noted;
}

/* Whether its tags were told of this extension, not too long ago, and how it reads there. */
static bool
was_told(struct tb_control *control, const struct tb_capture *capture,
         char expires[TB_TIME_TEXT_SIZE])
{
    struct control_expiry *at;
    bool told;

    tb_mutex_lock(&control->mu);
    at = find_expiry_locked(control, capture->id);
    told = at != NULL && at->capture_id[0] != 0 && at->to_utc_ns == capture->extend_to_utc_ns &&
           tb_clock_boot_ns() - at->told_boot_ns < show_patience_ns;
    if (told) {
        memcpy(expires, at->expires, TB_TIME_TEXT_SIZE);
    }
    tb_mutex_unlock(&control->mu);
    return told;
}

/* --- the tags --- */

/* Whether EC2 shows the expiry on each of these sessions. */
static enum tb_err
look_for_expiry(struct tb_aws *aws, const char *const *enis, const char *const *ids,
                size_t count, const char *expires, bool *out_shown, struct tb_fail *fail)
{
    struct tb_ec2_sessions found = {0};
    enum tb_err err = tb_ec2_sessions_list(aws, enis, count, &found, fail);
    bool all_shown = err == TB_OK;

    for (size_t i = 0; i < count && all_shown; i++) {
        const char *shown = NULL;

        for (size_t j = 0; j < found.count; j++) {
            if (strcmp(found.at[j].id, ids[i]) == 0) {
                shown = tb_ec2_tag(&found.at[j].tags, TB_TAG_EXPIRES);
            }
        }
        all_shown = shown != NULL && strcmp(shown, expires) == 0;
    }
    *out_shown = all_shown;
    tb_ec2_sessions_release(&found);
    return err;
}

/* What carries the expiry of a capture: the sessions of its sources that are not lost, and its
 * own filter behind them. */
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
            if (!control_is_armed(capture, row->key)) {
                continue; /* nobody needs it for longer, if it is still there */
            }
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
    enum tb_err err = control_learn_aws_time(tagged->account, fail);

    if (err != TB_OK) {
        return err;
    }
    tb_time_format_s(expires, control_expires_utc_s(control, deadline));
    control_set_tag(&tag, TB_TAG_EXPIRES, expires);
    return tb_ec2_tag_set(tagged->account->aws, tagged->ids, tagged->count, &tag, 1, &effect,
                          fail);
}

/* --- a later deadline --- */

/*
 * Tags first, confirmed, then the recorder, then the store: whatever fails, nothing outlives a
 * deadline that the store does not know, and the recorder never stops before one that it does.
 *
 * While the extension is asked for and may still come, the tags keep the later expiry: EC2 has
 * to be given time to show it.  Once it is withdrawn, refused, or cannot be had here, they go
 * back to the deadline that stands: with this host dead a sweep goes by them.
 */
static enum tb_err
extend(struct tb_control *control, const struct tb_capture *capture, bool *out_shown,
       struct tb_fail *fail)
{
    int64_t by_ns = capture->extend_to_utc_ns - capture->deadline.utc_ns;
    struct tb_deadline deadline =
        tb_deadline_moved(&capture->deadline, by_ns - by_ns % TB_NS_PER_S);
    char expires[TB_TIME_TEXT_SIZE];
    struct tagged tagged = {0};
    enum tb_err err;

    *out_shown = false;
    if (tb_deadline_left_ns(&capture->deadline) <= 0) {
        return TB_OK; /* what the step did before this took long */
    }
    err = find_tagged(control, capture, &tagged, fail);
    if (err == TB_OK && !was_told(control, capture, expires)) {
        control_note_unsettled(control, capture->id); /* the answer may be lost */
        err = tag(control, &tagged, &deadline, expires, fail);
        if (err == TB_OK) {
            note_told(control, capture->id, capture->extend_to_utc_ns, expires);
        }
    }
    if (err == TB_OK) {
        err = look_for_expiry(tagged.account->aws, tagged.enis, tagged.ids, tagged.sessions,
                              expires, out_shown, fail);
    }
    /* EC2 took its time: the sessions that it showed may have been deleted meanwhile */
    *out_shown = *out_shown && tb_deadline_left_ns(&capture->deadline) > 0;
    tb_resources_free(tagged.rows, tagged.row_count);
    if (err != TB_OK || !*out_shown) {
        return err;
    }
    err = tb_recorder_extend(control->deps.recorder, capture->id,
                             tb_clock_boot_ns() + tb_deadline_left_ns(&deadline), fail);
    if (err == TB_OK) {
        err = tb_store_capture_extended(control->deps.store, capture->id, &deadline, fail);
    }
    (void)control_take_unsettled(control, capture->id);
    if (err == TB_OK) {
        tb_log(TB_LOG_INFO, capture->id, "extended to %s", expires);
    } else {
        /* (a recorder that would go on for longer is disarmed at the deadline that the store
         * has) */
        control_settle_expiry(control, capture);
    }
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
                      int64_t *again_ns, struct tb_fail *fail)
{
    bool shown;
    enum tb_err err = extend(control, capture, &shown, fail);

    if (err == TB_OK && !shown && *again_ns > show_poll_ns) {
        *again_ns = show_poll_ns;
    }
    if (err == TB_OK || tb_err_is_retryable(err) || err == TB_ECLOSED) {
        return err == TB_ECLOSED ? TB_ERETRY : err;
    }
    *again_ns = 0; /* the tags are put right */
    tb_log_fail(TB_LOG_ERROR, capture->id, fail, "cannot be extended; the deadline stands");
    return tb_store_capture_refuse_extend(control->deps.store, capture->id,
                                          capture->extend_to_utc_ns, fail);
}

/* --- a deadline of an earlier boot --- */

/* When it ends by AWS's clock: as its sessions were told; of several the earliest, as one that
 * was made in this boot went by this host's. */
static enum tb_err
find_end(struct tb_control *control, const struct tb_capture *capture, int64_t *out_utc_ns,
         struct tb_fail *fail)
{
    struct tb_resource *rows = NULL;
    int64_t end_utc_s = 0;
    size_t count = 0;
    enum tb_err err =
        tb_store_resource_list(control->deps.store, capture->id, false, &rows, &count, fail);

    for (size_t i = 0; i < count && err == TB_OK; i++) {
        if (rows[i].kind == TB_RESOURCE_SESSION && rows[i].expires_utc_s != 0 &&
            (end_utc_s == 0 || rows[i].expires_utc_s < end_utc_s)) {
            end_utc_s = rows[i].expires_utc_s;
        }
    }
    tb_resources_free(rows, count);
    *out_utc_ns = end_utc_s != 0 ? end_utc_s * TB_NS_PER_S : capture->deadline.utc_ns;
    return err;
}

bool
control_recount_deadline(struct tb_control *control, const struct tb_capture *capture)
{
    struct tb_fail fail = {0};
    struct tb_deadline deadline;
    int64_t end_utc_ns;
    enum tb_err err;

    if (!control_has_aws_time(control) || tb_clock_boot_id()[0] == 0 ||
        tb_deadline_is_of_this_boot(&capture->deadline)) {
        return false;
    }
    err = find_end(control, capture, &end_utc_ns, &fail);
    if (err == TB_OK) {
        deadline = tb_deadline_in(end_utc_ns - control_aws_now_ns(control));
        deadline.utc_ns = capture->deadline.utc_ns;
        err = tb_store_capture_recount(control->deps.store, capture->id, &deadline, &fail);
    }
    if (err != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, capture->id, &fail,
                    "its deadline is still judged by the wall clock");
        return false;
    }
    tb_log(TB_LOG_INFO, capture->id, "begun before this boot: by AWS's clock %lld s are left",
           (long long)(tb_deadline_left_ns(&deadline) / TB_NS_PER_S));
    /* one that does not know it yet is told when it is armed */
    if (tb_recorder_extend(control->deps.recorder, capture->id, deadline.boot_ns, &fail) !=
        TB_OK) {
        tb_log_fail(TB_LOG_DEBUG, capture->id, &fail, "the recorder is not told");
    }
    return true;
}
