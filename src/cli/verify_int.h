/*
 * tapbox verify: cmd_verify.c runs it, verify_keys.c finds the keys to go by, verify_result.c
 * tells what came of it.
 */
#ifndef TAPBOX_CLI_VERIFY_INT_H
#define TAPBOX_CLI_VERIFY_INT_H

#include <tapbox/json.h>
#include <tapbox/proof.h>

#include "cli_int.h"

enum {
    VERIFY_MAX_KEYS = 32,
    VERIFY_MAX_NAMES = 16, /* of --key, and of --fingerprint */
    VERIFY_MAX_THREADS = 32
};

struct verify_names { /* as given on the command line */
    const char *at[VERIFY_MAX_NAMES];
    size_t count;
};

struct verify_run {
    struct tb_verify verify;
    struct tb_verify_key keys[VERIFY_MAX_KEYS];
    bool json;
    bool whole;
    bool is_extract;
    struct tb_json *missing; /* with --json */
    size_t missing_count, missing_logs;
    struct tb_place *place;
    struct tb_place_list list; /* of the place */
    struct tb_verified *done;  /* owned */
    size_t done_count;
    struct tb_verified_logs logs; /* of hosts */
    struct tb_json *findings;     /* with --json */
    uint64_t total_bytes, done_bytes;
    struct tb_cli_progress progress;
};

/* --- verify_keys.c --- */

/* The keys that the command line names; TB_EXIT_OK when there is one to go by. */
int verify_take_keys(struct verify_run *run, const char *where,
                     const struct verify_names *files, const struct verify_names *fingerprints);

/* --- verify_result.c --- */

/* A sentence, or with --json a member of what is printed at the end. */
void verify_tell_finding(void *arg, const struct tb_finding *finding);
/* What came of all that is there: printed, and the exit status. */
int verify_tell_result(struct verify_run *run);
/* The same of one extract. */
int verify_tell_extract(struct verify_run *run, const char *where,
                        const struct tb_proof_result *result);

#endif
