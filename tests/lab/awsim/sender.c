/* sendmmsg on a packet socket; full queues are waited for, other errors are counted. */
#include "sender.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RETRIES_MAX 2000 /* while the device's queue is full */
#define RETRY_NS 100000L /* between two of them: 0.2 s in all */

bool
sender_open(struct sender *s)
{
    memset(s, 0, sizeof(*s));
    s->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0); /* protocol 0: receives nothing */
    return s->fd >= 0;
}

void
sender_close(struct sender *s)
{
    if (s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }
}

struct sender_item *
sender_next(struct sender *s, int ifindex)
{
    if (s->n == SENDER_BATCH) {
        sender_flush(s);
    }
    struct sender_item *item = &s->items[s->n];
    struct msghdr *m = &s->messages[s->n].msg_hdr;
    item->to =
        (struct sockaddr_ll){.sll_family = AF_PACKET, .sll_ifindex = ifindex, .sll_halen = 6};
    memset(item->parts, 0, sizeof(item->parts));
    memset(m, 0, sizeof(*m));
    m->msg_name = &item->to;
    m->msg_namelen = sizeof(item->to);
    m->msg_iov = item->parts;
    m->msg_iovlen = SENDER_PARTS;
    s->n++;
    return item;
}

static void
count_sent(const struct sender_item *item)
{
    counter_add(&item->counters->mirrored_frames, 1);
    counter_add(&item->counters->mirrored_bytes, item->inner);
}

void
sender_flush(struct sender *s)
{
    size_t at = 0;
    int retries = 0;
    while (at < s->n) {
        int sent = sendmmsg(s->fd, s->messages + at, (unsigned)(s->n - at), 0);
        if (sent > 0) {
            for (int i = 0; i < sent; i++) {
                count_sent(&s->items[at + (size_t)i]);
            }
            at += (size_t)sent;
            retries = 0;
        } else if (errno == EINTR) {
            continue;
        } else if ((errno == ENOBUFS || errno == EAGAIN) && retries++ < RETRIES_MAX) {
            const struct timespec wait = {.tv_nsec = RETRY_NS};
            nanosleep(&wait, NULL);
        } else {
            counter_add(&s->items[at].counters->send_failed, 1);
            at++;
            retries = 0;
        }
    }
    s->n = 0;
}
