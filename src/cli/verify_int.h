/*
 * tapbox verify: cmd_verify.c runs it, verify_around.c knows what is no evidence,
 * verify_result.c tells what came of it.
 */
#ifndef TAPBOX_CLI_VERIFY_INT_H
#define TAPBOX_CLI_VERIFY_INT_H

#include <tapbox/json.h>
#include <tapbox/proof.h>

#include "cli_int.h"
#include "keys_int.h"

enum {
    VERIFY_MAX_THREADS = 32
};

struct verify_run {
    struct tb_verify verify;
    struct tb_cli_keys keys;
    const char *role;
    bool json;
    bool whole;
    bool is_extract;
    struct tb_json *missing; /* with --json */
    size_t missing_count, missing_logs, key_findings;
    struct tb_place *place;
    struct tb_place_list list; /* of the place */
    struct tb_verified *done;  /* owned */
    size_t done_count;
    struct tb_verified_logs logs; /* of hosts */
    struct tb_json *findings;     /* with --json */
    uint64_t total_bytes, done_bytes;
    struct tb_cli_progress progress;
};

/* --- verify_around.c --- */

/* Whether a file (or a link) of the place belongs to no capture, log or extract, and is no key:
 * nothing was found out about it. */
bool verify_is_stranger(const struct verify_run *run, const struct tb_place_file *file);

/* --- verify_result.c --- */

/* A sentence, or with --json a member of what is printed at the end. */
void verify_tell_finding(void *arg, const struct tb_finding *finding);
/* What came of all that is there: printed, and the exit status. */
int verify_tell_result(struct verify_run *run);
/* The same of one extract. */
int verify_tell_extract(struct verify_run *run, const char *where,
                        const struct tb_proof_result *result);

#endif
