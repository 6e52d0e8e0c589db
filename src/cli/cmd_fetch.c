/*
 * tapbox fetch: a capture's files, or the packets of it that are wanted.  Needs no running
 * service, but to tell where a capture lies by its id; what lies in S3 is read by the usual AWS
 * environment.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tapbox/clock.h>
#include <tapbox/ids.h>
#include <tapbox/json.h>
#include <tapbox/proof.h>

#include "api_int.h"
#include "cli_int.h"
#include "keys_int.h"
#include "missing_int.h"

static const char help[] =
    "Usage: tapbox fetch CAPTURE [-o FOLDER]\n"
    "       tapbox fetch CAPTURE FILTER... -o FILE|-\n"
    "\n"
    "CAPTURE is where the evidence of one lies: s3://BUCKET/PREFIX (read with the usual AWS\n"
    "environment: AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL_S3, ...), a local folder, or a\n"
    "capture's id: then the service is asked where it lies in S3.\n"
    "\n"
    "Without a filter all of its files are brought to FOLDER (default: here), each checked\n"
    "against the manifest; done again, it goes on with what is missing, in the middle of a\n"
    "segment too.  'tapbox verify' then checks all there is to check.\n"
    "\n"
    "With one, the packets that fit are written as one file, merged by time.  Only the "
    "indexes\n"
    "and the chunks that may hold such packets are read.  A packet has to fit each kind of\n"
    "filter; one that is given again adds to its kind.\n"
    "\n"
    "      --since TIME       2026-01-02T03:04:05Z, or with another offset\n"
    "      --until TIME       before this\n"
    "      --host ADDRESS     from or to it\n"
    "      --flow A:P-B:P     of one conversation, both directions: "
    "10.0.0.1:443-10.0.0.2:5000\n"
    "                         or [2001:db8::1]:443-[2001:db8::2]:5000\n"
    "      --port PORT        from or to it\n"
    "      --proto PROTOCOL   tcp, udp, icmp, icmp6, sctp, or a number\n"
    "      --all              every packet\n"
    "      --format FORMAT    pcapng (default); pcap for old tools: no interfaces, "
    "microseconds\n"
    "  -o, --output PATH      the folder, or the file; '-' is standard output:\n"
    "                         tapbox fetch s3://... --host 10.0.0.1 -o - | wireshark -k -i -\n"
    "  -t, --threads N        reads at a time (default: 16 from S3)\n"
    "  -k, --key FILE         a public key (PEM) that you trust: only what is signed with it; "
    "may\n"
    "                         be given again\n"
    "  -f, --fingerprint HEX  or the fingerprint of one that lies in keys/ beside the "
    "evidence\n"
    "      --role ARN         read S3 as this role (sts:AssumeRole with the environment's\n"
    "                         credentials)\n"
    "      --proof            also make FILE.proof/: 'tapbox verify FILE' then proves the "
    "extract\n"
    "                         with the signed manifest and the chunks that it was made of\n"
    "      --json             what was done as JSON (on stderr when the packets go to stdout)\n"
    "      --url URL          where tapbox is, for an id (TAPBOX_URL, else "
    "http://127.0.0.1:8480)\n"
    "      --token-file FILE  file that holds the token (else TAPBOX_TOKEN is the token)\n"
    "  -h, --help             this text\n"
    "\n"
    "Without --key and --fingerprint the signature is checked with the key that lies beside "
    "the\n"
    "evidence, whose fingerprint is told: compare it with one that was written down.\n"
    "\n"
    "Ports are those of whole datagrams: fragments have none, --host and --proto find them.\n"
    "\n"
    "What is damaged or not there is left out of an extract, and told: on stderr, in the JSON "
    "and\n"
    "in comments at the end of the pcapng.\n"
    "\n"
    "Status: 0 done, 3 nothing there, 4 S3 refuses, 5 S3 does not answer, 7 something is not\n"
    "what the manifest says, or not signed as asked for: nothing was written, 9 the extract "
    "is\n"
    "all that can be read, something is missing from it.\n";

enum {
    NOTE_BYTES = TB_PROOF_FILTER_MAX_BYTES,
    JSON_MAX_BYTES = 64 << 20, /* with some 100,000 stretches that could not be read */
    PATH_BYTES = 4096
};

struct fetch {
    const char *where, *output, *role;
    struct tb_api_options api;
    struct tb_cli_keys keys;
    struct tb_select select;
    bool is_filtered, as_pcap, json, proof;
    unsigned threads;
    char note[NOTE_BYTES]; /* the filter as it was given */
    int out_fd;
    bool reader_left;
    struct tb_json *missing; /* owned; stretches that could not be read */
    struct tb_cli_progress progress;
};

static void
on_progress(void *arg, uint64_t done, uint64_t total)
{
    struct fetch *fetch = arg;

    tb_cli_progress_show(&fetch->progress, done, total);
}

static struct tb_retrieve_trust
trust_of(const struct fetch *fetch)
{
    return (struct tb_retrieve_trust){.keys = fetch->keys.at,
                                      .key_count = fetch->keys.count,
                                      .is_required = tb_cli_keys_given(&fetch->keys)};
}

/* What it was checked against: into the JSON, and behind the sentence. */
static void
tell_checked(const struct tb_retrieve_checked *checked, struct tb_json *json, char *text,
             size_t cap)
{
    size_t len = strlen(text);

    tb_json_set_bool(json, "checked", checked->by_manifest);
    tb_json_set_bool(json, "signed", checked->is_signed);
    tb_json_set_bool(json, "trusted", checked->is_trusted);
    tb_json_set_str(json, "key", checked->key.text[0] != '\0' ? checked->key.text : NULL);
    if (!checked->by_manifest) {
        (void)snprintf(text + len, cap - len, "; there is no manifest to check them against");
    } else if (checked->is_trusted) {
        (void)snprintf(text + len, cap - len,
                       "; they are as the manifest says, which is signed with the key given");
    } else if (checked->is_signed) {
        (void)snprintf(text + len, cap - len,
                       "; they are as the manifest says.\nIt is signed with the key that lies "
                       "beside it, for which nobody vouched; compare its fingerprint:\n  %s",
                       checked->key.text);
    } else {
        (void)snprintf(
            text + len, cap - len,
            "; they are as the manifest says.\nNothing proves the manifest: there is "
            "no signature, or no key %s to check it",
            checked->key.text);
    }
}

static int
report(struct fetch *fetch, struct tb_json *json, const char *text)
{
    struct tb_buf out = TB_BUF_INIT(JSON_MAX_BYTES);
    bool to_stderr = fetch->out_fd == STDOUT_FILENO;
    int status = TB_EXIT_OK;

    tb_cli_progress_clear(&fetch->progress);
    if (!fetch->json) {
        fprintf(to_stderr ? stderr : stdout, "%s\n", text);
    } else if (tb_json_dump(json, true, &out, NULL) == TB_OK) {
        fprintf(to_stderr ? stderr : stdout, "%s\n", tb_buf_str(&out));
    }
    tb_json_free(json);
    tb_buf_release(&out);
    if (!to_stderr) {
        status = tb_cli_finish_stdout("fetch");
    }
    return status;
}

static int
tell(struct fetch *fetch, const struct tb_fail *fail)
{
    tb_cli_progress_clear(&fetch->progress);
    (void)tb_cli_fail("fetch", fail);
    return fail->err == TB_EFORMAT ? TB_EXIT_EVIDENCE : tb_cli_exit_of(fail->err);
}

/* --- an extract --- */

static enum tb_err
write_out(void *arg, struct tb_bytes octets, struct tb_fail *fail)
{
    struct fetch *fetch = arg;
    struct tb_fail why = {0};
    enum tb_err err = tb_write_all(fetch->out_fd, octets, &why);

    if (err != TB_OK && why.sys_errno == EPIPE && fetch->out_fd == STDOUT_FILENO) {
        fetch->reader_left = true;
    }
    if (err != TB_OK && fail != NULL) {
        *fail = why;
        tb_fail_prefix(fail, "cannot write %s", fetch->output);
    }
    return err;
}

static void
on_missing(void *arg, const struct tb_missing *missing)
{
    struct fetch *fetch = arg;

    tb_cli_progress_clear(&fetch->progress);
    if (!fetch->json) {
        tb_cli_missing_tell("fetch", missing);
    }
    tb_cli_missing_put(fetch->missing, missing);
}

static int
report_extract(struct fetch *fetch, const struct tb_extract_counts *counts)
{
    struct tb_json *json = tb_json_object();
    char text[1024];
    int status;

    tb_json_set_int(json, "packets", (int64_t)counts->packets);
    tb_json_set_int(json, "packets_read", (int64_t)counts->packets_read);
    tb_json_set_int(json, "segments", (int64_t)counts->segments);
    tb_json_set_int(json, "segments_read", (int64_t)counts->segments_read);
    tb_json_set_int(json, "chunks", (int64_t)counts->chunks);
    tb_json_set_int(json, "chunks_read", (int64_t)counts->chunks_read);
    tb_json_set_int(json, "bytes", (int64_t)counts->bytes);
    tb_json_set_int(json, "bytes_read", (int64_t)counts->bytes_read);
    tb_json_set_str(json, "filter", fetch->note);
    tb_json_set_copy(json, "missing", fetch->missing);
    (void)snprintf(text, sizeof(text),
                   "%llu packets, from %zu of %zu chunks in %zu of %zu segments (%.1f of %.1f "
                   "MiB read)",
                   (unsigned long long)counts->packets, counts->chunks_read, counts->chunks,
                   counts->segments_read, counts->segments,
                   (double)counts->bytes_read / (1 << 20), (double)counts->bytes / (1 << 20));
    if (counts->missing > 0) {
        size_t len = strlen(text);

        (void)snprintf(text + len, sizeof(text) - len,
                       "; %zu stretches of segments could not be read and are missing",
                       counts->missing);
    }
    tell_checked(&counts->checked, json, text, sizeof(text));
    status = report(fetch, json, text);
    return status == TB_EXIT_OK && counts->missing > 0 ? TB_EXIT_LACKS : status;
}

/* The file appears whole: NAME.part, then its name. */
static enum tb_err
open_output(struct fetch *fetch, char part[PATH_BYTES], struct tb_fail *fail)
{
    if (strcmp(fetch->output, "-") == 0) {
        fetch->out_fd = STDOUT_FILENO;
        (void)signal(SIGPIPE, SIG_IGN);
        return TB_OK;
    }
    if (snprintf(part, PATH_BYTES, "%s.part", fetch->output) >= PATH_BYTES) {
        return tb_fail_set(fail, TB_EINVAL, "the name of the file is too long");
    }
    fetch->out_fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    return fetch->out_fd >= 0 ? TB_OK : tb_fail_errno(fail, errno, "cannot make %s", part);
}

static enum tb_err
close_output(struct fetch *fetch, const char *part, enum tb_err err, struct tb_fail *fail)
{
    if (fetch->out_fd == STDOUT_FILENO || fetch->out_fd < 0) {
        return err;
    }
    if (err == TB_OK && fsync(fetch->out_fd) != 0) {
        err = tb_fail_errno(fail, errno, "cannot write %s", part);
    }
    if (err == TB_OK && rename(part, fetch->output) != 0) {
        err = tb_fail_errno(fail, errno, "cannot rename %s", part);
    }
    if (err != TB_OK) {
        (void)unlink(part);
    }
    tb_close(&fetch->out_fd);
    return err;
}

/* OUTPUT.proof.part, which becomes OUTPUT.proof once the file has its name. */
struct proof_folder {
    char name[PATH_BYTES], part[PATH_BYTES];
};

/* One that is there already belongs to another extract; what is left of a broken off fetch
 * does not count. */
static enum tb_err
begin_proof(struct fetch *fetch, struct proof_folder *folder, struct tb_fail *fail)
{
    if (snprintf(folder->name, PATH_BYTES, "%s.proof", fetch->output) >= PATH_BYTES ||
        snprintf(folder->part, PATH_BYTES, "%s.proof.part", fetch->output) >= PATH_BYTES) {
        folder->part[0] = '\0';
        return tb_fail_set(fail, TB_EINVAL, "the name of the file is too long");
    }
    if (access(folder->name, F_OK) == 0) {
        folder->part[0] = '\0';
        return tb_fail_set(fail, TB_EEXIST,
                           "cannot make the proof's folder %s: there is one already",
                           folder->name);
    }
    tb_proof_discard(folder->part);
    return TB_OK;
}

static enum tb_err
end_proof(const struct proof_folder *folder, enum tb_err err, struct tb_fail *fail)
{
    if (err == TB_OK && rename(folder->part, folder->name) != 0) {
        err = tb_fail_errno(fail, errno, "cannot rename %s", folder->part);
    }
    if (err != TB_OK && folder->part[0] != '\0') {
        tb_proof_discard(folder->part);
    }
    return err;
}

static enum tb_err
extract_with_proof(struct fetch *fetch, struct tb_place *place,
                   const struct tb_place_list *list, const char *folder,
                   const struct tb_extract *want, struct tb_extract_counts *counts,
                   struct tb_fail *fail)
{
    int fd = -1;
    enum tb_err err;

    if (mkdir(folder, 0750) != 0) {
        return tb_fail_errno(fail, errno, "cannot make the proof's folder %s", folder);
    }
    err = tb_open_dir(AT_FDCWD, folder, 0750, &fd, fail);
    if (err == TB_OK) {
        err = tb_proof_make(place, list, want, fetch->note, fd, counts, fail);
    }
    if (err == TB_OK) {
        err = tb_cli_keys_bring(place, fd, fail);
    }
    tb_close(&fd);
    return err;
}

static int
extract(struct fetch *fetch, struct tb_place *place, const struct tb_place_list *list)
{
    char part[PATH_BYTES] = "", note[TB_PROOF_FILTER_MAX_BYTES + 16];
    const struct tb_extract want = {.select = &fetch->select,
                                    .as_pcap = fetch->as_pcap,
                                    .note = note,
                                    .threads = fetch->threads,
                                    .trust = trust_of(fetch),
                                    .sink = write_out,
                                    .progress = on_progress,
                                    .missing = on_missing,
                                    .arg = fetch};
    struct tb_extract_counts counts = {0};
    struct proof_folder proof = {.part = ""};
    struct tb_fail fail = {0};
    enum tb_err err = fetch->proof ? begin_proof(fetch, &proof, &fail) : TB_OK;

    if (err == TB_OK) {
        err = open_output(fetch, part, &fail);
    }
    tb_proof_note(fetch->note, note);
    if (err == TB_OK && fetch->proof) {
        err = extract_with_proof(fetch, place, list, proof.part, &want, &counts, &fail);
    } else if (err == TB_OK) {
        err = tb_extract(place, list, &want, &counts, &fail);
    }
    err = close_output(fetch, part, err, &fail);
    if (fetch->proof) {
        err = end_proof(&proof, err, &fail);
    }
    if (fetch->reader_left) {
        return TB_EXIT_OK;
    }
    return err == TB_OK ? report_extract(fetch, &counts) : tell(fetch, &fail);
}

/* --- all of it --- */

static int
download(struct fetch *fetch, struct tb_place *place, const struct tb_place_list *list)
{
    struct tb_download want = {.name = tb_place_name(place),
                               .threads = fetch->threads,
                               .trust = trust_of(fetch),
                               .progress = on_progress,
                               .arg = fetch,
                               .folder_fd = -1};
    struct tb_download_counts counts;
    struct tb_json *json;
    struct tb_fail fail = {0};
    char text[1024];
    enum tb_err err;

    err = tb_open_dir(AT_FDCWD, fetch->output != NULL ? fetch->output : ".", 0750,
                      &want.folder_fd, &fail);
    if (err == TB_OK) {
        err = tb_download(place, list, &want, &counts, &fail);
    }
    if (err == TB_OK) {
        err = tb_cli_keys_bring(place, want.folder_fd, &fail);
    }
    tb_close(&want.folder_fd);
    if (err != TB_OK) {
        return tell(fetch, &fail);
    }
    json = tb_json_object();
    tb_json_set_int(json, "files", (int64_t)counts.files);
    tb_json_set_int(json, "kept", (int64_t)counts.kept);
    tb_json_set_int(json, "bytes", (int64_t)counts.bytes);
    tb_json_set_int(json, "bytes_read", (int64_t)counts.bytes_read);
    (void)snprintf(text, sizeof(text), "%zu files, %.1f MiB, in %.300s/%s (%zu were there)",
                   counts.files, (double)counts.bytes / (1 << 20),
                   fetch->output != NULL ? fetch->output : ".", want.name, counts.kept);
    tell_checked(&counts.checked, json, text, sizeof(text));
    return report(fetch, json, text);
}

/* Where a capture lies in S3, asked of the service; a folder of that name is meant first. */
static int
find_place(const struct fetch *fetch, char out[PATH_BYTES])
{
    char path[64 + TB_CAPTURE_ID_SIZE];
    struct tb_json *answer = NULL;
    const char *place;
    int status;

    if (!tb_capture_id_valid(fetch->where) || access(fetch->where, F_OK) == 0) {
        (void)tb_str_copy(out, PATH_BYTES, fetch->where);
        return TB_EXIT_OK;
    }
    (void)snprintf(path, sizeof(path), "/v1/captures/%s/files", fetch->where);
    status = tb_api_do(&fetch->api, &(struct tb_api_call){"fetch", "GET", path, NULL, NULL},
                       &answer);
    if (status == TB_EXIT_OK) {
        place = tb_json_str(answer, "/place");
        (void)tb_str_copy(out, PATH_BYTES, place != NULL ? place : "");
    }
    tb_json_free(answer);
    return status;
}

static int
fetch_it(struct fetch *fetch)
{
    struct tb_place_list list = {.count = 0};
    struct tb_place *place = NULL;
    struct tb_fail fail = {0};
    char where[PATH_BYTES];
    int status = find_place(fetch, where);

    if (status != TB_EXIT_OK) {
        return status;
    }
    if (tb_place_open_as(where, fetch->role, &place, &fail) != TB_OK ||
        tb_place_list(place, "", &list, &fail) != TB_OK) {
        status = tell(fetch, &fail);
    } else if (list.count == 0) {
        (void)tb_fail_set(&fail, TB_ENOTFOUND, "nothing lies at %.300s", where);
        status = tell(fetch, &fail);
    } else {
        status = tb_cli_keys_take(&fetch->keys, "fetch", where, place, &list);
        if (status == TB_EXIT_OK) {
            status = fetch->is_filtered ? extract(fetch, place, &list)
                                        : download(fetch, place, &list);
        }
    }
    tb_place_list_release(&list);
    tb_place_free(place);
    return status;
}

/* --- the command line --- */

enum {
    OPTION_SINCE = 1,
    OPTION_UNTIL,
    OPTION_HOST,
    OPTION_FLOW,
    OPTION_PORT,
    OPTION_PROTO,
    OPTION_ALL,
    OPTION_FORMAT,
    OPTION_PROOF,
    OPTION_ROLE,
    OPTION_JSON
};

static void
note_filter(struct fetch *fetch, const char *name, const char *value)
{
    size_t len = strlen(fetch->note);

    fetch->is_filtered = true;
    (void)snprintf(fetch->note + len, sizeof(fetch->note) - len, "%s--%s%s%s",
                   len > 0 ? " " : "", name, value != NULL ? " " : "",
                   value != NULL ? value : "");
}

static int
take_option(struct fetch *fetch, int option, const char *name, const char *value)
{
    struct tb_fail fail = {0};
    long threads;
    char *end;

    switch (option) {
    case 'o':
        fetch->output = value;
        return TB_EXIT_OK;
    case 't':
        threads = strtol(value, &end, 10);
        if (*end != '\0' || threads < 1 || threads > 32) {
            return tb_cli_usage("fetch", "--threads takes 1 to 32");
        }
        fetch->threads = (unsigned)threads;
        return TB_EXIT_OK;
    case 'k':
    case 'f':
        return tb_cli_keys_option(&fetch->keys, option, value)
                   ? TB_EXIT_OK
                   : tb_cli_usage("fetch", "more than %d of --key or --fingerprint",
                                  TB_CLI_MAX_KEY_NAMES);
    case OPTION_ROLE:
        fetch->role = value;
        return TB_EXIT_OK;
    case OPTION_JSON:
        fetch->json = true;
        return TB_EXIT_OK;
    case OPTION_PROOF:
        fetch->proof = true;
        return TB_EXIT_OK;
    case OPTION_FORMAT:
        fetch->as_pcap = strcmp(value, "pcap") == 0;
        fetch->is_filtered = true;
        return fetch->as_pcap || strcmp(value, "pcapng") == 0
                   ? TB_EXIT_OK
                   : tb_cli_usage("fetch", "--format is pcapng or pcap");
    case TB_API_OPTION_URL:
    case TB_API_OPTION_TOKEN_FILE:
        (void)tb_api_option(&fetch->api, option, value);
        return TB_EXIT_OK;
    default:
        if (tb_select_add(&fetch->select, name, value, &fail) != TB_OK) {
            return tb_cli_usage("fetch", "--%s: %s", name, fail.text);
        }
        note_filter(fetch, name, value);
        return TB_EXIT_OK;
    }
}

int
tb_cmd_fetch(int argc, char **argv)
{
    static const struct option options[] = {
        {"since", required_argument, NULL, OPTION_SINCE},
        {"until", required_argument, NULL, OPTION_UNTIL},
        {"host", required_argument, NULL, OPTION_HOST},
        {"flow", required_argument, NULL, OPTION_FLOW},
        {"port", required_argument, NULL, OPTION_PORT},
        {"proto", required_argument, NULL, OPTION_PROTO},
        {"all", no_argument, NULL, OPTION_ALL},
        {"format", required_argument, NULL, OPTION_FORMAT},
        {"proof", no_argument, NULL, OPTION_PROOF},
        {"key", required_argument, NULL, 'k'},
        {"fingerprint", required_argument, NULL, 'f'},
        {"role", required_argument, NULL, OPTION_ROLE},
        {"json", no_argument, NULL, OPTION_JSON},
        {"url", required_argument, NULL, TB_API_OPTION_URL},
        {"token-file", required_argument, NULL, TB_API_OPTION_TOKEN_FILE},
        {"output", required_argument, NULL, 'o'},
        {"threads", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct fetch fetch = {.out_fd = -1};
    int option, status, index = 0;

    fetch.missing = tb_json_array();
    tb_select_init(&fetch.select);
    while ((option = getopt_long(argc, argv, "o:t:k:f:h", options, &index)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return tb_cli_finish_stdout("fetch");
        }
        if (option == '?') {
            return tb_cli_try_help("fetch");
        }
        status = take_option(&fetch, option, options[index].name, optarg);
        if (status != TB_EXIT_OK) {
            return status;
        }
    }
    if (optind + 1 != argc) {
        return tb_cli_usage("fetch", "which capture?  'tapbox fetch s3://BUCKET/PREFIX'");
    }
    if (fetch.is_filtered && fetch.output == NULL) {
        return tb_cli_usage("fetch", "where to?  -o FILE, or -o - for a pipe");
    }
    if (!fetch.is_filtered && fetch.output != NULL && strcmp(fetch.output, "-") == 0) {
        return tb_cli_usage("fetch", "-o - takes packets: say which, or --all");
    }
    if (fetch.output != NULL && strcmp(fetch.output, "-") == 0 && isatty(STDOUT_FILENO) == 1) {
        return tb_cli_usage("fetch",
                            "packets are no text for a terminal: pipe them, or -o FILE");
    }
    if (fetch.proof && (!fetch.is_filtered || fetch.as_pcap || strcmp(fetch.output, "-") == 0 ||
                        strlen(fetch.note) + 1 >= sizeof(fetch.note))) {
        return tb_cli_usage("fetch", "--proof goes with a filter and a pcapng file (-o FILE)");
    }
    fetch.where = argv[optind];
    tb_cli_progress_begin(&fetch.progress);
    status = fetch_it(&fetch);
    tb_cli_keys_release(&fetch.keys);
    return status;
}
