/*
 * Structured log lines on stderr: one line an event, `key=value` behind a sentence, or
 * journald's priority prefix when stderr is the journal.  Never a secret, never a packet.
 * Threads: any; a line is written with one write(2).
 */
#ifndef TAPBOX_LOG_H
#define TAPBOX_LOG_H

#include <stdbool.h>

#include <tapbox/err.h>

enum tb_log_level {
    TB_LOG_ERROR,
    TB_LOG_WARN,
    TB_LOG_INFO,
    TB_LOG_DEBUG
};

/* One event, for who keeps fields apart.  Lent until the sink returns. */
struct tb_log_event {
    int priority; /* as syslog(3) has it */
    const char *program;
    const char *capture;        /* "": of none */
    const char *text;           /* the line, without time and level, control characters gone */
    const struct tb_fail *fail; /* NULL: of tb_log */
};
/* False: not taken, and the line goes to stderr.  Any thread. */
typedef bool tb_log_sink_fn(const struct tb_log_event *event);
/* Before threads; NULL: none. */
void tb_log_sink(tb_log_sink_fn *sink);

/* `program` ("serve", "record") stands in every line.  Static storage expected. */
void tb_log_start(const char *program, enum tb_log_level level);
TB_NODISCARD enum tb_err tb_log_level_parse(const char *text, enum tb_log_level *out_level);

/* `capture` is a capture id or NULL. */
void tb_log(enum tb_log_level level, const char *capture, const char *fmt, ...) TB_PRINTF(3, 4);
/* The sentence, then what `fail` knows: error, code, request id, HTTP status. */
void tb_log_fail(enum tb_log_level level, const char *capture, const struct tb_fail *fail,
                 const char *fmt, ...) TB_PRINTF(4, 5);

#endif
