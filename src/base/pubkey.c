/* Ed25519 by OpenSSL's EVP interface, and its PEM files. */
#include <tapbox/pubkey.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <tapbox/io.h>

struct tb_signing_key {
    EVP_PKEY *evp; /* owned */
    struct tb_public_key public_key;
    struct tb_fingerprint fingerprint;
};

/* What OpenSSL noted about a failure is not for people; it must not pile up either. */
static enum tb_err
failed(struct tb_fail *fail, enum tb_err err, const char *sentence)
{
    ERR_clear_error();
    return tb_fail_set(fail, err, "%s", sentence);
}

/* --- public keys --- */

enum tb_err
tb_public_key_fingerprint(const struct tb_public_key *key, struct tb_fingerprint *out)
{
    struct tb_sha256 digest;
    enum tb_err err = tb_sha256(tb_bytes_of(key->octets, sizeof(key->octets)), &digest);

    if (err == TB_OK) {
        tb_sha256_hex(out->text, &digest);
    }
    return err;
}

static bool
public_of(const EVP_PKEY *evp, struct tb_public_key *out)
{
    size_t len = sizeof(out->octets);

    return EVP_PKEY_get_id(evp) == EVP_PKEY_ED25519 &&
           EVP_PKEY_get_raw_public_key(evp, out->octets, &len) == 1 &&
           len == sizeof(out->octets);
}

/* A file that asks for a passphrase gets none: nobody is there to type it. */
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

enum tb_err
tb_public_key_parse(struct tb_bytes pem, struct tb_public_key *out, struct tb_fail *fail)
{
    struct tb_public_key key;
    EVP_PKEY *evp = NULL;
    BIO *bio = NULL;
    enum tb_err err = TB_OK;

    if (pem.len > TB_KEY_FILE_MAX_BYTES) {
        return tb_fail_set(fail, TB_ETOOBIG, "a key file has at most %d octets",
                           TB_KEY_FILE_MAX_BYTES);
    }
    bio = BIO_new_mem_buf(pem.at == NULL ? (const void *)"" : pem.at, (int)pem.len);
    if (bio == NULL) {
        return failed(fail, TB_ENOMEM, "no memory for a public key");
    }
    evp = PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL);
    if (evp == NULL) {
        err = failed(fail, TB_EFORMAT, "not a public key in PEM (BEGIN PUBLIC KEY)");
    } else if (!public_of(evp, &key)) {
        err = failed(fail, TB_EFORMAT, "not a public key of Ed25519");
    } else {
        *out = key;
    }
    EVP_PKEY_free(evp);
    BIO_free(bio);
    return err;
}

/* Appends what a memory BIO holds. */
static bool
put_bio(struct tb_buf *out, BIO *bio)
{
    char *at = NULL;
    long len = BIO_get_mem_data(bio, &at);

    if (len <= 0) {
        return false;
    }
    tb_buf_put(out, at, (size_t)len);
    return true;
}

enum tb_err
tb_public_key_pem(const struct tb_public_key *key, struct tb_buf *out, struct tb_fail *fail)
{
    EVP_PKEY *evp =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key->octets, sizeof(key->octets));
    BIO *bio = BIO_new(BIO_s_mem());
    enum tb_err err;

    if (evp == NULL || bio == NULL || PEM_write_bio_PUBKEY(bio, evp) != 1 ||
        !put_bio(out, bio)) {
        err = failed(fail, TB_EINTERNAL, "cannot write a public key");
    } else {
        err = tb_buf_check(out, "a public key", fail);
    }
    BIO_free(bio);
    EVP_PKEY_free(evp);
    return err;
}

enum tb_err
tb_public_key_load(const char *path, struct tb_public_key *out, struct tb_fail *fail)
{
    struct tb_buf pem = TB_BUF_INIT(TB_KEY_FILE_MAX_BYTES);
    enum tb_err err = tb_read_file(AT_FDCWD, path, &pem, fail);

    if (err == TB_OK) {
        err = tb_public_key_parse(tb_buf_view(&pem), out, fail);
        if (err != TB_OK) {
            tb_fail_prefix(fail, "%s", path);
        }
    }
    tb_buf_release(&pem);
    return err;
}

enum tb_err
tb_signature_check(const struct tb_public_key *key, struct tb_bytes bytes,
                   struct tb_bytes signature, struct tb_fail *fail)
{
    EVP_PKEY *evp =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key->octets, sizeof(key->octets));
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    enum tb_err err = TB_OK;

    if (evp == NULL || context == NULL) {
        err = failed(fail, TB_ENOMEM, "no memory to check a signature");
    } else if (EVP_DigestVerifyInit(context, NULL, NULL, NULL, evp) != 1 ||
               EVP_DigestVerify(context, signature.at, signature.len, bytes.at, bytes.len) !=
                   1) {
        err =
            failed(fail, TB_EFORMAT, "the signature is not one of this key over this content");
    }
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(evp);
    return err;
}

/* --- private keys --- */

/* Takes `evp` over. */
static enum tb_err
wrap(EVP_PKEY *evp, struct tb_signing_key **out, struct tb_fail *fail)
{
    struct tb_signing_key *key = calloc(1, sizeof(*key));

    if (key == NULL) {
        EVP_PKEY_free(evp);
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a key");
    }
    key->evp = evp;
    if (!public_of(evp, &key->public_key) ||
        tb_public_key_fingerprint(&key->public_key, &key->fingerprint) != TB_OK) {
        tb_signing_key_free(key);
        return failed(fail, TB_EFORMAT, "not a private key of Ed25519");
    }
    *out = key;
    return TB_OK;
}

enum tb_err
tb_signing_key_new(struct tb_signing_key **out, struct tb_fail *fail)
{
    EVP_PKEY *evp = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

    return evp == NULL ? failed(fail, TB_EINTERNAL, "cannot make a key") : wrap(evp, out, fail);
}

void
tb_signing_key_free(struct tb_signing_key *key)
{
    if (key != NULL) {
        EVP_PKEY_free(key->evp); /* OpenSSL wipes it */
        free(key);
    }
}

const struct tb_public_key *
tb_signing_key_public(const struct tb_signing_key *key)
{
    return &key->public_key;
}

const char *
tb_signing_key_fingerprint(const struct tb_signing_key *key)
{
    return key->fingerprint.text;
}

enum tb_err
tb_sign(const struct tb_signing_key *key, struct tb_bytes bytes, struct tb_signature *out,
        struct tb_fail *fail)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    struct tb_signature made;
    size_t len = sizeof(made.octets);
    enum tb_err err = TB_OK;

    if (context == NULL) {
        return failed(fail, TB_ENOMEM, "no memory to sign");
    }
    if (EVP_DigestSignInit(context, NULL, NULL, NULL, key->evp) != 1 ||
        EVP_DigestSign(context, made.octets, &len, bytes.at, bytes.len) != 1 ||
        len != sizeof(made.octets)) {
        err = failed(fail, TB_EINTERNAL, "cannot sign");
    } else {
        *out = made;
    }
    EVP_MD_CTX_free(context);
    return err;
}

enum tb_err
tb_signing_key_parse(struct tb_bytes pem, struct tb_signing_key **out, struct tb_fail *fail)
{
    EVP_PKEY *evp;
    BIO *bio;

    if (pem.len > TB_KEY_FILE_MAX_BYTES) {
        return tb_fail_set(fail, TB_ETOOBIG, "a key file has at most %d octets",
                           TB_KEY_FILE_MAX_BYTES);
    }
    bio = BIO_new_mem_buf(pem.at == NULL ? (const void *)"" : pem.at, (int)pem.len);
    if (bio == NULL) {
        return failed(fail, TB_ENOMEM, "no memory for a key");
    }
    evp = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    if (evp == NULL) {
        return failed(fail, TB_EFORMAT,
                      "not a private key in PEM without passphrase (BEGIN PRIVATE KEY)");
    }
    return wrap(evp, out, fail);
}

/* The file's content, only if nobody but its owner may read it. */
static enum tb_err
read_private(const char *path, struct tb_buf *out, struct tb_fail *fail)
{
    uint8_t block[TB_KEY_FILE_MAX_BYTES];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat st;
    ssize_t n;
    enum tb_err err = TB_OK;

    if (fd < 0) {
        return tb_fail_errno(fail, errno, "cannot open the key %s", path);
    }
    if (fstat(fd, &st) != 0) {
        err = tb_fail_errno(fail, errno, "cannot look at the key %s", path);
    } else if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        err =
            tb_fail_set(fail, TB_EDENIED,
                        "the key %s may be read or written by others (mode %03o); 'chmod 600' "
                        "it, and ask who had it",
                        path, (unsigned)(st.st_mode & 0777));
    } else {
        while ((n = read(fd, block, sizeof(block))) > 0) {
            tb_buf_put(out, block, (size_t)n);
        }
        err = n < 0 ? tb_fail_errno(fail, errno, "cannot read the key %s", path)
                    : tb_buf_check(out, path, fail);
    }
    tb_wipe(block, sizeof(block));
    tb_close(&fd);
    return err;
}

enum tb_err
tb_signing_key_load(const char *path, struct tb_signing_key **out, struct tb_fail *fail)
{
    struct tb_buf pem = TB_BUF_INIT(TB_KEY_FILE_MAX_BYTES);
    enum tb_err err = read_private(path, &pem, fail);

    if (err == TB_OK) {
        err = tb_signing_key_parse(tb_buf_view(&pem), out, fail);
        if (err != TB_OK) {
            tb_fail_prefix(fail, "%s", path);
        }
    }
    tb_wipe(pem.at, pem.len);
    tb_buf_release(&pem);
    return err;
}

/* Under a name of its own first, then linked: link(2), unlike rename(2), never replaces. */
static enum tb_err
write_private(const char *path, struct tb_bytes pem, struct tb_fail *fail)
{
    char draft[512];
    char folder[512] = ".";
    const char *slash = strrchr(path, '/');
    int folder_fd = -1;
    enum tb_err err;

    if ((size_t)snprintf(draft, sizeof(draft), "%s.%ld.new", path, (long)getpid()) >=
        sizeof(draft)) {
        return tb_fail_set(fail, TB_ETOOBIG, "the path of the key is too long");
    }
    if (slash != NULL) {
        (void)snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path) + 1, path);
    }
    err = tb_write_file_whole(AT_FDCWD, draft, pem, 0600, fail);
    if (err != TB_OK) {
        return err;
    }
    if (link(draft, path) != 0) {
        err = errno == EEXIST ? tb_fail_set(fail, TB_EEXIST,
                                            "%s is there already and is not overwritten", path)
                              : tb_fail_errno(fail, errno, "cannot make %s", path);
    }
    (void)unlink(draft);
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (err == TB_OK && (folder_fd < 0 || fsync(folder_fd) != 0)) {
        err = tb_fail_errno(fail, errno, "cannot sync the folder of %s", path);
    }
    tb_close(&folder_fd);
    return err;
}

enum tb_err
tb_signing_key_save(const struct tb_signing_key *key, const char *path, struct tb_fail *fail)
{
    struct tb_buf pem = TB_BUF_INIT(TB_KEY_FILE_MAX_BYTES);
    struct tb_buf public_pem = TB_BUF_INIT(TB_KEY_FILE_MAX_BYTES);
    BIO *bio = BIO_new(BIO_s_secmem());
    char public_path[512];
    enum tb_err err;

    if ((size_t)snprintf(public_path, sizeof(public_path), "%s.pub", path) >=
        sizeof(public_path)) {
        err = tb_fail_set(fail, TB_ETOOBIG, "the path of the key is too long");
        goto out;
    }
    if (bio == NULL ||
        PEM_write_bio_PKCS8PrivateKey(bio, key->evp, NULL, NULL, 0, NULL, NULL) != 1 ||
        !put_bio(&pem, bio)) {
        err = failed(fail, TB_EINTERNAL, "cannot write the key");
        goto out;
    }
    err = tb_buf_check(&pem, "the key", fail);
    if (err == TB_OK) {
        err = tb_public_key_pem(&key->public_key, &public_pem, fail);
    }
    if (err == TB_OK) {
        err = write_private(path, tb_buf_view(&pem), fail);
    }
    if (err == TB_OK) {
        err = tb_write_file_whole(AT_FDCWD, public_path, tb_buf_view(&public_pem), 0644, fail);
    }

out:
    BIO_free(bio);
    tb_wipe(pem.at, pem.len);
    tb_buf_release(&pem);
    tb_buf_release(&public_pem);
    return err;
}
