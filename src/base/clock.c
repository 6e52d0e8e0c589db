/* Clocks, deadlines, and times as text. */
#include <tapbox/clock.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

/* The test clock: both stand still at these values while `fake` is set. */
static atomic_bool fake;
static _Atomic int64_t fake_utc_ns;
static _Atomic int64_t fake_boot_ns;

static int64_t
read_clock(clockid_t id)
{
    struct timespec now;

    (void)clock_gettime(id, &now); /* cannot fail for these clocks */
    return (int64_t)now.tv_sec * TB_NS_PER_S + now.tv_nsec;
}

int64_t
tb_clock_utc_ns(void)
{
    return atomic_load(&fake) ? atomic_load(&fake_utc_ns) : read_clock(CLOCK_REALTIME);
}

int64_t
tb_clock_boot_ns(void)
{
    return atomic_load(&fake) ? atomic_load(&fake_boot_ns) : read_clock(CLOCK_BOOTTIME);
}

void
tb_clock_fake(int64_t utc_ns, int64_t boot_ns)
{
    atomic_store(&fake_utc_ns, utc_ns);
    atomic_store(&fake_boot_ns, boot_ns);
    atomic_store(&fake, true);
}

void
tb_clock_fake_advance(int64_t ns)
{
    atomic_fetch_add(&fake_utc_ns, ns);
    atomic_fetch_add(&fake_boot_ns, ns);
}

void
tb_clock_real(void)
{
    atomic_store(&fake, false);
}

static char boot_id[TB_BOOT_ID_SIZE];

static void
load_boot_id(void)
{
    char text[TB_BOOT_ID_SIZE] = "";
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return;
    }
    if (read(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1) {
        memcpy(boot_id, text, sizeof(text));
    }
    (void)close(fd);
}

const char *
tb_clock_boot_id(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, load_boot_id);
    return boot_id;
}

/* What each keeper of the clock has in /run while it runs. */
static const char *
keeper(void)
{
    static const struct {
        const char *file, *name;
    } keepers[] = {
        {"/run/chrony/chronyd.pid", "chrony"},
        {"/run/chrony/chronyd.sock", "chrony"},
        {"/run/chronyd.pid", "chrony"},
        {"/run/systemd/timesync/synchronized", "systemd-timesyncd"},
        {"/run/ntpd.pid", "ntpd"},
    };

    for (size_t i = 0; i < sizeof(keepers) / sizeof(keepers[0]); i++) {
        if (access(keepers[i].file, F_OK) == 0) {
            return keepers[i].name;
        }
    }
    return "kernel";
}

bool
tb_clock_state_get(struct tb_clock_state *out)
{
    struct timex kernel = {.modes = 0}; /* only reads */
    int state = adjtimex(&kernel);

    if (state < 0) {
        return false;
    }
    out->synchronised = state != TIME_ERROR && (kernel.status & STA_UNSYNC) == 0;
    out->offset_ns = (kernel.status & STA_NANO) != 0 ? kernel.offset : kernel.offset * 1000;
    out->max_error_ns = (int64_t)kernel.maxerror * 1000;
    out->source = keeper();
    return true;
}

struct tb_deadline
tb_deadline_in(int64_t ns_from_now)
{
    struct tb_deadline deadline = {.utc_ns = tb_clock_utc_ns() + ns_from_now,
                                   .boot_ns = tb_clock_boot_ns() + ns_from_now};

    memcpy(deadline.boot_id, tb_clock_boot_id(), sizeof(deadline.boot_id));
    return deadline;
}

bool
tb_deadline_is_of_this_boot(const struct tb_deadline *deadline)
{
    return deadline->boot_id[0] != 0 && strcmp(deadline->boot_id, tb_clock_boot_id()) == 0;
}

struct tb_deadline
tb_deadline_moved(const struct tb_deadline *deadline, int64_t by_ns)
{
    struct tb_deadline moved = *deadline;

    moved.utc_ns += by_ns;
    moved.boot_ns += by_ns;
    return moved;
}

int64_t
tb_deadline_left_ns(const struct tb_deadline *deadline)
{
    if (tb_deadline_is_of_this_boot(deadline)) {
        return deadline->boot_ns - tb_clock_boot_ns();
    }
    return deadline->utc_ns - tb_clock_utc_ns();
}

/* The calendar fields of a time; 1970 where there are none (years past the range of `struct
 * tm`). */
static struct tm
calendar(int64_t utc_s)
{
    struct tm tm = {.tm_year = 70, .tm_mday = 1};
    time_t t = (time_t)utc_s;

    (void)gmtime_r(&t, &tm);
    return tm;
}

void
tb_time_format_s(char out[TB_TIME_TEXT_SIZE], int64_t utc_s)
{
    struct tm tm = calendar(utc_s);

    (void)strftime(out, TB_TIME_TEXT_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

void
tb_time_format_ns(char out[TB_TIME_TEXT_SIZE], int64_t utc_ns)
{
    int64_t s = utc_ns / TB_NS_PER_S;
    int64_t ns = utc_ns % TB_NS_PER_S;
    size_t len;

    if (ns < 0) {
        ns += TB_NS_PER_S;
        s -= 1;
    }
    tb_time_format_s(out, s);
    len = strlen(out) - 1; /* the fraction stands before the Z */
    (void)snprintf(out + len, TB_TIME_TEXT_SIZE - len, ".%09dZ", (int)ns);
}

void
tb_time_format_compact(char out[TB_TIME_TEXT_SIZE], int64_t utc_s)
{
    struct tm tm = calendar(utc_s);

    (void)strftime(out, TB_TIME_TEXT_SIZE, "%Y%m%dT%H%M%SZ", &tm);
}

/* Exactly `digits` decimal digits; -1 when there are fewer. */
static int
take_digits(const char **at, int digits)
{
    int value = 0;

    for (int i = 0; i < digits; i++) {
        if (!isdigit((unsigned char)**at)) {
            return -1;
        }
        value = value * 10 + (**at - '0');
        (*at)++;
    }
    return value;
}

static bool
take_char(const char **at, char c)
{
    if (**at != c) {
        return false;
    }
    (*at)++;
    return true;
}

/* timegm, and false where the fields are no real date (31 February). */
static bool
to_utc_s(struct tm *tm, int64_t *out)
{
    struct tm asked = *tm;
    time_t t = timegm(tm);

    /* 60 seconds is a leap second: allowed, and read as the next minute's start. */
    if (tm->tm_mday != asked.tm_mday || tm->tm_mon != asked.tm_mon) {
        if (asked.tm_sec != 60) {
            return false;
        }
    }
    *out = (int64_t)t;
    return true;
}

enum tb_err
tb_time_parse(const char *text, int64_t *out_utc_ns)
{
    struct tm tm = {0};
    const char *at = text;
    int64_t ns = 0;
    int64_t s = 0;
    int offset_min = 0;
    int year;
    int month;

    year = take_digits(&at, 4);
    /* 64 bits of nanoseconds end in April 2262 */
    if (year < 1970 || year > 2261 || !take_char(&at, '-')) {
        return TB_EFORMAT;
    }
    month = take_digits(&at, 2);
    if (month < 1 || month > 12 || !take_char(&at, '-')) {
        return TB_EFORMAT;
    }
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_mday = take_digits(&at, 2);
    if (tm.tm_mday < 1 || tm.tm_mday > 31 || (*at != 'T' && *at != 't' && *at != ' ')) {
        return TB_EFORMAT;
    }
    at++;
    tm.tm_hour = take_digits(&at, 2);
    if (tm.tm_hour < 0 || tm.tm_hour > 23 || !take_char(&at, ':')) {
        return TB_EFORMAT;
    }
    tm.tm_min = take_digits(&at, 2);
    if (tm.tm_min < 0 || tm.tm_min > 59 || !take_char(&at, ':')) {
        return TB_EFORMAT;
    }
    tm.tm_sec = take_digits(&at, 2);
    if (tm.tm_sec < 0 || tm.tm_sec > 60) {
        return TB_EFORMAT;
    }
    if (take_char(&at, '.')) {
        int64_t scale = TB_NS_PER_S / 10;

        if (!isdigit((unsigned char)*at)) {
            return TB_EFORMAT;
        }
        for (; isdigit((unsigned char)*at); at++) {
            ns += (*at - '0') * scale; /* digits past the ninth count nothing */
            scale /= 10;
        }
    }
    if (*at == '+' || *at == '-') {
        int sign = *at == '-' ? -1 : 1;
        int hours;
        int minutes;

        at++;
        hours = take_digits(&at, 2);
        if (hours < 0 || hours > 23 || !take_char(&at, ':')) {
            return TB_EFORMAT;
        }
        minutes = take_digits(&at, 2);
        if (minutes < 0 || minutes > 59) {
            return TB_EFORMAT;
        }
        offset_min = sign * (hours * 60 + minutes);
    } else if (*at == 'Z' || *at == 'z') {
        at++;
    } else {
        return TB_EFORMAT;
    }
    if (*at != 0 || !to_utc_s(&tm, &s)) {
        return TB_EFORMAT;
    }
    *out_utc_ns = (s - (int64_t)offset_min * 60) * TB_NS_PER_S + ns;
    return TB_OK;
}

enum tb_err
tb_time_parse_http(const char *text, int64_t *out_utc_s)
{
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm tm = {0};
    const char *at = strchr(text, ',');
    int month;

    /* The day's name is not looked at: the date decides. */
    if (at == NULL || at - text != 3 || at[1] != ' ') {
        return TB_EFORMAT;
    }
    at += 2;
    tm.tm_mday = take_digits(&at, 2);
    if (tm.tm_mday < 1 || tm.tm_mday > 31 || !take_char(&at, ' ')) {
        return TB_EFORMAT;
    }
    for (month = 0; month < 12; month++) {
        if (strncmp(at, months[month], 3) == 0) {
            break;
        }
    }
    if (month == 12) {
        return TB_EFORMAT;
    }
    at += 3;
    tm.tm_mon = month;
    if (!take_char(&at, ' ')) {
        return TB_EFORMAT;
    }
    tm.tm_year = take_digits(&at, 4) - 1900;
    if (tm.tm_year < 70 || !take_char(&at, ' ')) {
        return TB_EFORMAT;
    }
    tm.tm_hour = take_digits(&at, 2);
    if (tm.tm_hour < 0 || tm.tm_hour > 23 || !take_char(&at, ':')) {
        return TB_EFORMAT;
    }
    tm.tm_min = take_digits(&at, 2);
    if (tm.tm_min < 0 || tm.tm_min > 59 || !take_char(&at, ':')) {
        return TB_EFORMAT;
    }
    tm.tm_sec = take_digits(&at, 2);
    if (tm.tm_sec < 0 || tm.tm_sec > 60 || strcmp(at, " GMT") != 0) {
        return TB_EFORMAT;
    }
    return to_utc_s(&tm, out_utc_s) ? TB_OK : TB_EFORMAT;
}

enum tb_err
tb_duration_parse(const char *text, int64_t *out_ns)
{
    static const struct {
        const char *unit;
        int64_t ns;
    } units[] = {{"", TB_NS_PER_S},         {"ms", TB_NS_PER_MS},
                 {"s", TB_NS_PER_S},        {"m", 60 * TB_NS_PER_S},
                 {"h", 3600 * TB_NS_PER_S}, {"d", 24 * 3600 * TB_NS_PER_S}};
    char *end = NULL;
    unsigned long value;

    if (!isdigit((unsigned char)text[0])) {
        return TB_EFORMAT;
    }
    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno != 0 || value == 0) {
        return TB_EFORMAT;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) == 0) {
            if (value > (unsigned long)(INT64_MAX / units[i].ns)) {
                return TB_EFORMAT;
            }
            *out_ns = (int64_t)value * units[i].ns;
            return TB_OK;
        }
    }
    return TB_EFORMAT;
}
