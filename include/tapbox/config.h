/*
 * The configuration file (YAML), with every key's type, range, default and help in one table.
 * Errors name file, line and key: "tapbox.yaml:12: capture.duration: '15 min' is not a duration
 * (write 90s, 15m, 2h)".
 */
#ifndef TAPBOX_CONFIG_H
#define TAPBOX_CONFIG_H

#include <tapbox/log.h>
#include <tapbox/policy.h>

enum {
    TB_CONFIG_MAX_ACCOUNTS = 64 /* besides the one that tapbox runs in */
};

/* accounts: another account whose interfaces may be captured. */
struct tb_config_account {
    char id[TB_ACCOUNT_SIZE];
    char role_arn[512];    /* role: assumed for everything that is asked or made there */
    char external_id[256]; /* external_id; "" : none */
};

struct tb_config {
    char region[TB_REGION_SIZE]; /* region: "" : as AWS's environment says */
    char listen_address[64];     /* listen: 127.0.0.1:8480 */
    uint16_t listen_port;
    uint32_t rate_per_address, rate_per_token; /* rate.*: calls a second; 0: any number */
    char tls_certificate[256];                 /* tls.certificate; "" : plain HTTP */
    char tls_key[256];                         /* tls.key */
    char tls_client_ca[256];                   /* tls.client_ca; "" : no client certificates */
    char state_dir[256];                       /* state_dir: /var/lib/tapbox */
    char tokens_file[256];                     /* tokens_file: /etc/tapbox/tokens */
    char owner[64]; /* owner: value of the tapbox:owner tag; default "tapbox" */
    char target_eni[TB_AWS_ID_SIZE];         /* target.eni; "" : this host's, from IMDS */
    char recorder_interface[16];             /* recorder.interface: eth0 */
    char recorder_socket[108];               /* recorder.socket: /run/tapbox/recorder.sock */
    uint64_t recorder_ring_bytes;            /* recorder.ring: 64MiB */
    uint64_t recorder_slab_bytes;            /* recorder.memory: 64MiB */
    uint32_t recorder_lanes;                 /* recorder.lanes: 1 */
    int recorder_level;                      /* recorder.level: 3 */
    uint64_t spool_limit_bytes;              /* spool.limit: 0 */
    uint64_t spool_min_free_bytes;           /* spool.min_free: 256MiB */
    char s3_bucket[64];                      /* s3.bucket */
    char s3_prefix[128];                     /* s3.prefix: captures */
    bool s3_path_style;                      /* s3.path_style: false */
    char s3_expected_owner[TB_ACCOUNT_SIZE]; /* s3.expected_owner */
    char s3_sse[16];              /* s3.sse; "" here and below: as the bucket's defaults say */
    char s3_kms_key[256];         /* s3.kms_key */
    char s3_object_lock_mode[16]; /* s3.object_lock_mode */
    int64_t s3_retention_ns;      /* s3.retention: 365d, with object_lock_mode */
    bool s3_legal_hold;           /* s3.legal_hold: false */
    char s3_reader_role[256];     /* s3.reader_role; "" : no links, own role reads */
    int64_t s3_url_ns;            /* s3.url_lifetime: 15m */
    char s3_storage_class[32];    /* s3.storage_class */
    char s3_tags[512];            /* s3.tags */
    uint32_t s3_threads;          /* s3.threads: 4 */
    uint64_t s3_part_above_bytes; /* s3.part_above: 1GiB */
    uint64_t s3_part_bytes;       /* s3.part_size: 64MiB */
    char evidence_key_file[256];  /* evidence.key_file; "" : evidence.key in state_dir */
    int64_t
        evidence_metrics_wait_ns; /* evidence.metrics_wait: 10m; 0: CloudWatch is asked once */
    uint64_t rotate_bytes;        /* capture.rotate_bytes: 128MiB */
    uint32_t rotate_s;            /* capture.rotate_seconds: 60 */
    uint32_t max_concurrent;      /* capture.max_concurrent: 10 */
    uint32_t max_per_account;     /* capture.max_per_account: 0 */
    int64_t extend_when_seen_ns;  /* capture.extend_when_seen: 0s, which is never */
    uint32_t no_traffic_s;        /* capture.no_traffic_seconds: 60 */
    char sqs_queue_url[256];      /* sqs.queue_url; "" : no queue */
    uint32_t sqs_pollers;         /* sqs.pollers: 2 */
    uint32_t sqs_visibility_s;    /* sqs.visibility_seconds: 60 */
    char sns_topics[8192];        /* sns.topics; "" : none */
    uint32_t sns_least_version;   /* sns.signature_version: 1 */
    int64_t sns_window_ns;        /* sns.window: 1h */
    char sns_ca_file[256];        /* sns.ca_file; "" : the system's authorities */
    int64_t store_keep_ns;        /* store.keep: 365d; 0: for ever */
    char cloudwatch_namespace[256]; /* cloudwatch.namespace; "" : no signs of life */
    char policy_file[256];          /* policy.file; "" : the policy that ships */
    struct tb_policy policy;        /* capture.duration, .max_duration, .max_bytes,
                                       .max_packets, .snaplen, policy.cooldown.  Its rules are
                                       NULL: whoever decides with it loads them
                                       (policy_file.h) */
    enum tb_log_level log_level;    /* log: info */
    struct tb_config_account accounts[TB_CONFIG_MAX_ACCOUNTS]; /* accounts: */
    size_t account_count;
};
/* NULL when it is not among `accounts`. */
const struct tb_config_account *tb_config_account_find(const struct tb_config *config,
                                                       const char *id);

/* `path` is used in messages and opened. */
TB_NODISCARD enum tb_err tb_config_load(const char *path, struct tb_config *out,
                                        struct tb_fail *fail);
/* The same from memory; `name` stands for the path. */
TB_NODISCARD enum tb_err tb_config_parse(struct tb_bytes text, const char *name,
                                         struct tb_config *out, struct tb_fail *fail);
/* Like tb_config_parse, and gives every complaint, not only the first, to `report` as one line.
 */
TB_NODISCARD enum tb_err tb_config_check(struct tb_bytes text, const char *name,
                                         struct tb_config *out,
                                         void (*report)(void *arg, const char *line), void *arg,
                                         struct tb_fail *fail);
/* Every key with type, default and help, as commented YAML, appended: `check-config
 * --defaults`. */
TB_NODISCARD enum tb_err tb_config_explain(struct tb_buf *out, struct tb_fail *fail);
/* Sizes as people write them: "128MiB", "1GB", "4096"; TB_EINVAL. */
TB_NODISCARD enum tb_err tb_config_size_parse(const char *text, uint64_t *out_bytes);

#endif
