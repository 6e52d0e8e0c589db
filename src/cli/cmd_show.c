/* tapbox show: one capture with everything that is known of it. */
#include <stdio.h>

#include <tapbox/ids.h>

#include "api_int.h"
#include "cli_int.h"

static const char help[] =
    "Usage: tapbox show CAPTURE [--json]\n"
    "\n"
    "Shows a capture: its state, times, interfaces, where its packets went, its segments and\n"
    "its AWS objects.\n"
    "\n" TB_API_HELP;

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
        status = tb_cli_finish_stdout("show");
    }
    tb_json_free(answer);
    return status;
}
