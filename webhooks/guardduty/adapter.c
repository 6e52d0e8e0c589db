/* A GuardDuty finding, bare or in its EventBridge event, in either casing. */
#include "guardduty_int.h"

#include <inttypes.h>
#include <stdio.h>

#include <tapbox/ids.h>

enum {
    ID_SIZE = 129 /* 32 hex digits today; the key holds it and a time */
};

static bool
recognises(const struct tb_event *event)
{
    const struct tb_json *f = event->detail;
    const char *service = tb_webhook_str(f, "service/serviceName");
    const char *arn = tb_webhook_str(f, "arn");

    if (event->detail_type != NULL) {
        return strcmp(event->detail_type, "GuardDuty Finding") == 0;
    }
    /* Security Hub's copy of a finding is another format */
    return tb_webhook_str(f, "productArn") == NULL && tb_webhook_str(f, "type") != NULL &&
           tb_webhook_str(f, "id") != NULL &&
           ((service != NULL && strcasecmp(service, "guardduty") == 0) ||
            tb_webhook_str(f, "service/detectorId") != NULL ||
            (arn != NULL && strstr(arn, ":guardduty:") != NULL));
}

static enum tb_err
read_required(const struct tb_json *finding, const char *member, char *out, size_t cap,
              struct tb_fail *fail)
{
    const char *text = tb_webhook_str(finding, member);

    if (text == NULL) {
        return tb_fail_set(fail, TB_EFORMAT, "GuardDuty finding: %s is missing", member);
    }
    if (!tb_webhook_name(out, cap, text)) {
        return tb_fail_set(fail, TB_EFORMAT,
                           "GuardDuty finding: %s is not a name of up to %zu characters",
                           member, cap - 1);
    }
    return TB_OK;
}

/* One key for each occurrence: a redelivery has the same, an update of the finding another.
 * README.md says why. */
static void
make_key(const struct tb_json *finding, const char *id, struct tb_alert *out)
{
    char updated[TB_WEBHOOK_STAMP_SIZE];
    int64_t count = 0;

    tb_webhook_stamp(updated, tb_webhook_str(finding, "updatedAt"));
    if (updated[0] != 0) {
        (void)snprintf(out->key, sizeof(out->key), "%s/%s", id, updated);
    } else if (tb_json_int(tb_webhook_at(finding, "service/count"), "", &count)) {
        (void)snprintf(out->key, sizeof(out->key), "%s/%" PRId64, id, count);
    } else {
        (void)snprintf(out->key, sizeof(out->key), "%s", id);
    }
}

/* 0, unknown, where it cannot be read: EventBridge would drop at once what is refused. */
static double
read_severity(const struct tb_json *finding)
{
    double severity = 0;

    return tb_webhook_number(finding, "severity", &severity) && severity > 0 && severity <= 10
               ? severity
               : 0;
}

/* The finding's own account and Region: an administrator's bus carries those of its members. */
static void
read_place(const struct tb_event *event, struct tb_alert *out)
{
    if (!tb_webhook_name_or_number(out->account, sizeof(out->account), event->detail,
                                   "accountId") ||
        !tb_account_valid(out->account)) {
        out->account[0] = 0;
        if (event->account != NULL && tb_account_valid(event->account)) {
            (void)tb_str_copy(out->account, sizeof(out->account), event->account);
        }
    }
    if (!tb_webhook_name(out->region, sizeof(out->region),
                         tb_webhook_str(event->detail, "region"))) {
        (void)tb_webhook_name(out->region, sizeof(out->region), event->region);
    }
}

static void
read_times(const struct tb_json *finding, struct tb_alert *out)
{
    out->created_utc_ns = tb_webhook_time(tb_webhook_str(finding, "createdAt"));
    out->updated_utc_ns = tb_webhook_time(tb_webhook_str(finding, "updatedAt"));
    out->first_seen_utc_ns = tb_webhook_time(tb_webhook_str(finding, "service/eventFirstSeen"));
    out->seen_utc_ns = tb_webhook_time(tb_webhook_str(finding, "service/eventLastSeen"));
    if (out->seen_utc_ns == 0) {
        out->seen_utc_ns = out->updated_utc_ns;
    }
}

static enum tb_err
read_finding(const struct tb_event *event, struct tb_alert *out, struct tb_fail *fail)
{
    const struct tb_json *finding = event->detail;
    const struct tb_json *sequence = tb_webhook_at(finding, "service/detection/sequence");
    char id[ID_SIZE];
    enum tb_err err = read_required(finding, "id", id, sizeof(id), fail);

    if (err == TB_OK) {
        err = read_required(finding, "type", out->type, sizeof(out->type), fail);
    }
    if (err != TB_OK) {
        return err;
    }
    (void)tb_str_copy(out->id, sizeof(out->id), id);
    out->severity = read_severity(finding);
    make_key(finding, id, out);
    tb_webhook_clean_text(out->summary, sizeof(out->summary), tb_webhook_str(finding, "title"));
    read_place(event, out);
    out->sample = tb_webhook_is_sample(tb_webhook_at(finding, "service/additionalInfo"));
    out->archived = tb_webhook_flag(finding, "service/archived");
    read_times(finding, out);
    if (tb_json_is_object(sequence)) {
        (void)tb_str_copy(out->resource, sizeof(out->resource), "attack_sequence");
        guardduty_read_sequence(sequence, out);
    } else {
        guardduty_read_sources(finding, out);
        tb_webhook_read_action(tb_webhook_at(finding, "service/action"), out);
    }
    return TB_OK;
}

const struct tb_webhook_adapter tb_webhook_guardduty = {
    .name = "guardduty",
    .known_as = "EventBridge event \"GuardDuty Finding\", or the GuardDuty finding alone",
    .recognises = recognises,
    .read = read_finding,
};
