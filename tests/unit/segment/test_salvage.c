/* What can be read of a damaged segment, by its index and without it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/pcapng.h>
#include <tapbox/segment.h>

#include "../../support/segments.h"

enum {
    CHUNKS = 6, /* the last one holds statistics only */
    PACKETS = 300,
    MAX_FRAME = 1500,
    PAGE = 4096
};

/* A file of which some octets cannot be read. */
struct faulty {
    struct tb_bytes octets;
    uint64_t from, to; /* those */
};

static enum tb_err
read_faulty(void *arg, uint64_t offset, uint8_t *at, size_t len, struct tb_fail *fail)
{
    const struct faulty *faulty = arg;

    if (offset > faulty->octets.len || len > faulty->octets.len - offset) {
        return tb_fail_set(fail, TB_ESHORT, "it ends");
    }
    if (offset < faulty->to && faulty->from < offset + len) {
        return tb_fail_set(fail, TB_EIO, "the disk fails");
    }
    memcpy(at, faulty->octets.at + offset, len);
    return TB_OK;
}

static enum tb_err
salvage(struct faulty *faulty, int *out_fd, struct tb_segment_summary *out)
{
    const struct tb_readable file = {read_faulty, faulty, faulty->octets.len};

    *out_fd = test_file_of(tb_bytes_of("", 0));
    return tb_segment_salvage(&file, *out_fd, out, NULL);
}

/* The file holds chunks `from` to `to` - 1, from its chunk `*at` on, as they were. */
static void
assert_chunks(struct tb_segment_reader *reader, const struct test_segment *made, size_t from,
              size_t to, size_t *at)
{
    struct tb_buf plain = TB_BUF_INIT(TB_SEGMENT_MAX_CHUNK_BYTES);

    for (size_t i = from; i < to; i++) {
        const struct tb_segment_chunk *chunk = tb_segment_reader_chunk(reader, *at);

        assert_non_null(chunk);
        assert_memory_equal(&chunk->info.ledger, &made->chunks[i].info.ledger,
                            sizeof(chunk->info.ledger));
        tb_buf_reset(&plain);
        assert_int_equal(tb_segment_reader_read(reader, (*at)++, &plain, NULL), TB_OK);
        assert_true(tb_bytes_equal(tb_buf_view(&plain), tb_buf_view(&made->plain[i])));
    }
    tb_buf_release(&plain);
}

/* All but the chunks from `lost` to `lost_to` - 1 are there, and one hole says what is not. */
static void
assert_all_but(struct faulty *faulty, const struct test_segment *made, size_t lost,
               size_t lost_to, bool is_counted)
{
    const struct tb_segment_chunk *first = &made->chunks[lost];
    const struct tb_segment_chunk *last = &made->chunks[lost_to - 1];
    struct tb_segment_summary summary;
    struct tb_segment_reader *reader = NULL;
    const struct tb_segment_hole *holes;
    uint64_t packets = 0;
    size_t count, at = 0;
    int fd;

    assert_int_equal(salvage(faulty, &fd, &summary), TB_OK);
    assert_true(summary.recovered);
    assert_int_equal(summary.bytes, (uint64_t)lseek(fd, 0, SEEK_END));
    assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
    assert_chunks(reader, made, 0, lost, &at);
    assert_chunks(reader, made, lost_to, made->count, &at);
    assert_null(tb_segment_reader_chunk(reader, at));
    holes = tb_segment_reader_holes(reader, &count);
    assert_int_equal(count, 1);
    assert_int_equal(holes[0].offset, first->offset);
    assert_int_equal(holes[0].length, last->offset + last->length - first->offset);
    assert_int_equal(holes[0].is_counted, is_counted);
    for (size_t i = lost; i < lost_to; i++) {
        packets += made->chunks[i].info.packets;
    }
    assert_int_equal(holes[0].packets, is_counted ? packets : 0);
    tb_segment_reader_free(reader);
    (void)close(fd);
}

static void
chunks_that_the_disk_does_not_give_are_left_out_and_said(void **state)
{
    struct test_segment made;

    (void)state;
    test_segment_make(&made, 1, CHUNKS, PACKETS, MAX_FRAME);
    for (size_t lost = 1; lost + 1 < CHUNKS; lost++) {
        const struct tb_segment_chunk *chunk = &made.chunks[lost];
        struct faulty faulty = {tb_buf_view(&made.file), 0, 0};

        for (int k = 0; k < 3; k++) { /* its marker, its middle, its end */
            faulty.from = chunk->offset + (uint64_t)k * (chunk->length - 1) / 2;
            faulty.to = faulty.from + 1;
            assert_all_but(&faulty, &made, lost, lost + 1, true);
        }
        if (lost + 2 < CHUNKS) { /* and over a seam */
            faulty.to = chunk->offset + chunk->length + 1;
            assert_all_but(&faulty, &made, lost, lost + 2, true);
        }
    }
    test_segment_release(&made);
}

static void
without_an_index_they_are_found_by_their_markers(void **state)
{
    struct test_segment made;

    (void)state;
    test_segment_make(&made, 2, CHUNKS, PACKETS, MAX_FRAME);
    for (size_t lost = 1; lost + 1 < CHUNKS; lost++) {
        const struct tb_segment_chunk *chunk = &made.chunks[lost];
        struct faulty faulty = {tb_bytes_of(made.file.at, made.index_offset), 0, 0};

        for (int k = 0; k < 3; k++) {
            /* whole pages, as disks fail; a seam in it costs both of its chunks */
            uint64_t at = (chunk->offset + (uint64_t)k * (chunk->length - 1) / 2);
            size_t first = lost, end = lost + 1;

            faulty.from = at / PAGE * PAGE;
            faulty.to = faulty.from + PAGE;
            while (made.chunks[first].offset > faulty.from) {
                first--;
            }
            while (end < CHUNKS && made.chunks[end].offset < faulty.to) {
                end++;
            }
            if (first > 0 && end < CHUNKS) {
                assert_all_but(&faulty, &made, first, end, true);
            }
        }
    }
    test_segment_release(&made);
}

static void
a_changed_octet_costs_its_chunk(void **state)
{
    struct test_segment made;

    (void)state;
    test_segment_make(&made, 3, CHUNKS, PACKETS, MAX_FRAME);
    for (size_t lost = 1; lost + 1 < CHUNKS; lost++) {
        const struct tb_segment_chunk *chunk = &made.chunks[lost];
        uint8_t *octet = &made.file.at[chunk->offset + chunk->length / 2];
        struct faulty faulty = {tb_buf_view(&made.file), 0, 0};

        *octet ^= 0x55;
        assert_all_but(&faulty, &made, lost, lost + 1, true);
        faulty.octets.len = made.index_offset;
        assert_all_but(&faulty, &made, lost, lost + 1, true);
        *octet ^= 0x55;
    }
    test_segment_release(&made);
}

/* How much stood behind the last chunk that is there, nothing says. */
static void
what_is_missing_at_the_end_is_not_counted_without_an_index(void **state)
{
    struct test_segment made;

    (void)state;
    test_segment_make(&made, 4, CHUNKS, PACKETS, MAX_FRAME);
    for (size_t lost = 1; lost < CHUNKS; lost++) {
        struct faulty faulty = {tb_bytes_of(made.file.at, made.index_offset),
                                made.chunks[lost].offset + 10, made.index_offset};

        assert_all_but(&faulty, &made, lost, CHUNKS, false);
    }
    test_segment_release(&made);
}

static void
only_the_index_is_missing_and_nothing_else_is_said_to_be(void **state)
{
    struct tb_segment_reader *reader = NULL;
    struct tb_segment_summary summary;
    struct test_segment made;
    size_t count, at = 0;

    (void)state;
    test_segment_make(&made, 5, CHUNKS, PACKETS, MAX_FRAME);
    for (int k = 0; k < 3; k++) { /* changed, unreadable, not there */
        struct faulty faulty = {tb_buf_view(&made.file), 0, 0};
        int fd;

        if (k == 0) {
            made.file.at[made.file.len - 20] ^= 1;
        } else if (k == 1) {
            faulty.from = made.file.len - 20;
            faulty.to = made.file.len;
        } else {
            faulty.octets.len = made.index_offset;
        }
        at = 0;
        assert_int_equal(salvage(&faulty, &fd, &summary), TB_OK);
        assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
        assert_chunks(reader, &made, 0, CHUNKS, &at);
        (void)tb_segment_reader_holes(reader, &count);
        assert_int_equal(count, 0);
        tb_segment_reader_free(reader);
        (void)close(fd);
    }
    test_segment_release(&made);
}

/* The highest interface of the packets in the blocks. */
static uint32_t
highest_interface(struct tb_bytes blocks)
{
    struct tb_pcapng_block block;
    uint32_t most = 0;

    while (blocks.len > 0) {
        assert_int_equal(tb_pcapng_next(&blocks, &block), TB_OK);
        if (block.type == TB_PCAPNG_EPB) {
            uint32_t interface = tb_get_le32(block.body.at);

            most = interface > most ? interface : most;
        }
    }
    return most;
}

static uint32_t
count_interfaces(struct tb_bytes blocks)
{
    struct tb_pcapng_block block;
    uint32_t count = 0;

    while (blocks.len > 0) {
        assert_int_equal(tb_pcapng_next(&blocks, &block), TB_OK);
        count += block.type == TB_PCAPNG_IDB;
    }
    return count;
}

static void
without_its_first_chunk_its_packets_have_interfaces_all_the_same(void **state)
{
    struct test_segment made;
    uint32_t highest = 0;

    (void)state;
    test_segment_make(&made, 6, CHUNKS, PACKETS, MAX_FRAME);
    for (size_t i = 1; i < CHUNKS; i++) {
        uint32_t here = highest_interface(tb_buf_view(&made.plain[i]));

        highest = here > highest ? here : highest;
    }
    for (int k = 0; k < 2; k++) { /* with an index, without one */
        struct faulty faulty = {
            tb_bytes_of(made.file.at, k == 0 ? made.file.len : (size_t)made.index_offset), 0,
            10};
        struct tb_buf plain = TB_BUF_INIT(TB_SEGMENT_MAX_CHUNK_BYTES);
        struct tb_segment_reader *reader = NULL;
        const struct tb_segment_hole *holes;
        struct tb_segment_summary summary;
        struct tb_pcapng_block block;
        struct tb_bytes rest;
        size_t count, at = 1;
        int fd;

        assert_int_equal(salvage(&faulty, &fd, &summary), TB_OK);
        assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
        assert_chunks(reader, &made, 1, CHUNKS, &at);
        assert_int_equal(tb_segment_reader_read(reader, 0, &plain, NULL), TB_OK);
        rest = tb_buf_view(&plain);
        assert_int_equal(tb_pcapng_next(&rest, &block), TB_OK);
        assert_int_equal(block.type, TB_PCAPNG_SHB);
        assert_int_equal(count_interfaces(rest), highest + 1);
        holes = tb_segment_reader_holes(reader, &count);
        assert_int_equal(count, 1);
        assert_int_equal(holes[0].offset, 0);
        assert_int_equal(holes[0].length, made.chunks[0].length);
        assert_int_equal(holes[0].is_counted, k == 0);
        tb_segment_reader_free(reader);
        tb_buf_release(&plain);
        (void)close(fd);
    }
    test_segment_release(&made);
}

static void
where_nothing_can_be_read_there_is_nothing_to_save(void **state)
{
    struct tb_segment_summary summary;
    struct test_segment made;
    int fd;

    (void)state;
    test_segment_make(&made, 7, CHUNKS, PACKETS, MAX_FRAME);
    for (int k = 0; k < 3; k++) { /* all of it, nothing there, only what holds no packets */
        struct faulty faulty = {tb_buf_view(&made.file), 0, made.file.len};

        faulty.octets.len = k == 1 ? 0 : faulty.octets.len;
        faulty.to = k == 2 ? made.chunks[CHUNKS - 1].offset : faulty.to;
        assert_int_equal(salvage(&faulty, &fd, &summary), TB_ENOTFOUND);
        (void)close(fd);
    }
    test_segment_release(&made);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_that_the_disk_does_not_give_are_left_out_and_said),
        cmocka_unit_test(without_an_index_they_are_found_by_their_markers),
        cmocka_unit_test(a_changed_octet_costs_its_chunk),
        cmocka_unit_test(what_is_missing_at_the_end_is_not_counted_without_an_index),
        cmocka_unit_test(only_the_index_is_missing_and_nothing_else_is_said_to_be),
        cmocka_unit_test(without_its_first_chunk_its_packets_have_interfaces_all_the_same),
        cmocka_unit_test(where_nothing_can_be_read_there_is_nothing_to_save),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
