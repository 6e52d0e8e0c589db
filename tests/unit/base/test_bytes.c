#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <tapbox/bytes.h>

static void
an_append_past_the_ceiling_is_remembered_and_changes_nothing(void **state)
{
    struct tb_buf buf = TB_BUF_INIT(4);
    struct tb_fail fail;

    (void)state;
    tb_buf_put_str(&buf, "abc");
    tb_buf_put_str(&buf, "de");
    tb_buf_put_str(&buf, "f"); /* would fit, but the content is broken already */
    assert_int_equal(buf.len, 3);
    assert_int_equal(tb_buf_check(&buf, "the thing", &fail), TB_ETOOBIG);
    assert_string_equal(fail.text, "the thing is over its limit of 4 octets");
    assert_string_equal(tb_buf_str(&buf), "");
    tb_buf_reset(&buf);
    tb_buf_put_str(&buf, "wxyz");
    assert_string_equal(tb_buf_str(&buf), "wxyz");
    tb_buf_release(&buf);
}

static void
every_length_near_a_growth_step_keeps_its_content(void **state)
{
    (void)state;
    for (size_t n = 250; n < 600; n++) {
        struct tb_buf buf = TB_BUF_INIT(1000);

        for (size_t i = 0; i < n; i++) {
            tb_buf_put_u8(&buf, (uint8_t)i);
        }
        assert_int_equal(buf.len, n);
        assert_int_equal(tb_buf_str(&buf)[n], 0);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(buf.at[i], (uint8_t)i);
        }
        tb_buf_release(&buf);
    }
}

static void
integers_are_written_and_read_octet_by_octet(void **state)
{
    struct tb_buf buf = TB_BUF_INIT(64);

    (void)state;
    tb_buf_put_le16(&buf, 0x1234);
    tb_buf_put_le32(&buf, 0xfedcba98);
    tb_buf_put_le64(&buf, 0x0123456789abcdefULL);
    assert_memory_equal(buf.at, "\x34\x12\x98\xba\xdc\xfe\xef\xcd\xab\x89\x67\x45\x23\x01", 14);
    assert_int_equal(tb_get_le16(buf.at), 0x1234);
    assert_true(tb_get_le32(buf.at + 2) == 0xfedcba98);
    assert_true(tb_get_le64(buf.at + 6) == 0x0123456789abcdefULL);
    assert_int_equal(tb_get_be16(buf.at), 0x3412);
    assert_int_equal(tb_get_be24(buf.at), 0x341298);
    assert_true(tb_get_be32(buf.at + 2) == 0x98badcfe);
    tb_buf_release(&buf);
}

static void
base64_is_that_of_rfc_4648(void **state)
{
    static const struct {
        const char *plain, *encoded;
    } cases[] = {{"", ""},
                 {"f", "Zg=="},
                 {"fo", "Zm8="},
                 {"foo", "Zm9v"},
                 {"foob", "Zm9vYg=="},
                 {"fooba", "Zm9vYmE="},
                 {"foobar", "Zm9vYmFy"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_buf buf = TB_BUF_INIT(64);

        tb_buf_put_base64(&buf, tb_bytes_str(cases[i].plain));
        assert_string_equal(tb_buf_str(&buf), cases[i].encoded);
        tb_buf_reset(&buf);
        assert_true(tb_buf_put_unbase64(&buf, cases[i].encoded));
        assert_string_equal(tb_buf_str(&buf), cases[i].plain);
        tb_buf_release(&buf);
    }
}

static void
what_is_no_base64_is_told(void **state)
{
    static const char *const wrong[] = {"Z", "Zg=a", "Zm 8", "Zm9v\n", "Zm-_", "=Zg"};
    struct tb_buf buf = TB_BUF_INIT(2);

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        tb_buf_reset(&buf);
        assert_false(tb_buf_put_unbase64(&buf, wrong[i]));
    }
    tb_buf_reset(&buf);
    assert_true(tb_buf_put_unbase64(&buf, "Zm8"));       /* padding is optional */
    assert_false(tb_buf_put_unbase64(&buf, "Zm9vYmFy")); /* over the ceiling */
    tb_buf_release(&buf);
}

static void
percent_encoding_keeps_only_what_rfc_3986_calls_unreserved(void **state)
{
    struct tb_buf buf = TB_BUF_INIT(64);

    (void)state;
    tb_buf_put_percent(&buf, tb_bytes_str("a b/c+~\xc3\xa9"), true);
    assert_string_equal(tb_buf_str(&buf), "a%20b/c%2B~%C3%A9");
    tb_buf_reset(&buf);
    tb_buf_put_percent(&buf, tb_bytes_str("a/b"), false);
    assert_string_equal(tb_buf_str(&buf), "a%2Fb");
    tb_buf_release(&buf);
}

static void
hex_comes_back_as_it_was_and_nothing_else_is_read(void **state)
{
    uint8_t out[3] = {9, 9, 9};
    char text[7];

    (void)state;
    assert_int_equal(tb_unhex(out, 3, "00Ff7"), TB_EFORMAT);
    assert_int_equal(tb_unhex(out, 3, "00Ff7g"), TB_EFORMAT);
    assert_int_equal(out[0], 9);
    assert_int_equal(tb_unhex(out, 3, "00Ff7a"), TB_OK);
    tb_hex(text, tb_bytes_of(out, 3));
    assert_string_equal(text, "00ff7a");
}

static void
a_long_string_is_cut_and_said_to_be(void **state)
{
    char out[4];

    (void)state;
    assert_true(tb_str_copy(out, sizeof(out), "abc"));
    assert_false(tb_str_copy(out, sizeof(out), "abcd"));
    assert_string_equal(out, "abc");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_append_past_the_ceiling_is_remembered_and_changes_nothing),
        cmocka_unit_test(every_length_near_a_growth_step_keeps_its_content),
        cmocka_unit_test(integers_are_written_and_read_octet_by_octet),
        cmocka_unit_test(base64_is_that_of_rfc_4648),
        cmocka_unit_test(what_is_no_base64_is_told),
        cmocka_unit_test(percent_encoding_keeps_only_what_rfc_3986_calls_unreserved),
        cmocka_unit_test(hex_comes_back_as_it_was_and_nothing_else_is_read),
        cmocka_unit_test(a_long_string_is_cut_and_said_to_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
