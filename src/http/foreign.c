/* GET /v1/foreign-sessions: mirror sessions of the accounts that tapbox did not make. */
#include <stdlib.h>

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
    struct tb_control_foreign *foreign = malloc(sizeof(*foreign));
    struct tb_json *root, *sessions, *unseen;
    struct tb_fail fail = {0};

    if (foreign == NULL ||
        tb_control_foreign_list(call->server->deps.control, foreign, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail, "cannot list foreign sessions");
        tb_http_problem(call, TB_PROBLEM_UNAVAILABLE, "EC2 does not list the sessions: %s%s%s",
                        fail.code, fail.code[0] != '\0' ? ": " : "", fail.text);
        free(foreign);
        return;
    }
    root = tb_json_object();
    sessions = tb_json_array();
    unseen = tb_json_array();
    for (size_t i = 0; i < foreign->sessions.count; i++) {
        tb_json_add(sessions, session_json(&foreign->sessions.at[i]));
    }
    for (size_t i = 0; i < foreign->unseen_count; i++) {
        struct tb_json *one = tb_json_object();

        tb_json_set_str(one, "account", foreign->unseen[i].account);
        tb_json_set_str(one, "why", foreign->unseen[i].why);
        tb_json_add(unseen, one);
    }
    tb_json_set(root, "sessions", sessions);
    tb_json_set(root, "unseen_accounts", unseen);
    tb_control_foreign_release(foreign);
    free(foreign);
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
