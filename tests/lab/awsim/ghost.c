/* Copies of deleted and changed objects, in the order in which describes list them. */
#include "ghost.h"

#include <stdlib.h>
#include <string.h>

struct ghost_values {
    const char *filter; /* lent by the describe, which is const */
    char **text;
    size_t n;
};

static void
free_ghost(struct ghost *g)
{
    for (size_t i = 0; i < g->nvalues; i++) {
        for (size_t k = 0; k < g->values[i].n; k++) {
            free(g->values[i].text[k]);
        }
        free(g->values[i].text);
    }
    free(g->values);
    free(g->xml);
    obj_free(&g->o);
}

static void
keep(struct call *c, const struct describe *d, const struct obj *o, int64_t for_ns)
{
    struct ghost *g = xalloc(sizeof(*g));
    struct str xml = {0};
    g->o.kind = o->kind;
    g->o.seq = o->seq;
    g->o.owner = o->owner;
    memcpy(g->o.id, o->id, sizeof(g->o.id));
    for (size_t i = 0; i < o->ntags; i++) {
        const char *shown = tag_shown(&o->tags[i]);
        if (shown != NULL) {
            tag_set(&g->o, o->tags[i].key, shown);
        }
    }
    g->until_ns = now_ns() + for_ns;
    d->xml(&xml, o);
    g->xml = xml.p;
    for (size_t i = 0; d->filters[i] != NULL; i++) {
        struct values has;
        has.n = 0;
        d->values(o, d->filters[i], &has);
        g->values = xgrow(g->values, (i + 1) * sizeof(*g->values));
        struct ghost_values *v = &g->values[g->nvalues++];
        *v = (struct ghost_values){
            .filter = d->filters[i], .text = xalloc((has.n + 1) * sizeof(char *)), .n = has.n};
        for (size_t k = 0; k < has.n; k++) {
            v->text[k] = xdup(has.text[k]);
        }
    }
    struct obj_list *list = &c->st->ghosts[o->kind];
    struct obj *before = TAILQ_LAST(list, obj_list);
    while (before != NULL && before->seq > g->o.seq) {
        before = TAILQ_PREV(before, obj_list, link);
    }
    if (before == NULL) {
        TAILQ_INSERT_HEAD(list, &g->o, link);
    } else {
        TAILQ_INSERT_AFTER(list, before, &g->o, link);
    }
}

void
ghost_keep(struct call *c, const struct describe *d, const struct obj *o)
{
    struct ghost *changed = ghost_find(c->st, o->kind, o->id);
    if (changed != NULL) {
        TAILQ_REMOVE(&c->st->ghosts[o->kind], &changed->o, link);
        free_ghost(changed);
    }
    if (c->plan.gone_after_ns > 0) {
        keep(c, d, o, c->plan.gone_after_ns);
    }
}

void
ghost_keep_changed(struct call *c, const struct describe *d, const struct obj *o)
{
    if (c->plan.changed_after_ns > 0 && ghost_find(c->st, o->kind, o->id) == NULL) {
        keep(c, d, o, c->plan.changed_after_ns);
    }
}

struct ghost *
ghost_first(struct state *st, enum kind kind)
{
    struct obj_list *list = &st->ghosts[kind];
    int64_t now = TAILQ_EMPTY(list) ? 0 : now_ns();
    struct obj *next;
    for (struct obj *o = TAILQ_FIRST(list); o != NULL; o = next) {
        next = TAILQ_NEXT(o, link);
        if (((struct ghost *)o)->until_ns <= now) {
            TAILQ_REMOVE(list, o, link);
            free_ghost((struct ghost *)o);
        }
    }
    return (struct ghost *)TAILQ_FIRST(list);
}

struct ghost *
ghost_next(struct ghost *g)
{
    return (struct ghost *)TAILQ_NEXT(&g->o, link);
}

struct ghost *
ghost_find(struct state *st, enum kind kind, const char *id)
{
    struct ghost *g = ghost_first(st, kind);
    while (g != NULL && strcmp(g->o.id, id) != 0) {
        g = ghost_next(g);
    }
    return g;
}

void
ghost_values(const struct ghost *g, const char *filter, struct values *out)
{
    for (size_t i = 0; i < g->nvalues; i++) {
        for (size_t k = 0; strcmp(g->values[i].filter, filter) == 0 && k < g->values[i].n;
             k++) {
            value_add(out, g->values[i].text[k]);
        }
    }
}

void
ghosts_free(struct state *st)
{
    for (int kind = 0; kind < K_COUNT; kind++) {
        struct obj *o;
        while ((o = TAILQ_FIRST(&st->ghosts[kind])) != NULL) {
            TAILQ_REMOVE(&st->ghosts[kind], o, link);
            free_ghost((struct ghost *)o);
        }
    }
}
