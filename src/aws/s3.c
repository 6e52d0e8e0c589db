/* S3: one object up with proof of its content, is the bucket there, a link to an object. */
#include <tapbox/aws_s3.h>

#include <ctype.h>
#include <stdlib.h>

#include <tapbox/clock.h>

#include "aws_int.h"

enum {
    PUT_HEADERS = 12 /* of tb_s3_put: type, proof, condition, owner, posture */
};

/* For servers that keep no checksums: read back by HeadObject. */
#define OUR_HASH "x-amz-meta-tapbox-sha256"

enum tb_err
tb_s3_locate(const struct tb_aws *aws, const struct tb_s3_bucket *bucket,
             struct tb_s3_host *out, struct tb_fail *fail)
{
    const struct tb_aws_endpoint *endpoint = &aws->endpoints[TB_AWS_S3];
    size_t len = strlen(bucket->name);

    /* It becomes part of a host name or path: nothing else may get in with it. */
    if (len < 3 || len > TB_S3_BUCKET_MAX || bucket->name[0] == '.' ||
        strspn(bucket->name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != len) {
        return tb_fail_set(fail, TB_EINVAL, "'%.64s' is not the name of a bucket",
                           bucket->name);
    }
    if (bucket->path_style || endpoint->literal || strchr(bucket->name, '.') != NULL) {
        (void)snprintf(out->host, sizeof(out->host), "%s", endpoint->host);
        (void)snprintf(out->prefix, sizeof(out->prefix), "/%s", bucket->name);
    } else {
        (void)snprintf(out->host, sizeof(out->host), "%s.%s", bucket->name, endpoint->host);
        out->prefix[0] = '\0';
    }
    return TB_OK;
}

enum tb_err
tb_s3_put_path(struct tb_buf *out, const struct tb_s3_host *place, const char *key,
               struct tb_fail *fail)
{
    size_t len = strlen(key);

    if (len == 0 || len >= TB_S3_KEY_SIZE) {
        return tb_fail_set(fail, TB_EINVAL, "an S3 key has 1 to %d octets, not %zu",
                           TB_S3_KEY_SIZE - 1, len);
    }
    tb_buf_printf(out, "%s/", place->prefix);
    tb_buf_put_percent(out, tb_bytes_of(key, len), true);
    return tb_buf_check(out, "S3 key", fail);
}

void
tb_s3_add_owner(const struct tb_s3_bucket *bucket, struct tb_http_header *headers,
                size_t *count)
{
    if (bucket->expected_owner != NULL && bucket->expected_owner[0] != '\0') {
        headers[(*count)++] =
            (struct tb_http_header){"x-amz-expected-bucket-owner", bucket->expected_owner};
    }
}

static enum tb_err
read_ack(const struct tb_aws_result *result, const char *checksum, struct tb_s3_ack *out,
         struct tb_fail *fail)
{
    const struct tb_http_answer *answer = &result->answer;
    struct tb_s3_ack ack = {.etag = ""};
    char echoed[80];

    if (answer->status != 200) {
        return tb_fail_set(fail, TB_EFORMAT, "PutObject was answered with status %d",
                           answer->status);
    }
    if (tb_http_answer_header(answer, "x-amz-checksum-sha256", echoed, sizeof(echoed))) {
        if (strcmp(echoed, checksum) != 0) {
            (void)tb_fail_set(fail, TB_EFORMAT,
                              "PutObject: S3 has checksum %s, the file's is %s", echoed,
                              checksum);
            if (fail != NULL) {
                fail->http_status = answer->status;
                (void)tb_str_copy(fail->request_id, sizeof(fail->request_id),
                                  result->request_id);
            }
            return TB_EFORMAT;
        }
        ack.checksum_echoed = true;
    }
    if (!tb_http_answer_header(answer, "etag", ack.etag, sizeof(ack.etag))) {
        ack.etag[0] = '\0';
    }
    if (!tb_http_answer_header(answer, "x-amz-version-id", ack.version, sizeof(ack.version))) {
        ack.version[0] = '\0';
    }
    (void)tb_str_copy(ack.request_id, sizeof(ack.request_id), result->request_id);
    *out = ack;
    return TB_OK;
}

/* How the object is to be kept; `until` has room for the date. */
static void
add_posture(const struct tb_s3_posture *posture, int64_t now_utc_s,
            char until[TB_TIME_TEXT_SIZE], struct tb_http_header *headers, size_t *count)
{
    const struct tb_http_header wanted[] = {
        {"x-amz-server-side-encryption", posture->sse},
        {"x-amz-server-side-encryption-aws-kms-key-id", posture->kms_key},
        {"x-amz-object-lock-mode", posture->lock_mode},
        {"x-amz-object-lock-legal-hold", posture->legal_hold ? "ON" : NULL},
        {"x-amz-storage-class", posture->storage_class},
    };

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        if (wanted[i].value != NULL && wanted[i].value[0] != '\0') {
            headers[(*count)++] = wanted[i];
        }
    }
    if (posture->lock_mode != NULL && posture->lock_mode[0] != '\0') {
        tb_time_format_s(until, now_utc_s + posture->retention_s);
        headers[(*count)++] =
            (struct tb_http_header){"x-amz-object-lock-retain-until-date", until};
    }
}

/* Whether a HEAD answer tells of exactly this content. */
static bool
is_same_object(const struct tb_http_answer *answer, const struct tb_s3_put *put,
               const char *checksum)
{
    uint64_t bytes = put->body_fd >= 0 ? put->bytes : put->body.len;
    char value[128], length[32], hash[TB_SHA256_HEX_SIZE];

    (void)snprintf(length, sizeof(length), "%llu", (unsigned long long)bytes);
    if (!tb_http_answer_header(answer, "content-length", value, sizeof(value)) ||
        strcmp(value, length) != 0) {
        return false;
    }
    if (tb_http_answer_header(answer, "x-amz-checksum-sha256", value, sizeof(value))) {
        return strcmp(value, checksum) == 0;
    }
    tb_sha256_hex(hash, &put->sha256);
    return tb_http_answer_header(answer, OUR_HASH, value, sizeof(value)) &&
           strcmp(value, hash) == 0;
}

/* The key is taken: by our own put whose answer was lost, or by something else? */
static enum tb_err
compare_object(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
               const struct tb_s3_put *put, const struct tb_aws_call *like,
               const char *checksum, struct tb_s3_ack *out, struct tb_fail *fail)
{
    struct tb_aws_result result = TB_AWS_RESULT_INIT;
    struct tb_http_header headers[2] = {{"x-amz-checksum-mode", "ENABLED"}};
    struct tb_s3_ack ack = {.etag = ""};
    struct tb_fail why = {.text = ""};
    struct tb_aws_call call = {.service = TB_AWS_S3,
                               .policy = TB_AWS_POLICY_READ,
                               .what = "HeadObject",
                               .method = "HEAD",
                               .host = like->host,
                               .path = like->path,
                               .headers = headers,
                               .header_count = 1,
                               .body_fd = -1};
    enum tb_err err;

    tb_s3_add_owner(bucket, headers, &call.header_count);
    err = tb_aws_call(aws, &call, &result, &why);
    if (err != TB_OK && why.http_status == 404) {
        /* gone again in between, or on its way: the next try tells */
        err = tb_fail_set(fail, TB_ERETRY, "the object was there and is not any more");
    } else if (err != TB_OK && (why.http_status == 403 || why.http_status == 400)) {
        err = tb_fail_set(
            fail, TB_EEXIST,
            "there is an object with this key, and whether it is this one cannot be "
            "told: allow s3:GetObject for it");
    } else if (err != TB_OK) {
        if (fail != NULL) {
            *fail = why;
        }
    } else if (!is_same_object(&result.answer, put, checksum)) {
        err = tb_fail_set(fail, TB_EEXIST,
                          "there is another object with this key; it is left alone");
    } else {
        if (!tb_http_answer_header(&result.answer, "etag", ack.etag, sizeof(ack.etag))) {
            ack.etag[0] = '\0';
        }
        if (!tb_http_answer_header(&result.answer, "x-amz-version-id", ack.version,
                                   sizeof(ack.version))) {
            ack.version[0] = '\0';
        }
        (void)tb_str_copy(ack.request_id, sizeof(ack.request_id), result.request_id);
        *out = ack;
    }
    if (err == TB_EEXIST && fail != NULL) {
        fail->http_status = 412;
        (void)tb_str_copy(fail->code, sizeof(fail->code), "PreconditionFailed");
    }
    tb_aws_result_release(&result);
    return err;
}

enum tb_err
tb_s3_put(struct tb_aws *aws, const struct tb_s3_bucket *bucket, const struct tb_s3_put *put,
          struct tb_s3_ack *out, struct tb_fail *fail)
{
    struct tb_aws_result result = TB_AWS_RESULT_INIT;
    struct tb_buf path = TB_BUF_INIT(TB_S3_PATH_MAX_BYTES);
    struct tb_buf checksum = TB_BUF_INIT(64);
    struct tb_http_header headers[PUT_HEADERS];
    size_t header_count = 0;
    char hash[TB_SHA256_HEX_SIZE], until[TB_TIME_TEXT_SIZE];
    struct tb_fail why = {.text = ""};
    struct tb_s3_host place = {.host = ""};
    struct tb_aws_call call = {.service = TB_AWS_S3,
                               .policy = TB_AWS_POLICY_ONCE,
                               .what = "PutObject",
                               .method = "PUT",
                               .host = place.host,
                               .headers = headers,
                               .body = put->body,
                               .body_fd = put->body_fd,
                               .body_fd_bytes = put->bytes,
                               .payload_hash = hash};
    enum tb_err err = tb_s3_locate(aws, bucket, &place, fail);

    if (err != TB_OK) {
        return err;
    }
    err = tb_s3_put_path(&path, &place, put->key, fail);
    if (err != TB_OK) {
        goto out;
    }
    tb_sha256_hex(hash, &put->sha256);
    tb_buf_put_base64(&checksum, tb_bytes_of(put->sha256.octets, sizeof(put->sha256.octets)));
    err = tb_buf_check(&checksum, "checksum", fail);
    if (err != TB_OK) {
        goto out;
    }
    if (put->content_type != NULL) {
        headers[header_count++] = (struct tb_http_header){"content-type", put->content_type};
    }
    headers[header_count++] =
        (struct tb_http_header){"x-amz-checksum-sha256", tb_buf_str(&checksum)};
    if (put->never_replace) {
        headers[header_count++] = (struct tb_http_header){OUR_HASH, hash};
        headers[header_count++] = (struct tb_http_header){"if-none-match", "*"};
    }
    tb_s3_add_owner(bucket, headers, &header_count);
    add_posture(&bucket->posture, tb_aws_now(aws, TB_AWS_S3), until, headers, &header_count);
    call.path = tb_buf_str(&path);
    call.header_count = header_count;
    err = tb_aws_call(aws, &call, &result, &why);
    if (err == TB_OK) {
        err = read_ack(&result, tb_buf_str(&checksum), out, fail);
    } else if (put->never_replace && why.http_status == 412) {
        err = compare_object(aws, bucket, put, &call, tb_buf_str(&checksum), out, fail);
    } else if (fail != NULL) {
        *fail = why;
    }

out:
    tb_aws_result_release(&result);
    tb_buf_release(&checksum);
    tb_buf_release(&path);
    return err;
}

/* HEAD has no body to explain itself. */
static enum tb_err
tell_head_status(const struct tb_s3_bucket *bucket, enum tb_err err, struct tb_fail *fail)
{
    struct tb_fail was = fail != NULL ? *fail : (struct tb_fail){.text = ""};
    const char *why = NULL;

    switch (was.http_status) {
    case 404:
        err = TB_ENOTFOUND;
        why = "there is no such bucket";
        break;
    case 403:
        err = TB_EDENIED;
        why = "access is denied, or the bucket belongs to another account";
        break;
    case 301:
    case 307:
    case 400:
        err = TB_EINVAL;
        why = "it cannot be reached through this Region's endpoint";
        break;
    default:
        return err;
    }
    if (fail != NULL) {
        const char *hint = strstr(was.text, " (the bucket is");

        (void)tb_fail_set(fail, err, "bucket %s: %s%s", bucket->name, why,
                          hint != NULL ? hint : "");
        fail->http_status = was.http_status;
        (void)tb_str_copy(fail->request_id, sizeof(fail->request_id), was.request_id);
    }
    return err;
}

enum tb_err
tb_s3_bucket_check(struct tb_aws *aws, const struct tb_s3_bucket *bucket, struct tb_fail *fail)
{
    struct tb_aws_result result = TB_AWS_RESULT_INIT;
    struct tb_http_header headers[1];
    struct tb_s3_host place = {.host = ""};
    struct tb_fail why = {.text = ""};
    struct tb_aws_call call = {.service = TB_AWS_S3,
                               .policy = TB_AWS_POLICY_READ,
                               .what = "HeadBucket",
                               .method = "HEAD",
                               .host = place.host,
                               .headers = headers,
                               .body_fd = -1};
    enum tb_err err = tb_s3_locate(aws, bucket, &place, fail);

    if (err != TB_OK) {
        return err;
    }
    tb_s3_add_owner(bucket, headers, &call.header_count);
    call.path = place.prefix[0] != '\0' ? place.prefix : "/";
    err = tb_aws_call(aws, &call, &result, &why);
    if (err != TB_OK) {
        err = tell_head_status(bucket, err, &why);
        if (fail != NULL) {
            *fail = why;
        }
    }
    tb_aws_result_release(&result);
    return err;
}

/* One step of the probe: `query` names it, the answer's body stays in `result`. */
static enum tb_err
probe_step(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
           const struct tb_s3_host *place, const char *path, const char *what,
           const char *method, const char *query, struct tb_aws_result *result,
           struct tb_fail *fail)
{
    struct tb_http_header headers[1];
    struct tb_aws_call call = {.service = TB_AWS_S3,
                               .policy = TB_AWS_POLICY_READ,
                               .what = what,
                               .method = method,
                               .host = place->host,
                               .path = path,
                               .query = query,
                               .headers = headers,
                               .body_fd = -1};

    tb_s3_add_owner(bucket, headers, &call.header_count);
    return tb_aws_call(aws, &call, result, fail);
}

/* "uploadId=..." out of the answer to the beginning. */
static enum tb_err
read_upload_id(const struct tb_aws_result *result, struct tb_buf *out, struct tb_fail *fail)
{
    struct tb_xml *doc = NULL;
    const char *id = NULL;
    enum tb_err err = tb_xml_parse(tb_buf_view(&result->answer.body), &doc, fail);

    if (err == TB_OK) {
        id = tb_xml_text(tb_xml_root(doc), "UploadId");
    }
    if (err == TB_OK && (id == NULL || id[0] == '\0')) {
        err =
            tb_fail_set(fail, TB_EFORMAT, "CreateMultipartUpload: the answer has no UploadId");
    } else if (err == TB_OK) {
        tb_buf_put_str(out, "uploadId=");
        tb_buf_put_percent(out, tb_bytes_str(id), false);
        err = tb_buf_check(out, "UploadId", fail);
    }
    tb_xml_free(doc);
    return err;
}

enum tb_err
tb_s3_probe(struct tb_aws *aws, const struct tb_s3_bucket *bucket, const char *key,
            bool *out_left, struct tb_fail *fail)
{
    struct tb_aws_result begun = TB_AWS_RESULT_INIT;
    struct tb_aws_result given_up = TB_AWS_RESULT_INIT;
    struct tb_buf path = TB_BUF_INIT(TB_S3_PATH_MAX_BYTES);
    struct tb_buf upload = TB_BUF_INIT(TB_S3_PATH_MAX_BYTES);
    struct tb_s3_host place = {.host = ""};
    bool begun_it = false;
    enum tb_err err = tb_s3_locate(aws, bucket, &place, fail);

    if (err == TB_OK) {
        err = tb_s3_put_path(&path, &place, key, fail);
    }
    if (err == TB_OK) {
        err = probe_step(aws, bucket, &place, tb_buf_str(&path), "CreateMultipartUpload",
                         "POST", "uploads=", &begun, fail);
    }
    if (err == TB_OK) {
        begun_it = true;
        err = read_upload_id(&begun, &upload, fail);
    }
    if (err == TB_OK) {
        err = probe_step(aws, bucket, &place, tb_buf_str(&path), "AbortMultipartUpload",
                         "DELETE", tb_buf_str(&upload), &given_up, fail);
    }
    /* (a second try after a lost answer finds it gone) */
    if (begun_it && (err == TB_OK || err == TB_ENOTFOUND)) {
        begun_it = false;
        err = TB_OK;
    }
    *out_left = begun_it;
    tb_aws_result_release(&begun);
    tb_aws_result_release(&given_up);
    tb_buf_release(&upload);
    tb_buf_release(&path);
    return err;
}

enum tb_err
tb_s3_presign_get(struct tb_aws *aws, const struct tb_s3_bucket *bucket, const char *key,
                  int64_t expires_s, struct tb_buf *out, struct tb_fail *fail)
{
    const struct tb_aws_endpoint *endpoint = &aws->endpoints[TB_AWS_S3];
    struct tb_aws_credentials credentials = {.source = NULL};
    struct tb_buf path = TB_BUF_INIT(TB_S3_PATH_MAX_BYTES);
    struct tb_s3_host place = {.host = ""};
    struct tb_sigv4_context context = {.credentials = &credentials,
                                       .region = aws->region,
                                       .service = tb_aws_service_name(TB_AWS_S3)};
    struct tb_sigv4_request request = {
        .method = "GET", .host = place.host, .query = "", .payload_hash = "UNSIGNED-PAYLOAD"};
    enum tb_err err = tb_s3_locate(aws, bucket, &place, fail);

    if (err != TB_OK) {
        return err;
    }
    tb_buf_put_str(&path, endpoint->path);
    err = tb_s3_put_path(&path, &place, key, fail);
    if (err != TB_OK) {
        goto out;
    }
    err = tb_aws_credentials_get(aws->credentials, &credentials, fail);
    if (err != TB_OK) {
        goto out;
    }
    context.now_utc_s = tb_aws_now(aws, TB_AWS_S3);
    request.path = tb_buf_str(&path);
    tb_buf_printf(out, "%s://%s", endpoint->scheme, place.host);
    err = tb_sigv4_presign(&context, &request, expires_s, out, fail);

out:
    tb_aws_credentials_release(&credentials);
    tb_buf_release(&path);
    return err;
}
