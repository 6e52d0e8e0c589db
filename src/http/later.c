/*
 * Calls whose answer has to wait for AWS.  A thread of libmicrohttpd serves many connections,
 * so nothing may block it: such a call is put aside, run here, and its connection taken up
 * again.
 *
 * Threads: LATER_THREADS, each runs one call at a time; the others wait in a bounded queue.
 */
#include <microhttpd.h>

#include "http_int.h"

enum {
    LATER_QUEUE = 64 /* more are told to come again */
};

static void *
run(void *arg)
{
    struct tb_later *later = arg;

    tb_mutex_lock(&later->mu);
    for (;;) {
        struct tb_http_call *call = later->locked.first;
        bool stopping = later->locked.stopping;

        if (call == NULL && stopping) {
            break;
        }
        if (call == NULL) {
            tb_cond_wait(&later->more, &later->mu);
            continue;
        }
        later->locked.first = call->next;
        later->locked.waiting--;
        tb_mutex_unlock(&later->mu);
        if (stopping) {
            tb_http_problem(call, TB_PROBLEM_UNAVAILABLE, "The service is stopping.");
        } else {
            call->later(call);
        }
        call->later_done = true;
        MHD_resume_connection(call->connection);
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
    taken = later->locked.waiting < LATER_QUEUE && !later->locked.stopping;
    if (taken) {
        struct tb_http_call **end = &later->locked.first;

        while (*end != NULL) {
            end = &(*end)->next;
        }
        *end = call;
        call->next = NULL;
        later->locked.waiting++;
        MHD_suspend_connection(call->connection);
        tb_cond_signal(&later->more);
    }
    tb_mutex_unlock(&later->mu);
    return taken;
}

enum tb_err
tb_later_start(struct tb_later *later, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    tb_mutex_init(&later->mu);
    tb_cond_init(&later->more);
    later->made = true;
    while (err == TB_OK && later->started < TB_LATER_THREADS) {
        err = tb_thread_start(&later->threads[later->started], "http later", run, later, fail);
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
    tb_cond_release(&later->more);
    tb_mutex_release(&later->mu);
    later->made = false;
}
