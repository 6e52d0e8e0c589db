/* What would become of a body: adapter and policy as for a real one, and nothing is committed.
 */
#include <tapbox/intake.h>

enum tb_err
tb_intake_preview_event(const struct tb_policy *policy, struct tb_bytes body,
                        struct tb_intake_preview *out, struct tb_fail *fail)
{
    struct tb_intake_preview preview = {.decision = TB_DECISION_REFUSE};
    enum tb_err err = tb_webhook_read(body, &preview.alert, fail);

    if (err != TB_OK) {
        return err;
    }
    preview.decision =
        tb_policy_decide(policy, &preview.alert, &preview.request, preview.reason);
    *out = preview;
    return TB_OK;
}

enum tb_err
tb_intake_preview_request(const struct tb_policy *policy, struct tb_bytes body,
                          struct tb_intake_preview *out, struct tb_fail *fail)
{
    struct tb_intake_preview preview = {.decision = TB_DECISION_CAPTURE};
    enum tb_err err = tb_capture_request_parse(body, &policy->bounds, &preview.request, fail);

    if (err == TB_OK) {
        (void)tb_str_copy(preview.reason, sizeof(preview.reason), preview.request.reason);
        *out = preview;
    }
    return err;
}

/* --- as JSON --- */

static void
set_or_null(struct tb_json *object, const char *key, const char *text)
{
    tb_json_set_str(object, key, text[0] != '\0' ? text : NULL);
}

static struct tb_json *
alert_json(const struct tb_alert *alert)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "id", alert->id);
    tb_json_set_str(out, "type", alert->type);
    tb_json_set_number(out, "severity", alert->severity);
    set_or_null(out, "account", alert->account);
    set_or_null(out, "region", alert->region);
    tb_json_set_bool(out, "sample", alert->sample);
    tb_json_set_bool(out, "archived", alert->archived);
    return out;
}

static void
add_source(struct tb_json *list, const char *instance, const char *eni)
{
    struct tb_json *one = tb_json_object();

    set_or_null(one, "instance", instance);
    set_or_null(one, "eni", eni);
    tb_json_add(list, one);
}

/* Those that would be captured; of what is ignored, those that the alert names. */
static struct tb_json *
sources_json(const struct tb_intake_preview *preview)
{
    const struct tb_capture_request *request = &preview->request;
    struct tb_json *list = tb_json_array();

    if (preview->decision != TB_DECISION_CAPTURE) {
        for (size_t i = 0; i < preview->alert.source_count; i++) {
            add_source(list, preview->alert.sources[i].instance, preview->alert.sources[i].eni);
        }
        return list;
    }
    for (size_t i = 0; i < request->eni_count; i++) {
        add_source(list, request->instance, request->enis[i]);
    }
    if (request->eni_count == 0) {
        add_source(list, request->instance, "");
    }
    return list;
}

static struct tb_json *
profile_json(const struct tb_capture_request *request)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_int(out, "duration_seconds", request->duration_ns / TB_NS_PER_S);
    tb_json_set_int(out, "max_bytes", (int64_t)request->max_bytes);
    tb_json_set_int(out, "snaplen", request->snaplen);
    set_or_null(out, "bpf", request->bpf);
    return out;
}

/* As the filter "all" is: one kind so far. */
static struct tb_json *
filter_json(void)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "kind", "all");
    tb_json_set_int(out, "rules", 4);
    tb_json_set_bool(out, "amazon_dns", true);
    return out;
}

struct tb_json *
tb_intake_preview_json(const struct tb_intake_preview *preview, bool blocked)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "decision",
                    tb_decision_name(blocked ? TB_DECISION_REFUSE : preview->decision));
    tb_json_set_str(out, "reason", preview->reason);
    tb_json_set_null(out, "rule");
    if (preview->alert.adapter[0] != 0) {
        tb_json_set(out, "alert", alert_json(&preview->alert));
    } else {
        tb_json_set_null(out, "alert");
    }
    tb_json_set(out, "sources", sources_json(preview));
    tb_json_set(out, "indicators", tb_alert_indicators_json(&preview->alert));
    if (preview->decision == TB_DECISION_CAPTURE) {
        tb_json_set(out, "profile", profile_json(&preview->request));
        tb_json_set(out, "filter", filter_json());
    } else {
        tb_json_set_null(out, "profile");
        tb_json_set_null(out, "filter");
    }
    return out;
}
