/*
 * A file, or spans of it, brought here in parts.
 *
 * Threads: `threads` workers, each takes the next part, reads it and writes it to its place;
 * the caller's thread waits and tells how far they are.
 */
#include "place_int.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <tapbox/clock.h>
#include <tapbox/thread.h>

enum {
    PART_BYTES = 8 << 20, /* large against a request's cost, small against a retry's */
    THREADS_REMOTE = 8,
    THREADS_MAX = 32
};
static const int64_t tell_ns = TB_NS_PER_S / 5;

struct job {
    /* set once */
    struct tb_place *place;
    const struct tb_place_file *file;
    int fd;
    const struct tb_place_span *spans;
    size_t span_count;
    struct tb_mutex mu;
    struct tb_cond changed;
    struct {            /* touched only while holding mu */
        size_t span;    /* of which nobody has taken all yet */
        uint64_t taken; /* octets of it */
        uint64_t done;
        unsigned running;
        bool stop;
        enum tb_err err;
        struct tb_fail fail;
    } locked;
};

static enum tb_err
write_at(int fd, uint64_t offset, struct tb_bytes part, struct tb_fail *fail)
{
    while (part.len > 0) {
        ssize_t n = pwrite(fd, part.at, part.len, (off_t)offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return tb_fail_errno(fail, n < 0 ? errno : ENOSPC, "cannot write");
        }
        part = tb_bytes_of(part.at + n, part.len - (size_t)n);
        offset += (uint64_t)n;
    }
    return TB_OK;
}

static bool
take_part(struct job *job, uint64_t *offset, size_t *len)
{
    bool found;

    tb_mutex_lock(&job->mu);
    while (job->locked.span < job->span_count &&
           job->locked.taken == job->spans[job->locked.span].bytes) {
        job->locked.span++;
        job->locked.taken = 0;
    }
    found = job->locked.span < job->span_count && !job->locked.stop;
    if (found) {
        const struct tb_place_span *span = &job->spans[job->locked.span];
        uint64_t left = span->bytes - job->locked.taken;

        *offset = span->offset + job->locked.taken;
        *len = left < PART_BYTES ? (size_t)left : PART_BYTES;
        job->locked.taken += *len;
    }
    tb_mutex_unlock(&job->mu);
    return found;
}

static void
tell(struct job *job, size_t len, enum tb_err err, const struct tb_fail *fail)
{
    tb_mutex_lock(&job->mu);
    if (err == TB_OK) {
        job->locked.done += len;
    } else if (job->locked.err == TB_OK) {
        job->locked.err = err;
        job->locked.fail = *fail;
        job->locked.stop = true;
    }
    tb_mutex_unlock(&job->mu);
}

static void
carry(struct job *job)
{
    struct tb_place_reader *reader = NULL;
    struct tb_readable from;
    struct tb_fail fail = {.text = ""};
    uint64_t offset = 0;
    size_t len = 0;
    uint8_t *part = malloc(PART_BYTES);
    enum tb_err err = part == NULL
                          ? tb_fail_set(&fail, TB_ENOMEM, "no memory for a part")
                          : tb_place_reader_open(job->place, job->file, &reader, &fail);

    if (err != TB_OK) {
        tell(job, 0, err, &fail);
        free(part);
        return;
    }
    from = tb_place_readable(reader);
    while (err == TB_OK && take_part(job, &offset, &len)) {
        err = from.read(from.arg, offset, part, len, &fail);
        if (err == TB_OK) {
            err = write_at(job->fd, offset, tb_bytes_of(part, len), &fail);
        }
        tell(job, len, err, &fail);
    }
    tb_place_reader_free(reader);
    free(part);
}

static void *
run(void *arg)
{
    struct job *job = arg;

    carry(job);
    tb_mutex_lock(&job->mu);
    job->locked.running--;
    tb_cond_signal(&job->changed);
    tb_mutex_unlock(&job->mu);
    return NULL;
}

/* Until all workers have ended. */
static void
watch(struct job *job, const struct tb_place_copy *copy)
{
    bool more = true;

    tb_mutex_lock(&job->mu);
    while (job->locked.running > 0) {
        uint64_t done;

        (void)tb_cond_wait_for(&job->changed, &job->mu, tell_ns);
        done = job->locked.done;
        if (copy->progress == NULL || !more) {
            continue;
        }
        tb_mutex_unlock(&job->mu);
        more = copy->progress(copy->arg, done);
        tb_mutex_lock(&job->mu);
        if (!more && job->locked.err == TB_OK) {
            job->locked.err = tb_fail_set(&job->locked.fail, TB_ECLOSED, "given up");
            job->locked.stop = true;
        }
    }
    tb_mutex_unlock(&job->mu);
}

static unsigned
threads_for(const struct job *job, unsigned most)
{
    unsigned threads = tb_place_is_remote(job->place) ? THREADS_REMOTE : 1;
    uint64_t parts = 0;

    for (size_t i = 0; i < job->span_count; i++) {
        parts += (job->spans[i].bytes + PART_BYTES - 1) / PART_BYTES;
    }
    threads = most > 0 ? most : threads;
    threads = threads < THREADS_MAX ? threads : THREADS_MAX;
    threads = parts < threads ? (unsigned)parts : threads;
    return threads > 0 ? threads : 1;
}

enum tb_err
tb_place_copy(struct tb_place *place, const struct tb_place_file *file,
              const struct tb_place_copy *copy, struct tb_fail *fail)
{
    const struct tb_place_span all = {0, file->bytes};
    struct job job = {.place = place,
                      .file = file,
                      .fd = copy->fd,
                      .spans = copy->spans != NULL ? copy->spans : &all,
                      .span_count = copy->spans != NULL ? copy->span_count : 1};
    unsigned wanted = threads_for(&job, copy->threads), started = 0;
    pthread_t threads[THREADS_MAX];
    enum tb_err err = TB_OK;

    tb_mutex_init(&job.mu);
    tb_cond_init(&job.changed);
    tb_mutex_lock(&job.mu);
    job.locked.running = wanted;
    tb_mutex_unlock(&job.mu);
    for (; started < wanted && err == TB_OK; started++) {
        err = tb_thread_start(&threads[started], "fetch", run, &job, fail);
        if (err != TB_OK) {
            break;
        }
    }
    tb_mutex_lock(&job.mu);
    job.locked.running -= wanted - started;
    job.locked.stop = job.locked.stop || err != TB_OK;
    tb_mutex_unlock(&job.mu);
    watch(&job, copy);
    for (unsigned i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    if (err == TB_OK && job.locked.err != TB_OK) {
        err = job.locked.err;
        if (fail != NULL) {
            *fail = job.locked.fail;
        }
    }
    tb_cond_release(&job.changed);
    tb_mutex_release(&job.mu);
    return err;
}
