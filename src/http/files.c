/*
 * GET /v1/captures/{id}/files: what a capture has in S3, with links that need no credentials
 * for a while.  Handing them out is an act in the custody log.
 */
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/upload.h>

#include "http_int.h"

enum {
    URL_MAX_BYTES = 16 * 1024, /* a session token in a query is up to 4 KiB */
    PLACE_BYTES = 256
};

/* One answer being made. */
struct listing {
    struct tb_http_call *call;
    char prefix[PLACE_BYTES]; /* of the capture's keys */
    struct tb_json *files;
    bool has_urls;
    struct tb_fail why; /* the first reason for there being none */
    size_t issued;
};

static void
set_url(struct listing *listing, struct tb_json *file, const char *key)
{
    struct tb_buf url = TB_BUF_INIT(URL_MAX_BYTES);

    if (listing->has_urls && tb_control_presign(listing->call->server->deps.control, key, &url,
                                                &listing->why) == TB_OK) {
        tb_json_set_str(file, "url", tb_buf_str(&url));
        listing->issued++;
    } else {
        listing->has_urls = false;
        tb_json_set_null(file, "url");
    }
    tb_buf_release(&url);
}

static void
add_segment(struct listing *listing, const struct tb_segment_row *segment)
{
    struct tb_json *file = tb_json_object();
    char name[160];

    (void)snprintf(name, sizeof(name), "segments/%s", segment->name);
    tb_json_set_str(file, "name", name);
    tb_json_set_int(file, "bytes", (int64_t)segment->bytes);
    tb_json_set_hex(file, "sha256", tb_bytes_of(segment->sha256, sizeof(segment->sha256)));
    tb_json_set_int(file, "packets", (int64_t)segment->packets);
    tb_json_set_time(file, "first", segment->first_utc_ns);
    tb_json_set_time(file, "last", segment->last_utc_ns);
    if (segment->state == TB_SEGMENT_UPLOADED) {
        set_url(listing, file, segment->s3_key);
    } else {
        tb_json_set_null(file, "url"); /* not in S3 yet */
    }
    tb_json_add(listing->files, file);
}

/* What lies beside the segments once a capture is sealed; SHA256SUMS has their hashes. */
static void
add_sealed(struct listing *listing)
{
    static const char *const names[] = {"manifest.json", "manifest.sig", "SHA256SUMS",
                                        "custody/0001.jsonl"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct tb_json *file = tb_json_object();
        char key[PLACE_BYTES + 64];

        (void)snprintf(key, sizeof(key), "%s/%s", listing->prefix, names[i]);
        tb_json_set_str(file, "name", names[i]);
        set_url(listing, file, key);
        tb_json_add(listing->files, file);
    }
}

static enum tb_err
note_custody(const struct listing *listing, const char *id, int64_t until_utc_ns,
             struct tb_fail *fail)
{
    const struct tb_http_call *call = listing->call;
    const struct tb_actor by = {.who = call->token_name, .from = call->remote};
    struct tb_json *detail = tb_json_object();

    tb_json_set_int(detail, "files", (int64_t)listing->issued);
    tb_json_set_time(detail, "until", until_utc_ns);
    return tb_store_custody_add(call->server->deps.store, id, "links_issued", &by, detail,
                                fail);
}

/* On a thread of its own: the reader's role may have to be assumed first. */
static void
list(struct tb_http_call *call)
{
    const struct tb_http_server_deps *deps = &call->server->deps;
    const struct tb_config *config = deps->config;
    struct listing listing = {.call = call, .files = tb_json_array()};
    int64_t until_utc_ns = tb_clock_utc_ns() + config->s3_url_ns;
    struct tb_capture *capture = tb_http_load_capture(call);
    struct tb_segment_row *segments = NULL;
    struct tb_json *root = tb_json_object();
    char place[PLACE_BYTES + 80];
    struct tb_fail fail = {0};
    size_t count = 0;
    enum tb_err err;

    if (capture == NULL) {
        goto out;
    }
    listing.has_urls = deps->control != NULL;
    err = tb_upload_capture_prefix(config->s3_prefix, capture->id, listing.prefix,
                                   sizeof(listing.prefix), &fail);
    if (err == TB_OK) {
        err = tb_store_segment_list(deps->store, capture->id, &segments, &count, &fail);
    }
    if (err != TB_OK) {
        tb_http_problem_of(call, &fail);
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        add_segment(&listing, &segments[i]);
    }
    if (capture->state == TB_CAPTURE_SEALED) {
        add_sealed(&listing);
    }
    if (listing.issued > 0 &&
        note_custody(&listing, capture->id, until_utc_ns, &fail) != TB_OK) {
        tb_http_problem_of(call, &fail); /* no link without its entry */
        goto out;
    }
    (void)snprintf(place, sizeof(place), "s3://%s/%s", config->s3_bucket, listing.prefix);
    tb_json_set_str(root, "capture", capture->id);
    tb_json_set_str(root, "place", place);
    tb_json_set_time(root, "urls_until", listing.issued > 0 ? until_utc_ns : 0);
    tb_json_set_text(root, "no_urls", listing.why.text);
    tb_json_set(root, "files", listing.files);
    listing.files = NULL;
    tb_http_answer_json(call, 200, root);
    root = NULL;

out:
    tb_json_free(root);
    tb_json_free(listing.files);
    free(segments);
    free(capture);
}

void
tb_http_list_files(struct tb_http_call *call)
{
    call->later = list;
}
