/* What a part of a segment, left by a download that was ended in the middle, still lacks. */
#include "retrieve_int.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <tapbox/evidence.h>

enum {
    OTHER_MAX_BYTES = 17 << 20 /* of a segment that are in no chunk: its index */
};

struct spans {
    struct tb_place_span *at; /* owned */
    size_t count;
};

/* Side by side they are one. */
static void
add_span(struct spans *spans, uint64_t offset, uint64_t bytes)
{
    struct tb_place_span *last = spans->count > 0 ? &spans->at[spans->count - 1] : NULL;

    if (last != NULL && last->offset + last->bytes == offset) {
        last->bytes += bytes;
    } else if (bytes > 0) {
        spans->at[spans->count++] = (struct tb_place_span){offset, bytes};
    }
}

static bool
is_right(int fd, const struct tb_segment_chunk *chunk, uint8_t *room)
{
    struct tb_sha256 sha256;

    return tb_read_at(fd, chunk->offset, room, (size_t)chunk->length, NULL) == TB_OK &&
           tb_sha256(tb_bytes_of(room, (size_t)chunk->length), &sha256) == TB_OK &&
           memcmp(&sha256, &chunk->sha256, sizeof(sha256)) == 0;
}

/* Chunk by chunk as the index has them; what is no chunk, that index above all, is always
 * brought. */
static enum tb_err
compare(const struct tb_segment_reader *reader, int fd, uint64_t file_bytes,
        struct spans *spans, struct tb_fail *fail)
{
    const struct tb_segment_chunk *chunk;
    uint64_t at = 0, longest = 1;
    uint8_t *room;

    for (size_t i = 0; (chunk = tb_segment_reader_chunk(reader, i)) != NULL; i++) {
        longest = chunk->length > longest ? chunk->length : longest;
    }
    room = malloc((size_t)longest);
    if (room == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to check what is there");
    }
    for (size_t i = 0; (chunk = tb_segment_reader_chunk(reader, i)) != NULL; i++) {
        add_span(spans, at, chunk->offset - at);
        at = chunk->offset + chunk->length;
        if (!is_right(fd, chunk, room)) {
            add_span(spans, chunk->offset, chunk->length);
        }
    }
    add_span(spans, at, file_bytes - at);
    free(room);
    return TB_OK;
}

static bool
is_the_manifests(const struct tb_segment_reader *reader, const struct tb_evidence_file *known)
{
    struct tb_sha256 root;

    return known == NULL || !known->has_root ||
           (tb_segment_merkle_root(reader, &root, NULL) == TB_OK &&
            memcmp(&root, &known->merkle_root, sizeof(root)) == 0);
}

/* Its index, where the file lies; none (*out stays NULL) when there is nothing to compare. */
static enum tb_err
open_index(struct tb_place_reader *place_reader, const struct tb_evidence_file *known, int fd,
           struct tb_segment_reader **out, struct tb_fail *fail)
{
    struct tb_readable through = tb_place_readable(place_reader);
    struct tb_segment_reader *reader = NULL;
    struct stat st;
    enum tb_err err;

    if (fstat(fd, &st) != 0 || st.st_size == 0) {
        return TB_OK;
    }
    err = tb_segment_reader_open_at(&through, &reader, fail);
    if (err == TB_EFORMAT || err == TB_ESHORT) {
        return TB_OK; /* it is no segment, or one without an index: then it begins anew */
    }
    if (err == TB_OK && is_the_manifests(reader, known)) {
        *out = reader;
        reader = NULL;
    }
    tb_segment_reader_free(reader);
    return err;
}

enum tb_err
retrieve_lacks(struct tb_place *place, const struct tb_place_file *file,
               const struct tb_evidence_file *known, int fd, struct tb_place_span **out,
               size_t *out_count, struct tb_fail *fail)
{
    struct tb_segment_reader *reader = NULL;
    struct tb_place_reader *place_reader = NULL;
    struct tb_segment_summary summary = {.chunk_count = 0};
    struct spans spans = {.count = 0};
    enum tb_err err = tb_place_reader_open(place, file, &place_reader, fail);

    if (err == TB_OK) {
        err = open_index(place_reader, known, fd, &reader, fail);
    }
    if (err != TB_OK) {
        goto out;
    }
    if (reader != NULL) {
        tb_segment_reader_summary(reader, &summary);
    }
    /* before each chunk, each chunk, behind the last */
    spans.at = calloc(2 * summary.chunk_count + 1, sizeof(*spans.at));
    if (spans.at == NULL) {
        err = tb_fail_set(fail, TB_ENOMEM, "no memory to go on with a file");
        goto out;
    }
    if (reader == NULL) {
        add_span(&spans, 0, file->bytes);
    } else {
        err = compare(reader, fd, file->bytes, &spans, fail);
    }
    if (err == TB_OK) {
        *out = spans.at;
        *out_count = spans.count;
        spans.at = NULL;
    }

out:
    tb_segment_reader_free(reader);
    tb_place_reader_free(place_reader);
    free(spans.at);
    return err;
}

/* One span, here and there. */
static bool
is_span_same(struct tb_place_reader *place_reader, const struct tb_place_span *span, int fd)
{
    struct tb_readable there = tb_place_readable(place_reader);
    size_t len = (size_t)span->bytes;
    uint8_t *at = span->bytes <= OTHER_MAX_BYTES ? malloc(2 * len) : NULL;
    bool same = at != NULL && tb_read_at(fd, span->offset, at, len, NULL) == TB_OK &&
                there.read(there.arg, span->offset, at + len, len, NULL) == TB_OK &&
                memcmp(at, at + len, len) == 0;

    free(at);
    return same;
}

bool
retrieve_is_same(struct tb_place *place, const struct tb_place_file *file, int fd)
{
    struct tb_place_reader *place_reader = NULL;
    struct tb_place_span *spans = NULL;
    size_t count = 0;
    bool same = retrieve_lacks(place, file, NULL, fd, &spans, &count, NULL) == TB_OK &&
                tb_place_reader_open(place, file, &place_reader, NULL) == TB_OK;

    for (size_t i = 0; i < count && same; i++) {
        same = is_span_same(place_reader, &spans[i], fd);
    }
    tb_place_reader_free(place_reader);
    free(spans);
    return same;
}
