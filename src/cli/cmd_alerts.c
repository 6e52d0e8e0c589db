/* tapbox alerts: what arrived, what became of it, and one of them decided again. */
#include <stdio.h>
#include <stdlib.h>

#include "api_int.h"
#include "cli_int.h"

static const char help[] =
    "Usage: tapbox alerts [--decision WORD] [--limit N] [--before ALERT] [OPTION]...\n"
    "       tapbox alerts replay ALERT [OPTION]...\n"
    "\n"
    "Lists the alerts that arrived, newest first, with what was decided of each and why; or "
    "lets\n"
    "the present policy decide one of them again ('tapbox plan --alert ALERT' says before "
    "what\n"
    "would come of it).  ALERT is the first word of a line, or the sender's own id, of which "
    "the\n"
    "newest counts.\n"
    "\n"
    "      --decision WORD    only these: capture, joined, ignored, refused or noted\n"
    "  -n, --limit N          at most N of them, 1 to 1000 (100)\n"
    "      --before ALERT     those that came before this one\n" TB_API_HELP;

bool
tb_cli_alert_path(const char *alert, const char *query, char *out, size_t cap)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:";

    return alert[0] != '\0' && strlen(alert) < 64 && strspn(alert, plain) == strlen(alert) &&
           snprintf(out, cap, "/v1/alerts/%s/replay%s", alert, query) < (int)cap;
}

static int
replay(const struct tb_api_options *api, int count, char **words)
{
    struct tb_json *answer = NULL;
    char path[160];
    int status;

    if (count != 1) {
        return tb_cli_usage("alerts", count == 0 ? "replay: which alert?  'tapbox alerts' "
                                                   "lists them"
                                                 : "replay: one alert at a time");
    }
    if (!tb_cli_alert_path(words[0], "", path, sizeof(path))) {
        return tb_cli_usage("alerts", "'%s' is no alert's id", words[0]);
    }
    status = tb_api_do(api, &(struct tb_api_call){"alerts", "POST", path, "", NULL}, &answer);
    if (status == TB_EXIT_OK && !api->json) {
        tb_show_intake(answer);
        status = tb_cli_finish_stdout("alerts");
    }
    tb_json_free(answer);
    return status;
}

static void
show_alerts(const struct tb_json *alerts)
{
    size_t count = tb_json_count(alerts);

    if (count == 0) {
        puts("No alerts.");
        return;
    }
    printf("%-12s %-20s %-8s %-42s %4s  %s\n", "ALERT", "RECEIVED", "DECISION", "TYPE", "SEV",
           "REASON");
    for (size_t i = 0; i < count; i++) {
        const struct tb_json *a = tb_json_item(alerts, i);
        char id[32], received[40], decision[16], type[80], capture[48], reason[300];
        double severity = 0;

        (void)tb_json_number(a, "/severity", &severity);
        printf("%-12s %-20.19s %-8s %-42s %4.1f  %s%s%s\n",
               tb_show_text(a, "/id", id, sizeof(id)),
               tb_show_text(a, "/received", received, sizeof(received)),
               tb_show_text(a, "/decision", decision, sizeof(decision)),
               tb_show_text(a, "/type", type, sizeof(type)), severity,
               tb_json_str(a, "/capture") != NULL
                   ? tb_show_text(a, "/capture", capture, sizeof(capture))
                   : "",
               tb_json_str(a, "/capture") != NULL ? ": " : "",
               tb_show_text(a, "/reason", reason, sizeof(reason)));
    }
}

/* The path of the list; false when a word cannot be one. */
static bool
list_path(const char *decision, const char *before, const char *limit, char *out, size_t cap)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    const char *const values[] = {decision, before};
    static const char *const names[] = {"decision", "before"};
    size_t len = (size_t)snprintf(out, cap, "/v1/alerts?limit=%s", limit);

    for (size_t i = 0; i < 2; i++) {
        if (values[i] != NULL &&
            (strspn(values[i], plain) != strlen(values[i]) || strlen(values[i]) > 40)) {
            return false;
        }
        if (values[i] != NULL) {
            len += (size_t)snprintf(out + len, cap - len, "&%s=%s", names[i], values[i]);
        }
    }
    return true;
}

static int
list(const struct tb_api_options *api, const char *path)
{
    struct tb_json *answer = NULL;
    int status =
        tb_api_do(api, &(struct tb_api_call){"alerts", "GET", path, NULL, NULL}, &answer);

    if (status == TB_EXIT_OK && !api->json) {
        show_alerts(tb_json_at(answer, "/alerts"));
        status = tb_cli_finish_stdout("alerts");
    }
    tb_json_free(answer);
    return status;
}

int
tb_cmd_alerts(int argc, char **argv)
{
    static const struct option options[] = {
        TB_API_OPTIONS,
        {"decision", required_argument, NULL, 'd'},
        {"before", required_argument, NULL, 'b'},
        {"limit", required_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct tb_api_options api = {0};
    const char *decision = NULL, *before = NULL, *limit = "100";
    char path[200];
    int option;

    while ((option = getopt_long(argc, argv, "n:h", options, NULL)) != -1) {
        if (option == 'd') {
            decision = optarg;
        } else if (option == 'b') {
            before = optarg;
        } else if (option == 'n') {
            limit = optarg;
        } else if (option == 'h') {
            fputs(help, stdout);
            return tb_cli_finish_stdout("alerts");
        } else if (!tb_api_option(&api, option, optarg)) {
            return tb_cli_try_help("alerts");
        }
    }
    if (optind < argc && strcmp(argv[optind], "replay") == 0) {
        return replay(&api, argc - optind - 1, argv + optind + 1);
    }
    if (optind < argc) {
        return tb_cli_usage("alerts", "'%s' is one argument too many", argv[optind]);
    }
    if (limit[0] == '\0' || strspn(limit, "0123456789") != strlen(limit) || strlen(limit) > 4 ||
        !list_path(decision, before, limit, path, sizeof(path))) {
        return tb_cli_usage("alerts", "--limit is a number from 1 to 1000, --decision a word, "
                                      "--before an alert's id");
    }
    return list(&api, path);
}
