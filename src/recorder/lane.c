/*
 * A lane's receive side: the packet path, and the thread that drives it.
 *
 * Per packet: no lock, no allocation, one copy.  A lock is taken once a chunk.  When chunks do
 * not come back from the writer fast enough, nothing is read: the ring is the place where
 * packets wait, and the only one where overload drops them.
 */
#include "lane_int.h"

#include <assert.h>
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
    SLAB_WAIT_MS = 20,     /* so late, stops are seen while no slab comes back */
    ADOPT_WAIT_MS = 800    /* a caller of the recorder waits a second */
};

/* --- the packet path --- */

static enum tb_direction
direction(const uint8_t mac[6], const uint8_t *frame)
{
    if (memcmp(frame + 6, mac, 6) == 0) {
        return TB_DIRECTION_OUTBOUND;
    }
    if (memcmp(frame, mac, 6) == 0 || (frame[0] & 1) != 0) {
        return TB_DIRECTION_INBOUND; /* (multicast that it did not send) */
    }
    return TB_DIRECTION_UNKNOWN;
}

static void
hand_over(struct tb_lane *lane, struct tb_stream *stream, bool full)
{
    struct tb_slab *slab = stream->lane.slab;

    stream->lane.slab = NULL;
    stream->lane.want_large = full;
    lane->lane.open_slabs--;
    tb_counters_read(&stream->shared->counters, &slab->info.ledger);
    tb_handover_push(&lane->queue, (struct tb_handover){.slab = slab});
}

static struct tb_slab *
open_slab(struct tb_lane *lane, struct tb_stream *stream)
{
    struct tb_slab *slab =
        tb_slab_take(&lane->pool, stream->lane.want_large, lane->wait_for_slabs);

    if (slab == NULL) {
        return NULL;
    }
    lane->lane.open_slabs++;
    slab->stream = stream;
    slab->opened_boot_ns = lane->lane.now_boot_ns;
    stream->lane.slab = slab;
    /* What the writer had to give up since then belongs into the next packet's drop count. */
    if (atomic_exchange_explicit(&stream->lost_any, 0, memory_order_acquire) != 0) {
        uint32_t count = stream->armed->spec.source_count;

        for (uint32_t i = 0; i < count && i < TB_CAPTURE_MAX_SOURCES; i++) {
            stream->lane.gap[i] += atomic_exchange(&stream->lost[i], 0);
        }
    }
    return slab;
}

static bool
within_budget(struct tb_armed *armed, uint32_t octets)
{
    if (armed->spec.max_bytes == 0) {
        return true;
    }
    if (atomic_load_explicit(&armed->shared->over_budget, memory_order_relaxed)) {
        return false;
    }
    if (atomic_fetch_add_explicit(&armed->budget_used, octets, memory_order_relaxed) + octets >
        armed->spec.max_bytes) {
        atomic_store_explicit(&armed->shared->over_budget, true, memory_order_relaxed);
        return false;
    }
    return true;
}

static void
note_packet(struct tb_stream *stream, struct tb_slab *slab,
            const struct tb_pcapng_packet *packet)
{
    struct tb_chunk_info *info = &slab->info;

    if (info->packets == 0 || packet->utc_ns < info->first_utc_ns) {
        info->first_utc_ns = packet->utc_ns;
    }
    if (info->packets == 0 || packet->utc_ns > info->last_utc_ns) {
        info->last_utc_ns = packet->utc_ns;
    }
    info->packets++;
    slab->frame_bytes += packet->captured;
    if (packet->interface < TB_CAPTURE_MAX_SOURCES) {
        slab->of_interface[packet->interface]++;
    }
    if (atomic_load_explicit(&stream->shared->first_utc_ns, memory_order_relaxed) == 0) {
        atomic_store_explicit(&stream->shared->first_utc_ns, packet->utc_ns,
                              memory_order_relaxed);
    }
    atomic_store_explicit(&stream->shared->last_utc_ns, packet->utc_ns, memory_order_relaxed);
}

/* Received, and where it went instead of into a chunk. */
static void
count_out(struct tb_stream *stream, enum tb_count term)
{
    tb_count(&stream->shared->counters, TB_COUNT_RECEIVED, 1);
    tb_count(&stream->shared->counters, term, 1);
}

/* (nobody else takes slabs of this pool: what is free now is free until the lane takes it) */
static bool
lacks_slab(const struct tb_lane *lane)
{
    return lane->lane.may_hold &&
           atomic_load_explicit(&lane->pool.available, memory_order_relaxed) == 0;
}

/* False: it is in no chunk and no counter, for want of a slab. */
static bool
record(struct tb_lane *lane, struct tb_stream *stream, uint32_t interface, int64_t utc_ns,
       struct tb_bytes frame)
{
    struct tb_armed *armed = stream->armed;
    struct tb_slab *slab = stream->lane.slab;
    uint32_t snaplen = armed->spec.snaplen != 0 ? armed->spec.snaplen : TB_SNAPLEN_MAX;
    uint64_t *gap = &stream->lane.gap[interface];
    struct tb_pcapng_packet packet = {
        .interface = interface,
        .utc_ns = utc_ns,
        .captured = frame.len < snaplen ? (uint32_t)frame.len : snaplen,
        .original = tb_inner_original_length(frame),
        .direction = direction(armed->sources[interface].mac, frame.at),
    };
    size_t len;

    if (armed->filter != NULL &&
        bpf_filter(armed->filter, frame.at, packet.original, (u_int)frame.len) == 0) {
        count_out(stream, TB_COUNT_FILTERED);
        return true;
    }
    if (slab != NULL && slab->cap - slab->len < tb_pcapng_packet_size(packet.captured, *gap)) {
        hand_over(lane, stream, true);
        slab = NULL;
    }
    if (slab == NULL && lacks_slab(lane)) {
        return false;
    }
    if (!within_budget(armed, packet.captured)) {
        count_out(stream, TB_COUNT_OVER_BUDGET);
        return true;
    }
    if (slab == NULL) {
        slab = open_slab(lane, stream);
    }
    if (slab == NULL) {
        ++*gap;
        count_out(stream, TB_COUNT_QUEUE_DROPPED);
        return true;
    }
    packet.dropped = *gap;
    len = tb_pcapng_put_packet(slab->at + slab->len, slab->cap - slab->len, &packet, frame.at);
    if (len == 0) { /* cannot be: the smallest slab holds the largest packet */
        ++*gap;
        count_out(stream, TB_COUNT_QUEUE_DROPPED);
        return true;
    }
    /* (not before the full chunk was handed over: this packet is not in its ledger) */
    tb_count(&stream->shared->counters, TB_COUNT_RECEIVED, 1);
    *gap = 0;
    slab->len += len;
    note_packet(stream, slab, &packet);
    if (packet.original > packet.captured) {
        tb_count(&stream->shared->counters, TB_COUNT_TRUNCATED, 1);
    }
    return true;
}

static bool
is_held(const struct tb_lane *lane, struct tb_bytes frame)
{
    return frame.at == lane->lane.held;
}

static bool
hold(struct tb_lane *lane, int64_t utc_ns, struct tb_bytes frame)
{
    if (!is_held(lane, frame)) {
        assert(frame.len <= TB_OUTER_MAX_BYTES);
        memcpy(lane->lane.held, frame.at, frame.len);
        lane->lane.held_len = frame.len;
        lane->lane.held_utc_ns = utc_ns;
    }
    return false;
}

/* It ends here, in no capture. */
static bool
count_host(struct tb_lane *lane, enum tb_count term)
{
    tb_count(lane->counters, term, 1);
    return true;
}

bool
tb_lane_packet(struct tb_lane *lane, int64_t utc_ns, struct tb_bytes frame)
{
    const struct tb_table_entry *entry;
    struct tb_stream *stream;
    struct tb_outer outer;

    if (!is_held(lane, frame)) {
        tb_count(lane->counters, TB_COUNT_RECEIVED, 1);
    }
    switch (tb_outer_parse(frame, lane->port, &outer)) {
    case TB_OUTER_VXLAN:
        break;
    case TB_OUTER_FRAGMENT:
        return count_host(lane, TB_COUNT_FRAGMENTS);
    case TB_OUTER_NOT_VXLAN:
        return count_host(lane, TB_COUNT_NOT_VXLAN);
    case TB_OUTER_MALFORMED:
    default:
        return count_host(lane, TB_COUNT_MALFORMED);
    }
    entry = lane->lane.table == NULL
                ? NULL
                : tb_table_find(lane->lane.table, outer.source, outer.vxlan.vni);
    if (entry == NULL) {
        return count_host(lane, TB_COUNT_UNKNOWN_VNI);
    }
    stream = &entry->armed->streams[lane->index];
    if (stream->lane.stopped) {
        return count_host(lane, TB_COUNT_NOT_ARMED);
    }
    return record(lane, stream, entry->interface, utc_ns, outer.vxlan.inner) ||
           hold(lane, utc_ns, frame);
}

static bool
take_packet(void *arg, int64_t utc_ns, struct tb_bytes frame)
{
    return tb_lane_packet(arg, utc_ns, frame);
}

bool
tb_lane_take_held(struct tb_lane *lane)
{
    if (lane->lane.held_len > 0 &&
        tb_lane_packet(lane, lane->lane.held_utc_ns,
                       tb_bytes_of(lane->lane.held, lane->lane.held_len))) {
        lane->lane.held_len = 0;
    }
    return lane->lane.held_len == 0;
}

/* More captures than slabs: none would come back by itself. */
static void
hand_over_all(struct tb_lane *lane)
{
    const struct tb_table *table = lane->lane.table;

    for (size_t i = 0; table != NULL && i < table->armed_count; i++) {
        struct tb_stream *stream = &table->armed[i]->streams[lane->index];

        if (stream->lane.slab != NULL) {
            hand_over(lane, stream, false);
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
        hand_over(lane, stream, false);
    }
    atomic_store(&stream->shared->state, TB_STREAM_STOPPED);
    tb_handover_push(&lane->queue, (struct tb_handover){.ended = stream});
}

void
tb_lane_look(struct tb_lane *lane, int64_t now_boot_ns, bool all)
{
    const struct tb_table *table = lane->lane.table;

    lane->lane.now_boot_ns = now_boot_ns;
    for (size_t i = 0; table != NULL && i < table->armed_count; i++) {
        struct tb_armed *armed = table->armed[i];
        struct tb_stream *stream = &armed->streams[lane->index];

        if (stream->lane.stopped) {
            continue;
        }
        if (all || atomic_load(&armed->shared->stop_asked) ||
            now_boot_ns >= atomic_load(&armed->deadline_boot_ns)) {
            stop_stream(lane, stream);
        } else if (stream->lane.slab != NULL &&
                   now_boot_ns - stream->lane.slab->opened_boot_ns >=
                       (TB_CHUNK_MAX_AGE_MS - LOOK_EVERY_MS) * TB_NS_PER_MS) {
            hand_over(lane, stream, false);
        }
    }
    lane->lane.next_look_boot_ns = now_boot_ns + LOOK_EVERY_MS * TB_NS_PER_MS;
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
    int wait_ms = source_failed ? RETRY_MS : recording ? LOOK_EVERY_MS : STATS_EVERY_MS;
    uint64_t woken;

    if (poll(fds, source_failed ? 1 : 2, wait_ms) > 0 && fds[0].revents != 0) {
        (void)!read(lane->wake_fd, &woken, sizeof(woken));
        lane->lane.next_look_boot_ns = 0;
    }
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
        } else if (lane->source->ops->read(lane->source, READ_BATCH, take_packet, lane, &count,
                                           NULL) != TB_OK) {
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
        }
        if (now - lane->lane.stats_boot_ns >= STATS_EVERY_MS * TB_NS_PER_MS) {
            count_ring_drops(lane);
        }
        if (!tb_lane_take_held(lane)) {
            tb_lane_wait_for_slab(lane);
            continue;
        }
        err =
            lane->source->ops->read(lane->source, READ_BATCH, take_packet, lane, &count, &fail);
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
