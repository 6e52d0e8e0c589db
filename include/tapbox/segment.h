/*
 * The segment: one zstd frame of chunks that can each be read alone, with an index at the tail.
 * The octets are described in src/segment/FORMAT.md.
 *
 * Encoder: everything is allocated by _new; the calls afterwards allocate nothing (OpenSSL
 * takes 112 octets for each SHA-256, and gives them back within the call). Threads: an encoder
 * or reader belongs to one thread at a time.
 */
#ifndef TAPBOX_SEGMENT_H
#define TAPBOX_SEGMENT_H

#include <tapbox/bytes.h>
#include <tapbox/capture.h>
#include <tapbox/digest.h>
#include <tapbox/io.h>

enum {
    TB_SEGMENT_MAX_CHUNK_BYTES = 16 << 20, /* of one chunk, uncompressed */
    TB_SEGMENT_MAX_CHUNKS = 32768, /* 9 hours at one a second; the index stays below 16 MiB, the
                                      largest block that pcapng readers take */
    TB_SEGMENT_MIN_LEVEL = -5,
    TB_SEGMENT_MAX_LEVEL = 19
};

/* What is known about one chunk when it is put down. */
struct tb_chunk_info {
    /* the earliest and the latest of its packets; both 0 when it has none */
    int64_t first_utc_ns, last_utc_ns;
    uint32_t packets;
    int32_t level;           /* of its compression; the encoder sets it */
    struct tb_ledger ledger; /* the capture's, up to the end of this chunk */
};

struct tb_segment_encoder;

/* `max_chunk_bytes` bounds one chunk uncompressed (the last one's statistics blocks included),
 * `max_chunks` the chunks of one segment.  `level` is the first level and the highest that
 * _level can ask for: it fixes the memory (1 MiB chunks: level 1 takes 4.5 MiB, 3 takes 5.4,
 * 19 takes 22.4). */
TB_NODISCARD enum tb_err tb_segment_encoder_new(size_t max_chunk_bytes, size_t max_chunks,
                                                int level, struct tb_segment_encoder **out,
                                                struct tb_fail *fail);
/* The same in a workspace that several encoders take turns to use: what costs memory (tables,
 * the compressed chunk) is there once for all of them.  Whoever uses one of them has the
 * workspace to himself; *out of one is lent until the next call on any.  It outlives them. */
struct tb_segment_workspace;
TB_NODISCARD enum tb_err tb_segment_workspace_new(size_t max_chunk_bytes, int level,
                                                  struct tb_segment_workspace **out,
                                                  struct tb_fail *fail);
void tb_segment_workspace_free(struct tb_segment_workspace *workspace);
TB_NODISCARD enum tb_err tb_segment_encoder_new_in(struct tb_segment_workspace *workspace,
                                                   size_t max_chunks,
                                                   struct tb_segment_encoder **out,
                                                   struct tb_fail *fail);
void tb_segment_encoder_free(struct tb_segment_encoder *encoder);
/* Begins the next segment; whatever was before is forgotten. */
void tb_segment_encoder_reset(struct tb_segment_encoder *encoder);
/* The level for chunks from here on, brought into -5 .. the level given to _new
 * (there is no level 0: it means -1). */
void tb_segment_encoder_level(struct tb_segment_encoder *encoder, int level);
int tb_segment_encoder_used_level(const struct tb_segment_encoder *encoder);
/*
 * Compresses whole pcapng blocks.  The first chunk begins with the section header and all
 * interfaces.  *out is what to append to the file, lent until the next call on `encoder`.
 * TB_ETOOBIG over max_chunk_bytes, TB_EFULL when max_chunks are in (rotate).
 */
TB_NODISCARD enum tb_err tb_segment_encoder_chunk(struct tb_segment_encoder *encoder,
                                                  struct tb_bytes blocks,
                                                  const struct tb_chunk_info *info,
                                                  struct tb_bytes *out, struct tb_fail *fail);
/* The index and the last block.  `recovered` is kept as a flag in the index. */
TB_NODISCARD enum tb_err tb_segment_encoder_finish(struct tb_segment_encoder *encoder,
                                                   bool recovered, struct tb_bytes *out,
                                                   struct tb_fail *fail);
/* Octets given out for this segment so far. */
uint64_t tb_segment_encoder_bytes(const struct tb_segment_encoder *encoder);

/* --- reading --- */

struct tb_segment_chunk {
    uint64_t offset; /* of its first octet in the file (frame header, or raw marker block) */
    uint64_t length; /* octets in the file */
    uint64_t plain;  /* octets of pcapng blocks, as _read gives them: without the marker */
    struct tb_sha256 sha256; /* of its `length` octets as they lie in the file */
    struct tb_chunk_info info;
};

struct tb_segment_summary {
    uint64_t bytes; /* of the file */
    uint64_t packets;
    int64_t first_utc_ns, last_utc_ns;
    bool recovered;
    size_t chunk_count;
    struct tb_ledger ledger; /* of the last chunk */
};

/* A stretch of a damaged file that is not in what was saved of it. */
struct tb_segment_hole {
    uint64_t offset, length;        /* octets of the damaged file */
    int64_t from_utc_ns, to_utc_ns; /* its packets' times lie between; 0: nothing says */
    uint64_t packets;               /* that it held */
    bool is_counted;                /* else nothing says how many packets it held */
};

struct tb_segment_reader;

/* Reads the index from the tail of a sealed segment.  `fd` is borrowed.  TB_EFORMAT when there
 * is none or it does not fit the file: nothing in it is trusted. */
TB_NODISCARD enum tb_err tb_segment_reader_open(int fd, struct tb_segment_reader **out,
                                                struct tb_fail *fail);
/* The same wherever its octets are; `file->arg` is borrowed. */
TB_NODISCARD enum tb_err tb_segment_reader_open_at(const struct tb_readable *file,
                                                   struct tb_segment_reader **out,
                                                   struct tb_fail *fail);
void tb_segment_reader_free(struct tb_segment_reader *reader);
void tb_segment_reader_summary(const struct tb_segment_reader *reader,
                               struct tb_segment_summary *out);
/* NULL past the last; lent. */
const struct tb_segment_chunk *tb_segment_reader_chunk(const struct tb_segment_reader *reader,
                                                       size_t i);
/* What is missing from one that was salvaged, in the order of the damaged file; lent. */
const struct tb_segment_hole *tb_segment_reader_holes(const struct tb_segment_reader *reader,
                                                      size_t *out_count);
/* Appends chunk i's pcapng blocks (without its marker), decompressed and checked against the
 * index and the chunk's SHA-256.  For i = 0 they begin with the section header and interfaces.
 * TB_EFORMAT when something differs; TB_ETOOBIG over out's ceiling. */
TB_NODISCARD enum tb_err tb_segment_reader_read(struct tb_segment_reader *reader, size_t i,
                                                struct tb_buf *out, struct tb_fail *fail);

/* Appends what stands in for the beginning of chunk 0 where that cannot be read: a section
 * header and interfaces of which nothing is known, as many as the packets of another chunk's
 * `blocks` have.  TB_EFORMAT: more than there can be. */
TB_NODISCARD enum tb_err tb_segment_unknown_head(struct tb_bytes blocks, struct tb_buf *out,
                                                 struct tb_fail *fail);

/*
 * Who talks in a chunk: false means that no packet of chunk i has this host, or belongs to this
 * flow; true that one may (keys are hashes, and a chunk of very many hosts or flows has none).
 */
struct tb_segment_flow {
    uint8_t a[16], b[16]; /* IPv6, or IPv4-mapped ::ffff:a.b.c.d; either direction */
    uint16_t port_a, port_b;
    uint8_t protocol; /* fragments and what has no ports: ports 0 */
};
/* A frame's own, from `a` to `b`; false when it is not IP.  FORMAT.md says how it is read. */
bool tb_segment_flow_of(struct tb_bytes frame, struct tb_segment_flow *out);
uint32_t tb_segment_host_key(const uint8_t address[16]);
uint32_t tb_segment_flow_key(const struct tb_segment_flow *flow);
bool tb_segment_reader_may_hold_host(const struct tb_segment_reader *reader, size_t i,
                                     uint32_t host_key);
bool tb_segment_reader_may_hold_flow(const struct tb_segment_reader *reader, size_t i,
                                     uint32_t flow_key);

/*
 * Follows a segment while it is being written, sealed, or repaired: what was given once never
 * changes.  Memory: the longest chunk so far.
 */
struct tb_segment_tail;
TB_NODISCARD enum tb_err tb_segment_tail_new(struct tb_segment_tail **out,
                                             struct tb_fail *fail);
void tb_segment_tail_free(struct tb_segment_tail *tail);
/* From the beginning of another file; `fd` is borrowed until the next _begin. */
void tb_segment_tail_begin(struct tb_segment_tail *tail, int fd);
/*
 * The next whole chunk: its blocks (lent until the next call) and what it says of itself.
 * TB_ERETRY: no further one is whole yet; TB_ENOTFOUND: the index follows, there are no more;
 * otherwise TB_EIO, TB_ENOMEM.
 */
TB_NODISCARD enum tb_err tb_segment_tail_next(struct tb_segment_tail *tail,
                                              struct tb_segment_chunk *out,
                                              struct tb_bytes *out_blocks,
                                              struct tb_fail *fail);
/* Chunks of this file that were given or passed over. */
uint32_t tb_segment_tail_passed(const struct tb_segment_tail *tail);
/* Passes over the chunks that are there, unread, once the first one has been given. */
TB_NODISCARD enum tb_err tb_segment_tail_skip(struct tb_segment_tail *tail,
                                              struct tb_fail *fail);

/*
 * Repairs a segment that was cut off: truncates `fd` (read-write) after its last whole chunk,
 * appends index and last block, fsyncs.  A sealed one is left as it is (*out_changed false).
 * TB_ENOTFOUND when not even the first chunk is whole: there is nothing to save.  TB_ESTATE
 * when whole chunks stand behind one that is not: it was not only cut off, and is left as it
 * is.
 */
TB_NODISCARD enum tb_err tb_segment_recover(int fd, bool *out_changed,
                                            struct tb_segment_summary *out,
                                            struct tb_fail *fail);

/*
 * Writes what can be read of a damaged segment, sealed or cut off, to `out_fd` (empty,
 * read-write) as a segment in its own right, and fsyncs it.  Chunks that the disk does not give
 * or that are not what they say are left out: its holes.  Where the first one is, interfaces
 * without a description stand in for those that it described.
 * TB_ENOTFOUND when no chunk with packets is whole.  Other errors but TB_EIO of reading `file`
 * end it; what is in `out_fd` then means nothing.
 */
TB_NODISCARD enum tb_err tb_segment_salvage(const struct tb_readable *file, int out_fd,
                                            struct tb_segment_summary *out,
                                            struct tb_fail *fail);

#endif
