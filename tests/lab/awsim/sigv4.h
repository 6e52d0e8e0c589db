/* AWS Signature Version 4, the verifying side, from its definition. */
#ifndef AWSIM_SIGV4_H
#define AWSIM_SIGV4_H

#include <stdbool.h>

#include "http.h"
#include "objects.h"
#include "query.h"

#define CLOCK_SKEW_MAX_S 300 /* how far a request's date may lie from ours */

/* Who signed, copied out of the key table so that no lock is needed afterwards. */
struct signer {
    struct account *account;
    char service[32]; /* from the credential scope */
    char access[129];
    char arn[256];
    char user_id[128];
    const struct key *key; /* valid for the program's life: keys are only ever added */
};

/*
 * Checks header and query-string (presigned) signatures.  On refusal `why` holds the code as
 * the addressed service spells it: EC2 and STS differ.  Takes the state's lock for the key.
 */
bool sigv4_verify(struct state *st, const struct http_request *request, long long now_s,
                  struct signer *out, struct refusal *why);

#endif
