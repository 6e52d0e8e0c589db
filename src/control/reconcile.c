/*
 * Desired against actual: what should be mirrored is, what should be gone is, and what others
 * do to our sources and sessions ends a capture with that reason.
 *
 * Runs on a thread of its own, every period.  EC2 is eventually consistent: what is missing is
 * believed only when it is missing twice in a row.
 */
#include "control_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/log.h>

static const int64_t period_ns = 15 * TB_NS_PER_S;
/* A session or interface that is younger may not be visible yet everywhere. */
static const int64_t settle_ns = 60 * TB_NS_PER_S;

/* A source that looked gone the last time, too. */
struct suspect {
    char capture_id[TB_CAPTURE_ID_SIZE];
    char eni[TB_AWS_ID_SIZE];
};

struct reconcile {
    struct tb_control *control;
    struct suspect *before; /* of the last round */
    size_t before_count;
    struct suspect *now;
    size_t now_count, now_cap;
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

/* What is wrong with an interface that is being captured; "" when nothing is, or when EC2
 * cannot be asked now. */
static void
look_at_source(struct tb_control *control, const struct tb_capture_source *source, char *out,
               size_t cap)
{
    struct tb_ec2_interfaces found = {0};
    struct tb_ec2_instance instance = {0};
    const char *eni = source->eni;
    struct tb_fail fail = {0};
    enum tb_err err = tb_ec2_interfaces_by_id(control->deps.aws, &eni, 1, &found, &fail);

    out[0] = 0;
    if (err == TB_ENOTFOUND || (err == TB_OK && found.count == 0)) {
        (void)snprintf(out, cap, "the interface was deleted");
    } else if (err == TB_OK && strcmp(found.at[0].instance, source->instance) != 0) {
        (void)snprintf(out, cap, "the interface was detached from %.40s", source->instance);
    } else if (err == TB_OK) {
        err = tb_ec2_instance_get(control->deps.aws, source->instance, &instance, &fail);
        if (err == TB_ENOTFOUND) {
            (void)snprintf(out, cap, "the instance %.40s is gone", source->instance);
        } else if (err == TB_OK && strcmp(instance.state, "running") != 0 &&
                   strcmp(instance.state, "pending") != 0) {
            (void)snprintf(out, cap, "the instance %.40s is %.30s", source->instance,
                           instance.state);
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
lose_source(struct tb_control *control, struct tb_capture *capture, size_t i,
            const char *reason)
{
    struct tb_fail fail = {0};
    size_t armed = 0;
    enum tb_err err;

    capture->sources[i].armed = false;
    (void)tb_str_copy(capture->sources[i].gap, sizeof(capture->sources[i].gap), reason);
    for (size_t j = 0; j < capture->source_count; j++) {
        armed += capture->sources[j].armed ? 1 : 0;
    }
    tb_log(TB_LOG_WARN, capture->id, "%s is lost: %s", capture->sources[i].eni, reason);
    err = tb_store_capture_sources(control->deps.store, capture->id, capture->sources,
                                   capture->source_count, &fail);
    if (err == TB_OK && armed == 0) {
        struct tb_fail why;

        (void)tb_fail_set(&why, TB_ENOTFOUND, "%s: %s", capture->sources[i].eni, reason);
        err = tb_store_capture_error(control->deps.store, capture->id, &why, &fail);
        if (err == TB_OK) {
            err = tb_store_capture_ask_stop(control->deps.store, capture->id,
                                            TB_STOP_SOURCE_GONE, NULL, &fail);
        }
        tb_control_wake(control);
    }
    if (err != TB_OK && err != TB_ESTATE) {
        tb_log_fail(TB_LOG_ERROR, capture->id, &fail, "cannot write down a lost source");
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
    struct tb_capture *work = malloc(sizeof(*work));

    if (work == NULL) {
        return; /* noticed by the reconciler */
    }
    *work = *capture;
    for (size_t i = 0; i < work->source_count; i++) {
        char reason[TB_CAPTURE_MAX_TEXT];

        if (!work->sources[i].armed) {
            continue;
        }
        look_at_source(control, &work->sources[i], reason, sizeof(reason));
        if (reason[0] != 0) {
            lose_source(control, work, i, reason);
        }
    }
    free(work);
}

static void
look_at_capture(struct reconcile *r, struct tb_capture *capture,
                const struct tb_ec2_sessions *sessions)
{
    struct tb_control *control = r->control;
    struct tb_resource *rows = NULL;
    struct tb_fail fail = {0};
    size_t count = 0;

    if (tb_store_resource_list(control->deps.store, capture->id, false, &rows, &count, &fail) !=
        TB_OK) {
        tb_log_fail(TB_LOG_ERROR, capture->id, &fail, "cannot read its AWS objects");
        return;
    }
    for (size_t i = 0; i < capture->source_count; i++) {
        const struct tb_capture_source *source = &capture->sources[i];
        const struct tb_resource *row = session_row(rows, count, source->eni);
        char reason[TB_CAPTURE_MAX_TEXT] = "";

        if (!source->armed || row == NULL) {
            continue;
        }
        if (tb_clock_utc_ns() - row->created_utc_ns >= settle_ns &&
            !has_session(sessions, row->aws_id)) {
            (void)snprintf(reason, sizeof(reason),
                           "its mirror session %.40s was deleted by somebody else",
                           row->aws_id);
        }
        if (reason[0] == 0) {
            look_at_source(control, source, reason, sizeof(reason));
        }
        if (reason[0] == 0) {
            continue;
        }
        if (was_suspect(r, capture->id, source->eni)) {
            lose_source(control, capture, i, reason);
        } else {
            suspect(r, capture->id, source->eni);
        }
    }
    tb_resources_free(rows, count);
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
            if (tb_clock_utc_ns() - capture->ended_utc_ns >= settle_ns) {
                word = TB_SWEEP_REMOVE;
            }
        } else if (tb_plan_stop(capture) == TB_STOP_NONE) {
            word = TB_SWEEP_KEEP;
        }
    }
    free(capture);
    return word;
}

static void
report_sweep(void *arg, const char *line)
{
    (void)arg;
    tb_log(TB_LOG_WARN, NULL, "found by the reconciler: %s", line);
}

/* How many mirror sessions of the account are not ours: the rogue-mirror watch. */
static size_t
count_foreign(const struct tb_control *control, const struct tb_ec2_sessions *sessions)
{
    size_t foreign = 0;

    for (size_t i = 0; i < sessions->count; i++) {
        foreign += control_is_foreign(control, &sessions->at[i]) ? 1 : 0;
    }
    return foreign;
}

static void
reconcile_once(struct reconcile *r)
{
    struct tb_control *control = r->control;
    struct tb_sweep_options sweep = {
        .owner = control->deps.config->owner, .know = know_capture, .know_arg = control};
    struct tb_sweep_result swept;
    struct tb_ec2_sessions sessions = {0};
    struct tb_capture *captures = NULL;
    struct tb_fail fail = {0};
    size_t count = 0;

    if (tb_ec2_sessions_list(control->deps.aws, NULL, 0, &sessions, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail, "cannot list the mirror sessions");
        return;
    }
    control_note_aws_time(control, sessions.server_utc_s);
    tb_mutex_lock(&control->mu);
    control->locked.foreign_sessions = count_foreign(control, &sessions);
    tb_mutex_unlock(&control->mu);
    if (tb_store_capture_list(control->deps.store, true, TB_RECORDER_MAX_CAPTURES, &captures,
                              &count, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, NULL, &fail, "cannot list the captures");
        count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (captures[i].state == TB_CAPTURE_RECORDING) {
            look_at_capture(r, &captures[i], &sessions);
        }
    }
    /* Ours and expired, whether or not this store knows of it. */
    if (tb_sweep(control->deps.aws, &sweep, report_sweep, NULL, &swept, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail, "cannot sweep");
    } else {
        atomic_fetch_add(&control->delete_failures, swept.failed);
    }
    free(captures);
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
    struct tb_control *control = arg;
    struct reconcile r = {.control = control};
    int64_t next_ns = tb_clock_boot_ns() + period_ns;
    bool stopping = false;

    /* Not at start-up: nobody's teardown waits for an AWS that does not answer. */
    learn_self(control);
    while (!stopping) {
        tb_mutex_lock(&control->mu);
        if (!control->locked.stopping) {
            (void)tb_cond_wait_for(&control->more, &control->mu, next_ns - tb_clock_boot_ns());
        }
        stopping = control->locked.stopping;
        tb_mutex_unlock(&control->mu);
        if (!stopping && tb_clock_boot_ns() >= next_ns) {
            learn_self(control);
            reconcile_once(&r);
            next_ns = tb_clock_boot_ns() + period_ns;
        }
    }
    free(r.before);
    free(r.now);
    return NULL;
}
