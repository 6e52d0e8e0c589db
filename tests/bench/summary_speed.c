/*
 * usage: summary_speed SEGMENT... [--rounds N]
 *
 * Summarizes segments in this process, without the sandbox around it, and prints the document;
 * on stderr how fast that was.  Decompression is not in the time.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tapbox/clock.h>
#include <tapbox/segment.h>
#include <tapbox/summary.h>

static int64_t spent_ns;

static enum tb_err
take(struct tb_summary *summary, const char *path, struct tb_fail *fail)
{
    struct tb_buf blocks = TB_BUF_INIT(TB_SEGMENT_MAX_CHUNK_BYTES);
    struct tb_segment_reader *reader = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum tb_err err = fd < 0 ? tb_fail_set(fail, TB_ENOTFOUND, "cannot open %s", path)
                             : tb_segment_reader_open(fd, &reader, fail);

    for (size_t i = 0; err == TB_OK && tb_segment_reader_chunk(reader, i) != NULL; i++) {
        tb_buf_reset(&blocks);
        err = tb_segment_reader_read(reader, i, &blocks, fail);
        if (err == TB_OK) {
            int64_t began_ns = tb_clock_boot_ns();

            err = tb_summary_blocks(summary, tb_buf_view(&blocks), fail);
            spent_ns += tb_clock_boot_ns() - began_ns;
        }
    }
    tb_segment_reader_free(reader);
    tb_buf_release(&blocks);
    if (fd >= 0) {
        (void)close(fd);
    }
    return err;
}

int
main(int argc, char **argv)
{
    struct tb_buf text = TB_BUF_INIT(TB_SUMMARY_MAX_BYTES);
    struct tb_summary *summary = NULL;
    struct tb_json *root = NULL;
    struct tb_fail fail = {0};
    int rounds = 1, files = argc;
    uint64_t packets;
    enum tb_err err;

    if (argc > 3 && strcmp(argv[argc - 2], "--rounds") == 0) {
        rounds = atoi(argv[argc - 1]);
        files = argc - 2;
    }
    err = tb_summary_new(&summary, &fail);
    for (int round = 0; round < rounds; round++) {
        for (int i = 1; i < files && err == TB_OK; i++) {
            err = take(summary, argv[i], &fail);
        }
    }
    if (err == TB_OK) {
        root = tb_summary_json(summary, TB_SUMMARY_TOP);
        err = tb_json_dump(root, true, &text, &fail);
    }
    if (err == TB_OK) {
        packets = tb_summary_packets(summary);
        printf("%s\n", tb_buf_str(&text));
        fprintf(stderr, "%llu packets, %.0f ns each\n", (unsigned long long)packets,
                packets > 0 ? (double)spent_ns / (double)packets : 0.0);
    } else {
        fprintf(stderr, "summary_speed: %s\n", fail.text);
    }
    tb_json_free(root);
    tb_summary_free(summary);
    tb_buf_release(&text);
    return err == TB_OK ? 0 : 1;
}
