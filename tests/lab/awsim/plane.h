/*
 * The data plane: frames seen at a source ENI's port are mirrored to the target ENI's port.
 *
 * The API side calls these with the state's lock held, except plane_wait.
 */
#ifndef AWSIM_PLANE_H
#define AWSIM_PLANE_H

#include <stdbool.h>
#include <stdint.h>

#include "counters.h"
#include "objects.h"
#include "str.h"

struct plane;

struct plane *plane_new(struct state *st);
/* Looks up every port named in the world.  False leaves a sentence in `why`. */
bool plane_start(struct plane *p, char *why, size_t why_size);
/* The same for one interface that came later. */
bool plane_add(struct plane *p, struct eni *e, char *why, size_t why_size);
void plane_stop(struct plane *p);

/* Make the source's ring ready; false (with a sentence) when the port cannot be opened. */
bool plane_prepare(struct plane *p, struct eni *source, char *why, size_t why_size);
/* A session begins or ends; its counters stay readable for ever. */
void plane_session_begin(struct plane *p, struct session *s);
void plane_session_end(struct plane *p, struct session *s);
/* Sessions of this source, or something they use, changed: in force from now on. */
uint64_t plane_publish(struct plane *p, struct eni *source);
/* Until every frame from before that ticket is dealt with.  Without the state's lock. */
void plane_wait(struct plane *p, uint64_t ticket);

/* {"sessions":[…],"ports":[…],"totals":{…}} */
void plane_counters(struct plane *p, struct str *out);

/* Every so many-th copy is left out from now on; 0: none.  False: the ENI has no port. */
bool plane_skip(struct eni *source, unsigned every);
/* Adds what was left out of its sessions in the period that begins then. */
void plane_skipped(struct plane *p, const struct eni *source, int64_t begins_s,
                   struct skip_period *out);

#endif
