/* tapbox show: one capture with everything that is known of it. */
#include <stdio.h>

#include <tapbox/ids.h>

#include "api_int.h"
#include "cli_int.h"
#include "report_int.h"

enum {
    SUMMARY_TEXT_MAX_BYTES = 256 * 1024 /* some lines for each of 256 indicators */
};

static const char help[] =
    "Usage: tapbox show CAPTURE [--json]\n"
    "\n"
    "Shows a capture: its state, times, interfaces and where its packets went; whether what\n"
    "the alert speaks of was seen, the traffic over time, the largest conversations and the\n"
    "names asked for most; its segments and its AWS objects.\n"
    "\n" TB_API_HELP;

/* There is none before anything was recorded, and of what an earlier tapbox recorded. */
static void
show_summary(const struct tb_api_options *options, const char *id)
{
    struct tb_buf text = TB_BUF_INIT(SUMMARY_TEXT_MAX_BYTES);
    struct tb_json *summary = NULL;
    struct tb_api *api = NULL;
    struct tb_api_why why;
    bool is_unicode;
    size_t columns = tb_show_columns(&is_unicode);
    char path[80 + TB_CAPTURE_ID_SIZE];

    (void)snprintf(path, sizeof(path), "/v1/captures/%s/summary?top=5", id);
    if (tb_api_open(options, "show", &api) == TB_EXIT_OK &&
        tb_api_ask(api, &(struct tb_api_call){"show", "GET", path, NULL, NULL}, &summary, NULL,
                   &why) == TB_EXIT_OK) {
        tb_show_summary(summary, columns, is_unicode, &text);
        fputs(tb_buf_str(&text), stdout);
    }
    tb_json_free(summary);
    tb_api_close(api);
    tb_buf_release(&text);
}

int
tb_cmd_show(int argc, char **argv)
{
    static const struct option options[] = {
        TB_API_OPTIONS,
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct tb_api_options api = {0};
    struct tb_json *answer = NULL;
    char path[64 + TB_CAPTURE_ID_SIZE];
    int option, status;

    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return tb_cli_finish_stdout("show");
        }
        if (!tb_api_option(&api, option, optarg)) {
            return tb_cli_try_help("show");
        }
    }
    if (optind + 1 != argc) {
        return tb_cli_usage("show", "which capture?  'tapbox list' shows them");
    }
    if (!tb_capture_id_valid(argv[optind])) {
        return tb_cli_usage("show", "'%s' is not a capture's id (cap-...)", argv[optind]);
    }
    snprintf(path, sizeof(path), "/v1/captures/%s", argv[optind]);
    status = tb_api_do(&api, &(struct tb_api_call){"show", "GET", path, NULL, NULL}, &answer);
    if (status == TB_EXIT_OK && !api.json) {
        tb_show_capture(answer);
        show_summary(&api, argv[optind]);
        tb_show_objects(answer); /* last: there may be many, and they are not the answer */
        status = tb_cli_finish_stdout("show");
    }
    tb_json_free(answer);
    return status;
}
