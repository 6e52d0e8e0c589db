/* Log lines: one event, one line, one write. */
#include <tapbox/log.h>

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tapbox/clock.h>

enum {
    LINE_MAX_BYTES = 2048
}; /* a line is cut there; journald would split longer ones */

static const struct {
    const char *name;
    int priority; /* syslog(3) */
} levels[] = {
    [TB_LOG_ERROR] = {"error", 3},
    [TB_LOG_WARN] = {"warn", 4},
    [TB_LOG_INFO] = {"info", 6},
    [TB_LOG_DEBUG] = {"debug", 7},
};

/* Set once by tb_log_start, before threads. */
static const char *program_name = "tapbox";
static atomic_int max_level = TB_LOG_INFO;
static bool to_journal;
static tb_log_sink_fn *log_sink;

void
tb_log_sink(tb_log_sink_fn *sink)
{
    log_sink = sink;
}

void
tb_log_start(const char *program, enum tb_log_level level)
{
    program_name = program;
    to_journal = getenv("JOURNAL_STREAM") != NULL;
    atomic_store(&max_level, (int)level);
}

enum tb_err
tb_log_level_parse(const char *text, enum tb_log_level *out_level)
{
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (strcmp(text, levels[i].name) == 0) {
            *out_level = (enum tb_log_level)i;
            return TB_OK;
        }
    }
    return TB_EINVAL;
}

struct line {
    char text[LINE_MAX_BYTES];
    size_t len, head; /* time and level come first */
    struct tb_log_event event;
};

TB_PRINTF(2, 0)
static void
add_args(struct line *line, const char *fmt, va_list args)
{
    size_t room = sizeof(line->text) - line->len - 1; /* keeps one for the newline */
    int n = vsnprintf(line->text + line->len, room, fmt, args);

    if (n > 0) {
        line->len += (size_t)n < room ? (size_t)n : room - 1;
    }
}

TB_PRINTF(2, 3)
static void
add(struct line *line, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add_args(line, fmt, args);
    va_end(args);
}

static void
begin(struct line *line, enum tb_log_level level, const char *capture)
{
    line->len = 0;
    line->event = (struct tb_log_event){.priority = levels[level].priority,
                                        .program = program_name,
                                        .capture = capture != NULL ? capture : ""};
    if (to_journal) {
        add(line, "<%d>", levels[level].priority);
    } else {
        char now[TB_TIME_TEXT_SIZE];
        int64_t utc_ns = tb_clock_utc_ns();

        tb_time_format_ns(now, utc_ns);
        now[23] = 'Z'; /* milliseconds are enough here */
        now[24] = 0;
        add(line, "%s %-5s ", now, levels[level].name);
    }
    line->head = line->len;
    add(line, "%s: ", program_name);
    if (capture != NULL && capture[0] != 0) {
        add(line, "%s: ", capture);
    }
}

/* Control characters would let outside text forge or hide lines. */
static void
end(struct line *line)
{
    size_t done = 0;

    for (size_t i = 0; i < line->len; i++) {
        unsigned char c = (unsigned char)line->text[i];

        if (c < 0x20 || c == 0x7f) {
            line->text[i] = ' ';
        }
    }
    line->text[line->len] = '\0';
    line->event.text = line->text + line->head;
    if (log_sink != NULL && log_sink(&line->event)) {
        return;
    }
    line->text[line->len++] = '\n';
    while (done < line->len) {
        ssize_t n = write(STDERR_FILENO, line->text + done, line->len - done);

        if (n <= 0) {
            return; /* nowhere to complain to */
        }
        done += (size_t)n;
    }
}

void
tb_log(enum tb_log_level level, const char *capture, const char *fmt, ...)
{
    struct line line;
    va_list args;

    if ((int)level > atomic_load(&max_level)) {
        return;
    }
    begin(&line, level, capture);
    va_start(args, fmt);
    add_args(&line, fmt, args);
    va_end(args);
    end(&line);
}

void
tb_log_fail(enum tb_log_level level, const char *capture, const struct tb_fail *fail,
            const char *fmt, ...)
{
    struct line line;
    va_list args;

    if ((int)level > atomic_load(&max_level)) {
        return;
    }
    begin(&line, level, capture);
    va_start(args, fmt);
    add_args(&line, fmt, args);
    va_end(args);
    line.event.fail = fail;
    add(&line, ": %s error=%s", fail->text, tb_err_name(fail->err));
    if (fail->code[0] != 0) {
        add(&line, " code=%s", fail->code);
    }
    if (fail->http_status != 0) {
        add(&line, " http_status=%d", fail->http_status);
    }
    if (fail->request_id[0] != 0) {
        add(&line, " request_id=%s", fail->request_id);
    }
    end(&line);
}
