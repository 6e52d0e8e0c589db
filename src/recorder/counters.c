/* Counters that one thread writes and every thread may read. */
#include "lane_int.h"

_Static_assert((int)TB_COUNTS == (int)TB_LEDGER_FIELDS, "one counter for each field");
_Static_assert(offsetof(struct tb_ledger, ring_dropped) == 8 * TB_COUNT_RING_DROPPED, "order");
_Static_assert(offsetof(struct tb_ledger, not_armed) == 8 * TB_COUNT_NOT_ARMED, "order");
_Static_assert(offsetof(struct tb_ledger, spool_full) == 8 * TB_COUNT_SPOOL_FULL, "order");
_Static_assert(offsetof(struct tb_ledger, written_bytes) == 8 * TB_COUNT_WRITTEN_BYTES,
               "order");

void
tb_counters_read(const struct tb_counters *counters, struct tb_ledger *out)
{
    out->received = tb_counted(counters, TB_COUNT_RECEIVED);
    out->written = tb_counted(counters, TB_COUNT_WRITTEN);
    out->ring_dropped = tb_counted(counters, TB_COUNT_RING_DROPPED);
    out->fragments = tb_counted(counters, TB_COUNT_FRAGMENTS);
    out->not_vxlan = tb_counted(counters, TB_COUNT_NOT_VXLAN);
    out->malformed = tb_counted(counters, TB_COUNT_MALFORMED);
    out->unknown_vni = tb_counted(counters, TB_COUNT_UNKNOWN_VNI);
    out->not_armed = tb_counted(counters, TB_COUNT_NOT_ARMED);
    out->filtered = tb_counted(counters, TB_COUNT_FILTERED);
    out->over_budget = tb_counted(counters, TB_COUNT_OVER_BUDGET);
    out->queue_dropped = tb_counted(counters, TB_COUNT_QUEUE_DROPPED);
    out->spool_full = tb_counted(counters, TB_COUNT_SPOOL_FULL);
    out->truncated = tb_counted(counters, TB_COUNT_TRUNCATED);
    out->written_bytes = tb_counted(counters, TB_COUNT_WRITTEN_BYTES);
}

void
tb_host_add_capture(struct tb_ledger *host, const struct tb_ledger *capture)
{
    struct tb_ledger terms = *capture;

    terms.received = 0;
    tb_ledger_add(host, &terms);
}
