/* How subcommands tell people what went wrong, and which exit status says the same. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli_int.h"

int
tb_cli_exit_of(enum tb_err err)
{
    switch (err) {
    case TB_OK:
        return TB_EXIT_OK;
    case TB_EINVAL:
        return TB_EXIT_USAGE;
    case TB_ENOTFOUND:
        return TB_EXIT_NOT_FOUND;
    case TB_EDENIED:
        return TB_EXIT_DENIED;
    case TB_ERETRY:
    case TB_ETHROTTLE:
    case TB_ETIMEOUT:
        return TB_EXIT_UNREACHABLE;
    case TB_ESTATE:
    case TB_EEXIST:
        return TB_EXIT_STATE;
    default:
        return TB_EXIT_FAILED;
    }
}

int
tb_cli_fail(const char *command, const struct tb_fail *fail)
{
    fprintf(stderr, "tapbox %s: %s", command,
            fail->text[0] != '\0' ? fail->text : tb_err_name(fail->err));
    if (fail->code[0] != '\0') {
        fprintf(stderr, " (%s%s%s)", fail->code,
                fail->request_id[0] != '\0' ? ", request " : "", fail->request_id);
    }
    fputc('\n', stderr);
    return tb_cli_exit_of(fail->err == TB_OK ? TB_EINTERNAL : fail->err);
}

int
tb_cli_usage(const char *command, const char *fmt, ...)
{
    va_list args;

    fprintf(stderr, "tapbox %s: ", command);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    return tb_cli_try_help(command);
}

int
tb_cli_try_help(const char *command)
{
    fprintf(stderr, "Try 'tapbox %s --help'.\n", command);
    return TB_EXIT_USAGE;
}

int
tb_cli_finish_stdout(const char *command)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "tapbox %s: standard output: %s\n", command, strerror(errno));
        return TB_EXIT_FAILED;
    }
    return TB_EXIT_OK;
}
