/*
 * Senders of alerts.  An adapter knows one sender's shape: it recognises a body and reads it
 * into one common form.  Pure: bytes in, value out; no I/O, no clock.
 */
#ifndef TAPBOX_WEBHOOK_H
#define TAPBOX_WEBHOOK_H

#include <stdbool.h>

#include <tapbox/alert.h>
#include <tapbox/bytes.h>

/* What is inside an envelope, or the body itself.  Everything is lent by the body. */
struct tb_event {
    const char *source;              /* "aws.guardduty"; NULL: no envelope */
    const char *detail_type;         /* "GuardDuty Finding"; NULL: no envelope */
    const char *account, *region;    /* of the envelope: where it was delivered; NULL unknown */
    const char *id, *time;           /* of the envelope: equal for redeliveries; NULL unknown */
    const struct tb_json *resources; /* of the envelope: ARNs; NULL: none */
    const struct tb_json *detail;    /* what the envelope held, or the body itself */
};

/* Wrapping that a carrier puts around an event.  TB_ENOTFOUND: not this one's shape. */
struct tb_webhook_envelope {
    const char *name;
    enum tb_err (*open)(const struct tb_json *body, struct tb_event *out, struct tb_fail *fail);
};

struct tb_webhook_adapter {
    const char *name;     /* up to 15 characters */
    const char *known_as; /* what it reads, for the sentence that lists the adapters */
    /* Whether this is of the adapter's sender. */
    bool (*recognises)(const struct tb_event *event);
    /* Reads it into `out`, which begins zeroed but for its adapter.  TB_EFORMAT names the
     * member that is missing or wrong. */
    enum tb_err (*read)(const struct tb_event *event, struct tb_alert *out,
                        struct tb_fail *fail);
};

/* A sender is a folder with its README and one line in the tables of registry.c; the body alone
 * says whose it is, whatever the content type. */
extern const struct tb_webhook_envelope tb_webhook_eventbridge;
extern const struct tb_webhook_envelope tb_webhook_guardduty_list;
extern const struct tb_webhook_adapter tb_webhook_guardduty;
extern const struct tb_webhook_adapter tb_webhook_ec2;
extern const struct tb_webhook_adapter tb_webhook_tapbox;

/*
 * Parses `body`, takes off an envelope, finds the adapter and reads the alert.  `out` is
 * written on success only.
 * Errors: TB_EFORMAT not JSON, or recognised and broken; TB_ENOTFOUND no adapter knows this
 * shape (the sentence lists those that exist); TB_ETOOBIG.
 */
TB_NODISCARD enum tb_err tb_webhook_read(struct tb_bytes body, struct tb_alert *out,
                                         struct tb_fail *fail);

#endif
