/* What S3 is sent, and what its answers mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <tapbox/aws_s3.h>
#include <tapbox/clock.h>

#include "../../../src/aws/aws_int.h"
#include "../../support/http_peer.h"

#define ERROR(code, more)                                                                      \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>" code "</Code><Message>m"         \
    "</Message>" more "<RequestId>r-x</RequestId><HostId>h</HostId></Error>"
#define HELLO_SHA256 "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="

static struct tb_http_client *http;
static struct http_peer *peer;
static struct tb_aws *aws;
static const struct tb_s3_bucket bucket = {.name = "evidence", .path_style = true};

static int
start(void **state TB_UNUSED)
{
    peer = http_peer_start(NULL, 0);
    setenv("AWS_ENDPOINT_URL_S3", http_peer_url(peer), 1);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    if (tb_http_client_new(&http, NULL) != TB_OK) {
        return -1;
    }
    return tb_aws_new(http, "eu-central-1", &aws, NULL) == TB_OK ? 0 : -1;
}

static int
stop(void **state TB_UNUSED)
{
    tb_aws_free(aws);
    tb_http_client_free(http);
    http_peer_stop(peer);
    return 0;
}

static enum tb_err
put(const struct tb_s3_bucket *where, const char *key, struct tb_s3_ack *ack,
    struct tb_fail *fail)
{
    struct tb_s3_put one = {.key = key,
                            .content_type = "application/zstd",
                            .body = tb_bytes_str("hello"),
                            .body_fd = -1};

    assert_int_equal(tb_sha256(one.body, &one.sha256), TB_OK);
    return tb_s3_put(aws, where, &one, ack, fail);
}

static void
an_object_goes_with_proof_of_its_content(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"PUT /evidence/a%20b/c%2B%C3%A4 HTTP/1.1\r\n", 200,
         "ETag: \"e\"\r\nx-amz-version-id: v.1\r\nx-amz-request-id: r-1\r\n"
         "x-amz-checksum-sha256: " HELLO_SHA256 "\r\n",
         NULL, .how = 0}};
    static const char *const headers[][2] = {
        {"x-amz-checksum-sha256", HELLO_SHA256},
        {"x-amz-content-sha256",
         "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"},
        {"content-type", "application/zstd"},
        {"content-length", "5"},
        {"expect", ""},
        {"x-amz-expected-bucket-owner", "111122223333"},
    };
    struct tb_s3_bucket owned = bucket;
    struct tb_s3_ack ack;
    char value[512];

    owned.expected_owner = "111122223333";
    http_peer_script(peer, steps, 1);
    assert_int_equal(put(&owned, "a b/c+\xc3\xa4", &ack, NULL), TB_OK);
    assert_string_equal(ack.etag, "\"e\"");
    assert_string_equal(ack.version, "v.1");
    assert_string_equal(ack.request_id, "r-1");
    assert_true(ack.checksum_echoed);
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        http_peer_header(peer, 0, headers[i][0], value, sizeof(value));
        assert_string_equal(value, headers[i][1]);
    }
    http_peer_header(peer, 0, "authorization", value, sizeof(value));
    assert_non_null(strstr(value,
                           "SignedHeaders=content-type;host;x-amz-checksum-sha256;"
                           "x-amz-content-sha256;x-amz-date;x-amz-expected-bucket-owner,"));
}

static void
a_server_that_echoes_no_checksum_vouches_by_the_signed_hash(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {{NULL, 200, NULL, NULL, .how = 0}};
    struct tb_s3_ack ack;

    http_peer_script(peer, steps, 1);
    assert_int_equal(put(&bucket, "k", &ack, NULL), TB_OK);
    assert_false(ack.checksum_echoed);
    assert_string_equal(ack.version, "");
}

static void
another_checksum_is_no_acknowledgement(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 200,
         "x-amz-request-id: r-2\r\n"
         "x-amz-checksum-sha256: MPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=\r\n",
         NULL, .how = 0}};
    struct tb_s3_ack ack;
    struct tb_fail fail;

    http_peer_script(peer, steps, 1);
    assert_int_equal(put(&bucket, "k", &ack, &fail), TB_EFORMAT);
    assert_string_equal(fail.request_id, "r-2");
}

static void
an_error_in_the_body_of_a_200_is_no_acknowledgement(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 200, NULL, "<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code></Error>",
         .how = 0},
        {NULL, 200, NULL, "<Error><Code>InternalError</Code></Error>", .how = 0}};
    struct tb_s3_ack ack = {.etag = "untouched"};
    struct tb_fail fail = {0};

    http_peer_script(peer, steps, 2);
    assert_int_equal(put(&bucket, "k", &ack, &fail), TB_ETHROTTLE);
    assert_string_equal(fail.code, "SlowDown");
    assert_int_equal(put(&bucket, "k", &ack, &fail), TB_ERETRY);
    assert_string_equal(ack.etag, "untouched");
}

static void
errors_tell_the_caller_what_to_do(void **state TB_UNUSED)
{
    static const struct {
        int status;
        const char *body;
        enum tb_err err;
        const char *code;
    } cases[] = {
        {503, ERROR("SlowDown", ""), TB_ETHROTTLE, "SlowDown"},
        {500, ERROR("InternalError", ""), TB_ERETRY, "InternalError"},
        {400, ERROR("RequestTimeout", ""), TB_ERETRY, "RequestTimeout"},
        {400, ERROR("BadDigest", ""), TB_EFORMAT, "BadDigest"},
        {400, ERROR("XAmzContentSHA256Mismatch", ""), TB_EFORMAT, "XAmzContentSHA256Mismatch"},
        {404, ERROR("NoSuchBucket", ""), TB_ENOTFOUND, "NoSuchBucket"},
        {403, ERROR("AccessDenied", ""), TB_EDENIED, "AccessDenied"},
        {400, ERROR("ExpiredToken", ""), TB_EEXPIRED, "ExpiredToken"},
        {403, ERROR("SignatureDoesNotMatch", "<StringToSign>s</StringToSign>"), TB_EDENIED,
         "SignatureDoesNotMatch"},
        {400, ERROR("EntityTooLarge", ""), TB_EINVAL, "EntityTooLarge"},
        {507, "full", TB_ERETRY, ""},
        {204, "", TB_EFORMAT, ""},
    };
    struct tb_s3_ack ack;
    struct tb_fail fail;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_peer_step step = {NULL, cases[i].status, NULL, cases[i].body,
                                      .always = true};

        http_peer_script(peer, &step, 1);
        assert_int_equal(put(&bucket, "k", &ack, &fail), cases[i].err);
        assert_string_equal(fail.code, cases[i].code);
        if (cases[i].code[0] != '\0') {
            assert_string_equal(fail.request_id, "r-x");
        }
        /* one attempt, and one more after new credentials */
        assert_int_equal(http_peer_count(peer), cases[i].err == TB_EEXPIRED ? 2 : 1);
    }
    http_peer_script(peer, NULL, 0);
}

static void
a_bucket_elsewhere_is_told_with_its_region(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"PUT", 301, "x-amz-bucket-region: eu-west-1\r\n", ERROR("PermanentRedirect", ""),
         .how = 0},
        {"PUT", 400, NULL, ERROR("AuthorizationHeaderMalformed", "<Region>us-west-2</Region>"),
         .how = 0},
        {"HEAD", 301, "x-amz-bucket-region: ap-south-1\r\n", NULL, .always = true}};
    struct tb_s3_ack ack;
    struct tb_fail fail;

    http_peer_script(peer, steps, 3);
    assert_int_equal(put(&bucket, "k", &ack, &fail), TB_EINVAL);
    assert_non_null(strstr(fail.text, "the bucket is in Region eu-west-1"));
    assert_int_equal(put(&bucket, "k", &ack, &fail), TB_EINVAL);
    assert_non_null(strstr(fail.text, "the bucket is in Region us-west-2"));
    assert_int_equal(tb_s3_bucket_check(aws, &bucket, &fail), TB_EINVAL);
    assert_non_null(strstr(fail.text, "the bucket is in Region ap-south-1"));
}

static void
a_bucket_is_there_or_the_status_says_why_not(void **state TB_UNUSED)
{
    static const struct {
        int status;
        enum tb_err err;
    } cases[] = {{200, TB_OK},
                 {404, TB_ENOTFOUND},
                 {403, TB_EDENIED},
                 {400, TB_EINVAL},
                 {301, TB_EINVAL}};
    struct tb_fail fail;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_peer_step step = {"HEAD /evidence HTTP/1.1\r\n", cases[i].status,
                                      "x-amz-request-id: r-h\r\n", NULL, .always = true};

        http_peer_script(peer, &step, 1);
        assert_int_equal(tb_s3_bucket_check(aws, &bucket, &fail), cases[i].err);
        if (cases[i].err != TB_OK) {
            assert_int_equal(fail.http_status, cases[i].status);
            assert_string_equal(fail.request_id, "r-h");
        }
    }
    http_peer_script(peer, NULL, 0);
}

static void
a_wrong_clock_is_learnt_from_an_answer_without_body(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"HEAD", 403, "Date: Fri, 02 Jan 2026 03:04:05 GMT\r\n", NULL, .how = 0},
        {"HEAD", 200, NULL, NULL, .how = 0}};
    char value[64];

    tb_clock_fake(INT64_C(1767326645) * TB_NS_PER_S, TB_NS_PER_S); /* an hour ahead */
    http_peer_script(peer, steps, 2);
    assert_int_equal(tb_s3_bucket_check(aws, &bucket, NULL), TB_OK);
    http_peer_header(peer, 1, "x-amz-date", value, sizeof(value));
    assert_string_equal(value, "20260102T030405Z");
    tb_clock_real();
    aws->locked.offset_s[TB_AWS_S3] = 0;
}

static void
names_that_are_none_never_leave(void **state TB_UNUSED)
{
    static const char *const names[] = {"",
                                        "ab",
                                        "No",
                                        "a/b",
                                        "a b",
                                        "../x",
                                        ".abc",
                                        "a@evil",
                                        ("0123456789012345678901234567890123456789012345678901"
                                         "234567890123")};
    char long_key[TB_S3_KEY_SIZE + 1];
    struct tb_s3_ack ack;

    http_peer_script(peer, NULL, 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct tb_s3_bucket bad = {.name = names[i], .path_style = true};

        assert_int_equal(put(&bad, "k", &ack, NULL), TB_EINVAL);
        assert_int_equal(tb_s3_bucket_check(aws, &bad, NULL), TB_EINVAL);
    }
    memset(long_key, 'k', TB_S3_KEY_SIZE);
    long_key[TB_S3_KEY_SIZE] = '\0';
    assert_int_equal(put(&bucket, "", &ack, NULL), TB_EINVAL);
    assert_int_equal(put(&bucket, long_key, &ack, NULL), TB_EINVAL);
    assert_int_equal(http_peer_count(peer), 0);
    long_key[TB_S3_KEY_SIZE - 1] = '\0';
    memset(long_key, 0xff, TB_S3_KEY_SIZE - 1);                      /* three characters each */
    assert_int_equal(put(&bucket, long_key, &ack, NULL), TB_ERETRY); /* 599: no step */
    assert_int_equal(http_peer_count(peer), 1);
}

static void
links_name_the_bucket_where_the_endpoint_wants_it(void **state TB_UNUSED)
{
    static const struct {
        const char *endpoint, *name;
        bool path_style;
        const char *begins;
    } cases[] = {
        {"https://s3.example", "abc", false, "https://abc.s3.example/a%20b?X-Amz-Algorithm="},
        {"https://s3.example", "abc", true, "https://s3.example/abc/a%20b?X-Amz-"},
        {"https://s3.example", "a.bc", false, "https://s3.example/a.bc/a%20b?X-Amz-"},
        {"https://s3.example/base", "abc", false, "https://abc.s3.example/base/a%20b?X-Amz-"},
        {"http://127.0.0.1:9", "abc", false, "http://127.0.0.1:9/abc/a%20b?X-Amz-"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_s3_bucket where = {.name = cases[i].name, .path_style = cases[i].path_style};
        struct tb_buf url = TB_BUF_INIT(16384);
        struct tb_aws *other;

        setenv("AWS_ENDPOINT_URL_S3", cases[i].endpoint, 1);
        assert_int_equal(tb_aws_new(http, "eu-central-1", &other, NULL), TB_OK);
        assert_int_equal(tb_s3_presign_get(other, &where, "a b", 60, &url, NULL), TB_OK);
        assert_memory_equal(tb_buf_str(&url), cases[i].begins, strlen(cases[i].begins));
        assert_non_null(
            strstr(tb_buf_str(&url), "&X-Amz-Expires=60&X-Amz-SignedHeaders=host&"));
        assert_int_equal(tb_s3_presign_get(other, &where, "a b", 0, &url, NULL), TB_EINVAL);
        tb_aws_free(other);
        tb_buf_release(&url);
    }
}

#define BEGUN                                                                                  \
    "<InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"        \
    "<Bucket>evidence</Bucket><Key>k</Key><UploadId>a/b+=</UploadId>"                          \
    "</InitiateMultipartUploadResult>"

static void
a_probe_leaves_nothing_behind(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"POST /evidence/captures/probe?uploads= HTTP/1.1\r\n", 200, NULL, BEGUN, .how = 0},
        {"DELETE /evidence/captures/probe?uploadId=a%2Fb%2B%3D HTTP/1.1\r\n", 204, NULL, NULL,
         .how = 0}};
    bool left = true;

    http_peer_script(peer, steps, 2);
    assert_int_equal(tb_s3_probe(aws, &bucket, "captures/probe", &left, NULL), TB_OK);
    assert_false(left);
    assert_int_equal(http_peer_count(peer), 2);
}

static void
a_probe_tells_why_nothing_can_be_put_there(void **state TB_UNUSED)
{
    static const struct {
        struct http_peer_step begin, give_up;
        enum tb_err err;
        bool left;
    } cases[] = {
        {{"POST", 403, NULL, ERROR("AccessDenied", ""), .how = 0}, {0}, TB_EDENIED, false},
        {{"POST", 404, NULL, ERROR("NoSuchBucket", ""), .how = 0}, {0}, TB_ENOTFOUND, false},
        {{"POST", 200, NULL, "<x/>", .how = 0}, {0}, TB_EFORMAT, true},
        {{"POST", 200, NULL, BEGUN, .how = 0},
         {"DELETE", 403, NULL, ERROR("AccessDenied", ""), .how = 0},
         TB_EDENIED,
         true},
        {{"POST", 200, NULL, BEGUN, .how = 0},
         {"DELETE", 404, NULL, ERROR("NoSuchUpload", ""), .how = 0},
         TB_OK,
         false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct http_peer_step steps[] = {cases[i].begin, cases[i].give_up};
        bool left = !cases[i].left;

        http_peer_script(peer, steps, 2);
        assert_int_equal(tb_s3_probe(aws, &bucket, "k", &left, NULL), cases[i].err);
        assert_int_equal(left, cases[i].left);
        http_peer_script(peer, NULL, 0);
    }
}

/* --- never replacing what is there --- */

static enum tb_err
put_new_into(const struct tb_s3_bucket *where, struct tb_s3_ack *ack, struct tb_fail *fail)
{
    struct tb_s3_put one = {
        .key = "k", .body = tb_bytes_str("hello"), .body_fd = -1, .never_replace = true};

    assert_int_equal(tb_sha256(one.body, &one.sha256), TB_OK);
    return tb_s3_put(aws, where, &one, ack, fail);
}

static enum tb_err
put_new(struct tb_s3_ack *ack, struct tb_fail *fail)
{
    return put_new_into(&bucket, ack, fail);
}

#define TAKEN                                                                                  \
    {                                                                                          \
        "PUT /evidence/k ", 412, NULL, ERROR("PreconditionFailed", ""), .how = 0               \
    }

static void
an_object_that_is_there_is_ours_only_if_its_hash_says_so(void **state TB_UNUSED)
{
    static const struct {
        const char *headers, *body;
        int status;
        enum tb_err err;
    } cases[] = {
        {"x-amz-checksum-sha256: " HELLO_SHA256 "\r\nx-amz-version-id: v.1\r\n", "hello", 200,
         TB_OK},
        {"x-amz-meta-tapbox-sha256: "
         "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\r\n",
         "hello", 200, TB_OK},
        /* S3's own checksum counts for more than what a put declared */
        {"x-amz-checksum-sha256: AAAA\r\nx-amz-meta-tapbox-sha256: "
         "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\r\n",
         "hello", 200, TB_EEXIST},
        {"x-amz-checksum-sha256: " HELLO_SHA256 "\r\n", "hello!", 200, TB_EEXIST},
        {"", "hello", 200, TB_EEXIST},
        {"", "", 403, TB_EEXIST},
        {"", "", 404, TB_ERETRY},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_peer_step steps[] = {TAKEN,
                                         {"HEAD /evidence/k ", cases[i].status,
                                          cases[i].headers, cases[i].body, .how = 0,
                                          .always = true}};
        struct tb_s3_ack ack = {.etag = ""};
        struct tb_fail fail = {0};
        char value[64];

        http_peer_script(peer, steps, 2);
        assert_int_equal(put_new(&ack, &fail), cases[i].err);
        http_peer_header(peer, 0, "if-none-match", value, sizeof(value));
        assert_string_equal(value, "*");
        http_peer_header(peer, 1, "x-amz-checksum-mode", value, sizeof(value));
        assert_string_equal(value, "ENABLED");
        if (cases[i].err == TB_EEXIST) {
            assert_int_equal(fail.http_status, 412);
            assert_string_equal(fail.code, "PreconditionFailed");
        }
        if (i == 0) {
            assert_string_equal(ack.version, "v.1");
        }
    }
}

/* GetObjectLockConfiguration of a bucket that has it. */
#define LOCKED                                                                                 \
    {                                                                                          \
        "GET /evidence?object-lock=", 200, NULL,                                               \
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>"          \
            "</ObjectLockConfiguration>",                                                      \
            .how = 0                                                                           \
    }

static void
where_nobody_may_look_a_bucket_that_keeps_versions_gets_one_more(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        TAKEN,
        {"HEAD /evidence/k ", 403, NULL, "", .how = 0, .always = true},
        LOCKED,
        {"PUT /evidence/k ", 200, "x-amz-version-id: v.2\r\n", "", .how = 0},
        /* and that is not the same as a bucket in which it would replace what is there */
        TAKEN,
        {"GET /evidence?object-lock=", 404, NULL,
         ERROR("ObjectLockConfigurationNotFoundError", ""), .how = 0},
    };
    struct tb_s3_ack ack = {.etag = ""};
    struct tb_fail fail = {0};
    char value[64];
    size_t last;

    http_peer_script(peer, steps, 6);
    assert_int_equal(put_new(&ack, &fail), TB_OK);
    last = http_peer_count(peer) - 1;
    assert_true(ack.added_version);
    assert_string_equal(ack.version, "v.2");
    http_peer_header(peer, last, "if-none-match", value, sizeof(value));
    assert_string_equal(value, "");
    http_peer_header(peer, last, "x-amz-checksum-sha256", value, sizeof(value));
    assert_string_equal(value, HELLO_SHA256);
    assert_int_equal(put_new(&ack, &fail), TB_EEXIST);
    assert_string_equal(fail.code, "PreconditionFailed");
    assert_non_null(strstr(fail.text, "s3.reader_role"));
}

static void
who_reads_looks_at_what_is_there(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        TAKEN,
        {"HEAD /evidence/k ", 200, "x-amz-checksum-sha256: " HELLO_SHA256 "\r\n", "hello",
         .how = 0}};
    struct tb_s3_bucket read_by_another = bucket;
    struct tb_s3_ack ack = {.etag = ""};
    char value[256];

    assert_int_equal(tb_aws_new(http, "eu-west-1", &read_by_another.reader, NULL), TB_OK);
    http_peer_script(peer, steps, 2);
    assert_int_equal(put_new_into(&read_by_another, &ack, NULL), TB_OK);
    assert_false(ack.added_version);
    http_peer_header(peer, 0, "authorization", value, sizeof(value));
    assert_non_null(strstr(value, "/eu-central-1/"));
    http_peer_header(peer, 1, "authorization", value, sizeof(value));
    assert_non_null(strstr(value, "/eu-west-1/"));
    tb_aws_free(read_by_another.reader);
}

static void
objects_are_kept_as_the_posture_says(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {NULL, 200, NULL, NULL, .how = 0, .always = true}};
    static const char *const headers[][2] = {
        {"x-amz-server-side-encryption", "aws:kms"},
        {"x-amz-server-side-encryption-aws-kms-key-id", "key-1"},
        {"x-amz-object-lock-mode", "COMPLIANCE"},
        {"x-amz-object-lock-legal-hold", "ON"},
        {"x-amz-storage-class", "STANDARD_IA"},
    };
    struct tb_s3_bucket strict = bucket;
    struct tb_s3_ack ack;
    char value[128];
    int64_t until_utc_ns = 0;

    http_peer_script(peer, steps, 1);
    assert_int_equal(put(&bucket, "k", &ack, NULL), TB_OK);
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        http_peer_header(peer, 0, headers[i][0], value, sizeof(value));
        assert_string_equal(value, "");
    }
    strict.posture = (struct tb_s3_posture){.sse = "aws:kms",
                                            .kms_key = "key-1",
                                            .lock_mode = "COMPLIANCE",
                                            .retention_s = 86400,
                                            .legal_hold = true,
                                            .storage_class = "STANDARD_IA"};
    assert_int_equal(put(&strict, "k", &ack, NULL), TB_OK);
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        http_peer_header(peer, 1, headers[i][0], value, sizeof(value));
        assert_string_equal(value, headers[i][1]);
    }
    http_peer_header(peer, 1, "x-amz-object-lock-retain-until-date", value, sizeof(value));
    assert_int_equal(tb_time_parse(value, &until_utc_ns), TB_OK);
    assert_true(until_utc_ns > tb_clock_utc_ns() + 86000 * TB_NS_PER_S);
    assert_true(until_utc_ns <= tb_clock_utc_ns() + 86400 * TB_NS_PER_S);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_object_that_is_there_is_ours_only_if_its_hash_says_so),
        cmocka_unit_test(where_nobody_may_look_a_bucket_that_keeps_versions_gets_one_more),
        cmocka_unit_test(who_reads_looks_at_what_is_there),
        cmocka_unit_test(objects_are_kept_as_the_posture_says),
        cmocka_unit_test(an_object_goes_with_proof_of_its_content),
        cmocka_unit_test(a_server_that_echoes_no_checksum_vouches_by_the_signed_hash),
        cmocka_unit_test(another_checksum_is_no_acknowledgement),
        cmocka_unit_test(an_error_in_the_body_of_a_200_is_no_acknowledgement),
        cmocka_unit_test(errors_tell_the_caller_what_to_do),
        cmocka_unit_test(a_bucket_elsewhere_is_told_with_its_region),
        cmocka_unit_test(a_bucket_is_there_or_the_status_says_why_not),
        cmocka_unit_test(a_wrong_clock_is_learnt_from_an_answer_without_body),
        cmocka_unit_test(names_that_are_none_never_leave),
        cmocka_unit_test(links_name_the_bucket_where_the_endpoint_wants_it),
        cmocka_unit_test(a_probe_leaves_nothing_behind),
        cmocka_unit_test(a_probe_tells_why_nothing_can_be_put_there),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
