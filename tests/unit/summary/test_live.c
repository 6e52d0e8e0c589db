/* Summaries of captures in a store and a spool; this program is its own summarizing child. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/summary.h>
#include <tapbox/summary_live.h>

#include "../../support/evidence.h"

enum {
    TRIES = 200, /* of 50 ms */
    TRY_US = 50000
};

struct rig {
    struct test_evidence evidence;
    struct tb_summary_live_deps deps;
    struct tb_summary_live *live;
};

static int
setup(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    assert_non_null(rig);
    test_evidence_open(&rig->evidence);
    rig->deps.store = rig->evidence.store;
    rig->deps.spool_fd = open(rig->evidence.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(rig->deps.spool_fd >= 0);
    *state = rig;
    return 0;
}

static int
teardown(void **state)
{
    struct rig *rig = *state;

    tb_summary_live_stop(rig->live);
    (void)close(rig->deps.spool_fd);
    test_evidence_close(&rig->evidence);
    free(rig);
    return 0;
}

static int64_t
number(const struct tb_json *root, const char *pointer)
{
    int64_t value = -1;

    assert_true(tb_json_int(root, pointer, &value));
    return value;
}

/* The document, once there is one whose number is `value`. */
static void
wait_for(struct rig *rig, const char *id, const char *pointer, int64_t value)
{
    int64_t last = -1;

    for (int i = 0; i < TRIES && last != value; i++) {
        struct tb_json *root = NULL;

        if (tb_summary_live_document(rig->live, id, 10, &root, NULL) == TB_OK) {
            last = number(root, pointer);
        }
        tb_json_free(root);
        (void)usleep(last == value ? 0 : TRY_US);
    }
    assert_int_equal(last, value);
}

static void
what_was_gone_before_the_start_is_told_as_not_read(void **state)
{
    struct rig *rig = *state;
    struct tb_buf text = TB_BUF_INIT(TB_SUMMARY_MAX_BYTES);
    struct tb_json *root = NULL;
    char id[TB_CAPTURE_ID_SIZE];
    bool is_final = false;

    /* no file of it lies in the spool */
    test_evidence_recording(&rig->evidence, 1, 1, 3, id);
    assert_int_equal(tb_summary_live_start(&rig->deps, &rig->live, NULL), TB_OK);
    wait_for(rig, id, "/not_read/segments", 0); /* local ones: their turn may come */
    for (unsigned n = 1; n <= 2; n++) {
        char name[64];

        (void)snprintf(name, sizeof(name), "host-0-%06u.pcapng.zst", n);
        assert_int_equal(tb_store_segment_local_gone(rig->deps.store, id, name, NULL), TB_OK);
    }
    wait_for(rig, id, "/not_read/segments", 2);

    test_evidence_end(&rig->evidence, id);
    for (int i = 0;
         i < TRIES && tb_store_summary_get(rig->deps.store, id, &text, NULL) != TB_OK; i++) {
        (void)usleep(TRY_US);
    }
    assert_int_equal(tb_json_parse(tb_buf_view(&text), &root, NULL), TB_OK);
    assert_true(tb_json_bool(root, "/is_final", &is_final) && is_final);
    assert_int_equal(number(root, "/not_read/segments"), 3);
    assert_int_equal(number(root, "/packets"), 0);
    tb_json_free(root);
    tb_buf_release(&text);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_gone_before_the_start_is_told_as_not_read,
                                        setup, teardown),
    };

    if (argc == 2 && strcmp(argv[1], "summarize") == 0) {
        return tb_summarizer_main(NULL) == TB_OK ? 0 : 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
