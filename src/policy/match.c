/* Whether a rule matches: yes, no, or only EC2 can tell. */
#include "policy_int.h"

#include <ctype.h>
#include <stdio.h>

bool
tb_glob(const char *pattern, const char *text)
{
    const char *star = NULL, *retry = NULL;

    while (*text != 0) {
        if (*pattern == '*') {
            star = pattern++;
            retry = text;
        } else if (*pattern == '?' ||
                   tolower((unsigned char)*pattern) == tolower((unsigned char)*text)) {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == 0;
}

static bool
any_fits(const struct tb_words *patterns, const char *text)
{
    for (size_t i = 0; i < patterns->count; i++) {
        if (tb_glob(patterns->at[i], text)) {
            return true;
        }
    }
    return false;
}

/* An empty list is no condition. */
static enum tb_match
match_known(const struct tb_words *patterns, const char *text)
{
    return patterns->count == 0 || any_fits(patterns, text) ? TB_MATCH_YES : TB_MATCH_NO;
}

/* What the alert may or may not tell. */
static enum tb_match
match_told(const struct tb_words *patterns, const char *text)
{
    if (patterns->count == 0) {
        return TB_MATCH_YES;
    }
    return text[0] == 0 ? TB_MATCH_UNKNOWN : match_known(patterns, text);
}

/* "key" or "key=pattern" against the value of this key (NULL: no such tag). */
static bool
tag_fits(const char *wanted, const char *value)
{
    const char *equals = strchr(wanted, '=');

    return value != NULL && (equals == NULL || tb_glob(equals + 1, value));
}

static const char *
key_of(const char *wanted, char out[TAG_KEY_SIZE])
{
    size_t len = strcspn(wanted, "=");

    (void)snprintf(out, TAG_KEY_SIZE, "%.*s",
                   (int)(len < TAG_KEY_SIZE ? len : TAG_KEY_SIZE - 1), wanted);
    return out;
}

bool
policy_tag_listed(const struct tb_words *wanted, const struct tb_source_facts *source,
                  const char **out_which)
{
    char key[TAG_KEY_SIZE];

    for (size_t i = 0; i < wanted->count; i++) {
        if (tag_fits(wanted->at[i], source->tag(source->tags, key_of(wanted->at[i], key)))) {
            *out_which = wanted->at[i];
            return true;
        }
    }
    return false;
}

const char *
policy_alert_tag(const void *tags, const char *key)
{
    const struct tb_alert *alert = tags;

    for (size_t i = 0; i < alert->tag_count; i++) {
        if (strcmp(alert->tags[i].key, key) == 0) {
            return alert->tags[i].value;
        }
    }
    return NULL;
}

/* The better of two: one source that matches is enough. */
static enum tb_match
either(enum tb_match a, enum tb_match b)
{
    return a > b ? a : b;
}

static enum tb_match
both(enum tb_match a, enum tb_match b)
{
    return a < b ? a : b;
}

static enum tb_match
match_fact(const struct tb_rule *rule, const struct tb_source_facts *f)
{
    const char *which;

    return both(both(match_known(&rule->vpcs, f->vpc), match_known(&rule->subnets, f->subnet)),
                rule->tags.count == 0 || policy_tag_listed(&rule->tags, f, &which)
                    ? TB_MATCH_YES
                    : TB_MATCH_NO);
}

/* By what the alert carries of a source. */
static enum tb_match
match_told_source(const struct tb_rule *rule, const struct tb_alert *alert,
                  const struct tb_alert_source *source)
{
    struct tb_source_facts f = {.tag = policy_alert_tag, .tags = alert};
    enum tb_match tags = TB_MATCH_YES;
    const char *which;

    if (rule->tags.count > 0) {
        tags = !alert->tags_known                           ? TB_MATCH_UNKNOWN
               : policy_tag_listed(&rule->tags, &f, &which) ? TB_MATCH_YES
                                                            : TB_MATCH_NO;
    }
    return both(tags, both(match_told(&rule->vpcs, source->vpc),
                           match_told(&rule->subnets, source->subnet)));
}

static enum tb_match
match_sources(const struct tb_rule *rule, const struct tb_alert *alert,
              const struct tb_source_facts *facts, size_t fact_count)
{
    enum tb_match best = TB_MATCH_NO;

    if (rule->vpcs.count + rule->subnets.count + rule->tags.count == 0) {
        return TB_MATCH_YES;
    }
    for (size_t i = 0; i < fact_count; i++) {
        best = either(best, match_fact(rule, &facts[i]));
    }
    for (size_t i = 0; facts == NULL && i < alert->source_count; i++) {
        best = either(best, match_told_source(rule, alert, &alert->sources[i]));
    }
    return best;
}

static bool
is_wanted(enum tb_wanted wanted, bool is_one)
{
    return wanted == TB_WANTED_TOO || (wanted == TB_WANTED_ONLY) == is_one;
}

static bool
is_in_range(const struct tb_rule *rule, double severity)
{
    return severity > 0 && severity >= rule->min_severity && severity <= rule->max_severity;
}

enum tb_match
policy_match(const struct tb_rule *rule, const struct tb_alert *alert,
             const struct tb_source_facts *facts, size_t fact_count)
{
    if ((rule->has_severity && !is_in_range(rule, alert->severity)) ||
        !is_wanted(rule->archived, alert->archived) ||
        (rule->sample == TB_WANTED_ONLY && !alert->sample) ||
        match_known(&rule->types, alert->type) == TB_MATCH_NO ||
        match_known(&rule->resources, alert->resource) == TB_MATCH_NO ||
        match_known(&rule->adapters, alert->adapter) == TB_MATCH_NO ||
        match_known(&rule->accounts, alert->account) == TB_MATCH_NO ||
        match_known(&rule->regions, alert->region) == TB_MATCH_NO) {
        return TB_MATCH_NO;
    }
    return match_sources(rule, alert, facts, fact_count);
}
