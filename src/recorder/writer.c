/*
 * A lane's writer thread: compresses chunks, appends them to segment files, syncs, rotates,
 * seals.  Nothing that the disk does ends it: what cannot be written is counted.
 */
#include "lane_int.h"

#include <poll.h>
#include <sys/statvfs.h>

#include <tapbox/log.h>

enum {
    TICK_MS = 200,
    SYNC_EVERY_MS = 1000,     /* so much is lost at the most when power goes */
    RETRY_MS = 1000,          /* between tries to repair a broken file */
    GIVE_UP_MS = 10 * 1000,   /* then a closing capture is closed without its last file */
    LEVEL_RISE_MS = 1000,     /* a step up, at most so often */
    ROOM_LOOK_MS = 1000,      /* how much is in the spool */
    LOG_EVERY_MS = 10 * 1000, /* the same trouble is told this often */
    CHUNKS_KEPT_FREE = 4      /* of TB_LANE_SEGMENT_CHUNKS, for the statistics */
};

/* First evidence is in S3 early: the first segments of a capture are short. */
static const int64_t first_ages_s[] = {5, 10, 30};

static int64_t
max_age_ns(const struct tb_stream *stream)
{
    int64_t age_s = stream->armed->spec.rotate_s;
    size_t i = stream->writer.opened - 1;

    if (i < sizeof(first_ages_s) / sizeof(first_ages_s[0]) && first_ages_s[i] < age_s) {
        age_s = first_ages_s[i];
    }
    return age_s * TB_NS_PER_S;
}

/* The first line of a run of troubles, then one every ten seconds. */
static void
complain(struct tb_lane *lane, const struct tb_stream *stream, const struct tb_fail *fail,
         const char *what)
{
    int64_t now = tb_clock_boot_ns();

    if (lane->writer.logged_boot_ns == 0 ||
        now - lane->writer.logged_boot_ns >= LOG_EVERY_MS * TB_NS_PER_MS) {
        lane->writer.logged_boot_ns = now;
        tb_log_fail(TB_LOG_ERROR, stream->armed->spec.capture_id, fail, "%s", what);
    }
}

/* --- room --- */

static bool
has_room(struct tb_lane *lane)
{
    const struct tb_room *room = &lane->writer.room;
    int64_t now = tb_clock_boot_ns();
    struct statvfs disk;
    bool full = false;

    if (room->limit_bytes != 0 &&
        (lane->writer.looked_boot_ns == 0 ||
         now - lane->writer.looked_boot_ns >= ROOM_LOOK_MS * TB_NS_PER_MS)) {
        lane->writer.looked_boot_ns = now;
        if (tb_spool_used(room->spool_fd, &lane->writer.spool_used, NULL) != TB_OK) {
            lane->writer.spool_used = 0; /* the write will tell what is wrong */
        }
    }
    if (room->limit_bytes != 0 && lane->writer.spool_used >= room->limit_bytes) {
        full = true;
    }
    if (room->min_free_bytes != 0 && fstatvfs(room->spool_fd, &disk) == 0 &&
        (uint64_t)disk.f_bavail * disk.f_frsize < room->min_free_bytes) {
        full = true;
    }
    if (full != lane->writer.full) {
        lane->writer.full = full;
        tb_log(full ? TB_LOG_ERROR : TB_LOG_INFO, NULL,
               full ? "the spool is full: packets are counted, not kept"
                    : "the spool has room again");
    }
    return !full;
}

/* --- the list of streams with a file --- */

static void
list_open(struct tb_lane *lane, struct tb_stream *stream)
{
    if (!stream->writer.listed) {
        stream->writer.listed = true;
        stream->writer.next_open = lane->writer.open;
        lane->writer.open = stream;
    }
}

static void
unlist(struct tb_lane *lane, struct tb_stream *stream)
{
    struct tb_stream **at = &lane->writer.open;

    while (*at != NULL && *at != stream) {
        at = &(*at)->writer.next_open;
    }
    if (*at != NULL) {
        *at = stream->writer.next_open;
    }
    stream->writer.listed = false;
}

/* --- chunks --- */

static void
give_up_chunk(struct tb_stream *stream, const struct tb_slab *slab)
{
    uint32_t count = stream->armed->spec.source_count;

    tb_count(&stream->shared->counters, TB_COUNT_SPOOL_FULL, slab->info.packets);
    for (uint32_t i = 0; i < count && i < TB_CAPTURE_MAX_SOURCES; i++) {
        atomic_fetch_add(&stream->lost[i], slab->of_interface[i]);
    }
    atomic_store_explicit(&stream->lost_any, 1, memory_order_release);
}

/* The file will not be sealed: what counted as written is lost after all.  (One that has its
 * name is sealed, and only its folder could not be synced.) */
static void
lose_file(struct tb_stream *stream, const char *why)
{
    const struct tb_segfile *file = &stream->writer.file;

    if (file->named) {
        atomic_fetch_add(&stream->shared->segments, 1);
        tb_segfile_abandon(stream);
        return;
    }
    tb_log(TB_LOG_ERROR, stream->armed->spec.capture_id, "%s with %llu packets %s", file->name,
           (unsigned long long)file->packets, why);
    tb_count(&stream->shared->counters, TB_COUNT_WRITTEN, 0 - file->packets);
    tb_count(&stream->shared->counters, TB_COUNT_WRITTEN_BYTES, 0 - file->frame_bytes);
    tb_count(&stream->shared->counters, TB_COUNT_SPOOL_FULL, file->packets);
    tb_segfile_abandon(stream);
}

/* Seals, or leaves the file to be repaired. */
static void
seal(struct tb_lane *lane, struct tb_stream *stream)
{
    struct tb_fail fail;

    if (tb_segfile_seal(stream, &fail) != TB_OK) {
        complain(lane, stream, &fail, "cannot seal a segment");
        stream->writer.file.tried_boot_ns = tb_clock_boot_ns();
    }
}

static void
repair(struct tb_lane *lane, struct tb_stream *stream, int64_t now_boot_ns)
{
    struct tb_segfile *file = &stream->writer.file;
    struct tb_fail fail;

    if (now_boot_ns - file->tried_boot_ns >= RETRY_MS * TB_NS_PER_MS) {
        file->tried_boot_ns = now_boot_ns;
        if (tb_segfile_is_gone(stream)) {
            lose_file(stream, "was removed from the spool while it was open");
        } else if (tb_segfile_repair(stream, &fail) != TB_OK) {
            complain(lane, stream, &fail, "cannot repair a segment");
        }
    }
}

/* True when the stream has a file that chunks can be appended to. */
static bool
has_file(struct tb_lane *lane, struct tb_stream *stream)
{
    struct tb_segfile *file = &stream->writer.file;
    struct tb_fail fail;

    if (file->state == TB_SEGFILE_BROKEN) {
        repair(lane, stream, tb_clock_boot_ns());
    }
    if (file->state == TB_SEGFILE_NONE) {
        if (tb_segfile_open(stream, lane->writer.room.spool_fd, &fail) != TB_OK) {
            complain(lane, stream, &fail, "cannot begin a segment");
            return false;
        }
        list_open(lane, stream);
    }
    return file->state == TB_SEGFILE_OPEN;
}

/* The capture's ledger at the end of this chunk: the lane's terms as they were when it handed
 * the chunk over, ours with this chunk in it. */
static struct tb_chunk_info
chunk_info(const struct tb_stream *stream, const struct tb_slab *slab)
{
    struct tb_chunk_info info = slab->info;

    info.ledger.written =
        tb_counted(&stream->shared->counters, TB_COUNT_WRITTEN) + info.packets;
    info.ledger.written_bytes =
        tb_counted(&stream->shared->counters, TB_COUNT_WRITTEN_BYTES) + slab->frame_bytes;
    info.ledger.spool_full = tb_counted(&stream->shared->counters, TB_COUNT_SPOOL_FULL);
    return info;
}

/*
 * The level falls as chunks pile up, before packets are dropped, and rises again a step a
 * second when they do not.  `behind`: octets of the pool that wait.
 */
static const struct {
    int level;
    unsigned eighths; /* of the pool that wait */
} level_steps[] = {{1, 1}, {-1, 2}, {-3, 4}, {-5, 6}};

void
tb_writer_choose_level(struct tb_lane *lane, struct tb_stream *stream, size_t behind)
{
    static const unsigned steps = sizeof(level_steps) / sizeof(level_steps[0]);
    size_t eighth = lane->pool.memory_bytes / 8;
    int64_t now = tb_clock_boot_ns();
    unsigned step = lane->writer.level_step;
    int level = lane->writer.room.level;

    if (lane->wait_for_slabs) { /* nothing is dropped: there is no pressure */
        behind = 0;
    }
    while (step < steps && behind >= eighth * level_steps[step].eighths) {
        step++;
    }
    if (step == lane->writer.level_step && step > 0 &&
        behind < eighth * level_steps[step - 1].eighths / 2 &&
        now - lane->writer.level_boot_ns >= LEVEL_RISE_MS * TB_NS_PER_MS) {
        step--;
    }
    if (step != lane->writer.level_step) {
        tb_log(TB_LOG_DEBUG, NULL, "compression step %u, %zu octets waiting", step, behind);
        lane->writer.level_step = step;
        lane->writer.level_boot_ns = now;
    }
    if (step > 0 && level_steps[step - 1].level < level) {
        level = level_steps[step - 1].level;
    }
    tb_segment_encoder_level(stream->writer.encoder, level);
}

/* What was used, for those who watch; the chunk's marker says it too. */
static void
note_level(struct tb_stream *stream)
{
    int32_t level = tb_segment_encoder_used_level(stream->writer.encoder);
    int32_t before = atomic_load(&stream->shared->level);

    if (level != before) {
        atomic_store(&stream->shared->level, level);
        atomic_fetch_add(&stream->shared->level_changes, before != 0);
    }
}

static void
write_slab(struct tb_lane *lane, struct tb_slab *slab)
{
    struct tb_stream *stream = slab->stream;
    struct tb_segfile *file = &stream->writer.file;
    struct tb_chunk_info info;
    struct tb_fail fail;
    uint64_t before;
    enum tb_err err;
    bool has_both = has_room(lane) && has_file(lane, stream);

    /* (a file that begins, begins with the ledger before this chunk) */
    stream->writer.handed_over = slab->info.ledger;
    if (!has_both) {
        give_up_chunk(stream, slab);
        return;
    }
    info = chunk_info(stream, slab);
    before = file->good_bytes;
    err = tb_segfile_chunk(stream, tb_bytes_of(slab->at, slab->len), &info, &fail);
    if (err != TB_OK) {
        complain(lane, stream, &fail, "cannot write a chunk");
        if (file->state == TB_SEGFILE_BROKEN) {
            file->tried_boot_ns = tb_clock_boot_ns();
        }
        give_up_chunk(stream, slab);
        return;
    }
    file->frame_bytes += slab->frame_bytes;
    lane->writer.spool_used += file->good_bytes - before;
    tb_count(&stream->shared->counters, TB_COUNT_WRITTEN, info.packets);
    tb_count(&stream->shared->counters, TB_COUNT_WRITTEN_BYTES, slab->frame_bytes);
    note_level(stream);
}

static bool
is_due(const struct tb_stream *stream, int64_t now_boot_ns)
{
    const struct tb_segfile *file = &stream->writer.file;

    return file->good_bytes >= stream->armed->spec.rotate_bytes ||
           file->chunks + CHUNKS_KEPT_FREE >= TB_LANE_SEGMENT_CHUNKS ||
           (stream->armed->spec.rotate_s != 0 &&
            now_boot_ns - file->opened_boot_ns >= max_age_ns(stream));
}

/* What is still missing of a stream that has ended; true when nothing is. */
static bool
close_stream(struct tb_lane *lane, struct tb_stream *stream, int64_t now_boot_ns)
{
    struct tb_segfile *file = &stream->writer.file;

    if (file->state == TB_SEGFILE_OPEN) {
        seal(lane, stream);
    }
    if (file->state == TB_SEGFILE_BROKEN) {
        file->tried_boot_ns = 0;
        repair(lane, stream, now_boot_ns);
    }
    if (file->state == TB_SEGFILE_BROKEN) {
        if (now_boot_ns < stream->writer.give_up_boot_ns) {
            return false;
        }
        lose_file(stream, "could not be sealed; the next start tries again");
    }
    atomic_store(&stream->shared->state, TB_STREAM_CLOSED);
    return true;
}

void
tb_writer_take(struct tb_lane *lane, struct tb_handover what)
{
    struct tb_stream *stream = what.slab != NULL ? what.slab->stream : what.ended;
    int64_t now;

    if (what.slab != NULL) {
        write_slab(lane, what.slab);
        tb_slab_give_back(&lane->pool, what.slab);
        if (stream->writer.file.state == TB_SEGFILE_OPEN &&
            is_due(stream, tb_clock_boot_ns())) {
            seal(lane, stream);
        }
        return;
    }
    now = tb_clock_boot_ns();
    tb_counters_read(&stream->shared->counters, &stream->writer.handed_over);
    stream->writer.give_up_boot_ns = now + GIVE_UP_MS * TB_NS_PER_MS;
    unlist(lane, stream);
    if (!close_stream(lane, stream, now)) {
        list_open(lane, stream);
    }
}

void
tb_writer_tick(struct tb_lane *lane, int64_t now_boot_ns)
{
    struct tb_stream **at = &lane->writer.open;

    while (*at != NULL) {
        struct tb_stream *stream = *at;
        struct tb_segfile *file = &stream->writer.file;
        struct tb_fail fail;
        bool done = false;

        if (stream->writer.give_up_boot_ns != 0) {
            /* (once closed, control may free it: take it off the list first) */
            if (now_boot_ns - file->tried_boot_ns >= RETRY_MS * TB_NS_PER_MS) {
                *at = stream->writer.next_open;
                stream->writer.listed = false;
                if (!close_stream(lane, stream, now_boot_ns)) {
                    list_open(lane, stream);
                }
                continue;
            }
        } else if (file->state == TB_SEGFILE_OPEN && is_due(stream, now_boot_ns)) {
            seal(lane, stream);
        } else if (file->state == TB_SEGFILE_OPEN && file->dirty &&
                   now_boot_ns - file->synced_boot_ns >= SYNC_EVERY_MS * TB_NS_PER_MS) {
            file->synced_boot_ns = now_boot_ns;
            if (tb_segfile_is_gone(stream)) {
                lose_file(stream, "was removed from the spool while it was open");
            } else if (tb_segfile_sync(stream, &fail) != TB_OK) {
                complain(lane, stream, &fail, "cannot sync a segment");
            }
        } else if (file->state == TB_SEGFILE_BROKEN) {
            repair(lane, stream, now_boot_ns);
        } else if (file->state == TB_SEGFILE_NONE) {
            done = true;
        }
        if (done) {
            *at = stream->writer.next_open;
            stream->writer.listed = false;
        } else {
            at = &stream->writer.next_open;
        }
    }
}

void *
tb_writer_run(void *arg)
{
    struct tb_lane *lane = arg;
    int64_t ticked = 0;

    for (;;) {
        struct tb_handover what;
        size_t behind = 0;
        int64_t now;
        enum tb_err err = tb_handover_pop(&lane->queue, TICK_MS * TB_NS_PER_MS, &what, &behind);

        if (err == TB_OK) {
            if (what.slab != NULL) {
                tb_writer_choose_level(lane, what.slab->stream, behind);
            }
            tb_writer_take(lane, what);
        }
        now = tb_clock_boot_ns();
        if (now - ticked >= TICK_MS * TB_NS_PER_MS) {
            ticked = now;
            tb_writer_tick(lane, now);
        }
        if (err == TB_ECLOSED) {
            if (lane->writer.open == NULL) {
                return NULL;
            }
            (void)poll(NULL, 0, TICK_MS); /* a broken file: until it is repaired or given up */
        }
    }
}
