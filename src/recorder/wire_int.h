/*
 * Messages between serve and the recorder: little-endian, octet by octet, every length checked,
 * nothing behind the last field.  One request, one answer with the same cookie.
 *
 *   request   version u8 = 1, kind u8, zero u16, cookie u32, then by kind
 *     ARM     the spec (all of it)      EXTEND  capture id, deadline i64
 *     DISARM, STATUS, FORGET  capture id      HOST, COUNTERS  nothing
 *   answer    version u8 = 1, kind | 0x80, error u16 (enum tb_err), cookie u32, text, then,
 * when the error is 0, by kind
 *     STATUS  state u8, budget_spent u8, segments u32, first i64, last i64, ledger,
 *             level u32 (signed), level changes u32, gap from i64, gap to i64
 *     HOST    started i64, pid u32, armed u32, ledger
 *     COUNTERS  nothing, and the descriptor of the memory of counters
 *
 * An ARM with a packet budget is of version 2, and only that has max_packets u64, behind
 * max_bytes: a recorder of before, which goes on after an upgrade, takes all other captures.
 *
 * A text is its length as u16 and that many octets without NUL; a ledger is its fields in the
 * order of tb_ledger_fields, u64 each.
 */
#ifndef TAPBOX_WIRE_INT_H
#define TAPBOX_WIRE_INT_H

#include <tapbox/recorder.h>

enum tb_request_kind {
    TB_REQUEST_ARM = 1,
    TB_REQUEST_EXTEND,
    TB_REQUEST_DISARM,
    TB_REQUEST_STATUS,
    TB_REQUEST_FORGET,
    TB_REQUEST_HOST,
    TB_REQUEST_COUNTERS,
    TB_REQUEST_KIND_END
};

struct tb_request {
    enum tb_request_kind kind;
    uint32_t cookie;
    char capture_id[TB_CAPTURE_ID_SIZE]; /* all but ARM, HOST and COUNTERS */
    int64_t deadline_boot_ns;            /* EXTEND */
    struct tb_record_spec spec;          /* ARM; its bpf points to `bpf` below, or is NULL */
    struct tb_bpf_insn bpf[TB_CAPTURE_MAX_BPF_INSNS];
};

struct tb_answer {
    enum tb_request_kind kind;
    uint32_t cookie;
    enum tb_err err;
    char text[512];
    struct tb_record_status status; /* STATUS */
    struct tb_recorder_host host;   /* HOST */
};

/* Appends; look at the buffer's own error afterwards. */
void tb_request_encode(const struct tb_request *request, struct tb_buf *out);
void tb_answer_encode(const struct tb_answer *answer, struct tb_buf *out);

/* TB_EFORMAT with what is wrong: too short, too long, a value out of its range.  `out` holds
 * rubbish then.  A decoded ARM is checked in full but for its BPF instructions. */
TB_NODISCARD enum tb_err tb_request_decode(struct tb_bytes message, struct tb_request *out,
                                           struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_answer_decode(struct tb_bytes message, struct tb_answer *out,
                                          struct tb_fail *fail);

#endif
