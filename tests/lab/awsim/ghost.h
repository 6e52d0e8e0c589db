/*
 * Ghosts: what describes still show of objects that are deleted or changed.  A ghost is a copy
 * of what there was to see; nothing can be done with it.
 *
 * All of these with the state's lock held.
 */
#ifndef AWSIM_GHOST_H
#define AWSIM_GHOST_H

#include "describe.h"

struct ghost {
    struct obj o; /* kind, id, seq, owner and tags of the one that was */
    int64_t until_ns;
    char *xml;
    struct ghost_values *values; /* one for each filter name of the describe */
    size_t nvalues;
};

/* To be called before `o` is taken away: keeps it when the call's plan says so. */
void ghost_keep(struct call *c, const struct describe *d, const struct obj *o);
/* The same before `o` is changed.  One that is shown as it was before goes on being shown so.
 */
void ghost_keep_changed(struct call *c, const struct describe *d, const struct obj *o);
/* Those whose time has come leave first.  In order of `seq`. */
struct ghost *ghost_first(struct state *st, enum kind kind);
struct ghost *ghost_next(struct ghost *g);
struct ghost *ghost_find(struct state *st, enum kind kind, const char *id);
void ghost_values(const struct ghost *g, const char *filter, struct values *out);
void ghosts_free(struct state *st);

#endif
