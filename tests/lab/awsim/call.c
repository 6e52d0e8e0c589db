/* What handlers share: refusing, finding objects, permissions, DryRun, tags in a create. */
#include "call.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "history.h"
#include "share.h"

bool
fail(struct call *c, int status, const char *code, const char *format, ...)
{
    char text[sizeof(c->refusal.message)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    refuse(&c->refusal, status, code, "%s", text);
    return false;
}

bool
fail_not_found(struct call *c, enum kind kind, const char *id)
{
    return fail(c, 400, kinds[kind].not_found, "The %s '%s' does not exist", kinds[kind].label,
                id);
}

/* Of an object that is not visible yet, not every action knows. */
static bool
finds_new(const struct call *c, const struct obj *o)
{
    if (obj_is_visible(o)) {
        return true;
    }
    if (strncmp(c->action->name, "Describe", 8) == 0) {
        return false;
    }
    return strncmp(c->action->name, "DeleteTraffic", 13) == 0 ? o->delete_sees : o->use_sees;
}

void *
call_object_by_id(struct call *c, enum kind kind, const char *id)
{
    struct obj *o = obj_find(c->st, kind, id);
    if (o == NULL || !account_sees(c->st, c->signer.account, o) || !finds_new(c, o)) {
        fail_not_found(c, kind, id);
        return NULL;
    }
    if (o->owner != c->signer.account) {
        fail(c, 403, "UnauthorizedOperation",
             "You are not authorized to perform this operation. %s is owned by %s", id,
             o->owner->id);
        return NULL;
    }
    return o;
}

void *
call_object(struct call *c, const char *path, enum kind kind)
{
    return call_object_by_id(c, kind, arg_text(&c->query, path));
}

struct target *
call_target(struct call *c)
{
    const char *id = arg_text(&c->query, "TrafficMirrorTargetId");
    struct target *t = obj_find(c->st, K_TARGET, id);
    if (t != NULL && t->o.owner != c->signer.account &&
        target_is_open_to(c->st, t, c->signer.account)) {
        return t;
    }
    return call_object_by_id(c, K_TARGET, id);
}

bool
call_is_denied(const struct call *c)
{
    char name[96];
    snprintf(name, sizeof(name), "%s:%s", service_names[c->action->service].iam,
             c->action->name);
    for (size_t i = 0; i < c->signer.key->ndeny; i++) {
        const char *deny = c->signer.key->deny[i];
        size_t prefix = strcspn(deny, "*");
        if (strncmp(deny, name, prefix) == 0 && (deny[prefix] == '*' || name[prefix] == '\0')) {
            return true;
        }
    }
    return false;
}

bool
call_may_proceed(struct call *c)
{
    if (call_is_denied(c)) {
        return fail(c, 403, "UnauthorizedOperation",
                    "You are not authorized to perform this operation. User: %s is not "
                    "authorized to perform: ec2:%s",
                    c->signer.arn, c->action->name);
    }
    if (arg_bool(&c->query, "DryRun")) {
        return fail(c, 412, "DryRunOperation",
                    "Request would have succeeded, but DryRun flag is set.");
    }
    return true;
}

static size_t
characters(const char *s)
{
    size_t n = 0;
    for (; *s != '\0'; s++) {
        n += ((unsigned char)*s & 0xc0) != 0x80;
    }
    return n;
}

bool
tag_key_check(struct call *c, const char *key)
{
    if (key[0] == '\0') {
        return fail(c, 400, "InvalidParameterValue", "Tag key cannot be empty.");
    }
    if (strncasecmp(key, "aws:", 4) == 0) {
        return fail(c, 400, "InvalidParameterValue",
                    "Tag keys starting with 'aws:' are reserved for internal use");
    }
    if (characters(key) > 128) {
        return fail(c, 400, "InvalidParameterValue",
                    "Tag key exceeds the maximum length of 128 characters");
    }
    return true;
}

bool
tag_value_check(struct call *c, const char *value)
{
    if (characters(value) > 256) {
        return fail(c, 400, "InvalidParameterValue",
                    "Tag value exceeds the maximum length of 256 characters");
    }
    return true;
}

bool
tags_check(struct call *c, enum kind kind)
{
    size_t ntypes;
    size_t nkeys;
    size_t nvalues;
    const struct arg *types = arg_list(&c->query, "TagSpecification.#.ResourceType", &ntypes);
    const struct arg *keys = arg_list(&c->query, "TagSpecification.#.Tag.#.Key", &nkeys);
    const struct arg *values = arg_list(&c->query, "TagSpecification.#.Tag.#.Value", &nvalues);
    for (size_t i = 0; i < ntypes; i++) {
        if (strcmp(types[i].value, kinds[kind].type) != 0) {
            return fail(c, 400, "InvalidParameterValue",
                        "'%.64s' is not a valid taggable resource type for this operation.",
                        types[i].value);
        }
    }
    if (ntypes > 1) {
        return fail(c, 400, "InvalidParameterValue",
                    "The same resource type may not be specified more than once in tag "
                    "specifications");
    }
    if (ntypes == 0 && nkeys + nvalues > 0) {
        return fail(c, 400, "InvalidParameterValue",
                    "Tag specification resource type must have a value");
    }
    if (ntypes == 1 && nkeys == 0) {
        return fail(c, 400, "InvalidParameterValue",
                    "Tag specification must have at least one tag");
    }
    if (nkeys > TAGS_PER_RESOURCE) {
        return fail(c, 400, "TagLimitExceeded", "More than %d tags specified",
                    TAGS_PER_RESOURCE);
    }
    for (size_t i = 0; i < nkeys; i++) {
        if (keys[i].index[0] != types[0].index[0]) {
            return fail(c, 400, "InvalidParameterValue",
                        "Tag specification resource type must have a value");
        }
        if (!tag_key_check(c, keys[i].value)) {
            return false;
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(keys[i].value, keys[k].value) == 0) {
                return fail(c, 400, "InvalidParameterValue",
                            "Duplicate tag key '%.128s' specified.", keys[i].value);
            }
        }
    }
    for (size_t i = 0; i < nvalues; i++) {
        size_t k = 0;
        while (k < nkeys && (keys[k].index[0] != values[i].index[0] ||
                             keys[k].index[1] != values[i].index[1])) {
            k++;
        }
        if (k == nkeys) {
            return fail(c, 400, "InvalidParameterValue", "Tag key cannot be empty.");
        }
        if (!tag_value_check(c, values[i].value)) {
            return false;
        }
    }
    return true;
}

static void
tags_apply(const struct call *c, struct obj *o)
{
    size_t nkeys;
    size_t nvalues;
    const struct arg *keys = arg_list(&c->query, "TagSpecification.#.Tag.#.Key", &nkeys);
    const struct arg *values = arg_list(&c->query, "TagSpecification.#.Tag.#.Value", &nvalues);
    for (size_t i = 0; i < nkeys; i++) {
        const char *value = "";
        for (size_t k = 0; k < nvalues; k++) {
            if (values[k].index[1] == keys[i].index[1]) {
                value = values[k].value;
            }
        }
        tag_set(o, keys[i].value, value);
    }
}

void
call_made(struct call *c, struct obj *o)
{
    tags_apply(c, o);
    if (c->plan.visible_after_ns > 0) {
        o->visible_ns = now_ns() + c->plan.visible_after_ns;
        o->delete_sees = c->plan.delete_sees;
        o->use_sees = c->plan.use_sees;
    }
    history_add(c->st, "create", o, c->signer.arn, arg_text(&c->query, "ClientToken"));
}

void
tags_xml(struct str *x, const struct obj *o)
{
    if (o->ntags == 0) {
        xml_empty(x, "tagSet");
        return;
    }
    xml_open(x, "tagSet");
    for (size_t i = 0; i < o->ntags; i++) {
        const char *shown = tag_shown(&o->tags[i]);
        if (shown == NULL) {
            continue;
        }
        xml_open(x, "item");
        xml_text(x, "key", o->tags[i].key);
        xml_text(x, "value", shown);
        xml_close(x, "item");
    }
    xml_close(x, "tagSet");
}

char *
call_description(const struct call *c)
{
    const char *text = arg_text(&c->query, "Description");
    return text == NULL ? NULL : xdup(text);
}
