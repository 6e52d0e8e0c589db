/*
 * An extract that can be proven: beside it a folder with what it was made of.
 *
 *   manifest.json, manifest.sig  of the capture, as they are
 *   segments/<name>              a sparse copy: of each segment the octets that were read (its
 *                                index, and the chunks that may hold what is wanted), in their
 *                                places; all others are zero
 *   filter                       what is wanted, as `tapbox fetch` takes it
 *   keys/                        public keys, as they lay beside the capture
 *
 * The check makes the extract anew from that folder and compares the two octet for octet.  So
 * it shows that each packet of the extract stands in a chunk whose SHA-256 is in the tree that
 * the signed manifest names, and that the chunks, as the segments' indexes have them, hold no
 * other packet that is wanted.  The parts of an index that are not in the tree (times, who
 * talks in a chunk) are vouched for by the SHA-256 of the whole segment, which only the capture
 * shows.
 *
 * Threads: any; a call uses its own memory, and threads of its own for reading.
 */
#ifndef TAPBOX_PROOF_H
#define TAPBOX_PROOF_H

#include <tapbox/retrieve.h>
#include <tapbox/verify.h>

enum {
    TB_PROOF_FILTER_MAX_BYTES = 1024
};

/* tb_extract, and the folder; `filter` is what `extract->select` was read from.  The note of
 * the extract has to be tb_proof_note of it.  Errors: TB_ENOTFOUND there is no signed manifest;
 * those of tb_extract and the disk. */
TB_NODISCARD enum tb_err tb_proof_make(struct tb_place *place, const struct tb_place_list *list,
                                       const struct tb_extract *extract, const char *filter,
                                       int folder_fd, struct tb_extract_counts *out,
                                       struct tb_fail *fail);
/* Removes a folder that tb_proof_make began to fill, if nothing else lies in it. */
void tb_proof_discard(const char *path);
/* "extract: --host 10.0.0.1" */
void tb_proof_note(const char *filter, char out[TB_PROOF_FILTER_MAX_BYTES + 16]);

struct tb_proof_result {
    char capture[TB_CAPTURE_ID_SIZE];
    struct tb_fingerprint key;
    bool is_signed;                             /* the manifest, by a key that was given */
    bool is_trusted;                            /* and that key is vouched for */
    char filter[TB_PROOF_FILTER_MAX_BYTES + 1]; /* what it is all of, of the chunks there; "" :
                                                   that cannot be read */
    struct tb_extract_counts counts;
    size_t findings;
};
/* Whether the extract in `extract_fd` is the one that the folder proves.  What is wrong goes to
 * verify->finding (files of the folder by their names, "" is the extract), and is TB_OK; of
 * `verify`, deep is not used. */
TB_NODISCARD enum tb_err tb_proof_check(const struct tb_verify *verify, struct tb_place *proof,
                                        const struct tb_place_list *list, int extract_fd,
                                        struct tb_proof_result *out, struct tb_fail *fail);

#endif
