/* Security Hub's events: ASFF and OCSF findings, imported or chosen by a person. */
#include "securityhub_int.h"

#include <stdio.h>

#include <tapbox/digest.h>

enum {
    /* of a key, whose 255 characters hold them and "/archived" */
    ID_MAX = 180,
    UPDATED_MAX = 24,
    PRESSED_MAX = 36
};

static const char chosen_by_a_person[] = "Security Hub Findings - Custom Action";

/* Its other events (insight results, for instance) are EventBridge's: no adapter reads them. */
static bool
is_ours(const char *source, const char *type)
{
    return source != NULL && type != NULL && strcmp(source, "aws.securityhub") == 0 &&
           (strcmp(type, "Security Hub Findings - Imported") == 0 ||
            strcmp(type, chosen_by_a_person) == 0 || strcmp(type, "Findings Imported V2") == 0);
}

/* The event around them: each of its findings is an alert. */
static enum tb_err
open_event(const struct tb_json *body, struct tb_event *out, struct tb_fail *fail)
{
    const struct tb_json *detail = tb_json_at(body, "/detail");
    const char *source = tb_json_str(body, "/source");
    const char *type = tb_json_str(body, "/detail-type");

    if (!is_ours(source, type)) {
        return TB_ENOTFOUND;
    }
    *out = (struct tb_event){.source = source,
                             .detail_type = type,
                             .account = tb_json_str(body, "/account"),
                             .region = tb_json_str(body, "/region"),
                             .id = tb_json_str(body, "/id"),
                             .time = tb_json_str(body, "/time"),
                             .resources = tb_json_at(body, "/resources"),
                             .list = tb_webhook_at(detail, "findings")};
    if (tb_json_is_object(out->list)) { /* one, without its list */
        out->detail = out->list;
        out->list = NULL;
    } else if (!tb_json_is_array(out->list)) {
        return tb_fail_set(fail, TB_EFORMAT, "Security Hub event: detail.findings is no list");
    }
    if (strcmp(type, chosen_by_a_person) == 0) {
        out->action = tb_webhook_str(detail, "actionName");
        out->action = out->action != NULL ? out->action : "custom action";
    }
    return TB_OK;
}

static bool
is_ocsf(const struct tb_json *finding)
{
    return tb_json_is_object(tb_json_at(finding, "/finding_info")) &&
           (tb_json_at(finding, "/class_uid") != NULL ||
            tb_json_at(finding, "/metadata/product") != NULL);
}

static bool
recognises(const struct tb_event *event)
{
    if (event->detail_type != NULL) {
        return is_ours(event->source, event->detail_type);
    }
    return is_ocsf(event->detail) || (tb_webhook_str(event->detail, "productArn") != NULL &&
                                      tb_webhook_str(event->detail, "id") != NULL);
}

/* The last part of ".../finding/<id>"; NULL: it has no such part. */
static const char *
finding_id_of(const char *id)
{
    static const char part[] = "/finding/";
    const char *found = NULL;

    for (const char *at = strstr(id, part); at != NULL; at = strstr(at + 1, part)) {
        found = at + strlen(part);
    }
    return found != NULL && *found != 0 ? found : NULL;
}

/* As it is when it is a name of moderate length, else by its digest: the id of some product may
 * be a sentence. */
static enum tb_err
copy_id(const char *id, struct tb_alert *out, struct tb_fail *fail)
{
    char hex[TB_SHA256_HEX_SIZE];
    struct tb_sha256 digest;
    enum tb_err err;

    if (strlen(id) <= ID_MAX && tb_webhook_name(out->id, sizeof(out->id), id)) {
        return TB_OK;
    }
    err = tb_sha256(tb_bytes_str(id), &digest);
    if (err != TB_OK) {
        return tb_fail_set(fail, err, "SHA-256 of a finding's id failed");
    }
    tb_sha256_hex(hex, &digest);
    (void)snprintf(out->id, sizeof(out->id), "sha256:%s", hex);
    return TB_OK;
}

enum tb_err
securityhub_name(const struct tb_event *event, const struct securityhub_origin *origin,
                 struct tb_alert *out, struct tb_fail *fail)
{
    const char *id = origin->guardduty ? finding_id_of(origin->id) : NULL;
    char updated[TB_WEBHOOK_STAMP_SIZE], pressed[TB_WEBHOOK_STAMP_SIZE];
    enum tb_err err = copy_id(id != NULL ? id : origin->id, out, fail);

    if (err != TB_OK) {
        return err;
    }
    tb_webhook_stamp(updated, origin->updated);
    /* each time that somebody presses the button is a wish of its own */
    tb_webhook_clean_text(pressed, sizeof(pressed),
                          event->action == NULL ? NULL
                          : event->id != NULL   ? event->id
                                                : event->time);
    (void)snprintf(out->key, sizeof(out->key), "%.*s%s%.*s%s%s%.*s", ID_MAX, out->id,
                   updated[0] != 0 ? "/" : "", UPDATED_MAX, updated,
                   out->archived ? "/archived" : "", pressed[0] != 0 ? "/" : "", PRESSED_MAX,
                   pressed);
    if (event->action != NULL) {
        (void)tb_str_copy(out->adapter, sizeof(out->adapter), "securityhub-action");
    } else if (origin->guardduty) {
        (void)tb_str_copy(out->adapter, sizeof(out->adapter), "guardduty");
    }
    return TB_OK;
}

void
securityhub_type(const char *text, bool guardduty, struct tb_alert *out)
{
    const char *colon = text == NULL ? NULL : strchr(text, ':');
    const char *begin = colon;
    char *at;

    if (!guardduty || colon == NULL) {
        tb_webhook_clean_text(out->type, sizeof(out->type),
                              text != NULL ? text : "Security Hub finding");
        return;
    }
    while (begin > text && begin[-1] != '/') {
        begin--;
    }
    tb_webhook_clean_text(out->type, sizeof(out->type), begin);
    at = strchr(out->type, ':');
    at = at == NULL ? NULL : at + 1 + strcspn(at + 1, "-./");
    if (at != NULL && *at != 0) {
        *at = '/';
    }
}

static enum tb_err
read_finding(const struct tb_event *event, struct tb_alert *out, struct tb_fail *fail)
{
    return is_ocsf(event->detail) ? securityhub_read_ocsf(event, out, fail)
                                  : securityhub_read_asff(event, out, fail);
}

const struct tb_webhook_envelope tb_webhook_securityhub_event = {
    .name = "securityhub",
    .open = open_event,
};

const struct tb_webhook_adapter tb_webhook_securityhub = {
    .name = "securityhub",
    .known_as = "EventBridge events of Security Hub, or an ASFF or OCSF finding alone",
    .recognises = recognises,
    .read = read_finding,
};
