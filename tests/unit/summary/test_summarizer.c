/* The summarizing process: this program is its own child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <tapbox/clock.h>
#include <tapbox/pcapng.h>
#include <tapbox/summary.h>

#include "wire.h"

static size_t
put_packet_with(uint8_t *at, size_t cap, struct tb_bytes payload)
{
    struct wire udp = wire_udp(5000, 7, payload);
    struct wire frame = wire_ipv4(1, 2, 17, 1, 0, wire_bytes(&udp));
    struct tb_pcapng_packet packet = {.utc_ns = INT64_C(1700000000) * TB_NS_PER_S,
                                      .captured = (uint32_t)frame.len,
                                      .original = (uint32_t)frame.len};

    return tb_pcapng_put_packet(at, cap, &packet, frame.at);
}

static size_t
put_packet(uint8_t *at, size_t cap)
{
    return put_packet_with(at, cap, tb_bytes_str("hello"));
}

static void
chunks_go_in_and_sightings_and_a_document_come_out(void **state)
{
    struct tb_ioc peer = {TB_IOC_IP, "10.0.0.2", 0, 0};
    struct tb_sighting *seen = calloc(TB_SUMMARY_MAX_IOCS, sizeof(*seen));
    struct tb_summarizer *summarizer = NULL;
    struct tb_json *root = NULL;
    uint8_t block[512];
    size_t len = put_packet(block, sizeof(block)), count = 0;
    uint64_t packets = 0;
    int64_t value = 0;

    (void)state;
    assert_non_null(seen);
    assert_int_equal(tb_summarizer_new(&summarizer, NULL), TB_OK);
    assert_int_equal(tb_summarizer_begin(summarizer, 3, NULL), TB_OK);
    assert_int_equal(tb_summarizer_watch(summarizer, 3, &peer, NULL), TB_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tb_summarizer_chunk(summarizer, 3, tb_bytes_of(block, len), &packets,
                                             seen, &count, NULL),
                         TB_OK);
    }
    assert_int_equal(packets, 3);
    assert_int_equal(count, 1);
    assert_int_equal(seen[0].packets, 3);
    assert_int_equal(tb_summarizer_document(summarizer, 3, 10, &root, NULL), TB_OK);
    assert_true(tb_json_int(root, "/udp/rows/0/packets", &value));
    assert_int_equal(value, 3);
    tb_json_free(root);
    /* another number is another summary */
    assert_int_equal(tb_summarizer_document(summarizer, 4, 10, &root, NULL), TB_ENOTFOUND);
    tb_summarizer_end(summarizer, 3);
    assert_int_equal(tb_summarizer_document(summarizer, 3, 10, &root, NULL), TB_ENOTFOUND);
    /* half a block: what is before it counts, and the process lives */
    assert_int_equal(tb_summarizer_begin(summarizer, 3, NULL), TB_OK);
    assert_int_equal(tb_summarizer_chunk(summarizer, 3, tb_bytes_of(block, len - 4), &packets,
                                         seen, &count, NULL),
                     TB_EFORMAT);
    assert_int_equal(tb_summarizer_crashes(summarizer), 0);
    tb_summarizer_free(summarizer);
    free(seen);
}

/* In the sandbox: the library of ciphers may want files and calls at its first use. */
static void
the_process_decrypts_the_first_packets_of_quic(void **state)
{
    struct tb_sighting *seen = calloc(TB_SUMMARY_MAX_IOCS, sizeof(*seen));
    struct tb_summarizer *summarizer = NULL;
    struct tb_json *root = NULL;
    uint8_t datagram[512], block[1024];
    FILE *file = fopen("tests/fuzz/corpus/quic/initial-v1", "rb");
    size_t len, count = 0;
    uint64_t packets = 0;

    (void)state;
    assert_non_null(seen);
    assert_non_null(file);
    len = fread(datagram, 1, sizeof(datagram), file);
    (void)fclose(file);
    assert_in_range(len, 200, sizeof(datagram) - 1);
    /* (the first octet is the fuzzer's) */
    len = put_packet_with(block, sizeof(block), tb_bytes_of(datagram + 1, len - 1));
    assert_int_equal(tb_summarizer_new(&summarizer, NULL), TB_OK);
    assert_int_equal(tb_summarizer_begin(summarizer, 0, NULL), TB_OK);
    assert_int_equal(tb_summarizer_chunk(summarizer, 0, tb_bytes_of(block, len), &packets, seen,
                                         &count, NULL),
                     TB_OK);
    assert_int_equal(tb_summarizer_document(summarizer, 0, 10, &root, NULL), TB_OK);
    assert_non_null(tb_json_str(root, "/tls/rows/0/name"));
    assert_int_equal(tb_summarizer_crashes(summarizer), 0);
    tb_json_free(root);
    tb_summarizer_free(summarizer);
    free(seen);
}

/* The one child of this process. */
static pid_t
child_pid(void)
{
    char path[64], text[64] = "";
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    (void)fclose(file);
    return (pid_t)strtol(text, NULL, 10);
}

static void
a_crash_is_counted_and_another_process_begins_anew_a_second_later(void **state)
{
    struct tb_sighting *seen = calloc(TB_SUMMARY_MAX_IOCS, sizeof(*seen));
    struct tb_summarizer *summarizer = NULL;
    uint8_t block[512];
    size_t len = put_packet(block, sizeof(block)), count = 0;
    uint64_t packets = 0;
    int tries = 0;

    (void)state;
    assert_non_null(seen);
    assert_int_equal(tb_summarizer_new(&summarizer, NULL), TB_OK);
    assert_int_equal(tb_summarizer_begin(summarizer, 0, NULL), TB_OK);
    assert_int_equal(kill(child_pid(), SIGKILL), 0);
    assert_int_equal(tb_summarizer_chunk(summarizer, 0, tb_bytes_of(block, len), &packets, seen,
                                         &count, NULL),
                     TB_ECLOSED);
    assert_int_equal(tb_summarizer_crashes(summarizer), 1);
    assert_int_equal(tb_summarizer_begin(summarizer, 0, NULL), TB_ERETRY);
    while (tb_summarizer_begin(summarizer, 0, NULL) == TB_ERETRY && tries++ < 1200) {
        (void)usleep(50000);
    }
    assert_int_equal(tb_summarizer_chunk(summarizer, 0, tb_bytes_of(block, len), &packets, seen,
                                         &count, NULL),
                     TB_OK);
    assert_int_equal(packets, 1);
    tb_summarizer_free(summarizer);
    free(seen);
}

/* Waiting goes on then with a system call of its own. */
static void
a_process_that_was_stopped_goes_on(void **state)
{
    struct tb_sighting *seen = calloc(TB_SUMMARY_MAX_IOCS, sizeof(*seen));
    struct tb_summarizer *summarizer = NULL;
    uint8_t block[512];
    size_t len = put_packet(block, sizeof(block)), count = 0;
    uint64_t packets = 0;
    pid_t pid;

    (void)state;
    assert_non_null(seen);
    assert_int_equal(tb_summarizer_new(&summarizer, NULL), TB_OK);
    assert_int_equal(tb_summarizer_begin(summarizer, 0, NULL), TB_OK);
    assert_int_equal(tb_summarizer_chunk(summarizer, 0, tb_bytes_of(block, len), &packets, seen,
                                         &count, NULL),
                     TB_OK);
    pid = child_pid();
    for (int i = 0; i < 3; i++) {
        (void)usleep(100000); /* it waits for the next message */
        assert_int_equal(kill(pid, SIGSTOP), 0);
        (void)usleep(10000);
        assert_int_equal(kill(pid, SIGCONT), 0);
    }
    (void)usleep(100000);
    assert_int_equal(tb_summarizer_chunk(summarizer, 0, tb_bytes_of(block, len), &packets, seen,
                                         &count, NULL),
                     TB_OK);
    assert_int_equal(tb_summarizer_crashes(summarizer), 0);
    tb_summarizer_free(summarizer);
    free(seen);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_go_in_and_sightings_and_a_document_come_out),
        cmocka_unit_test(the_process_decrypts_the_first_packets_of_quic),
        cmocka_unit_test(a_process_that_was_stopped_goes_on),
        cmocka_unit_test(a_crash_is_counted_and_another_process_begins_anew_a_second_later),
    };

    if (argc == 2 && strcmp(argv[1], "summarize") == 0) {
        return tb_summarizer_main(NULL) == TB_OK ? 0 : 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
