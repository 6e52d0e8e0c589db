/*
 * Summaries of the captures that run: a thread of serve follows their segments in the spool and
 * feeds the summarizing process; the summary of a capture that ended is kept in the store.
 *
 * It only reads, as a follower of the spool does: recording, upload and teardown never wait for
 * it.  What it did not get to read is said in the document (`not_read`).
 *
 * The first sight of what an alert spoke of is logged, entered in the custody log
 * (indicator_seen), counted, and may extend the capture.  Threads: any.
 */
#ifndef TAPBOX_SUMMARY_LIVE_H
#define TAPBOX_SUMMARY_LIVE_H

#include <tapbox/store.h>
#include <tapbox/summary.h>

struct tb_summary_live;

struct tb_summary_live_deps { /* borrowed */
    struct tb_store *store;
    int spool_fd;
    int64_t extend_ns; /* to have at least so much left at a first sight; 0: no extension */
    int64_t most_duration_ns; /* of a capture, from its request: no extension goes beyond */
    void (*wake)(void *arg);  /* an extension was asked for; may be NULL */
    void *arg;
};

TB_NODISCARD enum tb_err tb_summary_live_start(const struct tb_summary_live_deps *deps,
                                               struct tb_summary_live **out,
                                               struct tb_fail *fail);
void tb_summary_live_stop(struct tb_summary_live *live);
/* The document with at most `top` rows of each table, for the caller to tb_json_free.
 * TB_ENOTFOUND: nothing of it was recorded yet. */
TB_NODISCARD enum tb_err tb_summary_live_document(struct tb_summary_live *live,
                                                  const char *capture_id, size_t top,
                                                  struct tb_json **out, struct tb_fail *fail);

struct tb_summary_live_numbers {
    uint64_t packets;   /* summarized since the start */
    uint64_t sightings; /* first ones */
    uint64_t crashes;   /* of the process */
};
void tb_summary_live_numbers(struct tb_summary_live *live, struct tb_summary_live_numbers *out);

#endif
