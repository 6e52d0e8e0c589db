/* One record for each target, or all of an owner's, and each account that may use it. */
#include "share.h"

#include <stdlib.h>
#include <string.h>

#include "str.h"

struct share {
    struct share *next;
    const struct account *owner;
    char target[ID_MAX]; /* "": all that the owner has, also later */
    const struct account *with;
};

bool
target_is_open_to(const struct state *st, const struct target *t, const struct account *a)
{
    if (t->o.owner == a) {
        return true;
    }
    for (const struct share *s = st->shares; s != NULL; s = s->next) {
        if (s->with == a && s->owner == t->o.owner &&
            (s->target[0] == '\0' || strcmp(s->target, t->o.id) == 0)) {
            return true;
        }
    }
    return false;
}

bool
account_sees(const struct state *st, const struct account *a, const struct obj *o)
{
    return o->owner == a ||
           (o->kind == K_TARGET && target_is_open_to(st, (const struct target *)o, a)) ||
           (o->kind == K_SESSION && ((const struct session *)o)->target->o.owner == a);
}

static struct account *
account_named(struct form *f, const struct state *st, const char *id)
{
    struct account *a = account_find(st, id);
    if (a == NULL) {
        form_fail(f, "there is no account %s", id);
    }
    return a;
}

static struct share **
find(struct state *st, const struct share *like)
{
    struct share **at = &st->shares;
    while (*at != NULL && ((*at)->owner != like->owner || (*at)->with != like->with ||
                           strcmp((*at)->target, like->target) != 0)) {
        at = &(*at)->next;
    }
    return at;
}

static void
change_one(struct form *f, struct state *st, json_t *j, bool end)
{
    struct share like = {0};
    json_t *with;
    size_t i;
    form_keys(f, j, "target_owner target with");
    form_copy(f, j, "target", "", like.target, sizeof(like.target));
    const char *owner = form_text(f, j, "target_owner", "");
    if ((owner[0] == '\0') == (like.target[0] == '\0')) {
        form_fail(f, "either \"target_owner\" or \"target\" is needed");
    }
    if (like.target[0] != '\0') {
        const struct obj *t = obj_find(st, K_TARGET, like.target);
        if (t == NULL) {
            form_fail(f, "there is no target %s", like.target);
        }
        like.owner = t->owner;
    } else {
        like.owner = account_named(f, st, owner);
    }
    json_array_foreach(form_list(f, j, "with"), i, with)
    {
        like.with = account_named(f, st, form_item(f, with, "with"));
        struct share **at = find(st, &like);
        if (end && *at != NULL) {
            struct share *old = *at;
            *at = old->next;
            free(old);
        } else if (!end && *at == NULL) {
            *at = xalloc(sizeof(like));
            **at = like;
        }
    }
}

static void
change_all(struct form *f, struct state *st, json_t *shares, bool end)
{
    json_t *j;
    size_t i;
    f->where = "shares";
    json_array_foreach(shares, i, j)
    {
        change_one(f, st, j, end);
    }
    if (!json_is_array(shares)) {
        change_one(f, st, shares, end);
    }
}

void
shares_read(struct form *f, struct state *st, json_t *shares)
{
    change_all(f, st, shares, false);
}

/* Sessions to targets of others may be cut off now, or no longer. */
static uint64_t
publish_foreign(const struct state *st, struct plane *plane)
{
    uint64_t last = 0;
    const struct obj *o;
    TAILQ_FOREACH(o, &st->objects[K_SESSION], link)
    {
        const struct session *s = (const struct session *)o;
        uint64_t ticket = s->target->o.owner == o->owner ? 0 : plane_publish(plane, s->eni);
        last = ticket == 0 ? last : ticket;
    }
    return last;
}

bool
shares_change(struct state *st, struct plane *plane, json_t *shares, bool end, char *why,
              size_t why_size)
{
    struct form f = {.why = why, .why_size = why_size};
    volatile bool good = false;
    why[0] = '\0';
    pthread_mutex_lock(&st->mu);
    if (setjmp(f.failed) == 0) {
        change_all(&f, st, shares, end);
        good = true;
    }
    uint64_t ticket = publish_foreign(st, plane);
    pthread_mutex_unlock(&st->mu);
    if (ticket != 0) {
        plane_wait(plane, ticket);
    }
    return good;
}

json_t *
shares_json(const struct state *st)
{
    json_t *list = json_array();
    for (const struct share *s = st->shares; s != NULL; s = s->next) {
        bool all = s->target[0] == '\0';
        json_array_append_new(list,
                              json_pack("{s:s,s:[s]}", all ? "target_owner" : "target",
                                        all ? s->owner->id : s->target, "with", s->with->id));
    }
    return list;
}

void
shares_free(struct state *st)
{
    while (st->shares != NULL) {
        struct share *next = st->shares->next;
        free(st->shares);
        st->shares = next;
    }
}
