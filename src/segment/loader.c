/* One chunk of a file: read, hashed, checked by its marker, decompressed. */
#include "segment_int.h"

#include <stdlib.h>

enum tb_err
segment_loader_init(struct segment_loader *loader, struct tb_fail *fail)
{
    enum tb_err err;

    *loader = (struct segment_loader){0};
    err = tb_hasher_new(&loader->hasher);
    if (err == TB_OK) {
        err = zframe_decompressor_new(&loader->decompressor);
    }
    if (err != TB_OK) {
        segment_loader_release(loader);
        return tb_fail_set(fail, err, "cannot prepare to read a segment");
    }
    return TB_OK;
}

void
segment_loader_release(struct segment_loader *loader)
{
    tb_hasher_free(loader->hasher);
    zframe_decompressor_free(loader->decompressor);
    free(loader->file);
    free(loader->plain);
    *loader = (struct segment_loader){0};
}

size_t
segment_max_chunk_file_bytes(void)
{
    return ZFRAME_HEADER_BYTES + MARKER_FILE_BYTES_0 + zframe_bound(TB_SEGMENT_MAX_CHUNK_BYTES);
}

static enum tb_err
make_room(uint8_t **at, size_t *cap, size_t want, struct tb_fail *fail)
{
    uint8_t *more;

    if (want <= *cap) {
        return TB_OK;
    }
    more = realloc(*at, want);
    if (more == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a chunk of %zu octets", want);
    }
    *at = more;
    *cap = want;
    return TB_OK;
}

/* Where marker and body are among a chunk's octets. */
struct layout {
    size_t marker, marker_len;
    size_t body, body_len;
};

static bool
lay_out(uint32_t sequence, uint64_t length, struct layout *out)
{
    size_t marker_len = segment_marker_size(sequence);
    size_t before = sequence == 0 ? ZFRAME_HEADER_BYTES : marker_len;
    size_t behind = sequence == 0 ? marker_len : 0;

    if (length <= before + behind || length > segment_max_chunk_file_bytes()) {
        return false;
    }
    out->marker = sequence == 0 ? (size_t)length - marker_len : 0;
    out->marker_len = marker_len;
    out->body = before;
    out->body_len = (size_t)length - before - behind;
    return true;
}

enum tb_err
segment_loader_chunk(struct segment_loader *loader, const struct tb_readable *file,
                     uint64_t offset, uint64_t length, uint32_t sequence,
                     struct segment_marker *out, struct tb_sha256 *out_sha256,
                     struct tb_bytes *out_plain, struct tb_fail *fail)
{
    struct segment_marker marker;
    struct tb_sha256 sha256;
    struct layout layout;
    enum tb_err err;

    if (!lay_out(sequence, length, &layout)) {
        return tb_fail_set(fail, TB_EFORMAT, "chunk %u has an impossible length", sequence);
    }
    err =
        make_room(&loader->file, &loader->file_cap, (size_t)length + ZFRAME_ROOM_BEHIND, fail);
    if (err != TB_OK) {
        return err;
    }
    err = file->read(file->arg, offset, loader->file, (size_t)length, fail);
    if (err != TB_OK) {
        return err;
    }
    err = tb_hasher_add(loader->hasher, tb_bytes_of(loader->file, (size_t)length));
    if (err == TB_OK) {
        err = tb_hasher_finish(loader->hasher, &sha256);
    }
    if (err != TB_OK) {
        return tb_fail_set(fail, err, "SHA-256 of chunk %u", sequence);
    }
    err = segment_marker_get(loader->hasher,
                             tb_bytes_of(loader->file + layout.marker, layout.marker_len),
                             sequence, &marker);
    if (err != TB_OK || marker.offset != offset || marker.body_len != layout.body_len ||
        marker.body_plain == 0 || marker.body_plain > TB_SEGMENT_MAX_CHUNK_BYTES ||
        (sequence == 0 && memcmp(loader->file, zframe_header, ZFRAME_HEADER_BYTES) != 0)) {
        return tb_fail_set(fail, TB_EFORMAT, "chunk %u does not have its marker", sequence);
    }
    err = make_room(&loader->plain, &loader->plain_cap, marker.body_plain, fail);
    if (err != TB_OK) {
        return err;
    }
    err = zframe_decompress(loader->decompressor, loader->file + layout.body, layout.body_len,
                            marker.body_check, loader->plain, marker.body_plain);
    if (err != TB_OK) {
        return tb_fail_set(fail, err, "chunk %u cannot be decompressed", sequence);
    }
    *out = marker;
    *out_sha256 = sha256;
    *out_plain = tb_bytes_of(loader->plain, marker.body_plain);
    return TB_OK;
}

struct tb_bytes
segment_loader_body(const struct segment_loader *loader, const struct segment_marker *marker)
{
    size_t before =
        marker->sequence == 0 ? ZFRAME_HEADER_BYTES : segment_marker_size(marker->sequence);

    return tb_bytes_of(loader->file + before, marker->body_len);
}
