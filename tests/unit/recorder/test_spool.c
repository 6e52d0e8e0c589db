/* The spool folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include <tapbox/io.h>

#include "../../../src/recorder/lane_int.h"

#define ID "cap-20260102T030405Z-00000001"
#define NAME(seq) "tap-0-" seq ".pcapng.zst"

struct rig {
    char folder[64];
    int spool_fd, capture_fd;
};

static int
setup(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    strcpy(rig->folder, "/tmp/tapbox-spool-XXXXXX");
    assert_non_null(mkdtemp(rig->folder));
    assert_int_equal(tb_open_dir(AT_FDCWD, rig->folder, 0700, &rig->spool_fd, NULL), TB_OK);
    assert_int_equal(tb_open_dir(rig->spool_fd, ID, 0700, &rig->capture_fd, NULL), TB_OK);
    *state = rig;
    return 0;
}

static int
teardown(void **state)
{
    struct rig *rig = *state;
    char command[128];

    tb_close(&rig->capture_fd);
    tb_close(&rig->spool_fd);
    (void)snprintf(command, sizeof(command), "rm -rf %.60s", rig->folder);
    assert_int_equal(system(command), 0);
    free(rig);
    return 0;
}

static void
put(struct rig *rig, const char *name, const void *content, size_t len)
{
    int fd = openat(rig->capture_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, len), len);
    tb_close(&fd);
}

static bool
is_there(struct rig *rig, const char *name)
{
    return faccessat(rig->capture_fd, name, F_OK, 0) == 0;
}

static void
names_have_one_shape(void **state)
{
    static const char *const good[] = {"tap-0-000001.pcapng.zst",
                                       "ip-10-77-2-10-7-999999.pcapng.zst",
                                       "a.b-12-1234567.pcapng.zst"};
    static const char *const bad[] = {
        "",
        ".tap-0-000001.pcapng.zst",
        "tap-0-00001.pcapng.zst",
        "tap-000001.pcapng.zst",
        "-0-000001.pcapng.zst",
        "tap-0-000001.pcapng",
        "tap-0-000001.pcapng.zst.tmp",
        "tap-x-000001.pcapng.zst",
        "tap-123-000001.pcapng.zst",
        "a/b-0-000001.pcapng.zst",
        "../tap-0-000001.pcapng.zst",
        "t p-0-000001.pcapng.zst",
        "tap-0--00001.pcapng.zst",
        "tap-0-0000000000000000001.pcapng.zst",
        ".pcapng.zst",
    };
    char longest[TB_SPOOL_NAME_SIZE + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(tb_spool_name_valid(good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(tb_spool_name_valid(bad[i]));
    }
    memset(longest, 'a', sizeof(longest));
    strcpy(longest + TB_SPOOL_NAME_SIZE - 20, "-0-000001.pcapng.zst");
    assert_false(tb_spool_name_valid(longest));
    assert_true(tb_spool_name_valid(longest + 1));
}

static void
only_sealed_segments_are_listed_in_order(void **state)
{
    struct rig *rig = *state;
    struct tb_spool_names names;

    put(rig, NAME("000002"), "", 0);
    put(rig, NAME("000001"), "", 0);
    put(rig, "." NAME("000003"), "", 0);
    put(rig, ".seq-tap-0", "", 0);
    put(rig, "notes.txt", "", 0);
    assert_int_equal(tb_spool_sealed(rig->spool_fd, ID, &names, NULL), TB_OK);
    assert_int_equal(names.count, 2);
    assert_string_equal(names.at[0], NAME("000001"));
    assert_string_equal(names.at[1], NAME("000002"));
    tb_spool_names_release(&names);

    assert_int_equal(
        tb_spool_sealed(rig->spool_fd, "cap-20260102T030405Z-00000009", &names, NULL), TB_OK);
    assert_int_equal(names.count, 0);
    assert_int_equal(tb_spool_sealed(rig->spool_fd, "../x", &names, NULL), TB_EINVAL);
    assert_int_equal(tb_spool_captures(rig->spool_fd, &names, NULL), TB_OK);
    assert_int_equal(names.count, 1);
    assert_string_equal(names.at[0], ID);
    tb_spool_names_release(&names);
}

static void
many_segments_are_listed(void **state)
{
    struct rig *rig = *state;
    struct tb_spool_names names;
    char name[TB_SPOOL_NAME_SIZE];

    for (unsigned i = 1; i <= 100; i++) {
        (void)snprintf(name, sizeof(name), "tap-0-%06u.pcapng.zst", i);
        put(rig, name, "", 0);
    }
    assert_int_equal(tb_spool_sealed(rig->spool_fd, ID, &names, NULL), TB_OK);
    assert_int_equal(names.count, 100);
    assert_string_equal(names.at[99], NAME("000100"));
    tb_spool_names_release(&names);
}

static void
nothing_but_segments_is_opened_or_removed(void **state)
{
    struct rig *rig = *state;
    int fd = -1;

    put(rig, "notes.txt", "", 0);
    assert_int_equal(symlinkat("notes.txt", rig->capture_fd, NAME("000001")), 0);
    assert_int_equal(tb_spool_open(rig->spool_fd, ID, "notes.txt", &fd, NULL), TB_EINVAL);
    assert_int_not_equal(tb_spool_open(rig->spool_fd, ID, NAME("000001"), &fd, NULL), TB_OK);
    assert_int_equal(tb_spool_open(rig->spool_fd, ID, NAME("000002"), &fd, NULL), TB_ENOTFOUND);
    assert_int_equal(tb_spool_remove(rig->spool_fd, ID, "notes.txt", NULL), TB_EINVAL);
    assert_int_equal(tb_spool_remove(rig->spool_fd, ID, NAME("000002"), NULL), TB_OK);
    assert_true(is_there(rig, "notes.txt"));
    assert_int_equal(fd, -1);
}

static void
a_capture_is_removed_when_no_segment_is_left(void **state)
{
    struct rig *rig = *state;

    put(rig, NAME("000001"), "", 0);
    put(rig, ".seq-tap-0", "2", 1);
    assert_int_not_equal(tb_spool_remove_capture(rig->spool_fd, ID, NULL), TB_OK);
    assert_true(is_there(rig, ".seq-tap-0"));
    assert_int_equal(tb_spool_remove(rig->spool_fd, ID, NAME("000001"), NULL), TB_OK);
    assert_int_equal(tb_spool_remove_capture(rig->spool_fd, ID, NULL), TB_OK);
    assert_int_equal(faccessat(rig->spool_fd, ID, F_OK, 0), -1);
    assert_int_equal(tb_spool_remove_capture(rig->spool_fd, ID, NULL), TB_OK);
}

static void
numbers_are_never_used_twice(void **state)
{
    struct rig *rig = *state;
    uint64_t seq;

    assert_int_equal(tb_spool_next_seq(rig->capture_fd, "tap", 0, &seq, NULL), TB_OK);
    assert_int_equal(seq, 1);
    put(rig, NAME("000007"), "", 0);
    put(rig, ".tap-0-000009.pcapng.zst", "", 0);
    put(rig, "tap-1-000050.pcapng.zst", "", 0);  /* of another lane */
    put(rig, "tap2-0-000060.pcapng.zst", "", 0); /* of another host */
    assert_int_equal(tb_spool_next_seq(rig->capture_fd, "tap", 0, &seq, NULL), TB_OK);
    assert_int_equal(seq, 10);
    /* All of them uploaded and removed: the hidden file remembers. */
    assert_int_equal(tb_spool_keep_seq(rig->capture_fd, "tap", 0, 12, NULL), TB_OK);
    assert_int_equal(tb_spool_next_seq(rig->capture_fd, "tap", 0, &seq, NULL), TB_OK);
    assert_int_equal(seq, 12);
    put(rig, ".seq-tap-0", "rubbish that is rather long, longer than a number", 49);
    assert_int_equal(tb_spool_next_seq(rig->capture_fd, "tap", 0, &seq, NULL), TB_OK);
    assert_int_equal(seq, 10);
}

static void
what_is_in_the_spool_is_added_up(void **state)
{
    struct rig *rig = *state;
    uint64_t bytes;

    put(rig, NAME("000001"), "12345", 5);
    put(rig, "." NAME("000002"), "123", 3);
    assert_int_equal(tb_spool_used(rig->spool_fd, &bytes, NULL), TB_OK);
    assert_int_equal(bytes, 8);
    /* what the disk did not give takes up room, too, until somebody removes it */
    assert_int_equal(tb_spool_put_aside(rig->spool_fd, ID, NAME("000001"), NULL), TB_OK);
    assert_false(is_there(rig, NAME("000001")));
    assert_int_equal(tb_spool_used(rig->spool_fd, &bytes, NULL), TB_OK);
    assert_int_equal(bytes, 8);
}

/* A segment with two chunks of one packet each, complete, into `out`. */
static void
make_segment(struct tb_buf *out, size_t *first_two, size_t *whole)
{
    struct tb_segment_encoder *encoder = NULL;
    struct tb_chunk_info info = {.packets = 0};
    uint8_t blocks[8192];
    uint8_t frame[60] = {0};
    struct tb_bytes piece;
    struct tb_pcapng_packet packet = {.captured = 60, .original = 60};
    size_t len;

    assert_int_equal(tb_segment_encoder_new(1 << 20, 16, 1, &encoder, NULL), TB_OK);
    len = tb_pcapng_put_section(blocks, sizeof(blocks),
                                &(struct tb_pcapng_section){.capture_id = ID});
    len += tb_pcapng_put_interface(blocks + len, sizeof(blocks) - len,
                                   &(struct tb_pcapng_interface){.name = "eni-1"});
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            tb_segment_encoder_chunk(encoder, tb_bytes_of(blocks, len), &info, &piece, NULL),
            TB_OK);
        tb_buf_put_bytes(out, piece);
        if (i == 1) {
            *first_two = out->len;
        }
        len = tb_pcapng_put_packet(blocks, sizeof(blocks), &packet, frame);
        info = (struct tb_chunk_info){.packets = 1, .first_utc_ns = 1, .last_utc_ns = 1};
    }
    assert_int_equal(tb_segment_encoder_finish(encoder, false, &piece, NULL), TB_OK);
    tb_buf_put_bytes(out, piece);
    *whole = out->len;
    assert_int_equal(tb_buf_check(out, "it", NULL), TB_OK);
    tb_segment_encoder_free(encoder);
}

static void
what_a_dead_recorder_left_is_repaired_or_removed(void **state)
{
    struct rig *rig = *state;
    struct tb_buf segment = TB_BUF_INIT(1 << 20);
    struct tb_segment_reader *reader = NULL;
    struct tb_segment_summary summary;
    struct tb_repair_counts counts;
    struct tb_repair *repair = NULL;
    size_t two, whole;
    int fd = -1;

    make_segment(&segment, &two, &whole);
    put(rig, ".tap-0-000001.pcapng.zst", segment.at, two + 7); /* cut in the third chunk */
    put(rig, ".tap-0-000002.pcapng.zst", segment.at, 5);       /* not even the first */
    put(rig, ".tap-0-000003.pcapng.zst", segment.at, whole);   /* only the rename was missing */
    put(rig, ".tap-0-000004.pcapng.zst", "", 0);
    put(rig, NAME("000005"), segment.at, whole);
    put(rig, ".seq-tap-0", "6", 1);
    assert_int_equal(tb_repair_new(rig->spool_fd, &repair, NULL), TB_OK);
    put(rig, ".tap-0-000006.pcapng.zst", segment.at, two); /* begun since: somebody writes it */
    tb_repair_all(repair, &counts);
    tb_repair_free(repair);
    assert_int_equal(counts.recovered, 2);
    assert_int_equal(counts.lost, 2);
    assert_int_equal(counts.unreadable, 0);
    assert_true(is_there(rig, ".tap-0-000006.pcapng.zst"));
    assert_false(is_there(rig, ".tap-0-000001.pcapng.zst"));
    assert_false(is_there(rig, ".tap-0-000002.pcapng.zst"));
    assert_false(is_there(rig, NAME("000002")));
    assert_true(is_there(rig, NAME("000003")));
    assert_true(is_there(rig, ".seq-tap-0"));

    assert_int_equal(tb_spool_open(rig->spool_fd, ID, NAME("000001"), &fd, NULL), TB_OK);
    assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
    tb_segment_reader_summary(reader, &summary);
    assert_int_equal(summary.packets, 1);
    assert_true(summary.recovered);
    tb_segment_reader_free(reader);
    tb_close(&fd);
    tb_buf_release(&segment);

    assert_int_equal(tb_repair_new(rig->spool_fd, &repair, NULL), TB_OK);
    tb_repair_all(repair, &counts);
    tb_repair_free(repair);
    assert_int_equal(counts.recovered, 1);
    assert_int_equal(counts.lost, 0);
    assert_true(is_there(rig, NAME("000006")));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        CASE(names_have_one_shape),
        CASE(only_sealed_segments_are_listed_in_order),
        CASE(many_segments_are_listed),
        CASE(nothing_but_segments_is_opened_or_removed),
        CASE(a_capture_is_removed_when_no_segment_is_left),
        CASE(numbers_are_never_used_twice),
        CASE(what_is_in_the_spool_is_added_up),
        CASE(what_a_dead_recorder_left_is_repaired_or_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
