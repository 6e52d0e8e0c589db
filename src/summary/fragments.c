/*
 * Datagrams that came in pieces, put together: a few at a time, each of at most 64 KiB.  When
 * there are more, the one that was begun first is given up.
 */
#include "summary_int.h"

#include <stdlib.h>

enum {
    AT_ONCE = 64,         /* datagrams: 4 MiB at the most */
    DATAGRAM_MAX = 65535, /* octets behind the IP header */
    PIECE_OCTETS = 8,     /* offsets count these */
    PIECES = (DATAGRAM_MAX + 1) / PIECE_OCTETS
};

struct datagram {
    bool is_used, is_v6;
    struct summary_address src, dst;
    uint32_t id;
    uint8_t protocol; /* of IPv4's key; else the first fragment's */
    bool has_first;
    uint64_t begun;
    size_t total;              /* 0: the last piece is not there */
    size_t have;               /* pieces of 8 octets */
    uint8_t *octets;           /* owned, DATAGRAM_MAX */
    uint8_t there[PIECES / 8]; /* a bit each */
};

struct summary_fragments {
    uint64_t clock, lost;
    uint8_t *done; /* owned: the last one that was whole */
    struct datagram list[AT_ONCE];
};

enum tb_err
summary_fragments_new(struct summary_fragments **out)
{
    *out = calloc(1, sizeof(**out));
    return *out == NULL ? TB_ENOMEM : TB_OK;
}

void
summary_fragments_free(struct summary_fragments *fragments)
{
    if (fragments != NULL) {
        for (size_t i = 0; i < AT_ONCE; i++) {
            free(fragments->list[i].octets);
        }
        free(fragments->done);
        free(fragments);
    }
}

static bool
is_of(const struct datagram *one, const struct summary_layer *layer)
{
    return one->is_used && one->is_v6 == layer->is_v6 && one->id == layer->fragment_id &&
           (layer->is_v6 || one->protocol == layer->protocol) &&
           memcmp(&one->src, &layer->src, sizeof(one->src)) == 0 &&
           memcmp(&one->dst, &layer->dst, sizeof(one->dst)) == 0;
}

/* The datagram that the piece is of; a new one in the oldest's place when there is none. */
static struct datagram *
find(struct summary_fragments *fragments, const struct summary_layer *layer)
{
    struct datagram *place = &fragments->list[0];
    uint8_t *octets;

    for (size_t i = 0; i < AT_ONCE; i++) {
        struct datagram *one = &fragments->list[i];

        if (is_of(one, layer)) {
            return one;
        }
        if (place->is_used && (!one->is_used || one->begun < place->begun)) {
            place = one;
        }
    }
    fragments->lost += place->is_used ? 1 : 0;
    octets = place->octets != NULL ? place->octets : malloc(DATAGRAM_MAX);
    *place = (struct datagram){.is_used = octets != NULL,
                               .is_v6 = layer->is_v6,
                               .src = layer->src,
                               .dst = layer->dst,
                               .id = layer->fragment_id,
                               .protocol = layer->protocol,
                               .begun = ++fragments->clock,
                               .octets = octets};
    return octets != NULL ? place : NULL;
}

bool
summary_fragments_add(struct summary_fragments *fragments, const struct summary_layer *layer,
                      struct tb_bytes *out, uint8_t *out_protocol)
{
    struct tb_bytes rest = layer->rest;
    size_t end = layer->fragment_offset + rest.len;
    struct datagram *one;
    uint8_t *done;

    if (rest.len == 0 || end > DATAGRAM_MAX ||
        (layer->more_fragments && rest.len % PIECE_OCTETS != 0)) {
        return false;
    }
    one = find(fragments, layer);
    if (one == NULL) {
        return false;
    }
    if (!layer->more_fragments) {
        one->total = one->total == 0 ? end : one->total;
    }
    if (layer->is_first_fragment) {
        one->has_first = true;
        one->protocol = layer->protocol;
    }
    memcpy(one->octets + layer->fragment_offset, rest.at, rest.len);
    for (size_t i = layer->fragment_offset / PIECE_OCTETS; i * PIECE_OCTETS < end; i++) {
        uint8_t bit = (uint8_t)(1u << (i % 8));

        one->have += (one->there[i / 8] & bit) == 0 ? 1 : 0;
        one->there[i / 8] |= bit;
    }
    if (one->total == 0 || !one->has_first ||
        one->have < (one->total + PIECE_OCTETS - 1) / PIECE_OCTETS) {
        return false;
    }
    *out = tb_bytes_of(one->octets, one->total);
    *out_protocol = one->protocol;
    done = fragments->done;
    fragments->done = one->octets;
    one->octets = done;
    one->is_used = false;
    return true;
}

uint64_t
summary_fragments_lost(const struct summary_fragments *fragments)
{
    return fragments->lost;
}
