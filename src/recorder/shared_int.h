/*
 * The counters that the recorder writes and serve reads: one memory, which the recorder makes,
 * seals (its size stays, nobody else may ever map it for writing) and passes to serve.
 *
 * Every number is an atomic with one writing thread.  A capture's place changes hands under its
 * `turn`, which is odd meanwhile; what belongs to several places at once (a capture's terms
 * moving into `retired`) changes under the whole memory's `turn`.  A reader that saw a turn
 * odd, or other than before, reads again.
 *
 * The layout is between two programs of one build: `layout` refuses any other.
 */
#ifndef TAPBOX_SHARED_INT_H
#define TAPBOX_SHARED_INT_H

#include <stdatomic.h>

#include <tapbox/recorder.h>

enum {
    TB_LANES_MAX = TB_RECORDER_MAX_LANES,
    TB_CACHE_LINE = 64, /* octets: two threads that write do not share one */
    /* A capture that takes a finished one's slot has a place of its own until that is gone. */
    TB_SHARED_CAPTURES = TB_RECORDER_MAX_CAPTURES + 1
};

/* The fields of struct tb_ledger, in its order. */
enum tb_count {
    TB_COUNT_RECEIVED,
    TB_COUNT_WRITTEN,
    TB_COUNT_RING_DROPPED,
    TB_COUNT_FRAGMENTS,
    TB_COUNT_NOT_VXLAN,
    TB_COUNT_MALFORMED,
    TB_COUNT_UNKNOWN_VNI,
    TB_COUNT_NOT_ARMED,
    TB_COUNT_FILTERED,
    TB_COUNT_OVER_BUDGET,
    TB_COUNT_QUEUE_DROPPED,
    TB_COUNT_SPOOL_FULL,
    TB_COUNT_TRUNCATED,
    TB_COUNT_WRITTEN_BYTES,
    TB_COUNTS
};

struct tb_counters {
    _Atomic uint64_t of[TB_COUNTS];
};

/* Only the field's own thread calls this: no locked instruction is needed. */
static inline void
tb_count(struct tb_counters *counters, enum tb_count field, uint64_t n)
{
    uint64_t now = atomic_load_explicit(&counters->of[field], memory_order_relaxed);

    atomic_store_explicit(&counters->of[field], now + n, memory_order_relaxed);
}
static inline uint64_t
tb_counted(const struct tb_counters *counters, enum tb_count field)
{
    return atomic_load_explicit(&counters->of[field], memory_order_relaxed);
}
void tb_counters_read(const struct tb_counters *counters, struct tb_ledger *out);
void tb_counters_set(struct tb_counters *counters, const struct tb_ledger *ledger);

/* Of a capture whose recorder is dead: what that one had received and not yet put down died
 * with it, between ring and disk, and is queue_dropped. */
void tb_ledger_settle(struct tb_ledger *ledger);

enum tb_stream_state {
    TB_STREAM_OPEN,
    TB_STREAM_STOPPED, /* the lane takes nothing more; the writer still has some of it */
    TB_STREAM_CLOSED
};

/* A capture in one lane. */
struct tb_shared_stream {
    _Alignas(TB_CACHE_LINE) struct tb_counters
        counters; /* received, filtered, ... truncated: lane; others: writer */
    _Atomic int64_t first_utc_ns, last_utc_ns; /* of its packets; written by the lane */
    _Atomic uint32_t state;                    /* enum tb_stream_state */
    _Atomic uint32_t segments;                 /* sealed */
    _Atomic int32_t level;                     /* of the last chunk's compression */
    _Atomic uint32_t level_changes;
};

struct tb_shared_capture {
    _Alignas(TB_CACHE_LINE) _Atomic uint32_t turn;
    _Atomic uint32_t lane_count; /* 0: nobody's */
    _Atomic uint64_t id[TB_CAPTURE_ID_SIZE / sizeof(uint64_t)];
    _Atomic bool stop_asked;
    _Atomic uint8_t budget_spent; /* enum tb_record_budget */
    _Atomic int64_t gap_from_utc_ns, gap_to_utc_ns;
    struct tb_counters base; /* what it had when it was armed: a dead recorder's */
    struct tb_shared_stream lanes[TB_LANES_MAX];
};

struct tb_shared_lane {
    _Alignas(TB_CACHE_LINE) struct tb_counters counters;
};

struct tb_shared {
    _Alignas(TB_CACHE_LINE) uint64_t layout; /* set once, like the next three */
    int64_t started_utc_ns;
    int32_t pid;
    uint32_t lane_count;
    _Atomic int64_t alive_utc_ns, alive_boot_ns; /* the recorder's first thread was here */
    _Atomic uint32_t turn;
    struct tb_counters retired; /* terms of captures that were forgotten */
    struct tb_shared_lane lanes[TB_LANES_MAX];
    struct tb_shared_capture captures[TB_SHARED_CAPTURES];
};

/* --- the recorder's side --- */

/* Makes the memory; *out_fd is what serve gets. */
TB_NODISCARD enum tb_err tb_shared_new(uint32_t lane_count, struct tb_shared **out, int *out_fd,
                                       struct tb_fail *fail);
void tb_shared_free(struct tb_shared *shared);
void tb_shared_alive(struct tb_shared *shared);
/* The place gets a capture's values, or (capture_id NULL) nobody's. */
void tb_shared_set(struct tb_shared_capture *place, const char *capture_id,
                   const struct tb_shared_capture *values);
/* NULL: all are taken. */
struct tb_shared_capture *tb_shared_free_place(struct tb_shared *shared);
/* The place becomes free, and its terms stay in the host's ledger. */
void tb_shared_retire(struct tb_shared *shared, struct tb_shared_capture *place);

/* --- both sides --- */

void tb_shared_status(const struct tb_shared_capture *place, struct tb_record_status *out);
/* False when the memory does not hold still: a capture's ledger may then not be added up. */
bool tb_shared_host(const struct tb_shared *shared, struct tb_recorder_host *out);
/* Into a host's ledger: a capture's terms since it was armed here, all but `received`, which
 * the lanes counted. */
void tb_host_add_capture(struct tb_ledger *host, const struct tb_ledger *capture,
                         const struct tb_ledger *base);

/* --- serve's side --- */

/* Maps what the recorder passed; `fd` stays the caller's. */
TB_NODISCARD enum tb_err tb_shared_map(int fd, const struct tb_shared **out,
                                       struct tb_fail *fail);
void tb_shared_unmap(const struct tb_shared *shared);
/* Absent captures have TB_RECORD_ABSENT.  False as above. */
bool tb_shared_find(const struct tb_shared *shared, const char *capture_id,
                    struct tb_record_status *out);

#endif
