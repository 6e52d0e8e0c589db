/* What the parts of intake share. */
#ifndef TAPBOX_INTAKE_INT_H
#define TAPBOX_INTAKE_INT_H

#include <tapbox/intake.h>

enum {
    INTAKE_MAX_PARTS = 64 /* alerts of one body, those that were split included */
};

/*
 * One capture holds one instance, or TB_CAPTURE_MAX_SOURCES interfaces that were named.  Takes
 * one of the other instances out of `whole`, or as many interfaces, and makes an alert of its
 * own of it, with a key of its own that ends in "/" and `out_part` (an id).  False: all of it
 * fits; nothing has changed.
 */
bool intake_split(struct tb_alert *whole, struct tb_alert *out, char out_part[TB_AWS_ID_SIZE]);

/* Of a body that holds several alerts the one that the row is of alone stays.  TB_EFORMAT: it
 * is not among them. */
TB_NODISCARD enum tb_err intake_keep_one(struct tb_intake_ready **first,
                                         const struct tb_alert_row *row, struct tb_fail *fail);

#endif
