/* Keys, and the chain of manifests that each of them signs. */
#include "store_int.h"

#include <stdlib.h>

#include <tapbox/clock.h>

/* --- keys --- */

static enum tb_err
use_key_locked(struct tb_store *store, const char *fingerprint, const char *pem,
               struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(store, "UPDATE keys SET current = 0", &q, fail);

    if (err == TB_OK) {
        err = store_run_locked(&q, NULL, fail);
    }
    if (err == TB_OK) {
        err = store_open_locked(store,
                                "INSERT INTO keys (fingerprint, public_pem, first_used_utc_ns,"
                                " current) VALUES (?, ?, ?, 1)"
                                " ON CONFLICT (fingerprint) DO UPDATE SET current = 1",
                                &q, fail);
    }
    if (err == TB_OK) {
        store_bind_text(&q, fingerprint);
        store_bind_text(&q, pem);
        store_bind_int(&q, tb_clock_utc_ns());
        err = store_run_locked(&q, NULL, fail);
    }
    if (err == TB_OK) {
        struct tb_json *detail = tb_json_object();

        tb_json_set_str(detail, "key", fingerprint);
        tb_json_set_str(detail, "tool", "tapbox " TB_VERSION);
        err = store_host_note_locked(store, "started", NULL, detail, fail);
    }
    return err;
}

enum tb_err
tb_store_key_use(struct tb_store *store, const struct tb_public_key *key, struct tb_fail *fail)
{
    struct tb_buf pem = TB_BUF_INIT(TB_KEY_FILE_MAX_BYTES);
    struct tb_fingerprint fingerprint;
    enum tb_err err = tb_public_key_pem(key, &pem, fail);

    if (err != TB_OK) {
        goto out;
    }
    err = tb_public_key_fingerprint(key, &fingerprint);
    if (err != TB_OK) {
        err = tb_fail_set(fail, err, "SHA-256 of a public key failed");
        goto out;
    }
    store_lock(store, "key_use");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = use_key_locked(store, fingerprint.text, tb_buf_str(&pem), fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);

out:
    tb_buf_release(&pem);
    return err;
}

enum tb_err
tb_store_key_list(struct tb_store *store, struct tb_key_row **out, size_t *out_count,
                  struct tb_fail *fail)
{
    struct store_list list = {.item_bytes = sizeof(struct tb_key_row)};
    struct store_query q;
    bool row = false;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_open_locked(store,
                            "SELECT fingerprint, public_pem, first_used_utc_ns, current,"
                            " in_bucket FROM keys ORDER BY first_used_utc_ns, fingerprint",
                            &q, fail);
    if (err == TB_OK) {
        while ((err = store_step_locked(&q, &row, fail)) == TB_OK && row) {
            struct tb_key_row *key = store_list_add(&list);

            if (key == NULL) {
                err = tb_fail_set(fail, TB_ENOMEM, "no memory for keys");
                break;
            }
            store_text(&q, key->fingerprint.text, sizeof(key->fingerprint.text));
            store_text(&q, key->pem, sizeof(key->pem));
            key->first_used_utc_ns = store_int(&q);
            key->current = store_int(&q) != 0;
            key->in_bucket = store_int(&q) != 0;
        }
        if (err == TB_OK) {
            err = store_row_check(&q, fail);
        }
        store_close(&q);
    }
    tb_mutex_unlock(&store->mu);
    if (err != TB_OK) {
        free(list.at);
        return err;
    }
    *out = list.at;
    *out_count = list.count;
    return TB_OK;
}

enum tb_err
tb_store_key_in_bucket(struct tb_store *store, const char *fingerprint, struct tb_fail *fail)
{
    struct store_query q;
    int changed = 0;
    enum tb_err err;

    store_lock(store, "key_in_bucket");
    err = store_open_locked(store, "UPDATE keys SET in_bucket = 1 WHERE fingerprint = ?", &q,
                            fail);
    if (err == TB_OK) {
        store_bind_text(&q, fingerprint);
        err = store_run_locked(&q, &changed, fail);
    }
    tb_mutex_unlock(&store->mu);
    if (err == TB_OK && changed == 0) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "there is no key %s", fingerprint);
    }
    return err;
}

/* --- manifests --- */

/* *out_found tells whether the capture has one. */
static enum tb_err
read_manifest_locked(struct tb_store *store, const char *capture_id,
                     struct tb_manifest_row *out, struct tb_buf *out_body, bool *out_found,
                     struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct tb_bytes signature;
    struct store_query q;
    enum tb_err err = store_open_locked(store,
                                        "SELECT key, sequence, custody_number, sha256,"
                                        " signature, body FROM manifests WHERE capture_id = ?",
                                        &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, capture_id);
    err = store_step_locked(&q, out_found, fail);
    if (err == TB_OK && *out_found) {
        store_text(&q, out->key.text, sizeof(out->key.text));
        out->sequence = store_int(&q);
        out->custody_number = store_int(&q);
        store_sha256(&q, out->sha256.octets);
        signature = store_blob(&q);
        out->is_signed = signature.len == sizeof(out->signature.octets);
        if (out->is_signed) {
            memcpy(out->signature.octets, signature.at, signature.len);
        }
        tb_buf_put_bytes(out_body, store_blob(&q));
        err = store_row_check(&q, fail);
    }
    store_close(&q);
    return err == TB_OK ? tb_buf_check(out_body, "a manifest", fail) : err;
}

/* The last of a key's chain; sequence 0 when it has none. */
static enum tb_err
last_of_chain_locked(struct tb_store *store, const char *key, int64_t *out_sequence,
                     struct tb_sha256 *out_sha256, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    bool row = false;
    enum tb_err err = store_open_locked(store,
                                        "SELECT sequence, sha256 FROM manifests WHERE key = ?"
                                        " ORDER BY sequence DESC LIMIT 1",
                                        &q, fail);

    *out_sequence = 0;
    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, key);
    err = store_step_locked(&q, &row, fail);
    if (err == TB_OK && row) {
        *out_sequence = store_int(&q);
        store_sha256(&q, out_sha256->octets);
        err = store_row_check(&q, fail);
    }
    store_close(&q);
    return err;
}

static enum tb_err
insert_manifest_locked(struct tb_store *store, const char *capture_id,
                       const struct tb_manifest_row *m, struct tb_bytes body,
                       struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(store,
                                        "INSERT INTO manifests (capture_id, key, sequence,"
                                        " custody_number, body, sha256)"
                                        " VALUES (?, ?, ?, ?, ?, ?)",
                                        &q, fail);

    if (err == TB_OK) {
        store_bind_text(&q, capture_id);
        store_bind_text(&q, m->key.text);
        store_bind_int(&q, m->sequence);
        store_bind_int(&q, m->custody_number);
        store_bind_blob(&q, body);
        store_bind_blob(&q, tb_bytes_of(m->sha256.octets, sizeof(m->sha256.octets)));
        err = store_run_locked(&q, NULL, fail);
    }
    if (err == TB_OK) {
        err = store_open_locked(store,
                                "INSERT INTO custody_objects (log_id, number, first, last)"
                                " VALUES (?, 1, 1, ?)",
                                &q, fail);
    }
    if (err == TB_OK) {
        store_bind_text(&q, capture_id);
        store_bind_int(&q, m->custody_number);
        err = store_run_locked(&q, NULL, fail);
    }
    return err;
}

static enum tb_err
make_manifest_locked(struct tb_store *store, const char *capture_id, const char *key,
                     tb_manifest_body_fn *body, void *arg, struct tb_manifest_row *out,
                     struct tb_buf *out_body, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct tb_manifest_place place = {.key = key};
    size_t begin = out_body->len;
    struct tb_sha256 before;
    struct tb_bytes text;
    bool found = false;
    enum tb_err err = store_capture_exists_locked(store, capture_id, fail);

    if (err == TB_OK) {
        err = read_manifest_locked(store, capture_id, out, out_body, &found, fail);
    }
    if (err != TB_OK || found) {
        return err;
    }
    err = store_custody_head_locked(store, capture_id, &place.custody, fail);
    if (err == TB_OK && place.custody.number == 0) {
        /* the capture began under a tapbox that kept no log */
        err = store_custody_add_locked(store, capture_id, "log_begun", NULL, NULL, fail);
        if (err == TB_OK) {
            err = store_custody_head_locked(store, capture_id, &place.custody, fail);
        }
    }
    if (err == TB_OK) {
        err = store_host_log_locked(store, place.host_log, fail);
    }
    if (err == TB_OK) {
        err = store_custody_head_locked(store, place.host_log, &place.host, fail);
    }
    if (err == TB_OK) {
        err = last_of_chain_locked(store, key, &place.sequence, &before, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    place.before = place.sequence > 0 ? &before : NULL;
    place.sequence++;
    err = body(arg, &place, out_body, fail);
    if (err != TB_OK) {
        return err;
    }
    text = tb_bytes_of(out_body->at + begin, out_body->len - begin);
    *out = (struct tb_manifest_row){.sequence = place.sequence,
                                    .custody_number = place.custody.number};
    (void)tb_str_copy(out->key.text, sizeof(out->key.text), key);
    err = tb_sha256(text, &out->sha256);
    if (err != TB_OK) {
        return tb_fail_set(fail, err, "SHA-256 of a manifest failed");
    }
    return insert_manifest_locked(store, capture_id, out, text, fail);
}

enum tb_err
tb_store_manifest_make(struct tb_store *store, const char *capture_id, const char *key,
                       tb_manifest_body_fn *body, void *arg, struct tb_manifest_row *out,
                       struct tb_buf *out_body, struct tb_fail *fail)
{
    struct tb_manifest_row made = {0};
    size_t before = out_body->len;
    enum tb_err err;

    store_lock(store, "manifest_make");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = make_manifest_locked(store, capture_id, key, body, arg, &made, out_body, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    if (err == TB_OK) {
        *out = made;
    } else {
        out_body->len = before;
    }
    return err;
}

static struct tb_json *
describe_manifest(const struct tb_manifest_row *row)
{
    struct tb_json *detail = tb_json_object();

    tb_json_set_str(detail, "key", row->key.text);
    tb_json_set_int(detail, "sequence", row->sequence);
    store_set_sha256(detail, "sha256", row->sha256.octets);
    return detail;
}

static enum tb_err
sign_manifest_locked(struct tb_store *store, const char *capture_id,
                     const struct tb_signature *signature, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct tb_buf body = TB_BUF_INIT(SIZE_MAX);
    struct tb_manifest_row row = {0};
    struct store_query q;
    bool found = false;
    enum tb_err err = read_manifest_locked(store, capture_id, &row, &body, &found, fail);

    tb_buf_release(&body);
    if (err != TB_OK) {
        return err;
    }
    if (!found) {
        return tb_fail_set(fail, TB_ENOTFOUND, "capture %s has no manifest", capture_id);
    }
    if (row.is_signed) {
        return memcmp(&row.signature, signature, sizeof(*signature)) == 0
                   ? TB_OK
                   : tb_fail_set(fail, TB_EEXIST,
                                 "the manifest of %s has another signature already",
                                 capture_id);
    }
    err = store_open_locked(store, "UPDATE manifests SET signature = ? WHERE capture_id = ?",
                            &q, fail);
    if (err != TB_OK) {
        return err;
    }
    store_bind_blob(&q, tb_bytes_of(signature->octets, sizeof(signature->octets)));
    store_bind_text(&q, capture_id);
    err = store_run_locked(&q, NULL, fail);
    if (err != TB_OK) {
        return err;
    }
    err = store_custody_add_locked(store, capture_id, "manifest_signed", NULL,
                                   describe_manifest(&row), fail);
    if (err == TB_OK) {
        struct tb_json *detail = describe_manifest(&row);

        tb_json_set_str(detail, "capture", capture_id);
        err = store_host_note_locked(store, "manifest_signed", NULL, detail, fail);
    }
    return err;
}

enum tb_err
tb_store_manifest_signed(struct tb_store *store, const char *capture_id,
                         const struct tb_signature *signature, struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, "manifest_signed");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = sign_manifest_locked(store, capture_id, signature, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}
