/*
 * The way of a mirrored packet: VXLAN over UDP from the source's primary address to the target,
 * by the routes of the source's subnet, through the target's security groups.
 */
#include "preflight.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum {
    VXLAN_PORT = 4789
};

/* Whether `ip` lies in `cidr`, both IPv4; *out_bits is the prefix's length. */
static bool
is_in(const char *ip, const char *cidr, int *out_bits)
{
    const char *slash = strchr(cidr, '/');
    char base[INET_ADDRSTRLEN];
    struct in_addr address, network;
    uint32_t mask;
    long bits;

    if (slash == NULL || (size_t)(slash - cidr) >= sizeof(base)) {
        return false;
    }
    memcpy(base, cidr, (size_t)(slash - cidr));
    base[slash - cidr] = '\0';
    bits = strtol(slash + 1, NULL, 10);
    if (bits < 0 || bits > 32 || inet_pton(AF_INET, base, &network) != 1 ||
        inet_pton(AF_INET, ip, &address) != 1) {
        return false;
    }
    mask = bits == 0 ? 0 : UINT32_MAX << (32 - bits);
    *out_bits = (int)bits;
    return ((ntohl(address.s_addr) ^ ntohl(network.s_addr)) & mask) == 0;
}

/* --- security groups --- */

static bool
is_for_vxlan(const struct tb_ec2_group_rule *rule)
{
    if (strcmp(rule->protocol, "-1") == 0) {
        return true;
    }
    return (strcmp(rule->protocol, "udp") == 0 || strcmp(rule->protocol, "17") == 0) &&
           (!rule->has_ports || (rule->from_port <= VXLAN_PORT && rule->to_port >= VXLAN_PORT));
}

static bool
is_member(const struct tb_ec2_interface *interface, const char *group)
{
    for (size_t i = 0; i < interface->group_count; i++) {
        if (strcmp(interface->groups[i], group) == 0) {
            return true;
        }
    }
    return false;
}

/* *out_perhaps: a prefix list that was not looked into might. */
static bool
is_let_in(const struct tb_ec2_groups *groups, const struct tb_ec2_interface *interface,
          bool *out_perhaps)
{
    int bits;

    *out_perhaps = false;
    for (size_t g = 0; g < groups->count; g++) {
        for (size_t r = 0; r < groups->at[g].rule_count; r++) {
            const struct tb_ec2_group_rule *rule = &groups->at[g].rules[r];

            if (!is_for_vxlan(rule)) {
                continue;
            }
            if (is_in(interface->ip, rule->cidr, &bits) ||
                (rule->group[0] != '\0' && is_member(interface, rule->group))) {
                return true;
            }
            *out_perhaps = *out_perhaps || rule->prefix_list[0] != '\0';
        }
    }
    return false;
}

static bool
check_groups(const struct preflight_facts *facts, const struct tb_ec2_interface *interface,
             struct tb_plan *out)
{
    bool perhaps;

    /* (an interface without any group, as of some managed ones, lets everything in) */
    if (facts->groups == NULL || facts->target->group_count == 0 ||
        is_let_in(facts->groups, interface, &perhaps)) {
        return true;
    }
    preflight_say(out, "target_group", perhaps ? TB_CHECK_WARN : TB_CHECK_BLOCK, interface->eni,
                  "%s of the target %s lets UDP %d in from %s%s: add that rule",
                  perhaps ? "only a prefix list that was not looked into" : "no security group",
                  facts->target->eni, VXLAN_PORT, interface->ip, perhaps ? ", perhaps" : "");
    return perhaps;
}

/* --- routes --- */

/* The table of a subnet, or the VPC's main one. */
static const struct tb_ec2_route_table *
table_of(const struct tb_ec2_route_tables *tables, const char *subnet)
{
    const struct tb_ec2_route_table *main = NULL;

    for (size_t i = 0; i < tables->count; i++) {
        for (size_t s = 0; s < tables->at[i].subnet_count; s++) {
            if (strcmp(tables->at[i].subnets[s], subnet) == 0) {
                return &tables->at[i];
            }
        }
        main = tables->at[i].main ? &tables->at[i] : main;
    }
    return main;
}

static const struct tb_ec2_route *
route_to(const struct tb_ec2_route_table *table, const char *ip)
{
    const struct tb_ec2_route *best = NULL;
    int best_bits = -1, bits;

    for (size_t i = 0; i < table->route_count; i++) {
        if (is_in(ip, table->routes[i].cidr, &bits) && bits > best_bits) {
            best = &table->routes[i];
            best_bits = bits;
        }
    }
    return best;
}

/* What a next hop means for packets to a target in another VPC. */
static const struct {
    const char *prefix;
    enum tb_check_severity severity;
    const char *meaning;
} hops[] = {
    {"pcx-", TB_CHECK_INFO,
     "a peering, which has to be of this Region; the target's VPC needs no way back"},
    {"tgw-", TB_CHECK_INFO,
     "a transit gateway, which carries 8500 octets at the most and has to be attached to the "
     "target's VPC"},
    {"eni-", TB_CHECK_WARN, "an appliance: it has to forward UDP 4789"},
    {"vgw-", TB_CHECK_WARN,
     "a virtual private gateway: the packets leave the Region's network"},
    {"local", TB_CHECK_BLOCK,
     "the source's own VPC, whose addresses overlap with the target's: they must not"},
    {"igw-", TB_CHECK_BLOCK, "the internet: add a peering or a transit gateway"},
    {"nat-", TB_CHECK_BLOCK, "the internet: add a peering or a transit gateway"},
    {"", TB_CHECK_WARN, "something that is not known here"},
};

static bool
check_route(const struct tb_ec2_route_table *table, const struct tb_ec2_interface *interface,
            const struct tb_ec2_interface *target, struct tb_plan *out)
{
    const struct tb_ec2_route *route = route_to(table, target->ip);
    size_t i = 0;

    if (route == NULL || !route->active) {
        preflight_say(out, "no_route", TB_CHECK_BLOCK, interface->eni,
                      "the target %s is in another VPC (%s), and %s of %s has no route to it "
                      "(%s)%s: add one through a peering or a transit gateway, or use a target "
                      "in %s",
                      target->eni, target->vpc, table->id, interface->subnet, target->ip,
                      route != NULL ? " that works" : "", interface->vpc);
        return false;
    }
    while (strncmp(route->via, hops[i].prefix, strlen(hops[i].prefix)) != 0) {
        i++;
    }
    preflight_say(out, hops[i].severity == TB_CHECK_BLOCK ? "no_route" : "route",
                  hops[i].severity, interface->eni,
                  "the target %s is in another VPC (%s); the way there is %s: %s", target->eni,
                  target->vpc, route->via[0] != '\0' ? route->via : "unnamed", hops[i].meaning);
    return hops[i].severity != TB_CHECK_BLOCK;
}

bool
preflight_path(const struct preflight_facts *facts, size_t source, struct tb_plan *out)
{
    const struct tb_ec2_interface *interface = &facts->interfaces->at[source];
    const struct tb_ec2_route_table *table;
    bool open = check_groups(facts, interface, out);

    if (strcmp(interface->vpc, facts->target->vpc) == 0 || facts->routes[source] == NULL) {
        return open;
    }
    table = table_of(facts->routes[source], interface->subnet);
    if (table == NULL) {
        preflight_say(out, "no_route", TB_CHECK_WARN, interface->eni,
                      "no route table of %s was found: whether the target %s in %s can be "
                      "reached is not known",
                      interface->subnet, facts->target->eni, facts->target->vpc);
        return open;
    }
    return check_route(table, interface, facts->target, out) && open;
}
