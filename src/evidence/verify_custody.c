/* Custody logs: the chain through all objects, a capture's end in the manifest, signatures. */
#include "verify_int.h"

#include <stdio.h>

/* A capture's lies in a folder of its folder, a host's is the folder. */
static void
name_object(const struct verify_job *job, char out[TB_EVIDENCE_NAME_SIZE], unsigned number,
            const char *ending)
{
    (void)snprintf(out, TB_EVIDENCE_NAME_SIZE, "%s%04u.%s", job->is_log ? "" : "custody/",
                   number, ending);
}

/* A later object has a signature of its own. */
static enum tb_err
check_signature(struct verify_job *job, unsigned number, struct tb_bytes text,
                struct tb_fail *fail)
{
    struct tb_buf signature = TB_BUF_INIT(TB_SIGNATURE_SIZE);
    char name[TB_EVIDENCE_NAME_SIZE], signed_name[TB_EVIDENCE_NAME_SIZE];
    const struct verify_file *file;
    bool trusted = false, read = false;
    enum tb_err err = TB_OK;

    name_object(job, name, number, "sig");
    name_object(job, signed_name, number, "jsonl");
    file = verify_want(job, name);
    if (file == NULL) {
        return TB_OK;
    }
    if (file->entry->bytes != TB_SIGNATURE_SIZE) {
        verify_report(job, name, "signature", "it has %llu octets, a signature has %d",
                      (unsigned long long)file->entry->bytes, TB_SIGNATURE_SIZE);
        return TB_OK;
    }
    err = verify_read(job, name, &signature, &read, fail);
    if (read && (!verify_signature(job, text, tb_buf_view(&signature), &trusted) ||
                 (job->out->is_trusted && !trusted))) {
        verify_report(job, signed_name, "signature",
                      "its signature %04u.sig is not one of a known key over it", number);
    }
    tb_buf_release(&signature);
    return err;
}

/* Whether the first object ends where the manifest says. */
static void
check_end(struct verify_job *job, const struct tb_custody_reader *reader, const char *name)
{
    const struct tb_manifest *m = &job->manifest;

    if (reader->entries != m->custody_entries) {
        verify_report(job, name, "custody", "it has %lld entries, the manifest says %lld",
                      (long long)reader->entries, (long long)m->custody_entries);
    } else if (memcmp(&reader->head, &m->custody_head, sizeof(reader->head)) != 0) {
        verify_report(job, name, "custody",
                      "the hash of its last entry is not the one in the manifest");
    }
}

/* *in_order tells whether the entries could be followed up to here. */
static enum tb_err
check_object(struct verify_job *job, unsigned number, struct tb_custody_reader *reader,
             bool *in_order, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_CUSTODY_TEXT_MAX_BYTES);
    char name[TB_EVIDENCE_NAME_SIZE];
    struct tb_fail why = {0};
    bool read = false;
    enum tb_err err;

    name_object(job, name, number, "jsonl");
    if (verify_want(job, name) == NULL) {
        *in_order = false;
        return TB_OK;
    }
    err = verify_read(job, name, &text, &read, fail);
    if (!read) {
        *in_order = false;
        tb_buf_release(&text);
        return err;
    }
    if (number > 1 || job->is_log) {
        err = check_signature(job, number, tb_buf_view(&text), fail);
    }
    if (err == TB_OK && *in_order) {
        err = tb_custody_read(reader, tb_buf_view(&text), &why);
        if (err == TB_EFORMAT) {
            verify_report(job, name, "custody", "%s", why.text);
            *in_order = false;
            err = TB_OK;
        } else if (err == TB_OK && number == 1 && !job->is_log) {
            check_end(job, reader, name);
        } else if (err != TB_OK && fail != NULL) {
            *fail = why;
        }
    }
    tb_buf_release(&text);
    return err;
}

enum tb_err
verify_objects(struct verify_job *job, struct tb_custody_reader *reader, struct tb_fail *fail)
{
    /* a capture's second is always there: the manifest's signature is an act behind its end */
    unsigned sure = job->is_log ? 1 : 2;
    char name[TB_EVIDENCE_NAME_SIZE], signature[TB_EVIDENCE_NAME_SIZE];
    bool in_order = true;
    enum tb_err err = TB_OK;

    for (unsigned number = 1; err == TB_OK; number++) {
        name_object(job, name, number, "jsonl");
        name_object(job, signature, number, "sig");
        if (number > sure && verify_find(job, name) == NULL &&
            verify_find(job, signature) == NULL) {
            break;
        }
        err = check_object(job, number, reader, &in_order, fail);
        if (number > 1 || job->is_log) {
            (void)verify_find(job, signature); /* expected, with or without its object */
        }
    }
    job->out->custody_entries = reader->entries;
    return err;
}

enum tb_err
verify_custody(struct verify_job *job, struct tb_fail *fail)
{
    struct tb_custody_reader reader;

    tb_custody_reader_init(&reader, job->manifest.capture);
    return verify_objects(job, &reader, fail);
}
