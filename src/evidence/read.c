/* Reading manifests and custody logs that somebody else may have written. */
#include <tapbox/verify.h>

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/clock.h>
#include <tapbox/ids.h>
#include <tapbox/json.h>
#include <tapbox/store.h>

static enum tb_err
wrong(struct tb_fail *fail, const char *member)
{
    return tb_fail_set(fail, TB_EFORMAT, "the member %s is missing or not what it has to be",
                       member);
}

static bool
read_digest(const struct tb_json *node, const char *pointer, struct tb_sha256 *out)
{
    const char *hex = tb_json_str(node, pointer);

    /* upper case would be another spelling of the same: there is only one */
    return hex != NULL && strspn(hex, "0123456789abcdef") == TB_SHA256_HEX_SIZE - 1 &&
           tb_unhex(out->octets, sizeof(out->octets), hex) == TB_OK;
}

static bool
read_count(const struct tb_json *node, const char *pointer, uint64_t *out)
{
    int64_t value;

    if (!tb_json_int(node, pointer, &value) || value < 0) {
        return false;
    }
    *out = (uint64_t)value;
    return true;
}

/* --- the manifest --- */

static bool
valid_segment_name(const char *name)
{
    static const char prefix[] = "segments/", suffix[] = ".pcapng.zst";
    size_t len = strlen(name);

    if (len >= TB_EVIDENCE_NAME_SIZE || strncmp(name, prefix, strlen(prefix)) != 0) {
        return false;
    }
    name += strlen(prefix);
    len = strlen(name);
    return len > strlen(suffix) && strcmp(name + len - strlen(suffix), suffix) == 0 &&
           name[0] != '.' &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_") ==
               len;
}

static bool
read_segment(const struct tb_json *node, struct tb_evidence_file *out)
{
    const char *name = tb_json_str(node, "/name");

    if (name == NULL || !valid_segment_name(name) || !read_count(node, "/bytes", &out->bytes) ||
        !read_count(node, "/packets", &out->packets) ||
        !read_digest(node, "/sha256", &out->sha256)) {
        return false;
    }
    (void)tb_str_copy(out->name, sizeof(out->name), name);
    out->first_utc_ns = tb_json_time(node, "/first_packet");
    out->last_utc_ns = tb_json_time(node, "/last_packet");
    out->has_root = !tb_json_is_null(tb_json_at(node, "/merkle_root"));
    return !out->has_root || read_digest(node, "/merkle_root", &out->merkle_root);
}

static enum tb_err
read_segments(const struct tb_json *root, struct tb_manifest *m, struct tb_fail *fail)
{
    const struct tb_json *list = tb_json_at(root, "/segments");
    size_t count = tb_json_count(list);

    if (!tb_json_is_array(list)) {
        return wrong(fail, "segments");
    }
    m->segments = calloc(count + 1, sizeof(*m->segments));
    if (m->segments == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for %zu segments", count);
    }
    for (; m->segment_count < count; m->segment_count++) {
        struct tb_evidence_file *file = &m->segments[m->segment_count];

        if (!read_segment(tb_json_item(list, m->segment_count), file) ||
            (m->segment_count > 0 && strcmp(file[-1].name, file->name) >= 0)) {
            return wrong(fail, "segments (one of them, or their order)");
        }
    }
    return TB_OK;
}

static enum tb_err
read_alerts(const struct tb_json *root, struct tb_manifest *m, struct tb_fail *fail)
{
    const struct tb_json *list = tb_json_at(root, "/alerts");
    size_t count = tb_json_count(list);

    if (!tb_json_is_array(list) || count > TB_CAPTURE_MAX_ALERTS) {
        return wrong(fail, "alerts");
    }
    m->alerts = calloc(count + 2, sizeof(*m->alerts));
    if (m->alerts == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for %zu alerts", count);
    }
    for (; m->alert_count < count; m->alert_count++) {
        const struct tb_json *node = tb_json_item(list, m->alert_count);
        struct tb_evidence_file *file = &m->alerts[m->alert_count];
        const char *name = tb_json_str(node, "/name");

        (void)snprintf(file->name, sizeof(file->name), "alerts/%04zu.json", m->alert_count + 1);
        if (name == NULL || strcmp(name, file->name) != 0 ||
            !read_count(node, "/bytes", &file->bytes) ||
            !read_digest(node, "/sha256", &file->sha256)) {
            return wrong(fail, "alerts (one of them, or their order)");
        }
    }
    return TB_OK;
}

/* Behind the alerts; evidence of before has none. */
static enum tb_err
read_summary(const struct tb_json *root, struct tb_manifest *m, struct tb_fail *fail)
{
    struct tb_evidence_file *file = &m->alerts[m->alert_count];
    const char *name = tb_json_str(root, "/summary/name");

    if (tb_json_at(root, "/summary") == NULL) {
        return TB_OK;
    }
    if (name == NULL || strcmp(name, "summary.json") != 0 ||
        !read_count(root, "/summary/bytes", &file->bytes) ||
        !read_digest(root, "/summary/sha256", &file->sha256)) {
        return wrong(fail, "summary");
    }
    (void)tb_str_copy(file->name, sizeof(file->name), name);
    m->has_summary = true;
    return TB_OK;
}

static bool
read_ledger(const struct tb_json *root, struct tb_ledger *out)
{
    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        char pointer[64];
        uint64_t value;

        (void)snprintf(pointer, sizeof(pointer), "/ledger/%s", tb_ledger_fields[i].name);
        if (!read_count(root, pointer, &value)) {
            return false;
        }
        tb_ledger_set(out, i, value);
    }
    return true;
}

/* Evidence of before has none. */
static bool
read_host_log(const struct tb_json *root, struct tb_manifest *m)
{
    const char *log = tb_json_str(root, "/custody/host/log");

    if (tb_json_at(root, "/custody/host") == NULL) {
        return true;
    }
    return log != NULL && tb_log_id_valid(log) &&
           tb_str_copy(m->host_log, sizeof(m->host_log), log) &&
           tb_json_int(root, "/custody/host/entries", &m->host_entries) &&
           m->host_entries >= 0 && read_digest(root, "/custody/host/head", &m->host_head);
}

static enum tb_err
read_place(const struct tb_json *root, struct tb_manifest *m, struct tb_fail *fail)
{
    const char *capture = tb_json_str(root, "/capture");
    const char *format = tb_json_str(root, "/format");
    struct tb_sha256 fingerprint;

    if (format == NULL || strcmp(format, "tapbox-manifest/1") != 0) {
        return wrong(fail, "format");
    }
    if (capture == NULL || !tb_capture_id_valid(capture)) {
        return wrong(fail, "capture");
    }
    (void)tb_str_copy(m->capture, sizeof(m->capture), capture);
    if (!read_digest(root, "/chain/key", &fingerprint)) {
        return wrong(fail, "chain.key");
    }
    tb_sha256_hex(m->key.text, &fingerprint);
    if (!tb_json_int(root, "/chain/sequence", &m->sequence) || m->sequence < 1) {
        return wrong(fail, "chain.sequence");
    }
    m->has_previous = !tb_json_is_null(tb_json_at(root, "/chain/previous"));
    if (m->has_previous != (m->sequence > 1) ||
        (m->has_previous && !read_digest(root, "/chain/previous", &m->previous))) {
        return wrong(fail, "chain.previous");
    }
    if (!tb_json_int(root, "/custody/entries", &m->custody_entries) || m->custody_entries < 1 ||
        !read_digest(root, "/custody/head", &m->custody_head)) {
        return wrong(fail, "custody");
    }
    return read_host_log(root, m) ? TB_OK : wrong(fail, "custody.host");
}

static enum tb_err
read_manifest(const struct tb_json *root, struct tb_manifest *m, struct tb_fail *fail)
{
    const char *complete = tb_json_str(root, "/completeness/complete");
    enum tb_err err = read_place(root, m, fail);

    if (err == TB_OK) {
        err = read_segments(root, m, fail);
    }
    if (err == TB_OK) {
        err = read_alerts(root, m, fail);
    }
    if (err == TB_OK) {
        err = read_summary(root, m, fail);
    }
    if (err == TB_OK && !read_ledger(root, &m->ledger)) {
        err = wrong(fail, "ledger");
    }
    if (err == TB_OK &&
        (complete == NULL || (strcmp(complete, "yes") != 0 && strcmp(complete, "no") != 0 &&
                              strcmp(complete, "unknown") != 0))) {
        err = wrong(fail, "completeness.complete");
    }
    if (err == TB_OK) {
        (void)tb_str_copy(m->complete, sizeof(m->complete), complete);
    }
    return err;
}

enum tb_err
tb_manifest_read(struct tb_bytes text, struct tb_manifest *out, struct tb_fail *fail)
{
    struct tb_manifest manifest = {.capture = ""};
    struct tb_json *root = NULL;
    enum tb_err err = tb_json_parse_max(text, TB_MANIFEST_MAX_BYTES, &root, fail);

    if (err == TB_OK) {
        err = read_manifest(root, &manifest, fail);
    }
    tb_json_free(root);
    if (err == TB_OK) {
        *out = manifest;
    } else {
        tb_manifest_release(&manifest);
    }
    return err;
}

void
tb_manifest_release(struct tb_manifest *manifest)
{
    free(manifest->segments);
    free(manifest->alerts);
    manifest->segments = manifest->alerts = NULL;
    manifest->segment_count = manifest->alert_count = 0;
}

/* --- the custody log --- */

void
tb_custody_reader_init(struct tb_custody_reader *reader, const char *log)
{
    *reader = (struct tb_custody_reader){.entries = 0};
    (void)tb_str_copy(reader->log, sizeof(reader->log), log);
}

/* Why this entry cannot follow; NULL when it does. */
static const char *
breach(const struct tb_custody_reader *reader, const struct tb_json *entry)
{
    bool is_host = tb_log_id_valid(reader->log);
    const char *log = tb_json_str(entry, is_host ? "/log" : "/capture");
    const char *time = tb_json_str(entry, "/time");
    struct tb_sha256 before;
    int64_t number, utc_ns;

    if (log == NULL || strcmp(log, reader->log) != 0) {
        return is_host ? "is of another log" : "is of another capture";
    }
    if (!tb_json_int(entry, "/n", &number) || number != reader->entries + 1) {
        return "has not the number that follows";
    }
    if (!read_digest(entry, "/prev", &before) ||
        memcmp(&before, &reader->head, sizeof(before)) != 0) {
        return "does not follow from the entry before it, as its hash says";
    }
    if (tb_json_str(entry, "/act") == NULL || tb_json_str(entry, "/who") == NULL ||
        time == NULL || tb_time_parse(time, &utc_ns) != TB_OK) {
        return "lacks act, who or time";
    }
    return NULL;
}

static enum tb_err
read_entry(struct tb_custody_reader *reader, struct tb_bytes line, struct tb_fail *fail)
{
    struct tb_json *entry = NULL;
    struct tb_sha256 hash;
    const char *why;
    enum tb_err err = tb_json_parse_max(line, TB_CUSTODY_LINE_MAX, &entry, fail);

    if (err == TB_OK) {
        why = breach(reader, entry);
        if (why != NULL) {
            err = tb_fail_set(fail, TB_EFORMAT, "it %s", why);
        }
    }
    if (err == TB_OK) {
        err = tb_sha256(line, &hash);
        if (err != TB_OK) {
            (void)tb_fail_set(fail, err, "SHA-256 of a custody entry failed");
        }
    }
    if (err == TB_OK) {
        reader->entries++;
        reader->head = hash;
        if (reader->entry != NULL) {
            reader->entry(reader->arg, reader, entry);
        }
    }
    tb_json_free(entry);
    return err;
}

enum tb_err
tb_custody_read(struct tb_custody_reader *reader, struct tb_bytes text, struct tb_fail *fail)
{
    size_t line = 0;

    if (text.len == 0) {
        return tb_fail_set(fail, TB_EFORMAT, "it is empty");
    }
    while (text.len > 0) {
        const uint8_t *end = memchr(text.at, '\n', text.len);
        size_t len;
        enum tb_err err;

        line++;
        if (end == NULL) {
            return tb_fail_set(fail, TB_EFORMAT, "line %zu is cut off", line);
        }
        len = (size_t)(end - text.at);
        err = read_entry(reader, tb_bytes_of(text.at, len), fail);
        if (err != TB_OK) {
            tb_fail_prefix(fail, "line %zu", line);
            if (err == TB_ETOOBIG) { /* longer or deeper than any entry */
                err = TB_EFORMAT;
                if (fail != NULL) {
                    fail->err = err;
                }
            }
            return err;
        }
        text = tb_bytes_of(end + 1, text.len - len - 1);
    }
    return TB_OK;
}
