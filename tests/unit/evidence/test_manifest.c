#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <tapbox/build.h>
#include <tapbox/evidence.h>
#include <tapbox/json.h>

/* A capture of one interface and one segment of ten packets, nothing lost. */
struct fixture {
    struct tb_capture capture;
    struct tb_segment_row segment;
    struct tb_resource session;
    struct tb_manifest_alert alert;
    struct tb_ledger host;
    struct tb_manifest_input input;
    struct tb_manifest_place place;
    struct tb_json *root; /* of the last build */
};

static int
make(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    (void)strcpy(f->capture.id, "cap-20260102T030405Z-1a2b3c4d");
    f->capture.stop_reason = TB_STOP_DEADLINE;
    f->capture.requested_utc_ns = 1767323045 * TB_NS_PER_S;
    f->capture.source_count = 1;
    (void)strcpy(f->capture.sources[0].eni, "eni-0a1b2c3d");
    f->capture.sources[0].armed = true;
    f->capture.sources[0].vni = 77;
    f->capture.ledger = (struct tb_ledger){.received = 10, .written = 10};
    (void)strcpy(f->segment.name, "host-0-000001.pcapng.zst");
    f->segment.packets = 10;
    f->segment.state = TB_SEGMENT_UPLOADED;
    memset(f->segment.sha256, 0xab, sizeof(f->segment.sha256));
    f->session.kind = TB_RESOURCE_SESSION;
    f->session.state = TB_RESOURCE_GONE;
    (void)strcpy(f->session.aws_id, "tms-0123456789abcdef0");
    f->alert.row.number = 1;
    f->host = (struct tb_ledger){.received = 12, .written = 10, .unknown_vni = 2};
    f->input = (struct tb_manifest_input){
        .capture = &f->capture,
        .alerts = &f->alert,
        .alert_count = 1,
        .segments = &f->segment,
        .segment_count = 1,
        .resources = &f->session,
        .resource_count = 1,
        .host_ledger = &f->host,
        .host_name = "host",
        .now_utc_ns = 1767323100 * TB_NS_PER_S,
    };
    f->place =
        (struct tb_manifest_place){.key = "aabb", .sequence = 1, .custody = {.number = 7}};
    *state = f;
    return 0;
}

static int
release(void **state)
{
    struct fixture *f = *state;

    tb_json_free(f->root);
    free(f);
    return 0;
}

static const struct tb_json *
build(struct fixture *f)
{
    struct tb_buf text = TB_BUF_INIT(1 << 20);

    tb_json_free(f->root);
    f->root = NULL;
    assert_int_equal(tb_manifest_build(&f->input, &f->place, &text, NULL), TB_OK);
    assert_int_equal(text.at[text.len - 1], '\n');
    assert_int_equal(tb_json_parse(tb_buf_view(&text), &f->root, NULL), TB_OK);
    tb_buf_release(&text);
    return f->root;
}

static void
the_manifest_names_what_there_is(void **state)
{
    const struct tb_json *root = build(*state);
    int64_t number = 0;

    assert_string_equal(tb_json_str(root, "/capture"), "cap-20260102T030405Z-1a2b3c4d");
    assert_string_equal(tb_json_str(root, "/stop_reason"), "deadline");
    assert_string_equal(tb_json_str(root, "/times/requested"),
                        "2026-01-02T03:04:05.000000000Z");
    assert_true(tb_json_is_null(tb_json_at(root, "/times/recording")));
    assert_string_equal(tb_json_str(root, "/segments/0/name"),
                        "segments/host-0-000001.pcapng.zst");
    assert_memory_equal(tb_json_str(root, "/segments/0/sha256"), "abababab", 8);
    assert_string_equal(tb_json_str(root, "/alerts/0/name"), "alerts/0001.json");
    assert_string_equal(tb_json_str(root, "/aws_objects/0/id"), "tms-0123456789abcdef0");
    assert_true(tb_json_int(root, "/ledger/residual", &number) && number == 0);
    assert_true(tb_json_int(root, "/sources/0/vni", &number) && number == 77);
}

static void
nothing_lost_is_complete(void **state)
{
    const struct tb_json *root = build(*state);

    assert_string_equal(tb_json_str(root, "/completeness/complete"), "yes");
    assert_int_equal(tb_json_count(tb_json_at(root, "/completeness/gaps")), 0);
}

static void
whatever_is_missing_is_named_and_decides_the_verdict(void **state)
{
    struct fixture *f = *state;
    const struct tb_json *root;

    f->host.ring_dropped = 3;
    root = build(f);
    assert_string_equal(tb_json_str(root, "/completeness/complete"), "unknown");
    assert_string_equal(tb_json_str(root, "/completeness/gaps/0/kind"), "ring_dropped");
    f->input.host_ledger = NULL;
    root = build(f);
    assert_string_equal(tb_json_str(root, "/completeness/complete"), "unknown");
    assert_string_equal(tb_json_str(root, "/completeness/gaps/0/kind"), "host_ledger");
    f->host.ring_dropped = 0;
    f->input.host_ledger = &f->host;
    f->segment.packets = 9;
    root = build(f);
    assert_string_equal(tb_json_str(root, "/completeness/complete"), "unknown");
    assert_string_equal(tb_json_str(root, "/completeness/gaps/0/kind"), "count");
    f->segment.packets = 10;
    f->segment.recovered = true;
    root = build(f);
    assert_string_equal(tb_json_str(root, "/completeness/complete"), "no");
    f->segment.recovered = false;
    {
        const struct tb_segment_row sound = f->segment;

        f->segment.packets = 0;
        memset(f->segment.merkle_root, 0, sizeof(f->segment.merkle_root));
        root = build(f);
        assert_string_equal(tb_json_str(root, "/completeness/complete"), "no");
        assert_string_equal(tb_json_str(root, "/completeness/gaps/0/kind"), "damaged");
        assert_string_equal(tb_json_str(root, "/completeness/gaps/1/kind"), "count");
        assert_int_equal(tb_json_count(tb_json_at(root, "/segments")), 1);
        assert_true(tb_json_is_null(tb_json_at(root, "/segments/0/merkle_root")));
        f->segment = sound;
    }
    { /* of ten packets the disk gave eight */
        const struct tb_segment_row sound = f->segment;

        f->segment.packets = 8;
        f->segment.missing_packets = 2;
        f->segment.recovered = true;
        (void)strcpy(f->segment.damage, "octets 4096 to 8191 (2 packets)");
        root = build(f);
        assert_string_equal(tb_json_str(root, "/completeness/complete"), "no");
        assert_string_equal(tb_json_str(root, "/completeness/gaps/0/kind"), "damaged");
        assert_int_equal(tb_json_count(tb_json_at(root, "/completeness/gaps")), 1);
        assert_non_null(
            strstr(tb_json_str(root, "/completeness/gaps/0/text"), "octets 4096 to 8191"));
        assert_int_equal(tb_json_count(tb_json_at(root, "/segments")), 1);
        f->segment.packets = 0; /* or none at all */
        f->segment.state = TB_SEGMENT_SPOOLED;
        f->segment.missing_packets = 10;
        root = build(f);
        assert_string_equal(tb_json_str(root, "/completeness/gaps/0/kind"), "damaged");
        assert_int_equal(tb_json_count(tb_json_at(root, "/completeness/gaps")), 1);
        assert_int_equal(tb_json_count(tb_json_at(root, "/segments")), 0);
        f->segment = sound;
    }
    f->segment.state = TB_SEGMENT_SPOOLED; /* and the file is gone */
    root = build(f);
    assert_string_equal(tb_json_str(root, "/completeness/complete"), "no");
    assert_string_equal(tb_json_str(root, "/completeness/gaps/0/kind"), "lost");
    assert_int_equal(tb_json_count(tb_json_at(root, "/completeness/gaps")), 1);
    assert_int_equal(tb_json_count(tb_json_at(root, "/segments")), 0);
    f->segment.state = TB_SEGMENT_UPLOADED;
    f->capture.ledger.queue_dropped = 1;
    root = build(f);
    assert_string_equal(tb_json_str(root, "/completeness/complete"), "no");
    f->capture.ledger.queue_dropped = 0;
    f->capture.sources[0].armed = false;
    (void)strcpy(f->capture.sources[0].gap, "NetworkInterfaceNotSupported");
    root = build(f);
    assert_string_equal(tb_json_str(root, "/completeness/complete"), "no");
    assert_string_equal(tb_json_str(root, "/completeness/gaps/0/text"),
                        "eni-0a1b2c3d was not mirrored: NetworkInterfaceNotSupported");
    f->capture.sources[0].gap[0] = '\0';
    (void)strcpy(f->capture.sources[0].trouble, "InternalError");
    root = build(f);
    assert_string_equal(tb_json_str(root, "/completeness/complete"), "no");
    assert_string_equal(
        tb_json_str(root, "/completeness/gaps/0/text"),
        "eni-0a1b2c3d was not mirrored: no session could be made so far: InternalError");
    assert_string_equal(tb_json_str(root, "/sources/0/gap"),
                        "no session could be made so far: InternalError");
    f->capture.sources[0].armed = true;
    f->capture.sources[0].trouble[0] = '\0';
    (void)strcpy(f->capture.sources[0].gap, "mirrored only since then");
    root = build(f);
    assert_string_equal(tb_json_str(root, "/completeness/complete"), "unknown");
    assert_string_equal(tb_json_str(root, "/completeness/gaps/0/text"),
                        "eni-0a1b2c3d: mirrored only since then");
}

static void
what_aws_left_out_of_the_mirror_decides_the_verdict(void **state)
{
    struct fixture *f = *state;
    struct tb_manifest_skips skips = {
        .instance = "i-0123456789abcdef0", .asked = true, .periods = 2, .known = 2};
    const struct tb_json *root;
    int64_t number = 0;

    f->input.skips = &skips;
    f->input.skip_count = 1;
    root = build(f);
    assert_string_equal(tb_json_str(root, "/completeness/complete"), "yes");
    assert_true(tb_json_int(root, "/skipped_by_aws/0/periods_known", &number) && number == 2);
    skips.known = 1; /* one period is not told of yet */
    root = build(f);
    assert_string_equal(tb_json_str(root, "/completeness/complete"), "unknown");
    assert_string_equal(tb_json_str(root, "/completeness/gaps/0/kind"), "skips_unknown");
    skips.octets_out = 1500;
    skips.packets_out = 3;
    root = build(f);
    assert_string_equal(tb_json_str(root, "/completeness/complete"), "no");
    assert_string_equal(tb_json_str(root, "/completeness/gaps/0/kind"), "skipped_by_aws");
    assert_true(tb_json_int(root, "/completeness/gaps/0/packets", &number) && number == 3);
    skips = (struct tb_manifest_skips){.instance = "i-0", .why = "AccessDenied"};
    root = build(f);
    assert_string_equal(tb_json_str(root, "/completeness/complete"), "unknown");
    assert_string_equal(
        tb_json_str(root, "/completeness/gaps/0/text"),
        "whether AWS left packets of i-0 out of the mirror is not known: AccessDenied");
}

static void
the_host_says_who_it_is_in_the_words_that_were_signed(void **state)
{
    static const char document[] =
        "{\n  \"instanceId\" : \"i-1\",\n  \"imageId\" : \"ami-1\",\n"
        "  \"instanceType\" : \"m5.large\"\n}";
    struct fixture *f = *state;
    const struct tb_json *root = build(f);

    assert_true(tb_json_is_null(tb_json_at(root, "/host/identity")));
    f->input.identity_document = tb_bytes_str(document);
    f->input.identity_rsa2048 = tb_bytes_str("MIIC\nAb==");
    root = build(f);
    assert_string_equal(tb_json_str(root, "/host/identity/image"), "ami-1");
    assert_string_equal(tb_json_str(root, "/host/identity/document"), document);
    assert_string_equal(tb_json_str(root, "/host/identity/rsa2048"), "MIIC\nAb==");
    assert_string_equal(tb_json_str(root, "/build_id"), tb_build_id());
    assert_true(strlen(tb_build_id()) == 40);
}

static bool
flag(const struct tb_json *root, const char *pointer)
{
    bool value = false;

    assert_true(tb_json_bool(root, pointer, &value));
    return value;
}

static void
each_alert_names_its_rule_and_the_filter_says_whether_it_was_widened(void **state)
{
    struct fixture *f = *state;
    struct tb_filter *wanted = &f->alert.row.filter;
    const struct tb_json *root = build(f);

    assert_true(tb_json_is_null(tb_json_at(root, "/alerts/0/rule")));
    assert_true(tb_json_is_null(tb_json_at(root, "/alerts/0/filter")));
    assert_string_equal(tb_json_str(root, "/filter/kind"), "all");
    assert_true(flag(root, "/filter/in_place"));
    /* an alert of an earlier tapbox: nobody knows what it asked for */
    assert_true(tb_json_is_null(tb_json_at(root, "/filter/widened")));

    (void)strcpy(f->alert.row.rule, "c2");
    f->alert.row.has_filter = true;
    *wanted = (struct tb_filter){.kind = TB_FILTER_RULES,
                                 .rule_count = 1,
                                 .rules = {{.protocol = 6,
                                            .remote = "203.0.113.7/32",
                                            .remote_from = 443,
                                            .remote_to = 443,
                                            .local_from = -1,
                                            .local_to = -1}}};
    f->capture.request.filter = *wanted;
    (void)strcpy(f->capture.request.rule, "c2");
    root = build(f);
    assert_string_equal(tb_json_str(root, "/request/rule"), "c2");
    assert_string_equal(tb_json_str(root, "/alerts/0/rule"), "c2");
    assert_string_equal(tb_json_str(root, "/alerts/0/filter/rules/0/remote_ports"), "443");
    assert_string_equal(tb_json_str(root, "/filter/rules/0/remote"), "203.0.113.7/32");
    assert_false(flag(root, "/filter/widened"));

    f->capture.request.filter.rules[0].remote_to = 444;
    f->capture.filter_due = true;
    root = build(f);
    assert_true(flag(root, "/filter/widened"));
    assert_false(flag(root, "/filter/in_place"));
}

static void
sums_are_lines_for_sha256sum(void **state)
{
    struct tb_buf out = TB_BUF_INIT(200);
    struct tb_sha256 digest;

    (void)state;
    memset(digest.octets, 1, sizeof(digest.octets));
    tb_sums_add(&out, &digest, "manifest.json");
    assert_string_equal(
        tb_buf_str(&out),
        "0101010101010101010101010101010101010101010101010101010101010101  manifest.json\n");
    tb_buf_release(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_manifest_names_what_there_is, make, release),
        cmocka_unit_test_setup_teardown(nothing_lost_is_complete, make, release),
        cmocka_unit_test_setup_teardown(whatever_is_missing_is_named_and_decides_the_verdict,
                                        make, release),
        cmocka_unit_test_setup_teardown(what_aws_left_out_of_the_mirror_decides_the_verdict,
                                        make, release),
        cmocka_unit_test_setup_teardown(the_host_says_who_it_is_in_the_words_that_were_signed,
                                        make, release),
        cmocka_unit_test_setup_teardown(
            each_alert_names_its_rule_and_the_filter_says_whether_it_was_widened, make,
            release),
        cmocka_unit_test(sums_are_lines_for_sha256sum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
