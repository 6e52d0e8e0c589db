/* The profiles of the policy's file: what a capture is like. */
#include "config_int.h"
#include "policy_reader_int.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

static void
read_cooldown(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    const char *text = policy_text_of(n);

    if (text != NULL && (strcmp(text, "0") == 0 || strcmp(text, "0s") == 0)) {
        *(int64_t *)at = 0;
    } else {
        policy_read_duration(r, key, n, at);
    }
}

static void
read_snaplen(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    long value = 0;

    if (!policy_take_whole(n, 64, TB_SNAPLEN_MAX, &value)) {
        policy_not_a(r, n, key, "a whole number from 64 to 65535");
    } else {
        *(uint32_t *)at = (uint32_t)value;
    }
}

static void
read_max_packets(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    long value = 0;

    if (!policy_take_whole(n, 1, LONG_MAX, &value)) {
        policy_not_a(r, n, key, "a whole number of packets, 1 or more");
    } else {
        *(uint64_t *)at = (uint64_t)value;
    }
}

static void
read_packet_length(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    long value = 0;

    if (!policy_take_whole(n, 64, 8500, &value)) { /* EC2's own ceiling */
        policy_not_a(r, n, key, "a whole number from 64 to 8500");
    } else {
        *(uint32_t *)at = (uint32_t)value;
    }
}

static void
read_priority(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    long value = 0;

    if (!policy_take_whole(n, -100, 100, &value)) {
        policy_not_a(r, n, key, "a whole number from -100 to 100");
    } else {
        *(int32_t *)at = (int32_t)value;
    }
}

static void
read_sources(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    static const char *const words[] = {[TB_SOURCES_NAMED] = "named",
                                        [TB_SOURCES_ALL] = "all",
                                        [TB_SOURCES_PRIMARY] = "primary"};
    const char *text = policy_text_of(n);

    for (size_t i = 0; text != NULL && i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i]) == 0) {
            *(enum tb_profile_sources *)at = (enum tb_profile_sources)i;
            return;
        }
    }
    policy_not_a(r, n, key, "named, all or primary");
}

static void
read_bpf(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    const char *text = policy_text_of(n);

    if (text == NULL || text[0] == 0 || strlen(text) >= TB_CAPTURE_MAX_BPF_TEXT) {
        policy_not_a(r, n, key, "a filter expression of up to 4095 characters");
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
read_direction(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct written_rule *rule = at;
    const char *text = policy_text_of(n);

    if (text == NULL ||
        (strcmp(text, "in") != 0 && strcmp(text, "out") != 0 && strcmp(text, "both") != 0)) {
        policy_not_a(r, n, key, "in, out or both");
        return;
    }
    rule->ingress = text[0] != 'o';
    rule->egress = text[0] != 'i';
}

static void
read_protocol(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    static const struct {
        const char *name;
        int number;
    } known[] = {{"all", -1}, {"icmp", 1}, {"tcp", 6}, {"udp", 17}, {"icmpv6", 58}};
    const char *text = policy_text_of(n);
    long number = 0;

    for (size_t i = 0; text != NULL && i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(text, known[i].name) == 0) {
            *(int *)at = known[i].number;
            return;
        }
    }
    if (!policy_take_whole(n, 0, 255, &number)) {
        policy_not_a(r, n, key, "tcp, udp, icmp, icmpv6, all or a number from 0 to 255");
    } else {
        *(int *)at = (int)number;
    }
}

static void
read_remote(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    if (policy_text_of(n) == NULL || !tb_cidr_parse(policy_text_of(n), at)) {
        policy_not_a(r, n, key,
                     "an address or a network (write 203.0.113.7, 10.1.0.0/16, ::/0)");
    }
}

static void
read_ports(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    int32_t *ports = at;
    const char *text = policy_text_of(n);
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
        policy_not_a(r, n, key, "a port or a range of ports (write 443 or 8000-8999)");
    }
}

static void
add_rule(struct policy_reader *r, const yaml_node_t *n, const struct written_rule *written,
         bool egress, struct tb_filter *out)
{
    struct tb_filter_rule *rule;

    if (out->rule_count == TB_FILTER_MAX_RULES) {
        policy_complain(r, n, "filter",
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
read_rule_of_filter(struct policy_reader *r, const yaml_node_t *n, struct tb_filter *out)
{
    static const struct policy_member members[] = {
        {"direction", read_direction, 0},
        {"protocol", read_protocol, POLICY_AT(written_rule, protocol)},
        {"remote", read_remote, POLICY_AT(written_rule, remote)},
        {"remote_port", read_ports, POLICY_AT(written_rule, remote_ports)},
        {"local_port", read_ports, POLICY_AT(written_rule, local_ports)},
        {NULL, NULL, 0}};
    struct written_rule w = {.ingress = true,
                             .egress = true,
                             .protocol = -1,
                             .remote = "0.0.0.0/0",
                             .remote_ports = {-1, -1},
                             .local_ports = {-1, -1}};

    policy_read_mapping(r, n, "filter", members, &w);
    if ((w.remote_ports[0] >= 0 || w.local_ports[0] >= 0) && w.protocol != 6 &&
        w.protocol != 17) {
        policy_complain(r, n, "filter", "ports need protocol tcp or udp");
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
read_filter(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct tb_filter *filter = at;
    const char *text = policy_text_of(n);
    enum tb_filter_kind kind = TB_FILTER_ALL;
    const yaml_node_item_t *item;

    if (text != NULL && tb_filter_kind_parse(text, &kind) && kind != TB_FILTER_RULES) {
        tb_filter_all(filter, "");
        filter->kind = kind;
        return;
    }
    if (n->type != YAML_SEQUENCE_NODE ||
        n->data.sequence.items.top == n->data.sequence.items.start) {
        policy_not_a(r, n, key, "all, peers, peers+dns or a list of rules");
        return;
    }
    /* a list of its own says itself whether it wants Amazon DNS */
    *filter = (struct tb_filter){.kind = TB_FILTER_RULES, .amazon_dns = filter->amazon_dns};
    for (item = n->data.sequence.items.start; item < n->data.sequence.items.top; item++) {
        read_rule_of_filter(r, policy_node(r, *item), filter);
    }
}

static void
read_lock_mode(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    const char *text = policy_text_of(n);

    if (text == NULL || (strcmp(text, "GOVERNANCE") != 0 && strcmp(text, "COMPLIANCE") != 0 &&
                         strcmp(text, "none") != 0)) {
        policy_not_a(r, n, key, "GOVERNANCE, COMPLIANCE or none");
    } else {
        (void)tb_str_copy(at, sizeof(((struct tb_storage *)NULL)->lock_mode), text);
    }
}

static void
read_object_lock(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    static const struct policy_member members[] = {
        {"mode", read_lock_mode, POLICY_AT(tb_profile, storage.lock_mode)},
        {"retention", policy_read_duration, POLICY_AT(tb_profile, storage.retention_ns)},
        {"legal_hold", policy_read_bool, POLICY_AT(tb_profile, storage.legal_hold)},
        {NULL, NULL, 0}};
    const struct tb_storage *storage = &((struct tb_profile *)at)->storage;

    policy_read_mapping(r, n, key, members, at);
    if (storage->retention_ns != 0 &&
        (storage->lock_mode[0] == 0 || strcmp(storage->lock_mode, "none") == 0)) {
        policy_complain(r, n, key, "retention needs mode: GOVERNANCE or COMPLIANCE");
    }
}

/* Values as those of the same names below s3 in tapbox.yaml. */
static void
read_s3_text(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at,
             size_t cap, const char *config_key)
{
    const struct tb_config_key *known = &tb_config_keys[tb_config_find(config_key)];
    const char *text = policy_text_of(n);

    if (text == NULL || text[0] == '\0' || !known->valid(text)) {
        policy_not_a(r, n, key, known->expects);
    } else if (!tb_str_copy(at, cap, text)) {
        policy_complain(r, n, key, "%zu characters, at most %zu are allowed", strlen(text),
                        cap - 1);
    }
}

#define STORAGE_SIZE(field) sizeof(((struct tb_storage *)NULL)->field)

static void
read_sse(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    read_s3_text(r, key, n, at, STORAGE_SIZE(sse), "s3.sse");
}

static void
read_kms_key(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    read_s3_text(r, key, n, at, STORAGE_SIZE(kms_key), "s3.kms_key");
}

static void
read_storage_class(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    read_s3_text(r, key, n, at, STORAGE_SIZE(storage_class), "s3.storage_class");
}

static void
read_tags(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    read_s3_text(r, key, n, at, STORAGE_SIZE(tags), "s3.tags");
}

static void
read_s3(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    static const struct policy_member members[] = {
        {"sse", read_sse, POLICY_AT(tb_profile, storage.sse)},
        {"kms_key", read_kms_key, POLICY_AT(tb_profile, storage.kms_key)},
        {"storage_class", read_storage_class, POLICY_AT(tb_profile, storage.storage_class)},
        {"tags", read_tags, POLICY_AT(tb_profile, storage.tags)},
        {NULL, NULL, 0}};
    const struct tb_storage *storage = &((struct tb_profile *)at)->storage;

    policy_read_mapping(r, n, key, members, at);
    if (storage->kms_key[0] != '\0' && strncmp(storage->sse, "aws:kms", 7) != 0) {
        policy_complain(r, n, key, "kms_key needs sse: aws:kms");
    }
}

/* Behind the filter in the table of members, so that rules may stand before or after it. */
static void
read_dns(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    policy_read_bool(r, key, n, &((struct tb_filter *)at)->amazon_dns);
}

static const struct policy_member profile_members[] = {
    {"duration", policy_read_capture_duration, POLICY_AT(tb_profile, duration_ns)},
    {"max_bytes", policy_read_size, POLICY_AT(tb_profile, max_bytes)},
    {"max_packets", read_max_packets, POLICY_AT(tb_profile, max_packets)},
    {"sources", read_sources, POLICY_AT(tb_profile, sources)},
    {"filter", read_filter, POLICY_AT(tb_profile, filter)},
    {"amazon_dns", read_dns, POLICY_AT(tb_profile, filter)},
    {"bpf", read_bpf, POLICY_AT(tb_profile, bpf)},
    {"packet_length", read_packet_length, POLICY_AT(tb_profile, packet_length)},
    {"snaplen", read_snaplen, POLICY_AT(tb_profile, snaplen)},
    {"object_lock", read_object_lock, 0},
    {"s3", read_s3, 0},
    {"priority", read_priority, POLICY_AT(tb_profile, priority)},
    {"cooldown", read_cooldown, POLICY_AT(tb_profile, cooldown_ns)},
    {NULL, NULL, 0}};

static void
read_profile(struct policy_reader *r, const yaml_node_t *key, const yaml_node_t *n,
             struct tb_profile *out)
{
    const char *name = policy_text_of(key);

    if (!policy_is_name(name)) {
        policy_not_a(r, key, "profiles", policy_what_names_are);
        return;
    }
    (void)tb_str_copy(out->name, sizeof(out->name), name);
    (void)snprintf(r->where, sizeof(r->where), "profile '%s'", name);
    out->cooldown_ns = -1;
    tb_filter_all(&out->filter, "");
    policy_read_mapping(r, n, "", profile_members, out);
    r->where[0] = 0;
}

void
policy_read_profiles(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct tb_rules *rules = at;
    const yaml_node_pair_t *pair;
    size_t count;

    if (n->type != YAML_MAPPING_NODE) {
        policy_complain(r, n, key, "has to be a mapping of profiles by name");
        return;
    }
    count = (size_t)(n->data.mapping.pairs.top - n->data.mapping.pairs.start);
    if (count > TB_POLICY_MAX_PROFILES || rules->profiles != NULL) {
        policy_complain(r, n, key, "at most %d profiles, in one place", TB_POLICY_MAX_PROFILES);
        return;
    }
    rules->profiles = calloc(count + 1, sizeof(*rules->profiles));
    if (rules->profiles == NULL) {
        r->no_memory = true;
        return;
    }
    for (pair = n->data.mapping.pairs.start; pair < n->data.mapping.pairs.top; pair++) {
        struct tb_profile *made = &rules->profiles[rules->profile_count++];

        read_profile(r, policy_node(r, pair->key), policy_node(r, pair->value), made);
        for (struct tb_profile *p = rules->profiles; p < made; p++) {
            if (strcmp(p->name, made->name) == 0 && made->name[0] != 0) {
                policy_complain(r, policy_node(r, pair->key), key, "'%s' is there twice",
                                made->name);
            }
        }
    }
}
