/* The pipeline over a capture file: for tests, benchmarks, and captures made elsewhere. */
#include "lane_int.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/ids.h>
#include <tapbox/io.h>

enum {
    BATCH = 4096
};

/* --- first pass: who is in the file --- */

struct pairs {
    struct tb_record_source *at;
    uint32_t count;
    uint16_t port;
    bool too_many;
};

static bool
note_pair(void *arg, int64_t utc_ns, struct tb_bytes frame)
{
    struct pairs *pairs = arg;
    struct tb_record_source *source;
    struct tb_outer outer;

    (void)utc_ns;
    if (tb_outer_parse(frame, pairs->port, &outer) != TB_OUTER_VXLAN) {
        return true;
    }
    for (uint32_t i = 0; i < pairs->count; i++) {
        if (pairs->at[i].vni == outer.vxlan.vni &&
            memcmp(pairs->at[i].outer, outer.source, sizeof(outer.source)) == 0) {
            return true;
        }
    }
    if (pairs->count == TB_REPLAY_MAX_SOURCES) {
        pairs->too_many = true;
        return true;
    }
    source = &pairs->at[pairs->count];
    memset(source, 0, sizeof(*source));
    memcpy(source->outer, outer.source, sizeof(source->outer));
    source->vni = outer.vxlan.vni;
    (void)snprintf(source->eni, sizeof(source->eni), "vni-%u-%u", (unsigned)source->vni,
                   pairs->count);
    (void)snprintf(source->description, sizeof(source->description), "VNI %u",
                   (unsigned)source->vni);
    pairs->count++;
    return true;
}

static enum tb_err
read_all(struct tb_source *source, tb_packet_fn *packet, void *arg, struct tb_fail *fail)
{
    enum tb_err err;
    size_t count;

    do {
        err = source->ops->read(source, BATCH, packet, arg, &count, fail);
    } while (err == TB_OK);
    return err == TB_ECLOSED ? TB_OK : err;
}

static enum tb_err
find_pairs(const char *file, struct pairs *pairs, struct tb_fail *fail)
{
    struct tb_source *source = NULL;
    enum tb_err err;

    pairs->at = calloc(TB_REPLAY_MAX_SOURCES, sizeof(*pairs->at));
    if (pairs->at == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the sources of %s", file);
    }
    err = tb_source_replay_open(file, &source, fail);
    if (err == TB_OK) {
        err = read_all(source, note_pair, pairs, fail);
    }
    if (err == TB_OK && pairs->too_many) {
        err = tb_fail_set(fail, TB_ETOOBIG, "%s has more than %d sources: name those you want",
                          file, TB_REPLAY_MAX_SOURCES);
    }
    tb_source_close(source);
    return err;
}

/* --- second pass --- */

static enum tb_err
run(struct tb_lane *lane, struct tb_armed *armed, struct tb_fail *fail)
{
    struct tb_table *table = NULL;
    struct tb_fail of_file = {.err = TB_OK};
    enum tb_err err = tb_table_new(&armed, 1, &table, fail);

    if (err == TB_OK) {
        err = tb_lane_start_writer(lane, fail);
    }
    if (err == TB_OK) {
        err = tb_lanes_adopt(lane, 1, table, fail);
    }
    if (err == TB_OK) {
        err = tb_lane_read_all(lane, &of_file);
        /* What is whole before a fault in the file is kept, and the fault told. */
        tb_lane_look(lane, tb_clock_boot_ns(), true);
        if (err != TB_OK && fail != NULL) {
            *fail = of_file;
        }
    }
    tb_lane_stop(lane);
    tb_table_free(table);
    return err;
}

static void
fill_spec(const struct tb_replay_options *options, struct tb_record_spec *spec)
{
    memset(spec, 0, sizeof(*spec));
    (void)tb_str_copy(spec->host, sizeof(spec->host), "replay");
    (void)tb_str_copy(spec->reason, sizeof(spec->reason), "replay of a capture file");
    spec->deadline_boot_ns = INT64_MAX;
    spec->snaplen = options->snaplen;
    spec->rotate_bytes = options->rotate_bytes;
    spec->bpf = options->bpf;
    spec->bpf_count = options->bpf_count;
}

enum tb_err
tb_replay(const struct tb_replay_options *options, struct tb_replay_result *out,
          struct tb_fail *fail)
{
    struct tb_room room = {.spool_fd = -1, .level = options->level};
    struct pairs pairs = {.port = TB_VXLAN_PORT};
    struct tb_replay_result result = {.sources = options->source_count};
    struct tb_record_spec spec;
    struct tb_source *source = NULL;
    struct tb_armed *armed = NULL;
    struct tb_lane *lane = NULL;
    enum tb_err err = TB_OK;

    fill_spec(options, &spec);
    err = tb_capture_id_new(spec.capture_id, tb_clock_utc_ns() / TB_NS_PER_S);
    if (err == TB_OK && options->sources == NULL) {
        err = find_pairs(options->file, &pairs, fail);
        result.sources = pairs.count;
    }
    if (err == TB_OK) {
        err = tb_open_dir(AT_FDCWD, options->out_dir, 0770, &room.spool_fd, fail);
    }
    if (err == TB_OK) {
        err = tb_source_replay_open(options->file, &source, fail);
    }
    if (err != TB_OK) {
        goto out;
    }
    lane = calloc(1, sizeof(*lane));
    if (lane == NULL) {
        tb_source_close(source);
        err = tb_fail_set(fail, TB_ENOMEM, "no memory for a lane");
        goto out;
    }
    err = tb_lane_init(lane, 0, TB_VXLAN_PORT, source, options->slab_bytes, &room, fail);
    lane->wait_for_slabs = true;
    if (err == TB_OK) {
        err = tb_armed_new(&spec, options->sources != NULL ? options->sources : pairs.at,
                           result.sources, &lane->workspace, 1, &armed, fail);
    }
    if (err == TB_OK) {
        err = run(lane, armed, fail);
        (void)tb_str_copy(result.capture_id, sizeof(result.capture_id), spec.capture_id);
        tb_counters_read(lane->counters, &result.host);
        tb_armed_status(armed, &result.status);
        tb_host_add_capture(&result.host, &result.status.ledger, &(struct tb_ledger){0});
    }
    if (err == TB_OK) {
        *out = result;
    }

out:
    tb_armed_free(armed);
    if (lane != NULL) {
        tb_lane_release(lane);
    }
    free(lane);
    free(pairs.at);
    tb_close(&room.spool_fd);
    return err;
}
