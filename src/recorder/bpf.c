/*
 * Filter expressions become instructions in a child process: libpcap's compiler meets text from
 * outside, would resolve host names, and can be made to work for minutes.
 */
#include "lane_int.h"

#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tapbox/bytes.h>
#include <tapbox/compartment.h>
#include <tapbox/io.h>
#include <tapbox/sandbox.h>

enum {
    CHILD_FD = 3,
    CHILD_WAIT_NS = 2000000000,
    INSN_BYTES = 8,
    ANSWER_OK = 0, /* then the instructions; anything else: then a sentence */
    ANSWER_REFUSED = 1,
    ANSWER_MAX_BYTES = 1 + TB_CAPTURE_MAX_BPF_INSNS * INSN_BYTES
};

/* --- the child --- */

static enum tb_err
compile(const char *text, struct tb_buf *answer)
{
    pcap_t *pcap = pcap_open_dead(DLT_EN10MB, TB_SNAPLEN_MAX);
    struct bpf_program program = {0, NULL};

    if (pcap == NULL) {
        return TB_ENOMEM;
    }
    if (pcap_compile(pcap, &program, text, 1, PCAP_NETMASK_UNKNOWN) != 0) {
        tb_buf_put_u8(answer, ANSWER_REFUSED);
        tb_buf_put_str(answer, pcap_geterr(pcap));
    } else if (program.bf_len > TB_CAPTURE_MAX_BPF_INSNS) {
        tb_buf_put_u8(answer, ANSWER_REFUSED);
        tb_buf_printf(answer, "it becomes %u instructions, %d are allowed", program.bf_len,
                      TB_CAPTURE_MAX_BPF_INSNS);
    } else {
        tb_buf_put_u8(answer, ANSWER_OK);
        for (u_int i = 0; i < program.bf_len; i++) {
            tb_buf_put_le16(answer, program.bf_insns[i].code);
            tb_buf_put_u8(answer, program.bf_insns[i].jt);
            tb_buf_put_u8(answer, program.bf_insns[i].jf);
            tb_buf_put_le32(answer, program.bf_insns[i].k);
        }
    }
    pcap_freecode(&program);
    pcap_close(pcap);
    return tb_buf_check(answer, "the answer", NULL);
}

enum tb_err
tb_bpf_child_main(struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_CAPTURE_MAX_BPF_TEXT);
    struct tb_buf answer = TB_BUF_INIT(ANSWER_MAX_BYTES);
    enum tb_err err = tb_sandbox_enter(TB_SANDBOX_BPF_CHILD, -1, fail);

    if (err == TB_OK) {
        err = tb_message_receive(CHILD_FD, &text, NULL, CHILD_WAIT_NS, fail);
    }
    if (err == TB_OK) {
        err = compile(tb_buf_str(&text), &answer);
    }
    if (err == TB_OK) {
        err = tb_message_send(CHILD_FD, tb_buf_view(&answer), -1, fail);
    }
    tb_buf_release(&text);
    tb_buf_release(&answer);
    return err;
}

/* --- the parent --- */

static enum tb_err
read_answer(struct tb_bytes answer, struct tb_bpf_insn **out, uint32_t *out_count,
            struct tb_fail *fail)
{
    struct tb_bpf_insn *insns;
    size_t count;

    if (answer.len >= 1 && answer.at[0] == ANSWER_REFUSED) {
        return tb_fail_set(fail, TB_EINVAL, "the filter is not one: %.*s", (int)answer.len - 1,
                           (const char *)answer.at + 1);
    }
    if (answer.len < 1 + INSN_BYTES || (answer.len - 1) % INSN_BYTES != 0 ||
        answer.at[0] != ANSWER_OK) {
        return tb_fail_set(fail, TB_EFORMAT, "the filter's compiler answered nonsense");
    }
    count = (answer.len - 1) / INSN_BYTES;
    insns = calloc(count, sizeof(*insns));
    if (insns == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the filter");
    }
    for (size_t i = 0; i < count; i++) {
        const uint8_t *at = answer.at + 1 + i * INSN_BYTES;

        insns[i] = (struct tb_bpf_insn){tb_get_le16(at), at[2], at[3], tb_get_le32(at + 4)};
    }
    *out = insns;
    *out_count = (uint32_t)count;
    return TB_OK;
}

enum tb_err
tb_bpf_compile(const char *text, struct tb_bpf_insn **out, uint32_t *out_count,
               struct tb_fail *fail)
{
    static const char *const argv[] = {"tapbox", "bpf-compile", NULL};
    struct tb_buf answer = TB_BUF_INIT(ANSWER_MAX_BYTES);
    pid_t pid = -1;
    int fd = -1;
    enum tb_err err;

    if (text[0] == '\0' || strlen(text) >= TB_CAPTURE_MAX_BPF_TEXT) {
        return tb_fail_set(fail, TB_EINVAL, "a filter has 1 to %d characters",
                           TB_CAPTURE_MAX_BPF_TEXT - 1);
    }
    err = tb_compartment_start(argv, &pid, &fd, fail);
    if (err != TB_OK) {
        return err;
    }
    err = tb_message_send(fd, tb_bytes_str(text), -1, fail);
    if (err == TB_OK) {
        err = tb_message_receive(fd, &answer, NULL, CHILD_WAIT_NS, fail);
    }
    if (err == TB_OK) {
        err = read_answer(tb_buf_view(&answer), out, out_count, fail);
    } else if (err == TB_ETIMEOUT || err == TB_ECLOSED) {
        err =
            tb_fail_set(fail, TB_EINVAL, "the filter could not be compiled within two seconds");
    }
    tb_close(&fd);
    tb_compartment_stop(pid, 0);
    tb_buf_release(&answer);
    return err;
}

/* --- running --- */

enum tb_err
tb_bpf_load(const struct tb_bpf_insn *insns, uint32_t count, struct bpf_insn **out,
            struct tb_fail *fail)
{
    struct bpf_insn *program = calloc(count, sizeof(*program));

    if (program == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the filter");
    }
    for (uint32_t i = 0; i < count; i++) {
        program[i] = (struct bpf_insn){insns[i].code, insns[i].jt, insns[i].jf, insns[i].k};
    }
    if (!bpf_validate(program, (int)count)) {
        free(program);
        return tb_fail_set(fail, TB_EINVAL, "the filter's instructions are not valid");
    }
    *out = program;
    return TB_OK;
}

struct tb_bpf {
    struct bpf_insn *program; /* owned */
};

enum tb_err
tb_bpf_new(const char *text, struct tb_bpf **out, struct tb_fail *fail)
{
    struct tb_bpf_insn *insns = NULL;
    struct tb_bpf *bpf = NULL;
    uint32_t count = 0;
    enum tb_err err = tb_bpf_compile(text, &insns, &count, fail);

    if (err == TB_OK) {
        bpf = calloc(1, sizeof(*bpf));
        err = bpf == NULL ? tb_fail_set(fail, TB_ENOMEM, "no memory for the filter")
                          : tb_bpf_load(insns, count, &bpf->program, fail);
    }
    free(insns);
    if (err != TB_OK) {
        tb_bpf_free(bpf);
        return err;
    }
    *out = bpf;
    return TB_OK;
}

void
tb_bpf_free(struct tb_bpf *bpf)
{
    if (bpf != NULL) {
        free(bpf->program);
        free(bpf);
    }
}

bool
tb_bpf_takes(const struct tb_bpf *bpf, struct tb_bytes frame, uint32_t original)
{
    return bpf_filter(bpf->program, frame.at, original, (u_int)frame.len) != 0;
}
