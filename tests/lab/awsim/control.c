/* GET /counters and GET /objects.  Rules for faults will be one more row of the table. */
#include "control.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static json_t *
tags_json(const struct obj *o)
{
    json_t *tags = json_object();
    for (size_t i = 0; i < o->ntags; i++) {
        json_object_set_new(tags, o->tags[i].key, json_string(o->tags[i].value));
    }
    return tags;
}

static json_t *
object_json(const struct obj *o)
{
    json_t *j =
        json_pack("{s:s,s:s,s:o}", "id", o->id, "owner", o->owner->id, "tags", tags_json(o));
    if (o->kind == K_SESSION) {
        const struct session *s = (const struct session *)o;
        json_object_set_new(j, "eni", json_string(s->eni->o.id));
        json_object_set_new(j, "target", json_string(s->target->o.id));
        json_object_set_new(j, "filter", json_string(s->filter->o.id));
        json_object_set_new(j, "session_number", json_integer(s->number));
        json_object_set_new(j, "vni", json_integer(s->vni));
        json_object_set_new(j, "packet_length", json_integer(s->packet_length));
        json_object_set_new(j, "description",
                            s->description == NULL ? json_null() : json_string(s->description));
    } else if (o->kind == K_TARGET) {
        const struct target *t = (const struct target *)o;
        json_object_set_new(j, "eni", t->eni == NULL ? json_null() : json_string(t->eni->o.id));
        json_object_set_new(j, "sessions", json_integer((json_int_t)t->nsessions));
    } else if (o->kind == K_FILTER) {
        const struct filter *f = (const struct filter *)o;
        json_object_set_new(j, "rules", json_integer((json_int_t)f->nrules));
        json_object_set_new(j, "amazon_dns", json_boolean(f->amazon_dns));
        json_object_set_new(j, "sessions", json_integer((json_int_t)f->nsessions));
    }
    return j;
}

static json_t *
objects_json(const struct state *st, enum kind kind)
{
    json_t *list = json_array();
    const struct obj *o;
    TAILQ_FOREACH(o, &st->objects[kind], link)
    {
        json_array_append_new(list, object_json(o));
    }
    return list;
}

static json_t *
get_objects(struct control *c)
{
    pthread_mutex_lock(&c->st->mu);
    json_t *j =
        json_pack("{s:o,s:o,s:o}", "sessions", objects_json(c->st, K_SESSION), "filters",
                  objects_json(c->st, K_FILTER), "targets", objects_json(c->st, K_TARGET));
    pthread_mutex_unlock(&c->st->mu);
    json_object_set_new(j, "requests", api_counts(c->api));
    return j;
}

static json_t *
get_counters(struct control *c)
{
    return plane_counters(c->plane);
}

static const struct {
    const char *method;
    const char *path;
    json_t *(*answer)(struct control *);
} routes[] = {
    {"GET", "/counters", get_counters},
    {"GET", "/objects", get_objects},
};

void
control_handle(void *arg, const struct http_request *request, struct http_reply *reply)
{
    reply->status = 404;
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (strcmp(routes[i].method, request->method) == 0 &&
            strcmp(routes[i].path, request->path) == 0) {
            json_t *j = routes[i].answer(arg);
            char *text = json_dumps(j, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
            str_add(&reply->body, text);
            str_add(&reply->body, "\n");
            free(text);
            json_decref(j);
            reply->status = 200;
            reply->content_type = "application/json";
            return;
        }
    }
    str_add(&reply->body, "GET /counters or GET /objects\n");
}
