/* The custody log, the keys and the chain of manifests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sqlite3.h>

#include <tapbox/store.h>

struct place {
    char dir[64];
    char path[96];
    struct tb_store *store;
    char capture[TB_CAPTURE_ID_SIZE];
};

static void
new_capture(struct place *p, const char *instance, char out[TB_CAPTURE_ID_SIZE])
{
    struct tb_capture_request request = {.duration_ns = 60 * TB_NS_PER_S};
    struct tb_intake intake = {.adapter = "api",
                               .key = "",
                               .body = tb_bytes_str("{\"reason\":\"odd\"}"),
                               .content_type = "application/json",
                               .remote = "203.0.113.7",
                               .token_name = "ann",
                               .decision_reason = "she asked",
                               .received_utc_ns = 1767323045 * TB_NS_PER_S,
                               .capture = &request};
    enum tb_intake_outcome outcome;

    (void)snprintf(request.instance, sizeof(request.instance), "%s", instance);
    assert_int_equal(tb_store_intake(p->store, &intake, &outcome, out, NULL), TB_OK);
    assert_int_equal(outcome, TB_INTAKE_CREATED);
}

static int
set_up(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    assert_non_null(p);
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/tapbox-store-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(p->path, sizeof(p->path), "%s/tapbox.db", p->dir);
    assert_int_equal(tb_store_open(p->path, &p->store, NULL), TB_OK);
    new_capture(p, "i-0123456789abcdef0", p->capture);
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

/* Entry `n` of the log, parsed; its own hash goes to `out`.  The caller frees it. */
static struct tb_json *
entry(struct place *p, int64_t n, struct tb_sha256 *out)
{
    struct tb_buf line = TB_BUF_INIT(TB_CUSTODY_LINE_MAX);
    struct tb_json *json = NULL;

    assert_int_equal(tb_store_custody_text(p->store, p->capture, n, n, &line, NULL), TB_OK);
    assert_int_equal(line.at[line.len - 1], '\n');
    assert_int_equal(tb_json_parse(tb_buf_view(&line), &json, NULL), TB_OK);
    assert_int_equal(tb_sha256(tb_bytes_of(line.at, line.len - 1), out), TB_OK);
    tb_buf_release(&line);
    return json;
}

static void
each_act_is_an_entry_chained_to_the_one_before_it(void **state)
{
    static const char *const acts[] = {"alert",       "state",          "deadline",
                                       "stop_asked",  "segment_sealed", "segment_uploaded",
                                       "aws_created", "aws_deleted"};
    struct place *p = *state;
    struct tb_deadline deadline = tb_deadline_in(60 * TB_NS_PER_S);
    struct tb_actor by = {.who = "bob", .from = "203.0.113.8"};
    struct tb_segment_row segment = {.bytes = 5, .packets = 1, .sha256 = {1}};
    struct tb_resource intent = {.kind = TB_RESOURCE_SESSION};
    char before[TB_SHA256_HEX_SIZE];
    struct tb_sha256 sha256 = {{0}};
    int64_t row = 0;

    (void)strcpy(segment.capture_id, p->capture);
    (void)strcpy(segment.name, "host-0-000001.pcapng.zst");
    (void)strcpy(intent.capture_id, p->capture);
    (void)strcpy(intent.key, "eni-1");
    assert_int_equal(tb_store_capture_move(p->store, p->capture, TB_CAPTURE_REQUESTED,
                                           TB_CAPTURE_PLANNED, TB_STOP_NONE, NULL),
                     TB_OK);
    assert_int_equal(tb_store_capture_deadline(p->store, p->capture, &deadline, NULL), TB_OK);
    assert_int_equal(
        tb_store_capture_ask_stop(p->store, p->capture, TB_STOP_OPERATOR, &by, NULL), TB_OK);
    assert_int_equal(tb_store_segment_add(p->store, &segment, NULL), TB_OK);
    assert_int_equal(tb_store_segment_add(p->store, &segment, NULL), TB_OK); /* no news */
    assert_int_equal(tb_store_segment_uploaded(p->store, &segment, NULL), TB_OK);
    assert_int_equal(tb_store_resource_intend(p->store, &intent, &row, NULL), TB_OK);
    assert_int_equal(tb_store_resource_created(p->store, row, "tms-1", "req-1", NULL), TB_OK);
    assert_int_equal(tb_store_resource_gone(p->store, row, TB_RESOURCE_DELETED, "req-2", NULL),
                     TB_OK);
    for (int64_t n = 1; n <= 8; n++) {
        struct tb_json *json;
        int64_t number = 0;

        tb_sha256_hex(before, &sha256);
        json = entry(p, n, &sha256);
        assert_string_equal(tb_json_str(json, "/act"), acts[n - 1]);
        assert_string_equal(tb_json_str(json, "/capture"), p->capture);
        assert_string_equal(tb_json_str(json, "/prev"), before);
        assert_true(tb_json_int(json, "/n", &number) && number == n);
        if (n == 1) {
            assert_string_equal(tb_json_str(json, "/who"), "ann");
            assert_string_equal(tb_json_str(json, "/from"), "203.0.113.7");
            assert_string_equal(tb_json_str(json, "/detail/reason"), "she asked");
        } else if (n == 4) {
            assert_string_equal(tb_json_str(json, "/who"), "bob");
        } else {
            assert_string_equal(tb_json_str(json, "/who"), "tapbox");
            assert_true(tb_json_is_null(tb_json_at(json, "/from")));
        }
        if (n == 8) {
            assert_string_equal(tb_json_str(json, "/detail/request_id"), "req-2");
            assert_string_equal(tb_json_str(json, "/detail/id"), "tms-1");
        }
        tb_json_free(json);
    }
}

/* A session of the capture, made or not, and how it ended: the act that the log shows. */
static void
end_session(struct place *p, const char *aws_id, enum tb_resource_end end, const char *act)
{
    struct tb_resource intent = {.kind = TB_RESOURCE_SESSION};
    struct tb_buf text = TB_BUF_INIT(1 << 16);
    struct tb_sha256 sha256;
    struct tb_json *json;
    int64_t row = 0, last = 0;

    (void)strcpy(intent.capture_id, p->capture);
    (void)strcpy(intent.key, "eni-1");
    assert_int_equal(tb_store_resource_intend(p->store, &intent, &row, NULL), TB_OK);
    if (aws_id[0] != '\0') {
        assert_int_equal(tb_store_resource_created(p->store, row, aws_id, "req-1", NULL),
                         TB_OK);
    }
    assert_int_equal(tb_store_resource_gone(p->store, row, end, "req-2", NULL), TB_OK);
    while (tb_store_custody_text(p->store, p->capture, last + 1, last + 1, &text, NULL) ==
           TB_OK) {
        last++;
    }
    tb_buf_release(&text);
    json = entry(p, last, &sha256);
    assert_string_equal(tb_json_str(json, "/act"), act);
    assert_string_equal(tb_json_str(json, "/detail/request_id"), "req-2");
    tb_json_free(json);
}

static void
what_was_never_made_or_was_gone_already_was_not_deleted_by_us(void **state)
{
    struct tb_capture_source source = {.eni = "eni-1", .ip = "10.0.0.1", .armed = true};
    struct place *p = *state;
    struct tb_capture *capture = malloc(sizeof(*capture));

    assert_non_null(capture);
    assert_int_equal(tb_store_capture_sources(p->store, p->capture, &source, 1, NULL), TB_OK);
    end_session(p, "", TB_RESOURCE_NOT_MADE, "aws_not_made");
    end_session(p, "tms-1", TB_RESOURCE_DELETED, "aws_deleted");
    assert_int_equal(tb_store_capture_get(p->store, p->capture, capture, NULL), TB_OK);
    assert_string_equal(capture->sources[0].gap, "");
    end_session(p, "tms-2", TB_RESOURCE_FOUND_GONE, "aws_found_gone");
    assert_int_equal(tb_store_capture_get(p->store, p->capture, capture, NULL), TB_OK);
    assert_non_null(strstr(capture->sources[0].gap, "tms-2 was deleted by somebody else"));
    free(capture);
}

static void
nobody_shortens_or_changes_the_log_not_even_by_sql(void **state)
{
    static const char *const tries[] = {"DELETE FROM custody", "UPDATE custody SET line = 'x'",
                                        "UPDATE custody SET number = 7"};
    struct place *p = *state;
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        assert_int_equal(sqlite3_exec(db, tries[i], NULL, NULL, NULL), SQLITE_CONSTRAINT);
        assert_non_null(strstr(sqlite3_errmsg(db), "append-only"));
    }
    sqlite3_close(db);
}

static void
an_act_that_fails_leaves_no_entry(void **state)
{
    struct place *p = *state;
    struct tb_buf text = TB_BUF_INIT(1 << 16);

    assert_int_equal(tb_store_capture_move(p->store, p->capture, TB_CAPTURE_RECORDING,
                                           TB_CAPTURE_DRAINING, TB_STOP_NONE, NULL),
                     TB_ESTATE);
    assert_int_equal(tb_store_custody_text(p->store, p->capture, 2, 2, &text, NULL),
                     TB_ENOTFOUND);
    assert_int_equal(
        tb_store_custody_add(p->store, "cap-none", "x", NULL, tb_json_object(), NULL),
        TB_ENOTFOUND);
    assert_int_equal(text.len, 0);
    tb_buf_release(&text);
}

/* --- manifests --- */

struct seen {
    unsigned calls;
    int64_t sequence;
    bool first;
    struct tb_sha256 before;
    struct tb_custody_head custody;
    enum tb_err fails;
};

static enum tb_err
body(void *arg, const struct tb_manifest_place *place, struct tb_buf *out, struct tb_fail *fail)
{
    struct seen *seen = arg;

    seen->calls++;
    seen->sequence = place->sequence;
    seen->first = place->before == NULL;
    if (place->before != NULL) {
        seen->before = *place->before;
    }
    seen->custody = place->custody;
    tb_buf_printf(out, "manifest %u", seen->calls);
    return seen->fails == TB_OK ? TB_OK : tb_fail_set(fail, seen->fails, "as asked");
}

static struct tb_manifest_row
make_manifest(struct place *p, const char *capture, const char *key, struct seen *seen)
{
    struct tb_buf text = TB_BUF_INIT(1024);
    struct tb_manifest_row row = {0};
    struct tb_sha256 sha256;

    assert_int_equal(
        tb_store_manifest_make(p->store, capture, key, body, seen, &row, &text, NULL), TB_OK);
    assert_int_equal(tb_sha256(tb_buf_view(&text), &sha256), TB_OK);
    assert_memory_equal(&row.sha256, &sha256, sizeof(sha256));
    tb_buf_release(&text);
    return row;
}

static struct tb_fingerprint
use_key(struct place *p, uint8_t seed)
{
    struct tb_public_key key = {{seed}};
    struct tb_fingerprint fingerprint;

    assert_int_equal(tb_public_key_fingerprint(&key, &fingerprint), TB_OK);
    assert_int_equal(tb_store_key_use(p->store, &key, NULL), TB_OK);
    return fingerprint;
}

static void
a_manifest_is_made_once_and_each_names_the_one_before_it_of_its_key(void **state)
{
    struct place *p = *state;
    struct tb_fingerprint one = use_key(p, 1), two = use_key(p, 2);
    struct seen seen = {0};
    struct tb_manifest_row first, again, second;
    char other[TB_CAPTURE_ID_SIZE], third[TB_CAPTURE_ID_SIZE];

    new_capture(p, "i-0123456789abcdef1", other);
    new_capture(p, "i-0123456789abcdef2", third);
    first = make_manifest(p, p->capture, one.text, &seen);
    assert_int_equal(first.sequence, 1);
    assert_true(seen.first);
    assert_int_equal(seen.custody.number, first.custody_number);
    again = make_manifest(p, p->capture, two.text, &seen); /* whoever asks, it is that one */
    assert_int_equal(seen.calls, 1);
    assert_memory_equal(&again.sha256, &first.sha256, sizeof(first.sha256));
    assert_string_equal(again.key.text, one.text);
    second = make_manifest(p, other, one.text, &seen);
    assert_int_equal(second.sequence, 2);
    assert_false(seen.first);
    assert_memory_equal(&seen.before, &first.sha256, sizeof(first.sha256));
    (void)make_manifest(p, third, two.text, &seen);
    assert_int_equal(seen.sequence, 1); /* another key, another chain */
    assert_true(seen.first);
}

static void
a_manifest_that_could_not_be_built_takes_no_number(void **state)
{
    struct place *p = *state;
    struct tb_fingerprint key = use_key(p, 1);
    struct seen seen = {.fails = TB_ENOMEM};
    struct tb_buf text = TB_BUF_INIT(1024);
    struct tb_manifest_row row;

    assert_int_equal(
        tb_store_manifest_make(p->store, p->capture, key.text, body, &seen, &row, &text, NULL),
        TB_ENOMEM);
    assert_int_equal(text.len, 0);
    seen.fails = TB_OK;
    assert_int_equal(make_manifest(p, p->capture, key.text, &seen).sequence, 1);
    tb_buf_release(&text);
}

static void
signing_is_an_entry_and_a_second_signature_is_refused(void **state)
{
    struct place *p = *state;
    struct tb_fingerprint key = use_key(p, 1);
    struct seen seen = {0};
    struct tb_signature signature = {{1}}, other = {{2}};
    struct tb_sha256 sha256;
    struct tb_json *json;

    assert_int_equal(tb_store_manifest_signed(p->store, p->capture, &signature, NULL),
                     TB_ENOTFOUND);
    (void)make_manifest(p, p->capture, key.text, &seen);
    assert_int_equal(tb_store_manifest_signed(p->store, p->capture, &signature, NULL), TB_OK);
    assert_int_equal(tb_store_manifest_signed(p->store, p->capture, &signature, NULL), TB_OK);
    assert_int_equal(tb_store_manifest_signed(p->store, p->capture, &other, NULL), TB_EEXIST);
    assert_true(make_manifest(p, p->capture, key.text, &seen).is_signed);
    json = entry(p, seen.custody.number + 1, &sha256);
    assert_string_equal(tb_json_str(json, "/act"), "manifest_signed");
    assert_string_equal(tb_json_str(json, "/detail/key"), key.text);
    tb_json_free(json);
}

static void
objects_of_the_log_hold_every_entry_once_and_never_change(void **state)
{
    struct place *p = *state;
    struct tb_fingerprint key = use_key(p, 1);
    struct tb_custody_object object, again;
    struct tb_signature signature = {{1}};
    struct seen seen = {0};

    /* before the manifest is made there is none */
    assert_int_equal(tb_store_custody_next(p->store, p->capture, &object, NULL), TB_ENOTFOUND);
    (void)make_manifest(p, p->capture, key.text, &seen);
    assert_int_equal(tb_store_manifest_signed(p->store, p->capture, &signature, NULL), TB_OK);
    assert_int_equal(tb_store_custody_next(p->store, p->capture, &object, NULL), TB_OK);
    assert_int_equal(object.number, 1);
    assert_int_equal(object.first, 1);
    assert_int_equal(object.last, seen.custody.number);
    /* not uploaded: the same again, whatever was added */
    assert_int_equal(tb_store_custody_add(p->store, p->capture, "download", NULL, NULL, NULL),
                     TB_OK);
    assert_int_equal(tb_store_custody_next(p->store, p->capture, &again, NULL), TB_OK);
    assert_int_equal(again.number, object.number);
    assert_int_equal(again.first, object.first);
    assert_int_equal(again.last, object.last);
    assert_int_equal(tb_store_custody_uploaded(p->store, p->capture, 1, NULL), TB_OK);
    assert_int_equal(tb_store_custody_next(p->store, p->capture, &again, NULL), TB_OK);
    assert_int_equal(again.number, 2);
    assert_int_equal(again.first, object.last + 1);
    assert_int_equal(again.last, object.last + 2);
    assert_int_equal(tb_store_custody_uploaded(p->store, p->capture, 2, NULL), TB_OK);
    assert_int_equal(tb_store_custody_next(p->store, p->capture, &again, NULL), TB_ENOTFOUND);
    assert_int_equal(tb_store_custody_uploaded(p->store, p->capture, 3, NULL), TB_ENOTFOUND);
}

static void
one_key_is_current_and_the_others_stay_known(void **state)
{
    struct place *p = *state;
    struct tb_fingerprint one = use_key(p, 1), two = use_key(p, 2);
    struct tb_key_row *keys = NULL;
    struct tb_public_key back;
    size_t count = 0;

    assert_int_equal(tb_store_key_in_bucket(p->store, one.text, NULL), TB_OK);
    assert_int_equal(tb_store_key_in_bucket(p->store, "nobody", NULL), TB_ENOTFOUND);
    assert_int_equal(tb_store_key_list(p->store, &keys, &count, NULL), TB_OK);
    assert_int_equal(count, 2);
    for (size_t i = 0; i < count; i++) {
        bool is_one = strcmp(keys[i].fingerprint.text, one.text) == 0;

        assert_true(is_one || strcmp(keys[i].fingerprint.text, two.text) == 0);
        assert_int_equal(keys[i].in_bucket, is_one);
        assert_int_equal(keys[i].current, !is_one);
        assert_int_equal(tb_public_key_parse(tb_bytes_str(keys[i].pem), &back, NULL), TB_OK);
        assert_int_equal(back.octets[0], is_one ? 1 : 2);
    }
    free(keys);
}

/* The acts of the host's log, and the decisions of alerts, as one line of text. */
static void
host_acts(struct place *p, char *out, size_t cap)
{
    char id[TB_CAPTURE_ID_SIZE];
    size_t len = 0;
    struct tb_buf line = TB_BUF_INIT(TB_CUSTODY_LINE_MAX);

    assert_int_equal(tb_store_host_log(p->store, id, NULL), TB_OK);
    assert_memory_equal(id, "log-", 4);
    out[0] = 0;
    for (int64_t n = 1; tb_store_custody_text(p->store, id, n, n, &line, NULL) == TB_OK; n++) {
        struct tb_json *json = NULL;
        const char *decision;

        assert_int_equal(tb_json_parse(tb_buf_view(&line), &json, NULL), TB_OK);
        assert_string_equal(tb_json_str(json, "/log"), id);
        decision = tb_json_str(json, "/detail/decision");
        len += (size_t)snprintf(out + len, cap - len, "%s%s%s ", tb_json_str(json, "/act"),
                                decision != NULL ? ":" : "", decision != NULL ? decision : "");
        assert_true(len < cap);
        tb_json_free(json);
        tb_buf_reset(&line);
    }
    tb_buf_release(&line);
}

static void
what_is_of_no_capture_enters_the_log_of_the_host(void **state)
{
    struct place *p = *state;
    struct tb_intake intake = {.adapter = "guardduty",
                               .key = "finding-1",
                               .body = tb_bytes_str("{}"),
                               .content_type = "application/json",
                               .remote = "203.0.113.7",
                               .token_name = "eventbridge",
                               .decision_reason = "severity 2.0 of 4.0",
                               .received_utc_ns = 1767323045 * TB_NS_PER_S};
    struct tb_resource target = {.kind = TB_RESOURCE_TARGET, .account = "111122223333"};
    struct tb_fail why = {.text = "the instance is gone"};
    char acts[500], id[TB_CAPTURE_ID_SIZE];
    enum tb_intake_outcome outcome;
    int64_t row = 0;

    assert_int_equal(tb_store_intake(p->store, &intake, &outcome, id, NULL), TB_OK);
    assert_int_equal(outcome, TB_INTAKE_IGNORED);
    assert_int_equal(tb_store_intake(p->store, &intake, &outcome, id, NULL), TB_OK);
    assert_int_equal(outcome, TB_INTAKE_DUPLICATE);
    intake.key = "finding-2";
    intake.refused = true;
    assert_int_equal(tb_store_intake(p->store, &intake, &outcome, id, NULL), TB_OK);
    assert_int_equal(tb_store_resource_intend(p->store, &target, &row, NULL), TB_OK);
    assert_int_equal(tb_store_resource_created(p->store, row, "tmt-1", "req-1", NULL), TB_OK);
    assert_int_equal(tb_store_resource_gone(p->store, row, TB_RESOURCE_DELETED, "req-2", NULL),
                     TB_OK);
    assert_int_equal(tb_store_capture_error(p->store, p->capture, &why, NULL), TB_OK);
    assert_int_equal(tb_store_capture_move(p->store, p->capture, TB_CAPTURE_REQUESTED,
                                           TB_CAPTURE_REFUSED, TB_STOP_NONE, NULL),
                     TB_OK);
    host_acts(p, acts, sizeof(acts));
    assert_string_equal(acts, "alert:capture alert:ignored alert:replay alert:refused "
                              "aws_created aws_deleted capture_ended ");
}

static void
an_object_of_the_log_keeps_its_first_signature(void **state)
{
    struct place *p = *state;
    struct tb_signature one = {{1}}, two = {{2}};
    struct tb_custody_object object;
    char id[TB_CAPTURE_ID_SIZE];

    assert_int_equal(tb_store_host_log(p->store, id, NULL), TB_OK);
    assert_int_equal(tb_store_custody_next(p->store, id, &object, NULL), TB_OK);
    assert_false(object.is_signed);
    assert_int_equal(tb_store_custody_signed(p->store, id, 1, &one, NULL), TB_OK);
    assert_int_equal(tb_store_custody_signed(p->store, id, 1, &two, NULL), TB_OK);
    assert_int_equal(two.octets[0], 1);
    assert_int_equal(tb_store_custody_next(p->store, id, &object, NULL), TB_OK);
    assert_true(object.is_signed && object.signature.octets[0] == 1);
    assert_int_equal(tb_store_custody_signed(p->store, id, 2, &two, NULL), TB_ENOTFOUND);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_act_is_an_entry_chained_to_the_one_before_it,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            what_was_never_made_or_was_gone_already_was_not_deleted_by_us, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_shortens_or_changes_the_log_not_even_by_sql,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_act_that_fails_leaves_no_entry, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_manifest_is_made_once_and_each_names_the_one_before_it_of_its_key, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(a_manifest_that_could_not_be_built_takes_no_number,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(signing_is_an_entry_and_a_second_signature_is_refused,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            objects_of_the_log_hold_every_entry_once_and_never_change, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_of_no_capture_enters_the_log_of_the_host,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_object_of_the_log_keeps_its_first_signature, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(one_key_is_current_and_the_others_stay_known, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
