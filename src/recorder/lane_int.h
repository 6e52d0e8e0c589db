/*
 * The data plane: a lane takes packets from a source, sorts them into the chunks of the armed
 * captures, and hands full chunks to its writer.
 *
 * Three parties touch these objects.  Control (the process's first thread) makes, arms and
 * frees; a lane's receive thread owns everything in groups named `lane`; its writer thread owns
 * the groups named `writer`.  Chunks cross from lane to writer whole, through the queue, and
 * come back through the pool.
 */
#ifndef TAPBOX_LANE_INT_H
#define TAPBOX_LANE_INT_H

#include <pcap/pcap.h>
#include <stdatomic.h>

#include <tapbox/pcapng.h>
#include <tapbox/recorder.h>
#include <tapbox/segment.h>
#include <tapbox/spool.h>
#include <tapbox/thread.h>
#include <tapbox/vxlan.h>

#include "shared_int.h"

enum {
    /* A capture with little traffic does not hold a megabyte; the largest packet fits. */
    TB_SLAB_SMALL_BYTES = 128 * 1024,
    /* 1 chunk a second of a quiet minute is 60; 2,048 full ones are 2 GiB of packets. */
    TB_LANE_SEGMENT_CHUNKS = 2048,
    TB_CHUNK_MAX_AGE_MS = 1000,   /* a chunk is put down at least this often (DESIGN 7) */
    TB_REPLAY_MAX_SOURCES = 4096, /* (outer source, VNI) pairs of one replayed file */
    TB_OUTER_MAX_BYTES = 262144,  /* whole packets, also those that GRO put together */
    TB_FRAME_MIN_BYTES = 14
};

/* --- slabs: memory for chunks, all of it allocated before anything is armed --- */

struct tb_stream;

struct tb_slab {
    uint8_t *at;
    size_t cap;
    bool large;
    /* what is in it: the lane's while it fills, then the writer's */
    size_t len;
    struct tb_stream *stream;
    int64_t opened_boot_ns;
    uint64_t frame_bytes;                          /* captured octets */
    struct tb_chunk_info info;                     /* its ledger: the lane's terms so far */
    uint32_t of_interface[TB_CAPTURE_MAX_SOURCES]; /* packets, of the first interfaces */
};

struct tb_slab_pool {
    uint8_t *memory;
    size_t memory_bytes;
    struct tb_slab *slabs;
    size_t count;
    _Atomic size_t available;
    struct tb_mutex mu;
    struct tb_cond returned;
    struct {
        struct tb_slab **free[2]; /* small, large: stacks, so that warm memory is used first */
        size_t free_count[2];
    } locked;
};
/* A quarter of `bytes` becomes small slabs, the rest large ones. */
TB_NODISCARD enum tb_err tb_slab_pool_init(struct tb_slab_pool *pool, uint64_t bytes,
                                           struct tb_fail *fail);
void tb_slab_pool_release(struct tb_slab_pool *pool);
/* One of the wanted size, or of the other; NULL when all are taken (unless `wait`). */
struct tb_slab *tb_slab_take(struct tb_slab_pool *pool, bool large, bool wait);
void tb_slab_give_back(struct tb_slab_pool *pool, struct tb_slab *slab);
/* Until one is free, or `wait_ns` are over. */
void tb_slab_wait(struct tb_slab_pool *pool, int64_t wait_ns);

/* What a lane hands over: a chunk, or the word that a stream has ended. */
struct tb_handover {
    struct tb_slab *slab;    /* or: */
    struct tb_stream *ended; /* no chunk of it comes after this */
};

struct tb_handover_queue {
    struct tb_mutex mu;
    struct tb_cond filled;
    size_t capacity; /* slabs and streams that can exist: a push never has to wait */
    struct {
        struct tb_handover *at;
        size_t head, count;
        size_t bytes; /* of the slabs in it */
        bool closed;
    } locked;
};
TB_NODISCARD enum tb_err tb_handover_queue_init(struct tb_handover_queue *queue,
                                                size_t capacity, struct tb_fail *fail);
void tb_handover_queue_release(struct tb_handover_queue *queue);
void tb_handover_push(struct tb_handover_queue *queue, struct tb_handover what);
/* TB_ETIMEOUT after `wait_ns`; TB_ECLOSED when it is closed and empty.  *out_behind: octets of
 * the pool that wait behind it. */
TB_NODISCARD enum tb_err tb_handover_pop(struct tb_handover_queue *queue, int64_t wait_ns,
                                         struct tb_handover *out, size_t *out_behind);
void tb_handover_close(struct tb_handover_queue *queue);

/* --- armed captures --- */

enum tb_segfile_state {
    TB_SEGFILE_NONE,
    TB_SEGFILE_OPEN,
    TB_SEGFILE_BROKEN /* a write failed: has to be cut to its last whole chunk and closed */
};

/* The segment file that is being written. */
struct tb_segfile {
    enum tb_segfile_state state;
    int fd;
    int dir_fd;
    char name[TB_SPOOL_NAME_SIZE]; /* the sealed one */
    uint64_t good_bytes;           /* whole chunks */
    uint64_t packets, frame_bytes;
    size_t chunks;
    int64_t opened_boot_ns, synced_boot_ns, tried_boot_ns;
    int64_t first_utc_ns, last_utc_ns;
    bool dirty;
    bool named; /* complete, and called so; its folder has yet to be synced */
};

/* A capture's share in one lane. */
struct tb_stream {
    struct tb_armed *armed;
    unsigned lane_index;
    struct tb_shared_stream *shared; /* its counters */
    _Atomic uint32_t
        lost[TB_CAPTURE_MAX_SOURCES]; /* given up by the writer, for the next EPB */
    _Atomic uint32_t lost_any;
    struct {
        struct tb_slab *slab;
        bool want_large, stopped;
        int64_t stop_boot_ns;   /* when it was seen that it is to stop; 0: it is not */
        int64_t ending_boot_ns; /* since when what came before its end is waited for */
        uint64_t *gap;          /* for each interface: packets dropped since its last one */
    } lane;
    struct {
        struct tb_segment_encoder *encoder;
        struct tb_segfile file;
        uint64_t next_seq;
        struct tb_ledger handed_over; /* the lane's terms at the last chunk, or at the end */
        uint32_t opened;              /* segments begun by this process */
        bool seq_known;
        int64_t give_up_boot_ns; /* closing although the disk refuses */
        struct tb_stream *next_open;
        bool listed;
    } writer;
};

struct tb_armed {
    /* set once, by _new */
    struct tb_record_spec spec;       /* its `bpf` is NULL: `filter` is used */
    struct tb_record_source *sources; /* as many as spec.source_count */
    struct bpf_insn *filter;          /* NULL: everything */
    uint8_t *header;                  /* section and interface blocks, as each file begins */
    size_t header_len;
    unsigned lane_count;
    struct tb_stream streams[TB_LANES_MAX];

    struct tb_shared_capture *shared; /* `own`, or where serve sees it */
    struct tb_shared_capture *own;

    _Atomic int64_t deadline_boot_ns;
    _Atomic uint64_t bytes_used, packets_used; /* of the budgets, by all lanes */
};
/* `sources` may be more than the spec can hold (replay); everything is copied.  `workspaces`:
 * each lane's writer's own. */
TB_NODISCARD enum tb_err
tb_armed_new(const struct tb_record_spec *spec, const struct tb_record_source *sources,
             uint32_t source_count, struct tb_segment_workspace *const *workspaces,
             unsigned lane_count, struct tb_armed **out, struct tb_fail *fail);
void tb_armed_free(struct tb_armed *armed);
/* Its counters are in `place` from here on; before any lane knows it. */
void tb_armed_share(struct tb_armed *armed, struct tb_shared_capture *place);
void tb_armed_status(const struct tb_armed *armed, struct tb_record_status *out);
/* All of its streams are closed: no thread but control touches it. */
bool tb_armed_is_closed(const struct tb_armed *armed);

/* --- who is recorded: (outer source, VNI) -> capture and interface; never changed, replaced
 *     as a whole --- */

struct tb_table_entry {
    uint8_t outer[16];
    uint32_t vni;
    uint32_t interface;
    struct tb_armed *armed; /* NULL: empty */
};

struct tb_table {
    struct tb_table_entry *at; /* a power of two, at most half full */
    size_t mask;
    struct tb_armed **armed; /* every capture in it */
    size_t armed_count;
};
/* TB_EEXIST when two of them claim the same pair. */
TB_NODISCARD enum tb_err tb_table_new(struct tb_armed *const *armed, size_t count,
                                      struct tb_table **out, struct tb_fail *fail);
void tb_table_free(struct tb_table *table);
const struct tb_table_entry *tb_table_find(const struct tb_table *table,
                                           const uint8_t outer[16], uint32_t vni);

/* --- where packets come from --- */

/* False: no further one for now; this one has been taken care of. */
typedef bool tb_packet_fn(void *arg, int64_t utc_ns, struct tb_bytes frame);

struct tb_source;
struct tb_source_ops {
    /* Packets come from here on; NULL: they come already. */
    enum tb_err (*start)(struct tb_source *source, struct tb_fail *fail);
    /* Gives up to about `max` packets to `packet`; TB_ECLOSED at the end of a file. */
    enum tb_err (*read)(struct tb_source *source, int max, tb_packet_fn *packet, void *arg,
                        size_t *out_count, struct tb_fail *fail);
    /* Packets that the kernel dropped since the last call. */
    uint64_t (*dropped)(struct tb_source *source);
    void (*close)(struct tb_source *source);
};
struct tb_source {
    const struct tb_source_ops *ops;
    int poll_fd; /* -1: always ready */
};
/* The wire: everything that needs rights happens here.  Nothing comes before start: sources of
 * one group (`*group` 0: it is made, and set) share the packets by the flow of the outer
 * datagrams, and one that took part while another did not would lose its share. */
TB_NODISCARD enum tb_err tb_source_pcap_open(const char *interface, uint64_t ring_bytes,
                                             uint16_t port, struct tb_source **out,
                                             struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_source_pcap_join(struct tb_source *source, uint32_t *group,
                                             struct tb_fail *fail);
/* A capture file of outer frames. */
TB_NODISCARD enum tb_err tb_source_replay_open(const char *path, struct tb_source **out,
                                               struct tb_fail *fail);
void tb_source_close(struct tb_source *source);

/*
 * The kernel filter: UDP to `port` over IPv4 and IPv6, and fragments of such, behind up to
 * TB_OUTER_MAX_TAGS tags.  It lets in what tb_outer_parse takes for VXLAN, fragment or
 * malformed UDP to that port, and IPv6 with more extension headers than it follows, so that
 * they are counted.  `incoming` keeps out what this host sends (kernel only). Returns
 * the number of instructions written to `out`.
 */
enum {
    TB_KERNEL_FILTER_MAX = 160
};
size_t tb_kernel_filter(struct bpf_insn out[TB_KERNEL_FILTER_MAX], uint16_t port,
                        bool incoming);

/* Logs what of the interface's settings lets the kernel merge mirrored packets into one. */
void tb_merging_warn(const char *interface);

/* Instructions in the form that bpf_filter wants, checked; *out is free()d by the caller. */
TB_NODISCARD enum tb_err tb_bpf_load(const struct tb_bpf_insn *insns, uint32_t count,
                                     struct bpf_insn **out, struct tb_fail *fail);

/* Sockets that keep the ports open and take nothing. */
enum {
    TB_SINKS_MAX = 4
};
struct tb_sinks {
    int fd[TB_SINKS_MAX];
};
TB_NODISCARD enum tb_err tb_sinks_open(struct tb_sinks *sinks, uint16_t port,
                                       struct tb_fail *fail);
void tb_sinks_close(struct tb_sinks *sinks);

/* Binds a Unix SEQPACKET socket for this user alone; what a dead recorder left there goes.  It
 * does not listen yet. */
TB_NODISCARD enum tb_err tb_bind_socket(const char *path, int *out_fd, struct tb_fail *fail);

/* --- lanes --- */

/* Where the writer writes, how much, and how hard it compresses. */
struct tb_room {
    int spool_fd;
    uint64_t limit_bytes, min_free_bytes;
    int level;
};

struct tb_lane {
    unsigned index;
    uint16_t port;
    bool wait_for_slabs; /* replay: the file waits, nothing is dropped */
    struct tb_source *source;
    struct tb_slab_pool pool;
    struct tb_handover_queue queue;
    struct tb_segment_workspace *workspace; /* used by the writer thread alone */
    struct tb_counters *counters;    /* host-level terms; written by the receive thread */
    struct tb_counters own_counters; /* they are here, unless they are shared */
    int wake_fd;
    pthread_t receive_thread, writer_thread;
    bool receiving, writing;

    struct tb_table *_Atomic next_table;
    _Atomic bool quit;
    _Atomic bool failed; /* the source is gone for good */
    struct tb_mutex mu;
    struct tb_cond adopted;
    struct {
        struct tb_table *seen;
    } locked;
    struct {
        struct tb_table *table;
        int64_t now_boot_ns, next_look_boot_ns, stats_boot_ns;
        int64_t utc_less_boot_ns; /* the stamps of packets, less the clock of deadlines */
        int64_t stamped_utc_ns;   /* the last packet */
        int64_t reached_boot_ns;  /* all that came before is out of the ring */
        size_t open_slabs;
        /* Without a slab the lane stops reading: what comes then waits in the ring, and is
         * dropped only where that is full.  The packet that it had in its hands waits here. */
        bool may_hold;
        uint8_t *held; /* owned: TB_OUTER_MAX_BYTES */
        size_t held_len;
        int64_t held_utc_ns, held_boot_ns; /* when it came; since when it is held */
        bool ending;                       /* a stream's end is past, what came before is not */
    } lane;
    struct {
        struct tb_room room;
        struct tb_stream *open; /* those with a file */
        uint64_t spool_used;
        int64_t looked_boot_ns;
        unsigned level_step; /* down from the level that was asked for */
        int64_t level_boot_ns;
        bool full;
        int64_t logged_boot_ns;
    } writer;
};
/* Takes `source` over, also when it fails. */
TB_NODISCARD enum tb_err tb_lane_init(struct tb_lane *lane, unsigned index, uint16_t port,
                                      struct tb_source *source, uint64_t slab_bytes,
                                      const struct tb_room *room, struct tb_fail *fail);
void tb_lane_release(struct tb_lane *lane);
TB_NODISCARD enum tb_err tb_lane_start(struct tb_lane *lane, struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_lane_start_writer(struct tb_lane *lane, struct tb_fail *fail);
/* Makes the lanes look up in `table` from now on; afterwards they touch no other.  TB_ETIMEOUT:
 * one of them may still use the old one. */
TB_NODISCARD enum tb_err tb_lanes_adopt(struct tb_lane *lanes, unsigned count,
                                        struct tb_table *table, struct tb_fail *fail);
/* Look again for stops and deadlines. */
void tb_lane_wake(struct tb_lane *lane);
/* Ends every stream, waits until all is written and sealed, ends the threads. */
void tb_lane_stop(struct tb_lane *lane);
/* All at once: under traffic each takes seconds to end, and who asked waits only so long. */
void tb_lanes_stop(struct tb_lane *lanes, unsigned count);

/* The receive thread's steps, by themselves for replay, tests and fuzzing. */
TB_NODISCARD enum tb_err tb_lane_read_all(struct tb_lane *lane, struct tb_fail *fail);
/* False: it is held, and to be tried again before any other. */
bool tb_lane_packet(struct tb_lane *lane, int64_t utc_ns, struct tb_bytes frame);
/* Its chunk goes to the writer. */
void tb_lane_hand_over(struct tb_lane *lane, struct tb_stream *stream, bool full);
/* When a packet with this stamp came: it may have waited in the ring.  0 when that cannot be
 * true (the wall clock was set back): it counts as before every deadline. */
int64_t tb_lane_came_boot_ns(const struct tb_lane *lane, int64_t utc_ns);
/* Packets that came since then are not its any more: the deadline as it is now, or when it was
 * stopped before that. */
int64_t tb_stream_end_boot_ns(const struct tb_stream *stream);
/* True when nothing is held any more. */
bool tb_lane_take_held(struct tb_lane *lane);
/* After that was false: waits (a bounded time) for a slab to come back. */
void tb_lane_wait_for_slab(struct tb_lane *lane);
/* Ends what is to end once the lane has read what came before that (a bounded time later), and
 * hands over what is old enough; `all`: ends everything, now. */
void tb_lane_look(struct tb_lane *lane, int64_t now_boot_ns, bool all);
/* After a look: whether packets may go on waiting for slabs. */
bool tb_lane_may_hold(const struct tb_lane *lane);

/* --- the writer --- */

void *tb_writer_run(void *lane);
/* For the stream's next chunk, with so many octets of the pool waiting behind it. */
void tb_writer_choose_level(struct tb_lane *lane, struct tb_stream *stream, size_t behind);
/* One chunk, or the end of a stream. */
void tb_writer_take(struct tb_lane *lane, struct tb_handover what);
/* What time brings: syncs, rotation, another try on a broken file. */
void tb_writer_tick(struct tb_lane *lane, int64_t now_boot_ns);

/* segfile.c: one segment file, from its hidden name to the sealed one */
TB_NODISCARD enum tb_err tb_segfile_open(struct tb_stream *stream, int spool_fd,
                                         struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_segfile_chunk(struct tb_stream *stream, struct tb_bytes blocks,
                                          const struct tb_chunk_info *info,
                                          struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_segfile_sync(struct tb_stream *stream, struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_segfile_seal(struct tb_stream *stream, struct tb_fail *fail);
/* Cuts a broken one to its last whole chunk and seals that; one that is named is left as it is.
 */
TB_NODISCARD enum tb_err tb_segfile_repair(struct tb_stream *stream, struct tb_fail *fail);
/* Somebody removed it while it was being written.  (One that is named may be in S3.) */
bool tb_segfile_is_gone(const struct tb_stream *stream);
/* Leaves it, if it is still there, under its hidden name for the next start. */
void tb_segfile_abandon(struct tb_stream *stream);
/* The stream's ledger as far as the writer has come: it balances at any time. */
void tb_stream_ledger(const struct tb_stream *stream, struct tb_ledger *out);

/* --- the spool, for the recorder's eyes --- */

enum {
    /* Numbers further apart are not of one run: those of a folder that was lost go on from the
     * time in seconds. */
    TB_SPOOL_RUN_MAX = 1000000
};
/* "<host>-<lane>-<seq>.pcapng.zst": the length of "<host>-<lane>", and the number. */
bool tb_spool_parse_name(const char *name, size_t *out_prefix, uint64_t *out_seq);
TB_NODISCARD enum tb_err tb_spool_open_capture(int spool_fd, const char *capture_id,
                                               int *out_fd, struct tb_fail *fail);
/* Names of segments in a capture's folder, hidden ones (being written) too. */
TB_NODISCARD enum tb_err tb_spool_segments(int capture_fd, struct tb_spool_names *out,
                                           struct tb_fail *fail);

/* The segments that are open: hidden ones, of all captures, as they are named. */
struct tb_spool_left_segment {
    char capture_id[TB_CAPTURE_ID_SIZE];
    char name[TB_SPOOL_NAME_SIZE];
};
struct tb_spool_left {
    struct tb_spool_left_segment *at; /* owned */
    size_t count;
};
TB_NODISCARD enum tb_err tb_spool_left(int spool_fd, struct tb_spool_left *out,
                                       struct tb_fail *fail);
void tb_spool_left_release(struct tb_spool_left *left);

/* Below the spool: segments that the disk did not give as they were written. */
#define SPOOL_UNREADABLE "unreadable"
/* Octets in all capture folders, and in those of what was put aside. */
TB_NODISCARD enum tb_err tb_spool_used(int spool_fd, uint64_t *out_bytes, struct tb_fail *fail);
/*
 * A sequence number never used for this capture, host and lane, not even before a restart, also
 * when the earlier segments were uploaded and removed: the next one is kept in a hidden file.
 */
TB_NODISCARD enum tb_err tb_spool_next_seq(int capture_fd, const char *host, unsigned lane,
                                           uint64_t *out_seq, struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_spool_keep_seq(int capture_fd, const char *host, unsigned lane,
                                           uint64_t next_seq, struct tb_fail *fail);

/* --- repair.c: what a dead recorder left open --- */

struct tb_repair;
struct tb_repair_counts {
    size_t recovered; /* sealed, under their names */
    size_t lost;      /* without a packet, and removed */
    size_t
        unreadable; /* the disk fails: under their names as they are, neither cut nor removed */
};
/* Takes the names of what is open now; what is begun afterwards is not touched.  `spool_fd` is
 * borrowed. */
TB_NODISCARD enum tb_err tb_repair_new(int spool_fd, struct tb_repair **out,
                                       struct tb_fail *fail);
/* In a thread of its own, if there is anything to repair. */
TB_NODISCARD enum tb_err tb_repair_start(struct tb_repair *repair, struct tb_fail *fail);
/* Or at once. */
void tb_repair_all(struct tb_repair *repair, struct tb_repair_counts *out);
/* Ends the thread when it is done with the file in hand; the next start finds the rest. */
void tb_repair_free(struct tb_repair *repair);

#endif
