/*
 * Gathers the facts for pre-flight: asks AWS in three rounds, in each for everything that does
 * not need an answer of the same round.  Nothing is made, in AWS or in the store.
 */
#include "control_int.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tapbox/aws_s3.h>
#include <tapbox/ids.h>

#include "preflight.h"

enum {
    CAPTURES_MOST = 10000
};

/* What is asked for; each is written by one task only. */
enum question {
    ASK_SOURCES,
    ASK_TARGETS,
    ASK_TARGETS_THERE,
    ASK_FILTERS,
    ASK_TARGET_HOST,
    ASK_BUCKET,
    ASK_LIFETIME,
    ASK_ON_SOURCES,
    ASK_ON_TARGET,
    ASK_GROUPS,
    ASK_ROUTES,
    ASK_TYPES,
    ASK_DRY_RUN,
    QUESTIONS
};

struct survey {
    struct tb_control *control;
    struct control_account *account; /* of the sources; NULL: not configured */
    const struct tb_capture_request *request;
    struct control_self self;
    struct preflight_facts facts;

    struct control_found found;
    struct tb_ec2_targets targets, targets_there;
    struct tb_ec2_filters filters;
    struct tb_ec2_instances target_host;
    struct tb_ec2_sessions on_sources, on_target;
    struct tb_ec2_groups groups;
    struct tb_ec2_route_tables routes[TB_CAPTURE_MAX_LISTED];
    struct tb_ec2_types types;
    struct tb_aws_lifetime lifetime;
    char target_id[TB_AWS_ID_SIZE], filter_id[TB_AWS_ID_SIZE];

    bool asked[QUESTIONS];
    enum tb_err err[QUESTIONS];
    struct tb_fail fail[QUESTIONS];
};

/* --- one question each --- */

static void
ask_sources(void *arg)
{
    struct survey *s = arg;

    s->err[ASK_SOURCES] =
        control_describe(s->account, s->request, &s->found, &s->fail[ASK_SOURCES]);
}

static void
ask_targets(void *arg)
{
    struct survey *s = arg;

    s->err[ASK_TARGETS] =
        tb_ec2_targets_list(s->control->deps.aws, NULL, &s->targets, &s->fail[ASK_TARGETS]);
}

static void
ask_targets_there(void *arg)
{
    struct survey *s = arg;

    s->err[ASK_TARGETS_THERE] = tb_ec2_targets_list(s->account->aws, NULL, &s->targets_there,
                                                    &s->fail[ASK_TARGETS_THERE]);
}

static void
ask_filters(void *arg)
{
    struct survey *s = arg;

    s->err[ASK_FILTERS] =
        tb_ec2_filters_list(s->account->aws, &s->filters, &s->fail[ASK_FILTERS]);
}

static void
ask_target_host(void *arg)
{
    struct survey *s = arg;
    const char *eni = s->self.target.eni;

    s->err[ASK_TARGET_HOST] = tb_ec2_instances_of_interfaces(
        s->control->deps.aws, &eni, 1, &s->target_host, &s->fail[ASK_TARGET_HOST]);
}

static bool
wishes_lock(const struct tb_s3_posture *posture)
{
    return posture->legal_hold || (posture->lock_mode != NULL && posture->lock_mode[0] != '\0');
}

/* Whether a put whose answer is lost can be told from somebody else's object, or can at least
 * be put again beside it. */
static bool
can_settle(struct tb_control *control, const char *key)
{
    struct tb_s3_put none = {.key = key, .body_fd = -1};
    struct tb_s3_ack ack;
    enum tb_err err = tb_s3_find(control->deps.aws, &control->deps.bucket, &none, &ack, NULL);

    if (err == TB_EDENIED) {
        err = tb_s3_lock_check(control->deps.aws, &control->deps.bucket, NULL);
        return err == TB_OK || tb_err_is_retryable(err);
    }
    return true;
}

static void
ask_bucket(void *arg)
{
    struct survey *s = arg;
    struct tb_s3_bucket bucket = s->control->deps.bucket;
    char key[TB_S3_KEY_SIZE], token[65];
    struct tb_fail lock;

    bucket.posture = tb_upload_posture(&bucket.posture, &s->request->storage);

    s->facts.bucket.answer.err = tb_uuid_new(token);
    if (s->facts.bucket.answer.err == TB_OK) {
        (void)snprintf(key, sizeof(key), "%s/preflight-%s", s->control->deps.config->s3_prefix,
                       token);
        s->facts.bucket.answer.err = tb_s3_probe(
            s->control->deps.aws, &bucket, key, &s->facts.bucket.left, &s->facts.bucket.answer);
        if (s->facts.bucket.answer.err == TB_OK && wishes_lock(&bucket.posture) &&
            tb_s3_lock_check(s->control->deps.aws, &bucket, &lock) == TB_ENOTFOUND) {
            s->facts.bucket.answer = lock;
            s->facts.bucket.refused = "object_lock";
        } else if (s->facts.bucket.answer.err != TB_OK &&
                   !tb_err_is_retryable(s->facts.bucket.answer.err)) {
            s->facts.bucket.refused = tb_s3_posture_refused(s->control->deps.aws, &bucket, key);
        } else if (s->facts.bucket.answer.err == TB_OK) {
            s->facts.bucket.unread = !can_settle(s->control, key);
        }
    }
    s->facts.bucket.known = true;
}

static void
ask_lifetime(void *arg)
{
    struct survey *s = arg;

    s->err[ASK_LIFETIME] =
        tb_aws_lifetime_get(s->control->deps.aws, &s->lifetime, &s->fail[ASK_LIFETIME]);
}

/* Ids of the interfaces that were found, as many as a capture takes. */
static size_t
list_enis(const struct survey *s, const char *out[TB_CAPTURE_MAX_SOURCES])
{
    size_t count = 0;

    for (; count < s->found.interfaces.count && count < TB_CAPTURE_MAX_SOURCES; count++) {
        out[count] = s->found.interfaces.at[count].eni;
    }
    return count;
}

static void
ask_on_sources(void *arg)
{
    struct survey *s = arg;
    const char *enis[TB_CAPTURE_MAX_SOURCES];
    size_t count = list_enis(s, enis);

    s->err[ASK_ON_SOURCES] = tb_ec2_sessions_list(s->account->aws, enis, count, &s->on_sources,
                                                  &s->fail[ASK_ON_SOURCES]);
}

static void
ask_on_target(void *arg)
{
    struct survey *s = arg;

    s->err[ASK_ON_TARGET] = tb_ec2_sessions_of_target(s->control->deps.aws, s->target_id,
                                                      &s->on_target, &s->fail[ASK_ON_TARGET]);
}

static void
ask_groups(void *arg)
{
    struct survey *s = arg;
    const char *ids[TB_EC2_MAX_GROUPS];

    for (size_t i = 0; i < s->self.target.group_count; i++) {
        ids[i] = s->self.target.groups[i];
    }
    s->err[ASK_GROUPS] =
        tb_ec2_groups_by_id(s->control->deps.aws, ids, s->self.target.group_count, &s->groups,
                            &s->fail[ASK_GROUPS]);
}

/* Of each VPC that is not the target's; sources of the same one share the answer. */
static void
ask_routes(void *arg)
{
    struct survey *s = arg;
    const char *enis[TB_CAPTURE_MAX_SOURCES];
    size_t count = list_enis(s, enis);

    for (size_t i = 0; i < count && s->err[ASK_ROUTES] == TB_OK; i++) {
        const char *vpc = s->found.interfaces.at[i].vpc;

        for (size_t j = 0; j < i && s->facts.routes[i] == NULL; j++) {
            if (strcmp(s->found.interfaces.at[j].vpc, vpc) == 0) {
                s->facts.routes[i] = s->facts.routes[j];
            }
        }
        if (s->facts.routes[i] == NULL && strcmp(vpc, s->self.target.vpc) != 0) {
            s->err[ASK_ROUTES] = tb_ec2_route_tables_of_vpc(s->account->aws, vpc, &s->routes[i],
                                                            &s->fail[ASK_ROUTES]);
            s->facts.routes[i] = s->err[ASK_ROUTES] == TB_OK ? &s->routes[i] : NULL;
        }
    }
}

/* Those of the sources, and all of the target's family. */
static void
ask_types(void *arg)
{
    struct survey *s = arg;
    const char *names[TB_CAPTURE_MAX_SOURCES + 1];
    char family[40];
    size_t count = 0;

    for (size_t i = 0; i < s->found.instances.count && count < TB_CAPTURE_MAX_SOURCES; i++) {
        names[count++] = s->found.instances.at[i].type;
    }
    if (s->facts.target_type[0] != '\0') {
        (void)snprintf(family, sizeof(family), "%.*s.*",
                       (int)strcspn(s->facts.target_type, "."), s->facts.target_type);
        names[count++] = family;
    }
    if (count > 0) {
        s->err[ASK_TYPES] = tb_ec2_types_list(s->control->deps.aws, names, count, &s->types,
                                              &s->fail[ASK_TYPES]);
    }
}

/* As the real request would be: tags and all. */
static enum tb_err
ask_for_session(struct survey *s, size_t source, struct tb_fail *fail)
{
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    const char *eni = s->found.interfaces.at[source].eni;
    uint32_t number = tb_plan_session_number(&s->on_sources, eni);
    char token[65], expires[TB_TIME_TEXT_SIZE];
    struct tb_ec2_tag tags[4];
    struct tb_ec2_session_spec spec = {.eni = eni,
                                       .target_id = s->target_id,
                                       .filter_id = s->filter_id,
                                       .session_number = number > 0 ? number : 1,
                                       .vni = 1,
                                       .tags = tags,
                                       .tag_count = 4,
                                       .client_token = token};
    enum tb_err err = tb_uuid_new(token);

    if (err != TB_OK) {
        return tb_fail_set(fail, err, "no random numbers for a client token");
    }
    tb_time_format_s(expires, s->facts.now_utc_s);
    control_set_tag(&tags[0], "Name", "tapbox");
    control_set_tag(&tags[1], TB_TAG_OWNER, s->facts.owner);
    control_set_tag(&tags[2], TB_TAG_CAPTURE, "preflight");
    control_set_tag(&tags[3], TB_TAG_EXPIRES, expires);
    err = tb_ec2_session_body(&spec, &body, fail);
    if (err == TB_OK) {
        err = tb_ec2_create_dry_run(s->account->aws, TB_EC2_SESSION, tb_buf_view(&body), fail);
    }
    tb_buf_release(&body);
    return err;
}

/* What a session needs and is not there yet. */
static void
ask_for_standing(struct survey *s, bool target, struct tb_fail *out)
{
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    struct tb_ec2_tag tags[3];
    char token[65];
    struct tb_ec2_target_spec target_spec = {
        .eni = s->self.target.eni, .tags = tags, .tag_count = 3, .client_token = token};
    struct tb_ec2_filter_spec filter_spec = {
        .tags = tags, .tag_count = 3, .client_token = token};
    enum tb_err err = tb_uuid_new(token);

    control_set_tag(&tags[0], "Name", "tapbox");
    control_set_tag(&tags[1], TB_TAG_OWNER, s->facts.owner);
    control_set_tag(&tags[2], TB_TAG_STANDING, target ? "target" : "all");
    if (err == TB_OK) {
        err = target ? tb_ec2_target_body(&target_spec, &body, out)
                     : tb_ec2_filter_body(&filter_spec, &body, out);
    }
    if (err == TB_OK) {
        err = tb_ec2_create_dry_run(target ? s->control->deps.aws : s->account->aws,
                                    target ? TB_EC2_TARGET : TB_EC2_FILTER, tb_buf_view(&body),
                                    out);
    }
    out->err = err;
    tb_buf_release(&body);
}

static void
ask_dry_run_of_standing(struct survey *s)
{
    if (s->facts.targets != NULL && s->target_id[0] == '\0') {
        s->facts.dry_run_standing[0].action = "ec2:CreateTrafficMirrorTarget";
        ask_for_standing(s, true, &s->facts.dry_run_standing[0].answer);
    }
    if (s->facts.filters != NULL && s->filter_id[0] == '\0') {
        s->facts.dry_run_standing[1].action = "ec2:CreateTrafficMirrorFilter";
        ask_for_standing(s, false, &s->facts.dry_run_standing[1].answer);
    }
}

static bool
is_target_there(const struct survey *s)
{
    bool there = !s->facts.other_account;

    for (size_t i = 0; i < s->targets_there.count && !there; i++) {
        there = strcmp(s->targets_there.at[i].id, s->target_id) == 0;
    }
    return there;
}

static void
ask_dry_run(void *arg)
{
    struct survey *s = arg;
    const char *enis[TB_CAPTURE_MAX_SOURCES];
    size_t count = list_enis(s, enis);

    if (s->target_id[0] == '\0' || s->filter_id[0] == '\0') {
        ask_dry_run_of_standing(s);
        return;
    }
    if (!is_target_there(s)) {
        return; /* that is said by itself */
    }
    for (size_t i = 0; i < count; i++) {
        struct tb_check blocked;

        /* What cannot be a source is not worth a call. */
        if (preflight_source_blocked(
                s->request, &s->found.interfaces.at[i],
                preflight_instance_of(&s->found.instances, &s->found.interfaces.at[i]),
                s->self.target.eni, &blocked)) {
            continue;
        }
        s->facts.dry_run[i].answer.err = ask_for_session(s, i, &s->facts.dry_run[i].answer);
        s->facts.dry_run[i].known = true;
    }
}

/* --- rounds --- */

static const struct {
    void (*run)(void *arg);
    const char *what; /* for "could not look at ..."; NULL: told in another way */
} questions[QUESTIONS] = {
    [ASK_SOURCES] = {ask_sources, NULL},
    [ASK_TARGETS] = {ask_targets, "the mirror targets of the account"},
    [ASK_TARGETS_THERE] = {ask_targets_there, "the targets shared with the source's account"},
    [ASK_FILTERS] = {ask_filters, "the mirror filters of the account"},
    [ASK_TARGET_HOST] = {ask_target_host, "the instance of the target"},
    [ASK_BUCKET] = {ask_bucket, NULL},
    [ASK_LIFETIME] = {ask_lifetime, "the credentials"},
    [ASK_ON_SOURCES] = {ask_on_sources, "the sessions of the interface"},
    [ASK_ON_TARGET] = {ask_on_target, "the sessions of the target"},
    [ASK_GROUPS] = {ask_groups, "the security groups of the target"},
    [ASK_ROUTES] = {ask_routes, "the routes of the source's VPC"},
    [ASK_TYPES] = {ask_types, "the instance types"},
    [ASK_DRY_RUN] = {ask_dry_run, NULL},
};

static void
ask(struct survey *s, const enum question *list, size_t count)
{
    struct control_task tasks[QUESTIONS];

    for (size_t i = 0; i < count; i++) {
        tasks[i] = (struct control_task){questions[list[i]].run, s};
        s->asked[list[i]] = true;
    }
    control_together(tasks, count);
    for (size_t i = 0; i < count; i++) {
        /* (that a role is not given to us is told once, with the sources) */
        if (s->err[list[i]] != TB_OK && questions[list[i]].what != NULL &&
            !control_is_role_refused(s->err[list[i]], &s->fail[list[i]]) &&
            s->facts.unknown_count < PREFLIGHT_MAX_UNKNOWN) {
            s->facts.unknown[s->facts.unknown_count++] =
                (struct preflight_unknown){questions[list[i]].what, s->fail[list[i]]};
        }
    }
}

static bool
is_known(const struct survey *s, enum question question)
{
    return s->asked[question] && s->err[question] == TB_OK;
}

/* Our target and filter among those of the account. */
static void
find_standing(struct survey *s)
{
    for (size_t i = 0; i < s->targets.count; i++) {
        if (strcmp(s->targets.at[i].eni, s->self.target.eni) == 0) {
            (void)tb_str_copy(s->target_id, sizeof(s->target_id), s->targets.at[i].id);
        }
    }
    for (size_t i = 0; i < s->filters.count; i++) {
        if (preflight_is_our_filter(&s->filters.at[i], s->facts.owner)) {
            (void)tb_str_copy(s->filter_id, sizeof(s->filter_id), s->filters.at[i].id);
        }
    }
}

static void
first_round(struct survey *s)
{
    /* (the last only of another account) */
    static const enum question first[] = {ASK_SOURCES,      ASK_TARGETS, ASK_FILTERS,
                                          ASK_TARGET_HOST,  ASK_BUCKET,  ASK_LIFETIME,
                                          ASK_TARGETS_THERE};

    ask(s, first, sizeof(first) / sizeof(first[0]) - (s->facts.other_account ? 0 : 1));
    find_standing(s);
    s->facts.found = s->fail[ASK_SOURCES];
    s->facts.found.err = s->err[ASK_SOURCES];
    s->facts.interfaces = &s->found.interfaces;
    s->facts.instances = &s->found.instances;
    s->facts.targets = is_known(s, ASK_TARGETS) ? &s->targets : NULL;
    s->facts.targets_there = is_known(s, ASK_TARGETS_THERE) ? &s->targets_there : NULL;
    s->facts.filters = is_known(s, ASK_FILTERS) ? &s->filters : NULL;
    s->facts.lifetime = is_known(s, ASK_LIFETIME) ? &s->lifetime : NULL;
    if (s->target_host.count == 1) {
        s->facts.target_type = s->target_host.at[0].type;
    }
}

static void
second_round(struct survey *s)
{
    enum question second[QUESTIONS];
    size_t count = 0;

    if (s->found.interfaces.count > 0) {
        second[count++] = ASK_ON_SOURCES;
        second[count++] = ASK_ROUTES;
    }
    if (s->target_id[0] != '\0') {
        second[count++] = ASK_ON_TARGET;
    }
    if (s->self.target.group_count > 0) {
        second[count++] = ASK_GROUPS;
    }
    second[count++] = ASK_TYPES;
    ask(s, second, count);
    s->facts.on_sources = is_known(s, ASK_ON_SOURCES) ? &s->on_sources : NULL;
    s->facts.on_target = is_known(s, ASK_ON_TARGET) ? &s->on_target : NULL;
    s->facts.groups = is_known(s, ASK_GROUPS) ? &s->groups : NULL;
    s->facts.types = is_known(s, ASK_TYPES) ? &s->types : NULL;
}

/* --- the host, the store --- */

/* 0 when it is not known. */
static uint32_t
mtu_of(const char *interface)
{
    struct ifreq request;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    uint32_t mtu = 0;

    memset(&request, 0, sizeof(request));
    (void)tb_str_copy(request.ifr_name, sizeof(request.ifr_name), interface);
    if (fd >= 0 && ioctl(fd, SIOCGIFMTU, &request) == 0 && request.ifr_mtu > 0) {
        mtu = (uint32_t)request.ifr_mtu;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return mtu;
}

static void
release(struct survey *s)
{
    control_found_release(&s->found);
    tb_ec2_targets_release(&s->targets);
    tb_ec2_targets_release(&s->targets_there);
    tb_ec2_filters_release(&s->filters);
    tb_ec2_instances_release(&s->target_host);
    tb_ec2_sessions_release(&s->on_sources);
    tb_ec2_sessions_release(&s->on_target);
    tb_ec2_groups_release(&s->groups);
    for (size_t i = 0; i < TB_CAPTURE_MAX_LISTED; i++) {
        tb_ec2_route_tables_release(&s->routes[i]);
    }
    tb_ec2_types_release(&s->types);
    free(s);
}

enum tb_err
tb_control_plan(struct tb_control *control, const struct tb_capture_request *request,
                struct tb_plan *out, struct tb_fail *fail)
{
    static const enum question third[] = {ASK_DRY_RUN};
    struct survey *s = calloc(1, sizeof(*s));
    struct tb_capture *captures = NULL;
    struct tb_check blocked;
    size_t count = 0;
    enum tb_err err;

    if (s == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a plan");
    }
    s->control = control;
    s->request = request;
    err = control_self_learn(control, &s->self, fail);
    if (err == TB_OK) {
        err = tb_store_capture_list(control->deps.store, true, CAPTURES_MOST, &captures, &count,
                                    fail);
    }
    if (err != TB_OK) {
        goto out;
    }
    s->facts.request = request;
    s->facts.config = control->deps.config;
    s->facts.guard = control_guard(control);
    s->facts.owner = control->deps.config->owner;
    s->facts.account = s->self.account;
    s->facts.region = tb_aws_region(control->deps.aws);
    s->facts.now_utc_s = tb_clock_utc_ns() / TB_NS_PER_S;
    s->facts.target = &s->self.target;
    s->facts.target_type = "";
    s->facts.target_mtu = mtu_of(control->deps.config->recorder_interface);
    s->facts.bucket_name = control->deps.config->s3_bucket;
    s->facts.captures = captures;
    s->facts.capture_count = count;
    /* What is somewhere else cannot be looked at from here. */
    if (!preflight_request_blocked(request, s->facts.config, s->facts.account, s->facts.region,
                                   &blocked) &&
        control_account_of(control, request, &s->account, fail) == TB_OK) {
        s->facts.other_account = !control_is_own(s->account);
        first_round(s);
        second_round(s);
        ask(s, third, 1);
    }
    preflight_run(&s->facts, out);

out:
    free(captures);
    release(s);
    return err;
}

/* --- as JSON --- */

static void
set_or_null(struct tb_json *object, const char *key, const char *text)
{
    tb_json_set_str(object, key, text[0] != '\0' ? text : NULL);
}

void
tb_plan_add_json(const struct tb_plan *plan, struct tb_json *into)
{
    struct tb_json *checks = tb_json_array(), *sources = tb_json_array();
    struct tb_json *target = tb_json_object();

    for (size_t i = 0; i < plan->check_count; i++) {
        struct tb_json *check = tb_json_object();

        tb_json_set_str(check, "code", plan->checks[i].code);
        tb_json_set_str(check, "severity", tb_check_severity_name(plan->checks[i].severity));
        set_or_null(check, "eni", plan->checks[i].eni);
        tb_json_set_str(check, "text", plan->checks[i].text);
        tb_json_add(checks, check);
    }
    for (size_t i = 0; i < plan->source_count; i++) {
        const struct tb_capture_source *from = &plan->sources[i];
        struct tb_json *source = tb_json_object();

        set_or_null(source, "instance", from->instance);
        tb_json_set_str(source, "eni", from->eni);
        set_or_null(source, "ip", from->ip);
        set_or_null(source, "subnet", from->subnet);
        set_or_null(source, "vpc", from->vpc);
        tb_json_set_int(source, "session_number", from->session_number);
        set_or_null(source, "gap", from->gap);
        tb_json_add(sources, source);
    }
    tb_json_set_str(target, "eni", plan->target_eni);
    set_or_null(target, "id", plan->target);
    tb_json_set_bool(into, "blocked", plan->blocked);
    if (plan->source_count > 0) {
        tb_json_set(into, "sources", sources);
    } else {
        tb_json_free(sources); /* what the alert named stays */
    }
    tb_json_set(into, "target", target);
    set_or_null(into, "joins", plan->joins);
    tb_json_set_number(into, "price_usd", plan->price_usd);
    tb_json_set(into, "checks", checks);
}
