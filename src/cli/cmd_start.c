/* tapbox start: asks for a capture. */
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/bytes.h>

#include "api_int.h"
#include "cli_int.h"

enum {
    BODY_MAX_BYTES = 64 * 1024
};

static const char help[] =
    "Usage: tapbox start SOURCE... --reason TEXT [OPTION]...\n"
    "\n"
    "Records the traffic of an instance (all its interfaces) or of the named interfaces:\n"
    "SOURCE is i-... or eni-....  If all of them are being captured already, the request "
    "joins\n"
    "those captures; if some are, the others get a capture of their own.\n"
    "\n"
    "  -r, --reason TEXT      why; stands in the evidence\n"
    "  -d, --duration TIME    time box: 90s, 15m, 2h\n"
    "      --account ID       whose they are, if not the account that tapbox runs in\n"
    "      --case ID          case or ticket it belongs to\n"
    "      --bpf EXPRESSION   keep only frames that match this libpcap filter\n"
    "      --snaplen N        keep N bytes of each frame, 64 or more; 0: all\n"
    "      --max-bytes SIZE   end after this much: 500MiB, 10GiB; 0: no limit\n"
    "      --max-packets N    end with this many packets; 0: no limit\n"
    "      --key KEY          Idempotency-Key: the same key again makes no second "
    "capture\n" TB_API_HELP "\n"
    "Not given: what the service's configuration says.\n";

struct start {
    struct tb_api_options api;
    struct tb_cli_request request;
    const char *key;
};

enum {
    OPTION_KEY = 1
};

static bool
take_option(struct start *start, int option, const char *value)
{
    if (option == OPTION_KEY) {
        start->key = value;
        return true;
    }
    return tb_cli_request_option(&start->request, option, value) ||
           tb_api_option(&start->api, option, value);
}

int
tb_cmd_start(int argc, char **argv)
{
    static const struct option options[] = {
        TB_API_OPTIONS,
        TB_CLI_REQUEST_OPTIONS,
        {"key", required_argument, NULL, OPTION_KEY},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct start start = {0};
    struct tb_buf body = TB_BUF_INIT(BODY_MAX_BYTES);
    struct tb_json *answer = NULL;
    int option, status;

    while ((option = getopt_long(argc, argv, "r:d:h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return tb_cli_finish_stdout("start");
        }
        if (!take_option(&start, option, optarg)) {
            return tb_cli_try_help("start");
        }
    }
    if (optind == argc) {
        return tb_cli_usage("start", "which instance (i-...) or interface (eni-...)?");
    }
    if (start.request.reason == NULL) {
        return tb_cli_usage("start", "say why with --reason: it stands in the evidence");
    }
    status = tb_cli_request_body("start", &start.request, argv + optind,
                                 (size_t)(argc - optind), &body);
    if (status == TB_EXIT_OK) {
        status = tb_api_do(&start.api,
                           &(struct tb_api_call){"start", "POST", "/v1/captures",
                                                 tb_buf_str(&body), start.key},
                           &answer);
    }
    if (status == TB_EXIT_OK && !start.api.json) {
        tb_show_intake(answer);
        status = tb_cli_finish_stdout("start");
    }
    tb_json_free(answer);
    tb_buf_release(&body);
    return status;
}
