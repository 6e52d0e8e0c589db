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

/* --- what would become of it: nothing is committed --- */

struct tb_intake_preview {
    enum tb_decision decision;
    char reason[TB_CAPTURE_MAX_TEXT];
    struct tb_alert alert;             /* adapter "": an analyst's own request */
    struct tb_capture_request request; /* when it would be captured */
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
