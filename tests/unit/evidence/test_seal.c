/* Sealing: once, in the right place of the chain, and the same again after every failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include <tapbox/io.h>

#include "../../support/evidence.h"

static int
set_up(void **state)
{
    struct test_evidence *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    test_evidence_open(t);
    *state = t;
    return 0;
}

static int
tear_down(void **state)
{
    test_evidence_close(*state);
    free(*state);
    return 0;
}

static void
read_in(struct test_evidence *t, const char *id, const char *name, struct tb_buf *out)
{
    char path[256];

    test_evidence_folder(t, id, path, sizeof(path));
    (void)snprintf(path + strlen(path), sizeof(path) - strlen(path), "/%s", name);
    tb_buf_reset(out);
    assert_int_equal(tb_read_file(AT_FDCWD, path, out, NULL), TB_OK);
}

static struct tb_json *
manifest_of(struct test_evidence *t, const char *id)
{
    struct tb_buf text = TB_BUF_INIT(1 << 20);
    struct tb_json *json = NULL;

    read_in(t, id, "manifest.json", &text);
    assert_int_equal(tb_json_parse(tb_buf_view(&text), &json, NULL), TB_OK);
    tb_buf_release(&text);
    return json;
}

static void
the_signature_is_over_the_octets_of_the_manifest(void **state)
{
    struct test_evidence *t = *state;
    struct tb_buf text = TB_BUF_INIT(1 << 20), signature = TB_BUF_INIT(100);
    char id[TB_CAPTURE_ID_SIZE];

    test_evidence_capture(t, 1, 2, 2, id);
    assert_int_equal(test_evidence_seal(t, id, 0, NULL), TB_OK);
    read_in(t, id, "manifest.json", &text);
    read_in(t, id, "manifest.sig", &signature);
    assert_int_equal(tb_signature_check(tb_signing_key_public(t->key), tb_buf_view(&text),
                                        tb_buf_view(&signature), NULL),
                     TB_OK);
    tb_buf_release(&signature);
    tb_buf_release(&text);
}

static void
the_manifest_is_in_the_canonical_form(void **state)
{
    struct test_evidence *t = *state;
    struct tb_buf text = TB_BUF_INIT(1 << 20), again = TB_BUF_INIT(1 << 20);
    struct tb_json *json;
    char id[TB_CAPTURE_ID_SIZE];

    test_evidence_capture(t, 1, 1, 1, id);
    assert_int_equal(test_evidence_seal(t, id, 0, NULL), TB_OK);
    read_in(t, id, "manifest.json", &text);
    json = manifest_of(t, id);
    assert_int_equal(tb_json_dump(json, false, &again, NULL), TB_OK);
    tb_buf_put_str(&again, "\n");
    assert_true(tb_bytes_equal(tb_buf_view(&text), tb_buf_view(&again)));
    assert_string_equal(tb_json_str(json, "/request/severity"), "5.3");
    assert_string_equal(tb_json_str(json, "/alerts/0/decision_reason"), "severity 5.3 of 4.0");
    tb_json_free(json);
    tb_buf_release(&again);
    tb_buf_release(&text);
}

static void
each_manifest_names_the_one_before_it(void **state)
{
    struct test_evidence *t = *state;
    struct tb_buf text = TB_BUF_INIT(1 << 20);
    char id[TB_CAPTURE_ID_SIZE], hex[TB_SHA256_HEX_SIZE] = "";
    struct tb_sha256 sha256;

    for (int64_t n = 1; n <= 3; n++) {
        struct tb_json *json;
        int64_t sequence = 0;

        test_evidence_capture(t, (uint64_t)n, 1, 1, id);
        assert_int_equal(test_evidence_seal(t, id, 0, NULL), TB_OK);
        json = manifest_of(t, id);
        assert_true(tb_json_int(json, "/chain/sequence", &sequence) && sequence == n);
        assert_string_equal(tb_json_str(json, "/chain/key"),
                            tb_signing_key_fingerprint(t->key));
        if (n == 1) {
            assert_true(tb_json_is_null(tb_json_at(json, "/chain/previous")));
        } else {
            assert_string_equal(tb_json_str(json, "/chain/previous"), hex);
        }
        tb_json_free(json);
        read_in(t, id, "manifest.json", &text);
        assert_int_equal(tb_sha256(tb_buf_view(&text), &sha256), TB_OK);
        tb_sha256_hex(hex, &sha256);
    }
    tb_buf_release(&text);
}

/* The put callback of the tests refuses octets that differ from those of an earlier try. */
static void
a_failure_at_any_put_leads_to_the_same_evidence_in_the_end(void **state)
{
    struct test_evidence *t = *state;
    char id[TB_CAPTURE_ID_SIZE];
    unsigned puts = 0, most = 0;

    test_evidence_capture(t, 99, 2, 1, id);
    assert_int_equal(test_evidence_seal(t, id, 0, &most), TB_OK);
    assert_true(most >=
                8); /* alerts, manifest, signature, two of the log and a signature, sums */
    test_evidence_capture(t, 1, 2, 1, id);
    for (unsigned fail_at = 1; fail_at <= most; fail_at++) {
        if (test_evidence_seal(t, id, fail_at, &puts) == TB_OK) {
            break; /* what S3 has of the log is not put again: the later tries are shorter */
        }
        assert_int_equal(puts, fail_at);
    }
    (void)test_evidence_seal(t, id, 0, NULL); /* a crash before the state was written */
    {
        struct tb_json *json = manifest_of(t, id);
        int64_t sequence = 0;

        assert_true(tb_json_int(json, "/chain/sequence", &sequence));
        assert_int_equal(sequence, 2);
        tb_json_free(json);
    }
}

static void
alerts_that_s3_has_are_not_put_again(void **state)
{
    struct test_evidence *t = *state;
    char id[TB_CAPTURE_ID_SIZE];
    unsigned puts = 0, whole = 0;

    test_evidence_capture(t, 98, 5, 1, id);
    assert_int_equal(test_evidence_seal(t, id, 0, &whole), TB_OK);
    test_evidence_capture(t, 1, 5, 1, id);
    assert_int_not_equal(test_evidence_seal(t, id, 4, &puts), TB_OK); /* three are there */
    assert_int_equal(test_evidence_seal(t, id, 0, &puts), TB_OK);
    assert_int_equal(puts, whole - 3);
}

static void
a_restart_with_another_key_does_not_sign_what_was_begun(void **state)
{
    struct test_evidence *t = *state;
    struct tb_signing_key *before = t->key, *other = NULL;
    struct tb_buf text = TB_BUF_INIT(1 << 20);
    struct tb_manifest_row row;
    char id[TB_CAPTURE_ID_SIZE];

    test_evidence_capture(t, 1, 1, 1, id);
    /* committed, then killed before the signature; tb_seal does the same in one go */
    assert_int_equal(tb_signing_key_new(&other, NULL), TB_OK);
    assert_int_equal(tb_store_key_use(t->store, tb_signing_key_public(other), NULL), TB_OK);
    {
        struct tb_capture *capture = calloc(1, sizeof(*capture));
        struct tb_manifest_input input = {.capture = capture};

        assert_non_null(capture);
        assert_int_equal(tb_store_capture_get(t->store, id, capture, NULL), TB_OK);
        assert_int_equal(tb_store_manifest_make(t->store, id,
                                                tb_signing_key_fingerprint(before),
                                                (tb_manifest_body_fn *)tb_manifest_build,
                                                &input, &row, &text, NULL),
                         TB_OK);
        free(capture);
    }
    t->key = other;
    assert_int_equal(test_evidence_seal(t, id, 0, NULL), TB_EDENIED);
    t->key = before;
    assert_int_equal(test_evidence_seal(t, id, 0, NULL), TB_OK);
    tb_signing_key_free(other);
    tb_buf_release(&text);
}

static void
acts_after_sealing_go_into_further_signed_objects(void **state)
{
    struct test_evidence *t = *state;
    struct tb_actor by = {.who = "eve", .from = "203.0.113.9"};
    struct tb_buf text = TB_BUF_INIT(1 << 20), signature = TB_BUF_INIT(100);
    char(*ids)[TB_CAPTURE_ID_SIZE] = NULL;
    char id[TB_CAPTURE_ID_SIZE];
    size_t count = 0;

    test_evidence_capture(t, 1, 1, 1, id);
    assert_int_equal(test_evidence_seal(t, id, 0, NULL), TB_OK);
    assert_int_equal(tb_store_custody_waiting(t->store, 10, &ids, &count, NULL), TB_OK);
    assert_int_equal(count, 0);
    free(ids);
    assert_int_equal(tb_store_custody_add(t->store, id, "download", &by, NULL, NULL), TB_OK);
    assert_int_equal(tb_store_custody_waiting(t->store, 10, &ids, &count, NULL), TB_OK);
    assert_int_equal(count, 1);
    assert_string_equal(ids[0], id);
    free(ids);
    test_evidence_flush(t, id);
    read_in(t, id, "custody/0003.jsonl", &text);
    read_in(t, id, "custody/0003.sig", &signature);
    assert_non_null(strstr(tb_buf_str(&text), "\"who\":\"eve\""));
    assert_int_equal(tb_signature_check(tb_signing_key_public(t->key), tb_buf_view(&text),
                                        tb_buf_view(&signature), NULL),
                     TB_OK);
    assert_int_equal(tb_store_custody_waiting(t->store, 10, &ids, &count, NULL), TB_OK);
    assert_int_equal(count, 0);
    free(ids);
    tb_buf_release(&signature);
    tb_buf_release(&text);
}

/* Whether the folder has it: its hash as the manifest names it, and its line in SHA256SUMS. */
static void
assert_summary(struct test_evidence *t, const char *id, bool is_there)
{
    struct tb_buf sums = TB_BUF_INIT(1 << 20), text = TB_BUF_INIT(1 << 20);
    struct tb_json *json = manifest_of(t, id);
    char hex[TB_SHA256_HEX_SIZE], path[256];
    struct tb_sha256 sha256;

    read_in(t, id, "SHA256SUMS", &sums);
    test_evidence_folder(t, id, path, sizeof(path));
    (void)snprintf(path + strlen(path), sizeof(path) - strlen(path), "/summary.json");
    if (is_there) {
        read_in(t, id, "summary.json", &text);
        assert_int_equal(tb_sha256(tb_buf_view(&text), &sha256), TB_OK);
        tb_sha256_hex(hex, &sha256);
        assert_string_equal(tb_json_str(json, "/summary/sha256"), hex);
        assert_non_null(strstr(tb_buf_str(&sums), "  summary.json\n"));
    } else {
        assert_int_equal(tb_read_file(AT_FDCWD, path, &text, NULL), TB_ENOTFOUND);
        assert_null(tb_json_at(json, "/summary"));
        assert_null(strstr(tb_buf_str(&sums), "summary.json"));
    }
    tb_json_free(json);
    tb_buf_release(&text);
    tb_buf_release(&sums);
}

static void
a_summary_is_part_of_the_evidence_only_when_the_manifest_names_it(void **state)
{
    struct test_evidence *t = *state;
    char id[TB_CAPTURE_ID_SIZE];

    test_evidence_capture(t, 1, 1, 1, id);
    assert_int_equal(tb_store_summary_put(t->store, id, tb_bytes_str("{\"n\":1}"), NULL),
                     TB_OK);
    assert_int_equal(tb_store_summary_put(t->store, id, tb_bytes_str("{}"), NULL), TB_OK);
    assert_int_equal(test_evidence_seal(t, id, 0, NULL), TB_OK);
    assert_summary(t, id, true);

    /* the manifest is committed, its put fails, and only then there is a summary */
    test_evidence_capture(t, 2, 1, 1, id);
    assert_int_not_equal(test_evidence_seal(t, id, 2, NULL), TB_OK);
    assert_int_equal(tb_store_summary_put(t->store, id, tb_bytes_str("{\"n\":2}"), NULL),
                     TB_OK);
    assert_int_equal(test_evidence_seal(t, id, 0, NULL), TB_OK);
    assert_summary(t, id, false);
}

struct storm {
    struct test_evidence *t;
    unsigned puts;
};

/* While each object is on its way, the log gets another entry. */
static enum tb_err
put_in_a_storm(void *arg, const char *name, const char *content_type, struct tb_bytes content,
               struct tb_fail *fail)
{
    struct storm *storm = arg;

    assert_true(name[0] == '/' && content_type != NULL && content.len > 0);
    if (++storm->puts > 20) {
        return tb_fail_set(fail, TB_ERETRY, "there is no end of it");
    }
    return tb_store_key_use(storm->t->store, tb_signing_key_public(storm->t->key), fail);
}

static void
a_hosts_log_that_goes_on_growing_is_put_up_to_where_it_was(void **state)
{
    struct test_evidence *t = *state;
    struct storm storm = {.t = t};
    struct tb_custody_object object;
    char id[TB_CAPTURE_ID_SIZE];

    assert_int_equal(tb_store_host_log(t->store, id, NULL), TB_OK);
    /* one is begun already, and does not have the entry behind it */
    assert_int_equal(tb_store_custody_next(t->store, id, &object, NULL), TB_OK);
    assert_int_equal(tb_store_key_use(t->store, tb_signing_key_public(t->key), NULL), TB_OK);
    assert_int_equal(tb_seal_host_log(t->store, t->key, put_in_a_storm, &storm, NULL), TB_OK);
    assert_int_equal(storm.puts, 4); /* two objects, two signatures */
    assert_int_equal(tb_store_custody_next(t->store, id, &object, NULL), TB_OK);
    assert_int_equal(object.number, 3);
    assert_true(object.first > 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_signature_is_over_the_octets_of_the_manifest,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_manifest_is_in_the_canonical_form, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(each_manifest_names_the_one_before_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_failure_at_any_put_leads_to_the_same_evidence_in_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(alerts_that_s3_has_are_not_put_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_restart_with_another_key_does_not_sign_what_was_begun,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(acts_after_sealing_go_into_further_signed_objects,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_summary_is_part_of_the_evidence_only_when_the_manifest_names_it, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            a_hosts_log_that_goes_on_growing_is_put_up_to_where_it_was, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
