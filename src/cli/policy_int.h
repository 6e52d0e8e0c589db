/* The policy as the subcommands use it that ask nobody. */
#ifndef TAPBOX_CLI_POLICY_INT_H
#define TAPBOX_CLI_POLICY_INT_H

#include <tapbox/intake.h>
#include <tapbox/policy_file.h>

/* The policy in force: of `policy_path`, else as the configuration says (`config_path`, else
 * the default place, else the defaults, which is told on stderr).  config.policy borrows
 * *out_rules, which the caller gives to tb_rules_free. */
TB_NODISCARD enum tb_err tb_cli_policy_load(const char *command, const char *config_path,
                                            const char *policy_path, struct tb_config *config,
                                            struct tb_rules **out_rules, struct tb_fail *fail);

/*
 * Holds each event (NAME.json) of a folder against what is expected (NAME.expect.json) and
 * prints a line each.  The exit status: 0 all as expected, 1 not all, 2 something cannot be
 * read.
 */
int tb_cli_policy_test(const char *dir, const struct tb_policy *policy, bool json);

#endif
