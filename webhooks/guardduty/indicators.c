/* What to look for in the traffic: remote addresses, ports, protocols, domains, direction. */
#include "guardduty_int.h"

#include <arpa/inet.h>

static void
add_indicator(struct tb_alert *out, const struct tb_indicator *made)
{
    for (size_t i = 0; i < out->indicator_count; i++) {
        const struct tb_indicator *there = &out->indicators[i];

        if (there->kind == made->kind && there->port == made->port &&
            strcmp(there->value, made->value) == 0 &&
            strcmp(there->protocol, made->protocol) == 0 &&
            strcmp(there->direction, made->direction) == 0) {
            return;
        }
    }
    if (out->indicator_count < TB_ALERT_MAX_INDICATORS) {
        out->indicators[out->indicator_count++] = *made;
    }
}

void
guardduty_add_address(struct tb_alert *out, const char *text, const struct tb_indicator *more)
{
    struct tb_indicator made = *more;
    unsigned char octets[sizeof(struct in6_addr)];

    made.kind = TB_INDICATOR_IP;
    if (text != NULL &&
        (inet_pton(AF_INET, text, octets) == 1 || inet_pton(AF_INET6, text, octets) == 1)) {
        (void)tb_str_copy(made.value, sizeof(made.value), text);
        add_indicator(out, &made);
    }
}

void
guardduty_add_domain(struct tb_alert *out, const char *text, const struct tb_indicator *more)
{
    struct tb_indicator made = *more;

    made.kind = TB_INDICATOR_DOMAIN;
    if (tb_webhook_name(made.value, sizeof(made.value), text)) {
        add_indicator(out, &made);
    }
}

/* Flow-log findings know IPv4 only; the IPv6 address beside one is a filler. */
static void
add_remote(struct tb_alert *out, const struct tb_json *details, const struct tb_indicator *more)
{
    const char *v4 = tb_webhook_str(details, "ipAddressV4");

    guardduty_add_address(out, v4 != NULL ? v4 : tb_webhook_str(details, "ipAddressV6"), more);
}

static void
read_connection(const struct tb_json *net, struct tb_alert *out)
{
    struct tb_indicator more = {.port = tb_webhook_port(net, "remotePortDetails/port")};

    (void)tb_webhook_lower_name(more.protocol, sizeof(more.protocol),
                                tb_webhook_str(net, "protocol"));
    (void)tb_webhook_lower_name(more.direction, sizeof(more.direction),
                                tb_webhook_str(net, "connectionDirection"));
    add_remote(out, tb_webhook_at(net, "remoteIpDetails"), &more);
}

static void
read_probes(const struct tb_json *probe, struct tb_alert *out)
{
    const struct tb_json *list = tb_webhook_at(probe, "portProbeDetails");
    struct tb_indicator more = {.direction = "inbound"};

    for (size_t i = 0; tb_json_is_array(list) && i < tb_json_count(list) &&
                       out->indicator_count < TB_ALERT_MAX_INDICATORS;
         i++) {
        add_remote(out, tb_webhook_at(tb_json_item(list, i), "remoteIpDetails"), &more);
    }
}

static void
read_dns(const struct tb_json *dns, struct tb_alert *out)
{
    struct tb_indicator more = {.direction = "outbound"};

    (void)tb_webhook_lower_name(more.protocol, sizeof(more.protocol),
                                tb_webhook_str(dns, "protocol"));
    guardduty_add_domain(out, tb_webhook_str(dns, "domain"), &more);
}

/* Calls of an API: where they came from.  Not traffic of the instance, yet worth a look. */
static void
read_call(const struct tb_json *call, struct tb_alert *out)
{
    const struct tb_json *ips = tb_webhook_at(call, "sourceIPs");
    struct tb_indicator more = {0};

    add_remote(out, tb_webhook_at(call, "remoteIpDetails"), &more);
    guardduty_add_domain(out, tb_webhook_str(call, "domainDetails/domain"), &more);
    for (size_t i = 0; tb_json_is_array(ips) && i < tb_json_count(ips) &&
                       out->indicator_count < TB_ALERT_MAX_INDICATORS;
         i++) {
        guardduty_add_address(out, tb_json_str(tb_json_item(ips, i), ""), &more);
    }
}

void
guardduty_read_indicators(const struct tb_json *finding, struct tb_alert *out)
{
    static const struct {
        const char *member;
        void (*read)(const struct tb_json *, struct tb_alert *);
    } actions[] = {
        {"networkConnectionAction", read_connection},
        {"portProbeAction", read_probes},
        {"dnsRequestAction", read_dns},
        {"awsApiCallAction", read_call},
        {"kubernetesApiCallAction", read_call},
        {"rdsLoginAttemptAction", read_call},
    };
    const struct tb_json *action = tb_webhook_at(finding, "service/action");

    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        const struct tb_json *at = tb_webhook_at(action, actions[i].member);

        if (tb_json_is_object(at)) {
            actions[i].read(at, out);
        }
    }
}
