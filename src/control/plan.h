/* Decisions of control as pure functions: facts in, what to do out. */
#ifndef CONTROL_PLAN_H
#define CONTROL_PLAN_H

#include <tapbox/aws_ec2.h>
#include <tapbox/capture.h>

/* Tags on what we make (DESIGN promise 2). */
#define TB_TAG_OWNER "tapbox:owner"
#define TB_TAG_CAPTURE "tapbox:capture"
#define TB_TAG_EXPIRES "tapbox:expires"
#define TB_TAG_STANDING "tapbox:standing"

/*
 * Which of the described interfaces can be mirrored.  All of them become sources; those that
 * cannot are named with the reason in `gap`.  `instances` are theirs as far as known (NULL:
 * not); `target_eni` is ours and never a source.
 * Returns how many can, at most TB_CAPTURE_MAX_SOURCES; *out_count is how many are listed.
 */
size_t tb_plan_sources(const struct tb_capture_request *request,
                       const struct tb_ec2_interfaces *interfaces,
                       const struct tb_ec2_instances *instances, const char *target_eni,
                       struct tb_capture_source out[TB_CAPTURE_MAX_LISTED], size_t *out_count);

/* The gap of an interface that is one too many. */
void tb_plan_say_too_many(char out_gap[TB_CAPTURE_MAX_TEXT]);

/* The number for a new session on `eni`: after everyone else's (promise 8), 1 when it is alone;
 * 0 when no number above is left. */
uint32_t tb_plan_session_number(const struct tb_ec2_sessions *sessions, const char *eni);
/* How many of the sessions on `eni` are not of `owner`. */
size_t tb_plan_foreign(const struct tb_ec2_sessions *sessions, const char *eni,
                       const char *owner);

/* Full jitter: random in [0, min(most, first * 2^attempt)), never below a tenth of it. */
int64_t tb_plan_backoff_ns(uint32_t attempt, int64_t first_ns, int64_t most_ns);

/* Why a live capture has to come down now; TB_STOP_NONE when it does not. */
enum tb_stop_reason tb_plan_stop(const struct tb_capture *capture);

/* A parameter of a request body as it was written down (`params` of a resource), decoded; false
 * when it has none of that name, or `out` no room. */
bool tb_plan_param(const char *params, const char *name, char *out, size_t cap);
/* The same of a tag that the request puts on what it makes. */
bool tb_plan_param_tag(const char *params, const char *key, char *out, size_t cap);

/* Whether EC2 lists the rule as it was asked for; what it may tell in several ways (all
 * protocols, no ports, an address) is the same in all of them. */
bool tb_plan_is_rule(const struct tb_ec2_rule *found, const struct tb_ec2_rule_spec *wanted);

/*
 * How a listed session differs from what was asked for (`params` of its row), with `filter`
 * (NULL: whichever it has) in place of the one of then: *out puts it right, `said` names what
 * there is and what there should be.  Strings of *out are lent from `filter` and `target`.
 * False: it does not differ.
 */
bool tb_plan_session_change(const struct tb_ec2_session *found, const char *params,
                            const char *filter, char target[TB_AWS_ID_SIZE],
                            struct tb_ec2_session_change *out, char said[TB_CAPTURE_MAX_TEXT]);

/* Whether a session of ours, listed among `sessions`, was given a number behind the one it was
 * asked for with (`params`), *out_asked, and other sessions of its interface have that one or a
 * later one: there it stays, since going back takes packets from them (DESIGN promise 8). */
bool tb_plan_has_to_stay_behind(const struct tb_ec2_sessions *sessions,
                                const struct tb_ec2_session *ours, const char *params,
                                uint32_t *out_asked);

/* What a sweep does with an object's tags, at AWS's own time. */
enum tb_sweep_verdict {
    TB_SWEEP_FOREIGN,  /* not ours: never touched */
    TB_SWEEP_ALIVE,    /* ours, not expired */
    TB_SWEEP_EXPIRED,  /* ours, to be deleted */
    TB_SWEEP_STANDING, /* ours, without expiry */
    TB_SWEEP_UNCLEAR   /* ours, but its expiry cannot be read */
};
enum tb_sweep_verdict tb_plan_sweep(const struct tb_ec2_tags *tags, const char *owner,
                                    int64_t server_utc_s);

#endif
