/* A folder and a prefix in a bucket look the same from here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/place.h>

#include "../../support/evidence.h"
#include "../../support/http_peer.h"

#define PAGE(truncated, items)                                                                 \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult "                             \
    "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>evidence</Name>"                  \
    "<EncodingType>url</EncodingType><IsTruncated>" truncated "</IsTruncated>" items           \
    "</ListBucketResult>"
#define ITEM(key, size)                                                                        \
    "<Contents><Key>" key "</Key><ETag>&quot;e&quot;</ETag><Size>" size "</Size></Contents>"
#define ERROR(code, more) "<Error><Code>" code "</Code><Message>m</Message>" more "</Error>"

static struct http_peer *peer;
static char dir[] = "/tmp/tapbox-place-XXXXXX";

static int
start(void **state TB_UNUSED)
{
    peer = http_peer_start(NULL, 0);
    setenv("AWS_ENDPOINT_URL_S3", http_peer_url(peer), 1);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    setenv("AWS_REGION", "eu-central-1", 1);
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int
stop(void **state TB_UNUSED)
{
    http_peer_stop(peer);
    test_remove_tree(dir);
    return 0;
}

static void
make(const char *name, const char *content)
{
    char path[256];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (content == NULL) {
        assert_int_equal(mkdir(path, 0700), 0);
        return;
    }
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(tb_write_all(fd, tb_bytes_str(content), NULL), TB_OK);
    (void)close(fd);
}

static void
expect_names(const struct tb_place_list *list, const char *names)
{
    char text[1024] = "";

    for (size_t i = 0; i < list->count; i++) {
        size_t len = strlen(text);

        (void)snprintf(text + len, sizeof(text) - len, "%s%s%s", list->at[i].name,
                       list->at[i].kind == TB_PLACE_FILE     ? ""
                       : list->at[i].kind == TB_PLACE_FOLDER ? "/"
                                                             : "@",
                       i + 1 < list->count ? " " : "");
    }
    assert_string_equal(text, names);
}

/* --- a folder --- */

static void
a_folder_is_listed_whole_and_links_are_not_followed(void **state TB_UNUSED)
{
    struct tb_place *place = NULL, *above = NULL;
    struct tb_place_list list = {.count = 0};
    struct tb_buf text = TB_BUF_INIT(16);
    char path[256], link_path[256];
    struct tb_fail fail;

    make("cap", NULL);
    make("cap/segments", NULL);
    make("cap/empty", NULL);
    make("cap/segments/b", "two");
    make("cap/segments/a", "one");
    make("cap/manifest", "much too long for the room there is");
    make("keys", NULL);
    (void)snprintf(link_path, sizeof(link_path), "%s/cap/link", dir);
    assert_int_equal(symlink("/etc", link_path), 0);
    (void)snprintf(path, sizeof(path), "%s/cap/", dir);
    assert_int_equal(tb_place_open(path, &place, NULL), TB_OK);
    assert_string_equal(tb_place_name(place), "cap");
    assert_false(tb_place_is_remote(place));
    assert_int_equal(tb_place_list(place, "", &list, NULL), TB_OK);
    expect_names(&list, "empty/ link@ manifest segments/ segments/a segments/b");
    assert_int_equal(tb_place_find_from(&list, "segments/"), 4);
    assert_int_equal(tb_place_read(place, tb_place_find(&list, "segments/b"), &text, NULL),
                     TB_OK);
    assert_string_equal(tb_buf_str(&text), "two");
    assert_int_equal(tb_place_read(place, tb_place_find(&list, "manifest"), &text, NULL),
                     TB_ETOOBIG);
    assert_int_equal(tb_place_read(place, tb_place_find(&list, "link"), &text, &fail),
                     TB_EINVAL);
    assert_null(tb_place_find(&list, "segments/c"));
    tb_place_list_release(&list);
    assert_int_equal(tb_place_list(place, "segments", &list, NULL), TB_OK);
    expect_names(&list, "segments/a segments/b");
    tb_place_list_release(&list);
    assert_int_equal(tb_place_list(place, "nowhere", &list, NULL), TB_OK);
    assert_int_equal(list.count, 0);
    assert_int_equal(tb_place_above(place, 1, &above, NULL), TB_OK);
    assert_string_equal(tb_place_name(above), dir + strlen("/tmp/"));
    tb_place_free(above);
    assert_int_equal(tb_place_above(place, 4, &above, &fail), TB_ENOTFOUND);
    tb_place_free(place);
    tb_buf_release(&text);
    assert_int_equal(tb_place_open("/nowhere/at/all", &place, &fail), TB_ENOTFOUND);
    assert_int_equal(tb_place_open("/etc/passwd", &place, &fail), TB_EINVAL);
}

/* --- a bucket --- */

static struct tb_place *
bucket(void)
{
    struct tb_place *place = NULL;

    assert_int_equal(tb_place_open("s3://evidence/captures/2026/", &place, NULL), TB_OK);
    assert_true(tb_place_is_remote(place));
    assert_string_equal(tb_place_name(place), "2026");
    return place;
}

static void
a_prefix_is_listed_page_by_page(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"GET /evidence?encoding-type=url&list-type=2&prefix=captures%2F2026%2F ", 200, NULL,
         PAGE("true", ITEM("captures/2026/a%2Bb+c", "3") ITEM("captures/2026/", "0")
                          ITEM("captures/2026/x/", "0") "<NextContinuationToken>n/1"
                                                        "</NextContinuationToken>"),
         .how = 0},
        {"GET /evidence?continuation-token=n%2F1&encoding-type=url&list-type=2&prefix=captures"
         "%2F2026%2F ",
         200, NULL, PAGE("false", ITEM("captures/2026/A", "5000000000")), .how = 0}};
    struct tb_place *place = bucket();
    struct tb_place_list list = {.count = 0};

    http_peer_script(peer, steps, 2);
    assert_int_equal(tb_place_list(place, "", &list, NULL), TB_OK);
    expect_names(&list, "A a+b c");
    assert_int_equal(list.at[0].bytes, 5000000000);
    assert_string_equal(list.at[1].etag, "\"e\"");
    tb_place_list_release(&list);
    tb_place_free(place);
}

static void
parts_are_asked_for_as_they_were_listed(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"GET /evidence/captures/2026/x%20y ", 206, NULL, "octets", .how = 0},
        {"GET /evidence/captures/2026/x%20y ", 206, NULL, "octets", .how = HTTP_PEER_CUTS},
        {"GET /evidence/captures/2026/x%20y ", 206, NULL, "octets", .how = 0},
        {NULL, 412, NULL, ERROR("PreconditionFailed", ""), .how = 0},
        {NULL, 206, NULL, "octe", .how = 0},
        {NULL, 416, NULL, ERROR("InvalidRange", ""), .how = 0},
        {NULL, 200, NULL, "octets and all the others", .how = 0},
        {NULL, 206, NULL, "0123456789", .how = 0},
    };
    struct tb_place *place = bucket();
    char name[] = "x y";
    struct tb_place_file file = {
        .name = name, .kind = TB_PLACE_FILE, .bytes = 1 << 20, .etag = "\"e\""};
    struct tb_place_file small = {.name = name, .kind = TB_PLACE_FILE, .bytes = 10};
    struct tb_place_reader *reader = NULL;
    struct tb_readable from;
    uint8_t at[16];
    char value[64];
    struct tb_fail fail;

    http_peer_script(peer, steps, 8);
    assert_int_equal(tb_place_reader_open(place, &file, &reader, NULL), TB_OK);
    from = tb_place_readable(reader);
    assert_int_equal(from.bytes, 1 << 20);
    assert_int_equal(from.read(from.arg, 10, at, 6, NULL), TB_OK);
    assert_memory_equal(at, "octets", 6);
    http_peer_header(peer, 0, "range", value, sizeof(value));
    assert_string_equal(value, "bytes=10-15");
    http_peer_header(peer, 0, "if-match", value, sizeof(value));
    assert_string_equal(value, "\"e\"");
    assert_int_equal(from.read(from.arg, 10, at, 6, NULL), TB_OK); /* the second try */
    assert_int_equal(http_peer_count(peer), 3);
    assert_int_equal(from.read(from.arg, 0, at, 6, &fail), TB_EEXIST);
    assert_non_null(strstr(fail.text, "s3://evidence/captures/2026/x y: "));
    assert_int_equal(from.read(from.arg, 0, at, 6, &fail), TB_ESHORT);
    assert_int_equal(from.read(from.arg, 0, at, 6, &fail), TB_ESHORT);
    assert_int_equal(from.read(from.arg, 0, at, 6, &fail), TB_EFORMAT);
    assert_int_equal(from.read(from.arg, (1 << 20) - 5, at, 6, &fail), TB_ESHORT);
    assert_int_equal(http_peer_count(peer), 7);
    tb_place_reader_free(reader);

    /* the end is brought at once, and once */
    assert_int_equal(tb_place_reader_open(place, &small, &reader, NULL), TB_OK);
    from = tb_place_readable(reader);
    assert_int_equal(from.read(from.arg, 8, at, 2, NULL), TB_OK);
    assert_memory_equal(at, "89", 2);
    assert_int_equal(from.read(from.arg, 3, at, 4, NULL), TB_OK);
    assert_memory_equal(at, "3456", 4);
    http_peer_header(peer, 7, "range", value, sizeof(value));
    assert_string_equal(value, "bytes=0-9");
    assert_int_equal(http_peer_count(peer), 8);
    tb_place_reader_free(reader);
    tb_place_free(place);
}

static void
what_s3_refuses_is_told_with_what_to_do(void **state TB_UNUSED)
{
    static const struct {
        int status;
        const char *headers, *body;
        enum tb_err err;
        const char *says;
    } cases[] = {
        {404, NULL, ERROR("NoSuchBucket", ""), TB_ENOTFOUND, "there is no such bucket here"},
        {403, NULL, ERROR("AccessDenied", ""), TB_EDENIED, "s3:ListBucket on the bucket"},
        {301, "x-amz-bucket-region: eu-west-1\r\n", ERROR("PermanentRedirect", ""), TB_EINVAL,
         "Region eu-west-1); set AWS_REGION to it"},
        {200, NULL, "<html>login</html>", TB_EFORMAT, "was answered with <html>"},
        {200, NULL, PAGE("true", ""), TB_EFORMAT, "no way to the next page"},
        {200, NULL, PAGE("false", ITEM("else/where", "1")), TB_EFORMAT, "another prefix"},
        {200, NULL, PAGE("false", ITEM("captures/2026/a", "x")), TB_EFORMAT, "key or size"},
        {200, NULL, PAGE("true", "<NextContinuationToken>t</NextContinuationToken>"),
         TB_EFORMAT, "again and again"},
    };
    struct tb_place *place = bucket();
    struct tb_place_list list = {.count = 0};
    struct tb_fail fail;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_peer_step step = {NULL, cases[i].status, cases[i].headers, cases[i].body,
                                      .always = true};

        http_peer_script(peer, &step, 1);
        assert_int_equal(tb_place_list(place, "", &list, &fail), cases[i].err);
        assert_non_null(strstr(fail.text, "s3://evidence"));
        if (strstr(fail.text, cases[i].says) == NULL) {
            fail_msg("case %zu: %s", i, fail.text);
        }
    }
    http_peer_script(peer, NULL, 0);
    tb_place_free(place);
    assert_int_equal(tb_place_open("s3:///x", &place, &fail), TB_EINVAL);
    assert_int_equal(tb_place_open("s3://ab", &place, &fail), TB_EINVAL);
    unsetenv("AWS_REGION");
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    assert_int_equal(tb_place_open("s3://evidence", &place, &fail), TB_EINVAL);
    assert_non_null(strstr(fail.text, "AWS_REGION"));
    setenv("AWS_REGION", "eu-central-1", 1);
}

static void
above_a_prefix_are_shorter_ones_up_to_the_bucket(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {"GET /evidence?encoding-type=url&list-type=2&prefix=captures%2Fkeys%2F ", 200, NULL,
         PAGE("false", ITEM("captures/keys/k.pem", "1")), .how = 0},
        {"GET /evidence?encoding-type=url&list-type=2&prefix=keys%2F ", 200, NULL,
         PAGE("false", ""), .how = 0}};
    struct tb_place *place = bucket(), *above = NULL;
    struct tb_place_list list = {.count = 0};

    http_peer_script(peer, steps, 2);
    assert_int_equal(tb_place_above(place, 1, &above, NULL), TB_OK);
    assert_string_equal(tb_place_name(above), "captures");
    assert_int_equal(tb_place_list(above, "keys", &list, NULL), TB_OK);
    expect_names(&list, "keys/k.pem");
    tb_place_list_release(&list);
    tb_place_free(above);
    assert_int_equal(tb_place_above(place, 2, &above, NULL), TB_OK);
    assert_string_equal(tb_place_name(above), "evidence");
    assert_int_equal(tb_place_list(above, "keys", &list, NULL), TB_OK);
    tb_place_free(above);
    assert_int_equal(tb_place_above(place, 3, &above, NULL), TB_ENOTFOUND);
    tb_place_free(place);
}

/* --- whole files --- */

static bool
on_progress(void *arg, uint64_t done)
{
    *(uint64_t *)arg = done;
    return true;
}

static bool
no_more(void *arg TB_UNUSED, uint64_t done TB_UNUSED)
{
    return false;
}

static void
a_large_file_arrives_in_parts_and_whole(void **state TB_UNUSED)
{
    static uint8_t block[1 << 20];
    struct tb_place *place = NULL;
    struct tb_place_list list = {.count = 0};
    struct tb_sha256 before, after;
    uint64_t bytes, told = 0;
    struct tb_place_copy copy = {.threads = 4, .progress = on_progress, .arg = &told};
    char path[256];
    int fd;

    make("large", "");
    (void)snprintf(path, sizeof(path), "%s/large", dir);
    fd = open(path, O_RDWR | O_CLOEXEC);
    for (unsigned i = 0; i < 35; i++) {
        memset(block, (int)i, sizeof(block));
        assert_int_equal(
            tb_write_all(fd, tb_bytes_of(block, i == 34 ? 77 : sizeof(block)), NULL), TB_OK);
    }
    assert_int_equal(tb_sha256_fd(fd, &before, &bytes, NULL), TB_OK);
    (void)close(fd);
    (void)snprintf(path, sizeof(path), "%s/copy", dir);
    copy.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(tb_place_open(dir, &place, NULL), TB_OK);
    assert_int_equal(tb_place_list(place, "", &list, NULL), TB_OK);
    assert_int_equal(tb_place_copy(place, tb_place_find(&list, "large"), &copy, NULL), TB_OK);
    assert_int_equal(tb_sha256_fd(copy.fd, &after, &bytes, NULL), TB_OK);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(told, bytes);
    copy.progress = no_more;
    assert_int_equal(tb_place_copy(place, tb_place_find(&list, "large"), &copy, NULL),
                     TB_ECLOSED);
    (void)close(copy.fd);
    tb_place_list_release(&list);
    tb_place_free(place);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_is_listed_whole_and_links_are_not_followed),
        cmocka_unit_test(a_prefix_is_listed_page_by_page),
        cmocka_unit_test(parts_are_asked_for_as_they_were_listed),
        cmocka_unit_test(what_s3_refuses_is_told_with_what_to_do),
        cmocka_unit_test(above_a_prefix_are_shorter_ones_up_to_the_bucket),
        cmocka_unit_test(a_large_file_arrives_in_parts_and_whole),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
