/*
 * SHA-256, HMAC-SHA-256, random octets, constant-time comparison (OpenSSL).
 * Source: FIPS 180-4, FIPS 198-1.  Threads: any; a context belongs to one thread at a time.
 */
#ifndef TAPBOX_DIGEST_H
#define TAPBOX_DIGEST_H

#include <stdbool.h>

#include <tapbox/bytes.h>

enum {
    TB_SHA256_SIZE = 32,
    TB_SHA256_HEX_SIZE = 65
};

struct tb_sha256 {
    uint8_t octets[TB_SHA256_SIZE];
};

TB_NODISCARD enum tb_err tb_sha256(struct tb_bytes bytes, struct tb_sha256 *out);
/* The key may be longer than a block. */
TB_NODISCARD enum tb_err tb_hmac_sha256(struct tb_bytes key, struct tb_bytes bytes,
                                        struct tb_sha256 *out);
void tb_sha256_hex(char out[TB_SHA256_HEX_SIZE], const struct tb_sha256 *digest);

/* Incremental.  _free(NULL) is fine. */
struct tb_hasher;
TB_NODISCARD enum tb_err tb_hasher_new(struct tb_hasher **out);
TB_NODISCARD enum tb_err tb_hasher_add(struct tb_hasher *hasher, struct tb_bytes bytes);
/* Gives the digest and makes the hasher ready for the next message. */
TB_NODISCARD enum tb_err tb_hasher_finish(struct tb_hasher *hasher, struct tb_sha256 *out);
void tb_hasher_free(struct tb_hasher *hasher);

/* Reads `fd` from offset 0 to its end with pread. */
TB_NODISCARD enum tb_err tb_sha256_fd(int fd, struct tb_sha256 *out, uint64_t *out_bytes,
                                      struct tb_fail *fail);

/* Cryptographic random octets. */
TB_NODISCARD enum tb_err tb_random(void *out, size_t len);
/* Takes the same time wherever they differ; false at once for unequal lengths. */
bool tb_equal_secret(struct tb_bytes a, struct tb_bytes b);

#endif
