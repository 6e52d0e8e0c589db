/* An armed capture: what was asked, in the form the packet path wants it. */
#include "lane_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

enum {
    HEADER_MAX_BYTES = TB_CHUNK_BYTES /* of section and interface blocks: one chunk */
};

static enum tb_err
copy_filter(struct tb_armed *armed, const struct tb_record_spec *spec, struct tb_fail *fail)
{
    if (spec->bpf == NULL || spec->bpf_count == 0) {
        return TB_OK;
    }
    if (spec->bpf_count > TB_CAPTURE_MAX_BPF_INSNS) {
        return tb_fail_set(fail, TB_ETOOBIG, "the filter has %u instructions, %d are allowed",
                           spec->bpf_count, TB_CAPTURE_MAX_BPF_INSNS);
    }
    return tb_bpf_load(spec->bpf, spec->bpf_count, &armed->filter, fail);
}

static size_t
put_header(const struct tb_armed *armed, uint8_t *at, size_t cap)
{
    const struct tb_record_spec *spec = &armed->spec;
    struct utsname host;
    char os[160] = "Linux";
    size_t len, used;

    if (uname(&host) == 0) {
        (void)snprintf(os, sizeof(os), "%.70s %.70s", host.sysname, host.release);
    }
    used = tb_pcapng_put_section(
        at, cap,
        &(struct tb_pcapng_section){
            .capture_id = spec->capture_id,
            .case_id = spec->case_id,
            .finding_id = spec->finding_id,
            .finding_type = spec->finding_type,
            .reason = spec->reason,
            .application = "tapbox " TB_VERSION,
            .hardware = "",
            .os = os,
            .started_utc_ns = tb_clock_utc_ns(),
            .gap_from_utc_ns = atomic_load(&armed->shared->gap_from_utc_ns),
            .gap_to_utc_ns = atomic_load(&armed->shared->gap_to_utc_ns),
        });
    if (used == 0) {
        return 0;
    }
    for (uint32_t i = 0; i < spec->source_count; i++) {
        const struct tb_record_source *source = &armed->sources[i];
        struct tb_pcapng_interface interface = {
            .name = source->eni,
            .description = source->description,
            .filter = spec->bpf_text,
            .snaplen = spec->snaplen,
        };

        memcpy(interface.mac, source->mac, sizeof(interface.mac));
        len = tb_pcapng_put_interface(at + used, cap - used, &interface);
        if (len == 0) {
            return 0;
        }
        used += len;
    }
    return used;
}

/* Written once to find its size, then kept in exactly that much memory. */
static enum tb_err
build_header(struct tb_armed *armed, struct tb_fail *fail)
{
    uint8_t *all = malloc(HEADER_MAX_BYTES);
    uint8_t *exact;

    if (all == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the interface blocks");
    }
    armed->header_len = put_header(armed, all, HEADER_MAX_BYTES);
    if (armed->header_len == 0) {
        free(all);
        return tb_fail_set(fail, TB_ETOOBIG, "%u interface blocks do not fit into one chunk",
                           armed->spec.source_count);
    }
    exact = malloc(armed->header_len);
    if (exact != NULL) {
        memcpy(exact, all, armed->header_len);
    }
    free(all);
    armed->header = exact;
    return exact != NULL ? TB_OK
                         : tb_fail_set(fail, TB_ENOMEM, "no memory for the interface blocks");
}

static enum tb_err
init_stream(struct tb_stream *stream, struct tb_armed *armed, unsigned lane_index,
            struct tb_segment_workspace *workspace, struct tb_fail *fail)
{
    stream->armed = armed;
    stream->shared = &armed->shared->lanes[lane_index];
    stream->lane_index = lane_index;
    stream->writer.file.fd = -1;
    stream->writer.file.dir_fd = -1;
    stream->lane.gap = calloc(armed->spec.source_count, sizeof(*stream->lane.gap));
    if (stream->lane.gap == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for %u interfaces",
                           armed->spec.source_count);
    }
    return tb_segment_encoder_new_in(workspace, TB_LANE_SEGMENT_CHUNKS, &stream->writer.encoder,
                                     fail);
}

/* With the ledger that a dead recorder left; the first lane carries it on. */
static void
go_on(struct tb_armed *armed, const struct tb_record_base *base)
{
    struct tb_shared_capture *shared = armed->shared;
    struct tb_ledger ledger = base->ledger;

    if (base->known_utc_ns == 0) {
        return;
    }
    tb_ledger_settle(&ledger);
    tb_counters_set(&shared->base, &ledger);
    tb_counters_set(&shared->lanes[0].counters, &ledger);
    armed->streams[0].writer.handed_over = ledger;
    atomic_store(&shared->lanes[0].first_utc_ns, base->first_utc_ns);
    atomic_store(&shared->lanes[0].last_utc_ns, base->last_utc_ns);
    atomic_store(&shared->gap_from_utc_ns, base->known_utc_ns);
    atomic_store(&shared->gap_to_utc_ns, tb_clock_utc_ns());
    atomic_store(&armed->bytes_used, ledger.written_bytes);
    atomic_store(&armed->packets_used, ledger.written);
    if (armed->spec.max_packets != 0 && ledger.written >= armed->spec.max_packets) {
        atomic_store(&shared->budget_spent, TB_BUDGET_PACKETS);
    }
}

enum tb_err
tb_armed_new(const struct tb_record_spec *spec, const struct tb_record_source *sources,
             uint32_t source_count, struct tb_segment_workspace *const *workspaces,
             unsigned lane_count, struct tb_armed **out, struct tb_fail *fail)
{
    struct tb_armed *armed = calloc(1, sizeof(*armed));
    enum tb_err err;

    if (armed == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a capture");
    }
    armed->spec = *spec;
    armed->spec.bpf = NULL;
    armed->spec.source_count = source_count;
    armed->lane_count = lane_count;
    atomic_store(&armed->deadline_boot_ns, spec->deadline_boot_ns);
    armed->own = aligned_alloc(TB_CACHE_LINE, sizeof(*armed->own));
    if (armed->own == NULL) {
        err = tb_fail_set(fail, TB_ENOMEM, "no memory for a capture's counters");
        goto out;
    }
    memset(armed->own, 0, sizeof(*armed->own));
    armed->shared = armed->own;
    atomic_store(&armed->shared->lane_count, lane_count);
    go_on(armed, &spec->base);
    armed->sources = calloc(source_count, sizeof(*armed->sources));
    if (armed->sources == NULL) {
        err = tb_fail_set(fail, TB_ENOMEM, "no memory for %u sources", source_count);
        goto out;
    }
    memcpy(armed->sources, sources, source_count * sizeof(*armed->sources));
    err = copy_filter(armed, spec, fail);
    if (err != TB_OK) {
        goto out;
    }
    err = build_header(armed, fail);
    for (unsigned i = 0; i < lane_count && err == TB_OK; i++) {
        err = init_stream(&armed->streams[i], armed, i, workspaces[i], fail);
    }
    if (err != TB_OK) {
        goto out;
    }
    *out = armed;
    armed = NULL;

out:
    tb_armed_free(armed);
    return err;
}

void
tb_armed_free(struct tb_armed *armed)
{
    if (armed == NULL) {
        return;
    }
    for (unsigned i = 0; i < armed->lane_count; i++) {
        free(armed->streams[i].lane.gap);
        tb_segment_encoder_free(armed->streams[i].writer.encoder);
    }
    free(armed->sources);
    free(armed->filter);
    free(armed->header);
    free(armed->own);
    free(armed);
}

bool
tb_armed_is_closed(const struct tb_armed *armed)
{
    for (unsigned i = 0; i < armed->lane_count; i++) {
        if (atomic_load(&armed->shared->lanes[i].state) != TB_STREAM_CLOSED) {
            return false;
        }
    }
    return true;
}

void
tb_armed_status(const struct tb_armed *armed, struct tb_record_status *out)
{
    tb_shared_status(armed->shared, out);
}

void
tb_armed_share(struct tb_armed *armed, struct tb_shared_capture *place)
{
    tb_shared_set(place, armed->spec.capture_id, armed->shared);
    armed->shared = place;
    for (unsigned i = 0; i < armed->lane_count; i++) {
        armed->streams[i].shared = &place->lanes[i];
    }
}
