/* tapbox token add: makes a token for somebody who calls the API. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include <tapbox/http_server.h>

#include "cli_int.h"

static const char help[] =
    "Usage: tapbox token add NAME --role ROLE[,ROLE] [--file FILE | --config FILE]\n"
    "\n"
    "Makes a token, writes its salted hash with name and roles into the tokens file, and\n"
    "prints the token: this once, as nobody can find it in the file.  A running service takes\n"
    "it at once.  To revoke a token, delete its line.\n"
    "\n"
    "  -r, --role ROLE      alert      may post alerts (EventBridge, SNS)\n"
    "                       analyst    may start, stop and see captures\n"
    "                       responder  may see captures and fetch evidence\n"
    "                       scraper    may read /metrics\n"
    "                       admin      may do everything\n"
    "  -f, --file FILE      the tokens file\n"
    "  -c, --config FILE    or the configuration that names it (" TB_CLI_CONFIG ")\n"
    "  -h, --help           this text\n"
    "\n"
    "Status: 0 made, 6 the name is taken.\n";

static int
add(const char *name, const char *role, const char *file, const char *config_path)
{
    struct tb_secret token = TB_SECRET_INIT;
    struct tb_config config;
    struct tb_fail fail = {0};
    unsigned roles;
    int status;

    if (role == NULL) {
        return tb_cli_usage("token", "for what?  --role alert, analyst, responder, scraper or "
                                     "admin");
    }
    if (tb_role_parse(role, &roles) != TB_OK) {
        return tb_cli_usage("token",
                            "--role: '%s' is not alert, analyst, responder, scraper, "
                            "admin, or some of them with commas",
                            role);
    }
    if (file == NULL) {
        if (tb_config_load(config_path, &config, &fail) != TB_OK) {
            return tb_cli_fail("token", &fail);
        }
        file = config.tokens_file;
    }
    if (tb_token_add(file, name, roles, &token, &fail) != TB_OK) {
        return tb_cli_fail("token", &fail);
    }
    /* the one place where a secret is shown: that is what was asked for */
    printf("%s\n", token.text);
    tb_secret_release(&token);
    status = tb_cli_finish_stdout("token");
    fprintf(stderr, "Token '%s' (%s) is in %s; it is not shown again.\n", name, role, file);
    return status;
}

int
tb_cmd_token(int argc, char **argv)
{
    static const struct option options[] = {
        {"role", required_argument, NULL, 'r'},
        {"file", required_argument, NULL, 'f'},
        {"config", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *role = NULL, *file = NULL, *config = TB_CLI_CONFIG;
    int option;

    while ((option = getopt_long(argc, argv, "r:f:c:h", options, NULL)) != -1) {
        switch (option) {
        case 'r':
            role = optarg;
            break;
        case 'f':
            file = optarg;
            break;
        case 'c':
            config = optarg;
            break;
        case 'h':
            fputs(help, stdout);
            return tb_cli_finish_stdout("token");
        default:
            return tb_cli_try_help("token");
        }
    }
    if (optind == argc || strcmp(argv[optind], "add") != 0) {
        return tb_cli_usage("token", "what?  'tapbox token add NAME --role ROLE'");
    }
    if (optind + 2 != argc) {
        return tb_cli_usage("token", "one name for the token, please: 'tapbox token add NAME'");
    }
    return add(argv[optind + 1], role, file, config);
}
