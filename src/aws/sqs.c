/* SQS in the JSON protocol.  Source: SQS Developer Guide, "Making requests using the AWS JSON
 * protocol". */
#include <tapbox/aws_sqs.h>

#include <stdio.h>
#include <stdlib.h>

#include "aws_int.h"

enum {
    BODY_MAX_BYTES = 16 * 1024, /* of a request: a queue's URL and a receipt */
    TARGET_MAX = 64
};

void
tb_sqs_batch_release(struct tb_sqs_batch *batch)
{
    tb_json_free(batch->answer);
    *batch = (struct tb_sqs_batch){.answer = NULL};
}

/* `request` is taken over. */
static enum tb_err
sqs_call(struct tb_aws *aws, enum tb_aws_policy policy, const char *what,
         struct tb_json *request, const atomic_bool *stop, struct tb_aws_result *out,
         struct tb_fail *fail)
{
    char target[TARGET_MAX];
    struct tb_http_header headers[] = {{"content-type", "application/x-amz-json-1.0"},
                                       {"x-amz-target", target}};
    struct tb_buf body = TB_BUF_INIT(BODY_MAX_BYTES);
    enum tb_err err = tb_json_dump(request, false, &body, fail);

    (void)snprintf(target, sizeof(target), "AmazonSQS.%s", what);
    if (err == TB_OK) {
        struct tb_aws_call call = {.service = TB_AWS_SQS,
                                   .policy = policy,
                                   .what = what,
                                   .method = "POST",
                                   .path = "/",
                                   .headers = headers,
                                   .header_count = sizeof(headers) / sizeof(headers[0]),
                                   .body = tb_buf_view(&body),
                                   .body_fd = -1,
                                   .stop = stop};

        err = tb_aws_call(aws, &call, out, fail);
    }
    tb_buf_release(&body);
    tb_json_free(request);
    return err;
}

static enum tb_err
read_message(const struct tb_json *node, struct tb_sqs_message *out, struct tb_fail *fail)
{
    const char *count = tb_json_str(node, "/Attributes/ApproximateReceiveCount");

    out->id = tb_json_str(node, "/MessageId");
    out->receipt = tb_json_str(node, "/ReceiptHandle");
    out->body = tb_json_str(node, "/Body");
    if (out->id == NULL || out->receipt == NULL || out->body == NULL) {
        return tb_fail_set(fail, TB_EFORMAT,
                           "ReceiveMessage: a message without id, receipt handle or body");
    }
    if (count != NULL) {
        out->receive_count = strtoll(count, NULL, 10);
    }
    return TB_OK;
}

enum tb_err
tb_sqs_receive(struct tb_aws *aws, const char *queue_url, uint32_t visibility_s,
               const atomic_bool *stop, struct tb_sqs_batch *out, struct tb_fail *fail)
{
    struct tb_aws_result result = TB_AWS_RESULT_INIT;
    struct tb_json *request = tb_json_object();
    struct tb_json *attributes = tb_json_array();
    const struct tb_json *messages;
    enum tb_err err;

    *out = (struct tb_sqs_batch){.answer = NULL};
    tb_json_set_str(request, "QueueUrl", queue_url);
    tb_json_set_int(request, "MaxNumberOfMessages", TB_SQS_MAX_MESSAGES);
    tb_json_set_int(request, "WaitTimeSeconds", TB_SQS_MAX_WAIT_S);
    tb_json_set_int(request, "VisibilityTimeout", visibility_s);
    tb_json_add_str(attributes, "ApproximateReceiveCount");
    tb_json_set(request, "MessageSystemAttributeNames", attributes);
    err = sqs_call(aws, TB_AWS_POLICY_POLL, "ReceiveMessage", request, stop, &result, fail);
    if (err == TB_OK) {
        err = tb_json_parse_max(tb_buf_view(&result.answer.body), TB_AWS_ANSWER_MAX_BYTES,
                                &out->answer, fail);
    }
    messages = err == TB_OK ? tb_json_at(out->answer, "/Messages") : NULL;
    for (size_t i = 0; err == TB_OK && i < tb_json_count(messages); i++) {
        if (i == TB_SQS_MAX_MESSAGES) {
            err = tb_fail_set(fail, TB_EFORMAT, "ReceiveMessage: more messages than asked for");
            break;
        }
        err = read_message(tb_json_item(messages, i), &out->messages[i], fail);
        out->count = i + 1;
    }
    tb_aws_result_release(&result);
    if (err != TB_OK) {
        tb_sqs_batch_release(out);
    }
    return err;
}

static enum tb_err
about_message(struct tb_aws *aws, const char *what, const char *queue_url, const char *receipt,
              int64_t visibility_s, struct tb_fail *fail)
{
    struct tb_aws_result result = TB_AWS_RESULT_INIT;
    struct tb_json *request = tb_json_object();
    enum tb_err err;

    tb_json_set_str(request, "QueueUrl", queue_url);
    tb_json_set_str(request, "ReceiptHandle", receipt);
    if (visibility_s >= 0) {
        tb_json_set_int(request, "VisibilityTimeout", visibility_s);
    }
    err = sqs_call(aws, TB_AWS_POLICY_READ, what, request, NULL, &result, fail);
    tb_aws_result_release(&result);
    return err;
}

enum tb_err
tb_sqs_delete(struct tb_aws *aws, const char *queue_url, const char *receipt,
              struct tb_fail *fail)
{
    return about_message(aws, "DeleteMessage", queue_url, receipt, -1, fail);
}

enum tb_err
tb_sqs_hide(struct tb_aws *aws, const char *queue_url, const char *receipt,
            uint32_t visibility_s, struct tb_fail *fail)
{
    return about_message(aws, "ChangeMessageVisibility", queue_url, receipt, visibility_s,
                         fail);
}
