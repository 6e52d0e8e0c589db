/*
 * pcapng blocks, little-endian, written octet by octet into memory that the caller gives.
 * Source: draft-ietf-opsawg-pcapng.  Threads: pure.
 *
 * A writer function returns the block's size in octets (a multiple of 4), or 0 when `cap` is
 * too small; nothing is written past `cap`.  Text (NULL or "" leaves the option out) is made
 * valid UTF-8 without control characters, and cut at TB_PCAPNG_MAX_TEXT octets.
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
    TB_PCAPNG_LINKTYPE_ETHERNET = 1,

    TB_PCAPNG_MAX_TEXT =
        4096, /* octets of one option's text: a BPF expression is the longest */
    TB_PCAPNG_MAX_SECTION = 40 * 1024,   /* octets: every section header fits */
    TB_PCAPNG_MAX_INTERFACE = 17 * 1024, /* octets: every interface description fits */
    TB_PCAPNG_MAX_STATISTICS = 1024,     /* octets: every interface statistics block fits */
    TB_PCAPNG_PACKET_OVERHEAD = 60       /* octets: packet_size(n, ..) <= n + this */
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
    int64_t gap_from_utc_ns,
        gap_to_utc_ns; /* no recorder had the capture then; 0: none known */
};
size_t tb_pcapng_put_section(uint8_t *at, size_t cap, const struct tb_pcapng_section *section);

struct tb_pcapng_interface {
    const char *name;        /* the ENI id */
    const char *description; /* instance, VNI, outer source */
    const char *filter;      /* the BPF expression, "" : none */
    const char *os;          /* of the host behind the interface; "" : not known */
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

/* Interface statistics: the ledger as "name=value ..." in a comment, and in the counters
 * ifrecv = received, ifdrop = queue_dropped + spool_full, osdrop = ring_dropped, filteraccept =
 * written + over_budget + queue_dropped + spool_full, usrdeliv = written. */
size_t tb_pcapng_put_statistics(uint8_t *at, size_t cap, uint32_t interface,
                                int64_t start_utc_ns, int64_t end_utc_ns,
                                const struct tb_ledger *ledger);

/* Interface statistics with nothing but a comment: where something is to be said of a file that
 * has been written already. */
size_t tb_pcapng_put_remark(uint8_t *at, size_t cap, uint32_t interface, int64_t utc_ns,
                            const char *text);

/* --- reading --- */

struct tb_pcapng_block {
    uint32_t type;
    struct tb_bytes all;  /* the block, lent from the bytes it was read from */
    struct tb_bytes body; /* without type, the two lengths */
};
/* Takes the first block off `rest`.  TB_ESHORT when `rest` ends inside it, TB_EFORMAT when it
 * is not a little-endian pcapng block; `rest` and `out` are then as they were. */
TB_NODISCARD enum tb_err tb_pcapng_next(struct tb_bytes *rest, struct tb_pcapng_block *out);
/* Reads an enhanced packet block's fixed part (direction and dropped stay 0); *out_frame is
 * lent.  TB_EFORMAT when the frame does not fit the block. */
TB_NODISCARD enum tb_err tb_pcapng_get_packet(const struct tb_pcapng_block *block,
                                              struct tb_pcapng_packet *out,
                                              struct tb_bytes *out_frame);

#endif
