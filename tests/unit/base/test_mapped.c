/* Mapped files: each octet once, in order; one that is cut while it is read is an error, no
 * end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/io.h>

enum {
    FILE_BYTES = 5000000 /* more than two windows, and no whole page at the end */
};

struct taking {
    int fd;
    uint64_t sum, octets;
    unsigned calls;
    bool cut, stop;
};

static int
make_file(void)
{
    char name[] = "/tmp/tapbox-mapped-XXXXXX";
    int fd = mkstemp(name);
    uint8_t *content = malloc(FILE_BYTES);

    assert_true(fd >= 0 && content != NULL);
    (void)unlink(name);
    for (size_t i = 0; i < FILE_BYTES; i++) {
        content[i] = (uint8_t)(i * 2654435761U >> 24);
    }
    assert_int_equal(tb_write_all(fd, tb_bytes_of(content, FILE_BYTES), NULL), TB_OK);
    free(content);
    return fd;
}

/* The sum knows the order. */
static enum tb_err
take(void *arg, struct tb_bytes octets)
{
    struct taking *taking = arg;

    taking->calls++;
    if (taking->stop) {
        return TB_EINVAL;
    }
    if (taking->cut && ftruncate(taking->fd, 4096) != 0) {
        return TB_EINTERNAL;
    }
    for (size_t i = 0; i < octets.len; i++) {
        taking->sum = taking->sum * 31 + octets.at[i];
    }
    taking->octets += octets.len;
    return TB_OK;
}

static uint64_t
sum_of_copy(int fd, uint64_t offset, uint64_t len)
{
    uint8_t *copy = malloc(len + 1);
    uint64_t sum = 0;

    assert_non_null(copy);
    assert_int_equal(tb_read_at(fd, offset, copy, len, NULL), TB_OK);
    for (size_t i = 0; i < len; i++) {
        sum = sum * 31 + copy[i];
    }
    free(copy);
    return sum;
}

static void
every_part_is_lent_octet_for_octet_in_its_order(void **state)
{
    static const struct {
        uint64_t offset, len;
    } parts[] = {{0, FILE_BYTES}, {0, 0},          {0, 1},
                 {1, 4095},       {4095, 2},       {4097, (2 << 20) - 1},
                 {1, 2 << 20},    {2097151, 4097}, {FILE_BYTES - 1, 1}};
    int fd = make_file();

    (void)state;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct taking taking = {.fd = fd};

        assert_int_equal(tb_mapped_each(fd, parts[i].offset, parts[i].len, take, &taking, NULL),
                         TB_OK);
        assert_int_equal(taking.octets, parts[i].len);
        assert_int_equal(taking.sum, sum_of_copy(fd, parts[i].offset, parts[i].len));
    }
    tb_close(&fd);
}

static void
a_file_that_is_cut_meanwhile_is_an_error_and_the_next_is_read_all_the_same(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        int fd = make_file(), other = make_file();
        struct taking taking = {.fd = fd, .cut = true}, whole = {.fd = other};
        struct tb_fail fail = {0};

        assert_int_equal(tb_mapped_each(fd, 0, FILE_BYTES, take, &taking, &fail), TB_EIO);
        assert_non_null(strstr(fail.text, "octets 0 to 2097151"));
        assert_int_equal(taking.calls, 1);
        assert_int_equal(tb_mapped_each(fd, 8192, 10, take, &taking, NULL), TB_EIO);
        assert_int_equal(tb_mapped_each(other, 0, FILE_BYTES, take, &whole, NULL), TB_OK);
        assert_int_equal(whole.sum, sum_of_copy(other, 0, FILE_BYTES));
        tb_close(&fd);
        tb_close(&other);
    }
}

static void *
read_cut_files(void *arg)
{
    unsigned *errors = arg;

    for (unsigned i = 0; i < 20; i++) {
        int fd = make_file();
        struct taking taking = {.fd = fd, .cut = true};

        *errors += tb_mapped_each(fd, 0, FILE_BYTES, take, &taking, NULL) == TB_EIO ? 1 : 0;
        tb_close(&fd);
    }
    return NULL;
}

static void
each_thread_is_stopped_by_its_own_file_only(void **state)
{
    unsigned errors = 0;
    pthread_t thread;
    int fd = make_file();
    uint64_t sum = sum_of_copy(fd, 0, FILE_BYTES);

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, read_cut_files, &errors), 0);
    for (unsigned i = 0; i < 20; i++) {
        struct taking taking = {.fd = fd};

        assert_int_equal(tb_mapped_each(fd, 0, FILE_BYTES, take, &taking, NULL), TB_OK);
        assert_int_equal(taking.sum, sum);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(errors, 20);
    tb_close(&fd);
}

static void
an_error_of_the_taker_ends_it(void **state)
{
    int fd = make_file();
    struct taking taking = {.fd = fd, .stop = true};

    (void)state;
    assert_int_equal(tb_mapped_each(fd, 0, FILE_BYTES, take, &taking, NULL), TB_EINVAL);
    assert_int_equal(taking.calls, 1);
    tb_close(&fd);
}

static void
what_cannot_be_mapped_is_told_before_anything_is_taken(void **state)
{
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    struct taking taking = {.fd = fd};

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(tb_mapped_each(fd, 0, 100, take, &taking, NULL), TB_EINVAL);
    assert_int_equal(taking.calls, 0);
    tb_close(&fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_is_lent_octet_for_octet_in_its_order),
        cmocka_unit_test(
            a_file_that_is_cut_meanwhile_is_an_error_and_the_next_is_read_all_the_same),
        cmocka_unit_test(each_thread_is_stopped_by_its_own_file_only),
        cmocka_unit_test(an_error_of_the_taker_ends_it),
        cmocka_unit_test(what_cannot_be_mapped_is_told_before_anything_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
