/* Credentials for a web identity token: what STS is asked, unsigned, and what it may answer. */
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

#define ROLE "arn:aws:iam::111122223333:role/pod"
#define KEYS(id)                                                                               \
    "<AssumeRoleWithWebIdentityResponse "                                                      \
    "xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult>"    \
    "<Credentials><AccessKeyId>" id "</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"       \
    "<SessionToken>t</SessionToken><Expiration>2026-01-02T09:30:00Z</Expiration>"              \
    "</Credentials></AssumeRoleWithWebIdentityResult>"                                         \
    "<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>"                            \
    "</AssumeRoleWithWebIdentityResponse>"
#define REFUSED(code)                                                                          \
    "<ErrorResponse><Error><Type>Sender</Type><Code>" code "</Code><Message>no</Message>"      \
    "</Error><RequestId>r</RequestId></ErrorResponse>"

static struct tb_http_client *http;
static struct http_peer *peer;
static char folder[] = "/tmp/tapbox-web-identity-XXXXXX";
static char token_file[64], config_file[64];
static struct tb_aws_credentials credentials;
static struct tb_fail fail;

static void
put_file(const char *path, const char *text)
{
    assert_int_equal(tb_write_file_whole(-1, path, tb_bytes_str(text), 0600, NULL), TB_OK);
}

static int
start(void **state TB_UNUSED)
{
    peer = http_peer_start(NULL, 0);
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    (void)snprintf(token_file, sizeof(token_file), "%s/token", folder);
    (void)snprintf(config_file, sizeof(config_file), "%s/config", folder);
    setenv("AWS_CONFIG_FILE", config_file, 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    setenv("AWS_ENDPOINT_URL_STS", http_peer_url(peer), 1);
    unsetenv("AWS_PROFILE");
    return tb_http_client_new(&http, NULL) == TB_OK ? 0 : -1;
}

static int
stop(void **state TB_UNUSED)
{
    tb_http_client_free(http);
    http_peer_stop(peer);
    (void)unlink(config_file);
    (void)unlink(token_file);
    return rmdir(folder);
}

static int
begin(void **state TB_UNUSED)
{
    unsetenv("AWS_ROLE_SESSION_NAME");
    setenv("AWS_ROLE_ARN", ROLE, 1);
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token_file, 1);
    put_file(token_file, "eyJ.a+b.c\n");
    put_file(config_file, "");
    http_peer_script(peer, NULL, 0);
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
    const struct tb_aws_reach reach = {.http = http, .region = "eu-central-1"};

    tb_aws_credentials_release(&credentials);
    fail.text[0] = '\0';
    return tb_aws_credentials_from_web_identity(&reach, &credentials, &fail);
}

static void
assert_said(const char *text)
{
    if (strstr(fail.text, text) == NULL) {
        print_error("no '%s' in: %s\n", text, fail.text);
    }
    assert_non_null(strstr(fail.text, text));
    assert_null(strstr(fail.text, "eyJ"));
}

static void
sts_is_asked_with_the_token_and_without_a_signature(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"POST / ", 200, NULL, KEYS("ASIA1"), .how = 0}};
    char value[64];

    http_peer_script(peer, steps, 1);
    setenv("AWS_ROLE_SESSION_NAME", "pod-7", 1);
    assert_int_equal(get(), TB_OK);
    assert_string_equal(credentials.access_key_id, "ASIA1");
    assert_string_equal(credentials.secret_key.text, "s");
    assert_string_equal(credentials.session_token.text, "t");
    assert_string_equal(credentials.source, "web identity");
    assert_int_equal(credentials.expires_utc_s, 1767346200);
    assert_string_equal(http_peer_body(peer, 0),
                        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15"
                        "&RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fpod"
                        "&RoleSessionName=pod-7&WebIdentityToken=eyJ.a%2Bb.c"
                        "&DurationSeconds=3600");
    http_peer_header(peer, 0, "authorization", value, sizeof(value));
    assert_string_equal(value, "");
    http_peer_header(peer, 0, "content-type", value, sizeof(value));
    assert_string_equal(value, "application/x-www-form-urlencoded; charset=utf-8");
}

static void
the_token_is_read_anew_each_time(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"POST / ", 200, NULL, KEYS("ASIA1"), .always = true}};

    http_peer_script(peer, steps, 1);
    assert_int_equal(get(), TB_OK);
    put_file(token_file, "second");
    assert_int_equal(get(), TB_OK);
    assert_non_null(strstr(http_peer_body(peer, 1), "&WebIdentityToken=second&"));
}

static void
a_profile_may_have_it_too(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"POST / ", 200, NULL, KEYS("ASIA1"), .always = true}};
    char text[512];

    unsetenv("AWS_WEB_IDENTITY_TOKEN_FILE");
    assert_int_equal(get(), TB_ENOTFOUND);
    (void)snprintf(text, sizeof(text),
                   "[default]\nrole_arn=" ROLE "-of-profile\nweb_identity_token_file=%s\n"
                   "role_session_name=named\nduration_seconds=900\n",
                   token_file);
    put_file(config_file, text);
    http_peer_script(peer, steps, 1);
    assert_int_equal(get(), TB_OK);
    assert_non_null(strstr(http_peer_body(peer, 0), "role%2Fpod-of-profile&RoleSessionName="
                                                    "named&WebIdentityToken=eyJ.a%2Bb.c&"
                                                    "DurationSeconds=900"));
    put_file(config_file, "[default]\nrole_arn=" ROLE "\nweb_identity_token_file=/x\n"
                          "duration_seconds=12h\n");
    assert_int_equal(get(), TB_EDENIED);
    assert_said("profile 'default': duration_seconds '12h' is not 900 to 43200");
    put_file(config_file, "[default]\nweb_identity_token_file=/x\n");
    assert_int_equal(get(), TB_EDENIED);
    assert_said("profile 'default' has no role_arn");
}

static void
what_is_wrong_is_named_and_sts_is_not_asked(void **state TB_UNUSED)
{
    setenv("AWS_ROLE_ARN", "pod", 1);
    assert_int_equal(get(), TB_EINVAL);
    assert_said("'pod' is not the ARN of a role");
    unsetenv("AWS_ROLE_ARN");
    assert_int_equal(get(), TB_EDENIED);
    assert_said("AWS_ROLE_ARN is not");
    setenv("AWS_ROLE_ARN", ROLE, 1);
    put_file(token_file, "eyJ\neyJ\n");
    assert_int_equal(get(), TB_EDENIED);
    assert_said(token_file);
    (void)unlink(token_file);
    assert_int_equal(get(), TB_EDENIED);
    assert_said(token_file);
    assert_int_equal(http_peer_count(peer), 0);
}

static void
a_refusal_is_told_and_a_fault_that_passes_is_tried_again(void **state TB_UNUSED)
{
    static const struct http_peer_step denied[] = {
        {"POST / ", 403, NULL, REFUSED("AccessDenied"), .always = true}};
    static const struct http_peer_step expired[] = {
        {"POST / ", 400, NULL, REFUSED("ExpiredTokenException"), .always = true}};
    static const struct http_peer_step flaky[] = {
        {"POST / ", 400, NULL, REFUSED("IDPCommunicationError"), .how = 0},
        {"POST / ", 200, NULL, KEYS("ASIA2"), .how = 0}};

    http_peer_script(peer, denied, 1);
    assert_int_equal(get(), TB_EDENIED);
    assert_said("cannot assume " ROLE ": AssumeRoleWithWebIdentity: AccessDenied: no");
    assert_int_equal(http_peer_count(peer), 1);
    http_peer_script(peer, expired, 1); /* the file is replaced in time */
    assert_int_equal(get(), TB_EEXPIRED);
    assert_int_equal(http_peer_count(peer), 1);
    http_peer_script(peer, flaky, 2);
    assert_int_equal(get(), TB_OK);
    assert_string_equal(credentials.access_key_id, "ASIA2");
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(sts_is_asked_with_the_token_and_without_a_signature),
        CASE(the_token_is_read_anew_each_time),
        CASE(a_profile_may_have_it_too),
        CASE(what_is_wrong_is_named_and_sts_is_not_asked),
        CASE(a_refusal_is_told_and_a_fault_that_passes_is_tried_again),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
