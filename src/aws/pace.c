/*
 * A token bucket for each EC2 action, as large and as fast as EC2's own: we wait here instead
 * of being refused there, where the bucket is shared with everything else in the account.
 *
 * A teardown never waits behind anything else: its deletes have buckets of their own.
 * Source: EC2 Developer Guide, "Request throttling".
 */
#include "aws_int.h"

#include <tapbox/clock.h>

struct rate {
    double burst, per_s;
};

static struct rate
rate_of(const char *action)
{
    if (strncmp(action, "Describe", 8) == 0) {
        return (struct rate){100, 20};
    }
    if (strcmp(action, "CreateTags") == 0 || strcmp(action, "DeleteTags") == 0) {
        return (struct rate){100, 10};
    }
    return (struct rate){50, 5};
}

/* The action's bucket, made full when it is new; NULL when the table is. */
static struct tb_aws_bucket *
find_bucket_locked(struct tb_aws *aws, const char *action, int64_t now_boot_ns)
    TB_REQUIRES(aws->mu)
{
    for (size_t i = 0; i < TB_AWS_BUCKETS; i++) {
        struct tb_aws_bucket *bucket = &aws->locked.buckets[i];

        if (bucket->action == NULL) {
            *bucket = (struct tb_aws_bucket){action, rate_of(action).burst, now_boot_ns};
        }
        if (strcmp(bucket->action, action) == 0) {
            return bucket;
        }
    }
    return NULL;
}

static double
tokens_at(const struct tb_aws_bucket *bucket, int64_t now_boot_ns)
{
    struct rate rate = rate_of(bucket->action);
    double tokens = bucket->tokens + rate.per_s * (double)(now_boot_ns - bucket->at_boot_ns) /
                                         (double)TB_NS_PER_S;

    return tokens < rate.burst ? tokens : rate.burst;
}

enum tb_err
tb_aws_pace(struct tb_aws *aws, const char *action, int64_t at_most_ns, struct tb_fail *fail)
{
    double per_s = rate_of(action).per_s;
    int64_t now_boot_ns = tb_clock_boot_ns();
    struct tb_aws_bucket *bucket;
    int64_t wait_ns = 0;

    tb_mutex_lock(&aws->mu);
    bucket = find_bucket_locked(aws, action, now_boot_ns);
    if (bucket != NULL) {
        double tokens = tokens_at(bucket, now_boot_ns) - 1;

        if (tokens < 0) { /* taken in advance: those behind wait longer */
            wait_ns = (int64_t)(-tokens / per_s * (double)TB_NS_PER_S);
        }
        if (wait_ns <= at_most_ns) {
            bucket->tokens = tokens;
            bucket->at_boot_ns = now_boot_ns;
        }
    }
    tb_mutex_unlock(&aws->mu);
    if (wait_ns > at_most_ns) {
        return tb_fail_set(fail, TB_ETHROTTLE, "%s: too many of these wait already", action);
    }
    tb_aws_pause(wait_ns);
    return TB_OK;
}

void
tb_aws_pace_refused(struct tb_aws *aws, const char *action)
{
    int64_t now_boot_ns = tb_clock_boot_ns();
    struct tb_aws_bucket *bucket;

    tb_mutex_lock(&aws->mu);
    bucket = find_bucket_locked(aws, action, now_boot_ns);
    if (bucket != NULL && tokens_at(bucket, now_boot_ns) > 0) {
        /* (what those that wait have taken in advance stays taken) */
        bucket->tokens = 0;
        bucket->at_boot_ns = now_boot_ns;
    }
    tb_mutex_unlock(&aws->mu);
}
