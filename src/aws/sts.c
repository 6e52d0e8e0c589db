/* STS: who we are. */
#include "aws_int.h"

#include <tapbox/ids.h>

enum tb_err
tb_aws_caller_identity(struct tb_aws *aws, struct tb_aws_identity *out, struct tb_fail *fail)
{
    static const char what[] = "GetCallerIdentity";
    struct tb_aws_result result = TB_AWS_RESULT_INIT;
    struct tb_aws_identity identity = {.account = ""};
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    const struct tb_xml_node *node;
    enum tb_err err;

    tb_form_begin(&body, what, TB_STS_VERSION);
    err = tb_buf_check(&body, what, fail);
    if (err != TB_OK) {
        goto out;
    }
    err = tb_aws_query(aws, TB_AWS_STS, TB_AWS_POLICY_READ, what, tb_buf_view(&body), &result,
                       fail);
    if (err != TB_OK) {
        goto out;
    }
    node = tb_xml_at(tb_xml_root(result.xml), "GetCallerIdentityResult");
    err = tb_xml_copy(node, "Account", identity.account, sizeof(identity.account), fail);
    if (err == TB_OK) {
        err = tb_xml_copy(node, "Arn", identity.arn, sizeof(identity.arn), fail);
    }
    if (err == TB_OK && !tb_account_valid(identity.account)) {
        err = tb_fail_set(fail, TB_EFORMAT, "%s: the answer names no account", what);
    }
    if (err == TB_OK) {
        *out = identity;
    }

out:
    tb_aws_result_release(&result);
    tb_buf_release(&body);
    return err;
}
