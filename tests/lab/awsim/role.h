/* IAM roles that may be assumed, and temporary keys. */
#ifndef AWSIM_ROLE_H
#define AWSIM_ROLE_H

#include "form.h"
#include "objects.h"
#include "web_identity.h"

struct role {
    struct role *next;
    struct account *account;
    char arn[256];
    char name[65];      /* without its path */
    char id[22];        /* AROA… */
    char *external_id;  /* NULL: none is asked for */
    char (*trusts)[13]; /* accounts that may assume it */
    size_t ntrusts;
    struct web_identity *web; /* NULL: none may */
    long max_session_s;
    long credentials_s; /* 0: they live as long as was asked for */
    char **deny;
    size_t ndeny;
};

/* "roles" of an account in the world file. */
void roles_read(struct form *f, const struct state *st, struct account *a, json_t *list);
void roles_free(struct role *r);
/* NULL when no account has it. */
const struct role *role_find(const struct state *st, const char *arn);
/* Does it let this account assume it? */
bool role_trusts(const struct role *r, const struct account *a);

/* A fresh temporary key, good until `expires_s`.  With the state's lock held. */
struct key *key_issue(struct state *st, struct account *a, long long expires_s, const char *arn,
                      const char *user_id);

#endif
