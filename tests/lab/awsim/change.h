/* POST /world: what happens to the network while awsim runs, without the API. */
#ifndef AWSIM_CHANGE_H
#define AWSIM_CHANGE_H

#include <jansson.h>

#include "objects.h"
#include "plane.h"

/*
 * One change, or a list of them, done in order until one is wrong: then false, and `why` says
 * what; those before it are done.  All are in force on return.  Takes the state's lock.
 * `*out_added` lists the ids of what "add" made: {"instances":[…],"enis":[…],…}; the caller's.
 */
bool world_change(struct state *st, struct plane *plane, json_t *changes, json_t **out_added,
                  char *why, size_t why_size);

#endif
