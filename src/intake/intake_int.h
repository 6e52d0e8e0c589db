/* What the parts of intake share. */
#ifndef TAPBOX_INTAKE_INT_H
#define TAPBOX_INTAKE_INT_H

#include <tapbox/intake.h>

enum {
    INTAKE_MAX_PARTS = 64 /* alerts of one body, those that were split included */
};

/*
 * One capture holds one instance, or interfaces that were named.  Takes one of the other
 * instances, which the alert names without an interface, out of `whole` and makes an alert of
 * its own of it, with a key of its own.  False: there is none; nothing has changed.
 */
bool intake_split(struct tb_alert *whole, struct tb_alert *out);

/* Of a body that holds several alerts the one that the row is of alone stays.  TB_EFORMAT: it is
 * not among them. */
TB_NODISCARD enum tb_err intake_keep_one(struct tb_intake_ready **first,
                                         const struct tb_alert_row *row, struct tb_fail *fail);

#endif
