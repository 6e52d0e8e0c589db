#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/pubkey.h>

/* RFC 8032, section 7.1, TEST 2: the private key in the PKCS#8 form of RFC 8410. */
static const char rfc_private[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n"
    "-----END PRIVATE KEY-----\n";
static const char rfc_public_hex[] =
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
static const char rfc_signature_hex[] =
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

struct place {
    char dir[64];
    char path[96], public_path[104];
};

static int
set_up(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    assert_non_null(p);
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/tapbox-key-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(p->path, sizeof(p->path), "%s/evidence.key", p->dir);
    (void)snprintf(p->public_path, sizeof(p->public_path), "%s.pub", p->path);
    *state = p;
    return 0;
}

static int
tear_down(void **state)
{
    struct place *p = *state;

    (void)unlink(p->path);
    (void)unlink(p->public_path);
    assert_int_equal(rmdir(p->dir), 0); /* nothing else was left there */
    free(p);
    return 0;
}

static void
signatures_are_those_of_the_standard(void **state)
{
    static const uint8_t message[] = {0x72};
    struct tb_signing_key *key = NULL;
    struct tb_signature signature;
    uint8_t expected[TB_SIGNATURE_SIZE], public_key[TB_PUBLIC_KEY_SIZE];

    (void)state;
    assert_int_equal(tb_signing_key_parse(tb_bytes_str(rfc_private), &key, NULL), TB_OK);
    assert_int_equal(tb_unhex(public_key, sizeof(public_key), rfc_public_hex), TB_OK);
    assert_memory_equal(tb_signing_key_public(key)->octets, public_key, sizeof(public_key));
    assert_int_equal(tb_sign(key, tb_bytes_of(message, sizeof(message)), &signature, NULL),
                     TB_OK);
    assert_int_equal(tb_unhex(expected, sizeof(expected), rfc_signature_hex), TB_OK);
    assert_memory_equal(signature.octets, expected, sizeof(expected));
    tb_signing_key_free(key);
}

static void
any_changed_bit_of_content_or_signature_is_noticed(void **state)
{
    uint8_t content[] = "what was signed";
    struct tb_bytes view = tb_bytes_of(content, sizeof(content));
    struct tb_signing_key *key = NULL, *other = NULL;
    const struct tb_public_key *public_key;
    struct tb_signature signature;
    struct tb_bytes seal = tb_bytes_of(signature.octets, sizeof(signature.octets));

    (void)state;
    assert_int_equal(tb_signing_key_new(&key, NULL), TB_OK);
    assert_int_equal(tb_signing_key_new(&other, NULL), TB_OK);
    public_key = tb_signing_key_public(key);
    assert_int_equal(tb_sign(key, view, &signature, NULL), TB_OK);
    assert_int_equal(tb_signature_check(public_key, view, seal, NULL), TB_OK);
    for (size_t bit = 0; bit < 8 * sizeof(signature.octets); bit++) {
        signature.octets[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(tb_signature_check(public_key, view, seal, NULL), TB_EFORMAT);
        signature.octets[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t bit = 0; bit < 8 * sizeof(content); bit++) {
        content[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(tb_signature_check(public_key, view, seal, NULL), TB_EFORMAT);
        content[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (seal.len = 0; seal.len < sizeof(signature.octets); seal.len++) {
        assert_int_equal(tb_signature_check(public_key, view, seal, NULL), TB_EFORMAT);
    }
    assert_int_equal(tb_signature_check(tb_signing_key_public(other), view, seal, NULL),
                     TB_EFORMAT);
    tb_signing_key_free(other);
    tb_signing_key_free(key);
}

static void
a_saved_key_is_private_and_comes_back_the_same(void **state)
{
    struct place *p = *state;
    struct tb_signing_key *key = NULL, *back = NULL;
    struct tb_public_key public_key;
    struct stat st;

    assert_int_equal(tb_signing_key_new(&key, NULL), TB_OK);
    assert_int_equal(tb_signing_key_save(key, p->path, NULL), TB_OK);
    assert_int_equal(stat(p->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(tb_signing_key_load(p->path, &back, NULL), TB_OK);
    assert_string_equal(tb_signing_key_fingerprint(back), tb_signing_key_fingerprint(key));
    assert_int_equal(tb_public_key_load(p->public_path, &public_key, NULL), TB_OK);
    assert_memory_equal(&public_key, tb_signing_key_public(key), sizeof(public_key));
    tb_signing_key_free(back);
    tb_signing_key_free(key);
}

static void
a_key_is_never_overwritten(void **state)
{
    struct place *p = *state;
    struct tb_signing_key *first = NULL, *second = NULL, *back = NULL;
    struct tb_fail fail = {0};

    assert_int_equal(tb_signing_key_new(&first, NULL), TB_OK);
    assert_int_equal(tb_signing_key_new(&second, NULL), TB_OK);
    assert_int_equal(tb_signing_key_save(first, p->path, NULL), TB_OK);
    assert_int_equal(tb_signing_key_save(second, p->path, &fail), TB_EEXIST);
    assert_non_null(strstr(fail.text, "not overwritten"));
    assert_int_equal(tb_signing_key_load(p->path, &back, NULL), TB_OK);
    assert_string_equal(tb_signing_key_fingerprint(back), tb_signing_key_fingerprint(first));
    tb_signing_key_free(back);
    tb_signing_key_free(second);
    tb_signing_key_free(first);
}

static void
a_key_that_others_may_read_is_refused(void **state)
{
    struct place *p = *state;
    struct tb_signing_key *key = NULL, *back = NULL;
    struct tb_fail fail = {0};

    assert_int_equal(tb_signing_key_load(p->path, &back, NULL), TB_ENOTFOUND);
    assert_int_equal(tb_signing_key_new(&key, NULL), TB_OK);
    assert_int_equal(tb_signing_key_save(key, p->path, NULL), TB_OK);
    assert_int_equal(chmod(p->path, 0640), 0);
    assert_int_equal(tb_signing_key_load(p->path, &back, &fail), TB_EDENIED);
    assert_non_null(strstr(fail.text, "640"));
    assert_null(back);
    tb_signing_key_free(key);
}

static void
what_is_no_ed25519_key_is_refused(void **state)
{
    /* a P-256 key, made for this test */
    static const char p256[] =
        "-----BEGIN PUBLIC KEY-----\n"
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEjQH6QwhNEY8bjQW21C+/bISWGQoQ\n"
        "BmTUqi14utXp3dE+FGy9ztANshPbSM0AxDwwHsXbw7dd2fgrqEzGj4XBkA==\n"
        "-----END PUBLIC KEY-----\n";
    static const char *const texts[] = {"", "x", rfc_private, p256,
                                        "-----BEGIN PUBLIC KEY-----\n"};
    struct tb_public_key public_key;
    struct tb_signing_key *key = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(tb_public_key_parse(tb_bytes_str(texts[i]), &public_key, NULL),
                         TB_EFORMAT);
        if (texts[i] != rfc_private) {
            assert_int_equal(tb_signing_key_parse(tb_bytes_str(texts[i]), &key, NULL),
                             TB_EFORMAT);
        }
    }
    assert_null(key);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_are_those_of_the_standard),
        cmocka_unit_test(any_changed_bit_of_content_or_signature_is_noticed),
        cmocka_unit_test_setup_teardown(a_saved_key_is_private_and_comes_back_the_same, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_key_is_never_overwritten, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_that_others_may_read_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test(what_is_no_ed25519_key_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
