/*
 * The instance metadata service, version 2.  Version 1 is not spoken: a service that hands out
 * credentials without a token is the hole that version 2 closed.
 */
#include "aws_int.h"

#include <stdlib.h>
#include <strings.h>

#include <tapbox/clock.h>

#define ENDPOINT_4 "http://169.254.169.254"
#define ENDPOINT_6 "http://[fd00:ec2::254]"
#define TTL_S "21600"

enum {
    ATTEMPTS = 3,
    MAX_TOKEN = 1024 /* octets; real ones have 56 */
};
#define TIMEOUT_NS (1 * TB_NS_PER_S)
#define PAUSE_NS (200 * TB_NS_PER_MS)

static bool
is_set_to(const char *variable, const char *value)
{
    const char *is = getenv(variable);

    return is != NULL && strcasecmp(is, value) == 0;
}

enum tb_err
tb_imds_ask(struct tb_http_client *http, const struct tb_http_request *request,
            struct tb_http_answer *answer, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
        if (attempt > 0) {
            tb_aws_pause(PAUSE_NS << attempt);
        }
        err = tb_http_do(http, request, answer, fail);
        if (err == TB_OK && answer->status < 500) {
            return TB_OK;
        }
        if (err != TB_OK && err != TB_ERETRY && err != TB_ETIMEOUT) {
            return err;
        }
    }
    return err;
}

enum tb_err
tb_imds_open(struct tb_http_client *http, struct tb_imds *out, struct tb_fail *fail)
{
    const char *endpoint = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(MAX_TOKEN);
    struct tb_imds imds = {.http = http};
    struct tb_http_request request = {
        .method = "PUT",
        .headers = {{"x-aws-ec2-metadata-token-ttl-seconds", TTL_S}},
        .header_count = 1,
        .body_fd = -1,
        .connect_timeout_ns = TIMEOUT_NS,
        .total_timeout_ns = TIMEOUT_NS,
        .no_proxy = true};
    char url[sizeof(imds.base) + 32];
    size_t len;
    enum tb_err err;

    if (is_set_to("AWS_EC2_METADATA_DISABLED", "true")) {
        return tb_fail_set(fail, TB_ENOTFOUND, "switched off by AWS_EC2_METADATA_DISABLED");
    }
    if (endpoint == NULL || endpoint[0] == '\0') {
        endpoint = is_set_to("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ipv6") ? ENDPOINT_6
                                                                               : ENDPOINT_4;
    }
    if (!tb_str_copy(imds.base, sizeof(imds.base), endpoint)) {
        return tb_fail_set(fail, TB_EINVAL, "AWS_EC2_METADATA_SERVICE_ENDPOINT is too long");
    }
    for (len = strlen(imds.base); len > 0 && imds.base[len - 1] == '/'; len--) {
        imds.base[len - 1] = '\0';
    }
    (void)snprintf(url, sizeof(url), "%s/latest/api/token", imds.base);
    request.url = url;
    err = tb_imds_ask(http, &request, &answer, fail);
    if (err == TB_ERETRY || err == TB_ETIMEOUT) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "nothing answers at %s", imds.base);
    } else if (err == TB_OK && answer.status != 200) {
        err = tb_fail_set(fail, answer.status >= 500 ? TB_ERETRY : TB_ENOTFOUND,
                          "%s gives no token: status %d", imds.base, answer.status);
    } else if (err == TB_OK) {
        err = tb_secret_set(&imds.token, tb_buf_view(&answer.body));
        if (err != TB_OK) {
            (void)tb_fail_set(fail, err, "metadata token");
        } else {
            *out = imds;
        }
    }
    tb_wipe(answer.body.at, answer.body.cap);
    tb_http_answer_release(&answer);
    return err;
}

void
tb_imds_close(struct tb_imds *imds)
{
    tb_secret_release(&imds->token);
}

enum tb_err
tb_imds_get(struct tb_imds *imds, const char *path, struct tb_buf *out, struct tb_fail *fail)
{
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(TB_IMDS_ANSWER_MAX_BYTES);
    struct tb_http_request request = {
        .method = "GET",
        .headers = {{"x-aws-ec2-metadata-token", imds->token.text}},
        .header_count = 1,
        .body_fd = -1,
        .connect_timeout_ns = TIMEOUT_NS,
        .total_timeout_ns = TIMEOUT_NS,
        .no_proxy = true};
    char url[sizeof(imds->base) + 256];
    enum tb_err err;
    int len = snprintf(url, sizeof(url), "%s%s", imds->base, path);

    if (len < 0 || (size_t)len >= sizeof(url)) {
        return tb_fail_set(fail, TB_EINVAL, "metadata path '%.64s' is too long", path);
    }
    request.url = url;
    err = tb_imds_ask(imds->http, &request, &answer, fail);
    if (err == TB_OK && answer.status != 200) {
        err = tb_fail_set(fail, answer.status == 404 ? TB_ENOTFOUND : TB_ERETRY,
                          "%s: status %d", path, answer.status);
    } else if (err == TB_OK) {
        tb_buf_reset(out);
        tb_buf_put_bytes(out, tb_buf_view(&answer.body));
        err = tb_buf_check(out, path, fail);
    }
    tb_wipe(answer.body.at, answer.body.cap);
    tb_http_answer_release(&answer);
    return err;
}
