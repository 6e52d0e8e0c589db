/* CreateTags, DeleteTags, DescribeTags. */
#include "call.h"

#include <string.h>

#include "describe.h"
#include "history.h"

#define RESOURCES_MAX 1000

/* Resolve every ResourceId before anything is touched; NULL after refusing. */
static bool
check_resources(struct call *c)
{
    size_t n;
    const struct arg *ids = arg_list(&c->query, "ResourceId.#", &n);
    if (n > RESOURCES_MAX) {
        return fail(c, 400, "InvalidParameterValue", "At most %d resources may be named",
                    RESOURCES_MAX);
    }
    for (size_t i = 0; i < n; i++) {
        enum kind kind = id_kind(ids[i].value);
        if (kind == K_COUNT) {
            return fail(c, 400, "InvalidID", "The ID '%.64s' is not valid", ids[i].value);
        }
        if (!id_is_well_formed(kind, ids[i].value)) {
            return fail(c, 400, kinds[kind].malformed, "Invalid id: \"%.64s\"", ids[i].value);
        }
        if (call_object_by_id(c, kind, ids[i].value) == NULL) {
            return false;
        }
    }
    return true;
}

/* The value that goes with a key; NULL when there is none. */
static const char *
value_for(const struct call *c, long index)
{
    size_t n;
    const struct arg *values = arg_list(&c->query, "Tag.#.Value", &n);
    for (size_t i = 0; i < n; i++) {
        if (values[i].index[0] == index) {
            return values[i].value;
        }
    }
    return NULL;
}

static void
record_tags(const struct call *c)
{
    size_t n;
    const struct arg *ids = arg_list(&c->query, "ResourceId.#", &n);
    for (size_t i = 0; i < n; i++) {
        history_add(c->st, "tags", map_get(&c->st->ids, ids[i].value), c->signer.arn, NULL);
    }
}

static bool
create_tags(struct call *c)
{
    size_t nids;
    size_t nkeys;
    const struct arg *ids = arg_list(&c->query, "ResourceId.#", &nids);
    const struct arg *keys = arg_list(&c->query, "Tag.#.Key", &nkeys);
    for (size_t k = 0; k < nkeys; k++) {
        const char *value = value_for(c, keys[k].index[0]);
        if (!tag_key_check(c, keys[k].value) || (value != NULL && !tag_value_check(c, value))) {
            return false;
        }
        for (size_t i = 0; i < k; i++) {
            if (strcmp(keys[i].value, keys[k].value) == 0) {
                return fail(c, 400, "InvalidParameterValue",
                            "Duplicate tag key '%.128s' specified.", keys[k].value);
            }
        }
    }
    if (!check_resources(c)) {
        return false;
    }
    for (size_t i = 0; i < nids; i++) {
        const struct obj *o = map_get(&c->st->ids, ids[i].value);
        size_t after = o->ntags;
        for (size_t k = 0; k < nkeys; k++) {
            after += tag_value(o, keys[k].value) == NULL;
        }
        if (after > TAGS_PER_RESOURCE) {
            return fail(c, 400, "TagLimitExceeded",
                        "The resource '%s' would have more than %d tags", o->id,
                        TAGS_PER_RESOURCE);
        }
    }
    if (!call_may_proceed(c)) {
        return false;
    }
    for (size_t i = 0; i < nids; i++) {
        for (size_t k = 0; k < nkeys; k++) {
            const char *value = value_for(c, keys[k].index[0]);
            tag_set_late(map_get(&c->st->ids, ids[i].value), keys[k].value,
                         value == NULL ? "" : value, c->plan.tags_after_ns);
        }
    }
    record_tags(c);
    xml_bool(&c->out, "return", true);
    return true;
}

static bool
delete_tags(struct call *c)
{
    size_t nids;
    size_t nkeys;
    const struct arg *ids = arg_list(&c->query, "ResourceId.#", &nids);
    const struct arg *keys = arg_list(&c->query, "Tag.#.Key", &nkeys);
    for (size_t k = 0; k < nkeys; k++) {
        if (!tag_key_check(c, keys[k].value)) {
            return false;
        }
    }
    if (!check_resources(c) || !call_may_proceed(c)) {
        return false;
    }
    for (size_t i = 0; i < nids; i++) {
        struct obj *o = map_get(&c->st->ids, ids[i].value);
        while (nkeys == 0 && o->ntags > 0) { /* no tags named: all of them */
            tag_delete(o, o->tags[0].key);
        }
        for (size_t k = 0; k < nkeys; k++) {
            const char *only = value_for(c, keys[k].index[0]);
            const char *has = tag_value(o, keys[k].value);
            if (has != NULL && (only == NULL || strcmp(only, has) == 0)) {
                tag_delete(o, keys[k].value);
            }
        }
    }
    record_tags(c);
    xml_bool(&c->out, "return", true);
    return true;
}

struct tagged {
    const struct obj *o;
    const struct tag *tag;
};

static void
tag_values(const void *item, const char *filter, struct values *out)
{
    const struct tagged *t = item;
    if (strcmp(filter, "key") == 0) {
        value_add(out, t->tag->key);
    } else if (strcmp(filter, "value") == 0) {
        value_add(out, tag_shown(t->tag));
    } else if (strcmp(filter, "resource-id") == 0) {
        value_add(out, t->o->id);
    } else if (strcmp(filter, "resource-type") == 0) {
        value_add(out, kinds[t->o->kind].type);
    } else if (strncmp(filter, "tag:", 4) == 0 && strcmp(filter + 4, t->tag->key) == 0) {
        value_add(out, tag_shown(t->tag));
    }
}

/* Pages end between resources or between tags: a token is the resource's order and a tag. */
static bool
describe_tags(struct call *c)
{
    static const char *const names[] = {"key", "resource-id", "resource-type", "value", NULL};
    uint64_t after;
    size_t size;
    /* tag:<key> is documented, tag-key is not */
    size_t nnames;
    const struct arg *filters = arg_list(&c->query, "Filter.#.Name", &nnames);
    for (size_t i = 0; i < nnames; i++) {
        if (strcmp(filters[i].value, "tag-key") == 0) {
            return fail(c, 400, "InvalidParameterValue", "The filter 'tag-key' is invalid");
        }
    }
    if (!filters_check(c, names, true) || !page_begin(c, 1000, false, &after, &size) ||
        !call_may_proceed(c)) {
        return false;
    }
    xml_open(&c->out, "tagSet");
    size_t n = 0;
    bool more = false;
    uint64_t last = 0;
    for (int kind = 0; kind < K_COUNT && !more; kind++) {
        const struct obj *o;
        TAILQ_FOREACH(o, &c->st->objects[kind], link)
        {
            if (o->owner != c->signer.account || !obj_is_visible(o)) {
                continue;
            }
            for (size_t t = 0; t < o->ntags && !more; t++) {
                struct tagged item = {o, &o->tags[t]};
                uint64_t place = ((uint64_t)kind << 56) | (o->seq << 8) | (uint64_t)(t + 1);
                if (place <= after || tag_shown(item.tag) == NULL ||
                    !filters_match(c, &item, NULL, tag_values)) {
                    continue;
                }
                if (n == size) {
                    more = true;
                    break;
                }
                xml_open(&c->out, "item");
                xml_text(&c->out, "resourceId", o->id);
                xml_text(&c->out, "resourceType", kinds[kind].type);
                xml_text(&c->out, "key", item.tag->key);
                xml_text(&c->out, "value", tag_shown(item.tag));
                xml_close(&c->out, "item");
                last = place;
                n++;
            }
        }
    }
    xml_close(&c->out, "tagSet");
    if (more) {
        page_next_token(c, last);
    }
    return true;
}

static const struct param change_params[] = {
    {.path = "ResourceId.#", .type = P_TEXT, .required = true},
    {.path = "Tag.#.Key", .type = P_TEXT, .required = true},
    {.path = "Tag.#.Value", .type = P_TEXT},
    {.path = "DryRun", .type = P_BOOL},
    {.path = NULL}};
static const struct param delete_params[] = {
    {.path = "ResourceId.#", .type = P_TEXT, .required = true},
    {.path = "Tag.#.Key", .type = P_TEXT},
    {.path = "Tag.#.Value", .type = P_TEXT},
    {.path = "DryRun", .type = P_BOOL},
    {.path = NULL}};
static const struct param describe_params[] = {
    DESCRIBE_PARAMS, MAX_RESULTS(1000), {.path = NULL}};

const struct action ec2_tag_actions[] = {
    {"CreateTags", SERVICE_EC2, change_params, create_tags, false},
    {"DeleteTags", SERVICE_EC2, delete_params, delete_tags, false},
    {"DescribeTags", SERVICE_EC2, describe_params, describe_tags, false},
    {NULL, SERVICE_EC2, NULL, NULL, false}};
