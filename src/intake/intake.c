/* From a body to a committed alert: adapter, policy, store; or the analyst's own request. */
#include <tapbox/intake.h>

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/clock.h>

/* What the outcome alone says. */
static void
say_outcome(const struct tb_intake *intake, struct tb_intake_result *out)
{
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
}

void
tb_intake_commit(struct tb_store *store, struct tb_intake_ready *const *ready, size_t count)
{
    struct tb_intake_item items[TB_INTAKE_AT_ONCE] = {0};

    assert(count <= TB_INTAKE_AT_ONCE);
    for (size_t i = 0; i < count; i++) {
        items[i].intake = &ready[i]->intake;
        items[i].capture = ready[i]->capture;
    }
    tb_store_intake_many(store, items, count);
    for (size_t i = 0; i < count; i++) {
        struct tb_intake_ready *r = ready[i];

        r->err = items[i].err;
        r->has_capture = items[i].has_capture;
        if (r->err == TB_OK) {
            r->result.outcome = items[i].outcome;
            (void)tb_str_copy(r->result.capture_id, TB_CAPTURE_ID_SIZE, items[i].capture_id);
            say_outcome(&r->intake, &r->result);
            continue;
        }
        r->fail = items[i].fail;
        if (r->err == TB_EFORMAT || r->err == TB_ENOTFOUND) {
            /* the store's trouble, not the sender's: it should send it again */
            r->err = r->fail.err = TB_EIO;
        }
    }
}

enum tb_err
tb_intake_event_read(const struct tb_policy *policy, struct tb_bytes body,
                     const struct tb_intake_from *from, struct tb_intake_ready *out,
                     struct tb_fail *fail)
{
    struct tb_alert *alert = &out->result.alert;
    struct tb_verdict verdict;
    enum tb_err err = tb_webhook_read(body, alert, fail);

    if (err != TB_OK) {
        return err;
    }
    tb_policy_decide(policy, alert, NULL, 0, &verdict);
    out->result.why = verdict.why;
    (void)tb_str_copy(out->result.rule, sizeof(out->result.rule), verdict.rule);
    (void)tb_str_copy(out->reason, sizeof(out->reason), verdict.reason);
    out->intake = (struct tb_intake){.adapter = alert->adapter,
                                     .key = alert->key,
                                     .body = body,
                                     .content_type = "application/json",
                                     .remote = from->remote,
                                     .token_name = from->token_name,
                                     .decision_reason = out->reason,
                                     .received_utc_ns = tb_clock_utc_ns(),
                                     .alert = alert,
                                     .refused = verdict.decision == TB_DECISION_REFUSE,
                                     .most_duration_ns = policy->bounds.max_duration_ns,
                                     .cooldown_ns = verdict.cooldown_ns};
    if (verdict.decision == TB_DECISION_CAPTURE) {
        out->request = verdict.request;
        (void)tb_str_copy(out->request.requested_by, sizeof(out->request.requested_by),
                          from->token_name);
        out->intake.capture = &out->request;
    }
    return TB_OK;
}

/* One alone. */
static enum tb_err
commit(struct tb_store *store, struct tb_intake_ready *ready, struct tb_intake_result *out,
       struct tb_fail *fail)
{
    tb_intake_commit(store, &ready, 1);
    if (ready->err == TB_OK) {
        *out = ready->result;
    } else if (fail != NULL) {
        *fail = ready->fail;
    }
    return ready->err;
}

enum tb_err
tb_intake_event(struct tb_store *store, const struct tb_policy *policy, struct tb_bytes body,
                const struct tb_intake_from *from, struct tb_intake_result *out,
                struct tb_fail *fail)
{
    struct tb_intake_ready *ready = calloc(1, sizeof(*ready));
    enum tb_err err;

    if (ready == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for an alert");
    }
    err = tb_intake_event_read(policy, body, from, ready, fail);
    if (err == TB_OK) {
        err = commit(store, ready, out, fail);
    }
    free(ready);
    return err;
}

enum tb_err
tb_intake_request_read(const struct tb_policy *policy, struct tb_bytes body,
                       const char *idempotency_key, const struct tb_intake_from *from,
                       struct tb_intake_ready *out, struct tb_fail *fail)
{
    enum tb_err err;

    /* two analysts may choose the same key for different things */
    out->key[0] = 0;
    if (idempotency_key != NULL &&
        snprintf(out->key, sizeof(out->key), "%s/%s", from->token_name, idempotency_key) >=
            (int)sizeof(out->key)) {
        return tb_fail_set(fail, TB_EINVAL, "Idempotency-Key: longer than %zu octets",
                           sizeof(out->key) - strlen(from->token_name) - 2);
    }
    err = tb_capture_request_parse(body, &policy->bounds, &out->request, fail);
    if (err != TB_OK) {
        return err;
    }
    (void)tb_str_copy(out->request.requested_by, sizeof(out->request.requested_by),
                      from->token_name);
    out->intake = (struct tb_intake){.adapter = "api",
                                     .key = out->key,
                                     .body = body,
                                     .content_type = "application/json",
                                     .remote = from->remote,
                                     .token_name = from->token_name,
                                     .decision_reason = out->request.reason,
                                     .received_utc_ns = tb_clock_utc_ns(),
                                     .most_duration_ns = policy->bounds.max_duration_ns,
                                     .capture = &out->request};
    return TB_OK;
}

enum tb_err
tb_intake_request(struct tb_store *store, const struct tb_policy *policy, struct tb_bytes body,
                  const char *idempotency_key, const struct tb_intake_from *from,
                  struct tb_intake_result *out, struct tb_fail *fail)
{
    struct tb_intake_ready *ready = calloc(1, sizeof(*ready));
    enum tb_err err;

    if (ready == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a request");
    }
    err = tb_intake_request_read(policy, body, idempotency_key, from, ready, fail);
    if (err == TB_OK) {
        err = commit(store, ready, out, fail);
    }
    free(ready);
    return err;
}
