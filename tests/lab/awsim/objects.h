/*
 * The world in memory: everything that has an id, who owns it, and the access keys.
 *
 * One mutex guards it all.  Functions expect it to be held unless they say otherwise.
 */
#ifndef AWSIM_OBJECTS_H
#define AWSIM_OBJECTS_H

#include <net/if.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "ip.h"
#include "map.h"
#include "ring.h"

#define ID_MAX 40
#define SESSIONS_PER_ENI 3
#define RULES_PER_FILTER 10
#define TAGS_PER_RESOURCE 50
#define ENIS_PER_INSTANCE 32
#define GROUPS_PER_ENI 16

enum kind {
    K_VPC,
    K_SUBNET,
    K_ROUTE_TABLE,
    K_GROUP,
    K_INSTANCE,
    K_ENI,
    K_BALANCER, /* has an ARN and no id */
    K_TARGET,
    K_FILTER,
    K_RULE,
    K_SESSION,
    K_ENDPOINT, /* Gateway Load Balancer endpoints: none exist, but their ids have a form */
    K_COUNT
};

/* How a kind is spelt on the wire. */
struct kind_info {
    const char *prefix;    /* "tms-" */
    const char *type;      /* resource type in tags and ARNs */
    const char *label;     /* in messages: "The <label> 'x' does not exist" */
    const char *not_found; /* error codes */
    const char *malformed;
};
extern const struct kind_info kinds[K_COUNT];

struct tag {
    char *key;
    char *value;
    /* eventual consistency, by fault rule */
    char *before;     /* NULL: it was not there */
    int64_t shown_ns; /* realtime: until then describes show what was before */
};

struct obj {
    TAILQ_ENTRY(obj) link;
    enum kind kind;
    char id[ID_MAX];
    uint64_t seq; /* order of creation; pages continue after it */
    /* eventual consistency, by fault rule */
    int64_t visible_ns; /* realtime: until then no describe shows it */
    bool delete_sees;   /* until then: deletes find it nevertheless */
    bool use_sees;      /* and so does everything else */
    struct account *owner;
    struct tag *tags;
    size_t ntags;
};
TAILQ_HEAD(obj_list, obj);

struct account {
    struct account *next;
    char id[13];
    char role[65];         /* role whose credentials IMDS hands out; "" for none */
    long role_lifetime_s;  /* of credentials that IMDS issues */
    struct role *roles;    /* those that AssumeRole knows */
    struct key *issued;    /* the newest ones */
    size_t count[K_COUNT]; /* live objects by kind */
};

struct key {
    char access[129];
    char secret[129];
    char *token;         /* NULL for long-term keys */
    long long expires_s; /* 0 for never */
    long long issued_s;
    struct account *account;
    char *arn;
    char *user_id;
    char **deny; /* actions refused with UnauthorizedOperation: "ec2:DeleteTags", "ec2:*" */
    size_t ndeny;
};

struct vpc {
    struct obj o;
    struct cidr cidr;
    struct cidr cidr6; /* family 0 when there is none */
};

struct subnet {
    struct obj o;
    struct vpc *vpc;
    struct cidr cidr;
    struct cidr cidr6;
    char az[32];
};

struct route {
    struct cidr to;
    char via[ID_MAX]; /* local, igw-…, nat-…, pcx-…, tgw-…, eni-… */
};

struct route_table {
    struct obj o;
    struct vpc *vpc;
    bool main;
    struct subnet **subnets;
    size_t nsubnets;
    struct route *routes;
    size_t nroutes;
};

struct group_rule {
    bool egress;
    char protocol[16]; /* tcp, udp, icmp, a number, or -1 for all */
    int from_port;     /* -1: all */
    int to_port;
    struct cidr cidr;   /* family 0 when a group is named instead */
    char group[ID_MAX]; /* "" when a CIDR is given */
    char description[256];
};

struct group {
    struct obj o;
    struct vpc *vpc;
    char name[256];
    char description[256];
    struct group_rule *rules;
    size_t nrules;
};

struct instance {
    struct obj o;
    struct subnet *subnet;
    char type[40];
    char state[20];
    char launch_time[32];
    char image[ID_MAX];
    char role[65]; /* instance profile; "" falls back to the account's role */
    struct eni *enis[ENIS_PER_INSTANCE];
    size_t nenis;
};

struct eni {
    struct obj o;
    uint8_t mac[6];
    char mac_text[18];
    struct subnet *subnet;
    struct ip *v4; /* the first one is primary */
    size_t nv4;
    struct ip *v6;
    size_t nv6;
    char public_ip[IP_TEXT_MAX];
    struct group *groups[GROUPS_PER_ENI];
    size_t ngroups;
    struct instance *instance; /* NULL when not attached */
    int device_index;
    char attachment_id[ID_MAX];
    char type[40]; /* "interface" is what can be mirrored */
    bool requester_managed;
    char requester_id[64];
    char description[256];
    char port[IFNAMSIZ]; /* fabric-side interface in awsim's namespace; "" for none */
    int mtu;
    struct session *sessions[SESSIONS_PER_ENI]; /* ascending session number */
    size_t nsessions;
    struct target *target;    /* the target object made of this ENI */
    bool gone;                /* deleted; only its target still knows it */
    struct plane_port *plane; /* NULL without a port */
};

struct balancer {
    struct obj o;
    char arn[256];
    struct eni *eni; /* where its packets go; may be NULL */
    struct target *target;
};

struct target {
    struct obj o;
    struct eni *eni;
    struct balancer *balancer;
    char *description; /* NULL when not given; so everywhere */
    size_t nsessions;
};

struct filter {
    struct obj o;
    char *description;
    struct rule *rules[RULES_PER_FILTER]; /* ingress and egress, by direction then number */
    size_t nrules;
    bool amazon_dns;
    size_t nsessions;
};

struct port_range {
    bool set;
    int from;
    int to;
};

struct rule {
    struct obj o;
    struct filter *filter;
    bool egress;
    bool accept;
    int number;
    int protocol; /* -1: all */
    struct port_range src_ports;
    struct port_range dst_ports;
    struct cidr src;
    struct cidr dst;
    char *description;
};

struct session {
    struct obj o;
    struct eni *eni;
    struct target *target;
    struct filter *filter;
    int number;
    int packet_length; /* 0: whole packets */
    uint32_t vni;
    char *description;
    struct counters *counters; /* belongs to the data plane, outlives the session */
};

struct limits {
    size_t sessions;
    size_t targets;
    size_t filters;
};

struct listen {
    char address[IP_TEXT_MAX];
    int port; /* 0: any free one; -1: do not listen */
    char netns[256];
};

struct state {
    pthread_mutex_t mu;
    char region[32];
    char partition[16];
    char dns_suffix[32];
    uint8_t router_mac[6];
    struct limits limits;
    struct ring_shape ring; /* of every port */
    struct listen api;
    struct listen imds;
    char control_path[108];
    struct account *accounts;
    struct map ids;          /* id -> struct obj */
    struct map keys;         /* access key -> struct key */
    long metric_delay_s;     /* CloudWatch shows a period so long after its end; -1: at once */
    struct map imds_clients; /* client address -> struct instance */
    struct map tokens;       /* idempotency.c */
    struct obj_list objects[K_COUNT];
    struct obj_list ghosts[K_COUNT]; /* ghost.c */
    struct obj_list departed;        /* interfaces that are gone but still pointed to */
    uint64_t seq;
    struct share *shares; /* share.c */
    char **events;        /* history.c */
    size_t nevents;
};

void state_init(struct state *st);
/* Only for a clean report by leak checkers at the end; nobody may use the state any more. */
void state_free(struct state *st);

/* Put a new object into the indexes; `id` NULL makes a fresh one. */
void obj_add(struct state *st, struct obj *o, enum kind kind, const char *id,
             struct account *owner);
/* Out of the indexes; the caller frees its own fields and then calls obj_free. */
void obj_remove(struct state *st, struct obj *o);
void obj_free(struct obj *o);
/* NULL when there is none of that kind with that id. */
void *obj_find(const struct state *st, enum kind kind, const char *id);

/* May describes show it already? */
bool obj_is_visible(const struct obj *o);

/* From its instance, if it has one. */
void eni_detach(struct eni *e);
/* Neither stopped nor terminated, nor on the way there. */
bool instance_is_up(const struct instance *i);

/* "tms-" and 8 or 17 lower-case hexadecimal digits. */
bool id_is_well_formed(enum kind kind, const char *id);
/* The kind that an id's prefix names, or K_COUNT. */
enum kind id_kind(const char *id);

const char *tag_value(const struct obj *o, const char *key);
void tag_set(struct obj *o, const char *key, const char *value);
/* Describes show it after that time, and until then what was before. */
void tag_set_late(struct obj *o, const char *key, const char *value, int64_t after_ns);
/* What describes show; NULL: nothing yet. */
const char *tag_shown(const struct tag *t);
bool tag_delete(struct obj *o, const char *key);

struct account *account_find(const struct state *st, const char *id);
struct key *key_add(struct state *st, struct account *account, const char *access,
                    const char *secret, const char *token);

/* Whatever kind it is; out of the indexes before. */
void obj_free_any(struct obj *o);
void session_free(struct session *s);
void target_free(struct target *t);
void filter_free(struct filter *f);
void rule_free(struct rule *r);

#endif
