#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cmocka.h>

#include <tapbox/digest.h>
#include <tapbox/io.h>
#include <tapbox/secret.h>
#include <tapbox/store.h>

#include "../../../src/http/http_int.h"

#define ENI "eni-0123456789abcdef0"
#define BODY "{\"source\":\"" ENI "\",\"reason\":\"odd DNS\",\"duration\":\"90s\"}"

enum {
    ANSWER_MAX = 4 << 20,
    POSTERS = 6,
    POSTS_EACH = 20
};

/* A server on a port of its own with a real store; one token for each role. */
struct room {
    char folder[64], tokens[80], db[80];
    struct tb_config config;
    struct tb_store *store;
    struct tb_http_server *server;
    struct tb_secret alert, analyst, responder, scraper, admin;
};

static int
open_room(void **state)
{
    struct room *r = calloc(1, sizeof(*r));
    struct tb_fail fail = {0};
    struct tb_http_server_deps deps;

    if (r == NULL) {
        return -1;
    }
    tb_log_start("test", TB_LOG_ERROR);
    strcpy(r->folder, "/tmp/tapbox-http-XXXXXX");
    if (mkdtemp(r->folder) == NULL) {
        return -1;
    }
    snprintf(r->tokens, sizeof(r->tokens), "%s/tokens", r->folder);
    snprintf(r->db, sizeof(r->db), "%s/db", r->folder);
    if (tb_config_parse(tb_bytes_str("s3: {bucket: evidence}\nlisten: 127.0.0.1:0\n"), "test",
                        &r->config, &fail) != TB_OK ||
        tb_token_add(r->tokens, "bus", TB_ROLE_ALERT, &r->alert, &fail) != TB_OK ||
        tb_token_add(r->tokens, "ann", TB_ROLE_ANALYST, &r->analyst, &fail) != TB_OK ||
        tb_token_add(r->tokens, "rob", TB_ROLE_RESPONDER, &r->responder, &fail) != TB_OK ||
        tb_token_add(r->tokens, "prom", TB_ROLE_SCRAPER, &r->scraper, &fail) != TB_OK ||
        tb_token_add(r->tokens, "root", TB_ROLE_ADMIN, &r->admin, &fail) != TB_OK ||
        tb_store_open(r->db, &r->store, &fail) != TB_OK) {
        fprintf(stderr, "%s\n", fail.text);
        return -1;
    }
    strcpy(r->config.tokens_file, r->tokens);
    deps = (struct tb_http_server_deps){&r->config, r->store, NULL};
    if (tb_http_server_start(&deps, &r->server, &fail) != TB_OK) {
        fprintf(stderr, "%s\n", fail.text);
        return -1;
    }
    *state = r;
    return 0;
}

static int
close_room(void **state)
{
    struct room *r = *state;
    char command[128];

    tb_http_server_stop(r->server);
    tb_store_close(r->store);
    tb_secret_release(&r->alert);
    tb_secret_release(&r->analyst);
    tb_secret_release(&r->responder);
    tb_secret_release(&r->scraper);
    tb_secret_release(&r->admin);
    snprintf(command, sizeof(command), "rm -rf %s", r->folder);
    free(r);
    return system(command);
}

/* --- a client that sends exactly what it is told --- */

static int
dial(const struct room *r)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    const struct timeval limit = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    in.sin_port = htons(tb_http_server_port(r->server));
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    return fd;
}

static void
send_all(int fd, const void *at, size_t len)
{
    const char *p = at;

    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n <= 0) {
            return; /* the server may have closed already: its answer is what counts */
        }
        p += n;
        len -= (size_t)n;
    }
}

/* Reads to the end; gives the status (0: none). */
static int
read_answer(int fd, struct tb_buf *out)
{
    char block[65536];
    int status = 0;
    ssize_t n;

    tb_buf_reset(out);
    while ((n = recv(fd, block, sizeof(block), 0)) > 0) {
        tb_buf_put(out, block, (size_t)n);
    }
    (void)close(fd);
    (void)sscanf(tb_buf_str(out), "HTTP/1.1 %d", &status);
    return status;
}

/* One whole call; `headers` are "Name: value\r\n" lines. */
static int
call(const struct room *r, const char *method, const char *path, const struct tb_secret *token,
     const char *headers, const char *body, struct tb_buf *out)
{
    struct tb_buf text = TB_BUF_INIT(ANSWER_MAX);
    int fd = dial(r);
    int status;

    tb_buf_printf(&text, "%s %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n%s", method, path,
                  headers != NULL ? headers : "");
    if (token != NULL) {
        tb_buf_printf(&text, "Authorization: Bearer %s\r\n", token->text);
    }
    if (body != NULL) {
        tb_buf_printf(&text, "Content-Length: %zu\r\n", strlen(body));
    }
    tb_buf_put_str(&text, "\r\n");
    if (body != NULL) {
        tb_buf_put_str(&text, body);
    }
    send_all(fd, text.at, text.len);
    status = read_answer(fd, out);
    tb_buf_release(&text);
    return status;
}

/* The answer's body, for the caller to free. */
static struct tb_json *
json_of(struct tb_buf *answer)
{
    const char *body = strstr(tb_buf_str(answer), "\r\n\r\n");
    struct tb_json *json = NULL;

    assert_non_null(body);
    assert_int_equal(tb_json_parse_max(tb_bytes_str(body + 4), ANSWER_MAX, &json, NULL), TB_OK);
    return json;
}

static void
assert_problem(struct tb_buf *answer, int status, const char *detail)
{
    struct tb_json *json = json_of(answer);
    int64_t said = 0;

    assert_non_null(strstr(tb_buf_str(answer), "Content-Type: application/problem+json"));
    assert_true(tb_json_int(json, "/status", &said) && said == status);
    assert_non_null(tb_json_str(json, "/title"));
    assert_memory_equal(tb_json_str(json, "/type"), "urn:tapbox:problem:", 19);
    if (strstr(tb_json_str(json, "/detail"), detail) == NULL) {
        fail_msg("'%s' is not in '%s'", detail, tb_json_str(json, "/detail"));
    }
    tb_json_free(json);
}

/* --- routes and tokens --- */

static void
health_needs_no_token_and_readiness_names_what_is_missing(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);

    assert_int_equal(call(r, "GET", "/healthz", NULL, NULL, NULL, &out), 200);
    assert_non_null(strstr(tb_buf_str(&out), "\"status\": \"ok\""));
    assert_int_equal(call(r, "HEAD", "/healthz", NULL, NULL, NULL, &out), 200);
    assert_null(strstr(tb_buf_str(&out), "\"status\""));
    assert_int_equal(call(r, "GET", "/readyz", NULL, NULL, NULL, &out), 503);
    assert_problem(&out, 503, "control plane");
    assert_non_null(strstr(tb_buf_str(&out), "Retry-After: 5"));
    tb_buf_release(&out);
}

static void
unknown_paths_and_wrong_methods_are_told_apart(void **state)
{
    static const char *const unknown[] = {
        "/",
        "/v1",
        "/v1/events/",
        "/v1/captures/",
        "/v1/captures//stop",
        "/v2/events",
        "/v1/captures/cap-20260102T030405Z-1a2b3c4d/stop/now",
        "/%2e%2e/etc/passwd",
    };
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);

    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        assert_int_equal(call(r, "POST", unknown[i], &r->admin, NULL, "{}", &out), 404);
        assert_problem(&out, 404, "no such route");
    }
    assert_int_equal(call(r, "GET", "/v1/events", &r->admin, NULL, NULL, &out), 405);
    assert_non_null(strstr(tb_buf_str(&out), "Allow: POST\r\n"));
    assert_int_equal(call(r, "DELETE", "/v1/captures", &r->admin, NULL, NULL, &out), 405);
    assert_non_null(strstr(tb_buf_str(&out), "Allow: POST, GET, HEAD\r\n"));
    assert_int_equal(call(r, "PUT", "/healthz", NULL, NULL, "x", &out), 405);
    tb_buf_release(&out);
}

static void
every_route_wants_the_right_role(void **state)
{
    struct room *r = *state;
    const struct tb_secret *const tokens[] = {&r->alert, &r->analyst, &r->responder,
                                              &r->scraper, &r->admin};
    struct {
        const char *method, *path;
        bool allowed[4]; /* alert, analyst, responder, scraper; admin always */
    } routes[] = {
        {"POST", "/v1/events", {true, false, false, false}},
        {"POST", "/v1/captures", {false, true, false, false}},
        {"GET", "/v1/captures", {false, true, true, false}},
        {"GET", "/v1/captures/cap-20260102T030405Z-1a2b3c4d", {false, true, true, false}},
        {"POST",
         "/v1/captures/cap-20260102T030405Z-1a2b3c4d/stop",
         {false, true, false, false}},
        {"GET", "/metrics", {false, false, false, true}},
    };
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);

    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        const char *body = routes[i].method[0] == 'P' ? "{}" : NULL;

        assert_int_equal(call(r, routes[i].method, routes[i].path, NULL, NULL, body, &out),
                         401);
        assert_problem(&out, 401, "no token");
        assert_non_null(strstr(tb_buf_str(&out), "WWW-Authenticate: Bearer"));
        assert_int_equal(call(r, routes[i].method, routes[i].path, NULL,
                              "Authorization: Bearer tbx_wrong\r\n", body, &out),
                         401);
        assert_problem(&out, 401, "not known");
        for (size_t t = 0; t < 5; t++) {
            bool allowed = t == 4 || routes[i].allowed[t];
            int status = call(r, routes[i].method, routes[i].path, tokens[t], NULL, body, &out);

            if (allowed == (status == 403) || status == 401 || status == 0) {
                fail_msg("%s %s with token %zu: %d", routes[i].method, routes[i].path, t,
                         status);
            }
        }
    }
    tb_buf_release(&out);
}

static void
a_token_comes_in_any_of_three_headers(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX), plain = TB_BUF_INIT(512);
    struct tb_buf header = TB_BUF_INIT(1024);

    tb_buf_printf(&header, "X-Api-Key: %s\r\n", r->responder.text);
    assert_int_equal(call(r, "GET", "/v1/captures", NULL, tb_buf_str(&header), NULL, &out),
                     200);
    tb_buf_reset(&header);
    tb_buf_printf(&plain, "any:%s", r->responder.text);
    tb_buf_put_str(&header, "Authorization: Basic ");
    tb_buf_put_base64(&header, tb_buf_view(&plain));
    tb_buf_put_str(&header, "\r\n");
    assert_int_equal(call(r, "GET", "/v1/captures", NULL, tb_buf_str(&header), NULL, &out),
                     200);
    tb_buf_release(&header);
    tb_buf_release(&plain);
    tb_buf_release(&out);
}

static void
only_bearer_and_basic_are_read_from_authorization(void **state)
{
    static const struct {
        const char *value, *token; /* NULL: refused */
    } cases[] = {
        {"Bearer abc", "abc"},   {"bearer   abc", "abc"},   {"Basic dTpwdw==", "pw"},
        {"Basic dTpwdw", "pw"},  {"Basic dTphOmI=", "a:b"}, {"Basic OnB3", "pw"},
        {"Basic dXB3", NULL}, /* no colon */
        {"Basic dTpw*w=", NULL}, {"Basic d", NULL},         {"Basic ", NULL},
        {"Digest abc", NULL},    {"Bearerabc", NULL},       {"", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_secret token = TB_SECRET_INIT;
        bool got = tb_http_authorization_token(cases[i].value, &token);

        if (got != (cases[i].token != NULL) ||
            (got && strcmp(token.text, cases[i].token) != 0)) {
            fail_msg("%s", cases[i].value);
        }
        tb_secret_release(&token);
    }
}

/* --- bodies --- */

static void
a_body_over_the_limit_is_413_announced_or_chunked(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX), text = TB_BUF_INIT(ANSWER_MAX);
    char *big = test_malloc(TB_EVENT_MAX_BYTES + 2);
    int fd;

    memset(big, 'a', TB_EVENT_MAX_BYTES + 1);
    big[TB_EVENT_MAX_BYTES + 1] = '\0';
    assert_int_equal(call(r, "POST", "/v1/events", &r->alert, NULL, big, &out), 413);
    assert_problem(&out, 413, "1048576 bytes");
    /* one octet less is looked at, and is not JSON */
    big[TB_EVENT_MAX_BYTES] = '\0';
    assert_int_equal(call(r, "POST", "/v1/events", &r->alert, NULL, big, &out), 400);

    fd = dial(r);
    tb_buf_printf(&text,
                  "POST /v1/events HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"
                  "Transfer-Encoding: chunked\r\nX-Api-Key: %s\r\n\r\n",
                  r->alert.text);
    for (size_t i = 0; i < 3; i++) {
        tb_buf_put_str(&text, "80000\r\n");
        tb_buf_put(&text, big, 0x80000);
        tb_buf_put_str(&text, "\r\n");
    }
    tb_buf_put_str(&text, "0\r\n\r\n");
    send_all(fd, text.at, text.len);
    assert_int_equal(read_answer(fd, &out), 413);
    test_free(big);
    tb_buf_release(&text);
    tb_buf_release(&out);
}

static void
a_body_far_over_the_limit_is_refused_before_it_comes(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX), text = TB_BUF_INIT(1024);
    int fd = dial(r);

    tb_buf_printf(&text,
                  "POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999\r\n"
                  "X-Api-Key: %s\r\n\r\n",
                  r->alert.text);
    send_all(fd, text.at, text.len);
    assert_int_equal(read_answer(fd, &out), 413);
    tb_buf_release(&text);
    tb_buf_release(&out);
}

static void
who_waits_for_100_continue_is_refused_without_it(void **state)
{
    static const char text[] = "POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n"
                               "Expect: 100-continue\r\nX-Api-Key: wrong\r\n\r\n";
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    int fd = dial(r);

    send_all(fd, text, sizeof(text) - 1);
    assert_int_equal(read_answer(fd, &out), 401);
    assert_null(strstr(tb_buf_str(&out), "100 Continue"));
    tb_buf_release(&out);
}

static void
a_refused_body_is_read_so_that_its_sender_sees_the_answer(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    char *big = test_malloc(TB_EVENT_MAX_BYTES);

    memset(big, 'a', TB_EVENT_MAX_BYTES - 1);
    big[TB_EVENT_MAX_BYTES - 1] = '\0';
    for (int i = 0; i < 5; i++) {
        assert_int_equal(call(r, "POST", "/v1/events", NULL, NULL, big, &out), 401);
        assert_int_equal(call(r, "POST", "/nowhere", NULL, NULL, big, &out), 404);
    }
    test_free(big);
    tb_buf_release(&out);
}

static void
headers_over_the_limit_are_431(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX), headers = TB_BUF_INIT(65536);

    for (int i = 0; i < 200; i++) {
        tb_buf_printf(&headers, "X-Filler-%d: %0100d\r\n", i, 0);
    }
    assert_int_equal(call(r, "GET", "/healthz", NULL, tb_buf_str(&headers), NULL, &out), 431);
    tb_buf_release(&headers);
    tb_buf_release(&out);
}

static void
what_is_no_alert_is_400_with_the_reason(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);

    assert_int_equal(call(r, "POST", "/v1/events", &r->alert, NULL, "", &out), 400);
    assert_problem(&out, 400, "JSON");
    assert_int_equal(call(r, "POST", "/v1/events", &r->alert, NULL, "{\"a\":", &out), 400);
    assert_problem(&out, 400, "JSON");
    assert_int_equal(call(r, "POST", "/v1/events", &r->alert, NULL, "{\"a\":1}", &out), 400);
    assert_problem(&out, 400, "");
    assert_int_equal(call(r, "POST", "/v1/captures", &r->analyst, NULL, "{\"sauce\":1}", &out),
                     400);
    assert_problem(&out, 400, "sauce");
    assert_int_equal(call(r, "POST", "/v1/captures?dry_run=1", &r->analyst, NULL, BODY, &out),
                     400);
    assert_problem(&out, 400, "'dry_run'");
    assert_int_equal(
        call(r, "POST", "/v1/captures", &r->analyst, "Idempotency-Key:\r\n", BODY, &out), 400);
    assert_problem(&out, 400, "Idempotency-Key");
    assert_int_equal(call(r, "GET", "/v1/captures?limit=0", &r->analyst, NULL, NULL, &out),
                     400);
    assert_int_equal(call(r, "GET", "/v1/captures?live=x", &r->analyst, NULL, NULL, &out), 400);
    assert_int_equal(call(r, "GET", "/v1/captures", &r->analyst, NULL, NULL, &out), 200);
    assert_non_null(strstr(tb_buf_str(&out), "\"captures\": []"));
    tb_buf_release(&out);
}

/* --- captures --- */

/* Asks for one; its id goes to `id`. */
static void
make_capture(const struct room *r, char id[TB_CAPTURE_ID_SIZE])
{
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct tb_json *json;

    assert_int_equal(call(r, "POST", "/v1/captures", &r->analyst, NULL, BODY, &out), 202);
    json = json_of(&out);
    assert_string_equal(tb_json_str(json, "/decision"), "capture");
    assert_true(tb_str_copy(id, TB_CAPTURE_ID_SIZE, tb_json_str(json, "/capture/id")));
    tb_json_free(json);
    tb_buf_release(&out);
}

static void
a_request_makes_a_capture_and_the_same_key_gives_it_again(void **state)
{
    static const char key[] = "Idempotency-Key: k-1\r\nRange: bytes=0-1048575\r\n";
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct tb_json *json;
    char id[TB_CAPTURE_ID_SIZE];

    assert_int_equal(call(r, "POST", "/v1/captures", &r->analyst, key, BODY, &out), 202);
    json = json_of(&out);
    assert_string_equal(tb_json_str(json, "/decision"), "capture");
    assert_string_equal(tb_json_str(json, "/capture/state"), "requested");
    assert_string_equal(tb_json_str(json, "/capture/request/requested_by"), "ann");
    assert_string_equal(tb_json_str(json, "/capture/request/interfaces/0"), ENI);
    assert_true(tb_json_is_null(tb_json_at(json, "/capture/deadline")));
    assert_true(tb_str_copy(id, sizeof(id), tb_json_str(json, "/capture/id")));
    assert_non_null(strstr(tb_buf_str(&out), "Location: /v1/captures/cap-"));
    tb_json_free(json);

    assert_int_equal(call(r, "POST", "/v1/captures", &r->analyst, key, BODY, &out), 200);
    json = json_of(&out);
    assert_string_equal(tb_json_str(json, "/decision"), "duplicate");
    assert_string_equal(tb_json_str(json, "/capture/id"), id);
    tb_json_free(json);

    assert_int_equal(call(r, "POST", "/v1/captures", &r->analyst, NULL, BODY, &out), 202);
    json = json_of(&out);
    assert_string_equal(tb_json_str(json, "/decision"), "joined");
    assert_string_equal(tb_json_str(json, "/capture/id"), id);
    tb_json_free(json);
    tb_buf_release(&out);
}

/* Posts a finding as an EventBridge API destination does; the decision has to be `decision`. */
static void
post_sample(const struct room *r, const char *name, int status, const char *decision)
{
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX), body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_buf headers = TB_BUF_INIT(1024);
    struct tb_json *json;

    tb_buf_printf(&headers,
                  "User-Agent: Amazon/EventBridge/ApiDestinations\r\n"
                  "Content-Type: application/json; charset=utf-8\r\n"
                  "Range: bytes=0-1048575\r\nAccept-Encoding: gzip,deflate\r\n"
                  "X-Api-Key: %s\r\n",
                  r->alert.text);
    assert_int_equal(tb_read_file(AT_FDCWD, name, &body, NULL), TB_OK);
    assert_int_equal(
        call(r, "POST", "/v1/events", NULL, tb_buf_str(&headers), tb_buf_str(&body), &out),
        status);
    assert_null(strstr(tb_buf_str(&out), "Content-Range"));
    json = json_of(&out);
    assert_string_equal(tb_json_str(json, "/decision"), decision);
    assert_true(strlen(tb_json_str(json, "/reason")) > 5);
    assert_string_equal(tb_json_str(json, "/alert/adapter"), "guardduty");
    assert_true((tb_json_str(json, "/capture/id") != NULL) ==
                (strcmp(decision, "ignored") != 0));
    tb_json_free(json);
    tb_buf_release(&body);
    tb_buf_release(&headers);
    tb_buf_release(&out);
}

static void
a_finding_makes_a_capture_once_and_a_sample_is_ignored_with_its_reason(void **state)
{
    struct room *r = *state;

    post_sample(r, "webhooks/guardduty/samples/cnc.json", 202, "capture");
    post_sample(r, "webhooks/guardduty/samples/cnc.json", 200, "duplicate");
    post_sample(r, "webhooks/guardduty/samples/sample.json", 200, "ignored");
    post_sample(r, "webhooks/guardduty/samples/s3.json", 200, "ignored");
}

static void
a_capture_is_listed_shown_and_stopped_once(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct tb_json *json;
    char id[TB_CAPTURE_ID_SIZE], path[100], stop[110];

    make_capture(r, id);
    snprintf(path, sizeof(path), "/v1/captures/%s", id);
    snprintf(stop, sizeof(stop), "%s/stop", path);
    assert_int_equal(
        call(r, "GET", "/v1/captures?live=1&limit=1", &r->responder, NULL, NULL, &out), 200);
    json = json_of(&out);
    assert_string_equal(tb_json_str(json, "/captures/0/id"), id);
    tb_json_free(json);
    assert_int_equal(call(r, "GET", path, &r->responder, NULL, NULL, &out), 200);
    json = json_of(&out);
    assert_true(tb_json_is_array(tb_json_at(json, "/segments")));
    assert_true(tb_json_is_array(tb_json_at(json, "/resources")));
    assert_true(tb_json_is_null(tb_json_at(json, "/live")));
    tb_json_free(json);

    assert_int_equal(call(r, "POST", stop, &r->analyst, NULL, "", &out), 202);
    json = json_of(&out);
    assert_string_equal(tb_json_str(json, "/capture/stop_reason"), "operator");
    tb_json_free(json);
    assert_int_equal(tb_store_capture_move(r->store, id, TB_CAPTURE_REQUESTED,
                                           TB_CAPTURE_FAILED, TB_STOP_FAILURE, NULL),
                     TB_OK);
    assert_int_equal(call(r, "POST", stop, &r->analyst, NULL, "", &out), 409);
    assert_problem(&out, 409, "");
    json = json_of(&out);
    assert_string_equal(tb_json_str(json, "/state"), "failed");
    tb_json_free(json);
    assert_int_equal(call(r, "GET", "/v1/captures?live=1", &r->responder, NULL, NULL, &out),
                     200);
    assert_null(strstr(tb_buf_str(&out), id));
    tb_buf_release(&out);
}

static void
a_capture_that_is_not_there_is_404(void **state)
{
    static const char *const paths[] = {
        "/v1/captures/cap-20260102T030405Z-1a2b3c4d",
        "/v1/captures/x",
        "/v1/captures/cap-20260102T030405Z-1a2b3c4d%00x",
        "/v1/captures/%27%20OR%201=1",
    };
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        assert_int_equal(call(r, "GET", paths[i], &r->admin, NULL, NULL, &out), 404);
    }
    assert_int_equal(call(r, "POST", "/v1/captures/cap-20260102T030405Z-1a2b3c4d/stop",
                          &r->admin, NULL, NULL, &out),
                     404);
    assert_problem(&out, 404, "no such capture");
    tb_buf_release(&out);
}

static void *
post_many(void *arg)
{
    struct room *r = arg;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    size_t answered = 0;

    for (int i = 0; i < POSTS_EACH; i++) {
        int status = call(r, "POST", "/v1/captures", &r->analyst, "Idempotency-Key: same\r\n",
                          BODY, &out);

        answered += status == 202 || status == 200 ? 1 : 0;
    }
    tb_buf_release(&out);
    return (void *)(uintptr_t)answered;
}

static void
many_at_once_with_one_key_make_one_capture_and_all_are_counted(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    pthread_t threads[POSTERS];
    size_t answered = 0;
    char line[100];

    for (size_t i = 0; i < POSTERS; i++) {
        assert_int_equal(tb_thread_start(&threads[i], "poster", post_many, r, NULL), TB_OK);
    }
    for (size_t i = 0; i < POSTERS; i++) {
        void *got = NULL;

        assert_int_equal(pthread_join(threads[i], &got), 0);
        answered += (size_t)(uintptr_t)got;
    }
    assert_int_equal(answered, POSTERS * POSTS_EACH);
    assert_int_equal(call(r, "GET", "/metrics", &r->scraper, NULL, NULL, &out), 200);
    assert_non_null(strstr(tb_buf_str(&out), "tapbox_intake_total{decision=\"capture\"} 1\n"));
    snprintf(line, sizeof(line), "tapbox_intake_total{decision=\"duplicate\"} %d\n",
             POSTERS * POSTS_EACH - 1);
    assert_non_null(strstr(tb_buf_str(&out), line));
    assert_non_null(strstr(tb_buf_str(&out), "tapbox_captures{state=\"requested\"} 1\n"));
    assert_non_null(strstr(tb_buf_str(&out), "route=\"/v1/captures\",status=\"2xx\"} 120\n"));
    tb_buf_release(&out);
}

static void
a_disk_that_takes_no_more_is_503_and_the_sender_may_try_again(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct rlimit before, tiny;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    tiny = (struct rlimit){.rlim_cur = 512, .rlim_max = before.rlim_max};
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tiny), 0);
    assert_int_equal(call(r, "POST", "/v1/captures", &r->analyst, NULL, BODY, &out), 503);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_problem(&out, 503, "");
    assert_non_null(strstr(tb_buf_str(&out), "Retry-After: 5\r\n"));
    assert_int_equal(call(r, "POST", "/v1/captures", &r->analyst, NULL, BODY, &out), 202);
    tb_buf_release(&out);
}

static void
one_connection_carries_several_calls(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX), text = TB_BUF_INIT(4096);
    const char *p;
    size_t answers = 0;
    int fd = dial(r);

    /* one refused with its body, one taken, one asked for 100 Continue, the last closes */
    tb_buf_put_str(&text,
                   "POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello"
                   "GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n");
    tb_buf_printf(&text,
                  "POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n"
                  "Expect: 100-continue\r\nX-Api-Key: %s\r\n\r\n{}"
                  "GET /readyz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
                  r->alert.text);
    send_all(fd, text.at, text.len);
    assert_int_equal(read_answer(fd, &out), 401);
    for (p = tb_buf_str(&out); (p = strstr(p, "HTTP/1.1 ")) != NULL; p++) {
        answers += strncmp(p + 9, "100", 3) != 0 ? 1 : 0;
    }
    assert_int_equal(answers, 4);
    assert_non_null(strstr(tb_buf_str(&out), "HTTP/1.1 200"));
    assert_non_null(strstr(tb_buf_str(&out), "HTTP/1.1 400"));
    assert_non_null(strstr(tb_buf_str(&out), "HTTP/1.1 503"));
    tb_buf_release(&text);
    tb_buf_release(&out);
}

/* --- start --- */

static void
a_port_in_use_is_one_clear_line(void **state)
{
    struct room *r = *state;
    struct tb_config config = r->config;
    const struct tb_http_server_deps deps = {&config, r->store, NULL};
    struct tb_http_server *second = NULL;
    struct tb_fail fail = {0};

    config.listen_port = tb_http_server_port(r->server);
    assert_int_equal(tb_http_server_start(&deps, &second, &fail), TB_EIO);
    assert_non_null(strstr(fail.text, "127.0.0.1 port "));
    assert_non_null(strstr(fail.text, "is in use"));
    assert_null(strchr(fail.text, '\n'));
    assert_null(second);
    strcpy(config.listen_address, "192.0.2.1"); /* not an address of this host */
    assert_int_equal(tb_http_server_start(&deps, &second, &fail), TB_EIO);
    assert_non_null(strstr(fail.text, "192.0.2.1"));
}

static void
without_a_tokens_file_nobody_may_call_and_health_answers(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);

    assert_int_equal(unlink(r->tokens), 0);
    assert_int_equal(call(r, "POST", "/v1/events", &r->alert, NULL, "{}", &out), 401);
    assert_int_equal(call(r, "GET", "/v1/captures", &r->admin, NULL, NULL, &out), 401);
    assert_int_equal(call(r, "GET", "/healthz", NULL, NULL, NULL, &out), 200);
    tb_buf_release(&out);
}

static void
a_server_with_open_connections_stops(void **state)
{
    struct room *r = *state;
    int idle = dial(r), half = dial(r);

    send_all(half, "POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Le", 45);
    tb_http_server_stop(r->server);
    r->server = NULL;
    (void)close(idle);
    (void)close(half);
}

/* --- the description --- */

static void
the_description_names_every_route_and_no_other(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct tb_json *json;
    size_t described = 0;

    assert_int_equal(call(r, "GET", "/openapi.json", NULL, NULL, NULL, &out), 200);
    json = json_of(&out);
    for (size_t i = 0; i < tb_json_count(tb_json_at(json, "/paths")); i++) {
        const char *path = NULL;
        const struct tb_json *methods = tb_json_member(tb_json_at(json, "/paths"), i, &path);

        for (size_t m = 0; m < tb_json_count(methods); m++) {
            const char *method = NULL;

            (void)tb_json_member(methods, m, &method);
            if (strcmp(method, "parameters") == 0) {
                continue;
            }
            described++;
            for (size_t k = 0;; k++) {
                if (k == tb_http_route_count) {
                    fail_msg("%s %s is described and not there", method, path);
                }
                if (strcasecmp(tb_http_routes[k].method, method) == 0 &&
                    strcmp(tb_http_routes[k].path, path) == 0) {
                    break;
                }
            }
        }
    }
    assert_int_equal(described, tb_http_route_count);
    tb_json_free(json);
    tb_buf_release(&out);
}

/* Every member of `value` is a property of `schema`, and the other way round. */
static void
assert_same_members(const struct tb_json *value, const struct tb_json *properties)
{
    const char *key = NULL;

    assert_true(tb_json_count(value) > 0);
    for (size_t i = 0; i < tb_json_count(value); i++) {
        char pointer[64];

        (void)tb_json_member(value, i, &key);
        snprintf(pointer, sizeof(pointer), "/%s", key);
        if (tb_json_at(properties, pointer) == NULL) {
            fail_msg("'%s' is not described", key);
        }
    }
    for (size_t i = 0; i < tb_json_count(properties); i++) {
        char pointer[64];

        (void)tb_json_member(properties, i, &key);
        snprintf(pointer, sizeof(pointer), "/%s", key);
        if (tb_json_at(value, pointer) == NULL) {
            fail_msg("'%s' is described and not there", key);
        }
    }
}

static void
the_description_has_the_members_that_answers_have(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct tb_json *api, *list, *page;
    char id[TB_CAPTURE_ID_SIZE], path[100];
    const struct tb_capture_source source = {.eni = ENI, .vni = 7};
    const struct tb_segment_row segment = {.name = "h-0-1.pcapng.zst", .bytes = 5};
    const struct tb_resource resource = {
        .kind = TB_RESOURCE_SESSION, .client_token = "t", .params = (char[]){"Action=x"}};
    struct tb_segment_row named = segment;
    struct tb_resource intent = resource;
    int64_t row;

    make_capture(r, id);
    memcpy(named.capture_id, id, sizeof(id));
    memcpy(intent.capture_id, id, sizeof(id));
    assert_int_equal(tb_store_capture_sources(r->store, id, &source, 1, NULL), TB_OK);
    assert_int_equal(tb_store_segment_add(r->store, &named, NULL), TB_OK);
    assert_int_equal(tb_store_resource_intend(r->store, &intent, &row, NULL), TB_OK);
    assert_int_equal(call(r, "GET", "/openapi.json", NULL, NULL, NULL, &out), 200);
    api = json_of(&out);
    assert_int_equal(call(r, "GET", "/v1/captures", &r->analyst, NULL, NULL, &out), 200);
    list = json_of(&out);
    snprintf(path, sizeof(path), "/v1/captures/%s", id);
    assert_int_equal(call(r, "GET", path, &r->analyst, NULL, NULL, &out), 200);
    page = json_of(&out);

    assert_same_members(tb_json_at(list, "/captures/0"),
                        tb_json_at(api, "/components/schemas/Capture/properties"));
    assert_same_members(
        tb_json_at(page, "/request"),
        tb_json_at(api, "/components/schemas/Capture/properties/request/properties"));
    assert_same_members(tb_json_at(page, "/ledger"),
                        tb_json_at(api, "/components/schemas/Ledger/properties"));
    assert_same_members(tb_json_at(page, "/sources/0"),
                        tb_json_at(api, "/components/schemas/Source/properties"));
    assert_same_members(
        tb_json_at(page, "/segments/0"),
        tb_json_at(
            api,
            "/components/schemas/CapturePage/allOf/1/properties/segments/items/properties"));
    assert_same_members(
        tb_json_at(page, "/resources/0"),
        tb_json_at(
            api,
            "/components/schemas/CapturePage/allOf/1/properties/resources/items/properties"));
    tb_json_free(api);
    tb_json_free(list);
    tb_json_free(page);
    tb_buf_release(&out);
}

#define ROOM_TEST(name) cmocka_unit_test_setup_teardown(name, open_room, close_room)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(health_needs_no_token_and_readiness_names_what_is_missing),
        ROOM_TEST(unknown_paths_and_wrong_methods_are_told_apart),
        ROOM_TEST(every_route_wants_the_right_role),
        ROOM_TEST(a_token_comes_in_any_of_three_headers),
        cmocka_unit_test(only_bearer_and_basic_are_read_from_authorization),
        ROOM_TEST(a_body_over_the_limit_is_413_announced_or_chunked),
        ROOM_TEST(a_body_far_over_the_limit_is_refused_before_it_comes),
        ROOM_TEST(who_waits_for_100_continue_is_refused_without_it),
        ROOM_TEST(a_refused_body_is_read_so_that_its_sender_sees_the_answer),
        ROOM_TEST(headers_over_the_limit_are_431),
        ROOM_TEST(what_is_no_alert_is_400_with_the_reason),
        ROOM_TEST(a_request_makes_a_capture_and_the_same_key_gives_it_again),
        ROOM_TEST(a_finding_makes_a_capture_once_and_a_sample_is_ignored_with_its_reason),
        ROOM_TEST(a_capture_is_listed_shown_and_stopped_once),
        ROOM_TEST(a_capture_that_is_not_there_is_404),
        ROOM_TEST(many_at_once_with_one_key_make_one_capture_and_all_are_counted),
        ROOM_TEST(a_disk_that_takes_no_more_is_503_and_the_sender_may_try_again),
        ROOM_TEST(one_connection_carries_several_calls),
        ROOM_TEST(a_port_in_use_is_one_clear_line),
        ROOM_TEST(without_a_tokens_file_nobody_may_call_and_health_answers),
        ROOM_TEST(a_server_with_open_connections_stops),
        ROOM_TEST(the_description_names_every_route_and_no_other),
        ROOM_TEST(the_description_has_the_members_that_answers_have),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
