/* ?dry_run=1 of POST /v1/events and /v1/captures: what would happen, and nothing does. */
#include <stdlib.h>

#include <tapbox/intake.h>
#include <tapbox/preflight.h>

#include "http_int.h"

/* For requests that would not become a capture there is nothing to look at. */
static void
answer(struct tb_http_call *call, const struct tb_intake_preview *preview,
       const struct tb_plan *plan)
{
    struct tb_json *root = tb_intake_preview_json(preview, plan != NULL && plan->blocked);

    if (plan != NULL) {
        tb_plan_add_json(plan, root);
    } else {
        tb_json_set_bool(root, "blocked", false);
        tb_json_set(root, "checks", tb_json_array());
    }
    tb_http_answer_json(call, 200, root);
}

static enum tb_err
preview_event(struct tb_http_call *call, struct tb_intake_preview *out, struct tb_fail *fail)
{
    return tb_intake_preview_event(&call->server->deps.config->policy,
                                   tb_buf_view(&call->request_body), tb_http_sender(call), out,
                                   fail);
}

static enum tb_err
preview_capture(struct tb_http_call *call, struct tb_intake_preview *out, struct tb_fail *fail)
{
    return tb_intake_preview_request(&call->server->deps.config->policy,
                                     tb_buf_view(&call->request_body), out, fail);
}

static void
make_plan(struct tb_http_call *call,
          enum tb_err (*preview_body)(struct tb_http_call *call, struct tb_intake_preview *out,
                                      struct tb_fail *fail))
{
    const struct tb_http_server_deps *deps = &call->server->deps;
    struct tb_intake_preview *preview = malloc(sizeof(*preview));
    struct tb_plan *plan = malloc(sizeof(*plan));
    struct tb_fail fail = {0};
    enum tb_err err;

    if (preview == NULL || plan == NULL) {
        (void)tb_fail_set(&fail, TB_ENOMEM, "no memory for a plan");
        tb_http_problem_of(call, &fail);
        goto out;
    }
    err = preview_body(call, preview, &fail);
    if (err != TB_OK) {
        tb_http_problem_of_body(call, &fail);
    } else if (preview->verdict.decision != TB_DECISION_CAPTURE) {
        answer(call, preview, NULL);
    } else if (tb_control_plan(deps->control, &preview->verdict.request, plan, &fail) ==
               TB_OK) {
        answer(call, preview, plan);
    } else {
        /* not the caller's: AWS does not tell who and where we are */
        tb_http_problem(call, TB_PROBLEM_UNAVAILABLE, "No plan can be made: %s", fail.text);
    }

out:
    free(plan);
    free(preview);
}

static void
plan_event(struct tb_http_call *call)
{
    make_plan(call, preview_event);
}

static void
plan_capture(struct tb_http_call *call)
{
    make_plan(call, preview_capture);
}

bool
tb_http_is_dry_run(struct tb_http_call *call)
{
    const char *value = tb_http_query(call, "dry_run");

    return value != NULL && (strcmp(value, "1") == 0 || strcmp(value, "true") == 0);
}

/* False: it is meant.  True: the answer is there, or `later` is set. */
static bool
put_aside(struct tb_http_call *call, void (*later)(struct tb_http_call *call))
{
    const char *value = tb_http_query(call, "dry_run");

    if (value == NULL || strcmp(value, "0") == 0 || strcmp(value, "false") == 0) {
        return false;
    }
    if (!tb_http_is_dry_run(call)) {
        tb_http_problem(call, TB_PROBLEM_BAD_REQUEST, "dry_run has to be 1 or 0.");
    } else if (call->server->deps.control == NULL) {
        tb_http_problem(call, TB_PROBLEM_UNAVAILABLE, "The control plane is not running.");
    } else {
        call->later = later;
    }
    return true;
}

bool
tb_http_plan_event(struct tb_http_call *call)
{
    return put_aside(call, plan_event);
}

bool
tb_http_plan_capture(struct tb_http_call *call)
{
    return put_aside(call, plan_capture);
}
