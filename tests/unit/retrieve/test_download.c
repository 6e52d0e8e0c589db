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
    assert_true(counts.checked.by_manifest);

    /* the summary's hash is in the manifest, too: another of the same length is refused */
    (void)snprintf(path, sizeof(path), "%s/down/summary.json", t.dir);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof(path), "%s/summary.json", folder);
    assert_int_equal(tb_write_file_whole(AT_FDCWD, path, tb_bytes_str("[]"), 0600, NULL),
                     TB_OK);
    assert_int_equal(download(&t, folder, &counts, NULL), TB_EFORMAT);
    test_evidence_close(&t);
}

static void
what_the_manifest_does_not_name_is_not_brought(void **state TB_UNUSED)
{
    static const char *const names[] = {"segments/host-0-000009.pcapng.zst", "alerts/0009.json",
                                        "summary.json"};
    struct tb_download_counts counts = {.files = 0};
    struct test_evidence t;
    char id[TB_CAPTURE_ID_SIZE], folder[160], path[256], there[256];

    test_evidence_open(&t);
    test_evidence_capture(&t, 1, 2, 3, id);
    assert_int_equal(test_evidence_seal(&t, id, 0, NULL), TB_OK);
    test_evidence_folder(&t, id, folder, sizeof(folder));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct tb_fail fail = {0};

        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        assert_int_equal(tb_write_file_whole(AT_FDCWD, path, tb_bytes_str("{}"), 0600, NULL),
                         TB_OK);
        assert_int_equal(download(&t, folder, &counts, &fail), TB_EFORMAT);
        assert_non_null(strstr(fail.text, names[i]));
        (void)snprintf(there, sizeof(there), "%s/down/%s", t.dir, names[i]);
        assert_int_equal(access(there, F_OK), -1);
        /* all that it does name is there */
        (void)snprintf(there, sizeof(there), "%s/down/segments/host-0-000003.pcapng.zst",
                       t.dir);
        assert_int_equal(access(there, F_OK), 0);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(download(&t, folder, &counts, NULL), TB_OK);
    test_evidence_close(&t);
}

static void
the_manifest_of_another_capture_is_refused(void **state TB_UNUSED)
{
    struct tb_download_counts counts = {.files = 0};
    struct tb_fail fail = {0};
    struct test_evidence t;
    char id[TB_CAPTURE_ID_SIZE], other[TB_CAPTURE_ID_SIZE], folder[160], aside[160];

    test_evidence_open(&t);
    test_evidence_capture(&t, 1, 1, 1, id);
    assert_int_equal(test_evidence_seal(&t, id, 0, NULL), TB_OK);
    test_evidence_capture(&t, 2, 1, 1, other);
    test_evidence_folder(&t, other, aside, sizeof(aside));
    test_remove_tree(aside);
    test_evidence_folder(&t, id, folder, sizeof(folder));
    assert_int_equal(rename(folder, aside), 0);
    assert_int_equal(download(&t, aside, &counts, &fail), TB_EFORMAT);
    assert_non_null(strstr(fail.text, id));
    assert_non_null(strstr(fail.text, other));
    test_evidence_close(&t);
}

/* --- going on in the middle of a file --- */

struct sealed {
    struct test_evidence t;
    char folder[160];
    char whole[200], there[200], part[208]; /* of its first segment */
    uint8_t *octets;                        /* owned: that segment */
    size_t len;
    struct tb_segment_reader *reader;
    int fd;
};

static int
seal_one(void **state)
{
    struct sealed *s = calloc(1, sizeof(*s));
    char id[TB_CAPTURE_ID_SIZE];
    struct stat st;

    assert_non_null(s);
    test_evidence_open(&s->t);
    test_evidence_capture(&s->t, 2, 1, 2, id);
    assert_int_equal(test_evidence_seal(&s->t, id, 0, NULL), TB_OK);
    test_evidence_folder(&s->t, id, s->folder, sizeof(s->folder));
    (void)snprintf(s->there, sizeof(s->there), "%s/segments/host-0-000001.pcapng.zst",
                   s->folder);
    (void)snprintf(s->whole, sizeof(s->whole), "%s/down/segments/host-0-000001.pcapng.zst",
                   s->t.dir);
    (void)snprintf(s->part, sizeof(s->part), "%s.part", s->whole);
    s->fd = open(s->there, O_RDONLY | O_CLOEXEC);
    assert_int_equal(fstat(s->fd, &st), 0);
    s->len = (size_t)st.st_size;
    s->octets = malloc(s->len);
    assert_int_equal(tb_read_at(s->fd, 0, s->octets, s->len, NULL), TB_OK);
    assert_int_equal(tb_segment_reader_open(s->fd, &s->reader, NULL), TB_OK);
    *state = s;
    return 0;
}

static int
remove_it(void **state)
{
    struct sealed *s = *state;

    tb_segment_reader_free(s->reader);
    (void)close(s->fd);
    free(s->octets);
    test_evidence_close(&s->t);
    free(s);
    return 0;
}

/* Downloads with such a part of the first segment; octets that were read of the place. */
static uint64_t
read_with_part(struct sealed *s, struct tb_bytes part)
{
    struct tb_download_counts counts;
    struct tb_fail fail = {0};
    struct tb_buf now = TB_BUF_INIT(1 << 20);

    (void)unlink(s->whole);
    assert_int_equal(tb_write_file_whole(AT_FDCWD, s->part, part, 0600, NULL), TB_OK);
    if (download(&s->t, s->folder, &counts, &fail) != TB_OK) {
        fail_msg("%s", fail.text);
    }
    assert_int_equal(access(s->part, F_OK), -1);
    assert_int_equal(tb_read_file(AT_FDCWD, s->whole, &now, NULL), TB_OK);
    assert_int_equal(now.len, s->len);
    assert_memory_equal(now.at, s->octets, s->len);
    tb_buf_release(&now);
    return counts.bytes_read;
}

/* Octets behind the last chunk, and those of small files that are always brought. */
static uint64_t
always_read(struct sealed *s)
{
    return read_with_part(s, tb_bytes_of(s->octets, s->len));
}

static uint64_t
in_whole_chunks(const struct sealed *s, size_t len)
{
    const struct tb_segment_chunk *chunk;
    uint64_t sum = 0;

    for (size_t i = 0; (chunk = tb_segment_reader_chunk(s->reader, i)) != NULL; i++) {
        sum += chunk->offset + chunk->length <= len ? chunk->length : 0;
    }
    return sum;
}

static void
a_part_cut_anywhere_costs_only_the_chunks_it_lacks(void **state)
{
    struct sealed *s = *state;
    struct tb_download_counts counts;
    uint64_t always, chunks = in_whole_chunks(s, s->len);

    assert_int_equal(download(&s->t, s->folder, &counts, NULL), TB_OK);
    always = always_read(s);
    assert_true(chunks > 0 && always < counts.bytes_read);
    for (size_t cut = 0; cut <= s->len; cut += s->len / 5) {
        assert_int_equal(read_with_part(s, tb_bytes_of(s->octets, cut)),
                         always + chunks - in_whole_chunks(s, cut));
    }
}

static void
nothing_of_a_part_is_believed(void **state)
{
    struct sealed *s = *state;
    struct tb_download_counts counts;
    const struct tb_segment_chunk *second = tb_segment_reader_chunk(s->reader, 1);
    uint64_t always, chunks = in_whole_chunks(s, s->len);
    uint8_t *part = malloc(s->len + 100);

    assert_int_equal(download(&s->t, s->folder, &counts, NULL), TB_OK);
    always = always_read(s);

    memset(part, 0,
           s->len + 100); /* what a power loss may leave: the right length, no octets */
    assert_int_equal(read_with_part(s, tb_bytes_of(part, s->len)), always + chunks);

    memcpy(part, s->octets, s->len);
    part[second->offset + second->length / 2] ^= 1;
    assert_int_equal(read_with_part(s, tb_bytes_of(part, s->len)), always + second->length);

    memcpy(part, s->octets, s->len);
    memset(part + second->offset, 0, second->length); /* a hole that a thread had not filled */
    assert_int_equal(read_with_part(s, tb_bytes_of(part, s->len)), always + second->length);

    memcpy(part, s->octets, s->len); /* the index is never taken from it */
    part[s->len - 1] ^= 1;
    assert_int_equal(read_with_part(s, tb_bytes_of(part, s->len)), always);

    memcpy(part, s->octets, s->len); /* longer than the file */
    assert_int_equal(read_with_part(s, tb_bytes_of(part, s->len + 100)), always);
    free(part);
}

static void
a_segment_that_is_wrong_over_there_is_no_file_here(void **state)
{
    struct sealed *s = *state;
    const struct tb_segment_chunk *second = tb_segment_reader_chunk(s->reader, 1);
    struct tb_download_counts counts;
    struct tb_fail fail = {0};

    assert_int_equal(download(&s->t, s->folder, &counts, NULL), TB_OK);
    assert_int_equal(unlink(s->whole), 0);
    /* a part that is right, and a place that has another chunk by now: the whole is right */
    s->octets[second->offset] ^= 1;
    assert_int_equal(
        tb_write_file_whole(AT_FDCWD, s->there, tb_bytes_of(s->octets, s->len), 0600, NULL),
        TB_OK);
    assert_int_equal(download(&s->t, s->folder, &counts, &fail), TB_EFORMAT);
    assert_non_null(strstr(fail.text, "host-0-000001"));
    assert_int_equal(access(s->whole, F_OK), -1);
    assert_int_equal(access(s->part, F_OK), -1);
    s->octets[second->offset] ^= 1;
    assert_int_equal(
        tb_write_file_whole(AT_FDCWD, s->part, tb_bytes_of(s->octets, s->len), 0600, NULL),
        TB_OK);
    assert_int_equal(download(&s->t, s->folder, &counts, NULL), TB_OK);
    assert_true(counts.checked.by_manifest);
}

static void
before_there_is_a_manifest_segments_stay_by_their_index(void **state)
{
    struct sealed *s = *state;
    struct tb_download_counts counts;
    char path[200];
    uint64_t first;

    (void)snprintf(path, sizeof(path), "%s/manifest.json", s->folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(download(&s->t, s->folder, &counts, NULL), TB_OK);
    assert_false(counts.checked.by_manifest);
    assert_int_equal(counts.kept, 0);
    first = counts.bytes_read;
    assert_int_equal(download(&s->t, s->folder, &counts, NULL), TB_OK);
    assert_int_equal(counts.kept, 2);
    s->octets[100] ^= 1;
    assert_int_equal(
        tb_write_file_whole(AT_FDCWD, s->whole, tb_bytes_of(s->octets, s->len), 0600, NULL),
        TB_OK);
    assert_int_equal(download(&s->t, s->folder, &counts, NULL), TB_OK);
    assert_int_equal(counts.kept, 1);
    assert_true(counts.bytes_read < first);
    s->octets[100] ^= 1;
    (void)read_with_part(s, tb_bytes_of(s->octets, 0));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_part_cut_anywhere_costs_only_the_chunks_it_lacks,
                                        seal_one, remove_it),
        cmocka_unit_test_setup_teardown(nothing_of_a_part_is_believed, seal_one, remove_it),
        cmocka_unit_test_setup_teardown(a_segment_that_is_wrong_over_there_is_no_file_here,
                                        seal_one, remove_it),
        cmocka_unit_test_setup_teardown(before_there_is_a_manifest_segments_stay_by_their_index,
                                        seal_one, remove_it),
        cmocka_unit_test(what_the_manifest_names_has_to_be_there),
        cmocka_unit_test(what_the_manifest_does_not_name_is_not_brought),
        cmocka_unit_test(the_manifest_of_another_capture_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
