/*
 * Getting packets and files back out of evidence, wherever it lies (tapbox/place.h): which
 * packets are wanted, an extract of these that reads no more than it needs, and whole captures
 * on the local disk.
 */
#ifndef TAPBOX_RETRIEVE_H
#define TAPBOX_RETRIEVE_H

#include <tapbox/place.h>
#include <tapbox/segment.h>
#include <tapbox/verify.h>

/* --- which packets; pure --- */

enum {
    TB_SELECT_MAX = 64 /* of each kind */
};
/*
 * A packet is wanted when it fits each kind that is given, and of each kind one of those given.
 * Hosts, ports and protocols are those of its outermost IP header; a fragment has no ports.
 */
struct tb_select {
    int64_t since_utc_ns, until_utc_ns; /* since <= time < until */
    uint8_t hosts[TB_SELECT_MAX][16];   /* IPv6, or IPv4-mapped; either end */
    size_t host_count;
    struct tb_segment_flow flows[TB_SELECT_MAX]; /* of any protocol; both directions */
    size_t flow_count;
    uint16_t ports[TB_SELECT_MAX]; /* either end */
    size_t port_count;
    uint8_t protocols[TB_SELECT_MAX];
    size_t protocol_count;
};
/* Everything. */
void tb_select_init(struct tb_select *select);
/* As people write them: "10.0.0.1", "2001:db8::1"; "10.0.0.1:443-10.0.0.2:50000",
 * "[2001:db8::1]:443-[2001:db8::2]:50000"; "443"; "tcp", "udp", "icmp", "icmp6", "sctp", or a
 * number.  TB_EINVAL with how to write it, TB_EFULL. */
TB_NODISCARD enum tb_err tb_select_host(struct tb_select *select, const char *text,
                                        struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_select_flow(struct tb_select *select, const char *text,
                                        struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_select_port(struct tb_select *select, const char *text,
                                        struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_select_protocol(struct tb_select *select, const char *text,
                                            struct tb_fail *fail);
/* By its name: "host" and so on as above, "since" and "until" (RFC 3339), "all" (without a
 * value). TB_ENOTFOUND: there is no such kind. */
TB_NODISCARD enum tb_err tb_select_add(struct tb_select *select, const char *kind,
                                       const char *value, struct tb_fail *fail);
/* Adds all of "--host 10.0.0.1 --proto udp".  TB_EINVAL. */
TB_NODISCARD enum tb_err tb_select_parse(struct tb_select *select, const char *text,
                                         struct tb_fail *fail);
bool tb_select_takes(const struct tb_select *select, int64_t utc_ns, struct tb_bytes frame);
/* False: the index says that chunk i holds no such packet. */
bool tb_select_may_take(const struct tb_select *select, const struct tb_segment_reader *reader,
                        size_t i);

/* --- whom to believe --- */

struct tb_retrieve_trust {
    const struct tb_verify_key *keys; /* borrowed; may be none */
    size_t key_count;
    bool is_required; /* only what is signed with one of them that is trusted */
};
/* What an extract or a download was checked against.  A manifest whose signature is not of the
 * key that it names is TB_EFORMAT, whatever is required. */
struct tb_retrieve_checked {
    bool by_manifest;          /* there is one, and what it names is as it says */
    bool is_signed;            /* it is signed, with a key that was given */
    bool is_trusted;           /* and that key is vouched for */
    struct tb_fingerprint key; /* that it names; "" without one */
};

/* --- what cannot be read --- */

/* A stretch of a segment that is not what its index or the manifest says, or that the disk does
 * not give. */
struct tb_missing {
    char segment[TB_EVIDENCE_NAME_SIZE]; /* as the manifest names it */
    uint64_t offset, bytes;
    int64_t from_utc_ns, to_utc_ns; /* its packets' times lie between; 0: nothing says */
    uint64_t packets;               /* that it held */
    bool is_counted;                /* else nothing says how many packets it held */
    char why[200];
};
/* Of one segment TB_MISSING_OF_SEGMENT stretches; the last of them reaches over all further
 * ones. */
enum {
    TB_MISSING_OF_SEGMENT = 256
};
struct tb_missing_list {
    struct tb_missing *at; /* owned */
    size_t count, cap;
};
/* One that follows the last one is one with it, with that one's `why`.  TB_ENOMEM. */
TB_NODISCARD enum tb_err tb_missing_add(struct tb_missing_list *list,
                                        const struct tb_missing *missing, struct tb_fail *fail);
void tb_missing_release(struct tb_missing_list *list);
/* Appends "segments/NAME: octets 0 to 99 (7 packets, from TIME to TIME)": without `why`. */
void tb_missing_describe(const struct tb_missing *missing, struct tb_buf *out);
/* Whether a read of a segment failed for what lies there; otherwise the rest would fail, too.
 */
bool tb_missing_is_damage(const struct tb_place *place, enum tb_err err);

/* --- an extract --- */

struct tb_extract_counts {
    size_t segments;      /* of the capture */
    size_t segments_read; /* more than their index */
    size_t chunks;        /* in all segments */
    size_t chunks_read;
    uint64_t bytes;                 /* of all segments */
    uint64_t bytes_read;            /* asked for, indexes included */
    uint64_t packets_read, packets; /* in those chunks; of these wanted */
    int64_t first_utc_ns, last_utc_ns;
    size_t missing; /* stretches that were told */
    struct tb_retrieve_checked checked;
};

struct tb_extract {
    const struct tb_select *select;
    bool as_pcap;     /* else pcapng: interfaces, directions, comments, nanoseconds */
    const char *note; /* a comment for the section header: what this is an extract of */
    unsigned threads; /* for S3; 0: as many as are of use */
    struct tb_retrieve_trust trust;
    /* Takes the file piece by piece. */
    enum tb_err (*sink)(void *arg, struct tb_bytes octets, struct tb_fail *fail);
    /* A few times a second, with octets of chunks; may be NULL. */
    void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
    /* In the end, also of an extract that failed: what could not be read.  May be NULL. */
    void (*missing)(void *arg, const struct tb_missing *missing);
    void *arg;
    /* Gets every piece of a segment that is read, indexes included, in no order and by several
     * threads at a time.  May be NULL. */
    enum tb_err (*keep)(void *keep_arg, const struct tb_place_file *file, uint64_t offset,
                        struct tb_bytes octets, struct tb_fail *fail);
    void *keep_arg;
};

/*
 * Writes the wanted packets of the capture that lies at `place` (all of it listed in `list`),
 * merged over segments and lanes by time, as one file.  Each chunk that is read is checked
 * against its index, and the index against manifest.json if that is there; `trust` says who has
 * to have signed it.
 *
 * A chunk that is not what its index says, or that the disk does not give, and a segment that
 * is not there, or is not the manifest's, are left out and told, and all else is written: each
 * stretch is a comment of an interface statistics block at the end (of a pcap: none).  Where
 * the first chunk of a segment is left out, interfaces without a description stand in.
 *
 * Memory: the indexes, and 64 MiB of what was read ahead.  Threads: its own, for reading ahead.
 * Errors: TB_ENOTFOUND no segment there, or a signature is required and there is no manifest;
 * TB_EINVAL more than one capture; TB_EFORMAT nothing can be read, or the manifest or its
 * signature is not what it has to be; those of the place and the sink.
 */
TB_NODISCARD enum tb_err tb_extract(struct tb_place *place, const struct tb_place_list *list,
                                    const struct tb_extract *extract,
                                    struct tb_extract_counts *out, struct tb_fail *fail);

/* --- whole captures --- */

struct tb_download {
    int folder_fd;    /* where the capture's own folder is made; borrowed */
    const char *name; /* of that folder */
    unsigned threads; /* as above */
    struct tb_retrieve_trust trust;
    void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
    void *arg;
};
struct tb_download_counts {
    size_t files, kept;         /* kept: they were there already, and are what they should be */
    uint64_t bytes, bytes_read; /* of these files; brought now */
    struct tb_retrieve_checked checked;
};
/*
 * Brings the files of the capture that lies at `place` to the local disk, those that the
 * manifest names checked against it.  A file appears under its name when all of it is there
 * (before that it is NAME.part); done again, it goes on with what is missing, of a segment too:
 * of its part those chunks are kept that have the SHA-256 of the index, and then the whole has
 * to have the manifest's.  Two at the same folder wait for one another.
 * Errors: TB_EFORMAT a file is missing or not what the manifest says, or the manifest is that
 * of another capture; one says so in the end when there is a segment, alert or summary that it
 * does not name: that is not brought.  TB_EINVAL a name that leads out of the folder; those of
 * the place and the disk.
 */
TB_NODISCARD enum tb_err tb_download(struct tb_place *place, const struct tb_place_list *list,
                                     const struct tb_download *download,
                                     struct tb_download_counts *out, struct tb_fail *fail);

#endif
