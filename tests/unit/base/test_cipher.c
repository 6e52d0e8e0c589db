/* AES-128: the answers for a key of zeros are in the specification of GCM (its first two
 * cases). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <tapbox/cipher.h>

static const uint8_t zeros[TB_AES_BLOCK_SIZE];
static const uint8_t sealed_zeros[] = {0x03, 0x88, 0xda, 0xce, 0x60, 0xb6, 0xa3, 0x92,
                                       0xf3, 0x28, 0xc2, 0xb9, 0x71, 0xb2, 0xfe, 0x78,
                                       0xab, 0x6e, 0x47, 0xd4, 0x2c, 0xec, 0x13, 0xbd,
                                       0xf5, 0x3a, 0x67, 0xb2, 0x12, 0x57, 0xbd, 0xdf};
static const uint8_t tag_of_nothing[] = {0x58, 0xe2, 0xfc, 0xce, 0xfa, 0x7e, 0x30, 0x61,
                                         0x36, 0x7f, 0x1d, 0x57, 0xa4, 0xe7, 0x45, 0x5a};

static void
a_block_of_zeros_is_what_the_standard_says(void **state)
{
    static const uint8_t expected[] = {0x66, 0xe9, 0x4b, 0xd4, 0xef, 0x8a, 0x2c, 0x3b,
                                       0x88, 0x4c, 0xfa, 0x59, 0xca, 0x34, 0x2b, 0x2e};
    uint8_t out[TB_AES_BLOCK_SIZE];

    (void)state;
    assert_int_equal(tb_aes128_block(zeros, zeros, out), TB_OK);
    assert_memory_equal(out, expected, sizeof(expected));
}

static void
what_was_sealed_is_opened(void **state)
{
    uint8_t out[TB_AES_BLOCK_SIZE] = {1};

    (void)state;
    assert_int_equal(tb_aes128_gcm_open(zeros, zeros, tb_bytes_of("", 0),
                                        tb_bytes_of(sealed_zeros, sizeof(sealed_zeros)), out),
                     TB_OK);
    assert_memory_equal(out, zeros, sizeof(zeros));
    assert_int_equal(tb_aes128_gcm_open(zeros, zeros, tb_bytes_of("", 0),
                                        tb_bytes_of(tag_of_nothing, sizeof(tag_of_nothing)),
                                        out),
                     TB_OK);
}

static void
no_bit_may_differ(void **state)
{
    uint8_t out[TB_AES_BLOCK_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(sealed_zeros); i++) {
        uint8_t other[sizeof(sealed_zeros)];

        memcpy(other, sealed_zeros, sizeof(other));
        other[i] ^= 0x10;
        assert_int_equal(tb_aes128_gcm_open(zeros, zeros, tb_bytes_of("", 0),
                                            tb_bytes_of(other, sizeof(other)), out),
                         TB_EFORMAT);
    }
    assert_int_equal(tb_aes128_gcm_open(zeros, zeros, tb_bytes_of("x", 1),
                                        tb_bytes_of(sealed_zeros, sizeof(sealed_zeros)), out),
                     TB_EFORMAT);
    for (size_t len = 0; len < TB_GCM_TAG_SIZE; len++) {
        assert_int_equal(tb_aes128_gcm_open(zeros, zeros, tb_bytes_of("", 0),
                                            tb_bytes_of(tag_of_nothing, len), out),
                         TB_ESHORT);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_of_zeros_is_what_the_standard_says),
        cmocka_unit_test(what_was_sealed_is_opened),
        cmocka_unit_test(no_bit_may_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
