/*
 * An extract: the indexes say which chunks may hold what is wanted, only those are read, merged
 * by time, and each packet is looked at.
 *
 * Chunks that stand side by side are one read, a *run*.  Runs are read ahead by threads in the
 * order in which the merge will want them; what it wants and nobody has begun to read it reads
 * by itself, so it never waits for room.
 *
 * Threads: the caller's merges and writes; up to THREADS_MOST others open segments first, and
 * then read runs.  A segment belongs to one thread until all are open, and to the caller's from
 * then on; `locked` is shared.
 */
#include <tapbox/retrieve.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/clock.h>
#include <tapbox/evidence.h>
#include <tapbox/pcapng_merge.h>
#include <tapbox/thread.h>
#include <tapbox/verify.h>

enum {
    THREADS_MOST = 32,
    THREADS_REMOTE = 16,        /* a request takes tens of milliseconds, whatever its size */
    RUN_MAX_BYTES = 4 << 20,    /* octets of one read */
    AHEAD_MAX_BYTES = 64 << 20, /* read and not yet wanted */
    OUT_BYTES = 1 << 20,        /* given to the sink at a time */
    CHUNK_MAX_BYTES = TB_SEGMENT_MAX_CHUNK_BYTES + 4096,
    PCAP_MAGIC = (int)0xa1b2c3d4, /* microseconds: what the oldest reader knows */
    PCAP_SNAPLEN = 262144
};
static const int64_t progress_every_ns = TB_NS_PER_S / 5;

enum run_state {
    RUN_WAITING,
    RUN_TAKEN, /* somebody reads it */
    RUN_READ,
    RUN_FAILED,
    RUN_DONE
};

struct run {
    struct segment *segment;
    size_t first, count; /* chunks */
    uint64_t offset;
    size_t len;
    int64_t wanted_utc_ns; /* not before the merge has come to this time */
    enum run_state state;  /* while holding mu, as what follows */
    uint8_t *at;           /* owned */
    struct tb_fail fail;
};

struct segment {
    const struct tb_place_file *file;
    size_t lane;
    uint64_t seq;
    struct tb_place_reader *place_reader; /* NULL once it is open */
    struct tb_readable through;           /* the place reader's */
    const struct run *run;                /* whose octets are read from, afterwards */
    uint64_t index_bytes;
    struct tb_segment_reader *reader; /* NULL: nothing of it is wanted */
    size_t chunks;
};

struct lane {
    char prefix[TB_EVIDENCE_NAME_SIZE];
    struct run *runs; /* of the list of all, those of the lane in their order; borrowed */
    size_t run_count, next_run, next_chunk;
    struct tb_buf blocks; /* that the merge reads */
};

struct work {
    struct tb_place *place;
    const struct tb_extract *extract;
    struct tb_manifest manifest;
    bool has_manifest;
    struct segment *segments; /* owned; in the order of lane and number */
    size_t segment_count;
    struct lane lanes[TB_MERGE_MAX_INPUTS];
    size_t lane_count;
    struct run *runs; /* owned; in the order of lane and number */
    size_t run_count, run_cap;
    struct run **order; /* owned; in the order in which they will be wanted */
    atomic_size_t next_segment;
    struct tb_extract_counts counts;
    uint64_t total_bytes, done_bytes; /* of runs */
    int64_t told_boot_ns;
    struct tb_merge *merge;
    struct tb_buf out;
    struct tb_mutex mu;
    struct tb_cond changed;
    struct {                 /* touched only while holding mu */
        struct tb_fail fail; /* the first of those who open segments */
        size_t next;         /* of `order`: before it all are taken */
        size_t ahead_bytes;
        bool stopping;
    } locked;
    pthread_t threads[THREADS_MOST];
    unsigned thread_count;
};

/* --- segments by their names --- */

/* With its last slash. */
static size_t
folder_len(const char *name)
{
    const char *slash = strrchr(name, '/');

    return slash == NULL ? 0 : (size_t)(slash - name) + 1;
}

/* "<lane>-<number>.pcapng.zst" behind the last slash. */
static bool
parse_name(const char *name, size_t *out_lane, uint64_t *out_seq)
{
    static const char suffix[] = ".pcapng.zst";
    size_t len = strlen(name), digits = 0;
    size_t at;

    if (len < sizeof(suffix) || strcmp(name + len - (sizeof(suffix) - 1), suffix) != 0) {
        return false;
    }
    at = len - (sizeof(suffix) - 1);
    while (at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9') {
        at--;
        digits++;
    }
    if (digits == 0 || digits > 18 || at < 2 || name[at - 1] != '-' || at > 128) {
        return false;
    }
    *out_seq = strtoull(name + at, NULL, 10);
    *out_lane = at - 1;
    return name[folder_len(name)] != '.'; /* one that is being written */
}

static enum tb_err
find_lane(struct work *work, const char *prefix, size_t len, size_t *out, struct tb_fail *fail)
{
    for (size_t i = 0; i < work->lane_count; i++) {
        if (strlen(work->lanes[i].prefix) == len &&
            memcmp(work->lanes[i].prefix, prefix, len) == 0) {
            *out = i;
            return TB_OK;
        }
    }
    if (work->lane_count == TB_MERGE_MAX_INPUTS) {
        return tb_fail_set(fail, TB_ETOOBIG, "segments of more than %d lanes",
                           TB_MERGE_MAX_INPUTS);
    }
    memcpy(work->lanes[work->lane_count].prefix, prefix, len);
    work->lanes[work->lane_count].blocks = (struct tb_buf)TB_BUF_INIT(CHUNK_MAX_BYTES);
    *out = work->lane_count++;
    return TB_OK;
}

/* The folder that a segment lies in, without "segments/": the capture. */
static size_t
capture_of(const char *name)
{
    static const char folder[] = "segments/";
    size_t len = folder_len(name);

    if (len >= sizeof(folder) - 1 &&
        memcmp(name + len - (sizeof(folder) - 1), folder, sizeof(folder) - 1) == 0) {
        len -= sizeof(folder) - 1;
    }
    return len;
}

static int
by_lane(const void *a, const void *b)
{
    const struct segment *x = a, *y = b;

    if (x->lane != y->lane) {
        return x->lane < y->lane ? -1 : 1;
    }
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static enum tb_err
find_segments(struct work *work, const struct tb_place_list *list, struct tb_fail *fail)
{
    const char *first = NULL;
    enum tb_err err = TB_OK;

    work->segments = calloc(list->count + 1, sizeof(*work->segments));
    if (work->segments == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for %zu segments", list->count);
    }
    for (size_t i = 0; i < list->count && err == TB_OK; i++) {
        const struct tb_place_file *file = &list->at[i];
        struct segment *segment = &work->segments[work->segment_count];
        size_t lane, folder = capture_of(file->name);

        if (file->kind != TB_PLACE_FILE || !parse_name(file->name, &lane, &segment->seq)) {
            continue;
        }
        if (first == NULL) {
            first = file->name;
        }
        if (capture_of(first) != folder || memcmp(first, file->name, folder) != 0) {
            return tb_fail_set(fail, TB_EINVAL,
                               "more than one capture lies there (%.100s, %.100s): name one",
                               first, file->name);
        }
        segment->file = file;
        err = find_lane(work, file->name, lane, &segment->lane, fail);
        work->counts.bytes += file->bytes;
        work->segment_count++;
    }
    if (err == TB_OK && work->segment_count == 0) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "no segment (*.pcapng.zst) lies there");
    }
    work->counts.segments = work->segment_count;
    if (err == TB_OK) {
        qsort(work->segments, work->segment_count, sizeof(*work->segments), by_lane);
    }
    return err;
}

static enum tb_err
read_manifest(struct work *work, const struct tb_place_list *list, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_MANIFEST_MAX_BYTES);
    char name[TB_EVIDENCE_NAME_SIZE * 2];
    const char *any = work->segments[0].file->name;
    const struct tb_place_file *file;
    enum tb_err err = TB_OK;

    (void)snprintf(name, sizeof(name), "%.*smanifest.json", (int)capture_of(any), any);
    file = tb_place_find(list, name);
    if (file != NULL) {
        err = tb_place_read(work->place, file, &text, fail);
        if (err == TB_OK) {
            err = tb_manifest_read(tb_buf_view(&text), &work->manifest, fail);
        }
        work->has_manifest = err == TB_OK;
    }
    tb_buf_release(&text);
    return err;
}

/* --- opening --- */

/* What a segment's reader reads from: the place while it is opened, a run's octets later. */
static enum tb_err
read_segment(void *arg, uint64_t offset, uint8_t *at, size_t len, struct tb_fail *fail)
{
    struct segment *segment = arg;
    const struct run *run = segment->run;

    if (segment->place_reader != NULL) {
        segment->index_bytes += len;
        return segment->through.read(segment->through.arg, offset, at, len, fail);
    }
    if (run == NULL || offset < run->offset || len > run->len ||
        offset - run->offset > run->len - len) {
        return tb_fail_set(fail, TB_EINTERNAL, "a chunk that was not read");
    }
    memcpy(at, run->at + (offset - run->offset), len);
    return TB_OK;
}

static enum tb_err
check_against_manifest(const struct work *work, const struct segment *segment,
                       struct tb_fail *fail)
{
    const char *name = segment->file->name + capture_of(segment->file->name);
    struct tb_sha256 root;

    for (size_t i = 0; i < work->manifest.segment_count; i++) {
        const struct tb_evidence_file *known = &work->manifest.segments[i];
        enum tb_err err;

        if (strcmp(known->name, name) != 0) {
            continue;
        }
        if (known->bytes != segment->file->bytes) {
            return tb_fail_set(fail, TB_EFORMAT, "%s has %llu octets, the manifest says %llu",
                               name, (unsigned long long)segment->file->bytes,
                               (unsigned long long)known->bytes);
        }
        err = tb_segment_merkle_root(segment->reader, &root, fail);
        if (err == TB_OK && known->has_root &&
            memcmp(&root, &known->merkle_root, sizeof(root)) != 0) {
            err = tb_fail_set(fail, TB_EFORMAT, "the index of %s is not the manifest's", name);
        }
        return err;
    }
    return tb_fail_set(fail, TB_EFORMAT, "%s is not in the manifest", name);
}

static bool
wants_any(const struct work *work, const struct segment *segment)
{
    for (size_t i = 0; i < segment->chunks; i++) {
        if (tb_select_may_take(work->extract->select, segment->reader, i)) {
            return true;
        }
    }
    return false;
}

static enum tb_err
open_segment(struct work *work, struct segment *segment, struct tb_fail *fail)
{
    struct tb_readable file = {read_segment, segment, segment->file->bytes};
    struct tb_segment_summary summary;
    enum tb_err err =
        tb_place_reader_open(work->place, segment->file, &segment->place_reader, fail);

    if (err == TB_OK) {
        segment->through = tb_place_readable(segment->place_reader);
        err = tb_segment_reader_open_at(&file, &segment->reader, fail);
    }
    if (err == TB_OK) {
        tb_segment_reader_summary(segment->reader, &summary);
        segment->chunks = summary.chunk_count;
        err = work->has_manifest ? check_against_manifest(work, segment, fail) : TB_OK;
    }
    if (err != TB_OK) {
        tb_fail_prefix(fail, "%s", segment->file->name);
    } else if (!wants_any(work, segment)) {
        tb_segment_reader_free(segment->reader);
        segment->reader = NULL;
    }
    tb_place_reader_free(segment->place_reader);
    segment->place_reader = NULL;
    return err;
}

static void *
open_segments(void *arg)
{
    struct work *work = arg;
    struct tb_fail fail = {0};

    for (;;) {
        size_t i = atomic_fetch_add(&work->next_segment, 1);
        bool stop = i >= work->segment_count;

        if (!stop && open_segment(work, &work->segments[i], &fail) != TB_OK) {
            tb_mutex_lock(&work->mu);
            if (work->locked.fail.err == TB_OK) {
                work->locked.fail = fail;
            }
            tb_mutex_unlock(&work->mu);
            atomic_store(&work->next_segment, work->segment_count);
            stop = true;
        }
        if (stop) {
            return NULL;
        }
    }
}

/* Runs `job` on as many threads as are of use; with _join all of them have ended. */
static void
start_threads(struct work *work, void *(*job)(void *), size_t most)
{
    unsigned wanted = work->extract->threads;

    if (wanted == 0) {
        wanted = tb_place_is_remote(work->place) ? THREADS_REMOTE : 2;
    }
    while (work->thread_count < wanted && work->thread_count < THREADS_MOST &&
           work->thread_count < most &&
           tb_thread_start(&work->threads[work->thread_count], "fetch", job, work, NULL) ==
               TB_OK) {
        work->thread_count++;
    }
}

static void
join_threads(struct work *work)
{
    while (work->thread_count > 0) {
        (void)pthread_join(work->threads[--work->thread_count], NULL);
    }
}

static enum tb_err
open_all(struct work *work, struct tb_fail *fail)
{
    start_threads(work, open_segments, work->segment_count);
    if (work->thread_count == 0) {
        (void)open_segments(work);
    }
    join_threads(work);
    for (size_t i = 0; i < work->segment_count; i++) {
        work->counts.chunks += work->segments[i].chunks;
        work->counts.bytes_read += work->segments[i].index_bytes;
    }
    if (work->locked.fail.err != TB_OK) {
        if (fail != NULL) {
            *fail = work->locked.fail;
        }
        return work->locked.fail.err;
    }
    return TB_OK;
}

/* --- runs --- */

static enum tb_err
add_run(struct work *work, struct segment *segment, size_t i, int64_t *wanted_utc_ns,
        struct tb_fail *fail)
{
    const struct tb_segment_chunk *chunk = tb_segment_reader_chunk(segment->reader, i);
    struct run *last = work->run_count > 0 ? &work->runs[work->run_count - 1] : NULL;

    if (chunk->info.packets > 0 && chunk->info.first_utc_ns > *wanted_utc_ns) {
        *wanted_utc_ns = chunk->info.first_utc_ns;
    }
    work->counts.chunks_read++;
    work->total_bytes += chunk->length;
    if (last != NULL && last->segment == segment && last->first + last->count == i &&
        last->len + chunk->length <= RUN_MAX_BYTES) {
        last->count++;
        last->len += chunk->length;
        return TB_OK;
    }
    if (work->run_count == work->run_cap) {
        size_t cap = work->run_cap == 0 ? 64 : 2 * work->run_cap;
        struct run *more = realloc(work->runs, cap * sizeof(*more));

        if (more == NULL) {
            return tb_fail_set(fail, TB_ENOMEM, "no memory for %zu reads", cap);
        }
        work->runs = more;
        work->run_cap = cap;
    }
    work->runs[work->run_count++] = (struct run){.segment = segment,
                                                 .first = i,
                                                 .count = 1,
                                                 .offset = chunk->offset,
                                                 .len = chunk->length,
                                                 .wanted_utc_ns = *wanted_utc_ns};
    return TB_OK;
}

static int
by_time(const void *a, const void *b)
{
    const struct run *const *x = a, *const *y = b;

    if ((*x)->wanted_utc_ns != (*y)->wanted_utc_ns) {
        return (*x)->wanted_utc_ns < (*y)->wanted_utc_ns ? -1 : 1;
    }
    return *x < *y ? -1 : *x > *y;
}

/* What is to be read: of each segment with a chunk that may hold something, chunk 0 for its
 * interfaces, and those chunks. */
static enum tb_err
plan_runs(struct work *work, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;
    int64_t wanted = 0;

    for (size_t s = 0; s < work->segment_count && err == TB_OK; s++) {
        struct segment *segment = &work->segments[s];

        if (s == 0 || segment->lane != segment[-1].lane) {
            wanted = 0;
        }
        for (size_t i = 0; segment->reader != NULL && i < segment->chunks && err == TB_OK;
             i++) {
            if (i == 0 || tb_select_may_take(work->extract->select, segment->reader, i)) {
                err = add_run(work, segment, i, &wanted, fail);
            }
        }
        work->counts.segments_read += segment->reader != NULL;
    }
    if (err != TB_OK) {
        return err;
    }
    work->order = calloc(work->run_count + 1, sizeof(struct run *));
    if (work->order == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for %zu reads", work->run_count);
    }
    for (size_t i = 0; i < work->run_count; i++) {
        struct lane *lane = &work->lanes[work->runs[i].segment->lane];

        work->order[i] = &work->runs[i];
        lane->runs = lane->run_count == 0 ? &work->runs[i] : lane->runs;
        lane->run_count++;
    }
    qsort(work->order, work->run_count, sizeof(struct run *), by_time);
    return TB_OK;
}

/* Reads a run that this thread has taken. */
static void
read_run(struct work *work, struct run *run)
{
    struct tb_place_reader *reader = NULL;
    struct tb_fail fail = {0};
    uint8_t *at = malloc(run->len);
    enum tb_err err =
        at == NULL ? tb_fail_set(&fail, TB_ENOMEM, "no memory for %zu octets", run->len)
                   : tb_place_reader_open(work->place, run->segment->file, &reader, &fail);

    if (err == TB_OK) {
        struct tb_readable file = tb_place_readable(reader);

        err = file.read(file.arg, run->offset, at, run->len, &fail);
    }
    tb_place_reader_free(reader);
    tb_mutex_lock(&work->mu);
    run->at = at;
    run->state = err == TB_OK ? RUN_READ : RUN_FAILED;
    run->fail = fail;
    tb_cond_broadcast(&work->changed);
    tb_mutex_unlock(&work->mu);
}

static struct run *
next_locked(struct work *work) TB_REQUIRES(work->mu)
{
    while (work->locked.next < work->run_count &&
           work->order[work->locked.next]->state != RUN_WAITING) {
        work->locked.next++;
    }
    return work->locked.next < work->run_count ? work->order[work->locked.next] : NULL;
}

static void *
read_ahead(void *arg)
{
    struct work *work = arg;
    struct run *run;

    tb_mutex_lock(&work->mu);
    while (!work->locked.stopping && (run = next_locked(work)) != NULL) {
        if (work->locked.ahead_bytes > AHEAD_MAX_BYTES) {
            tb_cond_wait(&work->changed, &work->mu);
            continue;
        }
        run->state = RUN_TAKEN;
        work->locked.ahead_bytes += run->len;
        tb_mutex_unlock(&work->mu);
        read_run(work, run);
        tb_mutex_lock(&work->mu);
    }
    tb_mutex_unlock(&work->mu);
    return NULL;
}

static void
tell_progress(struct work *work)
{
    int64_t now = tb_clock_boot_ns();

    if (work->extract->progress != NULL && now - work->told_boot_ns >= progress_every_ns) {
        work->told_boot_ns = now;
        work->extract->progress(work->extract->arg, work->done_bytes, work->total_bytes);
    }
}

/* Until the run is there. */
static enum tb_err
await_run(struct work *work, struct run *run, struct tb_fail *fail)
{
    bool mine;

    tb_mutex_lock(&work->mu);
    mine = run->state == RUN_WAITING;
    if (mine) {
        run->state = RUN_TAKEN;
        work->locked.ahead_bytes += run->len;
    }
    tb_mutex_unlock(&work->mu);
    if (mine) {
        read_run(work, run);
    }
    tb_mutex_lock(&work->mu);
    while (run->state == RUN_TAKEN) {
        (void)tb_cond_wait_for(&work->changed, &work->mu, progress_every_ns);
        tell_progress(work);
    }
    tb_mutex_unlock(&work->mu);
    if (run->state == RUN_FAILED) {
        if (fail != NULL) {
            *fail = run->fail;
        }
        tb_fail_prefix(fail, "%s", run->segment->file->name);
        return run->fail.err;
    }
    return TB_OK;
}

static void
finish_run(struct work *work, struct run *run)
{
    tb_mutex_lock(&work->mu);
    free(run->at);
    run->at = NULL;
    run->state = RUN_DONE;
    work->locked.ahead_bytes -= run->len;
    tb_cond_broadcast(&work->changed);
    tb_mutex_unlock(&work->mu);
    work->done_bytes += run->len;
    work->counts.bytes_read += run->len;
    run->segment->run = NULL;
}

/* --- the merge --- */

static bool
has_more(const struct lane *lane)
{
    return lane->next_run < lane->run_count;
}

/* Gives the merge the lane's next chunk. */
static enum tb_err
feed(struct work *work, size_t index, struct tb_fail *fail)
{
    struct lane *lane = &work->lanes[index];
    struct run *run = &lane->runs[lane->next_run];
    struct segment *segment = run->segment;
    enum tb_err err = TB_OK;

    if (lane->next_chunk == 0) {
        err = await_run(work, run, fail);
        if (err != TB_OK) {
            return err;
        }
        segment->run = run;
    }
    tb_buf_reset(&lane->blocks);
    err = tb_segment_reader_read(segment->reader, run->first + lane->next_chunk, &lane->blocks,
                                 fail);
    if (err == TB_OK) {
        err = tb_merge_feed(work->merge, index, tb_buf_view(&lane->blocks), fail);
    }
    if (err != TB_OK) {
        tb_fail_prefix(fail, "%s", segment->file->name);
        return err;
    }
    if (++lane->next_chunk == run->count) {
        lane->next_chunk = 0;
        lane->next_run++;
        finish_run(work, run);
        if (!has_more(lane) || lane->runs[lane->next_run].segment != segment) {
            tb_segment_reader_free(segment->reader);
            segment->reader = NULL;
        }
    }
    tell_progress(work);
    return TB_OK;
}

/* The lane whose next run is wanted now: its packets may come before the next one that is
 * there; lane_count when there is none. */
static size_t
wanted_lane(const struct work *work)
{
    size_t found = work->lane_count;
    int64_t found_utc_ns = 0;
    struct tb_merge_packet next;
    bool has_next = tb_merge_peek(work->merge, &next);

    for (size_t i = 0; i < work->lane_count; i++) {
        const struct lane *lane = &work->lanes[i];

        if (has_more(lane) && tb_merge_is_dry(work->merge, i)) {
            int64_t at =
                lane->next_chunk > 0 ? INT64_MIN : lane->runs[lane->next_run].wanted_utc_ns;

            if ((!has_next || at <= next.packet.utc_ns) &&
                (found == work->lane_count || at < found_utc_ns)) {
                found = i;
                found_utc_ns = at;
            }
        }
    }
    return found;
}

static enum tb_err
flush(struct work *work, struct tb_fail *fail)
{
    enum tb_err err = tb_buf_check(&work->out, "the extract", fail);

    if (err == TB_OK && work->out.len > 0) {
        err = work->extract->sink(work->extract->arg, tb_buf_view(&work->out), fail);
    }
    tb_buf_reset(&work->out);
    return err;
}

static void
put_pcap_head(struct tb_buf *out)
{
    tb_buf_put_le32(out, (uint32_t)PCAP_MAGIC);
    tb_buf_put_le16(out, 2);
    tb_buf_put_le16(out, 4);
    tb_buf_put_le64(out, 0);
    tb_buf_put_le32(out, PCAP_SNAPLEN);
    tb_buf_put_le32(out, TB_PCAPNG_LINKTYPE_ETHERNET);
}

static void
put_pcap_packet(struct tb_buf *out, const struct tb_merge_packet *packet)
{
    tb_buf_put_le32(out, (uint32_t)(packet->packet.utc_ns / TB_NS_PER_S));
    tb_buf_put_le32(out, (uint32_t)(packet->packet.utc_ns % TB_NS_PER_S / 1000));
    tb_buf_put_le32(out, packet->packet.captured);
    tb_buf_put_le32(out, packet->packet.original);
    tb_buf_put_bytes(out, packet->frame);
}

static void
put_packet(struct work *work, const struct tb_merge_packet *packet)
{
    struct tb_extract_counts *counts = &work->counts;

    if (work->extract->as_pcap) {
        put_pcap_packet(&work->out, packet);
    } else {
        tb_merge_put_packet(work->merge, &work->out);
    }
    if (counts->packets++ == 0) {
        counts->first_utc_ns = packet->packet.utc_ns;
    }
    counts->last_utc_ns = packet->packet.utc_ns;
}

static enum tb_err
write_all(struct work *work, struct tb_fail *fail)
{
    struct tb_merge_packet packet;
    enum tb_err err = TB_OK;

    if (work->extract->as_pcap) {
        put_pcap_head(&work->out);
    }
    for (;;) {
        size_t lane = wanted_lane(work);

        if (lane < work->lane_count) {
            err = feed(work, lane, fail);
        } else if (tb_merge_peek(work->merge, &packet)) {
            work->counts.packets_read++;
            if (tb_select_takes(work->extract->select, packet.packet.utc_ns, packet.frame)) {
                put_packet(work, &packet);
            }
            err = tb_merge_pass(work->merge, fail);
        } else {
            break;
        }
        if (err == TB_OK && work->out.len >= OUT_BYTES) {
            err = flush(work, fail);
        }
        if (err != TB_OK) {
            return err;
        }
    }
    if (!work->extract->as_pcap) {
        tb_merge_put_header(work->merge, &work->out); /* also when nothing is wanted */
    }
    return flush(work, fail);
}

/* Nothing is wanted of any segment: the file still says whose it is. */
static enum tb_err
read_one_header(struct work *work, struct tb_fail *fail)
{
    struct segment *segment = &work->segments[0];
    enum tb_err err =
        tb_place_reader_open(work->place, segment->file, &segment->place_reader, fail);

    if (err == TB_OK) {
        struct tb_readable file = {read_segment, segment, segment->file->bytes};

        segment->through = tb_place_readable(segment->place_reader);
        err = tb_segment_reader_open_at(&file, &segment->reader, fail);
    }
    if (err == TB_OK) {
        err = tb_segment_reader_read(segment->reader, 0, &work->lanes[segment->lane].blocks,
                                     fail);
    }
    if (err == TB_OK) {
        err = tb_merge_feed(work->merge, segment->lane,
                            tb_buf_view(&work->lanes[segment->lane].blocks), fail);
    }
    tb_place_reader_free(segment->place_reader);
    segment->place_reader = NULL;
    return err;
}

static void
release(struct work *work)
{
    tb_mutex_lock(&work->mu);
    work->locked.stopping = true;
    tb_cond_broadcast(&work->changed);
    tb_mutex_unlock(&work->mu);
    join_threads(work);
    for (size_t i = 0; i < work->run_count; i++) {
        free(work->runs[i].at);
    }
    for (size_t i = 0; i < work->segment_count; i++) {
        tb_segment_reader_free(work->segments[i].reader);
    }
    for (size_t i = 0; i < work->lane_count; i++) {
        tb_buf_release(&work->lanes[i].blocks);
    }
    free(work->runs);
    free(work->order);
    free(work->segments);
    tb_manifest_release(&work->manifest);
    tb_merge_free(work->merge);
    tb_buf_release(&work->out);
    tb_cond_release(&work->changed);
    tb_mutex_release(&work->mu);
    free(work);
}

enum tb_err
tb_extract(struct tb_place *place, const struct tb_place_list *list,
           const struct tb_extract *extract, struct tb_extract_counts *out,
           struct tb_fail *fail)
{
    struct work *work = calloc(1, sizeof(*work));
    enum tb_err err;

    if (work == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for an extract");
    }
    work->place = place;
    work->extract = extract;
    work->out = (struct tb_buf)TB_BUF_INIT(OUT_BYTES + CHUNK_MAX_BYTES);
    tb_mutex_init(&work->mu);
    tb_cond_init(&work->changed);
    err = tb_merge_new(&work->merge, fail);
    if (err == TB_OK) {
        tb_merge_note(work->merge, extract->note);
        err = find_segments(work, list, fail);
    }
    if (err == TB_OK) {
        err = read_manifest(work, list, fail);
    }
    if (err == TB_OK) {
        err = open_all(work, fail);
    }
    if (err == TB_OK) {
        err = plan_runs(work, fail);
    }
    if (err == TB_OK && work->run_count == 0 && !extract->as_pcap) {
        err = read_one_header(work, fail);
    }
    if (err == TB_OK) {
        start_threads(work, read_ahead, work->run_count);
        err = write_all(work, fail);
    }
    if (err == TB_OK) {
        work->counts.is_checked = work->has_manifest;
        *out = work->counts;
    }
    release(work);
    return err;
}
