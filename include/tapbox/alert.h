/*
 * An alert: what a sender said, in the one form that policy, store, evidence and analysis read.
 * A noun, no I/O.  Texts are bounded, without control characters, and still the sender's: they
 * are shown, never obeyed.
 *
 * Ownership: a value; nothing in it is owned or lent.  Units: severity 0.0 .. 10.0 (0 unknown),
 * times UTC in ns (0 unknown), ports in host order (0 unknown).  Threads: pure.
 */
#ifndef TAPBOX_ALERT_H
#define TAPBOX_ALERT_H

#include <stdbool.h>
#include <stdint.h>

#include <tapbox/json.h>
#include <tapbox/limits.h>

enum {
    TB_ALERT_ADAPTER_SIZE = 32,
    TB_ALERT_MAX_SOURCES = 64, /* attack sequences name dozens of instances */
    TB_ALERT_MAX_INDICATORS = 64,
    TB_ALERT_MAX_TAGS = 50, /* EC2's own ceiling for one resource */
    TB_ALERT_JSON_MAX_BYTES = 256 * 1024
};

enum tb_indicator_kind {
    TB_INDICATOR_IP,
    TB_INDICATOR_DOMAIN
};

struct tb_indicator {
    enum tb_indicator_kind kind;
    char value[256];     /* an address as inet_ntop writes it, or a domain */
    uint32_t port;       /* remote */
    uint32_t local_port; /* of the source: what was attacked */
    char protocol[16];   /* "tcp", "udp", a number as text, "" */
    char direction[16];  /* "inbound", "outbound", "unknown", "" ; seen from the source */
    /* Packets with it crossed the source's interface.  False: it is from elsewhere, such as the
     * caller of an API, and a filter for it would record nothing. */
    bool on_wire;
};

struct tb_alert_source {
    char instance[TB_AWS_ID_SIZE]; /* "" unknown */
    char eni[TB_AWS_ID_SIZE];      /* "" unknown */
    char ip[TB_IP_TEXT_SIZE];      /* local address (of the pod or task, too); "" unknown */
    char vpc[TB_AWS_ID_SIZE];
    char subnet[TB_AWS_ID_SIZE];
    bool seen_here; /* the traffic in question was seen on this very interface */
};

struct tb_alert_tag { /* of the instance, as the alert carries it */
    char key[129];
    char value[257];
};

struct tb_alert {
    char adapter[TB_ALERT_ADAPTER_SIZE]; /* "guardduty"; "" : no alert (an analyst's request) */
    char key[TB_CAPTURE_MAX_TEXT]; /* idempotency: equal for redeliveries of the same thing */
    char id[TB_CAPTURE_MAX_TEXT];  /* the sender's id of the issue (finding id) */
    char type[TB_CAPTURE_MAX_TEXT];
    char summary[TB_CAPTURE_MAX_TEXT]; /* untrusted text */
    char account[TB_ACCOUNT_SIZE];
    char region[TB_REGION_SIZE];
    double severity;
    /* What it is about: "instance", "eks", "ecs", "container", "access_key", "s3", "rds",
     * "lambda", "attack_sequence", "other"; the word that policy rules match. */
    char resource[24];
    char workload[TB_CAPTURE_MAX_TEXT]; /* "pod web/api-7f9c", "task arn:..."; "" none */
    bool sample;
    bool archived;
    int64_t created_utc_ns, updated_utc_ns; /* of the sender's record */
    int64_t first_seen_utc_ns, seen_utc_ns; /* of the activity: first and last */
    struct tb_alert_source sources[TB_ALERT_MAX_SOURCES];
    size_t source_count;
    size_t sources_left_out; /* named beyond TB_ALERT_MAX_SOURCES: at least so many */
    struct tb_indicator indicators[TB_ALERT_MAX_INDICATORS];
    size_t indicator_count;
    size_t indicators_left_out;
    struct tb_alert_tag tags[TB_ALERT_MAX_TAGS];
    size_t tag_count;
    bool tags_known; /* false: the alert does not tell them */
    /* why there is nothing to mirror in it ("finding about an S3 bucket"); "" when there is */
    char nothing_to_mirror[TB_CAPTURE_MAX_TEXT];
    /* News of an instance instead of a finding: its state now ("terminated"); else "".  Nothing
     * is captured for it; captures of sources[0].instance are told. */
    char instance_state[16];
};

/* "ip", "domain" */
const char *tb_indicator_kind_name(enum tb_indicator_kind kind);
/* [{"kind","value","port","local_port","protocol","direction","on_wire"}]; unknown is null. */
struct tb_json *tb_alert_indicators_json(const struct tb_alert *alert);
/* All of it, for the store and for people: an object, for the caller to tb_json_free. */
struct tb_json *tb_alert_json(const struct tb_alert *alert);
/* The same back, of a text that tb_alert_json made.  TB_EFORMAT names the member that is wrong;
 * `out` is written on success only. */
TB_NODISCARD enum tb_err tb_alert_parse(struct tb_bytes text, struct tb_alert *out,
                                        struct tb_fail *fail);

#endif
