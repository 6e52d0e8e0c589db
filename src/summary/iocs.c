/* What the alert spoke of: whether, when and how much of it is in the packets. */
#include "summary_int.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

const char *
tb_ioc_kind_name(enum tb_ioc_kind kind)
{
    static const char *const names[TB_IOC_KIND_COUNT] = {
        [TB_IOC_IP] = "ip",
        [TB_IOC_PORT] = "port",
        [TB_IOC_DOMAIN] = "domain",
    };

    return names[kind];
}

static uint8_t
protocol_number(const char *name)
{
    if (strcmp(name, "tcp") == 0) {
        return IP_TCP;
    }
    return strcmp(name, "udp") == 0 ? IP_UDP : 0;
}

size_t
tb_iocs_of_alert(const struct tb_alert *alert, struct tb_ioc out[TB_IOCS_OF_ALERT_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < alert->indicator_count; i++) {
        const struct tb_indicator *from = &alert->indicators[i];
        struct tb_ioc ioc = {
            .kind = from->kind == TB_INDICATOR_IP ? TB_IOC_IP : TB_IOC_DOMAIN,
            .port = from->port <= UINT16_MAX ? (uint16_t)from->port : 0,
            .protocol = protocol_number(from->protocol),
        };

        (void)tb_str_copy(ioc.value, sizeof(ioc.value), from->value);
        out[count++] = ioc;
        /* what was attacked; that of a connection to the outside is any */
        if (from->local_port > 0 && from->local_port <= UINT16_MAX &&
            strcmp(from->direction, "inbound") == 0) {
            out[count++] = (struct tb_ioc){.kind = TB_IOC_PORT,
                                           .port = (uint16_t)from->local_port,
                                           .protocol = ioc.protocol};
        }
    }
    return count;
}

bool
summary_address_parse(const char *text, struct summary_address *out)
{
    struct summary_address address = {{0}};

    if (inet_pton(AF_INET, text, address.octets + 12) == 1) {
        address.octets[10] = address.octets[11] = 0xff;
    } else if (inet_pton(AF_INET6, text, address.octets) != 1) {
        return false;
    }
    *out = address;
    return true;
}

static bool
is_equal(const struct summary_address *a, const struct summary_address *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static unsigned
bit_of(const struct summary_address *address)
{
    uint32_t h = tb_get_le32(address->octets + 12) ^ tb_get_le32(address->octets + 4);

    return (h * 0x9E3779B1u) >> 22; /* ten bits */
}

static void
mark(struct summary_iocs *iocs, const struct summary_address *address)
{
    unsigned bit = bit_of(address);

    iocs->addresses[bit / 64] |= UINT64_C(1) << (bit % 64);
}

static bool
is_marked(const struct summary_iocs *iocs, const struct summary_address *address)
{
    unsigned bit = bit_of(address);

    return (iocs->addresses[bit / 64] >> (bit % 64) & 1) != 0;
}

void
summary_iocs_init(struct summary_iocs *iocs)
{
    memset(iocs, 0, sizeof(*iocs));
}

void
summary_iocs_release(struct summary_iocs *iocs)
{
    for (size_t i = 0; i < iocs->count; i++) {
        free(iocs->states[i]);
    }
    iocs->count = 0;
}

static void
lower(char *text)
{
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++) {
        text[i] = (char)tolower((unsigned char)text[i]);
    }
    if (len > 1 && text[len - 1] == '.') {
        text[len - 1] = '\0';
    }
}

enum tb_err
summary_iocs_add(struct summary_iocs *iocs, const struct tb_ioc *ioc, bool *out_new,
                 struct tb_fail *fail)
{
    struct summary_ioc_state *state;
    struct summary_address address = {{0}};
    struct tb_ioc kept = *ioc;

    kept.value[sizeof(kept.value) - 1] = '\0';
    lower(kept.value);
    if (kept.kind == TB_IOC_IP && !summary_address_parse(kept.value, &address)) {
        return tb_fail_set(fail, TB_EINVAL, "'%.60s' is no IP address", kept.value);
    }
    if ((kept.kind == TB_IOC_DOMAIN && kept.value[0] == '\0') ||
        (kept.kind == TB_IOC_PORT && kept.port == 0)) {
        return tb_fail_set(fail, TB_EINVAL, "an empty %s", tb_ioc_kind_name(kept.kind));
    }
    *out_new = false;
    for (size_t i = 0; i < iocs->count; i++) {
        const struct tb_ioc *one = &iocs->list[i];

        if (one->kind == kept.kind && one->port == kept.port &&
            one->protocol == kept.protocol && strcmp(one->value, kept.value) == 0) {
            return TB_OK;
        }
    }
    if (iocs->count >= TB_SUMMARY_MAX_IOCS) {
        return tb_fail_set(fail, TB_EFULL, "more than %d indicators", TB_SUMMARY_MAX_IOCS);
    }
    state = calloc(1, sizeof(*state));
    if (state == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for an indicator");
    }
    state->address = address;
    iocs->list[iocs->count] = kept;
    iocs->sightings[iocs->count] = (struct tb_sighting){0};
    iocs->states[iocs->count++] = state;
    if (kept.kind == TB_IOC_IP) {
        mark(iocs, &address);
    }
    iocs->any_port = iocs->any_port || kept.kind == TB_IOC_PORT;
    iocs->any_domain = iocs->any_domain || kept.kind == TB_IOC_DOMAIN;
    *out_new = true;
    return TB_OK;
}

void
summary_sighting_span(struct tb_sighting *sighting, int64_t first_utc_ns, int64_t last_utc_ns)
{
    if (sighting->first_utc_ns == 0 || first_utc_ns < sighting->first_utc_ns) {
        sighting->first_utc_ns = first_utc_ns;
    }
    if (last_utc_ns > sighting->last_utc_ns) {
        sighting->last_utc_ns = last_utc_ns;
    }
}

static void
note_time(struct tb_sighting *sighting, int64_t utc_ns)
{
    summary_sighting_span(sighting, utc_ns, utc_ns);
}

static bool
has_end(const struct summary_ioc_state *state, enum tb_ioc_kind kind,
        const struct summary_ends *ends)
{
    if (kind == TB_IOC_IP) {
        return is_equal(&state->address, &ends->src) || is_equal(&state->address, &ends->dst);
    }
    for (size_t i = 0; i < state->answered_count; i++) {
        if (is_equal(&state->answered[i], &ends->src) ||
            is_equal(&state->answered[i], &ends->dst)) {
            return true;
        }
    }
    return false;
}

void
summary_iocs_ip(struct summary_iocs *iocs, const struct summary_ends *ends, uint64_t frame,
                int64_t utc_ns, uint64_t bytes)
{
    if (!is_marked(iocs, &ends->src) && !is_marked(iocs, &ends->dst)) {
        return;
    }
    for (size_t i = 0; i < iocs->count; i++) {
        struct summary_ioc_state *state = iocs->states[i];

        if (iocs->list[i].kind != TB_IOC_PORT && state->frame != frame &&
            has_end(state, iocs->list[i].kind, ends)) {
            state->frame = frame;
            iocs->sightings[i].packets++;
            iocs->sightings[i].bytes += bytes;
            note_time(&iocs->sightings[i], utc_ns);
        }
    }
}

/* Whether the packet is on the port, at the end that the indicator is of. */
static bool
is_on_port(const struct tb_ioc *ioc, const struct summary_ioc_state *state,
           const struct summary_ends *ends)
{
    if (ioc->port == 0 || (ioc->protocol != 0 && ioc->protocol != ends->protocol)) {
        return false;
    }
    if (ioc->kind == TB_IOC_PORT) {
        return ends->src_port == ioc->port || ends->dst_port == ioc->port;
    }
    return ioc->kind == TB_IOC_IP &&
           ((ends->src_port == ioc->port && is_equal(&state->address, &ends->src)) ||
            (ends->dst_port == ioc->port && is_equal(&state->address, &ends->dst)));
}

void
summary_iocs_transport(struct summary_iocs *iocs, const struct summary_ends *ends,
                       uint64_t frame, int64_t utc_ns, uint64_t bytes)
{
    if (!iocs->any_port && !is_marked(iocs, &ends->src) && !is_marked(iocs, &ends->dst)) {
        return;
    }
    for (size_t i = 0; i < iocs->count; i++) {
        struct summary_ioc_state *state = iocs->states[i];

        if (state->port_frame == frame || !is_on_port(&iocs->list[i], state, ends)) {
            continue;
        }
        state->port_frame = frame;
        iocs->sightings[i].on_port++;
        if (iocs->list[i].kind == TB_IOC_PORT) {
            iocs->sightings[i].packets++;
            iocs->sightings[i].bytes += bytes;
            note_time(&iocs->sightings[i], utc_ns);
        }
    }
}

/* The domain itself, or a name below it. */
bool
summary_name_is_below(const char *name, const char *domain)
{
    size_t name_len = strlen(name), len = strlen(domain);

    name_len -= name_len > 1 && name[name_len - 1] == '.' ? 1 : 0;
    return name_len >= len && strncasecmp(name + name_len - len, domain, len) == 0 &&
           (name_len == len || name[name_len - len - 1] == '.');
}

void
summary_iocs_name(struct summary_iocs *iocs, const char *name, uint64_t times, int64_t utc_ns)
{
    for (size_t i = 0; iocs->any_domain && i < iocs->count; i++) {
        if (iocs->list[i].kind == TB_IOC_DOMAIN &&
            summary_name_is_below(name, iocs->list[i].value)) {
            iocs->sightings[i].names += times;
            note_time(&iocs->sightings[i], utc_ns);
        }
    }
}

void
summary_iocs_answer(struct summary_iocs *iocs, const char *name,
                    const struct summary_address *address)
{
    for (size_t i = 0; iocs->any_domain && i < iocs->count; i++) {
        struct summary_ioc_state *state = iocs->states[i];
        bool is_there = false;

        if (iocs->list[i].kind != TB_IOC_DOMAIN ||
            !summary_name_is_below(name, iocs->list[i].value)) {
            continue;
        }
        for (size_t k = 0; k < state->answered_count && !is_there; k++) {
            is_there = is_equal(&state->answered[k], address);
        }
        if (!is_there && state->answered_count < IOC_MAX_ADDRESSES) {
            state->answered[state->answered_count++] = *address;
            mark(iocs, address);
        }
    }
}
