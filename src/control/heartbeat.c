/*
 * A sign of life in CloudWatch while the service is ready: the alarm on its absence is the one
 * that a dead host cannot silence.  With it goes whether somebody keeps the clock, by which
 * packets are stamped.  A thread of its own, as CloudWatch may be slow.
 */
#include "control_int.h"

#include <tapbox/aws_cloudwatch.h>
#include <tapbox/log.h>

static const int64_t period_ns = 60 * TB_NS_PER_S; /* as the alarm counts */
static const int64_t again_ns = TB_NS_PER_S;       /* not ready yet: a look */
static const int64_t failed_ns = 10 * TB_NS_PER_S; /* CloudWatch did not take it */

/* When to come again; `*told` keeps the log to one line for each change. */
static int64_t
beat(struct tb_control *control, bool *told)
{
    const struct tb_config *config = control->deps.config;
    struct tb_cloudwatch_point points[] = {{"Ready", 1}, {"ClockUnsynchronised", 0}};
    struct tb_clock_state clock;
    struct tb_fail fail = {0};
    size_t count = 1;

    if (tb_control_ready(control, &fail) != TB_OK) {
        return again_ns;
    }
    if (tb_clock_state_get(&clock)) {
        points[count++].value = clock.synchronised ? 0 : 1;
    }
    if (tb_cloudwatch_put(control->deps.aws, config->cloudwatch_namespace, config->owner,
                          points, count, &fail) != TB_OK) {
        if (!*told) {
            tb_log_fail(TB_LOG_WARN, NULL, &fail, "no sign of life to CloudWatch");
        }
        *told = true;
        return failed_ns;
    }
    *told = false;
    return period_ns;
}

void *
control_heartbeat_run(void *arg)
{
    struct tb_control *control = arg;
    int64_t next_ns = 0;
    bool stopping = false;
    bool told = false;

    while (!stopping) {
        if (tb_clock_boot_ns() >= next_ns) {
            next_ns = tb_clock_boot_ns() + beat(control, &told);
        }
        tb_mutex_lock(&control->mu);
        if (!control->locked.winding_down) {
            (void)tb_cond_wait_for(&control->more, &control->mu, next_ns - tb_clock_boot_ns());
        }
        stopping = control->locked.winding_down;
        tb_mutex_unlock(&control->mu);
    }
    return NULL;
}
