/*
 * Credentials of the task or pod we run in, from the agent beside it: ECS, EKS Pod Identity.
 * Source: AWS SDKs and Tools Reference Guide, "Container credential provider".
 */
#include "aws_int.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#include <tapbox/clock.h>
#include <tapbox/json.h>

#define RELATIVE "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
#define FULL "AWS_CONTAINER_CREDENTIALS_FULL_URI"
#define TOKEN "AWS_CONTAINER_AUTHORIZATION_TOKEN"
#define TOKEN_FILE "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
#define ECS_AGENT "http://169.254.170.2"

#define TIMEOUT_NS (2 * TB_NS_PER_S)

enum {
    URL_MAX_BYTES = 2048
};

static bool
is_url_text(const char *text)
{
    for (; *text != '\0'; text++) {
        if (!isgraph((unsigned char)*text)) {
            return false;
        }
    }
    return true;
}

/* Whoever may set a variable must not make us carry the token anywhere in clear: this host, and
 * the agents' own addresses. */
static bool
is_local_host(const char *host, size_t len)
{
    static const char *const agents[] = {"localhost", "[::1]", "169.254.170.2",
                                         "169.254.170.23", "[fd00:ec2::23]"};
    char text[INET_ADDRSTRLEN];
    struct in_addr address;

    for (size_t i = 0; i < sizeof(agents) / sizeof(agents[0]); i++) {
        if (strlen(agents[i]) == len && strncasecmp(agents[i], host, len) == 0) {
            return true;
        }
    }
    if (len == 0 || len >= sizeof(text)) {
        return false;
    }
    memcpy(text, host, len);
    text[len] = '\0';
    return inet_pton(AF_INET, text, &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

/* The host of "HOST[:PORT][/PATH]"; 0: it is none that every reader of URLs reads alike. */
static size_t
host_length(const char *text)
{
    size_t authority = strcspn(text, "/?#");
    size_t len = text[0] == '[' ? strcspn(text, "]") + 1 : strcspn(text, ":/?#");

    if (len > authority || (text[len] != ':' && len != authority)) {
        return 0;
    }
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)text[i]) && strchr("-._[]:", text[i]) == NULL) {
            return 0;
        }
    }
    for (size_t i = len + 1; i < authority; i++) {
        if (!isdigit((unsigned char)text[i])) {
            return 0;
        }
    }
    return len;
}

enum tb_err
tb_aws_container_url(const char *relative, const char *full, char *out, size_t cap,
                     struct tb_fail *fail)
{
    const char *variable = relative != NULL ? RELATIVE : FULL;
    const char *text = relative != NULL ? relative : full;
    int len;

    if (!is_url_text(text)) {
        return tb_fail_set(fail, TB_EDENIED, "%s has a space in it", variable);
    }
    if (relative != NULL && relative[0] != '/') {
        return tb_fail_set(fail, TB_EDENIED, "%s '%.128s' does not begin with '/'", variable,
                           text);
    }
    if (relative == NULL) {
        bool https = strncasecmp(text, "https://", 8) == 0;
        bool http = strncasecmp(text, "http://", 7) == 0;
        const char *host = text + (https ? 8 : 7);
        size_t host_len = https || http ? host_length(host) : 0;

        if (host_len == 0) {
            return tb_fail_set(fail, TB_EDENIED,
                               "%s '%.128s' is not an http:// or https:// URL", variable, text);
        }
        if (http && !is_local_host(host, host_len)) {
            return tb_fail_set(fail, TB_EDENIED,
                               "%s: '%.*s' is neither this host nor a container agent: only "
                               "https:// may go there",
                               variable, (int)(host_len < 128 ? host_len : 128), host);
        }
    }
    len = snprintf(out, cap, "%s%s", relative != NULL ? ECS_AGENT : "", text);
    if (len < 0 || (size_t)len >= cap) {
        return tb_fail_set(fail, TB_EDENIED, "%s is too long", variable);
    }
    return TB_OK;
}

/* What goes into the header; empty: none.  The file wins. */
static enum tb_err
read_token(struct tb_secret *out, struct tb_fail *fail)
{
    const char *path = tb_aws_variable(TOKEN_FILE);
    const char *value = tb_aws_variable(TOKEN);

    if (path != NULL) {
        return tb_aws_read_token(path, out, fail);
    }
    return value != NULL ? tb_aws_take_token(tb_bytes_str(value), TOKEN, out, fail) : TB_OK;
}

/* What the agent says when it gives none: 4xx will not change by itself. */
static enum tb_err
refusal(const char *url, const struct tb_http_answer *answer, struct tb_fail *fail)
{
    bool passing = answer->status >= 500 || answer->status == 429;
    struct tb_json *root = NULL;
    const char *message = NULL;
    enum tb_err err;

    if (tb_json_parse(tb_buf_view(&answer->body), &root, NULL) == TB_OK) {
        message = tb_json_str(root, "/message");
        if (message == NULL) {
            message = tb_json_str(root, "/Message");
        }
    }
    err = tb_fail_set(fail, passing ? TB_ERETRY : TB_EDENIED, "%.128s: status %d%s%.200s", url,
                      answer->status, message != NULL ? ": " : "",
                      message != NULL ? message : "");
    tb_json_free(root);
    return err;
}

static enum tb_err
ask_agent(struct tb_http_client *http, const char *url, const struct tb_secret *token,
          struct tb_aws_credentials *out, struct tb_fail *fail)
{
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(TB_IMDS_ANSWER_MAX_BYTES);
    struct tb_http_request request = {
        .method = "GET",
        .url = url,
        .headers = {{"accept", "application/json"}, {"authorization", token->text}},
        .header_count = token->len > 0 ? 2 : 1,
        .body_fd = -1,
        .connect_timeout_ns = TIMEOUT_NS,
        .total_timeout_ns = TIMEOUT_NS,
        .no_proxy = true};
    enum tb_err err = tb_imds_ask(http, &request, &answer, fail);

    if (err == TB_ETIMEOUT) {
        err = tb_fail_set(fail, TB_ERETRY, "%.128s does not answer", url);
    } else if (err == TB_OK && answer.status != 200) {
        err = refusal(url, &answer, fail);
    } else if (err == TB_OK) {
        err = tb_aws_credentials_from_json(tb_buf_view(&answer.body), "container", out, fail);
        if (err != TB_OK) {
            tb_fail_prefix(fail, "%.128s", url);
        }
    }
    tb_wipe(answer.body.at, answer.body.cap);
    tb_http_answer_release(&answer);
    return err;
}

enum tb_err
tb_aws_credentials_from_container(const struct tb_aws_reach *reach,
                                  struct tb_aws_credentials *out, struct tb_fail *fail)
{
    const char *relative = tb_aws_variable(RELATIVE);
    const char *full = tb_aws_variable(FULL);
    struct tb_secret token = TB_SECRET_INIT;
    char url[URL_MAX_BYTES];
    enum tb_err err;

    if (relative == NULL && full == NULL) {
        return tb_fail_set(fail, TB_ENOTFOUND, "no " FULL);
    }
    err = tb_aws_container_url(relative, full, url, sizeof(url), fail);
    if (err == TB_OK) {
        err = read_token(&token, fail);
    }
    if (err == TB_OK) {
        err = ask_agent(reach->http, url, &token, out, fail);
    }
    tb_secret_release(&token);
    return err;
}
