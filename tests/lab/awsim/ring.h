/* Receive every frame of one interface, both directions, through a ring shared with the kernel.
 */
#ifndef AWSIM_RING_H
#define AWSIM_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_BLOCK (64u * 1024u) /* a block given up half full costs this much */
#define RING_BLOCKS 1024u        /* 64 MiB: about a second of 50,000 frames of 1400 octets */
#define RING_RETIRE_MS 1u        /* a block that is not full comes this late */

/* What the world says of the rings, RING_BLOCKS and RING_RETIRE_MS unless it does: the kernel
 * clears every block, and looks at it as often as that. */
struct ring_shape {
    unsigned blocks;
    unsigned retire_ms;
};

struct ring {
    int fd; /* -1: closed */
    uint8_t *map;
    unsigned blocks;
    unsigned next;
};

struct ring_frame {
    const uint8_t *data;
    size_t len;      /* as captured */
    size_t original; /* as on the wire */
    int64_t at_ns;   /* realtime */
    bool outgoing;   /* towards whatever is behind the interface */
    bool has_vlan;   /* a tag the kernel took out of the frame */
    uint16_t vlan_tci;
    uint16_t vlan_type;
};

bool ring_open(struct ring *r, int ifindex, const struct ring_shape *shape);
void ring_close(struct ring *r);
/* Calls `take` for every frame of the next full block, then `done`, then gives it back.
 * False when there is none. */
bool ring_next_block(struct ring *r, void (*take)(void *arg, const struct ring_frame *f),
                     void (*done)(void *arg), void *arg);
/* Frames lost since the last call. */
uint64_t ring_drops(struct ring *r);
/* A deaf ring receives nothing and costs next to nothing. */
void ring_set_deaf(struct ring *r, bool deaf);

#endif
