/*
 * The policy's file (YAML): guard, senders, profiles and rules.  Errors name file, line and
 * key: "policy.yaml:31: rules 'c2': severity: 'high' is not a range (write 7, 4-6.9 or >=7)".
 */
#ifndef TAPBOX_POLICY_FILE_H
#define TAPBOX_POLICY_FILE_H

#include <tapbox/config.h>

/* The policy that ships: the text of infra/policy/default.yaml.  Static storage. */
struct tb_bytes tb_policy_default(void);

/* Reads a policy; `name` stands for the file.  Gives every complaint to `report` (may be NULL)
 * as one line; the first is in `fail`.  `out` is the caller's: tb_rules_free. */
TB_NODISCARD enum tb_err tb_policy_parse(struct tb_bytes text, const char *name,
                                         struct tb_rules **out,
                                         void (*report)(void *arg, const char *line), void *arg,
                                         struct tb_fail *fail);
/* The policy that the configuration names (policy.file; "" : the one that ships). */
TB_NODISCARD enum tb_err tb_policy_load(const struct tb_config *config, struct tb_rules **out,
                                        struct tb_fail *fail);

#endif
