/*
 * What SNS posts to /v1/events: no token, but a signature in the body.  SNS gives a message up
 * at any answer of 4xx but 429, and tries again after 5xx: so what is refused for good is 403
 * (or 400, when it cannot be read), and what may be different in a moment is 503.
 */
#include <stdio.h>
#include <strings.h>

#include "http_int.h"

bool
tb_http_is_from_sns(struct tb_http_call *call)
{
    const char *raw = tb_http_header_value(call, "x-amz-sns-rawdelivery");

    return call->route->run == tb_http_post_event &&
           tb_http_header_value(call, TB_HTTP_SNS_TYPE) != NULL &&
           (raw == NULL || strcasecmp(raw, "true") != 0);
}

static void
answer_refusal(struct tb_http_call *call, const struct tb_sns_verdict *verdict, enum tb_err err,
               const struct tb_fail *fail)
{
    if (tb_http_may_log_refusal(call->server)) {
        tb_log(TB_LOG_WARN, NULL, "refused a message of SNS from %s: %s: %s%s%s", call->remote,
               tb_sns_result_name(verdict->result), fail->text,
               verdict->topic[0] != '\0' ? "; topic " : "", verdict->topic);
    }
    tb_http_problem_with(call,
                         err == TB_EDENIED   ? TB_PROBLEM_FORBIDDEN
                         : err == TB_EFORMAT ? TB_PROBLEM_BAD_REQUEST
                                             : TB_PROBLEM_UNAVAILABLE,
                         "reason", tb_sns_result_name(verdict->result), "%s", fail->text);
}

static void
answer_done(struct tb_http_call *call, const char *decision, const char *reason)
{
    struct tb_json *root = tb_json_object();

    tb_json_set_str(root, "decision", decision);
    tb_json_set_str(root, "reason", reason);
    tb_http_answer_json(call, 200, root);
}

/* False: only on a thread that may wait, for a certificate or the disk. */
static bool
take(struct tb_http_call *call, bool may_wait)
{
    struct tb_sns *sns = call->server->deps.sns;
    struct tb_sns_verdict verdict;
    struct tb_fail fail = {0};
    enum tb_err err = tb_sns_check(sns, tb_buf_view(&call->request_body), TB_SNS_POSTED,
                                   may_wait, &verdict, &fail);

    if (verdict.needs_wait) {
        return false;
    }
    if (err != TB_OK) {
        answer_refusal(call, &verdict, err, &fail);
    } else if (verdict.result == TB_SNS_CONFIRMING) {
        answer_done(call, "confirming", "the subscription is being confirmed");
    } else if (verdict.result == TB_SNS_UNSUBSCRIBED) {
        answer_done(call, "noted", "the subscription has ended");
    } else {
        (void)snprintf(call->token_name, sizeof(call->token_name), "sns:%.*s",
                       (int)sizeof(call->token_name) - 5, tb_sns_topic_name(verdict.topic));
        call->roles = TB_ROLE_ALERT;
        if (!tb_http_read_event(call)) {
            tb_sns_count(sns, TB_SNS_NOT_UNDERSTOOD);
        }
    }
    return true;
}

/* On a thread that may wait; it commits for itself. */
static void
take_later(struct tb_http_call *call)
{
    (void)take(call, true);
    if (call->ready != NULL) {
        tb_intake_commit(call->server->deps.store, &call->ready, 1);
    }
}

void
tb_http_post_sns(struct tb_http_call *call)
{
    if (tb_http_query(call, "dry_run") != NULL) {
        tb_http_problem(call, TB_PROBLEM_BAD_REQUEST,
                        "SNS cannot ask for a plan; post the message with a token instead.");
    } else if (!take(call, false)) {
        call->later = take_later;
    }
}
