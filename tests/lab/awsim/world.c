/*
 * Read the world file.  A misspelt key, an id of the wrong form or a name that does not exist
 * is an error: a lab that is not what its author thinks it is proves nothing.
 */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "form.h"
#include "role.h"
#include "share.h"
#include "str.h"

struct loader {
    struct form form;
    struct state *st;
    struct obj *loose; /* being made, not yet in the state */
    json_t *made;      /* what `generate` gives to the other loaders */
    struct map taken;  /* addresses, for `generate` */
};

static void *
reference(struct loader *l, json_t *o, const char *key, enum kind kind)
{
    const char *id = form_text(&l->form, o, key, NULL);
    void *found = obj_find(l->st, kind, id);
    if (found == NULL) {
        form_fail(&l->form, "\"%s\": there is no %s %s", key, kinds[kind].type, id);
    }
    return found;
}

static struct account *
owner(struct loader *l, json_t *o)
{
    const char *id = form_text(&l->form, o, "owner", l->st->accounts->id);
    struct account *a = account_find(l->st, id);
    if (a == NULL) {
        form_fail(&l->form, "there is no account %s", id);
    }
    return a;
}

static void
add(struct loader *l, json_t *j, enum kind kind, struct obj *o)
{
    l->loose = o;
    const char *id = form_text(&l->form, j, "id", NULL);
    if (!id_is_well_formed(kind, id)) {
        form_fail(&l->form, "\"%s\" is no %s id: %s and 8 or 17 of 0-9a-f", id,
                  kinds[kind].type, kinds[kind].prefix);
    }
    if (map_get(&l->st->ids, id) != NULL) {
        form_fail(&l->form, "%s is there twice", id);
    }
    obj_add(l->st, o, kind, id, owner(l, j));
    l->loose = NULL;
    json_t *tags = json_object_get(j, "tags");
    const char *key;
    json_t *value;
    json_object_foreach(tags, key, value)
    {
        tag_set(o, key, form_item(&l->form, value, "tags"));
    }
}

static void
block(struct loader *l, json_t *o, const char *key, bool needed, struct cidr *out)
{
    const char *t = form_text(&l->form, o, key, needed ? NULL : "");
    if (t[0] != '\0' && !cidr_parse(t, out)) {
        form_fail(&l->form, "\"%s\" is no CIDR block", t);
    }
}

static void
load_listen(struct loader *l, json_t *o, int port, struct listen *out)
{
    form_copy(&l->form, o, "listen", "127.0.0.1", out->address, sizeof(out->address));
    form_copy(&l->form, o, "netns", "", out->netns, sizeof(out->netns));
    out->port = (int)form_number(&l->form, o, "port", port);
    if (out->port < 0 || out->port > 65535) {
        form_fail(&l->form, "\"port\" is out of range");
    }
}

static void
load_account(struct loader *l, json_t *o)
{
    struct state *st = l->st;
    form_keys(&l->form, o, "id role role_credentials_s keys roles");
    struct account *a = xalloc(sizeof(*a));
    struct account **end = &st->accounts;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = a;
    form_copy(&l->form, o, "id", NULL, a->id, sizeof(a->id));
    if (strspn(a->id, "0123456789") != 12) {
        form_fail(&l->form, "\"%s\" is no account id: 12 digits", a->id);
    }
    form_copy(&l->form, o, "role", "", a->role, sizeof(a->role));
    a->role_lifetime_s = form_number(&l->form, o, "role_credentials_s", 21600);
    roles_read(&l->form, st, a, form_list(&l->form, o, "roles"));
    json_t *j;
    size_t i;
    json_array_foreach(form_list(&l->form, o, "keys"), i, j)
    {
        form_keys(&l->form, j, "access_key secret_key session_token expires arn user_id deny");
        const char *token = form_text(&l->form, j, "session_token", "");
        struct key *k =
            key_add(st, a, form_text(&l->form, j, "access_key", NULL),
                    form_text(&l->form, j, "secret_key", NULL), token[0] ? token : NULL);
        const char *expires = form_text(&l->form, j, "expires", "");
        if (expires[0] != '\0' && (k->expires_s = time_parse(expires)) < 0) {
            form_fail(&l->form, "\"expires\": %s is no time (2026-01-02T03:04:05Z)", expires);
        }
        char otherwise[128];
        snprintf(otherwise, sizeof(otherwise), "arn:%s:iam::%s:user/lab", st->partition, a->id);
        k->arn = xdup(form_text(&l->form, j, "arn", otherwise));
        k->user_id = xdup(form_text(&l->form, j, "user_id", "AIDALABLABLABLABLAB01"));
        json_t *d;
        size_t n;
        json_array_foreach(form_list(&l->form, j, "deny"), n, d)
        {
            k->deny = xgrow(k->deny, (k->ndeny + 1) * sizeof(char *));
            k->deny[k->ndeny++] = xdup(form_item(&l->form, d, "deny"));
        }
    }
}

static void
load_vpc(struct loader *l, json_t *o)
{
    form_keys(&l->form, o, "id owner tags cidr ipv6_cidr");
    struct vpc *v = xalloc(sizeof(*v));
    add(l, o, K_VPC, &v->o);
    block(l, o, "cidr", true, &v->cidr);
    block(l, o, "ipv6_cidr", false, &v->cidr6);
}

static void
load_subnet(struct loader *l, json_t *o)
{
    form_keys(&l->form, o, "id owner tags vpc cidr ipv6_cidr az");
    struct subnet *s = xalloc(sizeof(*s));
    add(l, o, K_SUBNET, &s->o);
    s->vpc = reference(l, o, "vpc", K_VPC);
    block(l, o, "cidr", true, &s->cidr);
    block(l, o, "ipv6_cidr", false, &s->cidr6);
    char az[40];
    snprintf(az, sizeof(az), "%sa", l->st->region);
    form_copy(&l->form, o, "az", az, s->az, sizeof(s->az));
}

static void
load_route_table(struct loader *l, json_t *o)
{
    form_keys(&l->form, o, "id owner tags vpc main subnets routes");
    struct route_table *t = xalloc(sizeof(*t));
    add(l, o, K_ROUTE_TABLE, &t->o);
    t->vpc = reference(l, o, "vpc", K_VPC);
    t->main = form_yes(&l->form, o, "main", false);
    json_t *j;
    size_t i;
    json_array_foreach(form_list(&l->form, o, "subnets"), i, j)
    {
        struct subnet *s = obj_find(l->st, K_SUBNET, form_item(&l->form, j, "subnets"));
        if (s == NULL) {
            form_fail(&l->form, "there is no subnet %s", json_string_value(j));
        }
        t->subnets = xgrow(t->subnets, (t->nsubnets + 1) * sizeof(struct subnet *));
        t->subnets[t->nsubnets++] = s;
    }
    json_array_foreach(form_list(&l->form, o, "routes"), i, j)
    {
        form_keys(&l->form, j, "cidr via");
        t->routes = xgrow(t->routes, (t->nroutes + 1) * sizeof(*t->routes));
        struct route *r = &t->routes[t->nroutes++];
        memset(r, 0, sizeof(*r));
        block(l, j, "cidr", true, &r->to);
        form_copy(&l->form, j, "via", NULL, r->via, sizeof(r->via));
    }
}

static void
load_group_rules(struct loader *l, json_t *o, const char *key, struct group *g)
{
    json_t *j;
    size_t i;
    json_array_foreach(form_list(&l->form, o, key), i, j)
    {
        form_keys(&l->form, j, "protocol from to cidr group description");
        g->rules = xgrow(g->rules, (g->nrules + 1) * sizeof(*g->rules));
        struct group_rule *r = &g->rules[g->nrules++];
        memset(r, 0, sizeof(*r));
        r->egress = strcmp(key, "egress") == 0;
        form_copy(&l->form, j, "protocol", "-1", r->protocol, sizeof(r->protocol));
        r->from_port = (int)form_number(&l->form, j, "from", -1);
        r->to_port = (int)form_number(&l->form, j, "to", r->from_port);
        block(l, j, "cidr", false, &r->cidr);
        form_copy(&l->form, j, "group", "", r->group, sizeof(r->group));
        form_copy(&l->form, j, "description", "", r->description, sizeof(r->description));
        if ((r->cidr.base.family == 0) == (r->group[0] == '\0')) {
            form_fail(&l->form, "a rule names either \"cidr\" or \"group\"");
        }
    }
}

static void
load_group(struct loader *l, json_t *o)
{
    form_keys(&l->form, o, "id owner tags vpc name description ingress egress");
    struct group *g = xalloc(sizeof(*g));
    add(l, o, K_GROUP, &g->o);
    g->vpc = reference(l, o, "vpc", K_VPC);
    form_copy(&l->form, o, "name", g->o.id, g->name, sizeof(g->name));
    form_copy(&l->form, o, "description", g->name, g->description, sizeof(g->description));
    load_group_rules(l, o, "ingress", g);
    load_group_rules(l, o, "egress", g);
}

static void
load_instance(struct loader *l, json_t *o)
{
    form_keys(&l->form, o, "id owner tags type state launch_time subnet image role");
    struct instance *i = xalloc(sizeof(*i));
    add(l, o, K_INSTANCE, &i->o);
    i->subnet = reference(l, o, "subnet", K_SUBNET);
    form_copy(&l->form, o, "type", "m5.large", i->type, sizeof(i->type));
    form_copy(&l->form, o, "state", "running", i->state, sizeof(i->state));
    form_copy(&l->form, o, "launch_time", "2026-01-02T03:04:05.000Z", i->launch_time,
              sizeof(i->launch_time));
    form_copy(&l->form, o, "image", "ami-0123456789abcdef0", i->image, sizeof(i->image));
    form_copy(&l->form, o, "role", "", i->role, sizeof(i->role));
}

static void
load_addresses(struct loader *l, json_t *o, const char *key, uint8_t family, struct ip **out,
               size_t *out_n)
{
    json_t *j;
    size_t i;
    json_array_foreach(form_list(&l->form, o, key), i, j)
    {
        const char *t = form_item(&l->form, j, key);
        *out = xgrow(*out, (*out_n + 1) * sizeof(**out));
        if (!ip_parse(t, &(*out)[*out_n]) || (*out)[*out_n].family != family) {
            form_fail(&l->form, "\"%s\" is no IPv%d address", t, family);
        }
        (*out_n)++;
    }
}

static void
load_eni(struct loader *l, json_t *o)
{
    form_keys(
        &l->form, o,
        "id owner tags mac subnet private_ips ipv6 public_ip groups instance device_index "
        "type requester_managed requester_id description port mtu");
    struct eni *e = xalloc(sizeof(*e));
    add(l, o, K_ENI, &e->o);
    form_copy(&l->form, o, "mac", NULL, e->mac_text, sizeof(e->mac_text));
    if (!mac_parse(e->mac_text, e->mac)) {
        form_fail(&l->form, "\"%s\" is no MAC address", e->mac_text);
    }
    e->subnet = reference(l, o, "subnet", K_SUBNET);
    load_addresses(l, o, "private_ips", 4, &e->v4, &e->nv4);
    load_addresses(l, o, "ipv6", 6, &e->v6, &e->nv6);
    if (e->nv4 == 0 && e->nv6 == 0) {
        form_fail(&l->form, "%s has neither private_ips nor ipv6", e->o.id);
    }
    form_copy(&l->form, o, "public_ip", "", e->public_ip, sizeof(e->public_ip));
    json_t *j;
    size_t i;
    json_array_foreach(form_list(&l->form, o, "groups"), i, j)
    {
        struct group *g = obj_find(l->st, K_GROUP, form_item(&l->form, j, "groups"));
        if (g == NULL || e->ngroups == GROUPS_PER_ENI) {
            form_fail(&l->form, "there is no security group %s, or too many",
                      json_string_value(j));
        }
        e->groups[e->ngroups++] = g;
    }
    if (json_object_get(o, "instance") != NULL) {
        e->instance = reference(l, o, "instance", K_INSTANCE);
        if (e->instance->nenis == ENIS_PER_INSTANCE) {
            form_fail(&l->form, "%s has too many interfaces", e->instance->o.id);
        }
        e->device_index =
            (int)form_number(&l->form, o, "device_index", (long)e->instance->nenis);
        e->instance->enis[e->instance->nenis++] = e;
        snprintf(e->attachment_id, sizeof(e->attachment_id), "eni-attach-%.28s", e->o.id + 4);
    }
    form_copy(&l->form, o, "type", "interface", e->type, sizeof(e->type));
    e->requester_managed = form_yes(&l->form, o, "requester_managed", false);
    form_copy(&l->form, o, "requester_id", "", e->requester_id, sizeof(e->requester_id));
    form_copy(&l->form, o, "description", "", e->description, sizeof(e->description));
    form_copy(&l->form, o, "port", "", e->port, sizeof(e->port));
    e->mtu = (int)form_number(&l->form, o, "mtu", 0);
    if (e->mtu != 0 && (e->mtu < 576 || e->mtu > 9216)) {
        form_fail(&l->form, "\"mtu\" %d is out of range", e->mtu);
    }
}

static void
load_balancer(struct loader *l, json_t *o)
{
    form_keys(&l->form, o, "arn owner eni");
    struct balancer *b = xalloc(sizeof(*b));
    l->loose = &b->o;
    obj_add(l->st, &b->o, K_BALANCER, "", owner(l, o));
    l->loose = NULL;
    form_copy(&l->form, o, "arn", NULL, b->arn, sizeof(b->arn));
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
    l->form.where = key;
    json_array_foreach(form_list(&l->form, root, key), i, j)
    {
        load(l, j);
    }
}

/* The next address of the subnet that nobody has; the first four are AWS's. */
static void
free_address(struct loader *l, const struct subnet *s, uint32_t *cursor, char out[IP_TEXT_MAX])
{
    const uint8_t *b = s->cidr.base.b;
    uint32_t base = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    uint32_t end = s->cidr.bits >= 31 ? 0 : (uint32_t)((1ULL << (32 - s->cidr.bits)) - 1);
    for (*cursor = *cursor < 4 ? 4 : *cursor; *cursor < end; (*cursor)++) {
        uint32_t at = base + *cursor;
        snprintf(out, IP_TEXT_MAX, "%u.%u.%u.%u", at >> 24, at >> 16 & 255, at >> 8 & 255,
                 at & 255);
        if (map_put(&l->taken, out, l) == NULL) {
            return;
        }
    }
    form_fail(&l->form, "%s has no more addresses", s->o.id);
}

/* The kind's prefix and 17 digits: those of `prefix`, then the number. */
static void
make_id(enum kind kind, const char *prefix, unsigned long number, char out[ID_MAX])
{
    char digits[20];
    snprintf(digits, sizeof(digits), "%017lx", number);
    snprintf(out, ID_MAX, "%s%s%s", kinds[kind].prefix, prefix, digits + strlen(prefix));
}

/* Hand `made` to another loader, with those keys of `o` that mean the same there. */
static void
load_made(struct loader *l, json_t *o, json_t *made, const char *const *same,
          void (*load)(struct loader *, json_t *))
{
    l->made = made;
    for (; *same != NULL; same++) {
        json_object_set(made, *same, json_object_get(o, *same));
    }
    load(l, made);
    json_decref(made);
    l->made = NULL;
}

static void
generate_interface(struct loader *l, json_t *o, const struct subnet *subnet,
                   const char *instance, const char *id, uint32_t *cursor)
{
    static const char *const same[] = {"owner", "groups", "tags", NULL};
    char address[IP_TEXT_MAX];
    char mac[18];
    uint64_t m = l->st->seq; /* no two objects have the same */
    free_address(l, subnet, cursor, address);
    snprintf(mac, sizeof(mac), "0e:%02x:%02x:%02x:%02x:%02x", (unsigned)(m >> 32 & 255),
             (unsigned)(m >> 24 & 255), (unsigned)(m >> 16 & 255), (unsigned)(m >> 8 & 255),
             (unsigned)(m & 255));
    load_made(l, o,
              json_pack("{s:s,s:s,s:s,s:s,s:[s]}", "id", id, "mac", mac, "subnet", subnet->o.id,
                        "instance", instance, "private_ips", address),
              same, load_eni);
}

/* Many instances that are alike, with ids that can be told beforehand. */
static void
load_generated(struct loader *l, json_t *o)
{
    static const char *const same[] = {"subnet", "type", "state", "owner",
                                       "tags",   "role", NULL};
    char text[IP_TEXT_MAX];
    char id[ID_MAX];
    char eni[ID_MAX];
    uint32_t cursor = 0;
    form_keys(&l->form, o,
              "instances prefix first interfaces subnet type state owner groups tags role");
    const char *prefix = form_text(&l->form, o, "prefix", NULL);
    long n = form_number(&l->form, o, "instances", 0);
    long first = form_number(&l->form, o, "first", 0);
    long each = form_number(&l->form, o, "interfaces", 1);
    const struct subnet *subnet = reference(l, o, "subnet", K_SUBNET);
    if (n < 1 || n > 100000 || first < 0 || first > 1000000 || each < 1 ||
        each > ENIS_PER_INSTANCE || strlen(prefix) > 9) {
        form_fail(&l->form,
                  "from 1 to 100000 \"instances\" with 1 to %d \"interfaces\", and a "
                  "\"prefix\" of at most 9 digits",
                  ENIS_PER_INSTANCE);
    }
    const struct obj *e;
    TAILQ_FOREACH(e, &l->st->objects[K_ENI], link)
    {
        for (size_t i = 0; i < ((const struct eni *)e)->nv4; i++) {
            map_put(&l->taken, ip_text(&((const struct eni *)e)->v4[i], text), l);
        }
    }
    for (long i = first; i < first + n; i++) {
        make_id(K_INSTANCE, prefix, (unsigned long)i, id);
        load_made(l, o, json_pack("{s:s}", "id", id), same, load_instance);
        for (long k = 0; k < each; k++) {
            make_id(K_ENI, prefix, (unsigned long)(i * each + k), eni);
            generate_interface(l, o, subnet, id, eni, &cursor);
        }
    }
    map_free(&l->taken, NULL);
}

static void
load_objects(struct loader *l, json_t *root)
{
    load_section(l, root, "vpcs", load_vpc);
    load_section(l, root, "subnets", load_subnet);
    load_section(l, root, "route_tables", load_route_table);
    load_section(l, root, "security_groups", load_group);
    load_section(l, root, "instances", load_instance);
    load_section(l, root, "enis", load_eni);
    load_section(l, root, "load_balancers", load_balancer);
    l->form.where = "generate";
    json_t *generate = json_object_get(root, "generate");
    if (json_is_array(generate)) {
        load_section(l, root, "generate", load_generated);
    } else if (generate != NULL) {
        load_generated(l, generate);
    }
}

static unsigned
ring_number(struct loader *l, json_t *ring, const char *key, unsigned otherwise)
{
    long n = form_number(&l->form, ring, key, otherwise);
    if (n < 1 || n > RING_BLOCKS) {
        form_fail(&l->form, "\"%s\" is not from 1 to %u", key, RING_BLOCKS);
    }
    return (unsigned)n;
}

static void
load_root(struct loader *l, json_t *root)
{
    struct state *st = l->st;
    l->form.where = "world";
    form_keys(&l->form, root,
              "region partition api imds control router_mac limits ring accounts vpcs subnets "
              "route_tables security_groups instances enis load_balancers generate shares");
    form_copy(&l->form, root, "region", "us-east-1", st->region, sizeof(st->region));
    form_copy(&l->form, root, "partition", "aws", st->partition, sizeof(st->partition));
    form_copy(&l->form, root, "control", "", st->control_path, sizeof(st->control_path));
    if (!mac_parse(form_text(&l->form, root, "router_mac", "0a:ff:fe:00:00:01"),
                   st->router_mac)) {
        form_fail(&l->form, "\"router_mac\" is no MAC address");
    }
    load_section(l, root, "accounts", load_account);
    if (st->accounts == NULL) {
        form_fail(&l->form, "at least one is needed");
    }
    load_objects(l, root);
    if (json_object_get(root, "shares") != NULL) {
        shares_read(&l->form, st, json_object_get(root, "shares"));
    }

    json_t *limits = json_object_get(root, "limits");
    if (limits != NULL) {
        l->form.where = "limits";
        form_keys(&l->form, limits, "sessions targets filters");
        st->limits.sessions = (size_t)form_number(&l->form, limits, "sessions", 10000);
        st->limits.targets = (size_t)form_number(&l->form, limits, "targets", 10000);
        st->limits.filters = (size_t)form_number(&l->form, limits, "filters", 10000);
    }
    json_t *ring = json_object_get(root, "ring");
    if (ring != NULL) {
        l->form.where = "ring";
        form_keys(&l->form, ring, "blocks retire_ms");
        st->ring.blocks = ring_number(l, ring, "blocks", RING_BLOCKS);
        st->ring.retire_ms = ring_number(l, ring, "retire_ms", RING_RETIRE_MS);
    }
    json_t *api = json_object_get(root, "api");
    l->form.where = "api";
    if (api == NULL) {
        form_fail(&l->form, "it is missing");
    }
    form_keys(&l->form, api, "listen port netns");
    load_listen(l, api, 0, &st->api);
    json_t *imds = json_object_get(root, "imds");
    if (imds != NULL) {
        l->form.where = "imds";
        form_keys(&l->form, imds, "listen port netns clients");
        load_listen(l, imds, 80, &st->imds);
        const char *address;
        json_t *id;
        json_object_foreach(json_object_get(imds, "clients"), address, id)
        {
            struct instance *i = obj_find(st, K_INSTANCE, form_item(&l->form, id, "clients"));
            if (i == NULL) {
                form_fail(&l->form, "\"clients\": there is no instance %s",
                          json_string_value(id));
            }
            map_put(&st->imds_clients, address, i);
        }
    }
}

static bool
run_loader(struct state *st, json_t *root, void (*load)(struct loader *, json_t *), char *why,
           size_t why_size)
{
    why[0] = '\0';
    static struct loader l; /* not on the stack: it changes between setjmp and longjmp */
    l = (struct loader){.form = {.where = "world", .why = why, .why_size = why_size}, .st = st};
    volatile bool loaded = false;
    if (setjmp(l.form.failed) == 0) {
        load(&l, root);
        loaded = true;
    } else {
        free(l.loose);
        json_decref(l.made);
        map_free(&l.taken, NULL);
    }
    return loaded;
}

bool
world_load(const char *path, struct state *st, char *why, size_t why_size)
{
    json_error_t error;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        snprintf(why, why_size, "%s:%d: %s", path, error.line, error.text);
        return false;
    }
    bool loaded = run_loader(st, root, load_root, why, why_size);
    json_decref(root);
    return loaded;
}

static void
load_more(struct loader *l, json_t *more)
{
    form_keys(&l->form, more,
              "vpcs subnets route_tables security_groups instances enis load_balancers "
              "generate");
    load_objects(l, more);
}

bool
world_add(struct state *st, json_t *more, char *why, size_t why_size)
{
    uint64_t before = st->seq;
    bool added = run_loader(st, more, load_more, why, why_size);
    if (!added) {
        world_undo(st, before);
    }
    return added;
}

void
world_undo(struct state *st, uint64_t seq)
{
    for (int kind = K_COUNT - 1; kind >= 0; kind--) { /* what points to others first */
        struct obj *o;
        while ((o = TAILQ_LAST(&st->objects[kind], obj_list)) != NULL && o->seq > seq) {
            if (kind == K_ENI) {
                eni_detach((struct eni *)o);
            }
            obj_remove(st, o);
            obj_free_any(o);
        }
    }
}
