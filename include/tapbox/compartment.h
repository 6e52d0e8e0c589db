/* Starting a process of our own program in another role, joined by a SEQPACKET socket. */
#ifndef TAPBOX_COMPARTMENT_H
#define TAPBOX_COMPARTMENT_H

#include <sys/types.h>

#include <tapbox/bytes.h>

/* Forks and executes /proc/self/exe with `argv` (argv[0] included, NULL-ended); the child finds
 * the socket as descriptor 3 and everything else above 2 closed; of the environment it gets
 * what is neither AWS's (AWS_...) nor a token.  It dies with the thread that started it. */
TB_NODISCARD enum tb_err tb_compartment_start(const char *const *argv, pid_t *out_pid,
                                              int *out_fd, struct tb_fail *fail);
/* SIGTERM, up to `wait_ns`, then SIGKILL; reaps it. */
void tb_compartment_stop(pid_t pid, int64_t wait_ns);

/* One message with at most one descriptor (-1: none).  TB_ECLOSED, TB_ETOOBIG, TB_ETIMEOUT. */
TB_NODISCARD enum tb_err tb_message_send(int fd, struct tb_bytes message, int pass_fd,
                                         struct tb_fail *fail);
/* `wait_ns` -1: without limit. */
TB_NODISCARD enum tb_err tb_message_receive(int fd, struct tb_buf *out, int *out_pass_fd,
                                            int64_t wait_ns, struct tb_fail *fail);

#endif
