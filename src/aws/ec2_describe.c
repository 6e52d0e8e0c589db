/*
 * What is described: a fixed record for each item of an answer.  Tags are the one part of a
 * record that owns memory.
 */
#include "aws_int.h"

#include <stdlib.h>

/* --- tags and items --- */

static void
release_tags(struct tb_ec2_tags *tags)
{
    free(tags->at);
    *tags = (struct tb_ec2_tags){NULL, 0};
}

static enum tb_err
read_tags(const struct tb_xml_node *item, struct tb_ec2_tags *out, struct tb_fail *fail)
{
    const struct tb_xml_node *node = tb_xml_at(item, "tagSet/item");
    size_t count = tb_xml_count(item, "tagSet", "item");
    enum tb_err err = TB_OK;

    if (count == 0) {
        return TB_OK;
    }
    if (count > 2 * TB_EC2_MAX_TAGS) { /* AWS's own come on top of the owner's */
        return tb_fail_set(fail, TB_EFORMAT, "%zu tags on one object", count);
    }
    out->at = calloc(count, sizeof(*out->at));
    if (out->at == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "tags");
    }
    /* AWS counts characters, the record octets: a longer one was not written by tapbox, and a
     * cut copy of it harms nobody. */
    for (; node != NULL && err == TB_OK; node = tb_xml_next(node)) {
        struct tb_ec2_tag *tag = &out->at[out->count++];
        const char *key = tb_xml_text(node, "key"), *value = tb_xml_text(node, "value");

        (void)tb_str_copy(tag->key, sizeof(tag->key), key != NULL ? key : "");
        (void)tb_str_copy(tag->value, sizeof(tag->value), value != NULL ? value : "");
    }
    return err;
}

enum tb_err
tb_ec2_read_fields(const struct tb_xml_node *item, const struct tb_ec2_field *fields,
                   size_t count, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < count && err == TB_OK; i++) {
        err = tb_xml_copy(item, fields[i].path, fields[i].at, fields[i].cap, fail);
    }
    /* The first is the id: without it the rest means nothing. */
    if (err == TB_OK && fields[0].at[0] == '\0') {
        err =
            tb_fail_set(fail, TB_EFORMAT, "an item of the answer has no <%s>", fields[0].path);
    }
    return err;
}

/* --- network interfaces --- */

static enum tb_err
read_groups(const struct tb_xml_node *item, struct tb_ec2_interface *eni, struct tb_fail *fail)
{
    const struct tb_xml_node *node = tb_xml_at(item, "groupSet/item");
    enum tb_err err = TB_OK;

    for (; node != NULL && err == TB_OK; node = tb_xml_next(node)) {
        if (eni->group_count == TB_EC2_MAX_GROUPS) {
            return tb_fail_set(fail, TB_EFORMAT, "more than %d groups on one interface",
                               TB_EC2_MAX_GROUPS);
        }
        err =
            tb_xml_copy(node, "groupId", eni->groups[eni->group_count++], TB_AWS_ID_SIZE, fail);
    }
    return err;
}

static enum tb_err
read_interface(const struct tb_xml_node *item, void *record, struct tb_fail *fail)
{
    struct tb_ec2_interface *eni = record;
    const struct tb_ec2_field fields[] = {
        TB_EC2_FIELD("networkInterfaceId", eni->eni),
        TB_EC2_FIELD("attachment/instanceId", eni->instance),
        TB_EC2_FIELD("attachment/status", eni->attachment_status),
        TB_EC2_FIELD("status", eni->status),
        TB_EC2_FIELD("interfaceType", eni->interface_type),
        TB_EC2_FIELD("ownerId", eni->owner),
        TB_EC2_FIELD("macAddress", eni->mac),
        TB_EC2_FIELD("privateIpAddress", eni->ip),
        TB_EC2_FIELD("subnetId", eni->subnet),
        TB_EC2_FIELD("vpcId", eni->vpc),
        TB_EC2_FIELD("availabilityZone", eni->availability_zone),
    };
    enum tb_err err = TB_EC2_READ_FIELDS(item, fields, fail);

    if (err == TB_OK) {
        err =
            tb_xml_number(item, "attachment/deviceIndex", UINT32_MAX, &eni->device_index, fail);
    }
    if (err == TB_OK) {
        eni->requester_managed = tb_xml_true(item, "requesterManaged");
        err = read_groups(item, eni, fail);
    }
    if (err == TB_OK) {
        err = read_tags(item, &eni->tags, fail);
    }
    return err;
}

static void
release_interface(void *record)
{
    release_tags(&((struct tb_ec2_interface *)record)->tags);
}

static const struct tb_ec2_listing interfaces = {"DescribeNetworkInterfaces",
                                                 "networkInterfaceSet/item",
                                                 sizeof(struct tb_ec2_interface),
                                                 1000,
                                                 read_interface,
                                                 release_interface};

static enum tb_err
list_interfaces(struct tb_aws *aws, const struct tb_ec2_query *query,
                struct tb_ec2_interfaces *out, struct tb_fail *fail)
{
    struct tb_ec2_list list;
    enum tb_err err = tb_ec2_list_all(aws, &interfaces, query, &list, fail);

    if (err == TB_OK) {
        *out = (struct tb_ec2_interfaces){(void *)list.at, list.count};
    }
    return err;
}

enum tb_err
tb_ec2_interfaces_by_id(struct tb_aws *aws, const char *const *enis, size_t count,
                        struct tb_ec2_interfaces *out, struct tb_fail *fail)
{
    struct tb_ec2_query query = {"NetworkInterfaceId", NULL, enis, count};

    return list_interfaces(aws, &query, out, fail);
}

enum tb_err
tb_ec2_interfaces_of_instance(struct tb_aws *aws, const char *instance,
                              struct tb_ec2_interfaces *out, struct tb_fail *fail)
{
    struct tb_ec2_query query = {NULL, "attachment.instance-id", &instance, 1};

    return list_interfaces(aws, &query, out, fail);
}

void
tb_ec2_interfaces_release(struct tb_ec2_interfaces *list)
{
    for (size_t i = 0; i < list->count; i++) {
        release_interface(&list->at[i]);
    }
    free(list->at);
    *list = (struct tb_ec2_interfaces){NULL, 0};
}

/* --- instances --- */

/* An interface inside an instance says less; what the instance knows is filled in. */
static enum tb_err
read_own_interfaces(const struct tb_xml_node *item, struct tb_ec2_instance *instance,
                    struct tb_fail *fail)
{
    const struct tb_xml_node *node = tb_xml_at(item, "networkInterfaceSet/item");
    size_t count = tb_xml_count(item, "networkInterfaceSet", "item");
    enum tb_err err = TB_OK;

    if (count == 0) {
        return TB_OK;
    }
    instance->interfaces.at = calloc(count, sizeof(*instance->interfaces.at));
    if (instance->interfaces.at == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "interfaces of an instance");
    }
    for (; node != NULL && err == TB_OK; node = tb_xml_next(node)) {
        struct tb_ec2_interface *eni = &instance->interfaces.at[instance->interfaces.count++];

        err = read_interface(node, eni, fail);
        if (err == TB_OK) {
            (void)tb_str_copy(eni->instance, sizeof(eni->instance), instance->instance);
            err = tb_xml_copy(item, "placement/availabilityZone", eni->availability_zone,
                              sizeof(eni->availability_zone), fail);
        }
    }
    return err;
}

static enum tb_err
read_instance(const struct tb_xml_node *item, void *record, struct tb_fail *fail)
{
    struct tb_ec2_instance *instance = record;
    const struct tb_ec2_field fields[] = {
        TB_EC2_FIELD("instanceId", instance->instance),
        TB_EC2_FIELD("instanceState/name", instance->state),
        TB_EC2_FIELD("instanceType", instance->type),
        TB_EC2_FIELD("imageId", instance->image),
        TB_EC2_FIELD("vpcId", instance->vpc),
        TB_EC2_FIELD("subnetId", instance->subnet),
        TB_EC2_FIELD("privateIpAddress", instance->ip),
        TB_EC2_FIELD("launchTime", instance->launch_time),
    };
    enum tb_err err = TB_EC2_READ_FIELDS(item, fields, fail);

    if (err == TB_OK) {
        err = read_tags(item, &instance->tags, fail);
    }
    return err != TB_OK ? err : read_own_interfaces(item, instance, fail);
}

static void
release_instance(struct tb_ec2_instance *instance)
{
    release_tags(&instance->tags);
    tb_ec2_interfaces_release(&instance->interfaces);
}

/* The instances that were started together. */
struct reservation {
    char id[TB_AWS_ID_SIZE];
    struct tb_ec2_instances instances;
};

static enum tb_err
read_reservation(const struct tb_xml_node *item, void *record, struct tb_fail *fail)
{
    struct reservation *reservation = record;
    struct tb_ec2_instances *list = &reservation->instances;
    const struct tb_xml_node *node = tb_xml_at(item, "instancesSet/item");
    const struct tb_ec2_field fields[] = {TB_EC2_FIELD("reservationId", reservation->id)};
    size_t count = tb_xml_count(item, "instancesSet", "item");
    enum tb_err err = TB_EC2_READ_FIELDS(item, fields, fail);

    if (err != TB_OK || count == 0) {
        return err;
    }
    list->at = calloc(count, sizeof(*list->at));
    if (list->at == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "instances");
    }
    for (; node != NULL && err == TB_OK; node = tb_xml_next(node)) {
        struct tb_ec2_instance *instance = &list->at[list->count++];

        err = tb_xml_copy(item, "ownerId", instance->owner, sizeof(instance->owner), fail);
        if (err == TB_OK) {
            err = read_instance(node, instance, fail);
        }
    }
    return err;
}

void
tb_ec2_instances_release(struct tb_ec2_instances *list)
{
    for (size_t i = 0; i < list->count; i++) {
        release_instance(&list->at[i]);
    }
    free(list->at);
    *list = (struct tb_ec2_instances){NULL, 0};
}

static void
release_reservation(void *record)
{
    tb_ec2_instances_release(&((struct reservation *)record)->instances);
}

static const struct tb_ec2_listing reservations = {
    "DescribeInstances", "reservationSet/item", sizeof(struct reservation), 1000,
    read_reservation,    release_reservation};

static enum tb_err
list_instances(struct tb_aws *aws, const struct tb_ec2_query *query,
               struct tb_ec2_instances *out, struct tb_fail *fail)
{
    struct tb_ec2_list list = {0};
    struct tb_ec2_instances flat = {NULL, 0};
    const struct reservation *from;
    size_t count = 0;
    enum tb_err err = tb_ec2_list_all(aws, &reservations, query, &list, fail);

    if (err != TB_OK) {
        return err;
    }
    from = (void *)list.at;
    for (size_t i = 0; i < list.count; i++) {
        count += from[i].instances.count;
    }
    flat.at = calloc(count > 0 ? count : 1, sizeof(*flat.at));
    if (flat.at == NULL) {
        err = tb_fail_set(fail, TB_ENOMEM, "instances");
        goto out;
    }
    for (size_t i = 0; i < list.count; i++) {
        struct tb_ec2_instances *part = &((struct reservation *)(void *)list.at)[i].instances;

        if (part->count > 0) {
            memcpy(&flat.at[flat.count], part->at, part->count * sizeof(*flat.at));
        }
        flat.count += part->count;
        part->count = 0; /* what they own has gone out */
    }
    *out = flat;

out:
    tb_ec2_list_release(&reservations, &list);
    return err;
}

enum tb_err
tb_ec2_instance_get(struct tb_aws *aws, const char *instance, struct tb_ec2_instance *out,
                    struct tb_fail *fail)
{
    struct tb_ec2_query query = {"InstanceId", NULL, &instance, 1};
    struct tb_ec2_instances found = {NULL, 0};
    enum tb_err err = list_instances(aws, &query, &found, fail);

    if (err != TB_OK) {
        return err;
    }
    if (found.count == 0) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "DescribeInstances: no instance '%s'", instance);
    } else if (found.count > 1 || strcmp(found.at[0].instance, instance) != 0) {
        err = tb_fail_set(fail, TB_EFORMAT,
                          "DescribeInstances: asked for '%s', told of %zu, '%s' first",
                          instance, found.count, found.at[0].instance);
    } else {
        *out = found.at[0];
        found.count = 0; /* what it owns has gone out */
    }
    tb_ec2_instances_release(&found);
    return err;
}

enum tb_err
tb_ec2_instances_of_interfaces(struct tb_aws *aws, const char *const *enis, size_t count,
                               struct tb_ec2_instances *out, struct tb_fail *fail)
{
    struct tb_ec2_query query = {NULL, "network-interface.network-interface-id", enis, count};

    return list_instances(aws, &query, out, fail);
}

void
tb_ec2_instance_release(struct tb_ec2_instance *instance)
{
    release_instance(instance);
    *instance = (struct tb_ec2_instance){.instance = ""};
}

/* --- sessions --- */

static enum tb_err
read_session(const struct tb_xml_node *item, void *record, struct tb_fail *fail)
{
    struct tb_ec2_session *session = record;
    const struct tb_ec2_field fields[] = {
        TB_EC2_FIELD("trafficMirrorSessionId", session->id),
        TB_EC2_FIELD("trafficMirrorTargetId", session->target),
        TB_EC2_FIELD("trafficMirrorFilterId", session->filter),
        TB_EC2_FIELD("networkInterfaceId", session->eni),
        TB_EC2_FIELD("ownerId", session->owner),
    };
    enum tb_err err = TB_EC2_READ_FIELDS(item, fields, fail);

    if (err == TB_OK) {
        err = tb_xml_number(item, "sessionNumber", UINT32_MAX, &session->session_number, fail);
    }
    if (err == TB_OK) {
        err = tb_xml_number(item, "virtualNetworkId", UINT32_MAX, &session->vni, fail);
    }
    if (err == TB_OK) {
        err = tb_xml_number(item, "packetLength", UINT32_MAX, &session->packet_length, fail);
    }
    return err != TB_OK ? err : read_tags(item, &session->tags, fail);
}

static void
release_session(void *record)
{
    release_tags(&((struct tb_ec2_session *)record)->tags);
}

static const struct tb_ec2_listing sessions = {"DescribeTrafficMirrorSessions",
                                               "trafficMirrorSessionSet/item",
                                               sizeof(struct tb_ec2_session),
                                               1000,
                                               read_session,
                                               release_session};

static enum tb_err
list_sessions(struct tb_aws *aws, const struct tb_ec2_query *query, struct tb_ec2_sessions *out,
              struct tb_fail *fail)
{
    struct tb_ec2_list list;
    enum tb_err err = tb_ec2_list_all(aws, &sessions, query, &list, fail);

    if (err == TB_OK) {
        *out = (struct tb_ec2_sessions){(void *)list.at, list.count, list.server_utc_s,
                                        list.began_utc_s};
    }
    return err;
}

enum tb_err
tb_ec2_sessions_list(struct tb_aws *aws, const char *const *enis, size_t eni_count,
                     struct tb_ec2_sessions *out, struct tb_fail *fail)
{
    struct tb_ec2_query query = {NULL, "network-interface-id", enis, eni_count};

    return list_sessions(aws, &query, out, fail);
}

enum tb_err
tb_ec2_sessions_of_target(struct tb_aws *aws, const char *target, struct tb_ec2_sessions *out,
                          struct tb_fail *fail)
{
    struct tb_ec2_query query = {NULL, "traffic-mirror-target-id", &target, 1};

    return list_sessions(aws, &query, out, fail);
}

void
tb_ec2_sessions_release(struct tb_ec2_sessions *list)
{
    for (size_t i = 0; i < list->count; i++) {
        release_session(&list->at[i]);
    }
    free(list->at);
    *list = (struct tb_ec2_sessions){0};
}

/* --- targets --- */

static enum tb_err
read_target(const struct tb_xml_node *item, void *record, struct tb_fail *fail)
{
    struct tb_ec2_target *target = record;
    const struct tb_ec2_field fields[] = {
        TB_EC2_FIELD("trafficMirrorTargetId", target->id),
        TB_EC2_FIELD("networkInterfaceId", target->eni),
        TB_EC2_FIELD("ownerId", target->owner),
    };
    enum tb_err err = TB_EC2_READ_FIELDS(item, fields, fail);

    return err != TB_OK ? err : read_tags(item, &target->tags, fail);
}

static void
release_target(void *record)
{
    release_tags(&((struct tb_ec2_target *)record)->tags);
}

static const struct tb_ec2_listing targets = {"DescribeTrafficMirrorTargets",
                                              "trafficMirrorTargetSet/item",
                                              sizeof(struct tb_ec2_target),
                                              1000,
                                              read_target,
                                              release_target};

enum tb_err
tb_ec2_targets_list(struct tb_aws *aws, const char *eni, struct tb_ec2_targets *out,
                    struct tb_fail *fail)
{
    struct tb_ec2_query query = {NULL, "network-interface-id", &eni, eni != NULL ? 1 : 0};
    struct tb_ec2_list list;
    enum tb_err err = tb_ec2_list_all(aws, &targets, &query, &list, fail);

    if (err == TB_OK) {
        *out = (struct tb_ec2_targets){(void *)list.at, list.count, list.server_utc_s,
                                       list.began_utc_s};
    }
    return err;
}

void
tb_ec2_targets_release(struct tb_ec2_targets *list)
{
    for (size_t i = 0; i < list->count; i++) {
        release_target(&list->at[i]);
    }
    free(list->at);
    *list = (struct tb_ec2_targets){0};
}

/* --- filters --- */

/* A number that may be missing, then -1; so does one that AWS says is negative.  False: it is
 * none up to `max`. */
static bool
read_optional(const struct tb_xml_node *node, const char *path, uint32_t max, int32_t *out)
{
    const char *text = tb_xml_text(node, path);
    uint32_t value = 0;

    *out = -1;
    if (text == NULL || text[0] == '\0' || text[0] == '-') {
        return true;
    }
    if (tb_xml_number(node, path, max, &value, NULL) != TB_OK) {
        return false;
    }
    *out = (int32_t)value;
    return true;
}

/* Numbers that cannot be read make it an unknown rule, not a list that cannot be read: its
 * filter has to be found by a sweep all the same. */
static enum tb_err
read_rule(const struct tb_xml_node *item, bool egress, struct tb_ec2_rule *rule,
          struct tb_fail *fail)
{
    const struct tb_ec2_field fields[] = {
        TB_EC2_FIELD("trafficMirrorFilterRuleId", rule->id),
        TB_EC2_FIELD("sourceCidrBlock", rule->source_cidr),
        TB_EC2_FIELD("destinationCidrBlock", rule->destination_cidr),
    };
    const struct {
        const char *path;
        int32_t *at;
    } ports[] = {{"sourcePortRange/fromPort", &rule->source_port_from},
                 {"sourcePortRange/toPort", &rule->source_port_to},
                 {"destinationPortRange/fromPort", &rule->destination_port_from},
                 {"destinationPortRange/toPort", &rule->destination_port_to}};
    const char *action = tb_xml_text(item, "ruleAction");
    enum tb_err err = TB_EC2_READ_FIELDS(item, fields, fail);

    rule->egress = egress;
    rule->reject = action != NULL && strcmp(action, "accept") != 0;
    rule->unknown = tb_xml_number(item, "ruleNumber", UINT32_MAX, &rule->number, NULL) != TB_OK;
    rule->unknown |= !read_optional(item, "protocol", UINT8_MAX, &rule->protocol);
    for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
        rule->unknown |= !read_optional(item, ports[i].path, UINT16_MAX, ports[i].at);
    }
    return err;
}

static enum tb_err
read_rules(const struct tb_xml_node *item, struct tb_ec2_filter *filter, struct tb_fail *fail)
{
    static const char *const sets[] = {"ingressFilterRuleSet", "egressFilterRuleSet"};
    static const char *const items[] = {"ingressFilterRuleSet/item",
                                        "egressFilterRuleSet/item"};
    size_t count = tb_xml_count(item, sets[0], "item") + tb_xml_count(item, sets[1], "item");
    enum tb_err err = TB_OK;

    if (count == 0) {
        return TB_OK;
    }
    filter->rules = calloc(count, sizeof(*filter->rules));
    if (filter->rules == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "rules");
    }
    for (size_t i = 0; i < 2; i++) {
        const struct tb_xml_node *node = tb_xml_at(item, items[i]);

        for (; node != NULL && filter->rule_count < count && err == TB_OK;
             node = tb_xml_next(node)) {
            err = read_rule(node, i == 1, &filter->rules[filter->rule_count++], fail);
        }
    }
    return err;
}

static enum tb_err
read_filter(const struct tb_xml_node *item, void *record, struct tb_fail *fail)
{
    struct tb_ec2_filter *filter = record;
    const struct tb_xml_node *service = tb_xml_at(item, "networkServiceSet/item");
    const struct tb_ec2_field fields[] = {TB_EC2_FIELD("trafficMirrorFilterId", filter->id)};
    enum tb_err err = TB_EC2_READ_FIELDS(item, fields, fail);

    if (err == TB_OK) {
        err = read_rules(item, filter, fail);
    }
    for (; service != NULL; service = tb_xml_next(service)) {
        const char *text = tb_xml_text(service, "");

        filter->amazon_dns |= text != NULL && strcmp(text, "amazon-dns") == 0;
    }
    return err != TB_OK ? err : read_tags(item, &filter->tags, fail);
}

static void
release_filter(void *record)
{
    struct tb_ec2_filter *filter = record;

    free(filter->rules);
    release_tags(&filter->tags);
}

static const struct tb_ec2_listing filters = {"DescribeTrafficMirrorFilters",
                                              "trafficMirrorFilterSet/item",
                                              sizeof(struct tb_ec2_filter),
                                              1000,
                                              read_filter,
                                              release_filter};

enum tb_err
tb_ec2_filters_list(struct tb_aws *aws, struct tb_ec2_filters *out, struct tb_fail *fail)
{
    struct tb_ec2_query query = {NULL, NULL, NULL, 0};
    struct tb_ec2_list list;
    enum tb_err err = tb_ec2_list_all(aws, &filters, &query, &list, fail);

    if (err == TB_OK) {
        *out = (struct tb_ec2_filters){(void *)list.at, list.count, list.server_utc_s,
                                       list.began_utc_s};
    }
    return err;
}

void
tb_ec2_filters_release(struct tb_ec2_filters *list)
{
    for (size_t i = 0; i < list->count; i++) {
        release_filter(&list->at[i]);
    }
    free(list->at);
    *list = (struct tb_ec2_filters){0};
}

const struct tb_ec2_listing *const tb_ec2_listings[TB_EC2_LISTINGS] = {
    &interfaces, &reservations, &sessions, &targets, &filters};
