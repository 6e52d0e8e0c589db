/* Indexes over everything that has an id; tags; access keys. */
#include "objects.h"

#include <stdlib.h>
#include <string.h>

#include "role.h"
#include "share.h"
#include "str.h"

const struct kind_info kinds[K_COUNT] = {
    [K_VPC] = {"vpc-", "vpc", "vpc ID", "InvalidVpcID.NotFound", "InvalidVpcId.Malformed"},
    [K_SUBNET] = {"subnet-", "subnet", "subnet ID", "InvalidSubnetID.NotFound",
                  "InvalidSubnetId.Malformed"},
    [K_ROUTE_TABLE] = {"rtb-", "route-table", "routeTable ID", "InvalidRouteTableID.NotFound",
                       "InvalidRouteTableId.Malformed"},
    [K_GROUP] = {"sg-", "security-group", "security group", "InvalidGroup.NotFound",
                 "InvalidGroupId.Malformed"},
    [K_INSTANCE] = {"i-", "instance", "instance ID", "InvalidInstanceID.NotFound",
                    "InvalidInstanceID.Malformed"},
    [K_ENI] = {"eni-", "network-interface", "networkInterface ID",
               "InvalidNetworkInterfaceID.NotFound", "InvalidNetworkInterfaceId.Malformed"},
    [K_BALANCER] = {"", "", "network load balancer", "NetworkLoadBalancerNotFoundException",
                    ""},
    [K_TARGET] = {"tmt-", "traffic-mirror-target", "traffic mirror target",
                  "InvalidTrafficMirrorTargetId.NotFound",
                  "InvalidTrafficMirrorTargetId.Malformed"},
    [K_FILTER] = {"tmf-", "traffic-mirror-filter", "traffic mirror filter",
                  "InvalidTrafficMirrorFilterId.NotFound",
                  "InvalidTrafficMirrorFilterId.Malformed"},
    [K_RULE] = {"tmfr-", "traffic-mirror-filter-rule", "traffic mirror filter rule",
                "InvalidTrafficMirrorFilterRuleId.NotFound",
                "InvalidTrafficMirrorFilterRuleId.Malformed"},
    [K_SESSION] = {"tms-", "traffic-mirror-session", "traffic mirror session",
                   "InvalidTrafficMirrorSessionId.NotFound",
                   "InvalidTrafficMirrorSessionId.Malformed"},
    [K_ENDPOINT] = {"vpce-", "vpc-endpoint", "Vpc Endpoint Id", "InvalidVpcEndpointId.NotFound",
                    "InvalidVpcEndpointId.Malformed"},
};

void
state_init(struct state *st)
{
    memset(st, 0, sizeof(*st));
    st->metric_delay_s = -1;
    pthread_mutex_init(&st->mu, NULL);
    for (int k = 0; k < K_COUNT; k++) {
        TAILQ_INIT(&st->objects[k]);
        TAILQ_INIT(&st->ghosts[k]);
    }
    TAILQ_INIT(&st->departed);
    st->limits = (struct limits){.sessions = 10000, .targets = 10000, .filters = 10000};
    st->ring = (struct ring_shape){.blocks = RING_BLOCKS, .retire_ms = RING_RETIRE_MS};
    st->api.port = -1;
    st->imds.port = -1;
    static const uint8_t router[6] = {0x0a, 0xff, 0xfe, 0x00, 0x00, 0x01};
    memcpy(st->router_mac, router, sizeof(router));
}

bool
id_is_well_formed(enum kind kind, const char *id)
{
    size_t prefix = strlen(kinds[kind].prefix);
    if (prefix == 0 || strncmp(id, kinds[kind].prefix, prefix) != 0) {
        return false;
    }
    size_t digits = strspn(id + prefix, "0123456789abcdef");
    return (digits == 8 || digits == 17) && id[prefix + digits] == '\0';
}

enum kind
id_kind(const char *id)
{
    for (int k = 0; k < K_COUNT; k++) {
        size_t prefix = strlen(kinds[k].prefix);
        if (prefix > 0 && strncmp(id, kinds[k].prefix, prefix) == 0) {
            return (enum kind)k;
        }
    }
    return K_COUNT;
}

void
obj_add(struct state *st, struct obj *o, enum kind kind, const char *id, struct account *owner)
{
    o->kind = kind;
    o->owner = owner;
    o->seq = ++st->seq;
    if (id != NULL) {
        strncpy(o->id, id, sizeof(o->id) - 1);
    } else {
        size_t prefix = strlen(kinds[kind].prefix);
        memcpy(o->id, kinds[kind].prefix, prefix);
        random_hex(o->id + prefix, 17);
        o->id[prefix] = '0';
    }
    if (o->id[0] != '\0') {
        map_put(&st->ids, o->id, o);
    }
    TAILQ_INSERT_TAIL(&st->objects[kind], o, link);
    owner->count[kind]++;
}

void
obj_remove(struct state *st, struct obj *o)
{
    map_remove(&st->ids, o->id);
    TAILQ_REMOVE(&st->objects[o->kind], o, link);
    o->owner->count[o->kind]--;
}

static void
free_tag(struct tag *t)
{
    free(t->key);
    free(t->value);
    free(t->before);
}

void
obj_free(struct obj *o)
{
    for (size_t i = 0; i < o->ntags; i++) {
        free_tag(&o->tags[i]);
    }
    free(o->tags);
    free(o);
}

void *
obj_find(const struct state *st, enum kind kind, const char *id)
{
    struct obj *o = map_get(&st->ids, id);
    return o != NULL && o->kind == kind ? o : NULL;
}

bool
obj_is_visible(const struct obj *o)
{
    return o->visible_ns == 0 || o->visible_ns <= now_ns();
}

void
eni_detach(struct eni *e)
{
    struct instance *i = e->instance;
    size_t n = 0;
    if (i == NULL) {
        return;
    }
    while (i->enis[n] != e) {
        n++;
    }
    i->nenis--;
    memmove(&i->enis[n], &i->enis[n + 1], (i->nenis - n) * sizeof(struct eni *));
    e->instance = NULL;
}

bool
instance_is_up(const struct instance *i)
{
    return strcmp(i->state, "running") == 0 || strcmp(i->state, "pending") == 0;
}

const char *
tag_value(const struct obj *o, const char *key)
{
    for (size_t i = 0; i < o->ntags; i++) {
        if (strcmp(o->tags[i].key, key) == 0) {
            return o->tags[i].value;
        }
    }
    return NULL;
}

const char *
tag_shown(const struct tag *t)
{
    return t->shown_ns == 0 || t->shown_ns <= now_ns() ? t->value : t->before;
}

void
tag_set_late(struct obj *o, const char *key, const char *value, int64_t after_ns)
{
    int64_t shown_ns = after_ns > 0 ? now_ns() + after_ns : 0;
    for (size_t i = 0; i < o->ntags; i++) {
        struct tag *t = &o->tags[i];
        if (strcmp(t->key, key) != 0) {
            continue;
        }
        if (strcmp(t->value, value) != 0) {
            const char *shown = tag_shown(t);
            char *before = shown == NULL ? NULL : xdup(shown);
            free(t->before);
            free(t->value);
            t->before = before;
            t->value = xdup(value);
            t->shown_ns = shown_ns;
        }
        return;
    }
    o->tags = xgrow(o->tags, (o->ntags + 1) * sizeof(*o->tags));
    o->tags[o->ntags++] =
        (struct tag){.key = xdup(key), .value = xdup(value), .shown_ns = shown_ns};
}

void
tag_set(struct obj *o, const char *key, const char *value)
{
    tag_set_late(o, key, value, 0);
}

bool
tag_delete(struct obj *o, const char *key)
{
    for (size_t i = 0; i < o->ntags; i++) {
        if (strcmp(o->tags[i].key, key) == 0) {
            free_tag(&o->tags[i]);
            o->tags[i] = o->tags[--o->ntags];
            return true;
        }
    }
    return false;
}

struct account *
account_find(const struct state *st, const char *id)
{
    for (struct account *a = st->accounts; a != NULL; a = a->next) {
        if (strcmp(a->id, id) == 0) {
            return a;
        }
    }
    return NULL;
}

static void
key_free(void *p)
{
    struct key *k = p;
    if (k == NULL) {
        return;
    }
    for (size_t i = 0; i < k->ndeny; i++) {
        free(k->deny[i]);
    }
    free(k->deny);
    free(k->token);
    free(k->arn);
    free(k->user_id);
    free(k);
}

struct key *
key_add(struct state *st, struct account *account, const char *access, const char *secret,
        const char *token)
{
    struct key *k = xalloc(sizeof(*k));
    strncpy(k->access, access, sizeof(k->access) - 1);
    strncpy(k->secret, secret, sizeof(k->secret) - 1);
    k->token = token == NULL ? NULL : xdup(token);
    k->account = account;
    key_free(map_put(&st->keys, k->access, k));
    return k;
}

void
session_free(struct session *s)
{
    free(s->description);
    obj_free(&s->o);
}

void
target_free(struct target *t)
{
    free(t->description);
    obj_free(&t->o);
}

void
rule_free(struct rule *r)
{
    free(r->description);
    obj_free(&r->o);
}

void
filter_free(struct filter *f)
{
    free(f->description);
    obj_free(&f->o);
}

void
obj_free_any(struct obj *o)
{
    switch (o->kind) {
    case K_SESSION:
        session_free((struct session *)o);
        return;
    case K_TARGET:
        target_free((struct target *)o);
        return;
    case K_FILTER:
        filter_free((struct filter *)o);
        return;
    case K_RULE:
        rule_free((struct rule *)o);
        return;
    case K_ENI:
        free(((struct eni *)o)->v4);
        free(((struct eni *)o)->v6);
        break;
    case K_GROUP:
        free(((struct group *)o)->rules);
        break;
    case K_ROUTE_TABLE:
        free(((struct route_table *)o)->routes);
        free(((struct route_table *)o)->subnets);
        break;
    default:
        break;
    }
    obj_free(o);
}

void
state_free(struct state *st)
{
    for (int k = 0; k < K_COUNT; k++) {
        struct obj *o;
        while ((o = TAILQ_FIRST(&st->objects[k])) != NULL) {
            TAILQ_REMOVE(&st->objects[k], o, link);
            obj_free_any(o);
        }
    }
    while (!TAILQ_EMPTY(&st->departed)) {
        struct obj *o = TAILQ_FIRST(&st->departed);
        TAILQ_REMOVE(&st->departed, o, link);
        obj_free_any(o);
    }
    shares_free(st);
    map_free(&st->ids, NULL);
    map_free(&st->keys, key_free);
    map_free(&st->imds_clients, NULL);
    while (st->accounts != NULL) {
        struct account *next = st->accounts->next;
        roles_free(st->accounts->roles);
        free(st->accounts);
        st->accounts = next;
    }
    pthread_mutex_destroy(&st->mu);
}
