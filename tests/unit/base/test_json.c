#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>

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
a_time_is_written_and_read_and_zero_is_none(void **state TB_UNUSED)
{
    struct tb_json *object = tb_json_object();

    tb_json_set_time(object, "at", 1767323045000000006);
    tb_json_set_time(object, "not yet", 0);
    tb_json_set_str(object, "when", "tomorrow");
    assert_string_equal(tb_json_str(object, "/at"), "2026-01-02T03:04:05.000000006Z");
    assert_true(tb_json_time(object, "/at") == 1767323045000000006);
    assert_true(tb_json_time(object, "/not yet") == 0);
    assert_true(tb_json_time(object, "/when") == 0);
    assert_true(tb_json_time(object, "/never") == 0);
    tb_json_free(object);
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
every_value_has_its_canonical_text(void **state)
{
    static const struct {
        const char *text, *canonical;
    } cases[] = {
        {" { } ", "{}"},
        {"[ ]", "[]"},
        {"{\"b\": [1, {\"d\": null, \"c\": true}], \"a\": false}",
         "{\"a\":false,\"b\":[1,{\"c\":true,\"d\":null}]}"},
        /* one key begins another, upper case comes first, and octets count, not letters */
        {"{\"ab\":1,\"a\":2,\"B\":3,\"\u00e9\":4,\"\":5}",
         "{\"\":5,\"B\":3,\"a\":2,\"ab\":1,\"\xc3\xa9\":4}"},
        {"[0, -1, 9223372036854775807, -9223372036854775808]",
         "[0,-1,9223372036854775807,-9223372036854775808]"},
        {"[1.0, 0.1, -2.5e-7, 1e300]", "[1.0,0.10000000000000001,-2.4999999999999999e-7,"
                                       "1.0000000000000001e300]"},
        {"\"\\u0001\\u001f\\b\\f\\n\\r\\t\\\"\\\\\\/\\u007f\"",
         "\"\\u0001\\u001F\\b\\f\\n\\r\\t\\\"\\\\/\x7f\""},
        {"[\"\\ud83d\\ude00\\u20ac\", \"a\\nb\", \"\"]",
         "[\"\xf0\x9f\x98\x80\xe2\x82\xac\",\"a\\nb\",\"\"]"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_buf text = TB_BUF_INIT(1000);
        struct tb_json *root = NULL;

        tb_buf_printf(&text, "[%s]", cases[i].text); /* a document is an object or an array */
        assert_int_equal(tb_json_parse(tb_buf_view(&text), &root, NULL), TB_OK);
        tb_buf_reset(&text);
        assert_int_equal(tb_json_dump(tb_json_item(root, 0), false, &text, NULL), TB_OK);
        assert_string_equal(tb_buf_str(&text), cases[i].canonical);
        tb_buf_release(&text);
        tb_json_free(root);
    }
}

static void
many_members_come_in_the_order_of_their_keys(void **state)
{
    enum {
        MANY = 200
    };
    struct tb_json *root = tb_json_object();
    struct tb_buf out = TB_BUF_INIT(10000), wanted = TB_BUF_INIT(10000);

    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        char key[16];

        (void)snprintf(key, sizeof(key), "k%03u", i * 77 % MANY); /* each of them once */
        tb_json_set_int(root, key, i * 77 % MANY);
        tb_buf_printf(&wanted, "%s\"k%03u\":%u", i == 0 ? "{" : ",", i, i);
    }
    tb_buf_put_str(&wanted, "}");
    assert_int_equal(tb_json_dump(root, false, &out, NULL), TB_OK);
    assert_string_equal(tb_buf_str(&out), tb_buf_str(&wanted));
    tb_buf_release(&out);
    tb_buf_release(&wanted);
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
    tb_buf_put_str(&out, "as");
    assert_int_equal(tb_json_dump(root, false, &out, NULL), TB_ETOOBIG);
    assert_int_equal(out.len, 2); /* what was there before */
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
        cmocka_unit_test(a_time_is_written_and_read_and_zero_is_none),
        cmocka_unit_test(a_built_document_has_one_canonical_form),
        cmocka_unit_test(every_value_has_its_canonical_text),
        cmocka_unit_test(many_members_come_in_the_order_of_their_keys),
        cmocka_unit_test(text_that_is_not_utf_8_is_kept_readable),
        cmocka_unit_test(a_dump_over_the_ceiling_is_an_error),
        cmocka_unit_test(members_come_in_the_order_of_the_text),
        cmocka_unit_test(an_array_is_cut_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
