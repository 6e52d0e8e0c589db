/*
 * An extract: what is wanted is read ahead by threads in the order in which the merge will want
 * it; what it wants and nobody has begun to read it reads by itself, so it never waits for
 * room.
 *
 * Threads: the caller's merges and writes; up to RETRIEVE_THREADS_MOST others open segments
 * first, and then read runs.  A segment belongs to one thread until all are open, and to the
 * caller's from then on; `locked` is shared.
 */
#include "retrieve_int.h"

#include <stdlib.h>

#include <tapbox/clock.h>

enum {
    AHEAD_MAX_BYTES = 64 << 20,   /* read and not yet wanted */
    OUT_BYTES = 1 << 20,          /* given to the sink at a time */
    PCAP_MAGIC = (int)0xa1b2c3d4, /* microseconds: what the oldest reader knows */
    PCAP_SNAPLEN = 262144
};
static const int64_t progress_every_ns = TB_NS_PER_S / 5;

/* `len` octets of a run, from its octet `from` on. */
static enum tb_err
read_piece(const struct retrieve_work *work, const struct retrieve_run *run,
           struct tb_readable *file, size_t from, size_t len, uint8_t *at, struct tb_fail *fail)
{
    enum tb_err err = file->read(file->arg, run->offset + from, at + from, len, fail);

    return err == TB_OK ? retrieve_keep(work->extract, run->segment->file, run->offset + from,
                                        at + from, len, fail)
                        : err;
}

/* What the disk gives of it: a chunk that it does not give is zeros, which no chunk is. */
static enum tb_err
read_chunks(const struct retrieve_work *work, const struct retrieve_run *run,
            struct tb_readable *file, uint8_t *at, struct tb_fail *why, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    for (size_t i = run->first; i < run->first + run->count && err == TB_OK; i++) {
        const struct tb_segment_chunk *chunk = tb_segment_reader_chunk(run->segment->reader, i);
        size_t from = (size_t)(chunk->offset - run->offset);

        err = read_piece(work, run, file, from, (size_t)chunk->length, at, fail);
        if (tb_missing_is_damage(work->place, err)) {
            memset(at + from, 0, (size_t)chunk->length);
            *why = *fail;
            err = TB_OK;
        }
    }
    return err;
}

/* Reads a run that this thread has taken. */
static void
read_run(struct retrieve_work *work, struct retrieve_run *run)
{
    struct tb_place_reader *reader = NULL;
    struct tb_fail fail = {0}, why = {0};
    uint8_t *at = malloc(run->len);
    enum tb_err err =
        at == NULL ? tb_fail_set(&fail, TB_ENOMEM, "no memory for %zu octets", run->len)
                   : tb_place_reader_open(work->place, run->segment->file, &reader, &fail);

    if (err == TB_OK && at != NULL) {
        struct tb_readable file = tb_place_readable(reader);

        err = read_piece(work, run, &file, 0, run->len, at, &fail);
        if (tb_missing_is_damage(work->place, err)) {
            err = read_chunks(work, run, &file, at, &why, &fail);
        }
    }
    tb_place_reader_free(reader);
    tb_mutex_lock(&work->mu);
    run->at = at;
    run->state = err == TB_OK ? RUN_READ : RUN_FAILED;
    run->fail = err == TB_OK ? why : fail;
    tb_cond_broadcast(&work->changed);
    tb_mutex_unlock(&work->mu);
}

static struct retrieve_run *
next_locked(struct retrieve_work *work) TB_REQUIRES(work->mu)
{
    while (work->locked.next < work->run_count &&
           work->order[work->locked.next]->state != RUN_WAITING) {
        work->locked.next++;
    }
    return work->locked.next < work->run_count ? work->order[work->locked.next] : NULL;
}

static void *
read_ahead(void *arg)
{
    struct retrieve_work *work = arg;
    struct retrieve_run *run;

    tb_mutex_lock(&work->mu);
    while (!work->locked.stopping && (run = next_locked(work)) != NULL) {
        if (work->locked.ahead_bytes > AHEAD_MAX_BYTES) {
            tb_cond_wait(&work->changed, &work->mu);
            continue;
        }
        run->state = RUN_TAKEN;
        work->locked.ahead_bytes += run->len;
        tb_mutex_unlock(&work->mu);
        read_run(work, run);
        tb_mutex_lock(&work->mu);
    }
    tb_mutex_unlock(&work->mu);
    return NULL;
}

static void
tell_progress(struct retrieve_work *work)
{
    int64_t now = tb_clock_boot_ns();

    if (work->extract->progress != NULL && now - work->told_boot_ns >= progress_every_ns) {
        work->told_boot_ns = now;
        work->extract->progress(work->extract->arg, work->done_bytes, work->total_bytes);
    }
}

/* Until the run is there. */
static enum tb_err
await_run(struct retrieve_work *work, struct retrieve_run *run, struct tb_fail *fail)
{
    bool mine;

    tb_mutex_lock(&work->mu);
    mine = run->state == RUN_WAITING;
    if (mine) {
        run->state = RUN_TAKEN;
        work->locked.ahead_bytes += run->len;
    }
    tb_mutex_unlock(&work->mu);
    if (mine) {
        read_run(work, run);
    }
    tb_mutex_lock(&work->mu);
    while (run->state == RUN_TAKEN) {
        (void)tb_cond_wait_for(&work->changed, &work->mu, progress_every_ns);
        tell_progress(work);
    }
    tb_mutex_unlock(&work->mu);
    if (run->state == RUN_FAILED) {
        if (fail != NULL) {
            *fail = run->fail;
        }
        tb_fail_prefix(fail, "%s", run->segment->file->name);
        return run->fail.err;
    }
    return TB_OK;
}

static void
finish_run(struct retrieve_work *work, struct retrieve_run *run)
{
    tb_mutex_lock(&work->mu);
    free(run->at);
    run->at = NULL;
    run->state = RUN_DONE;
    work->locked.ahead_bytes -= run->len;
    tb_cond_broadcast(&work->changed);
    tb_mutex_unlock(&work->mu);
    work->done_bytes += run->len;
    work->counts.bytes_read += run->len;
    run->segment->run = NULL;
}

/* --- the merge --- */

static bool
has_more(const struct retrieve_lane *lane)
{
    return lane->next_run < lane->run_count;
}

/* A chunk that is not what the index says. */
static enum tb_err
lose_chunk(struct retrieve_work *work, const struct retrieve_run *run, size_t i,
           const struct tb_fail *why, struct tb_fail *fail)
{
    struct retrieve_segment *segment = run->segment;
    const struct tb_segment_chunk *chunk = tb_segment_reader_chunk(segment->reader, i);
    struct tb_missing missing = {
        .offset = chunk->offset, .bytes = chunk->length, .is_counted = true};

    if (tb_select_may_take(work->extract->select, segment->reader, i)) { /* not only a header */
        missing.from_utc_ns = chunk->info.first_utc_ns;
        missing.to_utc_ns = chunk->info.last_utc_ns;
        missing.packets = chunk->info.packets;
    }
    (void)tb_str_copy(missing.segment, sizeof(missing.segment), retrieve_segment_name(segment));
    (void)tb_str_copy(missing.why, sizeof(missing.why),
                      run->fail.err != TB_OK ? run->fail.text : why->text);
    segment->is_headless = segment->is_headless || i == 0;
    return tb_missing_add(&work->missing, &missing, fail);
}

static enum tb_err
feed_blocks(struct retrieve_work *work, size_t index, const struct retrieve_segment *segment,
            struct tb_fail *fail)
{
    struct tb_bytes blocks = tb_buf_view(&work->lanes[index].blocks);
    struct tb_buf head = TB_BUF_INIT(RETRIEVE_CHUNK_MAX_BYTES);
    enum tb_err err = TB_OK;

    if (segment->is_headless) {
        err = tb_segment_unknown_head(blocks, &head, fail);
        if (err == TB_OK) {
            err = tb_merge_feed(work->merge, index, tb_buf_view(&head), fail);
        }
        tb_buf_release(&head);
    }
    return err == TB_OK ? tb_merge_feed(work->merge, index, blocks, fail) : err;
}

/* Gives the merge the lane's next chunk. */
static enum tb_err
feed(struct retrieve_work *work, size_t index, struct tb_fail *fail)
{
    struct retrieve_lane *lane = &work->lanes[index];
    struct retrieve_run *run = &lane->runs[lane->next_run];
    struct retrieve_segment *segment = run->segment;
    struct tb_fail why = {0};
    enum tb_err err = TB_OK;

    if (lane->next_chunk == 0) {
        err = await_run(work, run, fail);
        if (err != TB_OK) {
            return err;
        }
        segment->run = run;
    }
    tb_buf_reset(&lane->blocks);
    err = tb_segment_reader_read(segment->reader, run->first + lane->next_chunk, &lane->blocks,
                                 &why);
    if (err == TB_EFORMAT) {
        err = lose_chunk(work, run, run->first + lane->next_chunk, &why, fail);
    } else if (err == TB_OK) {
        err = feed_blocks(work, index, segment, fail);
    } else if (fail != NULL) {
        *fail = why;
    }
    if (err != TB_OK) {
        tb_fail_prefix(fail, "%s", segment->file->name);
        return err;
    }
    if (++lane->next_chunk == run->count) {
        lane->next_chunk = 0;
        lane->next_run++;
        finish_run(work, run);
        if (!has_more(lane) || lane->runs[lane->next_run].segment != segment) {
            tb_segment_reader_free(segment->reader);
            segment->reader = NULL;
        }
    }
    tell_progress(work);
    return TB_OK;
}

/* The lane whose next run is wanted now: its packets may come before the next one that is
 * there; lane_count when there is none. */
static size_t
wanted_lane(const struct retrieve_work *work)
{
    size_t found = work->lane_count;
    int64_t found_utc_ns = 0;
    struct tb_merge_packet next;
    bool has_next = tb_merge_peek(work->merge, &next);

    for (size_t i = 0; i < work->lane_count; i++) {
        const struct retrieve_lane *lane = &work->lanes[i];

        if (has_more(lane) && tb_merge_is_dry(work->merge, i)) {
            int64_t at =
                lane->next_chunk > 0 ? INT64_MIN : lane->runs[lane->next_run].wanted_utc_ns;

            if ((!has_next || at <= next.packet.utc_ns) &&
                (found == work->lane_count || at < found_utc_ns)) {
                found = i;
                found_utc_ns = at;
            }
        }
    }
    return found;
}

static enum tb_err
flush(struct retrieve_work *work, struct tb_fail *fail)
{
    enum tb_err err = tb_buf_check(&work->out, "the extract", fail);

    if (err == TB_OK && work->out.len > 0) {
        err = work->extract->sink(work->extract->arg, tb_buf_view(&work->out), fail);
    }
    tb_buf_reset(&work->out);
    return err;
}

static void
put_pcap_head(struct tb_buf *out)
{
    tb_buf_put_le32(out, (uint32_t)PCAP_MAGIC);
    tb_buf_put_le16(out, 2);
    tb_buf_put_le16(out, 4);
    tb_buf_put_le64(out, 0);
    tb_buf_put_le32(out, PCAP_SNAPLEN);
    tb_buf_put_le32(out, TB_PCAPNG_LINKTYPE_ETHERNET);
}

static void
put_pcap_packet(struct tb_buf *out, const struct tb_merge_packet *packet)
{
    tb_buf_put_le32(out, (uint32_t)(packet->packet.utc_ns / TB_NS_PER_S));
    tb_buf_put_le32(out, (uint32_t)(packet->packet.utc_ns % TB_NS_PER_S / 1000));
    tb_buf_put_le32(out, packet->packet.captured);
    tb_buf_put_le32(out, packet->packet.original);
    tb_buf_put_bytes(out, packet->frame);
}

static void
put_packet(struct retrieve_work *work, const struct tb_merge_packet *packet)
{
    struct tb_extract_counts *counts = &work->counts;

    if (work->extract->as_pcap) {
        put_pcap_packet(&work->out, packet);
    } else {
        tb_merge_put_packet(work->merge, &work->out);
    }
    if (counts->packets++ == 0) {
        counts->first_utc_ns = packet->packet.utc_ns;
    }
    counts->last_utc_ns = packet->packet.utc_ns;
}

/* One block a stretch, behind all packets: what is missing is known only then. */
static enum tb_err
put_missing(struct retrieve_work *work, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_PCAPNG_MAX_TEXT);
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < work->missing.count && err == TB_OK; i++) {
        uint8_t block[TB_PCAPNG_MAX_TEXT + TB_PCAPNG_MAX_STATISTICS];

        tb_buf_reset(&text);
        tb_buf_put_str(&text, "missing: ");
        tb_missing_describe(&work->missing.at[i], &text);
        tb_buf_put(&work->out, block,
                   tb_pcapng_put_remark(block, sizeof(block), 0, work->counts.last_utc_ns,
                                        tb_buf_str(&text)));
        if (work->out.len >= OUT_BYTES) {
            err = flush(work, fail);
        }
    }
    tb_buf_release(&text);
    return err;
}

static enum tb_err
write_all(struct retrieve_work *work, struct tb_fail *fail)
{
    struct tb_merge_packet packet;
    enum tb_err err = TB_OK;

    if (work->extract->as_pcap) {
        put_pcap_head(&work->out);
    }
    for (;;) {
        size_t lane = wanted_lane(work);

        if (lane < work->lane_count) {
            err = feed(work, lane, fail);
        } else if (tb_merge_peek(work->merge, &packet)) {
            work->counts.packets_read++;
            if (tb_select_takes(work->extract->select, packet.packet.utc_ns, packet.frame)) {
                put_packet(work, &packet);
            }
            err = tb_merge_pass(work->merge, fail);
        } else {
            break;
        }
        if (err == TB_OK && work->out.len >= OUT_BYTES) {
            err = flush(work, fail);
        }
        if (err != TB_OK) {
            return err;
        }
    }
    if (!work->extract->as_pcap) {
        size_t before = work->out.len;

        tb_merge_put_header(work->merge, &work->out); /* also when nothing is wanted */
        if (work->counts.packets == 0 && work->out.len == before) {
            return tb_fail_set(fail, TB_EFORMAT,
                               "nothing of what is wanted can be read; %s: %s",
                               work->missing.at[0].segment, work->missing.at[0].why);
        }
        err = put_missing(work, fail);
        if (err != TB_OK) {
            return err;
        }
    }
    return flush(work, fail);
}

static enum tb_err
read_header_of(struct retrieve_work *work, struct retrieve_segment *segment,
               struct tb_fail *fail)
{
    struct tb_buf *blocks = &work->lanes[segment->lane].blocks;
    enum tb_err err = retrieve_segment_open(work, segment, fail);

    if (err == TB_OK) {
        err = tb_segment_reader_read(segment->reader, 0, blocks, fail);
    }
    if (err == TB_OK) {
        err = tb_merge_feed(work->merge, segment->lane, tb_buf_view(blocks), fail);
    }
    retrieve_segment_close(segment);
    return err;
}

/* Nothing is wanted of any segment: the file still says whose it is. */
static enum tb_err
read_one_header(struct retrieve_work *work, struct tb_fail *fail)
{
    enum tb_err err = TB_EFORMAT;

    for (size_t i = 0; i < work->segment_count && err != TB_OK; i++) {
        if (work->segments[i].damage.err == TB_OK) {
            err = read_header_of(work, &work->segments[i], fail);
            if (err != TB_OK && !tb_missing_is_damage(work->place, err)) {
                return err;
            }
        }
    }
    return err;
}

static void
release(struct retrieve_work *work)
{
    tb_mutex_lock(&work->mu);
    work->locked.stopping = true;
    tb_cond_broadcast(&work->changed);
    tb_mutex_unlock(&work->mu);
    retrieve_join(work);
    for (size_t i = 0; i < work->run_count; i++) {
        free(work->runs[i].at);
    }
    for (size_t i = 0; i < work->segment_count; i++) {
        tb_segment_reader_free(work->segments[i].reader);
    }
    for (size_t i = 0; i < work->lane_count; i++) {
        tb_buf_release(&work->lanes[i].blocks);
    }
    free(work->runs);
    free(work->order);
    free(work->segments);
    tb_missing_release(&work->missing);
    tb_manifest_release(&work->manifest);
    tb_merge_free(work->merge);
    tb_buf_release(&work->out);
    tb_cond_release(&work->changed);
    tb_mutex_release(&work->mu);
    free(work);
}

enum tb_err
tb_extract(struct tb_place *place, const struct tb_place_list *list,
           const struct tb_extract *extract, struct tb_extract_counts *out,
           struct tb_fail *fail)
{
    struct retrieve_work *work = calloc(1, sizeof(*work));
    enum tb_err err;

    if (work == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for an extract");
    }
    work->place = place;
    work->extract = extract;
    work->out = (struct tb_buf)TB_BUF_INIT(OUT_BYTES + RETRIEVE_CHUNK_MAX_BYTES);
    tb_mutex_init(&work->mu);
    tb_cond_init(&work->changed);
    err = tb_merge_new(&work->merge, fail);
    if (err == TB_OK) {
        tb_merge_note(work->merge, extract->note);
        err = retrieve_plan(work, list, fail);
    }
    if (err == TB_OK && work->run_count == 0 && !extract->as_pcap) {
        err = read_one_header(work, fail);
    }
    if (err == TB_OK) {
        retrieve_start(work, read_ahead, work->run_count);
        err = write_all(work, fail);
    }
    for (size_t i = 0; i < work->missing.count && extract->missing != NULL; i++) {
        extract->missing(extract->arg, &work->missing.at[i]);
    }
    work->counts.missing = work->missing.count;
    if (err == TB_OK) {
        *out = work->counts;
    }
    release(work);
    return err;
}
