/* Whole segments of made-up packets in memory, and what is known to be in them. */
#ifndef TESTS_SUPPORT_SEGMENTS_H
#define TESTS_SUPPORT_SEGMENTS_H

#include "chunks.h"

enum {
    TEST_SEGMENT_CHUNKS = 64
};

struct test_segment {
    struct tb_buf file;
    struct tb_buf plain[TEST_SEGMENT_CHUNKS];
    struct tb_segment_chunk chunks[TEST_SEGMENT_CHUNKS];
    size_t count;
    uint64_t index_offset;
};

/* A sealed one; its last chunk holds statistics only, as after a quiet time. */
void test_segment_make(struct test_segment *made, uint64_t seed, size_t chunks,
                       uint32_t packets, uint32_t max_frame);
void test_segment_release(struct test_segment *made);
/* A file in memory with this content; the caller closes it. */
int test_file_of(struct tb_bytes octets);
/* The file is sealed and holds exactly the first `count` chunks. */
void test_segment_assert_holds(int fd, const struct test_segment *made, size_t count,
                               bool recovered);

#endif
