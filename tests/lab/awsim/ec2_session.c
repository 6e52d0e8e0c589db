/* Traffic mirror sessions. */
#include "mirror.h"

#include <stdlib.h>
#include <string.h>

#include "describe.h"
#include "ghost.h"
#include "history.h"

#define VNI_MAX 0xffffff
#define NLB_PACKET_LENGTH 8500 /* default for Network Load Balancer targets */

static void
bare_xml(struct str *x, const struct obj *o)
{
    const struct session *s = (const struct session *)o;
    xml_text(x, "trafficMirrorSessionId", o->id);
    xml_text(x, "trafficMirrorTargetId", s->target->o.id);
    xml_text(x, "trafficMirrorFilterId", s->filter->o.id);
    xml_text(x, "networkInterfaceId", s->eni->o.id);
    xml_text(x, "ownerId", o->owner->id);
    if (s->packet_length > 0) {
        xml_int(x, "packetLength", s->packet_length);
    }
    xml_int(x, "sessionNumber", s->number);
    xml_int(x, "virtualNetworkId", s->vni);
    xml_opt(x, "description", s->description);
}

static void
session_xml(struct str *x, const struct obj *o)
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

static void
answer_session(struct call *c, const struct session *s)
{
    xml_open(&c->out, "trafficMirrorSession");
    session_xml(&c->out, &s->o);
    xml_close(&c->out, "trafficMirrorSession");
}

static uint32_t
fresh_vni(const struct call *c)
{
    for (;;) {
        uint32_t vni;
        random_bytes(&vni, sizeof(vni));
        vni &= VNI_MAX;
        bool taken = vni == 0;
        const struct obj *o;
        TAILQ_FOREACH(o, &c->st->objects[K_SESSION], link)
        {
            taken = taken ||
                    (o->owner == c->signer.account && ((const struct session *)o)->vni == vni);
        }
        if (!taken) {
            return vni;
        }
    }
}

/* Interfaces of these two services can be mirrored without an instance to be seen. */
bool
eni_is_of_service(const struct eni *e)
{
    return strcmp(e->requester_id, "amazon-rds") == 0 ||
           strcmp(e->requester_id, "amazon-elasticache") == 0;
}

bool
eni_is_mirrored(const struct eni *e)
{
    const struct instance *i = e->instance;
    return !e->gone && (eni_is_of_service(e) ||
                        (i != NULL && instance_is_up(i) && type_can_be_mirrored(i->type)));
}

static bool
eni_may_be_source(struct call *c, const struct eni *e)
{
    bool service = eni_is_of_service(e);
    if (strcmp(e->type, "interface") != 0) {
        return fail(
            c, 400, "NetworkInterfaceNotSupported",
            "Network interface %s of type %s is not supported as a traffic mirror source",
            e->o.id, e->type);
    }
    if (e->requester_managed && !service) {
        return fail(c, 400, "NetworkInterfaceNotSupported",
                    "Requester managed network interface %s is not supported", e->o.id);
    }
    if (!service && e->instance == NULL) {
        return fail(c, 400, "NetworkInterfaceNotSupported",
                    "Network interface %s is not attached to a supported instance", e->o.id);
    }
    if (!service && !type_can_be_mirrored(e->instance->type)) {
        return fail(
            c, 400, "NetworkInterfaceNotSupported",
            "Network interface %s is attached to an instance of type %s, which does not "
            "support traffic mirroring",
            e->o.id, e->instance->type);
    }
    if (e->nv4 == 0) {
        return fail(c, 400, "NetworkInterfaceNotSupported",
                    "Network interface %s has no IPv4 address", e->o.id);
    }
    if (e->target != NULL) {
        return fail(c, 400, "InterfaceInUseByTrafficMirrorTarget",
                    "Network interface %s is in use by target %s", e->o.id, e->target->o.id);
    }
    return true;
}

/* `self` is the session being changed, or NULL. */
static bool
number_is_free(struct call *c, const struct eni *e, int number, const struct session *self)
{
    for (size_t i = 0; i < e->nsessions; i++) {
        if (e->sessions[i] != self && e->sessions[i]->number == number) {
            return fail(c, 400, "InvalidParameterValue",
                        "Session number %d is already being used by %s on %s", number,
                        e->sessions[i]->o.id, e->o.id);
        }
    }
    return true;
}

static bool
target_has_room(struct call *c, const struct target *t, const struct eni *source,
                const struct session *self)
{
    if (t->eni == NULL) {
        return true;
    }
    size_t room =
        type_sources_per_target(t->eni->instance == NULL ? NULL : t->eni->instance->type);
    size_t sources = 0;
    const struct obj *o;
    if (t->nsessions < room) {
        return true; /* each source has one of them at least */
    }
    TAILQ_FOREACH(o, &c->st->objects[K_ENI], link)
    {
        const struct eni *e = (const struct eni *)o;
        for (size_t i = 0; i < e->nsessions; i++) {
            if (e->sessions[i]->target == t && e->sessions[i] != self) {
                if (e == source) {
                    return true; /* a source that is counted already */
                }
                sources++;
                break;
            }
        }
    }
    if (sources >= room) {
        return fail(c, 400, "TrafficMirrorSourcesPerTargetLimitExceeded",
                    "Sources per interface-target limit reached: %zu for %s", room, t->o.id);
    }
    return true;
}

static int
by_number(const void *a, const void *b)
{
    return (*(struct session *const *)a)->number - (*(struct session *const *)b)->number;
}

static bool
create(struct call *c)
{
    long number = 0;
    long length = 0;
    long vni = 0;
    arg_int(&c->query, "SessionNumber", &number);
    arg_int(&c->query, "PacketLength", &length);
    if (!tags_check(c, K_SESSION)) {
        return false;
    }
    struct eni *e = call_object(c, "NetworkInterfaceId", K_ENI);
    struct target *t = e == NULL ? NULL : call_target(c);
    struct filter *f = t == NULL ? NULL : call_object(c, "TrafficMirrorFilterId", K_FILTER);
    if (f == NULL || !eni_may_be_source(c, e) || !number_is_free(c, e, (int)number, NULL)) {
        return false;
    }
    if (e->nsessions == SESSIONS_PER_ENI) {
        return fail(c, 400, "TrafficMirrorSessionsPerInterfaceLimitExceeded",
                    "Network interface %s already has %d traffic mirror sessions", e->o.id,
                    SESSIONS_PER_ENI);
    }
    if (c->signer.account->count[K_SESSION] >= c->st->limits.sessions) {
        return fail(c, 400, "TrafficMirrorSessionLimitExceeded",
                    "The limit of %zu traffic mirror sessions is reached",
                    c->st->limits.sessions);
    }
    if (!target_has_room(c, t, e, NULL) || !call_may_proceed(c)) {
        return false;
    }
    char why[256];
    if (!plane_prepare(c->plane, e, why, sizeof(why))) {
        return fail(c, 500, "InternalError", "awsim's data plane: %s", why);
    }
    struct session *s = xalloc(sizeof(*s));
    obj_add(c->st, &s->o, K_SESSION, NULL, c->signer.account);
    s->eni = e;
    s->target = t;
    s->filter = f;
    s->number = (int)number;
    s->packet_length = length == 0 && t->eni == NULL ? NLB_PACKET_LENGTH : (int)length;
    s->vni = arg_int(&c->query, "VirtualNetworkId", &vni) ? (uint32_t)vni : fresh_vni(c);
    s->description = call_description(c);
    call_made(c, &s->o);
    t->nsessions++;
    f->nsessions++;
    e->sessions[e->nsessions++] = s;
    qsort(e->sessions, e->nsessions, sizeof(e->sessions[0]), by_number);
    plane_session_begin(c->plane, s);
    plane_publish(c->plane, e); /* holds for every frame from now on: nothing to wait for */
    answer_session(c, s);
    mirror_client_token(c);
    return true;
}

static void
session_values(const struct obj *o, const char *filter, struct values *out)
{
    const struct session *s = (const struct session *)o;
    if (strcmp(filter, "description") == 0) {
        value_add(out, s->description);
    } else if (strcmp(filter, "network-interface-id") == 0) {
        value_add(out, s->eni->o.id);
    } else if (strcmp(filter, "owner-id") == 0) {
        value_add(out, o->owner->id);
    } else if (strcmp(filter, "packet-length") == 0) {
        if (s->packet_length > 0) {
            value_int(out, s->packet_length);
        }
    } else if (strcmp(filter, "session-number") == 0) {
        value_int(out, s->number);
    } else if (strcmp(filter, "traffic-mirror-filter-id") == 0) {
        value_add(out, s->filter->o.id);
    } else if (strcmp(filter, "traffic-mirror-session-id") == 0) {
        value_add(out, o->id);
    } else if (strcmp(filter, "traffic-mirror-target-id") == 0) {
        value_add(out, s->target->o.id);
    } else {
        value_int(out, s->vni);
    }
}

static const char *const filter_names[] = {"description",
                                           "network-interface-id",
                                           "owner-id",
                                           "packet-length",
                                           "session-number",
                                           "traffic-mirror-filter-id",
                                           "traffic-mirror-session-id",
                                           "traffic-mirror-target-id",
                                           "virtual-network-id",
                                           NULL};

static const struct describe how_described = {.kind = K_SESSION,
                                              .set = "trafficMirrorSessionSet",
                                              .ids = "TrafficMirrorSessionId.#",
                                              .filters = filter_names,
                                              .values = session_values,
                                              .xml = session_xml,
                                              .foreign_xml = foreign_xml,
                                              .page_max = 1000};

uint64_t
mirror_end_session(struct state *st, struct plane *plane, struct session *s, const char *by)
{
    struct eni *e = s->eni;
    size_t i = 0;
    while (e->sessions[i] != s) {
        i++;
    }
    e->nsessions--;
    memmove(&e->sessions[i], &e->sessions[i + 1], (e->nsessions - i) * sizeof(e->sessions[0]));
    s->target->nsessions--;
    s->filter->nsessions--;
    plane_session_end(plane, s);
    uint64_t ticket = plane_publish(plane, e);
    history_add(st, "delete", &s->o, by, NULL);
    obj_remove(st, &s->o);
    session_free(s);
    return ticket;
}

static bool
delete_session(struct call *c)
{
    struct session *s = call_object(c, "TrafficMirrorSessionId", K_SESSION);
    if (s == NULL || !call_may_proceed(c)) {
        return false;
    }
    xml_text(&c->out, "trafficMirrorSessionId", s->o.id);
    ghost_keep(c, &how_described, &s->o);
    c->plane_ticket = mirror_end_session(c->st, c->plane, s, c->signer.arn);
    return true;
}

static bool
modify(struct call *c)
{
    struct session *s = call_object(c, "TrafficMirrorSessionId", K_SESSION);
    if (s == NULL) {
        return false;
    }
    struct target *t = s->target;
    struct filter *f = s->filter;
    long number = s->number;
    long length = s->packet_length;
    long vni = s->vni;
    if (arg_text(&c->query, "TrafficMirrorTargetId") != NULL) {
        t = call_target(c);
    }
    if (t != NULL && arg_text(&c->query, "TrafficMirrorFilterId") != NULL) {
        f = call_object(c, "TrafficMirrorFilterId", K_FILTER);
    }
    if (t == NULL || f == NULL) {
        return false;
    }
    char *description = call_description(c);
    bool no_description = false;
    size_t n;
    const struct arg *remove = arg_list(&c->query, "RemoveField.#", &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(remove[i].value, "packet-length") == 0) {
            length = t->eni == NULL ? NLB_PACKET_LENGTH : 0;
        } else if (strcmp(remove[i].value, "virtual-network-id") == 0) {
            vni = fresh_vni(c);
        } else {
            no_description = true;
        }
    }
    arg_int(&c->query, "SessionNumber", &number);
    arg_int(&c->query, "PacketLength", &length);
    arg_int(&c->query, "VirtualNetworkId", &vni);
    if (!number_is_free(c, s->eni, (int)number, s) ||
        (t != s->target && !target_has_room(c, t, s->eni, s)) || !call_may_proceed(c)) {
        free(description);
        return false;
    }
    ghost_keep_changed(c, &how_described, &s->o);
    s->target->nsessions--;
    s->filter->nsessions--;
    t->nsessions++;
    f->nsessions++;
    s->target = t;
    s->filter = f;
    s->number = (int)number;
    s->packet_length = (int)length;
    s->vni = (uint32_t)vni;
    if (description != NULL || no_description) {
        free(s->description);
        s->description = description;
    }
    qsort(s->eni->sessions, s->eni->nsessions, sizeof(s->eni->sessions[0]), by_number);
    c->plane_ticket = plane_publish(c->plane, s->eni);
    history_add(c->st, "modify", &s->o, c->signer.arn, NULL);
    answer_session(c, s);
    return true;
}

static bool
describe_sessions(struct call *c)
{
    return describe(c, &how_described);
}

static const char *const fields[] = {"packet-length", "description", "virtual-network-id",
                                     NULL};

#define SESSION_PARAMS(needed)                                                                 \
    {.path = "TrafficMirrorTargetId", .type = P_ID, .kind = K_TARGET, .required = (needed)},   \
        {.path = "TrafficMirrorFilterId",                                                      \
         .type = P_ID,                                                                         \
         .kind = K_FILTER,                                                                     \
         .required = (needed)},                                                                \
        {.path = "SessionNumber",                                                              \
         .type = P_INT,                                                                        \
         .min = 1,                                                                             \
         .max = 32766,                                                                         \
         .required = (needed)},                                                                \
        {.path = "PacketLength", .type = P_INT, .min = 1, .max = 8500},                        \
        {.path = "VirtualNetworkId", .type = P_INT, .min = 1, .max = VNI_MAX},                 \
        {.path = "Description", .type = P_TEXT, .max = 255},                                   \
    {                                                                                          \
        .path = "DryRun", .type = P_BOOL                                                       \
    }

static const struct param create_params[] = {
    {.path = "NetworkInterfaceId", .type = P_ID, .kind = K_ENI, .required = true},
    SESSION_PARAMS(true),
    TAG_SPECIFICATION,
    {.path = "ClientToken", .type = P_TEXT},
    {.path = NULL}};
static const struct param modify_params[] = {
    {.path = "TrafficMirrorSessionId", .type = P_ID, .kind = K_SESSION, .required = true},
    SESSION_PARAMS(false),
    {.path = "RemoveField.#", .type = P_ENUM, .values = fields},
    {.path = NULL}};
static const struct param delete_params[] = {
    {.path = "TrafficMirrorSessionId", .type = P_ID, .kind = K_SESSION, .required = true},
    {.path = "DryRun", .type = P_BOOL},
    {.path = NULL}};
static const struct param describe_params[] = {
    {.path = "TrafficMirrorSessionId.#", .type = P_ID, .kind = K_SESSION},
    DESCRIBE_PARAMS,
    MAX_RESULTS(1000),
    {.path = NULL}};

const struct action ec2_session_actions[] = {
    {"CreateTrafficMirrorSession", SERVICE_EC2, create_params, create, true},
    {"ModifyTrafficMirrorSession", SERVICE_EC2, modify_params, modify, false},
    {"DeleteTrafficMirrorSession", SERVICE_EC2, delete_params, delete_session, false},
    {"DescribeTrafficMirrorSessions", SERVICE_EC2, describe_params, describe_sessions, false},
    {NULL, SERVICE_EC2, NULL, NULL, false}};
