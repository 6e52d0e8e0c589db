/* Counters that one thread writes and every thread may read. */
#include "shared_int.h"

#include <stddef.h>

_Static_assert((int)TB_COUNTS == (int)TB_LEDGER_FIELDS, "one counter for each field");
_Static_assert(offsetof(struct tb_ledger, ring_dropped) == 8 * TB_COUNT_RING_DROPPED, "order");
_Static_assert(offsetof(struct tb_ledger, not_armed) == 8 * TB_COUNT_NOT_ARMED, "order");
_Static_assert(offsetof(struct tb_ledger, spool_full) == 8 * TB_COUNT_SPOOL_FULL, "order");
_Static_assert(offsetof(struct tb_ledger, written_bytes) == 8 * TB_COUNT_WRITTEN_BYTES,
               "order");

void
tb_counters_read(const struct tb_counters *counters, struct tb_ledger *out)
{
    for (size_t i = 0; i < TB_COUNTS; i++) {
        tb_ledger_set(out, i, atomic_load_explicit(&counters->of[i], memory_order_acquire));
    }
}

void
tb_counters_set(struct tb_counters *counters, const struct tb_ledger *ledger)
{
    for (size_t i = 0; i < TB_COUNTS; i++) {
        atomic_store_explicit(&counters->of[i], tb_ledger_get(ledger, i), memory_order_release);
    }
}

void
tb_ledger_settle(struct tb_ledger *ledger)
{
    int64_t residual = tb_ledger_residual(ledger);

    if (residual > 0) {
        ledger->queue_dropped += (uint64_t)residual;
    } else { /* it was read while it was being counted */
        ledger->received += (uint64_t)-residual;
    }
}
