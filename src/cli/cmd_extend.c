/* tapbox extend: moves the deadline of a capture. */
#include <stdio.h>

#include <tapbox/bytes.h>
#include <tapbox/clock.h>
#include <tapbox/ids.h>
#include <tapbox/limits.h>

#include "api_int.h"
#include "cli_int.h"

static const char help[] =
    "Usage: tapbox extend CAPTURE --duration TIME [--reason TEXT] [--json]\n"
    "\n"
    "Adds to the deadline of a capture that is recording.  AWS confirms the new deadline\n"
    "before this says so, which takes up to ten seconds; otherwise the old one stands.\n"
    "\n"
    "  -d, --duration TIME    what is added: 90s, 15m, 2h\n"
    "  -r, --reason TEXT      why; it stands in the custody log\n" TB_API_HELP "\n"
    "Status: 0 extended, 2 later than capture.max_duration allows, 3 no such capture,\n"
    "5 AWS did not confirm it, 6 it is not recording.\n";

static const int64_t patience_ns = 40 * TB_NS_PER_S; /* calls may have to wait for each other */

static int
send(const struct tb_api_options *api, const char *capture, const char *duration,
     const char *reason)
{
    struct tb_json *body = tb_json_object(), *answer = NULL;
    struct tb_buf text = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    char path[64 + TB_CAPTURE_ID_SIZE], deadline[TB_TIME_TEXT_SIZE];
    struct tb_fail fail = {0};
    int status;

    tb_json_set_str(body, "duration", duration);
    if (reason != NULL) {
        tb_json_set_str(body, "reason", reason);
    }
    if (tb_json_dump(body, false, &text, &fail) != TB_OK) {
        status = tb_cli_fail("extend", &fail);
        goto out;
    }
    snprintf(path, sizeof(path), "/v1/captures/%s/extend", capture);
    status = tb_api_do(
        api, &(struct tb_api_call){"extend", "POST", path, tb_buf_str(&text), NULL}, &answer);
    if (status == TB_EXIT_OK && !api->json) {
        char left[32];

        tb_show_seconds(left, sizeof(left), tb_show_number(answer, "/capture/seconds_left"));
        printf("%s ends at %.19sZ, in %s.\n", capture,
               tb_show_text(answer, "/capture/deadline", deadline, sizeof(deadline)), left);
        status = tb_cli_finish_stdout("extend");
    }

out:
    tb_json_free(answer);
    tb_json_free(body);
    tb_buf_release(&text);
    return status;
}

int
tb_cmd_extend(int argc, char **argv)
{
    static const struct option options[] = {
        TB_API_OPTIONS,
        {"duration", required_argument, NULL, 'd'},
        {"reason", required_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct tb_api_options api = {.patience_ns = patience_ns};
    const char *duration = NULL, *reason = NULL;
    int64_t ns;
    int option;

    while ((option = getopt_long(argc, argv, "d:r:h", options, NULL)) != -1) {
        if (option == 'd') {
            duration = optarg;
        } else if (option == 'r') {
            reason = optarg;
        } else if (option == 'h') {
            fputs(help, stdout);
            return tb_cli_finish_stdout("extend");
        } else if (!tb_api_option(&api, option, optarg)) {
            return tb_cli_try_help("extend");
        }
    }
    if (optind + 1 != argc) {
        return tb_cli_usage("extend", "which capture?  'tapbox list --live' shows them");
    }
    if (!tb_capture_id_valid(argv[optind])) {
        return tb_cli_usage("extend", "'%s' is not a capture's id (cap-...)", argv[optind]);
    }
    if (duration == NULL) {
        return tb_cli_usage("extend", "by how much?  --duration 15m");
    }
    if (tb_duration_parse(duration, &ns) != TB_OK) {
        return tb_cli_usage("extend", "--duration: '%s' is not a time (90s, 15m, 2h)",
                            duration);
    }
    return send(&api, argv[optind], duration, reason);
}
