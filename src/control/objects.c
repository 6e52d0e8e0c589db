/* AWS objects: written down before they are asked for, deleted until AWS says they are gone. */
#include "control_int.h"

#include <stdlib.h>

#include <tapbox/log.h>

static const enum tb_ec2_kind ec2_kind[TB_RESOURCE_KIND_COUNT] = {
    [TB_RESOURCE_TARGET] = TB_EC2_TARGET,
    [TB_RESOURCE_FILTER] = TB_EC2_FILTER,
    [TB_RESOURCE_FILTER_RULE] = TB_EC2_FILTER_RULE,
    [TB_RESOURCE_SESSION] = TB_EC2_SESSION,
};

/* Sends what row `resource->row` says and writes the answer down. */
static enum tb_err
send(struct tb_control *control, int64_t row, enum tb_resource_kind kind, const char *params,
     const char *capture_id, struct tb_ec2_effect *out, struct tb_fail *fail)
{
    enum tb_err err =
        tb_ec2_create(control->deps.aws, ec2_kind[kind], tb_bytes_str(params), out, fail);

    if (err != TB_OK) {
        tb_fail_prefix(fail, "cannot create the %s", tb_resource_kind_name(kind));
        return err;
    }
    err = tb_store_resource_created(control->deps.store, row, out->id, out->request_id, fail);
    if (err == TB_OK) {
        tb_log(TB_LOG_INFO, capture_id, "created %s %s request_id=%s",
               tb_resource_kind_name(kind), out->id, out->request_id);
    }
    return err;
}

/* Whether EC2 answered and said no, so that nothing was made. */
static bool
was_refused(enum tb_err err)
{
    return err == TB_EINVAL || err == TB_ENOTFOUND || err == TB_EEXIST || err == TB_EDENIED ||
           err == TB_EFULL;
}

enum tb_err
control_create(struct tb_control *control, const struct tb_resource *intent,
               char out_id[TB_AWS_ID_SIZE], struct tb_fail *fail)
{
    struct tb_ec2_effect effect;
    int64_t row = 0;
    enum tb_err err;

    err = tb_store_resource_intend(control->deps.store, intent, &row, fail);
    if (err != TB_OK) {
        return err;
    }
    err = send(control, row, intent->kind, intent->params, intent->capture_id, &effect, fail);
    if (err == TB_OK) {
        memcpy(out_id, effect.id, TB_AWS_ID_SIZE);
    } else if (was_refused(err) &&
               tb_store_resource_gone(control->deps.store, row,
                                      fail != NULL ? fail->request_id : "", NULL) != TB_OK) {
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
    enum tb_err err;

    err = send(control, resource->row, resource->kind, resource->params, resource->capture_id,
               &effect, fail);
    if (err == TB_OK) {
        memcpy(resource->aws_id, effect.id, sizeof(resource->aws_id));
        resource->state = TB_RESOURCE_CREATED;
    } else if (was_refused(err)) {
        /* The answer of the first try was lost, or it was never sent; this one says no. */
        if (tb_store_resource_gone(control->deps.store, resource->row,
                                   fail != NULL ? fail->request_id : "", NULL) == TB_OK) {
            resource->state = TB_RESOURCE_GONE;
        }
    }
    return err;
}

enum tb_err
control_delete(struct tb_control *control, struct tb_resource *resource, struct tb_fail *fail)
{
    struct tb_ec2_effect effect = {0};
    struct tb_fail answer = {0};
    enum tb_err err = TB_OK;

    if (resource->state == TB_RESOURCE_GONE) {
        return TB_OK;
    }
    if (resource->state == TB_RESOURCE_INTENDED && resource->aws_id[0] == 0) {
        /* It may exist and only the answer was lost: the same request again tells its id. */
        err = control_replay(control, resource, fail);
        if (resource->state == TB_RESOURCE_GONE) {
            return TB_OK;
        }
        if (err != TB_OK) {
            return err;
        }
    }
    if (resource->state != TB_RESOURCE_DELETING) {
        err = tb_store_resource_deleting(control->deps.store, resource->row, fail);
        if (err != TB_OK) {
            return err;
        }
        resource->state = TB_RESOURCE_DELETING;
    }
    err = tb_ec2_delete(control->deps.aws, ec2_kind[resource->kind], resource->aws_id, &effect,
                        &answer);
    if (err != TB_OK && err != TB_ENOTFOUND) {
        atomic_fetch_add(&control->delete_failures, 1);
        if (fail != NULL) {
            *fail = answer;
        }
        tb_fail_prefix(fail, "cannot delete the %s %s", tb_resource_kind_name(resource->kind),
                       resource->aws_id);
        return err;
    }
    err = tb_store_resource_gone(control->deps.store, resource->row,
                                 err == TB_OK ? effect.request_id : answer.request_id, fail);
    if (err == TB_OK) {
        resource->state = TB_RESOURCE_GONE;
        tb_log(TB_LOG_INFO, resource->capture_id, "deleted %s %s request_id=%s",
               tb_resource_kind_name(resource->kind), resource->aws_id,
               effect.request_id[0] != 0 ? effect.request_id : answer.request_id);
    }
    return err;
}
