/* tapbox record: the recorder process, or the same pipeline over a capture file. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tapbox/config.h>
#include <tapbox/json.h>
#include <tapbox/log.h>
#include <tapbox/recorder.h>
#include <tapbox/vxlan.h>

#include "cli_int.h"

#define NAME "record"

enum {
    RING_BYTES = 64 << 20,
    MEMORY_BYTES = 64 << 20,
    ROTATE_BYTES = 128 << 20,
    LEVEL = 1,
    LEVEL_MIN = -5,
    LEVEL_MAX = 19,
    MAX_SOURCES = 64, /* on the command line */
    JSON_MAX_BYTES = 65536
};

struct options {
    struct tb_recorder_options record;
    struct tb_replay_options replay;
    struct tb_record_source sources[MAX_SOURCES];
    const char *bpf_text;
    bool json;
    struct tb_config config; /* with --config: what `record` points into */
    char spool_dir[sizeof(((struct tb_config *)NULL)->state_dir) + 8];
};

static void
print_help(void)
{
    fputs(
        "Usage: tapbox record --config FILE [OPTION]...\n"
        "   or: tapbox record --interface IF --socket PATH --spool DIR [OPTION]...\n"
        "   or: tapbox record --replay FILE --out DIR [OPTION]...\n"
        "\n"
        "Receives mirrored traffic (VXLAN on UDP port 4789), takes the wrapping off and "
        "writes\n"
        "the frames of every capture that 'tapbox serve' arms into "
        "DIR/<capture>/*.pcapng.zst.\n"
        "It needs CAP_NET_RAW to start and gives up every right before the first packet.  It\n"
        "ends on SIGTERM or SIGINT, after sealing what is open; a capture goes on while serve\n"
        "restarts, and ends at its deadline without being told.\n"
        "\n"
        "  --config FILE       take what follows from serve's configuration; options after it\n"
        "                      stand over it\n"
        "  --interface IF      where mirrored packets arrive, e.g. eth0\n"
        "  --socket PATH       where serve finds it, e.g. /run/tapbox/recorder.sock\n"
        "  --spool DIR         where segments are kept until they are in S3\n"
        "  --ring SIZE         kernel memory for packets that wait to be read (64MiB)\n"
        "  --lanes N           receive threads, each with its share of the packets and its "
        "own\n"
        "                      files (1); one a core at most\n"
        "  --memory SIZE       memory for chunks that wait to be compressed (64MiB)\n"
        "  --level N           zstd level, -5 to 19 (1); falls by itself under load\n"
        "  --spool-limit SIZE  above this, packets are counted and not kept (0: no limit)\n"
        "  --min-free SIZE     so much stays free on the disk (256MiB)\n"
        "\n"
        "A capture file instead of an interface; no rights are needed, nothing is dropped:\n"
        "  --replay FILE       pcap or pcapng of VXLAN packets\n"
        "  --out DIR           made when it is not there\n"
        "  --source IP,VNI     only packets of this sender and VNI (repeatable); without it,\n"
        "                      or with --any-vni, every sender and VNI\n"
        "  --filter EXPRESSION only inner frames that match, as for tcpdump\n"
        "  --snaplen N         octets kept of each frame (0: all)\n"
        "  --rotate SIZE       a new segment after so much (128MiB)\n"
        "  --json              the ledger as JSON\n"
        "\n"
        "  --log LEVEL         error, warn, info, debug (info)\n"
        "Sizes may end in KiB, MiB or GiB.\n"
        "Example: tapbox record --replay mirror.pcap --out /tmp/spool --json\n",
        stdout);
}

static bool
parse_size(const char *text, uint64_t *out)
{
    static const struct {
        const char *unit;
        unsigned shift;
    } units[] = {{"", 0},     {"K", 10}, {"KiB", 10}, {"M", 20},
                 {"MiB", 20}, {"G", 30}, {"GiB", 30}};
    char *end;
    unsigned long long n;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (end == text || errno != 0 || text[0] == '-') {
        return false;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) == 0 && n <= UINT64_MAX >> units[i].shift) {
            *out = (uint64_t)n << units[i].shift;
            return true;
        }
    }
    return false;
}

static bool
parse_number(const char *text, long low, long high, long *out)
{
    char *end;

    errno = 0;
    *out = strtol(text, &end, 10);
    return end != text && *end == '\0' && errno == 0 && *out >= low && *out <= high;
}

/* "10.0.0.1,42" or "2001:db8::1,42" */
static bool
parse_source(const char *text, struct tb_record_source *out)
{
    const char *comma = strrchr(text, ',');
    char address[TB_IP_TEXT_SIZE];
    long vni;

    if (comma == NULL || (size_t)(comma - text) >= sizeof(address) ||
        !parse_number(comma + 1, 0, 0xffffff, &vni)) {
        return false;
    }
    memcpy(address, text, (size_t)(comma - text));
    address[comma - text] = '\0';
    memset(out, 0, sizeof(*out));
    out->vni = (uint32_t)vni;
    if (inet_pton(AF_INET, address, out->outer + 12) == 1) {
        out->outer[10] = out->outer[11] = 0xff;
    } else if (inet_pton(AF_INET6, address, out->outer) != 1) {
        return false;
    }
    (void)snprintf(out->eni, sizeof(out->eni), "vni-%ld", vni);
    (void)snprintf(out->description, sizeof(out->description), "VNI %ld of %s", vni, address);
    return true;
}

enum {
    OPT_CONFIG = 256,
    OPT_INTERFACE,
    OPT_SOCKET,
    OPT_SOCKET_FD,
    OPT_SPOOL,
    OPT_RING,
    OPT_MEMORY,
    OPT_LANES,
    OPT_LEVEL,
    OPT_SPOOL_LIMIT,
    OPT_MIN_FREE,
    OPT_REPLAY,
    OPT_OUT,
    OPT_SOURCE,
    OPT_ANY_VNI,
    OPT_FILTER,
    OPT_SNAPLEN,
    OPT_ROTATE,
    OPT_JSON,
    OPT_LOG
};

static const struct option long_options[] = {
    {"config", required_argument, NULL, OPT_CONFIG},
    {"interface", required_argument, NULL, OPT_INTERFACE},
    {"socket", required_argument, NULL, OPT_SOCKET},
    {"socket-fd", required_argument, NULL, OPT_SOCKET_FD},
    {"spool", required_argument, NULL, OPT_SPOOL},
    {"ring", required_argument, NULL, OPT_RING},
    {"lanes", required_argument, NULL, OPT_LANES},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"level", required_argument, NULL, OPT_LEVEL},
    {"spool-limit", required_argument, NULL, OPT_SPOOL_LIMIT},
    {"min-free", required_argument, NULL, OPT_MIN_FREE},
    {"replay", required_argument, NULL, OPT_REPLAY},
    {"out", required_argument, NULL, OPT_OUT},
    {"source", required_argument, NULL, OPT_SOURCE},
    {"any-vni", no_argument, NULL, OPT_ANY_VNI},
    {"filter", required_argument, NULL, OPT_FILTER},
    {"snaplen", required_argument, NULL, OPT_SNAPLEN},
    {"rotate", required_argument, NULL, OPT_ROTATE},
    {"json", no_argument, NULL, OPT_JSON},
    {"log", required_argument, NULL, OPT_LOG},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* The recorder's part of serve's configuration, so that a unit of its own needs no second one.
 */
static enum tb_err
take_config(struct options *o, const char *path, struct tb_fail *fail)
{
    const struct tb_config *config = &o->config;
    enum tb_err err = tb_config_load(path, &o->config, fail);

    if (err != TB_OK) {
        return err;
    }
    (void)snprintf(o->spool_dir, sizeof(o->spool_dir), "%s/spool", config->state_dir);
    o->record.interface = config->recorder_interface;
    o->record.socket_path = config->recorder_socket;
    o->record.spool_dir = o->spool_dir;
    o->record.ring_bytes = config->recorder_ring_bytes;
    o->record.lanes = config->recorder_lanes;
    o->record.slab_bytes = config->recorder_slab_bytes;
    o->record.level = config->recorder_level;
    o->record.spool_limit_bytes = config->spool_limit_bytes;
    o->record.spool_min_free_bytes = config->spool_min_free_bytes;
    tb_log_start(NAME, config->log_level);
    return TB_OK;
}

/* False when `value` is not one for the option. */
static bool
take_option(struct options *o, int which, const char *value)
{
    enum tb_log_level log_level;
    long number;

    switch (which) {
    case OPT_INTERFACE:
        o->record.interface = value;
        return value[0] != '\0';
    case OPT_SOCKET:
        o->record.socket_path = value;
        return value[0] != '\0';
    case OPT_SOCKET_FD:
        if (!parse_number(value, 0, INT16_MAX, &number)) {
            return false;
        }
        o->record.socket_fd = (int)number;
        return true;
    case OPT_SPOOL:
        o->record.spool_dir = value;
        return value[0] != '\0';
    case OPT_RING:
        return parse_size(value, &o->record.ring_bytes);
    case OPT_LANES:
        if (!parse_number(value, 1, TB_RECORDER_MAX_LANES, &number)) {
            return false;
        }
        o->record.lanes = (unsigned)number;
        return true;
    case OPT_MEMORY:
        return parse_size(value, &o->record.slab_bytes);
    case OPT_LEVEL:
        if (!parse_number(value, LEVEL_MIN, LEVEL_MAX, &number)) {
            return false;
        }
        o->record.level = (int)number;
        return true;
    case OPT_SPOOL_LIMIT:
        return parse_size(value, &o->record.spool_limit_bytes);
    case OPT_MIN_FREE:
        return parse_size(value, &o->record.spool_min_free_bytes);
    case OPT_REPLAY:
        o->replay.file = value;
        return true;
    case OPT_OUT:
        o->replay.out_dir = value;
        return value[0] != '\0';
    case OPT_SOURCE:
        return o->replay.source_count < MAX_SOURCES &&
               parse_source(value, &o->sources[o->replay.source_count++]);
    case OPT_ANY_VNI:
        o->replay.source_count = 0;
        return true;
    case OPT_FILTER:
        o->bpf_text = value;
        return true;
    case OPT_SNAPLEN:
        if (!parse_number(value, 0, TB_SNAPLEN_MAX, &number)) {
            return false;
        }
        o->replay.snaplen = (uint32_t)number;
        return true;
    case OPT_ROTATE:
        return parse_size(value, &o->replay.rotate_bytes) && o->replay.rotate_bytes > 0;
    case OPT_JSON:
        o->json = true;
        return true;
    case OPT_LOG:
        if (tb_log_level_parse(value, &log_level) != TB_OK) {
            return false;
        }
        tb_log_start(NAME, log_level);
        return true;
    default:
        return false;
    }
}

/* --- replay --- */

static enum tb_err
print_json(const struct tb_replay_result *result, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(JSON_MAX_BYTES);
    struct tb_json *root = tb_json_object();
    enum tb_err err;

    tb_json_set_str(root, "capture", result->capture_id);
    tb_json_set_int(root, "sources", result->sources);
    tb_json_set_int(root, "segments", result->status.segments);
    tb_json_set(root, "host", tb_ledger_json(&result->host));
    tb_json_set(root, "ledger", tb_ledger_json(&result->status.ledger));
    err = tb_json_dump(root, true, &text, fail);
    if (err == TB_OK) {
        puts(tb_buf_str(&text));
    }
    tb_json_free(root);
    tb_buf_release(&text);
    return err;
}

static void
print_ledger(const struct tb_replay_result *result)
{
    printf("%s: %u sources, %u segments\n", result->capture_id, result->sources,
           result->status.segments);
    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        printf("  %-14s %12" PRIu64 "\n", tb_ledger_fields[i].name,
               tb_ledger_get(&result->host, i));
    }
    printf("  %-14s %12" PRId64 "\n", "residual", tb_ledger_residual(&result->host));
}

static int
replay(struct options *o)
{
    struct tb_replay_result result;
    struct tb_bpf_insn *bpf = NULL;
    struct tb_fail fail = {.err = TB_OK};
    enum tb_err err = TB_OK;

    if (o->replay.out_dir == NULL) {
        return tb_cli_usage(NAME, "--replay needs --out DIR");
    }
    o->replay.sources = o->replay.source_count > 0 ? o->sources : NULL;
    o->replay.level = o->record.level;
    o->replay.slab_bytes = o->record.slab_bytes;
    if (o->bpf_text != NULL) {
        err = tb_bpf_compile(o->bpf_text, &bpf, &o->replay.bpf_count, &fail);
        o->replay.bpf = bpf;
    }
    if (err == TB_OK) {
        err = tb_replay(&o->replay, &result, &fail);
    }
    if (err == TB_OK && o->json) {
        err = print_json(&result, &fail);
    } else if (err == TB_OK) {
        print_ledger(&result);
    }
    free(bpf);
    return err == TB_OK ? tb_cli_finish_stdout(NAME) : tb_cli_fail(NAME, &fail);
}

int
tb_cmd_record(int argc, char **argv)
{
    struct options o = {
        .record = {.socket_fd = -1,
                   .ring_bytes = RING_BYTES,
                   .slab_bytes = MEMORY_BYTES,
                   .spool_min_free_bytes = UINT64_C(256) << 20,
                   .level = LEVEL,
                   .vxlan_port = TB_VXLAN_PORT},
        .replay = {.rotate_bytes = ROTATE_BYTES},
    };
    struct tb_fail fail = {.err = TB_OK};
    int at = 0;
    int got;

    tb_log_start(NAME, TB_LOG_INFO);
    while ((got = getopt_long(argc, argv, "h", long_options, &at)) != -1) {
        if (got == 'h') {
            print_help();
            return tb_cli_finish_stdout(NAME);
        }
        if (got == '?') {
            return tb_cli_try_help(NAME);
        }
        if (got == OPT_CONFIG) {
            if (take_config(&o, optarg, &fail) != TB_OK) {
                return tb_cli_fail(NAME, &fail);
            }
            continue;
        }
        if (!take_option(&o, got, optarg)) {
            return tb_cli_usage(NAME, "--%s cannot be '%s'", long_options[at].name, optarg);
        }
    }
    if (optind < argc) {
        return tb_cli_usage(NAME, "what is '%s'?", argv[optind]);
    }
    if (o.replay.file != NULL) {
        return replay(&o);
    }
    if (o.record.interface == NULL || o.record.spool_dir == NULL ||
        (o.record.socket_path == NULL && o.record.socket_fd < 0)) {
        return tb_cli_usage(NAME,
                            "--config FILE, or --interface, --socket and --spool are needed");
    }
    if (tb_recorder_main(&o.record, &fail) != TB_OK) {
        return tb_cli_fail(NAME, &fail);
    }
    return TB_EXIT_OK;
}

int
tb_cmd_bpf_compile(int argc, char **argv)
{
    struct tb_fail fail = {.err = TB_OK};

    (void)argv;
    if (argc > 1) {
        return tb_cli_usage("bpf-compile", "it is for tapbox itself");
    }
    return tb_bpf_child_main(&fail) == TB_OK ? TB_EXIT_OK : tb_cli_fail("bpf-compile", &fail);
}
