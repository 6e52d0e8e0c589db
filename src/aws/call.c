/*
 * One call of an AWS service: signed, sent, tried again when that can help.
 *
 * Every attempt is signed anew.  Besides the attempts of the policy there is one more after a
 * wrong clock was noticed, and one more with new credentials.
 */
#include "aws_int.h"

#include <stdlib.h>
#include <time.h>

#include <tapbox/clock.h>
#include <tapbox/crash.h>
#include <tapbox/digest.h>

enum {
    SKEW_S = 240,      /* services refuse 5 to 15 minutes: below, the clock was not the cause */
    EXTRA_HEADERS = 6, /* made here: date, token, payload hash, content type, authorization */
    URL_MAX_BYTES = 8192, /* S3 keys have 1,024 octets, three characters each when encoded */
    AUTHORIZATION_MAX_BYTES = 8192
};

/* What a retry takes from the bucket and a success gives back.
 * Source: SDK retry behaviour, "standard" mode. */
#define RETRY_COST 5.0
#define RETRY_COST_TIMEOUT 10.0
#define RETRY_REWARD 1.0

#define CONNECT_TIMEOUT_NS (5 * TB_NS_PER_S)

const struct tb_aws_retry_policy tb_aws_default_policies[TB_AWS_POLICY_COUNT] = {
    /*                        attempts, one attempt,       in all,  first, after throttle, cap
     */
    [TB_AWS_POLICY_CREATE] = {3, 15 * TB_NS_PER_S, 30 * TB_NS_PER_S, 100 * TB_NS_PER_MS,
                              1000 * TB_NS_PER_MS, 5 * TB_NS_PER_S},
    [TB_AWS_POLICY_DELETE] = {4, 10 * TB_NS_PER_S, 20 * TB_NS_PER_S, 100 * TB_NS_PER_MS,
                              500 * TB_NS_PER_MS, 5 * TB_NS_PER_S},
    [TB_AWS_POLICY_READ] = {4, 30 * TB_NS_PER_S, 45 * TB_NS_PER_S, 100 * TB_NS_PER_MS,
                            1000 * TB_NS_PER_MS, 10 * TB_NS_PER_S},
    [TB_AWS_POLICY_FETCH] = {5, 0, 600 * TB_NS_PER_S, 100 * TB_NS_PER_MS, 1000 * TB_NS_PER_MS,
                             10 * TB_NS_PER_S},
    [TB_AWS_POLICY_POLL] = {1, 35 * TB_NS_PER_S, 35 * TB_NS_PER_S, 0, 0, 0},
    [TB_AWS_POLICY_ONCE] = {1, 0, 0, 0, 0, 0},
};

void
tb_aws_result_release(struct tb_aws_result *result)
{
    tb_http_answer_release(&result->answer);
    tb_xml_free(result->xml);
    result->xml = NULL;
}

int64_t
tb_aws_jitter(int64_t at_most_ns)
{
    uint32_t random = 0;

    if (tb_random(&random, sizeof(random)) != TB_OK) {
        return at_most_ns;
    }
    return (int64_t)((double)at_most_ns * ((double)random / (double)UINT32_MAX));
}

void
tb_aws_pause(int64_t ns)
{
    struct timespec left = {.tv_sec = ns / TB_NS_PER_S, .tv_nsec = ns % TB_NS_PER_S};

    while (ns > 0 && nanosleep(&left, &left) != 0) {
    }
}

int64_t
tb_aws_now(struct tb_aws *aws, enum tb_aws_service service)
{
    int64_t offset_s;

    tb_mutex_lock(&aws->mu);
    offset_s = aws->locked.offset_s[service];
    tb_mutex_unlock(&aws->mu);
    return tb_clock_utc_ns() / TB_NS_PER_S + offset_s;
}

/* --- one attempt --- */

static void
add_header(struct tb_http_request *request, const char *name, const char *value)
{
    request->headers[request->header_count++] = (struct tb_http_header){name, value};
}

/* Adds the headers that are made here, Authorization last.  `date` and `authorization` are kept
 * by the caller until the request is sent. */
static enum tb_err
add_signature(struct tb_aws *aws, const struct tb_aws_call *call, const char *host,
              const char *path, const char *payload_hash,
              const struct tb_aws_credentials *credentials, char date[TB_TIME_TEXT_SIZE],
              struct tb_buf *authorization, struct tb_http_request *request,
              struct tb_fail *fail)
{
    struct tb_sigv4_context context = {.credentials = credentials,
                                       .region = aws->region,
                                       .service = tb_aws_service_name(call->service),
                                       .now_utc_s = tb_aws_now(aws, call->service)};
    struct tb_sigv4_request to_sign = {.method = call->method,
                                       .host = host,
                                       .path = path,
                                       .query = call->query != NULL ? call->query : "",
                                       .payload_hash = payload_hash};
    enum tb_err err;

    tb_time_format_compact(date, context.now_utc_s);
    add_header(request, "x-amz-date", date);
    if (credentials->session_token.len > 0) {
        add_header(request, "x-amz-security-token", credentials->session_token.text);
    }
    if (call->service == TB_AWS_S3) {
        add_header(request, "x-amz-content-sha256", payload_hash);
    }
    to_sign.headers = request->headers;
    to_sign.header_count = request->header_count;
    err = tb_sigv4_authorization(&context, &to_sign, authorization, NULL, fail);
    if (err == TB_OK) {
        add_header(request, "authorization", tb_buf_str(authorization));
    }
    return err;
}

static void
read_answer_headers(struct tb_aws_result *out)
{
    char date[64];

    out->server_utc_s = 0;
    out->request_id[0] = '\0';
    if (tb_http_answer_header(&out->answer, "date", date, sizeof(date)) &&
        tb_time_parse_http(date, &out->server_utc_s) != TB_OK) {
        out->server_utc_s = 0;
    }
    if (!tb_http_answer_header(&out->answer, "x-amz-request-id", out->request_id,
                               sizeof(out->request_id)) &&
        !tb_http_answer_header(&out->answer, "x-amzn-requestid", out->request_id,
                               sizeof(out->request_id))) {
        out->request_id[0] = '\0';
    }
}

/* A 2xx that has to carry a document.  S3 has begun its answer before it knows: what it says
 * then may be an error all the same. */
static enum tb_err
read_answer_xml(const struct tb_aws_call *call, struct tb_aws_result *out, struct tb_fail *fail)
{
    const char *root, *id;
    enum tb_err err;

    tb_xml_free(out->xml);
    out->xml = NULL;
    err = tb_xml_parse(tb_buf_view(&out->answer.body), &out->xml, fail);
    if (err == TB_ESHORT) {
        /* Cut off on the way.  A create had its effect; its token makes it safe to repeat. */
        err = tb_fail_set(fail, call->policy == TB_AWS_POLICY_CREATE ? TB_ETIMEOUT : TB_ERETRY,
                          "%s: the answer was cut off after %zu octets", call->what,
                          out->answer.body.len);
    } else if (err != TB_OK) {
        tb_fail_prefix(fail, "%s", call->what);
    } else {
        root = tb_xml_name(tb_xml_root(out->xml));
        if (strcmp(root, "Error") == 0) {
            err = tb_aws_error_in_ok(call->what, &out->answer, out->request_id, fail);
        } else if (strcmp(root, call->answer_root) != 0) {
            err =
                tb_fail_set(fail, TB_EFORMAT, "%s was answered with <%.64s>", call->what, root);
        }
    }
    if (err != TB_OK) {
        tb_xml_free(out->xml);
        out->xml = NULL;
        if (fail != NULL) {
            fail->http_status = out->answer.status;
        }
        return err;
    }
    id = tb_xml_text(tb_xml_root(out->xml), "requestId");
    if (id == NULL) {
        id = tb_xml_text(tb_xml_root(out->xml), "ResponseMetadata/RequestId");
    }
    if (id != NULL) {
        (void)tb_str_copy(out->request_id, sizeof(out->request_id), id);
    }
    return TB_OK;
}

/* A 2xx that carries nothing, but an error all the same: from something between S3 and us, or
 * from a server that is not S3. */
static enum tb_err
look_for_error(const struct tb_aws_call *call, const struct tb_aws_result *out,
               struct tb_fail *fail)
{
    struct tb_bytes body = tb_buf_view(&out->answer.body);
    struct tb_xml *doc = NULL;
    enum tb_err err = TB_OK;

    if (body.len > 0 && tb_xml_parse(body, &doc, NULL) == TB_OK &&
        strcmp(tb_xml_name(tb_xml_root(doc)), "Error") == 0) {
        err = tb_aws_error_in_ok(call->what, &out->answer, out->request_id, fail);
    }
    tb_xml_free(doc);
    return err;
}

static enum tb_err
send_once(struct tb_aws *aws, const struct tb_aws_call *call, const char *payload_hash,
          struct tb_aws_result *out, struct tb_fail *fail)
{
    const struct tb_aws_endpoint *endpoint = &aws->endpoints[call->service];
    const char *host = call->host != NULL ? call->host : endpoint->host;
    struct tb_http_request request = {.method = call->method,
                                      .body = call->body,
                                      .body_fd = call->body_fd,
                                      .body_fd_offset = call->body_fd_offset,
                                      .body_fd_bytes = call->body_fd_bytes,
                                      .stop = call->stop,
                                      .connect_timeout_ns = CONNECT_TIMEOUT_NS,
                                      .total_timeout_ns =
                                          aws->policies[call->policy].attempt_ns};
    struct tb_buf authorization = TB_BUF_INIT(AUTHORIZATION_MAX_BYTES);
    struct tb_aws_credentials credentials = {.source = NULL};
    char url[URL_MAX_BYTES], date[TB_TIME_TEXT_SIZE];
    int len;
    enum tb_err err;

    out->answer.status = 0;
    out->server_utc_s = 0;
    out->request_id[0] = '\0';
    len = snprintf(url, sizeof(url), "%s://%s%s%s", endpoint->scheme, host, endpoint->path,
                   call->path);
    if (len < 0 ||
        (size_t)len + (call->query != NULL ? strlen(call->query) + 1 : 0) >= sizeof(url)) {
        return tb_fail_set(fail, TB_EINVAL, "%s: the URL is too long", call->what);
    }
    if (call->header_count + EXTRA_HEADERS > TB_HTTP_MAX_HEADERS) {
        return tb_fail_set(fail, TB_EINTERNAL, "%s: too many headers", call->what);
    }
    request.url = url;
    for (size_t i = 0; i < call->header_count; i++) {
        add_header(&request, call->headers[i].name, call->headers[i].value);
    }
    if (aws->credentials != NULL) {
        err = tb_aws_credentials_get(aws->credentials, &credentials, fail);
        if (err != TB_OK) {
            goto out;
        }
        err = add_signature(aws, call, host, url + strlen(endpoint->scheme) + 3 + strlen(host),
                            payload_hash, &credentials, date, &authorization, &request, fail);
        if (err != TB_OK) {
            goto out;
        }
    }
    tb_crash_point(TB_CRASH_BEFORE, call->what);
    if (call->query != NULL) { /* signed apart from the path */
        (void)snprintf(url + len, sizeof(url) - (size_t)len, "?%s", call->query);
    }
    err = tb_http_do(aws->http, &request, &out->answer, fail);
    tb_crash_point(TB_CRASH_AFTER, call->what);
    if (err != TB_OK) {
        tb_fail_prefix(fail, "%s at %s", call->what, host);
        goto out;
    }
    read_answer_headers(out);
    if (out->answer.status < 200 || out->answer.status > 299) {
        err = tb_aws_answer_error(call->what, &out->answer, out->request_id, fail);
    } else if (call->answer_root != NULL) {
        err = read_answer_xml(call, out, fail);
    } else if (strcmp(call->method, "PUT") == 0) {
        err = look_for_error(call, out, fail);
    }

out:
    tb_aws_credentials_release(&credentials);
    tb_buf_release(&authorization);
    return err;
}

/* --- what to do after a failure --- */

static bool
is_one_of(const char *code, const char *const *list)
{
    for (; *list != NULL; list++) {
        if (strcmp(code, *list) == 0) {
            return true;
        }
    }
    return false;
}

/* HEAD answers have no body, so a status alone has to do. */
static bool
is_refused_without_code(const struct tb_aws_result *result, const struct tb_fail *fail)
{
    return fail->code[0] == '\0' && result->answer.body.len == 0 &&
           (result->answer.status == 400 || result->answer.status == 403);
}

/* True when our clock was why it was refused; what the service's clock says is kept. */
static bool
learn_clock(struct tb_aws *aws, const struct tb_aws_call *call,
            const struct tb_aws_result *result, const struct tb_fail *fail)
{
    static const char *const codes[] = {"RequestExpired",        "RequestTimeTooSkewed",
                                        "SignatureDoesNotMatch", "InvalidSignatureException",
                                        "AuthFailure",           NULL};
    int64_t skew_s;

    if (result->server_utc_s == 0 ||
        !(is_one_of(fail->code, codes) || is_refused_without_code(result, fail))) {
        return false;
    }
    skew_s = result->server_utc_s - tb_aws_now(aws, call->service);
    if (skew_s > -SKEW_S && skew_s < SKEW_S) {
        return false;
    }
    tb_mutex_lock(&aws->mu);
    aws->locked.offset_s[call->service] =
        result->server_utc_s - tb_clock_utc_ns() / TB_NS_PER_S;
    tb_mutex_unlock(&aws->mu);
    return true;
}

static bool
wants_new_credentials(const struct tb_aws_result *result, const struct tb_fail *fail)
{
    static const char *const codes[] = {"ExpiredToken",
                                        "ExpiredTokenException",
                                        "RequestExpired",
                                        "InvalidClientTokenId",
                                        "InvalidAccessKeyId",
                                        "InvalidToken",
                                        "UnrecognizedClientException",
                                        "AuthFailure",
                                        NULL};

    return is_one_of(fail->code, codes) || is_refused_without_code(result, fail);
}

static bool
take_retry_tokens(struct tb_aws *aws, double cost)
{
    bool enough;

    tb_mutex_lock(&aws->mu);
    enough = aws->locked.retry_tokens >= cost;
    if (enough) {
        aws->locked.retry_tokens -= cost;
    }
    tb_mutex_unlock(&aws->mu);
    return enough;
}

static void
give_retry_tokens(struct tb_aws *aws, double tokens)
{
    tb_mutex_lock(&aws->mu);
    aws->locked.retry_tokens += tokens;
    if (aws->locked.retry_tokens > TB_AWS_RETRY_TOKENS) {
        aws->locked.retry_tokens = TB_AWS_RETRY_TOKENS;
    }
    tb_mutex_unlock(&aws->mu);
}

static int64_t
delay_ns(const struct tb_aws_retry_policy *policy, unsigned retries, bool throttled)
{
    int64_t most = throttled ? policy->throttle_base_ns : policy->base_ns;

    for (unsigned i = 0; i < retries && most < policy->cap_ns; i++) {
        most *= 2;
    }
    return tb_aws_jitter(most < policy->cap_ns ? most : policy->cap_ns);
}

/* Waits before the next attempt; false when there is none. */
static bool
wait_to_retry(struct tb_aws *aws, const struct tb_aws_retry_policy *policy, enum tb_err err,
              unsigned retries, int64_t started_boot_ns, double *out_cost)
{
    int64_t delay;

    if (err != TB_ERETRY && err != TB_ETHROTTLE && err != TB_ETIMEOUT) {
        return false;
    }
    if (retries + 1 >= policy->attempts) {
        return false;
    }
    delay = delay_ns(policy, retries, err == TB_ETHROTTLE);
    if (tb_clock_boot_ns() - started_boot_ns + delay > policy->total_ns) {
        return false;
    }
    *out_cost = err == TB_ETIMEOUT ? RETRY_COST_TIMEOUT : RETRY_COST;
    if (!take_retry_tokens(aws, *out_cost)) {
        return false;
    }
    tb_aws_pause(delay);
    return true;
}

static enum tb_err
hash_payload(const struct tb_aws_call *call, char out[TB_SHA256_HEX_SIZE], struct tb_fail *fail)
{
    struct tb_sha256 digest;
    enum tb_err err;

    if (call->payload_hash != NULL) {
        (void)tb_str_copy(out, TB_SHA256_HEX_SIZE, call->payload_hash);
        return TB_OK;
    }
    err = tb_sha256(call->body, &digest);
    if (err != TB_OK) {
        return tb_fail_set(fail, err, "SHA-256");
    }
    tb_sha256_hex(out, &digest);
    return TB_OK;
}

static void
count(struct tb_aws *aws, enum tb_aws_service service, enum tb_err err)
{
    if (err == TB_OK) {
        atomic_fetch_add(&aws->counts[service].ok, 1);
    } else if (err == TB_ETHROTTLE) {
        atomic_fetch_add(&aws->counts[service].throttled, 1);
    } else {
        atomic_fetch_add(&aws->counts[service].failed, 1);
    }
}

enum tb_err
tb_aws_call(struct tb_aws *aws, const struct tb_aws_call *call, struct tb_aws_result *out,
            struct tb_fail *fail)
{
    const struct tb_aws_retry_policy *policy = &aws->policies[call->policy];
    int64_t started_boot_ns = tb_clock_boot_ns();
    bool clock_learnt = false, credentials_renewed = false;
    struct tb_fail why = {.text = ""};
    char hash[TB_SHA256_HEX_SIZE];
    double cost = 0;
    unsigned retries = 0;
    unsigned tries = 0;
    enum tb_err err = hash_payload(call, hash, fail);

    if (err != TB_OK) {
        return err;
    }
    for (;;) {
        if (call->service == TB_AWS_EC2) {
            err = tb_aws_pace(aws, call->what, policy->total_ns, fail);
            if (err != TB_OK) {
                return err;
            }
        }
        err = send_once(aws, call, hash, out, &why);
        tries++;
        count(aws, call->service, err);
        if (err == TB_OK) {
            give_retry_tokens(aws, retries > 0 ? cost : RETRY_REWARD);
            return TB_OK;
        }
        if (err == TB_ETHROTTLE && call->service == TB_AWS_EC2) {
            tb_aws_pace_refused(aws, call->what);
        }
        if (!clock_learnt && learn_clock(aws, call, out, &why)) {
            clock_learnt = true;
            tries--; /* it was refused before it could do anything */
        } else if (aws->credentials != NULL && !credentials_renewed &&
                   wants_new_credentials(out, &why)) {
            credentials_renewed = true;
            tries--; /* so was this */
            tb_aws_credentials_expire(aws->credentials);
        } else if (wait_to_retry(aws, policy, err, retries, started_boot_ns, &cost)) {
            retries++;
        } else {
            break;
        }
    }
    if (fail != NULL) {
        *fail = why;
        fail->tries = tries;
    }
    return err;
}

enum tb_err
tb_aws_query(struct tb_aws *aws, enum tb_aws_service service, enum tb_aws_policy policy,
             const char *what, struct tb_bytes body, struct tb_aws_result *out,
             struct tb_fail *fail)
{
    static const struct tb_http_header form = {
        "content-type", "application/x-www-form-urlencoded; charset=utf-8"};
    char root[80]; /* longer than any action's name */
    struct tb_aws_call call = {.service = service,
                               .policy = policy,
                               .what = what,
                               .method = "POST",
                               .path = "/",
                               .headers = &form,
                               .header_count = 1,
                               .body = body,
                               .body_fd = -1,
                               .answer_root = root};

    (void)snprintf(root, sizeof(root), "%sResponse", what);
    return tb_aws_call(aws, &call, out, fail);
}
