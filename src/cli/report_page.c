/*
 * The report: one page that needs no network, no script and no other file.  Its one script only
 * sorts and filters the tables; the page's own policy lets no other run.
 */
#include <stdio.h>
#include <string.h>

#include <tapbox/capture.h>
#include <tapbox/clock.h>
#include <tapbox/digest.h>

#include "api_int.h"
#include "report_int.h"

enum {
    GAPS_IN_HEAD = 5
};

static const char style[] =
    ":root{color-scheme:light "
    "dark;--bg:#fff;--fg:#1c2430;--dim:#5b6675;--line:#d9dee5;--soft:#f4f6f8;"
    "--bad:#b3261e;--badbg:#fdecea;--good:#1b6e3c;--goodbg:#e7f4ec;--warn:#8a5a00;--warnbg:#"
    "fdf3dd;"
    "--bytes:#2f6fb5;--packets:#8a5fb0}"
    "@media(prefers-color-scheme:dark){:root{--bg:#14181d;--fg:#e3e7ec;--dim:#9aa5b3;--line:#"
    "323a45;"
    "--soft:#1d232b;--bad:#ff8f87;--badbg:#3a1d1b;--good:#7fd6a0;--goodbg:#15301f;--warn:#"
    "f0c26a;"
    "--warnbg:#33270f;--bytes:#6aa7e8;--packets:#bb95de}}"
    "*{box-sizing:border-box}body{margin:0 auto;max-width:76rem;padding:1.5rem 1.25rem "
    "4rem;background:var(--bg);"
    "color:var(--fg);font:15px/1.5 system-ui,sans-serif}"
    "h1{font-size:1.35rem;margin:0 0 "
    ".25rem;overflow-wrap:anywhere}h2{font-size:1.05rem;margin:2.2rem 0 .6rem;"
    "border-bottom:1px solid var(--line);padding-bottom:.25rem}p{margin:.4rem "
    "0}.dim{color:var(--dim)}"
    ".badges{display:flex;flex-wrap:wrap;gap:.5rem;margin:.8rem 0}.badge{padding:.15rem "
    ".6rem;border-radius:1rem;"
    "background:var(--soft);border:1px solid var(--line);overflow-wrap:anywhere}"
    "td .badge{white-space:nowrap}p.badge{width:fit-content}"
    ".bad{color:var(--bad);background:var(--badbg);border-color:var(--bad)}"
    ".good{color:var(--good);background:var(--goodbg);border-color:var(--good)}"
    ".warn{color:var(--warn);background:var(--warnbg);border-color:var(--warn)}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.2rem;margin:.5rem "
    "0}dt{color:var(--dim)}"
    "dd{margin:0;overflow-wrap:anywhere}.scroll{overflow:auto;max-height:34rem;border:1px "
    "solid var(--line);"
    "border-radius:.4rem}table{border-collapse:collapse;width:100%;font-size:.87rem}"
    "th,td{padding:.28rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid "
    "var(--line)}"
    "th{position:sticky;top:0;background:var(--soft);white-space:nowrap}tr:last-child "
    "td{border-bottom:0}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    "td.m{font-family:ui-monospace,monospace;font-size:.82rem}td.w{overflow-wrap:anywhere;min-"
    "width:12rem}"
    "th button{all:unset;cursor:pointer}th button:focus-visible{outline:2px solid var(--bytes)}"
    "th[aria-sort=ascending] button::after{content:' \\2191'}th[aria-sort=descending] "
    "button::after{content:' \\2193'}"
    "input{font:inherit;width:100%;max-width:24rem;padding:.3rem .6rem;margin:.2rem 0 "
    ".5rem;color:inherit;"
    "background:var(--bg);border:1px solid var(--line);border-radius:.4rem}"
    ".t{white-space:nowrap}.plot{overflow-x:auto}svg{width:100%;min-width:34rem;height:auto;"
    "display:block}svg text{fill:var(--dim);font:12px "
    "system-ui,sans-serif}"
    "svg line{stroke:var(--line)}.bytes{fill:var(--bytes)}.packets{fill:var(--packets)}"
    "@media(max-width:40rem){dl{grid-template-columns:1fr}dt{margin-top:.4rem}body{padding:"
    "1rem .7rem 3rem}}"
    "@media "
    "print{body{max-width:none;font-size:10pt;padding:0}.scroll{max-height:none;overflow:"
    "visible;border:0}"
    "input{display:none}tr{break-inside:avoid}th{position:static}h2{break-after:avoid}}";

static const char script[] =
    "for(const box of document.querySelectorAll('.scroll')){"
    "const "
    "table=box.querySelector('table'),body=table.tBodies[0],heads=[...table.tHead.rows[0]."
    "cells];"
    "if(body.rows.length>9){const input=document.createElement('input');input.type='search';"
    "input.placeholder='filter '+body.rows.length+' "
    "rows';input.setAttribute('aria-label','filter rows');"
    "input.addEventListener('input',()=>{const want=input.value.toLowerCase().split(/\\s+/);"
    "for(const row of body.rows){const text=row.textContent.toLowerCase();"
    "row.hidden=!want.every(w=>text.includes(w))}});box.before(input)}"
    "heads.forEach((head,i)=>{const "
    "button=document.createElement('button');button.textContent=head.textContent;"
    "head.textContent='';head.append(button);button.addEventListener('click',()=>{"
    "const up=head.getAttribute('aria-sort')==='descending';"
    "heads.forEach(h=>h.removeAttribute('aria-sort'));head.setAttribute('aria-sort',up?'"
    "ascending':'descending');"
    "const key=row=>{const c=row.cells[i];return "
    "c.dataset.v!==undefined?Number(c.dataset.v):c.textContent};"
    "[...body.rows].sort((x,y)=>{const a=key(x),b=key(y),"
    "d=typeof a==='number'?a-b:a.localeCompare(b);return "
    "up?d:-d}).forEach(row=>body.append(row))})})}";

/* --- small parts --- */

/* The first of the two that is a string; "" when neither is. */
static const char *
text_of(const struct tb_report *r, const char *in_capture, const char *in_manifest)
{
    const char *text = NULL;

    if (r->manifest != NULL && in_manifest != NULL) {
        text = tb_json_str(r->manifest, in_manifest);
    }
    if (text == NULL && r->capture != NULL && in_capture != NULL) {
        text = tb_json_str(r->capture, in_capture);
    }
    return text != NULL ? text : "";
}

static const struct tb_json *
node_of(const struct tb_report *r, const char *pointer)
{
    return tb_json_at(r->manifest != NULL ? r->manifest : r->capture, pointer);
}

static const char *
title_of(const struct tb_report *r)
{
    const char *id = text_of(r, "/id", "/capture");

    return id[0] != '\0' ? id : r->from;
}

static void
put_fact(struct tb_buf *out, const char *label, const char *text)
{
    if (text[0] != '\0') {
        tb_buf_printf(out, "<dt>%s</dt><dd>", label);
        tb_report_put_text(out, text);
        tb_buf_put_str(out, "</dd>\n");
    }
}

static void
put_badge(struct tb_buf *out, const char *kind, const char *text)
{
    tb_buf_printf(out, "<span class=\"badge %s\">", kind);
    tb_report_put_text(out, text);
    tb_buf_put_str(out, "</span>\n");
}

/* `heads`: titles; those that begin with '#' are of numbers. */
static void
begin_table(struct tb_buf *out, const char *const *heads)
{
    tb_buf_put_str(out, "<div class=\"scroll\" tabindex=\"0\"><table><thead><tr>");
    for (; *heads != NULL; heads++) {
        bool is_number = **heads == '#';

        tb_buf_printf(out, "<th scope=\"col\"%s>%s</th>", is_number ? " class=\"n\"" : "",
                      *heads + (is_number ? 1 : 0));
    }
    tb_buf_put_str(out, "</tr></thead><tbody>\n");
}

static void
end_table(struct tb_buf *out)
{
    tb_buf_put_str(out, "</tbody></table></div>\n");
}

static void
put_cell(struct tb_buf *out, const char *kind, const struct tb_json *row, const char *pointer)
{
    const char *text = tb_json_str(row, pointer);

    tb_buf_printf(out, "<td class=\"%s\">", kind);
    tb_report_put_text(out, text != NULL ? text : "");
    tb_buf_put_str(out, "</td>");
}

static void
put_number(struct tb_buf *out, const struct tb_json *row, const char *pointer)
{
    long long value = (long long)tb_show_number(row, pointer);

    tb_buf_printf(out, "<td class=\"n\" data-v=\"%lld\">%lld</td>", value, value);
}

static void
put_size(struct tb_buf *out, const struct tb_json *row, const char *pointer)
{
    long long value = (long long)tb_show_number(row, pointer);
    char bytes[32];

    tb_show_bytes(bytes, sizeof(bytes), value);
    tb_buf_printf(out, "<td class=\"n\" data-v=\"%lld\" title=\"%lld\">%s</td>", value, value,
                  bytes);
}

/* To the millisecond. */
static void
put_time(struct tb_buf *out, const struct tb_json *row, const char *pointer)
{
    const char *text = tb_json_str(row, pointer);
    char cut[24];

    (void)snprintf(cut, sizeof(cut), "%.23s", text != NULL ? text : "");
    tb_buf_put_str(out, "<td class=\"m t\">");
    tb_report_put_text(out, cut);
    tb_buf_put_str(out, "</td>");
}

/* --- sections --- */

/* At most `most` of what is missing. */
static void
put_gaps(const struct tb_report *r, size_t most, struct tb_buf *out)
{
    const struct tb_json *gaps = tb_json_at(r->manifest, "/completeness/gaps");
    size_t count = tb_json_count(gaps);

    for (size_t i = 0; i < count && i < most; i++) {
        const char *text = tb_json_str(tb_json_item(gaps, i), "/text");
        long long packets = (long long)tb_show_number(tb_json_item(gaps, i), "/packets");

        tb_buf_put_str(out, "<p class=\"badge warn\">gap: ");
        tb_report_put_text(out, text != NULL ? text : "");
        if (packets > 0) {
            tb_buf_printf(out, " (%lld packets)", packets);
        }
        tb_buf_put_str(out, "</p>\n");
    }
    if (count > most) {
        tb_buf_printf(out, "<p class=\"dim\">%zu more gaps are below.</p>\n", count - most);
    }
}

static void
put_head(const struct tb_report *r, struct tb_buf *out)
{
    const char *complete = text_of(r, NULL, "/completeness/complete");
    const char *state = text_of(r, "/state", NULL);
    const struct tb_json *seen = tb_json_at(r->summary, "/ioc_seen");
    size_t seen_count = 0;
    char line[160];

    for (size_t i = 0; i < tb_json_count(seen); i++) {
        bool is_seen = false;

        (void)tb_json_bool(tb_json_item(seen, i), "/seen", &is_seen);
        seen_count += is_seen ? 1 : 0;
    }
    tb_buf_put_str(out, "<header><h1>");
    tb_report_put_text(out, title_of(r));
    tb_buf_put_str(out, "</h1><p class=\"dim\">");
    tb_report_put_text(out, text_of(r, "/request/reason", "/request/reason"));
    tb_buf_put_str(out, "</p><div class=\"badges\">\n");
    if (state[0] != '\0') {
        put_badge(out, "", state);
    }
    if (complete[0] != '\0') {
        bool yes = strcmp(complete, "yes") == 0, no = strcmp(complete, "no") == 0;

        put_badge(out,
                  yes  ? "good"
                  : no ? "bad"
                       : "warn",
                  yes  ? "complete"
                  : no ? "not complete: packets are missing"
                       : "completeness unknown");
    }
    if (tb_json_count(seen) > 0) {
        (void)snprintf(line, sizeof(line), "%zu of %zu indicators seen", seen_count,
                       tb_json_count(seen));
        put_badge(out, seen_count > 0 ? "bad" : "", line);
    }
    tb_buf_put_str(out, "</div>\n");
    put_gaps(r, GAPS_IN_HEAD, out);
    tb_buf_put_str(out, "</header>\n");
}

static void
put_what_happened(const struct tb_report *r, struct tb_buf *out)
{
    const struct tb_json *sources = node_of(r, "/sources");

    if (r->capture == NULL && r->manifest == NULL) {
        tb_buf_put_str(out, "<p class=\"badge warn\">There is no manifest.json beside these "
                            "segments: who asked for them and what is missing is not "
                            "known.</p>\n");
        return;
    }
    tb_buf_put_str(out, "<h2>What happened</h2><dl>\n");
    put_fact(out, "finding", text_of(r, "/request/finding_type", "/request/finding_type"));
    put_fact(out, "finding id", text_of(r, "/request/finding_id", "/request/finding_id"));
    put_fact(out, "case", text_of(r, "/request/case", "/request/case"));
    put_fact(out, "asked for by", text_of(r, "/request/requested_by", "/request/by"));
    put_fact(out, "instance", text_of(r, "/request/instance", "/request/instance"));
    put_fact(out, "filter", text_of(r, "/request/bpf", "/request/bpf"));
    put_fact(out, "requested", text_of(r, "/requested", "/times/requested"));
    put_fact(out, "recording from", text_of(r, "/recording", "/times/recording"));
    put_fact(out, "deadline", text_of(r, "/deadline", "/times/deadline"));
    put_fact(out, "stopped", text_of(r, "/stopped", "/times/stopped"));
    put_fact(out, "stopped by", text_of(r, "/stop_reason", "/stop_reason"));
    put_fact(out, "error", text_of(r, "/error/text", "/last_error/text"));
    put_fact(out, "capture host", text_of(r, NULL, "/host/name"));
    put_fact(out, "account", text_of(r, "/request/account", "/host/account"));
    put_fact(out, "signing key", r->key);
    tb_buf_put_str(out, "</dl>\n");
    if (tb_json_count(sources) == 0) {
        return;
    }
    begin_table(out,
                (const char *const[]){"interface", "instance", "address", "#VNI", "gap", NULL});
    for (size_t i = 0; i < tb_json_count(sources); i++) {
        const struct tb_json *one = tb_json_item(sources, i);

        tb_buf_put_str(out, "<tr>");
        put_cell(out, "m", one, "/eni");
        put_cell(out, "m", one, "/instance");
        put_cell(out, "m", one, "/ip");
        put_number(out, one, "/vni");
        put_cell(out, "w", one, "/gap");
        tb_buf_put_str(out, "</tr>\n");
    }
    end_table(out);
}

static void
put_sightings(const struct tb_report *r, struct tb_buf *out)
{
    const struct tb_json *seen = tb_json_at(r->summary, "/ioc_seen");

    tb_buf_put_str(out, "<h2>What the alert spoke of</h2>\n");
    if (tb_json_count(seen) == 0) {
        tb_buf_put_str(out, "<p class=\"dim\">No alert of this capture names a peer, a port or "
                            "a domain.</p>\n");
        return;
    }
    begin_table(out, (const char *const[]){"", "kind", "value", "#port", "#packets", "#bytes",
                                           "#on the port", "#named", "first (UTC)",
                                           "last (UTC)", NULL});
    for (size_t i = 0; i < tb_json_count(seen); i++) {
        const struct tb_json *one = tb_json_item(seen, i);
        bool is_seen = false;

        (void)tb_json_bool(one, "/seen", &is_seen);
        tb_buf_printf(out, "<tr><td><span class=\"badge %s\">%s</span></td>",
                      is_seen ? "bad" : "", is_seen ? "seen" : "not seen");
        put_cell(out, "", one, "/kind");
        put_cell(out, "m w", one, "/value");
        put_number(out, one, "/port");
        put_number(out, one, "/packets");
        put_size(out, one, "/bytes");
        put_number(out, one, "/on_port");
        put_number(out, one, "/names");
        put_time(out, one, "/first");
        put_time(out, one, "/last");
        tb_buf_put_str(out, "</tr>\n");
    }
    end_table(out);
}

/* How many there are, and whether the numbers are all. */
static void
put_table_title(struct tb_buf *out, const struct tb_json *table, const char *title)
{
    long long count = (long long)tb_show_number(table, "/count");
    long long shown = (long long)tb_json_count(tb_json_at(table, "/rows"));
    long long fell = (long long)tb_show_number(table, "/fell_out/rows");

    tb_buf_printf(out, "<h2>%s <span class=\"dim\">(%lld)</span></h2>\n", title, count);
    if (count > shown) {
        tb_buf_printf(out, "<p class=\"dim\">The %lld largest.</p>\n", shown);
    }
    if (fell > 0) {
        tb_buf_printf(out,
                      "<p class=\"badge warn\">There were more than are counted one by one: "
                      "%lld small ones with %lld packets are in no row.</p>\n",
                      fell, (long long)tb_show_number(table, "/fell_out/packets"));
    }
}

static void
put_conversations(const struct tb_report *r, const char *pointer, const char *title,
                  bool with_ports, struct tb_buf *out)
{
    const struct tb_json *table = tb_json_at(r->summary, pointer);
    const struct tb_json *rows = tb_json_at(table, "/rows");

    if (tb_json_count(rows) == 0) {
        return;
    }
    put_table_title(out, table, title);
    begin_table(out, with_ports
                         ? (const char *const[]){"a (spoke first)", "#port", "b", "#port",
                                                 "#packets", "#bytes", "#a to b", "#b to a",
                                                 "first (UTC)", "last (UTC)", NULL}
                         : (const char *const[]){"a (spoke first)", "b", "#packets", "#bytes",
                                                 "#a to b", "#b to a", "first (UTC)",
                                                 "last (UTC)", NULL});
    for (size_t i = 0; i < tb_json_count(rows); i++) {
        const struct tb_json *one = tb_json_item(rows, i);

        tb_buf_put_str(out, "<tr>");
        put_cell(out, "m", one, "/a");
        if (with_ports) {
            put_number(out, one, "/a_port");
        }
        put_cell(out, "m", one, "/b");
        if (with_ports) {
            put_number(out, one, "/b_port");
        }
        put_number(out, one, "/packets");
        put_size(out, one, "/bytes");
        put_size(out, one, "/bytes_a_to_b");
        put_size(out, one, "/bytes_b_to_a");
        put_time(out, one, "/first");
        put_time(out, one, "/last");
        tb_buf_put_str(out, "</tr>\n");
    }
    end_table(out);
}

static void
put_names(const struct tb_report *r, const char *pointer, const char *title,
          const char *const *heads, const char *first, const char *second, struct tb_buf *out)
{
    const struct tb_json *table = tb_json_at(r->summary, pointer);
    const struct tb_json *rows = tb_json_at(table, "/rows");

    if (tb_json_count(rows) == 0) {
        return;
    }
    put_table_title(out, table, title);
    begin_table(out, heads);
    for (size_t i = 0; i < tb_json_count(rows); i++) {
        const struct tb_json *one = tb_json_item(rows, i);

        tb_buf_put_str(out, "<tr>");
        put_cell(out, "m w", one, "/name");
        put_number(out, one, first);
        if (second != NULL) {
            put_number(out, one, second);
        }
        put_time(out, one, "/first");
        put_time(out, one, "/last");
        tb_buf_put_str(out, "</tr>\n");
    }
    end_table(out);
}

static void
put_protocols(const struct tb_report *r, struct tb_buf *out)
{
    const struct tb_json *rows = tb_json_at(r->summary, "/protocols/rows");

    if (tb_json_count(rows) == 0) {
        return;
    }
    tb_buf_put_str(out, "<h2>Protocols</h2>\n");
    begin_table(out, (const char *const[]){"protocol", "#packets", "#bytes", NULL});
    for (size_t i = 0; i < tb_json_count(rows); i++) {
        const struct tb_json *one = tb_json_item(rows, i);

        tb_buf_put_str(out, "<tr>");
        put_cell(out, "m", one, "/name");
        put_number(out, one, "/packets");
        put_size(out, one, "/bytes");
        tb_buf_put_str(out, "</tr>\n");
    }
    end_table(out);
}

static void
put_ledger(const struct tb_report *r, struct tb_buf *out)
{
    const struct tb_json *ledger =
        r->manifest != NULL ? tb_json_at(r->manifest, "/ledger") : tb_show_ledger(r->capture);
    const struct tb_json *blind = tb_json_at(r->manifest, "/never_mirrored_by_aws");

    if (ledger == NULL) {
        return;
    }
    tb_buf_put_str(out, "<h2>Where every packet went</h2>\n");
    if (r->manifest == NULL) {
        tb_buf_put_str(
            out, "<p class=\"dim\">The verdict on completeness is made when the capture is "
                 "sealed: it is in manifest.json.</p>\n");
    }
    if (tb_json_count(tb_json_at(r->manifest, "/completeness/gaps")) > GAPS_IN_HEAD) {
        put_gaps(r, SIZE_MAX, out);
    }
    tb_buf_put_str(out, "<dl>\n");
    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        char pointer[40];
        long long value;

        (void)snprintf(pointer, sizeof(pointer), "/%s", tb_ledger_fields[i].name);
        value = (long long)tb_show_number(ledger, pointer);
        if (value != 0 || i < 2) {
            tb_buf_printf(out, "<dt>%s</dt><dd>%lld</dd>\n", tb_ledger_fields[i].name, value);
        }
    }
    tb_buf_put_str(out, "</dl>\n");
    for (size_t i = 0; i < tb_json_count(blind); i++) {
        const char *text = tb_json_str(tb_json_item(blind, i), "");

        tb_buf_put_str(out, "<p class=\"dim\">AWS never mirrors: ");
        tb_report_put_text(out, text != NULL ? text : "");
        tb_buf_put_str(out, "</p>\n");
    }
}

static void
put_files(const struct tb_report *r, struct tb_buf *out)
{
    const struct tb_json *segments = node_of(r, "/segments");
    const struct tb_json *alerts = tb_json_at(r->manifest, "/alerts");

    if (tb_json_count(segments) == 0 && tb_json_count(alerts) == 0) {
        return;
    }
    tb_buf_put_str(out, "<h2>Files</h2>\n");
    begin_table(out, (const char *const[]){"name", "#bytes", "#packets", "SHA-256", NULL});
    for (size_t i = 0; i < tb_json_count(segments) + tb_json_count(alerts); i++) {
        const struct tb_json *one = i < tb_json_count(segments)
                                        ? tb_json_item(segments, i)
                                        : tb_json_item(alerts, i - tb_json_count(segments));

        tb_buf_put_str(out, "<tr>");
        put_cell(out, "m", one, "/name");
        put_size(out, one, "/bytes");
        put_number(out, one, "/packets");
        put_cell(out, "m w", one, "/sha256");
        tb_buf_put_str(out, "</tr>\n");
    }
    end_table(out);
    tb_buf_put_str(out, "<p class=\"dim\">This page proves nothing by itself: <code>tapbox "
                        "verify</code> checks "
                        "signature and hashes of the files.</p>\n");
}

/* Of segments that were read for this page. */
static void
put_missing(const struct tb_report *r, struct tb_buf *out)
{
    static const char *const heads[] = {"segment",    "#from octet", "#octets", "#packets",
                                        "from (UTC)", "to (UTC)",    "why",     NULL};
    const struct tb_json *missing = tb_json_at(r->summary, "/not_read/missing");

    if (tb_json_count(missing) == 0) {
        return;
    }
    tb_buf_put_str(out, "<p class=\"badge warn\">This could not be read: its packets are in no "
                        "number here.</p>\n");
    begin_table(out, heads);
    for (size_t i = 0; i < tb_json_count(missing); i++) {
        const struct tb_json *one = tb_json_item(missing, i);

        tb_buf_put_str(out, "<tr>");
        put_cell(out, "m", one, "/segment");
        put_number(out, one, "/offset");
        put_number(out, one, "/bytes");
        if (tb_json_is_null(tb_json_at(one, "/packets"))) {
            tb_buf_put_str(out, "<td class=\"n\">not known</td>");
        } else {
            put_number(out, one, "/packets");
        }
        put_time(out, one, "/from");
        put_time(out, one, "/to");
        put_cell(out, "w", one, "/why");
        tb_buf_put_str(out, "</tr>\n");
    }
    end_table(out);
}

static void
put_summary(const struct tb_report *r, struct tb_buf *out)
{
    static const char *const dns[] = {"name",        "#questions", "#answers",
                                      "first (UTC)", "last (UTC)", NULL};
    static const char *const others[] = {"name", "#times", "first (UTC)", "last (UTC)", NULL};
    long long missed = (long long)tb_show_number(r->summary, "/not_read/segments");

    tb_buf_printf(out, "<h2>Traffic over time <span class=\"dim\">(%lld packets)</span></h2>\n",
                  (long long)tb_show_number(r->summary, "/packets"));
    if (missed > 0) {
        tb_buf_printf(
            out,
            "<p class=\"badge warn\">%lld segments could not be read for this summary: "
            "their packets are in no number here.</p>\n",
            missed);
    }
    put_missing(r, out);
    tb_buf_put_str(out, "<div class=\"plot\">");
    tb_report_put_timeline(out, tb_json_at(r->summary, "/timeline"));
    tb_buf_put_str(out, "</div>\n");
    put_conversations(r, "/tcp", "TCP conversations", true, out);
    put_conversations(r, "/udp", "UDP conversations", true, out);
    put_names(r, "/dns", "DNS names", dns, "/queries", "/responses", out);
    put_names(r, "/tls", "TLS server names", others, "/times", NULL, out);
    put_names(r, "/http", "HTTP hosts", others, "/times", NULL, out);
    put_conversations(r, "/ip", "Pairs of hosts", false, out);
    put_protocols(r, out);
}

enum tb_err
tb_report_page(const struct tb_report *r, struct tb_buf *out, struct tb_fail *fail)
{
    char when[TB_TIME_TEXT_SIZE];
    struct tb_sha256 digest;

    if (tb_sha256(tb_bytes_str(script), &digest) != TB_OK) {
        return tb_fail_set(fail, TB_EINTERNAL, "SHA-256 of the page's script failed");
    }
    tb_buf_put_str(out,
                   "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                   "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                   "style-src 'unsafe-inline'; script-src 'sha256-");
    tb_buf_put_base64(out, tb_bytes_of(digest.octets, sizeof(digest.octets)));
    tb_buf_put_str(out, "'\">\n<meta name=\"viewport\" "
                        "content=\"width=device-width,initial-scale=1\">\n<title>");
    tb_report_put_text(out, title_of(r));
    tb_buf_printf(out, "</title>\n<style>%s</style></head>\n<body>\n", style);
    put_head(r, out);
    if (r->summary != NULL) { /* what the reader came for is first */
        put_sightings(r, out);
    }
    put_what_happened(r, out);
    if (r->summary != NULL) {
        put_summary(r, out);
    }
    put_ledger(r, out);
    put_files(r, out);
    tb_time_format_s(when, r->now_utc_ns / TB_NS_PER_S);
    tb_buf_printf(out, "<p class=\"dim\">tapbox " TB_VERSION ", %s, from ", when);
    tb_report_put_text(out, r->from);
    tb_buf_printf(out, "</p>\n<script>%s</script>\n</body></html>\n", script);
    return tb_buf_check(out, "the report", fail);
}
