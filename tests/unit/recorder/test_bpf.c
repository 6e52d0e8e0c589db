/* Filter expressions, compiled in a child: this program is its own child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <pcap/pcap.h>

#include <tapbox/clock.h>
#include <tapbox/recorder.h>

static void
an_expression_becomes_instructions(void **state)
{
    struct tb_bpf_insn *insns = NULL;
    uint32_t count = 0;

    (void)state;
    assert_int_equal(tb_bpf_compile("tcp port 443 and host 10.0.0.1", &insns, &count, NULL),
                     TB_OK);
    assert_true(count > 5);
    assert_int_equal(insns[count - 1].code & 7, BPF_RET);
    free(insns);
}

static void
a_service_has_its_port(void **state)
{
    struct tb_bpf_insn *insns = NULL;
    uint32_t count = 0;

    (void)state;
    assert_int_equal(tb_bpf_compile("port domain", &insns, &count, NULL), TB_OK);
    free(insns);
}

static void
what_is_no_filter_is_refused_in_libpcaps_words(void **state)
{
    static const char *const wrong[] = {"tcp prot 80", "host", "((", "port 99999",
                                        "wlan host x"};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct tb_bpf_insn *insns = NULL;
        struct tb_fail fail = {.err = TB_OK};
        uint32_t count = 0;

        assert_int_equal(tb_bpf_compile(wrong[i], &insns, &count, &fail), TB_EINVAL);
        assert_null(insns);
        assert_true(strlen(fail.text) > 20);
    }
}

static void
no_host_name_is_looked_up(void **state)
{
    struct tb_bpf_insn *insns = NULL;
    struct tb_fail fail = {.err = TB_OK};
    uint32_t count = 0;
    int64_t took_ns = INT64_MAX;

    (void)state;
    for (int i = 0; i < 5 && took_ns >= 3 * TB_NS_PER_S; i++) { /* of a machine that is busy */
        int64_t began = tb_clock_boot_ns();

        assert_int_equal(tb_bpf_compile("host some.name.invalid", &insns, &count, &fail),
                         TB_EINVAL);
        took_ns = tb_clock_boot_ns() - began;
    }
    assert_true(took_ns < 3 * TB_NS_PER_S);
}

static void
the_empty_and_the_endless_are_refused_at_once(void **state)
{
    struct tb_bpf_insn *insns = NULL;
    static char endless[TB_CAPTURE_MAX_BPF_TEXT + 1];
    uint32_t count = 0;

    (void)state;
    memset(endless, ' ', sizeof(endless) - 1);
    assert_int_equal(tb_bpf_compile("", &insns, &count, NULL), TB_EINVAL);
    assert_int_equal(tb_bpf_compile(endless, &insns, &count, NULL), TB_EINVAL);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_expression_becomes_instructions),
        cmocka_unit_test(a_service_has_its_port),
        cmocka_unit_test(what_is_no_filter_is_refused_in_libpcaps_words),
        cmocka_unit_test(no_host_name_is_looked_up),
        cmocka_unit_test(the_empty_and_the_endless_are_refused_at_once),
    };

    if (argc > 1 && strcmp(argv[1], "bpf-compile") == 0) {
        return tb_bpf_child_main(NULL) == TB_OK ? 0 : 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
