/* Mirror filters as values: made of peers, compared, joined. */
#include <tapbox/filter.h>

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tapbox/bytes.h>

static const char *const kind_names[TB_FILTER_KIND_COUNT] = {[TB_FILTER_ALL] = "all",
                                                             [TB_FILTER_PEERS] = "peers",
                                                             [TB_FILTER_PEERS_DNS] =
                                                                 "peers+dns",
                                                             [TB_FILTER_RULES] = "rules"};

const char *
tb_filter_kind_name(enum tb_filter_kind kind)
{
    return kind_names[kind];
}

bool
tb_filter_kind_parse(const char *name, enum tb_filter_kind *out)
{
    for (size_t i = 0; i < TB_FILTER_KIND_COUNT; i++) {
        if (strcmp(kind_names[i], name) == 0) {
            *out = (enum tb_filter_kind)i;
            return true;
        }
    }
    return false;
}

/* --- prefixes --- */

struct prefix {
    int family;
    unsigned len; /* bits */
    uint8_t octets[sizeof(struct in6_addr)];
};

static unsigned
bits_of(int family)
{
    return family == AF_INET ? 32 : 128;
}

static void
clear_host_bits(struct prefix *p)
{
    for (unsigned bit = p->len; bit < bits_of(p->family); bit++) {
        p->octets[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
    }
}

static unsigned
common_bits(const struct prefix *a, const struct prefix *b)
{
    unsigned most = a->len < b->len ? a->len : b->len;
    unsigned n = 0;

    while (n < most && ((a->octets[n / 8] ^ b->octets[n / 8]) & (0x80u >> (n % 8))) == 0) {
        n++;
    }
    return n;
}

static bool
prefix_covers(const struct prefix *outer, const struct prefix *inner)
{
    return outer->family == inner->family && outer->len <= inner->len &&
           common_bits(outer, inner) == outer->len;
}

static bool
read_prefix(const char *text, struct prefix *out)
{
    char address[TB_IP_TEXT_SIZE];
    const char *slash = strchr(text, '/');
    size_t n = slash != NULL ? (size_t)(slash - text) : strlen(text);
    struct prefix made = {.family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET};

    if (n >= sizeof(address)) {
        return false;
    }
    memcpy(address, text, n);
    address[n] = 0;
    made.len = bits_of(made.family);
    if (slash != NULL) {
        size_t digits = strspn(slash + 1, "0123456789");

        if (digits == 0 || digits > 3 || slash[1 + digits] != 0) {
            return false;
        }
        made.len = (unsigned)strtoul(slash + 1, NULL, 10);
    }
    if (made.len > bits_of(made.family) || inet_pton(made.family, address, made.octets) != 1) {
        return false;
    }
    *out = made;
    return true;
}

static void
write_prefix(const struct prefix *p, char out[TB_CIDR_SIZE])
{
    char address[TB_IP_TEXT_SIZE];

    if (inet_ntop(p->family, p->octets, address, sizeof(address)) == NULL) {
        address[0] = 0;
    }
    (void)snprintf(out, TB_CIDR_SIZE, "%s/%u", address, p->len);
}

bool
tb_cidr_parse(const char *text, char out[TB_CIDR_SIZE])
{
    struct prefix p, cleared;

    if (!read_prefix(text, &p)) {
        return false;
    }
    cleared = p;
    clear_host_bits(&cleared);
    if (memcmp(cleared.octets, p.octets, sizeof(p.octets)) != 0) {
        return false;
    }
    write_prefix(&p, out);
    return true;
}

/* --- filters of peers --- */

void
tb_filter_all(struct tb_filter *out, const char *note)
{
    *out = (struct tb_filter){.kind = TB_FILTER_ALL, .amazon_dns = true};
    (void)tb_str_copy(out->note, sizeof(out->note), note);
}

/* Not a peer: the unspecified address, multicast, broadcast. */
static bool
is_host(const struct prefix *p)
{
    static const uint8_t zero[sizeof(p->octets)] = {0};

    if (memcmp(p->octets, zero, sizeof(zero)) == 0) {
        return false;
    }
    return p->family == AF_INET ? p->octets[0] < 224 : p->octets[0] != 0xff;
}

/* Adds what no prefix there covers. */
static void
add_prefix(struct prefix *list, size_t *count, const struct prefix *p)
{
    for (size_t i = 0; i < *count; i++) {
        if (prefix_covers(&list[i], p)) {
            return;
        }
    }
    list[(*count)++] = *p;
}

/* The two of one family that share the longest prefix, measured by how many addresses come
 * along, become one; false when no two are of one family. */
static bool
merge_nearest(struct prefix *list, size_t *count)
{
    unsigned best_host_bits = 129;
    size_t best_i = 0, best_j = 0;
    struct prefix merged;
    size_t kept = 0;

    for (size_t i = 0; i < *count; i++) {
        for (size_t j = i + 1; j < *count; j++) {
            unsigned host_bits;

            if (list[i].family != list[j].family) {
                continue;
            }
            host_bits = bits_of(list[i].family) - common_bits(&list[i], &list[j]);
            /* an IPv6 network of /64 is what an IPv4 address is */
            host_bits =
                list[i].family == AF_INET6 ? (host_bits > 64 ? host_bits - 64 : 0) : host_bits;
            if (host_bits < best_host_bits) {
                best_host_bits = host_bits;
                best_i = i;
                best_j = j;
            }
        }
    }
    if (best_host_bits > 128) {
        return false;
    }
    merged = list[best_i];
    merged.len = common_bits(&list[best_i], &list[best_j]);
    clear_host_bits(&merged);
    for (size_t i = 0; i < *count; i++) {
        if (!prefix_covers(&merged, &list[i])) {
            list[kept++] = list[i];
        }
    }
    list[kept++] = merged;
    *count = kept;
    return true;
}

static struct tb_filter_rule
rule_of(bool egress, int protocol, const char *remote, int32_t remote_port)
{
    struct tb_filter_rule rule = {.egress = egress,
                                  .protocol = protocol,
                                  .remote_from = remote_port,
                                  .remote_to = remote_port,
                                  .local_from = -1,
                                  .local_to = -1};

    (void)tb_str_copy(rule.remote, sizeof(rule.remote), remote);
    return rule;
}

static void
add_both_ways(struct tb_filter *out, int protocol, const char *remote, int32_t remote_port)
{
    out->rules[out->rule_count++] = rule_of(false, protocol, remote, remote_port);
    out->rules[out->rule_count++] = rule_of(true, protocol, remote, remote_port);
}

void
tb_filter_of_peers(const struct tb_alert *alert, bool dns, struct tb_filter *out)
{
    static const int udp = 17;
    static const int32_t dns_port = 53;
    struct prefix peers[TB_ALERT_MAX_INDICATORS];
    size_t most = (size_t)(dns ? TB_FILTER_MAX_RULES - 2 : TB_FILTER_MAX_RULES) / 2;
    size_t count = 0, named;

    if (alert->indicators_left_out > 0) {
        tb_filter_all(out, "everything: the alert names more peers than are kept");
        return;
    }
    for (size_t i = 0; i < alert->indicator_count; i++) {
        const struct tb_indicator *at = &alert->indicators[i];
        struct prefix p;

        if (at->on_wire && at->kind == TB_INDICATOR_DOMAIN) {
            tb_filter_all(out, "everything: the alert names a domain, and nobody knows which "
                               "addresses it will stand for");
            return;
        }
        if (at->on_wire && read_prefix(at->value, &p) && is_host(&p)) {
            add_prefix(peers, &count, &p);
        }
    }
    if (count == 0) {
        tb_filter_all(out, "everything: the alert names no address of a peer");
        return;
    }
    *out = (struct tb_filter){.kind = dns ? TB_FILTER_PEERS_DNS : TB_FILTER_PEERS,
                              .amazon_dns = dns};
    named = count;
    while (count > most && merge_nearest(peers, &count)) {
    }
    if (count < named) {
        (void)snprintf(out->note, sizeof(out->note),
                       "%zu peers do not fit into the %d rules of a filter: they share %zu "
                       "networks, with their neighbours",
                       named, TB_FILTER_MAX_RULES, count);
    }
    for (size_t i = 0; i < count; i++) {
        char cidr[TB_CIDR_SIZE];

        write_prefix(&peers[i], cidr);
        add_both_ways(out, -1, cidr, -1);
    }
    if (dns) {
        add_both_ways(out, udp, "0.0.0.0/0", dns_port);
    }
}

/* --- comparing and joining --- */

bool
tb_filter_rule_equal(const struct tb_filter_rule *a, const struct tb_filter_rule *b)
{
    return a->egress == b->egress && a->protocol == b->protocol &&
           strcmp(a->remote, b->remote) == 0 && a->remote_from == b->remote_from &&
           a->remote_to == b->remote_to && a->local_from == b->local_from &&
           a->local_to == b->local_to;
}

static bool
ports_cover(int32_t outer_from, int32_t outer_to, int32_t from, int32_t to)
{
    return outer_from < 0 || (from >= 0 && outer_from <= from && to <= outer_to);
}

static bool
rule_covers(const struct tb_filter_rule *outer, const struct tb_filter_rule *inner)
{
    struct prefix a, b;

    return outer->egress == inner->egress &&
           (outer->protocol < 0 || outer->protocol == inner->protocol) &&
           ports_cover(outer->remote_from, outer->remote_to, inner->remote_from,
                       inner->remote_to) &&
           ports_cover(outer->local_from, outer->local_to, inner->local_from,
                       inner->local_to) &&
           read_prefix(outer->remote, &a) && read_prefix(inner->remote, &b) &&
           prefix_covers(&a, &b);
}

static bool
is_covered(const struct tb_filter *outer, const struct tb_filter_rule *rule)
{
    for (size_t i = 0; i < outer->rule_count; i++) {
        if (rule_covers(&outer->rules[i], rule)) {
            return true;
        }
    }
    return false;
}

bool
tb_filter_covers(const struct tb_filter *outer, const struct tb_filter *inner)
{
    if (outer->kind == TB_FILTER_ALL) {
        return true;
    }
    if (inner->kind == TB_FILTER_ALL || (inner->amazon_dns && !outer->amazon_dns)) {
        return false;
    }
    for (size_t i = 0; i < inner->rule_count; i++) {
        if (!is_covered(outer, &inner->rules[i])) {
            return false;
        }
    }
    return true;
}

void
tb_filter_join(const struct tb_filter *a, const struct tb_filter *b, struct tb_filter *out)
{
    struct tb_filter made = *a;

    if (a->kind == TB_FILTER_ALL || b->kind == TB_FILTER_ALL) {
        tb_filter_all(out, a->kind == TB_FILTER_ALL ? a->note : b->note);
        return;
    }
    made.amazon_dns |= b->amazon_dns;
    made.kind = a->kind == b->kind ? a->kind
                : a->kind == TB_FILTER_RULES || b->kind == TB_FILTER_RULES
                    ? TB_FILTER_RULES
                    : TB_FILTER_PEERS_DNS;
    for (size_t i = 0; i < b->rule_count; i++) {
        if (is_covered(&made, &b->rules[i])) {
            continue;
        }
        if (made.rule_count == TB_FILTER_MAX_RULES) {
            tb_filter_all(out, "everything: the alerts together need more rules than a filter "
                               "holds");
            return;
        }
        made.rules[made.rule_count++] = b->rules[i];
    }
    if (made.note[0] == 0) {
        (void)tb_str_copy(made.note, sizeof(made.note), b->note);
    }
    *out = made;
}

/* --- JSON --- */

static void
set_ports(struct tb_json *out, const char *name, int32_t from, int32_t to)
{
    char text[32];

    if (from < 0) {
        tb_json_set_null(out, name);
        return;
    }
    (void)snprintf(text, sizeof(text), from == to ? "%" PRId32 : "%" PRId32 "-%" PRId32, from,
                   to);
    tb_json_set_str(out, name, text);
}

static struct tb_json *
rule_json(const struct tb_filter_rule *rule)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "direction", rule->egress ? "egress" : "ingress");
    if (rule->protocol < 0) {
        tb_json_set_null(out, "protocol");
    } else {
        tb_json_set_int(out, "protocol", rule->protocol);
    }
    tb_json_set_str(out, "remote", rule->remote);
    set_ports(out, "remote_ports", rule->remote_from, rule->remote_to);
    set_ports(out, "local_ports", rule->local_from, rule->local_to);
    return out;
}

struct tb_json *
tb_filter_json(const struct tb_filter *filter)
{
    struct tb_json *out = tb_json_object();
    struct tb_json *rules = tb_json_array();
    struct tb_filter shown = *filter;

    if (shown.kind == TB_FILTER_ALL) {
        shown.rule_count = 0;
        add_both_ways(&shown, -1, "0.0.0.0/0", -1);
        add_both_ways(&shown, -1, "::/0", -1);
    }
    for (size_t i = 0; i < shown.rule_count; i++) {
        tb_json_add(rules, rule_json(&shown.rules[i]));
    }
    tb_json_set_str(out, "kind", kind_names[filter->kind]);
    tb_json_set(out, "rules", rules);
    tb_json_set_bool(out, "amazon_dns", filter->amazon_dns);
    tb_json_set_str(out, "note", filter->note[0] != 0 ? filter->note : NULL);
    return out;
}

static bool
take_ports(const struct tb_json *rule, const char *pointer, int32_t *from, int32_t *to)
{
    const char *text = tb_json_str(rule, pointer);
    char *end = NULL;
    unsigned long low, high;

    *from = *to = -1;
    if (text == NULL) {
        return true;
    }
    low = high = strtoul(text, &end, 10);
    if (end != text && *end == '-') {
        high = strtoul(end + 1, &end, 10);
    }
    if (end == text || *end != 0 || low > UINT16_MAX || high > UINT16_MAX || low > high) {
        return false;
    }
    *from = (int32_t)low;
    *to = (int32_t)high;
    return true;
}

static bool
take_rule(const struct tb_json *from, struct tb_filter_rule *out)
{
    const char *direction = tb_json_str(from, "/direction");
    const char *remote = tb_json_str(from, "/remote");
    int64_t protocol = -1;

    (void)tb_json_int(from, "/protocol", &protocol);
    if (direction == NULL || remote == NULL || protocol < -1 || protocol > UINT8_MAX ||
        !tb_cidr_parse(remote, out->remote)) {
        return false;
    }
    out->egress = strcmp(direction, "egress") == 0;
    out->protocol = (int)protocol;
    return take_ports(from, "/remote_ports", &out->remote_from, &out->remote_to) &&
           take_ports(from, "/local_ports", &out->local_from, &out->local_to);
}

enum tb_err
tb_filter_parse(struct tb_bytes text, struct tb_filter *out, struct tb_fail *fail)
{
    struct tb_filter made = {.kind = TB_FILTER_ALL};
    struct tb_json *root = NULL;
    const struct tb_json *rules;
    const char *kind, *note;
    bool good;
    enum tb_err err = tb_json_parse_max(text, TB_FILTER_JSON_MAX_BYTES, &root, fail);

    if (err != TB_OK) {
        return err;
    }
    kind = tb_json_str(root, "/kind");
    note = tb_json_str(root, "/note");
    rules = tb_json_at(root, "/rules");
    good = kind != NULL && tb_filter_kind_parse(kind, &made.kind) &&
           tb_json_bool(root, "/amazon_dns", &made.amazon_dns) &&
           (note == NULL || tb_str_copy(made.note, sizeof(made.note), note)) &&
           tb_json_count(rules) <= TB_FILTER_MAX_RULES;
    for (size_t i = 0; good && made.kind != TB_FILTER_ALL && i < tb_json_count(rules); i++) {
        good = take_rule(tb_json_item(rules, i), &made.rules[made.rule_count++]);
    }
    tb_json_free(root);
    if (!good) {
        return tb_fail_set(fail, TB_EFORMAT, "not a mirror filter");
    }
    *out = made;
    return TB_OK;
}
