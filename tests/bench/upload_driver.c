/*
 * The uploader alone: segments go from a spool to a bucket as they do in `tapbox serve`, from
 * the first look at them (index, SHA-256) to S3's last acknowledgement.  Prints the seconds.
 *
 * usage: upload_driver STATE_DIR BUCKET THREADS SEGMENT...   (on one file system)
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <tapbox/clock.h>
#include <tapbox/io.h>
#include <tapbox/log.h>
#include <tapbox/upload.h>

struct bench {
    struct tb_http_client *http;
    struct tb_aws *aws;
    struct tb_store *store;
    struct tb_uploader *uploader;
    int state_fd, spool_fd;
    char capture_id[TB_CAPTURE_ID_SIZE];
};

static enum tb_err
make_capture(struct bench *b, struct tb_fail *fail)
{
    struct tb_capture_request request = {.instance = "i-0123456789abcdef0",
                                         .duration_ns = TB_NS_PER_S};
    struct tb_intake intake = {.adapter = "api",
                               .key = "",
                               .body = tb_bytes_str("{}"),
                               .content_type = "application/json",
                               .remote = "",
                               .token_name = "bench",
                               .decision_reason = "",
                               .received_utc_ns = tb_clock_utc_ns(),
                               .capture = &request};
    enum tb_intake_outcome outcome;

    return tb_store_intake(b->store, &intake, &outcome, b->capture_id, fail);
}

static enum tb_err
fill_spool(struct bench *b, char **segments, int count, struct tb_fail *fail)
{
    int folder_fd = -1;
    enum tb_err err = tb_open_dir(b->spool_fd, b->capture_id, 0700, &folder_fd, fail);

    for (int i = 0; i < count && err == TB_OK; i++) {
        char name[64];

        (void)snprintf(name, sizeof(name), "bench-0-%06d.pcapng.zst", i + 1);
        if (linkat(AT_FDCWD, segments[i], folder_fd, name, 0) != 0) {
            err = tb_fail_errno(fail, errno, "cannot link %s", segments[i]);
        }
    }
    tb_close(&folder_fd);
    return err;
}

static enum tb_err
upload_all(struct bench *b, const char *bucket, unsigned threads, unsigned count,
           struct tb_fail *fail)
{
    const struct timespec moment = {.tv_nsec = 5 * TB_NS_PER_MS};
    struct tb_uploader_deps deps = {.store = b->store,
                                    .aws = b->aws,
                                    .bucket = {.name = bucket, .path_style = true},
                                    .prefix = "captures",
                                    .spool_fd = b->spool_fd,
                                    .threads = threads,
                                    .part_above_bytes = UINT64_C(1) << 30,
                                    .part_bytes = UINT64_C(64) << 20};
    struct tb_uploader_numbers numbers = {0};
    int64_t begun_ns = tb_clock_boot_ns();
    enum tb_err err = tb_uploader_start(&deps, &b->uploader, fail);

    while (err == TB_OK && numbers.segments < count) {
        (void)nanosleep(&moment, NULL);
        err = tb_uploader_numbers(b->uploader, &numbers, fail);
    }
    if (err == TB_OK) {
        printf("%.3f\n", (double)(tb_clock_boot_ns() - begun_ns) / (double)TB_NS_PER_S);
    }
    return err;
}

int
main(int argc, char **argv)
{
    struct bench b = {.state_fd = -1, .spool_fd = -1};
    struct tb_fail fail = {0};
    char path[300];
    enum tb_err err;

    if (argc < 5) {
        (void)fprintf(stderr, "usage: %s STATE_DIR BUCKET THREADS SEGMENT...\n", argv[0]);
        return 2;
    }
    tb_log_start("bench", TB_LOG_WARN);
    err = tb_http_client_new(&b.http, &fail);
    if (err == TB_OK) {
        err = tb_aws_new(b.http, NULL, &b.aws, &fail);
    }
    if (err == TB_OK) {
        err = tb_open_dir(AT_FDCWD, argv[1], 0700, &b.state_fd, &fail);
    }
    if (err == TB_OK) {
        err = tb_open_dir(b.state_fd, "spool", 0700, &b.spool_fd, &fail);
    }
    if (err == TB_OK) {
        (void)snprintf(path, sizeof(path), "%s/tapbox.db", argv[1]);
        err = tb_store_open(path, &b.store, &fail);
    }
    if (err == TB_OK) {
        err = make_capture(&b, &fail);
    }
    if (err == TB_OK) {
        err = fill_spool(&b, argv + 4, argc - 4, &fail);
    }
    if (err == TB_OK) {
        err = upload_all(&b, argv[2], (unsigned)strtoul(argv[3], NULL, 10), (unsigned)argc - 4,
                         &fail);
    }
    if (err != TB_OK) {
        (void)fprintf(stderr, "%s\n", fail.text);
    }
    tb_uploader_stop(b.uploader);
    tb_store_close(b.store);
    tb_close(&b.spool_fd);
    tb_close(&b.state_fd);
    tb_aws_free(b.aws);
    tb_http_client_free(b.http);
    return err == TB_OK ? 0 : 1;
}
