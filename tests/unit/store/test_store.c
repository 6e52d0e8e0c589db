/* The store: opening, intake, captures, resources, segments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include <tapbox/ids.h>
#include <tapbox/store.h>

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
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/tapbox-store-XXXXXX");
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
reopen(struct place *p)
{
    tb_store_close(p->store);
    p->store = NULL;
    assert_int_equal(tb_store_open(p->path, &p->store, NULL), TB_OK);
}

/* A change behind the store's back, as a person with sqlite3 could make it. */
static void
run_sql(const struct place *p, const char *sql)
{
    sqlite3 *db = NULL;
    char *error = NULL;

    assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK) {
        fail_msg("%s: %s", sql, error);
    }
    sqlite3_close(db);
}

static int
count(const struct place *p, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    int n;

    assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    n = sqlite3_column_int(statement, 0);
    (void)sqlite3_finalize(statement);
    sqlite3_close(db);
    return n;
}

static struct tb_capture_request
request_for(const char *instance, const char *eni)
{
    struct tb_capture_request r = {.duration_ns = 900 * TB_NS_PER_S, .reason = "why"};

    (void)tb_str_copy(r.instance, sizeof(r.instance), instance);
    if (eni[0] != 0) {
        (void)tb_str_copy(r.enis[0], sizeof(r.enis[0]), eni);
        r.eni_count = 1;
    }
    return r;
}

static enum tb_intake_outcome
take_in(struct tb_store *store, const char *key, const struct tb_capture_request *request,
        char id[TB_CAPTURE_ID_SIZE])
{
    struct tb_intake intake = {.adapter = "guardduty",
                               .key = key,
                               .body = tb_bytes_str("{\"a\":1}"),
                               .content_type = "application/json",
                               .remote = "127.0.0.1",
                               .token_name = "eventbridge",
                               .decision_reason = "because",
                               .received_utc_ns = 42,
                               .capture = request};
    enum tb_intake_outcome outcome;
    struct tb_fail fail = {0};

    if (tb_store_intake(store, &intake, &outcome, id, &fail) != TB_OK) {
        fail_msg("%s", fail.text);
    }
    return outcome;
}

/* A new capture of an instance nobody else has. */
static void
make_capture(struct tb_store *store, char id[TB_CAPTURE_ID_SIZE])
{
    static int next = 1;
    char instance[TB_AWS_ID_SIZE];
    struct tb_capture_request r;

    (void)snprintf(instance, sizeof(instance), "i-%08x", (unsigned)next++);
    r = request_for(instance, "");
    assert_int_equal(take_in(store, "", &r, id), TB_INTAKE_CREATED);
}

static void
move_through(struct tb_store *store, const char *id, enum tb_capture_state to)
{
    for (int from = TB_CAPTURE_REQUESTED; from < (int)to; from++) {
        assert_int_equal(tb_store_capture_move(store, id, (enum tb_capture_state)from,
                                               (enum tb_capture_state)(from + 1), TB_STOP_NONE,
                                               NULL),
                         TB_OK);
    }
}

static struct tb_capture *
get(struct tb_store *store, const char *id)
{
    struct tb_capture *c = calloc(1, sizeof(*c));
    struct tb_fail fail = {0};

    assert_non_null(c);
    if (tb_store_capture_get(store, id, c, &fail) != TB_OK) {
        fail_msg("%s", fail.text);
    }
    return c;
}

/* --- opening ------------------------------------------------------------------------------ */

static void
nobody_else_may_read_the_database(void **state)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    struct place *p = *state;

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        char name[128];
        struct stat st;

        (void)snprintf(name, sizeof(name), "%s%s", p->path, ends[i]);
        assert_int_equal(stat(name, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
}

static void
a_second_opener_is_told_who_holds_it(void **state)
{
    struct place *p = *state;
    struct tb_store *second = NULL;
    struct tb_fail fail;
    char pid[32];

    assert_int_equal(tb_store_open(p->path, &second, &fail), TB_ESTATE);
    assert_null(second);
    (void)snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
    assert_non_null(strstr(fail.text, pid));
    reopen(p);
}

static void
a_database_of_a_newer_tapbox_is_left_alone(void **state)
{
    struct place *p = *state;
    struct tb_store *other = NULL;
    struct tb_fail fail;

    tb_store_close(p->store);
    p->store = NULL;
    run_sql(p, "INSERT INTO migrations VALUES (999, '0999_later', 'x', 0)");
    assert_int_equal(tb_store_open(p->path, &other, &fail), TB_ESTATE);
    assert_non_null(strstr(fail.text, "newer"));
}

static void
a_schema_step_that_was_changed_afterwards_is_noticed(void **state)
{
    struct place *p = *state;
    struct tb_store *other = NULL;
    struct tb_fail fail;

    tb_store_close(p->store);
    p->store = NULL;
    run_sql(p, "UPDATE migrations SET sha256 = 'x' WHERE version = 1");
    assert_int_equal(tb_store_open(p->path, &other, &fail), TB_EFORMAT);
    assert_non_null(strstr(fail.text, "0001_start"));
}

/* Two of one number are applied in the order of their names, whichever came first (as those of
 * 0006 once did, in the order that their names have). */
static void
each_schema_step_has_a_number_of_its_own(void **state)
{
    struct place *p = *state;

    run_sql(p, "CREATE TEMP TABLE steps (number TEXT UNIQUE);"
               "INSERT INTO steps SELECT substr(name, 1, 4) FROM migrations"
               " WHERE name <> '0006_summaries'");
}

static void
files_that_are_not_ours_are_refused(void **state)
{
    struct place *p = *state;
    struct tb_store *other = NULL;
    struct tb_fail fail;
    FILE *f;

    tb_store_close(p->store);
    p->store = NULL;
    assert_int_equal(unlink(p->path), 0);
    run_sql(p, "CREATE TABLE somebody_elses (a)");
    assert_int_equal(tb_store_open(p->path, &other, &fail), TB_EFORMAT);
    assert_non_null(strstr(fail.text, "another program"));

    f = fopen(p->path, "w");
    assert_non_null(f);
    (void)fputs("this is a text of no use to a database, but of more than a hundred octets, "
                "so that SQLite reads all of its header from it",
                f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(tb_store_open(p->path, &other, &fail), TB_EFORMAT);
    assert_null(other);
}

static void
a_folder_that_is_not_there_is_named(void **state)
{
    struct tb_store *other = NULL;
    struct tb_fail fail;

    (void)state;
    assert_int_equal(tb_store_open("/nonexistent/tapbox.db", &other, &fail), TB_ENOTFOUND);
    assert_non_null(strstr(fail.text, "/nonexistent/tapbox.db"));
}

static void
the_check_leaves_nothing_behind(void **state)
{
    struct place *p = *state;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(tb_store_check(p->store, NULL), TB_OK);
    }
    run_sql(p, "CREATE TEMP TABLE t AS SELECT 1 / (count(*) = 0) AS ok FROM counters;"
               "CREATE TEMP TABLE u (ok INTEGER NOT NULL); INSERT INTO u SELECT ok FROM t");
}

static void
enumerations_are_stored_as_names_and_others_cannot_be_written(void **state)
{
    struct place *p = *state;
    char id[TB_CAPTURE_ID_SIZE];
    sqlite3 *db = NULL;

    make_capture(p->store, id);
    run_sql(p, "UPDATE captures SET state = 'planned' WHERE state = 'requested'");
    assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "UPDATE captures SET state = 'idle'", NULL, NULL, NULL),
                     SQLITE_CONSTRAINT);
    sqlite3_close(db);
}

/* --- intake ------------------------------------------------------------------------------- */

static void
an_alert_makes_a_capture_that_can_be_read_back_whole(void **state)
{
    struct place *p = *state;
    struct tb_capture_request r = request_for("i-0123456789abcdef0", "eni-00000001");
    char id[TB_CAPTURE_ID_SIZE];
    struct tb_capture *c;
    struct tb_alert_row alert;
    struct tb_buf body = TB_BUF_INIT(1024);

    (void)tb_str_copy(r.enis[r.eni_count++], TB_AWS_ID_SIZE, "eni-00000002");
    (void)tb_str_copy(r.account, sizeof(r.account), "111122223333");
    (void)tb_str_copy(r.region, sizeof(r.region), "eu-central-1");
    (void)tb_str_copy(r.bpf, sizeof(r.bpf), "host 192.0.2.1");
    (void)tb_str_copy(r.case_id, sizeof(r.case_id), "IR-1");
    (void)tb_str_copy(r.finding_id, sizeof(r.finding_id), "f1");
    (void)tb_str_copy(r.finding_type, sizeof(r.finding_type), "Backdoor:EC2/C&CActivity.B");
    (void)tb_str_copy(r.requested_by, sizeof(r.requested_by), "eventbridge");
    r.snaplen = 256;
    r.max_bytes = INT64_MAX;
    r.max_packets = INT64_MAX - 1;
    r.severity = 8.5;
    assert_int_equal(take_in(p->store, "k", &r, id), TB_INTAKE_CREATED);
    assert_true(tb_capture_id_valid(id));
    reopen(p);

    c = get(p->store, id);
    assert_string_equal(c->id, id);
    assert_int_equal(c->state, TB_CAPTURE_REQUESTED);
    assert_int_equal(c->stop_reason, TB_STOP_NONE);
    assert_int_equal(c->alert_count, 1);
    assert_true(c->requested_utc_ns > 0);
    assert_true(c->due_steady_ns <= tb_store_steady_ns(p->store));
    assert_int_equal(c->source_count, 0);
    assert_string_equal(c->request.instance, r.instance);
    assert_int_equal(c->request.eni_count, 2);
    assert_string_equal(c->request.enis[0], "eni-00000001");
    assert_string_equal(c->request.enis[1], "eni-00000002");
    assert_string_equal(c->request.account, r.account);
    assert_string_equal(c->request.region, r.region);
    assert_int_equal(c->request.duration_ns, r.duration_ns);
    assert_int_equal(c->request.filter.kind, TB_FILTER_ALL);
    assert_int_equal(c->request.snaplen, 256);
    assert_int_equal(c->request.max_bytes, INT64_MAX);
    assert_int_equal(c->request.max_packets, INT64_MAX - 1);
    assert_string_equal(c->request.bpf, r.bpf);
    assert_string_equal(c->request.reason, r.reason);
    assert_string_equal(c->request.case_id, r.case_id);
    assert_string_equal(c->request.finding_id, r.finding_id);
    assert_string_equal(c->request.finding_type, r.finding_type);
    assert_true(c->request.severity == 8.5);
    assert_string_equal(c->request.requested_by, r.requested_by);
    free(c);

    assert_int_equal(tb_store_alert(p->store, id, 1, &alert, &body, NULL), TB_OK);
    assert_int_equal(alert.number, 1);
    assert_string_equal(alert.adapter, "guardduty");
    assert_string_equal(alert.key, "k");
    assert_string_equal(alert.remote, "127.0.0.1");
    assert_string_equal(alert.token_name, "eventbridge");
    assert_int_equal(alert.received_utc_ns, 42);
    assert_string_equal(tb_buf_str(&body), "{\"a\":1}");
    assert_int_equal(tb_store_alert(p->store, id, 2, &alert, &body, NULL), TB_ENOTFOUND);
    tb_buf_release(&body);
}

static void
bodies_come_back_octet_for_octet(void **state)
{
    struct place *p = *state;
    struct tb_capture_request r = request_for("i-00000001", "");
    static const uint8_t odd[] = {0, 0xff, '\n', '\'', 0, 0x80};
    struct tb_bytes bodies[] = {tb_bytes_of(odd, sizeof(odd)), tb_bytes_of(NULL, 0)};

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct tb_intake intake = {.adapter = "api",
                                   .key = "",
                                   .body = bodies[i],
                                   .content_type = "",
                                   .remote = "",
                                   .token_name = "",
                                   .decision_reason = "",
                                   .capture = &r};
        struct tb_buf body = TB_BUF_INIT(64);
        struct tb_alert_row alert;
        enum tb_intake_outcome outcome;
        char id[TB_CAPTURE_ID_SIZE];

        assert_int_equal(tb_store_intake(p->store, &intake, &outcome, id, NULL), TB_OK);
        assert_int_equal(tb_store_alert(p->store, id, (uint32_t)i + 1, &alert, &body, NULL),
                         TB_OK);
        assert_true(tb_bytes_equal(tb_buf_view(&body), bodies[i]));
        tb_buf_release(&body);
    }
}

static void
the_same_key_again_is_a_duplicate_also_after_a_restart_and_with_another_body(void **state)
{
    struct place *p = *state;
    struct tb_capture_request r = request_for("i-00000001", "");
    char first[TB_CAPTURE_ID_SIZE];
    char again[TB_CAPTURE_ID_SIZE];
    struct tb_capture *c;

    assert_int_equal(take_in(p->store, "k", &r, first), TB_INTAKE_CREATED);
    reopen(p);
    r = request_for("i-00000002", "");
    assert_int_equal(take_in(p->store, "k", &r, again), TB_INTAKE_DUPLICATE);
    assert_string_equal(again, first);
    move_through(p->store, first, TB_CAPTURE_SEALED);
    assert_int_equal(take_in(p->store, "k", &r, again), TB_INTAKE_DUPLICATE);
    assert_string_equal(again, first);
    c = get(p->store, first);
    assert_int_equal(c->alert_count, 1);
    free(c);
}

static void
an_ignored_alert_is_remembered_without_a_capture(void **state)
{
    struct place *p = *state;
    struct tb_capture_request r = request_for("i-00000001", "");
    char id[TB_CAPTURE_ID_SIZE];
    struct tb_capture *list = NULL;
    size_t count;

    assert_int_equal(take_in(p->store, "k", NULL, id), TB_INTAKE_IGNORED);
    assert_string_equal(id, "");
    assert_int_equal(take_in(p->store, "k", &r, id), TB_INTAKE_DUPLICATE);
    assert_string_equal(id, "");
    assert_int_equal(tb_store_capture_list(p->store, false, 10, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 0);
    assert_null(list);
}

static void
requests_without_a_key_are_never_duplicates(void **state)
{
    struct place *p = *state;
    char a[TB_CAPTURE_ID_SIZE];
    char b[TB_CAPTURE_ID_SIZE];

    make_capture(p->store, a);
    make_capture(p->store, b);
    assert_string_not_equal(a, b);
}

/* Who joins whom: the first request, its resolution, the second request. */
static void
alerts_join_the_capture_that_covers_their_source(void **state)
{
    static const struct {
        const char *what;
        const char *instance, *eni;               /* the running capture's request */
        const char *source_instance, *source_eni; /* what it came down to, "" : nothing yet */
        const char *then_instance, *then_eni;     /* the alert */
        enum tb_intake_outcome outcome;
    } cases[] = {
        {"same interface asked", "", "eni-1", "", "", "", "eni-1", TB_INTAKE_JOINED},
        {"same instance asked", "i-1", "", "", "", "i-1", "", TB_INTAKE_JOINED},
        {"interface of a whole instance, unresolved", "i-1", "", "", "", "i-1", "eni-1",
         TB_INTAKE_JOINED},
        {"interface of a whole instance, resolved", "i-1", "", "i-1", "eni-1", "", "eni-1",
         TB_INTAKE_JOINED},
        {"instance of an interface, resolved", "", "eni-1", "i-1", "eni-1", "i-1", "",
         TB_INTAKE_CREATED},
        {"instance of an interface, named with it", "i-1", "eni-1", "", "", "i-1", "",
         TB_INTAKE_CREATED},
        {"somebody asks for all of an instance of which one interface is tapped", "i-1",
         "eni-1", "i-1", "eni-1", "i-1", "", TB_INTAKE_CREATED},
        {"somebody asks for what is tapped as a whole", "i-1", "", "i-1", "eni-1", "i-1", "",
         TB_INTAKE_JOINED},
        {"other interface of the instance", "i-1", "eni-1", "", "", "i-1", "eni-2",
         TB_INTAKE_CREATED},
        {"other interface of the instance, resolved", "i-1", "eni-1", "i-1", "eni-1", "i-1",
         "eni-2", TB_INTAKE_CREATED},
        {"other interface", "", "eni-1", "", "", "", "eni-2", TB_INTAKE_CREATED},
        {"other instance", "i-1", "", "i-1", "eni-1", "i-2", "", TB_INTAKE_CREATED},
        {"two unattached interfaces", "", "eni-1", "", "eni-1", "", "eni-2", TB_INTAKE_CREATED},
    };
    struct place *p = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_capture_request r = request_for(cases[i].instance, cases[i].eni);
        struct tb_capture_source s = {0};
        char first[TB_CAPTURE_ID_SIZE];
        char second[TB_CAPTURE_ID_SIZE];
        enum tb_intake_outcome outcome;

        assert_int_equal(take_in(p->store, "", &r, first), TB_INTAKE_CREATED);
        if (cases[i].source_eni[0] != 0) {
            (void)tb_str_copy(s.eni, sizeof(s.eni), cases[i].source_eni);
            (void)tb_str_copy(s.instance, sizeof(s.instance), cases[i].source_instance);
            assert_int_equal(tb_store_capture_sources(p->store, first, &s, 1, NULL), TB_OK);
        }
        r = request_for(cases[i].then_instance, cases[i].then_eni);
        if (strncmp(cases[i].what, "somebody", 8) != 0) { /* else a finding says so */
            (void)strcpy(r.finding_id, "f-1");
        }
        outcome = take_in(p->store, "", &r, second);
        if (outcome != cases[i].outcome) {
            fail_msg("%s: outcome %d", cases[i].what, (int)outcome);
        }
        if (outcome == TB_INTAKE_JOINED) {
            struct tb_capture *c = get(p->store, first);

            assert_string_equal(second, first);
            assert_int_equal(c->alert_count, 2);
            free(c);
        } else {
            move_through(p->store, second, TB_CAPTURE_SEALED);
        }
        move_through(p->store, first, TB_CAPTURE_SEALED);
    }
}

static void
only_a_capture_that_is_not_yet_draining_is_joined(void **state)
{
    struct place *p = *state;
    struct tb_capture_request r = request_for("i-00000001", "");

    for (int to = TB_CAPTURE_REQUESTED; to <= TB_CAPTURE_SEALED; to++) {
        char first[TB_CAPTURE_ID_SIZE];
        char second[TB_CAPTURE_ID_SIZE];
        enum tb_intake_outcome outcome;

        assert_int_equal(take_in(p->store, "", &r, first), TB_INTAKE_CREATED);
        move_through(p->store, first, (enum tb_capture_state)to);
        outcome = take_in(p->store, "", &r, second);
        assert_int_equal(outcome,
                         to < TB_CAPTURE_DRAINING ? TB_INTAKE_JOINED : TB_INTAKE_CREATED);
        for (int from = to; from < TB_CAPTURE_SEALED; from++) {
            assert_int_equal(tb_store_capture_move(p->store, first, (enum tb_capture_state)from,
                                                   (enum tb_capture_state)(from + 1),
                                                   TB_STOP_NONE, NULL),
                             TB_OK);
        }
        if (outcome == TB_INTAKE_CREATED) {
            move_through(p->store, second, TB_CAPTURE_SEALED);
        }
    }
}

static void
a_capture_that_was_asked_to_stop_is_not_joined(void **state)
{
    struct place *p = *state;
    struct tb_capture_request r = request_for("i-00000001", "");
    char first[TB_CAPTURE_ID_SIZE];
    char second[TB_CAPTURE_ID_SIZE];

    assert_int_equal(take_in(p->store, "", &r, first), TB_INTAKE_CREATED);
    move_through(p->store, first, TB_CAPTURE_RECORDING);
    assert_int_equal(tb_store_capture_ask_stop(p->store, first, TB_STOP_OPERATOR, NULL, NULL),
                     TB_OK);
    assert_int_equal(take_in(p->store, "", &r, second), TB_INTAKE_CREATED);
}

static void
of_a_capture_a_bounded_number_of_alerts_is_evidence(void **state)
{
    struct place *p = *state;
    struct tb_capture_request r = request_for("i-00000001", "");
    struct tb_intake intake = {.adapter = "guardduty",
                               .key = "late",
                               .content_type = "",
                               .remote = "",
                               .token_name = "",
                               .decision_reason = "",
                               .capture = &r};
    enum tb_intake_outcome outcome;
    char id[TB_CAPTURE_ID_SIZE];
    struct tb_capture capture;

    assert_int_equal(take_in(p->store, "", &r, id), TB_INTAKE_CREATED);
    run_sql(p, "UPDATE alerts SET number = 9998");
    assert_int_equal(take_in(p->store, "", &r, id), TB_INTAKE_JOINED);
    assert_int_equal(tb_store_intake(p->store, &intake, &outcome, id, NULL), TB_OK);
    assert_int_equal(outcome, TB_INTAKE_JOINED);
    assert_int_equal(count(p,
                           "SELECT count(*) FROM alerts WHERE key = 'late' AND number IS NULL"
                           " AND capture_id IS NOT NULL"),
                     1);
    assert_int_equal(
        count(p, "SELECT count(*) FROM custody WHERE log_id = (SELECT id FROM captures)"
                 " AND json_extract(line, '$.act') = 'alert'"
                 " AND json_extract(line, '$.detail.key') = 'late'"
                 " AND json_type(line, '$.detail.number') = 'null'"),
        1);
    assert_int_equal(tb_store_capture_get(p->store, id, &capture, NULL), TB_OK);
    assert_int_equal(capture.alert_count, 9999);
    /* known from then on: sent again, it is there */
    assert_int_equal(tb_store_intake(p->store, &intake, &outcome, id, NULL), TB_OK);
    assert_int_equal(outcome, TB_INTAKE_DUPLICATE);
    run_sql(p, "UPDATE alerts SET number = 5 WHERE number = 9998;"
               "UPDATE alerts SET number = 6 WHERE number = 9999");
    assert_int_equal(take_in(p->store, "", &r, id), TB_INTAKE_JOINED);
    assert_int_equal(count(p, "SELECT max(number) FROM alerts"), 7);
}

static void
a_request_that_names_no_source_is_refused(void **state)
{
    struct place *p = *state;
    struct tb_capture_request r = request_for("", "");
    struct tb_intake intake = {.adapter = "api", .key = "", .capture = &r};
    enum tb_intake_outcome outcome;
    char id[TB_CAPTURE_ID_SIZE];

    assert_int_equal(tb_store_intake(p->store, &intake, &outcome, id, NULL), TB_EINVAL);
}

/* --- captures ----------------------------------------------------------------------------- */

static void
moves_follow_the_table_and_set_their_times(void **state)
{
    struct place *p = *state;
    char id[TB_CAPTURE_ID_SIZE];
    struct tb_capture *c;
    struct tb_fail fail;

    tb_clock_fake(1000 * TB_NS_PER_S, 0);
    make_capture(p->store, id);
    assert_int_equal(tb_store_capture_move(p->store, id, TB_CAPTURE_REQUESTED,
                                           TB_CAPTURE_RECORDING, TB_STOP_NONE, NULL),
                     TB_ESTATE);
    assert_int_equal(tb_store_capture_move(p->store, id, TB_CAPTURE_PLANNED, TB_CAPTURE_ARMING,
                                           TB_STOP_NONE, &fail),
                     TB_ESTATE);
    assert_non_null(strstr(fail.text, "requested"));
    assert_int_equal(tb_store_capture_move(p->store, "cap-20260102T030405Z-00000000",
                                           TB_CAPTURE_PLANNED, TB_CAPTURE_ARMING, TB_STOP_NONE,
                                           NULL),
                     TB_ENOTFOUND);
    move_through(p->store, id, TB_CAPTURE_ARMING);
    tb_clock_fake_advance(TB_NS_PER_S);
    assert_int_equal(tb_store_capture_move(p->store, id, TB_CAPTURE_ARMING,
                                           TB_CAPTURE_RECORDING, TB_STOP_NONE, NULL),
                     TB_OK);
    tb_clock_fake_advance(TB_NS_PER_S);
    assert_int_equal(tb_store_capture_move(p->store, id, TB_CAPTURE_RECORDING,
                                           TB_CAPTURE_DRAINING, TB_STOP_DEADLINE, NULL),
                     TB_OK);
    tb_clock_fake_advance(TB_NS_PER_S);
    assert_int_equal(tb_store_capture_move(p->store, id, TB_CAPTURE_DRAINING,
                                           TB_CAPTURE_SEALING, TB_STOP_NONE, NULL),
                     TB_OK);
    tb_clock_fake_advance(TB_NS_PER_S);
    assert_int_equal(tb_store_capture_move(p->store, id, TB_CAPTURE_SEALING, TB_CAPTURE_SEALED,
                                           TB_STOP_NONE, NULL),
                     TB_OK);
    tb_clock_real();
    c = get(p->store, id);
    assert_int_equal(c->state, TB_CAPTURE_SEALED);
    assert_int_equal(c->stop_reason, TB_STOP_DEADLINE);
    assert_int_equal(c->requested_utc_ns, 1000 * TB_NS_PER_S);
    assert_int_equal(c->recording_utc_ns, 1001 * TB_NS_PER_S);
    assert_int_equal(c->stopped_utc_ns, 1003 * TB_NS_PER_S);
    assert_int_equal(c->ended_utc_ns, 1004 * TB_NS_PER_S);
    assert_true(c->ended_steady_ns == c->stopped_steady_ns + TB_NS_PER_S);
    assert_true(c->due_steady_ns == c->ended_steady_ns);
    free(c);
}

/* Set forward or back, by hours, while the store is open or closed. */
static void
nobody_who_sets_the_clock_moves_the_stores(void **state)
{
    static const int64_t jumps_s[] = {7, -7, 3600, -3600, 86400, -86400};
    struct place *p = *state;
    char id[TB_CAPTURE_ID_SIZE];
    struct tb_resource intent = {.kind = TB_RESOURCE_SESSION, .key = "eni-1"};
    struct tb_resource *list = NULL;
    size_t count = 0;
    int64_t row = 0;
    int64_t utc = tb_clock_utc_ns();
    int64_t boot = tb_clock_boot_ns();
    int64_t then;

    tb_clock_fake(utc, boot);
    make_capture(p->store, id);
    (void)tb_str_copy(intent.capture_id, sizeof(intent.capture_id), id);
    assert_int_equal(tb_store_resource_intend(p->store, &intent, &row, NULL), TB_OK);
    assert_int_equal(tb_store_resource_created(p->store, row, "tms-1", "", NULL), TB_OK);
    then = tb_store_steady_ns(p->store);
    for (size_t i = 0; i < sizeof(jumps_s) / sizeof(jumps_s[0]); i++) {
        boot += 5 * TB_NS_PER_S;
        utc += (5 + jumps_s[i]) * TB_NS_PER_S;
        tb_clock_fake(utc, boot);
        if (i % 2 == 1) {
            reopen(p);
        }
        assert_true(tb_store_steady_ns(p->store) - then == (int64_t)(i + 1) * 5 * TB_NS_PER_S);
    }
    assert_int_equal(tb_store_resource_list(p->store, id, false, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 1);
    assert_true(list[0].created_steady_ns == then);
    tb_resources_free(list, count);
    tb_clock_real();
}

/* The clock was an hour ahead when the host started last time, and is right this time. */
static void
nothing_of_an_earlier_boot_is_still_to_come(void **state)
{
    struct place *p = *state;
    char id[TB_CAPTURE_ID_SIZE];
    struct tb_resource intent = {.kind = TB_RESOURCE_SESSION, .key = "eni-1"};
    struct tb_resource *list = NULL;
    struct tb_capture *c;
    size_t count = 0;
    int64_t row = 0;

    make_capture(p->store, id);
    (void)tb_str_copy(intent.capture_id, sizeof(intent.capture_id), id);
    assert_int_equal(tb_store_resource_intend(p->store, &intent, &row, NULL), TB_OK);
    assert_int_equal(tb_store_resource_created(p->store, row, "tms-1", "", NULL), TB_OK);
    assert_int_equal(tb_store_resource_gone(p->store, row, TB_RESOURCE_DELETED, "", NULL),
                     TB_OK);
    move_through(p->store, id, TB_CAPTURE_SEALED);
    run_sql(p, "UPDATE steady SET boot_id = 'another';"
               "UPDATE captures SET stopped_steady_ns = stopped_steady_ns + 3600000000000,"
               " ended_steady_ns = ended_steady_ns + 3600000000000;"
               "UPDATE resources SET created_steady_ns = created_steady_ns + 3600000000000,"
               " gone_steady_ns = gone_steady_ns + 3600000000000");
    reopen(p);
    c = get(p->store, id);
    assert_true(c->stopped_steady_ns <= tb_store_steady_ns(p->store));
    assert_true(c->ended_steady_ns <= tb_store_steady_ns(p->store));
    free(c);
    assert_int_equal(tb_store_resource_list(p->store, id, true, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 1);
    assert_true(list[0].created_steady_ns <= tb_store_steady_ns(p->store));
    assert_true(list[0].gone_steady_ns <= tb_store_steady_ns(p->store));
    assert_true(list[0].gone_steady_ns > 0);
    tb_resources_free(list, count);
}

static void
what_waits_is_looked_at_once_when_the_store_is_opened(void **state)
{
    struct place *p = *state;
    char id[TB_CAPTURE_ID_SIZE];
    struct tb_due *due = NULL;
    size_t count = 0;

    make_capture(p->store, id);
    assert_int_equal(tb_store_capture_later(p->store, id,
                                            tb_store_steady_ns(p->store) + 3600 * TB_NS_PER_S,
                                            NULL, NULL),
                     TB_OK);
    reopen(p);
    assert_int_equal(tb_store_due_list(p->store, &due, &count, NULL), TB_OK);
    assert_int_equal(count, 1);
    assert_true(due[0].due_steady_ns <= tb_store_steady_ns(p->store));
    free(due);
}

/* An attack sequence is one finding, of which each instance has a capture of its own. */
static void
of_a_finding_only_what_was_captured_cools(void **state)
{
    static const struct {
        const char *key, *instance, *enis[2];
        enum tb_intake_outcome outcome;
    } then[] = {
        {"again", "i-0000000a", {NULL}, TB_INTAKE_COOLING},
        {"more", "i-0000000b", {NULL}, TB_INTAKE_CREATED},
        {"interface", "", {"eni-0000000c", NULL}, TB_INTAKE_COOLING},
        {"interfaces", "", {"eni-0000000c", "eni-0000000d"}, TB_INTAKE_CREATED},
        {"sealing", "i-0000000e", {NULL}, TB_INTAKE_COOLING},
        {"draining", "i-0000000f", {NULL}, TB_INTAKE_COOLING},
    };
    struct place *p = *state;
    struct tb_capture_request r = request_for("i-0000000a", "");
    char id[TB_CAPTURE_ID_SIZE];

    (void)tb_str_copy(r.finding_id, sizeof(r.finding_id), "sequence");
    assert_int_equal(take_in(p->store, "1", &r, id), TB_INTAKE_CREATED);
    move_through(p->store, id, TB_CAPTURE_SEALED);
    r = request_for("", "eni-0000000c");
    (void)tb_str_copy(r.finding_id, sizeof(r.finding_id), "sequence");
    assert_int_equal(take_in(p->store, "2", &r, id), TB_INTAKE_CREATED);
    move_through(p->store, id, TB_CAPTURE_SEALED);
    /* S3 does not have all of it yet; the other is being taken down */
    r = request_for("i-0000000e", "");
    (void)tb_str_copy(r.finding_id, sizeof(r.finding_id), "sequence");
    assert_int_equal(take_in(p->store, "3", &r, id), TB_INTAKE_CREATED);
    move_through(p->store, id, TB_CAPTURE_SEALING);
    r = request_for("i-0000000f", "");
    (void)tb_str_copy(r.finding_id, sizeof(r.finding_id), "sequence");
    assert_int_equal(take_in(p->store, "4", &r, id), TB_INTAKE_CREATED);
    move_through(p->store, id, TB_CAPTURE_DRAINING);
    for (size_t i = 0; i < sizeof(then) / sizeof(then[0]); i++) {
        enum tb_intake_outcome outcome;
        struct tb_intake intake = {.adapter = "guardduty",
                                   .key = then[i].key,
                                   .body = tb_bytes_str("{}"),
                                   .content_type = "application/json",
                                   .remote = "127.0.0.1",
                                   .token_name = "eventbridge",
                                   .decision_reason = "because",
                                   .cooldown_ns = 3600 * TB_NS_PER_S,
                                   .capture = &r};

        r = request_for(then[i].instance, "");
        (void)tb_str_copy(r.finding_id, sizeof(r.finding_id), "sequence");
        for (size_t e = 0; e < 2 && then[i].enis[e] != NULL; e++) {
            (void)tb_str_copy(r.enis[r.eni_count++], sizeof(r.enis[0]), then[i].enis[e]);
        }
        assert_int_equal(tb_store_intake(p->store, &intake, &outcome, id, NULL), TB_OK);
        assert_int_equal(outcome, then[i].outcome);
    }
}

static void
sources_deadline_and_ledger_are_replaced_whole(void **state)
{
    struct place *p = *state;
    struct tb_capture_source sources[TB_CAPTURE_MAX_LISTED];
    struct tb_deadline deadline = {.utc_ns = 5, .boot_ns = 6, .boot_id = "boot"};
    struct tb_ledger ledger;
    char id[TB_CAPTURE_ID_SIZE];
    struct tb_capture *c;

    memset(sources, 0, sizeof(sources));
    make_capture(p->store, id);
    for (size_t i = 0; i < TB_CAPTURE_MAX_LISTED; i++) {
        (void)snprintf(sources[i].eni, sizeof(sources[i].eni), "eni-%08zx", i);
        sources[i].vni = (uint32_t)i + 1;
    }
    assert_int_equal(
        tb_store_capture_sources(p->store, id, sources, TB_CAPTURE_MAX_LISTED, NULL), TB_OK);
    (void)tb_str_copy(sources[0].instance, TB_AWS_ID_SIZE, "i-00000001");
    (void)tb_str_copy(sources[0].mac, TB_MAC_TEXT_SIZE, "02:00:00:00:00:01");
    (void)tb_str_copy(sources[0].ip, TB_IP_TEXT_SIZE, "10.0.0.1");
    (void)tb_str_copy(sources[0].subnet, TB_AWS_ID_SIZE, "subnet-1");
    (void)tb_str_copy(sources[0].vpc, TB_AWS_ID_SIZE, "vpc-1");
    (void)tb_str_copy(sources[0].account, TB_ACCOUNT_SIZE, "111122223333");
    (void)tb_str_copy(sources[0].gap, TB_CAPTURE_MAX_TEXT, "type not supported");
    sources[0].vni = 0xffffff;
    sources[0].session_number = 32766;
    sources[0].armed = true;
    assert_int_equal(tb_store_capture_sources(p->store, id, sources, 1, NULL), TB_OK);
    assert_int_equal(tb_store_capture_deadline(p->store, id, &deadline, NULL), TB_OK);
    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        tb_ledger_set(&ledger, i, 1000 + i);
    }
    assert_int_equal(tb_store_capture_ledger(p->store, id, &ledger, NULL), TB_OK);
    reopen(p);

    c = get(p->store, id);
    assert_int_equal(c->source_count, 1);
    assert_memory_equal(&c->sources[0], &sources[0], sizeof(sources[0]));
    assert_int_equal(c->deadline.utc_ns, deadline.utc_ns);
    assert_int_equal(c->deadline.boot_ns, deadline.boot_ns);
    assert_string_equal(c->deadline.boot_id, deadline.boot_id);
    assert_memory_equal(&c->ledger, &ledger, sizeof(ledger));
    free(c);
    assert_int_equal(tb_store_capture_sources(p->store, "cap-none", sources, 1, NULL),
                     TB_ENOTFOUND);
    assert_int_equal(tb_store_capture_deadline(p->store, "cap-none", &deadline, NULL),
                     TB_ENOTFOUND);
    assert_int_equal(tb_store_capture_ledger(p->store, "cap-none", &ledger, NULL),
                     TB_ENOTFOUND);
}

static void
a_retry_leaves_its_error_until_the_next_step_and_the_last_one_stays(void **state)
{
    struct place *p = *state;
    char id[TB_CAPTURE_ID_SIZE];
    struct tb_fail error = {.err = TB_ETHROTTLE,
                            .code = "RequestLimitExceeded",
                            .text = "slow",
                            .request_id = "r-1"};
    struct tb_capture *c;

    make_capture(p->store, id);
    assert_int_equal(tb_store_capture_later(p->store, id, 77, &error, NULL), TB_OK);
    assert_int_equal(tb_store_capture_later(p->store, id, 78, &error, NULL), TB_OK);
    c = get(p->store, id);
    assert_int_equal(c->attempt, 2);
    assert_int_equal(c->due_steady_ns, 78);
    assert_string_equal(c->error_code, "RequestLimitExceeded");
    assert_string_equal(c->error_text, "slow");
    assert_string_equal(c->error_request_id, "r-1");
    free(c);
    move_through(p->store, id, TB_CAPTURE_PLANNED);
    c = get(p->store, id);
    assert_int_equal(c->attempt, 0);
    assert_string_equal(c->error_text, "");
    free(c);

    error.code[0] = 0;
    (void)tb_str_copy(error.text, sizeof(error.text), "it is gone");
    assert_int_equal(tb_store_capture_error(p->store, id, &error, NULL), TB_OK);
    (void)tb_str_copy(error.text, sizeof(error.text), "later");
    assert_int_equal(tb_store_capture_later(p->store, id, 79, &error, NULL), TB_OK);
    assert_int_equal(tb_store_capture_move(p->store, id, TB_CAPTURE_PLANNED, TB_CAPTURE_FAILED,
                                           TB_STOP_FAILURE, NULL),
                     TB_OK);
    c = get(p->store, id);
    assert_string_equal(c->error_code, "throttled");
    assert_string_equal(c->error_text, "it is gone");
    assert_true(c->ended_utc_ns != 0);
    assert_int_equal(c->stopped_utc_ns, 0);
    free(c);
}

static void
a_stop_is_due_at_once_and_keeps_its_first_reason(void **state)
{
    struct place *p = *state;
    char id[TB_CAPTURE_ID_SIZE];
    struct tb_capture *c;
    struct tb_fail fail;
    int64_t far = tb_store_steady_ns(p->store) + 3600 * TB_NS_PER_S;

    make_capture(p->store, id);
    move_through(p->store, id, TB_CAPTURE_RECORDING);
    assert_int_equal(tb_store_capture_later(p->store, id, far, NULL, NULL), TB_OK);
    assert_int_equal(tb_store_capture_ask_stop(p->store, id, TB_STOP_OPERATOR, NULL, NULL),
                     TB_OK);
    assert_int_equal(tb_store_capture_ask_stop(p->store, id, TB_STOP_BUDGET, NULL, NULL),
                     TB_OK);
    c = get(p->store, id);
    assert_true(c->stop_asked);
    assert_int_equal(c->stop_reason, TB_STOP_OPERATOR);
    assert_true(c->due_steady_ns <= tb_store_steady_ns(p->store));
    free(c);

    assert_int_equal(tb_store_capture_move(p->store, id, TB_CAPTURE_RECORDING,
                                           TB_CAPTURE_DRAINING, TB_STOP_NONE, NULL),
                     TB_OK);
    assert_int_equal(tb_store_capture_ask_stop(p->store, id, TB_STOP_OPERATOR, NULL, &fail),
                     TB_ESTATE);
    assert_non_null(strstr(fail.text, "draining"));
    assert_int_equal(
        tb_store_capture_ask_stop(p->store, "cap-none", TB_STOP_OPERATOR, NULL, NULL),
        TB_ENOTFOUND);
}

static void
lists_are_in_their_order_and_within_their_limit(void **state)
{
    struct place *p = *state;
    char ids[3][TB_CAPTURE_ID_SIZE];
    struct tb_capture *list = NULL;
    struct tb_due *due = NULL;
    size_t count = 0;

    for (int i = 0; i < 3; i++) {
        make_capture(p->store, ids[i]);
    }
    assert_int_equal(tb_store_capture_move(p->store, ids[1], TB_CAPTURE_REQUESTED,
                                           TB_CAPTURE_REFUSED, TB_STOP_NONE, NULL),
                     TB_OK);
    assert_int_equal(tb_store_capture_later(p->store, ids[0], INT64_MAX, NULL, NULL), TB_OK);

    assert_int_equal(tb_store_capture_list(p->store, false, 100, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(list[i].id, ids[2 - i]);
    }
    free(list);
    assert_int_equal(tb_store_capture_list(p->store, true, 100, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 2);
    free(list);
    assert_int_equal(tb_store_capture_list(p->store, false, 1, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 1);
    assert_string_equal(list[0].id, ids[2]);
    free(list);
    assert_int_equal(tb_store_due_list(p->store, &due, &count, NULL), TB_OK);
    assert_int_equal(count, 2);
    assert_string_equal(due[0].id, ids[2]);
    assert_string_equal(due[1].id, ids[0]);
    assert_int_equal(due[1].due_steady_ns, INT64_MAX);
    assert_int_equal(due[0].state, TB_CAPTURE_REQUESTED);
    free(due);
}

static void
a_capture_that_is_not_there_is_not_found(void **state)
{
    struct place *p = *state;
    struct tb_capture *c = calloc(1, sizeof(*c));

    assert_int_equal(tb_store_capture_get(p->store, "cap-none", c, NULL), TB_ENOTFOUND);
    free(c);
}

static void
a_row_that_nobody_writes_is_an_error_and_not_a_crash(void **state)
{
    static const char *const edits[] = {
        "UPDATE captures SET ledger = '{'",
        "UPDATE captures SET region = printf('%.*c', 100, 'x')",
        "INSERT INTO capture_enis SELECT id, 1, printf('%.*c', 100, 'x') FROM captures",
        "WITH RECURSIVE n(i) AS (VALUES (0) UNION SELECT i + 1 FROM n WHERE i < 20)"
        " INSERT INTO capture_enis SELECT id, i, 'eni-1' FROM captures, n",
        "WITH RECURSIVE n(i) AS (VALUES (0) UNION SELECT i + 1 FROM n WHERE i < 40)"
        " INSERT INTO capture_sources SELECT id, i, '', '', '', '', '', '', '', 0, 0, 0, '', "
        "'', ''"
        " FROM captures, n",
    };
    struct place *p = *state;
    struct tb_capture *c = calloc(1, sizeof(*c));

    for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
        char id[TB_CAPTURE_ID_SIZE];
        struct tb_fail fail;

        make_capture(p->store, id);
        run_sql(p, edits[i]);
        assert_int_equal(tb_store_capture_get(p->store, id, c, &fail), TB_EFORMAT);
        assert_true(fail.text[0] != 0);
        run_sql(p, "DELETE FROM capture_enis; DELETE FROM capture_sources; DELETE FROM alerts;"
                   "DELETE FROM captures");
    }
    free(c);
}

/* --- resources ---------------------------------------------------------------------------- */

static void
an_aws_object_goes_from_intent_to_gone(void **state)
{
    struct place *p = *state;
    char id[TB_CAPTURE_ID_SIZE];
    struct tb_resource intent = {.kind = TB_RESOURCE_SESSION,
                                 .place = "111122223333/eu-central-1",
                                 .key = "eni-1",
                                 .client_token = "token",
                                 .params =
                                     (char *)(uintptr_t) "Action=CreateTrafficMirrorSession",
                                 .expires_utc_s = 99};
    struct tb_resource *list = NULL;
    size_t count = 0;
    int64_t row = 0;

    make_capture(p->store, id);
    (void)tb_str_copy(intent.capture_id, sizeof(intent.capture_id), id);
    assert_int_equal(tb_store_resource_intend(p->store, &intent, &row, NULL), TB_OK);
    reopen(p);
    assert_int_equal(tb_store_resource_list(p->store, id, false, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 1);
    assert_int_equal(list[0].row, row);
    assert_int_equal(list[0].kind, TB_RESOURCE_SESSION);
    assert_int_equal(list[0].state, TB_RESOURCE_INTENDED);
    assert_string_equal(list[0].capture_id, id);
    assert_string_equal(list[0].place, "111122223333/eu-central-1");
    assert_string_equal(list[0].key, "eni-1");
    assert_string_equal(list[0].client_token, "token");
    assert_string_equal(list[0].params, intent.params);
    assert_int_equal(list[0].expires_utc_s, 99);
    tb_resources_free(list, count);

    assert_int_equal(tb_store_resource_created(p->store, row, "tms-1", "req-1", NULL), TB_OK);
    assert_int_equal(tb_store_resource_deleting(p->store, row, true, NULL), TB_OK);
    /* a late reply does not undo the decision to delete */
    assert_int_equal(tb_store_resource_created(p->store, row, "tms-1", "req-1", NULL), TB_OK);
    assert_int_equal(tb_store_resource_list(p->store, id, false, &list, &count, NULL), TB_OK);
    assert_int_equal(list[0].state, TB_RESOURCE_DELETING);
    assert_string_equal(list[0].aws_id, "tms-1");
    assert_string_equal(list[0].create_request_id, "req-1");
    assert_true(list[0].created_utc_ns > 0);
    tb_resources_free(list, count);

    assert_int_equal(tb_store_resource_gone(p->store, row, TB_RESOURCE_DELETED, "req-2", NULL),
                     TB_OK);
    assert_int_equal(tb_store_resource_deleting(p->store, row, true, NULL), TB_OK);
    assert_int_equal(tb_store_resource_list(p->store, id, false, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 0);
    assert_null(list);
    assert_int_equal(tb_store_resource_list(p->store, id, true, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 1);
    assert_int_equal(list[0].state, TB_RESOURCE_GONE);
    assert_string_equal(list[0].delete_request_id, "req-2");
    assert_true(list[0].gone_utc_ns > 0);
    tb_resources_free(list, count);
    assert_int_equal(tb_store_resource_gone(p->store, row + 1, TB_RESOURCE_DELETED, "", NULL),
                     TB_ENOTFOUND);
}

static void
standing_objects_belong_to_no_capture(void **state)
{
    struct place *p = *state;
    struct tb_resource intent = {.kind = TB_RESOURCE_TARGET, .key = "eni-9"};
    struct tb_resource *list = NULL;
    char id[TB_CAPTURE_ID_SIZE];
    size_t count = 0;
    int64_t row;

    make_capture(p->store, id);
    assert_int_equal(tb_store_resource_intend(p->store, &intent, &row, NULL), TB_OK);
    assert_int_equal(tb_store_resource_list(p->store, "", true, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 1);
    assert_string_equal(list[0].capture_id, "");
    assert_string_equal(list[0].params, "");
    tb_resources_free(list, count);
    assert_int_equal(tb_store_resource_list(p->store, id, true, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 0);
    (void)tb_str_copy(intent.capture_id, sizeof(intent.capture_id), "cap-none");
    assert_int_equal(tb_store_resource_intend(p->store, &intent, &row, NULL), TB_ENOTFOUND);
}

static void
vnis_are_never_zero_and_never_one_in_use(void **state)
{
    struct place *p = *state;
    char id[TB_CAPTURE_ID_SIZE];
    struct tb_capture_source sources[3];
    uint32_t vni = 0;
    uint32_t last;

    assert_int_equal(tb_store_vni_allocate(p->store, &vni, NULL), TB_OK);
    assert_in_range(vni, 1, 0xffffff);
    last = vni;
    assert_int_equal(tb_store_vni_allocate(p->store, &vni, NULL), TB_OK);
    assert_int_equal(vni,
                     last % 0xffffff + 1); /* also when nobody has written the first down */

    memset(sources, 0, sizeof(sources));
    make_capture(p->store, id);
    sources[0].vni = 0xffffff;
    sources[1].vni = 1;
    sources[2].vni = 2;
    for (int i = 0; i < 3; i++) {
        (void)snprintf(sources[i].eni, sizeof(sources[i].eni), "eni-%d", i);
    }
    assert_int_equal(tb_store_capture_sources(p->store, id, sources, 3, NULL), TB_OK);
    run_sql(p, "UPDATE counters SET value = 16777214 WHERE name = 'vni'");
    assert_int_equal(tb_store_vni_allocate(p->store, &vni, NULL), TB_OK);
    assert_int_equal(vni, 3);

    move_through(p->store, id, TB_CAPTURE_SEALED);
    run_sql(p, "UPDATE counters SET value = 16777215 WHERE name = 'vni'");
    assert_int_equal(tb_store_vni_allocate(p->store, &vni, NULL), TB_OK);
    assert_int_equal(vni, 1);
}

/* --- segments ----------------------------------------------------------------------------- */

static void
a_segment_goes_from_the_spool_to_s3(void **state)
{
    struct place *p = *state;
    struct tb_segment_row s = {.bytes = UINT64_C(1) << 40,
                               .packets = 7,
                               .first_utc_ns = 1,
                               .last_utc_ns = 2,
                               .recovered = true,
                               .name = "host-0-000002.pcapng.zst"};
    struct tb_segment_row *list = NULL;
    char id[TB_CAPTURE_ID_SIZE], without[200];
    size_t count = 0;

    make_capture(p->store, id);
    (void)tb_str_copy(s.capture_id, sizeof(s.capture_id), id);
    memset(s.sha256, 0xab, sizeof(s.sha256));
    assert_int_equal(tb_store_segment_add(p->store, &s, NULL), TB_OK);
    s.packets = 8;
    assert_int_equal(tb_store_segment_add(p->store, &s, NULL), TB_OK); /* changes nothing */
    (void)tb_str_copy(s.name, sizeof(s.name), "host-0-000001.pcapng.zst");
    assert_int_equal(tb_store_segment_add(p->store, &s, NULL), TB_OK);
    reopen(p);

    assert_int_equal(tb_store_segment_list(p->store, id, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 2);
    assert_string_equal(list[0].name, "host-0-000001.pcapng.zst");
    assert_int_equal(list[1].packets, 7);
    assert_int_equal(list[1].bytes, UINT64_C(1) << 40);
    assert_int_equal(list[1].first_utc_ns, 1);
    assert_int_equal(list[1].last_utc_ns, 2);
    assert_true(list[1].recovered);
    assert_true(list[1].local);
    assert_int_equal(list[1].state, TB_SEGMENT_SPOOLED);
    assert_memory_equal(list[1].sha256, s.sha256, sizeof(s.sha256));
    free(list);

    assert_int_equal(tb_store_segment_backlog(p->store, "[]", 10, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 2);
    assert_string_equal(list[0].name, "host-0-000002.pcapng.zst"); /* the one that came first */
    free(list);
    assert_int_equal(tb_store_segment_backlog(p->store, "[]", 1, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 1);
    free(list);
    (void)snprintf(without, sizeof(without), "[\"cap-none\",\"%s\"]", id);
    assert_int_equal(tb_store_segment_backlog(p->store, without, 10, &list, &count, NULL),
                     TB_OK);
    assert_int_equal(count, 0);
    free(list);
    (void)snprintf(without, sizeof(without), "[\"%s/host-0-000002.pcapng.zst\"]", id);
    assert_int_equal(tb_store_segment_backlog(p->store, without, 10, &list, &count, NULL),
                     TB_OK);
    assert_int_equal(count, 1);
    assert_string_equal(list[0].name, "host-0-000001.pcapng.zst");
    free(list);

    (void)tb_str_copy(s.s3_key, sizeof(s.s3_key), "captures/x");
    (void)tb_str_copy(s.s3_version, sizeof(s.s3_version), "v1");
    (void)tb_str_copy(s.s3_request_id, sizeof(s.s3_request_id), "req");
    (void)tb_str_copy(s.s3_sse, sizeof(s.s3_sse), "aws:kms");
    (void)tb_str_copy(s.s3_kms_key, sizeof(s.s3_kms_key), "arn:aws:kms:key");
    s.uploaded_utc_ns = 5;
    assert_int_equal(tb_store_segment_uploaded(p->store, &s, NULL), TB_OK);
    assert_int_equal(tb_store_segment_local_gone(p->store, id, s.name, NULL), TB_OK);
    assert_int_equal(tb_store_segment_list(p->store, id, &list, &count, NULL), TB_OK);
    assert_int_equal(list[0].state, TB_SEGMENT_UPLOADED);
    assert_string_equal(list[0].s3_key, "captures/x");
    assert_string_equal(list[0].s3_version, "v1");
    assert_string_equal(list[0].s3_request_id, "req");
    assert_string_equal(list[0].s3_sse, "aws:kms");
    assert_string_equal(list[0].s3_kms_key, "arn:aws:kms:key");
    assert_int_equal(list[0].uploaded_utc_ns, 5);
    assert_false(list[0].local);
    free(list);
    assert_int_equal(tb_store_segment_backlog(p->store, "[]", 10, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 1);
    free(list);

    assert_int_equal(tb_store_segment_local_gone(p->store, id, "none", NULL), TB_ENOTFOUND);
    assert_int_equal(tb_store_segment_lost(p->store, id, "host-0-000002.pcapng.zst", NULL),
                     TB_OK);
    assert_int_equal(tb_store_segment_list(p->store, id, &list, &count, NULL), TB_OK);
    assert_false(tb_segment_is_lost(&list[0]));
    assert_true(tb_segment_is_lost(&list[1]));
    free(list);
    assert_int_equal(tb_store_segment_backlog(p->store, "[]", 10, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 0);
    free(list);
    (void)tb_str_copy(s.capture_id, sizeof(s.capture_id), "cap-none");
    assert_int_equal(tb_store_segment_add(p->store, &s, NULL), TB_ENOTFOUND);
    assert_int_equal(tb_store_segment_uploaded(p->store, &s, NULL), TB_ENOTFOUND);
}

static void
the_oldest_packets_are_the_first_to_go(void **state)
{
    static const struct {
        const char *name;
        int64_t last_utc_ns;
    } rows[] = {{"h-0-000004.pcapng.zst", 40},
                {"h-0-000001.pcapng.zst", 10},
                {"h-0-000003.pcapng.zst", 30},
                {"h-0-000000.pcapng.zst", 0},
                {"h-0-000002.pcapng.zst", 20}};
    struct place *p = *state;
    struct tb_segment_row *list = NULL;
    struct tb_backlog waiting;
    size_t count = 0;

    for (size_t i = 0; i < 5; i++) { /* of several captures, entered as a start finds them */
        struct tb_segment_row s = {
            .bytes = 100, .packets = 1, .last_utc_ns = rows[i].last_utc_ns};

        make_capture(p->store, s.capture_id);
        (void)tb_str_copy(s.name, sizeof(s.name), rows[i].name);
        assert_int_equal(tb_store_segment_add(p->store, &s, NULL), TB_OK);
    }
    assert_int_equal(tb_store_segment_backlog(p->store, "[]", 10, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 5);
    for (size_t i = 1; i < 5; i++) {
        assert_true(list[i - 1].last_utc_ns < list[i].last_utc_ns);
    }
    free(list);
    assert_int_equal(tb_store_backlog_sum(p->store, &waiting, NULL), TB_OK);
    assert_int_equal(waiting.segments, 5);
    assert_int_equal(waiting.bytes, 500);
    assert_int_equal(waiting.oldest_utc_ns, 10);
}

static void
an_upload_in_parts_is_remembered_until_s3_has_it_all(void **state)
{
    struct place *p = *state;
    struct tb_segment_row s = {.bytes = 12, .packets = 1, .name = "h-0-000001.pcapng.zst"};
    struct tb_upload_part part = {.number = 2, .bytes = 5, .etag = "\"two\""};
    struct tb_upload_row row;
    struct tb_segment_row *list = NULL;
    struct tb_backlog waiting;
    size_t count = 0;

    make_capture(p->store, s.capture_id);
    assert_int_equal(tb_store_upload_begun(p->store, s.capture_id, s.name, "u", 5, NULL),
                     TB_EINTERNAL); /* of no segment */
    assert_int_equal(tb_store_segment_add(p->store, &s, NULL), TB_OK);
    assert_int_equal(tb_store_upload_get(p->store, s.capture_id, s.name, &row, NULL),
                     TB_ENOTFOUND);
    assert_int_equal(tb_store_upload_begun(p->store, s.capture_id, s.name, "u", 5, NULL),
                     TB_OK);
    assert_int_equal(tb_store_upload_part(p->store, s.capture_id, s.name, &part, NULL), TB_OK);
    part.number = 1;
    memset(part.sha256, 0xcd, sizeof(part.sha256));
    assert_int_equal(tb_store_upload_part(p->store, s.capture_id, s.name, &part, NULL), TB_OK);
    (void)tb_str_copy(part.etag, sizeof(part.etag), "\"again\"");
    assert_int_equal(tb_store_upload_part(p->store, s.capture_id, s.name, &part, NULL), TB_OK);
    reopen(p);

    assert_int_equal(tb_store_upload_get(p->store, s.capture_id, s.name, &row, NULL), TB_OK);
    assert_string_equal(row.upload_id, "u");
    assert_int_equal(row.part_bytes, 5);
    assert_int_equal(row.part_count, 2);
    assert_int_equal(row.parts[0].number, 1);
    assert_string_equal(row.parts[0].etag, "\"again\"");
    assert_memory_equal(row.parts[0].sha256, part.sha256, sizeof(part.sha256));
    assert_string_equal(row.parts[1].etag, "\"two\"");
    free(row.parts);
    assert_int_equal(tb_store_backlog_sum(p->store, &waiting, NULL), TB_OK);
    assert_int_equal(waiting.bytes, 2);
    assert_int_equal(tb_store_segment_list(p->store, s.capture_id, &list, &count, NULL), TB_OK);
    assert_int_equal(list[0].acknowledged_bytes, 10);
    free(list);

    assert_int_equal(tb_store_upload_forget(p->store, s.capture_id, s.name, NULL), TB_OK);
    assert_int_equal(tb_store_upload_forget(p->store, s.capture_id, s.name, NULL), TB_OK);
    assert_int_equal(tb_store_upload_begun(p->store, s.capture_id, s.name, "v", 5, NULL),
                     TB_OK);
    assert_int_equal(tb_store_upload_get(p->store, s.capture_id, s.name, &row, NULL), TB_OK);
    assert_int_equal(row.part_count, 0);
    free(row.parts);
    assert_int_equal(tb_store_segment_uploaded(p->store, &s, NULL), TB_OK);
    assert_int_equal(tb_store_upload_get(p->store, s.capture_id, s.name, &row, NULL),
                     TB_ENOTFOUND);
    assert_int_equal(tb_store_segment_list(p->store, s.capture_id, &list, &count, NULL), TB_OK);
    assert_int_equal(list[0].acknowledged_bytes, 12);
    free(list);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(nobody_else_may_read_the_database),
        CASE(a_second_opener_is_told_who_holds_it),
        CASE(a_database_of_a_newer_tapbox_is_left_alone),
        CASE(a_schema_step_that_was_changed_afterwards_is_noticed),
        CASE(each_schema_step_has_a_number_of_its_own),
        CASE(files_that_are_not_ours_are_refused),
        CASE(a_folder_that_is_not_there_is_named),
        CASE(the_check_leaves_nothing_behind),
        CASE(enumerations_are_stored_as_names_and_others_cannot_be_written),
        CASE(an_alert_makes_a_capture_that_can_be_read_back_whole),
        CASE(bodies_come_back_octet_for_octet),
        CASE(the_same_key_again_is_a_duplicate_also_after_a_restart_and_with_another_body),
        CASE(an_ignored_alert_is_remembered_without_a_capture),
        CASE(requests_without_a_key_are_never_duplicates),
        CASE(alerts_join_the_capture_that_covers_their_source),
        CASE(only_a_capture_that_is_not_yet_draining_is_joined),
        CASE(a_capture_that_was_asked_to_stop_is_not_joined),
        CASE(of_a_capture_a_bounded_number_of_alerts_is_evidence),
        CASE(a_request_that_names_no_source_is_refused),
        CASE(moves_follow_the_table_and_set_their_times),
        CASE(sources_deadline_and_ledger_are_replaced_whole),
        CASE(a_retry_leaves_its_error_until_the_next_step_and_the_last_one_stays),
        CASE(nobody_who_sets_the_clock_moves_the_stores),
        CASE(nothing_of_an_earlier_boot_is_still_to_come),
        CASE(what_waits_is_looked_at_once_when_the_store_is_opened),
        CASE(of_a_finding_only_what_was_captured_cools),
        CASE(a_stop_is_due_at_once_and_keeps_its_first_reason),
        CASE(lists_are_in_their_order_and_within_their_limit),
        CASE(a_capture_that_is_not_there_is_not_found),
        CASE(a_row_that_nobody_writes_is_an_error_and_not_a_crash),
        CASE(an_aws_object_goes_from_intent_to_gone),
        CASE(standing_objects_belong_to_no_capture),
        CASE(vnis_are_never_zero_and_never_one_in_use),
        CASE(a_segment_goes_from_the_spool_to_s3),
        CASE(the_oldest_packets_are_the_first_to_go),
        CASE(an_upload_in_parts_is_remembered_until_s3_has_it_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
