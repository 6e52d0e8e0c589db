/* tapbox plan: what a request or an alert would do, and why it may not work. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <tapbox/clock.h>
#include <tapbox/io.h>

#include "api_int.h"
#include "cli_int.h"
#include "policy_int.h"

/* AWS is asked in three rounds, and each call is tried again when it is throttled. */
static const int64_t patience_ns = 150 * TB_NS_PER_S;

static const char help[] =
    "Usage: tapbox plan SOURCE... [OPTION]...\n"
    "       tapbox plan --event FILE [--sender NAME] [--offline] [OPTION]...\n"
    "       tapbox plan --alert ALERT [OPTION]...\n"
    "\n"
    "Says what a capture of these sources (i-... or eni-...), or an alert, would do and why "
    "it\n"
    "may not work, and makes nothing.\n"
    "\n"
    "  -e, --event FILE       an alert as its sender posts it; -: standard input\n"
    "  -a, --alert ALERT      one that arrived before ('tapbox alerts' lists them), by the\n"
    "                         policy as it is now\n"
    "      --sender NAME      read it as of this sender of the policy (as POST\n"
    "                         /v1/events/NAME does), not by what it looks like\n"
    "      --offline          only what policy says of the alert: asks nobody\n"
    "  -c, --config FILE      with --offline: the policy (default " TB_CLI_CONFIG ",\n"
    "                         and without that file the defaults)\n"
    "  -p, --policy FILE      with --offline: this policy instead\n"
    "  -r, --reason TEXT      as for start, as are the following\n"
    "  -d, --duration TIME\n"
    "      --account ID\n"
    "      --case ID\n"
    "      --bpf EXPRESSION\n"
    "      --snaplen N\n"
    "      --max-bytes SIZE\n"
    "      --max-packets N\n" TB_API_HELP "\n"
    "Exit status: 0 the plan is told (an alert's may be to ignore or refuse it), 1 pre-flight\n"
    "says that it cannot run, others as of every command.\n";

struct plan {
    struct tb_api_options api;
    struct tb_cli_request request;
    const char *event, *alert, *sender, *config, *policy;
    bool offline;
};

enum {
    OPTION_OFFLINE = 1,
    OPTION_SENDER
};

static bool
take_option(struct plan *plan, int option, const char *value)
{
    switch (option) {
    case 'e':
        plan->event = value;
        return true;
    case 'a':
        plan->alert = value;
        return true;
    case 'c':
        plan->config = value;
        return true;
    case 'p':
        plan->policy = value;
        return true;
    case OPTION_OFFLINE:
        plan->offline = true;
        return true;
    case OPTION_SENDER:
        plan->sender = value;
        return true;
    default:
        return tb_cli_request_option(&plan->request, option, value) ||
               tb_api_option(&plan->api, option, value);
    }
}

static enum tb_err
read_event(const char *path, struct tb_buf *out, struct tb_fail *fail)
{
    uint8_t piece[16384];
    ssize_t got;

    if (strcmp(path, "-") != 0) {
        return tb_read_file(AT_FDCWD, path, out, fail);
    }
    while ((got = read(STDIN_FILENO, piece, sizeof(piece))) > 0) {
        tb_buf_put(out, piece, (size_t)got);
    }
    return got < 0 ? tb_fail_errno(fail, errno, "standard input")
                   : tb_buf_check(out, "standard input", fail);
}

/* The exit status that a plan stands for. */
static int
exit_of(const struct tb_json *answer)
{
    bool blocked = false;

    return tb_json_bool(answer, "/blocked", &blocked) && blocked ? TB_EXIT_FAILED : TB_EXIT_OK;
}

static enum tb_err
decide(const struct plan *plan, struct tb_bytes event, struct tb_json **out,
       struct tb_fail *fail)
{
    struct tb_config *config = malloc(sizeof(*config));
    struct tb_rules *rules = NULL;
    enum tb_err err = config == NULL ? tb_fail_set(fail, TB_ENOMEM, "no memory for a plan")
                                     : tb_cli_policy_load("plan", plan->config, plan->policy,
                                                          config, &rules, fail);

    if (err == TB_OK && config != NULL) {
        err = tb_cli_plan_offline(&config->policy, event, plan->sender, NULL, NULL, out, fail);
        if (err == TB_ENOTFOUND || err == TB_EFORMAT) {
            err = TB_EINVAL; /* an event that nobody knows is a wrong input */
            fail->err = err;
        }
    }
    tb_rules_free(rules);
    free(config);
    return err;
}

static int
plan_offline(const struct plan *plan, struct tb_bytes event)
{
    struct tb_buf text = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_json *root = NULL;
    struct tb_fail fail = {0};
    enum tb_err err = decide(plan, event, &root, &fail);
    int status = TB_EXIT_OK;

    if (err == TB_OK && plan->api.json) {
        err = tb_json_dump(root, true, &text, &fail);
    }
    if (err != TB_OK) {
        status = tb_cli_fail("plan", &fail);
    } else if (plan->api.json) {
        puts(tb_buf_str(&text));
    } else {
        tb_show_plan(root);
    }
    if (status == TB_EXIT_OK) {
        status = tb_cli_finish_stdout("plan");
    }
    tb_json_free(root);
    tb_buf_release(&text);
    return status;
}

static int
plan_online(const struct plan *plan, const char *path, const char *body)
{
    struct tb_json *answer = NULL;
    int status =
        tb_api_do(&plan->api, &(struct tb_api_call){"plan", "POST", path, body, NULL}, &answer);

    if (status == TB_EXIT_OK && !plan->api.json) {
        tb_show_plan(answer);
        status = tb_cli_finish_stdout("plan");
    }
    if (status == TB_EXIT_OK) {
        status = exit_of(answer);
    }
    tb_json_free(answer);
    return status;
}

static int
check_usage(const struct plan *plan, int sources)
{
    if ((plan->event != NULL) + (plan->alert != NULL) + (sources > 0) > 1) {
        return tb_cli_usage("plan", "either sources, --event or --alert");
    }
    if (plan->event == NULL && plan->alert == NULL && sources == 0) {
        return tb_cli_usage("plan", "which instance (i-...), interface (eni-...), --event FILE "
                                    "or --alert ALERT?");
    }
    if (plan->event == NULL && plan->offline) {
        return tb_cli_usage("plan", "--offline belongs to --event: a source has to be looked "
                                    "up");
    }
    if (plan->event == NULL && plan->sender != NULL) {
        return tb_cli_usage("plan", "--sender belongs to --event");
    }
    if (plan->sender != NULL &&
        (plan->sender[0] == 0 || strlen(plan->sender) >= TB_ALERT_ADAPTER_SIZE ||
         strspn(plan->sender, "abcdefghijklmnopqrstuvwxyz0123456789-_") !=
             strlen(plan->sender))) {
        return tb_cli_usage("plan", "--sender is a name of the policy's senders");
    }
    if ((plan->config != NULL || plan->policy != NULL) && !plan->offline) {
        return tb_cli_usage("plan", "--config and --policy belong to --offline: the service "
                                    "has its own");
    }
    return TB_EXIT_OK;
}

int
tb_cmd_plan(int argc, char **argv)
{
    static const struct option options[] = {
        TB_API_OPTIONS,
        TB_CLI_REQUEST_OPTIONS,
        {"event", required_argument, NULL, 'e'},
        {"alert", required_argument, NULL, 'a'},
        {"sender", required_argument, NULL, OPTION_SENDER},
        {"offline", no_argument, NULL, OPTION_OFFLINE},
        {"policy", required_argument, NULL, 'p'},
        {"config", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct plan plan = {.api = {.patience_ns = patience_ns}, .request = {.reason = "plan"}};
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_fail fail = {0};
    int option, status;

    while ((option = getopt_long(argc, argv, "e:a:c:p:r:d:h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return tb_cli_finish_stdout("plan");
        }
        if (!take_option(&plan, option, optarg)) {
            return tb_cli_try_help("plan");
        }
    }
    status = check_usage(&plan, argc - optind);
    if (status != TB_EXIT_OK) {
        return status;
    }
    if (plan.alert != NULL) {
        char path[160];

        status = tb_cli_alert_path(plan.alert, "?dry_run=1", path, sizeof(path))
                     ? plan_online(&plan, path, "")
                     : tb_cli_usage("plan", "'%s' is no alert's id", plan.alert);
    } else if (plan.event == NULL) {
        status = tb_cli_request_body("plan", &plan.request, argv + optind,
                                     (size_t)(argc - optind), &body);
        if (status == TB_EXIT_OK) {
            status = plan_online(&plan, "/v1/captures?dry_run=1", tb_buf_str(&body));
        }
    } else if (read_event(plan.event, &body, &fail) != TB_OK) {
        status = tb_cli_fail("plan", &fail);
    } else if (plan.offline) {
        status = plan_offline(&plan, tb_buf_view(&body));
    } else {
        char path[64];

        (void)snprintf(path, sizeof(path), "/v1/events%s%s?dry_run=1",
                       plan.sender != NULL ? "/" : "", plan.sender != NULL ? plan.sender : "");
        status = plan_online(&plan, path, tb_buf_str(&body));
    }
    tb_buf_release(&body);
    return status;
}
