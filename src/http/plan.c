/* ?dry_run=1 of POST /v1/events, /v1/captures and of a replay: what would happen, and nothing
 * does. */
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/intake.h>
#include <tapbox/preflight.h>

#include "http_int.h"

enum {
    LOOKED_AT_MOST = 16 /* alerts of one body: each costs some ten calls of AWS */
};

/* Threads of their own: a plan takes as long as AWS takes for it, many times over for a body of
 * many alerts, and extensions must not wait behind it. */
const struct tb_later_kind tb_later_plans = {
    .name = "http plan", .threads = 4, .at_once = 1, .queue = 32, .run = tb_later_run_alone};

static struct tb_json *
not_looked_at(void)
{
    struct tb_json *check = tb_json_object();
    char text[160];

    (void)snprintf(text, sizeof(text),
                   "what the policy says alone: of one body the first %d captures are looked "
                   "at in AWS; plan this one by itself to know more",
                   LOOKED_AT_MOST);
    tb_json_set_str(check, "code", "not_looked_at");
    tb_json_set_str(check, "severity", tb_check_severity_name(TB_CHECK_WARN));
    tb_json_set_null(check, "eni");
    tb_json_set_str(check, "text", text);
    return check;
}

/* Without AWS: nothing would be captured, so there is nothing to look for; or enough was. */
static struct tb_json *
plan_by_policy(const struct tb_intake_preview *preview)
{
    struct tb_json *out = tb_intake_preview_json(preview, false);
    struct tb_json *checks = tb_json_array();

    if (preview->verdict.decision == TB_DECISION_CAPTURE) {
        tb_json_add(checks, not_looked_at());
    }
    tb_json_set_bool(out, "blocked", false);
    tb_json_set(out, "checks", checks);
    return out;
}

/* NULL: AWS does not tell who and where we are. */
static struct tb_json *
plan_with_aws(struct tb_http_call *call, const struct tb_intake_preview *preview,
              struct tb_fail *fail)
{
    struct tb_plan *plan = malloc(sizeof(*plan));
    struct tb_json *out = NULL;

    if (plan == NULL) {
        (void)tb_fail_set(fail, TB_ENOMEM, "no memory for a plan");
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
    unsigned looked_at = 0;

    for (size_t i = 0; i < count; i++) {
        if (previews[i].verdict.decision == TB_DECISION_CAPTURE && looked_at < LOOKED_AT_MOST) {
            looked_at++;
            one = plan_with_aws(call, &previews[i], &fail);
        } else {
            one = plan_by_policy(&previews[i]);
        }
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
                                call->replayed, &previews, &count, &fail) == TB_OK) {
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
        call->later_plan = true;
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
