/* The manifest that a download and an extract go by, and who signed it. */
#include "retrieve_int.h"

#include <stdio.h>

#include <tapbox/ids.h>

/* What was signed, and by whom; TB_EFORMAT when it was not signed as it has to be. */
static enum tb_err
check_signature(const struct tb_retrieve_trust *trust, const struct tb_manifest *manifest,
                struct tb_bytes text, struct tb_bytes signature,
                struct tb_retrieve_checked *out, struct tb_fail *fail)
{
    enum tb_signed shows =
        tb_signature_judge(trust->keys, trust->key_count, &manifest->key, text, signature);

    if (shows == TB_SIGNED_BADLY) {
        return tb_fail_set(
            fail, TB_EFORMAT,
            "manifest.json: the signature does not hold: it is not what was signed "
            "with key %s",
            manifest->key.text);
    }
    if (trust->is_required && shows != TB_SIGNED_TRUSTED) {
        return tb_fail_set(fail, TB_EFORMAT,
                           "manifest.json names key %s, and that is none of those given",
                           manifest->key.text);
    }
    out->is_signed = shows != TB_SIGNED_UNKNOWN;
    out->is_trusted = shows == TB_SIGNED_TRUSTED;
    return TB_OK;
}

static enum tb_err
read_signature(struct tb_place *place, const struct tb_place_list *list, const char *name,
               const struct tb_retrieve_trust *trust, struct tb_buf *out, struct tb_fail *fail)
{
    const struct tb_place_file *file = tb_place_find(list, name);
    enum tb_err err = TB_ENOTFOUND;

    if (file != NULL) {
        err = tb_place_read(place, file, out, fail);
    }
    if (err == TB_ETOOBIG || (err == TB_ENOTFOUND && trust->is_required)) {
        err = tb_fail_set(fail, TB_EFORMAT, "manifest.sig is %s",
                          err == TB_ETOOBIG ? "larger than a signature is" : "not there");
    }
    return err;
}

/* A folder that has the name of a capture holds that one, and no other that was signed, too. */
static enum tb_err
check_capture(const struct tb_place *place, const char *folder, size_t folder_len,
              const struct tb_manifest *manifest, struct tb_fail *fail)
{
    char path[TB_EVIDENCE_NAME_SIZE * 2];
    const char *name = tb_place_name(place), *slash;

    if (folder_len > 0) {
        (void)snprintf(path, sizeof(path), "%.*s", (int)folder_len - 1, folder);
        slash = strrchr(path, '/');
        name = slash != NULL ? slash + 1 : path;
    }
    return !tb_capture_id_valid(name) || strcmp(name, manifest->capture) == 0
               ? TB_OK
               : tb_fail_set(fail, TB_EFORMAT,
                             "manifest.json is that of %s, which is not what lies in %s",
                             manifest->capture, name);
}

enum tb_err
retrieve_manifest(struct tb_place *place, const struct tb_place_list *list, const char *folder,
                  size_t folder_len, const struct tb_retrieve_trust *trust,
                  struct tb_manifest *out, struct tb_retrieve_checked *out_checked,
                  struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_MANIFEST_MAX_BYTES);
    struct tb_buf signature = TB_BUF_INIT(TB_SIGNATURE_SIZE);
    struct tb_retrieve_checked checked = {.by_manifest = false};
    char name[TB_EVIDENCE_NAME_SIZE * 2];
    const struct tb_place_file *file;
    enum tb_err err = TB_OK;

    (void)snprintf(name, sizeof(name), "%.*smanifest.json", (int)folder_len, folder);
    file = tb_place_find(list, name);
    if (file == NULL) {
        return trust->is_required
                   ? tb_fail_set(fail, TB_ENOTFOUND,
                                 "there is no manifest.json yet: nothing is signed")
                   : TB_OK;
    }
    err = tb_place_read(place, file, &text, fail);
    if (err == TB_OK) {
        err = tb_manifest_read(tb_buf_view(&text), out, fail);
    }
    if (err == TB_OK) {
        err = check_capture(place, folder, folder_len, out, fail);
    }
    if (err == TB_OK) {
        checked.by_manifest = true;
        checked.key = out->key;
        (void)snprintf(name, sizeof(name), "%.*smanifest.sig", (int)folder_len, folder);
        err = read_signature(place, list, name, trust, &signature, fail);
        if (err == TB_OK) {
            err = check_signature(trust, out, tb_buf_view(&text), tb_buf_view(&signature),
                                  &checked, fail);
        } else if (err == TB_ENOTFOUND) {
            err = TB_OK; /* it is signed last: that it lacks is told, and what is there comes */
        }
    }
    if (err == TB_OK) {
        *out_checked = checked;
    }
    tb_buf_release(&signature);
    tb_buf_release(&text);
    return err;
}

enum tb_err
retrieve_check_there(const struct tb_place_list *list, const char *folder, size_t folder_len,
                     const struct tb_evidence_file *files, size_t count, struct tb_fail *fail)
{
    char name[TB_EVIDENCE_NAME_SIZE * 2];

    for (size_t i = 0; i < count; i++) {
        const struct tb_place_file *file;

        (void)snprintf(name, sizeof(name), "%.*s%s", (int)folder_len, folder, files[i].name);
        file = tb_place_find(list, name);
        if (file == NULL || file->kind != TB_PLACE_FILE) {
            return tb_fail_set(fail, TB_EFORMAT, "%s, which the manifest names, is not there",
                               files[i].name);
        }
    }
    return TB_OK;
}
