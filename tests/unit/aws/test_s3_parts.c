/* Uploads in parts: what S3 is sent, and what its answers mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/aws_s3.h>

#include "../../support/http_peer.h"

#define DONE(more)                                                                             \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CompleteMultipartUploadResult><Key>k</Key>"  \
    "<ETag>\"e-2\"</ETag>" more "</CompleteMultipartUploadResult>"
#define ERROR(code)                                                                            \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>" code "</Code><Message>m"         \
    "</Message></Error>"

static struct tb_http_client *http;
static struct http_peer *peer;
static struct tb_aws *aws;
static const struct tb_s3_bucket bucket = {.name = "evidence", .path_style = true};
static const struct tb_s3_upload upload = {.key = "k", .id = "a/b+="};
static char composite[64];

static void
hash(const char *text, struct tb_sha256 *out)
{
    assert_int_equal(tb_sha256(tb_bytes_str(text), out), TB_OK);
}

static int
start(void **state TB_UNUSED)
{
    struct tb_buf text = TB_BUF_INIT(64);
    struct tb_sha256 parts[2], whole;

    peer = http_peer_start(NULL, 0);
    setenv("AWS_ENDPOINT_URL_S3", http_peer_url(peer), 1);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    hash("hello", &parts[0]);
    hash("world", &parts[1]);
    assert_int_equal(tb_sha256(tb_bytes_of(parts, sizeof(parts)), &whole), TB_OK);
    tb_buf_put_base64(&text, tb_bytes_of(whole.octets, sizeof(whole.octets)));
    (void)snprintf(composite, sizeof(composite), "%s-2", tb_buf_str(&text));
    tb_buf_release(&text);
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

static void
a_part_is_its_part_of_the_file_with_its_own_checksum(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"PUT /evidence/k?partNumber=2&uploadId=a%2Fb%2B%3D HTTP/1.1\r\n", 200,
         "ETag: \"e2\"\r\n", NULL, .how = 0},
        {"PUT /evidence/k?partNumber=2", 200, "ETag: \"e2\"\r\nx-amz-checksum-sha256: AAAA\r\n",
         NULL, .how = 0},
        {"PUT /evidence/k?partNumber=2", 200, NULL, NULL, .how = 0}};
    struct tb_s3_part part = {.number = 2, .bytes = 5};
    struct tb_fail fail = {0};
    char value[128];
    int fd = memfd_create("part", MFD_CLOEXEC);

    assert_int_equal(write(fd, "helloworld!", 11), 11);
    hash("world", &part.sha256);
    http_peer_script(peer, steps, 3);
    assert_int_equal(tb_s3_upload_part(aws, &bucket, &upload, fd, 5, &part, NULL), TB_OK);
    assert_string_equal(part.etag, "\"e2\"");
    assert_string_equal(http_peer_body(peer, 0), "world");
    http_peer_header(peer, 0, "x-amz-checksum-sha256", value, sizeof(value));
    assert_string_equal(value, "SG6kYiTRu0+2gPNPfJrZao8k7Ii+c+qOWmxlJg6cuKc=");
    http_peer_header(peer, 0, "if-none-match", value, sizeof(value));
    assert_string_equal(value, "");
    part.etag[0] = '\0';
    assert_int_equal(tb_s3_upload_part(aws, &bucket, &upload, fd, 5, &part, &fail), TB_EFORMAT);
    assert_string_equal(part.etag, "");
    assert_int_equal(fail.http_status, 200);
    /* without an ETag it cannot be named at the end */
    assert_int_equal(tb_s3_upload_part(aws, &bucket, &upload, fd, 5, &part, &fail), TB_EFORMAT);
    close(fd);
}

static enum tb_err
complete(struct tb_s3_ack *ack, struct tb_fail *fail)
{
    struct tb_s3_part parts[2] = {{.number = 1, .bytes = 5, .etag = "\"e1\""},
                                  {.number = 2, .bytes = 5, .etag = "\"e2\""}};
    struct tb_s3_put put = {
        .key = "k", .body = tb_bytes_str("helloworld"), .body_fd = -1, .never_replace = true};

    hash("hello", &parts[0].sha256);
    hash("world", &parts[1].sha256);
    hash("helloworld", &put.sha256);
    return tb_s3_upload_complete(aws, &bucket, &put, &upload, parts, 2, ack, fail);
}

static void
all_parts_are_named_and_the_checksum_over_theirs_is_expected_back(void **state TB_UNUSED)
{
    struct tb_s3_ack ack = {.etag = ""};
    struct tb_fail fail = {0};
    char answer[512], value[64];
    struct http_peer_step steps[] = {
        {"POST /evidence/k?uploadId=a%2Fb%2B%3D HTTP/1.1\r\n", 200, "x-amz-version-id: v1\r\n",
         answer, .how = 0},
        {"POST", 200, NULL, DONE("<ChecksumSHA256>AAAA-2</ChecksumSHA256>"), .how = 0},
        {"POST", 200, NULL, DONE(""), .how = 0}};

    /* (spaces first: that is how S3 keeps a long wait alive) */
    (void)snprintf(answer, sizeof(answer), "  \n" DONE("<ChecksumSHA256>%s</ChecksumSHA256>"),
                   composite);
    http_peer_script(peer, steps, 3);
    assert_int_equal(complete(&ack, NULL), TB_OK);
    assert_true(ack.checksum_echoed);
    assert_string_equal(ack.etag, "\"e-2\"");
    assert_string_equal(ack.version, "v1");
    assert_non_null(strstr(http_peer_body(peer, 0),
                           "<Part><PartNumber>1</PartNumber><ETag>\"e1\"</ETag>"
                           "<ChecksumSHA256>LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
                           "</ChecksumSHA256></Part><Part><PartNumber>2</PartNumber>"));
    http_peer_header(peer, 0, "if-none-match", value, sizeof(value));
    assert_string_equal(value, "*");
    assert_int_equal(complete(&ack, &fail), TB_EFORMAT);
    assert_int_equal(complete(&ack, NULL), TB_OK);
    assert_false(ack.checksum_echoed);
}

static void
an_error_in_an_answer_of_200_is_one(void **state TB_UNUSED)
{
    static const struct {
        const char *body;
        enum tb_err err;
        const char *code;
    } cases[] = {
        {ERROR("InternalError"), TB_ERETRY, "InternalError"},
        {"   " ERROR("SlowDown"), TB_ETHROTTLE, "SlowDown"},
        {ERROR("NoSuchUpload"), TB_ENOTFOUND, "NoSuchUpload"},
        {ERROR("NeverHeardOf"), TB_ERETRY, "NeverHeardOf"},
        {"", TB_ERETRY, ""},
        {"<CompleteMultipartUploadResult>", TB_ERETRY, ""},
        {"<x/>", TB_EFORMAT, ""},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct http_peer_step steps[] = {
            {"POST", 200, NULL, cases[i].body, .how = 0, .always = true}};
        struct tb_s3_ack ack;
        struct tb_fail fail = {0};

        http_peer_script(peer, steps, 1);
        assert_int_equal(complete(&ack, &fail), cases[i].err);
        assert_string_equal(fail.code, cases[i].code);
        assert_int_equal(fail.http_status, 200);
    }
}

static void
a_completion_whose_answer_was_lost_is_known_by_the_object(void **state TB_UNUSED)
{
    char headers[128];
    struct http_peer_step steps[] = {
        {"POST", 412, NULL, ERROR("PreconditionFailed"), .how = 0},
        {"HEAD /evidence/k ", 200, headers, "helloworld", .how = 0},
        {"POST", 412, NULL, ERROR("PreconditionFailed"), .how = 0},
        {"HEAD /evidence/k ", 200, "x-amz-checksum-sha256: AAAA\r\n", "helloworld", .how = 0}};
    struct tb_s3_ack ack;

    (void)snprintf(headers, sizeof(headers), "x-amz-checksum-sha256: %s\r\n", composite);
    http_peer_script(peer, steps, 4);
    assert_int_equal(complete(&ack, NULL), TB_OK);
    assert_int_equal(complete(&ack, NULL), TB_EEXIST);
}

static void
a_completion_that_nobody_may_look_at_adds_a_version_or_waits(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"POST", 412, NULL, ERROR("PreconditionFailed"), .how = 0},
        {"HEAD /evidence/k ", 403, NULL, NULL, .how = 0, .always = true},
        {"GET /evidence?object-lock=", 200, NULL, "<ObjectLockConfiguration/>", .how = 0},
        {"POST", 200, "x-amz-version-id: v.2\r\n", DONE(""), .how = 0},
        {"POST", 412, NULL, ERROR("PreconditionFailed"), .how = 0},
        {"GET /evidence?object-lock=", 404, NULL, ERROR("ObjectLockConfigurationNotFoundError"),
         .how = 0}};
    struct tb_s3_ack ack;
    char value[16];

    http_peer_script(peer, steps, 6);
    assert_int_equal(complete(&ack, NULL), TB_OK);
    assert_true(ack.added_version);
    assert_string_equal(ack.version, "v.2");
    http_peer_header(peer, http_peer_count(peer) - 1, "if-none-match", value, sizeof(value));
    assert_string_equal(value, "");
    assert_int_equal(complete(&ack, NULL), TB_EEXIST);
}

static void
lists_are_read_to_their_last_page(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"GET /evidence?prefix=p%2F&uploads= HTTP/1.1\r\n", 200, NULL,
         "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>p/1"
         "</NextKeyMarker><NextUploadIdMarker>i+1</NextUploadIdMarker><Upload><Key>p/1</Key>"
         "<UploadId>i+1</UploadId></Upload></ListMultipartUploadsResult>",
         .how = 0},
        {"GET /evidence?key-marker=p%2F1&prefix=p%2F&upload-id-marker=i%2B1&uploads= ", 200,
         NULL,
         "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>p/2</Key>"
         "<UploadId>i2</UploadId></Upload></ListMultipartUploadsResult>",
         .how = 0},
        {"GET /evidence/k?uploadId=a%2Fb%2B%3D HTTP/1.1\r\n", 200, NULL,
         "<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>1"
         "</NextPartNumberMarker><Part><PartNumber>1</PartNumber><ETag>\"e1\"</ETag><Size>"
         "5368709120</Size></Part></ListPartsResult>",
         .how = 0},
        {"GET /evidence/k?uploadId=a%2Fb%2B%3D&part-number-marker=1 ", 200, NULL,
         "<ListPartsResult><Part><PartNumber>2</PartNumber><ETag>\"e2\"</ETag><Size>5</Size>"
         "</Part></ListPartsResult>",
         .how = 0},
        {"GET /evidence/k?uploadId=", 200, NULL,
         "<ListPartsResult><Part><PartNumber>0</PartNumber><ETag/><Size>5x</Size></Part>"
         "</ListPartsResult>",
         .how = 0},
        {"GET /evidence/k?uploadId=", 404, NULL, ERROR("NoSuchUpload"), .how = 0}};
    struct tb_s3_upload *uploads = NULL;
    struct tb_s3_part *parts = NULL;
    size_t count = 0;

    http_peer_script(peer, steps, sizeof(steps) / sizeof(steps[0]));
    assert_int_equal(tb_s3_uploads(aws, &bucket, "p/", &uploads, &count, NULL), TB_OK);
    assert_int_equal(count, 2);
    assert_string_equal(uploads[0].id, "i+1");
    assert_string_equal(uploads[1].key, "p/2");
    free(uploads);
    assert_int_equal(tb_s3_upload_parts(aws, &bucket, &upload, &parts, &count, NULL), TB_OK);
    assert_int_equal(count, 2);
    assert_true(parts[0].bytes == 5368709120u && parts[1].number == 2);
    assert_string_equal(parts[1].etag, "\"e2\"");
    free(parts);
    assert_int_equal(tb_s3_upload_parts(aws, &bucket, &upload, &parts, &count, NULL),
                     TB_EFORMAT);
    assert_int_equal(tb_s3_upload_parts(aws, &bucket, &upload, &parts, &count, NULL),
                     TB_ENOTFOUND);
}

static void
one_that_is_gone_needs_no_abort(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"DELETE /evidence/k?uploadId=a%2Fb%2B%3D HTTP/1.1\r\n", 204, NULL, NULL, .how = 0},
        {"DELETE", 404, NULL, ERROR("NoSuchUpload"), .how = 0},
        {"DELETE", 404, NULL, ERROR("NoSuchBucket"), .how = 0}};

    http_peer_script(peer, steps, 3);
    assert_int_equal(tb_s3_upload_abort(aws, &bucket, &upload, NULL), TB_OK);
    assert_int_equal(tb_s3_upload_abort(aws, &bucket, &upload, NULL), TB_OK);
    assert_int_equal(tb_s3_upload_abort(aws, &bucket, &upload, NULL), TB_ENOTFOUND);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_is_its_part_of_the_file_with_its_own_checksum),
        cmocka_unit_test(all_parts_are_named_and_the_checksum_over_theirs_is_expected_back),
        cmocka_unit_test(an_error_in_an_answer_of_200_is_one),
        cmocka_unit_test(a_completion_whose_answer_was_lost_is_known_by_the_object),
        cmocka_unit_test(a_completion_that_nobody_may_look_at_adds_a_version_or_waits),
        cmocka_unit_test(lists_are_read_to_their_last_page),
        cmocka_unit_test(one_that_is_gone_needs_no_abort),
    };

    return cmocka_run_group_tests_name("s3_parts", tests, start, stop);
}
