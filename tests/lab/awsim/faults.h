/*
 * Where things are made to go wrong on purpose, by rules that come over the control socket.
 *
 * Each request is planned once: all rules that fit it are counted, and what they ask for is
 * added up.  Then the plan says what happens before the effect, after it, and to what it made.
 */
#ifndef AWSIM_FAULTS_H
#define AWSIM_FAULTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "query.h"

enum fault {
    FAULT_NONE,
    FAULT_ERROR, /* `why` says which */
    FAULT_LOSE,  /* close the connection without an answer */
};

struct fault_stage {
    int64_t sleep_ns; /* first */
    enum fault fault; /* then */
    struct refusal why;
};

struct fault_plan {
    struct fault_stage before; /* signed, parsed and known; no effect yet */
    struct fault_stage after;  /* the effect is there; the answer has not left */
    int64_t visible_after_ns;  /* of what a create makes */
    bool delete_sees;          /* deletes find it before that */
    bool use_sees;             /* so does everything else, except describes */
    int64_t gone_after_ns;     /* of what a delete takes away */
    int64_t tags_after_ns;     /* describes show what CreateTags changes */
    int64_t changed_after_ns;  /* ... and what a change of a session or a filter does */
    bool expired;              /* the credentials in this request, or (IMDS) in the answer */
};

/* What is asked of the rules. */
struct fault_question {
    const char *service; /* ec2, sts, imds */
    const char *action;
    const char *account;       /* "" when not known */
    const struct query *query; /* may be NULL */
};

struct faults;
struct faults *faults_new(void);
void faults_free(struct faults *f);

/* Counts the request against the rules.  Never called with the state's lock held. */
void faults_plan(struct faults *f, const struct fault_question *q, struct fault_plan *out);
/* Sleeps as the stage says and returns its fault; ends early only when awsim stops. */
enum fault faults_pass(struct faults *f, const struct fault_stage *stage);
/* Everybody who sleeps wakes up, and nobody falls asleep any more. */
void faults_stop(struct faults *f);

/* All rules at once.  False, with the old ones still there, leaves a sentence in `why`. */
bool faults_replace(struct faults *f, json_t *rules, char *why, size_t why_size);
/* The rules as they were given, with "matched" and "hits". */
json_t *faults_json(struct faults *f);

#endif
