/*
 * One capture: its files against its manifest, and the manifest against its signature.
 *
 * What is wrong is told once for each file, and the check goes on: a damaged segment says
 * nothing about the others.
 */
#include "verify_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/evidence.h>
#include <tapbox/ids.h>

static const char manifest_name[] = "manifest.json";
static const char signature_name[] = "manifest.sig";
static const char sums_name[] = "SHA256SUMS";

/* --- the manifest and its signature --- */

enum tb_signed
tb_signature_judge(const struct tb_verify_key *keys, size_t count,
                   const struct tb_fingerprint *named, struct tb_bytes text,
                   struct tb_bytes signature)
{
    const struct tb_verify_key *found = NULL;

    for (size_t i = 0; i < count; i++) {
        if (strcmp(keys[i].fingerprint.text, named->text) == 0 &&
            (found == NULL || keys[i].trusted)) {
            found = &keys[i];
        }
    }
    if (found == NULL) {
        return TB_SIGNED_UNKNOWN;
    }
    if (tb_signature_check(&found->key, text, signature, NULL) != TB_OK) {
        return TB_SIGNED_BADLY;
    }
    return found->trusted ? TB_SIGNED_TRUSTED : TB_SIGNED_WELL;
}

/* What SHA256SUMS, which nobody signed, says of a file: only to tell which of two was changed.
 */
static bool
sums_agree(struct verify_job *job, const char *name, struct tb_bytes content)
{
    struct tb_buf sums = TB_BUF_INIT(TB_MANIFEST_MAX_BYTES), line = TB_BUF_INIT(256);
    struct tb_sha256 sha256;
    const struct verify_file *file = verify_find(job, sums_name);
    bool agree = false;

    if (file != NULL && file->entry != NULL &&
        tb_place_read(job->place, file->entry, &sums, NULL) == TB_OK &&
        tb_sha256(content, &sha256) == TB_OK) {
        tb_sums_add(&line, &sha256, name);
        agree = line.err == TB_OK && memmem(sums.at, sums.len, line.at, line.len) != NULL;
    }
    tb_buf_release(&line);
    tb_buf_release(&sums);
    return agree;
}

static void
check_key(struct verify_job *job, struct tb_bytes signature)
{
    struct tb_bytes text = tb_buf_view(&job->text);
    enum tb_signed shows = tb_signature_judge(job->verify->keys, job->verify->key_count,
                                              &job->out->key, text, signature);

    job->out->is_signed = shows == TB_SIGNED_WELL || shows == TB_SIGNED_TRUSTED;
    job->out->is_trusted = shows == TB_SIGNED_TRUSTED;
    if (job->out->is_signed) {
        return;
    }
    if (sums_agree(job, manifest_name, text) && !sums_agree(job, signature_name, signature)) {
        verify_report(job, signature_name, "signature",
                      "it is not the signature of manifest.json, nor what SHA256SUMS says");
    } else if (shows == TB_SIGNED_UNKNOWN) {
        verify_report(job, manifest_name, "key",
                      "it names key %s, which was not given: nothing is proven",
                      job->out->key.text[0] != 0 ? job->out->key.text : "(none)");
    } else {
        verify_report(job, manifest_name, "signature",
                      "the signature does not hold: it is not what was signed with key %s",
                      job->out->key.text);
    }
}

static enum tb_err
check_manifest_signature(struct verify_job *job, struct tb_fail *fail)
{
    struct tb_buf signature = TB_BUF_INIT(TB_SIGNATURE_SIZE);
    const struct verify_file *file = verify_want(job, signature_name);
    bool read = false;
    enum tb_err err = TB_OK;

    if (file == NULL) {
        return TB_OK;
    }
    if (file->entry->bytes != TB_SIGNATURE_SIZE) {
        verify_report(job, signature_name, "signature",
                      "it has %llu octets, a signature has %d",
                      (unsigned long long)file->entry->bytes, TB_SIGNATURE_SIZE);
        return TB_OK;
    }
    err = verify_read(job, signature_name, &signature, &read, fail);
    if (read) {
        check_key(job, tb_buf_view(&signature));
    }
    tb_buf_release(&signature);
    return err;
}

static enum tb_err
load_manifest(struct verify_job *job, struct tb_fail *fail)
{
    struct tb_fail why = {0};
    bool read = false;
    enum tb_err err;

    if (verify_want(job, manifest_name) == NULL) {
        return TB_OK;
    }
    err = verify_read(job, manifest_name, &job->text, &read, fail);
    if (!read) {
        tb_buf_reset(&job->text);
        return err;
    }
    err = tb_sha256(tb_buf_view(&job->text), &job->out->sha256);
    if (err != TB_OK) {
        return tb_fail_set(fail, err, "SHA-256 of a manifest failed");
    }
    err = tb_manifest_read(tb_buf_view(&job->text), &job->manifest, &why);
    if (err == TB_OK) {
        job->is_known = true;
        if (!tb_capture_id_valid(job->name)) { /* else the folder's name tells where it is */
            (void)tb_str_copy(job->out->capture, sizeof(job->out->capture),
                              job->manifest.capture);
        }
        job->out->key = job->manifest.key;
    } else if (err == TB_EFORMAT || err == TB_ETOOBIG) {
        verify_report(job, manifest_name, "format", "%s", why.text);
        err = TB_OK;
    } else if (fail != NULL) {
        *fail = why;
    }
    return err;
}

/* --- the rest --- */

enum {
    SUMMARY_MAX_BYTES = 8 << 20 /* tapbox/summary.h; no alert is longer */
};

static size_t
alerts_and_summary(const struct tb_manifest *manifest)
{
    return manifest->alert_count + (manifest->has_summary ? 1 : 0);
}

static enum tb_err
check_alerts(struct verify_job *job, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(SUMMARY_MAX_BYTES);
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < alerts_and_summary(&job->manifest) && err == TB_OK; i++) {
        const struct tb_evidence_file *alert = &job->manifest.alerts[i];
        const struct verify_file *file = verify_want(job, alert->name);
        struct tb_sha256 sha256;
        bool read = false;

        if (file == NULL) {
            continue;
        }
        if (file->entry->bytes != alert->bytes) {
            verify_report(
                job, alert->name, "hash", "it has %llu octets, the manifest says %llu",
                (unsigned long long)file->entry->bytes, (unsigned long long)alert->bytes);
            continue;
        }
        tb_buf_reset(&text);
        err = verify_read(job, alert->name, &text, &read, fail);
        if (read) {
            err = tb_sha256(tb_buf_view(&text), &sha256);
        }
        if (read && err == TB_OK && memcmp(&sha256, &alert->sha256, sizeof(sha256)) != 0) {
            verify_report(job, alert->name, "hash",
                          "its SHA-256 is not the one in the manifest");
        }
    }
    tb_buf_release(&text);
    return err;
}

static void
check_ledger(struct verify_job *job)
{
    const struct tb_manifest *m = &job->manifest;
    int64_t residual = tb_ledger_residual(&m->ledger);

    if (residual != 0) {
        verify_report(job, manifest_name, "ledger",
                      "the ledger does not balance: %lld are left", (long long)residual);
    } else if (strcmp(m->complete, "yes") == 0 && m->ledger.written != job->out->packets) {
        verify_report(job, manifest_name, "ledger",
                      "it says complete, with %llu packets written and %llu in segments",
                      (unsigned long long)m->ledger.written,
                      (unsigned long long)job->out->packets);
    }
}

/* Appends the line of a small file as it is now. */
static void
add_sum_of(struct verify_job *job, struct tb_buf *out, const char *name)
{
    struct tb_buf text = TB_BUF_INIT(TB_CUSTODY_TEXT_MAX_BYTES);
    const struct verify_file *file = verify_find(job, name);
    struct tb_sha256 sha256 = {{0}};

    if (file == NULL || file->entry == NULL ||
        tb_place_read(job->place, file->entry, &text, NULL) != TB_OK ||
        tb_sha256(tb_buf_view(&text), &sha256) != TB_OK) {
        sha256 =
            (struct tb_sha256){{0}}; /* the line is excused: the file is told of elsewhere */
    }
    tb_sums_add(out, &sha256, name);
    tb_buf_release(&text);
}

/* The next line of `text`, its newline included. */
static struct tb_bytes
take_line(struct tb_bytes *text)
{
    const uint8_t *end = text->len == 0 ? NULL : memchr(text->at, '\n', text->len);
    size_t len = end == NULL ? text->len : (size_t)(end - text->at) + 1;
    struct tb_bytes line = tb_bytes_of(text->at, len);

    *text = tb_bytes_of(text->at + len, text->len - len);
    return line;
}

/* A line may differ for the file it is about, if that one was found to be wrong. */
static bool
is_excused(struct verify_job *job, struct tb_bytes expected)
{
    static const char *const names[] = {manifest_name, signature_name, "custody/0001.jsonl"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t len = strlen(names[i]) + 1;

        if (expected.len > len &&
            memcmp(expected.at + expected.len - len, names[i], len - 1) == 0) {
            return verify_is_reported(job, names[i]);
        }
    }
    return false;
}

static void
compare_sums(struct verify_job *job, struct tb_bytes expected, struct tb_bytes there)
{
    for (size_t line = 1; expected.len > 0 || there.len > 0; line++) {
        struct tb_bytes want = take_line(&expected);
        struct tb_bytes got = take_line(&there);

        if (!tb_bytes_equal(want, got) && !(want.len > 0 && is_excused(job, want))) {
            if (want.len == 0) {
                verify_report(job, sums_name, "sums", "line %zu is one too many", line);
            } else {
                verify_report(job, sums_name, "sums", "line %zu should be '%.*s'", line,
                              (int)want.len - 1, (const char *)want.at);
            }
            return;
        }
    }
}

static enum tb_err
check_sums(struct verify_job *job, struct tb_fail *fail)
{
    struct tb_buf expected = TB_BUF_INIT(TB_MANIFEST_MAX_BYTES);
    struct tb_buf there = TB_BUF_INIT(TB_MANIFEST_MAX_BYTES);
    const struct tb_manifest *m = &job->manifest;
    bool read = false;
    enum tb_err err;

    if (verify_want(job, sums_name) == NULL) {
        return TB_OK;
    }
    for (size_t i = 0; i < m->segment_count; i++) {
        tb_sums_add(&expected, &m->segments[i].sha256, m->segments[i].name);
    }
    for (size_t i = 0; i < alerts_and_summary(m); i++) {
        tb_sums_add(&expected, &m->alerts[i].sha256, m->alerts[i].name);
    }
    add_sum_of(job, &expected, "custody/0001.jsonl");
    tb_sums_add(&expected, &job->out->sha256, manifest_name);
    add_sum_of(job, &expected, signature_name);
    err = tb_buf_check(&expected, "the expected SHA256SUMS", fail);
    if (err == TB_OK) {
        err = verify_read(job, sums_name, &there, &read, fail);
    }
    if (read) {
        compare_sums(job, tb_buf_view(&expected), tb_buf_view(&there));
    }
    tb_buf_release(&there);
    tb_buf_release(&expected);
    return err;
}

enum tb_err
verify_begin(struct verify_job *job, struct tb_fail *fail)
{
    const struct tb_place_file *folder = tb_place_find(job->list, job->folder);
    const struct tb_manifest *m = &job->manifest;
    struct tb_verified *out = job->out;
    enum tb_err err;

    if (folder != NULL && folder->kind == TB_PLACE_OTHER) {
        verify_report(job, "", "format",
                      "it is a link, or no folder: what is behind it was not looked at");
        return TB_OK;
    }
    err = verify_list(job, fail);
    if (err == TB_OK) {
        err = load_manifest(job, fail);
    }
    if (err == TB_OK && job->text.len > 0) {
        err = check_manifest_signature(job, fail);
    }
    if (err != TB_OK || !job->is_known) {
        return err;
    }
    out->sequence = m->sequence;
    out->has_previous = m->has_previous;
    out->previous = m->previous;
    memcpy(out->host_log, m->host_log, sizeof(out->host_log));
    out->host_entries = m->host_entries;
    out->host_head = m->host_head;
    out->segments = m->segment_count;
    out->alerts = m->alert_count;
    memcpy(out->complete, m->complete, sizeof(out->complete));
    for (size_t i = 0; i < m->segment_count; i++) {
        (void)verify_find(job, m->segments[i].name); /* expected */
        out->packets += m->segments[i].packets;
        out->bytes += m->segments[i].bytes;
    }
    if (tb_capture_id_valid(job->name) && strcmp(job->name, m->capture) != 0) {
        verify_report(job, "", "name", "the folder is named %s, its manifest is that of %s",
                      job->name, m->capture);
    }
    err = verify_custody(job, fail);
    return err == TB_OK ? check_alerts(job, fail) : err;
}

enum tb_err
verify_end(struct verify_job *job, struct tb_fail *fail)
{
    enum tb_err err;

    if (!job->is_known) {
        return TB_OK;
    }
    check_ledger(job);
    err = check_sums(job, fail);
    if (err == TB_OK) {
        verify_tell_extra(job);
    }
    return err;
}

/* --- between captures --- */

static int
by_place(const void *a, const void *b)
{
    const struct tb_verified *one = a, *two = b;
    int keys = strcmp(one->key.text, two->key.text);

    if (keys != 0) {
        return keys;
    }
    if (one->sequence != two->sequence) {
        return one->sequence < two->sequence ? -1 : 1;
    }
    return strcmp(one->capture, two->capture);
}

static void
tell_chain(const struct tb_verify *verify, struct tb_verified *of, const char *text)
{
    struct tb_finding finding = {
        .capture = of->capture, .file = manifest_name, .kind = "chain", .text = text};

    of->findings++;
    verify->finding(verify->arg, &finding);
}

void
tb_verify_chain(const struct tb_verify *verify, struct tb_verified *list, size_t count)
{
    char text[256];

    if (count > 0) {
        qsort(list, count, sizeof(*list), by_place);
    }
    for (size_t i = 1; i < count; i++) {
        const struct tb_verified *before = &list[i - 1];

        if (!list[i].is_signed || !before->is_signed ||
            strcmp(list[i].key.text, before->key.text) != 0) {
            continue;
        }
        if (list[i].sequence == before->sequence) {
            (void)snprintf(text, sizeof(text),
                           "number %lld of its chain is here twice, also as %s",
                           (long long)list[i].sequence, before->capture);
            tell_chain(verify, &list[i], text);
        } else if (list[i].sequence == before->sequence + 1 &&
                   memcmp(&list[i].previous, &before->sha256, sizeof(before->sha256)) != 0) {
            (void)snprintf(text, sizeof(text),
                           "it does not name the manifest before it, which is that of %s",
                           before->capture);
            tell_chain(verify, &list[i], text);
        }
    }
}
