/* The parts of a finding that GuardDuty and Security Hub write alike.  Of an action, what to
 * look for in the traffic: remote addresses, ports, protocols, domains, direction. */
#include <tapbox/webhook_fields.h>

enum {
    PROBES_MAX = 1000 /* of one list that are looked at; real ones have a few */
};

/* Flow-log findings know IPv4 only; the IPv6 address beside one is a filler. */
static void
add_remote(struct tb_alert *out, const struct tb_json *details, const struct tb_indicator *more)
{
    if (!tb_webhook_add_address(out, tb_webhook_str(details, "ipAddressV4"), more)) {
        (void)tb_webhook_add_address(out, tb_webhook_str(details, "ipAddressV6"), more);
    }
}

static void
read_protocol(const struct tb_json *action, struct tb_indicator *out)
{
    const char *text = tb_webhook_str(action, "protocol");

    if (text != NULL) {
        (void)tb_webhook_lower_name(out->protocol, sizeof(out->protocol), text);
    } else {
        (void)tb_webhook_name_or_number(out->protocol, sizeof(out->protocol), action,
                                        "protocol");
    }
}

static void
read_connection(const struct tb_json *net, struct tb_alert *out)
{
    struct tb_indicator more = {.port = tb_webhook_port(net, "remotePortDetails/port"),
                                .local_port = tb_webhook_port(net, "localPortDetails/port"),
                                .on_wire = true};

    read_protocol(net, &more);
    (void)tb_webhook_lower_name(more.direction, sizeof(more.direction),
                                tb_webhook_str(net, "connectionDirection"));
    add_remote(out, tb_webhook_at(net, "remoteIpDetails"), &more);
}

static void
read_probes(const struct tb_json *probe, struct tb_alert *out)
{
    const struct tb_json *list = tb_webhook_at(probe, "portProbeDetails");
    size_t count = tb_json_is_array(list) ? tb_json_count(list) : 0;

    for (size_t i = 0; i < count && i < PROBES_MAX; i++) {
        const struct tb_json *one = tb_json_item(list, i);
        struct tb_indicator more = {.local_port = tb_webhook_port(one, "localPortDetails/port"),
                                    .direction = "inbound",
                                    .on_wire = true};

        add_remote(out, tb_webhook_at(one, "remoteIpDetails"), &more);
    }
}

static void
read_dns(const struct tb_json *dns, struct tb_alert *out)
{
    struct tb_indicator more = {.direction = "outbound", .on_wire = true};

    read_protocol(dns, &more);
    (void)tb_webhook_add_domain(out, tb_webhook_str(dns, "domain"), &more);
}

/* Calls of an API: where they came from.  Not traffic of the instance, yet worth a look. */
static void
read_call(const struct tb_json *call, struct tb_alert *out)
{
    const struct tb_json *ips = tb_webhook_at(call, "sourceIPs");
    struct tb_indicator more = {0};

    add_remote(out, tb_webhook_at(call, "remoteIpDetails"), &more);
    (void)tb_webhook_add_domain(out, tb_webhook_str(call, "domainDetails/domain"), &more);
    for (size_t i = 0; tb_json_is_array(ips) && i < tb_json_count(ips) && i < PROBES_MAX; i++) {
        (void)tb_webhook_add_address(out, tb_json_str(tb_json_item(ips, i), ""), &more);
    }
}

void
tb_webhook_read_action(const struct tb_json *action, struct tb_alert *out)
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

    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        const struct tb_json *at = tb_webhook_at(action, actions[i].member);

        if (tb_json_is_object(at)) {
            actions[i].read(at, out);
        }
    }
}

/* Newer events have the expanded key, the API only JSON as a string in "value". */
bool
tb_webhook_is_sample(const struct tb_json *additional_info)
{
    const char *text = tb_webhook_str(additional_info, "value");
    struct tb_json *value = NULL;
    bool sample = tb_webhook_flag(additional_info, "sample");

    if (!sample && text != NULL && tb_json_parse(tb_bytes_str(text), &value, NULL) == TB_OK) {
        sample = tb_webhook_flag(value, "sample");
        tb_json_free(value);
    }
    return sample;
}
