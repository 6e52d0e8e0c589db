/* The server itself: routes, tokens, limits, starting and stopping. */
#include "room.h"

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
        {"POST",
         "/v1/captures/cap-20260102T030405Z-1a2b3c4d/extend",
         {false, true, false, false}},
        {"GET", "/v1/foreign-sessions", {false, true, true, false}},
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
    assert_int_equal(call(r, "POST", "/v1/captures?dryrun=1", &r->analyst, NULL, BODY, &out),
                     400);
    assert_problem(&out, 400, "'dryrun'");
    assert_int_equal(call(r, "POST", "/v1/captures?dry_run=yes", &r->analyst, NULL, BODY, &out),
                     400);
    assert_problem(&out, 400, "dry_run");
    assert_int_equal(call(r, "POST", "/v1/captures?dry_run=1", &r->analyst, NULL, BODY, &out),
                     503); /* no control plane in this room */
    assert_problem(&out, 503, "control plane");
    assert_int_equal(call(r, "POST", "/v1/events?dry_run=1", &r->analyst, NULL, "{}", &out),
                     503);
    assert_int_equal(call(r, "POST", "/v1/events?dry_run=0", &r->analyst, NULL, "{}", &out),
                     403);
    assert_problem(&out, 403, "no role that may do this");
    assert_non_null(strstr(tb_buf_str(&out), "it takes the role alert"));
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
    const struct tb_http_server_deps deps = {
        .config = &config, .store = r->store, .spool_fd = -1};
    struct tb_http_server *second = NULL;
    struct tb_fail fail = {0};

    config.listen_port = tb_http_server_port(r->server);
    assert_int_equal(tb_http_server_start(&deps, -1, &second, &fail), TB_EIO);
    assert_non_null(strstr(fail.text, "127.0.0.1 port "));
    assert_non_null(strstr(fail.text, "is in use"));
    assert_null(strchr(fail.text, '\n'));
    assert_null(second);
    strcpy(config.listen_address, "192.0.2.1"); /* not an address of this host */
    assert_int_equal(tb_http_server_start(&deps, -1, &second, &fail), TB_EIO);
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
        ROOM_TEST(one_connection_carries_several_calls),
        ROOM_TEST(a_port_in_use_is_one_clear_line),
        ROOM_TEST(without_a_tokens_file_nobody_may_call_and_health_answers),
        ROOM_TEST(a_server_with_open_connections_stops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
