/*
 * What hands out credentials: instance metadata, a container's agent, a program, STS.  Whatever
 * it says: what is taken can stand in a header and has an expiry that is a time; what is
 * refused has a sentence that holds no secret; where a container's agent is, is this host, the
 * link's local addresses, or behind TLS.
 */
#include <assert.h>
#include <stdlib.h>
#include <strings.h>

#include <tapbox/json.h>

#include "../../src/aws/aws_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_printable(const char *text)
{
    for (; *text != '\0'; text++) {
        assert(*text > ' ' && *text < 0x7f);
    }
}

static void
check_no_secret(struct tb_bytes text, const struct tb_fail *fail)
{
    static const char *const secrets[] = {"/SecretAccessKey", "/Token", "/SessionToken"};
    struct tb_json *root = NULL;

    assert(fail->text[0] != '\0');
    if (tb_json_parse(text, &root, NULL) != TB_OK) {
        return;
    }
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
        const char *secret = tb_json_str(root, secrets[i]);

        /* (what an agent says as its error is shown; short words may be our own) */
        assert(secret == NULL || strlen(secret) < 24 || strstr(fail->text, secret) == NULL ||
               tb_json_str(root, "/Code") != NULL);
    }
    tb_json_free(root);
}

static void
check(struct tb_bytes text, enum tb_err err, struct tb_aws_credentials *got,
      const struct tb_fail *fail)
{
    if (err != TB_OK) {
        assert(fail->err == err);
        check_no_secret(text, fail);
        return;
    }
    assert(got->access_key_id[0] != '\0' && got->secret_key.len > 0);
    check_printable(got->access_key_id);
    check_printable(got->secret_key.text);
    if (got->session_token.text != NULL) {
        check_printable(got->session_token.text);
    }
    assert(got->expires_utc_s >= 0);
    tb_aws_credentials_release(got);
}

static void
check_sts(struct tb_bytes text)
{
    struct tb_aws_credentials got;
    struct tb_fail fail = {.text = ""};
    struct tb_xml *doc = NULL;

    if (tb_xml_parse(text, &doc, NULL) == TB_OK) {
        enum tb_err err = tb_sts_read_credentials(tb_xml_root(doc), "AssumeRoleWithWebIdentity",
                                                  "web identity", &got, &fail);

        check(tb_bytes_str(""), err, &got, &fail);
    }
    tb_xml_free(doc);
}

static void
check_url(struct tb_bytes text)
{
    char *copy = calloc(1, text.len + 1);
    char url[512];
    struct tb_fail fail = {.text = ""};

    assert(copy != NULL);
    if (text.len > 0) {
        memcpy(copy, text.at, text.len);
    }
    for (int relative = 0; relative < 2; relative++) {
        if (tb_aws_container_url(relative ? copy : NULL, relative ? NULL : copy, url,
                                 sizeof(url), &fail) == TB_OK) {
            check_printable(url);
            assert(strncasecmp(url, "https://", 8) == 0 || strncasecmp(url, "http://", 7) == 0);
            assert(!relative || strncmp(url, "http://169.254.170.2/", 21) == 0);
        } else {
            assert(fail.text[0] != '\0');
        }
    }
    free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tb_bytes text = tb_bytes_of(data, size);
    struct tb_aws_credentials got;
    struct tb_fail fail = {.text = ""};
    enum tb_err err = tb_aws_credentials_from_json(text, "container", &got, &fail);

    check(text, err, &got, &fail);
    fail = (struct tb_fail){.text = ""};
    err = tb_aws_credentials_of_process_json(text, &got, &fail);
    check(text, err, &got, &fail);
    check_sts(text);
    check_url(text);
    return 0;
}
