/* Credentials of the instance's role, from the metadata service. */
#include "aws_int.h"

#include <tapbox/clock.h>
#include <tapbox/json.h>

#define ROLES "/latest/meta-data/iam/security-credentials/"

/* The parser's own copy of a secret, which nobody else will wipe. */
static void
wipe_lent(const char *text)
{
    if (text != NULL) {
        tb_wipe((void *)(uintptr_t)text, strlen(text));
    }
}

/* The parser's own sentence would quote the text, and with it perhaps a secret. */
static enum tb_err
parse_document(struct tb_bytes text, struct tb_json **out, struct tb_fail *fail)
{
    enum tb_err err = tb_json_parse(text, out, NULL);

    return err == TB_OK ? TB_OK : tb_fail_set(fail, err, "the credentials are not JSON");
}

/* `token_at` and `may_last` are what the two kinds of document do differently. */
static enum tb_err
read_document(const struct tb_json *root, const char *token_at, bool may_last,
              const char *source, struct tb_aws_credentials *out, struct tb_fail *fail)
{
    const char *secret = tb_json_str(root, "/SecretAccessKey");
    const char *token = tb_json_str(root, token_at);
    const char *expires = tb_json_str(root, "/Expiration");
    int64_t expires_utc_ns = 0;
    enum tb_err err;

    if (expires == NULL ? !may_last : tb_time_parse(expires, &expires_utc_ns) != TB_OK) {
        err = tb_fail_set(fail, TB_EFORMAT, "the credentials have no Expiration");
    } else {
        err = tb_aws_credentials_fill(out, tb_json_str(root, "/AccessKeyId"), secret, token,
                                      source, fail);
    }
    if (err == TB_OK) {
        out->expires_utc_s = expires_utc_ns / TB_NS_PER_S;
    }
    wipe_lent(secret);
    wipe_lent(token);
    return err;
}

enum tb_err
tb_aws_credentials_from_json(struct tb_bytes text, const char *source,
                             struct tb_aws_credentials *out, struct tb_fail *fail)
{
    struct tb_json *root = NULL;
    const char *code, *message;
    enum tb_err err = parse_document(text, &root, fail);

    if (err != TB_OK) {
        return err;
    }
    code = tb_json_str(root, "/Code");
    message = tb_json_str(root, "/Message");
    if (code != NULL && strcmp(code, "Success") != 0) {
        err = tb_fail_set(fail, TB_EDENIED, "%.64s: %.200s", code,
                          message != NULL ? message : "no message");
    } else {
        err = read_document(root, "/Token", false, source, out, fail);
    }
    tb_json_free(root);
    return err;
}

enum tb_err
tb_aws_credentials_of_process_json(struct tb_bytes text, struct tb_aws_credentials *out,
                                   struct tb_fail *fail)
{
    struct tb_json *root = NULL;
    int64_t version = 0;
    enum tb_err err = parse_document(text, &root, fail);

    if (err != TB_OK) {
        return err;
    }
    if (!tb_json_int(root, "/Version", &version) || version != 1) {
        err = tb_fail_set(fail, TB_EFORMAT, "the credentials' Version is not 1");
    } else {
        err = read_document(root, "/SessionToken", true, "credential process", out, fail);
    }
    tb_json_free(root);
    return err;
}

/* The first line of the list: an instance has one role. */
static enum tb_err
make_role_path(struct tb_buf *text, char *out, size_t cap, struct tb_fail *fail)
{
    const char *role = tb_buf_str(text);
    size_t len = strcspn(role, "\r\n");

    if (len == 0) {
        return tb_fail_set(fail, TB_ENOTFOUND, "the instance has no role");
    }
    if (strlen(ROLES) + len >= cap) {
        return tb_fail_set(fail, TB_EFORMAT, "the name of the instance's role is too long");
    }
    (void)snprintf(out, cap, "%s%.*s", ROLES, (int)len, role);
    return TB_OK;
}

static enum tb_err
read_role(struct tb_imds *imds, struct tb_aws_credentials *out, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_IMDS_ANSWER_MAX_BYTES);
    char path[200];
    enum tb_err err = tb_imds_get(imds, ROLES, &text, fail);

    if (err == TB_ENOTFOUND) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "the instance has no role");
    }
    if (err != TB_OK) {
        goto out;
    }
    err = make_role_path(&text, path, sizeof(path), fail);
    if (err != TB_OK) {
        goto out;
    }
    err = tb_imds_get(imds, path, &text, fail);
    if (err == TB_OK) {
        err = tb_aws_credentials_from_json(tb_buf_view(&text), "instance metadata", out, fail);
    }

out:
    tb_wipe(text.at, text.cap);
    tb_buf_release(&text);
    return err;
}

enum tb_err
tb_aws_credentials_from_imds(const struct tb_aws_reach *reach, struct tb_aws_credentials *out,
                             struct tb_fail *fail)
{
    struct tb_imds imds;
    enum tb_err err = tb_imds_open(reach->http, &imds, fail);

    if (err != TB_OK) {
        return err;
    }
    err = read_role(&imds, out, fail);
    tb_imds_close(&imds);
    return err;
}
