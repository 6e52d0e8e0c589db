/*
 * Key files.  Whatever they hold: what is taken for a key has a fingerprint, its public half
 * survives being written and read, and what it signs it also verifies.
 */
#include <assert.h>

#include <tapbox/pubkey.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_public(const struct tb_public_key *key)
{
    struct tb_buf pem = TB_BUF_INIT(TB_KEY_FILE_MAX_BYTES);
    struct tb_public_key back;
    struct tb_fingerprint fingerprint;

    assert(tb_public_key_fingerprint(key, &fingerprint) == TB_OK);
    assert(tb_public_key_pem(key, &pem, NULL) == TB_OK);
    assert(tb_public_key_parse(tb_buf_view(&pem), &back, NULL) == TB_OK);
    assert(memcmp(&back, key, sizeof(back)) == 0);
    tb_buf_release(&pem);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tb_bytes bytes = tb_bytes_of(data, size);
    struct tb_signing_key *key = NULL;
    struct tb_public_key public_key;
    struct tb_signature signature;
    struct tb_fail fail = {0};

    if (tb_public_key_parse(bytes, &public_key, &fail) == TB_OK) {
        check_public(&public_key);
    } else {
        assert(fail.err != TB_OK && fail.text[0] != '\0');
    }
    if (tb_signing_key_parse(bytes, &key, NULL) == TB_OK) {
        check_public(tb_signing_key_public(key));
        assert(tb_sign(key, bytes, &signature, NULL) == TB_OK);
        assert(tb_signature_check(tb_signing_key_public(key), bytes,
                                  tb_bytes_of(signature.octets, sizeof(signature.octets)),
                                  NULL) == TB_OK);
    }
    tb_signing_key_free(key);
    return 0;
}
