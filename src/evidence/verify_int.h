/*
 * What the checks share.
 *
 * verify_run.c       finds the captures and gives their parts to threads
 * verify.c           one capture: begins with the manifest, ends with what is left over
 * verify_custody.c   its custody log, or that of a host
 * verify_log.c       the logs of hosts, and the captures that they tell of
 * verify_segments.c  one segment
 * verify_folder.c    what lies in its folder, and what was found out about it
 */
#ifndef TAPBOX_VERIFY_INT_H
#define TAPBOX_VERIFY_INT_H

#include <limits.h>
#include <stdatomic.h>

#include <tapbox/thread.h>
#include <tapbox/verify.h>

/* A file of the folder. */
struct verify_file {
    const char *name;                  /* with its folder; owned by the list, or `own_name` */
    const struct tb_place_file *entry; /* NULL: not a plain file; nothing else is opened */
    char *own_name;                    /* owned */
    bool is_expected;
    bool is_reported; /* each file is looked at by one thread at a time */
};

/* A finding until it is told. */
struct verify_finding {
    size_t order; /* where it stands among the capture's */
    struct tb_finding what;
    char *text; /* owned: the file's name and the sentence */
};

enum verify_state {
    VERIFY_WAITING,
    VERIFY_BEGINNING,
    VERIFY_SEGMENTS,
    VERIFY_ENDING,
    VERIFY_DONE
};

/* One capture. */
struct verify_job {
    /* set once */
    const struct tb_verify *verify;
    struct tb_place *place; /* borrowed */
    const struct tb_place_list *list;
    char *folder; /* owned; below the place, "" or "a/b" */
    const char *name;
    bool is_log;             /* the folder is that of a host's custody log */
    atomic_ullong *progress; /* borrowed: octets that were read */
    /* one thread at a time, and none while segments are checked */
    struct tb_verified *out;
    struct verify_file *files; /* owned; by name */
    size_t file_count, file_cap;
    struct tb_manifest manifest;
    struct tb_buf text; /* of manifest.json */
    bool is_known;      /* there is a manifest to check the rest against */
    /* touched only while holding the run's mutex */
    enum verify_state state;
    size_t next_segment, segments_done;
    struct tb_mutex mu;
    struct {                             /* touched only while holding mu */
        struct verify_finding *findings; /* owned */
        size_t count, cap;
    } locked;
};

/* The order of findings: as they are looked for. */
enum {
    VERIFY_ORDER_BEGIN = 0, /* the segments' are 1 and following */
    VERIFY_ORDER_END = INT_MAX
};

/* --- verify_folder.c --- */

/* Everything that lies in the folder and, one level below it, in ours. */
TB_NODISCARD enum tb_err verify_list(struct verify_job *job, struct tb_fail *fail);
/* The file by its name; NULL when it is not there.  A file that is asked for is expected. */
struct verify_file *verify_find(struct verify_job *job, const char *name);
/* The same, with a finding unless it is a plain file. */
struct verify_file *verify_want(struct verify_job *job, const char *name);
/* The first finding for a file is kept, later ones are not. */
void verify_report(struct verify_job *job, const char *file, const char *kind, const char *fmt,
                   ...) TB_PRINTF(4, 5);
bool verify_is_reported(struct verify_job *job, const char *name);
/* Appends the whole of a small file.  *out_read is false when it could not be read, which is a
 * finding then. */
TB_NODISCARD enum tb_err verify_read(struct verify_job *job, const char *name,
                                     struct tb_buf *out, bool *out_read, struct tb_fail *fail);
/* A file that cannot be read is a finding, and TB_OK; what would meet every file is an error.
 */
TB_NODISCARD enum tb_err verify_unreadable(struct verify_job *job, const char *name,
                                           const struct tb_fail *why, struct tb_fail *fail);
/* Whether the octets are signed by a key that was given; *out_trusted: by one vouched for. */
bool verify_signature(const struct verify_job *job, struct tb_bytes text,
                      struct tb_bytes signature, bool *out_trusted);
/* What nothing asked for is a finding. */
void verify_tell_extra(struct verify_job *job);
/* Takes over `folder`; `out` is the capture's, and gets its id from it. */
void verify_job_init(struct verify_job *job, const struct tb_verify *verify,
                     struct tb_place *place, const struct tb_place_list *list, char *folder,
                     struct tb_verified *out, atomic_ullong *progress);
/* Tells what was found, in its order, and forgets it. */
void verify_tell(struct verify_job *job);
void verify_job_release(struct verify_job *job);

/* --- verify.c, verify_custody.c, verify_segments.c --- */

TB_NODISCARD enum tb_err verify_begin(struct verify_job *job, struct tb_fail *fail);
TB_NODISCARD enum tb_err verify_custody(struct verify_job *job, struct tb_fail *fail);
/* All objects of the folder's log, through `reader`. */
TB_NODISCARD enum tb_err verify_objects(struct verify_job *job,
                                        struct tb_custody_reader *reader, struct tb_fail *fail);
/* Several at once, each once. */
TB_NODISCARD enum tb_err verify_segment(struct verify_job *job, size_t number,
                                        struct tb_fail *fail);
TB_NODISCARD enum tb_err verify_end(struct verify_job *job, struct tb_fail *fail);

#endif
