/* TPACKET_V3: blocks that fill in order and are handed over whole. */
#include "ring.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Where the kernel puts the sockaddr_ll: behind its header, aligned. */
#define ADDRESS_AT                                                                             \
    ((sizeof(struct tpacket3_hdr) + TPACKET_ALIGNMENT - 1) / TPACKET_ALIGNMENT *               \
     TPACKET_ALIGNMENT)

bool
ring_open(struct ring *r, int ifindex, const struct ring_shape *shape)
{
    int version = TPACKET_V3;
    struct tpacket_req3 req = {.tp_block_size = RING_BLOCK,
                               .tp_block_nr = shape->blocks,
                               .tp_frame_size = TPACKET_ALIGNMENT << 7,
                               .tp_retire_blk_tov = shape->retire_ms};
    req.tp_frame_nr = RING_BLOCK / req.tp_frame_size * shape->blocks;
    struct sockaddr_ll at = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = ifindex};
    r->map = MAP_FAILED;
    r->next = 0;
    r->blocks = shape->blocks;
    /* protocol 0: nothing arrives before bind names the interface */
    r->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (r->fd < 0) {
        return false;
    }
    if (setsockopt(r->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) == 0 &&
        setsockopt(r->fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req)) == 0) {
        r->map = mmap(NULL, (size_t)RING_BLOCK * r->blocks, PROT_READ | PROT_WRITE, MAP_SHARED,
                      r->fd, 0);
    }
    if (r->map == MAP_FAILED || bind(r->fd, (const struct sockaddr *)&at, sizeof(at)) != 0) {
        ring_close(r);
        return false;
    }
    return true;
}

void
ring_close(struct ring *r)
{
    if (r->fd >= 0) {
        if (r->map != MAP_FAILED) {
            munmap(r->map, (size_t)RING_BLOCK * r->blocks);
        }
        close(r->fd);
        r->fd = -1;
    }
}

/* Octets of the ring, at an offset, as the kernel's header. */
static struct tpacket_block_desc *
block_at(uint8_t *map, unsigned n)
{
    return (struct tpacket_block_desc *)(void *)(map + (size_t)n * RING_BLOCK);
}

static void
read_frame(const uint8_t *at, struct ring_frame *f)
{
    struct tpacket3_hdr h;
    struct sockaddr_ll from;
    memcpy(&h, at, sizeof(h));
    memcpy(&from, at + ADDRESS_AT, sizeof(from));
    f->data = at + h.tp_mac;
    f->len = h.tp_snaplen;
    f->original = h.tp_len;
    f->at_ns = (int64_t)h.tp_sec * 1000000000 + h.tp_nsec;
    f->outgoing = from.sll_pkttype == PACKET_OUTGOING;
    f->has_vlan = (h.tp_status & TP_STATUS_VLAN_VALID) != 0;
    f->vlan_tci = (uint16_t)h.hv1.tp_vlan_tci;
    f->vlan_type = (h.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0 ? h.hv1.tp_vlan_tpid : 0x8100;
}

bool
ring_next_block(struct ring *r, void (*take)(void *arg, const struct ring_frame *f),
                void (*done)(void *arg), void *arg)
{
    struct tpacket_block_desc *block = block_at(r->map, r->next);
    volatile uint32_t *status = &block->hdr.bh1.block_status;
    if ((*status & TP_STATUS_USER) == 0) {
        return false;
    }
    atomic_thread_fence(memory_order_acquire);
    const uint8_t *at = (const uint8_t *)block + block->hdr.bh1.offset_to_first_pkt;
    for (uint32_t i = 0; i < block->hdr.bh1.num_pkts; i++) {
        struct ring_frame f;
        struct tpacket3_hdr h;
        read_frame(at, &f);
        take(arg, &f);
        memcpy(&h, at, sizeof(h));
        at += h.tp_next_offset;
    }
    done(arg);
    atomic_thread_fence(memory_order_release);
    *status = TP_STATUS_KERNEL;
    r->next = (r->next + 1) % r->blocks;
    return true;
}

uint64_t
ring_drops(struct ring *r)
{
    struct tpacket_stats_v3 stats = {0};
    socklen_t len = sizeof(stats);
    if (getsockopt(r->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len) != 0) {
        return 0;
    }
    return stats.tp_drops;
}

void
ring_set_deaf(struct ring *r, bool deaf)
{
    struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog program = {.len = 1, .filter = &nothing};
    int unused = 0;
    if (deaf) {
        setsockopt(r->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
    } else {
        setsockopt(r->fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused));
    }
}
