/* The messages between serve and the recorder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "../../../src/recorder/wire_int.h"

#define ID "cap-20260102T030405Z-1a2b3c4d"

/* Big: not for the stack. */
static struct tb_request sent, got;

static void
fill_arm(void)
{
    struct tb_record_spec *spec = &sent.spec;

    memset(&sent, 0, sizeof(sent));
    sent.kind = TB_REQUEST_ARM;
    sent.cookie = 0x01020304;
    strcpy(spec->capture_id, ID);
    strcpy(spec->case_id, "IR-1234");
    strcpy(spec->reason, "odd DNS");
    strcpy(spec->finding_type, "Backdoor:EC2/C&CActivity.B");
    strcpy(spec->host, "ip-10-77-2-10");
    strcpy(spec->bpf_text, "tcp");
    spec->deadline_boot_ns = INT64_C(-5);
    spec->snaplen = 96;
    spec->max_bytes = UINT64_MAX;
    spec->max_packets = UINT64_MAX - 1;
    spec->rotate_bytes = 1;
    spec->rotate_s = 60;
    spec->source_count = 2;
    for (uint32_t i = 0; i < 2; i++) {
        memset(spec->sources[i].outer, (int)i + 1, 16);
        memset(spec->sources[i].mac, (int)i + 3, 6);
        spec->sources[i].vni = 0xfffffe + i;
        strcpy(spec->sources[i].eni, "eni-0123");
    }
    sent.bpf[0] = (struct tb_bpf_insn){0x28, 1, 2, 12};
    sent.bpf[1] = (struct tb_bpf_insn){6, 0, 0, 65535};
    spec->bpf = sent.bpf;
    spec->bpf_count = 2;
    spec->base.known_utc_ns = INT64_MIN;
    spec->base.first_utc_ns = -1;
    spec->base.last_utc_ns = 2;
    spec->base.ledger.received = UINT64_MAX;
    spec->base.ledger.written_bytes = 3;
}

static struct tb_buf
encoded(void)
{
    struct tb_buf out = TB_BUF_INIT(TB_RECORDER_MAX_MESSAGE);

    tb_request_encode(&sent, &out);
    assert_int_equal(tb_buf_check(&out, "it", NULL), TB_OK);
    return out;
}

static void
what_is_armed_arrives_whole(void **state)
{
    struct tb_buf out;

    (void)state;
    fill_arm();
    out = encoded();
    assert_int_equal(tb_request_decode(tb_buf_view(&out), &got, NULL), TB_OK);
    assert_int_equal(got.kind, TB_REQUEST_ARM);
    assert_int_equal(got.cookie, sent.cookie);
    assert_ptr_equal(got.spec.bpf, got.bpf);
    assert_memory_equal(got.bpf, sent.bpf, 2 * sizeof(got.bpf[0]));
    got.spec.bpf = sent.spec.bpf;
    assert_memory_equal(&got.spec, &sent.spec, sizeof(got.spec));
    tb_buf_release(&out);
}

/* A recorder of before an upgrade goes on: it knows version 1, which has no packet budget. */
static void
only_a_packet_budget_is_of_another_version(void **state)
{
    struct tb_buf with, without;
    uint8_t octets[TB_RECORDER_MAX_MESSAGE];
    struct tb_fail fail;

    (void)state;
    fill_arm();
    with = encoded();
    sent.spec.max_packets = 0;
    without = encoded();
    assert_int_equal(tb_buf_view(&with).at[0], 2);
    assert_int_equal(tb_buf_view(&without).at[0], 1);
    assert_int_equal(tb_buf_view(&with).len, tb_buf_view(&without).len + 8);
    assert_int_equal(tb_request_decode(tb_buf_view(&without), &got, NULL), TB_OK);
    assert_int_equal(got.spec.max_packets, 0);
    tb_buf_release(&with);
    tb_buf_release(&without);

    memset(&sent, 0, sizeof(sent));
    sent.kind = TB_REQUEST_HOST;
    without = encoded();
    memcpy(octets, tb_buf_view(&without).at, tb_buf_view(&without).len);
    octets[0] = 2;
    assert_int_equal(
        tb_request_decode(tb_bytes_of(octets, tb_buf_view(&without).len), &got, &fail),
        TB_EFORMAT);
    assert_non_null(strstr(fail.text, "another version"));
    tb_buf_release(&without);
}

static void
the_largest_capture_fits_into_a_message(void **state)
{
    struct tb_record_spec *spec = &sent.spec;
    struct tb_buf out;

    (void)state;
    fill_arm();
    memset(spec->case_id, 'c', sizeof(spec->case_id) - 1);
    memset(spec->reason, 'r', sizeof(spec->reason) - 1);
    memset(spec->finding_id, 'f', sizeof(spec->finding_id) - 1);
    memset(spec->bpf_text, 'b', sizeof(spec->bpf_text) - 1);
    spec->source_count = TB_CAPTURE_MAX_SOURCES;
    for (size_t i = 0; i < TB_CAPTURE_MAX_SOURCES; i++) {
        memset(spec->sources[i].eni, 'e', sizeof(spec->sources[i].eni) - 1);
        memset(spec->sources[i].description, 'd', sizeof(spec->sources[i].description) - 1);
    }
    spec->sources[1].vni = 1;
    spec->bpf_count = TB_CAPTURE_MAX_BPF_INSNS;
    out = encoded();
    assert_int_equal(tb_request_decode(tb_buf_view(&out), &got, NULL), TB_OK);
    assert_string_equal(got.spec.bpf_text, spec->bpf_text);
    tb_buf_release(&out);
}

/* Every beginning of it is refused, and so is one octet more. */
static void
expect_exact(struct tb_bytes message, bool answer)
{
    static struct tb_answer back;
    uint8_t *more = malloc(message.len + 1);

    memcpy(more, message.at, message.len);
    more[message.len] = 0;
    for (size_t len = 0; len <= message.len + 1; len++) {
        uint8_t *exact = malloc(len == 0 ? 1 : len); /* so that a sanitizer sees the edge */
        struct tb_fail fail;
        enum tb_err err;

        memcpy(exact, more, len);
        err = answer ? tb_answer_decode(tb_bytes_of(exact, len), &back, &fail)
                     : tb_request_decode(tb_bytes_of(exact, len), &got, &fail);
        assert_int_equal(err, len == message.len ? TB_OK : TB_EFORMAT);
        free(exact);
    }
    free(more);
}

static void
every_other_length_of_a_request_is_refused(void **state)
{
    (void)state;
    for (int kind = TB_REQUEST_ARM; kind < TB_REQUEST_KIND_END; kind++) {
        struct tb_buf out;

        fill_arm();
        sent.kind = (enum tb_request_kind)kind;
        strcpy(sent.capture_id, ID);
        sent.deadline_boot_ns = INT64_MAX;
        out = encoded();
        expect_exact(tb_buf_view(&out), false);
        if (kind != TB_REQUEST_ARM && kind != TB_REQUEST_HOST && kind != TB_REQUEST_COUNTERS) {
            assert_int_equal(tb_request_decode(tb_buf_view(&out), &got, NULL), TB_OK);
            assert_string_equal(got.capture_id, ID);
        }
        tb_buf_release(&out);
    }
}

static void
every_other_length_of_an_answer_is_refused(void **state)
{
    (void)state;
    for (int kind = TB_REQUEST_ARM; kind < TB_REQUEST_KIND_END; kind++) {
        for (int err = TB_OK; err <= TB_EINVAL; err++) {
            struct tb_buf out = TB_BUF_INIT(4096);
            struct tb_answer answer = {.kind = (enum tb_request_kind)kind,
                                       .err = (enum tb_err)err,
                                       .cookie = 9,
                                       .text = "why"};
            struct tb_answer back;

            answer.status.state = TB_RECORD_CLOSING;
            answer.status.budget_spent = TB_BUDGET_PACKETS;
            answer.status.segments = 3;
            answer.status.ledger.written = 77;
            answer.status.level = -5;
            answer.status.gap_to_utc_ns = INT64_MAX;
            answer.host.pid = 4;
            answer.host.ledger.received = UINT64_MAX;
            tb_answer_encode(&answer, &out);
            assert_int_equal(tb_buf_check(&out, "it", NULL), TB_OK);
            expect_exact(tb_buf_view(&out), true);
            assert_int_equal(tb_answer_decode(tb_buf_view(&out), &back, NULL), TB_OK);
            assert_int_equal(back.err, err);
            assert_string_equal(back.text, "why");
            if (err == TB_OK && kind == TB_REQUEST_STATUS) {
                assert_memory_equal(&back.status, &answer.status, sizeof(back.status));
            }
            if (err == TB_OK && kind == TB_REQUEST_HOST) {
                assert_memory_equal(&back.host.ledger, &answer.host.ledger,
                                    sizeof(back.host.ledger));
            }
            tb_buf_release(&out);
        }
    }
}

static void
damage_host(struct tb_record_spec *s)
{
    strcpy(s->host, "../x");
}
static void
damage_hidden_host(struct tb_record_spec *s)
{
    strcpy(s->host, ".x");
}
static void
damage_no_host(struct tb_record_spec *s)
{
    s->host[0] = '\0';
}
static void
damage_id(struct tb_record_spec *s)
{
    strcpy(s->capture_id, "../../etc");
}
static void
damage_vni(struct tb_record_spec *s)
{
    s->sources[1].vni = 1 << 24;
}
static void
damage_no_sources(struct tb_record_spec *s)
{
    s->source_count = 0;
}
static void
damage_many_sources(struct tb_record_spec *s)
{
    s->source_count = TB_CAPTURE_MAX_SOURCES + 1;
}
static void
damage_snaplen(struct tb_record_spec *s)
{
    s->snaplen = TB_SNAPLEN_MAX + 1;
}
static void
damage_tiny_snaplen(struct tb_record_spec *s)
{
    s->snaplen = 13;
}
static void
damage_rotation(struct tb_record_spec *s)
{
    s->rotate_s = 0;
}

static void
values_out_of_their_range_are_refused(void **state)
{
    static void (*const damages[])(struct tb_record_spec *) = {
        damage_host,         damage_hidden_host, damage_no_host,      damage_id,
        damage_vni,          damage_no_sources,  damage_many_sources, damage_snaplen,
        damage_tiny_snaplen, damage_rotation,
    };

    (void)state;
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        struct tb_fail fail = {.err = TB_OK};
        struct tb_buf out;

        fill_arm();
        damages[i](&sent.spec);
        out = encoded();
        assert_int_equal(tb_request_decode(tb_buf_view(&out), &got, &fail), TB_EFORMAT);
        assert_true(fail.text[0] != '\0');
        tb_buf_release(&out);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_armed_arrives_whole),
        cmocka_unit_test(only_a_packet_budget_is_of_another_version),
        cmocka_unit_test(the_largest_capture_fits_into_a_message),
        cmocka_unit_test(every_other_length_of_a_request_is_refused),
        cmocka_unit_test(every_other_length_of_an_answer_is_refused),
        cmocka_unit_test(values_out_of_their_range_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
