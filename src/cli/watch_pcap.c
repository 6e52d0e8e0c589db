/* tapbox watch --pcap: the packets of a capture on standard output while it runs. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <tapbox/io.h>
#include <tapbox/limits.h>

#include "api_int.h"
#include "cli_int.h"
#include "watch_int.h"

enum {
    PATH_MAX_BYTES = 3 * TB_CAPTURE_MAX_BPF_TEXT + 256
};

struct output {
    bool reader_left; /* the program behind the pipe has ended: so do we, without complaint */
    int write_errno;
};

static enum tb_err
write_out(void *arg, struct tb_bytes octets)
{
    struct output *output = arg;
    struct tb_fail fail = {0};

    if (tb_write_all(STDOUT_FILENO, octets, &fail) != TB_OK) {
        output->reader_left = fail.sys_errno == EPIPE;
        output->write_errno = fail.sys_errno;
        return TB_ECLOSED;
    }
    return TB_OK;
}

int
tb_watch_pcap(const struct tb_api_options *options, const char *capture, const char *bpf,
              bool from_start)
{
    struct tb_buf path = TB_BUF_INIT(PATH_MAX_BYTES);
    struct output output = {false, 0};
    struct tb_api_why why = {"", ""};
    struct tb_api *api = NULL;
    int status;

    if (isatty(STDOUT_FILENO)) {
        return tb_cli_usage("watch",
                            "packets are no text for a terminal: pipe them, e.g. "
                            "'tapbox watch %s --pcap | wireshark -k -i -'",
                            capture);
    }
    tb_buf_printf(&path, "/v1/captures/%s/stream?from=%s", capture,
                  from_start ? "start" : "now");
    if (bpf != NULL) {
        tb_buf_put_str(&path, "&bpf=");
        tb_buf_put_percent(&path, tb_bytes_str(bpf), false);
    }
    if (tb_buf_check(&path, "the filter", NULL) != TB_OK) {
        tb_buf_release(&path);
        return tb_cli_usage("watch", "the filter may have %d characters",
                            TB_CAPTURE_MAX_BPF_TEXT - 1);
    }
    status = tb_api_open(options, "watch", &api);
    if (status == TB_EXIT_OK) {
        (void)signal(SIGPIPE, SIG_IGN);
        status = tb_api_stream(api, tb_buf_str(&path), write_out, &output, &why);
        if (output.reader_left) {
            status = TB_EXIT_OK;
        } else if (output.write_errno != 0) {
            fprintf(stderr, "tapbox watch: cannot write: %s\n", strerror(output.write_errno));
            status = TB_EXIT_FAILED;
        } else if (status != TB_EXIT_OK) {
            fprintf(stderr, "tapbox watch: %s\n%s%s%s", why.text,
                    why.hint[0] != '\0' ? "  " : "", why.hint, why.hint[0] != '\0' ? "\n" : "");
        }
    }
    tb_api_close(api);
    tb_buf_release(&path);
    return status;
}
