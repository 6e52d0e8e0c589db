#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/evidence.h>

#include "../../support/segments.h"

enum {
    MOST = 70
};

/* The definition of RFC 6962, section 2.1, word for word: split at the largest power of two. */
static struct tb_sha256
by_definition(const struct tb_sha256 *leaves, size_t count)
{
    struct tb_sha256 out, left, right;
    uint8_t text[1 + 2 * TB_SHA256_SIZE];
    size_t half = 1;

    if (count == 1) {
        text[0] = 0;
        memcpy(text + 1, leaves[0].octets, TB_SHA256_SIZE);
        assert_int_equal(tb_sha256(tb_bytes_of(text, 1 + TB_SHA256_SIZE), &out), TB_OK);
        return out;
    }
    while (half * 2 < count) {
        half *= 2;
    }
    left = by_definition(leaves, half);
    right = by_definition(leaves + half, count - half);
    text[0] = 1;
    memcpy(text + 1, left.octets, TB_SHA256_SIZE);
    memcpy(text + 1 + TB_SHA256_SIZE, right.octets, TB_SHA256_SIZE);
    assert_int_equal(tb_sha256(tb_bytes_of(text, sizeof(text)), &out), TB_OK);
    return out;
}

static void
the_root_is_that_of_the_definition_for_every_number_of_leaves(void **state)
{
    struct tb_sha256 leaves[MOST], root, expected;
    struct tb_merkle tree;

    (void)state;
    tb_merkle_begin(&tree);
    for (size_t i = 0; i < MOST; i++) {
        uint8_t octet = (uint8_t)i;

        assert_int_equal(tb_sha256(tb_bytes_of(&octet, 1), &leaves[i]), TB_OK);
        assert_int_equal(tb_merkle_add(&tree, &leaves[i]), TB_OK);
        assert_int_equal(tb_merkle_root(&tree, &root), TB_OK);
        expected = by_definition(leaves, i + 1);
        assert_memory_equal(&root, &expected, sizeof(root));
    }
}

/* The published vectors have leaves that are no digests: these values were
 * computed with sha256sum and xxd, as runbooks/verify-evidence.md does it. */
static void
no_leaves_hash_as_nothing_and_one_leaf_is_not_its_own_root(void **state)
{
    struct tb_sha256 digest, root;
    struct tb_merkle tree;
    char hex[TB_SHA256_HEX_SIZE];

    (void)state;
    tb_merkle_begin(&tree);
    assert_int_equal(tb_merkle_root(&tree, &root), TB_OK);
    tb_sha256_hex(hex, &root);
    assert_string_equal(hex,
                        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_int_equal(tb_sha256(tb_bytes_str("chunk"), &digest), TB_OK);
    assert_int_equal(tb_merkle_add(&tree, &digest), TB_OK);
    assert_int_equal(tb_merkle_root(&tree, &root), TB_OK);
    assert_memory_not_equal(&root, &digest, sizeof(root));
    tb_sha256_hex(hex, &root);
    assert_string_equal(hex,
                        "db1022c49291fd44380a096075bf9a1ba08fad11b241a6596df0c33432f3c596");
}

static void
a_segment_s_root_is_over_the_digests_in_its_index(void **state)
{
    struct test_segment made;
    struct tb_segment_reader *reader = NULL;
    struct tb_sha256 leaves[5], root, expected;
    int fd;

    (void)state;
    test_segment_make(&made, 7, 5, 20, 300);
    fd = test_file_of(tb_buf_view(&made.file));
    assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
    for (size_t i = 0; i < 5; i++) {
        const struct tb_segment_chunk *chunk = tb_segment_reader_chunk(reader, i);

        assert_int_equal(
            tb_sha256(tb_bytes_of(made.file.at + chunk->offset, chunk->length), &leaves[i]),
            TB_OK);
    }
    assert_int_equal(tb_segment_merkle_root(reader, &root, NULL), TB_OK);
    expected = by_definition(leaves, 5);
    assert_memory_equal(&root, &expected, sizeof(root));
    tb_segment_reader_free(reader);
    (void)close(fd);
    test_segment_release(&made);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_root_is_that_of_the_definition_for_every_number_of_leaves),
        cmocka_unit_test(no_leaves_hash_as_nothing_and_one_leaf_is_not_its_own_root),
        cmocka_unit_test(a_segment_s_root_is_over_the_digests_in_its_index),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
