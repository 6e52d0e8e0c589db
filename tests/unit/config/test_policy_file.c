/* The policy's file: what it says, what it decides, and what is wrong in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include <tapbox/clock.h>
#include <tapbox/policy_file.h>

#define X16 "xxxxxxxxxxxxxxxx"
#define X63 X16 X16 X16 "xxxxxxxxxxxxxxx"
#define X64 X63 "x"
#define PROFILES "profiles: {p: {filter: all}, q: {filter: peers}}\n"

static struct tb_rules *
parse(const char *text)
{
    struct tb_rules *rules = NULL;
    struct tb_fail fail = {0};

    if (tb_policy_parse(tb_bytes_str(text), "p.yaml", &rules, NULL, NULL, &fail) != TB_OK) {
        fail_msg("%s", fail.text);
    }
    return rules;
}

static struct tb_alert
alert_of(const char *type, double severity)
{
    struct tb_alert a = {.adapter = "guardduty",
                         .id = "f1",
                         .account = "111122223333",
                         .region = "eu-central-1",
                         .resource = "instance",
                         .severity = severity,
                         .source_count = 1};

    (void)tb_str_copy(a.type, sizeof(a.type), type);
    (void)tb_str_copy(a.sources[0].instance, TB_AWS_ID_SIZE, "i-00000001");
    return a;
}

static struct tb_verdict
decide(const struct tb_rules *rules, const struct tb_alert *a,
       const struct tb_source_facts *facts)
{
    struct tb_policy policy = {.bounds = {.default_duration_ns = 900 * TB_NS_PER_S,
                                          .max_duration_ns = 3600 * TB_NS_PER_S},
                               .rules = rules};
    struct tb_verdict v;

    tb_policy_decide(&policy, a, facts, facts != NULL ? 1 : 0, &v);
    return v;
}

static const char *
tag_of(const void *tags, const char *key)
{
    const char *const *pair = tags;

    return strcmp(pair[0], key) == 0 ? pair[1] : NULL;
}

static void
the_first_rule_that_matches_decides(void **state)
{
    static const struct {
        const char *when; /* of the first rule */
        bool matches;
    } cases[] = {
        {"{}", true},
        {"{type: \"Backdoor:*\"}", true},
        {"{type: \"backdoor:ec2/c&c*\"}", true},
        {"{type: [x, \"*!DNS\"]}", true},
        {"{type: \"Backdoor:EC2\"}", false},
        {"{severity: \">=7\"}", true},
        {"{severity: \"<8\"}", false},
        {"{severity: \"<=8\"}", true},
        {"{severity: 8}", true},
        {"{severity: 4-7.9}", false},
        {"{account: \"111122223333\"}", true},
        {"{account: \"444455556666\"}", false},
        {"{region: eu-*}", true},
        {"{region: [us-east-1, us-west-2]}", false},
        {"{resource: [eks, instance]}", true},
        {"{resource: eks}", false},
        {"{sender: guardduty}", true},
        {"{sender: tapbox}", false},
        {"{sample: true}", false},
        {"{archived: true}", false},
        {"{archived: any}", true},
        {"{type: \"Backdoor:*\", severity: 9-10}", false},
    };
    struct tb_alert a = alert_of("Backdoor:EC2/C&CActivity.B!DNS", 8);

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[400];
        struct tb_rules *rules;
        struct tb_verdict v;

        (void)snprintf(text, sizeof(text),
                       PROFILES "rules:\n- {name: first, when: %s, capture: p}\n"
                                "- {name: rest, when: {}, ignore: not wanted}\n",
                       cases[i].when);
        rules = parse(text);
        v = decide(rules, &a, NULL);
        if (strcmp(v.rule, cases[i].matches ? "first" : "rest") != 0) {
            fail_msg("%s: %s", cases[i].when, v.reason);
        }
        assert_int_equal(v.decision,
                         cases[i].matches ? TB_DECISION_CAPTURE : TB_DECISION_IGNORE);
        assert_non_null(strstr(v.reason, cases[i].matches ? "rule 'first'" : "not wanted"));
        tb_rules_free(rules);
    }
}

static void
samples_and_archived_findings_need_a_rule_that_says_so(void **state)
{
    struct tb_rules *plain = parse(PROFILES "rules:\n- {name: r, when: {}, capture: p}\n");
    struct tb_rules *all =
        parse(PROFILES "rules:\n- {name: r, when: {sample: any, archived: any}, capture: p}\n");
    struct tb_alert a = alert_of("t", 8);
    struct tb_verdict v;

    (void)state;
    a.sample = true;
    v = decide(plain, &a, NULL);
    assert_int_equal(v.decision, TB_DECISION_IGNORE);
    assert_int_equal(v.why, TB_WHY_SAMPLE);
    assert_true(v.planned); /* and nothing else */
    assert_string_equal(v.rule, "r");
    assert_int_equal(decide(all, &a, NULL).decision, TB_DECISION_CAPTURE);
    a.sample = false;
    a.archived = true;
    v = decide(plain, &a, NULL);
    assert_int_equal(v.why, TB_WHY_ARCHIVED);
    assert_false(v.planned);
    assert_int_equal(decide(all, &a, NULL).decision, TB_DECISION_CAPTURE);
    tb_rules_free(plain);
    tb_rules_free(all);
}

static void
an_unknown_severity_is_in_no_range_and_no_rule_is_a_reason(void **state)
{
    struct tb_rules *rules =
        parse(PROFILES "rules:\n- {name: low, when: {severity: <4}, ignore: low}\n"
                       "- {name: high, when: {severity: \">=4\"}, capture: p}\n");
    struct tb_alert a = alert_of("Odd:EC2/Thing", 0);
    struct tb_verdict v = decide(rules, &a, NULL);

    (void)state;
    assert_int_equal(v.decision, TB_DECISION_IGNORE);
    assert_int_equal(v.why, TB_WHY_NO_RULE);
    assert_string_equal(v.rule, "");
    assert_non_null(strstr(v.reason, "no rule of the policy matches Odd:EC2/Thing"));
    tb_rules_free(rules);
}

static void
what_only_ec2_can_tell_is_decided_in_a_second_phase(void **state)
{
    static const char *const prod[] = {"env", "prod-1"}, *const other[] = {"env", "test"};
    struct tb_source_facts facts = {
        .vpc = "vpc-1", .subnet = "subnet-1", .tag = tag_of, .tags = prod};
    struct tb_rules *rules =
        parse(PROFILES "rules:\n- {name: sandbox, when: {vpc: vpc-9}, ignore: a sandbox}\n"
                       "- {name: prod, when: {tag: env=prod*}, capture: q}\n"
                       "- {name: rest, when: {}, capture: p}\n");
    struct tb_alert a = alert_of("t", 8);
    struct tb_verdict v = decide(rules, &a, NULL);

    (void)state;
    assert_int_equal(v.decision, TB_DECISION_CAPTURE);
    assert_true(v.request.undecided);
    assert_non_null(strstr(v.reason, "unless the source's VPC, subnet or tags say otherwise"));
    v = decide(rules, &a, &facts);
    assert_false(v.request.undecided);
    assert_string_equal(v.rule, "prod");
    facts.tags = other;
    assert_string_equal(decide(rules, &a, &facts).rule, "rest");
    facts.vpc = "vpc-9";
    v = decide(rules, &a, &facts);
    assert_string_equal(v.rule, "sandbox");
    assert_int_equal(v.decision, TB_DECISION_IGNORE);
    /* what the alert itself carries needs no second phase */
    (void)tb_str_copy(a.sources[0].vpc, TB_AWS_ID_SIZE, "vpc-9");
    v = decide(rules, &a, NULL);
    assert_int_equal(v.decision, TB_DECISION_IGNORE);
    (void)tb_str_copy(a.sources[0].vpc, TB_AWS_ID_SIZE, "vpc-1");
    a.tags_known = true;
    (void)tb_str_copy(a.tags[0].key, sizeof(a.tags[0].key), "env");
    (void)tb_str_copy(a.tags[0].value, sizeof(a.tags[0].value), "prod");
    a.tag_count = 1;
    v = decide(rules, &a, NULL);
    assert_string_equal(v.rule, "prod");
    assert_false(v.request.undecided);
    tb_rules_free(rules);
}

static void
whatever_ec2_says_it_is_ignored_when_no_rule_could_capture(void **state)
{
    struct tb_rules *rules =
        parse(PROFILES "rules:\n- {name: a, when: {vpc: vpc-9}, ignore: a sandbox}\n"
                       "- {name: b, when: {}, ignore: nothing is wanted}\n");
    struct tb_alert a = alert_of("t", 8);
    struct tb_verdict v = decide(rules, &a, NULL);

    (void)state;
    assert_int_equal(v.decision, TB_DECISION_IGNORE);
    assert_false(v.planned);
    tb_rules_free(rules);
}

static void
a_profile_gives_what_it_says_and_leaves_the_rest(void **state)
{
    struct tb_rules *rules =
        parse("profiles:\n  p:\n    duration: 30m\n    max_bytes: 1GiB\n    max_packets: "
              "5000000000\n    sources: primary\n"
              "    filter:\n      - {direction: out, protocol: tcp, remote: 203.0.113.0/24, "
              "remote_port: 443}\n      - {protocol: udp, local_port: 8000-8999}\n"
              "    bpf: tcp port 443\n    packet_length: 128\n    snaplen: 96\n"
              "    object_lock: {mode: GOVERNANCE, retention: 90d, legal_hold: true}\n"
              "    s3: {sse: aws:kms, kms_key: alias/court, storage_class: STANDARD_IA, tags: "
              "case=IR-7}\n"
              "    priority: 7\n    cooldown: 0\n"
              "  long: {duration: 2h, s3: {tags: " X64 X63 "%C3%A4=" X64 X64 X64 X64 "}}\n"
              "rules:\n- {name: r, when: {type: t}, capture: p}\n"
              "- {name: l, when: {}, capture: long}\n");
    struct tb_alert a = alert_of("t", 8);
    struct tb_verdict v = decide(rules, &a, NULL);
    const struct tb_capture_request *r = &v.request;

    (void)state;
    assert_int_equal(r->duration_ns, 1800 * TB_NS_PER_S);
    assert_int_equal(r->max_bytes, 1 << 30);
    assert_int_equal(r->max_packets, 5000000000);
    assert_true(r->primary_only);
    assert_int_equal(r->filter.kind, TB_FILTER_RULES);
    assert_int_equal(r->filter.rule_count, 3);
    assert_true(r->filter.rules[0].egress);
    assert_int_equal(r->filter.rules[0].protocol, 6);
    assert_string_equal(r->filter.rules[0].remote, "203.0.113.0/24");
    assert_int_equal(r->filter.rules[0].remote_from, 443);
    assert_int_equal(r->filter.rules[2].local_to, 8999);
    assert_true(r->filter.amazon_dns);
    assert_string_equal(r->bpf, "tcp port 443");
    assert_int_equal(r->packet_length, 128);
    assert_int_equal(r->snaplen, 96);
    assert_string_equal(r->storage.lock_mode, "GOVERNANCE");
    assert_int_equal(r->storage.retention_ns, 90 * 86400 * TB_NS_PER_S);
    assert_true(r->storage.legal_hold);
    assert_string_equal(r->storage.sse, "aws:kms");
    assert_string_equal(r->storage.kms_key, "alias/court");
    assert_string_equal(r->storage.storage_class, "STANDARD_IA");
    assert_string_equal(r->storage.tags, "case=IR-7");
    assert_int_equal(r->priority, 7);
    assert_int_equal(v.cooldown_ns, 0);
    assert_string_equal(r->rule, "r");
    /* the longest box that the configuration allows stands over it */
    a = alert_of("u", 8);
    assert_int_equal(decide(rules, &a, NULL).request.duration_ns, 3600 * TB_NS_PER_S);
    tb_rules_free(rules);
}

static void
the_guard_stands_over_every_rule(void **state)
{
    static const char *const denied[] = {"secret", "yes"};
    struct tb_source_facts facts = {
        .vpc = "vpc-1", .subnet = "", .tag = tag_of, .tags = denied};
    struct tb_rules *rules = parse(
        "guard: {accounts: [\"111122223333\"], vpcs: [vpc-1], deny_tags: [secret=yes, "
        "never], max_duration: 1m}\n" PROFILES "rules: [{name: r, when: {}, capture: p}]\n");
    struct tb_alert a = alert_of("t", 8);
    char why[TB_CAPTURE_MAX_TEXT];
    struct tb_verdict v = decide(rules, &a, NULL);

    (void)state;
    assert_int_equal(v.request.duration_ns, 60 * TB_NS_PER_S);
    assert_true(tb_guard_forbids(&rules->guard, &facts, why));
    assert_non_null(strstr(why, "secret=yes"));
    facts.tags = (const char *const[]){"secret", "no"};
    assert_false(tb_guard_forbids(&rules->guard, &facts, why));
    facts.vpc = "vpc-2";
    assert_true(tb_guard_forbids(&rules->guard, &facts, why));
    assert_non_null(strstr(why, "vpc-2"));
    (void)tb_str_copy(a.account, sizeof(a.account), "444455556666");
    v = decide(rules, &a, NULL);
    assert_int_equal(v.decision, TB_DECISION_REFUSE);
    assert_int_equal(v.why, TB_WHY_GUARD);
    assert_non_null(strstr(v.reason, "account 444455556666"));
    tb_rules_free(rules);
}

static void
count_line(void *arg, const char *line)
{
    assert_non_null(strstr(line, "p.yaml:"));
    ++*(int *)arg;
}

static void
each_mistake_is_told_with_line_and_key(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "is empty"},
        {"- a\n", "p.yaml:1: has to be a mapping"},
        {"a: [\n", "not YAML"},
        {"guard: {}\n", "rules: is missing"},
        {"gard: {}\nrules: []\n",
         "p.yaml:1: gard: unknown key (there are guard senders profiles rules)"},
        {"rules: {}\n", "p.yaml:1: rules: has to be a list"},
        {"rules:\n- {name: a, when: {}}\n", "p.yaml:2: rule 'a': has to say one of 'capture"},
        {"rules:\n- {name: a, when: {}, ignore: x, capture: y}\n", "has to say one of"},
        {"rules:\n- {when: {}, ignore: x}\n", "p.yaml:2: rule 1: name: is missing"},
        {"rules:\n- {name: a b, when: {}, ignore: x}\n", "name: 'a b' is not a name"},
        {"rules:\n- {name: a, ignore: x}\n- {name: a, ignore: y}\n",
         "line 2 has a rule of this"},
        {"rules:\n- name: a\n  when:\n    severity: high\n  ignore: x\n",
         "p.yaml:4: rule 'a': severity: 'high' is not a range"},
        {"rules:\n- {name: a, when: {severity: 7-4}, ignore: x}\n", "severity: '7-4'"},
        {"rules:\n- {name: a, when: {severity: \">=11\"}, ignore: x}\n", "severity: '>=11'"},
        {"rules:\n- {name: a, when: {typ: x}, ignore: x}\n",
         "typ: unknown key (there are type"},
        {"rules:\n- {name: a, when: {account: 12}, ignore: x}\n", "'12' is not an account"},
        {"rules:\n- {name: a, when: {resource: s3}, ignore: x}\n", "'s3' is not instance, eks"},
        {"rules:\n- {name: a, when: {sample: yes}, ignore: x}\n",
         "'yes' is not true, false or"},
        {"rules:\n- {name: a, when: {}, capture: p}\n",
         "capture: 'p' is not one of the profiles"},
        {"profiles: {p: {duration: soon}}\nrules: []\n",
         "p.yaml:1: profile 'p': duration: 'soon' is not a duration"},
        {"profiles: {p: {duration: 200h}}\nrules: []\n", "a week (168h) at the most"},
        {"profiles: {p: {max_bytes: lots}}\nrules: []\n", "max_bytes: 'lots' is not a size"},
        {"profiles: {p: {max_packets: 0}}\nrules: []\n",
         "'0' is not a whole number of packets"},
        {"profiles: {p: {max_packets: 1k}}\nrules: []\n", "'1k' is not a whole number of"},
        {"profiles: {p: {max_packets: 1000000000000000000}}\nrules: []\n", "is not a whole"},
        {"profiles: {p: {filter: some}}\nrules: []\n", "filter: 'some' is not all, peers"},
        {"profiles: {p: {filter: [{remote: 10.0.0.1/8}]}}\nrules: []\n", "'10.0.0.1/8' is not"},
        {"profiles: {p: {filter: [{remote_port: 443}]}}\nrules: []\n",
         "ports need protocol tcp"},
        {"profiles: {p: {filter: [{}, {}, {}, {}, {}, {}]}}\nrules: []\n", "allows 10 rules"},
        {"profiles: {p: {packet_length: 9000}}\nrules: []\n", "from 64 to 8500"},
        {"profiles: {p: {sources: some}}\nrules: []\n", "'some' is not named, all or primary"},
        {"profiles: {p: {object_lock: {mode: SOFT}}}\nrules: []\n", "'SOFT' is not GOVERNANCE"},
        {"profiles: {p: {object_lock: {retention: 1h}}}\nrules: []\n", "retention needs mode"},
        {"profiles: {p: {s3: {sse: rot13}}}\nrules: []\n", "'rot13' is not AES256, aws:kms or"},
        {"profiles: {p: {s3: {kms_key: k}}}\nrules: []\n", "kms_key needs sse: aws:kms"},
        {"profiles: {p: {s3: {sse: AES256, kms_key: k}}}\nrules: []\n", "kms_key needs sse"},
        {"profiles: {p: {s3: {storage_class: cold}}}\nrules: []\n",
         "'cold' is not a storage class"},
        {"profiles: {p: {s3: {tags: team}}}\nrules: []\n", "'team' is not up to ten tags"},
        {"profiles: {p: {s3: {tags: ''}}}\nrules: []\n", "'' is not up to ten tags"},
        {"profiles: {p: {s3: {tags: a=&b=&c=&d=&e=&f=&g=&h=&i=&j=&k=}}}\nrules: []\n",
         "is not up to ten tags"},
        {"profiles: {p: {s3: {tags: " X64 X64 "x=y}}}\nrules: []\n", "keys up to 128 char"},
        {"profiles: {p: {s3: {tags: x=" X64 X64 X64 X64 "x}}}\nrules: []\n",
         "values up to 256"},
        {"profiles: {p: {s3: {tags: x=%C3%}}}\nrules: []\n", "'x=%C3%' is not up to ten tags"},
        {"profiles: {p: {s3: {tags: x=" X64 X64 X64 X64 "&y=" X64 X64 X64 X64
         "}}}\nrules: []\n",
         "tags: 517 characters, at most 511 are allowed"},
        {"profiles: {p: {s3: {sse: aws:kms, kms_key: " X64 X64 X64 X64 "}}}\nrules: []\n",
         "kms_key: 256 characters, at most 255 are allowed"},
        {"profiles: {p: {s3: {sse: aws:kms, kms_key: 'a key'}}}\nrules: []\n",
         "'a key' is not a KMS key's ARN or id"},
        {"profiles: {p: {}, p: {}}\nrules: []\n", "'p' is there twice"},
        {"profiles: {p: {duration: 1m, duration: 2m}}\nrules: []\n",
         "duration: is there twice"},
        {"guard:\n  accounts: []\nrules: []\n",
         "p.yaml:2: guard: accounts: is empty: leave it out if it is to bound nothing"},
        {"guard: {deny_tags: {}}\nrules: []\n",
         "p.yaml:1: guard: deny_tags: 'a mapping' is not"},
        {"guard: {daily_bytes: 0}\nrules: []\n", "daily_bytes: '0' is not a size"},
    };
    struct tb_rules *rules = NULL;
    int lines = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_fail fail = {0};

        if (tb_policy_parse(tb_bytes_str(cases[i].text), "p.yaml", &rules, NULL, NULL, &fail) !=
                TB_EINVAL ||
            strstr(fail.text, cases[i].says) == NULL) {
            fail_msg("%s: %s", cases[i].text, fail.text);
        }
        assert_null(rules);
    }
    assert_int_equal(
        tb_policy_parse(tb_bytes_str("profiles: {p: {snaplen: 1, x: 2, priority: a}}\n"
                                     "rules: 7\n"),
                        "p.yaml", &rules, count_line, &lines, NULL),
        TB_EINVAL);
    assert_int_equal(lines, 4);
}

static void
the_policy_that_ships_is_good_and_decides_as_documented(void **state)
{
    static const struct {
        const char *type;
        double severity;
        const char *rule;
    } cases[] = {
        {"Backdoor:EC2/C&CActivity.B!DNS", 8, "command-and-control"},
        {"Backdoor:Runtime/C&CActivity.B", 8, "command-and-control"},
        {"Backdoor:EC2/DenialOfService.Dns", 8, "denial-of-service"},
        {"Backdoor:EC2/Spambot", 5, "mining-and-spam"},
        {"CryptoCurrency:EC2/BitcoinTool.B!DNS", 8, "mining-and-spam"},
        {"Recon:EC2/PortProbeUnprotectedPort", 2, "port-probe"},
        {"Recon:EC2/Portscan", 5, "scan"},
        {"UnauthorizedAccess:EC2/SSHBruteForce", 2, "brute-force-target"},
        {"UnauthorizedAccess:EC2/SSHBruteForce", 8, "brute-force-actor"},
        {"UnauthorizedAccess:EC2/TorClient", 8, "command-and-control"},
        {"Trojan:EC2/DNSDataExfiltration", 8, "command-and-control"},
        {"Behavior:EC2/TrafficVolumeUnusual", 5, "exfiltration"},
        {"AttackSequence:EC2/CompromisedInstanceGroup", 9, "attack-sequence"},
        {"Execution:Runtime/NewBinaryExecuted", 5, "anything-on-a-host"},
        {"Policy:EC2/Odd", 2, "low"},
        {"Suricata:EC2/Beacon", 0, "anything-on-a-host"},
    };
    struct tb_rules *rules = NULL;
    struct tb_fail fail = {0};

    (void)state;
    if (tb_policy_parse(tb_policy_default(), "default", &rules, NULL, NULL, &fail) != TB_OK) {
        fail_msg("%s", fail.text);
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_alert a = alert_of(cases[i].type, cases[i].severity);
        struct tb_verdict v = decide(rules, &a, NULL);

        if (strcmp(v.rule, cases[i].rule) != 0) {
            fail_msg("%s: %s", cases[i].type, v.reason);
        }
    }
    tb_rules_free(rules);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_rule_that_matches_decides),
        cmocka_unit_test(samples_and_archived_findings_need_a_rule_that_says_so),
        cmocka_unit_test(an_unknown_severity_is_in_no_range_and_no_rule_is_a_reason),
        cmocka_unit_test(what_only_ec2_can_tell_is_decided_in_a_second_phase),
        cmocka_unit_test(whatever_ec2_says_it_is_ignored_when_no_rule_could_capture),
        cmocka_unit_test(a_profile_gives_what_it_says_and_leaves_the_rest),
        cmocka_unit_test(the_guard_stands_over_every_rule),
        cmocka_unit_test(each_mistake_is_told_with_line_and_key),
        cmocka_unit_test(the_policy_that_ships_is_good_and_decides_as_documented),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
