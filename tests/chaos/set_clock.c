/*
 * A wall clock that somebody sets, for the shipped programs: preloaded, it adds to
 * CLOCK_REALTIME the nanoseconds that the file named by SET_CLOCK holds (one int64_t), whenever
 * they change.  Other clocks go on.  The kernel stamps packets by its own clock, so the
 * recorder keeps that one.  A second int64_t says what the kernel tells of who keeps the clock:
 * 0 what it does, 1 somebody, 2 nobody.
 *
 *     cc -shared -fPIC -o set_clock.so set_clock.c
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static const int64_t ns_per_s = 1000000000;
static const volatile int64_t *set_by; /* NULL: nobody sets it here */
static int (*ask)(clockid_t, struct timespec *);
static int (*ask_keeper)(struct timex *);

static int
is_recorder(void)
{
    char line[256] = "";
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);
    const char *second = line + strlen(line) + 1;

    if (fd >= 0) {
        (void)close(fd);
    }
    return got > second - line && strcmp(second, "record") == 0;
}

__attribute__((constructor)) static void
begin(void)
{
    const char *path = getenv("SET_CLOCK");
    int fd = path != NULL && !is_recorder() ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *symbol = dlsym(RTLD_NEXT, "clock_gettime");
    void *at = MAP_FAILED;

    memcpy(&ask, &symbol, sizeof(ask));
    symbol = dlsym(RTLD_NEXT, "adjtimex");
    memcpy(&ask_keeper, &symbol, sizeof(ask_keeper));
    if (fd >= 0) {
        at = mmap(NULL, 2 * sizeof(*set_by), PROT_READ, MAP_SHARED, fd, 0);
        (void)close(fd);
    }
    if (at != MAP_FAILED) {
        set_by = at;
    }
}

int
clock_gettime(clockid_t id, struct timespec *out)
{
    int rc;

    if (ask == NULL) { /* somebody asks before all are there */
        begin();
    }
    rc = ask(id, out);
    if (rc == 0 && set_by != NULL && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        int64_t ns = (int64_t)out->tv_sec * ns_per_s + out->tv_nsec + *set_by;

        out->tv_sec = (time_t)(ns / ns_per_s);
        out->tv_nsec = (long)(ns % ns_per_s);
    }
    return rc;
}

int
adjtimex(struct timex *inout)
{
    int rc = ask_keeper(inout);

    if (rc >= 0 && set_by != NULL && set_by[1] != 0) {
        rc = set_by[1] == 2 ? TIME_ERROR : TIME_OK;
        inout->status =
            set_by[1] == 2 ? inout->status | STA_UNSYNC : inout->status & ~STA_UNSYNC;
    }
    return rc;
}

int
gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t
time(time_t *out)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}
