/* A place is a folder or a prefix in a bucket: place.c decides, folder.c and s3.c do it. */
#ifndef TAPBOX_PLACE_INT_H
#define TAPBOX_PLACE_INT_H

#include <tapbox/place.h>

/* One kind of place.  `self` is what its _open gave. */
struct place_ops {
    void (*free)(void *self);
    enum tb_err (*above)(void *self, unsigned levels, void **out, struct tb_fail *fail);
    enum tb_err (*list)(void *self, const char *below, struct tb_place_list *out,
                        struct tb_fail *fail);
    /* What `read` takes; a descriptor, or what names the object. */
    enum tb_err (*open)(void *self, const struct tb_place_file *file, void **out_file,
                        struct tb_fail *fail);
    enum tb_err (*read)(void *file, uint64_t offset, uint8_t *at, size_t len,
                        struct tb_fail *fail);
    int (*fd)(const void *file); /* NULL: there is none */
    void (*close)(void *file);
    const char *(*name)(const void *self);
    bool is_remote;
};

extern const struct place_ops place_folder_ops, place_s3_ops;

TB_NODISCARD enum tb_err place_folder_open(const char *path, void **out, struct tb_fail *fail);
/* `where` begins with "s3://"; `role_arn` may be NULL. */
TB_NODISCARD enum tb_err place_s3_open(const char *where, const char *role_arn, void **out,
                                       struct tb_fail *fail);

/* Adds an entry; the name is copied. */
TB_NODISCARD enum tb_err place_list_add(struct tb_place_list *list, const char *name,
                                        enum tb_place_kind kind, uint64_t bytes,
                                        const char *etag, struct tb_fail *fail);

#endif
