/* Read a frame as far as mirroring needs it. */
#ifndef AWSIM_PACKET_H
#define AWSIM_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "counters.h"
#include "ip.h"

struct packet {
    bool is_ip;
    bool is_arp;
    uint8_t family;    /* 4 or 6 */
    uint8_t protocol;  /* behind IPv6 extension headers */
    bool fragment;     /* any but a first or only one: no ports */
    bool has_ports;    /* TCP and UDP whose ports are there */
    uint16_t src_port; /* ICMP echo: the identifier, in both */
    uint16_t dst_port;
    const uint8_t *src; /* addresses, in the frame */
    const uint8_t *dst;
    size_t l3; /* offset of the IP header */
};

/* `frame` begins with the Ethernet header. */
void packet_read(const uint8_t *frame, size_t len, struct packet *out);

/* The kind of traffic that AWS does not mirror; NEVER_NONE for all other. */
enum never packet_never(const struct packet *p, const struct ip *resolver);

/* Same for both directions of a flow; over ports for TCP, UDP, ICMP. */
uint32_t packet_flow_hash(const struct packet *p);

#endif
