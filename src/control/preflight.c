/* What stands against a capture, or is worth knowing before it. */
#include "preflight.h"

#include <stdarg.h>
#include <stdio.h>

#include <tapbox/bytes.h>

#include "plan.h"

enum {
    SESSIONS_OF_SOURCE = 3 /* EC2's quota, not adjustable */
};
const char *
tb_check_severity_name(enum tb_check_severity severity)
{
    static const char *const names[TB_CHECK_SEVERITY_COUNT] = {
        [TB_CHECK_INFO] = "info", [TB_CHECK_WARN] = "warn", [TB_CHECK_BLOCK] = "block"};

    return severity < TB_CHECK_SEVERITY_COUNT ? names[severity] : "unknown";
}

static void fill(struct tb_check *out, const char *code, enum tb_check_severity severity,
                 const char *eni, const char *fmt, va_list args) TB_PRINTF(5, 0);

static void
fill(struct tb_check *out, const char *code, enum tb_check_severity severity, const char *eni,
     const char *fmt, va_list args)
{
    out->code = code;
    out->severity = severity;
    (void)tb_str_copy(out->eni, sizeof(out->eni), eni);
    (void)vsnprintf(out->text, sizeof(out->text), fmt, args);
}

void
preflight_say(struct tb_plan *plan, const char *code, enum tb_check_severity severity,
              const char *eni, const char *fmt, ...)
{
    va_list args;

    if (plan->check_count == TB_PLAN_MAX_CHECKS) {
        return; /* more than anybody reads; `blocked` does not come from here */
    }
    va_start(args, fmt);
    fill(&plan->checks[plan->check_count++], code, severity, eni, fmt, args);
    va_end(args);
}

static bool block(struct tb_check *out, const char *code, const char *eni, const char *fmt, ...)
    TB_PRINTF(4, 5);

static bool
block(struct tb_check *out, const char *code, const char *eni, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fill(out, code, TB_CHECK_BLOCK, eni, fmt, args);
    va_end(args);
    return true;
}

/* --- what every capture is checked for --- */

bool
preflight_request_blocked(const struct tb_capture_request *request,
                          const struct tb_config *config, const char *account,
                          const char *region, struct tb_check *out)
{
    if (request->region[0] != '\0' && strcmp(request->region, region) != 0) {
        return block(out, "other_region", "",
                     "it is about Region %s, and this tapbox works in %s: mirrored traffic "
                     "does not leave its Region, so send it to a tapbox there",
                     request->region, region);
    }
    if (request->account[0] != '\0' && strcmp(request->account, account) != 0 &&
        tb_config_account_find(config, request->account) == NULL) {
        return block(out, "other_account", "",
                     "it is about account %s, and this tapbox works in %s: add %s with a role "
                     "to 'accounts' in the configuration, or send it to a tapbox there",
                     request->account, account, request->account);
    }
    return false;
}

const struct tb_ec2_instance *
preflight_instance_of(const struct tb_ec2_instances *instances,
                      const struct tb_ec2_interface *interface)
{
    for (size_t i = 0; instances != NULL && i < instances->count; i++) {
        if (strcmp(instances->at[i].instance, interface->instance) == 0) {
            return &instances->at[i];
        }
    }
    return NULL;
}

static bool
is_ending(const char *state)
{
    return strcmp(state, "terminated") == 0 || strcmp(state, "shutting-down") == 0;
}

bool
preflight_source_blocked(const struct tb_capture_request *request,
                         const struct tb_ec2_interface *interface,
                         const struct tb_ec2_instance *instance, const char *target_eni,
                         struct tb_check *out)
{
    const char *eni = interface->eni;

    if (strcmp(eni, target_eni) == 0) {
        return block(out, "own_target", eni,
                     "it is tapbox's own mirror target: name another source");
    }
    if (tb_ec2_tag(&interface->tags, TB_TAG_DENY) != NULL) {
        return block(out, "deny_tag", eni,
                     "it carries the tag " TB_TAG_DENY
                     ": whoever set it has to remove it first");
    }
    if (instance != NULL && tb_ec2_tag(&instance->tags, TB_TAG_DENY) != NULL) {
        return block(out, "deny_tag", eni,
                     "its instance %s carries the tag " TB_TAG_DENY
                     ": whoever set it has to remove it first",
                     instance->instance);
    }
    if (strcmp(interface->interface_type, "interface") != 0) {
        return block(out, "interface_type", eni,
                     "interfaces of type '%s' cannot be mirrored: name the instances behind it",
                     interface->interface_type);
    }
    /* (RDS's and ElastiCache's belong to no instance that is seen here) */
    if (strcmp(interface->status, "in-use") != 0 ||
        (interface->instance[0] == '\0' && !interface->requester_managed)) {
        return block(
            out, "not_attached", eni,
            "it is not attached to an instance: attach it, or name the interface that has "
            "taken its place");
    }
    if (request->instance[0] != '\0' && strcmp(interface->instance, request->instance) != 0) {
        return block(
            out, "other_instance", eni,
            "it is attached to another instance than the one named, %s: name that one, or "
            "another interface",
            interface->instance);
    }
    if (instance != NULL && is_ending(instance->state)) {
        return block(out, "instance_gone", eni,
                     "its instance %s is %s: name the one that has taken its place",
                     instance->instance, instance->state);
    }
    if (interface->ip[0] == '\0') {
        return block(out, "no_ipv4", eni,
                     "it has no private IPv4 address, which copies are sent from: give it one");
    }
    return false;
}

static const char *
tag_of_either(const void *tags, const char *key)
{
    const struct preflight_pair *pair = tags;
    const char *value = tb_ec2_tag(&pair->interface->tags, key);

    return value == NULL && pair->instance != NULL ? tb_ec2_tag(&pair->instance->tags, key)
                                                   : value;
}

struct tb_source_facts
preflight_facts_of(const struct preflight_pair *pair)
{
    return (struct tb_source_facts){.vpc = pair->interface->vpc,
                                    .subnet = pair->interface->subnet,
                                    .tag = tag_of_either,
                                    .tags = pair};
}

bool
preflight_guard_blocked(const struct tb_guard *guard, const struct tb_ec2_interface *interface,
                        const struct tb_ec2_instance *instance, struct tb_check *out)
{
    struct preflight_pair pair = {interface, instance};
    struct tb_source_facts facts = preflight_facts_of(&pair);
    char why[TB_CAPTURE_MAX_TEXT];

    return guard != NULL && tb_guard_forbids(guard, &facts, why) &&
           block(out, "policy_guard", interface->eni,
                 "%s: name another source, or change the guard", why);
}

/* --- one interface --- */

static const struct tb_capture *
captured_by(const struct preflight_facts *facts, const char *eni)
{
    for (size_t i = 0; i < facts->capture_count; i++) {
        const struct tb_capture *capture = &facts->captures[i];

        /* (of one that waits for its turn the interfaces may not be known yet) */
        if (capture->stop_asked || capture->state >= TB_CAPTURE_DRAINING) {
            continue;
        }
        for (size_t s = 0; s < capture->source_count; s++) {
            if (strcmp(capture->sources[s].eni, eni) == 0 &&
                (capture->sources[s].armed || capture->sources[s].gap[0] == '\0')) {
                return capture;
            }
        }
    }
    return NULL;
}

/* The target on this interface among those of an account; NULL too when that is not known. */
static const struct tb_ec2_target *
target_on(const struct tb_ec2_targets *targets, const char *eni)
{
    for (size_t i = 0; targets != NULL && i < targets->count; i++) {
        if (strcmp(targets->at[i].eni, eni) == 0) {
            return &targets->at[i];
        }
    }
    return NULL;
}

/* "1, 5": the numbers of the sessions of others on an interface. */
static void
list_foreign(const struct preflight_facts *facts, const char *eni, char *out, size_t cap)
{
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; i < facts->on_sources->count && used < cap; i++) {
        const struct tb_ec2_session *session = &facts->on_sources->at[i];
        const char *owner = tb_ec2_tag(&session->tags, TB_TAG_OWNER);

        if (strcmp(session->eni, eni) == 0 &&
            (owner == NULL || strcmp(owner, facts->owner) != 0)) {
            int n = snprintf(out + used, cap - used, "%s%s with number %u",
                             used > 0 ? ", " : "", session->id, session->session_number);

            used += n > 0 ? (size_t)n : 0;
        }
    }
}

static bool
check_sessions(const struct preflight_facts *facts, const char *eni, uint32_t *out_number,
               struct tb_plan *out)
{
    size_t count = 0;
    char foreign[200];

    *out_number = 0;
    if (facts->on_sources == NULL) {
        return true;
    }
    for (size_t i = 0; i < facts->on_sources->count; i++) {
        count += strcmp(facts->on_sources->at[i].eni, eni) == 0 ? 1 : 0;
    }
    *out_number = tb_plan_session_number(facts->on_sources, eni);
    list_foreign(facts, eni, foreign, sizeof(foreign));
    if (count >= SESSIONS_OF_SOURCE) {
        preflight_say(out, "sessions_full", TB_CHECK_BLOCK, eni,
                      "it has %zu mirror sessions, the most that AWS allows: one of them has "
                      "to go%s%s%s",
                      count, foreign[0] != '\0' ? " (of others: " : "", foreign,
                      foreign[0] != '\0' ? ")" : "");
        return false;
    }
    if (*out_number == 0) {
        preflight_say(out, "session_number", TB_CHECK_BLOCK, eni,
                      "no session number is free after the sessions that are there (%s): "
                      "their owner has to give one of them a lower number",
                      foreign);
        return false;
    }
    if (foreign[0] != '\0') {
        preflight_say(out, "foreign_sessions", TB_CHECK_WARN, eni,
                      "others mirror it already (%s); tapbox takes number %u.  AWS mirrors "
                      "each packet once, for the lowest number whose filter accepts it: what "
                      "theirs accept will be missing from this capture",
                      foreign, *out_number);
    }
    return true;
}

/* What EC2 itself says about the very request. */
static bool
check_dry_run(const struct preflight_facts *facts, size_t source, struct tb_plan *out)
{
    const struct tb_fail *answer = &facts->dry_run[source].answer;
    const char *eni = facts->interfaces->at[source].eni;

    if (!facts->dry_run[source].known || answer->err == TB_OK) {
        return true;
    }
    if (answer->err == TB_EDENIED) {
        preflight_say(
            out, "iam_denied", TB_CHECK_BLOCK, eni,
            "these credentials may not mirror it: allow ec2:CreateTrafficMirrorSession "
            "and ec2:CreateTags as infra/iam/control.json does (%.150s)",
            answer->text);
        return false;
    }
    if (tb_err_is_retryable(answer->err) && answer->err != TB_EFULL) {
        preflight_say(out, "not_known", TB_CHECK_WARN, eni,
                      "EC2 could not be asked whether it would make the session: %.250s",
                      answer->text);
        return true;
    }
    if (strcmp(answer->code, "TrafficMirrorSourcesPerTargetLimitExceeded") == 0) {
        preflight_say(
            out, "target_full", TB_CHECK_BLOCK, eni,
            "the target %s has all the sources that EC2 lets it have: stop a capture, "
            "or use another interface or a larger instance as target (%.150s)",
            facts->target->eni, answer->text);
        return false;
    }
    preflight_say(out,
                  strcmp(answer->code, "NetworkInterfaceNotSupported") == 0
                      ? "source_unsupported"
                      : "ec2_refuses",
                  TB_CHECK_BLOCK, eni, "EC2 would not make the session: %.300s", answer->text);
    return false;
}

static void
check_instance(const struct preflight_facts *facts, const struct tb_ec2_interface *interface,
               struct tb_plan *out)
{
    const struct tb_ec2_instance *instance = preflight_instance_of(facts->instances, interface);

    if (interface->requester_managed) {
        preflight_say(out, "requester_managed", TB_CHECK_WARN, interface->eni,
                      "an AWS service manages it; of those only RDS's and ElastiCache's can be "
                      "mirrored: if EC2 refuses, name those that talk with it");
    }
    if (instance == NULL) {
        return;
    }
    if (strcmp(instance->state, "running") != 0) {
        preflight_say(out, "instance_state", TB_CHECK_WARN, interface->eni,
                      "its instance %s is %s: it sends nothing, and the session costs all the "
                      "same; start it first",
                      instance->instance, instance->state);
    }
    preflight_type(facts, interface, instance, out);
}

/* True when it would be mirrored; else the source's gap says why not. */
static bool
check_source(const struct preflight_facts *facts, size_t i, struct tb_plan *out)
{
    const struct tb_ec2_interface *interface = &facts->interfaces->at[i];
    struct tb_capture_source *source = &out->sources[i];
    const struct tb_capture *running = captured_by(facts, interface->eni);
    struct tb_check blocked;
    size_t before = out->check_count;
    bool good = true;

    if (running != NULL) {
        (void)tb_str_copy(out->joins, sizeof(out->joins), running->id);
        preflight_say(out, "joins", TB_CHECK_INFO, interface->eni,
                      "%s captures it already: the request would join that capture",
                      running->id);
        return true;
    }
    if (preflight_source_blocked(facts->request, interface,
                                 preflight_instance_of(facts->instances, interface),
                                 facts->target->eni, &blocked) ||
        preflight_guard_blocked(facts->guard, interface,
                                preflight_instance_of(facts->instances, interface), &blocked)) {
        preflight_say(out, blocked.code, blocked.severity, interface->eni, "%s", blocked.text);
        good = false;
    } else if (target_on(facts->other_account ? facts->targets_there : facts->targets,
                         interface->eni) != NULL) {
        preflight_say(
            out, "is_target", TB_CHECK_BLOCK, interface->eni,
            "it is a mirror target itself, which cannot be a source: name another interface, "
            "or remove that target");
        good = false;
    } else {
        check_instance(facts, interface, out);
        good = check_sessions(facts, interface->eni, &source->session_number, out);
        good = preflight_path(facts, i, out) && good;
        good = check_dry_run(facts, i, out) && good;
    }
    for (size_t c = before; c < out->check_count && source->gap[0] == '\0'; c++) {
        if (out->checks[c].severity == TB_CHECK_BLOCK) {
            (void)tb_str_copy(source->gap, sizeof(source->gap), out->checks[c].text);
        }
    }
    return good;
}

/* *out_new: how many sessions would be made. */
static bool
check_sources(const struct preflight_facts *facts, size_t *out_new, struct tb_plan *out)
{
    size_t usable = 0, captured = 0;

    (void)tb_plan_sources(facts->request, facts->interfaces, facts->instances,
                          facts->target->eni, out->sources, &out->source_count);
    for (size_t i = 0; i < out->source_count; i++) {
        out->sources[i].gap[0] = '\0';
        if (usable == TB_CAPTURE_MAX_SOURCES) {
            tb_plan_say_too_many(out->sources[i].gap);
            continue;
        }
        usable += check_source(facts, i, out) ? 1 : 0;
        captured += captured_by(facts, out->sources[i].eni) != NULL ? 1 : 0;
    }
    if (usable > captured) {
        out->joins[0] = '\0'; /* the rest needs a capture, and a place, of its own */
    }
    if (out->source_count == 0) {
        preflight_say(
            out, "no_interface", TB_CHECK_BLOCK, "",
            "the instance has no network interface: attach one, or name another source");
    } else if (facts->interfaces->count > TB_CAPTURE_MAX_SOURCES) {
        preflight_say(out, "many_interfaces", TB_CHECK_WARN, "",
                      "of %zu interfaces at most %d are captured: name those that matter",
                      facts->interfaces->count, TB_CAPTURE_MAX_SOURCES);
    }
    *out_new = usable - captured;
    return usable > 0;
}

static void
check_found(const struct preflight_facts *facts, struct tb_plan *out)
{
    const char *there = facts->other_account ? facts->request->account : facts->account;

    if (facts->found.err == TB_EDENIED && strstr(facts->found.text, "cannot assume ") != NULL) {
        preflight_say(out, "role_refused", TB_CHECK_BLOCK, "",
                      "the role for account %s is not given to tapbox: let it trust the role "
                      "that tapbox runs with, and ask for the configured external id "
                      "(infra/iam/member-trust.json): %.200s",
                      there, facts->found.text);
    } else if (facts->found.err == TB_ENOTFOUND) {
        preflight_say(out, "source_not_found", TB_CHECK_BLOCK, "",
                      "there is no such source in account %s and Region %s: %.200s", there,
                      facts->region, facts->found.text);
    } else {
        preflight_say(
            out, "source_not_known", TB_CHECK_BLOCK, "",
            "the source cannot be looked up; try again, or allow ec2:DescribeNetworkInterfaces "
            "and ec2:DescribeInstances as infra/iam/control.json does: %.250s",
            facts->found.text);
    }
}

/* Sources elsewhere can only send to a target that their account has been given. */
static bool
check_shared(const struct preflight_facts *facts, struct tb_plan *out)
{
    const char *eni = facts->target->eni;

    if (!facts->other_account || facts->targets_there == NULL ||
        target_on(facts->targets_there, eni) != NULL) {
        return true;
    }
    preflight_say(
        out, "target_not_shared", TB_CHECK_BLOCK, "",
        "the mirror target %s%s of account %s is not shared with account %s: share it "
        "through AWS Resource Access Manager",
        out->target[0] != '\0' ? out->target : "(yet to be made) on ",
        out->target[0] != '\0' ? "" : eni, facts->account, facts->request->account);
    return false;
}

void
preflight_run(const struct preflight_facts *facts, struct tb_plan *out)
{
    struct tb_check blocked;
    size_t sessions = 0;
    bool good = true;

    memset(out, 0, sizeof(*out));
    (void)tb_str_copy(out->target_eni, sizeof(out->target_eni), facts->target->eni);
    if (target_on(facts->targets, facts->target->eni) != NULL) {
        (void)tb_str_copy(out->target, sizeof(out->target),
                          target_on(facts->targets, facts->target->eni)->id);
    }
    if (preflight_request_blocked(facts->request, facts->config, facts->account, facts->region,
                                  &blocked)) {
        preflight_say(out, blocked.code, blocked.severity, "", "%s", blocked.text);
        good = false;
    } else if (facts->found.err != TB_OK) {
        check_found(facts, out);
        good = false;
    } else {
        good = check_sources(facts, &sessions, out);
        good = check_shared(facts, out) && good;
    }
    good = preflight_whole(facts, sessions, out) && good;
    out->blocked = !good;
}
