/* What the files of the uploader share. */
#ifndef TAPBOX_UPLOAD_INT_H
#define TAPBOX_UPLOAD_INT_H

#include <tapbox/upload.h>

/* The key of one object below the capture's prefix, whatever it is. */
TB_NODISCARD enum tb_err upload_key(const char *prefix, const char *capture_id,
                                    const char *name, char out_key[TB_S3_KEY_SIZE],
                                    struct tb_fail *fail);

/* Tells the log of a put that had to go beside something that nobody may look at. */
void upload_say_added(const struct tb_s3_ack *ack, const char *capture_id, const char *name);

/* --- parts.c: segments over deps->part_above_bytes --- */

/* Begins, or goes on with what was begun.  TB_ECLOSED when the uploader stops in between. */
TB_NODISCARD enum tb_err upload_in_parts(struct tb_uploader *up,
                                         const struct tb_uploader_deps *deps,
                                         const struct tb_segment_row *row,
                                         const struct tb_s3_put *put, struct tb_s3_ack *ack,
                                         struct tb_fail *fail);
/* Aborts what is begun in S3 for our segments, and nobody will go on with. */
TB_NODISCARD enum tb_err upload_abort_orphans(struct tb_uploader *up,
                                              const struct tb_uploader_deps *deps,
                                              struct tb_fail *fail);
/* Aborts what was begun for a segment of which the local file is gone. */
TB_NODISCARD enum tb_err upload_abort_parts(const struct tb_uploader_deps *deps,
                                            const struct tb_segment_row *row,
                                            struct tb_fail *fail);

/* --- uploader.c, for parts.c --- */

bool upload_is_stopping(struct tb_uploader *up);
/* A thread has this segment in hand. */
bool upload_is_taken(struct tb_uploader *up, const char *capture_id, const char *name);
/* S3 has acknowledged so many octets more. */
void upload_count_bytes(struct tb_uploader *up, uint64_t bytes);

#endif
