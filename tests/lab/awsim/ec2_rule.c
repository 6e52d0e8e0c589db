/* Traffic mirror filter rules. */
#include "mirror.h"

#include <stdlib.h>
#include <string.h>

#include "describe.h"
#include "ghost.h"

static void
ports_xml(struct str *x, const char *name, const struct port_range *r)
{
    if (r->set) {
        xml_open(x, name);
        xml_int(x, "fromPort", r->from);
        xml_int(x, "toPort", r->to);
        xml_close(x, name);
    }
}

void
rule_xml(struct str *x, const struct obj *o)
{
    const struct rule *r = (const struct rule *)o;
    char text[IP_TEXT_MAX];
    xml_text(x, "trafficMirrorFilterRuleId", o->id);
    xml_text(x, "trafficMirrorFilterId", r->filter->o.id);
    xml_text(x, "trafficDirection", r->egress ? "egress" : "ingress");
    xml_int(x, "ruleNumber", r->number);
    xml_text(x, "ruleAction", r->accept ? "accept" : "reject");
    if (r->protocol >= 0) {
        xml_int(x, "protocol", r->protocol);
    }
    ports_xml(x, "destinationPortRange", &r->dst_ports);
    ports_xml(x, "sourcePortRange", &r->src_ports);
    xml_text(x, "destinationCidrBlock", cidr_text(&r->dst, text));
    xml_text(x, "sourceCidrBlock", cidr_text(&r->src, text));
    xml_opt(x, "description", r->description);
    if (o->ntags > 0) { /* SDKs from before 2024 do not know tags on rules */
        tags_xml(x, o);
    }
}

static void
answer_rule(struct call *c, const struct rule *r)
{
    xml_open(&c->out, "trafficMirrorFilterRule");
    rule_xml(&c->out, &r->o);
    xml_close(&c->out, "trafficMirrorFilterRule");
}

static bool
take_ports(struct call *c, const char *from_path, const char *to_path, struct port_range *out)
{
    long from = 0;
    long to = 0;
    bool has_from = arg_int(&c->query, from_path, &from);
    bool has_to = arg_int(&c->query, to_path, &to);
    if (!has_from && !has_to) {
        return true;
    }
    if (!has_from || !has_to) {
        return fail(c, 400, "MissingParameter", "The request must contain the parameter %s",
                    has_from ? to_path : from_path);
    }
    if (from > to) {
        return fail(c, 400, "InvalidParameterValue",
                    "Invalid port range: %ld is greater than %ld", from, to);
    }
    *out = (struct port_range){.set = true, .from = (int)from, .to = (int)to};
    return true;
}

/* Put what the request says over the rule; the result still has to pass check_rule. */
static bool
take_parameters(struct call *c, struct rule *r)
{
    const struct query *q = &c->query;
    const char *t;
    long v;
    if ((t = arg_text(q, "TrafficDirection")) != NULL) {
        r->egress = strcmp(t, "egress") == 0;
    }
    if ((t = arg_text(q, "RuleAction")) != NULL) {
        r->accept = strcmp(t, "accept") == 0;
    }
    if (arg_int(q, "RuleNumber", &v)) {
        r->number = (int)v;
    }
    if (arg_int(q, "Protocol", &v)) {
        r->protocol = (int)v;
    }
    if ((t = arg_text(q, "SourceCidrBlock")) != NULL) {
        cidr_parse(t, &r->src);
    }
    if ((t = arg_text(q, "DestinationCidrBlock")) != NULL) {
        cidr_parse(t, &r->dst);
    }
    return take_ports(c, "SourcePortRange.FromPort", "SourcePortRange.ToPort", &r->src_ports) &&
           take_ports(c, "DestinationPortRange.FromPort", "DestinationPortRange.ToPort",
                      &r->dst_ports);
}

static bool
check_rule(struct call *c, const struct filter *f, const struct rule *r,
           const struct rule *self)
{
    if (r->src.base.family != r->dst.base.family) {
        return fail(c, 400, "InvalidParameterValue",
                    "SourceCidrBlock and DestinationCidrBlock must be of the same IP family");
    }
    if ((r->src_ports.set || r->dst_ports.set) && r->protocol != 6 && r->protocol != 17) {
        return fail(c, 400, "InvalidParameterCombination",
                    "Port ranges need the protocol 6 (TCP) or 17 (UDP)");
    }
    for (size_t i = 0; i < f->nrules; i++) {
        if (f->rules[i] != self && f->rules[i]->egress == r->egress &&
            f->rules[i]->number == r->number) {
            return fail(c, 400, "TrafficMirrorFilterRuleAlreadyExists",
                        "Rule number %d is already used by %s in the %s direction", r->number,
                        f->rules[i]->o.id, r->egress ? "egress" : "ingress");
        }
    }
    return true;
}

static int
by_number(const void *a, const void *b)
{
    const struct rule *x = *(struct rule *const *)a;
    const struct rule *y = *(struct rule *const *)b;
    return x->egress != y->egress ? x->egress - y->egress : x->number - y->number;
}

static bool
create(struct call *c)
{
    struct rule draft = {.protocol = -1};
    struct filter *f = call_object(c, "TrafficMirrorFilterId", K_FILTER);
    if (f == NULL || !tags_check(c, K_RULE) || !take_parameters(c, &draft) ||
        !check_rule(c, f, &draft, NULL)) {
        return false;
    }
    if (f->nrules == RULES_PER_FILTER) {
        return fail(c, 400, "TrafficMirrorFilterRuleLimitExceeded",
                    "Traffic mirror filter %s already has %d rules", f->o.id, RULES_PER_FILTER);
    }
    if (!call_may_proceed(c)) {
        return false;
    }
    filter_linger(c, f);
    struct rule *r = xalloc(sizeof(*r));
    *r = draft;
    obj_add(c->st, &r->o, K_RULE, NULL, c->signer.account);
    r->filter = f;
    r->description = call_description(c);
    call_made(c, &r->o);
    f->rules[f->nrules++] = r;
    qsort(f->rules, f->nrules, sizeof(f->rules[0]), by_number);
    mirror_publish_filter(c, f);
    answer_rule(c, r);
    mirror_client_token(c);
    return true;
}

static bool
modify(struct call *c)
{
    struct rule *r = call_object(c, "TrafficMirrorFilterRuleId", K_RULE);
    if (r == NULL) {
        return false;
    }
    struct rule draft = *r;
    bool no_description = false;
    size_t n;
    const struct arg *remove = arg_list(&c->query, "RemoveField.#", &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(remove[i].value, "destination-port-range") == 0) {
            draft.dst_ports.set = false;
        } else if (strcmp(remove[i].value, "source-port-range") == 0) {
            draft.src_ports.set = false;
        } else if (strcmp(remove[i].value, "protocol") == 0) {
            draft.protocol = -1;
        } else {
            no_description = true;
        }
    }
    if (!take_parameters(c, &draft) || !check_rule(c, r->filter, &draft, r) ||
        !call_may_proceed(c)) {
        return false;
    }
    char *description = call_description(c);
    if (description != NULL || no_description) {
        free(draft.description);
        draft.description = description;
    }
    filter_linger(c, r->filter);
    *r = draft;
    qsort(r->filter->rules, r->filter->nrules, sizeof(r->filter->rules[0]), by_number);
    mirror_publish_filter(c, r->filter);
    answer_rule(c, r);
    return true;
}

static void
rule_values(const struct obj *o, const char *filter, struct values *out)
{
    const struct rule *r = (const struct rule *)o;
    if (strcmp(filter, "traffic-mirror-filter-rule-id") == 0) {
        value_add(out, o->id);
    } else if (strcmp(filter, "traffic-mirror-filter-id") == 0) {
        value_add(out, r->filter->o.id);
    } else if (strcmp(filter, "rule-number") == 0) {
        value_int(out, r->number);
    } else if (strcmp(filter, "rule-action") == 0) {
        value_add(out, r->accept ? "accept" : "reject");
    } else if (strcmp(filter, "traffic-direction") == 0) {
        value_add(out, r->egress ? "egress" : "ingress");
    } else if (strcmp(filter, "protocol") == 0) {
        if (r->protocol >= 0) {
            value_int(out, r->protocol);
        }
    } else if (strcmp(filter, "source-cidr-block") == 0) {
        value_cidr(out, &r->src);
    } else if (strcmp(filter, "destination-cidr-block") == 0) {
        value_cidr(out, &r->dst);
    } else {
        value_add(out, r->description);
    }
}

static const char *const filter_names[] = {"traffic-mirror-filter-rule-id",
                                           "traffic-mirror-filter-id",
                                           "rule-number",
                                           "rule-action",
                                           "traffic-direction",
                                           "protocol",
                                           "source-cidr-block",
                                           "destination-cidr-block",
                                           "description",
                                           NULL};

static const struct describe how_described = {.kind = K_RULE,
                                              .set = "trafficMirrorFilterRuleSet",
                                              .ids = "TrafficMirrorFilterRuleId.#",
                                              .filters = filter_names,
                                              .values = rule_values,
                                              .xml = rule_xml,
                                              .within = "TrafficMirrorFilterId",
                                              .within_kind = K_FILTER,
                                              .within_filter = "traffic-mirror-filter-id",
                                              .page_max = 1000};

static bool
delete_rule(struct call *c)
{
    struct rule *r = call_object(c, "TrafficMirrorFilterRuleId", K_RULE);
    if (r == NULL || !call_may_proceed(c)) {
        return false;
    }
    struct filter *f = r->filter;
    size_t i = 0;
    while (f->rules[i] != r) {
        i++;
    }
    filter_linger(c, f);
    f->nrules--;
    memmove(&f->rules[i], &f->rules[i + 1], (f->nrules - i) * sizeof(f->rules[0]));
    mirror_publish_filter(c, f);
    xml_text(&c->out, "trafficMirrorFilterRuleId", r->o.id);
    ghost_keep(c, &how_described, &r->o);
    obj_remove(c->st, &r->o);
    rule_free(r);
    return true;
}

static bool
describe_rules(struct call *c)
{
    return describe(c, &how_described);
}

static const char *const directions[] = {"ingress", "egress", NULL};
static const char *const rule_actions[] = {"accept", "reject", NULL};
static const char *const fields[] = {"destination-port-range", "source-port-range", "protocol",
                                     "description", NULL};

#define RULE_PARAMS(needed)                                                                    \
    {.path = "TrafficDirection", .type = P_ENUM, .values = directions, .required = (needed)},  \
        {.path = "RuleNumber", .type = P_INT, .min = 1, .max = 32766, .required = (needed)},   \
        {.path = "RuleAction", .type = P_ENUM, .values = rule_actions, .required = (needed)},  \
        {.path = "SourceCidrBlock", .type = P_CIDR, .required = (needed)},                     \
        {.path = "DestinationCidrBlock", .type = P_CIDR, .required = (needed)},                \
        {.path = "Protocol", .type = P_INT, .min = 0, .max = 255},                             \
        {.path = "SourcePortRange.FromPort", .type = P_INT, .min = 0, .max = 65535},           \
        {.path = "SourcePortRange.ToPort", .type = P_INT, .min = 0, .max = 65535},             \
        {.path = "DestinationPortRange.FromPort", .type = P_INT, .min = 0, .max = 65535},      \
        {.path = "DestinationPortRange.ToPort", .type = P_INT, .min = 0, .max = 65535},        \
        {.path = "Description", .type = P_TEXT, .max = 255},                                   \
    {                                                                                          \
        .path = "DryRun", .type = P_BOOL                                                       \
    }

static const struct param create_params[] = {
    {.path = "TrafficMirrorFilterId", .type = P_ID, .kind = K_FILTER, .required = true},
    RULE_PARAMS(true),
    TAG_SPECIFICATION,
    {.path = "ClientToken", .type = P_TEXT},
    {.path = NULL}};
static const struct param modify_params[] = {
    {.path = "TrafficMirrorFilterRuleId", .type = P_ID, .kind = K_RULE, .required = true},
    RULE_PARAMS(false),
    {.path = "RemoveField.#", .type = P_ENUM, .values = fields},
    {.path = NULL}};
static const struct param delete_params[] = {
    {.path = "TrafficMirrorFilterRuleId", .type = P_ID, .kind = K_RULE, .required = true},
    {.path = "DryRun", .type = P_BOOL},
    {.path = NULL}};
static const struct param describe_params[] = {
    {.path = "TrafficMirrorFilterRuleId.#", .type = P_ID, .kind = K_RULE},
    {.path = "TrafficMirrorFilterId", .type = P_ID, .kind = K_FILTER},
    DESCRIBE_PARAMS,
    MAX_RESULTS(1000),
    {.path = NULL}};

const struct action ec2_rule_actions[] = {
    {"CreateTrafficMirrorFilterRule", SERVICE_EC2, create_params, create, true},
    {"ModifyTrafficMirrorFilterRule", SERVICE_EC2, modify_params, modify, false},
    {"DeleteTrafficMirrorFilterRule", SERVICE_EC2, delete_params, delete_rule, false},
    {"DescribeTrafficMirrorFilterRules", SERVICE_EC2, describe_params, describe_rules, false},
    {NULL, SERVICE_EC2, NULL, NULL, false}};
