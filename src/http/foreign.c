/* GET /v1/foreign-sessions: mirror sessions of the account that tapbox did not make. */
#include "http_int.h"

static struct tb_json *
session_json(const struct tb_ec2_session *session)
{
    struct tb_json *out = tb_json_object();
    struct tb_json *tags = tb_json_object();

    for (size_t i = 0; i < session->tags.count; i++) {
        tb_json_set_str(tags, session->tags.at[i].key, session->tags.at[i].value);
    }
    tb_json_set_str(out, "id", session->id);
    tb_json_set_str(out, "source", session->eni);
    tb_json_set_str(out, "target", session->target);
    tb_json_set_str(out, "filter", session->filter);
    tb_json_set_int(out, "number", session->session_number);
    tb_json_set_int(out, "vni", session->vni);
    tb_json_set_str(out, "owner", session->owner);
    tb_json_set(out, "tags", tags);
    return out;
}

/* On a thread of its own: EC2 is asked now. */
static void
list(struct tb_http_call *call)
{
    struct tb_ec2_sessions sessions = {0};
    struct tb_json *root, *array;
    struct tb_fail fail = {0};

    if (tb_control_foreign_list(call->server->deps.control, &sessions, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail, "cannot list foreign sessions");
        tb_http_problem(call, TB_PROBLEM_UNAVAILABLE, "EC2 does not list the sessions: %s%s%s",
                        fail.code, fail.code[0] != '\0' ? ": " : "", fail.text);
        return;
    }
    root = tb_json_object();
    array = tb_json_array();
    for (size_t i = 0; i < sessions.count; i++) {
        tb_json_add(array, session_json(&sessions.at[i]));
    }
    tb_json_set(root, "sessions", array);
    tb_ec2_sessions_release(&sessions);
    tb_http_answer_json(call, 200, root);
}

void
tb_http_list_foreign(struct tb_http_call *call)
{
    if (call->server->deps.control == NULL) {
        tb_http_problem(call, TB_PROBLEM_UNAVAILABLE, "The control plane is not running.");
        return;
    }
    call->later = list;
}
