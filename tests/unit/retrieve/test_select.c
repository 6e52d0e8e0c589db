/* Which packets are wanted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <tapbox/retrieve.h>

/* 10.0.0.1:1000 -> 10.0.0.2:53 over UDP, behind a tag */
static const uint8_t dns[] = {
    2,    0,    0, 0,  0, 2, 2, 0, 0,  0,  0, 1, 0x81, 0, 0, 7, 8,  0,       /* Ethernet */
    0x45, 0,    0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10,   0, 0, 1, 10, 0, 0, 2, /* IPv4 */
    0x03, 0xe8, 0, 53, 0, 8, 0, 0};

static bool
takes(const struct tb_select *select)
{
    return tb_select_takes(select, 1000, tb_bytes_of(dns, sizeof(dns)));
}

static void
what_is_no_filter_is_refused_with_how_to_write_it(void **state)
{
    static const char *const flows[] = {"",
                                        "10.0.0.1:1",
                                        "10.0.0.1:1-",
                                        "10.0.0.1-10.0.0.2",
                                        "10.0.0.1:1-10.0.0.2:65536",
                                        "10.0.0.1:1-10.0.0.2:x",
                                        "2001:db8::1:1-2001:db8::2:2",
                                        "[2001:db8::1:1-[2001:db8::2]:2",
                                        "host.example:1-10.0.0.2:2"};
    struct tb_select select;
    struct tb_fail fail;

    (void)state;
    tb_select_init(&select);
    for (size_t i = 0; i < sizeof(flows) / sizeof(flows[0]); i++) {
        assert_int_equal(tb_select_flow(&select, flows[i], &fail), TB_EINVAL);
        assert_non_null(strstr(fail.text, "10.0.0.1:443-10.0.0.2:50000"));
    }
    assert_int_equal(tb_select_host(&select, "10.0.0", &fail), TB_EINVAL);
    assert_int_equal(tb_select_host(&select, "10.0.0.0/8", &fail), TB_EINVAL);
    assert_int_equal(tb_select_port(&select, "0", &fail), TB_EINVAL);
    assert_int_equal(tb_select_port(&select, "-1", &fail), TB_EINVAL);
    assert_int_equal(tb_select_protocol(&select, "256", &fail), TB_EINVAL);
    assert_int_equal(tb_select_protocol(&select, "TCP", &fail), TB_EINVAL);
    assert_true(takes(&select)); /* nothing of it stayed */
}

static void
of_each_kind_one_has_to_fit(void **state)
{
    struct tb_select select;

    (void)state;
    tb_select_init(&select);
    assert_int_equal(tb_select_host(&select, "10.0.0.9", NULL), TB_OK);
    assert_false(takes(&select));
    assert_int_equal(tb_select_host(&select, "10.0.0.2", NULL), TB_OK);
    assert_true(takes(&select));
    assert_int_equal(tb_select_protocol(&select, "tcp", NULL), TB_OK);
    assert_false(takes(&select));
    assert_int_equal(tb_select_protocol(&select, "17", NULL), TB_OK);
    assert_true(takes(&select));
    assert_int_equal(tb_select_port(&select, "1000", NULL), TB_OK);
    assert_true(takes(&select));
    assert_int_equal(tb_select_flow(&select, "10.0.0.2:1000-10.0.0.1:53", NULL), TB_OK);
    assert_false(takes(&select));
    assert_int_equal(tb_select_flow(&select, "10.0.0.2:53-10.0.0.1:1000", NULL), TB_OK);
    assert_true(takes(&select));
}

static void
time_begins_with_since_and_ends_before_until(void **state)
{
    struct tb_select select;

    (void)state;
    tb_select_init(&select);
    select.since_utc_ns = 1000;
    select.until_utc_ns = 1001;
    assert_true(takes(&select));
    select.since_utc_ns = 1001;
    assert_false(takes(&select));
    select.since_utc_ns = 0;
    select.until_utc_ns = 1000;
    assert_false(takes(&select));
}

static void
so_many_of_a_kind_and_no_more(void **state)
{
    struct tb_select select;

    (void)state;
    tb_select_init(&select);
    for (int i = 0; i < TB_SELECT_MAX; i++) {
        assert_int_equal(tb_select_port(&select, "443", NULL), TB_OK);
    }
    assert_int_equal(tb_select_port(&select, "443", NULL), TB_EFULL);
}

static void
a_frame_cut_short_fits_no_address(void **state)
{
    struct tb_select select;

    (void)state;
    tb_select_init(&select);
    assert_int_equal(tb_select_host(&select, "10.0.0.1", NULL), TB_OK);
    for (size_t len = 0; len < 38; len++) {
        assert_false(tb_select_takes(&select, 1000, tb_bytes_of(dns, len)));
    }
    assert_true(tb_select_takes(&select, 1000, tb_bytes_of(dns, 38)));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_filter_is_refused_with_how_to_write_it),
        cmocka_unit_test(of_each_kind_one_has_to_fit),
        cmocka_unit_test(time_begins_with_since_and_ends_before_until),
        cmocka_unit_test(so_many_of_a_kind_and_no_more),
        cmocka_unit_test(a_frame_cut_short_fits_no_address),
    };

    return cmocka_run_group_tests_name("select", tests, NULL, NULL);
}
