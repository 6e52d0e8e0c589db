#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../support/segments.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_OWN_ALLOCATOR 0
#elif defined(__has_feature)
#define HAS_OWN_ALLOCATOR                                                                      \
    (!__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer))
#else
#define HAS_OWN_ALLOCATOR 1
#endif

enum {
    PLAIN_MAX = 32 << 20,
    DIGEST_STATE_BYTES = 128 /* OpenSSL takes 112 for each digest, until it is finished */
};

static size_t allocations;     /* since it was set to 0 */
static size_t allocated_bytes; /* in them */
static size_t fail_at;         /* 0: never; n: the nth from here */

#if HAS_OWN_ALLOCATOR
/* Every allocation of the process, the libraries' too, passes here on its way to glibc. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *at, size_t size);
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *at, size_t size);

static bool
is_to_fail(size_t bytes)
{
    allocations++;
    allocated_bytes += bytes;
    return fail_at != 0 && allocations == fail_at;
}

void *
malloc(size_t size)
{
    return is_to_fail(size) ? NULL : __libc_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
    return is_to_fail(count * size) ? NULL : __libc_calloc(count, size);
}

void *
realloc(void *at, size_t size)
{
    return is_to_fail(size) ? NULL : __libc_realloc(at, size);
}
#endif

/* A first chunk of about `bytes` octets. */
static void
first_chunk(struct tb_buf *plain, uint64_t seed, size_t bytes, struct tb_chunk_info *info)
{
    struct test_chunks from;
    struct tb_chunk_info some;

    test_chunks_init(&from, seed);
    memset(info, 0, sizeof(*info));
    test_chunks_put_head(&from, plain);
    while (plain->len + 1600 < bytes) {
        test_chunks_put_packets(&from, plain, 1, 1500, &some);
        if (info->packets++ == 0) {
            info->first_utc_ns = some.first_utc_ns;
        }
        info->last_utc_ns = some.last_utc_ns;
        info->ledger = some.ledger;
    }
}

/* One chunk in a segment of its own, through a file and back. */
static void
assert_round_trip(struct tb_segment_encoder *encoder, struct tb_bytes plain,
                  const struct tb_chunk_info *info)
{
    struct tb_buf file = TB_BUF_INIT(PLAIN_MAX);
    struct tb_buf back = TB_BUF_INIT(PLAIN_MAX);
    struct tb_segment_reader *reader = NULL;
    struct tb_bytes out;
    int fd;

    tb_segment_encoder_reset(encoder);
    assert_int_equal(tb_segment_encoder_chunk(encoder, plain, info, &out, NULL), TB_OK);
    tb_buf_put_bytes(&file, out);
    assert_int_equal(tb_segment_encoder_finish(encoder, false, &out, NULL), TB_OK);
    tb_buf_put_bytes(&file, out);
    fd = test_file_of(tb_buf_view(&file));
    assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
    assert_int_equal(tb_segment_reader_read(reader, 0, &back, NULL), TB_OK);
    assert_true(tb_bytes_equal(tb_buf_view(&back), plain));
    tb_segment_reader_free(reader);
    (void)close(fd);
    tb_buf_release(&back);
    tb_buf_release(&file);
}

static void
every_level_writes_chunks_of_every_size_in_the_memory_it_has(void **state)
{
    static const size_t sizes[] = {2000, 16 << 10, 100 << 10, 200 << 10, 300 << 10, 1 << 20};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct tb_buf plain = TB_BUF_INIT(PLAIN_MAX);
        struct tb_chunk_info info;

        first_chunk(&plain, i, sizes[i], &info);
        for (int level = TB_SEGMENT_MIN_LEVEL; level <= TB_SEGMENT_MAX_LEVEL; level++) {
            struct tb_segment_encoder *encoder = NULL;
            struct tb_bytes out;

            if (sizes[i] > 300 << 10 && level > 3 && level < TB_SEGMENT_MAX_LEVEL) {
                continue; /* slow, and the tables are the same */
            }
            assert_int_equal(tb_segment_encoder_new(1 << 20, 4, level, &encoder, NULL), TB_OK);
            assert_round_trip(encoder, tb_buf_view(&plain), &info);
            tb_segment_encoder_reset(encoder);
            allocated_bytes = 0;
            assert_int_equal(
                tb_segment_encoder_chunk(encoder, tb_buf_view(&plain), &info, &out, NULL),
                TB_OK);
            assert_int_equal(tb_segment_encoder_finish(encoder, false, &out, NULL), TB_OK);
            assert_in_range(allocated_bytes, 0, 3 * DIGEST_STATE_BYTES);
            tb_segment_encoder_free(encoder);
        }
        tb_buf_release(&plain);
    }
}

static void
one_encoder_goes_through_all_its_levels_in_the_memory_it_has(void **state)
{
    struct tb_buf plain = TB_BUF_INIT(PLAIN_MAX);
    struct tb_segment_encoder *encoder = NULL;
    struct tb_chunk_info info;
    struct tb_bytes out;

    (void)state;
    first_chunk(&plain, 1, 150 << 10, &info);
    assert_int_equal(tb_segment_encoder_new(1 << 20, 4, TB_SEGMENT_MAX_LEVEL, &encoder, NULL),
                     TB_OK);
    for (int i = 0; i < 60; i++) {
        allocated_bytes = 0;
        tb_segment_encoder_reset(encoder);
        tb_segment_encoder_level(encoder, i * 7 % 31 - 8); /* -8 .. 22: brought into range */
        assert_int_equal(
            tb_segment_encoder_chunk(encoder, tb_buf_view(&plain), &info, &out, NULL), TB_OK);
        assert_in_range(allocated_bytes, 0, 2 * DIGEST_STATE_BYTES);
    }
    tb_segment_encoder_free(encoder);
    tb_buf_release(&plain);
}

static void
the_memory_of_an_encoder_is_what_the_header_says(void **state)
{
    static const struct {
        int level;
        size_t at_most;
    } cases[] = {
        {1, 45 * (1 << 20) / 10}, {3, 54 * (1 << 20) / 10}, {19, 224 * (1 << 20) / 10}};

    (void)state;
    if (!HAS_OWN_ALLOCATOR) {
        skip(); /* the sanitizer's allocator is in place of the counting one */
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_segment_encoder *encoder = NULL;

        allocated_bytes = 0;
        assert_int_equal(tb_segment_encoder_new(1 << 20, 512, cases[i].level, &encoder, NULL),
                         TB_OK);
        assert_in_range(allocated_bytes, 1 << 20, cases[i].at_most);
        tb_segment_encoder_free(encoder);
    }
}

static void
no_memory_at_any_point_is_an_error_that_leaks_nothing(void **state)
{
    enum tb_err err = TB_ENOMEM;

    (void)state;
    if (!HAS_OWN_ALLOCATOR) {
        skip(); /* the sanitizer's allocator is in place of the failing one */
    }
    for (size_t n = 1; err != TB_OK; n++) {
        struct tb_segment_encoder *encoder = NULL;

        assert_in_range(n, 1, 100);
        allocations = 0;
        fail_at = n;
        err = tb_segment_encoder_new(1 << 16, 4, 1, &encoder, NULL);
        fail_at = 0;
        if (err != TB_OK) {
            assert_int_equal(err, TB_ENOMEM);
            assert_null(encoder);
        }
        tb_segment_encoder_free(encoder);
    }
}

static void
content_of_every_kind_comes_back_as_it_was(void **state)
{
    struct tb_segment_encoder *encoder = NULL;
    struct tb_chunk_info info = {0};
    struct test_chunks random;

    (void)state;
    test_chunks_init(&random, 9);
    assert_int_equal(tb_segment_encoder_new(TB_SEGMENT_MAX_CHUNK_BYTES, 1, 1, &encoder, NULL),
                     TB_OK);
    /* whole blocks are not the encoder's business: all zeros become RLE, noise raw blocks */
    for (int kind = 0; kind < 3; kind++) {
        static const size_t lens[] = {4, 8, 128 << 10, (128 << 10) + 4, 1 << 20, 16 << 20};

        for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
            uint8_t *plain = calloc(1, lens[i]);

            assert_non_null(plain);
            for (size_t at = 0; kind != 0 && at + 8 <= lens[i]; at += 8) {
                if (kind == 1 || at < lens[i] / 2) {
                    tb_set_le64(plain + at, test_chunks_random(&random));
                }
            }
            tb_set_le32(plain, TB_PCAPNG_SHB);
            assert_round_trip(encoder, tb_bytes_of(plain, lens[i]), &info);
            free(plain);
        }
    }
    tb_segment_encoder_free(encoder);
}

enum {
    LEARNING_CHUNKS = 70, /* of each kind: the coding of literals is tried again every 32 */
    LEARNING_FRAME = 1024
};

/* Packets whose octets repeat nowhere, of `values` different values. */
static void
put_learning_chunk(struct test_chunks *from, struct tb_buf *plain, unsigned values,
                   struct tb_chunk_info *info)
{
    uint8_t frame[LEARNING_FRAME];
    uint8_t block[LEARNING_FRAME + TB_PCAPNG_PACKET_OVERHEAD];
    struct tb_pcapng_packet packet = {.captured = sizeof(frame), .original = sizeof(frame)};

    *info = (struct tb_chunk_info){.packets = 0};
    while (info->packets < 200) {
        for (size_t i = 0; i < sizeof(frame); i++) {
            frame[i] = (uint8_t)(test_chunks_random(from) >> 20 & (values - 1));
        }
        tb_buf_put(plain, block, tb_pcapng_put_packet(block, sizeof(block), &packet, frame));
        info->packets++;
    }
}

/* Octets in the file of the last of many chunks of this kind. */
static size_t
learnt_size(struct tb_segment_encoder *encoder, struct test_chunks *from, unsigned values,
            size_t *out_plain)
{
    struct tb_bytes out = {NULL, 0};

    for (int i = 0; i < LEARNING_CHUNKS; i++) {
        struct tb_buf plain = TB_BUF_INIT(PLAIN_MAX);
        struct tb_chunk_info info;

        put_learning_chunk(from, &plain, values, &info);
        assert_int_equal(
            tb_segment_encoder_chunk(encoder, tb_buf_view(&plain), &info, &out, NULL), TB_OK);
        *out_plain = plain.len;
        tb_buf_release(&plain);
    }
    return out.len;
}

/* Level 1 stops coding literals where that gains nothing, and begins again where it does. */
static void
literals_are_coded_where_they_gain_also_after_traffic_where_they_do_not(void **state)
{
    struct tb_segment_encoder *encoder = NULL;
    struct tb_buf head = TB_BUF_INIT(PLAIN_MAX);
    struct tb_chunk_info info;
    struct test_chunks from;
    struct tb_bytes out;
    size_t plain = 0;
    size_t coded;

    (void)state;
    test_chunks_init(&from, 5);
    assert_int_equal(
        tb_segment_encoder_new(TB_CHUNK_BYTES, 3 * LEARNING_CHUNKS + 1, 1, &encoder, NULL),
        TB_OK);
    first_chunk(&head, 5, 2000, &info);
    assert_int_equal(tb_segment_encoder_chunk(encoder, tb_buf_view(&head), &info, &out, NULL),
                     TB_OK);
    coded = learnt_size(encoder, &from, 16, &plain);
    assert_true(coded < plain * 6 / 10); /* 4 bits of 8, and what is around the frames */
    assert_true(learnt_size(encoder, &from, 256, &plain) < plain);
    assert_in_range(learnt_size(encoder, &from, 16, &plain), coded * 99 / 100,
                    coded * 101 / 100);
    tb_segment_encoder_free(encoder);
    tb_buf_release(&head);
}

/* Level 1 has other parameters for them. */
static void
small_packets_come_back_and_fit_the_memory(void **state)
{
    static const size_t sizes[] = {2000, 16 << 10, 100 << 10, 200 << 10, 300 << 10, 1 << 20};

    (void)state;
    for (int level = 1; level <= 3; level++) {
        struct tb_segment_encoder *encoder = NULL;

        assert_int_equal(tb_segment_encoder_new(TB_CHUNK_BYTES, 4, level, &encoder, NULL),
                         TB_OK);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            struct tb_buf plain = TB_BUF_INIT(PLAIN_MAX);
            struct tb_chunk_info info, some;
            struct test_chunks from;

            test_chunks_init(&from, i);
            test_chunks_put_head(&from, &plain);
            test_chunks_put_packets(&from, &plain, 1, 60, &info);
            while (plain.len + 200 < sizes[i]) {
                test_chunks_put_packets(&from, &plain, 1, 60, &some);
                info.packets++;
            }
            tb_segment_encoder_level(encoder, 1);
            assert_round_trip(encoder, tb_buf_view(&plain), &info);
            tb_buf_release(&plain);
        }
        tb_segment_encoder_free(encoder);
    }
}

static void
limits_are_errors_and_the_segment_goes_on(void **state)
{
    struct tb_buf head = TB_BUF_INIT(PLAIN_MAX);
    struct tb_segment_encoder *encoder = NULL;
    struct tb_chunk_info info;
    uint8_t later[16] = {1, 0, 0, 0x80, 16, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0};
    uint8_t big[4100] = {0x0A, 0x0D, 0x0D, 0x0A};
    struct tb_fail fail;
    struct tb_bytes out;

    (void)state;
    first_chunk(&head, 1, 2000, &info);
    assert_int_equal(tb_segment_encoder_new(4096, 2, 1, &encoder, NULL), TB_OK);
    assert_int_equal(tb_segment_encoder_finish(encoder, false, &out, &fail), TB_ESTATE);
    assert_int_equal(
        tb_segment_encoder_chunk(encoder, tb_bytes_of(big, sizeof(big)), &info, &out, &fail),
        TB_ETOOBIG);
    assert_int_equal(
        tb_segment_encoder_chunk(encoder, tb_bytes_of(later, 16), &info, &out, &fail),
        TB_EINVAL); /* no section header in front */
    assert_int_equal(tb_segment_encoder_chunk(encoder, tb_bytes_of(big, 0), &info, &out, &fail),
                     TB_EINVAL);
    assert_int_equal(
        tb_segment_encoder_chunk(encoder, tb_bytes_of(big, 13), &info, &out, &fail), TB_EINVAL);
    assert_int_equal(tb_segment_encoder_bytes(encoder), 0);
    assert_int_equal(tb_segment_encoder_chunk(encoder, tb_buf_view(&head), &info, &out, &fail),
                     TB_OK);
    assert_int_equal(tb_segment_encoder_bytes(encoder), out.len);
    assert_int_equal(tb_segment_encoder_chunk(encoder, tb_buf_view(&head), &info, &out, &fail),
                     TB_EINVAL); /* a second section */
    assert_int_equal(
        tb_segment_encoder_chunk(encoder, tb_bytes_of(later, 16), &info, &out, &fail), TB_OK);
    assert_int_equal(
        tb_segment_encoder_chunk(encoder, tb_bytes_of(later, 16), &info, &out, &fail),
        TB_EFULL);
    assert_int_equal(tb_segment_encoder_finish(encoder, false, &out, &fail), TB_OK);
    assert_int_equal(tb_segment_encoder_finish(encoder, false, &out, &fail), TB_ESTATE);
    assert_int_equal(
        tb_segment_encoder_chunk(encoder, tb_bytes_of(later, 16), &info, &out, &fail),
        TB_ESTATE);
    tb_segment_encoder_free(encoder);
    encoder = NULL;
    assert_int_equal(tb_segment_encoder_new(0, 2, 1, &encoder, &fail), TB_EINVAL);
    assert_int_equal(tb_segment_encoder_new(17 << 20, 2, 1, &encoder, &fail), TB_EINVAL);
    assert_int_equal(tb_segment_encoder_new(4096, 0, 1, &encoder, &fail), TB_EINVAL);
    assert_int_equal(tb_segment_encoder_new(4096, 1 << 20, 1, &encoder, &fail), TB_EINVAL);
    assert_int_equal(tb_segment_encoder_new(4096, 2, 20, &encoder, &fail), TB_EINVAL);
    assert_int_equal(tb_segment_encoder_new(4096, 2, -6, &encoder, &fail), TB_EINVAL);
    assert_null(encoder);
    tb_segment_encoder_free(NULL);
    tb_segment_workspace_free(NULL);
    tb_buf_release(&head);
}

/* Both through one workspace, turn by turn; each must come out as if it were alone. */
static void
encoders_that_share_a_workspace_do_not_disturb_each_other(void **state)
{
    struct tb_segment_workspace *workspace = NULL;
    struct tb_segment_encoder *encoders[2] = {NULL, NULL};
    struct test_segment alone[2];
    struct tb_buf files[2] = {TB_BUF_INIT(PLAIN_MAX), TB_BUF_INIT(PLAIN_MAX)};
    struct tb_bytes out;

    (void)state;
    assert_int_equal(tb_segment_workspace_new(4 << 20, 3, &workspace, NULL), TB_OK);
    for (size_t e = 0; e < 2; e++) {
        test_segment_make(&alone[e], 20 + e, 4, 100, 600);
        assert_int_equal(tb_segment_encoder_new_in(workspace, 64, &encoders[e], NULL), TB_OK);
    }
    for (size_t i = 0; i < alone[0].count; i++) {
        for (size_t e = 0; e < 2; e++) {
            assert_int_equal(tb_segment_encoder_chunk(encoders[e],
                                                      tb_buf_view(&alone[e].plain[i]),
                                                      &alone[e].chunks[i].info, &out, NULL),
                             TB_OK);
            tb_buf_put_bytes(&files[e], out);
        }
    }
    for (size_t e = 0; e < 2; e++) {
        assert_int_equal(tb_segment_encoder_finish(encoders[e], false, &out, NULL), TB_OK);
        tb_buf_put_bytes(&files[e], out);
        assert_true(tb_bytes_equal(tb_buf_view(&files[e]), tb_buf_view(&alone[e].file)));
        tb_segment_encoder_free(encoders[e]);
        tb_buf_release(&files[e]);
        test_segment_release(&alone[e]);
    }
    tb_segment_workspace_free(workspace);
}

static void
times_are_put_in_order_and_left_out_without_packets(void **state)
{
    struct tb_buf head = TB_BUF_INIT(PLAIN_MAX);
    struct tb_segment_encoder *encoder = NULL;
    struct tb_segment_reader *reader = NULL;
    struct tb_buf file = TB_BUF_INIT(PLAIN_MAX);
    uint8_t later[16] = {1, 0, 0, 0x80, 16, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0};
    struct tb_chunk_info info = {.first_utc_ns = 9, .last_utc_ns = 5, .packets = 2};
    const struct tb_segment_chunk *chunk;
    struct tb_bytes out;
    int fd;

    (void)state;
    first_chunk(&head, 1, 2000, &(struct tb_chunk_info){0});
    assert_int_equal(tb_segment_encoder_new(4096, 2, 1, &encoder, NULL), TB_OK);
    assert_int_equal(tb_segment_encoder_chunk(encoder, tb_buf_view(&head), &info, &out, NULL),
                     TB_OK);
    tb_buf_put_bytes(&file, out);
    info.packets = 0;
    assert_int_equal(
        tb_segment_encoder_chunk(encoder, tb_bytes_of(later, 16), &info, &out, NULL), TB_OK);
    tb_buf_put_bytes(&file, out);
    assert_int_equal(tb_segment_encoder_finish(encoder, true, &out, NULL), TB_OK);
    tb_buf_put_bytes(&file, out);
    fd = test_file_of(tb_buf_view(&file));
    assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
    chunk = tb_segment_reader_chunk(reader, 0);
    assert_int_equal(chunk->info.first_utc_ns, 5);
    assert_int_equal(chunk->info.last_utc_ns, 9);
    chunk = tb_segment_reader_chunk(reader, 1);
    assert_int_equal(chunk->info.first_utc_ns, 0);
    assert_int_equal(chunk->info.last_utc_ns, 0);
    tb_segment_reader_free(reader);
    tb_segment_encoder_free(encoder);
    tb_buf_release(&file);
    tb_buf_release(&head);
    (void)close(fd);
}

int
main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(every_level_writes_chunks_of_every_size_in_the_memory_it_has),
        cmocka_unit_test(one_encoder_goes_through_all_its_levels_in_the_memory_it_has),
        cmocka_unit_test(the_memory_of_an_encoder_is_what_the_header_says),
        cmocka_unit_test(no_memory_at_any_point_is_an_error_that_leaks_nothing),
        cmocka_unit_test(content_of_every_kind_comes_back_as_it_was),
        cmocka_unit_test(
            literals_are_coded_where_they_gain_also_after_traffic_where_they_do_not),
        cmocka_unit_test(small_packets_come_back_and_fit_the_memory),
        cmocka_unit_test(limits_are_errors_and_the_segment_goes_on),
        cmocka_unit_test(encoders_that_share_a_workspace_do_not_disturb_each_other),
        cmocka_unit_test(times_are_put_in_order_and_left_out_without_packets),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
