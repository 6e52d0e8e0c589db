/*
 * Certificates as they come from outside: a file of them, and issuers that are fetched for it.
 * Whatever the octets: what is judged good leads to the one authority trusted here, so its key
 * is one of the two that this authority stands for; an issuer is asked for at Amazon's
 * authorities only; what is refused says why.
 *
 * An input is a file in PEM (or DER, which is put into PEM), then issuers, with "====" between.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tapbox/cert.h>
#include <tapbox/sns_message.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Its key and those of its certificates were thrown away. */
static const char root[] = "-----BEGIN CERTIFICATE-----\n"
                           "MIIBdTCCARugAwIBAgIUapxuGEIm802CA3qHhUvanF3Vp9gwCgYIKoZIzj0EAwIw\n"
                           "DzENMAsGA1UEAwwEcm9vdDAgFw0yNjExMjIyMzAyMDhaGA8yMTI2MTAyOTIzMDIw\n"
                           "OFowDzENMAsGA1UEAwwEcm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABKJs\n"
                           "7flThK0vgAO0xZyeTyrtFdxKrmlyLoL0ShUqXBVSAxVJZkNBbjrg+UO0sQUHT+JI\n"
                           "NPm7rTx9DT7SCfRPyEujUzBRMB0GA1UdDgQWBBRCfyZi03PWaT3P6+qE2ORcEHCk\n"
                           "7DAfBgNVHSMEGDAWgBRCfyZi03PWaT3P6+qE2ORcEHCk7DAPBgNVHRMBAf8EBTAD\n"
                           "AQH/MAoGCCqGSM49BAMCA0gAMEUCIEUBkfqhm9syU/tpnO9pvQwIea6ipf5j3cha\n"
                           "J68quLNSAiEAx6RhUh6gLjsU0L42FtEkwoo7e9Ho9dRNocbOPc4Zkio=\n"
                           "-----END CERTIFICATE-----\n";
/* "some words", signed with SHA-256 by the keys of the corpus's leaf.pem and direct.der. */
static const char *const signatures[] = {
    "QzauHdgix9BDsddyfm1oWcD1kwU82sX5naegebvakoIYS5gj534+37T3NFIBYC+5ZQ9geasj8ymPi2+r"
    "qdzpOn1eGPlRXj7kP9eb8OEnoGIjPx+xltONJukMUW9YpdSUM4iNKSzuHn3I1B8m+uHjnXictruIdVyy"
    "FOG8yxr5aD07SqjUBE7bO2TDtLd8eAsi79A/9krj+57FbRf9cCh9H8WUKdRwgYtJrpSKI52jHeQMsYx3"
    "rfEaFTSj889ZfFOhN98MDtyezUZPFcJv35o4Q8/cdbyjB4pUcSvrF1XcnxctTBHRQ/toSSLT4ZuBw6rQ"
    "CXoeYP0E8NdIr/pa7juKJw==",
    "gcQLIH8stdGndj7eNU6pD3dHvnSA0ns0lQ5fhcOSc9iYun5mYmhqhkjJxD3dmtMXkZMSNeFXM67hWX0k"
    "cHlKT1fOvnAG+57vRJ5jCqNisJykVyghZ+7+eMtg8A0N94LyMjDjdEt0wO+5l/lB4ZnGYThdnHz0Vxjg"
    "KSz915WryZVwKRTtg77YZkNwIseNOmT8Xi0I9Zz5ynzfrGqN974aLWU9BCbTVcSKzfIx7LlsML4o5Ceb"
    "WqUkzjjMvM7lStnbZyNLqZw1f5Am1Hr2wt2Rn7hVBwFvBNAY0mCGV9P8sk4tNZ2lZ0i7rOkBI6OmiQnl"
    "fWue90c5PNsRej5sf7YGfw==",
};
#define NAME "sns.amazonaws.com"
static const int64_t now_s = 1830297600; /* 2028-01-01 */

static struct tb_trust *
trust_root(void)
{
    static struct tb_trust *trust = NULL;
    char path[64];
    int fd;

    if (trust == NULL) {
        fd = memfd_create("root", 0);
        if (fd < 0 || write(fd, root, sizeof(root) - 1) != (ssize_t)sizeof(root) - 1) {
            abort();
        }
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (tb_trust_new(path, &trust, NULL) != TB_OK) {
            abort();
        }
        (void)close(fd);
    }
    return trust;
}

/* What stands before the next "====\n"; `rest` goes on behind it. */
static struct tb_bytes
next_part(struct tb_bytes *rest)
{
    static const char between[] = "====\n";
    const uint8_t *end =
        rest->len == 0 ? NULL : memmem(rest->at, rest->len, between, sizeof(between) - 1);
    size_t len = end == NULL ? rest->len : (size_t)(end - rest->at);
    struct tb_bytes part = tb_bytes_of(rest->at, len);
    size_t used = end == NULL ? len : len + sizeof(between) - 1;

    *rest = tb_bytes_of(rest->at + used, rest->len - used);
    return part;
}

/* DER begins with a sequence, and mutates better than base64 does. */
static void
put_pem(struct tb_bytes octets, struct tb_buf *out)
{
    if (octets.len == 0 || octets.at[0] != 0x30) {
        tb_buf_put_bytes(out, octets);
        return;
    }
    tb_buf_put_str(out, "-----BEGIN CERTIFICATE-----\n");
    tb_buf_put_base64(out, octets);
    tb_buf_put_str(out, "\n-----END CERTIFICATE-----\n");
}

static bool
has_known_key(const struct tb_cert *cert)
{
    bool found = false;

    for (size_t i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++) {
        struct tb_buf octets = TB_BUF_INIT(1024);

        if (!tb_buf_put_unbase64(&octets, signatures[i])) {
            abort();
        }
        found = found || tb_cert_check(cert, TB_CERT_SHA256, tb_bytes_str("some words"),
                                       tb_buf_view(&octets), NULL) == TB_OK;
        tb_buf_release(&octets);
    }
    return found;
}

static void
judge(const struct tb_cert *cert)
{
    const bool known = has_known_key(cert);
    struct tb_fail fail = {0};
    char url[256];
    enum tb_err err = tb_cert_judge(cert, trust_root(), NAME, now_s, &fail);

    if (err == TB_OK) {
        assert(known);
    } else {
        assert(err == fail.err && fail.text[0] != 0);
        assert(err == TB_EINVAL || err == TB_EEXPIRED || err == TB_ENOTFOUND ||
               err == TB_EDENIED);
    }
    if (tb_cert_issuer_url(cert, url, sizeof(url))) {
        assert(url[0] != 0 && strlen(url) < sizeof(url));
        if (tb_sns_issuer_url_valid(url)) {
            const char *host = strstr(url, "://") + 3;
            const char *path = strchr(host, '/');

            assert(path - host > 16 && strncmp(path - 16, ".amazontrust.com", 16) == 0);
            assert(strpbrk(host, "@?#%:\\") == NULL);
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tb_bytes rest = tb_bytes_of(data, size);
    struct tb_buf pem = TB_BUF_INIT(4 * (size_t)TB_CERT_FILE_MAX_BYTES);
    struct tb_cert *cert = NULL;
    struct tb_fail fail = {0};

    if (size > TB_CERT_FILE_MAX_BYTES) {
        return 0;
    }
    put_pem(next_part(&rest), &pem);
    if (tb_cert_parse(tb_buf_view(&pem), &cert, &fail) != TB_OK) {
        assert(cert == NULL && fail.err == TB_EFORMAT && fail.text[0] != 0);
    } else {
        judge(cert);
        while (rest.len > 0) {
            if (tb_cert_add(cert, next_part(&rest), &fail) != TB_OK) {
                assert(fail.err == TB_EFORMAT && fail.text[0] != 0);
            }
            judge(cert);
        }
    }
    tb_cert_free(cert);
    tb_buf_release(&pem);
    return 0;
}
