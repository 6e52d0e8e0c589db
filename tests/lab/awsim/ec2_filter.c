/* Traffic mirror filters: create, delete, describe, network services. */
#include "mirror.h"

#include <string.h>

#include "describe.h"
#include "ghost.h"
#include "history.h"

void
mirror_client_token(struct call *c)
{
    const char *token = arg_text(&c->query, "ClientToken");
    char fresh[37];
    random_uuid(fresh);
    xml_text(&c->out, "clientToken", token == NULL || token[0] == '\0' ? fresh : token);
}

void
mirror_publish_filter(struct call *c, const struct filter *f)
{
    const struct obj *o;
    if (f->nsessions == 0) {
        return;
    }
    TAILQ_FOREACH(o, &c->st->objects[K_ENI], link)
    {
        const struct eni *e = (const struct eni *)o;
        for (size_t i = 0; i < e->nsessions; i++) {
            if (e->sessions[i]->filter == f) {
                c->plane_ticket = plane_publish(c->plane, e->sessions[i]->eni);
                break;
            }
        }
    }
}

static void
rules_xml(struct str *x, const struct filter *f, const char *set, bool egress)
{
    xml_open(x, set);
    for (size_t i = 0; i < f->nrules; i++) {
        if (f->rules[i]->egress == egress && obj_is_visible(&f->rules[i]->o)) {
            xml_open(x, "item");
            rule_xml(x, &f->rules[i]->o);
            xml_close(x, "item");
        }
    }
    xml_close(x, set);
}

void
filter_xml(struct str *x, const struct obj *o)
{
    const struct filter *f = (const struct filter *)o;
    xml_text(x, "trafficMirrorFilterId", o->id);
    rules_xml(x, f, "ingressFilterRuleSet", false);
    rules_xml(x, f, "egressFilterRuleSet", true);
    xml_open(x, "networkServiceSet");
    if (f->amazon_dns) {
        xml_text(x, "item", "amazon-dns");
    }
    xml_close(x, "networkServiceSet");
    xml_opt(x, "description", f->description);
    tags_xml(x, o);
}

static void
answer_filter(struct call *c, const struct filter *f)
{
    xml_open(&c->out, "trafficMirrorFilter");
    filter_xml(&c->out, &f->o);
    xml_close(&c->out, "trafficMirrorFilter");
}

static bool
create(struct call *c)
{
    if (!tags_check(c, K_FILTER)) {
        return false;
    }
    if (c->signer.account->count[K_FILTER] >= c->st->limits.filters) {
        return fail(c, 400, "TrafficMirrorFilterLimitExceeded",
                    "The limit of %zu traffic mirror filters is reached",
                    c->st->limits.filters);
    }
    if (!call_may_proceed(c)) {
        return false;
    }
    struct filter *f = xalloc(sizeof(*f));
    obj_add(c->st, &f->o, K_FILTER, NULL, c->signer.account);
    f->description = call_description(c);
    call_made(c, &f->o);
    answer_filter(c, f);
    mirror_client_token(c);
    return true;
}

static void
filter_values(const struct obj *o, const char *filter, struct values *out)
{
    value_add(out, strcmp(filter, "description") == 0 ? ((const struct filter *)o)->description
                                                      : o->id);
}

static const char *const filter_names[] = {"description", "traffic-mirror-filter-id", NULL};

static const struct describe how_described = {.kind = K_FILTER,
                                              .set = "trafficMirrorFilterSet",
                                              .ids = "TrafficMirrorFilterId.#",
                                              .filters = filter_names,
                                              .values = filter_values,
                                              .xml = filter_xml,
                                              .page_max = 1000};

static bool
delete_filter(struct call *c)
{
    struct filter *f = call_object(c, "TrafficMirrorFilterId", K_FILTER);
    if (f == NULL) {
        return false;
    }
    if (f->nsessions > 0) {
        return fail(c, 400, "TrafficMirrorFilterInUse",
                    "Traffic mirror filter %s is in use by %zu traffic mirror sessions",
                    f->o.id, f->nsessions);
    }
    if (!call_may_proceed(c)) {
        return false;
    }
    xml_text(&c->out, "trafficMirrorFilterId", f->o.id);
    ghost_keep(c, &how_described, &f->o); /* with its rules */
    for (size_t i = 0; i < f->nrules; i++) {
        obj_remove(c->st, &f->rules[i]->o);
        rule_free(f->rules[i]);
    }
    history_add(c->st, "delete", &f->o, c->signer.arn, NULL);
    obj_remove(c->st, &f->o);
    filter_free(f);
    return true;
}

void
filter_linger(struct call *c, const struct filter *f)
{
    ghost_keep_changed(c, &how_described, &f->o);
}

static bool
modify_services(struct call *c)
{
    size_t nadd;
    size_t nremove;
    arg_list(&c->query, "AddNetworkService.#", &nadd);
    arg_list(&c->query, "RemoveNetworkService.#", &nremove);
    struct filter *f = call_object(c, "TrafficMirrorFilterId", K_FILTER);
    if (f == NULL) {
        return false;
    }
    if (nadd > 0 && nremove > 0) {
        return fail(c, 400, "InvalidParameterCombination",
                    "The same network service cannot be added and removed");
    }
    if (nadd + nremove == 0) {
        return fail(c, 400, "MissingParameter",
                    "The request must contain AddNetworkService or RemoveNetworkService");
    }
    if (!call_may_proceed(c)) {
        return false;
    }
    filter_linger(c, f);
    f->amazon_dns = nadd > 0;
    mirror_publish_filter(c, f);
    answer_filter(c, f);
    return true;
}

static bool
describe_filters(struct call *c)
{
    return describe(c, &how_described);
}

static const char *const services[] = {"amazon-dns", NULL};
static const struct param create_params[] = {
    {.path = "Description", .type = P_TEXT, .max = 255},
    TAG_SPECIFICATION,
    {.path = "ClientToken", .type = P_TEXT},
    {.path = "DryRun", .type = P_BOOL},
    {.path = NULL}};
static const struct param delete_params[] = {
    {.path = "TrafficMirrorFilterId", .type = P_ID, .kind = K_FILTER, .required = true},
    {.path = "DryRun", .type = P_BOOL},
    {.path = NULL}};
static const struct param services_params[] = {
    {.path = "TrafficMirrorFilterId", .type = P_ID, .kind = K_FILTER, .required = true},
    {.path = "AddNetworkService.#", .type = P_ENUM, .values = services},
    {.path = "RemoveNetworkService.#", .type = P_ENUM, .values = services},
    {.path = "DryRun", .type = P_BOOL},
    {.path = NULL}};
static const struct param describe_params[] = {
    {.path = "TrafficMirrorFilterId.#", .type = P_ID, .kind = K_FILTER},
    DESCRIBE_PARAMS,
    MAX_RESULTS(1000),
    {.path = NULL}};

const struct action ec2_filter_actions[] = {
    {"CreateTrafficMirrorFilter", SERVICE_EC2, create_params, create, true},
    {"DeleteTrafficMirrorFilter", SERVICE_EC2, delete_params, delete_filter, false},
    {"ModifyTrafficMirrorFilterNetworkServices", SERVICE_EC2, services_params, modify_services,
     false},
    {"DescribeTrafficMirrorFilters", SERVICE_EC2, describe_params, describe_filters, false},
    {NULL, SERVICE_EC2, NULL, NULL, false}};
