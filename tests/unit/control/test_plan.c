#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>

#include "../../../src/control/plan.h"

static struct tb_ec2_interface
usable_interface(const char *eni)
{
    struct tb_ec2_interface one = {0};

    (void)strcpy(one.eni, eni);
    (void)strcpy(one.instance, "i-0123456789abcdef0");
    (void)strcpy(one.status, "in-use");
    (void)strcpy(one.interface_type, "interface");
    (void)strcpy(one.mac, "02:00:00:00:00:01");
    (void)strcpy(one.ip, "10.0.0.5");
    return one;
}

static void
what_cannot_be_mirrored_is_named_with_its_reason(void **state)
{
    struct tb_ec2_interface at[6];
    struct tb_ec2_interfaces found = {at, 6};
    struct tb_capture_request request = {.instance = "i-0123456789abcdef0"};
    struct tb_capture_source sources[TB_CAPTURE_MAX_LISTED];
    size_t count = 0;

    (void)state;
    at[0] = usable_interface("eni-00000001");
    at[1] = usable_interface("eni-00000002"); /* ours */
    at[2] = usable_interface("eni-00000003");
    (void)strcpy(at[2].interface_type, "lambda");
    at[3] = usable_interface("eni-00000004");
    (void)strcpy(at[3].status, "available");
    at[4] = usable_interface("eni-00000005");
    (void)strcpy(at[4].instance, "i-0fffffffffffffff0");
    at[5] = usable_interface("eni-00000006");
    at[5].ip[0] = 0;
    assert_int_equal(tb_plan_sources(&request, &found, NULL, "eni-00000002", sources, &count),
                     1);
    assert_int_equal(count, 6);
    assert_string_equal(sources[0].gap, "");
    assert_string_equal(sources[0].ip, "10.0.0.5");
    assert_string_equal(sources[1].gap,
                        "it is tapbox's own mirror target: name another source");
    assert_string_equal(
        sources[2].gap,
        "interfaces of type 'lambda' cannot be mirrored: name the instances behind it");
    assert_string_equal(sources[3].gap, "it is not attached to an instance: attach it, or name "
                                        "the interface that has taken its place");
    assert_string_equal(sources[4].gap,
                        "it is attached to another instance than the one named, "
                        "i-0fffffffffffffff0: name that one, or another interface");
    assert_string_equal(
        sources[5].gap,
        "it has no private IPv4 address, which copies are sent from: give it one");
}

static void
interfaces_beyond_the_most_are_named_gaps(void **state)
{
    struct tb_ec2_interface at[TB_CAPTURE_MAX_LISTED + 3];
    struct tb_ec2_interfaces found = {at, TB_CAPTURE_MAX_SOURCES + 2};
    struct tb_capture_request request = {.instance = "i-0123456789abcdef0"};
    struct tb_capture_source sources[TB_CAPTURE_MAX_LISTED];
    size_t count = 0, last = TB_CAPTURE_MAX_LISTED - 1;

    (void)state;
    for (size_t i = 0; i < TB_CAPTURE_MAX_LISTED + 3; i++) {
        char eni[TB_AWS_ID_SIZE];

        (void)snprintf(eni, sizeof(eni), "eni-%08zx", i);
        at[i] = usable_interface(eni);
    }
    assert_int_equal(tb_plan_sources(&request, &found, NULL, "eni-x", sources, &count),
                     TB_CAPTURE_MAX_SOURCES);
    assert_int_equal(count, TB_CAPTURE_MAX_SOURCES + 2);
    assert_string_equal(sources[15].gap, "");
    for (size_t i = TB_CAPTURE_MAX_SOURCES; i < count; i++) {
        assert_string_equal(sources[i].eni, at[i].eni);
        assert_string_equal(
            sources[i].gap,
            "a capture takes 16 interfaces: name this one in a request of its own");
    }
    /* so many that not all can be listed: the last says how many there are */
    found.count = TB_CAPTURE_MAX_LISTED + 3;
    for (size_t i = 0; i < last; i++) {
        (void)strcpy(at[i].status, "available");
    }
    assert_int_equal(tb_plan_sources(&request, &found, NULL, "eni-x", sources, &count), 0);
    assert_int_equal(count, TB_CAPTURE_MAX_LISTED);
    assert_non_null(strstr(sources[last].gap, "of 35 interfaces this one and those behind"));
}

static void
our_session_comes_after_everyone_elses(void **state)
{
    struct tb_ec2_tag ours[] = {{"tapbox:owner", "tapbox"}};
    struct tb_ec2_session at[3] = {0};
    struct tb_ec2_sessions sessions = {.at = at, .count = 3};

    (void)state;
    (void)strcpy(at[0].eni, "eni-1");
    at[0].session_number = 7;
    (void)strcpy(at[1].eni, "eni-1");
    at[1].session_number = 3;
    at[1].tags = (struct tb_ec2_tags){ours, 1};
    (void)strcpy(at[2].eni, "eni-2");
    at[2].session_number = 32766;
    assert_int_equal(tb_plan_session_number(&sessions, "eni-1"), 8);
    assert_int_equal(tb_plan_session_number(&sessions, "eni-2"), 0);
    assert_int_equal(tb_plan_session_number(&sessions, "eni-3"), 1);
    assert_int_equal(tb_plan_foreign(&sessions, "eni-1", "tapbox"), 1);
    assert_int_equal(tb_plan_foreign(&sessions, "eni-1", "another"), 2);
}

static void
the_pause_grows_to_its_ceiling_and_is_never_nothing(void **state)
{
    (void)state;
    for (uint32_t attempt = 0; attempt < 80; attempt++) {
        int64_t ceiling = attempt < 6 ? (1000LL << attempt) : 30000;

        for (int i = 0; i < 50; i++) {
            int64_t pause = tb_plan_backoff_ns(attempt, 1000, 30000);

            assert_in_range(pause, 100, ceiling > 30000 ? 30000 : ceiling);
        }
    }
}

static void
a_capture_stops_when_asked_or_at_its_deadline(void **state)
{
    struct tb_capture capture = {.state = TB_CAPTURE_RECORDING};

    (void)state;
    tb_clock_fake(1000 * TB_NS_PER_S, 1000 * TB_NS_PER_S);
    assert_int_equal(tb_plan_stop(&capture), TB_STOP_NONE); /* no deadline yet */
    capture.deadline = tb_deadline_in(TB_NS_PER_S);
    assert_int_equal(tb_plan_stop(&capture), TB_STOP_NONE);
    capture.stop_asked = true;
    assert_int_equal(tb_plan_stop(&capture), TB_STOP_OPERATOR);
    capture.stop_asked = false;
    tb_clock_fake_advance(TB_NS_PER_S);
    assert_int_equal(tb_plan_stop(&capture), TB_STOP_DEADLINE);
    tb_clock_real();
}

static void
the_sweep_touches_only_what_is_ours_and_expired(void **state)
{
    static const struct {
        struct tb_ec2_tag tags[3];
        size_t count;
        enum tb_sweep_verdict verdict;
    } cases[] = {
        {{{"Name", "x"}}, 1, TB_SWEEP_FOREIGN},
        {{{"tapbox:owner", "other"}, {"tapbox:expires", "2020-01-01T00:00:00Z"}},
         2,
         TB_SWEEP_FOREIGN},
        {{{"tapbox:expires", "2020-01-01T00:00:00Z"}}, 1, TB_SWEEP_FOREIGN},
        {{{"tapbox:owner", "tapbox"}, {"tapbox:expires", "2026-01-02T03:04:05Z"}},
         2,
         TB_SWEEP_EXPIRED},
        {{{"tapbox:owner", "tapbox"}, {"tapbox:expires", "2026-01-02T03:04:06Z"}},
         2,
         TB_SWEEP_ALIVE},
        {{{"tapbox:owner", "tapbox"}, {"tapbox:expires", "soon"}}, 2, TB_SWEEP_UNCLEAR},
        {{{"tapbox:owner", "tapbox"}}, 1, TB_SWEEP_UNCLEAR},
        {{{"tapbox:owner", "tapbox"}, {"tapbox:standing", "target"}}, 2, TB_SWEEP_STANDING},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_ec2_tag copy[3];
        struct tb_ec2_tags tags = {copy, cases[i].count};

        memcpy(copy, cases[i].tags, sizeof(copy));
        assert_int_equal(tb_plan_sweep(&tags, "tapbox", 1767323045), cases[i].verdict);
    }
}

static void
a_request_that_was_written_down_tells_what_it_asked_for(void **state)
{
    static const char params[] =
        "Action=CreateTrafficMirrorSession&Version=2016-11-15&TrafficMirrorTargetId=tmt-1"
        "&TagSpecification.1.ResourceType=traffic-mirror-session"
        "&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=cap-1"
        "&TagSpecification.1.Tag.2.Key=tapbox%3Aowner"
        "&TagSpecification.1.Tag.2.Value=team%20a%2Fb&ClientToken=x";
    char out[11];

    (void)state;
    assert_true(tb_plan_param(params, "TrafficMirrorTargetId", out, sizeof(out)));
    assert_string_equal(out, "tmt-1");
    assert_true(tb_plan_param(params, "Version", out, sizeof(out)));
    assert_string_equal(out, "2016-11-15");
    assert_false(tb_plan_param(params, "Version", out, sizeof(out) - 1)); /* no room */
    assert_false(tb_plan_param(params, "MirrorTargetId", out, sizeof(out)));
    assert_false(tb_plan_param("", "Action", out, sizeof(out)));
    assert_false(tb_plan_param("A=%4", "A", out, sizeof(out)));
    assert_false(tb_plan_param("A=%", "A", out, sizeof(out)));
    assert_false(tb_plan_param("A=%zz", "A", out, sizeof(out)));
    assert_true(tb_plan_param_tag(params, "tapbox:owner", out, sizeof(out)));
    assert_string_equal(out, "team a/b");
    assert_false(tb_plan_param_tag(params, "tapbox:capture", out, sizeof(out)));
    assert_false(tb_plan_param_tag("", "Name", out, sizeof(out)));
}

static const struct tb_ec2_rule_spec any_rule = {.egress = true,
                                                 .number = 200,
                                                 .protocol = -1,
                                                 .source_port_from = -1,
                                                 .source_port_to = -1,
                                                 .destination_port_from = -1,
                                                 .destination_port_to = -1,
                                                 .source_cidr = "::/0",
                                                 .destination_cidr = "2001:db8::/32"};
static const struct tb_ec2_rule any_found = {.id = "tmfr-1",
                                             .egress = true,
                                             .number = 200,
                                             .protocol = -1,
                                             .source_port_from = -1,
                                             .source_port_to = -1,
                                             .destination_port_from = -1,
                                             .destination_port_to = -1,
                                             .source_cidr = "::/0",
                                             .destination_cidr = "2001:db8::/32"};

static void
a_rule_is_the_same_however_ec2_writes_it(void **state)
{
    struct tb_ec2_rule found = any_found;

    (void)state;
    assert_true(tb_plan_is_rule(&found, &any_rule));
    found.protocol = 0;
    (void)strcpy(found.source_cidr, "0:0::0/0");
    (void)strcpy(found.destination_cidr, "2001:0DB8:0::/32");
    found.source_port_from = 0;
    found.source_port_to = 65535;
    found.destination_port_from = found.destination_port_to = 0;
    assert_true(tb_plan_is_rule(&found, &any_rule));
}

static void
a_rule_that_was_changed_is_another(void **state)
{
    struct tb_ec2_rule_spec tcp = any_rule;
    struct tb_ec2_rule found[8];

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        found[i] = any_found;
    }
    found[0].egress = false;
    found[1].number = 100;
    found[2].reject = true;
    found[3].protocol = 17;
    found[4].destination_port_from = found[4].destination_port_to = 53;
    (void)strcpy(found[5].destination_cidr, "2001:db8::/33");
    (void)strcpy(found[6].source_cidr, "0.0.0.0/0");
    (void)strcpy(found[7].source_cidr, "pl-1");
    for (size_t i = 0; i < 8; i++) {
        assert_false(tb_plan_is_rule(&found[i], &any_rule));
    }
    tcp.protocol = 6;
    tcp.destination_port_from = 443;
    tcp.destination_port_to = 444;
    assert_false(tb_plan_is_rule(&any_found, &tcp));
    found[0] = any_found;
    found[0].protocol = 6;
    found[0].destination_port_from = 443;
    found[0].destination_port_to = 444;
    assert_true(tb_plan_is_rule(&found[0], &tcp));
    found[0].destination_port_to = 443;
    assert_false(tb_plan_is_rule(&found[0], &tcp));
}

static void
a_session_that_was_changed_is_told_from_what_was_asked_for(void **state)
{
    static const char params[] = "TrafficMirrorTargetId=tmt-1&TrafficMirrorFilterId=tmf-1"
                                 "&SessionNumber=2&VirtualNetworkId=7";
    static const char cut[] = "SessionNumber=2&VirtualNetworkId=7&PacketLength=200";
    const struct tb_ec2_session asked = {
        .id = "tms-1", .target = "tmt-1", .filter = "tmf-1", .session_number = 2, .vni = 7};
    struct tb_ec2_session found = asked;
    struct tb_ec2_session_change change;
    char target[TB_AWS_ID_SIZE], said[TB_CAPTURE_MAX_TEXT];

    (void)state;
    assert_false(tb_plan_session_change(&found, params, "tmf-1", target, &change, said));
    assert_false(tb_plan_session_change(&found, params, NULL, target, &change, said));
    found.packet_length = 8500; /* as whole packets are told of some targets */
    assert_false(tb_plan_session_change(&found, params, "tmf-1", target, &change, said));

    (void)strcpy(found.target, "tmt-2");
    (void)strcpy(found.filter, "tmf-2");
    found.session_number = 3;
    found.vni = 8;
    found.packet_length = 60;
    assert_true(tb_plan_session_change(&found, params, "tmf-1", target, &change, said));
    assert_string_equal(said, "target tmt-2 for tmt-1, filter tmf-2 for tmf-1, VNI 8 for 7, "
                              "number 3 for 2, packet length 60 for whole packets");
    assert_string_equal(change.target, "tmt-1");
    assert_string_equal(change.filter, "tmf-1");
    assert_int_equal(change.session_number, 2);
    assert_int_equal(change.vni, 7);
    assert_true(change.whole_packets && change.packet_length == 0);

    found = asked;
    assert_true(tb_plan_session_change(&found, cut, NULL, target, &change, said));
    assert_string_equal(said, "packet length 0 for 200");
    assert_int_equal(change.packet_length, 200);
    assert_true(change.target == NULL && change.filter == NULL && change.vni == 0 &&
                change.session_number == 0 && !change.whole_packets);
}

static void
a_session_that_was_moved_behind_others_stays_there(void **state)
{
    static const char params[] = "Action=CreateTrafficMirrorSession&SessionNumber=2";
    static const struct {
        uint32_t ours, other;
        const char *eni;
        bool stays;
    } cases[] = {
        {5, 2, "eni-1", true},  /* somebody else has its place */
        {5, 3, "eni-1", true},  /* or one that would come behind it again */
        {5, 9, "eni-1", true},  /* or does now */
        {5, 1, "eni-1", false}, /* it was behind that one before */
        {5, 2, "eni-2", false}, /* another interface's */
        {1, 2, "eni-1", false}, /* it was moved before others */
        {2, 3, "eni-1", false}, /* it was not moved */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_ec2_session list[] = {
            {.id = "tms-1", .eni = "eni-1", .session_number = cases[i].ours},
            {.id = "tms-2", .session_number = cases[i].other},
        };
        const struct tb_ec2_sessions sessions = {.at = list, .count = 2};
        uint32_t asked = 77;

        (void)strcpy(list[1].eni, cases[i].eni);
        assert_int_equal(tb_plan_has_to_stay_behind(&sessions, &list[0], params, &asked),
                         cases[i].stays);
        assert_int_equal(asked, cases[i].stays ? 2 : 77);
        assert_false(tb_plan_has_to_stay_behind(&sessions, &list[0], "Action=Create", &asked));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_mirrored_is_named_with_its_reason),
        cmocka_unit_test(interfaces_beyond_the_most_are_named_gaps),
        cmocka_unit_test(our_session_comes_after_everyone_elses),
        cmocka_unit_test(the_pause_grows_to_its_ceiling_and_is_never_nothing),
        cmocka_unit_test(a_capture_stops_when_asked_or_at_its_deadline),
        cmocka_unit_test(the_sweep_touches_only_what_is_ours_and_expired),
        cmocka_unit_test(a_request_that_was_written_down_tells_what_it_asked_for),
        cmocka_unit_test(a_rule_is_the_same_however_ec2_writes_it),
        cmocka_unit_test(a_rule_that_was_changed_is_another),
        cmocka_unit_test(a_session_that_was_changed_is_told_from_what_was_asked_for),
        cmocka_unit_test(a_session_that_was_moved_behind_others_stays_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
