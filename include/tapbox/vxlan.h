/* VXLAN, from the Ethernet frame on the capture host down to the mirrored frame inside. */
#ifndef TAPBOX_VXLAN_H
#define TAPBOX_VXLAN_H

#include <tapbox/bytes.h>

enum {
    TB_VXLAN_PORT = 4789,
    TB_VXLAN_HEADER_BYTES = 8,
    TB_OUTER_MAX_TAGS = 3
};

struct tb_vxlan {
    uint32_t vni;          /* 24 bits, host order */
    struct tb_bytes inner; /* Ethernet frame; points into the datagram */
};

/*
 * Strip the VXLAN header from one datagram.
 *
 * `udp` is the UDP payload as it arrived on port 4789.  On success `*out` is filled and
 * `out->inner` points into `udp`: nothing is copied.  On failure `*out` is left as it was.
 *
 * Errors:  TB_ESHORT   fewer than 22 octets (8 of VXLAN, 14 of Ethernet);
 *          TB_EFORMAT  the I flag is clear, so the VNI means nothing, or it is VXLAN-GPE
 *                      (version 0, its reserved bits 0) with a next protocol other than
 *                      Ethernet (or 0, which it does not have).
 * Threads: pure.
 * Source:  RFC 7348 section 5 (reserved fields are ignored).
 */
TB_NODISCARD enum tb_err tb_vxlan_decap(struct tb_bytes udp, struct tb_vxlan *out);

/* What one received frame turned out to be: each is a term of the host ledger. */
enum tb_outer_kind {
    TB_OUTER_VXLAN,
    TB_OUTER_FRAGMENT,  /* an IP fragment: not reassembled, counted */
    TB_OUTER_NOT_VXLAN, /* not IP, not UDP, another port */
    TB_OUTER_MALFORMED  /* claims to be VXLAN and is cut short or inconsistent */
};

struct tb_outer {
    uint8_t source[16]; /* IPv6, or IPv4-mapped ::ffff:a.b.c.d */
    struct tb_vxlan vxlan;
    size_t inner_sent; /* octets of the inner frame in the datagram: more than were captured
                          when whoever captured it cut it off */
};

/*
 * Parses Ethernet (with up to TB_OUTER_MAX_TAGS 802.1Q/802.1ad tags), IPv4 with options or IPv6
 * with extension headers, UDP, VXLAN on `port`.  `*out` is filled only for TB_OUTER_VXLAN and
 * points into `frame`.  Lengths of 0 in IP or UDP (jumbograms, frames that the kernel put
 * together) mean: as captured.  Threads: pure.  Source: RFC 791, RFC 8200, RFC 768, RFC 7348.
 */
enum tb_outer_kind tb_outer_parse(struct tb_bytes frame, uint16_t port, struct tb_outer *out);

/* The true length of an inner frame that AWS cut: link header + IP length when that is more
 * than what is there (IP length 0 means: as captured).  Never below frame.len. */
uint32_t tb_inner_original_length(struct tb_bytes frame);

#endif
