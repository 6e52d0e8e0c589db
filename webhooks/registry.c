/* The tables of envelopes and adapters, and the way from a body to the one that reads it. */
#include <tapbox/webhook.h>

#include <stdlib.h>

#include <tapbox/sns_message.h>
#include <tapbox/webhook_fields.h>

struct tb_webhook_body {
    struct tb_json *json;
    struct tb_event event;
    const struct tb_senders *senders; /* NULL: none */
    const struct tb_sender *sender;   /* that was named; NULL: nobody did */
};

static enum tb_err open_list(const struct tb_json *body, struct tb_event *out,
                             struct tb_fail *fail);

/* {"Findings": [ ... ]}: what get-findings of the AWS CLI prints, GuardDuty's and Security
 * Hub's. */
static const struct tb_webhook_envelope findings_list = {.name = "findings", .open = open_list};

static const struct tb_webhook_envelope *const envelopes[] = {
    &tb_webhook_securityhub_event, /* before EventBridge's, which it is one of */
    &tb_webhook_eventbridge,
    &findings_list,
};
enum {
    ENVELOPES = sizeof(envelopes) / sizeof(envelopes[0])
};

static const struct tb_webhook_adapter *const adapters[] = {
    &tb_webhook_guardduty,
    &tb_webhook_securityhub,
    &tb_webhook_ec2,
    &tb_webhook_tapbox,
};
enum {
    ADAPTERS = sizeof(adapters) / sizeof(adapters[0])
};

static enum tb_err
open_list(const struct tb_json *body, struct tb_event *out, struct tb_fail *fail)
{
    const struct tb_json *list = tb_webhook_at(body, "findings");

    (void)fail;
    if (!tb_json_is_array(list)) {
        return TB_ENOTFOUND;
    }
    *out = (struct tb_event){.list = list};
    return TB_OK;
}

static enum tb_err
open_envelope(const struct tb_json *body, struct tb_event *out, struct tb_fail *fail)
{
    if (!tb_json_is_object(body)) {
        return tb_fail_set(fail, TB_EFORMAT, "the body is not a JSON object");
    }
    for (size_t i = 0; i < ENVELOPES; i++) {
        enum tb_err err = envelopes[i]->open(body, out, fail);

        if (err != TB_ENOTFOUND) {
            return err;
        }
    }
    *out = (struct tb_event){.detail = body};
    return TB_OK;
}

static enum tb_err
tell_unknown(const struct tb_event *event, struct tb_fail *fail)
{
    struct tb_buf known = TB_BUF_INIT(400); /* of the 512 of a sentence */
    char type[64];
    char source[64];

    for (size_t i = 0; i < ADAPTERS; i++) {
        tb_buf_printf(&known, "%s%s", i > 0 ? "; " : "", adapters[i]->known_as);
    }
    if (event->detail_type != NULL) {
        tb_webhook_clean_text(type, sizeof(type), event->detail_type);
        tb_webhook_clean_text(source, sizeof(source), event->source);
        (void)tb_fail_set(
            fail, TB_ENOTFOUND,
            "no adapter reads the EventBridge event \"%s\" from \"%s\" (known: %s)", type,
            source, tb_buf_str(&known));
    } else {
        (void)tb_fail_set(fail, TB_ENOTFOUND,
                          "no adapter knows the shape of this body (known: %s)",
                          tb_buf_str(&known));
    }
    tb_buf_release(&known);
    return TB_ENOTFOUND;
}

static enum tb_err
read_event(const struct tb_event *event, const struct tb_senders *senders, struct tb_alert *out,
           struct tb_fail *fail)
{
    for (size_t i = 0; i < ADAPTERS; i++) {
        if (adapters[i]->recognises(event)) {
            struct tb_alert alert = {.adapter = ""};
            enum tb_err err;

            (void)tb_str_copy(alert.adapter, sizeof(alert.adapter), adapters[i]->name);
            err = adapters[i]->read(event, &alert, fail);
            if (err == TB_OK) {
                *out = alert;
            }
            return err;
        }
    }
    for (size_t i = 0; senders != NULL && i < senders->count; i++) {
        if (tb_sender_recognises(&senders->at[i], event->detail)) {
            return tb_sender_read(&senders->at[i], event->detail, out, fail);
        }
    }
    return tell_unknown(event, fail);
}

/* SNS carries the event as text: a document of its own, which takes the place of its envelope.
 */
static enum tb_err
replace_by_message(struct tb_json **json, struct tb_fail *fail)
{
    struct tb_json *inner = NULL;
    enum tb_err err = tb_sns_message_open(*json, &inner, fail);

    if (err == TB_OK) {
        tb_json_free(*json);
        *json = inner;
    }
    return err;
}

static enum tb_err
check_list(const struct tb_event *event, struct tb_fail *fail)
{
    size_t count = tb_json_count(event->list);

    if (event->list == NULL) {
        return TB_OK;
    }
    if (count == 0) {
        return tb_fail_set(fail, TB_EFORMAT, "the list of findings is empty");
    }
    if (count > TB_WEBHOOK_MAX_ALERTS) {
        return tb_fail_set(fail, TB_ETOOBIG, "%zu findings: send up to %d in one body", count,
                           TB_WEBHOOK_MAX_ALERTS);
    }
    return TB_OK;
}

static enum tb_err
name_sender(const struct tb_webhook_how *how, struct tb_webhook_body *made,
            struct tb_fail *fail)
{
    char shown[TB_ALERT_ADAPTER_SIZE];

    if (how == NULL) {
        return TB_OK;
    }
    made->senders = how->senders;
    if (how->sender == NULL) {
        return TB_OK;
    }
    made->sender = tb_sender_find(how->senders, how->sender);
    if (made->sender == NULL) {
        tb_webhook_clean_text(shown, sizeof(shown), how->sender);
        return tb_fail_set(fail, TB_ENOTFOUND,
                           "the policy describes no sender '%s' (key senders of its file)",
                           shown);
    }
    return TB_OK;
}

/* The body of a sender that was named has no envelope but SNS's. */
static enum tb_err
open_body(struct tb_webhook_body *body, struct tb_fail *fail)
{
    if (body->sender == NULL) {
        return open_envelope(body->json, &body->event, fail);
    }
    body->event = (struct tb_event){.detail = body->json};
    if (tb_json_is_array(body->json)) {
        body->event.list = body->json;
    }
    return TB_OK;
}

enum tb_err
tb_webhook_open(struct tb_bytes body, const struct tb_webhook_how *how,
                struct tb_webhook_body **out, struct tb_fail *fail)
{
    struct tb_webhook_body *made = calloc(1, sizeof(*made));
    enum tb_err err;

    if (made == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for an alert");
    }
    err = name_sender(how, made, fail);
    if (err == TB_OK) {
        err = tb_json_parse(body, &made->json, fail);
    }
    if (err == TB_OK && tb_sns_is_message(made->json)) {
        err = replace_by_message(&made->json, fail);
    }
    if (err == TB_OK) {
        err = open_body(made, fail);
    }
    if (err == TB_OK) {
        err = check_list(&made->event, fail);
    }
    if (err != TB_OK) {
        tb_webhook_free(made);
        return err;
    }
    *out = made;
    return TB_OK;
}

void
tb_webhook_free(struct tb_webhook_body *body)
{
    if (body != NULL) {
        tb_json_free(body->json);
        free(body);
    }
}

size_t
tb_webhook_count(const struct tb_webhook_body *body)
{
    return body->event.list != NULL ? tb_json_count(body->event.list) : 1;
}

enum tb_err
tb_webhook_alert(const struct tb_webhook_body *body, size_t i, struct tb_alert *out,
                 struct tb_fail *fail)
{
    struct tb_event event = body->event;

    if (event.list != NULL) {
        event.detail = tb_json_item(event.list, i);
        event.list = NULL;
    }
    if (!tb_json_is_object(event.detail)) {
        return tb_fail_set(fail, TB_EFORMAT, "the finding is not a JSON object");
    }
    return body->sender != NULL ? tb_sender_read(body->sender, event.detail, out, fail)
                                : read_event(&event, body->senders, out, fail);
}

enum tb_err
tb_webhook_read(struct tb_bytes body, const struct tb_webhook_how *how, struct tb_alert *out,
                struct tb_fail *fail)
{
    struct tb_webhook_body *opened = NULL;
    enum tb_err err = tb_webhook_open(body, how, &opened, fail);

    if (err != TB_OK || opened == NULL) {
        return err;
    }
    err = tb_webhook_count(opened) == 1
              ? tb_webhook_alert(opened, 0, out, fail)
              : tb_fail_set(fail, TB_EFORMAT, "the body holds %zu findings: one is read here",
                            tb_webhook_count(opened));
    tb_webhook_free(opened);
    return err;
}
