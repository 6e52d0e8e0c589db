/* Subscriptions are confirmed by asking for SubscribeURL: SNS had its answer before. */
#include "sns_int.h"

#include <stdio.h>

#include <tapbox/log.h>

static const int64_t first_pause_ns = TB_NS_PER_S;
static const int64_t longest_pause_ns = 60 * TB_NS_PER_S;
static const int64_t ask_ns = 10 * TB_NS_PER_S;
enum {
    MOST_TRIES = 20, /* a quarter of an hour */
    ANSWER_MAX_BYTES = 64 * 1024
};

/* TB_OK, TB_ERETRY, or TB_EDENIED: asking again would change nothing. */
static enum tb_err
ask(struct sns_confirm *confirm, const char *url, struct tb_fail *fail)
{
    struct tb_http_request request = {.method = "GET",
                                      .url = url,
                                      .body_fd = -1,
                                      .total_timeout_ns = ask_ns,
                                      .stop = confirm->stop};
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(ANSWER_MAX_BYTES);
    enum tb_err err = tb_http_do(confirm->http, &request, &answer, fail);

    if (err != TB_OK) {
        err = TB_ERETRY;
    } else if (answer.status != 200) {
        bool later = answer.status >= 500 || answer.status == 429;

        err = tb_fail_set(fail, later ? TB_ERETRY : TB_EDENIED, "SNS answers with status %d",
                          answer.status);
    }
    tb_http_answer_release(&answer);
    return err;
}

/* The one that is due first; NULL: none waits. */
static struct sns_pending *
first_locked(struct sns_confirm *confirm) TB_REQUIRES(confirm->mu)
{
    struct sns_pending *first = NULL;

    for (size_t i = 0; i < SNS_MAX_PENDING; i++) {
        struct sns_pending *one = &confirm->locked.pending[i];

        if (one->url[0] != 0 && (first == NULL || one->due_boot_ns < first->due_boot_ns)) {
            first = one;
        }
    }
    return first;
}

/* False when it is to be asked again. */
static bool
finish(struct sns_confirm *confirm, const struct sns_pending *pending, enum tb_err err,
       const struct tb_fail *fail)
{
    if (err == TB_OK) {
        tb_log(TB_LOG_INFO, NULL, "SNS: the subscription to %s is confirmed", pending->topic);
    } else if (err == TB_EDENIED || pending->tries >= MOST_TRIES) {
        tb_log_fail(TB_LOG_ERROR, NULL, fail,
                    "SNS: the subscription to %s is not confirmed; subscribe again",
                    pending->topic);
    } else {
        tb_log_fail(TB_LOG_WARN, NULL, fail,
                    "SNS: the subscription to %s could not be confirmed, try %u of %d",
                    pending->topic, pending->tries, MOST_TRIES);
        return false;
    }
    confirm->done(confirm->arg, err == TB_OK);
    return true;
}

static void
try_locked(struct sns_confirm *confirm, struct sns_pending *pending) TB_REQUIRES(confirm->mu)
{
    struct sns_pending at = *pending;
    struct tb_fail fail = {0};
    enum tb_err err;
    bool finished;

    at.tries++;
    tb_mutex_unlock(&confirm->mu); /* only this thread takes places away */
    err = ask(confirm, at.url, &fail);
    finished = atomic_load(confirm->stop) ? false : finish(confirm, &at, err, &fail);
    tb_mutex_lock(&confirm->mu);
    if (finished) {
        *pending = (struct sns_pending){.url = ""};
    } else {
        unsigned doublings = at.tries - 1 < 6 ? at.tries - 1 : 6;
        int64_t pause = first_pause_ns << doublings;

        pending->tries = at.tries;
        pending->due_boot_ns =
            tb_clock_boot_ns() + (pause < longest_pause_ns ? pause : longest_pause_ns);
    }
}

static void *
run(void *arg)
{
    struct sns_confirm *confirm = arg;

    tb_mutex_lock(&confirm->mu);
    while (!atomic_load(confirm->stop)) {
        struct sns_pending *pending = first_locked(confirm);
        int64_t left = pending != NULL ? pending->due_boot_ns - tb_clock_boot_ns() : 0;

        if (pending == NULL) {
            tb_cond_wait(&confirm->more, &confirm->mu);
        } else if (left > 0) {
            (void)tb_cond_wait_for(&confirm->more, &confirm->mu, left);
        } else {
            try_locked(confirm, pending);
        }
    }
    tb_mutex_unlock(&confirm->mu);
    return NULL;
}

enum tb_err
sns_confirm_start(struct sns_confirm *confirm, struct tb_http_client *http,
                  const atomic_bool *stop, void (*done)(void *arg, bool confirmed), void *arg,
                  struct tb_fail *fail)
{
    enum tb_err err;

    confirm->http = http;
    confirm->stop = stop;
    confirm->done = done;
    confirm->arg = arg;
    tb_mutex_init(&confirm->mu);
    tb_cond_init(&confirm->more);
    err = tb_thread_start(&confirm->thread, "sns confirm", run, confirm, fail);
    confirm->started = err == TB_OK;
    if (err != TB_OK) {
        tb_cond_release(&confirm->more);
        tb_mutex_release(&confirm->mu);
    }
    return err;
}

void
sns_confirm_stop(struct sns_confirm *confirm)
{
    if (!confirm->started) {
        return;
    }
    tb_mutex_lock(&confirm->mu);
    tb_cond_broadcast(&confirm->more);
    tb_mutex_unlock(&confirm->mu);
    (void)pthread_join(confirm->thread, NULL);
    for (size_t i = 0; i < SNS_MAX_PENDING; i++) {
        if (confirm->locked.pending[i].url[0] != 0) {
            tb_log(TB_LOG_WARN, NULL,
                   "SNS: the subscription to %s is not confirmed yet; subscribe again",
                   confirm->locked.pending[i].topic);
        }
    }
    tb_cond_release(&confirm->more);
    tb_mutex_release(&confirm->mu);
    confirm->started = false;
}

bool
sns_confirm_take(struct sns_confirm *confirm, const char *topic, const char *url)
{
    struct sns_pending *place = NULL;
    bool there = false;

    if (strlen(url) >= SNS_ASK_URL_SIZE) {
        return false;
    }
    tb_mutex_lock(&confirm->mu);
    for (size_t i = 0; i < SNS_MAX_PENDING; i++) {
        struct sns_pending *one = &confirm->locked.pending[i];

        there = there || strcmp(one->url, url) == 0;
        place = one->url[0] == 0 ? one : place;
    }
    if (!there && place != NULL) {
        *place = (struct sns_pending){.due_boot_ns = tb_clock_boot_ns()};
        (void)tb_str_copy(place->url, sizeof(place->url), url);
        (void)tb_str_copy(place->topic, sizeof(place->topic), topic);
        tb_cond_signal(&confirm->more);
    }
    tb_mutex_unlock(&confirm->mu);
    return there || place != NULL;
}
