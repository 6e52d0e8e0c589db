/* The packet path from outer frames to segment files, without a wire and mostly without
 * threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include <tapbox/io.h>

#include "../../../src/recorder/lane_int.h"
#include "packets.h"

#define ID "cap-20260102T030405Z-00000001"

enum {
    SECOND = 1000000000,
    SLAB_BYTES = 8 << 20,
    VNI = 42
};

struct rig {
    char folder[64];
    int spool_fd;
    struct tb_lane lane;
    struct tb_armed *armed;
    struct tb_table *table;
    struct tb_record_spec spec;
};

static int
setup(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct tb_record_spec *spec = &rig->spec;
    static const uint8_t outer[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 77, 0, 1};
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};

    strcpy(rig->folder, "/tmp/tapbox-lane-XXXXXX");
    assert_non_null(mkdtemp(rig->folder));
    assert_int_equal(tb_open_dir(AT_FDCWD, rig->folder, 0700, &rig->spool_fd, NULL), TB_OK);
    strcpy(spec->capture_id, ID);
    strcpy(spec->host, "tap");
    spec->deadline_boot_ns = INT64_MAX;
    spec->rotate_bytes = 128 << 20;
    spec->rotate_s = 60;
    spec->source_count = 2;
    for (uint32_t i = 0; i < 2; i++) {
        memcpy(spec->sources[i].outer, outer, sizeof(outer));
        memcpy(spec->sources[i].mac, mac, sizeof(mac));
        spec->sources[i].vni = VNI + i;
        (void)snprintf(spec->sources[i].eni, TB_AWS_ID_SIZE, "eni-%u", i);
    }
    *state = rig;
    return 0;
}

static int level = 1; /* of the lane's compression */

/* After the spec is as the case wants it. */
static void
arm(struct rig *rig)
{
    struct tb_room room = {.spool_fd = rig->spool_fd, .level = level};

    assert_int_equal(tb_lane_init(&rig->lane, 0, 4789, NULL, SLAB_BYTES, &room, NULL), TB_OK);
    assert_int_equal(tb_armed_new(&rig->spec, rig->spec.sources, rig->spec.source_count,
                                  &rig->lane.workspace, 1, &rig->armed, NULL),
                     TB_OK);
    assert_int_equal(tb_table_new(&rig->armed, 1, &rig->table, NULL), TB_OK);
    assert_int_equal(tb_lanes_adopt(&rig->lane, 1, rig->table, NULL), TB_OK);
}

static int
teardown(void **state)
{
    struct rig *rig = *state;
    char command[256];

    tb_table_free(rig->table);
    tb_armed_free(rig->armed);
    tb_lane_release(&rig->lane);
    tb_close(&rig->spool_fd);
    (void)snprintf(command, sizeof(command), "chmod -R u+rwx %s; rm -rf %s", rig->folder,
                   rig->folder);
    assert_int_equal(system(command), 0);
    free(rig);
    return 0;
}

static void
mirror(struct rig *rig, uint32_t vni, size_t inner, int64_t utc_ns)
{
    struct packet p;

    make_mirrored(&p, vni, inner);
    tb_lane_packet(&rig->lane, utc_ns, view(&p));
}

/* What the writer thread would do. */
static void
write_all(struct rig *rig)
{
    struct tb_handover what;
    size_t behind;

    while (tb_handover_pop(&rig->lane.queue, 0, &what, &behind) == TB_OK) {
        tb_writer_take(&rig->lane, what);
    }
}

static void
finish(struct rig *rig)
{
    tb_lane_look(&rig->lane, tb_clock_boot_ns(), true);
    write_all(rig);
    assert_true(tb_armed_is_closed(rig->armed));
}

static struct tb_ledger
capture_ledger(const struct rig *rig)
{
    struct tb_record_status status;

    tb_armed_status(rig->armed, &status);
    return status.ledger;
}

static struct tb_ledger
host_ledger(const struct rig *rig)
{
    struct tb_ledger host;
    struct tb_ledger capture = capture_ledger(rig);

    tb_counters_read(rig->lane.counters, &host);
    tb_host_add_capture(&host, &capture, &rig->spec.base.ledger);
    return host;
}

static void
expect_balanced(const struct rig *rig)
{
    struct tb_ledger host = host_ledger(rig);
    struct tb_ledger capture = capture_ledger(rig);

    assert_int_equal(tb_ledger_residual(&host), 0);
    assert_int_equal(tb_ledger_residual(&capture), 0);
}

/* Every packet block in a segment, counted; the last one is given. */
static size_t
read_segment(struct rig *rig, const char *name, struct tb_pcapng_packet *last,
             struct tb_segment_summary *summary)
{
    struct tb_segment_reader *reader = NULL;
    struct tb_buf blocks = TB_BUF_INIT(64 << 20);
    size_t packets = 0;
    int fd = -1;

    assert_int_equal(tb_spool_open(rig->spool_fd, ID, name, &fd, NULL), TB_OK);
    assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
    tb_segment_reader_summary(reader, summary);
    for (size_t i = 0; i < summary->chunk_count; i++) {
        struct tb_pcapng_block block;
        struct tb_bytes rest, frame;

        tb_buf_reset(&blocks);
        assert_int_equal(tb_segment_reader_read(reader, i, &blocks, NULL), TB_OK);
        rest = tb_buf_view(&blocks);
        while (rest.len > 0) {
            assert_int_equal(tb_pcapng_next(&rest, &block), TB_OK);
            if (block.type == TB_PCAPNG_EPB) {
                assert_int_equal(tb_pcapng_get_packet(&block, last, &frame), TB_OK);
                packets++;
            }
        }
    }
    tb_segment_reader_free(reader);
    tb_buf_release(&blocks);
    tb_close(&fd);
    return packets;
}

static size_t
sealed(struct rig *rig)
{
    struct tb_spool_names names;
    size_t count;

    assert_int_equal(tb_spool_sealed(rig->spool_fd, ID, &names, NULL), TB_OK);
    count = names.count;
    tb_spool_names_release(&names);
    return count;
}

static void
packets_of_a_known_pair_are_written_and_all_others_counted(void **state)
{
    struct rig *rig = *state;
    struct tb_pcapng_packet last;
    struct tb_segment_summary summary;
    struct tb_ledger host;
    struct packet p;

    arm(rig);
    for (int i = 0; i < 100; i++) {
        mirror(rig, VNI + (i & 1), 100, (int64_t)i * SECOND);
    }
    mirror(rig, 7, 100, 0); /* a VNI nobody asked for */
    make_mirrored(&p, VNI, 100);
    p.at[29] = 9; /* a sender nobody asked for */
    tb_lane_packet(&rig->lane, 0, view(&p));
    make_mirrored(&p, VNI, 100);
    p.at[20] = 0x20; /* a fragment */
    tb_lane_packet(&rig->lane, 0, view(&p));
    make_mirrored(&p, VNI, 100);
    p.at[36] = 0; /* another port */
    tb_lane_packet(&rig->lane, 0, view(&p));
    p.len = 13;
    tb_lane_packet(&rig->lane, 0, view(&p));
    finish(rig);

    host = host_ledger(rig);
    assert_int_equal(host.received, 105);
    assert_int_equal(host.written, 100);
    assert_int_equal(host.unknown_vni, 2);
    assert_int_equal(host.fragments, 1);
    assert_int_equal(host.not_vxlan, 1);
    assert_int_equal(host.malformed, 1);
    expect_balanced(rig);
    assert_int_equal(read_segment(rig, "tap-0-000001.pcapng.zst", &last, &summary), 100);
    assert_int_equal(last.interface, 1);
    assert_int_equal(last.utc_ns, INT64_C(99) * SECOND);
    assert_int_equal(last.captured, 100);
    assert_int_equal(summary.packets, 100);
    assert_int_equal(summary.first_utc_ns, 0);
    assert_int_equal(tb_ledger_residual(&summary.ledger), 0);
    assert_int_equal(summary.ledger.written, 100);
    assert_int_equal(summary.ledger.written_bytes, 10000);
}

static void
after_the_deadline_nothing_is_taken(void **state)
{
    struct rig *rig = *state;
    int64_t now = tb_clock_boot_ns();

    rig->spec.deadline_boot_ns = now + SECOND;
    arm(rig);
    mirror(rig, VNI, 100, now);
    tb_lane_look(&rig->lane, now, false);
    mirror(rig, VNI, 100, now + SECOND - 1);
    tb_lane_look(&rig->lane, now + SECOND, false);
    mirror(rig, VNI, 100, now + SECOND);                 /* before the lane has stopped it */
    mirror(rig, VNI, 100, now + SECOND - 1);             /* it waited in the ring */
    mirror(rig, VNI, 100, now + INT64_C(3600) * SECOND); /* says nothing: the clock was set */
    tb_lane_look(&rig->lane, now + INT64_C(3) * SECOND - 1, false);
    assert_false(tb_armed_is_closed(rig->armed));
    tb_lane_look(&rig->lane, now + INT64_C(3) * SECOND, false); /* nobody said all was read */
    mirror(rig, VNI, 100, now + SECOND - 1);
    write_all(rig);
    assert_true(tb_armed_is_closed(rig->armed));
    assert_int_equal(capture_ledger(rig).written, 4);
    assert_int_equal(host_ledger(rig).not_armed, 2);
    assert_int_equal(sealed(rig), 1);
    expect_balanced(rig);
}

static void
a_lane_that_stood_still_in_the_middle_of_reading_sees_the_deadline(void **state)
{
    struct rig *rig = *state;
    int64_t now = tb_clock_boot_ns();

    rig->spec.deadline_boot_ns = now - INT64_C(2) * SECOND;
    arm(rig);
    tb_lane_look(&rig->lane, now - INT64_C(5) * SECOND, false); /* so long ago it began */
    mirror(rig, VNI, 100, now - INT64_C(2) * SECOND - 1);
    mirror(rig, VNI, 100, now - 1);
    finish(rig);
    assert_int_equal(capture_ledger(rig).written, 1);
    assert_int_equal(host_ledger(rig).not_armed, 1);
    expect_balanced(rig);
}

static void
the_budget_ends_it_and_is_told(void **state)
{
    struct rig *rig = *state;
    struct tb_record_status status;

    rig->spec.max_bytes = 250;
    arm(rig);
    for (int i = 0; i < 5; i++) {
        mirror(rig, VNI, 100, i);
    }
    finish(rig);
    tb_armed_status(rig->armed, &status);
    assert_int_equal(status.budget_spent, TB_BUDGET_BYTES);
    assert_int_equal(status.ledger.written, 2);
    assert_int_equal(status.ledger.over_budget, 3);
    expect_balanced(rig);
}

static void
the_last_packet_of_a_budget_is_written_and_ends_it(void **state)
{
    static const struct {
        uint64_t packets, bytes;
        int sent;
        enum tb_record_budget spent;
        uint64_t written;
    } cases[] = {
        {3, 0, 2, TB_BUDGET_NONE, 2},          {3, 0, 3, TB_BUDGET_PACKETS, 3},
        {3, 0, 5, TB_BUDGET_PACKETS, 3},       {1, 0, 5, TB_BUDGET_PACKETS, 1},
        {3, 300, 5, TB_BUDGET_PACKETS, 3},     {3, 299, 5, TB_BUDGET_BYTES, 2},
        {UINT64_MAX, 0, 5, TB_BUDGET_NONE, 5},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_record_status status;
        struct rig *rig;

        assert_int_equal(teardown(state), 0);
        assert_int_equal(setup(state), 0);
        rig = *state;
        rig->spec.max_packets = cases[i].packets;
        rig->spec.max_bytes = cases[i].bytes;
        arm(rig);
        for (int k = 0; k < cases[i].sent; k++) {
            mirror(rig, VNI + (k & 1), 100, k);
        }
        finish(rig);
        tb_armed_status(rig->armed, &status);
        assert_int_equal(status.budget_spent, cases[i].spent);
        assert_int_equal(status.ledger.written, cases[i].written);
        assert_int_equal(status.ledger.over_budget, (uint64_t)cases[i].sent - cases[i].written);
        expect_balanced(rig);
    }
}

static void
a_dead_recorders_packets_count_to_the_budget(void **state)
{
    struct rig *rig = *state;
    struct tb_record_status status;

    rig->spec.max_packets = 10;
    rig->spec.base = (struct tb_record_base){
        .known_utc_ns = 77, .ledger = {.received = 9, .written = 8, .written_bytes = 800}};
    arm(rig);
    tb_armed_status(rig->armed, &status);
    assert_int_equal(status.budget_spent, TB_BUDGET_NONE);
    for (int i = 0; i < 5; i++) {
        mirror(rig, VNI, 100, 100 + i);
    }
    finish(rig);
    tb_armed_status(rig->armed, &status);
    assert_int_equal(status.budget_spent, TB_BUDGET_PACKETS);
    assert_int_equal(status.ledger.written, 10);
    assert_int_equal(status.ledger.queue_dropped, 1);
    assert_int_equal(status.ledger.over_budget, 3);
    assert_int_equal(tb_ledger_residual(&status.ledger), 0);
}

static void
a_budget_that_a_dead_recorder_used_up_is_told_before_any_packet(void **state)
{
    struct rig *rig = *state;
    struct tb_record_status status;

    rig->spec.max_packets = 10;
    rig->spec.base = (struct tb_record_base){
        .known_utc_ns = 77, .ledger = {.received = 10, .written = 10, .written_bytes = 1000}};
    arm(rig);
    tb_armed_status(rig->armed, &status);
    assert_int_equal(status.budget_spent, TB_BUDGET_PACKETS);
    mirror(rig, VNI, 100, 100);
    finish(rig);
    tb_armed_status(rig->armed, &status);
    assert_int_equal(status.ledger.written, 10);
    assert_int_equal(status.ledger.over_budget, 1);
}

static void
a_capture_goes_on_with_the_ledger_of_a_dead_recorder(void **state)
{
    struct rig *rig = *state;
    struct tb_record_status status;
    struct tb_pcapng_packet last;
    struct tb_segment_summary summary;

    rig->spec.max_bytes = 1200;
    rig->spec.base = (struct tb_record_base){
        .known_utc_ns = 77,
        .first_utc_ns = 5,
        .last_utc_ns = 6,
        .ledger = {.received = 13, .written = 10, .filtered = 1, .written_bytes = 1000},
    };
    arm(rig);
    for (int i = 0; i < 3; i++) {
        mirror(rig, VNI, 100, 100 + i);
    }
    finish(rig);
    tb_armed_status(rig->armed, &status);
    assert_int_equal(status.ledger.received, 16);
    assert_int_equal(status.ledger.written, 12);
    assert_int_equal(status.ledger.queue_dropped, 2); /* what died with the other one */
    assert_int_equal(status.ledger.over_budget, 1);
    assert_int_equal(status.first_utc_ns, 5);
    assert_int_equal(status.last_utc_ns, 101);
    assert_int_equal(status.gap_from_utc_ns, 77);
    assert_true(status.gap_to_utc_ns > 77);
    assert_int_equal(tb_ledger_residual(&status.ledger), 0);
    assert_int_equal(read_segment(rig, "tap-0-000001.pcapng.zst", &last, &summary), 2);
    assert_int_equal(summary.ledger.written, 12);
    assert_int_equal(tb_ledger_residual(&summary.ledger), 0);
}

static void
where_its_folder_was_lost_no_number_is_used_again(void **state)
{
    struct rig *rig = *state;
    struct tb_pcapng_packet last;
    struct tb_segment_summary summary;

    rig->spec.base = (struct tb_record_base){.known_utc_ns = INT64_C(1795415161) * SECOND,
                                             .ledger = {.received = 10, .written = 10}};
    arm(rig);
    mirror(rig, VNI, 100, 100);
    finish(rig);
    assert_int_equal(read_segment(rig, "tap-0-1795415162.pcapng.zst", &last, &summary), 1);
}

static void
the_snaplen_cuts_and_the_true_length_stays(void **state)
{
    struct rig *rig = *state;
    struct tb_pcapng_packet last;
    struct tb_segment_summary summary;

    rig->spec.snaplen = 64;
    arm(rig);
    mirror(rig, VNI, 60, 1);
    mirror(rig, VNI, 900, 2);
    finish(rig);
    assert_int_equal(capture_ledger(rig).truncated, 1);
    assert_int_equal(capture_ledger(rig).written_bytes, 124);
    assert_int_equal(read_segment(rig, "tap-0-000001.pcapng.zst", &last, &summary), 2);
    assert_int_equal(last.captured, 64);
    assert_int_equal(last.original, 900);
}

static void
what_whoever_captured_cut_off_counts_to_the_true_length(void **state)
{
    struct rig *rig = *state;
    struct tb_pcapng_packet last;
    struct tb_segment_summary summary;
    struct packet p;

    arm(rig);
    make_mirrored(&p, VNI, 900); /* it is not IP: nothing inside says how long it was */
    p.len = 128;
    tb_lane_packet(&rig->lane, 1, view(&p));
    finish(rig);
    assert_int_equal(capture_ledger(rig).truncated, 1);
    assert_int_equal(read_segment(rig, "tap-0-000001.pcapng.zst", &last, &summary), 1);
    assert_int_equal(last.captured, 128 - 50);
    assert_int_equal(last.original, 900);
}

static void
the_filter_sees_the_inner_frame(void **state)
{
    static const struct tb_bpf_insn longer_than_100[] = {
        {BPF_LD | BPF_W | BPF_LEN, 0, 0, 0},
        {BPF_JMP | BPF_JGT | BPF_K, 0, 1, 100},
        {BPF_RET | BPF_K, 0, 0, 65535},
        {BPF_RET | BPF_K, 0, 0, 0},
    };
    struct rig *rig = *state;

    rig->spec.bpf = longer_than_100;
    rig->spec.bpf_count = 4;
    arm(rig);
    mirror(rig, VNI, 100, 1);
    mirror(rig, VNI, 101, 2);
    finish(rig);
    assert_int_equal(capture_ledger(rig).written, 1);
    assert_int_equal(capture_ledger(rig).filtered, 1);
    expect_balanced(rig);
}

static void
a_filter_that_would_run_wild_is_refused(void **state)
{
    static const struct tb_bpf_insn wild[] = {{BPF_JMP | BPF_JA, 0, 0, 1000}};
    struct rig *rig = *state;
    struct tb_armed *armed = NULL;

    arm(rig);
    rig->spec.bpf = wild;
    rig->spec.bpf_count = 1;
    assert_int_equal(
        tb_armed_new(&rig->spec, rig->spec.sources, 1, &rig->lane.workspace, 1, &armed, NULL),
        TB_EINVAL);
    finish(rig);
}

static void
without_a_slab_a_packet_is_held_and_comes_before_the_next(void **state)
{
    struct rig *rig = *state;
    struct tb_slab *taken[64];
    struct packet p;
    struct tb_record_status status;
    size_t count = 0;

    rig->spec.max_bytes = 250; /* (it is charged once, however often it is tried) */
    arm(rig);
    rig->lane.lane.may_hold = true;
    while ((taken[count] = tb_slab_take(&rig->lane.pool, true, false)) != NULL) {
        count++;
    }
    make_mirrored(&p, VNI, 100);
    assert_false(tb_lane_packet(&rig->lane, 1, view(&p)));
    memset(p.at, 0, sizeof(p.at)); /* the ring has the memory back */
    assert_int_equal(host_ledger(rig).received, 1);
    assert_false(tb_lane_take_held(&rig->lane));
    tb_lane_wait_for_slab(&rig->lane);
    assert_false(tb_lane_take_held(&rig->lane));
    tb_slab_give_back(&rig->lane.pool, taken[--count]);
    tb_lane_wait_for_slab(&rig->lane);
    assert_true(tb_lane_take_held(&rig->lane));
    assert_true(tb_lane_take_held(&rig->lane));
    make_mirrored(&p, VNI, 100);
    assert_true(tb_lane_packet(&rig->lane, 2, view(&p)));
    finish(rig);
    tb_armed_status(rig->armed, &status);
    assert_int_equal(status.ledger.received, 2);
    assert_int_equal(status.ledger.written, 2);
    assert_int_equal(status.first_utc_ns, 1);
    expect_balanced(rig);
    while (count > 0) {
        tb_slab_give_back(&rig->lane.pool, taken[--count]);
    }
}

static void
a_disk_that_hangs_keeps_no_capture_from_its_end(void **state)
{
    struct rig *rig = *state;
    struct tb_lane *lane = &rig->lane;
    struct tb_slab *taken[64];
    int64_t now = tb_clock_boot_ns();
    struct packet p;
    size_t count = 0;

    rig->spec.deadline_boot_ns = now + SECOND;
    arm(rig);
    lane->lane.may_hold = true;
    tb_lane_look(lane, now, false);
    while ((taken[count] = tb_slab_take(&lane->pool, true, false)) != NULL) {
        count++;
    }
    make_mirrored(&p, VNI, 100);
    assert_false(tb_lane_packet(lane, now, view(&p)));
    tb_lane_look(lane, now + INT64_C(10) * SECOND - 1, false);
    assert_true(tb_lane_may_hold(lane));
    tb_lane_look(lane, now + INT64_C(10) * SECOND, false); /* no slab for ten seconds */
    assert_false(lane->lane.may_hold = tb_lane_may_hold(lane));
    assert_true(tb_lane_take_held(lane));
    assert_true(tb_lane_packet(lane, now + 1, view(&p))); /* what was in the ring behind it */
    assert_false(tb_lane_may_hold(lane));                 /* until a slab comes back */
    tb_slab_give_back(&lane->pool, taken[--count]);
    assert_true(tb_lane_may_hold(lane));
    taken[count++] = tb_slab_take(&lane->pool, true, false);
    tb_lane_look(lane, now + INT64_C(12) * SECOND, false);
    assert_true(tb_lane_may_hold(lane)); /* nobody waits for his end any more */
    write_all(rig);
    assert_true(tb_armed_is_closed(rig->armed));
    assert_int_equal(capture_ledger(rig).queue_dropped, 2);
    expect_balanced(rig);
    while (count > 0) {
        tb_slab_give_back(&lane->pool, taken[--count]);
    }
}

static void
what_needs_no_slab_is_not_held(void **state)
{
    struct rig *rig = *state;
    struct tb_slab *taken[64];
    struct packet p;
    size_t count = 0;

    arm(rig);
    rig->lane.lane.may_hold = true;
    while ((taken[count] = tb_slab_take(&rig->lane.pool, true, false)) != NULL) {
        count++;
    }
    make_mirrored(&p, VNI + 2, 100);
    assert_true(tb_lane_packet(&rig->lane, 1, view(&p)));
    finish(rig);
    assert_int_equal(host_ledger(rig).unknown_vni, 1);
    while (count > 0) {
        tb_slab_give_back(&rig->lane.pool, taken[--count]);
    }
}

static void
when_every_slab_is_open_they_are_handed_over(void **state)
{
    struct rig *rig = *state;
    struct tb_slab *taken[64];
    struct tb_handover what;
    size_t count = 0;
    size_t behind;

    arm(rig);
    mirror(rig, VNI, 100, 1);
    while ((taken[count] = tb_slab_take(&rig->lane.pool, true, false)) != NULL) {
        count++;
    }
    tb_lane_wait_for_slab(&rig->lane); /* the writer has the others: they come back */
    assert_int_equal(tb_handover_pop(&rig->lane.queue, 0, &what, &behind), TB_ETIMEOUT);
    rig->lane.lane.open_slabs += count; /* as if other captures filled them */
    tb_lane_wait_for_slab(&rig->lane);
    rig->lane.lane.open_slabs -= count;
    assert_int_equal(rig->lane.lane.open_slabs, 0);
    write_all(rig);
    assert_int_equal(capture_ledger(rig).written, 1);
    finish(rig);
    while (count > 0) {
        tb_slab_give_back(&rig->lane.pool, taken[--count]);
    }
}

static void
without_a_slab_packets_are_counted_and_the_next_one_says_how_many(void **state)
{
    struct rig *rig = *state;
    struct tb_slab *taken[64];
    struct tb_handover what;
    size_t count = 0;
    size_t behind;

    arm(rig);
    while ((taken[count] = tb_slab_take(&rig->lane.pool, true, false)) != NULL) {
        count++;
    }
    for (int i = 0; i < 3; i++) {
        mirror(rig, VNI, 100, i);
    }
    mirror(rig, VNI + 1, 100, 3);
    tb_slab_give_back(&rig->lane.pool, taken[--count]);
    mirror(rig, VNI, 100, 4);
    mirror(rig, VNI, 100, 5);
    tb_lane_look(&rig->lane, tb_clock_boot_ns(), true);
    assert_int_equal(tb_handover_pop(&rig->lane.queue, 0, &what, &behind), TB_OK);
    /* epb_dropcount (option 4, 8 octets) of the first: 3, and none of the second */
    assert_int_equal(what.slab->info.packets, 2);
    assert_int_equal(what.slab->len,
                     tb_pcapng_packet_size(100, 3) + tb_pcapng_packet_size(100, 0));
    tb_writer_take(&rig->lane, what);
    write_all(rig);
    assert_int_equal(capture_ledger(rig).queue_dropped, 4);
    assert_int_equal(capture_ledger(rig).written, 2);
    expect_balanced(rig);
    while (count > 0) {
        tb_slab_give_back(&rig->lane.pool, taken[--count]);
    }
}

static void
a_chunk_is_put_down_when_it_is_a_second_old(void **state)
{
    struct rig *rig = *state;
    struct tb_handover what;
    size_t behind;
    int64_t now = tb_clock_boot_ns();

    arm(rig);
    tb_lane_look(&rig->lane, now, false);
    mirror(rig, VNI, 100, 1);
    tb_lane_look(&rig->lane, now + SECOND / 2, false);
    assert_int_equal(tb_handover_pop(&rig->lane.queue, 0, &what, &behind), TB_ETIMEOUT);
    tb_lane_look(&rig->lane, now + SECOND, false);
    assert_int_equal(tb_handover_pop(&rig->lane.queue, 0, &what, &behind), TB_OK);
    tb_writer_take(&rig->lane, what);
    finish(rig);
    assert_int_equal(sealed(rig), 1);
}

static void
segments_rotate_by_size_and_their_numbers_go_on(void **state)
{
    struct rig *rig = *state;
    struct tb_record_status status;

    rig->spec.rotate_bytes = 2000;
    arm(rig);
    for (int i = 0; i < 20; i++) {
        mirror(rig, VNI, 1000, i);
        tb_lane_look(&rig->lane, tb_clock_boot_ns() + (i + 1) * INT64_C(2000000000), false);
        write_all(rig);
    }
    finish(rig);
    tb_armed_status(rig->armed, &status);
    assert_true(status.segments > 3);
    assert_int_equal(sealed(rig), status.segments);
    expect_balanced(rig);
}

static void
the_first_segments_are_short(void **state)
{
    static const int64_t ages_s[] = {5, 10, 30, 60, 60};
    struct rig *rig = *state;
    int64_t now = tb_clock_boot_ns();

    arm(rig);
    for (size_t i = 0; i < sizeof(ages_s) / sizeof(ages_s[0]); i++) {
        mirror(rig, VNI, 100, (int64_t)i);
        tb_lane_look(&rig->lane, tb_clock_boot_ns() + (int64_t)(i + 1) * 2 * SECOND, false);
        write_all(rig);
        now = tb_clock_boot_ns();
        tb_writer_tick(&rig->lane, now + ages_s[i] * SECOND - SECOND);
        assert_int_equal(sealed(rig), i);
        tb_writer_tick(&rig->lane, now + ages_s[i] * SECOND);
        assert_int_equal(sealed(rig), i + 1);
    }
    finish(rig);
}

static void
without_an_interval_segments_rotate_by_size_only(void **state)
{
    struct rig *rig = *state;

    rig->spec.rotate_s = 0;
    arm(rig);
    for (int64_t i = 1; i <= 4; i++) {
        mirror(rig, VNI, 100, i);
        tb_lane_look(&rig->lane, tb_clock_boot_ns() + i * 2 * SECOND, false);
        write_all(rig);
        tb_writer_tick(&rig->lane, tb_clock_boot_ns() + i * 24 * 3600 * SECOND);
        assert_int_equal(sealed(rig), 0);
    }
    finish(rig);
    assert_int_equal(sealed(rig), 1);
}

/* One chunk after the other with so many octets of the pool still waiting. */
static int
level_with(struct rig *rig, size_t behind)
{
    struct tb_handover what;
    size_t ignored;

    mirror(rig, VNI, 100, 1);
    tb_lane_look(&rig->lane, rig->lane.lane.now_boot_ns + INT64_C(2) * SECOND, false);
    assert_int_equal(tb_handover_pop(&rig->lane.queue, 0, &what, &ignored), TB_OK);
    tb_writer_choose_level(&rig->lane, what.slab->stream, behind);
    tb_writer_take(&rig->lane, what);
    return atomic_load(&rig->armed->shared->lanes[0].level);
}

static void
compression_falls_with_the_queue_and_rises_step_by_step(void **state)
{
    struct rig *rig = *state;
    struct tb_record_status status;
    struct tb_segment_summary summary;
    struct tb_segment_reader *reader = NULL;
    size_t all;
    int fd = -1;

    level = 3;
    arm(rig);
    level = 1;
    all = rig->lane.pool.memory_bytes;
    assert_int_equal(level_with(rig, 0), 3);
    assert_int_equal(level_with(rig, all / 8), 1);
    assert_int_equal(level_with(rig, all / 4), -1);
    assert_int_equal(level_with(rig, all), -5);
    assert_int_equal(level_with(rig, 0), -5); /* not at once */
    for (int step = 0; step < 4; step++) {
        static const int rising[] = {-3, -1, 1, 3};

        rig->lane.writer.level_boot_ns -= 2 * INT64_C(1000000000);
        assert_int_equal(level_with(rig, 0), rising[step]);
    }
    rig->lane.wait_for_slabs = true; /* a replayed file waits: no reason to fall */
    assert_int_equal(level_with(rig, all), 3);
    tb_lane_look(&rig->lane, rig->lane.lane.now_boot_ns, true);
    write_all(rig);
    tb_armed_status(rig->armed, &status);
    assert_int_equal(status.state, TB_RECORD_CLOSED);
    assert_int_equal(status.level, 3);
    assert_int_equal(status.level_changes, 7);
    assert_int_equal(tb_spool_open(rig->spool_fd, ID, "tap-0-000001.pcapng.zst", &fd, NULL),
                     TB_OK);
    assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
    tb_segment_reader_summary(reader, &summary);
    assert_int_equal(summary.chunk_count, 12);
    for (size_t i = 1; i < 10; i++) {
        static const int32_t levels[] = {0, 3, 1, -1, -5, -5, -3, -1, 1, 3};

        assert_int_equal(tb_segment_reader_chunk(reader, i)->info.level, levels[i]);
    }
    tb_segment_reader_free(reader);
    tb_close(&fd);
}

static void
a_full_spool_is_counted_and_recording_goes_on_when_there_is_room(void **state)
{
    struct rig *rig = *state;

    arm(rig);
    rig->lane.writer.room.limit_bytes = 1; /* less than any segment */
    rig->lane.writer.spool_used = 1;
    rig->lane.writer.looked_boot_ns = tb_clock_boot_ns();
    mirror(rig, VNI, 100, 1);
    tb_lane_look(&rig->lane, tb_clock_boot_ns() + INT64_C(2) * SECOND, false);
    write_all(rig);
    assert_int_equal(capture_ledger(rig).spool_full, 1);
    rig->lane.writer.room.limit_bytes = 0;
    mirror(rig, VNI, 100, 2);
    finish(rig);
    assert_int_equal(capture_ledger(rig).written, 1);
    expect_balanced(rig);
}

static void
a_spool_that_cannot_be_written_does_not_end_it(void **state)
{
    struct rig *rig = *state;

    arm(rig);
    assert_int_equal(rmdir(rig->folder), 0); /* gone, though its descriptor is still there */
    mirror(rig, VNI, 100, 1);
    finish(rig);
    assert_int_equal(capture_ledger(rig).spool_full, 1);
    assert_int_equal(capture_ledger(rig).written, 0);
    expect_balanced(rig);
    assert_int_equal(mkdir(rig->folder, 0700), 0);
}

/* One packet in a chunk of its own. */
static void
mirror_chunk(struct rig *rig, int64_t utc_ns)
{
    mirror(rig, VNI, 100, utc_ns);
    tb_lane_look(&rig->lane, rig->lane.lane.now_boot_ns + INT64_C(2) * SECOND, false);
    write_all(rig);
}

static void
a_segment_that_cannot_be_begun_takes_no_number(void **state)
{
    struct rig *rig = *state;
    struct rlimit all, few;
    struct tb_pcapng_packet last;
    struct tb_segment_summary summary;

    arm(rig);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
    few = (struct rlimit){100, all.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &few), 0); /* as on a full disk: nothing fits */
    for (int i = 0; i < 3; i++) {
        mirror_chunk(rig, i);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
    mirror_chunk(rig, 3);
    tb_writer_tick(&rig->lane, tb_clock_boot_ns() + INT64_C(5) * SECOND);
    assert_int_equal(sealed(rig), 1); /* the first, so it is short */
    finish(rig);
    assert_int_equal(capture_ledger(rig).spool_full, 3);
    assert_int_equal(capture_ledger(rig).written, 1);
    assert_int_equal(read_segment(rig, "tap-0-000001.pcapng.zst", &last, &summary), 1);
    expect_balanced(rig);
}

static void
what_a_repair_cuts_off_is_not_written_any_more(void **state)
{
    struct rig *rig = *state;
    struct tb_segfile *file;
    struct tb_pcapng_packet last;
    struct tb_segment_summary summary;

    arm(rig);
    file = &rig->armed->streams[0].writer.file;
    for (int i = 0; i < 3; i++) {
        mirror_chunk(rig, i);
    }
    assert_int_equal(capture_ledger(rig).written, 3);
    /* the disk has lost the end of it, and the next write fails */
    assert_int_equal(ftruncate(file->fd, (off_t)file->good_bytes - 10), 0);
    file->state = TB_SEGFILE_BROKEN;
    mirror_chunk(rig, 3);
    finish(rig);
    assert_int_equal(read_segment(rig, "tap-0-000001.pcapng.zst", &last, &summary), 2);
    assert_int_equal(summary.ledger.written, 2);
    assert_int_equal(capture_ledger(rig).written, 3);
    assert_int_equal(capture_ledger(rig).written_bytes, 300);
    assert_int_equal(capture_ledger(rig).spool_full, 1);
    expect_balanced(rig);
}

static void
a_pair_belongs_to_one_capture_until_that_has_ended(void **state)
{
    struct rig *rig = *state;
    struct tb_armed *both[2];
    struct tb_table *table = NULL;

    arm(rig);
    both[0] = rig->armed;
    assert_int_equal(
        tb_armed_new(&rig->spec, rig->spec.sources, 2, &rig->lane.workspace, 1, &both[1], NULL),
        TB_OK);
    assert_int_equal(tb_table_new(both, 2, &table, NULL), TB_EEXIST);
    finish(rig);
    assert_int_equal(tb_table_new(both, 2, &table, NULL), TB_OK);
    assert_ptr_equal(tb_table_find(table, rig->spec.sources[0].outer, VNI)->armed, both[1]);
    tb_table_free(table);
    both[0] = both[1];
    both[1] = rig->armed;
    assert_int_equal(tb_table_new(both, 2, &table, NULL), TB_OK);
    assert_ptr_equal(tb_table_find(table, rig->spec.sources[0].outer, VNI)->armed, both[0]);
    tb_table_free(table);
    tb_armed_free(both[0]);
}

static void
many_pairs_are_all_found(void **state)
{
    struct rig *rig = *state;
    struct tb_record_source *sources = calloc(3000, sizeof(*sources));
    struct tb_armed *armed = NULL;
    struct tb_table *table = NULL;

    arm(rig);
    for (uint32_t i = 0; i < 3000; i++) {
        sources[i].vni = i * 8;
        sources[i].outer[15] = (uint8_t)i;
    }
    assert_int_equal(
        tb_armed_new(&rig->spec, sources, 3000, &rig->lane.workspace, 1, &armed, NULL), TB_OK);
    assert_int_equal(tb_table_new(&armed, 1, &table, NULL), TB_OK);
    for (uint32_t i = 0; i < 3000; i++) {
        assert_int_equal(tb_table_find(table, sources[i].outer, sources[i].vni)->interface, i);
        assert_null(tb_table_find(table, sources[i].outer, sources[i].vni + 1));
    }
    tb_table_free(table);
    tb_armed_free(armed);
    free(sources);
    finish(rig);
}

static void *
sender(void *arg)
{
    struct rig *rig = arg;

    for (int i = 0; i < 20000; i++) {
        mirror(rig, VNI + (i & 1), 60 + (size_t)(i % 900), i);
    }
    tb_lane_look(&rig->lane, tb_clock_boot_ns(), true);
    return NULL;
}

static void
receiver_writer_and_control_share_a_lane(void **state)
{
    struct rig *rig = *state;
    struct tb_record_status status;
    pthread_t thread;

    rig->spec.rotate_bytes = 1 << 20;
    arm(rig);
    assert_int_equal(tb_lane_start_writer(&rig->lane, NULL), TB_OK);
    assert_int_equal(pthread_create(&thread, NULL, sender, rig), 0);
    do {
        tb_armed_status(rig->armed, &status);
    } while (status.state != TB_RECORD_CLOSED);
    assert_int_equal(pthread_join(thread, NULL), 0);
    tb_lane_stop(&rig->lane);
    assert_int_equal(status.ledger.received, 20000);
    expect_balanced(rig);
    assert_int_equal(sealed(rig), status.segments);
}

/* A ring from which packets come once its lane was told to end. */
struct late {
    struct tb_source base;
    struct rig *rig;
    struct tb_lane *lane;
    unsigned packets, given;
    struct tb_lane *other; /* NULL: none to wait for */
    bool other_was_told;
};

static enum tb_err
read_late(struct tb_source *base, int max, tb_packet_fn *packet, void *arg, size_t *out_count,
          struct tb_fail *fail)
{
    struct late *late = (struct late *)base;
    struct packet p;

    (void)max;
    (void)fail;
    *out_count = 0;
    if (!atomic_load(&late->lane->quit)) {
        return TB_OK;
    }
    for (int i = 0; i < 60000 && late->other != NULL && !late->other_was_told; i++) {
        late->other_was_told = atomic_load(&late->other->quit);
        (void)usleep(1000);
    }
    if (late->given < late->packets) {
        make_mirrored(&p, VNI, 100);
        late->given++;
        (void)packet(arg, tb_clock_utc_ns(), view(&p));
        atomic_store(&late->rig->armed->deadline_boot_ns, 1); /* has passed */
        late->lane->lane.next_look_boot_ns = 0;
        *out_count = 1;
    }
    return TB_OK;
}

static uint64_t
drops_nothing(struct tb_source *base)
{
    (void)base;
    return 0;
}

static void
keep(struct tb_source *base)
{
    (void)base; /* the case's */
}

static const struct tb_source_ops late_ops = {NULL, read_late, drops_nothing, keep};

static void
the_deadline_is_seen_while_a_lane_ends(void **state)
{
    struct rig *rig = *state;
    struct late late = {.base = {&late_ops, -1}, .rig = rig, .lane = &rig->lane, .packets = 2};

    arm(rig);
    rig->lane.source = &late.base;
    assert_int_equal(tb_lane_start(&rig->lane, NULL), TB_OK);
    tb_lane_stop(&rig->lane);
    rig->lane.source = NULL;
    assert_int_equal(capture_ledger(rig).written, 1);
    assert_int_equal(host_ledger(rig).not_armed, 1);
    expect_balanced(rig);
}

/* A ring whose lane is held up until after the deadline of its capture. */
struct stalled {
    struct tb_source base;
    int64_t deadline_boot_ns;
    unsigned reads;
};

static enum tb_err
read_stalled(struct tb_source *base, int max, tb_packet_fn *packet, void *arg,
             size_t *out_count, struct tb_fail *fail)
{
    struct stalled *stalled = (struct stalled *)base;
    /* of the packets, against the deadline */
    static const int64_t came_ms[] = {-900, -500, -200, 200, 300};
    int64_t deadline_utc_ns =
        stalled->deadline_boot_ns + tb_clock_utc_ns() - tb_clock_boot_ns();
    struct packet p;

    (void)max;
    (void)fail;
    *out_count = 0;
    if (stalled->reads++ == 0) {
        while (tb_clock_boot_ns() < stalled->deadline_boot_ns + SECOND / 4) {
            (void)usleep(1000);
        }
    } else if (stalled->reads == 2) {
        make_mirrored(&p, VNI, 100);
        *out_count = sizeof(came_ms) / sizeof(came_ms[0]);
        for (size_t i = 0; i < *out_count; i++) {
            assert_true(packet(arg, deadline_utc_ns + came_ms[i] * TB_NS_PER_MS, view(&p)));
        }
    } else {
        (void)usleep(1000);
    }
    return TB_OK;
}

static const struct tb_source_ops stalled_ops = {NULL, read_stalled, drops_nothing, keep};

static void
what_came_before_the_deadline_is_kept_however_late_it_is_read(void **state)
{
    struct rig *rig = *state;
    struct stalled stalled = {.base = {&stalled_ops, -1},
                              .deadline_boot_ns = tb_clock_boot_ns() + SECOND};

    rig->spec.deadline_boot_ns = stalled.deadline_boot_ns;
    arm(rig);
    rig->lane.source = &stalled.base;
    assert_int_equal(tb_lane_start(&rig->lane, NULL), TB_OK);
    for (int i = 0; i < 60000 && !tb_armed_is_closed(rig->armed); i++) {
        (void)usleep(1000);
    }
    assert_true(tb_armed_is_closed(rig->armed)); /* of itself */
    tb_lane_stop(&rig->lane);
    rig->lane.source = NULL;
    assert_int_equal(capture_ledger(rig).written, 3);
    assert_int_equal(host_ledger(rig).not_armed, 2);
    expect_balanced(rig);
}

static void
lanes_end_side_by_side(void **state)
{
    struct rig *rig = *state;
    struct tb_lane *lanes = calloc(2, sizeof(*lanes));
    struct tb_room room = {.spool_fd = rig->spool_fd, .level = level};
    struct late late[2] = {{.base = {&late_ops, -1}, .other = lanes + 1},
                           {.base = {&late_ops, -1}, .other = lanes}};

    arm(rig);
    assert_non_null(lanes);
    for (unsigned i = 0; i < 2; i++) {
        late[i].lane = &lanes[i];
        assert_int_equal(
            tb_lane_init(&lanes[i], i, 4789, &late[i].base, SLAB_BYTES, &room, NULL), TB_OK);
        assert_int_equal(tb_lane_start(&lanes[i], NULL), TB_OK);
    }
    tb_lanes_stop(lanes, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(late[i].other_was_told);
        tb_lane_release(&lanes[i]);
    }
    free(lanes);
    finish(rig);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        CASE(packets_of_a_known_pair_are_written_and_all_others_counted),
        CASE(after_the_deadline_nothing_is_taken),
        CASE(a_lane_that_stood_still_in_the_middle_of_reading_sees_the_deadline),
        CASE(the_budget_ends_it_and_is_told),
        CASE(the_last_packet_of_a_budget_is_written_and_ends_it),
        CASE(a_dead_recorders_packets_count_to_the_budget),
        CASE(a_budget_that_a_dead_recorder_used_up_is_told_before_any_packet),
        CASE(a_capture_goes_on_with_the_ledger_of_a_dead_recorder),
        CASE(where_its_folder_was_lost_no_number_is_used_again),
        CASE(the_snaplen_cuts_and_the_true_length_stays),
        CASE(what_whoever_captured_cut_off_counts_to_the_true_length),
        CASE(the_filter_sees_the_inner_frame),
        CASE(a_filter_that_would_run_wild_is_refused),
        CASE(without_a_slab_a_packet_is_held_and_comes_before_the_next),
        CASE(a_disk_that_hangs_keeps_no_capture_from_its_end),
        CASE(what_needs_no_slab_is_not_held),
        CASE(when_every_slab_is_open_they_are_handed_over),
        CASE(without_a_slab_packets_are_counted_and_the_next_one_says_how_many),
        CASE(a_chunk_is_put_down_when_it_is_a_second_old),
        CASE(segments_rotate_by_size_and_their_numbers_go_on),
        CASE(the_first_segments_are_short),
        CASE(without_an_interval_segments_rotate_by_size_only),
        CASE(compression_falls_with_the_queue_and_rises_step_by_step),
        CASE(a_full_spool_is_counted_and_recording_goes_on_when_there_is_room),
        CASE(a_spool_that_cannot_be_written_does_not_end_it),
        CASE(a_segment_that_cannot_be_begun_takes_no_number),
        CASE(what_a_repair_cuts_off_is_not_written_any_more),
        CASE(a_pair_belongs_to_one_capture_until_that_has_ended),
        CASE(many_pairs_are_all_found),
        CASE(receiver_writer_and_control_share_a_lane),
        CASE(the_deadline_is_seen_while_a_lane_ends),
        CASE(what_came_before_the_deadline_is_kept_however_late_it_is_read),
        CASE(lanes_end_side_by_side),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
