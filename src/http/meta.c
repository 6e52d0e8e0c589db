/* /healthz, /readyz and /openapi.json: what machines around tapbox ask. */

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
