/* An extract of whole evidence, and of evidence that lacks something. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/retrieve.h>

#include "../../support/evidence.h"

static enum tb_err
swallow(void *arg TB_UNUSED, struct tb_bytes octets TB_UNUSED, struct tb_fail *fail TB_UNUSED)
{
    return TB_OK;
}

/* Everything of what lies in the folder. */
static enum tb_err
extract(const char *folder, struct tb_extract_counts *out, struct tb_fail *fail)
{
    struct tb_select select;
    struct tb_extract want = {.select = &select, .note = "a test", .sink = swallow};
    struct tb_place_list list = {.count = 0};
    struct tb_place *place = NULL;
    enum tb_err err;

    tb_select_init(&select);
    assert_int_equal(tb_place_open(folder, &place, NULL), TB_OK);
    assert_int_equal(tb_place_list(place, "", &list, NULL), TB_OK);
    err = tb_extract(place, &list, &want, out, fail);
    tb_place_list_release(&list);
    tb_place_free(place);
    return err;
}

static void
remove_file(const char *folder, const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(unlink(path), 0);
}

static void
a_segment_that_the_manifest_names_has_to_be_there(void **state TB_UNUSED)
{
    struct tb_extract_counts counts = {.segments = 0};
    struct test_evidence t;
    struct tb_fail fail = {0};
    char id[TB_CAPTURE_ID_SIZE], folder[160];

    test_evidence_open(&t);
    test_evidence_capture(&t, 1, 1, 3, id);
    assert_int_equal(test_evidence_seal(&t, id, 0, NULL), TB_OK);
    test_evidence_folder(&t, id, folder, sizeof(folder));
    assert_int_equal(extract(folder, &counts, NULL), TB_OK);
    assert_int_equal(counts.segments, 3);
    assert_true(counts.checked.by_manifest);

    remove_file(folder, "segments/host-0-000002.pcapng.zst");
    assert_int_equal(extract(folder, &counts, &fail), TB_EFORMAT);
    assert_non_null(strstr(fail.text, "segments/host-0-000002.pcapng.zst"));
    /* from the folder above, too */
    assert_int_equal(extract(t.dir, &counts, NULL), TB_EFORMAT);

    /* of what no manifest speaks about, what is there is taken */
    remove_file(folder, "manifest.json");
    assert_int_equal(extract(folder, &counts, NULL), TB_OK);
    assert_int_equal(counts.segments, 2);
    assert_false(counts.checked.by_manifest);
    test_evidence_close(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_that_the_manifest_names_has_to_be_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
