/* Single objects to S3: what belongs to a capture, and the public keys beside the captures. */
#include "upload_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/clock.h>
#include <tapbox/digest.h>
#include <tapbox/log.h>

enum tb_err
upload_key(const char *prefix, const char *capture_id, const char *name,
           char out_key[TB_S3_KEY_SIZE], struct tb_fail *fail)
{
    char base[TB_S3_KEY_SIZE];
    int len;
    enum tb_err err;

    err = tb_upload_capture_prefix(prefix, capture_id, base, sizeof(base), fail);
    if (err != TB_OK) {
        return err;
    }
    len = snprintf(out_key, TB_S3_KEY_SIZE, "%s/%s", base, name);
    if (len < 0 || len >= TB_S3_KEY_SIZE) {
        return tb_fail_set(fail, TB_ETOOBIG, "the S3 key %s/%s is over 1,024 octets", base,
                           name);
    }
    return TB_OK;
}

void
upload_say_added(const struct tb_s3_ack *ack, const char *capture_id, const char *name)
{
    if (ack->added_version) {
        tb_log(TB_LOG_WARN, capture_id,
               "there was a %s in S3 already, which nobody here may read: this one was put as "
               "a further version of it, %s",
               name, ack->version);
    }
}

/* The key of what lies beside the captures. */
static enum tb_err
beside(const char *prefix, const char *name, char out_key[TB_S3_KEY_SIZE], struct tb_fail *fail)
{
    int len =
        snprintf(out_key, TB_S3_KEY_SIZE, "%s%s%s", prefix, prefix[0] != 0 ? "/" : "", name);

    return len >= 0 && len < TB_S3_KEY_SIZE
               ? TB_OK
               : tb_fail_set(fail, TB_ETOOBIG, "the S3 key of %s is over 1,024 octets", name);
}

/* A put of octets in memory, with their hash. */
static enum tb_err
describe(struct tb_bytes body, const char *content_type, const char *name,
         struct tb_s3_put *out, struct tb_fail *fail)
{
    enum tb_err err;

    *out = (struct tb_s3_put){.content_type = content_type,
                              .body = body,
                              .body_fd = -1,
                              .bytes = body.len,
                              .never_replace = true};
    err = tb_sha256(body, &out->sha256);
    return err == TB_OK ? TB_OK : tb_fail_set(fail, err, "SHA-256 of %s failed", name);
}

enum tb_err
tb_upload_object(struct tb_aws *aws, const struct tb_s3_bucket *bucket, const char *prefix,
                 const char *capture_id, const char *name, const char *content_type,
                 struct tb_bytes body, struct tb_fail *fail)
{
    struct tb_s3_put put;
    struct tb_s3_ack ack;
    char key[TB_S3_KEY_SIZE];
    enum tb_err err = describe(body, content_type, name, &put, fail);

    if (err == TB_OK && name[0] == '/') {
        name++;
        err = beside(prefix, name, key, fail);
    } else if (err == TB_OK) {
        err = upload_key(prefix, capture_id, name, key, fail);
    }
    if (err == TB_OK) {
        put.key = key;
        err = tb_s3_put(aws, bucket, &put, &ack, fail);
    }
    if (err == TB_OK) {
        upload_say_added(&ack, capture_id, name);
    } else {
        tb_fail_prefix(fail, "%s", name);
    }
    return err;
}

static enum tb_err
put_key(struct tb_aws *aws, const struct tb_s3_bucket *bucket, const char *prefix,
        const struct tb_key_row *row, struct tb_fail *fail)
{
    char name[TB_S3_KEY_SIZE];

    (void)snprintf(name, sizeof(name), "/keys/%s.pem", row->fingerprint.text);
    return tb_upload_object(aws, bucket, prefix, NULL, name, "application/x-pem-file",
                            tb_bytes_str(row->pem), fail);
}

enum tb_err
tb_upload_keys(struct tb_store *store, struct tb_aws *aws, const struct tb_s3_bucket *bucket,
               const char *prefix, struct tb_fail *fail)
{
    struct tb_key_row *keys = NULL;
    size_t count = 0;
    enum tb_err err = tb_store_key_list(store, &keys, &count, fail);

    for (size_t i = 0; i < count && err == TB_OK; i++) {
        if (!keys[i].in_bucket) {
            err = put_key(aws, bucket, prefix, &keys[i], fail);
            if (err == TB_OK) {
                err = tb_store_key_in_bucket(store, keys[i].fingerprint.text, fail);
            }
        }
    }
    free(keys);
    return err;
}

static bool
is_kms(const char *sse)
{
    return sse != NULL && strncmp(sse, "aws:kms", 7) == 0;
}

struct tb_s3_posture
tb_upload_posture(const struct tb_s3_posture *configured, const struct tb_storage *wished)
{
    struct tb_s3_posture made = *configured;

    if (strcmp(wished->lock_mode, "none") == 0) {
        made.lock_mode = NULL;
    } else if (wished->lock_mode[0] != '\0') {
        made.lock_mode = wished->lock_mode;
    }
    if (wished->retention_ns != 0) {
        made.retention_s = wished->retention_ns / TB_NS_PER_S;
    }
    made.legal_hold |= wished->legal_hold;
    if (wished->sse[0] != '\0') {
        made.sse = wished->sse;
        made.kms_key = wished->kms_key[0] != '\0'                       ? wished->kms_key
                       : is_kms(wished->sse) && is_kms(configured->sse) ? configured->kms_key
                                                                        : NULL;
    }
    if (wished->storage_class[0] != '\0') {
        made.storage_class = wished->storage_class;
    }
    if (wished->tags[0] != '\0') {
        made.tags = wished->tags;
    }
    return made;
}
