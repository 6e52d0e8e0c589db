/* Threads and locks: what cannot go wrong is asserted, what can is reported. */
#include <tapbox/thread.h>

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tapbox/bytes.h>
#include <tapbox/clock.h>

void
tb_mutex_init(struct tb_mutex *mu)
{
    int rc = pthread_mutex_init(&mu->os, NULL);

    assert(rc == 0);
    (void)rc;
}

void
tb_mutex_release(struct tb_mutex *mu)
{
    (void)pthread_mutex_destroy(&mu->os);
}

void
tb_mutex_lock(struct tb_mutex *mu) TB_NO_LOCK_ANALYSIS
{
    int rc = pthread_mutex_lock(&mu->os);

    assert(rc == 0);
    (void)rc;
}

void
tb_mutex_unlock(struct tb_mutex *mu) TB_NO_LOCK_ANALYSIS
{
    int rc = pthread_mutex_unlock(&mu->os);

    assert(rc == 0);
    (void)rc;
}

void
tb_cond_init(struct tb_cond *cond)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);

    assert(rc == 0);
    rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    assert(rc == 0);
    rc = pthread_cond_init(&cond->os, &attr);
    assert(rc == 0);
    (void)pthread_condattr_destroy(&attr);
    (void)rc;
}

void
tb_cond_release(struct tb_cond *cond)
{
    (void)pthread_cond_destroy(&cond->os);
}

void
tb_cond_wait(struct tb_cond *cond, struct tb_mutex *mu)
{
    int rc = pthread_cond_wait(&cond->os, &mu->os);

    assert(rc == 0);
    (void)rc;
}

bool
tb_cond_wait_for(struct tb_cond *cond, struct tb_mutex *mu, int64_t wait_ns)
{
    struct timespec until;
    int rc;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    if (wait_ns < 0) {
        wait_ns = 0;
    }
    until.tv_sec += (time_t)(wait_ns / TB_NS_PER_S);
    until.tv_nsec += (long)(wait_ns % TB_NS_PER_S);
    if (until.tv_nsec >= TB_NS_PER_S) {
        until.tv_nsec -= (long)TB_NS_PER_S;
        until.tv_sec++;
    }
    rc = pthread_cond_timedwait(&cond->os, &mu->os, &until);
    assert(rc == 0 || rc == ETIMEDOUT);
    return rc == 0;
}

void
tb_cond_signal(struct tb_cond *cond)
{
    (void)pthread_cond_signal(&cond->os);
}

void
tb_cond_broadcast(struct tb_cond *cond)
{
    (void)pthread_cond_broadcast(&cond->os);
}

struct start {
    char name[16];
    void *(*run)(void *);
    void *arg;
};

static void *
run_named(void *arg)
{
    struct start start = *(struct start *)arg;

    free(arg);
    (void)pthread_setname_np(pthread_self(), start.name);
    return start.run(start.arg);
}

enum tb_err
tb_thread_start(pthread_t *out, const char *name, void *(*run)(void *), void *arg,
                struct tb_fail *fail)
{
    struct start *start = calloc(1, sizeof(*start));
    sigset_t all;
    sigset_t before;
    int rc;

    if (start == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to start thread %s", name);
    }
    (void)tb_str_copy(start->name, sizeof(start->name), name);
    start->run = run;
    start->arg = arg;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(out, NULL, run_named, start);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        free(start);
        return tb_fail_errno(fail, rc, "cannot start thread %s", name);
    }
    return TB_OK;
}
