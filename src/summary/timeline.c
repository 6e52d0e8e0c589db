/*
 * Packets and octets per interval, in a fixed number of bins.  Intervals are counted from the
 * first packet that was read, as tshark's io,stat does; when the bins do not reach, each two
 * become one.
 */
#include "summary_int.h"

static const int64_t ns_per_us = 1000;
static const int64_t us_per_s = 1000000;

void
summary_timeline_init(struct summary_timeline *timeline)
{
    memset(timeline, 0, sizeof(*timeline));
    timeline->interval_s = 1;
}

/* Rounded towards minus infinity. */
static int64_t
divide(int64_t value, int64_t by)
{
    int64_t q = value / by;

    return value % by < 0 ? q - 1 : q;
}

static void
coarsen(struct summary_timeline *timeline)
{
    int64_t low = divide(timeline->low, 2);
    size_t count = 0;

    for (size_t i = 0; i < timeline->count; i++) {
        size_t to = (size_t)(divide(timeline->low + (int64_t)i, 2) - low);
        struct summary_bin bin = timeline->bins[i];

        if (to >= count) {
            timeline->bins[to] = (struct summary_bin){0, 0};
            count = to + 1;
        }
        timeline->bins[to].packets += bin.packets;
        timeline->bins[to].bytes += bin.bytes;
    }
    timeline->low = low;
    timeline->count = count;
    timeline->interval_s *= 2;
}

void
summary_timeline_add(struct summary_timeline *timeline, int64_t utc_ns, uint64_t bytes)
{
    int64_t since_ns, us, number, low, high;

    if (!timeline->has_origin) {
        timeline->has_origin = true;
        timeline->origin_utc_ns = utc_ns;
    }
    /* to the nearest microsecond, as tshark takes it */
    if (__builtin_sub_overflow(utc_ns, timeline->origin_utc_ns, &since_ns)) {
        since_ns = utc_ns < 0 ? INT64_MIN : INT64_MAX;
    }
    since_ns = since_ns < INT64_MAX - ns_per_us ? since_ns : INT64_MAX - ns_per_us;
    us = divide(since_ns + ns_per_us / 2, ns_per_us);
    for (;;) {
        number = divide(us, timeline->interval_s * us_per_s);
        low = timeline->count == 0 || number < timeline->low ? number : timeline->low;
        high = timeline->low + (int64_t)timeline->count - 1;
        high = timeline->count == 0 || number > high ? number : high;
        if (high - low < TIMELINE_MAX) {
            break;
        }
        coarsen(timeline);
    }
    if (timeline->count > 0 && low < timeline->low) {
        size_t by = (size_t)(timeline->low - low);

        memmove(timeline->bins + by, timeline->bins, timeline->count * sizeof(*timeline->bins));
        memset(timeline->bins, 0, by * sizeof(*timeline->bins));
        timeline->count += by;
    }
    timeline->low = low;
    while ((int64_t)timeline->count <= high - low) {
        timeline->bins[timeline->count++] = (struct summary_bin){0, 0};
    }
    timeline->bins[number - low].packets++;
    timeline->bins[number - low].bytes += bytes;
}
