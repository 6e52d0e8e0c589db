/* What tapbox verify found, for people and as JSON. */
#include "verify_int.h"

#include <stdio.h>

enum {
    EXTRACT_BYTES = 4096
};

/* --- findings --- */

/* Names of files come from whoever made the folder: nothing of them moves a cursor. */
static void
print_harmless(const char *text)
{
    for (; *text != '\0'; text++) {
        putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
    }
}

void
verify_tell_finding(void *arg, const struct tb_finding *finding)
{
    struct verify_run *run = arg;

    if (run->json) {
        struct tb_json *one = tb_json_object();

        tb_json_set_text(one, "capture", finding->capture);
        tb_json_set_str(one, "file", finding->file[0] != '\0' ? finding->file : NULL);
        tb_json_set_str(one, "kind", finding->kind);
        tb_json_set_str(one, "text", finding->text);
        tb_json_add(run->findings, one);
        return;
    }
    tb_cli_progress_clear(&run->progress);
    print_harmless(finding->capture);
    fputs(finding->capture[0] != '\0' ? " " : "", stdout);
    print_harmless(finding->file[0] != '\0' ? finding->file
                   : run->is_extract        ? "(the extract)"
                                            : "(the capture)");
    printf(": %s: ", finding->kind);
    print_harmless(finding->text);
    putchar('\n');
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
last_told(const struct verify_run *run, const char *key)
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
tell_missing(struct verify_run *run, const char *key, int64_t from, int64_t to)
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
is_key_here(const struct verify_run *run, const char *key)
{
    for (size_t i = 0; i < run->done_count; i++) {
        if (run->done[i].is_signed && strcmp(run->done[i].key.text, key) == 0) {
            return true;
        }
    }
    return false;
}

static void
find_missing(struct verify_run *run)
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
find_missing_logs(struct verify_run *run)
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
logs_json(const struct verify_run *run)
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

/* The next extract from `*at` on, without .proof; false: there is none. */
static bool
next_extract(const struct verify_run *run, size_t *at, char out[EXTRACT_BYTES])
{
    for (; *at < run->list.count; (*at)++) {
        const struct tb_place_file *file = &run->list.at[*at];

        if (tb_verify_is_proof(&run->list, file)) {
            (void)snprintf(out, EXTRACT_BYTES, "%.*s",
                           (int)(strlen(file->name) - strlen(".proof/manifest.json")),
                           file->name);
            (*at)++;
            return true;
        }
    }
    return false;
}

static struct tb_json *
extracts_json(const struct verify_run *run)
{
    struct tb_json *out = tb_json_array();
    char name[EXTRACT_BYTES];

    for (size_t at = 0; next_extract(run, &at, name);) {
        tb_json_add_str(out, name);
    }
    return out;
}

static struct tb_json *
strangers_json(const struct verify_run *run)
{
    struct tb_json *out = tb_json_array();

    for (size_t i = 0; i < run->list.count; i++) {
        if (verify_is_stranger(run, &run->list.at[i])) {
            tb_json_add_str(out, run->list.at[i].name);
        }
    }
    return out;
}

/* They are no fault: evidence may lie among other things.  But nobody is to take them for it.
 */
static void
print_strangers(const struct verify_run *run)
{
    const char *first = NULL;
    size_t count = 0;

    for (size_t i = 0; i < run->list.count; i++) {
        if (verify_is_stranger(run, &run->list.at[i])) {
            first = count++ == 0 ? run->list.at[i].name : first;
        }
    }
    if (first != NULL) {
        print_harmless(first);
        printf(count == 1 ? ": of no capture: nothing vouches for it\n"
                          : " and %zu more: of no capture: nothing vouches for them\n",
               count - 1);
    }
}

static enum tb_err
print_json(struct verify_run *run, int status, struct tb_fail *fail)
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
    tb_json_set(root, "extracts", extracts_json(run));
    tb_json_set(root, "strangers", strangers_json(run));
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

/* Those that signed what is here, each once: many others may lie beside the captures.  Captures
 * stand in the order of their keys. */
static void
print_unproven_keys(const struct verify_run *run)
{
    const char *before = "";

    for (size_t i = 0; i < run->done_count; i++) {
        const struct tb_verified *one = &run->done[i];

        if (one->is_signed && !one->is_trusted && strcmp(before, one->key.text) != 0) {
            printf("  %s\n", one->key.text);
            before = one->key.text;
        }
    }
}

static void
print_text(const struct verify_run *run, int status)
{
    char extract[EXTRACT_BYTES];

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
    for (size_t at = 0; next_extract(run, &at, extract);) {
        print_harmless(extract);
        puts(": an extract, which is verified by itself: 'tapbox verify' its file");
    }
    print_strangers(run);
    if (status == TB_EXIT_UNPROVEN) {
        puts("Nobody vouched for the key: compare its fingerprint with GET /v1/keys of the "
             "service,\nor with what was written down, and give it as --fingerprint:");
        print_unproven_keys(run);
    }
}

static int
status_of(const struct verify_run *run)
{
    int status = TB_EXIT_OK;

    if (run->key_findings > 0) {
        return TB_EXIT_EVIDENCE;
    }
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
int
verify_tell_result(struct verify_run *run)
{
    struct tb_fail fail = {0};
    int status;

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

/* --- an extract --- */

int
verify_tell_extract(struct verify_run *run, const char *where,
                    const struct tb_proof_result *result)
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
        tb_json_set_text(root, "filter", result->filter);
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
        printf("%s: holds: its %llu packets are those of %s that '", where,
               (unsigned long long)result->counts.packets, result->capture);
        print_harmless(result->filter);
        printf("' takes, from %zu chunks of %zu segments; key %.16s...\n",
               result->counts.chunks_read, result->counts.segments_read, result->key.text);
        if (status == TB_EXIT_UNPROVEN) {
            printf("Nobody vouched for the key: compare its fingerprint with what was written "
                   "down, and give it as --fingerprint:\n  %s\n",
                   result->key.text);
        }
    }
    return tb_cli_finish_stdout("verify") == TB_EXIT_OK ? status : TB_EXIT_FAILED;
}
