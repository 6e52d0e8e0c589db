/* Credentials of a container, from the agent beside it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include <tapbox/clock.h>
#include <tapbox/io.h>

#include "../../../src/aws/aws_int.h"
#include "../../support/http_peer.h"

#define RELATIVE "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
#define FULL "AWS_CONTAINER_CREDENTIALS_FULL_URI"
#define TOKEN "AWS_CONTAINER_AUTHORIZATION_TOKEN"
#define TOKEN_FILE "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
#define KEYS                                                                                   \
    "{\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"s\",\"Token\":\"t\","                    \
    "\"Expiration\":\"2026-01-02T09:30:00Z\",\"AccountId\":\"111122223333\"}"

static struct tb_http_client *http;
static struct http_peer *peer;
static char token_file[] = "/tmp/tapbox-token-XXXXXX";
static struct tb_aws_credentials credentials;
static struct tb_fail fail;

static int
start(void **state TB_UNUSED)
{
    int fd = mkstemp(token_file);

    tb_close(&fd);
    peer = http_peer_start(NULL, 0);
    return tb_http_client_new(&http, NULL) == TB_OK ? 0 : -1;
}

static int
stop(void **state TB_UNUSED)
{
    tb_http_client_free(http);
    http_peer_stop(peer);
    return unlink(token_file);
}

static int
begin(void **state TB_UNUSED)
{
    char url[64];

    unsetenv(RELATIVE);
    unsetenv(TOKEN);
    unsetenv(TOKEN_FILE);
    (void)snprintf(url, sizeof(url), "%s/v1/credentials?a=b", http_peer_url(peer));
    setenv(FULL, url, 1);
    http_peer_script(peer, NULL, 0);
    memset(&credentials, 0, sizeof(credentials));
    fail.text[0] = '\0';
    return 0;
}

static int
end(void **state TB_UNUSED)
{
    tb_aws_credentials_release(&credentials);
    return 0;
}

static enum tb_err
get(void)
{
    const struct tb_aws_reach reach = {.http = http};

    tb_aws_credentials_release(&credentials);
    return tb_aws_credentials_from_container(&reach, &credentials, &fail);
}

static void
put_token(const char *text)
{
    assert_int_equal(tb_write_file_whole(-1, token_file, tb_bytes_str(text), 0600, NULL),
                     TB_OK);
}

static void
assert_sent(size_t i, const char *name, const char *expected)
{
    char value[128];

    http_peer_header(peer, i, name, value, sizeof(value));
    assert_string_equal(value, expected);
}

static void
assert_said(const char *text)
{
    if (strstr(fail.text, text) == NULL) {
        print_error("no '%s' in: %s\n", text, fail.text);
    }
    assert_non_null(strstr(fail.text, text));
}

static void
without_its_variables_the_next_source_is_asked(void **state TB_UNUSED)
{
    setenv(FULL, "", 1);
    assert_int_equal(get(), TB_ENOTFOUND);
    assert_int_equal(http_peer_count(peer), 0);
}

static void
the_agent_gives_keys_for_a_token(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"GET /v1/credentials?a=b ", 200, NULL, KEYS, .always = true}};

    http_peer_script(peer, steps, 1);
    assert_int_equal(get(), TB_OK);
    assert_string_equal(credentials.access_key_id, "ASIA1");
    assert_string_equal(credentials.secret_key.text, "s");
    assert_string_equal(credentials.session_token.text, "t");
    assert_string_equal(credentials.source, "container");
    assert_int_equal(credentials.expires_utc_s, 1767346200);
    assert_sent(0, "accept", "application/json");
    assert_sent(0, "authorization", "");
    setenv(TOKEN, "Basic abc=", 1);
    assert_int_equal(get(), TB_OK);
    assert_sent(1, "authorization", "Basic abc=");
}

static void
the_token_s_file_wins_and_is_read_each_time(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {{"GET ", 200, NULL, KEYS, .always = true}};

    http_peer_script(peer, steps, 1);
    setenv(TOKEN, "variable", 1);
    setenv(TOKEN_FILE, token_file, 1);
    put_token("first\n");
    assert_int_equal(get(), TB_OK);
    put_token("second");
    assert_int_equal(get(), TB_OK);
    assert_sent(0, "authorization", "first");
    assert_sent(1, "authorization", "second");
}

static void
a_token_that_is_none_is_not_sent(void **state TB_UNUSED)
{
    setenv(TOKEN, "secret\r\nx-more: 1", 1);
    assert_int_equal(get(), TB_EDENIED);
    assert_said(TOKEN " is not one line");
    setenv(TOKEN_FILE, token_file, 1);
    put_token("secret\nsecond\n");
    assert_int_equal(get(), TB_EDENIED);
    assert_said(token_file);
    assert_null(strstr(fail.text, "secret"));
    put_token(" \n");
    assert_int_equal(get(), TB_EDENIED);
    assert_said("is empty");
    setenv(TOKEN_FILE, "/nowhere/token", 1);
    assert_int_equal(get(), TB_EDENIED);
    assert_said("/nowhere/token");
    assert_int_equal(http_peer_count(peer), 0);
}

static void
what_the_agent_refuses_is_told_and_what_passes_is_tried_again(void **state TB_UNUSED)
{
    static const struct http_peer_step refuses[] = {
        {"GET ", 403, NULL, "{\"code\":\"X\",\"message\":\"no role here\"}", .how = 0}};
    static const struct http_peer_step flaky[] = {{"GET ", 500, NULL, "", .how = 0},
                                                  {"GET ", 200, NULL, KEYS, .how = 0}};
    static const struct http_peer_step down[] = {{"GET ", 503, NULL, "<", .always = true}};
    static const struct http_peer_step odd[] = {{"GET ", 200, NULL, "<html>", .how = 0}};

    http_peer_script(peer, refuses, 1);
    assert_int_equal(get(), TB_EDENIED);
    assert_said("/v1/credentials?a=b: status 403: no role here");
    assert_int_equal(http_peer_count(peer), 1);
    http_peer_script(peer, flaky, 2);
    assert_int_equal(get(), TB_OK);
    http_peer_script(peer, down, 1);
    assert_int_equal(get(), TB_ERETRY);
    assert_said("status 503");
    http_peer_script(peer, odd, 1);
    assert_int_equal(get(), TB_EFORMAT);
    assert_said("/v1/credentials");
    setenv(FULL, "http://127.0.0.1:1/", 1);
    assert_int_equal(get(), TB_ERETRY);
}

static void
a_token_goes_in_clear_to_this_host_and_the_agents_only(void **state TB_UNUSED)
{
    static const struct {
        const char *relative, *full, *url; /* NULL: refused */
    } cases[] = {
        {"/v2/credentials/x", NULL, "http://169.254.170.2/v2/credentials/x"},
        {"/x", "https://other.example/", "http://169.254.170.2/x"},
        {"@other.example/", NULL, NULL},
        {"/a b", NULL, NULL},
        {NULL, "http://169.254.170.23/v1/credentials", "http://169.254.170.23/v1/credentials"},
        {NULL, "http://[fd00:ec2::23]/v1", "http://[fd00:ec2::23]/v1"},
        {NULL, "http://[::1]:80/v1", "http://[::1]:80/v1"},
        {NULL, "HTTP://LocalHost:1338/", "HTTP://LocalHost:1338/"},
        {NULL, "http://127.9.8.7", "http://127.9.8.7"},
        {NULL, "https://agent.example:8443/x", "https://agent.example:8443/x"},
        {NULL, "http://169.254.169.254/latest", NULL},
        {NULL, "http://10.0.0.1/", NULL},
        {NULL, "http://127.0.0.1.example/", NULL},
        {NULL, "http://127.0.0.1@example/", NULL},
        {NULL, "http://localhost:80@example/", NULL},
        {NULL, "http://localhost:x/", NULL},
        {NULL, "http://127.0.0.1\\@example/", NULL},
        {NULL, "http://[::1].example/", NULL},
        {NULL, "http://[::1", NULL},
        {NULL, "http://[/]/", NULL},
        {NULL, "http:///x", NULL},
        {NULL, "http://127.0.0.1/\r\nx", NULL},
        {NULL, "file:///etc/passwd", NULL},
        {NULL, "/x", NULL},
    };
    char url[256];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum tb_err err =
            tb_aws_container_url(cases[i].relative, cases[i].full, url, sizeof(url), &fail);

        if (cases[i].url == NULL) {
            assert_int_equal(err, TB_EDENIED);
            assert_said(cases[i].relative != NULL ? RELATIVE : FULL);
        } else {
            assert_int_equal(err, TB_OK);
            assert_string_equal(url, cases[i].url);
        }
    }
    assert_int_equal(tb_aws_container_url(NULL, "https://agent.example/long", url, 20, &fail),
                     TB_EDENIED);
    assert_said("too long");
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(without_its_variables_the_next_source_is_asked),
        CASE(the_agent_gives_keys_for_a_token),
        CASE(the_token_s_file_wins_and_is_read_each_time),
        CASE(a_token_that_is_none_is_not_sent),
        CASE(what_the_agent_refuses_is_told_and_what_passes_is_tried_again),
        CASE(a_token_goes_in_clear_to_this_host_and_the_agents_only),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
