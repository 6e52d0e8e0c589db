/* Intake: what arrives becomes a committed alert, or a reasoned no. */
#ifndef TAPBOX_INTAKE_H
#define TAPBOX_INTAKE_H

#include <tapbox/json.h>
#include <tapbox/policy.h>
#include <tapbox/store.h>

struct tb_intake_from {
    const char *remote;     /* peer address */
    const char *token_name; /* who */
    const char *sender; /* of the policy's senders, whose body it is; NULL: the body says it */
};

struct tb_intake_result {
    enum tb_intake_outcome outcome;
    char capture_id[TB_CAPTURE_ID_SIZE]; /* "" when ignored */
    char reason[TB_CAPTURE_MAX_TEXT];
    char rule[TB_RULE_NAME_SIZE]; /* that decided; "" : none */
    enum tb_why why;              /* nothing is captured */
    size_t left_out;              /* sources that no capture of it covers: see tb_verdict */
    struct tb_alert alert;
};

/*
 * Body of POST /v1/events: adapter, policy, commit.  `told` (may be NULL) hears of each alert
 * in it that was committed, in their order.  After TB_OK the sender may be told. Errors:
 * TB_EFORMAT, TB_ENOTFOUND (unknown shape), TB_ETOOBIG: the sender's fault; TB_EIO, TB_EFULL:
 * ours, the sender should try again.  Of several alerts those that can be are committed, and
 * the error names one of the others: sent again, they are duplicates.
 */
TB_NODISCARD enum tb_err
tb_intake_event(struct tb_store *store, const struct tb_policy *policy, struct tb_bytes body,
                const struct tb_intake_from *from,
                void (*told)(void *arg, const struct tb_intake_result *result), void *arg,
                struct tb_fail *fail);

/* Body of POST /v1/captures; `idempotency_key` may be NULL. */
TB_NODISCARD enum tb_err tb_intake_request(struct tb_store *store,
                                           const struct tb_policy *policy, struct tb_bytes body,
                                           const char *idempotency_key,
                                           const struct tb_intake_from *from,
                                           struct tb_intake_result *out, struct tb_fail *fail);

/* --- the same in two steps, for who commits several at once --- */

struct tb_intake_ready {
    /* in: where the capture as it is after the commit goes, lent; NULL: nowhere */
    struct tb_capture *capture;
    bool only_made; /* only of one that this alert made */
    /* out, of the commit */
    enum tb_err err; /* as tb_intake_event's */
    struct tb_fail fail;
    struct tb_intake_result result;
    bool has_capture;
    /* between the two: points into itself, so it is not moved */
    struct tb_intake intake;
    struct tb_intake_prepared *prepared; /* owned; NULL: none */
    struct tb_capture_request request;
    char reason[TB_CAPTURE_MAX_TEXT];
    char key[TB_CAPTURE_MAX_TEXT];
    char part[TB_AWS_ID_SIZE]; /* of an alert that was split: ends its key; "" : it was not */
    struct tb_intake_ready *next; /* of the same body; NULL: the last */
};
void tb_intake_ready_free(struct tb_intake_ready *first); /* with those after it */
/*
 * Adapter and policy: one for each alert in the body, and of an alert that names instances
 * without their interfaces one for each of these (a capture holds one), chained, for the caller
 * to tb_intake_ready_free.  `body` and `from` are lent until the commit.  Of several alerts one
 * that cannot be read has its error in `err`, and is not for the commit.
 * Errors: the sender's fault of tb_intake_event.
 */
TB_NODISCARD enum tb_err tb_intake_event_read(const struct tb_policy *policy,
                                              struct tb_bytes body,
                                              const struct tb_intake_from *from,
                                              struct tb_intake_ready **out,
                                              struct tb_fail *fail);
/* A stored alert (`row`, and the body that it came in) by the policy as it is now: one, as
 * tb_intake_event_read gives them.  It is kept as an alert of its own that names who looked
 * again; a cooldown does not count.  `idempotency_key` NULL: each time is another.  Errors:
 * besides those above TB_EIO without random octets. */
TB_NODISCARD enum tb_err
tb_intake_replay_read(const struct tb_policy *policy, const struct tb_alert_row *row,
                      const char *idempotency_key, struct tb_bytes body,
                      const struct tb_intake_from *from, struct tb_intake_ready **out,
                      struct tb_fail *fail);
TB_NODISCARD enum tb_err
tb_intake_request_read(const struct tb_policy *policy, struct tb_bytes body,
                       const char *idempotency_key, const struct tb_intake_from *from,
                       struct tb_intake_ready *out, struct tb_fail *fail);
/* The one whose error counts for a whole body: ours before the sender's, since that asks it to
 * send the body again.  NULL: all are in. */
const struct tb_intake_ready *tb_intake_worst(const struct tb_intake_ready *first);
/* Sending it again as it is would not help. */
bool tb_intake_is_senders_fault(enum tb_err err);
enum {
    TB_INTAKE_AT_ONCE = 64
};
/* Up to TB_INTAKE_AT_ONCE chains, in as few commits as they fit into; each has its own outcome
 * or error. */
void tb_intake_commit(struct tb_store *store, struct tb_intake_ready *const *ready,
                      size_t count);

/* --- what would become of it: nothing is committed --- */

struct tb_intake_preview {
    struct tb_alert
        alert; /* adapter "": an analyst's own request, or one that cannot be read */
    struct tb_verdict verdict; /* of a request: to capture */
};
/* One for each alert as tb_intake_event_read gives them, for the caller to free.  Of several
 * one that cannot be read is refused.  `sender` as of tb_intake_from; `row`: of a body that
 * holds several only the one that it is of, NULL: all.  Errors as of tb_intake_event and
 * tb_intake_request; TB_EFORMAT also for a row that is of none of them. */
TB_NODISCARD enum tb_err tb_intake_preview_event(const struct tb_policy *policy,
                                                 struct tb_bytes body, const char *sender,
                                                 const struct tb_alert_row *row,
                                                 struct tb_intake_preview **out,
                                                 size_t *out_count, struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_intake_preview_request(const struct tb_policy *policy,
                                                   struct tb_bytes body,
                                                   struct tb_intake_preview *out,
                                                   struct tb_fail *fail);
/* {"decision", "reason", "rule", "alert", "sources", "indicators", "profile", "filter"};
 * `blocked`: pre-flight says that it cannot run.  For the caller to tb_json_free. */
struct tb_json *tb_intake_preview_json(const struct tb_intake_preview *preview, bool blocked);
/* Plans of several in an array, taken over: {"decision": "several", "reason", "blocked",
 * "alerts"}. */
struct tb_json *tb_intake_previews_json(struct tb_json *plans);

#endif
