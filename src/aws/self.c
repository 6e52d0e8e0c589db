/* What the instance metadata service says about the host we run on. */
#include "aws_int.h"

#include <tapbox/ids.h>
#include <tapbox/json.h>

#define DOCUMENT "/latest/dynamic/instance-identity/document"
#define SIGNED "/latest/dynamic/instance-identity/rsa2048"
#define MAC "/latest/meta-data/mac"
#define INTERFACES "/latest/meta-data/network/interfaces/macs/"

static enum tb_err
read_document(struct tb_bytes text, struct tb_aws_self *out, struct tb_fail *fail)
{
    struct tb_json *root = NULL;
    struct {
        const char *pointer;
        char *at;
        size_t cap;
    } fields[] = {
        {"/instanceId", out->instance, sizeof(out->instance)},
        {"/accountId", out->account, sizeof(out->account)},
        {"/region", out->region, sizeof(out->region)},
        {"/instanceType", out->instance_type, sizeof(out->instance_type)},
        {"/imageId", out->image, sizeof(out->image)},
    };
    enum tb_err err = tb_json_parse(text, &root, fail);

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]) && err == TB_OK; i++) {
        const char *value = tb_json_str(root, fields[i].pointer);

        if (value == NULL || !tb_str_copy(fields[i].at, fields[i].cap, value)) {
            err = tb_fail_set(fail, TB_EFORMAT, "the identity document has no %s",
                              fields[i].pointer + 1);
        }
    }
    tb_json_free(root);
    return err;
}

/* One line of text, as most metadata is. */
static enum tb_err
read_line(struct tb_imds *imds, const char *path, struct tb_buf *text, char *out, size_t cap,
          struct tb_fail *fail)
{
    enum tb_err err = tb_imds_get(imds, path, text, fail);

    if (err != TB_OK) {
        return err;
    }
    while (text->len > 0 &&
           (text->at[text->len - 1] == '\n' || text->at[text->len - 1] == '/')) {
        text->len--;
    }
    if (!tb_str_copy(out, cap, tb_buf_str(text))) {
        return tb_fail_set(fail, TB_EFORMAT, "%s is too long", path);
    }
    return TB_OK;
}

enum tb_err
tb_aws_self(struct tb_aws *aws, struct tb_aws_self *out, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_IMDS_ANSWER_MAX_BYTES);
    struct tb_aws_self self = {.instance = ""};
    char mac[TB_MAC_TEXT_SIZE], path[128];
    struct tb_imds imds;
    enum tb_err err = tb_imds_open(aws->http, &imds, fail);

    if (err != TB_OK) {
        return err;
    }
    err = tb_imds_get(&imds, DOCUMENT, &text, fail);
    if (err == TB_OK) {
        err = read_document(tb_buf_view(&text), &self, fail);
    }
    if (err == TB_OK) {
        err = read_line(&imds, MAC, &text, mac, sizeof(mac), fail);
    }
    if (err == TB_OK) {
        (void)snprintf(path, sizeof(path), INTERFACES "%s/interface-id", mac);
        err = read_line(&imds, path, &text, self.eni, sizeof(self.eni), fail);
    }
    if (err == TB_OK && !tb_aws_id_valid(self.eni, "eni-")) {
        err = tb_fail_set(fail, TB_EFORMAT, "%s is '%.32s'", path, self.eni);
    }
    if (err == TB_OK) {
        *out = self;
    } else {
        tb_fail_prefix(fail, "instance metadata");
    }
    tb_imds_close(&imds);
    tb_buf_release(&text);
    return err;
}

enum tb_err
tb_aws_identity_document(struct tb_aws *aws, struct tb_buf *document, struct tb_buf *rsa2048,
                         struct tb_fail *fail)
{
    struct tb_imds imds;
    enum tb_err err = tb_imds_open(aws->http, &imds, fail);

    if (err != TB_OK) {
        return err;
    }
    err = tb_imds_get(&imds, DOCUMENT, document, fail);
    if (err == TB_OK) {
        err = tb_imds_get(&imds, SIGNED, rsa2048, fail);
    }
    tb_imds_close(&imds);
    return err;
}
