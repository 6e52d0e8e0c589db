/*
 * pcapng blocks as recovery walks them: what is taken off the front is exactly what is missing
 * from the rest, and a frame lies inside its block.
 */
#include <stdlib.h>

#include <tapbox/pcapng.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
demand(bool truth)
{
    if (!truth) {
        abort();
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tb_bytes rest = tb_bytes_of(data, size);
    struct tb_pcapng_block block;
    size_t taken = 0;

    while (tb_pcapng_next(&rest, &block) == TB_OK) {
        struct tb_pcapng_packet packet;
        struct tb_bytes frame;

        demand(block.all.at == data + taken && block.all.len >= 12);
        demand(block.body.at == block.all.at + 8 && block.body.len == block.all.len - 12);
        taken += block.all.len;
        demand(taken <= size && rest.at == data + taken && rest.len == size - taken);
        if (tb_pcapng_get_packet(&block, &packet, &frame) == TB_OK) {
            static volatile uint8_t sum; /* kept, so that the reads are */

            demand(frame.len == packet.captured && frame.len <= block.body.len - 20);
            for (size_t i = 0; i < frame.len; i++) { /* all of it can be read */
                sum = sum ^ frame.at[i];
            }
        }
    }
    demand(taken + rest.len == size);
    return 0;
}
