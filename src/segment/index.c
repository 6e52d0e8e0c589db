/*
 * The index: a pcapng block of a local-use type, in raw zstd blocks, so that it is read from
 * the file's tail without decompressing anything.  FORMAT.md has the octets.
 */
#include "segment_int.h"

#include <stdlib.h>

enum {
    INDEX_TYPE = (int)0x80746202,
    INDEX_VERSION = 1,
    FLAG_RECOVERED = 1,
    /* head */
    AT_MAGIC = 8,
    AT_VERSION = 12,
    AT_LEDGER_FIELDS = 14,
    AT_FLAGS = 16,
    AT_COUNT = 20,
    AT_ENTRY_BYTES = 24,
    AT_EXTENSION_BYTES = 28,
    AT_OFFSET = 32,
    /* entry */
    ENTRY_OFFSET = 0,
    ENTRY_LENGTH = 8,
    ENTRY_PLAIN = 16,
    ENTRY_PACKETS = 20,
    ENTRY_FIRST = 24,
    ENTRY_LAST = 32,
    ENTRY_LEVEL = 40, /* one octet, and 7 reserved */
    ENTRY_SHA256 = 48,
    ENTRY_LEDGER = ENTRY_SHA256 + TB_SHA256_SIZE,
    /* trailer */
    TRAILER_MAGIC = 0,
    TRAILER_PLAIN = 4,
    TRAILER_OFFSET = 8,
    TRAILER_RESERVED = 16,
    TRAILER_SHA256 = 20,
    TRAILER_LENGTH_AGAIN = TRAILER_SHA256 + TB_SHA256_SIZE,

    ENTRY_MAX_BYTES = 4096,   /* a later version's entry may be longer; nobody's is this long */
    EXTENSION_HEAD_BYTES = 8, /* type, length */
    PART_KEYS = 0x5359454B,   /* "KEYS" */
    PART_HOLES = 0x454C4F48,  /* "HOLE" */
    HOLE_LENGTH = 8,
    HOLE_FROM = 16,
    HOLE_TO = 24,
    HOLE_PACKETS = 32,
    HOLE_FLAGS = 40, /* and 4 reserved */
    HOLE_IS_COUNTED = 1
};

_Static_assert(ENTRY_LEDGER + LEDGER_BYTES == INDEX_ENTRY_BYTES, "the ledger ends the entry");
_Static_assert(TRAILER_LENGTH_AGAIN + 4 == INDEX_TRAILER_BYTES, "the length ends the block");

static const uint8_t head_magic[4] = {'T', 'B', 'I', 'X'};
static const uint8_t trailer_magic[4] = {'T', 'B', 'I', 'E'};

static size_t
piece_count(size_t plain)
{
    return (plain + ZFRAME_MAX_BLOCK_BYTES - 1) / ZFRAME_MAX_BLOCK_BYTES;
}

/* Octets before piece `i`: all pieces but the first are full, so that the last one holds the
 * whole trailer. */
static size_t
piece_begin(size_t plain, size_t i)
{
    return i == 0 ? 0 : plain - (piece_count(plain) - i) * ZFRAME_MAX_BLOCK_BYTES;
}

enum tb_err
segment_index_writer_init(struct segment_index_writer *writer, size_t max_chunks,
                          const struct tb_segment_hole *holes, size_t hole_count)
{
    size_t plain = INDEX_HEAD_BYTES + INDEX_ENTRY_BYTES * max_chunks + EXTENSION_HEAD_BYTES +
                   segment_key_list_cap(max_chunks) + EXTENSION_HEAD_BYTES +
                   INDEX_HOLE_BYTES * hole_count + INDEX_TRAILER_BYTES;

    *writer = (struct segment_index_writer){
        .max_chunks = max_chunks, .holes = holes, .hole_count = hole_count};
    writer->at = malloc(plain + ZFRAME_BLOCK_HEADER_BYTES * piece_count(plain) +
                        ZFRAME_LAST_BLOCK_BYTES);
    if (writer->at == NULL) {
        return TB_ENOMEM;
    }
    segment_index_writer_reset(writer);
    return TB_OK;
}

void
segment_index_writer_reset(struct segment_index_writer *writer)
{
    size_t entries = INDEX_HEAD_BYTES + INDEX_ENTRY_BYTES * writer->max_chunks;

    writer->count = 0;
    writer->keys = (struct segment_key_list){.at = writer->at + entries + EXTENSION_HEAD_BYTES};
}

void
segment_index_put_keys(struct segment_index_writer *writer, const struct segment_key_list *keys)
{
    memcpy(writer->keys.at, keys->at, keys->len);
    writer->keys.len = keys->len;
}

void
segment_index_writer_release(struct segment_index_writer *writer)
{
    free(writer->at);
    *writer = (struct segment_index_writer){0};
}

void
segment_index_add(struct segment_index_writer *writer, const struct tb_segment_chunk *chunk)
{
    uint8_t *entry = writer->at + INDEX_HEAD_BYTES + INDEX_ENTRY_BYTES * writer->count;

    memset(entry, 0, INDEX_ENTRY_BYTES);
    tb_set_le64(entry + ENTRY_OFFSET, chunk->offset);
    tb_set_le64(entry + ENTRY_LENGTH, chunk->length);
    tb_set_le32(entry + ENTRY_PLAIN, (uint32_t)chunk->plain);
    tb_set_le32(entry + ENTRY_PACKETS, chunk->info.packets);
    tb_set_le64(entry + ENTRY_FIRST, (uint64_t)chunk->info.first_utc_ns);
    tb_set_le64(entry + ENTRY_LAST, (uint64_t)chunk->info.last_utc_ns);
    entry[ENTRY_LEVEL] = (uint8_t)(int8_t)chunk->info.level;
    memcpy(entry + ENTRY_SHA256, chunk->sha256.octets, TB_SHA256_SIZE);
    segment_put_ledger(entry + ENTRY_LEDGER, &chunk->info.ledger);
    writer->count++;
}

static enum tb_err
digest(struct tb_hasher *hasher, struct tb_bytes bytes, struct tb_sha256 *out)
{
    enum tb_err err = tb_hasher_add(hasher, bytes);

    return err != TB_OK ? err : tb_hasher_finish(hasher, out);
}

/* The part that says what is missing, if anything is; its length. */
static size_t
put_holes(const struct segment_index_writer *writer, uint8_t *at)
{
    size_t len = INDEX_HOLE_BYTES * writer->hole_count;

    if (len == 0) {
        return 0;
    }
    tb_set_le32(at, PART_HOLES);
    tb_set_le32(at + 4, (uint32_t)len);
    memset(at + EXTENSION_HEAD_BYTES, 0, len);
    for (size_t i = 0; i < writer->hole_count; i++) {
        const struct tb_segment_hole *hole = &writer->holes[i];
        uint8_t *to = at + EXTENSION_HEAD_BYTES + INDEX_HOLE_BYTES * i;

        tb_set_le64(to, hole->offset);
        tb_set_le64(to + HOLE_LENGTH, hole->length);
        tb_set_le64(to + HOLE_FROM, (uint64_t)hole->from_utc_ns);
        tb_set_le64(to + HOLE_TO, (uint64_t)hole->to_utc_ns);
        tb_set_le64(to + HOLE_PACKETS, hole->packets);
        tb_set_le32(to + HOLE_FLAGS, hole->is_counted ? HOLE_IS_COUNTED : 0);
    }
    return EXTENSION_HEAD_BYTES + len;
}

enum tb_err
segment_index_finish(struct segment_index_writer *writer, struct tb_hasher *hasher,
                     uint64_t index_offset, bool recovered, struct tb_bytes *out)
{
    uint8_t *head = writer->at;
    const struct segment_key_list *keys = &writer->keys;
    uint8_t *extension = head + INDEX_HEAD_BYTES + INDEX_ENTRY_BYTES * writer->count;
    size_t extension_len = EXTENSION_HEAD_BYTES + keys->len;
    uint8_t *trailer;
    size_t plain, pieces, end;
    struct tb_sha256 sha256;
    enum tb_err err;

    memmove(extension + EXTENSION_HEAD_BYTES, keys->at, keys->len); /* nearer to the entries */
    tb_set_le32(extension, PART_KEYS);
    tb_set_le32(extension + 4, (uint32_t)keys->len);
    extension_len += put_holes(writer, extension + extension_len);
    trailer = extension + extension_len;
    plain = end = (size_t)(trailer - head) + INDEX_TRAILER_BYTES;
    pieces = piece_count(plain);

    memset(head, 0, INDEX_HEAD_BYTES);
    tb_set_le32(head, (uint32_t)INDEX_TYPE);
    tb_set_le32(head + 4, (uint32_t)plain);
    memcpy(head + AT_MAGIC, head_magic, sizeof(head_magic));
    tb_set_le16(head + AT_VERSION, INDEX_VERSION);
    tb_set_le16(head + AT_LEDGER_FIELDS, TB_LEDGER_FIELDS);
    tb_set_le32(head + AT_FLAGS, recovered ? FLAG_RECOVERED : 0);
    tb_set_le32(head + AT_COUNT, (uint32_t)writer->count);
    tb_set_le32(head + AT_ENTRY_BYTES, INDEX_ENTRY_BYTES);
    tb_set_le32(head + AT_EXTENSION_BYTES, (uint32_t)extension_len);
    tb_set_le64(head + AT_OFFSET, index_offset);

    memset(trailer, 0, INDEX_TRAILER_BYTES);
    memcpy(trailer + TRAILER_MAGIC, trailer_magic, sizeof(trailer_magic));
    tb_set_le32(trailer + TRAILER_PLAIN, (uint32_t)plain);
    tb_set_le64(trailer + TRAILER_OFFSET, index_offset);
    err = digest(hasher, tb_bytes_of(head, plain - INDEX_TRAILER_BYTES + TRAILER_SHA256),
                 &sha256);
    if (err != TB_OK) {
        return err;
    }
    memcpy(trailer + TRAILER_SHA256, sha256.octets, TB_SHA256_SIZE);
    tb_set_le32(trailer + TRAILER_LENGTH_AGAIN, (uint32_t)plain);

    /* From the last piece to the first, each moves back behind the headers before it. */
    for (size_t i = pieces; i-- > 0;) {
        size_t begin = piece_begin(plain, i);
        uint8_t *to = head + begin + ZFRAME_BLOCK_HEADER_BYTES * i;

        memmove(to + ZFRAME_BLOCK_HEADER_BYTES, head + begin, end - begin);
        zframe_put_block(to, false, ZFRAME_RAW, (uint32_t)(end - begin));
        end = begin;
    }
    end = plain + ZFRAME_BLOCK_HEADER_BYTES * pieces;
    memcpy(head + end, zframe_last_block, ZFRAME_LAST_BLOCK_BYTES);
    *out = tb_bytes_of(head, end + ZFRAME_LAST_BLOCK_BYTES);
    return TB_OK;
}

enum tb_err
segment_index_find(const uint8_t tail[INDEX_TAIL_BYTES], uint64_t file_bytes,
                   struct segment_index_place *out, struct tb_fail *fail)
{
    uint64_t offset = tb_get_le64(tail + TRAILER_OFFSET);
    size_t plain = tb_get_le32(tail + TRAILER_PLAIN);
    size_t file_len = plain + ZFRAME_BLOCK_HEADER_BYTES * piece_count(plain);

    if (memcmp(tail + TRAILER_MAGIC, trailer_magic, sizeof(trailer_magic)) != 0 ||
        memcmp(tail + INDEX_TRAILER_BYTES, zframe_last_block, ZFRAME_LAST_BLOCK_BYTES) != 0) {
        return tb_fail_set(fail, TB_EFORMAT, "not a sealed segment: no index at its end");
    }
    if (plain > INDEX_MAX_BYTES || plain % 4 != 0 ||
        plain < INDEX_HEAD_BYTES + INDEX_ENTRY_BYTES + INDEX_TRAILER_BYTES ||
        plain != tb_get_le32(tail + TRAILER_LENGTH_AGAIN) ||
        file_bytes < file_len + ZFRAME_LAST_BLOCK_BYTES ||
        offset != file_bytes - file_len - ZFRAME_LAST_BLOCK_BYTES) {
        return tb_fail_set(fail, TB_EFORMAT, "the index does not fit the file");
    }
    *out = (struct segment_index_place){offset, plain, file_len};
    return TB_OK;
}

/* Takes the raw blocks' headers out; false when they are not as _finish writes them. */
static bool
join_pieces(uint8_t *at, size_t plain)
{
    size_t pieces = piece_count(plain);

    for (size_t i = 0; i < pieces; i++) {
        size_t begin = piece_begin(plain, i);
        size_t end = i + 1 == pieces ? plain : piece_begin(plain, i + 1);
        const uint8_t *from = at + begin + ZFRAME_BLOCK_HEADER_BYTES * i;
        struct zframe_block block = zframe_get_block(from);

        if (block.last || block.type != ZFRAME_RAW || block.field != end - begin) {
            return false;
        }
        memmove(at + begin, from + ZFRAME_BLOCK_HEADER_BYTES, end - begin);
    }
    return true;
}

/* The extension: parts of type, length, content; each *out is the content of the first of its
 * type (at NULL: none).  False when they do not fill it. */
static bool
find_parts(struct tb_bytes rest, struct tb_bytes *out_keys, struct tb_bytes *out_holes)
{
    *out_keys = *out_holes = tb_bytes_of(NULL, 0);
    while (rest.len != 0) {
        struct tb_bytes *part;
        size_t len;

        if (rest.len < EXTENSION_HEAD_BYTES) {
            return false;
        }
        len = tb_get_le32(rest.at + 4);
        if (len % 4 != 0 || len > rest.len - EXTENSION_HEAD_BYTES) {
            return false;
        }
        part = tb_get_le32(rest.at) == PART_KEYS    ? out_keys
               : tb_get_le32(rest.at) == PART_HOLES ? out_holes
                                                    : NULL;
        if (part != NULL && part->at == NULL) {
            *part = tb_bytes_of(rest.at + EXTENSION_HEAD_BYTES, len);
        }
        rest = tb_bytes_of(rest.at + EXTENSION_HEAD_BYTES + len,
                           rest.len - EXTENSION_HEAD_BYTES - len);
    }
    return true;
}

static void
get_entry(const uint8_t *entry, struct tb_segment_chunk *out)
{
    out->offset = tb_get_le64(entry + ENTRY_OFFSET);
    out->length = tb_get_le64(entry + ENTRY_LENGTH);
    out->plain = tb_get_le32(entry + ENTRY_PLAIN);
    out->info.packets = tb_get_le32(entry + ENTRY_PACKETS);
    out->info.first_utc_ns = (int64_t)tb_get_le64(entry + ENTRY_FIRST);
    out->info.last_utc_ns = (int64_t)tb_get_le64(entry + ENTRY_LAST);
    out->info.level = segment_get_level(entry[ENTRY_LEVEL]);
    memcpy(out->sha256.octets, entry + ENTRY_SHA256, TB_SHA256_SIZE);
    segment_get_ledger(entry + ENTRY_LEDGER, &out->info.ledger);
}

bool
segment_chunk_is_possible(const struct tb_segment_chunk *chunk, uint64_t offset)
{
    bool times = chunk->info.packets == 0
                     ? chunk->info.first_utc_ns == 0 && chunk->info.last_utc_ns == 0
                     : chunk->info.first_utc_ns <= chunk->info.last_utc_ns;

    return times && chunk->offset == offset && chunk->plain != 0 && chunk->plain % 4 == 0 &&
           chunk->plain <= TB_SEGMENT_MAX_CHUNK_BYTES && chunk->length > MARKER_FILE_BYTES &&
           chunk->length <= segment_max_chunk_file_bytes();
}

static enum tb_err
get_entries(const uint8_t *at, size_t count, size_t entry_bytes, uint64_t index_offset,
            struct tb_segment_chunk *chunks, struct tb_fail *fail)
{
    uint64_t offset = 0;

    for (size_t i = 0; i < count; i++) {
        get_entry(at + entry_bytes * i, &chunks[i]);
        if (!segment_chunk_is_possible(&chunks[i], offset)) {
            return tb_fail_set(fail, TB_EFORMAT, "entry %zu of the index cannot be", i);
        }
        offset += chunks[i].length;
    }
    if (offset != index_offset) {
        return tb_fail_set(fail, TB_EFORMAT, "the chunks do not end where the index begins");
    }
    return TB_OK;
}

bool
segment_index_begins(const uint8_t at[INDEX_BEGIN_BYTES])
{
    const uint8_t *block = at + ZFRAME_BLOCK_HEADER_BYTES;

    return zframe_get_block(at).type == ZFRAME_RAW &&
           tb_get_le32(block) == (uint32_t)INDEX_TYPE &&
           memcmp(block + AT_MAGIC, head_magic, sizeof(head_magic)) == 0;
}

/* What is missing from a segment that was salvaged. */
static enum tb_err
get_holes(struct tb_bytes list, struct segment_index *index, struct tb_fail *fail)
{
    size_t count = list.len / INDEX_HOLE_BYTES;

    if (list.len == 0) {
        return TB_OK;
    }
    if (list.len % INDEX_HOLE_BYTES != 0 || count > INDEX_MAX_HOLES) {
        return tb_fail_set(fail, TB_EFORMAT, "the holes in the index are none");
    }
    index->holes = calloc(count, sizeof(*index->holes));
    if (index->holes == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "an index of %zu holes", count);
    }
    for (size_t i = 0; i < count; i++) {
        const uint8_t *at = list.at + INDEX_HOLE_BYTES * i;

        index->holes[i] = (struct tb_segment_hole){
            .offset = tb_get_le64(at),
            .length = tb_get_le64(at + HOLE_LENGTH),
            .from_utc_ns = (int64_t)tb_get_le64(at + HOLE_FROM),
            .to_utc_ns = (int64_t)tb_get_le64(at + HOLE_TO),
            .packets = tb_get_le64(at + HOLE_PACKETS),
            .is_counted = (tb_get_le32(at + HOLE_FLAGS) & HOLE_IS_COUNTED) != 0,
        };
    }
    index->hole_count = count;
    return TB_OK;
}

void
segment_index_release(struct segment_index *index)
{
    segment_key_index_release(&index->keys);
    free(index->chunks);
    free(index->holes);
    *index = (struct segment_index){.chunks = NULL};
}

enum tb_err
segment_index_get(struct tb_hasher *hasher, uint8_t *at,
                  const struct segment_index_place *place, struct segment_index *out,
                  struct tb_fail *fail)
{
    struct segment_index index = {.chunks = NULL};
    struct tb_bytes key_list, hole_list;
    struct tb_sha256 sha256;
    const uint8_t *trailer;
    size_t count, entry_bytes, extension_bytes;
    enum tb_err err;

    if (!join_pieces(at, place->plain)) {
        return tb_fail_set(fail, TB_EFORMAT, "the index is not in raw blocks");
    }
    trailer = at + place->plain - INDEX_TRAILER_BYTES;
    err = digest(hasher, tb_bytes_of(at, place->plain - INDEX_TRAILER_BYTES + TRAILER_SHA256),
                 &sha256);
    if (err != TB_OK) {
        return tb_fail_set(fail, err, "SHA-256 of the index");
    }
    if (memcmp(trailer + TRAILER_SHA256, sha256.octets, TB_SHA256_SIZE) != 0) {
        return tb_fail_set(fail, TB_EFORMAT, "the index does not have its SHA-256");
    }
    if (tb_get_le32(at) != (uint32_t)INDEX_TYPE || tb_get_le32(at + 4) != place->plain ||
        memcmp(at + AT_MAGIC, head_magic, sizeof(head_magic)) != 0 ||
        tb_get_le64(at + AT_OFFSET) != place->offset) {
        return tb_fail_set(fail, TB_EFORMAT, "the index does not begin as one");
    }
    if (tb_get_le16(at + AT_VERSION) != INDEX_VERSION ||
        tb_get_le16(at + AT_LEDGER_FIELDS) != TB_LEDGER_FIELDS) {
        return tb_fail_set(fail, TB_EFORMAT, "an index of version %u, ledger of %u",
                           tb_get_le16(at + AT_VERSION), tb_get_le16(at + AT_LEDGER_FIELDS));
    }
    count = tb_get_le32(at + AT_COUNT);
    entry_bytes = tb_get_le32(at + AT_ENTRY_BYTES);
    extension_bytes = tb_get_le32(at + AT_EXTENSION_BYTES);
    /* Each below 2^32 and two of them bounded: no sum or product here overflows 64 bits. */
    if (count == 0 || count > TB_SEGMENT_MAX_CHUNKS || entry_bytes < INDEX_ENTRY_BYTES ||
        entry_bytes > ENTRY_MAX_BYTES || entry_bytes % 4 != 0 ||
        INDEX_HEAD_BYTES + count * entry_bytes + extension_bytes + INDEX_TRAILER_BYTES !=
            place->plain ||
        !find_parts(tb_bytes_of(trailer - extension_bytes, extension_bytes), &key_list,
                    &hole_list)) {
        return tb_fail_set(fail, TB_EFORMAT, "the parts of the index do not fill it");
    }
    index.count = count;
    index.recovered = (tb_get_le32(at + AT_FLAGS) & FLAG_RECOVERED) != 0;
    index.chunks = calloc(count, sizeof(*index.chunks));
    if (index.chunks == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "an index of %zu chunks", count);
    }
    err = get_entries(at + INDEX_HEAD_BYTES, count, entry_bytes, place->offset, index.chunks,
                      fail);
    if (err == TB_OK && key_list.at != NULL &&
        (err = segment_key_index_init(&index.keys, key_list, count)) != TB_OK) {
        (void)tb_fail_set(fail, err, "the keys in the index are not those of %zu chunks",
                          count);
    }
    if (err == TB_OK) {
        err = get_holes(hole_list, &index, fail);
    }
    if (err != TB_OK) {
        segment_index_release(&index);
        return err;
    }
    *out = index;
    return TB_OK;
}

void
segment_sum_up(const struct tb_segment_chunk *chunks, size_t count,
               struct tb_segment_summary *out)
{
    *out = (struct tb_segment_summary){.chunk_count = count};
    for (size_t i = 0; i < count; i++) {
        const struct tb_chunk_info *info = &chunks[i].info;

        if (info->packets != 0) {
            if (out->packets == 0 || info->first_utc_ns < out->first_utc_ns) {
                out->first_utc_ns = info->first_utc_ns;
            }
            if (out->packets == 0 || info->last_utc_ns > out->last_utc_ns) {
                out->last_utc_ns = info->last_utc_ns;
            }
            out->packets += info->packets;
        }
        out->ledger = info->ledger;
    }
}
