/*
 * X.509 certificates that sign messages: read, judged against trusted authorities, and used to
 * check RSA signatures (OpenSSL).
 *
 * Ownership: counted; a certificate is not changed once others see it.  Threads: any; trust and
 * certificates may be used by many at once.
 * Source: RFC 5280 (paths, validity, authority information access), RFC 8017 (RSA PKCS#1 v1.5).
 */
#ifndef TAPBOX_CERT_H
#define TAPBOX_CERT_H

#include <stdbool.h>

#include <tapbox/bytes.h>

enum {
    TB_CERT_FILE_MAX_BYTES = 64 * 1024, /* a certificate has 2 KiB, a chain of them 8 */
    TB_CERT_MAX_CHAIN = 6               /* the leaf and those that came along */
};

/* Whom to believe. */
struct tb_trust;
/* The authorities of a PEM file; "" : the system's.  TB_ENOTFOUND, TB_EFORMAT: the file. */
TB_NODISCARD enum tb_err tb_trust_new(const char *ca_file, struct tb_trust **out,
                                      struct tb_fail *fail);
void tb_trust_free(struct tb_trust *trust);

struct tb_cert;
/* The first certificate of the PEM text is the one, others help to judge it.  TB_EFORMAT. */
TB_NODISCARD enum tb_err tb_cert_parse(struct tb_bytes pem, struct tb_cert **out,
                                       struct tb_fail *fail);
/* One more that helps, in PEM or DER; while nobody else has the certificate. */
TB_NODISCARD enum tb_err tb_cert_add(struct tb_cert *cert, struct tb_bytes octets,
                                     struct tb_fail *fail);
/* One more owner; gives `cert` back. */
struct tb_cert *tb_cert_hold(struct tb_cert *cert);
void tb_cert_free(struct tb_cert *cert);

/*
 * Whether it belongs to `name` (a DNS name; wildcards do not count), leads to an authority that
 * is trusted, and all of that chain is valid at this time.
 * Errors: TB_EINVAL another name; TB_EEXPIRED over, or not begun; TB_ENOTFOUND an issuer is
 * neither here nor trusted: tb_cert_issuer_url may say where it is; TB_EDENIED not trusted.
 */
TB_NODISCARD enum tb_err tb_cert_judge(const struct tb_cert *cert, const struct tb_trust *trust,
                                       const char *name, int64_t utc_s, struct tb_fail *fail);
/* Where the certificate of the first issuer that is not here can be had, as the certificate
 * below it says; false when it does not say, or not in `cap` octets. */
bool tb_cert_issuer_url(const struct tb_cert *cert, char *out, size_t cap);

enum tb_cert_hash {
    TB_CERT_SHA1,
    TB_CERT_SHA256
};
/* RSA, PKCS#1 v1.5.  TB_EFORMAT when the signature is not one of its key over these octets. */
TB_NODISCARD enum tb_err tb_cert_check(const struct tb_cert *cert, enum tb_cert_hash hash,
                                       struct tb_bytes bytes, struct tb_bytes signature,
                                       struct tb_fail *fail);

#endif
