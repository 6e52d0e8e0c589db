#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../support/segments.h"

enum {
    PLAIN_MAX = 64 << 20,
    TAIL_BYTES = 59, /* trailer and last block */
    DIGEST_AT = 36,  /* of the index's SHA-256, from the end of the block */
    ENTRY_BYTES = 192
};

static enum tb_err
try_open(struct tb_bytes octets)
{
    struct tb_segment_reader *reader = NULL;
    struct tb_fail fail = {0};
    int fd = test_file_of(octets);
    enum tb_err err = tb_segment_reader_open(fd, &reader, &fail);

    if (err != TB_OK) {
        assert_null(reader);
        assert_int_equal(fail.err, err);
        assert_string_not_equal(fail.text, "");
    }
    tb_segment_reader_free(reader);
    (void)close(fd);
    return err;
}

static void
what_was_written_is_read(void **state)
{
    static const size_t counts[] = {1, 2, 3, 17, 64};

    (void)state;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct test_segment made;
        int fd;

        test_segment_make(&made, 40 + i, counts[i], 50, 1500);
        fd = test_file_of(tb_buf_view(&made.file));
        test_segment_assert_holds(fd, &made, counts[i], false);
        (void)close(fd);
        test_segment_release(&made);
    }
}

static void
any_bit_changed_in_the_index_is_noticed(void **state)
{
    struct test_segment made;

    (void)state;
    test_segment_make(&made, 1, 3, 4, 60);
    for (size_t at = made.index_offset; at < made.file.len; at++) {
        for (int bit = 0; bit < 8; bit++) {
            made.file.at[at] ^= (uint8_t)(1 << bit);
            assert_int_equal(try_open(tb_buf_view(&made.file)), TB_EFORMAT);
            made.file.at[at] ^= (uint8_t)(1 << bit);
        }
    }
    assert_int_equal(try_open(tb_buf_view(&made.file)), TB_OK);
    test_segment_release(&made);
}

static void
any_octet_changed_in_a_chunk_is_noticed_when_it_is_read_and_in_that_one_only(void **state)
{
    struct tb_buf plain = TB_BUF_INIT(PLAIN_MAX);
    struct tb_segment_reader *reader = NULL;
    struct test_segment made;
    int fd;

    (void)state;
    test_segment_make(&made, 2, 3, 4, 60);
    fd = test_file_of(tb_buf_view(&made.file));
    assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
    for (size_t at = 0; at < made.index_offset; at++) {
        uint8_t changed = made.file.at[at] ^ (uint8_t)(1 << at % 8);

        assert_int_equal(pwrite(fd, &changed, 1, (off_t)at), 1);
        for (size_t i = 0; i < made.count; i++) {
            const struct tb_segment_chunk *chunk = tb_segment_reader_chunk(reader, i);
            bool is_in = at >= chunk->offset && at < chunk->offset + chunk->length;

            tb_buf_reset(&plain);
            assert_int_equal(tb_segment_reader_read(reader, i, &plain, NULL),
                             is_in ? TB_EFORMAT : TB_OK);
            assert_int_equal(plain.len, is_in ? 0 : made.plain[i].len);
        }
        assert_int_equal(pwrite(fd, &made.file.at[at], 1, (off_t)at), 1);
    }
    tb_segment_reader_free(reader);
    tb_buf_release(&plain);
    (void)close(fd);
    test_segment_release(&made);
}

static void
every_shorter_or_longer_file_is_refused(void **state)
{
    struct test_segment made;

    (void)state;
    test_segment_make(&made, 3, 3, 4, 60);
    for (size_t len = 0; len < made.file.len; len++) {
        assert_int_equal(try_open(tb_bytes_of(made.file.at, len)), TB_EFORMAT);
    }
    tb_buf_put(&made.file, "\0\0\0", 3);
    assert_int_equal(try_open(tb_buf_view(&made.file)), TB_EFORMAT);
    test_segment_release(&made);
}

/* An index that lies and has its SHA-256 nevertheless.  All of it is in one raw block. */
static void
forge(struct test_segment *made, size_t at, uint64_t value, size_t octets)
{
    uint8_t *index = made->file.at + made->index_offset + 3;
    size_t len = made->file.len - made->index_offset - 6;
    struct tb_sha256 sha256;

    for (size_t i = 0; i < octets; i++) {
        index[at + i] = (uint8_t)(value >> 8 * i);
    }
    assert_int_equal(tb_sha256(tb_bytes_of(index, len - DIGEST_AT), &sha256), TB_OK);
    memcpy(index + len - DIGEST_AT, sha256.octets, sizeof(sha256.octets));
}

static void
a_forged_index_is_refused_where_it_cannot_be(void **state)
{
    static const struct {
        const char *what;
        size_t at;
        uint64_t value;
        size_t octets;
        enum tb_err expected;
    } cases[] = {
        {"a type of someone else", 0, 0x80746203, 4, TB_EFORMAT},
        {"another length", 4, 4096, 4, TB_EFORMAT},
        {"another magic", 8, 0, 4, TB_EFORMAT},
        {"a later version", 12, 2, 2, TB_EFORMAT},
        {"a longer ledger", 14, 15, 2, TB_EFORMAT},
        {"flags of a later version", 16, 0x80000000, 4, TB_OK},
        {"no chunks", 20, 0, 4, TB_EFORMAT},
        {"a chunk more", 20, 4, 4, TB_EFORMAT},
        {"a chunk less", 20, 2, 4, TB_EFORMAT},
        {"chunks without end", 20, UINT32_MAX, 4, TB_EFORMAT},
        {"no entries", 24, 0, 4, TB_EFORMAT},
        {"longer entries", 24, 196, 4, TB_EFORMAT},
        {"entries without end", 24, UINT32_MAX, 4, TB_EFORMAT},
        {"an extension that is not there", 28, 8, 4, TB_EFORMAT},
        {"an extension without end", 28, UINT32_MAX, 4, TB_EFORMAT},
        {"another place", 32, 7, 8, TB_EFORMAT},
        {"a first chunk behind 0", 40, 1, 8, TB_EFORMAT},
        {"a chunk of no octets", 48, 0, 8, TB_EFORMAT},
        {"a chunk without end", 48, UINT64_MAX, 8, TB_EFORMAT},
        {"nothing plain", 56, 0, 4, TB_EFORMAT},
        {"half a word plain", 56, 6, 4, TB_EFORMAT},
        {"plain octets without end", 56, UINT32_MAX - 3, 4, TB_EFORMAT},
        {"times without packets", 60, 0, 4, TB_EFORMAT},
        {"a last packet before the first", 72, 0, 8, TB_EFORMAT},
        {"a second chunk that overlaps", 40 + ENTRY_BYTES, 300, 8, TB_EFORMAT},
        {"another SHA-256, which only reading can tell", 40 + 48, 0, 8, TB_OK},
        {"another ledger, which only reading can tell", 40 + 80, 0, 8, TB_OK},
        {"another count of packets, which only reading can tell", 60, 7, 4, TB_OK},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct test_segment made;

        test_segment_make(&made, 4, 3, 4, 60);
        forge(&made, cases[i].at, cases[i].value, cases[i].octets);
        print_message("%s\n", cases[i].what);
        assert_int_equal(try_open(tb_buf_view(&made.file)), cases[i].expected);
        test_segment_release(&made);
    }
}

static void
a_chunk_that_the_index_describes_wrongly_is_refused_when_it_is_read(void **state)
{
    /* packets, first SHA-256 octets, ledger of the first entry; plain octets 4 fewer */
    static const struct {
        size_t at;
        uint64_t value;
        size_t octets;
    } cases[] = {{60, 7, 4}, {40 + 48, 0, 8}, {40 + 80, 0, 8}, {56, 4, 4}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_buf plain = TB_BUF_INIT(PLAIN_MAX);
        struct tb_segment_reader *reader = NULL;
        struct test_segment made;
        int fd;

        test_segment_make(&made, 5, 3, 4, 60);
        forge(&made, cases[i].at, cases[i].value, cases[i].octets);
        fd = test_file_of(tb_buf_view(&made.file));
        assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
        assert_int_equal(tb_segment_reader_read(reader, 0, &plain, NULL), TB_EFORMAT);
        assert_int_equal(tb_segment_reader_read(reader, 1, &plain, NULL), TB_OK);
        tb_segment_reader_free(reader);
        tb_buf_release(&plain);
        (void)close(fd);
        test_segment_release(&made);
    }
}

/* The index grows over 131,072 octets at 683 chunks, and over twice that at 1,365. */
static void
an_index_of_several_raw_blocks_is_read(void **state)
{
    static const size_t counts[] = {682, 683, 1364, 1365, 3000};

    (void)state;
    for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        struct tb_segment_encoder *encoder = NULL;
        struct tb_segment_reader *reader = NULL;
        struct tb_buf file = TB_BUF_INIT(PLAIN_MAX);
        struct tb_buf plain = TB_BUF_INIT(PLAIN_MAX);
        struct tb_chunk_info info = {0};
        struct test_chunks from;
        struct tb_bytes out;
        bool changed;
        int fd;

        test_chunks_init(&from, c);
        assert_int_equal(tb_segment_encoder_new(4096, counts[c], 1, &encoder, NULL), TB_OK);
        for (size_t i = 0; i < counts[c]; i++) {
            tb_buf_reset(&plain);
            if (i == 0) {
                test_chunks_put_head(&from, &plain);
            }
            test_chunks_put_packets(&from, &plain, 1, 60, &info);
            assert_int_equal(
                tb_segment_encoder_chunk(encoder, tb_buf_view(&plain), &info, &out, NULL),
                TB_OK);
            tb_buf_put_bytes(&file, out);
        }
        assert_int_equal(tb_segment_encoder_finish(encoder, false, &out, NULL), TB_OK);
        tb_buf_put_bytes(&file, out);
        fd = test_file_of(tb_buf_view(&file));
        assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
        assert_null(tb_segment_reader_chunk(reader, counts[c]));
        tb_buf_reset(&plain);
        assert_int_equal(tb_segment_reader_read(reader, counts[c] - 1, &plain, NULL), TB_OK);
        tb_segment_reader_free(reader);

        /* and written again by a repair */
        assert_int_equal(ftruncate(fd, (off_t)file.len - TAIL_BYTES), 0);
        assert_int_equal(
            tb_segment_recover(fd, &changed, &(struct tb_segment_summary){0}, NULL), TB_OK);
        assert_int_equal(lseek(fd, 0, SEEK_END), (off_t)file.len);
        tb_segment_encoder_free(encoder);
        tb_buf_release(&plain);
        tb_buf_release(&file);
        (void)close(fd);
    }
}

static void
a_buffer_that_is_too_small_and_a_chunk_that_is_not_there_are_errors(void **state)
{
    struct tb_buf small = TB_BUF_INIT(100);
    struct tb_segment_reader *reader = NULL;
    struct test_segment made;
    struct tb_fail fail;
    int fd;

    (void)state;
    test_segment_make(&made, 6, 3, 4, 60);
    fd = test_file_of(tb_buf_view(&made.file));
    assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
    assert_int_equal(tb_segment_reader_read(reader, 0, &small, &fail), TB_ETOOBIG);
    assert_int_equal(tb_segment_reader_read(reader, 3, &small, &fail), TB_ENOTFOUND);
    assert_int_equal(tb_segment_reader_read(reader, SIZE_MAX, &small, &fail), TB_ENOTFOUND);
    tb_segment_reader_free(reader);
    tb_segment_reader_free(NULL);
    tb_buf_release(&small);
    (void)close(fd);
    assert_int_not_equal(tb_segment_reader_open(-1, &reader, &fail), TB_OK);
    test_segment_release(&made);
}

int
main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(any_bit_changed_in_the_index_is_noticed),
        cmocka_unit_test(
            any_octet_changed_in_a_chunk_is_noticed_when_it_is_read_and_in_that_one_only),
        cmocka_unit_test(every_shorter_or_longer_file_is_refused),
        cmocka_unit_test(a_forged_index_is_refused_where_it_cannot_be),
        cmocka_unit_test(a_chunk_that_the_index_describes_wrongly_is_refused_when_it_is_read),
        cmocka_unit_test(an_index_of_several_raw_blocks_is_read),
        cmocka_unit_test(a_buffer_that_is_too_small_and_a_chunk_that_is_not_there_are_errors),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
