/* The other adapters, the table that finds them, and an alert's way through JSON and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>

#include <tapbox/io.h>
#include <tapbox/webhook_fields.h>

static struct tb_alert *
read_file(const char *path)
{
    struct tb_alert *alert = calloc(1, sizeof(*alert));
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_fail fail = {0};

    assert_non_null(alert);
    if (tb_read_file(AT_FDCWD, path, &body, &fail) != TB_OK ||
        tb_webhook_read(tb_buf_view(&body), NULL, alert, &fail) != TB_OK) {
        fail_msg("%s: %s", path, fail.text);
    }
    tb_buf_release(&body);
    return alert;
}

static void
a_state_change_is_news_of_the_instance(void **state)
{
    struct tb_alert *a = read_file("webhooks/ec2/samples/terminated.json");

    (void)state;
    assert_string_equal(a->adapter, "ec2");
    assert_string_equal(a->instance_state, "terminated");
    assert_string_equal(a->sources[0].instance, "i-0a1b2c3d4e5f60718");
    assert_string_equal(a->key,
                        "i-0a1b2c3d4e5f60718/terminated/3f8b1c52-6d0e-4a77-9b1a-5c2e7d9f0a41");
    assert_string_equal(a->account, "444455556666");
    assert_true(a->seen_utc_ns > 0);
    free(a);
}

static void
our_own_alert_carries_all_of_its_members(void **state)
{
    struct tb_alert *a = read_file("webhooks/tapbox/samples/full.json");

    (void)state;
    assert_string_equal(a->adapter, "tapbox");
    assert_string_equal(a->key, "suricata-2026-01-02-000417");
    assert_string_equal(a->type, "Suricata:EC2/ET-MALWARE");
    assert_int_equal(a->source_count, 2);
    assert_string_equal(a->sources[0].instance, "i-0a1b2c3d4e5f60718");
    assert_string_equal(a->sources[1].eni, "eni-0b1c2d3e4f5061728");
    assert_true(a->severity > 7.4 && a->severity < 7.6);
    assert_int_equal(a->indicator_count, 3);
    assert_string_equal(a->indicators[0].value, "203.0.113.7");
    assert_int_equal(a->indicators[0].port, 443);
    assert_string_equal(a->indicators[0].protocol, "tcp");
    assert_true(a->indicators[0].on_wire);
    assert_int_equal(a->indicators[1].local_port, 22);
    assert_int_equal(a->indicators[2].kind, TB_INDICATOR_DOMAIN);
    free(a);
    free(read_file("webhooks/tapbox/samples/minimal.json"));
}

static void
each_adapter_names_what_is_wrong(void **state)
{
#define OWN(more) "{\"tapbox\":1,\"id\":\"a\",\"type\":\"t\",\"source\":\"i-00000001\"" more "}"
#define EC2(detail)                                                                            \
    "{\"detail-type\":\"EC2 Instance State-change Notification\",\"detail\":{" detail "}}"
    static const struct {
        const char *body, *says; /* NULL: it is good */
    } cases[] = {
        {OWN(""), NULL},
        {OWN(",\"severity\":10,\"sample\":true"), NULL},
        {"{\"tapbox\":1}", "id is missing"},
        {"{\"tapbox\":2,\"id\":\"a\"}", "tapbox has to be 1"},
        {"{\"tapbox\":1,\"id\":\"a b\"}", "id has to be"},
        {OWN(",\"severity\":11"), "severity has to be"},
        {OWN(",\"severity\":\"high\""), "severity has to be"},
        {OWN(",\"port\":1"), "port: no such member"},
        {OWN(",\"a\\u001b\":1"), "a?: no such member"},
        {OWN(",\"account\":\"12\""), "account has to be"},
        {OWN(",\"time\":\"noon\""), "time has to be"},
        {OWN(",\"indicators\":{}"), "indicators has to be"},
        {OWN(",\"indicators\":[{}]"), "indicators has to be"},
        {OWN(",\"indicators\":[{\"ip\":\"1.2.3\"}]"), "indicators has to be"},
        {OWN(",\"indicators\":[{\"ip\":\"1.2.3.4\",\"domain\":\"x\"}]"), "indicators has to"},
        {OWN(",\"indicators\":[{\"ip\":\"1.2.3.4\",\"port\":70000}]"), "indicators has to be"},
        {OWN(",\"indicators\":[{\"ip\":\"1.2.3.4\",\"direction\":\"up\"}]"), "indicators has"},
        {OWN(",\"indicators\":[{\"ip\":\"1.2.3.4\",\"prot\":\"tcp\"}]"), "indicators has to"},
        {"{\"tapbox\":1,\"id\":\"a\",\"type\":\"t\",\"source\":\"i-xyz\"}", "source has to be"},
        {"{\"tapbox\":1,\"id\":\"a\",\"type\":\"t\"}", "source is missing"},
        {EC2(""), "instance-id is missing"},
        {EC2("\"instance-id\":\"i-00000001\""), "state is missing"},
        {EC2("\"instance-id\":\"i-00000001\",\"state\":\"asleep\""), "none that EC2 knows"},
        {EC2("\"instance-id\":\"i-00000001\",\"state\":\"stopped\""), NULL},
    };
    struct tb_alert *a = calloc(1, sizeof(*a));

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_fail fail = {0};
        enum tb_err err = tb_webhook_read(tb_bytes_str(cases[i].body), NULL, a, &fail);

        if (err != (cases[i].says == NULL ? TB_OK : TB_EFORMAT) ||
            (cases[i].says != NULL && strstr(fail.text, cases[i].says) == NULL)) {
            fail_msg("%s: %s", cases[i].body, fail.text);
        }
    }
    free(a);
}

static void
an_alert_comes_back_from_json_as_it_was(void **state)
{
    static const char *const files[] = {"webhooks/guardduty/samples/cnc.json",
                                        "webhooks/guardduty/samples/attack-sequence.json",
                                        "webhooks/guardduty/samples/s3.json",
                                        "webhooks/guardduty/samples/port-probe.json",
                                        "webhooks/ec2/samples/terminated.json",
                                        "webhooks/tapbox/samples/full.json"};
    struct tb_alert *back = calloc(1, sizeof(*back));

    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct tb_alert *a = read_file(files[i]);
        struct tb_buf text = TB_BUF_INIT(TB_ALERT_JSON_MAX_BYTES);
        struct tb_json *json = tb_alert_json(a);

        assert_int_equal(tb_json_dump(json, false, &text, NULL), TB_OK);
        assert_int_equal(tb_alert_parse(tb_buf_view(&text), back, NULL), TB_OK);
        assert_memory_equal(back, a, sizeof(*a));
        tb_json_free(json);
        tb_buf_release(&text);
        free(a);
    }
    assert_int_equal(tb_alert_parse(tb_bytes_str("{}"), back, NULL), TB_EFORMAT);
    free(back);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_change_is_news_of_the_instance),
        cmocka_unit_test(our_own_alert_carries_all_of_its_members),
        cmocka_unit_test(each_adapter_names_what_is_wrong),
        cmocka_unit_test(an_alert_comes_back_from_json_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
