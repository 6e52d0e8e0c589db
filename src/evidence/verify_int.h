/* What the checks of one folder share. */
#ifndef TAPBOX_VERIFY_INT_H
#define TAPBOX_VERIFY_INT_H

#include <tapbox/verify.h>

/* A file of the folder. */
struct verify_file {
    char name[TB_EVIDENCE_NAME_SIZE + 256]; /* with its folder; what is too long is not ours */
    uint64_t bytes;
    bool is_plain; /* a regular file: nothing else is opened */
    bool is_expected;
    bool is_reported;
};

struct verify_job {
    const struct tb_verify *verify;
    int folder_fd;
    struct tb_verified *out;
    struct verify_file *files; /* owned; by name */
    size_t file_count;
    struct tb_manifest manifest;
    struct tb_buf text; /* of manifest.json */
    struct tb_fail *fail;
};

/* Everything that lies in the folder and, one level below it, in ours. */
TB_NODISCARD enum tb_err verify_list(struct verify_job *job);
/* The file by its name; NULL when it is not there.  A file that is asked for is expected. */
struct verify_file *verify_find(struct verify_job *job, const char *name);
/* The same, with a finding unless it is a plain file. */
struct verify_file *verify_want(struct verify_job *job, const char *name);
/* The first finding for a file is told, later ones are not. */
void verify_report(struct verify_job *job, const char *file, const char *kind, const char *fmt,
                   ...) TB_PRINTF(4, 5);
bool verify_is_reported(struct verify_job *job, const char *name);
/* Opens a plain file of the folder. */
TB_NODISCARD enum tb_err verify_open(struct verify_job *job, const char *name, int *out_fd);
TB_NODISCARD enum tb_err verify_read(struct verify_job *job, const char *name,
                                     struct tb_buf *out);
/* Whether the octets are signed by a key that was given; *out_trusted: by one vouched for. */
bool verify_signature(const struct verify_job *job, struct tb_bytes text,
                      struct tb_bytes signature, bool *out_trusted);

TB_NODISCARD enum tb_err verify_segments(struct verify_job *job);
TB_NODISCARD enum tb_err verify_custody(struct verify_job *job);

#endif
