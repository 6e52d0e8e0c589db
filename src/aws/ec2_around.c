/*
 * What lies around an interface: what its security groups let in, where its subnet's routes
 * lead, what its instance's type is.  Asked only when a capture is planned, not when it is
 * made.
 */
#include "aws_int.h"

#include <stdlib.h>

enum {
    MAX_RULES = 10000, /* of one group; EC2 allows 1,000 of groups and rules together */
    MAX_ROUTES = 10000
};

/* --- security groups --- */

/* What a permission may let in, each a list of its own. */
static const struct {
    const char *list, *text;
    size_t offset, cap;
} peers[] = {
    {"ipRanges", "cidrIp", offsetof(struct tb_ec2_group_rule, cidr), 64},
    {"ipv6Ranges", "cidrIpv6", offsetof(struct tb_ec2_group_rule, cidr), 64},
    {"groups", "groupId", offsetof(struct tb_ec2_group_rule, group), TB_AWS_ID_SIZE},
    {"prefixListIds", "prefixListId", offsetof(struct tb_ec2_group_rule, prefix_list),
     TB_AWS_ID_SIZE},
};
enum {
    PEERS = sizeof(peers) / sizeof(peers[0])
};

static size_t
count_rules(const struct tb_xml_node *permission)
{
    size_t count = 0;

    for (size_t i = 0; i < PEERS; i++) {
        count += tb_xml_count(permission, peers[i].list, "item");
    }
    return count;
}

/* Rules of one permission, behind those that are there. */
static enum tb_err
read_permission(const struct tb_xml_node *permission, struct tb_ec2_group *group,
                struct tb_fail *fail)
{
    struct tb_ec2_group_rule common = {.protocol = ""};
    enum tb_err err =
        tb_xml_copy(permission, "ipProtocol", common.protocol, sizeof(common.protocol), fail);

    common.has_ports = tb_xml_at(permission, "fromPort") != NULL;
    /* (-1 stands for all types of ICMP, which have no ports) */
    if (common.has_ports && tb_xml_text(permission, "fromPort") != NULL &&
        tb_xml_text(permission, "fromPort")[0] == '-') {
        common.has_ports = false;
    }
    if (err == TB_OK && common.has_ports) {
        err = tb_xml_number(permission, "fromPort", UINT16_MAX, &common.from_port, fail);
    }
    if (err == TB_OK && common.has_ports) {
        err = tb_xml_number(permission, "toPort", UINT16_MAX, &common.to_port, fail);
    }
    for (size_t i = 0; i < PEERS && err == TB_OK; i++) {
        const struct tb_xml_node *node =
            tb_xml_at(tb_xml_at(permission, peers[i].list), "item");

        for (; node != NULL && err == TB_OK; node = tb_xml_next(node)) {
            struct tb_ec2_group_rule *rule = &group->rules[group->rule_count++];

            *rule = common;
            err = tb_xml_copy(node, peers[i].text, (char *)rule + peers[i].offset, peers[i].cap,
                              fail);
        }
    }
    return err;
}

static enum tb_err
read_group(const struct tb_xml_node *item, void *record, struct tb_fail *fail)
{
    struct tb_ec2_group *group = record;
    const struct tb_xml_node *first = tb_xml_at(item, "ipPermissions/item");
    const struct tb_ec2_field fields[] = {TB_EC2_FIELD("groupId", group->id),
                                          TB_EC2_FIELD("vpcId", group->vpc)};
    size_t count = 0;
    enum tb_err err = TB_EC2_READ_FIELDS(item, fields, fail);

    for (const struct tb_xml_node *node = first; node != NULL; node = tb_xml_next(node)) {
        count += count_rules(node);
    }
    if (err != TB_OK || count == 0) {
        return err;
    }
    if (count > MAX_RULES) {
        return tb_fail_set(fail, TB_EFORMAT, "%zu rules in one group", count);
    }
    group->rules = calloc(count, sizeof(*group->rules));
    if (group->rules == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "rules of a security group");
    }
    for (const struct tb_xml_node *node = first; node != NULL && err == TB_OK;
         node = tb_xml_next(node)) {
        err = read_permission(node, group, fail);
    }
    return err;
}

static void
release_group(void *record)
{
    free(((struct tb_ec2_group *)record)->rules);
}

static const struct tb_ec2_listing groups = {"DescribeSecurityGroups",
                                             "securityGroupInfo/item",
                                             sizeof(struct tb_ec2_group),
                                             1000,
                                             read_group,
                                             release_group};

enum tb_err
tb_ec2_groups_by_id(struct tb_aws *aws, const char *const *ids, size_t count,
                    struct tb_ec2_groups *out, struct tb_fail *fail)
{
    struct tb_ec2_query query = {"GroupId", NULL, ids, count};
    struct tb_ec2_list list;
    enum tb_err err = tb_ec2_list_all(aws, &groups, &query, &list, fail);

    if (err == TB_OK) {
        *out = (struct tb_ec2_groups){(void *)list.at, list.count};
    }
    return err;
}

void
tb_ec2_groups_release(struct tb_ec2_groups *list)
{
    for (size_t i = 0; i < list->count; i++) {
        release_group(&list->at[i]);
    }
    free(list->at);
    *list = (struct tb_ec2_groups){NULL, 0};
}

/* --- routes --- */

static enum tb_err
read_route(const struct tb_xml_node *node, struct tb_ec2_route *route, struct tb_fail *fail)
{
    static const char *const ways[] = {"gatewayId",          "natGatewayId",
                                       "transitGatewayId",   "vpcPeeringConnectionId",
                                       "networkInterfaceId", "localGatewayId"};
    const char *state = tb_xml_text(node, "state");
    enum tb_err err =
        tb_xml_copy(node, "destinationCidrBlock", route->cidr, sizeof(route->cidr), fail);

    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]) && err == TB_OK; i++) {
        if (route->via[0] == '\0') {
            err = tb_xml_copy(node, ways[i], route->via, sizeof(route->via), fail);
        }
    }
    route->active = state == NULL || strcmp(state, "blackhole") != 0;
    return err;
}

static enum tb_err
read_routes(const struct tb_xml_node *item, struct tb_ec2_route_table *table,
            struct tb_fail *fail)
{
    const struct tb_xml_node *node = tb_xml_at(item, "routeSet/item");
    size_t count = tb_xml_count(item, "routeSet", "item");
    enum tb_err err = TB_OK;

    if (count > MAX_ROUTES) {
        return tb_fail_set(fail, TB_EFORMAT, "%zu routes in one table", count);
    }
    table->routes = calloc(count > 0 ? count : 1, sizeof(*table->routes));
    if (table->routes == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "routes");
    }
    for (; node != NULL && err == TB_OK; node = tb_xml_next(node)) {
        err = read_route(node, &table->routes[table->route_count++], fail);
    }
    return err;
}

static enum tb_err
read_associations(const struct tb_xml_node *item, struct tb_ec2_route_table *table,
                  struct tb_fail *fail)
{
    const struct tb_xml_node *node = tb_xml_at(item, "associationSet/item");
    size_t count = tb_xml_count(item, "associationSet", "item");
    enum tb_err err = TB_OK;

    if (count > MAX_ROUTES) {
        return tb_fail_set(fail, TB_EFORMAT, "%zu subnets use one table", count);
    }
    table->subnets = calloc(count > 0 ? count : 1, sizeof(*table->subnets));
    if (table->subnets == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "subnets of a route table");
    }
    for (; node != NULL && err == TB_OK; node = tb_xml_next(node)) {
        if (tb_xml_true(node, "main")) {
            table->main = true;
        } else {
            err = tb_xml_copy(node, "subnetId", table->subnets[table->subnet_count++],
                              TB_AWS_ID_SIZE, fail);
        }
    }
    return err;
}

static enum tb_err
read_route_table(const struct tb_xml_node *item, void *record, struct tb_fail *fail)
{
    struct tb_ec2_route_table *table = record;
    const struct tb_ec2_field fields[] = {TB_EC2_FIELD("routeTableId", table->id)};
    enum tb_err err = TB_EC2_READ_FIELDS(item, fields, fail);

    if (err == TB_OK) {
        err = read_routes(item, table, fail);
    }
    return err != TB_OK ? err : read_associations(item, table, fail);
}

static void
release_route_table(void *record)
{
    struct tb_ec2_route_table *table = record;

    free(table->routes);
    free(table->subnets);
}

static const struct tb_ec2_listing route_tables = {
    "DescribeRouteTables", "routeTableSet/item", sizeof(struct tb_ec2_route_table), 100,
    read_route_table,      release_route_table};

enum tb_err
tb_ec2_route_tables_of_vpc(struct tb_aws *aws, const char *vpc, struct tb_ec2_route_tables *out,
                           struct tb_fail *fail)
{
    struct tb_ec2_query query = {NULL, "vpc-id", &vpc, 1};
    struct tb_ec2_list list;
    enum tb_err err = tb_ec2_list_all(aws, &route_tables, &query, &list, fail);

    if (err == TB_OK) {
        *out = (struct tb_ec2_route_tables){(void *)list.at, list.count};
    }
    return err;
}

void
tb_ec2_route_tables_release(struct tb_ec2_route_tables *list)
{
    for (size_t i = 0; i < list->count; i++) {
        release_route_table(&list->at[i]);
    }
    free(list->at);
    *list = (struct tb_ec2_route_tables){NULL, 0};
}

/* --- instance types --- */

static enum tb_err
read_type(const struct tb_xml_node *item, void *record, struct tb_fail *fail)
{
    struct tb_ec2_type *type = record;
    const struct tb_ec2_field fields[] = {
        TB_EC2_FIELD("instanceType", type->name),
        TB_EC2_FIELD("hypervisor", type->hypervisor),
        TB_EC2_FIELD("networkInfo/networkPerformance", type->network),
    };
    enum tb_err err = TB_EC2_READ_FIELDS(item, fields, fail);

    type->bare_metal = tb_xml_true(item, "bareMetal");
    return err != TB_OK
               ? err
               : tb_xml_number(item, "vCpuInfo/defaultVCpus", 65536, &type->vcpus, fail);
}

static void
release_type(void *record TB_UNUSED)
{
}

static const struct tb_ec2_listing types = {"DescribeInstanceTypes",
                                            "instanceTypeSet/item",
                                            sizeof(struct tb_ec2_type),
                                            100,
                                            read_type,
                                            release_type};

enum tb_err
tb_ec2_types_list(struct tb_aws *aws, const char *const *names, size_t count,
                  struct tb_ec2_types *out, struct tb_fail *fail)
{
    struct tb_ec2_query query = {NULL, "instance-type", names, count};
    struct tb_ec2_list list;
    enum tb_err err = tb_ec2_list_all(aws, &types, &query, &list, fail);

    if (err == TB_OK) {
        *out = (struct tb_ec2_types){(void *)list.at, list.count};
    }
    return err;
}

void
tb_ec2_types_release(struct tb_ec2_types *list)
{
    free(list->at);
    *list = (struct tb_ec2_types){NULL, 0};
}

const struct tb_ec2_listing *const tb_ec2_around[TB_EC2_AROUND] = {&groups, &route_tables,
                                                                   &types};
