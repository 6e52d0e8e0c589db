/* Credentials of a role that the profile names (role_arn), with those of another profile or
 * source to ask STS for it. */
#include "aws_int.h"

enum {
    CHAIN_MAX = 5 /* profiles that name one another: AWS lets a role assume a role */
};

static enum tb_err load_profile(const struct tb_aws_reach *reach,
                                const struct tb_aws_profiles *profiles, const char *profile,
                                unsigned depth, struct tb_aws_credentials *out,
                                struct tb_fail *fail);

static bool
has_role(const struct tb_aws_profiles *profiles, const char *profile)
{
    return tb_aws_profiles_get(profiles, profile, "role_arn") != NULL &&
           tb_aws_profiles_get(profiles, profile, "web_identity_token_file") == NULL;
}

static enum tb_err
load_source(const struct tb_aws_reach *reach, const char *source,
            struct tb_aws_credentials *out, struct tb_fail *fail)
{
    static const struct {
        const char *name;
        tb_aws_source_fn *load;
    } sources[] = {{"Environment", tb_aws_credentials_from_environment},
                   {"Ec2InstanceMetadata", tb_aws_credentials_from_imds},
                   {"EcsContainer", tb_aws_credentials_from_container}};

    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        if (strcmp(sources[i].name, source) == 0) {
            return sources[i].load(reach, out, fail);
        }
    }
    return tb_fail_set(fail, TB_EDENIED,
                       "credential_source '%.64s' is not Environment, Ec2InstanceMetadata or "
                       "EcsContainer",
                       source);
}

/* Those that sign the question. */
static enum tb_err
load_base(const struct tb_aws_reach *reach, const struct tb_aws_profiles *profiles,
          const char *profile, unsigned depth, struct tb_aws_credentials *out,
          struct tb_fail *fail)
{
    const char *other = tb_aws_profiles_get(profiles, profile, "source_profile");
    const char *source = tb_aws_profiles_get(profiles, profile, "credential_source");

    if ((other == NULL) == (source == NULL)) {
        return tb_fail_set(fail, TB_EDENIED,
                           "role_arn needs one of source_profile and credential_source");
    }
    if (tb_aws_profiles_get(profiles, profile, "mfa_serial") != NULL) {
        return tb_fail_set(fail, TB_EDENIED, "mfa_serial needs somebody to type a code");
    }
    if (source != NULL) {
        return load_source(reach, source, out, fail);
    }
    if (strcmp(other, profile) == 0) { /* its own keys */
        return tb_aws_credentials_of_profile(profiles, profile, out, fail);
    }
    if (!tb_aws_profiles_has(profiles, other)) {
        return tb_fail_set(fail, TB_EDENIED, "there is no profile '%.64s'", other);
    }
    return load_profile(reach, profiles, other, depth + 1, out, fail);
}

static enum tb_err
give_base(void *arg, struct tb_aws_credentials *out, struct tb_fail *fail)
{
    return tb_aws_credentials_copy(arg, out, fail);
}

static enum tb_err
load_role(const struct tb_aws_reach *reach, const struct tb_aws_profiles *profiles,
          const char *profile, unsigned depth, struct tb_aws_credentials *out,
          struct tb_fail *fail)
{
    struct tb_aws_credentials base = {.source = NULL};
    struct tb_aws *aws = NULL;
    struct tb_sts_role role;
    enum tb_err err = tb_sts_role_of_profile(profiles, profile, &role, fail);

    if (err != TB_OK) {
        return err;
    }
    err = load_base(reach, profiles, profile, depth, &base, fail);
    if (err != TB_OK) {
        tb_fail_prefix(fail, "profile '%.64s'", profile);
        return err == TB_ENOTFOUND ? TB_EDENIED : err; /* somebody said that it is there */
    }
    err = tb_aws_new_bare(reach->http, reach->region, &aws, fail);
    if (err == TB_OK) {
        err = tb_aws_credentials_own_source(give_base, &base, &aws->credentials, fail);
    }
    if (err == TB_OK) {
        role.source = "assumed role";
        err = tb_sts_assume(aws, &role, out, fail);
    }
    tb_aws_free(aws);
    tb_aws_credentials_release(&base);
    return err;
}

static enum tb_err
load_profile(const struct tb_aws_reach *reach, const struct tb_aws_profiles *profiles,
             const char *profile, unsigned depth, struct tb_aws_credentials *out,
             struct tb_fail *fail)
{
    enum tb_err err;

    if (depth == CHAIN_MAX) {
        return tb_fail_set(fail, TB_EDENIED, "more than %d profiles name one another",
                           CHAIN_MAX);
    }
    if (has_role(profiles, profile)) {
        return load_role(reach, profiles, profile, depth, out, fail);
    }
    err = tb_aws_web_identity_of_profile(reach, profiles, profile, out, fail);
    if (err == TB_ENOTFOUND) {
        err = tb_aws_credentials_of_profile(profiles, profile, out, fail);
    }
    if (err == TB_ENOTFOUND) {
        err = tb_aws_process_of_profile(profiles, profile, TB_AWS_PROCESS_NS, out, fail);
    }
    return err;
}

enum tb_err
tb_aws_credentials_from_role(const struct tb_aws_reach *reach, struct tb_aws_credentials *out,
                             struct tb_fail *fail)
{
    const char *profile = tb_aws_profile_name();
    struct tb_aws_profiles *profiles = NULL;
    enum tb_err err = tb_aws_profiles_load(&profiles, fail);

    if (err != TB_OK) {
        return err;
    }
    err = has_role(profiles, profile) ? load_role(reach, profiles, profile, 0, out, fail)
                                      : tb_fail_set(fail, TB_ENOTFOUND, "no role_arn");
    tb_aws_profiles_free(profiles);
    return err;
}
