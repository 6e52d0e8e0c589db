/* Matches between packets: headers beside headers, payloads by hash. */
#include "zmatch_int.h"

#include <stdlib.h>

enum {
    SHORT_LOG = 14, /* entries of the tables: 64 and 128 KiB, in the second level's cache */
    LONG_LOG = 15,
    PACKETS_LOG = 10, /* conversations and directions remembered */
    POSITION_BITS = 20,
    CHECK_SHIFT = 16, /* bits of the hash that stand in an entry beside the position */

    SHORT_BYTES = 6, /* by so many octets short matches are found, and long ones: */
    LONG_BYTES = 24,
    LONG_SURE_BYTES = 16, /* of them compared */
    LONG_NEAR = 16,       /* long ones are looked for so far behind the last match */
    LONG_EVERY = 4,       /* octets of a short match are remembered for long ones */
    LONG_ENOUGH = 48,     /* a match that long will be found by itself */

    /* What looks encrypted is hardly looked at, unless matches are found in it after all
     * (programs look like that): a look at it costs 1 of `hope`, a match in it gives more. */
    MIXED_STEP = 6,
    MIXED_FASTER = 4, /* so much less patience */
    HOPE_GAIN = 256,
    HOPE_MAX = 1024,

    /* of pcapng blocks */
    BLOCK_MIN_BYTES = 12,
    FRAME_AT = 28,
    TRAILER_BYTES = 16, /* behind a frame: flags and lengths, as they are for most */
    /* of frames */
    ETHERNET_BYTES = 14,
    HEADERS_BYTES = ETHERNET_BYTES + 40, /* what is laid side by side of unknown packets */
    HEADERS_MAX_BYTES = ETHERNET_BYTES + 60 + 60,
    BEHIND_HEADERS = 5, /* laid side by side as well: the beginning of a TLS record */
    ADDRESSES_AT = ETHERNET_BYTES + 12, /* IPv4's, then ports; of IPv6 a part */
    PORTS_AT = ADDRESSES_AT + 8,
    FRAME_MIN_BYTES = PORTS_AT + 4,
    NEXT_TCP = 6,
    NEXT_UDP = 17,

    NEIGHBOUR_WORTH = 1, /* octets that the packet before, whose distance costs less, may differ
                            more by */
    PIECE_MAX_BYTES = 64 * 1024, /* so that a zstd block ends between two of them */
    ZSTD_BLOCK_BYTES = 128 * 1024,

    FOUND_MAX = 1 << 17, /* sequences; there are 1 or 2 each 100 octets, rarely 1 each 10 */
    PIECE_MAX_FOUND = PIECE_MAX_BYTES / ZMATCH_MIN_LENGTH + 3
};

/* octets that the processor compares at once */
typedef uint8_t sixteen __attribute__((vector_size(16)));

struct zmatch_finder {
    ZSTD_Sequence *found; /* owned */
    size_t count;
    bool full;                 /* more than fit */
    const uint8_t *base, *end; /* the chunk */
    const uint8_t *anchor;     /* what comes from here is in no sequence yet */
    const uint8_t *block;      /* where the zstd block begins */
    size_t offset;             /* of the last match: cheap to use again */
    unsigned hope;             /* to find something in what looks encrypted */
    uint32_t last_packet;      /* position + 1 */
    uint32_t packets[1 << PACKETS_LOG];
    uint32_t shorts[1 << SHORT_LOG];
    uint32_t longs[1 << LONG_LOG];
};

enum tb_err
zmatch_finder_new(struct zmatch_finder **out)
{
    struct zmatch_finder *finder = calloc(1, sizeof(*finder));

    if (finder == NULL ||
        (finder->found = malloc(FOUND_MAX * sizeof(*finder->found))) == NULL) {
        zmatch_finder_free(finder);
        return TB_ENOMEM;
    }
    *out = finder;
    return TB_OK;
}

void
zmatch_finder_free(struct zmatch_finder *finder)
{
    if (finder != NULL) {
        free(finder->found);
        free(finder);
    }
}

/* --- what is remembered --- */

static uint64_t
short_hash(uint64_t octets)
{
    return (octets << (64 - 8 * SHORT_BYTES)) * UINT64_C(0xCF1BBCDCBF9B);
}

static uint64_t
long_hash(const uint8_t *at, uint64_t octets)
{
    uint64_t h = octets ^ tb_get_le64(at + 16) * UINT64_C(0x9E3779B97F4A7C15);

    return (h * UINT64_C(0xCF1BBCDCBF9B) + tb_get_le64(at + 8)) * UINT64_C(0x9E3779B185EBCA87);
}

/* A position and some bits of its hash: most that would not match are seen without a look at
 * what stands there. */
static uint32_t
entry_of(uint64_t hash, uint32_t position)
{
    return position | ((uint32_t)(hash >> CHECK_SHIFT) & ~(uint32_t)((1 << POSITION_BITS) - 1));
}

/* Puts this position in, and gives where the same octets may have stood before; NULL: nowhere.
 */
static const uint8_t *
remember(const struct zmatch_finder *f, uint32_t *table, unsigned log, uint64_t hash,
         const uint8_t *at)
{
    uint32_t *slot = &table[hash >> (64 - log)];
    uint32_t entry = entry_of(hash, (uint32_t)(at - f->base));
    uint32_t before = *slot;
    const uint8_t *there = f->base + (before & ((1 << POSITION_BITS) - 1));

    *slot = entry;
    return ((before ^ entry) >> POSITION_BITS) == 0 && there < at ? there : NULL;
}

/* --- what was found --- */

/* Octets from `a` on that are the same from `b` on. */
static size_t
same_octets(const uint8_t *a, const uint8_t *b, const uint8_t *a_end)
{
    const uint8_t *begin = a;

    for (; a_end - a >= 8; a += 8, b += 8) {
        uint64_t differ = tb_get_le64(a) ^ tb_get_le64(b);

        if (differ != 0) {
            return (size_t)(a - begin) + (size_t)(__builtin_ctzll(differ) / 8);
        }
    }
    while (a < a_end && *a == *b) {
        a++;
        b++;
    }
    return (size_t)(a - begin);
}

static void
put(struct zmatch_finder *f, const uint8_t *at, size_t length, size_t offset)
{
    f->found[f->count++] = (ZSTD_Sequence){
        .offset = (uint32_t)offset,
        .litLength = (uint32_t)(at - f->anchor),
        .matchLength = (uint32_t)length,
    };
    f->anchor = at + length;
    f->offset = offset != 0 ? offset : f->offset;
}

/* A match at `at` with `there`, `known` octets of it: as long as it is in both directions. */
static const uint8_t *
put_longest(struct zmatch_finder *f, const uint8_t *at, const uint8_t *there, size_t known,
            const uint8_t *end)
{
    size_t offset = (size_t)(at - there);
    size_t length = known + same_octets(at + known, there + known, end);

    while (at > f->anchor && there > f->base && at[-1] == there[-1]) {
        at--;
        there--;
        length++;
    }
    put(f, at, length, offset);
    return f->anchor;
}

/* --- headers --- */

/* Octets of a frame up to its payload, where that is easily seen. */
static size_t
headers_of(const uint8_t *frame, size_t len)
{
    unsigned type = tb_get_be16(frame + ETHERNET_BYTES - 2);
    size_t at = ETHERNET_BYTES;
    unsigned next;

    if (type == 0x0800) {
        next = frame[at + 9];
        at += (size_t)(frame[at] & 0x0f) * 4;
    } else if (type == 0x86dd) {
        next = frame[at + 6];
        at += 40;
    } else {
        return HEADERS_BYTES;
    }
    if (next == NEXT_TCP && at + 13 <= len) {
        at += (size_t)(frame[at + 12] >> 4) * 4;
    } else if (next == NEXT_UDP) {
        at += 8;
    }
    return at < HEADERS_MAX_BYTES ? at : HEADERS_MAX_BYTES;
}

/* How many octets are the same, by sixteens. */
static size_t
likeness(const uint8_t *a, const uint8_t *b, size_t len)
{
    sixteen same = {0}; /* (of each column; at most HEADERS_MAX_BYTES / 16) */
    uint64_t halves[2];

    for (size_t i = 0; i + sizeof(same) <= len; i += sizeof(same)) {
        sixteen x, y;

        memcpy(&x, a + i, sizeof(x));
        memcpy(&y, b + i, sizeof(y));
        same -= (sixteen)(x == y); /* -1 where they are */
    }
    memcpy(halves, &same, sizeof(halves));
    return (size_t)((halves[0] + halves[1]) * UINT64_C(0x0101010101010101) >> 56);
}

/* The packet whose headers are most like those of `packet`: the last one of its conversation,
 * or the one before. */
static const uint8_t *
find_like(struct zmatch_finder *f, const uint8_t *packet, size_t len)
{
    const uint8_t *frame = packet + FRAME_AT;
    uint64_t h = tb_get_le64(frame + ADDRESSES_AT) * UINT64_C(0x9E3779B97F4A7C15) ^
                 tb_get_le32(frame + PORTS_AT) * UINT64_C(0xC2B2AE3D27D4EB4F);
    uint32_t *slot =
        &f->packets[(h ^ h >> 29) * UINT64_C(0xBF58476D1CE4E5B9) >> (64 - PACKETS_LOG)];
    uint32_t like = *slot;
    uint32_t last = f->last_packet;

    *slot = f->last_packet = (uint32_t)(packet - f->base) + 1;
    if (last == 0) {
        return NULL;
    }
    if (like == 0 ||
        (like != last && likeness(packet, f->base + like - 1, len) <
                             likeness(packet, f->base + last - 1, len) + NEIGHBOUR_WORTH)) {
        like = last;
    }
    return f->base + like - 1;
}

/* Lays the octets from `at` to `end` beside those of another packet. */
static const uint8_t *
compare(struct zmatch_finder *f, const uint8_t *at, size_t offset, const uint8_t *end,
        const uint8_t *packet_end)
{
    const uint64_t first = (UINT64_C(1) << (8 * ZMATCH_MIN_LENGTH)) - 1;

    while (end - at >= 8) {
        uint64_t differ = (tb_get_le64(at) ^ tb_get_le64(at - offset)) & first;

        if (differ == 0) {
            put(f, at, same_octets(at, at - offset, packet_end), offset);
            at = f->anchor;
        } else { /* behind the last that differs */
            at += (63 - __builtin_clzll(differ)) / 8 + 1;
        }
    }
    return at;
}

/* --- payloads --- */

/* What lies in a short match, for long ones: from these positions on they will be found. */
static void
remember_inside(struct zmatch_finder *f, const uint8_t *begin, const uint8_t *end)
{
    for (const uint8_t *at = begin + LONG_EVERY; at < end; at += LONG_EVERY) {
        (void)remember(f, f->longs, LONG_LOG, long_hash(at, tb_get_le64(at)), at);
    }
}

static void
remember_short(struct zmatch_finder *f, const uint8_t *at)
{
    (void)remember(f, f->shorts, SHORT_LOG, short_hash(tb_get_le64(at)), at);
}

/* Whether 8 octets look as if they were encrypted, compressed or code: as many have their
 * highest bit set as chance would give (of 14 chance gives, 13 are here).  Text has none. */
static bool
is_mixed(uint64_t octets)
{
    uint64_t high = octets >> 7 & UINT64_C(0x0101010101010101);

    high = high * UINT64_C(0x0101010101010101) >> 56; /* their sum */
    return high >= 2 && high <= 6;
}

/* To the next place that is looked at, `dry` octets behind what was found last. */
static size_t
step_over(struct zmatch_finder *f, uint64_t octets, size_t dry, unsigned patience)
{
    if (!is_mixed(octets)) {
        return 1 + (dry >> patience);
    }
    if (f->hope > 0) {
        f->hope--;
        return 1 + (dry >> patience);
    }
    return MIXED_STEP + (dry >> (patience > MIXED_FASTER ? patience - MIXED_FASTER : 1));
}

static void
search(struct zmatch_finder *f, const uint8_t *at, const uint8_t *end, unsigned patience)
{
    const uint64_t few = (UINT64_C(1) << (8 * ZMATCH_MIN_LENGTH)) - 1;
    const uint64_t short_mask = (UINT64_C(1) << (8 * SHORT_BYTES)) - 1;
    const uint8_t *from = at;  /* since then, nothing was found */
    ptrdiff_t left = end - at; /* (below 0: a step went past the end, where no pointer goes) */

    while (left >= 8) {
        const uint8_t *there;
        uint64_t octets;

        at = end - left;
        octets = tb_get_le64(at);
        if (at - from < LONG_NEAR && left >= LONG_BYTES) {
            there = remember(f, f->longs, LONG_LOG, long_hash(at, octets), at);
            if (there != NULL && octets == tb_get_le64(there) &&
                tb_get_le64(at + 8) == tb_get_le64(there + 8)) {
                from = put_longest(f, at, there, LONG_SURE_BYTES, end);
                left = end - from;
                continue;
            }
        }
        if ((size_t)(at - f->base) >= f->offset &&
            ((octets ^ tb_get_le64(at - f->offset)) & few) == 0) {
            remember_short(f, at);
            from = put_longest(f, at, at - f->offset, ZMATCH_MIN_LENGTH, end);
            left = end - from;
            continue;
        }
        there = remember(f, f->shorts, SHORT_LOG, short_hash(octets), at);
        if (there == NULL || ((octets ^ tb_get_le64(there)) & short_mask) != 0) {
            left -= (ptrdiff_t)step_over(f, octets, (size_t)(at - from), patience);
            continue;
        }
        if (is_mixed(octets)) {
            f->hope = f->hope < HOPE_MAX - HOPE_GAIN ? f->hope + HOPE_GAIN : HOPE_MAX;
        }
        from = at;
        at = put_longest(f, at, there, SHORT_BYTES, end);
        left = end - at;
        if (at - from < LONG_ENOUGH && left >= LONG_BYTES) {
            remember_inside(f, from, at);
        }
        if (left >= 8) {
            remember_short(f, from + 2);
            remember_short(f, at - 2);
        }
        from = at;
    }
}

/* --- the chunk --- */

/* A zstd block regenerates no more than 128 KiB: this one ends before the next piece. */
static void
begin_piece(struct zmatch_finder *f, const uint8_t *at, const uint8_t *end)
{
    f->full = f->full || f->count > FOUND_MAX - PIECE_MAX_FOUND;
    if (!f->full && end - f->block > ZSTD_BLOCK_BYTES) {
        put(f, at, 0, 0);
        f->block = at;
    }
}

/* From `at` (what is left of the block before) to `end` (the same of this one), in pieces. */
static void
take_block(struct zmatch_finder *f, const uint8_t *at, const uint8_t *packet, size_t len,
           const uint8_t *end, unsigned patience)
{
    const uint8_t *piece_end = end - at > PIECE_MAX_BYTES ? at + PIECE_MAX_BYTES : end;
    const uint8_t *like = NULL;
    size_t headers = 0;

    begin_piece(f, at, piece_end);
    if (f->full) {
        return;
    }
    if (len >= FRAME_AT + FRAME_MIN_BYTES) {
        headers = FRAME_AT + headers_of(packet + FRAME_AT, len - FRAME_AT);
        headers = headers < len ? headers : len;
        like = find_like(f, packet, headers);
    }
    if (like != NULL && packet + headers <= piece_end) {
        const uint8_t *beside_end = piece_end - packet > (ptrdiff_t)headers + BEHIND_HEADERS
                                        ? packet + headers + BEHIND_HEADERS
                                        : piece_end;

        if (like - f->base < TRAILER_BYTES && at < packet) {
            at = packet; /* nothing stands before the first one's */
        }
        at = compare(f, at, (size_t)(packet - like), beside_end, piece_end);
    }
    search(f, at, piece_end, patience);
    while (piece_end < end && !f->full) {
        at = piece_end;
        piece_end = end - at > PIECE_MAX_BYTES ? at + PIECE_MAX_BYTES : end;
        begin_piece(f, at, piece_end);
        if (!f->full) {
            search(f, at, piece_end, patience);
        }
    }
}

const ZSTD_Sequence *
zmatch_find(struct zmatch_finder *f, struct tb_bytes plain, unsigned patience,
            size_t *out_count)
{
    const uint8_t *packet = plain.at;
    const uint8_t *at = plain.at;

    f->base = f->anchor = f->block = plain.at;
    f->end = plain.at + plain.len;
    f->count = 0;
    f->offset = 1; /* as zstd begins */
    f->hope = HOPE_MAX;
    f->full = false;
    f->last_packet = 0;
    memset(f->packets, 0, sizeof(f->packets));
    memset(f->shorts, 0, sizeof(f->shorts));
    memset(f->longs, 0, sizeof(f->longs));
    while (packet < f->end && !f->full) {
        size_t left = (size_t)(f->end - packet);
        size_t len = left >= BLOCK_MIN_BYTES ? tb_get_le32(packet + 4) : left;
        const uint8_t *end;

        if (len < BLOCK_MIN_BYTES || len > left) {
            len = left;
        }
        /* (a block's last octets are like the next one's first: they go together) */
        end = len < left && len > TRAILER_BYTES ? packet + len - TRAILER_BYTES : packet + len;
        take_block(f, at, packet, len, end, patience);
        at = end;
        packet += len;
    }
    if (f->full) {
        return NULL;
    }
    put(f, f->end, 0, 0);
    *out_count = f->count;
    return f->found;
}
