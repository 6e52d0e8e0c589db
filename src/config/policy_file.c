/*
 * Reads the policy's file.  libyaml gives the whole document as nodes, each of which knows its
 * line; tables say which keys a mapping may have and who reads the value of each.
 */
#include <tapbox/policy_file.h>

#include <ctype.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <yaml.h>

#include <tapbox/clock.h>
#include <tapbox/ids.h>
#include <tapbox/io.h>

enum {
    WHERE_SIZE = 96, /* of "rules 'name'" in a complaint */
    SHOWN_VALUE = 64
};

struct reader {
    yaml_document_t doc;
    const char *name;
    struct tb_rules *rules;
    char where[WHERE_SIZE]; /* what is being read: "guard", "profile 'x'" */
    void (*report)(void *arg, const char *line);
    void *arg;
    struct tb_fail *fail;
    bool complained, no_memory;
};

static void TB_PRINTF(4, 5)
    complain(struct reader *r, const yaml_node_t *at, const char *key, const char *fmt, ...)
{
    struct tb_fail fail = {0};
    char text[300];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)tb_fail_set(&fail, TB_EINVAL, "%s:%zu: %s%s%s%s%s", r->name, at->start_mark.line + 1,
                      r->where, r->where[0] != 0 ? ": " : "", key, key[0] != 0 ? ": " : "",
                      text);
    if (r->report != NULL) {
        r->report(r->arg, fail.text);
    }
    if (!r->complained && r->fail != NULL) {
        *r->fail = fail;
    }
    r->complained = true;
}

static const yaml_node_t *
node(struct reader *r, int index)
{
    return yaml_document_get_node(&r->doc, index);
}

/* NULL unless it is plain text without a NUL. */
static const char *
text_of(const yaml_node_t *n)
{
    const char *text = n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;

    return text != NULL && strlen(text) == n->data.scalar.length ? text : NULL;
}

/* For a message: cut, and without what would move a terminal's cursor. */
static const char *
shown(const yaml_node_t *n, char out[SHOWN_VALUE])
{
    const char *text = text_of(n);
    size_t i;

    if (text == NULL) {
        return n->type == YAML_SEQUENCE_NODE  ? "a list"
               : n->type == YAML_MAPPING_NODE ? "a mapping"
                                              : "a text with a NUL";
    }
    for (i = 0; text[i] != 0 && i < SHOWN_VALUE - 1; i++) {
        out[i] = iscntrl((unsigned char)text[i]) ? '?' : text[i];
    }
    out[i] = 0;
    return out;
}

static void
not_a(struct reader *r, const yaml_node_t *n, const char *key, const char *what)
{
    char value[SHOWN_VALUE];

    complain(r, n, key, "'%s' is not %s", shown(n, value), what);
}

/* --- values --- */

static void
read_duration(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    const char *text = text_of(n);
    int64_t ns = 0;

    if (text == NULL || tb_duration_parse(text, &ns) != TB_OK || ns <= 0 ||
        ns > TB_CAPTURE_MAX_DURATION_S * TB_NS_PER_S * 1000) {
        not_a(r, n, key, "a duration (write 90s, 15m, 2h, 90d)");
    } else {
        *(int64_t *)at = ns;
    }
}

static void
read_capture_duration(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    int64_t ns = 0;

    read_duration(r, key, n, &ns);
    if (ns > TB_CAPTURE_MAX_DURATION_S * TB_NS_PER_S) {
        complain(r, n, key, "a capture takes a week (168h) at the most");
    } else if (ns != 0) {
        *(int64_t *)at = ns;
    }
}

static void
read_cooldown(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    const char *text = text_of(n);

    if (text != NULL && (strcmp(text, "0") == 0 || strcmp(text, "0s") == 0)) {
        *(int64_t *)at = 0;
    } else {
        read_duration(r, key, n, at);
    }
}

static void
read_size(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    const char *text = text_of(n);
    uint64_t bytes = 0;

    if (text == NULL || tb_config_size_parse(text, &bytes) != TB_OK || bytes == 0 ||
        bytes > INT64_MAX) {
        not_a(r, n, key, "a size (write 512MiB, 10GiB, 50GB)");
    } else {
        *(uint64_t *)at = bytes;
    }
}

static bool
take_whole(const yaml_node_t *n, long min, long max, long *out)
{
    const char *text = text_of(n);
    const char *digits = text != NULL && text[0] == '-' ? text + 1 : text;

    if (text == NULL || digits[0] == 0 || strlen(digits) > 9 ||
        strspn(digits, "0123456789") != strlen(digits)) {
        return false;
    }
    *out = strtol(text, NULL, 10);
    return *out >= min && *out <= max;
}

static void
read_snaplen(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    long value = 0;

    if (!take_whole(n, 64, TB_SNAPLEN_MAX, &value)) {
        not_a(r, n, key, "a whole number from 64 to 65535");
    } else {
        *(uint32_t *)at = (uint32_t)value;
    }
}

static void
read_packet_length(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    long value = 0;

    if (!take_whole(n, 64, 8500, &value)) { /* EC2's own ceiling */
        not_a(r, n, key, "a whole number from 64 to 8500");
    } else {
        *(uint32_t *)at = (uint32_t)value;
    }
}

static void
read_priority(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    long value = 0;

    if (!take_whole(n, -100, 100, &value)) {
        not_a(r, n, key, "a whole number from -100 to 100");
    } else {
        *(int32_t *)at = (int32_t)value;
    }
}

static void
read_bool(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    const char *text = text_of(n);

    if (text == NULL || (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)) {
        not_a(r, n, key, "true or false");
    } else {
        *(bool *)at = text[0] == 't';
    }
}

static void
read_wanted(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    static const char *const words[] = {
        [TB_WANTED_NO] = "false", [TB_WANTED_ONLY] = "true", [TB_WANTED_TOO] = "any"};
    const char *text = text_of(n);

    for (size_t i = 0; text != NULL && i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i]) == 0) {
            *(enum tb_wanted *)at = (enum tb_wanted)i;
            return;
        }
    }
    not_a(r, n, key, "true, false or any");
}

/* "7", "4-6.9", ">=7", "<4" */
static void
read_severity(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct tb_rule *rule = at;
    const char *text = text_of(n);
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
        not_a(r, n, key, "a range from 0 to 10 (write 7, 4-6.9, >=7 or <4)");
        return;
    }
    rule->min_severity = low;
    rule->max_severity = high;
    rule->has_severity = true;
}

static void
add_word(struct reader *r, struct tb_words *words, const char *text)
{
    char **grown = realloc(words->at, (words->count + 1) * sizeof(*grown));

    if (grown != NULL) {
        words->at = grown;
        grown[words->count] = strdup(text);
        if (grown[words->count] != NULL) {
            words->count++;
            return;
        }
    }
    r->no_memory = true;
}

/* One word or a list of them. */
static void
read_words(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct tb_words *words = at;
    const yaml_node_item_t *item;

    if (text_of(n) != NULL && text_of(n)[0] != 0) {
        add_word(r, words, text_of(n));
        return;
    }
    if (n->type != YAML_SEQUENCE_NODE ||
        n->data.sequence.items.top - n->data.sequence.items.start > TB_POLICY_MAX_WORDS) {
        not_a(r, n, key, "a word, or a list of up to 256");
        return;
    }
    for (item = n->data.sequence.items.start; item < n->data.sequence.items.top; item++) {
        const char *text = text_of(node(r, *item));

        if (text == NULL || text[0] == 0) {
            not_a(r, node(r, *item), key, "a word");
        } else {
            add_word(r, words, text);
        }
    }
}

static void
read_accounts(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct tb_words *words = at;

    read_words(r, key, n, at);
    for (size_t i = 0; i < words->count; i++) {
        if (strpbrk(words->at[i], "*?") == NULL && !tb_account_valid(words->at[i])) {
            complain(r, n, key,
                     "'%.20s' is not an account of 12 digits (in quotes, or YAML "
                     "makes a number of it)",
                     words->at[i]);
        }
    }
}

static void
read_resources(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    static const char *const known[] = {"instance",  "eks",        "ecs",
                                        "container", "access_key", "attack_sequence"};
    struct tb_words *words = at;

    read_words(r, key, n, at);
    for (size_t i = 0; i < words->count; i++) {
        bool found = false;

        for (size_t k = 0; k < sizeof(known) / sizeof(known[0]) && !found; k++) {
            found = strcmp(words->at[i], known[k]) == 0;
        }
        if (!found) {
            complain(r, n, key,
                     "'%.30s' is not instance, eks, ecs, container, access_key or "
                     "attack_sequence",
                     words->at[i]);
        }
    }
}

/* --- mappings --- */

struct member {
    const char *name;
    void (*read)(struct reader *r, const char *key, const yaml_node_t *value, void *at);
    size_t offset;
};

static const struct member *
find_member(const struct member *members, const char *name)
{
    for (; members->name != NULL; members++) {
        if (strcmp(members->name, name) == 0) {
            return members;
        }
    }
    return NULL;
}

static void
complain_unknown(struct reader *r, const yaml_node_t *key, const struct member *members)
{
    struct tb_buf known = TB_BUF_INIT(250);
    char name[SHOWN_VALUE];

    for (; members->name != NULL; members++) {
        tb_buf_printf(&known, " %s", members->name);
    }
    complain(r, key, shown(key, name), "unknown key (there are%s)", tb_buf_str(&known));
    tb_buf_release(&known);
}

/* Gives each member to its reader; what is there twice or unknown is told. */
static void
read_mapping(struct reader *r, const yaml_node_t *n, const char *what,
             const struct member *members, void *into)
{
    const yaml_node_pair_t *pair;

    if (n->type != YAML_MAPPING_NODE) {
        complain(r, n, what, "has to be a mapping of keys");
        return;
    }
    for (pair = n->data.mapping.pairs.start; pair < n->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = node(r, pair->key);
        const char *name = text_of(key);
        const struct member *member = name != NULL ? find_member(members, name) : NULL;

        if (member == NULL) {
            complain_unknown(r, key, members);
            continue;
        }
        for (const yaml_node_pair_t *other = n->data.mapping.pairs.start; other < pair;
             other++) {
            const char *before = text_of(node(r, other->key));

            if (before != NULL && strcmp(before, name) == 0) {
                complain(r, key, name, "is there twice; the first is on line %zu",
                         node(r, other->key)->start_mark.line + 1);
            }
        }
        member->read(r, name, node(r, pair->value), (char *)into + member->offset);
    }
}

#define AT(type, field) offsetof(struct type, field)

/* --- guard --- */

static void
read_guard(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    static const struct member members[] = {
        {"accounts", read_accounts, AT(tb_guard, accounts)},
        {"vpcs", read_words, AT(tb_guard, vpcs)},
        {"deny_tags", read_words, AT(tb_guard, deny_tags)},
        {"max_duration", read_capture_duration, AT(tb_guard, max_duration_ns)},
        {"daily_duration", read_duration, AT(tb_guard, day_duration_ns)},
        {"daily_bytes", read_size, AT(tb_guard, day_bytes)},
        {NULL, NULL, 0}};

    (void)tb_str_copy(r->where, sizeof(r->where), "guard");
    read_mapping(r, n, key, members, at);
    r->where[0] = 0;
}

/* --- profiles --- */

static void
read_sources(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    static const char *const words[] = {[TB_SOURCES_NAMED] = "named",
                                        [TB_SOURCES_ALL] = "all",
                                        [TB_SOURCES_PRIMARY] = "primary"};
    const char *text = text_of(n);

    for (size_t i = 0; text != NULL && i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i]) == 0) {
            *(enum tb_profile_sources *)at = (enum tb_profile_sources)i;
            return;
        }
    }
    not_a(r, n, key, "named, all or primary");
}

static void
read_bpf(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    const char *text = text_of(n);

    if (text == NULL || text[0] == 0 || strlen(text) >= TB_CAPTURE_MAX_BPF_TEXT) {
        not_a(r, n, key, "a filter expression of up to 4095 characters");
        return;
    }
    free(*(char **)at);
    *(char **)at = strdup(text);
    r->no_memory |= *(char **)at == NULL;
}

/* A rule as it is written, before both directions are made of it. */
struct written_rule {
    bool ingress, egress;
    int protocol;
    char remote[TB_CIDR_SIZE];
    int32_t remote_ports[2], local_ports[2];
};

static void
read_direction(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct written_rule *rule = at;
    const char *text = text_of(n);

    if (text == NULL ||
        (strcmp(text, "in") != 0 && strcmp(text, "out") != 0 && strcmp(text, "both") != 0)) {
        not_a(r, n, key, "in, out or both");
        return;
    }
    rule->ingress = text[0] != 'o';
    rule->egress = text[0] != 'i';
}

static void
read_protocol(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    static const struct {
        const char *name;
        int number;
    } known[] = {{"all", -1}, {"icmp", 1}, {"tcp", 6}, {"udp", 17}, {"icmpv6", 58}};
    const char *text = text_of(n);
    long number = 0;

    for (size_t i = 0; text != NULL && i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(text, known[i].name) == 0) {
            *(int *)at = known[i].number;
            return;
        }
    }
    if (!take_whole(n, 0, 255, &number)) {
        not_a(r, n, key, "tcp, udp, icmp, icmpv6, all or a number from 0 to 255");
    } else {
        *(int *)at = (int)number;
    }
}

static void
read_remote(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    if (text_of(n) == NULL || !tb_cidr_parse(text_of(n), at)) {
        not_a(r, n, key, "an address or a network (write 203.0.113.7, 10.1.0.0/16, ::/0)");
    }
}

static void
read_ports(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    int32_t *ports = at;
    const char *text = text_of(n);
    unsigned long low = 0, high = 0;
    bool good = text != NULL && isdigit((unsigned char)text[0]);
    char *rest;

    if (good) {
        low = high = strtoul(text, &rest, 10);
        if (rest[0] == '-' && isdigit((unsigned char)rest[1])) {
            high = strtoul(rest + 1, &rest, 10);
        }
        good = rest[0] == '\0' && low <= high && high <= UINT16_MAX;
    }
    if (good) {
        ports[0] = (int32_t)low;
        ports[1] = (int32_t)high;
    } else {
        not_a(r, n, key, "a port or a range of ports (write 443 or 8000-8999)");
    }
}

static void
add_rule(struct reader *r, const yaml_node_t *n, const struct written_rule *written,
         bool egress, struct tb_filter *out)
{
    struct tb_filter_rule *rule;

    if (out->rule_count == TB_FILTER_MAX_RULES) {
        complain(r, n, "filter",
                 "EC2 allows %d rules in a filter, and one for both directions "
                 "counts twice",
                 TB_FILTER_MAX_RULES);
        return;
    }
    rule = &out->rules[out->rule_count++];
    *rule = (struct tb_filter_rule){.egress = egress,
                                    .protocol = written->protocol,
                                    .remote_from = written->remote_ports[0],
                                    .remote_to = written->remote_ports[1],
                                    .local_from = written->local_ports[0],
                                    .local_to = written->local_ports[1]};
    memcpy(rule->remote, written->remote, sizeof(rule->remote));
}

static void
read_rule_of_filter(struct reader *r, const yaml_node_t *n, struct tb_filter *out)
{
    static const struct member members[] = {
        {"direction", read_direction, 0},
        {"protocol", read_protocol, AT(written_rule, protocol)},
        {"remote", read_remote, AT(written_rule, remote)},
        {"remote_port", read_ports, AT(written_rule, remote_ports)},
        {"local_port", read_ports, AT(written_rule, local_ports)},
        {NULL, NULL, 0}};
    struct written_rule w = {.ingress = true,
                             .egress = true,
                             .protocol = -1,
                             .remote = "0.0.0.0/0",
                             .remote_ports = {-1, -1},
                             .local_ports = {-1, -1}};

    read_mapping(r, n, "filter", members, &w);
    if ((w.remote_ports[0] >= 0 || w.local_ports[0] >= 0) && w.protocol != 6 &&
        w.protocol != 17) {
        complain(r, n, "filter", "ports need protocol tcp or udp");
    }
    if (w.ingress) {
        add_rule(r, n, &w, false, out);
    }
    if (w.egress) {
        add_rule(r, n, &w, true, out);
    }
}

/* A word, or a list of rules. */
static void
read_filter(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct tb_filter *filter = at;
    const char *text = text_of(n);
    enum tb_filter_kind kind = TB_FILTER_ALL;
    const yaml_node_item_t *item;

    if (text != NULL && tb_filter_kind_parse(text, &kind) && kind != TB_FILTER_RULES) {
        tb_filter_all(filter, "");
        filter->kind = kind;
        return;
    }
    if (n->type != YAML_SEQUENCE_NODE ||
        n->data.sequence.items.top == n->data.sequence.items.start) {
        not_a(r, n, key, "all, peers, peers+dns or a list of rules");
        return;
    }
    /* a list of its own says itself whether it wants Amazon DNS */
    *filter = (struct tb_filter){.kind = TB_FILTER_RULES, .amazon_dns = filter->amazon_dns};
    for (item = n->data.sequence.items.start; item < n->data.sequence.items.top; item++) {
        read_rule_of_filter(r, node(r, *item), filter);
    }
}

static void
read_lock_mode(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    const char *text = text_of(n);

    if (text == NULL || (strcmp(text, "GOVERNANCE") != 0 && strcmp(text, "COMPLIANCE") != 0 &&
                         strcmp(text, "none") != 0)) {
        not_a(r, n, key, "GOVERNANCE, COMPLIANCE or none");
    } else {
        (void)tb_str_copy(at, sizeof(((struct tb_profile *)NULL)->lock_mode), text);
    }
}

static void
read_object_lock(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    static const struct member members[] = {
        {"mode", read_lock_mode, AT(tb_profile, lock_mode)},
        {"retention", read_duration, AT(tb_profile, retention_ns)},
        {"legal_hold", read_bool, AT(tb_profile, legal_hold)},
        {NULL, NULL, 0}};
    struct tb_profile *profile = at;

    read_mapping(r, n, key, members, at);
    if (profile->retention_ns != 0 &&
        (profile->lock_mode[0] == 0 || strcmp(profile->lock_mode, "none") == 0)) {
        complain(r, n, key, "retention needs mode: GOVERNANCE or COMPLIANCE");
    }
}

/* Behind the filter in the table of members, so that rules may stand before or after it. */
static void
read_dns(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    read_bool(r, key, n, &((struct tb_filter *)at)->amazon_dns);
}

static const struct member profile_members[] = {
    {"duration", read_capture_duration, AT(tb_profile, duration_ns)},
    {"max_bytes", read_size, AT(tb_profile, max_bytes)},
    {"sources", read_sources, AT(tb_profile, sources)},
    {"filter", read_filter, AT(tb_profile, filter)},
    {"amazon_dns", read_dns, AT(tb_profile, filter)},
    {"bpf", read_bpf, AT(tb_profile, bpf)},
    {"packet_length", read_packet_length, AT(tb_profile, packet_length)},
    {"snaplen", read_snaplen, AT(tb_profile, snaplen)},
    {"object_lock", read_object_lock, 0},
    {"priority", read_priority, AT(tb_profile, priority)},
    {"cooldown", read_cooldown, AT(tb_profile, cooldown_ns)},
    {NULL, NULL, 0}};

static bool
is_name(const char *text)
{
    size_t len = text != NULL ? strlen(text) : 0;

    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)text[i]) && strchr("-_.", text[i]) == NULL) {
            return false;
        }
    }
    return len > 0 && len < TB_RULE_NAME_SIZE;
}

static const char *const what_names_are = "a name (letters, digits, '-', '_', '.'; up to 63)";

static void
read_profile(struct reader *r, const yaml_node_t *key, const yaml_node_t *n,
             struct tb_profile *out)
{
    const char *name = text_of(key);

    if (!is_name(name)) {
        not_a(r, key, "profiles", what_names_are);
        return;
    }
    (void)tb_str_copy(out->name, sizeof(out->name), name);
    (void)snprintf(r->where, sizeof(r->where), "profile '%s'", name);
    out->cooldown_ns = -1;
    tb_filter_all(&out->filter, "");
    read_mapping(r, n, "", profile_members, out);
    r->where[0] = 0;
}

static void
read_profiles(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct tb_rules *rules = at;
    const yaml_node_pair_t *pair;
    size_t count;

    if (n->type != YAML_MAPPING_NODE) {
        complain(r, n, key, "has to be a mapping of profiles by name");
        return;
    }
    count = (size_t)(n->data.mapping.pairs.top - n->data.mapping.pairs.start);
    if (count > TB_POLICY_MAX_PROFILES || rules->profiles != NULL) {
        complain(r, n, key, "at most %d profiles, in one place", TB_POLICY_MAX_PROFILES);
        return;
    }
    rules->profiles = calloc(count + 1, sizeof(*rules->profiles));
    if (rules->profiles == NULL) {
        r->no_memory = true;
        return;
    }
    for (pair = n->data.mapping.pairs.start; pair < n->data.mapping.pairs.top; pair++) {
        struct tb_profile *made = &rules->profiles[rules->profile_count++];

        read_profile(r, node(r, pair->key), node(r, pair->value), made);
        for (struct tb_profile *p = rules->profiles; p < made; p++) {
            if (strcmp(p->name, made->name) == 0 && made->name[0] != 0) {
                complain(r, node(r, pair->key), key, "'%s' is there twice", made->name);
            }
        }
    }
}

/* --- rules --- */

static void
read_when(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    static const struct member members[] = {
        {"type", read_words, AT(tb_rule, types)},
        {"severity", read_severity, 0},
        {"resource", read_resources, AT(tb_rule, resources)},
        {"account", read_accounts, AT(tb_rule, accounts)},
        {"region", read_words, AT(tb_rule, regions)},
        {"vpc", read_words, AT(tb_rule, vpcs)},
        {"subnet", read_words, AT(tb_rule, subnets)},
        {"tag", read_words, AT(tb_rule, tags)},
        {"sender", read_words, AT(tb_rule, adapters)},
        {"sample", read_wanted, AT(tb_rule, sample)},
        {"archived", read_wanted, AT(tb_rule, archived)},
        {NULL, NULL, 0}};

    read_mapping(r, n, key, members, at);
}

static void
read_rule_name(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    if (!is_name(text_of(n))) {
        not_a(r, n, key, what_names_are);
        return;
    }
    (void)tb_str_copy(at, TB_RULE_NAME_SIZE, text_of(n));
}

static void
read_ignore(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    const char *text = text_of(n);

    if (text == NULL || text[0] == 0 || strlen(text) > 180) {
        not_a(r, n, key, "a reason of up to 180 characters");
        return;
    }
    for (const char *p = text; *p != 0; p++) {
        if (iscntrl((unsigned char)*p)) {
            not_a(r, n, key, "a reason on one line");
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
read_capture(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    if (text_of(n) == NULL) {
        not_a(r, n, key, "the name of a profile");
        return;
    }
    *(const yaml_node_t **)at = n;
}

/* Profiles stand before or after the rules: they are looked up when all is read. */
static void
find_profile(struct reader *r, const struct written *w, struct tb_rule *rule)
{
    const struct tb_rules *rules = r->rules;

    for (size_t i = 0; w->profile != NULL && i < rules->profile_count; i++) {
        if (strcmp(rules->profiles[i].name, text_of(w->profile)) == 0) {
            rule->profile = i;
            return;
        }
    }
    if (w->profile != NULL) {
        not_a(r, w->profile, "capture", "one of the profiles");
    }
}

static void
read_rule(struct reader *r, const yaml_node_t *n, struct tb_rule *out)
{
    static const struct member members[] = {{"name", read_rule_name, AT(written, rule.name)},
                                            {"when", read_when, AT(written, rule)},
                                            {"capture", read_capture, AT(written, profile)},
                                            {"ignore", read_ignore, AT(written, rule.ignore)},
                                            {NULL, NULL, 0}};
    struct written w = {.rule = {.line = n->start_mark.line + 1}};
    const yaml_node_pair_t *pair;

    (void)snprintf(r->where, sizeof(r->where), "rule %zu", r->rules->rule_count);
    if (n->type == YAML_MAPPING_NODE) { /* its name first, for the complaints about the rest */
        for (pair = n->data.mapping.pairs.start; pair < n->data.mapping.pairs.top; pair++) {
            const char *key = text_of(node(r, pair->key));
            const char *name = text_of(node(r, pair->value));

            if (key != NULL && strcmp(key, "name") == 0 && is_name(name)) {
                (void)snprintf(r->where, sizeof(r->where), "rule '%s'", name);
            }
        }
    }
    read_mapping(r, n, "", members, &w);
    if (n->type == YAML_MAPPING_NODE && w.rule.name[0] == 0 && !r->complained) {
        complain(r, n, "name", "is missing");
    }
    if (n->type == YAML_MAPPING_NODE && (w.profile != NULL) == (w.rule.ignore[0] != 0) &&
        !r->complained) {
        complain(r, n, "", "has to say one of 'capture: PROFILE' and 'ignore: REASON'");
    }
    find_profile(r, &w, &w.rule);
    *out = w.rule;
    for (size_t i = 0; out->name[0] != 0 && &r->rules->rules[i] < out; i++) {
        if (strcmp(r->rules->rules[i].name, out->name) == 0) {
            complain(r, n, "name", "line %zu has a rule of this name", r->rules->rules[i].line);
        }
    }
    r->where[0] = 0;
}

static void
read_rules(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct tb_rules *rules = at;
    const yaml_node_item_t *item;
    size_t count;

    if (n->type != YAML_SEQUENCE_NODE) {
        complain(r, n, key, "has to be a list of rules");
        return;
    }
    count = (size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
    if (count > TB_POLICY_MAX_RULES || rules->rules != NULL) {
        complain(r, n, key, "at most %d rules, in one place", TB_POLICY_MAX_RULES);
        return;
    }
    rules->rules = calloc(count + 1, sizeof(*rules->rules));
    if (rules->rules == NULL) {
        r->no_memory = true;
        return;
    }
    for (item = n->data.sequence.items.start; item < n->data.sequence.items.top; item++) {
        rules->rule_count++;
        read_rule(r, node(r, *item), &rules->rules[rules->rule_count - 1]);
    }
}

/* --- the document --- */

static void
leave_for_later(struct reader *r, const char *key, const yaml_node_t *n, void *at)
{
    (void)r;
    (void)key;
    *(const yaml_node_t **)at = n;
}

static void
read_document(struct reader *r)
{
    struct parts {
        const yaml_node_t *guard, *profiles, *rules;
    } parts = {NULL, NULL, NULL};
    static const struct member members[] = {{"guard", leave_for_later, AT(parts, guard)},
                                            {"profiles", leave_for_later, AT(parts, profiles)},
                                            {"rules", leave_for_later, AT(parts, rules)},
                                            {NULL, NULL, 0}};
    const yaml_node_t *root = yaml_document_get_root_node(&r->doc);

    if (root == NULL) {
        (void)tb_fail_set(r->fail, TB_EINVAL, "%s: is empty", r->name);
        r->complained = true;
        return;
    }
    read_mapping(r, root, "", members, &parts);
    if (parts.guard != NULL) {
        read_guard(r, "guard", parts.guard, &r->rules->guard);
    }
    if (parts.profiles != NULL) {
        read_profiles(r, "profiles", parts.profiles, r->rules);
    }
    if (parts.rules != NULL) {
        read_rules(r, "rules", parts.rules, r->rules);
    } else if (!r->complained) {
        complain(r, root, "rules", "is missing: without a rule nothing is captured");
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
    struct reader r = {.name = name, .report = report, .arg = arg, .fail = &first};
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
