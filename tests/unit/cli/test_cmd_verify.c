/* What `tapbox verify` says of a whole bucket by its exit status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include <tapbox/io.h>

#include "../../../src/cli/cli_int.h"
#include "../../support/evidence.h"

static void
save_key(const struct test_evidence *t, const char *path)
{
    struct tb_buf pem = TB_BUF_INIT(4096);

    assert_int_equal(tb_public_key_pem(tb_signing_key_public(t->key), &pem, NULL), TB_OK);
    assert_int_equal(tb_write_file_whole(AT_FDCWD, path, tb_buf_view(&pem), 0600, NULL), TB_OK);
    tb_buf_release(&pem);
}

static int
verify(const struct test_evidence *t, const char *first, const char *second)
{
    char *argv[] = {strdup("verify"), strdup(t->dir),  strdup("--whole"), strdup("--key"),
                    strdup(first),    strdup("--key"), strdup(second),    NULL};
    int status;

    optind = 0;
    status = tb_cmd_verify(7, argv);
    for (size_t i = 0; i < 7; i++) {
        free(argv[i]);
    }
    return status;
}

static void
the_only_capture_of_a_key_is_missed_too(void **state)
{
    struct test_evidence t;
    char one[TB_CAPTURE_ID_SIZE], two[TB_CAPTURE_ID_SIZE], folder[160];
    char first[] = "/tmp/tapbox-key-XXXXXX", second[] = "/tmp/tapbox-key-XXXXXX";
    int fd = mkstemp(first), other_fd = mkstemp(second);

    (void)state;
    test_evidence_open(&t);
    save_key(&t, first);
    test_evidence_capture(&t, 1, 1, 1, one);
    assert_int_equal(test_evidence_seal(&t, one, 0, NULL), TB_OK);
    tb_signing_key_free(t.key); /* from here on another one signs */
    t.key = NULL;
    assert_int_equal(tb_signing_key_new(&t.key, NULL), TB_OK);
    assert_int_equal(tb_store_key_use(t.store, tb_signing_key_public(t.key), NULL), TB_OK);
    save_key(&t, second);
    test_evidence_capture(&t, 2, 1, 1, two);
    assert_int_equal(test_evidence_seal(&t, two, 0, NULL), TB_OK);
    assert_int_equal(verify(&t, first, second), TB_EXIT_OK);

    test_evidence_folder(&t, one, folder, sizeof(folder));
    test_remove_tree(folder);
    assert_int_equal(verify(&t, first, second), TB_EXIT_EVIDENCE);
    test_evidence_close(&t);
    tb_close(&fd);
    tb_close(&other_fd);
    (void)remove(first);
    (void)remove(second);
}

/* Each host that ever recorded leaves one. */
static void
many_keys_beside_the_evidence_hide_none(void **state)
{
    struct test_evidence t;
    char id[TB_CAPTURE_ID_SIZE], path[160];
    char *argv[] = {strdup("verify"), NULL, NULL};

    (void)state;
    test_evidence_open(&t);
    test_evidence_capture(&t, 1, 1, 1, id);
    assert_int_equal(test_evidence_seal(&t, id, 0, NULL), TB_OK);
    (void)snprintf(path, sizeof(path), "%s/keys", t.dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/keys/z.pem", t.dir);
    save_key(&t, path);
    for (int i = 0; i < 200; i++) {
        struct test_evidence other = {.key = NULL};

        assert_int_equal(tb_signing_key_new(&other.key, NULL), TB_OK);
        (void)snprintf(path, sizeof(path), "%s/keys/%03d.pem", t.dir, i);
        save_key(&other, path);
        tb_signing_key_free(other.key);
    }
    argv[1] = strdup(t.dir);
    optind = 0;
    assert_int_equal(tb_cmd_verify(2, argv), TB_EXIT_UNPROVEN);
    free(argv[0]);
    free(argv[1]);
    test_evidence_close(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_only_capture_of_a_key_is_missed_too),
        cmocka_unit_test(many_keys_beside_the_evidence_hide_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
