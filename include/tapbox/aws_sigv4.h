/*
 * AWS Signature Version 4.  Pure: what to sign in, headers or query out.
 * Source: IAM User Guide, "Create a signed AWS API request"; S3 API Reference, "Authenticating
 * requests".
 */
#ifndef TAPBOX_AWS_SIGV4_H
#define TAPBOX_AWS_SIGV4_H

#include <tapbox/aws_credentials.h>
#include <tapbox/http_client.h>

struct tb_sigv4_context {
    const struct tb_aws_credentials *credentials;
    const char *region;
    const char *service; /* "ec2", "s3", "sts" */
    int64_t now_utc_s;   /* with the endpoint's clock offset already added */
};

/* Intermediate results, for tests and for explaining a SignatureDoesNotMatch. */
struct tb_sigv4_trace {
    struct tb_buf canonical_request;
    struct tb_buf string_to_sign;
};

struct tb_sigv4_request {
    const char *method;
    const char *host;  /* as sent, with a port that is not the default */
    const char *path;  /* as sent: already percent-encoded; "/" when empty */
    const char *query; /* as sent, without '?', already percent-encoded; "" when none */
    const struct tb_http_header *headers; /* those to sign besides host and x-amz-* made here */
    size_t header_count;
    const char *payload_hash; /* lower-case hex, or "UNSIGNED-PAYLOAD" */
};

/* Appends the value of Authorization to `out`.  x-amz-date and x-amz-security-token must be
 * among the headers when they are sent; tb_sigv4_amz_date makes the former's value. */
TB_NODISCARD enum tb_err tb_sigv4_authorization(const struct tb_sigv4_context *context,
                                                const struct tb_sigv4_request *request,
                                                struct tb_buf *out,
                                                struct tb_sigv4_trace *trace, /* may be NULL */
                                                struct tb_fail *fail);
/* Appends "path?query" with X-Amz-... parameters: the presigned form, payload unsigned. */
TB_NODISCARD enum tb_err tb_sigv4_presign(const struct tb_sigv4_context *context,
                                          const struct tb_sigv4_request *request,
                                          int64_t expires_s, struct tb_buf *out,
                                          struct tb_fail *fail);

#endif
