/* The world file: which accounts, networks, instances and interfaces there are. */
#ifndef AWSIM_WORLD_H
#define AWSIM_WORLD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "objects.h"

/* Fills `st` (fresh from state_init).  False leaves one sentence in `why`. */
bool world_load(const char *path, struct state *st, char *why, size_t why_size);

/*
 * More of the same while awsim runs: "vpcs", "subnets", "route_tables", "security_groups",
 * "instances", "enis", "load_balancers", "generate".  All of it or nothing.  With the state's
 * lock held; the caller opens the ports.
 */
bool world_add(struct state *st, json_t *more, char *why, size_t why_size);
/* Take away everything made after `seq`. */
void world_undo(struct state *st, uint64_t seq);

#endif
