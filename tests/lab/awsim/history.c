/* Events are texts from the moment they happen: what they tell of may be gone a moment later.
 */
#include "history.h"

#include <stdlib.h>

#include "jout.h"

void
tags_json(struct str *s, const struct obj *o)
{
    jout_open(s, "tags", '{');
    for (size_t i = 0; i < o->ntags; i++) {
        jout_text(s, o->tags[i].key, o->tags[i].value);
    }
    jout_close(s, '}');
}

static void
begin(struct state *st, struct str *s, const char *event, const char *kind)
{
    jout_open(s, NULL, '{');
    jout_int(s, "n", (int64_t)st->nevents + 1);
    jout_int(s, "time_ns", now_ns());
    jout_text(s, "event", event);
    jout_text(s, "kind", kind);
}

/* Takes what `s` holds. */
static void
end(struct state *st, struct str *s)
{
    jout_close(s, '}');
    if ((st->nevents & 1023) == 0) {
        st->events = xgrow(st->events, (st->nevents + 1024) * sizeof(char *));
    }
    st->events[st->nevents++] = s->p;
}

void
history_add_metric(struct state *st, const char *account, const char *name_space,
                   const char *metric, const char *dimensions, const char *value)
{
    struct str s = {0};
    begin(st, &s, "published", "metric");
    jout_text(&s, "account", account);
    jout_text(&s, "namespace", name_space);
    jout_text(&s, "metric", metric);
    jout_text(&s, "dimensions", dimensions);
    jout_text(&s, "value", value);
    end(st, &s);
}

void
history_add(struct state *st, const char *event, const struct obj *o, const char *by,
            const char *token)
{
    struct str s = {0};
    static const char *const names[K_COUNT] = {
        [K_TARGET] = "target", [K_FILTER] = "filter", [K_SESSION] = "session"};
    if (names[o->kind] == NULL) {
        return;
    }
    begin(st, &s, event, names[o->kind]);
    jout_text(&s, "id", o->id);
    jout_text(&s, "account", o->owner->id);
    if (o->kind == K_SESSION) {
        const struct session *x = (const struct session *)o;
        jout_text(&s, "eni", x->eni->o.id);
        jout_text(&s, "target", x->target->o.id);
        jout_text(&s, "filter", x->filter->o.id);
        jout_int(&s, "session_number", x->number);
        jout_int(&s, "vni", x->vni);
    } else if (o->kind == K_TARGET) {
        const struct target *t = (const struct target *)o;
        jout_text(&s, "eni", t->eni == NULL ? NULL : t->eni->o.id);
    }
    tags_json(&s, o);
    jout_text(&s, "client_token", token);
    jout_text(&s, "by", by);
    end(st, &s);
}

void
history_json(struct state *st, size_t since, struct str *out)
{
    pthread_mutex_lock(&st->mu);
    size_t n = st->nevents;
    since = since > n ? n : since;
    char **events = xalloc((n - since + 1) * sizeof(char *));
    for (size_t i = since; i < n; i++) {
        events[i - since] = st->events[i]; /* neither changed nor freed until the end */
    }
    long long now = now_ns();
    pthread_mutex_unlock(&st->mu);
    jout_open(out, NULL, '{');
    jout_int(out, "now_ns", now);
    jout_int(out, "last", (int64_t)n);
    jout_open(out, "events", '[');
    for (size_t i = 0; i < n - since; i++) {
        jout_raw(out, NULL, events[i]);
    }
    jout_close(out, ']');
    jout_close(out, '}');
    free(events);
}

void
history_free(struct state *st)
{
    for (size_t i = 0; i < st->nevents; i++) {
        free(st->events[i]);
    }
    free(st->events);
    st->events = NULL;
    st->nevents = 0;
}
