/* The summary as a JSON document; FORMAT.md has its members. */
#include "summary_int.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include <tapbox/clock.h>

void
summary_address_text(char *out, const struct summary_address *address, bool is_v6)
{
    out[0] = '\0';
    if (is_v6) {
        (void)inet_ntop(AF_INET6, address->octets, out, TB_IP_TEXT_SIZE);
    } else {
        (void)inet_ntop(AF_INET, address->octets + 12, out, TB_IP_TEXT_SIZE);
    }
}

static void
set_time(struct tb_json *object, const char *key, int64_t utc_ns, bool is_known)
{
    char text[TB_TIME_TEXT_SIZE];

    if (!is_known) {
        tb_json_set_null(object, key);
        return;
    }
    tb_time_format_ns(text, utc_ns);
    tb_json_set_str(object, key, text);
}

static void
set_count(struct tb_json *object, const char *key, uint64_t value)
{
    tb_json_set_int(object, key, (int64_t)value);
}

/* --- tables --- */

static int
by_bytes(const void *x, const void *y)
{
    const struct summary_entry *a = *(const struct summary_entry *const *)x;
    const struct summary_entry *b = *(const struct summary_entry *const *)y;
    uint64_t p = summary_entry_bytes(a), q = summary_entry_bytes(b);

    if (p == q) {
        p = summary_entry_packets(a);
        q = summary_entry_packets(b);
    }
    if (p != q) {
        return p > q ? -1 : 1;
    }
    if (a->key_len != b->key_len) {
        return a->key_len < b->key_len ? -1 : 1;
    }
    return memcmp(a->key, b->key, a->key_len);
}

static struct tb_json *
conversation_json(const struct summary_entry *entry, bool with_ports)
{
    struct tb_json *out = tb_json_object();
    struct summary_ends ends;
    char address[TB_IP_TEXT_SIZE];
    bool is_v6;

    summary_conversation_read(entry, &ends, &is_v6);
    summary_address_text(address, &ends.src, is_v6);
    tb_json_set_str(out, "a", address);
    if (with_ports) {
        tb_json_set_int(out, "a_port", ends.src_port);
    }
    summary_address_text(address, &ends.dst, is_v6);
    tb_json_set_str(out, "b", address);
    if (with_ports) {
        tb_json_set_int(out, "b_port", ends.dst_port);
    }
    set_count(out, "packets", summary_entry_packets(entry));
    set_count(out, "bytes", summary_entry_bytes(entry));
    set_count(out, "packets_a_to_b", entry->ways[0].packets);
    set_count(out, "bytes_a_to_b", entry->ways[0].bytes);
    set_count(out, "packets_b_to_a", entry->ways[1].packets);
    set_count(out, "bytes_b_to_a", entry->ways[1].bytes);
    set_time(out, "first", entry->first_utc_ns, true);
    set_time(out, "last", entry->last_utc_ns, true);
    return out;
}

static struct tb_json *
name_json(const struct summary_entry *entry, bool is_dns)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "name", (const char *)entry->key + entry->key_len);
    if (is_dns) {
        set_count(out, "queries", entry->ways[0].packets);
        set_count(out, "responses", entry->ways[1].packets);
    } else {
        set_count(out, "times", entry->ways[0].packets);
    }
    set_time(out, "first", entry->first_utc_ns, true);
    set_time(out, "last", entry->last_utc_ns, true);
    return out;
}

static struct tb_json *
protocol_json(const struct summary_entry *entry)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "name", (const char *)entry->key + entry->key_len);
    set_count(out, "packets", entry->ways[0].packets);
    set_count(out, "bytes", entry->ways[0].bytes);
    return out;
}

static struct tb_json *
row_json(const struct summary_entry *entry, enum summary_tables kind)
{
    switch (kind) {
    case SUMMARY_PROTOCOLS:
        return protocol_json(entry);
    case SUMMARY_DNS:
    case SUMMARY_TLS:
    case SUMMARY_HTTP:
        return name_json(entry, kind == SUMMARY_DNS);
    default:
        return conversation_json(entry, kind != SUMMARY_IP);
    }
}

/* The largest rows, how many there are, and what is not in the table any more. */
static struct tb_json *
table_json(const struct summary_table *table, enum summary_tables kind, size_t top)
{
    const struct summary_entry **sorted = calloc(table->count + 1, sizeof(*sorted));
    struct tb_json *out = tb_json_object();
    struct tb_json *rows = tb_json_array();
    struct tb_json *fell = tb_json_object();

    if (sorted == NULL) {
        tb_json_free(out);
        tb_json_free(rows);
        tb_json_free(fell);
        return NULL;
    }
    for (size_t i = 0; i < table->count; i++) {
        sorted[i] = table->entries[i];
    }
    qsort(sorted, table->count, sizeof(*sorted), by_bytes);
    for (size_t i = 0; i < table->count && i < top; i++) {
        tb_json_add(rows, row_json(sorted[i], kind));
    }
    free(sorted);
    set_count(out, "count", table->count);
    set_count(fell, "rows", table->out.entries);
    set_count(fell, "packets", table->out.packets);
    set_count(fell, "bytes", table->out.bytes);
    tb_json_set(out, "fell_out", fell);
    tb_json_set(out, "rows", rows);
    return out;
}

/* --- the rest --- */

/* When the first bin begins. */
static int64_t
timeline_start(const struct summary_timeline *timeline)
{
    int64_t before;

    if (__builtin_mul_overflow(timeline->low, timeline->interval_s * TB_NS_PER_S, &before) ||
        __builtin_add_overflow(timeline->origin_utc_ns, before, &before)) {
        return INT64_MIN;
    }
    return before;
}

static struct tb_json *
timeline_json(const struct summary_timeline *timeline)
{
    struct tb_json *out = tb_json_object();
    struct tb_json *packets = tb_json_array();
    struct tb_json *bytes = tb_json_array();

    set_time(out, "start", timeline_start(timeline), timeline->has_origin);
    tb_json_set_int(out, "interval_seconds", timeline->interval_s);
    for (size_t i = 0; i < timeline->count; i++) {
        tb_json_add_int(packets, (int64_t)timeline->bins[i].packets);
        tb_json_add_int(bytes, (int64_t)timeline->bins[i].bytes);
    }
    tb_json_set(out, "packets", packets);
    tb_json_set(out, "bytes", bytes);
    return out;
}

static struct tb_json *
sighting_json(const struct tb_ioc *ioc, const struct tb_sighting *sighting)
{
    struct tb_json *out = tb_json_object();
    bool is_seen = tb_sighting_is_seen(sighting);

    tb_json_set_str(out, "kind", tb_ioc_kind_name(ioc->kind));
    tb_json_set_str(out, "value", ioc->value[0] != '\0' ? ioc->value : NULL);
    if (ioc->port != 0) {
        tb_json_set_int(out, "port", ioc->port);
    } else {
        tb_json_set_null(out, "port");
    }
    tb_json_set_str(out, "protocol",
                    ioc->protocol == IP_TCP   ? "tcp"
                    : ioc->protocol == IP_UDP ? "udp"
                                              : NULL);
    tb_json_set_bool(out, "seen", is_seen);
    set_count(out, "packets", sighting->packets);
    set_count(out, "bytes", sighting->bytes);
    set_count(out, "on_port", sighting->on_port);
    set_count(out, "names", sighting->names);
    set_time(out, "first", sighting->first_utc_ns, is_seen);
    set_time(out, "last", sighting->last_utc_ns, is_seen);
    return out;
}

static const struct {
    const char *name, *rows; /* its place, and that of its rows */
    enum summary_tables kind;
} tables[] = {{"protocols", "/protocols/rows", SUMMARY_PROTOCOLS},
              {"tcp", "/tcp/rows", SUMMARY_TCP},
              {"udp", "/udp/rows", SUMMARY_UDP},
              {"ip", "/ip/rows", SUMMARY_IP},
              {"dns", "/dns/rows", SUMMARY_DNS},
              {"tls", "/tls/rows", SUMMARY_TLS},
              {"http", "/http/rows", SUMMARY_HTTP}};

void
summary_document_cut(struct tb_json *root, size_t top)
{
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        tb_json_cut(root, tables[i].rows, top);
    }
}

struct tb_json *
tb_summary_json(const struct tb_summary *summary, size_t top)
{
    struct tb_json *out = tb_json_object();
    struct tb_json *seen = tb_json_array();

    tb_json_set_str(out, "format", "tapbox-summary/1");
    set_count(out, "packets", summary->packets);
    set_count(out, "bytes", summary->bytes);
    set_count(out, "captured_bytes", summary->captured_bytes);
    set_time(out, "first", summary->first_utc_ns, summary->packets > 0);
    set_time(out, "last", summary->last_utc_ns, summary->packets > 0);
    set_count(out, "sliced_packets", summary->sliced);
    set_count(out, "fragments", summary->fragments);
    set_count(out, "fragment_bytes", summary->fragment_bytes);
    set_count(out, "unread_datagrams", summary_fragments_lost(summary->fragment_store));
    set_count(out, "unread_streams",
              summary_streams_lost(summary->streams) + summary_quic_lost(summary->quic));
    for (size_t i = 0; i < summary->iocs.count; i++) {
        tb_json_add(seen, sighting_json(&summary->iocs.list[i], &summary->iocs.sightings[i]));
    }
    tb_json_set(out, "ioc_seen", seen);
    tb_json_set(out, "timeline", timeline_json(&summary->timeline));
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        tb_json_set(out, tables[i].name,
                    table_json(&summary->tables[tables[i].kind], tables[i].kind, top));
    }
    return out;
}
