/* /v1/alerts: what arrived and what became of it; and one of them decided again. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/digest.h>
#include <tapbox/intake.h>

#include "http_int.h"

/* The API's words for what the store says. */
static const struct {
    const char *decision, *outcome;
} words[] = {
    {"capture", "created"}, {"joined", "joined"}, {"ignored", "ignored"},
    {"refused", "refused"}, {"noted", "noted"},
};
enum {
    WORDS = sizeof(words) / sizeof(words[0])
};

static struct tb_json *
listed_json(const struct tb_alert_listed *a)
{
    struct tb_json *out = tb_json_object();
    char id[TB_ALERT_NAME_SIZE];

    (void)snprintf(id, sizeof(id), TB_ALERT_NAME "%lld", (long long)a->id);
    tb_json_set_str(out, "id", id);
    tb_json_set_time(out, "received", a->received_utc_ns);
    tb_json_set_str(out, "adapter", a->adapter);
    tb_json_set_text(out, "sender_id", a->sender_id);
    tb_json_set_text(out, "type", a->type);
    tb_json_set_number(out, "severity", a->severity);
    for (size_t i = 0; i < WORDS; i++) {
        if (strcmp(words[i].outcome, a->outcome) == 0) {
            tb_json_set_str(out, "decision", words[i].decision);
        }
    }
    tb_json_set_str(out, "reason", a->reason);
    tb_json_set_text(out, "rule", a->rule);
    tb_json_set_text(out, "capture", a->capture_id);
    tb_json_set_str(out, "by", a->token_name);
    tb_json_set_bool(out, "replay", a->replayed);
    return out;
}

/* ?decision=, false after a 400. */
static bool
read_decision(struct tb_http_call *call, const char **out_outcome)
{
    const char *decision = tb_http_query(call, "decision");

    *out_outcome = "";
    for (size_t i = 0; decision != NULL && i < WORDS; i++) {
        if (strcmp(words[i].decision, decision) == 0) {
            *out_outcome = words[i].outcome;
            return true;
        }
    }
    if (decision != NULL) {
        tb_http_problem(call, TB_PROBLEM_BAD_REQUEST,
                        "decision has to be capture, joined, ignored, refused or noted.");
    }
    return decision == NULL;
}

/* "alert-17"; 0: it is none. */
static int64_t
number_of(const char *name)
{
    size_t prefix = sizeof(TB_ALERT_NAME) - 1;
    size_t digits =
        strncmp(name, TB_ALERT_NAME, prefix) == 0 ? strspn(name + prefix, "0123456789") : 0;

    return digits > 0 && digits < 18 && name[prefix + digits] == 0
               ? strtoll(name + prefix, NULL, 10)
               : 0;
}

/* ?before=, the last of the page before; false after a 400. */
static bool
read_before(struct tb_http_call *call, int64_t *out)
{
    const char *before = tb_http_query(call, "before");

    *out = before != NULL ? number_of(before) : 0;
    if (before != NULL && *out == 0) {
        tb_http_problem(call, TB_PROBLEM_BAD_REQUEST,
                        "before has to be an alert's id, alert-....");
        return false;
    }
    return true;
}

void
tb_http_list_alerts(struct tb_http_call *call)
{
    struct tb_alert_listed *alerts = NULL;
    struct tb_fail fail = {0};
    struct tb_json *root, *list;
    const char *outcome = "";
    int64_t before = 0;
    size_t count = 0, limit;

    if (!read_decision(call, &outcome) || !read_before(call, &before) ||
        !tb_http_read_limit(call, &limit)) {
        return;
    }
    if (tb_store_alert_list(call->server->deps.store, outcome, before, limit, &alerts, &count,
                            &fail) != TB_OK) {
        tb_http_problem_of(call, &fail);
        return;
    }
    root = tb_json_object();
    list = tb_json_array();
    for (size_t i = 0; i < count; i++) {
        tb_json_add(list, listed_json(&alerts[i]));
    }
    tb_json_set(root, "alerts", list);
    free(alerts);
    tb_http_answer_json(call, 200, root);
}

/* --- decided again --- */

/* Its body takes the place of the call's own; false after an answer. */
static bool
load_alert(struct tb_http_call *call, struct tb_alert_row *out)
{
    struct tb_buf *body = &call->request_body;
    size_t had = body->cap;
    struct tb_fail fail = {0};
    enum tb_err err;

    tb_buf_reset(body);
    err = tb_store_alert_find(call->server->deps.store, number_of(call->path_id), call->path_id,
                              out, body, &fail);
    (void)atomic_fetch_add(&call->server->body_bytes, body->cap - had);
    if (err == TB_ENOTFOUND) {
        tb_http_problem_with(call, TB_PROBLEM_NOT_FOUND, "hint",
                             "GET /v1/alerts lists the alerts", "There is no such alert.");
    } else if (err != TB_OK) {
        tb_http_problem_of(call, &fail);
    } else if (body->len == 0) {
        tb_http_problem(call, TB_PROBLEM_CONFLICT,
                        "This alert is older than store.keep: what it said is no longer here. "
                        "What became of it is, and S3 has it if it was captured.");
        err = TB_ESTATE;
    } else if (strcmp(out->adapter, "api") == 0) {
        tb_http_problem(
            call, TB_PROBLEM_CONFLICT,
            "This is an analyst's request, not an alert: ask for the capture anew.");
        err = TB_ESTATE;
    }
    return err == TB_OK;
}

/* What was posted to a sender's own route need not say whose it is.  The sender takes the place
 * of the alert's id in the path, as in that route; none where the body says it. */
static void
name_sender(struct tb_http_call *call, const struct tb_alert_row *row)
{
    const struct tb_policy *policy = &call->server->deps.config->policy;
    const struct tb_intake_from from = {.remote = call->remote, .token_name = call->token_name};
    struct tb_intake_ready *first = NULL;
    bool says = false;

    call->path_id[0] = 0;
    if (tb_sender_find(tb_policy_senders(policy), row->adapter) == NULL) {
        return;
    }
    if (tb_intake_event_read(policy, tb_buf_view(&call->request_body), &from, &first, NULL) ==
        TB_OK) {
        for (const struct tb_intake_ready *r = first; r != NULL; r = r->next) {
            says =
                says || (r->err == TB_OK && strcmp(r->result.alert.adapter, row->adapter) == 0);
        }
        tb_intake_ready_free(first);
    }
    if (!says) {
        (void)tb_str_copy(call->path_id, sizeof(call->path_id), row->adapter);
    }
}

void
tb_http_replay_alert(struct tb_http_call *call)
{
    struct tb_intake_from from = {.remote = call->remote, .token_name = call->token_name};
    struct tb_alert_row *row;
    const char *key = NULL;
    struct tb_fail fail = {0};

    call->replayed = row = malloc(sizeof(*row));
    if (row == NULL) {
        (void)tb_fail_set(&fail, TB_ENOMEM, "no memory for this call");
        tb_http_problem_of(call, &fail);
        return;
    }
    if (!tb_http_read_idempotency_key(call, &key) || !load_alert(call, row)) {
        return;
    }
    name_sender(call, row);
    if (tb_http_plan_event(call)) {
        return;
    }
    from.sender = tb_http_sender(call);
    if (tb_intake_replay_read(&call->server->deps.config->policy, row, key,
                              tb_buf_view(&call->request_body), &from, &call->ready,
                              &fail) != TB_OK) {
        tb_http_problem_of_body(call, &fail);
    } else if (!tb_http_add_capture(call, call->ready)) {
        tb_http_free_ready(call);
    } /* else to be committed */
}
