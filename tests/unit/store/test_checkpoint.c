/* The log that commits go to: copied into the database beside them, and never without end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <tapbox/clock.h>
#include <tapbox/io.h>
#include <tapbox/store.h>

enum {
    BATCH = 64,
    BATCHES_MAX = 200, /* of 4 MiB and more: many times the length at which it begins anew */
    BODY_BYTES = 60000,
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

/* One commit of alerts that nobody captures; how many were there before. */
static unsigned
commit_batch(const struct place *p, unsigned batch)
{
    static uint8_t body[BODY_BYTES];
    struct tb_intake intakes[BATCH];
    struct tb_intake_item items[BATCH] = {0};
    char keys[BATCH][32];
    unsigned before = 0;

    for (unsigned i = 0; i < BATCH; i++) {
        give_key(keys[i], batch, i);
        intakes[i] = (struct tb_intake){.adapter = "guardduty",
                                        .key = keys[i],
                                        .body = tb_bytes_of(body, sizeof(body)),
                                        .content_type = "application/json",
                                        .remote = "",
                                        .token_name = "",
                                        .decision_reason = ""};
        items[i].intake = &intakes[i];
    }
    tb_store_intake_many(p->store, items, BATCH);
    for (unsigned i = 0; i < BATCH; i++) {
        assert_int_equal(items[i].err, TB_OK);
        before += items[i].outcome == TB_INTAKE_DUPLICATE;
    }
    return before;
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_log_begins_anew_though_commits_never_pause, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
