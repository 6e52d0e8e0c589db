/*
 * What somebody wants captured, before anything is looked up: checked bounds, no I/O.
 */
#ifndef TAPBOX_REQUEST_H
#define TAPBOX_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include <tapbox/bytes.h>
#include <tapbox/err.h>
#include <tapbox/filter.h>
#include <tapbox/limits.h>

/* How a capture's objects are kept in S3, as the policy's profile wants it; "", 0 and false: as
 * configured. */
struct tb_storage {
    char lock_mode[16];   /* Object Lock: "none", "GOVERNANCE", "COMPLIANCE" */
    int64_t retention_ns; /* with the latter two */
    bool legal_hold;
    char sse[16];      /* encryption: "AES256", "aws:kms", "aws:kms:dsse" */
    char kms_key[256]; /* with the latter two; "" : the configured one, else the bucket's */
    char storage_class[32];
    char tags[512]; /* "key=value&key=value"; instead of the configured ones */
};

struct tb_capture_request {
    /* What to tap: one instance (all its interfaces) or named interfaces.  An interface wins
     * when both are given.  At least one is not empty. */
    char instance[TB_AWS_ID_SIZE];
    char enis[TB_CAPTURE_MAX_SOURCES][TB_AWS_ID_SIZE];
    size_t eni_count;
    char account[TB_ACCOUNT_SIZE]; /* "" : the one we run in */
    char region[TB_REGION_SIZE];   /* "" : the one we run in */

    int64_t duration_ns;
    struct tb_filter filter;           /* what is mirrored */
    uint32_t packet_length;            /* octets of each packet that AWS mirrors; 0: all */
    uint32_t snaplen;                  /* octets of each inner frame that are kept; 0: all */
    uint64_t max_bytes;                /* captured octets; 0: no budget */
    uint64_t max_packets;              /* captured packets; 0: no budget */
    char bpf[TB_CAPTURE_MAX_BPF_TEXT]; /* "" : everything */

    char reason[TB_CAPTURE_MAX_TEXT];
    char case_id[TB_CAPTURE_MAX_TEXT];
    char finding_id[TB_CAPTURE_MAX_TEXT];   /* "" when an analyst asked */
    char finding_type[TB_CAPTURE_MAX_TEXT]; /* "Backdoor:EC2/C&CActivity.B" */
    double severity;                        /* 0 when unknown */
    char requested_by[TB_TOKEN_NAME_SIZE];  /* the token's name */

    /* --- what policy gives --- */
    char rule[TB_RULE_NAME_SIZE]; /* the rule that decided; "" : none, an analyst asked */
    /* the rule can only be told with what EC2 knows of the source: planning decides again */
    bool undecided;
    bool primary_only; /* of an instance, the interface with device index 0 */
    int32_t priority;  /* of those that wait for a place: higher goes first */
    struct tb_storage storage;
};

/* Ceilings that configuration sets for every request. */
struct tb_request_bounds {
    int64_t default_duration_ns;
    int64_t max_duration_ns;
    uint64_t default_max_bytes;   /* 0: none */
    uint64_t default_max_packets; /* 0: none */
    uint32_t default_snaplen;     /* 0: all */
};

/*
 * Reads the body of POST /v1/captures.  Unknown members are refused by name, as is any value
 * out of bounds; `fail` says which member, what it was and what is allowed. Errors: TB_EFORMAT
 * (not JSON, not an object), TB_EINVAL (a member). Threads: pure.
 */
TB_NODISCARD enum tb_err tb_capture_request_parse(struct tb_bytes body,
                                                  const struct tb_request_bounds *bounds,
                                                  struct tb_capture_request *out,
                                                  struct tb_fail *fail);

#endif
