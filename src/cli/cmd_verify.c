/* tapbox verify: whether evidence holds.  Needs the files and the public key only. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <tapbox/io.h>
#include <tapbox/json.h>
#include <tapbox/proof.h>

#include "cli_int.h"

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
    "      --json             the result as JSON\n"
    "  -h, --help             this text\n"
    "\n"
    "Without --key and --fingerprint the keys in keys/ are taken as they come.  That shows\n"
    "damage, but proves nothing: who wrote the evidence wrote that key.\n"
    "\n"
    "Status: 0 all of it holds, 7 something does not, 8 it holds by a key that nobody vouched\n"
    "for, 3 there is no evidence or no key, 4 S3 refuses, 5 S3 does not answer.\n";

enum {
    MAX_KEYS = 32,
    MAX_NAMES = 16, /* of --key, and of --fingerprint */
    MAX_LEVELS = 8, /* of folders above in which keys/ is looked for: prefix and date */
    MAX_THREADS = 32
};

struct names { /* as given on the command line */
    const char *at[MAX_NAMES];
    size_t count;
};

struct run {
    struct tb_verify verify;
    struct tb_verify_key keys[MAX_KEYS];
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

/* --- what is seen meanwhile --- */

static void
on_progress(void *arg, uint64_t more_bytes)
{
    struct run *run = arg;

    run->done_bytes += more_bytes;
    tb_cli_progress_show(&run->progress, run->done_bytes, run->total_bytes);
}

/* Names of files come from whoever made the folder: nothing of them moves a cursor. */
static void
print_harmless(const char *text)
{
    for (; *text != '\0'; text++) {
        putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
    }
}

static void
on_finding(void *arg, const struct tb_finding *finding)
{
    struct run *run = arg;

    if (run->json) {
        struct tb_json *one = tb_json_object();

        tb_json_set_str(one, "capture", finding->capture);
        tb_json_set_str(one, "file", finding->file[0] != '\0' ? finding->file : NULL);
        tb_json_set_str(one, "kind", finding->kind);
        tb_json_set_str(one, "text", finding->text);
        tb_json_add(run->findings, one);
        return;
    }
    tb_cli_progress_clear(&run->progress);
    print_harmless(finding->capture);
    putchar(' ');
    print_harmless(finding->file[0] != '\0' ? finding->file
                   : run->is_extract        ? "(the extract)"
                                            : "(the capture)");
    printf(": %s: ", finding->kind);
    print_harmless(finding->text);
    putchar('\n');
}

/* --- keys --- */

static bool
add_key(struct run *run, const struct tb_public_key *key, bool trusted)
{
    struct tb_verify_key *place = &run->keys[run->verify.key_count];

    if (run->verify.key_count == MAX_KEYS ||
        tb_public_key_fingerprint(key, &place->fingerprint) != TB_OK) {
        return false;
    }
    place->key = *key;
    place->trusted = trusted;
    run->verify.key_count++;
    return true;
}

static bool
is_key_file(const char *name)
{
    const char *slash = strrchr(name, '/');
    size_t len = strlen(name);

    return len > 4 && strcmp(name + len - 4, ".pem") == 0 && slash != NULL &&
           slash >= name + 4 && memcmp(slash - 4, "keys", 4) == 0 &&
           (slash == name + 4 || slash[-5] == '/');
}

/* The keys of a list: all as they come, or the one that is wanted, which is trusted then. */
static void
take_keys(struct run *run, struct tb_place *place, const struct tb_place_list *list,
          const char *wanted)
{
    for (size_t i = 0; i < list->count; i++) {
        struct tb_buf pem = TB_BUF_INIT(TB_KEY_FILE_MAX_BYTES);
        struct tb_public_key key;
        struct tb_fingerprint fingerprint;

        if (list->at[i].kind == TB_PLACE_FILE && is_key_file(list->at[i].name) &&
            tb_place_read(place, &list->at[i], &pem, NULL) == TB_OK &&
            tb_public_key_parse(tb_buf_view(&pem), &key, NULL) == TB_OK &&
            tb_public_key_fingerprint(&key, &fingerprint) == TB_OK &&
            (wanted == NULL || strcmp(fingerprint.text, wanted) == 0)) {
            (void)add_key(run, &key, wanted != NULL);
        }
        tb_buf_release(&pem);
    }
}

/* keys/ lies beside the captures: below the place, in it, or some levels above it. */
static void
find_keys(struct run *run, const char *wanted)
{
    size_t before = run->verify.key_count;

    take_keys(run, run->place, &run->list, wanted);
    for (unsigned level = 1; level < MAX_LEVELS && run->verify.key_count == before; level++) {
        struct tb_place *above = NULL;
        struct tb_place_list list = {.count = 0};

        if (tb_place_above(run->place, level, &above, NULL) != TB_OK) {
            break;
        }
        if (tb_place_list(above, "keys", &list, NULL) == TB_OK) {
            take_keys(run, above, &list, wanted);
        }
        tb_place_list_release(&list);
        tb_place_free(above);
    }
}

/* --- captures --- */

static enum tb_err
open_place(struct run *run, const char *where, struct tb_fail *fail)
{
    enum tb_err err = tb_place_open(where, &run->place, fail);

    if (err == TB_OK) {
        err = tb_place_list(run->place, "", &run->list, fail);
    }
    for (size_t i = 0; i < run->list.count; i++) {
        run->total_bytes += run->list.at[i].bytes;
    }
    run->total_bytes *= run->verify.deep ? 2 : 1;
    return err;
}

/* --- the result --- */

static struct tb_json *
capture_json(const struct tb_verified *one)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "capture", one->capture);
    tb_json_set_bool(out, "holds", one->findings == 0);
    tb_json_set_bool(out, "signed", one->is_signed);
    tb_json_set_bool(out, "trusted", one->is_trusted);
    tb_json_set_str(out, "key", one->key.text[0] != '\0' ? one->key.text : NULL);
    tb_json_set_int(out, "sequence", one->sequence);
    tb_json_set_int(out, "segments", (int64_t)one->segments);
    tb_json_set_int(out, "packets", (int64_t)one->packets);
    tb_json_set_int(out, "bytes", (int64_t)one->bytes);
    tb_json_set_int(out, "alerts", (int64_t)one->alerts);
    tb_json_set_int(out, "custody_entries", one->custody_entries);
    tb_json_set_str(out, "complete", one->complete[0] != '\0' ? one->complete : NULL);
    return out;
}

/* The last number of a key that a host's log here tells of; 0: none does. */
static int64_t
last_told(const struct run *run, const char *key)
{
    for (size_t i = 0; i < run->logs.chain_count; i++) {
        if (strcmp(run->logs.chains[i].key.text, key) == 0) {
            return run->logs.chains[i].last;
        }
    }
    return 0;
}

/* Numbers that nobody here has: before the first of a key, between two, and, when a host's log
 * is here to tell, after the last. */
static void
tell_missing(struct run *run, const char *key, int64_t from, int64_t to)
{
    struct tb_json *one;

    if (from > to) {
        return;
    }
    run->missing_count++;
    if (run->json) {
        one = tb_json_object();
        tb_json_set_str(one, "key", key);
        tb_json_set_int(one, "from", from);
        tb_json_set_int(one, "to", to);
        tb_json_add(run->missing, one);
    } else if (from == to) {
        printf("manifest %lld of key %.16s... is not here\n", (long long)from, key);
    } else {
        printf("manifests %lld to %lld of key %.16s... are not here\n", (long long)from,
               (long long)to, key);
    }
}

static bool
is_key_here(const struct run *run, const char *key)
{
    for (size_t i = 0; i < run->done_count; i++) {
        if (run->done[i].is_signed && strcmp(run->done[i].key.text, key) == 0) {
            return true;
        }
    }
    return false;
}

static void
find_missing(struct run *run)
{
    const char *key = "";
    int64_t next = 1;

    for (size_t i = 0; i < run->done_count; i++) {
        const struct tb_verified *one = &run->done[i];

        if (!one->is_signed) {
            continue;
        }
        if (strcmp(key, one->key.text) != 0) {
            key = one->key.text;
            next = 1;
        }
        tell_missing(run, key, next, one->sequence - 1);
        next = one->sequence + 1;
        if (i + 1 == run->done_count || !run->done[i + 1].is_signed ||
            strcmp(run->done[i + 1].key.text, key) != 0) {
            tell_missing(run, key, next, last_told(run, key));
        }
    }
    for (size_t i = 0; i < run->logs.chain_count; i++) {
        const struct tb_verified_chain *chain = &run->logs.chains[i];

        if (!is_key_here(run, chain->key.text)) {
            tell_missing(run, chain->key.text, 1, chain->last);
        }
    }
}

/* What manifests name and is not here: with one capture's folder that is usual. */
static void
find_missing_logs(struct run *run)
{
    for (size_t i = 0; i < run->logs.count; i++) {
        run->missing_logs += run->logs.at[i].is_here ? 0 : 1;
    }
}

static const char *
verdict_name(int status)
{
    return status == TB_EXIT_OK ? "proven" : status == TB_EXIT_UNPROVEN ? "unproven" : "broken";
}

static struct tb_json *
logs_json(const struct run *run)
{
    struct tb_json *out = tb_json_array();

    for (size_t i = 0; i < run->logs.count; i++) {
        const struct tb_verified_log *log = &run->logs.at[i];
        struct tb_json *one = tb_json_object();

        tb_json_set_str(one, "log", log->log);
        tb_json_set_bool(one, "here", log->is_here);
        tb_json_set_bool(one, "holds", log->is_here && log->findings == 0);
        tb_json_set_int(one, "entries", log->entries);
        tb_json_add(out, one);
    }
    return out;
}

static enum tb_err
print_json(struct run *run, int status, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(SIZE_MAX);
    struct tb_json *root = tb_json_object(), *list = tb_json_array();
    enum tb_err err;

    for (size_t i = 0; i < run->done_count; i++) {
        tb_json_add(list, capture_json(&run->done[i]));
    }
    tb_json_set_str(root, "verdict", verdict_name(status));
    tb_json_set(root, "captures", list);
    tb_json_set(root, "logs", logs_json(run));
    tb_json_set(root, "findings", run->findings);
    run->findings = NULL;
    tb_json_set(root, "missing", run->missing);
    run->missing = NULL;
    err = tb_json_dump(root, true, &text, fail);
    if (err == TB_OK) {
        printf("%s\n", tb_buf_str(&text));
    }
    tb_json_free(root);
    tb_buf_release(&text);
    return err;
}

static void
print_text(const struct run *run, int status)
{
    for (size_t i = 0; i < run->done_count; i++) {
        const struct tb_verified *one = &run->done[i];

        print_harmless(one->capture);
        if (one->findings > 0) {
            printf(": does NOT hold, %zu finding%s\n", one->findings,
                   one->findings == 1 ? "" : "s");
            continue;
        }
        printf(": holds: %zu segments with %llu packets, %zu alerts, %lld acts; complete: %s; "
               "manifest %lld of key %.16s...\n",
               one->segments, (unsigned long long)one->packets, one->alerts,
               (long long)one->custody_entries, one->complete, (long long)one->sequence,
               one->key.text);
    }
    for (size_t i = 0; i < run->logs.count; i++) {
        const struct tb_verified_log *log = &run->logs.at[i];

        if (!log->is_here) {
            printf("%s: the host's custody log is not here: it lies in custody/ beside the "
                   "captures\n",
                   log->log);
        } else if (log->findings > 0) {
            printf("%s: does NOT hold, %zu finding%s\n", log->log, log->findings,
                   log->findings == 1 ? "" : "s");
        } else {
            printf("%s: holds: %lld acts of the host\n", log->log, (long long)log->entries);
        }
    }
    if (status == TB_EXIT_UNPROVEN) {
        puts("Nobody vouched for the key: compare its fingerprint with GET /v1/keys of the "
             "service,\nor with what was written down, and give it as --fingerprint:");
        for (size_t i = 0; i < run->verify.key_count; i++) {
            printf("  %s\n", run->keys[i].fingerprint.text);
        }
    }
}

static int
status_of(const struct run *run)
{
    int status = TB_EXIT_OK;

    if (run->whole && run->missing_count + run->missing_logs > 0) {
        return TB_EXIT_EVIDENCE;
    }
    for (size_t i = 0; i < run->logs.count; i++) {
        if (run->logs.at[i].findings > 0) {
            return TB_EXIT_EVIDENCE;
        }
    }
    for (size_t i = 0; i < run->done_count; i++) {
        if (run->done[i].findings > 0) {
            return TB_EXIT_EVIDENCE;
        }
        if (!run->done[i].is_trusted) {
            status = TB_EXIT_UNPROVEN;
        }
    }
    return status;
}

/* The keys that the command line names; TB_EXIT_OK when there is one to go by. */
static int
take_trusted(struct run *run, const char *where, const struct names *files,
             const struct names *fingerprints)
{
    struct tb_public_key key;
    struct tb_fail fail = {0};

    for (size_t i = 0; i < files->count; i++) {
        if (tb_public_key_load(files->at[i], &key, &fail) != TB_OK) {
            return tb_cli_fail("verify", &fail);
        }
        (void)add_key(run, &key, true);
    }
    for (size_t i = 0; i < fingerprints->count; i++) {
        size_t before = run->verify.key_count;

        find_keys(run, fingerprints->at[i]);
        if (run->verify.key_count == before) {
            fprintf(stderr, "tapbox verify: there is no key %s in keys/ near %s\n",
                    fingerprints->at[i], where);
            return TB_EXIT_NOT_FOUND;
        }
    }
    if (run->verify.key_count == 0) {
        find_keys(run, NULL);
    }
    if (run->verify.key_count == 0) {
        fprintf(stderr, "tapbox verify: no public key: give one with --key\n");
        return TB_EXIT_NOT_FOUND;
    }
    return TB_EXIT_OK;
}

/* --- an extract --- */

static int
tell_extract(struct run *run, const char *where, const struct tb_proof_result *result)
{
    int status = result->findings > 0  ? TB_EXIT_EVIDENCE
                 : !result->is_trusted ? TB_EXIT_UNPROVEN
                                       : TB_EXIT_OK;
    struct tb_buf text = TB_BUF_INIT(SIZE_MAX);
    struct tb_json *root;

    tb_cli_progress_clear(&run->progress);
    if (run->json) {
        root = tb_json_object();
        tb_json_set_str(root, "verdict", verdict_name(status));
        tb_json_set_text(root, "capture", result->capture);
        tb_json_set_text(root, "key", result->key.text);
        tb_json_set_int(root, "packets", (int64_t)result->counts.packets);
        tb_json_set_int(root, "chunks", (int64_t)result->counts.chunks_read);
        tb_json_set_int(root, "segments", (int64_t)result->counts.segments_read);
        tb_json_set(root, "findings", run->findings);
        run->findings = NULL;
        if (tb_json_dump(root, true, &text, NULL) == TB_OK) {
            printf("%s\n", tb_buf_str(&text));
        }
        tb_json_free(root);
        tb_buf_release(&text);
    } else if (result->findings > 0) {
        printf("%s: does NOT hold, %zu finding%s\n", where, result->findings,
               result->findings == 1 ? "" : "s");
    } else {
        printf("%s: holds: its %llu packets are those of %s, from %zu chunks of %zu segments; "
               "key %.16s...\n",
               where, (unsigned long long)result->counts.packets, result->capture,
               result->counts.chunks_read, result->counts.segments_read, result->key.text);
        if (status == TB_EXIT_UNPROVEN) {
            printf("Nobody vouched for the key: compare its fingerprint with what was written "
                   "down, and give it as --fingerprint:\n  %s\n",
                   result->key.text);
        }
    }
    return tb_cli_finish_stdout("verify") == TB_EXIT_OK ? status : TB_EXIT_FAILED;
}

static int
verify_extract(struct run *run, const char *where, const struct names *files,
               const struct names *fingerprints)
{
    struct tb_proof_result result;
    struct tb_fail fail = {0};
    char folder[4096];
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
        status = take_trusted(run, folder, files, fingerprints);
        if (status == TB_EXIT_OK &&
            tb_proof_check(&run->verify, run->place, &run->list, fd, &result, &fail) != TB_OK) {
            status = tb_cli_fail("verify", &fail);
        } else if (status == TB_EXIT_OK) {
            status = tell_extract(run, where, &result);
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

static int
verify(struct run *run, const char *where, const struct names *files,
       const struct names *fingerprints)
{
    struct tb_fail fail = {0};
    int status;

    run->is_extract = is_file(where);
    if (run->is_extract) {
        return verify_extract(run, where, files, fingerprints);
    }
    if (open_place(run, where, &fail) != TB_OK) {
        return tb_cli_fail("verify", &fail);
    }
    status = take_trusted(run, where, files, fingerprints);
    if (status != TB_EXIT_OK) {
        return status;
    }
    if (tb_verify_place(&run->verify, run->place, &run->list, &run->done, &run->done_count,
                        &fail) != TB_OK ||
        tb_verify_logs(&run->verify, run->place, &run->list, run->done, run->done_count,
                       &run->logs, &fail) != TB_OK) {
        tb_cli_progress_clear(&run->progress);
        tb_fail_prefix(&fail, "%.200s", where);
        return tb_cli_fail("verify", &fail);
    }
    tb_cli_progress_clear(&run->progress);
    find_missing(run);
    find_missing_logs(run);
    status = status_of(run);
    if (!run->json) {
        print_text(run, status);
    } else if (print_json(run, status, &fail) != TB_OK) {
        return tb_cli_fail("verify", &fail);
    }
    return tb_cli_finish_stdout("verify") == TB_EXIT_OK ? status : TB_EXIT_FAILED;
}

int
tb_cmd_verify(int argc, char **argv)
{
    static const struct option options[] = {
        {"key", required_argument, NULL, 'k'}, {"fingerprint", required_argument, NULL, 'f'},
        {"deep", no_argument, NULL, 'd'},      {"json", no_argument, NULL, 'j'},
        {"whole", no_argument, NULL, 'w'},     {"threads", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},      {NULL, 0, NULL, 0},
    };
    struct run run = {.verify = {.finding = on_finding, .progress = on_progress}};
    struct names files = {0}, fingerprints = {0};
    struct names *names;
    char *end;
    int option, status;

    while ((option = getopt_long(argc, argv, "k:f:dwt:h", options, NULL)) != -1) {
        switch (option) {
        case 'k':
        case 'f':
            names = option == 'k' ? &files : &fingerprints;
            if (names->count == MAX_NAMES) {
                return tb_cli_usage("verify", "more than %d of --key or --fingerprint",
                                    MAX_NAMES);
            }
            names->at[names->count++] = optarg;
            break;
        case 'd':
            run.verify.deep = true;
            break;
        case 'w':
            run.whole = true;
            break;
        case 't':
            run.verify.threads = (unsigned)strtoul(optarg, &end, 10);
            if (*end != '\0' || run.verify.threads < 1 || run.verify.threads > MAX_THREADS) {
                return tb_cli_usage("verify", "--threads takes 1 to %d", MAX_THREADS);
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
    run.verify.keys = run.keys;
    run.verify.arg = &run;
    tb_cli_progress_begin(&run.progress);
    run.findings = tb_json_array();
    run.missing = tb_json_array();
    status = verify(&run, argv[optind], &files, &fingerprints);
    tb_json_free(run.findings);
    tb_json_free(run.missing);
    free(run.done);
    tb_verified_logs_release(&run.logs);
    tb_place_list_release(&run.list);
    tb_place_free(run.place);
    return status;
}
