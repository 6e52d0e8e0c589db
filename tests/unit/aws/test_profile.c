/* The shared configuration and credentials files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "../../../src/aws/aws_int.h"

static struct tb_aws_profiles *profiles;

static int
begin(void **state TB_UNUSED)
{
    return tb_aws_profiles_new(&profiles, NULL) == TB_OK ? 0 : -1;
}

static int
end(void **state TB_UNUSED)
{
    tb_aws_profiles_free(profiles);
    return 0;
}

static enum tb_err
parse(enum tb_aws_file file, const char *text, struct tb_fail *fail)
{
    return tb_aws_profiles_parse(profiles, file, tb_bytes_str(text), fail);
}

static void
assert_setting(const char *profile, const char *key, const char *value)
{
    const char *is = tb_aws_profiles_get(profiles, profile, key);

    if (value == NULL) {
        assert_null(is);
    } else {
        assert_non_null(is);
        assert_string_equal(is, value);
    }
}

static void
sections_are_named_differently_in_the_two_files(void **state TB_UNUSED)
{
    assert_int_equal(parse(TB_AWS_FILE_CREDENTIALS,
                           "[default]\na=1\n[one]\na=2\n[profile two]\na=3\n", NULL),
                     TB_OK);
    assert_int_equal(parse(TB_AWS_FILE_CONFIG,
                           "[default]\nb=1\n[three]\nb=2\n[profile four]\nb=3\n"
                           "[ profile  \"five six\" ]\nb=4\n[profile]\nb=5\n",
                           NULL),
                     TB_OK);
    assert_setting("default", "a", "1");
    assert_setting("default", "b", "1");
    assert_setting("one", "a", "2");
    assert_setting("two", "a", NULL);
    assert_setting("three", "b", NULL);
    assert_setting("four", "b", "3");
    assert_setting("five six", "b", "4");
    assert_true(tb_aws_profiles_has(profiles, "one"));
    assert_false(tb_aws_profiles_has(profiles, "three"));
}

static void
values_are_trimmed_and_comments_left_out(void **state TB_UNUSED)
{
    assert_int_equal(parse(TB_AWS_FILE_CREDENTIALS,
                           "\xef\xbb\xbf# first\r\n; second\n[default]  # third\r\n"
                           "AWS_Access_Key_ID =  AKID \t# mine\r\n"
                           "aws_secret_access_key=a#b;c/d+e==\n"
                           "aws_session_token = x=y\n\n   \nempty =\nspaced = a b",
                           NULL),
                     TB_OK);
    assert_setting("default", "aws_access_key_id", "AKID");
    assert_setting("default", "aws_secret_access_key", "a#b;c/d+e==");
    assert_setting("default", "aws_session_token", "x=y");
    assert_setting("default", "empty", "");
    assert_setting("default", "spaced", "a b");
}

static void
nested_settings_have_their_parents_name(void **state TB_UNUSED)
{
    assert_int_equal(parse(TB_AWS_FILE_CONFIG,
                           "[default]\ns3 =\n  endpoint_url = http://a\n\tmax = 1\n"
                           "region = x\n  stray = 2\n[services s]\nsts =\n endpoint_url = b\n",
                           NULL),
                     TB_OK);
    assert_setting("default", "s3.endpoint_url", "http://a");
    assert_setting("default", "s3.max", "1");
    assert_setting("default", "region", "x");
    assert_setting("default", "stray", NULL);
    assert_string_equal(tb_aws_profiles_service(profiles, "s", "sts.endpoint_url"), "b");
    assert_null(tb_aws_profiles_service(profiles, "t", "sts.endpoint_url"));
}

static void
later_settings_win_and_credentials_win_over_config(void **state TB_UNUSED)
{
    assert_int_equal(parse(TB_AWS_FILE_CREDENTIALS, "[p]\na=1\na=2\n[q]\n[p]\na=3\n", NULL),
                     TB_OK);
    assert_int_equal(parse(TB_AWS_FILE_CONFIG, "[profile p]\na=4\nb=5\n", NULL), TB_OK);
    assert_setting("p", "a", "3");
    assert_setting("p", "b", "5");
}

static void
what_is_no_setting_is_told_with_its_line(void **state TB_UNUSED)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"[default]\n\nnonsense\n", "line 3: neither"},
        {"[default\na=1\n", "line 1: '[' without ']'"},
        {"[default]\n=x\n", "line 2: a name is empty"},
        {"[]\n", "line 1: a name is empty"},
    };
    struct tb_fail fail;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(parse(TB_AWS_FILE_CREDENTIALS, cases[i].text, &fail), TB_EFORMAT);
        assert_non_null(strstr(fail.text, cases[i].why));
    }
    assert_int_equal(tb_aws_profiles_parse(profiles, TB_AWS_FILE_CONFIG,
                                           tb_bytes_of("[default]\na=\0b\n", 15), NULL),
                     TB_EFORMAT);
}

static void
no_word_of_a_file_gets_into_an_error(void **state TB_UNUSED)
{
    struct tb_fail fail;

    assert_int_equal(
        parse(TB_AWS_FILE_CREDENTIALS, "[default]\naws_secret_access_key SECRET\n", &fail),
        TB_EFORMAT);
    assert_null(strstr(fail.text, "SECRET"));
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(sections_are_named_differently_in_the_two_files),
        CASE(values_are_trimmed_and_comments_left_out),
        CASE(nested_settings_have_their_parents_name),
        CASE(later_settings_win_and_credentials_win_over_config),
        CASE(what_is_no_setting_is_told_with_its_line),
        CASE(no_word_of_a_file_gets_into_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
