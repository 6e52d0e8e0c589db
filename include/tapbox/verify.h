/*
 * Whether evidence holds: what an outsider checks with the files and the public key alone,
 * wherever they lie.  Formats: src/evidence/FORMAT.md.
 *
 * Threads: any; a call uses its own memory only.
 */
#ifndef TAPBOX_VERIFY_H
#define TAPBOX_VERIFY_H

#include <tapbox/capture.h>
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
    bool has_root; /* false: entered by a tapbox that computed none */
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

/* Follows a capture's custody log through its objects. */
struct tb_custody_reader {
    char capture[TB_CAPTURE_ID_SIZE];
    int64_t entries;       /* read so far */
    struct tb_sha256 head; /* hash of the last of them */
};
void tb_custody_reader_init(struct tb_custody_reader *reader, const char *capture);
/* The next object.  TB_EFORMAT names the line; the entries before it count. */
TB_NODISCARD enum tb_err tb_custody_read(struct tb_custody_reader *reader, struct tb_bytes text,
                                         struct tb_fail *fail);

/* --- checking --- */

struct tb_verify_key {
    struct tb_public_key key;
    struct tb_fingerprint fingerprint;
    bool trusted; /* somebody vouches for it; else it came along with the evidence */
};

/* The first thing that is wrong with a file. */
struct tb_finding {
    const char *capture; /* id as the folder or the manifest has it */
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
    uint64_t packets, bytes; /* of the segments */
    char complete[8];
    size_t findings;
};

/*
 * Checks every capture at and below `place`, of which `list` is the whole list: each folder
 * that has a manifest.json or is named as a capture.  What is wrong goes to `finding`, one for
 * each file, and to the captures' own counts; TB_OK says that all could be looked at.
 *
 * *out is free()d by the caller; in order of key and number.  Errors: TB_ENOTFOUND there is no
 * capture; those of reading from the place that concern more than one file; TB_ENOMEM.
 */
TB_NODISCARD enum tb_err tb_verify_place(const struct tb_verify *verify, struct tb_place *place,
                                         const struct tb_place_list *list,
                                         struct tb_verified **out, size_t *out_count,
                                         struct tb_fail *fail);
/* Between captures (part of the above): no number of a chain twice, and each names the one
 * before it if that is here.  The list is put in order; findings are added to its elements. */
void tb_verify_chain(const struct tb_verify *verify, struct tb_verified *list, size_t count);

#endif
