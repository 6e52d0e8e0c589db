/* Sessions made ready for the port's thread, and rule matching. */
#include "view.h"

#include <string.h>

#include "mirror.h"
#include "share.h"
#include "str.h"

static bool
ports_fit(const struct port_range *r, const struct packet *p, uint16_t port)
{
    return !r->set || (p->has_ports && port >= r->from && port <= r->to);
}

static bool
rule_fits(const struct rule *r, const struct packet *p)
{
    return (r->protocol < 0 || r->protocol == p->protocol) &&
           cidr_contains_bytes(&r->src, p->family, p->src) &&
           cidr_contains_bytes(&r->dst, p->family, p->dst) &&
           ports_fit(&r->src_ports, p, p->src_port) && ports_fit(&r->dst_ports, p, p->dst_port);
}

bool
view_accepts(const struct view_session *s, const struct packet *p, bool egress)
{
    for (size_t i = 0; i < s->nrules; i++) {
        if (s->rules[i].egress == egress && rule_fits(&s->rules[i], p)) {
            return s->rules[i].accept;
        }
    }
    return false;
}

static bool
protocol_admits_udp(const char *protocol)
{
    return strcmp(protocol, "-1") == 0 || strcmp(protocol, "udp") == 0 ||
           strcmp(protocol, "17") == 0;
}

static bool
is_in_group(const struct eni *e, const char *group)
{
    for (size_t i = 0; i < e->ngroups; i++) {
        if (strcmp(e->groups[i]->o.id, group) == 0) {
            return true;
        }
    }
    return false;
}

/* An ENI without any group in the world file admits everything. */
static bool
groups_admit(const struct eni *target, const struct eni *source)
{
    for (size_t g = 0; g < target->ngroups; g++) {
        for (size_t i = 0; i < target->groups[g]->nrules; i++) {
            const struct group_rule *r = &target->groups[g]->rules[i];
            bool all_ports = r->from_port < 0 || strcmp(r->protocol, "-1") == 0;
            if (!r->egress && protocol_admits_udp(r->protocol) &&
                (all_ports || (r->from_port <= 4789 && 4789 <= r->to_port)) &&
                (r->group[0] != '\0' ? is_in_group(source, r->group)
                                     : cidr_contains(&r->cidr, &source->v4[0]))) {
                return true;
            }
        }
    }
    return target->ngroups == 0;
}

/* The route table of the source's subnet: its own, or its VPC's main one. */
static const struct route_table *
routes_of(const struct state *st, const struct subnet *subnet)
{
    const struct route_table *main = NULL;
    const struct obj *o;
    TAILQ_FOREACH(o, &st->objects[K_ROUTE_TABLE], link)
    {
        const struct route_table *t = (const struct route_table *)o;
        for (size_t i = 0; i < t->nsubnets; i++) {
            if (t->subnets[i] == subnet) {
                return t;
            }
        }
        main = t->main && t->vpc == subnet->vpc ? t : main;
    }
    return main;
}

static bool
is_reachable(const struct state *st, const struct eni *source, const struct eni *target)
{
    if (source->subnet->vpc == target->subnet->vpc) {
        return true;
    }
    const struct route_table *t = routes_of(st, source->subnet);
    for (size_t i = 0; t != NULL && i < t->nroutes; i++) {
        if (cidr_contains(&t->routes[i].to, &target->v4[0]) &&
            (strncmp(t->routes[i].via, "pcx-", 4) == 0 ||
             strncmp(t->routes[i].via, "tgw-", 4) == 0)) {
            return true;
        }
    }
    return false;
}

static bool
can_receive(const struct eni *target)
{
    return target->instance != NULL && instance_is_up(target->instance);
}

static void
copy_session(const struct state *st, const struct session *s,
             int (*ifindex_of)(const struct eni *), struct view_session *out)
{
    const struct eni *target =
        s->target->eni != NULL ? s->target->eni : s->target->balancer->eni;
    memset(out, 0, sizeof(*out));
    out->counters = s->counters;
    out->number = s->number;
    out->packet_length = s->packet_length;
    out->amazon_dns = s->filter->amazon_dns;
    out->nrules = s->filter->nrules;
    for (size_t i = 0; i < s->filter->nrules; i++) {
        out->rules[i] = *s->filter->rules[i];
    }
    if (target != NULL && (target->gone || (s->target->eni != NULL && !can_receive(target)))) {
        out->block = BLOCK_TARGET_GONE;
        return;
    }
    if (!target_is_open_to(st, s->target, s->o.owner)) {
        out->block = BLOCK_NOT_SHARED;
        return;
    }
    if (target == NULL || ifindex_of(target) == 0) {
        out->block = BLOCK_NO_PORT;
        return;
    }
    out->block = !is_reachable(st, s->eni, target) ? BLOCK_ROUTE
                 : !groups_admit(target, s->eni)   ? BLOCK_GROUP
                                                   : BLOCK_NONE;
    out->out_ifindex = ifindex_of(target);
    out->target_mtu = target->mtu;
    encap_prepare(&out->encap, target->mac, st->router_mac, s->eni->v4[0].b, target->v4[0].b,
                  s->vni);
}

struct view *
view_of(const struct state *st, const struct eni *source, int (*ifindex_of)(const struct eni *))
{
    struct view *v = xalloc(sizeof(*v));
    const struct cidr *vpc = &source->subnet->vpc->cidr;
    v->resolver = vpc->base;
    v->resolver.b[3] = (uint8_t)(v->resolver.b[3] + 2); /* the block is a /28 at the least */
    v->n = eni_is_mirrored(source) ? source->nsessions : 0;
    for (size_t i = 0; i < v->n; i++) {
        copy_session(st, source->sessions[i], ifindex_of, &v->sessions[i]);
    }
    return v;
}
