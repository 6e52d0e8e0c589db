/* Ethernet, VLAN tags, IPv4, IPv6 with extension headers, ports. */
#include "packet.h"

#include <string.h>

#define ETHER_HEADER 14
#define EXTENSIONS_MAX 16

static uint16_t
get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void
read_ports(const uint8_t *frame, size_t len, size_t l4, struct packet *p)
{
    if (p->fragment || len < l4 + 8) {
        return;
    }
    if (p->protocol == 6 || p->protocol == 17) {
        p->src_port = get16(frame + l4);
        p->dst_port = get16(frame + l4 + 2);
        p->has_ports = true;
    } else if ((p->protocol == 1 && (frame[l4] == 8 || frame[l4] == 0)) ||
               (p->protocol == 58 && (frame[l4] == 128 || frame[l4] == 129))) {
        p->src_port = p->dst_port = get16(frame + l4 + 4);
    }
}

static void
read_v4(const uint8_t *frame, size_t len, struct packet *p)
{
    const uint8_t *ip = frame + p->l3;
    if (len < p->l3 + 20 || ip[0] >> 4 != 4) {
        return;
    }
    size_t header = (size_t)(ip[0] & 15) * 4;
    if (header < 20) {
        return;
    }
    p->is_ip = true;
    p->family = 4;
    p->protocol = ip[9];
    p->src = ip + 12;
    p->dst = ip + 16;
    p->fragment = (get16(ip + 6) & 0x1fff) != 0;
    read_ports(frame, len, p->l3 + header, p);
}

static void
read_v6(const uint8_t *frame, size_t len, struct packet *p)
{
    const uint8_t *ip = frame + p->l3;
    if (len < p->l3 + 40 || ip[0] >> 4 != 6) {
        return;
    }
    p->is_ip = true;
    p->family = 6;
    p->src = ip + 8;
    p->dst = ip + 24;
    uint8_t next = ip[6];
    size_t at = p->l3 + 40;
    for (int i = 0; i < EXTENSIONS_MAX && at + 8 <= len; i++) {
        size_t size;
        if (next == 0 || next == 43 || next == 60 || next == 135 || next == 139 ||
            next == 140) {
            size = ((size_t)frame[at + 1] + 1) * 8;
        } else if (next == 51) { /* authentication header: in units of four */
            size = ((size_t)frame[at + 1] + 2) * 4;
        } else if (next == 44) {
            size = 8;
            p->fragment = p->fragment || (get16(frame + at + 2) & 0xfff8) != 0;
        } else {
            break;
        }
        next = frame[at];
        at += size;
        if (p->fragment) {
            break; /* what follows is not a header */
        }
    }
    p->protocol = next;
    read_ports(frame, len, at, p);
}

void
packet_read(const uint8_t *frame, size_t len, struct packet *out)
{
    memset(out, 0, sizeof(*out));
    if (len < ETHER_HEADER) {
        return;
    }
    uint16_t type = get16(frame + 12);
    out->l3 = ETHER_HEADER;
    while ((type == 0x8100 || type == 0x88a8) && len >= out->l3 + 4) {
        type = get16(frame + out->l3 + 2);
        out->l3 += 4;
    }
    out->is_arp = type == 0x0806;
    if (type == 0x0800) {
        read_v4(frame, len, out);
    } else if (type == 0x86dd) {
        read_v6(frame, len, out);
    }
}

static const uint8_t metadata4[4] = {169, 254, 169, 254};
static const uint8_t ntp4[4] = {169, 254, 169, 123};
static const uint8_t activation4[2][4] = {{169, 254, 169, 250}, {169, 254, 169, 251}};
static const uint8_t dns4[4] = {169, 254, 169, 253};
static const uint8_t metadata6[16] = {0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54};
static const uint8_t ntp6[16] = {0xfd, 0x00, 0x0e, 0xc2, [14] = 0x01, [15] = 0x23};
static const uint8_t dns6[16] = {0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x53};

/* Is one end this address? */
static bool
touches(const struct packet *p, const uint8_t *v4, const uint8_t *v6)
{
    const uint8_t *address = p->family == 4 ? v4 : v6;
    size_t size = p->family == 4 ? 4 : 16;
    return address != NULL &&
           (memcmp(p->src, address, size) == 0 || memcmp(p->dst, address, size) == 0);
}

static bool
is_dns(const struct packet *p, const struct ip *resolver)
{
    const uint8_t *own = resolver->family == 4 ? resolver->b : NULL;
    if ((p->protocol != 6 && p->protocol != 17) ||
        (!touches(p, dns4, dns6) && !touches(p, own, NULL))) {
        return false;
    }
    return !p->has_ports || p->src_port == 53 || p->dst_port == 53;
}

enum never
packet_never(const struct packet *p, const struct ip *resolver)
{
    if (!p->is_ip) {
        return p->is_arp ? NEVER_ARP : NEVER_NOT_IP;
    }
    if (p->has_ports && p->protocol == 17) {
        uint16_t low = p->family == 4 ? 67 : 546;
        if ((p->src_port == low || p->src_port == low + 1) &&
            (p->dst_port == low || p->dst_port == low + 1)) {
            return NEVER_DHCP;
        }
    }
    if (touches(p, metadata4, metadata6)) {
        return NEVER_METADATA;
    }
    if (touches(p, ntp4, ntp6)) {
        return NEVER_NTP;
    }
    if (touches(p, activation4[0], NULL) || touches(p, activation4[1], NULL)) {
        return NEVER_ACTIVATION;
    }
    return is_dns(p, resolver) ? NEVER_DNS : NEVER_NONE;
}

static uint32_t
mix(uint32_t h)
{
    h ^= h >> 16;
    h *= 0x85ebca6bu;
    h ^= h >> 13;
    h *= 0xc2b2ae35u;
    return h ^ h >> 16;
}

static uint32_t
hash_end(const uint8_t *address, size_t size, uint16_t port)
{
    uint32_t h = port;
    for (size_t i = 0; i < size; i++) {
        h = (h ^ address[i]) * 16777619u;
    }
    return mix(h);
}

uint32_t
packet_flow_hash(const struct packet *p)
{
    size_t size = p->family == 4 ? 4 : 16;
    /* a sum does not care which end is first */
    return mix(hash_end(p->src, size, p->src_port) + hash_end(p->dst, size, p->dst_port) +
               p->protocol);
}
