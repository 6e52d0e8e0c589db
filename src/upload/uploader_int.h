/* The uploader itself, for its threads: uploader.c, and unreadable.c for "salvage". */
#ifndef TAPBOX_UPLOADER_INT_H
#define TAPBOX_UPLOADER_INT_H

#include <stdatomic.h>

#include <tapbox/clock.h>
#include <tapbox/spool.h>
#include <tapbox/thread.h>

#include "upload_int.h"

enum {
    UPLOAD_MAX_THREADS = 16,
    UPLOAD_UNREADABLE_TRIES = 5 /* of a file that the disk does not give: 7 seconds */
};
static const int64_t upload_scan_period_ns = TB_NS_PER_S / 2;
static const int64_t upload_backoff_most_ns = 30 * TB_NS_PER_S; /* S3 may be away for hours */

struct taken {
    char capture_id[TB_CAPTURE_ID_SIZE];
    char name[TB_SPOOL_NAME_SIZE];
};

/* One file's own trouble is not the others', nor is one capture's (its KMS key, say). */
struct put_off {
    struct taken what;               /* name "": all of the capture's */
    int64_t until_boot_ns, pause_ns; /* pause 0: free */
    unsigned unreadable;             /* times that the disk did not give it */
};

struct tb_uploader {
    struct tb_uploader_deps deps; /* set once */
    pthread_t threads[UPLOAD_MAX_THREADS];
    unsigned started;
    pthread_t salvage;
    bool is_salvaging; /* that thread was started */
    struct {           /* any thread */
        atomic_ullong segments, bytes, failures, lost;
    } counts;
    struct tb_mutex mu;
    struct tb_cond more;
    struct { /* touched only while holding mu */
        bool stopping;
        struct taken taken[UPLOAD_MAX_THREADS]; /* name "" : free */
        struct put_off *off;                    /* owned */
        size_t off_count, off_cap;
        bool is_turn_of_fresh;      /* else of who is the oldest */
        int64_t not_before_boot_ns; /* after S3 failed nobody tries before this */
        int64_t backoff_ns;         /* 0 while things go well */
    } locked;
};

/* S3 has it: the store says so, and from then on the local copy is not needed. */
TB_NODISCARD enum tb_err upload_acknowledge(struct tb_uploader *up, struct tb_segment_row *row,
                                            const struct tb_s3_ack *ack, struct tb_fail *fail);
/* For `first_ns`, and for twice as long each time that it did not help; name "": all of the
 * capture's. */
void upload_put_off_locked(struct tb_uploader *up, const char *capture_id, const char *name,
                           int64_t first_ns) TB_REQUIRES(up->mu);
void upload_forget_put_off_locked(struct tb_uploader *up, const char *capture_id,
                                  const char *name) TB_REQUIRES(up->mu);
/* Until there may be something to do; false: the uploader stops. */
bool upload_wait_for_more(struct tb_uploader *up);
/* The thread "salvage"; `arg` is the uploader, which it ends with. */
void *upload_save_unreadable(void *arg);

#endif
