/*
 * Tokens are remembered per account and action for as long as awsim runs, together with a hash
 * of every other parameter and the answer.  The answer is given again even when its object was
 * deleted in between: what EC2 does then is not documented, and this is the harder case.
 */
#include "idempotency.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kept {
    unsigned char hash[32];
    char *answer;
};

static void
hash_parameters(const struct call *c, unsigned char out[32])
{
    struct str all = {0};
    for (size_t i = 0; i < c->query.n; i++) {
        const struct arg *a = &c->query.args[i];
        if (strcmp(a->name, "ClientToken") != 0 && strcmp(a->name, "DryRun") != 0) {
            str_addf(&all, "%zu:%s=%zu:%s;", strlen(a->name), a->name, strlen(a->value),
                     a->value);
        }
    }
    SHA256((const unsigned char *)str_text(&all), all.len, out);
    str_free(&all);
}

static void
make_key(const struct call *c, const char *token, char out[192])
{
    snprintf(out, 192, "%s/%s/%s", c->signer.account->id, c->action->name, token);
}

enum replay
idempotency_begin(struct call *c)
{
    const char *token = c->action->idempotent ? arg_text(&c->query, "ClientToken") : NULL;
    if (token == NULL || token[0] == '\0') {
        return REPLAY_FRESH;
    }
    for (const char *p = token; *p != '\0'; p++) {
        if (*p < 0x20 || *p > 0x7e) {
            fail(c, 400, "InvalidClientToken", "ClientToken must be ASCII");
            return REPLAY_REFUSED;
        }
    }
    if (strlen(token) > CLIENT_TOKEN_MAX) {
        fail(c, 400, "InvalidClientToken", "ClientToken exceeds %d characters",
             CLIENT_TOKEN_MAX);
        return REPLAY_REFUSED;
    }
    char key[192];
    unsigned char hash[32];
    make_key(c, token, key);
    const struct kept *kept = map_get(&c->st->tokens, key);
    if (kept == NULL) {
        return REPLAY_FRESH;
    }
    hash_parameters(c, hash);
    if (memcmp(hash, kept->hash, sizeof(hash)) != 0) {
        fail(c, 400, "IdempotentParameterMismatch",
             "The client token you have provided is associated with a resource created with "
             "different parameters");
        return REPLAY_REFUSED;
    }
    str_add(&c->out, kept->answer);
    return REPLAY_ANSWERED;
}

void
idempotency_keep(struct call *c)
{
    const char *token = c->action->idempotent ? arg_text(&c->query, "ClientToken") : NULL;
    if (token == NULL || token[0] == '\0') {
        return;
    }
    char key[192];
    make_key(c, token, key);
    struct kept *kept = xalloc(sizeof(*kept));
    hash_parameters(c, kept->hash);
    kept->answer = xdup(str_text(&c->out));
    map_put(&c->st->tokens, key, kept);
}

static void
free_kept(void *p)
{
    struct kept *kept = p;
    free(kept->answer);
    free(kept);
}

void
idempotency_free(struct state *st)
{
    map_free(&st->tokens, free_kept);
}
