/*
 * One pcapng section out of several inputs: packets in the order of their times, interfaces
 * described once.  An input is a run of whole blocks (the chunks of a lane, one after the
 * other); its sections may describe their interfaces in any way, equal descriptions become one
 * interface.  Packets of one input keep their order.  Statistics and other blocks are left out.
 *
 * Threads: a merge belongs to one thread at a time.  Source: draft-ietf-opsawg-pcapng.
 */
#ifndef TAPBOX_PCAPNG_MERGE_H
#define TAPBOX_PCAPNG_MERGE_H

#include <tapbox/pcapng.h>

enum {
    TB_MERGE_MAX_INPUTS = 64,
    TB_MERGE_MAX_INTERFACES = 256 /* different ones, of all inputs */
};

struct tb_merge;

TB_NODISCARD enum tb_err tb_merge_new(struct tb_merge **out, struct tb_fail *fail);
void tb_merge_free(struct tb_merge *merge);

/*
 * Gives an input its next blocks, lent until it is dry again (it has to be dry now).  The first
 * ever begin with a section header.  TB_EFORMAT: not whole blocks, a packet of an interface
 * that was not described; what was before it in `blocks` counts.  TB_EFULL: more interfaces
 * than TB_MERGE_MAX_INTERFACES.
 */
TB_NODISCARD enum tb_err tb_merge_feed(struct tb_merge *merge, size_t input,
                                       struct tb_bytes blocks, struct tb_fail *fail);
/* It has no packet left: it may be fed again. */
bool tb_merge_is_dry(const struct tb_merge *merge, size_t input);

struct tb_merge_packet {
    size_t input;
    struct tb_pcapng_packet packet; /* `interface` is the output's */
    struct tb_bytes frame;          /* lent */
};
/* The earliest packet of those that the inputs have; false when all are dry. */
bool tb_merge_peek(const struct tb_merge *merge, struct tb_merge_packet *out);
/* Goes on to the one behind it.  TB_EFORMAT as _feed: the input is dry then. */
TB_NODISCARD enum tb_err tb_merge_pass(struct tb_merge *merge, struct tb_fail *fail);

/* A comment more for the section header, before that is put; borrowed until then. */
void tb_merge_note(struct tb_merge *merge, const char *note);
/* Appends what the output needs before the next packet: the section header (that of the first
 * input that was fed), interfaces that are new. */
void tb_merge_put_header(struct tb_merge *merge, struct tb_buf *out);
/* Appends the packet that _peek shows, with all its options, and what it needs before it. */
void tb_merge_put_packet(struct tb_merge *merge, struct tb_buf *out);

#endif
