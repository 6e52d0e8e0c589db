/*
 * Outer IPv4: identification 0, DF clear, TTL 255, DSCP 0.  UDP: checksum 0, to 4789, from
 * 65408 to 65525 by flow.  So it stands in a capture taken at a real mirror target.
 */
#include "encap.h"

#include <string.h>

#define IP_AT 14
#define UDP_AT 34
#define VXLAN_AT 42
#define PORT_FIRST 65408u
#define PORT_COUNT 118u /* up to 65525 */

static void
put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

void
encap_prepare(struct encap *e, const uint8_t dst_mac[6], const uint8_t src_mac[6],
              const uint8_t src_ip[4], const uint8_t dst_ip[4], uint32_t vni)
{
    uint8_t *h = e->header;
    memset(h, 0, ENCAP_SIZE);
    memcpy(h, dst_mac, 6);
    memcpy(h + 6, src_mac, 6);
    put16(h + 12, 0x0800);
    h[IP_AT] = 0x45;
    h[IP_AT + 8] = 255;
    h[IP_AT + 9] = 17;
    memcpy(h + IP_AT + 12, src_ip, 4);
    memcpy(h + IP_AT + 16, dst_ip, 4);
    put16(h + UDP_AT + 2, 4789);
    h[VXLAN_AT] = 0x08;
    h[VXLAN_AT + 4] = (uint8_t)(vni >> 16);
    h[VXLAN_AT + 5] = (uint8_t)(vni >> 8);
    h[VXLAN_AT + 6] = (uint8_t)vni;
}

void
encap_write(const struct encap *e, uint32_t flow_hash, size_t inner, uint8_t out[ENCAP_SIZE])
{
    memcpy(out, e->header, ENCAP_SIZE);
    put16(out + IP_AT + 2, (unsigned)(inner + ENCAP_SIZE - IP_AT));
    uint32_t sum = 0;
    for (int i = 0; i < 20; i += 2) {
        sum += (uint32_t)(out[IP_AT + i] << 8 | out[IP_AT + i + 1]);
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    put16(out + IP_AT + 10, ~sum & 0xffff);
    put16(out + UDP_AT, PORT_FIRST + flow_hash % PORT_COUNT);
    put16(out + UDP_AT + 4, (unsigned)(inner + ENCAP_SIZE - UDP_AT));
}
