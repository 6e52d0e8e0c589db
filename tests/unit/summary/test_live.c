/* Summaries of captures in a store and a spool; this program is its own summarizing child. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
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
#include "../../support/segments.h"

enum {
    TRIES = 1200, /* of 50 ms */
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

/* The one child of this process, whichever thread started it. */
static pid_t
child_pid(void)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    pid_t pid = 0;

    assert_non_null(tasks);
    while (pid <= 0 && (task = readdir(tasks)) != NULL) {
        char path[320], text[64] = "";
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/self/task/%s/children", task->d_name);
        file = task->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (file != NULL) {
            pid = fgets(text, sizeof(text), file) != NULL ? (pid_t)strtol(text, NULL, 10) : 0;
            (void)fclose(file);
        }
    }
    (void)closedir(tasks);
    assert_true(pid > 1);
    return pid;
}

/* A sealed segment into the capture's folder of the spool; its packets are added to `*packets`.
 */
static void
put_segment(struct rig *rig, const char *id, unsigned n, int64_t *packets)
{
    struct test_segment made;
    char path[160];

    test_segment_make(&made, n, 4, 12, 200);
    (void)snprintf(path, sizeof(path), "%s/host-0-%06u.pcapng.zst", id, n);
    assert_int_equal(
        tb_write_file_whole(rig->deps.spool_fd, path, tb_buf_view(&made.file), 0600, NULL),
        TB_OK);
    for (size_t i = 0; i < made.count; i++) {
        *packets += made.chunks[i].info.packets;
    }
    test_segment_release(&made);
}

static void
one_that_the_process_does_not_know_any_more_is_begun_anew(void **state)
{
    struct rig *rig = *state;
    struct tb_json *root = NULL;
    char id[TB_CAPTURE_ID_SIZE], other[TB_CAPTURE_ID_SIZE];
    int64_t packets = 0;

    test_evidence_recording(&rig->evidence, 1, 1, 0, id);
    put_segment(rig, id, 1, &packets);
    assert_int_equal(tb_summary_live_start(&rig->deps, &rig->live, NULL), TB_OK);
    wait_for(rig, id, "/packets", packets);

    /* the process ends while nothing comes of the first, and the second starts the next */
    assert_int_equal(kill(child_pid(), SIGKILL), 0);
    assert_int_equal(tb_summary_live_document(rig->live, id, 10, &root, NULL), TB_ECLOSED);
    test_evidence_recording(&rig->evidence, 2, 1, 0, other);
    wait_for(rig, other, "/packets", 0);
    put_segment(rig, id, 2, &packets);
    wait_for(rig, id, "/packets", packets);
    wait_for(rig, id, "/not_read/segments", 0);
}

static void
a_kept_document_has_at_most_as_many_rows_as_are_asked_for(void **state)
{
    struct rig *rig = *state;
    struct tb_json *root = NULL;
    char id[TB_CAPTURE_ID_SIZE];

    test_evidence_recording(&rig->evidence, 1, 1, 0, id);
    test_evidence_end(&rig->evidence, id);
    assert_int_equal(tb_store_summary_put(
                         rig->deps.store, id,
                         tb_bytes_str("{\"packets\":9,\"tcp\":{\"count\":3,\"rows\":[1,2,3]},"
                                      "\"http\":{\"count\":1,\"rows\":[1]}}"),
                         NULL),
                     TB_OK);
    assert_int_equal(tb_summary_live_start(&rig->deps, &rig->live, NULL), TB_OK);
    assert_int_equal(tb_summary_live_document(rig->live, id, 2, &root, NULL), TB_OK);
    assert_int_equal(tb_json_count(tb_json_at(root, "/tcp/rows")), 2);
    assert_int_equal(number(root, "/tcp/rows/1"), 2); /* the largest come first */
    assert_int_equal(number(root, "/tcp/count"), 3);
    assert_int_equal(tb_json_count(tb_json_at(root, "/http/rows")), 1);
    tb_json_free(root);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_gone_before_the_start_is_told_as_not_read,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            one_that_the_process_does_not_know_any_more_is_begun_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_kept_document_has_at_most_as_many_rows_as_are_asked_for, setup, teardown),
    };

    if (argc == 2 && strcmp(argv[1], "summarize") == 0) {
        return tb_summarizer_main(NULL) == TB_OK ? 0 : 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
