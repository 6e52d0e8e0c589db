/* What `tapbox watch` shows, as text. */
#include <stdio.h>

#include <tapbox/clock.h>

#include "api_int.h"
#include "watch_int.h"

enum {
    BAR_COLUMNS = 40,
    SHOWN_TEXT = 300
};

static bool
is_state(const struct tb_json *capture, const char *state)
{
    const char *is = tb_json_str(capture, "/state");

    return is != NULL && strcmp(is, state) == 0;
}

bool
tb_watch_is_sealed(const struct tb_json *capture)
{
    return is_state(capture, "sealed");
}

bool
tb_watch_is_final(const struct tb_json *capture)
{
    return tb_watch_is_sealed(capture) || is_state(capture, "failed") ||
           is_state(capture, "refused");
}

/* Its deadline means nothing any more. */
static bool
has_stopped(const struct tb_json *capture)
{
    return tb_json_str(capture, "/stop_reason") != NULL || tb_watch_is_final(capture);
}

/* Terms of a ledger that are losses: not what was written, nor what a filter left out. */
static bool
is_loss(const char *name)
{
    static const char *const others[] = {"received",      "written",  "filtered", "truncated",
                                         "written_bytes", "residual", NULL};

    for (const char *const *other = others; *other != NULL; other++) {
        if (strcmp(*other, name) == 0) {
            return false;
        }
    }
    return true;
}

static int64_t
losses(const struct tb_json *ledger)
{
    int64_t sum = 0;

    for (size_t i = 0; i < tb_json_count(ledger); i++) {
        const char *name = NULL;
        const struct tb_json *value = tb_json_member(ledger, i, &name);

        sum += is_loss(name) ? tb_show_number(value, "") : 0;
    }
    return sum;
}

/* Sealed segments, and those of them that S3 has. */
static void
count_segments(const struct tb_json *capture, int64_t *out_sealed, int64_t *out_uploaded)
{
    const struct tb_json *segments = tb_json_at(capture, "/segments");
    int64_t sealed = (int64_t)tb_json_count(segments);
    int64_t recorder = tb_show_number(capture, "/live/segments");

    *out_uploaded = 0;
    for (size_t i = 0; i < tb_json_count(segments); i++) {
        *out_uploaded += is_state(tb_json_item(segments, i), "uploaded") ? 1 : 0;
    }
    *out_sealed = recorder > sealed ? recorder : sealed; /* the recorder knows first */
}

/* Columns of a word: octets that continue a character take none. */
static size_t
columns(const char *text, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        n += ((unsigned char)text[i] & 0xc0) != 0x80 ? 1 : 0;
    }
    return n;
}

/* `text` behind `label`, in lines that end before TB_WATCH_COLUMNS and begin below it. */
static void
put_wrapped(const char *label, const char *text, struct tb_buf *out)
{
    size_t indent = columns(label, strlen(label)), at = indent;

    tb_buf_put_str(out, label);
    while (*text != '\0') {
        size_t len = strcspn(text, " "), wide = columns(text, len);

        if (at > indent && at + 1 + wide > TB_WATCH_COLUMNS) {
            tb_buf_printf(out, "\n%*s", (int)indent, "");
            at = indent;
        }
        tb_buf_printf(out, "%s%.*s", at > indent ? " " : "", (int)len, text);
        at += (at > indent ? 1 : 0) + wide;
        text += len + strspn(text + len, " ");
    }
    tb_buf_put_u8(out, '\n');
}

static void
put_left(const struct tb_json *capture, struct tb_buf *out)
{
    char text[32];
    int64_t left, position;

    if (!has_stopped(capture) && tb_json_int(capture, "/seconds_left", &left)) {
        tb_show_seconds(text, sizeof(text), left);
        tb_buf_printf(out, ", %s left", text);
    }
    if (tb_json_int(capture, "/queue_position", &position)) {
        tb_buf_printf(out, ", number %lld in the queue", (long long)position);
    }
}

/* How much of the time box is over. */
static void
put_bar(const struct tb_json *capture, struct tb_buf *out)
{
    const char *recording = tb_json_str(capture, "/recording");
    const char *deadline = tb_json_str(capture, "/deadline");
    int64_t from_ns, to_ns, left, total;
    char text[32];

    if (has_stopped(capture) || recording == NULL || deadline == NULL ||
        tb_time_parse(recording, &from_ns) != TB_OK ||
        tb_time_parse(deadline, &to_ns) != TB_OK || to_ns <= from_ns ||
        !tb_json_int(capture, "/seconds_left", &left)) {
        return;
    }
    total = (to_ns - from_ns + TB_NS_PER_S - 1) / TB_NS_PER_S;
    left = left < total ? left : total;
    tb_buf_put_str(out, "  time       [");
    for (int64_t i = 0; i < BAR_COLUMNS; i++) {
        tb_buf_put_u8(out, i * total < (total - left) * BAR_COLUMNS ? '=' : ' ');
    }
    tb_show_seconds(text, sizeof(text), total);
    tb_buf_printf(out, "] of %s\n", text);
}

static void
put_packets(const struct tb_json *capture, const struct tb_json *before, double seconds,
            struct tb_buf *out)
{
    const struct tb_json *ledger = tb_show_ledger(capture);
    int64_t written = tb_show_number(ledger, "/written");
    int64_t bytes = tb_show_number(ledger, "/written_bytes");
    char text[32];

    tb_show_bytes(text, sizeof(text), bytes);
    tb_buf_printf(out, "  packets    %lld written, %s", (long long)written, text);
    if (before != NULL && seconds > 0) {
        const struct tb_json *old = tb_show_ledger(before);
        double packets = (double)(written - tb_show_number(old, "/written")) / seconds;
        double more = (double)(bytes - tb_show_number(old, "/written_bytes")) / seconds;

        tb_show_bytes(text, sizeof(text), more > 0 ? (int64_t)more : 0);
        tb_buf_printf(out, "; %.0f/s, %s/s", packets > 0 ? packets : 0, text);
    }
    tb_buf_put_u8(out, '\n');
}

static void
put_losses(const struct tb_json *ledger, struct tb_buf *out)
{
    bool any = false;

    tb_buf_put_str(out, "  dropped    ");
    for (size_t i = 0; i < tb_json_count(ledger); i++) {
        const char *name = NULL;
        const struct tb_json *value = tb_json_member(ledger, i, &name);

        if (is_loss(name) && tb_show_number(value, "") != 0) {
            tb_buf_printf(out, "%s%lld %s", any ? ", " : "",
                          (long long)tb_show_number(value, ""), name);
            any = true;
        }
    }
    tb_buf_put_str(out, any ? "\n" : "none\n");
    if (tb_show_number(ledger, "/filtered") != 0) {
        tb_buf_printf(out, "  left out   %lld by the filter\n",
                      (long long)tb_show_number(ledger, "/filtered"));
    }
}

static void
put_checklist(const struct tb_json *checklist, struct tb_buf *out)
{
    if (tb_json_count(checklist) > 0) {
        tb_buf_put_str(out, "  NO TRAFFIC: not one packet so far.  Look at:\n");
    }
    for (size_t i = 0; i < tb_json_count(checklist); i++) {
        char label[32], line[SHOWN_TEXT];

        (void)snprintf(label, sizeof(label), "    %zu. ", i + 1);
        put_wrapped(label, tb_show_text(tb_json_item(checklist, i), "", line, sizeof(line)),
                    out);
    }
}

void
tb_watch_page(const struct tb_json *capture, const struct tb_json *before, double seconds,
              struct tb_buf *out)
{
    char id[40], state[20], text[SHOWN_TEXT];
    int64_t sealed, uploaded;

    tb_buf_printf(out, "%s  %s", tb_show_text(capture, "/id", id, sizeof(id)),
                  tb_show_text(capture, "/state", state, sizeof(state)));
    if (tb_json_str(capture, "/stop_reason") != NULL) {
        tb_buf_printf(out, " (%s)", tb_show_text(capture, "/stop_reason", text, sizeof(text)));
    }
    put_left(capture, out);
    tb_buf_put_u8(out, '\n');
    put_wrapped("  reason     ", tb_show_text(capture, "/request/reason", text, sizeof(text)),
                out);
    put_bar(capture, out);
    if (tb_json_str(capture, "/extending_to") != NULL) {
        tb_buf_printf(out, "  extending  to %s, not confirmed yet\n",
                      tb_show_text(capture, "/extending_to", text, sizeof(text)));
    }
    put_packets(capture, before, seconds, out);
    put_losses(tb_show_ledger(capture), out);
    count_segments(capture, &sealed, &uploaded);
    tb_buf_printf(out, "  segments   %lld sealed, %lld in S3\n", (long long)sealed,
                  (long long)uploaded);
    put_checklist(tb_json_at(capture, "/checklist"), out);
    if (tb_json_str(capture, "/error/text") != NULL) {
        put_wrapped("  error      ", tb_show_text(capture, "/error/text", text, sizeof(text)),
                    out);
    }
}

void
tb_watch_table(const struct tb_json *captures, struct tb_buf *out)
{
    tb_buf_printf(out, "%-29s %-9s %8s %10s %10s %7s\n", "CAPTURE", "STATE", "LEFT", "PACKETS",
                  "BYTES", "DROPPED");
    for (size_t i = 0; i < tb_json_count(captures); i++) {
        const struct tb_json *one = tb_json_item(captures, i);
        const struct tb_json *ledger = tb_show_ledger(one);
        char id[40], state[20], left[32] = "-", bytes[32];
        bool no_traffic = false;
        int64_t number;

        if (!has_stopped(one) && tb_json_int(one, "/seconds_left", &number)) {
            tb_show_seconds(left, sizeof(left), number);
        } else if (tb_json_int(one, "/queue_position", &number)) {
            (void)snprintf(left, sizeof(left), "queue %lld", (long long)number);
        }
        tb_show_bytes(bytes, sizeof(bytes), tb_show_number(ledger, "/written_bytes"));
        tb_buf_printf(
            out, "%-29s %-9s %8s %10lld %10s %7lld\n", tb_show_text(one, "/id", id, sizeof(id)),
            tb_show_text(one, "/state", state, sizeof(state)), left,
            (long long)tb_show_number(ledger, "/written"), bytes, (long long)losses(ledger));
        if (tb_json_bool(one, "/no_traffic", &no_traffic) && no_traffic) {
            tb_buf_printf(out, "  NO TRAFFIC: 'tapbox show %s' says what to look at\n", id);
        }
    }
}

void
tb_watch_line(const struct tb_json *capture, struct tb_buf *out)
{
    const struct tb_json *ledger = tb_show_ledger(capture);
    char id[40], state[20], text[SHOWN_TEXT], bytes[32];
    int64_t position, sealed, uploaded;
    bool no_traffic = false;

    tb_show_bytes(bytes, sizeof(bytes), tb_show_number(ledger, "/written_bytes"));
    tb_buf_printf(out, "%s  %s", tb_show_text(capture, "/id", id, sizeof(id)),
                  tb_show_text(capture, "/state", state, sizeof(state)));
    if (tb_json_str(capture, "/stop_reason") != NULL) {
        tb_buf_printf(out, " (%s)", tb_show_text(capture, "/stop_reason", text, sizeof(text)));
    }
    if (tb_json_int(capture, "/queue_position", &position)) {
        tb_buf_printf(out, "  number %lld in the queue", (long long)position);
    }
    if (!has_stopped(capture) && tb_json_str(capture, "/deadline") != NULL) {
        tb_buf_printf(out, "  until %.19sZ",
                      tb_show_text(capture, "/deadline", text, sizeof(text)));
    }
    tb_buf_printf(out, "  %lld packets, %s, %lld dropped",
                  (long long)tb_show_number(ledger, "/written"), bytes,
                  (long long)losses(ledger));
    if (tb_json_at(capture, "/segments") != NULL) {
        count_segments(capture, &sealed, &uploaded);
        tb_buf_printf(out, "  %lld segments, %lld in S3", (long long)sealed,
                      (long long)uploaded);
    }
    if (tb_json_str(capture, "/extending_to") != NULL) {
        tb_buf_put_str(out, "  extending");
    }
    if (tb_json_bool(capture, "/no_traffic", &no_traffic) && no_traffic) {
        tb_buf_put_str(out, "  NO TRAFFIC");
    }
    if (tb_json_str(capture, "/error/text") != NULL) {
        tb_buf_printf(out, "  %s", tb_show_text(capture, "/error/text", text, sizeof(text)));
    }
}
