/*
 * The EC2 actions tapbox uses.  Source: EC2 API Reference 2016-11-15.
 *
 * Creates are made in two steps, so that the exact request can be written down before it is
 * sent: tb_ec2_*_body builds the form body (stable order, ClientToken included), tb_ec2_create
 * sends it.
 *
 * Errors: fail->code is EC2's own code, fail->request_id its request id.  Mapped:
 *   TB_ENOTFOUND  every NotFound/NoFound spelling, only ever from an error code of EC2;
 *   TB_ETHROTTLE  RequestLimitExceeded and kin;
 *   TB_EEXPIRED   credentials or clock, after one try with new ones;
 *   TB_EDENIED    UnauthorizedOperation, AuthFailure, ...;
 *   TB_ERETRY     5xx, no connection, an answer cut off;
 *   TB_ETIMEOUT   unknown effect: sent and no answer, or a create's answer was cut off;
 *   TB_EEXIST     IdempotentParameterMismatch, ...AlreadyExists, number taken;
 *   TB_EFULL      ...LimitExceeded of quotas;
 *   TB_ESTATE     a filter or target is still in use by a session;
 *   TB_EFORMAT    something answered that is not EC2;
 *   TB_EINVAL     the rest.
 * Throttling, 5xx, lost answers and refused connections are retried here with full jitter, a
 * few attempts, every one signed anew (creates: 3 within 30 s, deletes: 4 within 20 s,
 * describes: 4 within 45 s); expired credentials are refreshed once; clock skew is learned from
 * Date. Threads: any.
 */
#ifndef TAPBOX_AWS_EC2_H
#define TAPBOX_AWS_EC2_H

#include <tapbox/aws.h>
#include <tapbox/limits.h>

enum tb_ec2_kind {
    TB_EC2_TARGET,
    TB_EC2_FILTER,
    TB_EC2_FILTER_RULE,
    TB_EC2_SESSION,
    TB_EC2_KIND_COUNT
};

struct tb_ec2_tag {
    char key[129];
    char value[257];
};
enum {
    TB_EC2_MAX_TAGS = 50
};

struct tb_ec2_tags {
    struct tb_ec2_tag *at; /* owned by the record that holds it */
    size_t count;
};
/* NULL when there is no such tag; lent. */
const char *tb_ec2_tag(const struct tb_ec2_tags *tags, const char *key);

/* --- bodies of creates; every string is borrowed for the call --- */
struct tb_ec2_target_spec {
    const char *eni;
    const char *description;
    const struct tb_ec2_tag *tags;
    size_t tag_count;
    const char *client_token;
};
struct tb_ec2_filter_spec {
    const char *description;
    const struct tb_ec2_tag *tags;
    size_t tag_count;
    const char *client_token;
};
struct tb_ec2_rule_spec {
    const char *filter_id;
    bool egress;
    uint32_t number;
    bool reject;
    int protocol;                             /* -1: all */
    int32_t source_port_from, source_port_to; /* -1: none */
    int32_t destination_port_from, destination_port_to;
    const char *source_cidr, *destination_cidr;
    const char *description;
    const char *client_token;
};
struct tb_ec2_session_spec {
    const char *eni, *target_id, *filter_id;
    uint32_t session_number;
    uint32_t vni;
    uint32_t packet_length; /* 0: whole packets */
    const char *description;
    const struct tb_ec2_tag *tags;
    size_t tag_count;
    const char *client_token;
};
TB_NODISCARD enum tb_err tb_ec2_target_body(const struct tb_ec2_target_spec *spec,
                                            struct tb_buf *out, struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_ec2_filter_body(const struct tb_ec2_filter_spec *spec,
                                            struct tb_buf *out, struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_ec2_rule_body(const struct tb_ec2_rule_spec *spec,
                                          struct tb_buf *out, struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_ec2_session_body(const struct tb_ec2_session_spec *spec,
                                             struct tb_buf *out, struct tb_fail *fail);

struct tb_ec2_effect {
    char id[TB_AWS_ID_SIZE];
    char request_id[80];
    int64_t server_utc_s; /* the answer's Date; 0 when it had none */
};
TB_NODISCARD enum tb_err tb_ec2_create(struct tb_aws *aws, enum tb_ec2_kind kind,
                                       struct tb_bytes body, struct tb_ec2_effect *out,
                                       struct tb_fail *fail);
/* Whether the create would be allowed, without making anything: TB_OK, TB_EDENIED, or what else
 * EC2 finds wrong with the request. */
TB_NODISCARD enum tb_err tb_ec2_create_dry_run(struct tb_aws *aws, enum tb_ec2_kind kind,
                                               struct tb_bytes body, struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_ec2_delete(struct tb_aws *aws, enum tb_ec2_kind kind,
                                       const char *id, struct tb_ec2_effect *out,
                                       struct tb_fail *fail);
/* ModifyTrafficMirrorFilterNetworkServices, adding amazon-dns: idempotent. */
TB_NODISCARD enum tb_err tb_ec2_filter_add_dns(struct tb_aws *aws, const char *filter_id,
                                               struct tb_ec2_effect *out, struct tb_fail *fail);
/* ModifyTrafficMirrorSession: idempotent.  What is NULL or 0 stays as it is. */
struct tb_ec2_session_change {
    const char *target, *filter;
    uint32_t session_number, vni;
    uint32_t packet_length;
    bool whole_packets; /* takes the packet length away */
};
TB_NODISCARD enum tb_err tb_ec2_session_modify(struct tb_aws *aws, const char *session_id,
                                               const struct tb_ec2_session_change *change,
                                               struct tb_ec2_effect *out, struct tb_fail *fail);
/* CreateTags on existing objects: idempotent. */
TB_NODISCARD enum tb_err tb_ec2_tag_set(struct tb_aws *aws, const char *const *ids,
                                        size_t id_count, const struct tb_ec2_tag *tags,
                                        size_t tag_count, struct tb_ec2_effect *out,
                                        struct tb_fail *fail);

/* --- describes: every page is read; results belong to the caller --- */
enum {
    TB_EC2_MAX_GROUPS = 16 /* of one interface; EC2's own ceiling */
};
struct tb_ec2_interface {
    char eni[TB_AWS_ID_SIZE];
    char instance[TB_AWS_ID_SIZE]; /* "" : not attached */
    char attachment_status[32];
    uint32_t device_index;
    char status[32];         /* "in-use", "available" */
    char interface_type[64]; /* "interface", "lambda", ... */
    bool requester_managed;
    char owner[TB_ACCOUNT_SIZE];
    char mac[TB_MAC_TEXT_SIZE];
    char ip[TB_IP_TEXT_SIZE]; /* primary private */
    char subnet[TB_AWS_ID_SIZE], vpc[TB_AWS_ID_SIZE];
    char availability_zone[32];
    char groups[TB_EC2_MAX_GROUPS][TB_AWS_ID_SIZE];
    size_t group_count;
    struct tb_ec2_tags tags;
};
struct tb_ec2_interfaces {
    struct tb_ec2_interface *at;
    size_t count;
};
void tb_ec2_interfaces_release(struct tb_ec2_interfaces *list);
/* By ids (one unknown id fails the call, TB_ENOTFOUND), or those attached to an instance
 * (filter attachment.instance-id; an unknown instance gives none). */
TB_NODISCARD enum tb_err tb_ec2_interfaces_by_id(struct tb_aws *aws, const char *const *enis,
                                                 size_t count, struct tb_ec2_interfaces *out,
                                                 struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_ec2_interfaces_of_instance(struct tb_aws *aws, const char *instance,
                                                       struct tb_ec2_interfaces *out,
                                                       struct tb_fail *fail);

struct tb_ec2_instance {
    char instance[TB_AWS_ID_SIZE];
    char state[32]; /* "running", ... */
    char type[TB_INSTANCE_TYPE_SIZE];
    char image[TB_AWS_ID_SIZE];
    char vpc[TB_AWS_ID_SIZE], subnet[TB_AWS_ID_SIZE];
    char ip[TB_IP_TEXT_SIZE];
    char launch_time[40];
    char owner[TB_ACCOUNT_SIZE];
    struct tb_ec2_tags tags;
    /* its interfaces as DescribeInstances tells them: no MAC-less extra round trip is needed */
    struct tb_ec2_interfaces interfaces;
};
/* TB_ENOTFOUND with EC2's code when it does not exist. */
TB_NODISCARD enum tb_err tb_ec2_instance_get(struct tb_aws *aws, const char *instance,
                                             struct tb_ec2_instance *out, struct tb_fail *fail);
void tb_ec2_instance_release(struct tb_ec2_instance *instance);
struct tb_ec2_instances {
    struct tb_ec2_instance *at;
    size_t count;
};
/* Those that the interfaces are attached to (unknown interfaces give none). */
TB_NODISCARD enum tb_err tb_ec2_instances_of_interfaces(struct tb_aws *aws,
                                                        const char *const *enis, size_t count,
                                                        struct tb_ec2_instances *out,
                                                        struct tb_fail *fail);
void tb_ec2_instances_release(struct tb_ec2_instances *list);

struct tb_ec2_session {
    char id[TB_AWS_ID_SIZE], target[TB_AWS_ID_SIZE], filter[TB_AWS_ID_SIZE];
    char eni[TB_AWS_ID_SIZE];
    char owner[TB_ACCOUNT_SIZE];
    uint32_t session_number, vni;
    uint32_t packet_length; /* 0: none is told */
    struct tb_ec2_tags tags;
};
struct tb_ec2_sessions {
    struct tb_ec2_session *at;
    size_t count;
    int64_t server_utc_s; /* Date of the last page */
    int64_t began_utc_s;  /* Date of the first: no tag here is younger; 0: it had none */
};
void tb_ec2_sessions_release(struct tb_ec2_sessions *list);
/* Those that send to a target: also of other accounts, when the target is ours. */
TB_NODISCARD enum tb_err tb_ec2_sessions_of_target(struct tb_aws *aws, const char *target,
                                                   struct tb_ec2_sessions *out,
                                                   struct tb_fail *fail);
/* All of the account, or those of the named source interfaces. */
TB_NODISCARD enum tb_err tb_ec2_sessions_list(struct tb_aws *aws, const char *const *enis,
                                              size_t eni_count, struct tb_ec2_sessions *out,
                                              struct tb_fail *fail);

struct tb_ec2_target {
    char id[TB_AWS_ID_SIZE];
    char eni[TB_AWS_ID_SIZE]; /* "" for load balancers */
    char owner[TB_ACCOUNT_SIZE];
    struct tb_ec2_tags tags;
};
struct tb_ec2_targets {
    struct tb_ec2_target *at;
    size_t count;
    int64_t server_utc_s, began_utc_s; /* as of sessions */
};
void tb_ec2_targets_release(struct tb_ec2_targets *list);
/* `eni` NULL: all */
TB_NODISCARD enum tb_err tb_ec2_targets_list(struct tb_aws *aws, const char *eni,
                                             struct tb_ec2_targets *out, struct tb_fail *fail);

struct tb_ec2_rule {
    char id[TB_AWS_ID_SIZE];
    bool egress;
    uint32_t number;
    bool reject;
    int protocol;                             /* -1: none is told */
    int32_t source_port_from, source_port_to; /* -1: no range is told */
    int32_t destination_port_from, destination_port_to;
    char source_cidr[64], destination_cidr[64];
    bool unknown; /* says what no rule of ours can say: its numbers are not to be used */
};
struct tb_ec2_filter {
    char id[TB_AWS_ID_SIZE];
    struct tb_ec2_rule *rules; /* owned; of both directions */
    size_t rule_count;
    bool amazon_dns;
    struct tb_ec2_tags tags;
};
struct tb_ec2_filters {
    struct tb_ec2_filter *at;
    size_t count;
    int64_t server_utc_s, began_utc_s; /* as of sessions */
};
void tb_ec2_filters_release(struct tb_ec2_filters *list);
TB_NODISCARD enum tb_err tb_ec2_filters_list(struct tb_aws *aws, struct tb_ec2_filters *out,
                                             struct tb_fail *fail);

/* --- what lies around an interface --- */

/* What a security group lets in: one rule for each address range, group or prefix list. */
struct tb_ec2_group_rule {
    char protocol[16]; /* "udp", "17", "-1": all */
    bool has_ports;    /* else all */
    uint32_t from_port, to_port;
    char cidr[64];                    /* IPv4 or IPv6; "" : */
    char group[TB_AWS_ID_SIZE];       /* whoever is in this group; "" : */
    char prefix_list[TB_AWS_ID_SIZE]; /* ranges that are listed elsewhere */
};
struct tb_ec2_group {
    char id[TB_AWS_ID_SIZE];
    char vpc[TB_AWS_ID_SIZE];
    struct tb_ec2_group_rule *rules; /* owned */
    size_t rule_count;
};
struct tb_ec2_groups {
    struct tb_ec2_group *at;
    size_t count;
};
TB_NODISCARD enum tb_err tb_ec2_groups_by_id(struct tb_aws *aws, const char *const *groups,
                                             size_t count, struct tb_ec2_groups *out,
                                             struct tb_fail *fail);
void tb_ec2_groups_release(struct tb_ec2_groups *list);

struct tb_ec2_route {
    char cidr[64];            /* IPv4; "" : another kind of destination */
    char via[TB_AWS_ID_SIZE]; /* "local", "igw-…", "pcx-…", "tgw-…"; "" : something else */
    bool active;
};
struct tb_ec2_route_table {
    char id[TB_AWS_ID_SIZE];
    bool main;                       /* of the VPC: for subnets that no table names */
    char (*subnets)[TB_AWS_ID_SIZE]; /* owned */
    size_t subnet_count;
    struct tb_ec2_route *routes; /* owned */
    size_t route_count;
};
struct tb_ec2_route_tables {
    struct tb_ec2_route_table *at;
    size_t count;
};
TB_NODISCARD enum tb_err tb_ec2_route_tables_of_vpc(struct tb_aws *aws, const char *vpc,
                                                    struct tb_ec2_route_tables *out,
                                                    struct tb_fail *fail);
void tb_ec2_route_tables_release(struct tb_ec2_route_tables *list);

struct tb_ec2_type {
    char name[32];
    bool bare_metal;
    char hypervisor[16]; /* "nitro", "xen"; "" : bare metal */
    uint32_t vcpus;
    char network[64]; /* in AWS's words: "Up to 10 Gigabit" */
};
struct tb_ec2_types {
    struct tb_ec2_type *at;
    size_t count;
};
/* Names, in which '*' stands for anything ("m5.*"). */
TB_NODISCARD enum tb_err tb_ec2_types_list(struct tb_aws *aws, const char *const *names,
                                           size_t count, struct tb_ec2_types *out,
                                           struct tb_fail *fail);
void tb_ec2_types_release(struct tb_ec2_types *list);

#endif
