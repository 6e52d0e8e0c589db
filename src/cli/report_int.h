/* What `tapbox report` and `tapbox show` draw from a capture's summary. */
#ifndef TAPBOX_CLI_REPORT_INT_H
#define TAPBOX_CLI_REPORT_INT_H

#include <tapbox/bytes.h>
#include <tapbox/json.h>

enum {
    TB_REPORT_MAX_BYTES = 64 << 20 /* of a page: 8 MiB of summary grow by their tags */
};

/* What a page is made of; NULL: there is none. */
struct tb_report {
    const struct tb_json *capture;  /* as GET /v1/captures/{id} shows it */
    const struct tb_json *manifest; /* or manifest.json */
    const struct tb_json *summary;
    const char *key;    /* fingerprint of the key that signs; "" : not known */
    const char *from;   /* where it was read */
    int64_t now_utc_ns; /* when */
};
/* Appends one HTML page that needs nothing else. */
TB_NODISCARD enum tb_err tb_report_page(const struct tb_report *report, struct tb_buf *out,
                                        struct tb_fail *fail);
/* Appends text that is text in HTML, whatever it holds: what would steer a reader's eye
 * (control and bidirectional characters) is written by its number. */
void tb_report_put_text(struct tb_buf *out, const char *text);
/* Appends the timeline as SVG. */
void tb_report_put_timeline(struct tb_buf *out, const struct tb_json *timeline);

/* `count` numbers as at most `width` ones, each the sum of as many neighbours; the number of
 * them. `member` is "packets" or "bytes". */
size_t tb_timeline_columns(const struct tb_json *timeline, const char *member, size_t width,
                           int64_t *out, size_t *out_each);

/* The summary for people at a terminal: sightings, timeline, the largest conversations, names.
 */
void tb_show_summary(const struct tb_json *summary, size_t columns, bool is_unicode,
                     struct tb_buf *out);
/* Width of the terminal on standard output, and whether it shows blocks. */
size_t tb_show_columns(bool *out_is_unicode);

#endif
