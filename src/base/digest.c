/* SHA-256 and HMAC by OpenSSL's EVP interface. */
#include <tapbox/digest.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

enum {
    FILE_BLOCK_BYTES = 256 * 1024, /* past this the read's cost no longer matters */
    /* The kernel copies from pages to here.  To a place that begins a few octets into a page,
     * where malloc's large blocks are, it takes several times as long: the addresses differ
     * by as little as those of what was just written. */
    FILE_BLOCK_ALIGNMENT = 4096
};

enum tb_err
tb_sha256(struct tb_bytes bytes, struct tb_sha256 *out)
{
    unsigned len = 0;

    if (EVP_Digest(bytes.at, bytes.len, out->octets, &len, EVP_sha256(), NULL) != 1 ||
        len != TB_SHA256_SIZE) {
        return TB_EINTERNAL;
    }
    return TB_OK;
}

enum tb_err
tb_hmac_sha256(struct tb_bytes key, struct tb_bytes bytes, struct tb_sha256 *out)
{
    unsigned len = 0;
    /* OpenSSL takes a NULL key for "the key of before": an empty key needs an address. */
    const uint8_t *key_at = key.len == 0 ? (const uint8_t *)"" : key.at;

    if (key.len > INT32_MAX || HMAC(EVP_sha256(), key_at, (int)key.len, bytes.at, bytes.len,
                                    out->octets, &len) == NULL) {
        return TB_EINTERNAL;
    }
    return TB_OK;
}

void
tb_sha256_hex(char out[TB_SHA256_HEX_SIZE], const struct tb_sha256 *digest)
{
    tb_hex(out, tb_bytes_of(digest->octets, sizeof(digest->octets)));
}

struct tb_hasher {
    EVP_MD_CTX *evp;
};

enum tb_err
tb_hasher_new(struct tb_hasher **out)
{
    struct tb_hasher *hasher = calloc(1, sizeof(*hasher));

    if (hasher == NULL) {
        return TB_ENOMEM;
    }
    hasher->evp = EVP_MD_CTX_new();
    if (hasher->evp == NULL || EVP_DigestInit_ex(hasher->evp, EVP_sha256(), NULL) != 1) {
        tb_hasher_free(hasher);
        return TB_ENOMEM;
    }
    *out = hasher;
    return TB_OK;
}

enum tb_err
tb_hasher_add(struct tb_hasher *hasher, struct tb_bytes bytes)
{
    return EVP_DigestUpdate(hasher->evp, bytes.at, bytes.len) == 1 ? TB_OK : TB_EINTERNAL;
}

enum tb_err
tb_hasher_finish(struct tb_hasher *hasher, struct tb_sha256 *out)
{
    unsigned len = 0;

    if (EVP_DigestFinal_ex(hasher->evp, out->octets, &len) != 1 ||
        EVP_DigestInit_ex(hasher->evp, NULL, NULL) != 1) {
        return TB_EINTERNAL;
    }
    return TB_OK;
}

void
tb_hasher_free(struct tb_hasher *hasher)
{
    if (hasher == NULL) {
        return;
    }
    EVP_MD_CTX_free(hasher->evp);
    free(hasher);
}

enum tb_err
tb_sha256_fd(int fd, struct tb_sha256 *out, uint64_t *out_bytes, struct tb_fail *fail)
{
    struct tb_hasher *hasher = NULL;
    uint8_t *block = NULL;
    uint64_t at = 0;
    enum tb_err err;

    block = aligned_alloc(FILE_BLOCK_ALIGNMENT, FILE_BLOCK_BYTES);
    if (block == NULL) {
        err = tb_fail_set(fail, TB_ENOMEM, "no memory to hash a file");
        goto out;
    }
    err = tb_hasher_new(&hasher);
    if (err != TB_OK) {
        err = tb_fail_set(fail, err, "cannot start a SHA-256");
        goto out;
    }
    for (;;) {
        ssize_t n = pread(fd, block, FILE_BLOCK_BYTES, (off_t)at);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            err = tb_fail_errno(fail, errno, "cannot read a file to hash it");
            goto out;
        }
        if (n == 0) {
            break;
        }
        err = tb_hasher_add(hasher, tb_bytes_of(block, (size_t)n));
        if (err != TB_OK) {
            err = tb_fail_set(fail, err, "SHA-256 failed");
            goto out;
        }
        at += (uint64_t)n;
    }
    err = tb_hasher_finish(hasher, out);
    if (err != TB_OK) {
        err = tb_fail_set(fail, err, "SHA-256 failed");
        goto out;
    }
    if (out_bytes != NULL) {
        *out_bytes = at;
    }

out:
    tb_hasher_free(hasher);
    free(block);
    return err;
}

enum tb_err
tb_random(void *out, size_t len)
{
    if (len > INT32_MAX || RAND_bytes(out, (int)len) != 1) {
        return TB_EINTERNAL;
    }
    return TB_OK;
}

bool
tb_equal_secret(struct tb_bytes a, struct tb_bytes b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.at, b.at, a.len) == 0);
}
