/*
 * Senders of alerts.  An adapter knows one sender's shape: it recognises a body and reads it
 * into one common form.  Pure: bytes in, value out; no I/O, no clock.
 */
#ifndef TAPBOX_WEBHOOK_H
#define TAPBOX_WEBHOOK_H

#include <stdbool.h>

#include <tapbox/alert.h>
#include <tapbox/bytes.h>
#include <tapbox/senders.h>

/* What is inside an envelope, or the body itself.  Everything is lent by the body. */
struct tb_event {
    const char *source;              /* "aws.guardduty"; NULL: no envelope */
    const char *detail_type;         /* "GuardDuty Finding"; NULL: no envelope */
    const char *account, *region;    /* of the envelope: where it was delivered; NULL unknown */
    const char *id, *time;           /* of the envelope: equal for redeliveries; NULL unknown */
    const struct tb_json *resources; /* of the envelope: ARNs; NULL: none */
    const char *action;              /* a person chose this action for it; NULL: nobody did */
    const struct tb_json *list;      /* an array of what it holds several of; NULL: one */
    const struct tb_json *detail;    /* what the envelope held, one of the list, or the body */
};

/* Wrapping that a carrier puts around an event.  TB_ENOTFOUND: not this one's shape. */
struct tb_webhook_envelope {
    const char *name;
    enum tb_err (*open)(const struct tb_json *body, struct tb_event *out, struct tb_fail *fail);
};

struct tb_webhook_adapter {
    const char *name;     /* fits tb_alert's */
    const char *known_as; /* what it reads, for the sentence that lists the adapters */
    /* Whether this is of the adapter's sender. */
    bool (*recognises)(const struct tb_event *event);
    /* Reads it into `out`, which begins zeroed but for its adapter (another one, when it is
     * that one's finding by another road).  TB_EFORMAT names the member that is missing or
     * wrong. */
    enum tb_err (*read)(const struct tb_event *event, struct tb_alert *out,
                        struct tb_fail *fail);
};

/* A sender is a folder with its README and one line in the tables of registry.c; the body alone
 * says whose it is, whatever the content type. */
extern const struct tb_webhook_envelope tb_webhook_eventbridge;
extern const struct tb_webhook_envelope tb_webhook_securityhub_event;
extern const struct tb_webhook_adapter tb_webhook_guardduty;
extern const struct tb_webhook_adapter tb_webhook_securityhub;
extern const struct tb_webhook_adapter tb_webhook_ec2;
extern const struct tb_webhook_adapter tb_webhook_tapbox;

enum {
    TB_WEBHOOK_MAX_ALERTS = 32 /* in one body: Security Hub sends one, or what was ticked */
};

/* Besides the adapters, those that the policy describes (senders.h); both are lent. */
struct tb_webhook_how {
    const struct tb_senders *senders; /* NULL: none */
    const char *sender; /* which of them it is, when somebody said so; NULL: the body says it,
                           and adapters come first */
};

/*
 * Parses a body and takes off its envelope.  The body is not needed afterwards; `*out` is for
 * the caller to tb_webhook_free.  `how` may be NULL.  Of a sender that is named, an array is
 * several alerts.
 * Errors: TB_EFORMAT not JSON, or an envelope that is broken; TB_ENOTFOUND no sender has this
 * name; TB_ETOOBIG, also for more than TB_WEBHOOK_MAX_ALERTS.
 */
struct tb_webhook_body;
TB_NODISCARD enum tb_err tb_webhook_open(struct tb_bytes body, const struct tb_webhook_how *how,
                                         struct tb_webhook_body **out, struct tb_fail *fail);
void tb_webhook_free(struct tb_webhook_body *body);
/* At least 1. */
size_t tb_webhook_count(const struct tb_webhook_body *body);
/*
 * Finds the adapter of the i-th and reads the alert.  `out` is written on success only.
 * Errors: TB_EFORMAT recognised and broken; TB_ENOTFOUND no adapter knows this shape (the
 * sentence lists those that exist).
 */
TB_NODISCARD enum tb_err tb_webhook_alert(const struct tb_webhook_body *body, size_t i,
                                          struct tb_alert *out, struct tb_fail *fail);
/* All of it for a body that holds one alert; one that holds more is TB_EFORMAT. */
TB_NODISCARD enum tb_err tb_webhook_read(struct tb_bytes body, const struct tb_webhook_how *how,
                                         struct tb_alert *out, struct tb_fail *fail);

#endif
