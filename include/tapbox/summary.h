/*
 * The summary of a capture: who talked with whom, which names were asked for, when, and whether
 * what the alert spoke of was seen.  src/summary/FORMAT.md has the JSON document.
 *
 * Memory is bounded whatever the packets are: what falls out of a table is counted and said.
 * Packets are parsed as an attacker chose them, so tapbox does it in a process without rights
 * (the second half); the first half is pure, and what that process runs.
 */
#ifndef TAPBOX_SUMMARY_H
#define TAPBOX_SUMMARY_H

#include <tapbox/alert.h>
#include <tapbox/bytes.h>
#include <tapbox/json.h>
#include <tapbox/limits.h>

enum {
    TB_SUMMARY_MAX_BYTES =
        8 << 20,               /* of the document: 6 tables of 1,000 rows are below 4 MiB */
    TB_SUMMARY_TOP = 1000,     /* rows of each table in the document, the largest first */
    TB_SUMMARY_MAX_IOCS = 256, /* of all alerts of a capture */
    TB_SUMMARY_IOC_VALUE_SIZE = 256
};

/* Something that an alert speaks of: a peer, a port, or a domain. */
enum tb_ioc_kind {
    TB_IOC_IP,     /* value: an address; with a port, what was on it is counted besides */
    TB_IOC_PORT,   /* no value: any packet to or from this port */
    TB_IOC_DOMAIN, /* value: the name; names below it count as well */
    TB_IOC_KIND_COUNT
};
const char *tb_ioc_kind_name(enum tb_ioc_kind kind); /* "ip", "port", "domain" */

struct tb_ioc {
    enum tb_ioc_kind kind;
    char value[TB_SUMMARY_IOC_VALUE_SIZE];
    uint16_t port;    /* 0: none named */
    uint8_t protocol; /* 6, 17; 0: any */
};

enum {
    TB_IOCS_OF_ALERT_MAX = 2 * TB_ALERT_MAX_INDICATORS
};
/* Its peers and domains, and the local ports that were attacked; how many. */
size_t tb_iocs_of_alert(const struct tb_alert *alert, struct tb_ioc out[TB_IOCS_OF_ALERT_MAX]);

/* What was seen of it. */
struct tb_sighting {
    uint64_t packets, bytes; /* to and from the address or port; a domain: to and from the
                                addresses that DNS answered for it */
    uint64_t
        on_port;    /* of the packets: those on the port (and protocol) that the alert names */
    uint64_t names; /* domains: DNS questions, TLS server names and HTTP hosts that named it */
    int64_t first_utc_ns, last_utc_ns; /* 0: never */
};
static inline bool
tb_sighting_is_seen(const struct tb_sighting *sighting)
{
    return sighting->packets != 0 || sighting->names != 0;
}

/* --- aggregation; pure.  Threads: a summary belongs to one at a time --- */

struct tb_summary;

TB_NODISCARD enum tb_err tb_summary_new(struct tb_summary **out, struct tb_fail *fail);
void tb_summary_free(struct tb_summary *summary);
/* Watches for it from here on, and in what the tables hold already (with the times and numbers
 * that they have).  The same again changes nothing.  TB_EINVAL an address that is none;
 * TB_EFULL. */
TB_NODISCARD enum tb_err tb_summary_watch(struct tb_summary *summary, const struct tb_ioc *ioc,
                                          struct tb_fail *fail);
/* One Ethernet frame: `frame` is what was kept of `original` octets. */
void tb_summary_packet(struct tb_summary *summary, int64_t utc_ns, struct tb_bytes frame,
                       uint32_t original);
/* Whole pcapng blocks.  TB_EFORMAT when they are not: the packets before the bad one count. */
TB_NODISCARD enum tb_err tb_summary_blocks(struct tb_summary *summary, struct tb_bytes blocks,
                                           struct tb_fail *fail);
uint64_t tb_summary_packets(const struct tb_summary *summary);
/* In the order in which they were given; lent until the next _watch. */
size_t tb_summary_sightings(const struct tb_summary *summary, const struct tb_ioc **out_iocs,
                            const struct tb_sighting **out);
/* The document's root, for the caller to free; at most `top` rows of each table. */
struct tb_json *tb_summary_json(const struct tb_summary *summary, size_t top);

/* --- the process that does it ---
 *
 * `tapbox summarize` in a compartment: no network, no files, no credentials, its memory
 * bounded; what it reads comes as descriptors over its socket.  It holds one summary for each
 * number that its user chose.
 *
 * When it ends (a crash, no answer in time) every number is forgotten and the call at hand is
 * TB_ECLOSED; the next _begin starts another one, which knows nothing.
 *
 * Threads: any; calls take their turn.  The thread that calls _begin has to outlive the
 * process, which dies with it.
 */
enum {
    TB_SUMMARIZER_MAX = 256 /* summaries at once */
};

struct tb_summarizer;

TB_NODISCARD enum tb_err tb_summarizer_new(struct tb_summarizer **out, struct tb_fail *fail);
/* Ends the process. */
void tb_summarizer_free(struct tb_summarizer *summarizer);
/* Numbers are below TB_SUMMARIZER_MAX.  What was there by this number is forgotten.  TB_ERETRY:
 * the last process ended a moment ago. */
TB_NODISCARD enum tb_err tb_summarizer_begin(struct tb_summarizer *summarizer, unsigned number,
                                             struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_summarizer_watch(struct tb_summarizer *summarizer, unsigned number,
                                             const struct tb_ioc *ioc, struct tb_fail *fail);
/* One chunk's pcapng blocks.  TB_EFORMAT as tb_summary_blocks.  out_seen[i] is what was seen of
 * the i-th indicator so far, for *out_count of those that were given (in the order of _watch;
 * the same given twice is one). */
TB_NODISCARD enum tb_err tb_summarizer_chunk(struct tb_summarizer *summarizer, unsigned number,
                                             struct tb_bytes blocks, uint64_t *out_packets,
                                             struct tb_sighting out_seen[TB_SUMMARY_MAX_IOCS],
                                             size_t *out_count, struct tb_fail *fail);
/* The document, for the caller to tb_json_free. */
TB_NODISCARD enum tb_err tb_summarizer_document(struct tb_summarizer *summarizer,
                                                unsigned number, size_t top,
                                                struct tb_json **out, struct tb_fail *fail);
void tb_summarizer_end(struct tb_summarizer *summarizer, unsigned number);
/* Processes that ended without being asked to. */
uint64_t tb_summarizer_crashes(struct tb_summarizer *summarizer);
/* The process itself: `tapbox summarize`, with its socket as descriptor 3. */
TB_NODISCARD enum tb_err tb_summarizer_main(struct tb_fail *fail);

#endif
