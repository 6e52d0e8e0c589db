/*
 * The search for matches, over octets that look like pcapng blocks or do not.  The first octet
 * chooses the patience and how often the rest is repeated (blocks of zstd, windows, limits).
 *
 * Property: what is found regenerates the chunk and keeps zstd's rules, and compressed with it
 * the chunk comes out of zstd as it went in.
 */
#include "../support/matches.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    TIMES_MAX = 64
};

static void
demand(bool truth)
{
    if (!truth) {
        abort();
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct zmatch_finder *finder;
    static struct zframe_compressor *compressor;
    static struct zframe_decompressor *decompressor;
    static const int levels[] = {1, -1, -3, -5};
    size_t times, count, packed;
    struct tb_bytes plain;
    const ZSTD_Sequence *found;
    uint8_t *exact;

    if (finder == NULL) {
        demand(zmatch_finder_new(&finder) == TB_OK);
        demand(zframe_compressor_new(1, &compressor) == TB_OK);
        demand(zframe_decompressor_new(&decompressor) == TB_OK);
    }
    if (size < 2) {
        return 0;
    }
    times = 1 + data[0] / 4 % TIMES_MAX;
    if (times * (size - 1) > ZMATCH_MAX_BYTES) {
        times = 1;
    }
    if (size - 1 > ZMATCH_MAX_BYTES) {
        return 0;
    }
    exact = malloc(times * (size - 1)); /* so that the sanitizer sees the edge */
    demand(exact != NULL);
    for (size_t i = 0; i < times; i++) {
        memcpy(exact + i * (size - 1), data + 1, size - 1);
    }
    plain = tb_bytes_of(exact, times * (size - 1));
    found = zmatch_find(finder, plain, 1 + data[0] % 4, &count);
    demand(found == NULL || sequences_are_true(found, count, plain));
    demand(comes_out_as_it_went_in(compressor, decompressor, plain, 1, levels[data[0] % 4],
                                   &packed));
    free(exact);
    return 0;
}
