/*
 * Verify: evidence made by the real code holds; whatever is done to it afterwards is found, and
 * the file it was done to is named.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <tapbox/io.h>
#include <tapbox/verify.h>

#include "../../support/evidence.h"

enum {
    FILES = 20,
    FLIPS = 1500,
    OTHERS = 400, /* of each other kind of change */
    FOUND = 64
};

struct file {
    char name[400];
    struct tb_buf content;
};

struct copy { /* a folder as it was sealed */
    char id[TB_CAPTURE_ID_SIZE];
    char path[160];
    struct file files[FILES];
    size_t count;
};

struct seen {
    char file[FOUND][160];
    char kind[FOUND][16];
    size_t count;
};

struct place {
    struct test_evidence evidence;
    struct tb_verify_key key;
    const struct tb_verify_key *two_keys; /* NULL: only `key` is given */
    struct copy one, two;
    struct copy log; /* of the host; only where it is asked for */
    struct tb_verified_logs logs;
    struct seen seen;
    bool deep;
    unsigned threads;
    uint64_t random;
};

static uint64_t
next_random(struct place *p)
{
    p->random ^= p->random << 13;
    p->random ^= p->random >> 7;
    p->random ^= p->random << 17;
    return p->random;
}

/* --- folders in memory and on disk --- */

static void
load_folder(struct copy *copy, const char *folder)
{
    char path[700], name[400];
    DIR *dir;
    const struct dirent *entry;

    (void)snprintf(path, sizeof(path), "%s/%s", copy->path, folder);
    dir = opendir(path);
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        struct file *file;
        struct stat st;

        if (entry->d_name[0] == '.') {
            continue;
        }
        (void)snprintf(name, sizeof(name), "%.100s%s%s", folder, folder[0] != 0 ? "/" : "",
                       entry->d_name);
        (void)snprintf(path, sizeof(path), "%s/%s", copy->path, name);
        assert_int_equal(stat(path, &st), 0);
        if (S_ISDIR(st.st_mode)) {
            load_folder(copy, name);
            continue;
        }
        file = &copy->files[copy->count++];
        assert_true(copy->count < FILES);
        memcpy(file->name, name, sizeof(name));
        file->content = (struct tb_buf)TB_BUF_INIT(1 << 20);
        assert_int_equal(tb_read_file(AT_FDCWD, path, &file->content, NULL), TB_OK);
    }
    (void)closedir(dir);
}

static void
put_file(const struct copy *copy, const char *name, struct tb_bytes content)
{
    char path[700];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", copy->path, name);
    /* (O_TRUNC would have ext4 flush the file to the disk when it is closed) */
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content.at, content.len), (ssize_t)content.len);
    assert_int_equal(ftruncate(fd, (off_t)content.len), 0);
    (void)close(fd);
}

static void
remove_file(const struct copy *copy, const char *name)
{
    char path[700];

    (void)snprintf(path, sizeof(path), "%s/%s", copy->path, name);
    assert_int_equal(unlink(path), 0);
}

static void
restore(const struct copy *copy, const struct file *file)
{
    put_file(copy, file->name, tb_buf_view(&file->content));
}

static struct file *
file_of(struct copy *copy, const char *name)
{
    for (size_t i = 0; i < copy->count; i++) {
        if (strcmp(copy->files[i].name, name) == 0) {
            return &copy->files[i];
        }
    }
    fail_msg("no file %s", name);
    return NULL;
}

/* --- checking --- */

static void
on_finding(void *arg, const struct tb_finding *finding)
{
    struct seen *seen = arg;

    assert_true(finding->text[0] != 0);
    if (seen->count < FOUND) {
        (void)snprintf(seen->file[seen->count], sizeof(seen->file[0]), "%s", finding->file);
        (void)snprintf(seen->kind[seen->count], sizeof(seen->kind[0]), "%s", finding->kind);
        seen->count++;
    }
}

/* All captures in a folder, which are `count`; the first of them in *out. */
static void
check_folder(struct place *p, const char *path, size_t count, struct tb_verified *out)
{
    struct tb_verify verify = {.keys = p->two_keys != NULL ? p->two_keys : &p->key,
                               .key_count = p->two_keys != NULL ? 2 : 1,
                               .deep = p->deep,
                               .threads = p->threads,
                               .finding = on_finding,
                               .arg = &p->seen};
    struct tb_place *place = NULL;
    struct tb_place_list list = {.count = 0};
    struct tb_verified *all = NULL;
    struct tb_fail fail = {0};
    size_t there = 0, findings = 0;

    p->seen.count = 0;
    assert_int_equal(tb_place_open(path, &place, NULL), TB_OK);
    assert_int_equal(tb_place_list(place, "", &list, NULL), TB_OK);
    if (tb_verify_place(&verify, place, &list, &all, &there, &fail) != TB_OK) {
        fail_msg("%s", fail.text);
    }
    assert_int_equal(there, count);
    tb_verified_logs_release(&p->logs);
    assert_int_equal(tb_verify_logs(&verify, place, &list, all, there, &p->logs, NULL), TB_OK);
    for (size_t i = 0; i < there; i++) {
        findings += all[i].findings;
    }
    for (size_t i = 0; i < p->logs.count; i++) {
        findings += p->logs.at[i].findings;
    }
    assert_int_equal(findings, p->seen.count);
    memcpy(out, all, count * sizeof(*out));
    free(all);
    tb_place_list_release(&list);
    tb_place_free(place);
}

/* In a folder of another name. */
static struct tb_verified
check_as(struct place *p, const struct copy *copy, const char *name)
{
    struct tb_verified verified;
    char path[200];

    (void)snprintf(path, sizeof(path), "%s/%s", p->evidence.dir, name);
    assert_int_equal(rename(copy->path, path), 0);
    check_folder(p, path, 1, &verified);
    assert_int_equal(rename(path, copy->path), 0);
    return verified;
}

static struct tb_verified
check(struct place *p, const struct copy *copy)
{
    struct tb_verified verified;

    check_folder(p, copy->path, 1, &verified);
    return verified;
}

static bool
told(const struct place *p, const char *file, const char *kind)
{
    for (size_t i = 0; i < p->seen.count; i++) {
        if (strcmp(p->seen.file[i], file) == 0 &&
            (kind == NULL || strcmp(p->seen.kind[i], kind) == 0)) {
            return true;
        }
    }
    return false;
}

static void
assert_told(const struct place *p, const char *file, const char *what)
{
    char partner[420];
    size_t len = strlen(file);

    if (told(p, file, NULL)) {
        return;
    }
    /* a signature and what it signs are two, and only together wrong */
    if (len > 4 && strcmp(file + len - 4, ".sig") == 0) {
        (void)snprintf(partner, sizeof(partner), "%.*s.jsonl", (int)len - 4, file);
        if (told(p, partner, NULL)) {
            return;
        }
    }
    fail_msg("%s: %s: %zu findings, first %s", what, file, p->seen.count,
             p->seen.count > 0 ? p->seen.file[0] : "none");
}

static void
assert_holds(struct place *p, const struct copy *copy)
{
    struct tb_verified verified = check(p, copy);

    if (verified.findings != 0) {
        fail_msg("%s: %s", p->seen.file[0], p->seen.kind[0]);
    }
    assert_true(verified.is_signed && verified.is_trusted);
}

/* --- set-up: two captures of one key, with acts after their sealing --- */

static void
make_copy(struct place *p, struct copy *copy, uint64_t seed)
{
    struct tb_actor by = {.who = "eve", .from = "203.0.113.9"};

    test_evidence_capture(&p->evidence, seed, 2, 3, copy->id);
    assert_int_equal(test_evidence_seal(&p->evidence, copy->id, 0, NULL), TB_OK);
    assert_int_equal(
        tb_store_custody_add(p->evidence.store, copy->id, "download", &by, NULL, NULL), TB_OK);
    test_evidence_flush(&p->evidence, copy->id);
    test_evidence_folder(&p->evidence, copy->id, copy->path, sizeof(copy->path));
    load_folder(copy, "");
}

static int
set_up(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    assert_non_null(p);
    test_evidence_open(&p->evidence);
    p->key.key = *tb_signing_key_public(p->evidence.key);
    (void)strcpy(p->key.fingerprint.text, tb_signing_key_fingerprint(p->evidence.key));
    p->key.trusted = true;
    p->threads = 1;
    p->random = 0x9e3779b97f4a7c15;
    make_copy(p, &p->one, 1);
    make_copy(p, &p->two, 2);
    *state = p;
    return 0;
}

static void
release_copy(struct copy *copy)
{
    for (size_t i = 0; i < copy->count; i++) {
        tb_buf_release(&copy->files[i].content);
    }
}

static int
tear_down(void **state)
{
    struct place *p = *state;

    release_copy(&p->one);
    release_copy(&p->two);
    release_copy(&p->log);
    tb_verified_logs_release(&p->logs);
    test_evidence_close(&p->evidence);
    free(p);
    return 0;
}

/* --- cases --- */

static void
evidence_that_nobody_touched_holds_also_when_decoded(void **state)
{
    struct place *p = *state;
    struct tb_verified verified;

    assert_holds(p, &p->one);
    assert_holds(p, &p->two);
    p->deep = true;
    assert_holds(p, &p->one);
    verified = check(p, &p->one);
    assert_string_equal(verified.capture, p->one.id);
    assert_int_equal(verified.segments, 3);
    assert_int_equal(verified.packets, 3 * 3 * 12);
    assert_int_equal(verified.alerts, 2);
    assert_int_equal(verified.sequence, 1);
    assert_string_equal(verified.complete, "yes");
    assert_true(verified.custody_entries > 10);
}

static void
a_segment_that_was_damaged_before_it_was_sealed_is_proven_to_be_that(void **state)
{
    static const char name[] = "segments/host-0-000002.pcapng.zst";
    static const struct tb_bytes damaged = {(const uint8_t *)"what was found", 14};
    struct place *p = *state;
    struct copy copy = {.count = 0};
    struct tb_segment_row row = {
        .name = "host-0-000002.pcapng.zst", .state = TB_SEGMENT_SPOOLED, .bytes = damaged.len};
    struct tb_sha256 sha256;

    test_evidence_recording(&p->evidence, 3, 1, 1, copy.id);
    test_evidence_folder(&p->evidence, copy.id, copy.path, sizeof(copy.path));
    put_file(&copy, name, damaged);
    (void)snprintf(row.capture_id, sizeof(row.capture_id), "%s", copy.id);
    assert_int_equal(tb_sha256(damaged, &sha256), TB_OK);
    memcpy(row.sha256, sha256.octets, sizeof(row.sha256));
    assert_int_equal(tb_store_segment_add(p->evidence.store, &row, NULL), TB_OK);
    assert_int_equal(tb_store_segment_uploaded(p->evidence.store, &row, NULL), TB_OK);
    test_evidence_end(&p->evidence, copy.id);
    assert_int_equal(test_evidence_seal(&p->evidence, copy.id, 0, NULL), TB_OK);
    for (int deep = 0; deep < 2; deep++) {
        p->deep = deep != 0;
        assert_holds(p, &copy);
        assert_string_equal(check(p, &copy).complete, "no");
    }
    put_file(&copy, name, tb_bytes_str("what is now it"));
    (void)check(p, &copy);
    assert_true(told(p, name, "hash"));
}

static void
any_flipped_bit_is_found_and_its_file_named(void **state)
{
    struct place *p = *state;

    for (int i = 0; i < FLIPS; i++) {
        struct file *file = &p->one.files[next_random(p) % p->one.count];
        size_t bit = (size_t)(next_random(p) % (8 * file->content.len));

        file->content.at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        restore(&p->one, file);
        (void)check(p, &p->one);
        assert_told(p, file->name, "a flipped bit");
        if (strncmp(file->name, "segments/", 9) == 0 ||
            strncmp(file->name, "alerts/", 7) == 0 || strcmp(file->name, "SHA256SUMS") == 0) {
            assert_int_equal(p->seen.count, 1); /* and nothing else is blamed */
        }
        file->content.at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        restore(&p->one, file);
    }
    assert_holds(p, &p->one);
}

static void
a_file_cut_off_or_longer_or_gone_is_named(void **state)
{
    struct place *p = *state;

    for (int i = 0; i < OTHERS; i++) {
        struct file *file = &p->one.files[next_random(p) % p->one.count];
        struct tb_bytes whole = tb_buf_view(&file->content);

        put_file(&p->one, file->name,
                 tb_bytes_of(whole.at, (size_t)(next_random(p) % whole.len)));
        (void)check(p, &p->one);
        assert_told(p, file->name, "cut off");
        tb_buf_put_u8(&file->content, (uint8_t)next_random(p));
        restore(&p->one, file);
        (void)check(p, &p->one);
        assert_told(p, file->name, "an octet too many");
        file->content.len--;
        remove_file(&p->one, file->name);
        (void)check(p, &p->one);
        assert_told(p, file->name, "removed");
        restore(&p->one, file);
    }
    assert_holds(p, &p->one);
}

static void
a_renamed_or_added_file_is_named(void **state)
{
    struct place *p = *state;
    char name[420];

    for (int i = 0; i < OTHERS; i++) {
        struct file *file = &p->one.files[next_random(p) % p->one.count];
        char *dot = strrchr(file->name, '/');

        (void)snprintf(name, sizeof(name), "%.*sx%s",
                       dot == NULL ? 0 : (int)(dot - file->name) + 1, file->name,
                       dot == NULL ? file->name : dot + 1);
        put_file(&p->one, name, tb_buf_view(&file->content));
        (void)check(p, &p->one);
        assert_int_equal(p->seen.count, 1);
        assert_true(told(p, name, "extra"));
        remove_file(&p->one, file->name);
        (void)check(p, &p->one);
        assert_told(p, file->name, "renamed");
        if (strcmp(file->name, "manifest.json") != 0) {
            assert_true(told(p, name, "extra"));
        }
        remove_file(&p->one, name);
        restore(&p->one, file);
    }
    assert_holds(p, &p->one);
}

static void
files_of_another_capture_are_named(void **state)
{
    struct place *p = *state;

    assert_int_equal(p->one.count, p->two.count);
    for (size_t i = 0; i < p->one.count; i++) {
        struct file *file = &p->one.files[i];

        put_file(&p->one, file->name, tb_buf_view(&file_of(&p->two, file->name)->content));
        (void)check(p, &p->one);
        assert_told(p, file->name, "of another capture");
        restore(&p->one, file);
    }
    for (unsigned n = 1; n <= 2; n++) { /* and within one capture */
        struct file *a = file_of(&p->one, "segments/host-0-000001.pcapng.zst");
        struct file *b = file_of(&p->one, n == 1 ? "segments/host-0-000002.pcapng.zst"
                                                 : "segments/host-0-000003.pcapng.zst");

        put_file(&p->one, a->name, tb_buf_view(&b->content));
        put_file(&p->one, b->name, tb_buf_view(&a->content));
        (void)check(p, &p->one);
        assert_told(p, a->name, "swapped");
        assert_told(p, b->name, "swapped");
        restore(&p->one, a);
        restore(&p->one, b);
    }
    assert_holds(p, &p->one);
}

static void
an_older_manifest_with_its_signature_does_not_pass(void **state)
{
    static const char *const names[] = {
        "manifest.json",      "manifest.sig",     "SHA256SUMS",         "custody/0001.jsonl",
        "custody/0002.jsonl", "custody/0002.sig", "custody/0003.jsonl", "custody/0003.sig"};
    struct place *p = *state;
    struct tb_verified list[2];
    struct tb_verify verify = {.finding = on_finding, .arg = &p->seen};

    /* more and more of the first capture in the folder of the second */
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        put_file(&p->two, names[i], tb_buf_view(&file_of(&p->one, names[i])->content));
        assert_true(check(p, &p->two).findings > 0);
        if (i >= 1) {
            assert_true(told(p, "", "name"));
        }
    }
    /* all of it: then only the name of the folder and the chain tell */
    for (size_t i = 0; i < p->one.count; i++) {
        put_file(&p->two, p->one.files[i].name, tb_buf_view(&p->one.files[i].content));
    }
    list[0] = check(p, &p->one);
    list[1] = check(p, &p->two);
    assert_int_equal(p->seen.count, 1);
    assert_true(told(p, "", "name"));
    list[1] = check_as(p, &p->two, "evidence");
    assert_int_equal(list[1].findings, 0);
    tb_verify_chain(&verify, list, 2);
    assert_true(told(p, "manifest.json", "chain"));
    for (size_t i = 0; i < p->two.count; i++) {
        restore(&p->two, &p->two.files[i]);
    }
    assert_holds(p, &p->two);
}

/* The same findings in the same order, however many look. */
static void
many_threads_find_what_one_finds(void **state)
{
    struct place *p = *state;
    struct tb_verified list[2];
    struct seen alone;

    for (size_t i = 0; i < p->one.count; i++) {
        struct file *file = &p->one.files[i];

        put_file(i % 2 == 0 ? &p->one : &p->two, file->name,
                 tb_bytes_of(file->content.at, file->content.len - 1));
    }
    check_folder(p, p->evidence.dir, 2, list);
    alone = p->seen;
    assert_true(alone.count > 8);
    for (p->threads = 2; p->threads < 9; p->threads++) {
        check_folder(p, p->evidence.dir, 2, list);
        assert_int_equal(p->seen.count, alone.count);
        for (size_t i = 0; i < alone.count; i++) {
            assert_string_equal(p->seen.file[i], alone.file[i]);
            assert_string_equal(p->seen.kind[i], alone.kind[i]);
        }
    }
}

static void
the_chain_between_captures_is_checked(void **state)
{
    struct place *p = *state;
    struct tb_verify verify = {.finding = on_finding, .arg = &p->seen};
    struct tb_verified list[2];

    check_folder(p, p->evidence.dir, 2, list);
    assert_int_equal(p->seen.count, 0);
    assert_int_equal(list[0].sequence, 1); /* in order */
    assert_string_equal(list[1].capture, p->two.id);
    list[1].previous.octets[0] ^= 1;
    tb_verify_chain(&verify, list, 2);
    assert_true(told(p, "manifest.json", "chain"));
}

/* Lines of the log taken out, doubled or exchanged. */
static void
the_custody_log_cannot_be_cut_or_mixed(void **state)
{
    struct place *p = *state;
    struct tb_buf text = TB_BUF_INIT(1 << 20);

    for (unsigned n = 1; n <= 3; n++) {
        char name[40];
        struct file *file;
        size_t lines = 0, at[100];

        (void)snprintf(name, sizeof(name), "custody/%04u.jsonl", n);
        file = file_of(&p->one, name);
        for (size_t i = 0; i < file->content.len; i++) {
            if (i == 0 || file->content.at[i - 1] == '\n') {
                at[lines++] = i;
            }
        }
        at[lines] = file->content.len;
        for (size_t i = 0; i < lines; i++) {
            for (int kind = 0; kind < 3; kind++) {
                size_t other = (i + 1) % lines;

                tb_buf_reset(&text);
                for (size_t k = 0; k < lines; k++) {
                    size_t from = kind == 2 && k == i ? other : kind == 2 && k == other ? i : k;

                    if (kind == 0 && k == i) {
                        continue;
                    }
                    tb_buf_put(&text, file->content.at + at[from], at[from + 1] - at[from]);
                    if (kind == 1 && k == i) {
                        tb_buf_put(&text, file->content.at + at[k], at[k + 1] - at[k]);
                    }
                }
                if (tb_bytes_equal(tb_buf_view(&text), tb_buf_view(&file->content))) {
                    continue;
                }
                put_file(&p->one, name, tb_buf_view(&text));
                (void)check(p, &p->one);
                assert_told(p, name, "a line taken out, doubled or exchanged");
                restore(&p->one, file);
            }
        }
    }
    tb_buf_release(&text);
    assert_holds(p, &p->one);
}

/* Whoever can write to the bucket, but does not have the key. */
static void
custody_entries_that_somebody_else_appends_are_found(void **state)
{
    static const char *const names[] = {"custody/0004.jsonl", "custody/0004.sig"};
    struct place *p = *state;
    const struct file *last = file_of(&p->one, "custody/0003.jsonl");
    const uint8_t *line = memrchr(last->content.at, '\n', last->content.len - 1);
    size_t skip = line == NULL ? 0 : (size_t)(line + 1 - last->content.at);
    struct tb_signing_key *other = NULL;
    struct tb_verify_key keys[2] = {p->key};
    struct tb_buf text = TB_BUF_INIT(4096);
    struct tb_signature signature;
    struct tb_sha256 prev;
    char hex[TB_SHA256_HEX_SIZE];
    struct tb_verified verified = check(p, &p->one);

    assert_int_equal(
        tb_sha256(tb_bytes_of(last->content.at + skip, last->content.len - skip - 1), &prev),
        TB_OK);
    tb_sha256_hex(hex, &prev);
    tb_buf_printf(
        &text,
        "{\"act\":\"download\",\"capture\":\"%s\",\"detail\":{},\"from\":null,\"n\":%lld,"
        "\"prev\":\"%s\",\"time\":\"2026-01-02T03:04:05.000000000Z\",\"who\":\"mallory\"}\n",
        p->one.id, (long long)verified.custody_entries + 1, hex);
    put_file(&p->one, names[0], tb_buf_view(&text));
    (void)check(p, &p->one);
    assert_true(told(p, names[1], "missing")); /* it follows, but nobody signed it */

    assert_int_equal(tb_signing_key_new(&other, NULL), TB_OK);
    assert_int_equal(tb_sign(other, tb_buf_view(&text), &signature, NULL), TB_OK);
    put_file(&p->one, names[1], tb_bytes_of(signature.octets, sizeof(signature.octets)));
    (void)check(p, &p->one);
    assert_true(told(p, names[0], "signature"));

    /* nor does it help to leave the key beside the evidence */
    keys[1].key = *tb_signing_key_public(other);
    (void)strcpy(keys[1].fingerprint.text, tb_signing_key_fingerprint(other));
    p->two_keys = keys;
    (void)check(p, &p->one);
    p->two_keys = NULL;
    assert_true(told(p, names[0], "signature"));

    assert_int_equal(tb_sign(p->evidence.key, tb_buf_view(&text), &signature, NULL), TB_OK);
    put_file(&p->one, names[1], tb_bytes_of(signature.octets, sizeof(signature.octets)));
    assert_holds(p, &p->one);
    tb_signing_key_free(other);
    tb_buf_release(&text);
}

/* Three objects of the host's log, in p->log; the captures name the end of the first two. */
static void
load_host_log(struct place *p)
{
    struct tb_verified all[2];

    test_evidence_flush_host(
        &p->evidence); /* what sealing the second put last is an act, too */
    assert_int_equal(tb_store_host_log(p->evidence.store, p->log.id, NULL), TB_OK);
    (void)snprintf(p->log.path, sizeof(p->log.path), "%s/custody/%s", p->evidence.dir,
                   p->log.id);
    load_folder(&p->log, "");
    check_folder(p, p->evidence.dir, 2, all);
    if (p->seen.count != 0) {
        fail_msg("%s: %s", p->seen.file[0], p->seen.kind[0]);
    }
    assert_int_equal(p->logs.count, 1);
    assert_true(p->logs.at[0].is_here);
    assert_int_equal(p->logs.chains[0].last, 2);
    assert_int_equal(p->log.count, 4);
}

static void
assert_log_told(struct place *p, const char *file, const char *what)
{
    struct tb_verified all[2];

    check_folder(p, p->evidence.dir, 2, all);
    assert_told(p, file, what);
}

static void
any_change_of_the_hosts_log_is_found_and_its_file_named(void **state)
{
    struct place *p = *state;

    load_host_log(p);
    for (int i = 0; i < OTHERS; i++) {
        struct file *file = &p->log.files[next_random(p) % p->log.count];
        size_t bit = (size_t)(next_random(p) % (8 * file->content.len));

        file->content.at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        restore(&p->log, file);
        assert_log_told(p, file->name, "a flipped bit");
        file->content.at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        put_file(&p->log, file->name,
                 tb_bytes_of(file->content.at, (size_t)(next_random(p) % file->content.len)));
        assert_log_told(p, file->name, "cut off");
        remove_file(&p->log, file->name);
        assert_log_told(p, file->name, "removed");
        restore(&p->log, file);
    }
}

/* Somebody who has the key, and makes each object fit by itself. */
static void
put_signed(struct place *p, const char *number, struct tb_bytes text)
{
    struct tb_signature signature;
    char name[40];

    assert_int_equal(tb_sign(p->evidence.key, text, &signature, NULL), TB_OK);
    (void)snprintf(name, sizeof(name), "%s.jsonl", number);
    put_file(&p->log, name, text);
    (void)snprintf(name, sizeof(name), "%s.sig", number);
    put_file(&p->log, name, tb_bytes_of(signature.octets, sizeof(signature.octets)));
}

static void
the_hosts_log_cannot_be_shortened_reordered_or_exchanged_even_with_the_key(void **state)
{
    struct place *p = *state;
    struct tb_buf text = TB_BUF_INIT(1 << 20);
    const struct file *first, *last;
    struct tb_bytes lines;
    const uint8_t *newline;
    struct tb_verified all[2];

    load_host_log(p);
    first = file_of(&p->log, "0001.jsonl");
    last = file_of(&p->log, "0002.jsonl");
    /* without its last object, which the second capture names */
    remove_file(&p->log, "0002.jsonl");
    remove_file(&p->log, "0002.sig");
    assert_log_told(p, "", "the last object and its signature removed");
    assert_true(told(p, "", "custody"));
    /* the second in the place of the first */
    put_signed(p, "0001", tb_buf_view(&last->content));
    assert_log_told(p, "0001.jsonl", "objects exchanged");
    restore(&p->log, last);
    restore(&p->log, file_of(&p->log, "0002.sig"));
    /* two lines change places */
    lines = tb_buf_view(&first->content);
    newline = memchr(lines.at, '\n', lines.len);
    assert_non_null(newline);
    tb_buf_put(&text, newline + 1, lines.len - (size_t)(newline + 1 - lines.at));
    tb_buf_put(&text, lines.at, (size_t)(newline + 1 - lines.at));
    put_signed(p, "0001", tb_buf_view(&text));
    assert_log_told(p, "0001.jsonl", "lines in another order");
    /* a history of one's own: a chain that holds, but no manifest knows it */
    tb_buf_reset(&text);
    tb_buf_put(&text, lines.at, (size_t)(newline + 1 - lines.at));
    put_signed(p, "0001", tb_buf_view(&text));
    remove_file(&p->log, "0002.jsonl");
    remove_file(&p->log, "0002.sig");
    assert_log_told(p, "", "another history");
    for (size_t i = 0; i < p->log.count; i++) {
        restore(&p->log, &p->log.files[i]);
    }
    check_folder(p, p->evidence.dir, 2, all);
    assert_int_equal(p->seen.count, 0);
    tb_buf_release(&text);
}

static void
a_capture_that_was_removed_or_made_again_shows_in_the_hosts_log(void **state)
{
    struct place *p = *state;
    const struct file *manifest = file_of(&p->two, "manifest.json");
    struct tb_signature signature;
    struct tb_verified all[2];
    char aside[200];

    load_host_log(p);
    put_file(&p->two, "manifest.json",
             tb_bytes_of(manifest->content.at, manifest->content.len - 1));
    assert_int_equal(tb_sign(p->evidence.key,
                             tb_bytes_of(manifest->content.at, manifest->content.len - 1),
                             &signature, NULL),
                     TB_OK);
    put_file(&p->two, "manifest.sig", tb_bytes_of(signature.octets, sizeof(signature.octets)));
    check_folder(p, p->evidence.dir, 2, all);
    assert_true(told(p, "manifest.json", "custody"));
    (void)snprintf(aside, sizeof(aside), "%s.aside", p->evidence.dir);
    assert_int_equal(rename(p->two.path, aside), 0);
    check_folder(p, p->evidence.dir, 1, all);
    assert_int_equal(p->logs.chains[0].last, 2); /* and only number 1 is here */
    assert_int_equal(rename(aside, p->two.path), 0);
    (void)snprintf(aside, sizeof(aside), "%s/custody", p->evidence.dir);
    test_remove_tree(aside);
    check_folder(p, p->evidence.dir, 2, all);
    assert_false(p->logs.at[0].is_here);
    assert_string_equal(p->logs.at[0].log, p->log.id);
}

static void
a_key_decides_what_is_proven(void **state)
{
    struct place *p = *state;
    struct tb_signing_key *other = NULL;
    struct tb_verify_key right = p->key;

    p->key.trusted = false;
    {
        struct tb_verified verified = check(p, &p->one);

        assert_int_equal(verified.findings, 0);
        assert_true(verified.is_signed && !verified.is_trusted);
    }
    assert_int_equal(tb_signing_key_new(&other, NULL), TB_OK);
    p->key.key = *tb_signing_key_public(other);
    (void)strcpy(p->key.fingerprint.text, tb_signing_key_fingerprint(other));
    assert_false(check(p, &p->one).is_signed);
    assert_true(told(p, "manifest.json", "key"));
    /* a key that claims to be the one it is not */
    p->key.fingerprint = right.fingerprint;
    assert_false(check(p, &p->one).is_signed);
    assert_true(told(p, "manifest.json", "signature"));
    tb_signing_key_free(other);
}

/* What a writer with the key, and with a fault, could have signed. */
static void
a_signed_manifest_that_contradicts_itself_is_found(void **state)
{
    static const struct {
        const char *from, *to, *file, *kind;
    } changes[] = {
        {"\"filtered\":3", "\"filtered\":4", "manifest.json", "ledger"},
        {"\"received\":111,\"residual\":0,\"ring_dropped\":0,\"spool_full\":0,\"truncated\":0,"
         "\"unknown_vni\":0,\"written\":108",
         "\"received\":110,\"residual\":0,\"ring_dropped\":0,\"spool_full\":0,\"truncated\":0,"
         "\"unknown_vni\":0,\"written\":107",
         "manifest.json", "ledger"},
        {"\"packets\":36", "\"packets\":37", "segments/host-0-000001.pcapng.zst", "packets"},
        {"\"merkle_root\":\"", "\"merkle_root\":\"00", "manifest.json", "format"},
        {"\"entries\":", "\"entries\":1", "custody/0001.jsonl", "custody"},
        {"segments/host-0-000001", "segments/../0-000001", "manifest.json", "format"},
        {"\"format\":", "\"format\":\"tapbox-manifest/1\",\"format\":", "manifest.json",
         "format"},
        {"\"filtered\":3", "\"filtered\":3,\"filtered\":0", "manifest.json", "format"},
    };
    struct place *p = *state;
    const struct file *manifest = file_of(&p->one, "manifest.json");

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct tb_buf text = TB_BUF_INIT(1 << 20);
        const uint8_t *at = memmem(manifest->content.at, manifest->content.len, changes[i].from,
                                   strlen(changes[i].from));
        struct tb_signature signature;
        size_t before;

        if (at == NULL) {
            fail_msg("no %s in %s", changes[i].from, (const char *)manifest->content.at);
        }
        before = (size_t)(at - manifest->content.at);
        tb_buf_put(&text, manifest->content.at, before);
        tb_buf_put_str(&text, changes[i].to);
        tb_buf_put(&text, at + strlen(changes[i].from),
                   manifest->content.len - before - strlen(changes[i].from));
        assert_int_equal(tb_sign(p->evidence.key, tb_buf_view(&text), &signature, NULL), TB_OK);
        put_file(&p->one, "manifest.json", tb_buf_view(&text));
        put_file(&p->one, "manifest.sig",
                 tb_bytes_of(signature.octets, sizeof(signature.octets)));
        assert_true(check(p, &p->one).is_signed || strcmp(changes[i].kind, "format") == 0);
        if (!told(p, changes[i].file, changes[i].kind)) {
            fail_msg("%s: first finding %s %s", changes[i].to, p->seen.file[0],
                     p->seen.kind[0]);
        }
        tb_buf_release(&text);
    }
}

static void
links_and_folders_in_place_of_files_are_named(void **state)
{
    struct place *p = *state;
    const struct file *file = file_of(&p->one, "alerts/0001.json");
    char path[700];

    (void)snprintf(path, sizeof(path), "%s/alerts/0001.json", p->one.path);
    remove_file(&p->one, file->name);
    assert_int_equal(symlink("/dev/zero", path), 0);
    (void)check(p, &p->one);
    assert_int_equal(p->seen.count, 1);
    assert_true(told(p, file->name, "format"));
    remove_file(&p->one, file->name);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)check(p, &p->one);
    assert_true(told(p, file->name, "format"));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    (void)check(p, &p->one);
    assert_true(told(p, file->name, "format"));
    remove_file(&p->one, file->name);
    restore(&p->one, file);
    (void)snprintf(path, sizeof(path), "%s/more", p->one.path);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)check(p, &p->one);
    assert_true(told(p, "more", "extra"));
}

/* What is behind a link may be anything by the time that somebody reads it. */
static void
a_link_in_place_of_a_capture_is_named(void **state)
{
    struct place *p = *state;
    struct tb_verified all[2];
    char aside[200];

    (void)snprintf(aside, sizeof(aside), "%s.aside", p->evidence.dir);
    assert_int_equal(rename(p->two.path, aside), 0);
    assert_int_equal(symlink(aside, p->two.path), 0);
    check_folder(p, p->evidence.dir, 2, all);
    assert_int_equal(p->seen.count, 1);
    assert_true(told(p, "", "format"));
    assert_int_equal(remove(p->two.path), 0);
    assert_int_equal(rename(aside, p->two.path), 0);
    check_folder(p, p->evidence.dir, 2, all);
    assert_int_equal(p->seen.count, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(evidence_that_nobody_touched_holds_also_when_decoded,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_segment_that_was_damaged_before_it_was_sealed_is_proven_to_be_that, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(any_flipped_bit_is_found_and_its_file_named, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_file_cut_off_or_longer_or_gone_is_named, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_renamed_or_added_file_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_of_another_capture_are_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_older_manifest_with_its_signature_does_not_pass,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_threads_find_what_one_finds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_chain_between_captures_is_checked, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_custody_log_cannot_be_cut_or_mixed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(custody_entries_that_somebody_else_appends_are_found,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(any_change_of_the_hosts_log_is_found_and_its_file_named,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            the_hosts_log_cannot_be_shortened_reordered_or_exchanged_even_with_the_key, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            a_capture_that_was_removed_or_made_again_shows_in_the_hosts_log, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_decides_what_is_proven, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_signed_manifest_that_contradicts_itself_is_found,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(links_and_folders_in_place_of_files_are_named, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_link_in_place_of_a_capture_is_named, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
