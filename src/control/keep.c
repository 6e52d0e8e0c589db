/* The store's old octets go, a few at a time, so that nobody waits for it. */
#include "control_int.h"

#include <tapbox/log.h>

static const int64_t hour_ns = 3600 * TB_NS_PER_S;
static const int64_t unheard_ns = 10 * TB_NS_PER_S;

int64_t
control_forget_old(struct tb_control *control)
{
    int64_t keep_ns = control->deps.config->store_keep_ns;
    struct tb_fail fail = {0};
    size_t count = 0;

    if (keep_ns == 0) {
        return hour_ns;
    }
    /* by AWS's clock: a wrong one of ours must not make everything old */
    if (!control_has_aws_time(control)) {
        return unheard_ns;
    }
    if (tb_store_forget(control->deps.store, control_aws_now_ns(control) - keep_ns, &count,
                        &fail) != TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail, "old octets stay in the store");
    } else if (count > 0) {
        tb_log(TB_LOG_INFO, NULL,
               "%zu alerts, summaries and open extensions are older than store.keep", count);
        return 0; /* there may be more */
    }
    return hour_ns;
}
