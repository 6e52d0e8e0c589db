/* What both kinds of place have in common: the list, readers, whole files. */
#include "place_int.h"

#include <stdlib.h>

enum {
    READ_BYTES = 8 << 20 /* of one read of a larger file */
};

struct tb_place {
    const struct place_ops *ops;
    void *self; /* owned */
};

struct tb_place_reader {
    const struct place_ops *ops;
    void *file; /* owned */
    uint64_t bytes;
    uint8_t *tail; /* owned; the last of them, once they were read; NULL before */
    size_t tail_len;
};

static enum tb_err
wrap(const struct place_ops *ops, void *self, struct tb_place **out, struct tb_fail *fail)
{
    struct tb_place *place = calloc(1, sizeof(*place));

    if (place == NULL) {
        ops->free(self);
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a place");
    }
    place->ops = ops;
    place->self = self;
    *out = place;
    return TB_OK;
}

enum tb_err
tb_place_open(const char *where, struct tb_place **out, struct tb_fail *fail)
{
    return tb_place_open_as(where, NULL, out, fail);
}

enum tb_err
tb_place_open_as(const char *where, const char *role_arn, struct tb_place **out,
                 struct tb_fail *fail)
{
    bool is_s3 = strncmp(where, "s3://", 5) == 0;
    void *self = NULL;
    enum tb_err err;

    if (role_arn != NULL && !is_s3) {
        return tb_fail_set(fail, TB_EINVAL, "a role is for what lies in S3: %.200s is a path",
                           where);
    }
    err = is_s3 ? place_s3_open(where, role_arn, &self, fail)
                : place_folder_open(where, &self, fail);
    return err != TB_OK ? err
                        : wrap(is_s3 ? &place_s3_ops : &place_folder_ops, self, out, fail);
}

enum tb_err
tb_place_above(const struct tb_place *place, unsigned levels, struct tb_place **out,
               struct tb_fail *fail)
{
    void *self = NULL;
    enum tb_err err = place->ops->above(place->self, levels, &self, fail);

    return err != TB_OK ? err : wrap(place->ops, self, out, fail);
}

void
tb_place_free(struct tb_place *place)
{
    if (place != NULL) {
        place->ops->free(place->self);
        free(place);
    }
}

const char *
tb_place_name(const struct tb_place *place)
{
    return place->ops->name(place->self);
}

bool
tb_place_is_remote(const struct tb_place *place)
{
    return place->ops->is_remote;
}

/* --- the list --- */

enum tb_err
place_list_add(struct tb_place_list *list, const char *name, enum tb_place_kind kind,
               uint64_t bytes, const char *etag, struct tb_fail *fail)
{
    struct tb_place_file file = {.name = strdup(name), .kind = kind, .bytes = bytes};

    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 64 : 2 * list->cap;
        struct tb_place_file *more = reallocarray(list->at, cap, sizeof(*more));

        if (more == NULL) {
            free(file.name);
            return tb_fail_set(fail, TB_ENOMEM, "no memory for the names of files");
        }
        list->at = more;
        list->cap = cap;
    }
    if (file.name == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the names of files");
    }
    (void)tb_str_copy(file.etag, sizeof(file.etag), etag);
    list->at[list->count++] = file;
    return TB_OK;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const struct tb_place_file *)a)->name,
                  ((const struct tb_place_file *)b)->name);
}

enum tb_err
tb_place_list(struct tb_place *place, const char *below, struct tb_place_list *out,
              struct tb_fail *fail)
{
    struct tb_place_list list = {.count = 0};
    enum tb_err err = place->ops->list(place->self, below, &list, fail);

    if (err != TB_OK) {
        tb_place_list_release(&list);
        return err;
    }
    if (list.count > 0) {
        qsort(list.at, list.count, sizeof(*list.at), by_name);
    }
    *out = list;
    return TB_OK;
}

void
tb_place_list_release(struct tb_place_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->at[i].name);
    }
    free(list->at);
    *list = (struct tb_place_list){NULL, 0, 0};
}

size_t
tb_place_find_from(const struct tb_place_list *list, const char *name)
{
    size_t low = 0, high = list->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(list->at[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct tb_place_file *
tb_place_find(const struct tb_place_list *list, const char *name)
{
    size_t i = tb_place_find_from(list, name);

    return i < list->count && strcmp(list->at[i].name, name) == 0 ? &list->at[i] : NULL;
}

/* --- reading --- */

enum tb_err
tb_place_reader_open(struct tb_place *place, const struct tb_place_file *file,
                     struct tb_place_reader **out, struct tb_fail *fail)
{
    struct tb_place_reader *reader;
    enum tb_err err;

    if (file->kind != TB_PLACE_FILE) {
        (void)tb_fail_set(fail, TB_EINVAL, "%s is not a plain file", file->name);
        return TB_EINVAL;
    }
    reader = calloc(1, sizeof(*reader));
    if (reader == NULL) {
        (void)tb_fail_set(fail, TB_ENOMEM, "no memory to read %s", file->name);
        return TB_ENOMEM;
    }
    reader->ops = place->ops;
    reader->bytes = file->bytes;
    err = place->ops->open(place->self, file, &reader->file, fail);
    if (err != TB_OK) {
        free(reader);
        return err;
    }
    *out = reader;
    return TB_OK;
}

void
tb_place_reader_free(struct tb_place_reader *reader)
{
    if (reader != NULL) {
        reader->ops->close(reader->file);
        free(reader->tail);
        free(reader);
    }
}

int
tb_place_reader_fd(const struct tb_place_reader *reader)
{
    return reader->ops->fd != NULL ? reader->ops->fd(reader->file) : -1;
}

static enum tb_err
load_tail(struct tb_place_reader *reader, struct tb_fail *fail)
{
    size_t len =
        reader->bytes < TB_PLACE_TAIL_BYTES ? (size_t)reader->bytes : TB_PLACE_TAIL_BYTES;
    uint8_t *tail = malloc(len);
    enum tb_err err;

    if (tail == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the end of a file");
    }
    err = reader->ops->read(reader->file, reader->bytes - len, tail, len, fail);
    if (err != TB_OK) {
        free(tail);
        return err;
    }
    reader->tail = tail;
    reader->tail_len = len;
    return TB_OK;
}

static enum tb_err
read_reader(void *arg, uint64_t offset, uint8_t *at, size_t len, struct tb_fail *fail)
{
    struct tb_place_reader *reader = arg;
    enum tb_err err;

    if (offset > reader->bytes || len > reader->bytes - offset) {
        return tb_fail_set(fail, TB_ESHORT, "it ends in the middle");
    }
    if (len == 0) {
        return TB_OK;
    }
    if (reader->ops->is_remote && reader->tail == NULL && offset + len == reader->bytes &&
        len < TB_PLACE_TAIL_BYTES) {
        err = load_tail(reader, fail);
        if (err != TB_OK) {
            return err;
        }
    }
    if (reader->tail != NULL && offset >= reader->bytes - reader->tail_len) {
        memcpy(at, reader->tail + (offset - (reader->bytes - reader->tail_len)), len);
        return TB_OK;
    }
    return reader->ops->read(reader->file, offset, at, len, fail);
}

struct tb_readable
tb_place_readable(struct tb_place_reader *reader)
{
    return (struct tb_readable){.read = read_reader, .arg = reader, .bytes = reader->bytes};
}

enum tb_err
tb_place_read(struct tb_place *place, const struct tb_place_file *file, struct tb_buf *out,
              struct tb_fail *fail)
{
    struct tb_place_reader *reader = NULL;
    uint8_t *block = NULL;
    enum tb_err err;

    if (out->len > out->ceiling || file->bytes > out->ceiling - out->len) {
        return tb_fail_set(fail, TB_ETOOBIG, "%s is larger than %zu octets", file->name,
                           out->ceiling);
    }
    err = tb_place_reader_open(place, file, &reader, fail);
    if (err != TB_OK) {
        return err;
    }
    block = malloc(file->bytes < READ_BYTES ? (size_t)file->bytes + 1 : READ_BYTES);
    if (block == NULL) {
        err = tb_fail_set(fail, TB_ENOMEM, "no memory to read %s", file->name);
    }
    for (uint64_t at = 0; err == TB_OK && at < file->bytes;) {
        uint64_t left = file->bytes - at;
        size_t len = left < READ_BYTES ? (size_t)left : READ_BYTES;

        err = reader->ops->read(reader->file, at, block, len, fail);
        if (err == TB_OK) {
            tb_buf_put(out, block, len);
            err = tb_buf_check(out, file->name, fail);
        }
        at += len;
    }
    free(block);
    tb_place_reader_free(reader);
    return err;
}
