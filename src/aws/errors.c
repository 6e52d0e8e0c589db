/* What a service's answer means for the caller. */
#include "aws_int.h"

#include <stdlib.h>

#include <tapbox/json.h>

/* Codes whose meaning is not in their spelling.  Source: EC2 API Reference, "Error codes"; S3
 * API Reference, "Error responses"; SDK retry behaviour, "standard" mode. */
static const struct {
    const char *code;
    enum tb_err err;
} known[] = {
    {"AccessDenied", TB_EDENIED},
    {"AccessDeniedException", TB_EDENIED},
    {"AccountProblem", TB_EDENIED},
    {"AllAccessDisabled", TB_EDENIED},
    {"AuthFailure", TB_EDENIED},
    {"AuthorizationHeaderMalformed", TB_EINVAL},
    {"BadDigest", TB_EFORMAT},
    {"BandwidthLimitExceeded", TB_ETHROTTLE},
    {"Blocked", TB_EDENIED},
    {"ConcurrentTagAccess", TB_ERETRY},
    {"ConditionalRequestConflict", TB_ERETRY},
    {"EC2ThrottledException", TB_ETHROTTLE},
    {"ExpiredToken", TB_EEXPIRED},
    {"ExpiredTokenException", TB_EEXPIRED},
    {"IDPCommunicationError", TB_ERETRY}, /* STS could not ask who signed the token */
    {"IdempotentParameterMismatch", TB_EEXIST},
    {"IncompleteBody", TB_EFORMAT},
    {"InternalError", TB_ERETRY},
    {"InternalFailure", TB_ERETRY},
    {"InvalidAccessKeyId", TB_EDENIED},
    {"InvalidClientTokenId", TB_EDENIED},
    {"InvalidDigest", TB_EFORMAT},
    {"InvalidRange", TB_ESHORT},
    {"InvalidSignatureException", TB_EDENIED},
    {"InvalidToken", TB_EDENIED},
    {"MissingAuthenticationToken", TB_EDENIED},
    {"MissingAuthenticationTokenException", TB_EDENIED},
    {"NoSuchBucket", TB_ENOTFOUND},
    {"NoSuchKey", TB_ENOTFOUND},
    {"NoSuchUpload", TB_ENOTFOUND},
    {"NoSuchVersion", TB_ENOTFOUND},
    {"NotSignedUp", TB_EDENIED},
    {"OperationAborted", TB_ERETRY},
    {"OptInRequired", TB_EDENIED},
    {"PendingVerification", TB_EDENIED},
    {"PreconditionFailed", TB_EEXIST},
    {"PriorRequestNotComplete", TB_ERETRY},
    {"ProvisionedThroughputExceededException", TB_ETHROTTLE},
    {"RequestExpired", TB_EEXPIRED},
    {"RequestLimitExceeded", TB_ETHROTTLE},
    {"RequestThrottled", TB_ETHROTTLE},
    {"RequestThrottledException", TB_ETHROTTLE},
    {"RequestTimeTooSkewed", TB_EEXPIRED},
    {"RequestTimeout", TB_ERETRY},
    {"RequestTimeoutException", TB_ERETRY},
    {"QueueDeletedRecently", TB_ERETRY},
    {"QueueDoesNotExist", TB_ENOTFOUND},
    {"ServerInternal", TB_ERETRY},
    {"ServiceUnavailable", TB_ERETRY},
    {"SignatureDoesNotMatch", TB_EDENIED},
    {"SlowDown", TB_ETHROTTLE},
    {"ThrottledException", TB_ETHROTTLE},
    {"Throttling", TB_ETHROTTLE},
    {"ThrottlingException", TB_ETHROTTLE},
    {"TooManyRequestsException", TB_ETHROTTLE},
    {"TransactionInProgressException", TB_ERETRY},
    {"TrafficMirrorFilterInUse", TB_ESTATE},
    {"TrafficMirrorTargetInUseException", TB_ESTATE},
    {"Unavailable", TB_ERETRY},
    {"UnauthorizedOperation", TB_EDENIED},
    {"UnrecognizedClientException", TB_EDENIED},
    {"XAmzContentSHA256Mismatch", TB_EFORMAT},
};

/* The published table and the service disagree in spelling: any of these in the code counts. */
static const struct {
    const char *part;
    enum tb_err err;
} spelled[] = {
    {"NotFound", TB_ENOTFOUND},       {"NoFound", TB_ENOTFOUND}, {"AlreadyExists", TB_EEXIST},
    {"LimitExceeded", TB_EFULL},      {"Throttl", TB_ETHROTTLE}, {"ExpiredToken", TB_EEXPIRED},
    {"AlreadyOwnedByYou", TB_EEXIST},
};

enum tb_err
tb_aws_code_meaning(const char *code, const char *message, int status)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(code, known[i].code) == 0) {
            return known[i].err;
        }
    }
    for (size_t i = 0; i < sizeof(spelled) / sizeof(spelled[0]); i++) {
        if (strstr(code, spelled[i].part) != NULL) {
            return spelled[i].err;
        }
    }
    /* A session number that is taken has no documented code; its message has been seen. */
    if (strstr(message, "already being used") != NULL) {
        return TB_EEXIST;
    }
    return status >= 500 ? TB_ERETRY : TB_EINVAL;
}

/* EC2: Response/Errors/Error; STS: ErrorResponse/Error; S3: Error. */
static const struct tb_xml_node *
find_error(const struct tb_xml *doc)
{
    const struct tb_xml_node *root = tb_xml_root(doc);
    const struct tb_xml_node *found = tb_xml_at(root, "Errors/Error");

    if (found == NULL) {
        found = tb_xml_at(root, "Error");
    }
    if (found == NULL && strcmp(tb_xml_name(root), "Error") == 0) {
        found = root;
    }
    return found;
}

/* Control characters of a message end in logs and terminals: they become spaces. */
static void
make_plain(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            *text = ' ';
        }
    }
}

/* Without an error document: HEAD, or something on the way that is not the service. */
static enum tb_err
status_meaning(int status)
{
    if (status >= 500 || status == 429 || status == 408) {
        return TB_ERETRY;
    }
    return status == 401 || status == 403 || status == 407 ? TB_EDENIED : TB_EFORMAT;
}

static void
tell_region(const struct tb_http_answer *answer, const struct tb_xml_node *error,
            struct tb_fail *fail)
{
    char region[TB_REGION_SIZE] = "";
    const char *text = tb_xml_text(error, "Region");
    size_t len;

    if (!tb_http_answer_header(answer, "x-amz-bucket-region", region, sizeof(region)) &&
        (text == NULL || !tb_str_copy(region, sizeof(region), text))) {
        return;
    }
    make_plain(region);
    if (fail != NULL && region[0] != '\0') {
        len = strlen(fail->text);
        (void)snprintf(fail->text + len, sizeof(fail->text) - len,
                       " (the bucket is in Region %s)", region);
    }
}

/* {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": ...}: what is behind '#' counts.
 * Lent by the document. */
static void
read_json_error(const struct tb_json *json, const char **out_code, const char **out_message)
{
    const char *type = tb_json_str(json, "/__type");
    const char *name = type != NULL ? strrchr(type, '#') : NULL;

    *out_code = name != NULL ? name + 1 : type;
    *out_message = tb_json_str(json, "/message");
    if (*out_message == NULL) {
        *out_message = tb_json_str(json, "/Message");
    }
}

enum tb_err
tb_aws_answer_error(const char *what, const struct tb_http_answer *answer,
                    const char *request_id, struct tb_fail *fail)
{
    struct tb_xml *doc = NULL;
    const struct tb_xml_node *error = NULL;
    const char *code = NULL, *message = NULL, *id = NULL;
    struct tb_json *json = NULL;
    enum tb_err err;

    if (tb_buf_view(&answer->body).len > 0 && tb_buf_view(&answer->body).at[0] == '{' &&
        tb_json_parse(tb_buf_view(&answer->body), &json, NULL) == TB_OK) {
        read_json_error(json, &code, &message);
    } else if (tb_xml_parse(tb_buf_view(&answer->body), &doc, NULL) == TB_OK) {
        error = find_error(doc);
        code = tb_xml_text(error, "Code");
        message = tb_xml_text(error, "Message");
        id = tb_xml_text(tb_xml_root(doc), "RequestID");
        if (id == NULL) {
            id = tb_xml_text(tb_xml_root(doc), "RequestId");
        }
    }
    message = message != NULL ? message : "";
    if (code != NULL && code[0] != '\0') {
        err = tb_aws_code_meaning(code, message, answer->status);
        (void)tb_fail_set(fail, err, "%s: %s: %s", what, code, message);
    } else {
        err = status_meaning(answer->status);
        (void)tb_fail_set(fail, err, "%s: status %d without an AWS error%s", what,
                          answer->status,
                          answer->body.len == 0 ? "" : ": it is not AWS that answered");
    }
    if (fail != NULL) {
        fail->http_status = answer->status;
        (void)tb_str_copy(fail->code, sizeof(fail->code), code != NULL ? code : "");
        (void)tb_str_copy(fail->request_id, sizeof(fail->request_id),
                          id != NULL && id[0] != '\0' ? id : request_id);
        make_plain(fail->code);
        make_plain(fail->request_id);
        make_plain(fail->text);
    }
    if (answer->status < 500) {
        tell_region(answer, error, fail);
    }
    tb_json_free(json);
    tb_xml_free(doc);
    return err;
}

enum tb_err
tb_aws_error_in_ok(const char *what, const struct tb_http_answer *answer,
                   const char *request_id, struct tb_fail *fail)
{
    struct tb_http_answer failed = *answer; /* only looked at */

    failed.status = 500; /* what a code that is not known means: it may pass */
    return tb_aws_answer_error(what, &failed, request_id, fail);
}
