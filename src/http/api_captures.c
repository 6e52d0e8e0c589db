/* /v1/captures: ask for one, list them, look at one, stop it. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/ids.h>
#include <tapbox/intake.h>

#include "http_int.h"

enum {
    LIST_DEFAULT = 100,
    LIST_MAX = 1000,
    KEY_MAX = 200 /* characters of an Idempotency-Key */
};

bool
tb_http_read_idempotency_key(struct tb_http_call *call, const char **out)
{
    const char *key = tb_http_header_value(call, "Idempotency-Key");

    if (key != NULL) {
        size_t len = strlen(key);

        for (const char *p = key; *p != '\0'; p++) {
            len = isprint((unsigned char)*p) ? len : 0;
        }
        if (len == 0 || len > KEY_MAX) {
            tb_http_problem(call, TB_PROBLEM_BAD_REQUEST,
                            "Idempotency-Key has to be 1 to %d printable characters.", KEY_MAX);
            return false;
        }
    }
    *out = key;
    return true;
}

void
tb_http_post_capture(struct tb_http_call *call)
{
    const struct tb_http_server_deps *deps = &call->server->deps;
    const struct tb_intake_from from = {.remote = call->remote, .token_name = call->token_name};
    struct tb_intake_ready *ready;
    const char *key = NULL;
    struct tb_fail fail = {0};

    if (tb_http_plan_capture(call) || !tb_http_read_idempotency_key(call, &key)) {
        return;
    }
    ready = tb_http_new_ready(call);
    if (ready != NULL &&
        tb_intake_request_read(&deps->config->policy, tb_buf_view(&call->request_body), key,
                               &from, ready, &fail) != TB_OK) {
        tb_http_free_ready(call);
        tb_http_problem_of(call, &fail);
    }
}

bool
tb_http_read_limit(struct tb_http_call *call, size_t *out)
{
    const char *limit = tb_http_query(call, "limit");
    unsigned long value = LIST_DEFAULT;

    if (limit != NULL) {
        char *end;

        value = strtoul(limit, &end, 10);
        if (!isdigit((unsigned char)limit[0]) || *end != '\0' || value < 1 ||
            value > LIST_MAX) {
            tb_http_problem(call, TB_PROBLEM_BAD_REQUEST, "limit has to be 1 to %d.", LIST_MAX);
            return false;
        }
    }
    *out = value;
    return true;
}

/* ?live=1|0, ?limit=N; false after a 400. */
static bool
read_list_query(struct tb_http_call *call, bool *out_live, size_t *out_limit)
{
    const char *live = tb_http_query(call, "live");

    *out_live = false;
    if (live != NULL) {
        *out_live = strcmp(live, "1") == 0 || strcmp(live, "true") == 0;
        if (!*out_live && strcmp(live, "0") != 0 && strcmp(live, "false") != 0) {
            tb_http_problem(call, TB_PROBLEM_BAD_REQUEST, "live has to be 1 or 0.");
            return false;
        }
    }
    return tb_http_read_limit(call, out_limit);
}

void
tb_http_list_captures(struct tb_http_call *call)
{
    struct tb_control_queue queue = {NULL, 0};
    struct tb_capture *captures = NULL;
    struct tb_json *root, *list;
    struct tb_fail fail = {0};
    size_t count = 0, limit;
    bool live;

    if (!read_list_query(call, &live, &limit)) {
        return;
    }
    if (tb_store_capture_list(call->server->deps.store, live, limit, &captures, &count,
                              &fail) != TB_OK) {
        tb_http_problem_of(call, &fail);
        return;
    }
    if (call->server->deps.control != NULL &&
        tb_control_queue(call->server->deps.control, &queue, &fail) != TB_OK) {
        free(captures);
        tb_http_problem_of(call, &fail);
        return;
    }
    root = tb_json_object();
    list = tb_json_array();
    for (size_t i = 0; i < count; i++) {
        tb_json_add(list, tb_http_capture_json(call->server, &captures[i], &queue, NULL));
    }
    tb_json_set(root, "captures", list);
    free(queue.ids);
    free(captures);
    tb_http_answer_json(call, 200, root);
}

struct tb_capture *
tb_http_load_capture(struct tb_http_call *call)
{
    struct tb_capture *capture = NULL;
    struct tb_fail fail = {0};
    enum tb_err err = TB_ENOTFOUND;

    if (tb_capture_id_valid(call->path_id)) {
        capture = malloc(sizeof(*capture));
        err = capture == NULL ? tb_fail_set(&fail, TB_ENOMEM, "no memory for this capture")
                              : tb_store_capture_get(call->server->deps.store, call->path_id,
                                                     capture, &fail);
    }
    if (err == TB_OK) {
        return capture;
    }
    free(capture);
    if (err == TB_ENOTFOUND) {
        tb_http_problem_with(call, TB_PROBLEM_NOT_FOUND, "hint",
                             "GET /v1/captures lists the captures",
                             "There is no such capture.");
    } else {
        tb_http_problem_of(call, &fail);
    }
    return NULL;
}

void
tb_http_get_capture(struct tb_http_call *call)
{
    struct tb_capture *capture = tb_http_load_capture(call);
    const struct tb_record_status *live = NULL;
    struct tb_record_status status;
    struct tb_fail fail = {0};
    struct tb_json *root;

    if (capture == NULL) {
        return;
    }
    /* a recorder that cannot be asked right now is no reason not to answer */
    if (call->server->deps.control != NULL && !tb_capture_state_is_final(capture->state) &&
        tb_control_live(call->server->deps.control, capture->id, &status, NULL) == TB_OK) {
        live = &status;
    }
    root = tb_http_capture_json(call->server, capture, NULL, live);
    if (tb_http_capture_details(call->server, capture, live, root, &fail) == TB_OK) {
        tb_http_answer_json(call, 200, root);
    } else {
        tb_json_free(root);
        tb_http_problem_of(call, &fail);
    }
    free(capture);
}

void
tb_http_stop_capture(struct tb_http_call *call)
{
    const struct tb_http_server_deps *deps = &call->server->deps;
    struct tb_actor by = {.who = call->token_name, .from = call->remote};
    struct tb_capture *capture = tb_http_load_capture(call);
    struct tb_fail fail = {0};
    struct tb_json *root;
    enum tb_err err;

    if (capture == NULL) {
        return;
    }
    err = tb_store_capture_ask_stop(deps->store, capture->id, TB_STOP_OPERATOR, &by, &fail);
    if (err == TB_OK) {
        if (deps->control != NULL) {
            tb_control_wake(deps->control);
        }
        tb_log(TB_LOG_INFO, capture->id, "stop asked for by %s", call->token_name);
        err = tb_store_capture_get(deps->store, capture->id, capture, &fail);
    } else if (err == TB_ESTATE &&
               tb_store_capture_get(deps->store, capture->id, capture, NULL) == TB_OK) {
        struct tb_json *detail = tb_json_object();

        tb_json_set_str(detail, "why", tb_capture_state_name(capture->state));
        if (tb_store_custody_add(deps->store, capture->id, "stop_refused", &by, detail, NULL) !=
            TB_OK) {
            tb_log(TB_LOG_ERROR, capture->id, "cannot note that a stop was refused");
        }
        tb_http_problem_with(call, TB_PROBLEM_CONFLICT, "state",
                             tb_capture_state_name(capture->state), "%s", fail.text);
        free(capture);
        return;
    }
    if (err == TB_OK) {
        root = tb_json_object();
        tb_json_set(root, "capture", tb_http_capture_json(call->server, capture, NULL, NULL));
        tb_http_answer_json(call, 202, root);
    } else {
        tb_http_problem_of(call, &fail);
    }
    free(capture);
}
