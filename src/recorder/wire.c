/* Encoding and decoding of the messages of wire_int.h. */
#include "wire_int.h"

#include <ctype.h>

#include <tapbox/ids.h>

enum {
    VERSION = 1,
    VERSION_PACKETS = 2, /* of an ARM with a packet budget */
    ANSWER_BIT = 0x80,
    VNI_MAX = 0xffffff
};

/* --- writing --- */

static void
put_text(struct tb_buf *out, const char *text)
{
    tb_buf_put_le16(out, (uint16_t)strlen(text));
    tb_buf_put_str(out, text);
}

static void
put_i64(struct tb_buf *out, int64_t value)
{
    tb_buf_put_le64(out, (uint64_t)value);
}

static void
put_ledger(struct tb_buf *out, const struct tb_ledger *ledger)
{
    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        tb_buf_put_le64(out, tb_ledger_get(ledger, i));
    }
}

static void
put_head(struct tb_buf *out, uint8_t version, uint8_t kind, uint16_t err, uint32_t cookie)
{
    tb_buf_put_u8(out, version);
    tb_buf_put_u8(out, kind);
    tb_buf_put_le16(out, err);
    tb_buf_put_le32(out, cookie);
}

static void
put_spec(struct tb_buf *out, const struct tb_record_spec *spec)
{
    put_text(out, spec->capture_id);
    put_text(out, spec->case_id);
    put_text(out, spec->reason);
    put_text(out, spec->finding_id);
    put_text(out, spec->finding_type);
    put_text(out, spec->host);
    put_i64(out, spec->deadline_boot_ns);
    tb_buf_put_le32(out, spec->snaplen);
    tb_buf_put_le64(out, spec->max_bytes);
    if (spec->max_packets != 0) {
        tb_buf_put_le64(out, spec->max_packets);
    }
    tb_buf_put_le64(out, spec->rotate_bytes);
    tb_buf_put_le32(out, spec->rotate_s);
    put_text(out, spec->bpf_text);
    tb_buf_put_le32(out, spec->source_count);
    for (uint32_t i = 0; i < spec->source_count && i < TB_CAPTURE_MAX_SOURCES; i++) {
        const struct tb_record_source *source = &spec->sources[i];

        tb_buf_put(out, source->outer, sizeof(source->outer));
        tb_buf_put_le32(out, source->vni);
        tb_buf_put(out, source->mac, sizeof(source->mac));
        put_text(out, source->eni);
        put_text(out, source->description);
    }
    tb_buf_put_le32(out, spec->bpf == NULL ? 0 : spec->bpf_count);
    for (uint32_t i = 0; spec->bpf != NULL && i < spec->bpf_count; i++) {
        tb_buf_put_le16(out, spec->bpf[i].code);
        tb_buf_put_u8(out, spec->bpf[i].jt);
        tb_buf_put_u8(out, spec->bpf[i].jf);
        tb_buf_put_le32(out, spec->bpf[i].k);
    }
    put_i64(out, spec->base.known_utc_ns);
    if (spec->base.known_utc_ns != 0) {
        put_i64(out, spec->base.first_utc_ns);
        put_i64(out, spec->base.last_utc_ns);
        put_ledger(out, &spec->base.ledger);
    }
}

void
tb_request_encode(const struct tb_request *request, struct tb_buf *out)
{
    bool arm = request->kind == TB_REQUEST_ARM;

    put_head(out, arm && request->spec.max_packets != 0 ? VERSION_PACKETS : VERSION,
             (uint8_t)request->kind, 0, request->cookie);
    if (arm) {
        put_spec(out, &request->spec);
    } else if (request->kind != TB_REQUEST_HOST && request->kind != TB_REQUEST_COUNTERS) {
        put_text(out, request->capture_id);
    }
    if (request->kind == TB_REQUEST_EXTEND) {
        put_i64(out, request->deadline_boot_ns);
    }
}

void
tb_answer_encode(const struct tb_answer *answer, struct tb_buf *out)
{
    put_head(out, VERSION, (uint8_t)(answer->kind | ANSWER_BIT), (uint16_t)answer->err,
             answer->cookie);
    put_text(out, answer->text);
    if (answer->err != TB_OK) {
        return;
    }
    if (answer->kind == TB_REQUEST_STATUS) {
        tb_buf_put_u8(out, (uint8_t)answer->status.state);
        tb_buf_put_u8(out, (uint8_t)answer->status.budget_spent);
        tb_buf_put_le32(out, answer->status.segments);
        put_i64(out, answer->status.first_utc_ns);
        put_i64(out, answer->status.last_utc_ns);
        put_ledger(out, &answer->status.ledger);
        tb_buf_put_le32(out, (uint32_t)answer->status.level);
        tb_buf_put_le32(out, answer->status.level_changes);
        put_i64(out, answer->status.gap_from_utc_ns);
        put_i64(out, answer->status.gap_to_utc_ns);
    } else if (answer->kind == TB_REQUEST_HOST) {
        put_i64(out, answer->host.started_utc_ns);
        tb_buf_put_le32(out, (uint32_t)answer->host.pid);
        tb_buf_put_le32(out, answer->host.armed);
        put_ledger(out, &answer->host.ledger);
    }
}

/* --- reading: the first thing wrong is remembered, later reads give zeros --- */

struct cursor {
    struct tb_bytes rest;
    const char *wrong;
};

static void
wrong(struct cursor *in, const char *what)
{
    if (in->wrong == NULL) {
        in->wrong = what;
        in->rest.len = 0;
    }
}

static const uint8_t *
take(struct cursor *in, size_t len)
{
    static const uint8_t zeros[16];
    const uint8_t *at = in->rest.at;

    if (in->rest.len < len) {
        wrong(in, "it is cut short");
        return zeros;
    }
    in->rest.at += len;
    in->rest.len -= len;
    return at;
}

static uint8_t
take_u8(struct cursor *in)
{
    return *take(in, 1);
}

static uint16_t
take_u16(struct cursor *in)
{
    return tb_get_le16(take(in, 2));
}

static uint32_t
take_u32(struct cursor *in)
{
    return tb_get_le32(take(in, 4));
}

static uint64_t
take_u64(struct cursor *in)
{
    return tb_get_le64(take(in, 8));
}

static int64_t
take_i64(struct cursor *in)
{
    return (int64_t)take_u64(in);
}

static void
take_text(struct cursor *in, char *out, size_t cap)
{
    size_t len = take_u16(in);

    out[0] = '\0';
    if (len >= cap || len > in->rest.len) {
        wrong(in, "a text is too long");
        return;
    }
    if (len > 0 && memchr(in->rest.at, '\0', len) != NULL) {
        wrong(in, "a text holds a NUL");
        return;
    }
    memcpy(out, in->rest.at, len);
    out[len] = '\0';
    in->rest.at += len;
    in->rest.len -= len;
}

static void
take_ledger(struct cursor *in, struct tb_ledger *out)
{
    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        tb_ledger_set(out, i, take_u64(in));
    }
}

static void
take_capture_id(struct cursor *in, char out[TB_CAPTURE_ID_SIZE])
{
    take_text(in, out, TB_CAPTURE_ID_SIZE);
    if (in->wrong == NULL && !tb_capture_id_valid(out)) {
        wrong(in, "the capture id is not one");
    }
}

static bool
host_is_valid(const char *host)
{
    if (host[0] == '\0' || host[0] == '.') {
        return false;
    }
    for (; *host != '\0'; host++) {
        if (!isalnum((unsigned char)*host) && *host != '.' && *host != '-') {
            return false;
        }
    }
    return true;
}

static void
take_source(struct cursor *in, struct tb_record_source *out)
{
    memcpy(out->outer, take(in, sizeof(out->outer)), sizeof(out->outer));
    out->vni = take_u32(in);
    memcpy(out->mac, take(in, sizeof(out->mac)), sizeof(out->mac));
    take_text(in, out->eni, sizeof(out->eni));
    take_text(in, out->description, sizeof(out->description));
    if (out->vni > VNI_MAX) {
        wrong(in, "a VNI has more than 24 bits");
    }
}

static void
take_spec(struct cursor *in, bool with_packets, struct tb_request *out)
{
    struct tb_record_spec *spec = &out->spec;

    take_capture_id(in, spec->capture_id);
    take_text(in, spec->case_id, sizeof(spec->case_id));
    take_text(in, spec->reason, sizeof(spec->reason));
    take_text(in, spec->finding_id, sizeof(spec->finding_id));
    take_text(in, spec->finding_type, sizeof(spec->finding_type));
    take_text(in, spec->host, sizeof(spec->host));
    if (!host_is_valid(spec->host)) {
        wrong(in, "the host is not a name for files");
    }
    spec->deadline_boot_ns = take_i64(in);
    spec->snaplen = take_u32(in);
    spec->max_bytes = take_u64(in);
    if (with_packets) {
        spec->max_packets = take_u64(in);
        if (spec->max_packets == 0) {
            wrong(in, "a packet budget of 0");
        }
    }
    spec->rotate_bytes = take_u64(in);
    spec->rotate_s = take_u32(in);
    take_text(in, spec->bpf_text, sizeof(spec->bpf_text));
    spec->source_count = take_u32(in);
    if (spec->snaplen > TB_SNAPLEN_MAX || (spec->snaplen != 0 && spec->snaplen < 14)) {
        wrong(in, "the snaplen is out of range");
    }
    if (spec->rotate_bytes == 0 || spec->rotate_s == 0) {
        wrong(in, "rotation is set to nothing");
    }
    if (spec->source_count == 0 || spec->source_count > TB_CAPTURE_MAX_SOURCES) {
        wrong(in, "the number of sources is out of range");
        return;
    }
    for (uint32_t i = 0; i < spec->source_count; i++) {
        take_source(in, &spec->sources[i]);
    }
    spec->bpf_count = take_u32(in);
    if (spec->bpf_count > TB_CAPTURE_MAX_BPF_INSNS) {
        wrong(in, "the filter has too many instructions");
        return;
    }
    for (uint32_t i = 0; i < spec->bpf_count && in->wrong == NULL; i++) {
        out->bpf[i].code = take_u16(in);
        out->bpf[i].jt = take_u8(in);
        out->bpf[i].jf = take_u8(in);
        out->bpf[i].k = take_u32(in);
    }
    spec->bpf = spec->bpf_count > 0 ? out->bpf : NULL;
    spec->base.known_utc_ns = take_i64(in);
    if (spec->base.known_utc_ns != 0) {
        spec->base.first_utc_ns = take_i64(in);
        spec->base.last_utc_ns = take_i64(in);
        take_ledger(in, &spec->base.ledger);
    }
}

static enum tb_err
finish(const struct cursor *in, const char *what, struct tb_fail *fail)
{
    if (in->wrong != NULL) {
        return tb_fail_set(fail, TB_EFORMAT, "not %s: %s", what, in->wrong);
    }
    if (in->rest.len != 0) {
        return tb_fail_set(fail, TB_EFORMAT, "not %s: %zu octets too many", what, in->rest.len);
    }
    return TB_OK;
}

enum tb_err
tb_request_decode(struct tb_bytes message, struct tb_request *out, struct tb_fail *fail)
{
    struct cursor in = {message, NULL};
    uint8_t version;
    uint8_t kind;

    memset(out, 0, offsetof(struct tb_request, bpf));
    version = take_u8(&in);
    kind = take_u8(&in);
    if (version != VERSION && (version != VERSION_PACKETS || kind != TB_REQUEST_ARM)) {
        wrong(&in, "another version");
    }
    if (take_u16(&in) != 0) {
        wrong(&in, "the zeros are not zero");
    }
    out->cookie = take_u32(&in);
    if (kind < TB_REQUEST_ARM || kind >= TB_REQUEST_KIND_END) {
        wrong(&in, "an unknown kind");
        return finish(&in, "a request", fail);
    }
    out->kind = (enum tb_request_kind)kind;
    if (out->kind == TB_REQUEST_ARM) {
        take_spec(&in, version == VERSION_PACKETS, out);
    } else if (out->kind != TB_REQUEST_HOST && out->kind != TB_REQUEST_COUNTERS) {
        take_capture_id(&in, out->capture_id);
    }
    if (out->kind == TB_REQUEST_EXTEND) {
        out->deadline_boot_ns = take_i64(&in);
    }
    return finish(&in, "a request", fail);
}

enum tb_err
tb_answer_decode(struct tb_bytes message, struct tb_answer *out, struct tb_fail *fail)
{
    struct cursor in = {message, NULL};
    uint16_t err;
    uint8_t kind;
    uint8_t state, spent;

    memset(out, 0, sizeof(*out));
    if (take_u8(&in) != VERSION) {
        wrong(&in, "another version");
    }
    kind = take_u8(&in);
    err = take_u16(&in);
    out->cookie = take_u32(&in);
    if (kind < (TB_REQUEST_ARM | ANSWER_BIT) || kind >= (TB_REQUEST_KIND_END | ANSWER_BIT) ||
        err >= TB_ERR_COUNT) {
        wrong(&in, "an unknown kind or error");
        return finish(&in, "an answer", fail);
    }
    out->kind = (enum tb_request_kind)(kind & ~ANSWER_BIT);
    out->err = (enum tb_err)err;
    take_text(&in, out->text, sizeof(out->text));
    if (out->err == TB_OK && out->kind == TB_REQUEST_STATUS) {
        state = take_u8(&in);
        if (state > TB_RECORD_CLOSED) {
            wrong(&in, "an unknown state");
            state = TB_RECORD_ABSENT;
        }
        out->status.state = (enum tb_record_state)state;
        spent = take_u8(&in);
        if (spent > TB_BUDGET_PACKETS) {
            wrong(&in, "an unknown budget");
            spent = TB_BUDGET_NONE;
        }
        out->status.budget_spent = (enum tb_record_budget)spent;
        out->status.segments = take_u32(&in);
        out->status.first_utc_ns = take_i64(&in);
        out->status.last_utc_ns = take_i64(&in);
        take_ledger(&in, &out->status.ledger);
        out->status.level = (int32_t)take_u32(&in);
        out->status.level_changes = take_u32(&in);
        out->status.gap_from_utc_ns = take_i64(&in);
        out->status.gap_to_utc_ns = take_i64(&in);
    } else if (out->err == TB_OK && out->kind == TB_REQUEST_HOST) {
        out->host.started_utc_ns = take_i64(&in);
        out->host.pid = (int32_t)take_u32(&in);
        out->host.armed = take_u32(&in);
        take_ledger(&in, &out->host.ledger);
    }
    return finish(&in, "an answer", fail);
}
