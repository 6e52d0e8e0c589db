/* Standing objects: the mirror target on our interface and the filter that lets everything
 * through.  They cost nothing, are shared by all captures, and are found again by their tags.
 */
#include "control_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/digest.h>
#include <tapbox/ids.h>
#include <tapbox/log.h>

static const char filter_key[] = "all";

/* The rules of the filter "all": both directions, both families. */
static const struct {
    bool egress;
    uint32_t number;
    const char *any;
} rules[] = {
    {false, 100, "0.0.0.0/0"},
    {false, 200, "::/0"},
    {true, 100, "0.0.0.0/0"},
    {true, 200, "::/0"},
};
enum {
    RULES = sizeof(rules) / sizeof(rules[0])
};

struct tb_resource *
control_find_row(const struct control_account *account, struct tb_resource *rows, size_t count,
                 enum tb_resource_kind kind, const char *key)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].kind == kind && rows[i].state != TB_RESOURCE_GONE &&
            strcmp(rows[i].account, account->id) == 0 && strcmp(rows[i].key, key) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

enum tb_err
control_begin_intent(const struct control_account *account, enum tb_resource_kind kind,
                     const char *key, struct tb_resource *out, struct tb_fail *fail)
{
    enum tb_err err;

    memset(out, 0, sizeof(*out));
    out->kind = kind;
    (void)tb_str_copy(out->account, sizeof(out->account), account->id);
    (void)tb_str_copy(out->key, sizeof(out->key), key);
    err = tb_uuid_new(out->client_token);
    return err == TB_OK ? TB_OK
                        : tb_fail_set(fail, err, "no random numbers for a client token");
}

enum tb_err
control_create_with_body(struct control_account *account, struct tb_resource *intent,
                         struct tb_buf *body, char out_id[TB_AWS_ID_SIZE], struct tb_fail *fail)
{
    struct tb_resource sent = *intent;
    enum tb_err err = tb_buf_check(body, "an EC2 request", fail);

    if (err != TB_OK) {
        return err;
    }
    sent.params = strdup(tb_buf_str(body));
    if (sent.params == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for an EC2 request");
    }
    err = control_create(account->control, &sent, out_id, fail);
    free(sent.params);
    return err;
}

/* An existing standing object of ours that this store does not know is entered as created. */
static enum tb_err
adopt(struct control_account *account, enum tb_resource_kind kind, const char *key,
      const char *aws_id, struct tb_fail *fail)
{
    struct tb_resource found;
    enum tb_err err = control_begin_intent(account, kind, key, &found, fail);

    (void)tb_str_copy(found.aws_id, sizeof(found.aws_id), aws_id);
    if (err == TB_OK) {
        err = tb_store_resource_adopt(account->control->deps.store, &found, fail);
    }
    if (err == TB_OK) {
        tb_log(TB_LOG_INFO, NULL, "reusing standing %s %s", tb_resource_kind_name(kind),
               aws_id);
    }
    return err;
}

static bool
is_our_standing(const struct control_account *account, const struct tb_ec2_tags *tags)
{
    return tb_plan_sweep(tags, account->control->deps.config->owner, 0) == TB_SWEEP_STANDING;
}

static enum tb_err
make_target(struct control_account *account, const char *eni, char out_id[TB_AWS_ID_SIZE],
            struct tb_fail *fail)
{
    struct tb_ec2_tag tags[3];
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    struct tb_resource intent;
    struct tb_ec2_target_spec spec = {
        .eni = eni,
        .description = "tapbox capture host",
        .tags = tags,
        .tag_count = sizeof(tags) / sizeof(tags[0]),
        .client_token = intent.client_token,
    };
    enum tb_err err;

    control_set_tag(&tags[0], "Name", "tapbox");
    control_set_tag(&tags[1], TB_TAG_OWNER, account->control->deps.config->owner);
    control_set_tag(&tags[2], TB_TAG_STANDING, "target");
    err = control_begin_intent(account, TB_RESOURCE_TARGET, eni, &intent, fail);
    if (err == TB_OK) {
        err = tb_ec2_target_body(&spec, &body, fail);
    }
    if (err == TB_OK) {
        err = control_create_with_body(account, &intent, &body, out_id, fail);
    }
    tb_buf_release(&body);
    return err;
}

/* Any target on our interface will do, whoever made it: an interface can have only one role. */
static enum tb_err
find_or_make_target(struct control_account *account, const char *eni,
                    char out_id[TB_AWS_ID_SIZE], struct tb_fail *fail)
{
    struct tb_ec2_targets found = {0};
    enum tb_err err = tb_ec2_targets_list(account->aws, eni, &found, fail);

    if (err == TB_OK && found.count > 0) {
        (void)tb_str_copy(out_id, TB_AWS_ID_SIZE, found.at[0].id);
        err = adopt(account, TB_RESOURCE_TARGET, eni, out_id, fail);
    } else if (err == TB_OK) {
        err = make_target(account, eni, out_id, fail);
    }
    tb_ec2_targets_release(&found);
    return err;
}

/* What this process has seen; false when it has to be looked for. */
static bool
is_warm(struct control_account *account, const char *known, char out_id[TB_AWS_ID_SIZE])
{
    bool warm;

    tb_mutex_lock(&account->mu);
    warm = known[0] != 0;
    if (warm) {
        memcpy(out_id, known, TB_AWS_ID_SIZE);
    }
    tb_mutex_unlock(&account->mu);
    return warm;
}

static void
keep_warm(struct control_account *account, char known[TB_AWS_ID_SIZE], const char *id)
{
    tb_mutex_lock(&account->mu);
    (void)tb_str_copy(known, TB_AWS_ID_SIZE, id);
    tb_mutex_unlock(&account->mu);
}

enum tb_err
control_standing_target(struct tb_control *control, const struct control_self *self,
                        char out_id[TB_AWS_ID_SIZE], struct tb_fail *fail)
{
    struct control_account *account = &control->accounts[0];
    const char *eni = self->target.eni;
    struct tb_resource *rows = NULL;
    struct tb_resource *row;
    size_t count = 0;
    enum tb_err err = TB_OK;

    if (is_warm(account, account->locked.target, out_id)) {
        return TB_OK;
    }
    tb_mutex_lock(&account->standing_mu);
    if (is_warm(account, account->locked.target, out_id)) {
        goto out; /* somebody else was first */
    }
    err = tb_store_resource_list(control->deps.store, "", false, &rows, &count, fail);
    if (err != TB_OK) {
        goto out;
    }
    row = control_find_row(account, rows, count, TB_RESOURCE_TARGET, eni);
    if (row != NULL && row->state == TB_RESOURCE_INTENDED) {
        err = control_replay(control, row, fail);
        if (err != TB_OK) {
            goto out;
        }
    }
    if (row != NULL) {
        memcpy(out_id, row->aws_id, TB_AWS_ID_SIZE);
    } else {
        err = find_or_make_target(account, eni, out_id, fail);
    }
    if (err == TB_OK) {
        keep_warm(account, account->locked.target, out_id);
    }

out:
    tb_mutex_unlock(&account->standing_mu);
    tb_resources_free(rows, count);
    return err;
}

enum tb_err
control_target_shared(struct control_account *account, const struct control_self *self,
                      const char *target, struct tb_fail *fail)
{
    struct tb_ec2_targets found = {0};
    char seen[TB_AWS_ID_SIZE];
    bool shared = false;
    enum tb_err err;

    if (is_warm(account, account->locked.target, seen) && strcmp(seen, target) == 0) {
        return TB_OK;
    }
    err = tb_ec2_targets_list(account->aws, self->target.eni, &found, fail);
    for (size_t i = 0; i < found.count && err == TB_OK; i++) {
        shared = shared || strcmp(found.at[i].id, target) == 0;
    }
    tb_ec2_targets_release(&found);
    if (err != TB_OK) {
        return err;
    }
    if (!shared) {
        err = tb_fail_set(fail, TB_EINVAL,
                          "the mirror target %s of account %s is not shared with account %s: "
                          "share it through AWS Resource Access Manager",
                          target, self->account, account->id);
        if (fail != NULL) {
            (void)tb_str_copy(fail->code, sizeof(fail->code), "target_not_shared");
        }
        return err;
    }
    keep_warm(account, account->locked.target, target);
    return TB_OK;
}

/* --- the filter --- */

static enum tb_err
make_filter(struct control_account *account, char out_id[TB_AWS_ID_SIZE], struct tb_fail *fail)
{
    struct tb_ec2_tag tags[3];
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    struct tb_resource intent;
    struct tb_ec2_filter_spec spec = {
        .description = "tapbox: everything, both directions",
        .tags = tags,
        .tag_count = sizeof(tags) / sizeof(tags[0]),
        .client_token = intent.client_token,
    };
    enum tb_err err;

    control_set_tag(&tags[0], "Name", "tapbox-all");
    control_set_tag(&tags[1], TB_TAG_OWNER, account->control->deps.config->owner);
    control_set_tag(&tags[2], TB_TAG_STANDING, filter_key);
    err = control_begin_intent(account, TB_RESOURCE_FILTER, filter_key, &intent, fail);
    if (err == TB_OK) {
        err = tb_ec2_filter_body(&spec, &body, fail);
    }
    if (err == TB_OK) {
        err = control_create_with_body(account, &intent, &body, out_id, fail);
    }
    tb_buf_release(&body);
    return err;
}

size_t
control_standing_rules(const char *filter_id, struct control_rule out[TB_FILTER_MAX_RULES])
{
    for (size_t i = 0; i < RULES; i++) {
        /* "<filter id>/<direction><number>": a new filter needs new rules */
        (void)snprintf(out[i].key, sizeof(out[i].key), "%s/%s%u", filter_id,
                       rules[i].egress ? "egress" : "ingress", rules[i].number);
        out[i].spec = (struct tb_ec2_rule_spec){
            .filter_id = filter_id,
            .egress = rules[i].egress,
            .number = rules[i].number,
            .protocol = -1,
            .source_port_from = -1,
            .source_port_to = -1,
            .destination_port_from = -1,
            .destination_port_to = -1,
            .source_cidr = rules[i].any,
            .destination_cidr = rules[i].any,
        };
    }
    return RULES;
}

struct tb_resource *
control_standing_filter_row(const struct control_account *account, struct tb_resource *rows,
                            size_t count)
{
    return control_find_row(account, rows, count, TB_RESOURCE_FILTER, filter_key);
}

static enum tb_err
complete_filter(struct control_account *account, const char *filter_id,
                struct tb_resource *rows, size_t count, struct tb_fail *fail)
{
    struct control_rule wanted[TB_FILTER_MAX_RULES];
    size_t wanted_count = control_standing_rules(filter_id, wanted);
    struct tb_ec2_effect effect;
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < wanted_count && err == TB_OK; i++) {
        struct tb_resource *row =
            control_find_row(account, rows, count, TB_RESOURCE_FILTER_RULE, wanted[i].key);

        if (row == NULL) {
            err = control_make_rule(account, NULL, &wanted[i], fail);
        } else if (row->state == TB_RESOURCE_INTENDED) {
            err = control_replay(account->control, row, fail);
        }
        if (err == TB_EEXIST) {
            err = TB_OK; /* the number is taken: this filter's rule is there already */
        }
    }
    if (err == TB_OK) {
        err = tb_ec2_filter_add_dns(account->aws, filter_id, &effect, fail);
    }
    return err;
}

/* Ours among all filters of the account: the one that our row stands for, `known`, before any
 * other of these tags.  *out_complete when all its rules are in place. */
static enum tb_err
look_up_filter(struct control_account *account, const char *known, char out_id[TB_AWS_ID_SIZE],
               bool *out_complete, struct tb_fail *fail)
{
    struct tb_ec2_filters found = {0};
    enum tb_err err = tb_ec2_filters_list(account->aws, &found, fail);

    out_id[0] = 0;
    *out_complete = false;
    for (size_t i = 0; i < found.count && err == TB_OK; i++) {
        const struct tb_ec2_filter *filter = &found.at[i];
        const char *what = tb_ec2_tag(&filter->tags, TB_TAG_STANDING);

        if (is_our_standing(account, &filter->tags) && strcmp(what, filter_key) == 0 &&
            (out_id[0] == 0 || strcmp(filter->id, known) == 0)) {
            (void)tb_str_copy(out_id, TB_AWS_ID_SIZE, filter->id);
            *out_complete = filter->rule_count == RULES && filter->amazon_dns;
        }
    }
    tb_ec2_filters_release(&found);
    return err;
}

/* The filter that our row stands for, if there is one: EC2 may not show yet what it has just
 * made, and a create refers to it by id anyway. */
static enum tb_err
settle_filter(struct control_account *account, const struct tb_resource *row,
              char id[TB_AWS_ID_SIZE], bool *complete, struct tb_fail *fail)
{
    bool young = row != NULL && !control_is_settled(account->control, row->created_steady_ns);

    if (row != NULL && strcmp(id, row->aws_id) != 0 && (young || id[0] == 0)) {
        memcpy(id, row->aws_id, TB_AWS_ID_SIZE);
        *complete = false;
        return TB_OK;
    }
    if (row != NULL && strcmp(id, row->aws_id) == 0) {
        return TB_OK;
    }
    if (row != NULL) {
        /* somebody removed ours, and another tapbox of this owner has made one */
        enum tb_err err = tb_store_resource_gone(account->control->deps.store, row->row,
                                                 TB_RESOURCE_FOUND_GONE, "", fail);

        if (err != TB_OK) {
            return err;
        }
    }
    return id[0] == 0 ? make_filter(account, id, fail)
                      : adopt(account, TB_RESOURCE_FILTER, filter_key, id, fail);
}

static enum tb_err
find_filter(struct control_account *account, char out_id[TB_AWS_ID_SIZE], struct tb_fail *fail)
{
    struct tb_store *store = account->control->deps.store;
    struct tb_resource *rows = NULL;
    struct tb_resource *row;
    size_t count = 0;
    bool complete = false;
    enum tb_err err = tb_store_resource_list(store, "", false, &rows, &count, fail);

    if (err != TB_OK) {
        return err;
    }
    row = control_standing_filter_row(account, rows, count);
    if (row != NULL && row->state == TB_RESOURCE_INTENDED) {
        err = control_replay(account->control, row, fail);
    }
    if (err == TB_OK) {
        err = look_up_filter(account, row != NULL ? row->aws_id : "", out_id, &complete, fail);
    }
    if (err == TB_OK) {
        err = settle_filter(account, row, out_id, &complete, fail);
    }
    if (err == TB_OK && !complete) {
        err = complete_filter(account, out_id, rows, count, fail);
    }
    tb_resources_free(rows, count);
    return err;
}

enum tb_err
control_standing_filter(struct control_account *account, char out_id[TB_AWS_ID_SIZE],
                        struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    if (is_warm(account, account->locked.filter, out_id)) {
        return TB_OK;
    }
    tb_mutex_lock(&account->standing_mu);
    if (!is_warm(account, account->locked.filter, out_id)) {
        err = find_filter(account, out_id, fail);
        if (err == TB_OK) {
            keep_warm(account, account->locked.filter, out_id);
        }
    }
    tb_mutex_unlock(&account->standing_mu);
    return err;
}

void
control_standing_forget(struct control_account *account, const struct tb_fail *why)
{
    struct tb_store *store = account->control->deps.store;
    struct tb_resource *rows = NULL;
    struct tb_fail fail;
    size_t count = 0;

    tb_mutex_lock(&account->standing_mu);
    if (control_says_gone(why, TB_RESOURCE_TARGET)) {
        keep_warm(account, account->locked.target, "");
    }
    if (control_says_gone(why, TB_RESOURCE_FILTER)) {
        keep_warm(account, account->locked.filter, "");
    }
    if (tb_store_resource_list(store, "", false, &rows, &count, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, NULL, &fail, "cannot read the standing objects");
        count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (rows[i].state == TB_RESOURCE_CREATED && strcmp(rows[i].account, account->id) == 0 &&
            control_says_gone(why, rows[i].kind) &&
            tb_store_resource_gone(store, rows[i].row, TB_RESOURCE_FOUND_GONE, "", &fail) !=
                TB_OK) {
            tb_log_fail(TB_LOG_ERROR, NULL, &fail, "cannot forget a standing object");
        }
    }
    tb_mutex_unlock(&account->standing_mu);
    tb_resources_free(rows, count);
}
