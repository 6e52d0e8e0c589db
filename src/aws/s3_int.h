/* What s3.c and s3_parts.c share: where requests go, and what an object is kept and known by.
 */
#ifndef TAPBOX_S3_INT_H
#define TAPBOX_S3_INT_H

#include <tapbox/aws_s3.h>
#include <tapbox/clock.h>

#include "aws_int.h"

enum {
    S3_MAX_HEADERS = 14, /* of a put: type, proof, condition, owner, posture */
    /* base64 of a digest; with "-10000" behind it when it is over those of parts */
    S3_CHECKSUM_SIZE = 56
};

/* For servers that keep no checksums: read back by HeadObject. */
#define S3_OUR_HASH "x-amz-meta-tapbox-sha256"

/* What is put together for one request to an object; _begin sets it up, _end releases it. */
struct s3_request {
    struct tb_s3_host place;
    struct tb_buf path;
    struct tb_http_header headers[S3_MAX_HEADERS];
    char until[TB_TIME_TEXT_SIZE]; /* of the posture */
    struct tb_aws_call call;       /* headers, host and path are those above */
    struct tb_aws_result result;
};
/* `key` NULL: the bucket itself.  The owner's header is there already. */
TB_NODISCARD enum tb_err s3_request_begin(struct s3_request *request, const struct tb_aws *aws,
                                          const struct tb_s3_bucket *bucket, const char *key,
                                          const char *what, const char *method,
                                          struct tb_fail *fail);
void s3_request_end(struct s3_request *request);
/* `value` is borrowed until the call; NULL or "" adds nothing. */
void s3_add_header(struct s3_request *request, const char *name, const char *value);
/* How the object is to be kept. */
void s3_add_posture(struct s3_request *request, const struct tb_s3_posture *posture,
                    int64_t now_utc_s);
TB_NODISCARD enum tb_err s3_checksum(char out[S3_CHECKSUM_SIZE],
                                     const struct tb_sha256 *sha256);
/* ETag, version and request id of an answer. */
void s3_read_ack(const struct tb_aws_result *result, struct tb_s3_ack *out);
/* `echoed` (NULL: the server keeps no checksums) has to be ours. */
TB_NODISCARD enum tb_err s3_check_echo(const char *what, const struct tb_aws_result *result,
                                       const char *echoed, const char *checksum,
                                       struct tb_fail *fail);
/* As tb_s3_find; `checksum` is S3's name for the content. */
TB_NODISCARD enum tb_err s3_compare(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                                    const struct tb_s3_put *put, const char *checksum,
                                    struct tb_s3_ack *out, struct tb_fail *fail);
/* The key is taken (412): by our own put whose answer was lost, or by something else?
 * *out_add: nobody may look, and a put without condition adds a version and replaces nothing.
 */
TB_NODISCARD enum tb_err s3_compare_taken(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                                          const struct tb_s3_put *put, const char *checksum,
                                          struct tb_s3_ack *out, bool *out_add,
                                          struct tb_fail *fail);

#endif
