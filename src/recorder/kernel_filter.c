/*
 * The kernel's packet filter, written out here: libpcap's language cannot say "behind any of
 * three tags" or "behind IPv6 extension headers" without loops, which the kernel does not run.
 * Jumps in BPF go forward only, so loops are unrolled.  Register X walks along the headers.
 */
#include "lane_int.h"

#include <linux/filter.h>
#include <linux/if_packet.h>

enum {
    MAX_EXTENSIONS = 4, /* that are followed; behind them the packet path decides, and counts */
    OFFSET_TYPE = 12,
    LABELS = 32,
    ADD_CONSTANT = BPF_ALU | BPF_ADD, /* BPF_K, the operand's kind, is 0 like BPF_ADD */
    TYPE_IPV4 = 0x0800,
    TYPE_IPV6 = 0x86dd
};

/* Where a jump goes: the next instruction, or a label to be placed later. */
enum label {
    NEXT = 0,
    ACCEPT,
    REJECT,
    LINK_DONE,
    IS_IPV4,
    IS_IPV6,
    UDP6,
    FRAGMENT6,
    FREE_LABELS /* for the unrolled parts */
};

struct program {
    struct bpf_insn *at;
    size_t len;
    uint8_t to_true[TB_KERNEL_FILTER_MAX], to_false[TB_KERNEL_FILTER_MAX];
    size_t label_at[LABELS];
    uint8_t labels;
};

static void
op(struct program *p, uint16_t code, uint32_t k)
{
    p->at[p->len] = (struct bpf_insn){.code = code, .k = k};
    p->to_true[p->len] = NEXT;
    p->to_false[p->len] = NEXT;
    p->len++;
}

static void
jump(struct program *p, uint16_t test, uint32_t k, uint8_t to_true, uint8_t to_false)
{
    op(p, (uint16_t)(BPF_JMP | test | BPF_K), k);
    p->to_true[p->len - 1] = to_true;
    p->to_false[p->len - 1] = to_false;
}

static uint8_t
new_label(struct program *p)
{
    return p->labels++;
}

static void
place(struct program *p, uint8_t label)
{
    p->label_at[label] = p->len;
}

static void
resolve(struct program *p)
{
    for (size_t i = 0; i < p->len; i++) {
        if (p->to_true[i] != NEXT) {
            p->at[i].jt = (uint8_t)(p->label_at[p->to_true[i]] - i - 1);
        }
        if (p->to_false[i] != NEXT) {
            p->at[i].jf = (uint8_t)(p->label_at[p->to_false[i]] - i - 1);
        }
    }
}

/* X += k */
static void
advance(struct program *p, uint32_t k)
{
    op(p, BPF_MISC | BPF_TXA, 0);
    op(p, ADD_CONSTANT, k);
    op(p, BPF_MISC | BPF_TAX, 0);
}

/* In: X = offset of the EtherType.  Out: X = offset of what follows it. */
static void
link_layer(struct program *p)
{
    for (int i = 0; i < TB_OUTER_MAX_TAGS; i++) {
        uint8_t tag = new_label(p);

        op(p, BPF_LD | BPF_H | BPF_IND, 0);
        jump(p, BPF_JEQ, 0x8100, tag, NEXT);
        jump(p, BPF_JEQ, 0x88a8, tag, NEXT);
        jump(p, BPF_JEQ, 0x9100, tag, LINK_DONE);
        place(p, tag);
        advance(p, 4);
    }
    op(p, BPF_LD | BPF_H | BPF_IND, 0);
    place(p, LINK_DONE);
    /* (A is the type on both ways here) */
    op(p, BPF_ST, 0);
    advance(p, 2);
    op(p, BPF_LD | BPF_MEM, 0);
    jump(p, BPF_JEQ, TYPE_IPV4, IS_IPV4, NEXT);
    jump(p, BPF_JEQ, TYPE_IPV6, IS_IPV6, REJECT);
}

static void
ipv4(struct program *p, uint16_t port)
{
    uint8_t whole = new_label(p);

    place(p, IS_IPV4);
    op(p, BPF_LD | BPF_B | BPF_IND, 9);
    jump(p, BPF_JEQ, 17, NEXT, REJECT);
    op(p, BPF_LD | BPF_H | BPF_IND, 6);
    jump(p, BPF_JSET, 0x1fff, ACCEPT, whole); /* has no ports: a later fragment */
    place(p, whole);
    op(p, BPF_LD | BPF_B | BPF_IND, 0);
    op(p, BPF_ALU | BPF_AND | BPF_K, 0x0f);
    op(p, BPF_ALU | BPF_MUL | BPF_K, 4);
    op(p, BPF_ALU | BPF_ADD | BPF_X, 0);
    op(p, BPF_MISC | BPF_TAX, 0);
    op(p, BPF_LD | BPF_H | BPF_IND, 2);
    jump(p, BPF_JEQ, port, ACCEPT, REJECT);
}

/* In: A = the next header's number.  An extension header goes to `to_extension`. */
static void
extensions(struct program *p, uint8_t to_extension, uint8_t to_other)
{
    jump(p, BPF_JEQ, 0, to_extension, NEXT);
    jump(p, BPF_JEQ, 43, to_extension, NEXT);
    jump(p, BPF_JEQ, 60, to_extension, to_other);
}

/* M[0] holds the next header's number, X points to it. */
static void
ipv6(struct program *p, uint16_t port)
{
    uint8_t of_udp = new_label(p);

    place(p, IS_IPV6);
    op(p, BPF_LD | BPF_B | BPF_IND, 6);
    op(p, BPF_ST, 0);
    advance(p, 40);
    for (int i = 0; i < MAX_EXTENSIONS; i++) {
        uint8_t extension = new_label(p);

        op(p, BPF_LD | BPF_MEM, 0);
        jump(p, BPF_JEQ, 17, UDP6, NEXT);
        jump(p, BPF_JEQ, 44, FRAGMENT6, NEXT);
        extensions(p, extension, REJECT);
        place(p, extension);
        op(p, BPF_LD | BPF_B | BPF_IND, 0);
        op(p, BPF_ST, 0);
        op(p, BPF_LD | BPF_B | BPF_IND, 1);
        op(p, BPF_ALU | BPF_MUL | BPF_K, 8);
        op(p, ADD_CONSTANT, 8);
        op(p, BPF_ALU | BPF_ADD | BPF_X, 0);
        op(p, BPF_MISC | BPF_TAX, 0);
    }
    op(p, BPF_LD | BPF_MEM, 0);
    jump(p, BPF_JEQ, 17, UDP6, NEXT);
    jump(p, BPF_JEQ, 44, FRAGMENT6, NEXT);
    extensions(p, ACCEPT, REJECT);

    place(p, FRAGMENT6);
    op(p, BPF_LD | BPF_B | BPF_IND, 0);
    jump(p, BPF_JEQ, 17, of_udp, NEXT);
    jump(p, BPF_JEQ, 44, ACCEPT, NEXT);
    extensions(p, ACCEPT, REJECT);
    place(p, of_udp);
    op(p, BPF_LD | BPF_H | BPF_IND, 2);
    jump(p, BPF_JSET, 0xfff8, ACCEPT, NEXT);
    advance(p, 8);
    place(p, UDP6);
    op(p, BPF_LD | BPF_H | BPF_IND, 2);
    jump(p, BPF_JEQ, port, ACCEPT, REJECT);
}

size_t
tb_kernel_filter(struct bpf_insn out[TB_KERNEL_FILTER_MAX], uint16_t port, bool incoming)
{
    struct program p = {.at = out, .labels = FREE_LABELS};

    if (incoming) {
        op(&p, BPF_LD | BPF_B | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE));
        jump(&p, BPF_JEQ, PACKET_OUTGOING, REJECT, NEXT);
    }
    op(&p, BPF_LDX | BPF_IMM, OFFSET_TYPE);
    link_layer(&p);
    ipv4(&p, port);
    ipv6(&p, port);
    place(&p, REJECT);
    op(&p, BPF_RET | BPF_K, 0);
    place(&p, ACCEPT);
    op(&p, BPF_RET | BPF_K, 0x40000); /* all of the packet */
    resolve(&p);
    return p.len;
}
