/* What `tapbox watch` shows: text from the API's answers, without a terminal (watch_view.c). */
#ifndef TAPBOX_CLI_WATCH_INT_H
#define TAPBOX_CLI_WATCH_INT_H

#include <tapbox/bytes.h>
#include <tapbox/json.h>

enum {
    TB_WATCH_COLUMNS = 80 /* every line fits, but for single words that do not */
};

/* sealed, refused, failed; false also when there is no state. */
bool tb_watch_is_final(const struct tb_json *capture);
bool tb_watch_is_sealed(const struct tb_json *capture);

/* One capture's page on several lines.  `before` is the same page `seconds` ago, for the rates;
 * NULL: none are shown. */
void tb_watch_page(const struct tb_json *capture, const struct tb_json *before, double seconds,
                   struct tb_buf *out);
/* A table of captures as GET /v1/captures lists them. */
void tb_watch_table(const struct tb_json *captures, struct tb_buf *out);
/* What a change is a change of: everything but the time left; no newline at the end. */
void tb_watch_line(const struct tb_json *capture, struct tb_buf *out);

/* --pcap (watch_pcap.c); `bpf` may be NULL.  The exit status. */
struct tb_api_options;
int tb_watch_pcap(const struct tb_api_options *options, const char *capture, const char *bpf,
                  bool from_start);

#endif
