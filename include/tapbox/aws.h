/*
 * One AWS account and Region as tapbox talks to it: endpoints, credentials, signing, retries.
 * Threads: any number share one.
 */
#ifndef TAPBOX_AWS_H
#define TAPBOX_AWS_H

#include <stdbool.h>

#include <tapbox/aws_credentials.h>
#include <tapbox/http_client.h>

struct tb_aws;

/* `region` NULL or "": AWS_REGION, AWS_DEFAULT_REGION, profile, IMDS, in this order.
 * Endpoints: AWS_ENDPOINT_URL_<SERVICE>, AWS_ENDPOINT_URL, else by Region and partition.
 * TB_EINVAL with what to set when no Region is found.  `http` is borrowed. */
TB_NODISCARD enum tb_err tb_aws_new(struct tb_http_client *http, const char *region,
                                    struct tb_aws **out, struct tb_fail *fail);
void tb_aws_free(struct tb_aws *aws);
const char *tb_aws_region(const struct tb_aws *aws);
/* "aws", "aws-cn", "aws-us-gov", ... */
const char *tb_aws_partition(const struct tb_aws *aws);

struct tb_aws_identity {
    char account[TB_ACCOUNT_SIZE];
    char arn[256];
};
/* sts:GetCallerIdentity */
TB_NODISCARD enum tb_err tb_aws_caller_identity(struct tb_aws *aws, struct tb_aws_identity *out,
                                                struct tb_fail *fail);

/*
 * The same Region in another account: the same endpoints, with credentials that sts:AssumeRole
 * gives for `role_arn`.  They are fetched at the first call and refreshed ahead of expiry;
 * *out has rate limits of its own, as the other account has.
 *
 * `external_id` NULL or "": none.  The session is named tapbox-<owner>.  The same role and
 * external id again give the same *out, which is owned by `aws` and goes with it.
 * Errors: TB_EINVAL not the ARN of a role, not an external id; TB_EFULL more than
 * TB_AWS_MAX_ROLES.  Whether the role may be assumed shows in the first call: TB_EDENIED, with
 * "cannot assume" and the role in the sentence.
 */
enum {
    TB_AWS_MAX_ROLES = 256
};
TB_NODISCARD enum tb_err tb_aws_assume(struct tb_aws *aws, const char *role_arn,
                                       const char *external_id, const char *owner,
                                       struct tb_aws **out, struct tb_fail *fail);

/* Requests sent so far, with those of the accounts above, by what came of each. */
struct tb_aws_counts {
    const char *service; /* "ec2", "s3", "sts", "monitoring", "sqs" */
    unsigned long long ok, throttled, failed;
};
enum {
    TB_AWS_COUNTED_SERVICES = 5
};
void tb_aws_counts(struct tb_aws *aws, struct tb_aws_counts out[TB_AWS_COUNTED_SERVICES]);

/* How long our credentials last.  May have to fetch them; errors as there. */
struct tb_aws_lifetime {
    int64_t expires_utc_s; /* 0: never, or nobody said */
    bool temporary;        /* they come with a session token */
    bool refreshable;      /* their source gives new ones by itself */
    const char *source;    /* static */
};
TB_NODISCARD enum tb_err tb_aws_lifetime_get(struct tb_aws *aws, struct tb_aws_lifetime *out,
                                             struct tb_fail *fail);

/* Own instance, from IMDS; TB_ENOTFOUND when there is no metadata service. */
struct tb_aws_self {
    char instance[TB_AWS_ID_SIZE];
    char eni[TB_AWS_ID_SIZE]; /* of the primary MAC */
    char account[TB_ACCOUNT_SIZE];
    char region[TB_REGION_SIZE];
    char instance_type[32];
    char image[TB_AWS_ID_SIZE];
};
TB_NODISCARD enum tb_err tb_aws_self(struct tb_aws *aws, struct tb_aws_self *out,
                                     struct tb_fail *fail);
/* The instance identity document as delivered, and AWS's signature (PKCS #7 with RSA-2048, in
 * base64, with the document inside), appended.  TB_ENOTFOUND as above.
 * Source: EC2 User Guide, "Instance identity documents". */
TB_NODISCARD enum tb_err tb_aws_identity_document(struct tb_aws *aws, struct tb_buf *document,
                                                  struct tb_buf *rsa2048, struct tb_fail *fail);

#endif
