/* Retries, clocks, credentials and broken answers, against a scripted server on loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include <tapbox/aws_ec2.h>
#include <tapbox/clock.h>

#include "../../../src/aws/aws_int.h"
#include "../../support/http_peer.h"

#define DELETED                                                                                \
    "<DeleteTrafficMirrorSessionResponse><requestId>r-1</requestId>"                           \
    "<trafficMirrorSessionId>tms-1</trafficMirrorSessionId></"                                 \
    "DeleteTrafficMirrorSessionResponse>"
#define CREATED                                                                                \
    "<CreateTrafficMirrorTargetResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">"   \
    "<requestId>r-2</requestId><trafficMirrorTarget><trafficMirrorTargetId>tmt-1"              \
    "</trafficMirrorTargetId></trafficMirrorTarget></CreateTrafficMirrorTargetResponse>"
#define FAILED(code, message)                                                                  \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>" code         \
    "</Code><Message>" message "</Message></Error></Errors><RequestID>r-e</RequestID>"         \
    "</Response>"
#define DATE "Date: Fri, 02 Jan 2026 03:04:05 GMT\r\n"
#define DATE_UTC_S 1767323045

static struct tb_http_client *http;
static struct http_peer *peer;
static struct tb_aws *aws;

static int
start(void **state TB_UNUSED)
{
    peer = http_peer_start(NULL, 0);
    setenv("AWS_ENDPOINT_URL", http_peer_url(peer), 1);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    return tb_http_client_new(&http, NULL) == TB_OK ? 0 : -1;
}

static int
stop(void **state TB_UNUSED)
{
    tb_http_client_free(http);
    http_peer_stop(peer);
    return 0;
}

/* Delays that would only make the test slow. */
static void
hurry(void)
{
    for (size_t i = 0; i < TB_AWS_POLICY_COUNT; i++) {
        aws->policies[i].base_ns = aws->policies[i].throttle_base_ns = TB_NS_PER_MS;
        aws->policies[i].cap_ns = 4 * TB_NS_PER_MS;
    }
}

static int
begin(void **state TB_UNUSED)
{
    setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    unsetenv("AWS_SESSION_TOKEN");
    if (tb_aws_new(http, "eu-central-1", &aws, NULL) != TB_OK) {
        return -1;
    }
    hurry();
    return 0;
}

static int
end(void **state TB_UNUSED)
{
    tb_aws_free(aws);
    tb_clock_real();
    return 0;
}

static enum tb_err
delete_session(struct tb_ec2_effect *out, struct tb_fail *fail)
{
    return tb_ec2_delete(aws, TB_EC2_SESSION, "tms-1", out, fail);
}

static enum tb_err
create_target(struct tb_ec2_effect *out, struct tb_fail *fail)
{
    return tb_ec2_create(aws, TB_EC2_TARGET, tb_bytes_str("Action=CreateTrafficMirrorTarget"),
                         out, fail);
}

static void
a_good_answer_gives_id_request_and_time(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"POST / ", 200, DATE, CREATED, .how = HTTP_PEER_ANSWERS}};
    struct tb_ec2_effect effect;
    char value[256];

    http_peer_script(peer, steps, 1);
    assert_int_equal(create_target(&effect, NULL), TB_OK);
    assert_string_equal(effect.id, "tmt-1");
    assert_string_equal(effect.request_id, "r-2");
    assert_int_equal(effect.server_utc_s, DATE_UTC_S);
    assert_string_equal(http_peer_body(peer, 0), "Action=CreateTrafficMirrorTarget");
    http_peer_header(peer, 0, "content-type", value, sizeof(value));
    assert_string_equal(value, "application/x-www-form-urlencoded; charset=utf-8");
    http_peer_header(peer, 0, "authorization", value, sizeof(value));
    assert_non_null(strstr(value, "/eu-central-1/ec2/aws4_request, "
                                  "SignedHeaders=content-type;host;x-amz-date, "));
}

static void
throttling_and_faults_are_tried_again_with_a_new_signature(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 503, NULL, FAILED("RequestLimitExceeded", "slow"), .how = HTTP_PEER_ANSWERS},
        {NULL, 500, NULL, FAILED("InternalError", "oh"), .how = HTTP_PEER_ANSWERS},
        {NULL, 502, NULL, "<html><body>Bad gateway", .how = HTTP_PEER_ANSWERS},
        {NULL, 200, NULL, DELETED, .how = HTTP_PEER_ANSWERS}};
    struct tb_ec2_effect effect;

    http_peer_script(peer, steps, 4);
    assert_int_equal(delete_session(&effect, NULL), TB_OK);
    assert_string_equal(effect.id, "tms-1");
    assert_int_equal(http_peer_count(peer), 4);
}

static void
attempts_come_to_an_end(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 503, NULL, FAILED("RequestLimitExceeded", "slow"), .always = true}};
    struct tb_ec2_effect effect = {.id = "before"};
    struct tb_fail fail;

    http_peer_script(peer, steps, 1);
    assert_int_equal(create_target(&effect, &fail), TB_ETHROTTLE);
    assert_int_equal(http_peer_count(peer), 3);
    assert_string_equal(fail.code, "RequestLimitExceeded");
    assert_string_equal(fail.request_id, "r-e");
    assert_int_equal(fail.http_status, 503);
    assert_string_equal(effect.id, "before");
}

static void
time_comes_to_an_end_too(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 500, NULL, "", .delay_ns = TB_NS_PER_S / 2, .always = true}};
    struct tb_ec2_effect effect;

    aws->policies[TB_AWS_POLICY_DELETE].attempts = 1000;
    aws->policies[TB_AWS_POLICY_DELETE].total_ns = 3 * TB_NS_PER_S;
    http_peer_script(peer, steps, 1);
    assert_int_equal(delete_session(&effect, NULL), TB_ERETRY);
    assert_in_range(http_peer_count(peer), 2, 8);
}

static void
a_service_that_is_down_gets_few_retries(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {{NULL, 500, NULL, "", .always = true}};
    struct tb_ec2_effect effect;

    aws->locked.retry_tokens = 12; /* two retries */
    http_peer_script(peer, steps, 1);
    assert_int_equal(delete_session(&effect, NULL), TB_ERETRY);
    assert_int_equal(http_peer_count(peer), 3);
    assert_int_equal(delete_session(&effect, NULL), TB_ERETRY);
    assert_int_equal(http_peer_count(peer), 4);
}

static void
one_action_is_called_no_faster_than_ec2_allows(void **state TB_UNUSED)
{
    struct tb_fail fail;
    bool waited = false;

    tb_clock_fake(0, TB_NS_PER_S);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(tb_aws_pace(aws, "DeleteTrafficMirrorSession", 0, NULL), TB_OK);
    }
    assert_int_equal(tb_aws_pace(aws, "DeleteTrafficMirrorSession", 0, &fail), TB_ETHROTTLE);
    assert_int_equal(tb_aws_pace(aws, "DescribeTrafficMirrorSessions", 0, NULL), TB_OK);
    tb_clock_fake_advance(200 * TB_NS_PER_MS);
    assert_int_equal(tb_aws_pace(aws, "DeleteTrafficMirrorSession", 0, NULL), TB_OK);
    assert_int_equal(tb_aws_pace(aws, "DeleteTrafficMirrorSession", 0, NULL), TB_ETHROTTLE);
    tb_clock_real();
    for (int i = 0; i < 10 && !waited; i++) { /* (while a machine stands still it fills, too) */
        aws->locked.buckets[0].tokens = 0;
        aws->locked.buckets[0].at_boot_ns = tb_clock_boot_ns();
        assert_int_equal(tb_aws_pace(aws, "DeleteTrafficMirrorSession", TB_NS_PER_S, NULL),
                         TB_OK);
        waited = tb_clock_boot_ns() - aws->locked.buckets[0].at_boot_ns > 100 * TB_NS_PER_MS;
    }
    assert_true(waited);
}

static void
what_ec2_refused_as_too_fast_empties_our_bucket_too(void **state TB_UNUSED)
{
    tb_clock_fake(0, TB_NS_PER_S);
    assert_int_equal(tb_aws_pace(aws, "CreateTrafficMirrorSession", 0, NULL), TB_OK);
    tb_aws_pace_refused(aws, "CreateTrafficMirrorSession");
    assert_int_equal(tb_aws_pace(aws, "CreateTrafficMirrorSession", 0, NULL), TB_ETHROTTLE);
    assert_int_equal(tb_aws_pace(aws, "DeleteTrafficMirrorSession", 0, NULL), TB_OK);
    tb_clock_fake_advance(200 * TB_NS_PER_MS); /* one of five a second */
    assert_int_equal(tb_aws_pace(aws, "CreateTrafficMirrorSession", 0, NULL), TB_OK);
    assert_int_equal(tb_aws_pace(aws, "CreateTrafficMirrorSession", 0, NULL), TB_ETHROTTLE);
    tb_clock_real();
}

static void
what_cannot_get_better_is_not_tried_again(void **state TB_UNUSED)
{
    static const struct {
        const char *body;
        int status;
        enum tb_err err;
    } cases[] = {
        {FAILED("UnauthorizedOperation", "no"), 403, TB_EDENIED},
        {FAILED("InvalidTrafficMirrorSessionId.NotFound", "no"), 400, TB_ENOTFOUND},
        {FAILED("InvalidTrafficMirrorTargetNoFound", "no"), 400, TB_ENOTFOUND},
        {FAILED("IdempotentParameterMismatch", "no"), 400, TB_EEXIST},
        {FAILED("TrafficMirrorSessionsPerInterfaceLimitExceeded", "no"), 400, TB_EFULL},
        {FAILED("TrafficMirrorFilterInUse", "no"), 400, TB_ESTATE},
        {FAILED("InvalidParameterValue", "number 1 is already being used"), 400, TB_EEXIST},
        {FAILED("UnknownParameter", "no"), 400, TB_EINVAL},
    };
    struct tb_ec2_effect effect;
    struct tb_fail fail;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_peer_step step = {NULL, cases[i].status, NULL, cases[i].body,
                                      .always = true};

        http_peer_script(peer, &step, 1);
        assert_int_equal(delete_session(&effect, &fail), cases[i].err);
        assert_int_equal(fail.err, cases[i].err);
        assert_int_equal(http_peer_count(peer), 1);
    }
    http_peer_script(peer, NULL, 0);
}

static void
a_404_that_is_not_ec2s_is_no_proof_that_it_is_gone(void **state TB_UNUSED)
{
    static const char *const bodies[] = {"", "<html><body>Not Found</body></html>",
                                         "<Error><Message>NotFound</Message></Error>",
                                         "{\"code\":\"NotFound\"}"};
    struct tb_ec2_effect effect;

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct http_peer_step step = {NULL, 404, NULL, bodies[i], .always = true};

        http_peer_script(peer, &step, 1);
        assert_int_equal(delete_session(&effect, NULL), TB_EFORMAT);
    }
    http_peer_script(peer, NULL, 0);
}

static void
a_success_that_is_not_ec2s_is_no_success(void **state TB_UNUSED)
{
    static const char *const bodies[] = {"<html><body>Welcome</body></html>",
                                         "OK",
                                         "{}",
                                         "<!DOCTYPE html><html></html>",
                                         CREATED,
                                         "<DeleteTrafficMirrorSessionResponsible/>"};
    struct tb_ec2_effect effect;

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct http_peer_step step = {NULL, 200, NULL, bodies[i], .always = true};

        http_peer_script(peer, &step, 1);
        assert_int_equal(delete_session(&effect, NULL), TB_EFORMAT);
        assert_int_equal(http_peer_count(peer), 1);
    }
    http_peer_script(peer, NULL, 0);
}

static void
a_success_cut_off_is_asked_for_again(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 200, NULL, "", .how = HTTP_PEER_ANSWERS},
        {NULL, 200, NULL, "<CreateTrafficMirrorTargetResponse><requestId>r-", .how = 0},
        {NULL, 200, NULL, CREATED, .how = HTTP_PEER_ANSWERS}};
    static const struct http_peer_step never[] = {{NULL, 200, NULL, "", .always = true}};
    struct tb_ec2_effect effect;

    http_peer_script(peer, steps, 3);
    assert_int_equal(create_target(&effect, NULL), TB_OK);
    assert_string_equal(effect.id, "tmt-1");
    http_peer_script(peer, never, 1);
    assert_int_equal(create_target(&effect, NULL), TB_ETIMEOUT); /* it may be there */
    assert_int_equal(delete_session(&effect, NULL), TB_ERETRY);
}

static void
a_lost_reply_is_asked_for_again(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {.how = HTTP_PEER_HANGS_UP},
        {NULL, 200, NULL, CREATED, .how = HTTP_PEER_CUTS},
        {NULL, 200, NULL, CREATED, .how = HTTP_PEER_ANSWERS}};
    static const struct http_peer_step never[] = {
        {.how = HTTP_PEER_SAYS_NOTHING, .always = true}};
    struct tb_ec2_effect effect;

    http_peer_script(peer, steps, 3);
    assert_int_equal(create_target(&effect, NULL), TB_OK);
    aws->policies[TB_AWS_POLICY_CREATE].attempt_ns = 2 * TB_NS_PER_S;
    http_peer_script(peer, never, 1);
    assert_int_equal(create_target(&effect, NULL), TB_ETIMEOUT);
    for (int i = 0; i < 6000 && http_peer_count(peer) < 3; i++) {
        (void)usleep(10000);
    }
    assert_int_equal(http_peer_count(peer), 3);
}

static void
an_id_of_another_kind_is_refused(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 200, NULL,
         "<CreateTrafficMirrorTargetResponse><trafficMirrorTarget><trafficMirrorTargetId>tms-1"
         "</trafficMirrorTargetId></trafficMirrorTarget></CreateTrafficMirrorTargetResponse>",
         .always = true}};
    struct tb_ec2_effect effect;

    http_peer_script(peer, steps, 1);
    assert_int_equal(create_target(&effect, NULL), TB_EFORMAT);
}

/* Who finds an object gone that he asked for twice may have deleted it himself. */
static void
a_try_that_was_refused_for_the_clock_could_not_do_anything(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 400, DATE, FAILED("RequestExpired", "late"), .how = HTTP_PEER_ANSWERS},
        {NULL, 400, DATE, FAILED("InvalidTrafficMirrorSessionId.NotFound", "none"),
         .how = HTTP_PEER_ANSWERS}};
    struct tb_ec2_effect effect;
    struct tb_fail fail = {.text = ""};

    tb_clock_fake((DATE_UTC_S - 3600) * TB_NS_PER_S, TB_NS_PER_S);
    http_peer_script(peer, steps, 2);
    assert_int_equal(delete_session(&effect, &fail), TB_ENOTFOUND);
    assert_int_equal(http_peer_count(peer), 2);
    assert_int_equal(fail.tries, 1);
    tb_clock_real();
}

static void
a_wrong_clock_is_learnt_from_the_answer_and_kept(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 400, DATE, FAILED("RequestExpired", "late"), .how = HTTP_PEER_ANSWERS},
        {NULL, 200, DATE, DELETED, .how = HTTP_PEER_ANSWERS},
        {NULL, 200, DATE, DELETED, .how = HTTP_PEER_ANSWERS}};
    struct tb_ec2_effect effect;
    char value[64];

    tb_clock_fake((DATE_UTC_S - 3600) * TB_NS_PER_S, TB_NS_PER_S);
    http_peer_script(peer, steps, 3);
    assert_int_equal(delete_session(&effect, NULL), TB_OK);
    assert_int_equal(delete_session(&effect, NULL), TB_OK);
    assert_int_equal(http_peer_count(peer), 3);
    http_peer_header(peer, 0, "x-amz-date", value, sizeof(value));
    assert_string_equal(value, "20260102T020405Z");
    http_peer_header(peer, 1, "x-amz-date", value, sizeof(value));
    assert_string_equal(value, "20260102T030405Z");
    http_peer_header(peer, 2, "x-amz-date", value, sizeof(value));
    assert_string_equal(value, "20260102T030405Z");
}

static void
a_clock_that_is_right_is_not_blamed(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 403, DATE, FAILED("SignatureDoesNotMatch", "no"), .always = true}};
    struct tb_ec2_effect effect;

    tb_clock_fake((DATE_UTC_S - 100) * TB_NS_PER_S, TB_NS_PER_S);
    http_peer_script(peer, steps, 1);
    assert_int_equal(delete_session(&effect, NULL), TB_EDENIED);
    assert_int_equal(http_peer_count(peer), 1);
}

/* The environment stands for any source: it is read again when a service calls keys expired. */
static void
expired_credentials_are_fetched_anew_once(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 200, NULL, DELETED, .how = HTTP_PEER_ANSWERS},
        {NULL, 400, NULL, FAILED("ExpiredToken", "old"), .how = HTTP_PEER_ANSWERS},
        {NULL, 200, NULL, DELETED, .how = HTTP_PEER_ANSWERS}};
    static const struct http_peer_step still[] = {
        {NULL, 400, NULL, FAILED("ExpiredToken", "old"), .always = true}};
    struct tb_ec2_effect effect;
    char value[512];

    http_peer_script(peer, steps, 3);
    assert_int_equal(delete_session(&effect, NULL), TB_OK);
    setenv("AWS_ACCESS_KEY_ID", "ASIANEW", 1);
    setenv("AWS_SESSION_TOKEN", "new/token==", 1);
    assert_int_equal(delete_session(&effect, NULL), TB_OK);
    http_peer_header(peer, 1, "authorization", value, sizeof(value));
    assert_non_null(strstr(value, "Credential=AKIDEXAMPLE/"));
    http_peer_header(peer, 2, "authorization", value, sizeof(value));
    assert_non_null(strstr(value, "Credential=ASIANEW/"));
    assert_non_null(strstr(value, "x-amz-date;x-amz-security-token,"));
    http_peer_header(peer, 2, "x-amz-security-token", value, sizeof(value));
    assert_string_equal(value, "new/token==");
    http_peer_script(peer, still, 1);
    assert_int_equal(delete_session(&effect, NULL), TB_EEXPIRED);
    assert_int_equal(http_peer_count(peer), 2);
}

static void
messages_cannot_break_a_line(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 400, NULL, FAILED("Invalid", "a\nERROR forged &#10; line"), .always = true}};
    struct tb_ec2_effect effect;
    struct tb_fail fail;

    http_peer_script(peer, steps, 1);
    assert_int_equal(delete_session(&effect, &fail), TB_EINVAL);
    assert_null(strchr(fail.text, '\n'));
    assert_non_null(strstr(fail.text, "DeleteTrafficMirrorSession: Invalid: a ERROR forged"));
}

static void
who_we_are_is_read_from_sts(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 200, NULL,
         "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
         "<GetCallerIdentityResult><UserId>u</UserId><Account>111122223333</Account>"
         "<Arn>arn:aws:iam::111122223333:user/u</Arn></GetCallerIdentityResult>"
         "<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>"
         "</GetCallerIdentityResponse>",
         .how = HTTP_PEER_ANSWERS},
        {NULL, 403, NULL,
         "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code>"
         "<Message>who?</Message></Error><RequestId>r-s</RequestId></ErrorResponse>",
         .always = true}};
    struct tb_aws_identity identity;
    struct tb_fail fail;

    http_peer_script(peer, steps, 2);
    assert_int_equal(tb_aws_caller_identity(aws, &identity, NULL), TB_OK);
    assert_string_equal(identity.account, "111122223333");
    assert_string_equal(identity.arn, "arn:aws:iam::111122223333:user/u");
    assert_int_equal(tb_aws_caller_identity(aws, &identity, &fail), TB_EDENIED);
    assert_string_equal(fail.code, "InvalidClientTokenId");
    assert_string_equal(fail.request_id, "r-s");
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(a_good_answer_gives_id_request_and_time),
        CASE(throttling_and_faults_are_tried_again_with_a_new_signature),
        CASE(attempts_come_to_an_end),
        CASE(time_comes_to_an_end_too),
        CASE(a_service_that_is_down_gets_few_retries),
        CASE(one_action_is_called_no_faster_than_ec2_allows),
        CASE(what_ec2_refused_as_too_fast_empties_our_bucket_too),
        CASE(what_cannot_get_better_is_not_tried_again),
        CASE(a_404_that_is_not_ec2s_is_no_proof_that_it_is_gone),
        CASE(a_success_that_is_not_ec2s_is_no_success),
        CASE(a_success_cut_off_is_asked_for_again),
        CASE(a_lost_reply_is_asked_for_again),
        CASE(an_id_of_another_kind_is_refused),
        CASE(a_wrong_clock_is_learnt_from_the_answer_and_kept),
        CASE(a_try_that_was_refused_for_the_clock_could_not_do_anything),
        CASE(a_clock_that_is_right_is_not_blamed),
        CASE(expired_credentials_are_fetched_anew_once),
        CASE(messages_cannot_break_a_line),
        CASE(who_we_are_is_read_from_sts),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
