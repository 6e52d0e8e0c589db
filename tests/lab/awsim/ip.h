/* IP addresses, CIDR blocks and MAC addresses, from text and back. */
#ifndef AWSIM_IP_H
#define AWSIM_IP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ip {
    uint8_t family; /* 4, 6, or 0 for none */
    uint8_t b[16];  /* network order; an IPv4 address takes the first four */
};

struct cidr {
    struct ip base; /* host bits are zero */
    uint8_t bits;
};

#define IP_TEXT_MAX 64

bool ip_parse(const char *text, struct ip *out);
const char *ip_text(const struct ip *ip, char out[IP_TEXT_MAX]);
bool ip_equal(const struct ip *a, const struct ip *b);
/* Needs the prefix length; host bits are cleared as EC2 does. */
bool cidr_parse(const char *text, struct cidr *out);
const char *cidr_text(const struct cidr *c, char out[IP_TEXT_MAX]);
bool cidr_contains(const struct cidr *c, const struct ip *ip);
bool cidr_contains_bytes(const struct cidr *c, uint8_t family, const uint8_t *bytes);
bool mac_parse(const char *text, uint8_t out[6]);

#endif
