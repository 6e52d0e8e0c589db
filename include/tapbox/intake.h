/* Intake: what arrives becomes a committed alert, or a reasoned no. */
#ifndef TAPBOX_INTAKE_H
#define TAPBOX_INTAKE_H

#include <tapbox/json.h>
#include <tapbox/policy.h>
#include <tapbox/store.h>

struct tb_intake_from {
    const char *remote;     /* peer address */
    const char *token_name; /* who */
};

struct tb_intake_result {
    enum tb_intake_outcome outcome;
    char capture_id[TB_CAPTURE_ID_SIZE]; /* "" when ignored */
    char reason[TB_CAPTURE_MAX_TEXT];
    char rule[TB_RULE_NAME_SIZE]; /* that decided; "" : none */
    enum tb_why why;              /* nothing is captured */
    struct tb_alert alert;
};

/*
 * Body of POST /v1/events: adapter, policy, commit.  After TB_OK the sender may be told.
 * Errors: TB_EFORMAT, TB_ENOTFOUND (unknown shape), TB_ETOOBIG: the sender's fault; TB_EIO,
 * TB_EFULL: ours, the sender should try again.
 */
TB_NODISCARD enum tb_err tb_intake_event(struct tb_store *store, const struct tb_policy *policy,
                                         struct tb_bytes body,
                                         const struct tb_intake_from *from,
                                         struct tb_intake_result *out, struct tb_fail *fail);

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
    /* out, of the commit */
    enum tb_err err; /* as tb_intake_event's */
    struct tb_fail fail;
    struct tb_intake_result result;
    bool has_capture;
    /* between the two: points into itself, so it is not moved */
    struct tb_intake intake;
    struct tb_capture_request request;
    char reason[TB_CAPTURE_MAX_TEXT];
    char key[TB_CAPTURE_MAX_TEXT];
};
/* Adapter and policy.  `body` and `from` are lent until the commit.  Errors: the sender's fault
 * of tb_intake_event. */
TB_NODISCARD enum tb_err tb_intake_event_read(const struct tb_policy *policy,
                                              struct tb_bytes body,
                                              const struct tb_intake_from *from,
                                              struct tb_intake_ready *out,
                                              struct tb_fail *fail);
TB_NODISCARD enum tb_err
tb_intake_request_read(const struct tb_policy *policy, struct tb_bytes body,
                       const char *idempotency_key, const struct tb_intake_from *from,
                       struct tb_intake_ready *out, struct tb_fail *fail);
enum {
    TB_INTAKE_AT_ONCE = 64
};
/* Up to TB_INTAKE_AT_ONCE in one commit; each has its own outcome or error. */
void tb_intake_commit(struct tb_store *store, struct tb_intake_ready *const *ready,
                      size_t count);

/* --- what would become of it: nothing is committed --- */

struct tb_intake_preview {
    struct tb_alert alert;     /* adapter "": an analyst's own request */
    struct tb_verdict verdict; /* of a request: to capture */
};
/* Errors as of tb_intake_event and tb_intake_request. */
TB_NODISCARD enum tb_err tb_intake_preview_event(const struct tb_policy *policy,
                                                 struct tb_bytes body,
                                                 struct tb_intake_preview *out,
                                                 struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_intake_preview_request(const struct tb_policy *policy,
                                                   struct tb_bytes body,
                                                   struct tb_intake_preview *out,
                                                   struct tb_fail *fail);
/* {"decision", "reason", "rule", "alert", "sources", "indicators", "profile", "filter"};
 * `blocked`: pre-flight says that it cannot run.  For the caller to tb_json_free. */
struct tb_json *tb_intake_preview_json(const struct tb_intake_preview *preview, bool blocked);

#endif
