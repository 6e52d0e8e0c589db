/* Whole folders of evidence, made by the code that seals captures: in a store, then on disk. */
#ifndef TESTS_SUPPORT_EVIDENCE_H
#define TESTS_SUPPORT_EVIDENCE_H

#include <tapbox/evidence.h>

struct test_evidence {
    char dir[64]; /* below /tmp; holds the store and a folder for each capture */
    struct tb_store *store;
    struct tb_signing_key *key;
    struct tb_storage storage; /* what is asked for of captures from now on */
};

void test_evidence_open(struct test_evidence *t);
void test_evidence_close(struct test_evidence *t); /* removes everything */
/* A capture with `alerts` alerts and `segments` segments of made-up packets, all the way to
 * sealing: its segments lie in DIR/<id>/segments. */
void test_evidence_capture(struct test_evidence *t, uint64_t seed, unsigned alerts,
                           unsigned segments, char out_id[TB_CAPTURE_ID_SIZE]);
/* The same in its two halves: it still records after the first. */
void test_evidence_recording(struct test_evidence *t, uint64_t seed, unsigned alerts,
                             unsigned segments, char out_id[TB_CAPTURE_ID_SIZE]);
void test_evidence_end(struct test_evidence *t, const char *id);
/* Seals it into DIR/<id>; the n-th put (from 1) and those after it fail, 0: none.  *out_puts
 * counts them.  The capture is moved to sealed when all went well. */
enum tb_err test_evidence_seal(struct test_evidence *t, const char *id, unsigned fail_at,
                               unsigned *out_puts);
/* Writes what the custody log got since. */
void test_evidence_flush(struct test_evidence *t, const char *id);
/* The same of the host's log: DIR/custody/<log id>/. */
void test_evidence_flush_host(struct test_evidence *t);
/* "DIR/<id>" */
void test_evidence_folder(const struct test_evidence *t, const char *id, char *out, size_t cap);
void test_remove_tree(const char *path);

#endif
