/* DescribeInstances.  One reservation an instance. */
#include "net.h"

#include <stdio.h>
#include <string.h>

static int
state_code(const char *name)
{
    static const struct {
        const char *name;
        int code;
    } states[] = {{"pending", 0},     {"running", 16},  {"shutting-down", 32},
                  {"terminated", 48}, {"stopping", 64}, {"stopped", 80}};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        if (strcmp(states[i].name, name) == 0) {
            return states[i].code;
        }
    }
    return 16;
}

/* The interface with device index 0; NULL when there is none. */
static const struct eni *
primary(const struct instance *i)
{
    for (size_t n = 0; n < i->nenis; n++) {
        if (i->enis[n]->device_index == 0) {
            return i->enis[n];
        }
    }
    return NULL;
}

static void
interface_xml(struct str *x, const struct eni *e)
{
    xml_open(x, "item");
    xml_text(x, "networkInterfaceId", e->o.id);
    xml_text(x, "subnetId", e->subnet->o.id);
    xml_text(x, "vpcId", e->subnet->vpc->o.id);
    xml_text(x, "description", e->description);
    xml_text(x, "ownerId", e->o.owner->id);
    xml_text(x, "status", "in-use");
    xml_text(x, "macAddress", e->mac_text);
    eni_v4_xml(x, e);
    xml_bool(x, "sourceDestCheck", true);
    groups_xml(x, e);
    attachment_xml(x, e, false);
    association_xml(x, e);
    addresses_xml(x, e);
    xml_text(x, "interfaceType", e->type);
    xml_close(x, "item");
}

static void
instance_xml(struct str *x, const struct obj *o)
{
    const struct instance *i = (const struct instance *)o;
    const struct eni *e = primary(i);
    const char *role = i->role[0] != '\0' ? i->role : o->owner->role;
    str_addf(x, "<reservationId>r-%s</reservationId>", o->id + 2);
    xml_text(x, "ownerId", o->owner->id);
    xml_empty(x, "groupSet");
    xml_open(x, "instancesSet");
    xml_open(x, "item");
    xml_text(x, "instanceId", o->id);
    xml_text(x, "imageId", i->image);
    xml_open(x, "instanceState");
    xml_int(x, "code", state_code(i->state));
    xml_text(x, "name", i->state);
    xml_close(x, "instanceState");
    xml_empty(x, "reason");
    xml_text(x, "instanceType", i->type);
    xml_text(x, "launchTime", i->launch_time);
    xml_open(x, "placement");
    xml_text(x, "availabilityZone", i->subnet->az);
    xml_empty(x, "groupName");
    xml_text(x, "tenancy", "default");
    xml_close(x, "placement");
    xml_open(x, "monitoring");
    xml_text(x, "state", "disabled");
    xml_close(x, "monitoring");
    xml_text(x, "subnetId", i->subnet->o.id);
    xml_text(x, "vpcId", i->subnet->vpc->o.id);
    if (e != NULL) {
        eni_v4_xml(x, e);
        xml_opt(x, "ipAddress", e->public_ip);
        groups_xml(x, e);
    }
    xml_text(x, "architecture", "x86_64");
    xml_text(x, "rootDeviceType", "ebs");
    xml_text(x, "rootDeviceName", "/dev/xvda");
    xml_text(x, "virtualizationType", "hvm");
    xml_text(x, "hypervisor", "xen");
    xml_bool(x, "enaSupport", true);
    xml_bool(x, "ebsOptimized", false);
    xml_bool(x, "sourceDestCheck", true);
    if (role[0] != '\0') {
        xml_open(x, "iamInstanceProfile");
        str_addf(x, "<arn>arn:aws:iam::%s:instance-profile/", o->owner->id);
        xml_escape(x, role);
        str_add(x, "</arn>");
        xml_text(x, "id", "AIPALABLABLABLABLAB01");
        xml_close(x, "iamInstanceProfile");
    }
    xml_open(x, "networkInterfaceSet");
    for (size_t n = 0; n < i->nenis; n++) {
        interface_xml(x, i->enis[n]);
    }
    xml_close(x, "networkInterfaceSet");
    xml_open(x, "metadataOptions");
    xml_text(x, "state", "applied");
    xml_text(x, "httpTokens", "required");
    xml_int(x, "httpPutResponseHopLimit", 1);
    xml_text(x, "httpEndpoint", "enabled");
    xml_close(x, "metadataOptions");
    tags_xml(x, o);
    xml_close(x, "item");
    xml_close(x, "instancesSet");
}

static void
instance_values(const struct obj *o, const char *filter, struct values *out)
{
    const struct instance *i = (const struct instance *)o;
    const struct eni *e = primary(i);
    if (strncmp(filter, "network-interface.", 18) == 0) {
        for (size_t n = 0; n < i->nenis; n++) {
            eni_values(i->enis[n], filter + 18, out);
        }
    } else if (strcmp(filter, "instance-id") == 0) {
        value_add(out, o->id);
    } else if (strcmp(filter, "instance-state-name") == 0) {
        value_add(out, i->state);
    } else if (strcmp(filter, "instance-state-code") == 0) {
        value_int(out, state_code(i->state));
    } else if (strcmp(filter, "instance-type") == 0) {
        value_add(out, i->type);
    } else if (strcmp(filter, "image-id") == 0) {
        value_add(out, i->image);
    } else if (strcmp(filter, "launch-time") == 0) {
        value_add(out, i->launch_time);
    } else if (strcmp(filter, "availability-zone") == 0) {
        value_add(out, i->subnet->az);
    } else if (strcmp(filter, "vpc-id") == 0) {
        value_add(out, i->subnet->vpc->o.id);
    } else if (strcmp(filter, "subnet-id") == 0) {
        value_add(out, i->subnet->o.id);
    } else if (strcmp(filter, "owner-id") == 0) {
        value_add(out, o->owner->id);
    } else if (strcmp(filter, "private-ip-address") == 0) {
        if (e != NULL && e->nv4 > 0) {
            value_ip(out, &e->v4[0]);
        }
    } else if (strcmp(filter, "ip-address") == 0) {
        value_add(out, e == NULL || e->public_ip[0] == '\0' ? NULL : e->public_ip);
    } else if (e != NULL) { /* instance.group-id, instance.group-name */
        eni_values(e, filter + strlen("instance."), out);
    }
}

static bool
describe_instances(struct call *c)
{
    static const char *const names[] = {"availability-zone",
                                        "image-id",
                                        "instance-id",
                                        "instance-state-code",
                                        "instance-state-name",
                                        "instance-type",
                                        "instance.group-id",
                                        "instance.group-name",
                                        "ip-address",
                                        "launch-time",
                                        "network-interface.addresses.primary",
                                        "network-interface.addresses.private-ip-address",
                                        "network-interface.attachment.attachment-id",
                                        "network-interface.attachment.delete-on-termination",
                                        "network-interface.attachment.device-index",
                                        "network-interface.attachment.instance-id",
                                        "network-interface.attachment.status",
                                        "network-interface.availability-zone",
                                        "network-interface.description",
                                        "network-interface.group-id",
                                        "network-interface.group-name",
                                        "network-interface.ipv6-addresses.ipv6-address",
                                        "network-interface.mac-address",
                                        "network-interface.network-interface-id",
                                        "network-interface.owner-id",
                                        "network-interface.requester-id",
                                        "network-interface.requester-managed",
                                        "network-interface.status",
                                        "network-interface.subnet-id",
                                        "network-interface.vpc-id",
                                        "owner-id",
                                        "private-ip-address",
                                        "subnet-id",
                                        "vpc-id",
                                        NULL};
    static const struct describe d = {.kind = K_INSTANCE,
                                      .set = "reservationSet",
                                      .ids = "InstanceId.#",
                                      .filters = names,
                                      .tag_filters = true,
                                      .values = instance_values,
                                      .xml = instance_xml,
                                      .page_max = 1000};
    return describe(c, &d);
}

static const struct param describe_params[] = {
    {.path = "InstanceId.#", .type = P_ID, .kind = K_INSTANCE},
    DESCRIBE_PARAMS,
    MAX_RESULTS(1000),
    {.path = "IncludeManagedResources", .type = P_BOOL},
    {.path = NULL}};

const struct action ec2_instance_actions[] = {
    {"DescribeInstances", SERVICE_EC2, describe_params, describe_instances, false},
    {NULL, SERVICE_EC2, NULL, NULL, false}};
