/* A finding in the Open Cybersecurity Schema Framework, as Security Hub's newer events have it.
 */
#include "securityhub_int.h"

#include <stdio.h>

#include <tapbox/clock.h>
#include <tapbox/ids.h>

enum {
    RESOURCES_MAX = 1000, /* that are looked at */
    EVIDENCES_MAX = 100
};

static bool
is_guardduty(const struct tb_json *finding)
{
    const char *name = tb_webhook_str(finding, "metadata/product/name");
    const char *uid = tb_webhook_str(finding, "metadata/product/uid");

    return (name != NULL && strcasecmp(name, "GuardDuty") == 0) ||
           (uid != NULL && strstr(uid, "/aws/guardduty") != NULL);
}

/* 1 informational .. 5 critical, 6 fatal: the lower end of each band, as of ASFF's labels. */
static double
read_severity(const struct tb_json *finding)
{
    static const double of_id[] = {0, 0.1, 1, 4, 7, 9, 10};
    static const struct {
        const char *word;
        int id;
    } words[] = {{"Informational", 1}, {"Low", 2},      {"Medium", 3},
                 {"High", 4},          {"Critical", 5}, {"Fatal", 6}};
    const char *text = tb_webhook_str(finding, "severity");
    double id;

    if (tb_webhook_number(finding, "severity_id", &id) && id >= 1 && id <= 6) {
        return of_id[(size_t)id];
    }
    for (size_t i = 0; text != NULL && i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasecmp(words[i].word, text) == 0) {
            return of_id[words[i].id];
        }
    }
    return 0;
}

/* "created_time_dt", else "created_time" in milliseconds; `name` without "_time". */
static int64_t
read_time(const struct tb_json *info, const char *name)
{
    static const int64_t latest_ms = 253402300799999; /* of the year 9999 */
    char path[64];
    double ms;
    int64_t utc_ns;

    (void)snprintf(path, sizeof(path), "%s_time_dt", name);
    utc_ns = tb_webhook_time(tb_webhook_str(info, path));
    (void)snprintf(path, sizeof(path), "%s_time", name);
    if (utc_ns == 0 && tb_webhook_number(info, path, &ms) && ms > 0 &&
        ms <= (double)latest_ms && ms <= (double)(INT64_MAX / TB_NS_PER_MS) / 2) {
        utc_ns = (int64_t)ms * TB_NS_PER_MS;
    }
    return utc_ns;
}

static void
read_place(const struct tb_event *event, struct tb_alert *out)
{
    const struct tb_json *f = event->detail;
    const struct tb_json *resource = tb_json_item(tb_webhook_at(f, "resources"), 0);
    const char *const accounts[] = {tb_webhook_str(f, "cloud/account/uid"),
                                    tb_webhook_str(resource, "owner/account/uid"),
                                    event->account};
    const char *const regions[] = {tb_webhook_str(f, "cloud/region"),
                                   tb_webhook_str(resource, "region"), event->region};

    for (size_t i = 0; i < 3 && out->account[0] == 0; i++) {
        if (accounts[i] != NULL && tb_account_valid(accounts[i])) {
            (void)tb_str_copy(out->account, sizeof(out->account), accounts[i]);
        }
    }
    for (size_t i = 0; i < 3 && out->region[0] == 0; i++) {
        (void)tb_webhook_name(out->region, sizeof(out->region), regions[i]);
    }
}

/* --- sources --- */

static struct securityhub_resource
resource_of(const struct tb_json *at)
{
    struct securityhub_resource r = {.type = tb_webhook_str(at, "type"),
                                     .uid = tb_webhook_str(at, "uid"),
                                     .principal = tb_webhook_str(at, "data/principal_id"),
                                     .details = tb_webhook_at(at, "data")};

    if (r.uid == NULL) {
        r.uid = tb_webhook_str(at, "name");
    }
    return r;
}

/* A list of {"name", "value"}. */
static void
read_tags(const struct tb_json *tags, struct tb_alert *out)
{
    size_t count = tb_json_is_array(tags) ? tb_json_count(tags) : 0;

    out->tags_known = tb_json_is_array(tags) && count <= TB_ALERT_MAX_TAGS;
    for (size_t i = 0; i < count && out->tag_count < TB_ALERT_MAX_TAGS; i++) {
        struct tb_alert_tag *tag = &out->tags[out->tag_count];
        const struct tb_json *one = tb_json_item(tags, i);
        const char *key = tb_webhook_str(one, "name");

        tb_webhook_clean_text(tag->key, sizeof(tag->key),
                              key != NULL ? key : tb_webhook_str(one, "key"));
        tb_webhook_clean_text(tag->value, sizeof(tag->value), tb_webhook_str(one, "value"));
        out->tag_count += tag->key[0] != 0 ? 1 : 0;
    }
}

static void
read_resources(const struct tb_json *finding, struct tb_alert *out)
{
    const struct tb_json *list = tb_webhook_at(finding, "resources");
    struct securityhub_resource first = {0};

    for (size_t i = 0; i < tb_json_count(list); i++) {
        struct securityhub_resource r = resource_of(tb_json_item(list, i));
        size_t before = out->source_count;

        if (i == 0) {
            first = r;
        }
        securityhub_add_resource(&r, out);
        if (before == 0 && out->source_count > 0) {
            read_tags(tb_webhook_at(tb_json_item(list, i), "tags"), out);
        }
    }
    if (out->resource[0] == 0) {
        (void)tb_str_copy(out->resource, sizeof(out->resource), "other");
    }
    securityhub_tell_why_not(&first, out);
}

/* --- indicators --- */

/* Which instance an end of a connection is, if it says so. */
static bool
is_ours(const struct tb_json *end, const struct tb_alert *alert)
{
    static const char *const ids[] = {"instance_uid", "uid", "interface_uid", "interface_name"};
    const char *ip = tb_webhook_str(end, "ip");
    char id[TB_AWS_ID_SIZE];

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        const char *text = tb_webhook_str(end, ids[i]);

        if (tb_webhook_find_id(text, "i-", id) || tb_webhook_find_id(text, "eni-", id)) {
            return true;
        }
    }
    for (size_t i = 0; ip != NULL && i < alert->source_count; i++) {
        if (tb_webhook_same_address(alert->sources[i].ip, ip)) {
            return true;
        }
    }
    return false;
}

static void
add_end(const struct tb_json *end, const struct tb_indicator *more, struct tb_alert *out)
{
    const char *domain = tb_webhook_str(end, "hostname");

    (void)tb_webhook_add_address(out, tb_webhook_str(end, "ip"), more);
    (void)tb_webhook_add_domain(out, domain != NULL ? domain : tb_webhook_str(end, "domain"),
                                more);
}

static void
read_direction(const struct tb_json *connection, char out[16])
{
    const char *text = tb_webhook_str(connection, "direction");
    double id = 0;

    (void)tb_webhook_number(connection, "direction_id", &id);
    if (id == 1 || (text != NULL && strcasecmp(text, "inbound") == 0)) {
        (void)tb_str_copy(out, 16, "inbound");
    } else if (id == 2 || (text != NULL && strcasecmp(text, "outbound") == 0)) {
        (void)tb_str_copy(out, 16, "outbound");
    }
}

/* Of one evidence: the ends of its connection that are not ours, and the name that was asked
 * for. */
static void
read_evidence(const struct tb_json *at, struct tb_alert *out)
{
    const struct tb_json *source = tb_webhook_at(at, "src_endpoint");
    const struct tb_json *destination = tb_webhook_at(at, "dst_endpoint");
    const struct tb_json *connection = tb_webhook_at(at, "connection_info");
    const bool on_wire = tb_webhook_at(at, "api") == NULL; /* else the caller of an API */
    struct tb_indicator in = {.port = tb_webhook_port(source, "port"),
                              .local_port = tb_webhook_port(destination, "port"),
                              .on_wire = on_wire};
    struct tb_indicator to = {.port = tb_webhook_port(destination, "port"),
                              .local_port = tb_webhook_port(source, "port"),
                              .on_wire = on_wire};
    struct tb_indicator name = {.direction = "outbound", .on_wire = on_wire};

    (void)tb_webhook_lower_name(in.protocol, sizeof(in.protocol),
                                tb_webhook_str(connection, "protocol_name"));
    (void)tb_str_copy(to.protocol, sizeof(to.protocol), in.protocol);
    read_direction(connection, in.direction);
    (void)tb_str_copy(to.direction, sizeof(to.direction), in.direction);
    if (strcmp(in.direction, "outbound") != 0 && !is_ours(source, out)) {
        add_end(source, &in, out);
    }
    if (strcmp(in.direction, "inbound") != 0 && !is_ours(destination, out)) {
        add_end(destination, &to, out);
    }
    (void)tb_webhook_add_domain(out, tb_webhook_str(at, "query/hostname"), &name);
}

enum tb_err
securityhub_read_ocsf(const struct tb_event *event, struct tb_alert *out, struct tb_fail *fail)
{
    const struct tb_json *f = event->detail;
    const struct tb_json *info = tb_webhook_at(f, "finding_info");
    const struct tb_json *types = tb_webhook_at(info, "types");
    const struct tb_json *evidences = tb_webhook_at(f, "evidences");
    const char *type =
        tb_json_str(tb_json_is_array(types) ? tb_json_item(types, 0) : types, "");
    struct securityhub_origin origin = {.id = tb_webhook_str(info, "uid"),
                                        .guardduty = is_guardduty(f)};
    char updated[TB_TIME_TEXT_SIZE] = "";
    double status = 0;
    enum tb_err err;

    if (origin.id == NULL) {
        return tb_fail_set(fail, TB_EFORMAT,
                           "Security Hub finding: finding_info.uid is missing");
    }
    out->created_utc_ns = read_time(info, "created");
    out->updated_utc_ns = read_time(info, "modified");
    out->first_seen_utc_ns = read_time(info, "first_seen");
    out->seen_utc_ns = read_time(info, "last_seen");
    if (out->seen_utc_ns == 0) {
        out->seen_utc_ns = out->updated_utc_ns;
    }
    if (out->updated_utc_ns != 0) {
        tb_time_format_ns(updated, out->updated_utc_ns);
        origin.updated = updated;
    }
    securityhub_type(type, origin.guardduty, out);
    tb_webhook_clean_text(out->summary, sizeof(out->summary), tb_webhook_str(info, "title"));
    out->severity = read_severity(f);
    read_place(event, out);
    (void)tb_webhook_number(f, "status_id", &status);
    /* 3 suppressed, 4 resolved, 5 archived, 6 deleted */
    out->archived = event->action == NULL && status >= 3 && status <= 6;
    err = securityhub_name(event, &origin, out, fail);
    if (err != TB_OK) {
        return err;
    }
    read_resources(f, out);
    for (size_t i = 0; i < tb_json_count(evidences) && i < EVIDENCES_MAX; i++) {
        read_evidence(tb_json_item(evidences, i), out);
    }
    return TB_OK;
}
