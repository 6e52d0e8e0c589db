/* The packets of a capture, counted: each frame goes down its layers, and what is at each
 * layer goes into its table. */
#include "summary_int.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/digest.h>
#include <tapbox/pcapng.h>

enum {
    MAX_CONVERSATIONS = 65536, /* of each kind, about 200 octets each: 13 MiB */
    MAX_NAMES = 16384,         /* of each kind: 8 MiB when all are as long as can be */
    MAX_PROTOCOLS = 512,
    MAX_DEPTH = 4, /* tunnels in tunnels whose inside is read anew: UDP's, reassembled ones */
    DNS_PORT = 53,
    MDNS_PORT = 5353,
    LLMNR_PORT = 5355,
    VXLAN_PORT = 4789,
    VXLAN_HEAD = 8
};

static void on_question(void *arg, const char *name, bool is_response);
static void on_address(void *arg, const char *name, const struct summary_address *address);
static void on_dns_message(void *arg, struct tb_bytes message);
static void on_server_name(void *arg, const char *name);
static void on_host(void *arg, const char *name);
static void take_layers(struct tb_summary *summary, const struct summary_frame *frame,
                        unsigned depth);

/* --- life --- */

static void
on_leaving(void *arg, struct summary_entry *entry)
{
    struct tb_summary *summary = arg;

    summary_streams_forget(summary->streams, &entry->ways[0]);
    summary_streams_forget(summary->streams, &entry->ways[1]);
}

enum tb_err
tb_summary_new(struct tb_summary **out, struct tb_fail *fail)
{
    struct tb_summary *summary = calloc(1, sizeof(*summary));
    struct summary_stream_sink sink = {on_dns_message, on_server_name, on_host, summary};
    uint64_t seed = 0;
    enum tb_err err;

    if (summary == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a summary");
    }
    err = tb_random(&seed, sizeof(seed));
    for (size_t i = 0; i < SUMMARY_TABLE_COUNT; i++) {
        size_t max = i <= SUMMARY_UDP         ? MAX_CONVERSATIONS
                     : i == SUMMARY_PROTOCOLS ? MAX_PROTOCOLS
                                              : MAX_NAMES;

        summary_table_init(&summary->tables[i], max, seed);
    }
    summary_timeline_init(&summary->timeline);
    summary_iocs_init(&summary->iocs);
    if (err == TB_OK) {
        err = summary_fragments_new(&summary->fragment_store);
    }
    if (err == TB_OK) {
        err = summary_streams_new(&sink, &summary->streams);
    }
    if (err == TB_OK) {
        err = summary_quic_new(on_server_name, summary, &summary->quic);
    }
    if (err != TB_OK) {
        tb_summary_free(summary);
        return tb_fail_set(fail, err, "cannot begin a summary");
    }
    summary->tables[SUMMARY_TCP].leaving = on_leaving;
    summary->tables[SUMMARY_TCP].arg = summary;
    *out = summary;
    return TB_OK;
}

void
tb_summary_free(struct tb_summary *summary)
{
    if (summary != NULL) {
        for (size_t i = 0; i < SUMMARY_TABLE_COUNT; i++) {
            summary_table_release(&summary->tables[i]);
        }
        summary_fragments_free(summary->fragment_store);
        summary_streams_free(summary->streams);
        summary_quic_free(summary->quic);
        summary_iocs_release(&summary->iocs);
        free(summary);
    }
}

uint64_t
tb_summary_packets(const struct tb_summary *summary)
{
    return summary->packets;
}

/* --- counting --- */

static void
note_times(const struct tb_summary *summary, struct summary_entry *entry)
{
    int64_t now = summary->now.utc_ns;

    if (summary_entry_packets(entry) == 0) {
        entry->first_utc_ns = entry->last_utc_ns = now;
    }
    entry->first_utc_ns = now < entry->first_utc_ns ? now : entry->first_utc_ns;
    entry->last_utc_ns = now > entry->last_utc_ns ? now : entry->last_utc_ns;
}

static void
put_port(uint8_t *at, uint16_t port)
{
    at[0] = (uint8_t)(port >> 8);
    at[1] = (uint8_t)port;
}

/* Counts the packet in hand between two ends; the direction that it was in, or NULL. */
static struct summary_way *
count_conversation(struct tb_summary *summary, enum summary_tables kind,
                   const struct summary_ends *ends, bool is_v6)
{
    struct summary_table *table = &summary->tables[kind];
    uint8_t key[SUMMARY_CONVERSATION_KEY];
    struct summary_entry *entry;
    struct summary_way *way;
    int order = memcmp(&ends->src, &ends->dst, sizeof(ends->src));
    bool src_is_low = order < 0 || (order == 0 && ends->src_port <= ends->dst_port);

    memcpy(key, src_is_low ? &ends->src : &ends->dst, 16);
    memcpy(key + 16, src_is_low ? &ends->dst : &ends->src, 16);
    put_port(key + 32, src_is_low ? ends->src_port : ends->dst_port);
    put_port(key + 34, src_is_low ? ends->dst_port : ends->src_port);
    key[36] = is_v6;
    entry = summary_table_get(table, tb_bytes_of(key, sizeof(key)), tb_bytes_of(NULL, 0));
    if (entry == NULL) {
        summary_table_miss(table, summary->now.bytes);
        return NULL;
    }
    if (summary_entry_packets(entry) == 0) {
        entry->a_is_low = src_is_low;
    }
    note_times(summary, entry);
    way = &entry->ways[src_is_low == entry->a_is_low ? 0 : 1];
    way->packets++;
    way->bytes += summary->now.bytes;
    return way;
}

void
summary_conversation_read(const struct summary_entry *entry, struct summary_ends *out_a_to_b,
                          bool *out_is_v6)
{
    size_t a = entry->a_is_low ? 0 : 1;

    memcpy(&out_a_to_b->src, entry->key + a * 16, 16);
    memcpy(&out_a_to_b->dst, entry->key + (1 - a) * 16, 16);
    out_a_to_b->src_port = tb_get_be16(entry->key + 32 + a * 2);
    out_a_to_b->dst_port = tb_get_be16(entry->key + 32 + (1 - a) * 2);
    out_a_to_b->protocol = 0;
    *out_is_v6 = entry->key[36] != 0;
}

/* Names are one whatever their case, shown as they came first. */
static void
count_name(struct tb_summary *summary, enum summary_tables kind, const char *name, size_t way)
{
    struct summary_table *table = &summary->tables[kind];
    char lower[SUMMARY_NAME_SIZE];
    size_t len = strlen(name);
    struct summary_entry *entry;

    for (size_t i = 0; i < len; i++) {
        lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + ('a' - 'A') : name[i]);
    }
    entry = summary_table_get(table, tb_bytes_of(lower, len), tb_bytes_of(name, len));
    if (entry == NULL) {
        summary_table_miss(table, 0);
        return;
    }
    note_times(summary, entry);
    entry->ways[way].packets++;
}

static void
count_protocol(struct tb_summary *summary, const char *name)
{
    struct summary_table *table = &summary->tables[SUMMARY_PROTOCOLS];
    struct tb_bytes key = tb_bytes_str(name);
    struct summary_entry *entry = summary_table_get(table, key, key);

    if (entry == NULL) {
        summary_table_miss(table, summary->now.bytes);
        return;
    }
    note_times(summary, entry);
    entry->ways[0].packets++;
    entry->ways[0].bytes += summary->now.bytes;
}

/* --- names --- */

static void
on_question(void *arg, const char *name, bool is_response)
{
    struct tb_summary *summary = arg;

    count_name(summary, SUMMARY_DNS, name, is_response ? 1 : 0);
    if (!is_response) {
        summary_iocs_name(&summary->iocs, name, 1, summary->now.utc_ns);
    }
}

static void
on_address(void *arg, const char *name, const struct summary_address *address)
{
    struct tb_summary *summary = arg;

    summary_iocs_answer(&summary->iocs, name, address);
}

static void
on_dns_message(void *arg, struct tb_bytes message)
{
    struct summary_dns_sink sink = {on_question, on_address, arg};

    summary_dns_read(message, &sink);
}

static void
on_server_name(void *arg, const char *name)
{
    struct tb_summary *summary = arg;

    count_name(summary, SUMMARY_TLS, name, 0);
    summary_iocs_name(&summary->iocs, name, 1, summary->now.utc_ns);
}

static void
on_host(void *arg, const char *name)
{
    struct tb_summary *summary = arg;
    char host[SUMMARY_NAME_SIZE];
    size_t len = strcspn(name, ":");

    count_name(summary, SUMMARY_HTTP, name, 0);
    memcpy(host, name, len);
    host[len] = '\0';
    summary_iocs_name(&summary->iocs, host, 1, summary->now.utc_ns);
}

/* --- layers --- */

static void
take_tcp(struct tb_summary *summary, struct summary_ends *ends, bool is_v6,
         struct tb_bytes rest)
{
    struct summary_segment segment;
    struct summary_way *way;

    if (!summary_tcp_read(rest, &segment)) {
        return;
    }
    ends->src_port = segment.src_port;
    ends->dst_port = segment.dst_port;
    summary_iocs_transport(&summary->iocs, ends, summary->packets, summary->now.utc_ns,
                           summary->now.bytes);
    way = count_conversation(summary, SUMMARY_TCP, ends, is_v6);
    if (way != NULL) {
        summary_streams_add(summary->streams, way, &segment);
    }
}

static void
take_udp(struct tb_summary *summary, struct summary_ends *ends, bool is_v6,
         struct tb_bytes rest, unsigned depth)
{
    struct summary_datagram datagram;
    struct summary_frame inside;
    uint16_t low, high;

    if (!summary_udp_read(rest, &datagram)) {
        return;
    }
    ends->src_port = datagram.src_port;
    ends->dst_port = datagram.dst_port;
    summary_iocs_transport(&summary->iocs, ends, summary->packets, summary->now.utc_ns,
                           summary->now.bytes);
    (void)count_conversation(summary, SUMMARY_UDP, ends, is_v6);
    low = datagram.src_port < datagram.dst_port ? datagram.src_port : datagram.dst_port;
    high = datagram.src_port < datagram.dst_port ? datagram.dst_port : datagram.src_port;
    if (low == DNS_PORT || low == MDNS_PORT || low == LLMNR_PORT || high == DNS_PORT ||
        high == MDNS_PORT || high == LLMNR_PORT) {
        on_dns_message(summary, datagram.payload);
    } else if ((low == VXLAN_PORT || high == VXLAN_PORT) && datagram.payload.len > VXLAN_HEAD) {
        summary_frame_read(
            tb_bytes_of(datagram.payload.at + VXLAN_HEAD, datagram.payload.len - VXLAN_HEAD),
            &inside);
        take_layers(summary, &inside, depth + 1);
    } else if (summary_quic_begins(datagram.payload)) {
        summary_quic_add(summary->quic, ends, datagram.payload);
    }
}

static void
take_transport(struct tb_summary *summary, struct summary_ends *ends, bool is_v6,
               struct tb_bytes rest, unsigned depth)
{
    if (ends->protocol == IP_TCP) {
        take_tcp(summary, ends, is_v6, rest);
    } else if (ends->protocol == IP_UDP) {
        take_udp(summary, ends, is_v6, rest, depth);
    }
}

/* A piece of a datagram: the one that makes it whole stands for all of it. */
static void
take_fragment(struct tb_summary *summary, const struct summary_layer *layer,
              struct summary_ends *ends, unsigned depth)
{
    struct tb_bytes whole;
    struct summary_frame inside = {0};

    summary->fragments++;
    summary->fragment_bytes += summary->now.bytes;
    if (!layer->is_whole) {
        if (layer->is_first_fragment && !layer->is_v6) { /* as tshark has it */
            take_transport(summary, ends, layer->is_v6, layer->rest, depth);
        }
        return;
    }
    if (summary_fragments_add(summary->fragment_store, layer, &whole, &ends->protocol)) {
        take_transport(summary, ends, layer->is_v6, whole, depth);
        summary_frame_inside(ends->protocol, whole, &inside);
        take_layers(summary, &inside, depth + 1);
    }
}

static void
take_layers(struct tb_summary *summary, const struct summary_frame *frame, unsigned depth)
{
    if (depth > MAX_DEPTH) {
        return;
    }
    for (size_t i = 0; i < frame->count; i++) {
        const struct summary_layer *layer = &frame->layers[i];
        struct summary_ends ends = {.src = layer->src, .dst = layer->dst};

        (void)count_conversation(summary, SUMMARY_IP, &ends, layer->is_v6);
        summary_iocs_ip(&summary->iocs, &ends, summary->packets, summary->now.utc_ns,
                        summary->now.bytes);
        ends.protocol = layer->protocol;
        if (layer->is_fragment) {
            take_fragment(summary, layer, &ends, depth);
        } else {
            take_transport(summary, &ends, layer->is_v6, layer->rest, depth);
        }
    }
}

static const char *
transport_name(uint8_t protocol)
{
    static const struct {
        uint8_t number;
        const char *name;
    } known[] = {{1, "icmp"},    {2, "igmp"},        {4, "ipip"},  {6, "tcp"},  {17, "udp"},
                 {33, "dccp"},   {41, "ipv6-in-ip"}, {47, "gre"},  {50, "esp"}, {51, "ah"},
                 {58, "icmpv6"}, {89, "ospf"},       {132, "sctp"}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (known[i].number == protocol) {
            return known[i].name;
        }
    }
    return NULL;
}

/* What the frame is, by its outermost headers. */
static void
take_protocols(struct tb_summary *summary, const struct summary_frame *frame)
{
    const struct summary_layer *layer = &frame->layers[0];
    char name[32];

    if (frame->count == 0) {
        if (frame->ether_type == 0x0806) {
            count_protocol(summary, "arp");
        } else if (frame->ether_type != 0) {
            (void)snprintf(name, sizeof(name), "ethertype 0x%04x", frame->ether_type);
            count_protocol(summary, name);
        } else {
            count_protocol(summary, "other");
        }
        return;
    }
    count_protocol(summary, layer->is_v6 ? "ipv6" : "ipv4");
    if (transport_name(layer->protocol) != NULL) {
        count_protocol(summary, transport_name(layer->protocol));
    } else {
        (void)snprintf(name, sizeof(name), "ip protocol %u", layer->protocol);
        count_protocol(summary, name);
    }
}

void
tb_summary_packet(struct tb_summary *summary, int64_t utc_ns, struct tb_bytes frame,
                  uint32_t original)
{
    struct summary_frame read;

    summary->now.utc_ns = utc_ns;
    summary->now.bytes = original;
    if (summary->packets == 0 || utc_ns < summary->first_utc_ns) {
        summary->first_utc_ns = utc_ns;
    }
    if (summary->packets == 0 || utc_ns > summary->last_utc_ns) {
        summary->last_utc_ns = utc_ns;
    }
    summary->packets++;
    summary->bytes += original;
    summary->captured_bytes += frame.len;
    summary->sliced += frame.len < original ? 1 : 0;
    summary_timeline_add(&summary->timeline, utc_ns, original);
    summary_frame_read(frame, &read);
    take_protocols(summary, &read);
    take_layers(summary, &read, 0);
}

enum tb_err
tb_summary_blocks(struct tb_summary *summary, struct tb_bytes blocks, struct tb_fail *fail)
{
    struct tb_pcapng_block block;
    struct tb_pcapng_packet packet;
    struct tb_bytes frame;

    while (blocks.len > 0) {
        if (tb_pcapng_next(&blocks, &block) != TB_OK ||
            (block.type == TB_PCAPNG_EPB &&
             tb_pcapng_get_packet(&block, &packet, &frame) != TB_OK)) {
            summary->bad_blocks++;
            return tb_fail_set(fail, TB_EFORMAT, "these are not whole pcapng blocks");
        }
        if (block.type == TB_PCAPNG_EPB) {
            tb_summary_packet(summary, packet.utc_ns, frame, packet.original);
        }
    }
    return TB_OK;
}

/* --- what the alert spoke of --- */

/* What the conversations hold of it already: `ends` of each is looked at as a packet's would
 * be, in both directions at once. */
static void
look_back(struct tb_summary *summary, size_t number)
{
    struct summary_iocs *iocs = &summary->iocs;
    const struct tb_ioc *ioc = &iocs->list[number];
    struct tb_sighting *sighting = &iocs->sightings[number];
    const struct summary_address *address = &iocs->states[number]->address;

    for (size_t kind = SUMMARY_IP; kind <= SUMMARY_UDP; kind++) {
        uint8_t protocol = kind == SUMMARY_TCP ? IP_TCP : IP_UDP;
        bool counts = ioc->kind == TB_IOC_IP ? kind == SUMMARY_IP : kind != SUMMARY_IP;

        for (size_t i = 0; i < summary->tables[kind].count; i++) {
            const struct summary_entry *entry = summary->tables[kind].entries[i];
            struct summary_ends ends;
            bool is_v6, a, b;

            summary_conversation_read(entry, &ends, &is_v6);
            a = ioc->kind == TB_IOC_PORT || memcmp(address, &ends.src, sizeof(*address)) == 0;
            b = ioc->kind == TB_IOC_PORT || memcmp(address, &ends.dst, sizeof(*address)) == 0;
            if (kind != SUMMARY_IP) {
                bool fits = ioc->port != 0 && (ioc->protocol == 0 || ioc->protocol == protocol);

                a = a && fits && ends.src_port == ioc->port;
                b = b && fits && ends.dst_port == ioc->port;
            }
            if (!a && !b) {
                continue;
            }
            if (kind != SUMMARY_IP) {
                sighting->on_port += summary_entry_packets(entry);
            }
            if (counts) {
                sighting->packets += summary_entry_packets(entry);
                sighting->bytes += summary_entry_bytes(entry);
                summary_sighting_span(sighting, entry->first_utc_ns, entry->last_utc_ns);
            }
        }
    }
}

static void
look_back_names(struct tb_summary *summary, size_t number)
{
    struct tb_sighting *sighting = &summary->iocs.sightings[number];

    for (size_t kind = SUMMARY_DNS; kind <= SUMMARY_HTTP; kind++) {
        for (size_t i = 0; i < summary->tables[kind].count; i++) {
            const struct summary_entry *entry = summary->tables[kind].entries[i];
            char name[SUMMARY_NAME_SIZE];
            size_t len = kind == SUMMARY_HTTP
                             ? strcspn((const char *)entry->key + entry->key_len, ":")
                             : entry->key_len;

            memcpy(name, entry->key, len);
            name[len] = '\0';
            if (entry->ways[0].packets > 0 &&
                summary_name_is_below(name, summary->iocs.list[number].value)) {
                sighting->names += entry->ways[0].packets;
                summary_sighting_span(sighting, entry->first_utc_ns, entry->last_utc_ns);
            }
        }
    }
}

enum tb_err
tb_summary_watch(struct tb_summary *summary, const struct tb_ioc *ioc, struct tb_fail *fail)
{
    bool is_new = false;
    enum tb_err err = summary_iocs_add(&summary->iocs, ioc, &is_new, fail);

    if (err == TB_OK && is_new) {
        size_t number = summary->iocs.count - 1;

        if (ioc->kind == TB_IOC_DOMAIN) {
            look_back_names(summary, number);
        } else {
            look_back(summary, number);
        }
    }
    return err;
}

size_t
tb_summary_sightings(const struct tb_summary *summary, const struct tb_ioc **out_iocs,
                     const struct tb_sighting **out)
{
    *out_iocs = summary->iocs.list;
    *out = summary->iocs.sightings;
    return summary->iocs.count;
}
