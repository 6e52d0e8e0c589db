/* Security Hub's findings as alerts: ASFF and OCSF, one and several, imported and asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <tapbox/clock.h>
#include <tapbox/io.h>
#include <tapbox/policy_file.h>
#include <tapbox/webhook_fields.h>

#define SAMPLES "webhooks/securityhub/samples/"

static struct tb_alert *
read_file(const char *path)
{
    struct tb_alert *alert = calloc(1, sizeof(*alert));
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_fail fail = {0};

    assert_non_null(alert);
    if (tb_read_file(AT_FDCWD, path, &body, &fail) != TB_OK ||
        tb_webhook_read(tb_buf_view(&body), NULL, alert, &fail) != TB_OK) {
        fail_msg("%s: %s", path, fail.text);
    }
    tb_buf_release(&body);
    return alert;
}

static void
a_guardduty_finding_is_the_same_alert_by_every_road(void **state)
{
    static const char *const roads[] = {SAMPLES "guardduty-cnc.json",
                                        SAMPLES "guardduty-cnc-ocsf.json"};
    struct tb_alert *own = read_file("webhooks/guardduty/samples/cnc.json");

    (void)state;
    for (size_t i = 0; i < sizeof(roads) / sizeof(roads[0]); i++) {
        struct tb_alert *a = read_file(roads[i]);

        assert_string_equal(a->adapter, "guardduty");
        assert_string_equal(a->key, own->key);
        assert_string_equal(a->id, own->id);
        assert_string_equal(a->type, own->type);
        assert_string_equal(a->account, own->account);
        assert_string_equal(a->region, own->region);
        assert_string_equal(a->resource, own->resource);
        assert_string_equal(a->sources[0].instance, own->sources[0].instance);
        assert_int_equal(a->indicator_count, 1);
        assert_string_equal(a->indicators[0].value, own->indicators[0].value);
        assert_int_equal(a->indicators[0].port, own->indicators[0].port);
        assert_string_equal(a->indicators[0].protocol, own->indicators[0].protocol);
        assert_string_equal(a->indicators[0].direction, own->indicators[0].direction);
        assert_true(a->indicators[0].on_wire);
        assert_true(a->severity >= 7 && a->severity < 9);
        assert_int_equal(a->updated_utc_ns, own->updated_utc_ns);
        assert_false(a->sample || a->archived);
        free(a);
    }
    free(own);
}

static void
the_region_is_that_of_what_can_be_mirrored_and_the_account_is_security_hubs(void **state)
{
#define HEAD                                                                                   \
    "{\"ProductArn\":\"arn:p\",\"Id\":\"x\",\"AwsAccountId\":\"111122223333\",\"Region\":"     \
    "\"eu-west-1\","                                                                           \
    "\"Resources\":[{\"Type\":\"AwsIamRole\",\"Id\":\"r\",\"Region\":\"us-west-2\"},{"         \
    "\"Type\":"                                                                                \
    "\"AwsEc2Instance\",\"Id\":\"arn:aws:ec2:us-east-1:444455556666:instance/i-0a1b2c3d\""
    static const struct {
        const char *body, *region;
    } cases[] = {
        {HEAD ",\"Region\":\"us-east-1\"}]}", "us-east-1"},
        {HEAD "}]}", "eu-west-1"},
        {HEAD ",\"Region\":7}]}", "eu-west-1"},
    };
    struct tb_alert *a = calloc(1, sizeof(*a));

    (void)state;
    assert_non_null(a);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(tb_webhook_read(tb_bytes_str(cases[i].body), NULL, a, NULL), TB_OK);
        assert_string_equal(a->region, cases[i].region);
        assert_string_equal(a->account, "111122223333");
        assert_string_equal(a->sources[0].instance, "i-0a1b2c3d");
    }
    free(a);
#undef HEAD
}

static void
the_network_of_a_finding_names_the_other_side(void **state)
{
    struct tb_alert *a = read_file(SAMPLES "network.json");

    (void)state;
    assert_string_equal(a->adapter, "securityhub");
    assert_string_equal(a->key, "example/flow/417/2026-01-02T03:14:05.678Z");
    assert_string_equal(a->type, "Unusual Behaviors/Network Flow");
    assert_true(a->severity > 7.4 && a->severity < 7.6);
    assert_string_equal(a->account, "444455556666"); /* the finding's, not the bus's */
    assert_string_equal(a->region, "eu-central-1");
    assert_string_equal(a->sources[0].vpc, "vpc-0c1d2e3f405162738");
    assert_true(a->tags_known);
    assert_string_equal(a->tags[0].key, "Name");
    assert_int_equal(a->indicator_count, 4);
    assert_string_equal(a->indicators[0].value, "203.0.113.7");
    assert_int_equal(a->indicators[0].port, 8443);
    assert_int_equal(a->indicators[0].local_port, 49812);
    assert_string_equal(a->indicators[0].direction, "outbound");
    assert_string_equal(a->indicators[1].value, "files.example.net");
    free(a);
}

static void
several_findings_are_an_alert_each(void **state)
{
    struct tb_alert *a = calloc(1, sizeof(*a));
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_webhook_body *opened = NULL;

    (void)state;
    assert_non_null(a);
    assert_int_equal(tb_read_file(AT_FDCWD, SAMPLES "several.json", &body, NULL), TB_OK);
    assert_int_equal(tb_webhook_read(tb_buf_view(&body), NULL, a, NULL), TB_EFORMAT);
    assert_int_equal(tb_webhook_open(tb_buf_view(&body), NULL, &opened, NULL), TB_OK);
    tb_buf_release(&body);
    assert_int_equal(tb_webhook_count(opened), 3);
    assert_int_equal(tb_webhook_alert(opened, 0, a, NULL), TB_OK);
    assert_string_equal(a->sources[0].instance, "i-0a1b2c3d4e5f60718");
    assert_int_equal(tb_webhook_alert(opened, 1, a, NULL), TB_OK);
    assert_int_equal(a->source_count, 1);
    assert_string_equal(a->sources[0].eni, "eni-0b1c2d3e4f5061728");
    assert_string_equal(a->sources[0].instance, "i-0a1b2c3d4e5f60718");
    assert_string_equal(a->sources[0].ip, "10.20.1.15");
    assert_string_equal(a->resource, "instance"); /* though a security group stands first */
    assert_string_equal(a->indicators[0].value, "198.51.100.23");
    assert_int_equal(a->indicators[0].local_port, 22);
    assert_int_equal(tb_webhook_alert(opened, 2, a, NULL), TB_OK);
    assert_int_equal(a->source_count, 0);
    assert_non_null(strstr(a->nothing_to_mirror, "S3 bucket"));
    tb_webhook_free(opened);
    free(a);
}

static void
decide(const struct tb_alert *alert, struct tb_verdict *out)
{
    struct tb_policy policy = {
        .bounds = {.default_duration_ns = 1, .max_duration_ns = 2},
        .cooldown_ns = 3600,
    };
    struct tb_rules *rules = NULL;

    assert_int_equal(tb_policy_parse(tb_policy_default(), "default", &rules, NULL, NULL, NULL),
                     TB_OK);
    policy.rules = rules;
    tb_policy_decide(&policy, alert, NULL, 0, out);
    tb_rules_free(rules);
}

static void
what_a_person_asks_for_is_captured_whatever_it_is(void **state)
{
    struct tb_verdict *v = calloc(1, sizeof(*v));
    struct tb_alert *asked = read_file(SAMPLES "custom-action.json");
    struct tb_alert *imported = read_file(SAMPLES "configuration-check.json");

    (void)state;
    assert_string_equal(asked->adapter, "securityhub-action");
    assert_string_equal(imported->adapter, "securityhub");
    assert_string_equal(asked->id, imported->id);
    assert_string_not_equal(asked->key, imported->key);
    assert_non_null(strstr(asked->key, "5d2c8e41-7f90-4b63-9a1e-0c3b5d7f9e21"));
    decide(imported, v);
    assert_int_equal(v->decision, TB_DECISION_IGNORE);
    assert_string_equal(v->rule, "configuration-check");
    decide(asked, v);
    assert_int_equal(v->decision, TB_DECISION_CAPTURE);
    assert_string_equal(v->rule, "asked-for");
    assert_int_equal(v->cooldown_ns, 0); /* who presses again means it */
    free(asked);
    free(imported);
    free(v);
}

#define FINDING(more)                                                                          \
    "{\"SchemaVersion\":\"2018-10-08\",\"Id\":\"f\","                                          \
    "\"ProductArn\":\"arn:aws:securityhub:eu-west-1::product/x/y\"" more "}"
#define INSTANCE                                                                               \
    ",\"Resources\":[{\"Type\":\"AwsEc2Instance\",\"Id\":\"arn:aws:ec2:eu-west-1:"             \
    "444455556666:instance/i-0a1b2c3d4e5f60718\"}]"

static void
severity_has_our_scale_however_it_is_written(void **state)
{
    static const struct {
        const char *body;
        double least, most;
    } cases[] = {
        {FINDING(INSTANCE), 0, 0},
        {FINDING(INSTANCE ",\"Severity\":null"), 0, 0},
        {FINDING(INSTANCE ",\"Severity\":\"HIGH\""), 0, 0},
        {FINDING(INSTANCE ",\"Severity\":{\"Label\":\"INFORMATIONAL\"}"), 0.1, 0.1},
        {FINDING(INSTANCE ",\"Severity\":{\"Normalized\":0}"), 0.1, 0.1},
        {FINDING(INSTANCE ",\"Severity\":{\"Label\":\"LOW\"}"), 1, 1},
        {FINDING(INSTANCE ",\"Severity\":{\"Label\":\"CRITICAL\"}"), 9, 9},
        {FINDING(INSTANCE ",\"Severity\":{\"Normalized\":\"85\"}"), 8.5, 8.5},
        {FINDING(INSTANCE ",\"Severity\":{\"Normalized\":850}"), 0, 0},
        {FINDING(INSTANCE ",\"Severity\":{\"Label\":\"HIGH\",\"Normalized\":85}"), 8.5, 8.5},
        {FINDING(INSTANCE ",\"Severity\":{\"Label\":\"LOW\",\"Normalized\":85}"), 1, 1},
        {FINDING(INSTANCE ",\"Severity\":{\"Label\":\"ODD\",\"Normalized\":100}"), 10, 10},
        {FINDING(INSTANCE ",\"FindingProviderFields\":{\"Severity\":{\"Label\":\"HIGH\"}}"), 7,
         7},
    };
    struct tb_alert *a = calloc(1, sizeof(*a));

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_fail fail = {0};

        if (tb_webhook_read(tb_bytes_str(cases[i].body), NULL, a, &fail) != TB_OK) {
            fail_msg("%s: %s", cases[i].body, fail.text);
        }
        if (a->severity < cases[i].least - 1e-9 || a->severity > cases[i].most + 1e-9) {
            fail_msg("%s: %f", cases[i].body, a->severity);
        }
    }
    free(a);
}

static void
odd_shapes_are_read_or_refused_with_a_reason(void **state)
{
#define EVENT(type, detail)                                                                    \
    "{\"source\":\"aws.securityhub\",\"detail-type\":\"" type "\",\"detail\":" detail "}"
    static const struct {
        const char *body;
        enum tb_err err;
        const char *says; /* of the refusal, or of nothing_to_mirror; NULL: it has a source */
    } cases[] = {
        {FINDING(INSTANCE), TB_OK, NULL},
        {FINDING(""), TB_OK, "lists no resources"},
        {FINDING(",\"Resources\":null"), TB_OK, "lists no resources"},
        {FINDING(",\"Resources\":[null,7,[]]"), TB_OK, "lists no resources"},
        {FINDING(",\"Resources\":[]"), TB_OK, "lists no resources"},
        {FINDING(",\"Resources\":{\"Type\":\"AwsEc2Instance\",\"Id\":\"i-0a1b2c3d4e5f60718\"}"),
         TB_OK, NULL},
        {FINDING(",\"Resources\":[{\"Type\":\"AwsEc2Instance\",\"Id\":\"web-7\"}]"), TB_OK,
         "whose id it does not give"},
        {FINDING(",\"Resources\":[{\"Type\":\"AwsRoute53HostedZone\",\"Id\":\"x\"}]"), TB_OK,
         "resource type AwsRoute53HostedZone"},
        {FINDING(",\"Resources\":[{\"Type\":\"Other\",\"Id\":\"i-0a1b2c3d4e5f60718\"}]"), TB_OK,
         NULL},
        {FINDING(",\"Resources\":[{\"Type\":\"AwsS3Bucket\",\"Id\":\"arn:aws:s3:::"
                 "logs-of-i-0a1b2c3d4e5f60718\"}]"),
         TB_OK, "S3 bucket"},
        {FINDING(",\"Resources\":[{\"Type\":\"AwsIamAccessKey\",\"Id\":\"AKIA\",\"Details\":{"
                 "\"AwsIamAccessKey\":{\"PrincipalId\":\"AROA:i-0a1b2c3d4e5f60718\"}}}]"),
         TB_OK, NULL},
        {FINDING(INSTANCE
                 ",\"ProductFields\":[1],\"Types\":\"x\",\"Action\":[],\"Network\":[]"),
         TB_OK, NULL},
        {EVENT("Security Hub Findings - Imported", "{\"findings\":[]}"), TB_EFORMAT,
         "is empty"},
        {EVENT("Security Hub Findings - Imported", "{}"), TB_EFORMAT, "is no list"},
        {EVENT("Security Hub Findings - Imported", "{\"findings\":[7]}"), TB_EFORMAT,
         "is not a JSON object"},
        {EVENT("Security Hub Findings - Imported", "{\"findings\":[{}]}"), TB_EFORMAT,
         "Id is missing"},
        {EVENT("Security Hub Findings - Imported", "{\"findings\":" FINDING(INSTANCE) "}"),
         TB_OK, NULL},
        {EVENT("Findings Imported V2", "{\"findings\":[{\"class_uid\":2004,"
                                       "\"finding_info\":{}}]}"),
         TB_EFORMAT, "finding_info.uid is missing"},
        {EVENT("Security Hub Insight Results", "{\"insightName\":\"x\"}"), TB_ENOTFOUND,
         "Security Hub Insight Results"},
        {"{\"Findings\":[" FINDING(INSTANCE) "]}", TB_OK, NULL}, /* the CLI's get-findings */
    };
    struct tb_alert *a = calloc(1, sizeof(*a));

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_fail fail = {0};
        enum tb_err err = tb_webhook_read(tb_bytes_str(cases[i].body), NULL, a, &fail);
        const char *said = err == TB_OK ? a->nothing_to_mirror : fail.text;

        if (err != cases[i].err ||
            (cases[i].says == NULL ? said[0] != 0 || a->source_count != 1
                                   : strstr(said, cases[i].says) == NULL)) {
            fail_msg("%s: %s: %s", cases[i].body, tb_err_name(err), said);
        }
    }
    free(a);
}

static void
more_findings_than_one_body_may_hold_are_refused(void **state)
{
    struct tb_buf body = TB_BUF_INIT(64 * 1024);
    struct tb_webhook_body *opened = NULL;
    struct tb_fail fail = {0};

    (void)state;
    tb_buf_printf(&body, "{\"Findings\":[{}");
    for (int i = 0; i < TB_WEBHOOK_MAX_ALERTS; i++) {
        tb_buf_printf(&body, ",{}");
    }
    tb_buf_printf(&body, "]}");
    assert_int_equal(tb_webhook_open(tb_buf_view(&body), NULL, &opened, &fail), TB_ETOOBIG);
    assert_non_null(strstr(fail.text, "33 findings: send up to 32"));
    tb_buf_release(&body);
}

static void
what_was_put_aside_is_told_and_has_a_key_of_its_own(void **state)
{
    struct tb_alert *a = read_file(SAMPLES "archived.json");

    (void)state;
    assert_true(a->archived);
    assert_string_equal(a->key, "example/flow/418/2026-01-02T03:14:05.678Z/archived");
    free(a);
    a = read_file(SAMPLES "bucket.json");
    assert_false(a->archived);
    assert_string_equal(a->nothing_to_mirror,
                        "finding about an S3 bucket: calls to S3's API, no network interface");
    free(a);
}

/* What the collected findings become, read by eye. */
static void
collected_findings_are_read(void **state)
{
#define DIR "../shared/data/findings/securityhub-"
    static const struct {
        const char *file, *adapter, *type, *source, *peer; /* NULL: nothing to mirror, none */
        double severity;
    } cases[] = {
        {"event__Backdoor-EC2.CandCActivity.B-Imported__aws-samples-aws-networkfirewall-"
         "guardduty",
         "guardduty", "Backdoor:EC2/C&CActivity.B", "i-99999999", "198.51.100.0", 8},
        {"finding__UnauthorizedAccess-EC2-SSHBruteForce__awsdocs-amazon-guardduty-user-guide",
         "guardduty", "UnauthorizedAccess:EC2/SSHBruteForce", "i-0c10c2c7863d1a356",
         "199.241.229.197", 2},
        {"event__Discovery-Kubernetes-MaliciousIPCaller-Custom-Action__aws-solutions-library-"
         "samples-automated-forensic-orchestrator-for-amazon-ec2",
         "securityhub-action", "Discovery:Kubernetes/MaliciousIPCaller", NULL, "167.94.146.63",
         5},
        {"event__AWS-Foundational-Security-Best-Practices-Custom-Action__aws-solutions-library-"
         "samples-automated-forensic-orchestrator-for-amazon-ec2-2",
         "securityhub-action",
         "Software and Configuration Checks/Industry and Regulatory Standards/"
         "AWS-Foundational-Security-Best-Practices",
         "i-0bf2bf6b175654c6e", NULL, 7},
        {"finding__AWS-Security-Best-Practices__cloud-custodian-cloud-custodian", "securityhub",
         "Software and Configuration Checks/AWS Security Best Practices", "i-0f1c2ffaea36228b0",
         NULL, 0.1},
        {"event__Monkey-Lambda-Custom-Action__cloud-custodian-cloud-custodian",
         "securityhub-action", "Software and Configuration Checks/Custodian/Monkey Lambda",
         NULL, NULL, 0.6},
        {"event__CIS-AWS-Foundations-Benchmark-Custom-Action__cloud-custodian-cloud-custodian",
         "securityhub-action",
         "Software and Configuration Checks/Industry and Regulatory Standards/CIS AWS "
         "Foundations Benchmark",
         NULL, NULL, 0.1},
        {"finding__Recon-IAMUser-UserPermissions__cloud-custodian-cloud-custodian", "guardduty",
         "Recon:IAMUser/UserPermissions", NULL, NULL, 5},
        {"finding__Unusual-Behaviors__panther-labs-panther-analysis", "securityhub",
         "Unusual Behaviors", NULL, NULL, 7},
        {"finding__Software-and-Configuration-Checks__awsdocs-aws-security-hub-user-guide",
         "securityhub", "Software and Configuration Checks", NULL, NULL, 4},
    };

    (void)state;
    if (access("../shared/data/findings", R_OK) != 0) {
        print_message("the collected findings are not here\n");
        skip();
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char path[256];
        struct tb_alert *a;

        (void)snprintf(path, sizeof(path), DIR "%s.json", cases[i].file);
        a = read_file(path);
        assert_string_equal(a->adapter, cases[i].adapter);
        assert_string_equal(a->type, cases[i].type);
        if (a->severity < cases[i].severity - 1e-9 || a->severity > cases[i].severity + 1e-9) {
            fail_msg("%s: severity %f", path, a->severity);
        }
        assert_int_equal(a->source_count, cases[i].source != NULL);
        if (cases[i].source != NULL) {
            assert_string_equal(a->sources[0].instance, cases[i].source);
        } else {
            assert_string_not_equal(a->nothing_to_mirror, "");
        }
        assert_int_equal(a->indicator_count > 0, cases[i].peer != NULL);
        if (cases[i].peer != NULL) {
            assert_string_equal(a->indicators[0].value, cases[i].peer);
        }
        free(a);
    }
}

/* Names that a JSON pointer reads otherwise, at each of the depths that are followed: what was
 * built once must not be built again for each field. */
static void
fields_with_odd_names_take_no_time(void **state)
{
    enum {
        FIELDS = 150
    };
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_alert *alert = calloc(1, sizeof(*alert));
    int64_t began = tb_clock_boot_ns();

    (void)state;
    assert_non_null(alert);
    tb_buf_put_str(&body, "{\"ProductArn\":\"arn:x\",\"Id\":\"f\",\"ProductFields\":{");
    for (int i = 0; i < FIELDS; i++) {
        tb_buf_printf(&body, "%s\"aws/guardduty/service/~1/~1/~1/~0.0_/~1.%d_/~1/k%d\":\"v\"",
                      i > 0 ? "," : "", i, i);
    }
    tb_buf_put_str(&body, "}}");
    (void)alarm(20); /* it would not end before tomorrow */
    assert_int_equal(tb_webhook_read(tb_buf_view(&body), NULL, alert, NULL), TB_OK);
    (void)alarm(0);
    assert_true(tb_clock_boot_ns() - began < 5 * TB_NS_PER_S);
    free(alert);
    tb_buf_release(&body);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guardduty_finding_is_the_same_alert_by_every_road),
        cmocka_unit_test(
            the_region_is_that_of_what_can_be_mirrored_and_the_account_is_security_hubs),
        cmocka_unit_test(the_network_of_a_finding_names_the_other_side),
        cmocka_unit_test(several_findings_are_an_alert_each),
        cmocka_unit_test(what_a_person_asks_for_is_captured_whatever_it_is),
        cmocka_unit_test(severity_has_our_scale_however_it_is_written),
        cmocka_unit_test(odd_shapes_are_read_or_refused_with_a_reason),
        cmocka_unit_test(more_findings_than_one_body_may_hold_are_refused),
        cmocka_unit_test(what_was_put_aside_is_told_and_has_a_key_of_its_own),
        cmocka_unit_test(collected_findings_are_read),
        cmocka_unit_test(fields_with_odd_names_take_no_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
