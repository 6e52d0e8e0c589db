/* The policy's `senders`: where things stand in the bodies of senders without an adapter. */
#include "policy_reader_int.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/ids.h>

enum {
    MAX_VALUES = 16, /* of a first-of list */
    MAX_PAIRS = 100  /* of hosts, severities */
};

/* One value or a list of them. */
static void
read_values(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct tb_words *words = at;

    policy_read_words(r, key, n, at);
    if (words->count > MAX_VALUES) {
        policy_complain(r, n, key, "at most %d values", MAX_VALUES);
    }
    for (size_t i = 0; i < words->count; i++) {
        if (!tb_sender_value_valid(words->at[i])) {
            policy_complain(r, n, key,
                            "'%.60s' is no value (write a JSON pointer such as /a/b, or text "
                            "with pointers in braces such as Falco:{/rule})",
                            words->at[i]);
        }
    }
}

/* A mapping of texts, checked by pair, into one list. */
static void
read_pairs(struct policy_reader *r, const char *key, const yaml_node_t *n,
           struct tb_words *words, bool (*valid)(const char *first, const char *second),
           const char *expects)
{
    const yaml_node_pair_t *pair;

    if (n->type != YAML_MAPPING_NODE ||
        n->data.mapping.pairs.top - n->data.mapping.pairs.start > MAX_PAIRS) {
        policy_complain(r, n, key, "has to be a mapping of up to %d %s", MAX_PAIRS, expects);
        return;
    }
    for (pair = n->data.mapping.pairs.start; pair < n->data.mapping.pairs.top; pair++) {
        const yaml_node_t *first = policy_node(r, pair->key);
        const yaml_node_t *second = policy_node(r, pair->value);
        const char *left = policy_text_of(first);
        const char *right = policy_text_of(second);

        if (left == NULL || right == NULL || left[0] == 0 || right[0] == 0 ||
            !valid(left, right)) {
            policy_complain(r, first, key, "'%.60s' has to be one of the %s",
                            left != NULL ? left : "", expects);
        } else {
            policy_read_words(r, key, first, words);
            policy_read_words(r, key, second, words);
        }
    }
}

static bool
valid_match(const char *pointer, const char *text)
{
    (void)text;
    return tb_sender_pointer_valid(pointer);
}

static void
read_match(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    read_pairs(r, key, n, at, valid_match, "pointers with what stands there ('*': anything)");
}

static bool
valid_severity(const char *text, const char *number)
{
    char *end = NULL;
    double value = strtod(number, &end);

    (void)text;
    return end != number && *end == 0 && value >= 0 && value <= 10;
}

static void
read_severities(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    read_pairs(r, key, n, at, valid_severity, "texts with a number from 0 to 10");
}

/* "100": the number in the sender's bodies that is 10 here. */
static void
read_most(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    long most = 0;

    if (!policy_take_whole(n, 1, 1000000, &most)) {
        policy_not_a(r, n, key, "the highest severity of the sender, a number from 1");
    } else {
        *(double *)at = (double)most;
    }
}

static bool
valid_host(const char *text, const char *id)
{
    (void)text;
    return tb_aws_id_valid(id, "i-") || tb_aws_id_valid(id, "eni-");
}

static void
read_hosts(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    read_pairs(r, key, n, at, valid_host,
               "texts with an instance (i-...) or interface (eni-...)");
}

static void
read_own(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct tb_words *words = at;

    policy_read_words(r, key, n, at);
    for (size_t i = 0; i < words->count; i++) {
        if (!tb_sender_network_valid(words->at[i])) {
            policy_complain(r, n, key, "'%.60s' is no network such as 10.0.0.0/8",
                            words->at[i]);
        }
    }
}

static void
read_indicators(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    static const struct policy_member members[] = {
        {"ip", read_values, POLICY_AT(tb_sender_indicator, ip)},
        {"domain", read_values, POLICY_AT(tb_sender_indicator, domain)},
        {"port", read_values, POLICY_AT(tb_sender_indicator, port)},
        {"local_port", read_values, POLICY_AT(tb_sender_indicator, local_port)},
        {"protocol", read_values, POLICY_AT(tb_sender_indicator, protocol)},
        {"direction", read_values, POLICY_AT(tb_sender_indicator, direction)},
        {NULL, NULL, 0}};
    struct tb_sender *sender = at;
    const yaml_node_item_t *item;

    /* (there already: the key is there twice, which was told) */
    if (n->type != YAML_SEQUENCE_NODE || sender->indicator_count > 0 ||
        n->data.sequence.items.top - n->data.sequence.items.start > TB_SENDER_MAX_INDICATORS) {
        policy_complain(r, n, key, "has to be a list of up to %d", TB_SENDER_MAX_INDICATORS);
        return;
    }
    for (item = n->data.sequence.items.start; item < n->data.sequence.items.top; item++) {
        const yaml_node_t *one = policy_node(r, *item);
        struct tb_sender_indicator *into = &sender->indicators[sender->indicator_count];

        sender->indicator_count++;
        policy_read_mapping(r, one, key, members, into);
        if (into->ip.count == 0 && into->domain.count == 0) {
            policy_complain(r, one, key, "has to say where its ip or domain stands");
        }
    }
}

/* A name is a part of a URL, a label of a metric, and `sender` of a rule. */
static bool
is_name(const char *text)
{
    size_t len = text == NULL ? 0 : strlen(text);

    for (size_t i = 0; i < len; i++) {
        if (!islower((unsigned char)text[i]) && !isdigit((unsigned char)text[i]) &&
            (i == 0 || strchr("-_", text[i]) == NULL)) {
            return false;
        }
    }
    return len > 0 && len < TB_ALERT_ADAPTER_SIZE;
}

static bool
is_taken(const char *name)
{
    static const char *const ours[] = {
        "guardduty", "securityhub", "securityhub-action", "ec2", "tapbox", "api", "sns"};

    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (strcmp(ours[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void
check_whole(struct policy_reader *r, const yaml_node_t *n, const struct tb_sender *sender)
{
    if (sender->id.count == 0 && sender->hash.count == 0) {
        policy_complain(r, n, "id", "is missing (or hash, for a sender without ids)");
    }
    if (sender->type.count == 0) {
        policy_complain(r, n, "type", "is missing");
    }
    if (sender->source.count == 0) {
        policy_complain(r, n, "source", "is missing: what names the instance or interface");
    }
    if (sender->accounts.count > 0 && sender->account.count == 0) {
        policy_complain(r, n, "accounts", "needs account: where the body says which one it is");
    }
}

static void
read_sender(struct policy_reader *r, const yaml_node_t *key, const yaml_node_t *n,
            struct tb_senders *senders)
{
#define VALUES(name)                                                                           \
    {                                                                                          \
#name, read_values, POLICY_AT(tb_sender, name)                                         \
    }
    static const struct policy_member members[] = {
        {"match", read_match, POLICY_AT(tb_sender, match)},
        {"sample", read_match, POLICY_AT(tb_sender, sample)},
        {"archived", read_match, POLICY_AT(tb_sender, archived)},
        VALUES(id),
        VALUES(updated),
        VALUES(hash),
        VALUES(type),
        VALUES(title),
        VALUES(severity),
        {"severities", read_severities, POLICY_AT(tb_sender, severities)},
        {"severity_most", read_most, POLICY_AT(tb_sender, severity_most)},
        VALUES(source),
        {"hosts", read_hosts, POLICY_AT(tb_sender, hosts)},
        VALUES(account),
        {"accounts", policy_read_accounts, POLICY_AT(tb_sender, accounts)},
        VALUES(region),
        VALUES(time),
        {"own", read_own, POLICY_AT(tb_sender, own)},
        {"indicators", read_indicators, 0},
        {NULL, NULL, 0}};
#undef VALUES
    struct tb_sender *sender = &senders->at[senders->count];
    const char *name = policy_text_of(key);

    if (!is_name(name) || is_taken(name)) {
        policy_complain(r, key, "senders",
                        "'%.60s' is no name for a sender (small letters, digits, '-', '_'; up "
                        "to %d; none of tapbox's own adapters)",
                        name != NULL ? name : "", TB_ALERT_ADAPTER_SIZE - 1);
        return;
    }
    if (tb_sender_find(senders, name) != NULL) {
        policy_complain(r, key, "senders", "'%s' is there twice", name);
        return;
    }
    (void)snprintf(r->where, sizeof(r->where), "sender '%s'", name);
    (void)tb_str_copy(sender->name, sizeof(sender->name), name);
    senders->count++;
    policy_read_mapping(r, n, "", members, sender);
    if (n->type == YAML_MAPPING_NODE) {
        check_whole(r, n, sender);
    }
    r->where[0] = 0;
}

void
policy_read_senders(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct tb_senders *senders = at;
    const yaml_node_pair_t *pair;

    if (n->type != YAML_MAPPING_NODE || senders->at != NULL ||
        n->data.mapping.pairs.top - n->data.mapping.pairs.start > TB_SENDERS_MAX) {
        policy_complain(r, n, key, "has to be a mapping of up to %d senders", TB_SENDERS_MAX);
        return;
    }
    senders->at = calloc(TB_SENDERS_MAX, sizeof(*senders->at));
    if (senders->at == NULL) {
        r->no_memory = true;
        return;
    }
    for (pair = n->data.mapping.pairs.start; pair < n->data.mapping.pairs.top; pair++) {
        read_sender(r, policy_node(r, pair->key), policy_node(r, pair->value), senders);
    }
}
