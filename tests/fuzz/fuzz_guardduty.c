/*
 * GuardDuty findings, made member by member from the octets: of the right shape as a whole, odd
 * in its parts.  Whatever is in one: bare, as an EventBridge event and as the CLI prints it
 * (every key with a capital, in a list of one) it is the same alert, or refused all the same.
 */
#include <assert.h>
#include <ctype.h>
#include <stdlib.h>

#include <tapbox/webhook.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    ITEMS_MAX = 3, /* of a list */
    BODY_MAX = 65536
};

/* What each has to have. */
#define EVENT_BEGINS                                                                           \
    "\"id\":\"f\",\"arn\":\"arn:aws:guardduty:r:1:detector/d/finding/f\","                     \
    "\"type\":\"Backdoor:EC2/C&CActivity.B\",\"severity\":8"
#define CLI_BEGINS                                                                             \
    "\"Id\":\"f\",\"Arn\":\"arn:aws:guardduty:r:1:detector/d/finding/f\","                     \
    "\"Type\":\"Backdoor:EC2/C&CActivity.B\",\"Severity\":8"

struct maker {
    const uint8_t *at, *end;
    struct tb_buf *out;
    bool capitals;
};

static unsigned
draw(struct maker *m, unsigned below)
{
    return m->at < m->end ? *m->at++ % below : 0;
}

static void
put_key(struct maker *m, const char *key, bool first)
{
    int c = m->capitals ? toupper((unsigned char)key[0]) : key[0];

    tb_buf_printf(m->out, "%s\"%c%s\":", first ? "" : ",", c, key + 1);
}

/* Texts of every kind that a member may hold, and what it should not. */
static void
put_value(struct maker *m)
{
    static const char *const values[] = {
        "null",
        "\"\"",
        "\"i-0a1b2c3d4e5f60718\"",
        "\"i-99999999\"",
        "\"eni-0a1b2c3d4e5f60718\"",
        "\"eni-bfcffe88\"",
        "\"10.0.0.1\"",
        "\"198.51.100.7\"",
        "\"0.0.0.0\"",
        "\"::\"",
        "\"2001:db8::1\"",
        "\"2001:DB8:0:0:0:0:0:1\"",
        "\"999.1.1.1\"",
        "\"TCP\"",
        "\"17\"",
        "\"OUTBOUND\"",
        "\"bad.example\"",
        "443",
        "0",
        "-1",
        "70000",
        "8.5",
        "11",
        "true",
        "false",
        "\"true\"",
        "[]",
        "{}",
        "[null]",
        "\"Instance\"",
        "\"EKSCluster\"",
        "\"ECSCluster\"",
        "\"Container\"",
        "\"AccessKey\"",
        "\"S3Bucket\"",
        "\"Teapot\"",
        "\"AROAEXAMPLE:i-0a1b2c3d4e5f60718\"",
        "\"111122223333\"",
        "\"eu-central-1\"",
        "\"2026-01-02T03:04:05Z\"",
        "\"Backdoor:EC2/C&CActivity.B\"",
        "\"FARGATE\"",
        "\"{\\\"sample\\\":true}\"",
        "\"\\u202e\\u0007 text\"",
        "\"vpc-1\"",
    };

    tb_buf_put_str(m->out, values[draw(m, sizeof(values) / sizeof(values[0]))]);
}

/* What may be in an object: another object of this table, a list of them, or a value. */
struct member {
    const char *key;
    const struct member *object; /* NULL: a value */
    bool list;
};

static const struct member ip[] = {
    {"ipAddressV4", NULL, false}, {"ipAddressV6", NULL, false}, {0}};
static const struct member port[] = {{"port", NULL, false}, {0}};
static const struct member address[] = {{"privateIpAddress", NULL, false}, {0}};
static const struct member tag[] = {{"key", NULL, false}, {"value", NULL, false}, {0}};
static const struct member interface[] = {{"networkInterfaceId", NULL, false},
                                          {"privateIpAddress", NULL, false},
                                          {"privateIpAddresses", address, true},
                                          {"ipv6Addresses", NULL, true},
                                          {"vpcId", NULL, false},
                                          {"subnetId", NULL, false},
                                          {0}};
static const struct member instance[] = {{"instanceId", NULL, false},
                                         {"networkInterfaces", interface, true},
                                         {"tags", tag, true},
                                         {0}};
static const struct member task[] = {{"arn", NULL, false}, {"launchType", NULL, false}, {0}};
static const struct member cluster[] = {{"taskDetails", task, false}, {0}};
static const struct member key_details[] = {{"principalId", NULL, false}, {0}};
static const struct member pod[] = {{"name", NULL, false}, {"namespace", NULL, false}, {0}};
static const struct member kubernetes[] = {{"kubernetesWorkloadDetails", pod, false}, {0}};
static const struct member resource[] = {{"resourceType", NULL, false},
                                         {"instanceDetails", instance, false},
                                         {"accessKeyDetails", key_details, false},
                                         {"ecsClusterDetails", cluster, false},
                                         {"kubernetesDetails", kubernetes, false},
                                         {0}};
static const struct member connection[] = {
    {"connectionDirection", NULL, false},   {"protocol", NULL, false},
    {"localIpDetails", ip, false},          {"remoteIpDetails", ip, false},
    {"localPortDetails", port, false},      {"remotePortDetails", port, false},
    {"localNetworkInterface", NULL, false}, {0}};
static const struct member probe[] = {{"localPortDetails", port, false},
                                      {"localIpDetails", ip, false},
                                      {"remoteIpDetails", ip, false},
                                      {0}};
static const struct member probes[] = {{"portProbeDetails", probe, true}, {0}};
static const struct member dns[] = {{"domain", NULL, false}, {"protocol", NULL, false}, {0}};
static const struct member caller[] = {
    {"remoteIpDetails", ip, false}, {"sourceIPs", NULL, true}, {0}};
static const struct member action[] = {{"actionType", NULL, false},
                                       {"networkConnectionAction", connection, false},
                                       {"portProbeAction", probes, false},
                                       {"dnsRequestAction", dns, false},
                                       {"awsApiCallAction", caller, false},
                                       {"kubernetesApiCallAction", caller, false},
                                       {0}};
static const struct member direction[] = {{"direction", NULL, false}, {0}};
static const struct member endpoint[] = {{"ip", NULL, false},
                                         {"domain", NULL, false},
                                         {"port", NULL, false},
                                         {"connection", direction, false},
                                         {0}};
static const struct member uids[] = {{"ec2NetworkInterfaceUids", NULL, true}, {0}};
static const struct member members[] = {{"ec2InstanceUids", NULL, true}, {0}};
static const struct member data_of[] = {{"ec2Instance", uids, false},
                                        {"eksCluster", members, false},
                                        {"accessKey", key_details, false},
                                        {0}};
static const struct member thing[] = {{"uid", NULL, false},
                                      {"name", NULL, false},
                                      {"resourceType", NULL, false},
                                      {"data", data_of, false},
                                      {0}};
static const struct member sequence[] = {
    {"resources", thing, true}, {"endpoints", endpoint, true}, {0}};
static const struct member detection[] = {{"sequence", sequence, false}, {0}};
static const struct member more[] = {{"sample", NULL, false}, {"value", NULL, false}, {0}};
static const struct member service[] = {{"action", action, false},
                                        {"additionalInfo", more, false},
                                        {"archived", NULL, false},
                                        {"count", NULL, false},
                                        {"eventLastSeen", NULL, false},
                                        {"detection", detection, false},
                                        {0}};
static const struct member finding[] = {{"accountId", NULL, false},
                                        {"region", NULL, false},
                                        {"updatedAt", NULL, false},
                                        {"title", NULL, false},
                                        {"resource", resource, false},
                                        {"service", service, false},
                                        {0}};

/* Each member is there, absent, or something else than it should be. */
static void
put_object(struct maker *m, const struct member *of, const char *opening)
{
    bool first = opening[0] == 0;

    tb_buf_printf(m->out, "{%s", opening);
    for (; of->key != NULL; of++) {
        unsigned how = draw(m, 8);
        unsigned items = of->list ? draw(m, ITEMS_MAX + 1) : 1;

        if (how == 7) {
            continue;
        }
        put_key(m, of->key, first);
        first = false;
        if (how == 6) {
            put_value(m);
            continue;
        }
        tb_buf_put_str(m->out, of->list ? "[" : "");
        for (unsigned i = 0; i < items; i++) {
            tb_buf_put_str(m->out, i > 0 ? "," : "");
            if (of->object != NULL) {
                put_object(m, of->object, "");
            } else {
                put_value(m);
            }
        }
        tb_buf_put_str(m->out, of->list ? "]" : "");
    }
    tb_buf_put_str(m->out, "}");
}

/* What becomes of it in one of the ways; for the caller to release. */
static enum tb_err
read_as(const uint8_t *data, size_t size, const char *before, const char *after, bool capitals,
        struct tb_buf *out)
{
    struct tb_buf body = TB_BUF_INIT(BODY_MAX);
    struct maker m = {.at = data, .end = data + size, .out = &body, .capitals = capitals};
    struct tb_alert *alert = calloc(1, sizeof(*alert));
    struct tb_fail fail = {.text = ""};
    struct tb_json *json;
    enum tb_err err;

    assert(alert != NULL);
    tb_buf_put_str(&body, before);
    put_object(&m, finding, capitals ? CLI_BEGINS : EVENT_BEGINS);
    tb_buf_put_str(&body, after);
    err = tb_webhook_read(tb_buf_view(&body), NULL, alert, &fail);
    if (err == TB_OK) {
        assert((alert->source_count == 0) == (alert->nothing_to_mirror[0] != 0));
        json = tb_alert_json(alert);
        assert(tb_json_dump(json, false, out, NULL) == TB_OK);
        tb_json_free(json);
    } else {
        assert(err == fail.err && fail.text[0] != 0);
    }
    free(alert);
    tb_buf_release(&body);
    return err;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        const char *before, *after;
        bool capitals;
    } ways[] = {
        {"{\"detail-type\":\"GuardDuty Finding\",\"source\":\"aws.guardduty\",\"detail\":", "}",
         false},
        {"{\"detail-type\":\"GuardDuty Finding\",\"source\":\"aws.guardduty\",\"detail\":", "}",
         true},
        {"{\"Findings\":[", "]}", true},
    };
    struct tb_buf bare = TB_BUF_INIT(TB_ALERT_JSON_MAX_BYTES);
    enum tb_err err = read_as(data, size, "", "", false, &bare);

    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct tb_buf other = TB_BUF_INIT(TB_ALERT_JSON_MAX_BYTES);
        enum tb_err got =
            read_as(data, size, ways[i].before, ways[i].after, ways[i].capitals, &other);

        assert(got == err);
        assert(got != TB_OK || (other.len == bare.len &&
                                (bare.len == 0 || memcmp(other.at, bare.at, bare.len) == 0)));
        tb_buf_release(&other);
    }
    tb_buf_release(&bare);
    return 0;
}
