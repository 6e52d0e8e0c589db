/* Between the files of the GuardDuty adapter. */
#ifndef TAPBOX_WEBHOOKS_GUARDDUTY_INT_H
#define TAPBOX_WEBHOOKS_GUARDDUTY_INT_H

#include <tapbox/webhook_fields.h>

/* Each reads one part of a finding into `out`, which begins zeroed. */
void guardduty_read_sources(const struct tb_json *finding, struct tb_alert *out);
void guardduty_read_indicators(const struct tb_json *finding, struct tb_alert *out);
void guardduty_read_sequence(const struct tb_json *sequence, struct tb_alert *out);

/* Adds what is not there yet; beyond the room sources are counted, indicators left out. */
void guardduty_add_source(struct tb_alert *out, const struct tb_alert_source *source);
/* A valid address or domain in `text` (may be NULL) becomes an indicator, the rest as `more`.
 */
void guardduty_add_address(struct tb_alert *out, const char *text,
                           const struct tb_indicator *more);
void guardduty_add_domain(struct tb_alert *out, const char *text,
                          const struct tb_indicator *more);

#endif
