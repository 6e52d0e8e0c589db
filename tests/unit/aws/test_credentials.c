/* The chain of sources, the metadata service, and when credentials are fetched anew. */
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

#define TOKEN_STEP                                                                             \
    {                                                                                          \
        "PUT /latest/api/token ", 200, NULL, "imds-token", .always = true                      \
    }
#define ROLE_STEP                                                                              \
    {                                                                                          \
        "GET /latest/meta-data/iam/security-credentials/ ", 200, NULL, "tapbox\n",             \
            .always = true                                                                     \
    }
#define ROLE "GET /latest/meta-data/iam/security-credentials/tapbox "
#define KEYS(id, expires)                                                                      \
    "{\"Code\":\"Success\",\"LastUpdated\":\"2026-01-02T03:00:00Z\",\"Type\":\"AWS-HMAC\","    \
    "\"AccessKeyId\":\"" id                                                                    \
    "\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"" expires "\"}"
#define NOW_UTC_S 1767323045 /* 2026-01-02T03:04:05Z */

static struct tb_http_client *http;
static struct http_peer *peer;
static struct tb_aws_credential_provider *provider;
static char folder[] = "/tmp/tapbox-credentials-XXXXXX";

static int
start(void **state TB_UNUSED)
{
    peer = http_peer_start(NULL, 0);
    return tb_http_client_new(&http, NULL) == TB_OK && mkdtemp(folder) != NULL ? 0 : -1;
}

static int
stop(void **state TB_UNUSED)
{
    tb_http_client_free(http);
    http_peer_stop(peer);
    return rmdir(folder);
}

static int
begin(void **state TB_UNUSED)
{
    static const char *const none[] = {"AWS_ACCESS_KEY_ID",
                                       "AWS_SECRET_ACCESS_KEY",
                                       "AWS_SESSION_TOKEN",
                                       "AWS_PROFILE",
                                       "AWS_CREDENTIAL_EXPIRATION",
                                       "AWS_EC2_METADATA_DISABLED",
                                       "AWS_SHARED_CREDENTIALS_FILE",
                                       "AWS_CONFIG_FILE",
                                       "AWS_WEB_IDENTITY_TOKEN_FILE",
                                       "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                       "AWS_CONTAINER_CREDENTIALS_FULL_URI"};

    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        unsetenv(none[i]);
    }
    setenv("HOME", folder, 1);
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", http_peer_url(peer), 1);
    http_peer_script(peer, NULL, 0);
    tb_clock_fake(NOW_UTC_S * TB_NS_PER_S, TB_NS_PER_S);
    return tb_aws_credentials_default_chain(http, "eu-central-1", &provider, NULL) == TB_OK
               ? 0
               : -1;
}

static int
end(void **state TB_UNUSED)
{
    tb_aws_credential_provider_free(provider);
    tb_clock_real();
    return 0;
}

static void
assert_key(const char *id)
{
    struct tb_aws_credentials credentials;

    assert_int_equal(tb_aws_credentials_get(provider, &credentials, NULL), TB_OK);
    assert_string_equal(credentials.access_key_id, id);
    tb_aws_credentials_release(&credentials);
}

static void
assert_no_key(enum tb_err err, const char *why)
{
    struct tb_aws_credentials credentials;
    struct tb_fail fail;

    assert_int_equal(tb_aws_credentials_get(provider, &credentials, &fail), err);
    if (strstr(fail.text, why) == NULL) {
        print_error("no '%s' in: %s\n", why, fail.text);
    }
    assert_non_null(strstr(fail.text, why));
}

static void
write_file(const char *name, const char *text)
{
    int fd = -1;
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/.aws", folder);
    assert_int_equal(tb_open_dir(-1, path, 0700, &fd, NULL), TB_OK);
    assert_int_equal(tb_write_file_whole(fd, name, tb_bytes_str(text), 0600, NULL), TB_OK);
    tb_close(&fd);
}

static void
remove_files(void)
{
    static const char *const names[] = {"/.aws/credentials", "/.aws/config", "/.aws"};
    char path[128];

    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof(path), "%s%s", folder, names[i]);
        (void)remove(path);
    }
}

static void
the_environment_comes_first(void **state TB_UNUSED)
{
    struct tb_aws_credentials credentials;

    write_file("credentials", "[default]\naws_access_key_id=FILE\naws_secret_access_key=s\n");
    setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    setenv("AWS_SESSION_TOKEN", "token", 1);
    setenv("AWS_CREDENTIAL_EXPIRATION", "2026-01-02T04:04:05Z", 1);
    assert_int_equal(tb_aws_credentials_get(provider, &credentials, NULL), TB_OK);
    assert_string_equal(credentials.access_key_id, "ENV");
    assert_string_equal(credentials.secret_key.text, "secret");
    assert_string_equal(credentials.session_token.text, "token");
    assert_string_equal(credentials.source, "environment");
    assert_int_equal(credentials.expires_utc_s, NOW_UTC_S + 3600);
    tb_aws_credentials_release(&credentials);
    assert_null(credentials.secret_key.text);
    remove_files();
}

static void
half_a_key_in_the_environment_is_an_error(void **state TB_UNUSED)
{
    setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    assert_no_key(TB_EDENIED, "AWS_SECRET_ACCESS_KEY is not");
    setenv("AWS_SECRET_ACCESS_KEY", "two\nlines", 1);
    assert_no_key(TB_EDENIED, "space in it");
}

static void
shared_files_come_next(void **state TB_UNUSED)
{
    write_file("credentials", "[default]\naws_access_key_id=FILE\naws_secret_access_key=s\n"
                              "[ops]\naws_access_key_id=OPS\naws_secret_access_key=s\n");
    write_file("config", "[profile only]\naws_access_key_id=ONLY\naws_secret_access_key=s\n"
                         "[profile role]\nrole_arn=arn:aws:iam::111122223333:role/x\n"
                         "source_profile=ops\naws_access_key_id=NOT\n");
    assert_key("FILE");
    tb_aws_credentials_expire(provider);
    setenv("AWS_PROFILE", "ops", 1);
    assert_key("OPS");
    setenv("AWS_PROFILE", "only", 1);
    assert_key("OPS"); /* nobody said that they expired */
    tb_aws_credentials_expire(provider);
    assert_key("ONLY");
    remove_files();
}

static void
a_profile_that_lacks_something_is_refused_by_name(void **state TB_UNUSED)
{
    write_file("config", "[profile role]\nrole_arn=arn:aws:iam::111122223333:role/x\n"
                         "aws_access_key_id=NOT\naws_secret_access_key=s\n");
    setenv("AWS_PROFILE", "role", 1);
    assert_no_key(TB_EDENIED, "profile 'role': role_arn needs one of source_profile and");
    setenv("AWS_PROFILE", "nobody", 1);
    assert_no_key(TB_EDENIED, "no profile 'nobody'");
    remove_files();
}

static void
a_broken_file_is_named_with_its_line(void **state TB_UNUSED)
{
    write_file("credentials", "[default]\nnonsense\n");
    assert_no_key(TB_EDENIED, "/.aws/credentials: line 2");
    remove_files();
}

static void
without_any_the_sentence_says_where_was_looked(void **state TB_UNUSED)
{
    setenv("AWS_EC2_METADATA_DISABLED", "TRUE", 1);
    assert_no_key(
        TB_EDENIED,
        "environment: AWS_ACCESS_KEY_ID is not set; role: no role_arn; web identity: no "
        "AWS_WEB_IDENTITY_TOKEN_FILE; shared files: there is "
        "no profile 'default'; process: no credential_process; "
        "container: no AWS_CONTAINER_CREDENTIALS_FULL_URI; "
        "instance metadata: switched off by");
    assert_int_equal(http_peer_count(peer), 0);
}

static void
the_instance_comes_last(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        TOKEN_STEP,
        ROLE_STEP,
        {ROLE, 200, NULL, KEYS("ASIA1", "2026-01-02T09:30:00Z"), .how = 0}};
    struct tb_aws_credentials credentials;
    char value[64];

    http_peer_script(peer, steps, 3);
    assert_int_equal(tb_aws_credentials_get(provider, &credentials, NULL), TB_OK);
    assert_string_equal(credentials.access_key_id, "ASIA1");
    assert_string_equal(credentials.session_token.text, "t");
    assert_string_equal(credentials.source, "instance metadata");
    assert_int_equal(credentials.expires_utc_s, 1767346200);
    tb_aws_credentials_release(&credentials);
    http_peer_header(peer, 0, "x-aws-ec2-metadata-token-ttl-seconds", value, sizeof(value));
    assert_string_equal(value, "21600");
    for (size_t i = 1; i < 3; i++) {
        http_peer_header(peer, i, "x-aws-ec2-metadata-token", value, sizeof(value));
        assert_string_equal(value, "imds-token");
    }
    assert_key("ASIA1");
    assert_int_equal(http_peer_count(peer), 3);
}

static void
an_instance_without_a_role_has_no_credentials(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {TOKEN_STEP,
                                                  {"GET ", 404, NULL, "", .always = true}};

    http_peer_script(peer, steps, 2);
    assert_no_key(TB_EDENIED, "instance metadata: the instance has no role");
}

static void
version_one_is_not_spoken(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"PUT ", 404, NULL, "", .always = true}, {"GET ", 200, NULL, "tapbox", .always = true}};

    http_peer_script(peer, steps, 2);
    assert_no_key(TB_EDENIED, "gives no token: status 404");
    assert_int_equal(http_peer_count(peer), 1);
}

static void
a_fault_of_the_metadata_service_is_passing(void **state TB_UNUSED)
{
    static const struct http_peer_step down[] = {{"PUT ", 503, NULL, "", .always = true}};
    static const struct http_peer_step flaky[] = {
        {"PUT ", 500, NULL, "", .how = 0},
        {.how = HTTP_PEER_HANGS_UP},
        TOKEN_STEP,
        ROLE_STEP,
        {ROLE, 200, NULL, KEYS("ASIA1", "2026-01-02T09:30:00Z"), .how = 0}};

    http_peer_script(peer, down, 1);
    assert_no_key(TB_ERETRY, "status 503");
    http_peer_script(peer, flaky, 5);
    assert_key("ASIA1");
}

static void
documents_that_are_no_credentials_are_refused(void **state TB_UNUSED)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"EC2 cannot assume\"}",
         "AssumeRoleUnauthorizedAccess: EC2 cannot assume"},
        {"{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"Token\":\"t\","
         "\"Expiration\":\"2026-01-02T09:30:00Z\"}",
         "secret access key is missing"},
        {"{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"s\"}",
         "no Expiration"},
        {KEYS("A", "tomorrow"), "no Expiration"},
        {KEYS("A B", "2026-01-02T09:30:00Z"), "space in it"},
        {"<html>", "not JSON"},
        {"", "not JSON"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_aws_credentials credentials;
        struct tb_fail fail;

        assert_int_not_equal(tb_aws_credentials_from_json(tb_bytes_str(cases[i].text), "test",
                                                          &credentials, &fail),
                             TB_OK);
        assert_non_null(strstr(fail.text, cases[i].why));
    }
}

static void
they_are_fetched_anew_a_quarter_of_an_hour_before_the_end(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        TOKEN_STEP,
        ROLE_STEP,
        {ROLE, 200, NULL, KEYS("ASIA1", "2026-01-02T04:04:05Z"), .how = 0},
        {ROLE, 200, NULL, KEYS("ASIA2", "2026-01-02T10:04:05Z"), .how = 0}};

    http_peer_script(peer, steps, 4);
    assert_key("ASIA1");
    tb_clock_fake_advance((45 * 60 - 1) * TB_NS_PER_S);
    assert_key("ASIA1");
    tb_clock_fake_advance(TB_NS_PER_S);
    assert_key("ASIA2");
}

static void
those_that_live_for_seconds_are_fetched_anew_after_half_of_them(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        TOKEN_STEP,
        ROLE_STEP,
        {ROLE, 200, NULL, KEYS("ASIA1", "2026-01-02T03:04:17Z"), .how = 0},
        {ROLE, 200, NULL, KEYS("ASIA2", "2026-01-02T10:04:05Z"), .how = 0}};

    http_peer_script(peer, steps, 4);
    assert_key("ASIA1");
    tb_clock_fake_advance(5 * TB_NS_PER_S);
    assert_key("ASIA1");
    tb_clock_fake_advance(TB_NS_PER_S);
    assert_key("ASIA2");
}

static void
old_ones_are_given_out_while_no_new_ones_come(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        TOKEN_STEP,
        ROLE_STEP,
        {ROLE, 200, NULL, KEYS("ASIA1", "2026-01-02T04:04:05Z"), .how = 0},
        {ROLE, 404, NULL, "", .how = 0},
        {ROLE, 200, NULL, KEYS("ASIA1", "2026-01-02T04:04:05Z"), .how = 0},
        {ROLE, 200, NULL, KEYS("ASIA3", "2026-01-02T23:04:05Z"), .how = 0}};
    size_t asked;

    http_peer_script(peer, steps, 6);
    assert_key("ASIA1");
    tb_clock_fake_advance(2 * 3600 * TB_NS_PER_S); /* an hour past their end */
    assert_key("ASIA1");
    asked = http_peer_count(peer);
    assert_key("ASIA1"); /* not asked again at once */
    assert_int_equal(http_peer_count(peer), asked);
    tb_clock_fake_advance(60 * TB_NS_PER_S);
    assert_key("ASIA1"); /* the service itself gives out expired ones */
    tb_clock_fake_advance(60 * TB_NS_PER_S);
    assert_key("ASIA3");
}

static void *
get_one(void *arg)
{
    struct tb_aws_credentials credentials;
    int *good = arg;

    *good = tb_aws_credentials_get(provider, &credentials, NULL) == TB_OK;
    if (*good) {
        tb_aws_credentials_release(&credentials);
    }
    return NULL;
}

static void
one_thread_fetches_for_all(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"PUT /latest/api/token ", 200, NULL, "t", .delay_ns = 50 * TB_NS_PER_MS,
         .always = true},
        ROLE_STEP,
        {ROLE, 200, NULL, KEYS("ASIA1", "2026-01-02T04:04:05Z"), .how = 0},
        {ROLE, 200, NULL, KEYS("ASIA2", "2026-01-02T09:04:05Z"), .how = 0}};
    pthread_t threads[8];
    int good[8] = {0};

    http_peer_script(peer, steps, 4);
    for (int round = 1; round <= 2; round++) {
        for (size_t i = 0; i < 8; i++) {
            assert_int_equal(tb_thread_start(&threads[i], "getter", get_one, &good[i], NULL),
                             TB_OK);
        }
        for (size_t i = 0; i < 8; i++) {
            pthread_join(threads[i], NULL);
            assert_true(good[i]);
        }
        assert_int_equal(http_peer_count(peer), 3 * round);
        tb_clock_fake_advance(50 * 60 * TB_NS_PER_S);
    }
}

static void
a_region_is_found_on_the_instance(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        TOKEN_STEP,
        {"GET /latest/meta-data/placement/region ", 200, NULL, "cn-north-1", .how = 0},
        {"GET /latest/meta-data/placement/region ", 200, NULL, "not a region", .how = 0}};
    struct tb_aws *aws;
    struct tb_fail fail;

    unsetenv("AWS_REGION");
    unsetenv("AWS_DEFAULT_REGION");
    http_peer_script(peer, steps, 3);
    assert_int_equal(tb_aws_new(http, NULL, &aws, NULL), TB_OK);
    assert_string_equal(tb_aws_region(aws), "cn-north-1");
    assert_string_equal(tb_aws_partition(aws), "aws-cn");
    tb_aws_free(aws);
    assert_int_equal(tb_aws_new(http, "", &aws, &fail), TB_EINVAL);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    assert_int_equal(tb_aws_new(http, "", &aws, &fail), TB_EINVAL);
    assert_non_null(strstr(fail.text, "set AWS_REGION"));
    assert_int_equal(tb_aws_new(http, "../x", &aws, &fail), TB_EINVAL);
    write_file("config", "[default]\nregion = eu-west-1 # home\n");
    assert_int_equal(tb_aws_new(http, NULL, &aws, &fail), TB_OK);
    assert_string_equal(tb_aws_region(aws), "eu-west-1");
    tb_aws_free(aws);
    remove_files();
}

static void
the_host_knows_itself(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        TOKEN_STEP,
        {"GET /latest/dynamic/instance-identity/document ", 200, NULL,
         "{\"accountId\":\"111122223333\",\"region\":\"eu-central-1\",\"instanceId\":\"i-1\","
         "\"instanceType\":\"m5.large\",\"imageId\":\"ami-1\",\"kernelId\":null}",
         .always = true},
        {"GET /latest/meta-data/mac ", 200, NULL, "0a:1b:2c:3d:4e:5f", .always = true},
        {"GET /latest/meta-data/network/interfaces/macs/0a:1b:2c:3d:4e:5f/interface-id ", 200,
         NULL, "eni-0123456789abcdef0", .how = 0},
        {"GET /latest/meta-data/network/interfaces/macs/", 200, NULL, "nonsense", .how = 0}};
    struct tb_aws_self self;
    struct tb_aws *aws;

    http_peer_script(peer, steps, 5);
    assert_int_equal(tb_aws_new(http, "eu-central-1", &aws, NULL), TB_OK);
    assert_int_equal(tb_aws_self(aws, &self, NULL), TB_OK);
    assert_string_equal(self.instance, "i-1");
    assert_string_equal(self.eni, "eni-0123456789abcdef0");
    assert_string_equal(self.account, "111122223333");
    assert_string_equal(self.instance_type, "m5.large");
    assert_int_equal(tb_aws_self(aws, &self, NULL), TB_EFORMAT);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    assert_int_equal(tb_aws_self(aws, &self, NULL), TB_ENOTFOUND);
    tb_aws_free(aws);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(the_environment_comes_first),
        CASE(half_a_key_in_the_environment_is_an_error),
        CASE(shared_files_come_next),
        CASE(a_profile_that_lacks_something_is_refused_by_name),
        CASE(a_broken_file_is_named_with_its_line),
        CASE(without_any_the_sentence_says_where_was_looked),
        CASE(the_instance_comes_last),
        CASE(an_instance_without_a_role_has_no_credentials),
        CASE(version_one_is_not_spoken),
        CASE(a_fault_of_the_metadata_service_is_passing),
        CASE(documents_that_are_no_credentials_are_refused),
        CASE(they_are_fetched_anew_a_quarter_of_an_hour_before_the_end),
        CASE(those_that_live_for_seconds_are_fetched_anew_after_half_of_them),
        CASE(old_ones_are_given_out_while_no_new_ones_come),
        CASE(one_thread_fetches_for_all),
        CASE(a_region_is_found_on_the_instance),
        CASE(the_host_knows_itself),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
