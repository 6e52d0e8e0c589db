/* One API request on its way: who calls, with what, and the answer so far. */
#ifndef AWSIM_CALL_H
#define AWSIM_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "faults.h"
#include "http.h"
#include "objects.h"
#include "query.h"
#include "sigv4.h"
#include "xml.h"

struct plane;

struct call {
    struct state *st;
    struct plane *plane;
    const struct http_request *http;
    const struct action *action;
    struct signer signer;
    struct query query;
    char request_id[37];
    long long start_ns;
    struct fault_plan plan;
    struct refusal refusal; /* status 0 while all is well */
    struct str out;         /* what stands between requestId and the end of the answer */
    uint64_t plane_ticket;  /* the data plane has to reach this before the answer leaves */
};

enum service {
    SERVICE_EC2,
    SERVICE_STS,
    SERVICE_CLOUDWATCH,
    SERVICE_COUNT,
};
/* How requests and answers of a service name it. */
struct service_names {
    const char *scope;   /* in the credential scope */
    const char *iam;     /* before the colon in IAM actions, and in fault rules */
    const char *version; /* of its API */
    const char *xmlns;
    const char *server;
};
extern const struct service_names service_names[SERVICE_COUNT];

/* Handlers run with the state's lock held and return false after `fail`. */
struct action {
    const char *name;
    enum service service;
    const struct param *params;
    bool (*run)(struct call *c);
    bool idempotent; /* knows ClientToken */
};

extern const struct action ec2_target_actions[];
extern const struct action ec2_filter_actions[];
extern const struct action ec2_rule_actions[];
extern const struct action ec2_session_actions[];
extern const struct action ec2_instance_actions[];
extern const struct action ec2_eni_actions[];
extern const struct action ec2_type_actions[];
extern const struct action ec2_network_actions[];
extern const struct action ec2_tag_actions[];
extern const struct action sts_actions[];
extern const struct action cloudwatch_actions[];
extern const char sts_unsigned_action[]; /* what it takes proves itself */

/* Refuse the call: always returns false. */
bool fail(struct call *c, int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* "The <label> 'id' does not exist", with the kind's code. */
bool fail_not_found(struct call *c, enum kind kind, const char *id);

/* The object named by a parameter, of the caller's account; NULL after refusing. */
void *call_object(struct call *c, const char *path, enum kind kind);
/* The target named by TrafficMirrorTargetId: the caller's own, or one shared with it. */
struct target *call_target(struct call *c);
/* Same for an id at hand. */
void *call_object_by_id(struct call *c, enum kind kind, const char *id);

/* Is the action among those that the key may not do? */
bool call_is_denied(const struct call *c);

/*
 * The last thing before an effect: refuses with UnauthorizedOperation where the key may not,
 * and with DryRunOperation when the call only asks.  True: go ahead.
 */
bool call_may_proceed(struct call *c);

/* A create made `o`: its tags, what the call's plan says of it, and its place in history. */
void call_made(struct call *c, struct obj *o);

/* TagSpecification.#.…: checked against `kind` by tags_check, put on by call_made. */
#define TAG_SPECIFICATION                                                                      \
    {.path = "TagSpecification.#.ResourceType", .type = P_TEXT},                               \
        {.path = "TagSpecification.#.Tag.#.Key", .type = P_TEXT},                              \
    {                                                                                          \
        .path = "TagSpecification.#.Tag.#.Value", .type = P_TEXT                               \
    }
bool tags_check(struct call *c, enum kind kind);
bool tag_key_check(struct call *c, const char *key);
bool tag_value_check(struct call *c, const char *value);
void tags_xml(struct str *x, const struct obj *o);

/* Free text of at most 255 characters that stays with the object. */
char *call_description(const struct call *c);

#endif
