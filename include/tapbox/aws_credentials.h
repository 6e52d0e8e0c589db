/*
 * Credentials from the default chain: environment, web identity
 * tokens, shared files and profiles, credential processes, container agent
 * (ECS, EKS Pod Identity), IMDSv2; refreshed ahead of expiry.
 *
 * Threads: a provider may be used by many threads; one refreshes, the others go on with the
 * old.
 */
#ifndef TAPBOX_AWS_CREDENTIALS_H
#define TAPBOX_AWS_CREDENTIALS_H

#include <tapbox/limits.h>
#include <tapbox/secret.h>

struct tb_http_client;

struct tb_aws_credentials {
    char access_key_id[129];
    struct tb_secret secret_key;
    struct tb_secret session_token; /* empty for long-lived keys */
    int64_t expires_utc_s;          /* 0: never */
    const char *source; /* "environment", "web identity", "shared file", "credential process",
                           "container", "instance metadata", "assumed role": static */
};
void tb_aws_credentials_release(struct tb_aws_credentials *credentials);

struct tb_aws_credential_provider;

/* Nothing is fetched yet.  `http` is borrowed and must outlive the provider; STS is asked in
 * `region`. */
TB_NODISCARD enum tb_err
tb_aws_credentials_default_chain(struct tb_http_client *http, const char *region,
                                 struct tb_aws_credential_provider **out, struct tb_fail *fail);
void tb_aws_credential_provider_free(struct tb_aws_credential_provider *provider);

/*
 * Copies the present credentials.  When fewer than 15 minutes remain one caller refreshes them
 * first, the others go on with the old ones until they expire.  Static stability: expired ones
 * are given out while no refresh succeeds, tried every 30 to 60 seconds.
 * Errors: TB_EDENIED the chain has none (the sentence says where was looked) or a source is
 * configured wrongly; TB_ERETRY a source is there and has a passing fault.
 */
TB_NODISCARD enum tb_err tb_aws_credentials_get(struct tb_aws_credential_provider *provider,
                                                struct tb_aws_credentials *out,
                                                struct tb_fail *fail);
/* After ExpiredToken and its kin: the next _get fetches anew. */
void tb_aws_credentials_expire(struct tb_aws_credential_provider *provider);

#endif
