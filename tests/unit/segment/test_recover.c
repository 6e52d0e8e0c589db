#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/segment.h>

#include "../../support/chunks.h"

enum {
    PLAIN_MAX = 64 << 20,
    SMALL_CHUNKS = 5
};

/* A sealed segment in memory, and what is in it. */
struct made {
    struct tb_buf file;
    struct tb_buf plain[64];
    struct tb_segment_chunk chunks[64];
    size_t count;
    uint64_t index_offset;
};

static void
make_segment(struct made *made, uint64_t seed, size_t chunks, uint32_t packets,
             uint32_t max_frame)
{
    struct tb_segment_encoder *encoder = NULL;
    struct test_chunks from;
    struct tb_bytes out;

    memset(made, 0, sizeof(*made));
    made->file = (struct tb_buf)TB_BUF_INIT(PLAIN_MAX);
    made->count = chunks;
    test_chunks_init(&from, seed);
    assert_int_equal(tb_segment_encoder_new(4 << 20, 64, 3, &encoder, NULL), TB_OK);
    for (size_t i = 0; i < chunks; i++) {
        struct tb_segment_chunk *chunk = &made->chunks[i];

        made->plain[i] = (struct tb_buf)TB_BUF_INIT(PLAIN_MAX);
        if (i == 0) {
            test_chunks_put_head(&from, &made->plain[i]);
        }
        /* the last holds statistics only, as after a quiet time */
        test_chunks_put_packets(&from, &made->plain[i], i + 1 == chunks ? 0 : packets,
                                max_frame, &chunk->info);
        if (i + 1 == chunks) {
            test_chunks_put_statistics(&from, &made->plain[i]);
        }
        chunk->offset = made->file.len;
        chunk->plain = made->plain[i].len;
        assert_int_equal(tb_segment_encoder_chunk(encoder, tb_buf_view(&made->plain[i]),
                                                  &chunk->info, &out, NULL),
                         TB_OK);
        chunk->length = out.len;
        tb_buf_put_bytes(&made->file, out);
    }
    made->index_offset = made->file.len;
    assert_int_equal(tb_segment_encoder_finish(encoder, false, &out, NULL), TB_OK);
    tb_buf_put_bytes(&made->file, out);
    assert_int_equal(made->file.len, tb_segment_encoder_bytes(encoder));
    tb_segment_encoder_free(encoder);
}

static void
release(struct made *made)
{
    for (size_t i = 0; i < made->count; i++) {
        tb_buf_release(&made->plain[i]);
    }
    tb_buf_release(&made->file);
}

static int
file_of(struct tb_bytes octets)
{
    int fd = memfd_create("segment", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, octets.at, octets.len), (ssize_t)octets.len);
    return fd;
}

/* The file holds exactly the first `count` chunks, sealed. */
static void
assert_holds(int fd, const struct made *made, size_t count, bool recovered)
{
    struct tb_segment_reader *reader = NULL;
    struct tb_segment_summary summary;
    struct tb_buf plain = TB_BUF_INIT(PLAIN_MAX);
    uint64_t packets = 0;

    assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
    tb_segment_reader_summary(reader, &summary);
    assert_int_equal(summary.chunk_count, count);
    assert_int_equal(summary.recovered, recovered);
    for (size_t i = 0; i < count; i++) {
        const struct tb_segment_chunk *chunk = tb_segment_reader_chunk(reader, i);

        assert_int_equal(chunk->offset, made->chunks[i].offset);
        assert_int_equal(chunk->length, made->chunks[i].length);
        assert_int_equal(chunk->plain, made->chunks[i].plain);
        assert_int_equal(chunk->info.packets, made->chunks[i].info.packets);
        assert_memory_equal(&chunk->info.ledger, &made->chunks[i].info.ledger,
                            sizeof(chunk->info.ledger));
        packets += chunk->info.packets;
        tb_buf_reset(&plain);
        assert_int_equal(tb_segment_reader_read(reader, i, &plain, NULL), TB_OK);
        assert_true(tb_bytes_equal(tb_buf_view(&plain), tb_buf_view(&made->plain[i])));
    }
    assert_null(tb_segment_reader_chunk(reader, count));
    assert_int_equal(summary.packets, packets);
    assert_int_equal(summary.first_utc_ns,
                     packets == 0 ? 0 : made->chunks[0].info.first_utc_ns);
    tb_buf_release(&plain);
    tb_segment_reader_free(reader);
}

static size_t
whole_chunks_in(const struct made *made, size_t len)
{
    size_t whole = 0;

    while (whole < made->count &&
           made->chunks[whole].offset + made->chunks[whole].length <= len) {
        whole++;
    }
    return whole;
}

static void
cut_and_recover(const struct made *made, size_t len)
{
    int fd = file_of(tb_bytes_of(made->file.at, len));
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
        assert_holds(fd, made, whole, cut);
        assert_int_equal(tb_segment_recover(fd, &changed, &summary, NULL), TB_OK);
        assert_false(changed);
        assert_int_equal(summary.recovered, cut);
    }
    (void)close(fd);
}

static void
a_small_segment_cut_at_every_octet_holds_exactly_its_whole_chunks(void **state)
{
    struct made made;

    (void)state;
    make_segment(&made, 1, SMALL_CHUNKS, 4, 60);
    for (size_t len = 0; len <= made.file.len; len++) {
        cut_and_recover(&made, len);
    }
    release(&made);
}

static void
a_large_segment_cut_anywhere_holds_exactly_its_whole_chunks(void **state)
{
    struct test_chunks random;
    struct made made;

    (void)state;
    test_chunks_init(&random, 2);
    make_segment(&made, 3, 6, 700, 1500);
    for (int i = 0; i < 40; i++) {
        cut_and_recover(&made, test_chunks_random(&random) % made.file.len);
    }
    for (size_t i = 0; i < made.count; i++) { /* and around the seams */
        cut_and_recover(&made, made.chunks[i].offset);
        cut_and_recover(&made, made.chunks[i].offset + made.chunks[i].length - 1);
        cut_and_recover(&made, made.chunks[i].offset + made.chunks[i].length);
    }
    release(&made);
}

static void
the_index_is_the_one_that_the_encoder_would_have_written_but_for_the_mark(void **state)
{
    struct tb_segment_summary summary;
    struct made made;
    uint8_t index[4096];
    bool changed;
    size_t differing = 0;
    size_t len;
    int fd;

    (void)state;
    make_segment(&made, 4, SMALL_CHUNKS, 4, 60);
    len = made.file.len - made.index_offset;
    assert_true(len < sizeof(index));
    fd = file_of(tb_bytes_of(made.file.at, made.file.len - 1));
    assert_int_equal(tb_segment_recover(fd, &changed, &summary, NULL), TB_OK);
    assert_int_equal(summary.bytes, made.file.len);
    assert_int_equal(pread(fd, index, len, (off_t)made.index_offset), (ssize_t)len);
    for (size_t i = 0; i < len; i++) {
        differing += index[i] != made.file.at[made.index_offset + i];
    }
    assert_in_range(differing, 1, 1 + TB_SHA256_SIZE);
    (void)close(fd);
    release(&made);
}

/* Power loss leaves pages that were never written, with later ones behind them. */
static void
a_hole_of_zeros_ends_the_segment_before_its_chunk(void **state)
{
    struct made made;

    (void)state;
    make_segment(&made, 5, 6, 100, 1500);
    for (size_t hole = 0; hole < made.count; hole++) {
        const struct tb_segment_chunk *chunk = &made.chunks[hole];
        size_t len = chunk->length < 64 ? (size_t)chunk->length : 64;
        uint8_t zeros[64] = {0};
        struct tb_segment_summary summary;
        bool changed;
        enum tb_err err;
        int fd = file_of(tb_bytes_of(made.file.at, made.index_offset));

        assert_int_equal(pwrite(fd, zeros, len, (off_t)(chunk->offset + chunk->length / 2)),
                         (ssize_t)len);
        err = tb_segment_recover(fd, &changed, &summary, NULL);
        if (hole == 0) {
            assert_int_equal(err, TB_ENOTFOUND);
        } else {
            assert_int_equal(err, TB_OK);
            assert_holds(fd, &made, hole, true);
        }
        (void)close(fd);
    }
    release(&made);
}

/* A few bits of zstd's blocks mean nothing; what is read must still be what was written. */
static void
any_bit_changed_in_the_chunks_is_noticed_or_changes_nothing(void **state)
{
    struct made made;
    size_t unnoticed = 0;
    int fd;

    (void)state;
    make_segment(&made, 6, SMALL_CHUNKS, 4, 60);
    fd = file_of(tb_bytes_of(made.file.at, made.index_offset));
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
        assert_int_equal(err, err == TB_OK ? TB_OK : TB_ENOTFOUND);
        if (err == TB_OK) {
            assert_in_range(summary.chunk_count, whole, made.count);
            assert_holds(fd, &made, summary.chunk_count, true);
            unnoticed += summary.chunk_count > whole;
        } else {
            assert_int_equal(whole, 0);
        }
    }
    assert_in_range(unnoticed, 0, made.index_offset / 100);
    (void)close(fd);
    release(&made);
}

static void
what_is_behind_a_sealed_segment_is_cut_off(void **state)
{
    struct tb_segment_summary summary;
    struct made made;
    uint8_t zeros[4096] = {0};
    bool changed;
    int fd;

    (void)state;
    make_segment(&made, 7, SMALL_CHUNKS, 4, 60);
    tb_buf_put(&made.file, zeros, sizeof(zeros)); /* as fallocate leaves them */
    fd = file_of(tb_buf_view(&made.file));
    assert_int_equal(tb_segment_recover(fd, &changed, &summary, NULL), TB_OK);
    assert_true(changed);
    assert_holds(fd, &made, SMALL_CHUNKS, true);
    (void)close(fd);
    release(&made);
}

static void
other_files_are_left_as_they_are(void **state)
{
    static const char *const files[] = {"", "x", "\x28\xB5\x2F\xFD", "\x28\xB5\x2F\xFD\x00\x50",
                                        "no segment, but long enough to be looked at twice"};

    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        size_t len = i == 3 ? 6 : strlen(files[i]);
        int fd = file_of(tb_bytes_of(files[i], len));
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
    struct made made;
    char path[64];
    bool changed;
    int fd, read_only;

    (void)state;
    make_segment(&made, 8, SMALL_CHUNKS, 4, 60);
    fd = file_of(tb_bytes_of(made.file.at, made.index_offset));
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    read_only = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(read_only >= 0);
    assert_int_not_equal(tb_segment_recover(read_only, &changed, &summary, NULL), TB_OK);
    assert_int_equal(lseek(fd, 0, SEEK_END), (off_t)made.index_offset);
    (void)close(read_only);
    (void)close(fd);
    release(&made);
}

int
main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(a_small_segment_cut_at_every_octet_holds_exactly_its_whole_chunks),
        cmocka_unit_test(a_large_segment_cut_anywhere_holds_exactly_its_whole_chunks),
        cmocka_unit_test(
            the_index_is_the_one_that_the_encoder_would_have_written_but_for_the_mark),
        cmocka_unit_test(a_hole_of_zeros_ends_the_segment_before_its_chunk),
        cmocka_unit_test(any_bit_changed_in_the_chunks_is_noticed_or_changes_nothing),
        cmocka_unit_test(what_is_behind_a_sealed_segment_is_cut_off),
        cmocka_unit_test(other_files_are_left_as_they_are),
        cmocka_unit_test(a_file_that_cannot_be_written_is_an_error_and_stays),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
