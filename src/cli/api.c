/* The HTTP client side of the subcommands that call the API. */
#include <assert.h>
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
    URL_MAX = 16 * 1024 /* a filter expression of 4 KiB, percent-encoded */
};

static const char default_url[] = "http://127.0.0.1:8480";
static const int64_t connect_timeout_ns = 5 * TB_NS_PER_S;
static const int64_t total_timeout_ns = 20 * TB_NS_PER_S; /* most are answered within 1 s */

struct tb_api {
    struct tb_http_client *client;
    struct tb_secret authorization; /* "Bearer <token>" */
    const char *base;               /* borrowed; without what is behind base_len */
    int base_len;
    int64_t patience_ns; /* 0: total_timeout_ns */
};

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
    case 422:
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
read_problem(const char *url, int status, const struct tb_json *problem, struct tb_api_why *why)
{
    if (tb_json_str(problem, "/detail") == NULL) {
        (void)snprintf(why->text, sizeof(why->text),
                       "%.300s answered %d, and not as tapbox does: is --url right?", url,
                       status);
        return exit_of_status(status);
    }
    (void)tb_show_text(problem, "/detail", why->text, sizeof(why->text));
    if (tb_json_str(problem, "/hint") != NULL) {
        (void)tb_show_text(problem, "/hint", why->hint, sizeof(why->hint));
    }
    return exit_of_status(status);
}

/* Makes a request of `call`; what `request` has already stays. */
static enum tb_err
exchange(struct tb_api *api, const struct tb_api_call *call, const char *url,
         struct tb_http_request request, struct tb_http_answer *answer, struct tb_fail *fail)
{
    request.method = call->method;
    request.url = url;
    request.body = call->body != NULL ? tb_bytes_str(call->body) : tb_bytes_of(NULL, 0);
    request.body_fd = -1;
    request.connect_timeout_ns = connect_timeout_ns;
    request.no_proxy = is_local(url);
    request.headers[request.header_count++] =
        (struct tb_http_header){"Authorization", api->authorization.text};
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
    return tb_http_do(api->client, &request, answer, fail);
}

int
tb_api_open(const struct tb_api_options *options, const char *command, struct tb_api **out)
{
    struct tb_api *api = calloc(1, sizeof(*api));
    const char *base = base_url(options);
    size_t len = strlen(base);
    struct tb_fail fail = {0};
    enum tb_err err;

    if (api == NULL) {
        (void)tb_fail_set(&fail, TB_ENOMEM, "no memory");
        return tb_cli_fail(command, &fail);
    }
    while (len > 0 && base[len - 1] == '/') {
        len--;
    }
    api->base = base;
    api->patience_ns = options->patience_ns;
    api->base_len = len < URL_MAX ? (int)len : URL_MAX; /* too long is told with the path */
    api->authorization = (struct tb_secret)TB_SECRET_INIT;
    err = make_authorization(options, &api->authorization, &fail);
    if (err == TB_OK) {
        err = tb_http_client_new(&api->client, &fail);
    }
    if (err == TB_OK && getenv("TAPBOX_CA_BUNDLE") != NULL) {
        err = tb_http_client_trust(api->client, getenv("TAPBOX_CA_BUNDLE"), &fail);
    }
    if (err != TB_OK) {
        tb_api_close(api);
        return tb_cli_fail(command, &fail);
    }
    *out = api;
    return TB_EXIT_OK;
}

void
tb_api_close(struct tb_api *api)
{
    if (api != NULL) {
        tb_http_client_free(api->client);
        tb_secret_release(&api->authorization);
        free(api);
    }
}

/* "<base><path>" */
static int
make_url(const struct tb_api *api, const char *path, char url[URL_MAX], struct tb_api_why *why)
{
    why->text[0] = why->hint[0] = '\0';
    if ((size_t)snprintf(url, URL_MAX, "%.*s%s", api->base_len, api->base, path) >= URL_MAX) {
        (void)snprintf(why->text, sizeof(why->text), "the URL is too long");
        return TB_EXIT_USAGE;
    }
    return TB_EXIT_OK;
}

/* No answer came. */
static int
tell_unanswered(const struct tb_api *api, const struct tb_fail *fail, struct tb_api_why *why)
{
    (void)tb_str_copy(why->text, sizeof(why->text), fail->text);
    if (fail->err == TB_ERETRY) {
        (void)snprintf(why->hint, sizeof(why->hint),
                       "Is 'tapbox serve' running at %.*s?  --url or TAPBOX_URL names "
                       "another place.",
                       api->base_len < 200 ? api->base_len : 200, api->base);
    }
    return tb_cli_exit_of(fail->err);
}

int
tb_api_ask(struct tb_api *api, const struct tb_api_call *call, struct tb_json **out,
           struct tb_buf *out_text, struct tb_api_why *why)
{
    const struct tb_http_request request = {
        .total_timeout_ns = api->patience_ns > 0 ? api->patience_ns : total_timeout_ns};
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(ANSWER_MAX_BYTES);
    struct tb_json *json = NULL;
    struct tb_fail fail = {0};
    char url[URL_MAX];
    int status = make_url(api, call->path, url, why);

    if (status != TB_EXIT_OK) {
        return status;
    }
    if (exchange(api, call, url, request, &answer, &fail) != TB_OK) {
        status = tell_unanswered(api, &fail, why);
        goto out;
    }
    if (tb_json_parse_max(tb_buf_view(&answer.body), ANSWER_MAX_BYTES, &json, &fail) != TB_OK) {
        json = NULL;
    }
    if (answer.status < 200 || answer.status > 299 || json == NULL) {
        status = read_problem(url, answer.status, json, why);
        goto out;
    }
    if (out_text != NULL) {
        tb_buf_put_bytes(out_text, tb_buf_view(&answer.body));
    }
    *out = json;
    json = NULL;

out:
    tb_json_free(json);
    tb_http_answer_release(&answer);
    return status;
}

int
tb_api_stream(struct tb_api *api, const char *path,
              enum tb_err (*sink)(void *arg, struct tb_bytes octets), void *arg,
              struct tb_api_why *why)
{
    const struct tb_api_call call = {.method = "GET", .path = path};
    const struct tb_http_request request = {.sink = sink, .sink_arg = arg, .is_endless = true};
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(ANSWER_MAX_BYTES);
    struct tb_json *json = NULL;
    struct tb_fail fail = {0};
    char url[URL_MAX];
    int status = make_url(api, path, url, why);

    if (status != TB_EXIT_OK) {
        return status;
    }
    if (exchange(api, &call, url, request, &answer, &fail) != TB_OK) {
        status = tell_unanswered(api, &fail, why);
    } else if (answer.status != 200) {
        if (tb_json_parse_max(tb_buf_view(&answer.body), ANSWER_MAX_BYTES, &json, &fail) !=
            TB_OK) {
            json = NULL;
        }
        status = read_problem(url, answer.status, json, why);
    }
    tb_json_free(json);
    tb_http_answer_release(&answer);
    return status;
}

int
tb_api_do(const struct tb_api_options *options, const struct tb_api_call *call,
          struct tb_json **out)
{
    struct tb_buf text = TB_BUF_INIT(ANSWER_MAX_BYTES);
    struct tb_api *api = NULL;
    struct tb_api_why why;
    int status = tb_api_open(options, call->command, &api);

    if (status != TB_EXIT_OK) {
        return status;
    }
    assert(api != NULL);
    status = tb_api_ask(api, call, out, options->json ? &text : NULL, &why);
    if (status != TB_EXIT_OK) {
        fprintf(stderr, "tapbox %s: %s\n%s%s%s", call->command, why.text,
                why.hint[0] != '\0' ? "  " : "", why.hint, why.hint[0] != '\0' ? "\n" : "");
    } else if (options->json) {
        fputs(tb_buf_str(&text), stdout);
        status = tb_cli_finish_stdout(call->command);
    }
    tb_buf_release(&text);
    tb_api_close(api);
    return status;
}
