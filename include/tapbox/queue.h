/*
 * Alerts from an SQS queue: no inbound port, and nothing is lost while the service restarts.
 * Some threads poll; a message is deleted only after its alert is committed, so one that is
 * delivered twice is a duplicate like any other.  What cannot be read is left: after the
 * queue's maxReceiveCount it is a dead letter.  While the store takes nothing, nothing is asked
 * for, so that our trouble makes no dead letters.
 */
#ifndef TAPBOX_QUEUE_H
#define TAPBOX_QUEUE_H

#include <stdatomic.h>

#include <tapbox/aws.h>
#include <tapbox/intake.h>
#include <tapbox/sns.h>

struct tb_queue;

enum {
    TB_QUEUE_MAX_POLLERS = 8
};

/* Counted by the pollers, read by anybody at any time. */
struct tb_queue_counters {
    atomic_ullong received;       /* messages, each delivery */
    atomic_ullong committed;      /* alerts */
    atomic_ullong not_understood; /* left in the queue */
    atomic_ullong failed;         /* could not be committed; they come again */
    atomic_ullong polls_failed;   /* the queue could not be asked, or the store takes nothing */
};

struct tb_queue_deps { /* all borrowed, outlive the queue */
    struct tb_store *store;
    struct tb_aws *aws;
    const struct tb_policy *policy;
    const char *url; /* https://sqs.<region>.amazonaws.com/<account>/<name> */
    /* Checks what is of SNS and has its envelope, once it listens to a topic.  NULL, or none:
     * the queue's policy says who may send, and that is enough. */
    struct tb_sns *sns;
    unsigned pollers;
    uint32_t visibility_s; /* messages at hand are hidden from others for so long at a time */
    /* Told of each alert that is committed, from a poller's thread. */
    void (*taken)(void *arg, const struct tb_intake_result *result);
    void *arg;
    struct tb_queue_counters *counters;
};

TB_NODISCARD enum tb_err tb_queue_start(const struct tb_queue_deps *deps, struct tb_queue **out,
                                        struct tb_fail *fail);
/* The messages at hand are finished; a poll that waits is given up within a second. */
void tb_queue_stop(struct tb_queue *queue);

#endif
