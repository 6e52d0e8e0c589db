/*
 * What a mirror lets through: the rules of one EC2 traffic mirror filter, before it is made.
 * They only accept, so more rules are more traffic, and any two filters have a smallest one
 * that covers both.
 *
 * Ownership: a value.  Threads: pure.  Source: EC2 allows 10 rules in a filter, both directions
 * together; Amazon's own DNS is mirrored only as a network service.
 */
#ifndef TAPBOX_FILTER_H
#define TAPBOX_FILTER_H

#include <tapbox/alert.h>

enum tb_filter_kind {
    TB_FILTER_ALL,       /* everything, both directions, IPv4 and IPv6, and Amazon DNS */
    TB_FILTER_PEERS,     /* traffic with the addresses that the alert names */
    TB_FILTER_PEERS_DNS, /* and DNS: Amazon's, and UDP port 53 over IPv4 */
    TB_FILTER_RULES,     /* as written down */
    TB_FILTER_KIND_COUNT
};

enum {
    TB_FILTER_MAX_RULES = 10,
    TB_CIDR_SIZE = TB_IP_TEXT_SIZE + 4,
    TB_FILTER_JSON_MAX_BYTES = 8 * 1024
};

struct tb_filter_rule {
    bool egress;                    /* from the source; else towards it */
    int protocol;                   /* IANA number; -1: all */
    char remote[TB_CIDR_SIZE];      /* "203.0.113.7/32", "::/0" */
    int32_t remote_from, remote_to; /* ports; -1: all */
    int32_t local_from, local_to;
};

struct tb_filter {
    enum tb_filter_kind kind;
    /* none of TB_FILTER_ALL, which is the shared standing filter */
    struct tb_filter_rule rules[TB_FILTER_MAX_RULES];
    size_t rule_count;
    bool amazon_dns;
    char
        note[TB_CAPTURE_MAX_TEXT]; /* in what it is wider than asked, and why; "" : it is not */
};

/* "all", "peers", "peers+dns", "rules" */
const char *tb_filter_kind_name(enum tb_filter_kind kind);
bool tb_filter_kind_parse(const char *name, enum tb_filter_kind *out);

void tb_filter_all(struct tb_filter *out, const char *note);
/*
 * The filter for the peers of an alert: one prefix each, in both directions.  More peers than
 * fit share prefixes, the nearest ones first; without a peer, or with one whose address nobody
 * knows (a domain), it is everything.  `note` says so.
 */
void tb_filter_of_peers(const struct tb_alert *alert, bool dns, struct tb_filter *out);

bool tb_filter_rule_equal(const struct tb_filter_rule *a, const struct tb_filter_rule *b);
/* Whether all traffic of `inner` passes `outer`, as far as equal and wider rules show it. */
bool tb_filter_covers(const struct tb_filter *outer, const struct tb_filter *inner);
/* The smallest filter that lets through what either does: the rules of `a` in their places,
 * then those of `b` that it does not cover; everything when they do not fit. */
void tb_filter_join(const struct tb_filter *a, const struct tb_filter *b,
                    struct tb_filter *out);

/* Checks and completes a CIDR: "10.1.2.3" is a /32, host bits have to be 0.  False: it is none.
 */
bool tb_cidr_parse(const char *text, char out[TB_CIDR_SIZE]);

/* {"kind","rules":[{"direction","protocol","remote","remote_ports","local_ports"}],
 * "amazon_dns","note"}; of TB_FILTER_ALL the four rules that it stands for. */
struct tb_json *tb_filter_json(const struct tb_filter *filter);
/* The same back.  TB_EFORMAT. */
TB_NODISCARD enum tb_err tb_filter_parse(struct tb_bytes text, struct tb_filter *out,
                                         struct tb_fail *fail);

#endif
