/*
 * The custody log as somebody may have written it.  A log that is accepted has as many entries
 * as lines, ends with the hash of its last line, and is accepted the same in two pieces; a log
 * that is refused leaves the reader at the last good entry.
 */
#include <assert.h>

#include <tapbox/verify.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char capture[] = "cap-20260102T030405Z-1a2b3c4d";

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tb_custody_reader whole, pieces;
    struct tb_fail fail = {0};
    struct tb_sha256 last;
    const uint8_t *line;
    size_t lines = 0, first = 0;

    tb_custody_reader_init(&whole, capture);
    if (tb_custody_read(&whole, tb_bytes_of(data, size), &fail) != TB_OK) {
        assert(fail.err == TB_EFORMAT && fail.text[0] != '\0');
        return 0;
    }
    for (size_t i = 0; i < size; i++) {
        lines += data[i] == '\n' ? 1 : 0;
        first = first == 0 && data[i] == '\n' ? i + 1 : first;
    }
    assert(whole.entries == (int64_t)lines && lines > 0 && data[size - 1] == '\n');
    line = memrchr(data, '\n', size - 1);
    line = line == NULL ? data : line + 1;
    assert(tb_sha256(tb_bytes_of(line, (size_t)(data + size - 1 - line)), &last) == TB_OK);
    assert(memcmp(&last, &whole.head, sizeof(last)) == 0);
    tb_custody_reader_init(&pieces, capture);
    assert(tb_custody_read(&pieces, tb_bytes_of(data, first), NULL) == TB_OK);
    if (first < size) {
        assert(tb_custody_read(&pieces, tb_bytes_of(data + first, size - first), NULL) ==
               TB_OK);
    }
    assert(memcmp(&pieces, &whole, sizeof(whole)) == 0);
    return 0;
}
