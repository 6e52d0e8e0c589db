/* A sealed segment: the index is read and checked at once, chunks when they are asked for. */
#include <tapbox/segment.h>

#include <stdlib.h>

#include "segment_int.h"

struct tb_segment_reader {
    int fd; /* borrowed; -1: `file` is not a descriptor */
    struct tb_readable file;
    struct segment_loader loader;
    struct segment_index index;
};

static enum tb_err
check_header(struct tb_segment_reader *reader, struct tb_fail *fail)
{
    uint8_t header[ZFRAME_HEADER_BYTES];
    enum tb_err err = reader->file.read(reader->file.arg, 0, header, sizeof(header), fail);

    if (err == TB_OK && memcmp(header, zframe_header, sizeof(header)) != 0) {
        err = tb_fail_set(fail, TB_EFORMAT, "not a segment: it does not begin as one");
    }
    return err;
}

static enum tb_err
read_index(struct tb_segment_reader *reader, struct tb_fail *fail)
{
    uint8_t tail[INDEX_TAIL_BYTES];
    struct segment_index_place place;
    uint8_t *at;
    enum tb_err err;

    if (reader->file.bytes < ZFRAME_HEADER_BYTES + sizeof(tail)) {
        return tb_fail_set(fail, TB_EFORMAT, "not a segment: too short for one");
    }
    err = reader->file.read(reader->file.arg, reader->file.bytes - sizeof(tail), tail,
                            sizeof(tail), fail);
    if (err != TB_OK) {
        return err;
    }
    err = segment_index_find(tail, reader->file.bytes, &place, fail);
    if (err != TB_OK) {
        return err;
    }
    at = malloc(place.file_len);
    if (at == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "an index of %zu octets", place.file_len);
    }
    err = reader->file.read(reader->file.arg, place.offset, at, place.file_len, fail);
    if (err == TB_OK) {
        err = segment_index_get(reader->loader.hasher, at, &place, &reader->index, fail);
    }
    free(at);
    return err;
}

/* Takes `reader`, which has its file. */
static enum tb_err
open_it(struct tb_segment_reader *reader, bool may_lack_header, struct tb_segment_reader **out,
        struct tb_fail *fail)
{
    enum tb_err err = segment_loader_init(&reader->loader, fail);

    if (err == TB_OK) {
        err = read_index(reader, fail);
    }
    if (err == TB_OK && !may_lack_header) {
        err = check_header(reader, fail);
    }
    if (err != TB_OK) {
        tb_segment_reader_free(reader);
        return err;
    }
    *out = reader;
    return TB_OK;
}

static struct tb_segment_reader *
new_reader(int fd, struct tb_fail *fail)
{
    struct tb_segment_reader *reader = calloc(1, sizeof(*reader));

    if (reader == NULL) {
        (void)tb_fail_set(fail, TB_ENOMEM, "no memory to read a segment");
        return NULL;
    }
    reader->fd = fd;
    return reader;
}

static enum tb_err
open_at(const struct tb_readable *file, bool may_lack_header, struct tb_segment_reader **out,
        struct tb_fail *fail)
{
    struct tb_segment_reader *reader = new_reader(-1, fail);

    if (reader == NULL) {
        return TB_ENOMEM;
    }
    reader->file = *file;
    return open_it(reader, may_lack_header, out, fail);
}

enum tb_err
tb_segment_reader_open_at(const struct tb_readable *file, struct tb_segment_reader **out,
                          struct tb_fail *fail)
{
    return open_at(file, false, out, fail);
}

enum tb_err
segment_reader_open_damaged(const struct tb_readable *file, struct tb_segment_reader **out,
                            struct tb_fail *fail)
{
    return open_at(file, true, out, fail);
}

enum tb_err
tb_segment_reader_open(int fd, struct tb_segment_reader **out, struct tb_fail *fail)
{
    struct tb_segment_reader *reader = new_reader(fd, fail);
    enum tb_err err;

    if (reader == NULL) {
        return TB_ENOMEM;
    }
    err = tb_readable_fd(&reader->fd, &reader->file, fail);
    if (err != TB_OK) {
        tb_segment_reader_free(reader);
        return err;
    }
    return open_it(reader, false, out, fail);
}

void
tb_segment_reader_free(struct tb_segment_reader *reader)
{
    if (reader != NULL) {
        segment_loader_release(&reader->loader);
        segment_index_release(&reader->index);
        free(reader);
    }
}

void
tb_segment_reader_summary(const struct tb_segment_reader *reader,
                          struct tb_segment_summary *out)
{
    segment_sum_up(reader->index.chunks, reader->index.count, out);
    out->bytes = reader->file.bytes;
    out->recovered = reader->index.recovered;
}

const struct tb_segment_chunk *
tb_segment_reader_chunk(const struct tb_segment_reader *reader, size_t i)
{
    return i < reader->index.count ? &reader->index.chunks[i] : NULL;
}

const struct tb_segment_hole *
tb_segment_reader_holes(const struct tb_segment_reader *reader, size_t *out_count)
{
    *out_count = reader->index.hole_count;
    return reader->index.holes;
}

bool
tb_segment_reader_may_hold_host(const struct tb_segment_reader *reader, size_t i,
                                uint32_t host_key)
{
    return i < reader->index.count &&
           segment_key_index_may_hold(&reader->index.keys, i, false, host_key);
}

bool
tb_segment_reader_may_hold_flow(const struct tb_segment_reader *reader, size_t i,
                                uint32_t flow_key)
{
    return i < reader->index.count &&
           segment_key_index_may_hold(&reader->index.keys, i, true, flow_key);
}

/* Whether a chunk's marker says of it what the index says. */
static bool
marker_fits(const struct segment_marker *marker, const struct tb_segment_chunk *chunk)
{
    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        if (tb_ledger_get(&marker->info.ledger, i) != tb_ledger_get(&chunk->info.ledger, i)) {
            return false;
        }
    }
    return marker->body_plain == chunk->plain && marker->info.packets == chunk->info.packets &&
           marker->info.level == chunk->info.level &&
           marker->info.first_utc_ns == chunk->info.first_utc_ns &&
           marker->info.last_utc_ns == chunk->info.last_utc_ns;
}

enum tb_err
tb_segment_reader_read(struct tb_segment_reader *reader, size_t i, struct tb_buf *out,
                       struct tb_fail *fail)
{
    const struct tb_segment_chunk *chunk = tb_segment_reader_chunk(reader, i);
    struct segment_marker marker;
    struct tb_sha256 sha256;
    struct tb_bytes plain;
    enum tb_err err;

    if (chunk == NULL) {
        return tb_fail_set(fail, TB_ENOTFOUND, "there is no chunk %zu", i);
    }
    err = segment_loader_chunk(&reader->loader, &reader->file, chunk->offset, chunk->length,
                               (uint32_t)i, &marker, &sha256, &plain, fail);
    if (err != TB_OK) {
        return err;
    }
    if (memcmp(sha256.octets, chunk->sha256.octets, TB_SHA256_SIZE) != 0 ||
        !marker_fits(&marker, chunk)) {
        return tb_fail_set(fail, TB_EFORMAT, "chunk %zu is not the one in the index", i);
    }
    tb_buf_put_bytes(out, plain);
    return tb_buf_check(out, "a chunk", fail);
}
