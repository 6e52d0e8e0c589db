/* Who and where we are, and what the host counted while a capture ran. */
#include "control_int.h"

#include <tapbox/log.h>

/* The configured target interface, or this instance's own. */
static enum tb_err
find_target(struct tb_control *control, struct tb_ec2_interfaces *out, struct tb_fail *fail)
{
    const char *eni = control->deps.config->target_eni;
    struct tb_aws_self host;

    if (eni[0] == 0) {
        enum tb_err err = tb_aws_self(control->deps.aws, &host, fail);

        if (err != TB_OK) {
            tb_fail_prefix(fail, "target.eni is not set, and this host's own interface is not "
                                 "known from instance metadata");
            return err;
        }
        eni = host.eni;
    }
    return tb_ec2_interfaces_by_id(control->deps.aws, &eni, 1, out, fail);
}

enum tb_err
control_account_learn(struct tb_control *control, char out[TB_ACCOUNT_SIZE],
                      struct tb_fail *fail)
{
    struct tb_aws_identity identity;
    enum tb_err err;

    tb_mutex_lock(&control->mu);
    memcpy(out, control->locked.self.account, TB_ACCOUNT_SIZE);
    tb_mutex_unlock(&control->mu);
    if (out[0] != 0) {
        return TB_OK;
    }
    err = tb_aws_caller_identity(control->deps.aws, &identity, fail);
    if (err != TB_OK) {
        tb_fail_prefix(fail, "cannot learn the AWS account");
        return err;
    }
    memcpy(out, identity.account, TB_ACCOUNT_SIZE);
    tb_mutex_lock(&control->mu);
    memcpy(control->locked.self.account, out, TB_ACCOUNT_SIZE);
    tb_mutex_unlock(&control->mu);
    tb_log(TB_LOG_INFO, NULL, "account=%s as %s", out, identity.arn);
    return TB_OK;
}

enum tb_err
control_self_learn(struct tb_control *control, struct control_self *out, struct tb_fail *fail)
{
    struct tb_ec2_interfaces found = {0};
    struct control_self self;
    enum tb_err err;

    tb_mutex_lock(&control->mu);
    self = control->locked.self;
    tb_mutex_unlock(&control->mu);
    if (self.known) {
        *out = self;
        return TB_OK;
    }
    err = control_account_learn(control, self.account, fail);
    if (err != TB_OK) {
        goto out;
    }
    err = find_target(control, &found, fail);
    if (err != TB_OK) {
        goto out;
    }
    if (found.count != 1) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "the target interface was not described");
        goto out;
    }
    self.target = found.at[0];
    self.target.tags = (struct tb_ec2_tags){0};
    self.known = true;
    tb_mutex_lock(&control->mu);
    control->locked.self = self;
    tb_mutex_unlock(&control->mu);
    *out = self;
    tb_log(TB_LOG_INFO, NULL, "target=%s ip=%s", self.target.eni, self.target.ip);

out:
    tb_ec2_interfaces_release(&found);
    return err;
}

void
control_mark_host(struct tb_control *control, const char *capture_id)
{
    struct tb_recorder_host host;
    struct tb_host_mark mark;
    struct tb_fail fail = {0};

    /* without it the manifest says that it is not known */
    if (tb_recorder_host(control->deps.recorder, &host, &fail) == TB_OK) {
        mark = (struct tb_host_mark){host.ledger, host.started_utc_ns, host.pid};
        if (tb_store_host_mark(control->deps.store, capture_id, &mark, &fail) != TB_OK) {
            tb_log_fail(TB_LOG_WARN, capture_id, &fail, "cannot keep the host's counters");
        }
    }
}

void
control_close_host(struct tb_control *control, const char *capture_id)
{
    struct tb_recorder_host now;
    struct tb_host_mark then;
    struct tb_ledger grown = {0};
    struct tb_fail fail = {0};
    bool known = false;

    if (tb_store_host_mark_get(control->deps.store, capture_id, &then, &known, &fail) !=
            TB_OK ||
        !known || tb_recorder_host(control->deps.recorder, &now, &fail) != TB_OK ||
        now.pid != then.recorder_pid || now.started_utc_ns != then.recorder_started_utc_ns) {
        return; /* another recorder counts now: not known */
    }
    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        tb_ledger_set(&grown, i,
                      tb_ledger_get(&now.ledger, i) - tb_ledger_get(&then.ledger, i));
    }
    if (tb_store_host_closed(control->deps.store, capture_id, &grown, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_WARN, capture_id, &fail, "cannot keep the host's counters");
    }
}

void
control_forget(struct tb_control *control, const char *capture_id)
{
    struct tb_fail fail;

    (void)control_take_unsettled(control, capture_id);
    control_forget_late(control, capture_id);
    if (tb_recorder_forget(control->deps.recorder, capture_id, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_DEBUG, capture_id, &fail, "the recorder had forgotten it already");
    }
}

void
control_note_aws_time(struct tb_control *control, int64_t server_utc_s)
{
    if (server_utc_s != 0) {
        tb_mutex_lock(&control->mu);
        control->locked.aws_offset_s =
            server_utc_s - tb_store_steady_ns(control->deps.store) / TB_NS_PER_S;
        control->locked.aws_told = true;
        tb_mutex_unlock(&control->mu);
    }
}

bool
control_has_aws_time(struct tb_control *control)
{
    bool told;

    tb_mutex_lock(&control->mu);
    told = control->locked.aws_told;
    tb_mutex_unlock(&control->mu);
    return told;
}

enum tb_err
control_learn_aws_time(struct control_account *account, struct tb_fail *fail)
{
    struct tb_control *control = account->control;
    struct tb_ec2_targets targets = {0};
    enum tb_err err;

    if (control_has_aws_time(control)) {
        return TB_OK;
    }
    err = tb_ec2_targets_list(account->aws, NULL, &targets, fail);
    if (err == TB_OK) {
        control_note_aws_time(control, targets.server_utc_s);
    }
    tb_ec2_targets_release(&targets);
    return err;
}

int64_t
control_aws_now_ns(struct tb_control *control)
{
    int64_t offset_s;

    tb_mutex_lock(&control->mu);
    offset_s = control->locked.aws_offset_s;
    tb_mutex_unlock(&control->mu);
    return tb_store_steady_ns(control->deps.store) + offset_s * TB_NS_PER_S;
}

int64_t
control_expires_utc_s(struct tb_control *control, const struct tb_deadline *deadline)
{
    int64_t at_ns = control_aws_now_ns(control) + tb_deadline_left_ns(deadline);

    /* to the nearest second: a deadline is a whole one by the clock that it was set by */
    return (at_ns + TB_NS_PER_S / 2) / TB_NS_PER_S;
}
