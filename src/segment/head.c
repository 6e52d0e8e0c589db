/* What stands in for the section header and the interfaces of a first chunk that cannot be
 * read. */
#include <tapbox/segment.h>

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/pcapng.h>

#include "segment_int.h"

enum {
    INTERFACE_AT = 8 /* in an enhanced packet block */
};

uint32_t
segment_interfaces_in(struct tb_bytes plain)
{
    struct tb_pcapng_block block;
    uint32_t most = 0;

    while (plain.len > 0 && tb_pcapng_next(&plain, &block) == TB_OK) {
        if (block.type == TB_PCAPNG_EPB) {
            uint32_t interface = tb_get_le32(block.all.at + INTERFACE_AT);

            if (interface >= HEAD_MAX_INTERFACES) {
                return HEAD_MAX_INTERFACES + 1;
            }
            most = interface >= most ? interface + 1 : most;
        }
    }
    return most;
}

size_t
segment_put_unknown_head(uint32_t interfaces, uint8_t *at)
{
    const struct tb_pcapng_section section = {
        .reason = "the beginning of this segment could not be read: what it said of capture "
                  "and interfaces is missing",
        .application = "tapbox"};
    size_t len = tb_pcapng_put_section(at, HEAD_MAX_BYTES, &section);

    for (uint32_t i = 0; i < interfaces || i == 0; i++) {
        char name[40];
        const struct tb_pcapng_interface interface = {
            .name = name, .description = "its description could not be read"};
        size_t more;

        (void)snprintf(name, sizeof(name), "unknown-%u", i);
        more = tb_pcapng_put_interface(at + len, HEAD_MAX_BYTES - len, &interface);
        if (more == 0) {
            return 0;
        }
        len += more;
    }
    return len;
}

enum tb_err
tb_segment_unknown_head(struct tb_bytes blocks, struct tb_buf *out, struct tb_fail *fail)
{
    uint32_t interfaces = segment_interfaces_in(blocks);
    uint8_t *at = malloc(HEAD_MAX_BYTES);
    size_t len = 0;

    if (at == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a section header");
    }
    if (interfaces <= HEAD_MAX_INTERFACES) {
        len = segment_put_unknown_head(interfaces, at);
    }
    tb_buf_put(out, at, len);
    free(at);
    return len == 0 ? tb_fail_set(fail, TB_EFORMAT, "packets of too many interfaces")
                    : tb_buf_check(out, "a section header", fail);
}
