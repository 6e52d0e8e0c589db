/*
 * One Ethernet frame, down to what stands behind its IP headers.  Tunnels are followed: IP in
 * IP, GRE, PPPoE, MPLS here; VXLAN by who reads the UDP header.  Nothing is copied; whatever is
 * not whole ends the walk.
 */
#include "summary_int.h"

enum {
    ETHERNET_HEAD = 14,
    TAG = 4,
    MAX_TAGS = 4,
    TYPE_IPV4 = 0x0800,
    TYPE_IPV6 = 0x86dd,
    TYPE_TAG = 0x8100,
    TYPE_SERVICE_TAG = 0x88a8,
    TYPE_OLD_SERVICE_TAG = 0x9100,
    TYPE_BRIDGED = 0x6558, /* an Ethernet frame inside */
    TYPE_MPLS = 0x8847,
    TYPE_PPPOE = 0x8864,
    TYPE_LENGTH_MAX = 1500, /* below: the length of an 802.3 frame */
    TYPE_PPP = 0x880b,
    PPPOE_HEAD = 6,
    PPP_IPV4 = 0x0021,
    PPP_IPV6 = 0x0057,
    MPLS_LABEL = 4,
    MAX_LABELS = 8,
    SNAP_HEAD = 8,

    IPV4_HEAD = 20,
    IPV6_HEAD = 40,
    MAX_EXTENSIONS = 16,
    GRE_HEAD = 4,
    TCP_HEAD = 20,
    UDP_HEAD = 8
};

static struct tb_bytes
from(struct tb_bytes bytes, size_t at)
{
    return at < bytes.len ? tb_bytes_of(bytes.at + at, bytes.len - at) : tb_bytes_of(NULL, 0);
}

static void read_type(uint16_t type, struct tb_bytes rest, struct summary_frame *out);
static void read_ethernet(struct tb_bytes frame, struct summary_frame *out);

static void
map_ipv4(struct summary_address *out, const uint8_t *at)
{
    memset(out->octets, 0, 10);
    out->octets[10] = out->octets[11] = 0xff;
    memcpy(out->octets + 12, at, 4);
}

/* What the header says there is of it, as far as it was kept. */
static void
take_rest(struct summary_layer *layer, struct tb_bytes ip, size_t head, size_t total)
{
    layer->rest = from(ip, head);
    layer->is_whole = layer->rest.len >= total - head;
    if (layer->rest.len > total - head) {
        layer->rest.len = total - head; /* the link's padding */
    }
}

static void
add_layer(struct summary_frame *out, const struct summary_layer *layer)
{
    out->layers[out->count++] = *layer;
    if (!layer->is_fragment) {
        summary_frame_inside(layer->protocol, layer->rest, out);
    }
}

static bool
options_fit(struct tb_bytes options)
{
    while (options.len > 0 && options.at[0] != 0) {
        size_t len = options.at[0] == 1 ? 1 : options.len >= 2 ? options.at[1] : 0;

        if (len == 0 || len > options.len || (len == 1 && options.at[0] != 1)) {
            return false;
        }
        options = from(options, len);
    }
    return true;
}

static void
read_ipv4(struct tb_bytes ip, struct summary_frame *out)
{
    struct summary_layer layer = {.is_v6 = false};
    size_t head, total;
    uint16_t fragment;

    if (ip.len < IPV4_HEAD || ip.at[0] >> 4 != 4) {
        return;
    }
    head = (size_t)(ip.at[0] & 0x0f) * 4;
    total = tb_get_be16(ip.at + 2);
    if (total == 0) {
        total = ip.len; /* left to the hardware, as for a segment of 64 KiB and more */
    }
    if (head < IPV4_HEAD || head > ip.len || total < head ||
        !options_fit(tb_bytes_of(ip.at + IPV4_HEAD, head - IPV4_HEAD))) {
        return;
    }
    fragment = tb_get_be16(ip.at + 6);
    map_ipv4(&layer.src, ip.at + 12);
    map_ipv4(&layer.dst, ip.at + 16);
    layer.protocol = ip.at[9];
    layer.fragment_id = tb_get_be16(ip.at + 4);
    layer.fragment_offset = (uint32_t)(fragment & 0x1fff) * 8;
    layer.more_fragments = (fragment & 0x2000) != 0;
    layer.is_fragment = (fragment & 0x3fff) != 0;
    layer.is_first_fragment = layer.is_fragment && layer.fragment_offset == 0;
    take_rest(&layer, ip, head, total);
    add_layer(out, &layer);
}

/* Steps over one extension header; false when the walk ends here. */
static bool
step_over(struct summary_layer *layer, bool *is_whole)
{
    struct tb_bytes rest = layer->rest;
    size_t len;

    switch (layer->protocol) {
    case IP_HOP_BY_HOP:
    case IP_ROUTING:
    case IP_DESTINATION:
        len = rest.len >= 2 ? 8 + (size_t)rest.at[1] * 8 : 8;
        break;
    case IP_AH:
        len = rest.len >= 2 ? 8 + (size_t)rest.at[1] * 4 : 8;
        break;
    case IP_FRAGMENT:
        len = 8;
        break;
    default:
        return false;
    }
    if (rest.len < len) {
        *is_whole = false;
        return false;
    }
    if (layer->protocol == IP_FRAGMENT) {
        uint16_t fragment = tb_get_be16(rest.at + 2);

        layer->fragment_offset = fragment & 0xfff8;
        layer->more_fragments = (fragment & 1) != 0;
        layer->is_fragment = (fragment & 0xfff9) != 0;
        layer->is_first_fragment = layer->is_fragment && layer->fragment_offset == 0;
        layer->fragment_id = tb_get_be32(rest.at + 4);
    }
    layer->protocol = rest.at[0];
    layer->rest = from(rest, len);
    return !layer->is_fragment; /* what follows is a piece of something */
}

static void
read_ipv6(struct tb_bytes ip, struct summary_frame *out)
{
    struct summary_layer layer = {.is_v6 = true};
    bool is_whole = true;
    size_t payload;

    if (ip.len < IPV6_HEAD || ip.at[0] >> 4 != 6) {
        return;
    }
    payload = tb_get_be16(ip.at + 4);
    memcpy(layer.src.octets, ip.at + 8, 16);
    memcpy(layer.dst.octets, ip.at + 24, 16);
    layer.protocol = ip.at[6];
    if (payload == 0) {
        payload = ip.len - IPV6_HEAD; /* a jumbogram */
    }
    take_rest(&layer, ip, IPV6_HEAD, IPV6_HEAD + payload);
    for (int i = 0; i < MAX_EXTENSIONS && step_over(&layer, &is_whole); i++) {
    }
    if (!is_whole) { /* an extension header is cut off */
        layer.protocol = IP_NONE;
        layer.rest = tb_bytes_of(NULL, 0);
        layer.is_whole = false;
    }
    add_layer(out, &layer);
}

static void
read_gre(struct tb_bytes rest, struct summary_frame *out)
{
    uint16_t flags;
    size_t head = GRE_HEAD;

    if (rest.len < GRE_HEAD) {
        return;
    }
    flags = tb_get_be16(rest.at);
    if ((flags & 0x0007) != 0) {
        return; /* version 1 is PPTP's */
    }
    head += (flags & 0xc000) != 0 ? 4 : 0; /* checksum, or routing */
    head += (flags & 0x2000) != 0 ? 4 : 0; /* key */
    head += (flags & 0x1000) != 0 ? 4 : 0; /* sequence */
    if ((flags & 0x4000) == 0) {
        read_type(tb_get_be16(rest.at + 2), from(rest, head), out);
    }
}

static void
read_mpls(struct tb_bytes rest, struct summary_frame *out)
{
    for (int i = 0; i < MAX_LABELS && rest.len > MPLS_LABEL; i++) {
        bool is_last = (rest.at[2] & 1) != 0;

        rest = from(rest, MPLS_LABEL);
        if (is_last) {
            read_type(rest.at[0] >> 4 == 4 ? TYPE_IPV4 : TYPE_IPV6, rest, out);
            return;
        }
    }
}

/* Its protocol has two octets, or one, which is odd. */
static void
read_ppp(struct tb_bytes rest, struct summary_frame *out)
{
    size_t len = rest.len > 0 && (rest.at[0] & 1) != 0 ? 1 : 2;
    uint16_t inside;

    if (rest.len <= len) {
        return;
    }
    inside = len == 1 ? rest.at[0] : tb_get_be16(rest.at);
    if (inside == PPP_IPV4 || inside == PPP_IPV6) {
        read_type(inside == PPP_IPV4 ? TYPE_IPV4 : TYPE_IPV6, from(rest, len), out);
    }
}

static void
read_type(uint16_t type, struct tb_bytes rest, struct summary_frame *out)
{
    static const uint8_t snap[6] = {0xaa, 0xaa, 0x03, 0, 0, 0};

    if (out->count >= SUMMARY_MAX_LAYERS) {
        return;
    }
    if (type == TYPE_IPV4 || type == TYPE_IPV6) {
        if (rest.len > 0 && rest.at[0] >> 4 == 6) {
            read_ipv6(rest, out);
        } else {
            read_ipv4(rest, out);
        }
    } else if (type == TYPE_BRIDGED) {
        read_ethernet(rest, out);
    } else if (type == TYPE_MPLS) {
        read_mpls(rest, out);
    } else if (type == TYPE_PPPOE) {
        read_ppp(from(rest, PPPOE_HEAD), out);
    } else if (type == TYPE_PPP) {
        read_ppp(rest, out);
    } else if (type <= TYPE_LENGTH_MAX && rest.len > SNAP_HEAD &&
               memcmp(rest.at, snap, sizeof(snap)) == 0) {
        uint16_t inside = tb_get_be16(rest.at + 6);

        if (inside > TYPE_LENGTH_MAX) {
            read_type(inside, from(rest, SNAP_HEAD), out);
        }
    }
}

static void
read_ethernet(struct tb_bytes frame, struct summary_frame *out)
{
    size_t at = ETHERNET_HEAD;
    uint16_t type = 0;

    for (int tags = 0; tags <= MAX_TAGS; tags++, at += TAG) {
        if (frame.len < at) {
            return;
        }
        type = tb_get_be16(frame.at + at - 2);
        if (type != TYPE_TAG && type != TYPE_SERVICE_TAG && type != TYPE_OLD_SERVICE_TAG) {
            break;
        }
    }
    if (at > frame.len) {
        return; /* more tags than anybody nests */
    }
    if (out->count == 0) {
        out->ether_type = type > TYPE_LENGTH_MAX ? type : 0;
    }
    read_type(type, from(frame, at), out);
}

void
summary_frame_read(struct tb_bytes frame, struct summary_frame *out)
{
    out->ether_type = 0;
    out->count = 0;
    read_ethernet(frame, out);
}

void
summary_frame_inside(uint8_t protocol, struct tb_bytes payload, struct summary_frame *out)
{
    if (out->count >= SUMMARY_MAX_LAYERS) {
        return;
    }
    if (protocol == IP_IPV4) {
        read_ipv4(payload, out);
    } else if (protocol == IP_IPV6) {
        read_ipv6(payload, out);
    } else if (protocol == IP_GRE) {
        read_gre(payload, out);
    }
}

bool
summary_tcp_read(struct tb_bytes rest, struct summary_segment *out)
{
    size_t head;

    if (rest.len < TCP_HEAD) {
        return false;
    }
    head = (size_t)(rest.at[12] >> 4) * 4;
    if (head < TCP_HEAD || head > rest.len) {
        return false;
    }
    *out = (struct summary_segment){
        .src_port = tb_get_be16(rest.at),
        .dst_port = tb_get_be16(rest.at + 2),
        .sequence = tb_get_be32(rest.at + 4),
        .fin = (rest.at[13] & 0x01) != 0,
        .syn = (rest.at[13] & 0x02) != 0,
        .rst = (rest.at[13] & 0x04) != 0,
        .ack = (rest.at[13] & 0x10) != 0,
        .payload = from(rest, head),
    };
    return true;
}

bool
summary_udp_read(struct tb_bytes rest, struct summary_datagram *out)
{
    size_t len;

    if (rest.len < UDP_HEAD) {
        return false;
    }
    len = tb_get_be16(rest.at + 4);
    if (len == 0) {
        len = rest.len; /* a jumbogram's */
    }
    if (len < UDP_HEAD) {
        return false;
    }
    *out = (struct summary_datagram){
        .src_port = tb_get_be16(rest.at),
        .dst_port = tb_get_be16(rest.at + 2),
        .payload = from(rest, UDP_HEAD),
    };
    if (out->payload.len > len - UDP_HEAD) {
        out->payload.len = len - UDP_HEAD;
    }
    return true;
}
