/* An extract of whole evidence, and of evidence that lacks something. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/clock.h>
#include <tapbox/pcapng.h>
#include <tapbox/retrieve.h>

#include "../../support/evidence.h"

struct fixture {
    struct test_evidence evidence;
    char id[TB_CAPTURE_ID_SIZE], folder[160];
    struct tb_extract_counts counts;
    struct tb_fail fail;
    struct tb_buf file; /* the extract */
    struct tb_missing missing[8];
    size_t told;
};

static enum tb_err
take(void *arg, struct tb_bytes octets, struct tb_fail *fail)
{
    struct fixture *f = arg;

    tb_buf_put_bytes(&f->file, octets);
    return tb_buf_check(&f->file, "an extract", fail);
}

static void
take_missing(void *arg, const struct tb_missing *missing)
{
    struct fixture *f = arg;

    assert_true(f->told < 8);
    assert_true(missing->why[0] != '\0');
    f->missing[f->told++] = *missing;
}

/* What `filter` takes of what lies in the folder. */
static enum tb_err
extract_some(struct fixture *f, const char *folder, const char *filter, bool as_pcap)
{
    struct tb_select select;
    struct tb_extract want = {.select = &select,
                              .as_pcap = as_pcap,
                              .note = "a test",
                              .sink = take,
                              .missing = take_missing,
                              .arg = f};
    struct tb_place_list list = {.count = 0};
    struct tb_place *place = NULL;
    enum tb_err err;

    tb_select_init(&select);
    assert_int_equal(tb_select_parse(&select, filter, NULL), TB_OK);
    assert_int_equal(tb_place_open(folder, &place, NULL), TB_OK);
    assert_int_equal(tb_place_list(place, "", &list, NULL), TB_OK);
    tb_buf_reset(&f->file);
    f->told = 0;
    f->counts = (struct tb_extract_counts){.segments = 0};
    f->fail = (struct tb_fail){.err = TB_OK};
    err = tb_extract(place, &list, &want, &f->counts, &f->fail);
    if (err == TB_OK) {
        assert_int_equal(f->counts.missing, f->told);
    }
    tb_place_list_release(&list);
    tb_place_free(place);
    return err;
}

static enum tb_err
extract(struct fixture *f, const char *folder)
{
    return extract_some(f, folder, "--all", false);
}

/* A sealed capture of three segments. */
static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->file = (struct tb_buf)TB_BUF_INIT(64 << 20);
    test_evidence_open(&f->evidence);
    test_evidence_capture(&f->evidence, 1, 1, 3, f->id);
    assert_int_equal(test_evidence_seal(&f->evidence, f->id, 0, NULL), TB_OK);
    test_evidence_folder(&f->evidence, f->id, f->folder, sizeof(f->folder));
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    tb_buf_release(&f->file);
    test_evidence_close(&f->evidence);
    free(f);
    return 0;
}

static const char second[] = "segments/host-0-000002.pcapng.zst";

/* Chunk i of the second segment, as its index has it. */
static struct tb_segment_chunk
chunk_of_second(const struct fixture *f, size_t i, size_t *out_count)
{
    struct tb_segment_reader *reader = NULL;
    struct tb_segment_summary summary;
    struct tb_segment_chunk chunk;
    char path[256];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", f->folder, second);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(tb_segment_reader_open(fd, &reader, NULL), TB_OK);
    tb_segment_reader_summary(reader, &summary);
    *out_count = summary.chunk_count;
    assert_true(i < summary.chunk_count);
    chunk = *tb_segment_reader_chunk(reader, i);
    tb_segment_reader_free(reader);
    (void)close(fd);
    return chunk;
}

/* From `offset` of the second segment on; a length below 0 is counted from the end. */
static void
spoil(const struct fixture *f, int64_t offset)
{
    static const uint8_t other[4] = {0xde, 0xad, 0xbe, 0xef};
    char path[256];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", f->folder, second);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    if (offset < 0) {
        offset += lseek(fd, 0, SEEK_END);
    }
    assert_int_equal(pwrite(fd, other, sizeof(other), (off_t)offset), sizeof(other));
    (void)close(fd);
}

static struct tb_missing
expected(const struct tb_segment_chunk *chunk)
{
    struct tb_missing missing = {.offset = chunk->offset,
                                 .bytes = chunk->length,
                                 .from_utc_ns = chunk->info.first_utc_ns,
                                 .to_utc_ns = chunk->info.last_utc_ns,
                                 .packets = chunk->info.packets,
                                 .is_counted = true};

    return missing;
}

static void
assert_missing(const struct tb_missing *is, const struct tb_missing *should)
{
    assert_string_equal(is->segment, second);
    assert_int_equal(is->offset, should->offset);
    assert_int_equal(is->bytes, should->bytes);
    assert_int_equal(is->from_utc_ns, should->from_utc_ns);
    assert_int_equal(is->to_utc_ns, should->to_utc_ns);
    assert_int_equal(is->packets, should->packets);
    assert_int_equal(is->is_counted, should->is_counted);
}

/* How many blocks of the type; all are whole. */
static size_t
blocks_of(const struct fixture *f, uint32_t type, struct tb_pcapng_block *out_last)
{
    struct tb_bytes rest = tb_buf_view(&f->file);
    struct tb_pcapng_block block;
    size_t count = 0;

    while (rest.len > 0) {
        assert_int_equal(tb_pcapng_next(&rest, &block), TB_OK);
        if (block.type == type) {
            *out_last = block;
            count++;
        }
    }
    return count;
}

static void
remove_file(const char *folder, const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(unlink(path), 0);
}

static void
a_segment_that_is_not_there_is_told_and_the_others_are_read(void **state)
{
    struct fixture *f = *state;
    struct tb_pcapng_block block;
    uint64_t all;

    assert_int_equal(extract(f, f->folder), TB_OK);
    assert_int_equal(f->counts.segments, 3);
    assert_true(f->counts.checked.by_manifest);
    assert_int_equal(f->told, 0);
    assert_int_equal(blocks_of(f, TB_PCAPNG_ISB, &block), 0);
    all = f->counts.packets;

    remove_file(f->folder, second);
    assert_int_equal(extract(f, f->folder), TB_OK);
    assert_int_equal(f->told, 1);
    assert_string_equal(f->missing[0].segment, second);
    assert_int_equal(f->missing[0].offset, 0);
    assert_true(f->missing[0].bytes > 0 && f->missing[0].is_counted);
    assert_true(f->missing[0].from_utc_ns > 0);
    assert_true(f->missing[0].to_utc_ns > f->missing[0].from_utc_ns);
    assert_int_equal(f->counts.packets + f->missing[0].packets, all);
    assert_true(f->counts.packets > 0);
    /* from the folder above, too */
    assert_int_equal(extract(f, f->evidence.dir), TB_OK);
    assert_int_equal(f->told, 1);

    /* of what no manifest speaks about, what is there is taken */
    remove_file(f->folder, "manifest.json");
    assert_int_equal(extract(f, f->folder), TB_OK);
    assert_int_equal(f->counts.segments, 2);
    assert_int_equal(f->told, 0);
    assert_false(f->counts.checked.by_manifest);
}

static void
a_damaged_chunk_is_told_and_all_others_are_read(void **state)
{
    struct fixture *f = *state;
    struct tb_segment_chunk chunk;
    struct tb_missing missing;
    struct tb_pcapng_block block;
    size_t count;
    uint64_t all;

    assert_int_equal(extract(f, f->folder), TB_OK);
    all = f->counts.packets;
    chunk = chunk_of_second(f, 1, &count);
    assert_true(count > 2 && chunk.info.packets > 0);
    missing = expected(&chunk);
    spoil(f, (int64_t)(chunk.offset + chunk.length / 2));
    assert_int_equal(extract(f, f->folder), TB_OK);
    assert_int_equal(f->told, 1);
    assert_missing(&f->missing[0], &missing);
    assert_int_equal(f->counts.packets + missing.packets, all);
    assert_int_equal(blocks_of(f, TB_PCAPNG_EPB, &block), f->counts.packets);

    /* which stands in the file, too */
    assert_int_equal(blocks_of(f, TB_PCAPNG_ISB, &block), 1);
    assert_non_null(memmem(block.all.at, block.all.len, "missing: segments/host-0-000002", 31));
    assert_int_equal(extract_some(f, f->folder, "--all", true), TB_OK);
    assert_int_equal(f->told, 1);
    assert_int_equal(f->counts.packets + missing.packets, all);

    /* without a manifest, too */
    remove_file(f->folder, "manifest.json");
    assert_int_equal(extract(f, f->folder), TB_OK);
    assert_int_equal(f->told, 1);
    assert_missing(&f->missing[0], &missing);
}

/* With the description of the interfaces gone, the packets behind it are still there. */
static void
without_its_first_chunk_the_rest_of_a_segment_is_read(void **state)
{
    struct fixture *f = *state;
    struct tb_segment_chunk chunk;
    struct tb_missing missing;
    struct tb_pcapng_block block;
    size_t count;
    uint64_t all;

    assert_int_equal(extract(f, f->folder), TB_OK);
    all = f->counts.packets;
    chunk = chunk_of_second(f, 0, &count);
    missing = expected(&chunk);
    spoil(f, (int64_t)(chunk.offset + chunk.length / 2));
    assert_int_equal(extract(f, f->folder), TB_OK);
    assert_int_equal(f->told, 1);
    assert_missing(&f->missing[0], &missing);
    assert_int_equal(f->counts.packets + missing.packets, all);
    assert_int_equal(blocks_of(f, TB_PCAPNG_SHB, &block), 1);
    assert_int_equal(blocks_of(f, TB_PCAPNG_EPB, &block), f->counts.packets);
    assert_non_null(memmem(f->file.at, f->file.len, "unknown-0", 9));

    /* neighbours are one stretch */
    chunk = chunk_of_second(f, 1, &count);
    spoil(f, (int64_t)(chunk.offset + chunk.length / 2));
    missing.bytes += chunk.length;
    missing.packets += chunk.info.packets;
    missing.to_utc_ns = chunk.info.last_utc_ns;
    assert_int_equal(extract(f, f->folder), TB_OK);
    assert_int_equal(f->told, 1);
    assert_missing(&f->missing[0], &missing);
    assert_int_equal(f->counts.packets + missing.packets, all);
}

static void
a_segment_with_a_damaged_index_is_told_as_a_whole(void **state)
{
    struct fixture *f = *state;
    size_t count;
    uint64_t all;

    assert_int_equal(extract(f, f->folder), TB_OK);
    all = f->counts.packets;
    (void)chunk_of_second(f, 0, &count);
    spoil(f, -40);
    assert_int_equal(extract(f, f->folder), TB_OK);
    assert_int_equal(f->told, 1);
    assert_string_equal(f->missing[0].segment, second);
    assert_int_equal(f->missing[0].offset, 0);
    assert_int_equal(f->counts.packets + f->missing[0].packets, all);
    /* of what no manifest speaks about, nothing says what it held */
    remove_file(f->folder, "manifest.json");
    assert_int_equal(extract(f, f->folder), TB_OK);
    assert_int_equal(f->told, 1);
    assert_false(f->missing[0].is_counted);
    assert_int_equal(f->missing[0].from_utc_ns, 0);
}

static void
where_nothing_can_be_read_there_is_no_extract(void **state)
{
    struct fixture *f = *state;

    remove_file(f->folder, "segments/host-0-000001.pcapng.zst");
    remove_file(f->folder, "segments/host-0-000003.pcapng.zst");
    spoil(f, -40);
    assert_int_equal(extract(f, f->folder), TB_EFORMAT);
    assert_non_null(strstr(f->fail.text, second));
    assert_int_equal(f->told, 3);
    assert_int_equal(f->file.len, 0);
}

static void
what_is_not_wanted_is_not_missed(void **state)
{
    struct fixture *f = *state;
    struct tb_segment_chunk chunk;
    char filter[80], time[TB_TIME_TEXT_SIZE];
    size_t count;

    chunk = chunk_of_second(f, 1, &count);
    spoil(f, (int64_t)(chunk.offset + chunk.length / 2));
    tb_time_format_ns(time, chunk.info.last_utc_ns + 1);
    (void)snprintf(filter, sizeof(filter), "--since %s", time);
    assert_int_equal(extract_some(f, f->folder, filter, false), TB_OK);
    assert_true(f->counts.packets > 0);
    assert_int_equal(f->told, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_segment_that_is_not_there_is_told_and_the_others_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_chunk_is_told_and_all_others_are_read, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(without_its_first_chunk_the_rest_of_a_segment_is_read,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_segment_with_a_damaged_index_is_told_as_a_whole,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(where_nothing_can_be_read_there_is_no_extract, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_wanted_is_not_missed, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
