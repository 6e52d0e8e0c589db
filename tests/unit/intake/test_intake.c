/* From a body to a committed alert. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <tapbox/clock.h>
#include <tapbox/intake.h>
#include <tapbox/io.h>

static const struct tb_policy policy = {.bounds = {.default_duration_ns = 900 * TB_NS_PER_S,
                                                   .max_duration_ns = 3600 * TB_NS_PER_S}};
static const struct tb_intake_from bus = {.remote = "192.0.2.1", .token_name = "eventbridge"};
static const struct tb_intake_from ann = {.remote = "192.0.2.2", .token_name = "ann"};
static const struct tb_intake_from bob = {.remote = "192.0.2.3", .token_name = "bob"};

struct place {
    char dir[64];
    char path[96];
    struct tb_store *store;
    struct tb_intake_result result; /* of the last alert */
    unsigned told;
};

static int
set_up(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    assert_non_null(p);
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/tapbox-intake-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(p->path, sizeof(p->path), "%s/tapbox.db", p->dir);
    assert_int_equal(tb_store_open(p->path, &p->store, NULL), TB_OK);
    *state = p;
    return 0;
}

static int
tear_down(void **state)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    struct place *p = *state;

    tb_store_close(p->store);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        char name[128];

        (void)snprintf(name, sizeof(name), "%s%s", p->path, ends[i]);
        (void)unlink(name);
    }
    assert_int_equal(rmdir(p->dir), 0);
    free(p);
    return 0;
}

static void
note(void *arg, const struct tb_intake_result *result)
{
    struct place *p = arg;

    p->result = *result;
    p->told++;
}

/* Posts one of the adapter's samples, with `from` in it replaced by `to` of the same length. */
static void
post(struct place *p, const char *sample, const char *from, const char *to)
{
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_fail fail = {0};
    char path[128];

    (void)snprintf(path, sizeof(path), "webhooks/guardduty/samples/%s.json", sample);
    assert_int_equal(tb_read_file(AT_FDCWD, path, &body, NULL), TB_OK);
    (void)tb_buf_str(&body);
    for (char *at = (char *)body.at; from[0] != 0 && (at = strstr(at, from)) != NULL;) {
        memcpy(at, to, strlen(to));
    }
    memset(&p->result, 0, sizeof(p->result));
    if (tb_intake_event(p->store, &policy, tb_buf_view(&body), &bus, note, p, &fail) != TB_OK) {
        fail_msg("%s: %s", sample, fail.text);
    }
    tb_buf_release(&body);
}

static void
a_finding_becomes_a_capture_with_the_alert_as_received(void **state)
{
    struct place *p = *state;
    struct tb_capture *c = calloc(1, sizeof(*c));
    struct tb_buf sent = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_buf kept = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_alert_row row;

    post(p, "cnc", "", "");
    assert_int_equal(p->result.outcome, TB_INTAKE_CREATED);
    assert_string_equal(p->result.alert.type, "Backdoor:EC2/C&CActivity.B");
    assert_non_null(strstr(p->result.reason, "eni-0b1c2d3e4f5061728"));
    assert_int_equal(tb_store_capture_get(p->store, p->result.capture_id, c, NULL), TB_OK);
    assert_string_equal(c->request.enis[0], "eni-0b1c2d3e4f5061728");
    assert_string_equal(c->request.instance, "i-0a1b2c3d4e5f60718");
    assert_string_equal(c->request.requested_by, "eventbridge");
    assert_string_equal(c->request.account, "444455556666");
    assert_int_equal(tb_store_alert(p->store, c->id, 1, &row, &kept, NULL), TB_OK);
    assert_string_equal(row.adapter, "guardduty");
    assert_string_equal(row.remote, "192.0.2.1");
    assert_int_equal(tb_read_file(AT_FDCWD, "webhooks/guardduty/samples/cnc.json", &sent, NULL),
                     TB_OK);
    assert_true(tb_bytes_equal(tb_buf_view(&kept), tb_buf_view(&sent)));
    tb_buf_release(&sent);
    tb_buf_release(&kept);
    free(c);
}

static void
a_redelivery_is_a_duplicate_and_an_update_joins(void **state)
{
    struct place *p = *state;
    char id[TB_CAPTURE_ID_SIZE];

    post(p, "cnc", "", "");
    (void)tb_str_copy(id, sizeof(id), p->result.capture_id);
    /* another envelope around the same occurrence; and the same by another road */
    post(p, "cnc", "b2a7c1d0", "00000000");
    assert_int_equal(p->result.outcome, TB_INTAKE_DUPLICATE);
    assert_string_equal(p->result.capture_id, id);
    post(p, "cli", "", "");
    assert_int_equal(p->result.outcome, TB_INTAKE_DUPLICATE);
    post(p, "cnc", "03:14:05.678Z", "03:29:05.678Z");
    assert_int_equal(p->result.outcome, TB_INTAKE_JOINED);
    assert_string_equal(p->result.capture_id, id);
    assert_non_null(strstr(p->result.reason, "being captured already"));
    /* another finding of the same instance, which names no interface and so is about all: those
     * that are not tapped yet need a capture */
    post(p, "cnc-dns", "", "");
    assert_int_equal(p->result.outcome, TB_INTAKE_CREATED);
    assert_string_not_equal(p->result.capture_id, id);
}

static void
what_is_ignored_is_remembered_with_its_reason(void **state)
{
    static const struct {
        const char *sample, *says;
        enum tb_intake_outcome outcome;
    } cases[] = {{"s3", "S3 bucket", TB_INTAKE_REFUSED},
                 {"sample", "sample", TB_INTAKE_IGNORED},
                 {"archived", "archived", TB_INTAKE_IGNORED}};
    struct place *p = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        post(p, cases[i].sample, "", "");
        assert_int_equal(p->result.outcome, cases[i].outcome);
        assert_string_equal(p->result.capture_id, "");
        assert_non_null(strstr(p->result.reason, cases[i].says));
        post(p, cases[i].sample, "", "");
        assert_int_equal(p->result.outcome, TB_INTAKE_DUPLICATE);
        assert_string_equal(p->result.capture_id, "");
    }
}

static void
ask(struct place *p, const struct tb_intake_from *from, const char *source, const char *key)
{
    char body[128];
    struct tb_fail fail = {0};

    (void)snprintf(body, sizeof(body), "{\"source\":\"%s\",\"reason\":\"a look\"}", source);
    if (tb_intake_request(p->store, &policy, tb_bytes_str(body), key, from, &p->result,
                          &fail) != TB_OK) {
        fail_msg("%s", fail.text);
    }
}

/* As control does it: the capture's own sources are known. */
static void
resolve(struct place *p, const char *id, const char *instance)
{
    struct tb_capture_source source = {.eni = "eni-0b1c2d3e4f5061728", .armed = true};
    const struct tb_places places = {
        .captures = 10, .sessions_of_account = 100, .own_account = ""};
    enum tb_admission admission;

    (void)tb_str_copy(source.instance, sizeof(source.instance), instance);
    assert_int_equal(tb_store_capture_sources(p->store, id, &source, 1, NULL), TB_OK);
    assert_int_equal(tb_store_capture_admit(p->store, id, &places, &admission, NULL), TB_OK);
    assert_int_equal(admission, TB_ADMISSION_GRANTED);
}

static void
news_of_an_instance_reaches_the_captures_that_tap_it(void **state)
{
    static const struct {
        const char *id, *instance, *state;
        enum tb_intake_outcome outcome;
        bool told, news;
    } cases[] = {
        {"e1", "i-0a1b2c3d4e5f60718", "running", TB_INTAKE_NOTED, true, false},
        {"e2", "i-00000000000000001", "terminated", TB_INTAKE_NOTED, false, false},
        {"e3", "i-0a1b2c3d4e5f60718", "terminated", TB_INTAKE_NOTED, true, true},
        {"e3", "i-0a1b2c3d4e5f60718", "terminated", TB_INTAKE_DUPLICATE, true, true},
    };
    struct place *p = *state;
    struct tb_capture *c = calloc(1, sizeof(*c));
    char id[TB_CAPTURE_ID_SIZE], body[400];

    post(p, "cnc", "", "");
    (void)tb_str_copy(id, sizeof(id), p->result.capture_id);
    resolve(p, id, "i-0a1b2c3d4e5f60718");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)snprintf(body, sizeof(body),
                       "{\"id\":\"%s\",\"detail-type\":\"EC2 Instance State-change "
                       "Notification\",\"source\":\"aws.ec2\",\"detail\":{\"instance-id\":"
                       "\"%s\",\"state\":\"%s\"}}",
                       cases[i].id, cases[i].instance, cases[i].state);
        assert_int_equal(
            tb_intake_event(p->store, &policy, tb_bytes_str(body), &bus, note, p, NULL), TB_OK);
        assert_int_equal(p->result.outcome, cases[i].outcome);
        assert_string_equal(p->result.capture_id, cases[i].told ? id : "");
        assert_int_equal(tb_store_capture_get(p->store, id, c, NULL), TB_OK);
        assert_int_equal(c->source_news, cases[i].news);
    }
    assert_int_equal(c->alert_count, 3);
    assert_int_equal(tb_store_capture_news_read(p->store, id, NULL), TB_OK);
    assert_int_equal(tb_store_capture_get(p->store, id, c, NULL), TB_OK);
    assert_false(c->source_news);
    free(c);
}

static void
an_alert_is_found_again_as_it_was_read(void **state)
{
    struct place *p = *state;
    struct tb_alert *a = calloc(1, sizeof(*a));
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_alert_row row;
    char id[TB_CAPTURE_ID_SIZE];

    post(p, "cnc", "", "");
    (void)tb_str_copy(id, sizeof(id), p->result.capture_id);
    assert_int_equal(tb_store_alert_parsed(p->store, id, 1, a, NULL), TB_OK);
    assert_memory_equal(a, &p->result.alert, sizeof(*a));
    assert_int_equal(tb_store_alert_parsed(p->store, id, 2, a, NULL), TB_ENOTFOUND);
    assert_int_equal(tb_store_alert_find(p->store, 0, a->id, &row, &body, NULL), TB_OK);
    assert_string_equal(row.key, a->key);
    assert_int_equal(row.number, 1);
    body.len = 0;
    assert_int_equal(tb_store_alert_find(p->store, 0, a->key, &row, &body, NULL), TB_OK);
    assert_int_equal(tb_store_alert_find(p->store, 0, "", &row, &body, NULL), TB_ENOTFOUND);
    ask(p, &ann, "i-00000007", NULL);
    assert_int_equal(tb_store_alert_parsed(p->store, p->result.capture_id, 1, a, NULL), TB_OK);
    assert_string_equal(a->adapter, "");
    tb_buf_release(&body);
    free(a);
}

static void
bodies_nobody_can_read_are_the_senders_fault(void **state)
{
    struct place *p = *state;
    struct tb_fail fail;

    assert_int_equal(
        tb_intake_event(p->store, &policy, tb_bytes_str("{"), &bus, note, p, &fail),
        TB_EFORMAT);
    assert_int_equal(tb_intake_event(p->store, &policy, tb_bytes_str("{\"Type\":\"x\"}"), &bus,
                                     note, p, &fail),
                     TB_ENOTFOUND);
}

static void
post_file(struct place *p, const char *path)
{
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_fail fail = {0};

    assert_int_equal(tb_read_file(AT_FDCWD, path, &body, NULL), TB_OK);
    p->told = 0;
    if (tb_intake_event(p->store, &policy, tb_buf_view(&body), &bus, note, p, &fail) != TB_OK) {
        fail_msg("%s: %s", path, fail.text);
    }
    tb_buf_release(&body);
}

static void
a_finding_by_two_roads_makes_one_capture(void **state)
{
    struct place *p = *state;
    char id[TB_CAPTURE_ID_SIZE];

    post_file(p, "webhooks/securityhub/samples/guardduty-cnc.json");
    assert_int_equal(p->result.outcome, TB_INTAKE_CREATED);
    memcpy(id, p->result.capture_id, sizeof(id));
    post_file(p, "webhooks/guardduty/samples/cnc.json");
    assert_int_equal(p->result.outcome, TB_INTAKE_DUPLICATE);
    assert_string_equal(p->result.capture_id, id);
    post_file(p, "webhooks/securityhub/samples/guardduty-cnc-ocsf.json");
    assert_int_equal(p->result.outcome, TB_INTAKE_DUPLICATE);
    assert_string_equal(p->result.capture_id, id);
}

static void
of_several_findings_each_is_committed_by_itself(void **state)
{
    struct place *p = *state;
    struct tb_fail fail = {0};
    static const char bad[] =
        "{\"Findings\":[{\"ProductArn\":\"arn:p\",\"Id\":\"one\"},{\"Id\":\"two\"},"
        "{\"ProductArn\":\"arn:p\",\"Id\":\"three\"}]}";

    post_file(p, "webhooks/securityhub/samples/several.json");
    assert_int_equal(p->told, 3);
    assert_int_equal(p->result.outcome, TB_INTAKE_REFUSED); /* the bucket */
    post_file(p, "webhooks/securityhub/samples/several.json");
    assert_int_equal(p->told, 3);
    assert_int_equal(p->result.outcome, TB_INTAKE_DUPLICATE);
    p->told = 0;
    assert_int_equal(
        tb_intake_event(p->store, &policy, tb_bytes_str(bad), &bus, note, p, &fail),
        TB_ENOTFOUND);
    assert_int_equal(p->told, 2); /* the others are in */
    assert_non_null(strstr(fail.text, "finding 2 of 3: "));
}

/* A sequence of `count` instances and one interface, most of them past what an alert holds. */
static void
make_sequence(unsigned count, struct tb_buf *out)
{
    tb_buf_put_str(out,
                   "{\"id\":\"seq\",\"type\":\"AttackSequence:EC2/x\",\"severity\":9,"
                   "\"arn\":\"arn:aws:guardduty:r:111122223333:detector/d/finding/seq\","
                   "\"service\":{\"serviceName\":\"guardduty\",\"detection\":{\"sequence\":"
                   "{\"resources\":[{\"resourceType\":\"EC2_NETWORK_INTERFACE\",\"uid\":"
                   "\"eni-00000aaa\"}");
    for (unsigned i = 0; i < count; i++) {
        tb_buf_printf(out, ",{\"resourceType\":\"EC2_INSTANCE\",\"uid\":\"i-%08x\"}", i);
    }
    tb_buf_put_str(out, "]}}}}");
}

static void
each_instance_of_an_attack_sequence_is_captured_by_itself(void **state)
{
    struct place *p = *state;
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES),
                  kept = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_intake_preview *previews = NULL;
    struct tb_intake_ready *again = NULL;
    struct tb_alert_row row;
    struct tb_json *json;
    int64_t left_out = 0;
    size_t count = 0;

    make_sequence(4, &body);
    assert_int_equal(tb_intake_preview_event(&policy, tb_buf_view(&body), NULL, NULL, &previews,
                                             &count, NULL),
                     TB_OK);
    assert_int_equal(count, 5);
    assert_string_equal(previews[0].verdict.request.enis[0], "eni-00000aaa");
    for (size_t i = 1; i < count; i++) {
        assert_int_equal(previews[i].alert.source_count, 1);
        assert_int_equal(previews[i].verdict.request.eni_count, 0);
        for (size_t k = 1; k < i; k++) {
            assert_string_not_equal(previews[i].verdict.request.instance,
                                    previews[k].verdict.request.instance);
            assert_string_not_equal(previews[i].alert.key, previews[k].alert.key);
        }
    }
    free(previews);
    assert_int_equal(
        tb_intake_event(p->store, &policy, tb_buf_view(&body), &bus, note, p, NULL), TB_OK);
    assert_int_equal(p->told, 5);
    assert_int_equal(p->result.outcome, TB_INTAKE_CREATED);
    assert_int_equal(
        tb_intake_event(p->store, &policy, tb_buf_view(&body), &bus, note, p, NULL), TB_OK);
    assert_int_equal(p->result.outcome, TB_INTAKE_DUPLICATE);
    /* one of them is decided again, also when that was done before */
    assert_int_equal(tb_store_alert_find(p->store, 0, "seq/i-00000002", &row, &kept, NULL),
                     TB_OK);
    assert_int_equal(
        tb_intake_replay_read(&policy, &row, "k", tb_buf_view(&kept), &ann, &again, NULL),
        TB_OK);
    assert_null(again->next);
    assert_string_equal(again->request.instance, "i-00000002");
    (void)tb_str_copy(row.key, sizeof(row.key), again->key);
    tb_intake_ready_free(again);
    assert_int_equal(
        tb_intake_replay_read(&policy, &row, NULL, tb_buf_view(&kept), &ann, &again, NULL),
        TB_OK);
    assert_string_equal(again->request.instance, "i-00000002");
    tb_intake_ready_free(again);
    /* and planned alone */
    assert_int_equal(tb_intake_preview_event(&policy, tb_buf_view(&kept), NULL, &row, &previews,
                                             &count, NULL),
                     TB_OK);
    assert_int_equal(count, 1);
    assert_string_equal(previews[0].verdict.request.instance, "i-00000002");
    free(previews);
    (void)tb_str_copy(row.sender_id, sizeof(row.sender_id), "another");
    assert_int_equal(tb_intake_preview_event(&policy, tb_buf_view(&kept), NULL, &row, &previews,
                                             &count, NULL),
                     TB_EFORMAT);
    assert_int_equal(tb_store_alert_find(p->store, 0, "seq", &row, &kept, NULL), TB_OK);

    /* what an alert does not hold is said, once */
    tb_buf_reset(&body);
    make_sequence(80, &body);
    assert_int_equal(tb_intake_preview_event(&policy, tb_buf_view(&body), NULL, NULL, &previews,
                                             &count, NULL),
                     TB_OK);
    assert_int_equal(count, TB_ALERT_MAX_SOURCES);
    assert_non_null(
        strstr(previews[0].verdict.reason, "16 more that the alert names are not covered"));
    assert_int_equal(previews[0].verdict.left_out, 16);
    assert_null(strstr(previews[1].verdict.reason, "not covered"));
    json = tb_intake_preview_json(&previews[0], false);
    assert_true(tb_json_int(json, "/left_out", &left_out) && left_out == 16);
    tb_json_free(json);
    free(previews);

    /* of several in a body each has its plan, or why it has none */
    assert_int_equal(
        tb_intake_preview_event(
            &policy,
            tb_bytes_str("{\"Findings\":[{\"Id\":\"two\"},{\"ProductArn\":\"arn:p\","
                         "\"Id\":\"three\"}]}"),
            NULL, NULL, &previews, &count, NULL),
        TB_OK);
    assert_int_equal(count, 2);
    assert_int_equal(previews[0].verdict.decision, TB_DECISION_REFUSE);
    assert_non_null(strstr(previews[0].verdict.reason, "finding 1 of 2: "));
    assert_string_equal(previews[1].alert.id, "three");
    json = tb_intake_preview_json(&previews[0], false);
    assert_true(tb_json_is_null(tb_json_at(json, "/alert")));
    tb_json_free(json);
    free(previews);
    tb_buf_release(&kept);
    tb_buf_release(&body);
}

/* tapbox's own alert of `count` interfaces. */
static void
make_interfaces(unsigned count, struct tb_buf *out)
{
    tb_buf_reset(out);
    tb_buf_put_str(out, "{\"tapbox\":1,\"id\":\"many\",\"type\":\"t\",\"source\":[");
    for (unsigned i = 0; i < count; i++) {
        tb_buf_printf(out, "%s\"eni-%08x\"", i > 0 ? "," : "", i);
    }
    tb_buf_put_str(out, "]}");
}

/* Told once without it, and once with it. */
static void
an_instance_and_its_own_interface_are_one_capture(void **state)
{
    static const char body[] =
        "{\"id\":\"seq\",\"type\":\"AttackSequence:EC2/x\",\"severity\":9,"
        "\"arn\":\"arn:aws:guardduty:r:111122223333:detector/d/finding/seq\","
        "\"service\":{\"serviceName\":\"guardduty\",\"detection\":{\"sequence\":{\"resources\":"
        "["
        "{\"resourceType\":\"EC2_INSTANCE\",\"uid\":\"i-00000001\"},"
        "{\"resourceType\":\"EC2_INSTANCE\",\"uid\":\"i-00000001\",\"data\":{\"ec2Instance\":"
        "{\"ec2NetworkInterfaceUids\":[\"eni-00000001\"]}}}]}}}}";
    struct tb_intake_preview *previews = NULL;
    size_t count = 0;

    (void)state;
    assert_int_equal(tb_intake_preview_event(&policy, tb_bytes_str(body), NULL, NULL, &previews,
                                             &count, NULL),
                     TB_OK);
    assert_int_equal(count, 1);
    assert_int_equal(previews[0].alert.source_count, 2);
    assert_int_equal(previews[0].verdict.decision, TB_DECISION_CAPTURE);
    assert_string_equal(previews[0].verdict.request.instance, "i-00000001");
    free(previews);
}

static void
more_interfaces_than_a_capture_holds_are_several_captures(void **state)
{
    static const struct {
        unsigned interfaces;
        size_t captures, last, left_out;
    } cases[] = {{16, 1, 16, 0}, {17, 2, 1, 0}, {40, 3, 8, 0}, {64, 4, 16, 0}, {70, 4, 16, 6}};
    struct place *p = *state;
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_buf kept = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_intake_preview *previews = NULL;
    struct tb_alert_row row;
    size_t count = 0;

    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        bool named[64] = {false};
        size_t all = 0;

        make_interfaces(cases[c].interfaces, &body);
        assert_int_equal(tb_intake_preview_event(&policy, tb_buf_view(&body), NULL, NULL,
                                                 &previews, &count, NULL),
                         TB_OK);
        assert_int_equal(count, cases[c].captures);
        assert_int_equal(previews[0].verdict.left_out, cases[c].left_out);
        for (size_t i = 0; i < count; i++) {
            const struct tb_capture_request *r = &previews[i].verdict.request;

            assert_true(r->eni_count <= TB_CAPTURE_MAX_SOURCES);
            assert_true(i == 0 || previews[i].verdict.left_out == 0);
            for (size_t e = 0; e < r->eni_count; e++, all++) {
                unsigned long n = strtoul(r->enis[e] + 4, NULL, 16);

                assert_true(n < 64 && !named[n]); /* each once */
                named[n] = true;
            }
        }
        assert_int_equal(all, cases[c].interfaces - cases[c].left_out);
        free(previews);
    }

    /* delivered again they are the same; one of them is found by its name */
    make_interfaces(40, &body);
    for (int i = 0; i < 2; i++) {
        p->told = 0;
        assert_int_equal(
            tb_intake_event(p->store, &policy, tb_buf_view(&body), &bus, note, p, NULL), TB_OK);
        assert_int_equal(p->told, 3);
        assert_int_equal(p->result.outcome, i == 0 ? TB_INTAKE_CREATED : TB_INTAKE_DUPLICATE);
    }
    assert_int_equal(tb_store_alert_find(p->store, 0, "many/eni-00000027", &row, &kept, NULL),
                     TB_OK);
    assert_int_equal(tb_intake_preview_event(&policy, tb_buf_view(&kept), NULL, &row, &previews,
                                             &count, NULL),
                     TB_OK);
    assert_int_equal(count, 1);
    assert_string_equal(previews[0].verdict.request.enis[0], "eni-00000018");
    free(previews);
    tb_buf_release(&kept);
    tb_buf_release(&body);
}

/* An instance whose interfaces are named is in one capture, whatever stands beside it. */
static void
the_interfaces_of_an_instance_stay_together(void **state)
{
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_intake_preview *previews = NULL;
    size_t count = 0;

    (void)state;
    tb_buf_put_str(&body,
                   "{\"id\":\"seq\",\"type\":\"AttackSequence:EC2/x\",\"severity\":9,"
                   "\"arn\":\"arn:aws:guardduty:r:111122223333:detector/d/finding/seq\","
                   "\"service\":{\"serviceName\":\"guardduty\",\"detection\":{\"sequence\":"
                   "{\"resources\":[{}");
    for (unsigned i = 0; i < 7; i++) {
        tb_buf_printf(&body,
                      ",{\"resourceType\":\"EC2_INSTANCE\",\"uid\":\"i-%08x\",\"data\":"
                      "{\"ec2Instance\":{\"ec2NetworkInterfaceUids\":[",
                      i);
        for (unsigned k = 0; k < 3; k++) {
            tb_buf_printf(&body, "%s\"eni-%08x\"", k > 0 ? "," : "", 16 * i + k);
        }
        tb_buf_put_str(&body, "]}}}");
    }
    tb_buf_put_str(&body, "]}}}}");
    assert_int_equal(tb_intake_preview_event(&policy, tb_buf_view(&body), NULL, NULL, &previews,
                                             &count, NULL),
                     TB_OK);
    assert_int_equal(count, 3); /* five of them, and two by themselves */
    assert_int_equal(previews[0].verdict.request.eni_count, 15);
    assert_string_equal(previews[1].verdict.request.instance, "i-00000006");
    assert_string_equal(previews[2].verdict.request.instance, "i-00000005");
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(previews[i].verdict.left_out, 0);
    }
    free(previews);
    tb_buf_release(&body);
}

static void
an_analysts_request_is_made_once_for_each_of_their_keys(void **state)
{
    struct place *p = *state;
    struct tb_capture *c = calloc(1, sizeof(*c));
    char id[TB_CAPTURE_ID_SIZE];

    ask(p, &ann, "i-00000001", "1");
    assert_int_equal(p->result.outcome, TB_INTAKE_CREATED);
    assert_string_equal(p->result.reason, "a look");
    assert_string_equal(p->result.alert.adapter, "");
    (void)tb_str_copy(id, sizeof(id), p->result.capture_id);
    assert_int_equal(tb_store_capture_get(p->store, id, c, NULL), TB_OK);
    assert_string_equal(c->request.requested_by, "ann");
    assert_string_equal(c->request.reason, "a look");
    free(c);
    ask(p, &ann, "i-00000001", "1");
    assert_int_equal(p->result.outcome, TB_INTAKE_DUPLICATE);
    assert_string_equal(p->result.capture_id, id);
    ask(p, &bob, "i-00000002", "1");
    assert_int_equal(p->result.outcome, TB_INTAKE_CREATED);
    ask(p, &bob, "i-00000001", NULL);
    assert_int_equal(p->result.outcome, TB_INTAKE_JOINED);
    assert_string_equal(p->result.capture_id, id);
}

static void
a_bad_request_or_key_is_refused_by_name(void **state)
{
    struct place *p = *state;
    struct tb_fail fail;
    char key[300];

    assert_int_equal(tb_intake_request(p->store, &policy, tb_bytes_str("{\"source\":\"x\"}"),
                                       NULL, &ann, &p->result, &fail),
                     TB_EINVAL);
    assert_non_null(strstr(fail.text, "source"));
    memset(key, 'k', sizeof(key) - 1);
    key[sizeof(key) - 1] = 0;
    assert_int_equal(
        tb_intake_request(p->store, &policy, tb_bytes_str("{}"), key, &ann, &p->result, &fail),
        TB_EINVAL);
    assert_non_null(strstr(fail.text, "Idempotency-Key"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_finding_becomes_a_capture_with_the_alert_as_received),
        CASE(a_redelivery_is_a_duplicate_and_an_update_joins),
        CASE(what_is_ignored_is_remembered_with_its_reason),
        CASE(news_of_an_instance_reaches_the_captures_that_tap_it),
        CASE(an_alert_is_found_again_as_it_was_read),
        CASE(bodies_nobody_can_read_are_the_senders_fault),
        CASE(a_finding_by_two_roads_makes_one_capture),
        CASE(of_several_findings_each_is_committed_by_itself),
        CASE(an_instance_and_its_own_interface_are_one_capture),
        CASE(more_interfaces_than_a_capture_holds_are_several_captures),
        CASE(the_interfaces_of_an_instance_stay_together),
        CASE(each_instance_of_an_attack_sequence_is_captured_by_itself),
        CASE(an_analysts_request_is_made_once_for_each_of_their_keys),
        CASE(a_bad_request_or_key_is_refused_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
