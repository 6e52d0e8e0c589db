/* GET /v1/captures/{id}/stream: what the recorder has put down, as it is put down. */
#include "room.h"

#include "../../support/segments.h"

#define NAME(lane, seq) "tap-" lane "-00000" seq ".pcapng.zst"

enum {
    STREAM_MAX = 8 << 20
};

struct show {
    struct room *r;
    char id[TB_CAPTURE_ID_SIZE];
    char path[128];
    int capture_fd;
    struct test_segment made;
};

static void
begin(struct show *show, struct room *r)
{
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct tb_json *json;

    *show = (struct show){.r = r};
    assert_int_equal(call(r, "POST", "/v1/captures", &r->analyst, NULL, BODY, &out), 202);
    json = json_of(&out);
    assert_true(tb_str_copy(show->id, sizeof(show->id), tb_json_str(json, "/capture/id")));
    tb_json_free(json);
    tb_buf_release(&out);
    snprintf(show->path, sizeof(show->path), "/v1/captures/%s/stream?from=start", show->id);
    assert_int_equal(tb_open_dir(r->spool_fd, show->id, 0700, &show->capture_fd, NULL), TB_OK);
    test_segment_make(&show->made, 11, 5, 30, 400);
}

static void
end(struct show *show)
{
    tb_close(&show->capture_fd);
    test_segment_release(&show->made);
}

/* The file holds the first `chunks` chunks. */
static void
put_down(struct show *show, const char *name, size_t chunks)
{
    int fd = openat(show->capture_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    off_t at = lseek(fd, 0, SEEK_END);
    size_t to = show->made.chunks[chunks - 1].offset + show->made.chunks[chunks - 1].length;

    assert_int_equal(write(fd, show->made.file.at + at, to - (size_t)at), to - (size_t)at);
    tb_close(&fd);
}

static int
ask(const struct show *show, const char *method)
{
    char text[512];
    int fd = dial(show->r);

    snprintf(text, sizeof(text),
             "%s %s HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer %s\r\n\r\n", method,
             show->path, show->r->responder.text);
    send_all(fd, text, strlen(text));
    return fd;
}

/* Takes the chunked framing off what came so far; true when the last chunk was there. */
static bool
unchunk(struct tb_buf *raw, struct tb_buf *out)
{
    const char *text = tb_buf_str(raw);
    const char *at = strstr(text, "\r\n\r\n");
    const char *stop = text + raw->len;

    tb_buf_reset(out);
    if (at == NULL) {
        return false;
    }
    for (at += 4; at < stop;) {
        char *behind;
        size_t len = strtoul(at, &behind, 16);

        if (behind == at || behind + 2 > stop) {
            return false;
        }
        at = behind + 2;
        if (len == 0) {
            return true;
        }
        if (at + len + 2 > stop) {
            tb_buf_put(out, at, (size_t)(stop - at));
            return false;
        }
        tb_buf_put(out, at, len);
        at += len + 2;
    }
    return false;
}

/* Reads until so many packets are there; dies of the socket's time limit otherwise. */
static void
read_packets(int fd, struct tb_buf *raw, struct tb_buf *body, size_t want)
{
    char block[65536];

    for (;;) {
        struct tb_pcapng_block next;
        struct tb_bytes rest;
        size_t packets = 0;
        ssize_t n;

        (void)unchunk(raw, body);
        for (rest = tb_buf_view(body); tb_pcapng_next(&rest, &next) == TB_OK;) {
            packets += next.type == TB_PCAPNG_EPB;
        }
        if (packets >= want) {
            assert_int_equal(packets, want);
            assert_int_equal(rest.len, 0);
            return;
        }
        n = recv(fd, block, sizeof(block), 0);
        assert_true(n > 0);
        tb_buf_put(raw, block, (size_t)n);
    }
}

/* The made chunks without their statistics. */
static void
expected(const struct show *show, size_t chunks, struct tb_buf *out)
{
    for (size_t i = 0; i < chunks; i++) {
        struct tb_bytes rest = tb_buf_view(&show->made.plain[i]);
        struct tb_pcapng_block block;

        while (tb_pcapng_next(&rest, &block) == TB_OK) {
            if (block.type != TB_PCAPNG_ISB) {
                tb_buf_put_bytes(out, block.all);
            }
        }
    }
}

static void
chunks_are_sent_as_they_are_put_down_and_the_end_is_an_end(void **state)
{
    struct tb_buf raw = TB_BUF_INIT(STREAM_MAX), body = TB_BUF_INIT(STREAM_MAX),
                  want = TB_BUF_INIT(STREAM_MAX), rest = TB_BUF_INIT(STREAM_MAX);
    struct room *r = *state;
    struct show show;
    int fd;

    begin(&show, r);
    put_down(&show, "." NAME("0", "1"), 2);
    fd = ask(&show, "GET");
    read_packets(fd, &raw, &body, 60);
    put_down(&show, "." NAME("0", "1"), 3);
    read_packets(fd, &raw, &body, 90);
    assert_non_null(strstr(tb_buf_str(&raw), "HTTP/1.1 200"));
    assert_non_null(strstr(tb_buf_str(&raw), "Content-Type: application/x-pcapng"));
    assert_non_null(strstr(tb_buf_str(&raw), "Tapbox-Missed-Segments: 0"));
    expected(&show, 3, &want);
    assert_true(tb_bytes_equal(tb_buf_view(&body), tb_buf_view(&want)));

    tb_http_server_stop(r->server); /* streams end whole */
    r->server = NULL;
    (void)read_answer(fd, &rest);
    tb_buf_put_bytes(&raw, tb_buf_view(&rest));
    assert_true(unchunk(&raw, &body));
    assert_true(tb_bytes_equal(tb_buf_view(&body), tb_buf_view(&want)));
    tb_buf_release(&raw);
    tb_buf_release(&body);
    tb_buf_release(&want);
    tb_buf_release(&rest);
    end(&show);
}

static void
two_lanes_are_one_stream_in_the_order_of_time(void **state)
{
    struct tb_buf raw = TB_BUF_INIT(STREAM_MAX), body = TB_BUF_INIT(STREAM_MAX);
    struct tb_pcapng_block block;
    struct tb_bytes rest, frame;
    int64_t before = 0;
    struct show show;
    int fd;

    begin(&show, *state);
    put_down(&show, "." NAME("0", "1"), 4);
    put_down(&show, "." NAME("1", "1"), 3);
    fd = ask(&show, "GET");
    read_packets(fd, &raw, &body, 120 + 90);
    for (rest = tb_buf_view(&body); tb_pcapng_next(&rest, &block) == TB_OK;) {
        struct tb_pcapng_packet packet;

        if (tb_pcapng_get_packet(&block, &packet, &frame) == TB_OK) {
            assert_true(packet.utc_ns >= before);
            before = packet.utc_ns;
        }
    }
    (void)close(fd);
    tb_buf_release(&raw);
    tb_buf_release(&body);
    end(&show);
}

static void
a_stream_that_missed_something_does_not_end_as_if_it_were_whole(void **state)
{
    struct tb_buf raw = TB_BUF_INIT(STREAM_MAX), body = TB_BUF_INIT(STREAM_MAX),
                  rest = TB_BUF_INIT(STREAM_MAX);
    struct show show;
    int fd;

    begin(&show, *state);
    put_down(&show, "." NAME("0", "1"), 2);
    fd = ask(&show, "GET");
    read_packets(fd, &raw, &body, 60);
    put_down(&show, "." NAME("0", "3"), 2); /* the second was removed before it was seen */
    (void)read_answer(fd, &rest);
    tb_buf_put_bytes(&raw, tb_buf_view(&rest));
    assert_false(unchunk(&raw, &body));
    tb_buf_release(&raw);
    tb_buf_release(&body);
    tb_buf_release(&rest);
    end(&show);
}

static void
await_viewers(const struct room *r, size_t count)
{
    for (int tries = 0; tb_viewers_count(&r->server->viewers) != count && tries < 6000;
         tries++) {
        (void)usleep(10000);
    }
    assert_int_equal(tb_viewers_count(&r->server->viewers), count);
}

static void
so_many_streams_and_no_more_and_who_hangs_up_makes_room(void **state)
{
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct room *r = *state;
    int fds[8];
    char octet;
    struct show show;

    begin(&show, r);
    fds[0] = ask(&show, "HEAD"); /* begins one that ends at once */
    assert_int_equal(recv(fds[0], &octet, 1, 0), 1);
    await_viewers(r, 0);
    (void)close(fds[0]);
    for (size_t i = 0; i < 8; i++) {
        fds[i] = ask(&show, "GET");
    }
    await_viewers(r, 8);
    assert_int_equal(call(r, "GET", show.path, &r->responder, NULL, NULL, &out), 503);
    assert_problem(&out, 503, "8 streams");
    for (size_t i = 0; i < 8; i++) { /* quiet as they are */
        (void)close(fds[i]);
    }
    await_viewers(r, 0);
    tb_buf_release(&out);
    end(&show);
}

static void
what_is_no_stream_is_refused(void **state)
{
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct room *r = *state;
    struct show show;
    char path[160];

    begin(&show, r);
    snprintf(path, sizeof(path), "/v1/captures/%s/stream?from=yesterday", show.id);
    assert_int_equal(call(r, "GET", path, &r->analyst, NULL, NULL, &out), 400);
    assert_problem(&out, 400, "start or now");
    snprintf(path, sizeof(path), "/v1/captures/%s/stream?bpf=", show.id);
    assert_int_equal(call(r, "GET", path, &r->analyst, NULL, NULL, &out), 400);
    assert_problem(&out, 400, "bpf");
    assert_int_equal(call(r, "GET", show.path, &r->alert, NULL, NULL, &out), 403);
    assert_int_equal(call(r, "GET", "/v1/captures/cap-20260102T030405Z-1a2b3c4d/stream",
                          &r->analyst, NULL, NULL, &out),
                     404);
    assert_int_equal(tb_viewers_count(&r->server->viewers), 0);
    tb_buf_release(&out);
    end(&show);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(chunks_are_sent_as_they_are_put_down_and_the_end_is_an_end),
        ROOM_TEST(two_lanes_are_one_stream_in_the_order_of_time),
        ROOM_TEST(a_stream_that_missed_something_does_not_end_as_if_it_were_whole),
        ROOM_TEST(so_many_streams_and_no_more_and_who_hangs_up_makes_room),
        ROOM_TEST(what_is_no_stream_is_refused),
    };

    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
