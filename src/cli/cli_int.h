/*
 * The subcommands, and what they share: exit statuses, the way errors and usage are told.
 *
 * A subcommand gets argv[0] = its own name, so that getopt_long works on what it is given, and
 * returns the exit status.  Each answers --help itself, on stdout, with status 0.
 */
#ifndef TAPBOX_CLI_INT_H
#define TAPBOX_CLI_INT_H

#include <stdbool.h>
#include <stdint.h>

#include <tapbox/err.h>

/* The same for every subcommand; tapbox.1 lists them. */
enum tb_exit {
    TB_EXIT_OK = 0,
    TB_EXIT_FAILED = 1,      /* could not do it; stderr says why */
    TB_EXIT_USAGE = 2,       /* wrong command line or configuration */
    TB_EXIT_NOT_FOUND = 3,   /* no such capture, file or token */
    TB_EXIT_DENIED = 4,      /* token or permission missing or wrong */
    TB_EXIT_UNREACHABLE = 5, /* no answer from tapbox or AWS: may work later */
    TB_EXIT_STATE = 6,       /* not possible in the present state, e.g. stopped already */
    TB_EXIT_EVIDENCE = 7,    /* verify: the evidence does not hold */
    TB_EXIT_UNPROVEN = 8,    /* verify: it holds, by a key that nobody vouched for */
    TB_EXIT_LACKS = 9        /* done with what can be read; what cannot is told */
};

/* Where the configuration is unless --config says otherwise. */
#define TB_CLI_CONFIG "/etc/tapbox/tapbox.yaml"

int tb_cmd_check_config(int argc, char **argv);
int tb_cmd_extend(int argc, char **argv);
int tb_cmd_fetch(int argc, char **argv);
int tb_cmd_keygen(int argc, char **argv);
int tb_cmd_alerts(int argc, char **argv);
int tb_cmd_list(int argc, char **argv);
int tb_cmd_plan(int argc, char **argv);
int tb_cmd_policy(int argc, char **argv);
int tb_cmd_record(int argc, char **argv);
int tb_cmd_bpf_compile(int argc, char **argv);
int tb_cmd_report(int argc, char **argv);
int tb_cmd_serve(int argc, char **argv);
int tb_cmd_show(int argc, char **argv);
int tb_cmd_start(int argc, char **argv);
int tb_cmd_summarize(int argc, char **argv);
int tb_cmd_stop(int argc, char **argv);
int tb_cmd_sweep(int argc, char **argv);
int tb_cmd_verify(int argc, char **argv);
int tb_cmd_token(int argc, char **argv);
int tb_cmd_watch(int argc, char **argv);

/* The exit status that fits an error. */
int tb_cli_exit_of(enum tb_err err);

/* "tapbox <command>: <sentence>" (with code and request id when known) on stderr; the exit
 * status that fits the error. */
int tb_cli_fail(const char *command, const struct tb_fail *fail);
/* Mirror sessions that the store in `state_dir` ("" : where it is unless configured otherwise)
 * has as live: when they expire and what takes them down, on stderr.  Nothing when there are
 * none, or a service has the store. */
void tb_cli_say_live_taps(const char *state_dir);
/* "tapbox <command>: <sentence>" and where help is, on stderr; TB_EXIT_USAGE. */
int tb_cli_usage(const char *command, const char *fmt, ...) TB_PRINTF(2, 3);
/* Behind what getopt_long has said already: where help is; TB_EXIT_USAGE. */
int tb_cli_try_help(const char *command);
/* TB_EXIT_OK, or TB_EXIT_FAILED with a line when stdout could not be written. */
int tb_cli_finish_stdout(const char *command);

/* A progress bar on stderr, when that is a terminal and it takes longer than a second. */
struct tb_cli_progress {
    bool is_terminal, is_drawn;
    int64_t began_ns, drawn_ns;
};
void tb_cli_progress_begin(struct tb_cli_progress *progress);
void tb_cli_progress_show(struct tb_cli_progress *progress, uint64_t done_bytes,
                          uint64_t total_bytes);
/* Before anything else is written. */
void tb_cli_progress_clear(struct tb_cli_progress *progress);

/* journal.c: when stderr is the journal, what is logged goes there as an entry with fields. */
void tb_cli_log_to_journal(void);

#endif
