/*
 * IMDSv2: a token by PUT, then GETs that carry it.  Who asks is known by the address the
 * connection comes from, as the hypervisor knows the interface.
 */
#include "imds.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "identity.h"
#include "role.h"
#include "str.h"

#define TOKEN_TTL_MAX_S 21600
#define TOKEN_LENGTH 56

struct token {
    const struct instance *instance;
    long long until_s;
};

struct imds {
    struct state *st;
    struct faults *faults;
    /* guarded by the state's lock */
    struct map tokens;
    bool hand_out_expired; /* the request at hand met a fault rule that says so */
};

struct imds *
imds_new(struct state *st, struct faults *faults)
{
    struct imds *imds = xalloc(sizeof(*imds));
    imds->st = st;
    imds->faults = faults;
    return imds;
}

void
imds_free(struct imds *imds)
{
    if (imds != NULL) {
        map_free(&imds->tokens, free);
        free(imds);
    }
}

static const struct instance *
find_client(const struct imds *imds, const char *address)
{
    const struct instance *named = map_get(&imds->st->imds_clients, address);
    struct ip ip;
    const struct obj *o;
    if (named != NULL) {
        return named;
    }
    if (!ip_parse(address, &ip)) {
        return NULL;
    }
    TAILQ_FOREACH(o, &imds->st->objects[K_ENI], link)
    {
        const struct eni *e = (const struct eni *)o;
        for (size_t i = 0; i < e->nv4 && e->instance != NULL; i++) {
            if (ip_equal(&ip, &e->v4[i])) {
                return e->instance;
            }
        }
    }
    return NULL;
}

static int
issue_token(struct imds *imds, const struct instance *i, const struct http_request *r,
            struct http_reply *reply)
{
    const char *ttl = http_header(r, "X-aws-ec2-metadata-token-ttl-seconds");
    char *end = NULL;
    long ttl_s = ttl == NULL ? 0 : strtol(ttl, &end, 10);
    if (ttl == NULL || *end != '\0' || ttl_s < 1 || ttl_s > TOKEN_TTL_MAX_S) {
        return 400;
    }
    if (http_header(r, "X-Forwarded-For") != NULL) {
        return 403; /* a proxy in between */
    }
    char text[TOKEN_LENGTH + 1];
    random_text(text, TOKEN_LENGTH - 2, BASE64URL);
    strcat(text, "==");
    struct token *t = xalloc(sizeof(*t));
    t->instance = i;
    t->until_s = now_ns() / 1000000000LL + ttl_s;
    map_put(&imds->tokens, text, t);
    str_add(&reply->body, text);
    http_reply_header(reply, "X-Aws-Ec2-Metadata-Token-Ttl-Seconds", ttl);
    return 200;
}

static bool
token_is_good(const struct imds *imds, const struct instance *i, const struct http_request *r)
{
    const char *text = http_header(r, "X-aws-ec2-metadata-token");
    const struct token *t = text == NULL ? NULL : map_get(&imds->tokens, text);
    return t != NULL && t->instance == i && now_ns() / 1000000000LL < t->until_s;
}

static const char *
role_of(const struct instance *i)
{
    return i->role[0] != '\0' ? i->role : i->o.owner->role;
}

/* New credentials once the last ones have less than half an hour or half their life left. */
static const struct key *
role_key(struct imds *imds, const struct instance *i)
{
    struct account *a = i->o.owner;
    long long now_s = now_ns() / 1000000000LL;
    long spare_s = a->role_lifetime_s / 2 < 1800 ? a->role_lifetime_s / 2 : 1800;
    char arn[256];
    snprintf(arn, sizeof(arn), "arn:%s:sts::%s:assumed-role/%s/%s", imds->st->partition, a->id,
             role_of(i), i->o.id);
    if (!imds->hand_out_expired && a->issued != NULL &&
        a->issued->expires_s - now_s > spare_s && strcmp(a->issued->arn, arn) == 0) {
        return a->issued;
    }
    char user_id[128];
    snprintf(user_id, sizeof(user_id), "AROALABLABLABLABLAB01:%s", i->o.id);
    struct key *k =
        key_issue(imds->st, a, imds->hand_out_expired ? now_s - 1 : now_s + a->role_lifetime_s,
                  arn, user_id);
    if (!imds->hand_out_expired) {
        a->issued = k;
    }
    return k;
}

static void
add_json(struct http_reply *reply, json_t *o)
{
    char *text = json_dumps(o, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    str_add(&reply->body, text);
    free(text);
    json_decref(o);
    reply->content_type = "application/json";
}

static int
credentials(struct imds *imds, const struct instance *i, const char *role,
            struct http_reply *reply)
{
    if (role[0] == '\0') {
        str_add(&reply->body, role_of(i));
        return 200;
    }
    if (strcmp(role, role_of(i)) != 0) {
        return 404;
    }
    const struct key *k = role_key(imds, i);
    char issued[32];
    char expires[32];
    time_text(issued, k->issued_s);
    time_text(expires, k->expires_s);
    add_json(reply,
             json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "Code", "Success", "LastUpdated",
                       issued, "Type", "AWS-HMAC", "AccessKeyId", k->access, "SecretAccessKey",
                       k->secret, "Token", k->token, "Expiration", expires));
    return 200;
}

static const struct eni *
primary(const struct instance *i)
{
    return i->nenis == 0 ? NULL : i->enis[0];
}

static int
identity_document(const struct imds *imds, const struct instance *i, struct http_reply *reply)
{
    char ip[IP_TEXT_MAX] = "";
    if (primary(i) != NULL) {
        ip_text(&primary(i)->v4[0], ip);
    }
    add_json(reply,
             json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:n,s:n,s:n,s:n}", "accountId",
                       i->o.owner->id, "architecture", "x86_64", "availabilityZone",
                       i->subnet->az, "imageId", i->image, "instanceId", i->o.id,
                       "instanceType", i->type, "pendingTime", i->launch_time, "privateIp", ip,
                       "region", imds->st->region, "kernelId", "ramdiskId", "billingProducts",
                       "marketplaceProductCodes"));
    return 200;
}

static void
add_addresses(struct str *out, const struct ip *ips, size_t n)
{
    char text[IP_TEXT_MAX];
    for (size_t k = 0; k < n; k++) {
        str_addf(out, "%s%s", k == 0 ? "" : "\n", ip_text(&ips[k], text));
    }
}

/* …/macs/<mac>/<what> */
static int
one_interface(const struct instance *i, const char *path, struct str *out)
{
    const struct eni *e = NULL;
    for (size_t k = 0; k < i->nenis; k++) {
        if (strncmp(i->enis[k]->mac_text, path, 17) == 0) {
            e = i->enis[k];
        }
    }
    if (e == NULL || path[17] != '/') {
        return 404;
    }
    const char *what = path + 18;
    char text[IP_TEXT_MAX];
    if (what[0] == '\0') {
        str_add(out, "device-number\ninterface-id\nlocal-hostname\nlocal-ipv4s\nmac\nowner-id\n"
                     "security-group-ids\nsecurity-groups\nsubnet-id\n"
                     "subnet-ipv4-cidr-block\nvpc-id\nvpc-ipv4-cidr-block");
    } else if (strcmp(what, "interface-id") == 0) {
        str_add(out, e->o.id);
    } else if (strcmp(what, "local-ipv4s") == 0) {
        add_addresses(out, e->v4, e->nv4);
    } else if (strcmp(what, "ipv6s") == 0 && e->nv6 > 0) {
        add_addresses(out, e->v6, e->nv6);
    } else if (strcmp(what, "public-ipv4s") == 0 && e->public_ip[0] != '\0') {
        str_add(out, e->public_ip);
    } else if (strcmp(what, "device-number") == 0) {
        str_addf(out, "%d", e->device_index);
    } else if (strcmp(what, "owner-id") == 0) {
        str_add(out, e->o.owner->id);
    } else if (strcmp(what, "mac") == 0) {
        str_add(out, e->mac_text);
    } else if (strcmp(what, "subnet-id") == 0) {
        str_add(out, e->subnet->o.id);
    } else if (strcmp(what, "vpc-id") == 0) {
        str_add(out, e->subnet->vpc->o.id);
    } else if (strcmp(what, "subnet-ipv4-cidr-block") == 0) {
        str_add(out, cidr_text(&e->subnet->cidr, text));
    } else if (strcmp(what, "vpc-ipv4-cidr-block") == 0 ||
               strcmp(what, "vpc-ipv4-cidr-blocks") == 0) {
        str_add(out, cidr_text(&e->subnet->vpc->cidr, text));
    } else if (strcmp(what, "security-group-ids") == 0) {
        for (size_t k = 0; k < e->ngroups; k++) {
            str_addf(out, "%s%s", k == 0 ? "" : "\n", e->groups[k]->o.id);
        }
    } else if (strcmp(what, "security-groups") == 0) {
        for (size_t k = 0; k < e->ngroups; k++) {
            str_addf(out, "%s%s", k == 0 ? "" : "\n", e->groups[k]->name);
        }
    } else if (strcmp(what, "local-hostname") == 0) {
        const uint8_t *b = e->v4[0].b;
        str_addf(out, "ip-%u-%u-%u-%u.ec2.internal", b[0], b[1], b[2], b[3]);
    } else {
        return 404;
    }
    return 200;
}

static int
meta_data(struct imds *imds, const struct instance *i, const char *path,
          struct http_reply *reply)
{
    static const char macs[] = "network/interfaces/macs/";
    static const char roles[] = "iam/security-credentials/";
    struct str *out = &reply->body;
    const struct eni *e = primary(i);
    char text[IP_TEXT_MAX];
    if (path[0] == '\0') {
        str_add(out,
                "ami-id\niam/\ninstance-id\ninstance-type\nlocal-hostname\nlocal-ipv4\nmac\n"
                "network/\nplacement/\nsecurity-groups");
    } else if (strncmp(path, macs, sizeof(macs) - 1) == 0 && path[sizeof(macs) - 1] != '\0') {
        return one_interface(i, path + sizeof(macs) - 1, out);
    } else if (strncmp(path, macs, sizeof(macs) - 2) == 0) {
        for (size_t k = 0; k < i->nenis; k++) {
            str_addf(out, "%s%s/", k == 0 ? "" : "\n", i->enis[k]->mac_text);
        }
    } else if (strncmp(path, roles, sizeof(roles) - 2) == 0 && role_of(i)[0] != '\0') {
        return credentials(
            imds, i, path[sizeof(roles) - 2] == '/' ? path + sizeof(roles) - 1 : "", reply);
    } else if (strcmp(path, "iam/info") == 0 && role_of(i)[0] != '\0') {
        add_json(reply,
                 json_pack("{s:s,s:s+++}", "Code", "Success", "InstanceProfileArn",
                           "arn:aws:iam::", i->o.owner->id, ":instance-profile/", role_of(i)));
    } else if (strcmp(path, "ami-id") == 0) {
        str_add(out, i->image);
    } else if (strcmp(path, "instance-id") == 0) {
        str_add(out, i->o.id);
    } else if (strcmp(path, "instance-type") == 0) {
        str_add(out, i->type);
    } else if (strcmp(path, "placement") == 0 || strcmp(path, "placement/") == 0) {
        str_add(out, "availability-zone\nregion");
    } else if (strcmp(path, "placement/region") == 0) {
        str_add(out, imds->st->region);
    } else if (strcmp(path, "placement/availability-zone") == 0) {
        str_add(out, i->subnet->az);
    } else if (strcmp(path, "services/partition") == 0) {
        str_add(out, imds->st->partition);
    } else if (strcmp(path, "services/domain") == 0) {
        str_add(out, "amazonaws.com");
    } else if (e != NULL && strcmp(path, "mac") == 0) {
        str_add(out, e->mac_text);
    } else if (e != NULL && strcmp(path, "local-ipv4") == 0) {
        str_add(out, ip_text(&e->v4[0], text));
    } else if (e != NULL && strcmp(path, "local-hostname") == 0) {
        str_addf(out, "ip-%u-%u-%u-%u.ec2.internal", e->v4[0].b[0], e->v4[0].b[1],
                 e->v4[0].b[2], e->v4[0].b[3]);
    } else if (e != NULL && strcmp(path, "security-groups") == 0) {
        for (size_t k = 0; k < e->ngroups; k++) {
            str_addf(out, "%s%s", k == 0 ? "" : "\n", e->groups[k]->name);
        }
    } else {
        return 404;
    }
    return 200;
}

static int
route(struct imds *imds, const struct http_request *r, struct http_reply *reply)
{
    static const char meta[] = "/latest/meta-data";
    const struct instance *i = find_client(imds, r->client);
    if (i == NULL) {
        return 404;
    }
    if (strcmp(r->method, "PUT") == 0) {
        /* a versioned path is refused: the token belongs to /latest */
        return strcmp(r->path, "/latest/api/token") == 0 ? issue_token(imds, i, r, reply) : 403;
    }
    if (strcmp(r->method, "GET") != 0) {
        return 405;
    }
    if (!token_is_good(imds, i, r)) {
        return 401;
    }
    if (strncmp(r->path, meta, sizeof(meta) - 1) == 0) {
        const char *rest = r->path + sizeof(meta) - 1;
        return rest[0] == '/' || rest[0] == '\0'
                   ? meta_data(imds, i, rest + (rest[0] == '/'), reply)
                   : 404;
    }
    if (strcmp(r->path, "/latest/dynamic/instance-identity/document") == 0) {
        return identity_document(imds, i, reply);
    }
    if (strcmp(r->path, "/latest/dynamic/instance-identity/rsa2048") == 0) {
        struct http_reply inside = {0};
        int status = identity_document(imds, i, &inside);
        reply->content_type = "text/plain";
        if (!identity_sign(inside.body.p, inside.body.len, &reply->body)) {
            status = 500;
        }
        str_free(&inside.body);
        return status;
    }
    return 404;
}

void
imds_handle(void *arg, const struct http_request *r, struct http_reply *reply)
{
    static const char latest[] = "/latest/";
    struct imds *imds = arg;
    long long start_ns = now_ns();
    bool known = strncmp(r->path, latest, sizeof(latest) - 1) == 0;
    struct fault_question q = {.service = "imds",
                               .action = known ? r->path + sizeof(latest) - 1 : r->path,
                               .account = ""};
    struct fault_plan plan;
    faults_plan(imds->faults, &q, &plan);
    enum fault fault = faults_pass(imds->faults, &plan.before);
    struct refusal *why = &plan.before.why;
    if (fault == FAULT_NONE) {
        pthread_mutex_lock(&imds->st->mu);
        imds->hand_out_expired = plan.expired;
        reply->status = route(imds, r, reply);
        pthread_mutex_unlock(&imds->st->mu);
        fault = faults_pass(imds->faults, &plan.after);
        why = &plan.after.why;
    }
    if (fault == FAULT_ERROR) {
        reply->status = why->status;
    }
    reply->drop = fault == FAULT_LOSE;
    http_reply_header(reply, "Server", "EC2ws");
    if (reply->status != 200) {
        str_free(&reply->body);
        str_addf(&reply->body, "%d\n", reply->status);
    }
    char what[80];
    snprintf(what, sizeof(what), "%.4s:%.70s", r->method, r->path);
    log_request("imds", what, reply->status,
                fault == FAULT_LOSE    ? "(lost)"
                : fault == FAULT_ERROR ? why->code
                                       : NULL,
                "-", r->client, start_ns);
}
