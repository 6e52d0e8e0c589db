/*
 * Pre-flight: what a capture would do and why it may not work, before anything is made.
 */
#ifndef TAPBOX_PREFLIGHT_H
#define TAPBOX_PREFLIGHT_H

#include <tapbox/capture.h>
#include <tapbox/json.h>

enum tb_check_severity {
    TB_CHECK_INFO,
    TB_CHECK_WARN,  /* it would run, perhaps not as hoped */
    TB_CHECK_BLOCK, /* with this it cannot run; of an interface: it is left out */
    TB_CHECK_SEVERITY_COUNT
};
/* "info", "warn", "block" */
const char *tb_check_severity_name(enum tb_check_severity severity);

struct tb_check {
    const char *code; /* stable, e.g. "deny_tag"; static */
    enum tb_check_severity severity;
    char eni[TB_AWS_ID_SIZE]; /* the interface it is about; "" : the whole capture */
    char text[400];           /* what is so, and what to do about it */
};

enum {
    TB_PLAN_MAX_CHECKS = 192 /* about ten an interface, and twenty of the whole */
};

struct tb_plan {
    struct tb_check checks[TB_PLAN_MAX_CHECKS];
    size_t check_count;
    bool blocked; /* nothing would be captured */
    /* those that would be mirrored have gap ""; session numbers as they would be chosen */
    struct tb_capture_source sources[TB_CAPTURE_MAX_LISTED];
    size_t source_count;
    char joins[TB_CAPTURE_ID_SIZE]; /* the running capture it would join; "" : none */
    char target_eni[TB_AWS_ID_SIZE];
    char target[TB_AWS_ID_SIZE]; /* "" : it would be made */
    char filter[TB_AWS_ID_SIZE];
    double price_usd; /* of the sessions' hours; without transfer */
};

struct tb_control;
/*
 * Looks at everything and makes nothing: some ten calls of AWS, several at once, and an upload
 * that is begun and given up.  What cannot be looked at becomes a check ("not_known").
 * Errors: who and where we are is not known (as tb_control_ready), TB_ENOMEM, the store's.
 */
TB_NODISCARD enum tb_err tb_control_plan(struct tb_control *control,
                                         const struct tb_capture_request *request,
                                         struct tb_plan *out, struct tb_fail *fail);
/* Adds the members "blocked", "checks", "sources", "target", "joins" and "price_usd". */
void tb_plan_add_json(const struct tb_plan *plan, struct tb_json *into);

#endif
