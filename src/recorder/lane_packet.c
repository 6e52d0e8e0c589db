/*
 * The packet path: from an outer frame to a place in a chunk, or to a counter.
 *
 * Per packet: no lock, no allocation, one copy.  A lock is taken once a chunk.
 */
#include "lane_int.h"

#include <assert.h>

#include <tapbox/clock.h>

enum {
    STAMP_SLACK_MS = 1000 /* a stamp that is later than now by more is of another clock */
};

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

void
tb_lane_hand_over(struct tb_lane *lane, struct tb_stream *stream, bool full)
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

/* The first that is used up is told. */
static void
spend(struct tb_armed *armed, enum tb_record_budget budget)
{
    uint8_t none = TB_BUDGET_NONE;

    (void)atomic_compare_exchange_strong_explicit(&armed->shared->budget_spent, &none,
                                                  (uint8_t)budget, memory_order_relaxed,
                                                  memory_order_relaxed);
}

/* Charges it.  Each packet gets a number of its own, whichever lane it came by, so exactly
 * max_packets of them pass. */
static bool
within_budget(struct tb_armed *armed, uint32_t octets)
{
    uint64_t max_bytes = armed->spec.max_bytes;
    uint64_t max_packets = armed->spec.max_packets;
    uint64_t number;

    if (max_bytes == 0 && max_packets == 0) {
        return true;
    }
    if (atomic_load_explicit(&armed->shared->budget_spent, memory_order_relaxed) !=
        TB_BUDGET_NONE) {
        return false;
    }
    if (max_bytes != 0 &&
        atomic_fetch_add_explicit(&armed->bytes_used, octets, memory_order_relaxed) + octets >
            max_bytes) {
        spend(armed, TB_BUDGET_BYTES);
        return false;
    }
    if (max_packets == 0) {
        return true;
    }
    number = atomic_fetch_add_explicit(&armed->packets_used, 1, memory_order_relaxed) + 1;
    if (number >= max_packets) {
        spend(armed, TB_BUDGET_PACKETS);
    }
    return number <= max_packets;
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
       const struct tb_outer *outer)
{
    struct tb_bytes frame = outer->vxlan.inner;
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

    if (packet.original < outer->inner_sent) {
        packet.original = (uint32_t)outer->inner_sent;
    }
    if (armed->filter != NULL &&
        bpf_filter(armed->filter, frame.at, packet.original, (u_int)frame.len) == 0) {
        count_out(stream, TB_COUNT_FILTERED);
        return true;
    }
    if (slab != NULL && slab->cap - slab->len < tb_pcapng_packet_size(packet.captured, *gap)) {
        tb_lane_hand_over(lane, stream, true);
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
        lane->lane.held_boot_ns = lane->lane.now_boot_ns;
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

int64_t
tb_lane_came_boot_ns(const struct tb_lane *lane, int64_t utc_ns)
{
    int64_t came = utc_ns - lane->lane.utc_less_boot_ns;
    int64_t earliest_now = came - STAMP_SLACK_MS * TB_NS_PER_MS;

    /* (the lane's clock stands while it reads, which may take long where CPU is short) */
    return earliest_now > lane->lane.now_boot_ns && earliest_now > tb_clock_boot_ns() ? 0
                                                                                      : came;
}

int64_t
tb_stream_end_boot_ns(const struct tb_stream *stream)
{
    int64_t deadline =
        atomic_load_explicit(&stream->armed->deadline_boot_ns, memory_order_relaxed);
    int64_t stop = stream->lane.stop_boot_ns;

    return stop != 0 && stop < deadline ? stop : deadline;
}

bool
tb_lane_packet(struct tb_lane *lane, int64_t utc_ns, struct tb_bytes frame)
{
    const struct tb_table_entry *entry;
    struct tb_stream *stream;
    struct tb_outer outer;

    lane->lane.stamped_utc_ns = utc_ns;
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
    if (stream->lane.stopped ||
        tb_lane_came_boot_ns(lane, utc_ns) >= tb_stream_end_boot_ns(stream)) {
        return count_host(lane, TB_COUNT_NOT_ARMED);
    }
    return record(lane, stream, entry->interface, utc_ns, &outer) || hold(lane, utc_ns, frame);
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
