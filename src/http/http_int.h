/* One HTTP call on its way through the server, and what the routes' files share. */
#ifndef TAPBOX_HTTP_INT_H
#define TAPBOX_HTTP_INT_H

#include <stdatomic.h>

#include <tapbox/http_server.h>
#include <tapbox/intake.h>
#include <tapbox/json.h>
#include <tapbox/thread.h>

enum {
    TB_HTTP_ANSWER_MAX_BYTES = 16 * 1024 * 1024, /* one answer: 1,000 captures with sources */
    TB_HTTP_PATH_ID_SIZE = 64,                   /* what stands for {id} in a path */
    TB_ALERT_NAME_SIZE = 32                      /* "alert-17" */
};

#define TB_ALERT_NAME "alert-" /* before an alert's number: senders' ids are other words */

/* --- problems (RFC 9457) --- */

enum tb_problem {
    TB_PROBLEM_NONE,
    TB_PROBLEM_BAD_REQUEST,
    TB_PROBLEM_UNAUTHORIZED,
    TB_PROBLEM_FORBIDDEN,
    TB_PROBLEM_NOT_FOUND,
    TB_PROBLEM_METHOD,
    TB_PROBLEM_CONFLICT,
    TB_PROBLEM_TOO_LARGE,
    TB_PROBLEM_UNPROCESSABLE,
    TB_PROBLEM_TOO_MANY,
    TB_PROBLEM_HEADERS_TOO_LARGE,
    TB_PROBLEM_INTERNAL,
    TB_PROBLEM_UNAVAILABLE,
    TB_PROBLEM_COUNT
};

/* --- tokens --- */

struct tb_tokens; /* the token file as last read; any thread */

/* A file that is not there holds no tokens; TB_EDENIED when others may write it, TB_EFORMAT
 * with file and line. */
TB_NODISCARD enum tb_err tb_tokens_open(const char *path, struct tb_tokens **out,
                                        struct tb_fail *fail);
void tb_tokens_free(struct tb_tokens *tokens);
size_t tb_tokens_count(struct tb_tokens *tokens);
/* Whose token it is.  Reads the file again when it has changed (a broken one is logged, and the
 * old content stays). */
bool tb_tokens_find(struct tb_tokens *tokens, struct tb_bytes token,
                    char out_name[TB_TOKEN_NAME_SIZE], unsigned *out_roles);

/* Appends the names of these enum tb_role. */
void tb_roles_put(struct tb_buf *out, unsigned which, const char *between);

/* --- counters of /metrics --- */

enum tb_refusal {
    TB_REFUSAL_NO_TOKEN,
    TB_REFUSAL_UNKNOWN_TOKEN,
    TB_REFUSAL_ROLE,
    TB_REFUSAL_NO_CERTIFICATE,
    TB_REFUSAL_ADDRESS_RATE,
    TB_REFUSAL_TOKEN_RATE,
    TB_REFUSAL_COUNT
};

enum {
    TB_HTTP_MAX_ROUTES = 24,
    TB_HTTP_STATUS_CLASSES = 6,              /* 1xx .. 5xx, by their first digit */
    TB_HTTP_MAX_SENDERS = 8 + TB_SENDERS_MAX /* adapters, and what the policy describes */
};

enum {
    TB_HTTP_LATENCIES = 10 /* limits of the histogram */
};
extern const int64_t tb_http_latency_ns[TB_HTTP_LATENCIES];

struct tb_http_counters {
    /* the last row is for what no route knew */
    atomic_ullong requests[TB_HTTP_MAX_ROUTES + 1][TB_HTTP_STATUS_CLASSES];
    atomic_ullong refusals[TB_REFUSAL_COUNT];
    atomic_ullong intake[TB_INTAKE_OUTCOME_COUNT];
    atomic_ullong not_captured[TB_WHY_COUNT];           /* of those ignored or refused */
    atomic_ullong received, not_understood, not_stored; /* bodies of POST /v1/events */
    atomic_ullong sources_left_out; /* named by alerts, in no capture of them */
    /* from headers to answer, of alerts and requests; the last is for what took longer */
    atomic_ullong latencies[TB_HTTP_LATENCIES + 1], latency_sum_ns;
    atomic_ullong alerts[TB_HTTP_MAX_SENDERS][TB_INTAKE_OUTCOME_COUNT];
};

/* --- peers.c: connections and their time limits --- */

enum {
    TB_PEERS_MOST = 512,                  /* connections at once, 32 KiB each while idle */
    TB_PEERS_MANY = TB_PEERS_MOST * 3 / 4 /* from here on the idlest makes room */
};

enum tb_peer_phase {
    TB_PEER_SENDING, /* a request, or nothing yet */
    TB_PEER_WAITING, /* for our answer */
    TB_PEER_READING, /* the answer */
    TB_PEER_VIEWING  /* a stream, which has a time limit of its own */
};

struct tb_peer;

struct tb_peers {
    pthread_t thread; /* start and stop only */
    bool started;
    atomic_ullong dropped; /* for /metrics */
    struct tb_mutex mu;
    struct tb_cond wake;
    struct { /* touched only while holding mu */
        struct tb_peer *first;
        size_t count; /* without those that were dropped */
        bool stopping;
    } locked;
};

TB_NODISCARD enum tb_err tb_peers_start(struct tb_peers *peers, struct tb_fail *fail);
void tb_peers_stop(struct tb_peers *peers);
/* `fd` is borrowed until tb_peers_leave.  NULL without memory; the others accept that. */
struct tb_peer *tb_peers_enter(struct tb_peers *peers, int fd);
void tb_peers_leave(struct tb_peers *peers, struct tb_peer *peer);
void tb_peers_phase(struct tb_peers *peers, struct tb_peer *peer, enum tb_peer_phase phase);
/* It showed a valid token: it does not make room for others. */
void tb_peers_known(struct tb_peers *peers, struct tb_peer *peer);

/* --- rates.c: how often somebody may call --- */

enum {
    TB_RATE_BURST_S = 10, /* so many seconds' worth of calls may come at once */
    TB_RATE_SETS = 512,   /* 4,096 callers are told apart, in 128 KiB */
    TB_RATE_WAYS = 8,
    TB_RATE_ADDRESS_BYTES = 8
};

struct tb_rate_bucket {
    uint8_t name[24];     /* of a keyed hash */
    int64_t full_boot_ns; /* when it is full again; in the past: it is */
};

struct tb_rates {
    bool made;       /* set once, as is */
    uint8_t key[32]; /* random */
    struct tb_mutex mu;
    struct { /* touched only while holding mu */
        struct tb_rate_bucket sets[TB_RATE_SETS][TB_RATE_WAYS];
    } locked;
};
/* Into zeroed memory. */
TB_NODISCARD enum tb_err tb_rates_start(struct tb_rates *rates, struct tb_fail *fail);
void tb_rates_stop(struct tb_rates *rates);
/* Takes a call of `who` off its bucket, into which `per_s` a second come (0: any number is
 * allowed).  0: granted; else how long until there is room for one, in ns. */
int64_t tb_rates_take(struct tb_rates *rates, unsigned per_s, struct tb_bytes who);
/* What an address counts as: IPv4 itself, of IPv6 its /64; empty when it is none. */
struct tb_bytes tb_rates_address(const char *text, uint8_t out[TB_RATE_ADDRESS_BYTES]);

/* --- later.c: calls that wait --- */

struct tb_http_call;

/* What for, and by how many. */
struct tb_later_kind {
    const char *name;
    unsigned threads; /* at most TB_LATER_THREADS */
    size_t at_once;   /* calls that one thread takes together, at most TB_LATER_AT_ONCE */
    size_t queue;     /* that may wait for a thread; more are told to come again */
    /* A thread that has just begun some takes the next so long afterwards, or when there are as
     * many as it takes: under load more go together, and who comes alone does not wait. */
    int64_t gather_ns;
    void (*run)(struct tb_http_call *const *calls, size_t count);
};
enum {
    TB_LATER_THREADS = 8,
    TB_LATER_AT_ONCE = TB_INTAKE_AT_ONCE
};
extern const struct tb_later_kind tb_later_aws;
/* `run` of calls that have nothing in common: each by its `later`. */
void tb_later_run_alone(struct tb_http_call *const *calls, size_t count);

struct tb_later {
    const struct tb_later_kind *kind;    /* set once */
    pthread_t threads[TB_LATER_THREADS]; /* start and stop only */
    unsigned started;
    bool made;
    struct tb_mutex mu;
    struct tb_cond more;
    struct { /* touched only while holding mu */
        struct tb_http_call *first, **last;
        size_t waiting;
        bool gathering; /* nobody is to be woken before as many wait as go together */
        bool stopping;
    } locked;
};

TB_NODISCARD enum tb_err tb_later_start(struct tb_later *later,
                                        const struct tb_later_kind *kind, struct tb_fail *fail);
/* What runs is waited for, what waits is answered 503. */
void tb_later_stop(struct tb_later *later);
/* When nobody can come any more. */
void tb_later_release(struct tb_later *later);
/* Puts the call aside until it has run; false when there is no room. */
bool tb_later_take(struct tb_later *later, struct tb_http_call *call);

/* --- viewers.c: streams --- */

struct MHD_Connection;
struct MHD_Response;

struct tb_viewer;

struct tb_viewers {
    bool made;
    struct tb_mutex mu;
    struct tb_cond left;
    struct { /* touched only while holding mu */
        size_t count;
        bool stopping;
    } locked;
};
void tb_viewers_init(struct tb_viewers *viewers);
/* Every stream ends: afterwards none of their threads is there. */
void tb_viewers_stop(struct tb_viewers *viewers);
void tb_viewers_release(struct tb_viewers *viewers);
size_t tb_viewers_count(struct tb_viewers *viewers);
/* Before it has begun; NULL is fine. */
void tb_viewer_drop(struct tb_viewer *viewer);
/* The call is to be answered by it. */
bool tb_viewer_is_ready(const struct tb_viewer *viewer);
/* Begins.  The viewer belongs to the response from here; NULL: it is gone. */
struct MHD_Response *tb_viewer_response(struct tb_viewer *viewer);

/* --- a call --- */

struct tb_http_route;

struct tb_http_answer_out {
    int status;
    const char *content_type;
    struct tb_buf body;
    char location[128]; /* "" : none, as of the others here */
    char allow[64];
    unsigned retry_after_s;
    bool challenge;       /* WWW-Authenticate */
    bool challenge_basic; /* the same for SNS, which sends what its URL holds only when asked */
};

struct tb_http_call {
    struct tb_http_server *server;
    struct MHD_Connection *connection;
    struct tb_peer *peer;
    const struct tb_http_route *route; /* NULL: unknown path or wrong method */
    char path_id[TB_HTTP_PATH_ID_SIZE];
    char remote[TB_IP_TEXT_SIZE];
    char token_name[TB_TOKEN_NAME_SIZE]; /* "" until authenticated */
    unsigned roles;                      /* of the token */
    int64_t began_boot_ns;
    struct tb_buf request_body;
    uint64_t body_seen_bytes;
    bool refused;  /* the answer is there already: the body is read and thrown away */
    bool from_sns; /* as its headers say: no token, the body's signature has to prove it */
    /* Set by a handler that needs AWS for its answer: runs on a thread where that may take its
     * time, and leaves the answer.  Reads nothing of the connection. */
    void (*later)(struct tb_http_call *call);
    bool later_plan; /* `later` is a plan */
    /* The stored alert whose body this is, owned; NULL: the body was posted. */
    struct tb_alert_row *replayed;
    /* Set by a handler of alerts and requests, owned: committed together with others.  A chain,
     * for a body that holds several; `capture` of the only one is owned too. */
    struct tb_intake_ready *ready;
    bool later_done;           /* either */
    struct tb_http_call *next; /* in the queue of those */
    struct tb_viewer *viewer;  /* of a stream, until it begins; owned */
    struct tb_http_answer_out answer;
};

struct tb_http_route {
    const char *method;
    const char *path;         /* one segment may be {id}: a capture's, or a sender */
    unsigned roles;           /* any of these; 0: no token needed */
    const char *const *query; /* names of allowed query parameters, NULL last; NULL: any */
    void (*run)(struct tb_http_call *call); /* always leaves an answer, `later` or `ready` */
};
extern const struct tb_http_route tb_http_routes[];
extern const size_t tb_http_route_count;

struct tb_tls;

struct tb_http_server {
    struct tb_http_server_deps deps;
    struct tb_tokens *tokens;
    struct tb_tls *tls; /* NULL: plain HTTP */
    struct MHD_Daemon *daemon;
    int listen_fd;
    uint16_t port;
    struct tb_http_counters counters;
    struct tb_peers peers;
    struct tb_rates addresses, callers; /* callers: by their token */
    struct tb_later later;
    struct tb_later plans;
    struct tb_later commits;
    struct tb_later sns; /* that need a certificate first */
    struct tb_viewers viewers;
    atomic_size_t body_bytes; /* of all bodies that are held */
    struct tb_mutex mu;
    struct tb_cond idle;
    struct {                      /* touched only while holding mu */
        unsigned running;         /* calls between first sight and last octet */
        int64_t refusals_since_s; /* the second that refusals_logged belongs to */
        unsigned refusals_logged;
    } locked;
};

/* --- routes.c --- */

/* Finds route and path_id, authenticates, checks the query; where that fails the answer is made
 * and `refused` set. */
void tb_http_admit(struct tb_http_call *call, const char *method, const char *url);

/* --- auth.c --- */

/* False after leaving a 401, 403 or 429 answer. */
bool tb_http_authenticate(struct tb_http_call *call);
/* Whether one more refusal may be logged in this second; the rest is only counted. */
bool tb_http_may_log_refusal(struct tb_http_server *server);
/* The token inside an Authorization header's value ("Bearer T", or Basic with T as password);
 * false for anything else. */
bool tb_http_authorization_token(const char *value, struct tb_secret *out);

/* --- answer.c --- */

/* A problem answer; "detail" from `fmt`. */
void tb_http_problem(struct tb_http_call *call, enum tb_problem problem, const char *fmt, ...)
    TB_PRINTF(3, 4);
/* The same from an error; takes the problem that fits it, and logs what is ours. */
void tb_http_problem_of(struct tb_http_call *call, const struct tb_fail *fail);
/* A problem with one more member ("hint", "state"). */
void tb_http_problem_with(struct tb_http_call *call, enum tb_problem problem, const char *key,
                          const char *value, const char *fmt, ...) TB_PRINTF(5, 6);
/* Takes `root` over. */
void tb_http_answer_json(struct tb_http_call *call, int status, struct tb_json *root);

/* --- capture_json.c --- */

/* What lists and intake answers show; for the caller to tb_json_free.  `queue` NULL: looked up
 * when it waits; `live` NULL: not known. */
struct tb_json *tb_http_capture_json(const struct tb_http_server *server,
                                     const struct tb_capture *capture,
                                     const struct tb_control_queue *queue,
                                     const struct tb_record_status *live);
/* Adds what only one capture's own page shows: live counters, segments, resources. */
TB_NODISCARD enum tb_err tb_http_capture_details(const struct tb_http_server *server,
                                                 const struct tb_capture *capture,
                                                 const struct tb_record_status *live,
                                                 struct tb_json *into, struct tb_fail *fail);
/* Recorded for longer than capture.no_traffic_seconds, and not one packet. */
bool tb_http_has_no_traffic(const struct tb_http_server *server,
                            const struct tb_capture *capture,
                            const struct tb_record_status *live);

/* --- api_captures.c --- */

/* NULL when there is none; false after a 400. */
bool tb_http_read_idempotency_key(struct tb_http_call *call, const char **out);
/* ?limit=N, 100 without; false after a 400. */
bool tb_http_read_limit(struct tb_http_call *call, size_t *out);
/* The capture named in the path, for the caller to free; NULL after an answer. */
struct tb_capture *tb_http_load_capture(struct tb_http_call *call);

/* --- the routes' own files --- */

/* --- events.c: alerts and requests, committed many at once --- */

extern const struct tb_later_kind tb_later_commits;
/* The body as an alert of this sender into call->ready; false after an answer. */
bool tb_http_read_event(struct tb_http_call *call);
/* Fills call->ready for a handler, which then reads into it; NULL after an answer. */
struct tb_intake_ready *tb_http_new_ready(struct tb_http_call *call);
/* Room for the capture that it makes or joins; false after an answer. */
bool tb_http_add_capture(struct tb_http_call *call, struct tb_intake_ready *ready);
/* The answer when call->ready is committed. */
void tb_http_answer_intake(struct tb_http_call *call);
void tb_http_free_ready(struct tb_http_call *call);
/* The i-th sender that alerts are counted of; NULL past the last. */
const char *tb_http_sender_name(const struct tb_http_server *server, size_t i);
/* Of POST /v1/events/{sender}, and of an alert that came so; NULL: the body has to say it. */
const char *tb_http_sender(const struct tb_http_call *call);
/* What is wrong with an alert's body. */
void tb_http_problem_of_body(struct tb_http_call *call, const struct tb_fail *fail);

#define TB_HTTP_SNS_TYPE "x-amz-sns-message-type"
/* sns.c: without its own table of routes: SNS posts to /v1/events. */
extern const struct tb_later_kind tb_later_sns;
/* Whether the headers say that SNS posts this, with an envelope (and so with a signature). */
bool tb_http_is_from_sns(struct tb_http_call *call);
void tb_http_post_sns(struct tb_http_call *call);

extern const struct tb_later_kind tb_later_plans;
/* plan.c: true when it was ?dry_run=1 (or a wrong value of it) and is taken care of. */
bool tb_http_plan_event(struct tb_http_call *call);
bool tb_http_plan_capture(struct tb_http_call *call);
bool tb_http_is_dry_run(struct tb_http_call *call);

void tb_http_post_event(struct tb_http_call *call);
void tb_http_post_capture(struct tb_http_call *call);
void tb_http_list_alerts(struct tb_http_call *call);
void tb_http_replay_alert(struct tb_http_call *call);
void tb_http_list_captures(struct tb_http_call *call);
void tb_http_get_capture(struct tb_http_call *call);
void tb_http_stop_capture(struct tb_http_call *call);
void tb_http_extend_capture(struct tb_http_call *call);
void tb_http_list_files(struct tb_http_call *call);
void tb_http_stream_capture(struct tb_http_call *call);
void tb_http_get_summary(struct tb_http_call *call);
void tb_http_list_foreign(struct tb_http_call *call);
void tb_http_get_keys(struct tb_http_call *call);
void tb_http_get_health(struct tb_http_call *call);
void tb_http_get_ready(struct tb_http_call *call);
void tb_http_get_metrics(struct tb_http_call *call);
void tb_http_get_openapi(struct tb_http_call *call);

/* server.c: a query parameter or header, lent for the call; NULL when absent. */
const char *tb_http_query(struct tb_http_call *call, const char *name);
const char *tb_http_header_value(struct tb_http_call *call, const char *name);

#endif
