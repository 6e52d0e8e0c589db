/* Segments: what lies in the spool, what S3 has acknowledged. */
#include "store_int.h"

#include <stdlib.h>

static bool
is_known(const uint8_t *sha256)
{
    static const uint8_t zeros[TB_SHA256_SIZE];

    return memcmp(sha256, zeros, sizeof(zeros)) != 0;
}

/* Nothing of it could be read. */
static bool
is_unreadable(const struct tb_segment_row *segment)
{
    return segment->damage[0] != '\0' && !segment->local;
}

/* What the file is, and what the disk did not give of it. */
static enum tb_err
note_file_locked(struct tb_store *store, const struct tb_segment_row *segment, const char *act,
                 struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct tb_json *detail = tb_json_object();

    tb_json_set_str(detail, "name", segment->name);
    tb_json_set_int(detail, "bytes", (int64_t)segment->bytes);
    tb_json_set_int(detail, "packets", (int64_t)segment->packets);
    if (is_known(segment->sha256)) {
        store_set_sha256(detail, "sha256", segment->sha256);
    }
    if (is_known(segment->merkle_root)) {
        store_set_sha256(detail, "merkle_root", segment->merkle_root);
    }
    if (segment->recovered) {
        tb_json_set_bool(detail, "recovered", true);
    }
    if (segment->damage[0] != '\0') {
        tb_json_set_str(detail, "damage", segment->damage);
        tb_json_set_int(detail, "missing_packets", (int64_t)segment->missing_packets);
    }
    return store_custody_add_locked(store, segment->capture_id, act, NULL, detail, fail);
}

/* In the order of the statements below. */
static void
bind_file(struct store_query *q, const struct tb_segment_row *segment)
{
    store_bind_int(q, (int64_t)segment->bytes);
    store_bind_int(q, (int64_t)segment->packets);
    store_bind_int(q, segment->first_utc_ns);
    store_bind_int(q, segment->last_utc_ns);
    store_bind_int(q, segment->recovered);
    store_bind_blob(q, tb_bytes_of(segment->sha256, sizeof(segment->sha256)));
    if (is_known(segment->merkle_root)) {
        store_bind_blob(q, tb_bytes_of(segment->merkle_root, sizeof(segment->merkle_root)));
    } else {
        store_bind_text_or_null(q, ""); /* not known */
    }
    store_bind_int(q, !is_unreadable(segment));
    store_bind_text(q, segment->damage);
    store_bind_int(q, (int64_t)segment->missing_packets);
}

static enum tb_err
add_locked(struct tb_store *store, const struct tb_segment_row *segment, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    int changed = 0;
    enum tb_err err = store_capture_exists_locked(store, segment->capture_id, fail);

    if (err == TB_OK) {
        err = store_open_locked(store,
                                "INSERT INTO segments (capture_id, name, state, bytes, packets,"
                                " first_utc_ns, last_utc_ns, recovered, sha256, merkle_root,"
                                " local, damage, missing_packets)"
                                " VALUES (?, ?, 'spooled', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                                " ON CONFLICT (capture_id, name) DO NOTHING",
                                &q, fail);
    }
    if (err == TB_OK) {
        store_bind_text(&q, segment->capture_id);
        store_bind_text(&q, segment->name);
        bind_file(&q, segment);
        err = store_run_locked(&q, &changed, fail);
    }
    if (err != TB_OK || changed == 0) {
        return err;
    }
    return note_file_locked(
        store, segment, is_unreadable(segment) ? "segment_unreadable" : "segment_sealed", fail);
}

enum tb_err
tb_store_segment_add(struct tb_store *store, const struct tb_segment_row *segment,
                     struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, "segment_add");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = add_locked(store, segment, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

static enum tb_err
update_one_locked(struct store_query *q, const char *capture_id, const char *name,
                  struct tb_fail *fail)
{
    int changed = 0;
    enum tb_err err;

    store_bind_text(q, capture_id);
    store_bind_text(q, name);
    err = store_run_locked(q, &changed, fail);
    if (err == TB_OK && changed == 0) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "capture %s has no segment %s", capture_id, name);
    }
    return err;
}

static enum tb_err
damaged_locked(struct tb_store *store, const struct tb_segment_row *segment,
               struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store,
        "UPDATE segments SET bytes = ?, packets = ?, first_utc_ns = ?, last_utc_ns = ?,"
        " recovered = ?, sha256 = ?, merkle_root = ?, local = ?, damage = ?,"
        " missing_packets = ? WHERE state = 'spooled' AND capture_id = ? AND name = ?",
        &q, fail);

    if (err != TB_OK) {
        return err;
    }
    bind_file(&q, segment);
    err = update_one_locked(&q, segment->capture_id, segment->name, fail);
    return err != TB_OK
               ? err
               : note_file_locked(
                     store, segment,
                     is_unreadable(segment) ? "segment_unreadable" : "segment_salvaged", fail);
}

enum tb_err
tb_store_segment_damaged(struct tb_store *store, const struct tb_segment_row *segment,
                         struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, NULL); /* lost in a crash, the next look finds the file put aside */
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = damaged_locked(store, segment, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

/* If it went in parts. */
static enum tb_err
end_upload_locked(struct tb_store *store, const struct tb_segment_row *segment,
                  struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store, "DELETE FROM uploads WHERE capture_id = ? AND name = ?", &q, fail);

    if (err == TB_OK) {
        store_bind_text(&q, segment->capture_id);
        store_bind_text(&q, segment->name);
        err = store_run_locked(&q, NULL, fail);
    }
    return err;
}

static enum tb_err
uploaded_locked(struct tb_store *store, const struct tb_segment_row *segment,
                struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct tb_json *detail;
    struct store_query q;
    enum tb_err err =
        store_open_locked(store,
                          "UPDATE segments SET state = 'uploaded', s3_key = ?, s3_version = ?,"
                          " s3_request_id = ?, s3_sse = ?, s3_kms_key = ?, uploaded_utc_ns = ?"
                          " WHERE capture_id = ? AND name = ?",
                          &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, segment->s3_key);
    store_bind_text(&q, segment->s3_version);
    store_bind_text(&q, segment->s3_request_id);
    store_bind_text(&q, segment->s3_sse);
    store_bind_text(&q, segment->s3_kms_key);
    store_bind_int(&q, segment->uploaded_utc_ns);
    err = update_one_locked(&q, segment->capture_id, segment->name, fail);
    if (err == TB_OK) {
        err = end_upload_locked(store, segment, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    detail = tb_json_object();
    tb_json_set_str(detail, "name", segment->name);
    tb_json_set_str(detail, "key", segment->s3_key);
    store_set_text(detail, "version", segment->s3_version);
    store_set_text(detail, "request_id", segment->s3_request_id);
    store_set_text(detail, "encryption", segment->s3_sse);
    store_set_text(detail, "kms_key", segment->s3_kms_key);
    return store_custody_add_locked(store, segment->capture_id, "segment_uploaded", NULL,
                                    detail, fail);
}

enum tb_err
tb_store_segment_uploaded(struct tb_store *store, const struct tb_segment_row *segment,
                          struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, "segment_uploaded");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = uploaded_locked(store, segment, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

static enum tb_err
local_gone_locked(struct tb_store *store, const char *capture_id, const char *name,
                  const char *act, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct tb_json *detail;
    struct store_query q;
    enum tb_err err = store_open_locked(store,
                                        "UPDATE segments SET local = 0"
                                        " WHERE capture_id = ? AND name = ? AND local = 1",
                                        &q, fail);

    if (err == TB_OK) {
        err = update_one_locked(&q, capture_id, name, fail);
    }
    if (err == TB_ENOTFOUND) {
        /* Known to be gone already, perhaps: that is said once in the custody log. */
        err = store_open_locked(
            store, "UPDATE segments SET local = 0 WHERE capture_id = ? AND name = ?", &q, fail);
        return err == TB_OK ? update_one_locked(&q, capture_id, name, fail) : err;
    }
    if (err != TB_OK) {
        return err;
    }
    detail = tb_json_object();
    tb_json_set_str(detail, "name", name);
    return store_custody_add_locked(store, capture_id, act, NULL, detail, fail);
}

static enum tb_err
local_gone(struct tb_store *store, const char *capture_id, const char *name, const char *act,
           struct tb_fail *fail)
{
    enum tb_err err;

    store_lock(store, "segment_local_gone");
    err = store_begin_locked(store, fail);
    if (err == TB_OK) {
        err = local_gone_locked(store, capture_id, name, act, fail);
        err = store_end_locked(store, err, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_segment_local_gone(struct tb_store *store, const char *capture_id, const char *name,
                            struct tb_fail *fail)
{
    return local_gone(store, capture_id, name, "local_copy_deleted", fail);
}

enum tb_err
tb_store_segment_lost(struct tb_store *store, const char *capture_id, const char *name,
                      struct tb_fail *fail)
{
    return local_gone(store, capture_id, name, "segment_lost", fail);
}

#define SEGMENT_COLUMNS                                                                        \
    "capture_id, name, state, bytes, packets, first_utc_ns, last_utc_ns, recovered, sha256,"   \
    " merkle_root, s3_key, s3_version, s3_request_id, s3_sse, s3_kms_key, uploaded_utc_ns, "   \
    "local, damage, missing_packets,"                                                          \
    " CASE state WHEN 'uploaded' THEN bytes ELSE (SELECT coalesce(sum(p.bytes), 0)"            \
    " FROM upload_parts p WHERE p.capture_id = segments.capture_id AND p.name ="               \
    " segments.name) END"

static enum tb_err
read_segment(struct store_query *q, struct tb_segment_row *s, struct tb_fail *fail)
{
    char state[16];
    struct tb_bytes root;

    store_text(q, s->capture_id, sizeof(s->capture_id));
    store_text(q, s->name, sizeof(s->name));
    store_text(q, state, sizeof(state));
    s->state = strcmp(state, "uploaded") == 0 ? TB_SEGMENT_UPLOADED : TB_SEGMENT_SPOOLED;
    s->bytes = (uint64_t)store_int(q);
    s->packets = (uint64_t)store_int(q);
    s->first_utc_ns = store_int(q);
    s->last_utc_ns = store_int(q);
    s->recovered = store_int(q) != 0;
    store_sha256(q, s->sha256);
    root = store_blob(q);
    if (root.len == sizeof(s->merkle_root)) {
        memcpy(s->merkle_root, root.at, sizeof(s->merkle_root));
    }
    store_text(q, s->s3_key, sizeof(s->s3_key));
    store_text(q, s->s3_version, sizeof(s->s3_version));
    store_text(q, s->s3_request_id, sizeof(s->s3_request_id));
    store_text(q, s->s3_sse, sizeof(s->s3_sse));
    store_text(q, s->s3_kms_key, sizeof(s->s3_kms_key));
    s->uploaded_utc_ns = store_int(q);
    s->local = store_int(q) != 0;
    store_text(q, s->damage, sizeof(s->damage));
    s->missing_packets = (uint64_t)store_int(q);
    s->acknowledged_bytes = (uint64_t)store_int(q);
    return store_row_check(q, fail);
}

/* Runs a bound query that gives segments. */
static enum tb_err
read_segments_locked(struct store_query *q, struct tb_segment_row **out, size_t *out_count,
                     struct tb_fail *fail)
{
    struct store_list list = {.item_bytes = sizeof(struct tb_segment_row)};
    bool row = false;
    enum tb_err err;

    while ((err = store_step_locked(q, &row, fail)) == TB_OK && row) {
        struct tb_segment_row *s = store_list_add(&list);

        err = s == NULL ? tb_fail_set(fail, TB_ENOMEM, "no memory for segments")
                        : read_segment(q, s, fail);
        if (err != TB_OK) {
            break;
        }
    }
    store_close(q);
    if (err != TB_OK) {
        free(list.at);
        return err;
    }
    *out = list.at;
    *out_count = list.count;
    return TB_OK;
}

enum tb_err
tb_store_segment_list(struct tb_store *store, const char *capture_id,
                      struct tb_segment_row **out, size_t *out_count, struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_open_locked(
        store, "SELECT " SEGMENT_COLUMNS " FROM segments WHERE capture_id = ? ORDER BY name",
        &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, capture_id);
        err = read_segments_locked(&q, out, out_count, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_segment_backlog(struct tb_store *store, const char *without, size_t limit,
                         struct tb_segment_row **out, size_t *out_count, struct tb_fail *fail)
{
    struct store_query q;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_open_locked(store,
                            "SELECT " SEGMENT_COLUMNS " FROM segments"
                            " WHERE state = 'spooled' AND local = 1"
                            " AND capture_id NOT IN (SELECT value FROM json_each(?))"
                            " AND capture_id || '/' || name NOT IN"
                            " (SELECT value FROM json_each(?))"
                            " ORDER BY last_utc_ns, id LIMIT ?",
                            &q, fail);
    if (err == TB_OK) {
        store_bind_text(&q, without);
        store_bind_text(&q, without);
        store_bind_int(&q, limit > INT64_MAX ? INT64_MAX : (int64_t)limit);
        err = read_segments_locked(&q, out, out_count, fail);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}

enum tb_err
tb_store_backlog_sum(struct tb_store *store, struct tb_backlog *out, struct tb_fail *fail)
{
    struct store_query q;
    bool row = false;
    enum tb_err err;

    store_lock(store, NULL);
    err = store_open_locked(
        store,
        "SELECT count(*), coalesce(sum(bytes), 0) - coalesce(sum((SELECT coalesce(sum(p.bytes),"
        " 0) FROM upload_parts p WHERE p.capture_id = segments.capture_id"
        " AND p.name = segments.name)), 0), coalesce(min(nullif(last_utc_ns, 0)), 0)"
        " FROM segments WHERE state = 'spooled' AND local = 1",
        &q, fail);
    if (err == TB_OK) {
        err = store_step_locked(&q, &row, fail);
        if (err == TB_OK) {
            out->segments = (uint64_t)store_int(&q);
            out->bytes = (uint64_t)store_int(&q);
            out->oldest_utc_ns = store_int(&q);
            err = store_row_check(&q, fail);
        }
        store_close(&q);
    }
    tb_mutex_unlock(&store->mu);
    return err;
}
