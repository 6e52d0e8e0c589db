/* /healthz, /readyz, /metrics and /openapi.json: what machines around tapbox ask. */
#include <stdlib.h>

#include "http_int.h"

void
tb_http_get_health(struct tb_http_call *call)
{
    struct tb_json *root = tb_json_object();

    tb_json_set_str(root, "status", "ok");
    tb_json_set_str(root, "version", TB_VERSION);
    tb_http_answer_json(call, 200, root);
}

void
tb_http_get_ready(struct tb_http_call *call)
{
    const struct tb_http_server_deps *deps = &call->server->deps;
    struct tb_fail fail = {0};
    struct tb_json *root;
    enum tb_err err = tb_store_check(deps->store, &fail);

    if (err == TB_OK) {
        err = deps->control != NULL
                  ? tb_control_ready(deps->control, &fail)
                  : tb_fail_set(&fail, TB_ECLOSED, "the control plane is not running");
    }
    if (err != TB_OK) {
        tb_http_problem(call, TB_PROBLEM_UNAVAILABLE, "%s", fail.text);
        return;
    }
    root = tb_json_object();
    tb_json_set_str(root, "status", "ready");
    tb_http_answer_json(call, 200, root);
}

static void
put_family(struct tb_buf *out, const char *name, const char *type, const char *help)
{
    tb_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void
put_requests(struct tb_http_server *server, struct tb_buf *out)
{
    put_family(out, "tapbox_http_requests_total", "counter", "Answers by route and status.");
    for (size_t row = 0; row <= TB_HTTP_MAX_ROUTES; row++) {
        bool known = row < tb_http_route_count;

        if (!known && row != TB_HTTP_MAX_ROUTES) {
            continue;
        }
        for (size_t status = 1; status < TB_HTTP_STATUS_CLASSES; status++) {
            unsigned long long n = atomic_load(&server->counters.requests[row][status]);

            if (n > 0) {
                tb_buf_printf(out,
                              "tapbox_http_requests_total{method=\"%s\",route=\"%s\","
                              "status=\"%zuxx\"} %llu\n",
                              known ? tb_http_routes[row].method : "",
                              known ? tb_http_routes[row].path : "", status, n);
            }
        }
    }
}

static void
put_intake(struct tb_http_server *server, struct tb_buf *out)
{
    static const char *const refusals[TB_REFUSAL_COUNT] = {
        [TB_REFUSAL_NO_TOKEN] = "no_token",
        [TB_REFUSAL_UNKNOWN_TOKEN] = "unknown_token",
        [TB_REFUSAL_ROLE] = "role",
    };
    static const char *const decisions[] = {
        [TB_INTAKE_CREATED] = "capture",
        [TB_INTAKE_JOINED] = "joined",
        [TB_INTAKE_DUPLICATE] = "duplicate",
        [TB_INTAKE_IGNORED] = "ignored",
    };

    put_family(out, "tapbox_auth_refusals_total", "counter", "Calls refused for their token.");
    for (size_t i = 0; i < TB_REFUSAL_COUNT; i++) {
        tb_buf_printf(out, "tapbox_auth_refusals_total{why=\"%s\"} %llu\n", refusals[i],
                      atomic_load(&server->counters.refusals[i]));
    }
    put_family(out, "tapbox_intake_total", "counter", "Alerts and requests by decision.");
    for (size_t i = 0; i <= TB_INTAKE_IGNORED; i++) {
        tb_buf_printf(out, "tapbox_intake_total{decision=\"%s\"} %llu\n", decisions[i],
                      atomic_load(&server->counters.intake[i]));
    }
}

/* From the store, so that it is true after a restart too. */
static enum tb_err
put_captures(struct tb_http_server *server, struct tb_buf *out, struct tb_fail *fail)
{
    size_t counts[TB_CAPTURE_STATE_COUNT] = {0};
    struct tb_due *due = NULL;
    size_t count = 0, late = 0;
    enum tb_err err = tb_store_due_list(server->deps.store, &due, &count, fail);

    if (err != TB_OK) {
        return err;
    }
    for (size_t i = 0; i < count; i++) {
        counts[due[i].state]++;
        late += tb_capture_state_is_live(due[i].state) && due[i].deadline.utc_ns != 0 &&
                        tb_deadline_left_ns(&due[i].deadline) < 0
                    ? 1
                    : 0;
    }
    free(due);
    put_family(out, "tapbox_captures", "gauge", "Captures that have not ended, by state.");
    for (size_t i = 0; i < TB_CAPTURE_STATE_COUNT; i++) {
        if (!tb_capture_state_is_final((enum tb_capture_state)i)) {
            tb_buf_printf(out, "tapbox_captures{state=\"%s\"} %zu\n",
                          tb_capture_state_name((enum tb_capture_state)i), counts[i]);
        }
    }
    put_family(out, "tapbox_captures_past_deadline", "gauge",
               "Captures past their deadline that are not taken down yet.");
    tb_buf_printf(out, "tapbox_captures_past_deadline %zu\n", late);
    return TB_OK;
}

void
tb_http_get_metrics(struct tb_http_call *call)
{
    struct tb_buf *out = &call->answer.body;
    struct tb_fail fail = {0};

    put_family(out, "tapbox_build_info", "gauge", "The version that runs.");
    tb_buf_put_str(out, "tapbox_build_info{version=\"" TB_VERSION "\"} 1\n");
    put_requests(call->server, out);
    put_intake(call->server, out);
    if (put_captures(call->server, out, &fail) != TB_OK ||
        tb_buf_check(out, "metrics", &fail) != TB_OK) {
        tb_http_problem_of(call, &fail);
        return;
    }
    call->answer.status = 200;
    call->answer.content_type = "text/plain; version=0.0.4; charset=utf-8";
}

/* src/http/openapi.json, as it is */
__asm__(".pushsection .rodata\n"
        "tb_http_openapi_begin:\n"
        ".incbin \"src/http/openapi.json\"\n"
        "tb_http_openapi_end:\n"
        ".byte 0\n"
        ".popsection\n");
extern const uint8_t tb_http_openapi_begin[], tb_http_openapi_end[];

void
tb_http_get_openapi(struct tb_http_call *call)
{
    tb_buf_put(&call->answer.body, tb_http_openapi_begin,
               (size_t)(tb_http_openapi_end - tb_http_openapi_begin));
    call->answer.status = 200;
    call->answer.content_type = "application/json";
}
