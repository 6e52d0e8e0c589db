/*
 * A segment that was cut off, or is something else altogether.  The input is the file; it is
 * tried as it is, and once more with the markers' digests put right.
 *
 * Property: what was not saved is left as it was.  What was saved is a sealed segment of which
 * every chunk can be read, begins with the octets that were there, and needs no second repair.
 * What was salvaged of it is a sealed segment of which every chunk can be read, too.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tapbox/digest.h>
#include <tapbox/segment.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    INPUT_MAX_BYTES = 1 << 20,
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
put_digests_right(uint8_t *at, size_t size)
{
    for (size_t i = 8; i + MARKER_DIGEST + MARKER_DIGEST_BYTES - 8 <= size; i++) {
        struct tb_sha256 sha256;

        if (memcmp(at + i, "TBCK", 4) == 0) {
            demand(tb_sha256(tb_bytes_of(at + i - 8, MARKER_DIGEST), &sha256) == TB_OK);
            memcpy(at + i - 8 + MARKER_DIGEST, sha256.octets, MARKER_DIGEST_BYTES);
        }
    }
}

/* The file's first `len` octets are those of `data`. */
static void
demand_prefix(int fd, const uint8_t *data, size_t len)
{
    uint8_t *now = malloc(len > 0 ? len : 1);

    demand(now != NULL && pread(fd, now, len, 0) == (ssize_t)len);
    demand(len == 0 || memcmp(now, data, len) == 0);
    free(now);
}

static void
demand_sealed(int fd, const uint8_t *data, size_t size, bool changed,
              const struct tb_segment_summary *summary)
{
    struct tb_buf plain = TB_BUF_INIT(TB_SEGMENT_MAX_CHUNK_BYTES);
    struct tb_segment_reader *reader = NULL;
    struct tb_segment_summary again;
    uint64_t end = 0;
    bool changed_again = true;

    demand(tb_segment_reader_open(fd, &reader, NULL) == TB_OK);
    for (size_t i = 0; i < summary->chunk_count; i++) {
        const struct tb_segment_chunk *chunk = tb_segment_reader_chunk(reader, i);

        demand(chunk != NULL);
        tb_buf_reset(&plain);
        /* an index that was there already may lie about its chunks; a new one does not */
        demand(!changed || tb_segment_reader_read(reader, i, &plain, NULL) == TB_OK);
        end = chunk->offset + chunk->length;
    }
    if (data != NULL) {
        demand(end <= size);
        demand_prefix(fd, data, (size_t)end);
    }
    tb_segment_reader_free(reader);
    tb_buf_release(&plain);
    demand(tb_segment_recover(fd, &changed_again, &again, NULL) == TB_OK);
    demand(!changed_again && again.bytes == summary->bytes &&
           again.packets == summary->packets && again.chunk_count == summary->chunk_count &&
           again.recovered == summary->recovered);
}

static enum tb_err
read_input(void *arg, uint64_t offset, uint8_t *at, size_t len, struct tb_fail *fail)
{
    const struct tb_bytes *input = arg;

    if (offset > input->len || len > input->len - offset) {
        return tb_fail_set(fail, TB_ESHORT, "it ends");
    }
    memcpy(at, input->at + offset, len);
    return TB_OK;
}

static void
salvage(int fd, const uint8_t *data, size_t size)
{
    struct tb_bytes input = tb_bytes_of(data, size);
    const struct tb_readable file = {read_input, &input, size};
    struct tb_segment_summary summary;

    demand(ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0);
    if (tb_segment_salvage(&file, fd, &summary, NULL) == TB_OK) {
        demand(summary.packets > 0 && summary.recovered &&
               summary.bytes == (uint64_t)lseek(fd, 0, SEEK_END));
        demand_sealed(fd, NULL, 0, true, &summary);
    }
}

static void
repair(int fd, const uint8_t *data, size_t size)
{
    struct tb_segment_summary summary;
    bool changed = false;

    demand(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    if (tb_segment_recover(fd, &changed, &summary, NULL) == TB_OK) {
        demand(summary.bytes == (uint64_t)lseek(fd, 0, SEEK_END) &&
               (!changed || summary.recovered));
        demand_sealed(fd, data, size, changed, &summary);
    } else {
        demand((size_t)lseek(fd, 0, SEEK_END) == size);
        demand_prefix(fd, data, size);
    }
    salvage(fd, data, size);
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
    repair(fd, copy, size);
    put_digests_right(copy, size);
    repair(fd, copy, size);
    free(copy);
    return 0;
}
