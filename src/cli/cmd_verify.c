/* tapbox verify: whether evidence holds.  Needs the files and the public key only. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <tapbox/io.h>

#include "verify_int.h"

static const char help[] =
    "Usage: tapbox verify PATH|s3://BUCKET/PREFIX|EXTRACT --key FILE\n"
    "       tapbox verify PATH|s3://BUCKET/PREFIX --fingerprint HEX\n"
    "\n"
    "Checks the evidence there, which is the folder of a capture or any folder above some:\n"
    "signature, chain, custody logs, every hash, Merkle roots, ledger, packet counts, and "
    "that\n"
    "no file is missing or too many.  Tells the first thing that is wrong with each file and\n"
    "goes on.  PATH works offline; s3:// reads the objects with the usual AWS environment\n"
    "(AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL_S3, ...) and writes nothing to the disk.\n"
    "\n"
    "EXTRACT is a file of 'tapbox fetch --proof': it is made anew from EXTRACT.proof/, whose\n"
    "chunks are checked against the signed manifest, and has to be the same octet for octet.\n"
    "In a folder of evidence extracts are only named: each is verified by itself.\n"
    "\n"
    "  -k, --key FILE         a public key (PEM) that you trust; may be given again\n"
    "  -f, --fingerprint HEX  or the fingerprint of one that lies in keys/ beside the "
    "evidence\n"
    "  -d, --deep             also decode every chunk and count its packets\n"
    "  -w, --whole            every number of each chain from 1 on has to be here: a capture "
    "that\n"
    "                         was removed as a whole is told, by its number; and so have the\n"
    "                         hosts' custody logs\n"
    "  -t, --threads N        how many files are read at a time (default: one for each\n"
    "                         processor; 16 from S3)\n"
    "      --role ARN         read S3 as this role (sts:AssumeRole with the environment's\n"
    "                         credentials)\n"
    "      --json             the result as JSON\n"
    "  -h, --help             this text\n"
    "\n"
    "Without --key and --fingerprint the keys in keys/ are taken as they come.  That shows\n"
    "damage, but proves nothing: who wrote the evidence wrote that key.\n"
    "\n"
    "Status: 0 all of it holds, 7 something does not, 8 it holds by a key that nobody vouched\n"
    "for, 3 there is no evidence or no key, 4 S3 refuses, 5 S3 does not answer.\n";
enum {
    PATH_BYTES = 4096
};

/* --- what is seen meanwhile --- */

static void
on_progress(void *arg, uint64_t more_bytes)
{
    struct verify_run *run = arg;

    run->done_bytes += more_bytes;
    tb_cli_progress_show(&run->progress, run->done_bytes, run->total_bytes);
}

/* --- captures --- */

static enum tb_err
open_place(struct verify_run *run, const char *where, struct tb_fail *fail)
{
    enum tb_err err = tb_place_open_as(where, run->role, &run->place, fail);

    if (err == TB_OK) {
        err = tb_place_list(run->place, "", &run->list, fail);
    }
    for (size_t i = 0; i < run->list.count; i++) {
        run->total_bytes += run->list.at[i].bytes;
    }
    run->total_bytes *= run->verify.deep ? 2 : 1;
    return err;
}

/* TB_EXIT_OK when there is one to go by. */
static int
take_keys(struct verify_run *run, const char *where)
{
    int status = tb_cli_keys_take(&run->keys, "verify", where, run->place, &run->list);

    if (status == TB_EXIT_OK && run->keys.count == 0) {
        fprintf(stderr, "tapbox verify: no public key: give one with --key\n");
        status = TB_EXIT_NOT_FOUND;
    }
    run->verify.keys = run->keys.at;
    run->verify.key_count = run->keys.count;
    return status;
}

static int
verify_extract(struct verify_run *run, const char *where)
{
    struct tb_proof_result result;
    struct tb_fail fail = {0};
    char folder[PATH_BYTES];
    int fd, status;

    if (snprintf(folder, sizeof(folder), "%s.proof", where) >= (int)sizeof(folder)) {
        return tb_cli_usage("verify", "the name of the file is too long");
    }
    fd = open(where, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        (void)tb_fail_errno(&fail, errno, "cannot read %s", where);
        return tb_cli_fail("verify", &fail);
    }
    if (open_place(run, folder, &fail) != TB_OK) {
        status = tb_cli_fail("verify", &fail);
    } else {
        status = take_keys(run, folder);
        if (status == TB_EXIT_OK &&
            tb_proof_check(&run->verify, run->place, &run->list, fd, &result, &fail) != TB_OK) {
            status = tb_cli_fail("verify", &fail);
        } else if (status == TB_EXIT_OK) {
            status = verify_tell_extract(run, where, &result);
        }
    }
    tb_close(&fd);
    return status;
}

static bool
is_file(const char *where)
{
    struct stat st;

    return stat(where, &st) == 0 && S_ISREG(st.st_mode);
}

/* X.proof stands for the extract that it proves, X. */
static const char *
extract_of(const char *where, char room[PATH_BYTES])
{
    static const char mark[] = ".proof";
    size_t len = strlen(where);

    while (len > 1 && where[len - 1] == '/') {
        len--;
    }
    if (len < sizeof(mark) || len >= PATH_BYTES ||
        memcmp(where + len - (sizeof(mark) - 1), mark, sizeof(mark) - 1) != 0) {
        return where;
    }
    memcpy(room, where, len);
    room[len - (sizeof(mark) - 1)] = '\0';
    return is_file(room) ? room : where;
}

static int
verify(struct verify_run *run, const char *where)
{
    struct tb_fail fail = {0};
    char room[PATH_BYTES];
    int status;

    where = extract_of(where, room);
    run->is_extract = is_file(where);
    if (run->is_extract) {
        return verify_extract(run, where);
    }
    if (open_place(run, where, &fail) != TB_OK) {
        return tb_cli_fail("verify", &fail);
    }
    status = take_keys(run, where);
    if (status != TB_EXIT_OK) {
        return status;
    }
    if (tb_verify_place(&run->verify, run->place, &run->list, &run->done, &run->done_count,
                        &fail) != TB_OK ||
        tb_verify_logs(&run->verify, run->place, &run->list, run->done, run->done_count,
                       &run->logs, &fail) != TB_OK ||
        tb_cli_keys_check(&run->verify, run->place, &run->list, &run->key_findings, &fail) !=
            TB_OK) {
        tb_cli_progress_clear(&run->progress);
        tb_fail_prefix(&fail, "%.200s", where);
        return tb_cli_fail("verify", &fail);
    }
    tb_cli_progress_clear(&run->progress);
    return verify_tell_result(run);
}

int
tb_cmd_verify(int argc, char **argv)
{
    static const struct option options[] = {
        {"key", required_argument, NULL, 'k'},
        {"fingerprint", required_argument, NULL, 'f'},
        {"deep", no_argument, NULL, 'd'},
        {"json", no_argument, NULL, 'j'},
        {"whole", no_argument, NULL, 'w'},
        {"threads", required_argument, NULL, 't'},
        {"role", required_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct verify_run run = {
        .verify = {.finding = verify_tell_finding, .progress = on_progress}};
    char *end;
    int option, status;

    while ((option = getopt_long(argc, argv, "k:f:dwt:h", options, NULL)) != -1) {
        switch (option) {
        case 'k':
        case 'f':
            if (!tb_cli_keys_option(&run.keys, option, optarg)) {
                return tb_cli_usage("verify", "more than %d of --key or --fingerprint",
                                    TB_CLI_MAX_KEY_NAMES);
            }
            break;
        case 'r':
            run.role = optarg;
            break;
        case 'd':
            run.verify.deep = true;
            break;
        case 'w':
            run.whole = true;
            break;
        case 't':
            run.verify.threads = (unsigned)strtoul(optarg, &end, 10);
            if (*end != '\0' || run.verify.threads < 1 ||
                run.verify.threads > VERIFY_MAX_THREADS) {
                return tb_cli_usage("verify", "--threads takes 1 to %d", VERIFY_MAX_THREADS);
            }
            break;
        case 'j':
            run.json = true;
            break;
        case 'h':
            fputs(help, stdout);
            return tb_cli_finish_stdout("verify");
        default:
            return tb_cli_try_help("verify");
        }
    }
    if (optind + 1 != argc) {
        return tb_cli_usage(
            "verify", "which evidence?  'tapbox verify PATH|s3://BUCKET/PREFIX --key FILE'");
    }
    run.verify.arg = &run;
    tb_cli_progress_begin(&run.progress);
    run.findings = tb_json_array();
    run.missing = tb_json_array();
    status = verify(&run, argv[optind]);
    tb_json_free(run.findings);
    tb_json_free(run.missing);
    free(run.done);
    tb_cli_keys_release(&run.keys);
    tb_verified_logs_release(&run.logs);
    tb_place_list_release(&run.list);
    tb_place_free(run.place);
    return status;
}
