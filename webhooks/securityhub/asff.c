/* A finding in the AWS Security Finding Format, whoever wrote it. */
#include "securityhub_int.h"

#include <stdio.h>

#include <tapbox/ids.h>

enum {
    RESOURCES_MAX = 1000, /* that are looked at; ASFF's own ceiling is 32 */
    FIELDS_MAX = 200,     /* of ProductFields; ASFF's own ceiling is 50 */
    ITEMS_MAX = 100,      /* of one list */
    DEPTH_MAX = 8,        /* of what was flattened */
    PATH_SIZE = 256       /* of a key of ProductFields, which has up to 128 characters */
};

static bool
ends_with(const char *text, const char *end)
{
    size_t len = text == NULL ? 0 : strlen(text);

    return len >= strlen(end) && strcmp(text + len - strlen(end), end) == 0;
}

static bool
is_guardduty(const struct tb_json *finding)
{
    const char *product = tb_json_str(finding, "/ProductFields/aws~1securityhub~1ProductName");

    return ends_with(tb_webhook_str(finding, "productArn"), "product/aws/guardduty") ||
           (product != NULL && strcmp(product, "GuardDuty") == 0);
}

/* --- severity --- */

/* Ours has GuardDuty's scale, whose bands are those of the labels: a tenth of Normalized.  0
 * would mean unknown, so that what is of no severity at all becomes 0.1. */
static const struct band {
    const char *label;
    double from, to; /* of Normalized */
    double alone;    /* ours, of the label without it */
} bands[] = {{"INFORMATIONAL", 0, 0, 0.1},
             {"LOW", 1, 39, 1},
             {"MEDIUM", 40, 69, 4},
             {"HIGH", 70, 89, 7},
             {"CRITICAL", 90, 100, 9}};

static double
from_normalized(double normalized)
{
    return normalized < 1 ? 0.1 : normalized / 10;
}

static double
read_severity(const struct tb_json *finding, bool guardduty)
{
    const struct tb_json *at = tb_webhook_at(finding, "severity");
    const char *label;
    double value;
    double normalized;
    bool known;

    if (!tb_json_is_object(at)) {
        at = tb_webhook_at(finding, "findingProviderFields/severity");
    }
    if (guardduty && tb_webhook_number(at, "product", &value) && value > 0 && value <= 10) {
        return value; /* GuardDuty's own number: policy decides as for its own event */
    }
    label = tb_webhook_str(at, "label");
    known = tb_webhook_number(at, "normalized", &normalized) && normalized >= 0 &&
            normalized <= 100;
    for (size_t i = 0; label != NULL && i < sizeof(bands) / sizeof(bands[0]); i++) {
        if (strcasecmp(label, bands[i].label) == 0) {
            /* somebody may have changed the label alone: it counts */
            return known && normalized >= bands[i].from && normalized <= bands[i].to
                       ? from_normalized(normalized)
                       : bands[i].alone;
        }
    }
    return known ? from_normalized(normalized) : 0;
}

/* --- what GuardDuty flattened into ProductFields --- */

/* Those that are of use, lent by the finding: each is looked at again and again. */
struct fields {
    size_t count;
    struct {
        const char *key, *text;
    } at[FIELDS_MAX];
};

static void
gather(const struct tb_json *product, const char *prefix, struct fields *out)
{
    out->count = 0;
    for (size_t i = 0;
         tb_json_is_object(product) && i < tb_json_count(product) && i < FIELDS_MAX; i++) {
        const char *key = NULL;
        const char *text = tb_json_str(tb_json_member(product, i, &key), "");

        if (text != NULL && strncmp(key, prefix, strlen(prefix)) == 0) {
            out->at[out->count].key = key;
            out->at[out->count].text = text;
            out->count++;
        }
    }
}

static struct tb_json *unflatten(const struct fields *fields, const char *prefix, int depth);

/* A name may hold '~', which a pointer writes "~0". */
static bool
has_member(const struct tb_json *object, const char *name)
{
    char pointer[2 * PATH_SIZE] = "/";
    size_t used = 1;

    for (; *name != 0 && used + 2 < sizeof(pointer); name++) {
        pointer[used++] = *name;
        if (*name == '~') {
            pointer[used++] = '0';
        }
    }
    pointer[used] = 0;
    return tb_json_at(object, pointer) != NULL;
}

/* The text of the field with exactly this key, or whether some lie below it. */
static const char *
find_field(const struct fields *fields, const char *path, bool *out_below)
{
    size_t len = strlen(path);
    const char *found = NULL;

    *out_below = false;
    for (size_t i = 0; i < fields->count; i++) {
        const char *key = fields->at[i].key;

        if (strncmp(key, path, len) == 0) {
            found = key[len] == 0 ? fields->at[i].text : found;
            *out_below = *out_below || key[len] == '/';
        }
    }
    return found;
}

/* The elements "<prefix><name>.0_", ".1_", ... */
static struct tb_json *
unflatten_list(const struct fields *fields, const char *prefix, const char *name, int depth)
{
    struct tb_json *out = tb_json_array();

    for (int n = 0; n < ITEMS_MAX; n++) {
        char path[PATH_SIZE];
        bool below;
        const char *text;

        if (snprintf(path, sizeof(path) - 1, "%s%s.%d_", prefix, name, n) >= PATH_SIZE - 1) {
            break;
        }
        text = find_field(fields, path, &below);
        if (below) {
            (void)tb_str_copy(path + strlen(path), 2, "/");
            tb_json_add(out, unflatten(fields, path, depth + 1));
        } else if (text != NULL) {
            tb_json_add_str(out, text);
        } else {
            break;
        }
    }
    return out;
}

/* Cuts ".<digits>_" off the name of a list's element. */
static bool
cut_index(char *name)
{
    char *dot = strrchr(name, '.');
    size_t digits = dot == NULL ? 0 : strspn(dot + 1, "0123456789");

    if (dot == NULL || digits == 0 || strcmp(dot + 1 + digits, "_") != 0) {
        return false;
    }
    *dot = 0;
    return true;
}

/* What lies below `prefix` as the object that it was; all its values are text. */
static struct tb_json *
unflatten(const struct fields *fields, const char *prefix, int depth)
{
    struct tb_json *out = tb_json_object();
    size_t len = strlen(prefix);

    for (size_t i = 0; depth < DEPTH_MAX && i < fields->count; i++) {
        const char *key = fields->at[i].key;
        const char *text = fields->at[i].text;
        char path[PATH_SIZE];
        char *name = path + len;
        size_t part;

        if (strncmp(key, prefix, len) != 0 || strlen(key) > PATH_SIZE - 2) {
            continue;
        }
        part = strcspn(key + len, "/");
        (void)snprintf(path, sizeof(path), "%.*s", (int)(len + part), key);
        if (cut_index(name)) {
            if (!has_member(out, name)) {
                tb_json_set(out, name, unflatten_list(fields, prefix, name, depth));
            }
        } else if (has_member(out, name)) {
            continue;
        } else if (key[len + part] == 0) {
            if (text[0] != 0) { /* an empty object became an empty text */
                tb_json_set_str(out, name, text);
            }
        } else {
            char below[PATH_SIZE + 1];

            (void)snprintf(below, sizeof(below), "%s/", path);
            tb_json_set(out, name, unflatten(fields, below, depth + 1));
        }
    }
    return out;
}

/* --- indicators --- */

static bool
is_own(const struct tb_json *finding, const char *ip)
{
    const struct tb_json *resources = tb_webhook_at(finding, "resources");

    for (size_t i = 0; i < tb_json_count(resources) && i < RESOURCES_MAX; i++) {
        const struct tb_json *instance =
            tb_webhook_at(tb_json_item(resources, i), "details/awsEc2Instance");
        static const char *const lists[] = {"ipV4Addresses", "ipV6Addresses"};

        for (size_t l = 0; l < sizeof(lists) / sizeof(lists[0]); l++) {
            const struct tb_json *ips = tb_webhook_at(instance, lists[l]);

            for (size_t k = 0; k < tb_json_count(ips) && k < ITEMS_MAX; k++) {
                const char *text = tb_json_str(tb_json_item(ips, k), "");

                if (tb_webhook_same_address(text, ip)) {
                    return true;
                }
            }
        }
    }
    return false;
}

/* One end of Network, as the other side; nothing when it is the instance itself. */
static void
add_end(const struct tb_json *finding, const char *const paths[3],
        const struct tb_indicator *more, struct tb_alert *out)
{
    for (size_t i = 0; i < 2; i++) {
        const char *ip = tb_webhook_str(finding, paths[i]);

        if (ip != NULL && !is_own(finding, ip)) {
            (void)tb_webhook_add_address(out, ip, more);
        }
    }
    (void)tb_webhook_add_domain(out, tb_webhook_str(finding, paths[2]), more);
}

/* Network: source and destination of one connection. */
static void
read_network(const struct tb_json *finding, struct tb_alert *out)
{
    static const char *const source[] = {"network/sourceIpV4", "network/sourceIpV6",
                                         "network/sourceDomain"};
    static const char *const destination[] = {
        "network/destinationIpV4", "network/destinationIpV6", "network/destinationDomain"};
    const char *direction = tb_webhook_str(finding, "network/direction");
    uint32_t source_port = tb_webhook_port(finding, "network/sourcePort");
    uint32_t destination_port = tb_webhook_port(finding, "network/destinationPort");
    struct tb_indicator in = {
        .port = source_port, .local_port = destination_port, .on_wire = true};
    struct tb_indicator to = {
        .port = destination_port, .local_port = source_port, .on_wire = true};

    (void)tb_webhook_lower_name(in.protocol, sizeof(in.protocol),
                                tb_webhook_str(finding, "network/protocol"));
    (void)tb_str_copy(to.protocol, sizeof(to.protocol), in.protocol);
    if (direction == NULL || strcasecmp(direction, "OUT") != 0) {
        (void)tb_str_copy(in.direction, sizeof(in.direction),
                          direction != NULL ? "inbound" : "");
        add_end(finding, source, &in, out);
    }
    if (direction == NULL || strcasecmp(direction, "IN") != 0) {
        (void)tb_str_copy(to.direction, sizeof(to.direction),
                          direction != NULL ? "outbound" : "");
        add_end(finding, destination, &to, out);
    }
}

static void
read_threat_intel(const struct tb_json *finding, struct tb_alert *out)
{
    static const struct tb_indicator more = {.on_wire = true};
    const struct tb_json *list = tb_webhook_at(finding, "threatIntelIndicators");

    for (size_t i = 0; i < tb_json_count(list) && i < ITEMS_MAX; i++) {
        const struct tb_json *one = tb_json_item(list, i);
        const char *type = tb_webhook_str(one, "type");
        const char *value = tb_webhook_str(one, "value");

        if (type != NULL && strcasecmp(type, "DOMAIN") == 0) {
            (void)tb_webhook_add_domain(out, value, &more);
        } else if (type != NULL && strncasecmp(type, "IPV", 3) == 0) {
            (void)tb_webhook_add_address(out, value, &more);
        }
    }
}

/* --- sources --- */

/* The interface that GuardDuty saw it on, of the first instance that is named. */
static void
add_seen(const struct tb_json *resources, const struct tb_json *action, struct tb_alert *out)
{
    struct tb_alert_source s = {.seen_here = true};

    if (!tb_webhook_find_id(
            tb_webhook_str(action, "networkConnectionAction/localNetworkInterface"), "eni-",
            s.eni)) {
        return;
    }
    for (size_t i = 0; i < tb_json_count(resources) && i < RESOURCES_MAX && s.instance[0] == 0;
         i++) {
        const struct tb_json *r = tb_json_item(resources, i);
        const char *type = tb_webhook_str(r, "type");

        if (type != NULL && strcmp(type, "AwsEc2Instance") == 0) {
            (void)tb_webhook_find_id(tb_webhook_str(r, "id"), "i-", s.instance);
            (void)tb_webhook_name(s.vpc, sizeof(s.vpc),
                                  tb_webhook_str(r, "details/awsEc2Instance/vpcId"));
            (void)tb_webhook_name(s.subnet, sizeof(s.subnet),
                                  tb_webhook_str(r, "details/awsEc2Instance/subnetId"));
        }
    }
    (void)tb_webhook_name(
        s.ip, sizeof(s.ip),
        tb_webhook_str(action, "networkConnectionAction/localIpDetails/ipAddressV4"));
    tb_webhook_add_source(out, &s);
}

static struct securityhub_resource
resource_of(const struct tb_json *at, const char *address)
{
    struct securityhub_resource r = {
        .type = tb_webhook_str(at, "type"),
        .uid = tb_webhook_str(at, "id"),
        .principal = tb_webhook_str(at, "details/awsIamAccessKey/principalId"),
        .details = tb_webhook_at(at, "details/awsEc2Instance"),
        .address = address};

    if (r.details == NULL) {
        r.details = tb_webhook_at(at, "details/awsEc2NetworkInterface");
    }
    return r;
}

/* A map of tags; of the first resource that can be mirrored. */
static void
read_tags(const struct tb_json *tags, struct tb_alert *out)
{
    if (out->tags_known || !tb_json_is_object(tags)) {
        return;
    }
    out->tags_known = tb_json_count(tags) <= TB_ALERT_MAX_TAGS;
    for (size_t i = 0; i < tb_json_count(tags) && out->tag_count < TB_ALERT_MAX_TAGS; i++) {
        struct tb_alert_tag *tag = &out->tags[out->tag_count];
        const char *key = NULL;
        const char *value = tb_json_str(tb_json_member(tags, i, &key), "");

        tb_webhook_clean_text(tag->key, sizeof(tag->key), key);
        tb_webhook_clean_text(tag->value, sizeof(tag->value), value);
        out->tag_count += tag->key[0] != 0 ? 1 : 0;
    }
}

static void
read_resources(const struct tb_json *finding, const struct tb_json *action,
               struct tb_alert *out)
{
    const struct tb_json *list = tb_webhook_at(finding, "resources");
    const char *address =
        tb_webhook_str(action, "networkConnectionAction/localIpDetails/ipAddressV4");
    struct securityhub_resource first = {0};

    if (tb_json_is_object(list)) { /* one, without its list */
        first = resource_of(list, address);
        securityhub_add_resource(&first, out);
        read_tags(tb_webhook_at(list, "tags"), out);
    } else {
        add_seen(list, action, out);
        for (size_t i = 0; i < tb_json_count(list); i++) {
            const struct tb_json *at = tb_json_item(list, i);
            struct securityhub_resource r = resource_of(at, address);
            size_t before = out->source_count;

            if (i == 0) {
                first = r;
            }
            securityhub_add_resource(&r, out);
            if (before == 0 && out->source_count > 0) {
                read_tags(tb_webhook_at(at, "tags"), out);
            }
        }
    }
    if (out->resource[0] == 0) {
        (void)tb_str_copy(out->resource, sizeof(out->resource), "other");
    }
    securityhub_tell_why_not(&first, out);
}

/* --- the rest --- */

static bool
is_text(const struct tb_json *finding, const char *path, const char *wanted)
{
    const char *text = tb_webhook_str(finding, path);

    return text != NULL && strcasecmp(text, wanted) == 0;
}

/* The Region of the first resource that can be mirrored, as it says; NULL: it does not. */
static const char *
region_of_resource(const struct tb_json *finding)
{
    static const char *const types[] = {"AwsEc2Instance", "AwsEc2NetworkInterface"};
    const struct tb_json *resources = tb_webhook_at(finding, "resources");
    size_t count = tb_json_is_array(resources) ? tb_json_count(resources) : 0;

    for (size_t i = 0; i < count; i++) {
        const struct tb_json *one = tb_json_item(resources, i);
        const char *type = tb_webhook_str(one, "type");

        for (size_t t = 0; type != NULL && t < sizeof(types) / sizeof(types[0]); t++) {
            if (strcmp(type, types[t]) == 0) {
                return tb_webhook_str(one, "region");
            }
        }
    }
    return NULL;
}

/* Where it is, which need not be where the event came from: findings of members and of other
 * Regions are gathered on one bus, and a product may import one about another Region.  (Of the
 * account only Security Hub's own word counts: whoever imports a finding writes the resources.)
 */
static void
read_place(const struct tb_event *event, struct tb_alert *out)
{
    const struct tb_json *f = event->detail;
    const char *account = tb_webhook_str(f, "awsAccountId");

    if (account == NULL || !tb_account_valid(account)) {
        account = event->account;
    }
    if (account != NULL && tb_account_valid(account)) {
        (void)tb_str_copy(out->account, sizeof(out->account), account);
    }
    if (!tb_webhook_name(out->region, sizeof(out->region), region_of_resource(f)) &&
        !tb_webhook_name(out->region, sizeof(out->region), tb_webhook_str(f, "region")) &&
        !tb_webhook_name(
            out->region, sizeof(out->region),
            tb_webhook_str(tb_json_item(tb_webhook_at(f, "resources"), 0), "region"))) {
        (void)tb_webhook_name(out->region, sizeof(out->region), event->region);
    }
}

static const char *
first_type(const struct tb_json *finding)
{
    static const char *const paths[] = {"types", "findingProviderFields/types"};

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        const struct tb_json *at = tb_webhook_at(finding, paths[i]);
        const char *text = tb_json_str(tb_json_is_array(at) ? tb_json_item(at, 0) : at, "");

        if (text != NULL && text[0] != 0) {
            return text;
        }
    }
    return tb_webhook_str(finding, "generatorId");
}

static void
read_times(const struct tb_json *finding, struct tb_alert *out)
{
    out->created_utc_ns = tb_webhook_time(tb_webhook_str(finding, "createdAt"));
    out->updated_utc_ns = tb_webhook_time(tb_webhook_str(finding, "updatedAt"));
    out->first_seen_utc_ns = tb_webhook_time(tb_webhook_str(finding, "firstObservedAt"));
    out->seen_utc_ns = tb_webhook_time(tb_webhook_str(finding, "lastObservedAt"));
    if (out->seen_utc_ns == 0) {
        out->seen_utc_ns = out->updated_utc_ns;
    }
}

enum tb_err
securityhub_read_asff(const struct tb_event *event, struct tb_alert *out, struct tb_fail *fail)
{
    const struct tb_json *f = event->detail;
    struct securityhub_origin origin = {.id = tb_webhook_str(f, "id"),
                                        .updated = tb_webhook_str(f, "updatedAt"),
                                        .guardduty = is_guardduty(f)};
    static const char prefix[] = "aws/guardduty/service/";
    struct fields fields;
    struct tb_json *service;
    const struct tb_json *action;
    enum tb_err err;

    if (origin.id == NULL) {
        return tb_fail_set(fail, TB_EFORMAT, "Security Hub finding: Id is missing");
    }
    gather(tb_webhook_at(f, "productFields"), prefix, &fields);
    service = unflatten(&fields, prefix, 0);
    action = tb_webhook_at(service, "action");
    securityhub_type(first_type(f), origin.guardduty, out);
    tb_webhook_clean_text(out->summary, sizeof(out->summary), tb_webhook_str(f, "title"));
    out->severity = read_severity(f, origin.guardduty);
    read_place(event, out);
    read_times(f, out);
    out->sample = tb_webhook_flag(f, "sample") ||
                  tb_webhook_is_sample(tb_webhook_at(service, "additionalInfo"));
    /* who chooses it by hand wants it nevertheless */
    out->archived =
        event->action == NULL &&
        (is_text(f, "recordState", "ARCHIVED") || is_text(f, "workflow/status", "SUPPRESSED") ||
         is_text(f, "workflow/status", "RESOLVED") || tb_webhook_flag(service, "archived"));
    err = securityhub_name(event, &origin, out, fail);
    read_resources(f, action, out);
    tb_webhook_read_action(action, out);
    tb_webhook_read_action(tb_webhook_at(f, "action"), out);
    read_network(f, out);
    read_threat_intel(f, out);
    tb_json_free(service);
    return err;
}
