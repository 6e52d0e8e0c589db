#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/digest.h>
#include <tapbox/io.h>
#include <tapbox/secret.h>

#include "../../../src/http/http_int.h"

static char folder[] = "/tmp/tapbox-tokens-XXXXXX";
static char path[64];

static int
make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s/tokens", folder);
    tb_log_start("test", TB_LOG_ERROR);
    return 0;
}

static int
remove_folder(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

static int
remove_file(void **state)
{
    (void)state;
    (void)unlink(path);
    return 0;
}

static void
write_file(const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static bool
knows(struct tb_tokens *tokens, const char *token, const char *name, unsigned roles)
{
    char found[TB_TOKEN_NAME_SIZE] = "";
    unsigned found_roles = 0;

    return tb_tokens_find(tokens, tb_bytes_str(token), found, &found_roles) &&
           strcmp(found, name) == 0 && found_roles == roles;
}

static void
a_token_made_is_known_with_its_name_and_roles_and_is_not_in_the_file(void **state)
{
    struct tb_secret soc = TB_SECRET_INIT, bus = TB_SECRET_INIT;
    struct tb_buf text = TB_BUF_INIT(4096);
    struct tb_tokens *tokens = NULL;
    struct stat st;

    (void)state;
    assert_int_equal(tb_token_add(path, "soc", TB_ROLE_ANALYST | TB_ROLE_RESPONDER, &soc, NULL),
                     TB_OK);
    assert_int_equal(tb_token_add(path, "event-bus", TB_ROLE_ALERT, &bus, NULL), TB_OK);
    assert_int_equal(soc.len, 68);
    assert_memory_equal(soc.text, "tbx_", 4);
    assert_string_not_equal(soc.text, bus.text);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);

    assert_int_equal(tb_read_file(AT_FDCWD, path, &text, NULL), TB_OK);
    assert_null(strstr(tb_buf_str(&text), soc.text));
    assert_null(strstr(tb_buf_str(&text), soc.text + 4));
    assert_non_null(strstr(tb_buf_str(&text), "\nsoc:analyst,responder:"));

    assert_int_equal(tb_tokens_open(path, &tokens, NULL), TB_OK);
    assert_int_equal(tb_tokens_count(tokens), 2);
    assert_true(knows(tokens, soc.text, "soc", TB_ROLE_ANALYST | TB_ROLE_RESPONDER));
    assert_true(knows(tokens, bus.text, "event-bus", TB_ROLE_ALERT));
    assert_false(knows(tokens, "tbx_", "soc", 0));
    assert_false(knows(tokens, "", "soc", 0));
    bus.text[10] = bus.text[10] == '0' ? '1' : '0';
    assert_false(knows(tokens, bus.text, "event-bus", TB_ROLE_ALERT));
    tb_tokens_free(tokens);
    tb_buf_release(&text);
    tb_secret_release(&soc);
    tb_secret_release(&bus);
}

static void
the_hash_is_over_the_text_of_salt_and_token_so_that_other_tools_can_make_one(void **state)
{
    /* printf %s%s 00112233445566778899aabbccddeeff open-sesame | sha256sum */
    static const char salt[] = "00112233445566778899aabbccddeeff";
    struct tb_tokens *tokens = NULL;
    struct tb_sha256 hash;
    char hex[TB_SHA256_HEX_SIZE], text[256];

    (void)state;
    snprintf(text, sizeof(text), "%sopen-sesame", salt);
    assert_int_equal(tb_sha256(tb_bytes_str(text), &hash), TB_OK);
    tb_sha256_hex(hex, &hash);
    snprintf(text, sizeof(text), "# by hand\n\nali:admin:%s:%s", salt, hex);
    write_file(text, 0640);
    assert_int_equal(tb_tokens_open(path, &tokens, NULL), TB_OK);
    assert_true(knows(tokens, "open-sesame", "ali", TB_ROLE_ADMIN));
    tb_tokens_free(tokens);
}

static void
a_name_that_is_taken_or_no_name_is_refused_and_the_file_stays(void **state)
{
    static const char *const bad[] = {"", "a:b", "a b", "a\nb", "\xc3\xa4", "../x"};
    struct tb_secret token = TB_SECRET_INIT;
    struct tb_buf before = TB_BUF_INIT(4096), after = TB_BUF_INIT(4096);
    struct tb_fail fail = {0};

    (void)state;
    assert_int_equal(tb_token_add(path, "soc", TB_ROLE_ADMIN, &token, NULL), TB_OK);
    tb_secret_release(&token);
    assert_int_equal(tb_read_file(AT_FDCWD, path, &before, NULL), TB_OK);
    assert_int_equal(tb_token_add(path, "soc", TB_ROLE_ADMIN, &token, &fail), TB_EEXIST);
    assert_non_null(strstr(fail.text, "'soc'"));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(tb_token_add(path, bad[i], TB_ROLE_ADMIN, &token, &fail), TB_EINVAL);
    }
    assert_null(token.text);
    assert_int_equal(tb_read_file(AT_FDCWD, path, &after, NULL), TB_OK);
    assert_true(tb_bytes_equal(tb_buf_view(&before), tb_buf_view(&after)));
    tb_buf_release(&before);
    tb_buf_release(&after);
}

static void
a_changed_file_counts_at_once_and_a_broken_one_changes_nothing(void **state)
{
    struct tb_secret first = TB_SECRET_INIT, second = TB_SECRET_INIT;
    struct tb_tokens *tokens = NULL;

    (void)state;
    assert_int_equal(tb_tokens_open(path, &tokens, NULL), TB_OK);
    assert_int_equal(tb_tokens_count(tokens), 0);
    assert_int_equal(tb_token_add(path, "one", TB_ROLE_ALERT, &first, NULL), TB_OK);
    assert_true(knows(tokens, first.text, "one", TB_ROLE_ALERT));

    write_file("rubbish\n", 0600);
    assert_true(knows(tokens, first.text, "one", TB_ROLE_ALERT));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(tb_token_add(path, "two", TB_ROLE_ALERT, &second, NULL), TB_OK);
    assert_true(knows(tokens, second.text, "two", TB_ROLE_ALERT));
    assert_false(knows(tokens, first.text, "one", TB_ROLE_ALERT)); /* revoked */

    assert_int_equal(unlink(path), 0);
    assert_false(knows(tokens, second.text, "two", TB_ROLE_ALERT));
    tb_tokens_free(tokens);
    tb_secret_release(&first);
    tb_secret_release(&second);
}

static void
every_wrong_line_is_refused_with_its_number(void **state)
{
#define SALT "00112233445566778899aabbccddeeff"
#define HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
    static const char *const lines[] = {
        "soc",
        "soc:admin",
        "soc:admin:" SALT,
        "soc:admin:" SALT ":" HASH ":more",
        "soc:admin:" SALT ":" HASH "00",
        "soc:admin:" SALT ":" HASH " ",
        "soc:admin:0011:" HASH,
        "soc:root:" SALT ":" HASH,
        "soc:admin,:" SALT ":" HASH,
        "soc::" SALT ":" HASH,
        ":admin:" SALT ":" HASH,
        " soc:admin:" SALT ":" HASH,
        "soc:admin:0011223344556677:8899aabbccddeeff",
    };
    struct tb_tokens *tokens = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct tb_fail fail = {0};
        char text[512];

        snprintf(text, sizeof(text), "# first\n%s\n", lines[i]);
        write_file(text, 0600);
        if (tb_tokens_open(path, &tokens, &fail) != TB_EFORMAT ||
            strstr(fail.text, "tokens:2: not a token line") == NULL ||
            strstr(fail.text, HASH) != NULL) {
            fail_msg("%s: %s", lines[i], fail.text);
        }
    }
}

static void
a_file_that_others_may_write_is_refused(void **state)
{
    struct tb_tokens *tokens = NULL;
    struct tb_fail fail = {0};

    (void)state;
    write_file("# none\n", 0620);
    assert_int_equal(tb_tokens_open(path, &tokens, &fail), TB_EDENIED);
    assert_non_null(strstr(fail.text, "chmod 600"));
    write_file("# none\n", 0602);
    assert_int_equal(tb_tokens_open(path, &tokens, &fail), TB_EDENIED);
}

static void
roles_are_read_by_name(void **state)
{
    unsigned roles = 77;

    (void)state;
    assert_int_equal(tb_role_parse("alert", &roles), TB_OK);
    assert_int_equal(roles, TB_ROLE_ALERT);
    assert_int_equal(tb_role_parse("scraper,analyst,scraper", &roles), TB_OK);
    assert_int_equal(roles, TB_ROLE_SCRAPER | TB_ROLE_ANALYST);
    assert_int_equal(tb_role_parse("", &roles), TB_EINVAL);
    assert_int_equal(tb_role_parse("alert,", &roles), TB_EINVAL);
    assert_int_equal(tb_role_parse("Alert", &roles), TB_EINVAL);
    assert_int_equal(tb_role_parse("alerts", &roles), TB_EINVAL);
    assert_int_equal(roles, TB_ROLE_SCRAPER | TB_ROLE_ANALYST);
}

static void
collect(void *arg, const char *name, const char *of)
{
    struct tb_buf *text = arg;

    tb_buf_printf(text, "%s=%s;", name, of);
}

static void
a_token_that_is_revoked_is_unknown_and_the_others_stay(void **state)
{
    struct tb_secret soc = TB_SECRET_INIT, bus = TB_SECRET_INIT;
    struct tb_buf text = TB_BUF_INIT(4096);
    struct tb_tokens *tokens = NULL;

    (void)state;
    assert_int_equal(tb_token_add(path, "soc", TB_ROLE_ANALYST | TB_ROLE_RESPONDER, &soc, NULL),
                     TB_OK);
    assert_int_equal(tb_token_add(path, "soc-2", TB_ROLE_ALERT, &bus, NULL), TB_OK);
    assert_int_equal(tb_token_list(path, collect, &text, NULL), TB_OK);
    assert_string_equal(tb_buf_str(&text), "soc=analyst,responder;soc-2=alert;");
    assert_int_equal(tb_token_revoke(path, "so", NULL), TB_ENOTFOUND);
    assert_int_equal(tb_token_revoke(path, "soc", NULL), TB_OK);
    assert_int_equal(tb_token_revoke(path, "soc", NULL), TB_ENOTFOUND);
    assert_int_equal(tb_tokens_open(path, &tokens, NULL), TB_OK);
    assert_false(knows(tokens, soc.text, "soc", TB_ROLE_ANALYST | TB_ROLE_RESPONDER));
    assert_true(knows(tokens, bus.text, "soc-2", TB_ROLE_ALERT));
    tb_tokens_free(tokens);
    tb_buf_release(&text);
    tb_secret_release(&soc);
    tb_secret_release(&bus);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(
            a_token_made_is_known_with_its_name_and_roles_and_is_not_in_the_file, remove_file),
        cmocka_unit_test_teardown(
            the_hash_is_over_the_text_of_salt_and_token_so_that_other_tools_can_make_one,
            remove_file),
        cmocka_unit_test_teardown(a_name_that_is_taken_or_no_name_is_refused_and_the_file_stays,
                                  remove_file),
        cmocka_unit_test_teardown(
            a_changed_file_counts_at_once_and_a_broken_one_changes_nothing, remove_file),
        cmocka_unit_test_teardown(every_wrong_line_is_refused_with_its_number, remove_file),
        cmocka_unit_test_teardown(a_file_that_others_may_write_is_refused, remove_file),
        cmocka_unit_test_teardown(a_token_that_is_revoked_is_unknown_and_the_others_stay,
                                  remove_file),
        cmocka_unit_test(roles_are_read_by_name),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
