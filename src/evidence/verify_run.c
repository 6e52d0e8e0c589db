/*
 * All captures of a place.
 *
 * Threads: `threads` workers (none when one is enough: then the caller does it all).  A worker
 * takes the next segment of a capture that has begun, or begins the next capture; whoever
 * checked the last segment of a capture ends it.  The caller's thread waits for them, tells
 * how far they are, and tells what was found, capture by capture in their order.
 */
#include "verify_int.h"

#include <assert.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/clock.h>
#include <tapbox/ids.h>

enum {
    MAX_THREADS = 32,
    REMOTE_THREADS = 16 /* they wait for S3 more than they compute */
};
static const int64_t tell_ns = TB_NS_PER_S / 5;

struct run {
    /* set once */
    const struct tb_verify *verify;
    struct verify_job *jobs; /* owned */
    size_t count;
    atomic_ullong progress;
    struct tb_mutex mu;
    struct tb_cond changed;
    struct {          /* touched only while holding mu, as are the jobs' states */
        size_t first; /* the first that is not done */
        size_t next;  /* the first that has not begun */
        unsigned workers;
        enum tb_err err;
        struct tb_fail fail;
    } locked;
};

/* --- which captures --- */

struct folders {
    char **at; /* owned, and each of them */
    size_t count, cap;
};

static enum tb_err
add_folder(struct folders *folders, const char *name, size_t len, struct tb_fail *fail)
{
    char *folder;

    if (folders->count > 0 && strlen(folders->at[folders->count - 1]) == len &&
        memcmp(folders->at[folders->count - 1], name, len) == 0) {
        return TB_OK;
    }
    if (folders->count == folders->cap) {
        size_t cap = folders->cap == 0 ? 64 : 2 * folders->cap;
        char **more = reallocarray(folders->at, cap, sizeof(*more));

        if (more == NULL) {
            return tb_fail_set(fail, TB_ENOMEM, "no memory for a list of captures");
        }
        folders->at = more;
        folders->cap = cap;
    }
    folder = strndup(name, len);
    if (folder == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a list of captures");
    }
    folders->at[folders->count++] = folder;
    return TB_OK;
}

bool
tb_verify_is_proof(const struct tb_place_list *list, const struct tb_place_file *file)
{
    static const char mark[] = ".proof/manifest.json";
    size_t len = strlen(file->name), mark_len = sizeof(mark) - 1;
    char *filter;
    bool found;

    if (len <= mark_len || strcmp(file->name + len - mark_len, mark) != 0 ||
        asprintf(&filter, "%.*sfilter", (int)(len - strlen("manifest.json")), file->name) < 0) {
        return false;
    }
    found = tb_place_find(list, filter) != NULL;
    free(filter);
    return found;
}

static bool
is_proof_there(const struct tb_place_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (tb_verify_is_proof(list, &list->at[i])) {
            return true;
        }
    }
    return false;
}

/* A folder is a capture's by its name or by a manifest in it; so is a link of that name, which
 * nobody follows. */
static enum tb_err
take_folders(struct folders *folders, const struct tb_place_list *list,
             const struct tb_place_file *file, struct tb_fail *fail)
{
    const char *name = file->name;
    enum tb_err err = TB_OK;

    for (const char *from = name; err == TB_OK && *from != '\0';) {
        size_t len = strcspn(from, "/");
        bool is_last = from[len] == '\0';
        char id[TB_CAPTURE_ID_SIZE];

        if (len < sizeof(id) && (!is_last || file->kind != TB_PLACE_FILE)) {
            memcpy(id, from, len);
            id[len] = '\0';
            if (tb_capture_id_valid(id)) {
                err = add_folder(folders, name, (size_t)(from - name) + len, fail);
            }
        } else if (is_last && strcmp(from, "manifest.json") == 0 &&
                   !tb_verify_is_proof(list, file)) {
            err = add_folder(folders, name, from > name ? (size_t)(from - name) - 1 : 0, fail);
        }
        from += len + (is_last ? 0 : 1);
    }
    return err;
}

static int
by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum tb_err
find_folders(const struct tb_place *place, const struct tb_place_list *list,
             struct folders *out, struct tb_fail *fail)
{
    enum tb_err err =
        tb_capture_id_valid(tb_place_name(place)) ? add_folder(out, "", 0, fail) : TB_OK;
    size_t kept = 0;

    for (size_t i = 0; i < list->count && err == TB_OK; i++) {
        err = take_folders(out, list, &list->at[i], fail);
    }
    if (out->count > 0) {
        qsort(out->at, out->count, sizeof(*out->at), by_text);
    }
    for (size_t i = 0; i < out->count; i++) {
        if (kept > 0 && strcmp(out->at[kept - 1], out->at[i]) == 0) {
            free(out->at[i]);
        } else {
            out->at[kept++] = out->at[i];
        }
    }
    out->count = kept;
    return err;
}

static void
release_folders(struct folders *folders)
{
    for (size_t i = 0; i < folders->count; i++) {
        free(folders->at[i]);
    }
    free(folders->at);
}

/* --- the work --- */

struct task {
    struct verify_job *job;
    bool is_begin;
    size_t segment;
};

/* False: there is none any more. */
static bool
take_task(struct run *run, struct task *out)
{
    bool found = false;

    tb_mutex_lock(&run->mu);
    while (!found && run->locked.err == TB_OK && run->locked.first < run->count) {
        for (size_t i = run->locked.first; i < run->locked.next && !found; i++) {
            struct verify_job *job = &run->jobs[i];

            if (job->state == VERIFY_SEGMENTS &&
                job->next_segment < job->manifest.segment_count) {
                *out = (struct task){job, false, job->next_segment++};
                found = true;
            }
        }
        if (!found && run->locked.next < run->count) {
            *out = (struct task){&run->jobs[run->locked.next++], true, 0};
            out->job->state = VERIFY_BEGINNING;
            found = true;
        }
        if (!found) {
            tb_cond_wait(&run->changed, &run->mu);
        }
    }
    tb_mutex_unlock(&run->mu);
    return found;
}

static void
set_failure_locked(struct run *run, enum tb_err err, const struct tb_fail *fail)
    TB_REQUIRES(run->mu)
{
    if (err != TB_OK && run->locked.err == TB_OK) {
        run->locked.err = err;
        run->locked.fail = *fail;
    }
}

/* True when the job's last segment is checked: the caller ends it. */
static bool
finish_task(struct run *run, const struct task *task, enum tb_err err,
            const struct tb_fail *fail)
{
    struct verify_job *job = task->job;
    bool is_last;

    tb_mutex_lock(&run->mu);
    set_failure_locked(run, err, fail);
    if (task->is_begin) {
        job->state = VERIFY_SEGMENTS;
    } else {
        job->segments_done++;
    }
    is_last = err == TB_OK && job->segments_done == job->manifest.segment_count;
    if (is_last) {
        job->state = VERIFY_ENDING;
    }
    tb_cond_broadcast(&run->changed);
    tb_mutex_unlock(&run->mu);
    return is_last;
}

static void
end_job(struct run *run, struct verify_job *job)
{
    struct tb_fail fail = {.text = ""};
    enum tb_err err = verify_end(job, &fail);

    tb_mutex_lock(&run->mu);
    set_failure_locked(run, err, &fail);
    job->state = VERIFY_DONE;
    while (run->locked.first < run->count &&
           run->jobs[run->locked.first].state == VERIFY_DONE) {
        run->locked.first++;
    }
    tb_cond_broadcast(&run->changed);
    tb_mutex_unlock(&run->mu);
}

static void
do_tasks(struct run *run)
{
    struct task task = {.job = NULL};

    while (take_task(run, &task)) {
        struct tb_fail fail = {.text = ""};
        enum tb_err err = task.is_begin ? verify_begin(task.job, &fail)
                                        : verify_segment(task.job, task.segment, &fail);

        if (finish_task(run, &task, err, &fail)) {
            end_job(run, task.job);
        }
    }
}

static void *
work(void *arg)
{
    struct run *run = arg;

    do_tasks(run);
    tb_mutex_lock(&run->mu);
    run->locked.workers--;
    tb_cond_broadcast(&run->changed);
    tb_mutex_unlock(&run->mu);
    return NULL;
}

/* --- the caller's thread --- */

/* Tells of captures that are done; `told` of them were told before. */
static size_t
tell_done(struct run *run, size_t told, size_t done)
{
    for (; told < done; told++) {
        verify_tell(&run->jobs[told]);
    }
    return told;
}

static void
tell_progress(struct run *run)
{
    unsigned long long more = atomic_exchange(&run->progress, 0);

    if (run->verify->progress != NULL && more > 0) {
        run->verify->progress(run->verify->arg, more);
    }
}

static void
wait_and_tell(struct run *run)
{
    size_t told = 0, done;
    bool more = true;

    while (more) {
        tb_mutex_lock(&run->mu);
        if (run->locked.workers > 0) {
            (void)tb_cond_wait_for(&run->changed, &run->mu, tell_ns);
        }
        more = run->locked.workers > 0;
        done = run->locked.first;
        tb_mutex_unlock(&run->mu);
        tell_progress(run);
        told = tell_done(run, told, done);
    }
}

static unsigned
threads_for(const struct tb_verify *verify, const struct tb_place *place)
{
    unsigned threads = verify->threads;
    cpu_set_t cpus;

    if (threads == 0 && tb_place_is_remote(place)) {
        threads = REMOTE_THREADS;
    } else if (threads == 0) {
        threads =
            sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? (unsigned)CPU_COUNT(&cpus) : 1;
    }
    if (threads <= 1 && verify->progress == NULL) {
        return 0; /* nobody watches the one: it may be the caller's */
    }
    return threads < MAX_THREADS ? threads : MAX_THREADS;
}

static enum tb_err
do_all(struct run *run, unsigned wanted, struct tb_fail *fail)
{
    pthread_t threads[MAX_THREADS] = {0};
    unsigned started = 0;
    enum tb_err err = TB_OK;

    tb_mutex_lock(&run->mu);
    run->locked.workers = wanted;
    tb_mutex_unlock(&run->mu);
    if (wanted == 0) {
        do_tasks(run);
    }
    for (; started < wanted; started++) {
        err = tb_thread_start(&threads[started], "verify", work, run, fail);
        if (err != TB_OK) {
            break;
        }
    }
    if (err != TB_OK) {
        tb_mutex_lock(&run->mu);
        run->locked.workers -= wanted - started;
        set_failure_locked(run, err, fail);
        tb_cond_broadcast(&run->changed);
        tb_mutex_unlock(&run->mu);
    }
    wait_and_tell(run);
    for (unsigned i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    if (run->locked.err != TB_OK && fail != NULL) {
        *fail = run->locked.fail;
    }
    return run->locked.err;
}

enum tb_err
tb_verify_place(const struct tb_verify *verify, struct tb_place *place,
                const struct tb_place_list *list, struct tb_verified **out, size_t *out_count,
                struct tb_fail *fail)
{
    struct run run = {.verify = verify};
    struct folders folders = {.count = 0};
    struct tb_verified *verified = NULL;
    struct tb_fail unasked = {.text = ""};
    enum tb_err err = find_folders(place, list, &folders, fail);

    tb_mutex_init(&run.mu);
    tb_cond_init(&run.changed);
    if (err == TB_OK && folders.count == 0) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "there is no capture%s",
                          is_proof_there(list) ? ", only extracts: name the file of one" : "");
    }
    if (err == TB_OK) {
        verified = calloc(folders.count, sizeof(*verified));
        run.jobs = calloc(folders.count, sizeof(*run.jobs));
        if (verified == NULL || run.jobs == NULL) {
            err = tb_fail_set(fail, TB_ENOMEM, "no memory for %zu captures", folders.count);
        }
    }
    if (err == TB_OK) {
        for (; run.count < folders.count; run.count++) {
            verify_job_init(&run.jobs[run.count], verify, place, list, folders.at[run.count],
                            &verified[run.count], &run.progress);
            folders.at[run.count] = NULL; /* the job owns it from here */
        }
        err = do_all(&run, threads_for(verify, place), fail != NULL ? fail : &unasked);
    }
    for (size_t i = 0; i < run.count; i++) {
        verify_job_release(&run.jobs[i]);
    }
    free(run.jobs);
    release_folders(&folders);
    tb_cond_release(&run.changed);
    tb_mutex_release(&run.mu);
    if (err != TB_OK) {
        free(verified);
        return err;
    }
    *out_count = run.count;
    tb_verify_chain(verify, verified, run.count);
    *out = verified;
    return TB_OK;
}
