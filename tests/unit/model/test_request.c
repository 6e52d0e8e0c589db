/* The body of POST /v1/captures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include <tapbox/clock.h>
#include <tapbox/request.h>

static const struct tb_request_bounds bounds = {.default_duration_ns = 900 * TB_NS_PER_S,
                                                .max_duration_ns = 3600 * TB_NS_PER_S,
                                                .default_max_bytes = 1000,
                                                .default_max_packets = 2000,
                                                .default_snaplen = 128};

#define SOURCE "\"source\":\"i-0123456789abcdef0\""
#define REASON "\"reason\":\"why\""

static void
the_least_takes_its_defaults(void **state)
{
    struct tb_capture_request r;

    (void)state;
    assert_int_equal(
        tb_capture_request_parse(tb_bytes_str("{" SOURCE "," REASON "}"), &bounds, &r, NULL),
        TB_OK);
    assert_string_equal(r.instance, "i-0123456789abcdef0");
    assert_int_equal(r.eni_count, 0);
    assert_int_equal(r.duration_ns, 900 * TB_NS_PER_S);
    assert_int_equal(r.filter.kind, TB_FILTER_ALL);
    assert_int_equal(r.snaplen, 128);
    assert_int_equal(r.max_bytes, 1000);
    assert_int_equal(r.max_packets, 2000);
    assert_string_equal(r.reason, "why");
    assert_string_equal(r.bpf, "");
    assert_string_equal(r.case_id, "");
    assert_string_equal(r.requested_by, "");
}

static void
every_member_is_taken_over(void **state)
{
    struct tb_capture_request r;

    (void)state;
    assert_int_equal(
        tb_capture_request_parse(
            tb_bytes_str("{\"sources\":[\"eni-12345678\",\"eni-0123456789abcdef0\"],"
                         "\"source\":\"i-12345678\",\"duration\":\"15m\",\"reason\":\"é\","
                         "\"case\":\"IR-1234\",\"filter\":\"all\",\"bpf\":\"tcp port 443\","
                         "\"snaplen\":0,\"max_bytes\":0,\"max_packets\":9223372036854775807}"),
            &bounds, &r, NULL),
        TB_OK);
    assert_string_equal(r.instance, "i-12345678");
    assert_int_equal(r.eni_count, 2);
    assert_string_equal(r.enis[0], "eni-12345678");
    assert_string_equal(r.enis[1], "eni-0123456789abcdef0");
    assert_int_equal(r.duration_ns, 900 * TB_NS_PER_S);
    assert_string_equal(r.reason, "\xc3\xa9");
    assert_string_equal(r.case_id, "IR-1234");
    assert_string_equal(r.bpf, "tcp port 443");
    assert_int_equal(r.snaplen, 0);
    assert_int_equal(r.max_bytes, 0);
    assert_int_equal(r.max_packets, INT64_MAX);
}

static void
durations_are_text_or_seconds_within_the_ceiling(void **state)
{
    static const struct {
        const char *body;
        int64_t s; /* 0: refused */
    } cases[] = {
        {"1", 1},
        {"3600", 3600},
        {"60.0", 60},
        {"\"90s\"", 90},
        {"\"1h\"", 3600},
        {"\"90\"", 90},
        {"3601", 0},
        {"\"61m\"", 0},
        {"0", 0},
        {"-1", 0},
        {"1.5", 0},
        {"\"250ms\"", 0},
        {"\"\"", 0},
        {"\"15 m\"", 0},
        {"null", 0},
        {"[1]", 0},
        {"true", 0},
        {"1e300", 0},
        {"9223372036854775807", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_capture_request r;
        struct tb_fail fail = {0};
        struct tb_buf body = TB_BUF_INIT(256);
        enum tb_err err;

        tb_buf_printf(&body, "{" SOURCE "," REASON ",\"duration\":%s}", cases[i].body);
        err = tb_capture_request_parse(tb_buf_view(&body), &bounds, &r, &fail);
        tb_buf_release(&body);
        if (cases[i].s == 0) {
            assert_int_equal(err, TB_EINVAL);
            assert_non_null(strstr(fail.text, "duration: "));
            assert_non_null(strstr(fail.text, "at most 3600 seconds"));
        } else {
            assert_int_equal(err, TB_OK);
            assert_int_equal(r.duration_ns, cases[i].s * TB_NS_PER_S);
        }
    }
}

static void
no_configuration_allows_more_than_the_week(void **state)
{
    const struct tb_request_bounds wide = {.default_duration_ns = TB_NS_PER_S,
                                           .max_duration_ns = INT64_MAX};
    struct tb_capture_request r;

    (void)state;
    assert_int_equal(
        tb_capture_request_parse(tb_bytes_str("{" SOURCE "," REASON ",\"duration\":\"7d\"}"),
                                 &wide, &r, NULL),
        TB_OK);
    assert_int_equal(
        tb_capture_request_parse(tb_bytes_str("{" SOURCE "," REASON ",\"duration\":\"169h\"}"),
                                 &wide, &r, NULL),
        TB_EINVAL);
}

/* Refusals name the member, show the value and say what is allowed. */
static void
every_refusal_names_the_member_and_its_value(void **state)
{
    static const struct {
        const char *body;
        enum tb_err err;
        const char *member, *value;
    } cases[] = {
        {"", TB_EFORMAT, "not JSON", ""},
        {"{" SOURCE, TB_EFORMAT, "not JSON", ""},
        {"[]", TB_EFORMAT, "not a JSON object", ""},
        {"\"i-12345678\"", TB_EFORMAT, "not JSON", ""},
        {"{}", TB_EINVAL, "source: missing", ""},
        {"{" REASON "}", TB_EINVAL, "source: missing", ""},
        {"{" SOURCE "}", TB_EINVAL, "reason: missing", ""},
        {"{" SOURCE ",\"reason\":\"\"}", TB_EINVAL, "reason: ", "\"\""},
        {"{" SOURCE ",\"reason\":\" \\t\"}", TB_EINVAL, "reason: ", "\" \\t\""},
        {"{" SOURCE ",\"reason\":\"  \"}", TB_EINVAL, "reason: ", "\"  \""},
        {"{" SOURCE ",\"reason\":\"a\\u001bb\"}", TB_EINVAL, "reason: ", "\\u001B"},
        {"{" SOURCE ",\"reason\":3}", TB_EINVAL, "reason: ", "3"},
        {"{\"source\":\"vol-12345678\"}", TB_EINVAL, "source: ", "vol-12345678"},
        {"{\"source\":\"i-1234567\"}", TB_EINVAL, "source: ", "i-1234567"},
        {"{\"source\":\"i-ABCDEF01\"}", TB_EINVAL, "source: ", "i-ABCDEF01"},
        {"{\"source\":[\"i-12345678\"]}", TB_EINVAL, "source: ", "[\"i-12345678\"]"},
        {"{\"sources\":\"eni-12345678\"}", TB_EINVAL, "sources: ", "eni-12345678"},
        {"{\"sources\":[]}", TB_EINVAL, "sources: ", "[]"},
        {"{\"sources\":[7]}", TB_EINVAL, "sources: ", "7"},
        {"{\"sources\":[\"i-12345678\",\"i-12345679\"]}", TB_EINVAL, "sources: ", "i-12345679"},
        {"{\"sources\":[\"eni-12345678\",\"eni-12345678\"]}", TB_EINVAL, "named once",
         "eni-12345678"},
        {"{" SOURCE "," REASON ",\"account\":\"123\"}", TB_EINVAL, "account: ", "123"},
        {"{" SOURCE "," REASON ",\"filter\":\"peers\"}", TB_EINVAL, "filter: ", "peers"},
        {"{" SOURCE "," REASON ",\"snaplen\":63}", TB_EINVAL, "snaplen: ", "63"},
        {"{" SOURCE "," REASON ",\"snaplen\":65536}", TB_EINVAL, "snaplen: ", "65536"},
        {"{" SOURCE "," REASON ",\"snaplen\":\"128\"}", TB_EINVAL, "snaplen: ", "\"128\""},
        {"{" SOURCE "," REASON ",\"max_bytes\":-1}", TB_EINVAL, "max_bytes: ", "-1"},
        {"{" SOURCE "," REASON ",\"max_bytes\":0.5}", TB_EINVAL, "max_bytes: ", "0.5"},
        {"{" SOURCE "," REASON ",\"max_packets\":-1}", TB_EINVAL, "max_packets: ", "-1"},
        {"{" SOURCE "," REASON ",\"max_packets\":0.5}", TB_EINVAL, "max_packets: ", "0.5"},
        {"{" SOURCE "," REASON ",\"max_packets\":\"9\"}", TB_EINVAL, "max_packets: ", "\"9\""},
        {"{" SOURCE "," REASON ",\"bpf\":\"a\\nb\"}", TB_EINVAL, "bpf: ", "a\\nb"},
        {"{" SOURCE "," REASON ",\"case\":null}", TB_EINVAL, "case: ", "null"},
        {"{" SOURCE "," REASON ",\"minutes\":5}", TB_EINVAL, "\"minutes\": no such member",
         "snaplen"},
        {"{" SOURCE "," REASON ",\"a\\u001b\":5}", TB_EINVAL, "no such member", "\\u001B"},
        {"{" SOURCE "," SOURCE "," REASON "}", TB_EFORMAT, "not JSON", "duplicate"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_capture_request r = {.reason = "before"};
        struct tb_fail fail = {0};
        enum tb_err err =
            tb_capture_request_parse(tb_bytes_str(cases[i].body), &bounds, &r, &fail);

        if (err != cases[i].err || strstr(fail.text, cases[i].member) == NULL ||
            strstr(fail.text, cases[i].value) == NULL) {
            fail_msg("%s: %s: %s", cases[i].body, tb_err_name(err), fail.text);
        }
        assert_string_equal(r.reason, "before");
    }
}

static void
long_values_are_bounded_and_cut_in_the_sentence(void **state)
{
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_capture_request r;
    struct tb_fail fail;

    (void)state;
    tb_buf_put_str(&body, "{" SOURCE ",\"reason\":\"");
    for (int i = 0; i < 200; i++) {
        tb_buf_put_str(&body, "\xc3\xa9");
    }
    tb_buf_put_str(&body, "\"}");
    assert_int_equal(tb_capture_request_parse(tb_buf_view(&body), &bounds, &r, &fail),
                     TB_EINVAL);
    assert_non_null(strstr(fail.text, "??...")); /* no half character, no long echo */
    assert_true(strlen(fail.text) < 200);
    tb_buf_release(&body);
}

static void
more_interfaces_than_fit_are_refused(void **state)
{
    struct tb_buf body = TB_BUF_INIT(4096);
    struct tb_capture_request r;
    struct tb_fail fail;

    (void)state;
    tb_buf_put_str(&body, "{" REASON ",\"sources\":[\"eni-00000000\"");
    for (int i = 1; i <= TB_CAPTURE_MAX_SOURCES; i++) {
        tb_buf_printf(&body, ",\"eni-%08x\"", (unsigned)i);
    }
    tb_buf_put_str(&body, "]}");
    assert_int_equal(tb_capture_request_parse(tb_buf_view(&body), &bounds, &r, &fail),
                     TB_EINVAL);
    assert_non_null(strstr(fail.text, "more than 16"));
    tb_buf_release(&body);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_takes_its_defaults),
        cmocka_unit_test(every_member_is_taken_over),
        cmocka_unit_test(durations_are_text_or_seconds_within_the_ceiling),
        cmocka_unit_test(no_configuration_allows_more_than_the_week),
        cmocka_unit_test(every_refusal_names_the_member_and_its_value),
        cmocka_unit_test(long_values_are_bounded_and_cut_in_the_sentence),
        cmocka_unit_test(more_interfaces_than_fit_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
