/* The sessions of a capture with all that they need, and those that come late, while it
 * records. */
#include "control_int.h"

#include <stdlib.h>

#include <tapbox/log.h>

static const int64_t late_first_ns = TB_NS_PER_S; /* the pause after a try that failed */
static const int64_t late_most_ns = 30 * TB_NS_PER_S;

/* Somebody removed the target or the filter: the next try makes new ones. */
static enum tb_err
forget_standing(struct control_account *account, const struct tb_capture *capture,
                const struct tb_fail *why, struct tb_fail *fail)
{
    control_standing_forget(account, why);
    if (!control_is_own(account)) {
        control_standing_forget(&account->control->accounts[0], why);
    }
    return control_says_gone(why, TB_RESOURCE_FILTER)
               ? control_forget_own_filter(account, capture, fail)
               : TB_OK;
}

enum tb_err
control_arm_sessions(struct control_account *account, struct tb_capture *work,
                     const struct control_self *self, struct tb_fail *trouble,
                     struct tb_fail *fail)
{
    struct tb_control *control = account->control;
    struct tb_fail why = {0};
    char target[TB_AWS_ID_SIZE];
    char filter[TB_AWS_ID_SIZE];
    enum tb_err err = control_standing_target(control, self, target, fail);

    if (err == TB_OK && !control_is_own(account)) {
        err = control_target_shared(account, self, target, fail);
    }
    if (err == TB_OK) {
        err = control_capture_filter(account, work, filter, fail);
    }
    if (err == TB_OK) {
        why.err = control_make_sessions(account, work, target, filter, &why);
        err = tb_store_sources_tried(control->deps.store, work->id, work->sources,
                                     work->source_count, fail);
    } else if (control_is_about_standing(err, fail)) {
        why = *fail;
        err = TB_OK;
    }
    if (err == TB_OK && control_is_about_standing(why.err, &why)) {
        err = forget_standing(account, work, &why, fail);
        why.err = TB_ERETRY;
    }
    if (err == TB_OK) {
        *trouble = why;
    }
    return err;
}

/* Whether it is to be armed, and is not. */
static bool
is_late(const struct tb_capture_source *source)
{
    return !source->armed && source->gap[0] == 0;
}

static size_t
count_late(const struct tb_capture *capture)
{
    size_t late = 0;

    for (size_t i = 0; i < capture->source_count; i++) {
        late += is_late(&capture->sources[i]) ? 1 : 0;
    }
    return late;
}

/* The capture's, or a free one; NULL: all are taken. */
static struct control_late *
find_late_locked(struct tb_control *control, const char *capture_id) TB_REQUIRES(control->mu)
{
    struct control_late *free_one = NULL;

    for (size_t i = 0; i < TB_RECORDER_MAX_CAPTURES; i++) {
        struct control_late *at = &control->locked.late[i];

        if (strcmp(at->capture_id, capture_id) == 0) {
            return at;
        }
        if (free_one == NULL && at->capture_id[0] == 0) {
            free_one = at;
        }
    }
    return free_one;
}

static bool
is_time(struct tb_control *control, const char *capture_id)
{
    struct control_late *at;
    bool time;

    tb_mutex_lock(&control->mu);
    at = find_late_locked(control, capture_id);
    time = at == NULL || at->capture_id[0] == 0 || tb_clock_boot_ns() >= at->next_boot_ns;
    tb_mutex_unlock(&control->mu);
    return time;
}

/* When it is tried again; how long that is from now. */
static int64_t
put_off(struct tb_control *control, const char *capture_id)
{
    int64_t pause_ns = late_first_ns;
    struct control_late *at;

    tb_mutex_lock(&control->mu);
    at = find_late_locked(control, capture_id);
    if (at != NULL) { /* else at the next look */
        (void)tb_str_copy(at->capture_id, sizeof(at->capture_id), capture_id);
        pause_ns = tb_plan_backoff_ns(at->attempt++, late_first_ns, late_most_ns);
        at->next_boot_ns = tb_clock_boot_ns() + pause_ns;
    }
    tb_mutex_unlock(&control->mu);
    return pause_ns;
}

void
control_forget_late(struct tb_control *control, const char *capture_id)
{
    struct control_late *at;

    tb_mutex_lock(&control->mu);
    at = find_late_locked(control, capture_id);
    if (at != NULL) {
        *at = (struct control_late){0};
    }
    tb_mutex_unlock(&control->mu);
}

/* What has come of a try: whether something was armed. */
static bool
tell_armed(const struct tb_capture *before, const struct tb_capture *after)
{
    bool armed = false;

    for (size_t i = 0; i < before->source_count; i++) {
        const struct tb_capture_source *now = &after->sources[i];

        if (!is_late(&before->sources[i]) || is_late(now)) {
            continue;
        }
        tb_log(now->armed ? TB_LOG_INFO : TB_LOG_WARN, before->id, "%s: %s", now->eni,
               now->gap);
        armed = armed || now->armed;
    }
    return armed;
}

bool
control_arm_late(struct tb_control *control, const struct tb_capture *capture)
{
    struct control_account *account = NULL;
    struct tb_capture *work = NULL;
    struct tb_fail trouble = {0};
    struct control_self self;
    struct tb_fail fail = {0};
    bool armed = false;
    enum tb_err err;

    if (count_late(capture) == 0 || !is_time(control, capture->id)) {
        return false;
    }
    work = malloc(sizeof(*work));
    if (work == NULL) {
        return false; /* the next look tries again */
    }
    *work = *capture;
    err = control_self_learn(control, &self, &fail);
    if (err == TB_OK) {
        err = control_account_of(control, &capture->request, &account, &fail);
    }
    if (err == TB_OK) {
        err = control_arm_sessions(account, work, &self, &trouble, &fail);
    }
    if (err == TB_OK) {
        armed = tell_armed(capture, work);
        if (trouble.err != TB_OK) {
            fail = trouble;
            err = trouble.err;
        }
    }
    if (armed) {
        /* one whose answer was lost says the deadline of the day when it was asked for */
        control_note_unsettled(control, capture->id);
    }
    if (err != TB_OK || count_late(work) > 0) {
        int64_t pause_ns = put_off(control, capture->id);

        tb_log_fail(TB_LOG_WARN, capture->id, &fail,
                    "%zu of %zu interfaces are not mirrored yet and are tried again in %lld ms",
                    count_late(work), work->source_count, (long long)(pause_ns / TB_NS_PER_MS));
    } else {
        control_forget_late(control, capture->id);
    }
    free(work);
    return armed;
}
