/* From a body to a committed alert: adapter, policy, store; or the analyst's own request. */
#include "intake_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/clock.h>
#include <tapbox/ids.h>
#include <tapbox/intake.h>

bool
tb_intake_is_senders_fault(enum tb_err err)
{
    return err == TB_EFORMAT || err == TB_ENOTFOUND || err == TB_ETOOBIG || err == TB_EINVAL;
}

static enum tb_err
give_fail(struct tb_fail *out, const struct tb_fail *fail)
{
    if (out != NULL) {
        *out = *fail;
    }
    return fail->err;
}

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
tb_intake_ready_free(struct tb_intake_ready *first)
{
    while (first != NULL) {
        struct tb_intake_ready *next = first->next;

        tb_store_prepared_free(first->prepared);
        free(first);
        first = next;
    }
}

static void
commit_batch(struct tb_store *store, struct tb_intake_ready *const *ready, size_t count)
{
    struct tb_intake_item items[TB_INTAKE_AT_ONCE] = {0};

    for (size_t i = 0; i < count; i++) {
        items[i].intake = &ready[i]->intake;
        items[i].capture = ready[i]->capture;
        items[i].only_made = ready[i]->only_made;
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

void
tb_intake_commit(struct tb_store *store, struct tb_intake_ready *const *ready, size_t count)
{
    struct tb_intake_ready *batch[TB_INTAKE_AT_ONCE];
    size_t filled = 0;

    for (size_t i = 0; i < count; i++) {
        for (struct tb_intake_ready *r = ready[i]; r != NULL; r = r->next) {
            if (r->err != TB_OK) {
                continue; /* it could not be read */
            }
            batch[filled++] = r;
            if (filled == TB_INTAKE_AT_ONCE) {
                commit_batch(store, batch, filled);
                filled = 0;
            }
        }
    }
    if (filled > 0) {
        commit_batch(store, batch, filled);
    }
}

/* What policy says of an alert that was read. */
static void
decide(const struct tb_policy *policy, struct tb_bytes body, const struct tb_intake_from *from,
       struct tb_intake_ready *out)
{
    struct tb_alert *alert = &out->result.alert;
    struct tb_verdict verdict;

    tb_policy_decide(policy, alert, NULL, 0, &verdict);
    out->result.why = verdict.why;
    out->result.left_out = verdict.left_out;
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
}

struct chain {
    struct tb_intake_ready *first, **last;
    size_t count;
};

static struct tb_intake_ready *
add_ready(struct chain *chain, struct tb_fail *fail)
{
    struct tb_intake_ready *r = calloc(1, sizeof(*r));

    if (r == NULL) {
        (void)tb_fail_set(fail, TB_ENOMEM, "no memory for an alert");
        return NULL;
    }
    *chain->last = r;
    chain->last = &r->next;
    chain->count++;
    return r;
}

/* What no one capture holds goes on as alerts of their own, behind it. */
static enum tb_err
split(struct chain *chain, struct tb_alert *whole, struct tb_fail *fail)
{
    struct tb_alert *part = malloc(sizeof(*part));
    char name[TB_AWS_ID_SIZE];
    enum tb_err err = TB_OK;

    if (part == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for an alert");
    }
    while (err == TB_OK && chain->count < INTAKE_MAX_PARTS && intake_split(whole, part, name)) {
        struct tb_intake_ready *r = add_ready(chain, fail);

        if (r == NULL) {
            err = TB_ENOMEM;
        } else {
            r->result.alert = *part;
            (void)tb_str_copy(r->part, sizeof(r->part), name);
        }
    }
    free(part);
    return err;
}

/* The i-th of `count` alerts in the body. */
static enum tb_err
read_one(const struct tb_webhook_body *opened, size_t i, size_t count, struct chain *chain,
         struct tb_fail *fail)
{
    struct tb_intake_ready *r = add_ready(chain, fail);

    if (r == NULL) {
        return TB_ENOMEM;
    }
    r->err = tb_webhook_alert(opened, i, &r->result.alert, &r->fail);
    if (r->err == TB_OK) {
        return split(chain, &r->result.alert, fail);
    }
    if (count == 1) {
        return give_fail(fail, &r->fail);
    }
    tb_fail_prefix(&r->fail, "finding %zu of %zu", i + 1, count);
    return TB_OK;
}

enum tb_err
tb_intake_event_read(const struct tb_policy *policy, struct tb_bytes body,
                     const struct tb_intake_from *from, struct tb_intake_ready **out,
                     struct tb_fail *fail)
{
    struct tb_webhook_body *opened = NULL;
    struct chain chain = {.last = &chain.first};
    const struct tb_webhook_how how = {.senders = tb_policy_senders(policy),
                                       .sender = from->sender};
    enum tb_err err = tb_webhook_open(body, &how, &opened, fail);
    size_t count = err == TB_OK ? tb_webhook_count(opened) : 0;

    for (size_t i = 0; i < count && err == TB_OK; i++) {
        err = read_one(opened, i, count, &chain, fail);
    }
    tb_webhook_free(opened);
    if (err != TB_OK) {
        tb_intake_ready_free(chain.first);
        return err;
    }
    for (struct tb_intake_ready *r = chain.first; r != NULL; r = r->next) {
        if (r->err == TB_OK) {
            decide(policy, body, from, r);
            r->err = tb_store_prepare(&r->intake, &r->prepared, &r->fail);
            r->intake.prepared = r->prepared;
        }
    }
    *out = chain.first;
    return TB_OK;
}

const struct tb_intake_ready *
tb_intake_worst(const struct tb_intake_ready *first)
{
    const struct tb_intake_ready *found = NULL;

    for (const struct tb_intake_ready *r = first; r != NULL; r = r->next) {
        if (r->err != TB_OK && (found == NULL || tb_intake_is_senders_fault(found->err))) {
            found = r;
        }
    }
    return found;
}

/* Whether the stored alert was this part of one that was split; what was not split is none. */
static bool
is_part(const struct tb_intake_ready *r, const struct tb_alert_row *row)
{
    size_t len = strlen(row->key), part = strlen(r->part);

    return part > 0 && len > part && row->key[len - part - 1] == '/' &&
           strcmp(row->key + len - part, r->part) == 0;
}

enum tb_err
intake_keep_one(struct tb_intake_ready **first, const struct tb_alert_row *row,
                struct tb_fail *fail)
{
    struct tb_intake_ready **found = NULL, *one;

    if ((*first)->next == NULL) {
        return TB_OK;
    }
    for (struct tb_intake_ready **at = first; *at != NULL; at = &(*at)->next) {
        if ((*at)->err == TB_OK && strcmp((*at)->intake.alert->id, row->sender_id) == 0 &&
            (found == NULL || is_part(*at, row))) {
            found = at;
        }
    }
    if (found == NULL) {
        return tb_fail_set(fail, TB_EFORMAT, "the alert is not in its body as it is read now");
    }
    one = *found;
    *found = one->next;
    one->next = NULL;
    if (*first != NULL) {
        tb_intake_ready_free(*first);
    }
    *first = one;
    return TB_OK;
}

enum tb_err
tb_intake_replay_read(const struct tb_policy *policy, const struct tb_alert_row *row,
                      const char *idempotency_key, struct tb_bytes body,
                      const struct tb_intake_from *from, struct tb_intake_ready **out,
                      struct tb_fail *fail)
{
    struct tb_intake_ready *first = NULL;
    char random[TB_CAPTURE_ID_SIZE] = "";
    enum tb_err err = tb_intake_event_read(policy, body, from, &first, fail);

    if (err == TB_OK) {
        err = intake_keep_one(&first, row, fail);
    }
    if (err == TB_OK && idempotency_key == NULL &&
        tb_capture_id_new(random, tb_clock_utc_ns() / TB_NS_PER_S) != TB_OK) {
        err = tb_fail_set(fail, TB_EIO, "no random octets for a key");
    }
    if (err != TB_OK) {
        tb_intake_ready_free(first);
        return err;
    }
    (void)snprintf(first->key, sizeof(first->key), "replay/%" PRId64 "/%s%s%s", row->id,
                   idempotency_key != NULL ? idempotency_key : random,
                   first->part[0] != 0 ? "/" : "", first->part);
    first->intake.key = first->key;
    first->intake.cooldown_ns = 0;
    *out = first;
    return TB_OK;
}

enum tb_err
tb_intake_event(struct tb_store *store, const struct tb_policy *policy, struct tb_bytes body,
                const struct tb_intake_from *from,
                void (*told)(void *arg, const struct tb_intake_result *result), void *arg,
                struct tb_fail *fail)
{
    struct tb_intake_ready *first = NULL;
    const struct tb_intake_ready *bad;
    enum tb_err err = tb_intake_event_read(policy, body, from, &first, fail);

    if (err != TB_OK) {
        return err;
    }
    tb_intake_commit(store, &first, 1);
    for (const struct tb_intake_ready *r = first; r != NULL && told != NULL; r = r->next) {
        if (r->err == TB_OK) {
            told(arg, &r->result);
        }
    }
    bad = tb_intake_worst(first);
    if (bad != NULL) {
        err = give_fail(fail, &bad->fail);
    }
    tb_intake_ready_free(first);
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
        tb_intake_commit(store, &ready, 1);
        err = ready->err;
    }
    if (err == TB_OK) {
        *out = ready->result;
    } else if (ready->err != TB_OK) {
        err = give_fail(fail, &ready->fail);
    }
    free(ready);
    return err;
}
