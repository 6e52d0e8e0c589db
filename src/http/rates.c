/*
 * How often one client address, or one token, may call: token buckets in a table of fixed size.
 *
 * A bucket that is full says no more than none at all.  So when a place is needed, the fullest
 * of the few buckets that could give theirs is forgotten: a flood of addresses forgets its own,
 * and memory stays what it was at the start.  Which buckets share a place hangs on a random
 * key, so that nobody can choose whom to push out.
 *
 * Threads: any; one lock, held for a handful of comparisons.
 */
#include <arpa/inet.h>

#include <tapbox/digest.h>

#include "http_int.h"

enum tb_err
tb_rates_start(struct tb_rates *rates, struct tb_fail *fail)
{
    tb_mutex_init(&rates->mu);
    rates->made = true;
    return tb_random(rates->key, sizeof(rates->key)) == TB_OK
               ? TB_OK
               : tb_fail_set(fail, TB_EIO, "no random octets for the table of callers");
}

void
tb_rates_stop(struct tb_rates *rates)
{
    if (rates->made) {
        tb_mutex_release(&rates->mu);
        rates->made = false;
    }
}

/* The bucket of this name, or the one that takes its place. */
static struct tb_rate_bucket *
find_locked(struct tb_rates *rates, const struct tb_sha256 *name) TB_REQUIRES(rates->mu)
{
    size_t set = (size_t)(name->octets[0] | name->octets[1] << 8) % TB_RATE_SETS;
    struct tb_rate_bucket *place = rates->locked.sets[set];

    for (size_t i = 0; i < TB_RATE_WAYS; i++) {
        struct tb_rate_bucket *b = &rates->locked.sets[set][i];

        if (memcmp(b->name, name->octets + 2, sizeof(b->name)) == 0) {
            return b;
        }
        place = b->full_boot_ns < place->full_boot_ns ? b : place;
    }
    *place = (struct tb_rate_bucket){.full_boot_ns = 0};
    memcpy(place->name, name->octets + 2, sizeof(place->name));
    return place;
}

int64_t
tb_rates_take(struct tb_rates *rates, unsigned per_s, struct tb_bytes who)
{
    struct tb_sha256 name;
    struct tb_rate_bucket *b;
    int64_t now = tb_clock_boot_ns();
    int64_t one_ns, wait_ns, full;

    if (per_s == 0 ||
        tb_hmac_sha256(tb_bytes_of(rates->key, sizeof(rates->key)), who, &name) != TB_OK) {
        return 0;
    }
    one_ns = TB_NS_PER_S / per_s;
    tb_mutex_lock(&rates->mu);
    b = find_locked(rates, &name);
    full = (b->full_boot_ns > now ? b->full_boot_ns : now) + one_ns;
    wait_ns = full - now - TB_RATE_BURST_S * TB_NS_PER_S;
    if (wait_ns <= 0) {
        b->full_boot_ns = full;
    }
    tb_mutex_unlock(&rates->mu);
    return wait_ns > 0 ? wait_ns : 0;
}

struct tb_bytes
tb_rates_address(const char *text, uint8_t out[TB_RATE_ADDRESS_BYTES])
{
    struct in6_addr six;

    if (inet_pton(AF_INET, text, out) == 1) {
        return tb_bytes_of(out, sizeof(struct in_addr));
    }
    if (inet_pton(AF_INET6, text, &six) != 1) {
        return tb_bytes_of(out, 0);
    }
    if (IN6_IS_ADDR_V4MAPPED(&six)) {
        memcpy(out, six.s6_addr + 12, sizeof(struct in_addr));
        return tb_bytes_of(out, sizeof(struct in_addr));
    }
    memcpy(out, six.s6_addr, TB_RATE_ADDRESS_BYTES); /* who has one address has its /64 */
    return tb_bytes_of(out, TB_RATE_ADDRESS_BYTES);
}
