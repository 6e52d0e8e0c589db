/* Senders that the policy describes: how bodies are read, refused, and which sender they are
 * of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/policy_file.h>

#define RULES "\nrules: [{name: r, when: {}, ignore: x}]\n"

static struct tb_rules *
parse(const char *text)
{
    struct tb_rules *rules = NULL;
    struct tb_fail fail = {0};

    if (tb_policy_parse(tb_bytes_str(text), "p.yaml", &rules, NULL, NULL, &fail) != TB_OK) {
        fail_msg("%s: %s", text, fail.text);
    }
    return rules;
}

static const char tool[] =
    "senders:\n"
    "  tool:\n"
    "    match: {/kind: Alarm, /who: \"*\"}\n"
    "    id: [/id, /meta/id]\n"
    "    updated: /changed\n"
    "    hash: [/rule, /at]\n"
    "    type: [\"Tool:{/rule}\", Tool:other]\n"
    "    title: \"{/rule} on {/who}\"\n"
    "    severity: /level\n"
    "    severities: {high: 8, \"*\": 2}\n"
    "    severity_most: 100\n"
    "    time: /at\n"
    "    account: /account\n"
    "    source: [/instance, /who, /a~1b]\n"
    "    hosts: {web-7: i-0a1b2c3d4e5f60718, 10.0.0.5: eni-0b1c2d3e4f5061728}\n"
    "    sample: {/test: \"true\"}\n"
    "    archived: {/state: closed, /by: \"*\"}\n"
    "    own: [10.0.0.0/8, \"2001:db8:1::/48\", 192.0.2.128/25]\n"
    "    indicators:\n"
    "    - {ip: /peers, port: /port, local_port: /lport, protocol: /proto, direction: /dir}\n"
    "    - {domain: /names}\n"
    "  later:\n"
    "    match: {/kind: alarm}\n"
    "    id: /id\n"
    "    type: Later\n"
    "    source: /who\n" RULES;

struct read {
    struct tb_rules *rules;
    struct tb_alert *alert;
    struct tb_fail fail;
};

static int
set_up(void **state)
{
    struct read *r = calloc(1, sizeof(*r));

    assert_non_null(r);
    r->rules = parse(tool);
    r->alert = calloc(1, sizeof(*r->alert));
    assert_non_null(r->alert);
    *state = r;
    return 0;
}

static int
tear_down(void **state)
{
    struct read *r = *state;

    tb_rules_free(r->rules);
    free(r->alert);
    free(r);
    return 0;
}

static enum tb_err
read_as(struct read *r, const char *sender, const char *body)
{
    const struct tb_webhook_how how = {.senders = &r->rules->senders, .sender = sender};

    r->fail = (struct tb_fail){0};
    return tb_webhook_read(tb_bytes_str(body), &how, r->alert, &r->fail);
}

static void
everything_that_a_mapping_names_is_read(void **state)
{
    struct read *r = *state;
    struct tb_alert *a = r->alert;

    assert_int_equal(
        read_as(r, "tool",
                "{\"id\":417,\"changed\":\"2026-01-02T04:04:05+01:00\",\"rule\":\"C2\","
                "\"who\":\"web-7\",\"level\":\"HIGH\",\"at\":1767323045678,"
                "\"account\":\"444455556666\",\"peers\":[\"203.0.113.7\",\"10.1.2.3\",null,"
                "\"2001:db8:1::7\"],\"port\":\"443\",\"lport\":49812,\"proto\":\"TCP\","
                "\"dir\":\"egress\",\"names\":\"files.example.net\"}"),
        TB_OK);
    assert_string_equal(a->adapter, "tool");
    assert_string_equal(a->id, "417");
    assert_string_equal(a->key, "417/2026-01-02T03:04:05.000Z");
    assert_string_equal(a->type, "Tool:C2");
    assert_string_equal(a->summary, "C2 on web-7");
    assert_true(a->severity > 7.9 && a->severity < 8.1);
    assert_int_equal(a->seen_utc_ns, 1767323045678000000);
    assert_string_equal(a->account, "444455556666");
    assert_int_equal(a->source_count, 1);
    assert_string_equal(a->sources[0].instance, "i-0a1b2c3d4e5f60718");
    assert_int_equal(a->indicator_count, 2);
    assert_string_equal(a->indicators[0].value, "203.0.113.7");
    assert_int_equal(a->indicators[0].port, 443);
    assert_int_equal(a->indicators[0].local_port, 49812);
    assert_string_equal(a->indicators[0].protocol, "tcp");
    assert_string_equal(a->indicators[0].direction, "outbound");
    assert_string_equal(a->indicators[1].value, "files.example.net");
    assert_false(a->sample || a->archived);
}

static void
what_leads_to_nothing_or_to_something_else_is_named(void **state)
{
#define ID "\"id\":\"x\",\"rule\":\"r\""
    static const struct {
        const char *body;
        enum tb_err err;
        const char *says; /* of the refusal, or of nothing_to_mirror */
    } cases[] = {
        {"{}", TB_EFORMAT, "sender tool: hash: there is nothing at /rule, /at"},
        {"{\"id\":null,\"rule\":{}}", TB_EFORMAT, "hash: there is nothing"},
        {"{" ID "}", TB_OK, "source: there is nothing at /instance, /who, /a~1b"},
        {"{" ID ",\"who\":\"web-8\"}", TB_OK, "'web-8' names no instance or interface"},
        {"{" ID ",\"who\":\"i-123\"}", TB_OK, "'i-123' names no instance or interface"},
        {"{" ID ",\"who\":\"WEB-7\"}", TB_OK, ""},
        {"{" ID ",\"who\":[\"x\",\"10.0.0.5\"]}", TB_OK, ""},
        {"{" ID ",\"who\":\"x\",\"a/b\":\"arn:aws:ec2:::instance/i-0a1b2c3d\"}", TB_OK, ""},
        {"{" ID ",\"who\":\"web-7\",\"account\":\"12\"}", TB_EFORMAT,
         "account: '12' at /account is not 12 digits"},
        {"[]", TB_EFORMAT, "the list of findings is empty"},
        {"[3]", TB_EFORMAT, "not a JSON object"},
        {"7", TB_EFORMAT, "not JSON"},
    };
    struct read *r = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum tb_err err = read_as(r, "tool", cases[i].body);
        const char *said = err == TB_OK ? r->alert->nothing_to_mirror : r->fail.text;

        if (err != cases[i].err || strstr(said, cases[i].says) == NULL ||
            (cases[i].says[0] == 0 && said[0] != 0)) {
            fail_msg("%s: %s: %s", cases[i].body, tb_err_name(err), said);
        }
    }
    assert_int_equal(read_as(r, "toll", "{}"), TB_ENOTFOUND);
    assert_non_null(strstr(r->fail.text, "describes no sender 'toll'"));
}

static void
severities_are_looked_up_or_scaled(void **state)
{
    static const struct {
        const char *level;
        double is;
    } cases[] = {{"\"high\"", 8}, {"73", 7.3}, {"\"73\"", 7.3}, {"0", 0}, {"101", 2},
                 {"\"odd\"", 2},  {"null", 0}, {"100", 10},     {"-1", 2}};
    struct read *r = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char body[128];

        (void)snprintf(body, sizeof(body), "{" ID ",\"who\":\"web-7\",\"level\":%s}",
                       cases[i].level);
        assert_int_equal(read_as(r, "tool", body), TB_OK);
        if (r->alert->severity < cases[i].is - 1e-9 ||
            r->alert->severity > cases[i].is + 1e-9) {
            fail_msg("%s: %f", body, r->alert->severity);
        }
    }
}

static void
times_are_read_as_senders_write_them(void **state)
{
    static const char *const same[] = {"\"2026-01-02T03:04:05.678Z\"",
                                       "\"2026-01-02T03:04:05.678000+0000\"",
                                       "\"2026-01-02T04:04:05.678+0100\"",
                                       "1767323045678",
                                       "\"1767323045678\"",
                                       "1767323045.678",
                                       "1767323045678000",
                                       "1767323045678000000"};
    struct read *r = *state;

    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        char body[128];
        int64_t off_ns;

        (void)snprintf(body, sizeof(body), "{" ID ",\"who\":\"web-7\",\"at\":%s}", same[i]);
        assert_int_equal(read_as(r, "tool", body), TB_OK);
        off_ns = r->alert->seen_utc_ns - 1767323045678000000;
        if (off_ns > 1000 || off_ns < -1000) { /* what a double can hold */
            fail_msg("%s: off by %lld ns", same[i], (long long)off_ns);
        }
    }
    assert_int_equal(read_as(r, "tool", "{" ID ",\"who\":\"web-7\",\"at\":\"noon\"}"), TB_OK);
    assert_int_equal(r->alert->seen_utc_ns, 0);
}

static void
what_has_no_id_is_known_by_its_fields(void **state)
{
    struct read *r = *state;
    char key[TB_CAPTURE_MAX_TEXT];

    assert_int_equal(read_as(r, "tool", "{\"rule\":\"a\",\"at\":\"b\",\"who\":\"web-7\"}"),
                     TB_OK);
    (void)tb_str_copy(key, sizeof(key), r->alert->key);
    assert_int_equal(strncmp(key, "sha256:", 7), 0);
    assert_int_equal(
        read_as(r, "tool", "{\"at\":\"b\",\"more\":1,\"rule\":\"a\",\"who\":\"web-7\"}"),
        TB_OK);
    assert_string_equal(r->alert->key, key);
    assert_int_equal(read_as(r, "tool", "{\"rule\":\"ab\",\"at\":\"\",\"who\":\"web-7\"}"),
                     TB_OK);
    assert_string_not_equal(r->alert->key, key);
    assert_int_equal(read_as(r, "tool", "{\"rule\":\"a\",\"who\":\"web-7\"}"), TB_OK);
    assert_string_not_equal(r->alert->key, key);
}

static void
updates_that_begin_alike_are_two(void **state)
{
#define LONG "a state that goes on for longer than there is room for in the key of an alert, "
    struct read *r = *state;
    char key[sizeof(r->alert->key)];

    assert_int_equal(read_as(r, "tool", "{" ID ",\"changed\":\"" LONG "1\"}"), TB_OK);
    (void)tb_str_copy(key, sizeof(key), r->alert->key);
    assert_int_equal(read_as(r, "tool", "{" ID ",\"changed\":\"" LONG "1\"}"), TB_OK);
    assert_string_equal(r->alert->key, key);
    assert_int_equal(read_as(r, "tool", "{" ID ",\"changed\":\"" LONG "2\"}"), TB_OK);
    assert_string_not_equal(r->alert->key, key);
#undef LONG
}

static void
a_body_finds_its_sender_after_the_adapters(void **state)
{
    struct read *r = *state;

    assert_int_equal(read_as(r, NULL, "{\"kind\":\"alarm\",\"who\":\"web-7\"," ID "}"), TB_OK);
    assert_string_equal(r->alert->adapter, "tool");
    assert_int_equal(read_as(r, NULL, "{\"kind\":\"alarm\"," ID "}"), TB_OK);
    assert_string_equal(r->alert->adapter, "later");
    assert_int_equal(read_as(r, NULL, "{\"kind\":\"alarms\"," ID "}"), TB_ENOTFOUND);
    assert_int_equal(read_as(r, NULL,
                             "{\"kind\":\"alarm\",\"who\":\"web-7\",\"tapbox\":1," ID ","
                             "\"type\":\"t\",\"source\":\"i-00000001\"}"),
                     TB_EFORMAT); /* tapbox's own alert has no such members */
    assert_non_null(strstr(r->fail.text, "tapbox alert"));
    assert_int_equal(read_as(r, "tool",
                             "{" ID ",\"who\":\"web-7\",\"test\":true,\"state\":\"Closed\","
                             "\"by\":0}"),
                     TB_OK);
    assert_true(r->alert->sample && r->alert->archived);
}

static void
mistakes_in_a_mapping_name_line_and_key(void **state)
{
#define SENDER(more) "senders:\n  s:\n    id: /i\n    type: t\n    source: /s\n" more RULES
#define FOUR "{ip: /a}, {ip: /b}, {domain: /c}, {domain: /d}"
#define EIGHT FOUR ", " FOUR
    static const struct {
        const char *text, *says;
    } cases[] = {
        {SENDER(""), NULL},
        {"senders: []" RULES, "p.yaml:1: senders: has to be a mapping"},
        {"senders: {S: {}}" RULES, "p.yaml:1: senders: 'S' is no name for a sender"},
        {"senders: {guardduty: {}}" RULES, "none of tapbox's own adapters"},
        {"senders: {s: {type: t, source: /s}}" RULES, "sender 's': id: is missing (or hash"},
        {"senders: {s: {id: /i, source: /s}}" RULES, "sender 's': type: is missing"},
        {"senders: {s: {id: /i, type: t}}" RULES, "sender 's': source: is missing"},
        {SENDER("    idd: /x\n"), "p.yaml:6: sender 's': idd: unknown key (there are match"},
        {SENDER("    title: /a~2\n"), "p.yaml:6: sender 's': title: '/a~2' is no value"},
        {SENDER("    title: \"{a}\"\n"), "title: '{a}' is no value"},
        {SENDER("    title: \"{/a\"\n"), "is no value"},
        {SENDER("    title: \"/a}\"\n"), NULL}, /* a key may have it */
        {SENDER("    title: \"x}\"\n"), "is no value"},
        {SENDER("    match: /a\n"), "match: has to be a mapping"},
        {SENDER("    match: {a: b}\n"), "p.yaml:6: sender 's': match: 'a' has to be one of"},
        {SENDER("    severities: {high: 11}\n"), "'high' has to be one of the texts with"},
        {SENDER("    severity_most: 0\n"), "the highest severity of the sender"},
        {SENDER("    hosts: {web: web-7}\n"), "'web' has to be one of the texts with an"},
        {SENDER("    own: [10.0.0.0/33]\n"), "'10.0.0.0/33' is no network"},
        {SENDER("    own: [10.0.0/8]\n"), "is no network"},
        {SENDER("    account: /a\n    accounts: [\"111122223333\"]\n"), NULL},
        {SENDER("    account: /a\n    accounts: [here]\n"),
         "'here' is not an account of 12 digits"},
        {SENDER("    accounts: [\"111122223333\"]\n"), "accounts: needs account"},
        {SENDER("    account: /a\n    accounts: []\n"), "accounts: is empty"},
        {SENDER("    indicators: [{port: /p}]\n"), "where its ip or domain stands"},
        {SENDER("    indicators: {ip: /p}\n"), "indicators: has to be a list"},
        {SENDER("    indicators: [" EIGHT "]\n    indicators: [" EIGHT "]\n"),
         "sender 's': indicators: is there twice"},
        {SENDER("  s: {}\n"), "'s' is there twice"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_rules *rules = NULL;
        struct tb_fail fail = {0};
        enum tb_err err =
            tb_policy_parse(tb_bytes_str(cases[i].text), "p.yaml", &rules, NULL, NULL, &fail);

        if (err != (cases[i].says == NULL ? TB_OK : TB_EINVAL) ||
            (cases[i].says != NULL && strstr(fail.text, cases[i].says) == NULL)) {
            fail_msg("%s: %s", cases[i].text, fail.text);
        }
        tb_rules_free(rules);
    }
}

static void
own_networks_hold_what_lies_in_them(void **state)
{
    static const struct {
        const char *ip;
        bool own;
    } cases[] = {{"10.255.0.1", true},      {"11.0.0.1", false},       {"192.0.2.127", false},
                 {"192.0.2.128", true},     {"2001:db8:1:2::3", true}, {"2001:db8:2::1", false},
                 {"::ffff:10.0.0.1", true}, {"::ffff:11.0.0.1", false}};
    struct read *r = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char body[160];

        (void)snprintf(body, sizeof(body), "{" ID ",\"who\":\"web-7\",\"peers\":\"%s\"}",
                       cases[i].ip);
        assert_int_equal(read_as(r, "tool", body), TB_OK);
        assert_int_equal(r->alert->indicator_count, cases[i].own ? 0 : 1);
    }
}

static void
long_texts_that_begin_alike_are_two_alerts(void **state)
{
    static const char *const members[] = {"id", "rule"}; /* the second one: by its hash */
    struct read *r = *state;
    char text[600];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        char keys[2][TB_CAPTURE_MAX_TEXT];

        for (int k = 0; k < 2; k++) {
            char body[800];

            (void)snprintf(body, sizeof(body), "{\"%s\":\"%s%d\",\"who\":\"web-7\"}",
                           members[i], text, k);
            assert_int_equal(read_as(r, "tool", body), TB_OK);
            (void)tb_str_copy(keys[k], sizeof(keys[k]), r->alert->key);
            assert_int_equal(read_as(r, "tool", body), TB_OK);
            assert_string_equal(r->alert->key, keys[k]);
        }
        assert_string_not_equal(keys[0], keys[1]);
    }
}

static void
values_that_are_put_together_count_whole(void **state)
{
    static const char mapped[] = "senders:\n  s:\n    id: \"{/a}-{/b}\"\n    type: t\n"
                                 "    source: /who\n" RULES;
    struct read *r = *state;
    char text[600];
    char keys[4][TB_CAPTURE_MAX_TEXT];

    tb_rules_free(r->rules);
    r->rules = parse(mapped);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    for (int k = 0; k < 4; k++) {
        char body[1600];

        /* the first is cut in front of the second, or is as long as that takes */
        (void)snprintf(body, sizeof(body),
                       "{\"a\":\"%.*s\",\"b\":\"%d%s\",\"who\":\"i-0a1b2c3d\"}",
                       k < 2 ? 599 : 300, text, k % 2, k < 2 ? "" : text + 300);
        assert_int_equal(read_as(r, "s", body), TB_OK);
        (void)tb_str_copy(keys[k], sizeof(keys[k]), r->alert->key);
        for (int before = 0; before < k; before++) {
            assert_string_not_equal(keys[k], keys[before]);
        }
        assert_int_equal(read_as(r, "s", body), TB_OK);
        assert_string_equal(r->alert->key, keys[k]);
    }
    /* short ones stay what they are */
    assert_int_equal(read_as(r, "s", "{\"a\":\"x\",\"b\":7,\"who\":\"i-0a1b2c3d\"}"), TB_OK);
    assert_string_equal(r->alert->id, "x-7");
    assert_int_equal(read_as(r, "s", "{\"a\":\"x\",\"who\":\"i-0a1b2c3d\"}"), TB_EFORMAT);
}

static void
a_sender_has_nothing_captured_outside_its_accounts(void **state)
{
    static const char mapped[] =
        "senders:\n  s:\n    id: /id\n    type: t\n    account: /account\n"
        "    accounts: [\"111122223333\", \"4*\"]\n    source: /who\n"
        "profiles: {p: {}}\nrules: [{name: r, when: {}, capture: p}]\n";
    static const struct {
        const char *account;
        enum tb_decision decision;
        const char *says;
    } cases[] = {
        {"\"111122223333\"", TB_DECISION_CAPTURE, "rule 'r'"},
        {"444455556666", TB_DECISION_CAPTURE, "rule 'r'"},
        {"\"222233334444\"", TB_DECISION_REFUSE,
         "sender s may not have anything captured in account 222233334444"},
        {"null", TB_DECISION_REFUSE, "in an account it does not name"},
    };
    struct read *r = *state;
    struct tb_policy policy = {.bounds = {.default_duration_ns = 60, .max_duration_ns = 60}};

    tb_rules_free(r->rules);
    r->rules = parse(mapped);
    policy.rules = r->rules;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_verdict *verdict = calloc(1, sizeof(*verdict));
        char body[160];

        assert_non_null(verdict);
        (void)snprintf(body, sizeof(body),
                       "{\"id\":\"x\",\"account\":%s,\"who\":\"i-0a1b2c3d\"}",
                       cases[i].account);
        assert_int_equal(read_as(r, "s", body), TB_OK);
        tb_policy_decide(&policy, r->alert, NULL, 0, verdict);
        assert_int_equal(verdict->decision, cases[i].decision);
        assert_non_null(strstr(verdict->reason, cases[i].says));
        /* what is of another sender is none of its business */
        (void)tb_str_copy(r->alert->adapter, sizeof(r->alert->adapter), "guardduty");
        tb_policy_decide(&policy, r->alert, NULL, 0, verdict);
        assert_int_equal(verdict->decision, TB_DECISION_CAPTURE);
        free(verdict);
    }
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(everything_that_a_mapping_names_is_read),
        CASE(what_leads_to_nothing_or_to_something_else_is_named),
        CASE(severities_are_looked_up_or_scaled),
        CASE(times_are_read_as_senders_write_them),
        CASE(long_texts_that_begin_alike_are_two_alerts),
        CASE(values_that_are_put_together_count_whole),
        CASE(a_sender_has_nothing_captured_outside_its_accounts),
        CASE(what_has_no_id_is_known_by_its_fields),
        CASE(updates_that_begin_alike_are_two),
        CASE(a_body_finds_its_sender_after_the_adapters),
        CASE(own_networks_hold_what_lies_in_them),
        cmocka_unit_test(mistakes_in_a_mapping_name_line_and_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
