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
    const char *prefix; /* "captures" */
    const struct tb_signing_key
        *key; /* signs what the custody log gets after sealing; or NULL */
    int spool_fd;
    unsigned threads;
    uint64_t part_above_bytes; /* a larger segment goes in parts */
    uint64_t part_bytes;       /* of each: S3 wants 5 MiB at least */
};

TB_NODISCARD enum tb_err tb_uploader_start(const struct tb_uploader_deps *deps,
                                           struct tb_uploader **out, struct tb_fail *fail);
/* Unfinished uploads are abandoned; they are done again after the next start. */
void tb_uploader_stop(struct tb_uploader *uploader);
/* What was done since the start, and what is to be done. */
struct tb_uploader_numbers {
    uint64_t segments;         /* that S3 has acknowledged */
    uint64_t bytes;            /* the same, parts of what is on its way included */
    uint64_t failures;         /* attempts; each is repeated */
    uint64_t lost;             /* segments that were removed before S3 had them */
    unsigned busy;             /* threads that send one now */
    int64_t pause_ns;          /* left of the wait after S3's last failure */
    struct tb_backlog backlog; /* of all captures */
};
TB_NODISCARD enum tb_err tb_uploader_numbers(struct tb_uploader *uploader,
                                             struct tb_uploader_numbers *out,
                                             struct tb_fail *fail);
/* Something may be new in the spool. */
void tb_uploader_wake(struct tb_uploader *uploader);

/* Enters sealed segments of the capture's spool folder into the store.  Idempotent.  One whose
 * index cannot be read is entered, too, and logged: tb_segment_is_damaged. */
TB_NODISCARD enum tb_err tb_upload_scan(struct tb_store *store, int spool_fd,
                                        const char *capture_id, struct tb_fail *fail);
/* "captures/2026/01/02/cap-...": the S3 prefix of a capture, by the time in its id. */
TB_NODISCARD enum tb_err tb_upload_capture_prefix(const char *prefix, const char *capture_id,
                                                  char *out, size_t cap, struct tb_fail *fail);
/* One small object below the capture's prefix, or, when its name begins with '/', beside the
 * captures. */
TB_NODISCARD enum tb_err tb_upload_object(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                                          const char *prefix, const char *capture_id,
                                          const char *name, const char *content_type,
                                          struct tb_bytes body, struct tb_fail *fail);
/* The public halves of all keys that S3 does not have yet, as <prefix>/keys/<fingerprint>.pem.
 */
TB_NODISCARD enum tb_err tb_upload_keys(struct tb_store *store, struct tb_aws *aws,
                                        const struct tb_s3_bucket *bucket, const char *prefix,
                                        struct tb_fail *fail);

/* How the objects of a capture are kept: as configured, but for what its policy's profile wants
 * otherwise.  Lends what `configured` and `wished` own. */
struct tb_s3_posture tb_upload_posture(const struct tb_s3_posture *configured,
                                       const struct tb_storage *wished);

#endif
