/* tapbox list: the captures, newest first. */
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/clock.h>

#include "api_int.h"
#include "cli_int.h"

static const char help[] =
    "Usage: tapbox list [--live] [--limit N] [--json]\n"
    "       tapbox list --foreign [--json]\n"
    "\n"
    "Lists captures, newest first; or mirror sessions of the account that tapbox did not "
    "make.\n"
    "\n"
    "      --live             only those that have not ended\n"
    "      --foreign          sessions of others, as EC2 knows them now\n"
    "  -n, --limit N          at most N of them, 1 to 1000 (100)\n" TB_API_HELP;

static const int64_t foreign_patience_ns = 60 * TB_NS_PER_S; /* EC2 may be slow */

static int
list_foreign(const struct tb_api_options *api)
{
    const struct tb_api_call call = {"list", "GET", "/v1/foreign-sessions", NULL, NULL};
    struct tb_json *answer = NULL;
    int status = tb_api_do(api, &call, &answer);

    if (status == TB_EXIT_OK && !api->json) {
        tb_show_foreign(answer);
        status = tb_cli_finish_stdout("list");
    }
    tb_json_free(answer);
    return status;
}

int
tb_cmd_list(int argc, char **argv)
{
    static const struct option options[] = {
        TB_API_OPTIONS,
        {"live", no_argument, NULL, 'l'},
        {"foreign", no_argument, NULL, 'f'},
        {"limit", required_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct tb_api_options api = {0};
    struct tb_json *answer = NULL;
    const char *limit = "100";
    bool live = false, foreign = false;
    char path[64];
    int option, status;

    while ((option = getopt_long(argc, argv, "lfn:h", options, NULL)) != -1) {
        if (option == 'l') {
            live = true;
        } else if (option == 'f') {
            foreign = true;
        } else if (option == 'n') {
            limit = optarg;
        } else if (option == 'h') {
            fputs(help, stdout);
            return tb_cli_finish_stdout("list");
        } else if (!tb_api_option(&api, option, optarg)) {
            return tb_cli_try_help("list");
        }
    }
    if (optind < argc) {
        return tb_cli_usage("list", "'%s' is one argument too many", argv[optind]);
    }
    if (limit[0] == '\0' || strspn(limit, "0123456789") != strlen(limit) || strlen(limit) > 4) {
        return tb_cli_usage("list", "--limit: '%s' is not a number from 1 to 1000", limit);
    }
    if (foreign) {
        api.patience_ns = foreign_patience_ns;
        return live ? tb_cli_usage("list", "--live is for captures, --foreign lists sessions")
                    : list_foreign(&api);
    }
    snprintf(path, sizeof(path), "/v1/captures?limit=%s%s", limit, live ? "&live=1" : "");
    status = tb_api_do(&api, &(struct tb_api_call){"list", "GET", path, NULL, NULL}, &answer);
    if (status == TB_EXIT_OK && !api.json) {
        tb_show_list(tb_json_at(answer, "/captures"));
        status = tb_cli_finish_stdout("list");
    }
    tb_json_free(answer);
    return status;
}
