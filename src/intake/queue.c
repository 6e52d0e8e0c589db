/* Alerts from SQS: threads that poll, commit and delete. */
#include <tapbox/queue.h>

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/aws_sqs.h>
#include <tapbox/clock.h>
#include <tapbox/log.h>
#include <tapbox/thread.h>

enum {
    AGAIN_S = 10, /* what could not be committed comes back after */
    HOPELESS_S =
        300 /* and what nobody can read, when the queue has no place for dead letters */
};
static const int64_t backoff_first_ns = TB_NS_PER_S;
static const int64_t backoff_most_ns = 30 * TB_NS_PER_S;

struct tb_queue {
    struct tb_queue_deps deps; /* set once */
    const char *name;          /* the URL's last part */
    char remote[128];          /* "sqs:<name>" */
    pthread_t threads[TB_QUEUE_MAX_POLLERS];
    unsigned started;
    atomic_bool stop;
    atomic_bool in_trouble; /* told already */
    struct tb_mutex mu;
    struct tb_cond stopped;
};

/* False when the queue is to stop meanwhile. */
static bool
pause_for(struct tb_queue *queue, int64_t ns)
{
    int64_t until_ns = tb_clock_boot_ns() + ns;

    tb_mutex_lock(&queue->mu);
    while (!atomic_load(&queue->stop) && tb_clock_boot_ns() < until_ns) {
        (void)tb_cond_wait_for(&queue->stopped, &queue->mu, until_ns - tb_clock_boot_ns());
    }
    tb_mutex_unlock(&queue->mu);
    return !atomic_load(&queue->stop);
}

static void
give_back(struct tb_queue *queue, const struct tb_sqs_message *message, uint32_t after_s)
{
    struct tb_fail fail;

    if (tb_sqs_hide(queue->deps.aws, queue->deps.url, message->receipt, after_s, &fail) !=
        TB_OK) {
        tb_log_fail(TB_LOG_INFO, NULL, &fail, "message %s comes again later", message->id);
    }
}

static void
leave(struct tb_queue *queue, const struct tb_sqs_message *message, const struct tb_fail *fail)
{
    atomic_fetch_add(&queue->deps.counters->not_understood, 1);
    tb_log_fail(TB_LOG_WARN, NULL, fail,
                "message %s of queue %s is left to become a dead letter (delivery %lld)",
                message->id, queue->name, (long long)message->receive_count);
    give_back(queue, message, message->receive_count > 5 ? HOPELESS_S : 1);
}

static void
try_again(struct tb_queue *queue, const struct tb_sqs_message *message,
          const struct tb_fail *fail)
{
    atomic_fetch_add(&queue->deps.counters->failed, 1);
    tb_log_fail(TB_LOG_ERROR, NULL, fail, "message %s of queue %s comes again", message->id,
                queue->name);
    give_back(queue, message, AGAIN_S);
}

static void
delete_it(struct tb_queue *queue, const struct tb_sqs_message *message)
{
    struct tb_fail fail;

    if (tb_sqs_delete(queue->deps.aws, queue->deps.url, message->receipt, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail,
                    "message %s of queue %s is committed and comes again", message->id,
                    queue->name);
    }
}

/* True: it is of SNS, and no alert, or none that counts; that was dealt with. */
static bool
take_sns(struct tb_queue *queue, const struct tb_sqs_message *message)
{
    struct tb_sns_verdict verdict;
    struct tb_fail fail = {0};
    enum tb_err err;

    if (!tb_sns_listens(queue->deps.sns)) {
        return false;
    }
    err = tb_sns_check(queue->deps.sns, tb_bytes_str(message->body), TB_SNS_QUEUED, true,
                       &verdict, &fail);
    if (err == TB_ENOTFOUND || (err == TB_OK && verdict.type == TB_SNS_NOTIFICATION)) {
        return false;
    }
    if (err == TB_OK) {
        delete_it(queue, message);
    } else if (err == TB_ERETRY) {
        try_again(queue, message, &fail);
    } else {
        leave(queue, message, &fail);
    }
    return true;
}

/* TB_OK: it was dealt with, whatever it was; else the store does not take it. */
static enum tb_err
take(struct tb_queue *queue, const struct tb_sqs_message *message)
{
    const struct tb_queue_deps *deps = &queue->deps;
    const struct tb_intake_from from = {.remote = queue->remote, .token_name = "sqs"};
    struct tb_fail fail = {0};
    enum tb_err err;

    if (take_sns(queue, message)) {
        return TB_OK;
    }
    err = tb_intake_event(deps->store, deps->policy, tb_bytes_str(message->body), &from,
                          deps->taken, deps->arg, &fail);
    if (tb_intake_is_senders_fault(err)) {
        leave(queue, message, &fail);
        return TB_OK;
    }
    if (err != TB_OK) {
        try_again(queue, message, &fail);
        return err;
    }
    atomic_fetch_add(&queue->deps.counters->committed, 1);
    delete_it(queue, message);
    return TB_OK;
}

/* Half of the time that nobody else sees them is over: the rest of the batch gets it anew. */
static void
keep_hidden(struct tb_queue *queue, const struct tb_sqs_batch *batch, size_t from,
            int64_t *since_boot_ns)
{
    struct tb_fail fail;

    if (tb_clock_boot_ns() - *since_boot_ns < queue->deps.visibility_s * TB_NS_PER_S / 2) {
        return;
    }
    *since_boot_ns = tb_clock_boot_ns();
    for (size_t i = from; i < batch->count; i++) {
        if (tb_sqs_hide(queue->deps.aws, queue->deps.url, batch->messages[i].receipt,
                        queue->deps.visibility_s, &fail) != TB_OK) {
            tb_log_fail(TB_LOG_INFO, NULL, &fail, "message %s may be delivered twice",
                        batch->messages[i].id);
        }
    }
}

static enum tb_err
poll_once(struct tb_queue *queue, struct tb_fail *fail)
{
    struct tb_sqs_batch batch;
    int64_t since_boot_ns = tb_clock_boot_ns();
    enum tb_err taken = TB_OK;
    enum tb_err err = tb_store_check(queue->deps.store, fail);

    if (err != TB_OK) {
        return err;
    }
    err = tb_sqs_receive(queue->deps.aws, queue->deps.url, queue->deps.visibility_s,
                         &queue->stop, &batch, fail);
    if (err != TB_OK) {
        return err;
    }
    if (batch.count > 0) { /* the time runs from when they were handed out */
        since_boot_ns = tb_clock_boot_ns();
    }
    for (size_t i = 0; i < batch.count; i++) {
        atomic_fetch_add(&queue->deps.counters->received, 1);
        keep_hidden(queue, &batch, i, &since_boot_ns);
        if (take(queue, &batch.messages[i]) != TB_OK) {
            taken = TB_EIO;
        }
    }
    tb_sqs_batch_release(&batch);
    return taken == TB_OK ? TB_OK
                          : tb_fail_set(fail, taken, "alerts of queue %s cannot be committed",
                                        queue->name);
}

static void *
poller(void *arg)
{
    struct tb_queue *queue = arg;
    int64_t backoff_ns = 0;

    while (!atomic_load(&queue->stop)) {
        struct tb_fail fail = {0};

        if (poll_once(queue, &fail) == TB_OK) {
            backoff_ns = 0;
            atomic_store(&queue->in_trouble, false);
            continue;
        }
        if (atomic_load(&queue->stop)) {
            break;
        }
        atomic_fetch_add(&queue->deps.counters->polls_failed, 1);
        if (!atomic_exchange(&queue->in_trouble,
                             true)) { /* once each time that it goes wrong */
            tb_log_fail(TB_LOG_ERROR, NULL, &fail, "queue %s", queue->name);
        }
        backoff_ns = backoff_ns == 0 ? backoff_first_ns : 2 * backoff_ns;
        backoff_ns = backoff_ns > backoff_most_ns ? backoff_most_ns : backoff_ns;
        (void)pause_for(queue, backoff_ns);
    }
    return NULL;
}

enum tb_err
tb_queue_start(const struct tb_queue_deps *deps, struct tb_queue **out, struct tb_fail *fail)
{
    struct tb_queue *queue = calloc(1, sizeof(*queue));
    const char *slash = strrchr(deps->url, '/');
    enum tb_err err = TB_OK;

    if (queue == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the queue's pollers");
    }
    queue->deps = *deps;
    queue->name = slash != NULL ? slash + 1 : deps->url;
    (void)snprintf(queue->remote, sizeof(queue->remote), "sqs:%.100s", queue->name);
    tb_mutex_init(&queue->mu);
    tb_cond_init(&queue->stopped);
    while (err == TB_OK && queue->started < deps->pollers &&
           queue->started < TB_QUEUE_MAX_POLLERS) {
        err = tb_thread_start(&queue->threads[queue->started], "queue", poller, queue, fail);
        queue->started += err == TB_OK;
    }
    if (err != TB_OK) {
        tb_queue_stop(queue);
        return err;
    }
    tb_log(TB_LOG_INFO, NULL, "taking alerts from queue %s, %u pollers", queue->name,
           queue->started);
    *out = queue;
    return TB_OK;
}

void
tb_queue_stop(struct tb_queue *queue)
{
    if (queue == NULL) {
        return;
    }
    tb_mutex_lock(&queue->mu);
    atomic_store(&queue->stop, true);
    tb_cond_broadcast(&queue->stopped);
    tb_mutex_unlock(&queue->mu);
    for (unsigned i = 0; i < queue->started; i++) {
        (void)pthread_join(queue->threads[i], NULL);
    }
    tb_cond_release(&queue->stopped);
    tb_mutex_release(&queue->mu);
    free(queue);
}
