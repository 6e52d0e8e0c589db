/* DescribeNetworkInterfaces. */
#include "net.h"

#include <stdio.h>
#include <string.h>

#include "describe.h"
#include "mirror.h"

void
groups_xml(struct str *x, const struct eni *e)
{
    xml_open(x, "groupSet");
    for (size_t i = 0; i < e->ngroups; i++) {
        xml_open(x, "item");
        xml_text(x, "groupId", e->groups[i]->o.id);
        xml_text(x, "groupName", e->groups[i]->name);
        xml_close(x, "item");
    }
    xml_close(x, "groupSet");
}

void
association_xml(struct str *x, const struct eni *e)
{
    if (e->public_ip[0] != '\0') {
        xml_open(x, "association");
        xml_text(x, "ipOwnerId", "amazon");
        xml_text(x, "publicIp", e->public_ip);
        xml_close(x, "association");
    }
}

static void
private_dns_name(const struct ip *ip, char out[128])
{
    snprintf(out, 128, "ip-%u-%u-%u-%u.ec2.internal", ip->b[0], ip->b[1], ip->b[2], ip->b[3]);
}

/* The first address, of those that have one. */
void
eni_v4_xml(struct str *x, const struct eni *e)
{
    char text[IP_TEXT_MAX], name[128];

    if (e->nv4 > 0) {
        private_dns_name(&e->v4[0], name);
        xml_text(x, "privateIpAddress", ip_text(&e->v4[0], text));
        xml_text(x, "privateDnsName", name);
    }
}

void
addresses_xml(struct str *x, const struct eni *e)
{
    char text[IP_TEXT_MAX];
    char name[128];
    xml_open(x, "privateIpAddressesSet");
    for (size_t i = 0; i < e->nv4; i++) {
        private_dns_name(&e->v4[i], name);
        xml_open(x, "item");
        xml_text(x, "privateIpAddress", ip_text(&e->v4[i], text));
        xml_text(x, "privateDnsName", name);
        xml_bool(x, "primary", i == 0);
        if (i == 0) {
            association_xml(x, e);
        }
        xml_close(x, "item");
    }
    xml_close(x, "privateIpAddressesSet");
    xml_open(x, "ipv6AddressesSet");
    for (size_t i = 0; i < e->nv6; i++) {
        xml_open(x, "item");
        xml_text(x, "ipv6Address", ip_text(&e->v6[i], text));
        xml_close(x, "item");
    }
    xml_close(x, "ipv6AddressesSet");
}

void
attachment_xml(struct str *x, const struct eni *e, bool with_instance)
{
    if (e->instance == NULL) {
        return;
    }
    xml_open(x, "attachment");
    xml_text(x, "attachmentId", e->attachment_id);
    if (with_instance) {
        xml_text(x, "instanceId", e->instance->o.id);
        xml_text(x, "instanceOwnerId", e->instance->o.owner->id);
    }
    xml_int(x, "deviceIndex", e->device_index);
    xml_int(x, "networkCardIndex", 0);
    xml_text(x, "status", "attached");
    xml_text(x, "attachTime", e->instance->launch_time);
    xml_bool(x, "deleteOnTermination", e->device_index == 0);
    xml_close(x, "attachment");
}

/* RDS's and ElastiCache's are in use on instances that their owner does not see. */
static const char *
eni_status(const struct eni *e)
{
    return e->instance == NULL && !eni_is_of_service(e) ? "available" : "in-use";
}

static void
eni_xml(struct str *x, const struct obj *o)
{
    const struct eni *e = (const struct eni *)o;
    xml_text(x, "networkInterfaceId", o->id);
    xml_text(x, "subnetId", e->subnet->o.id);
    xml_text(x, "vpcId", e->subnet->vpc->o.id);
    xml_text(x, "availabilityZone", e->subnet->az);
    xml_text(x, "description", e->description);
    xml_text(x, "ownerId", o->owner->id);
    xml_opt(x, "requesterId", e->requester_id);
    xml_bool(x, "requesterManaged", e->requester_managed);
    xml_text(x, "status", eni_status(e));
    xml_text(x, "macAddress", e->mac_text);
    eni_v4_xml(x, e);
    xml_bool(x, "sourceDestCheck", true);
    groups_xml(x, e);
    attachment_xml(x, e, true);
    association_xml(x, e);
    addresses_xml(x, e);
    xml_text(x, "interfaceType", e->type);
    tags_xml(x, o);
}

bool
eni_values(const struct eni *e, const char *filter, struct values *out)
{
    const struct instance *i = e->instance;
    if (strcmp(filter, "network-interface-id") == 0) {
        value_add(out, e->o.id);
    } else if (strcmp(filter, "addresses.private-ip-address") == 0) {
        for (size_t n = 0; n < e->nv4; n++) {
            value_ip(out, &e->v4[n]);
        }
    } else if (strcmp(filter, "private-ip-address") == 0) {
        for (size_t n = 0; n < e->nv4; n++) {
            value_ip(out, &e->v4[n]);
        }
    } else if (strcmp(filter, "addresses.primary") == 0) {
        for (size_t n = 0; n < e->nv4; n++) {
            value_bool(out, n == 0);
        }
    } else if (strcmp(filter, "ipv6-addresses.ipv6-address") == 0) {
        for (size_t n = 0; n < e->nv6; n++) {
            value_ip(out, &e->v6[n]);
        }
    } else if (strcmp(filter, "association.public-ip") == 0 ||
               strcmp(filter, "addresses.association.public-ip") == 0) {
        value_add(out, e->public_ip[0] == '\0' ? NULL : e->public_ip);
    } else if (strcmp(filter, "attachment.instance-id") == 0) {
        value_add(out, i == NULL ? NULL : i->o.id);
    } else if (strcmp(filter, "attachment.instance-owner-id") == 0) {
        value_add(out, i == NULL ? NULL : i->o.owner->id);
    } else if (strcmp(filter, "attachment.attachment-id") == 0) {
        value_add(out, i == NULL ? NULL : e->attachment_id);
    } else if (strcmp(filter, "attachment.status") == 0) {
        value_add(out, i == NULL ? NULL : "attached");
    } else if (strcmp(filter, "attachment.device-index") == 0) {
        if (i != NULL) {
            value_int(out, e->device_index);
        }
    } else if (strcmp(filter, "attachment.delete-on-termination") == 0) {
        if (i != NULL) {
            value_bool(out, e->device_index == 0);
        }
    } else if (strcmp(filter, "group-id") == 0 || strcmp(filter, "group-name") == 0) {
        for (size_t n = 0; n < e->ngroups; n++) {
            value_add(out, filter[6] == 'i' ? e->groups[n]->o.id : e->groups[n]->name);
        }
    } else if (strcmp(filter, "availability-zone") == 0) {
        value_add(out, e->subnet->az);
    } else if (strcmp(filter, "description") == 0) {
        value_add(out, e->description);
    } else if (strcmp(filter, "interface-type") == 0) {
        value_add(out, e->type);
    } else if (strcmp(filter, "mac-address") == 0) {
        value_add(out, e->mac_text);
    } else if (strcmp(filter, "owner-id") == 0) {
        value_add(out, e->o.owner->id);
    } else if (strcmp(filter, "requester-id") == 0) {
        value_add(out, e->requester_id[0] == '\0' ? NULL : e->requester_id);
    } else if (strcmp(filter, "requester-managed") == 0) {
        value_bool(out, e->requester_managed);
    } else if (strcmp(filter, "source-dest-check") == 0) {
        value_bool(out, true);
    } else if (strcmp(filter, "status") == 0) {
        value_add(out, eni_status(e));
    } else if (strcmp(filter, "subnet-id") == 0) {
        value_add(out, e->subnet->o.id);
    } else if (strcmp(filter, "vpc-id") == 0) {
        value_add(out, e->subnet->vpc->o.id);
    } else {
        return false;
    }
    return true;
}

static void
values(const struct obj *o, const char *filter, struct values *out)
{
    eni_values((const struct eni *)o, filter, out);
}

static bool
describe_enis(struct call *c)
{
    static const char *const names[] = {"addresses.association.public-ip",
                                        "addresses.primary",
                                        "addresses.private-ip-address",
                                        "association.public-ip",
                                        "attachment.attachment-id",
                                        "attachment.delete-on-termination",
                                        "attachment.device-index",
                                        "attachment.instance-id",
                                        "attachment.instance-owner-id",
                                        "attachment.status",
                                        "availability-zone",
                                        "description",
                                        "group-id",
                                        "group-name",
                                        "interface-type",
                                        "ipv6-addresses.ipv6-address",
                                        "mac-address",
                                        "network-interface-id",
                                        "owner-id",
                                        "private-ip-address",
                                        "requester-id",
                                        "requester-managed",
                                        "source-dest-check",
                                        "status",
                                        "subnet-id",
                                        "vpc-id",
                                        NULL};
    static const struct describe d = {.kind = K_ENI,
                                      .set = "networkInterfaceSet",
                                      .ids = "NetworkInterfaceId.#",
                                      .filters = names,
                                      .tag_filters = true,
                                      .values = values,
                                      .xml = eni_xml,
                                      .page_max = 1000};
    return describe(c, &d);
}

static const struct param describe_params[] = {
    {.path = "NetworkInterfaceId.#", .type = P_ID, .kind = K_ENI},
    DESCRIBE_PARAMS,
    MAX_RESULTS(1000),
    {.path = "IncludeManagedResources", .type = P_BOOL},
    {.path = NULL}};

const struct action ec2_eni_actions[] = {
    {"DescribeNetworkInterfaces", SERVICE_EC2, describe_params, describe_enis, false},
    {NULL, SERVICE_EC2, NULL, NULL, false}};
