/*
 * From chunk to chunk of a segment that has no index yet, by what each chunk says of itself:
 * for the repair of one that was cut off, and for following one that is being written.
 *
 * A chunk is taken when it is whole: the marker has its digest, the blocks decompress to what
 * the marker promises, and are pcapng blocks.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <tapbox/pcapng.h>

#include "segment_int.h"

bool
segment_blocks_are_whole(struct tb_bytes plain, bool is_first)
{
    bool expect_section = is_first;

    while (plain.len != 0) {
        struct tb_pcapng_block block;
        struct tb_pcapng_packet packet;
        struct tb_bytes frame;

        if (tb_pcapng_next(&plain, &block) != TB_OK ||
            (block.type == TB_PCAPNG_SHB) != expect_section ||
            (block.type == TB_PCAPNG_EPB &&
             tb_pcapng_get_packet(&block, &packet, &frame) != TB_OK)) {
            return false;
        }
        expect_section = false;
    }
    return true;
}

enum tb_err
segment_measure_first(const struct tb_readable *file, struct tb_hasher *hasher,
                      uint64_t *out_length, struct tb_fail *fail)
{
    uint64_t most = segment_max_chunk_file_bytes();
    uint64_t len = file->bytes < most ? file->bytes : most;
    uint64_t next = ZFRAME_HEADER_BYTES;

    *out_length = 0;
    while (next < len && len - next >= ZFRAME_BLOCK_HEADER_BYTES) {
        uint8_t at[MARKER_FILE_BYTES_0];
        struct segment_marker marker;
        struct zframe_block block;
        enum tb_err err = file->read(file->arg, next, at, ZFRAME_BLOCK_HEADER_BYTES, fail);

        if (err != TB_OK) {
            return err;
        }
        block = zframe_get_block(at);
        if (block.size > len - next) {
            break;
        }
        if (block.size == MARKER_FILE_BYTES_0 && block.type == ZFRAME_RAW) {
            err = file->read(file->arg, next, at, sizeof(at), fail);
            if (err != TB_OK) {
                return err;
            }
            if (segment_marker_get(hasher, tb_bytes_of(at, sizeof(at)), 0, &marker) == TB_OK &&
                marker.body_len == next - ZFRAME_HEADER_BYTES) {
                *out_length = next + block.size;
                break;
            }
        }
        next += block.size;
    }
    return TB_OK;
}

/* The other chunks say it in their first octets. */
static enum tb_err
measure_next(struct segment_walk *walk, uint64_t file_bytes, uint64_t *out_length,
             struct tb_fail *fail)
{
    uint8_t at[MARKER_FILE_BYTES];
    struct segment_marker marker;
    enum tb_err err;

    *out_length = 0;
    if (file_bytes < walk->end || file_bytes - walk->end < sizeof(at)) {
        return TB_OK;
    }
    err = tb_read_at(walk->fd, walk->end, at, sizeof(at), fail);
    if (err == TB_OK && segment_marker_get(walk->loader.hasher, tb_bytes_of(at, sizeof(at)),
                                           walk->count, &marker) == TB_OK) {
        *out_length = sizeof(at) + (uint64_t)marker.body_len;
    }
    return err;
}

/* 0 when it is not all there. */
static enum tb_err
measure(struct segment_walk *walk, uint64_t file_bytes, uint64_t *out_length,
        struct tb_fail *fail)
{
    struct tb_readable file;
    enum tb_err err;

    if (walk->count > 0) {
        err = measure_next(walk, file_bytes, out_length, fail);
    } else if ((err = tb_readable_fd(&walk->fd, &file, fail)) == TB_OK) {
        file.bytes = file_bytes;
        err = segment_measure_first(&file, walk->loader.hasher, out_length, fail);
    }
    if (err == TB_OK && (walk->count == TB_SEGMENT_MAX_CHUNKS || file_bytes < walk->end ||
                         *out_length > file_bytes - walk->end)) {
        *out_length = 0;
    }
    return err;
}

static void
step(struct segment_walk *walk, uint64_t length)
{
    walk->end += length;
    walk->count++;
}

enum tb_err
segment_walk_next(struct segment_walk *walk, uint64_t file_bytes, struct tb_segment_chunk *out,
                  struct tb_bytes *out_plain, bool *out_taken, struct tb_fail *fail)
{
    struct tb_segment_chunk chunk = {.offset = walk->end};
    struct segment_marker marker;
    struct tb_readable file;
    struct tb_bytes plain;
    enum tb_err err = measure(walk, file_bytes, &chunk.length, fail);

    *out_taken = false;
    if (err != TB_OK || chunk.length == 0) {
        return err;
    }
    err = tb_readable_fd(&walk->fd, &file, fail);
    if (err == TB_OK) {
        err = segment_loader_chunk(&walk->loader, &file, walk->end, chunk.length, walk->count,
                                   &marker, &chunk.sha256, &plain, fail);
    }
    if (err == TB_EFORMAT || err == TB_ESHORT) {
        return TB_OK;
    }
    if (err != TB_OK) {
        return err;
    }
    chunk.plain = marker.body_plain;
    chunk.info = marker.info;
    if (!segment_chunk_is_possible(&chunk, walk->end) ||
        !segment_blocks_are_whole(plain, walk->count == 0)) {
        return TB_OK;
    }
    step(walk, chunk.length);
    *out = chunk;
    *out_plain = plain;
    *out_taken = true;
    return TB_OK;
}

/* --- following --- */

struct tb_segment_tail {
    struct segment_walk walk;
};

enum tb_err
tb_segment_tail_new(struct tb_segment_tail **out, struct tb_fail *fail)
{
    struct tb_segment_tail *tail = calloc(1, sizeof(*tail));
    enum tb_err err;

    if (tail == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to follow a segment");
    }
    tail->walk.fd = -1;
    err = segment_loader_init(&tail->walk.loader, fail);
    if (err != TB_OK) {
        free(tail);
        return err;
    }
    *out = tail;
    return TB_OK;
}

void
tb_segment_tail_free(struct tb_segment_tail *tail)
{
    if (tail != NULL) {
        segment_loader_release(&tail->walk.loader);
        free(tail);
    }
}

void
tb_segment_tail_begin(struct tb_segment_tail *tail, int fd)
{
    tail->walk.fd = fd;
    tail->walk.end = 0;
    tail->walk.count = 0;
}

static enum tb_err
file_size(int fd, uint64_t *out, struct tb_fail *fail)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return tb_fail_errno(fail, errno, "cannot look at the segment");
    }
    *out = st.st_size > 0 ? (uint64_t)st.st_size : 0;
    return TB_OK;
}

/* What stands behind the last chunk: TB_ENOTFOUND the index, TB_ERETRY nothing whole yet. */
static enum tb_err
what_follows(const struct segment_walk *walk, uint64_t file_bytes, struct tb_fail *fail)
{
    uint8_t at[INDEX_BEGIN_BYTES];
    enum tb_err err;

    if (walk->count > 0 && file_bytes > walk->end && file_bytes - walk->end >= sizeof(at)) {
        err = tb_read_at(walk->fd, walk->end, at, sizeof(at), fail);
        if (err != TB_OK) {
            return err;
        }
        if (segment_index_begins(at)) {
            return tb_fail_set(fail, TB_ENOTFOUND, "the segment ends here");
        }
    }
    return tb_fail_set(fail, TB_ERETRY, "no further chunk is whole yet");
}

enum tb_err
tb_segment_tail_next(struct tb_segment_tail *tail, struct tb_segment_chunk *out,
                     struct tb_bytes *out_blocks, struct tb_fail *fail)
{
    struct segment_walk *walk = &tail->walk;
    uint64_t file_bytes = 0;
    bool taken = false;
    enum tb_err err = file_size(walk->fd, &file_bytes, fail);

    if (err == TB_OK) {
        err = segment_walk_next(walk, file_bytes, out, out_blocks, &taken, fail);
    }
    if (err == TB_OK && !taken) {
        err = what_follows(walk, file_bytes, fail);
    }
    /* (cut by a repair between the look and the read) */
    return err == TB_ESHORT ? tb_fail_set(fail, TB_ERETRY, "the file was cut") : err;
}

uint32_t
tb_segment_tail_passed(const struct tb_segment_tail *tail)
{
    return tail->walk.count;
}

enum tb_err
tb_segment_tail_skip(struct tb_segment_tail *tail, struct tb_fail *fail)
{
    struct segment_walk *walk = &tail->walk;
    uint64_t file_bytes = 0;
    uint64_t length = 1;
    enum tb_err err = file_size(walk->fd, &file_bytes, fail);

    while (err == TB_OK && walk->count > 0 && length > 0) {
        err = measure(walk, file_bytes, &length, fail);
        if (err == TB_OK && length > 0) {
            step(walk, length);
        }
    }
    return err;
}
