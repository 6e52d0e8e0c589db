/*
 * One thread per mirrored port: ring in, views decide, sender out.
 *
 * The API publishes views: what a source's sessions look like from a moment on.  The thread
 * takes the next view at the first frame stamped after that moment, or when nothing older can
 * be left in the ring.  So a frame is treated by what was in force when it passed, however
 * late the thread gets to it, and a delete returns only when the old view is done with.
 */
#include "plane.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "jout.h"
#include "ring.h"
#include "sender.h"
#include "str.h"
#include "view.h"

/* An empty ring whose blocks are retired at once would hold nothing from before a moment this
 * long after it (older kernels retire by timer ticks of 4 ms). */
#define SETTLE_NS 11000000L
#define STATS_EVERY_NS 100000000L
#define WAIT_MAX_S 10

struct plane_port {
    struct plane_port *next;
    struct plane *plane;
    struct eni *eni;
    char name[IFNAMSIZ];
    int ifindex;
    /* the thread's own */
    pthread_t thread;
    bool running;
    struct ring ring;
    struct sender sender;
    struct view *view;
    int64_t stats_ns;
    int wake; /* eventfd */
    counter frames;
    counter drops;
    _Atomic unsigned skip_every; /* the world's wish; 0: none */
    unsigned skip_turn;
    /* guarded by mu */
    pthread_mutex_t mu;
    pthread_cond_t settled;
    struct view *pending; /* oldest first */
    bool stop;
};

struct plane {
    struct state *st;
    _Atomic(struct plane_port *) ports; /* only ever added to, at the head */
    /* guarded by the state's lock */
    uint64_t tickets;
    struct counters *ending; /* of the session being deleted, until the next view is made */
    TAILQ_HEAD(, counters) sessions; /* all there ever were */
    size_t nsessions;
};

struct plane *
plane_new(struct state *st)
{
    struct plane *p = xalloc(sizeof(*p));
    p->st = st;
    TAILQ_INIT(&p->sessions);
    return p;
}

static int
ifindex_of(const struct eni *e)
{
    return e->plane == NULL ? 0 : e->plane->ifindex;
}

bool
plane_add(struct plane *p, struct eni *e, char *why, size_t why_size)
{
    struct ifreq request = {.ifr_mtu = 9001};
    if (e->port[0] != '\0') {
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        memcpy(request.ifr_name, e->port, sizeof(request.ifr_name));
        unsigned ifindex = if_nametoindex(e->port);
        if (fd < 0 || ifindex == 0 || ioctl(fd, SIOCGIFMTU, &request) != 0) {
            snprintf(why, why_size, "port %s of %s: %s", e->port, e->o.id, strerror(errno));
            close(fd);
            return false;
        }
        close(fd);
        e->mtu = e->mtu == 0 ? request.ifr_mtu : e->mtu; /* before anybody sees the port */
        struct plane_port *port = xalloc(sizeof(*port));
        port->plane = p;
        port->eni = e;
        port->ring.fd = port->sender.fd = port->wake = -1;
        memcpy(port->name, e->port, sizeof(port->name));
        port->ifindex = (int)ifindex;
        pthread_mutex_init(&port->mu, NULL);
        pthread_cond_init(&port->settled, NULL);
        port->next = p->ports;
        p->ports = port;
        e->plane = port;
    } else if (e->mtu == 0) {
        e->mtu = request.ifr_mtu;
    }
    return true;
}

bool
plane_start(struct plane *p, char *why, size_t why_size)
{
    struct obj *o;
    TAILQ_FOREACH(o, &p->st->objects[K_ENI], link)
    {
        if (!plane_add(p, (struct eni *)o, why, why_size)) {
            return false;
        }
    }
    return true;
}

/* ---- the port's thread ---- */

static void
free_view(struct view *v)
{
    free(v);
}

static void
take_drops(struct plane_port *port)
{
    uint64_t drops = ring_drops(&port->ring);
    counter_add(&port->drops, drops);
    for (size_t i = 0; drops > 0 && port->view != NULL && i < port->view->n; i++) {
        counter_add(&port->view->sessions[i].counters->ring_drops, drops);
    }
}

/* The next view is in force.  Nothing of the old one is left unsent when waiters hear of it. */
static void
switch_view_locked(struct plane_port *port)
{
    sender_flush(&port->sender);
    take_drops(port);
    free_view(port->view);
    port->view = port->pending;
    port->pending = port->view->next;
    if (port->view->n == 0 && port->pending == NULL) {
        ring_set_deaf(&port->ring, true);
    }
    pthread_cond_broadcast(&port->settled);
}

/* Views that were published before `at_ns`. */
static void
advance(struct plane_port *port, int64_t at_ns)
{
    pthread_mutex_lock(&port->mu);
    while (port->pending != NULL && port->pending->from_ns <= at_ns) {
        switch_view_locked(port);
    }
    pthread_mutex_unlock(&port->mu);
}

static void
send_copy(struct plane_port *port, const struct view_session *s, const struct packet *p,
          const struct ring_frame *f)
{
    size_t tag = f->has_vlan ? 4 : 0;
    size_t whole = f->len + tag;
    size_t link_header = (p->is_ip ? p->l3 : 14) + tag;
    size_t fits = link_header + (size_t)s->target_mtu - ENCAP_RESERVED;
    size_t inner = whole < fits ? whole : fits;
    if (s->packet_length > 0 && inner > (size_t)s->packet_length) {
        inner = (size_t)s->packet_length;
    }
    if (s->block != BLOCK_NONE) {
        counter_add(&s->counters->blocked[s->block], 1);
        return;
    }
    struct sender_item *item = sender_next(&port->sender, s->out_ifindex);
    encap_write(&s->encap, packet_flow_hash(p), inner, item->header);
    item->counters = s->counters;
    item->inner = inner;
    item->parts[0] = (struct iovec){item->header, ENCAP_SIZE};
    union { /* sendmmsg does not write through iov_base */
        const uint8_t *in;
        void *out;
    } data = {.in = f->data};
    if (tag == 0 || inner <= 12) {
        item->parts[1] = (struct iovec){data.out, inner};
    } else {
        const uint8_t vlan[4] = {(uint8_t)(f->vlan_type >> 8), (uint8_t)f->vlan_type,
                                 (uint8_t)(f->vlan_tci >> 8), (uint8_t)f->vlan_tci};
        memcpy(item->vlan, vlan, sizeof(vlan));
        item->parts[1] = (struct iovec){data.out, 12};
        item->parts[2] = (struct iovec){item->vlan, inner - 12 < 4 ? inner - 12 : 4};
        data.in += 12;
        item->parts[3] = (struct iovec){data.out, inner > 16 ? inner - 16 : 0};
    }
    if (inner < f->original + tag) {
        counter_add(&s->counters->truncated, 1);
    }
}

/* Production needs the bandwidth: this copy is not made, and CloudWatch will know of it. */
static bool
skip(struct plane_port *port, struct counters *c, bool egress, const struct ring_frame *f)
{
    unsigned every = atomic_load_explicit(&port->skip_every, memory_order_relaxed);
    if (every == 0 || ++port->skip_turn % every != 0) {
        return false;
    }
    int64_t begins_s = f->at_ns / 1000000000LL / SKIP_PERIOD_S * SKIP_PERIOD_S;
    struct skip_period *period = &c->skips[begins_s / SKIP_PERIOD_S % SKIP_PERIODS];
    if (period->begins_s != begins_s) {
        memset(period, 0, sizeof(*period));
        period->begins_s = begins_s;
    }
    counter_add(&period->frames[egress], 1);
    counter_add(&period->bytes[egress], f->original + (f->has_vlan ? 4 : 0));
    counter_add(&c->skipped, 1);
    return true;
}

/* What one session makes of a frame; true when it takes it. */
static bool
offer(struct plane_port *port, const struct view_session *s, const struct packet *p,
      enum never never, const struct ring_frame *f, bool taken)
{
    struct counters *c = s->counters;
    bool egress = !f->outgoing; /* what comes out of the fabric goes into the ENI */
    bool by_service = never == NEVER_DNS && s->amazon_dns;
    counter_add(&c->seen, 1);
    if (never != NEVER_NONE && !by_service) {
        counter_add(&c->never[never], 1);
        return false;
    }
    if (taken) {
        counter_add(&c->taken, 1);
        return false;
    }
    if (!by_service && !view_accepts(s, p, egress)) {
        counter_add(&c->rejected, 1);
        return false;
    }
    counter_add(&c->matched_frames[egress], 1);
    counter_add(&c->matched_bytes[egress], f->original + (f->has_vlan ? 4 : 0));
    if (!skip(port, c, egress, f)) {
        send_copy(port, s, p, f);
    }
    return true;
}

static void
take_frame(void *arg, const struct ring_frame *f)
{
    struct plane_port *port = arg;
    struct packet p;
    bool taken = false;
    counter_add(&port->frames, 1);
    advance(port, f->at_ns);
    if (port->view == NULL || port->view->n == 0) {
        return;
    }
    packet_read(f->data, f->len, &p);
    enum never never = packet_never(&p, &port->view->resolver);
    for (size_t i = 0; i < port->view->n; i++) {
        const struct view_session *s = &port->view->sessions[i];
        if (f->at_ns >= s->counters->created_ns) {
            taken = offer(port, s, &p, never, f, taken) || taken;
        }
    }
}

static void
block_done(void *arg)
{
    struct plane_port *port = arg;
    sender_flush(&port->sender); /* the frames lie in the block that is about to go */
}

static int64_t
settle_ns(const struct plane_port *port)
{
    return SETTLE_NS + port->plane->st->ring.retire_ms * 1000000;
}

/* Until when to sleep at most; false ends the thread. */
static bool
idle(struct plane_port *port, int *out_timeout_ms)
{
    int64_t now = now_ns();
    if (now - port->stats_ns > STATS_EVERY_NS) {
        port->stats_ns = now;
        take_drops(port);
    }
    advance(port, now - settle_ns(port));
    pthread_mutex_lock(&port->mu);
    bool stop = port->stop;
    *out_timeout_ms = -1;
    if (port->pending != NULL) {
        int64_t left_ns = port->pending->from_ns + settle_ns(port) - now;
        *out_timeout_ms = left_ns <= 0 ? 0 : (int)(left_ns / 1000000) + 1;
    }
    pthread_mutex_unlock(&port->mu);
    return !stop;
}

static void *
run_port(void *arg)
{
    struct plane_port *port = arg;
    int timeout_ms = 0;
    do {
        struct pollfd fds[2] = {{.fd = port->ring.fd, .events = POLLIN},
                                {.fd = port->wake, .events = POLLIN}};
        poll(fds, 2, timeout_ms);
        if ((fds[1].revents & POLLIN) != 0) {
            uint64_t n;
            if (read(port->wake, &n, sizeof(n)) < 0) {
                n = 0;
            }
        }
        while (ring_next_block(&port->ring, take_frame, block_done, port)) {
            continue;
        }
    } while (idle(port, &timeout_ms));
    return NULL;
}

/* ---- what the API calls ---- */

static void
wake(struct plane_port *port)
{
    uint64_t one = 1;
    if (write(port->wake, &one, sizeof(one)) < 0) {
        abort(); /* an eventfd takes four thousand million million of them */
    }
}

static void
close_port(struct plane_port *port)
{
    ring_close(&port->ring);
    sender_close(&port->sender);
    if (port->wake >= 0) {
        close(port->wake);
        port->wake = -1;
    }
}

bool
plane_prepare(struct plane *p, struct eni *source, char *why, size_t why_size)
{
    struct plane_port *port = source->plane;
    if (port == NULL || port->running) {
        return true;
    }
    port->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (port->wake < 0 || !sender_open(&port->sender) ||
        !ring_open(&port->ring, port->ifindex, &p->st->ring)) {
        snprintf(why, why_size, "%s: %s", port->name, strerror(errno));
        close_port(port);
        return false;
    }
    ring_set_deaf(&port->ring, true);
    if (pthread_create(&port->thread, NULL, run_port, port) != 0) {
        snprintf(why, why_size, "%s: no thread", port->name);
        close_port(port);
        return false;
    }
    port->running = true;
    return true;
}

bool
plane_skip(struct eni *source, unsigned every)
{
    if (source->plane == NULL) {
        return false;
    }
    source->plane->skip_every = every;
    return true;
}

void
plane_skipped(struct plane *p, const struct eni *source, int64_t begins_s,
              struct skip_period *out)
{
    const struct counters *c;
    TAILQ_FOREACH(c, &p->sessions, link)
    {
        const struct skip_period *period = &c->skips[begins_s / SKIP_PERIOD_S % SKIP_PERIODS];
        for (int d = 0;
             d < 2 && strcmp(c->eni, source->o.id) == 0 && period->begins_s == begins_s; d++) {
            counter_add(&out->frames[d], counter_get(&period->frames[d]));
            counter_add(&out->bytes[d], counter_get(&period->bytes[d]));
        }
    }
}

void
plane_session_begin(struct plane *p, struct session *s)
{
    struct counters *c = xalloc(sizeof(*c));
    strcpy(c->session, s->o.id);
    strcpy(c->eni, s->eni->o.id);
    strcpy(c->account, s->o.owner->id);
    TAILQ_INSERT_TAIL(&p->sessions, c, link);
    p->nsessions++;
    s->counters = c;
}

void
plane_session_end(struct plane *p, struct session *s)
{
    p->ending = s->counters;
}

/* The moment of a view becomes the beginning and the end of sessions. */
static void
stamp_sessions(struct plane *p, const struct eni *source, int64_t from_ns)
{
    for (size_t i = 0; i < source->nsessions; i++) {
        struct counters *c = source->sessions[i]->counters;
        c->vni = source->sessions[i]->vni;
        if (c->created_ns == 0) {
            c->created_ns = from_ns;
        }
    }
    if (p->ending != NULL) {
        p->ending->deleted_ns = from_ns;
        p->ending = NULL;
    }
}

uint64_t
plane_publish(struct plane *p, struct eni *source)
{
    struct plane_port *port = source->plane;
    if (port == NULL || !port->running) {
        stamp_sessions(p, source, now_ns());
        return 0;
    }
    struct view *v = view_of(p->st, source, ifindex_of);
    v->ticket = ++p->tickets;
    pthread_mutex_lock(&port->mu);
    if (v->n > 0) {
        ring_set_deaf(&port->ring, false);
    }
    v->from_ns = now_ns();
    stamp_sessions(p, source, v->from_ns);
    struct view **end = &port->pending;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = v;
    pthread_mutex_unlock(&port->mu);
    wake(port);
    return v->ticket;
}

void
plane_wait(struct plane *p, uint64_t ticket)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MAX_S;
    for (struct plane_port *port = p->ports; port != NULL; port = port->next) {
        pthread_mutex_lock(&port->mu);
        while (port->pending != NULL && port->pending->ticket <= ticket &&
               pthread_cond_timedwait(&port->settled, &port->mu, &until) == 0) {
            continue;
        }
        pthread_mutex_unlock(&port->mu);
    }
}

void
plane_stop(struct plane *p)
{
    while (p->ports != NULL) {
        struct plane_port *port = p->ports;
        p->ports = port->next;
        if (port->running) {
            pthread_mutex_lock(&port->mu);
            port->stop = true;
            pthread_mutex_unlock(&port->mu);
            wake(port);
            pthread_join(port->thread, NULL);
        }
        close_port(port);
        while (port->pending != NULL) {
            struct view *v = port->pending;
            port->pending = v->next;
            free_view(v);
        }
        free_view(port->view);
        pthread_mutex_destroy(&port->mu);
        pthread_cond_destroy(&port->settled);
        free(port);
    }
    struct counters *c;
    while ((c = TAILQ_FIRST(&p->sessions)) != NULL) {
        TAILQ_REMOVE(&p->sessions, c, link);
        free(c);
    }
    free(p);
}

/* ---- counters for the control socket ---- */

static void
port_json(struct str *s, const struct plane_port *port, const struct ifaddrs *all)
{
    jout_open(s, NULL, '{');
    jout_text(s, "port", port->name);
    jout_text(s, "eni", port->eni->o.id);
    jout_int(s, "mtu", port->eni->mtu);
    jout_int(s, "frames", (int64_t)counter_get(&port->frames));
    jout_int(s, "ring_drops", (int64_t)counter_get(&port->drops));
    for (const struct ifaddrs *a = all; a != NULL; a = a->ifa_next) {
        if (a->ifa_addr != NULL && a->ifa_addr->sa_family == AF_PACKET &&
            strcmp(a->ifa_name, port->name) == 0 && a->ifa_data != NULL) {
            struct rtnl_link_stats stats;
            memcpy(&stats, a->ifa_data, sizeof(stats));
            jout_int(s, "tx_packets", stats.tx_packets);
            jout_int(s, "tx_dropped", stats.tx_dropped);
        }
    }
    jout_close(s, '}');
}

/* Counters live to the end and ports are only added, so the lock is held to list them only. */
void
plane_counters(struct plane *p, struct str *out)
{
    struct counters_sum sum = {0};
    size_t n = 0;
    struct counters *c;
    pthread_mutex_lock(&p->st->mu);
    const struct counters **all = xalloc((p->nsessions + 1) * sizeof(struct counters *));
    TAILQ_FOREACH(c, &p->sessions, link)
    {
        all[n++] = c;
    }
    pthread_mutex_unlock(&p->st->mu);
    jout_open(out, NULL, '{');
    jout_open(out, "sessions", '[');
    for (size_t i = 0; i < n; i++) {
        counters_json(out, all[i], &sum);
    }
    jout_close(out, ']');
    struct ifaddrs *interfaces = NULL;
    jout_open(out, "ports", '[');
    if (getifaddrs(&interfaces) == 0) {
        for (const struct plane_port *port = p->ports; port != NULL; port = port->next) {
            port_json(out, port, interfaces);
        }
        freeifaddrs(interfaces);
    }
    jout_close(out, ']');
    counters_sum_json(out, &sum);
    jout_close(out, '}');
    free(all);
}
