/*
 * tapbox report: one page about a capture.  From the service, or from its files, wherever they
 * lie; of files the summary is made here, by the same process without rights as in serve.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tapbox/clock.h>
#include <tapbox/ids.h>
#include <tapbox/io.h>
#include <tapbox/place.h>
#include <tapbox/policy_file.h>
#include <tapbox/segment.h>
#include <tapbox/summary.h>
#include <tapbox/verify.h>
#include <tapbox/webhook.h>

#include "api_int.h"
#include "cli_int.h"
#include "missing_int.h"
#include "report_int.h"

static const char help[] =
    "Usage: tapbox report CAPTURE|PATH|s3://BUCKET/PREFIX -o FILE\n"
    "\n"
    "Writes one HTML page about a capture: what happened, whether what the alert spoke of was\n"
    "seen, the traffic over time, conversations, names, where every packet went, the files\n"
    "with their hashes.  The page needs no network, no other file and no script to be read.\n"
    "\n"
    "CAPTURE (cap-...) asks the service.  PATH or s3:// is the folder of a capture, with or\n"
    "without its manifest.json, and needs no service: without a summary.json the segments\n"
    "are read and summarized here, in a process without rights.  What of them is damaged or "
    "not\n"
    "there is told, on stderr and on the page; the page is of all else, and the status is 9.\n"
    "\n"
    "  -o, --output FILE      where to; - is standard output\n"
    "  -p, --policy FILE      whose senders the alerts of a folder without a summary are "
    "of\n"
    "      --role ARN         read s3:// as this role (sts:AssumeRole with the environment's\n"
    "                         credentials)\n" TB_API_HELP;

enum {
    NUMBER = 0, /* of the one summary that is made here */
    CHUNK_CEILING = TB_SEGMENT_MAX_CHUNK_BYTES + 65536
};

struct report_job {
    const char *where, *output, *policy, *role;
    struct tb_api_options api;
    struct tb_report page;
    struct tb_json *capture, *manifest, *summary, *keys; /* owned */
    struct tb_place *place;
    struct tb_place_list list;
    uint64_t total_bytes, done_bytes;
    struct tb_missing_list missing; /* of the segments that are summarized here */
    size_t not_read;                /* segments of which nothing could be read */
    struct tb_cli_progress progress;
    struct tb_summarizer *summarizer;
    struct tb_sighting *seen; /* owned */
    struct tb_alert *alert;   /* owned */
    struct tb_rules *rules;   /* owned; NULL: only adapters read alerts */
};

/* --- from the service --- */

/* *out stays NULL when there is none and `may_lack` says that this is fine. */
static int
ask_for(struct tb_api *api, const char *path, bool may_lack, struct tb_json **out)
{
    struct tb_api_why why = {"", ""};
    int status = tb_api_ask(api, &(struct tb_api_call){"report", "GET", path, NULL, NULL}, out,
                            NULL, &why);

    if (status == TB_EXIT_NOT_FOUND && may_lack) {
        return TB_EXIT_OK;
    }
    if (status != TB_EXIT_OK) {
        fprintf(stderr, "tapbox report: %s: %s\n", path, why.text);
    }
    return status;
}

static int
ask(struct report_job *job)
{
    struct tb_api *api = NULL;
    char path[80 + TB_CAPTURE_ID_SIZE];
    int status;

    (void)snprintf(path, sizeof(path), "/v1/captures/%s", job->where);
    status = tb_api_open(&job->api, "report", &api);
    if (status != TB_EXIT_OK) {
        return status;
    }
    status = ask_for(api, path, false, &job->capture);
    if (status == TB_EXIT_OK) { /* what was never recorded has none */
        (void)snprintf(path, sizeof(path), "/v1/captures/%s/summary", job->where);
        status = ask_for(api, path, true, &job->summary);
    }
    if (status == TB_EXIT_OK) {
        status = ask_for(api, "/v1/keys", true, &job->keys);
    }
    for (size_t i = 0; i < tb_json_count(tb_json_at(job->keys, "/keys")); i++) {
        const struct tb_json *key = tb_json_item(tb_json_at(job->keys, "/keys"), i);
        const char *fingerprint = tb_json_str(key, "/fingerprint");
        bool is_current = false;

        if (tb_json_bool(key, "/current", &is_current) && is_current && fingerprint != NULL) {
            job->page.key = fingerprint;
        }
    }
    tb_api_close(api);
    return status;
}

/* --- from files --- */

static bool
ends_with(const char *name, const char *end)
{
    size_t len = strlen(name), end_len = strlen(end);

    return len > end_len && strcmp(name + len - end_len, end) == 0;
}

/* A segment, in its folder or on its own; hidden ones are still being written. */
static bool
is_segment(const struct tb_place_file *file)
{
    const char *slash = strrchr(file->name, '/');
    const char *name = slash == NULL ? file->name : slash + 1;

    return file->kind == TB_PLACE_FILE && ends_with(name, ".pcapng.zst") && name[0] != '.';
}

static void
report_progress(struct report_job *job, uint64_t more_bytes)
{
    job->done_bytes += more_bytes;
    tb_cli_progress_show(&job->progress, job->done_bytes, job->total_bytes);
}

/* What the manifest says of it; NULL: nothing. */
static const struct tb_json *
known_as(const struct report_job *job, const char *name)
{
    const struct tb_json *segments = tb_json_at(job->manifest, "/segments");

    for (size_t i = 0; i < tb_json_count(segments); i++) {
        const char *known = tb_json_str(tb_json_item(segments, i), "/name");

        if (known != NULL && strcmp(known, name) == 0) {
            return tb_json_item(segments, i);
        }
    }
    return NULL;
}

/* `chunk` NULL: all of the segment. */
static enum tb_err
lose(struct report_job *job, const char *name, uint64_t bytes,
     const struct tb_segment_chunk *chunk, const char *why, struct tb_fail *fail)
{
    const struct tb_json *known = known_as(job, name);
    struct tb_missing missing = {.bytes = bytes};
    int64_t packets = 0;

    (void)tb_str_copy(missing.segment, sizeof(missing.segment), name);
    (void)tb_str_copy(missing.why, sizeof(missing.why), why);
    if (chunk != NULL) {
        missing.offset = chunk->offset;
        missing.bytes = chunk->length;
        missing.from_utc_ns = chunk->info.first_utc_ns;
        missing.to_utc_ns = chunk->info.last_utc_ns;
        missing.packets = chunk->info.packets;
        missing.is_counted = true;
    } else {
        job->not_read++;
        missing.from_utc_ns = tb_json_time(known, "/first_packet");
        missing.to_utc_ns = tb_json_time(known, "/last_packet");
        missing.is_counted = tb_json_int(known, "/packets", &packets) && packets >= 0;
        missing.packets = missing.is_counted ? (uint64_t)packets : 0;
    }
    return tb_missing_add(&job->missing, &missing, fail);
}

/* A chunk that cannot be read is left out of the numbers. */
static enum tb_err
take_chunks(struct report_job *job, const struct tb_place_file *file,
            struct tb_segment_reader *reader, struct tb_fail *fail)
{
    struct tb_buf blocks = TB_BUF_INIT(CHUNK_CEILING);
    const struct tb_segment_chunk *chunk;
    uint64_t packets;
    size_t count;
    enum tb_err err = TB_OK;

    for (size_t i = 0; err == TB_OK && (chunk = tb_segment_reader_chunk(reader, i)) != NULL;
         i++) {
        tb_buf_reset(&blocks);
        err = tb_segment_reader_read(reader, i, &blocks, fail);
        if (err == TB_OK) {
            err = tb_summarizer_chunk(job->summarizer, NUMBER, tb_buf_view(&blocks), &packets,
                                      job->seen, &count, fail);
        }
        if (tb_missing_is_damage(job->place, err)) {
            err = lose(job, file->name, 0, chunk, fail->text, fail);
        }
        report_progress(job, chunk->length);
    }
    tb_buf_release(&blocks);
    return err;
}

static enum tb_err
take_segment(struct report_job *job, const struct tb_place_file *file, struct tb_fail *fail)
{
    struct tb_place_reader *from = NULL;
    struct tb_segment_reader *reader = NULL;
    struct tb_readable readable;
    enum tb_err err = tb_place_reader_open(job->place, file, &from, fail);

    if (err == TB_OK) {
        readable = tb_place_readable(from);
        err = tb_segment_reader_open_at(&readable, &reader, fail);
    }
    if (tb_missing_is_damage(job->place, err)) {
        err = lose(job, file->name, file->bytes, NULL, fail->text, fail);
    } else if (err == TB_OK) {
        err = take_chunks(job, file, reader, fail);
    }
    tb_segment_reader_free(reader);
    tb_place_reader_free(from);
    return err;
}

/* Segments that the manifest names and that are not there. */
static enum tb_err
lose_absent(struct report_job *job, struct tb_fail *fail)
{
    const struct tb_json *segments = tb_json_at(job->manifest, "/segments");
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < tb_json_count(segments) && err == TB_OK; i++) {
        const struct tb_json *one = tb_json_item(segments, i);
        const char *name = tb_json_str(one, "/name");
        int64_t bytes = 0;

        if (name != NULL && tb_place_find(&job->list, name) == NULL) {
            (void)tb_json_int(one, "/bytes", &bytes);
            err =
                lose(job, name, bytes > 0 ? (uint64_t)bytes : 0, NULL, "it is not there", fail);
        }
    }
    return err;
}

static void
tell_missing(struct report_job *job)
{
    struct tb_json *not_read = tb_json_object();
    struct tb_json *missing = tb_json_array();

    for (size_t i = 0; i < job->missing.count; i++) {
        tb_cli_missing_tell("report", &job->missing.at[i]);
        tb_cli_missing_put(missing, &job->missing.at[i]);
    }
    tb_json_set_int(not_read, "segments", (int64_t)job->not_read);
    tb_json_set(not_read, "missing", missing);
    tb_json_set(job->summary, "not_read", not_read);
}

static void
watch_one(struct report_job *job)
{
    struct tb_ioc iocs[TB_IOCS_OF_ALERT_MAX];
    size_t count = tb_iocs_of_alert(job->alert, iocs);

    for (size_t i = 0; i < count; i++) {
        struct tb_fail fail = {0};

        if (tb_summarizer_watch(job->summarizer, NUMBER, &iocs[i], &fail) != TB_OK) {
            fprintf(stderr, "tapbox report: not looked for: %s\n", fail.text);
        }
    }
}

static enum tb_err
read_policy(struct report_job *job, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_CONFIG_MAX_BYTES);
    enum tb_err err = tb_read_file(AT_FDCWD, job->policy, &text, fail);

    if (err == TB_OK) {
        err = tb_policy_parse(tb_buf_view(&text), job->policy, &job->rules, NULL, NULL, fail);
    }
    tb_buf_release(&text);
    return err;
}

/* The sender of the policy that the manifest says it is of; NULL: it says none. */
static const char *
sender_of(const struct report_job *job, const struct tb_place_file *file)
{
    const struct tb_json *alerts = tb_json_at(job->manifest, "/alerts");
    const struct tb_sender *found = NULL;

    for (size_t i = 0; job->rules != NULL && i < tb_json_count(alerts); i++) {
        const char *name = tb_json_str(tb_json_item(alerts, i), "/name");
        const char *adapter = tb_json_str(tb_json_item(alerts, i), "/adapter");

        if (name != NULL && adapter != NULL && strcmp(name, file->name) == 0) {
            found = tb_sender_find(&job->rules->senders, adapter);
        }
    }
    return found != NULL ? found->name : NULL;
}

/* What is no alert (an analyst's request) names nothing. */
static void
watch_alert(struct report_job *job, const struct tb_place_file *file)
{
    const struct tb_webhook_how how = {.senders =
                                           job->rules != NULL ? &job->rules->senders : NULL,
                                       .sender = sender_of(job, file)};
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_webhook_body *opened = NULL;

    if (tb_place_read(job->place, file, &body, NULL) == TB_OK &&
        tb_webhook_open(tb_buf_view(&body), &how, &opened, NULL) == TB_OK) {
        for (size_t i = 0; i < tb_webhook_count(opened); i++) {
            if (tb_webhook_alert(opened, i, job->alert, NULL) == TB_OK) {
                watch_one(job);
            }
        }
        tb_webhook_free(opened);
    }
    tb_buf_release(&body);
}

/* What cannot be read is told, and left out of the numbers. */
static enum tb_err
summarize(struct report_job *job, struct tb_fail *fail)
{
    enum tb_err err = tb_summarizer_begin(job->summarizer, NUMBER, fail);

    for (size_t i = 0; i < job->list.count && err == TB_OK; i++) {
        if (strncmp(job->list.at[i].name, "alerts/", 7) == 0) {
            watch_alert(job, &job->list.at[i]);
        }
        job->total_bytes += is_segment(&job->list.at[i]) ? job->list.at[i].bytes : 0;
    }
    tb_cli_progress_begin(&job->progress);
    for (size_t i = 0; i < job->list.count && err == TB_OK; i++) {
        const struct tb_place_file *file = &job->list.at[i];

        if (is_segment(file)) {
            err = take_segment(job, file, fail);
        }
    }
    if (err == TB_OK) {
        err = lose_absent(job, fail);
    }
    tb_cli_progress_clear(&job->progress);
    if (err == TB_OK) {
        err = tb_summarizer_document(job->summarizer, NUMBER, TB_SUMMARY_TOP, &job->summary,
                                     fail);
    }
    if (err == TB_OK) {
        tell_missing(job);
    }
    return err;
}

static enum tb_err
read_manifest(struct report_job *job, struct tb_fail *fail)
{
    const struct tb_place_file *file = tb_place_find(&job->list, "manifest.json");
    struct tb_buf text = TB_BUF_INIT(TB_MANIFEST_MAX_BYTES);
    enum tb_err err;

    if (file == NULL || file->kind != TB_PLACE_FILE) {
        return TB_OK;
    }
    err = tb_place_read(job->place, file, &text, fail);
    if (err == TB_OK) {
        err =
            tb_json_parse_max(tb_buf_view(&text), TB_MANIFEST_MAX_BYTES, &job->manifest, fail);
    }
    if (err == TB_OK && tb_json_str(job->manifest, "/chain/key") != NULL) {
        job->page.key = tb_json_str(job->manifest, "/chain/key");
    }
    tb_buf_release(&text);
    return err;
}

/* The one that was sealed; *out_found false: there is none. */
static enum tb_err
read_summary(struct report_job *job, bool *out_found, struct tb_fail *fail)
{
    const struct tb_place_file *file = tb_place_find(&job->list, "summary.json");
    struct tb_buf text = TB_BUF_INIT(TB_SUMMARY_MAX_BYTES);
    enum tb_err err;

    *out_found = file != NULL && file->kind == TB_PLACE_FILE;
    if (!*out_found) {
        return TB_OK;
    }
    err = tb_place_read(job->place, file, &text, fail);
    if (err == TB_OK) {
        err = tb_json_parse_max(tb_buf_view(&text), TB_SUMMARY_MAX_BYTES, &job->summary, fail);
    }
    if (err == TB_EFORMAT) {
        tb_fail_prefix(fail, "summary.json");
    }
    tb_buf_release(&text);
    return err;
}

static enum tb_err
read_files(struct report_job *job, struct tb_fail *fail)
{
    size_t segments = 0;
    bool found = false;
    enum tb_err err = tb_place_open_as(job->where, job->role, &job->place, fail);

    if (err == TB_OK) {
        err = tb_place_list(job->place, "", &job->list, fail);
    }
    if (err == TB_OK) {
        err = read_manifest(job, fail);
    }
    for (size_t i = 0; i < job->list.count; i++) {
        segments += is_segment(&job->list.at[i]) ? 1 : 0;
    }
    if (err == TB_OK && job->manifest == NULL && segments == 0) {
        err = tb_fail_set(fail, TB_ENOTFOUND,
                          "%s holds neither a manifest.json nor a segment (.pcapng.zst)",
                          job->where);
    }
    if (err == TB_OK) {
        err = read_summary(job, &found, fail);
    }
    if (err != TB_OK || found) {
        return err;
    }
    if (job->policy != NULL) {
        err = read_policy(job, fail);
    }
    job->seen = calloc(TB_SUMMARY_MAX_IOCS, sizeof(*job->seen));
    job->alert = calloc(1, sizeof(*job->alert));
    if (err == TB_OK && (job->seen == NULL || job->alert == NULL)) {
        err = tb_fail_set(fail, TB_ENOMEM, "no memory for a summary");
    }
    if (err == TB_OK) {
        err = tb_summarizer_new(&job->summarizer, fail);
    }
    return err == TB_OK ? summarize(job, fail) : err;
}

/* --- out --- */

static void
set_if_any(struct tb_json *root, const char *key, const struct tb_json *value)
{
    if (value != NULL) {
        tb_json_set_copy(root, key, value);
    } else {
        tb_json_set_null(root, key);
    }
}

static enum tb_err
write_out(struct report_job *job, struct tb_fail *fail)
{
    struct tb_buf page = TB_BUF_INIT(TB_REPORT_MAX_BYTES);
    struct tb_json *root = NULL;
    enum tb_err err;

    job->page.capture = job->capture;
    job->page.manifest = job->manifest;
    job->page.summary = job->summary;
    job->page.now_utc_ns = tb_clock_utc_ns();
    if (job->api.json) {
        root = tb_json_object();
        set_if_any(root, "capture", job->capture);
        set_if_any(root, "manifest", job->manifest);
        set_if_any(root, "summary", job->summary);
        err = tb_json_dump(root, true, &page, fail);
        tb_buf_put_str(&page, "\n");
    } else {
        err = tb_report_page(&job->page, &page, fail);
    }
    if (err == TB_OK && strcmp(job->output, "-") == 0) {
        err = tb_write_all(STDOUT_FILENO, tb_buf_view(&page), fail);
    } else if (err == TB_OK) {
        err = tb_write_file_whole(AT_FDCWD, job->output, tb_buf_view(&page), 0640, fail);
    }
    tb_json_free(root);
    tb_buf_release(&page);
    return err;
}

static int
run(struct report_job *job)
{
    struct tb_fail fail = {0};
    int status = TB_EXIT_OK;

    job->page.from = job->where;
    job->page.key = "";
    if (tb_capture_id_valid(job->where) && access(job->where, F_OK) != 0) {
        if (job->role != NULL || job->policy != NULL) {
            return tb_cli_usage("report",
                                "--%s is for files: of a capture by its id the service has "
                                "the summary; give its folder or s3://BUCKET/PREFIX",
                                job->role != NULL ? "role" : "policy");
        }
        job->page.from = "the service";
        status = ask(job);
    } else if (read_files(job, &fail) != TB_OK) {
        status = tb_cli_fail("report", &fail);
    }
    if (status == TB_EXIT_OK && write_out(job, &fail) != TB_OK) {
        status = tb_cli_fail("report", &fail);
    }
    if (status == TB_EXIT_OK && job->missing.count > 0) {
        status = TB_EXIT_LACKS;
    }
    tb_missing_release(&job->missing);
    tb_summarizer_free(job->summarizer);
    free(job->seen);
    free(job->alert);
    tb_rules_free(job->rules);
    tb_place_list_release(&job->list);
    tb_place_free(job->place);
    tb_json_free(job->capture);
    tb_json_free(job->manifest);
    tb_json_free(job->summary);
    tb_json_free(job->keys);
    return status;
}

int
tb_cmd_report(int argc, char **argv)
{
    static const struct option options[] = {
        {"output", required_argument, NULL, 'o'}, {"policy", required_argument, NULL, 'p'},
        {"role", required_argument, NULL, 'r'},   TB_API_OPTIONS,
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    struct report_job job = {.output = NULL};
    int option;

    while ((option = getopt_long(argc, argv, "o:p:h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return tb_cli_finish_stdout("report");
        }
        if (option == 'o') {
            job.output = optarg;
        } else if (option == 'p') {
            job.policy = optarg;
        } else if (option == 'r') {
            job.role = optarg;
        } else if (!tb_api_option(&job.api, option, optarg)) {
            return tb_cli_try_help("report");
        }
    }
    if (optind + 1 != argc) {
        return tb_cli_usage("report", "of which capture, or of which folder?");
    }
    if (job.output == NULL && job.api.json) {
        job.output = "-";
    }
    if (job.output == NULL) {
        return tb_cli_usage("report", "where to?  -o FILE, or -o - for standard output");
    }
    job.where = argv[optind];
    return run(&job);
}
