/* Several runs of blocks become one section. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <tapbox/pcapng_merge.h>

enum {
    ROOM = 1 << 20
};

static int
setup(void **state)
{
    struct tb_merge *merge = NULL;

    assert_int_equal(tb_merge_new(&merge, NULL), TB_OK);
    *state = merge;
    return 0;
}

static int
teardown(void **state)
{
    tb_merge_free(*state);
    return 0;
}

static void
put_section(struct tb_buf *out, const char *capture)
{
    uint8_t at[TB_PCAPNG_MAX_SECTION];
    const struct tb_pcapng_section section = {.capture_id = capture};

    tb_buf_put(out, at, tb_pcapng_put_section(at, sizeof(at), &section));
}

static void
put_interface(struct tb_buf *out, const char *name)
{
    uint8_t at[TB_PCAPNG_MAX_INTERFACE];
    const struct tb_pcapng_interface interface = {.name = name};

    tb_buf_put(out, at, tb_pcapng_put_interface(at, sizeof(at), &interface));
}

static void
put_packet(struct tb_buf *out, uint32_t interface, int64_t utc_ns, const char *text)
{
    uint8_t at[256];
    const struct tb_pcapng_packet packet = {.interface = interface,
                                            .utc_ns = utc_ns,
                                            .captured = (uint32_t)strlen(text),
                                            .original = 1000,
                                            .direction = TB_DIRECTION_OUTBOUND,
                                            .dropped = 7};

    tb_buf_put(out, at, tb_pcapng_put_packet(at, sizeof(at), &packet, (const uint8_t *)text));
}

static void
put_all(struct tb_merge *merge, struct tb_buf *out)
{
    struct tb_merge_packet packet;

    while (tb_merge_peek(merge, &packet)) {
        tb_merge_put_packet(merge, out);
        assert_int_equal(tb_merge_pass(merge, NULL), TB_OK);
    }
}

static void
two_lanes_become_one_section_in_the_order_of_time(void **state)
{
    struct tb_merge *merge = *state;
    struct tb_buf a = TB_BUF_INIT(ROOM), b = TB_BUF_INIT(ROOM), out = TB_BUF_INIT(ROOM),
                  want = TB_BUF_INIT(ROOM);

    put_section(&a, "cap-1");
    put_interface(&a, "eni-1");
    put_interface(&a, "eni-2");
    put_packet(&a, 0, 10, "a");
    put_packet(&a, 1, 30, "ccc");
    put_packet(&a, 0, 50, "eeeee");
    put_section(&b, "cap-1");
    put_interface(&b, "eni-2"); /* the same in another place, and one more */
    put_interface(&b, "eni-3");
    put_packet(&b, 0, 20, "bb");
    put_packet(&b, 1, 30, "dddd"); /* at the same time: the first input's goes first */
    put_section(&want, "cap-1");
    put_interface(&want, "eni-1");
    put_interface(&want, "eni-2");
    put_interface(&want, "eni-3");
    put_packet(&want, 0, 10, "a");
    put_packet(&want, 1, 20, "bb");
    put_packet(&want, 1, 30, "ccc");
    put_packet(&want, 2, 30, "dddd");
    put_packet(&want, 0, 50, "eeeee");
    assert_int_equal(tb_merge_feed(merge, 0, tb_buf_view(&a), NULL), TB_OK);
    assert_int_equal(tb_merge_feed(merge, 1, tb_buf_view(&b), NULL), TB_OK);
    put_all(merge, &out);
    assert_true(tb_bytes_equal(tb_buf_view(&out), tb_buf_view(&want)));
    assert_true(tb_merge_is_dry(merge, 0));
    tb_buf_release(&a);
    tb_buf_release(&b);
    tb_buf_release(&out);
    tb_buf_release(&want);
}

static void
a_later_section_may_number_its_interfaces_anew(void **state)
{
    struct tb_merge *merge = *state;
    struct tb_buf a = TB_BUF_INIT(ROOM), b = TB_BUF_INIT(ROOM), out = TB_BUF_INIT(ROOM),
                  want = TB_BUF_INIT(ROOM);

    put_section(&a, "cap-1");
    put_interface(&a, "eni-1");
    put_packet(&a, 0, 10, "a");
    put_section(&b, "cap-1, later");
    put_interface(&b, "eni-2");
    put_interface(&b, "eni-1");
    put_packet(&b, 1, 20, "bb");
    put_packet(&b, 0, 30, "ccc");
    put_section(&want, "cap-1");
    put_interface(&want, "eni-1");
    put_packet(&want, 0, 10, "a");
    put_interface(&want, "eni-2");
    put_packet(&want, 0, 20, "bb");
    put_packet(&want, 1, 30, "ccc");
    assert_int_equal(tb_merge_feed(merge, 5, tb_buf_view(&a), NULL), TB_OK);
    put_all(merge, &out);
    assert_int_equal(tb_merge_feed(merge, 5, tb_buf_view(&b), NULL), TB_OK);
    put_all(merge, &out);
    assert_true(tb_bytes_equal(tb_buf_view(&out), tb_buf_view(&want)));
    tb_buf_release(&a);
    tb_buf_release(&b);
    tb_buf_release(&out);
    tb_buf_release(&want);
}

static void
the_header_can_go_ahead_of_the_first_packet(void **state)
{
    struct tb_merge *merge = *state;
    struct tb_buf a = TB_BUF_INIT(ROOM), out = TB_BUF_INIT(ROOM);

    tb_merge_put_header(merge, &out);
    assert_int_equal(out.len, 0);
    put_section(&a, "cap-1");
    put_interface(&a, "eni-1");
    assert_int_equal(tb_merge_feed(merge, 0, tb_buf_view(&a), NULL), TB_OK);
    assert_true(tb_merge_is_dry(merge, 0));
    tb_merge_put_header(merge, &out);
    assert_true(tb_bytes_equal(tb_buf_view(&out), tb_buf_view(&a)));
    tb_merge_put_header(merge, &out);
    assert_int_equal(out.len, a.len);
    tb_buf_release(&a);
    tb_buf_release(&out);
}

static void
a_note_is_one_more_comment_of_the_section(void **state)
{
    static const char note[] = "extract: host 10.0.0.1";
    struct tb_merge *merge = *state;
    struct tb_buf a = TB_BUF_INIT(ROOM), out = TB_BUF_INIT(ROOM);
    struct tb_pcapng_block block;
    struct tb_bytes rest;

    put_section(&a, "cap-1");
    put_interface(&a, "eni-1");
    tb_merge_note(merge, note);
    assert_int_equal(tb_merge_feed(merge, 0, tb_buf_view(&a), NULL), TB_OK);
    tb_merge_put_header(merge, &out);
    rest = tb_buf_view(&out);
    assert_int_equal(tb_pcapng_next(&rest, &block), TB_OK);
    assert_int_equal(block.type, TB_PCAPNG_SHB);
    assert_int_equal(tb_get_le16(block.body.at + 16), 1);
    assert_int_equal(tb_get_le16(block.body.at + 18), strlen(note));
    assert_memory_equal(block.body.at + 20, note, strlen(note));
    assert_non_null(memmem(block.body.at, block.body.len, "cap-1", 5));
    assert_int_equal(tb_pcapng_next(&rest, &block), TB_OK);
    assert_int_equal(block.type, TB_PCAPNG_IDB);
    assert_int_equal(rest.len, 0);
    tb_buf_release(&a);
    tb_buf_release(&out);
}

static void
what_is_no_section_is_refused_and_the_input_is_dry(void **state)
{
    struct tb_merge *merge = *state;
    struct tb_buf a = TB_BUF_INIT(ROOM), b = TB_BUF_INIT(ROOM);

    put_packet(&a, 0, 10, "a packet without a section");
    put_section(&b, "cap-1");
    put_interface(&b, "eni-1");
    put_packet(&b, 0, 10, "a");
    put_packet(&b, 1, 20, "of an interface that is not there");
    assert_int_equal(tb_merge_feed(merge, 0, tb_buf_view(&a), NULL), TB_EFORMAT);
    assert_true(tb_merge_is_dry(merge, 0));
    assert_int_equal(tb_merge_feed(merge, 1, tb_buf_view(&b), NULL), TB_OK);
    assert_int_equal(tb_merge_feed(merge, 1, tb_buf_view(&b), NULL), TB_EINVAL);
    assert_int_equal(tb_merge_pass(merge, NULL), TB_EFORMAT);
    assert_true(tb_merge_is_dry(merge, 1));
    for (size_t len = 1; len < b.len; len++) { /* every cut leaves it dry in the end */
        enum tb_err err = tb_merge_feed(merge, 2, tb_bytes_of(b.at, len), NULL);

        while (err == TB_OK && !tb_merge_is_dry(merge, 2)) {
            err = tb_merge_pass(merge, NULL);
        }
        assert_true(tb_merge_is_dry(merge, 2));
    }
    assert_int_equal(tb_merge_feed(merge, TB_MERGE_MAX_INPUTS, tb_buf_view(&b), NULL),
                     TB_EINVAL);
    tb_buf_release(&a);
    tb_buf_release(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_lanes_become_one_section_in_the_order_of_time,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_later_section_may_number_its_interfaces_anew, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_header_can_go_ahead_of_the_first_packet, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_note_is_one_more_comment_of_the_section, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_no_section_is_refused_and_the_input_is_dry,
                                        setup, teardown),
    };

    return cmocka_run_group_tests_name("merge", tests, NULL, NULL);
}
