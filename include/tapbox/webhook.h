/*
 * Senders of alerts.  An adapter knows one sender's shape: it recognises a body and reads it
 * into one common form.  Pure: bytes in, value out; no I/O, no clock.
 */
#ifndef TAPBOX_WEBHOOK_H
#define TAPBOX_WEBHOOK_H

#include <stdbool.h>

#include <tapbox/bytes.h>
#include <tapbox/json.h>
#include <tapbox/limits.h>

enum {
    TB_ALERT_MAX_SOURCES = TB_CAPTURE_MAX_SOURCES,
    TB_ALERT_MAX_INDICATORS = 64
};

enum tb_indicator_kind {
    TB_INDICATOR_IP,
    TB_INDICATOR_DOMAIN
};

struct tb_indicator {
    enum tb_indicator_kind kind;
    char value[256];
    uint32_t port;      /* remote port; 0 unknown */
    char protocol[16];  /* "tcp", "udp", a number as text, "" */
    char direction[16]; /* "inbound", "outbound", "unknown", "" */
};

struct tb_alert_source {
    char instance[TB_AWS_ID_SIZE]; /* "" unknown */
    char eni[TB_AWS_ID_SIZE];      /* "" unknown */
    char ip[TB_IP_TEXT_SIZE];      /* private address the finding names; "" unknown */
    char vpc[TB_AWS_ID_SIZE];
    bool seen_here; /* the traffic in question was seen on this very interface */
};

struct tb_alert {
    const char *adapter;           /* "guardduty": static */
    char key[TB_CAPTURE_MAX_TEXT]; /* idempotency: equal for redeliveries of the same thing */
    char id[TB_CAPTURE_MAX_TEXT];  /* the sender's id of the issue (finding id) */
    char type[TB_CAPTURE_MAX_TEXT];
    char title[TB_CAPTURE_MAX_TEXT]; /* untrusted text, control characters replaced */
    char account[TB_ACCOUNT_SIZE];
    char region[TB_REGION_SIZE];
    double severity; /* 0.0 .. 10.0 */
    bool sample;
    bool archived;
    int64_t seen_utc_ns; /* last activity; 0 unknown */
    struct tb_alert_source sources[TB_ALERT_MAX_SOURCES];
    size_t source_count;
    size_t sources_left_out; /* that were named beyond TB_ALERT_MAX_SOURCES */
    struct tb_indicator indicators[TB_ALERT_MAX_INDICATORS];
    size_t indicator_count;
    /* why there is nothing to mirror in it ("finding about an S3 bucket"); "" when there is */
    char nothing_to_mirror[TB_CAPTURE_MAX_TEXT];
};

/* A body with its envelope, if it came in one, taken off.  Everything is lent by the body. */
struct tb_event {
    const char *source;           /* "aws.guardduty"; NULL: no envelope */
    const char *detail_type;      /* "GuardDuty Finding"; NULL: no envelope */
    const char *account, *region; /* of the envelope: where it was delivered; NULL unknown */
    const struct tb_json *detail; /* what the envelope held, or the body itself */
};

struct tb_webhook_adapter {
    const char *name;
    const char *known_as; /* what it reads, for the sentence that lists the adapters */
    /* Whether this is of the adapter's sender. */
    bool (*recognises)(const struct tb_event *event);
    /* Reads it.  TB_EFORMAT names the member that is missing or wrong. */
    enum tb_err (*read)(const struct tb_event *event, struct tb_alert *out,
                        struct tb_fail *fail);
};

extern const struct tb_webhook_adapter tb_webhook_guardduty;

/*
 * Parses `body`, takes off an EventBridge envelope (or the list that the AWS CLI prints around
 * one finding), finds the adapter and reads the alert.  `out` is written on success only.
 * Errors: TB_EFORMAT not JSON, or recognised and broken; TB_ENOTFOUND no adapter knows this
 * shape (the sentence lists those that exist); TB_ETOOBIG.
 */
TB_NODISCARD enum tb_err tb_webhook_read(struct tb_bytes body, struct tb_alert *out,
                                         struct tb_fail *fail);

#endif
