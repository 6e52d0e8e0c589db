/* Calls of the API by the subcommands that are its clients. */
#ifndef TAPBOX_CLI_API_INT_H
#define TAPBOX_CLI_API_INT_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include <tapbox/json.h>

/* What every client's command line has. */
struct tb_api_options {
    const char *url;        /* --url; NULL: TAPBOX_URL, then the default */
    const char *token_file; /* --token-file; NULL: TAPBOX_TOKEN */
    bool json;              /* --json */
    int64_t patience_ns;    /* for the answer; 0: as usual */
};

/* Long options of theirs, for the option tables; each is told to tb_api_option. */
enum {
    TB_API_OPTION_URL = 1000,
    TB_API_OPTION_TOKEN_FILE,
    TB_API_OPTION_JSON
};
#define TB_API_OPTIONS                                                                         \
    {"url", required_argument, NULL, TB_API_OPTION_URL},                                       \
        {"token-file", required_argument, NULL, TB_API_OPTION_TOKEN_FILE},                     \
    {                                                                                          \
        "json", no_argument, NULL, TB_API_OPTION_JSON                                          \
    }
#define TB_API_HELP                                                                            \
    "      --json             the API's answer instead of text for people\n"                   \
    "      --url URL          where tapbox is (TAPBOX_URL, else http://127.0.0.1:8480)\n"      \
    "      --token-file FILE  file that holds the token (else TAPBOX_TOKEN is the token)\n"    \
    "  -h, --help             this text\n"

/* True when it was one of the three. */
bool tb_api_option(struct tb_api_options *options, int option, const char *value);

struct tb_api_call {
    const char *command; /* for messages */
    const char *method, *path;
    const char *body;            /* JSON, or NULL */
    const char *idempotency_key; /* or NULL */
};

/*
 * Makes the call.  On 2xx *out is the answer, the caller's to free, and TB_EXIT_OK is returned;
 * with --json it has been printed already.  Otherwise the reason has been told on stderr and
 * the exit status is returned.
 */
int tb_api_do(const struct tb_api_options *options, const struct tb_api_call *call,
              struct tb_json **out);

/* --- what to capture (request.c), for start and plan --- */

struct tb_cli_request {
    const char *reason, *account, *duration, *case_id, *bpf, *snaplen, *max_bytes,
        *max_packets; /* NULL: not given */
};
enum {
    TB_CLI_OPTION_REASON = 'r',
    TB_CLI_OPTION_DURATION = 'd',
    TB_CLI_OPTION_ACCOUNT = 1099,
    TB_CLI_OPTION_CASE = 1100,
    TB_CLI_OPTION_BPF,
    TB_CLI_OPTION_SNAPLEN,
    TB_CLI_OPTION_MAX_BYTES,
    TB_CLI_OPTION_MAX_PACKETS
};
#define TB_CLI_REQUEST_OPTIONS                                                                 \
    {"reason", required_argument, NULL, TB_CLI_OPTION_REASON},                                 \
        {"duration", required_argument, NULL, TB_CLI_OPTION_DURATION},                         \
        {"account", required_argument, NULL, TB_CLI_OPTION_ACCOUNT},                           \
        {"case", required_argument, NULL, TB_CLI_OPTION_CASE},                                 \
        {"bpf", required_argument, NULL, TB_CLI_OPTION_BPF},                                   \
        {"snaplen", required_argument, NULL, TB_CLI_OPTION_SNAPLEN},                           \
        {"max-bytes", required_argument, NULL, TB_CLI_OPTION_MAX_BYTES},                       \
    {                                                                                          \
        "max-packets", required_argument, NULL, TB_CLI_OPTION_MAX_PACKETS                      \
    }
/* True when it was one of these. */
bool tb_cli_request_option(struct tb_cli_request *request, int option, const char *value);
/* Appends the body of POST /v1/captures; a usage error's exit status, or TB_EXIT_OK. */
int tb_cli_request_body(const char *command, const struct tb_cli_request *request,
                        char **sources, size_t count, struct tb_buf *out);

/* The path on which an alert is decided again, for plan and alerts; false: no such id. */
bool tb_cli_alert_path(const char *alert, const char *query, char *out, size_t cap);

/* A plan as a table (show_plan.c). */
void tb_show_plan(const struct tb_json *plan);
/* Several calls over one connection, by who tells by itself what went wrong. */
struct tb_api;
/* TB_EXIT_OK, or after the reason was told. */
int tb_api_open(const struct tb_api_options *options, const char *command, struct tb_api **out);
void tb_api_close(struct tb_api *api);

struct tb_api_why {
    char text[700]; /* a sentence, without anything that moves a terminal's cursor */
    char hint[400]; /* "" : none */
};
/* As tb_api_do, and prints nothing.  The answer as it came is appended to `out_text` (may be
 * NULL). */
int tb_api_ask(struct tb_api *api, const struct tb_api_call *call, struct tb_json **out,
               struct tb_buf *out_text, struct tb_api_why *why);

/* The body of a GET goes to `sink` as it comes, for however long that is.  TB_EXIT_OK when it
 * came to its end. */
int tb_api_stream(struct tb_api *api, const char *path,
                  enum tb_err (*sink)(void *arg, struct tb_bytes octets), void *arg,
                  struct tb_api_why *why);

/* --- text for people (show.c of lists and single captures) --- */

/* Text of a member without anything that moves a terminal's cursor; "-" when there is none. */
const char *tb_show_text(const struct tb_json *node, const char *pointer, char *out,
                         size_t cap);
/* "12.3 MiB" */
void tb_show_bytes(char *out, size_t cap, int64_t bytes);
/* Of `node`, which has max_bytes and max_packets: "5.0 GiB, 1000 packets"; false: no budget. */
bool tb_show_budget(const struct tb_json *node, char *out, size_t cap);
/* "14m 20s" */
void tb_show_seconds(char *out, size_t cap, int64_t seconds);
/* One line on what an intake's answer means. */
void tb_show_intake(const struct tb_json *answer);
void tb_show_list(const struct tb_json *captures);
void tb_show_foreign(const struct tb_json *answer);
/* Live counters when there are any: the store's are a second old. */
const struct tb_json *tb_show_ledger(const struct tb_json *capture);
/* A whole number; 0 when there is none. */
int64_t tb_show_number(const struct tb_json *node, const char *pointer);
void tb_show_capture(const struct tb_json *capture);
/* Its segments and the AWS objects. */
void tb_show_objects(const struct tb_json *capture);

#endif
