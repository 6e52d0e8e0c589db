/* Messages between processes, and starting ourselves: this program is its own child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include <tapbox/clock.h>
#include <tapbox/compartment.h>
#include <tapbox/io.h>

enum {
    CHILD_FD = 3
};

/* --- roles of the child --- */

/* Says what it sees: open descriptors above 2 besides the socket, and whether it may start
 * more. */
static int
child_looks(void)
{
    static const char *const argv[] = {"test", "looks", NULL};
    char text[64];
    pid_t pid;
    int others = 0;
    int fd;

    for (int i = 4; i < 1024; i++) {
        others += fcntl(i, F_GETFD) >= 0;
    }
    (void)snprintf(text, sizeof(text), "%d %s", others,
                   tb_err_name(tb_compartment_start(argv, &pid, &fd, NULL)));
    return tb_message_send(CHILD_FD, tb_bytes_str(text), -1, NULL) == TB_OK ? 0 : 1;
}

/* Sends back what it gets, until the other side is gone. */
static int
child_echoes(void)
{
    struct tb_buf in = TB_BUF_INIT(1 << 17);
    int pass_fd = -1;

    while (tb_message_receive(CHILD_FD, &in, &pass_fd, -1, NULL) == TB_OK &&
           tb_message_send(CHILD_FD, tb_buf_view(&in), pass_fd, NULL) == TB_OK) {
        tb_close(&pass_fd);
    }
    tb_buf_release(&in);
    return 0;
}

static int
child_is_stubborn(void)
{
    (void)signal(SIGTERM, SIG_IGN);
    if (tb_message_send(CHILD_FD, tb_bytes_str("x"), -1, NULL) != TB_OK) {
        return 1;
    }
    while (pause() == -1) {
    }
    return 0;
}

/* --- cases --- */

static void
start(const char *role, pid_t *pid, int *fd)
{
    const char *argv[] = {"test", role, NULL};

    assert_int_equal(tb_compartment_start(argv, pid, fd, NULL), TB_OK);
}

static void
the_child_has_its_socket_and_nothing_else(void **state)
{
    struct tb_buf in = TB_BUF_INIT(64);
    int spare = dup(0);
    pid_t pid;
    int fd;

    (void)state;
    start("looks", &pid, &fd);
    assert_int_equal(tb_message_receive(fd, &in, NULL, 20 * TB_NS_PER_S, NULL), TB_OK);
    assert_string_equal(tb_buf_str(&in), "0 state");
    tb_compartment_stop(pid, TB_NS_PER_S);
    tb_close(&fd);
    tb_close(&spare);
    tb_buf_release(&in);
}

static void
messages_and_descriptors_go_both_ways(void **state)
{
    static uint8_t big[100000];
    struct tb_buf in = TB_BUF_INIT(sizeof(big));
    int pair[2];
    int back = -1;
    char octet;
    pid_t pid;
    int fd;

    (void)state;
    memset(big, 7, sizeof(big));
    start("echoes", &pid, &fd);
    assert_int_equal(pipe(pair), 0);
    assert_int_equal(tb_message_send(fd, tb_bytes_of(big, sizeof(big)), pair[1], NULL), TB_OK);
    tb_close(&pair[1]);
    assert_int_equal(tb_message_receive(fd, &in, &back, 20 * TB_NS_PER_S, NULL), TB_OK);
    assert_true(tb_bytes_equal(tb_buf_view(&in), tb_bytes_of(big, sizeof(big))));
    assert_true(back >= 0);
    assert_int_equal(write(back, "x", 1), 1);
    assert_int_equal(read(pair[0], &octet, 1), 1);
    tb_close(&back);
    tb_close(&pair[0]);
    tb_close(&fd); /* which ends it */
    tb_compartment_stop(pid, 20 * TB_NS_PER_S);
    tb_buf_release(&in);
}

static void
a_stubborn_child_is_killed(void **state)
{
    struct tb_buf in = TB_BUF_INIT(64);
    pid_t pid;
    int fd;

    (void)state;
    start("stubborn", &pid, &fd);
    assert_int_equal(tb_message_receive(fd, &in, NULL, 20 * TB_NS_PER_S, NULL), TB_OK);
    tb_compartment_stop(pid, 50 * TB_NS_PER_MS);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(tb_message_receive(fd, &in, NULL, -1, NULL), TB_ECLOSED);
    assert_int_equal(tb_message_send(fd, tb_bytes_str("x"), -1, NULL), TB_ECLOSED);
    tb_close(&fd);
    tb_buf_release(&in);
}

static void
waiting_has_an_end_and_size_a_limit(void **state)
{
    struct tb_buf in = TB_BUF_INIT(8);
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(tb_message_receive(pair[0], &in, NULL, TB_NS_PER_MS, NULL), TB_ETIMEOUT);
    assert_int_equal(tb_message_send(pair[1], tb_bytes_str("123456789"), -1, NULL), TB_OK);
    assert_int_equal(tb_message_send(pair[1], tb_bytes_str("12345678"), pair[1], NULL), TB_OK);
    assert_int_equal(tb_message_receive(pair[0], &in, NULL, 0, NULL), TB_ETOOBIG);
    /* (the descriptor that nobody asked for is closed) */
    assert_int_equal(tb_message_receive(pair[0], &in, NULL, 0, NULL), TB_OK);
    assert_string_equal(tb_buf_str(&in), "12345678");
    tb_close(&pair[1]);
    assert_int_equal(tb_message_receive(pair[0], &in, NULL, -1, NULL), TB_ECLOSED);
    tb_close(&pair[0]);
    tb_buf_release(&in);
}

static void
a_peer_that_does_not_read_is_not_waited_for_long(void **state)
{
    static uint8_t big[60000];
    enum tb_err err = TB_OK;
    int64_t began = tb_clock_boot_ns();
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    for (int i = 0; i < 1000 && err == TB_OK; i++) {
        err = tb_message_send(pair[1], tb_bytes_of(big, sizeof(big)), -1, NULL);
    }
    assert_int_equal(err, TB_ETIMEOUT);
    assert_true(tb_clock_boot_ns() - began < 20 * TB_NS_PER_S);
    tb_close(&pair[0]);
    tb_close(&pair[1]);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_child_has_its_socket_and_nothing_else),
        cmocka_unit_test(messages_and_descriptors_go_both_ways),
        cmocka_unit_test(a_stubborn_child_is_killed),
        cmocka_unit_test(waiting_has_an_end_and_size_a_limit),
        cmocka_unit_test(a_peer_that_does_not_read_is_not_waited_for_long),
    };

    if (argc > 1 && strcmp(argv[1], "looks") == 0) {
        return child_looks();
    }
    if (argc > 1 && strcmp(argv[1], "echoes") == 0) {
        return child_echoes();
    }
    if (argc > 1 && strcmp(argv[1], "stubborn") == 0) {
        return child_is_stubborn();
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
