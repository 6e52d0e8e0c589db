/*
 * The configuration file.  Whatever the text: an accepted one has every value within its range
 * and reads the same again; a refused one leaves the result alone and says why.
 */
#include <assert.h>

#include <tapbox/config.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tb_config config, again;
    struct tb_fail fail = {0};

    memset(&config, 0x5a, sizeof(config));
    memset(&again, 0x5a, sizeof(again));
    if (tb_config_parse(tb_bytes_of(data, size), "fuzz", &config, &fail) != TB_OK) {
        assert(fail.err != TB_OK && fail.text[0] != '\0');
        assert(memcmp(&config, &again, sizeof(config)) == 0);
        return 0;
    }
    assert(config.s3_bucket[0] != '\0' && config.owner[0] != '\0');
    assert(config.recorder_level >= 1 && config.recorder_level <= 19);
    assert(config.rotate_s >= 1 && config.rotate_s <= 3600);
    assert(config.policy.bounds.default_duration_ns > 0);
    assert(config.policy.bounds.default_duration_ns <= config.policy.bounds.max_duration_ns);
    assert(tb_config_parse(tb_bytes_of(data, size), "fuzz", &again, NULL) == TB_OK);
    assert(memcmp(&config, &again, sizeof(config)) == 0);
    return 0;
}
