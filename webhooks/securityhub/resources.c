/* Where the traffic of a Security Hub finding can be mirrored, or why nowhere. */
#include "securityhub_int.h"

#include <ctype.h>
#include <stdio.h>

enum {
    INTERFACES_MAX = 100 /* of one instance that are looked at; EC2 allows fewer */
};

/* Without "::", as ASFF and OCSF both become when the colons go; in our words. */
static const struct kind {
    const char *type;
    const char *word;
    const char *why;
} kinds[] = {
    {"AwsEc2Instance", "instance", "finding about an instance whose id it does not give"},
    {"AwsEc2NetworkInterface", "instance",
     "finding about a network interface whose id it does not give"},
    {"AwsEksCluster", "eks", "finding about an EKS cluster: it names no node's instance"},
    {"AwsEcsCluster", "ecs", "finding about an ECS cluster: it names no container instance"},
    {"AwsEcsService", "ecs", "finding about an ECS service: it names no container instance"},
    {"AwsEcsTask", "ecs", "finding about an ECS task: it names no container instance"},
    {"AwsEcsTaskDefinition", "ecs",
     "finding about an ECS task definition: no network interface"},
    {"AwsEcsContainer", "container", "finding about a container: it names no host instance"},
    {"Container", "container", "finding about a container: it names no host instance"},
    {"AwsIamAccessKey", "access_key",
     "finding about the use of an access key: it names no instance that holds the key"},
    {"AwsIamUser", "access_key", "finding about an IAM user: no network interface"},
    {"AwsIamRole", "access_key", "finding about an IAM role: it names no instance"},
    {"AwsS3Bucket", "s3",
     "finding about an S3 bucket: calls to S3's API, no network interface"},
    {"AwsS3Object", "s3", "finding about an S3 object: no network interface"},
    {"AwsLambdaFunction", "lambda",
     "finding about a Lambda function: its interfaces cannot be mirrored"},
    {"AwsRdsDbInstance", "rds",
     "finding about a database instance: it names no network interface"},
    {"AwsRdsDbCluster", "rds", "finding about a database: it names no network interface"},
    {"AwsAccount", "other", "finding about a whole account: it names no instance"},
    {"AwsEc2Vpc", "other", "finding about a whole VPC: it names no instance"},
    {"AwsEc2Subnet", "other", "finding about a whole subnet: it names no instance"},
    {"AwsEc2SecurityGroup", "other",
     "finding about a security group: it names no instance that has it"},
    {"AwsEc2Volume", "other", "finding about a volume: it names no instance"},
};

static const struct kind *
find_kind(const char *type)
{
    char plain[64];
    size_t used = 0;

    for (; type != NULL && *type != 0 && used + 1 < sizeof(plain); type++) {
        if (*type != ':') {
            plain[used++] = *type;
        }
    }
    plain[used] = 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcasecmp(kinds[i].type, plain) == 0) {
            return &kinds[i];
        }
    }
    return NULL;
}

/* A network interface of `details`, which are an instance's or its own. */
static void
add_interface(const struct securityhub_resource *r, const char *instance, const char *eni,
              const struct tb_json *at, struct tb_alert *out)
{
    const struct tb_json *ips = tb_webhook_at(at, "privateIpAddresses");
    const char *ip = tb_webhook_str(at, "privateIpAddress");
    struct tb_alert_source s = {0};

    if (ip == NULL) {
        ip = tb_webhook_str(tb_json_item(ips, 0), "privateIpAddress");
    }
    (void)tb_str_copy(s.instance, sizeof(s.instance), instance);
    (void)tb_str_copy(s.eni, sizeof(s.eni), eni);
    (void)tb_webhook_name(s.ip, sizeof(s.ip), ip);
    if (!tb_webhook_name(s.vpc, sizeof(s.vpc), tb_webhook_str(at, "vpcId"))) {
        (void)tb_webhook_name(s.vpc, sizeof(s.vpc), tb_webhook_str(r->details, "vpcId"));
    }
    if (!tb_webhook_name(s.subnet, sizeof(s.subnet), tb_webhook_str(at, "subnetId"))) {
        (void)tb_webhook_name(s.subnet, sizeof(s.subnet),
                              tb_webhook_str(r->details, "subnetId"));
    }
    s.seen_here = s.eni[0] != 0 && tb_webhook_same_address(s.ip, r->address);
    tb_webhook_add_source(out, &s);
}

static bool
knows(const struct tb_alert *alert, const char *instance)
{
    for (size_t i = 0; i < alert->source_count; i++) {
        if (strcmp(alert->sources[i].instance, instance) == 0) {
            return true;
        }
    }
    return false;
}

/* Its interfaces where it lists them, else the whole of it. */
static void
add_instance(const struct securityhub_resource *r, const char *instance, struct tb_alert *out)
{
    const struct tb_json *list = tb_webhook_at(r->details, "networkInterfaces");
    char eni[TB_AWS_ID_SIZE];

    if (knows(out, instance)) { /* by the interface that the action named */
        return;
    }
    for (size_t i = 0; tb_json_is_array(list) && i < tb_json_count(list) && i < INTERFACES_MAX;
         i++) {
        const struct tb_json *at = tb_json_item(list, i);

        if (tb_webhook_find_id(tb_webhook_str(at, "networkInterfaceId"), "eni-", eni)) {
            add_interface(r, instance, eni, at, out);
        }
    }
    if (!knows(out, instance)) {
        add_interface(r, instance, "", NULL, out);
    }
}

void
securityhub_add_resource(const struct securityhub_resource *r, struct tb_alert *out)
{
    const struct kind *kind = find_kind(r->type);
    const char *word = kind != NULL ? kind->word : "other";
    bool first = out->resource[0] == 0;
    size_t before = out->source_count;
    char instance[TB_AWS_ID_SIZE] = "";
    char eni[TB_AWS_ID_SIZE] = "";

    if (strcmp(word, "instance") == 0 || strcmp(word, "other") == 0) {
        (void)tb_webhook_find_id(r->uid, "eni-", eni);
        if (eni[0] == 0) {
            (void)tb_webhook_find_id(r->uid, "i-", instance);
        }
    } else if (strcmp(word, "access_key") == 0) {
        (void)tb_webhook_find_id(r->principal, "i-", instance);
    }
    if (eni[0] != 0) {
        (void)tb_webhook_find_id(tb_webhook_str(r->details, "attachment/instanceId"), "i-",
                                 instance);
        add_interface(r, instance, eni, r->details, out);
    } else if (instance[0] != 0) {
        add_instance(r, instance, out);
    }
    /* the one with traffic counts for policy, whatever stands before it */
    if (first || (before == 0 && out->source_count > 0)) {
        (void)tb_str_copy(out->resource, sizeof(out->resource), word);
    }
}

void
securityhub_tell_why_not(const struct securityhub_resource *first, struct tb_alert *out)
{
    const struct kind *kind = find_kind(first->type);
    char type[64];

    if (out->source_count > 0) {
        return;
    }
    if (kind != NULL) {
        (void)tb_str_copy(out->nothing_to_mirror, sizeof(out->nothing_to_mirror), kind->why);
        return;
    }
    tb_webhook_clean_text(type, sizeof(type), first->type);
    (void)snprintf(out->nothing_to_mirror, sizeof(out->nothing_to_mirror),
                   first->type == NULL
                       ? "finding that lists no resources%s"
                       : "finding that names no instance or network interface (resource type "
                         "%s)",
                   type);
}
