/* The GuardDuty adapter: our samples, changed samples, and findings that others published. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/clock.h>
#include <tapbox/io.h>
#include <tapbox/webhook.h>

#define SAMPLES "webhooks/guardduty/samples/"
#define FINDINGS "../shared/data/findings"

static void
load(const char *name, struct tb_buf *out)
{
    struct tb_fail fail = {0};

    if (tb_read_file(AT_FDCWD, name, out, &fail) != TB_OK) {
        fail_msg("%s", fail.text);
    }
}

/* Reads one of our samples; the alert is the caller's to free. */
static struct tb_alert *
read_sample(const char *name)
{
    struct tb_alert *alert = calloc(1, sizeof(*alert));
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_fail fail = {0};
    char path[128];

    assert_non_null(alert);
    (void)snprintf(path, sizeof(path), SAMPLES "%s.json", name);
    load(path, &body);
    if (tb_webhook_read(tb_buf_view(&body), NULL, alert, &fail) != TB_OK) {
        fail_msg("%s: %s", name, fail.text);
    }
    tb_buf_release(&body);
    return alert;
}

static void
assert_source(const struct tb_alert *alert, size_t i, const char *instance, const char *eni,
              const char *ip, bool seen_here)
{
    assert_true(i < alert->source_count);
    assert_string_equal(alert->sources[i].instance, instance);
    assert_string_equal(alert->sources[i].eni, eni);
    assert_string_equal(alert->sources[i].ip, ip);
    assert_int_equal(alert->sources[i].seen_here, seen_here);
}

static void
assert_indicator(const struct tb_alert *alert, size_t i, enum tb_indicator_kind kind,
                 const char *value, uint32_t port, const char *protocol, const char *direction)
{
    assert_true(i < alert->indicator_count);
    assert_int_equal(alert->indicators[i].kind, kind);
    assert_string_equal(alert->indicators[i].value, value);
    assert_int_equal(alert->indicators[i].port, port);
    assert_string_equal(alert->indicators[i].protocol, protocol);
    assert_string_equal(alert->indicators[i].direction, direction);
}

static void
a_connection_names_the_interface_it_was_seen_on(void **state)
{
    struct tb_alert *a = read_sample("cnc");

    (void)state;
    assert_string_equal(a->adapter, "guardduty");
    assert_string_equal(a->id, "1ac0ffee1ac0ffee1ac0ffee1ac0ffee");
    assert_string_equal(a->key, "1ac0ffee1ac0ffee1ac0ffee1ac0ffee/2026-01-02T03:14:05.678Z");
    assert_string_equal(a->type, "Backdoor:EC2/C&CActivity.B");
    assert_string_equal(a->account, "444455556666"); /* the finding's, not the envelope's */
    assert_string_equal(a->region, "eu-central-1");
    assert_true(a->severity == 8.0);
    assert_false(a->sample);
    assert_false(a->archived);
    assert_int_equal(a->seen_utc_ns, 1767323430 * TB_NS_PER_S);
    assert_int_equal(a->source_count, 1);
    assert_source(a, 0, "i-0a1b2c3d4e5f60718", "eni-0b1c2d3e4f5061728", "10.20.1.16", true);
    assert_string_equal(a->sources[0].vpc, "vpc-0a1b2c3d4e5f60718");
    assert_int_equal(a->indicator_count, 1);
    assert_indicator(a, 0, TB_INDICATOR_IP, "198.51.100.23", 443, "tcp", "outbound");
    assert_string_equal(a->nothing_to_mirror, "");
    free(a);
}

static void
the_same_finding_as_the_cli_prints_it_is_the_same_alert(void **state)
{
    struct tb_alert *event = read_sample("cnc");
    struct tb_alert *cli = read_sample("cli");

    (void)state;
    assert_string_equal(cli->key, event->key);
    assert_string_equal(cli->type, event->type);
    assert_string_equal(cli->summary, event->summary);
    assert_string_equal(cli->account, event->account);
    assert_int_equal(cli->seen_utc_ns, event->seen_utc_ns);
    assert_source(cli, 0, event->sources[0].instance, event->sources[0].eni,
                  event->sources[0].ip, true);
    assert_indicator(cli, 0, TB_INDICATOR_IP, "198.51.100.23", 443, "tcp", "outbound");
    free(event);
    free(cli);
}

static void
a_dns_finding_knows_the_instance_and_the_domain(void **state)
{
    struct tb_alert *a = read_sample("cnc-dns");

    (void)state;
    assert_int_equal(a->source_count, 2);
    assert_source(a, 0, "i-0a1b2c3d4e5f60718", "eni-0a1b2c3d4e5f60718", "10.20.0.15", false);
    assert_source(a, 1, "i-0a1b2c3d4e5f60718", "eni-0b1c2d3e4f5061728", "10.20.1.15", false);
    assert_int_equal(a->indicator_count, 1);
    assert_indicator(a, 0, TB_INDICATOR_DOMAIN, "c2.example.net", 0, "udp", "outbound");
    free(a);
}

static void
probes_and_inbound_connections_are_placed_by_their_local_address(void **state)
{
    struct tb_alert *a = read_sample("port-probe");

    (void)state;
    assert_int_equal(a->source_count, 1);
    assert_source(a, 0, "i-0a1b2c3d4e5f60718", "eni-0a1b2c3d4e5f60718", "10.20.0.15", true);
    assert_int_equal(a->indicator_count, 2);
    assert_indicator(a, 0, TB_INDICATOR_IP, "192.0.2.10", 0, "", "inbound");
    assert_indicator(a, 1, TB_INDICATOR_IP, "192.0.2.11", 0, "", "inbound");
    free(a);
    a = read_sample("ssh-brute-force");
    assert_source(a, 0, "i-0a1b2c3d4e5f60718", "eni-0a1b2c3d4e5f60718", "10.20.0.15", true);
    assert_indicator(a, 0, TB_INDICATOR_IP, "192.0.2.77", 51515, "tcp", "inbound");
    free(a);
}

static void
a_finding_without_an_interface_says_why(void **state)
{
    struct tb_alert *a = read_sample("s3");

    (void)state;
    assert_int_equal(a->source_count, 0);
    assert_non_null(strstr(a->nothing_to_mirror, "S3 bucket"));
    assert_indicator(a, 0, TB_INDICATOR_IP, "192.0.2.99", 0, "", "");
    free(a);
}

static void
samples_and_archived_findings_are_marked(void **state)
{
    struct tb_alert *a = read_sample("sample");

    (void)state;
    assert_true(a->sample);
    assert_false(a->archived);
    assert_source(a, 0, "i-99999999", "eni-abcdef00", "10.0.0.23", true);
    free(a);
    a = read_sample("archived");
    assert_false(a->sample);
    assert_true(a->archived);
    free(a);
}

static void
an_attack_sequence_names_its_instances_with_their_interfaces(void **state)
{
    struct tb_alert *a = read_sample("attack-sequence");

    (void)state;
    assert_int_equal(a->source_count, 3);
    assert_source(a, 0, "i-0a1b2c3d4e5f60718", "eni-0a1b2c3d4e5f60718", "10.20.0.15", false);
    assert_string_equal(a->sources[0].vpc, "vpc-0a1b2c3d4e5f60718");
    assert_source(a, 1, "i-0c1d2e3f405162738", "eni-0c1d2e3f405162738", "", false);
    assert_source(a, 2, "i-0d1e2f30415263748", "", "", false);
    assert_int_equal(a->indicator_count, 2);
    assert_indicator(a, 0, TB_INDICATOR_IP, "198.51.100.23", 443, "", "outbound");
    assert_indicator(a, 1, TB_INDICATOR_DOMAIN, "c2.example.net", 443, "", "outbound");
    free(a);
}

/* --- small findings made for one point ---------------------------------------------------- */

#define BARE(members) "{\"service\":{\"serviceName\":\"guardduty\"" members "}"
#define NAMED ",\"id\":\"f\",\"type\":\"T:EC2/X\""

static enum tb_err
read_text(const char *text, struct tb_alert *out, struct tb_fail *fail)
{
    memset(out, 0, sizeof(*out));
    return tb_webhook_read(tb_bytes_str(text), NULL, out, fail);
}

static void
what_is_missing_or_wrong_is_named(void **state)
{
    static const struct {
        const char *body;
        enum tb_err err;
        const char *says;
    } cases[] = {
        {"", TB_EFORMAT, "not JSON"},
        {"{\"a\":1", TB_EFORMAT, "not JSON"},
        {"[]", TB_EFORMAT, "not a JSON object"},
        {"{}", TB_ENOTFOUND, "GuardDuty Finding"},
        {"{\"Findings\":[]}", TB_EFORMAT, "is empty"},
        {"{\"Findings\":[{},{}]}", TB_EFORMAT, "2 findings"},
        {"{\"Findings\":[3]}", TB_EFORMAT, "not a JSON object"},
        {"{\"detail-type\":\"EC2 Spot Instance Interruption Warning\",\"source\":\"aws.ec2\","
         "\"detail\":{}}",
         TB_ENOTFOUND, "\"EC2 Spot Instance Interruption Warning\" from \"aws.ec2\""},
        {"{\"detail-type\":\"a\\nb\",\"detail\":{}}", TB_ENOTFOUND, "\"a?b\" from \"\""},
        {"{\"detail-type\":\"GuardDuty Finding\",\"detail\":{}}", TB_EFORMAT, "id is missing"},
        {"{\"detail-type\":\"GuardDuty Finding\",\"detail\":{\"id\":7}}", TB_EFORMAT,
         "id is missing"},
        {"{\"detail-type\":\"GuardDuty Finding\",\"detail\":{\"id\":\"a b\"}}", TB_EFORMAT,
         "id is not a name"},
        {"{\"detail-type\":\"GuardDuty Finding\",\"detail\":{\"id\":\"a\"}}", TB_EFORMAT,
         "type is missing"},
    };
    struct tb_alert *a = calloc(1, sizeof(*a));

    (void)state;
    assert_non_null(a);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_fail fail = {0};
        enum tb_err err = read_text(cases[i].body, a, &fail);

        if (err != cases[i].err || strstr(fail.text, cases[i].says) == NULL) {
            fail_msg("%s: %s: %s", cases[i].body, tb_err_name(err), fail.text);
        }
        assert_string_equal(a->adapter, ""); /* untouched */
    }
    free(a);
}

static void
what_is_no_guardduty_finding_is_not_taken_for_one(void **state)
{
    static const char *const bodies[] = {
        "{\"id\":\"f\",\"type\":\"T:EC2/X\"}",
        "{\"id\":\"f\",\"type\":\"T:EC2/X\",\"service\":{\"serviceName\":\"inspector\"}}",
        ("{\"detail-type\":\"AWS API Call via CloudTrail\",\"source\":\"aws.guardduty\","
         "\"detail\":{\"eventName\":\"CreateSampleFindings\"}}"),
    };
    struct tb_alert *a = malloc(sizeof(*a));

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        assert_int_equal(read_text(bodies[i], a, NULL), TB_ENOTFOUND);
    }
    free(a);
}

static void
updates_have_another_key_and_redeliveries_the_same(void **state)
{
    static const struct {
        const char *body, *key;
    } cases[] = {
        {BARE("}" NAMED ",\"updatedAt\":\"2026-01-02T03:04:05.678Z\""),
         "f/2026-01-02T03:04:05.678Z"},
        {BARE(",\"count\":7}" NAMED ",\"updatedAt\":\"2026-01-02T03:04:05.678Z\""),
         "f/2026-01-02T03:04:05.678Z"},
        {BARE(",\"count\":7}" NAMED), "f/7"},
        {BARE("}" NAMED), "f"},
    };
    struct tb_alert *a = malloc(sizeof(*a));

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_fail fail = {0};

        if (read_text(cases[i].body, a, &fail) != TB_OK) {
            fail_msg("%s: %s", cases[i].body, fail.text);
        }
        assert_string_equal(a->key, cases[i].key);
    }
    free(a);
}

static void
the_sample_flag_is_found_wherever_it_stands(void **state)
{
    static const struct {
        const char *info;
        bool sample;
    } cases[] = {
        {"{\"sample\":true}", true},
        {"{\"sample\":\"true\"}", true},
        {"{\"sample\":false,\"value\":\"{\\\"sample\\\":true}\"}", true},
        {"{\"Value\":\"{\\\"sample\\\":true}\",\"Type\":\"default\"}", true},
        {"{\"value\":\"{}\"}", false},
        {"{\"value\":\"not JSON, sample: true\"}", false},
        {"{\"value\":true}", false},
        {"{\"sample\":1}", false},
        {"null", false},
    };
    struct tb_alert *a = malloc(sizeof(*a));

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char body[256];

        (void)snprintf(body, sizeof(body), BARE(",\"additionalInfo\":%s}" NAMED),
                       cases[i].info);
        assert_int_equal(read_text(body, a, NULL), TB_OK);
        if (a->sample != cases[i].sample) {
            fail_msg("%s", cases[i].info);
        }
    }
    free(a);
}

static void
each_kind_of_resource_gives_its_source_or_its_reason(void **state)
{
    static const struct {
        const char *resource;
        const char *instance; /* or: */
        const char *why;
    } cases[] = {
        {"{\"resourceType\":\"Instance\",\"instanceDetails\":{\"instanceId\":\"i-12345678\"}}",
         "i-12345678", ""},
        {"{\"instanceDetails\":{\"instanceId\":\"i-12345678\",\"networkInterfaces\":null}}",
         "i-12345678", ""},
        {"{\"resourceType\":\"Container\",\"instanceDetails\":{\"instanceId\":\"i-12345678\"}}",
         "i-12345678", ""},
        {"{\"resourceType\":\"EKSCluster\",\"instanceDetails\":{\"instanceId\":\"i-12345678\"}"
         "}",
         "i-12345678", ""},
        {"{\"resourceType\":\"AccessKey\",\"accessKeyDetails\":{\"principalId\":"
         "\"AROAEXAMPLE:i-0123456789abcdef0\"}}",
         "i-0123456789abcdef0", ""},
        {"{\"resourceType\":\"AccessKey\",\"accessKeyDetails\":{\"principalId\":"
         "\"AROAEXAMPLE:alice-12345678\"}}",
         "", "access key"},
        {"{\"resourceType\":\"Instance\",\"instanceDetails\":{\"instanceId\":\"i-XYZ\"}}", "",
         "does not name"},
        {"{\"resourceType\":\"Instance\"}", "", "does not name"},
        {"{\"resourceType\":\"S3Bucket\",\"instanceDetails\":{\"instanceId\":\"i-12345678\"}}",
         "", "S3 bucket"},
        {"{\"resourceType\":\"Lambda\"}", "", "Lambda"},
        {"{\"resourceType\":\"RDSDBInstance\"}", "", "database"},
        {"{\"resourceType\":\"KubernetesCluster\"}", "", "EKS"},
        {"{\"resourceType\":\"ECSCluster\"}", "", "ECS"},
        {"{\"resourceType\":\"Teapot\"}", "", "Teapot"},
        {"{}", "", "not named"},
        {"null", "", "not named"},
    };
    struct tb_alert *a = malloc(sizeof(*a));

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char body[512];

        (void)snprintf(body, sizeof(body), BARE("}" NAMED ",\"resource\":%s"),
                       cases[i].resource);
        assert_int_equal(read_text(body, a, NULL), TB_OK);
        if (a->source_count != (cases[i].instance[0] != 0) ||
            (a->source_count == 1 && strcmp(a->sources[0].instance, cases[i].instance) != 0) ||
            (cases[i].why[0] == 0) != (a->nothing_to_mirror[0] == 0) ||
            strstr(a->nothing_to_mirror, cases[i].why) == NULL) {
            fail_msg("%s: %zu sources, \"%s\"", cases[i].resource, a->source_count,
                     a->nothing_to_mirror);
        }
    }
    free(a);
}

static void
an_interface_that_only_the_action_knows_is_taken(void **state)
{
    struct tb_alert *a = malloc(sizeof(*a));

    (void)state;
    assert_int_equal(
        read_text(
            BARE(",\"action\":{\"networkConnectionAction\":{\"localNetworkInterface\":"
                 "\"eni-12345678\",\"localIpDetails\":{\"ipAddressV4\":\"10.0.0.9\"}}}}" NAMED
                 ",\"resource\":{\"instanceDetails\":{\"instanceId\":\"i-12345678\","
                 "\"networkInterfaces\":[{\"networkInterfaceId\":\"eni-87654321\"}]}}"),
            a, NULL),
        TB_OK);
    assert_int_equal(a->source_count, 1);
    assert_source(a, 0, "i-12345678", "eni-12345678", "10.0.0.9", true);
    free(a);
}

/* IPv6 is written in several ways, and "0.0.0.0" is nobody. */
static void
an_interface_is_found_by_its_ipv6_address_and_nobody_is_no_peer(void **state)
{
    struct tb_alert *a = malloc(sizeof(*a));

    (void)state;
    assert_int_equal(
        read_text(BARE(",\"action\":{\"networkConnectionAction\":{\"localIpDetails\":{"
                       "\"ipAddressV4\":\"10.9.9.9\",\"ipAddressV6\":\"2001:DB8::1\"},"
                       "\"remoteIpDetails\":{\"ipAddressV4\":\"0.0.0.0\",\"ipAddressV6\":"
                       "\"2001:db8::9\"}}}}" NAMED
                       ",\"resource\":{\"instanceDetails\":{\"instanceId\":\"i-12345678\","
                       "\"networkInterfaces\":[{\"networkInterfaceId\":\"eni-11111111\"},"
                       "{\"networkInterfaceId\":\"eni-22222222\",\"ipv6Addresses\":["
                       "\"2001:db8:0:0:0:0:0:1\"]}]}}"),
                  a, NULL),
        TB_OK);
    assert_int_equal(a->source_count, 1);
    assert_source(a, 0, "i-12345678", "eni-22222222", "2001:DB8::1", true);
    assert_int_equal(a->indicator_count, 1);
    assert_string_equal(a->indicators[0].value, "2001:db8::9");
    assert_int_equal(
        read_text(BARE(",\"action\":{\"networkConnectionAction\":{\"remoteIpDetails\":{"
                       "\"ipAddressV4\":\"0.0.0.0\",\"ipAddressV6\":\"::\"}}}}" NAMED),
                  a, NULL),
        TB_OK);
    assert_int_equal(a->indicator_count, 0);
    free(a);
}

/* A NAT gateway or EC2 itself translates: what the interface sends is from its private address.
 */
static void
a_public_local_address_names_the_interface_and_a_mapped_peer_is_ipv4(void **state)
{
    struct tb_alert *a = malloc(sizeof(*a));

    (void)state;
    assert_int_equal(
        read_text(BARE(",\"action\":{\"networkConnectionAction\":{\"localIpDetails\":{"
                       "\"ipAddressV4\":\"203.0.113.2\"},\"protocol\":6,\"remoteIpDetails\":{"
                       "\"ipAddressV6\":\"::ffff:198.51.100.7\"}}}}" NAMED
                       ",\"resource\":{\"instanceDetails\":{\"instanceId\":\"i-12345678\","
                       "\"networkInterfaces\":[{\"networkInterfaceId\":\"eni-11111111\","
                       "\"publicIp\":\"203.0.113.1\"},"
                       "{\"networkInterfaceId\":\"eni-22222222\",\"publicIp\":\"203.0.113.2\","
                       "\"privateIpAddress\":\"10.0.0.2\"}]}}"),
                  a, NULL),
        TB_OK);
    assert_int_equal(a->source_count, 1);
    assert_source(a, 0, "i-12345678", "eni-22222222", "10.0.0.2", true);
    assert_int_equal(a->indicator_count, 1);
    assert_string_equal(a->indicators[0].value, "198.51.100.7");
    assert_string_equal(a->indicators[0].protocol, "6");
    assert_int_equal(
        read_text(BARE(",\"action\":{\"networkConnectionAction\":{\"remoteIpDetails\":{"
                       "\"ipAddressV6\":\"::ffff:0.0.0.0\"}}}}" NAMED),
                  a, NULL),
        TB_OK);
    assert_int_equal(a->indicator_count, 0);
    free(a);
}

static void
a_severity_that_cannot_be_read_is_unknown_and_loses_no_alert(void **state)
{
    static const struct {
        const char *member;
        double is;
    } cases[] = {
        {"", 0},
        {",\"severity\":8.5", 8.5},
        {",\"severity\":\"8.5\"", 8.5},
        {",\"severity\":10", 10},
        {",\"severity\":10.1", 0},
        {",\"severity\":-1", 0},
        {",\"severity\":null", 0},
        {",\"severity\":\"high\"", 0},
        {",\"severity\":\"\"", 0},
        {",\"severity\":\"1e999\"", 0},
        {",\"severity\":true", 0},
        {",\"severity\":{}", 0},
    };
    struct tb_alert *a = malloc(sizeof(*a));

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char body[256];

        (void)snprintf(body, sizeof(body),
                       "{\"detail-type\":\"GuardDuty Finding\",\"detail\":{\"id\":\"f\","
                       "\"type\":\"t\"%s}}",
                       cases[i].member);
        assert_int_equal(read_text(body, a, NULL), TB_OK);
        if (a->severity < cases[i].is - 1e-9 || a->severity > cases[i].is + 1e-9) {
            fail_msg("%s: %f", body, a->severity);
        }
    }
    free(a);
}

static void
the_envelope_lends_account_and_region_where_the_finding_has_none(void **state)
{
    struct tb_alert *a = malloc(sizeof(*a));

    (void)state;
    assert_int_equal(
        read_text("{\"detail-type\":\"GuardDuty Finding\",\"source\":\"custom\","
                  "\"account\":\"111122223333\",\"region\":\"eu-west-1\",\"detail\":"
                  "{\"id\":\"f\",\"type\":\"t\",\"accountId\":\"12345\"}}",
                  a, NULL),
        TB_OK);
    assert_string_equal(a->account, "111122223333");
    assert_string_equal(a->region, "eu-west-1");
    free(a);
}

static void
titles_lose_what_could_forge_a_terminal_and_are_cut_between_characters(void **state)
{
    struct tb_alert *a = malloc(sizeof(*a));
    struct tb_buf body = TB_BUF_INIT(8192);

    (void)state;
    assert_int_equal(
        read_text(BARE("}" NAMED ",\"title\":\"a\\u001b[31mb\\u009bc\\u202edé\\n\""), a, NULL),
        TB_OK);
    assert_string_equal(a->summary, "a?[31mb?c?d\xc3\xa9?");

    tb_buf_put_str(&body, BARE("}" NAMED ",\"title\":\""));
    body.len--; /* the closing brace of BARE comes after the title */
    for (int i = 0; i < 300; i++) {
        tb_buf_put_str(&body, "\xe2\x82\xac");
    }
    tb_buf_put_str(&body, "\"}");
    assert_int_equal(tb_webhook_read(tb_buf_view(&body), NULL, a, NULL), TB_OK);
    assert_int_equal(strlen(a->summary), 255);
    tb_buf_release(&body);
    free(a);
}

static void
more_sources_and_indicators_than_fit_are_bounded_and_counted(void **state)
{
    struct tb_alert *a = malloc(sizeof(*a));
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);

    (void)state;
    tb_buf_put_str(&body,
                   "{\"id\":\"f\",\"type\":\"t\",\"service\":{\"serviceName\":\"guardduty\","
                   "\"detection\":{\"sequence\":{\"resources\":[");
    for (int i = 0; i < 78; i++) {
        tb_buf_printf(&body, "%s{\"resourceType\":\"EC2_INSTANCE\",\"uid\":\"i-%08x\"}",
                      i > 0 ? "," : "", (unsigned)i);
    }
    tb_buf_put_str(&body, "],\"endpoints\":[");
    for (int i = 0; i < 200; i++) {
        tb_buf_printf(&body, "%s{\"ip\":\"192.0.2.%d\"}", i > 0 ? "," : "", i);
    }
    tb_buf_put_str(&body, "]}}}}");
    assert_int_equal(tb_webhook_read(tb_buf_view(&body), NULL, a, NULL), TB_OK);
    assert_int_equal(a->source_count, TB_ALERT_MAX_SOURCES);
    assert_int_equal(a->sources_left_out, 14);
    assert_int_equal(a->indicator_count, TB_ALERT_MAX_INDICATORS);
    tb_buf_release(&body);
    free(a);
}

/* --- findings of others ------------------------------------------------------------------- */

/* What is expected of the published findings, by a part of the file's name; the first that fits
 * counts.  instance "" with sources 0: refused, with `why` in the reason. */
static const struct {
    const char *part;
    const char *instance, *eni;
    size_t sources;
    bool sample, archived;
    const char *why;
    size_t indicators;
    const char *value; /* of the first indicator */
    uint32_t port;
} published[] = {
    {"guardduty-event-pascalcase__Trojan-EC2-DNSData", "i-99999999", "eni-abcdef00", 4, true,
     false, "", 1, "GeneratedFindingAdditionalDomainName", 0},
    {"guardduty-event-pascalcase__Trojan-EC2-DropPoint", "i-99999999", "eni-abcdef00", 1, true,
     false, "", 1, "198.51.100.0", 22},
    {"guardduty-event-pascalcase__Unauthorized", "i-99999999", "eni-abcdef00", 1, true, false,
     "", 1, "198.51.100.0", 80},
    {"guardduty-event__Backdoor-EC2-CandCActivity.B-DNS__OluOlus", "i-0123456789abcdef0", "", 1,
     true, false, "", 1, "203.0.113.10", 443},
    {"guardduty-event__Backdoor-EC2-CandCActivity.B-DNS__cloud", "i-99999999", "", 1, true,
     false, "", 1, "example.com", 0},
    {"guardduty-event__Backdoor-EC2-Spambot", "i-99999999", "eni-bfcffe88", 1, true, false, "",
     1, "198.51.100.0", 22},
    {"guardduty-event__Behavior-EC2", "i-99999999", "eni-bfcffe88", 1, true, false, "", 1,
     "198.51.100.0", 80},
    {"guardduty-event__Trojan-EC2-BlackholeTraffic", "i-99999999", "eni-bfcffe88", 1, true,
     false, "", 1, "198.51.100.0", 80},
    {"guardduty-event__Trojan-EC2-DropPoint-DNS", "i-99999999", "eni-bfcffe88", 1, true, false,
     "", 1, "GeneratedFindingDomainName", 0},
    {"guardduty-event__UnauthorizedAccess-EC2-Malicious", "i-99999999", "eni-bfcffe88", 1, true,
     false, "", 1, "198.51.100.0", 5711},
    {"guardduty-event__UnauthorizedAccess-EC2-Tor", "i-99999999", "eni-bfcffe88", 1, true,
     false, "", 1, "198.51.100.0", 39677},
    {"guardduty-event__", "", "", 0, true, false, "access key", 1, "198.51.100.0", 0},
    {"guardduty-finding-pascalcase__UnauthorizedAccess-EC2-RDP", "i-0999999999999999",
     "eni-013b37911da60cc09", 1, false, false, "", 1, "10.11.111.112", 49222},
    {"guardduty-finding-pascalcase__UnauthorizedAccess-S3", "", "", 0, true, false, "S3 bucket",
     0, "", 0},
    {"guardduty-finding__AttackSequence-IAM", "", "", 0, false, false, "attack sequence", 0, "",
     0},
    {"guardduty-finding__AttackSequence-S3", "", "", 0, true, false, "attack sequence", 0, "",
     0},
    {"guardduty-finding__Backdoor-EC2", "i-0123456789abcdef0", "eni-0123456789abcdef0", 1, true,
     false, "", 1, "203.0.113.10", 443},
    {"guardduty-finding__Canary-EC2", "i-05746eb48123455e0", "", 1, false, false, "", 0, "", 0},
    {"guardduty-finding__PenTest-S3", "", "", 0, true, true, "S3 bucket", 1, "198.51.100.0", 0},
    {"guardduty-finding__Recon-IAMUser", "i-99999999", "eni-bfcffe88", 1, true, true, "", 1,
     "198.51.100.0", 0},
};

static void
check_published(const char *name, const struct tb_alert *a)
{
    size_t i = 0;

    while (i < sizeof(published) / sizeof(published[0]) &&
           strstr(name, published[i].part) == NULL) {
        i++;
    }
    if (i == sizeof(published) / sizeof(published[0])) {
        print_message("# %s: no expectation\n", name);
        return;
    }
    if (a->source_count != published[i].sources || a->sample != published[i].sample ||
        a->archived != published[i].archived || a->indicator_count != published[i].indicators ||
        strstr(a->nothing_to_mirror, published[i].why) == NULL ||
        (a->nothing_to_mirror[0] == 0) != (a->source_count > 0)) {
        fail_msg("%s: %zu sources, %zu indicators, sample %d, archived %d, \"%s\"", name,
                 a->source_count, a->indicator_count, a->sample, a->archived,
                 a->nothing_to_mirror);
    }
    if (a->source_count > 0) {
        assert_string_equal(a->sources[0].instance, published[i].instance);
        assert_string_equal(a->sources[0].eni, published[i].eni);
    }
    if (a->indicator_count > 0) {
        assert_string_equal(a->indicators[0].value, published[i].value);
        assert_int_equal(a->indicators[0].port, published[i].port);
    }
    assert_true(a->severity > 0 && a->seen_utc_ns > 0 && a->key[0] != 0);
}

static void
findings_that_others_published_are_read_or_refused_as_expected(void **state)
{
    DIR *dir = opendir(FINDINGS);
    struct tb_alert *a = malloc(sizeof(*a));
    struct dirent *entry;
    size_t read = 0;

    (void)state;
    if (dir == NULL) {
        free(a);
        print_message("# " FINDINGS " is not there\n");
        skip();
    }
    while ((entry = readdir(dir)) != NULL) {
        struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
        struct tb_fail fail = {0};
        char path[512];
        enum tb_err err;

        if (strstr(entry->d_name, ".json") == NULL ||
            strcmp(entry->d_name, "MANIFEST.json") == 0) {
            continue;
        }
        (void)snprintf(path, sizeof(path), FINDINGS "/%s", entry->d_name);
        load(path, &body);
        err = read_text(tb_buf_str(&body), a, &fail);
        if (strncmp(entry->d_name, "guardduty", 9) == 0) {
            if (err != TB_OK) {
                fail_msg("%s: %s", entry->d_name, fail.text);
            }
            check_published(entry->d_name, a);
            read++;
        } else if (strncmp(entry->d_name, "eventbridge-ec2", 15) == 0) {
            if (err != TB_OK || a->instance_state[0] == 0 || a->source_count != 1) {
                fail_msg("%s: %s", entry->d_name, fail.text);
            }
        } else if (strncmp(entry->d_name, "securityhub", 11) == 0) {
            if (err != TB_OK) { /* test_securityhub.c says more */
                fail_msg("%s: %s", entry->d_name, fail.text);
            }
        } else if (strncmp(entry->d_name, "sns-message", 11) != 0 && /* test_sns.c */
                   (err != TB_ENOTFOUND || strstr(fail.text, "known:") == NULL)) {
            fail_msg("%s: %s: %s", entry->d_name, tb_err_name(err), fail.text);
        }
        tb_buf_release(&body);
    }
    (void)closedir(dir);
    free(a);
    assert_true(read > 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_names_the_interface_it_was_seen_on),
        cmocka_unit_test(the_same_finding_as_the_cli_prints_it_is_the_same_alert),
        cmocka_unit_test(a_dns_finding_knows_the_instance_and_the_domain),
        cmocka_unit_test(probes_and_inbound_connections_are_placed_by_their_local_address),
        cmocka_unit_test(a_finding_without_an_interface_says_why),
        cmocka_unit_test(samples_and_archived_findings_are_marked),
        cmocka_unit_test(an_attack_sequence_names_its_instances_with_their_interfaces),
        cmocka_unit_test(what_is_missing_or_wrong_is_named),
        cmocka_unit_test(what_is_no_guardduty_finding_is_not_taken_for_one),
        cmocka_unit_test(updates_have_another_key_and_redeliveries_the_same),
        cmocka_unit_test(the_sample_flag_is_found_wherever_it_stands),
        cmocka_unit_test(each_kind_of_resource_gives_its_source_or_its_reason),
        cmocka_unit_test(an_interface_that_only_the_action_knows_is_taken),
        cmocka_unit_test(an_interface_is_found_by_its_ipv6_address_and_nobody_is_no_peer),
        cmocka_unit_test(a_public_local_address_names_the_interface_and_a_mapped_peer_is_ipv4),
        cmocka_unit_test(a_severity_that_cannot_be_read_is_unknown_and_loses_no_alert),
        cmocka_unit_test(the_envelope_lends_account_and_region_where_the_finding_has_none),
        cmocka_unit_test(
            titles_lose_what_could_forge_a_terminal_and_are_cut_between_characters),
        cmocka_unit_test(more_sources_and_indicators_than_fit_are_bounded_and_counted),
        cmocka_unit_test(findings_that_others_published_are_read_or_refused_as_expected),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
