/* The tables of envelopes and adapters, and the way from a body to the one that reads it. */
#include <tapbox/webhook.h>

#include <tapbox/sns_message.h>
#include <tapbox/webhook_fields.h>

static const struct tb_webhook_envelope *const envelopes[] = {
    &tb_webhook_eventbridge,
    &tb_webhook_guardduty_list,
};
enum {
    ENVELOPES = sizeof(envelopes) / sizeof(envelopes[0])
};

static const struct tb_webhook_adapter *const adapters[] = {
    &tb_webhook_guardduty,
    &tb_webhook_ec2,
    &tb_webhook_tapbox,
};
enum {
    ADAPTERS = sizeof(adapters) / sizeof(adapters[0])
};

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
    struct tb_buf known = TB_BUF_INIT(300); /* of the 512 of a sentence */
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
read_event(const struct tb_event *event, struct tb_alert *out, struct tb_fail *fail)
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

enum tb_err
tb_webhook_read(struct tb_bytes body, struct tb_alert *out, struct tb_fail *fail)
{
    struct tb_json *json = NULL;
    struct tb_event event;
    enum tb_err err = tb_json_parse(body, &json, fail);

    if (err == TB_OK && tb_sns_is_message(json)) {
        err = replace_by_message(&json, fail);
    }
    if (err == TB_OK) {
        err = open_envelope(json, &event, fail);
    }
    if (err == TB_OK) {
        err = read_event(&event, out, fail);
    }
    tb_json_free(json);
    return err;
}
