/*
 * Where evidence lies: a local folder, or a prefix in an S3 bucket.  One way to list it, to
 * read parts of a file, and to bring a whole one here.
 *
 * S3 is reached by the usual AWS environment (credentials, Region, endpoint); no service and no
 * configuration of tapbox is needed.  Reads are repeated after passing faults.  An object is
 * read as it was listed: when it is another by then, reads fail with TB_EEXIST.
 *
 * Errors: TB_ENOTFOUND no such folder, bucket or file; TB_EDENIED; TB_EINVAL a name, a Region;
 * TB_EIO, TB_ENOMEM and those of aws_ec2.h.  Sentences name the place and what to do.
 * Threads: a place and its list may be used by any number of threads, a reader by one.
 */
#ifndef TAPBOX_PLACE_H
#define TAPBOX_PLACE_H

#include <tapbox/io.h>

struct tb_place;

/* `where`: a path, or s3://BUCKET[/PREFIX].  The folder has to be there; of a bucket it shows
 * when it is listed. */
TB_NODISCARD enum tb_err tb_place_open(const char *where, struct tb_place **out,
                                       struct tb_fail *fail);
/* The same as somebody else: what lies in S3 is read with the role's credentials, for which STS
 * is asked with those of the environment.  NULL: as oneself.  TB_EINVAL: no role's ARN, or a
 * path. */
TB_NODISCARD enum tb_err tb_place_open_as(const char *where, const char *role_arn,
                                          struct tb_place **out, struct tb_fail *fail);
/* The one `levels` folders above.  *out is freed before `place`.  TB_ENOTFOUND: there is none.
 */
TB_NODISCARD enum tb_err tb_place_above(const struct tb_place *place, unsigned levels,
                                        struct tb_place **out, struct tb_fail *fail);
void tb_place_free(struct tb_place *place);
/* Its own name: the last folder's, or the bucket's. */
const char *tb_place_name(const struct tb_place *place);
bool tb_place_is_remote(const struct tb_place *place);

enum tb_place_kind {
    TB_PLACE_FILE,
    TB_PLACE_FOLDER, /* S3 has none */
    TB_PLACE_OTHER   /* symbolic links, pipes, ...: never opened */
};
struct tb_place_file {
    char *name; /* below the place, "a/b/c"; owned by the list.  Of whoever wrote it: check it
                   before a path is made of it */
    enum tb_place_kind kind;
    uint64_t bytes;
    char etag[128]; /* "" : a local one */
};
struct tb_place_list {
    struct tb_place_file *at; /* owned; by name, in order of octets */
    size_t count, cap;
};
/* Everything at and below the folder `below` ("": the place itself); names are whole all the
 * same.  A folder that is not there is empty. */
TB_NODISCARD enum tb_err tb_place_list(struct tb_place *place, const char *below,
                                       struct tb_place_list *out, struct tb_fail *fail);
void tb_place_list_release(struct tb_place_list *list);
/* NULL when it is not in the list. */
const struct tb_place_file *tb_place_find(const struct tb_place_list *list, const char *name);
/* The first whose name is not less: with it the files of one folder are found. */
size_t tb_place_find_from(const struct tb_place_list *list, const char *name);

/* --- reading --- */

struct tb_place_reader;

/* `file` is from the place's list, and borrowed with it.  Nothing is asked of S3 yet. */
TB_NODISCARD enum tb_err tb_place_reader_open(struct tb_place *place,
                                              const struct tb_place_file *file,
                                              struct tb_place_reader **out,
                                              struct tb_fail *fail);
void tb_place_reader_free(struct tb_place_reader *reader);
/* Its descriptor, borrowed; -1 unless the file is a local one. */
int tb_place_reader_fd(const struct tb_place_reader *reader);
/*
 * For tb_segment_reader_open_at and others; lives as long as the reader.
 *
 * In S3 a read is one GET of exactly that range.  The exception is a short read at the end: it
 * brings the TB_PLACE_TAIL_BYTES before the end, and those are remembered, so that a segment's
 * index costs one request.
 */
struct tb_readable tb_place_readable(struct tb_place_reader *reader);
enum {
    TB_PLACE_TAIL_BYTES = 256 << 10
};

/* Appends the whole of a small file; TB_ETOOBIG over out's ceiling (nothing is read then). */
TB_NODISCARD enum tb_err tb_place_read(struct tb_place *place, const struct tb_place_file *file,
                                       struct tb_buf *out, struct tb_fail *fail);

/* Octets of a file. */
struct tb_place_span {
    uint64_t offset, bytes;
};
/* Brings a whole file into `fd` from its offset 0 on, or the given spans of it to their places,
 * in parts, by several threads if it lies in S3. */
struct tb_place_copy {
    int fd;                            /* borrowed, open for writing */
    const struct tb_place_span *spans; /* of the file, in no order; NULL: all of it */
    size_t span_count;
    unsigned threads; /* at the most; 0: as many as are of use */
    /* On the caller's thread, a few times a second at the most, with octets of the spans.  May
     * be NULL.  False: give up, with TB_ECLOSED. */
    bool (*progress)(void *arg, uint64_t done_bytes);
    void *arg;
};
TB_NODISCARD enum tb_err tb_place_copy(struct tb_place *place, const struct tb_place_file *file,
                                       const struct tb_place_copy *copy, struct tb_fail *fail);

#endif
