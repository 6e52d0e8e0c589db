/*
 * A capture: its states and who may follow whom, why it ended, its sources, and the ledger of
 * where every packet went.  Nouns only, no I/O.  DESIGN sections 4 and 5.
 */
#ifndef TAPBOX_CAPTURE_H
#define TAPBOX_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include <tapbox/clock.h>
#include <tapbox/err.h>
#include <tapbox/limits.h>
#include <tapbox/request.h>

struct tb_json;

enum tb_capture_state {
    TB_CAPTURE_REQUESTED, /* committed, nothing looked at yet */
    TB_CAPTURE_PLANNED,   /* sources resolved, pre-flight passed */
    TB_CAPTURE_ARMING,    /* recorder armed, AWS objects being made */
    TB_CAPTURE_RECORDING, /* at least one session is alive */
    TB_CAPTURE_DRAINING,  /* sessions being deleted, packets in flight awaited */
    TB_CAPTURE_SEALING,   /* last segments and the manifest on their way to S3 */
    TB_CAPTURE_SEALED,    /* done: everything is in S3 */
    TB_CAPTURE_REFUSED,   /* policy or pre-flight said no: nothing was made */
    TB_CAPTURE_FAILED,    /* could not run; all that was made is gone again */
    TB_CAPTURE_STATE_COUNT
};

enum tb_stop_reason {
    TB_STOP_NONE,
    TB_STOP_DEADLINE,
    TB_STOP_OPERATOR,
    TB_STOP_BUDGET,      /* byte budget used up */
    TB_STOP_PACKETS,     /* packet budget used up */
    TB_STOP_SOURCE_GONE, /* interface detached or deleted, session deleted by someone else */
    TB_STOP_FAILURE,
    TB_STOP_REASON_COUNT
};

/* "recording", "deadline", ...: stable names of API and store.  Static storage. */
const char *tb_capture_state_name(enum tb_capture_state state);
bool tb_capture_state_parse(const char *name, enum tb_capture_state *out);
const char *tb_stop_reason_name(enum tb_stop_reason reason);
bool tb_stop_reason_parse(const char *name, enum tb_stop_reason *out);
/* sealed, refused, failed */
bool tb_capture_state_is_final(enum tb_capture_state state);
/* Whether an AWS object or an armed recorder may exist in this state: arming .. draining. */
bool tb_capture_state_is_live(enum tb_capture_state state);
/*
 * requested -> planned -> arming -> recording -> draining -> sealing -> sealed
 * requested, planned            -> draining (stopped early), refused, failed
 * arming                        -> draining: what was made is torn down there
 * draining, sealing             -> failed
 */
bool tb_capture_may_follow(enum tb_capture_state from, enum tb_capture_state to);

/* One interface being mirrored by a capture. */
struct tb_capture_source {
    char eni[TB_AWS_ID_SIZE];
    char instance[TB_AWS_ID_SIZE];             /* "" when not attached to one */
    char instance_type[TB_INSTANCE_TYPE_SIZE]; /* when it was planned; "": not known */
    char mac[TB_MAC_TEXT_SIZE];                /* lower case, colons */
    char ip[TB_IP_TEXT_SIZE]; /* primary private address: the outer source of its mirror */
    char subnet[TB_AWS_ID_SIZE];
    char vpc[TB_AWS_ID_SIZE];
    char account[TB_ACCOUNT_SIZE]; /* owner */
    uint32_t vni;                  /* 0 until allocated; 24 bits */
    uint32_t session_number;       /* 0 until chosen */
    bool armed;                    /* its session was created */
    /* Why this interface is not captured, or what is missing of it; "" : nothing, or it is yet
     * to be armed. */
    char gap[TB_CAPTURE_MAX_TEXT];
    /* Why it is not armed yet, and is tried again; "" : it is, or was not tried. */
    char trouble[TB_CAPTURE_MAX_TEXT];
};

/* What is missing of it as one sentence for people, also while it is still tried; "" : nothing
 * is.  Lent: from `source`, or in `room`. */
const char *tb_capture_source_gap(const struct tb_capture_source *source,
                                  char room[TB_CAPTURE_MAX_TEXT]);

/*
 * Where packets went (promise 4).  For the host the terms balance:
 *   received = written + ring_dropped + fragments + not_vxlan + malformed + unknown_vni
 *            + not_armed + filtered + over_budget + queue_dropped + spool_full
 * A capture's own ledger leaves the host-level terms (ring_dropped, fragments, not_vxlan,
 * malformed, unknown_vni, not_armed) at 0 and balances over the rest.
 * truncated and bytes are attributes, not terms.
 */
struct tb_ledger {
    uint64_t received;
    uint64_t written;
    uint64_t ring_dropped;
    uint64_t fragments;
    uint64_t not_vxlan;
    uint64_t malformed;
    uint64_t unknown_vni;
    uint64_t not_armed;
    uint64_t filtered;
    uint64_t over_budget;
    uint64_t queue_dropped;
    uint64_t spool_full;
    uint64_t truncated;     /* inner frames that AWS or a snaplen cut */
    uint64_t written_bytes; /* captured octets of written frames, without file overhead */
};

/* The terms by name, in the order above, for every place that shows or stores a ledger. */
struct tb_ledger_field {
    const char *name;
    size_t offset; /* of a uint64_t in struct tb_ledger */
    bool is_term;  /* counted in the sum on the right */
};
enum {
    TB_LEDGER_FIELDS = 14
};
extern const struct tb_ledger_field tb_ledger_fields[TB_LEDGER_FIELDS];
uint64_t tb_ledger_get(const struct tb_ledger *ledger, size_t field);
void tb_ledger_set(struct tb_ledger *ledger, size_t field, uint64_t value);
/* received minus the sum of the terms: 0 when the ledger balances. */
int64_t tb_ledger_residual(const struct tb_ledger *ledger);
/* Every field by its name, and "residual"; the caller owns it. */
struct tb_json *tb_ledger_json(const struct tb_ledger *ledger);
void tb_ledger_add(struct tb_ledger *into, const struct tb_ledger *more);

/* A row of the store: one capture as it stands now. */
struct tb_capture {
    char id[TB_CAPTURE_ID_SIZE];
    enum tb_capture_state state;
    enum tb_stop_reason
        stop_reason;  /* set when draining begins, or as soon as a stop is asked */
    bool stop_asked;  /* operator or budget: a worker acts on it */
    bool filter_due;  /* its filter in AWS does not let through yet all that it has to */
    bool source_news; /* EC2 has told of a change of its instance: a worker looks at it */
    struct tb_capture_request request;

    int64_t requested_utc_ns;
    int64_t recording_utc_ns;    /* first session alive; 0 before */
    int64_t stopped_utc_ns;      /* last session gone; 0 before */
    int64_t ended_utc_ns;        /* final state reached; 0 before */
    struct tb_deadline deadline; /* of the time box; utc_ns 0 until arming sets it */
    int64_t extend_to_utc_ns;    /* asked for, not yet confirmed; 0: nothing */

    /* by the store's clock (tb_store_steady_ns) */
    int64_t requested_steady_ns, recording_steady_ns; /* as above */
    int64_t stopped_steady_ns, ended_steady_ns;
    int64_t due_steady_ns; /* when a worker should look at it next */
    uint32_t attempt;      /* of the present step, for backoff */

    struct tb_capture_source sources[TB_CAPTURE_MAX_LISTED];
    size_t source_count;
    uint32_t alert_count;
    struct tb_ledger ledger; /* as last reported by the recorder */

    /* of the failure that ended it, or of the last retry */
    char error_code[80];
    char error_text[512];
    char error_request_id[80];
};

/* The end of a box of `most_ns` from the request on, as its deadline's utc_ns counts: another
 * clock than the host's, when somebody has set that.  `now_steady_ns` is the store's.  The box
 * has begun. */
int64_t tb_capture_latest_utc_ns(const struct tb_capture *capture, int64_t most_ns,
                                 int64_t now_steady_ns);
/* For how long it has recorded, or did; 0: not yet.  No wall clock that is set changes it: it
 * is measured by the deadline, and in the end by the store's clock. */
int64_t tb_capture_recorded_ns(const struct tb_capture *capture);

#endif
