/* What the parts of intake share. */
#ifndef TAPBOX_INTAKE_INT_H
#define TAPBOX_INTAKE_INT_H

#include <tapbox/alert.h>

enum {
    INTAKE_MAX_PARTS = 64 /* alerts of one body, those that were split included */
};

/*
 * One capture holds one instance, or interfaces that were named.  Takes one of the other
 * instances, which the alert names without an interface, out of `whole` and makes an alert of
 * its own of it, with a key of its own.  False: there is none; nothing has changed.
 */
bool intake_split(struct tb_alert *whole, struct tb_alert *out);

#endif
