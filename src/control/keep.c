/* The store's old octets go, a few at a time, so that nobody waits for it. */
#include "control_int.h"

#include <tapbox/log.h>

static const int64_t hour_ns = 3600 * TB_NS_PER_S;

int64_t
control_forget_old(struct tb_control *control)
{
    int64_t keep_ns = control->deps.config->store_keep_ns;
    struct tb_fail fail = {0};
    int64_t now_ns;
    size_t count = 0;

    if (keep_ns == 0) {
        return hour_ns;
    }
    /* by AWS's clock: a wrong one of ours must not make everything old */
    tb_mutex_lock(&control->mu);
    now_ns =
        tb_store_steady_ns(control->deps.store) + control->locked.aws_offset_s * TB_NS_PER_S;
    tb_mutex_unlock(&control->mu);
    if (tb_store_forget(control->deps.store, now_ns - keep_ns, &count, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail, "old octets stay in the store");
    } else if (count > 0) {
        tb_log(TB_LOG_INFO, NULL, "%zu alerts and summaries are older than store.keep", count);
        return 0; /* there may be more */
    }
    return hour_ns;
}
