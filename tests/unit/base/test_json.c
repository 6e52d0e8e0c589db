#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <tapbox/json.h>
#include <tapbox/limits.h>

static struct tb_json *
parse(const char *text)
{
    struct tb_json *root = NULL;

    assert_int_equal(tb_json_parse(tb_bytes_str(text), &root, NULL), TB_OK);
    return root;
}

static void
bad_text_is_refused_with_the_place(void **state)
{
    static const char *const texts[] = {"",    "{",     "{\"a\":1,}",  "{\"a\":1,\"a\":2}",
                                        "nul", "[1] x", "\"\\u0000\"", "{\"a\":\"\xff\"}",
                                        "[01]"};
    struct tb_fail fail;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct tb_json *root = NULL;

        assert_int_equal(tb_json_parse(tb_bytes_str(texts[i]), &root, &fail), TB_EFORMAT);
        assert_null(root);
        assert_non_null(strstr(fail.text, "line 1, column"));
    }
}

static void
depth_is_bounded_and_brackets_in_strings_do_not_count(void **state)
{
    char deep[2 * (TB_JSON_MAX_DEPTH + 1) + 1];
    char text[2 * TB_JSON_MAX_DEPTH + 8] = "[\"";
    struct tb_json *root = NULL;

    (void)state;
    memset(deep, '[', TB_JSON_MAX_DEPTH + 1);
    memset(deep + TB_JSON_MAX_DEPTH + 1, ']', TB_JSON_MAX_DEPTH + 1);
    deep[sizeof(deep) - 1] = 0;
    assert_int_equal(tb_json_parse(tb_bytes_str(deep), &root, NULL), TB_ETOOBIG);
    assert_int_equal(tb_json_parse(tb_bytes_of(deep + 1, sizeof(deep) - 3), &root, NULL),
                     TB_OK);
    tb_json_free(root);
    memset(text + 2, '[', 2 * TB_JSON_MAX_DEPTH);
    memcpy(text + 2 + 2 * TB_JSON_MAX_DEPTH, "\"]", 3);
    root = parse(text);
    tb_json_free(root);
}

static void
a_pointer_finds_values_and_misses_quietly(void **state)
{
    struct tb_json *root = parse("{\"a\":{\"b\":[10,{\"c/d\":\"x\",\"e~f\":true}]},\"n\":3.0,"
                                 "\"h\":2.5,\"z\":null}");
    int64_t number = 0;
    bool flag = false;

    (void)state;
    assert_string_equal(tb_json_str(root, "/a/b/1/c~1d"), "x");
    assert_true(tb_json_bool(root, "/a/b/1/e~0f", &flag) && flag);
    assert_true(tb_json_int(root, "/a/b/0", &number) && number == 10);
    assert_true(tb_json_int(root, "/n", &number) && number == 3);
    assert_false(tb_json_int(root, "/h", &number));
    assert_null(tb_json_str(root, "/a/b/0"));
    assert_null(tb_json_str(root, "/a/b/2"));
    assert_null(tb_json_str(root, "/a/b/x"));
    assert_null(tb_json_str(root, "/a/b/1/c~1d/deeper"));
    assert_null(tb_json_at(root, "no slash"));
    assert_true(tb_json_is_null(tb_json_at(root, "/z")));
    assert_true(tb_json_at(root, "") == root);
    assert_int_equal(tb_json_count(tb_json_at(root, "/a/b")), 2);
    tb_json_free(root);
}

static void
a_built_document_has_one_canonical_form(void **state)
{
    struct tb_json *root = tb_json_object();
    struct tb_json *list = tb_json_array();
    struct tb_buf out = TB_BUF_INIT(1000);

    (void)state;
    tb_json_set_int(root, "b", 2);
    tb_json_set_str(root, "a", "x\"y");
    tb_json_set_str(root, "none", NULL);
    tb_json_add_str(list, "1");
    tb_json_set(root, "list", list);
    tb_json_set_bool(root, "yes", true);
    assert_int_equal(tb_json_dump(root, false, &out, NULL), TB_OK);
    assert_string_equal(
        tb_buf_str(&out),
        "{\"a\":\"x\\\"y\",\"b\":2,\"list\":[\"1\"],\"none\":null,\"yes\":true}");
    tb_buf_release(&out);
    tb_json_free(root);
}

static void
text_that_is_not_utf_8_is_kept_readable(void **state)
{
    struct tb_json *root = tb_json_object();
    struct tb_buf out = TB_BUF_INIT(100);

    (void)state;
    tb_json_set_str(root, "a", "caf\xe9");
    assert_int_equal(tb_json_dump(root, false, &out, NULL), TB_OK);
    assert_string_equal(tb_buf_str(&out), "{\"a\":\"caf?\"}");
    tb_buf_release(&out);
    tb_json_free(root);
}

static void
a_dump_over_the_ceiling_is_an_error(void **state)
{
    struct tb_json *root = parse("[\"0123456789\"]");
    struct tb_buf out = TB_BUF_INIT(8);

    (void)state;
    assert_int_equal(tb_json_dump(root, false, &out, NULL), TB_ETOOBIG);
    assert_int_equal(tb_json_dump(NULL, false, &out, NULL), TB_ENOMEM);
    tb_buf_release(&out);
    tb_json_free(root);
}

static void
members_come_in_the_order_of_the_text(void **state)
{
    struct tb_json *root = parse("{\"z\":1,\"a\":2}");
    const char *key = NULL;

    (void)state;
    assert_non_null(tb_json_member(root, 0, &key));
    assert_string_equal(key, "z");
    assert_non_null(tb_json_member(root, 1, &key));
    assert_string_equal(key, "a");
    assert_null(tb_json_member(root, 2, &key));
    tb_json_free(root);
}

static void
an_array_is_cut_and_nothing_else(void **state)
{
    struct tb_json *root = parse("{\"a\":{\"rows\":[1,2,3]},\"b\":\"text\"}");
    struct tb_buf out = TB_BUF_INIT(64);

    (void)state;
    tb_json_cut(root, "/a/rows", 4);
    assert_int_equal(tb_json_count(tb_json_at(root, "/a/rows")), 3);
    tb_json_cut(root, "/a/rows", 1);
    tb_json_cut(root, "/a", 0);
    tb_json_cut(root, "/b", 0);
    tb_json_cut(root, "/none", 0);
    assert_int_equal(tb_json_dump(root, false, &out, NULL), TB_OK);
    assert_int_equal(out.len, strlen("{\"a\":{\"rows\":[1]},\"b\":\"text\"}"));
    assert_memory_equal(out.at, "{\"a\":{\"rows\":[1]},\"b\":\"text\"}", out.len);
    tb_buf_release(&out);
    tb_json_free(root);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_text_is_refused_with_the_place),
        cmocka_unit_test(depth_is_bounded_and_brackets_in_strings_do_not_count),
        cmocka_unit_test(a_pointer_finds_values_and_misses_quietly),
        cmocka_unit_test(a_built_document_has_one_canonical_form),
        cmocka_unit_test(text_that_is_not_utf_8_is_kept_readable),
        cmocka_unit_test(a_dump_over_the_ceiling_is_an_error),
        cmocka_unit_test(members_come_in_the_order_of_the_text),
        cmocka_unit_test(an_array_is_cut_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
