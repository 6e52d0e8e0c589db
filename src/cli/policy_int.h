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

/* What the policy says of a body, as a plan that asked nobody; `change` (may be NULL) has the
 * last word on each.  `out` is for the caller to tb_json_free; errors as of
 * tb_intake_preview_event. */
TB_NODISCARD enum tb_err
tb_cli_plan_offline(const struct tb_policy *policy, struct tb_bytes event, const char *sender,
                    void (*change)(const void *arg, const struct tb_policy *policy,
                                   struct tb_intake_preview *preview),
                    const void *arg, struct tb_json **out, struct tb_fail *fail);

#endif
