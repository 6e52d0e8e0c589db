/* What the store forgets after `store.keep`, and what it never does. */
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

#define BODY "{\"what\":\"arrived\"}"

static const int64_t day_ns = 24 * 3600 * TB_NS_PER_S;

struct place {
    char dir[64];
    char path[96];
    struct tb_store *store;
};

static int
set_up(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    assert_non_null(p);
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/tapbox-kept-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(p->path, sizeof(p->path), "%s/tapbox.db", p->dir);
    tb_clock_fake(100 * day_ns, 0);
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
    tb_clock_real();
    return 0;
}

/* An alert of today; of `instance`, or one that is ignored. */
static enum tb_intake_outcome
arrive(struct place *p, const char *key, const char *instance, char id[TB_CAPTURE_ID_SIZE])
{
    struct tb_alert alert = {
        .adapter = "guardduty", .type = "Recon:EC2/Portscan", .severity = 7.5};
    struct tb_capture_request r = {.duration_ns = TB_NS_PER_S, .reason = "why"};
    struct tb_intake intake = {.adapter = "guardduty",
                               .key = key,
                               .body = tb_bytes_str(BODY),
                               .content_type = "application/json",
                               .remote = "127.0.0.1",
                               .token_name = "bus",
                               .decision_reason = "because",
                               .received_utc_ns = tb_clock_utc_ns(),
                               .alert = &alert,
                               .capture = instance[0] != 0 ? &r : NULL};
    enum tb_intake_outcome outcome;

    (void)tb_str_copy(r.instance, sizeof(r.instance), instance);
    assert_int_equal(tb_store_intake(p->store, &intake, &outcome, id, NULL), TB_OK);
    return outcome;
}

static void
move_through(struct place *p, const char *id, enum tb_capture_state to)
{
    for (int from = TB_CAPTURE_REQUESTED; from < (int)to; from++) {
        assert_int_equal(tb_store_capture_move(p->store, id, (enum tb_capture_state)from,
                                               (enum tb_capture_state)(from + 1), TB_STOP_NONE,
                                               NULL),
                         TB_OK);
    }
}

static enum tb_err
write_manifest(void *arg, const struct tb_manifest_place *place, struct tb_buf *out,
               struct tb_fail *fail)
{
    (void)place;
    tb_buf_put_str(out, arg);
    return tb_buf_check(out, "a manifest", fail);
}

/* Its manifest names what S3 has. */
static void
seal(struct place *p, const char *id, bool has_summary)
{
    static char with[] = "{\"summary\":{\"name\":\"summary.json\"}}", without[] = "{}";
    const struct tb_public_key key = {{1}};
    struct tb_buf text = TB_BUF_INIT(4096);
    struct tb_fingerprint fingerprint;
    struct tb_manifest_row row;

    assert_int_equal(tb_public_key_fingerprint(&key, &fingerprint), TB_OK);
    assert_int_equal(tb_store_key_use(p->store, &key, NULL), TB_OK);
    assert_int_equal(tb_store_manifest_make(p->store, id, fingerprint.text, write_manifest,
                                            has_summary ? with : without, &row, &text, NULL),
                     TB_OK);
    tb_buf_release(&text);
    move_through(p, id, TB_CAPTURE_SEALED);
}

static size_t
octets_of(struct place *p, const char *key)
{
    struct tb_buf body = TB_BUF_INIT(4096);
    struct tb_alert_row row;
    size_t len;

    assert_int_equal(tb_store_alert_find(p->store, 0, key, &row, &body, NULL), TB_OK);
    assert_string_equal(row.key, key);
    len = body.len;
    tb_buf_release(&body);
    return len;
}

static size_t
forget(struct place *p, int64_t keep_ns)
{
    size_t count = SIZE_MAX;

    assert_int_equal(tb_store_forget(p->store, tb_clock_utc_ns() - keep_ns, &count, NULL),
                     TB_OK);
    return count;
}

static void
octets_go_where_s3_has_them_and_their_time_is_over(void **state)
{
    struct place *p = *state;
    struct tb_buf summary = TB_BUF_INIT(64);
    char id[TB_CAPTURE_ID_SIZE];
    char other[TB_CAPTURE_ID_SIZE];

    assert_int_equal(arrive(p, "sealed", "i-00000001", id), TB_INTAKE_CREATED);
    assert_int_equal(arrive(p, "sealed-2", "i-00000001", id), TB_INTAKE_JOINED);
    assert_int_equal(arrive(p, "ignored", "", other), TB_INTAKE_IGNORED);
    assert_int_equal(arrive(p, "records", "i-00000002", other), TB_INTAKE_CREATED);
    move_through(p, other, TB_CAPTURE_RECORDING);
    assert_int_equal(tb_store_summary_put(p->store, other, tb_bytes_str("{}"), NULL), TB_OK);
    assert_int_equal(tb_store_summary_put(p->store, id, tb_bytes_str("{}"), NULL), TB_OK);
    assert_int_equal(tb_store_alert_uploaded(p->store, id, 1, NULL), TB_OK);
    tb_clock_fake_advance(9 * day_ns);
    seal(p, id, true);
    assert_int_equal(arrive(p, "young", "", other), TB_INTAKE_IGNORED);

    assert_int_equal(forget(p, 10 * day_ns), 0);
    tb_clock_fake_advance(day_ns + 1);
    /* the ignored one is old enough; the capture has ended only a day ago */
    assert_int_equal(forget(p, 10 * day_ns), 1);
    assert_int_equal(octets_of(p, "ignored"), 0);
    assert_int_equal(octets_of(p, "sealed"), strlen(BODY));
    tb_clock_fake_advance(9 * day_ns);
    /* young, sealed and the sealed capture's summary; of its second alert S3 knows nothing yet
     */
    assert_int_equal(forget(p, 10 * day_ns), 3);
    assert_int_equal(octets_of(p, "young"), 0);
    assert_int_equal(octets_of(p, "sealed"), 0);
    assert_int_equal(octets_of(p, "sealed-2"), strlen(BODY));
    assert_int_equal(tb_store_summary_get(p->store, id, &summary, NULL), TB_ENOTFOUND);
    assert_int_equal(tb_store_alert_uploaded(p->store, id, 2, NULL), TB_OK);
    assert_int_equal(forget(p, 10 * day_ns), 1);
    assert_int_equal(forget(p, 10 * day_ns), 0);
    assert_int_equal(octets_of(p, "records"), strlen(BODY));
    tb_buf_release(&summary);
}

static void
what_is_forgotten_still_makes_no_second_capture_and_is_still_listed(void **state)
{
    struct place *p = *state;
    struct tb_alert_listed *list = NULL;
    char id[TB_CAPTURE_ID_SIZE];
    char again[TB_CAPTURE_ID_SIZE];
    size_t count;

    assert_int_equal(arrive(p, "one", "i-00000001", id), TB_INTAKE_CREATED);
    assert_int_equal(arrive(p, "two", "", again), TB_INTAKE_IGNORED);
    assert_int_equal(tb_store_alert_uploaded(p->store, id, 1, NULL), TB_OK);
    move_through(p, id, TB_CAPTURE_SEALED);
    tb_clock_fake_advance(400 * day_ns);
    assert_int_equal(forget(p, 365 * day_ns), 2);

    assert_int_equal(arrive(p, "one", "i-00000001", again), TB_INTAKE_DUPLICATE);
    assert_string_equal(again, id);
    assert_int_equal(arrive(p, "two", "", again), TB_INTAKE_DUPLICATE);
    assert_int_equal(tb_store_alert_list(p->store, "", 0, 10, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 2);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(list[i].type, "Recon:EC2/Portscan");
        assert_true(list[i].severity > 7.4 && list[i].severity < 7.6);
        assert_string_equal(list[i].reason, "because");
    }
    assert_string_equal(list[1].capture_id, id);
    free(list);
}

/* It was made when the manifest was committed already. */
static void
a_summary_that_came_too_late_for_s3_stays(void **state)
{
    struct place *p = *state;
    struct tb_buf summary = TB_BUF_INIT(64);
    char id[TB_CAPTURE_ID_SIZE];

    assert_int_equal(arrive(p, "one", "i-00000001", id), TB_INTAKE_CREATED);
    seal(p, id, false);
    assert_int_equal(tb_store_summary_put(p->store, id, tb_bytes_str("{}"), NULL), TB_OK);
    tb_clock_fake_advance(400 * day_ns);
    assert_int_equal(forget(p, 365 * day_ns), 0);
    assert_int_equal(tb_store_summary_get(p->store, id, &summary, NULL), TB_OK);
    tb_buf_release(&summary);
}

static int
count_extensions(struct place *p)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    int count;

    assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM extensions", -1, &stmt, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    count = sqlite3_column_int(stmt, 0);
    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(db);
    return count;
}

static void
an_extension_that_was_open_at_the_end_goes_with_what_is_old(void **state)
{
    const struct tb_deadline deadline = tb_deadline_in(90 * TB_NS_PER_S);
    struct place *p = *state;
    char id[TB_CAPTURE_ID_SIZE];

    assert_int_equal(arrive(p, "one", "i-0123456789abcdef0", id), TB_INTAKE_CREATED);
    move_through(p, id, TB_CAPTURE_PLANNED);
    assert_int_equal(tb_store_capture_deadline(p->store, id, &deadline, NULL), TB_OK);
    assert_int_equal(tb_store_capture_move(p->store, id, TB_CAPTURE_PLANNED, TB_CAPTURE_ARMING,
                                           TB_STOP_NONE, NULL),
                     TB_OK);
    assert_int_equal(tb_store_capture_ask_extend(
                         p->store, id, deadline.utc_ns + 60 * TB_NS_PER_S, NULL, NULL),
                     TB_OK);
    (void)forget(p, -TB_NS_PER_S); /* it runs: whatever its age */
    assert_int_equal(count_extensions(p), 1);
    assert_int_equal(tb_store_capture_move(p->store, id, TB_CAPTURE_ARMING, TB_CAPTURE_DRAINING,
                                           TB_STOP_OPERATOR, NULL),
                     TB_OK);
    assert_int_equal(tb_store_capture_move(p->store, id, TB_CAPTURE_DRAINING, TB_CAPTURE_FAILED,
                                           TB_STOP_NONE, NULL),
                     TB_OK);
    assert_int_equal(forget(p, 3600 * TB_NS_PER_S), 0);
    assert_int_equal(count_extensions(p), 1);
    assert_true(forget(p, -TB_NS_PER_S) > 0);
    assert_int_equal(count_extensions(p), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(octets_go_where_s3_has_them_and_their_time_is_over),
        CASE(a_summary_that_came_too_late_for_s3_stays),
        CASE(an_extension_that_was_open_at_the_end_goes_with_what_is_old),
        CASE(what_is_forgotten_still_makes_no_second_capture_and_is_still_listed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
