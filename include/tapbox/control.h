/*
 * Control owns every AWS object and moves captures through their states.  Workers take what is
 * due from the store and advance it by one step; some do nothing but teardown.
 */
#ifndef TAPBOX_CONTROL_H
#define TAPBOX_CONTROL_H

#include <tapbox/aws_ec2.h>
#include <tapbox/config.h>
#include <tapbox/json.h>
#include <tapbox/recorder.h>
#include <tapbox/upload.h>

struct tb_control;

struct tb_control_deps { /* all borrowed, outlive control */
    const struct tb_config *config;
    struct tb_store *store;
    struct tb_aws *aws;
    struct tb_recorder_link *recorder;
    struct tb_uploader *uploader;
    const struct tb_signing_key *key; /* signs manifests; NULL: none is sealed */
    struct tb_s3_bucket bucket;
    int spool_fd;
};

/* Looks up who and where we are (account, target interface), then starts the workers. */
TB_NODISCARD enum tb_err tb_control_start(const struct tb_control_deps *deps,
                                          struct tb_control **out, struct tb_fail *fail);
/* Nothing is begun or sealed any more, and nobody looks around; what has to come down still
 * does, until tb_control_stop: what else ends meanwhile may take its time. */
void tb_control_wind_down(struct tb_control *control);
/* Running steps end; captures stay as they are and go on at the next start. */
void tb_control_stop(struct tb_control *control);
/* Something is due: a new capture, a stop. */
void tb_control_wake(struct tb_control *control);

/* What /readyz asks: store, recorder, AWS identity known.  The sentence says what is missing.
 */
TB_NODISCARD enum tb_err tb_control_ready(struct tb_control *control, struct tb_fail *fail);
/* Live counters of a capture from the recorder.  TB_ENOTFOUND: it does not have it (any more: a
 * new one counts from 0, and what is known is the ledger in the store); TB_ECLOSED. */
TB_NODISCARD enum tb_err tb_control_live(struct tb_control *control, const char *capture_id,
                                         struct tb_record_status *out, struct tb_fail *fail);

/*
 * A later deadline for a capture that is recording.  Comes back when the tapbox:expires tags
 * have been rewritten and the recorder knows (*out_deadline), or with the reason why the old
 * deadline stands: TB_ESTATE, TB_ENOTFOUND, TB_EDENIED, TB_ETIMEOUT (AWS did not confirm within
 * 10 s).
 */
TB_NODISCARD enum tb_err tb_control_extend(struct tb_control *control, const char *capture_id,
                                           int64_t to_utc_ns, const struct tb_actor *by,
                                           struct tb_deadline *out_deadline,
                                           struct tb_fail *fail);
/* The captures that wait for a place, the next one first; none while there is room. */
struct tb_control_queue {
    char (*ids)[TB_CAPTURE_ID_SIZE]; /* owned: free() */
    size_t count;
};
TB_NODISCARD enum tb_err tb_control_queue(struct tb_control *control,
                                          struct tb_control_queue *out, struct tb_fail *fail);
/* Captures that would be taken up before this one, which waits for a place; -1: it does not
 * wait for one. */
int tb_control_queue_position(struct tb_control *control, const char *capture_id);
/* What the reconcilers saw last: mirror sessions of all accounts that are not ours. */
size_t tb_control_foreign_sessions(struct tb_control *control);
/* The same asked from EC2 now: the sessions themselves. */
struct tb_control_foreign {
    struct tb_ec2_sessions sessions; /* owned */
    struct {
        char account[TB_ACCOUNT_SIZE];
        char why[200];
    } unseen[TB_CONFIG_MAX_ACCOUNTS]; /* accounts that could not be looked at */
    size_t unseen_count;
};
/* Fails when our own account cannot be looked at. */
TB_NODISCARD enum tb_err tb_control_foreign_list(struct tb_control *control,
                                                 struct tb_control_foreign *out,
                                                 struct tb_fail *fail);
void tb_control_foreign_release(struct tb_control_foreign *foreign);

/* Appends a URL that GETs the object for s3.url_lifetime, signed by s3.reader_role.  TB_ESTATE
 * when there is none; TB_EDENIED it may not be assumed.  May have to ask STS. */
TB_NODISCARD enum tb_err tb_control_presign(struct tb_control *control, const char *key,
                                            struct tb_buf *out, struct tb_fail *fail);

/* For /metrics. */
struct tb_control_numbers {
    uint64_t delete_failures; /* attempts to delete an AWS object that failed */
    uint64_t mirror_changes;  /* what others changed in our sessions and filters, as found */
    size_t foreign_sessions;  /* as the reconciler saw it last */
    uint64_t spool_bytes;     /* sealed segments on the local disk */
    struct tb_uploader_numbers upload;
    bool recorder_answers; /* else the next is empty */
    struct tb_recorder_host recorder;
    struct tb_aws_counts aws[TB_AWS_COUNTED_SERVICES];
};
void tb_control_numbers(struct tb_control *control, struct tb_control_numbers *out);

/* --- the sweeper: needs nothing but the tags --- */
enum tb_sweep_word {
    TB_SWEEP_BY_TAGS,
    TB_SWEEP_KEEP,  /* it runs, and has time left by our own clock */
    TB_SWEEP_REMOVE /* it ended a while ago */
};
struct tb_swept { /* one object that was deleted; lent */
    const char *kind, *id;
    const char *capture; /* NULL, here and below: it has no such tag, or nobody told */
    const char *expires; /* NULL: a standing object */
    const char *request_id;
    int64_t server_utc_s; /* when, by the answer's Date; 0: it had none */
};
/* As records tell it, with the time of the deletion as `time_key`; the caller owns it. */
struct tb_json *tb_swept_json(const struct tb_swept *one, const char *time_key);
struct tb_sweep_options {
    const char *owner; /* only objects with this tapbox:owner */
    bool standing;     /* also targets and filters without expiry that nothing uses */
    bool dry_run;
    /* Who knows the captures may say more than the tags do; NULL: by the tags alone. */
    enum tb_sweep_word (*know)(void *arg, const char *capture_id);
    void *know_arg;
    /* Gets the filters as they are listed, lent, before any is judged; NULL: nobody asks. */
    void (*filters)(void *arg, const struct tb_ec2_filters *filters);
    void *filters_arg;
    /* Gets each object once EC2 has said that it is deleted; NULL: nobody asks. */
    void (*deleted)(void *arg, const struct tb_swept *one);
    void *deleted_arg;
};
struct tb_sweep_result {
    size_t sessions, filters, targets; /* deleted, or would be */
    size_t failed;
};
/* `report` gets one line for each object; may be NULL.  *out is what was done, also when a list
 * could not be had (the error). */
TB_NODISCARD enum tb_err tb_sweep(struct tb_aws *aws, const struct tb_sweep_options *options,
                                  void (*report)(void *arg, const char *line), void *arg,
                                  struct tb_sweep_result *out, struct tb_fail *fail);

#endif
