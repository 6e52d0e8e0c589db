/*
 * Ed25519: keys, signatures, fingerprints, and the PEM files that hold keys (OpenSSL reads and
 * writes the same: PKCS#8 for the private, SubjectPublicKeyInfo for the public one).
 * Source: RFC 8032, RFC 8410.  Threads: any; a key is not changed once it is made.
 */
#ifndef TAPBOX_PUBKEY_H
#define TAPBOX_PUBKEY_H

#include <tapbox/digest.h>
#include <tapbox/secret.h>

enum {
    TB_PUBLIC_KEY_SIZE = 32,
    TB_SIGNATURE_SIZE = 64,
    TB_KEY_FILE_MAX_BYTES = 4096 /* a PEM of Ed25519 has 119 octets; text may stand around it */
};

struct tb_public_key {
    uint8_t octets[TB_PUBLIC_KEY_SIZE];
};
struct tb_signature {
    uint8_t octets[TB_SIGNATURE_SIZE];
};
/* What people compare: SHA-256 of the 32 octets of the public key, as 64 hex digits. */
struct tb_fingerprint {
    char text[TB_SHA256_HEX_SIZE];
};

TB_NODISCARD enum tb_err tb_public_key_fingerprint(const struct tb_public_key *key,
                                                   struct tb_fingerprint *out);
/* Reads "BEGIN PUBLIC KEY"; TB_EFORMAT when it is none, or not of Ed25519. */
TB_NODISCARD enum tb_err tb_public_key_parse(struct tb_bytes pem, struct tb_public_key *out,
                                             struct tb_fail *fail);
/* Appends the PEM. */
TB_NODISCARD enum tb_err tb_public_key_pem(const struct tb_public_key *key, struct tb_buf *out,
                                           struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_public_key_load(const char *path, struct tb_public_key *out,
                                            struct tb_fail *fail);
/* TB_EFORMAT when the signature is not one of this key over these octets. */
TB_NODISCARD enum tb_err tb_signature_check(const struct tb_public_key *key,
                                            struct tb_bytes bytes, struct tb_bytes signature,
                                            struct tb_fail *fail);

/* --- the private half; never formatted, never logged --- */
struct tb_signing_key;

TB_NODISCARD enum tb_err tb_signing_key_new(struct tb_signing_key **out, struct tb_fail *fail);
void tb_signing_key_free(struct tb_signing_key *key);
/* Lent as long as the key. */
const struct tb_public_key *tb_signing_key_public(const struct tb_signing_key *key);
const char *tb_signing_key_fingerprint(const struct tb_signing_key *key);
/* The same octets give the same signature (Ed25519 has no randomness in it). */
TB_NODISCARD enum tb_err tb_sign(const struct tb_signing_key *key, struct tb_bytes bytes,
                                 struct tb_signature *out, struct tb_fail *fail);
/* Reads "BEGIN PRIVATE KEY", without a passphrase. */
TB_NODISCARD enum tb_err tb_signing_key_parse(struct tb_bytes pem, struct tb_signing_key **out,
                                              struct tb_fail *fail);
/* TB_ENOTFOUND; TB_EDENIED when others than its owner may read the file. */
TB_NODISCARD enum tb_err tb_signing_key_load(const char *path, struct tb_signing_key **out,
                                             struct tb_fail *fail);
/* Writes it to `path` (0600) and the public half to "<path>.pub" (0644).  The private file
 * appears whole or not at all and is never overwritten: TB_EEXIST. */
TB_NODISCARD enum tb_err tb_signing_key_save(const struct tb_signing_key *key, const char *path,
                                             struct tb_fail *fail);

#endif
