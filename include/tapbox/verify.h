/*
 * Whether evidence holds: what an outsider checks with the files and the public key alone,
 * wherever they lie.  Formats: src/evidence/FORMAT.md.
 *
 * Threads: any; a call uses its own memory only.
 */
#ifndef TAPBOX_VERIFY_H
#define TAPBOX_VERIFY_H

#include <tapbox/capture.h>
#include <tapbox/json.h>
#include <tapbox/place.h>
#include <tapbox/pubkey.h>

/* --- reading; pure --- */

enum {
    TB_MANIFEST_MAX_BYTES = 64 << 20,     /* 100,000 segments are 45 MiB */
    TB_CUSTODY_TEXT_MAX_BYTES = 64 << 20, /* of one object: about 200,000 entries */
    TB_EVIDENCE_NAME_SIZE = 160           /* of a file, with its folder */
};

struct tb_evidence_file {
    char name[TB_EVIDENCE_NAME_SIZE]; /* "segments/...", "alerts/0001.json" */
    uint64_t bytes;
    struct tb_sha256 sha256;
    /* segments only: */
    uint64_t packets;
    int64_t first_utc_ns, last_utc_ns; /* of its packets; 0: it has none, or nothing says */
    bool has_root; /* false: entered by a tapbox that computed none, or (0 packets) damaged */
    struct tb_sha256 merkle_root;
};

/* What there is to check in a manifest. */
struct tb_manifest {
    char capture[TB_CAPTURE_ID_SIZE];
    struct tb_fingerprint key;
    int64_t sequence;
    bool has_previous;
    struct tb_sha256 previous;
    int64_t custody_entries;
    struct tb_sha256 custody_head;
    char host_log[TB_CAPTURE_ID_SIZE]; /* "" : made by a tapbox that kept none */
    int64_t host_entries;              /* how far it had come then */
    struct tb_sha256 host_head;
    struct tb_evidence_file *segments; /* owned */
    size_t segment_count;
    struct tb_evidence_file *alerts; /* owned */
    size_t alert_count;
    bool has_summary; /* then summary.json stands behind the alerts */
    struct tb_ledger ledger;
    char complete[8]; /* "yes", "no", "unknown" */
};
/* TB_EFORMAT names the member that is missing or wrong; names that lead out of their folder are
 * wrong. */
TB_NODISCARD enum tb_err tb_manifest_read(struct tb_bytes text, struct tb_manifest *out,
                                          struct tb_fail *fail);
void tb_manifest_release(struct tb_manifest *manifest);

/* Follows a custody log, of a capture or of a host, through its objects. */
struct tb_custody_reader {
    char log[TB_CAPTURE_ID_SIZE]; /* the capture's id, or the log's own */
    int64_t entries;              /* read so far */
    struct tb_sha256 head;        /* hash of the last of them */
    /* With each entry that follows, after it is counted; may be NULL. */
    void (*entry)(void *arg, const struct tb_custody_reader *reader,
                  const struct tb_json *entry);
    void *arg;
};
void tb_custody_reader_init(struct tb_custody_reader *reader, const char *log);
/* The next object.  TB_EFORMAT names the line; the entries before it count. */
TB_NODISCARD enum tb_err tb_custody_read(struct tb_custody_reader *reader, struct tb_bytes text,
                                         struct tb_fail *fail);

/* --- checking --- */

struct tb_verify_key {
    struct tb_public_key key;
    struct tb_fingerprint fingerprint;
    bool trusted; /* somebody vouches for it; else it came along with the evidence */
};

/* What a manifest's signature shows. */
enum tb_signed {
    TB_SIGNED_UNKNOWN, /* it names a key that was not given */
    TB_SIGNED_BADLY,   /* it was not signed with the key that it names */
    TB_SIGNED_WELL,    /* it was, and nobody vouches for that key */
    TB_SIGNED_TRUSTED  /* it was, and somebody does */
};
/* Pure.  `named` is the fingerprint in the manifest, of which `text` is all. */
enum tb_signed tb_signature_judge(const struct tb_verify_key *keys, size_t count,
                                  const struct tb_fingerprint *named, struct tb_bytes text,
                                  struct tb_bytes signature);

/* The first thing that is wrong with a file. */
struct tb_finding {
    const char *capture; /* id as the folder or the manifest has it; or of a host's log; ""
                            for a key, which is of none */
    const char *file;    /* "" : the capture as a whole */
    const char *kind;    /* "missing", "extra", "hash", "signature", "key", "chain", "custody",
                            "sums", "merkle", "packets", "ledger", "format", "name",
                            "unreadable" */
    const char *text;    /* a sentence */
};

struct tb_verify {
    const struct tb_verify_key *keys;
    size_t key_count;
    bool deep;        /* decode every chunk and count its packets */
    unsigned threads; /* at the most; 0: as many as are of use */
    /* Both are called on the caller's thread. */
    void (*finding)(void *arg, const struct tb_finding *finding);
    void (*progress)(void *arg, uint64_t more_bytes); /* were read; may be NULL */
    void *arg;
};

/* Whether an error of reading a file of a place is that file's alone: it is "unreadable" then,
 * and the check goes on. */
bool tb_verify_is_of_file(enum tb_err err);

/* One capture, as far as it could be read. */
struct tb_verified {
    char capture[TB_CAPTURE_ID_SIZE];
    struct tb_fingerprint key;
    bool is_signed;  /* the signature holds, by a key that was given */
    bool is_trusted; /* and that key is vouched for */
    int64_t sequence;
    bool has_previous;
    struct tb_sha256 previous, sha256; /* of the manifest before, and of this one */
    size_t segments, alerts;
    int64_t custody_entries;
    char host_log[TB_CAPTURE_ID_SIZE]; /* as in the manifest */
    int64_t host_entries;
    struct tb_sha256 host_head;
    uint64_t packets, bytes; /* of the segments */
    char complete[8];
    size_t findings;
};

/*
 * Checks every capture at and below `place`, of which `list` is the whole list: each folder
 * that has a manifest.json or is named as a capture, proofs of extracts aside.  What is wrong
 * goes to `finding`, one for each file, and to the captures' own counts; TB_OK says that all
 * could be looked at.
 *
 * *out is free()d by the caller; in order of key and number.  Errors: TB_ENOTFOUND there is no
 * capture; those of reading from the place that concern more than one file; TB_ENOMEM.
 */
TB_NODISCARD enum tb_err tb_verify_place(const struct tb_verify *verify, struct tb_place *place,
                                         const struct tb_place_list *list,
                                         struct tb_verified **out, size_t *out_count,
                                         struct tb_fail *fail);
/* Whether this file is the manifest of an extract's proof (tapbox/proof.h), which lies in a
 * folder X.proof with a filter: no capture, and not checked as one. */
bool tb_verify_is_proof(const struct tb_place_list *list, const struct tb_place_file *file);

/* A host's custody log, as far as it could be followed. */
struct tb_verified_log {
    char log[TB_CAPTURE_ID_SIZE];
    bool is_here;
    int64_t entries;
    size_t findings;
};
/* The last manifest of a key that a log here tells of: captures that were removed leave a gap.
 */
struct tb_verified_chain {
    struct tb_fingerprint key;
    int64_t last;
};
enum {
    TB_VERIFY_MAX_CHAINS = 64 /* keys of one host; of more the first count */
};
struct tb_verified_logs {
    struct tb_verified_log *at; /* owned; those that lie here, and those that manifests name */
    size_t count;
    struct tb_verified_chain chains[TB_VERIFY_MAX_CHAINS];
    size_t chain_count;
};
/*
 * Checks the custody logs of hosts at and below `place`: signatures, chain, and that they are
 * what the captures' manifests say of them, and the manifests what the logs say.  `captures`
 * are those that tb_verify_place has found; findings about their manifests are added to them.
 * Errors: as above, without TB_ENOTFOUND.
 */
TB_NODISCARD enum tb_err tb_verify_logs(const struct tb_verify *verify, struct tb_place *place,
                                        const struct tb_place_list *list,
                                        struct tb_verified *captures, size_t count,
                                        struct tb_verified_logs *out, struct tb_fail *fail);
void tb_verified_logs_release(struct tb_verified_logs *logs);
/* Between captures (part of the above): no number of a chain twice, and each names the one
 * before it if that is here.  The list is put in order; findings are added to its elements. */
void tb_verify_chain(const struct tb_verify *verify, struct tb_verified *list, size_t count);

#endif
