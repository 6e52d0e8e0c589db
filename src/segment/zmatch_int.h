/*
 * Where the octets of a chunk stood before, found by somebody who knows that they are packets.
 *
 * zstd's level 1 tries every second octet of whatever it gets.  Here the headers of a packet
 * are laid beside those of an earlier one of the same conversation, and payloads are searched
 * for long repetitions first, then for short ones, in steps that grow fast where nothing is
 * found: encrypted or compressed data costs little.  zstd codes what was found.
 *
 * Threads: a finder belongs to one thread at a time.
 */
#ifndef TAPBOX_ZMATCH_INT_H
#define TAPBOX_ZMATCH_INT_H

#include <tapbox/bytes.h>

#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

enum {
    ZMATCH_MAX_BYTES = 1 << 20, /* of one chunk: positions take 20 bits */
    ZMATCH_MIN_LENGTH = 4       /* no match is shorter */
};

struct zmatch_finder;

/* All memory that it ever takes: 2.3 MiB, of which a sixth is touched by ordinary traffic. */
TB_NODISCARD enum tb_err zmatch_finder_new(struct zmatch_finder **out);
void zmatch_finder_free(struct zmatch_finder *finder);
/*
 * For `plain`, whole pcapng blocks (anything else is searched as one payload), at most
 * ZMATCH_MAX_BYTES.  The steps over octets without a match grow by one every 2^`patience`
 * octets, faster over what looks encrypted and was so up to there.  What is given is for
 * ZSTD_compressSequences with explicit block delimiters, lent until the next call; NULL when
 * there is more than there is room for.
 */
const ZSTD_Sequence *zmatch_find(struct zmatch_finder *finder, struct tb_bytes plain,
                                 unsigned patience, size_t *out_count);

#endif
