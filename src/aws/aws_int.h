/* What the files of this folder share.  Each function is explained where it is declared. */
#ifndef TAPBOX_AWS_INT_H
#define TAPBOX_AWS_INT_H

#include <stdatomic.h>
#include <stdio.h>

#include <tapbox/aws.h>
#include <tapbox/aws_ec2.h>
#include <tapbox/aws_s3.h>
#include <tapbox/aws_sigv4.h>
#include <tapbox/clock.h>
#include <tapbox/thread.h>

/* --- xml.c: one bounded answer as a tree --- */

enum {
    TB_XML_MAX_DEPTH = 32,      /* EC2 nests about 12 deep */
    TB_XML_MAX_NODES = 400000,  /* 1,000 instances have about 200 elements each */
    TB_XML_MAX_TEXT = 64 * 1024 /* octets in one element: policies and error texts stay below */
};

struct tb_xml;      /* a document; owns its nodes */
struct tb_xml_node; /* lent until the document is freed */

/* TB_ESHORT it ends too early (an empty body too); TB_EFORMAT not XML, or with a DOCTYPE;
 * TB_ETOOBIG over a limit above. */
TB_NODISCARD enum tb_err tb_xml_parse(struct tb_bytes text, struct tb_xml **out,
                                      struct tb_fail *fail);
void tb_xml_free(struct tb_xml *doc);
const struct tb_xml_node *tb_xml_root(const struct tb_xml *doc);
/* Local name, without a prefix. */
const char *tb_xml_name(const struct tb_xml_node *node);
/* The first element at `path` ("a/b/c": each the first of that name), or NULL.  NULL in, NULL
 * out, so that chains need no checks. */
const struct tb_xml_node *tb_xml_at(const struct tb_xml_node *node, const char *path);
/* The next sibling of the same name. */
const struct tb_xml_node *tb_xml_next(const struct tb_xml_node *node);
/* Text of the element at `path` ("" is the node itself); NULL when it is absent or has
 * children, "" when it is empty. */
const char *tb_xml_text(const struct tb_xml_node *node, const char *path);
/* How many `name` children the element at `path` has. */
size_t tb_xml_count(const struct tb_xml_node *node, const char *path, const char *name);

/* Copies text into a field: absent is "", too long is TB_EFORMAT (a cut id names another
 * thing). */
TB_NODISCARD enum tb_err tb_xml_copy(const struct tb_xml_node *node, const char *path,
                                     char *out, size_t cap, struct tb_fail *fail);
/* An unsigned number; absent is 0, anything else than digits up to `max` is TB_EFORMAT. */
TB_NODISCARD enum tb_err tb_xml_number(const struct tb_xml_node *node, const char *path,
                                       uint32_t max, uint32_t *out, struct tb_fail *fail);
/* "true" */
bool tb_xml_true(const struct tb_xml_node *node, const char *path);

/* --- query.c: form bodies of the query protocol --- */

#define TB_EC2_VERSION "2016-11-15"
#define TB_STS_VERSION "2011-06-15"
#define TB_CLOUDWATCH_VERSION "2010-08-01"

void tb_form_begin(struct tb_buf *out, const char *action, const char *version);
/* Nothing is appended for a NULL value; `name` is a printf format. */
void tb_form_put(struct tb_buf *out, const char *value, const char *name, ...) TB_PRINTF(3, 4);
void tb_form_put_number(struct tb_buf *out, int64_t value, const char *name);

/* --- profile.c: ~/.aws/config and ~/.aws/credentials --- */

struct tb_aws_profiles; /* both files, all sections */

enum tb_aws_file {
    TB_AWS_FILE_CREDENTIALS,
    TB_AWS_FILE_CONFIG
};

TB_NODISCARD enum tb_err tb_aws_profiles_new(struct tb_aws_profiles **out,
                                             struct tb_fail *fail);
void tb_aws_profiles_free(struct tb_aws_profiles *profiles);
/* Adds one file's text; later settings win.  TB_EFORMAT names the line. */
TB_NODISCARD enum tb_err tb_aws_profiles_parse(struct tb_aws_profiles *profiles,
                                               enum tb_aws_file file, struct tb_bytes text,
                                               struct tb_fail *fail);
/* Both files from where the environment says; absent ones are no error. */
TB_NODISCARD enum tb_err tb_aws_profiles_load(struct tb_aws_profiles **out,
                                              struct tb_fail *fail);
/* AWS_PROFILE, or "default". */
const char *tb_aws_profile_name(void);
bool tb_aws_profiles_has(const struct tb_aws_profiles *profiles, const char *profile);
/* A setting of a profile, NULL when absent; nested ones as "s3.addressing_style".  The
 * credentials file wins over the config file.  Lent. */
const char *tb_aws_profiles_get(const struct tb_aws_profiles *profiles, const char *profile,
                                const char *key);
/* The same of a [services NAME] section of the config file. */
const char *tb_aws_profiles_service(const struct tb_aws_profiles *profiles,
                                    const char *services, const char *key);

/* --- imds.c: the instance metadata service, version 2 only --- */

struct tb_imds {
    struct tb_http_client *http;
    char base[256];
    struct tb_secret token;
};
/* Gets a session token.  TB_ENOTFOUND when it is switched off or nothing answers (the sentence
 * says which), TB_ERETRY when it answers with a fault. */
TB_NODISCARD enum tb_err tb_imds_open(struct tb_http_client *http, struct tb_imds *out,
                                      struct tb_fail *fail);
void tb_imds_close(struct tb_imds *imds);
/* `path` begins with '/'.  TB_ENOTFOUND for 404.  The text replaces what is in `out`. */
TB_NODISCARD enum tb_err tb_imds_get(struct tb_imds *imds, const char *path, struct tb_buf *out,
                                     struct tb_fail *fail);

/* One request to a service on this link, tried again while it has a fault or does not answer:
 * of containers' agents too. */
TB_NODISCARD enum tb_err tb_imds_ask(struct tb_http_client *http,
                                     const struct tb_http_request *request,
                                     struct tb_http_answer *answer, struct tb_fail *fail);

/* --- credentials: one function a source --- */

/* What a source may use. */
struct tb_aws_reach {
    struct tb_http_client *http; /* borrowed */
    char region[TB_REGION_SIZE]; /* where STS is asked */
};

/*
 * TB_OK         *out filled;
 * TB_ENOTFOUND  this source is not configured: the next one is asked;
 * else          it is configured and does not work: the chain ends here.
 * In both of the latter the sentence says what was looked at.
 */
typedef enum tb_err tb_aws_source_fn(const struct tb_aws_reach *reach,
                                     struct tb_aws_credentials *out, struct tb_fail *fail);

tb_aws_source_fn tb_aws_credentials_from_environment;
tb_aws_source_fn tb_aws_credentials_from_role;
tb_aws_source_fn tb_aws_credentials_from_web_identity;
tb_aws_source_fn tb_aws_credentials_from_files;
tb_aws_source_fn tb_aws_credentials_from_process;
tb_aws_source_fn tb_aws_credentials_from_container;
tb_aws_source_fn tb_aws_credentials_from_imds;
/* What these are for one profile; TB_ENOTFOUND when it is not set up for it. */
TB_NODISCARD enum tb_err tb_aws_web_identity_of_profile(const struct tb_aws_reach *reach,
                                                        const struct tb_aws_profiles *profiles,
                                                        const char *profile,
                                                        struct tb_aws_credentials *out,
                                                        struct tb_fail *fail);
/* How long a credential process may take: a caller waits, with a capture at hand. */
#define TB_AWS_PROCESS_NS (15 * TB_NS_PER_S)
TB_NODISCARD enum tb_err tb_aws_process_of_profile(const struct tb_aws_profiles *profiles,
                                                   const char *profile, int64_t timeout_ns,
                                                   struct tb_aws_credentials *out,
                                                   struct tb_fail *fail);
/* Cuts a line into at most cap - 1 words and a NULL, where it stands; quotes and backslashes as
 * in a shell, nothing else of one. */
TB_NODISCARD enum tb_err tb_aws_process_words(char *line, char **out, size_t cap,
                                              struct tb_fail *fail);
/* Static keys: pure. */
TB_NODISCARD enum tb_err tb_aws_credentials_of_profile(const struct tb_aws_profiles *profiles,
                                                       const char *profile,
                                                       struct tb_aws_credentials *out,
                                                       struct tb_fail *fail);
/* An environment variable; NULL when it is not set or empty. */
const char *tb_aws_variable(const char *name);
/* One line of text, white space behind it left out; TB_EDENIED names `where` and nothing of the
 * text.  The second reads it from a file, anew each time: Kubernetes replaces it. */
TB_NODISCARD enum tb_err tb_aws_take_token(struct tb_bytes text, const char *where,
                                           struct tb_secret *out, struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_aws_read_token(const char *path, struct tb_secret *out,
                                           struct tb_fail *fail);
/* Where a container's credentials are: `relative` (may be NULL) wins over `full`. */
TB_NODISCARD enum tb_err tb_aws_container_url(const char *relative, const char *full, char *out,
                                              size_t cap, struct tb_fail *fail);
/* The JSON document of IMDS and of container endpoints. */
TB_NODISCARD enum tb_err tb_aws_credentials_from_json(struct tb_bytes text, const char *source,
                                                      struct tb_aws_credentials *out,
                                                      struct tb_fail *fail);
/* What a credential process prints: Expiration may be left out. */
TB_NODISCARD enum tb_err tb_aws_credentials_of_process_json(struct tb_bytes text,
                                                            struct tb_aws_credentials *out,
                                                            struct tb_fail *fail);
/* Copies; `token` may be NULL.  TB_EDENIED when something is missing or cannot be. */
TB_NODISCARD enum tb_err tb_aws_credentials_fill(struct tb_aws_credentials *out,
                                                 const char *access_key_id,
                                                 const char *secret_key, const char *token,
                                                 const char *source, struct tb_fail *fail);

TB_NODISCARD enum tb_err tb_aws_credentials_copy(const struct tb_aws_credentials *from,
                                                 struct tb_aws_credentials *out,
                                                 struct tb_fail *fail);

/* A provider with one source of its own instead of the chain; `arg` is borrowed. */
typedef enum tb_err tb_aws_own_source_fn(void *arg, struct tb_aws_credentials *out,
                                         struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_aws_credentials_own_source(tb_aws_own_source_fn *load, void *arg,
                                                       struct tb_aws_credential_provider **out,
                                                       struct tb_fail *fail);

/* --- endpoints.c --- */

enum tb_aws_service {
    TB_AWS_EC2,
    TB_AWS_S3,
    TB_AWS_STS,
    TB_AWS_CLOUDWATCH,
    TB_AWS_SQS,
    TB_AWS_SERVICE_COUNT
};

struct tb_aws_endpoint {
    char scheme[6]; /* "http", "https" */
    char host[256]; /* with ":port" when it is not the scheme's own */
    char path[128]; /* "" or "/base" */
    bool custom;    /* set by environment or profile */
    bool literal;   /* the host is an IP address */
};

const char *tb_aws_partition_of(const char *region);
/* "ec2": also the name in signatures. */
const char *tb_aws_service_name(enum tb_aws_service service);
/* `profiles` may be NULL. */
TB_NODISCARD enum tb_err tb_aws_endpoint_resolve(enum tb_aws_service service,
                                                 const char *region,
                                                 const struct tb_aws_profiles *profiles,
                                                 struct tb_aws_endpoint *out,
                                                 struct tb_fail *fail);

/* --- call.c: sign, send, try again --- */

/* How often and how long.  Delays have full jitter: a random part of min(base * 2^i, cap). */
struct tb_aws_retry_policy {
    unsigned attempts;        /* in all */
    int64_t attempt_ns;       /* one attempt; 0: until the transfer stalls */
    int64_t total_ns;         /* no attempt begins later */
    int64_t base_ns;          /* first delay */
    int64_t throttle_base_ns; /* the same after a throttle */
    int64_t cap_ns;
};

enum tb_aws_policy {
    TB_AWS_POLICY_CREATE, /* few attempts: the caller waits with a capture at hand */
    TB_AWS_POLICY_DELETE, /* short attempts: the caller comes back for hours */
    TB_AWS_POLICY_READ,
    TB_AWS_POLICY_FETCH, /* much to carry, perhaps slowly: somebody watches */
    TB_AWS_POLICY_POLL,  /* a call that waits for news: the caller comes again anyway */
    TB_AWS_POLICY_ONCE,  /* the caller decides about retries */
    TB_AWS_POLICY_COUNT
};

extern const struct tb_aws_retry_policy tb_aws_default_policies[TB_AWS_POLICY_COUNT];

/* The retry bucket when full: a service that is down costs each client few requests. */
#define TB_AWS_RETRY_TOKENS 500.0

/* How fast one action may be called; see pace.c. */
struct tb_aws_bucket {
    const char *action; /* static; NULL: not used yet */
    double tokens;
    int64_t at_boot_ns; /* when there were that many */
};
enum {
    TB_AWS_BUCKETS = 32 /* more than there are actions in this folder */
};

struct tb_aws {
    /* set once */
    struct tb_http_client *http;                    /* borrowed */
    struct tb_aws_credential_provider *credentials; /* NULL: nothing is signed */
    char region[TB_REGION_SIZE];
    struct tb_aws_endpoint endpoints[TB_AWS_SERVICE_COUNT];
    struct tb_aws_retry_policy policies[TB_AWS_POLICY_COUNT];
    struct { /* requests by what came of them; any thread */
        atomic_ullong ok, throttled, failed;
    } counts[TB_AWS_SERVICE_COUNT];
    struct tb_mutex mu;
    struct {                                    /* touched only while holding mu */
        int64_t offset_s[TB_AWS_SERVICE_COUNT]; /* server clock minus ours */
        double retry_tokens;                    /* stops retry storms */
        struct tb_aws_bucket buckets[TB_AWS_BUCKETS];
        struct tb_aws_assumed *assumed; /* accounts reached through roles; owned */
        size_t assumed_count;
    } locked;
};

/* --- account.c --- */

/* A client without credentials: what it sends is not signed. */
TB_NODISCARD enum tb_err tb_aws_new_bare(struct tb_http_client *http, const char *region,
                                         struct tb_aws **out, struct tb_fail *fail);

/* --- assume.c --- */

struct tb_sts_role {
    const char *arn;
    const char *session;      /* NULL: "tapbox" */
    const char *external_id;  /* NULL: none */
    const char *web_identity; /* token in place of a signature; NULL: none */
    int64_t duration_s;       /* 0: an hour */
    const char *source;       /* of the credentials: static */
};
/* What a profile says about it; lent by `profiles`.  TB_EDENIED names the setting. */
TB_NODISCARD enum tb_err tb_sts_role_of_profile(const struct tb_aws_profiles *profiles,
                                                const char *profile, struct tb_sts_role *out,
                                                struct tb_fail *fail);
/* TB_EINVAL for an ARN or external id that STS would refuse. */
/* The answer to `what` ("AssumeRole"); its secrets are wiped.  TB_EFORMAT, TB_EDENIED. */
TB_NODISCARD enum tb_err tb_sts_read_credentials(const struct tb_xml_node *root,
                                                 const char *what, const char *source,
                                                 struct tb_aws_credentials *out,
                                                 struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_sts_assume(struct tb_aws *aws, const struct tb_sts_role *role,
                                       struct tb_aws_credentials *out, struct tb_fail *fail);

void tb_aws_assumed_release(struct tb_aws *aws);

struct tb_aws_call {
    enum tb_aws_service service;
    enum tb_aws_policy policy;
    const char *what;                     /* for sentences: the action */
    const char *method;                   /* "POST" */
    const char *host;                     /* NULL: the endpoint's */
    const char *path;                     /* percent-encoded */
    const char *query;                    /* the same, without '?'; NULL: none */
    const struct tb_http_header *headers; /* signed, besides those made here */
    size_t header_count;
    struct tb_bytes body;
    int body_fd; /* -1: body */
    uint64_t body_fd_offset, body_fd_bytes;
    const char *payload_hash; /* NULL: computed from body */
    const char *answer_root;  /* a 2xx has to carry XML with this root; NULL: anything */
    const atomic_bool *stop;  /* NULL; true ends it with TB_ECLOSED */
};

struct tb_aws_result {
    struct tb_http_answer answer;
    struct tb_xml *xml; /* of a 2xx, when there has to be one */
    char request_id[80];
    int64_t server_utc_s; /* 0: the answer had no Date */
};
#define TB_AWS_RESULT_INIT                                                                     \
    {                                                                                          \
        TB_HTTP_ANSWER_INIT(TB_AWS_ANSWER_MAX_BYTES), NULL, "", 0                              \
    }
void tb_aws_result_release(struct tb_aws_result *result);

/* TB_OK only for 2xx.  Errors as in aws_ec2.h. */
TB_NODISCARD enum tb_err tb_aws_call(struct tb_aws *aws, const struct tb_aws_call *call,
                                     struct tb_aws_result *out, struct tb_fail *fail);
/* POST of a form body, XML back. */
TB_NODISCARD enum tb_err tb_aws_query(struct tb_aws *aws, enum tb_aws_service service,
                                      enum tb_aws_policy policy, const char *what,
                                      struct tb_bytes body, struct tb_aws_result *out,
                                      struct tb_fail *fail);
/* Waits for the action's turn; TB_ETHROTTLE when that would be longer than `at_most_ns`. */
TB_NODISCARD enum tb_err tb_aws_pace(struct tb_aws *aws, const char *action, int64_t at_most_ns,
                                     struct tb_fail *fail);
/* EC2 has refused one as too fast: the bucket that others in the account share is empty there,
 * and so it is here. */
void tb_aws_pace_refused(struct tb_aws *aws, const char *action);
/* A random part of `at_most_ns`: full jitter. */
int64_t tb_aws_jitter(int64_t at_most_ns);
void tb_aws_pause(int64_t ns);
/* Now, with what was learned about the service's clock. */
int64_t tb_aws_now(struct tb_aws *aws, enum tb_aws_service service);

/* --- ec2_list.c, ec2_describe.c, ec2_around.c: describes, page by page --- */

/* One kind of answer. */
struct tb_ec2_listing {
    const char *action;
    const char *items; /* path of the <item>s below the root */
    size_t record_bytes;
    uint32_t page_items; /* MaxResults: the most that the action takes */
    /* `record` is zeroed before; what it owns after a failure is released all the same. */
    enum tb_err (*read)(const struct tb_xml_node *item, void *record, struct tb_fail *fail);
    void (*release)(void *record);
};

enum {
    TB_EC2_LISTINGS = 5,
    TB_EC2_AROUND = 3
};
extern const struct tb_ec2_listing *const tb_ec2_listings[TB_EC2_LISTINGS];
extern const struct tb_ec2_listing *const tb_ec2_around[TB_EC2_AROUND]; /* ec2_around.c */

/* A field of a record and where it stands in the item. */
struct tb_ec2_field {
    const char *path;
    char *at;
    size_t cap;
};
#define TB_EC2_FIELD(path, member)                                                             \
    {                                                                                          \
        path, member, sizeof(member)                                                           \
    }
/* Copies them; TB_EFORMAT when the first, the id, is not there. */
TB_NODISCARD enum tb_err tb_ec2_read_fields(const struct tb_xml_node *item,
                                            const struct tb_ec2_field *fields, size_t count,
                                            struct tb_fail *fail);
#define TB_EC2_READ_FIELDS(item, fields, fail)                                                 \
    tb_ec2_read_fields(item, fields, sizeof(fields) / sizeof((fields)[0]), fail)

struct tb_ec2_list {
    uint8_t *at; /* records, owned */
    size_t count, cap;
    int64_t server_utc_s; /* Date of the last page */
    int64_t began_utc_s;  /* Date of the first page; 0: it had none */
};
void tb_ec2_list_release(const struct tb_ec2_listing *listing, struct tb_ec2_list *list);
/* Adds the items of one page. */
TB_NODISCARD enum tb_err tb_ec2_list_add(const struct tb_ec2_listing *listing,
                                         const struct tb_xml_node *root,
                                         struct tb_ec2_list *list, struct tb_fail *fail);

/* By ids (not paged: EC2 refuses both together), by one filter, or all. */
struct tb_ec2_query {
    const char *id_parameter; /* "NetworkInterfaceId"; NULL: by filter */
    const char *filter;
    const char *const *values;
    size_t count;
};
TB_NODISCARD enum tb_err tb_ec2_list_all(struct tb_aws *aws,
                                         const struct tb_ec2_listing *listing,
                                         const struct tb_ec2_query *query,
                                         struct tb_ec2_list *out, struct tb_fail *fail);

/* --- s3.c: what requests to a bucket have in common --- */

enum {
    TB_S3_BUCKET_MAX = 63,
    TB_S3_PATH_MAX_BYTES =
        4 * TB_S3_KEY_SIZE /* three characters for an octet, and the bucket */
};
struct tb_s3_host {
    char host[sizeof(((struct tb_aws_endpoint *)NULL)->host) + TB_S3_BUCKET_MAX + 1];
    char prefix[TB_S3_BUCKET_MAX + 2]; /* "/bucket" in path style, else "" */
};
TB_NODISCARD enum tb_err tb_s3_locate(const struct tb_aws *aws,
                                      const struct tb_s3_bucket *bucket, struct tb_s3_host *out,
                                      struct tb_fail *fail);
/* Appends the percent-encoded path of a key. */
TB_NODISCARD enum tb_err tb_s3_put_path(struct tb_buf *out, const struct tb_s3_host *host,
                                        const char *key, struct tb_fail *fail);
void tb_s3_add_owner(const struct tb_s3_bucket *bucket, struct tb_http_header *headers,
                     size_t *count);
/* --- s3_read.c --- */

/* Adds the objects of one page; appends what leads to the next page to `next`, or nothing. */
TB_NODISCARD enum tb_err tb_s3_take_page(struct tb_bytes text, const char *prefix,
                                         struct tb_s3_objects *out, struct tb_buf *next,
                                         struct tb_fail *fail);

/* --- errors.c: what a service's answer means --- */

/* What the caller can do about an error code; `status` decides for codes that are not known. */
enum tb_err tb_aws_code_meaning(const char *code, const char *message, int status);
/* Fills `fail` from an answer that is not 2xx. */
enum tb_err tb_aws_answer_error(const char *what, const struct tb_http_answer *answer,
                                const char *request_id, struct tb_fail *fail);
/* The same from one that began with 2xx and has an error for a body. */
enum tb_err tb_aws_error_in_ok(const char *what, const struct tb_http_answer *answer,
                               const char *request_id, struct tb_fail *fail);

#endif
