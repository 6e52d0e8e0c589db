/*
 * Attack sequences (Extended Threat Detection): resources and endpoints instead of one resource
 * and one action.  A resource's uid may be an id or an ARN; uid and name are searched for ids.
 */
#include "guardduty_int.h"

enum {
    COMPARISONS_MAX =
        4000000 /* of uids that refer to other resources, in one sequence: 20 ms */
};

struct sequence {
    const struct tb_json *resources;
    size_t comparisons;
    struct tb_alert *out;
};

static size_t
count_of(const struct tb_json *list)
{
    return tb_json_is_array(list) ? tb_json_count(list) : 0;
}

static bool
id_of_resource(const struct tb_json *resource, const char *prefix, char out[TB_AWS_ID_SIZE])
{
    return tb_webhook_find_id(tb_webhook_str(resource, "uid"), prefix, out) ||
           tb_webhook_find_id(tb_webhook_str(resource, "name"), prefix, out);
}

static const struct tb_json *
find_resource(struct sequence *s, const char *uid)
{
    size_t count = uid == NULL ? 0 : count_of(s->resources);

    for (size_t i = 0; i < count && s->comparisons < COMPARISONS_MAX; i++, s->comparisons++) {
        const struct tb_json *r = tb_json_item(s->resources, i);
        const char *its = tb_webhook_str(r, "uid");

        if (its != NULL && strcmp(its, uid) == 0) {
            return r;
        }
    }
    return NULL;
}

/* The id that a uid stands for, in itself or in the resource it refers to. */
static bool
id_of_uid(struct sequence *s, const char *uid, const char *prefix, char out[TB_AWS_ID_SIZE])
{
    return tb_webhook_find_id(uid, prefix, out) ||
           id_of_resource(find_resource(s, uid), prefix, out);
}

static void
add_interface(const struct tb_json *resource, const char *instance, const char *eni,
              struct tb_alert *out)
{
    const struct tb_json *data = tb_webhook_at(resource, "data/ec2NetworkInterface");
    const struct tb_json *ip = tb_json_item(tb_webhook_at(data, "privateIpAddresses"), 0);
    const char *text = tb_json_str(ip, "");
    struct tb_alert_source s = {0};

    (void)tb_str_copy(s.instance, sizeof(s.instance), instance);
    (void)tb_str_copy(s.eni, sizeof(s.eni), eni);
    (void)tb_webhook_name(s.ip, sizeof(s.ip),
                          text != NULL ? text : tb_webhook_str(ip, "privateIpAddress"));
    (void)tb_webhook_name(s.vpc, sizeof(s.vpc), tb_webhook_str(data, "vpcId"));
    /* "subNetId" is how GuardDuty writes it here */
    (void)tb_webhook_name(s.subnet, sizeof(s.subnet), tb_webhook_str(data, "subNetId"));
    tb_webhook_add_source(out, &s);
}

/* Unless one or more of its interfaces are there. */
static void
add_whole_instance(const char *instance, struct tb_alert *out)
{
    struct tb_alert_source s = {0};

    for (size_t i = 0; i < out->source_count; i++) {
        if (strcmp(out->sources[i].instance, instance) == 0) {
            return;
        }
    }
    (void)tb_str_copy(s.instance, sizeof(s.instance), instance);
    tb_webhook_add_source(out, &s);
}

static void
read_instance(struct sequence *s, const struct tb_json *resource)
{
    const struct tb_json *uids =
        tb_webhook_at(resource, "data/ec2Instance/ec2NetworkInterfaceUids");
    char instance[TB_AWS_ID_SIZE];
    char eni[TB_AWS_ID_SIZE];
    bool named = false;

    if (!id_of_resource(resource, "i-", instance)) {
        return;
    }
    for (size_t i = 0; i < count_of(uids); i++) {
        const char *uid = tb_json_str(tb_json_item(uids, i), "");

        if (id_of_uid(s, uid, "eni-", eni)) {
            add_interface(find_resource(s, uid), instance, eni, s->out);
            named = true;
        }
    }
    if (!named) {
        add_whole_instance(instance, s->out);
    }
}

/* Groups (cluster, launch template, VPC, ...) list their member instances. */
static void
read_members(struct sequence *s, const struct tb_json *resource)
{
    static const char *const groups[] = {
        "eksCluster",        "ecsCluster", "iamInstanceProfile", "autoscalingAutoScalingGroup",
        "ec2LaunchTemplate", "ec2Vpc",     "ec2Image",           "cloudformationStack",
    };
    const struct tb_json *data = tb_webhook_at(resource, "data");

    for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++) {
        const struct tb_json *uids =
            tb_webhook_at(tb_webhook_at(data, groups[g]), "ec2InstanceUids");

        for (size_t i = 0; i < count_of(uids); i++) {
            char instance[TB_AWS_ID_SIZE];

            if (id_of_uid(s, tb_json_str(tb_json_item(uids, i), ""), "i-", instance)) {
                add_whole_instance(instance, s->out);
            }
        }
    }
}

/* Keys of an instance: the session that uses them is named after it, "AROA...:i-..." */
static void
read_key(const struct tb_json *resource, struct tb_alert *out)
{
    char instance[TB_AWS_ID_SIZE];

    if (tb_webhook_find_id(tb_webhook_str(resource, "data/accessKey/principalId"), "i-",
                           instance)) {
        add_whole_instance(instance, out);
    }
}

static bool
is_type(const struct tb_json *resource, const char *type)
{
    const char *its = tb_webhook_str(resource, "resourceType");

    return its != NULL && strcasecmp(its, type) == 0;
}

/*
 * Instances first, so that an interface is entered together with its instance.  What did not
 * fit is counted once: the passes after the first meet the same ones again.
 */
static void
read_resources(struct sequence *s)
{
    size_t count = count_of(s->resources);
    char eni[TB_AWS_ID_SIZE];

    for (size_t i = 0; i < count; i++) {
        if (is_type(tb_json_item(s->resources, i), "EC2_INSTANCE")) {
            read_instance(s, tb_json_item(s->resources, i));
        }
    }
    for (size_t i = 0; i < count && s->out->sources_left_out == 0; i++) {
        const struct tb_json *r = tb_json_item(s->resources, i);

        if (is_type(r, "EC2_NETWORK_INTERFACE") && id_of_resource(r, "eni-", eni)) {
            add_interface(r, "", eni, s->out);
        }
    }
    for (size_t i = 0; i < count && s->out->sources_left_out == 0; i++) {
        read_members(s, tb_json_item(s->resources, i));
        read_key(tb_json_item(s->resources, i), s->out);
    }
}

static void
read_endpoint(const struct tb_json *endpoint, struct tb_alert *out)
{
    struct tb_indicator more = {.port = tb_webhook_port(endpoint, "port")};

    (void)tb_webhook_lower_name(more.direction, sizeof(more.direction),
                                tb_webhook_str(endpoint, "connection/direction"));
    /* the callers of AWS's API stand among them, without a connection */
    more.on_wire = more.port != 0 || more.direction[0] != 0;
    (void)tb_webhook_add_address(out, tb_webhook_str(endpoint, "ip"), &more);
    more.on_wire = true;
    (void)tb_webhook_add_domain(out, tb_webhook_str(endpoint, "domain"), &more);
}

void
guardduty_read_sequence(const struct tb_json *sequence, struct tb_alert *out)
{
    const struct tb_json *endpoints = tb_webhook_at(sequence, "endpoints");
    struct sequence s = {.resources = tb_webhook_at(sequence, "resources"), .out = out};

    read_resources(&s);
    for (size_t i = 0; i < count_of(endpoints); i++) {
        read_endpoint(tb_json_item(endpoints, i), out);
    }
    if (out->source_count == 0) {
        (void)tb_str_copy(out->nothing_to_mirror, sizeof(out->nothing_to_mirror),
                          "attack sequence that names no instance or network interface");
    }
}
