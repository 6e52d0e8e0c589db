/*
 * Calls whose answer has to wait: for AWS, or for the disk.  A thread of libmicrohttpd serves
 * many connections, so nothing may block it: such a call is put aside, run here, alone or with
 * others, and its connection taken up again.
 *
 * Threads: as many as the kind says, each runs some calls at a time; the others wait in a
 * bounded queue.
 */
#include <microhttpd.h>

#include <tapbox/clock.h>

#include "http_int.h"

void
tb_later_run_alone(struct tb_http_call *const *calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        calls[i]->later(calls[i]);
    }
}

/* Threads of their own: whoever reaches the port may make these wait. */
const struct tb_later_kind tb_later_sns = {
    .name = "http sns", .threads = 2, .at_once = 1, .queue = 64, .run = tb_later_run_alone};

const struct tb_later_kind tb_later_aws = {.name = "http later",
                                           .threads = TB_LATER_THREADS,
                                           .at_once = 1,
                                           .queue = 64,
                                           .run = tb_later_run_alone};

/* Some of those that wait, in their order. */
static size_t
take_locked(struct tb_later *later, struct tb_http_call *calls[TB_LATER_AT_ONCE])
    TB_REQUIRES(later->mu)
{
    size_t count = 0;

    while (count < later->kind->at_once && later->locked.first != NULL) {
        calls[count] = later->locked.first;
        later->locked.first = calls[count]->next;
        count++;
    }
    if (later->locked.first == NULL) {
        later->locked.last = &later->locked.first;
    }
    later->locked.waiting -= count;
    return count;
}

/* Until `boot_ns`, or until as many are there as go together. */
static void
gather_locked(struct tb_later *later, int64_t boot_ns) TB_REQUIRES(later->mu)
{
    int64_t left_ns;

    while (!later->locked.stopping && later->locked.waiting < later->kind->at_once &&
           (left_ns = boot_ns - tb_clock_boot_ns()) > 0) {
        later->locked.gathering = true;
        (void)tb_cond_wait_for(&later->more, &later->mu, left_ns);
    }
    later->locked.gathering = false;
}

static void *
run(void *arg)
{
    struct tb_later *later = arg;
    struct tb_http_call *calls[TB_LATER_AT_ONCE];
    int64_t not_before_boot_ns = 0;

    tb_mutex_lock(&later->mu);
    for (;;) {
        size_t count;
        bool stopping;

        if (later->locked.waiting > 0 && later->kind->gather_ns > 0) {
            gather_locked(later, not_before_boot_ns);
            not_before_boot_ns = tb_clock_boot_ns() + later->kind->gather_ns;
        }
        count = take_locked(later, calls);
        stopping = later->locked.stopping;
        if (count == 0 && stopping) {
            break;
        }
        if (count == 0) {
            tb_cond_wait(&later->more, &later->mu);
            continue;
        }
        tb_mutex_unlock(&later->mu);
        if (!stopping) {
            later->kind->run(calls, count);
        }
        for (size_t i = 0; i < count; i++) {
            if (stopping) {
                tb_http_problem(calls[i], TB_PROBLEM_UNAVAILABLE, "The service is stopping.");
                tb_http_free_ready(calls[i]);
            }
            calls[i]->later_done = true;
            MHD_resume_connection(calls[i]->connection);
        }
        tb_mutex_lock(&later->mu);
    }
    tb_mutex_unlock(&later->mu);
    return NULL;
}

bool
tb_later_take(struct tb_later *later, struct tb_http_call *call)
{
    bool taken;

    tb_mutex_lock(&later->mu);
    taken = later->locked.waiting < later->kind->queue && !later->locked.stopping;
    if (taken) {
        *later->locked.last = call;
        later->locked.last = &call->next;
        call->next = NULL;
        later->locked.waiting++;
        MHD_suspend_connection(call->connection);
        if (!later->locked.gathering || later->locked.waiting >= later->kind->at_once) {
            tb_cond_signal(&later->more);
        }
    }
    tb_mutex_unlock(&later->mu);
    return taken;
}

enum tb_err
tb_later_start(struct tb_later *later, const struct tb_later_kind *kind, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    later->kind = kind;
    tb_mutex_init(&later->mu);
    tb_cond_init(&later->more);
    later->locked.last = &later->locked.first;
    later->made = true;
    while (err == TB_OK && later->started < kind->threads) {
        err = tb_thread_start(&later->threads[later->started], kind->name, run, later, fail);
        later->started += err == TB_OK ? 1 : 0;
    }
    return err;
}

void
tb_later_stop(struct tb_later *later)
{
    if (!later->made) {
        return;
    }
    tb_mutex_lock(&later->mu);
    later->locked.stopping = true;
    tb_cond_broadcast(&later->more);
    tb_mutex_unlock(&later->mu);
    for (unsigned i = 0; i < later->started; i++) {
        (void)pthread_join(later->threads[i], NULL);
    }
    later->started = 0;
}

void
tb_later_release(struct tb_later *later)
{
    if (!later->made) {
        return;
    }
    tb_later_stop(later);
    tb_cond_release(&later->more);
    tb_mutex_release(&later->mu);
    later->made = false;
}
