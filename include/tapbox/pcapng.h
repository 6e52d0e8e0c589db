/*
 * pcapng blocks, little-endian, written octet by octet into memory that the caller gives.
 * Source: draft-ietf-opsawg-pcapng.  Threads: pure.
 *
 * A writer function returns the block's size in octets (a multiple of 4), or 0 when `cap` is
 * too small; nothing is written past `cap`.
 */
#ifndef TAPBOX_PCAPNG_H
#define TAPBOX_PCAPNG_H

#include <tapbox/bytes.h>
#include <tapbox/capture.h>

enum {
    TB_PCAPNG_SHB = 0x0A0D0D0A,
    TB_PCAPNG_IDB = 1,
    TB_PCAPNG_ISB = 5,
    TB_PCAPNG_EPB = 6,
    TB_PCAPNG_LINKTYPE_ETHERNET = 1
};

enum tb_direction {
    TB_DIRECTION_UNKNOWN = 0,
    TB_DIRECTION_INBOUND = 1,
    TB_DIRECTION_OUTBOUND = 2
};

struct tb_pcapng_section {
    const char *capture_id, *case_id, *finding_id, *finding_type, *reason;
    const char *application; /* "tapbox 0.1.0" */
    const char *hardware, *os;
    int64_t started_utc_ns;
};
size_t tb_pcapng_put_section(uint8_t *at, size_t cap, const struct tb_pcapng_section *section);

struct tb_pcapng_interface {
    const char *name;        /* the ENI id */
    const char *description; /* instance, VNI, outer source */
    const char *filter;      /* the BPF expression, "" : none */
    uint8_t mac[6];
    uint32_t snaplen; /* 0: unlimited; equal in all interfaces of a file */
};
size_t tb_pcapng_put_interface(uint8_t *at, size_t cap,
                               const struct tb_pcapng_interface *interface);

/* Size of an enhanced packet block for `captured` octets with the options below. */
size_t tb_pcapng_packet_size(uint32_t captured, uint64_t dropped);

struct tb_pcapng_packet {
    uint32_t interface;
    int64_t utc_ns;
    uint32_t captured, original; /* octets; original >= captured */
    enum tb_direction direction;
    uint64_t
        dropped; /* lost between this interface's previous packet and this one; 0: no option */
};
/* Header and options are written, `frame` (captured octets) is copied in: the one copy. */
size_t tb_pcapng_put_packet(uint8_t *at, size_t cap, const struct tb_pcapng_packet *packet,
                            const uint8_t *frame);

/* Interface statistics with the ledger in its comment, and isb_ifrecv/ifdrop/... */
size_t tb_pcapng_put_statistics(uint8_t *at, size_t cap, uint32_t interface,
                                int64_t start_utc_ns, int64_t end_utc_ns,
                                const struct tb_ledger *ledger);

#endif
