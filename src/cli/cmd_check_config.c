/* tapbox check-config: is the configuration right, and what does it say. */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include <tapbox/clock.h>
#include <tapbox/config.h>
#include <tapbox/io.h>
#include <tapbox/policy_file.h>

#include "cli_int.h"

static const char help[] =
    "Usage: tapbox check-config [--config FILE]\n"
    "       tapbox check-config --defaults\n"
    "\n"
    "Reads the configuration and says every mistake in it, each with file, line and key,\n"
    "or what it means.\n"
    "\n"
    "  -c, --config FILE  the file to check (" TB_CLI_CONFIG ")\n"
    "      --defaults     print every setting with its default and what it is for,\n"
    "                     ready to be changed\n"
    "  -h, --help         this text\n"
    "\n"
    "Status: 0 it is right, 2 it is not, 3 there is no such file.\n";

static int
print_defaults(void)
{
    struct tb_buf text = TB_BUF_INIT(TB_CONFIG_MAX_BYTES);
    struct tb_fail fail = {0};
    int status;

    if (tb_config_explain(&text, &fail) == TB_OK) {
        fputs(tb_buf_str(&text), stdout);
        status = tb_cli_finish_stdout("check-config");
    } else {
        status = tb_cli_fail("check-config", &fail);
    }
    tb_buf_release(&text);
    return status;
}

static void
print_complaint(void *arg, const char *line)
{
    size_t *count = arg;

    fprintf(stderr, "%s\n", line);
    ++*count;
}

static void
print_meaning(const char *path, const struct tb_config *config, size_t rule_count)
{
    const struct tb_request_bounds *bounds = &config->policy.bounds;
    bool six = strchr(config->listen_address, ':') != NULL;

    printf("%s: OK\n", path);
    printf("  API          http://%s%s%s:%u, tokens in %s\n", six ? "[" : "",
           config->listen_address, six ? "]" : "", (unsigned)config->listen_port,
           config->tokens_file);
    printf("  evidence     s3://%s/%s/\n", config->s3_bucket, config->s3_prefix);
    printf("  Region       %s\n",
           config->region[0] != '\0' ? config->region : "from the AWS environment");
    printf("  target       %s\n",
           config->target_eni[0] != '\0' ? config->target_eni : "this host's own interface");
    printf("  recorder     on %s, socket %s\n", config->recorder_interface,
           config->recorder_socket);
    printf("  time box     %lld s, at most %lld s\n",
           (long long)(bounds->default_duration_ns / TB_NS_PER_S),
           (long long)(bounds->max_duration_ns / TB_NS_PER_S));
    printf("  policy       %s, %zu rules\n",
           config->policy_file[0] != '\0' ? config->policy_file : "the one that ships",
           rule_count);
}

static int
check(const char *path)
{
    struct tb_buf text = TB_BUF_INIT(TB_CONFIG_MAX_BYTES);
    struct tb_config config = {0};
    struct tb_rules *rules = NULL;
    struct tb_fail fail = {0};
    size_t complaints = 0;
    int status;

    if (tb_read_file(AT_FDCWD, path, &text, &fail) != TB_OK) {
        status = tb_cli_fail("check-config", &fail);
    } else if (tb_config_check(tb_buf_view(&text), path, &config, print_complaint, &complaints,
                               &fail) == TB_OK) {
        if (tb_policy_load(&config, &rules, &fail) == TB_OK) {
            print_meaning(path, &config, rules->rule_count);
            status = tb_cli_finish_stdout("check-config");
        } else {
            status = tb_cli_fail("check-config", &fail);
        }
    } else if (complaints > 0) {
        status = TB_EXIT_USAGE;
    } else {
        status = tb_cli_fail("check-config", &fail);
    }
    tb_rules_free(rules);
    tb_buf_release(&text);
    return status;
}

int
tb_cmd_check_config(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"defaults", no_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *path = TB_CLI_CONFIG;
    bool defaults = false;
    int option;

    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 'd':
            defaults = true;
            break;
        case 'h':
            fputs(help, stdout);
            return tb_cli_finish_stdout("check-config");
        default:
            return tb_cli_try_help("check-config");
        }
    }
    if (optind < argc) {
        return tb_cli_usage("check-config", "'%s' is one argument too many (--config FILE?)",
                            argv[optind]);
    }
    return defaults ? print_defaults() : check(path);
}
