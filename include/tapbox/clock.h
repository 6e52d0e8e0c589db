/*
 * Time.  UTC for what people and AWS read, CLOCK_BOOTTIME for deadlines (it goes on during
 * suspend and is not moved by anybody), together with the boot id, so that a stored deadline
 * can be judged after a reboot.
 *
 * Units: *_utc_ns and *_boot_ns are nanoseconds; *_utc_s seconds since 1970-01-01.
 * Threads: any.  The test clock is set by one thread before others start.
 */
#ifndef TAPBOX_CLOCK_H
#define TAPBOX_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include <tapbox/err.h>

#define TB_NS_PER_S INT64_C(1000000000)
#define TB_NS_PER_MS INT64_C(1000000)

enum {
    TB_BOOT_ID_SIZE = 37,
    TB_TIME_TEXT_SIZE = 32
};

int64_t tb_clock_utc_ns(void);
int64_t tb_clock_boot_ns(void);

/* The kernel's boot id (36 characters); "" where /proc has none.  Static storage. */
const char *tb_clock_boot_id(void);

/* What the kernel knows of its own clock (adjtimex(2)). */
struct tb_clock_state {
    bool synchronised;
    int64_t offset_ns;    /* last measured, against the source it is kept by */
    int64_t max_error_ns; /* the bound that goes with it */
    const char *source; /* who keeps it: "chrony", "systemd-timesyncd", "ntpd", as far as their
                           files in /run tell; "kernel" else.  Static */
};
/* False where the kernel does not tell. */
bool tb_clock_state_get(struct tb_clock_state *out);

/* A deadline in all three forms (DESIGN section 5). */
struct tb_deadline {
    int64_t utc_ns;
    int64_t boot_ns;               /* means something only while the boot id is the same */
    char boot_id[TB_BOOT_ID_SIZE]; /* of the boot that `boot_ns` counts from */
};

struct tb_deadline tb_deadline_in(int64_t ns_from_now);
/* Whether `boot_ns` means something now.  A boot without an id is never known to be the same.
 */
bool tb_deadline_is_of_this_boot(const struct tb_deadline *deadline);
/* Nanoseconds left, negative when past: by CLOCK_BOOTTIME in the same boot, else by UTC. */
int64_t tb_deadline_left_ns(const struct tb_deadline *deadline);
/* The same deadline `by_ns` later (or earlier): no clock is read. */
struct tb_deadline tb_deadline_moved(const struct tb_deadline *deadline, int64_t by_ns);

/* "2026-01-02T03:04:05Z", and with ".123456789" before the Z in the second form. */
void tb_time_format_s(char out[TB_TIME_TEXT_SIZE], int64_t utc_s);
void tb_time_format_ns(char out[TB_TIME_TEXT_SIZE], int64_t utc_ns);
/* "20260102T030405Z" (SigV4, ids) */
void tb_time_format_compact(char out[TB_TIME_TEXT_SIZE], int64_t utc_s);
/* RFC 3339 with optional fraction and Z or offset. */
TB_NODISCARD enum tb_err tb_time_parse(const char *text, int64_t *out_utc_ns);
/* RFC 9110 HTTP-date (IMF-fixdate), as in AWS's Date header. */
TB_NODISCARD enum tb_err tb_time_parse_http(const char *text, int64_t *out_utc_s);
/* "90s", "15m", "2h", "1d", "250ms", or a bare number of seconds; above zero. */
TB_NODISCARD enum tb_err tb_duration_parse(const char *text, int64_t *out_ns);

/* Tests: both clocks stand at these values until moved or until tb_clock_real(). */
void tb_clock_fake(int64_t utc_ns, int64_t boot_ns);
void tb_clock_fake_advance(int64_t ns);
void tb_clock_real(void);

#endif
