/*
 * The filter of one capture, when it lets through less than everything: made with the capture,
 * widened while it runs, deleted with its sessions.  The capture's row says what it has to let
 * through; its rows of AWS objects say what is there.  Rules are only ever added, so traffic
 * that passes goes on passing.
 */
#include "control_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/log.h>

static const char filter_key[] = "own";

enum {
    FIRST_NUMBER = 100, /* of the rules: room before the first, for whoever looks into it */
    TASKS_MOST = TB_FILTER_MAX_RULES + 1
};

/* --- the filter itself --- */

static enum tb_err
make_filter(struct control_account *account, const struct tb_capture *capture,
            char out_id[TB_AWS_ID_SIZE], struct tb_fail *fail)
{
    struct tb_ec2_tag tags[4];
    char expires[TB_TIME_TEXT_SIZE];
    char description[128];
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    struct tb_resource intent;
    struct tb_ec2_filter_spec spec = {
        .description = description,
        .tags = tags,
        .tag_count = sizeof(tags) / sizeof(tags[0]),
        .client_token = intent.client_token,
    };
    enum tb_err err =
        control_begin_intent(account, TB_RESOURCE_FILTER, filter_key, &intent, fail);

    if (err == TB_OK) {
        err = control_learn_aws_time(account, fail);
    }
    (void)tb_str_copy(intent.capture_id, sizeof(intent.capture_id), capture->id);
    intent.expires_utc_s = control_expires_utc_s(account->control, &capture->deadline);
    tb_time_format_s(expires, intent.expires_utc_s);
    (void)snprintf(description, sizeof(description), "tapbox %s until %s", capture->id,
                   expires);
    control_set_tag(&tags[0], "Name", capture->id);
    control_set_tag(&tags[1], TB_TAG_OWNER, account->control->deps.config->owner);
    control_set_tag(&tags[2], TB_TAG_CAPTURE, capture->id);
    control_set_tag(&tags[3], TB_TAG_EXPIRES, expires);
    if (err == TB_OK) {
        err = tb_ec2_filter_body(&spec, &body, fail);
    }
    if (err == TB_OK) {
        err = control_create_with_body(account, &intent, &body, out_id, fail);
    }
    tb_buf_release(&body);
    return err;
}

static enum tb_err
find_or_make_filter(struct control_account *account, const struct tb_capture *capture,
                    struct tb_resource *rows, size_t count, char out_id[TB_AWS_ID_SIZE],
                    struct tb_fail *fail)
{
    struct tb_resource *row = control_own_filter_row(account, rows, count);
    enum tb_err err = TB_OK;

    if (row == NULL) {
        return make_filter(account, capture, out_id, fail);
    }
    if (row->state == TB_RESOURCE_INTENDED) {
        err = control_replay(account->control, row, fail);
    }
    if (err == TB_OK) {
        memcpy(out_id, row->aws_id, TB_AWS_ID_SIZE);
    }
    return err;
}

/* --- its rules --- */

static void
describe_rule(const struct tb_filter_rule *rule, const char *filter_id, uint32_t number,
              struct control_rule *out)
{
    const char *any = strchr(rule->remote, ':') != NULL ? "::/0" : "0.0.0.0/0";

    /* "own/egress 17 0.0.0.0/0 53-53 -1--1": what the rule lets through is its name */
    (void)snprintf(out->key, sizeof(out->key), "own/%s %d %s %d-%d %d-%d",
                   rule->egress ? "egress" : "ingress", rule->protocol, rule->remote,
                   rule->remote_from, rule->remote_to, rule->local_from, rule->local_to);
    /* towards the source, the remote side is where packets come from */
    out->spec = (struct tb_ec2_rule_spec){
        .filter_id = filter_id,
        .egress = rule->egress,
        .number = number,
        .protocol = rule->protocol,
        .source_port_from = rule->egress ? rule->local_from : rule->remote_from,
        .source_port_to = rule->egress ? rule->local_to : rule->remote_to,
        .destination_port_from = rule->egress ? rule->remote_from : rule->local_from,
        .destination_port_to = rule->egress ? rule->remote_to : rule->local_to,
        .source_cidr = rule->egress ? any : rule->remote,
        .destination_cidr = rule->egress ? rule->remote : any,
    };
}

size_t
control_own_rules(const struct tb_capture *capture, const char *filter_id,
                  struct control_rule out[TB_FILTER_MAX_RULES])
{
    const struct tb_filter *filter = &capture->request.filter;

    for (size_t i = 0; i < filter->rule_count; i++) {
        describe_rule(&filter->rules[i], filter_id, FIRST_NUMBER + (uint32_t)i, &out[i]);
    }
    return filter->rule_count;
}

struct tb_resource *
control_own_filter_row(const struct control_account *account, struct tb_resource *rows,
                       size_t count)
{
    return control_find_row(account, rows, count, TB_RESOURCE_FILTER, filter_key);
}

struct rule_task {
    struct control_account *account;
    const struct tb_capture *capture;
    const char *filter_id;
    bool is_dns; /* Amazon DNS; else: */
    struct control_rule rule;
    struct tb_resource *row; /* NULL: to be made */
    enum tb_err err;
    struct tb_fail fail;
};

static void
run_rule_task(void *arg)
{
    struct rule_task *task = arg;
    struct tb_ec2_effect effect;

    if (task->is_dns) {
        task->err =
            tb_ec2_filter_add_dns(task->account->aws, task->filter_id, &effect, &task->fail);
    } else if (task->row == NULL) {
        task->err = control_make_rule(task->account, task->capture, &task->rule, &task->fail);
    } else if (task->row->state == TB_RESOURCE_INTENDED) {
        task->err = control_replay(task->account->control, task->row, &task->fail);
    }
    if (!task->is_dns && task->err == TB_EEXIST) {
        task->err = TB_OK; /* the number is taken: by this rule, whose answer was lost */
    }
}

/* What is missing, side by side: one round trip. */
static enum tb_err
complete(struct control_account *account, const struct tb_capture *capture,
         struct tb_resource *rows, size_t row_count, const char *filter_id,
         struct tb_fail *fail)
{
    const struct tb_filter *filter = &capture->request.filter;
    struct rule_task *work = calloc(TASKS_MOST, sizeof(*work));
    struct control_rule wanted[TB_FILTER_MAX_RULES];
    struct control_task tasks[TASKS_MOST];
    size_t rule_count;
    size_t count = 0;
    enum tb_err err = TB_OK;

    if (work == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the rules of a filter");
    }
    rule_count = control_own_rules(capture, filter_id, wanted);
    for (; count < rule_count + (filter->amazon_dns ? 1 : 0); count++) {
        work[count] = (struct rule_task){.account = account,
                                         .capture = capture,
                                         .filter_id = filter_id,
                                         .is_dns = count == rule_count};
        if (count < rule_count) {
            work[count].rule = wanted[count];
            work[count].row = control_find_row(account, rows, row_count,
                                               TB_RESOURCE_FILTER_RULE, wanted[count].key);
        }
        tasks[count] = (struct control_task){run_rule_task, &work[count]};
    }
    control_together(tasks, count);
    for (size_t i = 0; i < count && err == TB_OK; i++) {
        err = work[i].err;
        if (err != TB_OK) {
            *fail = work[i].fail;
        }
    }
    free(work);
    return err;
}

/* --- the capture's filter --- */

enum tb_err
control_capture_filter(struct control_account *account, const struct tb_capture *capture,
                       char out_id[TB_AWS_ID_SIZE], struct tb_fail *fail)
{
    struct tb_resource *rows = NULL;
    size_t count = 0;
    enum tb_err err;

    if (capture->request.filter.kind == TB_FILTER_ALL) {
        return control_standing_filter(account, out_id, fail);
    }
    err = tb_store_resource_list(account->control->deps.store, capture->id, false, &rows,
                                 &count, fail);
    if (err == TB_OK) {
        err = find_or_make_filter(account, capture, rows, count, out_id, fail);
    }
    if (err == TB_OK) {
        err = complete(account, capture, rows, count, out_id, fail);
    }
    tb_resources_free(rows, count);
    return err;
}

enum tb_err
control_filter_in_place(struct control_account *account, const struct tb_capture *capture,
                        struct tb_filter *out, struct tb_fail *fail)
{
    struct tb_resource *rows = NULL;
    size_t count = 0;
    enum tb_err err;

    *out = capture->request.filter;
    if (out->kind != TB_FILTER_ALL) {
        return TB_OK;
    }
    err = tb_store_resource_list(account->control->deps.store, capture->id, false, &rows,
                                 &count, fail);
    if (err == TB_OK && control_own_filter_row(account, rows, count) != NULL) {
        /* a session that was made, or intended, before the alert that joined may use it */
        *out = (struct tb_filter){.kind = TB_FILTER_RULES};
    }
    tb_resources_free(rows, count);
    return err;
}

/* Rules go with their filter. */
static enum tb_err
forget_rules(struct tb_control *control, struct tb_resource *rows, size_t count,
             enum tb_resource_end end, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < count && err == TB_OK; i++) {
        if (rows[i].kind == TB_RESOURCE_FILTER_RULE && rows[i].state != TB_RESOURCE_GONE) {
            err = tb_store_resource_gone(control->deps.store, rows[i].row, end, "", fail);
            rows[i].state = TB_RESOURCE_GONE;
        }
    }
    return err;
}

enum tb_err
control_delete_own_filter(struct tb_control *control, struct tb_resource *rows, size_t count,
                          uint32_t attempt, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < count && err == TB_OK; i++) {
        if (rows[i].kind == TB_RESOURCE_FILTER && rows[i].state != TB_RESOURCE_GONE) {
            err = control_delete(control, &rows[i], attempt, fail);
        }
    }
    return err == TB_OK ? forget_rules(control, rows, count, TB_RESOURCE_DELETED, fail) : err;
}

enum tb_err
control_forget_own_filter(struct control_account *account, const struct tb_capture *capture,
                          struct tb_fail *fail)
{
    struct tb_resource *rows = NULL;
    struct tb_resource *row;
    size_t count = 0;
    enum tb_err err = tb_store_resource_list(account->control->deps.store, capture->id, false,
                                             &rows, &count, fail);

    row = err == TB_OK ? control_own_filter_row(account, rows, count) : NULL;
    if (row != NULL && row->state == TB_RESOURCE_CREATED &&
        control_is_settled(account->control, row->created_steady_ns)) {
        /* The rules first: a filter that is made anew must not find them made. */
        err = forget_rules(account->control, rows, count, TB_RESOURCE_FOUND_GONE, fail);
        if (err == TB_OK) {
            err = tb_store_resource_gone(account->control->deps.store, row->row,
                                         TB_RESOURCE_FOUND_GONE, "", fail);
        }
    }
    tb_resources_free(rows, count);
    return err;
}

/* --- while it runs --- */

enum tb_err
control_widen(struct control_account *account, const struct tb_capture *capture,
              struct tb_fail *fail)
{
    struct tb_resource *rows = NULL;
    struct tb_ec2_effect effect;
    char filter_id[TB_AWS_ID_SIZE];
    const struct tb_ec2_session_change change = {.filter = filter_id};
    size_t count = 0;
    enum tb_err err = control_capture_filter(account, capture, filter_id, fail);

    if (err != TB_OK || capture->request.filter.kind != TB_FILTER_ALL) {
        goto out;
    }
    /* From its own filter to the one for everything: the sessions first, one by one. */
    err = tb_store_resource_list(account->control->deps.store, capture->id, false, &rows,
                                 &count, fail);
    for (size_t i = 0; i < count && err == TB_OK; i++) {
        if (rows[i].kind == TB_RESOURCE_SESSION && rows[i].state == TB_RESOURCE_CREATED) {
            err = tb_ec2_session_modify(account->aws, rows[i].aws_id, &change, &effect, fail);
            if (err == TB_ENOTFOUND && !control_is_armed(capture, rows[i].key)) {
                err = TB_OK; /* it has gone with its interface */
            }
        }
    }
    if (err == TB_OK) {
        err = control_delete_own_filter(account->control, rows, count, 0, fail);
    }

out:
    if (err == TB_OK) {
        err = tb_store_capture_filter_made(account->control->deps.store, capture->id,
                                           &capture->request.filter, fail);
    }
    if (err == TB_OK) {
        tb_log(TB_LOG_INFO, capture->id, "filter %s lets through: %s", filter_id,
               tb_filter_kind_name(capture->request.filter.kind));
    }
    tb_resources_free(rows, count);
    return err;
}
