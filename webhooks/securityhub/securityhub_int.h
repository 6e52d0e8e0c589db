/* Between the files of the Security Hub adapter. */
#ifndef TAPBOX_WEBHOOKS_SECURITYHUB_INT_H
#define TAPBOX_WEBHOOKS_SECURITYHUB_INT_H

#include <tapbox/webhook_fields.h>

/* Each reads a whole finding into `out`, which begins zeroed but for its adapter. */
enum tb_err securityhub_read_asff(const struct tb_event *event, struct tb_alert *out,
                                  struct tb_fail *fail);
enum tb_err securityhub_read_ocsf(const struct tb_event *event, struct tb_alert *out,
                                  struct tb_fail *fail);

/* Who found it, and under which id: GuardDuty's findings keep the id, type and key that they
 * have when GuardDuty sends them itself, so that both roads lead to one alert. */
struct securityhub_origin {
    const char *id;      /* as Security Hub has it: an ARN, mostly; not NULL */
    const char *updated; /* NULL unknown */
    bool guardduty;
};
/* adapter, id and key; `out->archived` is there already, since a finding that is taken back out
 * of the archive is news. */
enum tb_err securityhub_name(const struct tb_event *event,
                             const struct securityhub_origin *origin, struct tb_alert *out,
                             struct tb_fail *fail);
/* "TTPs/Initial Access/UnauthorizedAccess:EC2-SSHBruteForce" as GuardDuty writes it,
 * "UnauthorizedAccess:EC2/SSHBruteForce"; the type of anybody else as it is. */
void securityhub_type(const char *text, bool guardduty, struct tb_alert *out);

/* What a resource is called in ASFF ("AwsEc2Instance") or OCSF ("AWS::EC2::Instance"). */
struct securityhub_resource {
    const char *type, *uid;
    const char *principal; /* "AROA...:i-0123": the instance that holds the credentials; NULL */
    const struct tb_json *details; /* of an instance or interface; NULL: none */
    const char *address;           /* its own, where the traffic was seen; NULL unknown */
};
/* Adds its sources; the first resource also names what the finding is about. */
void securityhub_add_resource(const struct securityhub_resource *resource,
                              struct tb_alert *out);
/* Without sources: why there is nothing to mirror. */
void securityhub_tell_why_not(const struct securityhub_resource *first, struct tb_alert *out);

#endif
