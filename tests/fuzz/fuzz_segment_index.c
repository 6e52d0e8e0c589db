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
write_again(const struct tb_segment_chunk *chunks, size_t count, uint64_t offset,
            bool recovered)
{
    static const struct segment_keys nobody;
    struct segment_index_writer writer;
    struct segment_index_place place;
    struct tb_segment_chunk *again = NULL;
    struct segment_key_index keys;
    struct tb_bytes out;
    uint8_t *copy;
    size_t again_count = 0;
    bool again_recovered = false;

    demand(segment_index_writer_init(&writer, count) == TB_OK);
    for (size_t i = 0; i < count; i++) {
        segment_index_add(&writer, &chunks[i]);
        segment_key_list_add(&writer.keys, &nobody);
    }
    demand(segment_index_finish(&writer, hasher, offset, recovered, &out) == TB_OK);
    demand(segment_index_find(out.at + out.len - INDEX_TAIL_BYTES, offset + out.len, &place,
                              NULL) == TB_OK &&
           place.offset == offset);
    copy = malloc(out.len);
    demand(copy != NULL);
    memcpy(copy, out.at, out.len);
    demand(segment_index_get(hasher, copy, &place, &again, &again_count, &again_recovered,
                             &keys, NULL) == TB_OK);
    demand(again_count == count && again_recovered == recovered);
    demand(memcmp(again, chunks, count * sizeof(*chunks)) == 0);
    demand(!segment_key_index_may_hold(&keys, count - 1, true, 1));
    free(again);
    segment_key_index_release(&keys);
    free(copy);
    segment_index_writer_release(&writer);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tb_segment_chunk *chunks = NULL;
    struct segment_key_index keys;
    struct segment_index_place place;
    struct tb_sha256 sha256;
    uint8_t *block, *file;
    size_t count = 0, len = 0;
    uint64_t offset, end = 0;
    bool recovered = false;

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
        segment_index_get(hasher, file, &place, &chunks, &count, &recovered, &keys, NULL) ==
            TB_OK) {
        for (size_t i = 0; i < count; i++) {
            demand(chunks[i].offset == end && segment_chunk_is_possible(&chunks[i], end));
            end += chunks[i].length;
        }
        demand(count > 0 && end == place.offset);
        ask_keys(&keys, count);
        write_again(chunks, count, place.offset, recovered);
        segment_key_index_release(&keys);
        free(chunks);
    }
    free(file);
    return 0;
}
