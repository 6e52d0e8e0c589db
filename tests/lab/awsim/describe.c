/*
 * Filters (AND between names, OR between values, * and ? with \ to escape) and pages.
 *
 * A NextToken says after which object to go on and carries a hash of the question, so it is
 * good for that question only, and stays good while objects come and go.
 */
#include "ghost.h"
#include "share.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILTER_VALUES_MAX 200

void
value_add(struct values *v, const char *text)
{
    if (text != NULL && v->n < 64) {
        v->text[v->n++] = text;
    }
}

void
value_int(struct values *v, long long value)
{
    if (v->n < 64) {
        snprintf(v->room[v->n], IP_TEXT_MAX, "%lld", value);
        v->text[v->n] = v->room[v->n];
        v->n++;
    }
}

void
value_bool(struct values *v, bool value)
{
    value_add(v, value ? "true" : "false");
}

void
value_cidr(struct values *v, const struct cidr *c)
{
    if (v->n < 64 && c->base.family != 0) {
        v->text[v->n] = cidr_text(c, v->room[v->n]);
        v->n++;
    }
}

void
value_ip(struct values *v, const struct ip *ip)
{
    if (v->n < 64 && ip->family != 0) {
        v->text[v->n] = ip_text(ip, v->room[v->n]);
        v->n++;
    }
}

bool
wildcard_match(const char *pattern, const char *text)
{
    const char *star = NULL; /* the last one, to come back to */
    const char *from = NULL;
    while (*text != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            from = text;
            continue;
        }
        const char *p = pattern;
        bool literal = *p == '\\' && p[1] != '\0';
        p += literal;
        if (*p != '\0' && (*p == *text || (!literal && *p == '?'))) {
            pattern = p + 1;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = ++from;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

static bool
is_known_filter(const char *name, const char *const *names, bool tag_filters)
{
    if (tag_filters && (strcmp(name, "tag-key") == 0 || strncmp(name, "tag:", 4) == 0)) {
        return true;
    }
    for (; *names != NULL; names++) {
        if (strcmp(*names, name) == 0) {
            return true;
        }
    }
    return false;
}

bool
filters_check(struct call *c, const char *const *names, bool tag_filters)
{
    size_t nnames;
    size_t nvalues;
    const struct arg *n = arg_list(&c->query, "Filter.#.Name", &nnames);
    const struct arg *v = arg_list(&c->query, "Filter.#.Value.#", &nvalues);
    if (nvalues > FILTER_VALUES_MAX) {
        return fail(c, 400, "FilterLimitExceeded",
                    "The maximum number of filter values specified on a single call is %d",
                    FILTER_VALUES_MAX);
    }
    for (size_t i = 0; i < nnames; i++) {
        if (!is_known_filter(n[i].value, names, tag_filters)) {
            return fail(c, 400, "InvalidParameterValue", "The filter '%.64s' is invalid",
                        n[i].value);
        }
        size_t k = 0;
        while (k < nvalues && v[k].index[0] != n[i].index[0]) {
            k++;
        }
        if (k == nvalues) {
            return fail(c, 400, "InvalidParameterValue",
                        "The filter '%.64s' must have at least one value", n[i].value);
        }
    }
    for (size_t k = 0; k < nvalues; k++) {
        size_t i = 0;
        while (i < nnames && n[i].index[0] != v[k].index[0]) {
            i++;
        }
        if (i == nnames) {
            return fail(c, 400, "InvalidParameterValue", "The filter 'null' is invalid");
        }
    }
    return true;
}

bool
filters_match(const struct call *c, const void *item, const struct obj *tagged,
              void (*value_of)(const void *item, const char *filter, struct values *out))
{
    size_t nnames;
    size_t nvalues;
    const struct arg *n = arg_list(&c->query, "Filter.#.Name", &nnames);
    const struct arg *v = arg_list(&c->query, "Filter.#.Value.#", &nvalues);
    for (size_t i = 0; i < nnames; i++) {
        struct values has;
        has.n = 0;
        if (tagged != NULL && strncmp(n[i].value, "tag:", 4) == 0) {
            for (size_t t = 0; t < tagged->ntags; t++) {
                if (strcmp(tagged->tags[t].key, n[i].value + 4) == 0) {
                    value_add(&has, tag_shown(&tagged->tags[t]));
                }
            }
        } else if (tagged != NULL && strcmp(n[i].value, "tag-key") == 0) {
            for (size_t t = 0; t < tagged->ntags; t++) {
                value_add(&has,
                          tag_shown(&tagged->tags[t]) == NULL ? NULL : tagged->tags[t].key);
            }
        } else {
            value_of(item, n[i].value, &has);
        }
        bool any = false;
        for (size_t k = 0; k < nvalues && !any; k++) {
            for (size_t h = 0; v[k].index[0] == n[i].index[0] && h < has.n && !any; h++) {
                any = wildcard_match(v[k].value, has.text[h]);
            }
        }
        if (!any) {
            return false;
        }
    }
    return true;
}

/* What the token is good for: account, action and filters. */
static void
question_hash(const struct call *c, char out[17])
{
    struct str all = {0};
    unsigned char hash[32];
    str_addf(&all, "%s/%s", c->signer.account->id, c->action->name);
    for (size_t i = 0; i < c->query.n; i++) {
        const struct arg *a = &c->query.args[i];
        if (strcmp(a->name, "NextToken") != 0 && strcmp(a->name, "MaxResults") != 0 &&
            strcmp(a->name, "DryRun") != 0) {
            str_addf(&all, "&%s=%s", a->name, a->value);
        }
    }
    SHA256((const unsigned char *)all.p, all.len, hash);
    str_free(&all);
    for (int i = 0; i < 8; i++) {
        snprintf(out + 2 * i, 3, "%02x", hash[i]);
    }
}

bool
page_begin(struct call *c, long page_max, bool ids_given, uint64_t *out_after, size_t *out_size)
{
    long size = page_max;
    bool sized = arg_int(&c->query, "MaxResults", &size);
    const char *token = arg_text(&c->query, "NextToken");
    if (ids_given && (sized || token != NULL)) {
        return fail(c, 400, "InvalidParameterCombination",
                    "The parameter %s cannot be used with the parameter MaxResults", "ids");
    }
    *out_after = 0;
    *out_size = (size_t)size;
    if (token != NULL) {
        char hash[17];
        unsigned long long after;
        char end;
        question_hash(c, hash);
        if (strncmp(token, hash, 16) != 0 || token[16] != '.' ||
            sscanf(token + 17, "%llx%c", &after, &end) != 1) {
            return fail(c, 400, "InvalidParameterValue",
                        "Value ( %.64s ) for parameter nextToken is invalid", token);
        }
        *out_after = after;
    }
    return true;
}

void
page_next_token(struct call *c, uint64_t after)
{
    char hash[17];
    char token[64];
    question_hash(c, hash);
    snprintf(token, sizeof(token), "%s.%llx", hash, (unsigned long long)after);
    xml_text(&c->out, "nextToken", token);
}

/* filters_match wants one untyped function; this carries the object and its description. */
struct item {
    const struct describe *d;
    const struct obj *o;
    const struct ghost *ghost; /* instead of a live object; `o` is its own */
};

static void
item_values(const void *p, const char *filter, struct values *out)
{
    const struct item *item = p;
    if (item->ghost != NULL) {
        ghost_values(item->ghost, filter, out);
    } else {
        item->d->values(item->o, filter, out);
    }
}

static bool
sees(const struct call *c, const struct item *item)
{
    const struct describe *d = item->d;
    const struct obj *o = item->o;
    return obj_is_visible(o) &&
           (o->owner == c->signer.account || (d->foreign_xml != NULL && item->ghost == NULL &&
                                              account_sees(c->st, c->signer.account, o)));
}

static bool
is_within(const struct call *c, const struct item *item)
{
    const struct describe *d = item->d;
    const char *wanted = d->within == NULL ? NULL : arg_text(&c->query, d->within);
    struct values has;
    has.n = 0;
    if (wanted == NULL) {
        return true;
    }
    item_values(item, d->within_filter, &has);
    return has.n == 1 && strcmp(has.text[0], wanted) == 0;
}

static bool
add_item(struct call *c, const struct item *item)
{
    const struct describe *d = item->d;
    const struct obj *o = item->o;
    static const struct obj untagged; /* how others see it */
    bool mine = o->owner == c->signer.account;
    if (!is_within(c, item) || !sees(c, item) ||
        !filters_match(c, item, d->tag_filters ? (mine ? o : &untagged) : NULL, item_values)) {
        return false;
    }
    xml_open(&c->out, "item");
    if (item->ghost != NULL) {
        str_add(&c->out, item->ghost->xml);
    } else if (mine) {
        d->xml(&c->out, o);
    } else {
        d->foreign_xml(&c->out, o);
    }
    xml_close(&c->out, "item");
    return true;
}

/* A ghost, or live; `o` is NULL when there is neither. */
static struct item
find_item(const struct call *c, const struct describe *d, const char *id)
{
    struct item item = {.d = d, .ghost = ghost_find(c->st, d->kind, id)};
    item.o = item.ghost != NULL ? &item.ghost->o : obj_find(c->st, d->kind, id);
    return item;
}

static bool
add_by_ids(struct call *c, const struct describe *d, const struct arg *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct item item = find_item(c, d, ids[i].value);
        if (item.o == NULL || !sees(c, &item)) {
            return fail_not_found(c, d->kind, ids[i].value);
        }
    }
    for (size_t i = 0; i < n; i++) {
        bool again = false;
        for (size_t k = 0; k < i; k++) {
            again = again || strcmp(ids[i].value, ids[k].value) == 0;
        }
        if (!again) {
            struct item item = find_item(c, d, ids[i].value);
            add_item(c, &item);
        }
    }
    return true;
}

bool
describe(struct call *c, const struct describe *d)
{
    size_t nids = 0;
    const struct arg *ids = d->ids == NULL ? NULL : arg_list(&c->query, d->ids, &nids);
    uint64_t after;
    size_t size;
    if (!filters_check(c, d->filters, d->tag_filters) ||
        !page_begin(c, d->page_max, nids > 0, &after, &size) || !call_may_proceed(c)) {
        return false;
    }
    const char *within = d->within == NULL ? NULL : arg_text(&c->query, d->within);
    if (within != NULL && call_object_by_id(c, d->within_kind, within) == NULL) {
        return false;
    }
    xml_open(&c->out, d->set);
    if (nids > 0) {
        if (!add_by_ids(c, d, ids, nids)) {
            return false;
        }
        xml_close(&c->out, d->set);
        return true;
    }
    uint64_t last = 0;
    size_t n = 0;
    bool more = false;
    const struct obj *o = TAILQ_FIRST(&c->st->objects[d->kind]);
    struct ghost *ghost = ghost_first(c->st, d->kind);
    while (o != NULL || ghost != NULL) { /* both are in order of creation */
        struct item item = {.d = d, .o = o};
        if (o == NULL || (ghost != NULL && ghost->o.seq <= o->seq)) {
            if (o != NULL && ghost->o.seq == o->seq) {
                o = TAILQ_NEXT(o, link); /* changed, and not shown so yet */
            }
            item.o = &ghost->o;
            item.ghost = ghost;
            ghost = ghost_next(ghost);
        } else {
            o = TAILQ_NEXT(o, link);
        }
        if (item.o->seq <= after) {
            continue;
        }
        if (n == size) {
            more = true; /* whether anything that fits follows is not looked at: nor by EC2 */
            break;
        }
        if (add_item(c, &item)) {
            n++;
        }
        last = item.o->seq;
    }
    xml_close(&c->out, d->set);
    if (more) {
        page_next_token(c, last);
    }
    return true;
}
