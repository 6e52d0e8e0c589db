/* Between the files of the GuardDuty adapter. */
#ifndef TAPBOX_WEBHOOKS_GUARDDUTY_INT_H
#define TAPBOX_WEBHOOKS_GUARDDUTY_INT_H

#include <tapbox/webhook_fields.h>

/* Each reads one part of a finding into `out`, which begins zeroed. */
void guardduty_read_sources(const struct tb_json *finding, struct tb_alert *out);
void guardduty_read_sequence(const struct tb_json *sequence, struct tb_alert *out);

#endif
