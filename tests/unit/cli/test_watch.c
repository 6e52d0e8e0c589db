/* What `tapbox watch` says, as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../../src/cli/watch_int.h"

#define ID "cap-20260102T030405Z-1a2b3c4d"
#define LONG_LINE                                                                              \
    "Security group of the mirror target: it has to admit UDP 4789 from 10.77.1.10, and "      \
    "another sentence that needs one more line."

static const char recording[] =
    "{\"id\":\"" ID "\",\"state\":\"recording\",\"stop_reason\":null,"
    "\"recording\":\"2026-01-02T03:04:00.5Z\",\"deadline\":\"2026-01-02T03:05:40Z\","
    "\"seconds_left\":75,\"extending_to\":null,\"queue_position\":null,\"no_traffic\":false,"
    "\"checklist\":[],\"request\":{\"reason\":\"odd\\u001b[2J \\u009b2J DNS\"},"
    "\"ledger\":{\"received\":1,\"written\":1},"
    "\"live\":{\"segments\":3,\"ledger\":{\"received\":1018,\"written\":1000,"
    "\"written_bytes\":2097152,\"filtered\":7,\"queue_dropped\":9,\"spool_full\":2,"
    "\"truncated\":4,\"residual\":0}},"
    "\"segments\":[{\"state\":\"uploaded\"},{\"state\":\"spooled\"}],\"error\":null}";
static const char a_second_ago[] =
    "{\"live\":{\"ledger\":{\"written\":500,\"written_bytes\":1048576}}}";
static const char empty[] =
    "{\"id\":\"" ID "\",\"state\":\"recording\",\"seconds_left\":75,\"no_traffic\":true,"
    "\"checklist\":[\"" LONG_LINE "\",\"Two.\"],\"ledger\":{\"received\":0,\"written\":0}}";
static const char failed[] =
    "{\"id\":\"" ID "\",\"state\":\"failed\",\"stop_reason\":\"failure\",\"seconds_left\":null,"
    "\"deadline\":\"2026-01-02T03:05:40Z\",\"ledger\":{},\"error\":{\"text\":\"no such "
    "instance\"}}";
static const char waiting[] =
    "{\"id\":\"" ID "\",\"state\":\"requested\",\"seconds_left\":null,"
    "\"queue_position\":3,\"ledger\":{}}";

static struct tb_json *
parse(const char *text)
{
    struct tb_json *json = NULL;

    assert_int_equal(tb_json_parse(tb_bytes_str(text), &json, NULL), TB_OK);
    return json;
}

static void
assert_has(struct tb_buf *text, const char *part)
{
    if (strstr(tb_buf_str(text), part) == NULL) {
        fail_msg("'%s' is not in\n%s", part, tb_buf_str(text));
    }
}

static void
assert_narrow(struct tb_buf *text)
{
    for (const char *line = tb_buf_str(text); *line != '\0';) {
        size_t len = strcspn(line, "\n");

        if (len > TB_WATCH_COLUMNS) {
            fail_msg("%.*s", (int)len, line);
        }
        line += len + (line[len] == '\n' ? 1 : 0);
    }
}

static void
a_page_has_everything_and_fits_80_columns(void **state)
{
    struct tb_buf text = TB_BUF_INIT(65536);
    struct tb_json *now = parse(recording), *before = parse(a_second_ago);

    (void)state;
    tb_watch_page(now, before, 1.0, &text);
    assert_has(&text, ID "  recording, 1m 15s left\n");
    assert_has(&text, "  reason     odd?[2J ??2J DNS\n");
    assert_has(&text, "  time       [==========                              ] of 1m 40s\n");
    assert_has(&text, "  packets    1000 written, 2.0 MiB; 500/s, 1.0 MiB/s\n");
    assert_has(&text, "  dropped    9 queue_dropped, 2 spool_full\n");
    assert_has(&text, "  left out   7 by the filter\n");
    assert_has(&text, "  segments   3 sealed, 1 in S3\n");
    assert_narrow(&text);
    tb_buf_reset(&text);
    tb_watch_page(now, NULL, 0, &text);
    assert_has(&text, "  packets    1000 written, 2.0 MiB\n");
    tb_json_free(now);
    tb_json_free(before);
    tb_buf_release(&text);
}

static void
an_empty_one_has_its_checklist_in_whole_words(void **state)
{
    struct tb_buf text = TB_BUF_INIT(65536);
    struct tb_json *now = parse(empty);

    (void)state;
    tb_watch_page(now, now, 1.0, &text);
    assert_has(&text, "NO TRAFFIC");
    assert_has(&text, "\n    1. Security group of the mirror target: it has to admit UDP 4789 "
                      "from\n       10.77.1.10, and another");
    assert_has(&text, "\n    2. Two.\n");
    assert_has(&text, "  dropped    none\n");
    assert_narrow(&text);
    tb_json_free(now);
    tb_buf_release(&text);
}

static void
a_line_tells_the_state_in_one_line(void **state)
{
    static const struct {
        const char *capture, *line;
    } cases[] = {
        {recording, ID "  recording  until 2026-01-02T03:05:40Z  1000 packets, 2.0 MiB, "
                       "11 dropped  3 segments, 1 in S3"},
        {empty, ID "  recording  0 packets, 0 B, 0 dropped  NO TRAFFIC"},
        {failed, ID "  failed (failure)  0 packets, 0 B, 0 dropped  no such instance"},
        {waiting, ID "  requested  number 3 in the queue  0 packets, 0 B, 0 dropped"},
        {"{}", "-  -  0 packets, 0 B, 0 dropped"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_buf text = TB_BUF_INIT(65536);
        struct tb_json *now = parse(cases[i].capture);

        tb_watch_line(now, &text);
        assert_string_equal(tb_buf_str(&text), cases[i].line);
        tb_json_free(now);
        tb_buf_release(&text);
    }
}

static void
a_table_has_a_row_each_within_80_columns(void **state)
{
    struct tb_buf text = TB_BUF_INIT(65536), all = TB_BUF_INIT(65536);
    struct tb_json *now;

    (void)state;
    tb_buf_printf(&all, "[%s,%s,%s,%s]", recording, empty, waiting, failed);
    now = parse(tb_buf_str(&all));
    tb_watch_table(now, &text);
    assert_has(&text, ID " recording   1m 15s       1000    2.0 MiB      11\n");
    assert_has(&text, "  NO TRAFFIC: 'tapbox show " ID "'");
    assert_has(&text, ID " requested  queue 3 ");
    assert_has(&text, ID " failed           - ");
    assert_narrow(&text);
    tb_json_free(now);
    tb_buf_release(&text);
    tb_buf_release(&all);
}

static void
what_is_final_and_what_is_sealed_is_known(void **state)
{
    static const struct {
        const char *text;
        bool final, sealed;
    } cases[] = {
        {"{\"state\":\"sealed\"}", true, true},
        {"{\"state\":\"failed\"}", true, false},
        {"{\"state\":\"refused\"}", true, false},
        {"{\"state\":\"sealing\"}", false, false},
        {"{\"state\":\"arming\"}", false, false},
        {"{\"state\":7}", false, false},
        {"[]", false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_json *json = parse(cases[i].text);

        assert_int_equal(tb_watch_is_final(json), cases[i].final);
        assert_int_equal(tb_watch_is_sealed(json), cases[i].sealed);
        tb_json_free(json);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_has_everything_and_fits_80_columns),
        cmocka_unit_test(an_empty_one_has_its_checklist_in_whole_words),
        cmocka_unit_test(a_line_tells_the_state_in_one_line),
        cmocka_unit_test(a_table_has_a_row_each_within_80_columns),
        cmocka_unit_test(what_is_final_and_what_is_sealed_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
