/* From a body to a committed alert: adapter, policy, store; or the analyst's own request. */
#include <tapbox/intake.h>

#include <stdio.h>

#include <tapbox/clock.h>

/* Commits it and fills in what the outcome alone says. */
static enum tb_err
commit(struct tb_store *store, const struct tb_intake *intake, struct tb_intake_result *out,
       struct tb_fail *fail)
{
    enum tb_err err = tb_store_intake(store, intake, &out->outcome, out->capture_id, fail);

    if (err == TB_EFORMAT || err == TB_ENOTFOUND) {
        /* the store's trouble, not the sender's: it should send it again */
        if (fail != NULL) {
            fail->err = TB_EIO;
        }
        return TB_EIO;
    }
    if (err != TB_OK) {
        return err;
    }
    switch (out->outcome) {
    case TB_INTAKE_CREATED:
    case TB_INTAKE_IGNORED:
    case TB_INTAKE_REFUSED:
    case TB_INTAKE_NOTED:
    case TB_INTAKE_OUTCOME_COUNT:
        (void)tb_str_copy(out->reason, sizeof(out->reason), intake->decision_reason);
        break;
    case TB_INTAKE_JOINED:
        (void)snprintf(out->reason, sizeof(out->reason),
                       "its source is being captured already: %.180s", intake->decision_reason);
        break;
    case TB_INTAKE_COOLING:
        (void)snprintf(out->reason, sizeof(out->reason),
                       "this finding was captured just before, by %s (policy.cooldown)",
                       out->capture_id);
        break;
    case TB_INTAKE_DUPLICATE:
        (void)tb_str_copy(out->reason, sizeof(out->reason), "it was delivered before");
        break;
    }
    return TB_OK;
}

enum tb_err
tb_intake_event(struct tb_store *store, const struct tb_policy *policy, struct tb_bytes body,
                const struct tb_intake_from *from, struct tb_intake_result *out,
                struct tb_fail *fail)
{
    struct tb_intake_result result = {.outcome = TB_INTAKE_IGNORED};
    struct tb_capture_request request;
    char reason[TB_CAPTURE_MAX_TEXT];
    enum tb_decision decision;
    struct tb_intake intake = {.body = body,
                               .content_type = "application/json",
                               .remote = from->remote,
                               .token_name = from->token_name,
                               .decision_reason = reason,
                               .received_utc_ns = tb_clock_utc_ns(),
                               .most_duration_ns = policy->bounds.max_duration_ns,
                               .cooldown_ns = policy->cooldown_ns};
    enum tb_err err = tb_webhook_read(body, &result.alert, fail);

    if (err != TB_OK) {
        return err;
    }
    decision = tb_policy_decide(policy, &result.alert, &request, reason);
    intake.refused = decision == TB_DECISION_REFUSE;
    if (decision == TB_DECISION_CAPTURE) {
        (void)tb_str_copy(request.requested_by, sizeof(request.requested_by), from->token_name);
        intake.capture = &request;
    }
    intake.alert = &result.alert;
    intake.adapter = result.alert.adapter;
    intake.key = result.alert.key;
    err = commit(store, &intake, &result, fail);
    if (err == TB_OK) {
        *out = result;
    }
    return err;
}

enum tb_err
tb_intake_request(struct tb_store *store, const struct tb_policy *policy, struct tb_bytes body,
                  const char *idempotency_key, const struct tb_intake_from *from,
                  struct tb_intake_result *out, struct tb_fail *fail)
{
    struct tb_intake_result result = {.outcome = TB_INTAKE_IGNORED};
    struct tb_capture_request request;
    char key[TB_CAPTURE_MAX_TEXT] = "";
    struct tb_intake intake = {.adapter = "api",
                               .key = key,
                               .body = body,
                               .content_type = "application/json",
                               .remote = from->remote,
                               .token_name = from->token_name,
                               .received_utc_ns = tb_clock_utc_ns(),
                               .most_duration_ns = policy->bounds.max_duration_ns,
                               .capture = &request};
    enum tb_err err;

    /* two analysts may choose the same key for different things */
    if (idempotency_key != NULL && snprintf(key, sizeof(key), "%s/%s", from->token_name,
                                            idempotency_key) >= (int)sizeof(key)) {
        return tb_fail_set(fail, TB_EINVAL, "Idempotency-Key: longer than %zu octets",
                           sizeof(key) - strlen(from->token_name) - 2);
    }
    err = tb_capture_request_parse(body, &policy->bounds, &request, fail);
    if (err != TB_OK) {
        return err;
    }
    (void)tb_str_copy(request.requested_by, sizeof(request.requested_by), from->token_name);
    intake.decision_reason = request.reason;
    err = commit(store, &intake, &result, fail);
    if (err == TB_OK) {
        *out = result;
    }
    return err;
}
