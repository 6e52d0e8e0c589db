/* POST /v1/events, and what a sender of alerts or requests is told. */
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/intake.h>

#include "http_int.h"

/* The words of the API; a 2xx tells EventBridge to forget the event. */
static const struct {
    const char *decision;
    int status;
} outcomes[] = {
    [TB_INTAKE_CREATED] = {"capture", 202},     [TB_INTAKE_JOINED] = {"joined", 202},
    [TB_INTAKE_DUPLICATE] = {"duplicate", 200}, [TB_INTAKE_IGNORED] = {"ignored", 200},
    [TB_INTAKE_COOLING] = {"ignored", 200},     [TB_INTAKE_REFUSED] = {"refused", 200},
    [TB_INTAKE_NOTED] = {"noted", 200},
};

static struct tb_json *
alert_json(const struct tb_alert *alert)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "adapter", alert->adapter);
    tb_json_set_str(out, "id", alert->id);
    tb_json_set_str(out, "type", alert->type);
    tb_json_set_str(out, "title", alert->summary);
    tb_json_set_number(out, "severity", alert->severity);
    tb_json_set_bool(out, "sample", alert->sample);
    return out;
}

/* Who asked for it may see what came of that, and so may those who may see captures.  Another
 * one's, that an alert merely joined, tells its sender no more than its id. */
static bool
may_see(const struct tb_http_call *call, enum tb_intake_outcome outcome)
{
    return outcome == TB_INTAKE_CREATED ||
           (call->roles & (TB_ROLE_ANALYST | TB_ROLE_RESPONDER | TB_ROLE_ADMIN)) != 0;
}

void
tb_http_server_took(struct tb_http_server *server, const struct tb_intake_result *result)
{
    atomic_fetch_add(&server->counters.intake[result->outcome], 1);
    /* What joins may make a box longer, which a worker sees within a second: waking all of them
     * for each of thousands of alerts would cost more than the alerts. */
    if (server->deps.control != NULL &&
        (result->outcome == TB_INTAKE_CREATED || result->outcome == TB_INTAKE_NOTED)) {
        tb_control_wake(server->deps.control);
    }
}

void
tb_http_answer_intake(struct tb_http_call *call, const struct tb_intake_result *result)
{
    struct tb_http_server *server = call->server;
    struct tb_json *root = tb_json_object();
    struct tb_capture *capture = NULL;
    struct tb_fail fail = {0};

    tb_http_server_took(server, result);
    tb_json_set_str(root, "decision", outcomes[result->outcome].decision);
    tb_json_set_str(root, "reason", result->reason);
    if (result->alert.adapter[0] != 0) {
        tb_json_set(root, "alert", alert_json(&result->alert));
    }
    if (result->capture_id[0] != '\0') {
        snprintf(call->answer.location, sizeof(call->answer.location), "/v1/captures/%s",
                 result->capture_id);
        capture = may_see(call, result->outcome) ? malloc(sizeof(*capture)) : NULL;
        /* It is committed: whatever happens now, the sender must not send it again. */
        if (capture != NULL && tb_store_capture_get(server->deps.store, result->capture_id,
                                                    capture, &fail) == TB_OK) {
            tb_json_set(root, "capture", tb_http_capture_json(server, capture, NULL, NULL));
        } else {
            struct tb_json *only_id = tb_json_object();

            tb_json_set_str(only_id, "id", result->capture_id);
            tb_json_set(root, "capture", only_id);
        }
        free(capture);
    }
    tb_http_answer_json(call, outcomes[result->outcome].status, root);
}

void
tb_http_post_event(struct tb_http_call *call)
{
    const struct tb_http_server_deps *deps = &call->server->deps;
    const struct tb_intake_from from = {.remote = call->remote, .token_name = call->token_name};
    struct tb_intake_result *result;
    struct tb_fail fail = {0};
    enum tb_err err;

    if (tb_http_plan_event(call)) {
        return;
    }
    result = calloc(1, sizeof(*result));
    if (result == NULL) {
        (void)tb_fail_set(&fail, TB_ENOMEM, "no memory for this event");
        tb_http_problem_of(call, &fail);
        return;
    }
    err = tb_intake_event(deps->store, &deps->config->policy, tb_buf_view(&call->request_body),
                          &from, result, &fail);
    if (err == TB_OK) {
        tb_http_answer_intake(call, result);
    } else if (err == TB_ENOTFOUND) {
        /* a body of no known sender: theirs to fix, like any other bad body */
        tb_http_problem(call, TB_PROBLEM_BAD_REQUEST, "%s", fail.text);
    } else {
        tb_http_problem_of(call, &fail);
    }
    free(result);
}
