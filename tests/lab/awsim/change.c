/* Interfaces and instances come, move, stop and go; sessions are deleted by somebody else. */
#include "change.h"

#include <stdio.h>
#include <string.h>

#include "form.h"
#include "mirror.h"
#include "str.h"
#include "world.h"

struct changer {
    struct form form;
    struct state *st;
    struct plane *plane;
    json_t *added;
    uint64_t ticket; /* the data plane has to reach this */
};

static void *
find(struct changer *ch, enum kind kind, const char *id)
{
    void *found = obj_find(ch->st, kind, id);
    if (found == NULL) {
        form_fail(&ch->form, "there is no %s %s", kinds[kind].type, id);
    }
    return found;
}

static void *
named(struct changer *ch, json_t *o, const char *key, enum kind kind)
{
    return find(ch, kind, form_text(&ch->form, o, key, NULL));
}

/* Whatever is mirrored from or to this interface is looked at anew. */
static void
publish(struct changer *ch, struct eni *e)
{
    const struct obj *o;
    uint64_t ticket = plane_publish(ch->plane, e);
    ch->ticket = ticket == 0 ? ch->ticket : ticket;
    if (e->target == NULL || e->target->nsessions == 0) {
        return;
    }
    TAILQ_FOREACH(o, &ch->st->objects[K_SESSION], link)
    {
        const struct session *s = (const struct session *)o;
        if (s->target == e->target) {
            ticket = plane_publish(ch->plane, s->eni);
            ch->ticket = ticket == 0 ? ch->ticket : ticket;
        }
    }
}

static void
detach(struct changer *ch, json_t *o)
{
    struct eni *e = named(ch, o, "detach", K_ENI);
    if (e->instance == NULL) {
        form_fail(&ch->form, "%s is not attached", e->o.id);
    }
    eni_detach(e);
    publish(ch, e);
}

static void
attach(struct changer *ch, json_t *o)
{
    json_t *what = json_object_get(o, "attach");
    form_keys(&ch->form, what, "eni instance device_index");
    struct eni *e = named(ch, what, "eni", K_ENI);
    struct instance *i = named(ch, what, "instance", K_INSTANCE);
    if (e->instance != NULL) {
        form_fail(&ch->form, "%s is attached to %s", e->o.id, e->instance->o.id);
    }
    if (i->nenis == ENIS_PER_INSTANCE || strcmp(i->state, "terminated") == 0) {
        form_fail(&ch->form, "%s takes no interface", i->o.id);
    }
    e->device_index = (int)form_number(&ch->form, what, "device_index", (long)i->nenis);
    snprintf(e->attachment_id, sizeof(e->attachment_id), "eni-attach-%.28s", e->o.id + 4);
    e->instance = i;
    i->enis[i->nenis++] = e;
    publish(ch, e);
}

/* AWS deletes its sessions with it; a target made of it stays, and gets nothing any more. */
static void
drop_interface(struct changer *ch, struct eni *e)
{
    while (e->nsessions > 0) {
        uint64_t ticket = mirror_end_session(ch->st, ch->plane, e->sessions[0], "world");
        ch->ticket = ticket == 0 ? ch->ticket : ticket;
    }
    eni_detach(e);
    obj_remove(ch->st, &e->o);
    TAILQ_INSERT_TAIL(&ch->st->departed, &e->o, link);
    e->gone = true;
    publish(ch, e);
}

static void
delete_interface(struct changer *ch, json_t *o)
{
    drop_interface(ch, named(ch, o, "delete_interface", K_ENI));
}

static void
set_state(struct changer *ch, struct instance *i, const char *state)
{
    static const char *const states[] = {"pending", "running",    "stopping",
                                         "stopped", "terminated", "shutting-down"};
    size_t n = 0;
    while (n < sizeof(states) / sizeof(states[0]) && strcmp(states[n], state) != 0) {
        n++;
    }
    if (n == sizeof(states) / sizeof(states[0])) {
        form_fail(&ch->form, "\"%s\" is no state of an instance", state);
    }
    if (strcmp(i->state, "terminated") == 0) {
        form_fail(&ch->form, "%s is terminated", i->o.id);
    }
    snprintf(i->state, sizeof(i->state), "%s", states[n]);
    if (strcmp(state, "terminated") != 0) {
        for (size_t k = 0; k < i->nenis; k++) {
            publish(ch, i->enis[k]);
        }
        return;
    }
    while (i->nenis > 0) {
        struct eni *e = i->enis[0];
        if (e->device_index == 0) { /* DeleteOnTermination */
            drop_interface(ch, e);
        } else {
            eni_detach(e);
            publish(ch, e);
        }
    }
}

static void
instance_state(struct changer *ch, json_t *o)
{
    const char *id;
    json_t *state;
    json_object_foreach(json_object_get(o, "instance_state"), id, state)
    {
        set_state(ch, find(ch, K_INSTANCE, id), form_item(&ch->form, state, id));
    }
}

static void
instance_type(struct changer *ch, json_t *o)
{
    const char *id;
    json_t *type;
    json_object_foreach(json_object_get(o, "instance_type"), id, type)
    {
        struct instance *i = find(ch, K_INSTANCE, id);
        form_copy(&ch->form, json_object_get(o, "instance_type"), id, NULL, i->type,
                  sizeof(i->type));
        for (size_t k = 0; k < i->nenis; k++) {
            publish(ch, i->enis[k]);
        }
    }
}

static void
skip_mirror(struct changer *ch, json_t *o)
{
    const char *id;
    json_t *every;
    json_object_foreach(json_object_get(o, "skip_mirror"), id, every)
    {
        long n = form_number(&ch->form, json_object_get(o, "skip_mirror"), id, 0);
        if (n < 0 || n > 1000000) {
            form_fail(&ch->form, "every 1st to 1000000th frame, or 0");
        }
        if (!plane_skip(find(ch, K_ENI, id), (unsigned)n)) {
            form_fail(&ch->form, "%s has no port", id);
        }
    }
}

static void
metric_delay(struct changer *ch, json_t *o)
{
    ch->st->metric_delay_s = form_number(&ch->form, o, "metric_delay_s", -1);
}

static void
delete_session(struct changer *ch, json_t *o)
{
    struct session *s = named(ch, o, "delete_session", K_SESSION);
    uint64_t ticket = mirror_end_session(ch->st, ch->plane, s, "world");
    ch->ticket = ticket == 0 ? ch->ticket : ticket;
}

static void
list_added(struct changer *ch, uint64_t since, enum kind kind, const char *key)
{
    const struct obj *o;
    json_t *ids = json_object_get(ch->added, key);
    if (ids == NULL) {
        ids = json_array();
        json_object_set_new(ch->added, key, ids);
    }
    TAILQ_FOREACH(o, &ch->st->objects[kind], link)
    {
        if (o->seq > since) {
            json_array_append_new(ids, json_string(o->id));
        }
    }
}

static void
add(struct changer *ch, json_t *o)
{
    char why[512];
    uint64_t before = ch->st->seq;
    struct obj *e;
    if (!world_add(ch->st, json_object_get(o, "add"), why, sizeof(why))) {
        form_fail(&ch->form, "%s", why);
    }
    TAILQ_FOREACH(e, &ch->st->objects[K_ENI], link)
    {
        const char *port = ((struct eni *)e)->port;
        if (e->seq > before && port[0] != '\0' && if_nametoindex(port) == 0) {
            snprintf(why, sizeof(why), "there is no port %s", port);
            world_undo(ch->st, before);
            form_fail(&ch->form, "%s", why);
        }
    }
    TAILQ_FOREACH(e, &ch->st->objects[K_ENI], link)
    {
        if (e->seq > before && !plane_add(ch->plane, (struct eni *)e, why, sizeof(why))) {
            form_fail(&ch->form, "%s", why); /* the port has just gone: it stays without */
        }
    }
    list_added(ch, before, K_INSTANCE, "instances");
    list_added(ch, before, K_ENI, "enis");
}

static const struct {
    const char *key;
    void (*change)(struct changer *, json_t *);
} changes_known[] = {
    {"add", add},
    {"attach", attach},
    {"detach", detach},
    {"delete_interface", delete_interface},
    {"delete_session", delete_session},
    {"instance_state", instance_state},
    {"instance_type", instance_type},
    {"skip_mirror", skip_mirror},
    {"metric_delay_s", metric_delay},
};

static void
change_once(struct changer *ch, json_t *o)
{
    struct str known = {0};
    char names[256];
    size_t n = sizeof(changes_known) / sizeof(changes_known[0]);
    for (size_t i = 0; i < n; i++) {
        str_addf(&known, "%s%s", i == 0 ? "" : " ", changes_known[i].key);
    }
    snprintf(names, sizeof(names), "%s", known.p);
    str_free(&known);
    form_keys(&ch->form, o, names);
    for (size_t i = 0; i < n; i++) {
        if (json_object_get(o, changes_known[i].key) != NULL) {
            ch->form.where = changes_known[i].key;
            changes_known[i].change(ch, o);
        }
    }
}

bool
world_change(struct state *st, struct plane *plane, json_t *changes, json_t **out_added,
             char *why, size_t why_size)
{
    static struct changer ch; /* guarded by the state's lock; survives the longjmp */
    volatile bool good = false;
    why[0] = '\0';
    pthread_mutex_lock(&st->mu);
    ch = (struct changer){.form = {.where = "world", .why = why, .why_size = why_size},
                          .st = st,
                          .plane = plane,
                          .added = json_object()};
    if (setjmp(ch.form.failed) == 0) {
        json_t *one;
        size_t i;
        json_array_foreach(changes, i, one)
        {
            change_once(&ch, one);
        }
        if (!json_is_array(changes)) {
            change_once(&ch, changes);
        }
        good = true;
    }
    uint64_t ticket = ch.ticket;
    *out_added = ch.added;
    pthread_mutex_unlock(&st->mu);
    if (ticket != 0) {
        plane_wait(plane, ticket);
    }
    return good;
}
