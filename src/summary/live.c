/*
 * One thread for all captures.  It waits for nothing but its clock: every 100 ms it takes what
 * the recorder has put down since, a few chunks of each capture in turn.
 *
 * A crash of the process takes all summaries with it: each is begun again from what the spool
 * still holds.  A capture whose chunk ends the process three times is left alone.
 */
#include <tapbox/summary_live.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/log.h>
#include <tapbox/spool_follow.h>
#include <tapbox/thread.h>

#include "summary_int.h"

enum {
    CHUNKS_IN_TURN = 8,
    MAX_CRASHES = 3 /* while a chunk of the same capture was in hand */
};
static const int64_t look_ns = 500 * TB_NS_PER_MS; /* for captures, and for more alerts */

/* A capture that is followed; its place in the array is its number. */
struct followed {
    bool is_used, is_begun; /* begun: the process knows it */
    bool is_over;           /* the recorder has closed it */
    bool is_listed;         /* the store has it among those that are not final */
    bool has_ended;         /* all that was there of it has been read */
    bool given_up;
    char id[TB_CAPTURE_ID_SIZE];
    struct tb_spool_follower *follower;           /* owned */
    struct summary_iocs iocs;                     /* as the process has them */
    uint64_t announced[TB_SUMMARY_MAX_IOCS / 64]; /* a bit for each of them */
    uint32_t alerts;                              /* read so far */
    uint32_t crashes;
    uint64_t packets;
};

struct tb_summary_live {
    struct tb_summary_live_deps deps;
    struct tb_summarizer *summarizer;
    pthread_t thread;
    bool has_thread;
    atomic_ullong packets, sightings;
    struct { /* the thread's own */
        struct tb_alert *alert;
        struct tb_sighting *seen;
        struct tb_ioc *iocs;
    } scratch;
    struct tb_mutex mu;
    struct tb_cond stop_asked;
    struct { /* touched only while holding mu; the thread reads what only it changes */
        bool stopping;
        struct followed *all; /* owned; TB_SUMMARIZER_MAX of them */
    } locked;
};

/* --- beginning and ending to follow one --- */

static unsigned
number_of(const struct tb_summary_live *live, const struct followed *one)
{
    return (unsigned)(one - live->locked.all);
}

static void
forget(struct tb_summary_live *live, struct followed *one)
{
    tb_summarizer_end(live->summarizer, number_of(live, one));
    tb_mutex_lock(&live->mu);
    tb_spool_unfollow(one->follower);
    summary_iocs_release(&one->iocs);
    *one = (struct followed){.is_used = false};
    tb_mutex_unlock(&live->mu);
}

static struct followed *
find(struct tb_summary_live *live, const char *id)
{
    for (size_t i = 0; i < TB_SUMMARIZER_MAX; i++) {
        struct followed *one = &live->locked.all[i];

        if (one->is_used && strcmp(one->id, id) == 0) {
            return one;
        }
    }
    return NULL;
}

static void
follow(struct tb_summary_live *live, const char *id)
{
    struct followed *one = find(live, id);

    for (size_t i = 0; one == NULL && i < TB_SUMMARIZER_MAX; i++) {
        if (!live->locked.all[i].is_used) {
            one = &live->locked.all[i];
            tb_mutex_lock(&live->mu);
            summary_iocs_init(&one->iocs);
            (void)tb_str_copy(one->id, sizeof(one->id), id);
            one->is_used = true;
            tb_mutex_unlock(&live->mu);
        }
    }
    if (one != NULL) {
        one->is_listed = true;
    }
}

/* --- what the alerts spoke of --- */

static void
watch(struct tb_summary_live *live, struct followed *one, const struct tb_ioc *ioc)
{
    bool is_new = false;

    if (summary_iocs_add(&one->iocs, ioc, &is_new, NULL) == TB_OK && is_new && one->is_begun) {
        struct tb_fail fail = {0};

        if (tb_summarizer_watch(live->summarizer, number_of(live, one), ioc, &fail) != TB_OK) {
            tb_log_fail(TB_LOG_WARN, one->id, &fail, "not watched: %.100s", ioc->value);
        }
    }
}

static void
read_alerts(struct tb_summary_live *live, struct followed *one)
{
    while (tb_store_alert_parsed(live->deps.store, one->id, one->alerts + 1,
                                 live->scratch.alert, NULL) == TB_OK) {
        size_t count = tb_iocs_of_alert(live->scratch.alert, live->scratch.iocs);

        one->alerts++;
        for (size_t i = 0; i < count; i++) {
            watch(live, one, &live->scratch.iocs[i]);
        }
    }
}

/* The evidence is on the wire now: there should be time to record it. */
static void
extend(struct tb_summary_live *live, const char *id)
{
    struct tb_capture *capture = calloc(1, sizeof(*capture));
    struct tb_fail fail = {0};
    int64_t to_ns, latest_ns;

    if (capture == NULL || tb_store_capture_get(live->deps.store, id, capture, NULL) != TB_OK) {
        free(capture);
        return;
    }
    /* from now, as the clock was by which the deadline was set */
    to_ns = capture->deadline.utc_ns - tb_deadline_left_ns(&capture->deadline) +
            live->deps.extend_ns;
    latest_ns = tb_capture_latest_utc_ns(capture, live->deps.most_duration_ns,
                                         tb_store_steady_ns(live->deps.store));
    to_ns = to_ns < latest_ns ? to_ns : latest_ns;
    to_ns -= to_ns % TB_NS_PER_S; /* deadlines are whole seconds */
    if (to_ns > capture->deadline.utc_ns && to_ns > capture->extend_to_utc_ns) {
        if (tb_store_capture_ask_extend(live->deps.store, id, to_ns, NULL, &fail) != TB_OK) {
            tb_log_fail(TB_LOG_WARN, id, &fail, "not extended at the first sight");
        } else if (live->deps.wake != NULL) {
            live->deps.wake(live->deps.arg);
        }
    }
    free(capture);
}

static void
announce(struct tb_summary_live *live, struct followed *one, size_t i,
         const struct tb_sighting *seen)
{
    const struct tb_ioc *ioc = &one->iocs.list[i];
    struct tb_json *detail = tb_json_object();
    char first[TB_TIME_TEXT_SIZE], port[16] = "";
    struct tb_fail fail = {0};

    if (ioc->port != 0) {
        (void)snprintf(port, sizeof(port), " port %u", ioc->port);
    }
    tb_time_format_ns(first, seen->first_utc_ns);
    tb_log(TB_LOG_WARN, one->id, "seen: %s %s%s, first at %s", tb_ioc_kind_name(ioc->kind),
           ioc->value, port, first);
    tb_json_set_str(detail, "kind", tb_ioc_kind_name(ioc->kind));
    tb_json_set_str(detail, "value", ioc->value[0] != '\0' ? ioc->value : NULL);
    tb_json_set_int(detail, "port", ioc->port);
    tb_json_set_str(detail, "first", first);
    if (tb_store_custody_add(live->deps.store, one->id, "indicator_seen", NULL, detail,
                             &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, one->id, &fail, "a sighting is not in the custody log");
    }
    (void)atomic_fetch_add(&live->sightings, 1);
    if (live->deps.extend_ns > 0) {
        extend(live, one->id);
    }
}

static void
look_at_sightings(struct tb_summary_live *live, struct followed *one, size_t count)
{
    for (size_t i = 0; i < count && i < one->iocs.count; i++) {
        uint64_t bit = UINT64_C(1) << (i % 64);

        if (tb_sighting_is_seen(&live->scratch.seen[i]) &&
            (one->announced[i / 64] & bit) == 0) {
            one->announced[i / 64] |= bit;
            announce(live, one, i, &live->scratch.seen[i]);
        }
    }
}

/* --- feeding --- */

/* The process does not know it, or not any more. */
static void
begin_anew_locked(struct tb_summary_live *live TB_UNUSED, struct followed *one)
    TB_REQUIRES(live->mu)
{
    one->is_begun = false;
    one->has_ended = false;
    one->packets = 0;
    tb_spool_unfollow(one->follower);
    one->follower = NULL;
}

/* The process has ended: nobody is known to the next one. */
static void
begin_all_anew(struct tb_summary_live *live)
{
    tb_log(TB_LOG_ERROR, NULL, "the process that summarizes ended and is started again");
    tb_mutex_lock(&live->mu);
    for (size_t i = 0; i < TB_SUMMARIZER_MAX; i++) {
        begin_anew_locked(live, &live->locked.all[i]);
    }
    tb_mutex_unlock(&live->mu);
}

static bool
begin(struct tb_summary_live *live, struct followed *one)
{
    unsigned number = number_of(live, one);
    struct tb_spool_follower *follower = NULL;
    struct tb_fail fail = {0};
    enum tb_err err;

    if (one->is_begun) {
        return true;
    }
    err = tb_summarizer_begin(live->summarizer, number, &fail);
    for (size_t i = 0; i < one->iocs.count && err == TB_OK; i++) {
        err = tb_summarizer_watch(live->summarizer, number, &one->iocs.list[i], &fail);
    }
    if (err == TB_OK) {
        err = tb_spool_follow(live->deps.spool_fd, one->id, true, &follower, &fail);
    }
    if (err != TB_OK) {
        if (err != TB_ERETRY) {
            tb_log_fail(TB_LOG_WARN, one->id, &fail, "no summary for now");
        }
        return false;
    }
    tb_mutex_lock(&live->mu);
    one->follower = follower;
    one->is_begun = true;
    tb_mutex_unlock(&live->mu);
    return true;
}

/* Keeps the summary of what has ended. */
static void
finish(struct tb_summary_live *live, struct followed *one)
{
    struct tb_buf text = TB_BUF_INIT(TB_SUMMARY_MAX_BYTES);
    struct tb_json *root = NULL;
    struct tb_fail fail = {0};
    enum tb_err err;

    tb_mutex_lock(&live->mu);
    one->has_ended = true;
    tb_mutex_unlock(&live->mu);
    err = tb_summary_live_document(live, one->id, TB_SUMMARY_TOP, &root, &fail);
    if (err == TB_OK) {
        err = tb_json_dump(root, false, &text, &fail);
    }
    if (err == TB_OK) {
        err = tb_store_summary_put(live->deps.store, one->id, tb_buf_view(&text), &fail);
    }
    if (err != TB_OK && err != TB_ENOTFOUND) {
        tb_log_fail(TB_LOG_WARN, one->id, &fail, "its summary is not kept");
    }
    tb_json_free(root);
    tb_buf_release(&text);
    forget(live, one);
}

/* One chunk; false when there is none now. */
static bool
feed(struct tb_summary_live *live, struct followed *one)
{
    struct tb_spool_chunk chunk;
    uint64_t packets = one->packets;
    size_t count = 0;
    enum tb_err err = tb_spool_follow_next(one->follower, one->is_over, &chunk, NULL);

    if (err == TB_ECLOSED) {
        finish(live, one);
        return false;
    }
    if (err != TB_OK) {
        return false;
    }
    err = tb_summarizer_chunk(live->summarizer, number_of(live, one), chunk.blocks, &packets,
                              live->scratch.seen, &count, NULL);
    if (err == TB_ECLOSED) {
        if (++one->crashes >= MAX_CRASHES) {
            tb_log(TB_LOG_ERROR, one->id, "it ended the summarizer %u times: no summary of it",
                   one->crashes);
            one->given_up = true;
        }
        begin_all_anew(live);
        return false;
    }
    if (err == TB_ENOTFOUND) { /* another capture has started the process again */
        tb_mutex_lock(&live->mu);
        begin_anew_locked(live, one);
        tb_mutex_unlock(&live->mu);
        return false;
    }
    if (err == TB_OK || err == TB_EFORMAT) {
        (void)atomic_fetch_add(&live->packets, packets - one->packets);
        one->packets = packets;
        look_at_sightings(live, one, count);
    }
    return true;
}

/* --- the thread --- */

/* Those that record or have recorded and are not final. */
static void
look_for_captures(struct tb_summary_live *live)
{
    struct tb_due *due = NULL;
    size_t count = 0;

    if (tb_store_due_list(live->deps.store, &due, &count, NULL) != TB_OK) {
        return;
    }
    for (size_t i = 0; i < TB_SUMMARIZER_MAX; i++) {
        live->locked.all[i].is_listed = false;
    }
    for (size_t i = 0; i < count; i++) {
        bool records = tb_capture_state_is_live(due[i].state);
        struct followed *one;

        if (records) {
            follow(live, due[i].id);
        }
        one = find(live, due[i].id);
        if (one != NULL) {
            one->is_listed = true;
            one->is_over = !records;
        }
    }
    free(due);
    for (size_t i = 0; i < TB_SUMMARIZER_MAX; i++) {
        struct followed *one = &live->locked.all[i];

        if (one->is_used) {
            one->is_over = one->is_over || !one->is_listed;
            read_alerts(live, one);
        }
    }
}

static void
take_turn(struct tb_summary_live *live, struct followed *one)
{
    if (one->given_up) {
        if (one->is_over) {
            forget(live, one);
        }
        return;
    }
    if (!begin(live, one)) {
        return;
    }
    for (int i = 0; i < CHUNKS_IN_TURN && feed(live, one); i++) {
    }
}

static void *
run(void *arg)
{
    struct tb_summary_live *live = arg;
    int64_t looked_ns = 0;
    bool stopping = false;

    while (!stopping) {
        if (looked_ns == 0 || tb_clock_boot_ns() - looked_ns >= look_ns) {
            looked_ns = tb_clock_boot_ns();
            look_for_captures(live);
        }
        for (size_t i = 0; i < TB_SUMMARIZER_MAX; i++) {
            if (live->locked.all[i].is_used) {
                take_turn(live, &live->locked.all[i]);
            }
        }
        tb_mutex_lock(&live->mu);
        if (!live->locked.stopping) {
            (void)tb_cond_wait_for(&live->stop_asked, &live->mu,
                                   TB_SPOOL_FOLLOW_POLL_MS * TB_NS_PER_MS);
        }
        stopping = live->locked.stopping;
        tb_mutex_unlock(&live->mu);
    }
    return NULL;
}

enum tb_err
tb_summary_live_start(const struct tb_summary_live_deps *deps, struct tb_summary_live **out,
                      struct tb_fail *fail)
{
    struct tb_summary_live *live = calloc(1, sizeof(*live));
    enum tb_err err = TB_ENOMEM;

    if (live == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for summaries");
    }
    live->deps = *deps;
    tb_mutex_init(&live->mu);
    tb_cond_init(&live->stop_asked);
    live->scratch.alert = calloc(1, sizeof(*live->scratch.alert));
    live->scratch.seen = calloc(TB_SUMMARY_MAX_IOCS, sizeof(*live->scratch.seen));
    live->scratch.iocs = calloc(TB_IOCS_OF_ALERT_MAX, sizeof(*live->scratch.iocs));
    live->locked.all = calloc(TB_SUMMARIZER_MAX, sizeof(*live->locked.all));
    if (live->scratch.alert == NULL || live->scratch.seen == NULL ||
        live->scratch.iocs == NULL || live->locked.all == NULL) {
        err = tb_fail_set(fail, TB_ENOMEM, "no memory for summaries");
        goto out;
    }
    err = tb_summarizer_new(&live->summarizer, fail);
    if (err == TB_OK) {
        err = tb_thread_start(&live->thread, "summary", run, live, fail);
        live->has_thread = err == TB_OK;
    }
    if (err == TB_OK) {
        *out = live;
        live = NULL;
    }

out:
    tb_summary_live_stop(live);
    return err;
}

void
tb_summary_live_stop(struct tb_summary_live *live)
{
    if (live == NULL) {
        return;
    }
    if (live->has_thread) {
        tb_mutex_lock(&live->mu);
        live->locked.stopping = true;
        tb_cond_broadcast(&live->stop_asked);
        tb_mutex_unlock(&live->mu);
        (void)pthread_join(live->thread, NULL);
    }
    for (size_t i = 0; live->locked.all != NULL && i < TB_SUMMARIZER_MAX; i++) {
        tb_spool_unfollow(live->locked.all[i].follower);
        summary_iocs_release(&live->locked.all[i].iocs);
    }
    tb_summarizer_free(live->summarizer);
    free(live->locked.all);
    free(live->scratch.alert);
    free(live->scratch.seen);
    free(live->scratch.iocs);
    tb_cond_release(&live->stop_asked);
    tb_mutex_release(&live->mu);
    free(live);
}

/* --- for others --- */

/* Those that the follower missed, and those that were gone without its notice: after a restart
 * nothing of a lane may be left by which it could tell. */
static enum tb_err
count_not_read_locked(struct tb_summary_live *live, const struct followed *one, uint64_t *out,
                      struct tb_fail *fail) TB_REQUIRES(live->mu)
{
    struct tb_segment_row *rows = NULL;
    uint64_t not_read;
    size_t count = 0;
    enum tb_err err = tb_store_segment_list(live->deps.store, one->id, &rows, &count, fail);

    if (err != TB_OK) {
        return err;
    }
    not_read = tb_spool_follow_missed(one->follower);
    for (size_t i = 0; i < count; i++) {
        bool is_gone = !rows[i].local || one->has_ended; /* else its turn may come */

        not_read += is_gone && !tb_spool_follow_passed(one->follower, rows[i].name);
    }
    free(rows);
    *out = not_read;
    return TB_OK;
}

/* What the process made, and what only this side knows. */
static enum tb_err
live_document_locked(struct tb_summary_live *live, const struct followed *one, size_t top,
                     struct tb_json **out, struct tb_fail *fail) TB_REQUIRES(live->mu)
{
    struct tb_json *root = NULL;
    struct tb_json *not_read;
    uint64_t segments = 0;
    enum tb_err err;

    if (!one->is_begun) {
        return tb_fail_set(fail, TB_ENOTFOUND, "nothing of %s is summarized yet", one->id);
    }
    err = count_not_read_locked(live, one, &segments, fail);
    if (err == TB_OK) {
        err = tb_summarizer_document(live->summarizer, number_of(live, one), top, &root, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    not_read = tb_json_object();
    tb_json_set_int(not_read, "segments", (int64_t)segments);
    tb_json_set_str(root, "capture", one->id);
    tb_json_set_bool(root, "is_final", one->is_over);
    tb_json_set(root, "not_read", not_read);
    *out = root;
    return TB_OK;
}

static enum tb_err
kept_document(struct tb_summary_live *live, const char *capture_id, size_t top,
              struct tb_json **out, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_SUMMARY_MAX_BYTES);
    enum tb_err err = tb_store_summary_get(live->deps.store, capture_id, &text, fail);

    if (err == TB_OK) {
        err = tb_json_parse_max(tb_buf_view(&text), TB_SUMMARY_MAX_BYTES, out, fail);
    }
    if (err == TB_OK) {
        summary_document_cut(*out, top);
    }
    tb_buf_release(&text);
    return err;
}

enum tb_err
tb_summary_live_document(struct tb_summary_live *live, const char *capture_id, size_t top,
                         struct tb_json **out, struct tb_fail *fail)
{
    enum tb_err err = TB_ENOTFOUND;
    const struct followed *one;

    tb_mutex_lock(&live->mu);
    one = find(live, capture_id);
    if (one != NULL) {
        err = live_document_locked(live, one, top, out, fail);
    }
    tb_mutex_unlock(&live->mu);
    return one != NULL ? err : kept_document(live, capture_id, top, out, fail);
}

void
tb_summary_live_numbers(struct tb_summary_live *live, struct tb_summary_live_numbers *out)
{
    out->packets = atomic_load(&live->packets);
    out->sightings = atomic_load(&live->sightings);
    out->crashes = tb_summarizer_crashes(live->summarizer);
}
