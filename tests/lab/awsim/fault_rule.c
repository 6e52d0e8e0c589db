/* From JSON to rules.  A rule that could never do what it says is refused. */
#include "fault_rule.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "form.h"
#include "str.h"

#define MILLISECOND_NS 1000000LL
#define TIME_MAX_MS (24 * 3600 * 1000L)

static int64_t
milliseconds(struct form *f, json_t *v, const char *key)
{
    json_int_t ms = json_integer_value(v);
    if (!json_is_integer(v) || ms < 0 || ms > TIME_MAX_MS) {
        form_fail(f, "\"%s\" is not a number of milliseconds", key);
    }
    return ms * MILLISECOND_NS;
}

static int64_t
duration(struct form *f, json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);
    return v == NULL ? 0 : milliseconds(f, v, key);
}

static struct fault_range
range(struct form *f, json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);
    struct fault_range r = {0, 0};
    if (json_is_array(v)) {
        r.min_ns = milliseconds(f, json_array_get(v, 0), key);
        r.max_ns = milliseconds(f, json_array_get(v, 1), key);
        if (json_array_size(v) != 2 || r.min_ns > r.max_ns) {
            form_fail(f, "\"%s\" is a number, or [least, most]", key);
        }
    } else if (v != NULL) {
        r.min_ns = r.max_ns = milliseconds(f, v, key);
    }
    return r;
}

/* "before" or "after"; false stands for "before". */
static bool
is_after(struct form *f, json_t *o, const char *key)
{
    const char *when = form_text(f, o, key, "before");
    if (strcmp(when, "before") != 0 && strcmp(when, "after") != 0) {
        form_fail(f, "\"%s\" is \"before\" or \"after\"", key);
    }
    return strcmp(when, "after") == 0;
}

static bool
serves(const struct fault_rule *r, const char *service)
{
    return strcmp(r->service, service) == 0;
}

static void
read_error(struct form *f, json_t *what, struct fault_rule *r)
{
    json_t *error = json_object_get(what, "error");
    if (form_yes(f, what, "throttle", false)) {
        if (error != NULL) {
            form_fail(f, "\"throttle\" and \"error\" do not go together");
        }
        if (!serves(r, "ec2")) {
            refuse(&r->error, 400, "Throttling", "Rate exceeded");
        } else {
            refuse(&r->error, 503, "RequestLimitExceeded", "Request limit exceeded.");
        }
    }
    if (error != NULL) {
        form_keys(f, error, "status code message");
        long status = form_number(f, error, "status", 500);
        if (status < 400 || status > 599) {
            form_fail(f, "\"status\" is from 400 to 599");
        }
        refuse(&r->error, (int)status, form_text(f, error, "code", "InternalError"), "%s",
               form_text(f, error, "message", "An internal error has occurred"));
    }
}

static void
read_do(struct form *f, json_t *what, struct fault_rule *r)
{
    form_keys(f, what,
              "latency_ms latency_after_ms throttle error effect lose hang_ms "
              "expired_credentials visible_after_ms delete_sees use_sees gone_after_ms "
              "tags_after_ms changed_after_ms");
    if (json_object_size(what) == 0) {
        form_fail(f, "\"do\" says nothing to do");
    }
    r->latency = range(f, what, "latency_ms");
    r->latency_after = range(f, what, "latency_after_ms");
    read_error(f, what, r);
    r->error_after = is_after(f, what, "effect");
    r->hang_ns = duration(f, what, "hang_ms");
    if (json_object_get(what, "effect") != NULL && r->error.status == 0 && r->hang_ns == 0) {
        form_fail(f, "\"effect\" goes with \"error\", \"throttle\" or \"hang_ms\"");
    }
    if (json_object_get(what, "lose") != NULL) {
        r->lose_after = is_after(f, what, "lose");
        r->lose_before = !r->lose_after;
    }
    r->expired = form_yes(f, what, "expired_credentials", false);
    r->visible_after_ns = duration(f, what, "visible_after_ms");
    r->delete_sees = form_yes(f, what, "delete_sees", true);
    r->use_sees = form_yes(f, what, "use_sees", true);
    r->gone_after_ns = duration(f, what, "gone_after_ms");
    r->tags_after_ns = duration(f, what, "tags_after_ms");
    r->changed_after_ns = duration(f, what, "changed_after_ms");
    if (!serves(r, "ec2") && (r->visible_after_ns > 0 || r->gone_after_ns > 0 ||
                              r->tags_after_ns > 0 || r->changed_after_ns > 0)) {
        form_fail(f, "only what EC2 makes can be visible or gone later");
    }
}

static void
read_match(struct form *f, json_t *match, struct fault_rule *r)
{
    const char *name;
    json_t *value;
    if (!json_is_object(match)) {
        form_fail(f, "\"match\" is not an object");
    }
    r->match = xalloc((json_object_size(match) + 1) * sizeof(*r->match));
    json_object_foreach(match, name, value)
    {
        r->match[r->nmatch++] = (struct fault_match){name, form_item(f, value, "match")};
    }
}

static void
read_rule(struct form *f, json_t *j, struct fault_rule *r)
{
    form_keys(f, j, "service action account match nth from to probability seed do");
    r->source = json_deep_copy(j);
    j = r->source;
    form_copy(f, j, "service", "ec2", r->service, sizeof(r->service));
    form_copy(f, j, "action", "*", r->action, sizeof(r->action));
    form_copy(f, j, "account", "", r->account, sizeof(r->account));
    if (!serves(r, "ec2") && !serves(r, "sts") && !serves(r, "cloudwatch") &&
        !serves(r, "imds")) {
        form_fail(f, "\"service\" is \"ec2\", \"sts\", \"cloudwatch\" or \"imds\"");
    }
    json_t *match = json_object_get(j, "match");
    if (serves(r, "imds") && (match != NULL || r->account[0] != '\0')) {
        form_fail(f, "IMDS requests have no account and no parameters");
    }
    if (match != NULL) {
        read_match(f, match, r);
    }
    long nth = form_number(f, j, "nth", 0);
    long from = form_number(f, j, "from", nth > 0 ? nth : 1);
    long to = form_number(f, j, "to", nth > 0 ? nth : LONG_MAX);
    if (nth < 0 || from < 1 || to < from || (nth > 0 && (from != nth || to != nth))) {
        form_fail(f, "requests are counted from 1, by \"nth\" or \"from\" and \"to\"");
    }
    r->from = (uint64_t)from;
    r->to = (uint64_t)to;
    json_t *probability = json_object_get(j, "probability");
    r->probability = probability == NULL ? 1 : json_number_value(probability);
    if ((probability != NULL && !json_is_number(probability)) || r->probability < 0 ||
        r->probability > 1) {
        form_fail(f, "\"probability\" is a number from 0 to 1");
    }
    r->generator = (uint64_t)form_number(f, j, "seed", 0);
    json_t *what = json_object_get(j, "do");
    if (what == NULL) {
        form_fail(f, "\"do\" is missing");
    }
    read_do(f, what, r);
}

bool
fault_rules_read(json_t *list, struct fault_rule **out, size_t *out_n, char *why,
                 size_t why_size)
{
    struct form f = {.where = "faults", .why = why, .why_size = why_size};
    size_t n = json_array_size(list);
    if (!json_is_array(list)) {
        snprintf(why, why_size, "faults: a list of rules is expected");
        return false;
    }
    struct fault_rule *rules = xalloc((n + 1) * sizeof(*rules));
    char where[32];
    f.where = where;
    if (setjmp(f.failed) != 0) {
        fault_rules_free(rules, n);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        snprintf(where, sizeof(where), "rule %zu", i + 1);
        read_rule(&f, json_array_get(list, i), &rules[i]);
    }
    *out = rules;
    *out_n = n;
    return true;
}

void
fault_rules_free(struct fault_rule *rules, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        json_decref(rules[i].source);
        free(rules[i].match);
    }
    free(rules);
}
