/* tapbox start: asks for a capture. */
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/config.h>
#include <tapbox/ids.h>

#include "api_int.h"
#include "cli_int.h"

enum {
    BODY_MAX_BYTES = 64 * 1024
};

static const char help[] =
    "Usage: tapbox start SOURCE... --reason TEXT [OPTION]...\n"
    "\n"
    "Records the traffic of an instance (all its interfaces) or of the named interfaces:\n"
    "SOURCE is i-... or eni-....  If one of them is being captured already, the request joins\n"
    "that capture.\n"
    "\n"
    "  -r, --reason TEXT      why; stands in the evidence\n"
    "  -d, --duration TIME    time box: 90s, 15m, 2h\n"
    "      --case ID          case or ticket it belongs to\n"
    "      --bpf EXPRESSION   keep only frames that match this libpcap filter\n"
    "      --snaplen N        keep N bytes of each frame, 64 or more; 0: all\n"
    "      --max-bytes SIZE   end after this much: 500MiB, 10GiB; 0: no limit\n"
    "      --key KEY          Idempotency-Key: the same key again makes no second "
    "capture\n" TB_API_HELP "\n"
    "Not given: what the service's configuration says.\n";

struct start {
    struct tb_api_options api;
    const char *reason, *duration, *case_id, *bpf, *snaplen, *max_bytes, *key;
};

enum {
    OPTION_CASE = 1,
    OPTION_BPF,
    OPTION_SNAPLEN,
    OPTION_MAX_BYTES,
    OPTION_KEY
};

static void
set_unless_null(struct tb_json *body, const char *key, const char *value)
{
    if (value != NULL) {
        tb_json_set_str(body, key, value);
    }
}

/* Appends the request; a usage error's exit status, or 0. */
static int
make_body(const struct start *start, char **sources, size_t count, struct tb_buf *out)
{
    struct tb_json *body = tb_json_object();
    struct tb_json *list = tb_json_array();
    struct tb_fail fail = {0};
    int status = TB_EXIT_OK;
    uint64_t value;
    char *end;

    for (size_t i = 0; i < count; i++) {
        if (!tb_aws_id_valid(sources[i], "i-") && !tb_aws_id_valid(sources[i], "eni-")) {
            status = tb_cli_usage("start",
                                  "'%s' is neither an instance (i-...) nor an "
                                  "interface (eni-...)",
                                  sources[i]);
            tb_json_free(list);
            goto out;
        }
        tb_json_add_str(list, sources[i]);
    }
    tb_json_set(body, "sources", list);
    set_unless_null(body, "reason", start->reason);
    set_unless_null(body, "duration", start->duration);
    set_unless_null(body, "case", start->case_id);
    set_unless_null(body, "bpf", start->bpf);
    if (start->snaplen != NULL) {
        value = strtoull(start->snaplen, &end, 10);
        if (strspn(start->snaplen, "0123456789") == 0 || *end != '\0' ||
            value > TB_SNAPLEN_MAX) {
            status = tb_cli_usage("start", "--snaplen: '%s' is not a number up to %d",
                                  start->snaplen, TB_SNAPLEN_MAX);
            goto out;
        }
        tb_json_set_int(body, "snaplen", (int64_t)value);
    }
    if (start->max_bytes != NULL) {
        if (tb_config_size_parse(start->max_bytes, &value) != TB_OK || value > INT64_MAX) {
            status = tb_cli_usage("start", "--max-bytes: '%s' is not a size (500MiB, 10GiB)",
                                  start->max_bytes);
            goto out;
        }
        tb_json_set_int(body, "max_bytes", (int64_t)value);
    }
    if (tb_json_dump(body, false, out, &fail) != TB_OK) {
        status = tb_cli_fail("start", &fail);
    }

out:
    tb_json_free(body);
    return status;
}

static bool
take_option(struct start *start, int option, const char *value)
{
    switch (option) {
    case 'r':
        start->reason = value;
        return true;
    case 'd':
        start->duration = value;
        return true;
    case OPTION_CASE:
        start->case_id = value;
        return true;
    case OPTION_BPF:
        start->bpf = value;
        return true;
    case OPTION_SNAPLEN:
        start->snaplen = value;
        return true;
    case OPTION_MAX_BYTES:
        start->max_bytes = value;
        return true;
    case OPTION_KEY:
        start->key = value;
        return true;
    default:
        return tb_api_option(&start->api, option, value);
    }
}

int
tb_cmd_start(int argc, char **argv)
{
    static const struct option options[] = {
        TB_API_OPTIONS,
        {"reason", required_argument, NULL, 'r'},
        {"duration", required_argument, NULL, 'd'},
        {"case", required_argument, NULL, OPTION_CASE},
        {"bpf", required_argument, NULL, OPTION_BPF},
        {"snaplen", required_argument, NULL, OPTION_SNAPLEN},
        {"max-bytes", required_argument, NULL, OPTION_MAX_BYTES},
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
    if (start.reason == NULL) {
        return tb_cli_usage("start", "say why with --reason: it stands in the evidence");
    }
    status = make_body(&start, argv + optind, (size_t)(argc - optind), &body);
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
