/*
 * TLS of the API.  The certificate is looked at for each handshake and read anew when its file
 * has changed, so that a renewal needs no restart; one that cannot be used leaves the old one
 * in its place. Source: libmicrohttpd manual, "MHD_OPTION_HTTPS_CERT_CALLBACK"; GnuTLS manual,
 * "Abstract key types".
 */
#include "tls_int.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <gnutls/abstract.h>
#include <gnutls/x509.h>

#include <tapbox/clock.h>
#include <tapbox/io.h>
#include <tapbox/log.h>
#include <tapbox/secret.h>
#include <tapbox/thread.h>

enum {
    MAX_CHAIN = 8,
    MAX_FILE_BYTES = 256 * 1024
};
static const int64_t look_again_ns = TB_NS_PER_S;

/* One certificate with its key.  Handshakes may still use one that was replaced, so each stays
 * until the end: renewals are rare. */
struct pair {
    gnutls_pcert_st chain[MAX_CHAIN];
    unsigned count;
    gnutls_privkey_t key;
    struct pair *before;
};

struct tb_tls {
    const char *certificate_path, *key_path; /* borrowed */
    struct tb_buf client_ca;                 /* "": nobody is asked for a certificate */
    struct tb_mutex mu;
    struct {                  /* touched only while holding mu */
        struct pair *current; /* never NULL once started */
        struct timespec certificate_mtime, key_mtime;
        int64_t looked_boot_ns;
    } locked;
};

/* GnuTLS gives its callback no argument. */
static _Atomic(struct tb_tls *) the_tls;

static void
free_pair(struct pair *pair)
{
    for (unsigned i = 0; i < pair->count; i++) {
        gnutls_pcert_deinit(&pair->chain[i]);
    }
    if (pair->key != NULL) {
        gnutls_privkey_deinit(pair->key);
    }
    free(pair);
}

static enum tb_err
gnutls_fail(struct tb_fail *fail, const char *path, int status)
{
    return tb_fail_set(fail, TB_EFORMAT, "%s: %s", path, gnutls_strerror(status));
}

/* The key has to be the certificate's: a handshake would fail without saying why. */
static enum tb_err
check_match(const struct pair *pair, const char *certificate_path, const char *key_path,
            struct tb_fail *fail)
{
    uint8_t certified[64], own[64];
    size_t certified_len = sizeof(certified), own_len = sizeof(own);
    gnutls_pubkey_t public = NULL;
    int status = gnutls_pubkey_init(&public);

    if (status == 0) {
        status = gnutls_pubkey_import_privkey(public, pair->key, 0, 0);
    }
    if (status == 0) {
        status = gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, own, &own_len);
    }
    if (status == 0) {
        status = gnutls_pubkey_get_key_id(pair->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256,
                                          certified, &certified_len);
    }
    if (public != NULL) {
        gnutls_pubkey_deinit(public);
    }
    if (status != 0) {
        return gnutls_fail(fail, key_path, status);
    }
    if (own_len != certified_len || memcmp(own, certified, own_len) != 0) {
        return tb_fail_set(fail, TB_EINVAL, "%s is not the key of the certificate in %s",
                           key_path, certificate_path);
    }
    return TB_OK;
}

static enum tb_err
read_text(const char *path, struct tb_buf *out, gnutls_datum_t *datum, struct tb_fail *fail)
{
    enum tb_err err = tb_read_file(AT_FDCWD, path, out, fail);

    datum->data = (unsigned char *)(uintptr_t)tb_buf_view(out).at;
    datum->size = (unsigned)out->len;
    return err;
}

static enum tb_err
load_pair(const struct tb_tls *tls, struct pair **out, struct tb_fail *fail)
{
    struct tb_buf chain = TB_BUF_INIT(MAX_FILE_BYTES), key = TB_BUF_INIT(MAX_FILE_BYTES);
    struct pair *pair = calloc(1, sizeof(*pair));
    gnutls_datum_t datum = {NULL, 0};
    enum tb_err err;
    int status;

    if (pair == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a certificate");
    }
    err = read_text(tls->certificate_path, &chain, &datum, fail);
    if (err != TB_OK) {
        goto out;
    }
    pair->count = MAX_CHAIN;
    status = gnutls_pcert_list_import_x509_raw(pair->chain, &pair->count, &datum,
                                               GNUTLS_X509_FMT_PEM, 0);
    if (status != 0) {
        pair->count = 0;
        err = gnutls_fail(fail, tls->certificate_path, status);
        goto out;
    }
    err = read_text(tls->key_path, &key, &datum, fail);
    if (err != TB_OK) {
        goto out;
    }
    status = gnutls_privkey_init(&pair->key);
    if (status == 0) {
        status =
            gnutls_privkey_import_x509_raw(pair->key, &datum, GNUTLS_X509_FMT_PEM, NULL, 0);
    }
    err = status != 0 ? gnutls_fail(fail, tls->key_path, status)
                      : check_match(pair, tls->certificate_path, tls->key_path, fail);

out:
    if (key.at != NULL) {
        tb_wipe(key.at, key.cap);
    }
    tb_buf_release(&key);
    tb_buf_release(&chain);
    if (err != TB_OK) {
        free_pair(pair);
        return err;
    }
    *out = pair;
    return TB_OK;
}

/* A file without a certificate would ask nobody for one, or believe nobody. */
static enum tb_err
read_authority(const char *path, struct tb_buf *out, struct tb_fail *fail)
{
    gnutls_x509_crt_t *list = NULL;
    gnutls_datum_t datum = {NULL, 0};
    unsigned count = 0;
    enum tb_err err = read_text(path, out, &datum, fail);
    int status;

    if (err != TB_OK) {
        return err;
    }
    status = gnutls_x509_crt_list_import2(&list, &count, &datum, GNUTLS_X509_FMT_PEM, 0);
    for (unsigned i = 0; status == 0 && i < count; i++) {
        gnutls_x509_crt_deinit(list[i]);
    }
    gnutls_free(list);
    if (status != 0 || count == 0) {
        return tb_fail_set(fail, TB_EFORMAT, "%s holds no certificate: %s", path,
                           gnutls_strerror(status));
    }
    return TB_OK;
}

static bool
same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Reads both again when one of the files is another than before. */
static void
refresh_locked(struct tb_tls *tls)
{
    struct stat certificate, key;
    struct pair *fresh = NULL;
    struct tb_fail fail;

    tls->locked.looked_boot_ns = tb_clock_boot_ns();
    if (stat(tls->certificate_path, &certificate) != 0 || stat(tls->key_path, &key) != 0 ||
        (same_time(&certificate.st_mtim, &tls->locked.certificate_mtime) &&
         same_time(&key.st_mtim, &tls->locked.key_mtime))) {
        return;
    }
    if (load_pair(tls, &fresh, &fail) != TB_OK || fresh == NULL) {
        /* (a renewal may be half written: it is looked at again, and told once a change) */
        tb_log_fail(TB_LOG_WARN, NULL, &fail, "the TLS certificate stays as it was");
    } else {
        fresh->before = tls->locked.current;
        tls->locked.current = fresh;
        tb_log(TB_LOG_INFO, NULL, "the TLS certificate was read anew from %s",
               tls->certificate_path);
    }
    tls->locked.certificate_mtime = certificate.st_mtim;
    tls->locked.key_mtime = key.st_mtim;
}

static int
give_certificate(gnutls_session_t session, const gnutls_datum_t *names, int name_count,
                 const gnutls_pk_algorithm_t *algorithms, int algorithm_count,
                 gnutls_pcert_st **out_chain, unsigned int *out_count,
                 gnutls_privkey_t *out_key)
{
    struct tb_tls *tls = atomic_load(&the_tls);
    struct pair *pair;

    (void)session, (void)names, (void)name_count, (void)algorithms, (void)algorithm_count;
    if (tls == NULL) {
        return -1;
    }
    tb_mutex_lock(&tls->mu);
    if (tb_clock_boot_ns() - tls->locked.looked_boot_ns >= look_again_ns) {
        refresh_locked(tls);
    }
    pair = tls->locked.current;
    tb_mutex_unlock(&tls->mu);
    *out_chain = pair->chain;
    *out_count = pair->count;
    *out_key = pair->key;
    return 0;
}

enum tb_err
tb_tls_start(const char *certificate_path, const char *key_path, const char *client_ca_path,
             struct tb_tls **out, struct tb_fail *fail)
{
    struct tb_tls *tls = calloc(1, sizeof(*tls));
    struct stat certificate, key;
    enum tb_err err;

    if (tls == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for TLS");
    }
    tls->certificate_path = certificate_path;
    tls->key_path = key_path;
    tls->client_ca = (struct tb_buf)TB_BUF_INIT(MAX_FILE_BYTES);
    tb_mutex_init(&tls->mu);
    err = load_pair(tls, &tls->locked.current, fail);
    if (err == TB_OK && client_ca_path[0] != '\0') {
        err = read_authority(client_ca_path, &tls->client_ca, fail);
    }
    if (err != TB_OK) {
        tb_tls_stop(tls);
        return err;
    }
    if (stat(certificate_path, &certificate) == 0 && stat(key_path, &key) == 0) {
        tls->locked.certificate_mtime = certificate.st_mtim;
        tls->locked.key_mtime = key.st_mtim;
    }
    atomic_store(&the_tls, tls);
    *out = tls;
    return TB_OK;
}

void
tb_tls_stop(struct tb_tls *tls)
{
    struct tb_tls *own = tls;

    if (tls == NULL) {
        return;
    }
    (void)atomic_compare_exchange_strong(&the_tls, &own, NULL);
    for (struct pair *pair = tls->locked.current, *next; pair != NULL; pair = next) {
        next = pair->before;
        free_pair(pair);
    }
    tb_buf_release(&tls->client_ca);
    tb_mutex_release(&tls->mu);
    free(tls);
}

size_t
tb_tls_options(struct tb_tls *tls, struct MHD_OptionItem out[TB_TLS_OPTIONS])
{
    size_t count = 0;

    if (tls != NULL) {
        out[count++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK, 0,
                                               (void *)(uintptr_t)give_certificate};
        out[count++] = (struct MHD_OptionItem){
            MHD_OPTION_HTTPS_PRIORITIES, 0,
            (void *)(uintptr_t) "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"};
        if (tls->client_ca.len > 0) {
            out[count++] = (struct MHD_OptionItem){
                MHD_OPTION_HTTPS_MEM_TRUST, 0, (void *)(uintptr_t)tb_buf_str(&tls->client_ca)};
        }
    }
    out[count++] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    return count;
}

bool
tb_tls_wants_clients(const struct tb_tls *tls)
{
    return tls != NULL && tls->client_ca.len > 0;
}

bool
tb_tls_client_is_known(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    unsigned status = 1;

    return info != NULL && info->tls_session != NULL &&
           gnutls_certificate_verify_peers2(info->tls_session, &status) == 0 && status == 0;
}
