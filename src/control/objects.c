/* AWS objects: written down before they are asked for, deleted until AWS says they are gone. */
#include "control_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/log.h>

static const int64_t settle_ns = 60 * TB_NS_PER_S;
enum {
    tries_before_belief = 6, /* with pauses in between, some ten seconds */
    sweep_slack_s = 2        /* between what we know of AWS's clock and what a sweep does */
};

static const enum tb_ec2_kind ec2_kind[TB_RESOURCE_KIND_COUNT] = {
    [TB_RESOURCE_TARGET] = TB_EC2_TARGET,
    [TB_RESOURCE_FILTER] = TB_EC2_FILTER,
    [TB_RESOURCE_FILTER_RULE] = TB_EC2_FILTER_RULE,
    [TB_RESOURCE_SESSION] = TB_EC2_SESSION,
};

void
control_set_tag(struct tb_ec2_tag *tag, const char *key, const char *value)
{
    (void)tb_str_copy(tag->key, sizeof(tag->key), key);
    (void)tb_str_copy(tag->value, sizeof(tag->value), value);
}

/* The account and Region that calls about `account` (as in rows) go to now. */
static enum tb_err
find_place(struct tb_control *control, const char *account_id,
           char out[sizeof(((struct tb_resource *)0)->place)], struct tb_fail *fail)
{
    char own[TB_ACCOUNT_SIZE];
    enum tb_err err = account_id[0] != 0 ? TB_OK : control_account_learn(control, own, fail);

    if (err == TB_OK) {
        (void)snprintf(out, sizeof(((struct tb_resource *)0)->place), "%s/%s",
                       account_id[0] != 0 ? account_id : own, tb_aws_region(control->deps.aws));
    }
    return err;
}

enum tb_err
control_check_place(struct tb_control *control, const struct tb_resource *resource,
                    struct tb_fail *fail)
{
    char now[sizeof(resource->place)];
    enum tb_err err;

    if (resource->place[0] == 0) {
        return TB_OK;
    }
    err = find_place(control, resource->account, now, fail);
    if (err == TB_OK && strcmp(now, resource->place) != 0) {
        err =
            tb_fail_set(fail, TB_EDENIED,
                        "it was made in %s, and this tapbox works in %s now: give it back its "
                        "credentials and Region, or use 'tapbox sweep' with them",
                        resource->place, now);
    }
    return err;
}

/* Sends what the row `row` says, which is `intent`, and writes the answer down. */
static enum tb_err
send(struct tb_control *control, int64_t row, const struct tb_resource *intent,
     struct tb_ec2_effect *out, struct tb_fail *fail)
{
    struct control_account *account = NULL;
    enum tb_err err = control_account_get(control, intent->account, &account, fail);

    if (err == TB_OK) {
        err = tb_ec2_create(account->aws, ec2_kind[intent->kind], tb_bytes_str(intent->params),
                            out, fail);
    }
    if (err != TB_OK) {
        tb_fail_prefix(fail, "cannot create the %s", tb_resource_kind_name(intent->kind));
        return err;
    }
    err = tb_store_resource_created(control->deps.store, row, out->id, out->request_id, fail);
    if (err == TB_OK) {
        tb_log(TB_LOG_INFO, intent->capture_id, "created %s %s%s%s request_id=%s",
               tb_resource_kind_name(intent->kind), out->id,
               intent->account[0] != 0 ? " in account " : "", intent->account, out->request_id);
    }
    return err;
}

/*
 * Whether EC2 itself answered that the request is wrong, so that nothing was made.  "Not
 * allowed" does not count: it may have come for a second try whose first one had its effect, be
 * that try control's, the call's or libcurl's own on a connection that had died.
 */
static bool
was_refused(enum tb_err err, const struct tb_fail *fail)
{
    return fail->http_status >= 400 && fail->http_status < 500 && fail->code[0] != 0 &&
           (err == TB_EINVAL || err == TB_ENOTFOUND || err == TB_EEXIST || err == TB_EFULL);
}

/* What EC2 says when the object is not there; other NotFounds are about something else. */
static bool
is_gone_in_ec2(enum tb_err err, const struct tb_fail *fail)
{
    return err == TB_ENOTFOUND && strncmp(fail->code, "InvalidTrafficMirror", 20) == 0;
}

/* The owner is the one that it was asked for with: the configuration may name another by now,
 * and what is listed then is ours all the same. */
static bool
is_of(const struct tb_resource *resource, const struct tb_ec2_tags *tags)
{
    const char *capture = tb_ec2_tag(tags, TB_TAG_CAPTURE);
    const char *owner = tb_ec2_tag(tags, TB_TAG_OWNER);
    char asked[sizeof(((struct tb_config *)0)->owner)];

    return capture != NULL && strcmp(capture, resource->capture_id) == 0 && owner != NULL &&
           tb_plan_param_tag(resource->params, TB_TAG_OWNER, asked, sizeof(asked)) &&
           strcmp(owner, asked) == 0;
}

/* The session of this capture on the interface the row names, as EC2 lists it now; "" : none.
 */
static enum tb_err
find_session(struct tb_control *control, const struct tb_resource *resource,
             char out_id[TB_AWS_ID_SIZE], struct tb_fail *fail)
{
    struct tb_ec2_sessions found = {0};
    struct control_account *account = NULL;
    const char *eni = resource->key;
    enum tb_err err = control_account_get(control, resource->account, &account, fail);

    out_id[0] = 0;
    if (err == TB_OK) {
        err = tb_ec2_sessions_list(account->aws, &eni, 1, &found, fail);
    }
    for (size_t i = 0; i < found.count && err == TB_OK; i++) {
        if (is_of(resource, &found.at[i].tags)) {
            memcpy(out_id, found.at[i].id, TB_AWS_ID_SIZE);
        }
    }
    tb_ec2_sessions_release(&found);
    return err;
}

enum tb_err
control_create(struct tb_control *control, const struct tb_resource *intent,
               char out_id[TB_AWS_ID_SIZE], struct tb_fail *fail)
{
    struct tb_resource placed = *intent; /* params stay the caller's */
    struct tb_ec2_effect effect;
    int64_t row = 0;
    enum tb_err err = find_place(control, intent->account, placed.place, fail);

    if (err == TB_OK) {
        err = tb_store_resource_intend(control->deps.store, &placed, &row, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    err = send(control, row, intent, &effect, fail);
    if (err == TB_OK) {
        memcpy(out_id, effect.id, TB_AWS_ID_SIZE);
    } else if (was_refused(err, fail) &&
               tb_store_resource_gone(control->deps.store, row, TB_RESOURCE_NOT_MADE,
                                      fail->request_id, NULL) != TB_OK) {
        tb_log(TB_LOG_WARN, intent->capture_id,
               "the refused %s stays written down and is cleared later",
               tb_resource_kind_name(intent->kind));
    }
    return err;
}

enum tb_err
control_replay(struct tb_control *control, struct tb_resource *resource, struct tb_fail *fail)
{
    struct tb_ec2_effect effect;
    char id[TB_AWS_ID_SIZE] = "";
    enum tb_err err = TB_OK;

    /* What EC2 lists needs no second request, however long ago its token was. */
    if (resource->kind == TB_RESOURCE_SESSION) {
        err = find_session(control, resource, id, fail);
    }
    if (err == TB_OK && id[0] != 0) {
        err = tb_store_resource_created(control->deps.store, resource->row, id, "", fail);
        memcpy(effect.id, id, sizeof(effect.id));
    } else if (err == TB_OK) {
        err = send(control, resource->row, resource, &effect, fail);
        if (err != TB_OK && was_refused(err, fail) &&
            control_check_place(control, resource, NULL) == TB_OK &&
            tb_store_resource_gone(control->deps.store, resource->row, TB_RESOURCE_NOT_MADE,
                                   fail->request_id, NULL) == TB_OK) {
            /* Neither listed nor to be had: there is none. */
            resource->state = TB_RESOURCE_GONE;
        }
    }
    if (err == TB_OK) {
        memcpy(resource->aws_id, effect.id, sizeof(resource->aws_id));
        resource->state = TB_RESOURCE_CREATED;
    }
    return err;
}

static enum tb_err
find_own_filter(struct tb_control *control, const struct tb_resource *resource,
                char out_id[TB_AWS_ID_SIZE], struct tb_fail *fail)
{
    struct tb_ec2_filters found = {0};
    struct control_account *account = NULL;
    enum tb_err err = control_account_get(control, resource->account, &account, fail);

    out_id[0] = 0;
    if (err == TB_OK) {
        err = tb_ec2_filters_list(account->aws, &found, fail);
    }
    for (size_t i = 0; i < found.count && err == TB_OK; i++) {
        if (is_of(resource, &found.at[i].tags)) {
            memcpy(out_id, found.at[i].id, TB_AWS_ID_SIZE);
        }
    }
    tb_ec2_filters_release(&found);
    return err;
}

/* It says whose it is: a session, or the filter of one capture. */
static bool
has_own_tags(const struct tb_resource *resource)
{
    return resource->kind == TB_RESOURCE_SESSION ||
           (resource->kind == TB_RESOURCE_FILTER && resource->capture_id[0] != 0);
}

static enum tb_err
find_by_tags(struct tb_control *control, const struct tb_resource *resource,
             char out_id[TB_AWS_ID_SIZE], struct tb_fail *fail)
{
    return resource->kind == TB_RESOURCE_SESSION
               ? find_session(control, resource, out_id, fail)
               : find_own_filter(control, resource, out_id, fail);
}

bool
control_is_settled(const struct tb_control *control, int64_t then_steady_ns)
{
    return tb_store_steady_ns(control->deps.store) - then_steady_ns >= settle_ns;
}

/*
 * NotFound may be an EC2 that has not heard yet of what it made seconds ago, or one that has
 * never heard of it, elsewhere.  It is believed of what was made here a while ago, or when EC2
 * does not list it either after several tries.
 */
static enum tb_err
believe_not_found(struct tb_control *control, const struct tb_resource *resource,
                  uint32_t attempt, struct tb_fail *fail)
{
    int64_t age_ns = tb_store_steady_ns(control->deps.store) - resource->created_steady_ns;
    char id[TB_AWS_ID_SIZE] = "";
    enum tb_err err = control_check_place(control, resource, fail);

    if (err != TB_OK || control_is_settled(control, resource->created_steady_ns) ||
        age_ns < 0 || !has_own_tags(resource)) {
        return err;
    }
    err = find_by_tags(control, resource, id, fail);
    if (err == TB_OK && (id[0] != 0 || attempt < tries_before_belief)) {
        err = tb_fail_set(fail, TB_ERETRY, "EC2 does not know %s yet, which it made %lld s ago",
                          resource->aws_id, (long long)(age_ns / TB_NS_PER_S));
    }
    return err;
}

/*
 * What is to go, may exist, and has no id, because the answer was lost.  The request is not
 * sent again for it: one that never arrived would make now what is to go.  EC2 lists it, or
 * does not in several tries and it is believed that there is none; should it turn up after
 * that, it goes by its tags.
 */
static enum tb_err
find_intended(struct tb_control *control, struct tb_resource *resource, uint32_t attempt,
              struct tb_fail *fail)
{
    char id[TB_AWS_ID_SIZE] = "";
    enum tb_err err = find_by_tags(control, resource, id, fail);

    if (err != TB_OK) {
        return err;
    }
    if (id[0] != 0) {
        err = tb_store_resource_created(control->deps.store, resource->row, id, "", fail);
        if (err == TB_OK) {
            memcpy(resource->aws_id, id, sizeof(id));
            resource->state = TB_RESOURCE_CREATED;
        }
        return err;
    }
    if (attempt < tries_before_belief) {
        return tb_fail_set(
            fail, TB_ERETRY,
            "nobody has said whether the %s of %s was made, and EC2 does not list "
            "it",
            tb_resource_kind_name(resource->kind), resource->key);
    }
    err = control_check_place(control, resource, fail);
    if (err == TB_OK) {
        err = tb_store_resource_gone(control->deps.store, resource->row, TB_RESOURCE_NOT_MADE,
                                     "", fail);
    }
    if (err == TB_OK) {
        resource->state = TB_RESOURCE_GONE;
    }
    return err;
}

/* What has expired may have been deleted by a sweep from elsewhere, which costs no packet.  It
 * goes by AWS's clock, and so do we: by ours alone nothing is expired. */
static bool
may_be_swept(struct control_account *account, const struct tb_resource *resource)
{
    return resource->expires_utc_s != 0 && control_learn_aws_time(account, NULL) == TB_OK &&
           control_aws_now_ns(account->control) / TB_NS_PER_S >
               resource->expires_utc_s + sweep_slack_s;
}

enum tb_err
control_delete(struct tb_control *control, struct tb_resource *resource, uint32_t attempt,
               struct tb_fail *fail)
{
    bool asked_before = resource->state == TB_RESOURCE_DELETING;
    enum tb_resource_end end = TB_RESOURCE_DELETED;
    struct control_account *account = NULL;
    struct tb_ec2_effect effect = {0};
    struct tb_fail answer = {0};
    enum tb_err err = TB_OK;

    if (resource->state == TB_RESOURCE_GONE) {
        return TB_OK;
    }
    if (resource->state == TB_RESOURCE_INTENDED && resource->aws_id[0] == 0) {
        err = has_own_tags(resource) ? find_intended(control, resource, attempt, fail)
                                     : control_replay(control, resource, fail);
        if (resource->state == TB_RESOURCE_GONE) {
            return TB_OK;
        }
        if (err != TB_OK) {
            return err;
        }
    }
    if (resource->state != TB_RESOURCE_DELETING) {
        err = tb_store_resource_deleting(control->deps.store, resource->row, true, &answer);
        if (err != TB_OK) {
            /* A store that cannot write keeps nobody's tap alive. */
            tb_log_fail(TB_LOG_ERROR, resource->capture_id, &answer,
                        "deleting %s without having written it down", resource->aws_id);
        }
        resource->state = TB_RESOURCE_DELETING;
    }
    answer = (struct tb_fail){0};
    err = control_account_get(control, resource->account, &account, &answer);
    if (err == TB_OK) {
        err = tb_ec2_delete(account->aws, ec2_kind[resource->kind], resource->aws_id, &effect,
                            &answer);
    }
    if (is_gone_in_ec2(err, &answer)) {
        /* An earlier request of ours may have deleted it, its answer lost. */
        bool never_had = !asked_before && answer.tries == 1;

        if (never_had && !may_be_swept(account, resource)) {
            end = TB_RESOURCE_FOUND_GONE;
        }
        err = believe_not_found(control, resource, attempt, &answer);
        if (err != TB_OK && never_had &&
            tb_store_resource_deleting(control->deps.store, resource->row, false, NULL) ==
                TB_OK) {
            resource->state = TB_RESOURCE_CREATED;
        }
    } else if (err == TB_ENOTFOUND || err == TB_ESTATE) {
        err = TB_ERETRY; /* something else is missing, or it is still in use */
    }
    if (err != TB_OK) {
        atomic_fetch_add(&control->delete_failures, 1);
        if (fail != NULL) {
            *fail = answer;
            fail->err = err;
        }
        tb_fail_prefix(fail, "cannot delete the %s %s", tb_resource_kind_name(resource->kind),
                       resource->aws_id);
        return err;
    }
    err = tb_store_resource_gone(
        control->deps.store, resource->row, end,
        effect.request_id[0] != 0 ? effect.request_id : answer.request_id, fail);
    if (err == TB_OK) {
        resource->state = TB_RESOURCE_GONE;
        resource->gone_steady_ns = tb_store_steady_ns(control->deps.store);
        tb_log(TB_LOG_INFO, resource->capture_id, "deleted %s %s request_id=%s",
               tb_resource_kind_name(resource->kind), resource->aws_id,
               effect.request_id[0] != 0 ? effect.request_id : answer.request_id);
    }
    return err;
}
