/* Put frames out of interfaces, many at a time, without losing one silently. */
#ifndef AWSIM_SENDER_H
#define AWSIM_SENDER_H

#include <linux/if_packet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "counters.h"
#include "encap.h"

#define SENDER_BATCH 64
#define SENDER_PARTS 4 /* outer headers, addresses, VLAN tag, the rest */

struct sender_item {
    uint8_t header[ENCAP_SIZE];
    uint8_t vlan[4];
    struct sockaddr_ll to;
    struct iovec parts[SENDER_PARTS];
    struct counters *counters;
    size_t inner;
};

struct sender {
    int fd;
    size_t n;
    struct sender_item items[SENDER_BATCH];
    struct mmsghdr messages[SENDER_BATCH];
};

bool sender_open(struct sender *s);
void sender_close(struct sender *s);
/* An item to fill (parts are empty); flushes first when all are taken. */
struct sender_item *sender_next(struct sender *s, int ifindex);
/* All out, and counted as mirrored or as send_failed. */
void sender_flush(struct sender *s);

#endif
