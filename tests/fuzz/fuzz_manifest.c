/*
 * manifest.json as somebody may have written it.  What is accepted names only files inside the
 * folder, each once, and has its members within their bounds; what is refused says why.
 */
#include <assert.h>

#include <tapbox/ids.h>
#include <tapbox/verify.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_name(const char *name, const char *folder)
{
    assert(strncmp(name, folder, strlen(folder)) == 0);
    name += strlen(folder);
    assert(name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL);
    for (; *name != '\0'; name++) {
        assert((unsigned char)*name > 0x20 && (unsigned char)*name < 0x7f);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tb_manifest m;
    struct tb_fail fail = {0};

    if (tb_manifest_read(tb_bytes_of(data, size), &m, &fail) != TB_OK) {
        assert(fail.err != TB_OK && fail.text[0] != '\0');
        return 0;
    }
    assert(tb_capture_id_valid(m.capture));
    assert(strlen(m.key.text) == 64);
    assert(m.sequence >= 1 && m.has_previous == (m.sequence > 1) && m.custody_entries >= 1);
    for (size_t i = 0; i < m.segment_count; i++) {
        check_name(m.segments[i].name, "segments/");
        assert(i == 0 || strcmp(m.segments[i - 1].name, m.segments[i].name) < 0);
    }
    assert(m.alert_count <= TB_CAPTURE_MAX_ALERTS);
    for (size_t i = 0; i < m.alert_count; i++) {
        check_name(m.alerts[i].name, "alerts/");
    }
    tb_manifest_release(&m);
    return 0;
}
