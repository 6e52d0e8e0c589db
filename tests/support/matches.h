/* What zmatch.c found, put together again: for its unit test and its fuzzer. */
#ifndef TAPBOX_TEST_MATCHES_H
#define TAPBOX_TEST_MATCHES_H

#include <stdlib.h>

#include "../../src/segment/segment_int.h"
#include "../../src/segment/zmatch_int.h"

/* True when the sequences fit zstd's rules and regenerate `plain` with what zstd makes of them.
 */
static inline bool
sequences_are_true(const ZSTD_Sequence *found, size_t count, struct tb_bytes plain)
{
    size_t at = 0;
    size_t block = 0;

    for (size_t i = 0; i < count; i++) {
        const ZSTD_Sequence *s = &found[i];

        if (s->litLength > plain.len - at || s->matchLength > plain.len - at - s->litLength) {
            return false;
        }
        at += s->litLength;
        if (s->matchLength == 0) { /* the end of a block */
            if (s->offset != 0 || at - block > ZFRAME_MAX_BLOCK_BYTES) {
                return false;
            }
            block = at;
            continue;
        }
        if (s->matchLength < ZMATCH_MIN_LENGTH || s->offset == 0 || s->offset > at) {
            return false;
        }
        for (size_t k = 0; k < s->matchLength; k++) {
            if (plain.at[at + k] != plain.at[at + k - s->offset]) {
                return false;
            }
        }
        at += s->matchLength;
    }
    return at == plain.len && block == at && count > 0 && found[count - 1].matchLength == 0;
}

static inline bool
comes_out_as_it_went_in(struct zframe_compressor *compressor,
                        struct zframe_decompressor *decompressor, struct tb_bytes plain,
                        uint32_t packets, int level, size_t *out_len)
{
    size_t cap = zframe_bound(plain.len);
    uint8_t *packed = malloc(ZFRAME_ROOM_BEFORE + cap + ZFRAME_ROOM_BEHIND);
    uint8_t *again = malloc(plain.len + 1);
    struct zframe_habit habit = {0};
    struct zframe_body body;
    bool same = packed != NULL && again != NULL &&
                zframe_compress(compressor, &habit, plain, packets, level,
                                packed + ZFRAME_ROOM_BEFORE, cap, &body, NULL) == TB_OK;

    if (same) {
        *out_len = body.len;
        same = zframe_decompress(decompressor, packed + ZFRAME_ROOM_BEFORE + body.offset,
                                 body.len, body.check, again, plain.len) == TB_OK &&
               memcmp(again, plain.at, plain.len) == 0;
    }
    free(packed);
    free(again);
    return same;
}

#endif
