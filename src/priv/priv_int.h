/* Steps of giving up rights. */
#ifndef TAPBOX_PRIV_INT_H
#define TAPBOX_PRIV_INT_H

#include <tapbox/sandbox.h>

/* No capability is left, none can come back by exec or setuid.  Works as root, as root of a
 * user namespace with one id, and with a few capabilities as anybody. */
TB_NODISCARD enum tb_err tb_drop_rights(struct tb_fail *fail);

#endif
