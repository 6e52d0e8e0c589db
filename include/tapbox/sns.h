/*
 * Whether a message of SNS is genuine, and what follows from it: its topic is one that was
 * allowed, its signature is one of a certificate that SNS itself hands out and that leads to a
 * trusted authority, and it is no old one.  Certificates are kept; a subscription that is to be
 * confirmed is committed to the store, answered, and then confirmed by a thread of its own,
 * also of a later process.
 *
 * Threads: any may check, several at once; a check that may wait can take 12 s, which is less
 * than SNS waits.  One thread, "sns confirm", when a topic is allowed.
 * Source: SNS Developer Guide, "Verifying message signatures", "Message delivery retries".
 */
#ifndef TAPBOX_SNS_H
#define TAPBOX_SNS_H

#include <tapbox/sns_message.h>
#include <tapbox/store.h>

struct tb_sns;

struct tb_sns_settings {    /* borrowed for the call, but for the store */
    struct tb_store *store; /* borrowed until tb_sns_stop */
    const char *topics;     /* ARNs, with commas or blanks between; "" : none */
    unsigned least_version; /* of signatures: 1 or 2 */
    int64_t window_ns;      /* a message may be so old, or its time so far ahead as clocks go */
    const char *ca_file;    /* authorities, in PEM; "" : the system's */
};
TB_NODISCARD enum tb_err tb_sns_start(const struct tb_sns_settings *settings,
                                      struct tb_sns **out, struct tb_fail *fail);
/* What waits for confirmation goes on at the next start. */
void tb_sns_stop(struct tb_sns *sns);
/* Whether any topic is allowed. */
bool tb_sns_listens(const struct tb_sns *sns);

/* What came of a message; each has its counter. */
enum tb_sns_result {
    TB_SNS_NOTIFIED,     /* a notification, genuine */
    TB_SNS_CONFIRMING,   /* a subscription, which is confirmed from here */
    TB_SNS_UNSUBSCRIBED, /* the topic posts no longer */
    TB_SNS_REPLAYED,     /* of the notifications, those whose alert was there already */
    TB_SNS_CONFIRMED,    /* of the subscriptions: SNS said so */
    TB_SNS_UNCONFIRMED,  /* of the subscriptions: given up */
    /* refusals */
    TB_SNS_MALFORMED,
    TB_SNS_TOPIC_NOT_ALLOWED,
    TB_SNS_STALE,
    TB_SNS_AHEAD, /* its time is still to come: one of the clocks is wrong */
    TB_SNS_BAD_VERSION,
    TB_SNS_BAD_CERT_URL,
    TB_SNS_BAD_SUBSCRIBE_URL,
    TB_SNS_CERT_UNAVAILABLE,
    TB_SNS_CERT_TIMEOUT,
    TB_SNS_CERT_REDIRECTED,
    TB_SNS_CERT_TOO_LARGE,
    TB_SNS_CERT_MALFORMED,
    TB_SNS_CERT_UNTRUSTED,
    TB_SNS_CERT_EXPIRED,
    TB_SNS_CERT_WRONG_NAME,
    TB_SNS_BAD_SIGNATURE,
    TB_SNS_NOT_UNDERSTOOD, /* genuine, and no alert */
    TB_SNS_RESULT_COUNT,
    TB_SNS_FIRST_REFUSAL = TB_SNS_MALFORMED
};
/* "bad_signature" */
const char *tb_sns_result_name(enum tb_sns_result result);
unsigned long long tb_sns_counted(const struct tb_sns *sns, enum tb_sns_result result);
/* Subscriptions that are still to be confirmed. */
unsigned tb_sns_unconfirmed(const struct tb_sns *sns);
/* For those that only the caller can tell: replayed, not understood. */
void tb_sns_count(struct tb_sns *sns, enum tb_sns_result result);

struct tb_sns_verdict {
    enum tb_sns_type type;
    enum tb_sns_result result;
    char topic[TB_SNS_TOPIC_SIZE]; /* "" until it is known to be allowed */
    bool needs_wait;               /* only a check that may wait can tell; nothing is counted */
};

enum tb_sns_road {
    TB_SNS_POSTED, /* by whoever reaches the port */
    TB_SNS_QUEUED  /* in a queue, which keeps it for days: no window */
};

/*
 * Counts, and has the subscription confirmed.  `verdict` is written whatever comes of it.
 * `may_wait`: for SNS's servers, or the disk.
 * Errors: TB_ENOTFOUND the body is none of SNS's (posted: TB_EFORMAT); TB_EFORMAT it is broken;
 * TB_EDENIED it is refused, for good; TB_ERETRY not now: the certificate is not to be had,
 * or a subscription cannot be committed.
 */
TB_NODISCARD enum tb_err tb_sns_check(struct tb_sns *sns, struct tb_bytes body,
                                      enum tb_sns_road road, bool may_wait,
                                      struct tb_sns_verdict *verdict, struct tb_fail *fail);

#endif
