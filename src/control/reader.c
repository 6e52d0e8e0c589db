/* Links to evidence: signed by a role that may read it, which is not ours. */
#include "control_int.h"

enum tb_err
tb_control_presign(struct tb_control *control, const char *key, struct tb_buf *out,
                   struct tb_fail *fail)
{
    const struct tb_s3_bucket *bucket = &control->deps.bucket;

    if (bucket->reader == NULL) {
        return tb_fail_set(fail, TB_ESTATE,
                           "s3.reader_role is not set, and our own role may not read evidence "
                           "for others: a link that it signs may fail");
    }
    return tb_s3_presign_get(bucket->reader, bucket, key,
                             control->deps.config->s3_url_ns / TB_NS_PER_S, out, fail);
}
