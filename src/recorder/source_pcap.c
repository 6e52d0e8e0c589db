/* Packets from the wire: libpcap's receive ring (TPACKET_V3), nanosecond timestamps. */
#include "lane_int.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

enum {
    BLOCK_TIMEOUT_MS = 20 /* a block with few packets waits so long in the kernel */
};

struct source_pcap {
    struct tb_source base;
    pcap_t *pcap;
    uint16_t port;
};

struct read_context {
    tb_packet_fn *packet;
    void *arg;
    pcap_t *pcap;
    size_t count;
};

static void
give_packet(u_char *user, /* NOLINT(readability-non-const-parameter): libpcap's type */
            const struct pcap_pkthdr *header, const u_char *octets)
{
    struct read_context *context = (void *)user;

    /* (with nanosecond precision tv_usec holds nanoseconds) */
    context->count++;
    if (!context->packet(context->arg,
                         (int64_t)header->ts.tv_sec * TB_NS_PER_S + (int64_t)header->ts.tv_usec,
                         tb_bytes_of(octets, header->caplen))) {
        pcap_breakloop(context->pcap);
    }
}

static enum tb_err
read_ring(struct tb_source *base, int max, tb_packet_fn *packet, void *arg, size_t *out_count,
          struct tb_fail *fail)
{
    struct source_pcap *source = (struct source_pcap *)base;
    struct read_context context = {packet, arg, source->pcap, 0};
    int n = pcap_dispatch(source->pcap, max, give_packet, (u_char *)&context);

    if (n < 0 && n != PCAP_ERROR_BREAK) {
        return tb_fail_set(fail, TB_EIO, "%s", pcap_geterr(source->pcap));
    }
    *out_count = context.count;
    return TB_OK;
}

static uint64_t
dropped(struct tb_source *base)
{
    struct source_pcap *source = (struct source_pcap *)base;
    struct tpacket_stats_v3 stats = {0, 0, 0};
    socklen_t len = sizeof(stats);

    /* Reading resets; tp_packets includes what was dropped. */
    if (getsockopt(pcap_fileno(source->pcap), SOL_PACKET, PACKET_STATISTICS, &stats, &len) !=
        0) {
        return 0;
    }
    return stats.tp_drops;
}

static void
close_pcap(struct tb_source *base)
{
    struct source_pcap *source = (struct source_pcap *)base;

    if (source->pcap != NULL) {
        pcap_close(source->pcap);
    }
    free(source);
}

static enum tb_err
refusal(int status, const char *interface, const char *text, struct tb_fail *fail)
{
    switch (status) {
    case PCAP_ERROR_NO_SUCH_DEVICE:
        return tb_fail_set(fail, TB_ENOTFOUND, "there is no network interface '%s'", interface);
    case PCAP_ERROR_PERM_DENIED:
    case PCAP_ERROR_PROMISC_PERM_DENIED:
        return tb_fail_set(fail, TB_EDENIED,
                           "not allowed to capture on %s: the recorder needs CAP_NET_RAW",
                           interface);
    case PCAP_ERROR_IFACE_NOT_UP:
        return tb_fail_set(fail, TB_ESTATE, "the network interface %s is down", interface);
    default:
        return tb_fail_set(fail, TB_EIO, "cannot capture on %s: %s", interface,
                           text[0] != '\0' ? text : pcap_statustostr(status));
    }
}

static enum tb_err
activate(struct source_pcap *source, const char *interface, uint64_t ring_bytes,
         struct tb_fail *fail)
{
    pcap_t *pcap = source->pcap;
    int status;

    if (ring_bytes > INT32_MAX) {
        return tb_fail_set(fail, TB_EINVAL, "a ring of %llu octets is too big: up to 2 GiB",
                           (unsigned long long)ring_bytes);
    }
    if (pcap_set_snaplen(pcap, TB_OUTER_MAX_BYTES) != 0 || pcap_set_promisc(pcap, 0) != 0 ||
        pcap_set_timeout(pcap, BLOCK_TIMEOUT_MS) != 0 ||
        pcap_set_buffer_size(pcap, (int)ring_bytes) != 0 ||
        pcap_set_tstamp_precision(pcap, PCAP_TSTAMP_PRECISION_NANO) != 0) {
        return tb_fail_set(fail, TB_EINTERNAL, "libpcap refuses the options of the ring");
    }
    status = pcap_activate(pcap);
    if (status < 0) {
        return refusal(status, interface, pcap_geterr(pcap), fail);
    }
    if (pcap_datalink(pcap) != DLT_EN10MB) {
        return tb_fail_set(fail, TB_EINVAL, "%s is not an Ethernet interface", interface);
    }
    return TB_OK;
}

static enum tb_err
attach(struct source_pcap *source, struct bpf_insn *insns, size_t count, struct tb_fail *fail)
{
    struct sock_filter kernel[TB_KERNEL_FILTER_MAX];
    struct sock_fprog program = {(unsigned short)count, kernel};

    for (size_t i = 0; i < count; i++) {
        kernel[i] = (struct sock_filter){insns[i].code, insns[i].jt, insns[i].jf, insns[i].k};
    }
    if (setsockopt(pcap_fileno(source->pcap), SOL_SOCKET, SO_ATTACH_FILTER, &program,
                   sizeof(program)) != 0) {
        return tb_fail_errno(fail, errno, "the kernel refuses the filter");
    }
    return TB_OK;
}

static void
discard(u_char *user, /* NOLINT(readability-non-const-parameter): libpcap's type */
        const struct pcap_pkthdr *header, const u_char *octets)
{
    (void)user;
    (void)header;
    (void)octets;
}

/* First a filter that lets in nothing, so that what came before can be thrown away. */
static enum tb_err
close_gate(struct source_pcap *source, struct tb_fail *fail)
{
    struct bpf_insn nothing = {.code = BPF_RET | BPF_K, .k = 0};
    struct pollfd ring = {.fd = pcap_fileno(source->pcap), .events = POLLIN};
    char text[PCAP_ERRBUF_SIZE];
    enum tb_err err;

    if (pcap_setnonblock(source->pcap, 1, text) != 0) {
        return tb_fail_set(fail, TB_EIO, "%s", text);
    }
    err = attach(source, &nothing, 1, fail);
    while (err == TB_OK && poll(&ring, 1, 2 * BLOCK_TIMEOUT_MS) > 0) {
        if (pcap_dispatch(source->pcap, -1, discard, NULL) < 0) {
            err = tb_fail_set(fail, TB_EIO, "%s", pcap_geterr(source->pcap));
        }
    }
    if (err == TB_OK) {
        (void)dropped(&source->base);
    }
    return err;
}

/* Not by pcap_setfilter: for some blocks libpcap runs the filter again by itself, and does not
 * know the kernel's packet types. */
static enum tb_err
start(struct tb_source *base, struct tb_fail *fail)
{
    struct source_pcap *source = (struct source_pcap *)base;
    struct bpf_insn insns[TB_KERNEL_FILTER_MAX];

    return attach(source, insns, tb_kernel_filter(insns, source->port, true), fail);
}

static const struct tb_source_ops pcap_ops = {start, read_ring, dropped, close_pcap};

enum tb_err
tb_source_pcap_open(const char *interface, uint64_t ring_bytes, uint16_t port,
                    struct tb_source **out, struct tb_fail *fail)
{
    struct source_pcap *source = calloc(1, sizeof(*source));
    char text[PCAP_ERRBUF_SIZE] = "";
    enum tb_err err;

    if (source == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to capture on %s", interface);
    }
    source->base.ops = &pcap_ops;
    source->port = port;
    if (strcmp(interface, "any") == 0 || if_nametoindex(interface) == 0) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "there is no network interface '%s'", interface);
        goto out;
    }
    source->pcap = pcap_create(interface, text);
    if (source->pcap == NULL) {
        err = tb_fail_set(fail, TB_EIO, "cannot capture on %s: %s", interface, text);
        goto out;
    }
    err = activate(source, interface, ring_bytes, fail);
    if (err == TB_OK) {
        err = close_gate(source, fail);
    }
    if (err != TB_OK) {
        goto out;
    }
    source->base.poll_fd = pcap_get_selectable_fd(source->pcap);
    *out = &source->base;
    source = NULL;

out:
    if (source != NULL) {
        close_pcap(&source->base);
    }
    return err;
}

enum tb_err
tb_source_pcap_join(struct tb_source *base, uint32_t *group, struct tb_fail *fail)
{
    const struct source_pcap *source = (struct source_pcap *)base;
    int fd = pcap_fileno(source->pcap);
    bool first = *group == 0;
    /* the group's number below, how it shares above */
    int fanout = first ? (PACKET_FANOUT_HASH | PACKET_FANOUT_FLAG_UNIQUEID) << 16
                       : (int)(*group & 0xffff) | PACKET_FANOUT_HASH << 16;
    socklen_t len = sizeof(fanout);

    if (setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &fanout, sizeof(fanout)) != 0 ||
        (first && getsockopt(fd, SOL_PACKET, PACKET_FANOUT, &fanout, &len) != 0)) {
        return tb_fail_errno(fail, errno, "the kernel does not share packets among lanes");
    }
    if (first) { /* (a bit above its 16 tells the group numbered 0 from none) */
        *group = ((uint32_t)fanout & 0xffff) | 1U << 16;
    }
    return TB_OK;
}

void
tb_source_close(struct tb_source *source)
{
    if (source != NULL) {
        source->ops->close(source);
    }
}
