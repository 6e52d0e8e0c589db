/* The first octets of a stream that comes in pieces, in any order, each perhaps more than once.
 */
#include "summary_int.h"

#include <assert.h>
#include <stdlib.h>

enum {
    FIRST_ROOM = 4096 /* octets; most hold less */
};

/* Adds a range, joining those that it touches; false when there are too many holes. */
static bool
add_range(struct summary_window *window, struct summary_range one)
{
    size_t kept = 0, at = 0;
    struct summary_range next[SUMMARY_WINDOW_RANGES + 1];

    while (at < window->range_count && window->ranges[at].to < one.from) {
        next[kept++] = window->ranges[at++];
    }
    while (at < window->range_count && window->ranges[at].from <= one.to) {
        one.from = one.from < window->ranges[at].from ? one.from : window->ranges[at].from;
        one.to = one.to > window->ranges[at].to ? one.to : window->ranges[at].to;
        at++;
    }
    next[kept++] = one;
    while (at < window->range_count) {
        next[kept++] = window->ranges[at++];
    }
    if (kept > SUMMARY_WINDOW_RANGES) {
        return false;
    }
    memcpy(window->ranges, next, kept * sizeof(*next));
    window->range_count = kept;
    return true;
}

bool
summary_window_put(struct summary_window *window, size_t at, struct tb_bytes octets)
{
    size_t end;

    if (octets.len == 0 || at >= SUMMARY_WINDOW) {
        return true;
    }
    if (octets.len > SUMMARY_WINDOW - at) {
        octets.len = SUMMARY_WINDOW - at;
    }
    end = at + octets.len;
    if (end > window->room) {
        size_t room = end <= FIRST_ROOM ? FIRST_ROOM : SUMMARY_WINDOW;
        uint8_t *more = realloc(window->octets, room);

        if (more == NULL) {
            return false;
        }
        window->octets = more;
        window->room = room;
    }
    assert(window->octets != NULL); /* `end` is above 0 */
    memcpy(window->octets + at, octets.at, octets.len);
    return add_range(window, (struct summary_range){(uint32_t)at, (uint32_t)end});
}

struct tb_bytes
summary_window_in_order(const struct summary_window *window)
{
    bool any = window->range_count > 0 && window->ranges[0].from == 0;

    return tb_bytes_of(window->octets, any ? window->ranges[0].to : 0);
}

void
summary_window_shift(struct summary_window *window, uint32_t count)
{
    size_t kept = 0;

    memmove(window->octets, window->octets + count, window->room - count);
    for (size_t i = 0; i < window->range_count; i++) {
        struct summary_range one = window->ranges[i];

        if (one.to > count) {
            one.from = one.from > count ? one.from - count : 0;
            one.to -= count;
            window->ranges[kept++] = one;
        }
    }
    window->range_count = kept;
}

void
summary_window_release(struct summary_window *window)
{
    free(window->octets);
    *window = (struct summary_window){.octets = NULL};
}
