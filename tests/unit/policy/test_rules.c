/* Which alerts become captures, of what, and what the others are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include <tapbox/clock.h>
#include <tapbox/policy.h>

static const struct tb_policy policy = {.bounds = {.default_duration_ns = 900 * TB_NS_PER_S,
                                                   .max_duration_ns = 3600 * TB_NS_PER_S,
                                                   .default_max_bytes = 5000,
                                                   .default_max_packets = 70,
                                                   .default_snaplen = 256}};

/* By the bounds alone; rules are tested with their file (unit/config/test_policy_file.c). */
static enum tb_decision
decide(const struct tb_alert *a, struct tb_capture_request *out, char *reason)
{
    struct tb_verdict v;

    tb_policy_decide(&policy, a, NULL, 0, &v);
    assert_int_equal(v.why == TB_WHY_NONE, v.decision == TB_DECISION_CAPTURE);
    if (v.decision == TB_DECISION_CAPTURE) {
        assert_true(v.planned);
        *out = v.request;
    }
    (void)tb_str_copy(reason, TB_CAPTURE_MAX_TEXT, v.reason);
    return v.decision;
}

static struct tb_alert
alert_of(const char *instance, const char *eni, bool seen_here)
{
    struct tb_alert a = {.adapter = "guardduty",
                         .id = "f1",
                         .type = "Backdoor:EC2/C&CActivity.B",
                         .summary = "It talks.",
                         .account = "111122223333",
                         .region = "eu-central-1",
                         .severity = 8.0,
                         .source_count = 1};

    (void)tb_str_copy(a.sources[0].instance, TB_AWS_ID_SIZE, instance);
    (void)tb_str_copy(a.sources[0].eni, TB_AWS_ID_SIZE, eni);
    a.sources[0].seen_here = seen_here;
    return a;
}

static void
add_source(struct tb_alert *a, const char *instance, const char *eni, bool seen_here)
{
    struct tb_alert_source *s = &a->sources[a->source_count++];

    (void)tb_str_copy(s->instance, sizeof(s->instance), instance);
    (void)tb_str_copy(s->eni, sizeof(s->eni), eni);
    s->seen_here = seen_here;
}

static void
a_capture_takes_the_defaults_and_says_what_it_is_for(void **state)
{
    struct tb_alert a = alert_of("i-1", "eni-1", true);
    struct tb_capture_request r;
    char reason[TB_CAPTURE_MAX_TEXT];

    (void)state;
    assert_int_equal(decide(&a, &r, reason), TB_DECISION_CAPTURE);
    assert_int_equal(r.duration_ns, 900 * TB_NS_PER_S);
    assert_int_equal(r.max_bytes, 5000);
    assert_int_equal(r.max_packets, 70);
    assert_int_equal(r.snaplen, 256);
    assert_int_equal(r.filter.kind, TB_FILTER_ALL);
    assert_string_equal(r.finding_id, "f1");
    assert_string_equal(r.finding_type, "Backdoor:EC2/C&CActivity.B");
    assert_true(r.severity == 8.0);
    assert_string_equal(r.account, "111122223333");
    assert_string_equal(r.region, "eu-central-1");
    assert_string_equal(r.reason, "It talks.");
    assert_string_equal(reason, "Backdoor:EC2/C&CActivity.B (severity 8.0) at eni-1");
    a.summary[0] = 0;
    assert_int_equal(decide(&a, &r, reason), TB_DECISION_CAPTURE);
    assert_string_equal(r.reason, "Backdoor:EC2/C&CActivity.B");
}

static void
the_interface_where_it_was_seen_goes_before_the_instance(void **state)
{
    struct tb_alert a = alert_of("i-1", "eni-1", true);
    struct tb_capture_request r;
    char reason[TB_CAPTURE_MAX_TEXT];

    (void)state;
    assert_int_equal(decide(&a, &r, reason), TB_DECISION_CAPTURE);
    assert_int_equal(r.eni_count, 1);
    assert_string_equal(r.enis[0], "eni-1");
    assert_string_equal(r.instance, "i-1");

    a = alert_of("i-1", "eni-1", false);
    add_source(&a, "i-1", "eni-2", false);
    assert_int_equal(decide(&a, &r, reason), TB_DECISION_CAPTURE);
    assert_int_equal(r.eni_count, 0);
    assert_string_equal(r.instance, "i-1");
    assert_non_null(strstr(reason, "at i-1"));
    assert_null(strstr(reason, "not covered"));

    a = alert_of("", "eni-1", true);
    assert_int_equal(decide(&a, &r, reason), TB_DECISION_CAPTURE);
    assert_string_equal(r.enis[0], "eni-1");
    assert_string_equal(r.instance, "");
}

static void
of_several_instances_every_named_interface_is_taken_and_the_rest_is_said(void **state)
{
    struct tb_alert a = alert_of("i-1", "eni-1", false);
    struct tb_capture_request r;
    char reason[TB_CAPTURE_MAX_TEXT];

    (void)state;
    add_source(&a, "i-2", "eni-2", false);
    assert_int_equal(decide(&a, &r, reason), TB_DECISION_CAPTURE);
    assert_int_equal(r.eni_count, 2);
    assert_string_equal(r.instance, "");
    assert_non_null(strstr(reason, "at eni-1 and 1 more"));
    assert_null(strstr(reason, "not covered"));

    add_source(&a, "i-3", "", false);
    a.sources_left_out = 2;
    assert_int_equal(decide(&a, &r, reason), TB_DECISION_CAPTURE);
    assert_int_equal(r.eni_count, 2);
    assert_non_null(strstr(reason, "3 more that the alert names are not covered"));

    a = alert_of("i-1", "", false);
    add_source(&a, "i-2", "", false);
    assert_int_equal(decide(&a, &r, reason), TB_DECISION_CAPTURE);
    assert_int_equal(r.eni_count, 0);
    assert_string_equal(r.instance, "i-1");
    assert_non_null(strstr(reason, "1 more that the alert names are not covered"));
}

static void
each_reason_to_ignore_is_told(void **state)
{
    static const struct {
        bool sample, archived;
        double severity;
        const char *nothing;
        size_t sources;
        const char *says; /* "" : captured */
        enum tb_decision decision;
    } cases[] = {
        {false, false, 8, "", 1, "", TB_DECISION_CAPTURE},
        {true, false, 8, "", 1, "sample", TB_DECISION_IGNORE},
        {false, true, 8, "", 1, "archived", TB_DECISION_IGNORE},
        {false, false, 4.0, "", 1, "", TB_DECISION_CAPTURE},
        {false, false, 0, "", 1, "", TB_DECISION_CAPTURE}, /* unknown */
        {false, false, 8, "finding about an S3 bucket", 0, "nothing to mirror: finding about",
         TB_DECISION_REFUSE},
        {false, false, 8, "", 0, "names no instance", TB_DECISION_REFUSE},
        /* what no policy could capture is told before what this one would not */
        {true, true, 1, "x", 0, "nothing to mirror: x", TB_DECISION_REFUSE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_alert a = alert_of("i-1", "", false);
        struct tb_capture_request r = {.reason = "before"};
        char reason[TB_CAPTURE_MAX_TEXT];
        enum tb_decision decision;

        a.sample = cases[i].sample;
        a.archived = cases[i].archived;
        a.severity = cases[i].severity;
        a.source_count = cases[i].sources;
        (void)tb_str_copy(a.nothing_to_mirror, sizeof(a.nothing_to_mirror), cases[i].nothing);
        decision = decide(&a, &r, reason);
        assert_int_equal(decision, cases[i].decision);
        if (decision != TB_DECISION_CAPTURE) {
            if (strstr(reason, cases[i].says) == NULL) {
                fail_msg("%zu: %s", i, reason);
            }
            assert_string_equal(r.reason, "before");
        }
    }
}

static void
the_longest_texts_fit_into_the_reason(void **state)
{
    struct tb_alert a = alert_of("i-1", "eni-1", true);
    struct tb_capture_request r;
    char reason[TB_CAPTURE_MAX_TEXT];

    (void)state;
    memset(a.type, 't', sizeof(a.type) - 1);
    memset(a.sources[0].eni, 'e', sizeof(a.sources[0].eni) - 1);
    add_source(&a, "i-2", "", false);
    assert_int_equal(decide(&a, &r, reason), TB_DECISION_CAPTURE);
    assert_non_null(strstr(reason, "not covered"));
    memset(a.nothing_to_mirror, 'n', sizeof(a.nothing_to_mirror) - 1);
    assert_int_equal(decide(&a, &r, reason), TB_DECISION_REFUSE);
    assert_true(strlen(reason) < sizeof(reason));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_capture_takes_the_defaults_and_says_what_it_is_for),
        cmocka_unit_test(the_interface_where_it_was_seen_goes_before_the_instance),
        cmocka_unit_test(
            of_several_instances_every_named_interface_is_taken_and_the_rest_is_said),
        cmocka_unit_test(each_reason_to_ignore_is_told),
        cmocka_unit_test(the_longest_texts_fit_into_the_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
