/* What every adapter needs to read foreign JSON: keys in either casing, text made harmless. */
#ifndef TAPBOX_WEBHOOK_FIELDS_H
#define TAPBOX_WEBHOOK_FIELDS_H

#include <tapbox/webhook.h>

/* `path` is keys joined by '/'.  A key is found as written, or with its first letter in the
 * other case: events have "instanceId" where the AWS CLI prints "InstanceId".  NULL: absent. */
const struct tb_json *tb_webhook_at(const struct tb_json *node, const char *path);
/* NULL unless it is a string that is not empty. */
const char *tb_webhook_str(const struct tb_json *node, const char *path);
/* A boolean, or the text "true" or "false" (some senders make strings of everything); false
 * when it is absent or something else. */
bool tb_webhook_flag(const struct tb_json *node, const char *path);
/* A port number, also as text; 0 when it is absent or none. */
uint32_t tb_webhook_port(const struct tb_json *node, const char *path);

/* Copies text for people: control characters and those that turn the reading direction become
 * '?', what does not fit is cut between two characters.  NULL gives "". */
void tb_webhook_clean_text(char *out, size_t cap, const char *text);
/* Copies a name (id, type, Region) when all of it is printable ASCII without blanks and fits;
 * false, and "", when it had to be left out. */
bool tb_webhook_name(char *out, size_t cap, const char *text);
/* The same in lower case: "TCP" as "tcp". */
bool tb_webhook_lower_name(char *out, size_t cap, const char *text);
/* A name, or a whole number (not below 0) in decimal digits: what one sender writes as a text,
 * another writes as a number.  False, and "": it is neither. */
bool tb_webhook_name_or_number(char *out, size_t cap, const struct tb_json *node,
                               const char *path);
/* Finds the first AWS id with this prefix ("i-", "eni-") in an id or ARN, whatever stands
 * around it.  8 to 40 hex digits: EC2 decides about the rest.  False, and "", when there is
 * none. */
bool tb_webhook_find_id(const char *text, const char *prefix, char out[TB_AWS_ID_SIZE]);

/* A number, or one as text ("80"); false when it is absent, something else, or not finite. */
bool tb_webhook_number(const struct tb_json *node, const char *path, double *out);

enum {
    TB_WEBHOOK_ADDRESS_BYTES = 16
};
/* Reads an address as it is on the wire: "::ffff:192.0.2.1" is IPv4.  The rest of `out` is 0.
 * AF_INET, AF_INET6, or 0: it is none, and `out` is left alone.  `text` may be NULL. */
int tb_webhook_parse_address(const char *text, unsigned char out[TB_WEBHOOK_ADDRESS_BYTES]);
/* Whether both are one address, in whatever spelling; what is no address is the same as none.
 */
bool tb_webhook_same_address(const char *a, const char *b);

/* A time as senders write it; 0 when it cannot be read: no more than the order of work and the
 * text for people hang on it. */
int64_t tb_webhook_time(const char *text);
enum {
    TB_WEBHOOK_STAMP_SIZE = 64
};
/* The same time in one spelling (UTC, milliseconds), for keys: what two roads spell differently
 * stays one.  What is no time is made harmless; NULL gives "". */
void tb_webhook_stamp(char out[TB_WEBHOOK_STAMP_SIZE], const char *text);

/* Add what is not there yet; what is beyond the room is counted as left out.  A source without
 * instance and interface adds nothing; text (may be NULL) that is no address or domain, or the
 * address of nobody ("0.0.0.0", "::"), adds nothing and is told by false.  The indicator's
 * other members are those of `more`. */
void tb_webhook_add_source(struct tb_alert *out, const struct tb_alert_source *source);
bool tb_webhook_add_address(struct tb_alert *out, const char *text,
                            const struct tb_indicator *more);
bool tb_webhook_add_domain(struct tb_alert *out, const char *text,
                           const struct tb_indicator *more);

/* Indicators of an action object of GuardDuty (service.action) or ASFF (Action). */
void tb_webhook_read_action(const struct tb_json *action, struct tb_alert *out);
/* Of GuardDuty's additionalInfo: whether CreateSampleFindings made it. */
bool tb_webhook_is_sample(const struct tb_json *additional_info);

#endif
