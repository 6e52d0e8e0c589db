/* S3: objects that go in parts, and what was begun and not ended. */
#include "s3_int.h"

#include <stdlib.h>

enum {
    LIST_MAX_PAGES = 1000,        /* of 1,000 each: an answer that never ends does */
    COMPLETE_MAX_BYTES = 4 << 20, /* 10,000 parts of about 250 octets */
    QUERY_MAX_BYTES = 8 << 10     /* a key and an upload id, three characters for an octet */
};

/* --- one request that names an upload --- */

static void
put_parameter(struct tb_buf *query, const char *name, const char *value)
{
    tb_buf_printf(query, "%s%s=", query->len > 0 ? "&" : "", name);
    tb_buf_put_percent(query, tb_bytes_str(value), false);
}

struct part_request {
    struct s3_request base;
    struct tb_buf query;
};

static void
end_request(struct part_request *request)
{
    s3_request_end(&request->base);
    tb_buf_release(&request->query);
}

/* `number` 0: none. */
static enum tb_err
begin_request(struct part_request *request, const struct tb_aws *aws,
              const struct tb_s3_bucket *bucket, const struct tb_s3_upload *upload,
              const char *what, const char *method, uint32_t number, struct tb_fail *fail)
{
    enum tb_err err;

    request->query = (struct tb_buf)TB_BUF_INIT(QUERY_MAX_BYTES);
    if (number != 0) {
        tb_buf_printf(&request->query, "partNumber=%u", number);
    }
    put_parameter(&request->query, "uploadId", upload->id);
    err = s3_request_begin(&request->base, aws, bucket, upload->key, what, method, fail);
    if (err == TB_OK) {
        err = tb_buf_check(&request->query, "S3 query", fail);
    }
    request->base.call.query = tb_buf_str(&request->query);
    return err;
}

static bool
is_gone(enum tb_err err, const struct tb_fail *why)
{
    return err == TB_ENOTFOUND && strcmp(why->code, "NoSuchUpload") == 0;
}

/* --- begin, part, complete, abort --- */

static enum tb_err
begin_upload(struct tb_aws *aws, const struct tb_s3_bucket *bucket, const struct tb_s3_put *put,
             enum tb_aws_policy policy, struct tb_s3_upload *out, struct tb_fail *fail)
{
    struct s3_request request;
    char hash[TB_SHA256_HEX_SIZE];
    const char *id;
    enum tb_err err = s3_request_begin(&request, aws, bucket, put->key, "CreateMultipartUpload",
                                       "POST", fail);

    if (err != TB_OK) {
        goto out;
    }
    tb_sha256_hex(hash, &put->sha256);
    request.call.policy = policy;
    request.call.query = "uploads=";
    request.call.answer_root = "InitiateMultipartUploadResult";
    s3_add_header(&request, "content-type", put->content_type);
    s3_add_header(&request, "x-amz-checksum-algorithm", "SHA256");
    s3_add_header(&request, S3_OUR_HASH, hash);
    s3_add_posture(&request, put->posture != NULL ? put->posture : &bucket->posture,
                   tb_aws_now(aws, TB_AWS_S3));
    err = tb_aws_call(aws, &request.call, &request.result, fail);
    if (err != TB_OK) {
        goto out;
    }
    id = tb_xml_text(tb_xml_root(request.result.xml), "UploadId");
    if (id == NULL || id[0] == '\0' || !tb_str_copy(out->id, sizeof(out->id), id) ||
        !tb_str_copy(out->key, sizeof(out->key), put->key)) {
        err = tb_fail_set(fail, TB_EFORMAT,
                          "CreateMultipartUpload: the answer has no UploadId that can be kept");
    }

out:
    s3_request_end(&request);
    return err;
}

enum tb_err
tb_s3_upload_begin(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                   const struct tb_s3_put *put, struct tb_s3_upload *out, struct tb_fail *fail)
{
    return begin_upload(aws, bucket, put, TB_AWS_POLICY_ONCE, out, fail);
}

enum tb_err
tb_s3_upload_part(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                  const struct tb_s3_upload *upload, int fd, uint64_t offset,
                  struct tb_s3_part *part, struct tb_fail *fail)
{
    struct part_request request;
    char hash[TB_SHA256_HEX_SIZE], checksum[S3_CHECKSUM_SIZE], echoed[80];
    char etag[TB_S3_ETAG_SIZE];
    bool is_echoed;
    enum tb_err err =
        begin_request(&request, aws, bucket, upload, "UploadPart", "PUT", part->number, fail);

    if (err == TB_OK) {
        err = s3_checksum(checksum, &part->sha256);
    }
    if (err != TB_OK) {
        goto out;
    }
    tb_sha256_hex(hash, &part->sha256);
    request.base.call.policy = TB_AWS_POLICY_ONCE;
    request.base.call.body_fd = fd;
    request.base.call.body_fd_offset = offset;
    request.base.call.body_fd_bytes = part->bytes;
    request.base.call.payload_hash = hash;
    s3_add_header(&request.base, "x-amz-checksum-sha256", checksum);
    err = tb_aws_call(aws, &request.base.call, &request.base.result, fail);
    if (err != TB_OK) {
        goto out;
    }
    is_echoed = tb_http_answer_header(&request.base.result.answer, "x-amz-checksum-sha256",
                                      echoed, sizeof(echoed));
    err = s3_check_echo("UploadPart", &request.base.result, is_echoed ? echoed : NULL, checksum,
                        fail);
    if (err != TB_OK) {
        goto out;
    }
    /* it goes back to S3 as text of an element */
    if (!tb_http_answer_header(&request.base.result.answer, "etag", etag, sizeof(etag)) ||
        etag[0] == '\0' || strpbrk(etag, "<>&") != NULL) {
        err = tb_fail_set(fail, TB_EFORMAT, "UploadPart was answered without an ETag");
        goto out;
    }
    memcpy(part->etag, etag, sizeof(part->etag));

out:
    end_request(&request);
    return err;
}

/* The document that names all parts, and S3's checksum of the whole: over theirs. */
static enum tb_err
describe_parts(const struct tb_s3_part *parts, size_t count, struct tb_buf *body,
               char composite[S3_CHECKSUM_SIZE], struct tb_fail *fail)
{
    char checksum[S3_CHECKSUM_SIZE];
    struct tb_hasher *hasher = NULL;
    struct tb_sha256 sha256;
    size_t len;
    enum tb_err err = tb_hasher_new(&hasher);

    tb_buf_put_str(body, "<CompleteMultipartUpload "
                         "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (size_t i = 0; i < count && err == TB_OK; i++) {
        err = s3_checksum(checksum, &parts[i].sha256);
        tb_buf_printf(body,
                      "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag>"
                      "<ChecksumSHA256>%s</ChecksumSHA256></Part>",
                      parts[i].number, parts[i].etag, checksum);
        if (err == TB_OK) {
            err = tb_hasher_add(
                hasher, tb_bytes_of(parts[i].sha256.octets, sizeof(parts[i].sha256.octets)));
        }
    }
    tb_buf_put_str(body, "</CompleteMultipartUpload>");
    if (err == TB_OK) {
        err = tb_hasher_finish(hasher, &sha256);
    }
    if (err == TB_OK) {
        err = s3_checksum(composite, &sha256);
    }
    tb_hasher_free(hasher);
    if (err != TB_OK) {
        return tb_fail_set(fail, err, "SHA-256 over the parts");
    }
    len = strlen(composite);
    (void)snprintf(composite + len, S3_CHECKSUM_SIZE - len, "-%zu", count);
    return tb_buf_check(body, "CompleteMultipartUpload", fail);
}

/* One CompleteMultipartUpload of `body`. */
static enum tb_err
complete_once(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
              const struct tb_s3_upload *upload, struct tb_bytes body, const char *composite,
              bool if_none, struct tb_s3_ack *out, struct tb_fail *fail)
{
    struct part_request request;
    const struct tb_xml_node *root;
    const char *echoed;
    enum tb_err err = begin_request(&request, aws, bucket, upload, "CompleteMultipartUpload",
                                    "POST", 0, fail);

    if (err != TB_OK) {
        goto out;
    }
    request.base.call.policy = TB_AWS_POLICY_ONCE;
    request.base.call.body = body;
    request.base.call.answer_root = "CompleteMultipartUploadResult";
    s3_add_header(&request.base, "content-type", "application/xml");
    s3_add_header(&request.base, "if-none-match", if_none ? "*" : NULL);
    err = tb_aws_call(aws, &request.base.call, &request.base.result, fail);
    if (err != TB_OK) {
        goto out;
    }
    root = tb_xml_root(request.base.result.xml);
    echoed = tb_xml_text(root, "ChecksumSHA256");
    err =
        s3_check_echo("CompleteMultipartUpload", &request.base.result, echoed, composite, fail);
    if (err == TB_OK) {
        s3_read_ack(&request.base.result, out);
        out->checksum_echoed = echoed != NULL;
        err = tb_xml_copy(root, "ETag", out->etag, sizeof(out->etag), fail);
    }

out:
    end_request(&request);
    return err;
}

enum tb_err
tb_s3_upload_complete(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                      const struct tb_s3_put *put, const struct tb_s3_upload *upload,
                      const struct tb_s3_part *parts, size_t part_count, struct tb_s3_ack *out,
                      struct tb_fail *fail)
{
    struct tb_buf body = TB_BUF_INIT(COMPLETE_MAX_BYTES);
    char composite[S3_CHECKSUM_SIZE];
    struct tb_fail why = {.text = ""};
    bool add = false;
    enum tb_err err = describe_parts(parts, part_count, &body, composite, &why);

    if (err == TB_OK) {
        err = complete_once(aws, bucket, upload, tb_buf_view(&body), composite,
                            put->never_replace, out, &why);
    }
    if (put->never_replace && why.http_status == 412) {
        err = s3_compare_taken(aws, bucket, put, composite, out, &add, &why);
        if (add) {
            err = complete_once(aws, bucket, upload, tb_buf_view(&body), composite, false, out,
                                &why);
            out->added_version = err == TB_OK;
        }
    }
    if (err != TB_OK && fail != NULL) {
        *fail = why;
    }
    tb_buf_release(&body);
    return err;
}

enum tb_err
tb_s3_upload_abort(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                   const struct tb_s3_upload *upload, struct tb_fail *fail)
{
    struct part_request request;
    struct tb_fail why = {.text = ""};
    enum tb_err err =
        begin_request(&request, aws, bucket, upload, "AbortMultipartUpload", "DELETE", 0, &why);

    if (err == TB_OK) {
        err = tb_aws_call(aws, &request.base.call, &request.base.result, &why);
    }
    if (is_gone(err, &why)) {
        err = TB_OK;
    } else if (err != TB_OK && fail != NULL) {
        *fail = why;
    }
    end_request(&request);
    return err;
}

enum tb_err
tb_s3_probe(struct tb_aws *aws, const struct tb_s3_bucket *bucket, const char *key,
            bool *out_left, struct tb_fail *fail)
{
    struct tb_s3_put put = {.key = key, .body_fd = -1};
    struct tb_s3_upload upload;
    enum tb_err err = begin_upload(aws, bucket, &put, TB_AWS_POLICY_READ, &upload, fail);

    *out_left = err == TB_EFORMAT || err == TB_ETIMEOUT; /* whether it began was not told */
    if (err == TB_OK) {
        err = tb_s3_upload_abort(aws, bucket, &upload, fail);
        *out_left = err != TB_OK;
    }
    return err;
}

enum tb_err
tb_s3_lock_check(struct tb_aws *aws, const struct tb_s3_bucket *bucket, struct tb_fail *fail)
{
    struct s3_request request;
    enum tb_err err = s3_request_begin(&request, aws, bucket, NULL,
                                       "GetObjectLockConfiguration", "GET", fail);

    if (err == TB_OK) {
        request.call.policy = TB_AWS_POLICY_READ;
        request.call.query = "object-lock=";
        err = tb_aws_call(aws, &request.call, &request.result, fail);
    }
    s3_request_end(&request);
    return err;
}

static bool
is_refused(struct tb_aws *aws, const struct tb_s3_bucket *bucket, const char *key)
{
    struct tb_fail why = {.text = ""};
    bool left;
    enum tb_err err = tb_s3_probe(aws, bucket, key, &left, &why);

    return err != TB_OK && !tb_err_is_retryable(err) && !left;
}

const char *
tb_s3_posture_refused(struct tb_aws *aws, const struct tb_s3_bucket *bucket, const char *key)
{
    const struct tb_s3_posture *all = &bucket->posture;
    const struct {
        const char *name;
        struct tb_s3_posture alone;
        bool is_wished;
    } wishes[] = {
        {"object_lock",
         {.lock_mode = all->lock_mode,
          .retention_s = all->retention_s,
          .legal_hold = all->legal_hold},
         (all->lock_mode != NULL && all->lock_mode[0] != '\0') || all->legal_hold},
        {"encryption",
         {.sse = all->sse, .kms_key = all->kms_key},
         all->sse != NULL && all->sse[0] != '\0'},
        {"storage_class",
         {.storage_class = all->storage_class},
         all->storage_class != NULL && all->storage_class[0] != '\0'},
        {"tags", {.tags = all->tags}, all->tags != NULL && all->tags[0] != '\0'},
    };
    struct tb_s3_bucket one = *bucket;

    one.posture = (struct tb_s3_posture){.sse = NULL};
    if (is_refused(aws, &one, key)) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
        one.posture = wishes[i].alone;
        if (wishes[i].is_wished && is_refused(aws, &one, key)) {
            return wishes[i].name;
        }
    }
    return NULL;
}

/* --- lists, page by page --- */

struct list {
    void *at; /* owned */
    size_t count, cap, item_bytes;
};

static void *
add_item(struct list *list, struct tb_fail *fail)
{
    void *grown;

    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 64 : list->cap * 2;

        grown = realloc(list->at, cap * list->item_bytes);
        if (grown == NULL) {
            (void)tb_fail_set(fail, TB_ENOMEM, "no memory for a list of S3");
            return NULL;
        }
        list->at = grown;
        list->cap = cap;
    }
    grown = (uint8_t *)list->at + list->item_bytes * list->count++;
    memset(grown, 0, list->item_bytes);
    return grown;
}

static enum tb_err
read_part(const struct tb_xml_node *node, struct tb_s3_part *out, struct tb_fail *fail)
{
    const char *size = tb_xml_text(node, "Size");
    char *end = NULL;
    enum tb_err err = tb_xml_number(node, "PartNumber", TB_S3_MAX_PARTS, &out->number, fail);

    if (err == TB_OK) {
        err = tb_xml_copy(node, "ETag", out->etag, sizeof(out->etag), fail);
    }
    if (err == TB_OK) {
        out->bytes = size != NULL ? strtoull(size, &end, 10) : 0;
        if (out->number == 0 || size == NULL || end == size || *end != '\0') {
            err = tb_fail_set(fail, TB_EFORMAT, "ListParts: a part without number or size");
        }
    }
    return err;
}

enum tb_err
tb_s3_upload_parts(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                   const struct tb_s3_upload *upload, struct tb_s3_part **out,
                   size_t *out_count, struct tb_fail *fail)
{
    struct list list = {.item_bytes = sizeof(struct tb_s3_part)};
    uint32_t marker = 0;
    bool more = true;
    enum tb_err err = TB_OK;

    for (int page = 0; err == TB_OK && more && page < LIST_MAX_PAGES; page++) {
        struct part_request request;
        const struct tb_xml_node *root, *node;

        err = begin_request(&request, aws, bucket, upload, "ListParts", "GET", 0, fail);
        if (err == TB_OK && marker != 0) {
            tb_buf_printf(&request.query, "&part-number-marker=%u", marker);
            request.base.call.query = tb_buf_str(&request.query);
        }
        if (err == TB_OK) {
            request.base.call.answer_root = "ListPartsResult";
            err = tb_aws_call(aws, &request.base.call, &request.base.result, fail);
        }
        root = err == TB_OK ? tb_xml_root(request.base.result.xml) : NULL;
        for (node = tb_xml_at(root, "Part"); err == TB_OK && node != NULL;
             node = tb_xml_next(node)) {
            struct tb_s3_part *part = add_item(&list, fail);

            err = part != NULL ? read_part(node, part, fail) : TB_ENOMEM;
        }
        more = err == TB_OK && tb_xml_true(root, "IsTruncated");
        if (more) {
            err = tb_xml_number(root, "NextPartNumberMarker", TB_S3_MAX_PARTS, &marker, fail);
            more = marker != 0;
        }
        end_request(&request);
    }
    if (err != TB_OK) {
        free(list.at);
        return err;
    }
    *out = list.at;
    *out_count = list.count;
    return TB_OK;
}

static enum tb_err
list_page(struct tb_aws *aws, struct s3_request *request, const char *prefix,
          const struct tb_s3_upload *marker, struct tb_buf *query, struct tb_fail *fail)
{
    enum tb_err err;

    if (marker->key[0] != '\0') {
        put_parameter(query, "key-marker", marker->key);
    }
    put_parameter(query, "prefix", prefix);
    if (marker->id[0] != '\0') {
        put_parameter(query, "upload-id-marker", marker->id);
    }
    put_parameter(query, "uploads", "");
    err = tb_buf_check(query, "S3 query", fail);
    if (err == TB_OK) {
        request->call.query = tb_buf_str(query);
        request->call.answer_root = "ListMultipartUploadsResult";
        err = tb_aws_call(aws, &request->call, &request->result, fail);
    }
    return err;
}

enum tb_err
tb_s3_uploads(struct tb_aws *aws, const struct tb_s3_bucket *bucket, const char *prefix,
              struct tb_s3_upload **out, size_t *out_count, struct tb_fail *fail)
{
    struct list list = {.item_bytes = sizeof(struct tb_s3_upload)};
    struct tb_s3_upload marker = {.key = ""};
    bool more = true;
    enum tb_err err = TB_OK;

    for (int page = 0; err == TB_OK && more && page < LIST_MAX_PAGES; page++) {
        struct tb_buf query = TB_BUF_INIT(QUERY_MAX_BYTES);
        const struct tb_xml_node *root, *node;
        struct s3_request request;

        err =
            s3_request_begin(&request, aws, bucket, NULL, "ListMultipartUploads", "GET", fail);
        if (err == TB_OK) {
            err = list_page(aws, &request, prefix, &marker, &query, fail);
        }
        root = err == TB_OK ? tb_xml_root(request.result.xml) : NULL;
        for (node = tb_xml_at(root, "Upload"); err == TB_OK && node != NULL;
             node = tb_xml_next(node)) {
            struct tb_s3_upload *upload = add_item(&list, fail);

            err = upload == NULL
                      ? TB_ENOMEM
                      : tb_xml_copy(node, "Key", upload->key, sizeof(upload->key), fail);
            if (err == TB_OK) {
                err = tb_xml_copy(node, "UploadId", upload->id, sizeof(upload->id), fail);
            }
        }
        more = err == TB_OK && tb_xml_true(root, "IsTruncated");
        if (more) {
            err = tb_xml_copy(root, "NextKeyMarker", marker.key, sizeof(marker.key), fail);
        }
        if (more && err == TB_OK) {
            err = tb_xml_copy(root, "NextUploadIdMarker", marker.id, sizeof(marker.id), fail);
            more = marker.key[0] != '\0';
        }
        s3_request_end(&request);
        tb_buf_release(&query);
    }
    if (err != TB_OK) {
        free(list.at);
        return err;
    }
    *out = list.at;
    *out_count = list.count;
    return TB_OK;
}
