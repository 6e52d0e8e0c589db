/*
 * Who talks in a chunk: a key for each host and each flow of its packets, so that a reader that
 * looks for one of them knows which chunks it can leave out.  FORMAT.md says how a key is made.
 *
 * Keys are hashes: a chunk that has one may still not have the flow, never the other way round.
 */
#include "segment_int.h"

#include <stdlib.h>

#include <tapbox/pcapng.h>

enum {
    ETHERNET_ADDRESSES_BYTES = 12,
    TAG_BYTES = 4,
    MAX_TAGS = 3,
    TYPE_IPV4 = 0x0800,
    TYPE_IPV6 = 0x86dd,
    TYPE_TAG = 0x8100,
    TYPE_SERVICE_TAG = 0x88a8,
    TYPE_OLD_SERVICE_TAG = 0x9100,
    IPV4_MIN_BYTES = 20,
    IPV6_BYTES = 40,
    NEXT_HOP_BY_HOP = 0,
    NEXT_TCP = 6,
    NEXT_UDP = 17,
    NEXT_DCCP = 33,
    NEXT_ROUTING = 43,
    NEXT_FRAGMENT = 44,
    NEXT_DESTINATION = 60,
    NEXT_SCTP = 132,
    NEXT_UDP_LITE = 136,
    MAX_EXTENSIONS = 8,

    PACKET_CAPTURED_AT = 20, /* in an enhanced packet block */
    PACKET_FRAME_AT = 28,

    SEEN =
        256, /* conversations remembered: most packets are of one of a few (8 bits of hash) */

    HEAD_BYTES = 4, /* of a chunk's keys: the two numbers */
    KEY_BYTES = 4
};

/* --- one packet --- */

static uint32_t
mix(const uint64_t *words, size_t count)
{
    uint64_t h = UINT64_C(0x9E3779B97F4A7C15);

    for (size_t i = 0; i < count; i++) {
        h = (h ^ words[i]) * UINT64_C(0xFF51AFD7ED558CCD);
        h ^= h >> 32;
    }
    return (uint32_t)h;
}

/* A packet's addresses, ports and protocol, in words as they are mixed. */
struct ends {
    uint64_t a[2], b[2]; /* source, destination */
    uint16_t port_a, port_b;
    uint8_t protocol;
};

static uint32_t
host_key(const uint64_t address[2])
{
    return mix(address, 2);
}

/* The octets of an address in their order, as a number that compares like them. */
static bool
is_before(const uint64_t a[2], uint16_t port_a, const uint64_t b[2], uint16_t port_b)
{
    for (int i = 0; i < 2; i++) {
        if (a[i] != b[i]) {
            return __builtin_bswap64(a[i]) < __builtin_bswap64(b[i]);
        }
    }
    return port_a <= port_b;
}

static uint32_t
flow_key(const struct ends *e)
{
    bool in_order = is_before(e->a, e->port_a, e->b, e->port_b);
    const uint64_t *low = in_order ? e->a : e->b;
    const uint64_t *high = in_order ? e->b : e->a;
    uint64_t words[5] = {low[0], low[1], high[0], high[1],
                         (uint64_t)(in_order ? e->port_a : e->port_b) |
                             (uint64_t)(in_order ? e->port_b : e->port_a) << 16 |
                             (uint64_t)e->protocol << 32};

    return mix(words, 5);
}

uint32_t
tb_segment_host_key(const uint8_t address[16])
{
    uint64_t words[2] = {tb_get_le64(address), tb_get_le64(address + 8)};

    return host_key(words);
}

uint32_t
tb_segment_flow_key(const struct tb_segment_flow *flow)
{
    struct ends e = {
        .a = {tb_get_le64(flow->a), tb_get_le64(flow->a + 8)},
        .b = {tb_get_le64(flow->b), tb_get_le64(flow->b + 8)},
        .port_a = flow->port_a,
        .port_b = flow->port_b,
        .protocol = flow->protocol,
    };

    return flow_key(&e);
}

static void
take_ports(struct tb_bytes rest, struct ends *out)
{
    bool has_ports = out->protocol == NEXT_TCP || out->protocol == NEXT_UDP ||
                     out->protocol == NEXT_SCTP || out->protocol == NEXT_DCCP ||
                     out->protocol == NEXT_UDP_LITE;

    if (has_ports && rest.len >= 4) {
        out->port_a = tb_get_be16(rest.at);
        out->port_b = tb_get_be16(rest.at + 2);
    }
}

static bool
take_ipv4(struct tb_bytes ip, struct ends *out)
{
    size_t header;

    if (ip.len < IPV4_MIN_BYTES || ip.at[0] >> 4 != 4) {
        return false;
    }
    header = (size_t)(ip.at[0] & 0x0f) * 4;
    /* ::ffff:a.b.c.d */
    out->a[0] = out->b[0] = 0;
    out->a[1] = (uint64_t)tb_get_le32(ip.at + 12) << 32 | 0xffff0000;
    out->b[1] = (uint64_t)tb_get_le32(ip.at + 16) << 32 | 0xffff0000;
    out->protocol = ip.at[9];
    if ((tb_get_be16(ip.at + 6) & 0x3fff) == 0 && header >= IPV4_MIN_BYTES &&
        header <= ip.len) {
        take_ports(tb_bytes_of(ip.at + header, ip.len - header), out);
    }
    return true;
}

static bool
take_ipv6(struct tb_bytes ip, struct ends *out)
{
    size_t at = IPV6_BYTES;

    if (ip.len < IPV6_BYTES || ip.at[0] >> 4 != 6) {
        return false;
    }
    out->a[0] = tb_get_le64(ip.at + 8);
    out->a[1] = tb_get_le64(ip.at + 16);
    out->b[0] = tb_get_le64(ip.at + 24);
    out->b[1] = tb_get_le64(ip.at + 32);
    out->protocol = ip.at[6];
    for (int i = 0; i < MAX_EXTENSIONS; i++) {
        bool fragment = out->protocol == NEXT_FRAGMENT;
        size_t length;

        if (!fragment && out->protocol != NEXT_HOP_BY_HOP && out->protocol != NEXT_ROUTING &&
            out->protocol != NEXT_DESTINATION) {
            break;
        }
        if (ip.len < at + 8) {
            return true;
        }
        length = fragment ? 8 : 8 + (size_t)ip.at[at + 1] * 8;
        out->protocol = ip.at[at];
        if (fragment && (tb_get_be16(ip.at + at + 2) & 0xfff9) != 0) {
            return true; /* its ports, if it has them, are not the next one's */
        }
        at += length;
        if (ip.len < at) {
            return true;
        }
    }
    take_ports(tb_bytes_of(ip.at + at, ip.len - at), out);
    return true;
}

/* False when there is nobody to name: not IP, or too little of it. */
static bool
take_ends(struct tb_bytes frame, struct ends *out)
{
    size_t at = ETHERNET_ADDRESSES_BYTES;
    uint16_t type = 0;

    for (int tags = 0; tags <= MAX_TAGS; tags++, at += TAG_BYTES) {
        if (frame.len < at + 2) {
            return false;
        }
        type = tb_get_be16(frame.at + at);
        if (type != TYPE_TAG && type != TYPE_SERVICE_TAG && type != TYPE_OLD_SERVICE_TAG) {
            break;
        }
    }
    at += 2;
    if (at > frame.len) {
        return false;
    }
    out->port_a = out->port_b = 0;
    if (type == TYPE_IPV4) {
        return take_ipv4(tb_bytes_of(frame.at + at, frame.len - at), out);
    }
    if (type == TYPE_IPV6) {
        return take_ipv6(tb_bytes_of(frame.at + at, frame.len - at), out);
    }
    return false;
}

bool
tb_segment_flow_of(struct tb_bytes frame, struct tb_segment_flow *out)
{
    struct ends e;

    if (!take_ends(frame, &e)) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        tb_set_le64(out->a + 8 * i, e.a[i]);
        tb_set_le64(out->b + 8 * i, e.b[i]);
    }
    out->port_a = e.port_a;
    out->port_b = e.port_b;
    out->protocol = e.protocol;
    return true;
}

/* --- the sets of one chunk --- */

static bool
are_same(const struct ends *x, const struct ends *y)
{
    return x->a[0] == y->a[0] && x->a[1] == y->a[1] && x->b[0] == y->b[0] &&
           x->b[1] == y->b[1] && x->port_a == y->port_a && x->port_b == y->port_b &&
           x->protocol == y->protocol;
}

/* Whose keys are in the sets already. */
struct seen {
    struct ends ends;
    bool used;
};

static bool
is_seen(struct seen seen[SEEN], const struct ends *e)
{
    uint64_t mixed = (e->a[1] ^ e->b[1] ^ ((uint64_t)e->port_a << 16 | e->port_b)) *
                     UINT64_C(0x9E3779B97F4A7C15);
    struct seen *slot = &seen[mixed >> 56];

    if (slot->used && are_same(&slot->ends, e)) {
        return true;
    }
    slot->ends = *e;
    slot->used = true;
    return false;
}

/* Open addressing, at most half full; 0 is "free", and the key 0 has a flag of its own. */
static void
add_key(struct segment_key_set *set, uint32_t key)
{
    if (key == 0) {
        set->has_zero = true;
        return;
    }
    for (size_t i = key;; i++) {
        uint32_t *slot = &set->slots[i % SEGMENT_KEY_SLOTS];

        if (*slot == key) {
            return;
        }
        if (*slot == 0) {
            if (set->count < set->max) {
                *slot = key;
                set->keys[set->count++] = key;
            } else {
                set->overflow = true;
            }
            return;
        }
    }
}

static void
clear_set(struct segment_key_set *set, size_t max)
{
    memset(set->slots, 0, sizeof(set->slots));
    set->max = max;
    set->count = 0;
    set->has_zero = set->overflow = false;
}

/* (qsort would take memory) */
static void
sort(uint32_t *keys, size_t count)
{
    static const size_t gaps[] = {701, 301, 132, 57, 23, 10, 4, 1};

    for (size_t g = 0; g < sizeof(gaps) / sizeof(gaps[0]); g++) {
        for (size_t i = gaps[g]; i < count; i++) {
            uint32_t key = keys[i];
            size_t at = i;

            for (; at >= gaps[g] && keys[at - gaps[g]] > key; at -= gaps[g]) {
                keys[at] = keys[at - gaps[g]];
            }
            keys[at] = key;
        }
    }
}

static void
finish_set(struct segment_key_set *set)
{
    if (set->has_zero && set->count < set->max) {
        set->keys[set->count++] = 0;
    } else if (set->has_zero) {
        set->overflow = true;
    }
    if (!set->overflow) {
        sort(set->keys, set->count);
    }
}

void
segment_keys_collect(struct segment_keys *keys, struct tb_bytes blocks)
{
    struct seen seen[SEEN];

    memset(seen, 0, sizeof(seen));
    clear_set(&keys->hosts, SEGMENT_MAX_HOSTS);
    clear_set(&keys->flows, SEGMENT_MAX_FLOWS);
    while (blocks.len >= PACKET_FRAME_AT) {
        uint32_t size = tb_get_le32(blocks.at + 4);
        struct ends e = {.protocol = 0};
        uint32_t captured;

        if (size < PACKET_FRAME_AT || size > blocks.len) {
            break; /* (what is not whole blocks is refused elsewhere) */
        }
        captured = tb_get_le32(blocks.at + PACKET_CAPTURED_AT);
        if (tb_get_le32(blocks.at) == TB_PCAPNG_EPB && captured <= size - PACKET_FRAME_AT &&
            take_ends(tb_bytes_of(blocks.at + PACKET_FRAME_AT, captured), &e) &&
            !is_seen(seen, &e)) {
            add_key(&keys->hosts, host_key(e.a));
            add_key(&keys->hosts, host_key(e.b));
            add_key(&keys->flows, flow_key(&e));
        }
        blocks = tb_bytes_of(blocks.at + size, blocks.len - size);
    }
    finish_set(&keys->hosts);
    finish_set(&keys->flows);
}

/* --- the keys of all chunks, as they stand in the index --- */

size_t
segment_key_list_cap(size_t max_chunks)
{
    return HEAD_BYTES * max_chunks + SEGMENT_KEYS_BUDGET;
}

static size_t
put_set(struct segment_key_list *list, const struct segment_key_set *set)
{
    if (set->overflow || list->used + set->count * KEY_BYTES > SEGMENT_KEYS_BUDGET) {
        return SEGMENT_KEYS_UNKNOWN;
    }
    for (size_t i = 0; i < set->count; i++) {
        tb_set_le32(list->at + list->len, set->keys[i]);
        list->len += KEY_BYTES;
    }
    list->used += set->count * KEY_BYTES;
    return set->count;
}

void
segment_key_list_add(struct segment_key_list *list, const struct segment_keys *keys)
{
    size_t head = list->len;

    list->len += HEAD_BYTES;
    tb_set_le16(list->at + head, (uint16_t)put_set(list, &keys->hosts));
    tb_set_le16(list->at + head + 2, (uint16_t)put_set(list, &keys->flows));
}

/* --- reading them --- */

static size_t
known_count(const uint8_t *at)
{
    size_t count = tb_get_le16(at);

    return count == SEGMENT_KEYS_UNKNOWN ? 0 : count;
}

static bool
is_sorted(const uint8_t *at, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (tb_get_le32(at + KEY_BYTES * (i - 1)) >= tb_get_le32(at + KEY_BYTES * i)) {
            return false;
        }
    }
    return true;
}

enum tb_err
segment_key_index_init(struct segment_key_index *index, struct tb_bytes list,
                       size_t chunk_count)
{
    struct segment_key_index made = {.len = list.len};
    size_t at = 0;

    made.at = malloc(list.len == 0 ? 1 : list.len);
    made.offsets = calloc(chunk_count, sizeof(*made.offsets));
    if (made.at == NULL || made.offsets == NULL) {
        segment_key_index_release(&made);
        return TB_ENOMEM;
    }
    memcpy(made.at, list.at, list.len);
    for (size_t i = 0; i < chunk_count; i++) {
        size_t hosts = 0;
        size_t flows = 0;
        bool fits = list.len - at >= HEAD_BYTES;

        if (fits) {
            hosts = known_count(list.at + at);
            flows = known_count(list.at + at + 2);
            fits = list.len - at - HEAD_BYTES >= KEY_BYTES * (hosts + flows) &&
                   is_sorted(list.at + at + HEAD_BYTES, hosts) &&
                   is_sorted(list.at + at + HEAD_BYTES + KEY_BYTES * hosts, flows);
        }
        if (!fits) {
            segment_key_index_release(&made);
            return TB_EFORMAT;
        }
        made.offsets[i] = (uint32_t)at;
        at += HEAD_BYTES + KEY_BYTES * (hosts + flows);
    }
    if (at != list.len) {
        segment_key_index_release(&made);
        return TB_EFORMAT;
    }
    *index = made;
    return TB_OK;
}

void
segment_key_index_release(struct segment_key_index *index)
{
    free(index->at);
    free(index->offsets);
    *index = (struct segment_key_index){0};
}

bool
segment_key_index_may_hold(const struct segment_key_index *index, size_t chunk, bool flow,
                           uint32_t key)
{
    const uint8_t *head;
    const uint8_t *keys;
    size_t hosts, high;
    size_t low = 0;

    if (index->at == NULL) {
        return true; /* the file says nothing of it */
    }
    head = index->at + index->offsets[chunk];
    hosts = known_count(head);
    keys = head + HEAD_BYTES + (flow ? KEY_BYTES * hosts : 0);
    high = flow ? known_count(head + 2) : hosts;
    if (tb_get_le16(flow ? head + 2 : head) == SEGMENT_KEYS_UNKNOWN) {
        return true;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uint32_t there = tb_get_le32(keys + KEY_BYTES * middle);

        if (there == key) {
            return true;
        }
        if (there < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return false;
}
