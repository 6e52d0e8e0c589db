/* The world file: which accounts, networks, instances and interfaces there are. */
#ifndef AWSIM_WORLD_H
#define AWSIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>

#include "objects.h"

/* Fills `st` (fresh from state_init).  False leaves one sentence in `why`. */
bool world_load(const char *path, struct state *st, char *why, size_t why_size);

#endif
