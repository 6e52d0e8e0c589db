/* S3 from the other side: what is there, and parts of it. */
#include <tapbox/aws_s3.h>

#include <stdlib.h>

#include "aws_int.h"

enum {
    FIRST_OBJECTS = 64,
    QUERY_MAX_BYTES = 8192,
    ANSWER_SLACK_BYTES = 64 * 1024 /* room for an error's text where a short range is asked */
};

void
tb_s3_objects_release(struct tb_s3_objects *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->at[i].key);
    }
    free(list->at);
    *list = (struct tb_s3_objects){NULL, 0, 0};
}

bool
tb_s3_has_own_endpoint(const struct tb_aws *aws)
{
    return aws->endpoints[TB_AWS_S3].custom;
}

/* --- the list --- */

/* Keys come percent-encoded, as not every octet can stand in XML; '+' is a space there. */
static char *
decode_key(const char *text)
{
    char *key = strdup(text);
    char *to = key;

    for (const char *from = text; key != NULL && *from != '\0'; from++) {
        uint8_t octet = (uint8_t)*from;
        const char hex[3] = {from[1], from[1] != '\0' ? from[2] : '\0', '\0'};

        if (*from == '+') {
            octet = ' ';
        } else if (*from == '%' && tb_unhex(&octet, 1, hex) == TB_OK) {
            from += 2;
        }
        *to++ = (char)octet;
    }
    if (key != NULL) {
        *to = '\0';
    }
    return key;
}

static enum tb_err
make_room(struct tb_s3_objects *list, struct tb_fail *fail)
{
    size_t cap = list->cap == 0 ? FIRST_OBJECTS : 2 * list->cap;
    struct tb_s3_object *more;

    if (list->count < list->cap) {
        return TB_OK;
    }
    if (list->count >= TB_S3_LIST_MAX) {
        return tb_fail_set(fail, TB_ETOOBIG, "there are more than %d objects", TB_S3_LIST_MAX);
    }
    more = reallocarray(list->at, cap, sizeof(*more));
    if (more == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a list of objects");
    }
    list->at = more;
    list->cap = cap;
    return TB_OK;
}

static bool
read_size(const char *text, uint64_t *out)
{
    uint64_t value = 0;

    if (text == NULL || text[0] == '\0' || strspn(text, "0123456789") != strlen(text) ||
        strlen(text) > 18) {
        return false;
    }
    for (; *text != '\0'; text++) {
        value = value * 10 + (uint64_t)(*text - '0');
    }
    *out = value;
    return true;
}

static enum tb_err
take_object(const struct tb_xml_node *item, bool encoded, const char *prefix,
            struct tb_s3_objects *list, struct tb_fail *fail)
{
    const char *key = tb_xml_text(item, "Key");
    const char *etag = tb_xml_text(item, "ETag");
    struct tb_s3_object object = {.key = NULL};
    enum tb_err err = make_room(list, fail);

    if (err != TB_OK) {
        return err;
    }
    if (key == NULL || !read_size(tb_xml_text(item, "Size"), &object.bytes) ||
        !tb_str_copy(object.etag, sizeof(object.etag), etag != NULL ? etag : "")) {
        return tb_fail_set(fail, TB_EFORMAT, "ListObjectsV2: an object without key or size");
    }
    object.key = encoded ? decode_key(key) : strdup(key);
    if (object.key == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a list of objects");
    }
    if (strncmp(object.key, prefix, strlen(prefix)) != 0) {
        free(object.key);
        return tb_fail_set(fail, TB_EFORMAT, "ListObjectsV2: an object of another prefix");
    }
    list->at[list->count++] = object;
    return TB_OK;
}

enum tb_err
tb_s3_take_page(struct tb_bytes text, const char *prefix, struct tb_s3_objects *out,
                struct tb_buf *next, struct tb_fail *fail)
{
    struct tb_xml *doc = NULL;
    const struct tb_xml_node *root, *item;
    const char *token, *encoding;
    bool encoded;
    enum tb_err err = tb_xml_parse(text, &doc, fail);

    if (err != TB_OK) {
        tb_fail_prefix(fail, "ListObjectsV2");
        return err;
    }
    root = tb_xml_root(doc);
    if (strcmp(tb_xml_name(root), "ListBucketResult") != 0) {
        err = tb_fail_set(fail, TB_EFORMAT, "ListObjectsV2 was answered with <%.64s>",
                          tb_xml_name(root));
    }
    encoding = tb_xml_text(root, "EncodingType");
    encoded = encoding != NULL && strcmp(encoding, "url") == 0;
    for (item = tb_xml_at(root, "Contents"); err == TB_OK && item != NULL;
         item = tb_xml_next(item)) {
        err = take_object(item, encoded, prefix, out, fail);
    }
    token = tb_xml_text(root, "NextContinuationToken");
    if (err == TB_OK && tb_xml_true(root, "IsTruncated")) {
        if (token == NULL || token[0] == '\0') {
            err = tb_fail_set(fail, TB_EFORMAT, "ListObjectsV2: no way to the next page");
        } else {
            tb_buf_put_str(next, token);
            err = tb_buf_check(next, "continuation token", fail);
        }
    }
    tb_xml_free(doc);
    return err;
}

/* Parameters in the order that the signature wants: by name. */
static enum tb_err
put_list_query(struct tb_buf *out, const char *token, const char *prefix, struct tb_fail *fail)
{
    tb_buf_reset(out);
    if (token[0] != '\0') {
        tb_buf_put_str(out, "continuation-token=");
        tb_buf_put_percent(out, tb_bytes_str(token), false);
        tb_buf_put_str(out, "&");
    }
    tb_buf_put_str(out, "encoding-type=url&list-type=2&prefix=");
    tb_buf_put_percent(out, tb_bytes_str(prefix), false);
    return tb_buf_check(out, "the question for a list", fail);
}

enum tb_err
tb_s3_list(struct tb_aws *aws, const struct tb_s3_bucket *bucket, const char *prefix,
           struct tb_s3_objects *out, struct tb_fail *fail)
{
    struct tb_aws_result result = TB_AWS_RESULT_INIT;
    struct tb_buf query = TB_BUF_INIT(QUERY_MAX_BYTES);
    struct tb_buf token = TB_BUF_INIT(QUERY_MAX_BYTES), next = TB_BUF_INIT(QUERY_MAX_BYTES);
    struct tb_http_header headers[1];
    struct tb_s3_host host = {.host = ""};
    struct tb_aws_call call = {.service = TB_AWS_S3,
                               .policy = TB_AWS_POLICY_READ,
                               .what = "ListObjectsV2",
                               .method = "GET",
                               .host = host.host,
                               .headers = headers,
                               .body_fd = -1};
    enum tb_err err = tb_s3_locate(aws, bucket, &host, fail);

    tb_s3_add_owner(bucket, headers, &call.header_count);
    while (err == TB_OK) {
        call.path = host.prefix[0] != '\0' ? host.prefix : "/";
        err = put_list_query(&query, tb_buf_str(&token), prefix, fail);
        call.query = tb_buf_str(&query);
        if (err == TB_OK) {
            err = tb_aws_call(aws, &call, &result, fail);
        }
        tb_buf_reset(&next);
        if (err == TB_OK) {
            err = tb_s3_take_page(tb_buf_view(&result.answer.body), prefix, out, &next, fail);
        }
        if (err == TB_OK && next.len > 0 &&
            tb_bytes_equal(tb_buf_view(&next), tb_buf_view(&token))) {
            err = tb_fail_set(fail, TB_EFORMAT,
                              "ListObjectsV2: the same page is offered again and again");
        }
        if (err != TB_OK || next.len == 0) {
            break;
        }
        tb_buf_reset(&token);
        tb_buf_put_bytes(&token, tb_buf_view(&next));
    }
    tb_aws_result_release(&result);
    tb_buf_release(&query);
    tb_buf_release(&token);
    tb_buf_release(&next);
    return err;
}

/* --- a part of an object --- */

static enum tb_err
take_part(const struct tb_aws_result *result, uint64_t offset, uint8_t *at, size_t len,
          struct tb_fail *fail)
{
    const struct tb_http_answer *answer = &result->answer;

    if (answer->status != 206 &&
        !(answer->status == 200 && offset == 0 && answer->body.len == len)) {
        return tb_fail_set(fail, TB_EFORMAT, "GetObject of a part was answered with status %d",
                           answer->status);
    }
    if (answer->body.len != len) {
        return tb_fail_set(fail, TB_ESHORT, "GetObject: %zu of %zu octets came",
                           answer->body.len, len);
    }
    memcpy(at, answer->body.at, len);
    return TB_OK;
}

enum tb_err
tb_s3_read(struct tb_aws *aws, const struct tb_s3_bucket *bucket, const char *key,
           const char *etag, uint64_t offset, uint8_t *at, size_t len, struct tb_fail *fail)
{
    struct tb_aws_result result = {.answer = TB_HTTP_ANSWER_INIT(len + ANSWER_SLACK_BYTES)};
    struct tb_buf path = TB_BUF_INIT(TB_S3_PATH_MAX_BYTES);
    struct tb_s3_host host = {.host = ""};
    struct tb_http_header headers[3];
    char range[64];
    struct tb_aws_call call = {.service = TB_AWS_S3,
                               .policy = TB_AWS_POLICY_FETCH,
                               .what = "GetObject",
                               .method = "GET",
                               .host = host.host,
                               .headers = headers,
                               .body_fd = -1};
    struct tb_fail why = {.text = ""};
    enum tb_err err;

    if (len == 0) {
        return TB_OK;
    }
    if (len > TB_S3_RANGE_MAX_BYTES) {
        return tb_fail_set(fail, TB_ETOOBIG, "%zu octets are too many for one read", len);
    }
    err = tb_s3_locate(aws, bucket, &host, fail);
    if (err == TB_OK) {
        err = tb_s3_put_path(&path, &host, key, fail);
    }
    if (err != TB_OK) {
        goto out;
    }
    (void)snprintf(range, sizeof(range), "bytes=%llu-%llu", (unsigned long long)offset,
                   (unsigned long long)(offset + len - 1));
    headers[call.header_count++] = (struct tb_http_header){"range", range};
    if (etag[0] != '\0') {
        headers[call.header_count++] = (struct tb_http_header){"if-match", etag};
    }
    tb_s3_add_owner(bucket, headers, &call.header_count);
    call.path = tb_buf_str(&path);
    err = tb_aws_call(aws, &call, &result, &why);
    if (err == TB_OK) {
        err = take_part(&result, offset, at, len, &why);
    } else if (why.http_status == 412) {
        err = tb_fail_set(&why, TB_EEXIST,
                          "GetObject: it is another object than when it was listed");
    }
    if (err != TB_OK && fail != NULL) {
        *fail = why;
    }

out:
    tb_aws_result_release(&result);
    tb_buf_release(&path);
    return err;
}
