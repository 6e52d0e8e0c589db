/*
 * The recorder: as a process of its own (tb_recorder_main), and as the link that `serve` holds
 * to it (tb_recorder_link).  Between them: a Unix SEQPACKET socket with bounded messages, and a
 * memory of counters that the recorder writes and serve maps read-only.
 */
#ifndef TAPBOX_RECORDER_H
#define TAPBOX_RECORDER_H

#include <tapbox/bytes.h>
#include <tapbox/capture.h>

enum {
    TB_RECORDER_MAX_LANES = 16 /* more receive threads than one network interface feeds */
};

/* --- the process --- */

struct tb_recorder_options {
    const char *interface;   /* "eth0" */
    const char *socket_path; /* where it listens; or: */
    int socket_fd;           /* -1, or an already connected socket (serve --with-recorder) */
    const char *spool_dir;
    unsigned lanes;             /* receive threads, each with a ring and files; 0: one */
    uint64_t ring_bytes;        /* of all receive rings; default 64 MiB */
    uint64_t slab_bytes;        /* memory for chunks between receive and compression; 64 MiB */
    uint64_t spool_limit_bytes; /* recording stops (spool_full) above; 0: disk size only */
    uint64_t spool_min_free_bytes; /* and below this much room on the disk */
    int level;                     /* zstd */
    uint16_t vxlan_port;           /* 4789 */
};

/* Runs until SIGTERM or SIGINT; every open segment is sealed before it returns.  TB_EDENIED and
 * kin before start name what is missing (CAP_NET_RAW, the interface, the port in use). */
TB_NODISCARD enum tb_err tb_recorder_main(const struct tb_recorder_options *options,
                                          struct tb_fail *fail);

/* --- the same pipeline over a capture file, without rights --- */

struct tb_record_source;
struct tb_bpf_insn;

struct tb_replay_options {
    const char *file;    /* pcap or pcapng of outer frames */
    const char *out_dir; /* a spool: <out_dir>/<capture id>/replay-0-000001.pcapng.zst */
    const struct tb_record_source *sources; /* NULL: every (outer source, VNI) in the file */
    uint32_t source_count;
    const struct tb_bpf_insn *bpf; /* NULL: everything */
    uint32_t bpf_count;
    uint32_t snaplen;      /* 0: whole frames */
    uint64_t rotate_bytes; /* 128 MiB */
    uint64_t slab_bytes;   /* 64 MiB */
    int level;
};

struct tb_record_source {
    uint8_t outer[16]; /* IPv6, or IPv4-mapped: the only sender accepted for this VNI */
    uint32_t vni;
    uint8_t mac[6]; /* of the ENI: direction */
    char eni[TB_AWS_ID_SIZE];
    char description[128];
};

struct tb_bpf_insn { /* as in <linux/filter.h>, which is where it ends up */
    uint16_t code;
    uint8_t jt, jf;
    uint32_t k;
};

/*
 * What another recorder, which has ended, had recorded of the capture: the ledger goes on from
 * there, and the time since is a named gap.  What that one had received and not written counts
 * as queue_dropped.  Not part of what "armed with other parameters" compares.
 */
struct tb_record_base {
    int64_t known_utc_ns;              /* when this was so; 0: there was no other recorder */
    int64_t first_utc_ns, last_utc_ns; /* of its packets */
    struct tb_ledger ledger;
};

/* Everything the recorder has to know about a capture. */
struct tb_record_spec {
    char capture_id[TB_CAPTURE_ID_SIZE];
    char case_id[TB_CAPTURE_MAX_TEXT], reason[TB_CAPTURE_MAX_TEXT];
    char finding_id[TB_CAPTURE_MAX_TEXT], finding_type[TB_CAPTURE_MAX_TEXT];
    char host[64]; /* first part of the segments' names: [A-Za-z0-9.-] */
    struct tb_record_source sources[TB_CAPTURE_MAX_SOURCES];
    uint32_t source_count;
    int64_t deadline_boot_ns; /* CLOCK_BOOTTIME: the recorder stops by itself then */
    uint32_t snaplen;         /* 0: whole frames */
    uint64_t max_bytes;       /* 0: no budget */
    uint64_t max_packets;     /* 0: no budget */
    uint64_t rotate_bytes;
    uint32_t rotate_s; /* 0: by size only (a replay: nothing in it goes by the wall clock) */
    char bpf_text[TB_CAPTURE_MAX_BPF_TEXT];
    const struct tb_bpf_insn *bpf; /* borrowed; NULL: everything */
    uint32_t bpf_count;
    struct tb_record_base base;
};

enum tb_record_state {
    TB_RECORD_ABSENT,
    TB_RECORD_ARMED,
    TB_RECORD_CLOSING, /* disarmed or past its deadline: last segments being written */
    TB_RECORD_CLOSED   /* all of it is sealed in the spool (what an earlier recorder left open,
                          when   that is repaired); forgotten at the next arm or _forget */
};

/* Which budget was used up first: from then on nothing more is recorded. */
enum tb_record_budget {
    TB_BUDGET_NONE,
    TB_BUDGET_BYTES,  /* a packet came that max_bytes has no room for */
    TB_BUDGET_PACKETS /* the last of max_packets was taken */
};

struct tb_record_status {
    enum tb_record_state state;
    struct tb_ledger ledger;
    uint32_t segments;    /* sealed so far */
    int64_t first_utc_ns; /* first packet; 0: none yet */
    int64_t last_utc_ns;
    enum tb_record_budget budget_spent;
    int32_t level; /* zstd level of the last chunk, the lowest of the lanes; 0: no chunk yet */
    uint32_t level_changes;                 /* down under load, and up again */
    int64_t gap_from_utc_ns, gap_to_utc_ns; /* no recorder had it then; 0: there is no gap */
};

struct tb_replay_result {
    char capture_id[TB_CAPTURE_ID_SIZE];
    uint32_t sources;
    struct tb_ledger host;          /* every frame of the file is in it */
    struct tb_record_status status; /* of the capture */
};
/* Nothing is dropped: the file waits for the writer. */
TB_NODISCARD enum tb_err tb_replay(const struct tb_replay_options *options,
                                   struct tb_replay_result *out, struct tb_fail *fail);

/* --- the link --- */

struct tb_recorder_link;

/* Connects (again whenever needed) to `socket_path`, or uses `fd` when it is not -1 (owned from
 * here).  _open itself does not fail for a recorder that is not there yet. */
TB_NODISCARD enum tb_err tb_recorder_link_open(const char *socket_path, int fd,
                                               struct tb_recorder_link **out,
                                               struct tb_fail *fail);
void tb_recorder_link_close(struct tb_recorder_link *link);

/* Threads: any; calls are answered one after the other, each within a second or TB_ETIMEOUT.
 * _status and _host read the recorder's counters in memory, without asking it, while it is
 * connected and alive.
 * Errors: TB_ECLOSED no recorder; TB_EEXIST armed already with other parameters (the same again
 * is TB_OK); TB_EFULL no room; TB_EINVAL. */
TB_NODISCARD enum tb_err tb_recorder_arm(struct tb_recorder_link *link,
                                         const struct tb_record_spec *spec,
                                         struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_recorder_extend(struct tb_recorder_link *link,
                                            const char *capture_id, int64_t deadline_boot_ns,
                                            struct tb_fail *fail);
/* Begins closing; ask _status until TB_RECORD_CLOSED.  An absent capture is TB_ENOTFOUND. */
TB_NODISCARD enum tb_err tb_recorder_disarm(struct tb_recorder_link *link,
                                            const char *capture_id, struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_recorder_status(struct tb_recorder_link *link,
                                            const char *capture_id,
                                            struct tb_record_status *out, struct tb_fail *fail);
/*
 * What the recorder before the present one had recorded of the capture, as of the moment it
 * ended (its counters outlive it in serve's memory): the base to arm it again with.
 * TB_ENOTFOUND when serve was not there at that moment, or that recorder did not know it.
 */
TB_NODISCARD enum tb_err tb_recorder_last(struct tb_recorder_link *link, const char *capture_id,
                                          struct tb_record_base *out, struct tb_fail *fail);
/* Lets a closed capture's slot be used again. */
TB_NODISCARD enum tb_err tb_recorder_forget(struct tb_recorder_link *link,
                                            const char *capture_id, struct tb_fail *fail);
/*
 * The host's ledger since the recorder started, and its process id and start time.  `received`
 * counts what passed the kernel's filter (UDP to the tunnel's port, and fragments of UDP): the
 * frames that were taken from the ring, and those that the ring dropped, known a second late.
 * What is on its way to the disk is received and not yet in any other term: the residual is its
 * number, and 0 once the captures are closed.
 */
struct tb_recorder_host {
    struct tb_ledger ledger;
    int64_t started_utc_ns;
    int32_t pid;
    uint32_t armed;
};
TB_NODISCARD enum tb_err tb_recorder_host(struct tb_recorder_link *link,
                                          struct tb_recorder_host *out, struct tb_fail *fail);

/* Compiles a filter expression for Ethernet in a child process without network, within two
 * seconds.  TB_EINVAL carries libpcap's own message.  *out is free()d by the caller. */
TB_NODISCARD enum tb_err tb_bpf_compile(const char *text, struct tb_bpf_insn **out,
                                        uint32_t *out_count, struct tb_fail *fail);
/* The same, to be run here: whether the filter takes a frame of `original` octets of which
 * `frame` was captured.  Threads: any number may ask one. */
struct tb_bpf;
TB_NODISCARD enum tb_err tb_bpf_new(const char *text, struct tb_bpf **out,
                                    struct tb_fail *fail);
void tb_bpf_free(struct tb_bpf *bpf);
bool tb_bpf_takes(const struct tb_bpf *bpf, struct tb_bytes frame, uint32_t original);
/* That child: `tapbox bpf-compile`, with its socket as descriptor 3. */
TB_NODISCARD enum tb_err tb_bpf_child_main(struct tb_fail *fail);

#endif
