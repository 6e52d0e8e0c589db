/* Packets from a capture file of outer frames, as if they came from the wire. */
#include "lane_int.h"

#include <errno.h>
#include <stdio_ext.h>
#include <stdlib.h>

enum {
    BUFFER_BYTES = 256 * 1024 /* the default, a page, costs a system call every three packets */
};

/* Nanoseconds since 1970 fit into 63 bits up to here; fractions may be over a second. */
static const int64_t last_second = INT64_MAX / TB_NS_PER_S - UINT32_MAX / TB_NS_PER_S - 1;

struct source_replay {
    struct tb_source base;
    pcap_t *pcap;
    char *buffer;     /* owned: the file's, until it is closed */
    uint64_t packets; /* given so far */
};

static enum tb_err
read_file(struct tb_source *base, int max, tb_packet_fn *packet, void *arg, size_t *out_count,
          struct tb_fail *fail)
{
    struct source_replay *source = (struct source_replay *)base;
    struct pcap_pkthdr *header;
    const u_char *octets;
    size_t count = 0;

    for (bool more = true; more && count < (size_t)max; count++) {
        int got = pcap_next_ex(source->pcap, &header, &octets);

        if (got == PCAP_ERROR_BREAK) {
            *out_count = count;
            return count > 0 ? TB_OK : TB_ECLOSED;
        }
        if (got != 1) {
            return tb_fail_set(fail, TB_EFORMAT, "%s", pcap_geterr(source->pcap));
        }
        /* (pcapng has 64 bits, in any unit; with nanosecond precision tv_usec holds those) */
        if (header->ts.tv_sec < 0 || header->ts.tv_sec >= last_second) {
            return tb_fail_set(fail, TB_EFORMAT,
                               "packet %llu of the capture is not of a time between 1970 and "
                               "2262: its timestamp is damaged",
                               (unsigned long long)source->packets + 1);
        }
        source->packets++;
        more =
            packet(arg, (int64_t)header->ts.tv_sec * TB_NS_PER_S + (int64_t)header->ts.tv_usec,
                   tb_bytes_of(octets, header->caplen));
    }
    *out_count = count;
    return TB_OK;
}

static uint64_t
dropped(struct tb_source *base)
{
    (void)base;
    return 0;
}

static void
close_file(struct tb_source *base)
{
    struct source_replay *source = (struct source_replay *)base;

    if (source->pcap != NULL) {
        pcap_close(source->pcap);
    }
    free(source->buffer);
    free(source);
}

static const struct tb_source_ops replay_ops = {NULL, read_file, dropped, close_file};

enum tb_err
tb_source_replay_open(const char *path, struct tb_source **out, struct tb_fail *fail)
{
    char text[PCAP_ERRBUF_SIZE] = "";
    struct source_replay *source = calloc(1, sizeof(*source));
    FILE *file = NULL;
    enum tb_err err;

    if (source == NULL || (source->buffer = malloc(BUFFER_BYTES)) == NULL) {
        err = tb_fail_set(fail, TB_ENOMEM, "no memory to read %s", path);
        goto out;
    }
    file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    if (file == NULL) {
        err = tb_fail_set(fail, TB_EFORMAT, "cannot read the capture: %s: %s", path,
                          strerror(errno));
        goto out;
    }
    (void)setvbuf(file, source->buffer, _IOFBF, BUFFER_BYTES);
    (void)__fsetlocking(file, FSETLOCKING_BYCALLER); /* one thread reads it */
    source->pcap =
        pcap_fopen_offline_with_tstamp_precision(file, PCAP_TSTAMP_PRECISION_NANO, text);
    if (source->pcap == NULL) {
        err = tb_fail_set(fail, TB_EFORMAT, "cannot read the capture: %s", text);
        goto out;
    }
    file = NULL; /* libpcap's from here */
    if (pcap_datalink(source->pcap) != DLT_EN10MB) {
        err = tb_fail_set(fail, TB_EFORMAT, "%s does not hold Ethernet frames", path);
        goto out;
    }
    source->base.ops = &replay_ops;
    source->base.poll_fd = -1;
    *out = &source->base;
    source = NULL;
    err = TB_OK;

out:
    if (file != NULL) {
        (void)fclose(file);
    }
    if (source != NULL) {
        close_file(&source->base);
    }
    return err;
}
