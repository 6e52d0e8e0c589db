/* The bounded reader of AWS's XML answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "../../../src/aws/aws_int.h"

static struct tb_xml *
parse(const char *text)
{
    struct tb_xml *doc = NULL;

    assert_int_equal(tb_xml_parse(tb_bytes_str(text), &doc, NULL), TB_OK);
    return doc;
}

static void
elements_are_found_by_local_name_in_any_order(void **state TB_UNUSED)
{
    struct tb_xml *doc =
        parse("<?xml version=\"1.0\"?>\n<x:R xmlns:x=\"u\" a=\"b\">\n <x:two>2</x:two>"
              "<set><other/><item><id>a</id></item>\n<item><id>b</id></item></set>"
              "<two>3</two><x:one>1</x:one><empty/></x:R>\n");
    const struct tb_xml_node *root = tb_xml_root(doc), *item;

    assert_string_equal(tb_xml_name(root), "R");
    assert_string_equal(tb_xml_text(root, "one"), "1");
    assert_string_equal(tb_xml_text(root, "two"), "2");
    assert_string_equal(tb_xml_text(root, "empty"), "");
    assert_null(tb_xml_text(root, "tw"));
    assert_null(tb_xml_text(root, "set"));
    assert_null(tb_xml_text(root, "set/item/id/none"));
    assert_null(tb_xml_text(NULL, "x"));
    assert_int_equal(tb_xml_count(root, "set", "item"), 2);
    assert_int_equal(tb_xml_count(root, "nowhere", "item"), 0);
    item = tb_xml_at(root, "set/item");
    assert_string_equal(tb_xml_text(item, "id"), "a");
    item = tb_xml_next(item);
    assert_string_equal(tb_xml_text(item, "id"), "b");
    assert_null(tb_xml_next(item));
    tb_xml_free(doc);
}

static void
texts_are_decoded(void **state TB_UNUSED)
{
    struct tb_xml *doc = parse("<a><b>x &amp; y &lt;z&gt; &#228;<![CDATA[<&>]]></b></a>");

    assert_string_equal(tb_xml_text(tb_xml_root(doc), "b"), "x & y <z> \xc3\xa4<&>");
    tb_xml_free(doc);
}

static void
every_shorter_answer_is_short_or_broken_never_taken(void **state TB_UNUSED)
{
    static const char text[] =
        "<?xml version=\"1.0\"?><a x=\"1\"><b>c&amp;d</b><![CDATA[e]]><f/></a>";

    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        struct tb_xml *doc = NULL;
        enum tb_err err = tb_xml_parse(tb_bytes_of(text, len), &doc, NULL);

        if (err != TB_ESHORT) {
            print_error("%zu octets: %s\n", len, tb_err_name(err));
        }
        assert_int_equal(err, TB_ESHORT);
        assert_null(doc);
    }
}

static void
what_is_not_xml_is_refused(void **state TB_UNUSED)
{
    static const char *const texts[] = {
        "OK",
        "{}",
        "<a></b>",
        "<a/><b/>",
        "<a>&nbsp;</a>",
        "<a>\x01</a>",
        "<a b=1/>",
        "<!DOCTYPE html><html></html>",
        "<!DOCTYPE a [<!ENTITY x \"y\"><!ENTITY z \"&x;&x;\">]><a>&z;</a>",
        "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>"};
    struct tb_xml *doc = NULL;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(tb_xml_parse(tb_bytes_str(texts[i]), &doc, NULL), TB_EFORMAT);
    }
    assert_null(doc);
}

static void
depth_count_and_text_are_bounded(void **state TB_UNUSED)
{
    struct tb_buf deep = TB_BUF_INIT(1 << 20), many = TB_BUF_INIT(TB_AWS_ANSWER_MAX_BYTES),
                  wide = TB_BUF_INIT(1 << 20);
    struct tb_xml *doc = NULL;

    for (int i = 0; i < TB_XML_MAX_DEPTH; i++) {
        tb_buf_put_str(&deep, "<a>");
    }
    tb_buf_put_str(&deep, "<b/>");
    assert_int_equal(tb_xml_parse(tb_buf_view(&deep), &doc, NULL), TB_ETOOBIG);
    tb_buf_put_str(&many, "<a>");
    for (int i = 0; i < TB_XML_MAX_NODES; i++) {
        tb_buf_put_str(&many, "<b/>");
    }
    tb_buf_put_str(&many, "</a>");
    assert_int_equal(tb_xml_parse(tb_buf_view(&many), &doc, NULL), TB_ETOOBIG);
    tb_buf_put_str(&wide, "<a>");
    for (int i = 0; i <= TB_XML_MAX_TEXT; i++) {
        tb_buf_put_u8(&wide, 'x');
    }
    tb_buf_put_str(&wide, "</a>");
    assert_int_equal(tb_xml_parse(tb_buf_view(&wide), &doc, NULL), TB_ETOOBIG);
    tb_buf_release(&deep);
    tb_buf_release(&many);
    tb_buf_release(&wide);
}

static void
fields_that_do_not_fit_are_refused_not_cut(void **state TB_UNUSED)
{
    struct tb_xml *doc = parse("<a><id>tms-12345</id><n>16777215</n><m>4294967296</m><s>-1</s>"
                               "<t>true</t><f>false</f></a>");
    const struct tb_xml_node *root = tb_xml_root(doc);
    char text[10];
    uint32_t number = 7;

    assert_int_equal(tb_xml_copy(root, "id", text, 10, NULL), TB_OK);
    assert_int_equal(tb_xml_copy(root, "id", text, 9, NULL), TB_EFORMAT);
    assert_int_equal(tb_xml_copy(root, "none", text, 10, NULL), TB_OK);
    assert_string_equal(text, "");
    assert_int_equal(tb_xml_number(root, "n", 0xFFFFFF, &number, NULL), TB_OK);
    assert_int_equal(number, 0xFFFFFF);
    assert_int_equal(tb_xml_number(root, "n", 0xFFFFFE, &number, NULL), TB_EFORMAT);
    assert_int_equal(tb_xml_number(root, "m", UINT32_MAX, &number, NULL), TB_EFORMAT);
    assert_int_equal(tb_xml_number(root, "s", UINT32_MAX, &number, NULL), TB_EFORMAT);
    assert_int_equal(tb_xml_number(root, "none", UINT32_MAX, &number, NULL), TB_OK);
    assert_int_equal(number, 0);
    assert_true(tb_xml_true(root, "t"));
    assert_false(tb_xml_true(root, "f"));
    assert_false(tb_xml_true(root, "none"));
    tb_xml_free(doc);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_are_found_by_local_name_in_any_order),
        cmocka_unit_test(texts_are_decoded),
        cmocka_unit_test(every_shorter_answer_is_short_or_broken_never_taken),
        cmocka_unit_test(what_is_not_xml_is_refused),
        cmocka_unit_test(depth_count_and_text_are_bounded),
        cmocka_unit_test(fields_that_do_not_fit_are_refused_not_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
