/* Follows a capture's segments through the spool folder; see the header. */
#include <tapbox/spool_follow.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <tapbox/ids.h>
#include <tapbox/io.h>

#include "lane_int.h"

enum {
    NAME_ROOM = TB_SPOOL_NAME_SIZE + 32 /* a lane and the longest number */
};

struct held {
    int fd; /* owned */
    uint64_t seq;
};

struct lane {
    char prefix[TB_SPOOL_NAME_SIZE]; /* "<host>-<lane>" */
    struct tb_segment_tail *tail;    /* owned */
    char name[NAME_ROOM];            /* of the segment that is being read */
    int fd;                          /* owned; -1: none is */
    bool skip; /* from now: pass over what is there once the first chunk has been given */
    struct held held[TB_SPOOL_FOLLOW_AHEAD]; /* the next ones, in their order */
    size_t held_count;
    _Atomic uint64_t first_seq;
    _Atomic uint64_t last_seq; /* of the last that was opened; 0: none yet */
};

struct tb_spool_follower {
    int spool_fd; /* borrowed */
    char capture_id[TB_CAPTURE_ID_SIZE];
    bool from_start;
    int64_t looked_boot_ns;                    /* 0: not yet */
    struct lane *lanes[TB_SPOOL_FOLLOW_LANES]; /* owned */
    _Atomic size_t lane_count;                 /* grows when the new lane stands in `lanes` */
    size_t turn;
    _Atomic uint64_t missed;
};

enum tb_err
tb_spool_follow(int spool_fd, const char *capture_id, bool from_start,
                struct tb_spool_follower **out, struct tb_fail *fail)
{
    struct tb_spool_follower *follower;

    if (!tb_capture_id_valid(capture_id)) {
        return tb_fail_set(fail, TB_EINVAL, "'%s' is not a capture id", capture_id);
    }
    follower = calloc(1, sizeof(*follower));
    if (follower == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to follow a capture");
    }
    follower->spool_fd = spool_fd;
    (void)tb_str_copy(follower->capture_id, sizeof(follower->capture_id), capture_id);
    follower->from_start = from_start;
    *out = follower;
    return TB_OK;
}

static void
free_lane(struct lane *lane)
{
    if (lane == NULL) {
        return;
    }
    for (size_t i = 0; i < lane->held_count; i++) {
        tb_close(&lane->held[i].fd);
    }
    tb_close(&lane->fd);
    tb_segment_tail_free(lane->tail);
    free(lane);
}

void
tb_spool_unfollow(struct tb_spool_follower *follower)
{
    if (follower != NULL) {
        for (size_t i = 0; i < follower->lane_count; i++) {
            free_lane(follower->lanes[i]);
        }
        free(follower);
    }
}

/* --- looking --- */

static enum tb_err
find_lane(struct tb_spool_follower *follower, const char *prefix, size_t prefix_len,
          struct lane **out, struct tb_fail *fail)
{
    struct lane *lane;
    enum tb_err err;

    for (size_t i = 0; i < follower->lane_count; i++) {
        lane = follower->lanes[i];
        if (strlen(lane->prefix) == prefix_len &&
            memcmp(lane->prefix, prefix, prefix_len) == 0) {
            *out = lane;
            return TB_OK;
        }
    }
    if (follower->lane_count == TB_SPOOL_FOLLOW_LANES) {
        return tb_fail_set(fail, TB_EFULL, "%s has segments of more than %d lanes",
                           follower->capture_id, TB_SPOOL_FOLLOW_LANES);
    }
    lane = calloc(1, sizeof(*lane));
    if (lane == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to follow a lane");
    }
    lane->fd = -1;
    memcpy(lane->prefix, prefix, prefix_len);
    lane->skip = !follower->from_start && follower->looked_boot_ns == 0;
    err = tb_segment_tail_new(&lane->tail, fail);
    if (err != TB_OK) {
        free_lane(lane);
        return err;
    }
    follower->lanes[follower->lane_count] = lane;
    follower->lane_count++;
    *out = lane;
    return TB_OK;
}

/* `name` as it was listed; a segment that was sealed since has its other name.  *out -1: it is
 * gone. */
static enum tb_err
open_segment(int capture_fd, const char *name, int *out, struct tb_fail *fail)
{
    *out = openat(capture_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (*out < 0 && errno == ENOENT && name[0] == '.') {
        *out = openat(capture_fd, name + 1, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    }
    return *out >= 0 || errno == ENOENT
               ? TB_OK
               : tb_fail_errno(fail, errno, "cannot open the segment %s", name);
}

/* The lane's segment after the last one that it has opened (at first, when what is there is to
 * be passed over: the last of all): of `names` the index, or count. */
static size_t
next_of(const struct tb_spool_names *names, const struct lane *lane, uint64_t *out_seq)
{
    bool want_last = lane->skip && lane->last_seq == 0;
    size_t found = names->count;

    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->at[i] + (names->at[i][0] == '.');
        size_t prefix;
        uint64_t seq;

        if (tb_spool_parse_name(name, &prefix, &seq) && strlen(lane->prefix) == prefix &&
            memcmp(lane->prefix, name, prefix) == 0 && seq > lane->last_seq &&
            (found == names->count || (want_last ? seq > *out_seq : seq < *out_seq))) {
            found = i;
            *out_seq = seq;
        }
    }
    return found;
}

static void
put_name(char out[NAME_ROOM], const struct lane *lane, uint64_t seq)
{
    (void)snprintf(out, NAME_ROOM, "%s-%06" PRIu64 ".pcapng.zst", lane->prefix, seq);
}

/* Opens what has come of a lane, as far as it has room. */
static enum tb_err
hold(struct tb_spool_follower *follower, struct lane *lane, int capture_fd,
     const struct tb_spool_names *names, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    while (err == TB_OK && lane->held_count < TB_SPOOL_FOLLOW_AHEAD) {
        char hidden[1 + NAME_ROOM];
        uint64_t seq = 0;
        size_t i = next_of(names, lane, &seq);
        int fd = -1;

        if (i == names->count) {
            break;
        }
        if (lane->last_seq != 0 && seq > lane->last_seq + 1) {
            /* (a file that is renamed while its folder is listed may be in the list not once)
             */
            hidden[0] = '.';
            put_name(hidden + 1, lane, lane->last_seq + 1);
            err = open_segment(capture_fd, hidden, &fd, fail);
            seq = fd >= 0 ? lane->last_seq + 1 : seq;
        }
        if (err == TB_OK && fd < 0) {
            err = open_segment(capture_fd, names->at[i], &fd, fail);
        }
        if (err != TB_OK) {
            break;
        }
        if (!lane->skip || lane->last_seq != 0) {
            uint64_t missed = seq - lane->last_seq - (fd >= 0);

            if (missed >= TB_SPOOL_RUN_MAX) {
                /* (a lane may have been idle until the recorder was started anew) */
                missed = lane->last_seq != 0 || fd < 0 ? 1 : 0;
            }
            follower->missed += missed;
        }
        if (lane->last_seq == 0) {
            lane->first_seq = seq;
        }
        lane->last_seq = seq;
        if (fd >= 0) {
            lane->held[lane->held_count++] = (struct held){fd, seq};
        }
    }
    return err;
}

enum tb_err
tb_spool_follow_look(struct tb_spool_follower *follower, struct tb_fail *fail)
{
    struct tb_spool_names names = {NULL, 0};
    int capture_fd = -1;
    enum tb_err err =
        tb_spool_open_capture(follower->spool_fd, follower->capture_id, &capture_fd, fail);

    if (err == TB_ENOTFOUND) { /* not begun, or all of it uploaded */
        follower->looked_boot_ns = tb_clock_boot_ns();
        return TB_OK;
    }
    if (err == TB_OK) {
        err = tb_spool_segments(capture_fd, &names, fail);
    }
    for (size_t i = 0; err == TB_OK && i < names.count; i++) {
        const char *name = names.at[i] + (names.at[i][0] == '.');
        struct lane *lane;
        size_t prefix;
        uint64_t seq;

        if (tb_spool_parse_name(name, &prefix, &seq)) {
            err = find_lane(follower, name, prefix, &lane, fail);
        }
    }
    for (size_t i = 0; err == TB_OK && i < follower->lane_count; i++) {
        err = hold(follower, follower->lanes[i], capture_fd, &names, fail);
    }
    follower->looked_boot_ns = tb_clock_boot_ns();
    tb_spool_names_release(&names);
    tb_close(&capture_fd);
    return err;
}

/* Also when there is enough to read, so that files are held before they are removed. */
static enum tb_err
look_when_due(struct tb_spool_follower *follower, struct tb_fail *fail)
{
    int64_t since = tb_clock_boot_ns() - follower->looked_boot_ns;

    return follower->looked_boot_ns != 0 && since < TB_SPOOL_FOLLOW_POLL_MS * TB_NS_PER_MS
               ? TB_OK
               : tb_spool_follow_look(follower, fail);
}

size_t
tb_spool_follow_lanes(const struct tb_spool_follower *follower)
{
    return follower->lane_count;
}

uint64_t
tb_spool_follow_missed(const struct tb_spool_follower *follower)
{
    return follower->missed;
}

bool
tb_spool_follow_passed(const struct tb_spool_follower *follower, const char *name)
{
    size_t prefix;
    uint64_t seq;

    if (!tb_spool_parse_name(name, &prefix, &seq)) {
        return false;
    }
    for (size_t i = 0; i < follower->lane_count; i++) {
        const struct lane *lane = follower->lanes[i];

        if (strlen(lane->prefix) == prefix && memcmp(lane->prefix, name, prefix) == 0) {
            return seq <= lane->last_seq && seq + TB_SPOOL_RUN_MAX > lane->first_seq;
        }
    }
    return false;
}

/* --- reading --- */

/* Takes up the next segment that is held; false when there is none. */
static bool
begin_next(struct lane *lane)
{
    if (lane->held_count == 0) {
        return false;
    }
    tb_close(&lane->fd);
    lane->fd = lane->held[0].fd;
    put_name(lane->name, lane, lane->held[0].seq);
    lane->held_count--;
    memmove(lane->held, lane->held + 1, lane->held_count * sizeof(lane->held[0]));
    tb_segment_tail_begin(lane->tail, lane->fd);
    return true;
}

static enum tb_err
read_chunk(struct tb_spool_follower *follower, struct lane *lane, struct tb_spool_chunk *out,
           struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    if (lane->fd < 0) {
        return tb_fail_set(fail, TB_ENOTFOUND, "no segment is being read");
    }
    if (lane->skip && tb_segment_tail_passed(lane->tail) > 0) {
        lane->skip = false;
        err = tb_segment_tail_skip(lane->tail, fail);
    }
    if (err == TB_OK) {
        err = tb_segment_tail_next(lane->tail, &out->chunk, &out->blocks, fail);
    }
    if (err == TB_ENOTFOUND) {
        tb_close(&lane->fd);
    }
    if (err == TB_OK) {
        out->segment = lane->name;
        out->number = tb_segment_tail_passed(lane->tail) - 1;
        for (out->lane = 0; follower->lanes[out->lane] != lane;) {
            out->lane++;
        }
    }
    return err;
}

enum tb_err
tb_spool_follow_lane(struct tb_spool_follower *follower, size_t index, bool over,
                     struct tb_spool_chunk *out, struct tb_fail *fail)
{
    struct lane *lane;
    enum tb_err err;

    if (index >= follower->lane_count) {
        return tb_fail_set(fail, TB_EINVAL, "there is no lane %zu", index);
    }
    lane = follower->lanes[index];
    err = look_when_due(follower, fail);
    if (err != TB_OK) {
        return err;
    }
    for (;;) {
        err = read_chunk(follower, lane, out, fail);
        if (err != TB_ERETRY && err != TB_ENOTFOUND) {
            return err;
        }
        if (lane->held_count == 0) {
            err = tb_spool_follow_look(follower, fail);
            if (err != TB_OK) {
                return err;
            }
        }
        if (lane->held_count == 0 && !over) {
            return tb_fail_set(fail, TB_ERETRY, "nothing new in lane %zu", index);
        }
        /* A lane begins a file when the one before is complete: what is not there now does not
         * come any more. */
        err = read_chunk(follower, lane, out, fail);
        if (err != TB_ERETRY && err != TB_ENOTFOUND) {
            return err;
        }
        if (err == TB_ERETRY) {
            follower->missed++;
            tb_close(&lane->fd);
        }
        if (!begin_next(lane)) {
            return tb_fail_set(fail, TB_ECLOSED, "lane %zu has ended", index);
        }
    }
}

enum tb_err
tb_spool_follow_next(struct tb_spool_follower *follower, bool over, struct tb_spool_chunk *out,
                     struct tb_fail *fail)
{
    bool retry = !over;
    enum tb_err err = follower->lane_count == 0 ? tb_spool_follow_look(follower, fail)
                                                : look_when_due(follower, fail);

    for (size_t i = 0; err == TB_OK && i < follower->lane_count; i++) {
        follower->turn = (follower->turn + 1) % follower->lane_count;
        err = tb_spool_follow_lane(follower, follower->turn, over, out, fail);
        if (err == TB_OK) {
            return TB_OK;
        }
        if (err == TB_ERETRY || err == TB_ECLOSED) {
            retry = retry || err == TB_ERETRY;
            err = TB_OK;
        }
    }
    if (err != TB_OK) {
        return err;
    }
    return retry ? tb_fail_set(fail, TB_ERETRY, "nothing new of %s", follower->capture_id)
                 : tb_fail_set(fail, TB_ECLOSED, "%s has ended", follower->capture_id);
}
