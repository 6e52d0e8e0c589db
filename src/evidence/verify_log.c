/*
 * The custody logs of hosts: each by itself, then what it and the captures say of each other.
 *
 * A manifest names how far the log had come when it was made, and the log names every manifest
 * that was signed.  So a log that was cut, exchanged or removed shows in the captures, and a
 * capture that was removed, or whose manifest was made twice, in the log.
 */
#include "verify_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/ids.h>

static const char manifest_name[] = "manifest.json";

struct log_check {
    struct verify_job job;
    struct tb_verified_log *log;
    struct tb_verified_logs *logs;
    struct tb_verified *captures; /* borrowed */
    size_t capture_count;
    struct tb_verified **named; /* owned: those that name this log, by how far it had come */
    size_t named_count, next;   /* the first of them that no entry has come to */
};

/* --- which logs --- */

static struct tb_verified_log *
find_or_add(struct tb_verified_logs *logs, const char *id, size_t len)
{
    struct tb_verified_log *more;

    for (size_t i = 0; i < logs->count; i++) {
        if (strlen(logs->at[i].log) == len && memcmp(logs->at[i].log, id, len) == 0) {
            return &logs->at[i];
        }
    }
    more = reallocarray(logs->at, logs->count + 1, sizeof(*more));
    if (more == NULL) {
        return NULL;
    }
    logs->at = more;
    more = &logs->at[logs->count++];
    *more = (struct tb_verified_log){.is_here = false};
    memcpy(more->log, id, len);
    return more;
}

/* The folder of a log by its name: how much of a file's name it is; 0: it is in none. */
static size_t
log_folder(const char *name, size_t *out_begin)
{
    char id[TB_CAPTURE_ID_SIZE];

    for (const char *from = name;;) {
        size_t len = strcspn(from, "/");

        if (from[len] == '\0') {
            return 0;
        }
        if (len < sizeof(id)) {
            memcpy(id, from, len);
            id[len] = '\0';
            if (tb_log_id_valid(id)) {
                *out_begin = (size_t)(from - name);
                return *out_begin + len;
            }
        }
        from += len + 1;
    }
}

/* --- what the log says of captures --- */

static void TB_PRINTF(3, 4)
    tell_capture(const struct log_check *check, struct tb_verified *of, const char *fmt, ...)
{
    const struct tb_verify *verify = check->job.verify;
    struct tb_finding finding = {
        .capture = of->capture, .file = manifest_name, .kind = "custody"};
    char text[300];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    finding.text = text;
    of->findings++;
    verify->finding(verify->arg, &finding);
}

static void
note_chain(struct tb_verified_logs *logs, const char *key, int64_t sequence)
{
    for (size_t i = 0; i < logs->chain_count; i++) {
        if (strcmp(logs->chains[i].key.text, key) == 0) {
            if (sequence > logs->chains[i].last) {
                logs->chains[i].last = sequence;
            }
            return;
        }
    }
    if (logs->chain_count < TB_VERIFY_MAX_CHAINS) {
        struct tb_verified_chain *chain = &logs->chains[logs->chain_count++];

        *chain = (struct tb_verified_chain){.last = sequence};
        (void)tb_str_copy(chain->key.text, sizeof(chain->key.text), key);
    }
}

static void
compare_manifest(struct log_check *check, const struct tb_custody_reader *reader,
                 const struct tb_json *entry)
{
    const char *capture = tb_json_str(entry, "/detail/capture");
    const char *key = tb_json_str(entry, "/detail/key");
    const char *hex = tb_json_str(entry, "/detail/sha256");
    struct tb_sha256 sha256 = {{0}}, fingerprint = {{0}};
    int64_t sequence;

    if (capture == NULL || key == NULL || hex == NULL ||
        tb_unhex(sha256.octets, sizeof(sha256.octets), hex) != TB_OK ||
        tb_unhex(fingerprint.octets, sizeof(fingerprint.octets), key) != TB_OK ||
        !tb_json_int(entry, "/detail/sequence", &sequence)) {
        return;
    }
    note_chain(check->logs, key, sequence);
    for (size_t i = 0; i < check->capture_count; i++) {
        struct tb_verified *one = &check->captures[i];

        if (one->is_signed && strcmp(one->capture, capture) == 0 &&
            memcmp(&one->sha256, &sha256, sizeof(sha256)) != 0) {
            tell_capture(check, one, "another manifest was signed for it: entry %lld of %s",
                         (long long)reader->entries, reader->log);
        }
    }
}

/* Each manifest that names this log says what one of its entries was. */
static void
on_entry(void *arg, const struct tb_custody_reader *reader, const struct tb_json *entry)
{
    struct log_check *check = arg;
    const char *act = tb_json_str(entry, "/act");

    for (; check->next < check->named_count &&
           check->named[check->next]->host_entries <= reader->entries;
         check->next++) {
        const struct tb_verified *one = check->named[check->next];

        if (one->host_entries == reader->entries &&
            memcmp(&one->host_head, &reader->head, sizeof(reader->head)) != 0) {
            verify_report(&check->job, "", "custody",
                          "entry %lld is not the one that the manifest of %s names",
                          (long long)reader->entries, one->capture);
        }
    }
    if (act != NULL && strcmp(act, "manifest_signed") == 0) {
        compare_manifest(check, reader, entry);
    }
}

/* --- one log --- */

static int
by_host_entries(const void *a, const void *b)
{
    const struct tb_verified *one = *(struct tb_verified *const *)a;
    const struct tb_verified *two = *(struct tb_verified *const *)b;

    return one->host_entries < two->host_entries   ? -1
           : one->host_entries > two->host_entries ? 1
                                                   : strcmp(one->capture, two->capture);
}

/* Manifests that nobody signed say nothing. */
static enum tb_err
collect_named(struct log_check *check, struct tb_fail *fail)
{
    check->named = calloc(check->capture_count + 1, sizeof(struct tb_verified *));
    if (check->named == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a list of captures");
    }
    for (size_t i = 0; i < check->capture_count; i++) {
        struct tb_verified *one = &check->captures[i];

        if (one->is_signed && strcmp(one->host_log, check->log->log) == 0) {
            check->named[check->named_count++] = one;
        }
    }
    qsort(check->named, check->named_count, sizeof(struct tb_verified *), by_host_entries);
    return TB_OK;
}

static bool
somebody_vouches(const struct tb_verify *verify)
{
    for (size_t i = 0; i < verify->key_count; i++) {
        if (verify->keys[i].trusted) {
            return true;
        }
    }
    return false;
}

static enum tb_err
check_objects(struct log_check *check, struct tb_fail *fail)
{
    struct tb_custody_reader reader;
    struct verify_job *job = &check->job;
    enum tb_err err = verify_list(job, fail);

    tb_custody_reader_init(&reader, check->log->log);
    reader.entry = on_entry;
    reader.arg = check;
    job->out->is_trusted = somebody_vouches(job->verify);
    if (err == TB_OK) {
        err = verify_objects(job, &reader, fail);
    }
    if (err == TB_OK && check->next < check->named_count && job->out->findings == 0) {
        const struct tb_verified *last = check->named[check->named_count - 1];

        verify_report(job, "", "custody", "it has %lld entries, the manifest of %s names %lld",
                      (long long)reader.entries, last->capture, (long long)last->host_entries);
    }
    if (err == TB_OK) {
        verify_tell_extra(job);
    }
    return err;
}

static enum tb_err
check_log(struct log_check *check, const struct tb_verify *verify, struct tb_place *place,
          const struct tb_place_list *list, char *folder, struct tb_fail *fail)
{
    struct tb_verified verified = {.findings = 0};
    atomic_ullong progress = 0;
    unsigned long long more;
    enum tb_err err = collect_named(check, fail);

    verify_job_init(&check->job, verify, place, list, folder, &verified, &progress);
    check->job.is_log = true;
    if (err == TB_OK) {
        err = check_objects(check, fail);
    }
    verify_tell(&check->job);
    more = atomic_load(&progress);
    if (verify->progress != NULL && more > 0) {
        verify->progress(verify->arg, more);
    }
    check->log->is_here = true;
    check->log->entries = verified.custody_entries;
    check->log->findings += verified.findings;
    verify_job_release(&check->job);
    free(check->named);
    return err;
}

enum tb_err
tb_verify_logs(const struct tb_verify *verify, struct tb_place *place,
               const struct tb_place_list *list, struct tb_verified *captures, size_t count,
               struct tb_verified_logs *out, struct tb_fail *fail)
{
    const char *last = "";
    size_t last_len = 0;
    enum tb_err err = TB_OK;

    *out = (struct tb_verified_logs){.count = 0};
    for (size_t i = 0; i < list->count && err == TB_OK; i++) {
        struct log_check check = {.logs = out, .captures = captures, .capture_count = count};
        const char *name = list->at[i].name;
        size_t begin = 0, len = log_folder(name, &begin);
        char *folder;

        if (len == 0 || (len == last_len && memcmp(name, last, len) == 0)) {
            continue;
        }
        last = name;
        last_len = len;
        folder = strndup(name, len);
        check.log = folder != NULL ? find_or_add(out, name + begin, len - begin) : NULL;
        if (check.log == NULL) {
            free(folder);
            err = tb_fail_set(fail, TB_ENOMEM, "no memory for a list of logs");
        } else {
            err = check_log(&check, verify, place, list, folder, fail);
        }
    }
    for (size_t i = 0; i < count && err == TB_OK; i++) {
        if (captures[i].is_signed && captures[i].host_log[0] != '\0' &&
            find_or_add(out, captures[i].host_log, strlen(captures[i].host_log)) == NULL) {
            err = tb_fail_set(fail, TB_ENOMEM, "no memory for a list of logs");
        }
    }
    if (err != TB_OK) {
        tb_verified_logs_release(out);
    }
    return err;
}

void
tb_verified_logs_release(struct tb_verified_logs *logs)
{
    free(logs->at);
    logs->at = NULL;
    logs->count = 0;
}
