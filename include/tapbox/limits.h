/* Ceilings, each with its unit and its reason.  Nothing from outside grows past one of these.
 */
#ifndef TAPBOX_LIMITS_H
#define TAPBOX_LIMITS_H

#include <stddef.h>

enum {
    /* --- what arrives --- */
    TB_EVENT_MAX_BYTES = 1024 * 1024,  /* one alert body: EventBridge's own ceiling is 1 MiB */
    TB_JSON_MAX_DEPTH = 64,            /* GuardDuty findings nest about 12 deep */
    TB_HTTP_HEADERS_MAX_BYTES = 16384, /* all header lines of one request */
    TB_CONFIG_MAX_BYTES = 256 * 1024,  /* the configuration file */
    TB_TOKENS_MAX_BYTES = 1024 * 1024, /* the token file: about 5,000 tokens */
    TB_AWS_ANSWER_MAX_BYTES = 8 << 20, /* one EC2 answer: 1,000 described interfaces are 2 MB */
    TB_AWS_REQUEST_MAX_BYTES = 64 * 1024, /* one EC2 request body */
    TB_IMDS_ANSWER_MAX_BYTES = 64 * 1024, /* metadata, credentials, identity document */
    TB_CREDENTIALS_FILE_MAX_BYTES = 1024 * 1024,
    TB_CREDENTIALS_TOKEN_MAX_BYTES = 20000, /* what STS takes as a web identity token */

    /* --- one capture --- */
    TB_CAPTURE_MAX_SOURCES =
        16,                     /* interfaces tapped by one capture; most instances have < 16 */
    TB_CAPTURE_MAX_LISTED = 32, /* interfaces named in one, the others as gaps */
    TB_CAPTURE_MAX_BPF_INSNS = 4096, /* the kernel's own ceiling (BPF_MAXINSNS) */
    TB_CAPTURE_MAX_BPF_TEXT = 4096,  /* characters of filter expression */
    TB_CAPTURE_MAX_TEXT = 256,       /* characters of reason, case, finding id, type */
    TB_CAPTURE_MAX_DURATION_S = 7 * 24 * 3600, /* a week; policy sets less */
    TB_CAPTURE_MAX_ALERTS = 9999,              /* alerts/NNNN.json */
    TB_SNAPLEN_MAX = 65535,                    /* octets kept of one frame */

    /* --- the recorder --- */
    TB_RECORDER_MAX_CAPTURES =
        256, /* armed at once; 10..100 sources per target bound it in AWS */
    TB_RECORDER_MAX_MESSAGE =
        128 * 1024,           /* one message on its socket: 4,096 BPF instructions */
    TB_CHUNK_BYTES = 1 << 20, /* target size of one uncompressed chunk (segment format) */

    /* --- names --- */
    TB_CAPTURE_ID_SIZE = 32, /* "cap-20260102T030405Z-1a2b3c4d" and the NUL */
    TB_AWS_ID_SIZE = 64,     /* "tms-0123456789abcdef0"; AWS ids stay below 64 */
    TB_ACCOUNT_SIZE = 13,    /* 12 digits */
    TB_REGION_SIZE = 32,
    TB_IP_TEXT_SIZE = 46, /* INET6_ADDRSTRLEN */
    TB_MAC_TEXT_SIZE = 18,
    TB_INSTANCE_TYPE_SIZE = 32, /* "u7inh-32tb.480xlarge" */
    TB_TOKEN_NAME_SIZE = 64,
    TB_RULE_NAME_SIZE = 64, /* of a rule or profile of the policy */
    TB_S3_KEY_SIZE = 1025   /* S3's 1,024 and the NUL */
};

#endif
