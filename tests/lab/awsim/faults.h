/*
 * Where things may be made to go wrong on purpose.
 *
 * Every API call passes three stages.  Rules will come over the control socket; without any,
 * each stage answers "nothing".
 */
#ifndef AWSIM_FAULTS_H
#define AWSIM_FAULTS_H

#include "call.h"

enum fault_stage {
    FAULT_BEFORE, /* signed, parsed and known; no effect yet */
    FAULT_AFTER,  /* the effect is there; the answer is not written */
    FAULT_REPLY,  /* the answer is written; it has not left */
};

enum fault {
    FAULT_NONE,
    FAULT_ERROR, /* c->refusal says which */
    FAULT_DROP,  /* close the connection without an answer */
};

/* May sleep (latency).  Never called with the state's lock held. */
enum fault faults_at(enum fault_stage stage, struct call *c);

#endif
