/* The accounts in which there may be sources: our own, and those of the configuration. */
#include "control_int.h"

#include <stdlib.h>

enum tb_err
control_accounts_open(struct tb_control *control, struct tb_fail *fail)
{
    const struct tb_config *config = control->deps.config;
    size_t count = config->account_count + 1;

    control->accounts = calloc(count, sizeof(*control->accounts));
    if (control->accounts == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the accounts");
    }
    for (size_t i = 0; i < count; i++) {
        struct control_account *account = &control->accounts[i];
        enum tb_err err = TB_OK;

        account->control = control;
        account->aws = control->deps.aws;
        if (i > 0) {
            const struct tb_config_account *configured = &config->accounts[i - 1];

            (void)tb_str_copy(account->id, sizeof(account->id), configured->id);
            err = tb_aws_assume(control->deps.aws, configured->role_arn,
                                configured->external_id, config->owner, &account->aws, fail);
        }
        if (err != TB_OK) {
            return err;
        }
        tb_mutex_init(&account->mu);
        tb_mutex_init(&account->standing_mu);
        control->account_count++;
    }
    return TB_OK;
}

void
control_accounts_release(struct tb_control *control)
{
    for (size_t i = 0; i < control->account_count; i++) {
        tb_mutex_release(&control->accounts[i].standing_mu);
        tb_mutex_release(&control->accounts[i].mu);
    }
    free(control->accounts);
    control->accounts = NULL;
    control->account_count = 0;
}

bool
control_is_own(const struct control_account *account)
{
    return account->id[0] == 0;
}

enum tb_err
control_account_get(struct tb_control *control, const char *id, struct control_account **out,
                    struct tb_fail *fail)
{
    for (size_t i = 0; i < control->account_count; i++) {
        if (strcmp(control->accounts[i].id, id) == 0) {
            *out = &control->accounts[i];
            return TB_OK;
        }
    }
    return tb_fail_set(fail, TB_EDENIED,
                       "account %s is not among the accounts of the configuration: put it back "
                       "there, or use 'tapbox sweep --role'",
                       id);
}

enum tb_err
control_account_of(struct tb_control *control, const struct tb_capture_request *request,
                   struct control_account **out, struct tb_fail *fail)
{
    char own[TB_ACCOUNT_SIZE];
    enum tb_err err = control_account_learn(control, own, fail);

    return err == TB_OK
               ? control_account_get(control,
                                     strcmp(request->account, own) == 0 ? "" : request->account,
                                     out, fail)
               : err;
}

bool
control_is_role_refused(enum tb_err err, const struct tb_fail *fail)
{
    return err == TB_EDENIED && strstr(fail->text, "cannot assume ") != NULL;
}
