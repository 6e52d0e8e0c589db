/* Whole captures on the local disk. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/retrieve.h>

#include "../../support/evidence.h"

/* What lies in `folder`, into t's folder "down". */
static enum tb_err
download(const struct test_evidence *t, const char *folder, struct tb_download_counts *out,
         struct tb_fail *fail)
{
    struct tb_download want = {.name = "down"};
    struct tb_place_list list = {.count = 0};
    struct tb_place *place = NULL;
    enum tb_err err;

    want.folder_fd = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(want.folder_fd >= 0);
    assert_int_equal(tb_place_open(folder, &place, NULL), TB_OK);
    assert_int_equal(tb_place_list(place, "", &list, NULL), TB_OK);
    err = tb_download(place, &list, &want, out, fail);
    tb_place_list_release(&list);
    tb_place_free(place);
    (void)close(want.folder_fd);
    return err;
}

static void
what_the_manifest_names_has_to_be_there(void **state TB_UNUSED)
{
    static const char *const names[] = {"segments/host-0-000002.pcapng.zst", "alerts/0001.json",
                                        "summary.json"};
    struct tb_download_counts counts = {.files = 0};
    struct test_evidence t;
    char id[TB_CAPTURE_ID_SIZE], folder[160], path[256], aside[256];

    test_evidence_open(&t);
    test_evidence_capture(&t, 1, 2, 3, id);
    assert_int_equal(tb_store_summary_put(t.store, id, tb_bytes_str("{}"), NULL), TB_OK);
    assert_int_equal(test_evidence_seal(&t, id, 0, NULL), TB_OK);
    test_evidence_folder(&t, id, folder, sizeof(folder));
    (void)snprintf(aside, sizeof(aside), "%s/aside", t.dir);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct tb_fail fail = {0};

        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        assert_int_equal(rename(path, aside), 0);
        assert_int_equal(download(&t, folder, &counts, &fail), TB_EFORMAT);
        assert_non_null(strstr(fail.text, names[i]));

        /* a folder of that name is not the file */
        assert_int_equal(mkdir(path, 0700), 0);
        assert_int_equal(download(&t, folder, &counts, NULL), TB_EFORMAT);
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(rename(aside, path), 0);
    }
    assert_int_equal(download(&t, folder, &counts, NULL), TB_OK);
    assert_true(counts.is_checked);

    /* the summary's hash is in the manifest, too: another of the same length is refused */
    (void)snprintf(path, sizeof(path), "%s/down/summary.json", t.dir);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof(path), "%s/summary.json", folder);
    assert_int_equal(tb_write_file_whole(AT_FDCWD, path, tb_bytes_str("[]"), 0600, NULL),
                     TB_OK);
    assert_int_equal(download(&t, folder, &counts, NULL), TB_EFORMAT);
    test_evidence_close(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_manifest_names_has_to_be_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
