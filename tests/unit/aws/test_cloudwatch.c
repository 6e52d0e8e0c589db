/* What CloudWatch is asked about mirroring, and what its answers mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include <tapbox/aws_cloudwatch.h>

#include "../../support/http_peer.h"

#define ANSWER(series)                                                                         \
    "<GetMetricDataResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\">"        \
    "<GetMetricDataResult><MetricDataResults>" series "</MetricDataResults>"                   \
    "</GetMetricDataResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>"      \
    "</GetMetricDataResponse>"
#define SERIES(id, times, values)                                                              \
    "<member><Id>" id "</Id><Label>l</Label><Timestamps>" times "</Timestamps><Values>" values \
    "</Values><StatusCode>Complete</StatusCode></member>"
#define T1 "<member>2026-01-02T03:00:00Z</member>"
#define T2 "<member>2026-01-02T03:05:00Z</member>"
#define V(n) "<member>" n "</member>"

enum {
    FROM_S = 1767322890, /* 03:01:30 */
    UNTIL_S = 1767323110 /* 03:05:10 */
};

static struct tb_http_client *http;
static struct http_peer *peer;
static struct tb_aws *aws;

static int
start(void **state TB_UNUSED)
{
    peer = http_peer_start(NULL, 0);
    setenv("AWS_ENDPOINT_URL_CLOUDWATCH", http_peer_url(peer), 1);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    if (tb_http_client_new(&http, NULL) != TB_OK) {
        return -1;
    }
    return tb_aws_new(http, "eu-central-1", &aws, NULL) == TB_OK ? 0 : -1;
}

static int
stop(void **state TB_UNUSED)
{
    tb_aws_free(aws);
    tb_http_client_free(http);
    http_peer_stop(peer);
    return 0;
}

static enum tb_err
ask(int status, const char *answer, struct tb_mirror_skips *out, struct tb_fail *fail)
{
    struct http_peer_step step = {"POST / ", status, NULL, answer, .always = true};

    http_peer_script(peer, &step, 1);
    return tb_cloudwatch_mirror_skips(aws, "i-0123456789abcdef0", FROM_S, UNTIL_S, out, fail);
}

static void
whole_periods_are_asked_for_and_added_up(void **state TB_UNUSED)
{
    struct tb_mirror_skips skips;
    char value[512];

    assert_int_equal(ask(200,
                         ANSWER(SERIES("m0", T2 T1, V("1500.0") V("0.0"))
                                    SERIES("m1", T2 T1, V("0.0") V("1.5E3"))
                                        SERIES("m2", T2, V("2.0")) SERIES("m3", "", "")),
                         &skips, NULL),
                     TB_OK);
    assert_int_equal(skips.octets_in, 1500);
    assert_int_equal(skips.octets_out, 1500);
    assert_int_equal(skips.packets_in, 2);
    assert_int_equal(skips.packets_out, 0);
    assert_int_equal(skips.periods, 2);
    assert_int_equal(skips.known, 2);
    assert_non_null(
        strstr(http_peer_body(peer, 0),
               "Action=GetMetricData&Version=2010-08-01&StartTime=2026-01-02T03%3A00%3A"
               "00Z&EndTime=2026-01-02T03%3A10%3A00Z&MetricDataQueries.member.1.Id=m0&"));
    assert_non_null(strstr(
        http_peer_body(peer, 0),
        "&MetricDataQueries.member.4.MetricStat.Metric.MetricName=NetworkPacketsSkipMirrorOut"
        "&MetricDataQueries.member.4.MetricStat.Metric.Dimensions.member.1.Name=InstanceId&"));
    http_peer_header(peer, 0, "authorization", value, sizeof(value));
    assert_non_null(strstr(value, "/eu-central-1/monitoring/aws4_request"));
}

static void
a_period_without_a_point_for_both_directions_is_not_known(void **state TB_UNUSED)
{
    struct tb_mirror_skips skips;

    assert_int_equal(
        ask(200, ANSWER(SERIES("m0", T2 T1, V("0.0") V("0.0")) SERIES("m1", T1, V("0.0"))),
            &skips, NULL),
        TB_OK);
    assert_int_equal(skips.known, 1);
    assert_int_equal(ask(200, ANSWER(""), &skips, NULL), TB_OK);
    assert_int_equal(skips.known, 0);
    assert_int_equal(skips.periods, 2);
    /* a point outside of what was asked for counts for nothing */
    assert_int_equal(
        ask(200, ANSWER(SERIES("m0", "<member>2026-01-02T02:55:00Z</member>", V("7.0"))),
            &skips, NULL),
        TB_OK);
    assert_int_equal(skips.octets_in, 0);
}

static void
what_is_no_answer_is_an_error(void **state TB_UNUSED)
{
    static const struct {
        int status;
        const char *body;
        enum tb_err err;
    } cases[] = {
        {403,
         "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no"
         "</Message></Error><RequestId>r</RequestId></ErrorResponse>",
         TB_EDENIED},
        {200, ANSWER(SERIES("m0", T1 T2, V("0.0"))), TB_EFORMAT},
        {200, ANSWER(SERIES("m0", T1, V("nan"))), TB_EFORMAT},
        {200, ANSWER(SERIES("m0", T1, V("-1"))), TB_EFORMAT},
        {200, ANSWER(SERIES("m0", "<member>now</member>", V("1"))), TB_EFORMAT},
    };
    struct tb_mirror_skips skips;
    struct tb_fail fail;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(ask(cases[i].status, cases[i].body, &skips, &fail), cases[i].err);
    }
    assert_int_equal(
        tb_cloudwatch_mirror_skips(aws, "i-0", 0, (int64_t)700000 * 1000, &skips, &fail),
        TB_ETOOBIG);
}

static void
points_go_out_with_their_owner_and_a_refusal_comes_back(void **state TB_UNUSED)
{
    struct http_peer_step step = {
        "POST / ", 200, NULL,
        "<PutMetricDataResponse><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>"
        "</PutMetricDataResponse>",
        .always = true};
    static const struct tb_cloudwatch_point points[] = {{"Ready", 1}, {"Wrong", 0}};
    struct tb_fail fail;

    http_peer_script(peer, &step, 1);
    assert_int_equal(tb_cloudwatch_put(aws, "tapbox", "a+b", points, 2, &fail), TB_OK);
    assert_string_equal(http_peer_body(peer, 0),
                        "Action=PutMetricData&Version=2010-08-01&Namespace=tapbox"
                        "&MetricData.member.1.MetricName=Ready&MetricData.member.1.Value=1"
                        "&MetricData.member.1.Dimensions.member.1.Name=Owner"
                        "&MetricData.member.1.Dimensions.member.1.Value=a%2Bb"
                        "&MetricData.member.2.MetricName=Wrong&MetricData.member.2.Value=0"
                        "&MetricData.member.2.Dimensions.member.1.Name=Owner"
                        "&MetricData.member.2.Dimensions.member.1.Value=a%2Bb");
    step.status = 403;
    step.body = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error>"
                "<RequestId>r</RequestId></ErrorResponse>";
    http_peer_script(peer, &step, 1);
    assert_int_equal(tb_cloudwatch_put(aws, "tapbox", "a", points, 1, &fail), TB_EDENIED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_periods_are_asked_for_and_added_up),
        cmocka_unit_test(a_period_without_a_point_for_both_directions_is_not_known),
        cmocka_unit_test(what_is_no_answer_is_an_error),
        cmocka_unit_test(points_go_out_with_their_owner_and_a_refusal_comes_back),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
