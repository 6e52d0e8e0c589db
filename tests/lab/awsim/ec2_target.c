/* Traffic mirror targets: one ENI or one Network Load Balancer each. */
#include "mirror.h"

#include <stdio.h>
#include <string.h>

#include "describe.h"
#include "ghost.h"
#include "history.h"

static void
bare_xml(struct str *x, const struct obj *o)
{
    const struct target *t = (const struct target *)o;
    xml_text(x, "trafficMirrorTargetId", o->id);
    if (t->eni != NULL) {
        xml_text(x, "networkInterfaceId", t->eni->o.id);
        xml_text(x, "type", "network-interface");
    } else {
        xml_text(x, "networkLoadBalancerArn", t->balancer->arn);
        xml_text(x, "type", "network-load-balancer");
    }
    xml_opt(x, "description", t->description);
    xml_text(x, "ownerId", o->owner->id);
}

static void
target_xml(struct str *x, const struct obj *o)
{
    bare_xml(x, o);
    tags_xml(x, o);
}

/* Tags belong to their account: nobody else sees them. */
static void
foreign_xml(struct str *x, const struct obj *o)
{
    bare_xml(x, o);
    xml_empty(x, "tagSet");
}

static struct balancer *
find_balancer(struct call *c, const char *arn)
{
    struct obj *o;
    TAILQ_FOREACH(o, &c->st->objects[K_BALANCER], link)
    {
        struct balancer *b = (struct balancer *)o;
        if (strcmp(b->arn, arn) == 0 && o->owner == c->signer.account) {
            return b;
        }
    }
    fail(c, 400, kinds[K_BALANCER].not_found, "The network load balancer '%.128s' is not found",
         arn);
    return NULL;
}

static bool
eni_may_be_target(struct call *c, const struct eni *e)
{
    if (strcmp(e->type, "interface") != 0) {
        return fail(c, 400, "NetworkInterfaceNotSupported",
                    "%s must be of type interface to be a traffic mirror target", e->o.id);
    }
    if (e->nsessions > 0) {
        return fail(c, 400, "InterfaceInUseByTrafficMirrorSession",
                    "Network interface %s is in use by session %s", e->o.id,
                    e->sessions[0]->o.id);
    }
    if (e->target != NULL) {
        return fail(c, 400, "InterfaceInUseByTrafficMirrorTarget",
                    "Network interface %s is in use by target %s", e->o.id, e->target->o.id);
    }
    return true;
}

static bool
create(struct call *c)
{
    const char *eni_id = arg_text(&c->query, "NetworkInterfaceId");
    const char *arn = arg_text(&c->query, "NetworkLoadBalancerArn");
    const char *endpoint = arg_text(&c->query, "GatewayLoadBalancerEndpointId");
    struct eni *eni = NULL;
    struct balancer *balancer = NULL;
    int given = (eni_id != NULL) + (arn != NULL) + (endpoint != NULL);
    if (given == 0) {
        return fail(c, 400, "MissingParameter",
                    "The request must contain exactly one of NetworkInterfaceId, "
                    "NetworkLoadBalancerArn and GatewayLoadBalancerEndpointId");
    }
    if (given > 1) {
        return fail(c, 400, "InvalidParameterCombination",
                    "Only one of NetworkInterfaceId, NetworkLoadBalancerArn and "
                    "GatewayLoadBalancerEndpointId may be specified");
    }
    if (!tags_check(c, K_TARGET)) {
        return false;
    }
    if (endpoint != NULL) {
        return fail_not_found(c, K_ENDPOINT, endpoint);
    }
    if (eni_id != NULL) {
        eni = call_object(c, "NetworkInterfaceId", K_ENI);
        if (eni == NULL || !eni_may_be_target(c, eni)) {
            return false;
        }
    } else {
        balancer = find_balancer(c, arn);
        if (balancer == NULL) {
            return false;
        }
        if (balancer->target != NULL) {
            return fail(c, 400, "NlbInUseByTrafficMirrorTargetException",
                        "The network load balancer is in use by target %s",
                        balancer->target->o.id);
        }
    }
    if (c->signer.account->count[K_TARGET] >= c->st->limits.targets) {
        return fail(c, 400, "TrafficMirrorTargetLimitExceeded",
                    "The limit of %zu traffic mirror targets is reached",
                    c->st->limits.targets);
    }
    if (!call_may_proceed(c)) {
        return false;
    }
    struct target *t = xalloc(sizeof(*t));
    obj_add(c->st, &t->o, K_TARGET, NULL, c->signer.account);
    t->description = call_description(c);
    t->eni = eni;
    t->balancer = balancer;
    if (eni != NULL) {
        eni->target = t;
    } else {
        balancer->target = t;
    }
    call_made(c, &t->o);
    xml_open(&c->out, "trafficMirrorTarget");
    target_xml(&c->out, &t->o);
    xml_close(&c->out, "trafficMirrorTarget");
    mirror_client_token(c);
    return true;
}

static void
target_values(const struct obj *o, const char *filter, struct values *out)
{
    const struct target *t = (const struct target *)o;
    if (strcmp(filter, "description") == 0) {
        value_add(out, t->description);
    } else if (strcmp(filter, "network-interface-id") == 0) {
        value_add(out, t->eni == NULL ? NULL : t->eni->o.id);
    } else if (strcmp(filter, "network-load-balancer-arn") == 0) {
        value_add(out, t->balancer == NULL ? NULL : t->balancer->arn);
    } else if (strcmp(filter, "owner-id") == 0) {
        value_add(out, o->owner->id);
    } else {
        value_add(out, o->id);
    }
}

static const char *const filter_names[] = {
    "description", "network-interface-id",     "network-load-balancer-arn",
    "owner-id",    "traffic-mirror-target-id", NULL};

static const struct describe how_described = {.kind = K_TARGET,
                                              .set = "trafficMirrorTargetSet",
                                              .ids = "TrafficMirrorTargetId.#",
                                              .filters = filter_names,
                                              .tag_filters =
                                                  true, /* AWS's own samples use tag: here */
                                              .values = target_values,
                                              .xml = target_xml,
                                              .foreign_xml = foreign_xml,
                                              .page_max = 1000};

static bool
delete_target(struct call *c)
{
    struct target *t = call_object(c, "TrafficMirrorTargetId", K_TARGET);
    if (t == NULL) {
        return false;
    }
    if (t->nsessions > 0) {
        return fail(c, 400, "TrafficMirrorTargetInUseException",
                    "Traffic mirror target %s is in use by %zu traffic mirror sessions",
                    t->o.id, t->nsessions);
    }
    if (!call_may_proceed(c)) {
        return false;
    }
    xml_text(&c->out, "trafficMirrorTargetId", t->o.id);
    if (t->eni != NULL) {
        t->eni->target = NULL;
    } else {
        t->balancer->target = NULL;
    }
    ghost_keep(c, &how_described, &t->o);
    history_add(c->st, "delete", &t->o, c->signer.arn, NULL);
    obj_remove(c->st, &t->o);
    target_free(t);
    return true;
}

static bool
describe_targets(struct call *c)
{
    return describe(c, &how_described);
}

static const struct param create_params[] = {
    {.path = "NetworkInterfaceId", .type = P_ID, .kind = K_ENI},
    {.path = "NetworkLoadBalancerArn", .type = P_TEXT},
    {.path = "GatewayLoadBalancerEndpointId", .type = P_ID, .kind = K_ENDPOINT},
    {.path = "Description", .type = P_TEXT, .max = 255},
    TAG_SPECIFICATION,
    {.path = "ClientToken", .type = P_TEXT},
    {.path = "DryRun", .type = P_BOOL},
    {.path = NULL}};
static const struct param delete_params[] = {
    {.path = "TrafficMirrorTargetId", .type = P_ID, .kind = K_TARGET, .required = true},
    {.path = "DryRun", .type = P_BOOL},
    {.path = NULL}};
static const struct param describe_params[] = {
    {.path = "TrafficMirrorTargetId.#", .type = P_ID, .kind = K_TARGET},
    DESCRIBE_PARAMS,
    MAX_RESULTS(1000),
    {.path = NULL}};

const struct action ec2_target_actions[] = {
    {"CreateTrafficMirrorTarget", SERVICE_EC2, create_params, create, true},
    {"DeleteTrafficMirrorTarget", SERVICE_EC2, delete_params, delete_target, false},
    {"DescribeTrafficMirrorTargets", SERVICE_EC2, describe_params, describe_targets, false},
    {NULL, SERVICE_EC2, NULL, NULL, false}};
