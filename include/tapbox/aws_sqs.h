/*
 * SQS, the three calls that taking messages needs, in the JSON protocol.
 * Source: Amazon SQS API Reference, ReceiveMessage, DeleteMessage, ChangeMessageVisibility.
 *
 * Errors, besides those of aws_ec2.h: TB_ENOTFOUND there is no such queue.
 * Threads: any number at once.
 */
#ifndef TAPBOX_AWS_SQS_H
#define TAPBOX_AWS_SQS_H

#include <stdatomic.h>

#include <tapbox/aws.h>
#include <tapbox/json.h>

enum {
    TB_SQS_MAX_MESSAGES = 10, /* ReceiveMessage gives no more */
    TB_SQS_MAX_WAIT_S = 20
};

struct tb_sqs_message { /* all lent by the batch */
    const char *id;
    const char *receipt; /* the latest one counts */
    const char *body;
    int64_t receive_count; /* with this one; 0: not told */
};

struct tb_sqs_batch {
    struct tb_json *answer; /* owned: holds what the messages lend */
    struct tb_sqs_message messages[TB_SQS_MAX_MESSAGES];
    size_t count;
};
void tb_sqs_batch_release(struct tb_sqs_batch *batch);

/* Waits up to TB_SQS_MAX_WAIT_S for a message; none is TB_OK with count 0.  They are hidden
 * from others for `visibility_s`.  When *stop (may be NULL) becomes true it ends within about a
 * second with TB_ECLOSED; what the queue has handed out by then comes back after that time. */
TB_NODISCARD enum tb_err tb_sqs_receive(struct tb_aws *aws, const char *queue_url,
                                        uint32_t visibility_s, const atomic_bool *stop,
                                        struct tb_sqs_batch *out, struct tb_fail *fail);
/* Gone already is TB_OK. */
TB_NODISCARD enum tb_err tb_sqs_delete(struct tb_aws *aws, const char *queue_url,
                                       const char *receipt, struct tb_fail *fail);
/* From now; 0 gives it back at once. */
TB_NODISCARD enum tb_err tb_sqs_hide(struct tb_aws *aws, const char *queue_url,
                                     const char *receipt, uint32_t visibility_s,
                                     struct tb_fail *fail);

#endif
