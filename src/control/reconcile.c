/*
 * Desired against actual: what should be mirrored is, what should be gone is, and what others
 * do to our sources and sessions ends a capture with that reason.
 *
 * Runs for each account on a thread of its own, every period.  EC2 is eventually consistent:
 * what is missing is believed only when it is missing twice in a row.
 */
#include "control_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/log.h>

#include "preflight.h"

static const int64_t period_ns = 15 * TB_NS_PER_S;
static const int64_t first_ns = 5 * TB_NS_PER_S; /* after what a crash may have left */

/* AWS's clock is known to a second, and the tags have whole ones. */
static const int64_t expiry_slack_s = 2;

enum {
    ASKED_TOGETHER = 100 /* interfaces in one describe; EC2 takes 200 values of a filter */
};

/* A source that looked gone the last time, too. */
struct suspect {
    char capture_id[TB_CAPTURE_ID_SIZE];
    char eni[TB_AWS_ID_SIZE];
};

struct reconcile {
    struct control_account *account;
    struct suspect *before; /* of the last round */
    size_t before_count;
    struct suspect *now;
    size_t now_count, now_cap;
    struct control_watch watch;
    struct control_mended mended[CONTROL_MENDED_MOST];
    char target_gone[TB_CAPTURE_MAX_TEXT]; /* why nothing arrives any more; "" : as far as is
                                              known it does */
};

static bool
was_suspect(const struct reconcile *r, const char *capture_id, const char *eni)
{
    for (size_t i = 0; i < r->before_count; i++) {
        if (strcmp(r->before[i].capture_id, capture_id) == 0 &&
            strcmp(r->before[i].eni, eni) == 0) {
            return true;
        }
    }
    return false;
}

static void
suspect(struct reconcile *r, const char *capture_id, const char *eni)
{
    if (r->now_count == r->now_cap) {
        size_t cap = r->now_cap == 0 ? 16 : 2 * r->now_cap;
        struct suspect *grown = realloc(r->now, cap * sizeof(*grown));

        if (grown == NULL) {
            return; /* noticed a round later */
        }
        r->now = grown;
        r->now_cap = cap;
    }
    (void)tb_str_copy(r->now[r->now_count].capture_id, TB_CAPTURE_ID_SIZE, capture_id);
    (void)tb_str_copy(r->now[r->now_count].eni, TB_AWS_ID_SIZE, eni);
    r->now_count++;
}

static bool
has_session(const struct tb_ec2_sessions *sessions, const char *id)
{
    for (size_t i = 0; i < sessions->count; i++) {
        if (strcmp(sessions->at[i].id, id) == 0) {
            return true;
        }
    }
    return false;
}

/* Changed since it was planned, to a type that AWS does not mirror; the table alone is not
 * believed, since EC2 took what it may not know. */
static bool
is_retyped(const struct tb_ec2_instance *instance, const struct tb_capture_source *source)
{
    return source->instance_type[0] != 0 && instance->type[0] != 0 &&
           strcmp(instance->type, source->instance_type) != 0 &&
           preflight_type_is_mirrored(source->instance_type) &&
           !preflight_type_is_mirrored(instance->type);
}

/* What is wrong with an interface that is being captured; "" when nothing is, or when EC2
 * cannot be asked now. */
static void
look_at_source(struct control_account *account, const struct tb_capture_source *source,
               char *out, size_t cap)
{
    struct tb_ec2_interfaces found = {0};
    struct tb_ec2_instance instance = {0};
    const char *eni = source->eni;
    struct tb_fail fail = {0};
    enum tb_err err = tb_ec2_interfaces_by_id(account->aws, &eni, 1, &found, &fail);

    out[0] = 0;
    if (err == TB_ENOTFOUND || (err == TB_OK && found.count == 0)) {
        (void)snprintf(out, cap, "the interface was deleted");
    } else if (err == TB_OK && strcmp(found.at[0].instance, source->instance) != 0) {
        (void)snprintf(out, cap, "the interface was detached from %.40s", source->instance);
    } else if (err == TB_OK && strcmp(found.at[0].status, "in-use") != 0) {
        (void)snprintf(out, cap, "the interface was detached");
    } else if (err == TB_OK && source->instance[0] != 0) { /* (else a service's, of RDS, say) */
        err = tb_ec2_instance_get(account->aws, source->instance, &instance, &fail);
        if (err == TB_ENOTFOUND) {
            (void)snprintf(out, cap, "the instance %.40s is gone", source->instance);
        } else if (err == TB_OK && strcmp(instance.state, "running") != 0 &&
                   strcmp(instance.state, "pending") != 0) {
            (void)snprintf(out, cap, "the instance %.40s is %.30s", source->instance,
                           instance.state);
        } else if (err == TB_OK && is_retyped(&instance, source)) {
            (void)snprintf(out, cap,
                           "the instance %.40s is a %.31s now, which is not mirrored (it was a "
                           "%.31s)",
                           source->instance, instance.type, source->instance_type);
        }
    }
    if (err != TB_OK && err != TB_ENOTFOUND) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail, "cannot look at %s", source->eni);
    }
    tb_ec2_instance_release(&instance);
    tb_ec2_interfaces_release(&found);
}

/* Marks a source as lost; the last one ends the capture. */
static void
lose_source(struct tb_control *control, const char *capture_id, const char *eni,
            const char *reason)
{
    struct tb_fail fail = {0};
    size_t left = 0;
    enum tb_err err =
        tb_store_source_lost(control->deps.store, capture_id, eni, reason, &left, &fail);

    if (err == TB_ESTATE) {
        return; /* somebody else has seen it, too, and was first */
    }
    tb_log(TB_LOG_WARN, capture_id, "%s is lost: %s", eni, reason);
    if (err == TB_OK && left == 0) {
        struct tb_fail why;

        (void)tb_fail_set(&why, TB_ENOTFOUND, "%s: %s", eni, reason);
        err = tb_store_capture_error(control->deps.store, capture_id, &why, &fail);
        if (err == TB_OK) {
            err = tb_store_capture_ask_stop(control->deps.store, capture_id,
                                            TB_STOP_SOURCE_GONE, NULL, &fail);
        }
        tb_control_wake(control);
    }
    if (err != TB_OK && err != TB_ESTATE) {
        tb_log_fail(TB_LOG_ERROR, capture_id, &fail, "cannot write down a lost source");
    }
}

static const struct tb_resource *
session_row(const struct tb_resource *rows, size_t count, const char *eni)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].kind == TB_RESOURCE_SESSION && rows[i].state == TB_RESOURCE_CREATED &&
            strcmp(rows[i].key, eni) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

void
control_look_at_sources(struct tb_control *control, const struct tb_capture *capture)
{
    struct control_account *account = NULL;
    struct tb_fail fail = {0};

    if (control_account_of(control, &capture->request, &account, &fail) != TB_OK) {
        return; /* noticed by the reconciler */
    }
    for (size_t i = 0; i < capture->source_count; i++) {
        const struct tb_capture_source *source = &capture->sources[i];
        char reason[TB_CAPTURE_MAX_TEXT];

        if (!source->armed) {
            continue;
        }
        look_at_source(account, source, reason, sizeof(reason));
        if (reason[0] != 0) {
            lose_source(control, capture->id, source->eni, reason);
        }
    }
}

/* A session of ours that should be there, and what is wrong with it or its interface. */
struct watched {
    struct tb_capture *capture; /* shared with the others of it; owned by the first */
    size_t source;
    bool owns_capture;
    char reason[TB_CAPTURE_MAX_TEXT]; /* "" : nothing, as far as is known */
};

struct watch_list {
    struct watched *at;
    size_t count, cap;
};

static void
release_watched(struct watch_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->at[i].owns_capture) {
            free(list->at[i].capture);
        }
    }
    free(list->at);
}

/* False without memory: it is looked at the next time. */
static bool
add_watched(struct watch_list *list, struct tb_capture *capture, size_t source, bool owns,
            const char *reason)
{
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 64 : 2 * list->cap;
        struct watched *grown = realloc(list->at, cap * sizeof(*grown));

        if (grown == NULL) {
            return false;
        }
        list->at = grown;
        list->cap = cap;
    }
    list->at[list->count] =
        (struct watched){.capture = capture, .source = source, .owns_capture = owns};
    (void)tb_str_copy(list->at[list->count].reason, sizeof(list->at[list->count].reason),
                      reason);
    list->count++;
    return true;
}

/* Whether a session of ours says another deadline than the store does. */
static bool
is_unsettled(struct tb_control *control, const struct tb_capture *capture,
             const struct tb_ec2_sessions *sessions, const char *id)
{
    int64_t expires_utc_ns;
    int64_t off_s;

    for (size_t i = 0; i < sessions->count; i++) {
        const char *expires = tb_ec2_tag(&sessions->at[i].tags, TB_TAG_EXPIRES);

        if (strcmp(sessions->at[i].id, id) != 0) {
            continue;
        }
        if (expires == NULL || tb_time_parse(expires, &expires_utc_ns) != TB_OK) {
            return true;
        }
        off_s =
            expires_utc_ns / TB_NS_PER_S - control_expires_utc_s(control, &capture->deadline);
        return off_s > expiry_slack_s || off_s < -expiry_slack_s;
    }
    return false;
}

/* The armed interfaces of one capture whose sessions are in this account. */
static void
watch_capture(struct reconcile *r, const char *id, const struct tb_ec2_sessions *sessions,
              struct watch_list *list)
{
    struct tb_store *store = r->account->control->deps.store;
    struct tb_capture *capture = malloc(sizeof(*capture));
    struct tb_resource *rows = NULL;
    struct tb_fail fail = {0};
    size_t count = 0;
    bool owned = false;

    if (capture == NULL || tb_store_capture_get(store, id, capture, &fail) != TB_OK ||
        tb_store_resource_list(store, id, false, &rows, &count, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, id, &fail, "cannot read the capture and its AWS objects");
        free(capture);
        return;
    }
    for (size_t i = 0; i < capture->source_count; i++) {
        const struct tb_resource *row = session_row(rows, count, capture->sources[i].eni);
        char reason[TB_CAPTURE_MAX_TEXT] = "";

        if (!capture->sources[i].armed || row == NULL ||
            strcmp(row->account, r->account->id) != 0) {
            continue;
        }
        if (control_check_place(r->account->control, row, &fail) != TB_OK) {
            tb_log_fail(TB_LOG_ERROR, id, &fail, "cannot look at %s", row->aws_id);
            continue;
        }
        if (r->target_gone[0] != 0) {
            (void)tb_str_copy(reason, sizeof(reason), r->target_gone);
        } else if (control_is_settled(r->account->control, row->created_steady_ns) &&
                   !has_session(sessions, row->aws_id)) {
            (void)snprintf(reason, sizeof(reason),
                           "its mirror session %.40s was deleted by somebody else",
                           row->aws_id);
        }
        /* one that is being extended says what is to come */
        if (capture->extend_to_utc_ns <= capture->deadline.utc_ns &&
            is_unsettled(r->account->control, capture, sessions, row->aws_id)) {
            control_note_unsettled(r->account->control, id);
        }
        owned = add_watched(list, capture, i, !owned, reason) || owned;
    }
    if (!owned) {
        free(capture);
    }
    tb_resources_free(rows, count);
}

static bool
is_well(const struct tb_ec2_instances *instances, const struct tb_capture_source *source)
{
    for (size_t i = 0; i < instances->count; i++) {
        const struct tb_ec2_instance *instance = &instances->at[i];

        if (strcmp(instance->instance, source->instance) != 0 ||
            (strcmp(instance->state, "running") != 0 &&
             strcmp(instance->state, "pending") != 0) ||
            is_retyped(instance, source)) {
            continue;
        }
        for (size_t j = 0; j < instance->interfaces.count; j++) {
            if (strcmp(instance->interfaces.at[j].eni, source->eni) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* Many interfaces in one question; only those that the answer does not show as they should be
 * are looked at one by one. */
static void
look_at_sources(struct reconcile *r, struct watched *at, size_t count)
{
    struct tb_ec2_instances instances = {0};
    const char *enis[ASKED_TOGETHER];
    struct tb_fail fail = {0};

    for (size_t i = 0; i < count; i++) {
        enis[i] = at[i].capture->sources[at[i].source].eni;
    }
    if (tb_ec2_instances_of_interfaces(r->account->aws, enis, count, &instances, &fail) !=
        TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail, "cannot look at %zu sources", count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const struct tb_capture_source *source = &at[i].capture->sources[at[i].source];

        if (at[i].reason[0] == 0 && !is_well(&instances, source)) {
            look_at_source(r->account, source, at[i].reason, sizeof(at[i].reason));
        }
    }
    tb_ec2_instances_release(&instances);
}

static void
look_at_captures(struct reconcile *r, const struct tb_ec2_sessions *sessions)
{
    struct tb_control *control = r->account->control;
    struct watch_list list = {0};
    struct tb_due *due = NULL;
    struct tb_fail fail = {0};
    size_t count = 0;

    if (tb_store_due_list(control->deps.store, &due, &count, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, NULL, &fail, "cannot list the captures");
        count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (due[i].state == TB_CAPTURE_RECORDING) {
            watch_capture(r, due[i].id, sessions, &list);
        }
    }
    free(due);
    for (size_t i = 0; i < list.count; i += ASKED_TOGETHER) {
        size_t left = list.count - i;

        look_at_sources(r, &list.at[i], left < ASKED_TOGETHER ? left : ASKED_TOGETHER);
    }
    for (size_t i = 0; i < list.count; i++) {
        struct watched *one = &list.at[i];
        const char *eni = one->capture->sources[one->source].eni;

        if (one->reason[0] != 0 && was_suspect(r, one->capture->id, eni)) {
            lose_source(control, one->capture->id, eni, one->reason);
        } else if (one->reason[0] != 0) {
            suspect(r, one->capture->id, eni);
        }
    }
    release_watched(&list);
}

/* What this store knows of a capture whose session EC2 lists. */
static enum tb_sweep_word
know_capture(void *arg, const char *capture_id)
{
    struct tb_control *control = arg;
    struct tb_capture *capture = malloc(sizeof(*capture));
    enum tb_sweep_word word = TB_SWEEP_BY_TAGS;

    if (capture != NULL &&
        tb_store_capture_get(control->deps.store, capture_id, capture, NULL) == TB_OK) {
        if (tb_capture_state_is_final(capture->state)) {
            /* its teardown believed that it was gone: so it is, and EC2 still lists it, or it
             * turned up late */
            if (control_is_settled(control, capture->ended_steady_ns)) {
                word = TB_SWEEP_REMOVE;
            }
        } else if (tb_plan_stop(capture) == TB_STOP_NONE) {
            word = TB_SWEEP_KEEP;
        }
    }
    free(capture);
    return word;
}

/* The interface that mirrors send to: without it sessions mirror, and bill, for nothing. */
static void
look_at_target(struct reconcile *r)
{
    struct tb_control *control = r->account->control;
    struct tb_ec2_interfaces found = {0};
    struct tb_fail fail = {0};
    struct control_self self;
    const char *eni;
    enum tb_err err;

    r->target_gone[0] = 0;
    tb_mutex_lock(&control->mu);
    self = control->locked.self;
    tb_mutex_unlock(&control->mu);
    /* (it may have gone before this process could learn anything of it) */
    eni = self.known ? self.target.eni : control->deps.config->target_eni;
    if (eni[0] == 0) {
        return;
    }
    err = tb_ec2_interfaces_by_id(control->deps.aws, &eni, 1, &found, &fail);
    if (err == TB_ENOTFOUND || (err == TB_OK && found.count == 0)) {
        (void)snprintf(r->target_gone, sizeof(r->target_gone),
                       "the target's interface %.40s was deleted: nothing arrives", eni);
    } else if (err == TB_OK && found.at[0].instance[0] == 0) {
        (void)snprintf(r->target_gone, sizeof(r->target_gone),
                       "the target's interface %.40s was detached: nothing arrives", eni);
    } else if (err == TB_OK && self.known &&
               strcmp(found.at[0].instance, self.target.instance) != 0) {
        (void)snprintf(r->target_gone, sizeof(r->target_gone),
                       "the target's interface %.40s was moved from %.40s to %.40s: nothing "
                       "arrives",
                       eni, self.target.instance, found.at[0].instance);
    } else if (err != TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail, "cannot look at the target's interface");
    }
    tb_ec2_interfaces_release(&found);
}

static void
report_sweep(void *arg, const char *line)
{
    (void)arg;
    tb_log(TB_LOG_WARN, NULL, "found by the reconciler: %s", line);
}

/* What is deleted by its tags has no row of its own in the store: the host's log has it. */
static void
note_swept(void *arg, const struct tb_swept *one)
{
    const struct control_account *account = arg;
    struct tb_json *detail = tb_swept_json(one, "deleted");
    struct tb_fail fail = {0};

    tb_json_set_text(detail, "account", account->id);
    if (tb_store_custody_add(account->control->deps.store, NULL, "aws_swept", NULL, detail,
                             &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, NULL, &fail, "cannot note what was swept");
    }
}

static void
look_at_filters(void *arg, const struct tb_ec2_filters *filters)
{
    struct reconcile *r = arg;

    r->watch.filters = filters;
    control_watch_mirrors(&r->watch);
}

/* How many mirror sessions of the account are not ours: the rogue-mirror watch. */
static void
count_foreign(struct control_account *account, const struct tb_ec2_sessions *sessions)
{
    size_t foreign = 0;

    for (size_t i = 0; i < sessions->count; i++) {
        foreign += control_is_foreign(account, &sessions->at[i]) ? 1 : 0;
    }
    tb_mutex_lock(&account->mu);
    account->locked.foreign_sessions = foreign;
    tb_mutex_unlock(&account->mu);
}

static void
reconcile_once(struct reconcile *r)
{
    struct control_account *account = r->account;
    struct tb_control *control = account->control;
    struct tb_sweep_options sweep = {.owner = control->deps.config->owner,
                                     .know = know_capture,
                                     .know_arg = control,
                                     .filters = look_at_filters,
                                     .filters_arg = r,
                                     .deleted = note_swept,
                                     .deleted_arg = account};
    struct tb_sweep_result swept;
    struct tb_ec2_sessions sessions = {0};
    struct tb_fail fail = {0};
    int64_t began_utc_ns = tb_clock_utc_ns();

    if (tb_ec2_sessions_list(account->aws, NULL, 0, &sessions, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail, "cannot list the mirror sessions%s%s",
                    control_is_own(account) ? "" : " of account ", account->id);
        return;
    }
    control_note_aws_time(control, sessions.server_utc_s);
    count_foreign(account, &sessions);
    look_at_target(r);
    look_at_captures(r, &sessions);
    r->watch = (struct control_watch){.account = account,
                                      .sessions = &sessions,
                                      .since_utc_ns = r->watch.since_utc_ns,
                                      .mended = r->mended};
    /* Ours and expired, whether or not this store knows of it. */
    if (tb_sweep(account->aws, &sweep, report_sweep, NULL, &swept, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail, "cannot sweep");
    }
    if (r->watch.filters != NULL && !r->watch.wrong) {
        r->watch.since_utc_ns = began_utc_ns;
    }
    atomic_fetch_add(&control->delete_failures, swept.failed);
    tb_ec2_sessions_release(&sessions);
    free(r->before);
    r->before = r->now;
    r->before_count = r->now_count;
    r->now = NULL;
    r->now_count = r->now_cap = 0;
}

static void
learn_self(struct tb_control *control)
{
    struct control_self self;
    struct tb_fail fail = {0};

    if (control_self_learn(control, &self, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail, "AWS has not said yet who and where we are");
    }
}

void *
control_reconcile_run(void *arg)
{
    struct control_account *account = arg;
    struct tb_control *control = account->control;
    struct reconcile r = {.account = account};
    int64_t next_ns = tb_clock_boot_ns() + first_ns;
    int64_t forget_ns = 0;
    bool stopping = false;

    /* Not at start-up: nobody's teardown waits for an AWS that does not answer. */
    if (control_is_own(account)) {
        learn_self(control);
    }
    while (!stopping) {
        tb_mutex_lock(&control->mu);
        if (!control->locked.winding_down) {
            (void)tb_cond_wait_for(&control->more, &control->mu, next_ns - tb_clock_boot_ns());
        }
        stopping = control->locked.winding_down;
        tb_mutex_unlock(&control->mu);
        if (!stopping && tb_clock_boot_ns() >= next_ns) {
            if (control_is_own(account)) {
                learn_self(control);
            }
            reconcile_once(&r);
            if (control_is_own(account) && tb_clock_boot_ns() >= forget_ns) {
                forget_ns = tb_clock_boot_ns() + control_forget_old(control);
            }
            next_ns = tb_clock_boot_ns() + period_ns;
        }
    }
    free(r.before);
    free(r.now);
    return NULL;
}
