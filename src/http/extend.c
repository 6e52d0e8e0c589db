/* POST /v1/captures/{id}/extend: a later deadline, acknowledged when AWS has confirmed it. */
#include <stdlib.h>

#include "http_int.h"

/* What a body asks for. */
struct extension {
    int64_t by_ns;
    char reason[TB_CAPTURE_MAX_TEXT];
};

static bool
is_plain(const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < 0x20 || c == 0x7f) {
            return false;
        }
    }
    return true;
}

static enum tb_err
read_member(const char *key, const struct tb_json *value, struct extension *out,
            struct tb_fail *fail)
{
    const char *text = tb_json_str(value, "");
    int64_t s;

    if (strcmp(key, "duration") == 0) {
        if (text != NULL && tb_duration_parse(text, &out->by_ns) == TB_OK) {
            return TB_OK;
        }
        if (tb_json_int(value, "", &s) && s > 0 && s <= TB_CAPTURE_MAX_DURATION_S) {
            out->by_ns = s * TB_NS_PER_S;
            return TB_OK;
        }
        return tb_fail_set(fail, TB_EINVAL,
                           "duration: write \"90s\", \"15m\", \"2h\" or a number of seconds");
    }
    if (strcmp(key, "reason") == 0) {
        if (text != NULL && is_plain(text) &&
            tb_str_copy(out->reason, sizeof(out->reason), text)) {
            return TB_OK;
        }
        return tb_fail_set(fail, TB_EINVAL,
                           "reason: text of up to %zu octets without control characters",
                           sizeof(out->reason) - 1);
    }
    return tb_fail_set(fail, TB_EINVAL, "%.60s: no such member (there are duration, reason)",
                       key);
}

static enum tb_err
read_body(struct tb_bytes body, struct extension *out, struct tb_fail *fail)
{
    struct extension read = {0};
    struct tb_json *root = NULL;
    enum tb_err err = tb_json_parse(body, &root, fail);

    if (err != TB_OK) {
        return err;
    }
    if (!tb_json_is_object(root)) {
        err = tb_fail_set(fail, TB_EFORMAT, "the body has to be a JSON object");
    }
    for (size_t i = 0; err == TB_OK && i < tb_json_count(root); i++) {
        const char *key = NULL;
        const struct tb_json *value = tb_json_member(root, i, &key);

        err = read_member(key, value, &read, fail);
    }
    if (err == TB_OK && read.by_ns < TB_NS_PER_S) {
        err = tb_fail_set(fail, TB_EINVAL, "duration: at least one second is needed");
    }
    if (err == TB_OK) {
        *out = read;
    }
    tb_json_free(root);
    return err;
}

/* Who asked for more time and did not get it is part of the capture's history. */
static void
note_refusal(struct tb_http_call *call, const char *id, const char *why)
{
    const struct tb_actor by = {.who = call->token_name, .from = call->remote};
    struct tb_json *detail = tb_json_object();
    struct tb_fail fail = {0};

    tb_json_set_str(detail, "why", why);
    if (tb_store_custody_add(call->server->deps.store, id, "extend_refused", &by, detail,
                             &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, id, &fail, "cannot note that an extension was refused");
    }
}

static void
refuse_state(struct tb_http_call *call, const struct tb_capture *capture)
{
    note_refusal(call, capture->id, tb_capture_state_name(capture->state));
    tb_http_problem_with(call, TB_PROBLEM_CONFLICT, "state",
                         tb_capture_state_name(capture->state),
                         capture->stop_asked ? "%s is being stopped: it cannot be extended."
                                             : "%s is not recording: it cannot be extended.",
                         capture->id);
}

static bool
may_be_extended(const struct tb_capture *capture)
{
    return (capture->state == TB_CAPTURE_ARMING || capture->state == TB_CAPTURE_RECORDING) &&
           !capture->stop_asked && tb_deadline_left_ns(&capture->deadline) > 0;
}

/* False after an answer that says how late the deadline may be. */
static bool
check_bounds(struct tb_http_call *call, const struct tb_capture *capture, int64_t by_ns)
{
    const struct tb_request_bounds *bounds = &call->server->deps.config->policy.bounds;
    int64_t latest_ns = tb_capture_latest_utc_ns(capture, bounds->max_duration_ns,
                                                 tb_store_steady_ns(call->server->deps.store));
    char latest[TB_TIME_TEXT_SIZE];

    if (by_ns <= latest_ns - capture->deadline.utc_ns) {
        return true;
    }
    tb_time_format_s(latest, latest_ns / TB_NS_PER_S);
    note_refusal(call, capture->id, "it would be later than capture.max_duration allows");
    tb_http_problem_with(call, TB_PROBLEM_UNPROCESSABLE, "latest_deadline", latest,
                         "The latest possible deadline is %s: %lld seconds after the request "
                         "(capture.max_duration).",
                         latest, (long long)(bounds->max_duration_ns / TB_NS_PER_S));
    return false;
}

/* The old deadline stands; says which, and why. */
static void
answer_failure(struct tb_http_call *call, struct tb_capture *capture,
               const struct tb_fail *fail)
{
    char deadline[TB_TIME_TEXT_SIZE];

    if (tb_store_capture_get(call->server->deps.store, capture->id, capture, NULL) == TB_OK &&
        !may_be_extended(capture)) {
        refuse_state(call, capture);
        return;
    }
    tb_time_format_s(deadline, capture->deadline.utc_ns / TB_NS_PER_S);
    tb_log_fail(TB_LOG_WARN, capture->id, fail, "not extended");
    note_refusal(call, capture->id, fail->text);
    tb_http_problem_with(call, TB_PROBLEM_UNAVAILABLE, "deadline", deadline,
                         "Not extended: %s.  The deadline is %s as before.", fail->text,
                         deadline);
}

/* That it was asked for enters the custody log with the asking; the reason stands before it. */
static enum tb_err
note_reason(struct tb_http_call *call, const char *id, const char *reason,
            const struct tb_actor *by, struct tb_fail *fail)
{
    struct tb_json *detail;

    tb_log(TB_LOG_INFO, id, "extension asked for by %s: %s", call->token_name,
           reason[0] != '\0' ? reason : "no reason given");
    if (reason[0] == '\0') {
        return TB_OK;
    }
    detail = tb_json_object();
    tb_json_set_str(detail, "reason", reason);
    return tb_store_custody_add(call->server->deps.store, id, "extend_reason", by, detail,
                                fail);
}

/* The capture and what is asked, for the caller to free; NULL after an answer. */
static struct tb_capture *
prepare(struct tb_http_call *call, struct extension *out)
{
    struct tb_capture *capture = tb_http_load_capture(call);
    struct tb_fail fail = {0};

    if (capture == NULL) {
        return NULL;
    }
    if (read_body(tb_buf_view(&call->request_body), out, &fail) != TB_OK) {
        tb_http_problem_of(call, &fail);
    } else if (!may_be_extended(capture)) {
        refuse_state(call, capture);
    } else if (check_bounds(call, capture, out->by_ns)) {
        return capture;
    }
    free(capture);
    return NULL;
}

/* On a thread of its own: AWS has to confirm it. */
static void
extend(struct tb_http_call *call)
{
    const struct tb_actor by = {.who = call->token_name, .from = call->remote};
    const struct tb_http_server_deps *deps = &call->server->deps;
    struct extension asked = {0};
    struct tb_capture *capture = prepare(call, &asked); /* it waited: things may have changed */
    struct tb_deadline deadline;
    struct tb_fail fail = {0};
    struct tb_json *root;

    if (capture == NULL) {
        return;
    }
    if (note_reason(call, capture->id, asked.reason, &by, &fail) != TB_OK ||
        tb_control_extend(deps->control, capture->id, capture->deadline.utc_ns + asked.by_ns,
                          &by, &deadline, &fail) != TB_OK ||
        tb_store_capture_get(deps->store, capture->id, capture, &fail) != TB_OK) {
        answer_failure(call, capture, &fail);
    } else {
        root = tb_json_object();
        tb_json_set(root, "capture", tb_http_capture_json(call->server, capture, NULL, NULL));
        tb_http_answer_json(call, 200, root);
    }
    free(capture);
}

void
tb_http_extend_capture(struct tb_http_call *call)
{
    struct extension asked = {0};
    struct tb_capture *capture = prepare(call, &asked);

    if (capture == NULL) {
        return;
    }
    if (call->server->deps.control != NULL) {
        call->later = extend;
    } else {
        tb_http_problem(call, TB_PROBLEM_UNAVAILABLE, "The control plane is not running.");
    }
    free(capture);
}
