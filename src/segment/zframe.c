/*
 * zstd blocks that can be moved from a frame of their own into the segment's one frame, and
 * back into a frame of their own to be read.
 *
 * Blocks depend on what came before them in a frame through the window, entropy tables and the
 * three repeated offsets.  A chunk compressed alone uses neither window nor tables from before
 * it and counts on the repeated offsets 1, 4, 8 of a fresh frame, which the chunk marker
 * restores.  Source: RFC 8878, sections 3.1.1 and 3.1.1.5.
 */
#include "segment_int.h"
#include "zmatch_int.h" /* (and zstd.h, with contexts in memory of our own) */

#include <stdlib.h>

enum {
    WINDOW_LOG = 20, /* the segment's frame header promises no more */
    MAGIC_BYTES = 4,
    FLAG_CHECK = 0x04,
    FLAG_SINGLE_SEGMENT = 0x20,

    /* Of the frames recorded here, the literals (what no match covers) are mostly encrypted,
     * compressed or random: entropy coding takes a quarter of level 1's time to gain nothing.
     * So it rests after a chunk in which it saved less than 1 of LITERALS_WORTH octets, and is
     * tried again on every chunk behind LITERALS_REST. */
    LITERALS_WORTH = 256,
    LITERALS_REST = 31,

    /* Where packets are nothing but headers, zstd finds matches as fast as anybody.  Level 1
     * looks for 7 octets in a table of 2^14; with shorter matches, twice the table and longer
     * steps such chunks are both smaller (1 %) and faster (a tenth). */
    SMALL_PACKETS_BYTES = 192, /* of block, on average */
    SMALL_HASH_LOG = 15,
    SMALL_MIN_MATCH = 5,
    SMALL_STEP = 2,

    OWN_MAX_LEVEL = 1,        /* up to here matches in larger packets are found by zmatch.c, */
    OWN_MIN_BYTES = 64 * 1024 /* unless there is so little to do that zstd may take its time:
                                 its files are a few percent smaller then */
};

const uint8_t zframe_header[ZFRAME_HEADER_BYTES] = {0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x50};
const uint8_t zframe_last_block[ZFRAME_LAST_BLOCK_BYTES] = {0x01, 0x00, 0x00};

struct zframe_block
zframe_get_block(const uint8_t *at)
{
    uint32_t header = (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
    struct zframe_block block = {
        .last = (header & 1) != 0,
        .type = (enum zframe_block_type)(header >> 1 & 3),
        .field = header >> 3,
    };

    block.size = ZFRAME_BLOCK_HEADER_BYTES + (block.type == ZFRAME_RLE ? 1 : block.field);
    return block;
}

void
zframe_put_block(uint8_t *at, bool last, enum zframe_block_type type, uint32_t field)
{
    uint32_t header = field << 3 | (uint32_t)type << 1 | (last ? 1 : 0);

    at[0] = (uint8_t)header;
    at[1] = (uint8_t)(header >> 8);
    at[2] = (uint8_t)(header >> 16);
}

struct zframe_compressor {
    ZSTD_CCtx *zstd;              /* lies in `memory` */
    void *memory;                 /* owned */
    struct zmatch_finder *finder; /* owned */
    int max_level;
};

/* The most that any level up to `max_level` needs for any size of chunk.  zstd has other
 * tables for small inputs, and some are larger than those for big ones. */
static size_t
context_bytes(int max_level)
{
    static const unsigned long long sizes[] = {16 << 10, 128 << 10, 256 << 10, 1 << WINDOW_LOG};
    size_t most = 0;

    for (int level = TB_SEGMENT_MIN_LEVEL; level <= max_level; level++) {
        if (level == 0) {
            continue; /* level 3 to zstd: nobody asks for it */
        }
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            ZSTD_compressionParameters params = ZSTD_getCParams(level, sizes[i], 0);
            size_t bytes;

            if (level == 1 && params.hashLog < SMALL_HASH_LOG) {
                params.hashLog = SMALL_HASH_LOG;
            }
            if (level <= OWN_MAX_LEVEL) {
                params.minMatch = SMALL_MIN_MATCH; /* (shorter matches: more sequences) */
            }
            bytes = ZSTD_estimateCCtxSize_usingCParams(params);
            most = bytes > most ? bytes : most;
        }
    }
    return most;
}

enum tb_err
zframe_compressor_new(int max_level, struct zframe_compressor **out)
{
    struct zframe_compressor *compressor = calloc(1, sizeof(*compressor));
    size_t bytes = context_bytes(max_level);

    if (compressor == NULL) {
        return TB_ENOMEM;
    }
    compressor->max_level = max_level;
    compressor->memory = malloc(bytes);
    if (compressor->memory == NULL || zmatch_finder_new(&compressor->finder) != TB_OK) {
        zframe_compressor_free(compressor);
        return TB_ENOMEM;
    }
    compressor->zstd = ZSTD_initStaticCCtx(compressor->memory, bytes);
    if (compressor->zstd == NULL) {
        zframe_compressor_free(compressor);
        return TB_EINTERNAL;
    }
    *out = compressor;
    return TB_OK;
}

void
zframe_compressor_free(struct zframe_compressor *compressor)
{
    if (compressor != NULL) {
        zmatch_finder_free(compressor->finder);
        free(compressor->memory);
        free(compressor);
    }
}

size_t
zframe_bound(size_t plain)
{
    return ZSTD_compressBound(plain) + ZFRAME_CHECK_BYTES;
}

static bool
set(ZSTD_CCtx *zstd, ZSTD_cParameter parameter, int value)
{
    return !ZSTD_isError(ZSTD_CCtx_setParameter(zstd, parameter, value));
}

/* Small tables, since zstd searches nothing, and its input and output where they are. */
static bool
set_sequences(ZSTD_CCtx *zstd)
{
    return set(zstd, ZSTD_c_hashLog, ZSTD_HASHLOG_MIN) &&
           set(zstd, ZSTD_c_minMatch, ZMATCH_MIN_LENGTH) &&
           set(zstd, ZSTD_c_blockDelimiters, ZSTD_sf_explicitBlockDelimiters) &&
           set(zstd, ZSTD_c_stableInBuffer, 1) && set(zstd, ZSTD_c_stableOutBuffer, 1);
}

static bool
set_parameters(ZSTD_CCtx *zstd, int level, bool own_matches, bool small, bool plain_literals)
{
    if (ZSTD_isError(ZSTD_CCtx_reset(zstd, ZSTD_reset_session_and_parameters)) ||
        !set(zstd, ZSTD_c_compressionLevel, level) ||
        !set(zstd, ZSTD_c_windowLog, WINDOW_LOG) || !set(zstd, ZSTD_c_contentSizeFlag, 0) ||
        !set(zstd, ZSTD_c_dictIDFlag, 0) || !set(zstd, ZSTD_c_checksumFlag, 1)) {
        return false;
    }
    if (own_matches && !set_sequences(zstd)) {
        return false;
    }
    if (level == 1 && small &&
        (!set(zstd, ZSTD_c_hashLog, SMALL_HASH_LOG) ||
         !set(zstd, ZSTD_c_minMatch, SMALL_MIN_MATCH) ||
         !set(zstd, ZSTD_c_targetLength, SMALL_STEP))) {
        return false;
    }
    /* (negative levels leave literals as they are by themselves) */
    return level < 0 || set(zstd, ZSTD_c_literalCompressionMode,
                            plain_literals ? ZSTD_ps_disable : ZSTD_ps_enable);
}

/* Octets of the frame's header, 0 when it is not of the kind that was asked for. */
static size_t
header_len(struct tb_bytes frame)
{
    static const size_t dictionary_id_len[] = {0, 1, 2, 4};
    static const size_t content_size_len[] = {0, 2, 4, 8};
    uint8_t flags;
    size_t len;

    if (frame.len < ZFRAME_HEADER_BYTES || memcmp(frame.at, zframe_header, MAGIC_BYTES) != 0) {
        return 0;
    }
    flags = frame.at[MAGIC_BYTES];
    if ((flags & FLAG_CHECK) == 0 || (flags & FLAG_SINGLE_SEGMENT) != 0 ||
        frame.at[MAGIC_BYTES + 1] > zframe_header[MAGIC_BYTES + 1]) { /* a larger window */
        return 0;
    }
    len = MAGIC_BYTES + 2 + dictionary_id_len[flags & 3] + content_size_len[flags >> 6];
    return len <= frame.len ? len : 0;
}

/* Finds the blocks in a whole frame and takes the mark off the last one. */
static bool
strip_frame(uint8_t *at, size_t len, struct zframe_body *out)
{
    size_t begin = header_len(tb_bytes_of(at, len));
    size_t end;
    size_t next = begin;
    struct zframe_block block = {.last = false};

    if (begin == 0 || len - begin < ZFRAME_CHECK_BYTES) {
        return false;
    }
    end = len - ZFRAME_CHECK_BYTES;
    while (!block.last) {
        size_t here = next;

        if (end - here < ZFRAME_BLOCK_HEADER_BYTES) {
            return false;
        }
        block = zframe_get_block(at + here);
        if (block.size > end - here) {
            return false;
        }
        next = here + block.size;
        if (block.last && block.type == ZFRAME_RAW && block.field == 0) {
            next = here; /* nothing but the mark: not wanted in the middle of a frame */
        } else if (block.last) {
            zframe_put_block(at + here, false, block.type, block.field);
        }
    }
    out->offset = begin;
    out->len = next - begin;
    out->check = tb_get_le32(at + end);
    return next > begin;
}

/* Octets that entropy coding saved in the literals of one compressed block.  Source: RFC 8878,
 * section 3.1.1.3.1.1. */
static size_t
saved_in_literals(struct tb_bytes block)
{
    uint64_t header = 0;
    unsigned type, format, bits;
    size_t plain, packed;

    for (size_t i = 0; i < 5 && i < block.len; i++) {
        header |= (uint64_t)block.at[i] << (8 * i);
    }
    type = header & 3;
    format = header >> 2 & 3;
    if (type < ZFRAME_COMPRESSED) { /* raw or one octet repeated: nothing was coded */
        return 0;
    }
    bits = format < 2 ? 10 : format == 2 ? 14 : 18;
    plain = (size_t)(header >> 4 & ((1U << bits) - 1));
    packed = (size_t)(header >> (4 + bits) & ((1U << bits) - 1));
    return plain > packed ? plain - packed : 0;
}

static void
learn(struct zframe_habit *habit, const uint8_t *at, const struct zframe_body *body)
{
    size_t saved = 0;

    if (habit->plain_left > 0) {
        habit->plain_left--;
        return;
    }
    for (size_t i = 0; i < body->len;) {
        const uint8_t *here = at + body->offset + i;
        struct zframe_block block = zframe_get_block(here);

        if (block.type == ZFRAME_COMPRESSED) {
            saved +=
                saved_in_literals(tb_bytes_of(here + ZFRAME_BLOCK_HEADER_BYTES, block.field));
        }
        i += block.size;
    }
    if (saved < body->len / LITERALS_WORTH) {
        habit->plain_left = LITERALS_REST;
    }
}

/* The lower the level, the sooner octets without a match are passed over. */
static unsigned
patience(int level)
{
    return level > 0 ? 5 : level > -3 ? 3 : level > -5 ? 2 : 1;
}

enum tb_err
zframe_compress(struct zframe_compressor *compressor, struct zframe_habit *habit,
                struct tb_bytes plain, uint32_t packets, int level, uint8_t *at, size_t cap,
                struct zframe_body *out, struct tb_fail *fail)
{
    bool small = packets > 0 && plain.len / packets < SMALL_PACKETS_BYTES;
    bool own_matches = level <= OWN_MAX_LEVEL && packets > 0 && !small &&
                       plain.len >= OWN_MIN_BYTES && plain.len <= ZMATCH_MAX_BYTES;
    const ZSTD_Sequence *found;
    size_t count = 0;
    size_t n;

    found =
        own_matches ? zmatch_find(compressor->finder, plain, patience(level), &count) : NULL;
    if (level > compressor->max_level ||
        !set_parameters(compressor->zstd, level, found != NULL, small, habit->plain_left > 0)) {
        return tb_fail_set(fail, TB_EINTERNAL, "zstd refused its parameters, level %d", level);
    }
    if (found != NULL) {
        n = ZSTD_compressSequences(compressor->zstd, at, cap, found, count, plain.at,
                                   plain.len);
    } else {
        n = ZSTD_compress2(compressor->zstd, at, cap, plain.at, plain.len);
    }
    if (ZSTD_isError(n)) {
        return tb_fail_set(fail, TB_EINTERNAL, "zstd, level %d, %zu octets: %s", level,
                           plain.len, ZSTD_getErrorName(n));
    }
    if (!strip_frame(at, n, out)) {
        return tb_fail_set(fail, TB_EINTERNAL, "zstd made a frame of another shape");
    }
    if (packets > 0) { /* (a chunk of headers alone is nobody's traffic) */
        learn(habit, at, out);
    }
    return TB_OK;
}

bool
zframe_body_is_whole(struct tb_bytes body)
{
    size_t at = 0;

    while (at < body.len) {
        struct zframe_block block;

        if (body.len - at < ZFRAME_BLOCK_HEADER_BYTES) {
            return false;
        }
        block = zframe_get_block(body.at + at);
        if (block.last || block.type == ZFRAME_RESERVED || block.size > body.len - at) {
            return false;
        }
        at += block.size;
    }
    return true;
}

struct zframe_decompressor {
    ZSTD_DCtx *zstd;
};

enum tb_err
zframe_decompressor_new(struct zframe_decompressor **out)
{
    struct zframe_decompressor *decompressor = calloc(1, sizeof(*decompressor));

    if (decompressor == NULL) {
        return TB_ENOMEM;
    }
    decompressor->zstd = ZSTD_createDCtx();
    if (decompressor->zstd == NULL) {
        zframe_decompressor_free(decompressor);
        return TB_ENOMEM;
    }
    *out = decompressor;
    return TB_OK;
}

void
zframe_decompressor_free(struct zframe_decompressor *decompressor)
{
    if (decompressor != NULL) {
        (void)ZSTD_freeDCtx(decompressor->zstd);
        free(decompressor);
    }
}

enum tb_err
zframe_decompress(struct zframe_decompressor *decompressor, uint8_t *body, size_t body_len,
                  uint32_t check, uint8_t *plain, size_t plain_len)
{
    size_t n;

    if (!zframe_body_is_whole(tb_bytes_of(body, body_len))) {
        return TB_EFORMAT;
    }
    memcpy(body - ZFRAME_HEADER_BYTES, zframe_header, ZFRAME_HEADER_BYTES);
    body[MAGIC_BYTES - ZFRAME_HEADER_BYTES] |= FLAG_CHECK; /* zstd then compares the check */
    memcpy(body + body_len, zframe_last_block, ZFRAME_LAST_BLOCK_BYTES);
    tb_set_le32(body + body_len + ZFRAME_LAST_BLOCK_BYTES, check);
    n = ZSTD_decompressDCtx(decompressor->zstd, plain, plain_len, body - ZFRAME_HEADER_BYTES,
                            ZFRAME_ROOM_BEFORE + body_len + ZFRAME_ROOM_BEHIND);
    return !ZSTD_isError(n) && n == plain_len ? TB_OK : TB_EFORMAT;
}
