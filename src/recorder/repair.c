/*
 * What a dead recorder left open is repaired beside the recording: with many gigabytes of it
 * that takes minutes, in which the captures are armed again already.
 *
 * Threads: one, which waits for nothing but its files, and for the disk that fails.
 */
#include "lane_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <tapbox/io.h>
#include <tapbox/log.h>

enum {
    NICE = 10,      /* behind those that receive and write */
    TRIES = 5,      /* of a file that the disk does not give: 7 seconds */
    TELL_EVERY = 20 /* tries: the same trouble of a file is told every ten minutes */
};
static const int64_t first_pause_ns = TB_NS_PER_S / 2; /* then twice as long each time, to: */
static const int64_t most_pause_ns = 30 * TB_NS_PER_S;

struct tb_repair {
    int spool_fd; /* borrowed */
    struct tb_spool_left left;
    struct tb_repair_counts counts; /* the thread's, while there is one */
    pthread_t thread;
    bool running;
    struct tb_mutex mu;
    struct tb_cond stop_asked;
    struct { /* touched only while holding mu */
        bool stopping;
    } locked;
};

enum tb_err
tb_repair_new(int spool_fd, struct tb_repair **out, struct tb_fail *fail)
{
    struct tb_repair *repair = calloc(1, sizeof(*repair));
    enum tb_err err;

    if (repair == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to repair segments");
    }
    repair->spool_fd = spool_fd;
    tb_mutex_init(&repair->mu);
    tb_cond_init(&repair->stop_asked);
    err = tb_spool_left(spool_fd, &repair->left, fail);
    if (err != TB_OK) {
        tb_repair_free(repair);
        return err;
    }
    *out = repair;
    return TB_OK;
}

/* Under its sealed name. */
static enum tb_err
publish(int dir_fd, const char *hidden, struct tb_fail *fail)
{
    return renameat2(dir_fd, hidden, dir_fd, hidden + 1, RENAME_NOREPLACE) == 0
               ? TB_OK
               : tb_fail_errno(fail, errno, "cannot rename %s", hidden);
}

/* TB_ENOTFOUND: there is nothing in it to save. */
static enum tb_err
repair_file(int dir_fd, const char *hidden, struct tb_fail *fail)
{
    struct tb_segment_summary summary;
    bool changed;
    enum tb_err err;
    int fd = openat(dir_fd, hidden, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0) {
        return tb_fail_errno(fail, errno, "cannot open %s", hidden);
    }
    err = tb_segment_recover(fd, &changed, &summary, fail);
    if (err == TB_OK && summary.packets == 0) {
        err = TB_ENOTFOUND; /* nothing but section and interfaces */
    }
    if (err == TB_OK && fsync(fd) != 0) {
        err = tb_fail_errno(fail, errno, "cannot sync %s", hidden);
    }
    tb_close(&fd);
    return err == TB_OK ? publish(dir_fd, hidden, fail) : err;
}

/* One that the disk does not give, or that is damaged before its end, is neither cut nor
 * removed: as it is, it is the uploader's, who saves what can be read of it. */
static enum tb_err
repair_one(struct tb_repair *repair, const struct tb_spool_left_segment *one, unsigned tries,
           struct tb_fail *fail)
{
    int dir_fd = -1;
    enum tb_err err = tb_spool_open_capture(repair->spool_fd, one->capture_id, &dir_fd, fail);

    if (err == TB_OK) {
        err = repair_file(dir_fd, one->name, fail);
    }
    if (err == TB_OK) {
        repair->counts.recovered++;
    } else if (err == TB_ENOTFOUND || err == TB_EFORMAT || err == TB_ESHORT) {
        err = dir_fd >= 0 && unlinkat(dir_fd, one->name, 0) != 0 && errno != ENOENT
                  ? tb_fail_errno(fail, errno, "cannot remove %s", one->name)
                  : TB_OK;
        repair->counts.lost += err == TB_OK ? 1 : 0;
    } else if (err == TB_ESTATE || (err == TB_EIO && tries >= TRIES)) {
        tb_log_fail(TB_LOG_ERROR, one->capture_id, fail,
                    "cannot repair %s: it is left to the uploader as it is", one->name);
        err = publish(dir_fd, one->name, fail);
        repair->counts.unreadable += err == TB_OK ? 1 : 0;
    }
    if (err == TB_OK) {
        (void)fsync(dir_fd);
    }
    tb_close(&dir_fd);
    return err;
}

static bool
is_stopping(struct tb_repair *repair)
{
    bool stopping;

    tb_mutex_lock(&repair->mu);
    stopping = repair->locked.stopping;
    tb_mutex_unlock(&repair->mu);
    return stopping;
}

static void
pause_for(struct tb_repair *repair, int64_t ns)
{
    int64_t until_ns = tb_clock_boot_ns() + ns;

    tb_mutex_lock(&repair->mu);
    while (!repair->locked.stopping && tb_clock_boot_ns() < until_ns) {
        (void)tb_cond_wait_for(&repair->stop_asked, &repair->mu, until_ns - tb_clock_boot_ns());
    }
    tb_mutex_unlock(&repair->mu);
}

/* One file that cannot be saved does not keep the others from being saved; how many are left.
 */
static size_t
try_each(struct tb_repair *repair, unsigned tries)
{
    struct tb_spool_left *left = &repair->left;
    size_t kept = 0;

    for (size_t i = 0; i < left->count; i++) {
        struct tb_fail fail = {.err = TB_OK};
        struct tb_spool_left_segment one = left->at[i];

        if (is_stopping(repair)) {
            return 0; /* the next start finds the rest */
        }
        if (repair_one(repair, &one, tries, &fail) != TB_OK) {
            if (tries == 1 || tries % TELL_EVERY == 0) {
                tb_log_fail(TB_LOG_ERROR, one.capture_id, &fail,
                            "cannot repair %s yet: it is tried again", one.name);
            }
            left->at[kept++] = one;
        }
    }
    left->count = kept;
    return kept;
}

void
tb_repair_all(struct tb_repair *repair, struct tb_repair_counts *out)
{
    int64_t pause_ns = first_pause_ns;

    for (unsigned tries = 1; try_each(repair, tries) > 0; tries++) {
        pause_for(repair, pause_ns);
        pause_ns = 2 * pause_ns < most_pause_ns ? 2 * pause_ns : most_pause_ns;
    }
    *out = repair->counts;
}

static void *
run(void *arg)
{
    struct tb_repair *repair = arg;
    struct tb_repair_counts counts;

    (void)setpriority(PRIO_PROCESS, 0, NICE); /* where it is refused it only costs politeness */
    tb_log(
        TB_LOG_WARN, NULL,
        "a recorder ended without sealing: %zu segments are repaired while recording goes on",
        repair->left.count);
    tb_repair_all(repair, &counts);
    tb_log(TB_LOG_WARN, NULL,
           "%zu segments repaired, %zu were empty or lost, %zu could not be read",
           counts.recovered, counts.lost, counts.unreadable);
    return NULL;
}

enum tb_err
tb_repair_start(struct tb_repair *repair, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    if (repair->left.count > 0) {
        err = tb_thread_start(&repair->thread, "repair", run, repair, fail);
        repair->running = err == TB_OK;
    }
    return err;
}

void
tb_repair_free(struct tb_repair *repair)
{
    if (repair == NULL) {
        return;
    }
    tb_mutex_lock(&repair->mu);
    repair->locked.stopping = true;
    tb_cond_broadcast(&repair->stop_asked);
    tb_mutex_unlock(&repair->mu);
    if (repair->running) {
        (void)pthread_join(repair->thread, NULL);
    }
    tb_spool_left_release(&repair->left);
    tb_cond_release(&repair->stop_asked);
    tb_mutex_release(&repair->mu);
    free(repair);
}
