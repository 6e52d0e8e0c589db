/*
 * CloudWatch: what EC2 says it left out of a mirror, and what we say of ourselves.
 * Source: CloudWatch API Reference 2010-08-01, GetMetricData and PutMetricData; VPC Traffic
 * Mirroring guide, "Monitor mirrored traffic".  Errors as in aws_ec2.h.  Threads: any.
 */
#ifndef TAPBOX_AWS_CLOUDWATCH_H
#define TAPBOX_AWS_CLOUDWATCH_H

#include <tapbox/aws.h>

enum {
    TB_CLOUDWATCH_PERIOD_S = 300,     /* of basic monitoring, and the coarsest there is */
    TB_CLOUDWATCH_MAX_PERIODS = 2100, /* a week and a little */
};

/* What matched a mirror's filter and was not mirrored, because the instance's own traffic came
 * first: sums over the 5-minute periods that the time touches. */
struct tb_mirror_skips {
    uint64_t octets_in, octets_out;
    uint64_t packets_in,
        packets_out;  /* 0 with detailed monitoring, which does not count them */
    uint32_t periods; /* that the time touches */
    uint32_t known;   /* of them: CloudWatch has a point for both directions */
};
/* TB_EDENIED: cloudwatch:GetMetricData is not allowed.  TB_ETOOBIG: more than
 * TB_CLOUDWATCH_MAX_PERIODS. */
TB_NODISCARD enum tb_err tb_cloudwatch_mirror_skips(struct tb_aws *aws, const char *instance,
                                                    int64_t from_utc_s, int64_t until_utc_s,
                                                    struct tb_mirror_skips *out,
                                                    struct tb_fail *fail);

struct tb_cloudwatch_point {
    const char *metric;
    uint32_t value;
};
/* One point each, now: metrics of `name_space`, with the dimension Owner; one request.
 * TB_EDENIED: cloudwatch:PutMetricData is not allowed there. */
TB_NODISCARD enum tb_err tb_cloudwatch_put(struct tb_aws *aws, const char *name_space,
                                           const char *owner,
                                           const struct tb_cloudwatch_point *points,
                                           size_t count, struct tb_fail *fail);

#endif
