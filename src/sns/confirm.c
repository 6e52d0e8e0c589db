/*
 * Subscriptions are confirmed by asking for SubscribeURL: SNS has its answer before, once the
 * store holds what is to be asked, since SNS does not send it again.
 */
#include "sns_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/log.h>

static const int64_t first_pause_ns = TB_NS_PER_S;
static const int64_t longest_pause_ns = 300 * TB_NS_PER_S;
static const int64_t ask_ns = 10 * TB_NS_PER_S;
static const int64_t token_lives_ns = 48 * 3600 * TB_NS_PER_S;
enum {
    DOUBLINGS = 9,  /* of the pause, until it is the longest */
    TOLD_EACH = 12, /* try after these, once an hour */
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

        if (one->what.url[0] != 0 && (first == NULL || one->due_boot_ns < first->due_boot_ns)) {
            first = one;
        }
    }
    return first;
}

/* A disk that takes nothing keeps no service from starting: the next start tries again. */
static void
drop(struct sns_confirm *confirm, const struct tb_subscription *what)
{
    struct tb_fail fail = {0};

    if (tb_store_subscription_drop(confirm->store, what->url, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail,
                    "SNS: the subscription to %s is looked at again at the next start",
                    what->topic);
    }
}

/* False when it is to be asked again. */
static bool
finish(struct sns_confirm *confirm, const struct sns_pending *pending, enum tb_err err,
       const struct tb_fail *fail)
{
    const struct tb_subscription *what = &pending->what;

    if (err == TB_OK) {
        tb_log(TB_LOG_INFO, NULL, "SNS: the subscription to %s is confirmed", what->topic);
    } else if (err == TB_EDENIED ||
               tb_store_steady_ns(confirm->store) > what->since_steady_ns + token_lives_ns) {
        tb_log_fail(TB_LOG_ERROR, NULL, fail,
                    "SNS: the subscription to %s is not confirmed; subscribe again",
                    what->topic);
    } else {
        if (pending->tries <= DOUBLINGS || pending->tries % TOLD_EACH == 0) {
            tb_log_fail(TB_LOG_WARN, NULL, fail,
                        "SNS: the subscription to %s could not be confirmed, try %u",
                        what->topic, pending->tries);
        }
        return false;
    }
    drop(confirm, what);
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
    err = ask(confirm, at.what.url, &fail);
    finished = atomic_load(confirm->stop) ? false : finish(confirm, &at, err, &fail);
    tb_mutex_lock(&confirm->mu);
    if (finished) {
        *pending = (struct sns_pending){.tries = 0};
        (void)atomic_fetch_sub(&confirm->waiting, 1);
    } else {
        unsigned doublings = at.tries - 1 < DOUBLINGS ? at.tries - 1 : DOUBLINGS;
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

static struct sns_pending *
find_locked(struct sns_confirm *confirm, const char *url) TB_REQUIRES(confirm->mu)
{
    for (size_t i = 0; i < SNS_MAX_PENDING; i++) {
        if (strcmp(confirm->locked.pending[i].what.url, url) == 0) {
            return &confirm->locked.pending[i];
        }
    }
    return NULL;
}

static void
enter_locked(struct sns_confirm *confirm, struct sns_pending *place,
             const struct tb_subscription *what) TB_REQUIRES(confirm->mu)
{
    *place = (struct sns_pending){.what = *what, .due_boot_ns = tb_clock_boot_ns()};
    (void)atomic_fetch_add(&confirm->waiting, 1);
}

/* What an earlier life left.  The rest of too many waits for the next start. */
static enum tb_err
take_up(struct sns_confirm *confirm, struct tb_fail *fail)
{
    struct tb_subscription *list = NULL;
    size_t count = 0;
    enum tb_err err = tb_store_subscription_list(confirm->store, &list, &count, fail);

    tb_mutex_lock(&confirm->mu);
    for (size_t i = 0; err == TB_OK && i < count; i++) {
        struct sns_pending *place = find_locked(confirm, "");

        if (!confirm->allowed(confirm->arg, list[i].topic)) {
            tb_log(
                TB_LOG_WARN, NULL,
                "SNS: the subscription to %s is not confirmed: it is no longer in sns.topics",
                list[i].topic);
            drop(confirm, &list[i]);
        } else if (place != NULL) {
            enter_locked(confirm, place, &list[i]);
        }
    }
    tb_mutex_unlock(&confirm->mu);
    free(list);
    return err;
}

enum tb_err
sns_confirm_start(struct sns_confirm *confirm, struct tb_fail *fail)
{
    enum tb_err err;

    tb_mutex_init(&confirm->mu);
    tb_cond_init(&confirm->more);
    err = take_up(confirm, fail);
    if (err == TB_OK) {
        err = tb_thread_start(&confirm->thread, "sns confirm", run, confirm, fail);
    }
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
    tb_cond_release(&confirm->more);
    tb_mutex_release(&confirm->mu);
    confirm->started = false;
}

enum tb_err
sns_confirm_take(struct sns_confirm *confirm, const char *topic, const char *url,
                 struct tb_fail *fail)
{
    struct tb_subscription what = {.since_steady_ns = tb_store_steady_ns(confirm->store)};
    struct sns_pending *place;
    enum tb_err err = TB_OK;

    if (!tb_str_copy(what.url, sizeof(what.url), url) ||
        !tb_str_copy(what.topic, sizeof(what.topic), topic)) {
        return tb_fail_set(fail, TB_EDENIED, "SubscribeURL is longer than %zu octets",
                           sizeof(what.url) - 1);
    }
    tb_mutex_lock(&confirm->mu);
    if (find_locked(confirm, url) == NULL) {
        place = find_locked(confirm, "");
        err = place == NULL ? tb_fail_set(fail, TB_ERETRY,
                                          "too many subscriptions are being confirmed already")
                            : tb_store_subscription_put(confirm->store, url, topic, fail);
        if (err == TB_OK && place != NULL) {
            enter_locked(confirm, place, &what);
            tb_cond_signal(&confirm->more);
        }
    }
    tb_mutex_unlock(&confirm->mu);
    return err;
}
