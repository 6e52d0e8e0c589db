/* The report's page and the summary at a terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../../src/cli/report_int.h"

#define HOSTILE "<script>alert(1)</script>\\u202e\\u001b[2J\\u009b\\u2066'\\\"&=`"

static const char summary_text[] =
    "{\"packets\":8,\"first\":\"2026-01-02T03:04:05.5Z\",\"last\":\"2026-01-02T03:04:08.5Z\","
    "\"not_read\":{\"segments\":2},"
    "\"ioc_seen\":[{\"kind\":\"ip\",\"value\":\"198.51.100.7\",\"port\":443,\"seen\":true,"
    "\"packets\":3,\"bytes\":2048,\"on_port\":2,\"names\":0,"
    "\"first\":\"2026-01-02T03:04:05.5Z\",\"last\":\"2026-01-02T03:04:06.5Z\"},"
    "{\"kind\":\"domain\",\"value\":\"" HOSTILE "\",\"port\":null,\"seen\":false,"
    "\"first\":null,\"last\":null}],"
    "\"timeline\":{\"start\":\"2026-01-02T03:04:05.5Z\",\"interval_seconds\":1,"
    "\"packets\":[1,0,4,3],\"bytes\":[100,0,1000,50]},"
    "\"tcp\":{\"count\":5000,\"fell_out\":{\"rows\":7,\"packets\":9},\"rows\":[{\"a\":"
    "\"10.0.0.1\",\"a_port\":5000,\"b\":\"198.51.100.7\",\"b_port\":443,\"packets\":3,"
    "\"bytes\":2048,\"bytes_a_to_b\":1024,\"bytes_b_to_a\":1024}]},"
    "\"dns\":{\"count\":1,\"rows\":[{\"name\":\"" HOSTILE "\",\"queries\":2,\"responses\":1}]},"
    "\"tls\":{\"count\":1,\"rows\":[{\"name\":\"" HOSTILE "\",\"times\":2}]},"
    "\"http\":{\"count\":1,\"rows\":[{\"name\":\"" HOSTILE "\",\"times\":2}]}}";
static const char manifest_text[] =
    "{\"capture\":\"" HOSTILE "\",\"request\":{\"reason\":\"" HOSTILE "\",\"case\":\"" HOSTILE
    "\"},\"completeness\":{\"complete\":\"no\",\"gaps\":[{\"packets\":4,\"text\":\"" HOSTILE
    "\"}]},\"ledger\":{\"received\":12,\"written\":8},\"segments\":[{\"name\":\"" HOSTILE
    "\",\"bytes\":1,\"packets\":8,\"sha256\":\"" HOSTILE
    "\"}],\"never_mirrored_by_aws\":[\"" HOSTILE "\"],\"sources\":[{\"eni\":\"" HOSTILE
    "\",\"gap\":\"" HOSTILE "\"}]}";

static struct tb_json *
parse(const char *text)
{
    struct tb_json *json = NULL;

    assert_int_equal(tb_json_parse(tb_bytes_str(text), &json, NULL), TB_OK);
    return json;
}

static size_t
count_of(const char *text, const char *part)
{
    size_t count = 0;

    for (const char *at = text; (at = strstr(at, part)) != NULL; at++) {
        count++;
    }
    return count;
}

static char *
page_of(const struct tb_json *capture, const struct tb_json *manifest,
        const struct tb_json *summary)
{
    struct tb_report report = {capture, manifest, summary, "f00d", "<here>", 0};
    struct tb_buf out = TB_BUF_INIT(TB_REPORT_MAX_BYTES);
    char *text;

    assert_int_equal(tb_report_page(&report, &out, NULL), TB_OK);
    text = strdup(tb_buf_str(&out));
    assert_non_null(text);
    tb_buf_release(&out);
    return text;
}

static void
what_strangers_wrote_is_text_and_nothing_else(void **state)
{
    struct tb_json *manifest = parse(manifest_text), *summary = parse(summary_text);
    char *page = page_of(NULL, manifest, summary);

    (void)state;
    assert_int_equal(count_of(page, "<script"), 1); /* ours */
    assert_int_equal(count_of(page, "alert(1)"), 14);
    assert_int_equal(count_of(page, "&#60;script&#62;alert(1)"), 14);
    assert_null(strstr(page, "\xe2\x80\xae"));
    assert_null(strstr(page, "\xe2\x81\xa6"));
    assert_null(strstr(page, "\xc2\x9b"));
    assert_null(strchr(page, '\x1b'));
    assert_int_equal(count_of(page, "[U+202E][U+001B][2J[U+009B][U+2066]&#39;&#34;&#38;&#61;"),
                     14);
    free(page);
    tb_json_free(manifest);
    tb_json_free(summary);
}

static void
it_loads_nothing_and_lets_only_its_own_script_run(void **state)
{
    struct tb_json *manifest = parse(manifest_text), *summary = parse(summary_text);
    char *page = page_of(NULL, manifest, summary);

    (void)state;
    assert_non_null(strstr(page, "default-src 'none'; style-src 'unsafe-inline'; "
                                 "script-src 'sha256-"));
    assert_null(strstr(page, "http://"));
    assert_null(strstr(page, "https://"));
    assert_null(strstr(page, " src="));
    assert_null(strstr(page, " href="));
    assert_null(strstr(page, "url("));
    free(page);
    tb_json_free(manifest);
    tb_json_free(summary);
}

static void
what_is_missing_is_said(void **state)
{
    struct tb_json *manifest = parse(manifest_text), *summary = parse(summary_text);
    char *page = page_of(NULL, manifest, summary);

    (void)state;
    assert_non_null(strstr(page, "not complete: packets are missing"));
    assert_non_null(strstr(page, "2 segments could not be read"));
    assert_non_null(strstr(page, "7 small ones with 9 packets are in no row"));
    assert_non_null(strstr(page, "The 1 largest."));
    assert_non_null(strstr(page, "1 of 2 indicators seen"));
    free(page);
    tb_json_free(manifest);
    tb_json_free(summary);
}

static void
what_a_responder_asks_first_stands_first(void **state)
{
    struct tb_json *manifest =
        parse("{\"completeness\":{\"complete\":\"no\",\"gaps\":["
              "{\"text\":\"one\"},{\"text\":\"two\",\"packets\":4},{},{},"
              "{},{\"text\":\"six\"},{\"text\":\"seven\"}]},"
              "\"ledger\":{\"received\":1}}");
    struct tb_json *summary = parse(summary_text);
    char *page = page_of(NULL, manifest, summary);
    const char *gap = strstr(page, "gap: two (4 packets)");
    const char *seen = strstr(page, "<h2>What the alert spoke of");
    const char *happened = strstr(page, "<h2>What happened");

    (void)state;
    assert_true(gap != NULL && seen != NULL && happened != NULL);
    assert_true(gap < seen && seen < happened);
    assert_non_null(strstr(page, "2 more gaps are below"));
    assert_true(strstr(page, "gap: seven") > happened);
    free(page);
    tb_json_free(manifest);
    tb_json_free(summary);
}

static void
a_capture_without_anything_has_a_page_too(void **state)
{
    struct tb_json *nothing = parse("{}");
    char *page = page_of(nothing, NULL, NULL);

    (void)state;
    assert_non_null(strstr(page, "</html>"));
    free(page);
    page = page_of(NULL, NULL, nothing);
    assert_non_null(strstr(page, "</html>"));
    free(page);
    tb_json_free(nothing);
}

static void
numbers_become_columns_and_lose_nothing(void **state)
{
    struct tb_json *timeline = parse("{\"bytes\":[1,2,3,4,5,6,7]}");
    int64_t values[8];
    size_t each = 0;

    (void)state;
    assert_int_equal(tb_timeline_columns(timeline, "bytes", 7, values, &each), 7);
    assert_int_equal(each, 1);
    assert_int_equal(tb_timeline_columns(timeline, "bytes", 3, values, &each), 3);
    assert_int_equal(each, 3);
    assert_int_equal(values[0], 6);
    assert_int_equal(values[1], 15);
    assert_int_equal(values[2], 7);
    assert_int_equal(tb_timeline_columns(timeline, "packets", 3, values, &each), 0);
    tb_json_free(timeline);
}

static void
the_terminal_gets_sightings_a_timeline_and_names(void **state)
{
    struct tb_json *summary = parse(summary_text);
    struct tb_buf out = TB_BUF_INIT(64 * 1024);

    (void)state;
    tb_show_summary(summary, 80, false, &out);
    assert_non_null(strstr(tb_buf_str(&out),
                           "  SEEN       ip 198.51.100.7 port 443: 3 packets (2.0 KiB), "
                           "03:04:05 to 03:04:06 UTC, 2 of them on that port\n"));
    assert_non_null(strstr(tb_buf_str(&out), "  timeline   . @.\n"));
    assert_non_null(strstr(tb_buf_str(&out), "03:04:05 to 03:04:08 UTC, 1s a column"));
    assert_non_null(strstr(tb_buf_str(&out), "10.0.0.1 5000 > 198.51.100.7 443"));
    assert_non_null(strstr(tb_buf_str(&out), "NOT READ   2 segments"));
    assert_null(strchr(tb_buf_str(&out), '\x1b'));
    tb_buf_reset(&out);
    tb_show_summary(summary, 80, true, &out);
    assert_non_null(strstr(tb_buf_str(&out), "  timeline   ▁ █▁\n"));
    tb_buf_release(&out);
    tb_json_free(summary);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_strangers_wrote_is_text_and_nothing_else),
        cmocka_unit_test(it_loads_nothing_and_lets_only_its_own_script_run),
        cmocka_unit_test(what_is_missing_is_said),
        cmocka_unit_test(what_a_responder_asks_first_stands_first),
        cmocka_unit_test(a_capture_without_anything_has_a_page_too),
        cmocka_unit_test(numbers_become_columns_and_lose_nothing),
        cmocka_unit_test(the_terminal_gets_sightings_a_timeline_and_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
