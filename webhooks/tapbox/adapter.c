/* Our own minimal alert, for scripts and senders without an adapter: README.md has its members.
 * As with requests, a member that is not known is refused: it may have been meant to matter. */
#include <tapbox/webhook_fields.h>

#include <stdio.h>

#include <tapbox/ids.h>

static bool
recognises(const struct tb_event *event)
{
    return tb_json_at(event->detail, "/tapbox") != NULL;
}

static enum tb_err
wrong(struct tb_fail *fail, const char *member, const char *wanted)
{
    return tb_fail_set(fail, TB_EFORMAT, "tapbox alert: %s has to be %s", member, wanted);
}

static enum tb_err
read_version(const struct tb_json *value, struct tb_alert *out, struct tb_fail *fail)
{
    int64_t version = 0;

    (void)out;
    return tb_json_int(value, "", &version) && version == 1 ? TB_OK
                                                            : wrong(fail, "tapbox", "1");
}

static enum tb_err
read_id(const struct tb_json *value, struct tb_alert *out, struct tb_fail *fail)
{
    return tb_webhook_name(out->id, sizeof(out->id), tb_json_str(value, ""))
               ? TB_OK
               : wrong(fail, "id", "a name without blanks, of up to 255 characters");
}

static enum tb_err
read_type(const struct tb_json *value, struct tb_alert *out, struct tb_fail *fail)
{
    return tb_webhook_name(out->type, sizeof(out->type), tb_json_str(value, ""))
               ? TB_OK
               : wrong(fail, "type", "a name without blanks, of up to 255 characters");
}

static enum tb_err
read_summary(const struct tb_json *value, struct tb_alert *out, struct tb_fail *fail)
{
    if (tb_json_str(value, "") == NULL) {
        return wrong(fail, "summary", "text");
    }
    tb_webhook_clean_text(out->summary, sizeof(out->summary), tb_json_str(value, ""));
    return TB_OK;
}

static enum tb_err
read_severity(const struct tb_json *value, struct tb_alert *out, struct tb_fail *fail)
{
    return tb_json_number(value, "", &out->severity) && out->severity >= 0 &&
                   out->severity <= 10
               ? TB_OK
               : wrong(fail, "severity", "a number from 0 to 10");
}

static enum tb_err
read_account(const struct tb_json *value, struct tb_alert *out, struct tb_fail *fail)
{
    const char *text = tb_json_str(value, "");

    if (text == NULL || !tb_account_valid(text)) {
        return wrong(fail, "account", "12 digits");
    }
    (void)tb_str_copy(out->account, sizeof(out->account), text);
    return TB_OK;
}

static enum tb_err
read_region(const struct tb_json *value, struct tb_alert *out, struct tb_fail *fail)
{
    return tb_webhook_name(out->region, sizeof(out->region), tb_json_str(value, ""))
               ? TB_OK
               : wrong(fail, "region", "a Region such as eu-central-1");
}

static enum tb_err
read_time(const struct tb_json *value, struct tb_alert *out, struct tb_fail *fail)
{
    out->seen_utc_ns = tb_webhook_time(tb_json_str(value, ""));
    out->created_utc_ns = out->updated_utc_ns = out->seen_utc_ns;
    return out->seen_utc_ns != 0 ? TB_OK
                                 : wrong(fail, "time", "a time such as 2026-01-02T03:04:05Z");
}

static enum tb_err
read_sample(const struct tb_json *value, struct tb_alert *out, struct tb_fail *fail)
{
    return tb_json_bool(value, "", &out->sample) ? TB_OK
                                                 : wrong(fail, "sample", "true or false");
}

static enum tb_err
add_source(const struct tb_json *value, struct tb_alert *out, struct tb_fail *fail)
{
    const char *text = tb_json_str(value, "");
    struct tb_alert_source source = {.seen_here = false};

    if (text != NULL && tb_aws_id_valid(text, "eni-")) {
        (void)tb_str_copy(source.eni, sizeof(source.eni), text);
        source.seen_here = true;
    } else if (text != NULL && tb_aws_id_valid(text, "i-")) {
        (void)tb_str_copy(source.instance, sizeof(source.instance), text);
    } else {
        return wrong(fail, "source",
                     "an instance (i- and 8 or 17 hex digits) or an interface (eni- and the "
                     "same), or a list of them");
    }
    tb_webhook_add_source(out, &source);
    return TB_OK;
}

static enum tb_err
read_source(const struct tb_json *value, struct tb_alert *out, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    if (!tb_json_is_array(value)) {
        return add_source(value, out, fail);
    }
    for (size_t i = 0; i < tb_json_count(value) && err == TB_OK; i++) {
        err = add_source(tb_json_item(value, i), out, fail);
    }
    return err;
}

/* Whether each member of the object is one of `known` (NULL at the end). */
static bool
has_only(const struct tb_json *object, const char *const *known)
{
    for (size_t i = 0; i < tb_json_count(object); i++) {
        const char *key = NULL;
        bool found = false;

        (void)tb_json_member(object, i, &key);
        for (size_t k = 0; known[k] != NULL && !found; k++) {
            found = strcmp(key, known[k]) == 0;
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

static bool
is_port_or_absent(const struct tb_json *object, const char *name, uint32_t port)
{
    return tb_webhook_at(object, name) == NULL || port != 0;
}

/* A name in lower case, or nothing; false when it is something else. */
static bool
take_name(const struct tb_json *object, const char *name, char *out, size_t cap)
{
    const struct tb_json *value = tb_webhook_at(object, name);

    return value == NULL || tb_webhook_lower_name(out, cap, tb_json_str(value, ""));
}

static bool
take_indicator(const struct tb_json *value, struct tb_alert *out)
{
    static const char *const members[] = {"ip",       "domain",    "port", "local_port",
                                          "protocol", "direction", NULL};
    struct tb_indicator more = {.port = tb_webhook_port(value, "port"),
                                .local_port = tb_webhook_port(value, "local_port"),
                                .on_wire = true};
    const char *ip = tb_json_str(value, "/ip");
    const char *domain = tb_json_str(value, "/domain");

    return tb_json_is_object(value) && has_only(value, members) &&
           (ip == NULL) != (domain == NULL) && is_port_or_absent(value, "port", more.port) &&
           is_port_or_absent(value, "local_port", more.local_port) &&
           take_name(value, "protocol", more.protocol, sizeof(more.protocol)) &&
           take_name(value, "direction", more.direction, sizeof(more.direction)) &&
           (more.direction[0] == 0 || strcmp(more.direction, "inbound") == 0 ||
            strcmp(more.direction, "outbound") == 0) &&
           (ip != NULL ? tb_webhook_add_address(out, ip, &more)
                       : tb_webhook_add_domain(out, domain, &more));
}

static enum tb_err
read_indicators(const struct tb_json *value, struct tb_alert *out, struct tb_fail *fail)
{
    bool good = tb_json_is_array(value);

    for (size_t i = 0; good && i < tb_json_count(value); i++) {
        good = take_indicator(tb_json_item(value, i), out);
    }
    return good ? TB_OK
                : wrong(fail, "indicators",
                        "a list of {\"ip\" or \"domain\", \"port\", \"local_port\", "
                        "\"protocol\", \"direction\": \"inbound\" or \"outbound\"}");
}

static const struct member {
    const char *name;
    bool required;
    enum tb_err (*read)(const struct tb_json *value, struct tb_alert *out,
                        struct tb_fail *fail);
} members[] = {
    {"tapbox", true, read_version},
    {"id", true, read_id},
    {"type", true, read_type},
    {"source", true, read_source},
    {"summary", false, read_summary},
    {"severity", false, read_severity},
    {"account", false, read_account},
    {"region", false, read_region},
    {"time", false, read_time},
    {"sample", false, read_sample},
    {"indicators", false, read_indicators},
};
enum {
    MEMBERS = sizeof(members) / sizeof(members[0])
};

static const struct member *
find_member(const char *key)
{
    for (size_t i = 0; i < MEMBERS; i++) {
        if (strcmp(members[i].name, key) == 0) {
            return &members[i];
        }
    }
    return NULL;
}

static enum tb_err
read_alert(const struct tb_event *event, struct tb_alert *out, struct tb_fail *fail)
{
    bool seen[MEMBERS] = {false};
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < tb_json_count(event->detail) && err == TB_OK; i++) {
        const char *key = NULL;
        const struct tb_json *value = tb_json_member(event->detail, i, &key);
        const struct member *member = find_member(key);
        char shown[40];

        if (member == NULL) {
            tb_webhook_clean_text(shown, sizeof(shown), key);
            return tb_fail_set(fail, TB_EFORMAT,
                               "tapbox alert: %s: no such member (there are tapbox, id, type, "
                               "source, summary, severity, account, region, time, sample, "
                               "indicators)",
                               shown);
        }
        seen[member - members] = true;
        err = member->read(value, out, fail);
    }
    for (size_t i = 0; i < MEMBERS && err == TB_OK; i++) {
        if (members[i].required && !seen[i]) {
            err = tb_fail_set(fail, TB_EFORMAT, "tapbox alert: %s is missing", members[i].name);
        }
    }
    if (err != TB_OK) {
        return err;
    }
    (void)tb_str_copy(out->key, sizeof(out->key), out->id);
    (void)tb_str_copy(out->resource, sizeof(out->resource), "instance");
    if (out->source_count == 0) {
        (void)tb_str_copy(out->nothing_to_mirror, sizeof(out->nothing_to_mirror),
                          "alert that names no instance or network interface");
    }
    return TB_OK;
}

const struct tb_webhook_adapter tb_webhook_tapbox = {
    .name = "tapbox",
    .known_as = "tapbox's own alert {\"tapbox\": 1, ...}",
    .recognises = recognises,
    .read = read_alert,
};
