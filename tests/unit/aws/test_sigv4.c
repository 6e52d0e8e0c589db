/* The signer against vectors of botocore; tests/support/make_sigv4_vectors.py made them. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <tapbox/aws_sigv4.h>
#include <tapbox/clock.h>
#include <tapbox/digest.h>
#include <tapbox/io.h>

#define VECTORS "tests/data/sigv4"

struct vector {
    struct tb_buf context_text, request_text;
    struct tb_aws_credentials credentials;
    struct tb_sigv4_context context;
    struct tb_sigv4_request request;
    struct tb_http_header headers[TB_HTTP_MAX_HEADERS];
    char hash[TB_SHA256_HEX_SIZE];
    int64_t expires_s;
};

static void
read_file(const char *name, const char *stage, struct tb_buf *out)
{
    char path[512];

    (void)snprintf(path, sizeof(path), VECTORS "/%s/%s", name, stage);
    assert_int_equal(tb_read_file(AT_FDCWD, path, out, NULL), TB_OK);
}

/* Ends the word at the first of `ends` and gives what is behind it. */
static char *
split(char *text, const char *ends)
{
    char *end = text + strcspn(text, ends);

    if (*end != '\0') {
        *end++ = '\0';
    }
    return end;
}

static char *
own_text(struct tb_buf *buf)
{
    (void)tb_buf_str(buf);
    return (char *)buf->at;
}

static void
read_context(struct vector *v)
{
    char *line = own_text(&v->context_text), *next, *value;
    int64_t now_utc_ns = 0;

    for (; *line != '\0'; line = next) {
        next = split(line, "\n");
        value = split(line, " ");
        if (strcmp(line, "access_key") == 0) {
            assert_true(tb_str_copy(v->credentials.access_key_id,
                                    sizeof(v->credentials.access_key_id), value));
        } else if (strcmp(line, "secret_key") == 0) {
            assert_int_equal(tb_secret_set(&v->credentials.secret_key, tb_bytes_str(value)),
                             TB_OK);
        } else if (strcmp(line, "token") == 0) {
            assert_int_equal(tb_secret_set(&v->credentials.session_token, tb_bytes_str(value)),
                             TB_OK);
        } else if (strcmp(line, "region") == 0) {
            v->context.region = value;
        } else if (strcmp(line, "service") == 0) {
            v->context.service = value;
        } else if (strcmp(line, "expires") == 0) {
            v->expires_s = atol(value);
        } else {
            assert_string_equal(line, "time");
            assert_int_equal(tb_time_parse(value, &now_utc_ns), TB_OK);
            v->context.now_utc_s = now_utc_ns / TB_NS_PER_S;
        }
    }
    v->context.credentials = &v->credentials;
}

static void
read_request(struct vector *v)
{
    char *line = own_text(&v->request_text), *next = split(line, "\n"), *value;
    struct tb_sha256 digest;

    v->request.method = line;
    v->request.path = split(line, " ");
    v->request.query = split((char *)(uintptr_t)v->request.path, "?");
    v->request.headers = v->headers;
    v->request.payload_hash = NULL;
    for (line = next; *line != '\n'; line = next) {
        next = split(line, "\n");
        value = split(line, ":") + 1;
        if (strcmp(line, "Host") == 0) {
            v->request.host = value;
            continue;
        }
        if (strcmp(line, "X-Amz-Content-SHA256") == 0) {
            v->request.payload_hash = value;
        }
        v->headers[v->request.header_count++] = (struct tb_http_header){line, value};
    }
    if (v->request.payload_hash == NULL) {
        assert_int_equal(tb_sha256(tb_bytes_str(line + 1), &digest), TB_OK);
        tb_sha256_hex(v->hash, &digest);
        v->request.payload_hash = v->expires_s != 0 ? "UNSIGNED-PAYLOAD" : v->hash;
    }
}

static void
open_vector(const char *name, struct vector *v)
{
    *v =
        (struct vector){.context_text = TB_BUF_INIT(65536), .request_text = TB_BUF_INIT(65536)};
    read_file(name, "context", &v->context_text);
    read_file(name, "request", &v->request_text);
    read_context(v);
    read_request(v);
}

static void
close_vector(struct vector *v)
{
    tb_aws_credentials_release(&v->credentials);
    tb_buf_release(&v->context_text);
    tb_buf_release(&v->request_text);
}

static void
assert_stage(const char *name, const char *stage, struct tb_buf *is)
{
    struct tb_buf wanted = TB_BUF_INIT(65536);

    read_file(name, stage, &wanted);
    if (strcmp(tb_buf_str(is), tb_buf_str(&wanted)) != 0) {
        print_error("%s, %s:\n", name, stage);
    }
    assert_string_equal(tb_buf_str(is), tb_buf_str(&wanted));
    tb_buf_release(&wanted);
}

static void
check_authorization(const char *name, struct vector *v)
{
    struct tb_sigv4_trace trace = {TB_BUF_INIT(65536), TB_BUF_INIT(65536)};
    struct tb_buf authorization = TB_BUF_INIT(65536);

    assert_int_equal(
        tb_sigv4_authorization(&v->context, &v->request, &authorization, &trace, NULL), TB_OK);
    assert_stage(name, "canonical", &trace.canonical_request);
    assert_stage(name, "to-sign", &trace.string_to_sign);
    assert_stage(name, "authorization", &authorization);
    tb_buf_release(&trace.canonical_request);
    tb_buf_release(&trace.string_to_sign);
    tb_buf_release(&authorization);
}

/* The order of parameters is ours; the signature says that all of them are there and right. */
static void
check_presigned(const char *name, struct vector *v)
{
    struct tb_buf url = TB_BUF_INIT(65536), wanted = TB_BUF_INIT(65536);

    assert_int_equal(tb_sigv4_presign(&v->context, &v->request, v->expires_s, &url, NULL),
                     TB_OK);
    read_file(name, "presigned", &wanted);
    assert_string_equal(strrchr(tb_buf_str(&url), '='), strrchr(tb_buf_str(&wanted), '='));
    assert_int_equal(url.len, strlen(strchr(strstr(tb_buf_str(&wanted), "//") + 2, '/')));
    assert_memory_equal(url.at, v->request.path, strlen(v->request.path));
    tb_buf_release(&url);
    tb_buf_release(&wanted);
}

static void
every_vector_is_signed_as_botocore_signs_it(void **state TB_UNUSED)
{
    DIR *folder = opendir(VECTORS);
    const struct dirent *entry;
    size_t count = 0;

    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL) {
        struct vector v;

        if (entry->d_name[0] == '.') {
            continue;
        }
        open_vector(entry->d_name, &v);
        if (v.expires_s != 0) {
            check_presigned(entry->d_name, &v);
        } else {
            check_authorization(entry->d_name, &v);
        }
        close_vector(&v);
        count++;
    }
    closedir(folder);
    assert_true(count >= 24);
}

static void
a_query_with_lower_case_escapes_is_signed_in_upper_case(void **state TB_UNUSED)
{
    struct tb_buf upper = TB_BUF_INIT(65536), lower = TB_BUF_INIT(65536);
    struct vector v;

    open_vector("v4-s3-upload-part", &v);
    v.request.query = "partNumber=1&uploadId=abc%2F%2B%3D";
    assert_int_equal(tb_sigv4_authorization(&v.context, &v.request, &upper, NULL, NULL), TB_OK);
    v.request.query = "&uploadId=abc%2f%2b%3d&&partNumber=1";
    assert_int_equal(tb_sigv4_authorization(&v.context, &v.request, &lower, NULL, NULL), TB_OK);
    assert_string_equal(tb_buf_str(&upper), tb_buf_str(&lower));
    close_vector(&v);
    tb_buf_release(&upper);
    tb_buf_release(&lower);
}

static void
a_presigned_url_lives_a_week_at_the_most(void **state TB_UNUSED)
{
    static const int64_t refused[] = {INT64_MIN, -1, 0, 604801, INT64_MAX};
    struct tb_buf url = TB_BUF_INIT(65536);
    struct vector v;

    open_vector("v5-s3-presigned-get", &v);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_int_equal(tb_sigv4_presign(&v.context, &v.request, refused[i], &url, NULL),
                         TB_EINVAL);
    }
    assert_int_equal(url.len, 0);
    close_vector(&v);
    tb_buf_release(&url);
}

static void
too_many_headers_or_parameters_are_refused(void **state TB_UNUSED)
{
    struct tb_buf out = TB_BUF_INIT(65536), query = TB_BUF_INIT(65536);
    struct vector v;

    open_vector("v3-s3-put-unsigned-payload", &v);
    v.request.header_count = TB_HTTP_MAX_HEADERS + 1;
    assert_int_equal(tb_sigv4_authorization(&v.context, &v.request, &out, NULL, NULL),
                     TB_EINVAL);
    v.request.header_count = 1;
    for (int i = 0; i < 65; i++) {
        tb_buf_printf(&query, "&p%d=", i);
    }
    v.request.query = tb_buf_str(&query);
    assert_int_equal(tb_sigv4_authorization(&v.context, &v.request, &out, NULL, NULL),
                     TB_EINVAL);
    close_vector(&v);
    tb_buf_release(&query);
    tb_buf_release(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_is_signed_as_botocore_signs_it),
        cmocka_unit_test(a_query_with_lower_case_escapes_is_signed_in_upper_case),
        cmocka_unit_test(a_presigned_url_lives_a_week_at_the_most),
        cmocka_unit_test(too_many_headers_or_parameters_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
