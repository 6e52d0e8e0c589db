/* Links to evidence: signed by a role that may read it, which is not ours. */
#include "control_int.h"

enum tb_err
tb_control_presign(struct tb_control *control, const char *key, struct tb_buf *out,
                   struct tb_fail *fail)
{
    const struct tb_config *config = control->deps.config;
    struct tb_aws *reader = NULL;
    enum tb_err err;

    if (config->s3_reader_role[0] == '\0') {
        return tb_fail_set(fail, TB_ESTATE,
                           "s3.reader_role is not set, and our own role may not read evidence "
                           "for others: a link that it signs may fail");
    }
    err = tb_aws_assume(control->deps.aws, config->s3_reader_role, NULL, config->owner, &reader,
                        fail);
    if (err == TB_OK) {
        err = tb_s3_presign_get(reader, &control->deps.bucket, key,
                                config->s3_url_ns / TB_NS_PER_S, out, fail);
    }
    return err;
}
