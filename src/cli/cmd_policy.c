/* tapbox policy: show it, check it, test it. */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tapbox/io.h>

#include "cli_int.h"
#include "policy_int.h"

static const char help[] =
    "Usage: tapbox policy show [--config FILE]\n"
    "       tapbox policy check FILE\n"
    "       tapbox policy test DIR [--policy FILE | --config FILE] [--json]\n"
    "\n"
    "The rules that say which alert is captured, and how.  Nobody is asked: not AWS, not the\n"
    "service.\n"
    "\n"
    "  show   the policy in force, ready to be changed\n"
    "  check  every mistake of a policy file, each with file, line and key\n"
    "  test   what becomes of each event (NAME.json) of a folder, against what is expected\n"
    "         of it (NAME.expect.json): members of 'tapbox plan --event NAME.json --offline\n"
    "         --json' that have to be there; '*' in a text stands for anything.  \"given\":\n"
    "         {\"vpc\", \"subnet\", \"tags\"} says what EC2 would tell of the source\n"
    "\n"
    "  -p, --policy FILE  this policy instead of the one in force\n"
    "  -c, --config FILE  the configuration that names it (default " TB_CLI_CONFIG ",\n"
    "                     and without that file the policy that ships)\n"
    "      --json         test: a list with the plan of each event\n"
    "  -h, --help         this text\n"
    "\n"
    "Status: 0 all as expected, 1 an event is decided otherwise, 2 a file is wrong or an "
    "event\n"
    "has no expectation, 3 there is no such file.\n";

enum tb_err
tb_cli_policy_load(const char *command, const char *config_path, const char *policy_path,
                   struct tb_config *config, struct tb_rules **out_rules, struct tb_fail *fail)
{
    enum tb_err err;

    if (config_path == NULL && access(TB_CLI_CONFIG, F_OK) != 0) {
        if (policy_path == NULL) {
            fprintf(stderr,
                    "tapbox %s: there is no " TB_CLI_CONFIG ": with the policy that ships\n",
                    command);
        }
        err = tb_config_parse(tb_bytes_str("s3: {bucket: not-used}"), "defaults", config, fail);
    } else {
        err = tb_config_load(config_path != NULL ? config_path : TB_CLI_CONFIG, config, fail);
    }
    if (err == TB_OK && policy_path != NULL &&
        !tb_str_copy(config->policy_file, sizeof(config->policy_file), policy_path)) {
        err = tb_fail_set(fail, TB_EINVAL, "%s: the path is too long", policy_path);
    }
    if (err == TB_OK) {
        err = tb_policy_load(config, out_rules, fail);
    }
    if (err == TB_OK) {
        config->policy.rules = *out_rules;
    }
    return err;
}

enum tb_err
tb_cli_plan_offline(const struct tb_policy *policy, struct tb_bytes event, const char *sender,
                    void (*change)(const void *arg, const struct tb_policy *policy,
                                   struct tb_intake_preview *preview),
                    const void *arg, struct tb_json **out, struct tb_fail *fail)
{
    struct tb_intake_preview *previews = NULL;
    struct tb_json *list = NULL, *one = NULL;
    size_t count = 0;
    enum tb_err err =
        tb_intake_preview_event(policy, event, sender, NULL, &previews, &count, fail);

    list = count > 1 ? tb_json_array() : NULL;
    for (size_t i = 0; i < count; i++) {
        if (change != NULL) {
            change(arg, policy, &previews[i]);
        }
        one = tb_intake_preview_json(&previews[i], false);
        tb_json_set_bool(one, "blocked", false);
        tb_json_set(one, "checks", tb_json_array());
        if (count > 1) {
            tb_json_add(list, one);
        }
    }
    free(previews);
    if (err == TB_OK) {
        *out = count > 1 ? tb_intake_previews_json(list) : one;
    }
    return err;
}

static int
show(const char *config_path)
{
    struct tb_buf text = TB_BUF_INIT(TB_CONFIG_MAX_BYTES);
    struct tb_rules *rules = NULL;
    struct tb_config config;
    struct tb_fail fail = {0};
    enum tb_err err = tb_cli_policy_load("policy", config_path, NULL, &config, &rules, &fail);

    if (err == TB_OK && config.policy_file[0] != '\0') {
        err = tb_read_file(AT_FDCWD, config.policy_file, &text, &fail);
    } else if (err == TB_OK) {
        tb_buf_put_bytes(&text, tb_policy_default());
    }
    if (err == TB_OK) {
        (void)fwrite(text.at, 1, text.len, stdout);
    }
    tb_rules_free(rules);
    tb_buf_release(&text);
    return err == TB_OK ? tb_cli_finish_stdout("policy") : tb_cli_fail("policy", &fail);
}

static void
print_complaint(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "%s\n", line);
}

static int
check(const char *path)
{
    struct tb_buf text = TB_BUF_INIT(TB_CONFIG_MAX_BYTES);
    struct tb_rules *rules = NULL;
    struct tb_fail fail = {0};
    int status;

    if (tb_read_file(AT_FDCWD, path, &text, &fail) != TB_OK) {
        status = tb_cli_fail("policy", &fail);
    } else if (tb_policy_parse(tb_buf_view(&text), path, &rules, print_complaint, NULL,
                               &fail) != TB_OK) {
        status = fail.err == TB_EINVAL ? TB_EXIT_USAGE : tb_cli_fail("policy", &fail);
    } else {
        printf("%s: OK, %zu profiles, %zu rules\n", path, rules->profile_count,
               rules->rule_count);
        status = tb_cli_finish_stdout("policy");
    }
    tb_rules_free(rules);
    tb_buf_release(&text);
    return status;
}

static int
test(const char *dir, const char *config_path, const char *policy_path, bool json)
{
    struct tb_rules *rules = NULL;
    struct tb_config config;
    struct tb_fail fail = {0};
    int status;

    if (tb_cli_policy_load("policy", config_path, policy_path, &config, &rules, &fail) !=
        TB_OK) {
        status = tb_cli_fail("policy", &fail);
    } else {
        status = tb_cli_policy_test(dir, &config.policy, json);
    }
    tb_rules_free(rules);
    return status;
}

int
tb_cmd_policy(int argc, char **argv)
{
    static const struct option options[] = {
        {"policy", required_argument, NULL, 'p'},
        {"config", required_argument, NULL, 'c'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *policy = NULL, *config = NULL, *what;
    bool json = false;
    int option, given;

    while ((option = getopt_long(argc, argv, "p:c:h", options, NULL)) != -1) {
        switch (option) {
        case 'p':
            policy = optarg;
            break;
        case 'c':
            config = optarg;
            break;
        case 'j':
            json = true;
            break;
        case 'h':
            fputs(help, stdout);
            return tb_cli_finish_stdout("policy");
        default:
            return tb_cli_try_help("policy");
        }
    }
    given = argc - optind;
    what = given > 0 ? argv[optind] : "";
    if (strcmp(what, "show") == 0 && given == 1) {
        return show(config);
    }
    if (strcmp(what, "check") == 0 && given == 2) {
        return check(argv[optind + 1]);
    }
    if (strcmp(what, "test") == 0 && given == 2) {
        return test(argv[optind + 1], config, policy, json);
    }
    return tb_cli_usage("policy", "what?  'policy show', 'policy check FILE' or 'policy test "
                                  "DIR'");
}
