/* Credentials of a role that a profile names: whose keys ask for it, and how far that goes. */
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

#define ROLE "arn:aws:iam::111122223333:role/tap"
#define KEYS(id)                                                                               \
    "<AssumeRoleResponse "                                                                     \
    "xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>"                   \
    "<Credentials><AccessKeyId>" id "</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"       \
    "<SessionToken>t</SessionToken><Expiration>2026-01-02T09:30:00Z</Expiration>"              \
    "</Credentials></AssumeRoleResult>"                                                        \
    "<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></AssumeRoleResponse>"
#define REFUSED(code)                                                                          \
    "<ErrorResponse><Error><Type>Sender</Type><Code>" code "</Code><Message>no</Message>"      \
    "</Error><RequestId>r</RequestId></ErrorResponse>"

static struct tb_http_client *http;
static struct http_peer *peer;
static char folder[] = "/tmp/tapbox-role-XXXXXX";
static char config_file[64];
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
    return rmdir(folder);
}

static int
begin(void **state TB_UNUSED)
{
    setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
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
    return tb_aws_credentials_from_role(&reach, &credentials, &fail);
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
assert_signed_by(size_t i, const char *id)
{
    char value[512], begins[64];

    (void)snprintf(begins, sizeof(begins), "AWS4-HMAC-SHA256 Credential=%s/", id);
    http_peer_header(peer, i, "authorization", value, sizeof(value));
    assert_non_null(strstr(value, begins));
    assert_non_null(strstr(value, "/eu-central-1/sts/aws4_request"));
}

static void
without_a_role_the_next_source_is_asked(void **state TB_UNUSED)
{
    assert_int_equal(get(), TB_ENOTFOUND);
    put_file(config_file, "[default]\nrole_arn=" ROLE "\nweb_identity_token_file=/x\n");
    assert_int_equal(get(), TB_ENOTFOUND);
}

static void
another_profile_s_keys_ask_for_it(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"POST / ", 200, NULL, KEYS("ASIA1"), .how = 0}};

    put_file(config_file, "[default]\nrole_arn=" ROLE "\nsource_profile=ops\nexternal_id=x-1\n"
                          "role_session_name=night\nduration_seconds=1800\n"
                          "[profile ops]\naws_access_key_id=OPS\naws_secret_access_key=s\n");
    http_peer_script(peer, steps, 1);
    assert_int_equal(get(), TB_OK);
    assert_string_equal(credentials.access_key_id, "ASIA1");
    assert_string_equal(credentials.source, "assumed role");
    assert_int_equal(credentials.expires_utc_s, 1767346200);
    assert_signed_by(0, "OPS");
    assert_string_equal(http_peer_body(peer, 0),
                        "Action=AssumeRole&Version=2011-06-15"
                        "&RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Ftap"
                        "&RoleSessionName=night&ExternalId=x-1&DurationSeconds=1800");
}

static void
roles_may_lead_to_roles(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"POST / ", 200, NULL, KEYS("ASIA1"), .how = 0},
        {"POST / ", 200, NULL, KEYS("ASIA2"), .how = 0}};
    char value[64];

    put_file(config_file, "[default]\nrole_arn=" ROLE "\nsource_profile=first\n"
                          "[profile first]\nrole_arn=" ROLE "-1\n"
                          "credential_source=Environment\n");
    http_peer_script(peer, steps, 2);
    assert_int_equal(get(), TB_OK);
    assert_string_equal(credentials.access_key_id, "ASIA2");
    assert_signed_by(0, "ENV");
    assert_signed_by(1, "ASIA1");
    http_peer_header(peer, 1, "x-amz-security-token", value, sizeof(value));
    assert_string_equal(value, "t");
    assert_non_null(strstr(http_peer_body(peer, 0), "role%2Ftap-1&"));
}

static void
a_profile_may_be_its_own_source_or_have_a_program(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"POST / ", 200, NULL, KEYS("ASIA1"), .always = true}};

    http_peer_script(peer, steps, 1);
    put_file(config_file, "[default]\nrole_arn=" ROLE "\nsource_profile=default\n"
                          "aws_access_key_id=OWN\naws_secret_access_key=s\n");
    assert_int_equal(get(), TB_OK);
    assert_signed_by(0, "OWN");
    put_file(config_file,
             "[default]\nrole_arn=" ROLE "\nsource_profile=p\n[profile p]\ncredential_process="
             "echo '{\"Version\":1,\"AccessKeyId\":\"PROGRAM\",\"SecretAccessKey\":\"s\"}'\n");
    assert_int_equal(get(), TB_OK);
    assert_signed_by(1, "PROGRAM");
}

static void
what_is_missing_is_named_and_sts_is_not_asked(void **state TB_UNUSED)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "profile 'default': role_arn needs one of source_profile and"},
        {"source_profile=a\ncredential_source=Environment\n", "role_arn needs one of"},
        {"source_profile=nobody\n", "profile 'default': there is no profile 'nobody'"},
        {"source_profile=default\n", "profile 'default' has no keys"},
        {"source_profile=empty\n[profile empty]\nregion=x\n", "no credential_process"},
        {"credential_source=Moon\n", "credential_source 'Moon' is not Environment"},
        {"source_profile=b\n[profile b]\nrole_arn=" ROLE "\nsource_profile=default\n",
         "more than 5 profiles name one another"},
        {"credential_source=Environment\nmfa_serial=x\n", "mfa_serial needs somebody"},
        {"credential_source=Environment\nduration_seconds=5\n", "duration_seconds '5' is not"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];

        (void)snprintf(text, sizeof(text), "[default]\nrole_arn=" ROLE "\n%s", cases[i].text);
        put_file(config_file, text);
        assert_int_equal(get(), TB_EDENIED);
        assert_said(cases[i].why);
    }
    assert_int_equal(http_peer_count(peer), 0);
}

static void
a_refusal_is_told(void **state TB_UNUSED)
{
    static const struct http_peer_step denied[] = {
        {"POST / ", 403, NULL, REFUSED("AccessDenied"), .always = true}};

    put_file(config_file, "[default]\nrole_arn=" ROLE "\ncredential_source=Environment\n");
    http_peer_script(peer, denied, 1);
    assert_int_equal(get(), TB_EDENIED);
    assert_said("cannot assume " ROLE ": AssumeRole: AccessDenied: no");
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(without_a_role_the_next_source_is_asked),
        CASE(another_profile_s_keys_ask_for_it),
        CASE(roles_may_lead_to_roles),
        CASE(a_profile_may_be_its_own_source_or_have_a_program),
        CASE(what_is_missing_is_named_and_sts_is_not_asked),
        CASE(a_refusal_is_told),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
