/*
 * Writes a segment of made-up packets, the same for the same seed, for tests of the format and
 * measurements of the encoder alone.
 * usage: segment_maker FILE [FILE_MEGABYTES] [LEVEL] [SEED]
 * Prints: packets, chunks, octets of the file and of the pcapng in it, seconds in the encoder.
 *        segment_maker --recover FILE
 * Repairs a segment that was cut off.  Prints: packets, chunks, octets.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <tapbox/io.h>
#include <tapbox/pcapng.h>
#include <tapbox/segment.h>

enum {
    DEFAULT_MEGABYTES = 50,
    DEFAULT_LEVEL = 3,
    MAX_CHUNKS = 4096,
    FRAME_MAX = 1514,
    /* A chunk is full when the next packet and both statistics blocks might not fit. */
    CHUNK_FULL =
        TB_CHUNK_BYTES - FRAME_MAX - TB_PCAPNG_PACKET_OVERHEAD - 2 * TB_PCAPNG_MAX_STATISTICS
};

struct maker {
    uint64_t random;
    int64_t now_utc_ns;
    struct tb_ledger ledger;
    uint8_t text[64 * 1024]; /* compresses well: words in random order */
    uint8_t noise[4 << 20];  /* does not: a chunk rarely meets the same part of it twice */
    uint8_t chunk[TB_CHUNK_BYTES];
    size_t chunk_len;
    struct tb_chunk_info info;
    uint64_t packets, plain, chunks;
    double encode_s;
};

static uint64_t
next_random(struct maker *maker)
{
    maker->random ^= maker->random << 13;
    maker->random ^= maker->random >> 7;
    maker->random ^= maker->random << 17;
    return maker->random;
}

static void
fill_pools(struct maker *maker)
{
    static const char *const words[] = {"GET ",    "/index",    ".html ",   "HTTP/1.1\r\n",
                                        "Host: ",  "example",   ".com\r\n", "Accept: ",
                                        "*/*\r\n", "Cookie: ",  "session=", "0123456789",
                                        "abcdef",  "200 OK\r\n"};
    size_t at = 0;

    while (at < sizeof(maker->text)) {
        const char *word = words[next_random(maker) % (sizeof(words) / sizeof(words[0]))];

        for (; *word != '\0' && at < sizeof(maker->text); word++) {
            maker->text[at++] = (uint8_t)*word;
        }
    }
    for (at = 0; at < sizeof(maker->noise); at += 8) {
        tb_set_le64(maker->noise + at, next_random(maker));
    }
}

/* UDP over IPv4 from one of 250 hosts, so that readers have something to take apart. */
static uint32_t
make_frame(struct maker *maker, uint8_t frame[FRAME_MAX])
{
    static const uint32_t sizes[] = {60, 60, 60, 60, 60, 60, 60, 590, 590, 590, 590, FRAME_MAX};
    static const uint8_t head[42] = {2,    0,    0,    0,    0, 1, 2,    0, 0,  0,
                                     0,    2,    8,    0, /* Ethernet */
                                     0x45, 0,    0,    0,    0, 0, 0x40, 0, 64, 17,
                                     0,    0,    10,   0,    0, 1, 10,   0, 0,  2, /* IPv4 */
                                     0x30, 0x39, 0x23, 0x28, 0, 0, 0,    0};       /* UDP */
    uint64_t r = next_random(maker);
    uint32_t len = sizes[r % (sizeof(sizes) / sizeof(sizes[0]))];
    bool is_text = (r >> 8) % 2 == 0;
    const uint8_t *pool = is_text ? maker->text : maker->noise;
    size_t pool_len = is_text ? sizeof(maker->text) : sizeof(maker->noise);

    memcpy(frame, head, sizeof(head));
    frame[16] = (uint8_t)((len - 14) >> 8);
    frame[17] = (uint8_t)(len - 14);
    frame[29] = (uint8_t)(1 + (r >> 16) % 250);
    frame[38] = (uint8_t)((len - 34) >> 8);
    frame[39] = (uint8_t)(len - 34);
    memcpy(frame + sizeof(head), pool + (r >> 32) % (pool_len - FRAME_MAX), len - sizeof(head));
    return len;
}

static void
put_head(struct maker *maker)
{
    struct tb_pcapng_section section = {
        .capture_id = "cap-20260101T000000Z-00000000",
        .reason = "made by segment_maker",
        .application = "tapbox " TB_VERSION,
        .started_utc_ns = maker->now_utc_ns,
    };

    maker->chunk_len = tb_pcapng_put_section(maker->chunk, sizeof(maker->chunk), &section);
    for (uint8_t i = 0; i < 2; i++) {
        struct tb_pcapng_interface interface = {
            .name = i == 0 ? "eni-00000000000000000" : "eni-00000000000000001",
            .description = "made-up traffic",
            .mac = {2, 0, 0, 0, 0, i},
        };

        maker->chunk_len +=
            tb_pcapng_put_interface(maker->chunk + maker->chunk_len,
                                    sizeof(maker->chunk) - maker->chunk_len, &interface);
    }
}

static void
put_packet(struct maker *maker)
{
    uint8_t frame[FRAME_MAX];
    uint32_t len = make_frame(maker, frame);
    struct tb_pcapng_packet packet = {
        .interface = (uint32_t)(maker->packets % 2),
        .utc_ns = maker->now_utc_ns,
        .captured = len,
        .original = len,
        .direction = TB_DIRECTION_INBOUND,
    };

    maker->chunk_len +=
        tb_pcapng_put_packet(maker->chunk + maker->chunk_len,
                             sizeof(maker->chunk) - maker->chunk_len, &packet, frame);
    if (maker->info.packets++ == 0) {
        maker->info.first_utc_ns = packet.utc_ns;
    }
    maker->info.last_utc_ns = packet.utc_ns;
    maker->now_utc_ns += 1000 + (int64_t)(next_random(maker) % 20000);
    maker->ledger.received++;
    maker->ledger.written++;
    maker->ledger.written_bytes += len;
    maker->packets++;
}

static double
now_s(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static enum tb_err
put_down(struct maker *maker, struct tb_segment_encoder *encoder, int fd, struct tb_fail *fail)
{
    struct tb_bytes out;
    double began = now_s();
    enum tb_err err;

    maker->info.ledger = maker->ledger;
    err = tb_segment_encoder_chunk(encoder, tb_bytes_of(maker->chunk, maker->chunk_len),
                                   &maker->info, &out, fail);
    if (err != TB_OK) {
        return err;
    }
    maker->encode_s += now_s() - began;
    maker->plain += maker->chunk_len;
    maker->chunks++;
    maker->chunk_len = 0;
    maker->info = (struct tb_chunk_info){0};
    return tb_write_all(fd, out, fail);
}

static enum tb_err
make_segment(struct maker *maker, uint64_t file_bytes, int level, int fd, struct tb_fail *fail)
{
    struct tb_segment_encoder *encoder = NULL;
    struct tb_bytes out;
    enum tb_err err =
        tb_segment_encoder_new(sizeof(maker->chunk), MAX_CHUNKS, level, &encoder, fail);

    if (err != TB_OK) {
        return err;
    }
    put_head(maker);
    while (err == TB_OK && tb_segment_encoder_bytes(encoder) < file_bytes) {
        put_packet(maker);
        if (maker->chunk_len > CHUNK_FULL) {
            err = put_down(maker, encoder, fd, fail);
        }
    }
    for (uint32_t i = 0; i < 2; i++) {
        maker->chunk_len += tb_pcapng_put_statistics(maker->chunk + maker->chunk_len,
                                                     sizeof(maker->chunk) - maker->chunk_len, i,
                                                     0, maker->now_utc_ns, &maker->ledger);
    }
    if (err == TB_OK) {
        err = put_down(maker, encoder, fd, fail);
    }
    if (err == TB_OK) {
        err = tb_segment_encoder_finish(encoder, false, &out, fail);
    }
    if (err == TB_OK) {
        err = tb_write_all(fd, out, fail);
    }
    if (err == TB_OK) {
        printf("packets=%llu chunks=%llu bytes=%llu plain=%llu encode_s=%.3f\n",
               (unsigned long long)maker->packets, (unsigned long long)maker->chunks,
               (unsigned long long)tb_segment_encoder_bytes(encoder),
               (unsigned long long)maker->plain, maker->encode_s);
    }
    tb_segment_encoder_free(encoder);
    return err;
}

static int
recover(const char *path)
{
    struct tb_segment_summary summary;
    struct tb_fail fail = {0};
    bool changed = false;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    enum tb_err err;

    if (fd < 0) {
        perror(path);
        return 1;
    }
    err = tb_segment_recover(fd, &changed, &summary, &fail);
    tb_close(&fd);
    if (err != TB_OK) {
        fprintf(stderr, "%s: %s\n", path, fail.text);
        return 1;
    }
    printf("packets=%llu chunks=%zu bytes=%llu changed=%d\n",
           (unsigned long long)summary.packets, summary.chunk_count,
           (unsigned long long)summary.bytes, changed);
    return 0;
}

int
main(int argc, char **argv)
{
    static struct maker maker;
    uint64_t megabytes = argc > 2 ? strtoull(argv[2], NULL, 10) : DEFAULT_MEGABYTES;
    int level = argc > 3 ? atoi(argv[3]) : DEFAULT_LEVEL;
    struct tb_fail fail = {0};
    enum tb_err err;
    int fd;

    if (argc == 3 && strcmp(argv[1], "--recover") == 0) {
        return recover(argv[2]);
    }
    if (argc < 2 || argv[1][0] == '-' || megabytes == 0) {
        fprintf(stderr, "usage: segment_maker FILE [FILE_MEGABYTES] [LEVEL] [SEED]\n"
                        "       segment_maker --recover FILE\n");
        return 2;
    }
    maker.random = (argc > 4 ? strtoull(argv[4], NULL, 10) : 1) * UINT64_C(0x9E3779B97F4A7C15);
    maker.random = maker.random == 0 ? 1 : maker.random;
    maker.now_utc_ns = INT64_C(1767225600000000001);
    fill_pools(&maker);
    fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        perror(argv[1]);
        return 1;
    }
    err = make_segment(&maker, megabytes * 1000 * 1000, level, fd, &fail);
    if (err != TB_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], fail.text);
    }
    tb_close(&fd);
    return err == TB_OK ? 0 : 1;
}
