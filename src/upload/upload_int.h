/* What the files of the uploader share. */
#ifndef TAPBOX_UPLOAD_INT_H
#define TAPBOX_UPLOAD_INT_H

#include <tapbox/upload.h>

/* One object below the capture's prefix, whatever it is; its key goes to `out_key`. */
TB_NODISCARD enum tb_err upload_put(struct tb_aws *aws, const struct tb_s3_bucket *bucket,
                                    const char *prefix, const char *capture_id,
                                    const char *name, struct tb_s3_put *put,
                                    char out_key[TB_S3_KEY_SIZE], struct tb_s3_ack *out,
                                    struct tb_fail *fail);

#endif
