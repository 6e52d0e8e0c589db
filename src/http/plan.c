/* ?dry_run=1 of POST /v1/events and /v1/captures: what would happen, and nothing does. */
#include <stdlib.h>

#include <tapbox/intake.h>
#include <tapbox/preflight.h>

#include "http_int.h"

/* One plan; what would not become a capture has nothing to be looked at for.  NULL: AWS does
 * not tell who and where we are. */
static struct tb_json *
plan_one(struct tb_http_call *call, const struct tb_intake_preview *preview,
         struct tb_fail *fail)
{
    struct tb_plan *plan = malloc(sizeof(*plan));
    struct tb_json *out = NULL;

    if (plan == NULL) {
        (void)tb_fail_set(fail, TB_ENOMEM, "no memory for a plan");
    } else if (preview->verdict.decision != TB_DECISION_CAPTURE) {
        out = tb_intake_preview_json(preview, false);
        tb_json_set_bool(out, "blocked", false);
        tb_json_set(out, "checks", tb_json_array());
    } else if (tb_control_plan(call->server->deps.control, &preview->verdict.request, plan,
                               fail) == TB_OK) {
        out = tb_intake_preview_json(preview, plan->blocked);
        tb_plan_add_json(plan, out);
    }
    free(plan);
    return out;
}

static void
answer(struct tb_http_call *call, const struct tb_intake_preview *previews, size_t count)
{
    struct tb_json *list = count > 1 ? tb_json_array() : NULL, *one = NULL;
    struct tb_fail fail = {0};

    for (size_t i = 0; i < count; i++) {
        one = plan_one(call, &previews[i], &fail);
        if (one == NULL) {
            tb_json_free(list);
            tb_http_problem(call, TB_PROBLEM_UNAVAILABLE, "No plan can be made: %s", fail.text);
            return;
        }
        if (count > 1) {
            tb_json_add(list, one);
        }
    }
    tb_http_answer_json(call, 200, count > 1 ? tb_intake_previews_json(list) : one);
}

static void
plan_event(struct tb_http_call *call)
{
    struct tb_intake_preview *previews = NULL;
    struct tb_fail fail = {0};
    size_t count = 0;

    if (tb_intake_preview_event(&call->server->deps.config->policy,
                                tb_buf_view(&call->request_body), tb_http_sender(call),
                                &previews, &count, &fail) == TB_OK) {
        answer(call, previews, count);
    } else {
        tb_http_problem_of_body(call, &fail);
    }
    free(previews);
}

static void
plan_capture(struct tb_http_call *call)
{
    struct tb_intake_preview *preview = malloc(sizeof(*preview));
    struct tb_fail fail = {0};

    if (preview == NULL) {
        (void)tb_fail_set(&fail, TB_ENOMEM, "no memory for a plan");
        tb_http_problem_of(call, &fail);
    } else if (tb_intake_preview_request(&call->server->deps.config->policy,
                                         tb_buf_view(&call->request_body), preview,
                                         &fail) == TB_OK) {
        answer(call, preview, 1);
    } else {
        tb_http_problem_of_body(call, &fail);
    }
    free(preview);
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
