/*
 * S3: put an object with proof of its content; list, read, presigned reads.  Source: S3 API
 * Reference 2006-03-01.  Errors as in aws_ec2.h (SlowDown is TB_ETHROTTLE,
 * NoSuchBucket/NoSuchKey TB_ENOTFOUND, BadDigest and XAmzContentSHA256Mismatch TB_EFORMAT).
 * Threads: any.
 */
#ifndef TAPBOX_AWS_S3_H
#define TAPBOX_AWS_S3_H

#include <tapbox/aws.h>
#include <tapbox/digest.h>

/* What every object is put with; NULL, false or 0: as the bucket's own defaults say. */
struct tb_s3_posture {
    const char *sse;       /* "AES256", "aws:kms", "aws:kms:dsse" */
    const char *kms_key;   /* with the latter two */
    const char *lock_mode; /* "GOVERNANCE", "COMPLIANCE" */
    int64_t retention_s;   /* with it: from the time of the put on */
    bool legal_hold;
    const char *storage_class;
    const char *tags; /* "key=value&key=value", percent-encoded as in a URL */
};

struct tb_s3_bucket {
    const char *name;
    bool path_style;            /* else virtual-hosted; forced for names with a dot */
    const char *expected_owner; /* 12 digits, or NULL */
    struct tb_s3_posture posture;
    struct tb_aws *reader; /* lent; who may look at what is there; NULL: whoever puts */
};

struct tb_s3_put {
    const char *key; /* UTF-8, not encoded */
    const char *content_type;
    struct tb_bytes body;                /* or: */
    int body_fd;                         /* -1 when body is used */
    uint64_t bytes;                      /* of the file */
    struct tb_sha256 sha256;             /* of the whole body */
    const struct tb_s3_posture *posture; /* NULL: the bucket's */
    bool never_replace;                  /* If-None-Match: *; see tb_s3_put */
};

enum {
    TB_S3_ETAG_SIZE = 128
};

struct tb_s3_ack {
    char etag[TB_S3_ETAG_SIZE];
    char version[1024];
    char request_id[80];
    char sse[16];         /* what S3 says it encrypted it with; "" : it did not say */
    char kms_key[256];    /* and with which key */
    bool checksum_echoed; /* else the signed payload hash vouches for it (DESIGN 4.5) */
    bool added_version;   /* the key was taken, and nobody may look: see tb_s3_put */
};

/* PutObject, single request, signed payload hash and x-amz-checksum-sha256.  TB_OK means
 * acknowledged in the sense of DESIGN 4.5; an echoed checksum that differs is TB_EFORMAT.
 * One attempt with refreshes of credentials and clock; the caller decides about retries.
 *
 * never_replace: an object that is there is left alone.  If HeadObject shows the same length
 * and SHA-256 (S3's own checksum, or, where the server keeps none, what the put that S3 took
 * had declared), it is our own put whose answer was lost: TB_OK.  If it shows another,
 * TB_EEXIST. HeadObject is asked by bucket->reader.  Where that is refused, because who puts
 * evidence need not read it, a bucket with Object Lock gets the content as a further version of
 * the key (out->added_version): such a bucket keeps every version, so that nothing is replaced.
 * In any other bucket TB_EEXIST: nothing is known to be safe in S3. */
TB_NODISCARD enum tb_err tb_s3_put(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                                   const struct tb_s3_put *put, struct tb_s3_ack *out,
                                   struct tb_fail *fail);
/* Whether exactly this object is there (`put` as above): TB_OK; TB_ENOTFOUND; TB_EEXIST another
 * one; TB_EDENIED nobody may look. */
TB_NODISCARD enum tb_err tb_s3_find(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                                    const struct tb_s3_put *put, struct tb_s3_ack *out,
                                    struct tb_fail *fail);

/*
 * --- an object in parts: begin, each part, complete; or abort ---
 *
 * Each part goes with its own SHA-256, as a put does.  S3's checksum of the whole is then only
 * one over those digests ("...-3"), so that the file's SHA-256 is vouched for by who sent the
 * parts: he has hashed the file from its first octet to its last while he hashed the parts.
 * What was begun costs money until it is completed or aborted.
 */
enum {
    TB_S3_UPLOAD_ID_SIZE = 1024,
    TB_S3_MAX_PARTS = 10000
};

struct tb_s3_part {
    uint32_t number; /* from 1 */
    uint64_t bytes;  /* at least 5 MiB, but for the last */
    struct tb_sha256 sha256;
    char etag[TB_S3_ETAG_SIZE]; /* S3's name for it */
};

/* One upload of one object. */
struct tb_s3_upload {
    char key[TB_S3_KEY_SIZE];
    char id[TB_S3_UPLOAD_ID_SIZE];
};

/* CreateMultipartUpload; `put` without a body says what it will be.  One attempt: a lost answer
 * leaves one that tb_s3_uploads finds. */
TB_NODISCARD enum tb_err tb_s3_upload_begin(struct tb_aws *aws,
                                            const struct tb_s3_bucket *bucket,
                                            const struct tb_s3_put *put,
                                            struct tb_s3_upload *out, struct tb_fail *fail);
/* UploadPart: `part->bytes` of `fd` from `offset` on.  One attempt; sets part->etag.  The same
 * number again replaces the part. */
TB_NODISCARD enum tb_err tb_s3_upload_part(struct tb_aws *aws,
                                           const struct tb_s3_bucket *bucket,
                                           const struct tb_s3_upload *upload, int fd,
                                           uint64_t offset, struct tb_s3_part *part,
                                           struct tb_fail *fail);
/* CompleteMultipartUpload, of all parts in their order.  One attempt.  never_replace and what
 * TB_OK means: as tb_s3_put, the checksum being the one over the parts'.  TB_ENOTFOUND: the
 * upload is gone, completed or aborted.  TB_EEXIST leaves the upload to be aborted. */
TB_NODISCARD enum tb_err
tb_s3_upload_complete(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                      const struct tb_s3_put *put, const struct tb_s3_upload *upload,
                      const struct tb_s3_part *parts, size_t part_count, struct tb_s3_ack *out,
                      struct tb_fail *fail);
/* AbortMultipartUpload; one that is gone is fine. */
TB_NODISCARD enum tb_err tb_s3_upload_abort(struct tb_aws *aws,
                                            const struct tb_s3_bucket *bucket,
                                            const struct tb_s3_upload *upload,
                                            struct tb_fail *fail);
/* ListParts: what S3 has of it, by number; the digests are not told.  *out is free()d.
 * TB_ENOTFOUND: the upload is gone. */
TB_NODISCARD enum tb_err tb_s3_upload_parts(struct tb_aws *aws,
                                            const struct tb_s3_bucket *bucket,
                                            const struct tb_s3_upload *upload,
                                            struct tb_s3_part **out, size_t *out_count,
                                            struct tb_fail *fail);
/* ListMultipartUploads: all that were begun below `prefix` and are not ended.  *out is free()d.
 */
TB_NODISCARD enum tb_err tb_s3_uploads(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                                       const char *prefix, struct tb_s3_upload **out,
                                       size_t *out_count, struct tb_fail *fail);

/* HeadBucket: exists and may be reached. */
TB_NODISCARD enum tb_err
tb_s3_bucket_check(struct tb_aws *aws, const struct tb_s3_bucket *bucket, struct tb_fail *fail);
/*
 * Whether an object could be put there: begins an upload of `key` in parts and gives it up, so
 * that nothing is left.  TB_EDENIED, TB_ENOTFOUND (no such bucket).  When the giving up failed,
 * *out_left is true: an upload without parts is left, which a lifecycle rule removes.
 */
TB_NODISCARD enum tb_err tb_s3_probe(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                                     const char *key, bool *out_left, struct tb_fail *fail);
/* GetObjectLockConfiguration: whether the bucket has Object Lock, which not every server checks
 * when an upload begins.  TB_ENOTFOUND: it has none, or is not there; TB_EDENIED: not to be
 * known without s3:GetBucketObjectLockConfiguration. */
TB_NODISCARD enum tb_err tb_s3_lock_check(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                                          struct tb_fail *fail);
/*
 * After a probe was refused: which wish of the posture the bucket cannot or may not fulfil.
 * Probes once without any, and once with each alone.  "object_lock", "encryption",
 * "storage_class", "tags"; NULL when it is none of them, or more is wrong than that.
 */
const char *tb_s3_posture_refused(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                                  const char *key);
/* Appends a URL that GETs the key for `expires_s` seconds. */
TB_NODISCARD enum tb_err tb_s3_presign_get(struct tb_aws *aws,
                                           const struct tb_s3_bucket *bucket, const char *key,
                                           int64_t expires_s, struct tb_buf *out,
                                           struct tb_fail *fail);

/* --- reading --- */

/* Environment or profile name an endpoint: not AWS's own, so perhaps without a name for each
 * bucket. */
bool tb_s3_has_own_endpoint(const struct tb_aws *aws);

struct tb_s3_object {
    char *key; /* owned */
    uint64_t bytes;
    char etag[128]; /* of the content as it was listed */
};
struct tb_s3_objects {
    struct tb_s3_object *at; /* owned */
    size_t count, cap;
};
void tb_s3_objects_release(struct tb_s3_objects *list);
/* Adds all objects whose keys begin with `prefix`, in S3's order (by octets), page by page.
 * TB_ETOOBIG more than TB_S3_LIST_MAX. */
TB_NODISCARD enum tb_err tb_s3_list(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                                    const char *prefix, struct tb_s3_objects *out,
                                    struct tb_fail *fail);
enum {
    TB_S3_LIST_MAX = 2000000,
    TB_S3_RANGE_MAX_BYTES = 64 << 20 /* of one read: it is in memory meanwhile */
};
/*
 * All of `len` octets from `offset` of an object, retried.  `etag` "" or that of the content
 * that is meant: TB_EEXIST when it is another by now.  TB_ESHORT past the end.
 */
TB_NODISCARD enum tb_err tb_s3_read(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                                    const char *key, const char *etag, uint64_t offset,
                                    uint8_t *at, size_t len, struct tb_fail *fail);

#endif
