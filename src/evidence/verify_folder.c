/* The folder behind a check: what lies in it, what of it was asked for, what was found out. */
#include "verify_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* --- what lies there --- */

/* `entry` NULL: not a plain file.  `own_name` is taken. */
static enum tb_err
add(struct verify_job *job, const char *name, const struct tb_place_file *entry, char *own_name,
    struct tb_fail *fail)
{
    if (job->file_count == job->file_cap) {
        size_t cap = job->file_cap == 0 ? 64 : 2 * job->file_cap;
        struct verify_file *more = reallocarray(job->files, cap, sizeof(*more));

        if (more == NULL) {
            free(own_name);
            return tb_fail_set(fail, TB_ENOMEM, "no memory for the names of files");
        }
        job->files = more;
        job->file_cap = cap;
    }
    job->files[job->file_count++] = (struct verify_file){
        .name = own_name != NULL ? own_name : name, .entry = entry, .own_name = own_name};
    return TB_OK;
}

static bool
is_ours(const char *name, size_t len)
{
    static const char *const ours[] = {"segments", "alerts", "custody"};

    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (strlen(ours[i]) == len && memcmp(name, ours[i], len) == 0) {
            return true;
        }
    }
    return false;
}

/* What lies deeper than anything of ours is one stranger by the name of its folder; S3, which
 * has no folders, may have an object of that name besides. */
static enum tb_err
add_stranger(struct verify_job *job, const char *name, size_t len, struct tb_fail *fail)
{
    const char *mark = tb_place_is_remote(job->place) ? "/" : "";
    char *own = NULL;

    if (asprintf(&own, "%.*s%s", (int)len, name, mark) < 0) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the names of files");
    }
    return add(job, NULL, NULL, own, fail);
}

static enum tb_err
take_entry(struct verify_job *job, const struct tb_place_file *entry, size_t skip,
           struct tb_fail *fail)
{
    const char *name = entry->name + skip;
    size_t first = strcspn(name, "/");
    bool ours = is_ours(name, first);
    size_t second = name[first] == '\0' ? 0 : strcspn(name + first + 1, "/");
    bool is_deep = name[first] != '\0' && (!ours || name[first + 1 + second] != '\0');

    if (is_deep) {
        return add_stranger(job, name, ours ? first + 1 + second : first, fail);
    }
    if (entry->kind == TB_PLACE_FOLDER && ours && name[first] == '\0') {
        return TB_OK;
    }
    return add(job, name, entry->kind == TB_PLACE_FILE ? entry : NULL, NULL, fail);
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const struct verify_file *)a)->name, ((const struct verify_file *)b)->name);
}

/* Strangers come once for each file below them. */
static void
drop_doubles(struct verify_job *job)
{
    size_t kept = 0;

    for (size_t i = 0; i < job->file_count; i++) {
        if (kept > 0 && strcmp(job->files[kept - 1].name, job->files[i].name) == 0) {
            free(job->files[i].own_name);
        } else {
            job->files[kept++] = job->files[i];
        }
    }
    job->file_count = kept;
}

enum tb_err
verify_list(struct verify_job *job, struct tb_fail *fail)
{
    size_t skip = strlen(job->folder);
    char *from = NULL;
    enum tb_err err = TB_OK;

    if (asprintf(&from, "%s%s", job->folder, skip > 0 ? "/" : "") < 0) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the names of files");
    }
    skip = strlen(from);
    for (size_t i = tb_place_find_from(job->list, from);
         err == TB_OK && i < job->list->count &&
         strncmp(job->list->at[i].name, from, skip) == 0;
         i++) {
        err = take_entry(job, &job->list->at[i], skip, fail);
    }
    free(from);
    if (err == TB_OK && job->file_count > 0) {
        qsort(job->files, job->file_count, sizeof(*job->files), by_name);
        drop_doubles(job);
    }
    return err;
}

static struct verify_file *
look_up(struct verify_job *job, const char *name)
{
    struct verify_file key = {.name = name};

    return job->file_count == 0
               ? NULL
               : bsearch(&key, job->files, job->file_count, sizeof(key), by_name);
}

struct verify_file *
verify_find(struct verify_job *job, const char *name)
{
    struct verify_file *file = look_up(job, name);

    if (file != NULL) {
        file->is_expected = true;
    }
    return file;
}

struct verify_file *
verify_want(struct verify_job *job, const char *name)
{
    struct verify_file *file = verify_find(job, name);

    if (file == NULL) {
        verify_report(job, name, "missing", "it is not there");
        return NULL;
    }
    if (file->entry == NULL) {
        verify_report(job, name, "format", "it is not a plain file");
        return NULL;
    }
    return file;
}

/* --- what was found out --- */

bool
verify_is_reported(struct verify_job *job, const char *name)
{
    const struct verify_file *file = look_up(job, name);

    return file == NULL || file->is_reported;
}

static int
by_segment_name(const void *name, const void *segment)
{
    return strcmp(name, ((const struct tb_evidence_file *)segment)->name);
}

/* Where it belongs among the findings: by the part of the check that is on. */
static size_t
order_of(const struct verify_job *job, const char *name)
{
    const struct tb_evidence_file *all = job->manifest.segments;
    const struct tb_evidence_file *found =
        job->manifest.segment_count == 0
            ? NULL
            : bsearch(name, all, job->manifest.segment_count, sizeof(*all), by_segment_name);

    if (found != NULL) {
        return (size_t)(found - all) + 1;
    }
    return job->state == VERIFY_ENDING ? (size_t)VERIFY_ORDER_END : VERIFY_ORDER_BEGIN;
}

static bool
make_room(struct verify_job *job) TB_REQUIRES(job->mu)
{
    size_t cap = job->locked.cap == 0 ? 16 : 2 * job->locked.cap;
    struct verify_finding *more;

    if (job->locked.count < job->locked.cap) {
        return true;
    }
    more = reallocarray(job->locked.findings, cap, sizeof(*more));
    if (more == NULL) {
        return false;
    }
    job->locked.findings = more;
    job->locked.cap = cap;
    return true;
}

void
verify_report(struct verify_job *job, const char *name, const char *kind, const char *fmt, ...)
{
    struct verify_file *file = look_up(job, name);
    struct verify_finding finding = {.what = {.kind = kind}, .order = order_of(job, name)};
    size_t len = strlen(name) + 1;
    char sentence[512];
    va_list args;

    if (file != NULL && file->is_reported) {
        return;
    }
    if (file != NULL) {
        file->is_reported = true;
    }
    va_start(args, fmt);
    (void)vsnprintf(sentence, sizeof(sentence), fmt, args);
    va_end(args);
    finding.text = malloc(len + strlen(sentence) + 1);
    tb_mutex_lock(&job->mu);
    job->out->findings++; /* counted, also when there is no memory to tell it */
    if (finding.text != NULL && make_room(job)) {
        memcpy(finding.text, name, len);
        memcpy(finding.text + len, sentence, strlen(sentence) + 1);
        finding.what.file = finding.text;
        finding.what.text = finding.text + len;
        job->locked.findings[job->locked.count++] = finding;
        finding.text = NULL;
    }
    tb_mutex_unlock(&job->mu);
    free(finding.text);
}

/* Those of equal order stay in theirs: insertion. */
static void
sort_findings(struct verify_finding *list, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct verify_finding one = list[i];
        size_t at = i;

        for (; at > 0 && list[at - 1].order > one.order; at--) {
            list[at] = list[at - 1];
        }
        list[at] = one;
    }
}

void
verify_tell(struct verify_job *job)
{
    tb_mutex_lock(&job->mu);
    sort_findings(job->locked.findings, job->locked.count);
    for (size_t i = 0; i < job->locked.count; i++) {
        struct verify_finding *finding = &job->locked.findings[i];

        finding->what.capture = job->out->capture;
        job->verify->finding(job->verify->arg, &finding->what);
        free(finding->text);
    }
    job->locked.count = 0;
    tb_mutex_unlock(&job->mu);
}

void
verify_tell_extra(struct verify_job *job)
{
    for (size_t i = 0; i < job->file_count; i++) {
        if (!job->files[i].is_expected) {
            verify_report(job, job->files[i].name, "extra",
                          "it is no part of the evidence: nothing vouches for it");
        }
    }
}

void
verify_job_init(struct verify_job *job, const struct tb_verify *verify, struct tb_place *place,
                const struct tb_place_list *list, char *folder, struct tb_verified *out,
                atomic_ullong *progress)
{
    const char *slash = strrchr(folder, '/');

    *job = (struct verify_job){.verify = verify,
                               .place = place,
                               .list = list,
                               .folder = folder,
                               .name = slash != NULL       ? slash + 1
                                       : folder[0] != '\0' ? folder
                                                           : tb_place_name(place),
                               .progress = progress,
                               .out = out,
                               .text = TB_BUF_INIT(TB_MANIFEST_MAX_BYTES)};
    tb_mutex_init(&job->mu);
    (void)tb_str_copy(out->capture, sizeof(out->capture), job->name);
}

void
verify_job_release(struct verify_job *job)
{
    for (size_t i = 0; i < job->locked.count; i++) {
        free(job->locked.findings[i].text);
    }
    free(job->locked.findings);
    for (size_t i = 0; i < job->file_count; i++) {
        free(job->files[i].own_name);
    }
    free(job->files);
    free(job->folder);
    tb_manifest_release(&job->manifest);
    tb_buf_release(&job->text);
    tb_mutex_release(&job->mu);
}

/* --- reading --- */

bool
tb_verify_is_of_file(enum tb_err err)
{
    switch (err) {
    case TB_EIO:     /* a bad sector */
    case TB_EEXIST:  /* replaced meanwhile */
    case TB_ESHORT:  /* cut meanwhile */
    case TB_EINVAL:  /* in an archive that has to be restored first */
    case TB_EDENIED: /* its key may not be used, it may not be read */
    case TB_ENOTFOUND:
        return true;
    default:
        return false;
    }
}

enum tb_err
verify_unreadable(struct verify_job *job, const char *name, const struct tb_fail *why,
                  struct tb_fail *fail)
{
    if (tb_verify_is_of_file(why->err)) {
        verify_report(job, name, "unreadable", "%s", why->text);
        return TB_OK;
    }
    if (fail != NULL) {
        *fail = *why;
    }
    return why->err;
}

enum tb_err
verify_read(struct verify_job *job, const char *name, struct tb_buf *out, bool *out_read,
            struct tb_fail *fail)
{
    const struct verify_file *file = look_up(job, name);
    struct tb_fail why = {.text = ""};
    enum tb_err err = tb_place_read(job->place, file->entry, out, &why);

    *out_read = err == TB_OK;
    if (err == TB_OK) {
        atomic_fetch_add(job->progress, out->len);
    } else if (err == TB_ETOOBIG) {
        verify_report(job, name, "format", "it is larger than it can be");
        err = TB_OK;
    } else {
        err = verify_unreadable(job, name, &why, fail);
    }
    return err;
}

bool
verify_signature(const struct verify_job *job, struct tb_bytes text, struct tb_bytes signature,
                 bool *out_trusted)
{
    const struct tb_verify *verify = job->verify;
    bool found = false;

    *out_trusted = false;
    for (size_t i = 0; i < verify->key_count && !*out_trusted; i++) {
        if (tb_signature_check(&verify->keys[i].key, text, signature, NULL) == TB_OK) {
            found = true;
            *out_trusted = verify->keys[i].trusted;
        }
    }
    return found;
}
