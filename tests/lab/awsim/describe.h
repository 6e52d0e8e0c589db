/* Describe calls: which objects, through filters, in pages. */
#ifndef AWSIM_DESCRIBE_H
#define AWSIM_DESCRIBE_H

#include "call.h"

/* Values that an object has for one filter name. */
struct values {
    const char *text[64];
    size_t n;
    char room[64][IP_TEXT_MAX]; /* for those that had to be formatted */
};
void value_add(struct values *v, const char *text); /* lent; NULL is left out */
void value_int(struct values *v, long long value);
void value_bool(struct values *v, bool value);
void value_cidr(struct values *v, const struct cidr *c);
void value_ip(struct values *v, const struct ip *ip);

struct describe {
    enum kind kind;
    const char *set;            /* "trafficMirrorSessionSet" */
    const char *ids;            /* "TrafficMirrorSessionId.#"; NULL for none */
    const char *const *filters; /* documented names, ends in NULL */
    bool tag_filters;           /* tag:<key> and tag-key too */
    /* Add the object's values for a filter of the list above. */
    void (*values)(const struct obj *o, const char *filter, struct values *out);
    void (*xml)(struct str *x, const struct obj *o);
    /* For objects of other accounts that the caller sees; NULL where that cannot be. */
    void (*foreign_xml)(struct str *x, const struct obj *o);
    /* A single parameter that narrows the answer: value for `within_filter`; may be NULL. */
    const char *within;
    enum kind within_kind;
    const char *within_filter;
    long page_max; /* largest page, also without MaxResults */
};

#define DESCRIBE_PARAMS                                                                        \
    {.path = "Filter.#.Name", .type = P_TEXT}, {.path = "Filter.#.Value.#", .type = P_TEXT},   \
        {.path = "NextToken", .type = P_TEXT},                                                 \
    {                                                                                          \
        .path = "DryRun", .type = P_BOOL                                                       \
    }
#define MAX_RESULTS(most)                                                                      \
    {                                                                                          \
        .path = "MaxResults", .type = P_INT, .min = 5, .max = (most)                           \
    }

bool describe(struct call *c, const struct describe *d);

/* For describes that are not about one list of objects (tags, instance types). */
bool filters_check(struct call *c, const char *const *names, bool tag_filters);
/* Does everything asked for fit?  `value_of` adds the values of `item` for one name. */
bool filters_match(const struct call *c, const void *item, const struct obj *tagged,
                   void (*value_of)(const void *item, const char *filter, struct values *out));
/* Page bounds: `*out_after` is where the last page ended (0: at the start). */
bool page_begin(struct call *c, long page_max, bool ids_given, uint64_t *out_after,
                size_t *out_size);
void page_next_token(struct call *c, uint64_t after);
bool wildcard_match(const char *pattern, const char *text);

#endif
