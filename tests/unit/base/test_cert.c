/* Certificates that openssl made: judged, and used to check what openssl signed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <tapbox/cert.h>
#include <tapbox/io.h>

#define NAME "signer.example"

static char folder[] = "/tmp/tapbox-cert-XXXXXX";

static void
shell(const char *command)
{
    char line[1024];

    (void)snprintf(line, sizeof(line), "cd %s && { %s; } >/dev/null 2>&1", folder, command);
    if (system(line) != 0) {
        fail_msg("%s", command);
    }
}

/* root issues middle, middle issues leaf; another root nobody knows; a leaf of an elliptic
 * curve. */
static int
make_all(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    shell("for ca in root other; do openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj "
          "/CN=$ca "
          "-keyout $ca.key -out $ca.pem; done");
    shell("issue() { openssl req -newkey ${4-rsa:2048} ${5-} ${6-} -nodes -subj /CN=$1 -keyout "
          "$1.key -out $1.csr && openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key "
          "-set_serial 7 -days 9 -out $1.pem -extfile ext-$3; }; "
          "echo basicConstraints=critical,CA:TRUE >ext-ca; "
          "printf 'subjectAltName=DNS:" NAME ",DNS:*.wild.example\\n"
          "authorityInfoAccess=caIssuers;URI:http://crt.example/middle.cer\\n' >ext-leaf; "
          "issue middle root ca && issue leaf middle leaf && issue curve root leaf ec "
          "-pkeyopt ec_paramgen_curve:P-256");
    shell("cat leaf.pem middle.pem >whole.pem; openssl x509 -in middle.pem -outform DER -out "
          "middle.der; printf 'some words' >text; for key in leaf middle; do "
          "openssl dgst -sha1 -sign $key.key -out $key.1 text && "
          "openssl dgst -sha256 -sign $key.key -out $key.2 text; done");
    return 0;
}

static int
remove_all(void **state)
{
    char line[64];

    (void)state;
    (void)snprintf(line, sizeof(line), "rm -rf %s", folder);
    return system(line);
}

static void
load(const char *name, struct tb_buf *out)
{
    char path[128];
    struct tb_fail fail = {0};

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    tb_buf_reset(out);
    if (tb_read_file(AT_FDCWD, path, out, &fail) != TB_OK) {
        fail_msg("%s", fail.text);
    }
}

static struct tb_cert *
read_cert(const char *name)
{
    struct tb_buf pem = TB_BUF_INIT(TB_CERT_FILE_MAX_BYTES);
    struct tb_cert *cert = NULL;

    load(name, &pem);
    assert_int_equal(tb_cert_parse(tb_buf_view(&pem), &cert, NULL), TB_OK);
    tb_buf_release(&pem);
    return cert;
}

static struct tb_trust *
read_trust(const char *name)
{
    char path[128];
    struct tb_trust *trust = NULL;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(tb_trust_new(path, &trust, NULL), TB_OK);
    return trust;
}

static enum tb_err
judge(const char *cert_name, const char *trust_name, const char *name, int64_t in_s)
{
    struct tb_cert *cert = read_cert(cert_name);
    struct tb_trust *trust = read_trust(trust_name);
    struct tb_fail fail = {0};
    enum tb_err err = tb_cert_judge(cert, trust, name, (int64_t)time(NULL) + in_s, &fail);

    assert_true((err == TB_OK) == (fail.text[0] == 0));
    tb_trust_free(trust);
    tb_cert_free(cert);
    return err;
}

static void
a_chain_to_a_trusted_root_is_good_while_it_is_valid(void **state)
{
    static const int64_t day = 24 * 3600;

    (void)state;
    assert_int_equal(judge("whole.pem", "root.pem", NAME, 60), TB_OK);
    assert_int_equal(judge("whole.pem", "other.pem", NAME, 60), TB_ENOTFOUND);
    assert_int_equal(judge("other.pem", "root.pem", "other", 60), TB_EDENIED);
    assert_int_equal(judge("leaf.pem", "root.pem", NAME, 60), TB_ENOTFOUND);
    assert_int_equal(judge("whole.pem", "root.pem", NAME, 10 * day), TB_EEXPIRED);
    assert_int_equal(judge("whole.pem", "root.pem", NAME, -day), TB_EEXPIRED);
    assert_int_equal(judge("whole.pem", "root.pem", "another.example", 60), TB_EINVAL);
    assert_int_equal(judge("whole.pem", "root.pem", "a.wild.example", 60), TB_EINVAL);
    /* the common name does not count beside an alternative name */
    assert_int_equal(judge("whole.pem", "root.pem", "leaf", 60), TB_EINVAL);
}

static void
an_issuer_that_is_missing_can_be_added(void **state)
{
    struct tb_cert *cert = read_cert("leaf.pem");
    struct tb_trust *trust = read_trust("root.pem");
    struct tb_buf der = TB_BUF_INIT(TB_CERT_FILE_MAX_BYTES);
    char url[64];

    (void)state;
    assert_true(tb_cert_issuer_url(cert, url, sizeof(url)));
    assert_string_equal(url, "http://crt.example/middle.cer");
    assert_false(tb_cert_issuer_url(cert, url, 10));
    load("middle.der", &der);
    assert_int_equal(tb_cert_add(cert, tb_buf_view(&der), NULL), TB_OK);
    assert_false(
        tb_cert_issuer_url(cert, url, sizeof(url))); /* the root above it is not told */
    assert_int_equal(tb_cert_judge(cert, trust, NAME, (int64_t)time(NULL) + 60, NULL), TB_OK);
    for (int i = 2; i < TB_CERT_MAX_CHAIN; i++) {
        assert_int_equal(tb_cert_add(cert, tb_buf_view(&der), NULL), TB_OK);
    }
    assert_int_equal(tb_cert_add(cert, tb_buf_view(&der), NULL), TB_EFORMAT);
    tb_buf_release(&der);
    tb_trust_free(trust);
    tb_cert_free(cert);
}

static enum tb_err
check(const char *cert_name, enum tb_cert_hash hash, const char *text, const char *signature)
{
    struct tb_cert *cert = read_cert(cert_name);
    struct tb_buf octets = TB_BUF_INIT(4096);
    enum tb_err err;

    load(signature, &octets);
    err = tb_cert_check(cert, hash, tb_bytes_str(text), tb_buf_view(&octets), NULL);
    tb_buf_release(&octets);
    tb_cert_free(cert);
    return err;
}

static void
only_the_keys_own_signature_over_this_text_is_good(void **state)
{
    (void)state;
    assert_int_equal(check("leaf.pem", TB_CERT_SHA1, "some words", "leaf.1"), TB_OK);
    assert_int_equal(check("leaf.pem", TB_CERT_SHA256, "some words", "leaf.2"), TB_OK);
    assert_int_equal(check("leaf.pem", TB_CERT_SHA256, "some words", "leaf.1"), TB_EFORMAT);
    assert_int_equal(check("leaf.pem", TB_CERT_SHA256, "some word", "leaf.2"), TB_EFORMAT);
    assert_int_equal(check("leaf.pem", TB_CERT_SHA256, "some words", "middle.2"), TB_EFORMAT);
    assert_int_equal(check("leaf.pem", TB_CERT_SHA256, "some words", "text"), TB_EFORMAT);
    assert_int_equal(check("curve.pem", TB_CERT_SHA256, "some words", "leaf.2"), TB_EFORMAT);
    /* the first of a file is the one, whatever comes with it */
    assert_int_equal(check("whole.pem", TB_CERT_SHA256, "some words", "middle.2"), TB_EFORMAT);
}

static void
what_is_no_certificate_is_refused(void **state)
{
    static const char *const texts[] = {
        "", "words", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n"};
    struct tb_trust *trust = NULL;
    struct tb_cert *cert = NULL;
    struct tb_fail fail = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(tb_cert_parse(tb_bytes_str(texts[i]), &cert, &fail), TB_EFORMAT);
        assert_null(cert);
    }
    assert_int_equal(tb_trust_new("/nowhere.pem", &trust, &fail), TB_EFORMAT);
    assert_non_null(strstr(fail.text, "/nowhere.pem"));
    assert_int_equal(tb_trust_new("", &trust, &fail), TB_OK);
    tb_trust_free(trust);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_to_a_trusted_root_is_good_while_it_is_valid),
        cmocka_unit_test(an_issuer_that_is_missing_can_be_added),
        cmocka_unit_test(only_the_keys_own_signature_over_this_text_is_good),
        cmocka_unit_test(what_is_no_certificate_is_refused),
    };

    return cmocka_run_group_tests(tests, make_all, remove_all);
}
