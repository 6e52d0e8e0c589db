#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tapbox/digest.h>
#include <tapbox/ids.h>
#include <tapbox/io.h>
#include <tapbox/secret.h>

static int
make_folder(void **state)
{
    char *path = strdup("/tmp/tapbox-io-XXXXXX");

    assert_non_null(path);
    assert_non_null(mkdtemp(path));
    *state = path;
    return 0;
}

static int
remove_folder(void **state)
{
    char *path = *state;
    char file[256];

    (void)snprintf(file, sizeof(file), "%s/a", path);
    (void)unlink(file);
    assert_int_equal(rmdir(path), 0); /* nothing else was left behind */
    free(path);
    return 0;
}

static void
a_file_appears_whole_and_is_read_back(void **state)
{
    const char *path = *state;
    struct tb_buf out = TB_BUF_INIT(100);
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY);

    assert_true(fd >= 0);
    assert_int_equal(tb_write_file_whole(fd, "a", tb_bytes_str("one"), 0600, NULL), TB_OK);
    assert_int_equal(tb_write_file_whole(fd, "a", tb_bytes_str("two!"), 0600, NULL), TB_OK);
    assert_int_equal(tb_read_file(fd, "a", &out, NULL), TB_OK);
    assert_string_equal(tb_buf_str(&out), "two!");
    assert_int_equal(fstatat(fd, "a", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    tb_buf_release(&out);
    tb_close(&fd);
    assert_int_equal(fd, -1);
}

static void
a_file_over_the_ceiling_or_not_there_is_named(void **state)
{
    const char *path = *state;
    struct tb_buf out = TB_BUF_INIT(3);
    struct tb_fail fail;
    int fd = open(path, O_RDONLY | O_DIRECTORY);

    assert_int_equal(tb_read_file(fd, "a", &out, &fail), TB_ENOTFOUND);
    assert_string_equal(fail.text, "cannot open a: No such file or directory");
    assert_int_equal(tb_write_file_whole(fd, "a", tb_bytes_str("four"), 0600, NULL), TB_OK);
    assert_int_equal(tb_read_file(fd, "a", &out, &fail), TB_ETOOBIG);
    assert_int_equal(tb_write_file_whole(fd, "no/such", tb_bytes_str(""), 0600, &fail),
                     TB_ENOTFOUND);
    tb_buf_release(&out);
    tb_close(&fd);
}

static void
hashes_are_those_of_the_standard(void **state)
{
    const char *path = *state;
    struct tb_sha256 digest;
    struct tb_sha256 again;
    struct tb_hasher *hasher = NULL;
    char hex[TB_SHA256_HEX_SIZE];
    uint64_t bytes = 0;
    int dir = open(path, O_RDONLY | O_DIRECTORY);
    int fd;

    assert_int_equal(tb_sha256(tb_bytes_str("abc"), &digest), TB_OK);
    tb_sha256_hex(hex, &digest);
    assert_string_equal(hex,
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(tb_hasher_new(&hasher), TB_OK);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(tb_hasher_add(hasher, tb_bytes_str("a")), TB_OK);
        assert_int_equal(tb_hasher_add(hasher, tb_bytes_str("bc")), TB_OK);
        assert_int_equal(tb_hasher_finish(hasher, &again), TB_OK);
        assert_memory_equal(&again, &digest, sizeof(digest));
    }
    tb_hasher_free(hasher);
    assert_int_equal(tb_write_file_whole(dir, "a", tb_bytes_str("abc"), 0600, NULL), TB_OK);
    fd = openat(dir, "a", O_RDONLY);
    assert_int_equal(tb_sha256_fd(fd, &again, &bytes, NULL), TB_OK);
    assert_int_equal(bytes, 3);
    assert_memory_equal(&again, &digest, sizeof(digest));
    /* RFC 4231, test case 2 */
    assert_int_equal(tb_hmac_sha256(tb_bytes_str("Jefe"),
                                    tb_bytes_str("what do ya want for nothing?"), &digest),
                     TB_OK);
    tb_sha256_hex(hex, &digest);
    assert_string_equal(hex,
                        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    tb_close(&fd);
    tb_close(&dir);
}

static void
ids_have_their_shape_and_differ(void **state)
{
    char a[TB_CAPTURE_ID_SIZE];
    char b[TB_CAPTURE_ID_SIZE];
    char uuid[37];

    (void)state;
    assert_int_equal(tb_capture_id_new(a, 1767323045), TB_OK);
    assert_int_equal(tb_capture_id_new(b, 1767323045), TB_OK);
    assert_true(tb_capture_id_valid(a));
    assert_memory_equal(a, "cap-20260102T030405Z-", 21);
    assert_string_not_equal(a, b);
    assert_int_equal(tb_uuid_new(uuid), TB_OK);
    assert_int_equal(strlen(uuid), 36);
    assert_int_equal(uuid[14], '4');
    assert_false(tb_capture_id_valid("cap-20260102T030405Z-1a2b3c4"));
    assert_false(tb_capture_id_valid("cap-20260102T030405Z-1a2b3c4/"));
    assert_false(tb_capture_id_valid("../0260102T030405Z-1a2b3c4d00"));
    assert_true(tb_aws_id_valid("i-0123456789abcdef0", "i-"));
    assert_true(tb_aws_id_valid("eni-bfcffe88", "eni-"));
    assert_false(tb_aws_id_valid("eni-BFCFFE88", "eni-"));
    assert_false(tb_aws_id_valid("eni-bfcffe8", "eni-"));
    assert_false(tb_aws_id_valid("i-0123456789abcdef0", "eni-"));
    assert_true(tb_account_valid("123456789012"));
    assert_false(tb_account_valid("12345678901x"));
}

static void
a_secret_is_copied_replaced_and_wiped(void **state)
{
    struct tb_secret secret = TB_SECRET_INIT;

    (void)state;
    assert_int_equal(tb_secret_set(&secret, tb_bytes_str("one")), TB_OK);
    assert_int_equal(tb_secret_set(&secret, tb_bytes_str("other")), TB_OK);
    assert_true(tb_equal_secret(tb_secret_view(&secret), tb_bytes_str("other")));
    assert_false(tb_equal_secret(tb_secret_view(&secret), tb_bytes_str("othex")));
    assert_false(tb_equal_secret(tb_secret_view(&secret), tb_bytes_str("othe")));
    tb_secret_release(&secret);
    assert_null(secret.text);
    tb_secret_release(&secret);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_appears_whole_and_is_read_back, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_file_over_the_ceiling_or_not_there_is_named,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(hashes_are_those_of_the_standard, make_folder,
                                        remove_folder),
        cmocka_unit_test(ids_have_their_shape_and_differ),
        cmocka_unit_test(a_secret_is_copied_replaced_and_wiped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
