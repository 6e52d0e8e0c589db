/* Alerts that arrived: told, decided again, and counted. */
#include "room.h"

#include <tapbox/policy_file.h>

#define SAMPLES "webhooks/guardduty/samples/"

static void
post_sample(struct room *r, const char *name, int status, struct tb_buf *out)
{
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    char path[128];

    (void)snprintf(path, sizeof(path), SAMPLES "%s.json", name);
    assert_int_equal(tb_read_file(AT_FDCWD, path, &body, NULL), TB_OK);
    assert_int_equal(call(r, "POST", "/v1/events", &r->alert, NULL, tb_buf_str(&body), out),
                     status);
    tb_buf_release(&body);
}

static void
assert_line(struct tb_buf *answer, const char *line)
{
    if (strstr(tb_buf_str(answer), line) == NULL) {
        fail_msg("no '%s' in %s", line, tb_buf_str(answer));
    }
}

static void
assert_member(struct tb_buf *answer, const char *pointer, const char *value)
{
    struct tb_json *json = json_of(answer);
    const char *got = tb_json_str(json, pointer);

    if (got == NULL || strcmp(got, value) != 0) {
        fail_msg("%s is '%s', not '%s': %s", pointer, got != NULL ? got : "(none)", value,
                 tb_buf_str(answer));
    }
    tb_json_free(json);
}

static struct tb_rules *
rules_of(const char *text)
{
    struct tb_rules *rules = NULL;

    assert_int_equal(tb_policy_parse(tb_bytes_str(text), "test", &rules, NULL, NULL, NULL),
                     TB_OK);
    return rules;
}

static void
an_alert_that_was_ignored_is_decided_again_by_the_policy_as_it_is_now(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct tb_rules *rules = rules_of("rules: [{name: quiet, when: {}, ignore: not today}]");
    static const char replay[] = "/v1/alerts/alert-1/replay";
    static const char id[] = "1ac0ffee1ac0ffee1ac0ffee1ac0ffee";

    r->config.policy.rules = rules;
    post_sample(r, "cnc", 200, &out);
    assert_int_equal(call(r, "GET", "/v1/alerts", &r->responder, NULL, NULL, &out), 200);
    assert_member(&out, "/alerts/0/id", "alert-1");
    assert_member(&out, "/alerts/0/sender_id", id);
    assert_member(&out, "/alerts/0/type", "Backdoor:EC2/C&CActivity.B");
    assert_member(&out, "/alerts/0/decision", "ignored");
    assert_member(&out, "/alerts/0/reason", "rule 'quiet': not today");
    assert_member(&out, "/alerts/0/by", "bus");
    assert_int_equal(call(r, "POST", replay, &r->analyst, NULL, "", &out), 200);
    assert_member(&out, "/decision", "ignored"); /* the policy is what it was */

    r->config.policy.rules = NULL;
    assert_int_equal(call(r, "POST", replay, &r->alert, NULL, "", &out), 403);
    assert_int_equal(call(r, "POST", replay, &r->responder, NULL, "", &out), 403);
    assert_int_equal(
        call(r, "POST", replay, &r->analyst, "Idempotency-Key: again\r\n", "", &out), 202);
    assert_member(&out, "/decision", "capture");
    assert_member(&out, "/alert/id", id);
    assert_int_equal(
        call(r, "POST", replay, &r->analyst, "Idempotency-Key: again\r\n", "", &out), 200);
    assert_member(&out, "/decision", "duplicate");
    /* by the sender's id, too; and the interface is tapped already */
    assert_int_equal(call(r, "POST", "/v1/alerts/1ac0ffee1ac0ffee1ac0ffee1ac0ffee/replay",
                          &r->analyst, NULL, "", &out),
                     202);
    assert_member(&out, "/decision", "joined");

    /* each is an alert of its own, with who asked */
    assert_int_equal(call(r, "GET", "/v1/alerts?limit=3", &r->analyst, NULL, NULL, &out), 200);
    assert_member(&out, "/alerts/0/decision", "joined");
    assert_member(&out, "/alerts/0/by", "ann");
    assert_member(&out, "/alerts/1/decision", "capture");
    assert_member(&out, "/alerts/2/decision", "ignored");
    assert_int_equal(call(r, "GET", "/v1/alerts?decision=ignored&before=alert-2", &r->analyst,
                          NULL, NULL, &out),
                     200);
    assert_member(&out, "/alerts/0/by", "bus");
    tb_rules_free(rules);
    tb_buf_release(&out);
}

/* Its body need not say whose it is: as when it came, its sender's name does. */
static void
an_alert_of_a_sender_that_was_named_is_decided_again_as_of_this_sender(void **state)
{
    static const char by_name[] = "{\"n\":7,\"host\":\"i-0a1b2c3d4e5f60718\"}";
    static const char by_match[] = "{\"detail-type\":\"x\",\"source\":\"y\",\"detail\":"
                                   "{\"k\":1,\"n\":8,\"host\":\"i-0a1b2c3d4e5f60718\"}}";
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct tb_rules *rules =
        rules_of("senders: {tool: {id: \"no-{/n}\", type: t, source: /host},"
                 " other: {match: {/k: \"*\"}, id: /n, type: t, source: /host}}\n"
                 "rules: [{name: quiet, when: {}, ignore: not today}]");

    r->config.policy.rules = rules;
    assert_int_equal(call(r, "POST", "/v1/events/tool", &r->alert, NULL, by_name, &out), 200);
    assert_int_equal(
        call(r, "POST", "/v1/events/tool", &r->alert, NULL,
             "[{\"n\":5,\"host\":\"i-0a1b2c3d4e5f60718\"},{\"n\":6,\"host\":\"x\"}]", &out),
        200);
    assert_int_equal(call(r, "POST", "/v1/events", &r->alert, NULL, by_match, &out), 200);
    for (int i = 1; i <= 4; i++) {
        static const char *const ids[] = {"", "no-7", "no-5", "no-6", "8"};
        char path[64];

        (void)snprintf(path, sizeof(path), "/v1/alerts/alert-%d/replay", i);
        assert_int_equal(call(r, "POST", path, &r->analyst, NULL, "", &out), 200);
        assert_member(&out, "/alert/id", ids[i]);
        assert_member(&out, "/alert/adapter", i < 4 ? "tool" : "other");
    }
    r->config.policy.rules = NULL;
    tb_rules_free(rules);
    tb_buf_release(&out);
}

static void
what_cannot_be_decided_again_is_told(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);

    assert_int_equal(call(r, "POST", "/v1/captures", &r->analyst, NULL, BODY, &out), 202);
    assert_int_equal(call(r, "POST", "/v1/alerts/alert-1/replay", &r->analyst, NULL, "", &out),
                     409);
    assert_problem(&out, 409, "analyst's request");
    assert_int_equal(call(r, "POST", "/v1/alerts/alert-2/replay", &r->analyst, NULL, "", &out),
                     404);
    assert_int_equal(call(r, "POST", "/v1/alerts/nothing/replay", &r->analyst, NULL, "", &out),
                     404);
    assert_int_equal(
        call(r, "POST", "/v1/alerts/alert-1/replay?force=1", &r->analyst, NULL, "", &out), 400);
    assert_int_equal(call(r, "GET", "/v1/alerts?decision=maybe", &r->analyst, NULL, NULL, &out),
                     400);
    assert_int_equal(call(r, "GET", "/v1/alerts?before=17", &r->analyst, NULL, NULL, &out),
                     400);
    assert_int_equal(call(r, "GET", "/v1/alerts?limit=0", &r->analyst, NULL, NULL, &out), 400);
    assert_int_equal(call(r, "GET", "/v1/alerts", &r->analyst, NULL, NULL, &out), 200);
    assert_line(&out, "\"alerts\": []"); /* a request is none */
    tb_buf_release(&out);
}

static void
what_became_no_capture_is_counted_by_why_and_answers_by_their_time(void **state)
{
    static const char *const lines[] = {
        "tapbox_intake_received_total{way=\"http\"} 6\n",
        "tapbox_intake_total{decision=\"capture\"} 1\n",
        "tapbox_intake_total{decision=\"duplicate\"} 1\n",
        "tapbox_alerts_total{sender=\"guardduty\",decision=\"capture\"} 1\n",
        "tapbox_alerts_total{sender=\"guardduty\",decision=\"ignored\"} 2\n",
        "tapbox_alerts_total{sender=\"ec2\",decision=\"capture\"} 0\n",
        "tapbox_intake_not_captured_total{decision=\"ignored\",why=\"sample\"} 1\n",
        "tapbox_intake_not_captured_total{decision=\"ignored\",why=\"archived\"} 1\n",
        "tapbox_intake_not_captured_total{decision=\"ignored\",why=\"rule\"} 0\n",
        "tapbox_intake_not_captured_total{decision=\"ignored\",why=\"cooldown\"} 0\n",
        "tapbox_intake_not_captured_total{decision=\"refused\",why=\"nothing_to_mirror\"} 1\n",
        "tapbox_intake_not_taken_total{why=\"not_understood\"} 1\n",
        "tapbox_intake_not_taken_total{why=\"not_stored\"} 0\n",
        "tapbox_intake_seconds_bucket{le=\"0.005\"} ",
        "tapbox_intake_seconds_bucket{le=\"+Inf\"} 5\n",
        "tapbox_intake_seconds_count 5\n",
    };
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);

    post_sample(r, "cnc", 202, &out);
    post_sample(r, "cnc", 200, &out);
    post_sample(r, "sample", 200, &out);
    post_sample(r, "archived", 200, &out);
    post_sample(r, "s3", 200, &out);
    assert_int_equal(call(r, "POST", "/v1/events", &r->alert, NULL, "{\"what\":1}", &out), 400);
    assert_int_equal(call(r, "GET", "/metrics", &r->scraper, NULL, NULL, &out), 200);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_line(&out, lines[i]);
    }
    tb_buf_release(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(an_alert_that_was_ignored_is_decided_again_by_the_policy_as_it_is_now),
        ROOM_TEST(an_alert_of_a_sender_that_was_named_is_decided_again_as_of_this_sender),
        ROOM_TEST(what_cannot_be_decided_again_is_told),
        ROOM_TEST(what_became_no_capture_is_counted_by_why_and_answers_by_their_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
