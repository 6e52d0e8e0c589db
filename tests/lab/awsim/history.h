/*
 * What came and went: every create, change and delete of a session, filter or target, in
 * order, so that leaks and duplicates can be told afterwards.  Kept until the end.
 *
 * With the state's lock held, except history_json.
 */
#ifndef AWSIM_HISTORY_H
#define AWSIM_HISTORY_H

#include "objects.h"
#include "str.h"

/* `by` is who did it; `token` the ClientToken or NULL.  Other kinds are not recorded. */
void history_add(struct state *st, const char *event, const struct obj *o, const char *by,
                 const char *token);
/* A value that somebody published to CloudWatch: the event "published" of the kind "metric". */
void history_add_metric(struct state *st, const char *account, const char *name_space,
                        const char *metric, const char *dimensions, const char *value);
/* Everything after event number `since`. */
void history_json(struct state *st, size_t since, struct str *out);
void history_free(struct state *st);

/* "tags": {…} */
void tags_json(struct str *s, const struct obj *o);

#endif
