/* The memory of counters: made and sealed here, read by both sides. */
#include "shared_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tapbox/io.h>

enum {
    TRIES = 1000, /* a place changes hands in less than a microsecond */
    LAYOUT_VERSION = 1
};

/* Another build's memory is not read. */
static const uint64_t layout = (uint64_t)LAYOUT_VERSION << 48 | sizeof(struct tb_shared);

_Static_assert(TB_CAPTURE_ID_SIZE % sizeof(uint64_t) == 0, "an id is whole words");

/* --- making it --- */

enum tb_err
tb_shared_new(uint32_t lane_count, struct tb_shared **out, int *out_fd, struct tb_fail *fail)
{
    static const unsigned seals =
        F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE;
    int fd = memfd_create("tapbox-counters", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct tb_shared *shared;
    enum tb_err err;

    if (fd < 0) {
        return tb_fail_errno(fail, errno, "cannot make the memory of counters");
    }
    if (ftruncate(fd, sizeof(*shared)) != 0) {
        err = tb_fail_errno(fail, errno, "cannot size the memory of counters");
        tb_close(&fd);
        return err;
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) {
        err = tb_fail_errno(fail, errno, "cannot map the memory of counters");
        tb_close(&fd);
        return err;
    }
    if (fcntl(fd, F_ADD_SEALS, seals) != 0) {
        err = tb_fail_errno(fail, errno, "cannot seal the memory of counters");
        (void)munmap(shared, sizeof(*shared));
        tb_close(&fd);
        return err;
    }
    shared->layout = layout;
    shared->started_utc_ns = tb_clock_utc_ns();
    shared->pid = getpid();
    shared->lane_count = lane_count;
    tb_shared_alive(shared);
    *out = shared;
    *out_fd = fd;
    return TB_OK;
}

void
tb_shared_free(struct tb_shared *shared)
{
    if (shared != NULL) {
        (void)munmap(shared, sizeof(*shared));
    }
}

void
tb_shared_alive(struct tb_shared *shared)
{
    atomic_store(&shared->alive_utc_ns, tb_clock_utc_ns());
    atomic_store(&shared->alive_boot_ns, tb_clock_boot_ns());
}

static void
copy_stream(struct tb_shared_stream *to, const struct tb_shared_stream *from)
{
    struct tb_ledger ledger;

    tb_counters_read(&from->counters, &ledger);
    tb_counters_set(&to->counters, &ledger);
    atomic_store(&to->first_utc_ns, atomic_load(&from->first_utc_ns));
    atomic_store(&to->last_utc_ns, atomic_load(&from->last_utc_ns));
    atomic_store(&to->state, atomic_load(&from->state));
    atomic_store(&to->segments, atomic_load(&from->segments));
    atomic_store(&to->level, atomic_load(&from->level));
    atomic_store(&to->level_changes, atomic_load(&from->level_changes));
}

void
tb_shared_set(struct tb_shared_capture *place, const char *capture_id,
              const struct tb_shared_capture *values)
{
    static const struct tb_shared_capture nobody;
    uint64_t words[TB_CAPTURE_ID_SIZE / sizeof(uint64_t)] = {0};
    struct tb_ledger base;

    if (capture_id == NULL) {
        values = &nobody;
    } else {
        memcpy(words, capture_id, strnlen(capture_id, TB_CAPTURE_ID_SIZE - 1));
    }
    atomic_fetch_add(&place->turn, 1);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        atomic_store(&place->id[i], words[i]);
    }
    atomic_store(&place->stop_asked, atomic_load(&values->stop_asked));
    atomic_store(&place->budget_spent, atomic_load(&values->budget_spent));
    atomic_store(&place->gap_from_utc_ns, atomic_load(&values->gap_from_utc_ns));
    atomic_store(&place->gap_to_utc_ns, atomic_load(&values->gap_to_utc_ns));
    tb_counters_read(&values->base, &base);
    tb_counters_set(&place->base, &base);
    for (size_t i = 0; i < TB_LANES_MAX; i++) {
        copy_stream(&place->lanes[i], &values->lanes[i]);
    }
    atomic_store(&place->lane_count, atomic_load(&values->lane_count));
    atomic_fetch_add(&place->turn, 1);
}

struct tb_shared_capture *
tb_shared_free_place(struct tb_shared *shared)
{
    for (size_t i = 0; i < TB_SHARED_CAPTURES; i++) {
        if (atomic_load(&shared->captures[i].lane_count) == 0) {
            return &shared->captures[i];
        }
    }
    return NULL;
}

void
tb_shared_retire(struct tb_shared *shared, struct tb_shared_capture *place)
{
    struct tb_record_status status;
    struct tb_ledger base;
    struct tb_ledger retired;

    tb_shared_status(place, &status);
    tb_counters_read(&place->base, &base);
    tb_counters_read(&shared->retired, &retired);
    tb_host_add_capture(&retired, &status.ledger, &base);
    atomic_fetch_add(&shared->turn, 1);
    tb_counters_set(&shared->retired, &retired);
    tb_shared_set(place, NULL, NULL);
    atomic_fetch_add(&shared->turn, 1);
}

/* --- reading it --- */

void
tb_shared_status(const struct tb_shared_capture *place, struct tb_record_status *out)
{
    struct tb_record_status status = {.state = TB_RECORD_ARMED};
    uint32_t lanes = atomic_load(&place->lane_count);
    uint8_t spent = atomic_load(&place->budget_spent);
    bool stopped = atomic_load(&place->stop_asked);
    bool closed = true;

    if (lanes > TB_LANES_MAX) {
        lanes = TB_LANES_MAX;
    }
    /* The state first: what is read afterwards can only be more complete than it says. */
    for (uint32_t i = 0; i < lanes; i++) {
        uint32_t state = atomic_load(&place->lanes[i].state);

        stopped = stopped || state != TB_STREAM_OPEN;
        closed = closed && state == TB_STREAM_CLOSED;
    }
    if (lanes == 0) {
        status.state = TB_RECORD_ABSENT;
    } else if (closed) {
        status.state = TB_RECORD_CLOSED;
    } else if (stopped) {
        status.state = TB_RECORD_CLOSING;
    }
    for (uint32_t i = 0; i < lanes; i++) {
        const struct tb_shared_stream *stream = &place->lanes[i];
        int64_t first = atomic_load(&stream->first_utc_ns);
        int64_t last = atomic_load(&stream->last_utc_ns);
        int32_t level = atomic_load(&stream->level);
        struct tb_ledger ledger;

        tb_counters_read(&stream->counters, &ledger);
        tb_ledger_add(&status.ledger, &ledger);
        status.segments += atomic_load(&stream->segments);
        status.level_changes += atomic_load(&stream->level_changes);
        if (level != 0 && (status.level == 0 || level < status.level)) {
            status.level = level;
        }
        if (first != 0 && (status.first_utc_ns == 0 || first < status.first_utc_ns)) {
            status.first_utc_ns = first;
        }
        if (last > status.last_utc_ns) {
            status.last_utc_ns = last;
        }
    }
    status.budget_spent =
        spent <= TB_BUDGET_PACKETS ? (enum tb_record_budget)spent : TB_BUDGET_NONE;
    status.gap_from_utc_ns = atomic_load(&place->gap_from_utc_ns);
    status.gap_to_utc_ns = atomic_load(&place->gap_to_utc_ns);
    *out = status;
}

void
tb_host_add_capture(struct tb_ledger *host, const struct tb_ledger *capture,
                    const struct tb_ledger *base)
{
    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        if (i != TB_COUNT_RECEIVED) {
            tb_ledger_set(host, i,
                          tb_ledger_get(host, i) + tb_ledger_get(capture, i) -
                              tb_ledger_get(base, i));
        }
    }
}

/* One look; false when the memory changed under it. */
static bool
look_at_host(const struct tb_shared *shared, struct tb_recorder_host *out)
{
    struct tb_recorder_host host = {.started_utc_ns = shared->started_utc_ns,
                                    .pid = shared->pid};
    uint32_t turn = atomic_load(&shared->turn);
    struct tb_ledger lane;

    tb_counters_read(&shared->retired, &host.ledger);
    for (uint32_t i = 0; i < TB_LANES_MAX; i++) {
        tb_counters_read(&shared->lanes[i].counters, &lane);
        tb_ledger_add(&host.ledger, &lane);
    }
    for (size_t i = 0; i < TB_SHARED_CAPTURES; i++) {
        const struct tb_shared_capture *place = &shared->captures[i];
        uint32_t place_turn = atomic_load(&place->turn);
        struct tb_record_status status;
        struct tb_ledger base;

        if ((place_turn & 1) == 0 && atomic_load(&place->lane_count) == 0) {
            continue;
        }
        tb_shared_status(place, &status);
        tb_counters_read(&place->base, &base);
        if ((place_turn & 1) != 0 || atomic_load(&place->turn) != place_turn) {
            return false;
        }
        tb_host_add_capture(&host.ledger, &status.ledger, &base);
        host.armed += status.state == TB_RECORD_ARMED;
    }
    *out = host;
    return (turn & 1) == 0 && atomic_load(&shared->turn) == turn;
}

bool
tb_shared_host(const struct tb_shared *shared, struct tb_recorder_host *out)
{
    for (int i = 0; i < TRIES; i++) {
        if (look_at_host(shared, out)) {
            return true;
        }
    }
    return false;
}

static bool
is_of(const struct tb_shared_capture *place, const uint64_t *words)
{
    for (size_t i = 0; i < TB_CAPTURE_ID_SIZE / sizeof(uint64_t); i++) {
        if (atomic_load(&place->id[i]) != words[i]) {
            return false;
        }
    }
    return true;
}

/* A capture that was closed and is armed again has two places for a moment: the live one. */
static bool
look_for(const struct tb_shared *shared, const uint64_t *words, struct tb_record_status *out)
{
    struct tb_record_status found = {.state = TB_RECORD_ABSENT};

    for (size_t i = 0; i < TB_SHARED_CAPTURES; i++) {
        const struct tb_shared_capture *place = &shared->captures[i];
        uint32_t turn = atomic_load(&place->turn);
        struct tb_record_status status;

        if ((turn & 1) != 0) {
            return false;
        }
        if (atomic_load(&place->lane_count) == 0 || !is_of(place, words)) {
            continue;
        }
        tb_shared_status(place, &status);
        if (atomic_load(&place->turn) != turn) {
            return false;
        }
        if (found.state == TB_RECORD_ABSENT || found.state == TB_RECORD_CLOSED) {
            found = status;
        }
    }
    *out = found;
    return true;
}

bool
tb_shared_find(const struct tb_shared *shared, const char *capture_id,
               struct tb_record_status *out)
{
    uint64_t words[TB_CAPTURE_ID_SIZE / sizeof(uint64_t)] = {0};

    memcpy(words, capture_id, strnlen(capture_id, TB_CAPTURE_ID_SIZE - 1));
    for (int i = 0; i < TRIES; i++) {
        if (look_for(shared, words, out)) {
            return true;
        }
    }
    return false;
}

/* --- serve's side --- */

enum tb_err
tb_shared_map(int fd, const struct tb_shared **out, struct tb_fail *fail)
{
    const struct tb_shared *shared;
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);

    /* Without the seals its other owner could shrink it, and reading would end us. */
    if (fstat(fd, &st) != 0 || st.st_size != (off_t)sizeof(*shared) || seals < 0 ||
        (seals & F_SEAL_SHRINK) == 0) {
        return tb_fail_set(fail, TB_EFORMAT, "the recorder's counters are another version's");
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) {
        return tb_fail_errno(fail, errno, "cannot map the recorder's counters");
    }
    if (shared->layout != layout) {
        tb_shared_unmap(shared);
        return tb_fail_set(fail, TB_EFORMAT, "the recorder's counters are another version's");
    }
    *out = shared;
    return TB_OK;
}

void
tb_shared_unmap(const struct tb_shared *shared)
{
    if (shared != NULL) {
        (void)munmap((void *)(uintptr_t)shared, sizeof(*shared));
    }
}
