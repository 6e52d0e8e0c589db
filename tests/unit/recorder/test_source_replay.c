/* Capture files that somebody else made, timestamps that cannot be among them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include <tapbox/io.h>

#include "../../../src/recorder/lane_int.h"

enum {
    FRAME_BYTES = 60,
    FILE_MAX_BYTES = 4096,
    WHOLE_SECONDS = 0 /* if_tsresol: 10 to the power of 0 units a second */
};

/* A pcapng file with one frame for each of `utc_s`. */
static void
make_file(const uint64_t *utc_s, size_t count, char path[64])
{
    struct tb_buf file = TB_BUF_INIT(FILE_MAX_BYTES);
    static const uint8_t frame[FRAME_BYTES];
    int fd;

    tb_buf_put_le32(&file, 0x0a0d0d0a); /* section */
    tb_buf_put_le32(&file, 28);
    tb_buf_put_le32(&file, 0x1a2b3c4d);
    tb_buf_put_le32(&file, 1); /* version 1.0 */
    tb_buf_put_le64(&file, UINT64_MAX);
    tb_buf_put_le32(&file, 28);
    tb_buf_put_le32(&file, 1); /* interface */
    tb_buf_put_le32(&file, 32);
    tb_buf_put_le32(&file, DLT_EN10MB);
    tb_buf_put_le32(&file, 65535);
    tb_buf_put_le32(&file, 1 << 16 | 9); /* if_tsresol, one octet */
    tb_buf_put_le32(&file, WHOLE_SECONDS);
    tb_buf_put_le32(&file, 0); /* no more options */
    tb_buf_put_le32(&file, 32);
    for (size_t i = 0; i < count; i++) {
        tb_buf_put_le32(&file, 6); /* packet */
        tb_buf_put_le32(&file, 32 + FRAME_BYTES);
        tb_buf_put_le32(&file, 0);
        tb_buf_put_le32(&file, (uint32_t)(utc_s[i] >> 32));
        tb_buf_put_le32(&file, (uint32_t)utc_s[i]);
        tb_buf_put_le32(&file, FRAME_BYTES);
        tb_buf_put_le32(&file, FRAME_BYTES);
        tb_buf_put_bytes(&file, tb_bytes_of(frame, sizeof(frame)));
        tb_buf_put_le32(&file, 32 + FRAME_BYTES);
    }
    strcpy(path, "/tmp/tapbox-replay-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(tb_write_all(fd, tb_buf_view(&file), NULL), TB_OK);
    tb_close(&fd);
    tb_buf_release(&file);
}

struct given {
    size_t count;
    int64_t last_utc_ns;
};

static bool
note(void *arg, int64_t utc_ns, struct tb_bytes frame)
{
    struct given *given = arg;

    assert_int_equal(frame.len, FRAME_BYTES);
    given->count++;
    given->last_utc_ns = utc_ns;
    return true;
}

/* Reads to the end, or to what stops it. */
static enum tb_err
read_file(const uint64_t *utc_s, size_t count, struct given *given, struct tb_fail *fail)
{
    struct tb_source *source = NULL;
    char path[64];
    size_t got;
    enum tb_err err;

    make_file(utc_s, count, path);
    assert_int_equal(tb_source_replay_open(path, &source, NULL), TB_OK);
    do {
        err = source->ops->read(source, 16, note, given, &got, fail);
    } while (err == TB_OK);
    tb_source_close(source);
    assert_int_equal(unlink(path), 0);
    return err;
}

static void
times_up_to_the_last_that_nanoseconds_can_tell_are_read(void **state)
{
    static const uint64_t utc_s[] = {0, 1767323045, UINT64_C(9223372030)};
    struct given given = {0};

    (void)state;
    assert_int_equal(read_file(utc_s, 3, &given, NULL), TB_ECLOSED);
    assert_int_equal(given.count, 3);
    assert_true(given.last_utc_ns == INT64_C(9223372030) * TB_NS_PER_S);
}

static void
a_time_that_nanoseconds_cannot_tell_is_refused_and_named(void **state)
{
    static const uint64_t beyond[] = {UINT64_C(9223372037), UINT64_C(1) << 40, INT64_MAX,
                                      UINT64_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
        const uint64_t utc_s[] = {1767323045, beyond[i], 1767323046};
        struct given given = {0};
        struct tb_fail fail = {.err = TB_OK};

        assert_int_equal(read_file(utc_s, 3, &given, &fail), TB_EFORMAT);
        assert_int_equal(given.count, 1); /* what was whole before it */
        assert_non_null(strstr(fail.text, "packet 2 of the capture is not of a time"));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_up_to_the_last_that_nanoseconds_can_tell_are_read),
        cmocka_unit_test(a_time_that_nanoseconds_cannot_tell_is_refused_and_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
