/*
 * What one source's sessions look like from a moment on: a copy of all that the port's thread
 * needs, so that it never touches the API's objects.
 */
#ifndef AWSIM_VIEW_H
#define AWSIM_VIEW_H

#include <stdbool.h>

#include "counters.h"
#include "encap.h"
#include "packet.h"

struct view_session {
    struct counters *counters;
    int number;
    int packet_length; /* 0: whole */
    bool amazon_dns;
    struct rule rules[RULES_PER_FILTER]; /* values only; by direction, then number */
    size_t nrules;
    enum block block;
    int out_ifindex;
    int target_mtu;
    struct encap encap;
};

struct view {
    struct view *next;
    uint64_t ticket;
    int64_t from_ns; /* realtime: frames stamped earlier belong to the view before */
    struct ip resolver;
    struct view_session sessions[SESSIONS_PER_ENI];
    size_t n;
};

/* A copy of the source's sessions as they are; `ifindex_of` gives a target's port. */
struct view *view_of(const struct state *st, const struct eni *source,
                     int (*ifindex_of)(const struct eni *));

/* Does the session's filter take this packet? */
bool view_accepts(const struct view_session *s, const struct packet *p, bool egress);

#endif
