/*
 * The beginnings of TCP streams in order: what a name stands in, and no more.  Each direction
 * of a connection keeps the next sequence number, so that what is sent again counts once;
 * octets are held only from where a ClientHello, a request or a DNS message begins until it is
 * read, within a window that takes segments in any order.
 */
#include "summary_int.h"

#include <stdlib.h>

enum {
    AT_ONCE = 1024, /* streams that are held: 20 MiB at the most */
    FAR = 1 << 20,  /* a jump by more is another connection, or nonsense */
    DNS_PORT = 53,
    DNS_LENGTH = 2,
    DNS_HEAD = 12
};

enum kind {
    UNDECIDED,
    DNS,
    TLS,
    HTTP
};

struct summary_stream {
    struct summary_stream *newer, *older;
    struct summary_way *way;
    enum kind kind;
    bool is_dns;   /* by its port */
    uint32_t base; /* sequence number of the window's first octet */
    struct summary_window window;
};

struct summary_streams {
    struct summary_stream_sink sink;
    struct summary_stream *newest, *oldest;
    size_t count;
    uint64_t lost;
};

enum tb_err
summary_streams_new(const struct summary_stream_sink *sink, struct summary_streams **out)
{
    *out = calloc(1, sizeof(**out));
    if (*out == NULL) {
        return TB_ENOMEM;
    }
    (*out)->sink = *sink;
    return TB_OK;
}

static void
unlink_stream(struct summary_streams *streams, struct summary_stream *stream)
{
    *(stream->newer != NULL ? &stream->newer->older : &streams->newest) = stream->older;
    *(stream->older != NULL ? &stream->older->newer : &streams->oldest) = stream->newer;
    streams->count--;
}

static void
close_stream(struct summary_streams *streams, struct summary_stream *stream)
{
    unlink_stream(streams, stream);
    stream->way->stream = NULL;
    summary_window_release(&stream->window);
    free(stream);
}

void
summary_streams_free(struct summary_streams *streams)
{
    if (streams != NULL) {
        for (struct summary_stream *next = streams->newest, *stream; next != NULL;) {
            stream = next;
            next = stream->older;
            close_stream(streams, stream);
        }
        free(streams);
    }
}

void
summary_streams_forget(struct summary_streams *streams, struct summary_way *way)
{
    if (way->stream != NULL) {
        close_stream(streams, way->stream);
        way->stream = NULL; /* (as it is already: one way has one stream) */
    }
}

uint64_t
summary_streams_lost(const struct summary_streams *streams)
{
    return streams->lost;
}

static struct summary_stream *
open_stream(struct summary_streams *streams, struct summary_way *way, uint32_t base,
            bool is_dns)
{
    struct summary_stream *stream = calloc(1, sizeof(*stream));

    if (stream == NULL) {
        streams->lost++;
        return NULL;
    }
    if (streams->count >= AT_ONCE) {
        streams->lost++;
        close_stream(streams, streams->oldest);
    }
    stream->way = way;
    stream->base = base;
    stream->is_dns = is_dns;
    stream->older = streams->newest;
    *(stream->older != NULL ? &stream->older->newer : &streams->oldest) = stream;
    streams->newest = stream;
    streams->count++;
    way->stream = stream;
    return stream;
}

/* Given up, or done with: later octets are looked at by themselves. */
static void
end_stream(struct summary_streams *streams, struct summary_stream *stream)
{
    struct summary_way *way = stream->way;

    way->next_sequence = stream->base;
    if (stream->window.range_count > 0) {
        way->next_sequence += stream->window.ranges[stream->window.range_count - 1].to;
    }
    way->is_known = true;
    way->has_begun = true;
    close_stream(streams, stream);
}

static bool
insert(struct summary_stream *stream, uint32_t sequence, struct tb_bytes octets)
{
    int32_t at = (int32_t)(sequence - stream->base);

    if (at < 0) { /* sent again, perhaps with more behind it */
        size_t old = (size_t) - (int64_t)at;

        if (old >= octets.len) {
            return true;
        }
        octets = tb_bytes_of(octets.at + old, octets.len - old);
        at = 0;
    }
    return summary_window_put(&stream->window, (size_t)at, octets); /* (beyond it: its turn
                                                                      comes, or not) */
}

/* Reads whole messages; false when the stream is done with for now. */
static bool
read_dns(struct summary_streams *streams, struct summary_stream *stream)
{
    for (;;) {
        struct tb_bytes there = summary_window_in_order(&stream->window);
        size_t len;

        if (there.len < DNS_LENGTH) {
            return stream->window.range_count > 0;
        }
        len = tb_get_be16(there.at);
        if (len < DNS_HEAD) {
            return false;
        }
        if (there.len < DNS_LENGTH + len) {
            streams->lost += DNS_LENGTH + len > SUMMARY_WINDOW ? 1 : 0;
            return DNS_LENGTH + len <= SUMMARY_WINDOW;
        }
        streams->sink.dns(streams->sink.arg, tb_bytes_of(there.at + DNS_LENGTH, len));
        summary_window_shift(&stream->window, (uint32_t)(DNS_LENGTH + len));
        stream->base += (uint32_t)(DNS_LENGTH + len);
    }
}

static enum kind
decide(const struct summary_stream *stream, struct tb_bytes there)
{
    if (stream->is_dns) {
        return DNS;
    }
    if (summary_hello_begins(there)) {
        return TLS;
    }
    return summary_http_begins(there) ? HTTP : UNDECIDED;
}

/* False when the stream is done with. */
static bool
consume(struct summary_streams *streams, struct summary_stream *stream)
{
    struct tb_bytes there = summary_window_in_order(&stream->window);
    char name[SUMMARY_NAME_SIZE] = "";
    enum summary_found found;

    if (there.len == 0) {
        return true; /* what came first is still missing */
    }
    if (stream->kind == UNDECIDED) {
        stream->kind = decide(stream, there);
    }
    if (stream->kind == DNS) {
        return read_dns(streams, stream);
    }
    if (stream->kind == UNDECIDED) {
        return false;
    }
    found =
        stream->kind == TLS ? summary_hello_read(there, name) : summary_http_read(there, name);
    if (found == SUMMARY_FOUND && name[0] != '\0') {
        (stream->kind == TLS ? streams->sink.tls : streams->sink.http)(streams->sink.arg, name);
    }
    if (found == SUMMARY_MORE && there.len >= SUMMARY_WINDOW) {
        streams->lost++;
        return false;
    }
    return found == SUMMARY_MORE;
}

/* Whether the octets come before what was looked at already; cut to what is new. */
static bool
is_old(const struct summary_way *way, uint32_t *sequence, struct tb_bytes *octets)
{
    int32_t ahead = (int32_t)(*sequence - way->next_sequence);

    if (!way->is_known || ahead >= 0 || ahead < -FAR) {
        return false;
    }
    if ((size_t)-ahead >= octets->len) {
        return true;
    }
    *octets = tb_bytes_of(octets->at - ahead, octets->len - (size_t)-ahead);
    *sequence = way->next_sequence;
    return false;
}

void
summary_streams_add(struct summary_streams *streams, struct summary_way *way,
                    const struct summary_segment *segment)
{
    struct tb_bytes octets = segment->payload;
    uint32_t sequence = segment->sequence;
    bool is_dns = segment->src_port == DNS_PORT || segment->dst_port == DNS_PORT;
    struct summary_stream *stream;
    int32_t ahead;

    if (segment->syn) {
        if (!way->is_known || way->has_begun || way->next_sequence != sequence + 1) {
            summary_streams_forget(streams, way);
            way->next_sequence = sequence + 1;
            way->is_known = true;
            way->has_begun = false;
        }
        sequence++;
    }
    if (octets.len == 0 || (way->stream == NULL && is_old(way, &sequence, &octets))) {
        return;
    }
    stream = way->stream;
    ahead = (int32_t)(sequence - way->next_sequence);
    if (stream == NULL) {
        bool begins = is_dns || summary_hello_begins(octets) || summary_http_begins(octets);
        bool waits = way->is_known && !way->has_begun && ahead > 0 && ahead < SUMMARY_WINDOW;

        if (!begins && !waits) {
            way->next_sequence = sequence + (uint32_t)octets.len;
            way->is_known = true;
            way->has_begun = true;
            return;
        }
        stream = open_stream(streams, way, waits ? way->next_sequence : sequence, is_dns);
        if (stream == NULL) {
            return;
        }
    } else if ((int32_t)(sequence - stream->base) > FAR) {
        streams->lost++;
        end_stream(streams, stream);
        return;
    }
    if (!insert(stream, sequence, octets)) {
        streams->lost++;
        end_stream(streams, stream);
    } else if (!consume(streams, stream)) {
        end_stream(streams, stream);
    }
}
