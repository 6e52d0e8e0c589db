/*
 * A segment over the limit goes in parts.  Before each step the store knows what was begun and
 * which parts S3 has acknowledged, so that a service that was killed goes on where it was; what
 * the store does not know of is aborted, so that nothing that was begun stays behind.
 */
#include "upload_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <tapbox/ids.h>
#include <tapbox/log.h>
#include <tapbox/spool.h>

enum {
    READ_BYTES = 256 << 10
};

struct job {
    struct tb_uploader *up;
    const struct tb_uploader_deps *deps;
    const struct tb_segment_row *row;
    const struct tb_s3_put *put;
    struct tb_s3_upload upload; /* id "": none is begun */
    struct tb_upload_row known; /* what the store says of it */
    struct tb_s3_part *listed;  /* what S3 says of it; owned */
    size_t listed_count;
    struct tb_s3_part *parts; /* owned */
    size_t part_count;
    uint8_t *buffer; /* owned */
    struct tb_hasher *of_part, *of_file;
};

static void
release(struct job *job)
{
    free(job->known.parts);
    free(job->listed);
    free(job->parts);
    free(job->buffer);
    tb_hasher_free(job->of_part);
    tb_hasher_free(job->of_file);
}

/* --- what was begun before --- */

/* Uploads of this key of which the store does not know: their answers were lost. */
static enum tb_err
abort_strangers(struct job *job, struct tb_fail *fail)
{
    struct tb_s3_upload *uploads = NULL;
    size_t count = 0;
    enum tb_err err = tb_s3_uploads(job->deps->aws, &job->deps->bucket, job->put->key, &uploads,
                                    &count, fail);

    for (size_t i = 0; i < count && err == TB_OK; i++) {
        if (strcmp(uploads[i].key, job->put->key) == 0 &&
            strcmp(uploads[i].id, job->upload.id) != 0) {
            err = tb_s3_upload_abort(job->deps->aws, &job->deps->bucket, &uploads[i], fail);
        }
    }
    free(uploads);
    if (err == TB_EDENIED) {
        tb_log_fail(TB_LOG_WARN, job->row->capture_id, fail,
                    "cannot look for uploads that were left behind; the bucket's lifecycle "
                    "rule has to remove them");
        err = TB_OK;
    }
    return err;
}

static enum tb_err
forget(struct job *job, struct tb_fail *fail)
{
    job->upload.id[0] = '\0';
    free(job->known.parts);
    job->known = (struct tb_upload_row){.upload_id = ""};
    free(job->listed);
    job->listed = NULL;
    job->listed_count = 0;
    return tb_store_upload_forget(job->deps->store, job->row->capture_id, job->row->name, fail);
}

/* What the store remembers, if S3 does, too. */
static enum tb_err
resume(struct job *job, struct tb_fail *fail)
{
    struct tb_fail why = {.text = ""};
    enum tb_err err = tb_store_upload_get(job->deps->store, job->row->capture_id,
                                          job->row->name, &job->known, &why);

    if (err == TB_OK) {
        (void)tb_str_copy(job->upload.id, sizeof(job->upload.id), job->known.upload_id);
        err = tb_s3_upload_parts(job->deps->aws, &job->deps->bucket, &job->upload, &job->listed,
                                 &job->listed_count, &why);
        if (err == TB_ENOTFOUND) { /* completed, or aborted by somebody else */
            err = forget(job, &why);
        }
    } else if (err == TB_ENOTFOUND) {
        err = TB_OK;
    }
    if (err != TB_OK && fail != NULL) {
        *fail = why;
    }
    return err;
}

/* *out_there: it is in S3 already. */
static enum tb_err
begin(struct job *job, bool *out_there, struct tb_s3_ack *ack, struct tb_fail *fail)
{
    enum tb_err err = tb_s3_find(job->deps->aws, &job->deps->bucket, job->put, ack, fail);

    *out_there = err == TB_OK;
    if (err != TB_ENOTFOUND && err != TB_EDENIED) {
        return err;
    }
    err = tb_s3_upload_begin(job->deps->aws, &job->deps->bucket, job->put, &job->upload, fail);
    if (err != TB_OK) {
        return err;
    }
    job->known.part_bytes = job->deps->part_bytes;
    err = tb_store_upload_begun(job->deps->store, job->row->capture_id, job->row->name,
                                job->upload.id, job->known.part_bytes, fail);
    if (err != TB_OK) { /* nobody would find it but by looking, as the next try does */
        struct tb_fail why;

        if (tb_s3_upload_abort(job->deps->aws, &job->deps->bucket, &job->upload, &why) !=
            TB_OK) {
            tb_log_fail(TB_LOG_WARN, job->row->capture_id, &why, "cannot abort it yet");
        }
        job->upload.id[0] = '\0';
    }
    return err;
}

/* --- the parts --- */

static enum tb_err
hash_part(struct job *job, uint64_t offset, struct tb_s3_part *part, struct tb_fail *fail)
{
    uint64_t done = 0;
    enum tb_err err = TB_OK;

    while (done < part->bytes && err == TB_OK) {
        size_t want =
            part->bytes - done < READ_BYTES ? (size_t)(part->bytes - done) : (size_t)READ_BYTES;
        ssize_t got = pread(job->put->body_fd, job->buffer, want, (off_t)(offset + done));

        if (got == 0) {
            return tb_fail_set(fail, TB_EFORMAT, "%s is shorter than it was", job->row->name);
        }
        if (got < 0 && errno != EINTR) {
            return tb_fail_errno(fail, errno, "cannot read %s", job->row->name);
        }
        if (got > 0) {
            struct tb_bytes bytes = tb_bytes_of(job->buffer, (size_t)got);

            done += (uint64_t)got;
            err = tb_hasher_add(job->of_part, bytes);
            if (err == TB_OK) {
                err = tb_hasher_add(job->of_file, bytes);
            }
        }
    }
    if (err == TB_OK) {
        err = tb_hasher_finish(job->of_part, &part->sha256);
    }
    return err == TB_OK ? TB_OK : tb_fail_set(fail, err, "SHA-256 of %s", job->row->name);
}

/* S3 acknowledged exactly these octets, and has them still. */
static bool
is_there(const struct job *job, struct tb_s3_part *part)
{
    const struct tb_upload_part *known = NULL;

    for (size_t i = 0; i < job->known.part_count && known == NULL; i++) {
        if (job->known.parts[i].number == part->number) {
            known = &job->known.parts[i];
        }
    }
    if (known == NULL || known->bytes != part->bytes ||
        memcmp(known->sha256, part->sha256.octets, sizeof(known->sha256)) != 0) {
        return false;
    }
    for (size_t i = 0; i < job->listed_count; i++) {
        if (job->listed[i].number == part->number && job->listed[i].bytes == part->bytes &&
            strcmp(job->listed[i].etag, known->etag) == 0) {
            (void)tb_str_copy(part->etag, sizeof(part->etag), known->etag);
            return true;
        }
    }
    return false;
}

static enum tb_err
send_part(struct job *job, uint64_t offset, struct tb_s3_part *part, struct tb_fail *fail)
{
    struct tb_upload_part done = {.number = part->number, .bytes = part->bytes};
    enum tb_err err = tb_s3_upload_part(job->deps->aws, &job->deps->bucket, &job->upload,
                                        job->put->body_fd, offset, part, fail);

    if (err != TB_OK) {
        return err;
    }
    memcpy(done.sha256, part->sha256.octets, sizeof(done.sha256));
    (void)tb_str_copy(done.etag, sizeof(done.etag), part->etag);
    upload_count_bytes(job->up, part->bytes);
    return tb_store_upload_part(job->deps->store, job->row->capture_id, job->row->name, &done,
                                fail);
}

static enum tb_err
send_parts(struct job *job, struct tb_fail *fail)
{
    uint64_t offset = 0, size = job->known.part_bytes;
    struct tb_sha256 sha256;
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < job->part_count && err == TB_OK; i++) {
        struct tb_s3_part *part = &job->parts[i];

        if (upload_is_stopping(job->up)) {
            return tb_fail_set(fail, TB_ECLOSED,
                               "the service stops; the rest goes after the next start");
        }
        part->number = (uint32_t)i + 1;
        part->bytes = job->put->bytes - offset < size ? job->put->bytes - offset : size;
        err = hash_part(job, offset, part, fail);
        if (err == TB_OK && !is_there(job, part)) {
            err = send_part(job, offset, part, fail);
        }
        offset += part->bytes;
    }
    if (err == TB_OK) {
        err = tb_hasher_finish(job->of_file, &sha256);
    }
    if (err == TB_OK &&
        memcmp(sha256.octets, job->row->sha256, sizeof(job->row->sha256)) != 0) {
        err =
            tb_fail_set(fail, TB_EFORMAT, "%s is not any more what was sealed", job->row->name);
    }
    return err;
}

static enum tb_err
make_room(struct job *job, struct tb_fail *fail)
{
    uint64_t most = (uint64_t)TB_S3_MAX_PARTS * job->known.part_bytes;
    enum tb_err err = TB_OK;

    if (most < job->put->bytes) { /* more octets in as many parts as there may be */
        job->known.part_bytes = (job->put->bytes + TB_S3_MAX_PARTS - 1) / TB_S3_MAX_PARTS;
    }
    job->part_count =
        (size_t)((job->put->bytes + job->known.part_bytes - 1) / job->known.part_bytes);
    job->parts = calloc(job->part_count, sizeof(*job->parts));
    job->buffer = malloc(READ_BYTES);
    if (job->parts == NULL || job->buffer == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for %zu parts", job->part_count);
    }
    err = tb_hasher_new(&job->of_part);
    if (err == TB_OK) {
        err = tb_hasher_new(&job->of_file);
    }
    return err == TB_OK ? TB_OK : tb_fail_set(fail, err, "no hasher");
}

/* Whether going on with what was begun cannot help. */
static bool
is_hopeless(enum tb_err err, const struct tb_fail *why)
{
    return err == TB_EFORMAT || err == TB_EEXIST || err == TB_EINVAL ||
           why->http_status == 409 || why->http_status == 412;
}

enum tb_err
upload_in_parts(struct tb_uploader *up, const struct tb_uploader_deps *deps,
                const struct tb_segment_row *row, const struct tb_s3_put *put,
                struct tb_s3_ack *ack, struct tb_fail *fail)
{
    struct job job = {.up = up, .deps = deps, .row = row, .put = put};
    struct tb_fail why = {.text = ""};
    bool is_in_s3 = false;
    enum tb_err err;

    (void)tb_str_copy(job.upload.key, sizeof(job.upload.key), put->key);
    err = resume(&job, &why);
    if (err == TB_OK && job.upload.id[0] == '\0') {
        err = begin(&job, &is_in_s3, ack, &why);
    }
    if (err == TB_OK) {
        err = abort_strangers(&job, &why);
    }
    if (err != TB_OK || is_in_s3) {
        goto out;
    }
    err = make_room(&job, &why);
    if (err == TB_OK) {
        err = send_parts(&job, &why);
    }
    if (err == TB_OK) {
        err = tb_s3_upload_complete(deps->aws, &deps->bucket, put, &job.upload, job.parts,
                                    job.part_count, ack, &why);
    }
    if (err == TB_ENOTFOUND) {
        /* it was completed, and the answer lost, or somebody aborted it: the next try tells */
        err = forget(&job, &why);
        if (err == TB_OK) {
            err = tb_fail_set(&why, TB_ERETRY, "S3 does not know the upload of %s any more",
                              row->name);
        }
    } else if (err != TB_OK && is_hopeless(err, &why) &&
               tb_s3_upload_abort(deps->aws, &deps->bucket, &job.upload, NULL) == TB_OK) {
        struct tb_fail ignored;

        (void)forget(&job, &ignored); /* (what is remembered and gone is noticed next time) */
    }

out:
    if (err != TB_OK && fail != NULL) {
        *fail = why;
    }
    release(&job);
    return err;
}

enum tb_err
upload_abort_parts(const struct tb_uploader_deps *deps, const struct tb_segment_row *row,
                   struct tb_fail *fail)
{
    char name[TB_SPOOL_NAME_SIZE + 16];
    struct tb_upload_row known;
    struct tb_s3_upload upload;
    struct tb_fail why = {.text = ""};
    enum tb_err err =
        tb_store_upload_get(deps->store, row->capture_id, row->name, &known, &why);

    if (err == TB_ENOTFOUND) {
        return TB_OK;
    }
    if (err == TB_OK) {
        free(known.parts);
        (void)tb_str_copy(upload.id, sizeof(upload.id), known.upload_id);
        (void)snprintf(name, sizeof(name), "segments/%s", row->name);
        err = upload_key(deps->prefix, row->capture_id, name, upload.key, &why);
    }
    if (err == TB_OK) {
        err = tb_s3_upload_abort(deps->aws, &deps->bucket, &upload, &why);
    }
    if (err == TB_OK) {
        err = tb_store_upload_forget(deps->store, row->capture_id, row->name, &why);
    }
    if (err != TB_OK && fail != NULL) {
        *fail = why;
    }
    return err;
}

/* --- what a service that was killed has left behind --- */

/* The segment that a key is for; false when it is not one of ours. */
static bool
segment_of_key(const struct tb_uploader_deps *deps, const char *key,
               char capture_id[TB_CAPTURE_ID_SIZE], char name[TB_SPOOL_NAME_SIZE])
{
    static const char folder[] = "/segments/";
    const char *end = strstr(key, folder);
    const char *from = end;
    char prefix[TB_S3_KEY_SIZE];

    while (from != NULL && from > key && from[-1] != '/') {
        from--;
    }
    if (from == NULL || end - from >= TB_CAPTURE_ID_SIZE) {
        return false;
    }
    memcpy(capture_id, from, (size_t)(end - from));
    capture_id[end - from] = '\0';
    return tb_str_copy(name, TB_SPOOL_NAME_SIZE, end + strlen(folder)) &&
           tb_spool_name_valid(name) &&
           tb_upload_capture_prefix(deps->prefix, capture_id, prefix, sizeof(prefix), NULL) ==
               TB_OK &&
           strlen(prefix) == (size_t)(end - key) && strncmp(key, prefix, strlen(prefix)) == 0;
}

static bool
knows_segment(const struct tb_uploader_deps *deps, const char *capture_id, const char *name)
{
    struct tb_segment_row *rows = NULL;
    size_t count = 0;
    bool known = false;

    if (tb_store_segment_list(deps->store, capture_id, &rows, &count, NULL) == TB_OK) {
        for (size_t i = 0; i < count && !known; i++) {
            known = strcmp(rows[i].name, name) == 0;
        }
    }
    free(rows);
    return known;
}

/* Nobody will go on with it: the store does not know it, or its segment is in S3 or gone. */
static bool
is_orphan(struct tb_uploader *up, const struct tb_uploader_deps *deps,
          const struct tb_s3_upload *upload)
{
    char capture_id[TB_CAPTURE_ID_SIZE], name[TB_SPOOL_NAME_SIZE];
    struct tb_upload_row known = {.upload_id = ""};
    struct tb_fail fail = {.text = ""};
    bool orphan;
    enum tb_err err;

    if (!segment_of_key(deps, upload->key, capture_id, name)) {
        return false;
    }
    /* Who has it in hand aborts what is not his.  He is asked about first: what he has begun
     * before he gave it back is in the store. */
    if (upload_is_taken(up, capture_id, name)) {
        return false;
    }
    err = tb_store_upload_get(deps->store, capture_id, name, &known, &fail);
    orphan = err == TB_ENOTFOUND && knows_segment(deps, capture_id, name);
    if (err == TB_OK) {
        orphan = strcmp(known.upload_id, upload->id) != 0;
        free(known.parts);
    }
    return orphan;
}

enum tb_err
upload_abort_orphans(struct tb_uploader *up, const struct tb_uploader_deps *deps,
                     struct tb_fail *fail)
{
    static const char probe[] = "preflight-";
    struct tb_s3_upload *uploads = NULL;
    size_t count = 0;
    char prefix[TB_S3_KEY_SIZE];
    size_t len;
    enum tb_err err;

    (void)snprintf(prefix, sizeof(prefix), "%s%s", deps->prefix,
                   deps->prefix[0] != '\0' ? "/" : "");
    len = strlen(prefix);
    err = tb_s3_uploads(deps->aws, &deps->bucket, prefix, &uploads, &count, fail);
    for (size_t i = 0; i < count && err == TB_OK; i++) {
        /* (another tapbox's probe that loses its upload to us is content with that) */
        if (strncmp(uploads[i].key, prefix, len) != 0) {
            continue;
        }
        if (strncmp(uploads[i].key + len, probe, strlen(probe)) == 0 ||
            is_orphan(up, deps, &uploads[i])) {
            err = tb_s3_upload_abort(deps->aws, &deps->bucket, &uploads[i], fail);
            if (err == TB_OK) {
                tb_log(TB_LOG_INFO, NULL, "aborted an upload that was left behind: %s",
                       uploads[i].key);
            }
        }
    }
    free(uploads);
    return err;
}
