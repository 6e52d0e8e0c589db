/* The VXLAN header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <tapbox/vxlan.h>

enum {
    WHOLE = 22
};

static void
fill(uint8_t at[WHOLE], uint8_t flags, uint8_t next)
{
    for (size_t i = 0; i < WHOLE; i++) {
        at[i] = 0;
    }
    at[0] = flags;
    at[3] = next;
    at[4] = 0x54;
    at[5] = 0xfa;
    at[6] = 0x11;
}

static void
the_vni_and_the_frame_come_out_without_a_copy(void **state)
{
    uint8_t at[WHOLE];
    struct tb_vxlan out;

    (void)state;
    fill(at, 0x08, 0);
    assert_int_equal(tb_vxlan_decap(tb_bytes_of(at, sizeof(at)), &out), TB_OK);
    assert_int_equal(out.vni, 0x54fa11);
    assert_ptr_equal(out.inner.at, at + 8);
    assert_int_equal(out.inner.len, 14);
}

static void
every_shorter_length_is_refused_and_leaves_out_alone(void **state)
{
    uint8_t at[WHOLE];
    struct tb_vxlan out = {.vni = 7, .inner = {at, 3}};

    (void)state;
    fill(at, 0x08, 0);
    for (size_t len = 0; len < WHOLE; len++) {
        assert_int_equal(tb_vxlan_decap(tb_bytes_of(at, len), &out), TB_ESHORT);
        assert_int_equal(out.vni, 7);
        assert_int_equal(out.inner.len, 3);
    }
}

static void
flags_decide_as_in_the_table(void **state)
{
    static const struct {
        uint8_t flags, octet1, next;
        enum tb_err err;
    } cases[] = {
        {0x08, 0, 0, TB_OK},      /* plain, as AWS sends it */
        {0x00, 0, 0, TB_EFORMAT}, /* no VNI */
        {0xf7, 0, 3, TB_EFORMAT}, /* everything but the VNI */
        {0x88, 0, 0, TB_OK},      /* with a group policy */
        {0x0c, 0, 3, TB_OK},      /* VXLAN-GPE: Ethernet */
        {0x0c, 0, 4, TB_EFORMAT}, /* VXLAN-GPE: NSH */
        {0x0c, 0, 1, TB_EFORMAT}, /* VXLAN-GPE: IPv4 */
        {0xff, 1, 0xf2, TB_OK},   /* reserved bits set: to be ignored */
        {0x0c, 0, 0, TB_OK},      /* one of them alone: VXLAN-GPE has no protocol 0 */
        {0x3c, 0, 1, TB_OK},      /* not version 0 of VXLAN-GPE, so not VXLAN-GPE */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t at[WHOLE];
        struct tb_vxlan out;

        fill(at, cases[i].flags, cases[i].next);
        at[1] = cases[i].octet1;
        assert_int_equal(tb_vxlan_decap(tb_bytes_of(at, sizeof(at)), &out), cases[i].err);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vni_and_the_frame_come_out_without_a_copy),
        cmocka_unit_test(every_shorter_length_is_refused_and_leaves_out_alone),
        cmocka_unit_test(flags_decide_as_in_the_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
