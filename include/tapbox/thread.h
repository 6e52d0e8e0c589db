/*
 * Mutex, condition and thread that cannot fail half way, annotated for clang's lock analysis.
 * Waiting is by CLOCK_MONOTONIC.
 */
#ifndef TAPBOX_THREAD_H
#define TAPBOX_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <tapbox/err.h>

struct TB_CAPABILITY("mutex") tb_mutex {
    pthread_mutex_t os;
};

struct tb_cond {
    pthread_cond_t os;
};

void tb_mutex_init(struct tb_mutex *mu);
void tb_mutex_release(struct tb_mutex *mu);
void tb_mutex_lock(struct tb_mutex *mu) TB_ACQUIRE(mu);
void tb_mutex_unlock(struct tb_mutex *mu) TB_RELEASE(mu);

void tb_cond_init(struct tb_cond *cond);
void tb_cond_release(struct tb_cond *cond);
void tb_cond_wait(struct tb_cond *cond, struct tb_mutex *mu) TB_REQUIRES(mu);
/* False when `wait_ns` went by first.  Spurious wake-ups happen. */
bool tb_cond_wait_for(struct tb_cond *cond, struct tb_mutex *mu, int64_t wait_ns)
    TB_REQUIRES(mu);
void tb_cond_signal(struct tb_cond *cond);
void tb_cond_broadcast(struct tb_cond *cond);

/* All signals are blocked in the new thread; `name` (15 characters) shows in ps -L. */
TB_NODISCARD enum tb_err tb_thread_start(pthread_t *out, const char *name, void *(*run)(void *),
                                         void *arg, struct tb_fail *fail);

#endif
