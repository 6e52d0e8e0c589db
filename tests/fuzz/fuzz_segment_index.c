/*
 * The index alone, as it stands at the end of a file that came from elsewhere.  The input is
 * the pcapng block without its digest; the digest, the raw blocks' headers and the last block
 * are put around it here, or nothing behind them would ever be reached.
 *
 * Property: what is read describes chunks that follow each other up to where the index begins,
 * the keys of each can be asked for, and written again it is read as the same.
 */
#include <stdlib.h>

#include "../../src/segment/segment_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    INPUT_MAX_BYTES = 512 << 10,
    DIGEST_AT = 36 /* from the end */
};

static struct tb_hasher *hasher;

static void
demand(bool truth)
{
    if (!truth) {
        abort();
    }
}

/* The file's tail from a block's octets; malloc()ed. */
static uint8_t *
put_in_file(const uint8_t *block, size_t plain, size_t *out_len)
{
    size_t pieces = (plain + ZFRAME_MAX_BLOCK_BYTES - 1) / ZFRAME_MAX_BLOCK_BYTES;
    size_t len = plain + ZFRAME_BLOCK_HEADER_BYTES * pieces + ZFRAME_LAST_BLOCK_BYTES;
    size_t first = plain - (pieces - 1) * ZFRAME_MAX_BLOCK_BYTES;
    uint8_t *file = malloc(len);
    uint8_t *to = file;

    demand(file != NULL);
    for (size_t at = 0, piece = first; at < plain;
         at += piece, piece = ZFRAME_MAX_BLOCK_BYTES) {
        zframe_put_block(to, false, ZFRAME_RAW, (uint32_t)piece);
        memcpy(to + ZFRAME_BLOCK_HEADER_BYTES, block + at, piece);
        to += ZFRAME_BLOCK_HEADER_BYTES + piece;
    }
    memcpy(to, zframe_last_block, ZFRAME_LAST_BLOCK_BYTES);
    *out_len = len;
    return file;
}

static void
ask_keys(const struct segment_key_index *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        static const uint32_t some[] = {0, 1, 0x7fffffff, 0xffffffff};

        for (size_t k = 0; k < sizeof(some) / sizeof(some[0]); k++) {
            (void)segment_key_index_may_hold(keys, i, false, some[k]);
            (void)segment_key_index_may_hold(keys, i, true, some[k]);
        }
    }
}

static void
demand_same_holes(const struct segment_index *a, const struct segment_index *b)
{
    demand(a->hole_count == b->hole_count);
    for (size_t i = 0; i < a->hole_count; i++) {
        const struct tb_segment_hole *x = &a->holes[i], *y = &b->holes[i];

        demand(x->offset == y->offset && x->length == y->length &&
               x->from_utc_ns == y->from_utc_ns && x->to_utc_ns == y->to_utc_ns &&
               x->packets == y->packets && x->is_counted == y->is_counted);
    }
}

static void
write_again(const struct segment_index *index, uint64_t offset)
{
    static const struct segment_keys nobody;
    struct segment_index_writer writer;
    struct segment_index_place place;
    struct segment_index again;
    struct tb_bytes out;
    uint8_t *copy;

    demand(segment_index_writer_init(&writer, index->count, index->holes, index->hole_count) ==
           TB_OK);
    for (size_t i = 0; i < index->count; i++) {
        segment_index_add(&writer, &index->chunks[i]);
        segment_key_list_add(&writer.keys, &nobody);
    }
    demand(segment_index_finish(&writer, hasher, offset, index->recovered, &out) == TB_OK);
    demand(segment_index_find(out.at + out.len - INDEX_TAIL_BYTES, offset + out.len, &place,
                              NULL) == TB_OK &&
           place.offset == offset);
    copy = malloc(out.len);
    demand(copy != NULL);
    memcpy(copy, out.at, out.len);
    demand(segment_index_get(hasher, copy, &place, &again, NULL) == TB_OK);
    demand(again.count == index->count && again.recovered == index->recovered);
    demand(memcmp(again.chunks, index->chunks, index->count * sizeof(*again.chunks)) == 0);
    demand(!segment_key_index_may_hold(&again.keys, index->count - 1, true, 1));
    demand_same_holes(&again, index);
    segment_index_release(&again);
    free(copy);
    segment_index_writer_release(&writer);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct segment_index index;
    struct segment_index_place place;
    struct tb_sha256 sha256;
    uint8_t *block, *file;
    size_t len = 0;
    uint64_t offset, end = 0;

    if (size < INDEX_TRAILER_BYTES || size > INPUT_MAX_BYTES) {
        return 0;
    }
    if (hasher == NULL) {
        demand(tb_hasher_new(&hasher) == TB_OK);
    }
    block = malloc(size);
    demand(block != NULL);
    memcpy(block, data, size);
    demand(tb_sha256(tb_bytes_of(block, size - DIGEST_AT), &sha256) == TB_OK);
    memcpy(block + size - DIGEST_AT, sha256.octets, sizeof(sha256.octets));
    file = put_in_file(block, size, &len);
    offset = tb_get_le64(block + size - INDEX_TRAILER_BYTES + 8);
    free(block);
    if (offset < (uint64_t)1 << 62 &&
        segment_index_find(file + len - INDEX_TAIL_BYTES, offset + len, &place, NULL) ==
            TB_OK &&
        segment_index_get(hasher, file, &place, &index, NULL) == TB_OK) {
        for (size_t i = 0; i < index.count; i++) {
            demand(index.chunks[i].offset == end &&
                   segment_chunk_is_possible(&index.chunks[i], end));
            end += index.chunks[i].length;
        }
        demand(index.count > 0 && end == place.offset);
        ask_keys(&index.keys, index.count);
        write_again(&index, place.offset);
        segment_index_release(&index);
    }
    free(file);
    return 0;
}
