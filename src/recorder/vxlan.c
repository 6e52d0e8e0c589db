/* The VXLAN header, and nothing else. */
#include <tapbox/vxlan.h>

enum {
    FLAG_VNI = 0x08,      /* I: the VNI is valid */
    FLAG_GENERIC = 0x04,  /* P of VXLAN-GPE: octet 3 says what is inside */
    GENERIC_ZEROS = 0xf0, /* reserved bits and version of VXLAN-GPE */
    GENERIC_NONE = 0,     /* nothing of VXLAN-GPE: a reserved bit of plain VXLAN is set */
    GENERIC_ETHERNET = 3,
    ETHERNET_HEADER_BYTES = 14
};

/* Plain VXLAN ignores reserved bits, so only what is VXLAN-GPE in every bit is taken for it. */
static bool
is_generic(const uint8_t *header)
{
    return (header[0] & (GENERIC_ZEROS | FLAG_GENERIC)) == FLAG_GENERIC && header[1] == 0 &&
           header[2] == 0;
}

enum tb_err
tb_vxlan_decap(struct tb_bytes udp, struct tb_vxlan *out)
{
    if (udp.len < TB_VXLAN_HEADER_BYTES + ETHERNET_HEADER_BYTES) {
        return TB_ESHORT;
    }
    if ((udp.at[0] & FLAG_VNI) == 0) {
        return TB_EFORMAT;
    }
    if (is_generic(udp.at) && udp.at[3] != GENERIC_ETHERNET && udp.at[3] != GENERIC_NONE) {
        return TB_EFORMAT;
    }
    out->vni = tb_get_be24(udp.at + 4);
    out->inner = tb_bytes_of(udp.at + TB_VXLAN_HEADER_BYTES, udp.len - TB_VXLAN_HEADER_BYTES);
    return TB_OK;
}
