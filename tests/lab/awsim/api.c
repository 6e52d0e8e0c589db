/*
 * One request from bytes to answer: parameters, signature, action, check, effect, envelope,
 * with faults before and after the effect.
 */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "call.h"
#include "idempotency.h"
#include "sigv4.h"

const struct service_names service_names[SERVICE_COUNT] = {
    [SERVICE_EC2] = {"ec2", "ec2", "2016-11-15", "http://ec2.amazonaws.com/doc/2016-11-15/",
                     "AmazonEC2"},
    [SERVICE_STS] = {"sts", "sts", "2011-06-15", "https://sts.amazonaws.com/doc/2011-06-15/",
                     "AmazonSTS"},
    [SERVICE_CLOUDWATCH] = {"monitoring", "cloudwatch", "2010-08-01",
                            "http://monitoring.amazonaws.com/doc/2010-08-01/",
                            "AmazonCloudWatch"},
};

struct api {
    struct state *st;
    struct plane *plane;
    struct faults *faults;
    struct map actions; /* name -> struct action */
    pthread_mutex_t mu; /* guards counts */
    json_t *counts;
};

static const struct action *const tables[] = {
    ec2_target_actions,   ec2_filter_actions, ec2_rule_actions,  ec2_session_actions,
    ec2_instance_actions, ec2_eni_actions,    ec2_type_actions,  ec2_network_actions,
    ec2_tag_actions,      sts_actions,        cloudwatch_actions};

/* map holds plain pointers; actions are const and stay so. */
union action_pointer {
    const struct action *action;
    void *p;
};

struct api *
api_new(struct state *st, struct plane *plane, struct faults *faults)
{
    struct api *api = xalloc(sizeof(*api));
    api->st = st;
    api->plane = plane;
    api->faults = faults;
    api->counts = json_object();
    pthread_mutex_init(&api->mu, NULL);
    for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
        for (const struct action *a = tables[t]; a->name != NULL; a++) {
            union action_pointer pointer = {.action = a};
            map_put(&api->actions, a->name, pointer.p);
        }
    }
    return api;
}

void
api_free(struct api *api)
{
    map_free(&api->actions, NULL);
    json_decref(api->counts);
    pthread_mutex_destroy(&api->mu);
    free(api);
}

json_t *
api_counts(struct api *api)
{
    pthread_mutex_lock(&api->mu);
    json_t *copy = json_deep_copy(api->counts);
    pthread_mutex_unlock(&api->mu);
    return copy;
}

static void
add_one(json_t *o, const char *key)
{
    json_object_set_new(o, key, json_integer(json_integer_value(json_object_get(o, key)) + 1));
}

static void
count(struct api *api, const char *action, const char *code)
{
    pthread_mutex_lock(&api->mu);
    json_t *of = json_object_get(api->counts, action);
    if (of == NULL) {
        of = json_pack("{s:i,s:i,s:{}}", "total", 0, "ok", 0, "errors");
        json_object_set_new(api->counts, action, of);
    }
    add_one(of, "total");
    if (code == NULL) {
        add_one(of, "ok");
    } else {
        add_one(json_object_get(of, "errors"), code);
    }
    pthread_mutex_unlock(&api->mu);
}

void
log_request(const char *service, const char *what, int status, const char *code,
            const char *request_id, const char *who, long long start_ns)
{
    char now[32];
    char plain[65];
    long long end_ns = now_ns();
    size_t n = 0;
    for (; what[n] != '\0' && n < sizeof(plain) - 1; n++) { /* one line, whatever was sent */
        plain[n] = '?';
        if (what[n] > ' ' && what[n] < 0x7f) {
            plain[n] = what[n];
        }
    }
    plain[n] = '\0';
    time_text(now, end_ns / 1000000000LL);
    now[19] = '\0';
    fprintf(stderr, "%s.%03lldZ %s %s %d %s %s %s %lldus\n", now, end_ns / 1000000 % 1000,
            service, plain, status, code == NULL ? "-" : code, request_id,
            who[0] == '\0' ? "-" : who, (end_ns - start_ns) / 1000);
}

static bool
is_form(const struct http_request *r)
{
    static const char form[] = "application/x-www-form-urlencoded";
    const char *type = http_header(r, "Content-Type");
    return type != NULL && strncasecmp(type, form, sizeof(form) - 1) == 0 &&
           (type[sizeof(form) - 1] == '\0' || strchr("; ", type[sizeof(form) - 1]) != NULL);
}

static bool
read_parameters(struct call *c)
{
    const struct http_request *r = c->http;
    struct str all = {0};
    if (r->body_too_big) {
        return fail(c, 413, "RequestEntityTooLarge", "The body is larger than %d octets",
                    HTTP_BODY_MAX);
    }
    if (strcmp(r->method, "POST") != 0 && strcmp(r->method, "GET") != 0) {
        return fail(c, 405, "InvalidAction", "The method %.16s is not supported", r->method);
    }
    if (strcmp(r->path, "/") != 0) {
        return fail(c, 404, "InvalidAction", "There is nothing at this path");
    }
    if (r->body.len > 0 && !is_form(r)) {
        return fail(c, 400, "MalformedQueryString",
                    "The body is not application/x-www-form-urlencoded");
    }
    str_add(&all, r->query);
    if (r->body.len > 0) {
        str_add(&all, all.len > 0 ? "&" : "");
        str_addn(&all, r->body.p, r->body.len);
    }
    bool good = query_parse(&c->query, str_text(&all), all.len, &c->refusal);
    str_free(&all);
    return good;
}

/* By the scope it was signed for, or, when that failed, by the version it names. */
static enum service
service_of(const struct call *c)
{
    const char *version = query_raw(&c->query, "Version");
    for (int i = 0; i < SERVICE_COUNT; i++) {
        if (strcmp(c->signer.service, service_names[i].scope) == 0) {
            return (enum service)i;
        }
    }
    for (int i = 0; version != NULL && i < SERVICE_COUNT; i++) {
        if (strcmp(version, service_names[i].version) == 0) {
            return (enum service)i;
        }
    }
    return SERVICE_EC2;
}

static bool
find_action(struct api *api, struct call *c)
{
    const char *name = query_raw(&c->query, "Action");
    const char *version = query_raw(&c->query, "Version");
    enum service service = service_of(c);
    if (name == NULL || name[0] == '\0') {
        return fail(c, 400, "MissingAction", "The request must contain the parameter Action");
    }
    if (version == NULL) {
        return fail(c, 400, "MissingParameter",
                    "The request must contain the parameter Version");
    }
    union action_pointer pointer = {.p = map_get(&api->actions, name)};
    if (pointer.p == NULL || strcmp(version, service_names[service].version) != 0 ||
        pointer.action->service != service) {
        return fail(c, 400, "InvalidAction",
                    "The action %.64s is not valid for this web service.", name);
    }
    c->action = pointer.action;
    bool good = query_check(&c->query, c->action->params, &c->refusal);
    if (!good && service == SERVICE_STS) { /* one code for all of it */
        snprintf(c->refusal.code, sizeof(c->refusal.code), "ValidationError");
    }
    return good;
}

static void
plan_faults(struct api *api, struct call *c)
{
    struct fault_question q = {.service = service_names[c->action->service].iam,
                               .action = c->action->name,
                               .account = c->signer.account->id,
                               .query = &c->query};
    faults_plan(api->faults, &q, &c->plan);
    if (c->plan.expired && c->plan.before.fault == FAULT_NONE) {
        c->plan.before.fault = FAULT_ERROR;
        if (c->action->service != SERVICE_EC2) {
            refuse(&c->plan.before.why, 403, "ExpiredToken",
                   "The security token included in the request is expired");
        } else {
            refuse(&c->plan.before.why, 400, "RequestExpired", "Request has expired.");
        }
    }
}

/* Whatever came of the effect, this is what the caller gets to know. */
static enum fault
pass_stage(struct api *api, struct call *c, const struct fault_stage *stage)
{
    enum fault fault = faults_pass(api->faults, stage);
    if (fault == FAULT_ERROR) {
        c->refusal = stage->why;
    }
    return fault;
}

/* The effect, with the lock.  Faults come before and after it, without. */
static enum fault
perform(struct api *api, struct call *c)
{
    plan_faults(api, c);
    enum fault fault = pass_stage(api, c, &c->plan.before);
    if (fault != FAULT_NONE) {
        return fault;
    }
    pthread_mutex_lock(&c->st->mu);
    enum replay replay = arg_bool(&c->query, "DryRun") ? REPLAY_FRESH : idempotency_begin(c);
    if (replay == REPLAY_FRESH && c->action->run(c)) {
        idempotency_keep(c);
    }
    pthread_mutex_unlock(&c->st->mu);
    if (c->plane_ticket != 0) {
        plane_wait(c->plane, c->plane_ticket);
    }
    fault = pass_stage(api, c, &c->plan.after);
    return fault == FAULT_NONE && c->refusal.status != 0 ? FAULT_ERROR : fault;
}

static void
write_answer(const struct call *c, struct str *x)
{
    str_add(x, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    str_addf(x, "<%sResponse xmlns=\"%s\">", c->action->name,
             service_names[c->action->service].xmlns);
    if (c->action->service == SERVICE_EC2) {
        xml_text(x, "requestId", c->request_id);
    }
    str_addn(x, str_text(&c->out), c->out.len);
    if (c->action->service != SERVICE_EC2) {
        str_addf(x, "<ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata>",
                 c->request_id);
    }
    str_addf(x, "</%sResponse>", c->action->name);
}

static void
write_error(const struct call *c, enum service service, struct str *x)
{
    const struct refusal *r = &c->refusal;
    if (service != SERVICE_EC2) {
        str_addf(x, "<ErrorResponse xmlns=\"%s\"><Error>", service_names[service].xmlns);
        xml_text(x, "Type", r->status < 500 ? "Sender" : "Receiver");
        xml_text(x, "Code", r->code);
        xml_text(x, "Message", r->message);
        xml_close(x, "Error");
        xml_text(x, "RequestId", c->request_id);
        xml_close(x, "ErrorResponse");
        return;
    }
    str_add(x, "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Errors><Error>");
    xml_text(x, "Code", r->code);
    xml_text(x, "Message", r->message);
    str_add(x, "</Error></Errors>");
    xml_text(x, "RequestID", c->request_id);
    xml_close(x, "Response");
}

/* By its signature, or as nobody for what needs none. */
static bool
authenticate(struct api *api, struct call *c)
{
    const char *name = query_raw(&c->query, "Action");
    if (name == NULL || strcmp(name, sts_unsigned_action) != 0 ||
        http_header(c->http, "Authorization") != NULL) {
        return sigv4_verify(api->st, c->http, c->start_ns / 1000000000LL, &c->signer,
                            &c->refusal);
    }
    c->signer.account = api->st->accounts; /* whom fault rules by account are for */
    snprintf(c->signer.service, sizeof(c->signer.service), "%s",
             service_names[SERVICE_STS].scope);
    return true;
}

void
api_handle(void *arg, const struct http_request *request, struct http_reply *reply)
{
    struct api *api = arg;
    struct call c = {.st = api->st, .plane = api->plane, .http = request};
    enum fault fault = FAULT_ERROR;
    c.start_ns = now_ns();
    random_uuid(c.request_id);
    if (read_parameters(&c) && authenticate(api, &c) && find_action(api, &c)) {
        fault = perform(api, &c);
    }
    enum service service = service_of(&c);
    if (fault == FAULT_NONE) {
        write_answer(&c, &reply->body);
    } else if (fault == FAULT_ERROR) {
        reply->status = c.refusal.status;
        write_error(&c, service, &reply->body);
    }
    reply->drop = fault == FAULT_LOSE;
    reply->content_type = "text/xml;charset=UTF-8";
    http_reply_header(reply, "x-amzn-RequestId", c.request_id);
    http_reply_header(reply, "Cache-Control", "no-cache, no-store");
    http_reply_header(reply, "Server", service_names[service].server);

    const char *name = c.action != NULL ? c.action->name : query_raw(&c.query, "Action");
    const char *code = fault == FAULT_NONE    ? NULL
                       : fault == FAULT_ERROR ? c.refusal.code
                                              : "(lost)";
    /* names that are no action are counted together: a client must not fill our memory */
    count(api, c.action != NULL ? c.action->name : "(not an action)", code);
    log_request(service_names[service].iam, name == NULL ? "-" : name, reply->status, code,
                c.request_id, c.signer.access, c.start_ns);
    query_free(&c.query);
    str_free(&c.out);
}
