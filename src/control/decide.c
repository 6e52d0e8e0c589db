/*
 * The policy's second phase: rules that ask for VPC, subnet or tags, with what EC2 says of the
 * sources; the guard, which stands over analysts' requests too; the day's budget.
 */
#include "control_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/log.h>

#include "preflight.h"

const struct tb_guard *
control_guard(const struct tb_control *control)
{
    const struct tb_rules *rules = control->deps.config->policy.rules;

    return rules != NULL ? &rules->guard : NULL;
}

/* --- rules --- */

struct facts {
    struct preflight_pair pairs[TB_CAPTURE_MAX_LISTED];
    struct tb_source_facts at[TB_CAPTURE_MAX_LISTED];
    size_t count;
};

static void
collect_facts(const struct control_found *found, struct facts *out)
{
    out->count = 0;
    for (size_t i = 0; i < found->interfaces.count && i < TB_CAPTURE_MAX_LISTED; i++) {
        const struct tb_ec2_interface *interface = &found->interfaces.at[i];

        out->pairs[i] = (struct preflight_pair){
            interface, preflight_instance_of(&found->instances, interface)};
        out->at[i] = preflight_facts_of(&out->pairs[i]);
        out->count++;
    }
}

/* What the profile gives; sources and texts stay. */
static void
take_profile(const struct tb_capture_request *from, struct tb_capture_request *to)
{
    to->duration_ns = from->duration_ns;
    to->filter = from->filter;
    to->packet_length = from->packet_length;
    to->snaplen = from->snaplen;
    to->max_bytes = from->max_bytes;
    to->max_packets = from->max_packets;
    memcpy(to->bpf, from->bpf, sizeof(to->bpf));
    memcpy(to->rule, from->rule, sizeof(to->rule));
    to->primary_only = from->primary_only;
    to->priority = from->priority;
    to->storage = from->storage;
    to->undecided = false;
}

static void
note_decision(struct tb_control *control, const char *id, const struct tb_verdict *verdict)
{
    struct tb_json *detail = tb_json_object();
    struct tb_fail fail;

    tb_json_set_str(detail, "decision", tb_decision_name(verdict->decision));
    tb_json_set_str(detail, "rule", verdict->rule[0] != 0 ? verdict->rule : NULL);
    tb_json_set_str(detail, "reason", verdict->reason);
    if (tb_store_custody_add(control->deps.store, id, "policy", NULL, detail, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, id, &fail, "cannot note what the policy decided");
    }
}

enum tb_err
control_decide(struct tb_control *control, struct tb_capture *work,
               const struct control_found *found, struct tb_fail *why, struct tb_fail *fail)
{
    struct facts *facts = malloc(sizeof(*facts));
    struct tb_alert *alert = malloc(sizeof(*alert));
    struct tb_verdict *verdict = malloc(sizeof(*verdict));
    bool captured = false;
    enum tb_err err = TB_OK;

    if (facts == NULL || alert == NULL || verdict == NULL) {
        err = tb_fail_set(fail, TB_ENOMEM, "no memory to decide about a capture");
        goto out;
    }
    collect_facts(found, facts);
    for (uint32_t n = 1; n <= work->alert_count && err == TB_OK; n++) {
        err = tb_store_alert_parsed(control->deps.store, work->id, n, alert, fail);
        if (err != TB_OK || alert->adapter[0] == 0 || alert->instance_state[0] != 0) {
            continue; /* an analyst joined, or news: nothing to decide */
        }
        tb_policy_decide(&control->deps.config->policy, alert, facts->at, facts->count,
                         verdict);
        note_decision(control, work->id, verdict);
        err = tb_store_alert_ruled(
            control->deps.store, work->id, n, verdict->rule,
            verdict->decision == TB_DECISION_CAPTURE ? &verdict->request.filter : NULL, fail);
        if (verdict->decision != TB_DECISION_CAPTURE) {
            (void)tb_fail_set(why, TB_EDENIED, "%s", verdict->reason);
        } else if (!captured) {
            take_profile(&verdict->request, &work->request);
            captured = true;
        } else { /* what joined in the meantime needs its traffic too */
            tb_filter_join(&work->request.filter, &verdict->request.filter,
                           &work->request.filter);
        }
    }
    if (err == TB_OK) {
        err = captured ? tb_store_capture_decided(control->deps.store, work->id, &work->request,
                                                  fail)
                       : TB_EDENIED;
    }

out:
    free(verdict);
    free(alert);
    free(facts);
    return err;
}

/* --- the guard --- */

size_t
control_guard_sources(const struct tb_control *control, const struct control_found *found,
                      struct tb_capture_source *sources, size_t count)
{
    size_t usable = 0;

    for (size_t i = 0; i < count; i++) {
        const struct tb_ec2_interface *interface = &found->interfaces.at[i];
        struct tb_check blocked;

        if (sources[i].gap[0] == 0 &&
            preflight_guard_blocked(control_guard(control), interface,
                                    preflight_instance_of(&found->instances, interface),
                                    &blocked)) {
            (void)tb_str_copy(sources[i].gap, sizeof(sources[i].gap), blocked.text);
        }
        usable += sources[i].gap[0] == 0 ? 1 : 0;
    }
    return usable;
}

enum tb_err
control_check_budget(struct tb_control *control, const struct tb_capture *capture,
                     bool *out_spent, struct tb_fail *why, struct tb_fail *fail)
{
    static const int64_t day_ns = 24 * 3600 * TB_NS_PER_S;
    const struct tb_guard *guard = control_guard(control);
    int64_t now = tb_clock_utc_ns();
    struct tb_store_usage used;
    enum tb_err err;

    *out_spent = false;
    if (guard == NULL || (guard->day_duration_ns == 0 && guard->day_bytes == 0)) {
        return TB_OK;
    }
    err = tb_store_usage_since(control->deps.store, now - now % day_ns, &used, fail);
    if (err != TB_OK) {
        return err;
    }
    if (guard->day_duration_ns != 0 &&
        used.duration_ns + capture->request.duration_ns > guard->day_duration_ns) {
        (void)tb_fail_set(why, TB_EDENIED,
                          "the policy's budget of the day does not reach: %lld of %lld capture "
                          "minutes are used, and this takes %lld (guard.daily_duration)",
                          (long long)(used.duration_ns / (60 * TB_NS_PER_S)),
                          (long long)(guard->day_duration_ns / (60 * TB_NS_PER_S)),
                          (long long)(capture->request.duration_ns / (60 * TB_NS_PER_S)));
        *out_spent = true;
    } else if (guard->day_bytes != 0 && used.bytes >= guard->day_bytes) {
        (void)tb_fail_set(why, TB_EDENIED,
                          "the policy's budget of the day is used up: %llu of %llu bytes are "
                          "recorded (guard.daily_bytes)",
                          (unsigned long long)used.bytes, (unsigned long long)guard->day_bytes);
        *out_spent = true;
    }
    return TB_OK;
}
