/*
 * Who is connected, and how long each may let us wait.
 *
 * libmicrohttpd's own time limit begins anew with every octet, so a sender that trickles holds
 * its connection for ever.  Here the time runs from the end of the last answer, or from
 * connecting, to the end of the request, whatever arrives in between; and from the answer to
 * its last octet.  When connections become many, the one that has been kept open longest
 * without a request or a valid token makes room for the next: a flood of such connections
 * pushes out itself, and whoever asks something gets through.
 *
 * Threads: libmicrohttpd's enter, leave and tell phases; one thread of ours looks at the clock.
 */
#include <stdlib.h>
#include <sys/socket.h>

#include "http_int.h"

enum {
    REQUEST_S =
        30, /* first line to last octet of the body: EventBridge itself gives up after 5 s
             */
    ANSWER_S = 120, /* 16 MiB at 1.1 Mbit/s */
    LOOK_S = 1
};

struct tb_peer {
    struct tb_peer *next, *before;
    int fd; /* libmicrohttpd's, open until tb_peers_leave */
    enum tb_peer_phase phase;
    bool known; /* showed a valid token for the request it is sending */
    bool dropped;
    int64_t since_boot_ns; /* of this phase */
};

static int64_t
most_ns(const struct tb_peer *peer)
{
    static const int64_t most_s[] = {
        [TB_PEER_SENDING] = REQUEST_S,
        [TB_PEER_WAITING] = 0, /* it is us who take long */
        [TB_PEER_READING] = ANSWER_S,
        [TB_PEER_VIEWING] = 0, /* viewers.c cuts it off */
    };

    return most_s[peer->phase] * TB_NS_PER_S;
}

/* Its thread sees the end of the connection and closes it. */
static void
drop_locked(struct tb_peers *peers, struct tb_peer *peer) TB_REQUIRES(peers->mu)
{
    peer->dropped = true;
    peers->locked.count--;
    (void)shutdown(peer->fd, SHUT_RDWR);
    atomic_fetch_add(&peers->dropped, 1);
}

static void
drop_oldest_locked(struct tb_peers *peers) TB_REQUIRES(peers->mu)
{
    struct tb_peer *oldest = NULL;

    for (struct tb_peer *peer = peers->locked.first; peer != NULL; peer = peer->next) {
        if (peer->phase == TB_PEER_SENDING && !peer->known && !peer->dropped &&
            (oldest == NULL || peer->since_boot_ns < oldest->since_boot_ns)) {
            oldest = peer;
        }
    }
    if (oldest != NULL) {
        drop_locked(peers, oldest);
    }
}

struct tb_peer *
tb_peers_enter(struct tb_peers *peers, int fd)
{
    struct tb_peer *peer = calloc(1, sizeof(*peer));

    if (peer == NULL) {
        (void)shutdown(fd, SHUT_RDWR); /* nobody would watch it */
        return NULL;
    }
    peer->fd = fd;
    peer->phase = TB_PEER_SENDING;
    peer->since_boot_ns = tb_clock_boot_ns();
    tb_mutex_lock(&peers->mu);
    if (peers->locked.count >= TB_PEERS_MANY) {
        drop_oldest_locked(peers);
    }
    peer->next = peers->locked.first;
    if (peer->next != NULL) {
        peer->next->before = peer;
    }
    peers->locked.first = peer;
    peers->locked.count++;
    tb_mutex_unlock(&peers->mu);
    return peer;
}

void
tb_peers_leave(struct tb_peers *peers, struct tb_peer *peer)
{
    if (peer == NULL) {
        return;
    }
    tb_mutex_lock(&peers->mu);
    if (peer->next != NULL) {
        peer->next->before = peer->before;
    }
    if (peer->before != NULL) {
        peer->before->next = peer->next;
    } else {
        peers->locked.first = peer->next;
    }
    peers->locked.count -= peer->dropped ? 0 : 1;
    tb_mutex_unlock(&peers->mu);
    free(peer);
}

void
tb_peers_phase(struct tb_peers *peers, struct tb_peer *peer, enum tb_peer_phase phase)
{
    if (peer == NULL) {
        return;
    }
    tb_mutex_lock(&peers->mu);
    peer->phase = phase;
    peer->known = false;
    peer->since_boot_ns = tb_clock_boot_ns();
    tb_mutex_unlock(&peers->mu);
}

void
tb_peers_known(struct tb_peers *peers, struct tb_peer *peer)
{
    if (peer != NULL) {
        tb_mutex_lock(&peers->mu);
        peer->known = true;
        tb_mutex_unlock(&peers->mu);
    }
}

static void *
watch(void *arg)
{
    struct tb_peers *peers = arg;

    tb_mutex_lock(&peers->mu);
    while (!peers->locked.stopping) {
        int64_t now = tb_clock_boot_ns();

        for (struct tb_peer *peer = peers->locked.first; peer != NULL; peer = peer->next) {
            int64_t most = most_ns(peer);

            if (!peer->dropped && most != 0 && now - peer->since_boot_ns > most) {
                drop_locked(peers, peer);
            }
        }
        (void)tb_cond_wait_for(&peers->wake, &peers->mu, LOOK_S * TB_NS_PER_S);
    }
    tb_mutex_unlock(&peers->mu);
    return NULL;
}

enum tb_err
tb_peers_start(struct tb_peers *peers, struct tb_fail *fail)
{
    enum tb_err err;

    tb_mutex_init(&peers->mu);
    tb_cond_init(&peers->wake);
    err = tb_thread_start(&peers->thread, "http peers", watch, peers, fail);
    peers->started = err == TB_OK;
    return err;
}

void
tb_peers_stop(struct tb_peers *peers)
{
    if (!peers->started) {
        return;
    }
    tb_mutex_lock(&peers->mu);
    peers->locked.stopping = true;
    tb_cond_broadcast(&peers->wake);
    tb_mutex_unlock(&peers->mu);
    (void)pthread_join(peers->thread, NULL);
    tb_cond_release(&peers->wake);
    tb_mutex_release(&peers->mu);
    peers->started = false;
}
