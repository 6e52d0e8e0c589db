/* Where a finding's traffic can be mirrored: interfaces, an instance, or why there is none. */
#include "guardduty_int.h"

#include <stdio.h>

/* Resource types that have nothing to mirror.  `even_with_instance`: an instance that stands in
 * the finding as well is not where the traffic was. */
static const struct {
    const char *type;
    bool even_with_instance;
    const char *why;
} without_interface[] = {
    {"S3Bucket", true, "finding about an S3 bucket: calls to S3's API, no network interface"},
    {"S3Object", true, "finding about an S3 object: no network interface"},
    {"Lambda", true, "finding about a Lambda function: its interfaces cannot be mirrored"},
    {"RDSDBInstance", true, "finding about a database instance: it names no network interface"},
    {"RDSLimitlessDB", true, "finding about a database: it names no network interface"},
    {"AccessKey", false,
     "finding about the use of an access key: it names no instance that holds the key"},
    {"EKSCluster", false, "finding about an EKS cluster: it names no node's instance"},
    {"KubernetesCluster", false, "finding about an EKS cluster: it names no node's instance"},
    {"ECSCluster", false,
     "finding about an ECS task: it names no container instance (Fargate has none)"},
    {"Container", false, "finding about a container: it names no host instance"},
    {"AttackSequence", false, "attack sequence that names no instance or network interface"},
    {"Instance", false,
     "finding about an instance that it does not name (terminated, or of another Region)"},
};

/* `with_instance`: only the types that are refused although an instance is named. */
static bool
refuse_type(const char *type, bool with_instance, struct tb_alert *out)
{
    for (size_t i = 0; i < sizeof(without_interface) / sizeof(without_interface[0]); i++) {
        if (type != NULL && strcasecmp(without_interface[i].type, type) == 0 &&
            (without_interface[i].even_with_instance || !with_instance)) {
            (void)tb_str_copy(out->nothing_to_mirror, sizeof(out->nothing_to_mirror),
                              without_interface[i].why);
            return true;
        }
    }
    return false;
}

static bool
same_source(const struct tb_alert_source *a, const struct tb_alert_source *b)
{
    return a->eni[0] != 0 || b->eni[0] != 0 ? strcmp(a->eni, b->eni) == 0
                                            : strcmp(a->instance, b->instance) == 0;
}

void
guardduty_add_source(struct tb_alert *out, const struct tb_alert_source *source)
{
    if (source->instance[0] == 0 && source->eni[0] == 0) {
        return;
    }
    for (size_t i = 0; i < out->source_count; i++) {
        if (same_source(&out->sources[i], source)) {
            return;
        }
    }
    if (out->source_count == TB_ALERT_MAX_SOURCES) {
        out->sources_left_out++;
        return;
    }
    out->sources[out->source_count++] = *source;
}

/* Whether one of the interface's addresses is `ip`. */
static bool
has_address(const struct tb_json *ni, const char *ip)
{
    const struct tb_json *more = tb_webhook_at(ni, "privateIpAddresses");
    const struct tb_json *v6 = tb_webhook_at(ni, "ipv6Addresses");
    const char *text = tb_webhook_str(ni, "privateIpAddress");

    if (text != NULL && strcmp(text, ip) == 0) {
        return true;
    }
    for (size_t i = 0; tb_json_is_array(more) && i < tb_json_count(more); i++) {
        text = tb_webhook_str(tb_json_item(more, i), "privateIpAddress");
        if (text != NULL && strcmp(text, ip) == 0) {
            return true;
        }
    }
    for (size_t i = 0; tb_json_is_array(v6) && i < tb_json_count(v6); i++) {
        text = tb_json_str(tb_json_item(v6, i), "");
        if (text != NULL && strcmp(text, ip) == 0) {
            return true;
        }
    }
    return false;
}

static struct tb_alert_source
source_of_interface(const struct tb_json *ni, const char *instance)
{
    struct tb_alert_source s = {0};

    (void)tb_str_copy(s.instance, sizeof(s.instance), instance);
    (void)tb_webhook_find_id(tb_webhook_str(ni, "networkInterfaceId"), "eni-", s.eni);
    (void)tb_webhook_name(s.ip, sizeof(s.ip), tb_webhook_str(ni, "privateIpAddress"));
    (void)tb_webhook_name(s.vpc, sizeof(s.vpc), tb_webhook_str(ni, "vpcId"));
    return s;
}

/* The interface that traffic was seen on: by its id (newer events), else by the local address
 * (may be NULL) among the instance's interfaces. */
static void
add_seen(const struct tb_json *nis, const char *instance, const char *eni, const char *ip,
         struct tb_alert *out)
{
    size_t count = tb_json_is_array(nis) ? tb_json_count(nis) : 0;
    struct tb_alert_source s = {0};
    bool found = false;

    for (size_t i = 0; i < count && !found; i++) {
        const struct tb_json *ni = tb_json_item(nis, i);

        s = source_of_interface(ni, instance);
        found = eni[0] != 0 ? strcmp(s.eni, eni) == 0
                            : s.eni[0] != 0 && ip != NULL && has_address(ni, ip);
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
    guardduty_add_source(out, &s);
}

static void
add_seen_of_action(const struct tb_json *action, const struct tb_json *nis,
                   const char *instance, struct tb_alert *out)
{
    const struct tb_json *net = tb_webhook_at(action, "networkConnectionAction");
    const struct tb_json *probes = tb_webhook_at(action, "portProbeAction/portProbeDetails");
    const char *ip = tb_webhook_str(net, "localIpDetails/ipAddressV4");
    char eni[TB_AWS_ID_SIZE];

    if (ip == NULL) {
        ip = tb_webhook_str(net, "localIpDetails/ipAddressV6");
    }
    (void)tb_webhook_find_id(tb_webhook_str(net, "localNetworkInterface"), "eni-", eni);
    add_seen(nis, instance, eni, ip, out);
    for (size_t i = 0;
         tb_json_is_array(probes) && i < tb_json_count(probes) && i < TB_ALERT_MAX_INDICATORS;
         i++) {
        add_seen(nis, instance, "",
                 tb_webhook_str(tb_json_item(probes, i), "localIpDetails/ipAddressV4"), out);
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
            guardduty_add_source(out, &s);
        }
    }
    if (out->source_count == 0) {
        (void)tb_str_copy(whole.instance, sizeof(whole.instance), instance);
        guardduty_add_source(out, &whole);
    }
}

void
guardduty_read_sources(const struct tb_json *finding, struct tb_alert *out)
{
    const char *type = tb_webhook_str(finding, "resource/resourceType");
    const struct tb_json *details = tb_webhook_at(finding, "resource/instanceDetails");
    const struct tb_json *nis = tb_webhook_at(details, "networkInterfaces");
    char instance[TB_AWS_ID_SIZE];
    char shown[64];

    if (refuse_type(type, true, out)) {
        return;
    }
    if (!tb_webhook_find_id(tb_webhook_str(details, "instanceId"), "i-", instance)) {
        /* credentials of an instance: the session is named after it, "AROA...:i-..." */
        (void)tb_webhook_find_id(
            tb_webhook_str(finding, "resource/accessKeyDetails/principalId"), "i-", instance);
    }
    add_seen_of_action(tb_webhook_at(finding, "service/action"), nis, instance, out);
    if (out->source_count == 0) {
        add_instance(nis, instance, out);
    }
    if (out->source_count == 0 && !refuse_type(type, false, out)) {
        tb_webhook_clean_text(shown, sizeof(shown), type != NULL ? type : "not named");
        (void)snprintf(out->nothing_to_mirror, sizeof(out->nothing_to_mirror),
                       "finding that names no instance or network interface (resource type %s)",
                       shown);
    }
}
