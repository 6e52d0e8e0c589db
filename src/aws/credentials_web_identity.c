/*
 * Credentials for a token that somebody else signed: a pod's service account, a CI job.  STS
 * takes it without our signature.
 */
#include "aws_int.h"

#define TOKEN_FILE "AWS_WEB_IDENTITY_TOKEN_FILE"

static enum tb_err
assume(const struct tb_aws_reach *reach, const char *token_file, struct tb_sts_role *role,
       struct tb_aws_credentials *out, struct tb_fail *fail)
{
    struct tb_secret token = TB_SECRET_INIT;
    struct tb_aws *aws = NULL;
    enum tb_err err = tb_aws_read_token(token_file, &token, fail);

    if (err == TB_OK) {
        err = tb_aws_new_bare(reach->http, reach->region, &aws, fail);
    }
    if (err == TB_OK) {
        role->web_identity = token.text;
        role->source = "web identity";
        err = tb_sts_assume(aws, role, out, fail);
    }
    tb_aws_free(aws);
    tb_secret_release(&token);
    return err;
}

enum tb_err
tb_aws_web_identity_of_profile(const struct tb_aws_reach *reach,
                               const struct tb_aws_profiles *profiles, const char *profile,
                               struct tb_aws_credentials *out, struct tb_fail *fail)
{
    const char *file = tb_aws_profiles_get(profiles, profile, "web_identity_token_file");
    struct tb_sts_role role;
    enum tb_err err;

    if (file == NULL) {
        return tb_fail_set(fail, TB_ENOTFOUND, "no " TOKEN_FILE);
    }
    err = tb_sts_role_of_profile(profiles, profile, &role, fail);
    return err == TB_OK ? assume(reach, file, &role, out, fail) : err;
}

enum tb_err
tb_aws_credentials_from_web_identity(const struct tb_aws_reach *reach,
                                     struct tb_aws_credentials *out, struct tb_fail *fail)
{
    const char *file = tb_aws_variable(TOKEN_FILE);
    struct tb_sts_role role = {.arn = tb_aws_variable("AWS_ROLE_ARN"),
                               .session = tb_aws_variable("AWS_ROLE_SESSION_NAME")};
    struct tb_aws_profiles *profiles = NULL;
    enum tb_err err;

    if (file != NULL && role.arn == NULL) {
        return tb_fail_set(fail, TB_EDENIED, TOKEN_FILE " is set and AWS_ROLE_ARN is not");
    }
    if (file != NULL) {
        return assume(reach, file, &role, out, fail);
    }
    err = tb_aws_profiles_load(&profiles, fail);
    if (err == TB_OK) {
        err = tb_aws_web_identity_of_profile(reach, profiles, tb_aws_profile_name(), out, fail);
    }
    tb_aws_profiles_free(profiles);
    return err;
}
