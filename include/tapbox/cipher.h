/*
 * AES-128, as far as reading others' packets needs it: one block, and opening what GCM sealed
 * (OpenSSL).  Source: FIPS 197, NIST SP 800-38D.  Threads: any.
 */
#ifndef TAPBOX_CIPHER_H
#define TAPBOX_CIPHER_H

#include <tapbox/bytes.h>

enum {
    TB_AES128_KEY_SIZE = 16,
    TB_AES_BLOCK_SIZE = 16,
    TB_GCM_NONCE_SIZE = 12,
    TB_GCM_TAG_SIZE = 16
};

/* Encrypts one block. */
TB_NODISCARD enum tb_err tb_aes128_block(const uint8_t key[TB_AES128_KEY_SIZE],
                                         const uint8_t block[TB_AES_BLOCK_SIZE],
                                         uint8_t out[TB_AES_BLOCK_SIZE]);
/* `sealed` ends with its tag; `beside` was authenticated with it; `out` has room for
 * sealed.len - TB_GCM_TAG_SIZE octets.  TB_ESHORT no whole tag; TB_EFORMAT not sealed so: what
 * is in `out` then means nothing. */
TB_NODISCARD enum tb_err tb_aes128_gcm_open(const uint8_t key[TB_AES128_KEY_SIZE],
                                            const uint8_t nonce[TB_GCM_NONCE_SIZE],
                                            struct tb_bytes beside, struct tb_bytes sealed,
                                            uint8_t *out);

#endif
