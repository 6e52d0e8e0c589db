#include "evidence.h"

#include <setjmp.h>
#include <stdarg.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/io.h>

#include "segments.h"

static int
remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

void
test_remove_tree(const char *path)
{
    assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

void
test_evidence_open(struct test_evidence *t)
{
    char path[96];

    t->storage = (struct tb_storage){.legal_hold = false};
    (void)snprintf(t->dir, sizeof(t->dir), "/tmp/tapbox-evidence-XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    (void)snprintf(path, sizeof(path), "%s/tapbox.db", t->dir);
    assert_int_equal(tb_store_open(path, &t->store, NULL), TB_OK);
    assert_int_equal(tb_signing_key_new(&t->key, NULL), TB_OK);
    assert_int_equal(tb_store_key_use(t->store, tb_signing_key_public(t->key), NULL), TB_OK);
}

void
test_evidence_close(struct test_evidence *t)
{
    tb_signing_key_free(t->key);
    tb_store_close(t->store);
    test_remove_tree(t->dir);
}

void
test_evidence_folder(const struct test_evidence *t, const char *id, char *out, size_t cap)
{
    assert_true((size_t)snprintf(out, cap, "%s/%s", t->dir, id) < cap);
}

static void
take_in(struct test_evidence *t, uint64_t seed, unsigned n, char out_id[TB_CAPTURE_ID_SIZE])
{
    struct tb_capture_request request = {
        .duration_ns = 60 * TB_NS_PER_S, .severity = 5.3, .storage = t->storage};
    char body[100], key[40];
    struct tb_intake intake = {.adapter = "guardduty",
                               .key = key,
                               .content_type = "application/json",
                               .remote = "203.0.113.7",
                               .token_name = "eventbridge",
                               .decision_reason = "severity 5.3 of 4.0",
                               .received_utc_ns = 1767323045 * TB_NS_PER_S,
                               .capture = &request};
    enum tb_intake_outcome outcome;

    (void)snprintf(request.instance, sizeof(request.instance), "i-%017llx",
                   (unsigned long long)seed);
    (void)snprintf(request.reason, sizeof(request.reason), "odd \"DNS\", %llu",
                   (unsigned long long)seed);
    (void)snprintf(key, sizeof(key), "%llu-%u", (unsigned long long)seed, n);
    (void)snprintf(body, sizeof(body), "{\"finding\": %llu, \"number\": %u}",
                   (unsigned long long)seed, n);
    intake.body = tb_bytes_str(body);
    assert_int_equal(tb_store_intake(t->store, &intake, &outcome, out_id, NULL), TB_OK);
    assert_int_equal(outcome, n == 1 ? TB_INTAKE_CREATED : TB_INTAKE_JOINED);
}

static void
move(struct test_evidence *t, const char *id, enum tb_capture_state from,
     enum tb_capture_state to)
{
    enum tb_stop_reason reason = to == TB_CAPTURE_DRAINING ? TB_STOP_DEADLINE : TB_STOP_NONE;

    assert_int_equal(tb_store_capture_move(t->store, id, from, to, reason, NULL), TB_OK);
}

/* Writes and enters one segment; its packets are added to `*packets`. */
static void
add_segment(struct test_evidence *t, const char *id, int folder_fd, uint64_t seed, unsigned n,
            uint64_t *packets)
{
    struct tb_segment_row row = {.state = TB_SEGMENT_SPOOLED, .local = true};
    struct tb_segment_reader *reader = NULL;
    struct tb_segment_summary summary;
    struct test_segment made;
    struct tb_sha256 sha256;
    int fd;

    test_segment_make(&made, seed * 100 + n, 4, 12, 200);
    (void)snprintf(row.capture_id, sizeof(row.capture_id), "%s", id);
    (void)snprintf(row.name, sizeof(row.name), "host-0-%06u.pcapng.zst", n);
    assert_int_equal(
        tb_write_file_whole(folder_fd, row.name, tb_buf_view(&made.file), 0600, NULL), TB_OK);
    fd = openat(folder_fd, row.name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
    tb_segment_reader_summary(reader, &summary);
    row.packets = summary.packets;
    row.first_utc_ns = summary.first_utc_ns;
    row.last_utc_ns = summary.last_utc_ns;
    *packets += summary.packets;
    assert_int_equal(tb_segment_merkle_root(reader, &sha256, NULL), TB_OK);
    memcpy(row.merkle_root, sha256.octets, sizeof(row.merkle_root));
    assert_int_equal(tb_sha256_fd(fd, &sha256, &row.bytes, NULL), TB_OK);
    memcpy(row.sha256, sha256.octets, sizeof(row.sha256));
    assert_int_equal(tb_store_segment_add(t->store, &row, NULL), TB_OK);
    (void)snprintf(row.s3_key, sizeof(row.s3_key), "captures/%s/segments/%s", id, row.name);
    row.uploaded_utc_ns = tb_clock_utc_ns();
    assert_int_equal(tb_store_segment_uploaded(t->store, &row, NULL), TB_OK);
    tb_segment_reader_free(reader);
    (void)close(fd);
    test_segment_release(&made);
}

void
test_evidence_recording(struct test_evidence *t, uint64_t seed, unsigned alerts,
                        unsigned segments, char out_id[TB_CAPTURE_ID_SIZE])
{
    struct tb_capture_source source = {
        .eni = "eni-0a1b2c3d", .ip = "10.0.0.9", .vni = 77, .armed = true};
    struct tb_ledger ledger = {0};
    char folder[160];
    int folder_fd, segments_fd;

    for (unsigned n = 1; n <= alerts; n++) {
        take_in(t, seed, n, out_id);
    }
    test_evidence_folder(t, out_id, folder, sizeof(folder));
    assert_int_equal(tb_open_dir(AT_FDCWD, folder, 0700, &folder_fd, NULL), TB_OK);
    assert_int_equal(tb_open_dir(folder_fd, "segments", 0700, &segments_fd, NULL), TB_OK);
    assert_int_equal(tb_store_capture_sources(t->store, out_id, &source, 1, NULL), TB_OK);
    move(t, out_id, TB_CAPTURE_REQUESTED, TB_CAPTURE_PLANNED);
    move(t, out_id, TB_CAPTURE_PLANNED, TB_CAPTURE_ARMING);
    move(t, out_id, TB_CAPTURE_ARMING, TB_CAPTURE_RECORDING);
    for (unsigned n = 1; n <= segments; n++) {
        add_segment(t, out_id, segments_fd, seed, n, &ledger.written);
    }
    ledger.received = ledger.written + 3;
    ledger.filtered = 3;
    assert_int_equal(tb_store_capture_ledger(t->store, out_id, &ledger, NULL), TB_OK);
    (void)close(segments_fd);
    (void)close(folder_fd);
}

void
test_evidence_end(struct test_evidence *t, const char *id)
{
    move(t, id, TB_CAPTURE_RECORDING, TB_CAPTURE_DRAINING);
    move(t, id, TB_CAPTURE_DRAINING, TB_CAPTURE_SEALING);
}

void
test_evidence_capture(struct test_evidence *t, uint64_t seed, unsigned alerts,
                      unsigned segments, char out_id[TB_CAPTURE_ID_SIZE])
{
    test_evidence_recording(t, seed, alerts, segments, out_id);
    test_evidence_end(t, out_id);
}

struct target {
    const char *dir; /* of all captures */
    int folder_fd;
    unsigned puts, fail_at;
};

/* What is there already has to be the same: S3 would refuse anything else. */
static void
assert_same(int folder_fd, const char *name, struct tb_bytes content)
{
    struct tb_buf there = TB_BUF_INIT(TB_CUSTODY_MAX_BYTES);

    if (tb_read_file(folder_fd, name, &there, NULL) == TB_OK) {
        assert_true(tb_bytes_equal(tb_buf_view(&there), content));
    }
    tb_buf_release(&there);
}

static enum tb_err
put_beside(struct target *target, const char *name, struct tb_bytes content,
           struct tb_fail *fail)
{
    char path[200];

    (void)snprintf(path, sizeof(path), "%s/%s", target->dir, name);
    for (char *slash = strchr(path + strlen(target->dir) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    assert_same(AT_FDCWD, path, content);
    return tb_write_file_whole(AT_FDCWD, path, content, 0600, fail);
}

static enum tb_err
put(void *arg, const char *name, const char *content_type, struct tb_bytes content,
    struct tb_fail *fail)
{
    struct target *target = arg;
    const char *slash = strchr(name, '/');
    char folder[32];

    assert_non_null(content_type);
    target->puts++;
    if (target->fail_at != 0 && target->puts >= target->fail_at) {
        return tb_fail_set(fail, TB_ERETRY, "as asked");
    }
    if (name[0] == '/') { /* beside the captures */
        return put_beside(target, name + 1, content, fail);
    }
    if (slash != NULL) {
        (void)snprintf(folder, sizeof(folder), "%.*s", (int)(slash - name), name);
        assert_true(mkdirat(target->folder_fd, folder, 0700) == 0 || errno == EEXIST);
    }
    assert_same(target->folder_fd, name, content);
    return tb_write_file_whole(target->folder_fd, name, content, 0600, fail);
}

static struct target
open_target(const struct test_evidence *t, const char *id, unsigned fail_at)
{
    struct target target = {.dir = t->dir, .fail_at = fail_at};
    char folder[160];

    test_evidence_folder(t, id, folder, sizeof(folder));
    assert_int_equal(tb_open_dir(AT_FDCWD, folder, 0700, &target.folder_fd, NULL), TB_OK);
    return target;
}

enum tb_err
test_evidence_seal(struct test_evidence *t, const char *id, unsigned fail_at,
                   unsigned *out_puts)
{
    static const struct tb_ledger host = {.received = 1000, .written = 900, .filtered = 100};
    struct target target = open_target(t, id, fail_at);
    struct tb_capture *capture = calloc(1, sizeof(*capture));
    struct tb_segment_row *segments = NULL;
    struct tb_seal seal = {.store = t->store, .key = t->key, .put = put, .arg = &target};
    enum tb_err err;

    assert_non_null(capture);
    assert_int_equal(tb_store_capture_get(t->store, id, capture, NULL), TB_OK);
    assert_int_equal(
        tb_store_segment_list(t->store, id, &segments, &seal.input.segment_count, NULL), TB_OK);
    seal.input.capture = capture;
    seal.input.segments = segments;
    seal.input.host_ledger = &host;
    seal.input.host_name = "host";
    seal.input.region = "eu-central-1";
    seal.input.now_utc_ns = tb_clock_utc_ns();
    err = tb_seal(&seal, NULL);
    if (err == TB_OK && capture->state == TB_CAPTURE_SEALING) {
        move(t, id, TB_CAPTURE_SEALING, TB_CAPTURE_SEALED);
    }
    if (out_puts != NULL) {
        *out_puts = target.puts;
    }
    (void)close(target.folder_fd);
    free(segments);
    free(capture);
    return err;
}

void
test_evidence_flush(struct test_evidence *t, const char *id)
{
    struct target target = open_target(t, id, 0);

    assert_int_equal(tb_seal_custody(t->store, t->key, id, put, &target, NULL), TB_OK);
    (void)close(target.folder_fd);
}

void
test_evidence_flush_host(struct test_evidence *t)
{
    struct target target = {.dir = t->dir, .folder_fd = -1};

    assert_int_equal(tb_seal_host_log(t->store, t->key, put, &target, NULL), TB_OK);
}
