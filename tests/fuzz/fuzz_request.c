/*
 * The body of POST /v1/captures.  Whatever it is: what is accepted names a valid source, a
 * reason and values within their bounds; what is refused leaves the result alone and says why.
 */
#include <assert.h>

#include <tapbox/clock.h>
#include <tapbox/ids.h>
#include <tapbox/request.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tb_request_bounds bounds = {.default_duration_ns = 900 * TB_NS_PER_S,
                                                    .max_duration_ns = 3600 * TB_NS_PER_S};
    struct tb_capture_request r, before;
    struct tb_fail fail = {0};

    memset(&r, 0x5a, sizeof(r));
    memset(&before, 0x5a, sizeof(before));
    if (tb_capture_request_parse(tb_bytes_of(data, size), &bounds, &r, &fail) != TB_OK) {
        assert(fail.err != TB_OK && fail.text[0] != '\0');
        assert(memcmp(&r, &before, sizeof(r)) == 0);
        return 0;
    }
    assert(r.instance[0] != '\0' || r.eni_count > 0);
    assert(r.instance[0] == '\0' || tb_aws_id_valid(r.instance, "i-"));
    assert(r.eni_count <= TB_CAPTURE_MAX_SOURCES);
    for (size_t i = 0; i < r.eni_count; i++) {
        assert(tb_aws_id_valid(r.enis[i], "eni-"));
    }
    assert(r.duration_ns >= TB_NS_PER_S && r.duration_ns <= bounds.max_duration_ns);
    assert(r.snaplen <= TB_SNAPLEN_MAX && r.max_bytes <= INT64_MAX &&
           r.max_packets <= INT64_MAX);
    assert(r.reason[strspn(r.reason, " ")] != '\0');
    for (const char *c = r.reason; *c != '\0'; c++) {
        assert((unsigned char)*c >= 0x20);
    }
    return 0;
}
