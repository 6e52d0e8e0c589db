/* Text of strangers as text in HTML, and the timeline as a picture. */
#include <stdio.h>
#include <string.h>

#include "api_int.h"
#include "report_int.h"

enum {
    PLOT_COLUMNS = 360,
    PLOT_WIDTH = 1080, /* 3 units a column */
    PLOT_HEIGHT = 90,  /* of each of the two */
    PLOT_GAP = 26
};

/* The code point at *text, stepped over; 0xfffd where it is no UTF-8. */
static uint32_t
next_point(const unsigned char **text)
{
    const unsigned char *p = *text;
    uint32_t point = p[0];
    int more = point < 0x80    ? 0
               : point >= 0xf0 ? 3
               : point >= 0xe0 ? 2
               : point >= 0xc0 ? 1
                               : -1;

    if (more > 0) {
        point &= 0x3fu >> more;
    }
    (*text)++;
    for (int i = 0; i < more; i++) {
        if ((**text & 0xc0) != 0x80) {
            return 0xfffd;
        }
        point = point << 6 | (**text & 0x3f);
        (*text)++;
    }
    return more < 0 || point > 0x10ffff ? 0xfffd : point;
}

/* Controls, what has no width, and what turns the direction of reading. */
static bool
is_steering(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0xad || point == 0x61c ||
           point == 0x34f || point == 0x180e || (point >= 0x200b && point <= 0x200f) ||
           (point >= 0x2028 && point <= 0x202e) || (point >= 0x2060 && point <= 0x206f) ||
           (point >= 0xfe00 && point <= 0xfe0f) || point == 0xfeff ||
           (point >= 0xfff0 && point <= 0xfffd) || (point >= 0xe0000 && point <= 0xe0fff) ||
           (point >= 0xd800 && point <= 0xdfff);
}

void
tb_report_put_text(struct tb_buf *out, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    while (*at != '\0') {
        const unsigned char *from = at;
        uint32_t point = next_point(&at);

        if (is_steering(point)) {
            tb_buf_printf(out, "[U+%04X]", point);
        } else if (point < 0x80 && strchr("&<>\"'`=", (int)point) != NULL) {
            tb_buf_printf(out, "&#%u;", point);
        } else {
            tb_buf_put(out, from, (size_t)(at - from));
        }
    }
}

static void
put_bars(struct tb_buf *out, const struct tb_json *timeline, const char *member, int top)
{
    int64_t values[PLOT_COLUMNS + 1], most = 0;
    size_t each = 1;
    size_t count = tb_timeline_columns(timeline, member, PLOT_COLUMNS, values, &each);
    int64_t seconds = tb_show_number(timeline, "/interval_seconds") * (int64_t)each;
    char rate[32];
    double width;

    for (size_t i = 0; i < count; i++) {
        most = values[i] > most ? values[i] : most;
    }
    seconds = seconds > 0 ? seconds : 1;
    width = (double)PLOT_WIDTH / (double)(count > 0 ? count : 1);
    if (strcmp(member, "bytes") == 0) {
        tb_show_bytes(rate, sizeof(rate), most / seconds);
    } else {
        (void)snprintf(rate, sizeof(rate), "%.1f packets", (double)most / (double)seconds);
    }
    tb_buf_printf(out, "<text x=\"0\" y=\"%d\">%s/s at most</text><g class=\"%s\">", top - 8,
                  rate, member);
    for (size_t i = 0; i < count; i++) {
        double height = most > 0 ? (double)values[i] / (double)most * PLOT_HEIGHT : 0;

        if (values[i] > 0) {
            height = height < 1 ? 1 : height;
            tb_buf_printf(out,
                          "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\">"
                          "<title>%lld s after the start: %lld %s in %lld s</title></rect>",
                          (double)i * width, (double)top + PLOT_HEIGHT - height,
                          width > 2 ? width - 0.6 : width, height,
                          (long long)i * (long long)seconds, (long long)values[i], member,
                          (long long)seconds);
        }
    }
    tb_buf_printf(out, "</g><line x1=\"0\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>", top + PLOT_HEIGHT,
                  PLOT_WIDTH, top + PLOT_HEIGHT);
}

void
tb_report_put_timeline(struct tb_buf *out, const struct tb_json *timeline)
{
    int64_t intervals = (int64_t)tb_json_count(tb_json_at(timeline, "/bytes"));
    int64_t interval = tb_show_number(timeline, "/interval_seconds");
    const char *start = tb_json_str(timeline, "/start");
    char length[32];

    tb_buf_printf(out,
                  "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Octets and packets per "
                  "second over time\">",
                  PLOT_WIDTH, 2 * (PLOT_HEIGHT + PLOT_GAP) + 24);
    put_bars(out, timeline, "bytes", PLOT_GAP);
    put_bars(out, timeline, "packets", 2 * PLOT_GAP + PLOT_HEIGHT);
    tb_show_seconds(length, sizeof(length),
                    interval > 0 && interval < INT32_MAX ? intervals * interval : 0);
    tb_buf_printf(out, "<text x=\"0\" y=\"%d\">", 2 * (PLOT_HEIGHT + PLOT_GAP) + 18);
    tb_report_put_text(out, start != NULL ? start : "");
    tb_buf_printf(out, "</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">+ %s</text></svg>\n",
                  PLOT_WIDTH, 2 * (PLOT_HEIGHT + PLOT_GAP) + 18, length);
}
