/*
 * Instance types as mirror sources and targets.  No API tells which can be mirrored: the table
 * is for a warning in time, EC2 decides.
 * Source: VPC Traffic Mirroring Guide, "Limitations" and "Quotas" (August 2025).
 */
#include "preflight.h"

#include <string.h>

enum {
    SOURCES_OF_TARGET = 10,
    SOURCES_OF_LARGEST = 100 /* the largest size of a family */
};

/* Families of virtualised types; a '*' stands for the rest of a name. */
static const char *const families[] = {
    "a1",       "c4",    "c5",   "c5a",  "c5ad",  "c5d",  "c5n",   "c6a",  "c6g",   "c6gd",
    "c6gn",     "c6i",   "c6id", "c6in", "c7a",   "c7g",  "c7gd",  "c7i",  "d2",    "d3",
    "c7i-flex", "d3en",  "dl1",  "dl2q", "f2",    "g3",   "g4ad",  "g4dn", "g5",    "g5g",
    "g6",       "g6e",   "g6f",  "gr6",  "gr6f",  "h1",   "hpc6a", "i3",   "i3en",  "i4g",
    "hpc6id",   "hpc7a", "i4i",  "i7i",  "im4gn", "inf1", "inf2",  "m4",   "m5",    "m5a",
    "is4gen",   "m5ad",  "m5d",  "m5dn", "m5n",   "m5zn", "m6a",   "m6g",  "m6gd",  "m6i",
    "m6id",     "m6idn", "m6in", "m7a",  "m7g",   "m7gd", "m7i",   "mac1", "mac2*", "p3",
    "m7i-flex", "p3dn",  "p4d",  "p4de", "p5",    "p5e",  "r4",    "r5",   "r5a",   "r5ad",
    "r5b",      "r5d",   "r5dn", "r5n",  "r6a",   "r6g",  "r6gd",  "r6i",  "r6id",  "r6idn",
    "r6in",     "r7a",   "r7g",  "r7gd", "r7i",   "r7iz", "t3",    "t3a",  "t4g",   "trn1",
    "trn1n",    "u-*",   "u7i*", "vt1",  "x1",    "x1e",  "x2gd",  "z1d",  "x2idn", "x2iedn",
    "x2iezn",   NULL,
};
/* Families whose bare metal sizes can be mirrored. */
static const char *const metal[] = {"a1",    "c5",  "c5d", "c6g",  "c6gd", "g5g", "i3",
                                    "m5",    "m5d", "m6g", "m6gd", "mac1", "r5",  "r5b",
                                    "mac2*", "r5d", "r6g", "r6gd", "x2gd", "z1d", NULL};

static bool
is_listed(const char *const *list, const char *type)
{
    size_t family = strcspn(type, ".");

    for (; *list != NULL; list++) {
        size_t len = strlen(*list);
        bool open = (*list)[len - 1] == '*';

        len -= open ? 1 : 0;
        if ((open ? family >= len : family == len) && strncmp(type, *list, len) == 0) {
            return true;
        }
    }
    return false;
}

static const struct tb_ec2_type *
find_type(const struct tb_ec2_types *types, const char *name)
{
    for (size_t i = 0; types != NULL && i < types->count; i++) {
        if (strcmp(types->at[i].name, name) == 0) {
            return &types->at[i];
        }
    }
    return NULL;
}

/* With EC2's word on whether it is bare metal, or by its name alone. */
static bool
is_mirrored(const char *type, bool is_metal)
{
    return is_listed(is_metal ? metal : families, type);
}

static bool
is_metal_by_name(const char *type)
{
    return strstr(type, ".metal") != NULL;
}

bool
preflight_type_is_mirrored(const char *type)
{
    return is_mirrored(type, is_metal_by_name(type));
}

void
preflight_type(const struct preflight_facts *facts, const struct tb_ec2_interface *interface,
               const struct tb_ec2_instance *instance, struct tb_plan *out)
{
    const struct tb_ec2_type *type = find_type(facts->types, instance->type);
    bool is_metal = (type != NULL && type->bare_metal) || is_metal_by_name(instance->type);
    bool mirrored = is_mirrored(instance->type, is_metal);

    if (is_metal && !mirrored) {
        preflight_say(out, "instance_type", TB_CHECK_WARN, interface->eni,
                      "%s is bare metal of a family that AWS does not list as a mirror source: "
                      "EC2 decides when the session is made; a virtualised size would do",
                      instance->type);
    } else if (!mirrored) {
        preflight_say(out, "instance_type", TB_CHECK_WARN, interface->eni,
                      "%s%s is of a family that AWS does not list as a mirror source: EC2 "
                      "decides when the session is made; if it refuses, use another type or "
                      "record on the host",
                      instance->type,
                      type != NULL && strcmp(type->hypervisor, "xen") == 0 ? " (Xen)" : "");
    }
    if (type != NULL && type->network[0] != '\0') {
        preflight_say(out, "source_bandwidth", TB_CHECK_INFO, interface->eni,
                      "%s has a network of '%s', which the copies share: when it is full AWS "
                      "drops copies first (CloudWatch NetworkSkipMirrorIn and Out)",
                      instance->type, type->network);
    }
}

size_t
preflight_sources_of_target(const struct tb_ec2_types *types, const char *type, bool *out_sure)
{
    const struct tb_ec2_type *own = find_type(types, type);
    size_t family = strcspn(type, ".");
    uint32_t most = 0;

    *out_sure = own != NULL;
    for (size_t i = 0; own != NULL && i < types->count; i++) {
        const struct tb_ec2_type *other = &types->at[i];

        if (strncmp(other->name, type, family + 1) == 0 && !other->bare_metal &&
            other->vcpus > most) {
            most = other->vcpus;
        }
    }
    return own != NULL && own->vcpus >= most ? SOURCES_OF_LARGEST : SOURCES_OF_TARGET;
}
