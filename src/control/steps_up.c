/* From a request to a recording: resolve, plan, arm the recorder, then make the sessions. */
#include "control_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/ids.h>
#include <tapbox/log.h>

#include "preflight.h"

/*
 * All of an account's sessions may end at the same moment, and EC2 takes 50 deletes at once and
 * 5 a second from then on: so many are down well within the minute of promise 1.
 * Source: EC2 Developer Guide, "Request throttling".
 */
enum {
    sessions_of_account = 200
};

static const int64_t watch_period_ns = TB_NS_PER_S; /* how often a recording is looked at */

/* Ends a capture that has made nothing yet. */
static enum tb_err
end_early(struct tb_control *control, const struct tb_capture *capture,
          enum tb_capture_state to, const struct tb_fail *why, struct tb_fail *fail)
{
    enum tb_err err = tb_store_capture_error(control->deps.store, capture->id, why, fail);

    if (err == TB_OK) {
        err = tb_store_capture_move(control->deps.store, capture->id, capture->state, to,
                                    to == TB_CAPTURE_FAILED ? TB_STOP_FAILURE : TB_STOP_NONE,
                                    fail);
    }
    if (err == TB_OK) {
        tb_log_fail(TB_LOG_WARN, capture->id, why, "%s", tb_capture_state_name(to));
    }
    return err;
}

/* Begins to take everything down again. */
static enum tb_err
begin_draining(struct tb_control *control, const struct tb_capture *capture,
               enum tb_stop_reason reason, struct tb_fail *fail)
{
    enum tb_err err = tb_store_capture_move(control->deps.store, capture->id, capture->state,
                                            TB_CAPTURE_DRAINING, reason, fail);

    if (err == TB_OK) {
        tb_log(TB_LOG_INFO, capture->id, "draining, reason=%s", tb_stop_reason_name(reason));
    }
    return err;
}

/* The same for what may be tapped already: a store that cannot write keeps nobody's tap alive.
 */
static enum tb_err
bring_down(struct tb_control *control, const struct tb_capture *capture,
           enum tb_stop_reason reason, struct tb_fail *fail)
{
    struct tb_resource *rows = NULL;
    struct tb_fail why = {0};
    size_t count = 0;
    enum tb_err err = begin_draining(control, capture, reason, fail);

    if (err == TB_OK || err == TB_ESTATE) {
        return err;
    }
    tb_log_fail(TB_LOG_ERROR, capture->id, fail, "the sessions are deleted all the same");
    if (tb_store_resource_list(control->deps.store, capture->id, false, &rows, &count, &why) ==
            TB_OK &&
        control_delete_sessions(control, rows, count, capture->attempt, &why) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, capture->id, &why, "not all sessions are deleted");
    }
    tb_resources_free(rows, count);
    return err;
}

static enum tb_err
allocate_vnis(struct tb_control *control, struct tb_capture_source *sources, size_t count,
              struct tb_fail *fail)
{
    for (size_t i = 0; i < count; i++) {
        enum tb_err err = TB_OK;

        for (bool fresh = false; sources[i].gap[0] == 0 && !fresh && err == TB_OK;) {
            err = tb_store_vni_allocate(control->deps.store, &sources[i].vni, fail);
            fresh = true;
            for (size_t j = 0; j < i; j++) {
                fresh = fresh && sources[j].vni != sources[i].vni;
            }
        }
        if (err != TB_OK) {
            return err;
        }
    }
    return TB_OK;
}

/* "eni-1: reason; eni-2: reason" */
static void
say_gaps(const struct tb_capture_source *sources, size_t count, char *out, size_t cap)
{
    size_t used = 0;

    out[0] = 0;
    for (size_t i = 0; i < count && used < cap; i++) {
        int n = snprintf(out + used, cap - used, "%s%s: %s", i > 0 ? "; " : "", sources[i].eni,
                         sources[i].gap);

        used += n > 0 ? (size_t)n : 0;
    }
}

/* Refuses what is refused for its sources; each is named with its reason. */
static enum tb_err
refuse(struct tb_control *control, const struct tb_capture *capture,
       const struct tb_capture_source *sources, size_t count, struct tb_fail *fail)
{
    struct tb_fail why;
    char gaps[400];

    say_gaps(sources, count, gaps, sizeof(gaps));
    (void)tb_fail_set(&why, TB_EINVAL, "nothing can be mirrored: %s",
                      count == 0 ? "the instance has no network interface" : gaps);
    return end_early(control, capture, TB_CAPTURE_REFUSED, &why, fail);
}

/* The guard's accounts, and whether it is about a place that is not ours. */
static bool
is_out_of_reach(struct tb_control *control, const struct tb_capture *capture,
                const struct control_self *self, struct tb_fail *why)
{
    const struct tb_guard *guard = control_guard(control);
    char text[TB_CAPTURE_MAX_TEXT];
    struct tb_check blocked;

    if (preflight_request_blocked(&capture->request, control->deps.config, self->account,
                                  tb_aws_region(control->deps.aws), &blocked)) {
        (void)tb_fail_set(why, TB_EINVAL, "%s", blocked.text);
        (void)tb_str_copy(why->code, sizeof(why->code), blocked.code);
        return true;
    }
    if (guard != NULL &&
        tb_guard_forbids_account(
            guard, capture->request.account[0] != 0 ? capture->request.account : self->account,
            text)) {
        (void)tb_fail_set(why, TB_EDENIED, "%s", text);
        return true;
    }
    return false;
}

static enum tb_err
ask_for_a_place(struct tb_control *control, const struct control_self *self,
                const struct tb_capture *capture, int64_t *out_again_ns, struct tb_fail *fail)
{
    enum tb_admission admission = TB_ADMISSION_FULL;
    struct tb_capture *now;
    const struct tb_places places = {
        .captures = control->deps.config->max_concurrent,
        .captures_of_account = control->deps.config->max_per_account,
        .sessions_of_account = sessions_of_account,
        .own_account = self->account,
        .most_duration_ns = control->deps.config->policy.bounds.max_duration_ns,
    };
    struct tb_fail why = {0};
    bool spent = false;
    enum tb_err err;

    /* from the look at the budget to the place: two workers do not spend the same rest */
    tb_mutex_lock(&control->budget_mu);
    err = control_check_budget(control, capture, &spent, &why, fail);
    if (err == TB_OK && !spent) {
        err =
            tb_store_capture_admit(control->deps.store, capture->id, &places, &admission, fail);
    }
    tb_mutex_unlock(&control->budget_mu);
    if (err == TB_OK && spent) {
        return end_early(control, capture, TB_CAPTURE_REFUSED, &why, fail);
    }
    if (err != TB_OK || admission == TB_ADMISSION_GRANTED) {
        return err;
    }
    if (admission == TB_ADMISSION_FULL) {
        *out_again_ns = watch_period_ns; /* it waits for a place */
        return TB_OK;
    }
    now = malloc(sizeof(*now));
    if (now == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to refuse a capture");
    }
    err = tb_store_capture_get(control->deps.store, capture->id, now, fail);
    if (err == TB_OK) {
        char gaps[400];

        say_gaps(now->sources, now->source_count, gaps, sizeof(gaps));
        (void)tb_fail_set(&why, TB_EINVAL,
                          "nothing is left to mirror, and its alerts joined those that do: %s",
                          gaps);
        (void)tb_str_copy(why.code, sizeof(why.code), "already_captured");
        err = end_early(control, capture, TB_CAPTURE_REFUSED, &why, fail);
    }
    free(now);
    return err;
}

/* Sources, their VNIs and a place, for what EC2 has told of. */
static enum tb_err
plan_found(struct tb_control *control, const struct tb_capture *capture,
           const struct control_found *found, const struct control_self *self,
           int64_t *out_again_ns, struct tb_fail *fail)
{
    struct tb_capture_source sources[TB_CAPTURE_MAX_LISTED];
    size_t count = 0;
    size_t usable = tb_plan_sources(&capture->request, &found->interfaces, &found->instances,
                                    self->target.eni, sources, &count);
    enum tb_err err = TB_OK;

    usable = usable > 0 ? control_guard_sources(control, found, sources, count) : 0;
    if (usable > 0) {
        err = allocate_vnis(control, sources, count, fail);
    }
    if (err == TB_OK) {
        err = tb_store_capture_sources(control->deps.store, capture->id, sources, count, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    return usable > 0 ? ask_for_a_place(control, self, capture, out_again_ns, fail)
                      : refuse(control, capture, sources, count, fail);
}

/* The second phase of the policy, when its rule hangs on what EC2 says. */
static enum tb_err
decide_and_plan(struct tb_control *control, const struct tb_capture *capture,
                struct control_found *found, const struct control_self *self,
                int64_t *out_again_ns, struct tb_fail *fail)
{
    struct tb_capture *work = malloc(sizeof(*work));
    struct tb_fail why = {0};
    enum tb_err err = TB_OK;

    if (work == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to plan a capture");
    }
    *work = *capture;
    if (work->request.undecided) {
        err = control_decide(control, work, found, &why, fail);
    }
    if (err == TB_EDENIED) {
        err = end_early(control, capture, TB_CAPTURE_REFUSED, &why, fail);
    } else if (err == TB_OK) {
        if (work->request.primary_only && work->request.eni_count == 0) {
            control_keep_primary(&found->interfaces);
        }
        err = plan_found(control, work, found, self, out_again_ns, fail);
    }
    free(work);
    return err;
}

enum tb_err
control_step_requested(struct tb_control *control, const struct tb_capture *capture,
                       int64_t *out_again_ns, struct tb_fail *fail)
{
    struct control_account *account = NULL;
    struct control_found found = {0};
    struct control_self self;
    struct tb_fail why = {0};
    enum tb_err err;

    *out_again_ns = 0;
    if (capture->stop_asked) {
        return begin_draining(control, capture, TB_STOP_OPERATOR, fail);
    }
    err = control_self_learn(control, &self, &why);
    if (err == TB_OK && is_out_of_reach(control, capture, &self, &why)) {
        return end_early(control, capture, TB_CAPTURE_REFUSED, &why, fail);
    }
    if (err == TB_OK) {
        err = control_account_of(control, &capture->request, &account, &why);
    }
    if (err == TB_OK) {
        err = control_describe(account, &capture->request, &found, &why);
    }
    if (control_is_role_refused(err, &why)) {
        (void)tb_str_copy(why.code, sizeof(why.code), "role_refused");
        err = end_early(control, capture, TB_CAPTURE_REFUSED, &why, fail);
        goto out;
    }
    if (err != TB_OK) {
        /* Only what EC2 said of this request ends it; our own troubles pass. */
        if (why.http_status < 400 || why.http_status >= 500 || why.code[0] == 0 ||
            tb_err_is_retryable(err)) {
            *fail = why;
            err = tb_err_is_retryable(err) ? err : TB_ERETRY;
            goto out;
        }
        err = end_early(control, capture, TB_CAPTURE_FAILED, &why, fail);
        goto out;
    }
    err = decide_and_plan(control, capture, &found, &self, out_again_ns, fail);

out:
    control_found_release(&found);
    return err;
}

enum tb_err
control_step_planned(struct tb_control *control, const struct tb_capture *capture,
                     int64_t *out_again_ns, struct tb_fail *fail)
{
    struct tb_deadline deadline;
    int64_t to_whole_ns;
    enum tb_err err;

    *out_again_ns = 0;
    if (capture->stop_asked) {
        return begin_draining(control, capture, TB_STOP_OPERATOR, fail);
    }
    /* The box begins here: whatever is made from now on carries this expiry.  Whole seconds, as
     * the tag says it, and the same moment on both clocks: a timer that is later than the tag
     * leaves the session to another host's sweep. */
    deadline = tb_deadline_in(capture->request.duration_ns);
    to_whole_ns = TB_NS_PER_S - deadline.utc_ns % TB_NS_PER_S;
    deadline = tb_deadline_moved(&deadline, to_whole_ns);
    err = tb_store_capture_deadline(control->deps.store, capture->id, &deadline, fail);
    if (err == TB_OK) {
        err = tb_store_capture_move(control->deps.store, capture->id, TB_CAPTURE_PLANNED,
                                    TB_CAPTURE_ARMING, TB_STOP_NONE, fail);
    }
    return err;
}

/* The recorder first, so that the first mirrored packet is kept.  The same again is fine. */
static enum tb_err
arm_recorder(struct tb_control *control, const struct tb_capture *capture, struct tb_fail *fail)
{
    struct tb_record_spec *spec = malloc(sizeof(*spec));
    struct tb_bpf_insn *bpf = NULL;
    enum tb_err err;

    if (spec == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to arm the recorder");
    }
    err = control_record_spec(control, capture, spec, &bpf, fail);
    if (err == TB_OK) {
        err = tb_recorder_arm(control->deps.recorder, spec, fail);
    }
    if (err == TB_OK) {
        control_mark_host(control, capture->id);
        if (capture->state == TB_CAPTURE_RECORDING) {
            control_note_gap(control, capture->id, &spec->base);
        }
    }
    free(bpf);
    free(spec);
    return err;
}

/* The recorder may be starting; a number may be free at the next look; memory, disk,
 * credentials and connections come back, and a proxy that answered in EC2's place lets calls
 * through again.  What EC2 or libpcap said of the request itself does not. */
static bool
may_pass(enum tb_err err, const struct tb_fail *fail)
{
    return tb_err_is_retryable(err) || err == TB_ECLOSED || err == TB_EEXIST ||
           ((fail->http_status == 0 || fail->code[0] == 0) && err != TB_EINVAL &&
            err != TB_EINTERNAL);
}

static size_t
count_armed(const struct tb_capture *capture)
{
    size_t armed = 0;

    for (size_t i = 0; i < capture->source_count; i++) {
        armed += capture->sources[i].armed ? 1 : 0;
    }
    return armed;
}

/* Out of time, or stopped: what kept it from being armed stays its error. */
static enum tb_err
give_up_arming(struct tb_control *control, const struct tb_capture *capture,
               enum tb_stop_reason stop, struct tb_fail *fail)
{
    if (stop != TB_STOP_OPERATOR && capture->error_text[0] != 0) {
        struct tb_fail why = {.err = TB_ETIMEOUT};

        (void)tb_str_copy(why.code, sizeof(why.code), capture->error_code);
        (void)tb_str_copy(why.text, sizeof(why.text), capture->error_text);
        (void)tb_str_copy(why.request_id, sizeof(why.request_id), capture->error_request_id);
        if (tb_store_capture_error(control->deps.store, capture->id, &why, fail) != TB_OK) {
            tb_log_fail(TB_LOG_ERROR, capture->id, fail, "cannot keep why it was not armed");
        }
    }
    return bring_down(control, capture, stop, fail);
}

enum tb_err
control_step_arming(struct tb_control *control, const struct tb_capture *capture,
                    int64_t *out_again_ns, struct tb_fail *fail)
{
    struct control_account *account = NULL;
    struct tb_capture *work = NULL;
    enum tb_stop_reason stop = tb_plan_stop(capture);
    struct control_self self;
    struct tb_fail trouble = {0};
    struct tb_fail why = {0};
    struct tb_filter made;
    enum tb_err err;

    *out_again_ns = 0;
    if (stop != TB_STOP_NONE) {
        return give_up_arming(control, capture, stop, fail);
    }
    if (control_recount_deadline(control, capture)) {
        return TB_OK; /* from the store again: it may be over */
    }
    work = malloc(sizeof(*work));
    if (work == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to arm a capture");
    }
    *work = *capture;
    err = control_self_learn(control, &self, &why);
    if (err == TB_OK) {
        err = control_account_of(control, &capture->request, &account, &why);
    }
    if (err == TB_OK) {
        err = arm_recorder(control, work, &why);
    }
    if (err == TB_OK) {
        err = control_arm_sessions(account, work, &self, &trouble, &why);
    }
    if (err == TB_OK && trouble.err != TB_OK && count_armed(work) == 0) {
        why = trouble;
        err = why.err;
    }
    if (err != TB_OK && may_pass(err, &why)) {
        *fail = why;
        err = TB_ERETRY;
        goto out;
    }
    if (err == TB_OK && count_armed(work) > 0) {
        err = control_filter_in_place(account, work, &made, fail);
        if (err == TB_OK) {
            err = tb_store_capture_filter_made(control->deps.store, capture->id, &made, fail);
        }
        if (err != TB_OK) {
            goto out;
        }
        err = tb_store_capture_move(control->deps.store, capture->id, TB_CAPTURE_ARMING,
                                    TB_CAPTURE_RECORDING, TB_STOP_NONE, fail);
        if (err == TB_OK) {
            tb_log(TB_LOG_INFO, capture->id, "recording %zu of %zu interfaces",
                   count_armed(work), work->source_count);
            if (trouble.err != TB_OK) {
                tb_log_fail(TB_LOG_WARN, capture->id, &trouble, "others are tried again");
            }
        }
        goto out;
    }
    if (err == TB_OK) {
        char gaps[400];

        say_gaps(work->sources, work->source_count, gaps, sizeof(gaps));
        (void)tb_fail_set(&why, TB_EINVAL, "no interface could be mirrored: %s", gaps);
    }
    err = tb_store_capture_error(control->deps.store, capture->id, &why, fail);
    if (err == TB_OK) {
        tb_log_fail(TB_LOG_ERROR, capture->id, &why, "arming failed");
        err = begin_draining(control, capture, TB_STOP_FAILURE, fail);
    }

out:
    free(work);
    return err;
}

/* Said once: in the look that first finds it overdue. */
static void
watch_for_first_packet(struct tb_control *control, const struct tb_capture *capture,
                       const struct tb_record_status *status)
{
    int64_t limit_ns = control->deps.config->no_traffic_s * TB_NS_PER_S;
    int64_t empty_ns = tb_capture_recorded_ns(capture);

    if (status->first_utc_ns == 0 && empty_ns >= limit_ns &&
        empty_ns < limit_ns + watch_period_ns) {
        tb_log(TB_LOG_WARN, capture->id,
               "no_traffic: not one packet in %u s.  Look at: the target's security group (UDP "
               "4789 from the source), the route from the source's subnet, sessions of others "
               "with a lower number, the source's instance type, whether it sends at all",
               control->deps.config->no_traffic_s);
    }
}

static enum tb_err
widen(struct tb_control *control, const struct tb_capture *capture, struct tb_fail *fail)
{
    struct control_account *account = NULL;
    enum tb_err err = control_account_of(control, &capture->request, &account, fail);

    return err == TB_OK ? control_widen(account, capture, fail) : err;
}

/* Of several things that were tried the first failure is told. */
static void
keep_first(enum tb_err *first, enum tb_err err, const struct tb_fail *why, struct tb_fail *fail)
{
    if (err != TB_OK && *first == TB_OK) {
        *first = err;
        *fail = *why;
    }
}

static bool
is_lost(const struct tb_capture *capture, const char *eni)
{
    for (size_t i = 0; i < capture->source_count; i++) {
        const struct tb_capture_source *source = &capture->sources[i];

        if (!source->armed && source->gap[0] != 0 &&
            (eni == NULL || strcmp(source->eni, eni) == 0)) {
            return true;
        }
    }
    return false;
}

/* The session of an interface that was lost bills for nothing, and keeps another capture from
 * it. */
static enum tb_err
drop_lost(struct tb_control *control, const struct tb_capture *capture, struct tb_fail *fail)
{
    struct tb_resource *rows = NULL;
    size_t count = 0;
    enum tb_err first = TB_OK;
    enum tb_err err;

    if (!is_lost(capture, NULL)) {
        return TB_OK;
    }
    first =
        tb_store_resource_list(control->deps.store, capture->id, false, &rows, &count, fail);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].kind == TB_RESOURCE_SESSION && rows[i].aws_id[0] != 0 &&
            is_lost(capture, rows[i].key)) {
            struct tb_fail why = {0};

            err = control_delete(control, &rows[i], capture->attempt, &why);
            keep_first(&first, err, &why, fail);
        }
    }
    tb_resources_free(rows, count);
    return first;
}

/* Who lost the last source did not come to say so. */
static enum tb_err
end_sourceless(struct tb_control *control, const struct tb_capture *capture,
               struct tb_fail *fail)
{
    struct tb_fail why = {0};
    char gaps[400];
    enum tb_err err;

    say_gaps(capture->sources, capture->source_count, gaps, sizeof(gaps));
    (void)tb_fail_set(&why, TB_ENOTFOUND, "%s", gaps);
    err = tb_store_capture_error(control->deps.store, capture->id, &why, fail);
    return err == TB_OK ? bring_down(control, capture, TB_STOP_SOURCE_GONE, fail) : err;
}

enum tb_err
control_step_recording(struct tb_control *control, const struct tb_capture *capture,
                       int64_t *out_again_ns, struct tb_fail *fail)
{
    enum tb_stop_reason stop = tb_plan_stop(capture);
    struct tb_record_status status;
    int64_t left_ns = tb_deadline_left_ns(&capture->deadline);
    enum tb_err first = TB_OK;
    struct tb_fail why = {0};
    enum tb_err err;

    *out_again_ns = 0;
    if (stop != TB_STOP_NONE) {
        return bring_down(control, capture, stop, fail);
    }
    if (count_armed(capture) == 0) {
        return end_sourceless(control, capture, fail);
    }
    if (control_recount_deadline(control, capture)) {
        return TB_OK; /* from the store again: it may be over */
    }
    *out_again_ns = left_ns < watch_period_ns ? left_ns : watch_period_ns;
    if (capture->source_news) {
        /* first, so that news which comes while EC2 is asked is not lost */
        err = tb_store_capture_news_read(control->deps.store, capture->id, fail);
        if (err != TB_OK) {
            return err;
        }
        control_look_at_sources(control, capture);
        *out_again_ns = 0; /* from the store again: it may have to stop */
        return TB_OK;
    }
    err = tb_recorder_status(control->deps.recorder, capture->id, &status, fail);
    if (err == TB_ECLOSED || err == TB_ETIMEOUT) {
        tb_log_fail(TB_LOG_WARN, capture->id, fail, "the recorder does not answer");
        return TB_OK; /* it records on, or is being restarted: look again */
    }
    if (err == TB_ENOTFOUND || (err == TB_OK && status.state == TB_RECORD_ABSENT)) {
        /* Its mark stays that of the recorder before: the manifest then says "unknown". */
        tb_log(TB_LOG_WARN, capture->id, "the recorder does not know it: armed again");
        return arm_recorder(control, capture, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    watch_for_first_packet(control, capture, &status);
    if (memcmp(&status.ledger, &capture->ledger, sizeof(status.ledger)) != 0) {
        first = tb_store_capture_ledger(control->deps.store, capture->id, &status.ledger, fail);
    }
    /* Before anything that EC2 is asked for, and may be slow to give. */
    if (status.budget_spent != TB_BUDGET_NONE) {
        *out_again_ns = 0;
        return bring_down(
            control, capture,
            status.budget_spent == TB_BUDGET_PACKETS ? TB_STOP_PACKETS : TB_STOP_BUDGET, fail);
    }
    /* Each by itself: what fails is tried again, and keeps the others waiting no longer. */
    if (capture->filter_due) {
        keep_first(&first, widen(control, capture, &why), &why, fail);
    }
    if (capture->extend_to_utc_ns > capture->deadline.utc_ns) {
        err = control_try_to_extend(control, capture, out_again_ns, &why);
        keep_first(&first, err, &why, fail);
    } else if (control_take_unsettled(control, capture->id)) {
        control_settle_expiry(control, capture);
    } else if (control_arm_late(control, capture)) {
        *out_again_ns = 0; /* from the store again */
    }
    err = drop_lost(control, capture, &why);
    keep_first(&first, err, &why, fail);
    return first;
}
