/*
 * Policy: rules that turn an alert into a capture request, or into a reasoned no.  Pure.
 *
 * The first rule that matches decides.  Some rules ask for the VPC, subnet or tags of the
 * source: when the alert does not carry them they are decided in a second phase, by control,
 * with what EC2 says.  The guard stands over everything, also over what analysts ask for.
 *
 * Ownership: struct tb_rules owns what is in it; tb_policy borrows it.  Threads: pure.
 */
#ifndef TAPBOX_POLICY_H
#define TAPBOX_POLICY_H

#include <tapbox/request.h>
#include <tapbox/senders.h>
#include <tapbox/webhook.h>

enum {
    TB_POLICY_MAX_RULES = 256,
    TB_POLICY_MAX_PROFILES = 64,
    TB_POLICY_MAX_WORDS = 256 /* in one list */
};

enum tb_decision {
    TB_DECISION_CAPTURE,
    TB_DECISION_IGNORE, /* the policy does not want it */
    TB_DECISION_REFUSE  /* it cannot be: there is nothing to mirror, or the guard forbids it */
};
/* "capture", "ignore", "refuse" */
const char *tb_decision_name(enum tb_decision decision);

/* Why nothing is captured: few words, for counters. */
enum tb_why {
    TB_WHY_NONE,
    TB_WHY_RULE,    /* a rule says ignore */
    TB_WHY_NO_RULE, /* none matches */
    TB_WHY_SAMPLE,
    TB_WHY_ARCHIVED,
    TB_WHY_NEWS, /* of an instance's state */
    TB_WHY_NOTHING_TO_MIRROR,
    TB_WHY_GUARD,
    TB_WHY_COUNT
};
const char *tb_why_name(enum tb_why why); /* "rule", "no_rule", ... */

enum tb_profile_sources {
    TB_SOURCES_NAMED,  /* where it was seen; unknown: all interfaces of the instance */
    TB_SOURCES_ALL,    /* all interfaces of the instance */
    TB_SOURCES_PRIMARY /* its first interface */
};

struct tb_profile {
    char name[TB_RULE_NAME_SIZE];
    int64_t duration_ns; /* 0 here and below: as configured for every request */
    uint64_t max_bytes, max_packets;
    uint32_t snaplen;
    enum tb_profile_sources sources;
    struct tb_filter filter; /* its rules with TB_FILTER_RULES */
    char *bpf;               /* "" : none */
    uint32_t packet_length;
    struct tb_storage storage;
    int32_t priority;
    int64_t cooldown_ns; /* -1: as configured */
};

enum tb_wanted { /* samples, archived findings */
    TB_WANTED_NO,
    TB_WANTED_ONLY,
    TB_WANTED_TOO
};

struct tb_rule {
    char name[TB_RULE_NAME_SIZE];
    size_t line; /* of the file */
    /* patterns: '*' stands for anything and '?' for one character; empty lists match everything
     */
    struct tb_words types, accounts, regions, vpcs, subnets, tags, resources, adapters;
    double min_severity, max_severity;
    bool has_severity; /* a range; an unknown severity is in none */
    enum tb_wanted sample, archived;
    size_t profile;                   /* of the capture, unless */
    char ignore[TB_CAPTURE_MAX_TEXT]; /* the reason; "" : capture */
};

struct tb_guard {
    struct tb_words accounts, vpcs; /* empty: any */
    struct tb_words deny_tags;      /* "key" or "key=value" */
    int64_t max_duration_ns;        /* 0: as configured */
    int64_t day_duration_ns;        /* of all captures of a UTC day; 0: no budget */
    uint64_t day_bytes;
};

struct tb_rules {
    struct tb_guard guard;
    struct tb_profile *profiles;
    size_t profile_count;
    struct tb_rule *rules;
    size_t rule_count;
    struct tb_senders senders; /* whose bodies have no adapter */
};
void tb_rules_free(struct tb_rules *rules);

struct tb_policy {
    struct tb_request_bounds bounds;
    int64_t
        cooldown_ns; /* a finding that was captured so shortly before is ignored; 0: never */
    const struct tb_rules *rules; /* NULL: every finding is captured, by the bounds alone */
};
/* NULL: none */
const struct tb_senders *tb_policy_senders(const struct tb_policy *policy);

/* What EC2 says of one source; everything is lent. */
struct tb_source_facts {
    const char *vpc, *subnet;
    const char *(*tag)(const void *tags, const char *key); /* NULL: no such tag */
    const void *tags;
};

struct tb_verdict {
    enum tb_decision decision;
    enum tb_why why;
    char rule[TB_RULE_NAME_SIZE]; /* "" : none did */
    char reason[TB_CAPTURE_MAX_TEXT];
    /* With TB_DECISION_CAPTURE, and with a sample that is only planned: as it would be. */
    bool planned;
    /* of those: sources that the alert names and one capture does not hold; at least so many */
    size_t left_out;
    int64_t cooldown_ns;
    struct tb_capture_request request;
};

/* `facts` NULL: not known yet.  A request that is then `undecided` has to be decided again. */
void tb_policy_decide(const struct tb_policy *policy, const struct tb_alert *alert,
                      const struct tb_source_facts *facts, size_t fact_count,
                      struct tb_verdict *out);

/* Whether the guard forbids this source; `out` (TB_CAPTURE_MAX_TEXT) says why. */
bool tb_guard_forbids(const struct tb_guard *guard, const struct tb_source_facts *source,
                      char out[TB_CAPTURE_MAX_TEXT]);
/* The account of a request; "" is ours and always allowed. */
bool tb_guard_forbids_account(const struct tb_guard *guard, const char *account,
                              char out[TB_CAPTURE_MAX_TEXT]);

/* '*' and '?'; capitals are equal to small letters. */
bool tb_glob(const char *pattern, const char *text);

#endif
