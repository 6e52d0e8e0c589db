/*
 * Reads the policy's file.  libyaml gives the whole document as nodes, each of which knows its
 * line; tables say which keys a mapping may have and who reads the value of each.  Here: guard,
 * rules and the document; policy_profiles.c has the profiles, policy_senders.c the senders,
 * policy_reader.c what all read with.
 */
#include <tapbox/policy_file.h>

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/io.h>

#include "policy_reader_int.h"

/* --- guard --- */

static void
read_guard(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    static const struct policy_member members[] = {
        {"accounts", policy_read_accounts, POLICY_AT(tb_guard, accounts)},
        {"vpcs", policy_read_words, POLICY_AT(tb_guard, vpcs)},
        {"deny_tags", policy_read_words, POLICY_AT(tb_guard, deny_tags)},
        {"max_duration", policy_read_capture_duration, POLICY_AT(tb_guard, max_duration_ns)},
        {"daily_duration", policy_read_duration, POLICY_AT(tb_guard, day_duration_ns)},
        {"daily_bytes", policy_read_size, POLICY_AT(tb_guard, day_bytes)},
        {NULL, NULL, 0}};

    (void)tb_str_copy(r->where, sizeof(r->where), "guard");
    policy_read_mapping(r, n, key, members, at);
    r->where[0] = 0;
}
/* --- rules --- */

static void
read_wanted(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    static const char *const words[] = {
        [TB_WANTED_NO] = "false", [TB_WANTED_ONLY] = "true", [TB_WANTED_TOO] = "any"};
    const char *text = policy_text_of(n);

    for (size_t i = 0; text != NULL && i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i]) == 0) {
            *(enum tb_wanted *)at = (enum tb_wanted)i;
            return;
        }
    }
    policy_not_a(r, n, key, "true, false or any");
}

/* "7", "4-6.9", ">=7", "<4" */
static void
read_severity(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct tb_rule *rule = at;
    const char *text = policy_text_of(n);
    double low = 0, high = 10;
    char *end = NULL;
    bool good = text != NULL;

    if (good && strncmp(text, ">=", 2) == 0) {
        low = strtod(text + 2, &end);
        good = end != text + 2;
    } else if (good && strncmp(text, "<=", 2) == 0) {
        high = strtod(text + 2, &end);
        good = end != text + 2;
    } else if (good && text[0] == '<') {
        high = strtod(text + 1, &end) - 0.001; /* severities have one decimal */
        good = end != text + 1;
    } else if (good) {
        low = high = strtod(text, &end);
        good = end != text;
        if (good && *end == '-') {
            const char *second = end + 1;

            high = strtod(second, &end);
            good = end != second;
        }
    }
    if (!good || *end != 0 || !(low >= 0 && low <= high && high <= 10)) {
        policy_not_a(r, n, key, "a range from 0 to 10 (write 7, 4-6.9, >=7 or <4)");
        return;
    }
    rule->min_severity = low;
    rule->max_severity = high;
    rule->has_severity = true;
}

static void
read_resources(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    static const char *const known[] = {"instance",  "eks",        "ecs",
                                        "container", "access_key", "attack_sequence"};
    struct tb_words *words = at;

    policy_read_words(r, key, n, at);
    for (size_t i = 0; i < words->count; i++) {
        bool found = false;

        for (size_t k = 0; k < sizeof(known) / sizeof(known[0]) && !found; k++) {
            found = strcmp(words->at[i], known[k]) == 0;
        }
        if (!found) {
            policy_complain(r, n, key,
                            "'%.30s' is not instance, eks, ecs, container, access_key or "
                            "attack_sequence",
                            words->at[i]);
        }
    }
}

static void
read_when(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    static const struct policy_member members[] = {
        {"type", policy_read_words, POLICY_AT(tb_rule, types)},
        {"severity", read_severity, 0},
        {"resource", read_resources, POLICY_AT(tb_rule, resources)},
        {"account", policy_read_accounts, POLICY_AT(tb_rule, accounts)},
        {"region", policy_read_words, POLICY_AT(tb_rule, regions)},
        {"vpc", policy_read_words, POLICY_AT(tb_rule, vpcs)},
        {"subnet", policy_read_words, POLICY_AT(tb_rule, subnets)},
        {"tag", policy_read_words, POLICY_AT(tb_rule, tags)},
        {"sender", policy_read_words, POLICY_AT(tb_rule, adapters)},
        {"sample", read_wanted, POLICY_AT(tb_rule, sample)},
        {"archived", read_wanted, POLICY_AT(tb_rule, archived)},
        {NULL, NULL, 0}};

    policy_read_mapping(r, n, key, members, at);
}

static void
read_rule_name(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    if (!policy_is_name(policy_text_of(n))) {
        policy_not_a(r, n, key, policy_what_names_are);
        return;
    }
    (void)tb_str_copy(at, TB_RULE_NAME_SIZE, policy_text_of(n));
}

static void
read_ignore(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    const char *text = policy_text_of(n);

    if (text == NULL || text[0] == 0 || strlen(text) > 180) {
        policy_not_a(r, n, key, "a reason of up to 180 characters");
        return;
    }
    for (const char *p = text; *p != 0; p++) {
        if (iscntrl((unsigned char)*p)) {
            policy_not_a(r, n, key, "a reason on one line");
            return;
        }
    }
    (void)tb_str_copy(at, TB_CAPTURE_MAX_TEXT, text);
}

/* What a rule does, until its profile is looked up. */
struct written {
    struct tb_rule rule;
    const yaml_node_t *profile;
};

static void
read_capture(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    if (policy_text_of(n) == NULL) {
        policy_not_a(r, n, key, "the name of a profile");
        return;
    }
    *(const yaml_node_t **)at = n;
}

/* Profiles stand before or after the rules: they are looked up when all is read. */
static void
find_profile(struct policy_reader *r, const struct written *w, struct tb_rule *rule)
{
    const struct tb_rules *rules = r->rules;

    for (size_t i = 0; w->profile != NULL && i < rules->profile_count; i++) {
        if (strcmp(rules->profiles[i].name, policy_text_of(w->profile)) == 0) {
            rule->profile = i;
            return;
        }
    }
    if (w->profile != NULL) {
        policy_not_a(r, w->profile, "capture", "one of the profiles");
    }
}

static void
read_rule(struct policy_reader *r, const yaml_node_t *n, struct tb_rule *out)
{
    static const struct policy_member members[] = {
        {"name", read_rule_name, POLICY_AT(written, rule.name)},
        {"when", read_when, POLICY_AT(written, rule)},
        {"capture", read_capture, POLICY_AT(written, profile)},
        {"ignore", read_ignore, POLICY_AT(written, rule.ignore)},
        {NULL, NULL, 0}};
    struct written w = {.rule = {.line = n->start_mark.line + 1}};
    const yaml_node_pair_t *pair;

    (void)snprintf(r->where, sizeof(r->where), "rule %zu", r->rules->rule_count);
    if (n->type == YAML_MAPPING_NODE) { /* its name first, for the complaints about the rest */
        for (pair = n->data.mapping.pairs.start; pair < n->data.mapping.pairs.top; pair++) {
            const char *key = policy_text_of(policy_node(r, pair->key));
            const char *name = policy_text_of(policy_node(r, pair->value));

            if (key != NULL && strcmp(key, "name") == 0 && policy_is_name(name)) {
                (void)snprintf(r->where, sizeof(r->where), "rule '%s'", name);
            }
        }
    }
    policy_read_mapping(r, n, "", members, &w);
    if (n->type == YAML_MAPPING_NODE && w.rule.name[0] == 0 && !r->complained) {
        policy_complain(r, n, "name", "is missing");
    }
    if (n->type == YAML_MAPPING_NODE && (w.profile != NULL) == (w.rule.ignore[0] != 0) &&
        !r->complained) {
        policy_complain(r, n, "", "has to say one of 'capture: PROFILE' and 'ignore: REASON'");
    }
    find_profile(r, &w, &w.rule);
    *out = w.rule;
    for (size_t i = 0; out->name[0] != 0 && &r->rules->rules[i] < out; i++) {
        if (strcmp(r->rules->rules[i].name, out->name) == 0) {
            policy_complain(r, n, "name", "line %zu has a rule of this name",
                            r->rules->rules[i].line);
        }
    }
    r->where[0] = 0;
}

static void
read_rules(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct tb_rules *rules = at;
    const yaml_node_item_t *item;
    size_t count;

    if (n->type != YAML_SEQUENCE_NODE) {
        policy_complain(r, n, key, "has to be a list of rules");
        return;
    }
    count = (size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
    if (count > TB_POLICY_MAX_RULES || rules->rules != NULL) {
        policy_complain(r, n, key, "at most %d rules, in one place", TB_POLICY_MAX_RULES);
        return;
    }
    rules->rules = calloc(count + 1, sizeof(*rules->rules));
    if (rules->rules == NULL) {
        r->no_memory = true;
        return;
    }
    for (item = n->data.sequence.items.start; item < n->data.sequence.items.top; item++) {
        rules->rule_count++;
        read_rule(r, policy_node(r, *item), &rules->rules[rules->rule_count - 1]);
    }
}

/* --- the document --- */

static void
leave_for_later(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    (void)r;
    (void)key;
    *(const yaml_node_t **)at = n;
}

static void
read_document(struct policy_reader *r)
{
    struct parts {
        const yaml_node_t *guard, *senders, *profiles, *rules;
    } parts = {NULL, NULL, NULL, NULL};
    static const struct policy_member members[] = {
        {"guard", leave_for_later, POLICY_AT(parts, guard)},
        {"senders", leave_for_later, POLICY_AT(parts, senders)},
        {"profiles", leave_for_later, POLICY_AT(parts, profiles)},
        {"rules", leave_for_later, POLICY_AT(parts, rules)},
        {NULL, NULL, 0}};
    const yaml_node_t *root = yaml_document_get_root_node(&r->doc);

    if (root == NULL) {
        (void)tb_fail_set(r->fail, TB_EINVAL, "%s: is empty", r->name);
        r->complained = true;
        return;
    }
    policy_read_mapping(r, root, "", members, &parts);
    if (parts.guard != NULL) {
        read_guard(r, "guard", parts.guard, &r->rules->guard);
    }
    if (parts.senders != NULL) {
        policy_read_senders(r, "senders", parts.senders, &r->rules->senders);
    }
    if (parts.profiles != NULL) {
        policy_read_profiles(r, "profiles", parts.profiles, r->rules);
    }
    if (parts.rules != NULL) {
        read_rules(r, "rules", parts.rules, r->rules);
    } else if (!r->complained) {
        policy_complain(r, root, "rules", "is missing: without a rule nothing is captured");
    }
}

static enum tb_err
tell_yaml(const yaml_parser_t *yaml, const char *name, struct tb_fail *fail)
{
    size_t line = yaml->problem_mark.line > 0 ? yaml->problem_mark.line : yaml->mark.line;

    return tb_fail_set(fail, TB_EINVAL, "%s:%zu: not YAML: %s", name, line + 1,
                       yaml->problem != NULL ? yaml->problem : "out of memory");
}

enum tb_err
tb_policy_parse(struct tb_bytes text, const char *name, struct tb_rules **out,
                void (*report)(void *arg, const char *line), void *arg, struct tb_fail *fail)
{
    struct tb_fail first = {0};
    struct policy_reader r = {.name = name, .report = report, .arg = arg, .fail = &first};
    yaml_parser_t yaml;
    enum tb_err err = TB_OK;

    if (text.len > TB_CONFIG_MAX_BYTES) {
        return tb_fail_set(fail, TB_ETOOBIG, "%s: longer than %d bytes", name,
                           TB_CONFIG_MAX_BYTES);
    }
    r.rules = calloc(1, sizeof(*r.rules));
    if (r.rules == NULL || !yaml_parser_initialize(&yaml)) {
        free(r.rules);
        return tb_fail_set(fail, TB_ENOMEM, "%s", name);
    }
    yaml_parser_set_input_string(&yaml, text.at, text.len);
    yaml_parser_set_encoding(&yaml, YAML_UTF8_ENCODING);
    if (!yaml_parser_load(&yaml, &r.doc)) {
        err = tell_yaml(&yaml, name, &first);
        if (report != NULL) {
            report(arg, first.text);
        }
    } else {
        read_document(&r);
        yaml_document_delete(&r.doc);
        err = r.no_memory    ? tb_fail_set(&first, TB_ENOMEM, "no memory for a policy")
              : r.complained ? TB_EINVAL
                             : TB_OK;
    }
    yaml_parser_delete(&yaml);
    if (err == TB_OK) {
        *out = r.rules;
        return TB_OK;
    }
    tb_rules_free(r.rules);
    if (fail != NULL) {
        *fail = first;
    }
    return err;
}

/* infra/policy/default.yaml, as it is */
__asm__(".pushsection .rodata\n"
        "tb_policy_default_begin:\n"
        ".incbin \"infra/policy/default.yaml\"\n"
        "tb_policy_default_end:\n"
        ".byte 0\n"
        ".popsection\n");
extern const uint8_t tb_policy_default_begin[], tb_policy_default_end[];

struct tb_bytes
tb_policy_default(void)
{
    return tb_bytes_of(tb_policy_default_begin,
                       (size_t)(tb_policy_default_end - tb_policy_default_begin));
}

enum tb_err
tb_policy_load(const struct tb_config *config, struct tb_rules **out, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_CONFIG_MAX_BYTES);
    enum tb_err err;

    if (config->policy_file[0] == '\0') {
        return tb_policy_parse(tb_policy_default(), "the default policy", out, NULL, NULL,
                               fail);
    }
    err = tb_read_file(AT_FDCWD, config->policy_file, &text, fail);
    if (err == TB_OK) {
        err = tb_policy_parse(tb_buf_view(&text), config->policy_file, out, NULL, NULL, fail);
    }
    tb_buf_release(&text);
    return err;
}
