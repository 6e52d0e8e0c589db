/* S3: one object up with proof of its content, is the bucket there, a link to an object. */
#include "s3_int.h"

#include <ctype.h>
#include <stdlib.h>

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

enum tb_err
s3_request_begin(struct s3_request *request, const struct tb_aws *aws,
                 const struct tb_s3_bucket *bucket, const char *key, const char *what,
                 const char *method, struct tb_fail *fail)
{
    enum tb_err err;

    *request = (struct s3_request){.path = TB_BUF_INIT(TB_S3_PATH_MAX_BYTES),
                                   .call = {.service = TB_AWS_S3,
                                            .policy = TB_AWS_POLICY_READ,
                                            .what = what,
                                            .method = method,
                                            .body_fd = -1},
                                   .result = TB_AWS_RESULT_INIT};
    err = tb_s3_locate(aws, bucket, &request->place, fail);
    if (err == TB_OK && key != NULL) {
        err = tb_s3_put_path(&request->path, &request->place, key, fail);
    } else if (err == TB_OK) {
        tb_buf_put_str(&request->path,
                       request->place.prefix[0] != '\0' ? request->place.prefix : "/");
        err = tb_buf_check(&request->path, "S3 path", fail);
    }
    if (err == TB_OK) {
        request->call.host = request->place.host;
        request->call.path = tb_buf_str(&request->path);
        request->call.headers = request->headers;
        tb_s3_add_owner(bucket, request->headers, &request->call.header_count);
    }
    return err;
}

void
s3_request_end(struct s3_request *request)
{
    tb_aws_result_release(&request->result);
    tb_buf_release(&request->path);
}

void
s3_add_header(struct s3_request *request, const char *name, const char *value)
{
    if (value != NULL && value[0] != '\0') {
        request->headers[request->call.header_count++] = (struct tb_http_header){name, value};
    }
}

void
s3_add_posture(struct s3_request *request, const struct tb_s3_posture *posture,
               int64_t now_utc_s)
{
    s3_add_header(request, "x-amz-server-side-encryption", posture->sse);
    s3_add_header(request, "x-amz-server-side-encryption-aws-kms-key-id", posture->kms_key);
    s3_add_header(request, "x-amz-object-lock-mode", posture->lock_mode);
    s3_add_header(request, "x-amz-object-lock-legal-hold", posture->legal_hold ? "ON" : NULL);
    s3_add_header(request, "x-amz-storage-class", posture->storage_class);
    s3_add_header(request, "x-amz-tagging", posture->tags);
    if (posture->lock_mode != NULL && posture->lock_mode[0] != '\0') {
        tb_time_format_s(request->until, now_utc_s + posture->retention_s);
        s3_add_header(request, "x-amz-object-lock-retain-until-date", request->until);
    }
}

enum tb_err
s3_checksum(char out[S3_CHECKSUM_SIZE], const struct tb_sha256 *sha256)
{
    struct tb_buf text = TB_BUF_INIT(S3_CHECKSUM_SIZE);
    enum tb_err err;

    tb_buf_put_base64(&text, tb_bytes_of(sha256->octets, sizeof(sha256->octets)));
    err = tb_buf_check(&text, "checksum", NULL);
    if (err == TB_OK) {
        (void)tb_str_copy(out, S3_CHECKSUM_SIZE, tb_buf_str(&text));
    }
    tb_buf_release(&text);
    return err;
}

void
s3_read_ack(const struct tb_aws_result *result, struct tb_s3_ack *out)
{
    const struct tb_http_answer *answer = &result->answer;

    *out = (struct tb_s3_ack){.etag = ""};
    if (!tb_http_answer_header(answer, "etag", out->etag, sizeof(out->etag))) {
        out->etag[0] = '\0';
    }
    if (!tb_http_answer_header(answer, "x-amz-version-id", out->version,
                               sizeof(out->version))) {
        out->version[0] = '\0';
    }
    if (!tb_http_answer_header(answer, "x-amz-server-side-encryption", out->sse,
                               sizeof(out->sse))) {
        out->sse[0] = '\0';
    }
    if (!tb_http_answer_header(answer, "x-amz-server-side-encryption-aws-kms-key-id",
                               out->kms_key, sizeof(out->kms_key))) {
        out->kms_key[0] = '\0';
    }
    (void)tb_str_copy(out->request_id, sizeof(out->request_id), result->request_id);
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
    /* one over the digests of parts says nothing when the parts were others */
    if (tb_http_answer_header(answer, "x-amz-checksum-sha256", value, sizeof(value)) &&
        (strcmp(value, checksum) == 0 || strchr(value, '-') == NULL)) {
        return strcmp(value, checksum) == 0;
    }
    tb_sha256_hex(hash, &put->sha256);
    return tb_http_answer_header(answer, S3_OUR_HASH, value, sizeof(value)) &&
           strcmp(value, hash) == 0;
}

enum tb_err
s3_compare(struct tb_aws *aws, const struct tb_s3_bucket *bucket, const struct tb_s3_put *put,
           const char *checksum, struct tb_s3_ack *out, struct tb_fail *fail)
{
    struct s3_request request;
    struct tb_fail why = {.text = ""};
    enum tb_err err =
        s3_request_begin(&request, aws, bucket, put->key, "HeadObject", "HEAD", fail);

    if (err != TB_OK) {
        goto out;
    }
    s3_add_header(&request, "x-amz-checksum-mode", "ENABLED");
    err = tb_aws_call(bucket->reader != NULL ? bucket->reader : aws, &request.call,
                      &request.result, &why);
    if (err == TB_OK && is_same_object(&request.result.answer, put, checksum)) {
        s3_read_ack(&request.result, out);
    } else if (err == TB_OK) {
        err = tb_fail_set(fail, TB_EEXIST,
                          "there is another object with this key; it is left alone");
    } else if (fail != NULL) {
        *fail = why;
    }
    if (err != TB_OK && why.http_status == 404) {
        err = TB_ENOTFOUND; /* (a HEAD has no body to say so) */
    }

out:
    s3_request_end(&request);
    return err;
}

enum tb_err
s3_compare_taken(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                 const struct tb_s3_put *put, const char *checksum, struct tb_s3_ack *out,
                 bool *out_add, struct tb_fail *fail)
{
    struct tb_fail why = {.text = ""};
    enum tb_err err = s3_compare(aws, bucket, put, checksum, out, &why);

    *out_add = false;
    if (err == TB_ENOTFOUND) {
        /* gone again in between, or on its way: the next try tells */
        return tb_fail_set(fail, TB_ERETRY, "the object was there and is not any more");
    }
    if (err == TB_EDENIED || why.http_status == 403 || why.http_status == 400) {
        *out_add = tb_s3_lock_check(aws, bucket, NULL) == TB_OK;
        err = tb_fail_set(&why, TB_EEXIST,
                          "there is an object with this key, and whether it is this one cannot "
                          "be told: set s3.reader_role, or use a bucket with Object Lock");
    }
    if (err == TB_EEXIST) {
        why.http_status = 412;
        (void)tb_str_copy(why.code, sizeof(why.code), "PreconditionFailed");
    }
    if (err != TB_OK && fail != NULL) {
        *fail = why;
    }
    return err;
}

enum tb_err
tb_s3_find(struct tb_aws *aws, const struct tb_s3_bucket *bucket, const struct tb_s3_put *put,
           struct tb_s3_ack *out, struct tb_fail *fail)
{
    char checksum[S3_CHECKSUM_SIZE];
    enum tb_err err = s3_checksum(checksum, &put->sha256);

    return err == TB_OK ? s3_compare(aws, bucket, put, checksum, out, fail) : err;
}

enum tb_err
s3_check_echo(const char *what, const struct tb_aws_result *result, const char *echoed,
              const char *checksum, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    if (echoed != NULL && strcmp(echoed, checksum) != 0) {
        err = tb_fail_set(fail, TB_EFORMAT, "%s: S3 has checksum %s, ours is %s", what, echoed,
                          checksum);
    } else if (result->answer.status != 200) {
        err = tb_fail_set(fail, TB_EFORMAT, "%s was answered with status %d", what,
                          result->answer.status);
    }
    if (err != TB_OK && fail != NULL) {
        fail->http_status = result->answer.status;
        (void)tb_str_copy(fail->request_id, sizeof(fail->request_id), result->request_id);
    }
    return err;
}

/* One PutObject, on condition that the key is free if it is `if_none`. */
static enum tb_err
put_once(struct tb_aws *aws, const struct tb_s3_bucket *bucket, const struct tb_s3_put *put,
         const char *checksum, bool if_none, struct tb_s3_ack *out, struct tb_fail *fail)
{
    struct s3_request request;
    struct tb_s3_ack ack;
    char hash[TB_SHA256_HEX_SIZE], echoed[80];
    enum tb_err err =
        s3_request_begin(&request, aws, bucket, put->key, "PutObject", "PUT", fail);

    if (err != TB_OK) {
        goto out;
    }
    tb_sha256_hex(hash, &put->sha256);
    request.call.policy = TB_AWS_POLICY_ONCE;
    request.call.body = put->body;
    request.call.body_fd = put->body_fd;
    request.call.body_fd_bytes = put->bytes;
    request.call.payload_hash = hash;
    s3_add_header(&request, "content-type", put->content_type);
    s3_add_header(&request, "x-amz-checksum-sha256", checksum);
    s3_add_header(&request, S3_OUR_HASH, put->never_replace ? hash : NULL);
    s3_add_header(&request, "if-none-match", if_none ? "*" : NULL);
    s3_add_posture(&request, put->posture != NULL ? put->posture : &bucket->posture,
                   tb_aws_now(aws, TB_AWS_S3));
    err = tb_aws_call(aws, &request.call, &request.result, fail);
    if (err != TB_OK) {
        goto out;
    }
    s3_read_ack(&request.result, &ack);
    ack.checksum_echoed = tb_http_answer_header(&request.result.answer, "x-amz-checksum-sha256",
                                                echoed, sizeof(echoed));
    err = s3_check_echo("PutObject", &request.result, ack.checksum_echoed ? echoed : NULL,
                        checksum, fail);
    if (err == TB_OK) {
        *out = ack;
    }

out:
    s3_request_end(&request);
    return err;
}

enum tb_err
tb_s3_put(struct tb_aws *aws, const struct tb_s3_bucket *bucket, const struct tb_s3_put *put,
          struct tb_s3_ack *out, struct tb_fail *fail)
{
    char checksum[S3_CHECKSUM_SIZE];
    struct tb_fail why = {.text = ""};
    bool add = false;
    enum tb_err err = s3_checksum(checksum, &put->sha256);

    if (err == TB_OK) {
        err = put_once(aws, bucket, put, checksum, put->never_replace, out, &why);
    }
    if (put->never_replace && why.http_status == 412) {
        err = s3_compare_taken(aws, bucket, put, checksum, out, &add, &why);
        if (add) {
            err = put_once(aws, bucket, put, checksum, false, out, &why);
            out->added_version = err == TB_OK;
        }
    }
    if (err != TB_OK && fail != NULL) {
        *fail = why;
    }
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
    struct s3_request request;
    struct tb_fail why = {.text = ""};
    enum tb_err err = s3_request_begin(&request, aws, bucket, NULL, "HeadBucket", "HEAD", fail);

    if (err == TB_OK) {
        err = tb_aws_call(aws, &request.call, &request.result, &why);
        if (err != TB_OK) {
            err = tell_head_status(bucket, err, &why);
            if (fail != NULL) {
                *fail = why;
            }
        }
    }
    s3_request_end(&request);
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
