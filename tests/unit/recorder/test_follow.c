/* Following a capture through the spool folder while it is written, rotated and removed. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/io.h>
#include <tapbox/spool_follow.h>

#include "../../../src/recorder/lane_int.h"
#include "../../support/segments.h"

#define ID "cap-20260102T030405Z-00000001"
#define NAME(lane, seq) "tap-" lane "-00000" seq ".pcapng.zst"

struct rig {
    char folder[64];
    int spool_fd, capture_fd;
    struct test_segment made;
    struct tb_spool_follower *follower;
};

static int
setup(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    strcpy(rig->folder, "/tmp/tapbox-follow-XXXXXX");
    assert_non_null(mkdtemp(rig->folder));
    assert_int_equal(tb_open_dir(AT_FDCWD, rig->folder, 0700, &rig->spool_fd, NULL), TB_OK);
    assert_int_equal(tb_open_dir(rig->spool_fd, ID, 0700, &rig->capture_fd, NULL), TB_OK);
    test_segment_make(&rig->made, 7, 6, 20, 300);
    *state = rig;
    return 0;
}

static int
teardown(void **state)
{
    struct rig *rig = *state;
    char command[128];

    tb_spool_unfollow(rig->follower);
    tb_close(&rig->capture_fd);
    tb_close(&rig->spool_fd);
    test_segment_release(&rig->made);
    (void)snprintf(command, sizeof(command), "rm -rf %.60s", rig->folder);
    assert_int_equal(system(command), 0);
    free(rig);
    return 0;
}

/* The file has the octets of the made segment up to `end`. */
static void
write_up_to(struct rig *rig, const char *name, size_t end)
{
    int fd = openat(rig->capture_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    off_t at = lseek(fd, 0, SEEK_END);

    assert_true(fd >= 0 && at >= 0 && (size_t)at <= end);
    assert_int_equal(write(fd, rig->made.file.at + at, end - (size_t)at), end - (size_t)at);
    tb_close(&fd);
}

static size_t
chunk_end(const struct rig *rig, size_t i)
{
    return rig->made.chunks[i].offset + rig->made.chunks[i].length;
}

static void
seal_as(struct rig *rig, const char *hidden)
{
    write_up_to(rig, hidden, rig->made.file.len);
    assert_int_equal(renameat(rig->capture_fd, hidden, rig->capture_fd, hidden + 1), 0);
}

static void
follow(struct rig *rig, bool from_start)
{
    assert_int_equal(tb_spool_follow(rig->spool_fd, ID, from_start, &rig->follower, NULL),
                     TB_OK);
}

static enum tb_err
next(struct rig *rig, bool over, struct tb_spool_chunk *out)
{
    return tb_spool_follow_next(rig->follower, over, out, NULL);
}

static void
assert_next_is(struct rig *rig, const char *segment, size_t i)
{
    struct tb_spool_chunk got = {.segment = NULL};

    assert_int_equal(next(rig, false, &got), TB_OK);
    assert_string_equal(got.segment, segment);
    assert_int_equal(got.number, i);
    assert_true(tb_bytes_equal(got.blocks, tb_buf_view(&rig->made.plain[i])));
    assert_int_equal(got.chunk.offset, rig->made.chunks[i].offset);
    assert_int_equal(got.chunk.length, rig->made.chunks[i].length);
    assert_int_equal(got.chunk.info.packets, rig->made.chunks[i].info.packets);
}

static void
assert_nothing_yet(struct rig *rig)
{
    struct tb_spool_chunk got;

    assert_int_equal(next(rig, false, &got), TB_ERETRY);
}

static void
assert_that_was_all(struct rig *rig, uint64_t missed)
{
    struct tb_spool_chunk got;

    assert_int_equal(next(rig, true, &got), TB_ECLOSED);
    assert_int_equal(next(rig, true, &got), TB_ECLOSED);
    assert_int_equal(tb_spool_follow_missed(rig->follower), missed);
}

static void
each_chunk_comes_when_it_is_whole_and_not_before(void **state)
{
    struct rig *rig = *state;
    size_t before = 0;

    follow(rig, true);
    assert_nothing_yet(rig);
    for (size_t i = 0; i < rig->made.count; i++) {
        size_t end = chunk_end(rig, i);

        for (size_t at = before; at < end; at += 1 + (end - before) / 37) {
            write_up_to(rig, "." NAME("0", "1"), at);
            assert_nothing_yet(rig);
        }
        write_up_to(rig, "." NAME("0", "1"), end);
        assert_next_is(rig, NAME("0", "1"), i);
        assert_nothing_yet(rig);
        before = end;
    }
    for (size_t at = before; at < rig->made.file.len; at++) { /* the index is no chunk */
        write_up_to(rig, "." NAME("0", "1"), at);
        assert_nothing_yet(rig);
    }
    seal_as(rig, "." NAME("0", "1"));
    assert_nothing_yet(rig);
    assert_that_was_all(rig, 0);
}

static void
rotation_upload_and_removal_take_nothing_away(void **state)
{
    struct rig *rig = *state;

    write_up_to(rig, "." NAME("0", "1"), chunk_end(rig, 1));
    follow(rig, true);
    assert_next_is(rig, NAME("0", "1"), 0);
    seal_as(rig, "." NAME("0", "1"));
    write_up_to(rig, "." NAME("0", "2"), chunk_end(rig, 2));
    assert_int_equal(tb_spool_follow_look(rig->follower, NULL), TB_OK);
    assert_int_equal(tb_spool_remove(rig->spool_fd, ID, NAME("0", "1"), NULL), TB_OK);
    seal_as(rig, "." NAME("0", "2"));
    assert_int_equal(tb_spool_remove(rig->spool_fd, ID, NAME("0", "2"), NULL), TB_OK);
    assert_int_equal(tb_spool_remove_capture(rig->spool_fd, ID, NULL), TB_OK);
    for (size_t i = 1; i < rig->made.count; i++) {
        assert_next_is(rig, NAME("0", "1"), i);
    }
    for (size_t i = 0; i < rig->made.count; i++) {
        assert_next_is(rig, NAME("0", "2"), i);
    }
    assert_that_was_all(rig, 0);
}

static void
what_was_uploaded_before_it_was_seen_is_counted(void **state)
{
    struct rig *rig = *state;

    seal_as(rig, "." NAME("0", "3"));
    follow(rig, true);
    for (size_t i = 0; i < rig->made.count; i++) {
        assert_next_is(rig, NAME("0", "3"), i);
    }
    assert_int_equal(tb_spool_follow_missed(rig->follower), 2);
    assert_true(tb_spool_follow_passed(rig->follower, NAME("0", "1")));
    assert_true(tb_spool_follow_passed(rig->follower, NAME("0", "3")));
    assert_false(tb_spool_follow_passed(rig->follower, NAME("0", "4")));
    assert_false(tb_spool_follow_passed(rig->follower, NAME("1", "1")));
    seal_as(rig, "." NAME("0", "5"));
    assert_next_is(rig, NAME("0", "5"), 0);
    assert_true(tb_spool_follow_passed(rig->follower, NAME("0", "4")));
    assert_int_equal(tb_spool_follow_missed(rig->follower), 3);
}

static void
from_now_on_only_the_interfaces_of_what_was_before(void **state)
{
    struct rig *rig = *state;

    seal_as(rig, "." NAME("0", "1"));
    write_up_to(rig, "." NAME("0", "2"), chunk_end(rig, 2));
    follow(rig, false);
    assert_next_is(rig, NAME("0", "2"), 0);
    assert_nothing_yet(rig);
    write_up_to(rig, "." NAME("0", "2"), chunk_end(rig, 3));
    assert_next_is(rig, NAME("0", "2"), 3);
    /* a lane that begins later is given whole */
    write_up_to(rig, "." NAME("1", "1"), chunk_end(rig, 1));
    assert_next_is(rig, NAME("1", "1"), 0);
    assert_next_is(rig, NAME("1", "1"), 1);
    assert_nothing_yet(rig);
}

static void
lanes_are_followed_each_by_itself(void **state)
{
    struct rig *rig = *state;
    struct tb_spool_chunk got;
    size_t seen[2] = {0, 0};

    seal_as(rig, "." NAME("0", "1"));
    seal_as(rig, "." NAME("1", "1"));
    follow(rig, true);
    assert_int_equal(tb_spool_follow_look(rig->follower, NULL), TB_OK);
    assert_int_equal(tb_spool_follow_lanes(rig->follower), 2);
    while (next(rig, true, &got) == TB_OK) {
        assert_in_range(got.lane, 0, 1);
        assert_int_equal(got.number, seen[got.lane]++);
    }
    assert_int_equal(seen[0], rig->made.count);
    assert_int_equal(seen[1], rig->made.count);
    assert_int_equal(tb_spool_follow_lane(rig->follower, 2, true, &got, NULL), TB_EINVAL);
    assert_that_was_all(rig, 0);
}

static void
a_lane_that_begins_late_behind_a_recorder_that_died_misses_nothing(void **state)
{
    struct rig *rig = *state;

    seal_as(rig, "." NAME("0", "1"));
    follow(rig, true);
    for (size_t i = 0; i < rig->made.count; i++) {
        assert_next_is(rig, NAME("0", "1"), i);
    }
    seal_as(rig, ".tap-1-1795415162.pcapng.zst");
    for (size_t i = 0; i < rig->made.count; i++) {
        assert_next_is(rig, "tap-1-1795415162.pcapng.zst", i);
    }
    assert_false(tb_spool_follow_passed(rig->follower, NAME("1", "1")));
    assert_true(tb_spool_follow_passed(rig->follower, "tap-1-1795415162.pcapng.zst"));
    assert_that_was_all(rig, 0);
}

static void
a_segment_that_was_cut_off_is_followed_through_its_repair(void **state)
{
    struct rig *rig = *state;
    struct tb_repair_counts counts;
    struct tb_repair *repair = NULL;

    write_up_to(rig, "." NAME("0", "1"), chunk_end(rig, 2) + 100);
    follow(rig, true);
    for (size_t i = 0; i < 3; i++) {
        assert_next_is(rig, NAME("0", "1"), i);
    }
    assert_nothing_yet(rig);
    assert_int_equal(tb_repair_new(rig->spool_fd, &repair, NULL), TB_OK);
    tb_repair_all(repair, &counts);
    tb_repair_free(repair);
    assert_int_equal(counts.recovered, 1);
    assert_nothing_yet(rig);
    write_up_to(rig, "." NAME("0", "2"), chunk_end(rig, 0));
    assert_next_is(rig, NAME("0", "2"), 0);
    seal_as(rig, "." NAME("0", "2"));
    for (size_t i = 1; i < rig->made.count; i++) {
        assert_next_is(rig, NAME("0", "2"), i);
    }
    assert_that_was_all(rig, 0);
}

static void
one_that_nobody_could_seal_does_not_hold_up_the_next(void **state)
{
    struct rig *rig = *state;

    write_up_to(rig, "." NAME("0", "1"), chunk_end(rig, 1) + 50);
    follow(rig, true);
    assert_next_is(rig, NAME("0", "1"), 0);
    assert_next_is(rig, NAME("0", "1"), 1);
    assert_nothing_yet(rig);
    write_up_to(rig, "." NAME("0", "2"), chunk_end(rig, 0));
    assert_next_is(rig, NAME("0", "2"), 0);
    assert_int_equal(tb_spool_follow_missed(rig->follower), 1);
}

static void
a_reader_far_behind_holds_so_many_files_and_no_more(void **state)
{
    struct rig *rig = *state;
    struct tb_spool_chunk got;
    char name[TB_SPOOL_NAME_SIZE];
    size_t segments = 0;

    follow(rig, true);
    for (unsigned i = 1; i <= 2 * TB_SPOOL_FOLLOW_AHEAD; i++) {
        (void)snprintf(name, sizeof(name), ".tap-0-%06u.pcapng.zst", i);
        seal_as(rig, name);
        assert_int_equal(tb_spool_follow_look(rig->follower, NULL), TB_OK);
        assert_int_equal(tb_spool_remove(rig->spool_fd, ID, name + 1, NULL), TB_OK);
    }
    seal_as(rig, "." NAME("0", "99"));
    while (next(rig, true, &got) == TB_OK) {
        segments += got.number == 0;
    }
    assert_int_equal(segments, TB_SPOOL_FOLLOW_AHEAD + 1);
    assert_int_equal(tb_spool_follow_missed(rig->follower), 99 - segments);
}

static void
an_id_that_is_none_is_refused(void **state)
{
    struct rig *rig = *state;
    struct tb_fail fail = {0};

    assert_int_equal(tb_spool_follow(rig->spool_fd, "../etc", true, &rig->follower, &fail),
                     TB_EINVAL);
    assert_null(rig->follower);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_chunk_comes_when_it_is_whole_and_not_before, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(rotation_upload_and_removal_take_nothing_away, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_uploaded_before_it_was_seen_is_counted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(from_now_on_only_the_interfaces_of_what_was_before,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(lanes_are_followed_each_by_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_lane_that_begins_late_behind_a_recorder_that_died_misses_nothing, setup,
            teardown),
        cmocka_unit_test_setup_teardown(
            a_segment_that_was_cut_off_is_followed_through_its_repair, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_nobody_could_seal_does_not_hold_up_the_next,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_reader_far_behind_holds_so_many_files_and_no_more,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(an_id_that_is_none_is_refused, setup, teardown),
    };

    return cmocka_run_group_tests_name("follow", tests, NULL, NULL);
}
