/* Policy: turns an alert into a capture request, or into a refusal with its reason.  Pure. */
#ifndef TAPBOX_POLICY_H
#define TAPBOX_POLICY_H

#include <tapbox/request.h>
#include <tapbox/webhook.h>

enum tb_decision {
    TB_DECISION_CAPTURE,
    TB_DECISION_IGNORE,
    TB_DECISION_REFUSE /* whatever the policy: there is nothing to mirror */
};
/* "capture", "ignore", "refuse" */
const char *tb_decision_name(enum tb_decision decision);

struct tb_policy {
    struct tb_request_bounds bounds;
    double min_severity;  /* alerts below are ignored */
    bool capture_samples; /* sample findings are otherwise ignored, with that reason */
    bool capture_archived;
    int64_t
        cooldown_ns; /* a finding that was captured so shortly before is ignored; 0: never */
};

/* `reason` (TB_CAPTURE_MAX_TEXT) says why, whatever the decision. */
enum tb_decision tb_policy_decide(const struct tb_policy *policy, const struct tb_alert *alert,
                                  struct tb_capture_request *out,
                                  char reason[TB_CAPTURE_MAX_TEXT]);

#endif
