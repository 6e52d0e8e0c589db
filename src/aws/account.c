/* One account and Region: found out once, at start. */
#include "aws_int.h"

#include <ctype.h>
#include <stdlib.h>

static bool
is_region(const char *text)
{
    size_t len = strlen(text);

    if (len == 0 || len >= TB_REGION_SIZE) {
        return false;
    }
    for (const char *p = text; *p != '\0'; p++) {
        if (!islower((unsigned char)*p) && !isdigit((unsigned char)*p) && *p != '-') {
            return false;
        }
    }
    return text[0] != '-' && text[len - 1] != '-';
}

static enum tb_err
take_region(struct tb_aws *aws, const char *text, const char *where, struct tb_fail *fail)
{
    if (!is_region(text)) {
        return tb_fail_set(fail, TB_EINVAL, "%s: '%.64s' is not the name of a Region", where,
                           text);
    }
    (void)tb_str_copy(aws->region, sizeof(aws->region), text);
    return TB_OK;
}

static enum tb_err
ask_imds_for_region(struct tb_aws *aws, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_REGION_SIZE);
    struct tb_fail why = {.text = ""};
    struct tb_imds imds;
    enum tb_err err = tb_imds_open(aws->http, &imds, &why);

    if (err == TB_OK) {
        err = tb_imds_get(&imds, "/latest/meta-data/placement/region", &text, &why);
        tb_imds_close(&imds);
    }
    if (err == TB_OK) {
        err = take_region(aws, tb_buf_str(&text), "instance metadata", fail);
    } else {
        err = tb_fail_set(fail, TB_EINVAL,
                          "no AWS Region: set AWS_REGION, or region in the profile (instance "
                          "metadata: %.200s)",
                          why.text);
    }
    tb_buf_release(&text);
    return err;
}

/* The first of: the caller, the environment, the profile, the instance. */
static enum tb_err
find_region(struct tb_aws *aws, const char *region, const struct tb_aws_profiles *profiles,
            struct tb_fail *fail)
{
    const struct {
        const char *value, *where;
    } places[] = {
        {region, "region"},
        {getenv("AWS_REGION"), "AWS_REGION"},
        {getenv("AWS_DEFAULT_REGION"), "AWS_DEFAULT_REGION"},
        {tb_aws_profiles_get(profiles, tb_aws_profile_name(), "region"),
         "the profile's region"},
    };

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (places[i].value != NULL && places[i].value[0] != '\0') {
            return take_region(aws, places[i].value, places[i].where, fail);
        }
    }
    return ask_imds_for_region(aws, fail);
}

enum tb_err
tb_aws_new_bare(struct tb_http_client *http, const char *region, struct tb_aws **out,
                struct tb_fail *fail)
{
    struct tb_aws_profiles *profiles = NULL;
    struct tb_aws *aws = calloc(1, sizeof(*aws));
    enum tb_err err;

    if (aws == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "AWS client");
    }
    aws->http = http;
    tb_mutex_init(&aws->mu);
    aws->locked.retry_tokens = TB_AWS_RETRY_TOKENS;
    memcpy(aws->policies, tb_aws_default_policies, sizeof(aws->policies));
    err = tb_aws_profiles_load(&profiles, fail);
    if (err != TB_OK) {
        goto out;
    }
    err = find_region(aws, region, profiles, fail);
    for (enum tb_aws_service s = 0; s < TB_AWS_SERVICE_COUNT && err == TB_OK; s++) {
        err = tb_aws_endpoint_resolve(s, aws->region, profiles, &aws->endpoints[s], fail);
    }
    if (err == TB_OK) {
        *out = aws;
        aws = NULL;
    }

out:
    tb_aws_profiles_free(profiles);
    tb_aws_free(aws);
    return err;
}

enum tb_err
tb_aws_new(struct tb_http_client *http, const char *region, struct tb_aws **out,
           struct tb_fail *fail)
{
    struct tb_aws *aws = NULL;
    enum tb_err err = tb_aws_new_bare(http, region, &aws, fail);

    if (err == TB_OK) {
        err = tb_aws_credentials_default_chain(http, aws->region, &aws->credentials, fail);
    }
    if (err != TB_OK) {
        tb_aws_free(aws);
        return err;
    }
    *out = aws;
    return TB_OK;
}

void
tb_aws_free(struct tb_aws *aws)
{
    if (aws == NULL) {
        return;
    }
    tb_aws_assumed_release(aws);
    tb_aws_credential_provider_free(aws->credentials);
    tb_mutex_release(&aws->mu);
    free(aws);
}

enum tb_err
tb_aws_lifetime_get(struct tb_aws *aws, struct tb_aws_lifetime *out, struct tb_fail *fail)
{
    struct tb_aws_credentials now = {.source = NULL};
    enum tb_err err = tb_aws_credentials_get(aws->credentials, &now, fail);

    if (err == TB_OK) {
        /* Variables never change in a running process; files do, when somebody writes them. */
        *out = (struct tb_aws_lifetime){.expires_utc_s = now.expires_utc_s,
                                        .temporary = now.session_token.len > 0,
                                        .refreshable = now.expires_utc_s != 0 &&
                                                       strcmp(now.source, "environment") != 0,
                                        .source = now.source};
    }
    tb_aws_credentials_release(&now);
    return err;
}

const char *
tb_aws_region(const struct tb_aws *aws)
{
    return aws->region;
}

const char *
tb_aws_partition(const struct tb_aws *aws)
{
    return tb_aws_partition_of(aws->region);
}
