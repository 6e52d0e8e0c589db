/*
 * The spool: DIR/<capture id>/<host>-<lane>-<seq>.pcapng.zst for sealed segments, the same with
 * a dot before while one is being written.  The recorder writes it, serve reads and empties it.
 * DIR/unreadable/<capture id>/<name> is what the disk did not give as it was, kept for whoever
 * can get more out of it.
 * Threads: any; a folder descriptor is borrowed.
 */
#ifndef TAPBOX_SPOOL_H
#define TAPBOX_SPOOL_H

#include <tapbox/bytes.h>
#include <tapbox/limits.h>

enum {
    TB_SPOOL_NAME_SIZE = 128,
    TB_SPOOL_PLACE_SIZE = TB_SPOOL_NAME_SIZE + 8
};

struct tb_spool_names {
    char (*at)[TB_SPOOL_NAME_SIZE]; /* owned */
    size_t count;
};
void tb_spool_names_release(struct tb_spool_names *names);

/* Sealed segments of a capture, sorted.  A folder that is not there holds none. */
TB_NODISCARD enum tb_err tb_spool_sealed(int spool_fd, const char *capture_id,
                                         struct tb_spool_names *out, struct tb_fail *fail);
/* Capture ids that have a folder, sorted. */
TB_NODISCARD enum tb_err tb_spool_captures(int spool_fd, struct tb_spool_names *out,
                                           struct tb_fail *fail);
/* Opens a sealed segment for reading. */
TB_NODISCARD enum tb_err tb_spool_open(int spool_fd, const char *capture_id, const char *name,
                                       int *out_fd, struct tb_fail *fail);
/* Removes a segment that S3 acknowledged; not being there is fine. */
TB_NODISCARD enum tb_err tb_spool_remove(int spool_fd, const char *capture_id, const char *name,
                                         struct tb_fail *fail);
/* Makes the file that is to stand in for a damaged segment, below unreadable/, and gives it the
 * name `out_place`; nothing that lies there is replaced. */
TB_NODISCARD enum tb_err tb_spool_begin_replacement(int spool_fd, const char *capture_id,
                                                    const char *name,
                                                    char out_place[TB_SPOOL_PLACE_SIZE],
                                                    int *out_fd, struct tb_fail *fail);
/* The two change places, in one step that lasts. */
TB_NODISCARD enum tb_err tb_spool_replace(int spool_fd, const char *capture_id,
                                          const char *name, const char *place,
                                          struct tb_fail *fail);
/* Removes a replacement that is not needed. */
void tb_spool_drop_replacement(int spool_fd, const char *capture_id, const char *place);
/* The damaged segment goes to unreadable/, nothing stands in for it; not being there is fine.
 */
TB_NODISCARD enum tb_err tb_spool_put_aside(int spool_fd, const char *capture_id,
                                            const char *name, struct tb_fail *fail);
/* Whether something of that name was put aside. */
bool tb_spool_is_put_aside(int spool_fd, const char *capture_id, const char *name);
/* Removes the capture's folder when it is empty; not being there is fine.  TB_ERETRY: it holds
 * segments. */
TB_NODISCARD enum tb_err tb_spool_remove_capture(int spool_fd, const char *capture_id,
                                                 struct tb_fail *fail);
/* A segment's file name has the shape of one of ours (nothing else is ever opened). */
bool tb_spool_name_valid(const char *name);

#endif
