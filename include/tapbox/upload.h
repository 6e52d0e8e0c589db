/*
 * The uploader: what is sealed in the spool gets to S3, oldest first, and is deleted locally
 * only after S3 acknowledged it with a matching checksum (promise 5).
 */
#ifndef TAPBOX_UPLOAD_H
#define TAPBOX_UPLOAD_H

#include <tapbox/aws_s3.h>
#include <tapbox/store.h>

struct tb_uploader;

struct tb_uploader_deps { /* all borrowed, outlive the uploader */
    struct tb_store *store;
    struct tb_aws *aws;
    struct tb_s3_bucket bucket;
    const char *prefix;               /* "captures" */
    const struct tb_signing_key *key; /* signs what the custody log gets after sealing */
    int spool_fd;
    unsigned threads;
};

TB_NODISCARD enum tb_err tb_uploader_start(const struct tb_uploader_deps *deps,
                                           struct tb_uploader **out, struct tb_fail *fail);
/* Unfinished uploads are abandoned; they are done again after the next start. */
void tb_uploader_stop(struct tb_uploader *uploader);
/* Something may be new in the spool. */
void tb_uploader_wake(struct tb_uploader *uploader);

/* Enters sealed segments of the capture's spool folder into the store.  Idempotent. */
TB_NODISCARD enum tb_err tb_upload_scan(struct tb_store *store, int spool_fd,
                                        const char *capture_id, struct tb_fail *fail);
/* "captures/2026/01/02/cap-...": the S3 prefix of a capture, by the time in its id. */
TB_NODISCARD enum tb_err tb_upload_capture_prefix(const char *prefix, const char *capture_id,
                                                  char *out, size_t cap, struct tb_fail *fail);
/* One small object below the capture's prefix. */
TB_NODISCARD enum tb_err tb_upload_object(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                                          const char *prefix, const char *capture_id,
                                          const char *name, const char *content_type,
                                          struct tb_bytes body, struct tb_fail *fail);
/* The public halves of all keys that S3 does not have yet, as <prefix>/keys/<fingerprint>.pem.
 */
TB_NODISCARD enum tb_err tb_upload_keys(struct tb_store *store, struct tb_aws *aws,
                                        const struct tb_s3_bucket *bucket, const char *prefix,
                                        struct tb_fail *fail);

#endif
