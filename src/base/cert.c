/* X.509 by OpenSSL: chains, names, dates, and signatures by a certificate's key. */
#include <tapbox/cert.h>

#include <stdatomic.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct tb_trust {
    X509_STORE *store;
};

struct tb_cert {
    atomic_uint owners;
    X509 *leaf;
    STACK_OF(X509) * helpers; /* untrusted, of the chain above it */
};

enum {
    SECURITY_LEVEL = 2 /* 112 bits: RSA from 2,048, no SHA-1 in a chain */
};

/* What OpenSSL noted about a failure is not for people; it must not pile up either. */
static enum tb_err
failed(struct tb_fail *fail, enum tb_err err, const char *sentence)
{
    ERR_clear_error();
    return tb_fail_set(fail, err, "%s", sentence);
}

/* --- trust --- */

enum tb_err
tb_trust_new(const char *ca_file, struct tb_trust **out, struct tb_fail *fail)
{
    struct tb_trust *trust = calloc(1, sizeof(*trust));
    bool read;

    if (trust == NULL || (trust->store = X509_STORE_new()) == NULL) {
        tb_trust_free(trust);
        return failed(fail, TB_ENOMEM, "no memory for trusted authorities");
    }
    read = ca_file[0] == 0 ? X509_STORE_set_default_paths(trust->store) == 1
                           : X509_STORE_load_file(trust->store, ca_file) == 1;
    if (!read) {
        tb_trust_free(trust);
        (void)failed(fail, TB_EFORMAT, "");
        return tb_fail_set(fail, TB_EFORMAT, "%s: no certificate of an authority can be read",
                           ca_file[0] == 0 ? "the system's authorities" : ca_file);
    }
    ERR_clear_error();
    *out = trust;
    return TB_OK;
}

void
tb_trust_free(struct tb_trust *trust)
{
    if (trust != NULL) {
        X509_STORE_free(trust->store);
        free(trust);
    }
}

/* --- reading --- */

struct tb_cert *
tb_cert_hold(struct tb_cert *cert)
{
    (void)atomic_fetch_add(&cert->owners, 1);
    return cert;
}

void
tb_cert_free(struct tb_cert *cert)
{
    if (cert != NULL && atomic_fetch_sub(&cert->owners, 1) == 1) {
        X509_free(cert->leaf);
        sk_X509_pop_free(cert->helpers, X509_free);
        free(cert);
    }
}

/* Takes `x509` over. */
static enum tb_err
add(struct tb_cert *cert, X509 *x509, struct tb_fail *fail)
{
    if (cert->leaf == NULL) {
        cert->leaf = x509;
        return TB_OK;
    }
    if (sk_X509_num(cert->helpers) + 2 > TB_CERT_MAX_CHAIN) {
        X509_free(x509);
        return tb_fail_set(fail, TB_EFORMAT, "more than %d certificates", TB_CERT_MAX_CHAIN);
    }
    if (sk_X509_push(cert->helpers, x509) == 0) {
        X509_free(x509);
        return failed(fail, TB_ENOMEM, "no memory for a certificate");
    }
    return TB_OK;
}

/* Nobody is there to type a passphrase. */
static int
no_passphrase(char *out /* NOLINT(readability-non-const-parameter): OpenSSL's type */, int size,
              int writing, void *arg)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

/* Adds every certificate of the text; *out_count is how many. */
static enum tb_err
add_pem(struct tb_cert *cert, struct tb_bytes pem, size_t *out_count, struct tb_fail *fail)
{
    BIO *bio = BIO_new_mem_buf(pem.len == 0 ? (const void *)"" : pem.at, (int)pem.len);
    enum tb_err err =
        bio == NULL ? failed(fail, TB_ENOMEM, "no memory for a certificate") : TB_OK;

    *out_count = 0;
    while (err == TB_OK) {
        X509 *x509 = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);

        if (x509 == NULL) {
            unsigned long why = ERR_peek_last_error();

            if (ERR_GET_LIB(why) != ERR_LIB_PEM || ERR_GET_REASON(why) != PEM_R_NO_START_LINE) {
                err = failed(fail, TB_EFORMAT, "a certificate in PEM that is broken");
            }
            break;
        }
        err = add(cert, x509, fail);
        *out_count += err == TB_OK;
    }
    ERR_clear_error();
    BIO_free(bio);
    return err;
}

static enum tb_err
check_size(struct tb_bytes octets, struct tb_fail *fail)
{
    return octets.len <= TB_CERT_FILE_MAX_BYTES
               ? TB_OK
               : tb_fail_set(fail, TB_EFORMAT, "a certificate of more than %d octets",
                             TB_CERT_FILE_MAX_BYTES);
}

enum tb_err
tb_cert_parse(struct tb_bytes pem, struct tb_cert **out, struct tb_fail *fail)
{
    struct tb_cert *cert = NULL;
    size_t count = 0;
    enum tb_err err = check_size(pem, fail);

    if (err != TB_OK) {
        return err;
    }
    cert = calloc(1, sizeof(*cert));
    if (cert == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a certificate");
    }
    atomic_init(&cert->owners, 1);
    cert->helpers = sk_X509_new_null();
    err = cert->helpers == NULL ? failed(fail, TB_ENOMEM, "no memory for a certificate")
                                : add_pem(cert, pem, &count, fail);
    if (err == TB_OK && count == 0) {
        err = tb_fail_set(fail, TB_EFORMAT, "no certificate in PEM (BEGIN CERTIFICATE)");
    }
    if (err != TB_OK) {
        tb_cert_free(cert);
        return err;
    }
    *out = cert;
    return TB_OK;
}

enum tb_err
tb_cert_add(struct tb_cert *cert, struct tb_bytes octets, struct tb_fail *fail)
{
    const unsigned char *at = octets.at;
    enum tb_err err = check_size(octets, fail);
    size_t count = 0;
    X509 *x509;

    if (err != TB_OK) {
        return err;
    }
    x509 = octets.len == 0 ? NULL : d2i_X509(NULL, &at, (long)octets.len);
    ERR_clear_error();
    if (x509 != NULL) {
        return add(cert, x509, fail);
    }
    err = add_pem(cert, octets, &count, fail);
    return err == TB_OK && count == 0
               ? tb_fail_set(fail, TB_EFORMAT, "no certificate, neither in DER nor in PEM")
               : err;
}

/* --- judging --- */

static enum tb_err
tell_flaw(int why, struct tb_fail *fail)
{
    const char *text = X509_verify_cert_error_string(why);

    switch (why) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return failed(fail, TB_EEXPIRED, text);
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return failed(fail, TB_ENOTFOUND, text);
    case X509_V_ERR_OUT_OF_MEM:
        return failed(fail, TB_ENOMEM, text);
    default:
        return failed(fail, TB_EDENIED, text);
    }
}

enum tb_err
tb_cert_judge(const struct tb_cert *cert, const struct tb_trust *trust, const char *name,
              int64_t utc_s, struct tb_fail *fail)
{
    X509_STORE_CTX *context;
    X509_VERIFY_PARAM *param;
    enum tb_err err = TB_OK;

    if (X509_check_host(cert->leaf, name, 0, X509_CHECK_FLAG_NO_WILDCARDS, NULL) != 1) {
        ERR_clear_error();
        return tb_fail_set(fail, TB_EINVAL, "the certificate is not one of %s", name);
    }
    context = X509_STORE_CTX_new();
    if (context == NULL ||
        X509_STORE_CTX_init(context, trust->store, cert->leaf, cert->helpers) != 1) {
        X509_STORE_CTX_free(context);
        return failed(fail, TB_ENOMEM, "no memory to judge a certificate");
    }
    param = X509_STORE_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_time(param, (time_t)utc_s);
    X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL);
    (void)X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
    if (X509_verify_cert(context) != 1) {
        err = tell_flaw(X509_STORE_CTX_get_error(context), fail);
    }
    X509_STORE_CTX_free(context);
    ERR_clear_error();
    return err;
}

/* The uppermost certificate of the chain that is here. */
static X509 *
top_of(const struct tb_cert *cert)
{
    X509 *top = cert->leaf;

    for (int step = 0; step < TB_CERT_MAX_CHAIN; step++) {
        X509 *above = NULL;

        for (int i = 0; above == NULL && i < sk_X509_num(cert->helpers); i++) {
            X509 *one = sk_X509_value(cert->helpers, i);

            if (one != top && X509_check_issued(one, top) == X509_V_OK) {
                above = one;
            }
        }
        if (above == NULL) {
            break;
        }
        top = above;
    }
    return top;
}

bool
tb_cert_issuer_url(const struct tb_cert *cert, char *out, size_t cap)
{
    AUTHORITY_INFO_ACCESS *access = X509_get_ext_d2i(top_of(cert), NID_info_access, NULL, NULL);
    bool found = false;

    for (int i = 0; !found && access != NULL && i < sk_ACCESS_DESCRIPTION_num(access); i++) {
        const ACCESS_DESCRIPTION *one = sk_ACCESS_DESCRIPTION_value(access, i);

        if (OBJ_obj2nid(one->method) == NID_ad_ca_issuers && one->location->type == GEN_URI) {
            const ASN1_IA5STRING *uri = one->location->d.uniformResourceIdentifier;
            size_t len = (size_t)ASN1_STRING_length(uri);

            if (len > 0 && len < cap && memchr(ASN1_STRING_get0_data(uri), 0, len) == NULL) {
                memcpy(out, ASN1_STRING_get0_data(uri), len);
                out[len] = 0;
                found = true;
            }
        }
    }
    AUTHORITY_INFO_ACCESS_free(access);
    ERR_clear_error();
    return found;
}

/* --- signatures --- */

enum tb_err
tb_cert_check(const struct tb_cert *cert, enum tb_cert_hash hash, struct tb_bytes bytes,
              struct tb_bytes signature, struct tb_fail *fail)
{
    EVP_PKEY *key = X509_get0_pubkey(cert->leaf);
    EVP_MD_CTX *context;
    int valid;

    if (key == NULL || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA) {
        return failed(fail, TB_EFORMAT, "the certificate's key is not one of RSA");
    }
    context = EVP_MD_CTX_new();
    if (context == NULL) {
        return failed(fail, TB_ENOMEM, "no memory to check a signature");
    }
    valid = EVP_DigestVerifyInit(context, NULL,
                                 hash == TB_CERT_SHA1 ? EVP_sha1() : EVP_sha256(), NULL, key);
    valid = valid == 1
                ? EVP_DigestVerify(context, signature.at, signature.len, bytes.at, bytes.len)
                : valid;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return valid == 1 ? TB_OK
                      : tb_fail_set(fail, TB_EFORMAT,
                                    "the signature is not one of the certificate's key over "
                                    "this text");
}
