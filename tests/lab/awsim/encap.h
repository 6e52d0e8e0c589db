/* The outer headers of a mirrored frame, as AWS sends them. */
#ifndef AWSIM_ENCAP_H
#define AWSIM_ENCAP_H

#include <stddef.h>
#include <stdint.h>

#define ENCAP_SIZE 50     /* Ethernet 14, IPv4 20, UDP 8, VXLAN 8 */
#define ENCAP_RESERVED 54 /* what AWS subtracts from the target's MTU for them */

/* Everything that does not differ between the frames of a session. */
struct encap {
    uint8_t header[ENCAP_SIZE];
};

void encap_prepare(struct encap *e, const uint8_t dst_mac[6], const uint8_t src_mac[6],
                   const uint8_t src_ip[4], const uint8_t dst_ip[4], uint32_t vni);
/* Headers for one inner frame of `inner` octets. */
void encap_write(const struct encap *e, uint32_t flow_hash, size_t inner,
                 uint8_t out[ENCAP_SIZE]);

#endif
