/*
 * Follows a capture's segments in the spool while the recorder writes them: whole chunks, in
 * each lane in the order in which they were put down (there is one at least every second while
 * packets come).  It only reads: the recorder never waits for it, nor notices it.
 *
 * Files that a lane has begun are held open, so that rotation, repair, upload and removal do
 * not take away what was seen once; up to TB_SPOOL_FOLLOW_AHEAD of a lane.  Segments that were
 * uploaded and removed before they were seen are not read: they are in S3, and _missed counts
 * them.
 *
 * Memory: one chunk for each lane.  Threads: a follower belongs to one thread at a time;
 * another may ask for _lanes, _missed and _passed the while.
 */
#ifndef TAPBOX_SPOOL_FOLLOW_H
#define TAPBOX_SPOOL_FOLLOW_H

#include <tapbox/segment.h>
#include <tapbox/spool.h>

enum {
    TB_SPOOL_FOLLOW_LANES = 64,   /* of all recorders that had the capture */
    TB_SPOOL_FOLLOW_AHEAD = 16,   /* open files of a lane behind the one that is being read */
    TB_SPOOL_FOLLOW_POLL_MS = 100 /* a good time between two looks that found nothing */
};

struct tb_spool_chunk {
    const char *segment; /* its name when sealed; lent until the next call */
    size_t lane;         /* 0, 1, ... in the order of their first sight */
    uint32_t number;     /* in the segment; 0 begins with section header and interfaces */
    struct tb_segment_chunk chunk;
    struct tb_bytes blocks; /* pcapng; lent until the next call for this lane */
};

struct tb_spool_follower;

/* `spool_fd` is borrowed.  The capture's folder need not be there yet.  Unless `from_start`, of
 * what is there already only the first chunk of each lane's last segment is given (it describes
 * the interfaces), and then what comes from now on. */
TB_NODISCARD enum tb_err tb_spool_follow(int spool_fd, const char *capture_id, bool from_start,
                                         struct tb_spool_follower **out, struct tb_fail *fail);
void tb_spool_unfollow(struct tb_spool_follower *follower);

/* Looks for lanes and segments that are new.  The calls below do so when they need to. */
TB_NODISCARD enum tb_err tb_spool_follow_look(struct tb_spool_follower *follower,
                                              struct tb_fail *fail);
/* Lanes seen so far. */
size_t tb_spool_follow_lanes(const struct tb_spool_follower *follower);
/*
 * The next chunk of a lane.  `over`: the recorder has closed the capture, nothing is added any
 * more.  Errors: TB_ERETRY nothing whole at the moment (never when it is over); TB_ECLOSED it
 * is over, and that was all; TB_EFULL more than TB_SPOOL_FOLLOW_LANES; TB_EIO, TB_ENOMEM.
 */
TB_NODISCARD enum tb_err tb_spool_follow_lane(struct tb_spool_follower *follower, size_t lane,
                                              bool over, struct tb_spool_chunk *out,
                                              struct tb_fail *fail);
/* The next chunk of any lane, each in turn; for who does not mind the order between them. */
TB_NODISCARD enum tb_err tb_spool_follow_next(struct tb_spool_follower *follower, bool over,
                                              struct tb_spool_chunk *out, struct tb_fail *fail);
/* Segments that were gone before they were seen, or could not be read to their end. */
uint64_t tb_spool_follow_missed(const struct tb_spool_follower *follower);
/* Whether the segment of that name (as it is sealed) was opened or is among those missed; false
 * for one that is gone: nothing has come after it by which that was noticed. */
bool tb_spool_follow_passed(const struct tb_spool_follower *follower, const char *name);

#endif
