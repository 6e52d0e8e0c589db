/*
 * Other accounts, reached through roles.  Each is a client of its own, with credentials from
 * sts:AssumeRole and buckets of its own, and is kept: the same role again is the same client.
 */
#include "aws_int.h"

#include <ctype.h>
#include <stdlib.h>

#include <tapbox/clock.h>

enum {
    ROLE_ARN_MAX = 2048,
    EXTERNAL_ID_MAX = 1224,
    SESSION_NAME_MAX = 64,
    /* What every role grants, and all that a role assumed by a role can get. */
    DURATION_S = 3600,
    MIN_DURATION_S = 900, /* what STS takes from a profile */
    MAX_DURATION_S = 43200
};

struct tb_aws_assumed {
    struct tb_aws *base; /* the one whose credentials call STS; borrowed */
    struct tb_aws *aws;  /* what the caller gets; owned */
    char *role_arn;
    char *external_id; /* NULL: none */
    char session[SESSION_NAME_MAX + 1];
    struct tb_aws_assumed *next;
};

/* --- what STS would refuse anyway, said before --- */

/* Letters and digits, and those of `more`. */
static bool
is_made_of(const char *text, const char *more)
{
    for (; *text != '\0'; text++) {
        if (!isalnum((unsigned char)*text) && strchr(more, *text) == NULL) {
            return false;
        }
    }
    return true;
}

/* arn:PARTITION:iam::123456789012:role/PATH/NAME */
static bool
is_role_arn(const char *text)
{
    const char *account = strstr(text, ":iam::");

    return strlen(text) <= ROLE_ARN_MAX && strncmp(text, "arn:", 4) == 0 && account != NULL &&
           strspn(account + 6, "0123456789") == TB_ACCOUNT_SIZE - 1 &&
           strncmp(account + 6 + TB_ACCOUNT_SIZE - 1, ":role/", 6) == 0 &&
           account[6 + TB_ACCOUNT_SIZE - 1 + 6] != '\0' && is_made_of(text, "+=,.@-_:/");
}

static enum tb_err
check_role(const char *role_arn, const char *external_id, struct tb_fail *fail)
{
    size_t len = external_id != NULL ? strlen(external_id) : 0;

    if (!is_role_arn(role_arn)) {
        return tb_fail_set(fail, TB_EINVAL,
                           "'%.200s' is not the ARN of a role "
                           "(arn:aws:iam::111122223333:role/tapbox)",
                           role_arn);
    }
    if (external_id != NULL &&
        (len < 2 || len > EXTERNAL_ID_MAX || !is_made_of(external_id, "_+=,.@:/-"))) {
        return tb_fail_set(fail, TB_EINVAL,
                           "an external id has 2 to %d letters, digits or _+=,.@:/-",
                           EXTERNAL_ID_MAX);
    }
    return TB_OK;
}

/* tapbox-OWNER as far as STS takes it: CloudTrail shows it. */
static void
name_session(const char *owner, char out[SESSION_NAME_MAX + 1])
{
    (void)snprintf(out, SESSION_NAME_MAX + 1, "tapbox-%.*s", SESSION_NAME_MAX - 7, owner);
    for (; *out != '\0'; out++) {
        if (!isalnum((unsigned char)*out) && strchr("_+=,.@-", *out) == NULL) {
            *out = '-';
        }
    }
}

/* --- credentials --- */

/* The tree's own copy of a secret, which nobody else will wipe. */
static void
wipe_text(const struct tb_xml_node *node, const char *path)
{
    const char *text = tb_xml_text(node, path);

    if (text != NULL) {
        tb_wipe((void *)(uintptr_t)text, strlen(text));
    }
}

enum tb_err
tb_sts_read_credentials(const struct tb_xml_node *root, const char *what, const char *source,
                        struct tb_aws_credentials *out, struct tb_fail *fail)
{
    const struct tb_xml_node *node;
    const char *expires;
    char path[80]; /* longer than any action's name */
    int64_t expires_utc_ns;
    enum tb_err err;

    (void)snprintf(path, sizeof(path), "%sResult/Credentials", what);
    node = tb_xml_at(root, path);
    expires = tb_xml_text(node, "Expiration");
    if (expires == NULL || tb_time_parse(expires, &expires_utc_ns) != TB_OK) {
        return tb_fail_set(fail, TB_EFORMAT, "the answer has no Expiration");
    }
    err = tb_aws_credentials_fill(out, tb_xml_text(node, "AccessKeyId"),
                                  tb_xml_text(node, "SecretAccessKey"),
                                  tb_xml_text(node, "SessionToken"), source, fail);
    if (err == TB_OK) {
        out->expires_utc_s = expires_utc_ns / TB_NS_PER_S;
    }
    wipe_text(node, "SecretAccessKey");
    wipe_text(node, "SessionToken");
    return err;
}

enum tb_err
tb_sts_assume(struct tb_aws *aws, const struct tb_sts_role *role,
              struct tb_aws_credentials *out, struct tb_fail *fail)
{
    const char *what = role->web_identity != NULL ? "AssumeRoleWithWebIdentity" : "AssumeRole";
    struct tb_aws_result result = TB_AWS_RESULT_INIT;
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    enum tb_err err = check_role(role->arn, role->external_id, fail);

    if (err != TB_OK) {
        return err;
    }
    tb_form_begin(&body, what, TB_STS_VERSION);
    tb_form_put(&body, role->arn, "RoleArn");
    tb_form_put(&body, role->session != NULL ? role->session : "tapbox", "RoleSessionName");
    tb_form_put(&body, role->external_id, "ExternalId");
    tb_form_put(&body, role->web_identity, "WebIdentityToken");
    tb_form_put_number(&body, role->duration_s > 0 ? role->duration_s : DURATION_S,
                       "DurationSeconds");
    err = tb_buf_check(&body, what, fail);
    if (err == TB_OK) {
        err = tb_aws_query(aws, TB_AWS_STS, TB_AWS_POLICY_READ, what, tb_buf_view(&body),
                           &result, fail);
    }
    if (err == TB_OK) {
        err = tb_sts_read_credentials(tb_xml_root(result.xml), what, role->source, out, fail);
    }
    if (err != TB_OK) {
        tb_fail_prefix(fail, "cannot assume %.150s", role->arn);
    }
    if (result.answer.body.at != NULL) {
        tb_wipe(result.answer.body.at, result.answer.body.cap);
    }
    tb_aws_result_release(&result);
    tb_wipe(body.at, body.cap);
    tb_buf_release(&body);
    return err;
}

enum tb_err
tb_sts_role_of_profile(const struct tb_aws_profiles *profiles, const char *profile,
                       struct tb_sts_role *out, struct tb_fail *fail)
{
    const char *duration = tb_aws_profiles_get(profiles, profile, "duration_seconds");
    struct tb_sts_role role = {
        .arn = tb_aws_profiles_get(profiles, profile, "role_arn"),
        .session = tb_aws_profiles_get(profiles, profile, "role_session_name"),
        .external_id = tb_aws_profiles_get(profiles, profile, "external_id")};
    char *end = NULL;

    if (role.arn == NULL) {
        return tb_fail_set(fail, TB_EDENIED, "profile '%.64s' has no role_arn", profile);
    }
    if (duration != NULL) {
        role.duration_s = strtol(duration, &end, 10);
        if (end == duration || *end != '\0' || role.duration_s < MIN_DURATION_S ||
            role.duration_s > MAX_DURATION_S) {
            return tb_fail_set(fail, TB_EDENIED,
                               "profile '%.64s': duration_seconds '%.32s' is not %d to %d",
                               profile, duration, MIN_DURATION_S, MAX_DURATION_S);
        }
    }
    *out = role;
    return TB_OK;
}

static enum tb_err
load_assumed(void *arg, struct tb_aws_credentials *out, struct tb_fail *fail)
{
    const struct tb_aws_assumed *assumed = arg;
    const struct tb_sts_role role = {.arn = assumed->role_arn,
                                     .session = assumed->session,
                                     .external_id = assumed->external_id,
                                     .source = "assumed role"};

    return tb_sts_assume(assumed->base, &role, out, fail);
}

/* --- the clients --- */

static void
free_assumed(struct tb_aws_assumed *assumed)
{
    tb_aws_free(assumed->aws);
    free(assumed->role_arn);
    free(assumed->external_id);
    free(assumed);
}

void
tb_aws_assumed_release(struct tb_aws *aws)
{
    struct tb_aws_assumed *at = aws->locked.assumed;

    while (at != NULL) {
        struct tb_aws_assumed *next = at->next;

        free_assumed(at);
        at = next;
    }
    aws->locked.assumed = NULL;
}

/* NULL without memory. */
static struct tb_aws_assumed *
make_assumed(struct tb_aws *base, const char *role_arn, const char *external_id,
             const char *owner)
{
    struct tb_aws_assumed *made = calloc(1, sizeof(*made));
    struct tb_aws *aws = calloc(1, sizeof(*aws));

    if (made == NULL || aws == NULL) {
        free(made);
        free(aws);
        return NULL;
    }
    made->base = base;
    made->aws = aws;
    aws->http = base->http;
    tb_mutex_init(&aws->mu);
    aws->locked.retry_tokens = TB_AWS_RETRY_TOKENS;
    memcpy(aws->policies, base->policies, sizeof(aws->policies));
    memcpy(aws->region, base->region, sizeof(aws->region));
    memcpy(aws->endpoints, base->endpoints, sizeof(aws->endpoints));
    name_session(owner, made->session);
    made->role_arn = strdup(role_arn);
    made->external_id = external_id != NULL ? strdup(external_id) : NULL;
    if (made->role_arn == NULL || (external_id != NULL && made->external_id == NULL) ||
        tb_aws_credentials_own_source(load_assumed, made, &aws->credentials, NULL) != TB_OK) {
        free_assumed(made);
        return NULL;
    }
    return made;
}

static struct tb_aws_assumed *
find_assumed_locked(const struct tb_aws *aws, const char *role_arn, const char *external_id)
    TB_REQUIRES(aws->mu)
{
    struct tb_aws_assumed *at = aws->locked.assumed;

    while (at != NULL && (strcmp(at->role_arn, role_arn) != 0 ||
                          strcmp(at->external_id != NULL ? at->external_id : "",
                                 external_id != NULL ? external_id : "") != 0)) {
        at = at->next;
    }
    return at;
}

enum tb_err
tb_aws_assume(struct tb_aws *aws, const char *role_arn, const char *external_id,
              const char *owner, struct tb_aws **out, struct tb_fail *fail)
{
    struct tb_aws_assumed *assumed;
    enum tb_err err;

    if (external_id != NULL && external_id[0] == '\0') {
        external_id = NULL;
    }
    err = check_role(role_arn, external_id, fail);
    if (err != TB_OK) {
        return err;
    }
    tb_mutex_lock(&aws->mu);
    assumed = find_assumed_locked(aws, role_arn, external_id);
    if (assumed == NULL && aws->locked.assumed_count == TB_AWS_MAX_ROLES) {
        err = tb_fail_set(fail, TB_EFULL, "more than %d roles", TB_AWS_MAX_ROLES);
    } else if (assumed == NULL) {
        assumed = make_assumed(aws, role_arn, external_id, owner);
        if (assumed == NULL) {
            err = tb_fail_set(fail, TB_ENOMEM, "AWS client of %.150s", role_arn);
        } else {
            assumed->next = aws->locked.assumed;
            aws->locked.assumed = assumed;
            aws->locked.assumed_count++;
        }
    }
    tb_mutex_unlock(&aws->mu);
    if (assumed != NULL) {
        *out = assumed->aws;
    }
    return err;
}

/* --- numbers --- */

void
tb_aws_counts(struct tb_aws *aws, struct tb_aws_counts out[TB_AWS_COUNTED_SERVICES])
{
    _Static_assert((int)TB_AWS_COUNTED_SERVICES == (int)TB_AWS_SERVICE_COUNT, "all services");
    for (size_t i = 0; i < TB_AWS_SERVICE_COUNT; i++) {
        out[i] = (struct tb_aws_counts){.service = tb_aws_service_name((enum tb_aws_service)i),
                                        .ok = atomic_load(&aws->counts[i].ok),
                                        .throttled = atomic_load(&aws->counts[i].throttled),
                                        .failed = atomic_load(&aws->counts[i].failed)};
    }
    tb_mutex_lock(&aws->mu);
    for (struct tb_aws_assumed *at = aws->locked.assumed; at != NULL; at = at->next) {
        for (size_t i = 0; i < TB_AWS_SERVICE_COUNT; i++) {
            out[i].ok += atomic_load(&at->aws->counts[i].ok);
            out[i].throttled += atomic_load(&at->aws->counts[i].throttled);
            out[i].failed += atomic_load(&at->aws->counts[i].failed);
        }
    }
    tb_mutex_unlock(&aws->mu);
}
