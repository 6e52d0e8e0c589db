/*
 * What the parts of the segment format share.  FORMAT.md has the octets.
 *
 * zframe.c   one chunk's zstd blocks, without a frame around them (with zmatch.c the only user
 *            of libzstd)
 * zmatch.c   matches between packets, faster than zstd finds them
 * marker.c   the chunk marker, and the reset blocks in it
 * keys.c     who talks in a chunk
 * index.c    the index at the tail
 * encoder.c  puts them together; reader.c, walk.c, recover.c and salvage.c take them apart
 */
#ifndef TAPBOX_SEGMENT_INT_H
#define TAPBOX_SEGMENT_INT_H

#include <tapbox/segment.h>

/* --- zframe: zstd blocks --- */

enum {
    ZFRAME_HEADER_BYTES =
        6, /* of a segment; and of the frame that a reader puts around a body */
    ZFRAME_BLOCK_HEADER_BYTES = 3,
    ZFRAME_LAST_BLOCK_BYTES = 3,
    ZFRAME_CHECK_BYTES = 4,
    ZFRAME_MAX_BLOCK_BYTES = 128 * 1024 /* what one zstd block may regenerate (RFC 8878) */
};

extern const uint8_t zframe_header[ZFRAME_HEADER_BYTES];
extern const uint8_t zframe_last_block[ZFRAME_LAST_BLOCK_BYTES];

enum zframe_block_type {
    ZFRAME_RAW = 0,
    ZFRAME_RLE = 1,
    ZFRAME_COMPRESSED = 2,
    ZFRAME_RESERVED = 3
};

struct zframe_block {
    bool last;
    enum zframe_block_type type;
    uint32_t
        field;   /* the size in the header: of the content, or what an RLE block repeats to */
    size_t size; /* octets of the block here, header included */
};

/* Reads the block header at `at` (3 octets). */
struct zframe_block zframe_get_block(const uint8_t *at);
void zframe_put_block(uint8_t *at, bool last, enum zframe_block_type type, uint32_t field);

/* The blocks of one chunk: no header, no last block; they rely on nothing before them but the
 * repeated offsets 1, 4, 8. */
struct zframe_body {
    size_t offset, len; /* where they stand in the caller's memory */
    uint32_t check; /* lower 32 bits of XXH64 of what they regenerate, as zstd computes it */
};

struct zframe_compressor;

TB_NODISCARD enum tb_err zframe_compressor_new(int max_level, struct zframe_compressor **out);
void zframe_compressor_free(struct zframe_compressor *compressor);
/* Octets of memory that zframe_compress wants for `plain` octets. */
size_t zframe_bound(size_t plain);

/* How the chunks of one segment are compressed best, learnt from those before; begins zeroed.
 */
struct zframe_habit {
    unsigned plain_left; /* so many more chunks without entropy coding of literals */
};
/* `at` has zframe_bound(plain.len) octets; `packets` are in it.  Allocates nothing. */
TB_NODISCARD enum tb_err zframe_compress(struct zframe_compressor *compressor,
                                         struct zframe_habit *habit, struct tb_bytes plain,
                                         uint32_t packets, int level, uint8_t *at, size_t cap,
                                         struct zframe_body *out, struct tb_fail *fail);

/* Whether whole blocks fill `body` exactly, none of them the last. */
bool zframe_body_is_whole(struct tb_bytes body);

struct zframe_decompressor;

enum {
    ZFRAME_ROOM_BEFORE = ZFRAME_HEADER_BYTES,
    ZFRAME_ROOM_BEHIND = ZFRAME_LAST_BLOCK_BYTES + ZFRAME_CHECK_BYTES
};
TB_NODISCARD enum tb_err zframe_decompressor_new(struct zframe_decompressor **out);
void zframe_decompressor_free(struct zframe_decompressor *decompressor);
/* Fills exactly `plain_len` octets, or TB_EFORMAT (also when the check differs).  The ROOM
 * octets before and behind `body` are overwritten. */
TB_NODISCARD enum tb_err zframe_decompress(struct zframe_decompressor *decompressor,
                                           uint8_t *body, size_t body_len, uint32_t check,
                                           uint8_t *plain, size_t plain_len);

/* --- the ledger in files --- */

enum {
    LEDGER_BYTES = 8 * TB_LEDGER_FIELDS
};
void segment_put_ledger(uint8_t *at, const struct tb_ledger *ledger);
/* A level is one octet, signed. */
static inline int32_t
segment_get_level(uint8_t octet)
{
    return octet < 0x80 ? octet : (int32_t)octet - 0x100;
}
void segment_get_ledger(const uint8_t *at, struct tb_ledger *out);

/* --- marker --- */

enum {
    MARKER_HEAD_BYTES = 192, /* the first raw block's content */
    MARKER_BYTES = 232,      /* the pcapng block */
    /* In the file: as a raw block of its own behind chunk 0, and in pieces with the reset
     * blocks between them before every other chunk. */
    MARKER_FILE_BYTES_0 = ZFRAME_BLOCK_HEADER_BYTES + MARKER_BYTES,
    MARKER_FILE_BYTES =
        ZFRAME_BLOCK_HEADER_BYTES + MARKER_HEAD_BYTES + 30 + ZFRAME_BLOCK_HEADER_BYTES + 4
};

struct segment_marker {
    uint32_t sequence;
    uint32_t body_len;   /* octets of the chunk's blocks in the file */
    uint32_t body_plain; /* octets they regenerate */
    uint32_t body_check;
    uint64_t offset; /* of the chunk's first octet in the file */
    struct tb_chunk_info info;
};

/* Octets of the marker in the file. */
size_t segment_marker_size(uint32_t sequence);
TB_NODISCARD enum tb_err segment_marker_put(struct tb_hasher *hasher, uint8_t *at,
                                            const struct segment_marker *marker);
/* What the octets where a marker may be (not chunk 0's) say its number is. */
uint32_t segment_marker_sequence(const uint8_t at[MARKER_FILE_BYTES]);
/* Reads the marker with this sequence number; TB_EFORMAT when `at` is not exactly one. */
TB_NODISCARD enum tb_err segment_marker_get(struct tb_hasher *hasher, struct tb_bytes at,
                                            uint32_t sequence, struct segment_marker *out);

/* --- keys: who talks in a chunk --- */

enum {
    SEGMENT_MAX_HOSTS = 512, /* keys of one chunk; a chunk of more says only that it has more */
    SEGMENT_MAX_FLOWS = 1024,
    SEGMENT_KEY_SLOTS = 4096, /* at most half full, also in a chunk of the smallest packets */
    /* octets of keys in one file: an index that is fetched first should stay small */
    SEGMENT_KEYS_BUDGET = 256 << 10,
    SEGMENT_KEYS_UNKNOWN = 0xffff
};
_Static_assert(SEGMENT_KEY_SLOTS >= 2 * SEGMENT_MAX_FLOWS &&
                   SEGMENT_KEY_SLOTS >= 2 * SEGMENT_MAX_HOSTS,
               "a free slot ends every search");

struct segment_key_set {
    uint32_t slots[SEGMENT_KEY_SLOTS];
    uint32_t keys[SEGMENT_MAX_FLOWS];
    size_t max, count;
    bool has_zero, overflow;
};
struct segment_keys {
    struct segment_key_set hosts, flows;
};
/* From whole pcapng blocks; allocates nothing.  The keys are sorted afterwards. */
void segment_keys_collect(struct segment_keys *keys, struct tb_bytes blocks);

/* The keys of all chunks of a file, as they stand in the index. */
struct segment_key_list {
    uint8_t *at; /* borrowed: segment_key_list_cap(chunks) octets */
    size_t len;
    size_t used; /* of the budget */
};
size_t segment_key_list_cap(size_t max_chunks);
void segment_key_list_add(struct segment_key_list *list, const struct segment_keys *keys);

/* The same, read: where each chunk's keys are. */
struct segment_key_index {
    uint8_t *at; /* owned; NULL: the file says nothing */
    size_t len;
    uint32_t *offsets; /* owned */
};
/* TB_EFORMAT when `list` is not one for so many chunks. */
TB_NODISCARD enum tb_err segment_key_index_init(struct segment_key_index *index,
                                                struct tb_bytes list, size_t chunk_count);
void segment_key_index_release(struct segment_key_index *index);
bool segment_key_index_may_hold(const struct segment_key_index *index, size_t chunk, bool flow,
                                uint32_t key);

/* --- index --- */

enum {
    INDEX_HEAD_BYTES = 40,
    INDEX_ENTRY_BYTES = 192,
    INDEX_TRAILER_BYTES = 56, /* the end of the pcapng block */
    INDEX_TAIL_BYTES = INDEX_TRAILER_BYTES + ZFRAME_LAST_BLOCK_BYTES,
    INDEX_MAX_BYTES = 16 << 20, /* plain; pcapng readers refuse larger blocks */
    INDEX_HOLE_BYTES = 48,
    INDEX_MAX_HOLES = 1024 /* further ones are one with the last */
};

struct segment_index_writer {
    uint8_t *at; /* owned; has room for the raw blocks' headers, too */
    size_t max_chunks;
    size_t count;
    struct segment_key_list keys;        /* in `at`, behind room for all entries */
    const struct tb_segment_hole *holes; /* borrowed */
    size_t hole_count;
};
/* `holes` (NULL: none) are lent until _finish. */
TB_NODISCARD enum tb_err segment_index_writer_init(struct segment_index_writer *writer,
                                                   size_t max_chunks,
                                                   const struct tb_segment_hole *holes,
                                                   size_t hole_count);
void segment_index_writer_reset(struct segment_index_writer *writer);
void segment_index_writer_release(struct segment_index_writer *writer);
/* The caller sees to it that count < max_chunks. */
void segment_index_add(struct segment_index_writer *writer,
                       const struct tb_segment_chunk *chunk);
/* For as many chunks, in place of _list_add for each of them. */
void segment_index_put_keys(struct segment_index_writer *writer,
                            const struct segment_key_list *keys);
/* The raw blocks and the last block; *out is lent until _release or _init.  Nothing can be
 * added afterwards. */
TB_NODISCARD enum tb_err segment_index_finish(struct segment_index_writer *writer,
                                              struct tb_hasher *hasher, uint64_t index_offset,
                                              bool recovered, struct tb_bytes *out);

/* Whether a chunk that begins at `offset` could look like this. */
bool segment_chunk_is_possible(const struct tb_segment_chunk *chunk, uint64_t offset);

/* Where the index is, from the file's last INDEX_TAIL_BYTES octets. */
struct segment_index_place {
    uint64_t offset; /* in the file, of its first raw block */
    size_t plain;    /* octets of the pcapng block */
    size_t file_len; /* octets in the file, without the last block */
};
TB_NODISCARD enum tb_err segment_index_find(const uint8_t tail[INDEX_TAIL_BYTES],
                                            uint64_t file_bytes,
                                            struct segment_index_place *out,
                                            struct tb_fail *fail);
/* Whether an index begins with these octets of the file. */
enum {
    INDEX_BEGIN_BYTES = ZFRAME_BLOCK_HEADER_BYTES + 12
};
bool segment_index_begins(const uint8_t at[INDEX_BEGIN_BYTES]);
struct segment_index {
    struct tb_segment_chunk *chunks; /* owned */
    size_t count;
    bool recovered;
    struct segment_key_index keys;
    struct tb_segment_hole *holes; /* owned */
    size_t hole_count;
};
void segment_index_release(struct segment_index *index);
/* Checks and reads the index; `at` (place->file_len octets, as they lie in the file) is
 * overwritten. */
TB_NODISCARD enum tb_err segment_index_get(struct tb_hasher *hasher, uint8_t *at,
                                           const struct segment_index_place *place,
                                           struct segment_index *out, struct tb_fail *fail);

/* --- chunks in a file --- */

/* Reads one chunk after the other into the same memory. */
struct segment_loader {
    struct tb_hasher *hasher;
    struct zframe_decompressor *decompressor;
    uint8_t *file; /* owned */
    size_t file_cap;
    uint8_t *plain; /* owned */
    size_t plain_cap;
};
TB_NODISCARD enum tb_err segment_loader_init(struct segment_loader *loader,
                                             struct tb_fail *fail);
void segment_loader_release(struct segment_loader *loader);
/* Octets that the longest chunk takes in a file. */
size_t segment_max_chunk_file_bytes(void);
/* The blocks of the chunk at these octets of the file (`offset`, `length` and
 * info.* of *out are set from its marker), decompressed and checked by its marker; `plain` is
 * lent until the next call.  TB_ESHORT or TB_EFORMAT when there is no such chunk. */
TB_NODISCARD enum tb_err segment_loader_chunk(struct segment_loader *loader,
                                              const struct tb_readable *file, uint64_t offset,
                                              uint64_t length, uint32_t sequence,
                                              struct segment_marker *out,
                                              struct tb_sha256 *out_sha256,
                                              struct tb_bytes *out_plain, struct tb_fail *fail);

/* The body of the chunk that was loaded last, as it lies in the file; lent as the blocks are.
 */
struct tb_bytes segment_loader_body(const struct segment_loader *loader,
                                    const struct segment_marker *marker);
/* Whether a chunk's octets are whole pcapng blocks, with a section header in the first chunk
 * and only there. */
bool segment_blocks_are_whole(struct tb_bytes plain, bool is_first);
/* Chunk 0 has its marker behind it: walks the zstd blocks to find it.  *out_length 0: it is not
 * there. */
TB_NODISCARD enum tb_err segment_measure_first(const struct tb_readable *file,
                                               struct tb_hasher *hasher, uint64_t *out_length,
                                               struct tb_fail *fail);

/* Takes chunk after chunk of a file that has no index yet. */
struct segment_walk {
    int fd; /* borrowed */
    struct segment_loader loader;
    uint64_t end; /* of the last chunk that was taken */
    uint32_t count;
};
/* The chunk behind the last one, if it is whole within the file's first `file_bytes` octets;
 * *out_plain is lent until the next call. */
TB_NODISCARD enum tb_err segment_walk_next(struct segment_walk *walk, uint64_t file_bytes,
                                           struct tb_segment_chunk *out,
                                           struct tb_bytes *out_plain, bool *out_taken,
                                           struct tb_fail *fail);

/* Whether a whole chunk of a number from `least` on stands somewhere behind `from`. */
TB_NODISCARD enum tb_err segment_chunk_is_behind(const struct tb_readable *file, uint64_t from,
                                                 uint32_t least, bool *out_is,
                                                 struct tb_fail *fail);
/* By its index alone: the frame header, where each segment begins, may be damaged. */
TB_NODISCARD enum tb_err segment_reader_open_damaged(const struct tb_readable *file,
                                                     struct tb_segment_reader **out,
                                                     struct tb_fail *fail);

/* --- head.c: in place of a first chunk --- */

enum {
    HEAD_MAX_INTERFACES = 1024, /* a packet of a higher one is not believed */
    HEAD_MAX_BYTES = 128 << 10  /* with as many */
};
/* The highest interface of the packets among `plain`, plus one; over HEAD_MAX_INTERFACES: one
 * of them is not to be believed. */
uint32_t segment_interfaces_in(struct tb_bytes plain);
/* A section header and interfaces of which nothing is known, at least one, into HEAD_MAX_BYTES;
 * 0: they do not fit. */
size_t segment_put_unknown_head(uint32_t interfaces, uint8_t *at);

/* Whole chunks, for a new index. */
struct segment_taken {
    struct tb_segment_chunk *chunks; /* owned */
    size_t count, cap;
    struct segment_keys *keys;        /* owned; of the chunk at hand */
    struct segment_key_list key_list; /* its memory is owned */
};
TB_NODISCARD enum tb_err segment_taken_init(struct segment_taken *taken, struct tb_fail *fail);
void segment_taken_release(struct segment_taken *taken);
TB_NODISCARD enum tb_err segment_taken_add(struct segment_taken *taken,
                                           const struct tb_segment_chunk *chunk,
                                           struct tb_bytes plain, struct tb_fail *fail);
/* Cuts the file at `end`, writes index (flag: recovered) and last block there, and fsyncs. */
TB_NODISCARD enum tb_err segment_taken_seal(const struct segment_taken *taken,
                                            struct tb_hasher *hasher, int fd, uint64_t end,
                                            const struct tb_segment_hole *holes,
                                            size_t hole_count, struct tb_segment_summary *out,
                                            struct tb_fail *fail);

/* Sums up chunks; `bytes` and `recovered` are the caller's to set. */
void segment_sum_up(const struct tb_segment_chunk *chunks, size_t count,
                    struct tb_segment_summary *out);

#endif
