/* Facts in, next step out. */
#include "plan.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/bytes.h>
#include <tapbox/digest.h>
#include <tapbox/ids.h>

#include "preflight.h"

/* Source: CreateTrafficMirrorSession, EC2 API Reference. */
enum {
    SESSION_NUMBER_MOST = 32766,
    PACKET_LENGTH_MOST = 8500 /* which is also told for whole packets */
};

void
tb_plan_say_too_many(char out_gap[TB_CAPTURE_MAX_TEXT])
{
    (void)snprintf(out_gap, TB_CAPTURE_MAX_TEXT,
                   "a capture takes %d interfaces: name this one in a request of its own",
                   TB_CAPTURE_MAX_SOURCES);
}

size_t
tb_plan_sources(const struct tb_capture_request *request,
                const struct tb_ec2_interfaces *interfaces,
                const struct tb_ec2_instances *instances, const char *target_eni,
                struct tb_capture_source out[TB_CAPTURE_MAX_LISTED], size_t *out_count)
{
    size_t usable = 0;
    size_t count = 0;

    for (size_t i = 0; i < interfaces->count && count < TB_CAPTURE_MAX_LISTED; i++) {
        const struct tb_ec2_interface *interface = &interfaces->at[i];
        const struct tb_ec2_instance *instance = preflight_instance_of(instances, interface);
        struct tb_capture_source *source = &out[count++];
        struct tb_check blocked;

        memset(source, 0, sizeof(*source));
        (void)tb_str_copy(source->eni, sizeof(source->eni), interface->eni);
        (void)tb_str_copy(source->instance, sizeof(source->instance), interface->instance);
        (void)tb_str_copy(source->mac, sizeof(source->mac), interface->mac);
        (void)tb_str_copy(source->ip, sizeof(source->ip), interface->ip);
        (void)tb_str_copy(source->subnet, sizeof(source->subnet), interface->subnet);
        (void)tb_str_copy(source->vpc, sizeof(source->vpc), interface->vpc);
        (void)tb_str_copy(source->account, sizeof(source->account), interface->owner);
        if (instance != NULL) {
            (void)tb_str_copy(source->instance_type, sizeof(source->instance_type),
                              instance->type);
        }
        if (preflight_source_blocked(request, interface, instance, target_eni, &blocked)) {
            (void)tb_str_copy(source->gap, sizeof(source->gap), blocked.text);
        } else if (usable == TB_CAPTURE_MAX_SOURCES) {
            tb_plan_say_too_many(source->gap);
        } else {
            usable++;
        }
    }
    if (interfaces->count > count) {
        usable -= out[count - 1].gap[0] == '\0' ? 1 : 0;
        (void)snprintf(out[count - 1].gap, sizeof(out[count - 1].gap),
                       "of %zu interfaces this one and those behind it are not captured: name "
                       "them in requests of their own",
                       interfaces->count);
    }
    *out_count = count;
    return usable;
}

uint32_t
tb_plan_session_number(const struct tb_ec2_sessions *sessions, const char *eni)
{
    uint32_t highest = 0;

    for (size_t i = 0; i < sessions->count; i++) {
        if (strcmp(sessions->at[i].eni, eni) == 0 && sessions->at[i].session_number > highest) {
            highest = sessions->at[i].session_number;
        }
    }
    return highest < SESSION_NUMBER_MOST ? highest + 1 : 0;
}

size_t
tb_plan_foreign(const struct tb_ec2_sessions *sessions, const char *eni, const char *owner)
{
    size_t foreign = 0;

    for (size_t i = 0; i < sessions->count; i++) {
        const char *tag = tb_ec2_tag(&sessions->at[i].tags, TB_TAG_OWNER);

        if (strcmp(sessions->at[i].eni, eni) == 0 && (tag == NULL || strcmp(tag, owner) != 0)) {
            foreign++;
        }
    }
    return foreign;
}

int64_t
tb_plan_backoff_ns(uint32_t attempt, int64_t first_ns, int64_t most_ns)
{
    uint64_t random = 0;
    int64_t ceiling = first_ns;

    for (; attempt > 0 && ceiling < most_ns; attempt--) {
        ceiling *= 2;
    }
    if (ceiling > most_ns) {
        ceiling = most_ns;
    }
    if (tb_random(&random, sizeof(random)) != TB_OK) {
        return ceiling;
    }
    return ceiling / 10 + (int64_t)(random % (uint64_t)(ceiling - ceiling / 10));
}

enum tb_stop_reason
tb_plan_stop(const struct tb_capture *capture)
{
    if (capture->stop_asked) {
        return capture->stop_reason != TB_STOP_NONE ? capture->stop_reason : TB_STOP_OPERATOR;
    }
    if (capture->deadline.utc_ns != 0 && tb_deadline_left_ns(&capture->deadline) <= 0) {
        return TB_STOP_DEADLINE;
    }
    return TB_STOP_NONE;
}

bool
tb_plan_param(const char *params, const char *name, char *out, size_t cap)
{
    size_t name_len = strlen(name);
    const char *at = params;
    size_t n = 0;

    while (strncmp(at, name, name_len) != 0 || at[name_len] != '=') {
        at = strchr(at, '&');
        if (at == NULL) {
            return false;
        }
        at++;
    }
    for (at += name_len + 1; *at != '\0' && *at != '&'; at++) {
        char hex[3] = {0};
        uint8_t octet = (uint8_t)*at;

        if (*at == '%') {
            hex[0] = at[1];
            hex[1] = at[1] != '\0' ? at[2] : '\0';
            if (strlen(hex) != 2 || tb_unhex(&octet, 1, hex) != TB_OK) {
                return false;
            }
            at += 2;
        }
        if (n + 1 >= cap) {
            return false;
        }
        out[n++] = (char)octet;
    }
    out[n] = '\0';
    return true;
}

bool
tb_plan_param_tag(const char *params, const char *key, char *out, size_t cap)
{
    char name[48], found[129];

    for (unsigned i = 1; i <= TB_EC2_MAX_TAGS; i++) {
        (void)snprintf(name, sizeof(name), "TagSpecification.1.Tag.%u.Key", i);
        if (!tb_plan_param(params, name, found, sizeof(found))) {
            return false;
        }
        if (strcmp(found, key) == 0) {
            (void)snprintf(name, sizeof(name), "TagSpecification.1.Tag.%u.Value", i);
            return tb_plan_param(params, name, out, cap);
        }
    }
    return false;
}

/* --- what others may have changed --- */

/* The same prefix, however it is written; what is no prefix is compared as text. */
static bool
is_same_cidr(const char *a, const char *b)
{
    const char *texts[] = {a, b};
    unsigned char address[2][16] = {{0}};
    long bits[2];
    int family[2];

    for (size_t i = 0; i < 2; i++) {
        const char *slash = strchr(texts[i], '/');
        char alone[TB_IP_TEXT_SIZE];

        family[i] = strchr(texts[i], ':') != NULL ? AF_INET6 : AF_INET;
        if (slash == NULL || (size_t)(slash - texts[i]) >= sizeof(alone)) {
            return strcmp(a, b) == 0;
        }
        memcpy(alone, texts[i], (size_t)(slash - texts[i]));
        alone[slash - texts[i]] = '\0';
        bits[i] = strtol(slash + 1, NULL, 10);
        if (inet_pton(family[i], alone, address[i]) != 1) {
            return strcmp(a, b) == 0;
        }
    }
    return family[0] == family[1] && bits[0] == bits[1] &&
           memcmp(address[0], address[1], sizeof(address[0])) == 0;
}

/* (no range may be told as none, as all ports, or as zeros: a rule of ours that were taken for
 * another would be made anew in every round) */
static bool
is_same_range(int32_t from, int32_t to, int32_t wanted_from, int32_t wanted_to)
{
    bool all = from < 0 || (from == 0 && (to == UINT16_MAX || to == 0));

    return wanted_from < 0 ? all : from == wanted_from && to == wanted_to;
}

bool
tb_plan_is_rule(const struct tb_ec2_rule *found, const struct tb_ec2_rule_spec *wanted)
{
    return !found->unknown && found->egress == wanted->egress &&
           found->number == wanted->number && found->reject == wanted->reject &&
           (wanted->protocol < 0 ? found->protocol <= 0
                                 : found->protocol == wanted->protocol) &&
           is_same_range(found->source_port_from, found->source_port_to,
                         wanted->source_port_from, wanted->source_port_to) &&
           is_same_range(found->destination_port_from, found->destination_port_to,
                         wanted->destination_port_from, wanted->destination_port_to) &&
           is_same_cidr(found->source_cidr, wanted->source_cidr) &&
           is_same_cidr(found->destination_cidr, wanted->destination_cidr);
}

/* 0: it is not in there. */
static uint32_t
number_param(const char *params, const char *name)
{
    char text[16];

    return tb_plan_param(params, name, text, sizeof(text)) ? (uint32_t)strtoul(text, NULL, 10)
                                                           : 0;
}

TB_PRINTF(2, 3)
static void
say_more(char said[TB_CAPTURE_MAX_TEXT], const char *fmt, ...)
{
    size_t used = strlen(said);
    va_list args;

    if (used > 0 && used + 3 < TB_CAPTURE_MAX_TEXT) {
        memcpy(said + used, ", ", 3);
        used += 2;
    }
    va_start(args, fmt);
    (void)vsnprintf(said + used, TB_CAPTURE_MAX_TEXT - used, fmt, args);
    va_end(args);
}

bool
tb_plan_session_change(const struct tb_ec2_session *found, const char *params,
                       const char *filter, char target[TB_AWS_ID_SIZE],
                       struct tb_ec2_session_change *out, char said[TB_CAPTURE_MAX_TEXT])
{
    uint32_t number = number_param(params, "SessionNumber");
    uint32_t vni = number_param(params, "VirtualNetworkId");
    uint32_t length = number_param(params, "PacketLength");
    bool whole = found->packet_length == 0 || found->packet_length == PACKET_LENGTH_MOST;

    *out = (struct tb_ec2_session_change){.target = NULL};
    said[0] = '\0';
    if (tb_plan_param(params, "TrafficMirrorTargetId", target, TB_AWS_ID_SIZE) &&
        strcmp(found->target, target) != 0) {
        out->target = target;
        say_more(said, "target %s for %s", found->target, target);
    }
    if (filter != NULL && strcmp(found->filter, filter) != 0) {
        out->filter = filter;
        say_more(said, "filter %s for %s", found->filter, filter);
    }
    if (vni != 0 && found->vni != vni) {
        out->vni = vni;
        say_more(said, "VNI %u for %u", found->vni, vni);
    }
    if (number != 0 && found->session_number != number) {
        out->session_number = number;
        say_more(said, "number %u for %u", found->session_number, number);
    }
    if (length == 0 && !whole) {
        out->whole_packets = true;
        say_more(said, "packet length %u for whole packets", found->packet_length);
    } else if (length != 0 && found->packet_length != length &&
               !(whole && length == PACKET_LENGTH_MOST)) {
        out->packet_length = length;
        say_more(said, "packet length %u for %u", found->packet_length, length);
    }
    return said[0] != '\0';
}

bool
tb_plan_has_to_stay_behind(const struct tb_ec2_sessions *sessions,
                           const struct tb_ec2_session *ours, const char *params,
                           uint32_t *out_asked)
{
    uint32_t asked = number_param(params, "SessionNumber");

    for (size_t i = 0; i < sessions->count && asked < ours->session_number; i++) {
        const struct tb_ec2_session *other = &sessions->at[i];

        if (strcmp(other->eni, ours->eni) == 0 && strcmp(other->id, ours->id) != 0 &&
            other->session_number >= asked) {
            *out_asked = asked;
            return asked != 0;
        }
    }
    return false;
}

enum tb_sweep_verdict
tb_plan_sweep(const struct tb_ec2_tags *tags, const char *owner, int64_t server_utc_s)
{
    const char *whose = tb_ec2_tag(tags, TB_TAG_OWNER);
    const char *expires = tb_ec2_tag(tags, TB_TAG_EXPIRES);
    int64_t expires_utc_ns;

    if (whose == NULL || strcmp(whose, owner) != 0) {
        return TB_SWEEP_FOREIGN;
    }
    if (expires == NULL) {
        return tb_ec2_tag(tags, TB_TAG_STANDING) != NULL ? TB_SWEEP_STANDING : TB_SWEEP_UNCLEAR;
    }
    if (server_utc_s == 0 || tb_time_parse(expires, &expires_utc_ns) != TB_OK) {
        return TB_SWEEP_UNCLEAR;
    }
    return expires_utc_ns / TB_NS_PER_S <= server_utc_s ? TB_SWEEP_EXPIRED : TB_SWEEP_ALIVE;
}
