/* What `tapbox verify` says of a whole bucket, and by its exit status. */
#include <errno.h>
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
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/io.h>
#include <tapbox/json.h>

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

/* The status of `tapbox verify`, and what it prints. */
static int
verify_printing(int argc, const char *const *args, struct tb_buf *out)
{
    char printed[] = "/tmp/tapbox-printed-XXXXXX";
    char *argv[8] = {NULL};
    int fd = mkstemp(printed), kept = dup(STDOUT_FILENO), status;

    assert_true(argc < 8);
    for (int i = 0; i < argc; i++) {
        argv[i] = strdup(args[i]);
    }
    (void)fflush(stdout);
    assert_true(kept >= 0 && dup2(fd, STDOUT_FILENO) >= 0);
    optind = 0;
    status = tb_cmd_verify(argc, argv);
    (void)fflush(stdout);
    assert_true(dup2(kept, STDOUT_FILENO) >= 0);
    assert_int_equal(tb_read_file(AT_FDCWD, printed, out, NULL), TB_OK);
    (void)remove(printed);
    tb_close(&fd);
    tb_close(&kept);
    for (int i = 0; i < argc; i++) {
        free(argv[i]);
    }
    return status;
}

/* What `tapbox verify --json` prints; its status in *out_status. */
static struct tb_json *
verify_json(const struct test_evidence *t, const char *key, int *out_status)
{
    const char *const args[] = {"verify", t->dir, "--json", "--key", key};
    struct tb_buf text = TB_BUF_INIT(1 << 20);
    struct tb_json *root = NULL;

    *out_status = verify_printing(5, args, &text);
    assert_int_equal(tb_json_parse(tb_buf_view(&text), &root, NULL), TB_OK);
    tb_buf_release(&text);
    return root;
}

/* Each host that ever recorded leaves one. */
static void
many_keys_beside_the_evidence_hide_none_and_only_the_one_that_signed_is_asked_for(void **state)
{
    struct test_evidence t;
    char id[TB_CAPTURE_ID_SIZE], path[160];
    const char *const args[] = {"verify", t.dir};
    struct tb_buf text = TB_BUF_INIT(1 << 16);
    const char *asked;

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
    assert_int_equal(verify_printing(2, args, &text), TB_EXIT_UNPROVEN);
    asked = strstr(tb_buf_str(&text), "--fingerprint:\n"); /* for the one that signed */
    assert_non_null(asked);
    asked += strlen("--fingerprint:\n  ");
    assert_memory_equal(asked, tb_signing_key_fingerprint(t.key), TB_SHA256_HEX_SIZE - 1);
    assert_string_equal(asked + TB_SHA256_HEX_SIZE - 1, "\n");
    tb_buf_release(&text);
    test_evidence_close(&t);
}

/* With `content` as keys/<file>: `kind` and `text` of the one finding, which is of no capture
 * and makes status 7; kind NULL: all of it holds. */
static void
assert_key_gives(const struct test_evidence *t, const char *trusted, const char *file,
                 struct tb_bytes content, const char *kind, const char *text)
{
    char path[200];
    struct tb_json *root;
    bool holds;
    int status;

    assert_true(snprintf(path, sizeof(path), "%s/keys/%s", t->dir, file) < (int)sizeof(path));
    assert_int_equal(tb_write_file_whole(AT_FDCWD, path, content, 0600, NULL), TB_OK);
    root = verify_json(t, trusted, &status);
    assert_int_equal(status, kind != NULL ? TB_EXIT_EVIDENCE : TB_EXIT_OK);
    assert_int_equal(tb_json_count(tb_json_at(root, "/findings")), kind != NULL ? 1 : 0);
    assert_string_equal(tb_json_str(root, "/verdict"), kind != NULL ? "broken" : "proven");
    assert_true(tb_json_bool(root, "/captures/0/holds", &holds) && holds);
    if (kind != NULL) {
        assert_null(tb_json_str(root, "/findings/0/capture"));
        assert_string_equal(tb_json_str(root, "/findings/0/file"), path + strlen(t->dir) + 1);
        assert_string_equal(tb_json_str(root, "/findings/0/kind"), kind);
        assert_string_equal(tb_json_str(root, "/findings/0/text"), text);
    }
    tb_json_free(root);
    assert_int_equal(remove(path), 0);
}

static void
a_key_beside_the_evidence_is_the_one_that_its_name_says(void **state)
{
    static const char damaged[] = "it is not a public key";
    struct test_evidence t;
    struct tb_signing_key *other = NULL;
    struct tb_buf pem = TB_BUF_INIT(8192), wrong = TB_BUF_INIT(8192);
    char id[TB_CAPTURE_ID_SIZE], trusted[] = "/tmp/tapbox-key-XXXXXX", name[80], path[200];
    int fd = mkstemp(trusted), status;
    struct tb_json *root;

    (void)state;
    test_evidence_open(&t);
    save_key(&t, trusted);
    test_evidence_capture(&t, 1, 1, 1, id);
    assert_int_equal(test_evidence_seal(&t, id, 0, NULL), TB_OK);
    (void)snprintf(path, sizeof(path), "%s/keys", t.dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(name, sizeof(name), "%s.pem", tb_signing_key_fingerprint(t.key));
    assert_int_equal(tb_public_key_pem(tb_signing_key_public(t.key), &pem, NULL), TB_OK);

    assert_key_gives(&t, trusted, name, tb_buf_view(&pem), NULL, NULL);
    pem.at[40] ^= 0x80;
    assert_key_gives(&t, trusted, name, tb_buf_view(&pem), "key", damaged);
    pem.at[40] ^= 0x80;
    assert_key_gives(&t, trusted, name, tb_bytes_str(""), "key", damaged);

    assert_int_equal(tb_signing_key_new(&other, NULL), TB_OK);
    assert_int_equal(tb_public_key_pem(tb_signing_key_public(other), &wrong, NULL), TB_OK);
    assert_key_gives(&t, trusted, name, tb_buf_view(&wrong), "key",
                     "it is another key than its name says");
    assert_key_gives(&t, trusted, "ours.pem", tb_buf_view(&wrong), NULL,
                     NULL); /* says nothing */

    tb_buf_put(&pem, "\n", 1);
    assert_key_gives(&t, trusted, name, tb_buf_view(&pem), "key",
                     "it is that key, but not as tapbox wrote it");
    while (pem.len < 4097) {
        tb_buf_put(&pem, "\n", 1);
    }
    assert_key_gives(&t, trusted, name, tb_buf_view(&pem), "key",
                     "it is larger than a key can be");

    (void)snprintf(path, sizeof(path), "%s/keys/%s", t.dir, name);
    assert_int_equal(symlink(trusted, path), 0);
    root = verify_json(&t, trusted, &status);
    assert_int_equal(status, TB_EXIT_EVIDENCE);
    assert_string_equal(tb_json_str(root, "/findings/0/text"), "it is not a plain file");
    tb_json_free(root);

    tb_buf_release(&pem);
    tb_buf_release(&wrong);
    tb_signing_key_free(other);
    test_evidence_close(&t);
    tb_close(&fd);
    (void)remove(trusted);
}

static void
put_empty(const struct test_evidence *t, const char *folder, const char *name)
{
    char path[200];

    (void)snprintf(path, sizeof(path), "%s/%s", t->dir, folder);
    assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
    (void)snprintf(path, sizeof(path), "%s/%s/%s", t->dir, folder, name);
    assert_int_equal(tb_write_file_whole(AT_FDCWD, path, tb_bytes_str(""), 0600, NULL), TB_OK);
}

static void
what_lies_beside_the_captures_is_named_and_no_fault(void **state)
{
    struct test_evidence t;
    char id[TB_CAPTURE_ID_SIZE], trusted[] = "/tmp/tapbox-key-XXXXXX", path[200];
    int fd = mkstemp(trusted), status;
    const struct tb_json *strangers;
    struct tb_buf names = TB_BUF_INIT(1 << 16);
    struct tb_json *root;

    (void)state;
    test_evidence_open(&t);
    save_key(&t, trusted);
    test_evidence_capture(&t, 1, 1, 1, id);
    assert_int_equal(test_evidence_seal(&t, id, 0, NULL), TB_OK);
    test_evidence_flush_host(&t);
    put_empty(&t, "keys", "ours.pem");
    put_empty(&t, "notes", "host-0-000001.pcapng.zst");
    put_empty(&t, "notes", "flow.pcapng");
    put_empty(&t, "flow.pcapng.proof", "manifest.json"); /* of an extract that is not here */
    put_empty(&t, "flow.pcapng.proof", "filter");
    put_empty(&t, "notes/flow.pcapng.proof", "manifest.json");
    put_empty(&t, "notes/flow.pcapng.proof", "filter");
    (void)snprintf(path, sizeof(path), "%s/more", t.dir);
    assert_int_equal(symlink("/tmp", path), 0);
    root = verify_json(&t, trusted, &status);
    assert_int_equal(status, TB_EXIT_OK);
    strangers = tb_json_at(root, "/strangers");
    for (size_t i = 0; i < tb_json_count(strangers); i++) {
        const char *name = tb_json_str(tb_json_item(strangers, i), "");

        if (strncmp(name, "tapbox.db", 9) != 0) { /* the test's own */
            tb_buf_printf(&names, "%s ", name);
        }
    }
    assert_string_equal(tb_buf_str(&names), "more notes/host-0-000001.pcapng.zst ");
    tb_json_free(root);
    tb_buf_release(&names);
    test_evidence_close(&t);
    tb_close(&fd);
    (void)remove(trusted);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_only_capture_of_a_key_is_missed_too),
        cmocka_unit_test(
            many_keys_beside_the_evidence_hide_none_and_only_the_one_that_signed_is_asked_for),
        cmocka_unit_test(a_key_beside_the_evidence_is_the_one_that_its_name_says),
        cmocka_unit_test(what_lies_beside_the_captures_is_named_and_no_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
