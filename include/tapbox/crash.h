/*
 * Crash points: the places before and after every call of AWS and every commit of the store,
 * named, so that a test can have the process killed at each of them.
 *
 * TAPBOX_CRASH="NAME" or "NAME#N" in the environment makes the process send itself SIGKILL the
 * first (N-th) time it comes by.  Without it a crash point is one load and one branch.
 * Threads: any.
 */
#ifndef TAPBOX_CRASH_H
#define TAPBOX_CRASH_H

#include <stddef.h>

enum tb_crash_side {
    TB_CRASH_BEFORE,
    TB_CRASH_AFTER
};

/* `what` is an act of the table in crash.c ("CreateTrafficMirrorSession", "capture_move"): a
 * name that is not in it is a mistake of ours. */
void tb_crash_point(enum tb_crash_side side, const char *what);

/* The i-th act; NULL past the last.  Its points are "<act>:before" and "<act>:after". */
const char *tb_crash_act(size_t i);

#endif
