/* Mirrored packets, put together from parts, for the recorder's unit tests and fuzzers. */
#ifndef TAPBOX_TEST_PACKETS_H
#define TAPBOX_TEST_PACKETS_H

#include <tapbox/bytes.h>

struct packet {
    uint8_t at[2048];
    size_t len;
};

static inline void
add(struct packet *p, const void *octets, size_t len)
{
    memcpy(p->at + p->len, octets, len);
    p->len += len;
}

static inline void
add8(struct packet *p, unsigned value)
{
    p->at[p->len++] = (uint8_t)value;
}

static inline void
add16(struct packet *p, unsigned value)
{
    add8(p, value >> 8);
    add8(p, value & 0xff);
}

static inline void
add32(struct packet *p, uint32_t value)
{
    add16(p, value >> 16);
    add16(p, value & 0xffff);
}

/* Addresses 02:..:02 <- 02:..:01 and the type, behind `tags` tags of type `tag`. */
static inline void
add_ethernet(struct packet *p, unsigned type, unsigned tags, unsigned tag)
{
    static const uint8_t macs[12] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};

    add(p, macs, sizeof(macs));
    for (unsigned i = 0; i < tags; i++) {
        add16(p, tag);
        add16(p, 100 + i);
    }
    add16(p, type);
}

/* 10.77.0.1 -> 10.77.0.2 with `options` octets of options and `rest` octets behind. */
static inline void
add_ipv4(struct packet *p, unsigned options, unsigned protocol, unsigned fragment, size_t rest)
{
    add8(p, 0x40 | (20 + options) / 4);
    add8(p, 0);
    add16(p, (unsigned)(20 + options + rest));
    add16(p, 0);
    add16(p, fragment);
    add8(p, 255);
    add8(p, protocol);
    add16(p, 0);
    add32(p, 0x0a4d0001);
    add32(p, 0x0a4d0002);
    for (unsigned i = 0; i < options; i++) {
        add8(p, 1);
    }
}

/* 2001:db8::1 -> 2001:db8::2 */
static inline void
add_ipv6(struct packet *p, unsigned next, size_t rest)
{
    add32(p, 0x60000000);
    add16(p, (unsigned)rest);
    add8(p, next);
    add8(p, 255);
    for (unsigned last = 1; last <= 2; last++) {
        add32(p, 0x20010db8);
        add32(p, 0);
        add32(p, 0);
        add32(p, last);
    }
}

/* A UDP datagram to `port` with VXLAN and an inner frame of `inner` octets, at least 14. */
enum {
    TUNNEL_BYTES = 16 /* UDP and VXLAN */
};
static inline void
add_tunnel(struct packet *p, unsigned port, uint32_t vni, size_t inner)
{
    add16(p, 65500);
    add16(p, port);
    add16(p, (unsigned)(TUNNEL_BYTES + inner));
    add16(p, 0);
    add32(p, 0x08000000);
    add32(p, vni << 8);
    add_ethernet(p, 0x88b5, 0, 0);
    for (size_t i = 14; i < inner; i++) {
        add8(p, i & 0xff);
    }
}

/* The ordinary one: IPv4, no options, port 4789. */
static inline void
make_mirrored(struct packet *p, uint32_t vni, size_t inner)
{
    p->len = 0;
    add_ethernet(p, 0x0800, 0, 0);
    add_ipv4(p, 0, 17, 0, TUNNEL_BYTES + inner);
    add_tunnel(p, 4789, vni, inner);
}

static inline struct tb_bytes
view(const struct packet *p)
{
    return tb_bytes_of(p->at, p->len);
}

#endif
