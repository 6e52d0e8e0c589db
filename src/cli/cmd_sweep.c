/* tapbox sweep: removes what is ours and expired, by the tags alone.  For a timer on any host.
 */
#include <getopt.h>
#include <stdio.h>

#include <tapbox/control.h>
#include <tapbox/http_client.h>

#include "cli_int.h"

static void
print_help(void)
{
    fputs("Usage: tapbox sweep [--owner NAME] [--standing] [--dry-run] [--region REGION]\n"
          "\n"
          "Deletes mirror sessions and filters of tapbox whose tapbox:expires has passed, by "
          "AWS's\n"
          "own clock.  It needs nothing but AWS credentials: run it from a timer on another "
          "host\n"
          "than the one that captures.  Objects of others are never touched.\n"
          "\n"
          "  --owner NAME     whose objects: the value of tapbox:owner (default tapbox)\n"
          "  --standing       also the mirror target and the shared filter that stay between\n"
          "                   captures; for taking tapbox out of an account\n"
          "  --dry-run        say what would be deleted\n"
          "  --region REGION  default: as AWS's environment says\n"
          "\n"
          "Exit status: 0 nothing is left that should not be, 1 something could not be "
          "deleted.\n",
          stdout);
}

static void
print_line(void *arg, const char *line)
{
    (void)arg;
    puts(line);
}

static enum tb_err
sweep(const char *region, const struct tb_sweep_options *options, struct tb_sweep_result *out,
      struct tb_fail *fail)
{
    struct tb_http_client *http = NULL;
    struct tb_aws *aws = NULL;
    enum tb_err err;

    err = tb_http_client_new(&http, fail);
    if (err == TB_OK) {
        err = tb_aws_new(http, region, &aws, fail);
    }
    if (err == TB_OK) {
        err = tb_sweep(aws, options, print_line, NULL, out, fail);
    }
    tb_aws_free(aws);
    tb_http_client_free(http);
    return err;
}

int
tb_cmd_sweep(int argc, char **argv)
{
    static const struct option options[] = {
        {"owner", required_argument, NULL, 'o'}, {"standing", no_argument, NULL, 's'},
        {"dry-run", no_argument, NULL, 'n'},     {"region", required_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0},
    };
    struct tb_sweep_options asked = {.owner = "tapbox"};
    struct tb_sweep_result result = {0};
    struct tb_fail fail = {0};
    const char *region = NULL;
    int option;

    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'o':
            asked.owner = optarg;
            break;
        case 's':
            asked.standing = true;
            break;
        case 'n':
            asked.dry_run = true;
            break;
        case 'r':
            region = optarg;
            break;
        case 'h':
            print_help();
            return tb_cli_finish_stdout("sweep");
        default:
            return tb_cli_try_help("sweep");
        }
    }
    if (optind < argc) {
        return tb_cli_usage("sweep", "'%s' is one argument too many", argv[optind]);
    }
    if (sweep(region, &asked, &result, &fail) != TB_OK) {
        return tb_cli_fail("sweep", &fail);
    }
    printf("%s: %zu sessions, %zu filters, %zu targets; %zu failed\n",
           asked.dry_run ? "would be deleted" : "deleted", result.sessions, result.filters,
           result.targets, result.failed);
    return result.failed > 0 ? TB_EXIT_FAILED : tb_cli_finish_stdout("sweep");
}
