/* The HTTP client side of list, show, start and stop. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/clock.h>
#include <tapbox/http_client.h>
#include <tapbox/io.h>
#include <tapbox/limits.h>
#include <tapbox/secret.h>

#include "api_int.h"
#include "cli_int.h"

enum {
    ANSWER_MAX_BYTES = 32 * 1024 * 1024, /* a list of 1,000 captures is about 4 MB */
    TOKEN_MAX_BYTES = 4096,
    URL_MAX = 1024
};

static const char default_url[] = "http://127.0.0.1:8480";
static const int64_t connect_timeout_ns = 5 * TB_NS_PER_S;
static const int64_t total_timeout_ns = 20 * TB_NS_PER_S; /* the service answers within 1 s */

bool
tb_api_option(struct tb_api_options *options, int option, const char *value)
{
    switch (option) {
    case TB_API_OPTION_URL:
        options->url = value;
        return true;
    case TB_API_OPTION_TOKEN_FILE:
        options->token_file = value;
        return true;
    case TB_API_OPTION_JSON:
        options->json = true;
        return true;
    default:
        return false;
    }
}

/* Octets of a token as it stands in a file or variable, without the white space around it. */
static struct tb_bytes
trimmed(struct tb_bytes text)
{
    while (text.len > 0 && strchr(" \t\r\n", text.at[0]) != NULL) {
        text.at++;
        text.len--;
    }
    while (text.len > 0 && strchr(" \t\r\n", text.at[text.len - 1]) != NULL) {
        text.len--;
    }
    return text;
}

/* "Bearer <token>" */
static enum tb_err
make_authorization(const struct tb_api_options *options, struct tb_secret *out,
                   struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TOKEN_MAX_BYTES);
    struct tb_buf header = TB_BUF_INIT(TOKEN_MAX_BYTES + sizeof("Bearer "));
    const char *from_environment = getenv("TAPBOX_TOKEN");
    struct tb_bytes token = {NULL, 0};
    enum tb_err err = TB_OK;

    if (options->token_file != NULL) {
        err = tb_read_file(AT_FDCWD, options->token_file, &text, fail);
        token = trimmed(tb_buf_view(&text));
    } else if (from_environment != NULL) {
        token = trimmed(tb_bytes_str(from_environment));
    }
    if (err == TB_OK && token.len == 0) {
        err = tb_fail_set(fail, TB_EDENIED,
                          "no token: set TAPBOX_TOKEN or use --token-file FILE "
                          "('tapbox token add' makes a token)");
    }
    for (size_t i = 0; err == TB_OK && i < token.len; i++) {
        if (token.at[i] <= ' ' || token.at[i] >= 0x7f) {
            err = tb_fail_set(fail, TB_EDENIED,
                              "the token holds a character that none has: "
                              "more than a token seems to be in it");
        }
    }
    if (err == TB_OK) {
        tb_buf_put_str(&header, "Bearer ");
        tb_buf_put_bytes(&header, token);
        err = tb_buf_check(&header, "the token", fail);
    }
    if (err == TB_OK) {
        err = tb_secret_set(out, tb_buf_view(&header));
    }
    if (text.at != NULL) {
        tb_wipe(text.at, text.cap);
    }
    if (header.at != NULL) {
        tb_wipe(header.at, header.cap);
    }
    tb_buf_release(&text);
    tb_buf_release(&header);
    return err;
}

static const char *
base_url(const struct tb_api_options *options)
{
    const char *from_environment = getenv("TAPBOX_URL");

    if (options->url != NULL) {
        return options->url;
    }
    return from_environment != NULL && from_environment[0] != '\0' ? from_environment
                                                                   : default_url;
}

/* A token that goes to this machine needs no proxy in between. */
static bool
is_local(const char *url)
{
    return strncmp(url, "http://127.", 11) == 0 || strncmp(url, "http://localhost", 16) == 0 ||
           strncmp(url, "http://[::1]", 12) == 0;
}

static int
exit_of_status(int http_status)
{
    switch (http_status) {
    case 400:
    case 413:
        return TB_EXIT_USAGE;
    case 401:
    case 403:
        return TB_EXIT_DENIED;
    case 404:
        return TB_EXIT_NOT_FOUND;
    case 409:
        return TB_EXIT_STATE;
    case 429:
    case 502:
    case 503:
    case 504:
        return TB_EXIT_UNREACHABLE;
    default:
        return TB_EXIT_FAILED;
    }
}

/* What a problem document, or whatever came in its place, says. */
static int
tell_problem(const struct tb_api_call *call, const char *url, int status,
             const struct tb_json *problem)
{
    char detail[600], hint[300];

    if (tb_json_str(problem, "/detail") == NULL) {
        fprintf(stderr, "tapbox %s: %s answered %d, and not as tapbox does: is --url right?\n",
                call->command, url, status);
        return exit_of_status(status);
    }
    fprintf(stderr, "tapbox %s: %s\n", call->command,
            tb_show_text(problem, "/detail", detail, sizeof(detail)));
    if (tb_json_str(problem, "/hint") != NULL) {
        fprintf(stderr, "  %s\n", tb_show_text(problem, "/hint", hint, sizeof(hint)));
    }
    return exit_of_status(status);
}

static enum tb_err
exchange(const struct tb_api_call *call, const char *url, const char *authorization,
         int64_t patience_ns, struct tb_http_answer *answer, struct tb_fail *fail)
{
    struct tb_http_client *client = NULL;
    struct tb_http_request request = {
        .method = call->method,
        .url = url,
        .body = call->body != NULL ? tb_bytes_str(call->body) : tb_bytes_of(NULL, 0),
        .body_fd = -1,
        .connect_timeout_ns = connect_timeout_ns,
        .total_timeout_ns = patience_ns > 0 ? patience_ns : total_timeout_ns,
        .no_proxy = is_local(url),
    };
    enum tb_err err = tb_http_client_new(&client, fail);

    if (err != TB_OK) {
        return err;
    }
    request.headers[request.header_count++] =
        (struct tb_http_header){"Authorization", authorization};
    request.headers[request.header_count++] =
        (struct tb_http_header){"User-Agent", "tapbox/" TB_VERSION};
    if (call->body != NULL) {
        request.headers[request.header_count++] =
            (struct tb_http_header){"Content-Type", "application/json"};
    }
    if (call->idempotency_key != NULL) {
        request.headers[request.header_count++] =
            (struct tb_http_header){"Idempotency-Key", call->idempotency_key};
    }
    err = tb_http_do(client, &request, answer, fail);
    tb_http_client_free(client);
    return err;
}

int
tb_api_do(const struct tb_api_options *options, const struct tb_api_call *call,
          struct tb_json **out)
{
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(ANSWER_MAX_BYTES);
    struct tb_secret authorization = TB_SECRET_INIT;
    struct tb_json *json = NULL;
    struct tb_fail fail = {0};
    const char *base = base_url(options);
    size_t base_len = strlen(base);
    char url[URL_MAX];
    int status;

    while (base_len > 0 && base[base_len - 1] == '/') {
        base_len--;
    }
    if ((size_t)snprintf(url, sizeof(url), "%.*s%s", (int)base_len, base, call->path) >=
        sizeof(url)) {
        return tb_cli_usage(call->command, "the URL is too long");
    }
    if (make_authorization(options, &authorization, &fail) != TB_OK) {
        status = tb_cli_fail(call->command, &fail);
        goto out;
    }
    if (exchange(call, url, authorization.text, options->patience_ns, &answer, &fail) !=
        TB_OK) {
        status = tb_cli_fail(call->command, &fail);
        if (fail.err == TB_ERETRY) {
            fprintf(stderr,
                    "  Is 'tapbox serve' running at %.*s?  --url or TAPBOX_URL names another "
                    "place.\n",
                    (int)base_len, base);
        }
        goto out;
    }
    if (tb_json_parse_max(tb_buf_view(&answer.body), ANSWER_MAX_BYTES, &json, &fail) != TB_OK) {
        json = NULL;
    }
    if (answer.status < 200 || answer.status > 299 || json == NULL) {
        status = tell_problem(call, url, answer.status, json);
        goto out;
    }
    status = TB_EXIT_OK;
    if (options->json) {
        fputs(tb_buf_str(&answer.body), stdout);
        status = tb_cli_finish_stdout(call->command);
    }
    *out = json;
    json = NULL;

out:
    tb_json_free(json);
    tb_secret_release(&authorization);
    tb_http_answer_release(&answer);
    return status;
}
