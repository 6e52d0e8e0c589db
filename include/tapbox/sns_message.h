/*
 * What SNS posts to an HTTPS endpoint, or puts into a queue without raw delivery: the envelope,
 * what of it is signed, and which of its URLs may be asked for.  Nothing here says that it is
 * genuine: that is tapbox/sns.h.
 *
 * Ownership: everything in a message is lent by the JSON it was read from.  Threads: pure.
 * Source: SNS Developer Guide, "Parsing message formats", "Verifying message signatures".
 */
#ifndef TAPBOX_SNS_MESSAGE_H
#define TAPBOX_SNS_MESSAGE_H

#include <tapbox/json.h>
#include <tapbox/limits.h>

enum tb_sns_type {
    TB_SNS_NOTIFICATION,
    TB_SNS_SUBSCRIBE,   /* SubscriptionConfirmation */
    TB_SNS_UNSUBSCRIBE, /* UnsubscribeConfirmation */
    TB_SNS_TYPE_COUNT
};
/* As in the message's "Type". */
const char *tb_sns_type_name(enum tb_sns_type type);

struct tb_sns_message {
    enum tb_sns_type type;
    const char *id;        /* MessageId: equal for redeliveries */
    const char *topic;     /* TopicArn */
    const char *message;   /* Message: of a notification, what was published */
    const char *subject;   /* Subject; NULL: none */
    const char *timestamp; /* RFC 3339 */
    const char *version;   /* SignatureVersion; NULL here and below: not there */
    const char *signature; /* base64 */
    const char *cert_url;  /* SigningCertURL */
    const char *token;     /* of a confirmation */
    const char *subscribe_url;
};

/* Whether a body is SNS's: one of its types, with TopicArn and Message. */
bool tb_sns_is_message(const struct tb_json *body);
/* TB_EFORMAT names the member that is missing; `out` is written on success only.  What only a
 * signature needs may be missing: whoever checks it looks. */
TB_NODISCARD enum tb_err tb_sns_message_read(const struct tb_json *body,
                                             struct tb_sns_message *out, struct tb_fail *fail);
/* The document inside a notification, for the caller to tb_json_free.  TB_EFORMAT when it is
 * plain text, or a message that is no notification. */
TB_NODISCARD enum tb_err tb_sns_message_open(const struct tb_json *body, struct tb_json **out,
                                             struct tb_fail *fail);

/* Appends what is signed: name and value of each signed member, each ended by a newline, in
 * their order. */
void tb_sns_string_to_sign(const struct tb_sns_message *message, struct tb_buf *out);

enum {
    TB_SNS_TOPIC_SIZE = 384, /* an ARN: a name of 256 and 12 digits between Region and words */
    TB_SNS_HOST_SIZE = 64
};
/* "arn:PARTITION:sns:REGION:ACCOUNT:NAME" of a partition whose hosts are known. */
bool tb_sns_topic_valid(const char *topic);
/* The topic's last part, lent; the topic itself when it has none. */
const char *tb_sns_topic_name(const char *topic);
/* "sns.REGION.amazonaws.com", in China with ".cn" behind it; false when the topic is none. */
bool tb_sns_host(const char *topic, char out[TB_SNS_HOST_SIZE]);
/* https, exactly the host of the message's own topic, without user, port, query or fragment,
 * and /SimpleNotificationService-NAME.pem: any other host of amazonaws.com may be anybody's. */
bool tb_sns_cert_url_valid(const struct tb_sns_message *message);
/* The same host, and a query that confirms just this topic with just this token. */
bool tb_sns_subscribe_url_valid(const struct tb_sns_message *message);
/* http or https to a host of Amazon's authorities, and a plain path: the certificate that names
 * it as its issuer's is not trusted yet. */
bool tb_sns_issuer_url_valid(const char *url);

#endif
