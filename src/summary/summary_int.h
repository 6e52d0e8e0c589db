/*
 * What the parts of the summary share.
 *
 * frame.c      one frame, down to its transport header (pure)
 * fragments.c  datagrams that came in pieces
 * dns.c hello.c http.c   names in payloads (pure)
 * window.c     the first octets of what comes in pieces
 * streams.c    the beginnings of TCP streams, in order
 * quic.c       the ClientHellos in QUIC's Initial packets
 * table.c      counters by key, bounded
 * timeline.c   packets and bytes per interval
 * iocs.c       what the alert spoke of
 * summary.c    puts them together; document.c writes the result
 */
#ifndef TAPBOX_SUMMARY_INT_H
#define TAPBOX_SUMMARY_INT_H

#include <tapbox/summary.h>

/* --- one frame --- */

enum {
    SUMMARY_MAX_LAYERS = 6, /* IP headers in each other: tunnels */

    IP_HOP_BY_HOP = 0,
    IP_ICMP = 1,
    IP_IPV4 = 4,
    IP_TCP = 6,
    IP_UDP = 17,
    IP_IPV6 = 41,
    IP_ROUTING = 43,
    IP_FRAGMENT = 44,
    IP_GRE = 47,
    IP_AH = 51,
    IP_ICMPV6 = 58,
    IP_NONE = 59,
    IP_DESTINATION = 60
};

struct summary_address {
    uint8_t octets[16]; /* IPv6, or IPv4-mapped */
};

/* One IP header and what is behind it. */
struct summary_layer {
    bool is_v6;
    struct summary_address src, dst;
    uint8_t protocol;       /* behind the extension headers */
    struct tb_bytes rest;   /* behind them: what was kept of it */
    bool is_fragment;       /* `rest` is a piece of a datagram */
    bool is_first_fragment; /* at offset 0 */
    bool more_fragments;
    bool is_whole; /* `rest` has all that the header says */
    uint32_t fragment_id;
    uint32_t fragment_offset; /* octets */
};

struct summary_frame {
    uint16_t ether_type; /* behind the tags; 0: a frame with a length, or too short to tell */
    size_t count;
    struct summary_layer layers[SUMMARY_MAX_LAYERS]; /* the outermost first */
};
/* Everything in `out` points into `frame`. */
void summary_frame_read(struct tb_bytes frame, struct summary_frame *out);
/* The layers in a transport payload (of a reassembled datagram, too), behind those in `out`. */
void summary_frame_inside(uint8_t protocol, struct tb_bytes payload, struct summary_frame *out);

struct summary_segment { /* TCP */
    uint16_t src_port, dst_port;
    uint32_t sequence;
    bool syn, ack, fin, rst;
    struct tb_bytes payload;
};
/* False when the header is not whole or not one. */
bool summary_tcp_read(struct tb_bytes rest, struct summary_segment *out);
struct summary_datagram { /* UDP */
    uint16_t src_port, dst_port;
    struct tb_bytes payload;
};
bool summary_udp_read(struct tb_bytes rest, struct summary_datagram *out);

/* A packet between two ends. */
struct summary_ends {
    struct summary_address src, dst;
    uint16_t src_port, dst_port;
    uint8_t protocol;
};

/* --- counters by key --- */

struct summary_stream; /* the beginning of one direction of a TCP connection */

struct summary_way { /* one direction */
    uint64_t packets, bytes;
    struct summary_stream *stream; /* owned by the streams; NULL: none is collected */
    uint32_t next_sequence;
    bool is_known;  /* next_sequence is right */
    bool has_begun; /* payload was seen */
};

struct summary_entry {
    uint64_t hash;
    int64_t first_utc_ns, last_utc_ns;
    struct summary_way ways[2]; /* conversations: from a to b, from b to a; names: asked,
                                   answered (packets only) */
    bool a_is_low;              /* conversations: the lower end of the key spoke first */
    uint16_t key_len;
    uint8_t key[]; /* conversations: low address, high address, low port, high port; names: text
                      in lower case, then as first seen */
};

struct summary_table {
    size_t max; /* entries */
    uint64_t seed;
    struct summary_entry **entries; /* owned */
    size_t count, room;
    uint32_t *slots; /* owned; 1 + number of the entry, 0: free */
    size_t slot_count;
    void (*leaving)(void *arg, struct summary_entry *entry); /* may be NULL */
    void *arg;
    struct { /* what no longer is, or never was, in it */
        uint64_t entries, packets, bytes;
    } out;
    bool no_memory; /* packets went uncounted into `out` for that */
};
void summary_table_init(struct summary_table *table, size_t max, uint64_t seed);
void summary_table_release(struct summary_table *table);
/* The entry with this key; made when it is not there.  NULL without memory (counted by the
 * caller with summary_table_miss).  `more` octets behind the key are kept with a new entry. */
struct summary_entry *summary_table_get(struct summary_table *table, struct tb_bytes key,
                                        struct tb_bytes more);
/* The same without making one. */
struct summary_entry *summary_table_find(const struct summary_table *table,
                                         struct tb_bytes key);
void summary_table_miss(struct summary_table *table, uint64_t bytes);
static inline uint64_t
summary_entry_bytes(const struct summary_entry *entry)
{
    return entry->ways[0].bytes + entry->ways[1].bytes;
}
static inline uint64_t
summary_entry_packets(const struct summary_entry *entry)
{
    return entry->ways[0].packets + entry->ways[1].packets;
}

/* --- fragments --- */

struct summary_fragments;
TB_NODISCARD enum tb_err summary_fragments_new(struct summary_fragments **out);
void summary_fragments_free(struct summary_fragments *fragments);
/* True when `layer` completes its datagram: *out is what was behind its IP headers and
 * *out_protocol what that is; lent until the next call. */
bool summary_fragments_add(struct summary_fragments *fragments,
                           const struct summary_layer *layer, struct tb_bytes *out,
                           uint8_t *out_protocol);
/* Datagrams that were given up before they were whole. */
uint64_t summary_fragments_lost(const struct summary_fragments *fragments);

/* --- names in payloads --- */

enum {
    SUMMARY_NAME_SIZE = 1024 /* 255 octets of a DNS name, each written as \DDD at the worst */
};

/* What names are told to: one at a time. */
typedef void summary_name_fn(void *arg, const char *name);

struct summary_dns_sink {
    void (*question)(void *arg, const char *name, bool is_response);
    void (*address)(void *arg, const char *name, const struct summary_address *address);
    void *arg;
};
/* One message.  `name` of an address is the first question's.  Stops where it is no DNS. */
void summary_dns_read(struct tb_bytes message, const struct summary_dns_sink *sink);

enum summary_found {
    SUMMARY_MORE,    /* it may be one: more octets are needed */
    SUMMARY_NOT_ONE, /* it is not */
    SUMMARY_FOUND    /* read; the name may be "" */
};
/* TLS records that begin with a ClientHello: its server name. */
enum summary_found summary_hello_read(struct tb_bytes records, char out[SUMMARY_NAME_SIZE]);
/* The handshake message itself. */
enum summary_found summary_hello_message(struct tb_bytes message, char out[SUMMARY_NAME_SIZE]);
bool summary_hello_begins(struct tb_bytes octets);
/* An HTTP/1 request's Host. */
enum summary_found summary_http_read(struct tb_bytes octets, char out[SUMMARY_NAME_SIZE]);
bool summary_http_begins(struct tb_bytes octets);

/* --- the first octets of what comes in pieces, in any order --- */

enum {
    SUMMARY_WINDOW = 20 * 1024, /* octets; a ClientHello may have 16 KiB */
    SUMMARY_WINDOW_RANGES = 32 /* stretches between holes; browsers shuffle QUIC's on purpose */
};
struct summary_range {
    uint32_t from, to;
};
struct summary_window { /* begins as zeros */
    uint8_t *octets;    /* owned */
    size_t room;
    struct summary_range ranges[SUMMARY_WINDOW_RANGES]; /* that are there, in order */
    size_t range_count;
};
/* What lies beyond the window is left out.  False: too many holes, or no memory. */
bool summary_window_put(struct summary_window *window, size_t at, struct tb_bytes octets);
/* What is there without a hole; lent until the next call. */
struct tb_bytes summary_window_in_order(const struct summary_window *window);
/* The first `count` octets, which are there, go. */
void summary_window_shift(struct summary_window *window, uint32_t count);
void summary_window_release(struct summary_window *window);

/* --- the beginnings of TCP streams --- */

struct summary_stream_sink {
    void (*dns)(void *arg, struct tb_bytes message);
    void (*tls)(void *arg, const char *name);
    void (*http)(void *arg, const char *name);
    void *arg;
};
struct summary_streams;
TB_NODISCARD enum tb_err summary_streams_new(const struct summary_stream_sink *sink,
                                             struct summary_streams **out);
/* The entries' pointers into it are not touched. */
void summary_streams_free(struct summary_streams *streams);
/* One segment of the direction `way`, which stays where it is until summary_streams_forget. */
void summary_streams_add(struct summary_streams *streams, struct summary_way *way,
                         const struct summary_segment *segment);
void summary_streams_forget(struct summary_streams *streams, struct summary_way *way);
/* Streams given up before their beginning was whole: too many at once, or too long. */
uint64_t summary_streams_lost(const struct summary_streams *streams);

/* --- QUIC's Initial packets (RFC 9000, 9001, 9369): anybody has the keys --- */

struct summary_quic;
TB_NODISCARD enum tb_err summary_quic_new(summary_name_fn *on_name, void *arg,
                                          struct summary_quic **out);
void summary_quic_free(struct summary_quic *quic);
/* Whether a datagram's payload begins as QUIC that can be read. */
bool summary_quic_begins(struct tb_bytes datagram);
/* Tells the server name once the ClientHello is whole, or "". */
void summary_quic_add(struct summary_quic *quic, const struct summary_ends *ends,
                      struct tb_bytes datagram);
/* The same of one packet's frames, decrypted; the connection is made if need be. */
void summary_quic_frames(struct summary_quic *quic, const struct summary_ends *ends,
                         struct tb_bytes frames);
/* Given up before their ClientHello was whole: too many at once, or too long. */
uint64_t summary_quic_lost(const struct summary_quic *quic);

/* --- timeline --- */

enum {
    TIMELINE_MAX = 4096 /* intervals; more make them twice as long: over an hour in seconds */
};
struct summary_bin {
    uint64_t packets, bytes;
};
struct summary_timeline {
    bool has_origin;
    int64_t origin_utc_ns; /* of the first packet that was read: where an interval begins */
    int64_t interval_s;
    int64_t low; /* number of the first bin; intervals before the origin are negative */
    size_t count;
    struct summary_bin bins[TIMELINE_MAX];
};
void summary_timeline_init(struct summary_timeline *timeline);
void summary_timeline_add(struct summary_timeline *timeline, int64_t utc_ns, uint64_t bytes);

/* --- what the alert spoke of --- */

enum {
    IOC_MAX_ADDRESSES = 64 /* that DNS answered for one domain */
};
struct summary_ioc_state {
    struct summary_address address;                     /* ip */
    struct summary_address answered[IOC_MAX_ADDRESSES]; /* domain */
    size_t answered_count;
    uint64_t frame, port_frame; /* counted last */
};
struct summary_iocs {
    struct tb_ioc list[TB_SUMMARY_MAX_IOCS]; /* names in lower case, without the last dot */
    struct tb_sighting sightings[TB_SUMMARY_MAX_IOCS];
    struct summary_ioc_state *states[TB_SUMMARY_MAX_IOCS]; /* owned */
    size_t count;
    uint64_t addresses[16]; /* a bit for each hash of an address: most packets stop here */
    bool any_port, any_domain;
};

void summary_iocs_init(struct summary_iocs *iocs);
void summary_iocs_release(struct summary_iocs *iocs);
/* TB_EINVAL, TB_EFULL; *out_new false when it was there. */
TB_NODISCARD enum tb_err summary_iocs_add(struct summary_iocs *iocs, const struct tb_ioc *ioc,
                                          bool *out_new, struct tb_fail *fail);
/* `frame` numbers the frames: of one in several IP headers, each sighting counts one packet. */
void summary_iocs_ip(struct summary_iocs *iocs, const struct summary_ends *ends, uint64_t frame,
                     int64_t utc_ns, uint64_t bytes);
void summary_iocs_transport(struct summary_iocs *iocs, const struct summary_ends *ends,
                            uint64_t frame, int64_t utc_ns, uint64_t bytes);
void summary_iocs_name(struct summary_iocs *iocs, const char *name, uint64_t times,
                       int64_t utc_ns);
bool summary_name_is_below(const char *name, const char *domain);
void summary_sighting_span(struct tb_sighting *sighting, int64_t first_utc_ns,
                           int64_t last_utc_ns);
void summary_iocs_answer(struct summary_iocs *iocs, const char *name,
                         const struct summary_address *address);

/* --- all of it --- */

enum summary_tables {
    SUMMARY_IP,
    SUMMARY_TCP,
    SUMMARY_UDP,
    SUMMARY_DNS,
    SUMMARY_TLS,
    SUMMARY_HTTP,
    SUMMARY_PROTOCOLS,
    SUMMARY_TABLE_COUNT
};
enum {
    SUMMARY_CONVERSATION_KEY = 37 /* two addresses, two ports, is_v6 */
};

struct tb_summary {
    uint64_t packets, bytes, captured_bytes;
    uint64_t sliced; /* packets of which not everything was kept */
    uint64_t fragments, fragment_bytes;
    uint64_t bad_blocks;
    int64_t first_utc_ns, last_utc_ns; /* earliest and latest packet */
    struct summary_table tables[SUMMARY_TABLE_COUNT];
    struct summary_fragments *fragment_store;
    struct summary_streams *streams;
    struct summary_quic *quic;
    struct summary_timeline timeline;
    struct summary_iocs iocs;
    /* the packet in hand */
    struct {
        int64_t utc_ns;
        uint64_t bytes;
    } now;
};

/* "10.0.0.1" or "2001:db8::1"; `out` holds TB_IP_TEXT_SIZE. */
void summary_address_text(char *out, const struct summary_address *address, bool is_v6);
bool summary_address_parse(const char *text, struct summary_address *out);
/* Leaves at most `top` rows of each table in a document. */
void summary_document_cut(struct tb_json *root, size_t top);
void summary_conversation_read(const struct summary_entry *entry,
                               struct summary_ends *out_a_to_b, bool *out_is_v6);

#endif
