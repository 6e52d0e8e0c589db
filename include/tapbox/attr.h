/* Compiler attributes: what a function promises, said so that the compiler checks it. */
#ifndef TAPBOX_ATTR_H
#define TAPBOX_ATTR_H

#define TB_NODISCARD __attribute__((warn_unused_result))
#define TB_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define TB_UNUSED __attribute__((unused))

#if defined(__clang__)
#define TB_CAPABILITY(name) __attribute__((capability(name)))
#define TB_REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define TB_ACQUIRE(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define TB_RELEASE(...) __attribute__((release_capability(__VA_ARGS__)))
#define TB_GUARDED_BY(x) __attribute__((guarded_by(x)))
#define TB_NO_LOCK_ANALYSIS __attribute__((no_thread_safety_analysis))
#else
#define TB_CAPABILITY(name)
#define TB_REQUIRES(...)
#define TB_ACQUIRE(...)
#define TB_RELEASE(...)
#define TB_GUARDED_BY(x)
#define TB_NO_LOCK_ANALYSIS
#endif

#endif
