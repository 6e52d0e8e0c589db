/*
 * An extract while it is made, and a download.
 *
 * extract_plan.c  finds and opens the segments, and which of their chunks are to be read
 * extract.c       reads them ahead, merges, and writes what is wanted
 * missing.c       what of the segments cannot be read
 * download.c      a capture's files, each whole
 * manifest.c      what both go by, and who signed it
 * resume.c        what a part of a segment lacks
 */
#ifndef RETRIEVE_INT_H
#define RETRIEVE_INT_H

#include <stdatomic.h>

#include <tapbox/pcapng_merge.h>
#include <tapbox/retrieve.h>
#include <tapbox/thread.h>

enum {
    RETRIEVE_THREADS_MOST = 32,
    RETRIEVE_CHUNK_MAX_BYTES = TB_SEGMENT_MAX_CHUNK_BYTES + 4096
};

enum run_state {
    RUN_WAITING,
    RUN_TAKEN, /* somebody reads it */
    RUN_READ,
    RUN_FAILED,
    RUN_DONE
};

struct retrieve_run {
    struct retrieve_segment *segment;
    size_t first, count; /* chunks */
    uint64_t offset;
    size_t len;
    int64_t wanted_utc_ns; /* not before the merge has come to this time */
    enum run_state state;  /* while holding mu, as what follows */
    uint8_t *at;           /* owned */
    struct tb_fail fail;   /* also of one that was read: some of its chunks could not be */
};

struct retrieve_segment {
    const struct tb_place_file *file;
    const struct tb_extract *extract; /* once it is opened */
    size_t lane;
    uint64_t seq;
    struct tb_place_reader *place_reader; /* NULL once it is open */
    struct tb_readable through;           /* the place reader's */
    const struct retrieve_run *run;       /* whose octets are read from, afterwards */
    uint64_t index_bytes;
    struct tb_segment_reader *reader; /* NULL: nothing of it is wanted, or it is damaged */
    size_t chunks;
    struct tb_fail damage; /* why nothing of it is read; TB_OK: it is */
    bool is_headless;      /* its first chunk could not be read */
};

struct retrieve_lane {
    char prefix[TB_EVIDENCE_NAME_SIZE];
    struct retrieve_run
        *runs; /* of the list of all, those of the lane in their order; borrowed */
    size_t run_count, next_run, next_chunk;
    struct tb_buf blocks; /* that the merge reads */
};

struct retrieve_work {
    struct tb_place *place;
    const struct tb_extract *extract;
    struct tb_manifest manifest;       /* empty when there is none: counts.checked */
    struct retrieve_segment *segments; /* owned; in the order of lane and number */
    size_t segment_count;
    struct retrieve_lane lanes[TB_MERGE_MAX_INPUTS];
    size_t lane_count;
    struct retrieve_run *runs; /* owned; in the order of lane and number */
    size_t run_count, run_cap;
    struct retrieve_run **order; /* owned; in the order in which they will be wanted */
    atomic_size_t next_segment;
    struct tb_extract_counts counts;
    struct tb_missing_list missing;
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
    pthread_t threads[RETRIEVE_THREADS_MOST];
    unsigned thread_count;
};

/* resume.c: what `fd` still lacks of a file: the spans that have to be brought.  Nothing that
 * is there is believed: a chunk is kept when it has the SHA-256 that the index where the file
 * lies gives it (and that index the root of `known`, if not NULL).  *out is owned, of the order
 * of the file. */
TB_NODISCARD enum tb_err retrieve_lacks(struct tb_place *place,
                                        const struct tb_place_file *file,
                                        const struct tb_evidence_file *known, int fd,
                                        struct tb_place_span **out, size_t *out_count,
                                        struct tb_fail *fail);
/* Whether `fd`, as long as it, is the same segment: by its index there, without reading the
 * rest.
 */
bool retrieve_is_same(struct tb_place *place, const struct tb_place_file *file, int fd);
/* manifest.c: reads <folder>manifest.json, if it is in the list, and who signed it. */
TB_NODISCARD enum tb_err
retrieve_manifest(struct tb_place *place, const struct tb_place_list *list, const char *folder,
                  size_t folder_len, const struct tb_retrieve_trust *trust,
                  struct tb_manifest *out, struct tb_retrieve_checked *out_checked,
                  struct tb_fail *fail);
/* TB_EFORMAT names the first of `files` that is not in the list. */
TB_NODISCARD enum tb_err retrieve_check_there(const struct tb_place_list *list,
                                              const char *folder, size_t folder_len,
                                              const struct tb_evidence_file *files,
                                              size_t count, struct tb_fail *fail);
/* Fills in segments, lanes, runs and their order, from the indexes. */
TB_NODISCARD enum tb_err retrieve_plan(struct retrieve_work *work,
                                       const struct tb_place_list *list, struct tb_fail *fail);
/* The segment as the manifest names it. */
const char *retrieve_segment_name(const struct retrieve_segment *segment);
/* The segment's reader, from the place; `_close` goes on without it. */
TB_NODISCARD enum tb_err retrieve_segment_open(struct retrieve_work *work,
                                               struct retrieve_segment *segment,
                                               struct tb_fail *fail);
void retrieve_segment_close(struct retrieve_segment *segment);
/* Tells who wants to know what was read. */
TB_NODISCARD enum tb_err retrieve_keep(const struct tb_extract *extract,
                                       const struct tb_place_file *file, uint64_t offset,
                                       const uint8_t *at, size_t len, struct tb_fail *fail);
/* Runs `job` on as many threads as are of use, `most` at the most; with _join all have ended.
 */
void retrieve_start(struct retrieve_work *work, void *(*job)(void *), size_t most);
void retrieve_join(struct retrieve_work *work);

#endif
