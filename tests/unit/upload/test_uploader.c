/* Which segment goes next: one file's or one capture's trouble is not the others'. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/clock.h>
#include <tapbox/io.h>
#include <tapbox/log.h>
#include <tapbox/spool.h>
#include <tapbox/upload.h>

#include "../../support/evidence.h"
#include "../../support/http_peer.h"
#include "../../support/segments.h"

enum {
    MANY = 120,          /* more segments than the uploader looks at in one go */
    MANY_CAPTURES = 300, /* more than there was a fixed number of places for */
    PATIENCE_MS = 90000,
    LOOK_MS = 20
};

#define DISABLED                                                                               \
    "<Error><Code>KMS.DisabledException</Code><Message>the key is disabled</Message></Error>"

struct rig {
    char folder[64], begins[2][256];
    struct http_peer *peer;
    struct tb_http_client *http;
    struct tb_aws *aws;
    struct tb_store *store;
    int spool_fd;
    struct test_segment segment;
    char ids[2][TB_CAPTURE_ID_SIZE]; /* in their order */
    struct tb_uploader *uploader;
};

static void
make_capture(struct rig *rig, const char *instance, char id[TB_CAPTURE_ID_SIZE])
{
    struct tb_capture_request request = {.duration_ns = TB_NS_PER_S};
    struct tb_intake intake = {.adapter = "api",
                               .key = "",
                               .body = tb_bytes_str("{}"),
                               .content_type = "application/json",
                               .remote = "",
                               .token_name = "test",
                               .decision_reason = "",
                               .received_utc_ns = tb_clock_utc_ns(),
                               .capture = &request};
    enum tb_intake_outcome outcome;

    (void)tb_str_copy(request.instance, sizeof(request.instance), instance);
    assert_int_equal(tb_store_intake(rig->store, &intake, &outcome, id, NULL), TB_OK);
}

static int
setup(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    char path[128];

    *state = rig;
    tb_log_start("test", TB_LOG_ERROR);
    strcpy(rig->folder, "/tmp/tapbox-upload-XXXXXX");
    assert_non_null(mkdtemp(rig->folder));
    rig->peer = http_peer_start(NULL, 0);
    setenv("AWS_ENDPOINT_URL_S3", http_peer_url(rig->peer), 1);
    setenv("AWS_REGION", "eu-central-1", 1);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    assert_int_equal(tb_http_client_new(&rig->http, NULL), TB_OK);
    assert_int_equal(tb_aws_new(rig->http, "eu-central-1", &rig->aws, NULL), TB_OK);
    (void)snprintf(path, sizeof(path), "%s/tapbox.db", rig->folder);
    assert_int_equal(tb_store_open(path, &rig->store, NULL), TB_OK);
    (void)snprintf(path, sizeof(path), "%s/spool", rig->folder);
    assert_int_equal(tb_open_dir(AT_FDCWD, path, 0700, &rig->spool_fd, NULL), TB_OK);
    test_segment_make(&rig->segment, 1, 2, 3, 200);
    make_capture(rig, "i-0123456789abcdef0", rig->ids[0]);
    make_capture(rig, "i-0123456789abcdef1", rig->ids[1]);
    if (strcmp(rig->ids[0], rig->ids[1]) > 0) {
        char other[TB_CAPTURE_ID_SIZE];

        memcpy(other, rig->ids[0], sizeof(other));
        memcpy(rig->ids[0], rig->ids[1], sizeof(other));
        memcpy(rig->ids[1], other, sizeof(other));
    }
    for (int i = 0; i < 2; i++) {
        char prefix[200];

        assert_int_equal(
            tb_upload_capture_prefix("captures", rig->ids[i], prefix, sizeof(prefix), NULL),
            TB_OK);
        (void)snprintf(rig->begins[i], sizeof(rig->begins[i]), "PUT /evidence/%s/", prefix);
    }
    return 0;
}

static int
teardown(void **state)
{
    struct rig *rig = *state;

    tb_uploader_stop(rig->uploader);
    tb_store_close(rig->store);
    tb_close(&rig->spool_fd);
    tb_aws_free(rig->aws);
    tb_http_client_free(rig->http);
    http_peer_stop(rig->peer);
    test_segment_release(&rig->segment);
    test_remove_tree(rig->folder);
    free(rig);
    return 0;
}

/* Sealed segments of a capture: those entered first go first. */
static void
seal(struct rig *rig, const char *id, unsigned count)
{
    int folder_fd = -1;

    assert_int_equal(tb_open_dir(rig->spool_fd, id, 0700, &folder_fd, NULL), TB_OK);
    for (unsigned i = 0; i < count; i++) {
        char name[64];
        int fd;

        (void)snprintf(name, sizeof(name), "host-0-%06u.pcapng.zst", i + 1);
        fd = openat(folder_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(tb_write_all(fd, tb_buf_view(&rig->segment.file), NULL), TB_OK);
        tb_close(&fd);
    }
    tb_close(&folder_fd);
    assert_int_equal(tb_upload_scan(rig->store, rig->spool_fd, id, NULL), TB_OK);
}

/* One thread, so that whatever holds it up holds up everything. */
static void
upload(struct rig *rig)
{
    struct tb_uploader_deps deps = {.store = rig->store,
                                    .aws = rig->aws,
                                    .bucket = {.name = "evidence", .path_style = true},
                                    .prefix = "captures",
                                    .spool_fd = rig->spool_fd,
                                    .threads = 1,
                                    .part_above_bytes = UINT64_C(1) << 30,
                                    .part_bytes = UINT64_C(64) << 20};

    assert_int_equal(tb_uploader_start(&deps, &rig->uploader, NULL), TB_OK);
}

static void
expect_uploaded(struct rig *rig, uint64_t count)
{
    struct tb_uploader_numbers numbers = {0};

    for (int waited = 0; waited < PATIENCE_MS && numbers.segments < count; waited += LOOK_MS) {
        (void)poll(NULL, 0, LOOK_MS);
        assert_int_equal(tb_uploader_numbers(rig->uploader, &numbers, NULL), TB_OK);
    }
    assert_int_equal(numbers.segments, count);
}

static void
a_capture_that_s3_refuses_holds_up_no_other(void **state)
{
    struct rig *rig = *state;
    const struct http_peer_step steps[] = {
        {.begins = "GET /evidence?", .status = 403, .always = true},
        {.begins = rig->begins[0], .status = 400, .body = DISABLED, .always = true},
        {.begins = rig->begins[1], .status = 200, .always = true}};

    seal(rig, rig->ids[0], MANY);
    seal(rig, rig->ids[1], 3);
    http_peer_script(rig->peer, steps, 3);
    upload(rig);
    expect_uploaded(rig, 3);
}

/* (what is refused is older: it would go first each time that it is tried again) */
static void
many_captures_that_s3_refuses_hold_up_no_other(void **state)
{
    struct rig *rig = *state;
    const struct http_peer_step steps[] = {
        {.begins = "GET /evidence?", .status = 403, .always = true},
        {.begins = rig->begins[0], .status = 200, .always = true},
        {.begins = "PUT /evidence/", .status = 400, .body = DISABLED, .always = true}};

    for (unsigned i = 0; i < MANY_CAPTURES; i++) {
        char instance[32], id[TB_CAPTURE_ID_SIZE];

        (void)snprintf(instance, sizeof(instance), "i-%017u", i);
        make_capture(rig, instance, id);
        seal(rig, id, 1);
    }
    seal(rig, rig->ids[0], 3);
    http_peer_script(rig->peer, steps, 3);
    upload(rig);
    expect_uploaded(rig, 3);
}

static void
it_goes_itself_when_s3_takes_it_again(void **state)
{
    struct rig *rig = *state;
    const struct http_peer_step steps[] = {
        {.begins = "GET /evidence?", .status = 403, .always = true},
        {.begins = rig->begins[0], .status = 400, .body = DISABLED},
        {.begins = rig->begins[0], .status = 400, .body = DISABLED},
        {.begins = rig->begins[0], .status = 200, .always = true}};

    seal(rig, rig->ids[0], 4);
    http_peer_script(rig->peer, steps, 4);
    upload(rig);
    expect_uploaded(rig, 4);
}

static void
a_file_that_became_shorter_holds_up_no_other(void **state)
{
    struct rig *rig = *state;
    const struct http_peer_step steps[] = {
        {.begins = "GET /evidence?", .status = 403, .always = true},
        {.begins = rig->begins[0], .status = 200, .always = true}};
    char path[200];

    seal(rig, rig->ids[0], 3);
    (void)snprintf(path, sizeof(path), "%s/spool/%s/host-0-000001.pcapng.zst", rig->folder,
                   rig->ids[0]);
    assert_int_equal(truncate(path, 100), 0);
    http_peer_script(rig->peer, steps, 2);
    upload(rig);
    expect_uploaded(rig, 2);
    assert_int_equal(access(path, F_OK), 0);
}

/* What a capture's custody log gets after its manifest, into S3. */
static void
custody_logs_are_kept_as_their_captures_and_hold_up_no_other(void **state)
{
    struct rig *rig = *state;
    const struct http_peer_step steps[] = {
        {.begins = "GET /evidence?", .status = 403, .always = true},
        {.begins = "PUT /evidence/", .status = 400, .body = DISABLED, .always = true}};
    struct test_evidence evidence;
    struct tb_uploader_deps deps = {.aws = rig->aws,
                                    .bucket = {.name = "evidence", .path_style = true},
                                    .prefix = "captures",
                                    .spool_fd = rig->spool_fd,
                                    .threads = 1};
    char prefix[200], begins[2][256], hold[8];
    bool seen[2] = {false, false};
    unsigned puts = 0;

    test_evidence_open(&evidence);
    evidence.storage.legal_hold = true;
    for (unsigned i = 0; i < 2; i++) {
        char id[TB_CAPTURE_ID_SIZE];

        test_evidence_capture(&evidence, i + 1, 1, 0, id);
        assert_int_equal(test_evidence_seal(&evidence, id, 0, &puts), TB_OK);
        assert_int_equal(tb_store_custody_add(evidence.store, id, "download", NULL, NULL, NULL),
                         TB_OK);
        assert_int_equal(tb_upload_capture_prefix("captures", id, prefix, sizeof(prefix), NULL),
                         TB_OK);
        (void)snprintf(begins[i], sizeof(begins[i]), "PUT /evidence/%s/custody/", prefix);
    }
    deps.store = evidence.store;
    deps.key = evidence.key;
    http_peer_script(rig->peer, steps, 2);
    assert_int_equal(tb_uploader_start(&deps, &rig->uploader, NULL), TB_OK);
    for (int waited = 0; waited < PATIENCE_MS && !(seen[0] && seen[1]); waited += LOOK_MS) {
        (void)poll(NULL, 0, LOOK_MS);
        for (size_t i = 0; i < http_peer_count(rig->peer); i++) {
            for (int c = 0; c < 2; c++) {
                if (strncmp(http_peer_head(rig->peer, i), begins[c], strlen(begins[c])) == 0) {
                    seen[c] = true;
                    http_peer_header(rig->peer, i, "x-amz-object-lock-legal-hold", hold,
                                     sizeof(hold));
                    assert_string_equal(hold, "ON");
                }
            }
        }
    }
    tb_uploader_stop(rig->uploader);
    rig->uploader = NULL;
    test_evidence_close(&evidence);
    assert_true(seen[0] && seen[1]);
}

/* Of what is no segment any more nothing can be saved: somebody may yet read it. */
static void
a_segment_of_which_nothing_can_be_read_goes_as_it_is(void **state)
{
    struct rig *rig = *state;
    const struct http_peer_step steps[] = {
        {.begins = "GET /evidence?", .status = 403, .always = true},
        {.begins = rig->begins[0], .status = 200, .always = true}};
    const struct tb_bytes whole = tb_buf_view(&rig->segment.file);
    /* of the file's octets: nothing, a few, the frame's header */
    const size_t kept[] = {0, 3, 40};
    enum {
        DAMAGED = sizeof(kept) / sizeof(kept[0])
    };
    struct tb_segment_row *rows = NULL;
    size_t count = 0;
    int folder_fd = -1;

    assert_int_equal(tb_open_dir(rig->spool_fd, rig->ids[0], 0700, &folder_fd, NULL), TB_OK);
    for (unsigned i = 0; i < DAMAGED; i++) {
        char name[64];
        int fd;

        (void)snprintf(name, sizeof(name), "host-0-%06u.pcapng.zst", i + 101);
        fd = openat(folder_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(tb_write_all(fd, tb_bytes_of(whole.at, kept[i]), NULL), TB_OK);
        tb_close(&fd);
    }
    tb_close(&folder_fd);
    seal(rig, rig->ids[0], 1);
    assert_int_equal(tb_store_segment_list(rig->store, rig->ids[0], &rows, &count, NULL),
                     TB_OK);
    assert_int_equal(count, DAMAGED + 1);
    assert_false(tb_segment_is_damaged(&rows[0]));
    for (size_t i = 0; i < DAMAGED; i++) {
        struct tb_sha256 sha256;

        assert_true(tb_segment_is_damaged(&rows[i + 1]));
        assert_int_equal(rows[i + 1].bytes, kept[i]);
        assert_int_equal(tb_sha256(tb_bytes_of(whole.at, kept[i]), &sha256), TB_OK);
        assert_memory_equal(rows[i + 1].sha256, sha256.octets, sizeof(sha256.octets));
    }
    free(rows);
    http_peer_script(rig->peer, steps, 2);
    upload(rig);
    expect_uploaded(rig, DAMAGED + 1);
}

/* What can be read takes its place, the store says what is missing, and it is kept. */
static void
what_can_be_read_of_a_damaged_segment_is_what_goes(void **state)
{
    struct rig *rig = *state;
    const struct http_peer_step steps[] = {
        {.begins = "GET /evidence?", .status = 403, .always = true},
        {.begins = rig->begins[0], .status = 200, .always = true}};
    const struct tb_segment_chunk *lost = &rig->segment.chunks[1];
    struct tb_segment_row *rows = NULL;
    struct tb_buf kept = TB_BUF_INIT(1 << 20);
    char path[200];
    size_t count = 0;
    int folder_fd = -1;

    test_segment_release(&rig->segment);
    test_segment_make(&rig->segment, 1, 4, 3, 200);
    rig->segment.file.at[lost->offset + lost->length / 2] ^= 1;
    rig->segment.file.at[rig->segment.file.len - 20] ^= 1; /* of the index */
    seal(rig, rig->ids[0], 1);
    assert_int_equal(tb_upload_scan(rig->store, rig->spool_fd, rig->ids[0], NULL), TB_OK);
    assert_int_equal(tb_store_segment_list(rig->store, rig->ids[0], &rows, &count, NULL),
                     TB_OK);
    assert_int_equal(count, 1);
    assert_int_equal(rows[0].packets, 6);
    assert_int_equal(rows[0].missing_packets, 3);
    assert_true(rows[0].recovered && rows[0].local);
    assert_string_not_equal(rows[0].damage, "");
    free(rows);
    (void)snprintf(path, sizeof(path), "%s/spool/unreadable/%s", rig->folder, rig->ids[0]);
    assert_int_equal(tb_open_dir(AT_FDCWD, path, 0700, &folder_fd, NULL), TB_OK);
    assert_int_equal(tb_read_file(folder_fd, "host-0-000001.pcapng.zst", &kept, NULL), TB_OK);
    assert_true(tb_bytes_equal(tb_buf_view(&kept), tb_buf_view(&rig->segment.file)));
    tb_close(&folder_fd);
    tb_buf_release(&kept);
    http_peer_script(rig->peer, steps, 2);
    upload(rig);
    expect_uploaded(rig, 1);
    assert_int_equal(tb_spool_remove_capture(rig->spool_fd, rig->ids[0], NULL), TB_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_capture_that_s3_refuses_holds_up_no_other, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(many_captures_that_s3_refuses_hold_up_no_other, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(it_goes_itself_when_s3_takes_it_again, setup, teardown),
        cmocka_unit_test_setup_teardown(
            custody_logs_are_kept_as_their_captures_and_hold_up_no_other, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_became_shorter_holds_up_no_other, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_segment_of_which_nothing_can_be_read_goes_as_it_is,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_can_be_read_of_a_damaged_segment_is_what_goes,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
