/* What the files of control share. */
#ifndef CONTROL_INT_H
#define CONTROL_INT_H

#include <stdatomic.h>

#include <tapbox/control.h>
#include <tapbox/evidence.h>
#include <tapbox/thread.h>

#include "plan.h"

enum {
    GENERAL_WORKERS = 4,
    /* Never wait behind anything but a teardown; as many as there may be EC2 calls that hang
     * while one more session has to come down in time. */
    TEARDOWN_WORKERS = 16,
    SEALING_WORKERS = 4, /* S3 may be slow, or away */
    WORKERS = GENERAL_WORKERS + TEARDOWN_WORKERS + SEALING_WORKERS
};

/* Three kinds of workers, so that a slow S3 never delays a tap, and a slow EC2 never a
 * teardown.
 */
enum control_job {
    CONTROL_JOB_GENERAL, /* everything up to recording, and teardowns */
    CONTROL_JOB_TEARDOWN,
    CONTROL_JOB_SEALING,
    CONTROL_JOBS
};

/* Who and where we are; known after the first successful look. */
struct control_self {
    bool known;
    char account[TB_ACCOUNT_SIZE];  /* "" until STS has told; may be known before the rest */
    struct tb_ec2_interface target; /* tags released: not kept */
};

/* What a worker has in hands. */
struct control_busy {
    char capture_id[TB_CAPTURE_ID_SIZE]; /* "" : nothing */
    int64_t since_boot_ns;
    bool aside;            /* another worker has it, too, and takes long */
    uint32_t looks_before; /* aside: about so many, one after each pause */
};

/* A capture that is not to be looked at for a moment. */
struct control_pause {
    char capture_id[TB_CAPTURE_ID_SIZE]; /* "" : free */
    int64_t until_boot_ns;
};

/* A capture whose tags may say another deadline than the store. */
struct control_expiry {
    char capture_id[TB_CAPTURE_ID_SIZE]; /* "" : free */
    /* The extension that they were told of, 0: none; EC2 may not show it yet. */
    int64_t to_utc_ns, told_boot_ns;
    char expires[TB_TIME_TEXT_SIZE];
};

/* A capture that records while interfaces of it are yet to be armed. */
struct control_late {
    char capture_id[TB_CAPTURE_ID_SIZE]; /* "" : free */
    uint32_t attempt;                    /* that failed since it records */
    int64_t next_boot_ns;
};

/* An account in which there may be sources. */
struct control_account {
    char id[TB_ACCOUNT_SIZE];   /* set once; "" : our own, as in the store's rows */
    struct tb_control *control; /* set once */
    struct tb_aws *aws;         /* set once; borrowed */
    pthread_t reconciler;       /* start and stop only */
    bool reconciling;           /* the reconciler was started */

    struct tb_mutex standing_mu; /* held while standing objects are looked for or made */
    struct tb_mutex mu;          /* never while a call runs */
    struct {                     /* touched only while holding mu */
        /* Seen by this process; "" : to be looked for.  The target is always our own account's;
         * seen in another one, it is shared with that. */
        char target[TB_AWS_ID_SIZE], filter[TB_AWS_ID_SIZE];
        size_t foreign_sessions; /* as of the reconciler's last look */
    } locked;
};

struct tb_control {
    struct tb_control_deps deps; /* set once */
    char host_name[64];          /* set once */
    char kernel[128];            /* set once */
    pthread_t threads[WORKERS];  /* start and stop only */
    unsigned started;
    struct control_account *accounts; /* set once; the first is our own */
    size_t account_count;
    pthread_t heart; /* start and stop only, as what follows */
    bool beating;
    bool wound_down; /* only workers that take down are left */
    atomic_ullong delete_failures;
    atomic_ullong mirror_changes; /* that others made in what is ours */

    struct tb_mutex mu;
    struct tb_cond more;               /* for all but the workers */
    struct tb_cond turn[CONTROL_JOBS]; /* one worker of the kind is to look */
    struct {                           /* touched only while holding mu */
        bool winding_down;             /* all but the workers that take down end */
        bool stopping;                 /* those, too */
        uint64_t wakes; /* counts tb_control_wake, so that none is missed while looking */
        /* when a worker of the kind looks without being told to; 0: no one waits for that */
        int64_t next_look_boot_ns[CONTROL_JOBS];
        struct control_busy busy[WORKERS];
        struct control_self self;
        int64_t aws_offset_s; /* AWS's clock less the store's, seconds */
        bool aws_told;        /* by AWS; else by this host when control began */
        /* short waits that are not worth a commit; a new start looks at once anyway */
        struct control_pause pauses[TB_RECORDER_MAX_CAPTURES];
        struct control_expiry expiries[TB_RECORDER_MAX_CAPTURES];
        struct control_late late[TB_RECORDER_MAX_CAPTURES];
    } locked;

    struct tb_mutex budget_mu; /* from the look at the day's budget to the place taken */
};

/* --- workers.c --- */
TB_NODISCARD enum tb_err control_workers_start(struct tb_control *control,
                                               struct tb_fail *fail);
/* One of each kind looks; all of them when control winds down or stops. */
void control_workers_turn_locked(struct tb_control *control) TB_REQUIRES(control->mu);
/* When they are told to stop: those that take down, or all others. */
void control_workers_join(struct tb_control *control, bool teardown);

/* --- places (queue.c) --- */

/* Whether `one` waits, and all places, or those of its account, are taken by others in the
 * list.
 */
bool control_has_to_queue(const struct tb_config *config, const char *own_account,
                          const struct tb_due *due, size_t count, const struct tb_due *one);
/* What runs comes before what begins; among those what the policy prefers, then the more
 * severe. */
bool control_goes_before(const struct tb_due *a, const struct tb_due *b);

/* --- accounts (accounts.c) --- */
TB_NODISCARD enum tb_err control_accounts_open(struct tb_control *control,
                                               struct tb_fail *fail);
void control_accounts_release(struct tb_control *control);
bool control_is_own(const struct control_account *account);
/* `id` as in rows.  TB_EDENIED: it is not configured. */
TB_NODISCARD enum tb_err control_account_get(struct tb_control *control, const char *id,
                                             struct control_account **out,
                                             struct tb_fail *fail);
/* Where the sources of a request are; asks AWS which account is ours, once. */
TB_NODISCARD enum tb_err control_account_of(struct tb_control *control,
                                            const struct tb_capture_request *request,
                                            struct control_account **out, struct tb_fail *fail);
/* Whether a call in another account failed because its role is not given to us. */
bool control_is_role_refused(enum tb_err err, const struct tb_fail *fail);

/* --- who and where we are (self.c) --- */
TB_NODISCARD enum tb_err control_self_learn(struct tb_control *control,
                                            struct control_self *out, struct tb_fail *fail);
/* Only the account: what is left to do after a capture needs no target any more. */
TB_NODISCARD enum tb_err control_account_learn(struct tb_control *control,
                                               char out[TB_ACCOUNT_SIZE], struct tb_fail *fail);
/* What the host counts is noted when a capture is armed and, once the recorder has closed it,
 * what that has grown by: minutes later it would be what came after. */
void control_mark_host(struct tb_control *control, const char *capture_id);
void control_close_host(struct tb_control *control, const char *capture_id);
/* A finished capture: its place in the recorder is free again, and nothing is noted of it. */
void control_forget(struct tb_control *control, const char *capture_id);

/* --- what EC2 knows of a request's sources (describe.c) --- */
struct control_found {
    struct tb_ec2_interfaces interfaces;
    struct tb_ec2_instances instances; /* that they are attached to */
};
/* One round trip.  Errors: those of the describes; TB_ENOTFOUND with EC2's code. */
TB_NODISCARD enum tb_err control_describe(struct control_account *account,
                                          const struct tb_capture_request *request,
                                          struct control_found *out, struct tb_fail *fail);
void control_found_release(struct control_found *found);
/* The policy wants no other interface of an instance than its first. */
void control_keep_primary(struct tb_ec2_interfaces *list);

/* Runs them at the same time and comes back when all have ended. */
struct control_task {
    void (*run)(void *arg);
    void *arg;
};
void control_together(struct control_task *tasks, size_t count);

/* AWS's clock against ours, from the Date of its answers: what expiry tags are written by. */
void control_note_aws_time(struct tb_control *control, int64_t server_utc_s);
/* Asks AWS once, when this process has not heard its clock yet: before its time goes to AWS
 * without having listed anything. */
TB_NODISCARD enum tb_err control_learn_aws_time(struct control_account *account,
                                                struct tb_fail *fail);
/* Whether AWS has told this process its clock. */
bool control_has_aws_time(struct tb_control *control);
/* What AWS's clock shows now, to a second; until AWS has told, this host's when it started. */
int64_t control_aws_now_ns(struct tb_control *control);
/* The deadline by AWS's clock, whatever the wall clock here has done since it was set. */
int64_t control_expires_utc_s(struct tb_control *control, const struct tb_deadline *deadline);

/* --- the policy's second phase (decide.c) --- */

/* NULL: the policy has no rules. */
const struct tb_guard *control_guard(const struct tb_control *control);
/*
 * Decides a request whose rule hangs on what EC2 says, for each alert of the capture; `work`
 * gets the profile.  Its result is written down.  TB_EDENIED: a rule ignores it, which `why`
 * says.
 */
TB_NODISCARD enum tb_err control_decide(struct tb_control *control, struct tb_capture *work,
                                        const struct control_found *found, struct tb_fail *why,
                                        struct tb_fail *fail);
/* Names what the guard forbids as gaps; how many sources are left. */
size_t control_guard_sources(const struct tb_control *control,
                             const struct control_found *found,
                             struct tb_capture_source *sources, size_t count);
/* Whether the day's budget is used up; `why` says so. */
TB_NODISCARD enum tb_err control_check_budget(struct tb_control *control,
                                              const struct tb_capture *capture, bool *out_spent,
                                              struct tb_fail *why, struct tb_fail *fail);

/* --- AWS objects (objects.c): intent before effect --- */

void control_set_tag(struct tb_ec2_tag *tag, const char *key, const char *value);

/* Writes the intent down, sends it, writes the answer down. */
TB_NODISCARD enum tb_err control_create(struct tb_control *control,
                                        const struct tb_resource *intent,
                                        char out_id[TB_AWS_ID_SIZE], struct tb_fail *fail);
/* Sends a written intent (again): the same bytes, so the same object. */
TB_NODISCARD enum tb_err control_replay(struct tb_control *control,
                                        struct tb_resource *resource, struct tb_fail *fail);
/* Deletes what a row stands for, whatever its state; NotFound is done, once it can be believed.
 * `attempt` counts the failed ones before. */
TB_NODISCARD enum tb_err control_delete(struct tb_control *control,
                                        struct tb_resource *resource, uint32_t attempt,
                                        struct tb_fail *fail);

/* That whoever answers about the object now could know of it: with the credentials of another
 * account, or in another Region, nobody does (TB_EDENIED), and it goes on mirroring. */
TB_NODISCARD enum tb_err control_check_place(struct tb_control *control,
                                             const struct tb_resource *resource,
                                             struct tb_fail *fail);

/* Every session of a capture, gone or being made; failures are logged, the first is told. */
TB_NODISCARD enum tb_err control_delete_sessions(struct tb_control *control,
                                                 struct tb_resource *rows, size_t count,
                                                 uint32_t attempt, struct tb_fail *fail);
/* Only those whose id is known, so that whoever makes more of them is not in its way. */
TB_NODISCARD enum tb_err control_delete_known_sessions(struct tb_control *control,
                                                       struct tb_resource *rows, size_t count,
                                                       uint32_t attempt, struct tb_fail *fail);

/* --- standing objects (standing.c) --- */
TB_NODISCARD enum tb_err control_standing_target(struct tb_control *control,
                                                 const struct control_self *self,
                                                 char out_id[TB_AWS_ID_SIZE],
                                                 struct tb_fail *fail);
/* That `target` of our own account can be used in `account`; else TB_EINVAL with the code
 * "target_not_shared" and what to do. */
TB_NODISCARD enum tb_err control_target_shared(struct control_account *account,
                                               const struct control_self *self,
                                               const char *target, struct tb_fail *fail);
TB_NODISCARD enum tb_err control_standing_filter(struct control_account *account,
                                                 char out_id[TB_AWS_ID_SIZE],
                                                 struct tb_fail *fail);
/* An intent with a fresh token, standing unless the caller gives it a capture. */
TB_NODISCARD enum tb_err control_begin_intent(const struct control_account *account,
                                              enum tb_resource_kind kind, const char *key,
                                              struct tb_resource *out, struct tb_fail *fail);
/* control_create with the request in `body`. */
TB_NODISCARD enum tb_err control_create_with_body(struct control_account *account,
                                                  struct tb_resource *intent,
                                                  struct tb_buf *body,
                                                  char out_id[TB_AWS_ID_SIZE],
                                                  struct tb_fail *fail);
/* EC2 is eventually consistent: for about a minute it may not know of what it did, or list what
 * was before.  Whether that long has passed since `then_steady_ns`, a time of the store's. */
bool control_is_settled(const struct tb_control *control, int64_t then_steady_ns);
/* A rule of a filter of ours: its key in the store, and how it is asked for (without token). */
struct control_rule {
    char key[128];
    struct tb_ec2_rule_spec spec; /* texts are lent */
};
/* Intent, request, answer.  `capture` NULL: of the standing filter.  TB_EEXIST: its number is
 * taken. */
TB_NODISCARD enum tb_err control_make_rule(struct control_account *account,
                                           const struct tb_capture *capture,
                                           const struct control_rule *rule,
                                           struct tb_fail *fail);
/* The rules that the standing filter has, or that of a capture whose own it is; how many. */
size_t control_standing_rules(const char *filter_id,
                              struct control_rule out[TB_FILTER_MAX_RULES]);
size_t control_own_rules(const struct tb_capture *capture, const char *filter_id,
                         struct control_rule out[TB_FILTER_MAX_RULES]);
/* The row of the standing filter, and of a capture's own; NULL: there is none. */
struct tb_resource *control_standing_filter_row(const struct control_account *account,
                                                struct tb_resource *rows, size_t count);
struct tb_resource *control_own_filter_row(const struct control_account *account,
                                           struct tb_resource *rows, size_t count);
/* The row that is not gone, or NULL; lent from `rows`. */
struct tb_resource *control_find_row(const struct control_account *account,
                                     struct tb_resource *rows, size_t count,
                                     enum tb_resource_kind kind, const char *key);
/* Whether `fail` is EC2's word that an object of this kind is not there; one that names neither
 * target nor filter is said of both. */
bool control_says_gone(const struct tb_fail *fail, enum tb_resource_kind kind);
/* Those that AWS says are gone: look for them, or make new ones, next time. */
void control_standing_forget(struct control_account *account, const struct tb_fail *why);

/* --- a capture's filter (own_filter.c) --- */

/* The one its sessions use, with all that it has to let through: its own, or the standing one.
 */
TB_NODISCARD enum tb_err control_capture_filter(struct control_account *account,
                                                const struct tb_capture *capture,
                                                char out_id[TB_AWS_ID_SIZE],
                                                struct tb_fail *fail);
/* Of what `capture` asks for, what all its sessions are sure to let through now: all of it, or
 * nothing that one could name, and control_widen does the rest. */
TB_NODISCARD enum tb_err control_filter_in_place(struct control_account *account,
                                                 const struct tb_capture *capture,
                                                 struct tb_filter *out, struct tb_fail *fail);
/* After alerts that joined: what runs gets what the capture's row says now. */
TB_NODISCARD enum tb_err control_widen(struct control_account *account,
                                       const struct tb_capture *capture, struct tb_fail *fail);
/* With its rules; no session may use it any more. */
TB_NODISCARD enum tb_err control_delete_own_filter(struct tb_control *control,
                                                   struct tb_resource *rows, size_t count,
                                                   uint32_t attempt, struct tb_fail *fail);
/* AWS says that it is gone, and it is not so new that this means nothing: make another one. */
TB_NODISCARD enum tb_err control_forget_own_filter(struct control_account *account,
                                                   const struct tb_capture *capture,
                                                   struct tb_fail *fail);

/* --- sessions (sessions.c, arm.c, extend.c) --- */

/* Those that are not there yet, side by side.  Changes the capture's sources, which the caller
 * writes down whatever comes: what is armed, and as a gap what EC2 refuses for good. */
TB_NODISCARD enum tb_err control_make_sessions(struct control_account *account,
                                               struct tb_capture *capture, const char *target,
                                               const char *filter, struct tb_fail *fail);
/*
 * Those, with the target and the filter that they need, and writes down what came of it: in
 * `work`, too.  TB_OK: they were tried, and *trouble (err TB_OK: none) is what kept some of
 * them from being made, to be tried again; else what they need is not there.
 */
TB_NODISCARD enum tb_err control_arm_sessions(struct control_account *account,
                                              struct tb_capture *work,
                                              const struct control_self *self,
                                              struct tb_fail *trouble, struct tb_fail *fail);
/* Tries again, when it is time, what has no session yet of a capture that records.  True:
 * something is armed that was not; the store has it. */
bool control_arm_late(struct tb_control *control, const struct tb_capture *capture);
/* Nothing of a capture is late any more. */
void control_forget_late(struct tb_control *control, const char *capture_id);
/* A source that was lost is not, and its session may have gone with it. */
bool control_is_armed(const struct tb_capture *capture, const char *eni);
/* As the store has it now, which may be later than what a worker has read. */
bool control_has_to_stop(struct tb_control *control, const char *id);
/* Whether a create failed because the target or the filter is gone. */
bool control_is_about_standing(enum tb_err err, const struct tb_fail *fail);
/* To extend_to_utc_ns.  An extension that AWS refuses for good is dropped (TB_OK): the old
 * deadline stands.  *again_ns becomes less while EC2 does not show the tags yet (TB_OK, too).
 */
TB_NODISCARD enum tb_err control_try_to_extend(struct tb_control *control,
                                               const struct tb_capture *capture,
                                               int64_t *again_ns, struct tb_fail *fail);
/* A deadline of an earlier boot ends by AWS's clock, as soon as that has been told, and is
 * counted in this boot from there on: the host may have started with a wrong clock, and
 * somebody may set it.  True when it was: the store has it. */
bool control_recount_deadline(struct tb_control *control, const struct tb_capture *capture);
/* What a crash amid an extension left behind, or a withdrawal while EC2 refused: the deadline
 * that stands goes into the tags.  A failure is logged, and the reconciler notes it anew. */
void control_settle_expiry(struct tb_control *control, const struct tb_capture *capture);
/* Notes that the tags of a capture do not say its deadline, for whoever has it in hands next;
 * _take: whether they may not, told once. */
void control_note_unsettled(struct tb_control *control, const char *capture_id);
bool control_take_unsettled(struct tb_control *control, const char *capture_id);

/* --- what AWS left out of the mirror (skips.c) --- */

/* Of each source instance; lent with the capture.  False: asked again in a while the answer may
 * be more. */
bool control_skips_get(struct tb_control *control, const struct tb_capture *capture,
                       struct tb_manifest_skips out[TB_CAPTURE_MAX_SOURCES], size_t *out_count);

/* --- one step of one capture (steps_up.c, steps_down.c) --- */

/* When to look again; 0 means at once. */
typedef enum tb_err control_step_fn(struct tb_control *control,
                                    const struct tb_capture *capture, int64_t *out_again_ns,
                                    struct tb_fail *fail);
control_step_fn control_step_requested;
control_step_fn control_step_planned;
control_step_fn control_step_arming;
control_step_fn control_step_recording;
control_step_fn control_step_draining;
control_step_fn control_step_sealing;

/* Whether somebody else made a session that is listed in `account` (numbers.c). */
bool control_is_foreign(const struct control_account *account,
                        const struct tb_ec2_session *session);

/* After news of its instances: what EC2 says is gone is lost at once (reconcile.c). */
void control_look_at_sources(struct tb_control *control, const struct tb_capture *capture);

/* --- what others do to what mirrors (watch.c, filter_rules.c) --- */

/* An interface that is being mirrored, of a capture that records. */
struct control_tap {
    char capture_id[TB_CAPTURE_ID_SIZE];
    char eni[TB_AWS_ID_SIZE];
    char filter[TB_AWS_ID_SIZE]; /* that EC2 shows its session with */
    int64_t recording_utc_ns;
};
/* What of an object was put right. */
enum control_aspect {
    CONTROL_SESSION,
    CONTROL_TAGS,
    CONTROL_DNS, /* of a filter */
    CONTROL_RULE /* of others, deleted: its id does not come again */
};
/* EC2 may list an object as it was before that for a while. */
struct control_mended {
    char id[TB_AWS_ID_SIZE]; /* "" : free */
    enum control_aspect aspect;
    int64_t steady_ns; /* when it was put right first */
    char was[TB_CAPTURE_MAX_TEXT];
};
enum {
    CONTROL_MENDED_MOST =
        64 /* beyond these the oldest is forgotten, and what EC2 lists counts */
};
/* One look of a reconciler. */
struct control_watch {
    struct control_account *account;
    const struct tb_ec2_sessions *sessions;
    const struct tb_ec2_filters *filters;
    int64_t since_utc_ns; /* when all was as it should be the last time; 0: not known */
    bool wrong; /* something is not, and could not be put right or cannot be told yet */
    char standing_filter[TB_AWS_ID_SIZE]; /* "" : there is none, or none is known */
    struct control_tap *taps;
    size_t tap_count, tap_cap;
    struct control_mended *mended; /* CONTROL_MENDED_MOST, borrowed; kept from look to look */
};
/* Puts right what is there and is not as it was made, and says so: log, number, custody log,
 * the gap of each interface that it is about. */
void control_watch_mirrors(struct control_watch *watch);
/* Says so for an interface: `what` happened, after the last look or the recording's begin. */
void control_note_touched(struct control_watch *watch, const struct control_tap *tap,
                          const char *what);
/* `again`: EC2 listed it as it was before it was put right, which may be all there is to it. */
void control_note_restored(struct control_watch *watch, const struct control_tap *tap,
                           bool again);
/* Whether `was` may be what EC2 lists of before we put it right.  Asked again and again, EC2
 * never showing it right: no longer than until it has settled. */
bool control_may_be_old(const struct control_watch *watch, const char *id,
                        enum control_aspect aspect, const char *was);
void control_note_mended(struct control_watch *watch, const char *id,
                         enum control_aspect aspect, const char *was);
/* EC2 lists it as it is to be: what differs from now on is news. */
void control_seen_right(struct control_watch *watch, const char *id,
                        enum control_aspect aspect);
/* A filter of ours as it is listed, by `row`: `capture` NULL is the standing one.  `rows` are
 * those of the same. */
void control_watch_filter(struct control_watch *watch, const struct tb_ec2_filter *found,
                          const struct tb_resource *row, const struct tb_capture *capture,
                          struct tb_resource *rows, size_t count);

/* An account's reconciler (reconcile.c); `arg` is the account. */
void *control_reconcile_run(void *arg);
/* Forgets some of what is older than store.keep (keep.c); how long until the next look. */
int64_t control_forget_old(struct tb_control *control);
/* Signs of life (heartbeat.c); `arg` is the struct tb_control. */
void *control_heartbeat_run(void *arg);

/* What recorders before the present one had of the capture: nothing (known_utc_ns 0) when it
 * was never armed. */
void control_record_base(struct tb_control *control, const struct tb_capture *capture,
                         struct tb_record_base *out);
/* A time without a recorder, which ends now, goes into the custody log; none when nothing was
 * recorded before. */
void control_note_gap(struct tb_control *control, const char *capture_id,
                      const struct tb_record_base *base);

/* Builds what the recorder has to know (record_spec.c); bpf memory goes to *out_bpf, free()d by
 * the caller. */
TB_NODISCARD enum tb_err control_record_spec(struct tb_control *control,
                                             const struct tb_capture *capture,
                                             struct tb_record_spec *out,
                                             struct tb_bpf_insn **out_bpf,
                                             struct tb_fail *fail);

#endif
