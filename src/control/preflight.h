/* Checks before a capture: facts in, what stands against it out.  Pure. */
#ifndef CONTROL_PREFLIGHT_H
#define CONTROL_PREFLIGHT_H

#include <tapbox/aws_ec2.h>
#include <tapbox/config.h>
#include <tapbox/policy.h>
#include <tapbox/preflight.h>

/* On an interface or its instance: never tap it. */
#define TB_TAG_DENY "tapbox:deny"

/* Something that could not be looked at. */
struct preflight_unknown {
    const char *what; /* "the security groups of the target"; static */
    struct tb_fail why;
};

enum {
    PREFLIGHT_MAX_UNKNOWN = 12
};

/* NULL or a false "known": not looked at.  Everything is lent. */
struct preflight_facts {
    const struct tb_capture_request *request;
    const struct tb_config *config; /* other accounts, owner */
    const struct tb_guard *guard;   /* of the policy */
    const char *owner, *account, *region;
    bool other_account; /* the sources are not in `account` */
    int64_t now_utc_s;

    struct tb_fail found; /* why the sources could not be described; err TB_OK: they were */
    const struct tb_ec2_interfaces *interfaces;
    const struct tb_ec2_instances *instances; /* of the interfaces, as far as known */
    const struct tb_ec2_types *types; /* of the instances, and of the target's whole family */

    const struct tb_ec2_interface *target;      /* where mirrored packets go */
    const char *target_type;                    /* of its instance; "" unknown */
    uint32_t target_mtu;                        /* octets; 0 unknown */
    const struct tb_ec2_targets *targets;       /* of our own account */
    const struct tb_ec2_targets *targets_there; /* seen in the sources' account, if another */
    const struct tb_ec2_groups *groups;         /* the target's */
    const struct tb_ec2_route_tables *routes[TB_CAPTURE_MAX_LISTED]; /* of a source's VPC */
    const struct tb_ec2_sessions *on_sources;
    const struct tb_ec2_sessions *on_target;
    const struct tb_ec2_filters *filters;

    struct {
        bool known;
        struct tb_fail answer; /* err TB_OK: it would be allowed */
    } dry_run[TB_CAPTURE_MAX_LISTED];
    /* instead of those, while target or filter are not there yet: of making them */
    struct {
        const char *action; /* NULL: not asked */
        struct tb_fail answer;
    } dry_run_standing[2];
    struct {
        bool known;
        struct tb_fail answer;
        bool left;           /* the probe could not be taken away */
        bool unread;         /* nobody may look at what is there, and it keeps no versions */
        const char *refused; /* static; the wish of s3.* that is refused; NULL: none */
    } bucket;
    const char *bucket_name;
    const struct tb_aws_lifetime *lifetime;

    const struct tb_capture *captures; /* that are not final */
    size_t capture_count;

    struct preflight_unknown unknown[PREFLIGHT_MAX_UNKNOWN];
    size_t unknown_count;
};

/* All of it. */
void preflight_run(const struct preflight_facts *facts, struct tb_plan *out);

/* The parts that need no look at AWS beyond what every capture takes; false: nothing stands
 * against it. */
bool preflight_request_blocked(const struct tb_capture_request *request,
                               const struct tb_config *config, const char *account,
                               const char *region, struct tb_check *out);
/* Whether AWS lists this instance type as a mirror source. */
bool preflight_type_is_mirrored(const char *type);
/* `instance` NULL: not known. */
bool preflight_source_blocked(const struct tb_capture_request *request,
                              const struct tb_ec2_interface *interface,
                              const struct tb_ec2_instance *instance, const char *target_eni,
                              struct tb_check *out);
/* The policy's guard (NULL: none) against an interface and its instance (NULL: not known). */
bool preflight_guard_blocked(const struct tb_guard *guard,
                             const struct tb_ec2_interface *interface,
                             const struct tb_ec2_instance *instance, struct tb_check *out);
/* What EC2 says of an interface, for the policy; lent as long as `pair` and what is in it. */
struct preflight_pair {
    const struct tb_ec2_interface *interface;
    const struct tb_ec2_instance *instance; /* NULL: not known */
};
struct tb_source_facts preflight_facts_of(const struct preflight_pair *pair);
/* The instance an interface is attached to, or NULL. */
const struct tb_ec2_instance *preflight_instance_of(const struct tb_ec2_instances *instances,
                                                    const struct tb_ec2_interface *interface);

/* The standing filter of this owner that lets everything through. */
bool preflight_is_our_filter(const struct tb_ec2_filter *filter, const char *owner);

/* --- within pre-flight --- */

void preflight_say(struct tb_plan *plan, const char *code, enum tb_check_severity severity,
                   const char *eni, const char *fmt, ...) TB_PRINTF(5, 6);
/* preflight_path.c: can copies get from the interface to the target?  False: they cannot. */
bool preflight_path(const struct preflight_facts *facts, size_t source, struct tb_plan *out);
/* preflight_whole.c: the target's room, filter, credentials, bucket, ...; so many sessions
 * would be made.  False: it cannot run. */
bool preflight_whole(const struct preflight_facts *facts, size_t sessions, struct tb_plan *out);
/* preflight_types.c */
void preflight_type(const struct preflight_facts *facts,
                    const struct tb_ec2_interface *interface,
                    const struct tb_ec2_instance *instance, struct tb_plan *out);
/* How many sources an interface of this type takes as a target; *out_sure false: the type is
 * not known. */
size_t preflight_sources_of_target(const struct tb_ec2_types *types, const char *type,
                                   bool *out_sure);

#endif
