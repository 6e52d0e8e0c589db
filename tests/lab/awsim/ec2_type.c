/* Instance types: what DescribeInstanceTypes says, and what mirroring makes of them. */
#include "mirror.h"

#include <stdio.h>
#include <string.h>

#include "describe.h"

/* Families whose virtualised sizes can be mirror sources; separated by spaces. */
static const char families[] =
    " a1 m4 m5 m5a m5ad m5d m5dn m5n m5zn m6a m6g m6gd m6i m6id m6idn m6in m7a m7g m7gd m7i"
    " m7i-flex t3 t3a t4g c4 c5 c5a c5ad c5d c5n c6a c6g c6gd c6gn c6i c6id c6in c7a c7g c7gd "
    "c7i"
    " c7i-flex r4 r5 r5a r5ad r5b r5d r5dn r5n r6a r6g r6gd r6i r6id r6idn r6in r7a r7g r7gd "
    "r7i"
    " r7iz x1 x1e x2gd x2idn x2iedn x2iezn z1d d2 d3 d3en h1 i3 i3en i4g i4i i7i im4gn is4gen "
    "dl1"
    " dl2q f2 g3 g4ad g4dn g5 g5g g6 g6e g6f gr6 gr6f inf1 inf2 p3 p3dn p4d p4de p5 p5e trn1"
    " trn1n vt1 hpc6a hpc6id hpc7a mac1 mac2 ";
/* Bare metal sources: the Nitro v2 ones only. */
static const char metal_families[] =
    " m5 m5d m6g m6gd c5 c5d c6g c6gd r5 r5b r5d r6g r6gd x2gd "
    "z1d i3 g5g a1 mac1 mac2 ";
/* Largest sizes of their families: as a target they take 100 sources. */
static const char largest[] =
    " m5.24xlarge m5a.24xlarge m5d.24xlarge m5n.24xlarge m6a.48xlarge m6g.16xlarge m6i.32xlarge"
    " m6in.32xlarge m7a.48xlarge m7g.16xlarge m7i.48xlarge m8g.48xlarge c5.18xlarge c5.24xlarge"
    " c5a.24xlarge c5n.18xlarge c6a.48xlarge c6g.16xlarge c6gn.16xlarge c6i.32xlarge"
    " c6in.32xlarge c7a.48xlarge c7g.16xlarge c7gn.16xlarge c7i.48xlarge r5.24xlarge"
    " r5n.24xlarge r6a.48xlarge r6g.16xlarge r6i.32xlarge r7g.16xlarge r7i.48xlarge ";

struct type {
    char name[24];
    const char *hypervisor; /* NULL: bare metal */
    bool arm;
    bool burstable;
    int vcpus;
    int memory_mib;
    const char *network;
    int interfaces;
    int addresses; /* IPv4 per interface */
};

static const struct type types[] = {
    {"c5.18xlarge", "nitro", false, false, 72, 147456, "25 Gigabit", 15, 50},
    {"c5.large", "nitro", false, false, 2, 4096, "Up to 10 Gigabit", 3, 10},
    {"c5.metal", NULL, false, false, 96, 196608, "25 Gigabit", 15, 50},
    {"c5n.18xlarge", "nitro", false, false, 72, 196608, "100 Gigabit", 15, 50},
    {"c6g.large", "nitro", true, false, 2, 4096, "Up to 10 Gigabit", 3, 10},
    {"c6in.2xlarge", "nitro", false, false, 8, 16384, "Up to 40 Gigabit", 4, 15},
    {"c6in.32xlarge", "nitro", false, false, 128, 262144, "200 Gigabit", 14, 50},
    {"c7gn.xlarge", "nitro", true, false, 4, 8192, "Up to 40 Gigabit", 4, 15},
    {"m3.large", "xen", false, false, 2, 7680, "Moderate", 3, 10},
    {"m5.24xlarge", "nitro", false, false, 96, 393216, "25 Gigabit", 15, 50},
    {"m5.large", "nitro", false, false, 2, 8192, "Up to 10 Gigabit", 3, 10},
    {"m5.xlarge", "nitro", false, false, 4, 16384, "Up to 10 Gigabit", 4, 15},
    {"m6i.32xlarge", "nitro", false, false, 128, 524288, "50 Gigabit", 15, 50},
    {"m6i.large", "nitro", false, false, 2, 8192, "Up to 12.5 Gigabit", 3, 10},
    {"m6i.metal", NULL, false, false, 128, 524288, "50 Gigabit", 15, 50},
    {"m7g.large", "nitro", true, false, 2, 8192, "Up to 12.5 Gigabit", 3, 10},
    {"m7i.large", "nitro", false, false, 2, 8192, "Up to 12.5 Gigabit", 3, 10},
    {"r5.large", "nitro", false, false, 2, 16384, "Up to 10 Gigabit", 3, 10},
    {"r6i.large", "nitro", false, false, 2, 16384, "Up to 12.5 Gigabit", 3, 10},
    {"t2.micro", "xen", false, true, 1, 1024, "Low to Moderate", 2, 2},
    {"t3.large", "nitro", false, true, 2, 8192, "Up to 5 Gigabit", 3, 12},
    {"t3.micro", "nitro", false, true, 2, 1024, "Up to 5 Gigabit", 2, 2},
    {"t3.small", "nitro", false, true, 2, 2048, "Up to 5 Gigabit", 3, 4},
    {"t4g.small", "nitro", true, true, 2, 2048, "Up to 5 Gigabit", 3, 4},
};
#define NTYPES (sizeof(types) / sizeof(types[0]))

static bool
is_listed(const char *list, const char *word, size_t len)
{
    char needle[64];
    if (len + 3 > sizeof(needle)) {
        return false;
    }
    snprintf(needle, sizeof(needle), " %.*s ", (int)len, word);
    return strstr(list, needle) != NULL;
}

bool
type_can_be_mirrored(const char *t)
{
    size_t family = strcspn(t, ".");
    if (strncmp(t, "u-", 2) == 0 || strncmp(t, "u7i", 3) == 0) {
        return true;
    }
    bool metal = strncmp(t + family, ".metal", 6) == 0;
    return is_listed(metal ? metal_families : families, t, family);
}

size_t
type_sources_per_target(const char *t)
{
    return t != NULL && is_listed(largest, t, strlen(t)) ? 100 : 10;
}

static void
network_xml(struct str *x, const struct type *t)
{
    bool old = t->hypervisor != NULL && strcmp(t->hypervisor, "xen") == 0;
    xml_open(x, "networkInfo");
    xml_text(x, "networkPerformance", t->network);
    xml_int(x, "maximumNetworkInterfaces", t->interfaces);
    xml_int(x, "maximumNetworkCards", 1);
    xml_int(x, "defaultNetworkCardIndex", 0);
    xml_open(x, "networkCards");
    xml_open(x, "item");
    xml_int(x, "networkCardIndex", 0);
    xml_text(x, "networkPerformance", t->network);
    xml_int(x, "maximumNetworkInterfaces", t->interfaces);
    xml_close(x, "item");
    xml_close(x, "networkCards");
    xml_int(x, "ipv4AddressesPerInterface", t->addresses);
    xml_int(x, "ipv6AddressesPerInterface", t->addresses);
    xml_bool(x, "ipv6Supported", true);
    xml_text(x, "enaSupport", old ? "unsupported" : "required");
    xml_bool(x, "efaSupported", false);
    xml_bool(x, "encryptionInTransitSupported", false);
    xml_close(x, "networkInfo");
}

static void
type_xml(struct str *x, const struct type *t)
{
    xml_text(x, "instanceType", t->name);
    xml_bool(x, "currentGeneration", strcmp(t->name, "m3.large") != 0);
    xml_bool(x, "freeTierEligible", strstr(t->name, ".micro") != NULL);
    xml_bool(x, "bareMetal", t->hypervisor == NULL);
    xml_opt(x, "hypervisor", t->hypervisor);
    xml_open(x, "processorInfo");
    xml_open(x, "supportedArchitectures");
    xml_text(x, "item", t->arm ? "arm64" : "x86_64");
    xml_close(x, "supportedArchitectures");
    xml_close(x, "processorInfo");
    xml_open(x, "vCpuInfo");
    xml_int(x, "defaultVCpus", t->vcpus);
    xml_close(x, "vCpuInfo");
    xml_open(x, "memoryInfo");
    xml_int(x, "sizeInMiB", t->memory_mib);
    xml_close(x, "memoryInfo");
    xml_bool(x, "instanceStorageSupported", false);
    network_xml(x, t);
    xml_bool(x, "burstablePerformanceSupported", t->burstable);
}

static const char *const type_filters[] = {"bare-metal",
                                           "burstable-performance-supported",
                                           "current-generation",
                                           "hypervisor",
                                           "instance-type",
                                           "memory-info.size-in-mib",
                                           "network-info.ena-support",
                                           "network-info.maximum-network-interfaces",
                                           "network-info.network-performance",
                                           "processor-info.supported-architecture",
                                           "vcpu-info.default-vcpus",
                                           NULL};

static void
type_values(const void *item, const char *filter, struct values *out)
{
    const struct type *t = item;
    bool old = t->hypervisor != NULL && strcmp(t->hypervisor, "xen") == 0;
    if (strcmp(filter, "bare-metal") == 0) {
        value_bool(out, t->hypervisor == NULL);
    } else if (strcmp(filter, "burstable-performance-supported") == 0) {
        value_bool(out, t->burstable);
    } else if (strcmp(filter, "current-generation") == 0) {
        value_bool(out, strcmp(t->name, "m3.large") != 0);
    } else if (strcmp(filter, "hypervisor") == 0) {
        value_add(out, t->hypervisor);
    } else if (strcmp(filter, "instance-type") == 0) {
        value_add(out, t->name);
    } else if (strcmp(filter, "memory-info.size-in-mib") == 0) {
        value_int(out, t->memory_mib);
    } else if (strcmp(filter, "network-info.ena-support") == 0) {
        value_add(out, old ? "unsupported" : "required");
    } else if (strcmp(filter, "network-info.maximum-network-interfaces") == 0) {
        value_int(out, t->interfaces);
    } else if (strcmp(filter, "network-info.network-performance") == 0) {
        value_add(out, t->network);
    } else if (strcmp(filter, "processor-info.supported-architecture") == 0) {
        value_add(out, t->arm ? "arm64" : "x86_64");
    } else {
        value_int(out, t->vcpus);
    }
}

static bool
describe_types(struct call *c)
{
    size_t nwanted;
    const struct arg *wanted = arg_list(&c->query, "InstanceType.#", &nwanted);
    uint64_t after;
    size_t size;
    if (nwanted > 100) {
        return fail(c, 400, "InvalidParameterValue", "At most 100 instance types may be named");
    }
    for (size_t i = 0; i < nwanted; i++) {
        size_t k = 0;
        while (k < NTYPES && strcmp(types[k].name, wanted[i].value) != 0) {
            k++;
        }
        if (k == NTYPES) {
            return fail(c, 400, "InvalidInstanceType",
                        "The following supplied instance types do not exist: [%.64s]",
                        wanted[i].value);
        }
    }
    if (!filters_check(c, type_filters, false) ||
        !page_begin(c, 100, nwanted > 0, &after, &size) || !call_may_proceed(c)) {
        return false;
    }
    xml_open(&c->out, "instanceTypeSet");
    size_t n = 0;
    size_t at = (size_t)after;
    for (; at < NTYPES && n < size; at++) {
        bool named = nwanted == 0;
        for (size_t i = 0; i < nwanted; i++) {
            named = named || strcmp(types[at].name, wanted[i].value) == 0;
        }
        if (named && filters_match(c, &types[at], NULL, type_values)) {
            xml_open(&c->out, "item");
            type_xml(&c->out, &types[at]);
            xml_close(&c->out, "item");
            n++;
        }
    }
    xml_close(&c->out, "instanceTypeSet");
    if (at < NTYPES) {
        page_next_token(c, at);
    }
    return true;
}

static const struct param describe_params[] = {{.path = "InstanceType.#", .type = P_TEXT},
                                               DESCRIBE_PARAMS,
                                               MAX_RESULTS(100),
                                               {.path = NULL}};

const struct action ec2_type_actions[] = {
    {"DescribeInstanceTypes", SERVICE_EC2, describe_params, describe_types, false},
    {NULL, SERVICE_EC2, NULL, NULL, false}};
