/*
 * What closes a capture's evidence: the manifest in its place in the chain, its signature, the
 * custody log, SHA256SUMS.
 *
 * The manifest's octets are committed in the store before they are signed, and signed before
 * anything that depends on them leaves.  Whatever is repeated after a crash is therefore the
 * same, octet for octet.
 */
#include <tapbox/evidence.h>

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/verify.h>

enum {
    MANIFEST_CEILING = 64 << 20,
    SUMMARY_CEILING = 8 << 20, /* tapbox/summary.h */
    NAME_SIZE = 160
};

static enum tb_err
body(void *arg, const struct tb_manifest_place *place, struct tb_buf *out, struct tb_fail *fail)
{
    return tb_manifest_build(arg, place, out, fail);
}

/* An alert's octets as they came, and what the manifest says of them. */
static enum tb_err
load_alert(struct tb_store *store, const char *capture_id, uint32_t number,
           struct tb_manifest_alert *out, struct tb_buf *out_body, struct tb_fail *fail)
{
    enum tb_err err;

    tb_buf_reset(out_body);
    err = tb_store_alert(store, capture_id, number, &out->row, out_body, fail);
    if (err == TB_OK) {
        out->bytes = out_body->len;
        err = tb_sha256(tb_buf_view(out_body), &out->sha256);
        if (err != TB_OK) {
            (void)tb_fail_set(fail, err, "SHA-256 of an alert failed");
        }
    }
    return err;
}

static enum tb_err
load_alerts(const struct tb_seal *seal, struct tb_manifest_input *input,
            struct tb_manifest_alert **out, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    uint32_t count = seal->input.capture->alert_count;
    struct tb_manifest_alert *alerts = calloc((size_t)count + 1, sizeof(*alerts));
    enum tb_err err = TB_OK;

    if (alerts == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the alerts of a capture");
    }
    for (uint32_t i = 0; i < count && err == TB_OK; i++) {
        err = load_alert(seal->store, seal->input.capture->id, i + 1, &alerts[i], &text, fail);
    }
    tb_buf_release(&text);
    if (err != TB_OK) {
        free(alerts);
        return err;
    }
    input->alerts = alerts;
    input->alert_count = count;
    *out = alerts; /* the caller owns them */
    return TB_OK;
}

static enum tb_err
has_key(const struct tb_signing_key *key, struct tb_fail *fail)
{
    return key != NULL ? TB_OK
                       : tb_fail_set(fail, TB_ESTATE,
                                     "there is no key that evidence is signed "
                                     "with (evidence.key_file)");
}

/* The same key always gives the same signature, so that a crash between the two commits does
 * not matter; another key must not sign what names the first. */
static enum tb_err
sign(const struct tb_seal *seal, struct tb_bytes text, struct tb_manifest_row *row,
     struct tb_fail *fail)
{
    const char *id = seal->input.capture->id;
    enum tb_err err;

    if (row->is_signed) {
        return TB_OK;
    }
    if (strcmp(row->key.text, tb_signing_key_fingerprint(seal->key)) != 0) {
        return tb_fail_set(
            fail, TB_EDENIED,
            "the manifest of %s was begun with key %s, which is not the one that "
            "is configured: put it back until this capture is sealed",
            id, row->key.text);
    }
    err = tb_sign(seal->key, text, &row->signature, fail);
    if (err == TB_OK) {
        err = tb_store_manifest_signed(seal->store, id, &row->signature, fail);
    }
    return err;
}

/* Goes on behind those that are there already: there may be thousands, and an S3 that fails in
 * between. */
static enum tb_err
put_alerts(const struct tb_seal *seal, struct tb_fail *fail)
{
    const char *id = seal->input.capture->id;
    struct tb_buf text = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_manifest_alert alert;
    char name[NAME_SIZE];
    uint32_t there = 0;
    enum tb_err err = tb_store_alerts_uploaded(seal->store, id, &there, fail);

    for (uint32_t n = there + 1; n <= seal->input.capture->alert_count && err == TB_OK; n++) {
        err = load_alert(seal->store, id, n, &alert, &text, fail);
        if (err == TB_OK) {
            (void)snprintf(name, sizeof(name), "alerts/%04u.json", n);
            err = seal->put(seal->arg, name, "application/json", tb_buf_view(&text), fail);
        }
        if (err == TB_OK) {
            err = tb_store_alert_uploaded(seal->store, id, n, fail);
        }
    }
    tb_buf_release(&text);
    return err;
}

static void
add_sum_of(struct tb_buf *sums, struct tb_bytes content, const char *name)
{
    struct tb_sha256 sha256;

    if (tb_sha256(content, &sha256) == TB_OK) {
        tb_sums_add(sums, &sha256, name);
    } else if (sums->err == TB_OK) {
        sums->err = TB_EINTERNAL;
    }
}

/* In this order, always: segments, alerts, summary.json, custody/0001.jsonl, manifest.json,
 * manifest.sig. */
static enum tb_err
write_sums(const struct tb_seal *seal, const struct tb_manifest_input *input,
           const struct tb_manifest_row *row, struct tb_buf *out, struct tb_fail *fail)
{
    struct tb_buf log = TB_BUF_INIT(TB_CUSTODY_MAX_BYTES);
    struct tb_sha256 sha256;
    char name[NAME_SIZE];
    enum tb_err err;

    for (size_t i = 0; i < input->segment_count; i++) {
        if (tb_segment_is_lost(&input->segments[i])) {
            continue;
        }
        memcpy(sha256.octets, input->segments[i].sha256, sizeof(sha256.octets));
        (void)snprintf(name, sizeof(name), "segments/%s", input->segments[i].name);
        tb_sums_add(out, &sha256, name);
    }
    for (size_t i = 0; i < input->alert_count; i++) {
        (void)snprintf(name, sizeof(name), "alerts/%04u.json", input->alerts[i].row.number);
        tb_sums_add(out, &input->alerts[i].sha256, name);
    }
    if (input->summary.len > 0) {
        add_sum_of(out, input->summary, "summary.json");
    }
    err = tb_store_custody_text(seal->store, input->capture->id, 1, row->custody_number, &log,
                                fail);
    if (err == TB_OK) {
        add_sum_of(out, tb_buf_view(&log), "custody/0001.jsonl");
        tb_sums_add(out, &row->sha256, "manifest.json");
        add_sum_of(out, tb_bytes_of(row->signature.octets, sizeof(row->signature.octets)),
                   "manifest.sig");
        err = tb_buf_check(out, "SHA256SUMS", fail);
    }
    tb_buf_release(&log);
    return err;
}

static enum tb_err
put_all(const struct tb_seal *seal, const struct tb_manifest_input *input,
        const struct tb_manifest_row *row, struct tb_bytes manifest, struct tb_fail *fail)
{
    struct tb_buf sums = TB_BUF_INIT(MANIFEST_CEILING);
    enum tb_err err = put_alerts(seal, fail);

    if (err == TB_OK && input->summary.len > 0) {
        err = seal->put(seal->arg, "summary.json", "application/json", input->summary, fail);
    }
    if (err == TB_OK) {
        err = seal->put(seal->arg, "manifest.json", "application/json", manifest, fail);
    }
    if (err == TB_OK) {
        err =
            seal->put(seal->arg, "manifest.sig", "application/octet-stream",
                      tb_bytes_of(row->signature.octets, sizeof(row->signature.octets)), fail);
    }
    if (err == TB_OK) {
        err = tb_seal_custody(seal->store, seal->key, input->capture->id, seal->put, seal->arg,
                              fail);
    }
    if (err == TB_OK) {
        err = write_sums(seal, input, row, &sums, fail);
    }
    if (err == TB_OK) {
        err = tb_seal_host_log(seal->store, seal->key, seal->put, seal->arg, fail);
        /* something else lies where it belongs (a store from a backup): the uploader goes on
         * telling that, and it is no fault of this capture */
        err = err == TB_EEXIST ? TB_OK : err;
    }
    /* Last, so that a complete SHA256SUMS says that everything else is there. */
    if (err == TB_OK) {
        err = seal->put(seal->arg, "SHA256SUMS", "text/plain", tb_buf_view(&sums), fail);
    }
    tb_buf_release(&sums);
    return err;
}

/* A manifest that was committed before there was a summary does not name it: nothing would
 * vouch for it. */
static enum tb_err
leave_out_unnamed(struct tb_manifest_input *input, struct tb_bytes text, struct tb_fail *fail)
{
    struct tb_manifest manifest;
    enum tb_err err;

    if (input->summary.len == 0) {
        return TB_OK;
    }
    err = tb_manifest_read(text, &manifest, fail);
    if (err == TB_OK) {
        if (!manifest.has_summary) {
            input->summary.len = 0;
        }
        tb_manifest_release(&manifest);
    }
    return err;
}

enum tb_err
tb_seal(const struct tb_seal *seal, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(MANIFEST_CEILING);
    struct tb_manifest_input input = seal->input;
    struct tb_manifest_alert *alerts = NULL;
    struct tb_buf summary = TB_BUF_INIT(SUMMARY_CEILING);
    struct tb_manifest_row row;
    enum tb_err err = has_key(seal->key, fail);

    if (err == TB_OK) {
        err = load_alerts(seal, &input, &alerts, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    err = tb_store_summary_get(seal->store, input.capture->id, &summary, fail);
    if (err != TB_OK && err != TB_ENOTFOUND) {
        goto out;
    }
    input.summary = tb_buf_view(&summary);
    err = tb_store_manifest_make(seal->store, input.capture->id,
                                 tb_signing_key_fingerprint(seal->key), body, &input, &row,
                                 &text, fail);
    if (err == TB_OK) {
        err = leave_out_unnamed(&input, tb_buf_view(&text), fail);
    }
    if (err == TB_OK) {
        err = sign(seal, tb_buf_view(&text), &row, fail);
    }
    if (err == TB_OK) {
        err = put_all(seal, &input, &row, tb_buf_view(&text), fail);
    }

out:
    free(alerts);
    tb_buf_release(&summary);
    tb_buf_release(&text);
    return err;
}

struct log { /* a custody log on its way to S3 */
    struct tb_store *store;
    const struct tb_signing_key *key;
    const char *id;
    const char *folder;
    unsigned first_signed; /* the manifest vouches for what is before it */
    tb_seal_put_fn *put;
    void *arg;
};

static enum tb_err
put_log_signature(const struct log *log, const struct tb_custody_object *object,
                  struct tb_bytes text, struct tb_fail *fail)
{
    struct tb_signature signature = object->signature;
    char name[NAME_SIZE];
    enum tb_err err = TB_OK;

    if (!object->is_signed) {
        err = tb_sign(log->key, text, &signature, fail);
        if (err == TB_OK) {
            err =
                tb_store_custody_signed(log->store, log->id, object->number, &signature, fail);
        }
    }
    if (err == TB_OK) {
        (void)snprintf(name, sizeof(name), "%s/%04u.sig", log->folder, object->number);
        err = log->put(log->arg, name, "application/octet-stream",
                       tb_bytes_of(signature.octets, sizeof(signature.octets)), fail);
    }
    return err;
}

static enum tb_err
put_log_object(const struct log *log, const struct tb_custody_object *object,
               struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_CUSTODY_MAX_BYTES);
    char name[NAME_SIZE];
    enum tb_err err =
        tb_store_custody_text(log->store, log->id, object->first, object->last, &text, fail);

    if (err == TB_OK) {
        (void)snprintf(name, sizeof(name), "%s/%04u.jsonl", log->folder, object->number);
        err = log->put(log->arg, name, "application/jsonl", tb_buf_view(&text), fail);
    }
    if (err == TB_OK && object->number >= log->first_signed) {
        err = put_log_signature(log, object, tb_buf_view(&text), fail);
    }
    if (err == TB_OK) {
        err = tb_store_custody_uploaded(log->store, log->id, object->number, fail);
    }
    tb_buf_release(&text);
    return err;
}

/* Up to where the log is now: what comes meanwhile is for the next time, or alerts that come
 * faster than S3 answers would hold up whoever seals for as long as they last.  The first
 * object with room left may have been fixed before; the second was fixed in here. */
static enum tb_err
put_log(const struct log *log, struct tb_fail *fail)
{
    struct tb_custody_object object;
    unsigned with_room = 0;
    enum tb_err err = TB_OK;

    while (with_room < 2 &&
           (err = tb_store_custody_next(log->store, log->id, &object, fail)) == TB_OK) {
        err = put_log_object(log, &object, fail);
        if (err != TB_OK) {
            return err;
        }
        with_room += object.last - object.first + 1 < TB_CUSTODY_OBJECT_ENTRIES;
    }
    return err == TB_ENOTFOUND ? TB_OK : err;
}

enum tb_err
tb_seal_custody(struct tb_store *store, const struct tb_signing_key *key,
                const char *capture_id, tb_seal_put_fn *put, void *arg, struct tb_fail *fail)
{
    const struct log log = {store, key, capture_id, "custody", 2, put, arg};
    enum tb_err err = has_key(key, fail);

    return err == TB_OK ? put_log(&log, fail) : err;
}

enum tb_err
tb_seal_host_log(struct tb_store *store, const struct tb_signing_key *key, tb_seal_put_fn *put,
                 void *arg, struct tb_fail *fail)
{
    char id[TB_CAPTURE_ID_SIZE], folder[NAME_SIZE];
    const struct log log = {store, key, id, folder, 1, put, arg};
    enum tb_err err = has_key(key, fail);

    if (err == TB_OK) {
        err = tb_store_host_log(store, id, fail);
    }
    (void)snprintf(folder, sizeof(folder), "/custody/%s", err == TB_OK ? id : "");
    return err == TB_OK ? put_log(&log, fail) : err;
}
