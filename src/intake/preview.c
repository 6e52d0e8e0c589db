/* What would become of a body: adapter and policy as for a real one, and nothing is committed.
 */
#include "intake_int.h"

#include <stdio.h>
#include <stdlib.h>

static void
preview_one(const struct tb_policy *policy, const struct tb_intake_ready *ready,
            struct tb_intake_preview *out)
{
    if (ready->err == TB_OK) {
        out->alert = ready->result.alert;
        tb_policy_decide(policy, &out->alert, NULL, 0, &out->verdict);
    } else {
        out->verdict.decision = TB_DECISION_REFUSE;
        (void)snprintf(out->verdict.reason, sizeof(out->verdict.reason), "%.*s",
                       (int)sizeof(out->verdict.reason) - 1, ready->fail.text);
    }
}

enum tb_err
tb_intake_preview_event(const struct tb_policy *policy, struct tb_bytes body,
                        const char *sender, const struct tb_alert_row *row,
                        struct tb_intake_preview **out, size_t *out_count, struct tb_fail *fail)
{
    const struct tb_intake_from from = {.remote = "", .token_name = "", .sender = sender};
    struct tb_intake_ready *first = NULL;
    struct tb_intake_preview *made;
    size_t count = 0;
    enum tb_err err = tb_intake_event_read(policy, body, &from, &first, fail);

    if (err == TB_OK && row != NULL) {
        err = intake_keep_one(&first, row, fail);
    }
    if (err != TB_OK) {
        tb_intake_ready_free(first);
        return err;
    }
    for (const struct tb_intake_ready *r = first; r != NULL; r = r->next) {
        count++;
    }
    made = calloc(count, sizeof(*made));
    if (made == NULL) {
        tb_intake_ready_free(first);
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a plan");
    }
    count = 0;
    for (const struct tb_intake_ready *r = first; r != NULL; r = r->next) {
        preview_one(policy, r, &made[count++]);
    }
    tb_intake_ready_free(first);
    *out = made; /* the caller frees it */
    *out_count = count;
    return TB_OK;
}

enum tb_err
tb_intake_preview_request(const struct tb_policy *policy, struct tb_bytes body,
                          struct tb_intake_preview *out, struct tb_fail *fail)
{
    struct tb_capture_request request;
    enum tb_err err = tb_capture_request_parse(body, &policy->bounds, &request, fail);

    if (err == TB_OK) {
        *out = (struct tb_intake_preview){
            .verdict = {.decision = TB_DECISION_CAPTURE, .planned = true, .request = request}};
        (void)tb_str_copy(out->verdict.reason, sizeof(out->verdict.reason), request.reason);
    }
    return err;
}

/* --- as JSON --- */

static struct tb_json *
alert_json(const struct tb_alert *alert)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "sender", alert->adapter);
    tb_json_set_str(out, "id", alert->id);
    tb_json_set_str(out, "type", alert->type);
    tb_json_set_number(out, "severity", alert->severity);
    tb_json_set_text(out, "account", alert->account);
    tb_json_set_text(out, "region", alert->region);
    tb_json_set_bool(out, "sample", alert->sample);
    tb_json_set_bool(out, "archived", alert->archived);
    return out;
}

static void
add_source(struct tb_json *list, const char *instance, const char *eni)
{
    struct tb_json *one = tb_json_object();

    tb_json_set_text(one, "instance", instance);
    tb_json_set_text(one, "eni", eni);
    tb_json_add(list, one);
}

/* The sources that the alert names, of one instance ("" : of all). */
static void
add_named(struct tb_json *list, const struct tb_alert *alert, const char *instance)
{
    for (size_t i = 0; i < alert->source_count; i++) {
        if (instance[0] == 0 || strcmp(alert->sources[i].instance, instance) == 0) {
            add_source(list, alert->sources[i].instance, alert->sources[i].eni);
        }
    }
}

/* Those that would be captured, as far as the alert knows them. */
static struct tb_json *
sources_json(const struct tb_intake_preview *preview)
{
    const struct tb_capture_request *request = &preview->verdict.request;
    struct tb_json *list = tb_json_array();

    for (size_t i = 0; i < request->eni_count; i++) {
        add_source(list, request->instance, request->enis[i]);
    }
    if (request->eni_count == 0 && !request->primary_only) {
        add_named(list, &preview->alert, request->instance);
    }
    if (tb_json_count(list) == 0 && request->instance[0] != 0) {
        add_source(list, request->instance, "");
    }
    return list;
}

static struct tb_json *
profile_json(const struct tb_verdict *verdict)
{
    const struct tb_capture_request *request = &verdict->request;
    const struct tb_storage *storage = &request->storage;
    struct tb_json *out = tb_json_object();

    tb_json_set_int(out, "duration_seconds", request->duration_ns / TB_NS_PER_S);
    tb_json_set_int(out, "max_bytes", (int64_t)request->max_bytes);
    tb_json_set_int(out, "max_packets", (int64_t)request->max_packets);
    tb_json_set_int(out, "packet_length", request->packet_length);
    tb_json_set_int(out, "snaplen", request->snaplen);
    tb_json_set_text(out, "bpf", request->bpf);
    tb_json_set_int(out, "priority", request->priority);
    tb_json_set_bool(out, "primary_only", request->primary_only);
    tb_json_set_text(out, "object_lock", storage->lock_mode);
    tb_json_set_int(out, "retention_seconds", storage->retention_ns / TB_NS_PER_S);
    tb_json_set_bool(out, "legal_hold", storage->legal_hold);
    tb_json_set_text(out, "encryption", storage->sse);
    tb_json_set_text(out, "kms_key", storage->kms_key);
    tb_json_set_text(out, "storage_class", storage->storage_class);
    tb_json_set_text(out, "tags", storage->tags);
    tb_json_set_int(out, "cooldown_seconds", verdict->cooldown_ns / TB_NS_PER_S);
    return out;
}

/* What only EC2 can tell, and the rule hangs on. */
static struct tb_json *
unknown_json(const struct tb_verdict *verdict)
{
    struct tb_json *list = tb_json_array();

    if (verdict->planned && verdict->request.undecided) {
        tb_json_add_str(list, "vpc, subnet or tags of the source");
    }
    return list;
}

struct tb_json *
tb_intake_preview_json(const struct tb_intake_preview *preview, bool blocked)
{
    const struct tb_verdict *verdict = &preview->verdict;
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "decision",
                    tb_decision_name(blocked ? TB_DECISION_REFUSE : verdict->decision));
    tb_json_set_str(out, "reason", verdict->reason);
    tb_json_set_text(out, "rule", verdict->rule);
    if (verdict->left_out > 0) {
        tb_json_set_int(out, "left_out", (int64_t)verdict->left_out);
    }
    if (preview->alert.adapter[0] != 0) {
        tb_json_set(out, "alert", alert_json(&preview->alert));
    } else {
        tb_json_set_null(out, "alert");
    }
    tb_json_set(out, "sources", sources_json(preview));
    tb_json_set(out, "indicators", tb_alert_indicators_json(&preview->alert));
    if (verdict->planned) {
        tb_json_set(out, "profile", profile_json(verdict));
        tb_json_set(out, "filter", tb_filter_json(&verdict->request.filter));
    } else {
        tb_json_set_null(out, "profile");
        tb_json_set_null(out, "filter");
    }
    tb_json_set(out, "unknown", unknown_json(verdict));
    return out;
}

struct tb_json *
tb_intake_previews_json(struct tb_json *plans)
{
    struct tb_json *out = tb_json_object();
    bool blocked = false;

    for (size_t i = 0; i < tb_json_count(plans) && !blocked; i++) {
        (void)tb_json_bool(tb_json_item(plans, i), "/blocked", &blocked);
    }
    tb_json_set_str(out, "decision", "several");
    tb_json_set_str(out, "reason", "the body holds several alerts, each decided by itself");
    tb_json_set_bool(out, "blocked", blocked);
    tb_json_set(out, "alerts", plans);
    return out;
}
