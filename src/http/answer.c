/* Answers: JSON, and problems as RFC 9457 wants them. */
#include <stdarg.h>
#include <stdio.h>

#include "http_int.h"

enum {
    RETRY_AFTER_S = 5,
    DETAIL_SIZE = 600
};

static const struct {
    int status;
    const char *type; /* behind "urn:tapbox:problem:" */
    const char *title;
} problems[TB_PROBLEM_COUNT] = {
    [TB_PROBLEM_NONE] = {500, "internal", "Internal error"},
    [TB_PROBLEM_BAD_REQUEST] = {400, "bad-request", "The request cannot be understood"},
    [TB_PROBLEM_UNAUTHORIZED] = {401, "unauthorized", "A valid token is needed"},
    [TB_PROBLEM_FORBIDDEN] = {403, "forbidden", "The token's role does not allow this"},
    [TB_PROBLEM_NOT_FOUND] = {404, "not-found", "There is no such thing"},
    [TB_PROBLEM_METHOD] = {405, "method-not-allowed", "Not with this method"},
    [TB_PROBLEM_CONFLICT] = {409, "state", "Not possible in the present state"},
    [TB_PROBLEM_TOO_LARGE] = {413, "too-large", "The body is too large"},
    [TB_PROBLEM_UNPROCESSABLE] = {422, "out-of-bounds", "More than the configuration allows"},
    [TB_PROBLEM_TOO_MANY] = {429, "too-many-requests", "More calls than are allowed"},
    [TB_PROBLEM_HEADERS_TOO_LARGE] = {431, "headers-too-large", "The headers are too large"},
    [TB_PROBLEM_INTERNAL] = {500, "internal", "Internal error"},
    [TB_PROBLEM_UNAVAILABLE] = {503, "unavailable", "Not possible right now; try again"},
};

/* By what the sender can do about it.  What is too big here is JSON that nests too deep: a body
 * over its limit is refused before anything reads it. */
static const enum tb_problem problem_of[TB_ERR_COUNT] = {
    [TB_OK] = TB_PROBLEM_INTERNAL,           [TB_EINVAL] = TB_PROBLEM_BAD_REQUEST,
    [TB_EFORMAT] = TB_PROBLEM_BAD_REQUEST,   [TB_ESHORT] = TB_PROBLEM_BAD_REQUEST,
    [TB_ETOOBIG] = TB_PROBLEM_BAD_REQUEST,   [TB_ENOTFOUND] = TB_PROBLEM_NOT_FOUND,
    [TB_EEXIST] = TB_PROBLEM_CONFLICT,       [TB_EDENIED] = TB_PROBLEM_INTERNAL,
    [TB_ESTATE] = TB_PROBLEM_CONFLICT,       [TB_ERETRY] = TB_PROBLEM_UNAVAILABLE,
    [TB_ETHROTTLE] = TB_PROBLEM_UNAVAILABLE, [TB_ETIMEOUT] = TB_PROBLEM_UNAVAILABLE,
    [TB_EEXPIRED] = TB_PROBLEM_UNAVAILABLE,  [TB_EFULL] = TB_PROBLEM_UNAVAILABLE,
    [TB_ECLOSED] = TB_PROBLEM_UNAVAILABLE,   [TB_EIO] = TB_PROBLEM_UNAVAILABLE,
    [TB_ENOMEM] = TB_PROBLEM_UNAVAILABLE,    [TB_EINTERNAL] = TB_PROBLEM_INTERNAL,
};

static void
set_json(struct tb_http_call *call, int status, const char *content_type, struct tb_json *root)
{
    struct tb_http_answer_out *answer = &call->answer;
    struct tb_fail fail = {0};

    tb_buf_reset(&answer->body);
    answer->status = status;
    answer->content_type = content_type;
    if (tb_json_dump(root, true, &answer->body, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, NULL, &fail, "an answer could not be written");
        tb_buf_reset(&answer->body);
        answer->status = 500;
    }
    tb_buf_put_u8(&answer->body, '\n');
    tb_json_free(root);
}

void
tb_http_answer_json(struct tb_http_call *call, int status, struct tb_json *root)
{
    set_json(call, status, "application/json", root);
}

static void
set_problem(struct tb_http_call *call, enum tb_problem problem, const char *key,
            const char *value, const char *detail)
{
    struct tb_json *root = tb_json_object();
    char type[64];

    snprintf(type, sizeof(type), "urn:tapbox:problem:%s", problems[problem].type);
    tb_json_set_str(root, "type", type);
    tb_json_set_str(root, "title", problems[problem].title);
    tb_json_set_int(root, "status", problems[problem].status);
    tb_json_set_str(root, "detail", detail);
    if (key != NULL) {
        tb_json_set_str(root, key, value);
    }
    call->answer.challenge = problem == TB_PROBLEM_UNAUTHORIZED;
    call->answer.retry_after_s = problem == TB_PROBLEM_UNAVAILABLE ? RETRY_AFTER_S : 0;
    set_json(call, problems[problem].status, "application/problem+json", root);
}

void
tb_http_problem(struct tb_http_call *call, enum tb_problem problem, const char *fmt, ...)
{
    char detail[DETAIL_SIZE];
    va_list args;

    va_start(args, fmt);
    vsnprintf(detail, sizeof(detail), fmt, args);
    va_end(args);
    set_problem(call, problem, NULL, NULL, detail);
}

void
tb_http_problem_with(struct tb_http_call *call, enum tb_problem problem, const char *key,
                     const char *value, const char *fmt, ...)
{
    char detail[DETAIL_SIZE];
    va_list args;

    va_start(args, fmt);
    vsnprintf(detail, sizeof(detail), fmt, args);
    va_end(args);
    set_problem(call, problem, key, value, detail);
}

void
tb_http_problem_of(struct tb_http_call *call, const struct tb_fail *fail)
{
    enum tb_problem problem = problem_of[fail->err];

    if (problems[problem].status >= 500) {
        tb_log_fail(TB_LOG_ERROR, NULL, fail, "%s %s", call->route->method, call->route->path);
    }
    set_problem(call, problem, NULL, NULL,
                fail->text[0] != '\0' ? fail->text : tb_err_name(fail->err));
}
