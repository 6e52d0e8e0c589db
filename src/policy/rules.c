/* Which alert becomes which capture, and why the others do not. */
#include "policy_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/clock.h>

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

const char *
tb_why_name(enum tb_why why)
{
    static const char *const names[TB_WHY_COUNT] = {[TB_WHY_NONE] = "none",
                                                    [TB_WHY_RULE] = "rule",
                                                    [TB_WHY_NO_RULE] = "no_rule",
                                                    [TB_WHY_SAMPLE] = "sample",
                                                    [TB_WHY_ARCHIVED] = "archived",
                                                    [TB_WHY_NEWS] = "news",
                                                    [TB_WHY_NOTHING_TO_MIRROR] =
                                                        "nothing_to_mirror",
                                                    [TB_WHY_GUARD] = "guard"};

    return names[why];
}

void
tb_rules_free(struct tb_rules *rules)
{
    if (rules == NULL) {
        return;
    }
    tb_words_release(&rules->guard.accounts);
    tb_words_release(&rules->guard.vpcs);
    tb_words_release(&rules->guard.deny_tags);
    for (size_t i = 0; i < rules->profile_count; i++) {
        free(rules->profiles[i].bpf);
    }
    for (size_t i = 0; i < rules->rule_count; i++) {
        struct tb_rule *rule = &rules->rules[i];
        struct tb_words *const lists[] = {&rule->types,     &rule->accounts, &rule->regions,
                                          &rule->vpcs,      &rule->subnets,  &rule->tags,
                                          &rule->resources, &rule->adapters};

        for (size_t l = 0; l < sizeof(lists) / sizeof(lists[0]); l++) {
            tb_words_release(lists[l]);
        }
    }
    tb_senders_release(&rules->senders);
    free(rules->profiles);
    free(rules->rules);
    free(rules);
}

const struct tb_senders *
tb_policy_senders(const struct tb_policy *policy)
{
    return policy->rules != NULL ? &policy->rules->senders : NULL;
}

/* --- the guard --- */

static bool
is_listed(const struct tb_words *words, const char *text)
{
    for (size_t i = 0; i < words->count; i++) {
        if (tb_glob(words->at[i], text)) {
            return true;
        }
    }
    return false;
}

bool
tb_guard_forbids_account(const struct tb_guard *guard, const char *account,
                         char out[TB_CAPTURE_MAX_TEXT])
{
    if (guard->accounts.count == 0 || account[0] == 0 || is_listed(&guard->accounts, account)) {
        return false;
    }
    (void)snprintf(out, TB_CAPTURE_MAX_TEXT,
                   "the policy's guard allows no capture in account %s (guard.accounts)",
                   account);
    return true;
}

bool
tb_guard_forbids(const struct tb_guard *guard, const struct tb_source_facts *source,
                 char out[TB_CAPTURE_MAX_TEXT])
{
    const char *tag = NULL;

    if (guard->vpcs.count > 0 && source->vpc[0] != 0 && !is_listed(&guard->vpcs, source->vpc)) {
        (void)snprintf(out, TB_CAPTURE_MAX_TEXT,
                       "the policy's guard allows no capture in %s (guard.vpcs)", source->vpc);
        return true;
    }
    if (policy_tag_listed(&guard->deny_tags, source, &tag)) {
        (void)snprintf(out, TB_CAPTURE_MAX_TEXT,
                       "the policy's guard forbids what carries the tag %s (guard.deny_tags)",
                       tag);
        return true;
    }
    return false;
}

/* A sender may be trusted with some accounts only. */
static bool
sender_forbids_account(const struct tb_senders *senders, const struct tb_alert *alert,
                       char out[TB_CAPTURE_MAX_TEXT])
{
    const struct tb_sender *sender = tb_sender_find(senders, alert->adapter);

    if (sender == NULL || sender->accounts.count == 0 ||
        (alert->account[0] != 0 && is_listed(&sender->accounts, alert->account))) {
        return false;
    }
    (void)snprintf(
        out, TB_CAPTURE_MAX_TEXT,
        "sender %s may not have anything captured in %s%s (its accounts)", sender->name,
        alert->account[0] != 0 ? "account " : "an account it does not name", alert->account);
    return true;
}

/* By what the alert carries; all of its sources have to be forbidden. */
static bool
guard_forbids_alert(const struct tb_guard *guard, const struct tb_alert *alert,
                    char out[TB_CAPTURE_MAX_TEXT])
{
    if (tb_guard_forbids_account(guard, alert->account, out)) {
        return true;
    }
    for (size_t i = 0; i < alert->source_count; i++) {
        struct tb_source_facts f = {
            .vpc = alert->sources[i].vpc, .tag = policy_alert_tag, .tags = alert};

        if (!tb_guard_forbids(guard, &f, out)) {
            return false;
        }
    }
    return alert->source_count > 0;
}

/* --- sources --- */

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
 * Of one instance as the profile wants it.  The interface where it was seen; else the whole
 * instance, whose interfaces are looked up when it is tapped; else, of several instances, every
 * interface that was named.
 */
static void
choose_sources(const struct tb_alert *alert, enum tb_profile_sources wanted,
               struct tb_capture_request *out)
{
    bool one = is_one_instance(alert);

    if (wanted == TB_SOURCES_NAMED || !one) {
        take_interfaces(alert, true, out);
    }
    if (one) {
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

/* Instances and interfaces that one capture cannot hold beside what was chosen. */
static size_t
count_left_out(const struct tb_alert *alert, const struct tb_capture_request *request)
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
    return left_out;
}

/* --- the request --- */

static int64_t
least(int64_t a, int64_t b)
{
    return a != 0 && a < b ? a : b;
}

static void
apply_profile(const struct tb_policy *policy, const struct tb_alert *alert,
              const struct tb_profile *profile, struct tb_verdict *out)
{
    struct tb_capture_request *r = &out->request;
    int64_t most = least(policy->rules->guard.max_duration_ns, policy->bounds.max_duration_ns);

    if (profile->duration_ns != 0) {
        r->duration_ns = profile->duration_ns;
    }
    r->duration_ns = least(most, r->duration_ns);
    if (profile->max_bytes != 0) {
        r->max_bytes = profile->max_bytes;
    }
    if (profile->max_packets != 0) {
        r->max_packets = profile->max_packets;
    }
    if (profile->snaplen != 0) {
        r->snaplen = profile->snaplen;
    }
    if (profile->filter.kind == TB_FILTER_PEERS ||
        profile->filter.kind == TB_FILTER_PEERS_DNS) {
        tb_filter_of_peers(alert, profile->filter.kind == TB_FILTER_PEERS_DNS, &r->filter);
    } else {
        r->filter = profile->filter;
    }
    (void)tb_str_copy(r->bpf, sizeof(r->bpf), profile->bpf != NULL ? profile->bpf : "");
    r->packet_length = profile->packet_length;
    r->priority = profile->priority;
    r->storage = profile->storage;
    r->primary_only = profile->sources == TB_SOURCES_PRIMARY;
    if (profile->cooldown_ns >= 0) {
        out->cooldown_ns = profile->cooldown_ns;
    }
}

/* What would be captured; `rule` NULL: by the bounds alone. */
static void
plan(const struct tb_policy *policy, const struct tb_alert *alert, const struct tb_rule *rule,
     struct tb_verdict *out)
{
    const struct tb_profile *profile =
        rule != NULL ? &policy->rules->profiles[rule->profile] : NULL;
    struct tb_capture_request *r = &out->request;

    out->planned = true;
    out->cooldown_ns = policy->cooldown_ns;
    r->duration_ns = policy->bounds.default_duration_ns;
    r->snaplen = policy->bounds.default_snaplen;
    r->max_bytes = policy->bounds.default_max_bytes;
    r->max_packets = policy->bounds.default_max_packets;
    r->severity = alert->severity;
    tb_filter_all(&r->filter, "");
    if (profile != NULL) {
        apply_profile(policy, alert, profile, out);
    }
    choose_sources(alert, profile != NULL ? profile->sources : TB_SOURCES_NAMED, r);
    out->left_out = count_left_out(alert, r);
    (void)tb_str_copy(r->account, sizeof(r->account), alert->account);
    (void)tb_str_copy(r->region, sizeof(r->region), alert->region);
    (void)tb_str_copy(r->finding_id, sizeof(r->finding_id), alert->id);
    (void)tb_str_copy(r->finding_type, sizeof(r->finding_type), alert->type);
    (void)tb_str_copy(r->reason, sizeof(r->reason),
                      alert->summary[0] != 0 ? alert->summary : alert->type);
    if (rule != NULL) {
        (void)tb_str_copy(r->rule, sizeof(r->rule), rule->name);
    }
}

static void
say_what(const struct tb_alert *alert, struct tb_verdict *out)
{
    const struct tb_capture_request *request = &out->request;

    SAY(out->reason, "%.120s (severity %.1f) at %.60s", alert->type, alert->severity,
        request->eni_count > 0 ? request->enis[0] : request->instance);
    if (request->eni_count > 1) {
        SAY(out->reason, " and %zu more", request->eni_count - 1);
    }
    if (out->left_out > 0) { /* not silently dropped */
        SAY(out->reason, "; %zu more that the alert names are not covered", out->left_out);
    }
}

/* --- the decision --- */

static void
say_no(struct tb_verdict *out, enum tb_decision decision, enum tb_why why)
{
    out->decision = decision;
    out->why = why;
}

/* What no rule can change. */
static bool
is_out_of_question(const struct tb_policy *policy, const struct tb_alert *alert,
                   struct tb_verdict *out)
{
    if (alert->instance_state[0] != 0) {
        SAY(out->reason, "%s is %s: captures that tap it are told", alert->sources[0].instance,
            alert->instance_state);
        say_no(out, TB_DECISION_IGNORE, TB_WHY_NEWS);
        return true;
    }
    if (alert->nothing_to_mirror[0] != 0 || alert->source_count == 0) {
        SAY(out->reason, "nothing to mirror: %.200s",
            alert->nothing_to_mirror[0] != 0
                ? alert->nothing_to_mirror
                : "the alert names no instance or network interface");
        say_no(out, TB_DECISION_REFUSE, TB_WHY_NOTHING_TO_MIRROR);
        return true;
    }
    if (policy->rules != NULL &&
        (sender_forbids_account(&policy->rules->senders, alert, out->reason) ||
         guard_forbids_alert(&policy->rules->guard, alert, out->reason))) {
        say_no(out, TB_DECISION_REFUSE, TB_WHY_GUARD);
        return true;
    }
    out->reason[0] = 0;
    return false;
}

/* The rule that decides; NULL: none matches.  What stands before it and may match when EC2 has
 * told more: *out_maybe is the first of those that would capture, *out_open tells of any. */
static const struct tb_rule *
find_rule(const struct tb_rules *rules, const struct tb_alert *alert,
          const struct tb_source_facts *facts, size_t fact_count,
          const struct tb_rule **out_maybe, bool *out_open)
{
    *out_maybe = NULL;
    *out_open = false;
    for (size_t i = 0; i < rules->rule_count; i++) {
        const struct tb_rule *rule = &rules->rules[i];
        enum tb_match match = policy_match(rule, alert, facts, fact_count);

        if (match == TB_MATCH_YES) {
            return rule;
        }
        if (match == TB_MATCH_UNKNOWN) {
            *out_open = true;
            if (*out_maybe == NULL && rule->ignore[0] == 0) {
                *out_maybe = rule;
            }
        }
    }
    return NULL;
}

static void
ignore_by(const struct tb_alert *alert, const struct tb_rule *rule, struct tb_verdict *out)
{
    if (rule != NULL) {
        (void)tb_str_copy(out->rule, sizeof(out->rule), rule->name);
        SAY(out->reason, "rule '%s': %.180s", rule->name, rule->ignore);
        say_no(out, TB_DECISION_IGNORE, TB_WHY_RULE);
    } else if (alert->archived) {
        SAY(out->reason, "archived finding: somebody has put it aside, and no rule takes such");
        say_no(out, TB_DECISION_IGNORE, TB_WHY_ARCHIVED);
    } else {
        SAY(out->reason, "no rule of the policy matches %.120s (severity %.1f)", alert->type,
            alert->severity);
        say_no(out, TB_DECISION_IGNORE, TB_WHY_NO_RULE);
    }
}

static void
decide_by_rules(const struct tb_policy *policy, const struct tb_alert *alert,
                const struct tb_source_facts *facts, size_t fact_count, struct tb_verdict *out)
{
    const struct tb_rule *maybe;
    bool open;
    const struct tb_rule *rule =
        find_rule(policy->rules, alert, facts, fact_count, &maybe, &open);
    bool captures = rule != NULL && rule->ignore[0] == 0;

    if (!captures && maybe == NULL) {
        ignore_by(alert, rule, out); /* whatever EC2 says */
        return;
    }
    if (!captures) {
        rule = maybe;
    }
    plan(policy, alert, rule, out);
    (void)tb_str_copy(out->rule, sizeof(out->rule), rule->name);
    out->request.undecided = open;
    if (open) {
        SAY(out->reason,
            "rule '%s', unless the source's VPC, subnet or tags say otherwise: ", rule->name);
    } else {
        SAY(out->reason, "rule '%s': ", rule->name);
    }
    if (alert->sample && rule->sample == TB_WANTED_NO) {
        say_no(out, TB_DECISION_IGNORE, TB_WHY_SAMPLE);
        out->reason[0] = 0;
        SAY(out->reason,
            "sample finding: only planned; a real one is captured by rule '%s': ", rule->name);
    }
    say_what(alert, out);
}

void
tb_policy_decide(const struct tb_policy *policy, const struct tb_alert *alert,
                 const struct tb_source_facts *facts, size_t fact_count, struct tb_verdict *out)
{
    *out = (struct tb_verdict){.decision = TB_DECISION_CAPTURE};
    if (is_out_of_question(policy, alert, out)) {
        return;
    }
    if (policy->rules != NULL) {
        decide_by_rules(policy, alert, facts, fact_count, out);
        return;
    }
    plan(policy, alert, NULL, out);
    if (alert->sample) {
        say_no(out, TB_DECISION_IGNORE, TB_WHY_SAMPLE);
        SAY(out->reason, "sample finding: only planned: ");
    } else if (alert->archived) {
        say_no(out, TB_DECISION_IGNORE, TB_WHY_ARCHIVED);
        SAY(out->reason, "archived finding: somebody has put it aside: ");
    }
    say_what(alert, out);
}
