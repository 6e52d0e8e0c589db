/* Chunks of made-up packets, the same for the same seed: what the recorder would hand over. */
#ifndef TESTS_SUPPORT_CHUNKS_H
#define TESTS_SUPPORT_CHUNKS_H

#include <tapbox/pcapng.h>
#include <tapbox/segment.h>

struct test_chunks {
    uint64_t seed;       /* of the random octets; changes with use */
    int64_t next_utc_ns; /* time of the next packet */
    struct tb_ledger ledger;
    uint32_t interfaces; /* that the section header is followed by */
};

void test_chunks_init(struct test_chunks *chunks, uint64_t seed);
/* The next pseudo-random number (xorshift). */
uint64_t test_chunks_random(struct test_chunks *chunks);
/* Section header and interfaces. */
void test_chunks_put_head(struct test_chunks *chunks, struct tb_buf *out);
/* `packets` packets of up to `max_frame` octets, text and random octets mixed; *info is set. */
void test_chunks_put_packets(struct test_chunks *chunks, struct tb_buf *out, uint32_t packets,
                             uint32_t max_frame, struct tb_chunk_info *info);
/* One interface statistics block for each interface. */
void test_chunks_put_statistics(struct test_chunks *chunks, struct tb_buf *out);

#endif
