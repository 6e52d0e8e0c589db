/*
 * The store: the only channel between intake, control and upload.  What a function reports as
 * done is on the disk (SQLite, WAL, synchronous=FULL).  Row access is in src/store/ only.
 *
 * Threads:   every function may be called from any thread; alerts that arrive together share a
 *            commit.
 * Errors:    TB_EIO, TB_EFULL (disk full) unless said otherwise; a failed call has changed
 * nothing. Ownership: results are copied out; arrays are freed with free() unless said
 * otherwise.
 */
#ifndef TAPBOX_STORE_H
#define TAPBOX_STORE_H

#include <tapbox/alert.h>
#include <tapbox/bytes.h>
#include <tapbox/capture.h>
#include <tapbox/json.h>
#include <tapbox/pubkey.h>

struct tb_store;

/* Opens or makes the database and brings its schema up to date.  TB_ESTATE when a newer tapbox
 * wrote it, or when another process holds it. */
TB_NODISCARD enum tb_err tb_store_open(const char *path, struct tb_store **out,
                                       struct tb_fail *fail);
void tb_store_close(struct tb_store *store);
/* A read and a write that are rolled back: for /readyz. */
TB_NODISCARD enum tb_err tb_store_check(struct tb_store *store, struct tb_fail *fail);

/* How long the log is that commits go to.  When it stays beyond 64 MiB another
 * program's reading keeps it from beginning anew, which is logged. */
int64_t tb_store_log_bytes(const struct tb_store *store);

/*
 * The store's own clock: UTC as it was when it was first opened in this boot, going on with
 * CLOCK_BOOTTIME, so that a clock that is set stretches no span and keeps no work waiting.
 * *_steady_ns are times of it, and mean nothing to people.
 */
int64_t tb_store_steady_ns(const struct tb_store *store);

/* --- intake ------------------------------------------------------------------------------- */

/* An alert or request as it came in, and what is to be done with it. */
struct tb_intake {
    const char *adapter;      /* "guardduty", "api" */
    const char *key;          /* idempotency key, unique per adapter; "" : none */
    struct tb_bytes body;     /* exactly as received */
    const char *content_type; /* "application/json" */
    const char *remote;       /* peer address as text */
    const char *token_name;
    const char *decision_reason;
    int64_t received_utc_ns;
    /* as the adapter read it; NULL: an analyst's request.  News of an instance (instance_state)
     * makes no capture: those that tap it are told. */
    const struct tb_alert *alert;
    const struct tb_capture_request *capture; /* NULL: ignored or refused, only remembered */
    bool refused; /* without a capture: there is nothing to mirror in it */
    int64_t
        most_duration_ns; /* an alert that joins extends up to this after the request; 0: no */
    /* a finding whose source was captured for it so shortly before is ignored; 0: never */
    int64_t cooldown_ns;
    /* lent, of this very intake; NULL: tb_store_intake makes it */
    const struct tb_intake_prepared *prepared;
};

/*
 * Hash and texts of an alert as its row holds them.  Where one thread commits for many, those
 * who read the bodies make this beforehand, side by side.  The caller frees *out when the
 * alert is committed.  Errors: TB_ENOMEM, TB_ETOOBIG.  Threads: pure.
 */
TB_NODISCARD enum tb_err tb_store_prepare(const struct tb_intake *intake,
                                          struct tb_intake_prepared **out,
                                          struct tb_fail *fail);
void tb_store_prepared_free(struct tb_intake_prepared *prepared);

enum tb_intake_outcome {
    TB_INTAKE_CREATED,   /* a new capture in state requested */
    TB_INTAKE_JOINED,    /* added to the live capture of the same source */
    TB_INTAKE_DUPLICATE, /* this key was here before: out_capture_id is that time's ("" if none)
                          */
    TB_INTAKE_IGNORED,   /* remembered, no capture */
    TB_INTAKE_COOLING,   /* the same: out_capture_id is the capture of this finding that ended
                            within the cooldown */
    TB_INTAKE_REFUSED,   /* remembered: nothing to mirror */
    TB_INTAKE_NOTED,     /* news of an instance: out_capture_id is the first capture that was
                            told ("" : none taps it) */
    TB_INTAKE_OUTCOME_COUNT
};

/*
 * One transaction: remembers the event; makes a capture, or joins one that is not yet draining,
 * nor asked to stop, and covers its source:
 *   named interfaces  one for each that names or was resolved to it, or that was asked for the
 *                     whole of its instance; the alert is in all of them;
 *   an instance       one that was asked for all of it.
 * What is covered in part makes a capture: when that is admitted, interfaces that another one
 * taps become gaps that name it, and the alert joins that one.  Beyond TB_CAPTURE_MAX_ALERTS of
 * a capture an alert has all effects and is kept, without a number: only the custody log of its
 * capture tells of it.  Nothing may be acknowledged to
 * a sender before this has returned TB_OK. A duplicate key with a different body is still a
 * duplicate. Errors: TB_EINVAL names no source.
 */
TB_NODISCARD enum tb_err tb_store_intake(struct tb_store *store, const struct tb_intake *intake,
                                         enum tb_intake_outcome *out_outcome,
                                         char out_capture_id[TB_CAPTURE_ID_SIZE],
                                         struct tb_fail *fail);

/* One of several that go through one commit together. */
struct tb_intake_item {
    const struct tb_intake *intake; /* lent */
    struct tb_capture *capture;     /* NULL, or lent: filled when there is one */
    bool only_made;                 /* only when this alert made it */
    enum tb_err err;                /* of this one: the others may be in */
    struct tb_fail fail;
    enum tb_intake_outcome outcome; /* these two with TB_OK */
    char capture_id[TB_CAPTURE_ID_SIZE];
    bool has_capture; /* *capture is what it was right after the commit */
    bool done;        /* the store's own, like what follows */
    struct tb_intake_prepared *made;
    struct tb_intake_item *next;
};
/* tb_store_intake for each, in their order; comes back when all are done. */
void tb_store_intake_many(struct tb_store *store, struct tb_intake_item *items, size_t count);

/* The i-th (from 1) alert of a capture: body appended to `out`.  TB_ENOTFOUND past the last. */
struct tb_alert_row {
    int64_t id;      /* of all alerts, in the order of arrival */
    uint32_t number; /* 1 is the one that made the capture */
    char adapter[32];
    char key[TB_CAPTURE_MAX_TEXT];
    char sender_id[TB_CAPTURE_MAX_TEXT]; /* "" : none, or of before it was kept */
    char remote[TB_IP_TEXT_SIZE + 8];
    char token_name[TB_TOKEN_NAME_SIZE];
    char reason[TB_CAPTURE_MAX_TEXT]; /* of the decision */
    int64_t received_utc_ns;
    char rule[TB_RULE_NAME_SIZE]; /* of the policy, that took it; "" : none */
    bool has_filter;              /* what it asked to be mirrored is known: */
    struct tb_filter filter;
};
TB_NODISCARD enum tb_err tb_store_alert(struct tb_store *store, const char *capture_id,
                                        uint32_t number, struct tb_alert_row *out,
                                        struct tb_buf *out_body, struct tb_fail *fail);

/* The same as its adapter read it.  TB_ENOTFOUND past the last; an analyst's request gives an
 * alert whose adapter is "". */
TB_NODISCARD enum tb_err tb_store_alert_parsed(struct tb_store *store, const char *capture_id,
                                               uint32_t number, struct tb_alert *out,
                                               struct tb_fail *fail);
/* The alert `id`, or (with 0) the newest, of any outcome, whose sender's id or idempotency key
 * is `name`: body appended to `out_body`; `number` is 0 when it belongs to no capture.
 * TB_ENOTFOUND. */
TB_NODISCARD enum tb_err tb_store_alert_find(struct tb_store *store, int64_t id,
                                             const char *name, struct tb_alert_row *out,
                                             struct tb_buf *out_body, struct tb_fail *fail);

/* What a list tells of an alert. */
struct tb_alert_listed {
    int64_t id, received_utc_ns;
    char adapter[32];
    char sender_id[TB_CAPTURE_MAX_TEXT];
    char type[TB_CAPTURE_MAX_TEXT];
    double severity;
    char outcome[16]; /* "created", "joined", "ignored", "refused", "noted" */
    char reason[TB_CAPTURE_MAX_TEXT];
    char rule[TB_RULE_NAME_SIZE];
    char capture_id[TB_CAPTURE_ID_SIZE]; /* "" : none */
    char token_name[TB_TOKEN_NAME_SIZE];
    bool replayed; /* it is another look at one that came before */
};
/* Newest first, up to `limit`, of this outcome ("" : any), with an id below `before` (0: any);
 * analysts' own requests are none.  The caller frees *out. */
TB_NODISCARD enum tb_err tb_store_alert_list(struct tb_store *store, const char *outcome,
                                             int64_t before, size_t limit,
                                             struct tb_alert_listed **out, size_t *out_count,
                                             struct tb_fail *fail);

/* S3 has the alerts of the capture up to `number`. */
TB_NODISCARD enum tb_err tb_store_alert_uploaded(struct tb_store *store, const char *capture_id,
                                                 uint32_t number, struct tb_fail *fail);
/* The last of which that was said; 0: of none. */
TB_NODISCARD enum tb_err tb_store_alerts_uploaded(struct tb_store *store,
                                                  const char *capture_id, uint32_t *out_number,
                                                  struct tb_fail *fail);

/* Who caused an act, for the custody log: a token's name and a peer's address.  NULL, or "":
 * tapbox itself. */
struct tb_actor {
    const char *who;
    const char *from;
};

/* --- captures ----------------------------------------------------------------------------- */

/* TB_ENOTFOUND */
TB_NODISCARD enum tb_err tb_store_capture_get(struct tb_store *store, const char *id,
                                              struct tb_capture *out, struct tb_fail *fail);

/* Newest first.  live_only: not final ones.  *out is free()d by the caller. */
TB_NODISCARD enum tb_err tb_store_capture_list(struct tb_store *store, bool live_only,
                                               size_t limit, struct tb_capture **out,
                                               size_t *out_count, struct tb_fail *fail);

/* A capture that needs work: enough to choose by, without loading it. */
struct tb_due {
    char id[TB_CAPTURE_ID_SIZE];
    enum tb_capture_state state;
    int64_t due_steady_ns;
    struct tb_deadline deadline;
    bool stop_asked;
    double severity;
    char account[TB_ACCOUNT_SIZE]; /* as it was asked for; "" : our own */
    int32_t priority;
};
/* All captures that are not final, by due time.  *out is free()d by the caller. */
TB_NODISCARD enum tb_err tb_store_due_list(struct tb_store *store, struct tb_due **out,
                                           size_t *out_count, struct tb_fail *fail);

/* from -> to, refused with TB_ESTATE when it is not in `from` any more (or may not follow).
 * Times that belong to the new state (recording, stopped, ended) are set to now; attempt to 0;
 * due to now.  stop_reason is written unless TB_STOP_NONE. */
TB_NODISCARD enum tb_err tb_store_capture_move(struct tb_store *store, const char *id,
                                               enum tb_capture_state from,
                                               enum tb_capture_state to,
                                               enum tb_stop_reason stop_reason,
                                               struct tb_fail *fail);
/* Replaces the sources (resolution, allocation). */
TB_NODISCARD enum tb_err tb_store_capture_sources(struct tb_store *store, const char *id,
                                                  const struct tb_capture_source *sources,
                                                  size_t count, struct tb_fail *fail);
/* What came of mirroring them: number, armed, gap, trouble, of those that are neither armed nor
 * a gap yet.  The others stay as they are: somebody else may have lost them meanwhile. */
TB_NODISCARD enum tb_err tb_store_sources_tried(struct tb_store *store, const char *id,
                                                const struct tb_capture_source *sources,
                                                size_t count, struct tb_fail *fail);
/* It was mirrored and is not any more; `reason` becomes its gap, *out_left is how many still
 * are.  TB_ESTATE when it was not: somebody else was first. */
TB_NODISCARD enum tb_err tb_store_source_lost(struct tb_store *store, const char *id,
                                              const char *eni, const char *reason,
                                              size_t *out_left, struct tb_fail *fail);
/*
 * What somebody else's hand did to the mirror of an interface that is mirrored, or that it was
 * put right: `text` is added to its gap, and goes as `act` into the capture's custody log,
 * where it stands once.
 */
TB_NODISCARD enum tb_err tb_store_source_touched(struct tb_store *store, const char *id,
                                                 const char *eni, const char *act,
                                                 const char *text, struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_store_capture_deadline(struct tb_store *store, const char *id,
                                                   const struct tb_deadline *deadline,
                                                   struct tb_fail *fail);
/* The same deadline, counted in this boot.  Nothing when it was counted so before, or is
 * another one by now. */
TB_NODISCARD enum tb_err tb_store_capture_recount(struct tb_store *store, const char *id,
                                                  const struct tb_deadline *deadline,
                                                  struct tb_fail *fail);
/* Look at it again at `due_steady_ns`; adds one to attempt when `failed` is not NULL and keeps
 * its text as the capture's error; else attempts are counted anew. */
TB_NODISCARD enum tb_err tb_store_capture_later(struct tb_store *store, const char *id,
                                                int64_t due_steady_ns,
                                                const struct tb_fail *failed,
                                                struct tb_fail *fail);
/* Keeps the error that ends it. */
TB_NODISCARD enum tb_err tb_store_capture_error(struct tb_store *store, const char *id,
                                                const struct tb_fail *error,
                                                struct tb_fail *fail);
/* What the captures that began since then have used, and what those that run, or are about to,
 * may still use of time, extensions included. */
struct tb_store_usage {
    int64_t duration_ns;
    uint64_t bytes; /* captured octets that were written */
};
TB_NODISCARD enum tb_err tb_store_usage_since(struct tb_store *store, int64_t since_utc_ns,
                                              struct tb_store_usage *out, struct tb_fail *fail);
enum tb_admission {
    TB_ADMISSION_GRANTED,     /* requested -> planned */
    TB_ADMISSION_FULL,        /* as many as may be are planned .. draining: it waits */
    TB_ADMISSION_NOTHING_LEFT /* each of its interfaces is tapped by another capture, or a gap
                               */
};
struct tb_places {
    uint32_t captures;            /* in total */
    uint32_t captures_of_account; /* 0: no other bound */
    uint32_t sessions_of_account;
    const char *own_account; /* what an account of "" stands for */
    /* a capture that taps some of its interfaces already gets longer, to this at the most; 0:
     * no
     */
    int64_t most_duration_ns;
};
/* Takes a place when there is one.  Interfaces that another capture taps become gaps that name
 * it, in the same transaction: no interface is ever tapped twice. */
TB_NODISCARD enum tb_err tb_store_capture_admit(struct tb_store *store, const char *id,
                                                const struct tb_places *places,
                                                enum tb_admission *out_admission,
                                                struct tb_fail *fail);
/* Asks for a later deadline and makes it due now; a worker brings it about.  TB_ENOTFOUND;
 * TB_ESTATE unless it is arming or recording and nobody stopped it. */
TB_NODISCARD enum tb_err tb_store_capture_ask_extend(struct tb_store *store, const char *id,
                                                     int64_t to_utc_ns,
                                                     const struct tb_actor *by,
                                                     struct tb_fail *fail);
/* Takes it back unless it has come about, or was refused (*out_withdrawn false then).  What
 * others ask for stays asked for. */
TB_NODISCARD enum tb_err tb_store_capture_withdraw_extend(struct tb_store *store,
                                                          const char *id, int64_t to_utc_ns,
                                                          bool *out_withdrawn,
                                                          struct tb_fail *fail);
/* AWS does not take it: nor anything else that is asked for up to there. */
TB_NODISCARD enum tb_err tb_store_capture_refuse_extend(struct tb_store *store, const char *id,
                                                        int64_t to_utc_ns,
                                                        struct tb_fail *fail);
/* AWS has confirmed it: the deadline from here on.  TB_ESTATE when it is not recording any
 * more, was stopped, or when nobody asks for it any more. */
TB_NODISCARD enum tb_err tb_store_capture_extended(struct tb_store *store, const char *id,
                                                   const struct tb_deadline *deadline,
                                                   struct tb_fail *fail);
/* What planning has decided with what EC2 knows: takes the profile of `request` (duration,
 * filter, sizes, rule, priority, lock; not its sources or texts) and is no longer undecided. */
TB_NODISCARD enum tb_err tb_store_capture_decided(struct tb_store *store, const char *id,
                                                  const struct tb_capture_request *request,
                                                  struct tb_fail *fail);
/* The rule by which planning took, or put aside, the capture's alert `number`; `filter` (NULL:
 * it asks for nothing) is what it wants mirrored. */
TB_NODISCARD enum tb_err tb_store_alert_ruled(struct tb_store *store, const char *capture_id,
                                              uint32_t number, const char *rule,
                                              const struct tb_filter *filter,
                                              struct tb_fail *fail);
/* Its filter in AWS lets through what `filter` says. */
TB_NODISCARD enum tb_err tb_store_capture_filter_made(struct tb_store *store, const char *id,
                                                      const struct tb_filter *filter,
                                                      struct tb_fail *fail);
/* Its sources have been looked at after news of them. */
TB_NODISCARD enum tb_err tb_store_capture_news_read(struct tb_store *store, const char *id,
                                                    struct tb_fail *fail);
/* Asks for an early stop and makes it due now.  TB_ENOTFOUND; TB_ESTATE when it is draining or
 * later already (the sentence says which). */
TB_NODISCARD enum tb_err tb_store_capture_ask_stop(struct tb_store *store, const char *id,
                                                   enum tb_stop_reason reason,
                                                   const struct tb_actor *by,
                                                   struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_store_capture_ledger(struct tb_store *store, const char *id,
                                                 const struct tb_ledger *ledger,
                                                 struct tb_fail *fail);

/* The host's counters when a capture was armed: the first time counts. */
struct tb_host_mark {
    struct tb_ledger ledger;
    int64_t recorder_started_utc_ns; /* they are of this recorder */
    int32_t recorder_pid;
};
TB_NODISCARD enum tb_err tb_store_host_mark(struct tb_store *store, const char *id,
                                            const struct tb_host_mark *mark,
                                            struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_store_host_mark_get(struct tb_store *store, const char *id,
                                                struct tb_host_mark *out, bool *out_known,
                                                struct tb_fail *fail);
/* What they had grown by when it was closed. */
TB_NODISCARD enum tb_err tb_store_host_closed(struct tb_store *store, const char *id,
                                              const struct tb_ledger *ledger,
                                              struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_store_host_ledger_get(struct tb_store *store, const char *id,
                                                  struct tb_ledger *out, bool *out_known,
                                                  struct tb_fail *fail);

/* --- AWS objects: intent before effect ------------------------------------------------------
 */

enum tb_resource_kind {
    TB_RESOURCE_TARGET,
    TB_RESOURCE_FILTER,
    TB_RESOURCE_FILTER_RULE,
    TB_RESOURCE_SESSION,
    TB_RESOURCE_KIND_COUNT
};
const char *tb_resource_kind_name(enum tb_resource_kind kind); /* "session", ... */

enum tb_resource_state {
    TB_RESOURCE_INTENDED, /* the request is written down; it may or may not exist in AWS */
    TB_RESOURCE_CREATED,  /* AWS gave its id */
    TB_RESOURCE_DELETING, /* to be deleted, or being deleted */
    TB_RESOURCE_GONE,     /* AWS said deleted, or NotFound */
    TB_RESOURCE_STATE_COUNT
};
const char *tb_resource_state_name(enum tb_resource_state state);

struct tb_resource {
    int64_t row; /* ours */
    enum tb_resource_kind kind;
    enum tb_resource_state state;
    char capture_id[TB_CAPTURE_ID_SIZE]; /* "" : standing */
    char account[TB_ACCOUNT_SIZE];       /* it is in this one; "" : in our own */
    /* where that was when it was asked for, "111122223333/eu-central-1"; "" : nobody knows */
    char place[TB_ACCOUNT_SIZE + TB_REGION_SIZE];
    char key[128]; /* what it is for: an ENI id, "all", ...; finds a standing one again */
    char aws_id[TB_AWS_ID_SIZE]; /* "" until created */
    char client_token[65];
    char *params;          /* exact request body; owned by the row */
    int64_t expires_utc_s; /* 0: standing */
    char create_request_id[80];
    char delete_request_id[80];
    int64_t created_utc_ns, gone_utc_ns; /* 0: not yet */
    int64_t created_steady_ns, gone_steady_ns;
};
void tb_resources_free(struct tb_resource *resources, size_t count);

/* Commits the intent; `out_row` names it from here on.  kind, capture_id, account,
 * place, key, client_token, params and expires are taken from `intent`.  TB_EEXIST for a
 * session when another capture has one for that key that is not gone: an interface never has
 * two of ours. */
TB_NODISCARD enum tb_err tb_store_resource_intend(struct tb_store *store,
                                                  const struct tb_resource *intent,
                                                  int64_t *out_row, struct tb_fail *fail);
/* The other capture that has (or may have) a session on this interface; "" when there is none.
 * `out_stays` tells whether it goes on recording; else the session is about to go. */
TB_NODISCARD enum tb_err tb_store_session_holder(struct tb_store *store, const char *eni,
                                                 const char *not_capture_id,
                                                 char out_capture_id[TB_CAPTURE_ID_SIZE],
                                                 bool *out_stays, struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_store_resource_created(struct tb_store *store, int64_t row,
                                                   const char *aws_id, const char *request_id,
                                                   struct tb_fail *fail);
/* Somebody else made it, and it will do: `found` is an intent with the aws_id, and in the store
 * at once as created, or not at all; there is nothing to ask AWS for. */
TB_NODISCARD enum tb_err tb_store_resource_adopt(struct tb_store *store,
                                                 const struct tb_resource *found,
                                                 struct tb_fail *fail);
/* Written before the request.  False: AWS had nothing to delete, so nothing was. */
TB_NODISCARD enum tb_err tb_store_resource_deleting(struct tb_store *store, int64_t row,
                                                    bool deleting, struct tb_fail *fail);
/* How an object came to be gone. */
enum tb_resource_end {
    TB_RESOURCE_DELETED,   /* by us, as AWS confirmed */
    TB_RESOURCE_NOT_MADE,  /* AWS refused to make it, or never had it */
    TB_RESOURCE_FOUND_GONE /* somebody else deleted it, nobody knows when: of a session, the
                              interface becomes a named gap */
};
TB_NODISCARD enum tb_err tb_store_resource_gone(struct tb_store *store, int64_t row,
                                                enum tb_resource_end end,
                                                const char *request_id, struct tb_fail *fail);
/* Those of a capture ("" : the standing ones), in order of row, gone ones included if asked.
 * *out is freed with tb_resources_free. */
TB_NODISCARD enum tb_err tb_store_resource_list(struct tb_store *store, const char *capture_id,
                                                bool with_gone, struct tb_resource **out,
                                                size_t *out_count, struct tb_fail *fail);
/* A 24-bit VNI that no capture that is not final uses, never 0. */
TB_NODISCARD enum tb_err tb_store_vni_allocate(struct tb_store *store, uint32_t *out_vni,
                                               struct tb_fail *fail);

/* --- segments -------------------------------------------------------------------------------
 */

enum tb_segment_state {
    TB_SEGMENT_SPOOLED,  /* sealed, on the local disk only */
    TB_SEGMENT_UPLOADED, /* S3 acknowledged it with a matching checksum */
    TB_SEGMENT_STATE_COUNT
};

enum {
    TB_SEGMENT_DAMAGE_SIZE = 400 /* fits a gap of the manifest */
};

struct tb_segment_row {
    char capture_id[TB_CAPTURE_ID_SIZE];
    char name[128]; /* file name in the spool and below segments/ */
    enum tb_segment_state state;
    uint64_t bytes;
    uint64_t packets;
    int64_t first_utc_ns, last_utc_ns; /* of its packets; 0 when it has none */
    bool recovered;                    /* was cut off and repaired */
    uint8_t sha256[32];
    uint8_t merkle_root[32]; /* over its chunks; all zeros: not known */
    char s3_key[TB_S3_KEY_SIZE];
    char s3_version[1024];
    char s3_request_id[80];
    char s3_sse[16];      /* what S3 says it encrypted it with; "" : it did not say */
    char s3_kms_key[256]; /* and with which key */
    int64_t uploaded_utc_ns;
    uint64_t acknowledged_bytes; /* by S3: of its parts while they go, then all of it */
    bool local;                  /* the spooled file is still there */
    /* What of it the disk did not give, in words, and how many packets that is known to have
     * cost: it was salvaged, or, not local, none of it could be read.  "": nothing. */
    char damage[TB_SEGMENT_DAMAGE_SIZE];
    uint64_t missing_packets;
};

/* Adds it as spooled, and not local when nothing of it could be read; the same (capture, name)
 * again is fine and changes nothing. */
TB_NODISCARD enum tb_err tb_store_segment_add(struct tb_store *store,
                                              const struct tb_segment_row *segment,
                                              struct tb_fail *fail);
/* A spooled one could not be read any more: its file is another one now, or (not local) none.
 * Everything that is known of the file, and the damage. */
TB_NODISCARD enum tb_err tb_store_segment_damaged(struct tb_store *store,
                                                  const struct tb_segment_row *segment,
                                                  struct tb_fail *fail);
/* state, s3_*, uploaded time */
TB_NODISCARD enum tb_err tb_store_segment_uploaded(struct tb_store *store,
                                                   const struct tb_segment_row *segment,
                                                   struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_store_segment_local_gone(struct tb_store *store,
                                                     const char *capture_id, const char *name,
                                                     struct tb_fail *fail);
/* By name; *out is free()d by the caller. */
TB_NODISCARD enum tb_err tb_store_segment_list(struct tb_store *store, const char *capture_id,
                                               struct tb_segment_row **out, size_t *out_count,
                                               struct tb_fail *fail);
/* Those that wait for S3, the oldest packets first, but those that are named in `without`: a
 * list as JSON, ["<capture id>", "<capture id>/<name>"].  *out is free()d by the caller. */
TB_NODISCARD enum tb_err tb_store_segment_backlog(struct tb_store *store, const char *without,
                                                  size_t limit, struct tb_segment_row **out,
                                                  size_t *out_count, struct tb_fail *fail);

/* What waits for S3, over all captures. */
struct tb_backlog {
    uint64_t segments;
    uint64_t bytes;        /* less the parts that S3 has acknowledged */
    int64_t oldest_utc_ns; /* of their last packets; 0: none waits, or it has no packets */
};
TB_NODISCARD enum tb_err tb_store_backlog_sum(struct tb_store *store, struct tb_backlog *out,
                                              struct tb_fail *fail);
/* Its file is gone, and S3 does not have it: it stays as TB_SEGMENT_SPOOLED, not local. */
TB_NODISCARD enum tb_err tb_store_segment_lost(struct tb_store *store, const char *capture_id,
                                               const char *name, struct tb_fail *fail);
static inline bool
tb_segment_is_lost(const struct tb_segment_row *segment)
{
    return segment->state == TB_SEGMENT_SPOOLED && !segment->local;
}
/* Its index could not be read: how many packets it holds is not known. */
static inline bool
tb_segment_is_damaged(const struct tb_segment_row *segment)
{
    static const uint8_t zeros[sizeof(segment->merkle_root)];

    return segment->packets == 0 && memcmp(segment->merkle_root, zeros, sizeof(zeros)) == 0;
}

/* An upload in parts that was begun for a segment, and the parts that S3 has acknowledged;
 * tb_store_segment_uploaded ends it. */
struct tb_upload_part {
    uint32_t number; /* from 1 */
    uint64_t bytes;
    uint8_t sha256[32];
    char etag[128];
};
struct tb_upload_row {
    char upload_id[1024];
    uint64_t part_bytes;          /* of each part but the last */
    struct tb_upload_part *parts; /* by number; free()d by the caller */
    size_t part_count;
};
/* TB_ENOTFOUND */
TB_NODISCARD enum tb_err tb_store_upload_get(struct tb_store *store, const char *capture_id,
                                             const char *name, struct tb_upload_row *out,
                                             struct tb_fail *fail);
/* A segment has one at a time. */
TB_NODISCARD enum tb_err tb_store_upload_begun(struct tb_store *store, const char *capture_id,
                                               const char *name, const char *upload_id,
                                               uint64_t part_bytes, struct tb_fail *fail);
/* The same number again replaces it. */
TB_NODISCARD enum tb_err tb_store_upload_part(struct tb_store *store, const char *capture_id,
                                              const char *name,
                                              const struct tb_upload_part *part,
                                              struct tb_fail *fail);
/* It was aborted, or is gone; that there is none is fine. */
TB_NODISCARD enum tb_err tb_store_upload_forget(struct tb_store *store, const char *capture_id,
                                                const char *name, struct tb_fail *fail);

/* --- summaries of captures that ended ---------------------------------------------------- */

/* The first one stays. */
TB_NODISCARD enum tb_err tb_store_summary_put(struct tb_store *store, const char *capture_id,
                                              struct tb_bytes body, struct tb_fail *fail);
/* Appended to `out_body`.  TB_ENOTFOUND. */
TB_NODISCARD enum tb_err tb_store_summary_get(struct tb_store *store, const char *capture_id,
                                              struct tb_buf *out_body, struct tb_fail *fail);

/* --- what is not kept for ever ----------------------------------------------------------- */

/* Some of the octets that arrived, or belong to captures that were sealed, before then: the
 * bodies of alerts (never their keys, nor what became of them) and summaries, where S3 has them
 * or nothing was captured; and extensions that were still asked for when their capture ended.
 * *out_forgotten 0: there are no more. */
TB_NODISCARD enum tb_err tb_store_forget(struct tb_store *store, int64_t before_utc_ns,
                                         size_t *out_forgotten, struct tb_fail *fail);

/* --- subscriptions of SNS that are to be confirmed ---------------------------------------- */

enum {
    TB_SUBSCRIPTION_URL_SIZE = 2048, /* ARN, and a token of some hundred digits */
    TB_SUBSCRIPTION_TOPIC_SIZE = 384
};
struct tb_subscription {
    char url[TB_SUBSCRIPTION_URL_SIZE]; /* to be asked for; holds the token: never logged */
    char topic[TB_SUBSCRIPTION_TOPIC_SIZE];
    int64_t since_steady_ns;
};
/* Since now; one that is there stays as it is. */
TB_NODISCARD enum tb_err tb_store_subscription_put(struct tb_store *store, const char *url,
                                                   const char *topic, struct tb_fail *fail);
/* It is confirmed, or given up; that there is none is fine. */
TB_NODISCARD enum tb_err tb_store_subscription_drop(struct tb_store *store, const char *url,
                                                    struct tb_fail *fail);
/* The oldest first. */
TB_NODISCARD enum tb_err tb_store_subscription_list(struct tb_store *store,
                                                    struct tb_subscription **out,
                                                    size_t *out_count, struct tb_fail *fail);

/* --- custody: who did what, chained
 * -----------------------------------------------------------
 *
 * Each capture has a log of its own, and the host one for what is of no capture, or of all:
 * every alert and what became of it, captures that ended without evidence, manifests, standing
 * objects, keys.  src/evidence/FORMAT.md has their octets.  Acts that are rows of the store
 * (alerts, states, stops, deadlines, sessions, segments, the manifest) enter a log in the very
 * transaction that commits them.  A log goes by the capture's id, or by its own.
 */

enum {
    TB_CUSTODY_LINE_MAX = 16 * 1024, /* octets of one entry */
    TB_CUSTODY_MAX_BYTES = 64 << 20, /* of the object that the manifest names */
    TB_CUSTODY_OBJECT_ENTRIES = 4000 /* in any other: all of them as long as they may be fit */
};

struct tb_custody_head {
    int64_t number; /* of the last entry; 0: there is none */
    struct tb_sha256 sha256;
};

/* Any other act on a capture ("download", ...); NULL: an act for the host's log.  `detail` (an
 * object, or NULL) is taken over. */
TB_NODISCARD enum tb_err tb_store_custody_add(struct tb_store *store, const char *capture_id,
                                              const char *act, const struct tb_actor *by,
                                              struct tb_json *detail, struct tb_fail *fail);
/* The host's log, which begins with the store. */
TB_NODISCARD enum tb_err tb_store_host_log(struct tb_store *store,
                                           char out_id[TB_CAPTURE_ID_SIZE],
                                           struct tb_fail *fail);
/* Appends the entries first..last, a line each.  TB_ENOTFOUND when one is not there. */
TB_NODISCARD enum tb_err tb_store_custody_text(struct tb_store *store, const char *log_id,
                                               int64_t first, int64_t last, struct tb_buf *out,
                                               struct tb_fail *fail);

/* NNNN.jsonl: a run of entries, fixed before it is uploaded.  Number 1 of a capture's log is
 * the one whose end the manifest names; all others are signed. */
struct tb_custody_object {
    uint32_t number;
    int64_t first, last;
    bool is_signed;
    struct tb_signature signature;
};
/* The first that S3 does not have yet; when S3 has all of them, a new one of the entries that
 * are in none.  TB_ENOTFOUND when there is nothing. */
TB_NODISCARD enum tb_err tb_store_custody_next(struct tb_store *store, const char *log_id,
                                               struct tb_custody_object *out,
                                               struct tb_fail *fail);
/* The object keeps the first signature that it gets, which is then in *inout: another key may
 * sign after a crash, and S3 may have the first already. */
TB_NODISCARD enum tb_err tb_store_custody_signed(struct tb_store *store, const char *log_id,
                                                 uint32_t number, struct tb_signature *inout,
                                                 struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_store_custody_uploaded(struct tb_store *store, const char *log_id,
                                                   uint32_t number, struct tb_fail *fail);
/* Sealed captures whose log is longer than what S3 has; *out is free()d by the caller. */
TB_NODISCARD enum tb_err tb_store_custody_waiting(struct tb_store *store, size_t limit,
                                                  char (**out)[TB_CAPTURE_ID_SIZE],
                                                  size_t *out_count, struct tb_fail *fail);

/* --- keys and manifests: one chain for each key ---------------------------------------------
 */

struct tb_key_row {
    struct tb_fingerprint fingerprint;
    char pem[256]; /* of the public key */
    int64_t first_used_utc_ns;
    bool current;   /* it signs now */
    bool in_bucket; /* S3 has it */
};
/* This key signs from here on; what was signed with others stays. */
TB_NODISCARD enum tb_err
tb_store_key_use(struct tb_store *store, const struct tb_public_key *key, struct tb_fail *fail);
/* In the order of first use; *out is free()d by the caller. */
TB_NODISCARD enum tb_err tb_store_key_list(struct tb_store *store, struct tb_key_row **out,
                                           size_t *out_count, struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_store_key_in_bucket(struct tb_store *store, const char *fingerprint,
                                                struct tb_fail *fail);

/* What a manifest has to say of its place in the world. */
struct tb_manifest_place {
    const char *key;                /* fingerprint */
    int64_t sequence;               /* from 1, without a gap */
    const struct tb_sha256 *before; /* of the manifest before; NULL for the first */
    struct tb_custody_head custody;
    char host_log[TB_CAPTURE_ID_SIZE]; /* and how far it had come */
    struct tb_custody_head host;       /* number 0: it has no entry yet */
};
/* Appends manifest.json.  Called with the store locked: it may not call the store. */
typedef enum tb_err tb_manifest_body_fn(void *arg, const struct tb_manifest_place *place,
                                        struct tb_buf *out, struct tb_fail *fail);

struct tb_manifest_row {
    struct tb_fingerprint key;
    int64_t sequence;
    int64_t custody_number;
    struct tb_sha256 sha256;
    bool is_signed;
    struct tb_signature signature;
};
/* Commits the capture's manifest: place in the chain and octets.  When it was made before, that
 * one is given and `body` is not called.  Its octets are appended to `out_body`. */
TB_NODISCARD enum tb_err tb_store_manifest_make(struct tb_store *store, const char *capture_id,
                                                const char *key, tb_manifest_body_fn *body,
                                                void *arg, struct tb_manifest_row *out,
                                                struct tb_buf *out_body, struct tb_fail *fail);
/* TB_ENOTFOUND; again with the same signature is fine. */
TB_NODISCARD enum tb_err tb_store_manifest_signed(struct tb_store *store,
                                                  const char *capture_id,
                                                  const struct tb_signature *signature,
                                                  struct tb_fail *fail);

#endif
