/*
 * A lane's receive side: the thread that drives the packet path (lane_packet.c).
 *
 * When chunks do not come back from the writer fast enough, nothing is read: the ring is the
 * place where packets wait, and the only one where overload drops them.
 */
#include "lane_int.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <tapbox/io.h>
#include <tapbox/log.h>

enum {
    LOOK_EVERY_MS = 100,   /* stops, deadlines and old chunks are seen this late at the most */
    STATS_EVERY_MS = 1000, /* the kernel's drop counter */
    READ_BATCH = 4096,     /* packets between two looks at the clock */
    RETRY_MS = 1000,       /* a source that fails (interface down) is asked this often */
    GIVE_UP_TRIES = 30,    /* and then given up: whoever starts us opens a new one */
    DRAIN_MS = 2000,       /* what is in the ring at the end, while the writer catches up */
    HUNG_MS = 10 * 1000,   /* a disk that took nothing for so long ends nobody's capture late */
    BLOCK_MS = 50,         /* packets wait in the kernel until their block is given (20) */
    SLAB_WAIT_MS = 20,     /* so late, stops are seen while no slab comes back */
    ADOPT_WAIT_MS = 800    /* a caller of the recorder waits a second */
};

static bool
take_packet(void *arg, int64_t utc_ns, struct tb_bytes frame)
{
    return tb_lane_packet(arg, utc_ns, frame);
}

/* More captures than slabs: none would come back by itself. */
static void
hand_over_all(struct tb_lane *lane)
{
    const struct tb_table *table = lane->lane.table;

    for (size_t i = 0; table != NULL && i < table->armed_count; i++) {
        struct tb_stream *stream = &table->armed[i]->streams[lane->index];

        if (stream->lane.slab != NULL) {
            tb_lane_hand_over(lane, stream, false);
        }
    }
}

void
tb_lane_wait_for_slab(struct tb_lane *lane)
{
    if (lane->lane.open_slabs == lane->pool.count) {
        hand_over_all(lane);
    }
    tb_slab_wait(&lane->pool, SLAB_WAIT_MS * TB_NS_PER_MS);
}

enum tb_err
tb_lane_read_all(struct tb_lane *lane, struct tb_fail *fail)
{
    enum tb_err err;
    size_t count;

    do {
        lane->lane.now_boot_ns = tb_clock_boot_ns();
        err =
            lane->source->ops->read(lane->source, READ_BATCH, take_packet, lane, &count, fail);
    } while (err == TB_OK);
    return err == TB_ECLOSED ? TB_OK : err;
}

/* --- between packets --- */

static void
stop_stream(struct tb_lane *lane, struct tb_stream *stream)
{
    stream->lane.stopped = true;
    if (stream->lane.slab != NULL) {
        tb_lane_hand_over(lane, stream, false);
    }
    atomic_store(&stream->shared->state, TB_STREAM_STOPPED);
    tb_handover_push(&lane->queue, (struct tb_handover){.ended = stream});
}

/*
 * Whether nothing more can come for it: what came before its end may still be in the ring, when
 * the lane was held up.  It is waited for while the lane has no slab (until tb_lane_may_hold
 * says no), and then for a bounded time.
 */
static bool
is_over(const struct tb_lane *lane, struct tb_stream *stream)
{
    int64_t now = lane->lane.now_boot_ns;
    int64_t end;

    if (stream->lane.stop_boot_ns == 0 && atomic_load(&stream->armed->shared->stop_asked)) {
        stream->lane.stop_boot_ns = now;
    }
    end = tb_stream_end_boot_ns(stream);
    if (now < end) {
        stream->lane.ending_boot_ns = 0; /* (it was extended) */
        return false;
    }
    if (stream->lane.ending_boot_ns == 0 || lane->lane.held_len > 0) {
        stream->lane.ending_boot_ns = now;
    }
    return lane->lane.reached_boot_ns - BLOCK_MS * TB_NS_PER_MS >= end ||
           now - stream->lane.ending_boot_ns >= DRAIN_MS * TB_NS_PER_MS;
}

void
tb_lane_look(struct tb_lane *lane, int64_t now_boot_ns, bool all)
{
    const struct tb_table *table = lane->lane.table;
    int64_t next_ms = LOOK_EVERY_MS;

    lane->lane.now_boot_ns = now_boot_ns;
    lane->lane.ending = false;
    for (size_t i = 0; table != NULL && i < table->armed_count; i++) {
        struct tb_armed *armed = table->armed[i];
        struct tb_stream *stream = &armed->streams[lane->index];

        if (stream->lane.stopped) {
            continue;
        }
        if (all || is_over(lane, stream)) {
            stop_stream(lane, stream);
            continue;
        }
        if (stream->lane.ending_boot_ns != 0) {
            next_ms = BLOCK_MS;
            lane->lane.ending = true;
        }
        if (stream->lane.slab != NULL &&
            now_boot_ns - stream->lane.slab->opened_boot_ns >=
                (TB_CHUNK_MAX_AGE_MS - LOOK_EVERY_MS) * TB_NS_PER_MS) {
            tb_lane_hand_over(lane, stream, false);
        }
    }
    lane->lane.next_look_boot_ns = now_boot_ns + next_ms * TB_NS_PER_MS;
}

/*
 * While packets wait for slabs, nothing is read, and no stream comes to its end.  A disk that
 * hangs may never give one back: then what is in the ring is counted as dropped, so that those
 * whose time is over are told to be.
 */
bool
tb_lane_may_hold(const struct tb_lane *lane)
{
    int64_t held_ns = lane->lane.now_boot_ns - lane->lane.held_boot_ns;

    if (!lane->lane.ending) {
        return true;
    }
    return lane->lane.may_hold
               ? lane->lane.held_len == 0 || held_ns < HUNG_MS * TB_NS_PER_MS
               : atomic_load_explicit(&lane->pool.available, memory_order_relaxed) > 0;
}

static void
count_ring_drops(struct tb_lane *lane)
{
    uint64_t dropped = lane->source->ops->dropped(lane->source);

    tb_count(lane->counters, TB_COUNT_RECEIVED, dropped);
    tb_count(lane->counters, TB_COUNT_RING_DROPPED, dropped);
    lane->lane.stats_boot_ns = lane->lane.now_boot_ns;
}

/* The point at which no old table is in use here any more. */
static void
adopt(struct tb_lane *lane)
{
    struct tb_table *next = atomic_load_explicit(&lane->next_table, memory_order_acquire);

    if (next != lane->lane.table) {
        lane->lane.table = next;
        tb_mutex_lock(&lane->mu);
        lane->locked.seen = next;
        tb_cond_broadcast(&lane->adopted);
        tb_mutex_unlock(&lane->mu);
        lane->lane.next_look_boot_ns = 0;
    }
}

static void
wait_for_packets(struct tb_lane *lane, bool source_failed)
{
    struct pollfd fds[2] = {{.fd = lane->wake_fd, .events = POLLIN},
                            {.fd = lane->source->poll_fd, .events = POLLIN}};
    bool recording = lane->lane.table != NULL && lane->lane.table->armed_count > 0;
    int64_t look_ns = lane->lane.next_look_boot_ns - tb_clock_boot_ns();
    int look_ms = look_ns > 0 ? (int)(look_ns / TB_NS_PER_MS) + 1 : 0;
    int wait_ms = source_failed ? RETRY_MS : recording ? look_ms : STATS_EVERY_MS;
    uint64_t woken;

    if (poll(fds, source_failed ? 1 : 2, wait_ms) > 0 && fds[0].revents != 0) {
        (void)!read(lane->wake_fd, &woken, sizeof(woken));
        lane->lane.next_look_boot_ns = 0;
    }
}

/* One batch, and how far the lane has come with it. */
static enum tb_err
read_batch(struct tb_lane *lane, size_t *out_count, struct tb_fail *fail)
{
    int64_t now = tb_clock_boot_ns();
    enum tb_err err;

    lane->lane.now_boot_ns = now;
    lane->lane.utc_less_boot_ns = tb_clock_utc_ns() - now;
    *out_count = 0;
    err = lane->source->ops->read(lane->source, READ_BATCH, take_packet, lane, out_count, fail);
    if (err == TB_OK && *out_count > 0) {
        now = tb_lane_came_boot_ns(lane, lane->lane.stamped_utc_ns);
    }
    if (err == TB_OK && now > lane->lane.reached_boot_ns) {
        lane->lane.reached_boot_ns = now;
    }
    return err;
}

/* What is in the ring when the process is told to end is still recorded; what the writer cannot
 * take in that time is counted. */
static void
drain(struct tb_lane *lane)
{
    struct pollfd ring = {.fd = lane->source->poll_fd, .events = POLLIN};
    int64_t until = tb_clock_boot_ns() + DRAIN_MS * TB_NS_PER_MS;
    int64_t end = until + DRAIN_MS * TB_NS_PER_MS;
    size_t count = 1;

    do {
        lane->lane.now_boot_ns = tb_clock_boot_ns();
        lane->lane.may_hold = lane->lane.now_boot_ns < until;
        if (lane->lane.now_boot_ns >= lane->lane.next_look_boot_ns) {
            tb_lane_look(lane, lane->lane.now_boot_ns, false);
        }
        if (!tb_lane_take_held(lane)) {
            tb_lane_wait_for_slab(lane);
        } else if (read_batch(lane, &count, NULL) != TB_OK) {
            break;
        }
    } while (lane->lane.now_boot_ns < end &&
             (lane->lane.held_len > 0 || count > 0 || poll(&ring, 1, LOOK_EVERY_MS) > 0));
    lane->lane.may_hold = false;
    (void)tb_lane_take_held(lane);
}

static void *
receive(void *arg)
{
    struct tb_lane *lane = arg;
    int failures = 0;

    while (!atomic_load_explicit(&lane->quit, memory_order_acquire)) {
        struct tb_fail fail = {.err = TB_OK};
        int64_t now = tb_clock_boot_ns();
        size_t count = 0;
        enum tb_err err;

        adopt(lane);
        lane->lane.now_boot_ns = now;
        if (now >= lane->lane.next_look_boot_ns) {
            tb_lane_look(lane, now, false);
            lane->lane.may_hold = tb_lane_may_hold(lane);
        }
        if (now - lane->lane.stats_boot_ns >= STATS_EVERY_MS * TB_NS_PER_MS) {
            count_ring_drops(lane);
        }
        if (!tb_lane_take_held(lane)) {
            tb_lane_wait_for_slab(lane);
            continue;
        }
        err = read_batch(lane, &count, &fail);
        if (err == TB_OK) {
            failures = 0;
        } else if (failures++ == 0) {
            tb_log_fail(TB_LOG_ERROR, NULL, &fail, "cannot receive; trying again");
        } else if (failures == GIVE_UP_TRIES) {
            tb_log_fail(TB_LOG_ERROR, NULL, &fail, "cannot receive any more");
            atomic_store(&lane->failed, true);
        }
        if (count == 0) {
            wait_for_packets(lane, err != TB_OK);
        }
    }
    adopt(lane);
    drain(lane);
    count_ring_drops(lane);
    tb_lane_look(lane, tb_clock_boot_ns(), true);
    return NULL;
}

/* --- for control --- */

enum tb_err
tb_lane_init(struct tb_lane *lane, unsigned index, uint16_t port, struct tb_source *source,
             uint64_t slab_bytes, const struct tb_room *room, struct tb_fail *fail)
{
    enum tb_err err;

    *lane = (struct tb_lane){.index = index, .port = port, .source = source, .wake_fd = -1};
    lane->counters = &lane->own_counters;
    lane->writer.room = *room;
    tb_mutex_init(&lane->mu);
    tb_cond_init(&lane->adopted);
    err = tb_slab_pool_init(&lane->pool, slab_bytes, fail);
    if (err != TB_OK) {
        return err;
    }
    err = tb_handover_queue_init(&lane->queue, lane->pool.count + TB_RECORDER_MAX_CAPTURES + 1,
                                 fail);
    if (err != TB_OK) {
        return err;
    }
    err = tb_segment_workspace_new(TB_CHUNK_BYTES, room->level, &lane->workspace, fail);
    if (err != TB_OK) {
        return err;
    }
    lane->lane.held = malloc(TB_OUTER_MAX_BYTES);
    if (lane->lane.held == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a packet");
    }
    lane->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (lane->wake_fd < 0) {
        return tb_fail_errno(fail, errno, "cannot make an eventfd");
    }
    return TB_OK;
}

void
tb_lane_release(struct tb_lane *lane)
{
    tb_source_close(lane->source);
    tb_segment_workspace_free(lane->workspace);
    tb_handover_queue_release(&lane->queue);
    tb_slab_pool_release(&lane->pool);
    free(lane->lane.held);
    tb_close(&lane->wake_fd);
    tb_cond_release(&lane->adopted);
    tb_mutex_release(&lane->mu);
}

enum tb_err
tb_lane_start_writer(struct tb_lane *lane, struct tb_fail *fail)
{
    char name[16];
    enum tb_err err;

    (void)snprintf(name, sizeof(name), "write%u", lane->index);
    err = tb_thread_start(&lane->writer_thread, name, tb_writer_run, lane, fail);
    lane->writing = err == TB_OK;
    return err;
}

enum tb_err
tb_lane_start(struct tb_lane *lane, struct tb_fail *fail)
{
    char name[16];
    enum tb_err err;

    err = tb_lane_start_writer(lane, fail);
    if (err != TB_OK) {
        return err;
    }
    lane->lane.may_hold = true;
    (void)snprintf(name, sizeof(name), "receive%u", lane->index);
    err = tb_thread_start(&lane->receive_thread, name, receive, lane, fail);
    lane->receiving = err == TB_OK;
    return err;
}

void
tb_lane_wake(struct tb_lane *lane)
{
    uint64_t one = 1;

    (void)!write(lane->wake_fd, &one, sizeof(one));
}

static bool
has_adopted(struct tb_lane *lane, const struct tb_table *table, int64_t until_boot_ns)
{
    int64_t left;
    bool seen;

    tb_mutex_lock(&lane->mu);
    while (lane->locked.seen != table && (left = until_boot_ns - tb_clock_boot_ns()) > 0) {
        (void)tb_cond_wait_for(&lane->adopted, &lane->mu, left);
    }
    seen = lane->locked.seen == table;
    tb_mutex_unlock(&lane->mu);
    return seen;
}

enum tb_err
tb_lanes_adopt(struct tb_lane *lanes, unsigned count, struct tb_table *table,
               struct tb_fail *fail)
{
    int64_t until = tb_clock_boot_ns() + ADOPT_WAIT_MS * TB_NS_PER_MS;
    bool seen = true;

    for (unsigned i = 0; i < count; i++) {
        atomic_store_explicit(&lanes[i].next_table, table, memory_order_release);
        if (lanes[i].receiving) {
            tb_lane_wake(&lanes[i]);
        } else {
            adopt(&lanes[i]);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        seen = has_adopted(&lanes[i], table, until) && seen;
    }
    return seen ? TB_OK : tb_fail_set(fail, TB_ETIMEOUT, "a receive thread does not answer");
}

static void
ask_to_quit(struct tb_lane *lane)
{
    atomic_store_explicit(&lane->quit, true, memory_order_release);
    tb_lane_wake(lane);
}

void
tb_lanes_stop(struct tb_lane *lanes, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        ask_to_quit(&lanes[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        tb_lane_stop(&lanes[i]);
    }
}

void
tb_lane_stop(struct tb_lane *lane)
{
    ask_to_quit(lane);
    if (lane->receiving) {
        (void)pthread_join(lane->receive_thread, NULL);
        lane->receiving = false;
    }
    tb_handover_close(&lane->queue);
    if (lane->writing) {
        (void)pthread_join(lane->writer_thread, NULL);
        lane->writing = false;
    }
}
