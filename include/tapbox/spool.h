/*
 * The spool: DIR/<capture id>/<host>-<lane>-<seq>.pcapng.zst for sealed segments, the same with
 * a dot before while one is being written.  The recorder writes it, serve reads and empties it.
 * Threads: any; a folder descriptor is borrowed.
 */
#ifndef TAPBOX_SPOOL_H
#define TAPBOX_SPOOL_H

#include <tapbox/bytes.h>
#include <tapbox/limits.h>

enum {
    TB_SPOOL_NAME_SIZE = 128
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
/* Removes the capture's folder when it is empty; not being there is fine.  TB_ERETRY: it holds
 * segments. */
TB_NODISCARD enum tb_err tb_spool_remove_capture(int spool_fd, const char *capture_id,
                                                 struct tb_fail *fail);
/* A segment's file name has the shape of one of ours (nothing else is ever opened). */
bool tb_spool_name_valid(const char *name);

#endif
