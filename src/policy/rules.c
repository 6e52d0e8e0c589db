/* Which alert becomes which capture, and why the others do not. */
#include <tapbox/policy.h>

#include <stdio.h>

/* Appends a formatted piece to the reason, as far as it fits. */
#define SAY(reason, ...)                                                                       \
    (void)snprintf((reason) + strlen(reason), TB_CAPTURE_MAX_TEXT - strlen(reason), __VA_ARGS__)

const char *
tb_decision_name(enum tb_decision decision)
{
    static const char *const names[] = {[TB_DECISION_CAPTURE] = "capture",
                                        [TB_DECISION_IGNORE] = "ignore",
                                        [TB_DECISION_REFUSE] = "refuse"};

    return names[decision];
}

/* What no policy can capture. */
static bool
is_refused(const struct tb_alert *alert, char reason[TB_CAPTURE_MAX_TEXT])
{
    reason[0] = 0;
    if (alert->nothing_to_mirror[0] != 0) {
        SAY(reason, "nothing to mirror: %.200s", alert->nothing_to_mirror);
    } else if (alert->source_count == 0) {
        SAY(reason, "nothing to mirror: the alert names no instance or network interface");
    }
    return reason[0] != 0;
}

static bool
is_ignored(const struct tb_policy *policy, const struct tb_alert *alert,
           char reason[TB_CAPTURE_MAX_TEXT])
{
    reason[0] = 0;
    if (alert->instance_state[0] != 0) {
        SAY(reason, "%s is %s: captures that tap it are told", alert->sources[0].instance,
            alert->instance_state);
    } else if (alert->sample && !policy->capture_samples) {
        SAY(reason, "sample finding: it shows what a real one looks like, nothing happened");
    } else if (alert->archived && !policy->capture_archived) {
        SAY(reason, "archived finding: somebody has put it aside");
    } else if (alert->severity > 0 && alert->severity < policy->min_severity) {
        /* an unknown severity (0) is no reason to look away */
        SAY(reason, "severity %.1f is below the policy's %.1f", alert->severity,
            policy->min_severity);
    }
    return reason[0] != 0;
}

/* Whether `eni` belongs into the request: all that are known, or only where it was seen. */
static void
take_interfaces(const struct tb_alert *alert, bool seen_only, struct tb_capture_request *out)
{
    for (size_t i = 0; i < alert->source_count && out->eni_count < TB_CAPTURE_MAX_SOURCES;
         i++) {
        const struct tb_alert_source *s = &alert->sources[i];

        if (s->eni[0] != 0 && (s->seen_here || !seen_only)) {
            (void)tb_str_copy(out->enis[out->eni_count++], TB_AWS_ID_SIZE, s->eni);
        }
    }
}

static bool
is_one_instance(const struct tb_alert *alert)
{
    for (size_t i = 1; i < alert->source_count; i++) {
        if (strcmp(alert->sources[i].instance, alert->sources[0].instance) != 0) {
            return false;
        }
    }
    return alert->sources[0].instance[0] != 0;
}

/*
 * The interface where it was seen; else the whole instance, whose interfaces are looked up when
 * it is tapped; else, of several instances, every interface that was named.
 */
static void
choose_sources(const struct tb_alert *alert, struct tb_capture_request *out)
{
    take_interfaces(alert, true, out);
    if (is_one_instance(alert)) {
        (void)tb_str_copy(out->instance, sizeof(out->instance), alert->sources[0].instance);
        return;
    }
    if (out->eni_count == 0) {
        take_interfaces(alert, false, out);
    }
    if (out->eni_count == 0) {
        (void)tb_str_copy(out->instance, sizeof(out->instance), alert->sources[0].instance);
    }
}

/* Instances that one capture cannot hold beside what was chosen: said, not silently dropped. */
static void
say_left_out(const struct tb_alert *alert, const struct tb_capture_request *request,
             char reason[TB_CAPTURE_MAX_TEXT])
{
    size_t left_out = alert->sources_left_out;

    for (size_t i = 0; i < alert->source_count; i++) {
        const struct tb_alert_source *s = &alert->sources[i];
        bool chosen = strcmp(s->instance, request->instance) == 0 && s->instance[0] != 0;

        for (size_t e = 0; e < request->eni_count && !chosen; e++) {
            chosen = strcmp(s->eni, request->enis[e]) == 0;
        }
        left_out += !chosen;
    }
    if (left_out > 0) {
        SAY(reason, "; %zu more that the alert names are not covered", left_out);
    }
}

enum tb_decision
tb_policy_decide(const struct tb_policy *policy, const struct tb_alert *alert,
                 struct tb_capture_request *out, char reason[TB_CAPTURE_MAX_TEXT])
{
    struct tb_capture_request made = {.duration_ns = policy->bounds.default_duration_ns,
                                      .filter = TB_FILTER_ALL,
                                      .snaplen = policy->bounds.default_snaplen,
                                      .max_bytes = policy->bounds.default_max_bytes,
                                      .severity = alert->severity};

    if (alert->instance_state[0] == 0 && is_refused(alert, reason)) {
        return TB_DECISION_REFUSE;
    }
    if (is_ignored(policy, alert, reason)) {
        return TB_DECISION_IGNORE;
    }
    choose_sources(alert, &made);
    (void)tb_str_copy(made.account, sizeof(made.account), alert->account);
    (void)tb_str_copy(made.region, sizeof(made.region), alert->region);
    (void)tb_str_copy(made.finding_id, sizeof(made.finding_id), alert->id);
    (void)tb_str_copy(made.finding_type, sizeof(made.finding_type), alert->type);
    (void)tb_str_copy(made.reason, sizeof(made.reason),
                      alert->summary[0] != 0 ? alert->summary : alert->type);
    SAY(reason, "%.120s (severity %.1f) at %.60s", alert->type, alert->severity,
        made.eni_count > 0 ? made.enis[0] : made.instance);
    if (made.eni_count > 1) {
        SAY(reason, " and %zu more", made.eni_count - 1);
    }
    say_left_out(alert, &made, reason);
    *out = made;
    return TB_DECISION_CAPTURE;
}
