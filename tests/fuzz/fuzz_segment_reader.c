/*
 * A sealed segment that came from elsewhere.  The input is the file; it is tried as it is, and
 * once more with the digests put right, or nothing behind them would ever be reached.
 *
 * Property: whatever opens describes chunks that follow each other without a gap and stay in
 * the file, and what is read of a chunk is as long as the index says.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tapbox/digest.h>
#include <tapbox/segment.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    INPUT_MAX_BYTES = 1 << 20,
    PIECE_BYTES = 128 * 1024, /* of the index in one raw block */
    TRAILER_BYTES = 56,
    TAIL_BYTES = TRAILER_BYTES + 3,
    DIGEST_AT = 36, /* from the end of the index */
    HEAD_BYTES = 40,
    ENTRY_BYTES = 192,
    ENTRY_DIGEST = 48,
    MARKER_DIGEST = 176,
    MARKER_DIGEST_BYTES = 8
};

static void
demand(bool truth)
{
    if (!truth) {
        abort();
    }
}

static void
digest(const uint8_t *at, size_t len, uint8_t *to, size_t octets)
{
    struct tb_sha256 sha256;

    demand(tb_sha256(tb_bytes_of(at, len), &sha256) == TB_OK);
    memcpy(to, sha256.octets, octets);
}

/* For an index in one raw block (the seeds have no other): markers, chunks, index. */
static void
put_digests_right(uint8_t *at, size_t size)
{
    uint64_t offset;
    size_t plain;
    uint8_t *index;

    if (size < TAIL_BYTES + 6) {
        return;
    }
    plain = tb_get_le32(at + size - TAIL_BYTES + 4);
    offset = tb_get_le64(at + size - TAIL_BYTES + 8);
    if (plain > PIECE_BYTES || plain < HEAD_BYTES + TRAILER_BYTES || plain + 6 > size ||
        offset != size - 6 - plain) {
        return;
    }
    for (size_t i = 8; i + MARKER_DIGEST + MARKER_DIGEST_BYTES - 8 <= offset; i++) {
        if (memcmp(at + i, "TBCK", 4) == 0) {
            digest(at + i - 8, MARKER_DIGEST, at + i - 8 + MARKER_DIGEST, MARKER_DIGEST_BYTES);
        }
    }
    index = at + offset + 3;
    for (size_t i = HEAD_BYTES; i + ENTRY_BYTES + TRAILER_BYTES <= plain; i += ENTRY_BYTES) {
        uint64_t begin = tb_get_le64(index + i);
        uint64_t len = tb_get_le64(index + i + 8);

        if (begin <= offset && len <= offset - begin) {
            digest(at + begin, (size_t)len, index + i + ENTRY_DIGEST, TB_SHA256_SIZE);
        }
    }
    digest(index, plain - DIGEST_AT, index + plain - DIGEST_AT, TB_SHA256_SIZE);
}

static void
read_all(int fd, const uint8_t *data, size_t size)
{
    struct tb_buf plain = TB_BUF_INIT(TB_SEGMENT_MAX_CHUNK_BYTES);
    struct tb_segment_reader *reader = NULL;
    struct tb_segment_summary summary;
    const struct tb_segment_chunk *chunk;
    uint64_t end = 0;

    demand(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    if (tb_segment_reader_open(fd, &reader, NULL) != TB_OK) {
        demand(reader == NULL);
        return;
    }
    tb_segment_reader_summary(reader, &summary);
    demand(summary.bytes == size && summary.chunk_count > 0);
    for (size_t i = 0; (chunk = tb_segment_reader_chunk(reader, i)) != NULL; i++) {
        demand(i < summary.chunk_count && chunk->offset == end);
        end += chunk->length;
        demand(end < size);
        tb_buf_reset(&plain);
        demand(tb_segment_reader_read(reader, i, &plain, NULL) == TB_OK
                   ? plain.len == chunk->plain
                   : plain.len == 0);
    }
    tb_segment_reader_free(reader);
    tb_buf_release(&plain);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    uint8_t *copy;

    if (size > INPUT_MAX_BYTES) {
        return 0;
    }
    if (fd < 0) {
        fd = memfd_create("segment", MFD_CLOEXEC);
        demand(fd >= 0);
    }
    copy = malloc(size > 0 ? size : 1);
    demand(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    read_all(fd, copy, size);
    put_digests_right(copy, size);
    read_all(fd, copy, size);
    free(copy);
    return 0;
}
