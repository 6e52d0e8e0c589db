/* Credentials from a program: what it is given, what it may print, and for how long. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include <tapbox/clock.h>
#include <tapbox/io.h>

#include "../../../src/aws/aws_int.h"

#define LONG_NS (30 * TB_NS_PER_S)
#define KEYS                                                                                   \
    "{\"Version\":1,\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"s\","                         \
    "\"SessionToken\":\"t\",\"Expiration\":\"2026-01-02T09:30:00Z\"}"

static char folder[] = "/tmp/tapbox-process-XXXXXX";
static char program[64];
static struct tb_aws_credentials credentials;
static struct tb_fail fail;

static int
start(void **state TB_UNUSED)
{
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    (void)snprintf(program, sizeof(program), "%s/program", folder);
    return 0;
}

static int
stop(void **state TB_UNUSED)
{
    (void)unlink(program);
    return rmdir(folder);
}

static int
end(void **state TB_UNUSED)
{
    tb_aws_credentials_release(&credentials);
    return 0;
}

static enum tb_err
get_line(const char *line, int64_t timeout_ns)
{
    struct tb_aws_profiles *profiles = NULL;
    char text[1024];
    enum tb_err err;

    tb_aws_credentials_release(&credentials);
    fail.text[0] = '\0';
    (void)snprintf(text, sizeof(text), "[default]\nregion=eu-central-1\n%s\n", line);
    assert_int_equal(tb_aws_profiles_new(&profiles, NULL), TB_OK);
    assert_int_equal(
        tb_aws_profiles_parse(profiles, TB_AWS_FILE_CONFIG, tb_bytes_str(text), NULL), TB_OK);
    err = tb_aws_process_of_profile(profiles, "default", timeout_ns, &credentials, &fail);
    tb_aws_profiles_free(profiles);
    return err;
}

/* Runs a script with these words behind it. */
static enum tb_err
get(const char *script, const char *words, int64_t timeout_ns)
{
    char line[512];

    assert_int_equal(tb_write_file_whole(-1, program, tb_bytes_str(script), 0700, NULL), TB_OK);
    (void)snprintf(line, sizeof(line), "credential_process = /bin/sh %s %s", program, words);
    return get_line(line, timeout_ns);
}

static void
assert_said(const char *text)
{
    if (strstr(fail.text, text) == NULL) {
        print_error("no '%s' in: %s\n", text, fail.text);
    }
    assert_non_null(strstr(fail.text, text));
}

static void
without_one_the_next_source_is_asked(void **state TB_UNUSED)
{
    assert_int_equal(get_line("", LONG_NS), TB_ENOTFOUND);
}

static void
its_words_reach_it_as_they_are(void **state TB_UNUSED)
{
    static const char script[] = "cat\nprintf '" KEYS "' \"$3\"";

    assert_int_equal(get(script, "one 'two words' $HOME;`id`", LONG_NS), TB_OK);
    assert_string_equal(credentials.access_key_id, "$HOME;`id`");
    assert_string_equal(credentials.secret_key.text, "s");
    assert_string_equal(credentials.session_token.text, "t");
    assert_string_equal(credentials.source, "credential process");
    assert_int_equal(credentials.expires_utc_s, 1767346200);
}

static void
keys_may_last(void **state TB_UNUSED)
{
    assert_int_equal(
        get("echo '{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"s\"}'", "",
            LONG_NS),
        TB_OK);
    assert_int_equal(credentials.expires_utc_s, 0);
    assert_int_equal(credentials.session_token.len, 0);
}

static void
what_it_does_wrong_is_told_and_not_what_it_printed(void **state TB_UNUSED)
{
    static const struct {
        const char *script;
        enum tb_err err;
        const char *why;
    } cases[] = {
        {"echo hush; exit 3", TB_ERETRY, "'/bin/sh' ended with 3"},
        {"kill -9 $$", TB_ERETRY, "ended by signal 9"},
        {"echo hush", TB_EFORMAT, "'/bin/sh'"},
        {"true", TB_EFORMAT, "'/bin/sh'"},
        {"echo '{\"Version\":2,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"hush\"}'",
         TB_EFORMAT, "Version is not 1"},
        {"echo '{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"hush\"}'", TB_EFORMAT,
         "Version is not 1"},
        {"echo '{\"Version\":1,\"AccessKeyId\":\"A\"}'", TB_EDENIED,
         "secret access key is missing"},
        {"echo '{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"hush\","
         "\"Expiration\":\"soon\"}'",
         TB_EFORMAT, "no Expiration"},
        {"while :; do echo hush hush hush hush hush; done", TB_ETOOBIG, "/bin/sh"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(get(cases[i].script, "", LONG_NS), cases[i].err);
        assert_said(cases[i].why);
        assert_null(strstr(fail.text, "hush"));
    }
    assert_int_equal(get_line("credential_process = /nowhere/program", LONG_NS), TB_EDENIED);
    assert_said("there is no program '/nowhere/program'");
    assert_int_equal(get_line("credential_process = 'open", LONG_NS), TB_EDENIED);
    assert_said("a quote is not closed");
}

/* 'Z' and gone are both over. */
static bool
is_running(long pid)
{
    char path[64], line[256] = "";
    const char *state;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    state = fgets(line, sizeof(line), file) != NULL ? strrchr(line, ')') : NULL;
    (void)fclose(file);
    return state != NULL && state[1] != '\0' && strchr("ZX", state[2]) == NULL;
}

static void
one_that_takes_too_long_is_ended_with_all_that_it_started(void **state TB_UNUSED)
{
    struct tb_buf text = TB_BUF_INIT(64);
    char script[256], left[64];
    int64_t began_ns = tb_clock_boot_ns();
    long pid = 0;

    (void)snprintf(left, sizeof(left), "%s/left", folder);
    (void)snprintf(script, sizeof(script), "sleep 60 &\necho $! > %s\nwait", left);
    /* (a machine that stands still before the shell has started anything gets another try) */
    for (int64_t limit_ns = TB_NS_PER_S; limit_ns < 30 * TB_NS_PER_S && pid <= 1;
         limit_ns *= 3) {
        assert_int_equal(get(script, "", limit_ns), TB_ERETRY);
        assert_said("'/bin/sh' takes too long");
        tb_buf_release(&text);
        if (tb_read_file(AT_FDCWD, left, &text, NULL) == TB_OK) {
            pid = strtol(tb_buf_str(&text), NULL, 10);
        }
    }
    assert_true(tb_clock_boot_ns() - began_ns < 2 * LONG_NS);
    assert_true(pid > 1);
    for (int i = 0; i < 6000 && is_running(pid); i++) {
        (void)usleep(10000);
    }
    assert_false(is_running(pid));
    assert_int_equal(get("exec >&-; sleep 60", "", TB_NS_PER_S), TB_ERETRY);
    assert_said("takes too long");
    (void)unlink(left);
    tb_buf_release(&text);
}

static void
a_line_is_cut_into_words(void **state TB_UNUSED)
{
    static const struct {
        const char *line, *words; /* with '|' between; NULL: refused */
    } cases[] = {
        {"a", "a"},
        {"  a  b\t", "a|b"},
        {"a 'b c' \"d e\"", "a|b c|d e"},
        {"a '' \"\"", "a||"},
        {"a'b'\"c\"d", "abcd"},
        {"a\\ b", "a b"},
        {"'a\\ b'", "a\\ b"},
        {"\"a\\\"b\\\\c\\d\"", "a\"b\\c\\d"},
        {"a\\", "a\\"},
        {"a 'b", NULL},
        {"a \"b\\\"", NULL},
        {"", NULL},
        {" ", NULL},
        {"1 2 3 4 5", NULL},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[64], joined[64] = "", *words[5];
        enum tb_err err;

        (void)tb_str_copy(line, sizeof(line), cases[i].line);
        err = tb_aws_process_words(line, words, 5, NULL);
        assert_int_equal(err, cases[i].words != NULL ? TB_OK : TB_EDENIED);
        for (size_t w = 0; err == TB_OK && words[w] != NULL; w++) {
            size_t len = strlen(joined);

            (void)snprintf(joined + len, sizeof(joined) - len, "%s%s", w > 0 ? "|" : "",
                           words[w]);
        }
        assert_string_equal(joined, cases[i].words != NULL ? cases[i].words : "");
    }
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_teardown(name, end)
    const struct CMUnitTest tests[] = {
        CASE(without_one_the_next_source_is_asked),
        CASE(its_words_reach_it_as_they_are),
        CASE(keys_may_last),
        CASE(what_it_does_wrong_is_told_and_not_what_it_printed),
        CASE(one_that_takes_too_long_is_ended_with_all_that_it_started),
        CASE(a_line_is_cut_into_words),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
