#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/segment.h>

#include "../../support/segments.h"

enum {
    SMALL_CHUNKS = 5
};

static size_t
whole_chunks_in(const struct test_segment *made, size_t len)
{
    size_t whole = 0;

    while (whole < made->count &&
           made->chunks[whole].offset + made->chunks[whole].length <= len) {
        whole++;
    }
    return whole;
}

static void
cut_and_recover(const struct test_segment *made, size_t len)
{
    int fd = test_file_of(tb_bytes_of(made->file.at, len));
    size_t whole = whole_chunks_in(made, len);
    struct tb_segment_summary summary;
    bool changed = false;
    enum tb_err err = tb_segment_recover(fd, &changed, &summary, NULL);

    if (whole == 0) {
        assert_int_equal(err, TB_ENOTFOUND);
        assert_int_equal(lseek(fd, 0, SEEK_END), (off_t)len);
    } else {
        bool cut = len < made->file.len;

        assert_int_equal(err, TB_OK);
        assert_int_equal(changed, cut);
        assert_int_equal(summary.chunk_count, whole);
        assert_int_equal(summary.recovered, cut);
        assert_int_equal(summary.bytes, (uint64_t)lseek(fd, 0, SEEK_END));
        test_segment_assert_holds(fd, made, whole, cut);
        assert_int_equal(tb_segment_recover(fd, &changed, &summary, NULL), TB_OK);
        assert_false(changed);
        assert_int_equal(summary.recovered, cut);
    }
    (void)close(fd);
}

static void
a_small_segment_cut_at_every_octet_holds_exactly_its_whole_chunks(void **state)
{
    struct test_segment made;

    (void)state;
    test_segment_make(&made, 1, SMALL_CHUNKS, 4, 60);
    for (size_t len = 0; len <= made.file.len; len++) {
        cut_and_recover(&made, len);
    }
    test_segment_release(&made);
}

static void
a_large_segment_cut_anywhere_holds_exactly_its_whole_chunks(void **state)
{
    struct test_chunks random;
    struct test_segment made;

    (void)state;
    test_chunks_init(&random, 2);
    test_segment_make(&made, 3, 6, 700, 1500);
    for (int i = 0; i < 40; i++) {
        cut_and_recover(&made, test_chunks_random(&random) % made.file.len);
    }
    for (size_t i = 0; i < made.count; i++) { /* and around the seams */
        cut_and_recover(&made, made.chunks[i].offset);
        cut_and_recover(&made, made.chunks[i].offset + made.chunks[i].length - 1);
        cut_and_recover(&made, made.chunks[i].offset + made.chunks[i].length);
    }
    test_segment_release(&made);
}

static void
the_index_is_the_one_that_the_encoder_would_have_written_but_for_the_mark(void **state)
{
    struct tb_segment_summary summary;
    struct test_segment made;
    uint8_t index[4096];
    bool changed;
    size_t differing = 0;
    size_t len;
    int fd;

    (void)state;
    test_segment_make(&made, 4, SMALL_CHUNKS, 4, 60);
    len = made.file.len - made.index_offset;
    assert_true(len < sizeof(index));
    fd = test_file_of(tb_bytes_of(made.file.at, made.file.len - 1));
    assert_int_equal(tb_segment_recover(fd, &changed, &summary, NULL), TB_OK);
    assert_int_equal(summary.bytes, made.file.len);
    assert_int_equal(pread(fd, index, len, (off_t)made.index_offset), (ssize_t)len);
    for (size_t i = 0; i < len; i++) {
        differing += index[i] != made.file.at[made.index_offset + i];
    }
    assert_in_range(differing, 1, 1 + TB_SHA256_SIZE);
    (void)close(fd);
    test_segment_release(&made);
}

/* Power loss leaves pages that were never written, with later ones behind them: what stands
 * there is not cut off. */
static void
a_hole_of_zeros_before_whole_chunks_is_left_as_it_is(void **state)
{
    struct test_segment made;

    (void)state;
    test_segment_make(&made, 5, 6, 100, 1500);
    for (size_t hole = 0; hole < made.count; hole++) {
        const struct tb_segment_chunk *chunk = &made.chunks[hole];
        size_t len = chunk->length < 64 ? (size_t)chunk->length : 64;
        uint8_t zeros[64] = {0};
        struct tb_segment_summary summary;
        bool changed;
        enum tb_err err;
        int fd = test_file_of(tb_bytes_of(made.file.at, made.index_offset));

        assert_int_equal(pwrite(fd, zeros, len, (off_t)(chunk->offset + chunk->length / 2)),
                         (ssize_t)len);
        err = tb_segment_recover(fd, &changed, &summary, NULL);
        if (hole + 1 < made.count) {
            assert_int_equal(err, TB_ESTATE);
            assert_int_equal(lseek(fd, 0, SEEK_END), (off_t)made.index_offset);
        } else {
            assert_int_equal(err, TB_OK);
            test_segment_assert_holds(fd, &made, hole, true);
        }
        (void)close(fd);
    }
    test_segment_release(&made);
}

/* A few bits of zstd's blocks mean nothing; what is read must still be what was written. */
static void
any_bit_changed_in_the_chunks_is_noticed_or_changes_nothing(void **state)
{
    struct test_segment made;
    size_t unnoticed = 0;
    int fd;

    (void)state;
    test_segment_make(&made, 6, SMALL_CHUNKS, 4, 60);
    fd = test_file_of(tb_bytes_of(made.file.at, made.index_offset));
    for (size_t at = 0; at < made.index_offset; at++) {
        struct tb_segment_summary summary;
        uint8_t other = made.file.at[at] ^ (uint8_t)(1 << at % 8);
        size_t whole = whole_chunks_in(&made, at);
        bool changed;
        enum tb_err err;

        /* as it was, but for one octet */
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, made.file.at, made.index_offset, 0),
                         (ssize_t)made.index_offset);
        assert_int_equal(pwrite(fd, &other, 1, (off_t)at), 1);
        err = tb_segment_recover(fd, &changed, &summary, NULL);
        if (err == TB_OK) {
            assert_in_range(summary.chunk_count, whole, made.count);
            test_segment_assert_holds(fd, &made, summary.chunk_count, true);
            unnoticed += summary.chunk_count > whole;
        } else { /* (the last chunk is behind) */
            assert_int_equal(err, TB_ESTATE);
            assert_true(whole + 1 < made.count);
            assert_int_equal(lseek(fd, 0, SEEK_END), (off_t)made.index_offset);
        }
    }
    assert_in_range(unnoticed, 0, made.index_offset / 100);
    (void)close(fd);
    test_segment_release(&made);
}

static void
what_is_behind_a_sealed_segment_is_cut_off(void **state)
{
    struct tb_segment_summary summary;
    struct test_segment made;
    uint8_t zeros[4096] = {0};
    bool changed;
    int fd;

    (void)state;
    test_segment_make(&made, 7, SMALL_CHUNKS, 4, 60);
    tb_buf_put(&made.file, zeros, sizeof(zeros)); /* as fallocate leaves them */
    fd = test_file_of(tb_buf_view(&made.file));
    assert_int_equal(tb_segment_recover(fd, &changed, &summary, NULL), TB_OK);
    assert_true(changed);
    test_segment_assert_holds(fd, &made, SMALL_CHUNKS, true);
    (void)close(fd);
    test_segment_release(&made);
}

static void
other_files_are_left_as_they_are(void **state)
{
    static const char *const files[] = {"", "x", "\x28\xB5\x2F\xFD", "\x28\xB5\x2F\xFD\x00\x50",
                                        "no segment, but long enough to be looked at twice"};

    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        size_t len = i == 3 ? 6 : strlen(files[i]);
        int fd = test_file_of(tb_bytes_of(files[i], len));
        struct tb_segment_summary summary;
        struct tb_fail fail = {0};
        bool changed;

        assert_int_equal(tb_segment_recover(fd, &changed, &summary, &fail), TB_ENOTFOUND);
        assert_string_not_equal(fail.text, "");
        assert_int_equal(lseek(fd, 0, SEEK_END), (off_t)len);
        (void)close(fd);
    }
}

static void
a_file_that_cannot_be_written_is_an_error_and_stays(void **state)
{
    struct tb_segment_summary summary;
    struct test_segment made;
    char path[64];
    bool changed;
    int fd, read_only;

    (void)state;
    test_segment_make(&made, 8, SMALL_CHUNKS, 4, 60);
    fd = test_file_of(tb_bytes_of(made.file.at, made.index_offset));
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    read_only = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(read_only >= 0);
    assert_int_not_equal(tb_segment_recover(read_only, &changed, &summary, NULL), TB_OK);
    assert_int_equal(lseek(fd, 0, SEEK_END), (off_t)made.index_offset);
    (void)close(read_only);
    (void)close(fd);
    test_segment_release(&made);
}

int
main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(a_small_segment_cut_at_every_octet_holds_exactly_its_whole_chunks),
        cmocka_unit_test(a_large_segment_cut_anywhere_holds_exactly_its_whole_chunks),
        cmocka_unit_test(
            the_index_is_the_one_that_the_encoder_would_have_written_but_for_the_mark),
        cmocka_unit_test(a_hole_of_zeros_before_whole_chunks_is_left_as_it_is),
        cmocka_unit_test(any_bit_changed_in_the_chunks_is_noticed_or_changes_nothing),
        cmocka_unit_test(what_is_behind_a_sealed_segment_is_cut_off),
        cmocka_unit_test(other_files_are_left_as_they_are),
        cmocka_unit_test(a_file_that_cannot_be_written_is_an_error_and_stays),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
