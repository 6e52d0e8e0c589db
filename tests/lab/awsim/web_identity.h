/* Who may assume a role with a token that somebody else signed. */
#ifndef AWSIM_WEB_IDENTITY_H
#define AWSIM_WEB_IDENTITY_H

#include <stdbool.h>

#include "form.h"
#include "query.h"

struct web_identity;

/* "web_identity" of a role; NULL for NULL. */
struct web_identity *web_identity_read(struct form *f, json_t *j);
void web_identity_free(struct web_identity *w);

/* Whether the token is the provider's, of this subject and for this audience, and still good;
 * else `why` says it as STS does. */
bool web_identity_check(const struct web_identity *w, const char *token, long long now_s,
                        struct refusal *why);
const char *web_identity_issuer(const struct web_identity *w);
const char *web_identity_subject(const struct web_identity *w);
const char *web_identity_audience(const struct web_identity *w);

#endif
