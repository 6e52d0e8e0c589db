/*
 * Traffic for the bench: VXLAN datagrams of made-up frames, the same for the same seed.
 *
 * usage: generator send INTERFACE PROFILE RATE SECONDS [SEED [VNIS]]
 *        generator receive INTERFACE PROFILE RATE SECONDS [SEED [VNIS]]
 *        generator pcap FILE PROFILE PACKETS [SEED]
 * `send`: RATE packets a second, 0: all it can.  `receive`: as if a driver of INTERFACE had
 * taken them from its card (BPF_PROG_RUN with live frames, Linux 5.18; needs root); it costs a
 * third of sending.  `pcap`: outer frames, for the offline pipeline.  PROFILE: imix (inner
 * frames of 66, 590, 1500 octets, 7:4:1), large (1400), small (66), tls (random, 1500 and 66,
 * 2:1).  Payloads are half text, half random, but for tls. Prints: packets, octets of inner
 * frames, seconds.
 *
 * Outer: 10.77.0.1 -> 10.77.0.2, VNI 42 (and on, VNIS of them in turn), the source port by
 * flow, as AWS does it; MAC addresses 02:00:00:00:00:01 -> :02.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    POOL = 16384, /* frames: their text is further apart than compressors look back */
    BATCH = 64,
    OUTER_BYTES = 14 + 20 + 8 + 8,
    INNER_MAX = 1500,
    FRAME_MAX = OUTER_BYTES + INNER_MAX,
    FLOWS = 64,
    TEXT_BYTES = 64 * 1024,
    INNER_HEADERS = 14 + 20 + 20,
    FIRST_VNI = 42,
    RECEIVE_BATCH = 64,  /* frames that go up the stack at once: a driver's budget */
    RECEIVE_MOST = 4096, /* frames of one call */
    BURSTS_PER_S = 1000, /* calls a second, when the rate is limited */
    NS_PER_S = 1000000000
};

struct frame {
    uint32_t len;
    uint8_t at[FRAME_MAX];
};

static struct frame frames[POOL];
static char text[TEXT_BYTES];
static uint64_t random_state;

static uint64_t
next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void
put16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void
put32(uint8_t *at, uint64_t value)
{
    put16(at, (size_t)(value >> 16 & 0xffff));
    put16(at + 2, (size_t)(value & 0xffff));
}

static void
ipv4(uint8_t *at, size_t len, uint8_t protocol, uint32_t source, uint32_t destination)
{
    uint32_t sum = 0;

    memset(at, 0, 20);
    at[0] = 0x45;
    put16(at + 2, len);
    at[8] = 64;
    at[9] = protocol;
    put32(at + 12, source);
    put32(at + 16, destination);
    for (int i = 0; i < 20; i += 2) {
        sum += (uint32_t)at[i] << 8 | at[i + 1];
    }
    sum = (sum & 0xffff) + (sum >> 16);
    put16(at + 10, ~(sum + (sum >> 16)) & 0xffff);
}

static void
fill_text(void)
{
    static const char *const words[] = {
        "GET ",     "/index",     ".html ",           "HTTP/1.1\r\n", "Host: ",   "example",
        ".com\r\n", "Accept: ",   "*/*\r\n",          "Cookie: ",     "session=", "0123456789",
        "abcdef",   "200 OK\r\n", "Content-Length: ", "gzip, "};
    size_t at = 0;

    while (at < TEXT_BYTES) {
        const char *word = words[next_random() % (sizeof(words) / sizeof(words[0]))];
        size_t len = strlen(word);

        len = len < TEXT_BYTES - at ? len : TEXT_BYTES - at;
        memcpy(text + at, word, len);
        at += len;
    }
}

static void
fill_random(uint8_t *at, size_t len)
{
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = next_random();

        memcpy(at + i, &word, len - i < 8 ? len - i : 8);
    }
}

static void
make_frame(struct frame *frame, size_t inner, int is_tls)
{
    uint64_t flow = next_random() % FLOWS;
    uint8_t *outer = frame->at;
    uint8_t *in = outer + OUTER_BYTES;
    uint8_t *payload = in + INNER_HEADERS;
    size_t len = inner - INNER_HEADERS;
    int from_server = (int)(next_random() & 1);
    uint32_t client = 0x0a090001, server = 0x0a090100 + (uint32_t)flow / 4;
    size_t client_port = 32768 + flow * 17, server_port = is_tls ? 443 : 80;
    static const uint8_t outer_link[14] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0};
    static const uint8_t inner_link[14] = {6, 0, 0, 0, 0, 2, 6, 0, 0, 0, 0, 1, 8, 0};

    frame->len = (uint32_t)(OUTER_BYTES + inner);
    memcpy(outer, outer_link, sizeof(outer_link));
    ipv4(outer + 14, frame->len - 14, 17, 0x0a4d0001, 0x0a4d0002);
    put16(outer + 34, 49152 + flow);
    put16(outer + 36, 4789);
    put16(outer + 38, frame->len - 34);
    put16(outer + 40, 0);
    put32(outer + 42, 0x08000000);
    put32(outer + 46, FIRST_VNI << 8);
    memcpy(in, inner_link, sizeof(inner_link));
    ipv4(in + 14, inner - 14, 6, from_server ? server : client, from_server ? client : server);
    put16(in + 34, from_server ? server_port : client_port);
    put16(in + 36, from_server ? client_port : server_port);
    put32(in + 38, next_random() & 0xffffffff);
    put32(in + 42, next_random() & 0xffffffff);
    put32(in + 46, 0x5010ffff);
    put32(in + 50, next_random() & 0xffff0000);
    if (is_tls) {
        fill_random(payload, len);
        if (len > 5) {
            memcpy(payload, "\x17\x03\x03", 3);
            put16(payload + 3, len - 5);
        }
    } else {
        memcpy(payload, text + next_random() % (TEXT_BYTES - INNER_MAX), len / 2);
        fill_random(payload + len / 2, len - len / 2);
    }
}

static int
make_pool(const char *profile, uint64_t seed)
{
    random_state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    fill_text();
    for (size_t i = 0; i < POOL; i++) {
        uint64_t dice = next_random() % 12;
        size_t size;

        if (strcmp(profile, "imix") == 0) {
            size = dice < 7 ? 66 : dice < 11 ? 590 : 1500;
        } else if (strcmp(profile, "large") == 0) {
            size = 1400;
        } else if (strcmp(profile, "small") == 0) {
            size = 66;
        } else if (strcmp(profile, "tls") == 0) {
            size = dice < 8 ? 1500 : 66;
        } else {
            return 0;
        }
        make_frame(&frames[i], size, strcmp(profile, "tls") == 0);
    }
    return 1;
}

/* One sender, many captures: frame after frame to the next VNI. */
static void
spread(uint32_t vnis)
{
    for (uint32_t i = 0; i < POOL; i++) {
        put32(frames[i].at + OUTER_BYTES - 4, (uint64_t)(FIRST_VNI + i % vnis) << 8);
    }
}

static int64_t
now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* --- ways to a recorder: each takes up to `most` frames, from frames[next] on --- */

static int
open_socket(const char *interface)
{
    struct sockaddr_ll to = {.sll_family = AF_PACKET,
                             .sll_ifindex = (int)if_nametoindex(interface)};
    int on = 1;
    int bytes = 4 << 20;
    int fd = socket(AF_PACKET, SOCK_RAW, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)) != 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) != 0) {
        perror(interface);
        exit(1);
    }
    return fd;
}

static size_t
send_some(int fd, size_t next, size_t most)
{
    static struct mmsghdr messages[BATCH];
    static struct iovec parts[BATCH];
    int n;

    most = most < BATCH ? most : BATCH;
    for (size_t i = 0; i < most; i++) {
        struct frame *frame = &frames[(next + i) % POOL];

        parts[i] = (struct iovec){frame->at, frame->len};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    n = sendmmsg(fd, messages, (unsigned)most, 0);
    if (n < 0 && errno != ENOBUFS && errno != EAGAIN && errno != EINTR) {
        perror("sendmmsg");
        exit(1);
    }
    return n > 0 ? (size_t)n : 0;
}

static int
bpf(enum bpf_cmd command, union bpf_attr *attr, const char *what)
{
    int result = (int)syscall(SYS_bpf, command, attr, sizeof(*attr));

    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

static int
new_array(size_t value_bytes, uint32_t entries)
{
    union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY,
                           .key_size = sizeof(uint32_t),
                           .value_size = (uint32_t)value_bytes,
                           .max_entries = entries};

    return bpf(BPF_MAP_CREATE, &attr, "a table of frames for the kernel");
}

/*
 * A program that makes of each frame of `interface` (FRAME_MAX octets of whatever) the next one
 * of `pool`, and passes it up the stack.  Registers: 6 the frame, 7 its number, then its place
 * in `pool`, 8 its length.
 */
static int
load_program(int position, int pool, uint32_t interface)
{
#define OP(c, d, s, o, i)                                                                      \
    ((struct bpf_insn){.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)})
#define MOVE(d, s) OP(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define SET(d, i) OP(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ADD(d, i) OP(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define LOAD(d, s, o) OP(BPF_LDX | BPF_MEM | BPF_W, d, s, o, 0)
#define STORE(d, o, s) OP(BPF_STX | BPF_MEM | BPF_W, d, s, o, 0)
#define MAP(fd) OP(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, fd), OP(0, 0, 0, 0, 0)
#define CALL(f) OP(BPF_JMP | BPF_CALL, 0, 0, 0, f)
#define EXIT OP(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define EXIT_UNLESS(how, d, i) OP(BPF_JMP | (how) | BPF_K, d, 0, 1, i), EXIT
    const struct bpf_insn insns[] = {
        MOVE(6, 1),
        SET(0, XDP_PASS),
        LOAD(1, 6, offsetof(struct xdp_md, ingress_ifindex)),
        EXIT_UNLESS(BPF_JEQ, 1, (int)interface),
        /* the number of this frame, and of the next */
        OP(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0),
        MOVE(2, 10),
        ADD(2, -4),
        MAP(position),
        CALL(BPF_FUNC_map_lookup_elem),
        EXIT_UNLESS(BPF_JNE, 0, 0),
        LOAD(7, 0, 0),
        MOVE(1, 7),
        ADD(1, 1),
        OP(BPF_ALU64 | BPF_AND | BPF_K, 1, 0, 0, POOL - 1),
        STORE(0, 0, 1),
        /* where it is */
        STORE(10, -4, 7),
        MOVE(2, 10),
        ADD(2, -4),
        MAP(pool),
        CALL(BPF_FUNC_map_lookup_elem),
        EXIT_UNLESS(BPF_JNE, 0, 0),
        MOVE(7, 0),
        /* its length, its octets */
        LOAD(8, 7, 0),
        MOVE(1, 6),
        MOVE(2, 8),
        ADD(2, -FRAME_MAX),
        CALL(BPF_FUNC_xdp_adjust_tail),
        EXIT_UNLESS(BPF_JEQ, 0, 0),
        EXIT_UNLESS(BPF_JNE, 8, 0),
        EXIT_UNLESS(BPF_JLE, 8, FRAME_MAX),
        MOVE(1, 6),
        SET(2, 0),
        MOVE(3, 7),
        ADD(3, (int)offsetof(struct frame, at)),
        MOVE(4, 8),
        CALL(BPF_FUNC_xdp_store_bytes),
        SET(0, XDP_PASS),
        EXIT,
    };
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_XDP,
                           .insns = (uintptr_t)insns,
                           .insn_cnt = sizeof(insns) / sizeof(insns[0]),
                           .license = (uintptr_t) ""};

    return bpf(BPF_PROG_LOAD, &attr, "a program for the kernel");
}

/* A program that is new to the kernel's XDP is patched into its code, and out again, for every
 * run of it, which stops all cores for a moment; one that an interface has is not. */
static void
make_known(int program)
{
    union bpf_attr attr = {.link_create = {.prog_fd = (uint32_t)program,
                                           .target_ifindex = if_nametoindex("lo"),
                                           .attach_type = BPF_XDP,
                                           .flags = XDP_FLAGS_SKB_MODE}};

    (void)bpf(BPF_LINK_CREATE, &attr, "a program at lo"); /* (until this process ends) */
}

static int
open_driver(uint32_t interface)
{
    int position = new_array(sizeof(uint32_t), 1);
    int pool = new_array(sizeof(struct frame), POOL);
    int program;

    for (uint32_t i = 0; i < POOL; i++) {
        union bpf_attr put = {
            .map_fd = (uint32_t)pool, .key = (uintptr_t)&i, .value = (uintptr_t)&frames[i]};

        (void)bpf(BPF_MAP_UPDATE_ELEM, &put, "a frame for the kernel");
    }
    program = load_program(position, pool, interface);
    make_known(program);
    return program;
}

/* (the program keeps count of the frames as the caller does) */
static size_t
receive_some(int program, uint32_t interface, size_t most)
{
    static uint8_t blank[FRAME_MAX];
    struct xdp_md from = {.data_end = FRAME_MAX, .ingress_ifindex = interface};
    union bpf_attr attr = {.test = {.prog_fd = (uint32_t)program,
                                    .data_size_in = FRAME_MAX,
                                    .data_in = (uintptr_t)blank,
                                    .repeat = (uint32_t)most,
                                    .ctx_size_in = sizeof(from),
                                    .ctx_in = (uintptr_t)&from,
                                    .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
                                    .batch_size = RECEIVE_BATCH}};

    (void)bpf(BPF_PROG_RUN, &attr, "frames up the stack");
    return most;
}

static void
deliver(const char *interface, int as_driver, double rate, double seconds)
{
    uint32_t index = if_nametoindex(interface);
    int fd = as_driver ? open_driver(index) : open_socket(interface);
    size_t most = !as_driver ? BATCH
                  : rate > 0 ? (size_t)(rate / BURSTS_PER_S) + 1
                             : RECEIVE_MOST;
    int64_t begin = now_ns();
    int64_t end = begin + (int64_t)(seconds * NS_PER_S);
    uint64_t sent = 0, octets = 0;
    int64_t now = begin;

    while (now < end) {
        size_t next = (size_t)(sent % POOL);
        size_t n = as_driver ? receive_some(fd, index, most) : send_some(fd, next, most);

        for (size_t i = 0; i < n; i++) {
            octets += frames[(next + i) % POOL].len - OUTER_BYTES;
        }
        sent += n;
        now = now_ns();
        if (rate > 0) {
            int64_t due = begin + (int64_t)((double)sent / rate * NS_PER_S);

            if (due > now) {
                struct timespec until = {due / NS_PER_S, due % NS_PER_S};

                (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
                now = due;
            }
        }
    }
    printf("%llu %llu %.3f\n", (unsigned long long)sent, (unsigned long long)octets,
           (double)(now_ns() - begin) / NS_PER_S);
    (void)close(fd);
}

static void
write_pcap(const char *path, uint64_t packets)
{
    static const uint32_t head[6] = {0xA1B23C4D, 2 | 4 << 16, 0, 0, 262144, 1};
    FILE *file = fopen(path, "wb");
    uint64_t octets = 0;

    if (file == NULL || fwrite(head, sizeof(head), 1, file) != 1) {
        perror(path);
        exit(1);
    }
    for (uint64_t i = 0; i < packets; i++) {
        const struct frame *frame = &frames[i % POOL];
        /* 100,000 a second, with some noise in the last digits */
        uint32_t record[4] = {(uint32_t)(1700000000 + i / 100000),
                              (uint32_t)(i % 100000 * 10000 + next_random() % 9000),
                              (uint32_t)frame->len, (uint32_t)frame->len};

        if (fwrite(record, sizeof(record), 1, file) != 1 ||
            fwrite(frame->at, frame->len, 1, file) != 1) {
            perror(path);
            exit(1);
        }
        octets += frame->len - OUTER_BYTES;
    }
    if (fclose(file) != 0) {
        perror(path);
        exit(1);
    }
    printf("%llu %llu 0\n", (unsigned long long)packets, (unsigned long long)octets);
}

int
main(int argc, char **argv)
{
    int is_driver = argc >= 6 && strcmp(argv[1], "receive") == 0;
    int is_send = is_driver || (argc >= 6 && strcmp(argv[1], "send") == 0);
    int is_pcap = argc >= 5 && strcmp(argv[1], "pcap") == 0;
    int seed_at = is_send ? 6 : 5;

    if ((!is_send && !is_pcap) ||
        !make_pool(argv[3], argc > seed_at ? strtoull(argv[seed_at], NULL, 10) : 1)) {
        fputs("usage: generator send|receive INTERFACE PROFILE RATE SECONDS [SEED [VNIS]]\n"
              "       generator pcap FILE PROFILE PACKETS [SEED]\n",
              stderr);
        return 2;
    }
    if (is_send) {
        uint32_t vnis = argc > 7 ? (uint32_t)strtoul(argv[7], NULL, 10) : 1;

        spread(vnis > 0 ? vnis : 1);
        deliver(argv[2], is_driver, strtod(argv[4], NULL), strtod(argv[5], NULL));
    } else {
        write_pcap(argv[2], strtoull(argv[4], NULL, 10));
    }
    return 0;
}
