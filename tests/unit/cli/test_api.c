#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/bytes.h>

#include "../../../src/cli/cli_int.h"
#include "../../support/http_peer.h"

#define ID "cap-20260102T030405Z-1a2b3c4d"

enum {
    SAID_MAX = 65536
};

/* What the last command wrote, and to what it was told. */
struct said {
    int status;
    char out[SAID_MAX], err[SAID_MAX];
};

static void
read_back(FILE *from, char out[SAID_MAX])
{
    size_t n;

    rewind(from);
    n = fread(out, 1, SAID_MAX - 1, from);
    out[n] = '\0';
    (void)fclose(from);
}

/* Runs a subcommand with its standard streams in files. */
static void
run(struct said *said, int (*command)(int, char **), const char *const *words)
{
    FILE *out = tmpfile(), *err = tmpfile();
    int old_out = dup(STDOUT_FILENO), old_err = dup(STDERR_FILENO);
    char *argv[16] = {NULL};
    int argc = 0;

    assert_true(out != NULL && err != NULL && old_out >= 0 && old_err >= 0);
    for (; words[argc] != NULL; argc++) {
        argv[argc] = strdup(words[argc]);
    }
    (void)fflush(stdout);
    assert_true(dup2(fileno(out), STDOUT_FILENO) >= 0 && dup2(fileno(err), STDERR_FILENO) >= 0);
    optind = 0; /* getopt begins anew */
    said->status = command(argc, argv);
    (void)fflush(stdout);
    assert_true(dup2(old_out, STDOUT_FILENO) >= 0 && dup2(old_err, STDERR_FILENO) >= 0);
    (void)close(old_out);
    (void)close(old_err);
    read_back(out, said->out);
    read_back(err, said->err);
    for (int i = 0; i < argc; i++) {
        free(argv[i]);
    }
}

#define RUN(said, command, ...) run(said, command, (const char *const[]){__VA_ARGS__, NULL})

static int
set_token(void **state)
{
    (void)state;
    return setenv("TAPBOX_TOKEN", " tbx_abc\n", 1);
}

static void
every_answer_has_its_exit_status_and_says_the_detail_and_hint(void **state)
{
    static const struct {
        int http, exit;
    } cases[] = {
        {400, TB_EXIT_USAGE},     {401, TB_EXIT_DENIED}, {403, TB_EXIT_DENIED},
        {404, TB_EXIT_NOT_FOUND}, {409, TB_EXIT_STATE},  {413, TB_EXIT_USAGE},
        {422, TB_EXIT_USAGE},     {500, TB_EXIT_FAILED}, {503, TB_EXIT_UNREACHABLE},
        {302, TB_EXIT_FAILED},
    };
    struct http_peer_step steps[sizeof(cases) / sizeof(cases[0])]; /* lent to the peer */
    struct said *said = test_malloc(sizeof(*said));
    struct http_peer *peer = http_peer_start(NULL, 0);

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        steps[i] = (struct http_peer_step){
            .status = cases[i].http,
            .body = "{\"detail\":\"it is\\u001b[2J so\",\"hint\":\"do that\"}"};
        http_peer_script(peer, &steps[i], 1);
        RUN(said, tb_cmd_stop, "stop", ID, "--url", http_peer_url(peer));
        assert_int_equal(said->status, cases[i].exit);
        assert_string_equal(said->err, "tapbox stop: it is?[2J so\n  do that\n");
        assert_string_equal(said->out, "");
    }
    http_peer_stop(peer);
    test_free(said);
}

static void
the_call_carries_token_key_and_body(void **state)
{
    const struct http_peer_step step = {
        .begins = "POST /v1/captures HTTP",
        .status = 202,
        .body = "{\"decision\":\"capture\",\"reason\":\"odd\",\"capture\":{\"id\":\"" ID
                "\",\"state\":\"requested\"}}"};
    struct said *said = test_malloc(sizeof(*said));
    struct http_peer *peer = http_peer_start(&step, 1);
    char url[100], value[100];

    (void)state;
    snprintf(url, sizeof(url), "%s///", http_peer_url(peer));
    RUN(said, tb_cmd_start, "start", "i-0123456789abcdef0", "--reason", "odd \"DNS\"",
        "--duration", "15m", "--max-bytes", "2MiB", "--max-packets", "5000", "--snaplen", "96",
        "--key", "k1", "--url", url);
    assert_int_equal(said->status, TB_EXIT_OK);
    assert_string_equal(said->err, "");
    assert_non_null(strstr(said->out, "capture: odd\n" ID "  requested\n"));
    http_peer_header(peer, 0, "Authorization", value, sizeof(value));
    assert_string_equal(value, "Bearer tbx_abc");
    http_peer_header(peer, 0, "Idempotency-Key", value, sizeof(value));
    assert_string_equal(value, "k1");
    assert_string_equal(
        http_peer_body(peer, 0),
        "{\"duration\":\"15m\",\"max_bytes\":2097152,\"max_packets\":5000,\"reason\":\"odd "
        "\\\"DNS\\\"\",\"snaplen\":96,\"sources\":[\"i-0123456789abcdef0\"]}");
    http_peer_stop(peer);
    test_free(said);
}

static void
json_is_the_answer_as_it_came(void **state)
{
    static const char body[] = "{ \"captures\" : [ ] }\n";
    const struct http_peer_step step = {.begins = "GET /v1/captures?limit=7&live=1 HTTP",
                                        .status = 200,
                                        .body = body,
                                        .always = true};
    struct said *said = test_malloc(sizeof(*said));
    struct http_peer *peer = http_peer_start(&step, 1);

    (void)state;
    RUN(said, tb_cmd_list, "list", "--live", "-n", "7", "--json", "--url", http_peer_url(peer));
    assert_int_equal(said->status, TB_EXIT_OK);
    assert_string_equal(said->out, body);
    RUN(said, tb_cmd_list, "list", "--live", "-n", "7", "--url", http_peer_url(peer));
    assert_string_equal(said->out, "No captures.\n");
    http_peer_stop(peer);
    test_free(said);
}

static void
a_capture_is_shown_with_what_was_lost_and_why(void **state)
{
    const struct http_peer_step step = {
        .begins = "GET /v1/captures/" ID " HTTP",
        .status = 200,
        .body = "{\"id\":\"" ID "\",\"state\":\"failed\",\"stop_reason\":\"failure\","
                "\"seconds_left\":null,\"requested\":\"2026-01-02T03:04:05Z\",\"ended\":null,"
                "\"request\":{\"instance\":null,\"interfaces\":[\"eni-1\",\"eni-2\"],"
                "\"reason\":\"bad\\nDNS\"},"
                "\"sources\":[{\"eni\":\"eni-1\",\"ip\":\"10.0.0.1\",\"vni\":7,\"armed\":true,"
                "\"gap\":null},{\"eni\":\"eni-2\",\"ip\":null,\"vni\":0,\"armed\":false,"
                "\"gap\":\"not Nitro\"}],"
                "\"ledger\":{\"received\":1,\"written\":1},"
                "\"live\":{\"ledger\":{\"received\":10,\"written\":8,\"written_bytes\":2048,"
                "\"filtered\":2,\"spool_full\":0,\"residual\":0}},"
                "\"error\":{\"code\":\"X.Y\",\"text\":\"no\",\"request_id\":\"r-1\"},"
                "\"segments\":[{\"name\":\"h-0-1.pcapng.zst\",\"bytes\":1048576,\"packets\":8,"
                "\"state\":\"uploaded\",\"recovered\":true}],"
                "\"resources\":[{\"kind\":\"session\",\"id\":\"tms-1\",\"state\":\"gone\"}]}"};
    static const char *const lines[] = {
        ID "  failed (failure)\n",
        "  of         eni-1 +1\n",
        "  reason     bad?DNS\n",
        "  requested  2026-01-02T03:04:05Z\n",
        "  error      no\n  code       X.Y\n  request    r-1\n",
        "  source     eni-1  10.0.0.1  VNI 7  mirrored\n",
        "  source     eni-2  -  VNI 0  not mirrored\n             not captured: not Nitro\n",
        "  packets    10 received, 8 written (2.0 KiB)\n             2 filtered\n  segments",
        "  segments   1 sealed, 1 in S3; 1.0 MiB, 8 packets\n",
        "             h-0-1.pcapng.zst  1.0 MiB  uploaded  recovered\n",
        "  AWS        session     tms-1                    gone\n",
    };
    struct said *said = test_malloc(sizeof(*said));
    struct http_peer *peer = http_peer_start(&step, 1);

    (void)state;
    RUN(said, tb_cmd_show, "show", ID, "--url", http_peer_url(peer));
    assert_int_equal(said->status, TB_EXIT_OK);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (strstr(said->out, lines[i]) == NULL) {
            fail_msg("'%s' is not in\n%s", lines[i], said->out);
        }
    }
    assert_null(strstr(said->out, "ended"));
    http_peer_stop(peer);
    test_free(said);
}

static void
extend_sends_time_and_reason_and_tells_the_new_end(void **state)
{
    const struct http_peer_step step = {
        .begins = "POST /v1/captures/" ID "/extend HTTP",
        .status = 200,
        .body = "{\"capture\":{\"deadline\":\"2026-01-02T03:04:05.000000000Z\","
                "\"seconds_left\":75}}"};
    struct said *said = test_malloc(sizeof(*said));
    struct http_peer *peer = http_peer_start(&step, 1);

    (void)state;
    RUN(said, tb_cmd_extend, "extend", ID, "-d", "15m", "--reason", "more \"DNS\"", "--url",
        http_peer_url(peer));
    assert_string_equal(said->err, "");
    assert_int_equal(said->status, TB_EXIT_OK);
    assert_string_equal(said->out, ID " ends at 2026-01-02T03:04:05Z, in 1m 15s.\n");
    assert_string_equal(http_peer_body(peer, 0),
                        "{\"duration\":\"15m\",\"reason\":\"more \\\"DNS\\\"\"}");
    http_peer_stop(peer);
    test_free(said);
}

static void
foreign_sessions_are_listed_with_their_tags(void **state)
{
    const struct http_peer_step step = {
        .begins = "GET /v1/foreign-sessions HTTP",
        .status = 200,
        .body = "{\"sessions\":[{\"id\":\"tms-1\",\"source\":\"eni-1\",\"target\":\"tmt-1\","
                "\"number\":5,\"vni\":77,\"owner\":\"111122223333\","
                "\"tags\":{\"Na\\u001bme\":\"rog\\nue\"}}]}"};
    struct said *said = test_malloc(sizeof(*said));
    struct http_peer *peer = http_peer_start(&step, 1);

    (void)state;
    RUN(said, tb_cmd_list, "list", "--foreign", "--url", http_peer_url(peer));
    assert_int_equal(said->status, TB_EXIT_OK);
    assert_non_null(strstr(said->out, "\ntms-1                  eni-1                       5"
                                      "        77 tmt-1                  111122223333  "
                                      "Na?me=rog?ue\n"));
    http_peer_stop(peer);
    test_free(said);
}

static void
watch_says_each_change_once_and_ends_with_the_capture(void **state)
{
    static const struct http_peer_step steps[] = {
        {.status = 200, .body = "{\"id\":\"" ID "\",\"state\":\"arming\",\"ledger\":{}}"},
        {.status = 503, .body = "{\"detail\":\"starting\"}"},
        {.status = 200, .body = "{\"id\":\"" ID "\",\"state\":\"arming\",\"ledger\":{}}"},
        {.status = 200, .body = "{\"id\":\"" ID "\",\"state\":\"failed\",\"ledger\":{}}"},
    };
    struct said *said = test_malloc(sizeof(*said));
    struct http_peer *peer = http_peer_start(steps, 4);
    const char *second;

    (void)state;
    RUN(said, tb_cmd_watch, "watch", ID, "--url", http_peer_url(peer));
    assert_int_equal(said->status, TB_EXIT_FAILED);
    assert_string_equal(said->err, "");
    assert_int_equal(http_peer_count(peer), 4);
    assert_non_null(strstr(said->out, "Z  " ID "  arming  0 packets, 0 B, 0 dropped\n"));
    second = strchr(said->out, '\n') + 1;
    assert_non_null(strstr(second, "Z  " ID "  failed  0 packets, 0 B, 0 dropped\n"));
    assert_string_equal(strchr(second, '\n'), "\n");
    http_peer_stop(peer);
    test_free(said);
}

static void
watch_of_all_ends_with_the_last_one_and_tells_how_each_ended(void **state)
{
    static const char live[] =
        "{\"captures\":[{\"id\":\"" ID "\",\"state\":\"recording\",\"ledger\":{}}]}";
    static const struct http_peer_step steps[] = {
        {.begins = "GET /v1/captures?live=1", .status = 200, .body = live},
        {.begins = "GET /v1/captures?live=1", .status = 200, .body = "{\"captures\":[]}"},
        {.begins = "GET /v1/captures/" ID,
         .status = 200,
         .body = "{\"id\":\"" ID "\",\"state\":\"sealed\",\"ledger\":{}}"},
    };
    struct said *said = test_malloc(sizeof(*said));
    struct http_peer *peer = http_peer_start(steps, 3);

    (void)state;
    RUN(said, tb_cmd_watch, "watch", "--url", http_peer_url(peer));
    assert_int_equal(said->status, TB_EXIT_OK);
    assert_non_null(strstr(said->out, ID "  recording  0 packets"));
    assert_non_null(strstr(said->out, ID "  sealed  0 packets"));
    http_peer_script(peer, steps, 3);
    RUN(said, tb_cmd_watch, "watch", "--json", "--url", http_peer_url(peer));
    assert_int_equal(said->status, TB_EXIT_OK);
    assert_memory_equal(said->out, live, sizeof(live) - 40);
    assert_string_equal(strchr(said->out, '\n'), "\n{\"captures\":[]}\n");
    http_peer_stop(peer);
    test_free(said);
}

static void
what_is_not_tapbox_or_not_there_is_said(void **state)
{
    const struct http_peer_step page = {.status = 200, .body = "<html>", .always = true};
    struct said *said = test_malloc(sizeof(*said));
    struct http_peer *peer = http_peer_start(&page, 1);
    char url[64];

    (void)state;
    RUN(said, tb_cmd_list, "list", "--url", http_peer_url(peer));
    assert_int_equal(said->status, TB_EXIT_FAILED);
    assert_non_null(strstr(said->err, "not as tapbox does: is --url right?"));
    snprintf(url, sizeof(url), "%s", http_peer_url(peer));
    http_peer_stop(peer);
    RUN(said, tb_cmd_list, "list", "--url", url);
    assert_int_equal(said->status, TB_EXIT_UNREACHABLE);
    assert_non_null(strstr(said->err, "Is 'tapbox serve' running at "));
    test_free(said);
}

static void
without_a_usable_token_nothing_is_sent(void **state)
{
    struct said *said = test_malloc(sizeof(*said));
    struct http_peer *peer = http_peer_start(NULL, 0);

    (void)state;
    assert_int_equal(unsetenv("TAPBOX_TOKEN"), 0);
    RUN(said, tb_cmd_list, "list", "--url", http_peer_url(peer));
    assert_int_equal(said->status, TB_EXIT_DENIED);
    assert_non_null(strstr(said->err, "no token: set TAPBOX_TOKEN"));
    assert_int_equal(setenv("TAPBOX_TOKEN", "tbx_a\r\nX-Evil: 1", 1), 0);
    RUN(said, tb_cmd_list, "list", "--url", http_peer_url(peer));
    assert_int_equal(said->status, TB_EXIT_DENIED);
    assert_null(strstr(said->err, "tbx_a"));
    RUN(said, tb_cmd_list, "list", "--url", http_peer_url(peer), "--token-file",
        "/nonexistent");
    assert_int_equal(said->status, TB_EXIT_NOT_FOUND);
    assert_int_equal(http_peer_count(peer), 0);
    http_peer_stop(peer);
    test_free(said);
}

static void
wrong_command_lines_are_refused_before_anything_is_sent(void **state)
{
    static const struct {
        int (*command)(int, char **);
        const char *words[6];
    } cases[] = {
        {tb_cmd_show, {"show"}},
        {tb_cmd_show, {"show", "cap-1"}},
        {tb_cmd_show, {"show", ID, ID}},
        {tb_cmd_show, {"show", "../../healthz"}},
        {tb_cmd_stop, {"stop"}},
        {tb_cmd_extend, {"extend", "-d", "1m"}},
        {tb_cmd_extend, {"extend", ID}},
        {tb_cmd_extend, {"extend", ID, "-d", "soon"}},
        {tb_cmd_extend, {"extend", "cap-1", "-d", "1m"}},
        {tb_cmd_watch, {"watch", "cap-1"}},
        {tb_cmd_watch, {"watch", ID, ID}},
        {tb_cmd_list, {"list", "--foreign", "--live"}},
        {tb_cmd_list, {"list", "x"}},
        {tb_cmd_list, {"list", "--limit", "10x"}},
        {tb_cmd_list, {"list", "--limit"}},
        {tb_cmd_start, {"start", "--reason", "x"}},
        {tb_cmd_start, {"start", "i-0123456789abcdef0"}},
        {tb_cmd_start, {"start", "i-01", "--reason", "x"}},
        {tb_cmd_token, {"token"}},
        {tb_cmd_token, {"token", "remove", "x"}},
        {tb_cmd_token, {"token", "add", "x"}},
        {tb_cmd_token, {"token", "add", "x", "--role", "king"}},
        {tb_cmd_check_config, {"check-config", "file"}},
    };
    struct said *said = test_malloc(sizeof(*said));

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        run(said, cases[i].command, cases[i].words);
        assert_int_equal(said->status, TB_EXIT_USAGE);
        assert_non_null(strstr(said->err, "--help'.\n"));
    }
    test_free(said);
}

#define TOKEN_TEST(name) cmocka_unit_test_setup(name, set_token)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TOKEN_TEST(every_answer_has_its_exit_status_and_says_the_detail_and_hint),
        TOKEN_TEST(the_call_carries_token_key_and_body),
        TOKEN_TEST(json_is_the_answer_as_it_came),
        TOKEN_TEST(a_capture_is_shown_with_what_was_lost_and_why),
        TOKEN_TEST(extend_sends_time_and_reason_and_tells_the_new_end),
        TOKEN_TEST(foreign_sessions_are_listed_with_their_tags),
        TOKEN_TEST(watch_says_each_change_once_and_ends_with_the_capture),
        TOKEN_TEST(watch_of_all_ends_with_the_last_one_and_tells_how_each_ended),
        TOKEN_TEST(what_is_not_tapbox_or_not_there_is_said),
        TOKEN_TEST(without_a_usable_token_nothing_is_sent),
        TOKEN_TEST(wrong_command_lines_are_refused_before_anything_is_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
