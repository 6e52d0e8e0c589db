/* Other accounts through roles: what STS is asked, whose keys sign, and when again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <tapbox/aws_ec2.h>
#include <tapbox/clock.h>

#include "../../../src/aws/aws_int.h"
#include "../../support/http_peer.h"

#define NOW_UTC_S 1767323045 /* 2026-01-02T03:04:05Z */
#define ROLE "arn:aws:iam::222233334444:role/tapbox-tap"
#define ASSUMED(id, expires)                                                                   \
    "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"                 \
    "<AssumeRoleResult><Credentials><AccessKeyId>" id "</AccessKeyId>"                         \
    "<SecretAccessKey>s</SecretAccessKey><SessionToken>t-" id "</SessionToken>"                \
    "<Expiration>" expires "</Expiration></Credentials><AssumedRoleUser>"                      \
    "<AssumedRoleId>x</AssumedRoleId><Arn>a</Arn></AssumedRoleUser></AssumeRoleResult>"        \
    "<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></AssumeRoleResponse>"
#define NO_SESSIONS                                                                            \
    "<DescribeTrafficMirrorSessionsResponse><requestId>r</requestId>"                          \
    "<trafficMirrorSessionSet/></DescribeTrafficMirrorSessionsResponse>"
#define DENIED                                                                                 \
    "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message>"  \
    "</Error><RequestId>r-d</RequestId></ErrorResponse>"
#define EXPIRED                                                                                \
    "<Response><Errors><Error><Code>RequestExpired</Code><Message>m</Message></Error></"       \
    "Errors>"                                                                                  \
    "<RequestID>r-e</RequestID></Response>"
#define STS "POST /sts"
#define EC2 "POST /ec2"

static struct tb_http_client *http;
static struct http_peer *peer;
static struct tb_aws *aws;

static int
start(void **state TB_UNUSED)
{
    char url[128];

    peer = http_peer_start(NULL, 0);
    (void)snprintf(url, sizeof(url), "%s/sts", http_peer_url(peer));
    setenv("AWS_ENDPOINT_URL_STS", url, 1);
    (void)snprintf(url, sizeof(url), "%s/ec2", http_peer_url(peer));
    setenv("AWS_ENDPOINT_URL_EC2", url, 1);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    setenv("AWS_ACCESS_KEY_ID", "OWNKEY", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    return tb_http_client_new(&http, NULL) == TB_OK ? 0 : -1;
}

static int
stop(void **state TB_UNUSED)
{
    tb_http_client_free(http);
    http_peer_stop(peer);
    return 0;
}

static int
begin(void **state TB_UNUSED)
{
    http_peer_script(peer, NULL, 0);
    tb_clock_fake(NOW_UTC_S * TB_NS_PER_S, TB_NS_PER_S);
    return tb_aws_new(http, "eu-central-1", &aws, NULL) == TB_OK ? 0 : -1;
}

static int
end(void **state TB_UNUSED)
{
    tb_aws_free(aws);
    tb_clock_real();
    return 0;
}

static enum tb_err
list_sessions(struct tb_aws *there, struct tb_fail *fail)
{
    struct tb_ec2_sessions sessions = {0};
    enum tb_err err = tb_ec2_sessions_list(there, NULL, 0, &sessions, fail);

    tb_ec2_sessions_release(&sessions);
    return err;
}

/* How often STS was asked. */
static size_t
asked(void)
{
    size_t count = 0;

    for (size_t i = 0; i < http_peer_count(peer); i++) {
        count += strncmp(http_peer_head(peer, i), STS, strlen(STS)) == 0 ? 1 : 0;
    }
    return count;
}

static void
assert_signed_by(size_t request, const char *id)
{
    char value[512];

    http_peer_header(peer, request, "authorization", value, sizeof(value));
    assert_non_null(strstr(value, id));
}

static void
the_role_is_assumed_once_and_its_keys_sign(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {STS, 200, NULL, ASSUMED("THERE", "2026-01-02T04:04:05Z"), .how = 0},
        {EC2, 200, NULL, NO_SESSIONS, .always = true}};
    struct tb_aws *there = NULL, *again = NULL, *other = NULL;
    char token[64];

    http_peer_script(peer, steps, 2);
    assert_int_equal(tb_aws_assume(aws, ROLE, "ex-1", "prod", &there, NULL), TB_OK);
    assert_int_equal(http_peer_count(peer), 0);
    assert_int_equal(list_sessions(there, NULL), TB_OK);
    assert_int_equal(list_sessions(there, NULL), TB_OK);
    assert_int_equal(http_peer_count(peer), 3);
    assert_string_equal(http_peer_body(peer, 0),
                        "Action=AssumeRole&Version=2011-06-15"
                        "&RoleArn=arn%3Aaws%3Aiam%3A%3A222233334444%3Arole%2Ftapbox-tap"
                        "&RoleSessionName=tapbox-prod&ExternalId=ex-1&DurationSeconds=3600");
    assert_signed_by(0, "Credential=OWNKEY/20260102/eu-central-1/sts/");
    assert_signed_by(1, "Credential=THERE/20260102/eu-central-1/ec2/");
    http_peer_header(peer, 1, "x-amz-security-token", token, sizeof(token));
    assert_string_equal(token, "t-THERE");
    assert_int_equal(tb_aws_assume(aws, ROLE, "ex-1", "prod", &again, NULL), TB_OK);
    assert_ptr_equal(there, again);
    assert_int_equal(tb_aws_assume(aws, ROLE, NULL, "prod", &other, NULL), TB_OK);
    assert_ptr_not_equal(there, other);
    assert_string_equal(tb_aws_region(there), "eu-central-1");
}

static void
its_keys_are_renewed_ahead_of_their_end(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {STS, 200, NULL, ASSUMED("FIRST", "2026-01-02T04:04:05Z"), .how = 0},
        {STS, 403, NULL, DENIED, .how = 0},
        {STS, 200, NULL, ASSUMED("SECOND", "2026-01-02T05:04:05Z"), .how = 0},
        {EC2, 200, NULL, NO_SESSIONS, .always = true}};
    struct tb_aws *there = NULL;

    http_peer_script(peer, steps, 4);
    assert_int_equal(tb_aws_assume(aws, ROLE, NULL, "prod", &there, NULL), TB_OK);
    assert_int_equal(list_sessions(there, NULL), TB_OK);
    tb_clock_fake_advance(44 * 60 * TB_NS_PER_S);
    assert_int_equal(list_sessions(there, NULL), TB_OK);
    assert_int_equal(asked(), 1);
    tb_clock_fake_advance(2 * 60 * TB_NS_PER_S); /* 14 minutes left: refused, nobody minds */
    assert_int_equal(list_sessions(there, NULL), TB_OK);
    assert_int_equal(asked(), 2);
    tb_clock_fake_advance(2 * 60 * TB_NS_PER_S);
    assert_int_equal(list_sessions(there, NULL), TB_OK);
    assert_int_equal(asked(), 3);
    assert_signed_by(http_peer_count(peer) - 1, "Credential=SECOND/");
}

static void
keys_that_the_service_calls_expired_are_fetched_anew(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {STS, 200, NULL, ASSUMED("FIRST", "2026-01-02T04:04:05Z"), .how = 0},
        {EC2, 400, NULL, EXPIRED, .how = 0},
        {STS, 200, NULL, ASSUMED("SECOND", "2026-01-02T05:04:05Z"), .how = 0},
        {EC2, 200, NULL, NO_SESSIONS, .always = true}};
    struct tb_aws *there = NULL;

    http_peer_script(peer, steps, 4);
    assert_int_equal(tb_aws_assume(aws, ROLE, NULL, "prod", &there, NULL), TB_OK);
    assert_int_equal(list_sessions(there, NULL), TB_OK);
    assert_signed_by(http_peer_count(peer) - 1, "Credential=SECOND/");
}

static void
a_role_that_may_not_be_assumed_is_named(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {{STS, 403, NULL, DENIED, .always = true}};
    struct tb_aws *there = NULL;
    struct tb_fail fail;

    http_peer_script(peer, steps, 1);
    assert_int_equal(tb_aws_assume(aws, ROLE, NULL, "prod", &there, NULL), TB_OK);
    assert_int_equal(list_sessions(there, &fail), TB_EDENIED);
    assert_non_null(strstr(fail.text, "cannot assume " ROLE));
    assert_string_equal(fail.code, "AccessDenied");
}

static void
what_is_no_role_is_refused_before_anybody_is_asked(void **state TB_UNUSED)
{
    static const char *const wrong[] = {"",
                                        "tapbox",
                                        "arn:aws:iam::22223333444:role/x",
                                        "arn:aws:iam::222233334444:user/x",
                                        "arn:aws:iam::222233334444:role/",
                                        "arn:aws:iam::222233334444:role/a b",
                                        "arn:aws:iam::222233334444:role/a\n"};
    struct tb_aws *there = NULL;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(tb_aws_assume(aws, wrong[i], NULL, "prod", &there, NULL), TB_EINVAL);
    }
    assert_int_equal(tb_aws_assume(aws, ROLE, "x", "prod", &there, NULL), TB_EINVAL);
    assert_int_equal(tb_aws_assume(aws, ROLE, "a b", "prod", &there, NULL), TB_EINVAL);
    assert_int_equal(
        tb_aws_assume(aws, "arn:aws-cn:iam::222233334444:role/p/q", "", "prod", &there, NULL),
        TB_OK);
    assert_int_equal(http_peer_count(peer), 0);
}

static void
the_session_is_named_as_sts_takes_it(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {{STS, 403, NULL, DENIED, .always = true}};
    struct tb_aws *there = NULL;

    http_peer_script(peer, steps, 1);
    assert_int_equal(tb_aws_assume(aws, ROLE, NULL, "blue team/eu", &there, NULL), TB_OK);
    assert_int_equal(list_sessions(there, NULL), TB_EDENIED);
    assert_non_null(
        strstr(http_peer_body(peer, 0), "&RoleSessionName=tapbox-blue-team-eu&Duration"));
}

static void
how_long_credentials_last_is_known(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {STS, 200, NULL, ASSUMED("THERE", "2026-01-02T04:04:05Z"), .always = true}};
    struct tb_aws_lifetime lifetime;
    struct tb_aws *there = NULL;

    http_peer_script(peer, steps, 1);
    assert_int_equal(tb_aws_lifetime_get(aws, &lifetime, NULL), TB_OK);
    assert_false(lifetime.temporary);
    assert_int_equal(lifetime.expires_utc_s, 0);
    assert_string_equal(lifetime.source, "environment");
    assert_int_equal(tb_aws_assume(aws, ROLE, NULL, "prod", &there, NULL), TB_OK);
    assert_int_equal(tb_aws_lifetime_get(there, &lifetime, NULL), TB_OK);
    assert_true(lifetime.temporary);
    assert_true(lifetime.refreshable);
    assert_int_equal(lifetime.expires_utc_s, NOW_UTC_S + 3600);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(the_role_is_assumed_once_and_its_keys_sign),
        CASE(its_keys_are_renewed_ahead_of_their_end),
        CASE(keys_that_the_service_calls_expired_are_fetched_anew),
        CASE(a_role_that_may_not_be_assumed_is_named),
        CASE(what_is_no_role_is_refused_before_anybody_is_asked),
        CASE(the_session_is_named_as_sts_takes_it),
        CASE(how_long_credentials_last_is_known),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
