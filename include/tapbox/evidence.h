/*
 * Evidence: the manifest of what a capture produced, its chain and signature, the Merkle tree
 * of a segment, SHA256SUMS; and, from the other side, whether a folder of evidence holds.
 * Formats: src/evidence/FORMAT.md.
 */
#ifndef TAPBOX_EVIDENCE_H
#define TAPBOX_EVIDENCE_H

#include <tapbox/clock.h>
#include <tapbox/digest.h>
#include <tapbox/pubkey.h>
#include <tapbox/segment.h>
#include <tapbox/store.h>

/* --- the Merkle tree (RFC 6962, section 2.1); pure --- */

enum {
    TB_MERKLE_MAX_HEIGHT = 48 /* far above the 15 that TB_SEGMENT_MAX_CHUNKS needs */
};
struct tb_merkle {
    struct tb_sha256 whole[TB_MERKLE_MAX_HEIGHT]; /* complete subtrees, the largest first */
    size_t height;
    uint64_t count;
};
void tb_merkle_begin(struct tb_merkle *tree);
/* The next leaf's content: the SHA-256 of a chunk. */
TB_NODISCARD enum tb_err tb_merkle_add(struct tb_merkle *tree, const struct tb_sha256 *digest);
/* More may be added afterwards. */
TB_NODISCARD enum tb_err tb_merkle_root(const struct tb_merkle *tree, struct tb_sha256 *out);
/* Over the chunk digests in the index. */
TB_NODISCARD enum tb_err tb_segment_merkle_root(const struct tb_segment_reader *reader,
                                                struct tb_sha256 *out, struct tb_fail *fail);

/* --- the manifest; pure: values in, octets out --- */

struct tb_manifest_alert {
    struct tb_alert_row row;
    uint64_t bytes;
    struct tb_sha256 sha256;
};

/* What AWS left out of the mirror of one instance, as CloudWatch tells. */
struct tb_manifest_skips {
    const char *instance;
    bool asked;                       /* else `why` says why it is not known */
    uint64_t octets_in, octets_out;   /* left out */
    uint64_t packets_in, packets_out; /* 0: not counted, or none */
    uint32_t periods, known;          /* of 5 minutes; all that the capture touches, and
                                         those that CloudWatch has numbers of */
    char why[256];
};

/* How the objects were asked to be kept; NULL and "": nothing was asked for. */
struct tb_manifest_storage {
    const char *sse, *kms_key, *lock_mode, *storage_class, *tags;
    int64_t retention_s; /* with a lock_mode */
    bool legal_hold;
};

struct tb_manifest_input { /* all borrowed */
    const struct tb_capture *capture;
    const struct tb_manifest_alert *alerts;
    size_t alert_count;
    const struct tb_segment_row *segments;
    size_t segment_count;
    const struct tb_resource *resources; /* gone ones included */
    size_t resource_count;
    const struct tb_ledger *host_ledger; /* of the capture's time; NULL: unknown */
    const struct tb_clock_state *clock;  /* of the host; NULL: unknown */
    const char *host_name, *kernel, *account, *region;
    struct tb_bytes
        identity_document;            /* of the host's instance, as delivered; empty: unknown */
    struct tb_bytes identity_rsa2048; /* AWS's signature over it */
    const struct tb_manifest_skips *skips; /* of each source instance */
    size_t skip_count;                     /* 0: nobody asked CloudWatch */
    struct tb_bytes summary;               /* summary.json; empty: there is none */
    struct tb_manifest_storage storage;
    int64_t now_utc_ns;
};

/* Appends manifest.json: sorted keys, no white space, a newline at the end. */
TB_NODISCARD enum tb_err tb_manifest_build(const struct tb_manifest_input *input,
                                           const struct tb_manifest_place *place,
                                           struct tb_buf *out, struct tb_fail *fail);
/* Appends one "<hex>  <name>\n" line as sha256sum -c reads it. */
void tb_sums_add(struct tb_buf *out, const struct tb_sha256 *sha256, const char *name);

/* --- sealing --- */

/* Takes one object below the capture's folder to where it belongs; one whose name begins with
 * '/' lies beside the captures.  The same name always comes with the same octets, however
 * often.
 */
typedef enum tb_err tb_seal_put_fn(void *arg, const char *name, const char *content_type,
                                   struct tb_bytes content, struct tb_fail *fail);

struct tb_seal { /* all borrowed */
    struct tb_store *store;
    const struct tb_signing_key *key; /* NULL, here and below: TB_ESTATE, nothing is put */
    struct tb_manifest_input input;   /* without alerts and summary, which are in the store */
    tb_seal_put_fn *put;
    void *arg;
};

/*
 * Commits the manifest, signs it, and puts alerts, summary.json, manifest.json, manifest.sig,
 * the custody log, the host's log and, last, SHA256SUMS.  The segments are there already.  May
 * be repeated after any failure or crash: what was committed is put again, nothing is made
 * twice. Errors: those of the store and of `put`; TB_EDENIED when the manifest was begun with a
 * key that is not the present one.
 */
TB_NODISCARD enum tb_err tb_seal(const struct tb_seal *seal, struct tb_fail *fail);
/* Puts what the custody log has got since, as further signed objects. */
TB_NODISCARD enum tb_err tb_seal_custody(struct tb_store *store,
                                         const struct tb_signing_key *key,
                                         const char *capture_id, tb_seal_put_fn *put, void *arg,
                                         struct tb_fail *fail);
/* The same of the host's log, as /custody/<log id>/NNNN.jsonl and .sig; all names that it puts
 * begin with '/'. */
TB_NODISCARD enum tb_err tb_seal_host_log(struct tb_store *store,
                                          const struct tb_signing_key *key, tb_seal_put_fn *put,
                                          void *arg, struct tb_fail *fail);

#endif
