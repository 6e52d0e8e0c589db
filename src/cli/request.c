/* What to capture, as the command lines of start and plan say it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/config.h>
#include <tapbox/ids.h>

#include "api_int.h"
#include "cli_int.h"

static void
set_unless_null(struct tb_json *body, const char *key, const char *value)
{
    if (value != NULL) {
        tb_json_set_str(body, key, value);
    }
}

static bool
whole_number(const char *text, uint64_t max, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return strspn(text, "0123456789") > 0 && *end == '\0' && errno == 0 && *out <= max;
}

int
tb_cli_request_body(const char *command, const struct tb_cli_request *request, char **sources,
                    size_t count, struct tb_buf *out)
{
    struct tb_json *body = tb_json_object();
    struct tb_json *list = tb_json_array();
    struct tb_fail fail = {0};
    int status = TB_EXIT_OK;
    uint64_t value;

    for (size_t i = 0; i < count; i++) {
        if (!tb_aws_id_valid(sources[i], "i-") && !tb_aws_id_valid(sources[i], "eni-")) {
            status = tb_cli_usage(command,
                                  "'%s' is neither an instance (i-...) nor an "
                                  "interface (eni-...)",
                                  sources[i]);
            tb_json_free(list);
            goto out;
        }
        tb_json_add_str(list, sources[i]);
    }
    tb_json_set(body, "sources", list);
    set_unless_null(body, "reason", request->reason);
    set_unless_null(body, "account", request->account);
    set_unless_null(body, "duration", request->duration);
    set_unless_null(body, "case", request->case_id);
    set_unless_null(body, "bpf", request->bpf);
    if (request->snaplen != NULL) {
        if (!whole_number(request->snaplen, TB_SNAPLEN_MAX, &value)) {
            status = tb_cli_usage(command, "--snaplen: '%s' is not a number up to %d",
                                  request->snaplen, TB_SNAPLEN_MAX);
            goto out;
        }
        tb_json_set_int(body, "snaplen", (int64_t)value);
    }
    if (request->max_bytes != NULL) {
        if (tb_config_size_parse(request->max_bytes, &value) != TB_OK || value > INT64_MAX) {
            status = tb_cli_usage(command, "--max-bytes: '%s' is not a size (500MiB, 10GiB)",
                                  request->max_bytes);
            goto out;
        }
        tb_json_set_int(body, "max_bytes", (int64_t)value);
    }
    if (request->max_packets != NULL) {
        if (!whole_number(request->max_packets, INT64_MAX, &value)) {
            status = tb_cli_usage(command, "--max-packets: '%s' is not a number of packets",
                                  request->max_packets);
            goto out;
        }
        tb_json_set_int(body, "max_packets", (int64_t)value);
    }
    if (tb_json_dump(body, false, out, &fail) != TB_OK) {
        status = tb_cli_fail(command, &fail);
    }

out:
    tb_json_free(body);
    return status;
}

bool
tb_cli_request_option(struct tb_cli_request *request, int option, const char *value)
{
    switch (option) {
    case TB_CLI_OPTION_REASON:
        request->reason = value;
        return true;
    case TB_CLI_OPTION_DURATION:
        request->duration = value;
        return true;
    case TB_CLI_OPTION_ACCOUNT:
        request->account = value;
        return true;
    case TB_CLI_OPTION_CASE:
        request->case_id = value;
        return true;
    case TB_CLI_OPTION_BPF:
        request->bpf = value;
        return true;
    case TB_CLI_OPTION_SNAPLEN:
        request->snaplen = value;
        return true;
    case TB_CLI_OPTION_MAX_BYTES:
        request->max_bytes = value;
        return true;
    case TB_CLI_OPTION_MAX_PACKETS:
        request->max_packets = value;
        return true;
    default:
        return false;
    }
}
