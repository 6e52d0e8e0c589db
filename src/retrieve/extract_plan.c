/*
 * What an extract has to read: the segments by their names, their indexes, and of these the
 * chunks that may hold what is wanted.  Chunks that stand side by side are one read, a run.
 */
#include "retrieve_int.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/evidence.h>

enum {
    THREADS_REMOTE = 16,    /* a request takes tens of milliseconds, whatever its size */
    RUN_MAX_BYTES = 4 << 20 /* octets of one read */
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
find_lane(struct retrieve_work *work, const char *prefix, size_t len, size_t *out,
          struct tb_fail *fail)
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
    work->lanes[work->lane_count].blocks = (struct tb_buf)TB_BUF_INIT(RETRIEVE_CHUNK_MAX_BYTES);
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

/* An extract that was put into the capture's folder has a proof there: its segments are no
 * others.
 */
static bool
is_of_proof(const struct tb_place_list *list, const char *name)
{
    char path[TB_EVIDENCE_NAME_SIZE * 2];
    const struct tb_place_file *manifest;

    (void)snprintf(path, sizeof(path), "%.*smanifest.json", (int)capture_of(name), name);
    manifest = tb_place_find(list, path);
    return manifest != NULL && tb_verify_is_proof(list, manifest);
}

static int
by_lane(const void *a, const void *b)
{
    const struct retrieve_segment *x = a, *y = b;

    if (x->lane != y->lane) {
        return x->lane < y->lane ? -1 : 1;
    }
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static enum tb_err
find_segments(struct retrieve_work *work, const struct tb_place_list *list,
              struct tb_fail *fail)
{
    const char *first = NULL;
    enum tb_err err = TB_OK;

    work->segments = calloc(list->count + 1, sizeof(*work->segments));
    if (work->segments == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for %zu segments", list->count);
    }
    for (size_t i = 0; i < list->count && err == TB_OK; i++) {
        const struct tb_place_file *file = &list->at[i];
        struct retrieve_segment *segment = &work->segments[work->segment_count];
        size_t lane, folder = capture_of(file->name);

        if (file->kind != TB_PLACE_FILE || !parse_name(file->name, &lane, &segment->seq) ||
            is_of_proof(list, file->name)) {
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

/* --- opening --- */

enum tb_err
retrieve_keep(const struct tb_extract *extract, const struct tb_place_file *file,
              uint64_t offset, const uint8_t *at, size_t len, struct tb_fail *fail)
{
    return extract->keep == NULL
               ? TB_OK
               : extract->keep(extract->keep_arg, file, offset, tb_bytes_of(at, len), fail);
}

/* What a segment's reader reads from: the place while it is opened, a run's octets later. */
static enum tb_err
read_segment(void *arg, uint64_t offset, uint8_t *at, size_t len, struct tb_fail *fail)
{
    struct retrieve_segment *segment = arg;
    const struct retrieve_run *run = segment->run;
    enum tb_err err;

    if (segment->place_reader != NULL) {
        segment->index_bytes += len;
        err = segment->through.read(segment->through.arg, offset, at, len, fail);
        return err == TB_OK
                   ? retrieve_keep(segment->extract, segment->file, offset, at, len, fail)
                   : err;
    }
    if (run == NULL || offset < run->offset || len > run->len ||
        offset - run->offset > run->len - len) {
        return tb_fail_set(fail, TB_EINTERNAL, "a chunk that was not read");
    }
    memcpy(at, run->at + (offset - run->offset), len);
    return TB_OK;
}

const char *
retrieve_segment_name(const struct retrieve_segment *segment)
{
    return segment->file->name + capture_of(segment->file->name);
}

/* NULL: it is not in the manifest. */
static const struct tb_evidence_file *
known_as(const struct retrieve_work *work, const struct retrieve_segment *segment)
{
    const char *name = retrieve_segment_name(segment);

    for (size_t i = 0; i < work->manifest.segment_count; i++) {
        if (strcmp(work->manifest.segments[i].name, name) == 0) {
            return &work->manifest.segments[i];
        }
    }
    return NULL;
}

static enum tb_err
check_against_manifest(const struct retrieve_work *work, const struct retrieve_segment *segment,
                       struct tb_fail *fail)
{
    const struct tb_evidence_file *known = known_as(work, segment);
    struct tb_sha256 root;
    enum tb_err err;

    if (known == NULL) {
        return tb_fail_set(fail, TB_EFORMAT, "it is not in the manifest");
    }
    if (known->bytes != segment->file->bytes) {
        return tb_fail_set(fail, TB_EFORMAT, "it has %llu octets, the manifest says %llu",
                           (unsigned long long)segment->file->bytes,
                           (unsigned long long)known->bytes);
    }
    if (!known->has_root && work->extract->trust.is_required) {
        return tb_fail_set(fail, TB_EFORMAT,
                           "the manifest has no Merkle root of it: nothing vouches for parts "
                           "of it; all of it can be fetched");
    }
    err = tb_segment_merkle_root(segment->reader, &root, fail);
    if (err == TB_OK && known->has_root &&
        memcmp(&root, &known->merkle_root, sizeof(root)) != 0) {
        err = tb_fail_set(fail, TB_EFORMAT, "its index is not the manifest's");
    }
    return err;
}

static bool
wants_any(const struct retrieve_work *work, const struct retrieve_segment *segment)
{
    for (size_t i = 0; i < segment->chunks; i++) {
        if (tb_select_may_take(work->extract->select, segment->reader, i)) {
            return true;
        }
    }
    return false;
}

enum tb_err
retrieve_segment_open(struct retrieve_work *work, struct retrieve_segment *segment,
                      struct tb_fail *fail)
{
    struct tb_readable file = {read_segment, segment, segment->file->bytes};
    enum tb_err err =
        tb_place_reader_open(work->place, segment->file, &segment->place_reader, fail);

    segment->extract = work->extract;
    if (err == TB_OK) {
        segment->through = tb_place_readable(segment->place_reader);
        err = tb_segment_reader_open_at(&file, &segment->reader, fail);
    }
    return err;
}

void
retrieve_segment_close(struct retrieve_segment *segment)
{
    tb_place_reader_free(segment->place_reader);
    segment->place_reader = NULL;
}

static enum tb_err
open_segment(struct retrieve_work *work, struct retrieve_segment *segment, struct tb_fail *fail)
{
    struct tb_segment_summary summary;
    enum tb_err err = retrieve_segment_open(work, segment, fail);

    if (err == TB_OK) {
        tb_segment_reader_summary(segment->reader, &summary);
        segment->chunks = summary.chunk_count;
        err = work->counts.checked.by_manifest ? check_against_manifest(work, segment, fail)
                                               : TB_OK;
    }
    if (tb_missing_is_damage(work->place, err)) {
        segment->damage = *fail;
        segment->chunks = 0;
        err = TB_OK;
    }
    if (err != TB_OK) {
        tb_fail_prefix(fail, "%s", segment->file->name);
    } else if (!wants_any(work, segment)) {
        tb_segment_reader_free(segment->reader);
        segment->reader = NULL;
    }
    retrieve_segment_close(segment);
    return err;
}

static void *
open_segments(void *arg)
{
    struct retrieve_work *work = arg;
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

void
retrieve_start(struct retrieve_work *work, void *(*job)(void *), size_t most)
{
    unsigned wanted = work->extract->threads;

    if (wanted == 0) {
        wanted = tb_place_is_remote(work->place) ? THREADS_REMOTE : 2;
    }
    while (work->thread_count < wanted && work->thread_count < RETRIEVE_THREADS_MOST &&
           work->thread_count < most &&
           tb_thread_start(&work->threads[work->thread_count], "fetch", job, work, NULL) ==
               TB_OK) {
        work->thread_count++;
    }
}

void
retrieve_join(struct retrieve_work *work)
{
    while (work->thread_count > 0) {
        (void)pthread_join(work->threads[--work->thread_count], NULL);
    }
}

static enum tb_err
open_all(struct retrieve_work *work, struct tb_fail *fail)
{
    retrieve_start(work, open_segments, work->segment_count);
    if (work->thread_count == 0) {
        (void)open_segments(work);
    }
    retrieve_join(work);
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

/* --- what is not there, or not what it should be --- */

/* All of a segment; `known` is what the manifest says of it, NULL: nothing. */
static enum tb_err
add_missing(struct retrieve_work *work, const char *name, uint64_t bytes,
            const struct tb_evidence_file *known, const char *why, struct tb_fail *fail)
{
    struct tb_missing missing = {.bytes = bytes};

    (void)tb_str_copy(missing.segment, sizeof(missing.segment), name);
    (void)tb_str_copy(missing.why, sizeof(missing.why), why);
    if (known != NULL) {
        missing.bytes = known->bytes;
        missing.from_utc_ns = known->first_utc_ns;
        missing.to_utc_ns = known->last_utc_ns;
        missing.packets = known->packets;
        missing.is_counted = true;
    }
    return tb_missing_add(&work->missing, &missing, fail);
}

/* What the manifest names and is not there, and what was opened in vain.  TB_EFORMAT: there is
 * nothing else. */
static enum tb_err
tell_missing(struct retrieve_work *work, const struct tb_place_list *list, const char *folder,
             size_t len, struct tb_fail *fail)
{
    size_t damaged = 0;
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < work->manifest.segment_count && err == TB_OK; i++) {
        const struct tb_evidence_file *known = &work->manifest.segments[i];

        if (retrieve_check_there(list, folder, len, known, 1, NULL) != TB_OK) {
            err = add_missing(work, known->name, known->bytes, known, "it is not there", fail);
        }
    }
    for (size_t i = 0; i < work->segment_count && err == TB_OK; i++) {
        const struct retrieve_segment *segment = &work->segments[i];

        if (segment->damage.err != TB_OK) {
            damaged++;
            err = add_missing(work, retrieve_segment_name(segment), segment->file->bytes,
                              known_as(work, segment), segment->damage.text, fail);
        }
    }
    return err == TB_OK && damaged == work->segment_count
               ? tb_fail_set(fail, TB_EFORMAT, "no segment can be read; %s: %s",
                             work->segments[0].file->name, work->segments[0].damage.text)
               : err;
}

/* --- runs --- */

static enum tb_err
add_run(struct retrieve_work *work, struct retrieve_segment *segment, size_t i,
        int64_t *wanted_utc_ns, struct tb_fail *fail)
{
    const struct tb_segment_chunk *chunk = tb_segment_reader_chunk(segment->reader, i);
    struct retrieve_run *last = work->run_count > 0 ? &work->runs[work->run_count - 1] : NULL;

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
        struct retrieve_run *more = realloc(work->runs, cap * sizeof(*more));

        if (more == NULL) {
            return tb_fail_set(fail, TB_ENOMEM, "no memory for %zu reads", cap);
        }
        work->runs = more;
        work->run_cap = cap;
    }
    assert(work->runs != NULL);
    work->runs[work->run_count++] = (struct retrieve_run){.segment = segment,
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
    const struct retrieve_run *const *x = a, *const *y = b;

    if ((*x)->wanted_utc_ns != (*y)->wanted_utc_ns) {
        return (*x)->wanted_utc_ns < (*y)->wanted_utc_ns ? -1 : 1;
    }
    return *x < *y ? -1 : *x > *y;
}

/* What is to be read: of each segment with a chunk that may hold something, chunk 0 for its
 * interfaces, and those chunks. */
static enum tb_err
plan_runs(struct retrieve_work *work, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;
    int64_t wanted = 0;

    for (size_t s = 0; s < work->segment_count && err == TB_OK; s++) {
        struct retrieve_segment *segment = &work->segments[s];

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
    work->order = calloc(work->run_count + 1, sizeof(struct retrieve_run *));
    if (work->order == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for %zu reads", work->run_count);
    }
    for (size_t i = 0; i < work->run_count; i++) {
        struct retrieve_lane *lane = &work->lanes[work->runs[i].segment->lane];

        work->order[i] = &work->runs[i];
        lane->runs = lane->run_count == 0 ? &work->runs[i] : lane->runs;
        lane->run_count++;
    }
    qsort(work->order, work->run_count, sizeof(struct retrieve_run *), by_time);
    return TB_OK;
}

enum tb_err
retrieve_plan(struct retrieve_work *work, const struct tb_place_list *list,
              struct tb_fail *fail)
{
    const char *name;
    enum tb_err err = find_segments(work, list, fail);

    if (err != TB_OK) {
        return err;
    }
    name = work->segments[0].file->name;
    err = retrieve_manifest(work->place, list, name, capture_of(name), &work->extract->trust,
                            &work->manifest, &work->counts.checked, fail);
    if (err == TB_OK) {
        err = open_all(work, fail);
    }
    if (err == TB_OK) {
        err = tell_missing(work, list, name, capture_of(name), fail);
    }
    return err == TB_OK ? plan_runs(work, fail) : err;
}
