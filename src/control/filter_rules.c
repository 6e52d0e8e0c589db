/*
 * The rules of a filter of ours: made, and kept as they were made.  Whatever else stands in
 * such a filter is taken out, since it decides what is recorded: a reject with a low number
 * hides traffic from everybody who shares the filter, and an accept in a capture's own lets
 * through what nobody asked for.
 */
#include "control_int.h"

#include <stdio.h>

#include <tapbox/log.h>

enum tb_err
control_make_rule(struct control_account *account, const struct tb_capture *capture,
                  const struct control_rule *rule, struct tb_fail *fail)
{
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    struct tb_ec2_rule_spec spec = rule->spec;
    struct tb_resource intent;
    char id[TB_AWS_ID_SIZE];
    enum tb_err err =
        control_begin_intent(account, TB_RESOURCE_FILTER_RULE, rule->key, &intent, fail);

    if (capture != NULL) {
        (void)tb_str_copy(intent.capture_id, sizeof(intent.capture_id), capture->id);
        intent.expires_utc_s = control_expires_utc_s(account->control, &capture->deadline);
    }
    spec.client_token = intent.client_token;
    if (err == TB_OK) {
        err = tb_ec2_rule_body(&spec, &body, fail);
    }
    if (err == TB_OK) {
        err = control_create_with_body(account, &intent, &body, id, fail);
    }
    tb_buf_release(&body);
    return err;
}

/* What a filter has, against what it is to have. */
struct restore {
    struct control_watch *watch;
    const struct tb_ec2_filter *found;
    const struct tb_capture *capture; /* NULL: the standing one */
    struct tb_resource *rows;
    size_t row_count;
    struct control_rule wanted[TB_FILTER_MAX_RULES];
    size_t wanted_count;
    size_t missing, foreign;
    bool dns_missing;
    bool dns_old; /* so EC2 may list it of before it was put right */
    bool noted;
};

static bool
is_wanted(const struct restore *r, const struct tb_ec2_rule *rule)
{
    for (size_t i = 0; i < r->wanted_count; i++) {
        if (tb_plan_is_rule(rule, &r->wanted[i].spec)) {
            return true;
        }
    }
    return false;
}

/* Of others, and there, as far as EC2 can know. */
static bool
is_foreign(const struct restore *r, const struct tb_ec2_rule *rule)
{
    return !is_wanted(r, rule) && !control_may_be_old(r->watch, rule->id, CONTROL_RULE, "");
}

static bool
is_listed(const struct restore *r, const struct control_rule *wanted)
{
    for (size_t i = 0; i < r->found->rule_count; i++) {
        if (tb_plan_is_rule(&r->found->rules[i], &wanted->spec)) {
            return true;
        }
    }
    return false;
}

static bool
is_settled(const struct restore *r, const struct tb_resource *row)
{
    return control_is_settled(r->watch->account->control, row->created_steady_ns);
}

static struct tb_resource *
rule_row(const struct restore *r, const struct control_rule *wanted)
{
    return control_find_row(r->watch->account, r->rows, r->row_count, TB_RESOURCE_FILTER_RULE,
                            wanted->key);
}

/* Before anything is put right: a crash leaves no gap that nobody is told of. */
static void
note(struct restore *r)
{
    struct control_watch *watch = r->watch;
    char what[TB_CAPTURE_MAX_TEXT];

    if (r->noted) {
        return;
    }
    r->noted = true;
    (void)snprintf(what, sizeof(what), "its filter was changed (%zu rules gone, %zu added%s)",
                   r->missing, r->foreign, r->dns_missing ? ", no Amazon DNS" : "");
    atomic_fetch_add(&watch->account->control->mirror_changes, 1);
    tb_log(TB_LOG_WARN, r->capture != NULL ? r->capture->id : NULL,
           "somebody changed the filter %s: %zu rules of ours are missing, %zu are of others%s",
           r->found->id, r->missing, r->foreign, r->dns_missing ? ", no Amazon DNS" : "");
    for (size_t i = 0; i < watch->tap_count; i++) {
        if (strcmp(watch->taps[i].filter, r->found->id) == 0) {
            control_note_touched(watch, &watch->taps[i], what);
        }
    }
}

static void
failed(struct restore *r, const struct tb_fail *why)
{
    r->watch->wrong = true;
    tb_log_fail(TB_LOG_ERROR, r->capture != NULL ? r->capture->id : NULL, why,
                "the filter %s is not put right", r->found->id);
}

/* What EC2 still lists and does not have any more is gone already. */
static void
remove_foreign(struct restore *r, const struct tb_ec2_rule *rule)
{
    struct tb_ec2_effect effect;
    struct tb_fail fail = {0};
    struct tb_json *detail;
    const char *capture_id = r->capture != NULL ? r->capture->id : NULL;
    enum tb_err err =
        tb_ec2_delete(r->watch->account->aws, TB_EC2_FILTER_RULE, rule->id, &effect, &fail);

    if (err == TB_OK) {
        control_note_mended(r->watch, rule->id, CONTROL_RULE, "");
        detail = tb_json_object();
        tb_json_set_str(detail, "kind", "filter_rule");
        tb_json_set_str(detail, "id", rule->id);
        tb_json_set_str(detail, "filter", r->found->id);
        tb_json_set_str(detail, "direction", rule->egress ? "egress" : "ingress");
        tb_json_set_int(detail, "number", rule->number);
        tb_json_set_str(detail, "action", rule->reject ? "reject" : "accept");
        tb_json_set_str(detail, "source", rule->source_cidr);
        tb_json_set_str(detail, "destination", rule->destination_cidr);
        tb_json_set_str(detail, "request_id", effect.request_id);
        tb_json_set_text(detail, "account", r->watch->account->id);
        tb_log(TB_LOG_WARN, capture_id, "deleted the rule %s of others (%s %u) request_id=%s",
               rule->id, rule->egress ? "egress" : "ingress", rule->number, effect.request_id);
        err = tb_store_custody_add(r->watch->account->control->deps.store, capture_id,
                                   "foreign_rule_deleted", NULL, detail, &fail);
    }
    if (err != TB_OK && err != TB_ENOTFOUND) {
        failed(r, &fail);
    }
}

/* The rule's former row goes only when there is another one. */
static void
remake(struct restore *r, const struct control_rule *wanted)
{
    struct tb_resource *row = rule_row(r, wanted);
    bool asked_before = row != NULL && row->state == TB_RESOURCE_INTENDED;
    struct tb_fail fail = {0};
    enum tb_err err = asked_before
                          ? control_replay(r->watch->account->control, row, &fail)
                          : control_make_rule(r->watch->account, r->capture, wanted, &fail);

    if (err == TB_EEXIST) {
        return; /* there all the time, and not listed yet */
    }
    if (err == TB_OK) {
        note(r);
        if (row != NULL && !asked_before) {
            err = tb_store_resource_gone(r->watch->account->control->deps.store, row->row,
                                         TB_RESOURCE_FOUND_GONE, "", &fail);
        }
    }
    if (err != TB_OK) {
        failed(r, &fail);
    }
}

static void
put_right(struct restore *r)
{
    struct control_watch *watch = r->watch;
    bool wrong_before = watch->wrong;
    struct tb_ec2_effect effect;
    struct tb_fail fail = {0};

    watch->wrong = false;
    for (size_t i = 0; i < r->found->rule_count; i++) {
        if (is_foreign(r, &r->found->rules[i])) {
            remove_foreign(r, &r->found->rules[i]);
        }
    }
    for (size_t i = 0; i < r->wanted_count; i++) {
        if (!is_listed(r, &r->wanted[i])) {
            remake(r, &r->wanted[i]);
        }
    }
    if (r->dns_missing &&
        tb_ec2_filter_add_dns(watch->account->aws, r->found->id, &effect, &fail) != TB_OK) {
        failed(r, &fail);
    } else if (r->dns_missing && !r->dns_old) {
        control_note_mended(watch, r->found->id, CONTROL_DNS, "");
    }
    for (size_t i = 0; i < watch->tap_count && (r->noted || r->dns_old) && !watch->wrong; i++) {
        if (strcmp(watch->taps[i].filter, r->found->id) == 0) {
            control_note_restored(watch, &watch->taps[i], !r->noted);
        }
    }
    watch->wrong |= wrong_before;
}

void
control_watch_filter(struct control_watch *watch, const struct tb_ec2_filter *found,
                     const struct tb_resource *row, const struct tb_capture *capture,
                     struct tb_resource *rows, size_t count)
{
    struct restore r = {
        .watch = watch, .found = found, .capture = capture, .rows = rows, .row_count = count};
    bool sure;

    r.wanted_count = capture != NULL ? control_own_rules(capture, found->id, r.wanted)
                                     : control_standing_rules(found->id, r.wanted);
    sure = is_settled(&r, row);
    r.dns_missing =
        (capture == NULL || capture->request.filter.amazon_dns) && !found->amazon_dns;
    if (!sure) {
        watch->wrong |= r.dns_missing; /* or not listed yet: the next round tells */
        r.dns_missing = false;
    }
    r.dns_old = r.dns_missing && control_may_be_old(watch, found->id, CONTROL_DNS, "");
    if (found->amazon_dns) {
        control_seen_right(watch, found->id, CONTROL_DNS);
    }
    for (size_t i = 0; i < found->rule_count; i++) {
        r.foreign += is_foreign(&r, &found->rules[i]) ? 1 : 0;
    }
    for (size_t i = 0; i < r.wanted_count; i++) {
        if (!is_listed(&r, &r.wanted[i])) {
            const struct tb_resource *of = rule_row(&r, &r.wanted[i]);

            sure = sure && (of == NULL || is_settled(&r, of));
            r.missing++;
        }
    }
    if (r.missing + r.foreign == 0 && !r.dns_missing) {
        return;
    }
    /* What is missing and young may just not be listed yet: that it can be made again shows
     * that it was. */
    if (r.foreign > 0 || (r.dns_missing && !r.dns_old) || (r.missing > 0 && sure)) {
        note(&r);
    }
    put_right(&r);
}
