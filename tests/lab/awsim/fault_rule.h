/* One rule, read and checked. */
#ifndef AWSIM_FAULT_RULE_H
#define AWSIM_FAULT_RULE_H

#include <jansson.h>

#include "query.h"

struct fault_range {
    int64_t min_ns;
    int64_t max_ns;
};

struct fault_match {
    const char *name; /* lent by `source` */
    const char *value;
};

struct fault_rule {
    json_t *source; /* as it was given */
    /* which requests */
    char service[16];
    char action[80];  /* with * and ? */
    char account[13]; /* "": any */
    struct fault_match *match;
    size_t nmatch;
    /* which of these */
    uint64_t from; /* 1: the first */
    uint64_t to;
    double probability;
    /* what then */
    struct fault_range latency;
    struct fault_range latency_after;
    struct refusal error; /* status 0: none */
    bool error_after;     /* the effect comes first; also for `hang_ns` */
    int64_t hang_ns;
    bool lose_before;
    bool lose_after;
    bool expired;
    int64_t visible_after_ns;
    bool delete_sees;
    bool use_sees;
    int64_t gone_after_ns;
    int64_t tags_after_ns;
    int64_t changed_after_ns;
    /* so far */
    uint64_t generator;
    uint64_t matched;
    uint64_t hits;
};

bool fault_rules_read(json_t *list, struct fault_rule **out, size_t *out_n, char *why,
                      size_t why_size);
void fault_rules_free(struct fault_rule *rules, size_t n);

#endif
