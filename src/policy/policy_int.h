/* Between the files of the policy. */
#ifndef TAPBOX_POLICY_INT_H
#define TAPBOX_POLICY_INT_H

#include <tapbox/policy.h>

enum {
    TAG_KEY_SIZE = 129
};

enum tb_match { /* in this order: a conjunction is the least of its parts */
    TB_MATCH_NO,
    TB_MATCH_UNKNOWN, /* only EC2 can tell */
    TB_MATCH_YES
};

enum tb_match policy_match(const struct tb_rule *rule, const struct tb_alert *alert,
                           const struct tb_source_facts *facts, size_t fact_count);
/* Whether the source has one of these tags ("key" or "key=pattern"). */
bool policy_tag_listed(const struct tb_words *wanted, const struct tb_source_facts *source,
                       const char **out_which);
/* A tag as the alert (`tags`) carries it. */
const char *policy_alert_tag(const void *tags, const char *key);

#endif
