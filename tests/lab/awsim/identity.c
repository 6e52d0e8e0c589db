/* Identity documents are signed by a certificate of awsim's own, made when awsim starts with
 * a metadata service.
 */
#include "identity.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_PKEY *key;
static X509 *certificate;

static void
make(void)
{
    X509_NAME *name;
    key = EVP_RSA_gen(2048);
    certificate = X509_new();
    if (key == NULL || certificate == NULL) {
        return;
    }
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 365L * 24 * 3600);
    X509_set_pubkey(certificate, key);
    name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"awsim", -1, -1,
                               0);
    X509_set_issuer_name(certificate, name);
    X509_sign(certificate, key, EVP_sha256());
}

static void *
make_ahead(void *arg)
{
    (void)pthread_once(&once, make);
    return arg;
}

void
identity_prepare(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, make_ahead, NULL) == 0) {
        pthread_detach(thread);
    }
}

bool
identity_sign(const char *text, size_t len, struct str *out)
{
    (void)pthread_once(&once, make);
    BIO *in = BIO_new_mem_buf(text, (int)len);
    PKCS7 *p7 = PKCS7_sign(certificate, key, NULL, in, PKCS7_BINARY | PKCS7_NOCERTS);
    unsigned char *der = NULL;
    int der_len = p7 == NULL ? -1 : i2d_PKCS7(p7, &der);
    if (der_len > 0) {
        BIO *plain = BIO_new(BIO_s_mem());
        BIO *base64 = BIO_push(BIO_new(BIO_f_base64()), plain);
        BIO_write(base64, der, der_len);
        (void)BIO_flush(base64);
        char *at = NULL;
        long n = BIO_get_mem_data(plain, &at);
        str_addn(out, at, (size_t)(n > 0 ? n - 1 : 0));
        BIO_free_all(base64);
    }
    OPENSSL_free(der);
    PKCS7_free(p7);
    BIO_free(in);
    return der_len > 0;
}

bool
identity_certificate(struct str *out)
{
    (void)pthread_once(&once, make);
    BIO *pem = BIO_new(BIO_s_mem());
    bool good = PEM_write_bio_X509(pem, certificate) == 1;
    char *at = NULL;
    long n = BIO_get_mem_data(pem, &at);
    if (good) {
        str_addn(out, at, (size_t)n);
    }
    BIO_free(pem);
    return good;
}
