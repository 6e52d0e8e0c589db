/* tapbox stop: ends a capture before its deadline. */
#include <stdio.h>

#include <tapbox/ids.h>

#include "api_int.h"
#include "cli_int.h"

static const char help[] =
    "Usage: tapbox stop CAPTURE [--json]\n"
    "\n"
    "Ends a capture before its deadline.  The mirror is taken away, what was recorded is\n"
    "sealed and put into S3; 'tapbox show CAPTURE' tells how far that is.\n"
    "\n" TB_API_HELP "\n"
    "Status: 0 it is being stopped, 3 no such capture, 6 it has been stopped already.\n";

int
tb_cmd_stop(int argc, char **argv)
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
            return tb_cli_finish_stdout("stop");
        }
        if (!tb_api_option(&api, option, optarg)) {
            return tb_cli_try_help("stop");
        }
    }
    if (optind + 1 != argc) {
        return tb_cli_usage("stop", "which capture?  'tapbox list --live' shows them");
    }
    if (!tb_capture_id_valid(argv[optind])) {
        return tb_cli_usage("stop", "'%s' is not a capture's id (cap-...)", argv[optind]);
    }
    snprintf(path, sizeof(path), "/v1/captures/%s/stop", argv[optind]);
    status = tb_api_do(&api, &(struct tb_api_call){"stop", "POST", path, "", NULL}, &answer);
    if (status == TB_EXIT_OK && !api.json) {
        char state[20];

        printf("%s is being stopped (%s).\n", argv[optind],
               tb_show_text(answer, "/capture/state", state, sizeof(state)));
        status = tb_cli_finish_stdout("stop");
    }
    tb_json_free(answer);
    return status;
}
