/* Credentials from the environment. */
#include "aws_int.h"

#include <tapbox/clock.h>

enum tb_err
tb_aws_credentials_from_environment(const struct tb_aws_reach *reach TB_UNUSED,
                                    struct tb_aws_credentials *out, struct tb_fail *fail)
{
    const char *id = tb_aws_variable("AWS_ACCESS_KEY_ID");
    const char *secret = tb_aws_variable("AWS_SECRET_ACCESS_KEY");
    const char *expires = tb_aws_variable("AWS_CREDENTIAL_EXPIRATION");
    int64_t expires_utc_ns = 0;
    enum tb_err err;

    if (id == NULL && secret == NULL) {
        return tb_fail_set(fail, TB_ENOTFOUND, "AWS_ACCESS_KEY_ID is not set");
    }
    if (id == NULL || secret == NULL) {
        return tb_fail_set(fail, TB_EDENIED, "%s is set and %s is not",
                           id != NULL ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
                           id != NULL ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
    }
    if (expires != NULL && tb_time_parse(expires, &expires_utc_ns) != TB_OK) {
        return tb_fail_set(fail, TB_EDENIED, "AWS_CREDENTIAL_EXPIRATION '%.40s' is not a time",
                           expires);
    }
    err = tb_aws_credentials_fill(out, id, secret, tb_aws_variable("AWS_SESSION_TOKEN"),
                                  "environment", fail);
    if (err == TB_OK) {
        out->expires_utc_s = expires_utc_ns / TB_NS_PER_S;
    }
    return err;
}
