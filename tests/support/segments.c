#include "segments.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    PLAIN_MAX = 64 << 20
};

void
test_segment_make(struct test_segment *made, uint64_t seed, size_t chunks, uint32_t packets,
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

void
test_segment_release(struct test_segment *made)
{
    for (size_t i = 0; i < made->count; i++) {
        tb_buf_release(&made->plain[i]);
    }
    tb_buf_release(&made->file);
}

int
test_file_of(struct tb_bytes octets)
{
    int fd = memfd_create("segment", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, octets.at, octets.len), (ssize_t)octets.len);
    return fd;
}

void
test_segment_assert_holds(int fd, const struct test_segment *made, size_t count, bool recovered)
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
