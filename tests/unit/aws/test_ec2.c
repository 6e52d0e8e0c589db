/* Bodies of creates, and what is read out of describes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include <tapbox/aws_ec2.h>
#include <tapbox/clock.h>

#include "../../support/http_peer.h"

static struct tb_http_client *http;
static struct http_peer *peer;
static struct tb_aws *aws;

static int
start(void **state TB_UNUSED)
{
    peer = http_peer_start(NULL, 0);
    setenv("AWS_ENDPOINT_URL", http_peer_url(peer), 1);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    if (tb_http_client_new(&http, NULL) != TB_OK) {
        return -1;
    }
    return tb_aws_new(http, "eu-central-1", &aws, NULL) == TB_OK ? 0 : -1;
}

static int
stop(void **state TB_UNUSED)
{
    tb_aws_free(aws);
    tb_http_client_free(http);
    http_peer_stop(peer);
    return 0;
}

/* --- bodies --- */

static const struct tb_ec2_tag tags[] = {{"tapbox:owner", "a b+c"}, {"empty", ""}};

static void
a_session_is_written_as_ec2_reads_it(void **state TB_UNUSED)
{
    const struct tb_ec2_session_spec spec = {.eni = "eni-1",
                                             .target_id = "tmt-1",
                                             .filter_id = "tmf-1",
                                             .session_number = 1,
                                             .vni = 16777215,
                                             .packet_length = 8500,
                                             .description = "tapbox f=1ab2",
                                             .tags = tags,
                                             .tag_count = 2,
                                             .client_token = "4f1d"};
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);

    assert_int_equal(tb_ec2_session_body(&spec, &body, NULL), TB_OK);
    assert_string_equal(
        tb_buf_str(&body),
        "Action=CreateTrafficMirrorSession&Version=2016-11-15&NetworkInterfaceId=eni-1"
        "&TrafficMirrorTargetId=tmt-1&TrafficMirrorFilterId=tmf-1&SessionNumber=1"
        "&PacketLength=8500&VirtualNetworkId=16777215&Description=tapbox%20f%3D1ab2"
        "&TagSpecification.1.ResourceType=traffic-mirror-session"
        "&TagSpecification.1.Tag.1.Key=tapbox%3Aowner&TagSpecification.1.Tag.1.Value=a%20b%2Bc"
        "&TagSpecification.1.Tag.2.Key=empty&TagSpecification.1.Tag.2.Value="
        "&ClientToken=4f1d");
    tb_buf_release(&body);
}

static void
a_rule_has_ports_and_protocol_only_when_asked(void **state TB_UNUSED)
{
    struct tb_ec2_rule_spec spec = {.filter_id = "tmf-1",
                                    .egress = true,
                                    .number = 100,
                                    .protocol = -1,
                                    .source_port_from = -1,
                                    .source_port_to = -1,
                                    .destination_port_from = -1,
                                    .destination_port_to = -1,
                                    .source_cidr = "::/0",
                                    .destination_cidr = "::/0",
                                    .client_token = "t"};
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);

    assert_int_equal(tb_ec2_rule_body(&spec, &body, NULL), TB_OK);
    assert_string_equal(tb_buf_str(&body),
                        "Action=CreateTrafficMirrorFilterRule&Version=2016-11-15"
                        "&TrafficMirrorFilterId=tmf-1&TrafficDirection=egress&RuleNumber=100"
                        "&RuleAction=accept&SourceCidrBlock=%3A%3A%2F0"
                        "&DestinationCidrBlock=%3A%3A%2F0&ClientToken=t");
    tb_buf_reset(&body);
    spec.egress = false;
    spec.reject = true;
    spec.protocol = 6;
    spec.source_port_from = 0;
    spec.source_port_to = 65535;
    spec.destination_port_from = spec.destination_port_to = 443;
    assert_int_equal(tb_ec2_rule_body(&spec, &body, NULL), TB_OK);
    assert_non_null(strstr(tb_buf_str(&body),
                           "&TrafficDirection=ingress&RuleNumber=100&RuleAction=reject"
                           "&Protocol=6&SourcePortRange.FromPort=0&SourcePortRange.ToPort=65535"
                           "&DestinationPortRange.FromPort=443&DestinationPortRange.ToPort=443"
                           "&SourceCidrBlock="));
    tb_buf_release(&body);
}

static void
what_ec2_would_refuse_is_refused_before(void **state TB_UNUSED)
{
    const struct tb_ec2_session_spec good = {.eni = "eni-1",
                                             .target_id = "tmt-1",
                                             .filter_id = "tmf-1",
                                             .session_number = 32766,
                                             .vni = 1,
                                             .client_token = "t"};
    struct tb_ec2_session_spec bad[8];
    struct tb_ec2_tag nameless = {"", "x"};
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);

    for (size_t i = 0; i < 8; i++) {
        bad[i] = good;
    }
    bad[0].session_number = 0;
    bad[1].session_number = 32767;
    bad[2].vni = 0;
    bad[3].vni = 1 << 24;
    bad[4].packet_length = 8501;
    bad[5].client_token = "";
    bad[6].client_token = "12345678901234567890123456789012345678901234567890123456789012345";
    bad[7].tags = &nameless;
    bad[7].tag_count = 1;
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(tb_ec2_session_body(&bad[i], &body, NULL), TB_EINVAL);
    }
    assert_int_equal(body.len, 0);
    assert_int_equal(tb_ec2_session_body(&good, &body, NULL), TB_OK);
    tb_buf_release(&body);
}

/* --- describes --- */

#define SESSIONS(items, token)                                                                 \
    "<DescribeTrafficMirrorSessionsResponse><nextToken>" token                                 \
    "</nextToken><trafficMirrorSessionSet>" items                                              \
    "</trafficMirrorSessionSet><requestId>r</requestId></"                                     \
    "DescribeTrafficMirrorSessionsResponse>"
#define SESSION(id)                                                                            \
    "<item><virtualNetworkId>7</virtualNetworkId><unknown><item/></unknown><tagSet><item>"     \
    "<value>v</value><key>k</key></item></tagSet><networkInterfaceId>eni-1"                    \
    "</networkInterfaceId><trafficMirrorSessionId>" id "</trafficMirrorSessionId>"             \
    "<sessionNumber>3</sessionNumber></item>"

static void
every_page_is_read(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 200, "Date: Fri, 02 Jan 2026 03:04:01 GMT\r\n",
         SESSIONS(SESSION("tms-1") SESSION("tms-2"), "a/b+c="), .how = 0},
        {NULL, 200, NULL, SESSIONS("", "second"), .how = 0},
        {NULL, 200, "Date: Fri, 02 Jan 2026 03:04:05 GMT\r\n", SESSIONS(SESSION("tms-3"), ""),
         .how = 0}};
    static const char *const enis[] = {"eni-1", "eni-2"};
    struct tb_ec2_sessions list;

    http_peer_script(peer, steps, 3);
    assert_int_equal(tb_ec2_sessions_list(aws, enis, 2, &list, NULL), TB_OK);
    assert_int_equal(list.count, 3);
    assert_int_equal(list.server_utc_s, 1767323045);
    assert_int_equal(list.began_utc_s, 1767323041);
    assert_string_equal(list.at[2].id, "tms-3");
    assert_string_equal(list.at[2].eni, "eni-1");
    assert_string_equal(list.at[2].target, "");
    assert_int_equal(list.at[2].vni, 7);
    assert_int_equal(list.at[2].session_number, 3);
    assert_string_equal(tb_ec2_tag(&list.at[2].tags, "k"), "v");
    assert_null(tb_ec2_tag(&list.at[2].tags, "K"));
    tb_ec2_sessions_release(&list);
    assert_string_equal(http_peer_body(peer, 0),
                        "Action=DescribeTrafficMirrorSessions&Version=2016-11-15"
                        "&Filter.1.Name=network-interface-id&Filter.1.Value.1=eni-1"
                        "&Filter.1.Value.2=eni-2&MaxResults=1000");
    assert_non_null(strstr(http_peer_body(peer, 1), "&MaxResults=1000&NextToken=a%2Fb%2Bc%3D"));
    assert_non_null(strstr(http_peer_body(peer, 2), "&MaxResults=1000&NextToken=second"));
}

static void
a_page_that_fails_fails_the_list(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 200, NULL, SESSIONS(SESSION("tms-1"), "next"), .how = 0},
        {NULL, 403, NULL,
         "<Response><Errors><Error><Code>UnauthorizedOperation</Code></Error></Errors></"
         "Response>",
         .how = 0}};
    struct tb_ec2_sessions list = {.count = 77};

    http_peer_script(peer, steps, 2);
    assert_int_equal(tb_ec2_sessions_list(aws, NULL, 0, &list, NULL), TB_EDENIED);
    assert_int_equal(list.count, 77);
}

static void
a_page_that_leads_to_itself_ends_it(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 200, NULL, SESSIONS(SESSION("tms-1"), "same"), .always = true}};
    struct tb_ec2_sessions list;

    http_peer_script(peer, steps, 1);
    assert_int_equal(tb_ec2_sessions_list(aws, NULL, 0, &list, NULL), TB_EFORMAT);
    assert_int_equal(http_peer_count(peer), 2);
}

static void
items_that_make_no_sense_are_refused(void **state TB_UNUSED)
{
    static const char *const bodies[] = {
        SESSIONS("<item><ownerId>1</ownerId></item>", ""),
        SESSIONS("<item><trafficMirrorSessionId>tms-1</trafficMirrorSessionId>"
                 "<virtualNetworkId>-1</virtualNetworkId></item>",
                 ""),
        SESSIONS("<item><trafficMirrorSessionId>tms-0123456789012345678901234567890123456789"
                 "0123456789012345678901234567890123456789</trafficMirrorSessionId></item>",
                 ""),
    };
    struct tb_ec2_sessions list;

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct http_peer_step step = {NULL, 200, NULL, bodies[i], .always = true};

        http_peer_script(peer, &step, 1);
        assert_int_equal(tb_ec2_sessions_list(aws, NULL, 0, &list, NULL), TB_EFORMAT);
    }
    http_peer_script(peer, NULL, 0);
}

#define RESERVATION(items)                                                                     \
    "<DescribeInstancesResponse><requestId>r</requestId><reservationSet>" items                \
    "</reservationSet></DescribeInstancesResponse>"
#define INSTANCE                                                                               \
    "<item><reservationId>r-1</reservationId><ownerId>111122223333</"                          \
    "ownerId><instancesSet><item><instanceId>i-1</instanceId>"                                 \
    "<instanceState><code>16</code><name>running</name></instanceState>"                       \
    "<instanceType>m5.large</instanceType><imageId>ami-1</imageId><vpcId>vpc-1</vpcId>"        \
    "<subnetId>subnet-1</subnetId><privateIpAddress>10.0.0.5</privateIpAddress>"               \
    "<launchTime>2026-01-02T03:04:05.000Z</launchTime><placement><availabilityZone>"           \
    "us-east-1a</availabilityZone></placement><networkInterfaceSet><item>"                     \
    "<networkInterfaceId>eni-1</networkInterfaceId><macAddress>0a:1b:2c:3d:4e:5f"              \
    "</macAddress><interfaceType>interface</interfaceType><status>in-use</status>"             \
    "<privateIpAddress>10.0.0.5</privateIpAddress><attachment><deviceIndex>1</deviceIndex>"    \
    "<status>attached</status></attachment></item><item><networkInterfaceId>eni-2"             \
    "</networkInterfaceId></item></networkInterfaceSet><tagSet><item><key>Name</key>"          \
    "<value>web</value></item></tagSet></item></instancesSet></item>"

static void
an_instance_brings_its_interfaces_along(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 200, NULL, RESERVATION(INSTANCE), .how = 0}};
    struct tb_ec2_instance is;

    http_peer_script(peer, steps, 1);
    assert_int_equal(tb_ec2_instance_get(aws, "i-1", &is, NULL), TB_OK);
    assert_string_equal(http_peer_body(peer, 0),
                        "Action=DescribeInstances&Version=2016-11-15&InstanceId.1=i-1");
    assert_string_equal(is.state, "running");
    assert_string_equal(is.owner, "111122223333");
    assert_string_equal(tb_ec2_tag(&is.tags, "Name"), "web");
    assert_int_equal(is.interfaces.count, 2);
    assert_string_equal(is.interfaces.at[0].mac, "0a:1b:2c:3d:4e:5f");
    assert_string_equal(is.interfaces.at[0].instance, "i-1");
    assert_string_equal(is.interfaces.at[0].availability_zone, "us-east-1a");
    assert_int_equal(is.interfaces.at[0].device_index, 1);
    tb_ec2_instance_release(&is);
    assert_int_equal(is.interfaces.count, 0);
}

static void
an_interface_of_a_managed_service_is_described(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 200, NULL,
         "<DescribeNetworkInterfacesResponse><networkInterfaceSet><item>"
         "<networkInterfaceId>eni-1</networkInterfaceId><ownerId>111122223333</ownerId>"
         "<requesterId>amazon-elasticache</requesterId><requesterManaged>true</"
         "requesterManaged>"
         "<attachment><attachmentId>eni-attach-1</attachmentId><instanceOwnerId>"
         "amazon-elasticache</instanceOwnerId><status>attached</status></attachment></item>"
         "</networkInterfaceSet></DescribeNetworkInterfacesResponse>",
         .how = 0}};
    const char *eni = "eni-1";
    struct tb_ec2_interfaces list;

    http_peer_script(peer, steps, 1);
    assert_int_equal(tb_ec2_interfaces_by_id(aws, &eni, 1, &list, NULL), TB_OK);
    assert_int_equal(list.count, 1);
    assert_true(list.at[0].requester_managed);
    assert_string_equal(list.at[0].instance, "");
    tb_ec2_interfaces_release(&list);
}

static void
only_the_instance_asked_for_is_taken(void **state TB_UNUSED)
{
    static const struct {
        const char *body;
        enum tb_err err;
    } cases[] = {
        {RESERVATION(""), TB_ENOTFOUND},
        {RESERVATION(INSTANCE), TB_EFORMAT},
        {RESERVATION(INSTANCE INSTANCE), TB_EFORMAT},
        {RESERVATION("<item><instancesSet/></item>"), TB_EFORMAT},
    };
    struct tb_ec2_instance is;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_peer_step step = {NULL, 200, NULL, cases[i].body, .always = true};

        http_peer_script(peer, &step, 1);
        assert_int_equal(tb_ec2_instance_get(aws, "i-2", &is, NULL), cases[i].err);
    }
    http_peer_script(peer, NULL, 0);
}

static void
filters_tell_their_rules_and_services(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 200, NULL,
         "<DescribeTrafficMirrorFiltersResponse><trafficMirrorFilterSet><item>"
         "<trafficMirrorFilterId>tmf-1</trafficMirrorFilterId><ingressFilterRuleSet><item>"
         "<trafficMirrorFilterRuleId>tmfr-1</trafficMirrorFilterRuleId><ruleNumber>100"
         "</ruleNumber><ruleAction>accept</ruleAction><protocol>6</protocol>"
         "<destinationPortRange><fromPort>443</fromPort><toPort>444</toPort>"
         "</destinationPortRange><sourceCidrBlock>0.0.0.0/0</sourceCidrBlock>"
         "<destinationCidrBlock>10.0.0.5/32</destinationCidrBlock></item></"
         "ingressFilterRuleSet>"
         "<egressFilterRuleSet><item><trafficMirrorFilterRuleId>tmfr-2"
         "</trafficMirrorFilterRuleId><ruleNumber>7</ruleNumber><ruleAction>reject</ruleAction>"
         "<sourceCidrBlock>::/0</sourceCidrBlock><destinationCidrBlock>::/0"
         "</destinationCidrBlock></item></egressFilterRuleSet><networkServiceSet><item>x</item>"
         "<item>amazon-dns</item></networkServiceSet></item><item><trafficMirrorFilterId>tmf-2"
         "</trafficMirrorFilterId><ingressFilterRuleSet><item><trafficMirrorFilterRuleId>tmfr-3"
         "</trafficMirrorFilterRuleId><ruleNumber>1</ruleNumber><protocol>256</protocol></item>"
         "<item><trafficMirrorFilterRuleId>tmfr-4</trafficMirrorFilterRuleId><ruleNumber>first"
         "</ruleNumber></item><item><trafficMirrorFilterRuleId>tmfr-5"
         "</trafficMirrorFilterRuleId><ruleNumber>2</ruleNumber><sourcePortRange><fromPort>"
         "65536</fromPort></sourcePortRange></item></ingressFilterRuleSet></item>"
         "</trafficMirrorFilterSet></DescribeTrafficMirrorFiltersResponse>",
         .how = 0}};
    const struct tb_ec2_rule *rule;
    struct tb_ec2_filters list;

    http_peer_script(peer, steps, 1);
    assert_int_equal(tb_ec2_filters_list(aws, &list, NULL), TB_OK);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.at[0].rule_count, 2);
    rule = &list.at[0].rules[0];
    assert_string_equal(rule->id, "tmfr-1");
    assert_false(rule->egress);
    assert_false(rule->reject);
    assert_int_equal(rule->number, 100);
    assert_int_equal(rule->protocol, 6);
    assert_int_equal(rule->source_port_from, -1);
    assert_int_equal(rule->destination_port_from, 443);
    assert_int_equal(rule->destination_port_to, 444);
    assert_string_equal(rule->source_cidr, "0.0.0.0/0");
    assert_string_equal(rule->destination_cidr, "10.0.0.5/32");
    rule = &list.at[0].rules[1];
    assert_true(rule->egress);
    assert_true(rule->reject);
    assert_int_equal(rule->protocol, -1);
    assert_int_equal(rule->destination_port_to, -1);
    assert_false(list.at[0].rules[0].unknown || rule->unknown);
    assert_int_equal(list.at[1].rule_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(list.at[1].rules[i].unknown);
    }
    assert_string_equal(list.at[1].rules[2].id, "tmfr-5");
    assert_true(list.at[0].amazon_dns);
    assert_false(list.at[1].amazon_dns);
    tb_ec2_filters_release(&list);
}

static void
interfaces_are_never_asked_for_without_saying_which(void **state TB_UNUSED)
{
    struct tb_ec2_interfaces list;
    const char *many[201];

    http_peer_script(peer, NULL, 0);
    for (size_t i = 0; i < 201; i++) {
        many[i] = "eni-1";
    }
    assert_int_equal(tb_ec2_interfaces_by_id(aws, NULL, 0, &list, NULL), TB_EINVAL);
    assert_int_equal(tb_ec2_interfaces_by_id(aws, many, 201, &list, NULL), TB_EINVAL);
    assert_int_equal(http_peer_count(peer), 0);
}

static void
tags_are_set_on_many_objects_at_once(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 200, NULL,
         "<CreateTagsResponse><requestId>r</requestId><return>true</return></"
         "CreateTagsResponse>",
         .how = 0}};
    static const char *const ids[] = {"tms-1", "tmf-1"};
    struct tb_ec2_effect effect;

    http_peer_script(peer, steps, 1);
    assert_int_equal(tb_ec2_tag_set(aws, ids, 2, tags, 2, &effect, NULL), TB_OK);
    assert_string_equal(http_peer_body(peer, 0),
                        "Action=CreateTags&Version=2016-11-15&ResourceId.1=tms-1"
                        "&ResourceId.2=tmf-1&Tag.1.Key=tapbox%3Aowner&Tag.1.Value=a%20b%2Bc"
                        "&Tag.2.Key=empty&Tag.2.Value=");
    assert_int_equal(tb_ec2_tag_set(aws, ids, 0, tags, 2, &effect, NULL), TB_EINVAL);
    assert_int_equal(tb_ec2_tag_set(aws, ids, 2, tags, 0, &effect, NULL), TB_EINVAL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_is_written_as_ec2_reads_it),
        cmocka_unit_test(a_rule_has_ports_and_protocol_only_when_asked),
        cmocka_unit_test(what_ec2_would_refuse_is_refused_before),
        cmocka_unit_test(every_page_is_read),
        cmocka_unit_test(a_page_that_fails_fails_the_list),
        cmocka_unit_test(a_page_that_leads_to_itself_ends_it),
        cmocka_unit_test(items_that_make_no_sense_are_refused),
        cmocka_unit_test(an_instance_brings_its_interfaces_along),
        cmocka_unit_test(an_interface_of_a_managed_service_is_described),
        cmocka_unit_test(only_the_instance_asked_for_is_taken),
        cmocka_unit_test(filters_tell_their_rules_and_services),
        cmocka_unit_test(interfaces_are_never_asked_for_without_saying_which),
        cmocka_unit_test(tags_are_set_on_many_objects_at_once),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
