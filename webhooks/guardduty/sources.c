/* Where a finding's traffic can be mirrored: interfaces, an instance, or why there is none. */
#include "guardduty_int.h"

#include <stdio.h>

/* Resource types in our words, and why they have nothing to mirror.  `even_with_instance`: an
 * instance that stands in the finding as well is not where the traffic was. */
static const struct resource_type {
    const char *type;
    const char *word;
    bool even_with_instance;
    const char *why;
} resource_types[] = {
    {"Instance", "instance", false,
     "finding about an instance that it does not name (terminated, or of another Region)"},
    {"EKSCluster", "eks", false, "finding about an EKS cluster: it names no node's instance"},
    {"KubernetesCluster", "eks", false,
     "finding about an EKS cluster: it names no node's instance"},
    {"ECSCluster", "ecs", false, "finding about an ECS task: it names no container instance"},
    {"Container", "container", false, "finding about a container: it names no host instance"},
    {"AccessKey", "access_key", false,
     "finding about the use of an access key: it names no instance that holds the key"},
    {"S3Bucket", "s3", true,
     "finding about an S3 bucket: calls to S3's API, no network interface"},
    {"S3Object", "s3", true, "finding about an S3 object: no network interface"},
    {"Lambda", "lambda", true,
     "finding about a Lambda function: its interfaces cannot be mirrored"},
    {"RDSDBInstance", "rds", true,
     "finding about a database instance: it names no network interface"},
    {"RDSLimitlessDB", "rds", true, "finding about a database: it names no network interface"},
    {"EBSVolume", "other", false, "finding about a volume: it names no instance"},
    {"EBSSnapshot", "other", true, "finding about a snapshot: no network interface"},
    {"EC2Image", "other", true, "finding about a machine image: no network interface"},
    {"EC2AMI", "other", true, "finding about a machine image: no network interface"},
    {"EBSRecoveryPoint", "other", true, "finding about a backup: no network interface"},
    {"EC2RecoveryPoint", "other", true, "finding about a backup: no network interface"},
    {"S3RecoveryPoint", "other", true, "finding about a backup: no network interface"},
    {"AttackSequence", "attack_sequence", false,
     "attack sequence that names no instance or network interface"},
};

static const struct resource_type *
find_type(const char *type)
{
    for (size_t i = 0; i < sizeof(resource_types) / sizeof(resource_types[0]); i++) {
        if (type != NULL && strcasecmp(resource_types[i].type, type) == 0) {
            return &resource_types[i];
        }
    }
    return NULL;
}

/* A more precise reason than the resource's type alone gives; NULL: there is none. */
static const char *
why_no_instance(const struct tb_json *finding)
{
    const char *launch =
        tb_webhook_str(finding, "resource/ecsClusterDetails/taskDetails/launchType");
    const char *action = tb_webhook_str(finding, "service/action/actionType");

    if (launch != NULL && strcasecmp(launch, "FARGATE") == 0) {
        return "finding about an ECS task on Fargate: its interface cannot be mirrored";
    }
    if (action != NULL && strcasecmp(action, "KUBERNETES_API_CALL") == 0) {
        return "finding about calls to a Kubernetes API (EKS control plane): it names no "
               "node's instance";
    }
    return NULL;
}

/* Whether one of the interface's addresses is `ip`. */
static bool
has_address(const struct tb_json *ni, const char *ip)
{
    const struct tb_json *more = tb_webhook_at(ni, "privateIpAddresses");
    const struct tb_json *v6 = tb_webhook_at(ni, "ipv6Addresses");
    bool found = tb_webhook_same_address(tb_webhook_str(ni, "privateIpAddress"), ip);

    for (size_t i = 0; tb_json_is_array(more) && i < tb_json_count(more) && !found; i++) {
        found = tb_webhook_same_address(
            tb_webhook_str(tb_json_item(more, i), "privateIpAddress"), ip);
    }
    for (size_t i = 0; tb_json_is_array(v6) && i < tb_json_count(v6) && !found; i++) {
        found = tb_webhook_same_address(tb_json_str(tb_json_item(v6, i), ""), ip);
    }
    return found;
}

static struct tb_alert_source
source_of_interface(const struct tb_json *ni, const char *instance)
{
    struct tb_alert_source s = {0};

    (void)tb_str_copy(s.instance, sizeof(s.instance), instance);
    (void)tb_webhook_find_id(tb_webhook_str(ni, "networkInterfaceId"), "eni-", s.eni);
    (void)tb_webhook_name(s.ip, sizeof(s.ip), tb_webhook_str(ni, "privateIpAddress"));
    (void)tb_webhook_name(s.vpc, sizeof(s.vpc), tb_webhook_str(ni, "vpcId"));
    (void)tb_webhook_name(s.subnet, sizeof(s.subnet), tb_webhook_str(ni, "subnetId"));
    return s;
}

/* The addresses of the source's own side, as far as they are known (NULL: not). */
struct local {
    const char *ip;    /* that the finding goes by */
    const char *other; /* IPv6 beside IPv4 */
};

static struct local
local_of(const struct tb_json *action)
{
    struct local l = {tb_webhook_str(action, "localIpDetails/ipAddressV4"),
                      tb_webhook_str(action, "localIpDetails/ipAddressV6")};

    if (l.ip == NULL) {
        l = (struct local){l.other, NULL};
    }
    return l;
}

/* The interface that traffic was seen on: by its id (newer events), else by a local address
 * among the instance's interfaces. */
static void
add_seen(const struct tb_json *nis, const char *instance, const char *eni,
         const struct local *local, struct tb_alert *out)
{
    size_t count = tb_json_is_array(nis) ? tb_json_count(nis) : 0;
    const char *ip = local->ip;
    struct tb_alert_source s = {0};
    bool found = false;

    for (size_t i = 0; i < count && !found; i++) {
        const struct tb_json *ni = tb_json_item(nis, i);

        s = source_of_interface(ni, instance);
        if (eni[0] != 0) {
            found = strcmp(s.eni, eni) == 0;
        } else if (s.eni[0] != 0 && has_address(ni, local->ip)) {
            found = true;
        } else if (s.eni[0] != 0 && has_address(ni, local->other)) {
            found = true;
            ip = local->other;
        } else if (s.eni[0] != 0 &&
                   tb_webhook_same_address(tb_webhook_str(ni, "publicIp"), local->ip)) {
            found = true;
            ip = NULL; /* translated on the way: on the wire is the private one */
        }
    }
    if (!found && eni[0] == 0) {
        return;
    }
    if (!found) { /* the action alone knows it */
        s = (struct tb_alert_source){0};
        (void)tb_str_copy(s.instance, sizeof(s.instance), instance);
        (void)tb_str_copy(s.eni, sizeof(s.eni), eni);
    }
    if (ip != NULL) {
        (void)tb_webhook_name(s.ip, sizeof(s.ip), ip);
    }
    s.seen_here = true;
    tb_webhook_add_source(out, &s);
}

static void
add_seen_of_action(const struct tb_json *action, const struct tb_json *nis,
                   const char *instance, struct tb_alert *out)
{
    const struct tb_json *net = tb_webhook_at(action, "networkConnectionAction");
    const struct tb_json *probes = tb_webhook_at(action, "portProbeAction/portProbeDetails");
    struct local local = local_of(net);
    char eni[TB_AWS_ID_SIZE];

    (void)tb_webhook_find_id(tb_webhook_str(net, "localNetworkInterface"), "eni-", eni);
    add_seen(nis, instance, eni, &local, out);
    for (size_t i = 0;
         tb_json_is_array(probes) && i < tb_json_count(probes) && i < TB_ALERT_MAX_INDICATORS;
         i++) {
        local = local_of(tb_json_item(probes, i));
        add_seen(nis, instance, "", &local, out);
    }
}

/* All that is known of the instance: its interfaces, or itself. */
static void
add_instance(const struct tb_json *nis, const char *instance, struct tb_alert *out)
{
    size_t count = tb_json_is_array(nis) ? tb_json_count(nis) : 0;
    struct tb_alert_source whole = {0};

    for (size_t i = 0; i < count; i++) {
        struct tb_alert_source s = source_of_interface(tb_json_item(nis, i), instance);

        if (i == 0) {
            whole = s;
        }
        if (s.eni[0] != 0) {
            tb_webhook_add_source(out, &s);
        }
    }
    if (out->source_count == 0) {
        (void)tb_str_copy(whole.instance, sizeof(whole.instance), instance);
        tb_webhook_add_source(out, &whole);
    }
}

/* The instance's tags as GuardDuty saw them; a value that cannot be shown is left empty. */
static void
read_tags(const struct tb_json *tags, struct tb_alert *out)
{
    out->tags_known = tb_json_is_array(tags);
    for (size_t i = 0; out->tags_known && i < tb_json_count(tags); i++) {
        struct tb_alert_tag *tag = &out->tags[out->tag_count];

        if (out->tag_count == TB_ALERT_MAX_TAGS) {
            out->tags_known = false; /* not all of them */
            break;
        }
        tb_webhook_clean_text(tag->key, sizeof(tag->key),
                              tb_webhook_str(tb_json_item(tags, i), "key"));
        tb_webhook_clean_text(tag->value, sizeof(tag->value),
                              tb_webhook_str(tb_json_item(tags, i), "value"));
        out->tag_count += tag->key[0] != 0 ? 1 : 0;
    }
}

/* What runs on the instance, for people. */
static void
read_workload(const struct tb_json *resource, struct tb_alert *out)
{
    const struct tb_json *pod =
        tb_webhook_at(resource, "kubernetesDetails/kubernetesWorkloadDetails");
    const char *task = tb_webhook_str(resource, "ecsClusterDetails/taskDetails/arn");
    const char *container = tb_webhook_str(resource, "containerDetails/name");
    const char *space = tb_webhook_str(pod, "namespace");
    const char *type = tb_webhook_str(pod, "type");
    const char *name = tb_webhook_str(pod, "name");
    char text[TB_CAPTURE_MAX_TEXT];

    if (name != NULL) {
        (void)snprintf(text, sizeof(text), "%.40s %.80s/%.120s", type != NULL ? type : "pods",
                       space != NULL ? space : "default", name);
    } else if (task != NULL) {
        (void)snprintf(text, sizeof(text), "task %.240s", task);
    } else if (container != NULL) {
        (void)snprintf(text, sizeof(text), "container %.240s", container);
    } else {
        return;
    }
    tb_webhook_clean_text(out->workload, sizeof(out->workload), text);
}

/* Why nothing can be mirrored, when there is no source. */
static void
tell_why_not(const struct tb_json *finding, const struct resource_type *type, const char *name,
             struct tb_alert *out)
{
    const char *why = why_no_instance(finding);
    char shown[64];

    if (why != NULL || type != NULL) {
        (void)tb_str_copy(out->nothing_to_mirror, sizeof(out->nothing_to_mirror),
                          why != NULL ? why : type->why);
        return;
    }
    tb_webhook_clean_text(shown, sizeof(shown), name != NULL ? name : "not named");
    (void)snprintf(out->nothing_to_mirror, sizeof(out->nothing_to_mirror),
                   "finding that names no instance or network interface (resource type %s)",
                   shown);
}

void
guardduty_read_sources(const struct tb_json *finding, struct tb_alert *out)
{
    const char *name = tb_webhook_str(finding, "resource/resourceType");
    const struct resource_type *type = find_type(name);
    const struct tb_json *details = tb_webhook_at(finding, "resource/instanceDetails");
    const struct tb_json *nis = tb_webhook_at(details, "networkInterfaces");
    char instance[TB_AWS_ID_SIZE];

    (void)tb_str_copy(out->resource, sizeof(out->resource),
                      type != NULL ? type->word : "other");
    read_workload(tb_webhook_at(finding, "resource"), out);
    if (type != NULL && type->even_with_instance) {
        tell_why_not(finding, type, name, out);
        return;
    }
    read_tags(tb_webhook_at(details, "tags"), out);
    if (!tb_webhook_find_id(tb_webhook_str(details, "instanceId"), "i-", instance)) {
        /* credentials of an instance: the session is named after it, "AROA...:i-..." */
        (void)tb_webhook_find_id(
            tb_webhook_str(finding, "resource/accessKeyDetails/principalId"), "i-", instance);
    }
    add_seen_of_action(tb_webhook_at(finding, "service/action"), nis, instance, out);
    if (out->source_count == 0) {
        add_instance(nis, instance, out);
    }
    if (out->source_count == 0) {
        tell_why_not(finding, type, name, out);
    }
}
