/* The log that commits go to: copied into the database beside them, and never without end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include <tapbox/clock.h>
#include <tapbox/io.h>
#include <tapbox/log.h>
#include <tapbox/store.h>

enum {
    BATCH = 64,
    BATCHES_MAX = 200, /* of 4 MiB and more: many times the length at which it begins anew */
    BODY_BYTES = 60000,
    HUGE_BODY_BYTES = TB_EVENT_MAX_BYTES, /* a batch of them makes the log too long at once */
    BATCHES_LONG = 3,                     /* after so many the log has been copied */
    COMMITS_SMALL = 200, /* which together make it longer by less than it has to be */
    TOO_LONG_BYTES = 64 * 1024 * 1024,
    LOG_SALT_AT = 16, /* of a log's header: another number each time it begins anew */
    LOG_SALT_BYTES = 8,
};

struct place {
    char dir[64];
    char path[96], log_path[112];
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
    (void)snprintf(p->log_path, sizeof(p->log_path), "%s-wal", p->path);
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
read_salt(const struct place *p, uint8_t out[LOG_SALT_BYTES])
{
    int fd = open(p->log_path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, out, LOG_SALT_BYTES, LOG_SALT_AT), LOG_SALT_BYTES);
    tb_close(&fd);
}

static void
give_key(char key[32], unsigned batch, unsigned i)
{
    (void)snprintf(key, 32, "%u-%u", batch, i);
}

/* One commit of `count` alerts that nobody captures; how many were there before. */
static unsigned
commit_some(const struct place *p, unsigned batch, unsigned count, size_t body_bytes)
{
    static uint8_t body[HUGE_BODY_BYTES];
    struct tb_intake intakes[BATCH];
    struct tb_intake_item items[BATCH] = {0};
    char keys[BATCH][32];
    unsigned before = 0;

    assert_true(count <= BATCH && body_bytes <= HUGE_BODY_BYTES);
    for (unsigned i = 0; i < count; i++) {
        give_key(keys[i], batch, i);
        intakes[i] = (struct tb_intake){.adapter = "guardduty",
                                        .key = keys[i],
                                        .body = tb_bytes_of(body, body_bytes),
                                        .content_type = "application/json",
                                        .remote = "",
                                        .token_name = "",
                                        .decision_reason = ""};
        items[i].intake = &intakes[i];
    }
    tb_store_intake_many(p->store, items, count);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(items[i].err, TB_OK);
        before += items[i].outcome == TB_INTAKE_DUPLICATE;
    }
    return before;
}

static unsigned
commit_batch(const struct place *p, unsigned batch)
{
    return commit_some(p, batch, BATCH, BODY_BYTES);
}

/* A number of a thread of ours, by the thread's name, from its "status". */
static long
thread_number(const char *name, const char *what)
{
    DIR *tasks = opendir("/proc/self/task");
    const struct dirent *task;
    long found = -1;

    assert_non_null(tasks);
    while ((task = readdir(tasks)) != NULL && found < 0) {
        char path[300], text[4096], line[64];
        const char *at;
        ssize_t n;
        int fd;

        (void)snprintf(path, sizeof(path), "/proc/self/task/%s/status", task->d_name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
        tb_close(&fd);
        if (n <= 0) {
            continue; /* "." and ".." */
        }
        text[n] = 0;
        (void)snprintf(line, sizeof(line), "Name:\t%s\n", name);
        (void)snprintf(path, sizeof(path), "\n%s:", what);
        at = strstr(text, path);
        if (strncmp(text, line, strlen(line)) == 0 && at != NULL) {
            found = strtol(at + strlen(path), NULL, 10);
        }
    }
    (void)closedir(tasks);
    return found;
}

static void
the_log_begins_anew_though_commits_never_pause(void **state)
{
    struct place *p = *state;
    uint8_t first[LOG_SALT_BYTES], now[LOG_SALT_BYTES];
    unsigned batches = 0;

    assert_int_equal(commit_batch(p, batches++), 0);
    read_salt(p, first);
    do {
        assert_true(batches < BATCHES_MAX);
        assert_int_equal(commit_batch(p, batches++), 0);
        read_salt(p, now);
    } while (memcmp(first, now, LOG_SALT_BYTES) == 0);

    /* and nothing is lost by it, nor by opening the store again */
    tb_store_close(p->store);
    p->store = NULL;
    assert_int_equal(tb_store_open(p->path, &p->store, NULL), TB_OK);
    for (unsigned i = 0; i < batches; i++) {
        assert_int_equal(commit_batch(p, i), BATCH);
    }
}

/* Each copy flushes the disk twice, which commits beside it wait for. */
static void
a_long_log_is_not_copied_after_each_commit(void **state)
{
    struct place *p = *state;
    sqlite3 *reader = NULL;
    long woken;

    /* somebody reads along, so that the log cannot begin anew */
    assert_int_equal(commit_batch(p, 0), 0);
    assert_int_equal(sqlite3_open(p->path, &reader), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM alerts", NULL, NULL, NULL),
        SQLITE_OK);
    woken = thread_number("checkpoint", "voluntary_ctxt_switches");
    assert_true(woken >= 0);
    for (unsigned i = 1; i <= BATCHES_LONG; i++) {
        assert_int_equal(commit_batch(p, i), 0);
    }
    while (thread_number("checkpoint", "voluntary_ctxt_switches") == woken) {
        (void)usleep(1000); /* until it has copied for the first time */
    }
    woken = thread_number("checkpoint", "voluntary_ctxt_switches");
    for (unsigned i = 0; i < COMMITS_SMALL; i++) {
        assert_int_equal(commit_some(p, BATCHES_MAX + i, 1, 1), 0);
    }
    assert_true(thread_number("checkpoint", "voluntary_ctxt_switches") <
                woken + COMMITS_SMALL / 2);
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
}

static atomic_uint told;

static bool
count_lengths(const struct tb_log_event *event)
{
    told += strstr(event->text, "another program reads the store") != NULL ? 1 : 0;
    return true;
}

static void
a_reader_that_never_ends_lets_the_log_grow_and_is_told_once(void **state)
{
    struct place *p = *state;
    sqlite3 *reader = NULL;
    unsigned batches = 0;

    told = 0;
    tb_log_sink(count_lengths);
    assert_int_equal(commit_batch(p, batches++), 0);
    assert_int_equal(sqlite3_open(p->path, &reader), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM alerts", NULL, NULL, NULL),
        SQLITE_OK);
    while (told == 0) {
        assert_true(batches < BATCHES_MAX);
        assert_int_equal(commit_batch(p, batches++), 0);
    }
    assert_true(tb_store_log_bytes(p->store) > TOO_LONG_BYTES);
    for (unsigned i = 0; i < BATCHES_LONG; i++) {
        assert_int_equal(commit_batch(p, batches++), 0);
    }
    assert_int_equal(told, 1);

    /* it ends: the log begins anew, and who comes next is told again */
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
    while (tb_store_log_bytes(p->store) > TOO_LONG_BYTES / 2) {
        assert_true(batches < BATCHES_MAX);
        assert_int_equal(commit_batch(p, batches++), 0);
    }
    assert_int_equal(told, 1);
    tb_log_sink(NULL);
}

static void
a_log_that_one_commit_makes_too_long_is_blamed_on_nobody(void **state)
{
    struct place *p = *state;
    unsigned batches = 0;

    told = 0;
    tb_log_sink(count_lengths);
    assert_int_equal(commit_some(p, batches++, BATCH, HUGE_BODY_BYTES), 0);
    assert_true(tb_store_log_bytes(p->store) > TOO_LONG_BYTES);
    while (tb_store_log_bytes(p->store) > TOO_LONG_BYTES / 2) {
        assert_true(batches < BATCHES_MAX);
        assert_int_equal(commit_batch(p, batches++), 0);
    }
    assert_int_equal(told, 0);
    tb_log_sink(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_log_begins_anew_though_commits_never_pause, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_long_log_is_not_copied_after_each_commit, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_reader_that_never_ends_lets_the_log_grow_and_is_told_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_log_that_one_commit_makes_too_long_is_blamed_on_nobody, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
