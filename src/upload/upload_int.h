/*
 * What the files of the uploader share.
 *
 * scan.c        from the spool into the store: sealed segments, with their hashes
 * uploader.c    the threads: who takes what, when it is tried again
 * parts.c       segments that go in parts
 * unreadable.c  the thread that takes files that the disk does not give
 * salvage.c     what can be read of one of them, and what of it is missing, in words
 * objects.c     all that is no segment
 */
#ifndef TAPBOX_UPLOAD_INT_H
#define TAPBOX_UPLOAD_INT_H

#include <tapbox/segment.h>
#include <tapbox/upload.h>

/* The key of one object below the capture's prefix, whatever it is. */
TB_NODISCARD enum tb_err upload_key(const char *prefix, const char *capture_id,
                                    const char *name, char out_key[TB_S3_KEY_SIZE],
                                    struct tb_fail *fail);

/* Tells the log of a put that had to go beside something that nobody may look at. */
void upload_say_added(const struct tb_s3_ack *ack, const char *capture_id, const char *name);

/* --- salvage.c: segments that cannot be read as they were written --- */

/* What can be read of it takes its place, if it cannot be read as a whole.  TB_ENOTFOUND:
 * nothing can, or it is not there; TB_ERETRY: somebody else is at it. */
TB_NODISCARD enum tb_err upload_salvage(int spool_fd, const char *capture_id, const char *name,
                                        struct tb_fail *fail);
/* What is missing from one that was salvaged, in words and in packets. */
void upload_describe_damage(const struct tb_segment_reader *reader, struct tb_segment_row *row);

/* --- scan.c --- */

/* Who keeps an eye on files that the disk does not give. */
struct upload_watch {
    /* This one is left alone for now. */
    bool (*is_put_off)(struct tb_uploader *up, const char *capture_id, const char *name);
    void (*is_unreadable)(struct tb_uploader *up, const char *capture_id, const char *name);
    struct tb_uploader *up;
};
/* tb_upload_scan; `watch` may be NULL. */
TB_NODISCARD enum tb_err upload_scan(struct tb_store *store, int spool_fd,
                                     const char *capture_id, const struct upload_watch *watch,
                                     struct tb_fail *fail);
/* None of it can be read: so it is entered, and put aside. */
TB_NODISCARD enum tb_err upload_enter_unreadable(struct tb_store *store, int spool_fd,
                                                 const char *capture_id, const char *name,
                                                 struct tb_fail *fail);

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
