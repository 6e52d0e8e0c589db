/*
 * Traffic mirror targets shared with other accounts, as Resource Access Manager does, and who
 * may see what of somebody else's.
 *
 * All with the state's lock held, except shares_change.
 */
#ifndef AWSIM_SHARE_H
#define AWSIM_SHARE_H

#include "form.h"
#include "objects.h"
#include "plane.h"

/* A share or a list of them: {"target_owner" or "target", "with": [accounts]}. */
void shares_read(struct form *f, struct state *st, json_t *shares);
/* The same at run time, or the end of such shares; false leaves a sentence in `why`. */
bool shares_change(struct state *st, struct plane *plane, json_t *shares, bool end, char *why,
                   size_t why_size);
json_t *shares_json(const struct state *st);
void shares_free(struct state *st);

/* May its packets reach the target: its own, or shared with it? */
bool target_is_open_to(const struct state *st, const struct target *t, const struct account *a);
/* May describes show it? */
bool account_sees(const struct state *st, const struct account *a, const struct obj *o);

#endif
