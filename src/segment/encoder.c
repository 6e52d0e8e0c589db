/*
 * The segment as it is written: chunk after chunk, then the index.
 *
 * A chunk is compressed once, into memory with room before it for the marker (before chunk 0:
 * the frame header) and behind it for chunk 0's marker; what is given out is that memory.
 */
#include <tapbox/segment.h>

#include <stdlib.h>

#include "segment_int.h"

enum {
    ROOM_BEFORE = MARKER_FILE_BYTES,
    ROOM_BEHIND = MARKER_FILE_BYTES_0,
    SHB_TYPE = 0x0A0D0D0A
};

struct tb_segment_workspace {
    struct zframe_compressor *compressor;
    struct tb_hasher *hasher;
    struct segment_keys *keys; /* owned */
    uint8_t *at;               /* owned: ROOM_BEFORE, the compressed frame, ROOM_BEHIND */
    size_t frame_cap;
    size_t max_chunk_bytes;
    int max_level;
};

struct tb_segment_encoder {
    struct tb_segment_workspace *workspace; /* borrowed, unless: */
    struct tb_segment_workspace *own;       /* owned */
    struct segment_index_writer index;
    struct zframe_habit habit;
    uint64_t bytes;
    int level;
    bool finished;
};

enum tb_err
tb_segment_workspace_new(size_t max_chunk_bytes, int level, struct tb_segment_workspace **out,
                         struct tb_fail *fail)
{
    struct tb_segment_workspace *workspace = NULL;
    enum tb_err err;

    if (max_chunk_bytes == 0 || max_chunk_bytes > TB_SEGMENT_MAX_CHUNK_BYTES ||
        level < TB_SEGMENT_MIN_LEVEL || level > TB_SEGMENT_MAX_LEVEL) {
        (void)tb_fail_set(fail, TB_EINVAL, "chunks of %zu octets at level %d", max_chunk_bytes,
                          level);
        return TB_EINVAL;
    }
    workspace = calloc(1, sizeof(*workspace));
    if (workspace == NULL) {
        err = TB_ENOMEM;
        goto out;
    }
    workspace->max_chunk_bytes = max_chunk_bytes;
    workspace->max_level = level;
    workspace->frame_cap = zframe_bound(max_chunk_bytes);
    workspace->at = malloc(ROOM_BEFORE + workspace->frame_cap + ROOM_BEHIND);
    workspace->keys = malloc(sizeof(*workspace->keys));
    if (workspace->at == NULL || workspace->keys == NULL) {
        err = TB_ENOMEM;
        goto out;
    }
    err = tb_hasher_new(&workspace->hasher);
    if (err != TB_OK) {
        goto out;
    }
    err = zframe_compressor_new(level, &workspace->compressor);
    if (err != TB_OK) {
        goto out;
    }
    *out = workspace;
    workspace = NULL;

out:
    tb_segment_workspace_free(workspace);
    if (err != TB_OK) {
        (void)tb_fail_set(fail, err, "cannot prepare to write segments");
    }
    return err;
}

void
tb_segment_workspace_free(struct tb_segment_workspace *workspace)
{
    if (workspace != NULL) {
        zframe_compressor_free(workspace->compressor);
        tb_hasher_free(workspace->hasher);
        free(workspace->keys);
        free(workspace->at);
        free(workspace);
    }
}

enum tb_err
tb_segment_encoder_new_in(struct tb_segment_workspace *workspace, size_t max_chunks,
                          struct tb_segment_encoder **out, struct tb_fail *fail)
{
    struct tb_segment_encoder *encoder;

    if (max_chunks == 0 || max_chunks > TB_SEGMENT_MAX_CHUNKS) {
        return tb_fail_set(fail, TB_EINVAL, "segments of %zu chunks", max_chunks);
    }
    encoder = calloc(1, sizeof(*encoder));
    if (encoder == NULL ||
        segment_index_writer_init(&encoder->index, max_chunks, NULL, 0) != TB_OK) {
        free(encoder);
        return tb_fail_set(fail, TB_ENOMEM, "no memory to write a segment");
    }
    encoder->workspace = workspace;
    tb_segment_encoder_level(encoder, workspace->max_level);
    *out = encoder;
    return TB_OK;
}

enum tb_err
tb_segment_encoder_new(size_t max_chunk_bytes, size_t max_chunks, int level,
                       struct tb_segment_encoder **out, struct tb_fail *fail)
{
    struct tb_segment_workspace *workspace = NULL;
    enum tb_err err = tb_segment_workspace_new(max_chunk_bytes, level, &workspace, fail);

    if (err != TB_OK) {
        return err;
    }
    err = tb_segment_encoder_new_in(workspace, max_chunks, out, fail);
    if (err != TB_OK) {
        tb_segment_workspace_free(workspace);
        return err;
    }
    (*out)->own = workspace;
    return TB_OK;
}

void
tb_segment_encoder_free(struct tb_segment_encoder *encoder)
{
    if (encoder != NULL) {
        segment_index_writer_release(&encoder->index);
        tb_segment_workspace_free(encoder->own);
        free(encoder);
    }
}

void
tb_segment_encoder_reset(struct tb_segment_encoder *encoder)
{
    segment_index_writer_reset(&encoder->index);
    encoder->bytes = 0;
    encoder->finished = false;
}

void
tb_segment_encoder_level(struct tb_segment_encoder *encoder, int level)
{
    int most = encoder->workspace->max_level;

    level = level < TB_SEGMENT_MIN_LEVEL ? TB_SEGMENT_MIN_LEVEL : level;
    level = level > most ? most : level;
    encoder->level = level == 0 ? -1 : level; /* to zstd, 0 is "the default": level 3 */
}

int
tb_segment_encoder_used_level(const struct tb_segment_encoder *encoder)
{
    return encoder->level;
}

uint64_t
tb_segment_encoder_bytes(const struct tb_segment_encoder *encoder)
{
    return encoder->bytes;
}

/* Puts what belongs around the blocks of a chunk where it belongs. */
static enum tb_err
frame_chunk(struct tb_segment_workspace *workspace, const struct segment_marker *marker,
            uint8_t *body, struct tb_bytes *out)
{
    size_t marker_len = segment_marker_size(marker->sequence);
    uint8_t *begin;

    if (marker->sequence == 0) {
        begin = body - ZFRAME_HEADER_BYTES;
        memcpy(begin, zframe_header, ZFRAME_HEADER_BYTES);
        *out = tb_bytes_of(begin, ZFRAME_HEADER_BYTES + marker->body_len + marker_len);
        return segment_marker_put(workspace->hasher, body + marker->body_len, marker);
    }
    begin = body - marker_len;
    *out = tb_bytes_of(begin, marker_len + marker->body_len);
    return segment_marker_put(workspace->hasher, begin, marker);
}

enum tb_err
tb_segment_encoder_chunk(struct tb_segment_encoder *encoder, struct tb_bytes blocks,
                         const struct tb_chunk_info *info, struct tb_bytes *out,
                         struct tb_fail *fail)
{
    struct tb_segment_workspace *workspace = encoder->workspace;
    uint8_t *frame = workspace->at + ROOM_BEFORE;
    size_t sequence = encoder->index.count;
    struct segment_marker marker;
    struct zframe_body body;
    struct tb_sha256 sha256;
    struct tb_bytes octets;
    enum tb_err err;

    if (encoder->finished) {
        return tb_fail_set(fail, TB_ESTATE, "the segment is finished");
    }
    if (blocks.len > workspace->max_chunk_bytes) {
        return tb_fail_set(fail, TB_ETOOBIG, "a chunk of %zu octets, %zu fit", blocks.len,
                           workspace->max_chunk_bytes);
    }
    if (sequence == encoder->index.max_chunks) {
        return tb_fail_set(fail, TB_EFULL, "the segment has its %zu chunks", sequence);
    }
    if (blocks.len == 0 || blocks.len % 4 != 0 ||
        (sequence == 0) != (tb_get_le32(blocks.at) == SHB_TYPE)) {
        return tb_fail_set(fail, TB_EINVAL, "chunk %zu does not begin as it has to", sequence);
    }
    err = zframe_compress(workspace->compressor, &encoder->habit, blocks, info->packets,
                          encoder->level, frame, workspace->frame_cap, &body, fail);
    if (err != TB_OK) {
        return err;
    }
    marker = (struct segment_marker){
        .sequence = (uint32_t)sequence,
        .body_len = (uint32_t)body.len,
        .body_plain = (uint32_t)blocks.len,
        .body_check = body.check,
        .offset = encoder->bytes,
        .info = *info,
    };
    marker.info.level = encoder->level;
    if (info->packets == 0) {
        marker.info.first_utc_ns = 0;
        marker.info.last_utc_ns = 0;
    } else if (info->first_utc_ns > info->last_utc_ns) { /* a clock was set back */
        marker.info.first_utc_ns = info->last_utc_ns;
        marker.info.last_utc_ns = info->first_utc_ns;
    }
    err = frame_chunk(workspace, &marker, frame + body.offset, &octets);
    if (err == TB_OK) {
        err = tb_hasher_add(workspace->hasher, octets);
    }
    if (err == TB_OK) {
        err = tb_hasher_finish(workspace->hasher, &sha256);
    }
    if (err != TB_OK) {
        return tb_fail_set(fail, err, "SHA-256 of a chunk");
    }
    segment_index_add(&encoder->index, &(struct tb_segment_chunk){
                                           .offset = marker.offset,
                                           .length = octets.len,
                                           .plain = marker.body_plain,
                                           .sha256 = sha256,
                                           .info = marker.info,
                                       });
    segment_keys_collect(workspace->keys, blocks);
    segment_key_list_add(&encoder->index.keys, workspace->keys);
    encoder->bytes += octets.len;
    *out = octets;
    return TB_OK;
}

enum tb_err
tb_segment_encoder_finish(struct tb_segment_encoder *encoder, bool recovered,
                          struct tb_bytes *out, struct tb_fail *fail)
{
    enum tb_err err;

    if (encoder->finished || encoder->index.count == 0) {
        return tb_fail_set(fail, TB_ESTATE,
                           encoder->finished ? "the segment is finished" : "an empty segment");
    }
    err = segment_index_finish(&encoder->index, encoder->workspace->hasher, encoder->bytes,
                               recovered, out);
    if (err != TB_OK) {
        return tb_fail_set(fail, err, "SHA-256 of the index");
    }
    encoder->bytes += out->len;
    encoder->finished = true;
    return TB_OK;
}
