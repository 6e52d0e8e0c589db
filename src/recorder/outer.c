/* From the Ethernet frame on the capture host to the VXLAN datagram in it. */
#include <tapbox/vxlan.h>

enum {
    ETHERNET_ADDRESSES_BYTES = 12,
    TAG_BYTES = 4,
    TYPE_IPV4 = 0x0800,
    TYPE_IPV6 = 0x86dd,
    TYPE_TAG = 0x8100,         /* 802.1Q */
    TYPE_SERVICE_TAG = 0x88a8, /* 802.1ad */
    TYPE_OLD_SERVICE_TAG = 0x9100,
    IPV4_MIN_BYTES = 20,
    IPV6_BYTES = 40,
    UDP_BYTES = 8,
    PROTOCOL_HOP_BY_HOP = 0,
    PROTOCOL_UDP = 17,
    PROTOCOL_ROUTING = 43,
    PROTOCOL_FRAGMENT = 44,
    PROTOCOL_DESTINATION = 60,
    MAX_EXTENSIONS =
        8 /* headers in front of UDP; RFC 8200 expects each at most once or twice */
};

/* What stands between the link layer and UDP. */
struct datagram {
    uint8_t source[16];
    struct tb_bytes udp; /* header and payload, as far as captured */
    bool cut;
};

static bool
is_tag(uint16_t type)
{
    return type == TYPE_TAG || type == TYPE_SERVICE_TAG || type == TYPE_OLD_SERVICE_TAG;
}

/* Steps over the tags; false when the frame ends inside.  `*rest` begins behind the type. */
static bool
link_layer(struct tb_bytes frame, uint16_t *type, struct tb_bytes *rest)
{
    size_t at = ETHERNET_ADDRESSES_BYTES;

    for (int tags = 0;; tags++, at += TAG_BYTES) {
        if (frame.len < at + 2) {
            return false;
        }
        *type = tb_get_be16(frame.at + at);
        if (!is_tag(*type) || tags == TB_OUTER_MAX_TAGS) {
            break;
        }
    }
    at += 2;
    *rest = tb_bytes_of(frame.at + at, frame.len - at);
    return true;
}

/* The first fragment has the ports: one for somebody else is not counted as ours. */
static enum tb_outer_kind
first_fragment(struct tb_bytes rest, uint16_t port)
{
    if (rest.len >= 4 && tb_get_be16(rest.at + 2) != port) {
        return TB_OUTER_NOT_VXLAN;
    }
    return TB_OUTER_FRAGMENT;
}

/* `rest` was captured behind the IP header, which claims that so much is there. */
static void
bound_udp(struct tb_bytes rest, size_t claimed, struct datagram *out)
{
    out->cut = claimed > rest.len;
    out->udp = tb_bytes_of(rest.at, claimed < rest.len ? claimed : rest.len);
}

static enum tb_outer_kind
ipv4(struct tb_bytes ip, uint16_t port, struct datagram *out)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    size_t header, total;
    uint16_t fragment;
    struct tb_bytes rest;

    if (ip.len < IPV4_MIN_BYTES) {
        return TB_OUTER_MALFORMED;
    }
    header = (size_t)(ip.at[0] & 0x0f) * 4;
    if (ip.at[0] >> 4 != 4 || header < IPV4_MIN_BYTES) {
        return TB_OUTER_MALFORMED;
    }
    if (ip.at[9] != PROTOCOL_UDP) {
        return TB_OUTER_NOT_VXLAN;
    }
    if (ip.len < header) {
        return TB_OUTER_MALFORMED;
    }
    rest = tb_bytes_of(ip.at + header, ip.len - header);
    fragment = tb_get_be16(ip.at + 6) & 0x3fff;
    if (fragment != 0) {
        return (fragment & 0x1fff) == 0 ? first_fragment(rest, port) : TB_OUTER_FRAGMENT;
    }
    total = tb_get_be16(ip.at + 2);
    if (total == 0) {
        total = ip.len;
    }
    if (total < header) {
        return TB_OUTER_MALFORMED;
    }
    memcpy(out->source, mapped, sizeof(mapped));
    memcpy(out->source + sizeof(mapped), ip.at + 12, 4);
    bound_udp(rest, total - header, out);
    return TB_OUTER_VXLAN;
}

static bool
is_extension(uint8_t header)
{
    return header == PROTOCOL_HOP_BY_HOP || header == PROTOCOL_ROUTING ||
           header == PROTOCOL_FRAGMENT || header == PROTOCOL_DESTINATION;
}

/* `next` is the first header of what was cut into fragments.  When it is one more extension,
 * UDP may come behind it: where that is, is not looked for. */
static enum tb_outer_kind
ipv6_fragment(uint8_t next, bool is_first, struct tb_bytes rest, uint16_t port)
{
    if (next != PROTOCOL_UDP) {
        return is_extension(next) ? TB_OUTER_FRAGMENT : TB_OUTER_NOT_VXLAN;
    }
    return is_first ? first_fragment(rest, port) : TB_OUTER_FRAGMENT;
}

static enum tb_outer_kind
ipv6(struct tb_bytes ip, uint16_t port, struct datagram *out)
{
    size_t at = IPV6_BYTES;
    size_t total;
    uint8_t next;

    if (ip.len < IPV6_BYTES || ip.at[0] >> 4 != 6) {
        return TB_OUTER_MALFORMED;
    }
    total = tb_get_be16(ip.at + 4);
    total = total == 0 ? ip.len : total + IPV6_BYTES;
    next = ip.at[6];
    for (int i = 0; next != PROTOCOL_UDP; i++) {
        size_t length;

        if (!is_extension(next)) {
            return TB_OUTER_NOT_VXLAN;
        }
        if (i == MAX_EXTENSIONS || ip.len < at + 8) {
            return TB_OUTER_MALFORMED;
        }
        length = next == PROTOCOL_FRAGMENT ? 8 : 8 + (size_t)ip.at[at + 1] * 8;
        if (next == PROTOCOL_FRAGMENT) {
            uint16_t fragment = tb_get_be16(ip.at + at + 2);

            /* (offset 0 and no more to come is a whole datagram, RFC 6946) */
            if ((fragment & 0xfff9) != 0) {
                return ipv6_fragment(ip.at[at], (fragment & 0xfff8) == 0,
                                     tb_bytes_of(ip.at + at + 8, ip.len - at - 8), port);
            }
        }
        next = ip.at[at];
        at += length;
        if (ip.len < at) {
            return TB_OUTER_MALFORMED;
        }
    }
    if (total < at) {
        return TB_OUTER_MALFORMED;
    }
    memcpy(out->source, ip.at + 8, 16);
    bound_udp(tb_bytes_of(ip.at + at, ip.len - at), total - at, out);
    return TB_OUTER_VXLAN;
}

enum tb_outer_kind
tb_outer_parse(struct tb_bytes frame, uint16_t port, struct tb_outer *out)
{
    struct datagram datagram;
    struct tb_outer found;
    struct tb_bytes rest;
    enum tb_outer_kind kind;
    uint16_t type;
    size_t length, missing;

    if (!link_layer(frame, &type, &rest)) {
        return TB_OUTER_MALFORMED;
    }
    if (type == TYPE_IPV4) {
        kind = ipv4(rest, port, &datagram);
    } else if (type == TYPE_IPV6) {
        kind = ipv6(rest, port, &datagram);
    } else {
        return TB_OUTER_NOT_VXLAN;
    }
    if (kind != TB_OUTER_VXLAN) {
        return kind;
    }
    if (datagram.udp.len < UDP_BYTES) {
        return TB_OUTER_MALFORMED;
    }
    if (tb_get_be16(datagram.udp.at + 2) != port) {
        return TB_OUTER_NOT_VXLAN;
    }
    length = tb_get_be16(datagram.udp.at + 4);
    if (length == 0) {
        length = datagram.udp.len;
    }
    if (length < UDP_BYTES || (length > datagram.udp.len && !datagram.cut)) {
        return TB_OUTER_MALFORMED;
    }
    missing = length > datagram.udp.len ? length - datagram.udp.len : 0;
    length -= missing;
    memcpy(found.source, datagram.source, sizeof(found.source));
    if (tb_vxlan_decap(tb_bytes_of(datagram.udp.at + UDP_BYTES, length - UDP_BYTES),
                       &found.vxlan) != TB_OK) {
        return TB_OUTER_MALFORMED;
    }
    found.inner_sent = found.vxlan.inner.len + missing;
    *out = found;
    return TB_OUTER_VXLAN;
}

uint32_t
tb_inner_original_length(struct tb_bytes frame)
{
    struct tb_bytes ip;
    uint16_t type;
    size_t length = 0;
    size_t link;

    if (!link_layer(frame, &type, &ip)) {
        return (uint32_t)frame.len;
    }
    link = frame.len - ip.len;
    if (type == TYPE_IPV4 && ip.len >= 4 && ip.at[0] >> 4 == 4) {
        length = tb_get_be16(ip.at + 2);
    } else if (type == TYPE_IPV6 && ip.len >= 6 && ip.at[0] >> 4 == 6) {
        length = tb_get_be16(ip.at + 4);
        length = length == 0 ? 0 : length + IPV6_BYTES;
    }
    return (uint32_t)(length > ip.len ? link + length : frame.len);
}
