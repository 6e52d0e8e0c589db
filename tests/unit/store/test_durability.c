/* What was acknowledged is there: after SIGKILL at any moment, with a full disk, without
 * memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include <tapbox/store.h>
#include <tapbox/thread.h>

enum {
    KILLS = 12,
    WRITERS = 4, /* threads of the child that is killed: commits are shared */
};

struct place {
    char dir[64];
    char path[96];
};

static int
set_up(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    assert_non_null(p);
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/tapbox-store-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(p->path, sizeof(p->path), "%s/tapbox.db", p->dir);
    *state = p;
    return 0;
}

static int
tear_down(void **state)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    struct place *p = *state;

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        char name[128];

        (void)snprintf(name, sizeof(name), "%s%s", p->path, ends[i]);
        (void)unlink(name);
    }
    assert_int_equal(rmdir(p->dir), 0);
    free(p);
    return 0;
}

static enum tb_err
take_in(struct tb_store *store, const char *key, struct tb_bytes body,
        enum tb_intake_outcome *outcome, char id[TB_CAPTURE_ID_SIZE], struct tb_fail *fail)
{
    struct tb_capture_request request = {.duration_ns = TB_NS_PER_S};
    struct tb_intake intake = {.adapter = "guardduty",
                               .key = key,
                               .body = body,
                               .content_type = "application/json",
                               .remote = "",
                               .token_name = "",
                               .decision_reason = "",
                               .capture = &request};

    (void)snprintf(request.instance, sizeof(request.instance), "i-%s", key);
    return tb_store_intake(store, &intake, outcome, id, fail);
}

/* --- SIGKILL ------------------------------------------------------------------------------ */

/* One acknowledgement, written with one write(2) below PIPE_BUF. */
struct acknowledged {
    char key[32];
    char capture_id[TB_CAPTURE_ID_SIZE];
};

struct writer {
    struct tb_store *store;
    int number, round, out_fd;
};

static void *
write_for_ever(void *arg)
{
    const struct writer *w = arg;

    for (unsigned i = 0;; i++) {
        struct acknowledged ack = {0};
        enum tb_intake_outcome outcome;

        (void)snprintf(ack.key, sizeof(ack.key), "%d-%d-%u", w->round, w->number, i);
        if (take_in(w->store, ack.key, tb_bytes_str("{\"body\":true}"), &outcome,
                    ack.capture_id, NULL) != TB_OK ||
            outcome != TB_INTAKE_CREATED ||
            write(w->out_fd, &ack, sizeof(ack)) != (ssize_t)sizeof(ack)) {
            _exit(3);
        }
    }
    return NULL;
}

static void
be_the_victim(const char *path, int round, int out_fd)
{
    struct writer writers[WRITERS];
    struct tb_store *store = NULL;
    pthread_t thread;

    if (tb_store_open(path, &store, NULL) != TB_OK) {
        _exit(2);
    }
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){store, i, round, out_fd};
        if (tb_thread_start(&thread, "writer", write_for_ever, &writers[i], NULL) != TB_OK) {
            _exit(2);
        }
    }
    for (;;) {
        (void)pause();
    }
}

/* Reads acknowledgements until the child is gone; kills it after `after` of them. */
static size_t
read_acknowledged(int fd, pid_t child, size_t after, struct acknowledged *out, size_t max)
{
    size_t count = 0;

    while (count < max) {
        ssize_t got = read(fd, &out[count], sizeof(*out));

        if (got != (ssize_t)sizeof(*out)) {
            assert_int_equal(got, 0);
            break;
        }
        if (++count == after) {
            struct timespec moment = {0, (long)(count * 7919 % 3000) * 1000};

            (void)nanosleep(&moment, NULL); /* anywhere in the commit that follows */
            assert_int_equal(kill(child, SIGKILL), 0);
        }
    }
    return count;
}

static void
assert_all_there(const char *path, const struct acknowledged *acks, size_t count)
{
    struct tb_capture *capture = calloc(1, sizeof(*capture));
    struct tb_store *store = NULL;

    assert_int_equal(tb_store_open(path, &store, NULL), TB_OK);
    for (size_t i = 0; i < count; i++) {
        struct tb_buf body = TB_BUF_INIT(1024);
        enum tb_intake_outcome outcome;
        char id[TB_CAPTURE_ID_SIZE];
        struct tb_alert_row row;

        assert_int_equal(tb_store_capture_get(store, acks[i].capture_id, capture, NULL), TB_OK);
        assert_int_equal(tb_store_alert(store, acks[i].capture_id, 1, &row, &body, NULL),
                         TB_OK);
        assert_string_equal(row.key, acks[i].key);
        assert_string_equal(tb_buf_str(&body), "{\"body\":true}");
        assert_int_equal(take_in(store, acks[i].key, tb_bytes_str(""), &outcome, id, NULL),
                         TB_OK);
        assert_int_equal(outcome, TB_INTAKE_DUPLICATE);
        assert_string_equal(id, acks[i].capture_id);
        tb_buf_release(&body);
    }
    tb_store_close(store);
    free(capture);
}

static void
whatever_was_acknowledged_survives_sigkill(void **state)
{
    enum {
        MAX = 20000
    };
    struct place *p = *state;
    struct acknowledged *acks = calloc(MAX, sizeof(*acks));
    size_t total = 0;

    assert_non_null(acks);
    for (int round = 0; round < KILLS; round++) {
        size_t before = total;
        int fds[2];
        int status = 0;
        pid_t child;

        assert_int_equal(pipe(fds), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            (void)close(fds[0]);
            be_the_victim(p->path, round, fds[1]);
        }
        (void)close(fds[1]);
        total +=
            read_acknowledged(fds[0], child, 1 + (size_t)round * 13, acks + total, MAX - total);
        (void)close(fds[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_true(total > before);
        assert_all_there(p->path, acks, total);
    }
    free(acks);
}

/* --- no room ------------------------------------------------------------------------------ */

/* In a child, whose files may not grow past a limit: 0 when all went as it should, or the line
 * that did not. */
static int
fill_up(const char *path)
{
    static char big[64 * 1024];
    struct rlimit limit = {.rlim_cur = 1024 * 1024, .rlim_max = RLIM_INFINITY};
    struct tb_store *store = NULL;
    enum tb_intake_outcome outcome;
    char id[TB_CAPTURE_ID_SIZE];
    struct tb_fail fail = {0};
    char key[32];
    enum tb_err err = TB_OK;
    unsigned i;

    (void)signal(SIGXFSZ, SIG_IGN);
    memset(big, ' ', sizeof(big));
    if (tb_store_open(path, &store, NULL) != TB_OK || setrlimit(RLIMIT_FSIZE, &limit) != 0) {
        return __LINE__;
    }
    for (i = 0; i < 1000 && err == TB_OK; i++) {
        (void)snprintf(key, sizeof(key), "%08x", i);
        err = take_in(store, key, tb_bytes_of(big, sizeof(big)), &outcome, id, &fail);
    }
    if (err != TB_EFULL || fail.text[0] == 0) {
        (void)fprintf(stderr, "%s: %s\n", tb_err_name(err), fail.text);
        return __LINE__;
    }
    limit.rlim_cur = RLIM_INFINITY;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0 ||
        take_in(store, key, tb_bytes_of(big, sizeof(big)), &outcome, id, NULL) != TB_OK ||
        outcome != TB_INTAKE_CREATED) { /* it was not there: nothing had changed */
        return __LINE__;
    }
    for (unsigned k = 0; k < i; k++) { /* and nothing from before is gone */
        (void)snprintf(key, sizeof(key), "%08x", k);
        if (take_in(store, key, tb_bytes_str(""), &outcome, id, NULL) != TB_OK ||
            outcome != TB_INTAKE_DUPLICATE) {
            return __LINE__;
        }
    }
    tb_store_close(store);
    return 0;
}

static void
a_full_disk_is_told_and_changes_nothing(void **state)
{
    struct place *p = *state;
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        int line = fill_up(p->path);

        if (line != 0) {
            (void)fprintf(stderr, "%s:%d\n", __FILE__, line);
        }
        _exit(line != 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* --- no memory ---------------------------------------------------------------------------- */

static sqlite3_mem_methods real_memory;
static long allocations_left = -1; /* -1: without limit */

static void *
allocate(int bytes)
{
    if (allocations_left == 0) {
        return NULL;
    }
    allocations_left -= allocations_left > 0;
    return real_memory.xMalloc(bytes);
}

static void *
reallocate(void *at, int bytes)
{
    if (allocations_left == 0) {
        return NULL;
    }
    allocations_left -= allocations_left > 0;
    return real_memory.xRealloc(at, bytes);
}

static void
failing_allocations_of_sqlite_are_told_and_change_nothing(void **state)
{
    struct place *p = *state;
    struct tb_store *store = NULL;
    enum tb_intake_outcome outcome;
    char id[TB_CAPTURE_ID_SIZE];
    enum tb_err err = TB_ENOMEM;

    for (long n = 0; err != TB_OK; n++) {
        struct tb_fail fail = {0};

        assert_int_equal(tb_store_open(p->path, &store, NULL), TB_OK);
        allocations_left = n;
        err = take_in(store, "00000001", tb_bytes_str("{}"), &outcome, id, &fail);
        allocations_left = -1;
        if (err != TB_OK) {
            if (err != TB_ENOMEM) {
                fail_msg("%ld: %s", n, fail.text);
            }
            assert_int_equal(tb_store_check(store, NULL), TB_OK); /* and it goes on */
        }
        tb_store_close(store);
        assert_true(n < 10000);
    }
    assert_int_equal(outcome, TB_INTAKE_CREATED);

    err = TB_ENOMEM;
    for (long n = 0; err != TB_OK; n++) {
        allocations_left = n;
        store = NULL;
        err = tb_store_open(p->path, &store, NULL);
        allocations_left = -1;
        assert_true(err == TB_OK || err == TB_ENOMEM);
        assert_int_equal(store != NULL, err == TB_OK);
        assert_true(n < 10000);
    }
    tb_store_close(store);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(whatever_was_acknowledged_survives_sigkill),
        CASE(a_full_disk_is_told_and_changes_nothing),
        CASE(failing_allocations_of_sqlite_are_told_and_change_nothing),
    };
    sqlite3_mem_methods failing;

    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory) != SQLITE_OK) {
        return 1;
    }
    failing = real_memory;
    failing.xMalloc = allocate;
    failing.xRealloc = reallocate;
    /* without the pool that would answer small requests from memory it has already */
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &failing) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) != SQLITE_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
