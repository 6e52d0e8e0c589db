/* Credentials from a profile of the shared files, read anew each time. */
#include "aws_int.h"

/* A profile with one of these means other credentials than the static keys beside it. */
static const char *const other_sources[] = {"sso_session", "sso_start_url"};

enum tb_err
tb_aws_credentials_of_profile(const struct tb_aws_profiles *profiles, const char *profile,
                              struct tb_aws_credentials *out, struct tb_fail *fail)
{
    const char *id = tb_aws_profiles_get(profiles, profile, "aws_access_key_id");
    const char *secret = tb_aws_profiles_get(profiles, profile, "aws_secret_access_key");

    for (size_t i = 0; i < sizeof(other_sources) / sizeof(other_sources[0]); i++) {
        if (tb_aws_profiles_get(profiles, profile, other_sources[i]) != NULL) {
            return tb_fail_set(fail, TB_EDENIED,
                               "profile '%.64s' has %s, which tapbox does not read: give it "
                               "static keys, or use the instance's role",
                               profile, other_sources[i]);
        }
    }
    if (id == NULL && secret == NULL) {
        return tb_fail_set(fail, TB_ENOTFOUND, "profile '%.64s' has no keys", profile);
    }
    return tb_aws_credentials_fill(out, id, secret,
                                   tb_aws_profiles_get(profiles, profile, "aws_session_token"),
                                   "shared file", fail);
}

enum tb_err
tb_aws_credentials_from_files(const struct tb_aws_reach *reach TB_UNUSED,
                              struct tb_aws_credentials *out, struct tb_fail *fail)
{
    const char *profile = tb_aws_profile_name();
    struct tb_aws_profiles *profiles = NULL;
    enum tb_err err = tb_aws_profiles_load(&profiles, fail);

    if (err != TB_OK) {
        return err;
    }
    if (tb_aws_profiles_has(profiles, profile)) {
        err = tb_aws_credentials_of_profile(profiles, profile, out, fail);
    } else {
        /* Asked for by name, it has to be there. */
        err = tb_fail_set(fail, strcmp(profile, "default") == 0 ? TB_ENOTFOUND : TB_EDENIED,
                          "there is no profile '%.64s'", profile);
    }
    tb_aws_profiles_free(profiles);
    return err;
}
