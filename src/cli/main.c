/* The program: finds the subcommand in a table and gives it the rest of the command line. */
#include <stdio.h>
#include <string.h>

#include <tapbox/build.h>

#include "cli_int.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help; /* one line; NULL: not for people, not listed */
};

/* In the order in which somebody meets them. */
static const struct command commands[] = {
    {"check-config", tb_cmd_check_config, "check the configuration, or explain every setting"},
    {"keygen", tb_cmd_keygen, "make the key that evidence is signed with"},
    {"token", tb_cmd_token, "make a token for who may call the API"},
    {"serve", tb_cmd_serve, "run the service: alerts in, mirrors up and down, evidence to S3"},
    {"record", tb_cmd_record, "receive mirrored packets and write segments"},
    {"policy", tb_cmd_policy, "show, check and test the rules of what is captured"},
    {"plan", tb_cmd_plan, "say what a capture or an alert would do, and why it may not work"},
    {"alerts", tb_cmd_alerts, "list the alerts that arrived, or decide one of them again"},
    {"start", tb_cmd_start, "record the traffic of an instance or interface"},
    {"list", tb_cmd_list, "list captures"},
    {"show", tb_cmd_show, "show one capture: state, packets, segments, AWS objects"},
    {"watch", tb_cmd_watch, "watch captures as they run"},
    {"extend", tb_cmd_extend, "move the deadline of a capture"},
    {"stop", tb_cmd_stop, "end a capture before its deadline"},
    {"fetch", tb_cmd_fetch, "get a capture's files, or only the packets that are wanted"},
    {"report", tb_cmd_report, "write one page about a capture, from the service or its files"},
    {"verify", tb_cmd_verify, "prove a folder of evidence, with nothing but the public key"},
    {"sweep", tb_cmd_sweep, "delete expired mirror sessions by their tags, from any host"},
    {"bpf-compile", tb_cmd_bpf_compile, NULL},
    {"summarize", tb_cmd_summarize, NULL},
    {NULL, NULL, NULL},
};

static void
print_help(void)
{
    fputs("tapbox records the network traffic of an EC2 instance for a limited time, after an "
          "alert\n"
          "or on request: it opens a VPC traffic mirror, writes what arrives into .pcapng.zst "
          "files,\n"
          "puts them into S3 with proof of what they are, and takes the mirror away again.\n"
          "\n"
          "Usage: tapbox COMMAND [OPTION]...\n"
          "\n"
          "Commands:\n",
          stdout);
    for (const struct command *c = commands; c->name != NULL; c++) {
        if (c->help != NULL) {
            printf("  %-13s %s\n", c->name, c->help);
        }
    }
    fputs("\n"
          "First steps:\n"
          "  tapbox check-config --defaults > tapbox.yaml    every setting, explained\n"
          "  tapbox token add me --role analyst,responder    makes a token, shows it once\n"
          "  tapbox serve --with-recorder                    the service (needs root)\n"
          "  export TAPBOX_TOKEN=tbx_...\n"
          "  tapbox start i-0123456789abcdef0 --duration 15m --reason 'odd DNS, IR-1234'\n"
          "  tapbox list; tapbox watch CAPTURE; tapbox stop CAPTURE\n"
          "\n"
          "'tapbox COMMAND --help' tells more, 'man tapbox' everything.\n",
          stdout);
}

static const struct command *
find_command(const char *name)
{
    for (const struct command *c = commands; c->name != NULL; c++) {
        if (strcmp(c->name, name) == 0) {
            return c;
        }
    }
    return NULL;
}

int
main(int argc, char **argv)
{
    const struct command *command;

    if (argc < 2) {
        fputs("tapbox: which command?  'tapbox --help' lists them.\n", stderr);
        return TB_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help();
        return tb_cli_finish_stdout("help");
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        printf("tapbox %s\nbuild %s\n", TB_VERSION, tb_build_id());
        return tb_cli_finish_stdout("version");
    }
    command = find_command(argv[1]);
    if (command == NULL) {
        fprintf(stderr, "tapbox: no command '%s'.  'tapbox --help' lists them.\n", argv[1]);
        return TB_EXIT_USAGE;
    }
    return command->run(argc - 1, argv + 1);
}
