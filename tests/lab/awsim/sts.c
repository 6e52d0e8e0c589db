/* STS: who am I, and who may I be. */
#include "call.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "role.h"

#define DURATION_MIN_S 900
#define DURATION_MAX_S 43200
#define CHAINED_MAX_S 3600 /* for a caller that is an assumed role itself */

static bool
get_caller_identity(struct call *c)
{
    xml_open(&c->out, "GetCallerIdentityResult");
    xml_text(&c->out, "Arn", c->signer.arn);
    xml_text(&c->out, "UserId", c->signer.user_id);
    xml_text(&c->out, "Account", c->signer.account->id);
    xml_close(&c->out, "GetCallerIdentityResult");
    return true;
}

/* `path` holds `min` to `max` characters, only letters, digits and those in `others`. */
static bool
check_text(struct call *c, const char *path, size_t min, size_t max, const char *others)
{
    const char *text = arg_text(&c->query, path);
    size_t good = 0;
    if (text == NULL) {
        return true;
    }
    while ((text[good] >= '0' && text[good] <= '9') ||
           (text[good] >= 'A' && text[good] <= 'Z') ||
           (text[good] >= 'a' && text[good] <= 'z') ||
           (text[good] != '\0' && strchr(others, text[good]) != NULL)) {
        good++;
    }
    if (text[good] != '\0' || good < min || good > max) {
        return fail(c, 400, "ValidationError",
                    "1 validation error detected: Value '%.64s' at '%s' failed to satisfy "
                    "constraint: %zu to %zu characters from [\\w%s]*",
                    text, path, min, max, others);
    }
    return true;
}

static bool
check_policy(struct call *c)
{
    const char *text = arg_text(&c->query, "Policy");
    json_t *policy = text == NULL ? NULL : json_loads(text, 0, NULL);
    if (text != NULL && !json_is_object(policy)) {
        json_decref(policy);
        return fail(c, 400, "MalformedPolicyDocument",
                    "The policy is not in the valid JSON format.");
    }
    json_decref(policy);
    return true;
}

static bool
check_duration(struct call *c, const struct role *r, long *out_s)
{
    *out_s = 3600;
    arg_int(&c->query, "DurationSeconds", out_s);
    if (*out_s > CHAINED_MAX_S && strstr(c->signer.arn, ":assumed-role/") != NULL) {
        return fail(c, 400, "ValidationError",
                    "The requested DurationSeconds exceeds the 1 hour session limit for roles "
                    "assumed by role chaining");
    }
    if (*out_s > r->max_session_s) {
        return fail(c, 400, "ValidationError",
                    "The requested DurationSeconds exceeds the MaxSessionDuration set for this "
                    "role.");
    }
    return true;
}

/* Fresh credentials of the role, and who that is. */
static void
give_session(struct call *c, const struct role *r, const char *session, long duration_s)
{
    char assumed[256];
    char user_id[128];
    char expires[32];
    snprintf(assumed, sizeof(assumed), "arn:%s:sts::%s:assumed-role/%s/%s", c->st->partition,
             r->account->id, r->name, session);
    snprintf(user_id, sizeof(user_id), "%s:%s", r->id, session);
    long long expires_s =
        now_ns() / 1000000000LL + (r->credentials_s > 0 ? r->credentials_s : duration_s);
    struct key *k = key_issue(c->st, r->account, expires_s, assumed, user_id);
    k->deny = xalloc((r->ndeny + 1) * sizeof(char *));
    for (size_t i = 0; i < r->ndeny; i++) {
        k->deny[k->ndeny++] = xdup(r->deny[i]);
    }
    xml_open(&c->out, "Credentials");
    xml_text(&c->out, "AccessKeyId", k->access);
    xml_text(&c->out, "SecretAccessKey", k->secret);
    xml_text(&c->out, "SessionToken", k->token);
    time_text(expires, expires_s);
    xml_text(&c->out, "Expiration", expires);
    xml_close(&c->out, "Credentials");
    xml_open(&c->out, "AssumedRoleUser");
    xml_text(&c->out, "AssumedRoleId", user_id);
    xml_text(&c->out, "Arn", assumed);
    xml_close(&c->out, "AssumedRoleUser");
}

static bool
assume_role(struct call *c)
{
    const char *arn = arg_text(&c->query, "RoleArn");
    const char *session = arg_text(&c->query, "RoleSessionName");
    const char *external_id = arg_text(&c->query, "ExternalId");
    long duration_s;
    if (!check_text(c, "RoleArn", 20, 2048, "_+=,.@-:/") ||
        !check_text(c, "RoleSessionName", 2, 64, "_+=,.@-") ||
        !check_text(c, "ExternalId", 2, 1224, "_+=,.@:/-") || !check_policy(c)) {
        return false;
    }
    /* one answer for what is not there, does not trust the caller, or wants another id */
    const struct role *r = role_find(c->st, arn);
    if (r == NULL || call_is_denied(c) || !role_trusts(r, c->signer.account) ||
        (r->external_id != NULL &&
         (external_id == NULL || strcmp(external_id, r->external_id) != 0))) {
        return fail(c, 403, "AccessDenied",
                    "User: %s is not authorized to perform: sts:AssumeRole on resource: %.256s",
                    c->signer.arn, arn);
    }
    if (!check_duration(c, r, &duration_s)) {
        return false;
    }
    xml_open(&c->out, "AssumeRoleResult");
    give_session(c, r, session, duration_s);
    xml_close(&c->out, "AssumeRoleResult");
    return true;
}

static bool
assume_role_with_web_identity(struct call *c)
{
    const char *arn = arg_text(&c->query, "RoleArn");
    const char *session = arg_text(&c->query, "RoleSessionName");
    const char *token = arg_text(&c->query, "WebIdentityToken");
    long duration_s;
    if (!check_text(c, "RoleArn", 20, 2048, "_+=,.@-:/") ||
        !check_text(c, "RoleSessionName", 2, 64, "_+=,.@-") || !check_policy(c)) {
        return false;
    }
    const struct role *r = role_find(c->st, arn);
    if (r == NULL || r->web == NULL) {
        return fail(c, 403, "AccessDenied",
                    "Not authorized to perform sts:AssumeRoleWithWebIdentity");
    }
    if (!web_identity_check(r->web, token, now_ns() / 1000000000LL, &c->refusal) ||
        !check_duration(c, r, &duration_s)) {
        return false;
    }
    xml_open(&c->out, "AssumeRoleWithWebIdentityResult");
    give_session(c, r, session, duration_s);
    xml_text(&c->out, "SubjectFromWebIdentityToken", web_identity_subject(r->web));
    xml_text(&c->out, "Provider", web_identity_issuer(r->web));
    xml_text(&c->out, "Audience", web_identity_audience(r->web));
    xml_close(&c->out, "AssumeRoleWithWebIdentityResult");
    return true;
}

static const struct param no_params[] = {{.path = NULL}};
static const struct param assume_params[] = {
    {.path = "RoleArn", .type = P_TEXT, .required = true},
    {.path = "RoleSessionName", .type = P_TEXT, .required = true},
    {.path = "ExternalId", .type = P_TEXT},
    {.path = "DurationSeconds", .type = P_INT, .min = DURATION_MIN_S, .max = DURATION_MAX_S},
    {.path = "Policy", .type = P_TEXT, .max = 2048},
    {.path = "PolicyArns.member.#.arn", .type = P_TEXT},
    {.path = "Tags.member.#.Key", .type = P_TEXT},
    {.path = "Tags.member.#.Value", .type = P_TEXT},
    {.path = "TransitiveTagKeys.member.#", .type = P_TEXT},
    {.path = "SourceIdentity", .type = P_TEXT},
    {.path = NULL}};

static const struct param web_identity_params[] = {
    {.path = "RoleArn", .type = P_TEXT, .required = true},
    {.path = "RoleSessionName", .type = P_TEXT, .required = true},
    {.path = "WebIdentityToken", .type = P_TEXT, .required = true},
    {.path = "ProviderId", .type = P_TEXT},
    {.path = "DurationSeconds", .type = P_INT, .min = DURATION_MIN_S, .max = DURATION_MAX_S},
    {.path = "Policy", .type = P_TEXT, .max = 2048},
    {.path = "PolicyArns.member.#.arn", .type = P_TEXT},
    {.path = NULL}};

const char sts_unsigned_action[] = "AssumeRoleWithWebIdentity";

const struct action sts_actions[] = {
    {"AssumeRole", SERVICE_STS, assume_params, assume_role, false},
    {sts_unsigned_action, SERVICE_STS, web_identity_params, assume_role_with_web_identity,
     false},
    {"GetCallerIdentity", SERVICE_STS, no_params, get_caller_identity, false},
    {NULL, SERVICE_STS, NULL, NULL, false}};
