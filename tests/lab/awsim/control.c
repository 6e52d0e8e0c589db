/* The routes of the control socket.  Errors are a sentence, as plain text. */
#include "control.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "change.h"
#include "history.h"
#include "identity.h"
#include "jout.h"
#include "share.h"

#define WHY_MAX 768

static void
refuse_request(struct http_reply *reply, int status, const char *why)
{
    str_free(&reply->body);
    str_addf(&reply->body, "%s\n", why);
    reply->status = status;
    reply->content_type = "text/plain";
}

/* The body as JSON; NULL after refusing. */
static json_t *
read_body(const struct http_request *r, struct http_reply *reply)
{
    json_error_t error;
    json_t *body = r->body_too_big ? NULL
                                   : json_loadb(str_text(&r->body), r->body.len,
                                                JSON_REJECT_DUPLICATES, &error);
    if (body == NULL) {
        refuse_request(reply, r->body_too_big ? 413 : 400,
                       r->body_too_big ? "the body is too large" : error.text);
    }
    return body;
}

/* Takes `j`. */
static void
add_json(struct str *out, json_t *j)
{
    char *text = json_dumps(j, JSON_COMPACT | JSON_PRESERVE_ORDER);
    str_add(out, text);
    free(text);
    json_decref(j);
}

static void
object_json(struct str *s, const struct obj *o)
{
    jout_open(s, NULL, '{');
    jout_text(s, "id", o->id);
    jout_text(s, "owner", o->owner->id);
    tags_json(s, o);
    if (!obj_is_visible(o)) {
        jout_int(s, "visible_ns", o->visible_ns);
    }
    if (o->kind == K_SESSION) {
        const struct session *x = (const struct session *)o;
        jout_text(s, "eni", x->eni->o.id);
        jout_text(s, "target", x->target->o.id);
        jout_text(s, "filter", x->filter->o.id);
        jout_int(s, "session_number", x->number);
        jout_int(s, "vni", x->vni);
        jout_int(s, "packet_length", x->packet_length);
        jout_text(s, "description", x->description);
    } else if (o->kind == K_TARGET) {
        const struct target *t = (const struct target *)o;
        jout_text(s, "eni", t->eni == NULL ? NULL : t->eni->o.id);
        jout_int(s, "sessions", (int64_t)t->nsessions);
    } else if (o->kind == K_FILTER) {
        const struct filter *f = (const struct filter *)o;
        jout_int(s, "rules", (int64_t)f->nrules);
        jout_bool(s, "amazon_dns", f->amazon_dns);
        jout_int(s, "sessions", (int64_t)f->nsessions);
    }
    jout_close(s, '}');
}

static void
objects_json(struct str *s, const char *key, const struct state *st, enum kind kind)
{
    const struct obj *o;
    jout_open(s, key, '[');
    TAILQ_FOREACH(o, &st->objects[kind], link)
    {
        object_json(s, o);
    }
    jout_close(s, ']');
}

static void
get_objects(struct control *c, const struct http_request *r, struct http_reply *reply)
{
    (void)r;
    struct str *s = &reply->body;
    struct str requests = {0};
    add_json(&requests, api_counts(c->api));
    jout_open(s, NULL, '{');
    pthread_mutex_lock(&c->st->mu);
    objects_json(s, "sessions", c->st, K_SESSION);
    objects_json(s, "filters", c->st, K_FILTER);
    objects_json(s, "targets", c->st, K_TARGET);
    pthread_mutex_unlock(&c->st->mu);
    jout_raw(s, "requests", requests.p);
    jout_close(s, '}');
    str_free(&requests);
}

static void
get_counters(struct control *c, const struct http_request *r, struct http_reply *reply)
{
    (void)r;
    plane_counters(c->plane, &reply->body);
}

static void
get_requests(struct control *c, const struct http_request *r, struct http_reply *reply)
{
    (void)r;
    add_json(&reply->body, api_counts(c->api));
}

static void
get_history(struct control *c, const struct http_request *r, struct http_reply *reply)
{
    unsigned long since = 0;
    char end;
    if (r->query[0] != '\0' && sscanf(r->query, "since=%lu%c", &since, &end) != 1) {
        refuse_request(reply, 400, "only since=NUMBER is known");
        return;
    }
    history_json(c->st, since, &reply->body);
}

static void
get_faults(struct control *c, const struct http_request *r, struct http_reply *reply)
{
    (void)r;
    add_json(&reply->body, faults_json(c->faults));
}

static void
put_faults(struct control *c, const struct http_request *r, struct http_reply *reply)
{
    char why[WHY_MAX];
    json_t *rules = read_body(r, reply);
    if (rules == NULL) {
        return;
    }
    if (faults_replace(c->faults, rules, why, sizeof(why))) {
        get_faults(c, r, reply);
    } else {
        refuse_request(reply, 400, why);
    }
    json_decref(rules);
}

static void
delete_faults(struct control *c, const struct http_request *r, struct http_reply *reply)
{
    char why[WHY_MAX];
    json_t *none = json_array();
    bool good = faults_replace(c->faults, none, why, sizeof(why));
    json_decref(none);
    if (good) {
        get_faults(c, r, reply);
    }
}

static void
post_world(struct control *c, const struct http_request *r, struct http_reply *reply)
{
    char why[WHY_MAX];
    json_t *added = NULL;
    json_t *changes = read_body(r, reply);
    if (changes == NULL) {
        return;
    }
    if (world_change(c->st, c->plane, changes, &added, why, sizeof(why))) {
        json_incref(added);
        add_json(&reply->body, added);
    } else {
        refuse_request(reply, 400, why);
    }
    json_decref(added);
    json_decref(changes);
}

static void
get_shares(struct control *c, const struct http_request *r, struct http_reply *reply)
{
    (void)r;
    pthread_mutex_lock(&c->st->mu);
    json_t *shares = shares_json(c->st);
    pthread_mutex_unlock(&c->st->mu);
    add_json(&reply->body, shares);
}

static void
change_shares(struct control *c, const struct http_request *r, struct http_reply *reply)
{
    char why[WHY_MAX];
    json_t *shares = read_body(r, reply);
    if (shares == NULL) {
        return;
    }
    if (shares_change(c->st, c->plane, shares, strcmp(r->method, "DELETE") == 0, why,
                      sizeof(why))) {
        get_shares(c, r, reply);
    } else {
        refuse_request(reply, 400, why);
    }
    json_decref(shares);
}

static void
get_identity_certificate(struct control *c, const struct http_request *r,
                         struct http_reply *reply)
{
    (void)c, (void)r;
    reply->content_type = "application/x-pem-file";
    if (!identity_certificate(&reply->body)) {
        refuse_request(reply, 500, "no certificate");
    }
}

static const struct {
    const char *method;
    const char *path;
    void (*answer)(struct control *, const struct http_request *, struct http_reply *);
} routes[] = {
    {"GET", "/counters", get_counters},
    {"GET", "/objects", get_objects},
    {"GET", "/requests", get_requests},
    {"GET", "/history", get_history},
    {"POST", "/world", post_world},
    {"GET", "/shares", get_shares},
    {"POST", "/shares", change_shares},
    {"DELETE", "/shares", change_shares},
    {"GET", "/faults", get_faults},
    {"PUT", "/faults", put_faults},
    {"DELETE", "/faults", delete_faults},
    {"GET", "/identity-certificate", get_identity_certificate},
};

void
control_handle(void *arg, const struct http_request *request, struct http_reply *reply)
{
    reply->content_type = "application/json";
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (strcmp(routes[i].method, request->method) == 0 &&
            strcmp(routes[i].path, request->path) == 0) {
            routes[i].answer(arg, request, reply);
            if (reply->status == 200) {
                str_add(&reply->body, "\n");
            }
            return;
        }
    }
    struct str known = {0};
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        str_addf(&known, "%s%s %s", i == 0 ? "" : ", ", routes[i].method, routes[i].path);
    }
    refuse_request(reply, 404, known.p);
    str_free(&known);
}
