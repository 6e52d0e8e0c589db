/*
 * Read the world file.  A misspelt key, an id of the wrong form or a name that does not exist
 * is an error: a lab that is not what its author thinks it is proves nothing.
 */
#include "world.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "str.h"

struct loader {
    struct state *st;
    const char *where; /* section, for messages */
    struct obj *loose; /* being made, not yet in the state */
    char *why;
    size_t why_size;
    jmp_buf failed;
};

static void fail(struct loader *l, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

static void
fail(struct loader *l, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    snprintf(l->why, l->why_size, "%s: %s", l->where, text);
    longjmp(l->failed, 1);
}

/* `known` is a list of keys separated by spaces. */
static void
check_keys(struct loader *l, json_t *o, const char *known)
{
    const char *key;
    json_t *value;
    if (!json_is_object(o)) {
        fail(l, "an object is expected");
    }
    json_object_foreach(o, key, value)
    {
        const char *at = known;
        size_t len = strlen(key);
        while ((at = strstr(at, key)) != NULL) {
            if ((at == known || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0')) {
                break;
            }
            at += len;
        }
        if (at == NULL) {
            fail(l, "unknown key \"%s\" (known: %s)", key, known);
        }
    }
}

static const char *
text(struct loader *l, json_t *o, const char *key, const char *otherwise)
{
    json_t *v = json_object_get(o, key);
    if (v == NULL || json_is_null(v)) {
        if (otherwise == NULL) {
            fail(l, "\"%s\" is missing", key);
        }
        return otherwise;
    }
    if (!json_is_string(v)) {
        fail(l, "\"%s\" is not a text", key);
    }
    return json_string_value(v);
}

static void
copy(struct loader *l, json_t *o, const char *key, const char *otherwise, char *out,
     size_t size)
{
    const char *v = text(l, o, key, otherwise);
    if (strlen(v) >= size) {
        fail(l, "\"%s\" is longer than %zu", key, size - 1);
    }
    strcpy(out, v);
}

static long
number(struct loader *l, json_t *o, const char *key, long otherwise)
{
    json_t *v = json_object_get(o, key);
    if (v == NULL) {
        return otherwise;
    }
    if (!json_is_integer(v)) {
        fail(l, "\"%s\" is not a whole number", key);
    }
    return (long)json_integer_value(v);
}

static bool
yes(struct loader *l, json_t *o, const char *key, bool otherwise)
{
    json_t *v = json_object_get(o, key);
    if (v != NULL && !json_is_boolean(v)) {
        fail(l, "\"%s\" is not true or false", key);
    }
    return v == NULL ? otherwise : json_is_true(v);
}

static json_t *
list(struct loader *l, json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);
    if (v != NULL && !json_is_array(v)) {
        fail(l, "\"%s\" is not a list", key);
    }
    return v; /* json_array_foreach takes NULL as empty */
}

static const char *
item_text(struct loader *l, json_t *v, const char *key)
{
    if (!json_is_string(v)) {
        fail(l, "\"%s\" holds something that is not a text", key);
    }
    return json_string_value(v);
}

static void *
reference(struct loader *l, json_t *o, const char *key, enum kind kind)
{
    const char *id = text(l, o, key, NULL);
    void *found = obj_find(l->st, kind, id);
    if (found == NULL) {
        fail(l, "\"%s\": there is no %s %s", key, kinds[kind].type, id);
    }
    return found;
}

static struct account *
owner(struct loader *l, json_t *o)
{
    const char *id = text(l, o, "owner", l->st->accounts->id);
    struct account *a = account_find(l->st, id);
    if (a == NULL) {
        fail(l, "there is no account %s", id);
    }
    return a;
}

static void
add(struct loader *l, json_t *j, enum kind kind, struct obj *o)
{
    l->loose = o;
    const char *id = text(l, j, "id", NULL);
    if (!id_is_well_formed(kind, id)) {
        fail(l, "\"%s\" is no %s id: %s and 8 or 17 of 0-9a-f", id, kinds[kind].type,
             kinds[kind].prefix);
    }
    if (map_get(&l->st->ids, id) != NULL) {
        fail(l, "%s is there twice", id);
    }
    obj_add(l->st, o, kind, id, owner(l, j));
    l->loose = NULL;
    json_t *tags = json_object_get(j, "tags");
    const char *key;
    json_t *value;
    json_object_foreach(tags, key, value)
    {
        tag_set(o, key, item_text(l, value, "tags"));
    }
}

static void
block(struct loader *l, json_t *o, const char *key, bool needed, struct cidr *out)
{
    const char *t = text(l, o, key, needed ? NULL : "");
    if (t[0] != '\0' && !cidr_parse(t, out)) {
        fail(l, "\"%s\" is no CIDR block", t);
    }
}

static void
load_listen(struct loader *l, json_t *o, int port, struct listen *out)
{
    copy(l, o, "listen", "127.0.0.1", out->address, sizeof(out->address));
    copy(l, o, "netns", "", out->netns, sizeof(out->netns));
    out->port = (int)number(l, o, "port", port);
    if (out->port < 0 || out->port > 65535) {
        fail(l, "\"port\" is out of range");
    }
}

static void
load_account(struct loader *l, json_t *o)
{
    struct state *st = l->st;
    check_keys(l, o, "id role role_credentials_s keys");
    struct account *a = xalloc(sizeof(*a));
    struct account **end = &st->accounts;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = a;
    copy(l, o, "id", NULL, a->id, sizeof(a->id));
    if (strspn(a->id, "0123456789") != 12) {
        fail(l, "\"%s\" is no account id: 12 digits", a->id);
    }
    copy(l, o, "role", "", a->role, sizeof(a->role));
    a->role_lifetime_s = number(l, o, "role_credentials_s", 21600);
    json_t *j;
    size_t i;
    json_array_foreach(list(l, o, "keys"), i, j)
    {
        check_keys(l, j, "access_key secret_key session_token expires arn user_id deny");
        const char *token = text(l, j, "session_token", "");
        struct key *k = key_add(st, a, text(l, j, "access_key", NULL),
                                text(l, j, "secret_key", NULL), token[0] ? token : NULL);
        const char *expires = text(l, j, "expires", "");
        if (expires[0] != '\0' && (k->expires_s = time_parse(expires)) < 0) {
            fail(l, "\"expires\": %s is no time (2026-01-02T03:04:05Z)", expires);
        }
        char otherwise[128];
        snprintf(otherwise, sizeof(otherwise), "arn:%s:iam::%s:user/lab", st->partition, a->id);
        k->arn = xdup(text(l, j, "arn", otherwise));
        k->user_id = xdup(text(l, j, "user_id", "AIDALABLABLABLABLAB01"));
        json_t *d;
        size_t n;
        json_array_foreach(list(l, j, "deny"), n, d)
        {
            k->deny = xgrow(k->deny, (k->ndeny + 1) * sizeof(char *));
            k->deny[k->ndeny++] = xdup(item_text(l, d, "deny"));
        }
    }
}

static void
load_vpc(struct loader *l, json_t *o)
{
    check_keys(l, o, "id owner tags cidr ipv6_cidr");
    struct vpc *v = xalloc(sizeof(*v));
    add(l, o, K_VPC, &v->o);
    block(l, o, "cidr", true, &v->cidr);
    block(l, o, "ipv6_cidr", false, &v->cidr6);
}

static void
load_subnet(struct loader *l, json_t *o)
{
    check_keys(l, o, "id owner tags vpc cidr ipv6_cidr az");
    struct subnet *s = xalloc(sizeof(*s));
    add(l, o, K_SUBNET, &s->o);
    s->vpc = reference(l, o, "vpc", K_VPC);
    block(l, o, "cidr", true, &s->cidr);
    block(l, o, "ipv6_cidr", false, &s->cidr6);
    char az[40];
    snprintf(az, sizeof(az), "%sa", l->st->region);
    copy(l, o, "az", az, s->az, sizeof(s->az));
}

static void
load_route_table(struct loader *l, json_t *o)
{
    check_keys(l, o, "id owner tags vpc main subnets routes");
    struct route_table *t = xalloc(sizeof(*t));
    add(l, o, K_ROUTE_TABLE, &t->o);
    t->vpc = reference(l, o, "vpc", K_VPC);
    t->main = yes(l, o, "main", false);
    json_t *j;
    size_t i;
    json_array_foreach(list(l, o, "subnets"), i, j)
    {
        struct subnet *s = obj_find(l->st, K_SUBNET, item_text(l, j, "subnets"));
        if (s == NULL) {
            fail(l, "there is no subnet %s", json_string_value(j));
        }
        t->subnets = xgrow(t->subnets, (t->nsubnets + 1) * sizeof(struct subnet *));
        t->subnets[t->nsubnets++] = s;
    }
    json_array_foreach(list(l, o, "routes"), i, j)
    {
        check_keys(l, j, "cidr via");
        t->routes = xgrow(t->routes, (t->nroutes + 1) * sizeof(*t->routes));
        struct route *r = &t->routes[t->nroutes++];
        memset(r, 0, sizeof(*r));
        block(l, j, "cidr", true, &r->to);
        copy(l, j, "via", NULL, r->via, sizeof(r->via));
    }
}

static void
load_group_rules(struct loader *l, json_t *o, const char *key, struct group *g)
{
    json_t *j;
    size_t i;
    json_array_foreach(list(l, o, key), i, j)
    {
        check_keys(l, j, "protocol from to cidr group description");
        g->rules = xgrow(g->rules, (g->nrules + 1) * sizeof(*g->rules));
        struct group_rule *r = &g->rules[g->nrules++];
        memset(r, 0, sizeof(*r));
        r->egress = strcmp(key, "egress") == 0;
        copy(l, j, "protocol", "-1", r->protocol, sizeof(r->protocol));
        r->from_port = (int)number(l, j, "from", -1);
        r->to_port = (int)number(l, j, "to", r->from_port);
        block(l, j, "cidr", false, &r->cidr);
        copy(l, j, "group", "", r->group, sizeof(r->group));
        copy(l, j, "description", "", r->description, sizeof(r->description));
        if ((r->cidr.base.family == 0) == (r->group[0] == '\0')) {
            fail(l, "a rule names either \"cidr\" or \"group\"");
        }
    }
}

static void
load_group(struct loader *l, json_t *o)
{
    check_keys(l, o, "id owner tags vpc name description ingress egress");
    struct group *g = xalloc(sizeof(*g));
    add(l, o, K_GROUP, &g->o);
    g->vpc = reference(l, o, "vpc", K_VPC);
    copy(l, o, "name", g->o.id, g->name, sizeof(g->name));
    copy(l, o, "description", g->name, g->description, sizeof(g->description));
    load_group_rules(l, o, "ingress", g);
    load_group_rules(l, o, "egress", g);
}

static void
load_instance(struct loader *l, json_t *o)
{
    check_keys(l, o, "id owner tags type state launch_time subnet image role");
    struct instance *i = xalloc(sizeof(*i));
    add(l, o, K_INSTANCE, &i->o);
    i->subnet = reference(l, o, "subnet", K_SUBNET);
    copy(l, o, "type", "m5.large", i->type, sizeof(i->type));
    copy(l, o, "state", "running", i->state, sizeof(i->state));
    copy(l, o, "launch_time", "2026-01-02T03:04:05.000Z", i->launch_time,
         sizeof(i->launch_time));
    copy(l, o, "image", "ami-0123456789abcdef0", i->image, sizeof(i->image));
    copy(l, o, "role", "", i->role, sizeof(i->role));
}

static void
load_addresses(struct loader *l, json_t *o, const char *key, uint8_t family, struct ip **out,
               size_t *out_n)
{
    json_t *j;
    size_t i;
    json_array_foreach(list(l, o, key), i, j)
    {
        const char *t = item_text(l, j, key);
        *out = xgrow(*out, (*out_n + 1) * sizeof(**out));
        if (!ip_parse(t, &(*out)[*out_n]) || (*out)[*out_n].family != family) {
            fail(l, "\"%s\" is no IPv%d address", t, family);
        }
        (*out_n)++;
    }
}

static void
load_eni(struct loader *l, json_t *o)
{
    check_keys(
        l, o,
        "id owner tags mac subnet private_ips ipv6 public_ip groups instance device_index "
        "type requester_managed requester_id description port mtu");
    struct eni *e = xalloc(sizeof(*e));
    add(l, o, K_ENI, &e->o);
    copy(l, o, "mac", NULL, e->mac_text, sizeof(e->mac_text));
    if (!mac_parse(e->mac_text, e->mac)) {
        fail(l, "\"%s\" is no MAC address", e->mac_text);
    }
    e->subnet = reference(l, o, "subnet", K_SUBNET);
    load_addresses(l, o, "private_ips", 4, &e->v4, &e->nv4);
    load_addresses(l, o, "ipv6", 6, &e->v6, &e->nv6);
    if (e->nv4 == 0) {
        fail(l, "%s has no private_ips (IPv6-only subnets cannot be mirrored)", e->o.id);
    }
    copy(l, o, "public_ip", "", e->public_ip, sizeof(e->public_ip));
    json_t *j;
    size_t i;
    json_array_foreach(list(l, o, "groups"), i, j)
    {
        struct group *g = obj_find(l->st, K_GROUP, item_text(l, j, "groups"));
        if (g == NULL || e->ngroups == GROUPS_PER_ENI) {
            fail(l, "there is no security group %s, or too many", json_string_value(j));
        }
        e->groups[e->ngroups++] = g;
    }
    if (json_object_get(o, "instance") != NULL) {
        e->instance = reference(l, o, "instance", K_INSTANCE);
        if (e->instance->nenis == ENIS_PER_INSTANCE) {
            fail(l, "%s has too many interfaces", e->instance->o.id);
        }
        e->device_index = (int)number(l, o, "device_index", (long)e->instance->nenis);
        e->instance->enis[e->instance->nenis++] = e;
        snprintf(e->attachment_id, sizeof(e->attachment_id), "eni-attach-%.28s", e->o.id + 4);
    }
    copy(l, o, "type", "interface", e->type, sizeof(e->type));
    e->requester_managed = yes(l, o, "requester_managed", false);
    copy(l, o, "requester_id", "", e->requester_id, sizeof(e->requester_id));
    copy(l, o, "description", "", e->description, sizeof(e->description));
    copy(l, o, "port", "", e->port, sizeof(e->port));
    e->mtu = (int)number(l, o, "mtu", 0);
    if (e->mtu != 0 && (e->mtu < 576 || e->mtu > 9216)) {
        fail(l, "\"mtu\" %d is out of range", e->mtu);
    }
}

static void
load_balancer(struct loader *l, json_t *o)
{
    check_keys(l, o, "arn owner eni");
    struct balancer *b = xalloc(sizeof(*b));
    l->loose = &b->o;
    obj_add(l->st, &b->o, K_BALANCER, "", owner(l, o));
    l->loose = NULL;
    copy(l, o, "arn", NULL, b->arn, sizeof(b->arn));
    if (json_object_get(o, "eni") != NULL) {
        b->eni = reference(l, o, "eni", K_ENI);
    }
}

static void
load_section(struct loader *l, json_t *root, const char *key,
             void (*load)(struct loader *, json_t *))
{
    json_t *j;
    size_t i;
    l->where = key;
    json_array_foreach(list(l, root, key), i, j)
    {
        load(l, j);
    }
}

static void
load_root(struct loader *l, json_t *root)
{
    struct state *st = l->st;
    l->where = "world";
    check_keys(l, root,
               "region partition api imds control router_mac limits accounts vpcs subnets "
               "route_tables security_groups instances enis load_balancers");
    copy(l, root, "region", "us-east-1", st->region, sizeof(st->region));
    copy(l, root, "partition", "aws", st->partition, sizeof(st->partition));
    copy(l, root, "control", "", st->control_path, sizeof(st->control_path));
    if (!mac_parse(text(l, root, "router_mac", "0a:ff:fe:00:00:01"), st->router_mac)) {
        fail(l, "\"router_mac\" is no MAC address");
    }
    load_section(l, root, "accounts", load_account);
    if (st->accounts == NULL) {
        fail(l, "at least one is needed");
    }
    load_section(l, root, "vpcs", load_vpc);
    load_section(l, root, "subnets", load_subnet);
    load_section(l, root, "route_tables", load_route_table);
    load_section(l, root, "security_groups", load_group);
    load_section(l, root, "instances", load_instance);
    load_section(l, root, "enis", load_eni);
    load_section(l, root, "load_balancers", load_balancer);

    json_t *limits = json_object_get(root, "limits");
    if (limits != NULL) {
        l->where = "limits";
        check_keys(l, limits, "sessions targets filters");
        st->limits.sessions = (size_t)number(l, limits, "sessions", 10000);
        st->limits.targets = (size_t)number(l, limits, "targets", 10000);
        st->limits.filters = (size_t)number(l, limits, "filters", 10000);
    }
    json_t *api = json_object_get(root, "api");
    l->where = "api";
    if (api == NULL) {
        fail(l, "it is missing");
    }
    check_keys(l, api, "listen port netns");
    load_listen(l, api, 0, &st->api);
    json_t *imds = json_object_get(root, "imds");
    if (imds != NULL) {
        l->where = "imds";
        check_keys(l, imds, "listen port netns clients");
        load_listen(l, imds, 80, &st->imds);
        const char *address;
        json_t *id;
        json_object_foreach(json_object_get(imds, "clients"), address, id)
        {
            struct instance *i = obj_find(st, K_INSTANCE, item_text(l, id, "clients"));
            if (i == NULL) {
                fail(l, "\"clients\": there is no instance %s", json_string_value(id));
            }
            map_put(&st->imds_clients, address, i);
        }
    }
}

bool
world_load(const char *path, struct state *st, char *why, size_t why_size)
{
    json_error_t error;
    json_t *volatile root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        snprintf(why, why_size, "%s:%d: %s", path, error.line, error.text);
        return false;
    }
    static struct loader l; /* not on the stack: it changes between setjmp and longjmp */
    l = (struct loader){.st = st, .where = "world", .why = why, .why_size = why_size};
    volatile bool loaded = false;
    if (setjmp(l.failed) == 0) {
        load_root(&l, root);
        loaded = true;
    } else {
        free(l.loose);
    }
    json_decref(root);
    return loaded;
}
