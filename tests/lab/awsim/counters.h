/* What happened to the frames of one session.  Written by its port's thread, read by anybody.
 */
#ifndef AWSIM_COUNTERS_H
#define AWSIM_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/queue.h>

#include "objects.h"
#include "str.h"

enum never {
    NEVER_ARP,
    NEVER_NOT_IP,
    NEVER_DHCP,
    NEVER_METADATA,
    NEVER_NTP,
    NEVER_ACTIVATION, /* Windows */
    NEVER_DNS,        /* Amazon's, for a filter without the amazon-dns service */
    NEVER_COUNT,
    NEVER_NONE = NEVER_COUNT
};

/* Why a copy cannot reach its target at all; it still counts as matched. */
enum block {
    BLOCK_NONE,
    BLOCK_GROUP,       /* the target's security groups do not admit UDP 4789 from the source */
    BLOCK_ROUTE,       /* another VPC, and no peering or transit route towards it */
    BLOCK_NO_PORT,     /* the target has no port in this world */
    BLOCK_TARGET_GONE, /* deleted or detached, or its instance is stopped */
    BLOCK_NOT_SHARED,  /* another account's, and the share has ended */
    BLOCK_COUNT
};

typedef _Atomic uint64_t counter;

/* What was left out in favour of production, in one of CloudWatch's periods; [0] in, [1] out.
 */
#define SKIP_PERIOD_S 300
#define SKIP_PERIODS 64 /* a little over five hours, then the first are overwritten */
struct skip_period {
    _Atomic int64_t begins_s;
    counter frames[2];
    counter bytes[2];
};

struct counters {
    TAILQ_ENTRY(counters) link;
    /* set once, or by the API under the state's lock */
    char session[ID_MAX];
    char eni[ID_MAX];
    char account[13];
    _Atomic uint32_t vni;
    _Atomic int64_t created_ns; /* realtime; 0: not yet */
    _Atomic int64_t deleted_ns; /* 0: live */
    /*
     * For every frame seen while the session is live, exactly one of: never[…], rejected,
     * taken, matched.  And matched = mirrored + send_failed + blocked[…] + skipped.
     */
    counter seen;
    counter never[NEVER_COUNT];
    counter rejected;          /* no rule accepts it */
    counter taken;             /* a lower-numbered session has it */
    counter matched_frames[2]; /* [0] ingress, [1] egress, seen from the ENI */
    counter matched_bytes[2];  /* inner frames before any cut */
    counter mirrored_frames;
    counter mirrored_bytes; /* inner frames as sent */
    counter truncated;      /* of the mirrored ones: by packet length or target MTU */
    counter send_failed;
    counter skipped; /* left out by the world's wish, as AWS does when bandwidth is short */
    struct skip_period skips[SKIP_PERIODS];
    counter blocked[BLOCK_COUNT];
    counter ring_drops; /* of the port while the session was live: an upper bound */
};

static inline void
counter_add(counter *c, uint64_t n)
{
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static inline uint64_t
counter_get(const counter *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

struct counters_sum {
    uint64_t seen;
    uint64_t never;
    uint64_t rejected;
    uint64_t mirrored;
    uint64_t mirrored_bytes;
    uint64_t truncated;
    uint64_t send_failed;
    uint64_t ring_drops;
};
/* One object of a list; adds to the sum. */
void counters_json(struct str *s, const struct counters *c, struct counters_sum *sum);
/* "totals" */
void counters_sum_json(struct str *s, const struct counters_sum *sum);

#endif
