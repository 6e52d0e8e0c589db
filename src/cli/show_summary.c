/* A capture's summary on a terminal. */
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "api_int.h"
#include "report_int.h"

enum {
    LABEL_COLUMNS = 13, /* "  timeline   " */
    COLUMNS_IF_UNKNOWN = 80,
    MIN_COLUMNS = 40,
    MAX_COLUMNS = 512,
    TOP_ROWS = 5,
    TEXT_SIZE = 300,
    LEVELS = 8
};

size_t
tb_show_columns(bool *out_is_unicode)
{
    struct winsize size;

    *out_is_unicode = false;
    if (!isatty(STDOUT_FILENO)) {
        return COLUMNS_IF_UNKNOWN;
    }
    *out_is_unicode =
        setlocale(LC_CTYPE, "") != NULL && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < MIN_COLUMNS) {
        return size.ws_col == 0 ? COLUMNS_IF_UNKNOWN : MIN_COLUMNS;
    }
    return size.ws_col < MAX_COLUMNS ? size.ws_col : MAX_COLUMNS;
}

size_t
tb_timeline_columns(const struct tb_json *timeline, const char *member, size_t width,
                    int64_t *out, size_t *out_each)
{
    char pointer[16];
    const struct tb_json *list;
    size_t count, each, columns = 0;

    (void)snprintf(pointer, sizeof(pointer), "/%s", member);
    list = tb_json_at(timeline, pointer);
    count = tb_json_is_array(list) ? tb_json_count(list) : 0;
    each = width == 0 ? 1 : (count + width - 1) / width;
    each = each == 0 ? 1 : each;
    for (size_t i = 0; i < count && columns <= width; i++) {
        int64_t value = tb_show_number(tb_json_item(list, i), "");

        if (i % each == 0) {
            out[columns++] = 0;
        }
        if (value > 0 && out[columns - 1] <= INT64_MAX - value) {
            out[columns - 1] += value;
        }
    }
    *out_each = each;
    return columns;
}

/* "13:04:05" of a time, UTC. */
static void
clock_of(const struct tb_json *node, const char *pointer, char out[16])
{
    const char *text = tb_json_str(node, pointer);

    (void)snprintf(out, 16, "%.8s",
                   text != NULL && strlen(text) > 19 && text[10] == 'T' ? text + 11 : "-");
    for (size_t i = 0; out[i] != '\0'; i++) {
        if (strchr("0123456789:-", out[i]) == NULL) {
            out[i] = '?';
        }
    }
}

static void
put_timeline(const struct tb_json *summary, size_t columns, bool is_unicode, struct tb_buf *out)
{
    static const char *const blocks[LEVELS + 1] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const letters[LEVELS + 1] = {" ", ".", ":", "-", "=",
                                                    "+", "*", "#", "@"};
    const struct tb_json *timeline = tb_json_at(summary, "/timeline");
    int64_t values[MAX_COLUMNS + 1], most = 0;
    int64_t interval = tb_show_number(timeline, "/interval_seconds");
    size_t each = 1;
    size_t count =
        tb_timeline_columns(timeline, "bytes", columns - LABEL_COLUMNS, values, &each);
    char first[16], last[16], seconds[32], bytes[32];
    int64_t column_s;

    if (count == 0 || interval <= 0 || interval > INT32_MAX) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        most = values[i] > most ? values[i] : most;
    }
    tb_buf_put_str(out, "  timeline   ");
    for (size_t i = 0; i < count; i++) {
        /* the least of something is not nothing */
        size_t level = values[i] == 0 || most == 0
                           ? 0
                           : 1 + (size_t)((double)(values[i] - 1) / (double)most * LEVELS);

        level = level > LEVELS ? LEVELS : level;
        tb_buf_put_str(out, is_unicode ? blocks[level] : letters[level]);
    }
    column_s = interval * (int64_t)each;
    clock_of(summary, "/first", first);
    clock_of(summary, "/last", last);
    tb_show_seconds(seconds, sizeof(seconds), column_s);
    tb_show_bytes(bytes, sizeof(bytes), most / column_s);
    tb_buf_printf(out, "\n             %s to %s UTC, %s a column, at most %s/s\n", first, last,
                  seconds, bytes);
}

static void
put_sightings(const struct tb_json *seen, struct tb_buf *out)
{
    for (size_t i = 0; i < tb_json_count(seen); i++) {
        const struct tb_json *one = tb_json_item(seen, i);
        char kind[20], value[TEXT_SIZE], bytes[32], first[16], last[16];
        int64_t port = tb_show_number(one, "/port");
        bool is_seen = false;

        (void)tb_json_bool(one, "/seen", &is_seen);
        tb_buf_printf(out, "  %-10s %s", is_seen ? "SEEN" : "not seen",
                      tb_show_text(one, "/kind", kind, sizeof(kind)));
        if (tb_json_str(one, "/value") != NULL) {
            tb_buf_printf(out, " %s", tb_show_text(one, "/value", value, sizeof(value)));
        }
        if (port > 0) {
            tb_buf_printf(out, " port %lld", (long long)port);
        }
        if (is_seen) {
            clock_of(one, "/first", first);
            clock_of(one, "/last", last);
            tb_show_bytes(bytes, sizeof(bytes), tb_show_number(one, "/bytes"));
            tb_buf_printf(out, ": %lld packets (%s), %s to %s UTC",
                          (long long)tb_show_number(one, "/packets"), bytes, first, last);
            if (tb_show_number(one, "/names") > 0) {
                tb_buf_printf(out, ", named %lld times",
                              (long long)tb_show_number(one, "/names"));
            }
            if (port > 0 && strcmp(kind, "ip") == 0) {
                tb_buf_printf(out, ", %lld of them on that port",
                              (long long)tb_show_number(one, "/on_port"));
            }
        }
        tb_buf_put_str(out, "\n");
    }
}

static void
put_talks(const struct tb_json *summary, const char *protocol, struct tb_buf *out)
{
    char pointer[32];
    const struct tb_json *rows;

    (void)snprintf(pointer, sizeof(pointer), "/%s/rows", protocol);
    rows = tb_json_at(summary, pointer);
    for (size_t i = 0; i < tb_json_count(rows) && i < TOP_ROWS; i++) {
        const struct tb_json *one = tb_json_item(rows, i);
        char a[60], b[60], there[32], back[32];

        tb_show_bytes(there, sizeof(there), tb_show_number(one, "/bytes_a_to_b"));
        tb_show_bytes(back, sizeof(back), tb_show_number(one, "/bytes_b_to_a"));
        tb_buf_printf(out, "  %-10s %s %lld > %s %lld  %s there, %s back\n",
                      i == 0 ? protocol : "", tb_show_text(one, "/a", a, sizeof(a)),
                      (long long)tb_show_number(one, "/a_port"),
                      tb_show_text(one, "/b", b, sizeof(b)),
                      (long long)tb_show_number(one, "/b_port"), there, back);
    }
}

static void
put_names(const struct tb_json *summary, const char *kind, const char *label,
          const char *counted, struct tb_buf *out)
{
    char pointer[32];
    const struct tb_json *rows;

    (void)snprintf(pointer, sizeof(pointer), "/%s/rows", kind);
    rows = tb_json_at(summary, pointer);
    for (size_t i = 0; i < tb_json_count(rows) && i < TOP_ROWS; i++) {
        char name[TEXT_SIZE];

        tb_buf_printf(out, "  %-10s %s  %lld times\n", i == 0 ? label : "",
                      tb_show_text(tb_json_item(rows, i), "/name", name, sizeof(name)),
                      (long long)tb_show_number(tb_json_item(rows, i), counted));
    }
}

void
tb_show_summary(const struct tb_json *summary, size_t columns, bool is_unicode,
                struct tb_buf *out)
{
    int64_t missed = tb_show_number(summary, "/not_read/segments");

    put_sightings(tb_json_at(summary, "/ioc_seen"), out);
    put_timeline(summary, columns, is_unicode, out);
    put_talks(summary, "tcp", out);
    put_talks(summary, "udp", out);
    put_names(summary, "dns", "asked for", "/queries", out);
    put_names(summary, "tls", "TLS to", "/times", out);
    if (missed > 0) {
        tb_buf_printf(out, "  NOT READ   %lld segments: their packets are in no number above\n",
                      (long long)missed);
    }
}
