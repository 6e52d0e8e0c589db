/* Evidence: the manifest of what a capture produced, and SHA256SUMS.  Pure: values in, bytes
 * out. */
#ifndef TAPBOX_EVIDENCE_H
#define TAPBOX_EVIDENCE_H

#include <tapbox/digest.h>
#include <tapbox/store.h>

struct tb_manifest_alert {
    struct tb_alert_row row;
    uint64_t bytes;
    struct tb_sha256 sha256;
};

struct tb_manifest_input { /* all borrowed */
    const struct tb_capture *capture;
    const struct tb_manifest_alert *alerts;
    size_t alert_count;
    const struct tb_segment_row *segments;
    size_t segment_count;
    const struct tb_resource *resources; /* gone ones included */
    size_t resource_count;
    const struct tb_ledger *host_ledger; /* of the capture's time; NULL: unknown */
    const char *host_name, *kernel, *account, *region;
    int64_t now_utc_ns;
};

/* Appends manifest.json (indented, ends with a newline). */
TB_NODISCARD enum tb_err tb_manifest_build(const struct tb_manifest_input *input,
                                           struct tb_buf *out, struct tb_fail *fail);
/* Appends one "<hex>  <name>\n" line as sha256sum -c reads it. */
void tb_sums_add(struct tb_buf *out, const struct tb_sha256 *sha256, const char *name);

#endif
