/* What lies around an interface, and asking without doing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include <tapbox/aws_ec2.h>

#include "../../support/http_peer.h"

#define GROUPS                                                                                 \
    "<DescribeSecurityGroupsResponse><requestId>r</requestId><securityGroupInfo><it"           \
    "em><groupId>sg-1</groupId><vpcId>vpc-1</vpcId><ipPermissions><item><ipProtocol"           \
    ">udp</ipProtocol><fromPort>4789</fromPort><toPort>4790</toPort><groups><item><"           \
    "userId>1</userId><groupId>sg-2</groupId></item></groups><ipRanges><item><cidrI"           \
    "p>10.0.0.0/8</cidrIp></item><item><cidrIp>192.0.2.0/24</cidrIp></item></ipRang"           \
    "es><ipv6Ranges><item><cidrIpv6>::/0</cidrIpv6></item></ipv6Ranges><prefixListI"           \
    "ds><item><prefixListId>pl-1</prefixListId></item></prefixListIds></item><item>"           \
    "<ipProtocol>-1</ipProtocol><groups/><ipRanges><item><cidrIp>0.0.0.0/0</cidrIp>"           \
    "</item></ipRanges></item><item><ipProtocol>icmp</ipProtocol><fromPort>-1</from"           \
    "Port><toPort>-1</toPort><ipRanges><item><cidrIp>0.0.0.0/0</cidrIp></item></ipR"           \
    "anges></item></ipPermissions><ipPermissionsEgress><item><ipProtocol>-1</ipProt"           \
    "ocol></item></ipPermissionsEgress></item><item><groupId>sg-3</groupId></item><"           \
    "/securityGroupInfo></DescribeSecurityGroupsResponse>"
#define ROUTES                                                                                 \
    "<DescribeRouteTablesResponse><requestId>r</requestId><routeTableSet><item><rou"           \
    "teTableId>rtb-1</routeTableId><routeSet><item><destinationCidrBlock>10.0.0.0/1"           \
    "6</destinationCidrBlock><gatewayId>local</gatewayId><state>active</state></ite"           \
    "m><item><destinationCidrBlock>10.1.0.0/16</destinationCidrBlock><vpcPeeringCon"           \
    "nectionId>pcx-1</vpcPeeringConnectionId><state>blackhole</state></item><item><"           \
    "destinationIpv6CidrBlock>::/0</destinationIpv6CidrBlock><gatewayId>igw-1</gate"           \
    "wayId></item></routeSet><associationSet><item><main>true</main></item></associ"           \
    "ationSet></item><item><routeTableId>rtb-2</routeTableId><routeSet/><associatio"           \
    "nSet><item><subnetId>subnet-1</subnetId><main>false</main></item><item><subnet"           \
    "Id>subnet-2</subnetId></item></associationSet></item></routeTableSet></Describ"           \
    "eRouteTablesResponse>"
#define TYPES                                                                                  \
    "<DescribeInstanceTypesResponse><requestId>r</requestId><instanceTypeSet><item>"           \
    "<instanceType>m5.large</instanceType><bareMetal>false</bareMetal><hypervisor>n"           \
    "itro</hypervisor><vCpuInfo><defaultVCpus>2</defaultVCpus></vCpuInfo><networkIn"           \
    "fo><networkPerformance>Up to 10 Gigabit</networkPerformance></networkInfo></it"           \
    "em><item><instanceType>c5.metal</instanceType><bareMetal>true</bareMetal></ite"           \
    "m></instanceTypeSet></DescribeInstanceTypesResponse>"

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

static void
a_group_gives_one_rule_for_each_peer_it_lets_in(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {{NULL, 200, NULL, GROUPS, .how = 0}};
    static const char *const ids[] = {"sg-1", "sg-3"};
    struct tb_ec2_groups list;

    http_peer_script(peer, steps, 1);
    assert_int_equal(tb_ec2_groups_by_id(aws, ids, 2, &list, NULL), TB_OK);
    assert_string_equal(http_peer_body(peer, 0),
                        "Action=DescribeSecurityGroups&Version=2016-11-15"
                        "&GroupId.1=sg-1&GroupId.2=sg-3");
    assert_int_equal(list.count, 2);
    assert_int_equal(list.at[1].rule_count, 0);
    assert_int_equal(list.at[0].rule_count, 7);
    assert_string_equal(list.at[0].rules[0].cidr, "10.0.0.0/8");
    assert_true(list.at[0].rules[0].has_ports);
    assert_int_equal(list.at[0].rules[0].from_port, 4789);
    assert_int_equal(list.at[0].rules[0].to_port, 4790);
    assert_string_equal(list.at[0].rules[1].cidr, "192.0.2.0/24");
    assert_string_equal(list.at[0].rules[2].cidr, "::/0");
    assert_string_equal(list.at[0].rules[3].group, "sg-2");
    assert_string_equal(list.at[0].rules[4].prefix_list, "pl-1");
    assert_string_equal(list.at[0].rules[5].protocol, "-1");
    assert_false(list.at[0].rules[5].has_ports);
    assert_string_equal(list.at[0].rules[6].protocol, "icmp");
    assert_false(list.at[0].rules[6].has_ports);
    tb_ec2_groups_release(&list);
}

static void
a_route_table_gives_its_routes_and_subnets(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {{NULL, 200, NULL, ROUTES, .how = 0}};
    struct tb_ec2_route_tables list;

    http_peer_script(peer, steps, 1);
    assert_int_equal(tb_ec2_route_tables_of_vpc(aws, "vpc-1", &list, NULL), TB_OK);
    assert_string_equal(http_peer_body(peer, 0),
                        "Action=DescribeRouteTables&Version=2016-11-15&Filter.1.Name=vpc-id"
                        "&Filter.1.Value.1=vpc-1&MaxResults=100");
    assert_int_equal(list.count, 2);
    assert_true(list.at[0].main);
    assert_int_equal(list.at[0].subnet_count, 0);
    assert_int_equal(list.at[0].route_count, 3);
    assert_string_equal(list.at[0].routes[0].via, "local");
    assert_true(list.at[0].routes[0].active);
    assert_string_equal(list.at[0].routes[1].via, "pcx-1");
    assert_false(list.at[0].routes[1].active);
    assert_string_equal(list.at[0].routes[2].cidr, "");
    assert_false(list.at[1].main);
    assert_int_equal(list.at[1].subnet_count, 2);
    assert_string_equal(list.at[1].subnets[1], "subnet-2");
    tb_ec2_route_tables_release(&list);
}

static void
an_instance_type_tells_what_it_runs_on(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {{NULL, 200, NULL, TYPES, .how = 0}};
    static const char *const names[] = {"m5.*"};
    struct tb_ec2_types list;

    http_peer_script(peer, steps, 1);
    assert_int_equal(tb_ec2_types_list(aws, names, 1, &list, NULL), TB_OK);
    assert_string_equal(http_peer_body(peer, 0),
                        "Action=DescribeInstanceTypes&Version=2016-11-15"
                        "&Filter.1.Name=instance-type&Filter.1.Value.1=m5.%2A&MaxResults=100");
    assert_int_equal(list.count, 2);
    assert_string_equal(list.at[0].hypervisor, "nitro");
    assert_string_equal(list.at[0].network, "Up to 10 Gigabit");
    assert_int_equal(list.at[0].vcpus, 2);
    assert_true(list.at[1].bare_metal);
    tb_ec2_types_release(&list);
}

#define TWO                                                                                    \
    "<DescribeInstancesResponse><reservationSet><item><reservationId>r-1</reservationId>"      \
    "<ownerId>1</ownerId><instancesSet><item><instanceId>i-1</instanceId></item><item>"        \
    "<instanceId>i-2</instanceId></item></instancesSet></item><item><reservationId>r-2"        \
    "</reservationId><instancesSet><item><instanceId>i-3</instanceId></item></instancesSet>"   \
    "</item></reservationSet></DescribeInstancesResponse>"

static void
instances_that_were_started_together_are_all_told(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {{NULL, 200, NULL, TWO, .how = 0}};
    static const char *const enis[] = {"eni-1", "eni-2"};
    struct tb_ec2_instances list;

    http_peer_script(peer, steps, 1);
    assert_int_equal(tb_ec2_instances_of_interfaces(aws, enis, 2, &list, NULL), TB_OK);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.at[1].instance, "i-2");
    assert_string_equal(list.at[1].owner, "1");
    assert_string_equal(list.at[2].instance, "i-3");
    tb_ec2_instances_release(&list);
}

#define ANSWER(code)                                                                           \
    "<Response><Errors><Error><Code>" code "</Code><Message>m</Message></Error></Errors>"      \
    "<RequestID>r</RequestID></Response>"

static void
a_dry_run_makes_nothing_and_tells_what_would_be(void **state TB_UNUSED)
{
    static const struct {
        int status;
        const char *body;
        enum tb_err err;
    } cases[] = {
        {412, ANSWER("DryRunOperation"), TB_OK},
        {403, ANSWER("UnauthorizedOperation"), TB_EDENIED},
        {400, ANSWER("TrafficMirrorSessionsPerInterfaceLimitExceeded"), TB_EFULL},
        {400, ANSWER("NetworkInterfaceNotSupported"), TB_EINVAL},
        {200,
         "<CreateTrafficMirrorSessionResponse><trafficMirrorSession><trafficMirrorSessionId>"
         "tms-1</trafficMirrorSessionId></trafficMirrorSession>"
         "</CreateTrafficMirrorSessionResponse>",
         TB_EFORMAT},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_peer_step step = {NULL, cases[i].status, NULL, cases[i].body,
                                      .always = true};

        http_peer_script(peer, &step, 1);
        assert_int_equal(
            tb_ec2_create_dry_run(aws, TB_EC2_SESSION, tb_bytes_str("Action=X"), NULL),
            cases[i].err);
        assert_int_equal(http_peer_count(peer), 1);
        assert_string_equal(http_peer_body(peer, 0), "Action=X&DryRun=true");
        http_peer_script(peer, NULL, 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_gives_one_rule_for_each_peer_it_lets_in),
        cmocka_unit_test(a_route_table_gives_its_routes_and_subnets),
        cmocka_unit_test(an_instance_type_tells_what_it_runs_on),
        cmocka_unit_test(instances_that_were_started_together_are_all_told),
        cmocka_unit_test(a_dry_run_makes_nothing_and_tells_what_would_be),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
