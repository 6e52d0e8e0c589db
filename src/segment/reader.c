/* A sealed segment: the index is read and checked at once, chunks when they are asked for. */
#include <tapbox/segment.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "segment_int.h"

struct tb_segment_reader {
    int fd; /* borrowed */
    struct segment_loader loader;
    struct tb_segment_chunk *chunks; /* owned */
    size_t count;
    struct segment_key_index keys;
    uint64_t bytes;
    bool recovered;
};

static enum tb_err
read_index(struct tb_segment_reader *reader, struct tb_fail *fail)
{
    uint8_t header[ZFRAME_HEADER_BYTES];
    uint8_t tail[INDEX_TAIL_BYTES];
    struct segment_index_place place;
    uint8_t *at;
    enum tb_err err;

    if (reader->bytes < sizeof(header) + sizeof(tail)) {
        return tb_fail_set(fail, TB_EFORMAT, "not a segment: too short for one");
    }
    err = segment_read_at(reader->fd, 0, header, sizeof(header), fail);
    if (err != TB_OK) {
        return err;
    }
    if (memcmp(header, zframe_header, sizeof(header)) != 0) {
        return tb_fail_set(fail, TB_EFORMAT, "not a segment: it does not begin as one");
    }
    err = segment_read_at(reader->fd, reader->bytes - sizeof(tail), tail, sizeof(tail), fail);
    if (err != TB_OK) {
        return err;
    }
    err = segment_index_find(tail, reader->bytes, &place, fail);
    if (err != TB_OK) {
        return err;
    }
    at = malloc(place.file_len);
    if (at == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "an index of %zu octets", place.file_len);
    }
    err = segment_read_at(reader->fd, place.offset, at, place.file_len, fail);
    if (err == TB_OK) {
        err = segment_index_get(reader->loader.hasher, at, &place, &reader->chunks,
                                &reader->count, &reader->recovered, &reader->keys, fail);
    }
    free(at);
    return err;
}

enum tb_err
tb_segment_reader_open(int fd, struct tb_segment_reader **out, struct tb_fail *fail)
{
    struct tb_segment_reader *reader = calloc(1, sizeof(*reader));
    struct stat st;
    enum tb_err err;

    if (reader == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to read a segment");
    }
    reader->fd = fd;
    if (fstat(fd, &st) != 0) {
        err = tb_fail_errno(fail, errno, "cannot look at the segment");
        goto out;
    }
    reader->bytes = st.st_size > 0 ? (uint64_t)st.st_size : 0;
    err = segment_loader_init(&reader->loader, fail);
    if (err != TB_OK) {
        goto out;
    }
    err = read_index(reader, fail);
    if (err != TB_OK) {
        goto out;
    }
    *out = reader;
    reader = NULL;

out:
    tb_segment_reader_free(reader);
    return err;
}

void
tb_segment_reader_free(struct tb_segment_reader *reader)
{
    if (reader != NULL) {
        segment_loader_release(&reader->loader);
        segment_key_index_release(&reader->keys);
        free(reader->chunks);
        free(reader);
    }
}

void
tb_segment_reader_summary(const struct tb_segment_reader *reader,
                          struct tb_segment_summary *out)
{
    segment_sum_up(reader->chunks, reader->count, out);
    out->bytes = reader->bytes;
    out->recovered = reader->recovered;
}

const struct tb_segment_chunk *
tb_segment_reader_chunk(const struct tb_segment_reader *reader, size_t i)
{
    return i < reader->count ? &reader->chunks[i] : NULL;
}

bool
tb_segment_reader_may_hold_host(const struct tb_segment_reader *reader, size_t i,
                                uint32_t host_key)
{
    return i < reader->count && segment_key_index_may_hold(&reader->keys, i, false, host_key);
}

bool
tb_segment_reader_may_hold_flow(const struct tb_segment_reader *reader, size_t i,
                                uint32_t flow_key)
{
    return i < reader->count && segment_key_index_may_hold(&reader->keys, i, true, flow_key);
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
    err = segment_loader_chunk(&reader->loader, reader->fd, chunk->offset, chunk->length,
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
