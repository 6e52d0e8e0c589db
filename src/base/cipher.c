/* AES-128 by OpenSSL's EVP interface. */
#include <tapbox/cipher.h>

#include <openssl/evp.h>

enum tb_err
tb_aes128_block(const uint8_t key[TB_AES128_KEY_SIZE], const uint8_t block[TB_AES_BLOCK_SIZE],
                uint8_t out[TB_AES_BLOCK_SIZE])
{
    EVP_CIPHER_CTX *evp = EVP_CIPHER_CTX_new();
    int len = 0;
    bool good;

    if (evp == NULL) {
        return TB_ENOMEM;
    }
    good = EVP_EncryptInit_ex(evp, EVP_aes_128_ecb(), NULL, key, NULL) == 1 &&
           EVP_EncryptUpdate(evp, out, &len, block, TB_AES_BLOCK_SIZE) == 1 &&
           len == TB_AES_BLOCK_SIZE;
    EVP_CIPHER_CTX_free(evp);
    return good ? TB_OK : TB_EINTERNAL;
}

enum tb_err
tb_aes128_gcm_open(const uint8_t key[TB_AES128_KEY_SIZE],
                   const uint8_t nonce[TB_GCM_NONCE_SIZE], struct tb_bytes beside,
                   struct tb_bytes sealed, uint8_t *out)
{
    uint8_t tag[TB_GCM_TAG_SIZE];
    EVP_CIPHER_CTX *evp;
    int len = 0, more = 0;
    bool good;

    if (sealed.len < TB_GCM_TAG_SIZE || sealed.len > INT32_MAX || beside.len > INT32_MAX) {
        return TB_ESHORT;
    }
    sealed.len -= TB_GCM_TAG_SIZE;
    memcpy(tag, sealed.at + sealed.len, sizeof(tag));
    evp = EVP_CIPHER_CTX_new();
    if (evp == NULL) {
        return TB_ENOMEM;
    }
    good = EVP_DecryptInit_ex(evp, EVP_aes_128_gcm(), NULL, key, nonce) == 1 &&
           EVP_DecryptUpdate(evp, NULL, &len, beside.at, (int)beside.len) == 1 &&
           EVP_DecryptUpdate(evp, out, &len, sealed.at, (int)sealed.len) == 1 &&
           EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_SET_TAG, sizeof(tag), tag) == 1 &&
           EVP_DecryptFinal_ex(evp, out + sealed.len, &more) == 1;
    EVP_CIPHER_CTX_free(evp);
    return good ? TB_OK : TB_EFORMAT;
}
