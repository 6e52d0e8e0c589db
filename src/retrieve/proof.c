/* Extracts that can be proven: the folder beside them, and its check. */
#include <tapbox/proof.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tapbox/thread.h>

enum {
    FOLDER_MODE = 0750,
    FILE_MODE = 0640,
    BLOCK_BYTES = 1 << 20
};

static const char manifest_name[] = "manifest.json";
static const char signature_name[] = "manifest.sig";
static const char filter_name[] = "filter";

void
tb_proof_note(const char *filter, char out[TB_PROOF_FILTER_MAX_BYTES + 16])
{
    (void)snprintf(out, TB_PROOF_FILTER_MAX_BYTES + 16, "extract: %s", filter);
}

static const char *
base_of(const char *name)
{
    const char *slash = strrchr(name, '/');

    return slash == NULL ? name : slash + 1;
}

/* --- making --- */

struct making {
    int segments_fd;
};

/* Each piece at its place in a file that is as long as the segment. */
static enum tb_err
keep(void *arg, const struct tb_place_file *file, uint64_t offset, struct tb_bytes octets,
     struct tb_fail *fail)
{
    const struct making *making = arg;
    const char *name = base_of(file->name);
    int fd = openat(making->segments_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                    FILE_MODE);
    enum tb_err err = TB_OK;

    if (fd < 0 || ftruncate(fd, (off_t)file->bytes) != 0) {
        err = tb_fail_errno(fail, errno, "cannot make the proof's %s", name);
    }
    while (err == TB_OK && octets.len > 0) {
        ssize_t n = pwrite(fd, octets.at, octets.len, (off_t)offset);

        if (n < 0 && errno != EINTR) {
            err = tb_fail_errno(fail, errno, "cannot write the proof's %s", name);
        } else if (n > 0) {
            octets = tb_bytes_of(octets.at + n, octets.len - (size_t)n);
            offset += (uint64_t)n;
        }
    }
    tb_close(&fd);
    return err;
}

/* On disk before the folder gets its name: a power loss leaves no proof with holes. */
static enum tb_err
sync_folder(int folder_fd, struct tb_fail *fail)
{
    int own = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = own < 0 ? NULL : fdopendir(own);
    const struct dirent *entry;
    enum tb_err err = TB_OK;

    if (dir == NULL) {
        err = tb_fail_errno(fail, errno, "cannot list the proof's segments");
        tb_close(&own);
        return err;
    }
    while (err == TB_OK && (entry = readdir(dir)) != NULL) {
        int fd = -1;

        if (strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        fd = openat(folder_fd, entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 || fsync(fd) != 0) {
            err = tb_fail_errno(fail, errno, "cannot sync the proof's %s", entry->d_name);
        }
        tb_close(&fd);
    }
    (void)closedir(dir);
    return err;
}

/* Whether there are segments in the folder that the file lies in. */
static bool
has_segments(const struct tb_place_list *list, const struct tb_place_file *file)
{
    char folder[TB_EVIDENCE_NAME_SIZE * 2];
    int len = snprintf(folder, sizeof(folder), "%.*ssegments/",
                       (int)(base_of(file->name) - file->name), file->name);
    size_t i = tb_place_find_from(list, folder);

    return i < list->count && strncmp(list->at[i].name, folder, (size_t)len) == 0;
}

/* The capture's, wherever its folder is below the place; others may lie there that have no
 * segments, and proofs of earlier extracts.  NULL: none. */
static const struct tb_place_file *
find_manifest(const struct tb_place_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct tb_place_file *file = &list->at[i];

        if (strcmp(base_of(file->name), manifest_name) == 0 && has_segments(list, file) &&
            !tb_verify_is_proof(list, file)) {
            return file;
        }
    }
    return NULL;
}

/* What has this name beside the manifest. */
static enum tb_err
copy_file(struct tb_place *place, const struct tb_place_list *list,
          const struct tb_place_file *manifest, const char *name, int folder_fd,
          struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_MANIFEST_MAX_BYTES);
    const struct tb_place_file *file = NULL;
    char path[TB_EVIDENCE_NAME_SIZE * 2];
    enum tb_err err;

    if (manifest != NULL) {
        (void)snprintf(path, sizeof(path), "%.*s%s",
                       (int)(base_of(manifest->name) - manifest->name), manifest->name, name);
        file = tb_place_find(list, path);
    }
    if (file == NULL) {
        return tb_fail_set(
            fail, TB_ENOTFOUND,
            "there is no %s beside the segments yet: nothing proves what is there", name);
    }
    err = tb_place_read(place, file, &text, fail);
    if (err == TB_OK) {
        err = tb_write_file_whole(folder_fd, name, tb_buf_view(&text), FILE_MODE, fail);
    }
    tb_buf_release(&text);
    return err;
}

enum tb_err
tb_proof_make(struct tb_place *place, const struct tb_place_list *list,
              const struct tb_extract *extract, const char *filter, int folder_fd,
              struct tb_extract_counts *out, struct tb_fail *fail)
{
    struct tb_extract kept = *extract;
    struct making making = {.segments_fd = -1};
    struct tb_buf line = TB_BUF_INIT(TB_PROOF_FILTER_MAX_BYTES + 1);
    const struct tb_place_file *manifest = find_manifest(list);
    enum tb_err err = copy_file(place, list, manifest, manifest_name, folder_fd, fail);

    if (err == TB_OK) {
        err = copy_file(place, list, manifest, signature_name, folder_fd, fail);
    }
    if (err == TB_OK) {
        err = tb_open_dir(folder_fd, "segments", FOLDER_MODE, &making.segments_fd, fail);
    }
    kept.keep = keep;
    kept.keep_arg = &making;
    if (err == TB_OK) {
        err = tb_extract(place, list, &kept, out, fail);
    }
    if (err == TB_OK) {
        err = sync_folder(making.segments_fd, fail);
    }
    tb_buf_put_str(&line, filter);
    tb_buf_put_str(&line, "\n");
    if (err == TB_OK) {
        err = tb_buf_check(&line, "the filter", fail);
    }
    if (err == TB_OK) {
        err = tb_write_file_whole(folder_fd, filter_name, tb_buf_view(&line), FILE_MODE, fail);
    }
    tb_buf_release(&line);
    tb_close(&making.segments_fd);
    return err;
}

/* False: there is no such folder, or not everything in it went. */
static bool
remove_files(int folder_fd, const char *name)
{
    int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    bool all = true;

    if (dir == NULL) {
        tb_close(&fd);
        return false;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            all = unlinkat(dirfd(dir), entry->d_name, 0) == 0 && all;
        }
    }
    (void)closedir(dir);
    return all;
}

void
tb_proof_discard(const char *path)
{
    static const char *const ours[] = {"segments", "keys"};
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0) {
        return;
    }
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (remove_files(fd, ours[i])) {
            (void)unlinkat(fd, ours[i], AT_REMOVEDIR);
        }
    }
    (void)remove_files(fd, ".");
    (void)rmdir(path);
    tb_close(&fd);
}

/* --- checking --- */

struct range {
    const struct tb_place_file *file;
    uint64_t offset, end;
};

struct checking {
    /* set once */
    const struct tb_verify *verify;
    struct tb_place *place;
    const struct tb_place_list *list;
    struct tb_proof_result *result;
    int extract_fd;
    /* the caller's thread */
    struct tb_manifest manifest;
    uint64_t compared; /* octets of the extract that are as they should be */
    bool differs;
    struct tb_mutex mu;
    struct {                  /* touched only while holding mu */
        struct range *ranges; /* owned */
        size_t count, cap;
    } locked;
};

static void TB_PRINTF(4, 5)
    tell(struct checking *check, const char *file, const char *kind, const char *fmt, ...)
{
    char text[600];
    struct tb_finding finding = {
        .capture = check->result->capture, .file = file, .kind = kind, .text = text};
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    check->result->findings++;
    check->verify->finding(check->verify->arg, &finding);
}

/* *out_read is false after a finding. */
static enum tb_err
read_small(struct checking *check, const char *name, struct tb_buf *out, bool *out_read,
           struct tb_fail *fail)
{
    const struct tb_place_file *file = tb_place_find(check->list, name);
    struct tb_fail why = {.err = TB_OK};
    enum tb_err err;

    *out_read = false;
    if (file == NULL || file->kind != TB_PLACE_FILE) {
        tell(check, name, "missing", "it is not there");
        return TB_OK;
    }
    err = tb_place_read(check->place, file, out, &why);
    if (err == TB_ETOOBIG) {
        tell(check, name, "format", "it is larger than it can be");
        return TB_OK;
    }
    if (err != TB_OK && fail != NULL) {
        *fail = why;
    }
    *out_read = err == TB_OK;
    return err;
}

static void
check_signature(struct checking *check, struct tb_bytes text, struct tb_bytes signature)
{
    struct tb_proof_result *result = check->result;
    enum tb_signed shows = tb_signature_judge(check->verify->keys, check->verify->key_count,
                                              &result->key, text, signature);

    result->is_signed = shows == TB_SIGNED_WELL || shows == TB_SIGNED_TRUSTED;
    result->is_trusted = shows == TB_SIGNED_TRUSTED;
    if (shows == TB_SIGNED_UNKNOWN) {
        tell(check, manifest_name, "key", "it names key %s, which was not given",
             result->key.text);
    } else if (!result->is_signed) {
        tell(check, manifest_name, "signature",
             "the signature does not hold: it is not what was signed with that key");
    }
}

/* *out_known: there is a manifest to go by. */
static enum tb_err
check_manifest(struct checking *check, bool *out_known, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_MANIFEST_MAX_BYTES);
    struct tb_buf signature = TB_BUF_INIT(TB_SIGNATURE_SIZE);
    struct tb_fail why = {.err = TB_OK};
    bool read = false;
    enum tb_err err = read_small(check, manifest_name, &text, &read, fail);

    *out_known = false;
    if (read && tb_manifest_read(tb_buf_view(&text), &check->manifest, &why) != TB_OK) {
        tell(check, manifest_name, "format", "%s", why.text);
    } else if (read) {
        *out_known = true;
        memcpy(check->result->capture, check->manifest.capture, sizeof(check->result->capture));
        check->result->key = check->manifest.key;
        err = read_small(check, signature_name, &signature, &read, fail);
        if (read) {
            check_signature(check, tb_buf_view(&text), tb_buf_view(&signature));
        }
    }
    tb_buf_release(&signature);
    tb_buf_release(&text);
    return err;
}

static enum tb_err
remember(void *arg, const struct tb_place_file *file, uint64_t offset, struct tb_bytes octets,
         struct tb_fail *fail)
{
    struct checking *check = arg;
    enum tb_err err = TB_OK;

    tb_mutex_lock(&check->mu);
    if (check->locked.count == check->locked.cap) {
        size_t cap = check->locked.cap == 0 ? 256 : 2 * check->locked.cap;
        struct range *more = reallocarray(check->locked.ranges, cap, sizeof(*more));

        if (more == NULL) {
            err = tb_fail_set(fail, TB_ENOMEM, "no memory for %zu reads", cap);
        } else {
            check->locked.ranges = more;
            check->locked.cap = cap;
        }
    }
    if (err == TB_OK) {
        check->locked.ranges[check->locked.count++] =
            (struct range){file, offset, offset + octets.len};
    }
    tb_mutex_unlock(&check->mu);
    return err;
}

/* The sink of the extract that is made anew. */
static enum tb_err
compare(void *arg, struct tb_bytes octets, struct tb_fail *fail)
{
    struct checking *check = arg;
    uint8_t *there = malloc(octets.len + 1);
    size_t same = 0;
    enum tb_err err;

    if (there == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to compare an extract");
    }
    err = tb_read_at(check->extract_fd, check->compared, there, octets.len, fail);
    if (err == TB_ESHORT) {
        check->differs = true;
    } else if (err == TB_OK && memcmp(there, octets.at, octets.len) != 0) {
        while (there[same] == octets.at[same]) {
            same++;
        }
        check->differs = true;
        err = TB_ECLOSED;
    }
    check->compared += err == TB_OK ? octets.len : same;
    free(there);
    return err;
}

static enum tb_err
check_length(struct checking *check, struct tb_fail *fail)
{
    struct stat st;

    if (fstat(check->extract_fd, &st) != 0) {
        return tb_fail_errno(fail, errno, "cannot look at the extract");
    }
    if ((uint64_t)st.st_size != check->compared) {
        tell(check, "", "hash", "it has %lld octets, the proof gives %llu",
             (long long)st.st_size, (unsigned long long)check->compared);
    }
    return TB_OK;
}

/* Nothing shows what stood there. */
static void
tell_missing(void *arg, const struct tb_missing *missing)
{
    struct checking *check = arg;
    struct tb_buf text = TB_BUF_INIT(TB_EVIDENCE_NAME_SIZE + 256);

    tb_missing_describe(missing, &text);
    tell(check, missing->segment, "hash", "%s: %s", tb_buf_str(&text), missing->why);
    tb_buf_release(&text);
}

/* The extract as the folder gives it. */
static enum tb_err
extract_again(struct checking *check, const struct tb_select *select, const char *filter,
              struct tb_fail *fail)
{
    char note[TB_PROOF_FILTER_MAX_BYTES + 16];
    struct tb_extract extract = {.select = select,
                                 .note = note,
                                 .threads = check->verify->threads,
                                 .sink = compare,
                                 .missing = tell_missing,
                                 .arg = check,
                                 .keep = remember,
                                 .keep_arg = check};
    struct tb_fail why = {.err = TB_OK};
    enum tb_err err;

    tb_proof_note(filter, note);
    err = tb_extract(check->place, check->list, &extract, &check->result->counts, &why);
    if (check->differs) {
        tell(check, "", "hash",
             "from octet %llu on it is not what the signed chunks and the filter give",
             (unsigned long long)check->compared);
        return TB_OK;
    }
    switch (err) {
    case TB_OK:
        return check_length(check, fail);
    case TB_EFORMAT: /* nothing can be read */
    case TB_ENOTFOUND:
    case TB_ESHORT:
    case TB_EINVAL:
    case TB_ETOOBIG:
        tell(check, "segments", "hash", "%s", why.text);
        return TB_OK;
    default:
        if (fail != NULL) {
            *fail = why;
        }
        return err;
    }
}

/* A segment that an earlier tapbox entered has no tree: only its whole file could be checked.
 */
static void
check_roots(struct checking *check)
{
    for (size_t i = 0; i < check->manifest.segment_count; i++) {
        const struct tb_evidence_file *segment = &check->manifest.segments[i];

        if (!segment->has_root) {
            tell(check, segment->name, "merkle",
                 "the manifest has no Merkle root of it: nothing vouches for its chunks");
        }
    }
}

static enum tb_err
check_extract(struct checking *check, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_PROOF_FILTER_MAX_BYTES + 1);
    struct tb_select *select = malloc(sizeof(*select));
    struct tb_fail why = {.err = TB_OK};
    bool read = false;
    enum tb_err err = select == NULL ? tb_fail_set(fail, TB_ENOMEM, "no memory for a filter")
                                     : read_small(check, filter_name, &text, &read, fail);

    if (read && (text.len == 0 || text.at[text.len - 1] != '\n')) {
        tell(check, filter_name, "format", "it is not one line");
    } else if (read) {
        text.at[--text.len] = '\0';
        tb_select_init(select);
        if (strlen((const char *)text.at) != text.len ||
            tb_select_parse(select, (const char *)text.at, &why) != TB_OK) {
            tell(check, filter_name, "format", "it is not a filter: %s", why.text);
        } else {
            memcpy(check->result->filter, text.at, text.len + 1);
            err = extract_again(check, select, check->result->filter, fail);
        }
    }
    free(select);
    tb_buf_release(&text);
    return err;
}

/* --- what nothing vouches for --- */

static int
by_place(const void *a, const void *b)
{
    const struct range *one = a, *two = b;

    if (one->file != two->file) {
        return one->file < two->file ? -1 : 1;
    }
    return one->offset < two->offset ? -1 : one->offset > two->offset;
}

/* *out_end is where the first octet that is not zero stands, or `to`. */
static enum tb_err
skip_zeros(struct tb_readable *file, uint64_t from, uint64_t to, uint8_t *block,
           uint64_t *out_end, struct tb_fail *fail)
{
    while (from < to) {
        size_t len = to - from < BLOCK_BYTES ? (size_t)(to - from) : BLOCK_BYTES;
        enum tb_err err = file->read(file->arg, from, block, len, fail);

        if (err != TB_OK) {
            return err;
        }
        if (block[0] != 0 || memcmp(block, block + 1, len - 1) != 0) {
            while (*block == 0) {
                block++;
                from++;
            }
            break;
        }
        from += len;
    }
    *out_end = from;
    return TB_OK;
}

/* Between what was read of a segment nothing may stand. */
static enum tb_err
check_gaps(struct checking *check, const struct tb_place_file *file, uint8_t *block,
           struct tb_fail *fail)
{
    struct tb_place_reader *reader = NULL;
    struct tb_readable readable;
    uint64_t at = 0, end;
    enum tb_err err = tb_place_reader_open(check->place, file, &reader, fail);

    if (err != TB_OK) {
        return err;
    }
    readable = tb_place_readable(reader);
    for (size_t i = 0; i <= check->locked.count && err == TB_OK; i++) {
        const struct range *range = i < check->locked.count ? &check->locked.ranges[i] : NULL;
        uint64_t to = range != NULL ? range->offset : file->bytes;

        if (range != NULL && range->file != file) {
            continue;
        }
        err = skip_zeros(&readable, at, to, block, &end, fail);
        if (err == TB_OK && at < to && end < to) {
            tell(check, file->name, "extra",
                 "octet %llu is not zero: nothing of the extract stands there",
                 (unsigned long long)end);
            break;
        }
        at = range != NULL && range->end > at ? range->end : at;
    }
    tb_place_reader_free(reader);
    return err;
}

static bool
belongs(const struct checking *check, const char *name)
{
    size_t len = strlen(name);

    if (strcmp(name, manifest_name) == 0 || strcmp(name, signature_name) == 0 ||
        strcmp(name, filter_name) == 0) {
        return true;
    }
    for (size_t i = 0; i < check->manifest.segment_count; i++) {
        if (strcmp(check->manifest.segments[i].name, name) == 0) {
            return true;
        }
    }
    return strncmp(name, "keys/", 5) == 0 && len > 4 && strcmp(name + len - 4, ".pem") == 0;
}

static enum tb_err
check_rest(struct checking *check, struct tb_fail *fail)
{
    uint8_t *block = malloc(BLOCK_BYTES);
    enum tb_err err =
        block == NULL ? tb_fail_set(fail, TB_ENOMEM, "no memory to read a proof") : TB_OK;

    if (check->locked.count > 0) {
        qsort(check->locked.ranges, check->locked.count, sizeof(*check->locked.ranges),
              by_place);
    }
    for (size_t i = 0; i < check->list->count && err == TB_OK; i++) {
        const struct tb_place_file *file = &check->list->at[i];

        if (file->kind == TB_PLACE_FOLDER) {
            continue;
        }
        if (file->kind != TB_PLACE_FILE || !belongs(check, file->name)) {
            tell(check, file->name, "extra", "it is no part of the proof");
        } else if (strncmp(file->name, "segments/", 9) == 0) {
            err = check_gaps(check, file, block, fail);
        }
    }
    free(block);
    return err;
}

enum tb_err
tb_proof_check(const struct tb_verify *verify, struct tb_place *proof,
               const struct tb_place_list *list, int extract_fd, struct tb_proof_result *out,
               struct tb_fail *fail)
{
    struct checking check = {.verify = verify,
                             .place = proof,
                             .list = list,
                             .result = out,
                             .extract_fd = extract_fd};
    bool known = false;
    enum tb_err err;

    *out = (struct tb_proof_result){.findings = 0};
    tb_mutex_init(&check.mu);
    err = check_manifest(&check, &known, fail);
    if (err == TB_OK && known) {
        check_roots(&check);
        err = check_extract(&check, fail);
    }
    /* (of what could not be read through nobody knows where it ends) */
    if (err == TB_OK && known && out->findings == 0) {
        err = check_rest(&check, fail);
    }
    tb_manifest_release(&check.manifest);
    free(check.locked.ranges);
    tb_mutex_release(&check.mu);
    return err;
}
