/*
 * Files read where they lie in the page cache, without a copy.
 *
 * Octets that are mapped but cannot be read (the file is shorter by now, the disk fails) come
 * as SIGBUS.  The handler puts zeros in their place, so that whoever reads goes on, and notes
 * it for the thread; the reader's result is thrown away.
 */
#include <tapbox/io.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    WINDOW_BYTES = 2 << 20 /* mapped at a time: large against a call, small against a cache */
};

/* What this thread has mapped; touched by it and its signal handler. */
struct window {
    uint8_t *at;
    size_t len;
    size_t page;
};
static _Thread_local struct window window;
static _Thread_local volatile sig_atomic_t is_unreadable;

static void
on_sigbus(int number, siginfo_t *info, void *context)
{
    const uint8_t *fault = info->si_addr;
    const void *zeros;
    size_t begin;
    int saved = errno;

    (void)context;
    if (window.at != NULL && fault >= window.at && fault < window.at + window.len) {
        begin = (size_t)(fault - window.at) / window.page * window.page;
        is_unreadable = 1;
        zeros = mmap(window.at + begin, window.len - begin, PROT_READ,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                     /* cppcheck-suppress invalidFunctionArg ; no file: that is what -1 says */
                     -1, 0);
        if (zeros != MAP_FAILED) {
            errno = saved;
            /* cppcheck-suppress memleak ; it is part of the window, and goes with it */
            return;
        }
    }
    (void)signal(number, SIG_DFL); /* not ours: it comes again at once, and ends the process */
    errno = saved;
}

static enum tb_err
lend(uint8_t *at, size_t skip, size_t want,
     enum tb_err (*take)(void *arg, struct tb_bytes octets), void *arg)
{
    enum tb_err err;

    window = (struct window){at, skip + want, (size_t)sysconf(_SC_PAGESIZE)};
    is_unreadable = 0;
    err = take(arg, tb_bytes_of(at + skip, want));
    window.at = NULL;
    return is_unreadable != 0 ? TB_EIO : err;
}

enum tb_err
tb_mapped_each(int fd, uint64_t offset, uint64_t len,
               enum tb_err (*take)(void *arg, struct tb_bytes octets), void *arg,
               struct tb_fail *fail)
{
    const struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    enum tb_err err = TB_OK;
    bool has_lent = false;

    (void)sigaction(SIGBUS, &action, NULL);
    while (len > 0 && err == TB_OK) {
        size_t skip = (size_t)(offset % page);
        size_t want = len < WINDOW_BYTES - skip ? (size_t)len : WINDOW_BYTES - skip;
        uint8_t *at;

        /* what comes next is read meanwhile, if it comes from a disk */
        (void)posix_fadvise(fd, (off_t)(offset + want), WINDOW_BYTES, POSIX_FADV_WILLNEED);
        at = mmap(NULL, skip + want, PROT_READ, MAP_SHARED | MAP_POPULATE, fd,
                  (off_t)(offset - skip));
        if (at == MAP_FAILED) {
            return errno == ENOMEM ? tb_fail_set(fail, TB_ENOMEM, "no memory to map a file")
                                   : tb_fail_set(fail, has_lent ? TB_EIO : TB_EINVAL,
                                                 "it cannot be mapped");
        }
        has_lent = true;
        err = lend(at, skip, want, take, arg);
        if (err == TB_EIO) {
            (void)tb_fail_set(fail, err,
                              "it was cut while it was read, or the disk fails: octets %llu "
                              "to %llu",
                              (unsigned long long)offset,
                              (unsigned long long)(offset + want - 1));
        }
        (void)munmap(at, skip + want);
        offset += want;
        len -= want;
    }
    return err;
}
