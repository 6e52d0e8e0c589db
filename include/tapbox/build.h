/*
 * Which build of tapbox is running.
 */
#ifndef TAPBOX_BUILD_H
#define TAPBOX_BUILD_H

/*
 * The GNU build-id of the running program, in lower-case hex: the linker's digest of what it
 * put together, the same that `readelf -n` and debuggers show.  "" when it was linked without.
 * Lent, for ever.  Threads: any.
 */
const char *tb_build_id(void);

#endif
