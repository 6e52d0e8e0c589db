/* EC2's own news of an instance: "EC2 Instance State-change Notification". */
#include <tapbox/webhook_fields.h>

#include <stdio.h>

#include <tapbox/ids.h>

static bool
recognises(const struct tb_event *event)
{
    return event->detail_type != NULL &&
           strcmp(event->detail_type, "EC2 Instance State-change Notification") == 0;
}

/* Only words that EC2 uses: what is unknown is refused, not guessed. */
static bool
is_state(const char *text)
{
    static const char *const states[] = {"pending",  "running", "shutting-down",
                                         "stopping", "stopped", "terminated"};

    for (size_t i = 0; text != NULL && i < sizeof(states) / sizeof(states[0]); i++) {
        if (strcmp(text, states[i]) == 0) {
            return true;
        }
    }
    return false;
}

static enum tb_err
read_state_change(const struct tb_event *event, struct tb_alert *out, struct tb_fail *fail)
{
    struct tb_alert_source source = {.instance = ""};
    const char *state = tb_webhook_str(event->detail, "state");
    char when[64];

    if (!tb_webhook_find_id(tb_webhook_str(event->detail, "instance-id"), "i-",
                            source.instance) &&
        !tb_webhook_find_id(tb_json_str(tb_json_item(event->resources, 0), ""), "i-",
                            source.instance)) {
        return tb_fail_set(fail, TB_EFORMAT,
                           "EC2 state change: instance-id is missing or no instance id");
    }
    if (!is_state(state)) {
        return tb_fail_set(fail, TB_EFORMAT,
                           "EC2 state change: state is missing or none that EC2 knows");
    }
    (void)tb_str_copy(out->instance_state, sizeof(out->instance_state), state);
    /* The same news twice has the same envelope; an instance stops more than once. */
    tb_webhook_clean_text(when, sizeof(when), event->id != NULL ? event->id : event->time);
    (void)tb_str_copy(out->id, sizeof(out->id), source.instance);
    (void)snprintf(out->key, sizeof(out->key), "%s/%s/%s", source.instance, state, when);
    (void)tb_str_copy(out->type, sizeof(out->type), "EC2:Instance/StateChange");
    (void)snprintf(out->summary, sizeof(out->summary), "Instance %s is %s.", source.instance,
                   state);
    (void)tb_str_copy(out->resource, sizeof(out->resource), "instance");
    if (event->account != NULL && tb_account_valid(event->account)) {
        (void)tb_str_copy(out->account, sizeof(out->account), event->account);
    }
    (void)tb_webhook_name(out->region, sizeof(out->region), event->region);
    out->seen_utc_ns = tb_webhook_time(event->time);
    out->created_utc_ns = out->updated_utc_ns = out->seen_utc_ns;
    tb_webhook_add_source(out, &source);
    return TB_OK;
}

const struct tb_webhook_adapter tb_webhook_ec2 = {
    .name = "ec2",
    .known_as = "EventBridge event \"EC2 Instance State-change Notification\"",
    .recognises = recognises,
    .read = read_state_change,
};
