/* Pre-flight: facts in, what stands against a capture out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../../src/control/preflight.h"

#define NOW_S 1767323045
#define DENY "tapbox:deny"

/* A world in which nothing stands against a capture; each case changes one thing. */
static struct world {
    struct tb_capture_request request;
    struct tb_ec2_interface at[2], target;
    struct tb_ec2_interfaces interfaces;
    struct tb_ec2_instance instance[1];
    struct tb_ec2_instances instances;
    struct tb_ec2_type type[4];
    struct tb_ec2_types types;
    struct tb_ec2_target target_at[2];
    struct tb_ec2_targets targets;
    struct tb_ec2_group_rule rule[2];
    struct tb_ec2_group group[1];
    struct tb_ec2_groups groups;
    struct tb_ec2_route route[2];
    struct tb_ec2_route_table table[2];
    char subnets[1][TB_AWS_ID_SIZE];
    struct tb_ec2_route_tables routes;
    struct tb_ec2_session session[120];
    struct tb_ec2_sessions on_sources, on_target;
    struct tb_ec2_filter filter[1];
    struct tb_ec2_tag filter_tags[2];
    struct tb_ec2_filters filters;
    struct tb_aws_lifetime lifetime;
    struct tb_capture capture[1];
    struct tb_config config;
    struct tb_ec2_targets targets_there;
    struct preflight_facts facts;
} w;

static struct tb_ec2_tag deny[] = {{DENY, ""}};
static struct tb_ec2_tag ours[] = {{"tapbox:owner", "tapbox"}};
static struct tb_plan plan;

#define SET(at, text) (void)snprintf(at, sizeof(at), "%s", text)

static void
make_interface(struct tb_ec2_interface *out, const char *eni, const char *ip)
{
    SET(out->eni, eni);
    SET(out->instance, "i-1");
    SET(out->status, "in-use");
    SET(out->interface_type, "interface");
    SET(out->ip, ip);
    SET(out->subnet, "subnet-1");
    SET(out->vpc, "vpc-1");
    SET(out->groups[0], "sg-source");
    out->group_count = 1;
}

static int
begin(void **state TB_UNUSED)
{
    memset(&w, 0, sizeof(w));
    SET(w.request.instance, "i-1");
    w.request.duration_ns = 3600 * TB_NS_PER_S;
    make_interface(&w.at[0], "eni-1", "10.0.0.5");
    make_interface(&w.target, "eni-target", "10.0.9.9");
    SET(w.target.groups[0], "sg-target");
    w.interfaces = (struct tb_ec2_interfaces){w.at, 1};
    SET(w.instance[0].instance, "i-1");
    SET(w.instance[0].state, "running");
    SET(w.instance[0].type, "m5.large");
    w.instances = (struct tb_ec2_instances){w.instance, 1};
    SET(w.type[0].name, "m5.large");
    SET(w.type[0].hypervisor, "nitro");
    w.type[0].vcpus = 2;
    SET(w.type[1].name, "m5.xlarge");
    w.type[1].vcpus = 4;
    SET(w.type[2].name, "m5.24xlarge");
    w.type[2].vcpus = 96;
    SET(w.type[3].name, "m5.metal");
    w.type[3].vcpus = 97;
    w.type[3].bare_metal = true;
    w.types = (struct tb_ec2_types){w.type, 4};
    SET(w.target_at[0].id, "tmt-1");
    SET(w.target_at[0].eni, "eni-target");
    w.targets = (struct tb_ec2_targets){.at = w.target_at, .count = 1};
    SET(w.rule[0].protocol, "udp");
    w.rule[0].has_ports = true;
    w.rule[0].from_port = w.rule[0].to_port = 4789;
    SET(w.rule[0].cidr, "10.0.0.0/16");
    w.group[0].rules = w.rule;
    w.group[0].rule_count = 1;
    w.groups = (struct tb_ec2_groups){w.group, 1};
    SET(w.route[0].cidr, "10.0.0.0/16");
    SET(w.route[0].via, "local");
    w.route[0].active = w.route[1].active = true;
    SET(w.subnets[0], "subnet-1");
    w.table[0] = (struct tb_ec2_route_table){
        .id = "rtb-1", .main = true, .routes = w.route, .route_count = 2};
    w.routes = (struct tb_ec2_route_tables){w.table, 1};
    w.on_sources.at = w.on_target.at = w.session;
    SET(w.filter[0].id, "tmf-1");
    w.filter[0].rule_count = 4;
    w.filter_tags[0] = ours[0];
    SET(w.filter_tags[1].key, "tapbox:standing");
    SET(w.filter_tags[1].value, "all");
    w.filter[0].tags = (struct tb_ec2_tags){w.filter_tags, 2};
    w.filters = (struct tb_ec2_filters){.at = w.filter, .count = 1};
    w.lifetime.source = "environment";
    w.config.max_concurrent = 10;
    w.facts = (struct preflight_facts){
        .request = &w.request,
        .config = &w.config,
        .owner = "tapbox",
        .account = "111122223333",
        .region = "eu-central-1",
        .now_utc_s = NOW_S,
        .interfaces = &w.interfaces,
        .instances = &w.instances,
        .types = &w.types,
        .target = &w.target,
        .target_type = "m5.xlarge",
        .target_mtu = 9001,
        .targets = &w.targets,
        .groups = &w.groups,
        .on_sources = &w.on_sources,
        .on_target = &w.on_target,
        .filters = &w.filters,
        .bucket_name = "evidence",
        .lifetime = &w.lifetime,
        .captures = w.capture,
    };
    w.facts.bucket.known = w.facts.dry_run[0].known = w.facts.dry_run[1].known = true;
    return 0;
}

/* Checks of that code; with its severity unless NULL. */
static size_t
count_checks(const char *code, const char *severity)
{
    size_t count = 0;

    for (size_t i = 0; i < plan.check_count; i++) {
        const struct tb_check *check = &plan.checks[i];

        count += (code == NULL || strcmp(check->code, code) == 0) &&
                         (severity == NULL ||
                          strcmp(tb_check_severity_name(check->severity), severity) == 0)
                     ? 1
                     : 0;
    }
    return count;
}

/* Runs it: this check once, with this severity; nothing else warns or blocks. */
static void
expect(const char *code, const char *severity)
{
    bool block = strcmp(severity, "block") == 0;

    preflight_run(&w.facts, &plan);
    if (count_checks(code, severity) != 1 || count_checks(NULL, "block") != (block ? 1 : 0) ||
        count_checks(NULL, "warn") != (strcmp(severity, "warn") == 0 ? 1 : 0) ||
        plan.blocked != block) {
        for (size_t i = 0; i < plan.check_count; i++) {
            print_error("%s %s %s\n", tb_check_severity_name(plan.checks[i].severity),
                        plan.checks[i].code, plan.checks[i].text);
        }
        fail_msg("expected one %s '%s', and nothing more", severity, code);
    }
}

/* What the check of that name says; "" without one. */
static const char *
text_of(const char *code)
{
    for (size_t i = 0; i < plan.check_count; i++) {
        if (strcmp(plan.checks[i].code, code) == 0) {
            return plan.checks[i].text;
        }
    }
    return "";
}

static void
a_good_world_lets_it_through(void **state TB_UNUSED)
{
    preflight_run(&w.facts, &plan);
    assert_false(plan.blocked);
    assert_int_equal(count_checks(NULL, "block") + count_checks(NULL, "warn"), 0);
    assert_int_equal(plan.source_count, 1);
    assert_int_equal(plan.sources[0].session_number, 1);
    assert_string_equal(plan.sources[0].gap, "");
    assert_string_equal(plan.target, "tmt-1");
    assert_string_equal(plan.filter, "tmf-1");
    assert_true(plan.price_usd > 0.0149 && plan.price_usd < 0.0151);
}

static void
nothing_known_is_nothing_claimed(void **state TB_UNUSED)
{
    w.facts = (struct preflight_facts){.request = &w.request,
                                       .owner = "tapbox",
                                       .account = "111122223333",
                                       .region = "eu-central-1",
                                       .interfaces = &w.interfaces,
                                       .target = &w.target,
                                       .target_type = ""};
    preflight_run(&w.facts, &plan);
    assert_false(plan.blocked);
    assert_int_equal(count_checks(NULL, "block") + count_checks(NULL, "warn"), 0);
}

static void
a_tag_forbids_it_on_interface_or_instance(void **state TB_UNUSED)
{
    w.at[0].tags = (struct tb_ec2_tags){deny, 1};
    expect("deny_tag", "block");
    assert_non_null(strstr(plan.sources[0].gap, DENY));
    (void)begin(NULL);
    w.instance[0].tags = (struct tb_ec2_tags){deny, 1};
    expect("deny_tag", "block");
    assert_non_null(strstr(plan.sources[0].gap, "i-1"));
}

static void
what_cannot_be_a_source_is_named(void **state TB_UNUSED)
{
    SET(w.at[0].interface_type, "lambda");
    expect("interface_type", "block");
    (void)begin(NULL);
    SET(w.at[0].status, "available");
    expect("not_attached", "block");
    (void)begin(NULL);
    SET(w.at[0].eni, "eni-target");
    expect("own_target", "block");
    (void)begin(NULL);
    SET(w.target_at[1].eni, "eni-1");
    w.targets.count = 2;
    expect("is_target", "block");
    (void)begin(NULL);
    SET(w.at[0].instance, "i-2");
    expect("other_instance", "block");
    (void)begin(NULL);
    w.at[0].ip[0] = 0;
    expect("no_ipv4", "block");
    (void)begin(NULL);
    w.interfaces.count = 0;
    expect("no_interface", "block");
    (void)begin(NULL);
    SET(w.instance[0].state, "terminated");
    expect("instance_gone", "block");
    (void)begin(NULL);
    SET(w.instance[0].state, "stopped");
    expect("instance_state", "warn");
    (void)begin(NULL);
    w.at[0].requester_managed = true;
    expect("requester_managed", "warn");
}

static void
a_capture_runs_when_one_interface_can(void **state TB_UNUSED)
{
    make_interface(&w.at[1], "eni-2", "10.0.0.6");
    w.at[1].tags = (struct tb_ec2_tags){deny, 1};
    w.interfaces.count = 2;
    preflight_run(&w.facts, &plan);
    assert_false(plan.blocked);
    assert_int_equal(count_checks("deny_tag", "block"), 1);
    assert_string_equal(plan.sources[0].gap, "");
    assert_string_not_equal(plan.sources[1].gap, "");
    w.at[0].tags = (struct tb_ec2_tags){deny, 1};
    preflight_run(&w.facts, &plan);
    assert_true(plan.blocked);
}

static void
a_source_elsewhere_is_refused(void **state TB_UNUSED)
{
    SET(w.request.region, "us-east-1");
    expect("other_region", "block");
    (void)begin(NULL);
    SET(w.request.account, "999988887777");
    expect("other_account", "block");
    (void)begin(NULL);
    SET(w.request.region, "eu-central-1");
    SET(w.request.account, "111122223333");
    expect("price", "info");
    (void)begin(NULL);
    w.facts.found.err = TB_ENOTFOUND;
    expect("source_not_found", "block");
    w.facts.found.err = TB_EDENIED;
    expect("source_not_known", "block");
}

static void
a_source_in_a_configured_account_needs_its_role_and_a_shared_target(void **state TB_UNUSED)
{
    SET(w.config.accounts[0].id, "999988887777");
    w.config.account_count = 1;
    SET(w.request.account, "999988887777");
    w.facts.other_account = true;
    w.facts.targets_there = &w.targets_there;
    expect("target_not_shared", "block");
    w.facts.targets_there = &w.targets;
    preflight_run(&w.facts, &plan);
    assert_false(plan.blocked);
    w.facts.targets_there = NULL; /* could not be looked at */
    preflight_run(&w.facts, &plan);
    assert_int_equal(count_checks("target_not_shared", NULL), 0);
    w.facts.found.err = TB_EDENIED;
    SET(w.facts.found.text, "cannot assume arn:aws:iam::999988887777:role/tap: AccessDenied");
    expect("role_refused", "block");
}

static void
types_that_aws_does_not_list_are_warned_of(void **state TB_UNUSED)
{
    static const struct {
        const char *type;
        bool warned;
    } cases[] = {{"m5.large", false},        {"t2.micro", true},        {"c7gn.xlarge", true},
                 {"m8g.large", true},        {"c5.metal", false},       {"m6i.metal", true},
                 {"u-6tb1.56xlarge", false}, {"m7i-flex.large", false}, {"m7i-fle.large", true},
                 {"mac2-m2.metal", false},   {"u.large", true},         {"x1e.xlarge", false}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        SET(w.instance[0].type, cases[i].type);
        if (cases[i].warned) {
            expect("instance_type", "warn");
        } else {
            preflight_run(&w.facts, &plan);
            assert_int_equal(count_checks("instance_type", NULL), 0);
        }
    }
}

static void
sessions_of_others_are_told_with_what_they_mean(void **state TB_UNUSED)
{
    for (size_t i = 0; i < 3; i++) {
        SET(w.session[i].eni, "eni-1");
        SET(w.session[i].id, "tms-x");
        w.session[i].session_number = (uint32_t)(i + 1);
    }
    w.on_sources.count = 2;
    expect("foreign_sessions", "warn");
    assert_int_equal(plan.sources[0].session_number, 3);
    w.session[1].tags = w.session[0].tags = (struct tb_ec2_tags){ours, 1};
    preflight_run(&w.facts, &plan);
    assert_int_equal(count_checks("foreign_sessions", NULL), 0);
    w.on_sources.count = 3;
    expect("sessions_full", "block");
    w.on_sources.count = 1;
    w.session[0].session_number = 32766;
    expect("session_number", "block");
}

static void
a_target_has_room_for_ten_or_a_hundred(void **state TB_UNUSED)
{
    for (size_t i = 0; i < 120; i++) {
        (void)snprintf(w.session[i].eni, sizeof(w.session[i].eni), "eni-x%zu", i / 2);
    }
    w.on_target.count = 18; /* of nine interfaces */
    expect("target_capacity", "info");
    w.on_target.count = 20;
    expect("target_full", "block");
    SET(w.session[18].eni, "eni-1"); /* it is one of them already */
    SET(w.session[19].eni, "eni-1");
    expect("target_capacity", "info");
    SET(w.session[18].eni, "eni-x9");
    SET(w.session[19].eni, "eni-x9");
    w.facts.target_type = "m5.24xlarge";
    expect("target_capacity", "info");
    w.facts.target_type = "";
    expect("target_full", "warn");
}

static void
the_targets_groups_have_to_let_it_in(void **state TB_UNUSED)
{
    struct tb_ec2_group_rule *rule = &w.rule[0];

    SET(rule->cidr, "10.0.0.4/32");
    expect("target_group", "block");
    SET(rule->cidr, "10.0.0.5/32");
    expect("price", "info");
    SET(rule->cidr, "0.0.0.0/0");
    expect("price", "info");
    rule->to_port = rule->from_port = 4788;
    expect("target_group", "block");
    rule->to_port = 4790;
    expect("price", "info");
    SET(rule->protocol, "tcp");
    expect("target_group", "block");
    SET(rule->protocol, "-1");
    rule->has_ports = false;
    expect("price", "info");
    SET(rule->protocol, "17");
    expect("price", "info");
    rule->cidr[0] = 0;
    SET(rule->group, "sg-other");
    expect("target_group", "block");
    SET(rule->group, "sg-source");
    expect("price", "info");
    rule->group[0] = 0;
    SET(rule->prefix_list, "pl-1");
    expect("target_group", "warn");
    SET(rule->cidr, "::/0");
    rule->prefix_list[0] = 0;
    expect("target_group", "block");
}

static void
a_target_in_another_vpc_needs_a_route(void **state TB_UNUSED)
{
    static const struct {
        const char *via, *code, *severity;
    } cases[] = {{"pcx-1", "route", "info"},     {"tgw-1", "route", "info"},
                 {"eni-7", "route", "warn"},     {"vgw-1", "route", "warn"},
                 {"", "route", "warn"},          {"igw-1", "no_route", "block"},
                 {"nat-1", "no_route", "block"}, {"local", "no_route", "block"}};

    SET(w.target.vpc, "vpc-2");
    SET(w.target.ip, "10.9.0.9");
    expect("price", "info"); /* the routes are not known: nothing is claimed */
    w.facts.routes[0] = &w.routes;
    expect("no_route", "block");
    SET(w.route[1].cidr, "10.9.0.0/16");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        SET(w.route[1].via, cases[i].via);
        expect(cases[i].code, cases[i].severity);
    }
    SET(w.route[1].via, "pcx-1");
    w.route[1].active = false;
    expect("no_route", "block");
    w.route[1].active = true;
    SET(w.route[0].cidr, "10.9.0.0/24"); /* longer, and so the one that counts */
    SET(w.route[0].via, "igw-1");
    expect("no_route", "block");
    /* a table of the subnet's own wins over the main one */
    w.table[1] = (struct tb_ec2_route_table){.id = "rtb-2",
                                             .subnets = w.subnets,
                                             .subnet_count = 1,
                                             .routes = &w.route[1],
                                             .route_count = 1};
    w.routes.count = 2;
    expect("route", "info");
}

static void
what_ec2_says_to_a_dry_run_counts(void **state TB_UNUSED)
{
    static const struct {
        enum tb_err err;
        const char *aws, *code, *severity;
    } cases[] = {
        {TB_EDENIED, "UnauthorizedOperation", "iam_denied", "block"},
        {TB_EINVAL, "NetworkInterfaceNotSupported", "source_unsupported", "block"},
        {TB_EFULL, "TrafficMirrorSessionLimitExceeded", "ec2_refuses", "block"},
        {TB_ETHROTTLE, "RequestLimitExceeded", "not_known", "warn"},
        {TB_ETIMEOUT, "", "not_known", "warn"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        w.facts.dry_run[0].answer.err = cases[i].err;
        SET(w.facts.dry_run[0].answer.code, cases[i].aws);
        expect(cases[i].code, cases[i].severity);
    }
    w.facts.dry_run[0].answer.err = TB_OK;
    w.facts.dry_run_standing[1].action = "ec2:CreateTrafficMirrorFilter";
    expect("price", "info");
    w.facts.dry_run_standing[1].answer.err = TB_EDENIED;
    expect("iam_denied", "block");
}

static void
packets_are_cut_when_the_target_has_no_jumbo_frames(void **state TB_UNUSED)
{
    expect("mtu", "info");
    assert_int_equal(count_checks("mtu", "info"), 1);
    w.facts.target_mtu = 1500;
    expect("mtu", "warn");
    w.facts.target_mtu = 1554;
    expect("mtu", "info");
    w.facts.target_mtu = 0;
    expect("mtu", "info");
}

static void
credentials_have_to_outlive_the_capture(void **state TB_UNUSED)
{
    w.lifetime.temporary = true;
    expect("credentials", "warn");
    w.lifetime.expires_utc_s = NOW_S + 3600;
    expect("credentials", "block");
    w.lifetime.expires_utc_s = NOW_S + 3600 + 61;
    expect("price", "info");
    w.lifetime.expires_utc_s = NOW_S + 60;
    w.lifetime.refreshable = true;
    expect("price", "info");
}

static void
the_bucket_has_to_take_what_is_put_there(void **state TB_UNUSED)
{
    w.facts.bucket.answer.err = TB_EDENIED;
    expect("bucket", "block");
    w.facts.bucket.answer.err = TB_ENOTFOUND;
    expect("bucket", "block");
    w.facts.bucket.answer.err = TB_ERETRY;
    expect("bucket", "warn");
    w.facts.bucket.answer.err = TB_OK;
    w.facts.bucket.unread = true;
    expect("bucket_unread", "warn");
    w.facts.bucket.answer.err = TB_EINVAL;
    w.facts.bucket.refused = "object_lock";
    expect("bucket_object_lock", "block");
    w.facts.bucket.refused = NULL;
    w.facts.bucket.left = true;
    w.facts.bucket.answer.err = TB_EDENIED;
    expect("bucket_probe", "warn");
}

static void
what_runs_already_is_joined_or_waited_for(void **state TB_UNUSED)
{
    SET(w.capture[0].id, "cap-1");
    w.capture[0].state = TB_CAPTURE_RECORDING;
    SET(w.capture[0].sources[0].eni, "eni-1");
    w.capture[0].source_count = 1;
    w.facts.capture_count = 1;
    expect("joins", "info");
    assert_string_equal(plan.joins, "cap-1");
    assert_int_equal(count_checks("price", NULL), 0);
    w.capture[0].sources[0].armed = true;
    SET(w.capture[0].sources[0].gap, "mirror sessions of others come first");
    expect("joins", "info");
    assert_string_equal(plan.joins, "cap-1");
    /* what nobody captures yet needs a session and a place */
    make_interface(&w.at[1], "eni-2", "10.0.0.6");
    w.interfaces.count = 2;
    expect("joins", "info");
    assert_string_equal(plan.joins, "");
    assert_non_null(strstr(text_of("price"), "for 1 session "));
    w.config.max_concurrent = 1;
    expect("no_place", "warn");
    w.config.max_concurrent = 10;
    w.interfaces.count = 1;
    w.capture[0].stop_asked = true;
    expect("price", "info");
    assert_string_equal(plan.joins, "");
    w.config.max_concurrent = 1;
    expect("no_place", "warn");
    assert_non_null(strstr(text_of("no_place"), "capture.max_concurrent"));
    w.config.max_concurrent = 2;
    w.config.max_per_account = 1;
    expect("no_place", "warn"); /* both are of our own account */
    assert_non_null(strstr(text_of("no_place"), "capture.max_per_account"));
    SET(w.capture[0].request.account, "222233334444");
    expect("price", "info");
    w.config.max_per_account = 0;
    w.facts.unknown[0] = (struct preflight_unknown){"the moon", {.text = "clouds"}};
    w.facts.unknown_count = 1;
    expect("not_known", "warn");
}

static void
a_filter_that_others_changed_is_told(void **state TB_UNUSED)
{
    w.filter[0].rule_count = 5;
    expect("filter_rules", "warn");
    w.filters.count = 0;
    expect("filter_rules", "info");
    assert_string_equal(plan.filter, "");
}

static void
there_are_never_more_checks_than_there_is_room_for(void **state TB_UNUSED)
{
    plan.check_count = 0;
    for (size_t i = 0; i < TB_PLAN_MAX_CHECKS + 5; i++) {
        preflight_say(&plan, "x", TB_CHECK_INFO, "eni-1", "%1000s", "");
    }
    assert_int_equal(plan.check_count, TB_PLAN_MAX_CHECKS);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup(name, begin)
    const struct CMUnitTest tests[] = {
        CASE(a_good_world_lets_it_through),
        CASE(nothing_known_is_nothing_claimed),
        CASE(a_tag_forbids_it_on_interface_or_instance),
        CASE(what_cannot_be_a_source_is_named),
        CASE(a_capture_runs_when_one_interface_can),
        CASE(a_source_elsewhere_is_refused),
        CASE(a_source_in_a_configured_account_needs_its_role_and_a_shared_target),
        CASE(types_that_aws_does_not_list_are_warned_of),
        CASE(sessions_of_others_are_told_with_what_they_mean),
        CASE(a_target_has_room_for_ten_or_a_hundred),
        CASE(the_targets_groups_have_to_let_it_in),
        CASE(a_target_in_another_vpc_needs_a_route),
        CASE(what_ec2_says_to_a_dry_run_counts),
        CASE(packets_are_cut_when_the_target_has_no_jumbo_frames),
        CASE(credentials_have_to_outlive_the_capture),
        CASE(the_bucket_has_to_take_what_is_put_there),
        CASE(what_runs_already_is_joined_or_waited_for),
        CASE(a_filter_that_others_changed_is_told),
        CASE(there_are_never_more_checks_than_there_is_room_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
