/*
 * Extracts with their proofs: what was fetched holds; whatever is done to the extract or to any
 * file of its proof is found, and the file it was done to is named.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/proof.h>

#include "../../support/evidence.h"

enum {
    FLIPS = 600,
    FOUND = 16
};
static const char filter[] = "--since 2000-01-01T00:00:00Z --all";

struct fixture {
    struct test_evidence evidence;
    struct tb_verify_key key;
    char id[TB_CAPTURE_ID_SIZE];
    char extract[200], proof[220];
    int out_fd;
    char file[FOUND][160];
    size_t count;
    uint64_t random;
};

static uint64_t
next_random(struct fixture *f)
{
    f->random ^= f->random << 13;
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return f->random;
}

static enum tb_err
write_out(void *arg, struct tb_bytes octets, struct tb_fail *fail)
{
    const struct fixture *f = arg;

    return tb_write_all(f->out_fd, octets, fail);
}

/* Fetches what `text` wants of what lies in `folder`, with its proof. */
static void
fetch_from(struct fixture *f, const char *folder, const char *text)
{
    struct tb_select select;
    char note[TB_PROOF_FILTER_MAX_BYTES + 16];
    struct tb_extract want = {.select = &select, .note = note, .sink = write_out, .arg = f};
    struct tb_extract_counts counts;
    struct tb_place_list list = {.count = 0};
    struct tb_place *place = NULL;
    struct tb_fail fail = {0};
    int fd;

    tb_select_init(&select);
    tb_proof_note(text, note);
    assert_int_equal(tb_select_parse(&select, text, NULL), TB_OK);
    assert_int_equal(tb_place_open(folder, &place, NULL), TB_OK);
    assert_int_equal(tb_place_list(place, "", &list, NULL), TB_OK);
    assert_int_equal(tb_open_dir(AT_FDCWD, f->proof, 0700, &fd, NULL), TB_OK);
    f->out_fd = open(f->extract, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(f->out_fd >= 0);
    if (tb_proof_make(place, &list, &want, text, fd, &counts, &fail) != TB_OK) {
        fail_msg("%s", fail.text);
    }
    tb_close(&f->out_fd);
    tb_close(&fd);
    tb_place_list_release(&list);
    tb_place_free(place);
}

static void
fetch(struct fixture *f, const char *text)
{
    char folder[160];

    test_evidence_folder(&f->evidence, f->id, folder, sizeof(folder));
    fetch_from(f, folder, text);
}

static void
on_finding(void *arg, const struct tb_finding *finding)
{
    struct fixture *f = arg;

    assert_true(finding->text[0] != 0);
    if (f->count < FOUND) {
        (void)snprintf(f->file[f->count++], sizeof(f->file[0]), "%s", finding->file);
    }
}

static struct tb_proof_result
check(struct fixture *f)
{
    struct tb_verify verify = {
        .keys = &f->key, .key_count = 1, .threads = 1, .finding = on_finding, .arg = f};
    struct tb_place_list list = {.count = 0};
    struct tb_place *place = NULL;
    struct tb_proof_result result;
    struct tb_fail fail = {0};
    int fd = open(f->extract, O_RDONLY | O_CLOEXEC);

    f->count = 0;
    assert_true(fd >= 0);
    assert_int_equal(tb_place_open(f->proof, &place, NULL), TB_OK);
    assert_int_equal(tb_place_list(place, "", &list, NULL), TB_OK);
    if (tb_proof_check(&verify, place, &list, fd, &result, &fail) != TB_OK) {
        fail_msg("%s", fail.text);
    }
    assert_int_equal(result.findings, f->count);
    tb_close(&fd);
    tb_place_list_release(&list);
    tb_place_free(place);
    return result;
}

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->random = 0x9e3779b97f4a7c15;
    test_evidence_open(&f->evidence);
    f->key.key = *tb_signing_key_public(f->evidence.key);
    (void)strcpy(f->key.fingerprint.text, tb_signing_key_fingerprint(f->evidence.key));
    f->key.trusted = true;
    test_evidence_capture(&f->evidence, 1, 1, 3, f->id);
    assert_int_equal(test_evidence_seal(&f->evidence, f->id, 0, NULL), TB_OK);
    (void)snprintf(f->extract, sizeof(f->extract), "%s/x.pcapng", f->evidence.dir);
    (void)snprintf(f->proof, sizeof(f->proof), "%s/x.pcapng.proof", f->evidence.dir);
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    test_evidence_close(&f->evidence);
    free(f);
    return 0;
}

static void
an_extract_holds_with_its_proof_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    struct tb_proof_result result;
    char folder[160];

    fetch(f, filter);
    test_evidence_folder(&f->evidence, f->id, folder, sizeof(folder));
    test_remove_tree(folder); /* the capture is not asked again */
    result = check(f);
    if (result.findings != 0) {
        fail_msg("%s", f->file[0]);
    }
    assert_true(result.is_signed && result.is_trusted);
    assert_string_equal(result.capture, f->id);
    assert_int_equal(result.counts.packets, 3 * 3 * 12);
    f->key.trusted = false;
    result = check(f);
    assert_true(result.findings == 0 && result.is_signed && !result.is_trusted);
}

/* Changes one bit of the file at its `at`-th octet; the next call takes it back. */
static void
flip(const char *path, uint64_t bit)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t octet;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &octet, 1, (off_t)(bit / 8)), 1);
    octet ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(pwrite(fd, &octet, 1, (off_t)(bit / 8)), 1);
    (void)close(fd);
}

static bool
told(const struct fixture *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++) {
        /* (a chunk's or an index's fault has the segment's name in its sentence) */
        if (strcmp(f->file[i], name) == 0 ||
            (strncmp(name, "segments/", 9) == 0 && strncmp(f->file[i], "segments", 8) == 0)) {
            return true;
        }
    }
    return false;
}

static void
any_flipped_bit_of_extract_and_proof_is_found(void **state)
{
    struct fixture *f = *state;
    const char *names[] = {"",
                           "filter",
                           "manifest.json",
                           "manifest.sig",
                           "segments/host-0-000001.pcapng.zst",
                           "segments/host-0-000002.pcapng.zst",
                           "segments/host-0-000003.pcapng.zst"};

    /* the first second of the packets: most chunks are holes */
    fetch(f, "--port 53 --until 2100-01-01T00:00:00Z");
    assert_string_equal(check(f).filter, "--port 53 --until 2100-01-01T00:00:00Z");
    assert_int_equal(check(f).findings, 0);
    for (int i = 0; i < FLIPS; i++) {
        const char *name = names[next_random(f) % (sizeof(names) / sizeof(names[0]))];
        char path[400];
        struct stat st;
        uint64_t bit;

        (void)snprintf(path, sizeof(path), "%s%s%s", name[0] != 0 ? f->proof : f->extract,
                       name[0] != 0 ? "/" : "", name);
        assert_int_equal(stat(path, &st), 0);
        bit = next_random(f) % (8 * (uint64_t)st.st_size);
        flip(path, bit);
        if (check(f).findings == 0) {
            fail_msg("bit %llu of '%s' is not found", (unsigned long long)bit, name);
        }
        /* what another filter gives is not what is there: either may be told */
        if (!told(f, name) &&
            !(strcmp(name, "filter") == 0 && (told(f, "") || told(f, "segments"))) &&
            !(strcmp(name, "manifest.sig") == 0 && told(f, "manifest.json"))) {
            fail_msg("bit %llu of '%s': told of '%s'", (unsigned long long)bit, name,
                     f->file[0]);
        }
        flip(path, bit);
    }
    assert_int_equal(check(f).findings, 0);
}

static void
files_that_are_gone_cut_or_too_many_are_named(void **state)
{
    struct fixture *f = *state;
    char path[400], aside[400];
    struct stat st;
    int fd;

    fetch(f, filter);
    for (size_t i = 0; i < 5; i++) {
        static const char *const names[] = {"filter", "manifest.json", "manifest.sig",
                                            "segments/host-0-000001.pcapng.zst",
                                            "segments/host-0-000003.pcapng.zst"};

        (void)snprintf(path, sizeof(path), "%s/%s", f->proof, names[i]);
        (void)snprintf(aside, sizeof(aside), "%s.aside", f->extract);
        assert_int_equal(rename(path, aside), 0);
        (void)check(f);
        assert_true(told(f, names[i]));
        assert_int_equal(rename(aside, path), 0);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(truncate(path, st.st_size - 1), 0);
        (void)check(f);
        assert_true(f->count > 0);
        assert_int_equal(unlink(path), 0);
        fetch(f, filter);
    }
    assert_int_equal(check(f).findings, 0);
    (void)snprintf(path, sizeof(path), "%s/more", f->proof);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    tb_close(&fd);
    (void)check(f);
    assert_true(told(f, "more"));
    assert_int_equal(unlink(path), 0);
    /* the extract of another filter, whole and right by itself */
    assert_int_equal(stat(f->extract, &st), 0);
    assert_int_equal(truncate(f->extract, st.st_size - 4), 0);
    (void)check(f);
    assert_true(told(f, ""));
}

static void
a_proof_has_the_manifest_of_the_capture_with_the_segments(void **state)
{
    struct fixture *f = *state;
    char path[200];

    /* one without a segment lies beside it */
    (void)snprintf(path, sizeof(path), "%s/a", f->evidence.dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/a/manifest.json", f->evidence.dir);
    assert_int_equal(tb_write_file_whole(AT_FDCWD, path, tb_bytes_str("{}"), 0600, NULL),
                     TB_OK);
    fetch_from(f, f->evidence.dir, filter);
    assert_int_equal(check(f).findings, 0);
}

static void
an_extract_in_the_captures_folder_stands_in_no_others_way(void **state)
{
    struct fixture *f = *state;
    char folder[160];

    test_evidence_folder(&f->evidence, f->id, folder, sizeof(folder));
    (void)snprintf(f->extract, sizeof(f->extract), "%s/a.pcapng", folder);
    (void)snprintf(f->proof, sizeof(f->proof), "%s/a.pcapng.proof", folder);
    fetch(f, "--proto icmp");
    assert_int_equal(check(f).findings, 0);
    (void)snprintf(f->extract, sizeof(f->extract), "%s/b.pcapng", folder);
    (void)snprintf(f->proof, sizeof(f->proof), "%s/b.pcapng.proof", folder);
    fetch(f, filter);
    assert_int_equal(check(f).findings, 0);
}

static enum tb_err
no_sink(void *arg TB_UNUSED, struct tb_bytes octets TB_UNUSED, struct tb_fail *fail TB_UNUSED)
{
    return TB_OK;
}

/* Takes the root of the first segment out of the manifest in `folder`, and signs it again. */
static void
remove_root(struct fixture *f, const char *folder)
{
    struct tb_buf text = TB_BUF_INIT(1 << 20);
    struct tb_signature signature;
    char path[400], *root;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/manifest.json", folder);
    assert_int_equal(tb_read_file(AT_FDCWD, path, &text, NULL), TB_OK);
    assert_non_null(strstr(tb_buf_str(&text), "\"merkle_root\":\""));
    root =
        (char *)text.at + (strstr(tb_buf_str(&text), "\"merkle_root\":\"") - tb_buf_str(&text));
    memset(root + 14, ' ', 66);
    memcpy(root + 14, "null", 4);
    assert_int_equal(tb_write_file_whole(AT_FDCWD, path, tb_buf_view(&text), 0600, NULL),
                     TB_OK);
    assert_int_equal(tb_sign(f->evidence.key, tb_buf_view(&text), &signature, NULL), TB_OK);
    (void)snprintf(path, sizeof(path), "%s/manifest.sig", folder);
    fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(fd, signature.octets, sizeof(signature.octets)),
                     sizeof(signature.octets));
    tb_close(&fd);
    tb_buf_release(&text);
}

/* Without one, any segment of its length would do. */
static void
a_segment_without_a_root_in_the_manifest_proves_nothing(void **state)
{
    struct fixture *f = *state;

    fetch(f, filter);
    assert_int_equal(check(f).findings, 0);
    remove_root(f, f->proof);
    (void)check(f);
    assert_true(told(f, "segments/host-0-000001.pcapng.zst"));
}

static void
take_missing(void *arg, const struct tb_missing *missing)
{
    struct fixture *f = arg;

    (void)snprintf(f->file[f->count++ % FOUND], sizeof(f->file[0]), "%s", missing->segment);
}

static void
only_what_is_signed_takes_no_part_of_a_segment_without_a_root(void **state)
{
    struct fixture *f = *state;
    struct tb_select select;
    struct tb_extract want = {
        .select = &select, .note = "", .sink = no_sink, .trust = {&f->key, 1, true}};
    struct tb_extract_counts counts;
    struct tb_place_list list = {.count = 0};
    struct tb_place *place = NULL;
    char folder[160];

    tb_select_init(&select);
    assert_int_equal(tb_select_parse(&select, filter, NULL), TB_OK);
    test_evidence_folder(&f->evidence, f->id, folder, sizeof(folder));
    assert_int_equal(tb_place_open(folder, &place, NULL), TB_OK);
    assert_int_equal(tb_place_list(place, "", &list, NULL), TB_OK);
    assert_int_equal(tb_extract(place, &list, &want, &counts, NULL), TB_OK);
    assert_true(counts.checked.is_trusted);
    remove_root(f, folder);
    tb_place_list_release(&list);
    assert_int_equal(tb_place_list(place, "", &list, NULL), TB_OK);
    want.missing = take_missing;
    want.arg = f;
    f->count = 0;
    assert_int_equal(tb_extract(place, &list, &want, &counts, NULL), TB_OK);
    assert_int_equal(counts.missing, 1);
    assert_true(told(f, "segments/host-0-000001.pcapng.zst"));
    want.trust.is_required = false;
    assert_int_equal(tb_extract(place, &list, &want, &counts, NULL), TB_OK);
    tb_place_list_release(&list);
    tb_place_free(place);
}

static void
filters_are_read_as_fetch_writes_them(void **state)
{
    static const struct {
        const char *text;
        enum tb_err err;
    } texts[] = {
        {"--all", TB_OK},
        {"--host 10.0.0.1 --proto udp --port 53", TB_OK},
        {"--flow [2001:db8::1]:1-[2001:db8::2]:2", TB_OK},
        {"--since 2026-01-02T03:04:05Z --until 2026-01-02T03:04:06Z", TB_OK},
        {"", TB_OK},
        {"host 10.0.0.1", TB_EINVAL},
        {"--host", TB_EINVAL},
        {"--all yes", TB_EINVAL},
        {"--exec sh", TB_EINVAL},
        {"--port 70000", TB_EINVAL},
        {" --all", TB_EINVAL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct tb_select select;

        tb_select_init(&select);
        if (tb_select_parse(&select, texts[i].text, NULL) != texts[i].err) {
            fail_msg("'%s'", texts[i].text);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_extract_holds_with_its_proof_and_nothing_else,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(any_flipped_bit_of_extract_and_proof_is_found, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(files_that_are_gone_cut_or_too_many_are_named, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_proof_has_the_manifest_of_the_capture_with_the_segments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            an_extract_in_the_captures_folder_stands_in_no_others_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            only_what_is_signed_takes_no_part_of_a_segment_without_a_root, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_segment_without_a_root_in_the_manifest_proves_nothing,
                                        set_up, tear_down),
        cmocka_unit_test(filters_are_read_as_fetch_writes_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
