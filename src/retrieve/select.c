/* Which packets are wanted: as people write it, and whether a packet or a chunk fits. */
#include <tapbox/retrieve.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/clock.h>

enum {
    PORT_MAX = 65535,
    PROTOCOL_MAX = 255,
    END_TEXT = INET6_ADDRSTRLEN + 10 /* "[address]:port" */
};

/* Protocols that have ports: a flow of no named protocol may be one of any of these. */
static const uint8_t with_ports[] = {6, 17, 33, 132, 136};

void
tb_select_init(struct tb_select *select)
{
    *select = (struct tb_select){.since_utc_ns = INT64_MIN, .until_utc_ns = INT64_MAX};
}

static bool
read_address(const char *text, uint8_t out[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

    if (inet_pton(AF_INET, text, out + 12) == 1) {
        memcpy(out, mapped, sizeof(mapped));
        return true;
    }
    return inet_pton(AF_INET6, text, out) == 1;
}

static bool
read_number(const char *text, unsigned long max, unsigned long *out)
{
    char *end;

    errno = 0;
    *out = strtoul(text, &end, 10);
    return isdigit((unsigned char)text[0]) && *end == '\0' && errno == 0 && *out <= max;
}

static enum tb_err
check_room(size_t count, const char *what, struct tb_fail *fail)
{
    return count < TB_SELECT_MAX
               ? TB_OK
               : tb_fail_set(fail, TB_EFULL, "%d %s at the most", TB_SELECT_MAX, what);
}

enum tb_err
tb_select_host(struct tb_select *select, const char *text, struct tb_fail *fail)
{
    enum tb_err err = check_room(select->host_count, "hosts", fail);

    if (err == TB_OK && !read_address(text, select->hosts[select->host_count])) {
        err = tb_fail_set(fail, TB_EINVAL, "'%.80s' is not an IP address", text);
    }
    select->host_count += err == TB_OK;
    return err;
}

/* "10.0.0.1:443" or "[2001:db8::1]:443" */
static bool
read_end(const char *text, size_t len, uint8_t address[16], uint16_t *out_port)
{
    char copy[END_TEXT];
    unsigned long port;
    char *colon, *begin = copy;

    if (len == 0 || len >= sizeof(copy)) {
        return false;
    }
    memcpy(copy, text, len);
    copy[len] = '\0';
    colon = strrchr(copy, ':');
    if (colon == NULL || !read_number(colon + 1, PORT_MAX, &port)) {
        return false;
    }
    *colon = '\0';
    if (copy[0] == '[' && colon > copy + 1 && colon[-1] == ']') {
        colon[-1] = '\0';
        begin++;
    } else if (strchr(copy, ':') != NULL) {
        return false; /* where does the address end? */
    }
    *out_port = (uint16_t)port;
    return read_address(begin, address);
}

enum tb_err
tb_select_flow(struct tb_select *select, const char *text, struct tb_fail *fail)
{
    struct tb_segment_flow *flow = &select->flows[select->flow_count];
    const char *dash = strchr(text, '-');
    enum tb_err err = check_room(select->flow_count, "flows", fail);

    if (err == TB_OK &&
        (dash == NULL || !read_end(text, (size_t)(dash - text), flow->a, &flow->port_a) ||
         !read_end(dash + 1, strlen(dash + 1), flow->b, &flow->port_b))) {
        err = tb_fail_set(fail, TB_EINVAL,
                          "'%.120s' is not a flow: write 10.0.0.1:443-10.0.0.2:50000 or "
                          "[2001:db8::1]:443-[2001:db8::2]:50000",
                          text);
    }
    select->flow_count += err == TB_OK;
    return err;
}

enum tb_err
tb_select_port(struct tb_select *select, const char *text, struct tb_fail *fail)
{
    unsigned long port;
    enum tb_err err = check_room(select->port_count, "ports", fail);

    if (err == TB_OK && (!read_number(text, PORT_MAX, &port) || port == 0)) {
        err = tb_fail_set(fail, TB_EINVAL, "'%.80s' is not a port: 1 to %d", text, PORT_MAX);
    }
    if (err == TB_OK) {
        select->ports[select->port_count++] = (uint16_t)port;
    }
    return err;
}

enum tb_err
tb_select_protocol(struct tb_select *select, const char *text, struct tb_fail *fail)
{
    static const struct {
        const char *name;
        uint8_t number;
    } known[] = {{"tcp", 6}, {"udp", 17}, {"icmp", 1}, {"icmp6", 58}, {"sctp", 132}};
    unsigned long number = 0;
    enum tb_err err = check_room(select->protocol_count, "protocols", fail);
    bool found = read_number(text, PROTOCOL_MAX, &number);

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]) && !found; i++) {
        found = strcmp(text, known[i].name) == 0;
        number = known[i].number;
    }
    if (err == TB_OK && !found) {
        err = tb_fail_set(fail, TB_EINVAL,
                          "'%.80s' is not a protocol: tcp, udp, icmp, icmp6, sctp, or a number",
                          text);
    }
    if (err == TB_OK) {
        select->protocols[select->protocol_count++] = (uint8_t)number;
    }
    return err;
}

/* --- by name --- */

static enum tb_err
read_time(const char *text, int64_t *out, struct tb_fail *fail)
{
    return tb_time_parse(text, out) == TB_OK
               ? TB_OK
               : tb_fail_set(fail, TB_EINVAL, "'%.60s' is not a time: 2026-01-02T03:04:05Z",
                             text);
}

enum tb_err
tb_select_add(struct tb_select *select, const char *kind, const char *value,
              struct tb_fail *fail)
{
    static const struct {
        const char *kind;
        enum tb_err (*add)(struct tb_select *select, const char *text, struct tb_fail *fail);
    } kinds[] = {{"host", tb_select_host},
                 {"flow", tb_select_flow},
                 {"port", tb_select_port},
                 {"proto", tb_select_protocol}};

    if (strcmp(kind, "all") == 0 && value == NULL) {
        return TB_OK;
    }
    if (strcmp(kind, "since") == 0 && value != NULL) {
        return read_time(value, &select->since_utc_ns, fail);
    }
    if (strcmp(kind, "until") == 0 && value != NULL) {
        return read_time(value, &select->until_utc_ns, fail);
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kind, kinds[i].kind) == 0 && value != NULL) {
            return kinds[i].add(select, value, fail);
        }
    }
    return tb_fail_set(fail, TB_ENOTFOUND, "there is no filter --%.60s", kind);
}

/* The next word, up to a single space or the end; "" at the end. */
static void
next_word(const char **text, char *out, size_t cap)
{
    size_t len = strcspn(*text, " ");

    (void)snprintf(out, cap, "%.*s", (int)len, *text);
    *text += len + ((*text)[len] == ' ' ? 1 : 0);
}

enum tb_err
tb_select_parse(struct tb_select *select, const char *text, struct tb_fail *fail)
{
    char kind[16], value[160];
    enum tb_err err = TB_OK;

    while (*text != '\0' && err == TB_OK) {
        next_word(&text, kind, sizeof(kind));
        value[0] = '\0';
        if (*text != '\0' && strncmp(text, "--", 2) != 0) {
            next_word(&text, value, sizeof(value));
        }
        err = strncmp(kind, "--", 2) != 0
                  ? tb_fail_set(fail, TB_EINVAL, "'%s' is no filter", kind)
                  : tb_select_add(select, kind + 2, value[0] != '\0' ? value : NULL, fail);
    }
    return err == TB_ENOTFOUND ? TB_EINVAL : err;
}

/* --- a packet --- */

static bool
is_end(const struct tb_segment_flow *packet, const uint8_t host[16])
{
    return memcmp(packet->a, host, 16) == 0 || memcmp(packet->b, host, 16) == 0;
}

static bool
is_of_flow(const struct tb_segment_flow *packet, const struct tb_segment_flow *flow)
{
    bool forth = memcmp(packet->a, flow->a, 16) == 0 && memcmp(packet->b, flow->b, 16) == 0 &&
                 packet->port_a == flow->port_a && packet->port_b == flow->port_b;
    bool back = memcmp(packet->a, flow->b, 16) == 0 && memcmp(packet->b, flow->a, 16) == 0 &&
                packet->port_a == flow->port_b && packet->port_b == flow->port_a;

    return forth || back;
}

static bool
is_of_kinds(const struct tb_select *select, const struct tb_segment_flow *packet)
{
    bool host = select->host_count == 0, flow = select->flow_count == 0,
         port = select->port_count == 0, protocol = select->protocol_count == 0;

    for (size_t i = 0; i < select->host_count && !host; i++) {
        host = is_end(packet, select->hosts[i]);
    }
    for (size_t i = 0; i < select->flow_count && !flow; i++) {
        flow = is_of_flow(packet, &select->flows[i]);
    }
    for (size_t i = 0; i < select->port_count && !port; i++) {
        port = packet->port_a == select->ports[i] || packet->port_b == select->ports[i];
    }
    for (size_t i = 0; i < select->protocol_count && !protocol; i++) {
        protocol = packet->protocol == select->protocols[i];
    }
    return host && flow && port && protocol;
}

static bool
is_about_packets(const struct tb_select *select)
{
    return select->host_count + select->flow_count + select->port_count +
               select->protocol_count >
           0;
}

bool
tb_select_takes(const struct tb_select *select, int64_t utc_ns, struct tb_bytes frame)
{
    struct tb_segment_flow packet;

    if (utc_ns < select->since_utc_ns || utc_ns >= select->until_utc_ns) {
        return false;
    }
    return !is_about_packets(select) ||
           (tb_segment_flow_of(frame, &packet) && is_of_kinds(select, &packet));
}

/* --- a chunk --- */

static bool
may_hold_flow(const struct tb_select *select, const struct tb_segment_reader *reader, size_t i,
              struct tb_segment_flow flow)
{
    const uint8_t *protocols = select->protocol_count > 0 ? select->protocols : with_ports;
    size_t count = select->protocol_count > 0 ? select->protocol_count : sizeof(with_ports);

    if (!tb_segment_reader_may_hold_host(reader, i, tb_segment_host_key(flow.a)) ||
        !tb_segment_reader_may_hold_host(reader, i, tb_segment_host_key(flow.b))) {
        return false;
    }
    for (size_t p = 0; p < count; p++) {
        flow.protocol = protocols[p];
        if (tb_segment_reader_may_hold_flow(reader, i, tb_segment_flow_key(&flow))) {
            return true;
        }
    }
    /* ("ports 0" is also said of what has no ports, whatever its protocol) */
    return flow.port_a == 0 && flow.port_b == 0;
}

bool
tb_select_may_take(const struct tb_select *select, const struct tb_segment_reader *reader,
                   size_t i)
{
    const struct tb_segment_chunk *chunk = tb_segment_reader_chunk(reader, i);
    bool host = select->host_count == 0, flow = select->flow_count == 0;

    if (chunk == NULL || chunk->info.packets == 0 ||
        chunk->info.last_utc_ns < select->since_utc_ns ||
        chunk->info.first_utc_ns >= select->until_utc_ns) {
        return false;
    }
    for (size_t h = 0; h < select->host_count && !host; h++) {
        host =
            tb_segment_reader_may_hold_host(reader, i, tb_segment_host_key(select->hosts[h]));
    }
    for (size_t f = 0; f < select->flow_count && !flow; f++) {
        flow = may_hold_flow(select, reader, i, select->flows[f]);
    }
    return host && flow;
}
