/*
 * Whether the kernel merges UDP datagrams on their way in: several mirrored packets would then
 * arrive, and be recorded, as one.  Off by default; `ethtool -K` or a tuning profile sets it.
 */
#include "lane_int.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <tapbox/io.h>
#include <tapbox/log.h>

enum {
    FEATURES_MAX = 1024, /* the kernel has about 60 */
    BLOCK_BITS = 32
};

static bool
ask(int fd, const char *interface, void *question)
{
    struct ifreq request = {.ifr_data = question};

    return tb_str_copy(request.ifr_name, sizeof(request.ifr_name), interface) &&
           ioctl(fd, SIOCETHTOOL, &request) == 0;
}

static uint32_t
count_features(int fd, const char *interface)
{
    struct ethtool_sset_info *sets = calloc(1, sizeof(*sets) + sizeof(uint32_t));
    uint32_t count = 0;

    if (sets != NULL) {
        sets->cmd = ETHTOOL_GSSET_INFO;
        sets->sset_mask = UINT64_C(1) << ETH_SS_FEATURES;
        if (ask(fd, interface, sets) && sets->sset_mask != 0 && sets->data[0] <= FEATURES_MAX) {
            count = sets->data[0];
        }
    }
    free(sets);
    return count;
}

static bool
merges(const char *name)
{
    return strcmp(name, "rx-udp-gro-forwarding") == 0 || strcmp(name, "rx-gro-list") == 0;
}

void
tb_merging_warn(const char *interface)
{
    struct ethtool_gstrings *names = NULL;
    struct ethtool_gfeatures *features = NULL;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    uint32_t count = fd < 0 ? 0 : count_features(fd, interface);
    uint32_t blocks = (count + BLOCK_BITS - 1) / BLOCK_BITS;

    if (count == 0) {
        goto out; /* an interface that tells nothing has nothing of the kind */
    }
    names = calloc(1, sizeof(*names) + (size_t)count * ETH_GSTRING_LEN);
    features = calloc(1, sizeof(*features) + blocks * sizeof(features->features[0]));
    if (names == NULL || features == NULL) {
        goto out;
    }
    names->cmd = ETHTOOL_GSTRINGS;
    names->string_set = ETH_SS_FEATURES;
    names->len = count;
    features->cmd = ETHTOOL_GFEATURES;
    features->size = blocks;
    if (!ask(fd, interface, names) || !ask(fd, interface, features)) {
        goto out;
    }
    for (uint32_t i = 0; i < count && i < names->len; i++) {
        char name[ETH_GSTRING_LEN + 1] = "";

        memcpy(name, names->data + (size_t)i * ETH_GSTRING_LEN, ETH_GSTRING_LEN);
        if (merges(name) &&
            (features->features[i / BLOCK_BITS].active >> i % BLOCK_BITS & 1) != 0) {
            tb_log(TB_LOG_WARN, NULL,
                   "%s is on for %s: the kernel may merge mirrored packets, which are then "
                   "recorded as one; ethtool -K %s %s off",
                   name, interface, interface, name);
        }
    }

out:
    free(features);
    free(names);
    tb_close(&fd);
}
