/* Addresses and blocks: strict parsing, canonical text, containment. */
#include "ip.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool
ip_parse(const char *text, struct ip *out)
{
    struct ip ip = {0};
    if (inet_pton(AF_INET, text, ip.b) == 1) {
        ip.family = 4;
    } else if (inet_pton(AF_INET6, text, ip.b) == 1) {
        ip.family = 6;
    } else {
        return false;
    }
    *out = ip;
    return true;
}

const char *
ip_text(const struct ip *ip, char out[IP_TEXT_MAX])
{
    out[0] = '\0';
    if (ip->family != 0) {
        inet_ntop(ip->family == 4 ? AF_INET : AF_INET6, ip->b, out, IP_TEXT_MAX);
    }
    return out;
}

bool
ip_equal(const struct ip *a, const struct ip *b)
{
    return a->family == b->family && memcmp(a->b, b->b, a->family == 4 ? 4 : 16) == 0;
}

bool
cidr_parse(const char *text, struct cidr *out)
{
    char address[IP_TEXT_MAX];
    const char *slash = strchr(text, '/');
    if (slash == NULL || (size_t)(slash - text) >= sizeof(address)) {
        return false;
    }
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = '\0';
    const char *digits = slash + 1;
    size_t n = strspn(digits, "0123456789");
    if (n == 0 || n > 3 || digits[n] != '\0' || (n > 1 && digits[0] == '0')) {
        return false;
    }
    struct cidr c = {0};
    int bits = atoi(digits);
    if (!ip_parse(address, &c.base) || bits > (c.base.family == 4 ? 32 : 128)) {
        return false;
    }
    c.bits = (uint8_t)bits;
    for (int i = 0; i < 16; i++) {
        int keep = bits - i * 8;
        if (keep <= 0) {
            c.base.b[i] = 0;
        } else if (keep < 8) {
            c.base.b[i] = (uint8_t)(c.base.b[i] & (0xff << (8 - keep)));
        }
    }
    *out = c;
    return true;
}

const char *
cidr_text(const struct cidr *c, char out[IP_TEXT_MAX])
{
    char address[IP_TEXT_MAX];
    snprintf(out, IP_TEXT_MAX, "%.48s/%u", ip_text(&c->base, address), c->bits);
    return out;
}

bool
cidr_contains_bytes(const struct cidr *c, uint8_t family, const uint8_t *bytes)
{
    if (c->base.family != family) {
        return false;
    }
    size_t whole = c->bits / 8;
    unsigned rest = c->bits % 8;
    if (memcmp(c->base.b, bytes, whole) != 0) {
        return false;
    }
    return rest == 0 || ((c->base.b[whole] ^ bytes[whole]) >> (8 - rest)) == 0;
}

bool
cidr_contains(const struct cidr *c, const struct ip *ip)
{
    return cidr_contains_bytes(c, ip->family, ip->b);
}

bool
mac_parse(const char *text, uint8_t out[6])
{
    unsigned b[6];
    char end;
    if (strlen(text) != 17 || sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2],
                                     &b[3], &b[4], &b[5], &end) != 6) {
        return false;
    }
    for (int i = 0; i < 6; i++) {
        out[i] = (uint8_t)b[i];
    }
    return true;
}
