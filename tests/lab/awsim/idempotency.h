/* ClientToken: the same create twice makes one object and gives one answer. */
#ifndef AWSIM_IDEMPOTENCY_H
#define AWSIM_IDEMPOTENCY_H

#include "call.h"

#define CLIENT_TOKEN_MAX 64 /* characters */

enum replay {
    REPLAY_FRESH,    /* not seen before: run the action, then idempotency_keep */
    REPLAY_ANSWERED, /* seen with the same parameters: c->out is the first answer again */
    REPLAY_REFUSED,  /* seen with others, or not a token: c->refusal is set */
};

/* All of these with the state's lock held. */
enum replay idempotency_begin(struct call *c);
void idempotency_keep(struct call *c);
void idempotency_free(struct state *st);

#endif
