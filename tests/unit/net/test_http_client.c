/* The HTTP client against a server that answers by script. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include <tapbox/clock.h>
#include <tapbox/http_client.h>
#include <tapbox/thread.h>

#include "../../support/http_peer.h"

static struct tb_http_client *client;
static struct http_peer *peer;
static int64_t limit_ns; /* for one call */

static int
start(void **state TB_UNUSED)
{
    peer = http_peer_start(NULL, 0);
    limit_ns = 60 * TB_NS_PER_S;
    return tb_http_client_new(&client, NULL) == TB_OK ? 0 : -1;
}

static int
stop(void **state TB_UNUSED)
{
    tb_http_client_free(client);
    http_peer_stop(peer);
    return 0;
}

static enum tb_err
ask(const char *method, const char *path, struct tb_bytes body, struct tb_http_answer *answer,
    struct tb_fail *fail)
{
    char url[4096];
    struct tb_http_request request = {.method = method,
                                      .url = url,
                                      .body = body,
                                      .body_fd = -1,
                                      .connect_timeout_ns = limit_ns,
                                      .total_timeout_ns = limit_ns};

    (void)snprintf(url, sizeof(url), "%s%s", http_peer_url(peer), path);
    return tb_http_do(client, &request, answer, fail);
}

static enum tb_err
get(struct tb_http_answer *answer, struct tb_fail *fail)
{
    return ask("GET", "/", tb_bytes_str(""), answer, fail);
}

static void
an_answer_comes_with_status_headers_and_body(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {.status = 404, .headers = "X-Thing:  a b \r\nETag: \"x\"\r\n", .body = "gone"}};
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(100);
    char value[16];

    http_peer_script(peer, steps, 1);
    assert_int_equal(get(&answer, NULL), TB_OK);
    assert_int_equal(answer.status, 404);
    assert_string_equal(tb_buf_str(&answer.body), "gone");
    assert_true(tb_http_answer_header(&answer, "x-thing", value, sizeof(value)));
    assert_string_equal(value, "a b");
    assert_true(tb_http_answer_header(&answer, "etag", value, 4));
    assert_false(tb_http_answer_header(&answer, "etag", value, 3));
    assert_false(tb_http_answer_header(&answer, "x-thin", value, sizeof(value)));
    tb_http_answer_release(&answer);
}

static void
paths_reach_the_server_as_they_are(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {{.status = 200, .always = true}};
    static const char *const paths[] = {"/a//b/./c/../d", "/%41%2f%2F", "/..",
                                        "/a%20b+c?x=%7e&y", "/~-_.!*'()"};
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(100);
    char line[128];

    http_peer_script(peer, steps, 1);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        assert_int_equal(ask("PUT", paths[i], tb_bytes_str("x"), &answer, NULL), TB_OK);
        (void)snprintf(line, sizeof(line), "PUT %s HTTP/1.1\r\n", paths[i]);
        assert_memory_equal(http_peer_head(peer, i), line, strlen(line));
    }
    tb_http_answer_release(&answer);
}

static void
every_method_sends_its_body(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {{.status = 200, .always = true}};
    static const struct {
        const char *method, *body, *length;
    } cases[] = {
        {"POST", "Action=X", "8"}, {"PUT", "hello", "5"}, {"PUT", "", "0"}, {"POST", "", "0"},
        {"DELETE", "", ""},        {"HEAD", "", ""},      {"GET", "", ""},
    };
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(100);
    char value[128];

    http_peer_script(peer, steps, 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(ask(cases[i].method, "/", tb_bytes_str(cases[i].body), &answer, NULL),
                         TB_OK);
        assert_int_equal(answer.status, 200);
        assert_memory_equal(http_peer_head(peer, i), cases[i].method, strlen(cases[i].method));
        assert_string_equal(http_peer_body(peer, i), cases[i].body);
        http_peer_header(peer, i, "content-length", value, sizeof(value));
        assert_string_equal(value, cases[i].length);
        http_peer_header(peer, i, "transfer-encoding", value, sizeof(value));
        assert_string_equal(value, "");
        http_peer_header(peer, i, "expect", value, sizeof(value));
        assert_string_equal(value, "");
        http_peer_header(peer, i, "user-agent", value, sizeof(value));
        assert_memory_equal(value, "tapbox/", 7);
    }
    tb_http_answer_release(&answer);
}

static void
a_connection_is_used_again(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {{.status = 200, .body = "x", .always = true}};
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(100);

    http_peer_script(peer, steps, 1);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(
            ask(i % 2 ? "POST" : "GET", "/", tb_bytes_str(i % 2 ? "b" : ""), &answer, NULL),
            TB_OK);
    }
    for (size_t i = 1; i < 20; i++) {
        assert_int_equal(http_peer_connection(peer, i), http_peer_connection(peer, 0));
    }
    tb_http_answer_release(&answer);
}

static void
a_connection_closed_meanwhile_is_made_again(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {.status = 200, .how = HTTP_PEER_CLOSES_AFTER}, {.status = 200, .body = "second"}};
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(100);

    http_peer_script(peer, steps, 2);
    assert_int_equal(get(&answer, NULL), TB_OK);
    assert_int_equal(ask("POST", "/", tb_bytes_str("body"), &answer, NULL), TB_OK);
    assert_string_equal(tb_buf_str(&answer.body), "second");
    assert_string_equal(http_peer_body(peer, 1), "body");
    tb_http_answer_release(&answer);
}

static void
a_refused_connection_sent_nothing(void **state TB_UNUSED)
{
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(100);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct tb_fail fail;
    socklen_t len = sizeof(at);
    char url[64];
    struct tb_http_request request = {.method = "GET", .url = url, .body_fd = -1};
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound, not listening: nobody else gets it */

    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/", ntohs(at.sin_port));
    assert_int_equal(tb_http_do(client, &request, &answer, &fail), TB_ERETRY);
    assert_non_null(strstr(fail.text, "127.0.0.1"));
    request.url = "http://no-such-host.invalid/";
    assert_int_equal(tb_http_do(client, &request, &answer, &fail), TB_ERETRY);
    close(fd);
    tb_http_answer_release(&answer);
}

static void
no_whole_answer_leaves_the_effect_unknown(void **state TB_UNUSED)
{
    static const struct http_peer_step hang_up = {.how = HTTP_PEER_HANGS_UP, .always = true};
    static const struct http_peer_step cut = {
        .status = 200, .body = "half", .how = HTTP_PEER_CUTS, .always = true};
    static const struct http_peer_step silent = {.how = HTTP_PEER_SAYS_NOTHING, .always = true};
    const struct http_peer_step *const each[] = {&hang_up, &cut, &silent};
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(1000);
    struct tb_fail fail;

    for (size_t i = 0; i < 3; i++) {
        http_peer_script(peer, each[i], 1);
        limit_ns = each[i] == &silent ? TB_NS_PER_S : limit_ns;
        assert_int_equal(ask("POST", "/", tb_bytes_str("x"), &answer, &fail), TB_ETIMEOUT);
        assert_int_equal(answer.status, 0);
        assert_true(strlen(fail.text) > 0);
    }
    tb_http_answer_release(&answer);
}

static void
an_answer_over_its_ceiling_is_refused(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {.status = 200, .body = "0123456789", .always = true}};
    struct tb_http_answer fits = TB_HTTP_ANSWER_INIT(10), small = TB_HTTP_ANSWER_INIT(9);
    struct tb_fail fail;

    http_peer_script(peer, steps, 1);
    assert_int_equal(get(&fits, &fail), TB_OK);
    assert_int_equal(get(&small, &fail), TB_ETOOBIG);
    assert_int_equal(get(&fits, &fail), TB_OK);
    tb_http_answer_release(&fits);
    tb_http_answer_release(&small);
}

static void
redirects_are_not_followed(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {.status = 307, .headers = "Location: /elsewhere\r\n", .always = true}};
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(100);

    http_peer_script(peer, steps, 1);
    assert_int_equal(get(&answer, NULL), TB_OK);
    assert_int_equal(answer.status, 307);
    assert_int_equal(http_peer_count(peer), 1);
    tb_http_answer_release(&answer);
}

static void
what_cannot_be_sent_is_refused(void **state TB_UNUSED)
{
    static const char *const urls[] = {"file:///etc/passwd",
                                       "ftp://127.0.0.1/",
                                       "http://127.0.0.1/a b",
                                       "http://127.0.0.1/#x",
                                       "http://user:secret@127.0.0.1/",
                                       "http://127.0.0.1/\xc3\xbc",
                                       "http://127.0.0.1/\r\nX: y",
                                       ""};
    static const struct tb_http_header headers[] = {
        {"x", "a\r\nEvil: 1"}, {"x y", "a"}, {"", "a"}, {"x:", "a"}, {"x\n", "a"}};
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(100);
    struct tb_http_request request = {.method = "GET", .body_fd = -1};

    http_peer_script(peer, NULL, 0);
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        request.url = urls[i];
        assert_int_equal(tb_http_do(client, &request, &answer, NULL), TB_EINVAL);
    }
    request.url = http_peer_url(peer);
    request.header_count = 1;
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        request.headers[0] = headers[i];
        assert_int_equal(tb_http_do(client, &request, &answer, NULL), TB_EINVAL);
    }
    assert_int_equal(http_peer_count(peer), 0);
    tb_http_answer_release(&answer);
}

static int
make_file(size_t bytes)
{
    char block[4096];
    int fd = memfd_create("body", MFD_CLOEXEC);

    for (size_t i = 0; i < bytes; i += sizeof(block)) {
        memset(block, 'a' + (int)(i / sizeof(block) % 26), sizeof(block));
        assert_int_equal(
            pwrite(fd, block, bytes - i < sizeof(block) ? bytes - i : sizeof(block), (off_t)i),
            bytes - i < sizeof(block) ? bytes - i : sizeof(block));
    }
    return fd;
}

static void
a_file_is_streamed_and_can_be_sent_again(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {{.status = 200, .always = true}};
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(100);
    struct tb_http_request request = {.method = "PUT",
                                      .url = http_peer_url(peer),
                                      .body_fd = make_file(5 << 20),
                                      .body_fd_bytes = 5 << 20};
    char value[32];

    http_peer_script(peer, steps, 1);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(tb_http_do(client, &request, &answer, NULL), TB_OK);
        http_peer_header(peer, i, "content-length", value, sizeof(value));
        assert_string_equal(value, "5242880");
        http_peer_header(peer, i, "expect", value, sizeof(value));
        assert_string_equal(value, "100-continue");
        assert_int_equal(http_peer_body(peer, i)[4096], 'b');
    }
    assert_int_equal(lseek(request.body_fd, 0, SEEK_CUR), 0);
    close(request.body_fd);
    tb_http_answer_release(&answer);
}

static void
a_file_shorter_than_announced_is_an_error_of_its_own(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {{.status = 200, .always = true}};
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(100);
    struct tb_http_request request = {.method = "PUT",
                                      .url = http_peer_url(peer),
                                      .body_fd = make_file(1000),
                                      .body_fd_bytes = 1001};
    struct tb_fail fail;

    http_peer_script(peer, steps, 1);
    assert_int_equal(tb_http_do(client, &request, &answer, &fail), TB_ESHORT);
    assert_non_null(strstr(fail.text, "1001"));
    close(request.body_fd);
    tb_http_answer_release(&answer);
}

static void
an_error_before_the_body_is_heard(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {
        {.status = 403, .body = "no", .how = HTTP_PEER_ANSWERS_EARLY, .always = true}};
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(100);
    struct tb_http_request request = {.method = "PUT",
                                      .url = http_peer_url(peer),
                                      .body_fd = make_file(5 << 20),
                                      .body_fd_bytes = 5 << 20};

    http_peer_script(peer, steps, 1);
    assert_int_equal(tb_http_do(client, &request, &answer, NULL), TB_OK);
    assert_int_equal(answer.status, 403);
    close(request.body_fd);
    tb_http_answer_release(&answer);
}

static void *
ask_often(void *arg)
{
    size_t *good = arg;

    for (int i = 0; i < 25; i++) {
        struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(100);

        *good += get(&answer, NULL) == TB_OK && answer.status == 200;
        tb_http_answer_release(&answer);
    }
    return NULL;
}

static void
many_threads_share_a_client(void **state TB_UNUSED)
{
    static const struct http_peer_step steps[] = {{.status = 200, .body = "x", .always = true}};
    size_t good[8] = {0}, most = 0, least = SIZE_MAX;
    pthread_t threads[8];

    http_peer_script(peer, steps, 1);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(tb_thread_start(&threads[i], "asker", ask_often, &good[i], NULL),
                         TB_OK);
    }
    for (size_t i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(good[i], 25);
    }
    assert_int_equal(http_peer_count(peer), 200);
    for (size_t i = 0; i < 200; i++) {
        size_t connection = http_peer_connection(peer, i);

        most = connection > most ? connection : most;
        least = connection < least ? connection : least;
    }
    assert_true(most - least < 8); /* no more connections than threads */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_comes_with_status_headers_and_body),
        cmocka_unit_test(paths_reach_the_server_as_they_are),
        cmocka_unit_test(every_method_sends_its_body),
        cmocka_unit_test(a_connection_is_used_again),
        cmocka_unit_test(a_connection_closed_meanwhile_is_made_again),
        cmocka_unit_test(a_refused_connection_sent_nothing),
        cmocka_unit_test(no_whole_answer_leaves_the_effect_unknown),
        cmocka_unit_test(an_answer_over_its_ceiling_is_refused),
        cmocka_unit_test(redirects_are_not_followed),
        cmocka_unit_test(what_cannot_be_sent_is_refused),
        cmocka_unit_test(a_file_is_streamed_and_can_be_sent_again),
        cmocka_unit_test(a_file_shorter_than_announced_is_an_error_of_its_own),
        cmocka_unit_test(an_error_before_the_body_is_heard),
        cmocka_unit_test(many_threads_share_a_client),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
