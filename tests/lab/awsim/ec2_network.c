/* DescribeSubnets, DescribeRouteTables, DescribeSecurityGroups. */
#include "net.h"

#include <stdio.h>
#include <string.h>

static void
subnet_xml(struct str *x, const struct obj *o)
{
    const struct subnet *s = (const struct subnet *)o;
    char text[IP_TEXT_MAX];
    xml_text(x, "subnetId", o->id);
    xml_text(x, "state", "available");
    xml_text(x, "ownerId", o->owner->id);
    xml_text(x, "vpcId", s->vpc->o.id);
    xml_text(x, "cidrBlock", cidr_text(&s->cidr, text));
    xml_open(x, "ipv6CidrBlockAssociationSet");
    if (s->cidr6.base.family != 0) {
        xml_open(x, "item");
        str_addf(x, "<associationId>subnet-cidr-assoc-%s</associationId>", o->id + 7);
        xml_text(x, "ipv6CidrBlock", cidr_text(&s->cidr6, text));
        str_add(x, "<ipv6CidrBlockState><state>associated</state></ipv6CidrBlockState>");
        xml_close(x, "item");
    }
    xml_close(x, "ipv6CidrBlockAssociationSet");
    xml_int(x, "availableIpAddressCount",
            s->cidr.bits >= 29 ? 3 : (1 << (32 - s->cidr.bits)) - 8);
    xml_text(x, "availabilityZone", s->az);
    xml_bool(x, "defaultForAz", false);
    xml_bool(x, "mapPublicIpOnLaunch", false);
    xml_bool(x, "assignIpv6AddressOnCreation", false);
    tags_xml(x, o);
}

static void
subnet_values(const struct obj *o, const char *filter, struct values *out)
{
    const struct subnet *s = (const struct subnet *)o;
    if (strcmp(filter, "subnet-id") == 0) {
        value_add(out, o->id);
    } else if (strcmp(filter, "vpc-id") == 0) {
        value_add(out, s->vpc->o.id);
    } else if (strcmp(filter, "availability-zone") == 0) {
        value_add(out, s->az);
    } else if (strcmp(filter, "cidr-block") == 0) {
        value_cidr(out, &s->cidr);
    } else if (strcmp(filter, "ipv6-cidr-block-association.ipv6-cidr-block") == 0) {
        value_cidr(out, &s->cidr6);
    } else if (strcmp(filter, "owner-id") == 0) {
        value_add(out, o->owner->id);
    } else {
        value_add(out, "available");
    }
}

static bool
describe_subnets(struct call *c)
{
    static const char *const names[] = {"availability-zone",
                                        "cidr-block",
                                        "ipv6-cidr-block-association.ipv6-cidr-block",
                                        "owner-id",
                                        "state",
                                        "subnet-id",
                                        "vpc-id",
                                        NULL};
    static const struct describe d = {.kind = K_SUBNET,
                                      .set = "subnetSet",
                                      .ids = "SubnetId.#",
                                      .filters = names,
                                      .tag_filters = true,
                                      .values = subnet_values,
                                      .xml = subnet_xml,
                                      .page_max = 1000};
    return describe(c, &d);
}

static const char *
route_element(const char *via)
{
    if (strncmp(via, "nat-", 4) == 0) {
        return "natGatewayId";
    }
    if (strncmp(via, "tgw-", 4) == 0) {
        return "transitGatewayId";
    }
    if (strncmp(via, "pcx-", 4) == 0) {
        return "vpcPeeringConnectionId";
    }
    if (strncmp(via, "eni-", 4) == 0) {
        return "networkInterfaceId";
    }
    return "gatewayId"; /* local, igw-, vpce-, vgw- */
}

static void
association_item(struct str *x, const struct route_table *t, const struct subnet *s)
{
    xml_open(x, "item");
    str_addf(x, "<routeTableAssociationId>rtbassoc-%s</routeTableAssociationId>",
             s == NULL ? t->o.id + 4 : s->o.id + 7);
    xml_text(x, "routeTableId", t->o.id);
    if (s != NULL) {
        xml_text(x, "subnetId", s->o.id);
    }
    xml_bool(x, "main", s == NULL);
    str_add(x, "<associationState><state>associated</state></associationState>");
    xml_close(x, "item");
}

static void
route_item(struct str *x, const struct cidr *to, const char *via)
{
    char text[IP_TEXT_MAX];
    xml_open(x, "item");
    xml_text(x, to->base.family == 4 ? "destinationCidrBlock" : "destinationIpv6CidrBlock",
             cidr_text(to, text));
    xml_text(x, route_element(via), via);
    xml_text(x, "state", "active");
    xml_text(x, "origin", strcmp(via, "local") == 0 ? "CreateRouteTable" : "CreateRoute");
    xml_close(x, "item");
}

static void
route_table_xml(struct str *x, const struct obj *o)
{
    const struct route_table *t = (const struct route_table *)o;
    xml_text(x, "routeTableId", o->id);
    xml_text(x, "vpcId", t->vpc->o.id);
    xml_text(x, "ownerId", o->owner->id);
    xml_open(x, "routeSet");
    route_item(x, &t->vpc->cidr, "local");
    if (t->vpc->cidr6.base.family != 0) {
        route_item(x, &t->vpc->cidr6, "local");
    }
    for (size_t i = 0; i < t->nroutes; i++) {
        route_item(x, &t->routes[i].to, t->routes[i].via);
    }
    xml_close(x, "routeSet");
    xml_open(x, "associationSet");
    if (t->main) {
        association_item(x, t, NULL);
    }
    for (size_t i = 0; i < t->nsubnets; i++) {
        association_item(x, t, t->subnets[i]);
    }
    xml_close(x, "associationSet");
    xml_empty(x, "propagatingVgwSet");
    tags_xml(x, o);
}

static void
route_table_values(const struct obj *o, const char *filter, struct values *out)
{
    const struct route_table *t = (const struct route_table *)o;
    if (strcmp(filter, "route-table-id") == 0 ||
        strcmp(filter, "association.route-table-id") == 0) {
        value_add(out, o->id);
    } else if (strcmp(filter, "vpc-id") == 0) {
        value_add(out, t->vpc->o.id);
    } else if (strcmp(filter, "owner-id") == 0) {
        value_add(out, o->owner->id);
    } else if (strcmp(filter, "association.subnet-id") == 0) {
        for (size_t i = 0; i < t->nsubnets; i++) {
            value_add(out, t->subnets[i]->o.id);
        }
    } else if (strcmp(filter, "association.main") == 0) {
        value_bool(out, t->main);
    } else if (strcmp(filter, "route.state") == 0) {
        value_add(out, "active");
    } else {
        for (size_t i = 0; i < t->nroutes; i++) {
            if (strcmp(filter, "route.destination-cidr-block") == 0) {
                value_cidr(out, &t->routes[i].to);
            } else {
                value_add(out, t->routes[i].via);
            }
        }
    }
}

static bool
describe_route_tables(struct call *c)
{
    static const char *const names[] = {"association.main",
                                        "association.route-table-id",
                                        "association.subnet-id",
                                        "owner-id",
                                        "route-table-id",
                                        "route.destination-cidr-block",
                                        "route.gateway-id",
                                        "route.state",
                                        "vpc-id",
                                        NULL};
    static const struct describe d = {.kind = K_ROUTE_TABLE,
                                      .set = "routeTableSet",
                                      .ids = "RouteTableId.#",
                                      .filters = names,
                                      .tag_filters = true,
                                      .values = route_table_values,
                                      .xml = route_table_xml,
                                      .page_max = 100};
    return describe(c, &d);
}

static void
permission_xml(struct str *x, const struct group *g, const struct group_rule *r)
{
    char text[IP_TEXT_MAX];
    xml_open(x, "item");
    xml_text(x, "ipProtocol", r->protocol);
    if (r->from_port >= 0) {
        xml_int(x, "fromPort", r->from_port);
        xml_int(x, "toPort", r->to_port);
    }
    xml_open(x, "groups");
    if (r->group[0] != '\0') {
        xml_open(x, "item");
        xml_text(x, "userId", g->o.owner->id);
        xml_text(x, "groupId", r->group);
        xml_opt(x, "description", r->description);
        xml_close(x, "item");
    }
    xml_close(x, "groups");
    for (uint8_t family = 4; family <= 6; family = (uint8_t)(family + 2)) {
        const char *set = family == 4 ? "ipRanges" : "ipv6Ranges";
        xml_open(x, set);
        if (r->cidr.base.family == family) {
            xml_open(x, "item");
            xml_text(x, family == 4 ? "cidrIp" : "cidrIpv6", cidr_text(&r->cidr, text));
            xml_opt(x, "description", r->description);
            xml_close(x, "item");
        }
        xml_close(x, set);
    }
    xml_empty(x, "prefixListIds");
    xml_close(x, "item");
}

static void
group_xml(struct str *x, const struct obj *o)
{
    const struct group *g = (const struct group *)o;
    xml_text(x, "ownerId", o->owner->id);
    xml_text(x, "groupId", o->id);
    xml_text(x, "groupName", g->name);
    xml_text(x, "groupDescription", g->description);
    xml_text(x, "vpcId", g->vpc->o.id);
    for (int egress = 0; egress < 2; egress++) {
        const char *set = egress ? "ipPermissionsEgress" : "ipPermissions";
        xml_open(x, set);
        for (size_t i = 0; i < g->nrules; i++) {
            if (g->rules[i].egress == (bool)egress) {
                permission_xml(x, g, &g->rules[i]);
            }
        }
        xml_close(x, set);
    }
    tags_xml(x, o);
}

static void
group_values(const struct obj *o, const char *filter, struct values *out)
{
    const struct group *g = (const struct group *)o;
    if (strcmp(filter, "group-id") == 0) {
        value_add(out, o->id);
    } else if (strcmp(filter, "group-name") == 0) {
        value_add(out, g->name);
    } else if (strcmp(filter, "vpc-id") == 0) {
        value_add(out, g->vpc->o.id);
    } else if (strcmp(filter, "owner-id") == 0) {
        value_add(out, o->owner->id);
    } else if (strcmp(filter, "description") == 0) {
        value_add(out, g->description);
    } else {
        for (size_t i = 0; i < g->nrules; i++) {
            if (!g->rules[i].egress) {
                value_cidr(out, &g->rules[i].cidr);
            }
        }
    }
}

static bool
describe_groups(struct call *c)
{
    static const char *const names[] = {
        "description", "group-id", "group-name", "ip-permission.cidr",
        "owner-id",    "vpc-id",   NULL};
    static const struct describe d = {.kind = K_GROUP,
                                      .set = "securityGroupInfo",
                                      .ids = "GroupId.#",
                                      .filters = names,
                                      .tag_filters = true,
                                      .values = group_values,
                                      .xml = group_xml,
                                      .page_max = 1000};
    return describe(c, &d);
}

static const struct param subnet_params[] = {
    {.path = "SubnetId.#", .type = P_ID, .kind = K_SUBNET},
    DESCRIBE_PARAMS,
    MAX_RESULTS(1000),
    {.path = NULL}};
static const struct param route_table_params[] = {
    {.path = "RouteTableId.#", .type = P_ID, .kind = K_ROUTE_TABLE},
    DESCRIBE_PARAMS,
    MAX_RESULTS(100),
    {.path = NULL}};
static const struct param group_params[] = {
    {.path = "GroupId.#", .type = P_ID, .kind = K_GROUP},
    DESCRIBE_PARAMS,
    MAX_RESULTS(1000),
    {.path = NULL}};

const struct action ec2_network_actions[] = {
    {"DescribeSubnets", SERVICE_EC2, subnet_params, describe_subnets, false},
    {"DescribeRouteTables", SERVICE_EC2, route_table_params, describe_route_tables, false},
    {"DescribeSecurityGroups", SERVICE_EC2, group_params, describe_groups, false},
    {NULL, SERVICE_EC2, NULL, NULL, false}};
